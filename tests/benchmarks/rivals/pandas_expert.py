"""pandas, as an expert would: Parquet dictionaries as categories, packed integer keys, one groupby per as-of date.

pandas has no text faster than its categories, and no aggregation faster than one named function of a groupby; the
buckets are those of ``polars_expert``.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rivals.common import DAY_US, Dense, Stopwatch, epoch_day, place_buckets, window_days


def run(folder: Path, block, dates: list[date], *, knowledge: bool) -> tuple[np.ndarray, float]:
    """The dense matrix, rows by as-of date and person, and the CPU seconds spent on densifying."""
    watch = Stopwatch()
    persons = pd.Index(pq.read_table(folder / "persons.parquet", columns=["person_id"])["person_id"].to_pandas())
    persons = persons.sort_values()
    events = _events(folder, block, persons, knowledge)
    dense = Dense(len(dates), len(persons), block)
    for d, as_of in enumerate(dates):
        cells = _cells(events, block, len(persons), epoch_day(as_of), knowledge)
        place_buckets(dense, d, [cells], watch)
    return dense.matrix, watch.seconds


def _events(folder: Path, block, persons: pd.Index, knowledge: bool) -> pd.DataFrame:
    names = ["person_id", "event_date", "code", "value", *(["knowledge_date"] if knowledge else [])]
    table = pq.read_table(
        folder / "events.parquet", columns=names, read_dictionary=["person_id", "code"], use_threads=False
    )
    person, code = (table[name].unify_dictionaries().to_pandas() for name in ("person_id", "code"))
    groups = block.group_of(list(code.cat.categories))
    of_code = np.array([groups[c] for c in code.cat.categories], dtype=np.int32)
    of_person = persons.get_indexer(person.cat.categories).astype(np.int32) * np.int32(len(block.prefixes))
    moment = table["event_date"].to_numpy().view(np.int64)
    day = (moment // DAY_US).astype(np.int32)
    frame = {
        "place": of_person[person.cat.codes.to_numpy()] + of_code[code.cat.codes.to_numpy()],
        "day": day,
        # The first midnight not before the event: whole days since it are as-of day minus this.
        "midnight": day + (moment != day.astype(np.int64) * DAY_US),
        "value": table["value"].to_numpy(),
    }
    if knowledge:
        frame["known"] = table["knowledge_date"].to_numpy().astype("datetime64[D]").view(np.int64).astype(np.int32)
    return pd.DataFrame(frame)


def _cells(
    events: pd.DataFrame, block, n_persons: int, as_of: int, knowledge: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    seen = events[events["known" if knowledge else "day"] < as_of]
    edges = np.array([as_of - days for days in reversed(window_days(block)[:-1])])
    bucket = len(edges) - np.searchsorted(edges, seen["day"].to_numpy(), side="right")
    cell = (bucket * (n_persons * len(block.prefixes))).astype(np.int32) + seen["place"].to_numpy()
    by_cell = seen.groupby(cell, sort=False)
    value = by_cell["value"]
    count = by_cell.size()
    long = {
        "count": count.to_numpy(),
        "n_values": value.count().to_numpy(),
        "sum": value.sum().to_numpy(),
        "min": value.min().to_numpy(),
        "max": value.max().to_numpy(),
        "days_since_last": as_of - by_cell["midnight"].max().to_numpy(),
    }
    return count.index.to_numpy(), long
