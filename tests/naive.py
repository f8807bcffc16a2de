"""Slow, obvious second opinions. An event is (person, time, known, code, value); time and known are datetimes."""

import calendar
import math
import statistics
from datetime import date, datetime, timedelta

import numpy as np

FAR_PAST = datetime(1, 1, 1)


def midnight(day):
    return datetime(day.year, day.month, day.day)


def fits(code, patterns):
    return any(code == p or (p.endswith("*") and code.startswith(p[:-1])) for p in patterns)


def known_before(known, day):
    """Event and knowledge are compared by local day, and an as-of date means its midnight."""
    return known.date() < day


def months_before(day, months):
    """The same day so many months earlier, or the last day of that month if it has no such day."""
    year, month = day.year, day.month
    for _ in range(months):
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def window_of(as_of, window):
    """First moment in, and first moment after, a window: 30, (90, 365), "12mo" or "ever"."""
    if window == "ever":
        return FAR_PAST, midnight(as_of)
    if isinstance(window, str):
        return midnight(months_before(as_of, int(window.removesuffix("mo")))), midnight(as_of)
    near, far = window if isinstance(window, tuple) else (0, window)
    return midnight(as_of) - timedelta(days=far), midnight(as_of) - timedelta(days=near)


def window_events(events, person, as_of, window, codes):
    """The person's events in the window, known before the as-of date, in the order of the contract."""
    start, stop = window_of(as_of, window)
    found = [
        (time, value, code)
        for who, time, known, code, value in events
        if who == person and fits(code, codes) and start <= time < stop and known_before(known, as_of)
    ]
    return sorted(found, key=lambda e: (e[0], e[1] is not None, e[1] or 0.0, e[2]))


def cell(events, person, as_of, window, codes, measure):
    return measured(window_events(events, person, as_of, window, codes), as_of, measure)


def measured(found, as_of, measure):
    valued = [(time, value) for time, value, _ in found if value is not None]
    values = [value for _, value in valued]
    whole_days_ago = [(midnight(as_of) - time).days for time, _, _ in found]
    if measure == "count":
        return len(found)
    if measure == "n_values":
        return len(values)
    if measure == "distinct_codes":
        return len({code for _, _, code in found})
    if measure == "distinct_days":
        return len({time.date() for time, _, _ in found})
    if not found:
        return math.nan
    if measure == "days_since_last":
        return whole_days_ago[-1]
    if measure == "days_since_first":
        return whole_days_ago[0]
    if measure.startswith("decay_"):
        half_life = int(measure.removeprefix("decay_").removesuffix("d"))
        return math.fsum(2.0 ** (-age / half_life) for age in whole_days_ago)
    if not values:
        return math.nan
    if measure == "trend":
        return trend([(time.date() - as_of).days for time, _ in valued], values)
    return of_values(values, measure)


def of_values(values, measure):
    if measure == "sum":
        return math.fsum(values)
    if measure == "mean":
        return math.fsum(values) / len(values)
    if measure == "min":
        return min(values)
    if measure == "max":
        return max(values)
    if measure == "last":
        return values[-1]
    if measure == "first":
        return values[0]
    if measure == "std":
        return statistics.pstdev(values) if len(values) > 1 else math.nan
    if measure == "median":
        return statistics.median(values)
    if measure.startswith("quantile_"):
        return float(np.quantile(np.array(values, dtype=np.float64), int(measure.removeprefix("quantile_")) / 100))
    raise ValueError(measure)


def trend(days, values):
    """Slope of the least-squares line through the values over calendar days; NaN when they lie on one day."""
    if len(set(days)) < 2:
        return math.nan
    middle_day, middle = math.fsum(days) / len(days), math.fsum(values) / len(values)
    together = math.fsum((day - middle_day) * (value - middle) for day, value in zip(days, values))
    return together / math.fsum((day - middle_day) ** 2 for day in days)


def age(birth_date, as_of):
    """Whole years on a day; who was born on 29 February turns a year older on 1 March in other years."""
    return as_of.year - birth_date.year - ((as_of.month, as_of.day) < (birth_date.month, birth_date.day))


def attribute(history, person, name, as_of):
    """What the city held before the as-of date; history rows are (person, name, value, from_date, knowledge_date)."""
    found = [
        (begins, known, value)
        for who, what, value, begins, known in history
        if who == person and what == name and begins < as_of and known < as_of
    ]
    return max(found)[2] if found else None
