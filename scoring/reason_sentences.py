"""One cell of a matrix as a sentence: what was measured, over which time, and what is typical among the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import floor, isfinite, isnan
from typing import TYPE_CHECKING

from features.spec import RATE
from features.windows import ZERO_WHEN_EMPTY, numbered
from scoring.reason_words import Words

if TYPE_CHECKING:
    from features.spec import FeatureSpec
    from features.windows import Window

_COUNTED = frozenset(
    {"count", "n_values", "distinct_codes", "distinct_days", "days_since_last", "days_since_first", "n_changes"}
)
_WHOLE_BELOW = frozenset({"age", "months_since_change", "category"})
_ZERO_IS_NONE = ZERO_WHEN_EMPTY | {"n_changes", RATE}
_TREND_DAYS, _RATE_PERSONS = 30.0, 1_000.0
_HAS_ONE = _COUNTED | {"age", "months_since_change"}
_HAS_ZERO = frozenset({"days_since_last", "days_since_first", "months_since_change", "std"})


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

    @cached_property
    def scale(self) -> float:
        """By how much a value is multiplied to be read: a slope is told for 30 days, a rate for 1,000 residents."""
        return {"trend": _TREND_DAYS, RATE: _RATE_PERSONS}.get(self.measure, 1.0)

    def rounded(self, value: float) -> float:
        """A cell as it is told: scaled, and as exact as somebody reads it (three figures, thousandths at most)."""
        value *= self.scale
        if not isfinite(value):
            return value
        if self.measure in _WHOLE_BELOW:
            return float(floor(value))
        whole = self.measure in _COUNTED or abs(value) >= 100
        return float(round(value)) if whole else round(float(f"{value:.3g}"), 3)

    def differs(self, value: float, typical: float) -> bool:
        """Whether a cell, as it is told, is another than the typical one (already rounded)."""
        value = self.rounded(value)
        return value != typical and not (isnan(value) and isnan(typical))

    def sentence(self, value: float, typical: float, language: str) -> str:
        """A cell in words, with what is typical where that is known (both as in the matrix)."""
        words = Words.of(language)
        value, typical = self.rounded(value), self.rounded(typical)
        text = words(
            f"measures.{self.measure}.{self._form(value)}",
            plain=plain_of(self.feature, language),
            value=self._value(value, words),
            window=_window(self.window, words),
            number=words.number(self.number),
        )
        # With nothing typical, or nothing to compare with it; and no category lies between two others.
        if isnan(typical) or isnan(value) or self.measure == "category":
            return text
        return f"{text} {self._typical(typical, words)}"

    def _form(self, value: float) -> str:
        """Which of a measure's sentences fits a value; in a band the latest is not the latest of all."""
        measure = self.measure
        if isnan(value):
            return "empty" if measure == RATE else "none"
        if value == 0 and measure in _ZERO_IS_NONE:
            return "none"
        if measure == "trend":
            return "level" if value == 0 else "rising" if value > 0 else "falling"
        in_band = "_band" if measure in ("last", "days_since_last") and self.window and self.window.near else ""
        if value == 0 and measure in _HAS_ZERO and not in_band:
            return "zero"
        return f"one{in_band}" if value == 1 and measure in _HAS_ONE else f"some{in_band}"

    def _value(self, value: float, words: Words) -> str:
        if isnan(value):
            return ""
        if self.measure == "category":
            return self.feature.categories[int(value)]
        return words.number(abs(value) if self.measure == "trend" else value)

    def _typical(self, typical: float, words: Words) -> str:
        unit = "number"
        if self.measure in ("days_since_last", "days_since_first"):
            unit = "day" if typical == 1 else "days"
        elif self.measure == "months_since_change":
            unit = "month" if typical == 1 else "months"
        elif self.measure == "trend":
            unit = "level" if typical == 0 else "rising" if typical > 0 else "falling"
            typical = abs(typical)
        elif typical == 0 and self.measure in _ZERO_IS_NONE:
            unit = "nothing"
        return words(f"typical.{unit}", typical=words.number(typical))


def columns_of(feature: FeatureSpec) -> list[Column]:
    """What stands behind a feature's columns, in the order of ``feature.columns()``."""
    if feature.attribute is None:
        named = [(measure, numbered(measure) or (measure, 0)) for measure in feature.measures]
        return [Column(feature, kind, window, number) for window in feature.windows for _, (kind, number) in named]
    value = "age" if feature.attribute == "age" else "category" if feature.categories else "attribute"
    on_the_day = [Column(feature, value)] if feature.name in feature.columns() else []
    return [*on_the_day, *(Column(feature, measure) for measure in feature.measures)]


def plain_of(feature: FeatureSpec, language: str) -> str:
    """What the need calls a feature in a language."""
    return str(getattr(feature.plain, language)) if feature.plain else feature.name.replace("_", " ")


def _window(window: Window | None, words: Words) -> str:
    if window is None:
        return ""
    if window.unit == "ever":
        return words("windows.ever")
    if window.near:
        return words("windows.band", near=words.number(window.near), far=words.number(window.far))
    unit = "day" if window.unit == "days" else "month"
    return words(f"windows.{unit}") if window.far == 1 else words(f"windows.{unit}s", far=words.number(window.far))
