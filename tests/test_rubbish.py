"""A table of rubbish: whatever an export may hold ends in the right answer or in one clear refusal, never a traceback.

Each case goes the whole way, through ``open_city`` and ``build_matrix``.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_city

from ethics.refusals import BadInput
from features.city import open_city
from features.matrix import build_matrix
from features.spec import FeatureSpec

DAY = date(2024, 1, 10)
AS_OF = date(2024, 2, 1)
TEXTS = {"fi": "a", "sv": "b", "en": "c"}
ABOUT = {"plain": TEXTS, "source": "s", "purpose": "p", "basis": "b", "visible_to": (), "changeable": True}
VISITS = FeatureSpec(name="v", codes=("x",), windows=("ever",), measures=("count", "sum", "last"), **ABOUT)
MOMENT = "a day (2024-01-31) or a moment (2024-01-31T09:30:00)"
DAMAGED = "It may be cut short or damaged; export it again"
TOML = "extract_date = 2024-12-31\n"


class Rubbish(NamedTuple):
    """What lies in the folder, and either the cells of the persons (count, sum, last of code x) or the refusal."""

    name: str
    lay: Callable[[Any], None]
    cells: dict[str, tuple[float, ...]] | None = None
    rejected: tuple[str, ...] = ()
    refused: str | None = None


def table(*ids, **columns):
    """Events of some persons, one visit each on the same day with the value 1, unless told otherwise."""
    n = len(ids)
    told = {"event_date": [DAY] * n, "code": ["x"] * n, "value": [1.0] * n} | columns
    return pl.DataFrame({"person_id": list(ids), **told}, strict=False)


def lay(events=None, persons=("a", "b"), parts=None, csv=None, spoil=None, toml=TOML):
    """A city folder: events as one table, as named parts, or as the text of a CSV; then spoilt further."""

    def write(folder):
        frame = persons if isinstance(persons, pl.DataFrame) else pl.DataFrame({"person_id": list(persons)})
        write_city(folder, frame, table("a") if events is None else events, toml=toml)
        if parts is not None or csv is not None:
            (folder / "events.parquet").unlink()
        for name, part in (parts or {}).items():
            (folder / "events" / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(part, bytes):
                (folder / "events" / name).write_bytes(part)
            elif isinstance(part, pa.Table):
                pq.write_table(part, folder / "events" / name)
            else:
                part.write_parquet(folder / "events" / name)
        if csv is not None:
            (folder / "events.csv").write_bytes(csv if isinstance(csv, bytes) else csv.encode())
        if spoil is not None:
            spoil(folder)

    return write


def times(dtype, *ids, at=DAY):
    return table(*ids).with_columns(event_date=pl.lit(at).cast(dtype))


def arrow(codes=None, **columns):
    """Events as an Arrow table, for types that polars does not write."""
    told = {"person_id": pa.array(["a"]), "event_date": pa.array([DAY]), "code": codes, "value": pa.array([1.0])}
    return pa.table({**told, **columns})


def cohort(*ids, days=None):
    frame = pl.DataFrame({"person_id": ids, "as_of_date": days or [AS_OF] * len(ids)})
    return beside("cohorts/x", frame)


def history(*days):
    told = {"person_id": "a", "attribute": "district", "value": "Kallio"}
    return beside("history", pl.DataFrame([told | {"from_date": day} for day in days]))


def beside(name, frame):
    def write(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        frame.write_parquet(folder / f"{name}.parquet")

    return write


def bytes_of(frame):
    import io

    target = io.BytesIO()
    frame.write_parquet(target)
    return target.getvalue()


ONE = (1.0, 1.0, 1.0)
NONE = (0.0, float("nan"), float("nan"))
HEADER = "person_id,event_date,code,value\n"
BEYOND = pl.Series([9 * 10**15], dtype=pl.Int64)
SPLIT_UNITS = {
    "ns.parquet": times(pl.Datetime("ns"), "a"),
    "us.parquet": times(pl.Datetime("us"), "a"),
    "ms.parquet": times(pl.Datetime("ms"), "a"),
    "day.parquet": times(pl.Date, "a"),
    "utc.parquet": times(pl.Datetime("us"), "b").with_columns(pl.col("event_date").dt.replace_time_zone("UTC")),
    "sthlm.parquet": times(pl.Datetime("ms"), "b").with_columns(
        pl.col("event_date").dt.replace_time_zone("Europe/Stockholm")
    ),
}
CASES = [
    # -- time
    Rubbish("six kinds of time in one folder", lay(parts=SPLIT_UNITS), {"a": (4, 4, 1), "b": (2, 2, 1)}),
    Rubbish(
        "the years 1 and 9999",
        lay(table("a", "b", "b", event_date=[date(1, 1, 1), date(9999, 12, 31), DAY])),
        {"a": ONE, "b": ONE},
        ("known after the extract date",),
    ),
    Rubbish(
        "the moment before the year 10000 in every unit",
        lay(
            parts={
                f"{unit}.parquet": times(pl.Datetime(unit), "a", at=datetime(9999, 12, 31, 23)) for unit in ("ms", "us")
            }
            | {"good.parquet": table("b")}
        ),
        {"a": NONE, "b": ONE},
        ("known after the extract date",) * 2,
    ),
    *(
        Rubbish(
            f"{dtype} beyond any calendar",
            lay(table("a", "b").with_columns(event_date=pl.Series([number, 1_704_844_800]).cast(pl.Int64).cast(dtype))),
            {"a": NONE, "b": ONE},
            ("no date",),
        )
        for dtype, number in (
            (pl.Datetime("ms"), 2**62),
            (pl.Datetime("ms"), -(2**62)),
            (pl.Datetime("us"), 2**62),
            (pl.Datetime("us", "UTC"), 2**62),
            (pl.Datetime("us", "UTC"), -(2**62)),
        )
    ),
    Rubbish(
        "days beyond any calendar",
        lay(table("a", "b").with_columns(event_date=pl.Series([2**31 - 1, 19_732]).cast(pl.Int32).cast(pl.Date))),
        {"a": NONE, "b": ONE},
        ("no date",),
    ),
    Rubbish(
        "a birth date beyond any calendar",
        lay(
            persons=pl.DataFrame({"person_id": ["a", "b"], "birth_date": [2**31 - 1, 0]}).with_columns(
                pl.col("birth_date").cast(pl.Int32).cast(pl.Date)
            ),
            events=table("b"),
        ),
        {"b": ONE},
        ("no date",),
    ),
    Rubbish(
        "no extract date and only one far event",
        lay(times(pl.Datetime("us"), "a").with_columns(event_date=pl.Series([2**62]).cast(pl.Datetime("us"))), toml=""),
        refused="events: holds no usable event to tell the extract date by. Give extract_date in city.toml",
    ),
    Rubbish(
        "whole numbers as times",
        lay(table("a", event_date=[1_704_844_800])),
        refused=f"events.parquet: column 'event_date' holds Int64, expected {MOMENT}. Export it in that type",
    ),
    Rubbish(
        "a clock without a day",
        lay(table("a").with_columns(event_date=pl.time(9, 30))),
        refused=f"events.parquet: column 'event_date' holds Time, expected {MOMENT}. Export it in that type",
    ),
    # -- ids
    Rubbish(
        "-1 and 2**63 as ids",
        lay(
            persons=pl.DataFrame({"person_id": ["-1", str(2**63), "9"]}),
            parts={
                "signed.parquet": table(-1, 9),
                "unsigned.parquet": table(2**63, 9).with_columns(pl.col("person_id").cast(pl.UInt64)),
            },
        ),
        {"-1": ONE, str(2**63): ONE, "9": (2, 2, 1)},
    ),
    Rubbish("a null id", lay(table("a", None)), {"a": ONE, "b": NONE}, ("no id",)),
    Rubbish("an empty id", lay(table("a", "")), {"a": ONE, "b": NONE}, ("no id",)),
    Rubbish("a blank id in events", lay(table("a", "  ")), {"a": ONE}, ("person not in persons",)),
    Rubbish("a blank id in persons", lay(persons=("a", "b", "  ")), {"a": ONE, "b": NONE}, ("no id",)),
    Rubbish(
        "an id with a space is itself in Parquet",
        lay(table("a b", " a"), persons=("a", "a b")),
        {"a": NONE, "a b": ONE},
        ("person not in persons",),
    ),
    Rubbish(
        "spaces around an id and a code stay in CSV, and go around what is no text",
        lay(csv=HEADER + " a ,2024-01-10, x ,1\nb b, 2024-01-10 ,x, 1 \na, 2024-01-10,x,1\n", persons=(" a ", "b b")),
        {" a ": NONE, "b b": ONE},
        ("person not in persons",),
    ),
    Rubbish(
        "a blank id in events in CSV",
        lay(csv=HEADER + "  ,2024-01-10,x,1\n" + "a,2024-01-10,x,1\n"),
        {"a": ONE, "b": NONE},
        ("person not in persons",),
    ),
    Rubbish("texts here and numbers there", lay(table("7", "-1"), persons=(7, -1)), {"7": ONE, "-1": ONE}),
    Rubbish(
        "numbers with a fraction as ids",
        lay(table(1.0, 2.5)),
        refused="events.parquet: column 'person_id' holds Float64, expected text or whole numbers. "
        "Export it in that type",
    ),
    Rubbish("a null person", lay(persons=("a", "b", None)), {"a": ONE, "b": NONE}, ("no id",)),
    Rubbish(
        "a person twice",
        lay(persons=("a", "b", "a")),
        refused="persons.parquet: 1 of 3 rows repeat a person_id. "
        "Give each person one row; what changes belongs in history",
    ),
    Rubbish(
        "a person twice, once as a number",
        lay(persons=pl.DataFrame({"person_id": ["7", "7"]}), events=table("7")),
        refused="persons.parquet: 1 of 2 rows repeat a person_id. "
        "Give each person one row; what changes belongs in history",
    ),
    # -- values
    Rubbish(
        "NaN and infinity",
        lay(table("a", "b", "b", "b", value=[1.0, float("nan"), float("inf"), float("-inf")])),
        {"a": ONE, "b": NONE},
        ("not finite",) * 3,
    ),
    Rubbish("a number beyond 32 bits", lay(table("a", "b", value=[1.0, -1e39])), {"a": ONE}, ("not finite",)),
    *(
        Rubbish(f"values of type {dtype}", lay(table("a").with_columns(pl.col("value").cast(dtype))), {"a": ONE})
        for dtype in (pl.Int8, pl.Int64, pl.UInt64, pl.Float32, pl.Decimal(20, 4))
    ),
    Rubbish("values of no type", lay(table("a").with_columns(value=None)), {"a": (1, float("nan"), float("nan"))}),
    Rubbish(
        "a 38-digit decimal",
        lay(parts={"a.parquet": arrow(pa.array(["x"]), value=pa.array([Decimal("1.5")], pa.decimal128(38, 10)))}),
        {"a": (1, 1.5, 1.5)},
    ),
    *(
        Rubbish(
            f"values of type {shown}",
            lay(table("a").with_columns(value=value)),
            refused=f"events.parquet: column 'value' holds {shown}, expected numbers. Export it in that type",
        )
        for shown, value in (("Boolean", pl.lit(True)), ("String", pl.lit("1")), ("List(Int64)", pl.lit([1])))
    ),
    # -- files
    Rubbish(
        "a file without rows among many",
        lay(parts={"0.parquet": table("a"), "1.parquet": table("a").clear(), "2.parquet": table("b")}),
        {"a": ONE, "b": ONE},
    ),
    Rubbish(
        "a file of nulls without types among many",
        lay(parts={"0.parquet": table("a"), "1.parquet": pl.DataFrame({n: [None] for n in HEADER.strip().split(",")})}),
        {"a": ONE},
        ("no id",),
    ),
    Rubbish(
        "a file of 0 bytes among many",
        lay(parts={"0.parquet": table("a"), "1.parquet": b""}),
        refused="events/1.parquet: is an empty file. Export it again",
    ),
    Rubbish(
        "two damaged files among many",
        lay(parts={"0.parquet": table("a"), "1.parquet": bytes_of(table("a"))[:99], "2.parquet": b"PAR1"}),
        refused=f"events/1.parquet: cannot be read as Parquet. {DAMAGED}\n"
        f"events/2.parquet: cannot be read as Parquet. {DAMAGED}",
    ),
    Rubbish(
        "columns in another order per file, and more of them",
        lay(
            parts={
                "0.parquet": table("a"),
                "1.parquet": table("b").with_columns(z=1).select("z", "value", "code", "event_date", "person_id"),
            }
        ),
        {"a": ONE, "b": ONE},
    ),
    Rubbish(
        "optional columns missing in one file",
        lay(
            parts={
                "0.parquet": table("a").with_columns(knowledge_date=pl.lit(AS_OF)),
                "1.parquet": table("b").drop("value"),
            }
        ),
        {"a": NONE, "b": (1, float("nan"), float("nan"))},
    ),
    Rubbish(
        "a needed column missing in one file",
        lay(parts={"0.parquet": table("a"), "1.parquet": table("b").drop("code")}),
        refused="events/1.parquet: has no column 'code' (text). Add it, or name yours in city.toml under "
        "[columns.events]. Found: person_id, event_date, value",
    ),
    Rubbish(
        "files in folders within, and what programs leave beside",
        lay(parts={"y=1/0.parquet": table("a"), "y=2/0.PARQUET": table("b"), "_log/0.parquet": b"?", ".x.csv": b"?"}),
        {"a": ONE, "b": ONE},
    ),
    Rubbish(
        "a star in a name is no pattern",
        lay(parts={"[ab]*.parquet": table("a"), "a.parquet": table("b")}),
        {"a": ONE, "b": ONE},
    ),
    Rubbish(
        "a link to a file that is gone",
        lay(parts={"0.parquet": table("a")}, spoil=lambda city: (city / "events" / "1.parquet").symlink_to("gone")),
        refused=f"events/1.parquet: cannot be read as Parquet. {DAMAGED}",
    ),
    # -- cohorts and history
    Rubbish(
        "a cohort that repeats a row",
        lay(spoil=cohort("a", "b", "a")),
        refused="cohorts/x.parquet: 1 of 3 rows repeat a person and as-of date. "
        "Give each person one row per as-of date",
    ),
    Rubbish(
        "as-of dates with a clock and without a value",
        lay(spoil=cohort("a", "a", "b", days=[datetime(2024, 1, 1, 9), None, datetime(2024, 1, 1)])),
        {"a": ONE},
        ("no date",) * 2,
    ),
    Rubbish("a stranger in a cohort", lay(spoil=cohort("a", "zoe")), {"a": ONE}, ("person not in persons",)),
    Rubbish(
        "history up to the last day of the calendar",
        lay(times(pl.Date, "a", at=date(9999, 12, 31)), toml="", spoil=history(date(9999, 12, 31), date(1, 1, 1))),
        {"a": NONE},
    ),
    Rubbish("history without a date", lay(spoil=history(None, DAY)), {"a": ONE}, ("no date",)),
    # -- codes
    Rubbish("a null code", lay(table("a", "b", code=["x", None])), {"a": ONE, "b": NONE}, ("no code",)),
    Rubbish("an empty code", lay(table("a", "b", code=["x", ""])), {"a": ONE, "b": NONE}, ("no code",)),
    Rubbish("a code in no feature", lay(table("a", "b", code=["x", "y"])), {"a": ONE, "b": NONE}),
    *(
        Rubbish(f"codes as {kind}", lay(parts={"0.parquet": arrow(codes)}), {"a": ONE, "b": NONE})
        for kind, codes in (
            ("string", pa.array(["x"])),
            ("large_string", pa.array(["x"], pa.large_string())),
            ("string_view", pa.array(["x"], pa.string_view())),
            ("dictionary", pa.array(["x"]).dictionary_encode()),
            ("dictionary of large_string", pa.array(["x"], pa.large_string()).dictionary_encode()),
        )
    ),
    Rubbish("codes as Categorical", lay(table("a").with_columns(pl.col("code").cast(pl.Categorical))), {"a": ONE}),
    Rubbish("codes as Enum", lay(table("a").with_columns(pl.col("code").cast(pl.Enum(["w", "x"])))), {"a": ONE}),
    Rubbish(
        "codes of several types over files",
        lay(
            parts={
                "0.parquet": arrow(pa.array(["x"]).dictionary_encode()),
                "1.parquet": table("a"),
                "2.parquet": table("b").with_columns(code=pl.lit(12)),
            }
        ),
        {"a": (2, 2, 1), "b": NONE},
    ),
    Rubbish(
        "codes as bytes",
        lay(parts={"0.parquet": arrow(pa.array([b"x"]))}),
        refused="events/0.parquet: column 'code' holds Binary, expected text. Export it in that type",
    ),
    # -- CSV
    Rubbish(
        "semicolons, a mark at the start, and other line ends",
        lay(csv="\ufeffperson_id;event_date;code;value\r\na;2024-01-10;x;1\r\n"),
        {"a": ONE, "b": NONE},
    ),
    Rubbish(
        "quotes and line ends inside cells",
        lay(
            csv=HEADER.replace("\n", ",note\n") + '"a","2024-01-10","x",1,"two\nlines, ""quoted"""\nb,2024-01-10,x,1,\n'
        ),
        {"a": ONE, "b": ONE},
    ),
    Rubbish(
        "a line end and a comma inside an id",
        lay(csv=HEADER + '"a\nb, c",2024-01-10,x,1\n', persons=("a\nb, c",)),
        {"a\nb, c": ONE},
    ),
    *(
        Rubbish(
            f"CSV in {encoding}",
            lay(csv=(HEADER + "ä,2024-01-10,x,1\n").encode(encoding)),
            refused=f"events.csv: cannot be read as CSV in UTF-8. {DAMAGED}",
        )
        for encoding in ("latin-1", "utf-16", "utf-32")
    ),
    Rubbish(
        "a column named twice",
        lay(csv="person_id,event_date,code,code\na,2024-01-10,x,y\n"),
        refused="events.csv: names the column 'code' twice. Give each column a name of its own",
    ),
    Rubbish(
        "a quote that does not end",
        lay(csv=HEADER + 'a,2024-01-10,"x,1\n'),
        refused=f"events.csv: cannot be read as CSV in UTF-8. {DAMAGED}",
    ),
    Rubbish(
        "a decimal comma",
        lay(csv='person_id;event_date;code;value\na;2024-01-10;x;"1,5"\n'),
        refused="events.csv: column 'value' holds other text, expected numbers. Export it in that form",
    ),
    Rubbish(
        "days that no calendar has",
        lay(csv=HEADER + "a,2024-01-10,x,1\nb,2024-02-30,x,1\nb,0000-01-01,x,1\nb,99999-01-01,x,1\n"),
        {"a": ONE, "b": NONE},
        ("no date",) * 3,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_rubbish_ends_in_the_right_answer_or_one_clear_refusal(tmp_path, nobody_objects, case):
    case.lay(tmp_path)
    if case.refused is not None:
        with pytest.raises(BadInput) as caught:
            open_city(tmp_path, max_reject_share=1.0)
        assert str(caught.value) == case.refused
        return
    city = open_city(tmp_path, max_reject_share=1.0)
    assert tuple(sorted(city.rejects["reason"])) == tuple(sorted(case.rejected))
    for person, cells in case.cells.items():
        assert cells_of(city, person, AS_OF, nobody_objects) == pytest.approx(cells, nan_ok=True)


def cells_of(city, person, as_of, nobody_objects):
    keys = pl.DataFrame({"person_id": [person], "as_of_date": [as_of]})
    return build_matrix(city, [VISITS], keys, objections=nobody_objects, need_id="n").X[0].tolist()


def test_before_the_first_event_nothing_has_happened(tmp_path, nobody_objects):
    city = open_city(write_city(tmp_path, [{"person_id": "a"}], table("a"), toml=TOML))
    assert cells_of(city, "a", DAY, nobody_objects) == pytest.approx(NONE, nan_ok=True)
    assert cells_of(city, "a", date(1, 1, 2), nobody_objects) == pytest.approx(NONE, nan_ok=True)
    assert cells_of(city, "a", DAY + timedelta(days=1), nobody_objects) == pytest.approx(ONE)


def test_a_feature_of_a_code_that_nobody_has_is_empty_for_all(tmp_path, nobody_objects):
    city = open_city(write_city(tmp_path, [{"person_id": "a"}], table("a", code=["y"]), toml=TOML))
    assert cells_of(city, "a", AS_OF, nobody_objects) == pytest.approx(NONE, nan_ok=True)


@pytest.mark.parametrize("change", [date(2024, 3, 31), date(2024, 10, 27)], ids=["23 hours", "25 hours"])
@pytest.mark.parametrize("is_aware", [True, False], ids=["aware", "naive"])
def test_a_microsecond_around_midnight_where_the_clocks_change(tmp_path, nobody_objects, change, is_aware):
    """Events at the first and last microsecond of the day whose clocks change, and just outside of it."""
    from zoneinfo import ZoneInfo

    tick, zone = timedelta(microseconds=1), ZoneInfo("Europe/Helsinki")
    begin = datetime.combine(change, datetime.min.time())
    local = [begin - tick, begin, begin + timedelta(days=1) - tick, begin + timedelta(days=1)]
    moments = [moment.replace(tzinfo=zone).astimezone(UTC) for moment in local] if is_aware else local
    dtype = pl.Datetime("us", "UTC") if is_aware else pl.Datetime("us")
    events = table("a", "a", "a", "a", value=[1, 10, 100, 1000]).with_columns(
        event_date=pl.Series(moments, dtype=dtype)
    )
    city = open_city(write_city(tmp_path, [{"person_id": "a"}], events, toml=TOML))
    day = FeatureSpec(name="d", codes=("x",), windows=(1,), measures=("sum",), **ABOUT)
    dates = [change, change + timedelta(days=1), change + timedelta(days=2)]
    keys = pl.DataFrame({"person_id": ["a"] * 3, "as_of_date": dates})
    matrix = build_matrix(city, [day], keys, objections=nobody_objects, need_id="n")
    assert matrix.X[:, 0].tolist() == [1, 110, 1000]


def test_the_same_rubbish_is_rejected_alike_as_parquet_and_csv(tmp_path):
    """Which rows are left out does not depend on the format they came in."""
    ids = ["a", "b", None, "zoe", "a", "b", "a"]
    moments = [datetime(2024, 1, day, 9, 30) for day in range(1, 7)] + [datetime(2025, 6, 1)]
    values = [1.0, float("inf"), 2.0, 3.0, float("nan"), None, 4.0]
    events = pl.DataFrame({"person_id": ids, "event_date": moments, "code": ["x"] * 5 + [None, "x"], "value": values})
    persons = pl.DataFrame({"person_id": ["a", "b"]})
    cities = [
        open_city(write_city(tmp_path / how, persons, events, csv=csv, toml=TOML), max_reject_share=1.0)
        for how, csv in (("parquet", ()), ("csv", ("events",)))
    ]
    assert cities[0].digest == cities[1].digest
    rows = [city.rejects.select("row", "column", "reason").rows() for city in cities]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    assert np.diff(cities[0].events.offsets).tolist() == [1, 0]
