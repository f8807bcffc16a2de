"""What made the cell of an attribute: a birth date and its arithmetic, or the entries that the city then held."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from features.city import City
from features.explanation_words import counted, day_in_words
from features.spec import FeatureSpec


@dataclass(frozen=True)
class Entry:
    """One entry of the attribute's history, and why it does not count on the day (None where it does)."""

    begins: datetime
    known: datetime
    value: str | None
    why_not: str | None


@dataclass(frozen=True)
class Story:
    """The cell worked out by hand: its value (NaN is empty), a clause that says how, and the entries behind it."""

    value: float
    sentence: str
    entries: tuple[Entry, ...] = ()


def attribute_story(city: City, feature: FeatureSpec, person_id: str, as_of_date: date, column: str) -> Story:
    """Work out a cell of a feature that is an attribute, from what the city holds of the person.

    Parameters
    ----------
    city : City
        That has the attribute; the person is one of it.
    feature : FeatureSpec
        With ``attribute``; ``column`` is one of its columns.
    person_id : str
    as_of_date : date
    column : str
    """
    attribute = feature.attribute
    assert attribute is not None
    of_person = pl.col("person_id") == person_id
    if attribute == "age":
        return _age(city.persons.filter(of_person)["birth_date"][0], as_of_date)
    if attribute in city.fixed:
        value = city.persons.filter(of_person)[attribute][0]
        number, how = _meaning(value, feature.categories)
        return Story(number, f"{how} in the persons table, where it never changes")
    history = pl.DataFrame() if city.history is None else city.history.filter(of_person)
    entries = _entries(history.filter(pl.col("attribute") == attribute) if len(history) else history, as_of_date)
    if column == feature.name:
        return _value_on(entries, feature, as_of_date)
    return _changes(entries, column.removeprefix(f"{feature.name}."), as_of_date)


def _age(birth: date | None, as_of_date: date) -> Story:
    if birth is None:
        return Story(math.nan, "no birth date is on record")
    if birth > as_of_date:
        return Story(math.nan, f"born on {day_in_words(birth)}, after that day")
    years = as_of_date.year - birth.year
    if _birthday(birth, years) > as_of_date:
        years -= 1
    last, following = _birthday(birth, years), _birthday(birth, years + 1)
    since, between = (as_of_date - last).days, (following - last).days
    how = (
        f"born on {day_in_words(birth)}, {years} years old since {day_in_words(last)}, and {since:,} of the {between} "
        "days to the next birthday have passed"
    )
    return Story(years + since / between, how)


def _birthday(birth: date, years: int) -> date:
    """The day somebody turns so old; who was born on 29 February does so on 1 March in other years."""
    try:
        return birth.replace(year=birth.year + years)
    except ValueError:
        return date(birth.year + years, 3, 1)


def _meaning(value: str | None, categories: tuple[str, ...]) -> tuple[float, str]:
    """The number that stands for a value, and a clause that says which and why."""
    if value is None:
        return math.nan, "no value stands"
    if categories:
        if value not in categories:
            return math.nan, f"'{value}', which is none of the need's categories, stands"
        place = categories.index(value)
        return float(place), f"'{value}', number {place} of the need's categories counted from 0, stands"
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (
        (number, f"{value} stands") if math.isfinite(number) else (math.nan, f"'{value}', which is no number, stands")
    )


def _entries(history: pl.DataFrame, as_of_date: date) -> list[Entry]:
    """A person's entries by beginning, knowledge and value; what a later one corrected, or nobody knew, is marked."""
    midnight = datetime.combine(as_of_date, datetime.min.time())
    ordered = sorted(
        ((row["from_date"], row["knowledge_date"], row["value"]) for row in history.iter_rows(named=True)),
        key=lambda row: (row[0], row[1], row[2] is not None, row[2] or ""),
    )
    known = [i for i, (begins, told, _) in enumerate(ordered) if begins < midnight and told < midnight]
    # Of entries that begin at one moment, the last known is what the city then held.
    latest = {ordered[i][0]: i for i in known}
    entries = []
    for i, (begins, told, value) in enumerate(ordered):
        why_not = None
        if begins >= midnight:
            why_not = "begins on or after the as-of date"
        elif told >= midnight:
            why_not = "not known before the as-of date"
        elif latest[begins] != i:
            why_not = "corrected by a later entry"
        entries.append(Entry(begins, told, value, why_not))
    return entries


def _value_on(entries: list[Entry], feature: FeatureSpec, as_of_date: date) -> Story:
    held = [entry for entry in entries if entry.why_not is None]
    if not held:
        return Story(math.nan, f"nothing was known before {day_in_words(as_of_date)}", tuple(entries))
    last = held[-1]
    number, how = _meaning(last.value, feature.categories)
    since = f"in the history from {day_in_words(last.begins.date())}, known since {day_in_words(last.known.date())}"
    earlier = [
        Entry(entry.begins, entry.known, entry.value, "replaced by a later entry")
        if entry.why_not is None and entry is not last
        else entry
        for entry in entries
    ]
    return Story(number, f"{how} {since}", tuple(earlier))


def _changes(entries: list[Entry], measure: str, as_of_date: date) -> Story:
    """Months since the latest change, of which the first entry is one, or how often the value changed after it."""
    changes: list[Entry] = []
    told = []
    for entry in entries:
        repeats = entry.why_not is None and bool(changes) and changes[-1].value == entry.value
        if entry.why_not is None and not repeats:
            changes.append(entry)
        told.append(Entry(entry.begins, entry.known, entry.value, "says the same as before") if repeats else entry)
    known = f"known before {day_in_words(as_of_date)}"
    if measure == "n_changes":
        n = max(len(changes) - 1, 0)
        return Story(float(n), f"{counted(n, 'change')} of value after the first entry, {known}", tuple(told))
    if not changes:
        return Story(math.nan, f"no entry was {known}", tuple(told))
    last = changes[-1].begins.date()
    months = (as_of_date.year - last.year) * 12 + as_of_date.month - last.month - (as_of_date.day < last.day)
    # The first entry is no change, and the only one of many persons: what was before it nobody knows.
    length = counted(months, "month") if months else "less than a month"
    how = f"the same since {day_in_words(last)}, for {length}, by the entries {known}"
    return Story(float(months), how, tuple(told))
