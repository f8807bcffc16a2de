"""Features from other people's events: of those who share the person's home, and of those who live in the district.

Both are off unless the city says in ``[relations]`` which attribute tells who lives where. They look through what the
city knew on the day, and never at persons who object: those give no events to others and count as nobody's residents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import Fault, did_you_mean
from features.arrays import frozen, read_only
from features.attributes import AttributeHistory, attribute_history, attributes_of
from features.city import City
from features.event_log import EventLog, matches
from features.history_kernels import events_of_others
from features.keyed_rows import Rows
from features.regrouping import sort_within_persons
from features.spec import FeatureSpec
from features.sweep import Group, Layout, lay_out, log_arrays, sweep

FEWEST_RESIDENTS = 20
"""Below so many residents a rate says too much about single persons, so there is none."""
MOST_IN_A_HOME = 100
"""A household in which more people have lived than this is a placeholder ("unknown", "0") or an institution: nobody's
home. Without a bound, the work would grow with the square of it."""
_EVENTS_AT_ONCE = 2**22
_RESIDENTS_AT_ONCE = 2**16


def refuse_relations(city: City, features: Sequence[FeatureSpec]) -> list[Fault]:
    """What is wrong with the relations that features ask of a city; empty when all can be computed."""
    faults = []
    for feature in features:
        if feature.of == "self":
            continue
        where = f"features '{feature.name}'.of"
        attribute = city.relations.get(feature.of)
        if attribute is None:
            wrong = f"reads events of the person's {feature.of}, and the city '{city.name}' does not say who that is"
            mend = f"Name the attribute in city.toml under [relations], {feature.of} = …, or leave the feature out"
            faults.append(Fault(where, wrong, mend))
        elif attribute_history(city, attribute) is None:
            wrong = f"city.toml says under [relations] that '{attribute}' tells the {feature.of}, and there is none"
            faults.append(Fault(where, wrong, did_you_mean(attribute, attributes_of(city))))
    return faults


def _groups(features: Sequence[FeatureSpec], measures: Sequence[str] | None = None) -> tuple[list[Group], int]:
    """Features as groups of columns that stand one after another, and how many columns that are."""
    groups, column = [], 0
    for feature in features:
        groups.append(Group(feature.codes, feature.windows, measures or feature.measures, column))
        column += len(feature.columns())
    return groups, column


class HouseholdEvents:
    """Measures over the events of the other members of the household in which a person lives on the as-of date.

    Each row gets a log of its own, into which the others' events are put in the order of the contract; that log is
    swept like any person's. Who lives alone, or in no known household, is as one without events; a household in which
    more than 100 people have ever lived is none.

    Parameters
    ----------
    features : all of the household
    masked : bool (n_persons,)
        Persons whose events nobody may see.
    """

    def __init__(self, city: City, features: Sequence[FeatureSpec], masked: NDArray[np.bool_]) -> None:
        home = attribute_history(city, city.relations["household"])
        assert home is not None  # refused before
        groups, self.n_columns = _groups(features)
        self._log, self._home, self._masked = city.events, home, frozen(masked)
        self._members = _real_homes(*home.persons_ever)
        self._layout = lay_out(groups, city.events.codes, self.n_columns)
        self._wanted = frozen(_codes_read(city.events, features))

    def columns(self, rows: Rows, threads: int = 1) -> NDArray[np.float32]:
        """The features' columns, one after another: float32 (n, n_columns)."""
        out = np.empty((rows.person.size, self.n_columns), dtype=np.float32)
        starts = np.zeros(rows.person.size + 1, dtype=np.int64)
        self._visit(rows, starts, None, None, None)
        np.cumsum(starts, out=starts)
        for part in _parts(starts, _EVENTS_AT_ONCE):
            some = Rows(rows.person[part], rows.as_of[part])
            log = self._merged(some, starts[part.start : part.stop + 1] - starts[part.start])
            own = np.arange(some.person.size, dtype=np.uint32)
            sweep(log, self._layout, own, some.as_of, threads=threads, out=out[part])
        return out

    def _merged(self, rows: Rows, offsets: NDArray[np.int64]) -> EventLog:
        """A log in which person ``i`` has the events of the others in the home of row ``i``, all known by then."""
        n, log = int(offsets[-1]), self._log
        time, code = np.empty(n, dtype=np.int64), np.empty(n, dtype=log.code.dtype)
        value = np.empty(n, dtype=np.float32)
        self._visit(rows, offsets, time, code, value)
        sort_within_persons(frozen(offsets), time, None, code, value)
        # Who they are is of no use to the sweep, and a row is nobody.
        nobody = log.person_ids[:0]
        return EventLog(nobody, read_only(offsets), read_only(time), None, read_only(code), read_only(value), log.codes)

    def _visit(self, rows: Rows, starts: NDArray[np.int64], *targets: NDArray[Any] | None) -> None:
        home = self._home
        time, known, code, value, offsets = log_arrays(self._log)
        events_of_others(
            home.offsets, home.begins, home.known, home.value, *self._members, self._masked,
            offsets, time, known, code, value, self._wanted, frozen(rows.person), frozen(rows.as_of), starts, *targets,
        )  # fmt: skip


def _real_homes(starts: NDArray[np.int64], persons: NDArray[np.uint32]) -> tuple[Any, Any]:
    """The members of each home, of which those with too many have none."""
    sizes = np.diff(starts)
    is_real = sizes <= MOST_IN_A_HOME
    kept = np.repeat(is_real, sizes)
    return frozen(np.concatenate([[0], np.cumsum(np.where(is_real, sizes, 0))])), frozen(persons[kept])


def _codes_read(log: EventLog, features: Sequence[FeatureSpec]) -> NDArray[np.bool_]:
    patterns = [pattern for feature in features for pattern in feature.codes]
    return np.array([matches(code, patterns) for code in log.codes], dtype=np.bool_)


def _parts(starts: NDArray[np.int64], at_once: int) -> Iterator[slice]:
    """Slices of rows that together have at most so many events, or of one row with more."""
    first, n = 0, starts.size - 1
    while first < n:
        last = int(np.searchsorted(starts, starts[first] + at_once, side="right")) - 1
        last = min(max(last, first + 1), n)
        yield slice(first, last)
        first = last


class DistrictRates:
    """Events per resident of the district in which a person lives on the as-of date; computed ahead for given days.

    A rate is NaN with fewer than 20 residents, and for who lives in no known district.

    Parameters
    ----------
    features : all of the district
    masked : bool (n_persons,)
        Persons who are no residents, and whose events do not count.
    days : int64 (n_days,)
        µs of the as-of dates, ascending.
    """

    def __init__(
        self,
        city: City,
        features: Sequence[FeatureSpec],
        masked: NDArray[np.bool_],
        days: NDArray[np.int64],
        threads: int = 1,
    ) -> None:
        home = attribute_history(city, city.relations["district"])
        assert home is not None  # refused before
        groups, self.n_columns = _groups(features, ["count"])
        layout = lay_out(groups, city.events.codes, self.n_columns)
        self._home, self._days = home, days
        everybody = np.flatnonzero(~masked).astype(np.uint32)
        self._rates = np.stack([_rates(city.events, home, layout, everybody, day, threads) for day in days])

    def columns(self, rows: Rows) -> NDArray[np.float32]:
        """The features' columns, one after another: float32 (n, n_columns)."""
        day = np.searchsorted(self._days, rows.as_of)
        found: NDArray[np.float32] = self._rates[day, self._home.on(rows)]
        return found


def _rates(
    log: EventLog, home: AttributeHistory, layout: Layout, persons: NDArray[np.uint32], day: int, threads: int
) -> NDArray[np.float32]:
    """Events per resident on one day: float32 (n_districts + 1, n_columns), of which the last is nobody's district."""
    n_districts = len(home.values)
    events = np.zeros((n_districts + 1, layout.empty.size))
    n_residents = np.zeros(n_districts + 1)
    for start in range(0, persons.size, _RESIDENTS_AT_ONCE):
        some = persons[start : start + _RESIDENTS_AT_ONCE]
        rows = Rows(some, np.full(some.size, day))
        district = home.on(rows)
        lives = district >= 0
        counts = sweep(log, layout, some[lives], rows.as_of[lives], threads=threads)
        n_residents += np.bincount(district[lives], minlength=n_districts + 1)
        for column in range(layout.empty.size):
            events[:, column] += np.bincount(district[lives], weights=counts[:, column], minlength=n_districts + 1)
    enough = n_residents >= FEWEST_RESIDENTS
    rates = np.full(events.shape, np.nan, dtype=np.float32)
    rates[enough] = events[enough] / n_residents[enough, None]
    return rates
