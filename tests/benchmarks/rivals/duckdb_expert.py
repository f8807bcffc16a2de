"""DuckDB, as an expert would: one pass over the file into small integers, one aggregation per as-of date into buckets.

The same plan as ``polars_expert`` in SQL. For spec B the events are numbered once by time, then value, so that the last
value is the one with the greatest number; a code counts as distinct in the bucket of its latest event.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import numpy as np
from rivals.common import DAY_US, Dense, Stopwatch, epoch_day, place_buckets, window_days

_EVENTS = """
    create temp table events as
    select (persons.place * {n_groups} + groups.number)::uinteger as place,
           e.event_date::date - date '1970-01-01' as day,
           ((epoch_us(e.event_date) + {almost_a_day}) // {day_us})::integer as midnight,
           {also}
           e.value
    from read_parquet('{folder}/events.parquet') as e
    join persons using (person_id)
    join groups using (code)
"""
_CELLS = """
    select ({bucket})::uinteger * {n_places}::uinteger + place as key, {measures}
    from events
    where {seen}
    group by key
"""
_DISTINCT = """
    select ({bucket})::uinteger * {n_places}::uinteger + place as key, count(*)::integer as distinct_codes
    from (select place, max(day) as day from events where {seen} group by place, code)
    group by key
"""
# Whole days since an event are the as-of day minus the first midnight not before it.
_SIX = {
    "count": "count(*)::integer",
    "n_values": "count(value)::integer",
    "sum": "coalesce(sum(value::double), 0)",
    "min": "min(value)",
    "max": "max(value)",
    "days_since_last": "{as_of} - max(midnight)",
}
_MORE = {
    "days_since_first": "{as_of} - min(midnight)",
    "squares": "coalesce(sum(value::double * value), 0)",
    "last_row": "max(number) filter (where value is not null)",
}


def run(folder: Path, block, dates: list[date], *, knowledge: bool) -> tuple[np.ndarray, float]:
    """The dense matrix, rows by as-of date and person, and the CPU seconds spent on densifying."""
    watch, more = Stopwatch(), "last" in block.measures
    with duckdb.connect(config={"threads": 1, "preserve_insertion_order": False}) as db:
        n_persons = _read(db, folder, block, knowledge, more)
        values = _numpy(db, "select value from events order by number")["value"] if more else None
        dense = Dense(len(dates), n_persons, block)
        for d, as_of in enumerate(dates):
            parts = []
            for query in _queries(block, n_persons, epoch_day(as_of), knowledge, more):
                columns = _numpy(db, query)
                parts.append((columns.pop("key"), columns))
            place_buckets(dense, d, parts, watch, values)
    return dense.matrix, watch.seconds


def _read(db: duckdb.DuckDBPyConnection, folder: Path, block, knowledge: bool, more: bool) -> int:
    """Persons, groups and events as tables of small integers; returns how many persons there are."""
    db.execute(
        "create temp table persons as select person_id, (row_number() over (order by person_id) - 1)::uinteger as place"
        f" from read_parquet('{folder}/persons.parquet')"
    )
    prefixes = ", ".join(f"({g}, '{prefix}')" for g, prefix in enumerate(block.prefixes))
    db.execute(
        "create temp table groups as select code, p.number, (row_number() over () - 1)::usmallint as code_number"
        f" from (values {prefixes}) as p (number, prefix)"
        f" join (select distinct code from read_parquet('{folder}/events.parquet')) on starts_with(code, prefix)"
    )
    also = "e.knowledge_date - date '1970-01-01' as known," if knowledge else ""
    if more:
        also += "groups.code_number as code,"
        also += "(row_number() over (order by e.event_date, e.value nulls first) - 1)::integer as number,"
    sql = _EVENTS.format(n_groups=len(block.prefixes), almost_a_day=DAY_US - 1, day_us=DAY_US, also=also, folder=folder)
    db.execute(sql)
    [(n_persons,)] = db.execute("select count(*) from persons").fetchall()
    return n_persons


def _queries(block, n_persons: int, as_of: int, knowledge: bool, more: bool) -> list[str]:
    bucket = " + ".join(f"(day < {as_of - days})::utinyint" for days in window_days(block)[:-1])
    sql = {**_SIX, **_MORE} if more else _SIX
    parts = {
        "bucket": bucket,
        "n_places": n_persons * len(block.prefixes),
        "measures": ", ".join(f"{expression.format(as_of=as_of)} as {name}" for name, expression in sql.items()),
        "seen": f"known < {as_of}" if knowledge else f"day < {as_of}",
    }
    return [_CELLS.format(**parts), *([_DISTINCT.format(**parts)] if more else [])]


def _numpy(db: duckdb.DuckDBPyConnection, query: str) -> dict[str, np.ndarray]:
    """The result's columns, NaN where there is no value."""
    columns = db.execute(query).fetchnumpy()
    return {
        name: (column.astype(np.float64) if column.dtype.kind != "f" else column).filled(np.nan)
        if isinstance(column, np.ma.MaskedArray)
        else column
        for name, column in columns.items()
    }
