"""The rows of a matrix: who, looked at from which day; checked, placed in the log, and without objectors."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.arrays import DAY_US
from features.city import City, DataError
from features.person_index import PersonIndex

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister

KEYS = {"person_id": pl.String(), "as_of_date": pl.Date()}


class Rows(NamedTuple):
    """Each row's dense person index and the µs of its as-of midnight."""

    person: NDArray[np.uint32]
    as_of: NDArray[np.int64]


class KeyedRows(NamedTuple):
    """Rows together with the keys they were found by: person_id, as_of_date."""

    keys: pl.DataFrame
    person: NDArray[np.uint32]
    as_of: NDArray[np.int64]

    @property
    def rows(self) -> Rows:
        """The same without the keys."""
        return Rows(self.person, self.as_of)

    def part(self, rows: slice | NDArray[np.int64]) -> KeyedRows:
        """Some of the rows, by position."""
        return KeyedRows(self.keys[rows], self.person[rows], self.as_of[rows])


def keyed_rows(city: City, keys: pl.DataFrame, *, in_order: bool = False) -> KeyedRows:
    """Check keys and find their persons.

    ``in_order`` asks for rows as a matrix needs them: by as-of date and person, none after the extract date (a label
    that far ahead is merely not known yet).
    """
    wrong_types = [name for name, dtype in KEYS.items() if keys.schema.get(name) != dtype]
    if wrong_types:
        wrong = f"{', '.join(wrong_types)} is missing or of a wrong type"
        raise DataError(Fault("keys", wrong, "Give person_id as text and as_of_date as a day"))
    keys = keys.select(*KEYS)
    index = PersonIndex(city.events.person_ids)
    person = index.find(keys["person_id"])
    n_dateless, n_unknown = keys["as_of_date"].null_count(), int((person >= index.stranger).sum())
    as_of = keys["as_of_date"].cast(pl.Int64).fill_null(0).to_numpy() * DAY_US
    # By number, which orders persons as their ids do, and costs a third of ordering by text.
    order = np.lexsort((person, as_of))
    if n_dateless or n_unknown:
        n_repeated = keys.height - keys.n_unique()
    else:
        n_repeated = int((_repeats(as_of[order]) & _repeats(person[order])).sum())
    today = (city.extract_date - date(1970, 1, 1)).days * DAY_US
    n_later = int((as_of > today).sum()) if in_order else 0
    _refuse(city, keys.height, n_dateless, n_unknown, n_repeated, n_later)
    if not in_order:
        return KeyedRows(keys, person, as_of)
    return KeyedRows(keys[order], person[order], as_of[order])


def _repeats(values: NDArray[np.int64] | NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether each value but the first repeats the one before it."""
    repeats: NDArray[np.bool_] = values[1:] == values[:-1]
    return repeats


def _refuse(city: City, n_rows: int, n_dateless: int, n_unknown: int, n_repeated: int, n_later: int) -> None:
    faults = []
    if n_rows == 0:
        faults.append(Fault("keys", "hold no rows", "Give at least one person and as-of date"))
    if n_dateless:
        faults.append(Fault("keys", f"{n_dateless:,} rows have no as-of date", "Give each row its day"))
    if n_unknown:
        wrong = f"{n_unknown:,} of {n_rows:,} rows name persons who are not in the city '{city.name}'"
        faults.append(Fault("keys", wrong, "Ask for persons of its persons table"))
    if n_repeated:
        wrong = f"{n_repeated:,} of {n_rows:,} rows repeat a person and as-of date"
        faults.append(Fault("keys", wrong, "Give each person one row per as-of date"))
    if n_later:
        wrong = f"{n_later:,} of {n_rows:,} rows look from a day after the extract date {city.extract_date}"
        mend = f"The city does not know those days yet: look from {city.extract_date} or earlier"
        faults.append(Fault("keys", wrong, mend))
    if faults:
        raise DataError(*faults)


def objector_rows(
    place: KeyedRows, objections: ObjectionRegister, need_id: str
) -> tuple[NDArray[np.bool_] | None, int]:
    """Which rows are of persons who do not object to the need, and how many persons do.

    None stands for all rows, when nobody objects.

    Raises
    ------
    DataError
        Everybody objects.
    """
    persons, which = np.unique(place.person, return_inverse=True)
    ids = place.keys["person_id"].gather(_a_row_of_each(which, persons.size))
    objects = np.asarray(objections.objecting(ids.to_list(), need_id), dtype=np.bool_)
    n_objectors = int(objects.sum())
    if n_objectors == 0:
        return None, 0
    if n_objectors == persons.size:
        wrong = f"all {n_objectors:,} persons object to '{need_id}'"
        raise DataError(Fault("cohort", wrong, "There is nobody left to compute for; nothing was computed"))
    return ~objects[which], n_objectors


def _a_row_of_each(which: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """A row of each of ``n`` persons."""
    rows = np.empty(n, dtype=np.int64)
    rows[which] = np.arange(which.size)
    return rows


def without_objectors(place: KeyedRows, objections: ObjectionRegister, need_id: str) -> tuple[KeyedRows, int]:
    """The rows whose person does not object to the need, and how many persons do; DataError when all of them do."""
    keep, n_objectors = objector_rows(place, objections, need_id)
    return (place if keep is None else place.part(np.flatnonzero(keep))), n_objectors
