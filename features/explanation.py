"""Why a cell holds what it holds: the person's events behind it, each counted or not and why, in words and as JSON.

The value comes from the same code that fills matrices; beside it stands the same measure, counted again by plain
arithmetic (:mod:`features.recount`) from the events shown.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.attribute_story import attribute_story
from features.city import City, DataError, matches
from features.columns import compute_columns
from features.explanation_words import amount, measured, stretch
from features.keyed_rows import keyed_rows
from features.recount import Happened, agree, bounds, needs_value, recount
from features.spec import RATE, FeatureSpec, SpecError
from features.windows import Window

_EPOCH = datetime(1970, 1, 1)
_PERSONAL_IDENTITY_CODE = re.compile(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]", re.IGNORECASE)
_MOST_COLUMNS_NAMED = 20


@dataclass(frozen=True)
class ShownEvent:
    """One event of the person (or one entry of an attribute's history), and whether the cell counts it.

    ``why_not`` is None for what counts. Days are written as 2024-01-31, with the clock where there is one. ``plain`` is
    the city's English name of the code, None without one.
    """

    event_date: str
    knowledge_date: str
    code: str
    value: float | str | None
    counted: bool
    why_not: str | None
    plain: str | None = None


@dataclass(frozen=True)
class CellExplanation:
    """What one cell holds, and what made it.

    Attributes
    ----------
    column : str
    as_of_date : date
    kind : str
        ``events`` of the person, or ``attribute``; ``household`` or ``district``, whose rows are not shown.
    value : float or None
        What the matrix code computes; None is an empty cell (NaN).
    recounted : float or None
        The same from the events shown, by plain arithmetic; None also where they are not shown.
    agrees : bool
        Whether the two are the same number; False is a fault of the program.
    first_day, last_day : date or None
        Of the window; no first day for ``ever``, neither for an attribute.
    n_counted : int or None
        Events (or entries) that count; None for a district, whose events are counted per resident.
    events : tuple of ShownEvent
        Every event with the feature's codes, in order of time; none for households and districts.
    sentence : str
        All of it in one sentence.
    """

    column: str
    as_of_date: date
    kind: str
    value: float | None
    recounted: float | None
    agrees: bool
    first_day: date | None
    last_day: date | None
    n_counted: int | None
    events: tuple[ShownEvent, ...]
    sentence: str

    def as_facts(self) -> dict[str, Any]:
        """Everything as plain values that JSON can hold."""
        facts = {name: str(fact) if isinstance(fact, date) else fact for name, fact in vars(self).items()}
        return {**facts, "events": [vars(event) for event in self.events]}


def explain_cell(
    city: City,
    features: Sequence[FeatureSpec],
    person_id: str,
    as_of_date: date,
    column: str,
    *,
    masked: NDArray[np.bool_] | None = None,
) -> CellExplanation:
    """The events that made one cell of a matrix.

    Parameters
    ----------
    city : City
    features : sequence of FeatureSpec
        Of the need; ``column`` is one of theirs.
    person_id : str
    as_of_date : date
    column : str
        E.g. ``absence.count.30d``.
    masked : bool (n_persons,), optional
        Persons who object to the need: their events feed nobody's household or district columns. A question about an
        objector is to be refused before: nothing is computed for them.

    Raises
    ------
    DataError
        No such person (the id is never repeated), or a day that the city's data does not reach. All at once.
    SpecError
        No such column, with the nearest one.
    """
    feature = _feature_of(features, column)
    _refuse(city, feature, person_id, as_of_date)
    asked = _Asked(feature, person_id, as_of_date, column)
    if feature.attribute is not None:
        return _of_attribute(city, asked)
    return _of_others(city, asked, masked) if feature.of != "self" else _of_events(city, asked)


class _Asked(NamedTuple):
    """Which cell is asked about."""

    feature: FeatureSpec
    person_id: str
    as_of_date: date
    column: str

    @property
    def window_and_measure(self) -> tuple[Window, str]:
        wanted = self.column.removeprefix(f"{self.feature.name}.")
        pairs = ((window, measure) for window in self.feature.windows for measure in self.feature.measures)
        return next((window, measure) for window, measure in pairs if f"{measure}.{window.label}" == wanted)


def _feature_of(features: Sequence[FeatureSpec], column: str) -> FeatureSpec:
    columns = {name: feature for feature in features for name in feature.columns()}
    if column in columns:
        return columns[column]
    near = difflib.get_close_matches(column, columns, n=1)
    few = len(columns) <= _MOST_COLUMNS_NAMED
    known = f"Columns: {', '.join(columns)}" if few else f"`ennakko needs check` lists the {len(columns):,} columns"
    guess = f"Did you mean '{near[0]}'? " if near else ""
    raise SpecError(Fault("column", f"'{column}' is no column of these features", f"{guess}{known}"))


def _refuse(city: City, feature: FeatureSpec, person_id: str, as_of_date: date) -> None:
    """Every reason why the question has no answer, at once."""
    faults = []
    if person_id not in city.events.person_ids:
        wrong = f"what was given ({len(person_id)} characters) names nobody in the city '{city.name}'"
        mend = "Give a person_id of its persons table"
        if _PERSONAL_IDENTITY_CODE.search(person_id):
            wrong = f"what was given ({len(person_id)} characters) has the form of a personal identity code"
            mend = "Give the pseudonym of the persons table, and keep personal identity codes out of commands"
        faults.append(Fault("person", wrong, mend))
    if as_of_date > city.extract_date:
        wrong = f"is {as_of_date}, after the extract date {city.extract_date}: the city does not know that day yet"
        faults.append(Fault("as-of date", wrong, f"Give {city.extract_date} or earlier"))
    log = city.events
    first = _moment(int(log.time.min())).date() if log.time.size else None
    if feature.attribute is None and (first is None or as_of_date <= first):
        begin = "it has no events" if first is None else f"its events begin on {first}"
        wrong = f"is {as_of_date}, before the city '{city.name}' has any data: {begin}"
        faults.append(Fault("as-of date", wrong, "Give a later day"))
    if faults:
        raise DataError(*faults)


def _cell(city: City, asked: _Asked, masked: NDArray[np.bool_] | None) -> float:
    """The cell as the matrix code computes it."""
    keys = pl.DataFrame({"person_id": [asked.person_id], "as_of_date": [asked.as_of_date]})
    cells = compute_columns(city, [asked.feature], keyed_rows(city, keys), masked=masked)
    return float(cells[0, asked.feature.columns().index(asked.column)])


# ---- a person's own events -------------------------------------------------------------------------------------


class _Judged(NamedTuple):
    """An event with the feature's codes, when it became known, and why it does not count (None where it does)."""

    event: Happened
    known: datetime
    why_not: str | None


def _of_events(city: City, asked: _Asked) -> CellExplanation:
    # A person's own cell depends on nobody else, so that nobody else is read.
    alone = city.only([asked.person_id])
    value = _cell(alone, asked, None)
    window, measure = asked.window_and_measure
    days = bounds(window, asked.as_of_date)
    judged = [
        _Judged(event, known, _why_not(event, known, measure, days, asked.as_of_date))
        for event, known in _events_with_codes(alone, asked.feature.codes)
    ]
    counting = [event for event, _, why_not in judged if why_not is None]
    recounted = recount(measure, counting, asked.as_of_date)
    how = measured(measure, value, counting, stretch(days, asked.as_of_date))
    plain = {code: _plain(city, code) for code in {event.code for event, _, _ in judged}}
    return CellExplanation(
        column=asked.column,
        as_of_date=asked.as_of_date,
        kind="events",
        value=_number(value),
        recounted=_number(recounted),
        agrees=agree(value, recounted, [event.value for event in counting]),
        first_day=days[0],
        last_day=days[1],
        n_counted=len(counting),
        events=tuple(
            ShownEvent(
                _written(event.at),
                _written(known),
                event.code,
                None if event.value is None else _number(event.value),
                why_not is None,
                why_not,
                plain[event.code],
            )
            for event, known, why_not in judged
        ),
        sentence=f"{asked.column} is {amount(value)}: {how}.",
    )


def _events_with_codes(alone: City, patterns: Sequence[str]) -> list[tuple[Happened, datetime]]:
    """The one person's events with some codes, in order of time, each with the moment it became known."""
    log = alone.events
    wanted = [i for i, code in enumerate(log.codes) if matches(code, patterns)]
    known = log.time if log.known is None else log.known
    return [
        (
            Happened(
                _moment(int(log.time[i])),
                log.codes[log.code[i]],
                None if np.isnan(log.value[i]) else float(log.value[i]),
            ),
            _moment(int(known[i])),
        )
        for i in np.flatnonzero(np.isin(log.code, wanted))
    ]


def _plain(city: City, code: str) -> str | None:
    """What the city calls a code in English: by itself, else by the longest pattern with a star that it begins with."""
    if city.codes is None or "en" not in city.codes.columns:
        return None
    named = dict(city.codes.select("code", "en").drop_nulls().iter_rows())
    fitting = [pattern for pattern in named if matches(code, [pattern])]
    best = max(fitting, key=lambda pattern: (pattern == code, len(pattern)), default=None)
    return None if best is None else named[best]


def _why_not(
    event: Happened, known: datetime, measure: str, days: tuple[date | None, date], as_of_date: date
) -> str | None:
    first, last = days
    if event.at.date() >= as_of_date:
        return "not before the as-of date"
    if event.at.date() > last:
        return "after the window's last day"
    if first is not None and event.at.date() < first:
        return "before the window's first day"
    if known.date() >= as_of_date:
        return "not known before the as-of date"
    return "no value" if event.value is None and needs_value(measure) else None


def _of_attribute(city: City, asked: _Asked) -> CellExplanation:
    value = _cell(city, asked, None)
    story = attribute_story(city, asked.feature, asked.person_id, asked.as_of_date, asked.column)
    events = tuple(
        ShownEvent(
            _written(entry.begins),
            _written(entry.known),
            asked.feature.name,
            entry.value,
            entry.why_not is None,
            entry.why_not,
        )
        for entry in story.entries
    )
    return CellExplanation(
        column=asked.column,
        as_of_date=asked.as_of_date,
        kind="attribute",
        value=_number(value),
        recounted=_number(story.value),
        agrees=agree(value, story.value, ()),
        first_day=None,
        last_day=None,
        n_counted=sum(event.counted for event in events),
        events=events,
        sentence=f"{asked.column} is {amount(value)}: {story.sentence}.",
    )


# ---- other people's events: numbers alone ----------------------------------------------------------------------


def _of_others(city: City, asked: _Asked, masked: NDArray[np.bool_] | None) -> CellExplanation:
    """A household's or district's cell; whose events they are, and when they happened, is nobody's to read here."""
    window, _ = asked.window_and_measure
    days = bounds(window, asked.as_of_date)
    value, n_counted = _cell(city, asked, masked), None
    when = stretch(days, asked.as_of_date)
    if asked.feature.of == "household":
        count = asked.feature.model_copy(update={"measures": ("count",), "windows": (window,)})
        of_count = asked._replace(feature=count, column=count.columns()[0])
        n = _cell(city, of_count, masked)
        n_counted = None if math.isnan(n) else int(n)
        events = "events" if n_counted is None else f"{n_counted:,} {'event' if n_counted == 1 else 'events'}"
        how = f"computed from {events} of the other members of the household {when}; whose they are is not shown"
    else:
        how = f"the {RATE} of events for each resident of the district, {when}; whose they are is not shown"
    return CellExplanation(
        column=asked.column,
        as_of_date=asked.as_of_date,
        kind=asked.feature.of,
        value=_number(value),
        recounted=None,
        agrees=True,
        first_day=days[0],
        last_day=days[1],
        n_counted=n_counted,
        events=(),
        sentence=f"{asked.column} is {amount(value)}: {how}.",
    )


# ---- moments and numbers ---------------------------------------------------------------------------------------


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _written(moment: datetime) -> str:
    """A moment as files write it; one without a clock is a day."""
    if moment == datetime.combine(moment.date(), datetime.min.time()):
        return str(moment.date())
    return moment.isoformat(sep=" ", timespec="minutes")


def _number(value: float) -> float | None:
    """A float32 by the shortest decimal that is it: 8.4, and not the nearest float64, 8.399999618530273."""
    if math.isnan(value):
        return None
    with np.errstate(over="ignore"):  # a recount beyond float32 is infinite, as the cell is
        return float(str(np.float32(value)))
