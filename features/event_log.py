"""The event log inside a city: events hashed to dense indices while they stream in, and grouped by person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.arrays import DAY_US, frozen, read_only
from features.door import Checked, DataError, Door
from features.side_threads import read_ahead

if TYPE_CHECKING:
    from features.row_groups import EventRows

_EPOCH = date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = ((day - _EPOCH).days for day in (date.min, date.max))
_USUAL_DAYS = ((date(1900, 1, 1) - _EPOCH).days, (date(2200, 12, 31) - _EPOCH).days)
_NEVER = np.iinfo(np.int64).max
_KNOWN_BY_EXTRACT = 0.999
_ROWS_FOR_THREADS = 2**20
"""Below so many rows, threads cost more than they save."""
_PIECES_AHEAD, _PARTS_PER_THREAD = 4, 4
_STATIC = 255  # stands in ``reason`` for a row that is no event and no reject


@dataclass(frozen=True, eq=False)
class EventLog:
    """Events grouped by person; within a person by time, then value (null first), then code; never by file order.

    Attributes
    ----------
    person_ids : pl.Series of str (n_persons,)
        Unique and sorted; the position is the dense index of the person.
    offsets : int64 (n_persons + 1,)
        Person ``i`` owns ``time[offsets[i]:offsets[i + 1]]``.
    time : int64 (n_events,)
        µs since 1970-01-01 in local time; an event without a clock stands at its day's midnight.
    known : int64 (n_events,) or None
        When the city came to know it, likewise; None when no event became known on a later day than it happened.
    code : uint16 or uint32 (n_events,)
        Position in ``codes``.
    value : float32 (n_events,)
        NaN is null.
    codes : tuple of str
        Every code that occurs, sorted.
    """

    person_ids: pl.Series
    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    known: NDArray[np.int64] | None
    code: NDArray[np.uint16] | NDArray[np.uint32]
    value: NDArray[np.float32]
    codes: tuple[str, ...]


def matches(code: str, patterns: Iterable[str]) -> bool:
    """Whether a code is one of some patterns, of which any may end in a star.

    >>> matches("school.absence.ill", ["school.absence.*"]), matches("school.absence", ["school.absence.*"])
    (True, False)
    """
    return any(code.startswith(p[:-1]) if p.endswith("*") else code == p for p in patterns)


def read_events(
    door: Door, files: Sequence[Checked], ids: pl.Series, *, may_be_empty: bool
) -> tuple[EventLog, date, int]:
    """The usable events of the persons ``ids``, the extract date, and the number of rows before rejecting."""
    reading = _Reading(door, files, ids)
    n_rows = reading.find_persons()
    if not n_rows and not may_be_empty:
        raise DataError(Fault("events", "holds no rows", "Export the event log again"))
    extract_date, source = door.settings.extract_date, "as told"
    reading.place_rows(_NEVER if extract_date is None else _first_after(extract_date))
    if extract_date is None:
        extract_date, source = reading.default_extract_date(), "by which 99.9 % of events are known"
        reading.leave_out(_first_after(extract_date))
    n_static = reading.put_aside()
    door.say(f"extract date {extract_date} ({source})")
    return reading.log(), extract_date, n_rows - n_static


def _first_after(day: date) -> int:
    """The first µs after a day."""
    return ((day - _EPOCH).days + 1) * DAY_US


class _File:
    """One file on its way in: a reader of its rows, where each row's person stands, and why rows were put aside."""

    def __init__(self, checked: Checked, rows: EventRows) -> None:
        self.rows = rows
        self.has_known = "knowledge_date" in checked.columns
        column = "knowledge_date" if self.has_known else "event_date"
        asked = [
            ("no id", "person_id"),
            ("no date", "event_date"),
            ("no code", "code"),
            ("no date", "knowledge_date"),
            ("not finite", "value"),
            ("person not in persons", "person_id"),
            ("known before it happened", column),
            ("known after the extract date", column),
        ]
        self.checked = checked._replace(reasons=(*checked.reasons, *asked[5:]))
        number_of = {reason: number for number, reason in enumerate(self.checked.reasons, start=1)}
        self.why = np.array([number_of.get(reason, 0) for reason in asked], dtype=np.uint8)
        self.no_date, self.too_late = int(self.why[1]), int(self.why[7])
        if checked.undated_are_static:
            self.why[1] = _STATIC
        self.place = np.empty(rows.n_rows, dtype=np.uint32)
        self.reason = np.zeros(rows.n_rows, dtype=np.uint8)  # takes no memory until something is written


class _Reading:
    """The passes over the files of one event log; the log grows in place and is never held twice."""

    def __init__(self, door: Door, files: Sequence[Checked], ids: pl.Series) -> None:
        from features.row_groups import rows_of

        self.door, self.ids, self.files = door, ids, list[_File]()
        for file in files:
            with _damage_of(door, file):
                self.files.append(_File(file, rows_of(file, door.settings.timezone)))
        door.refuse_faults()
        n_rows = sum(file.rows.n_rows for file in self.files)
        self.threads = pl.thread_pool_size() if n_rows >= _ROWS_FOR_THREADS else 1
        self.numbers: dict[str, int] = {}
        self.is_ahead = np.empty(0, dtype=np.uint8)

    def find_persons(self) -> int:
        """First pass: who each row is about, and how much room each person needs; returns the number of rows."""
        from features.person_index import PersonIndex
        from features.regrouping import count_persons
        from features.row_groups import CANNOT_READ

        index, counts = PersonIndex(self.ids), np.zeros(len(self.ids), dtype=np.int64)
        adding = Lock()

        def find(file: _File) -> bool:
            """Whether the file could be read; each file has places of its own, and counts are added one at a time."""
            first = 0
            try:
                for place in file.rows.places(index):
                    with adding:
                        count_persons(frozen(place), counts)
                    file.place[first : first + place.size] = place
                    first += place.size
            except CANNOT_READ:
                return False
            return True

        with ThreadPoolExecutor(self.threads) as pool:
            could_read = list(pool.map(find, self.files) if self.threads > 1 else map(find, self.files))
        for file, is_whole in zip(self.files, could_read, strict=True):
            if not is_whole:
                self.door.unreadable(file.checked.label)
        self.door.refuse_faults()
        self.offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return sum(file.rows.n_rows for file in self.files)

    def place_rows(self, too_late: int) -> None:
        """Second pass: judge every row and put the good ones where their persons' events stand."""
        from features.regrouping import place_rows

        n, has_known = self.offsets[-1], any(file.has_known for file in self.files)
        self.stops = self.offsets[:-1].copy()
        self.time, self.value = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float32)
        self.known = np.empty(n, dtype=np.int64) if has_known else None
        self.code: NDArray[Any] = np.empty(n, dtype=np.uint16)
        bounds = frozen(np.array([_FIRST_DAY * DAY_US, (_LAST_DAY + 1) * DAY_US, too_late]))
        for file in self.files:
            with _damage_of(self.door, file.checked):
                pieces = read_ahead(file.rows.rows, _PIECES_AHEAD) if self.threads > 1 else file.rows.rows()
                for rows in pieces:
                    number_of = self._number(rows.names)
                    part = slice(rows.first, rows.first + rows.time.size)
                    if rows.reason is not None:
                        file.reason[part] = np.where(rows.reason == file.no_date, file.why[1], rows.reason)
                    place_rows(
                        frozen(file.place[part]),
                        frozen(rows.time),
                        frozen(rows.time if rows.known is None else rows.known) if has_known else None,
                        frozen(rows.code),
                        frozen(number_of),
                        frozen(self.is_ahead),
                        frozen(rows.value),
                        frozen(rows.has_value),
                        frozen(file.why),
                        bounds,
                        file.reason[part],
                        self.stops,
                        self.time,
                        self.known,
                        self.code,
                        self.value,
                    )
            file.place = np.empty(0, dtype=np.uint32)
        self.door.refuse_faults()

    def _number(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Codes are numbered as they come; the log is widened when 16 bits no longer tell them apart."""
        n_before, numbers = len(self.numbers), self.numbers
        told = np.array([numbers.setdefault(name, len(numbers)) if name else -1 for name in names], dtype=np.int32)
        if len(numbers) > n_before:
            ahead = self.door.settings.events.ahead
            new = [matches(name, ahead) for name in list(numbers)[n_before:]]
            self.is_ahead = np.concatenate([self.is_ahead, np.array(new, dtype=np.uint8)])
            if len(numbers) > 2**16 - 1 and self.code.dtype == np.uint16:
                self.code = self.code.astype(np.uint32)
        return told

    def default_extract_date(self) -> date:
        """The first day by whose end 99.9 % of the usable events are known."""
        from features.regrouping import count_days

        moment = self.time if self.known is None else self.known
        for first, last in (_USUAL_DAYS, (_FIRST_DAY, _LAST_DAY)):
            counts = np.zeros(last - first + 3, dtype=np.int64)  # one before, one after
            count_days(frozen(self.offsets), frozen(self.stops), frozen(moment), first - 1, counts)
            known = np.cumsum(counts)
            if not known[-1]:
                wrong = "holds no usable event to tell the extract date by"
                raise DataError(Fault("events", wrong, "Give extract_date in city.toml"))
            at = int(np.searchsorted(known, int(np.ceil(_KNOWN_BY_EXTRACT * known[-1]))))
            if 0 < at < counts.size - 1:
                break
        self.n_late = int(known[-1] - known[at])
        return _EPOCH + timedelta(days=first - 1 + at)

    def leave_out(self, too_late: int) -> None:
        """Take out what is known too late, and look up where in the files those rows stand."""
        if not self.n_late:
            return
        self._close_gaps(too_late)
        n_found = 0
        for file in self.files:
            with _damage_of(self.door, file.checked):
                for first, known in file.rows.known(too_late):
                    late = np.flatnonzero((known >= too_late) & (file.reason[first : first + known.size] == 0))
                    file.reason[first + late] = file.too_late
                    n_found += late.size
                    if n_found == self.n_late:
                        return
        self.door.refuse_faults()

    def _close_gaps(self, too_late: int) -> None:
        from features.regrouping import close_gaps

        if too_late != _NEVER or np.any(self.stops != self.offsets[1:]):
            close_gaps(self.offsets, frozen(self.stops), too_late, self.time, self.known, self.code, self.value)
            self.stops = self.offsets[1:].copy()

    def put_aside(self) -> int:
        """Hand the rejects to the door; returns the number of rows left out because they are no events."""
        n_static = 0
        for file in self.files:
            if file.checked.undated_are_static:
                is_static = file.reason == _STATIC
                n_static += int(is_static.sum())
                file.reason[is_static] = 0
        self.door.put_aside("events", [(file.checked, file.reason) for file in self.files])
        if n_static:
            self.door.say(f"events: {n_static:,} rows without a date say what never changes and are no events")
        return n_static

    def log(self) -> EventLog:
        """What is left, in its one order."""
        from features.regrouping import any_known_on_another_day, sort_within_persons

        self._close_gaps(_NEVER)
        n, known = self.offsets[-1], self.known
        if known is not None and not any_known_on_another_day(frozen(self.time[:n]), frozen(known[:n])):
            known = self.known = None
        columns = (self.time, known, self.code, self.value)
        for column in columns:
            if column is not None and column.size > n:
                column.resize(n, refcheck=False)  # gives the rest back without a copy
        codes = self._renumber()
        with ThreadPoolExecutor(self.threads) as pool:  # nobody's events are in two parts
            cuts = np.linspace(0, len(self.ids), _PARTS_PER_THREAD * self.threads + 1).astype(np.int64).tolist()
            parts = [frozen(self.offsets[first : last + 1]) for first, last in pairwise(cuts)]
            for _ in pool.map(lambda own: sort_within_persons(own, self.time, known, self.code, self.value), parts):
                pass
        return EventLog(
            person_ids=self.ids,
            offsets=read_only(self.offsets),
            time=read_only(self.time),
            known=None if known is None else read_only(known),
            code=read_only(self.code),
            value=read_only(self.value),
            codes=codes,
        )

    def _renumber(self) -> tuple[str, ...]:
        """Number the codes by name, only those that occur: a rejected row leaves no trace in a digest."""
        from features.regrouping import mark_codes, renumber

        names = list(self.numbers)
        is_used = np.zeros(len(names), dtype=np.uint8)
        mark_codes(frozen(self.code), is_used)
        used = sorted(name for name, occurs in zip(names, is_used, strict=True) if occurs)
        number_of = np.zeros(len(names), dtype=np.uint32)
        number_of[[self.numbers[name] for name in used]] = np.arange(len(used), dtype=np.uint32)
        renumber(self.code, frozen(number_of))
        if len(used) <= 2**16 - 1:
            self.code = self.code.astype(np.uint16, copy=False)
        return tuple(used)


@contextmanager
def _damage_of(door: Door, file: Checked) -> Iterator[None]:
    """A fault instead of an error when a file turns out to be damaged inside."""
    from features.row_groups import CANNOT_READ

    try:
        yield
    except CANNOT_READ:
        door.unreadable(file.label)
