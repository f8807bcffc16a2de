"""One cell's arithmetic done again, slowly and in plain Python, from the events that count: the explanation's proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from features.windows import Window, numbered

VALUE_MEASURES = frozenset({"n_values", "sum", "mean", "min", "max", "last", "first", "std", "trend", "median"})
"""Measures of values, to which an event without one adds nothing; ``quantile_<p>`` is another."""
_ROUNDING = 1e-5
"""Relative distance that float32, and sums in another order, may put between a cell and its recount."""


class Happened(NamedTuple):
    """One event of a person: local moment, code, and its value (None is null)."""

    at: datetime
    code: str
    value: float | None


def needs_value(measure: str) -> bool:
    """Whether an event without a value adds nothing to a measure.

    >>> needs_value("mean"), needs_value("quantile_90"), needs_value("decay_180d")
    (True, True, False)
    """
    return measure in VALUE_MEASURES or measure.startswith("quantile_")


def bounds(window: Window, as_of_date: date) -> tuple[date | None, date]:
    """First and last day of a window; no first day for ``ever``.

    >>> [str(day) for day in bounds(Window.parse([90, 365]), date(2024, 3, 31))]
    ['2023-04-01', '2023-12-31']
    >>> str(bounds(Window.parse("1mo"), date(2024, 3, 31))[0])
    '2024-02-29'
    """
    last = as_of_date - timedelta(days=window.near + 1)
    if window.unit == "ever":
        return None, last
    if window.unit == "months":
        return _months_before(as_of_date, window.far), last
    return as_of_date - timedelta(days=window.far), last


def _months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or that month's last day where it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    next_month = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (next_month - timedelta(days=1)).day))


def recount(measure: str, events: Sequence[Happened], as_of_date: date) -> float:
    """A measure of the events that count (contracts.md §3); NaN where they give none.

    Parameters
    ----------
    measure : str
        Any measure of events.
    events : sequence of Happened
        Those in the window and known before the day, whether they have a value or not.
    as_of_date : date

    >>> week = [Happened(datetime(2024, 1, day), "visit", float(day)) for day in (1, 3, 8)]
    >>> [recount(measure, week, date(2024, 1, 11)) for measure in ("count", "mean", "trend", "quantile_25")]
    [3.0, 4.0, 1.0, 2.0]
    """
    ordered = sorted(events, key=_order)
    values = [(event.at, event.value) for event in ordered if event.value is not None]
    if measure in _OF_EVENTS:
        return float(_OF_EVENTS[measure](ordered, _midnight(as_of_date)))
    if with_number := numbered(measure):
        kind, number = with_number
        if kind == "quantile":
            return _quantile([value for _, value in values], number / 100)
        ages = [(_midnight(as_of_date) - event.at).days for event in ordered]
        return math.fsum(2.0 ** (-age / number) for age in ages) if ages else math.nan
    return float(_OF_VALUES[measure](values)) if values else math.nan


def agree(cell: float, recounted: float, values: Sequence[float | None]) -> bool:
    """Whether a cell and its recount are one number, but for the rounding of sums and of float32."""
    if math.isnan(cell) or math.isnan(recounted):
        return math.isnan(cell) and math.isnan(recounted)
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return cell == recounted or math.isclose(cell, recounted, rel_tol=_ROUNDING, abs_tol=largest * 1e-7)


def _order(event: Happened) -> tuple[datetime, bool, float, str]:
    """The order of the contract: by time, then value with null first."""
    return event.at, event.value is not None, event.value or 0.0, event.code


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time())


def _whole_days(events: Sequence[Happened], which: int, midnight: datetime) -> float:
    return (midnight - events[which].at).days if events else math.nan


_OF_EVENTS: dict[str, Callable[[Sequence[Happened], datetime], float]] = {
    "count": lambda events, _: len(events),
    "n_values": lambda events, _: sum(event.value is not None for event in events),
    "distinct_codes": lambda events, _: len({event.code for event in events}),
    "distinct_days": lambda events, _: len({event.at.date() for event in events}),
    "days_since_last": lambda events, midnight: _whole_days(events, -1, midnight),
    "days_since_first": lambda events, midnight: _whole_days(events, 0, midnight),
}
_Timed = Sequence[tuple[datetime, float]]


def _mean(values: _Timed) -> float:
    return math.fsum(value for _, value in values) / len(values)


def _std(values: _Timed) -> float:
    middle = _mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for _, v in values) / len(values)) if len(values) > 1 else math.nan


def _trend(values: _Timed) -> float:
    """Slope of the least-squares line through values over local days; NaN unless these are two at least."""
    days = [at.date().toordinal() for at, _ in values]
    if len(set(days)) < 2:
        return math.nan
    middle_day, middle = math.fsum(days) / len(days), _mean(values)
    spread = math.fsum((day - middle_day) ** 2 for day in days)
    return math.fsum((d - middle_day) * (v - middle) for d, (_, v) in zip(days, values, strict=True)) / spread


def _quantile(values: Sequence[float], share: float) -> float:
    """Quantile by linear interpolation between the two nearest values in order."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


_OF_VALUES: dict[str, Callable[[_Timed], float]] = {
    "sum": lambda values: math.fsum(value for _, value in values),
    "mean": _mean,
    "min": lambda values: min(value for _, value in values),
    "max": lambda values: max(value for _, value in values),
    "last": lambda values: values[-1][1],
    "first": lambda values: values[0][1],
    "std": _std,
    "trend": _trend,
    "median": lambda values: _quantile([value for _, value in values], 0.5),
}
