"""polars, as an expert would: one pass over the file, one aggregation per as-of date into disjoint buckets of time.

An event is counted once per as-of date, in the smallest window that holds it; the windows are then sums of buckets.
Text becomes small integers in the streaming scan, and each aggregation groups by one packed 32-bit integer.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rivals.common import Dense, Stopwatch, epoch_day, place_buckets, window_days


def run(folder: Path, block, dates: list[date], *, knowledge: bool) -> tuple[np.ndarray, float]:
    """The dense matrix, rows by as-of date and person, and the CPU seconds spent on densifying."""
    watch = Stopwatch()
    persons = pl.read_parquet(folder / "persons.parquet", columns=["person_id"])["person_id"].sort()
    events = read_events(folder, block, persons, knowledge).collect(engine="streaming")
    dense = Dense(len(dates), len(persons), block)
    for d, as_of in enumerate(dates):
        cells = _cells(events.lazy(), block, len(persons), epoch_day(as_of), knowledge).collect()
        columns = {name: cells[name].to_numpy() for name in cells.columns}
        place_buckets(dense, d, [(columns.pop("key"), columns)], watch)
    return dense.matrix, watch.seconds


def read_events(folder: Path, block, persons: pl.Series, knowledge: bool) -> pl.LazyFrame:
    """Who and what as one small integer, and the days: everything in four or five 32-bit columns."""
    file = pl.scan_parquet(folder / "events.parquet")
    codes = file.select(pl.col("code").unique().sort()).collect(engine="streaming")["code"].to_list()
    groups = block.group_of(codes)
    of_code = pl.lit(pl.Series([groups[code] for code in codes], dtype=pl.UInt32))
    group = of_code.gather(pl.col("code").cast(pl.Enum(codes)).to_physical())
    moment = pl.col("event_date")
    place = pl.col("person_id").cast(pl.Enum(persons)).to_physical().cast(pl.UInt32) * len(block.prefixes)
    return file.select(
        (place + group).alias("place"),
        moment.dt.date().cast(pl.Int32).alias("day"),
        # The first midnight not before the event: whole days since it are as-of day minus this.
        ((moment + pl.duration(days=1) - pl.duration(microseconds=1)).dt.date().cast(pl.Int32)).alias("midnight"),
        *([pl.col("knowledge_date").cast(pl.Int32).alias("known")] if knowledge else []),
        "value",
    )


def _cells(events: pl.LazyFrame, block, n_persons: int, as_of: int, knowledge: bool) -> pl.LazyFrame:
    seen = pl.col("known") < as_of if knowledge else pl.col("day") < as_of
    bucket = pl.lit(0, pl.UInt32)
    for days in window_days(block)[:-1]:
        bucket = bucket + (pl.col("day") < as_of - days).cast(pl.UInt32)
    n_places = n_persons * len(block.prefixes)
    value = pl.col("value")
    return (
        events.filter(seen)
        .select((bucket * n_places + pl.col("place")).alias("key"), "value", "midnight")
        .group_by("key")
        .agg(
            pl.len().alias("count"),
            value.count().alias("n_values"),
            value.cast(pl.Float64).sum().alias("sum"),
            value.min().alias("min"),
            value.max().alias("max"),
            (as_of - pl.col("midnight").max()).alias("days_since_last"),
        )
    )
