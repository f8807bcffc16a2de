"""What a person was on a day: age, and what the city then held for an attribute, as a value or as a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault, did_you_mean
from features.arrays import DAY_US, frozen
from features.city import City, DataError
from features.history_kernels import count_changes, entries_held
from features.keyed_rows import KeyedRows, Rows
from features.spec import FeatureSpec

_ALWAYS = -(2**62)
"""µs; when what never changes began."""


def age_on(city: City, rows: Rows | KeyedRows) -> NDArray[np.float64]:
    """Years since birth, whole on birthdays; NaN without a birth date or before birth.

    Who was born on 29 February has the birthday on 1 March in other years.
    """
    if "birth_date" not in city.persons.columns:
        raise DataError(_NO_BIRTH_DATES)
    birth = city.persons["birth_date"].to_numpy().astype("datetime64[D]")[rows.person]
    as_of = (rows.as_of // DAY_US).astype("datetime64[D]")
    years = as_of.astype("datetime64[Y]").astype(np.int64) - birth.astype("datetime64[Y]").astype(np.int64)
    years = years - (as_of < _birthday(birth, years))
    last, following = _birthday(birth, years), _birthday(birth, years + 1)
    with np.errstate(invalid="ignore"):
        part = (as_of - last).astype(np.float64) / (following - last).astype(np.float64)
    return np.where(np.isnat(birth) | (as_of < birth), np.nan, years + part)


_NO_BIRTH_DATES = Fault(
    "persons",
    "age is asked for, and the city's persons have no birth_date",
    "Add the column, or leave age out of the need",
)


def _birthday(birth: NDArray[np.datetime64], years: NDArray[np.int64]) -> NDArray[np.datetime64]:
    months = birth.astype("datetime64[M]")
    days = birth - months.astype("datetime64[D]")
    shifted: NDArray[np.datetime64] = (months + 12 * years).astype("datetime64[D]") + days
    return shifted


# -- what the city held


@dataclass(frozen=True, eq=False)
class AttributeHistory:
    """What the city held of one attribute: a person's entries by beginning, then knowledge, then value (null first).

    Attributes
    ----------
    offsets : int64 (n_persons + 1,)
        Person ``i`` owns the entries ``offsets[i]:offsets[i + 1]``.
    begins, known : int64 (n_entries,)
        µs, local; both long past where the attribute never changes.
    value : int32 (n_entries,)
        Position in ``values``; -1 for null.
    values : pl.Series of str
        Every value that occurs, sorted.
    """

    offsets: NDArray[np.int64]
    begins: NDArray[np.int64]
    known: NDArray[np.int64]
    value: NDArray[np.int32]
    values: pl.Series

    def entries_on(self, rows: Rows) -> NDArray[np.int64]:
        """The entry that held for each row: the latest beginning before the day, as last known before it; or -1."""
        held = np.empty(rows.person.size, dtype=np.int64)
        entries_held(self.offsets, self.begins, self.known, frozen(rows.person), frozen(rows.as_of), held)
        return held

    def on(self, rows: Rows) -> NDArray[np.int32]:
        """Number of the value that held for each row, as known then; -1 for none."""
        entries = self.entries_on(rows)
        found = np.full(entries.size, -1, dtype=np.int32)
        found[entries >= 0] = self.value[entries[entries >= 0]]
        return found

    def changes(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many values followed one another before each row's day, as known then; and µs when the last began."""
        n_values, changed = np.empty((2, rows.person.size), dtype=np.int64)
        count_changes(
            self.offsets,
            self.begins,
            self.known,
            self.value,
            frozen(rows.person),
            frozen(rows.as_of),
            n_values,
            changed,
        )
        return n_values, changed

    @cached_property
    def persons_ever(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Who ever had a value: of value ``v``, ``persons[starts[v]:starts[v + 1]]``, ascending, each once."""
        person = np.repeat(np.arange(self.offsets.size - 1, dtype=np.uint32), np.diff(self.offsets))
        has = self.value >= 0
        pairs = pl.DataFrame({"value": self.value[has], "person": person[has]}).unique().sort("value", "person")
        counts = np.bincount(pairs["value"].to_numpy(), minlength=len(self.values))
        return frozen(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)), frozen(pairs["person"].to_numpy())


_PREPARED: WeakKeyDictionary[City, dict[str, AttributeHistory]] = WeakKeyDictionary()


def attribute_history(city: City, attribute: str) -> AttributeHistory | None:
    """What the city held of an attribute, from its fixed columns or its history; None where neither has it.

    Sorted once per city, and kept as long as the city is. In a part of a city an attribute of which its persons have
    no entry is one without entries.
    """
    prepared = _PREPARED.setdefault(city, {})
    if attribute not in prepared:
        if attribute in city.fixed:
            entries = city.persons.select(
                person=pl.int_range(pl.len(), dtype=pl.UInt32),
                value=attribute,
                begins=pl.lit(_ALWAYS, dtype=pl.Int64),
                known=pl.lit(_ALWAYS, dtype=pl.Int64),
            )
        elif city.history is not None and attribute in attributes_of(whole_city(city)):
            everyone = pl.DataFrame({"person_id": city.events.person_ids}).with_row_index("person")
            entries = (
                city.history.filter(pl.col("attribute") == attribute)
                .join(everyone, on="person_id")
                .select(
                    "person",
                    "value",
                    begins=pl.col("from_date").dt.timestamp("us"),
                    known=pl.col("knowledge_date").dt.timestamp("us"),
                )
                .sort("person", "begins", "known", "value", nulls_last=False)
            )
        else:
            return None
        prepared[attribute] = _as_arrays(entries, len(city.events.person_ids))
    return prepared[attribute]


def _as_arrays(entries: pl.DataFrame, n_persons: int) -> AttributeHistory:
    values = entries["value"].drop_nulls().unique().sort()
    number = entries["value"].cast(pl.Enum(values)).to_physical().cast(pl.Int32).fill_null(-1)
    counts = np.bincount(entries["person"].to_numpy(), minlength=n_persons)
    return AttributeHistory(
        offsets=frozen(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        begins=frozen(entries["begins"].to_numpy()),
        known=frozen(entries["known"].to_numpy()),
        value=frozen(number.to_numpy()),
        values=values,
    )


def whole_city(city: City) -> City:
    """The city that a part was taken from with :meth:`City.only`, or the city itself."""
    return city.whole or city


def attributes_of(city: City) -> list[str]:
    """Attributes that the city has of its persons: fixed columns, and those of its history. Audit groups never are."""
    changing = [] if city.history is None else city.history["attribute"].unique().sort().to_list()
    return [*city.fixed, *changing]


def attribute_on(city: City, attribute: str, as_of_date: date) -> pl.DataFrame | None:
    """What the city held for an attribute of each person when a day began: ``person_id``, ``value``.

    Read from the fixed columns of ``persons``, or from ``history`` as it was known; None where neither has it. Who has
    no known entry is left out.
    """
    if attribute in city.fixed:
        return city.persons.select("person_id", pl.col(attribute).alias("value"))
    history = attribute_history(city, attribute)
    if history is None:
        return None
    n = len(city.events.person_ids)
    midnight = int(np.datetime64(as_of_date, "us").astype(np.int64))
    entries = history.entries_on(Rows(np.arange(n, dtype=np.uint32), np.full(n, midnight)))
    is_known = entries >= 0
    number = pl.Series(history.value[entries[is_known]])
    value = history.values.gather(number.set(number < 0, None).cast(pl.UInt32))
    return pl.DataFrame({"person_id": city.events.person_ids.filter(pl.Series(is_known)), "value": value})


# -- as features


def refuse_attributes(city: City, features: Sequence[FeatureSpec]) -> list[Fault]:
    """What is wrong with the attributes that features ask of a city; empty when all can be computed.

    A part of a city is judged by the whole, so that one person alone is computed as among all.
    """
    faults, city = [], whole_city(city)
    for feature in features:
        if feature.attribute is None:
            continue
        where = f"features '{feature.name}'.attribute"
        if feature.attribute == "age":
            if "birth_date" not in city.persons.columns and _NO_BIRTH_DATES not in faults:
                faults.append(_NO_BIRTH_DATES)
            continue
        history = attribute_history(city, feature.attribute)
        if history is None:
            wrong = f"'{feature.attribute}' is neither a fixed column of persons nor in history"
            faults.append(Fault(where, wrong, did_you_mean(feature.attribute, ["age", *attributes_of(city)])))
        elif feature.measures and feature.attribute in city.fixed:
            wrong = f"'{feature.attribute}' is a fixed column of persons, so it has no changes to measure"
            mend = "Leave measures out, or let history say how it changes"
            faults.append(Fault(where, wrong, mend))
        elif feature.name in feature.columns() and not feature.categories and np.isnan(_numbers(history)).all():
            wrong = f"no value of '{feature.attribute}' is a number"
            faults.append(Fault(where, wrong, 'List its values: categories = ["…", "…"]'))
    return faults


def attribute_columns(city: City, feature: FeatureSpec, rows: Rows) -> list[NDArray[Any]]:
    """The columns of a feature on an attribute, in the order of ``feature.columns()``, as known before each row's day.

    The value is a number as written (NaN where it is none, or nothing is known), or its place in ``categories`` from
    0.0. ``months_since_change`` is whole calendar months since the latest known change, of which moving in is the
    first; NaN without. ``n_changes`` counts known changes of value after the first; 0 without.
    """
    if feature.attribute == "age":
        return [age_on(city, rows)]
    assert feature.attribute is not None
    history = attribute_history(city, feature.attribute)
    assert history is not None  # refused before
    columns: list[NDArray[Any]] = []
    if feature.name in feature.columns():
        meaning = _places(history, feature.categories) if feature.categories else _numbers(history)
        columns.append(np.append(meaning, np.float32(np.nan))[history.on(rows)])
    if feature.measures:
        n_values, changed = history.changes(rows)
        by_name = {
            "n_changes": np.maximum(n_values - 1, 0),
            "months_since_change": np.where(n_values > 0, _whole_months(changed, rows.as_of), np.nan),
        }
        columns += [by_name[measure] for measure in feature.measures]
    return columns


def _numbers(history: AttributeHistory) -> NDArray[np.float32]:
    """Each value as a number; NaN where it is none, or too large to be stored."""
    with np.errstate(over="ignore"):
        text = history.values.str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy().astype(np.float32)
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))


def _places(history: AttributeHistory, categories: Sequence[str]) -> NDArray[np.float32]:
    place = {value: float(i) for i, value in enumerate(categories)}
    return np.array([place.get(value, np.nan) for value in history.values], dtype=np.float32)


def _whole_months(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole calendar months from one day to a later one: m months have passed when the day of the month is reached."""
    days = [(moment // DAY_US).astype("datetime64[D]") for moment in (start, stop)]
    months = [day.astype("datetime64[M]") for day in days]
    in_month = [(day - month.astype("datetime64[D]")).astype(np.int64) for day, month in zip(days, months, strict=True)]
    between: NDArray[np.int64] = (months[1] - months[0]).astype(np.int64) - (in_month[1] < in_month[0])
    return between
