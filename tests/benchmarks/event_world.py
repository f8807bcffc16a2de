"""The worlds that the feature benchmarks run on: city folders whose events say nothing, in the amounts of real cities.

Every world is drawn from its size and a fixed seed, part by part, so that a hundred million events need no more memory
than one part. Events stand in arrival order: sorted by the moment the city came to know them, persons mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20_260_601
N_CODES = 500
NULL_VALUE_SHARE = 0.55
DATE_ONLY_SHARE = 0.60
LATE_SHARE = 0.30
MOST_LATE_DAYS = 60
FIRST_DAY, LAST_DAY = date(2021, 1, 1), date(2024, 12, 31)
AS_OF_DATES = (date(2023, 1, 1), date(2023, 9, 1), date(2024, 5, 1), date(2025, 1, 1))
ROW_GROUP = 2**18
PART_EVENTS = 2**20
DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Shape:
    """What tells one world from another."""

    n_events: int
    n_persons: int
    knowledge: bool = False
    n_files: int = 1

    @property
    def name(self) -> str:
        told = "_known" if self.knowledge else ""
        return f"{self.n_events}x{self.n_persons}{told}"


@dataclass(frozen=True)
class Block:
    """Features of one kind: each group's events over the same windows and measures, as rivals and we compute them.

    ``prefixes`` names one group each: the codes that begin with it, which no other prefix does.
    """

    prefixes: tuple[str, ...]
    windows: tuple[int | str, ...]
    measures: tuple[str, ...]

    @property
    def n_columns(self) -> int:
        return len(self.prefixes) * len(self.windows) * len(self.measures)

    def group_of(self, codes: list[str]) -> dict[str, int]:
        """The group of each code that has one."""
        return {code: g for code in codes for g, prefix in enumerate(self.prefixes) if code.startswith(prefix)}


def all_features(name: str) -> list:
    """A block, or one of triage-pg's published workloads, as our feature specs."""
    if name == "triage":
        parts = [("visits", "*", ("count", "sum", "mean", "max", "std"))]
        parts += [(f"service{g}", f"g{g:02d}.*", ("count", "sum", "mean")) for g in range(2)]
        return [_feature(feature, code, (30, 90, 180), measures) for feature, code, measures in parts]
    block = BLOCKS[name]
    return [
        _feature("f" + prefix.strip(".").replace(".", "_"), prefix + "*", block.windows, block.measures)
        for prefix in block.prefixes
    ]


def _feature(name: str, code: str, windows: tuple, measures: tuple[str, ...]):
    from features import FeatureSpec

    said = {"plain": {"fi": name, "sv": name, "en": name}, "source": "none", "purpose": "timing", "basis": "none"}
    return FeatureSpec(name=name, codes=[code], windows=list(windows), measures=list(measures), **said)


def codes() -> list[str]:
    """All codes, most frequent first: ``g03.h23.c143`` is in group 3 of 20, and in group 23 of 40."""
    return [f"g{rank % 20:02d}.h{rank % 40:02d}.c{rank:03d}" for rank in range(N_CODES)]


def _blocks() -> dict[str, Block]:
    twenty = tuple(f"g{g:02d}." for g in range(20))
    forty = tuple(f"g{h % 20:02d}.h{h:02d}." for h in range(40))
    six = ("count", "sum", "mean", "min", "max", "days_since_last")
    ten = (*six, "std", "last", "days_since_first", "distinct_codes")
    dozen = (7, 14, 30, 60, 90, 120, 180, 270, 365, 540, 730, "ever")
    return {
        "A": Block(twenty, (30, 90, 365, "ever"), six),
        "A12": Block(twenty, dozen, six),
        "A3": Block(twenty, (30, 365, "ever"), six),
        "B": Block(forty, (30, 90, 365, 1095, "ever"), ten),
    }


BLOCKS = _blocks()


def days_between(first: date, n: int, every: int) -> list[date]:
    """As-of dates at equal distances."""
    return [first + timedelta(days=every * i) for i in range(n)]


def person_names(n_persons: int) -> np.ndarray:
    """Ids as text, in no order of their own (a multiplier without a common factor mixes them)."""
    numbers = (np.arange(n_persons, dtype=np.int64) * 7_368_787 + 11) % n_persons
    return np.char.mod("resident-%08d", numbers)


def write_world(folder: Path, shape: Shape) -> Path:
    """Write the city folder of a shape: ``city.toml``, ``persons.parquet`` and the events in one file or many."""
    folder.mkdir(parents=True)
    day_after = LAST_DAY + timedelta(days=1)
    (folder / "city.toml").write_text(f"invented = true\nextract_date = {day_after.isoformat()}\n", encoding="utf-8")
    names = pa.array(person_names(shape.n_persons))
    births = np.random.default_rng([SEED, 0]).integers(-20_000, 14_000, shape.n_persons).astype(np.int32)
    pq.write_table(
        pa.table({"person_id": names, "birth_date": pa.array(births).cast(pa.date32())}), folder / "persons.parquet"
    )
    n_parts = -(-shape.n_events // PART_EVENTS)
    if shape.n_files > 1:
        (folder / "events").mkdir()
    writer, open_file = None, -1
    for part in range(n_parts):
        table = _part(shape, names, part, n_parts)
        file = part * shape.n_files // n_parts
        if file != open_file:
            if writer is not None:
                writer.close()
            path = folder / ("events.parquet" if shape.n_files == 1 else f"events/part-{file:04d}.parquet")
            writer, open_file = pq.ParquetWriter(path, table.schema, compression="zstd"), file
        writer.write_table(table, row_group_size=ROW_GROUP)
    if writer is not None:
        writer.close()
    return folder


def _part(shape: Shape, names: pa.Array, part: int, n_parts: int) -> pa.Table:
    """One stretch of arrivals: who, what, when it happened, when it became known."""
    rng = np.random.default_rng([SEED, 1, part])
    n = shape.n_events * (part + 1) // n_parts - shape.n_events * part // n_parts
    first, last = (day - _EPOCH for day in (FIRST_DAY, LAST_DAY))
    span = last.days - first.days + 1
    begin, end = first.days + span * part / n_parts, first.days + span * (part + 1) / n_parts
    arrival = np.sort(rng.uniform(begin, end, n))
    known = np.floor(arrival).astype(np.int64)
    late = (rng.random(n) < LATE_SHARE) * rng.integers(1, MOST_LATE_DAYS + 1, n)
    happened = np.maximum(known - late, first.days)
    clock = np.where(rng.random(n) < DATE_ONLY_SHARE, 0, rng.integers(0, DAY_US, n))
    share = 1.0 / np.arange(1, N_CODES + 1)
    code = np.searchsorted(np.cumsum(share / share.sum())[:-1], rng.random(n)).astype(np.int32)
    value = np.round(rng.lognormal(2.0, 1.0, n), 2).astype(np.float32)
    person = rng.integers(0, shape.n_persons, n).astype(np.int32)
    columns = {
        "person_id": pa.DictionaryArray.from_arrays(pa.array(person), names).cast(pa.string()),
        "event_date": pa.array(happened * DAY_US + clock).cast(pa.timestamp("us")),
        "code": pa.DictionaryArray.from_arrays(pa.array(code), pa.array(codes())).cast(pa.string()),
        "value": pa.array(value, mask=rng.random(n) < NULL_VALUE_SHARE),
    }
    if shape.knowledge:
        columns["knowledge_date"] = pa.array(known.astype(np.int32)).cast(pa.date32())
    return pa.table(columns)
