from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import rows, write_city
from hypothesis import given
from hypothesis import strategies as st

from features.city import City, DataError, EventLog, city_from_frames, open_city

DAY = date(2024, 1, 10)
PERSONS = pl.DataFrame({"person_id": ["anna", "bo"], "birth_date": [date(2000, 1, 1), None]})
EVENTS = pl.DataFrame(
    {"person_id": ["anna", "bo", "anna"], "event_date": [DAY] * 3, "code": ["x", "y", "z"], "value": [1.0, None, 2.0]}
)
MOMENT = "a day (2024-01-31) or a moment (2024-01-31T09:30:00)"


def refusal(folder, **how):
    with pytest.raises(DataError) as caught:
        open_city(folder, **how)
    return str(caught.value).replace(str(folder), "<city>").splitlines()


def events_of(city: City):
    """The log as (person, time, known, code, value) in its own order."""
    log = city.events
    people = np.repeat(log.person_ids.to_list(), np.diff(log.offsets))
    known = log.time if log.known is None else log.known
    names = np.array(log.codes, dtype=object)[log.code] if log.codes else []
    moments = [[datetime(1970, 1, 1) + timedelta(microseconds=int(t)) for t in times] for times in (log.time, known)]
    numbers = [None if np.isnan(v) else float(v) for v in log.value]
    return list(zip(people.tolist(), *moments, names, numbers, strict=True))


def rejects_of(city: City):
    return city.rejects.rows()


# -- what comes in


def test_a_folder_is_read_as_it_lies(tiny_city):
    lines = []
    city = open_city(tiny_city, progress=lines.append)
    assert (city.name, city.extract_date, city.timezone) == ("tiny", date(2024, 12, 31), "Europe/Helsinki")
    assert city.persons.columns == ["person_id", "birth_date", "language"] and city.fixed == ("language",)
    assert city.events.codes == ("moved_away", "school.absence.ill", "school.absence.none", "status.neet")
    assert np.diff(city.events.offsets).tolist() == [4, 4, 1, 0]
    assert city.cohort_table("all")["person_id"].to_list() == ["anna", "bo", "cai"]
    assert lines == [
        "persons: 4 rows in, 0 rejected",
        "events: 9 rows in, 0 rejected",
        "extract date 2024-12-31 (as told)",
        "history: 4 rows in, 0 rejected",
        "cohorts/all: 3 rows in, 0 rejected",
    ]


def test_columns_that_are_not_fixed_and_audit_groups_stay_outside(tmp_path):
    persons = PERSONS.with_columns(mother_tongue=pl.lit("fi"), district=pl.lit("Kallio"))
    groups = PERSONS.select("person_id", sex=pl.lit("f"))
    city = open_city(write_city(tmp_path, persons, EVENTS, groups=groups, toml='[persons]\nfixed = ["district"]'))
    assert city.persons.columns == ["person_id", "birth_date", "district"]
    assert city.groups_path == tmp_path / "groups.parquet"


def test_whole_numbers_as_ids_become_decimal_text(tmp_path):
    persons = pl.DataFrame({"person_id": [12, 7, -1]})
    events = EVENTS.with_columns(person_id=pl.Series([7, 12, -1], dtype=pl.Int32))
    city = open_city(write_city(tmp_path, persons, events))
    assert city.events.person_ids.to_list() == ["-1", "12", "7"]
    assert np.diff(city.events.offsets).tolist() == [1, 1, 1]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_moment_is_the_same_in_every_time_unit(tmp_path, unit):
    events = EVENTS.with_columns(event_date=pl.lit(datetime(2024, 1, 10, 9, 30)).cast(pl.Datetime(unit)))
    assert {e[1] for e in events_of(open_city(write_city(tmp_path, PERSONS, events)))} == {datetime(2024, 1, 10, 9, 30)}


def test_aware_moments_are_told_in_local_time(tmp_path):
    summer, winter = datetime(2024, 7, 1, 12, tzinfo=UTC), datetime(2024, 1, 10, 22, 30, tzinfo=UTC)
    events = EVENTS.head(2).with_columns(event_date=pl.Series([summer, winter]))
    times = [e[1] for e in events_of(open_city(write_city(tmp_path, PERSONS, events)))]
    assert times == [datetime(2024, 7, 1, 15), datetime(2024, 1, 11, 0, 30)]


def test_csv_holds_days_moments_and_offsets(tmp_path):
    write_city(tmp_path, PERSONS, EVENTS, csv=("persons",))
    (tmp_path / "events.parquet").unlink()
    lines = [
        "person_id;event_date;code;value",
        "anna;2024-01-10;x;",
        "anna;2024-01-10 09:30;x;1.5",
        "bo;2024-01-10T12:00:00Z;x;-0.0",
        "bo;2024-01-10T12:00:00.25+05:00;x;3",
    ]
    (tmp_path / "events.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    assert events_of(open_city(tmp_path)) == [
        ("anna", at := datetime(2024, 1, 10), at, "x", None),
        ("anna", at := datetime(2024, 1, 10, 9, 30), at, "x", 1.5),
        ("bo", at := datetime(2024, 1, 10, 9, 0, 0, 250_000), at, "x", 3.0),
        ("bo", at := datetime(2024, 1, 10, 14), at, "x", 0.0),
    ]


def test_columns_of_other_names_are_mapped(tmp_path):
    toml = '[columns.events]\nperson_id = "asiakas"\nevent_date = "pvm"\n[columns.persons]\nperson_id = "asiakas"\n'
    persons, events = (
        PERSONS.rename({"person_id": "asiakas"}),
        EVENTS.rename({"person_id": "asiakas", "event_date": "pvm"}),
    )
    assert len(events_of(open_city(write_city(tmp_path, persons, events, toml=toml)))) == 3


def test_a_city_says_that_it_is_invented_and_so_does_one_made_in_its_likeness(tmp_path):
    city = open_city(write_city(tmp_path / "a", PERSONS, EVENTS, toml="invented = true"))
    assert city.invented and city_from_frames(PERSONS, EVENTS, like=city).invented
    assert not open_city(write_city(tmp_path / "b", PERSONS, EVENTS)).invented


def test_units_and_code_names_are_read(tmp_path):
    units = rows(
        ("unit_id", "name", "districts", "capacity"), (2, "East", "Vuosaari; Mellunkylä", 10), (1, "West", "", 5)
    )
    codes = rows(("code", "fi", "sv", "en", "source"), ("school.*", "koulu", "skola", "school", "school register"))
    city = open_city(write_city(tmp_path, PERSONS, EVENTS, units=units, codes=codes))
    assert city.units["unit_id"].to_list() == ["1", "2"]
    assert city.units["districts"].to_list()[1] == ["Vuosaari", "Mellunkylä"]
    assert city.codes.row(0) == ("school.*", "koulu", "skola", "school", "school register")


def test_the_default_extract_date_is_the_day_by_which_999_in_1000_are_known(tmp_path):
    days = [DAY + timedelta(days=i // 100) for i in range(999)] + [date(2060, 1, 1)]
    events = pl.DataFrame({"person_id": ["anna"] * 1000, "event_date": days, "code": ["x"] * 1000})
    city = open_city(write_city(tmp_path, PERSONS, events))
    assert city.extract_date == DAY + timedelta(days=9)
    assert rejects_of(city) == [("events.parquet", 1000, "event_date", "known after the extract date")]


# -- what stays outside


def test_each_bad_row_is_rejected_with_file_row_column_and_reason(tmp_path):
    late = date(2024, 1, 20)
    good = [("anna", DAY, DAY, "x", 1.0)] * 3
    bad = [
        (None, DAY, DAY, "x", 1.0),
        ("", DAY, DAY, "x", 1.0),
        ("anna", None, DAY, "x", 1.0),
        ("anna", DAY, DAY, None, 1.0),
        ("anna", DAY, DAY, "x", float("nan")),
        ("anna", DAY, DAY, "x", float("inf")),
        ("anna", DAY, DAY, "x", 1e300),  # more than float32 holds
        ("zoe", DAY, DAY, "x", 1.0),
        ("anna", DAY, DAY - timedelta(days=1), "x", 1.0),
        ("anna", DAY, late, "x", 1.0),
        ("anna", late, None, "x", 1.0),
    ]
    names = ("person_id", "event_date", "knowledge_date", "code", "value")
    events = pl.DataFrame(good + bad, schema=dict.fromkeys(names), orient="row", infer_schema_length=None)
    folder = write_city(tmp_path, PERSONS, events, toml="extract_date = 2024-01-19")
    city = open_city(folder, max_reject_share=0.99)
    assert rejects_of(city) == [
        ("events.parquet", row, column, reason)
        for row, column, reason in [
            (4, "person_id", "no id"),
            (5, "person_id", "no id"),
            (6, "event_date", "no date"),
            (7, "code", "no code"),
            (8, "value", "not finite"),
            (9, "value", "not finite"),
            (10, "value", "not finite"),
            (11, "person_id", "person not in persons"),
            (12, "knowledge_date", "known before it happened"),
            (13, "knowledge_date", "known after the extract date"),
            (14, "knowledge_date", "known after the extract date"),
        ]
    ]
    assert (city.n_event_rows, len(events_of(city)), city.events.codes) == (14, 3, ("x",))
    with pytest.raises(DataError) as caught:
        open_city(folder)
    assert str(caught.value) == (
        "events: 11 of 14 rows cannot be used (78.6%, limit 1.0%): 2 known after the extract date, "
        "1 known before it happened, 1 no code, 1 no date, 2 no id, 3 not finite, 1 person not in persons. "
        "Mend the rows; the table of rejects says file, row, column and reason of each"
    )
    assert caught.value.rejects.rows() == rejects_of(city)


def test_row_numbers_count_within_each_part(tmp_path):
    folder = write_city(tmp_path, PERSONS, EVENTS, toml="extract_date = 2024-02-01")
    (folder / "events").mkdir()
    (folder / "events.parquet").rename(folder / "events" / "a.parquet")
    EVENTS.with_columns(person_id=pl.Series(["anna", "zoe", "bo"])).write_csv(folder / "events" / "b.csv")
    city = open_city(folder, max_reject_share=0.5)
    assert rejects_of(city) == [("events/b.csv", 2, "person_id", "person not in persons")]
    assert len(events_of(city)) == 5


def test_codes_listed_as_ahead_may_be_known_before_they_happen(tmp_path):
    events = EVENTS.with_columns(knowledge_date=pl.lit(DAY - timedelta(days=30)))
    folder = write_city(tmp_path, PERSONS, events, toml='[events]\nahead = ["x", "z*"]')
    city = open_city(folder, max_reject_share=0.5)
    assert rejects_of(city) == [("events.parquet", 2, "knowledge_date", "known before it happened")]


def test_known_earlier_on_the_same_day_is_not_before_it_happened(tmp_path):
    events = EVENTS.with_columns(event_date=pl.lit(datetime(2024, 1, 10, 9, 30)), knowledge_date=pl.lit(DAY))
    city = open_city(write_city(tmp_path, PERSONS, events))
    assert rejects_of(city) == [] and city.events.known is None


def test_a_csv_cell_that_cannot_be_read_rejects_its_row_and_is_not_shown(tmp_path):
    write_city(tmp_path, PERSONS, EVENTS)
    (tmp_path / "events.parquet").unlink()
    text = "person_id,event_date,knowledge_date,code,value\n" + "anna,2024-01-10,,x,1\n" * 2
    text += "anna,31.1.2024,,x,1\nanna,2024-01-10,soon,x,1\nanna,2024-01-10,2024-01-10,x,much\n"
    (tmp_path / "events.csv").write_text(text)
    assert rejects_of(open_city(tmp_path, max_reject_share=0.9)) == [
        ("events.csv", 3, "event_date", "no date"),
        ("events.csv", 4, "knowledge_date", "no date"),
        ("events.csv", 5, "value", "not finite"),
    ]


def test_a_birth_date_with_a_clock_is_no_day(tmp_path):
    births = pl.Series([datetime(2000, 1, 1), datetime(2001, 1, 1, 9, 30)])
    folder = write_city(tmp_path, PERSONS.with_columns(birth_date=births), EVENTS.filter(person_id="anna"))
    city = open_city(folder, max_reject_share=0.5)
    assert rejects_of(city) == [("persons.parquet", 2, "birth_date", "no date")]
    assert city.persons.rows() == [("anna", date(2000, 1, 1))]


def test_history_and_cohorts_pass_the_same_door(tmp_path):
    history = rows(
        ("person_id", "attribute", "value", "from_date", "knowledge_date"),
        ("anna", "district", "Kallio", date(2024, 1, 1), None),
        ("zoe", "district", "Kallio", date(2024, 1, 1), None),
        ("anna", "district", None, date(2024, 1, 5), date(2024, 1, 4)),  # a move announced ahead, to nowhere known
        ("anna", "district", "Kallio", date(2024, 1, 5), date(2025, 1, 1)),
        (None, "district", "Kallio", date(2024, 1, 5), None),
    )
    cohorts = {"x": rows(("person_id", "as_of_date"), ("bo", DAY), ("zoe", DAY), ("anna", None))}
    folder = write_city(tmp_path, PERSONS, EVENTS, history=history, cohorts=cohorts)
    city = open_city(folder, max_reject_share=0.9)
    assert rejects_of(city) == [
        ("cohorts/x.parquet", 2, "person_id", "person not in persons"),
        ("cohorts/x.parquet", 3, "as_of_date", "no date"),
        ("history.parquet", 2, "person_id", "person not in persons"),
        ("history.parquet", 4, "knowledge_date", "known after the extract date"),
        ("history.parquet", 5, "person_id", "no id"),
    ]
    assert city.history.height == 2 and city.cohort_table("x").rows() == [("bo", DAY)]


# -- what is refused


def cut_short(folder):
    path = folder / "events.parquet"
    path.write_bytes(path.read_bytes()[:200])


def garble(folder):
    path = folder / "events.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)


def as_csv(text, encoding="utf-8"):
    def replace(folder):
        (folder / "events.parquet").unlink()
        (folder / "events.csv").write_bytes(text.encode(encoding))

    return replace


def empty_parts(folder):
    (folder / "events.parquet").unlink()
    (folder / "events").mkdir()


HEADER = "person_id,event_date,code\n"
DAMAGED = "It may be cut short or damaged; export it again"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "events.parquet").unlink(),
            "<city>: has no events.parquet, events.csv or a folder events/. Put the table into the folder",
        ),
        (
            lambda folder: (folder / "persons.parquet").unlink(),
            "<city>: has no persons.parquet, persons.csv. Put the table into the folder",
        ),
        (cut_short, f"events.parquet: cannot be read as Parquet. {DAMAGED}"),
        (garble, f"events.parquet: cannot be read as Parquet. {DAMAGED}"),
        (
            lambda folder: (folder / "events.parquet").write_bytes(b""),
            "events.parquet: is an empty file. Export it again",
        ),
        (
            lambda folder: EVENTS.clear().write_parquet(folder / "events.parquet"),
            "events: holds no rows. Export the event log again",
        ),
        (
            lambda folder: PERSONS.clear().write_parquet(folder / "persons.parquet"),
            "persons.parquet: holds no persons. Export it again",
        ),
        (
            as_csv("person_id,date,code\nanna,2024-01-10,x\n"),
            f"events.csv: has no column 'event_date' ({MOMENT}). "
            "Add it, or name yours in city.toml under [columns.events]. Found: person_id, date, code",
        ),
        (
            as_csv(HEADER + "anna,2024-01-10,x\nbo,2024-01-10,y,7,8\n"),
            f"events.csv: cannot be read as CSV in UTF-8. {DAMAGED}",
        ),
        (as_csv(HEADER + "änna,2024-01-10,x\n", "latin-1"), f"events.csv: cannot be read as CSV in UTF-8. {DAMAGED}"),
        (as_csv("\n"), f"events.csv: cannot be read as CSV in UTF-8. {DAMAGED}"),
        (as_csv(HEADER), "events: holds no rows. Export the event log again"),
        (
            as_csv(HEADER + "anna,10.1.2024,x\nbo,11.1.2024,x\n"),
            f"events.csv: column 'event_date' holds other text, expected {MOMENT}. Export it in that form",
        ),
        (
            lambda folder: EVENTS.write_csv(folder / "events.csv"),
            "events: both events.parquet and events.csv are there. Keep one of them",
        ),
        (empty_parts, "events/: holds no Parquet or CSV file. Put the parts of the event log into it"),
        (
            lambda folder: (folder / "events").mkdir(),
            "events: events.parquet stands beside the folder events/. Keep one of them",
        ),
        (
            lambda folder: pl.concat([PERSONS, PERSONS]).write_parquet(folder / "persons.parquet"),
            "persons.parquet: 2 of 4 rows repeat a person_id. "
            "Give each person one row; what changes belongs in history",
        ),
    ],
)
def test_a_spoilt_folder_is_one_clear_refusal(tmp_path, spoil, message):
    spoil(write_city(tmp_path, PERSONS, EVENTS))
    assert refusal(tmp_path) == [message]


def test_missing_columns_and_wrong_types_are_refused_all_at_once_across_files(tmp_path):
    events = EVENTS.select(
        person_id=pl.lit(1.5), event_date=pl.lit("2024-01-10"), code=pl.lit([1]), value=pl.lit("1,5")
    )
    persons = PERSONS.select("birth_date").with_columns(birth_date=pl.lit(3))
    folder = write_city(
        tmp_path, persons, events, cohorts={"x": [{"who": "anna"}]}, toml='[persons]\nfixed = ["district"]'
    )
    (folder / "history.parquet").write_bytes(b"not Parquet")
    mapping = "Add it, or name yours in city.toml under"
    assert refusal(folder) == [
        f"history.parquet: cannot be read as Parquet. {DAMAGED}",
        f"cohorts/x.parquet: has no column 'person_id' (text or whole numbers). {mapping} [columns.cohorts]. "
        "Found: who",
        f"cohorts/x.parquet: has no column 'as_of_date' (a day (2024-01-31)). {mapping} [columns.cohorts]. Found: who",
        f"persons.parquet: has no column 'person_id' (text or whole numbers). {mapping} [columns.persons]. "
        "Found: birth_date",
        f"persons.parquet: has no column 'district' (text). {mapping} [columns.persons]. Found: birth_date",
        "persons.parquet: column 'birth_date' holds Int32, expected a day (2024-01-31). Export it in that type",
        "events.parquet: column 'person_id' holds Float64, expected text or whole numbers. Export it in that type",
        f"events.parquet: column 'event_date' holds String, expected {MOMENT}. Export it in that type",
        "events.parquet: column 'code' holds List(Int64), expected text. Export it in that type",
        "events.parquet: column 'value' holds String, expected numbers. Export it in that type",
    ]


def test_a_csv_without_a_header_shows_nobody(tmp_path):
    as_csv("010190-123A,2024-01-10,x\n")(write_city(tmp_path, PERSONS, EVENTS))
    message = "\n".join(refusal(tmp_path))
    assert "010190" not in message and "2024-01-10" not in message
    assert message.count("The first line must name the columns") == 3


def test_a_cohort_that_repeats_rows_is_one_error(tmp_path):
    cohorts = {"x": rows(("person_id", "as_of_date"), ("bo", DAY), ("anna", DAY), ("bo", DAY), ("bo", DAY))}
    assert refusal(write_city(tmp_path, PERSONS, EVENTS, cohorts=cohorts)) == [
        "cohorts/x.parquet: 2 of 4 rows repeat a person and as-of date. Give each person one row per as-of date"
    ]


def test_two_cohort_tables_of_one_name_are_refused(tmp_path):
    cohort = pl.DataFrame({"person_id": ["anna"], "as_of_date": [DAY]})
    write_city(tmp_path, PERSONS, EVENTS, cohorts={"x": cohort})
    cohort.write_csv(tmp_path / "cohorts" / "x.csv")
    assert refusal(tmp_path) == ["cohorts/x.parquet: stands beside x.csv. Keep one of them"]


def test_an_attribute_cannot_both_change_and_never_change(tmp_path):
    history = rows(("person_id", "attribute", "value", "from_date"), ("anna", "district", "Kallio", DAY))
    persons = PERSONS.with_columns(district=pl.lit("Kallio"))
    assert refusal(write_city(tmp_path, persons, EVENTS, history=history, toml='[persons]\nfixed = ["district"]')) == [
        "history: 'district' stands in persons as never changing, and in history. "
        "Take it out of [persons] fixed in city.toml, or out of history"
    ]


def test_city_toml_is_refused_with_everything_that_is_wrong(tmp_path):
    toml = (
        'extract_dat = 2024-01-01\ntimezone = "Europe/Helsingfors"\n'
        '[persons]\nfixed = ["birth_date"]\n[columns.evnts]\ncode = "koodi"\n'
    )
    assert refusal(write_city(tmp_path, PERSONS, EVENTS, toml=toml)) == [
        "<city>/city.toml: timezone: is 'Europe/Helsingfors': no such time zone. Give a name such as Europe/Helsinki",
        "<city>/city.toml: persons.fixed: is ['birth_date']: birth_date has its own meaning. "
        "List the other columns that never change for a person",
        "<city>/city.toml: columns: there is no table 'evnts'. "
        "Did you mean 'events'? Allowed: codes, cohorts, events, history, persons, units",
        "<city>/city.toml: extract_dat: is not a key here. "
        "Did you mean 'extract_date'? "
        "Allowed: attempt_cost, columns, events, extract_date, invented, persons, purposes, relations, sql, timezone",
    ]


def test_what_is_no_folder_and_what_is_no_cohort_are_named(tmp_path, tiny_city):
    assert refusal(tmp_path / "nowhere") == [
        "<city>: is not a folder. Give the path of a city folder, or a database URL"
    ]
    with pytest.raises(DataError) as caught:
        open_city(tiny_city).cohort_table("al")
    assert str(caught.value) == (
        "cohort.table: there is no cohort table 'al' in the city 'tiny'. Did you mean 'all'? Allowed: all"
    )


# -- the same content is the same city


def test_the_digest_knows_content_not_order_format_or_parts(tmp_path):
    rng = np.random.default_rng(1)
    events = pl.DataFrame(
        {
            "person_id": rng.choice(["anna", "bo"], 300),
            "event_date": pl.Series(rng.integers(0, 5, 300)).cast(pl.Int32).cast(pl.Date),
            "code": rng.choice(["x", "y"], 300),
            "value": pl.Series(rng.integers(0, 3, 300) / 2).cast(pl.Float32),
        }
    ).with_columns(knowledge_date=pl.col("event_date") + pl.duration(days=pl.Series(rng.integers(0, 3, 300))))
    cities = {
        "parquet": write_city(tmp_path / "a", PERSONS, events),
        "shuffled": write_city(tmp_path / "b", PERSONS.reverse(), events.sample(fraction=1, shuffle=True, seed=3)),
        "csv": write_city(tmp_path / "c", PERSONS, events, csv=("persons", "events")),
        "parts": write_city(tmp_path / "d", PERSONS, events[:100]),
    }
    (tmp_path / "d" / "events").mkdir()
    (tmp_path / "d" / "events.parquet").rename(tmp_path / "d" / "events" / "z.parquet")
    events[100:].write_parquet(tmp_path / "d" / "events" / "a.parquet")
    opened = {name: open_city(folder) for name, folder in cities.items()}
    assert len({city.digest for city in opened.values()}) == 1
    assert all(events_of(city) == events_of(opened["parquet"]) for city in opened.values())
    changed = events.with_columns(value=pl.col("value") + pl.when(pl.int_range(pl.len()) == 7).then(1).otherwise(0))
    assert open_city(write_city(tmp_path / "e", PERSONS, changed)).digest != opened["parquet"].digest


def test_a_rejected_row_leaves_no_trace_in_the_digest(tmp_path):
    stranger = pl.DataFrame({"person_id": ["zoe"], "event_date": [DAY], "code": ["a new code"], "value": [None]})
    toml = "extract_date = 2024-01-31"
    clean = open_city(write_city(tmp_path / "a", PERSONS, EVENTS, toml=toml))
    dirty = open_city(
        write_city(tmp_path / "b", PERSONS, pl.concat([stranger, EVENTS], how="vertical_relaxed"), toml=toml),
        max_reject_share=1.0,
    )
    assert dirty.digest == clean.digest and dirty.rejects.height == 1


def test_more_than_65535_codes_are_kept_apart(tmp_path):
    n = 70_000
    events = pl.DataFrame(
        {"person_id": ["anna"] * n, "event_date": [DAY] * n, "code": [f"c{i:05d}" for i in reversed(range(n))]}
    )
    log = open_city(write_city(tmp_path, PERSONS, events)).events
    assert log.code.dtype == np.uint32 and np.array_equal(log.code, np.arange(n))


# -- parts of a city, and a city of one


def test_only_keeps_what_belongs_to_the_chosen(tiny_city):
    city = open_city(tiny_city)
    small = city.only(["dora", "bo"])
    assert small.persons["person_id"].to_list() == small.events.person_ids.to_list() == ["bo", "dora"]
    assert events_of(small) == [e for e in events_of(city) if e[0] == "bo"]
    assert small.history["person_id"].to_list() == ["bo"] and small.cohort_table("all").height == 1
    with pytest.raises(DataError) as caught:
        city.only(["bo", "zoe"])
    assert str(caught.value) == (
        "person_id: 1 of 2 persons asked for are not in the city 'tiny'. Ask for persons of its persons table"
    )


@given(st.lists(st.integers(0, 4), max_size=30), st.sets(st.integers(0, 4), min_size=1), st.booleans())
def test_only_holds_the_very_bits_of_those_who_are_kept(whose, kept, in_order):
    whose = sorted(whose)
    n, log_of = len(whose), np.random.default_rng(1)
    ids = pl.Series("person_id", ["1", "10", "2", "å", "ö"])
    history = pl.DataFrame({"person_id": ["1", "2", "2", "ö"], "attribute": ["a"] * 4, "value": list("wxyz")})
    whole = City(
        name="c", folder=None, extract_date=date(2024, 12, 31), timezone="Europe/Helsinki",
        persons=pl.DataFrame({"person_id": ids, "floor": list("abcde")}),
        history=history if in_order else history.reverse(),
        units=None, codes=None, rejects=pl.DataFrame(), n_event_rows=n, cohorts={"h": history.reverse()},
        events=EventLog(
            person_ids=ids, offsets=np.searchsorted(whose, range(6)).astype(np.int64),
            time=log_of.integers(0, 9, n), known=None, code=log_of.integers(0, 3, n).astype(np.uint16),
            value=log_of.random(n).astype(np.float32), codes=("x", "y", "z"),
        ),
    )  # fmt: skip
    part, who = whole.only([ids[i] for i in kept]), [ids[i] for i in sorted(kept)]
    assert part.events.person_ids.to_list() == part.persons["person_id"].to_list() == who
    rows = [e for e, person in enumerate(whose) if person in kept]
    for name in ("time", "code", "value"):
        told, before = getattr(part.events, name), getattr(whole.events, name)
        assert told.dtype == before.dtype
        assert told.tobytes() == before[rows].tobytes()
    counts = [whose.count(i) for i in sorted(kept)]
    assert np.diff(part.events.offsets).tolist() == counts
    for told, before in ((part.history, whole.history), (part.cohorts["h"], whole.cohorts["h"])):
        assert told.rows() == [row for row in before.rows() if row[0] in who]


def test_a_city_from_frames_passes_the_same_door(tiny_city):
    city = open_city(tiny_city)
    persons, events = pl.read_parquet(tiny_city / "persons.parquet"), pl.read_parquet(tiny_city / "events.parquet")
    one = city_from_frames(persons.filter(person_id="bo"), events.filter(person_id="bo"), like=city)
    assert events_of(one) == events_of(city.only(["bo"])) and one.extract_date == city.extract_date
    assert (one.history, one.folder, one.groups_path) == (None, None, None)
    nothing_yet = city_from_frames(persons.filter(person_id="bo"), events.clear(), like=city)
    assert events_of(nothing_yet) == []


def test_a_single_bad_row_refuses_a_city_from_frames(tiny_city):
    city = open_city(tiny_city)
    persons, events = pl.read_parquet(tiny_city / "persons.parquet"), pl.read_parquet(tiny_city / "events.parquet")
    later = events.filter(person_id="bo").with_columns(event_date=pl.lit(datetime(2025, 1, 1)), knowledge_date=None)
    with pytest.raises(DataError) as caught:
        city_from_frames(persons, later, like=city)
    assert str(caught.value) == (
        "events: 4 of 4 rows cannot be used (100.0%, limit 0.0%): 4 known after the extract date. "
        "Mend the rows; the table of rejects says file, row, column and reason of each"
    )
    assert city_from_frames(persons, later, like=city, extract_date=date(2025, 1, 1)).n_event_rows == 4


def test_what_an_attempt_costs_a_service_is_an_amount_above_nothing(tmp_path):
    told = '[attempt_cost]\n"youth-work" = 24.5\nclinic = 30\n'
    assert open_city(write_city(tmp_path / "a", PERSONS, EVENTS, toml=told)).attempt_cost == {
        "youth-work": 24.5,
        "clinic": 30.0,
    }
    for wrong in ("0.0", '"24"', "nan", "-1", "true"):
        folder = write_city(tmp_path / wrong.strip('"'), PERSONS, EVENTS, toml=f"[attempt_cost]\nclinic = {wrong}\n")
        with pytest.raises(DataError, match=r"attempt_cost\.clinic"):
            open_city(folder)


# -- the real one


def test_oulad_comes_in_with_its_twins(oulad_folder):
    city = open_city(oulad_folder)
    assert (city.n_event_rows, len(city.persons), city.cohort_table("enrolled").height) == (908_956, 19_720, 17_277)
    raw = pl.read_parquet(oulad_folder / "events.parquet")
    late = (raw["event_date"] > date(2014, 12, 31)).sum()
    assert city.rejects["reason"].value_counts().rows() == [("known after the extract date", late)]
    assert city.events.time.size == 908_956 - late
    kept = raw.filter(pl.col("event_date") <= date(2014, 12, 31))
    assert raw.height - raw.n_unique() == 40_220
    log = city.events
    person = np.repeat(np.arange(len(log.person_ids)), np.diff(log.offsets))
    together = pl.DataFrame({"p": person, "t": log.time, "c": log.code, "v": log.value})
    assert together.height - together.n_unique() == kept.height - kept.n_unique()
