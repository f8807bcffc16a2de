"""What a person was on a day: age, and what the city then held for an attribute."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.arrays import DAY_US
from features.city import City, DataError
from features.keyed_rows import KeyedRows


def age_on(city: City, place: KeyedRows) -> NDArray[np.float64]:
    """Years since birth, whole on birthdays; NaN without a birth date or before birth.

    Who was born on 29 February has the birthday on 1 March in other years.
    """
    if "birth_date" not in city.persons.columns:
        wrong = "age is asked for, and the city's persons have no birth_date"
        raise DataError(Fault("persons", wrong, "Add the column, or leave age out of the need"))
    birth = city.persons["birth_date"].to_numpy().astype("datetime64[D]")[place.person]
    as_of = (place.as_of // DAY_US).astype("datetime64[D]")
    years = as_of.astype("datetime64[Y]").astype(np.int64) - birth.astype("datetime64[Y]").astype(np.int64)
    years = years - (as_of < _birthday(birth, years))
    last, following = _birthday(birth, years), _birthday(birth, years + 1)
    with np.errstate(invalid="ignore"):
        part = (as_of - last).astype(np.float64) / (following - last).astype(np.float64)
    return np.where(np.isnat(birth) | (as_of < birth), np.nan, years + part)


def _birthday(birth: NDArray[np.datetime64], years: NDArray[np.int64]) -> NDArray[np.datetime64]:
    months = birth.astype("datetime64[M]")
    days = birth - months.astype("datetime64[D]")
    shifted: NDArray[np.datetime64] = (months + 12 * years).astype("datetime64[D]") + days
    return shifted


def attribute_on(city: City, attribute: str, as_of_date: date) -> pl.DataFrame | None:
    """What the city held for an attribute of each person when a day began: ``person_id``, ``value``.

    Read from the fixed columns of ``persons``, or from ``history`` as it was known; None where neither has it.
    """
    if attribute in city.fixed:
        return city.persons.select("person_id", pl.col(attribute).alias("value"))
    if city.history is None or attribute not in city.history["attribute"]:
        return None
    midnight = int(np.datetime64(as_of_date, "us").astype(np.int64))
    return attribute_at(city, attribute, midnight).select("person_id", "value")


def attribute_at(city: City, attribute: str, as_of: int) -> pl.DataFrame:
    """What the city then held for an attribute: the latest beginning before the day, as last known before the day."""
    assert city.history is not None
    midnight = pl.lit(as_of).cast(pl.Datetime("us"))
    seen = (pl.col("from_date") < midnight) & (pl.col("knowledge_date") < midnight)
    rows = city.history.filter((pl.col("attribute") == attribute) & seen)
    ordered = rows.sort("person_id", "from_date", "knowledge_date", "value", nulls_last=False)
    return ordered.unique("person_id", keep="last", maintain_order=True)
