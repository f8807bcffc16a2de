"""What an experiment leaves behind in MLflow: its tables, curves, plots, children and model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from models import findings
from models.baselines import COLUMN_OF, UNIT_RULE, floats, rivals_in, weight_of
from models.curves import k_curve, net_benefit, reliability
from models.list_comparison import error_crosstab, list_overlap, subset_performance
from models.metrics import Estimate, evaluate
from models.model_card import CardFacts, model_card, short_card
from models.regret import DEFAULT
from models.run_record import ChildRun, RunRecord, dataset_facts

if TYPE_CHECKING:
    from models.experiment import Experiment
    from models.selection import SearchResult

_REPLICATES = 200
"""For tables that decide nothing, as for the curves: all thousand would cost more than training a small need."""

_FIGURE = "recall at capacity"
"""What a search compares trials by."""


@dataclass(frozen=True)
class Further:
    """What is measured only when asked for.

    Attributes
    ----------
    search : SearchResult or None
    learning_curve, feature_value : polars.DataFrame or None
    """

    search: SearchResult | None = None
    learning_curve: pl.DataFrame | None = None
    feature_value: pl.DataFrame | None = None


def run_contents(
    experiment: Experiment, further: Further, *, extract_date: date, invented: bool, seed: int
) -> RunRecord:
    """Everything about a run that MLflow shows beside figures, parameters and the model.

    Parameters
    ----------
    experiment : Experiment
    further : Further
    extract_date : date
        The last day the city's data cover.
    invented : bool
        Whether the city is invented.
    seed : int
        Of intervals.
    """
    need, split = experiment.need, experiment.split
    curves = _curves(experiment, seed)
    tables = _tables(experiment, further, seed)
    precision = _at_capacity(experiment) if "k_curve" in curves else {}
    found = _findings(experiment, further, curves, precision)
    card = _card_facts(experiment, further, found, extract_date, invented)
    steps: dict[str, pl.DataFrame] = {}
    for name in ("k_curve", "k_curve_of_the_rule"):
        if name in curves:
            steps[name] = curves[name].drop("share")
    if further.learning_curve is not None:
        steps["learning_curve"] = further.learning_curve.select(pl.col("rows"), pl.exclude("rows", "share", "persons"))
    return RunRecord(
        name=f"{split.judged_dates[0]} seed {seed}",
        description=short_card(card),
        findings=found,
        curves=steps,
        tables={**tables, **curves},
        plots=_plots(experiment, further, curves, precision),
        files={f"{need.id}.toml": need.bytes, "model_card.html": model_card(card).encode()},
        datasets=[
            dataset_facts(name, matrix)
            for name, matrix in (("training", experiment.train_matrix), ("testing", experiment.judged))
            if matrix is not None
        ],
        children=[*_origins(experiment), *_trials(further.search)],
    )


def _others(experiment: Experiment) -> dict[str, np.ndarray]:
    """Order → rank score of the tested rows: what the model is compared with; nothing for a rule."""
    return {} if experiment.need.kind == "rule" else rivals_in(experiment.tested, tuple(COLUMN_OF))


def _curves(experiment: Experiment, seed: int) -> dict[str, pl.DataFrame]:
    """Curves of the tested rows, by name; none without a label."""
    tested, need = experiment.tested, experiment.need
    if need.label is None:
        return {}
    rows: dict[str, Any] = {
        "label": floats(tested["label"]),
        "person": tested["person_id"].to_numpy(),
        "weight": weight_of(tested),
        "seed": seed,
    }
    period = tested["origin"].to_physical().to_numpy()
    curves = {"k_curve": k_curve(rank_score=floats(tested["rank_score"]), period=period, **rows)}
    if UNIT_RULE in (others := _others(experiment)):
        curves["k_curve_of_the_rule"] = k_curve(rank_score=others[UNIT_RULE], period=period, **rows)
    if tested["probability"].null_count() == 0:
        probability = floats(tested["probability"])
        curves["reliability"] = reliability(probability=probability, **rows)
        curves["net_benefit"] = net_benefit(probability=probability, **rows)
    return {name: curve for name, curve in curves.items() if curve.height}


def _tables(experiment: Experiment, further: Further, seed: int) -> dict[str, pl.DataFrame]:
    found: dict[str, pl.DataFrame | None] = {
        "split": experiment.split.timeline(),
        "attrition": experiment.attrition,
        "baselines": experiment.baselines,
        "single_columns": experiment.columns,
        "hold_outs": experiment.hold_outs,
        "censoring": experiment.censoring,
        "feature_value": further.feature_value,
        "learning_curve": further.learning_curve,
        "search_trials": None if further.search is None else further.search.trials,
        "search_groups": None if further.search is None else further.search.groups,
        **_comparisons(experiment, seed),
    }
    return {name: table for name, table in found.items() if table is not None and table.width}


def _comparisons(experiment: Experiment, seed: int) -> dict[str, pl.DataFrame]:
    """The list beside those of other orders, and inside parts of the tested persons."""
    need, tested, others = experiment.need, experiment.tested, _others(experiment)
    if need.label is None:
        return {}
    k = experiment.k
    seen = tested["seen_in_training"].to_numpy()
    parts = {"seen in training": seen, "never seen in training": ~seen}
    asked = {name: part for name, part in parts.items() if part.any()}
    tables = {"subsets": subset_performance(tested, asked, k, seed, replicates=_REPLICATES)}
    if others:
        ours = floats(tested["rank_score"])
        pairs = ({"this model": ours, name: theirs} for name, theirs in others.items())
        tables["list_overlap"] = pl.concat(
            list_overlap(tested, pair, k, seed, replicates=_REPLICATES) for pair in pairs
        )
    if UNIT_RULE in others:
        tables["errors_beside_the_rule"] = error_crosstab(tested, others[UNIT_RULE], k)
    return tables


def by_date_frame(by_date: Mapping[date, Mapping[str, Estimate]], measure: str = "auc") -> pl.DataFrame:
    """One measure of every test date: ``test_date``, ``value``, ``low``, ``high``."""
    rows = [(day, *figures[measure]) for day, figures in by_date.items() if measure in figures]
    types = {"test_date": pl.Date, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema=types, orient="row").sort("test_date")


def _findings(
    experiment: Experiment, further: Further, curves: Mapping[str, pl.DataFrame], precision: Mapping[str, Any]
) -> list[str]:
    said = [findings.of_split(experiment.split.timeline(), experiment.split.kind)]
    if experiment.contacts is not None:
        said.append(findings.of_contacts(experiment.contacts))
    if "k_curve" in curves:
        said.append(findings.of_ranking(curves["k_curve"], experiment.k, **precision))
        said.append(findings.of_origins(by_date_frame(experiment.by_date)))
    if experiment.baselines.height:
        said.append(findings.of_baselines(experiment.baselines))
    if "reliability" in curves:
        said.append(findings.of_reliability(curves["reliability"], *_calibration(experiment)))
    if "net_benefit" in curves:
        said.append(findings.of_net_benefit(curves["net_benefit"]))
    if further.search is not None:
        said.append(f"Search: {findings.of_regret(further.search.groups)} ({further.search.method})")
    if further.learning_curve is not None:
        said.append(findings.of_learning_curve(further.learning_curve))
    if further.feature_value is not None:
        said.append(findings.of_feature_value(further.feature_value))
    return said


def _at_capacity(experiment: Experiment) -> dict[str, Any]:
    """Precision at capacity over all test dates: of the model with its interval, and of the unit's rule."""
    tested, theirs = experiment.tested, None
    if UNIT_RULE in (others := _others(experiment)):
        theirs = evaluate(
            label=floats(tested["label"]),
            rank_score=others[UNIT_RULE],
            probability=None,
            person=tested["person_id"].to_numpy(),
            k=experiment.k,
            period=tested["origin"].to_physical().to_numpy(),
            weight=weight_of(tested),
            seed=0,
            replicates=1,  # the value alone
        )["precision_at_capacity"].value
    return {"ours": experiment.metrics["precision_at_capacity"], "theirs": theirs}


def _calibration(experiment: Experiment) -> tuple[float, float]:
    return experiment.metrics["calibration_slope"].value, experiment.metrics["calibration_intercept"].value


def _plots(
    experiment: Experiment, further: Further, curves: Mapping[str, pl.DataFrame], precision: Mapping[str, Any]
) -> dict[str, bytes]:
    from models import plots  # matplotlib takes its time

    split = experiment.split
    k = experiment.k
    made = {"split": plots.split_timeline(split.timeline(), split.kind, split.extract_date)}
    for (part,), steps in experiment.attrition.group_by("part", maintain_order=True):
        made[f"attrition_{part}"] = plots.attrition_plot(steps)
    if "k_curve" in curves:
        rule = curves.get("k_curve_of_the_rule")
        made["k_curve"] = plots.ranking_curve(curves["k_curve"], k, rule, **precision)
        made["auc_by_date"] = plots.origins_plot(by_date_frame(experiment.by_date))
    if experiment.baselines.height:
        made["baselines"] = plots.baselines_plot(experiment.baselines, k)
    if "reliability" in curves:
        made["reliability"] = plots.reliability_diagram(curves["reliability"], *_calibration(experiment))
    if "net_benefit" in curves:
        made["net_benefit"] = plots.net_benefit_curve(curves["net_benefit"], _probability_at_the_cut(experiment))
    if further.search is not None:
        made["regret"] = plots.regret_plot(_search_figures(further.search), further.search.groups, _FIGURE)
    if further.learning_curve is not None:
        made["learning_curve"] = plots.learning_curve_plot(further.learning_curve)
    if further.feature_value is not None:
        made["feature_value"] = plots.feature_value_plot(further.feature_value)
    return made


def _probability_at_the_cut(experiment: Experiment) -> float:
    """The probability of the last person listed, in the last tested period."""
    last = experiment.tested.filter(pl.col("origin") == pl.col("origin").max())
    listed = np.sort(floats(last["probability"]))[::-1]
    return float(listed[min(experiment.k, len(listed)) - 1])


def _search_figures(search: SearchResult) -> pl.DataFrame:
    """``group``, ``origin``, ``figure`` of every trial, by the names of the groups."""
    number = pl.col("trial").cast(pl.String).str.zfill(3)
    group = pl.when(pl.col("trial") == 0).then(pl.lit(DEFAULT)).otherwise(pl.lit("trial ") + number)
    return search.trials.select(group.alias("group"), "origin", "figure")


def _origins(experiment: Experiment) -> list[ChildRun]:
    """A child run per test date, with its own figures."""
    origins = {day: origin for origin in experiment.split.origins for day in (origin.test_date, *origin.test_dates)}
    return [
        ChildRun(
            name=f"origin {day}",
            part="origin",
            figures={"test": figures},
            parameters={
                "test_date": str(day),
                "n_train_dates": len(origins[day].train_dates),
                "last_train_date": str(max(origins[day].train_dates, default="none")),
            },
        )
        for day, figures in experiment.by_date.items()
    ]


def _trials(search: SearchResult | None) -> list[ChildRun]:
    """A child run per trial, with its figure at each inner origin and their mean."""
    if search is None:
        return []
    settings = [
        name for name in search.trials.columns if name not in ("trial", "origin", "figure", "average_precision")
    ]
    children = []
    for (number,), rows in search.trials.group_by("trial", maintain_order=True):
        first = rows.row(0, named=True)
        at = dict(zip(rows["origin"].to_list(), rows["figure"].to_list(), strict=True))
        figures: dict[str, Any] = {"search": {"recall_at_capacity": {"mean": rows["figure"].mean(), **at}}}
        parameters = {"trial": number, "study": search.study, **{name: first[name] for name in settings}}
        children.append(ChildRun(f"trial {number}", "trial", figures, parameters))
    return children


def _card_facts(
    experiment: Experiment, further: Further, found: list[str], extract_date: date, invented: bool
) -> CardFacts:
    train, split = experiment.train_matrix, experiment.split
    y = None if train is None else train.y
    unseen = experiment.tested.filter(~pl.col("seen_in_training"))
    return CardFacts(
        need=experiment.need,
        model_digest=experiment.model.digest,
        extract_date=extract_date,
        invented=invented,
        train_dates=split.train_dates,
        judged_dates=split.judged_dates,
        test_dates=split.test_dates,
        n_train=0 if train is None else train.keys.height,
        n_judged=experiment.judged.keys.height,
        n_unseen=unseen["person_id"].n_unique(),
        n_in_need=None if y is None else int(np.nansum(y)),
        n_unknown=None if y is None else int(np.isnan(y).sum()),
        figures=experiment.metrics,
        unseen=experiment.unseen,
        findings=found,
        baselines=experiment.baselines if experiment.baselines.height else None,
        hold_outs=experiment.hold_outs,
        censoring=experiment.censoring,
        attrition=experiment.attrition,
        learning_curve=further.learning_curve,
        feature_value=further.feature_value,
        search=None if further.search is None else further.search.trials,
        advice=experiment.advice,
    )
