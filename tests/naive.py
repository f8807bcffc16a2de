"""Slow, obvious second opinions. An event is (person, time, known, code, value); time and known are datetimes."""

import math
from datetime import datetime, timedelta

FAR_PAST = datetime(1, 1, 1)


def midnight(day):
    return datetime(day.year, day.month, day.day)


def fits(code, patterns):
    return any(code == p or (p.endswith("*") and code.startswith(p[:-1])) for p in patterns)


def known_before(known, day):
    """Event and knowledge are compared by local day, and an as-of date means its midnight."""
    return known.date() < day


def window_events(events, person, as_of, window, codes):
    """The person's events in the window, known before the as-of date, in the order of the contract."""
    start = FAR_PAST if window == "ever" else midnight(as_of) - timedelta(days=window)
    found = [
        (time, value, code)
        for who, time, known, code, value in events
        if who == person and fits(code, codes) and start <= time < midnight(as_of) and known_before(known, as_of)
    ]
    return sorted(found, key=lambda e: (e[0], e[1] is not None, e[1] or 0.0, e[2]))


def cell(events, person, as_of, window, codes, measure):
    found = window_events(events, person, as_of, window, codes)
    values = [value for _, value, _ in found if value is not None]
    if measure == "count":
        return len(found)
    if measure == "n_values":
        return len(values)
    if measure == "days_since_last":
        return (midnight(as_of) - found[-1][0]).days if found else math.nan
    if not values:
        return math.nan
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
    raise ValueError(measure)


def label(events, person, as_of, spec, extract_date):
    """1, 0 or NaN, straight from the contract's sentences."""
    end = as_of + timedelta(days=spec["horizon_days"])
    told = end + timedelta(days=spec.get("reporting_delay_days", 0))
    if told > extract_date:
        return math.nan

    def seen(codes):
        return sorted(
            (time, value)
            for who, time, known, code, value in [(*e[:4], -math.inf if e[4] is None else e[4]) for e in events]
            if who == person
            and fits(code, codes)
            and midnight(as_of) <= time < midnight(end)
            and known_before(known, told)
        )

    def decide(found):
        values = [value for _, value in found if value != -math.inf]
        measure = spec.get("measure", "days")
        if measure == "days":
            number = len({time.date() for time, _ in found})
        elif not values:
            return 0.0
        else:
            number = {"sum": math.fsum, "max": max, "min": min}[measure](values)
        if "at_most" in spec:
            return float(number <= spec["at_most"])
        return float(number >= spec.get("at_least", 1))

    found, leaving = seen(spec["codes"]), seen(spec.get("censored_by", ()))
    if not leaving:
        return decide(found)
    by_then = decide([(time, value) for time, value in found if time.date() <= leaving[0][0].date()])
    if by_then == (0.0 if "at_most" in spec else 1.0):
        return by_then
    return 0.0 if spec.get("censoring") == "negative" else math.nan


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
