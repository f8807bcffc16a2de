"""The words of a column name: which stretch of time before the as-of date, and which measure of what lies in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

MEASURES = (
    "count",
    "n_values",
    "sum",
    "mean",
    "min",
    "max",
    "last",
    "days_since_last",
    "std",
    "trend",
    "first",
    "days_since_first",
    "distinct_codes",
    "distinct_days",
    "median",
)
"""Measures of events whose name says everything; ``decay_<n>d`` and ``quantile_<p>`` carry a number."""
ZERO_WHEN_EMPTY = frozenset({"count", "n_values", "distinct_codes", "distinct_days"})
"""Measures that are 0 when no event lies in the window; every other measure then is NaN."""
LONGEST_DAYS = 36_525
"""A century; beyond it, "ever" is meant."""
_WITH_A_NUMBER = {"decay": r"decay_([1-9]\d{0,4})d", "quantile": r"quantile_([1-9]\d?)"}


def numbered(measure: str) -> tuple[str, int] | None:
    """Kind and number of a measure that carries one: half-life in days, or percent; None for any other.

    >>> numbered("decay_180d"), numbered("quantile_90"), numbered("mean")
    (('decay', 180), ('quantile', 90), None)
    """
    for kind, pattern in _WITH_A_NUMBER.items():
        if found := re.fullmatch(pattern, measure):
            return kind, int(found[1])
    return None


@dataclass(frozen=True)
class Window:
    """A stretch of time before the as-of date: ``far`` days (or months) back, up to ``near`` days back.

    >>> [Window.parse(w).label for w in (30, [90, 365], "12mo", "ever")]
    ['30d', '90d_365d', '12mo', 'ever']
    """

    unit: Literal["days", "months", "ever"]
    far: int = 0
    near: int = 0

    @classmethod
    def parse(cls, value: Any) -> Window:
        """A window as need files write it: ``30``, ``[90, 365]``, ``"12mo"`` or ``"ever"``; ValueError otherwise."""
        if isinstance(value, Window):
            return value
        if value == "ever":
            return cls("ever")
        if isinstance(value, str) and (months := re.fullmatch(r"([1-9]\d{0,3})mo", value)):
            return cls("months", far=int(months[1]))
        if is_whole(value):
            return cls._of_days(0, value)
        if isinstance(value, list | tuple) and len(value) == 2 and all(map(is_whole, value)):
            return cls._of_days(*value)
        raise ValueError('not a window | Give days (30), a band of days ([90, 365]), months ("12mo") or "ever"')

    @classmethod
    def _of_days(cls, near: int, far: int) -> Window:
        if not 0 <= near < far:
            raise ValueError("no day lies in it | Give at least 1 day, and in a band the nearer end first: [90, 365]")
        if far > LONGEST_DAYS:
            raise ValueError('longer than a century | Give "ever" for everything before the as-of date')
        return cls("days", far=far, near=near)

    @property
    def label(self) -> str:
        """How column names write it."""
        if self.unit == "ever":
            return "ever"
        if self.unit == "months":
            return f"{self.far}mo"
        return f"{self.near}d_{self.far}d" if self.near else f"{self.far}d"


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, which True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)
