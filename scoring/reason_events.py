"""The day behind a reason: of the person's own events that a cell counts, or since when an attribute is as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.arrays import DAY_US
from features.attributes import attribute_history
from features.event_log import matches
from features.keyed_rows import Rows
from features.recount import bounds, needs_value

if TYPE_CHECKING:
    from features.city import City
    from scoring.reason_sentences import Column

_EPOCH = date(1970, 1, 1)
_NEVER = np.iinfo(np.int64).min
_OF_THE_FIRST = ("first", "days_since_first")
_OF_ONE = ("last", "days_since_last", "min", "max", *_OF_THE_FIRST)
"""Measures that tell of one event; of the others the latest is named, and that there are more."""


@dataclass(frozen=True)
class Behind:
    """What stands behind a cell: a day, and what it is.

    ``how`` is ``day`` (of the one event), ``latest`` (of several events), or ``since`` (when a value began).
    """

    day: date
    how: Literal["day", "latest", "since"]


class CountedEvent(NamedTuple):
    """An event that a cell counts: its day, code, and value (None without one)."""

    day: date
    code: str
    value: float | None


class EventDays:
    """The days behind the cells of some persons, each as known before an as-of date of his or her own.

    Only the person's own events and attributes are ever looked at: a household's or a district's events lend no day.

    Parameters
    ----------
    city : City
        That was scored, or whose part was.
    keys : pl.DataFrame (m,)
        ``person_id``, ``as_of_date`` of those whose reasons are told.
    columns : sequence of Column (p,)
        Of the matrix.
    """

    def __init__(self, city: City, keys: pl.DataFrame, columns: Sequence[Column]) -> None:
        self._city, self._log, self._columns = city, city.events, columns
        at = city.events.person_ids.search_sorted(keys["person_id"]).to_numpy().astype(np.int64)
        self._starts, self._stops = self._log.offsets[at], self._log.offsets[at + 1]
        self._as_of: list[date] = keys["as_of_date"].to_list()
        self._rows = Rows(at.astype(np.uint32), np.array([_us(day) for day in self._as_of], dtype=np.int64))
        self._began: dict[str, NDArray[np.int64]] = {}
        self._is_code: dict[tuple[str, ...], NDArray[np.bool_]] = {}
        self._bounds: dict[tuple[int, date], tuple[int, int, int]] = {}

    def behind(self, i: int, j: int) -> Behind | None:
        """What stands behind column ``j`` of person ``i``; None where nothing of the person's own with a day does."""
        column = self._columns[j]
        if column.feature.attribute is not None:
            return self._since(i, column.feature.attribute)
        if column.feature.of != "self":
            return None
        counted = self._counted(i, j, column)
        if not counted.size:
            return None
        at = counted[-1]
        if column.measure in _OF_THE_FIRST:
            at = counted[0]
        elif column.measure in ("min", "max"):
            values = self._log.value[counted]
            extreme = values.min() if column.measure == "min" else values.max()
            at = counted[np.flatnonzero(values == extreme)[-1]]
        day = _EPOCH + timedelta(days=int(self._log.time[at]) // DAY_US)
        return Behind(day, "latest" if counted.size > 1 and column.measure not in _OF_ONE else "day")

    def counted(self, i: int, columns: Sequence[int]) -> list[CountedEvent]:
        """The person's own events that some columns (of one feature) count, each once, in order of time.

        None for an attribute, a household or a district.
        """
        own = [j for j in columns if self._columns[j].feature.of == "self" and self._columns[j].window is not None]
        found = [self._counted(i, j, self._columns[j]) for j in own]
        places = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
        log = self._log
        return [
            CountedEvent(
                _EPOCH + timedelta(days=int(log.time[at]) // DAY_US),
                str(log.codes[log.code[at]]),
                None if np.isnan(log.value[at]) else float(log.value[at]),
            )
            for at in places
        ]

    def _since(self, i: int, attribute: str) -> Behind | None:
        """Since when the city holds an attribute to be as it is; None for age and for what never changes."""
        if attribute not in self._began:
            self._began[attribute] = self._beginnings(attribute)
        began = int(self._began[attribute][i])
        return None if began == _NEVER else Behind(_EPOCH + timedelta(days=began // DAY_US), "since")

    def _beginnings(self, attribute: str) -> NDArray[np.int64]:
        """µs when each person's present value began, as known before the day: int64 (m,)."""
        history = None if attribute in ("age", *self._city.fixed) else attribute_history(self._city, attribute)
        if history is None:
            return np.full(len(self._as_of), _NEVER)
        n_values, changed = history.changes(self._rows)
        return np.where((n_values > 0) & (history.on(self._rows) >= 0), changed, _NEVER)

    def _counted(self, i: int, j: int, column: Column) -> NDArray[np.int64]:
        """Places in the log of the events that a cell counts, in order of time."""
        first, stop, midnight = self._window(j, self._as_of[i])
        log, start = self._log, self._starts[i]
        low, high = start + np.searchsorted(log.time[start : self._stops[i]], (first, stop))
        part = slice(low, high)
        keep = self._with_codes(column.feature.codes)[log.code[part]]
        if log.known is not None:
            keep &= log.known[part] < midnight
        if needs_value(column.measure) or column.measure == "quantile":
            keep &= ~np.isnan(log.value[part])
        places: NDArray[np.int64] = low + np.flatnonzero(keep)
        return places

    def _window(self, j: int, as_of: date) -> tuple[int, int, int]:
        """First µs of a column's window, the first after it, and the as-of date's midnight."""
        found = self._bounds.get((j, as_of))
        if found is None:
            window = self._columns[j].window
            assert window is not None
            first, last = bounds(window, as_of)
            begins = _NEVER if first is None else _us(first)
            found = self._bounds[j, as_of] = (begins, _us(last) + DAY_US, _us(as_of))
        return found

    def _with_codes(self, patterns: tuple[str, ...]) -> NDArray[np.bool_]:
        found = self._is_code.get(patterns)
        if found is None:
            found = np.array([matches(code, patterns) for code in self._log.codes], dtype=np.bool_)
            self._is_code[patterns] = found
        return found


def _us(day: date) -> int:
    return (day - _EPOCH).days * DAY_US
