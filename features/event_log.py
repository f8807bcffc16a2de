"""The event log inside a city: events hashed to dense indices while they stream in, and grouped by person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.arrays import DAY_US, frozen, read_only
from features.door import Checked, DataError, Door, add_reason

_EPOCH = date(1970, 1, 1)
_KNOWN_BY_EXTRACT = 0.999


@dataclass(frozen=True, eq=False)
class EventLog:
    """Events grouped by person; within a person by time, then value (null first), then code; never by file order.

    Attributes
    ----------
    person_ids : pl.Series of str (n_persons,)
        Unique and sorted; the position is the dense index of the person.
    offsets : int64 (n_persons + 1,)
        Person ``i`` owns ``time[offsets[i]:offsets[i + 1]]``.
    time : int64 (n_events,)
        µs since 1970-01-01 in local time; an event without a clock stands at its day's midnight.
    known : int64 (n_events,) or None
        When the city came to know it, likewise; None when no event became known on a later day than it happened.
    code : uint16 or uint32 (n_events,)
        Position in ``codes``.
    value : float32 (n_events,)
        NaN is null.
    codes : tuple of str
        Every code that occurs, sorted.
    """

    person_ids: pl.Series
    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    known: NDArray[np.int64] | None
    code: NDArray[np.uint16] | NDArray[np.uint32]
    value: NDArray[np.float32]
    codes: tuple[str, ...]


def matches(code: str, patterns: Iterable[str]) -> bool:
    """Whether a code is one of some patterns, of which any may end in a star.

    >>> matches("school.absence.ill", ["school.absence.*"]), matches("school.absence", ["school.absence.*"])
    (True, False)
    """
    return any(code.startswith(p[:-1]) if p.endswith("*") else code == p for p in patterns)


def read_events(
    door: Door, files: Sequence[Checked], ids: pl.Series, *, may_be_empty: bool
) -> tuple[EventLog, date, int]:
    """The usable events of the persons ``ids``, the extract date, and the number of rows before rejecting."""
    codes = _codes(door, files)
    chunks = [chunk for file in files if (chunk := _chunk(door, file, ids, codes)) is not None]
    door.refuse_faults()
    n_rows = sum(chunk.reason.size for chunk in chunks)
    if not n_rows and not may_be_empty:
        raise DataError(Fault("events", "holds no rows", "Export the event log again"))
    extract_date, source = door.settings.extract_date, "as told"
    if extract_date is None:
        extract_date, source = _default_extract_date(chunks), "by which 99.9 % of events are known"
    too_late = ((extract_date - _EPOCH).days + 1) * DAY_US
    for chunk in chunks:
        chunk.reason[(chunk.reason == 0) & (chunk.known_or_time >= too_late)] = len(chunk.file.reasons)
    door.put_aside("events", [(chunk.file, chunk.reason) for chunk in chunks])
    door.say(f"extract date {extract_date} ({source})")
    return _grouped(chunks, ids, codes), extract_date, n_rows


def _codes(door: Door, files: Sequence[Checked]) -> pl.Series:
    found = [door.collect_rows(file.label, file.rows.select(pl.col("code").unique())) for file in files]
    door.refuse_faults()
    columns = [frame["code"] for frame in found if frame is not None]
    return pl.concat([pl.Series("code", [], dtype=pl.String), *columns]).drop_nulls().unique().sort()


def _chunk(door: Door, file: Checked, ids: pl.Series, codes: pl.Series) -> _Chunk | None:
    """One file of events as arrays: hashed to dense indices while it streams in."""
    person = pl.col("person_id").cast(pl.Enum(ids), strict=False).to_physical().cast(pl.UInt32)
    code_type = pl.UInt16 if len(codes) <= 2**16 - 1 else pl.UInt32
    code = pl.col("code").cast(pl.Enum(codes), strict=False).to_physical().cast(code_type)
    has_known = "knowledge_date" in file.columns
    event_us = pl.col("event_date").dt.timestamp("us")
    known_us = pl.col("knowledge_date").dt.timestamp("us").fill_null(event_us) if has_known else event_us
    file, unknown = add_reason(file, "person not in persons", "person_id", person.is_null())
    rows = file.rows.with_columns(unknown)
    column = "knowledge_date" if has_known else "event_date"
    ahead = codes.filter(pl.Series([matches(name, door.settings.events.ahead) for name in codes], dtype=pl.Boolean))
    early = (known_us // DAY_US < event_us // DAY_US) & ~pl.col("code").is_in(ahead.implode())
    file, early_reason = add_reason(file, "known before it happened", column, early if has_known else pl.lit(False))
    file = file._replace(reasons=(*file.reasons, ("known after the extract date", column)))
    value = pl.col("value") if "value" in file.columns else pl.lit(None, dtype=pl.Float32)
    frame = door.collect_rows(
        file.label,
        rows.with_columns(early_reason).select(
            person.fill_null(0).alias("person"),
            event_us.fill_null(0).alias("time"),
            *([known_us.fill_null(0).alias("known")] if has_known else []),
            code.fill_null(0).alias("code"),
            # Adding 0 makes -0 the same number as 0 in the digest too.
            (value.fill_null(float("nan")) + 0.0).cast(pl.Float32).alias("value"),
            "reason",
        ),
    )
    if frame is None:
        return None
    arrays = {name: frame[name].rechunk().to_numpy() for name in frame.columns}
    known = arrays.get("known")
    return _Chunk(
        file, arrays["person"], arrays["time"], known, arrays["code"], arrays["value"], arrays["reason"].copy()
    )


class _Chunk(NamedTuple):
    """The rows of one file of events as arrays, in file order; ``reason`` 0 for rows to keep."""

    file: Checked
    person: NDArray[np.uint32]
    time: NDArray[np.int64]
    known: NDArray[np.int64] | None
    code: NDArray[Any]
    value: NDArray[np.float32]
    reason: NDArray[np.uint8]

    @property
    def known_or_time(self) -> NDArray[np.int64]:
        return self.time if self.known is None else self.known


def _grouped(chunks: Sequence[_Chunk], ids: pl.Series, codes: pl.Series) -> EventLog:
    """Events by person through a stable counting scatter; only persons whose events arrive unsorted are sorted."""
    from features.regrouping import count_rows, scatter_rows, sort_within_persons

    counts = np.zeros(len(ids), dtype=np.int64)
    for chunk in chunks:
        count_rows(frozen(chunk.person), frozen(chunk.reason), counts)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def scatter(columns: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        target, cursor = np.empty(offsets[-1], dtype=dtype), offsets[:-1].copy()
        for chunk, column in zip(chunks, columns, strict=True):
            scatter_rows(frozen(chunk.person), frozen(chunk.reason), frozen(column), cursor, target)
        return target

    time = scatter([chunk.time for chunk in chunks], np.int64)
    known = None
    if any(chunk.known is not None for chunk in chunks):
        known = scatter([chunk.known_or_time for chunk in chunks], np.int64)
        if not any(np.any(known[part] // DAY_US > time[part] // DAY_US) for part in _parts(time.size)):
            known = None
    code_type = np.uint16 if len(codes) <= 2**16 - 1 else np.uint32
    code, names = _used_codes(scatter([chunk.code for chunk in chunks], code_type), codes)
    value = scatter([chunk.value for chunk in chunks], np.float32)
    sort_within_persons(frozen(offsets), time, known, code, value)
    return EventLog(
        person_ids=ids,
        offsets=read_only(offsets),
        time=read_only(time),
        known=None if known is None else read_only(known),
        code=read_only(code),
        value=read_only(value),
        codes=names,
    )


def _used_codes(code: NDArray[Any], codes: pl.Series) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Codes that occur in kept rows, renumbered: a rejected row leaves no trace in a digest."""
    counts = np.zeros(len(codes), dtype=np.int64)
    for part in _parts(code.size):
        counts += np.bincount(code[part], minlength=len(codes))
    used = counts > 0
    if used.all():
        return code, tuple(codes)
    renumbered = (np.cumsum(used) - 1).astype(np.uint32)
    n_used = int(used.sum())
    return renumbered[code].astype(np.uint16 if n_used <= 2**16 - 1 else np.uint32), tuple(
        codes.filter(pl.Series(used))
    )


def _parts(n: int) -> Iterator[slice]:
    """Slices short enough that what is computed of them is small beside the log."""
    return (slice(start, start + 2**20) for start in range(0, n, 2**20))


def _default_extract_date(chunks: Sequence[_Chunk]) -> date:
    """The first day by whose end 99.9 % of the usable events are known."""
    days = [chunk.known_or_time[chunk.reason == 0] // DAY_US for chunk in chunks]
    together = np.concatenate(days) if days else np.empty(0, dtype=np.int64)
    if not together.size:
        raise DataError(
            Fault("events", "holds no usable event to tell the extract date by", "Give extract_date in city.toml")
        )
    last = int(np.ceil(_KNOWN_BY_EXTRACT * together.size)) - 1
    return _EPOCH + timedelta(days=int(np.partition(together, last)[last]))
