"""polars, where everybody has the same as-of dates: one aggregation for all of them, between neighbouring window edges.

The edges of all windows of all dates cut time into segments. An event is counted once, in its segment (and by the first
date on which it is known), and every window is a run of segments, put together in numpy. This needs the shared dates:
with dates of each person's own there would be segments of each person's own.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rivals.common import Dense, Stopwatch, complete_and_place, epoch_day, window_days
from rivals.polars_expert import read_events

_EMPTY = {"count": 0, "n_values": 0, "sum": 0, "min": np.nan, "max": np.nan, "midnight": np.nan}
_JOIN = {"min": np.fmin, "max": np.fmax, "midnight": np.fmax}


def run(folder: Path, block, dates: list[date], *, knowledge: bool) -> tuple[np.ndarray, float]:
    """The dense matrix, rows by as-of date and person, and the CPU seconds spent on densifying."""
    watch, days = Stopwatch(), [epoch_day(day) for day in dates]
    edges = sorted({day - length for day in days for length in (0, *window_days(block)[:-1])})
    persons = pl.read_parquet(folder / "persons.parquet", columns=["person_id"])["person_id"].sort()
    events = read_events(folder, block, persons, knowledge).collect(engine="streaming")
    n_known, shape = (len(days) if knowledge else 1), (len(persons), len(block.prefixes))
    cells = _cells(events.lazy(), edges, days, n_known, shape[0] * shape[1]).collect(engine="streaming")
    with watch.running():
        spread = {}
        for name, empty in _EMPTY.items():
            spread[name] = np.full((n_known, len(edges), *shape), empty, np.float64 if name == "sum" else np.float32)
            spread[name].reshape(-1)[cells["key"].to_numpy()] = cells[name].to_numpy()
    dense = Dense(len(dates), len(persons), block)
    for d, day in enumerate(days):
        found = {}
        for name, parts in spread.items():
            join = _JOIN.get(name, np.add)
            if d and n_known > 1:  # what has become known since the date before
                join(parts[0], parts[d], out=parts[0])
            found[name] = _windows(parts[0], join, _EMPTY[name], edges, day, window_days(block))
        found["days_since_last"] = day - found.pop("midnight")
        complete_and_place(dense, d, found, watch)
    return dense.matrix, watch.seconds


def _cells(events: pl.LazyFrame, edges: list[int], days: list[int], n_known: int, n_places: int) -> pl.LazyFrame:
    """One aggregation: by place, segment, and the first date on which the event is known."""
    # Segment s holds edges[s - 1] <= day < edges[s].
    segment = pl.sum_horizontal([(pl.col("day") >= edge).cast(pl.UInt32) for edge in edges])
    seen = pl.col("day") < edges[-1]
    if n_known > 1:
        first_date = pl.sum_horizontal([(pl.col("known") >= day).cast(pl.UInt32) for day in days])
        segment, seen = first_date * len(edges) + segment, seen & (pl.col("known") < days[-1])
    value = pl.col("value")
    return (
        events.filter(seen)
        .select((segment * n_places + pl.col("place")).alias("key"), "value", "midnight")
        .group_by("key")
        .agg(
            pl.len().alias("count"),
            value.count().alias("n_values"),
            value.cast(pl.Float64).sum().alias("sum"),
            value.min().alias("min"),
            value.max().alias("max"),
            pl.col("midnight").max(),
        )
    )


def _windows(segments: np.ndarray, join, empty: float, edges: list[int], day: int, lengths: list[int]) -> np.ndarray:
    """Put a date's windows together from their segments, nearest first."""
    found = np.empty((len(lengths), *segments.shape[1:]), segments.dtype)
    so_far = np.full(segments.shape[1:], empty, segments.dtype)
    stop = edges.index(day)
    for w, length in enumerate(lengths):
        start = edges.index(day - length) if day - length in edges else -1
        for s in range(stop, start, -1):
            join(so_far, segments[s], out=so_far)
        stop = start
        found[w] = so_far
    return found
