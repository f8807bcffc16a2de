"""The rows of a matrix: who, looked at from which day; checked, placed in the log, and without objectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.arrays import DAY_US
from features.city import City, DataError

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister

KEYS = {"person_id": pl.String(), "as_of_date": pl.Date()}


class KeyedRows(NamedTuple):
    """Keys, with each row's dense person index and the µs of its as-of midnight."""

    keys: pl.DataFrame
    person: NDArray[np.uint32]
    as_of: NDArray[np.int64]


def keyed_rows(city: City, keys: pl.DataFrame, *, in_order: bool = False) -> KeyedRows:
    """Check keys and find their persons; ``in_order`` sorts them by as-of date and person."""
    wrong_types = [name for name, dtype in KEYS.items() if keys.schema.get(name) != dtype]
    if wrong_types:
        wrong = f"{', '.join(wrong_types)} is missing or of a wrong type"
        raise DataError(Fault("keys", wrong, "Give person_id as text and as_of_date as a day"))
    keys = keys.select(*KEYS).sort("as_of_date", "person_id") if in_order else keys.select(*KEYS)
    everyone = pl.DataFrame({"person_id": city.events.person_ids}).with_row_index("person")
    person = keys.join(everyone, on="person_id", how="left", maintain_order="left")["person"]
    faults = []
    if keys.is_empty():
        faults.append(Fault("keys", "hold no rows", "Give at least one person and as-of date"))
    if n_dateless := keys["as_of_date"].null_count():
        faults.append(Fault("keys", f"{n_dateless:,} rows have no as-of date", "Give each row its day"))
    if n_unknown := person.null_count():
        wrong = f"{n_unknown:,} of {keys.height:,} rows name persons who are not in the city '{city.name}'"
        faults.append(Fault("keys", wrong, "Ask for persons of its persons table"))
    if n_repeated := keys.height - keys.n_unique():
        wrong = f"{n_repeated:,} of {keys.height:,} rows repeat a person and as-of date"
        faults.append(Fault("keys", wrong, "Give each person one row per as-of date"))
    if faults:
        raise DataError(*faults)
    as_of = keys["as_of_date"].cast(pl.Int32).to_numpy().astype(np.int64) * DAY_US
    return KeyedRows(keys, person.to_numpy().astype(np.uint32), as_of)


def without_objectors(place: KeyedRows, objections: ObjectionRegister, need_id: str) -> tuple[KeyedRows, int]:
    """The rows whose person does not object to the need, and how many persons do; DataError when all of them do."""
    persons = place.keys["person_id"].unique(maintain_order=True)
    objects = np.asarray(objections.objecting(persons.to_list(), need_id), dtype=np.bool_)
    n_objectors = int(objects.sum())
    if n_objectors == 0:
        return place, 0
    if n_objectors == len(persons):
        wrong = f"all {n_objectors:,} persons object to '{need_id}'"
        raise DataError(Fault("cohort", wrong, "There is nobody left to compute for; nothing was computed"))
    keep = ~place.keys["person_id"].is_in(persons.filter(pl.Series(objects)).implode())
    mask = keep.to_numpy()
    return KeyedRows(place.keys.filter(keep), place.person[mask], place.as_of[mask]), n_objectors
