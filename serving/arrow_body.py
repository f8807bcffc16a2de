"""Tables out of Arrow IPC streams from strangers: nothing compressed, nothing nested, every offset looked at.

A stream's messages are read one by one before any is decoded: compressed buffers, of which a few bytes can stand for
gigabytes, and dictionaries are refused by what the messages' own headers say. Every column is then validated in full,
since Arrow trusts offsets that it has not been asked to check. Nothing here unpickles, and extension types, which
older readers made objects of, are refused.
"""

from __future__ import annotations

import struct
from typing import Any
from zoneinfo import available_timezones

import polars as pl
import pyarrow as pa

from ethics.refusals import BadInput, Fault
from serving.batch_schemas import TOO_MANY

MOST_COLUMNS = 200
_MOST_MESSAGES = 10_000
_RECORD_BATCH, _COMPRESSION = 3, 3
_HEADER_TYPE, _HEADER = 1, 2
_MEND = "Send an Arrow IPC stream without compression, with columns of text, numbers and dates"


def tables_of(body: bytes, most: tuple[int, ...]) -> list[pl.DataFrame]:
    """The streams of a body that stand one after another, as frames.

    Parameters
    ----------
    body : bytes
    most : tuple of int
        How many streams there may be, and how many rows in each.

    Raises
    ------
    BadInput
        Anything that is not such a stream, and nothing of its values is shown. ``where`` is
        :data:`serving.batch_schemas.TOO_MANY` where there are too many rows.
    """
    frames: list[pl.DataFrame] = []
    source = pa.BufferReader(pa.py_buffer(body))
    try:
        while source.tell() < len(body):
            if len(frames) == len(most):
                raise _refusal(f"has more than {len(most)} streams, or bytes after the last")
            frames.append(_frame(_stream(source, most[len(frames)])))
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError, struct.error):
        raise _refusal("cannot be read as an Arrow IPC stream") from None
    except pl.exceptions.PolarsError:
        raise _refusal("holds a column that cannot be read") from None
    if not frames:
        raise _refusal("is empty")
    return frames


def _stream(source: Any, most_rows: int) -> pa.Table:
    """One stream, decoded only after its messages were looked at."""
    start, n_rows = source.tell(), 0
    for number, message in enumerate(pa.ipc.MessageReader.open_stream(source)):
        if number >= _MOST_MESSAGES:
            raise _refusal(f"has more than {_MOST_MESSAGES} messages")
        kind = message.type
        if kind == "dictionary":
            raise _refusal("holds a dictionary")
        if kind == "record batch" and _is_compressed(message.metadata.to_pybytes()):
            raise _refusal("is compressed")
    end = source.tell()
    source.seek(start)
    batches = []
    with pa.ipc.open_stream(source) as reader:
        schema = reader.schema
        _refuse_schema(schema)
        for batch in reader:
            n_rows += batch.num_rows
            if n_rows > most_rows:
                raise BadInput(Fault(TOO_MANY, f"are more than {most_rows}", "Send less at a time"))
            batch.validate(full=True)
            batches.append(batch)
    source.seek(end)
    return pa.Table.from_batches(batches, schema=schema)


def _refuse_schema(schema: pa.Schema) -> None:
    if len(schema.names) > MOST_COLUMNS:
        raise _refusal(f"has more than {MOST_COLUMNS} columns")
    if len(set(schema.names)) < len(schema.names):
        raise _refusal("names a column twice")
    for number, field in enumerate(schema):
        if not _is_plain(field.type):
            wrong = f"column {number} is neither text, number nor date"
            raise BadInput(Fault("body", wrong, _MEND))


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_float32, types.is_float64)
    dated = (types.is_date, types.is_null)
    if types.is_timestamp(kind):
        return kind.tz is None or kind.tz in available_timezones()
    return any(is_kind(kind) for is_kind in (*plain, *dated))


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's header has the table ``compression`` (Arrow's Message.fbs), read with every bound kept.

    Raises
    ------
    struct.error, ValueError
        The header is no such table.
    """
    (root,) = struct.unpack_from("<I", metadata, 0)
    kind_at, header_at = _field(metadata, root, _HEADER_TYPE), _field(metadata, root, _HEADER)
    if not kind_at or not header_at or metadata[kind_at] != _RECORD_BATCH:
        raise ValueError("not a record batch")
    (distance,) = struct.unpack_from("<I", metadata, header_at)
    return _field(metadata, header_at + distance, _COMPRESSION) != 0


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer's table stands; 0 when the table has it not."""
    (back,) = struct.unpack_from("<i", buffer, table)
    vtable = table - back
    if vtable < 0:
        raise ValueError("a table before the buffer")
    (size,) = struct.unpack_from("<H", buffer, vtable)
    at = 4 + 2 * number
    if at + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", buffer, vtable + at)
    place = table + offset if offset else 0
    if place >= len(buffer):
        raise ValueError("a field beyond the buffer")
    return place


def _refusal(wrong: str) -> BadInput:
    return BadInput(Fault("body", wrong, _MEND))
