"""Arrow bodies from strangers: what is read is what was written, and nothing else crashes, hangs or fills memory."""

import io
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ethics.refusals import BadInput
from serving.arrow_body import tables_of

MOST = (1000, 1000)
UNREADABLE = "body: cannot be read as an Arrow IPC stream"


def stream(table, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue()


PLAIN = stream(pa.table({"person_id": ["a", "ä", None, "b" * 40], "n": [1, 2, 3, 4]}))
cells = st.one_of(
    st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=12).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=12).map(lambda v: pa.array(v, pa.large_string())),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=12).map(
        lambda v: pa.array(v, pa.int64())
    ),
    st.lists(st.one_of(st.none(), st.floats()), max_size=12).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.one_of(st.none(), st.dates()), max_size=12).map(lambda v: pa.array(v, pa.date32())),
)


@given(cells)
def test_a_stream_is_read_as_it_was_written(column):
    (frame,) = tables_of(stream(pa.table({"x": column})), MOST)
    told = frame["x"].to_list()
    assert len(told) == len(column)
    assert all(a == b or (a != a and b != b) for a, b in zip(told, column.to_pylist(), strict=True))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
@example([(0, 0)], False)
def test_a_stream_with_any_bytes_changed_is_read_or_refused(changes, twice):
    body = bytearray(PLAIN)
    for place, byte in changes:
        body[place] = byte
    try:
        frames = tables_of(bytes(body) * (2 if twice else 1), MOST)
    except BadInput as refusal:
        assert all(fault.where in ("body", "rows") for fault in refusal.faults)
    else:
        assert all(frame.height <= 1000 for frame in frames)
        assert all(str(frame.to_dicts()) for frame in frames)  # every cell can be looked at


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(body):
    with pytest.raises(BadInput):
        tables_of(body, MOST)


@given(st.integers(1, len(PLAIN) - 1))
def test_a_stream_cut_short_is_refused_or_read_to_its_last_whole_batch(length):
    try:
        (frame,) = tables_of(PLAIN[:length], MOST)
    except BadInput:
        return
    assert frame.height in (0, 3, 4)


def refusal(body, most=MOST):
    with pytest.raises(BadInput) as caught:
        tables_of(body, most)
    return str(caught.value)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused_before_they_are_unpacked(codec):
    bomb = stream(pa.table({"x": pa.array(["0" * 1_000_000] * 100)}), compression=codec)
    assert len(bomb) < 2_000_000
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    assert "body: is compressed" in refusal(bomb)
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_dictionaries_and_nested_columns_are_refused():
    assert "holds a dictionary" in refusal(stream(pa.table({"x": pa.array(["a", "a"]).dictionary_encode()})))
    for values, kind in (
        ([[1]], pa.list_(pa.int64())),
        ([{"a": 1}], pa.struct({"a": pa.int64()})),
        ([b"x"], pa.binary()),
        ([True], pa.bool_()),
        ([1], pa.decimal128(5)),
        ([0], pa.timestamp("us", "Nowhere/City")),
    ):
        said = refusal(stream(pa.table({"x": pa.array(values, kind)})))
        assert "column 0 is neither text, number nor date" in said


def test_an_extension_type_makes_no_object():
    field = pa.field(
        "x", pa.binary(), metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": b"x"}
    )
    table = pa.Table.from_arrays([pa.array([b"x"])], schema=pa.schema([field]))
    assert "column 0 is neither text, number nor date" in refusal(stream(table))


def test_rows_columns_streams_and_messages_are_bounded():
    assert "rows: are more than 3" in refusal(PLAIN, (3,))
    nulls = pa.record_batch({"x": pa.nulls(10_000_000)})  # a few bytes stand for any number of them
    with pa.ipc.new_stream(sink := io.BytesIO(), nulls.schema) as writer:
        writer.write_batch(nulls)
    assert "rows: are more than" in refusal(sink.getvalue())
    assert "more than 1 streams, or bytes after the last" in refusal(PLAIN * 2, (9,))
    assert [frame.height for frame in tables_of(PLAIN * 2, (9, 9))] == [4, 4]
    assert "more than 200 columns" in refusal(stream(pa.table({str(i): [1] for i in range(201)})))
    twice = pa.Table.from_arrays([pa.array([1])] * 2, names=["x", "x"])
    assert "names a column twice" in refusal(stream(twice))
    empty = pa.ipc.new_stream(sink := io.BytesIO(), pa.schema({"x": pa.int64()}))
    for _ in range(10_001):
        empty.write_batch(pa.record_batch({"x": pa.array([], pa.int64())}))
    empty.close()
    assert "more than 10000 messages" in refusal(sink.getvalue())
    assert "is empty" in refusal(b"")


def test_text_that_is_no_utf_8_is_refused():
    body = PLAIN.replace("ä".encode(), b"\xff\xfe")
    assert UNREADABLE in refusal(body)
