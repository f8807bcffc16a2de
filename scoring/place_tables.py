"""The three tables of pre-school proposals: units with places, children, earlier offers.

They lie in the city folder as ``preschool_units``, ``preschool_children`` and ``preschool_offers`` (.parquet or .csv).
Nothing else opens them: where a child lives, a safety ban or a secrecy order never reach a feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from ethics.refusals import BadInput, Fault

UNITS, CHILDREN, OFFERS = "preschool_units", "preschool_children", "preschool_offers"
FLAGS = ("special_support", "custody_split", "safety_ban", "secrecy_order")
"""Must be known for every child: who may be under a ban is never proposed a place automatically."""

_TYPES: dict[str, dict[str, pl.DataType]] = {
    UNITS: {
        "unit_id": pl.String(),
        "name": pl.String(),
        "x": pl.Float64(),
        "y": pl.Float64(),
        "places": pl.Float64(),
        "languages": pl.String(),
    },
    CHILDREN: {
        "person_id": pl.String(),
        "start_year": pl.Int64(),
        "x": pl.Float64(),
        "y": pl.Float64(),
        "language": pl.String(),
        **dict.fromkeys(FLAGS, pl.Boolean()),
    },
    OFFERS: {
        "person_id": pl.String(),
        "offered_on": pl.Date(),
        "metres": pl.Float64(),
        "sibling_in_unit": pl.Boolean(),
        "own_language": pl.Boolean(),
        "accepted": pl.Boolean(),
    },
}
_OPTIONAL: dict[str, dict[str, pl.DataType]] = {
    UNITS: {},
    CHILDREN: {"family": pl.String(), "sibling_unit": pl.String()},
    OFFERS: {"unit_id": pl.String()},
}
_HOW = {
    pl.String(): "text",
    pl.Float64(): "numbers",
    pl.Int64(): "whole numbers",
    pl.Boolean(): "true or false",
    pl.Date(): "days such as 2024-01-31",
}


class PlaceTables(NamedTuple):
    """``units`` and ``children`` as read, optional columns null where they are missing; ``offers`` None if not there.

    ``languages`` of a unit is a list. Places of units are whole numbers.
    """

    units: pl.DataFrame
    children: pl.DataFrame
    offers: pl.DataFrame | None


def read_tables(folder: Path) -> PlaceTables:
    """Read and check the tables of a city folder.

    Raises
    ------
    BadInput
        A table that is missing (offers may be) or cannot be read; missing columns, wrong types, ids that repeat or are
        missing, places that are no number of children, units without coordinates or language: all at once.
    """
    faults: list[Fault] = []
    units = _read(folder, UNITS, faults)
    children = _read(folder, CHILDREN, faults)
    offers = _read(folder, OFFERS, faults) if _path(folder, OFFERS) else None
    if units is not None:
        faults += _unit_faults(units)
    if children is not None:
        faults += _id_faults(children, CHILDREN, "person_id")
    if offers is not None:
        faults += _offer_faults(offers)
    if faults or units is None or children is None:
        raise BadInput(*faults)
    languages = pl.col("languages").str.to_lowercase().str.extract_all(r"[a-z]+")
    units = units.with_columns(languages, pl.col("places").cast(pl.Int64)).sort("unit_id")
    return PlaceTables(units, children, offers)


def _path(folder: Path, name: str) -> Path | None:
    return next((path for ending in ("parquet", "csv") if (path := folder / f"{name}.{ending}").exists()), None)


def _read(folder: Path, name: str, faults: list[Fault]) -> pl.DataFrame | None:
    path = _path(folder, name)
    if path is None:
        columns = ", ".join(_TYPES[name])
        faults.append(Fault(f"{folder / name}.parquet", "is not there", f"Add it, with the columns {columns}"))
        return None
    try:
        read = pl.read_parquet if path.suffix == ".parquet" else _read_csv
        frame = read(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        faults.append(Fault(str(path), f"cannot be read ({type(error).__name__})", "Give a Parquet or CSV file"))
        return None
    return _typed(frame, name, path, faults)


def _read_csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False, null_values=[""])


def _typed(frame: pl.DataFrame, name: str, path: Path, faults: list[Fault]) -> pl.DataFrame | None:
    """The columns that are read, in their types; values are never shown, for they may be a person's."""
    before, columns = len(faults), []
    for column, kind in (_TYPES[name] | _OPTIONAL[name]).items():
        if column not in frame.columns:
            if column in _TYPES[name]:
                faults.append(Fault(f"{path}: {column}", "is missing", f"Add the column: {_HOW[kind]}"))
            columns.append(pl.Series(column, [None] * frame.height, dtype=kind))
            continue
        series = frame[column]
        if isinstance(series.dtype, pl.List) and kind == pl.String():
            series = series.cast(pl.List(pl.String)).list.join(" ")
        if series.dtype == pl.String and kind == pl.Boolean():
            series = series.str.to_lowercase().replace_strict(
                {"true": True, "false": False, "1": True, "0": False}, default=None, return_dtype=pl.Boolean
            )
        cast = series.cast(kind, strict=False)
        if n := int(cast.null_count() - frame[column].null_count()):
            wrong = f"holds {n:,} values that are not {_HOW[kind]}"
            faults.append(Fault(f"{path}: {column}", wrong, f"Give {_HOW[kind]}"))
        columns.append(cast.fill_nan(None) if kind == pl.Float64() else cast)
    return pl.DataFrame(columns) if len(faults) == before else None


def _id_faults(frame: pl.DataFrame, table: str, column: str) -> list[Fault]:
    faults = []
    if n := frame[column].null_count():
        faults.append(Fault(f"{table}: {column}", f"is missing in {n:,} rows", "Give every row an id"))
    if n := frame.height - frame[column].n_unique():
        faults.append(Fault(f"{table}: {column}", f"repeats in {n:,} rows", "Keep one row each"))
    return faults


def _unit_faults(units: pl.DataFrame) -> list[Fault]:
    faults = _id_faults(units, UNITS, "unit_id")
    if units.is_empty():
        faults.append(Fault(UNITS, "holds no unit", "Give every unit of pre-school education a row"))
    tests = {
        "places": (
            pl.col("places").is_null() | (pl.col("places") < 0) | (pl.col("places") != pl.col("places").floor()),
            "is no number of children",
            "Give a whole number, 0 or more",
        ),
        "x": (~pl.col("x").is_finite().fill_null(False), "is missing", "Give metres east"),
        "y": (~pl.col("y").is_finite().fill_null(False), "is missing", "Give metres north"),
        "languages": (
            ~pl.col("languages").str.contains("[A-Za-z]").fill_null(False),
            "is missing",
            "Give the languages of instruction, as fi or sv, or both with a space between",
        ),
    }
    for column, (is_wrong, wrong, mend) in tests.items():
        for unit in units.filter(is_wrong)["unit_id"].head(20):
            faults.append(Fault(f"{UNITS}: {column} of '{unit}'", wrong, mend))
    return faults


def _offer_faults(offers: pl.DataFrame) -> list[Fault]:
    faults = []
    for column in _TYPES[OFFERS]:
        if n := offers[column].null_count():
            mend = "Leave offers out of which that is not known"
            faults.append(Fault(f"{OFFERS}: {column}", f"is missing in {n:,} rows", mend))
    if n := offers.filter((pl.col("metres") < 0) | ~pl.col("metres").is_finite()).height:
        faults.append(Fault(f"{OFFERS}: metres", f"is no distance in {n:,} rows", "Give metres on foot, 0 or more"))
    return faults
