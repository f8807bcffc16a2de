"""The sentences of an explanation: days, numbers and measures as somebody would say them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

import numpy as np

from features.recount import Happened, needs_value
from features.windows import numbered

_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
# Not the locale's: a sentence is the same on every machine.
_MONTHS = tuple(
    "January,February,March,April,May,June,July,August,September,October,November,December".split(",")  # noqa: SIM905
)


def day_in_words(day: date, *, year: bool = True) -> str:
    """A day as it is said.

    >>> day_in_words(date(2024, 1, 2)), day_in_words(date(2024, 1, 2), year=False)
    ('2 January 2024', '2 January')
    """
    return f"{day.day} {_MONTHS[day.month - 1]}" + (f" {day.year}" if year else "")


def counted(n: int, what: str, plural: str = "") -> str:
    """So many of something.

    >>> counted(0, "event"), counted(1, "entry", "entries"), counted(1234, "event")
    ('no event', 'one entry', '1,234 events')
    """
    number = _NUMBERS[n] if n < len(_NUMBERS) else f"{n:,}"
    return f"{number} {what if n < 2 else plural or what + 's'}"


def amount(value: float) -> str:
    """A cell's number, as short as float32 allows; ``empty`` without one.

    >>> amount(3.0), amount(0.1), amount(float("nan"))
    ('3', '0.1', 'empty')
    """
    return "empty" if math.isnan(value) else np.format_float_positional(np.float32(value), unique=True, trim="-")


def stretch(days: tuple[date | None, date], as_of_date: date) -> str:
    """Which events a window takes in, in words.

    >>> stretch((None, date(2024, 1, 31)), date(2024, 2, 1))
    'up to 31 January 2024, known before 1 February 2024'
    """
    first, last = days
    known = f"known before {day_in_words(as_of_date)}"
    if first is None:
        return f"up to {day_in_words(last)}, {known}"
    if first == last:
        return f"on {day_in_words(last)}, {known}"
    return f"between {day_in_words(first, year=first.year != last.year)} and {day_in_words(last)}, {known}"


def measured(measure: str, value: float, events: Sequence[Happened], when: str) -> str:
    """How the events that count, in order of time, make the value: ``the sum of three values between …``."""
    if not events:
        return f"no event with a value {when}" if needs_value(measure) else f"no event {when}"
    happened, values = counted(len(events), "event"), counted(len(events), "value")
    if math.isnan(value):
        too_few = f"{values} on a single day, too few for a line," if measure == "trend" else "a single value"
        return f"{too_few} {when}"
    with_number = numbered(measure)
    kind, number = with_number or (measure, 0)
    return _HOW[kind].format(
        events=f"{happened} {when}",
        values=f"{values} {when}",
        first=day_in_words(events[0].at.date()),
        last=day_in_words(events[-1].at.date()),
        number=number,
        days=counted(number, "day"),
    )


_HOW = {
    "count": "{events}",
    "n_values": "{values}",
    "distinct_codes": "the different codes of {events}",
    "distinct_days": "the different days of {events}",
    "days_since_last": "the latest of {events}, was on {last}",
    "days_since_first": "the first of {events}, was on {first}",
    "sum": "the sum of {values}",
    "mean": "the mean of {values}",
    "min": "the lowest of {values}",
    "max": "the highest of {values}",
    "last": "the latest of {values}, is of {last}",
    "first": "the first of {values}, is of {first}",
    "median": "the middle of {values}",
    "std": "the standard deviation of {values}",
    "trend": "the slope per day of a straight line through {values}",
    "decay": "each weighing half after {days}, {events}",
    "quantile": "the {number} % point of {values}",
}
