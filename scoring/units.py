"""Units of a service: whom each serves, and how the service's capacity is shared between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING

import polars as pl

from ethics.refusals import BadInput, Fault
from features.attributes import attribute_on

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from scoring.scorer import Scores

LONGEST_ID = 200
"""Characters of a unit's id, as the store keeps it."""


def units_of(city: City, need: Need) -> pl.DataFrame:
    """The units that list people: ``unit_id``, ``name``, ``districts``, ``capacity``; the service alone by default.

    Raises
    ------
    BadInput
        Two units of one id; an id longer than :data:`LONGEST_ID`; a district of two units; a capacity that is
        not a number of people.
    """
    types: dict[str, pl.DataType] = {
        "unit_id": pl.String(),
        "name": pl.String(),
        "districts": pl.List(pl.String),
        "capacity": pl.Float64(),
    }
    if city.units is None or city.units.is_empty():
        row = {"unit_id": need.service, "name": need.service, "districts": None, "capacity": None}
        return pl.DataFrame([row], schema=types)
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in types.items() if name not in city.units.columns]
    units = city.units.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in types.items())
    faults = [
        Fault("units: unit_id", f"'{unit_id}' comes twice", "Give each unit one row")
        for unit_id in _twice(units["unit_id"])
    ]
    faults += [
        Fault("units: districts", f"'{district}' is served by two units", "Let one unit serve each district")
        for district in _twice(units["districts"].explode().drop_nulls())
    ]
    faults += [
        Fault(f"units: capacity of '{unit}'", f"is {capacity:g}", "Give how many people it can try to reach")
        for unit, capacity in units.select("unit_id", "capacity").drop_nulls().iter_rows()
        if capacity < 0 or capacity != int(capacity)
    ]
    faults += [
        Fault("units: unit_id", f"is {len(unit_id)} characters long", f"Give at most {LONGEST_ID}")
        for unit_id in units["unit_id"].drop_nulls()
        if len(unit_id) > LONGEST_ID
    ]
    if 0 < units["capacity"].null_count() < units.height:
        without = ", ".join(units.filter(pl.col("capacity").is_null())["unit_id"])
        faults.append(Fault("units: capacity", f"is missing for {without}", "Give it for every unit, or for none"))
    if faults:
        raise BadInput(*faults)
    return units.with_columns(pl.col("capacity").cast(pl.Int64))


def unit_of_persons(city: City, units: pl.DataFrame, scores: Scores) -> pl.DataFrame:
    """Which unit serves each scored person: ``person_id``, ``unit_id`` (null where no unit is known to).

    A single unit without districts serves everybody; otherwise the person's ``district`` on the as-of date decides.
    """
    persons = scores.frame.select("person_id")
    if units.height == 1 and units["districts"].is_null().all():
        return persons.with_columns(unit_id=pl.lit(units["unit_id"][0]))
    served = units.select("unit_id", pl.col("districts").alias("district")).explode("district").drop_nulls()
    living = persons.join(_districts_on(city, scores.as_of_date), on="person_id", how="left")
    return living.join(served, on="district", how="left").select("person_id", "unit_id")


def _districts_on(city: City, as_of_date: date) -> pl.DataFrame:
    """Where each person lived as the city knew when the day began: ``person_id``, ``district``."""
    known = attribute_on(city, "district", as_of_date)
    if known is None:
        return pl.DataFrame(schema={"person_id": pl.String, "district": pl.String})
    return known.rename({"value": "district"})


def split_capacity(
    k: int,
    unit_ids: Sequence[str],
    eligible: Mapping[str, int],
    capacity: Mapping[str, int | None],
    expected: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """How many people each unit lists: shares of ``k`` by capacity, or else by eligible persons, or by expected need.

    Largest remainder; equal remainders go to the unit first by id. No unit lists more than it has people or capacity;
    what it leaves goes to the others in the same way. ``expected`` (the sum of calibrated probabilities per unit, taken
    in thousandths of a person) takes the place of either weight, never of either bound.

    >>> split_capacity(10, ["a", "b", "c"], {"a": 60, "b": 30, "c": 1}, {})
    {'a': 7, 'b': 3, 'c': 0}
    >>> split_capacity(10, ["a", "b"], {"a": 100, "b": 3}, {"a": 8, "b": 8})
    {'a': 7, 'b': 3}
    >>> split_capacity(10, ["a", "b"], {"a": 100, "b": 100}, {}, {"a": 3.0, "b": 12.0})
    {'a': 2, 'b': 8}
    """
    by_capacity = all(capacity.get(unit) is not None for unit in unit_ids)
    room = {unit: eligible.get(unit, 0) for unit in unit_ids}
    weight: dict[str, int] = dict(room)
    if by_capacity:
        weight = {unit: int(capacity[unit] or 0) for unit in unit_ids}
        room = {unit: min(room[unit], weight[unit]) for unit in unit_ids}
    if expected is not None:
        weight = {unit: max(1, round(1_000 * expected.get(unit, 0.0))) for unit in unit_ids}
    shares = dict.fromkeys(unit_ids, 0)
    while (left := min(k, sum(room.values())) - sum(shares.values())) > 0:
        open_units = [unit for unit in unit_ids if shares[unit] < room[unit]]
        total = sum(weight[unit] for unit in open_units)
        exact = {unit: Fraction(left * weight[unit], total) for unit in open_units}
        floors = {unit: int(exact[unit]) for unit in open_units}
        spare = left - sum(floors.values())
        first = sorted(open_units, key=lambda unit: (floors[unit] - exact[unit], unit))[:spare]
        for unit in open_units:
            shares[unit] = min(room[unit], shares[unit] + floors[unit] + (unit in first))
    return shares


def unit_places(people: pl.DataFrame, units: pl.DataFrame, need: Need) -> dict[str, int]:
    """People each unit may list in a period, as the need's ``[list] allocation`` says.

    Parameters
    ----------
    people : polars.DataFrame
        Whom nothing keeps from being listed: ``unit_id``, ``score`` (null for a rule: then by people).
    units : polars.DataFrame
        From :func:`units_of`; their capacity is in attempts, as the need's.
    """
    per_unit = people.group_by("unit_id").agg(n=pl.len(), expected=pl.col("score").sum(), known=pl.col("score").count())
    eligible = {unit: n for unit, n, _, _ in per_unit.iter_rows()}
    expected = None
    if need.list.allocation == "need" and per_unit["known"].sum() == people.height:
        expected = {unit: total for unit, _, total, _ in per_unit.iter_rows()}
    capacity = {
        unit: None if attempts is None else need.list.places(attempts)
        for unit, attempts in units.select("unit_id", "capacity").iter_rows()
    }
    ids = units["unit_id"].to_list()
    return split_capacity(need.listed_k, ids, eligible, capacity, expected)


def _twice(values: pl.Series) -> list[str]:
    return sorted(values.filter(values.is_duplicated()).unique())
