"""DuckDB, as people write it: for each date, group by person and group, and FILTER every window's measures.

A query per date, as a join with the dates makes every event as many rows.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import numpy as np
from rivals.common import Dense, Stopwatch, place_long

MEASURES = {
    "count": "count(*) {inside}",
    "sum": "sum(value::double) {inside}",
    "mean": "avg(value::double) {inside}",
    "min": "min(value) {inside}",
    "max": "max(value) {inside}",
    "days_since_last": "(epoch_us({as_of}::timestamp) - epoch_us(max(event_date) {inside})) // 86400000000",
}
_LONG = """
    with long as (
        select person_id, left(code, {prefix}) as prefix, {measures}
        from read_parquet('{folder}/events.parquet')
        where {seen} < {as_of}
        group by person_id, prefix
    )
    select place, list_position([{prefixes}], prefix) - 1 as grp, long.* exclude (person_id, prefix)
    from long join persons using (person_id)
"""


def run(folder: Path, block, dates: list[date], *, knowledge: bool) -> tuple[np.ndarray, float]:
    """The dense matrix, rows by as-of date and person, and the CPU seconds spent on densifying."""
    watch = Stopwatch()
    seen = "knowledge_date" if knowledge else "event_date"
    with duckdb.connect(config={"threads": 1, "preserve_insertion_order": False}) as db:
        db.execute(
            "create temp table persons as select person_id, row_number() over (order by person_id) - 1 as place"
            f" from read_parquet('{folder}/persons.parquet')"
        )
        long = [list(db.execute(_query(folder, block, day, seen)).fetchnumpy().values()) for day in dates]
        [(n_persons,)] = db.execute("select count(*) from persons").fetchall()
    with watch.running():
        dense = Dense(len(dates), n_persons, block)
        for d, (person, group, *columns) in enumerate(long):
            found = [c.astype(np.float32).filled(np.nan) if isinstance(c, np.ma.MaskedArray) else c for c in columns]
            place_long(dense, d, np.asarray(person), np.asarray(group), found)
    return dense.matrix, watch.seconds


def _query(folder: Path, block, as_of: date, seen: str) -> str:
    day, measures = f"date '{as_of}'", []
    for window in block.windows:
        inside = "" if window == "ever" else f"filter (where event_date >= {day} - interval {window} day)"
        measures += [f'{MEASURES[m].format(inside=inside, as_of=day)} as "{m}.{window}"' for m in block.measures]
    return _LONG.format(
        folder=folder,
        prefix=len(block.prefixes[0]),
        measures=", ".join(measures),
        prefixes=", ".join(f"'{prefix}'" for prefix in block.prefixes),
        seen=seen,
        as_of=day,
    )
