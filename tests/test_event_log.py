"""Reading events: the log is what the contract says, whatever the files look like."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from math import ceil, isfinite

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, write_city
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.city import DataError, open_city
from features.door import CityFile, Door, Source
from features.event_log import matches, read_events
from features.row_groups import HeldRows, ParquetRows, rows_of

DAY = timedelta(days=1)
START = datetime(2024, 1, 1)
EPOCH = datetime(1970, 1, 1)
LONG = "a person whose id is longer than a view"
IDS = sorted(["anna", "bo", "exactly-12-b", LONG, "åsa"])
STRANGERS = ["zoe", "ann", "annaa", "exactly-12-", "exactly-12-bb", LONG + "s", LONG[:-1] + "x", "asa"]
AHEAD = ("plan.*", "known")

moments = st.one_of(
    st.integers(0, 12).map(lambda day: START + day * DAY),
    st.integers(0, 12 * 24).map(lambda hours: START + timedelta(hours=hours, microseconds=1)),
)
values = st.sampled_from([None, 0.0, -0.0, 1.5, 2.0, -3.25, 1e-50, 1e300, float("nan"), float("inf"), -float("inf")])
dirty_rows = st.tuples(
    st.one_of(st.sampled_from(IDS), st.sampled_from([None, "", *STRANGERS])),
    st.one_of(st.none(), moments, moments, moments),
    st.one_of(st.none(), moments, moments),
    st.sampled_from([None, "", "x", "y", "visit.a", "plan.move", "known", "a code of more than 12 bytes"]),
    values,
)
clean_rows = st.tuples(
    st.sampled_from(IDS), moments, st.none(), st.sampled_from(["x", "y", "plan.move"]), st.sampled_from([None, 1.5])
)
parts = st.lists(
    st.tuples(
        st.lists(st.one_of(dirty_rows, clean_rows), max_size=12),
        st.sampled_from(["parquet", "csv"]),
        st.integers(1, 5),  # rows in a row group
        st.booleans(),  # a column of knowledge dates
        st.booleans(),  # a column of values
    ),
    min_size=1,
    max_size=3,
)


def us(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


def fault_of(who, at, told, code, value, has_known):
    """The contract's rules, one after the other: column and reason, or None."""
    column = "knowledge_date" if has_known else "event_date"
    number = None if value is None else pl.Series([value]).cast(pl.Float32)[0]
    if not who:
        return "person_id", "no id"
    if at is None:
        return "event_date", "no date"
    if not code:
        return "code", "no code"
    if number is not None and not isfinite(number):
        return "value", "not finite"
    if who not in IDS:
        return "person_id", "person not in persons"
    if (told or at).date() < at.date() and not matches(code, AHEAD):
        return column, "known before it happened"
    return None


def oracle(files, extract_date):
    """(log as rows, rejects, extract date) by the rules, event by event; None without a usable event and a date."""
    found, rejects = [], []
    for label, rows, has_known, has_value in files:
        for number, (who, at, told, code, value) in enumerate(rows, start=1):
            told, value = told if has_known else None, value if has_value else None
            if fault := fault_of(who, at, told, code, value, has_known):
                rejects.append((label, number, *fault))
            else:
                column = "knowledge_date" if has_known else "event_date"
                found.append((label, number, column, who, at, told or at, code, value))
    if extract_date is None:
        if not found:
            return None
        extract_date = sorted(row[5].date() for row in found)[ceil(0.999 * len(found)) - 1]
    late = [row for row in found if row[5].date() > extract_date]
    rejects += [(label, number, column, "known after the extract date") for label, number, column, *_ in late]
    kept = [row[3:] for row in found if row[5].date() <= extract_date]
    codes = sorted({row[3] for row in kept})
    events = sorted(
        (IDS.index(who), us(at), value is not None, float(np.float32(value or 0)), codes.index(code), us(told))
        for who, at, told, code, value in kept
    )
    return events, tuple(codes), sorted(rejects), extract_date


def write_part(path, rows, kind, group, has_known, has_value):
    names = {"person_id": pl.String, "event_date": pl.Datetime("us"), "knowledge_date": pl.Datetime("us")}
    frame = pl.DataFrame(rows, schema={**names, "code": pl.String, "value": pl.Float64}, orient="row")
    frame = frame.drop(*([] if has_known else ["knowledge_date"]), *([] if has_value else ["value"]))
    if kind == "csv":
        frame.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.6f")
    else:
        frame.write_parquet(path, row_group_size=group)


def city_of(folder, files, toml=""):
    """A city of IDS whose events are some parts; returns its path and the parts as the oracle wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"person_id": IDS}).write_parquet(folder / "persons.parquet")
    (folder / "city.toml").write_text(toml + f'\n[events]\nahead = ["{AHEAD[0]}", "{AHEAD[1]}"]\n')
    (folder / "events").mkdir(exist_ok=True)
    told = []
    for i, (rows, kind, group, has_known, has_value) in enumerate(files):
        write_part(folder / "events" / f"{i}.{kind}", rows, kind, group, has_known, has_value)
        told.append((f"events/{i}.{kind}", rows, has_known, has_value))
    return told


def arrays_of(log):
    named = {"offsets": log.offsets, "time": log.time, "known": log.known, "code": log.code, "value": log.value}
    return {name: None if a is None else (a.dtype.str, a.tobytes()) for name, a in named.items()}


def expected_arrays(events):
    people, times, has_value, value, code, known = (list(c) for c in zip(*events, strict=True)) if events else [[]] * 6
    offsets = np.concatenate([[0], np.cumsum(np.bincount(np.array(people, dtype=int), minlength=len(IDS)))])
    day = 86_400_000_000
    later = any(k // day > t // day for k, t in zip(known, times, strict=True))
    numbers = [v + 0.0 if has else np.nan for has, v in zip(has_value, value, strict=True)]
    columns = {"offsets": (offsets, "<i8"), "time": (times, "<i8"), "known": (known, "<i8")}
    columns |= {"code": (code, "<u2"), "value": (numbers, "<f4")}
    told = {name: (kind, np.array(column, dtype=kind).tobytes()) for name, (column, kind) in columns.items()}
    return told if later else {**told, "known": None}


_GOOD = ("anna", START, START + 3 * DAY, "x", 1.5)


@settings(max_examples=100)
@given(parts, st.one_of(st.none(), st.integers(0, 12).map(lambda d: (START + d * DAY).date())))
@example([([_GOOD] * 3 + [("zoe", *_GOOD[1:])], "parquet", 2, True, True)], None)
@example([([("bo", START + 9 * DAY, None, "x", -0.0)] * 2 + [_GOOD] * 1500, "parquet", 5, True, True)], None)
@example([([("bo", START + 9 * DAY, None, "x", -0.0)] + [_GOOD] * 1500, "csv", 5, False, True)], None)
@example([([_GOOD] * 1500 + [("bo", START + 9 * DAY, None, "x", 1.0)], "parquet", 500, True, False)], None)
def test_the_log_is_what_the_rules_make_of_the_files(tmp_path_factory, files, extract_date):
    folder = tmp_path_factory.mktemp("city")
    toml = "" if extract_date is None else f"extract_date = {extract_date}"
    told = city_of(folder, files, toml)
    expected = oracle(told, extract_date)
    if expected is None or not any(rows for _, rows, _, _ in told):
        with pytest.raises(DataError):
            open_city(folder, max_reject_share=1.0)
        return
    try:
        city = open_city(folder, max_reject_share=1.0)
    except DataError as error:  # a CSV column of which nothing can be read is refused as a whole
        assert "holds other text" in str(error)
        assert any(kind == "csv" for _, kind, *_ in files)
        return
    events, codes, rejects, day = expected
    assert (city.extract_date, city.n_event_rows) == (day, sum(len(rows) for _, rows, _, _ in told))
    assert city.rejects.rows() == rejects
    assert city.events.codes == codes
    assert arrays_of(city.events) == expected_arrays(events)


def read(path, ids, *, held=False, **checked):
    """The log of one Parquet file, read straight, or through polars as a database would be."""
    door = Door(CityFile(extract_date=date(2200, 12, 31)), 1.0, None)
    file = door.check(Source("events.parquet", pl.scan_parquet(path), path=path), "events")
    door.refuse_faults()
    file = file._replace(**({"parquet": None} if held else {}), **checked)
    is_wide = pl.read_parquet_schema(path)["person_id"] == pl.Int128  # more than Arrow reads
    assert isinstance(rows_of(file, "Europe/Helsinki"), HeldRows if held or is_wide else ParquetRows)
    log, _, n_rows = read_events(door, [file], ids, may_be_empty=False)
    return arrays_of(log), log.codes, n_rows, door.all_rejects().rows()


MOMENTS = pl.Series([0, 1, -1, 1_719_835_200_123_456, None, -12_345_678_901, 1_711_846_799_999_999])


@pytest.mark.parametrize(
    "kind",
    [
        pl.Datetime("us"), pl.Datetime("ms"), pl.Datetime("ns"), pl.Date,
        pl.Datetime("us", "UTC"), pl.Datetime("ms", "America/New_York"), pl.Datetime("ns", "Europe/Helsinki"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("late", [0, 1])
def test_every_kind_of_moment_is_read_as_polars_reads_it(tmp_path, kind, late):
    at = MOMENTS.cast(pl.Datetime("us"))
    at = at.cast(kind) if kind == pl.Date or not kind.time_zone else at.dt.replace_time_zone("UTC").cast(kind)
    events = pl.DataFrame({"person_id": ["1"] * 7, "event_date": at, "knowledge_date": at.shift(-late), "code": "x"})
    events.write_parquet(tmp_path / "events.parquet")
    ids = pl.Series(["1"])
    assert read(tmp_path / "events.parquet", ids) == read(tmp_path / "events.parquet", ids, held=True)


@pytest.mark.parametrize("column", ["event_date", "knowledge_date"])
@pytest.mark.parametrize(("kind", "storage"), [("date32", np.int32), ("us", np.int64), ("ms", np.int64)])
def test_what_stands_on_no_calendar_is_no_date(tmp_path, column, kind, storage):
    whole = np.iinfo(storage)
    raw = np.array([0, whole.min, whole.max, whole.min + 1, 0], dtype=storage)
    odd = pa.array(raw, pa.date32() if kind == "date32" else pa.timestamp(kind))
    usual = pa.array([0] * 5, pa.timestamp("us"))
    columns = {"person_id": ["1"] * 5, "event_date": usual, "knowledge_date": usual, "code": ["x"] * 5, column: odd}
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    straight, ids = tmp_path / "events.parquet", pl.Series(["1"])
    assert read(straight, ids) == read(straight, ids, held=True)
    assert read(straight, ids)[3] == [("events.parquet", row, column, "no date") for row in (2, 3, 4)]


@pytest.mark.parametrize("kind", [pl.Int8, pl.Int32, pl.Int64, pl.UInt8, pl.UInt64, pl.Int128, pl.Categorical])
def test_ids_of_every_type_are_their_decimal_text(tmp_path, kind):
    everyone = ["-1", "0", "007", "7", "+7", "-0", "127", "255", str(2**63), str(2**64 - 1), "-9223372036854775808"]
    numbers = [-1, 0, 7, 100, 127, 255, 2**63, 2**64 - 1, -(2**63), None, 7]
    if kind != pl.Categorical:
        low, high = (pl.select(bound).item() for bound in (kind.min(), kind.max()))
        numbers = [n for n in numbers if n is None or low <= n <= high]
    texts = pl.Series([None if n is None else str(n) for n in numbers])
    whose = texts.cast(kind)
    events = pl.DataFrame({"person_id": whose, "event_date": [START] * len(numbers), "code": ["x"] * len(numbers)})
    events.write_parquet(tmp_path / "events.parquet")
    ids = pl.Series("person_id", sorted(everyone))
    arrays, _, _, rejects = read(tmp_path / "events.parquet", ids)
    counted = np.diff(np.frombuffer(arrays["offsets"][1], dtype=np.int64)).tolist()
    assert dict(zip(ids, counted, strict=True)) == {who: texts.to_list().count(who) for who in everyone}
    assert [(row, reason) for _, row, _, reason in rejects] == [
        (row, "no id" if text is None else "person not in persons")
        for row, text in enumerate(texts, start=1)
        if text not in everyone
    ]


@pytest.mark.parametrize("kind", [pl.Float32, pl.Float64, pl.Int8, pl.Int64, pl.UInt64])
def test_values_of_every_type_are_read_as_polars_reads_them(tmp_path, kind):
    value = pl.Series([1, None, 0, 100, None, 7], dtype=kind)
    events = pl.DataFrame({"person_id": ["1"] * 6, "event_date": [START] * 6, "code": ["x"] * 6, "value": value})
    events.write_parquet(tmp_path / "events.parquet")
    ids = pl.Series(["1"])
    assert read(tmp_path / "events.parquet", ids) == read(tmp_path / "events.parquet", ids, held=True)


@pytest.mark.parametrize("held", [False, True])
def test_undated_rows_of_a_static_kind_are_no_events_and_no_rejects(tmp_path, held):
    events = pl.DataFrame(
        {"person_id": ["1", "1", None, "2"], "event_date": [START, None, None, START], "code": ["x", "sex", "x", "x"]}
    )
    events.write_parquet(tmp_path / "events.parquet")
    arrays, codes, n_rows, rejects = read(
        tmp_path / "events.parquet", pl.Series(["1"]), held=held, undated_are_static=True
    )
    assert (codes, n_rows) == (("x",), 3)
    assert np.frombuffer(arrays["time"][1], dtype=np.int64).tolist() == [us(START)]
    assert [(row, reason) for _, row, _, reason in rejects] == [(3, "no id"), (4, "person not in persons")]


def test_moments_are_converted_to_the_time_of_the_city(tmp_path):
    at = [datetime(2024, 3, 31, 0, 59, tzinfo=UTC), datetime(2024, 3, 31, 1, 0, tzinfo=UTC)]  # the clock moves here
    events = pl.DataFrame({"person_id": ["1", "1"], "event_date": at, "code": ["x", "x"]})
    events.write_parquet(tmp_path / "events.parquet")
    arrays, *_ = read(tmp_path / "events.parquet", pl.Series(["1"]))
    assert np.frombuffer(arrays["time"][1], dtype=np.int64).tolist() == [
        us(datetime(2024, 3, 31, 2, 59)), us(datetime(2024, 3, 31, 4, 0))
    ]  # fmt: skip


def test_codes_that_only_rejected_rows_have_do_not_widen_the_log(tmp_path):
    n = 70_000
    events = pl.DataFrame(
        {
            "person_id": ["zoe"] * n + ["anna"] * 3,
            "event_date": [START] * (n + 3),
            "code": [f"c{i:05d}" for i in range(n)] + ["z", "c00007", "z"],
        }
    )
    city = open_city(write_city(tmp_path, [{"person_id": "anna"}], events), max_reject_share=1.0)
    assert (city.events.codes, city.events.code.dtype) == (("c00007", "z"), np.uint16)
    assert city.events.code.tolist() == [0, 1, 1]


def test_after_the_warm_up_reading_compiles_nothing(tmp_path):
    events = pl.DataFrame(
        {"person_id": ["1", "2"], "event_date": [START] * 2, "code": ["x", "y"], "value": [1.0, None]}
    )
    late = events.with_columns(knowledge_date=pl.col("event_date") + pl.duration(days=1))
    number = late.with_columns(pl.col("person_id").cast(pl.Int64))
    many = pl.DataFrame({"code": [f"c{i}" for i in range(70_000)], "person_id": "1", "event_date": START})
    long = events.with_columns(person_id=pl.lit(LONG))
    persons = [{"person_id": who} for who in ("1", "2", LONG)]
    for name, table in {"a": events, "b": late, "c": number, "d": many, "e": long}.items():
        write_city(tmp_path / name, persons, table)
    write_city(tmp_path / "f", persons, late, csv=("events",))
    write_city(tmp_path / "g", persons, many.with_columns(knowledge_date=pl.col("event_date").dt.offset_by("1d")))
    script = """
import sys
from features import person_index, regrouping
from features.city import open_city
regrouping.warm_up()
person_index.warm_up()
kernels = [k for module in (person_index, regrouping) for k in vars(module).values() if hasattr(k, "signatures")]
before = [len(k.signatures) for k in kernels]
for folder in sys.argv[1:]:
    open_city(folder)
print(len(kernels) > 5 and before == [len(k.signatures) for k in kernels])
"""
    folders = [str(tmp_path / name) for name in "abcdefg"]
    done = subprocess.run([sys.executable, "-c", script, *folders], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_a_file_without_any_id_among_long_ids_is_only_rejects(tmp_path):
    who = "a person whose id is longer than a view"
    folder = write_city(tmp_path / "city", [{"person_id": who}], [{"person_id": who, "event_date": START, "code": "x"}])
    (folder / "events").mkdir()
    (folder / "events.parquet").rename(folder / "events" / "a.parquet")
    nobody = pl.DataFrame(
        {"person_id": [None], "event_date": [START], "code": ["x"]}, schema_overrides={"person_id": str}
    )
    nobody.write_parquet(folder / "events" / "b.parquet")
    city = open_city(folder, max_reject_share=0.5)
    assert city.rejects.rows() == [("events/b.parquet", 1, "person_id", "no id")]
    assert city.events.offsets.tolist() == [0, 1]
