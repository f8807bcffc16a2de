"""Contributions as sentences that a caseworker with thirty seconds can check."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.refusals import BadInput, Fault
from features.spec import RATE
from features.windows import ZERO_WHEN_EMPTY, numbered
from scoring.forest import contributions, raw_scores

if TYPE_CHECKING:
    from features.matrix import Matrix
    from features.spec import FeatureSpec
    from features.windows import Window
    from models.need import Need

MOST_REASONS = 4
FEWEST_FOR_TYPICAL = 20
"""People behind a median at least: of fewer, it could be somebody's own value."""

_MESSAGES = Path(__file__).parent / "messages"


@dataclass(frozen=True)
class Reason:
    """Why a person stands where he or she stands, in one sentence.

    Attributes
    ----------
    text : str
        The sentence, with the person's value and what is typical.
    source : str or None
        The register it comes from; None where the reader may not see what contributed.
    changeable : bool or None
        Whether it can change, as the need says; None likewise.
    feature : str or None
        The feature it tells of, for the gate; None likewise.
    """

    text: str
    source: str | None
    changeable: bool | None
    feature: str | None = field(default=None, compare=False)


class Words:
    """The texts of one language by dotted key.

    >>> Words.of("en")("list.person", id="000123")
    'Person 000123'
    """

    def __init__(self, texts: Mapping[str, Any]) -> None:
        self.texts = _flat(texts)

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, language: str) -> Words:
        """The texts of a language.

        Raises
        ------
        BadInput
            ``language: not built yet: 'sv'. Built: en``.
        """
        built = sorted(path.stem for path in _MESSAGES.glob("*.toml"))
        if language not in built:
            raise BadInput(Fault("language", f"not built yet: {language!r}", f"Built: {', '.join(built)}"))
        return cls(tomllib.loads((_MESSAGES / f"{language}.toml").read_text(encoding="utf-8")))

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with its {names} filled in."""
        return " ".join(self.texts[key].format(**values).split())

    def number(self, value: float) -> str:
        """A number for reading: whole, or three figures; marks as the language writes them.

        >>> [Words.of("en").number(x) for x in (12.0, 1234.0, 7.4, 0.0512, 168.4)]
        ['12', '1,234', '7.4', '0.0512', '168']
        """
        whole = value == round(value) or abs(value) >= 100
        text = f"{value:,.0f}" if whole else np.format_float_positional(value, 3, fractional=False, trim="-")
        marks = str.maketrans({",": self.texts["numbers.thousands_mark"], ".": self.texts["numbers.decimal_mark"]})
        return text.translate(marks)


def _flat(texts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in texts.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def placeholders(text: str) -> frozenset[str]:
    """The names in braces of a text, so that languages can be compared.

    >>> sorted(placeholders("{value} {plain}"))
    ['plain', 'value']
    """
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name)


@dataclass(frozen=True)
class Typical:
    """What is typical among the people a need covers: the median of each column, or NaN if too few stand behind it.

    Made once for a cohort and used for every sentence about it, so that a reason is the same in a list and online.
    """

    medians: Mapping[str, float]

    @classmethod
    def of(cls, matrix: Matrix) -> Typical:
        """Medians of a matrix's columns over the people who have a value."""
        medians = {}
        for j, name in enumerate(matrix.names):
            values = matrix.X[:, j]
            known = values[~np.isnan(values)]
            medians[name] = float(np.median(known)) if known.size >= FEWEST_FOR_TYPICAL else float("nan")
        return cls(medians)


@dataclass(frozen=True)
class Column:
    """One column of a matrix as a reader needs it: of which feature, which measure, over which window.

    ``measure`` is the key of its sentences: the measure's name, without the number that some carry (``number``);
    ``age``, ``attribute`` or ``category`` for an attribute's value on the day. ``window`` is None for an attribute.
    """

    feature: FeatureSpec
    measure: str
    window: Window | None = None
    number: int = 0

    @property
    def scale(self) -> float:
        """By how much a value is multiplied to be read: a slope is told for 30 days, a rate for 1,000 residents."""
        return {"trend": _TREND_DAYS, RATE: _RATE_PERSONS}.get(self.measure, 1.0)

    def rounded(self, value: float) -> float:
        """A cell as it is told: scaled, and as exact as somebody reads it."""
        value *= self.scale
        if np.isnan(value):
            return value
        if self.measure in _WHOLE_BELOW:
            return float(np.floor(value))
        whole = self.measure in _COUNTED or abs(value) >= 100
        return float(np.round(value)) if whole else float(f"{value:.3g}")


def _columns_of(feature: FeatureSpec) -> list[Column]:
    """What stands behind a feature's columns, in the order of ``feature.columns()``."""
    if feature.attribute is None:
        named = [(measure, numbered(measure) or (measure, 0)) for measure in feature.measures]
        return [Column(feature, kind, window, number) for window in feature.windows for _, (kind, number) in named]
    value = "age" if feature.attribute == "age" else "category" if feature.categories else "attribute"
    on_the_day = [Column(feature, value)] if feature.name in feature.columns() else []
    return [*on_the_day, *(Column(feature, measure) for measure in feature.measures)]


@dataclass(frozen=True)
class Explainer:
    """Turns contributions into reasons for one need, one reader and one language.

    Parameters
    ----------
    need : Need
    typical : Typical
        Of the cohort that was scored.
    reader : str
        The service or unit that will read; features with a ``visible_to`` that does not name it stay unnamed.
    language : str
    """

    need: Need
    typical: Typical
    reader: str
    language: str = "en"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """What stands behind each column of the need's matrix, in order."""
        return tuple(column for feature in self.need.features for column in _columns_of(feature))

    def of_contributions(self, values: np.ndarray, contributions: np.ndarray) -> list[Reason]:
        """Up to four reasons of one person, strongest first.

        What raises the place on the list is told; only where nothing does, what lowers it.

        Parameters
        ----------
        values : float32 (p,)
        contributions : float64 (p,)
            What each column adds to the raw score, the expected value apart.
        """
        sums: dict[str, float] = {}
        for j, column in enumerate(self.columns):
            sums[column.feature.name] = sums.get(column.feature.name, 0.0) + float(contributions[j])
        raising = {name: total for name, total in sums.items() if total > 0}
        sign = 1.0 if raising else -1.0
        chosen = raising or {name: total for name, total in sums.items() if total < 0}
        # The need file's order decides between equals, so that the same person has the same reasons everywhere.
        ordered = sorted(chosen, key=lambda name: -abs(chosen[name]))
        shown = {name: self._column_to_show(name, values, sign * contributions) for name in ordered}
        # What is as it is with most people explains nothing to the reader, unless nothing else is there to say.
        telling = [j for j, differs in shown.values() if differs]
        return self._told(telling or [j for j, _ in shown.values()], values, lowers=not raising)

    def _column_to_show(self, feature: str, values: np.ndarray, strength: np.ndarray) -> tuple[int, bool]:
        """The strongest column of a feature that differs from what is typical; whether there is one."""
        own = [j for j, column in enumerate(self.columns) if column.feature.name == feature]
        differing = [j for j in own if self._differs(j, float(values[j]))]
        return max(differing or own, key=lambda j: float(strength[j])), bool(differing)

    def _differs(self, j: int, value: float) -> bool:
        column = self.columns[j]
        typical = column.rounded(self.typical.medians[self.need.columns[j]])
        value = column.rounded(value)
        return value != typical and not (np.isnan(value) and np.isnan(typical))

    def of_order(self, values: np.ndarray) -> list[Reason]:
        """Up to four reasons of one person under a written rule: the columns of the order, in their order."""
        names = list(self.need.columns)
        return self._told([names.index(term.column) for term in self.need.order], values, lowers=False)

    def _told(self, columns: Sequence[int], values: np.ndarray, *, lowers: bool) -> list[Reason]:
        words = Words.of(self.language)
        reasons: list[Reason] = []
        for j in columns:
            feature = self.columns[j].feature
            if feature.visible_to and not {self.reader, self.need.service} & set(feature.visible_to):
                reason = Reason(words("reasons.hidden"), None, None)
            elif feature.of == "household":  # whatever is said of it is said of another person
                reason = Reason(words("reasons.household"), None, None)
            else:
                text = self._sentence(j, float(values[j]))
                text = words("reasons.lowers", sentence=text) if lowers else text
                reason = Reason(text, feature.source, feature.changeable, feature.name)
            if reason not in reasons:  # what may not be seen is said once
                reasons.append(reason)
        return reasons[:MOST_REASONS]

    def _sentence(self, j: int, value: float) -> str:
        words, column = Words.of(self.language), self.columns[j]
        typical = column.rounded(self.typical.medians[self.need.columns[j]])
        value = column.rounded(value)
        plain = column.feature.plain
        text = words(
            f"measures.{column.measure}.{_form(column, value)}",
            plain=getattr(plain, self.language) if plain else column.feature.name.replace("_", " "),
            value=self._value(column, value),
            window=self._window(column.window),
            number=words.number(column.number),
        )
        # With nothing typical, or nothing to compare with it; and no category lies between two others.
        if np.isnan(typical) or np.isnan(value) or column.measure == "category":
            return text
        return f"{text} {self._typical(column, typical)}"

    def _value(self, column: Column, value: float) -> str:
        if np.isnan(value):
            return ""
        if column.measure == "category":
            return column.feature.categories[int(value)]
        return Words.of(self.language).number(abs(value) if column.measure == "trend" else value)

    def _typical(self, column: Column, typical: float) -> str:
        words = Words.of(self.language)
        unit = "number"
        if column.measure in ("days_since_last", "days_since_first"):
            unit = "day" if typical == 1 else "days"
        elif column.measure == "months_since_change":
            unit = "month" if typical == 1 else "months"
        elif column.measure == "trend":
            unit = "level" if typical == 0 else "rising" if typical > 0 else "falling"
            typical = abs(typical)
        return words(f"typical.{unit}", typical=words.number(typical))

    def _window(self, window: Window | None) -> str:
        words = Words.of(self.language)
        if window is None:
            return ""
        if window.unit == "ever":
            return words("windows.ever")
        if window.near:
            return words("windows.band", near=words.number(window.near), far=words.number(window.far))
        unit = "day" if window.unit == "days" else "month"
        return words(f"windows.{unit}") if window.far == 1 else words(f"windows.{unit}s", far=words.number(window.far))


_COUNTED = frozenset(
    {"count", "n_values", "distinct_codes", "distinct_days", "days_since_last", "days_since_first", "n_changes"}
)
_WHOLE_BELOW = frozenset({"age", "months_since_change", "category"})
_ZERO_IS_NONE = ZERO_WHEN_EMPTY | {"n_changes", RATE}
_TREND_DAYS, _RATE_PERSONS = 30.0, 1_000.0
_HAS_ONE = frozenset(
    {"n_values", "distinct_codes", "distinct_days", "days_since_last", "days_since_first", "age"}
    | {"months_since_change", "n_changes"}
)
_HAS_ZERO = frozenset({"days_since_last", "days_since_first", "months_since_change", "std"})


def _form(column: Column, value: float) -> str:
    """Which of a measure's sentences fits a value; in a band the latest is not the latest of all."""
    measure = column.measure
    if np.isnan(value):
        return "empty" if measure == RATE else "none"
    if value == 0 and measure in _ZERO_IS_NONE:
        return "none"
    if measure == "trend":
        return "level" if value == 0 else "rising" if value > 0 else "falling"
    in_band = "_band" if measure in ("last", "days_since_last") and column.window and column.window.near else ""
    if value == 0 and measure in _HAS_ZERO and not in_band:
        return "zero"
    return f"one{in_band}" if value == 1 and measure in _HAS_ONE else f"some{in_band}"


def explain(
    model: Any, matrix: Matrix, rows: Sequence[int] | np.ndarray, typical: Typical, *, reader: str, language: str = "en"
) -> tuple[list[list[Reason]], float]:
    """Reasons of some rows of a matrix, and how far the contributions are from adding up to the raw score.

    Parameters
    ----------
    model : NeedModel or RuleModel
    matrix : Matrix
        What was scored.
    rows : int (m,)
        Rows to explain; only these pay for their contributions.
    typical : Typical
    reader : str
        The service or unit that will read the reasons.
    language : str

    Returns
    -------
    reasons : list of m lists, up to four each
    max_error : float
        Largest |expected value + Σ contributions − raw score| of the rows; 0 for a rule (check C301).
    """
    explainer = Explainer(model.need, typical, reader, language)
    X = matrix.X[np.asarray(rows, dtype=np.int64)]
    if model.need.kind == "rule":
        return [explainer.of_order(values) for values in X], 0.0
    if not len(X):
        return [], 0.0
    added = contributions(model, X)
    max_error = float(np.max(np.abs(added.sum(axis=1) - raw_scores(model, X))))
    return [explainer.of_contributions(v, c[:-1]) for v, c in zip(X, added, strict=True)], max_error


def source_of(reason: Reason, language: str = "en") -> str:
    """Where a reason comes from and whether it can change, in words; empty where the reader may not see it.

    >>> source_of(Reason("12 absences", "school register", True))
    'from the school register; can change'
    """
    words = Words.of(language)
    if reason.changeable is None:
        return ""
    parts = [words("reasons.source", source=re.sub(r"^the ", "", reason.source))] if reason.source else []
    return "; ".join([*parts, words("reasons.changeable" if reason.changeable else "reasons.not_changeable")])
