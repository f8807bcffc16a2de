"""The model card of a run: one page on what the model is for, what it was shown to do, and what was not looked at.

Every line comes from the need file or from a figure of the run; what was not measured is listed, never assumed
(Source: Mitchell et al. 2019, Model Cards for Model Reporting).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from models.findings import counted, plain_order, shortened
from models.metrics import Estimate

if TYPE_CHECKING:
    from models.need import Need

TEMPLATES = Path(__file__).resolve().parent / "templates"
_FEWEST_INDICATORS = 2
_NAMES = {
    "auc": "AUC (0.5 is chance)",
    "average_precision": "average precision",
    "precision_at_capacity": "share of the list in need, at capacity",
    "recall_at_capacity": "share of those in need on the list, at capacity",
    "calibration_error": "calibration error (mean distance beyond chance, 0 is right)",
    "calibration_slope": "calibration slope (1 is right)",
    "calibration_intercept": "calibration intercept (0 is right)",
}


@dataclass(frozen=True)
class CardFacts:
    """What a run knows about its model; a table that is None was not made, and the card says so.

    Attributes
    ----------
    need : Need
    model_digest : str
    extract_date : date
    invented : bool
        Whether the city is invented.
    train_dates, judged_dates, test_dates : sequence of date
    n_train, n_judged, n_unseen : int
        Rows learnt from; rows judged; tested persons of whom the model had learnt nothing.
    n_in_need, n_unknown : int or None
        Of the rows learnt from: label 1, and label not known. None for a rule.
    figures, unseen : mapping
        Measure → Estimate over all test dates, and over persons never seen in training.
    findings : sequence of str
        Sentences of :mod:`models.findings`.
    baselines, hold_outs, censoring, attrition, learning_curve, feature_value, search : polars.DataFrame or None
        As the run's tables.
    advice : str or None
        What the duel with the rivals suggests.
    """

    need: Need
    model_digest: str
    extract_date: date
    invented: bool
    train_dates: Sequence[date]
    judged_dates: Sequence[date]
    test_dates: Sequence[date]
    n_train: int
    n_judged: int
    n_unseen: int
    n_in_need: int | None
    n_unknown: int | None
    figures: Mapping[str, Estimate]
    unseen: Mapping[str, Estimate] = field(default_factory=dict)
    findings: Sequence[str] = ()
    baselines: pl.DataFrame | None = None
    hold_outs: pl.DataFrame | None = None
    censoring: pl.DataFrame | None = None
    attrition: pl.DataFrame | None = None
    learning_curve: pl.DataFrame | None = None
    feature_value: pl.DataFrame | None = None
    search: pl.DataFrame | None = None
    advice: str | None = None


def model_card(facts: CardFacts) -> str:
    """The card as one HTML page without scripts or links to elsewhere; the same facts give the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("model_card.html.jinja").render(
        facts=facts,
        need=facts.need,
        figures=_figure_rows(facts),
        baselines=_baseline_rows(facts),
        label=label_in_words(facts),
        weaknesses=label_weaknesses(facts),
        not_measured=not_measured(facts),
        features=[_feature_row(feature) for feature in facts.need.features],
        attrition=[] if facts.attrition is None else facts.attrition.to_dicts(),
        counted=counted,
        days=lambda days: ", ".join(map(str, days)) if len(days) <= 6 else f"{days[0]} to {days[-1]} ({len(days)})",
    )


def short_card(facts: CardFacts) -> str:
    """The card in a few lines of Markdown, as MLflow shows them beside a run and a version."""
    need = facts.need
    lines = [f"**{need.title.en}** – {need.question.en}", "", *(f"- {line}" for line in facts.findings)]
    if facts.advice:
        lines += ["", f"**Advice:** {facts.advice}"]
    lines += ["", f"Not measured: {'; '.join(shortened(line, 90) for line in not_measured(facts))}."]
    if facts.invented:
        lines.insert(0, "*Invented city: nothing here is about real people.*\n")
    return "\n".join([*lines, "", "The whole card is the artefact model_card.html; nobody is ranked before approval."])


def label_in_words(facts: CardFacts) -> str:
    """What counts as the need having appeared; empty where nothing does."""
    label = facts.need.label
    if label is None:
        return ""
    how = f"{label.measure} of {' or '.join(label.codes)}"
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", label.at_least), ("at most", label.at_most))
        if bound is not None
    ]
    start = label.starts_after_days
    said = f"{how} {' and '.join(bounds)} from day {start} to day {label.horizon_days} after the as-of date"
    if label.censored_by:
        said += f"; who left before ({', '.join(label.censored_by)}): {label.censoring}"
    return said


def label_weaknesses(facts: CardFacts) -> list[str]:
    """What the label may miss, as far as the need file and the run show it."""
    need, label = facts.need, facts.need.label
    if label is None:
        return ["There is no label: whether those ranked first are in need is not known."]
    found = [
        f"Only what a register records under {', '.join(label.codes)} counts: need that nobody recorded is missed."
    ]
    if len(need.indicators) < _FEWEST_INDICATORS:
        n = counted(len(need.indicators), "independent sign")
        found.append(f"{n} of need: too few to test whether the label sees the same need in every group.")
    known = (facts.n_train or 0) - (facts.n_unknown or 0)
    if facts.n_unknown:
        found.append(f"Of {facts.n_train:,} rows to learn from, {facts.n_unknown:,} have no known outcome.")
    if facts.n_in_need is not None and known:
        share = facts.n_in_need / known
        found.append(f"{facts.n_in_need:,} of {known:,} rows with a known outcome are in need ({share:.1%}).")
    if label.censoring == "negative" and label.censored_by:
        found.append("Who left is counted as not in need, whether they were or not.")
    return found


def not_measured(facts: CardFacts) -> list[str]:
    """What nothing in this run says anything about."""
    missing = ["fairness between groups, which the gate judges apart", "what a contact changes for those contacted"]
    if not any(math.isfinite(figure.value) for figure in facts.figures.values()):
        missing.append("how many of those ranked first are in need")
    if not any(math.isfinite(figure.value) for figure in facts.unseen.values()):
        missing.append("ranking of persons never seen in training")
    if facts.hold_outs is None:
        missing.append("areas or groups left out of training")
    if facts.censoring is None:
        missing.append("how much the treatment of those who left matters")
    if facts.need.kind == "model":
        missing += ["what each feature is worth"] if facts.feature_value is None else []
        missing += ["whether more persons to learn from would help"] if facts.learning_curve is None else []
        missing += ["whether other parameters would rank better"] if facts.search is None else []
    return [*missing, f"anything after {facts.extract_date}"]


def _figure_rows(facts: CardFacts) -> list[tuple[str, str, str]]:
    """Measure, all tested persons, and those never seen in training."""
    return [
        (_NAMES.get(name, name.replace("_", " ")), _said(figure), _said(facts.unseen.get(name)))
        for name, figure in facts.figures.items()
        if math.isfinite(figure.value)
    ]


def _said(figure: Estimate | None) -> str:
    if figure is None or not math.isfinite(figure.value):
        return "–"
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return f"{figure.value:.3f} (no interval)"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _baseline_rows(facts: CardFacts) -> list[tuple[str, str, str, str]]:
    """Order, what it is, people found, and how many more the model finds."""
    if facts.baselines is None:
        return []
    return [
        (
            plain_order(row["order"]),
            row["what"],
            _count(row, "found_at_capacity", ""),
            _count(row, "difference_found", "+"),
        )
        for row in facts.baselines.to_dicts()
    ]


def _count(row: Mapping[str, Any], name: str, sign: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None or not math.isfinite(value):
        return "–"
    if low is None or high is None:
        return f"{value:{sign},.0f}"
    return f"{value:{sign},.0f} ({low:{sign},.0f} to {high:{sign},.0f})"


def _feature_row(feature: Any) -> tuple[str, str, str, str]:
    """Plain name (or the file's own), source, purpose, basis; a dash for what the file does not say."""
    plain = feature.plain.en if feature.plain else feature.name
    return plain, feature.source or "–", feature.purpose or "–", feature.basis or "–"
