"""Rows of events in pieces, as arrays that the judge reads: straight from Parquet, or held after polars read them.

A Parquet file whose columns have the usual types is read twice, each time only the columns that are needed, so that no
more than a few pieces of it are ever in memory. Anything else (CSV, databases, odd types) is read once by polars
through the door and held in a compact form.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.arrays import DAY_US
from features.column_types import typed
from features.door import Checked
from features.person_index import PersonIndex

PIECE = 2**17
"""Rows read at once: some MB, which is what the processor's cache holds."""
CANNOT_READ = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading a damaged file raises."""
NOT_ON_CALENDAR = np.iinfo(np.int64).min
"""A moment that no calendar has: stands for an empty or impossible date."""

_PERSON_PIECE = 2**18
_FIRST_DAY, _LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))


class Rows(NamedTuple):
    """Consecutive rows of one file, in file order.

    Attributes
    ----------
    first : int
        Rows before these in the file.
    time : int64 (n,)
        µs since 1970-01-01, local; :data:`NOT_ON_CALENDAR` without a date.
    known : int64 (n,) or None
        Likewise; ``time`` where nothing is said; None when the file has no such column.
    code : int32 (n,)
        Position in ``names``; -1 for null.
    names : list of str
    value : float32 (n,)
    has_value : uint8 (n,)
        0 for null.
    reason : uint8 (n,) or None
        Why the door has already put a row aside; 0 where it has not.
    """

    first: int
    time: NDArray[np.int64]
    known: NDArray[np.int64] | None
    code: NDArray[np.int32]
    names: list[str]
    value: NDArray[np.float32]
    has_value: NDArray[np.uint8]
    reason: NDArray[np.uint8] | None


class EventRows(Protocol):
    """The rows of one file of events."""

    n_rows: int

    def places(self, index: PersonIndex) -> Iterator[NDArray[np.uint32]]:
        """Piece by piece, in file order, the place of each row's person."""

    def rows(self) -> Iterator[Rows]:
        """Piece by piece, in file order, the other columns."""

    def known(self, too_late: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """First row and the moments of knowledge of each piece; those that may reach ``too_late`` come first."""


def rows_of(file: Checked, zone: str) -> EventRows:
    """The quickest reader that understands a file; may raise one of :data:`CANNOT_READ`."""
    if file.parquet is not None:
        try:
            with pq.ParquetFile(file.parquet, pre_buffer=False, read_dictionary=[file.theirs["code"]]) as reader:
                if _is_usual(reader.schema_arrow, file):
                    return ParquetRows(file, zone)
        except pa.ArrowException:
            pass  # a type that Arrow does not know, or damage: polars tells which
    return HeldRows(file)


def _is_usual(schema: pa.Schema, file: Checked) -> bool:
    """Whether every column has a type that :class:`ParquetRows` reads as polars would."""
    for ours, theirs in file.theirs.items():
        if schema.get_field_index(theirs) < 0:
            return False
        kind = schema.field(theirs).type
        if ours in {"event_date", "knowledge_date"}:
            usual = pa.types.is_timestamp(kind) or pa.types.is_date32(kind)
        elif ours == "value":
            usual = kind in {pa.float32(), pa.float64()} or pa.types.is_integer(kind)
        elif ours == "code":
            usual = pa.types.is_dictionary(kind) and (
                pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)
            )
        else:
            usual = True  # ids are read by polars
        if not usual:
            return False
    return True


class ParquetRows:
    """A Parquet file of usual types, decoded anew for each pass."""

    def __init__(self, file: Checked, zone: str) -> None:
        assert file.parquet is not None
        self._path, self._theirs, self._zone = file.parquet, file.theirs, zone
        with pq.ParquetFile(self._path) as reader:
            self._metadata = reader.metadata
        self.n_rows: int = self._metadata.num_rows

    def places(self, index: PersonIndex) -> Iterator[NDArray[np.uint32]]:
        """Only the ids are read: polars keeps short texts as two words, which is what the index compares."""
        column = pl.scan_parquet(self._path, glob=False).select(pl.col(self._theirs["person_id"]))
        for frame in column.collect_batches(chunk_size=_PERSON_PIECE, engine="streaming"):
            yield index.find(frame.to_series())

    def rows(self) -> Iterator[Rows]:
        """Everything but the ids."""
        first = 0
        for batch in self._batches(["event_date", "knowledge_date", "code", "value"]):
            time = self._moments(batch, "event_date")
            code = batch.column(self._theirs["code"])
            value, has_value = self._values(batch)
            yield Rows(
                first,
                time,
                self._known(batch, time) if "knowledge_date" in self._theirs else None,
                _positions(code),
                _names(code.dictionary),
                value,
                has_value,
                None,
            )
            first += batch.num_rows

    def known(self, too_late: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Row groups that by the statistics of the file hold nothing so late come last."""
        first, places = 0, []
        for group in range(self._metadata.num_row_groups):
            places.append((self._is_before(group, too_late), group, first))
            first += self._metadata.row_group(group).num_rows
        for _, group, start in sorted(places):
            for batch in self._batches(["event_date", "knowledge_date"], groups=[group]):
                time = self._moments(batch, "event_date")
                yield start, self._known(batch, time) if "knowledge_date" in self._theirs else time
                start += batch.num_rows

    def _batches(self, ours: list[str], groups: list[int] | None = None) -> Iterator[Any]:
        columns = list(dict.fromkeys(self._theirs[name] for name in ours if name in self._theirs))
        with pq.ParquetFile(self._path, pre_buffer=False, read_dictionary=[self._theirs["code"]]) as reader:
            yield from reader.iter_batches(
                PIECE, row_groups=groups, columns=columns, use_threads=pl.thread_pool_size() > 1
            )

    def _moments(self, batch: Any, ours: str) -> NDArray[np.int64]:
        """Local µs; NOT_ON_CALENDAR where the cell is empty or what it holds is on no calendar."""
        column = batch.column(self._theirs[ours])
        if column.type == pa.timestamp("us"):
            moments = _data(column, np.int64)
        elif pa.types.is_date32(column.type):
            # Clipped to days just off the calendar, so that the product cannot overflow.
            moments = np.clip(_data(column, np.int32), _FIRST_DAY - 1, _LAST_DAY + 1).astype(np.int64) * DAY_US
        else:
            series = pl.Series("moment", column)
            expression = typed(pl.col("moment"), "moment", series.dtype, self._zone)
            assert expression is not None  # the door has checked the type
            local = series.to_frame().select(expression).to_series()
            return local.to_physical().fill_null(NOT_ON_CALENDAR).to_numpy()
        return np.where(_valid(column), moments, NOT_ON_CALENDAR) if column.null_count else moments

    def _known(self, batch: Any, time: NDArray[np.int64]) -> NDArray[np.int64]:
        column, known = batch.column(self._theirs["knowledge_date"]), self._moments(batch, "knowledge_date")
        return np.where(_valid(column), known, time) if column.null_count else known

    def _values(self, batch: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        if "value" not in self._theirs:
            return np.zeros(batch.num_rows, dtype=np.float32), np.zeros(batch.num_rows, dtype=np.uint8)
        column = batch.column(self._theirs["value"])
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinite, and a reject
            value = _data(column, column.type.to_pandas_dtype()).astype(np.float32, copy=False)
        return value, _valid(column) if column.null_count else np.ones(batch.num_rows, dtype=np.uint8)

    def _is_before(self, group: int, too_late: int) -> bool:
        """Whether, by its statistics, no moment of a row group reaches ``too_late``; False when that is not told."""
        chunks = self._metadata.row_group(group)
        wanted = {self._theirs[name] for name in ("event_date", "knowledge_date") if name in self._theirs}
        for i in range(chunks.num_columns):
            chunk = chunks.column(i)
            if chunk.path_in_schema in wanted:
                told = chunk.statistics
                if told is None or not told.has_min_max or not isinstance(told.max_raw, int):
                    return False
                kind = str(told.logical_type)
                unit = DAY_US if kind == "Date" else 1 if "microseconds" in kind else 0
                # A day of margin: an aware moment is converted to local time afterwards.
                if not unit or told.max_raw * unit + DAY_US >= too_late:
                    return False
        return True


class HeldRows:
    """Rows that polars has read through the door: about 30 bytes each."""

    def __init__(self, file: Checked) -> None:
        self._people: list[pl.Series] = []
        self._pieces: list[Rows] = []
        self.n_rows = 0
        for frame in file.rows.collect_batches(chunk_size=PIECE, engine="streaming"):
            time = frame["event_date"].to_physical().fill_null(NOT_ON_CALENDAR).to_numpy()
            known: NDArray[np.int64] | None = None
            if "knowledge_date" in frame.columns:
                told = frame.select(pl.coalesce("knowledge_date", "event_date")).to_series()
                known = told.to_physical().fill_null(NOT_ON_CALENDAR).to_numpy()
            code = frame["code"].to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
            value, has_value = np.zeros(frame.height, dtype=np.float32), np.zeros(frame.height, dtype=np.uint8)
            if "value" in frame.columns:
                value = frame["value"].fill_null(0).to_numpy()
                has_value = frame["value"].is_not_null().to_numpy().view(np.uint8)
            reason = frame["reason"].to_numpy()
            piece = Rows(self.n_rows, time, known, _positions(code), _names(code.dictionary), value, has_value, reason)
            self._people.append(frame["person_id"])
            self._pieces.append(piece)
            self.n_rows += frame.height

    def places(self, index: PersonIndex) -> Iterator[NDArray[np.uint32]]:
        """The ids are let go of as they are found."""
        while self._people:
            yield index.find(self._people.pop(0))

    def rows(self) -> Iterator[Rows]:
        """As they are held."""
        yield from self._pieces

    def known(self, too_late: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """As they are held."""
        yield from ((piece.first, piece.time if piece.known is None else piece.known) for piece in self._pieces)


def _data(column: Any, dtype: Any) -> NDArray[Any]:
    """The numbers of an Arrow array without a copy; what a null holds means nothing."""
    return np.frombuffer(column.buffers()[1], dtype=dtype)[column.offset : column.offset + len(column)]


def _valid(column: Any) -> NDArray[np.uint8]:
    """1 where an Arrow array that has nulls has none."""
    bits = np.unpackbits(np.frombuffer(column.buffers()[0], dtype=np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)]


def _positions(column: Any) -> NDArray[np.int32]:
    indices = column.indices.cast(pa.int32())
    return (indices.fill_null(-1) if indices.null_count else indices).to_numpy()  # type: ignore[no-any-return]


def _names(dictionary: Any) -> list[str]:
    return [name or "" for name in dictionary.to_pylist()]
