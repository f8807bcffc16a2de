"""The doors of a city: MEDS, SQL, Parquet and CSV tell the same, and each says clearly what is wrong with it."""

import os
import shutil
import sqlite3
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import test_full_stores
from conftest import write_city
from test_city import events_of

from features.city import DataError, open_city
from features.city_file import holds_password
from features.matrix import build_matrix
from features.spec import FeatureSpec
from features.sql import parse_url, shown_url

server, engine = test_full_stores.server, test_full_stores.engine

EXTRACT = date(2024, 6, 30)
TOML = f"extract_date = {EXTRACT}\n"
TEXTS = {"fi": "a", "sv": "b", "en": "c"}
ABOUT = {"plain": TEXTS, "source": "s", "purpose": "p", "basis": "b", "visible_to": (), "changeable": True}
FEATURES = [
    FeatureSpec(
        name="visit",
        codes=("visit.*",),
        windows=(30, "ever"),
        measures=("count", "sum", "mean", "last", "days_since_last"),
        **ABOUT,
    ),
    FeatureSpec(name="test", codes=("test",), windows=(90,), measures=("n_values", "max"), **ABOUT),
    FeatureSpec(attribute="age", **ABOUT),
]
DAY = date(2024, 5, 1)


def invented():
    """Forty persons of whom some have no events, and events at days and moments, some without value, some alike."""
    rng = np.random.default_rng(5)
    births = [date(1990, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 9000, 40)]
    persons = pl.DataFrame({"person_id": np.arange(100, 140), "birth_date": births})
    n = 600
    seconds = rng.integers(0, 390 * 86_400, n)
    moments = [datetime(2023, 6, 1) + timedelta(seconds=int(s), microseconds=int(s) % 7) for s in seconds]
    events = pl.DataFrame(
        {
            "person_id": rng.integers(100, 136, n),
            "event_date": moments,
            "code": rng.choice(["visit.home", "visit.desk", "test"], n),
            "value": [None if v == 0 else v / 2 for v in rng.integers(0, 9, n).tolist()],
        },
        schema_overrides={"event_date": pl.Datetime("us"), "value": pl.Float32},
    )
    births_as_events = persons.select(
        "person_id", event_date=pl.col("birth_date").cast(pl.Datetime("us")), code=pl.lit("MEDS_BIRTH")
    )
    deaths = pl.DataFrame({"person_id": [101], "event_date": [datetime(2024, 6, 1, 3)], "code": ["MEDS_DEATH"]})
    everything = pl.concat([events, births_as_events, deaths, events.head(3)], how="diagonal")
    return persons, everything


def shuffled(frame, seed):
    return frame.sample(fraction=1, shuffle=True, seed=seed)


def write_meds(folder, events, *, toml=TOML, static=True):
    """The events as a MEDS folder of two nested shards, with static rows and code descriptions."""
    meds = events.rename({"person_id": "subject_id", "event_date": "time", "value": "numeric_value"}).with_columns(
        text_value=pl.lit(None, dtype=pl.String)
    )
    if static:
        unchanging = pl.DataFrame({"subject_id": [100, 101], "time": [None, None], "code": ["sex//F", "sex//M"]})
        meds = pl.concat([meds, unchanging.cast({"time": pl.Datetime("us")})], how="diagonal")
    for place, part in (("train", meds[::2]), ("tuning", meds[1::2])):
        (folder / "data" / place).mkdir(parents=True)
        part.write_parquet(folder / "data" / place / "0.parquet")
    (folder / "metadata").mkdir()
    codes = pl.DataFrame({"code": ["test", "visit.home"], "description": ["a test", None], "parent_codes": [[], []]})
    codes.cast({"parent_codes": pl.List(pl.String)}).write_parquet(folder / "metadata" / "codes.parquet")
    (folder / "city.toml").write_text(toml)
    return folder


def write_sqlite(path, **tables):
    """Tables as SQLite keeps them: days and moments as text."""
    with sqlite3.connect(path) as connection:
        for name, frame in tables.items():
            text = frame.with_columns(pl.col(pl.Date, pl.Datetime).cast(pl.String))
            columns = ", ".join(f'"{column}"' for column in frame.columns)
            connection.execute(f"create table {name} ({columns})")
            marks = ", ".join("?" * frame.width)
            connection.executemany(f"insert into {name} values ({marks})", text.rows())
    connection.close()
    return f"sqlite:///{path}"


def settings_table(**settings):
    return pl.DataFrame({"key": list(settings), "value": [str(v) for v in settings.values()]})


def matrix_digest(city, nobody_objects):
    keys = city.persons.select("person_id", as_of_date=pl.lit(DAY))
    return build_matrix(city, FEATURES, keys, objections=nobody_objects, need_id="x").digest


def refusal(city):
    with pytest.raises(DataError) as caught:
        open_city(city)
    return str(caught.value).splitlines()


# -- the same city through every door


def test_blanks_around_texts_are_the_same_city_in_csv_and_parquet(tmp_path):
    persons = pl.DataFrame({"person_id": ["a", " a", "b "], "language": ["fi", " fi", " "]})
    events = pl.DataFrame(
        {"person_id": ["a", " a", "b ", "b ", " "], "event_date": [DAY] * 5, "code": ["x", " x", "x ", " ", "x"]}
    )
    history = pl.DataFrame(
        {"person_id": ["a", " a"], "attribute": ["d", " d "], "value": [" K", "K "], "from_date": [DAY] * 2}
    )
    units = pl.DataFrame({"unit_id": [" 1"], "name": ["West "], "districts": [" K; L"]})
    toml = TOML + '[persons]\nfixed = ["language"]\n'
    tables = {"history": history, "units": units, "toml": toml}
    csv = ("persons", "events", "history", "units")
    parquet, text = (
        open_city(write_city(tmp_path / str(len(as_csv)), persons, events, **tables, csv=as_csv), max_reject_share=0.3)
        for as_csv in ((), csv)
    )
    assert text.digest == parquet.digest
    assert events_of(text) == events_of(parquet) and len(events_of(text)) == 4
    assert text.rejects["reason"].to_list() == parquet.rejects["reason"].to_list() == ["person not in persons"]
    blank = pl.DataFrame({"person_id": ["a", " "]})
    for as_csv in ((), ("persons",)):
        folder = write_city(tmp_path / f"blank {len(as_csv)}", blank, events.head(1), toml=TOML, csv=as_csv)
        assert open_city(folder, max_reject_share=1).rejects["reason"].to_list() == ["no id"]


def test_every_door_gives_the_same_matrix(tmp_path, nobody_objects):
    persons, events = invented()
    settings = settings_table(extract_date=EXTRACT, timezone="Europe/Helsinki")
    doors = {
        "parquet": write_city(tmp_path / "a", persons, events, toml=TOML),
        "csv": write_city(
            tmp_path / "b", shuffled(persons, 1), shuffled(events, 2), toml=TOML, csv=("persons", "events")
        ),
        "meds": write_meds(tmp_path / "c", shuffled(events, 3)),
        "sqlite": write_sqlite(tmp_path / "d.db", persons=persons, events=shuffled(events, 4), city=settings),
    }
    cities = {name: open_city(door) for name, door in doors.items()}
    assert all(events_of(city) == events_of(cities["parquet"]) for city in cities.values())
    assert all(city.persons.equals(cities["parquet"].persons) for city in cities.values())
    assert all(city.extract_date == EXTRACT and city.rejects.is_empty() for city in cities.values())
    assert len({matrix_digest(city, nobody_objects) for city in cities.values()}) == 1
    assert len({city.digest for name, city in cities.items() if name != "meds"}) == 1  # MEDS brings code names


# -- MEDS


def test_a_meds_folder_brings_births_descriptions_and_every_subject(tmp_path):
    _, events = invented()
    static_only = pl.DataFrame({"person_id": [7], "event_date": [None], "code": ["sex//F"]})
    with_static = pl.concat([events, static_only.cast({"event_date": pl.Datetime("us")})], how="diagonal")
    city = open_city(write_meds(tmp_path, with_static))
    assert city.persons["person_id"].to_list() == [*map(str, range(100, 140)), "7"]
    assert city.persons.filter(person_id="7")["birth_date"].to_list() == [None]
    assert city.rejects.is_empty() and "sex//F" not in city.events.codes
    assert {"MEDS_BIRTH", "MEDS_DEATH"} <= set(city.events.codes)
    assert city.codes.select("code", "en").rows() == [("test", "a test"), ("visit.home", None)]


def test_the_first_of_two_births_counts_and_without_births_nobody_has_an_age(tmp_path):
    times = [datetime(2001, 2, 3, 4), datetime(2000, 1, 1, 23), datetime(2024, 1, 1)]
    events = pl.DataFrame({"subject_id": [1, 1, 2], "time": times, "code": ["MEDS_BIRTH", "MEDS_BIRTH", "x"]})
    (tmp_path / "data").mkdir()
    events.write_parquet(tmp_path / "data" / "0.parquet")
    assert open_city(tmp_path).persons.rows() == [("1", date(2000, 1, 1)), ("2", None)]
    events.tail(1).write_parquet(tmp_path / "data" / "0.parquet")
    assert open_city(tmp_path).persons.columns == ["person_id"]


def test_persons_cohorts_and_history_may_stand_beside_meds_and_speak_of_subjects(tmp_path):
    persons, events = invented()
    toml = TOML + '[persons]\nfixed = ["language"]\n[columns.persons]\nlanguage = "kieli"\n'
    folder = write_meds(tmp_path, events, toml=toml)
    persons.with_columns(kieli=pl.lit("fi")).rename({"person_id": "subject_id"}).write_parquet(
        folder / "persons.parquet"
    )
    (folder / "cohorts").mkdir()
    cohort = pl.DataFrame({"subject_id": [100], "as_of_date": [DAY]})
    cohort.write_parquet(folder / "cohorts" / "mine.parquet")
    cohort.rename({"subject_id": "person_id"}).write_csv(folder / "cohorts" / "theirs.csv")
    history = {"person_id": [100], "attribute": ["district"], "value": ["Kallio"], "from_date": [DAY]}
    pl.DataFrame(history).write_parquet(folder / "history.parquet")
    city = open_city(folder)
    assert city.fixed == ("language",) and city.history.height == 1
    assert city.cohort_table("mine").rows() == city.cohort_table("theirs").rows() == [("100", DAY)]


def test_what_is_wrong_with_a_meds_folder_is_said(tmp_path):
    (tmp_path / "data").mkdir()
    assert refusal(tmp_path) == ["data/: holds no Parquet file. Put the MEDS events into it, e.g. data/0.parquet"]
    pl.DataFrame({"subject_id": [1.5], "time": [1], "code": ["x"]}).write_parquet(tmp_path / "data" / "0.parquet")
    (tmp_path / "data" / "1.parquet").write_bytes(b"")
    found = refusal(tmp_path)
    assert found[0] == "data/1.parquet: is an empty file. Export it again"
    assert [line.partition(", expected")[0] for line in found[1:]] == [
        "data/0.parquet: column 'subject_id' holds Float64",
        "data/0.parquet: column 'time' holds Int64",
    ]


def test_a_row_without_a_date_is_static_only_in_meds(tmp_path):
    _, events = invented()
    dateless = events.with_columns(event_date=pl.when(pl.int_range(pl.len()) > 2).then("event_date"))
    persons, _ = invented()
    city = open_city(write_city(tmp_path, persons, dateless, toml=TOML))
    assert city.rejects.select("row", "reason").rows() == [(row, "no date") for row in (1, 2, 3)]


# -- SQL


@pytest.fixture
def sqlite_city(tmp_path):
    persons, events = invented()
    return write_sqlite(tmp_path / "city.db", persons=persons, events=events)


def test_a_table_of_settings_says_what_city_toml_would(tmp_path):
    persons, events = invented()
    settings = pl.DataFrame(
        {
            "key": ["extract_date", "timezone", "persons.fixed", "columns.events.code", "relations.household"],
            "value": ["2024-06-30", "Europe/Stockholm", '["language"]', "koodi", '"dwelling"'],
        }
    )
    history = {"person_id": [100], "attribute": ["dwelling"], "value": ["1"], "from_date": ["2020-01-01"]}
    units = pl.DataFrame({"unit_id": [1], "name": ["West"], "districts": ["Kallio; Vallila"], "capacity": ["2.5"]})
    city = open_city(
        write_sqlite(
            tmp_path / "x.db",
            persons=persons.with_columns(language=pl.lit("fi")),
            events=events.rename({"code": "koodi"}),
            history=pl.DataFrame(history),
            units=units,
            codes=pl.DataFrame({"code": ["test"], "en": ["a test"]}),
            cohorts_spring=pl.DataFrame({"person_id": [100], "as_of_date": [DAY]}),
            city=settings,
        )
    )
    assert (city.extract_date, city.timezone, city.fixed, city.name) == (
        EXTRACT,
        "Europe/Stockholm",
        ("language",),
        "x",
    )
    assert city.relations == {"household": "dwelling"} and city.folder is None and city.groups_path is None
    assert city.units.rows() == [("1", "West", ["Kallio", "Vallila"], 2.5)]
    assert city.codes.rows() == [("test", "a test")] and city.cohort_table("spring").rows() == [("100", DAY)]


def test_a_table_of_settings_is_judged_like_city_toml(tmp_path):
    persons, events = invented()
    settings = settings_table(extract_dat="2024-01-01", timezone="Europe/Helsingfors")
    url = write_sqlite(tmp_path / "x.db", persons=persons, events=events, city=settings)
    found = refusal(url)
    assert [line.partition(": table city: ")[2].partition(": is ")[0] for line in found] == ["timezone", "extract_dat"]
    named = write_sqlite(tmp_path / "y.db", persons=persons, events=events, city=settings_table(sql="sqlite:///x.db"))
    assert refusal(named) == [f"{named}: table city: has the key sql. Take it out; a database does not name another"]


def test_a_folder_may_name_its_database_and_keep_cohorts_beside(tmp_path, sqlite_city):
    toml = TOML + '[sql]\nurl = "sqlite:///city.db"\n'
    (tmp_path / "city.toml").write_text(toml)
    (tmp_path / "cohorts").mkdir()
    pl.DataFrame({"person_id": ["100"], "as_of_date": [DAY]}).write_parquet(tmp_path / "cohorts" / "a.parquet")
    city = open_city(tmp_path)
    assert city.extract_date == EXTRACT and city.folder == tmp_path and list(city.cohorts) == ["a"]
    invented()[0].write_parquet(tmp_path / "persons.parquet")
    assert refusal(tmp_path) == ["persons.parquet: stands beside [sql] in city.toml. Keep one of them"]


def test_audit_groups_and_contacts_are_never_asked_for(tmp_path, monkeypatch):
    persons, events = invented()
    private = pl.DataFrame({"person_id": [100], "sex": ["f"]})
    url = write_sqlite(tmp_path / "x.db", persons=persons, events=events, groups=private, contacts=private)
    asked = []
    import sqlalchemy as sa

    def note(connection, cursor, statement, *rest):
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        open_city(url)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert any("FROM events" in statement for statement in asked)
    assert not any("groups" in statement or "contacts" in statement for statement in asked)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('[sql]\nurl = "postgresql://reader:hunter2@localhost/city"', "url holds a password. Take it out"),
        ('[sql]\nurl = "postgresql://reader@localhost/city?password=hunter2"', "url holds a password. Take it out"),
        ('sql = "postgresql://reader:hunter2@localhost/city"', "url holds a password. Take it out"),
        ('[sql]\nurl = ["postgresql://reader:hunter2@localhost/city"]', "url is not a database URL"),
        ('[[sql]]\nurl = "postgresql://reader:hunter2@localhost/city"', "url is not a database URL"),
        ('[sql]\nurl = "postgresql://reader:hun?ter2@localhost/city"', "url holds a password. Take it out"),
        ("[sql]\n", "url is not a database URL"),
        ('[sql]\nurl = "sqlite:///a.db"\npassword = "hunter2"', "sql.password: is not a key here"),
    ],
)
def test_a_password_in_city_toml_is_refused_and_never_shown(tmp_path, section, says):
    found = refusal(write_city(tmp_path, *invented(), toml=section))
    assert len(found) == 1 and says in found[0] and "ter2" not in found[0]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://reader:hunter2@127.0.0.1:1/city",
        "postgresql+psycopg://reader@127.0.0.1:1/city?password=hunter2",
        "postgresql+psycopg://reader:hunter2@127.0.0.1:port/city",
        "postgresql+psycopg:/reader:hunter2@127.0.0.1/city",
        "nosuch://reader:hunter2@127.0.0.1/city",
        "postgresql+nosuch://reader:hunter2@127.0.0.1/city",
        "sqlite:///reader:hunter2@nowhere.db?password=hunter2",
    ],
)
def test_a_database_that_cannot_be_reached_is_one_refusal_without_its_password(url):
    if url.startswith("postgresql+psycopg"):
        pytest.importorskip("psycopg")
    found = refusal(url)
    assert len(found) == 1 and ("hunter2" not in found[0] or url.startswith("sqlite"))


@pytest.mark.parametrize(
    "text",
    [
        "reader:hunter2@db/city",
        "reader:hun/ter2@db/city",
        "://reader:hunter2@db/city",
        "reader@db/city?password=hunter2",
        "db;UID=reader;PWD=hunter2",
    ],
)
def test_what_is_neither_folder_nor_url_is_refused_without_its_password(text):
    (found,) = refusal(text)
    assert "is not a folder. Give the path of a city folder, or a database URL" in found and "ter2" not in found
    assert refusal("var/no city")[0].startswith("var/no city: is not a folder")


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ("odbc_connect=DRIVER%3DX%3BUID%3Dreader%3BPWD%3Dhunter2", True),
        ("odbc_connect=Password%3dhunter2", True),
        ("odbc_connect=DRIVER%3DX%3BUID%3Dreader", False),
        ("application_name=passenger&mode=ro", False),
    ],
)
def test_a_password_among_the_options_of_an_option_is_found(options, holds):
    assert holds_password(f"mssql+pyodbc:///?{options}") == holds


@pytest.mark.parametrize(
    ("driver", "mend"),
    [
        ("postgresql+nosuch", "Begin the URL with postgresql+psycopg://, or install that driver"),
        ("nosuch+driver", "Install the driver that the URL names"),
    ],
)
def test_only_the_driver_that_is_missing_is_asked_for(driver, mend):
    url = f"{driver}://reader@127.0.0.1/city"
    assert refusal(url) == [f"{url}: there is no driver '{driver}' here. {mend}"]


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path):
    persons, events = invented()
    folder = write_city(tmp_path / "city", persons, events, csv=("persons",))
    for name in ("persons.csv", "events.parquet"):
        (folder / name).chmod(0)
    is_root = os.geteuid() == 0  # who may read everything
    if is_root:
        folder = Path(shutil.copytree(folder, Path(tempfile.mkdtemp()) / "city"))
        folder.parent.chmod(0o755)
        os.seteuid(65534)
    try:
        found = refusal(folder)
    finally:
        if is_root:
            os.seteuid(0)
            shutil.rmtree(folder.parent)
    mend = "Give the user that runs Ennakko the right to read it"
    assert found == [f"{name}: may not be read by this user. {mend}" for name in ("persons.csv", "events.parquet")]


@pytest.mark.full
def test_postgresql_tells_which_table_may_not_be_read_and_gives_materialised_views(server, engine):
    import sqlalchemy as sa

    with engine.begin() as connection:
        for line in (
            "create table persons (person_id char(5))",
            "insert into persons values ('a'), ('b')",
            "create table events (person_id text, event_date date, code char(3), value real)",
            "insert into events values ('a', '2024-01-01', 'x', 1)",
            "create materialized view cohorts_all as select person_id, date '2024-02-01' as as_of_date from persons",
        ):
            connection.execute(sa.text(line))
    city = open_city(server)
    assert city.cohorts["all"]["person_id"].to_list() == ["a", "b"]
    assert [(e[0], e[3]) for e in events_of(city)] == [("a", "x")]
    with engine.begin() as connection:
        connection.execute(sa.text("drop role if exists stranger"))
        connection.execute(sa.text("create role stranger login"))
        connection.execute(sa.text("grant usage on schema public to stranger"))
        connection.execute(sa.text("grant select on persons to stranger"))
    mend = "Grant the user of the URL the right SELECT on it"
    tables = ("events", "cohorts_all")
    assert refusal(server.replace("ennakko@", "stranger@")) == [
        f"{table}: may not be read by this user. {mend}" for table in tables
    ]


def test_a_url_is_shown_without_password_and_options():
    url = parse_url("postgresql+psycopg://reader:hunter2@localhost/city?password=hunter2")
    assert shown_url(url) == "postgresql+psycopg://reader:***@localhost/city"


def test_a_missing_sqlite_file_is_refused_and_not_made(tmp_path):
    url = f"sqlite:///{tmp_path}/none.db"
    assert refusal(url) == [f"{url}: there is no such file. Give the path of a SQLite database"]
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("no database, " * 100)
    (found,) = refusal(f"sqlite:///{tmp_path}/text.db")
    assert found.startswith(f"sqlite:///{tmp_path}/text.db: could not be read (DatabaseError)")


def test_missing_tables_and_columns_are_named_all_at_once(tmp_path):
    persons, events = invented()
    url = write_sqlite(tmp_path / "a.db", x=persons)
    assert refusal(url) == [
        f"{url}: has no table '{table}'. Make the table, or a view of that name" for table in ("persons", "events")
    ]
    spoilt = events.select("code", event_date=pl.lit(1.5))
    found = refusal(write_sqlite(tmp_path / "b.db", persons=persons.select(who="person_id"), events=spoilt))
    mapping = "Add it, or name yours in city.toml under"
    assert found == [
        f"persons: has no column 'person_id' (text or whole numbers). {mapping} [columns.persons]. Found: who",
        f"events: has no column 'person_id' (text or whole numbers). {mapping} [columns.events]. "
        "Found: code, event_date",
    ]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("person_id", 1.5, "events: column 'person_id' holds numbers with a fraction"),
        ("person_id", b"100", "events: column 'person_id' holds bytes"),
        ("event_date", 1.5, "events: column 'event_date' holds numbers with a fraction"),
        ("value", b"1", "events: column 'value' holds bytes"),
        ("event_date", 19_000, "events: 1 of 608 rows cannot be used"),  # a number of days is no date as text
        ("value", "much", "events: 1 of 608 rows cannot be used"),
        ("value", float("inf"), "events: 1 of 608 rows cannot be used"),
        ("person_id", None, "events: 1 of 608 rows cannot be used"),
    ],
)
def test_a_cell_that_does_not_belong_is_refused_or_rejected(tmp_path, column, value, says):
    persons, events = invented()
    events = events.head(607)
    url = write_sqlite(tmp_path / "x.db", persons=persons, events=events, city=settings_table(extract_date=EXTRACT))
    one = {"person_id": 100, "event_date": "2024-01-01", "code": "test", "value": 1} | {column: value}
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("insert into events values (?, ?, ?, ?)", tuple(one.values()))
    connection.close()
    with pytest.raises(DataError) as caught:
        open_city(url, max_reject_share=0.0)
    assert str(caught.value).startswith(says)


def test_numbers_written_as_text_among_numbers_are_numbers(tmp_path):
    persons = pl.DataFrame({"person_id": ["a"]})
    url = write_sqlite(tmp_path / "x.db", persons=persons, events=invented()[1].clear())
    with sqlite3.connect(tmp_path / "x.db") as connection:
        for value in (1, 2.5, "3.25", None):
            connection.execute("insert into events values ('a', '2024-01-01 10:00', 'x', ?)", (value,))
    connection.close()
    assert sorted(e[4] or 0 for e in events_of(open_city(url))) == [0, 1, 2.5, 3.25]


# -- columns of other names


OTHERS = {
    "persons": {"person_id": "who", "birth_date": "born", "language": "kieli"},
    "history": {"person_id": "who", "attribute": "what", "value": "is", "from_date": "since", "knowledge_date": "told"},
    "events": {"person_id": "who", "event_date": "on", "code": "what", "value": "n", "knowledge_date": "told"},
    "units": {"unit_id": "id", "name": "called", "districts": "areas", "capacity": "room", "x": "east", "y": "north"},
    "codes": {"code": "what", "fi": "suomi", "sv": "svenska", "en": "english", "source": "register"},
    "cohorts": {"person_id": "who", "as_of_date": "on"},
}
PLAIN = {
    "persons": {"person_id": ["a"], "birth_date": [date(2000, 1, 1)], "language": ["fi"]},
    "history": {
        "person_id": ["a"],
        "attribute": ["district"],
        "value": ["Kallio"],
        "from_date": [date(2020, 1, 1)],
        "knowledge_date": [date(2020, 1, 2)],
    },
    "events": {
        "person_id": ["a"],
        "event_date": [date(2024, 1, 1)],
        "code": ["x"],
        "value": [1.5],
        "knowledge_date": [date(2024, 1, 2)],
    },
    "units": {"unit_id": ["1"], "name": ["W"], "districts": ["Kallio"], "capacity": [2.0], "x": [1.0], "y": [2.0]},
    "codes": {"code": ["x"], "fi": ["a"], "sv": ["b"], "en": ["c"], "source": ["d"]},
    "cohorts": {"person_id": ["a"], "as_of_date": [DAY]},
}


@pytest.mark.parametrize("how", ["parquet", "csv", "sqlite"])
def test_every_column_of_every_table_may_have_another_name(tmp_path, how):
    def written(place, tables, toml):
        if how == "sqlite":
            named = {("cohorts_all" if name == "cohorts" else name): frame for name, frame in tables.items()}
            place.mkdir()
            write_sqlite(place / "x.db", **named)
            (place / "city.toml").write_text('sql = "sqlite:///x.db"\n' + toml)
            return place
        csv = (*tables, "cohorts/all") if how == "csv" else ()
        rest = {name: frame for name, frame in tables.items() if name != "cohorts"}
        return write_city(place, **rest, cohorts={"all": tables["cohorts"]}, csv=csv, toml=toml)

    toml = '[persons]\nfixed = ["language"]\n'
    mapping = "".join(
        f"[columns.{table}]\n" + "".join(f'{ours} = "{theirs}"\n' for ours, theirs in names.items())
        for table, names in OTHERS.items()
    )
    tables = {name: pl.DataFrame(table) for name, table in PLAIN.items()}
    plain = open_city(written(tmp_path / "plain", tables, toml))
    renamed = {name: table.rename(OTHERS[name]) for name, table in tables.items()}
    mapped = open_city(written(tmp_path / "mapped", renamed, toml + mapping))
    assert mapped.digest == plain.digest
    assert events_of(mapped) == [("a", datetime(2024, 1, 1), datetime(2024, 1, 2), "x", 1.5)]
    assert mapped.units.height == mapped.codes.height == mapped.history.height == mapped.cohorts["all"].height == 1


def test_meds_columns_may_have_other_names_too(tmp_path):
    (tmp_path / "data").mkdir()
    events = pl.DataFrame({"patient": [1], "time": [datetime(2024, 1, 1)], "code": ["x"], "numeric_value": [2.0]})
    events.write_parquet(tmp_path / "data" / "0.parquet")
    (tmp_path / "city.toml").write_text('[columns.events]\nperson_id = "patient"\n')
    assert [(e[0], e[4]) for e in events_of(open_city(tmp_path))] == [("1", 2.0)]


# -- relations


@pytest.mark.parametrize("relation", ["household", "district"])
def test_a_relation_that_names_no_attribute_is_refused(tmp_path, relation):
    persons = pl.DataFrame(PLAIN["persons"])
    toml = f'[persons]\nfixed = ["language"]\n[relations]\n{relation} = "distrikt"\n'
    tables = {name: PLAIN[name] for name in ("history", "events")}
    assert refusal(write_city(tmp_path / "a", persons, toml=toml, **tables)) == [
        f"city.toml: relations.{relation}: the city has no attribute 'distrikt', neither in history nor fixed in "
        "persons. Did you mean 'district'? Allowed: district, language"
    ]
    good = toml.replace("distrikt", "language" if relation == "household" else "district")
    assert open_city(write_city(tmp_path / "b", persons, toml=good, **tables)).relations.keys() == {relation}


def test_a_relation_in_a_city_without_attributes_is_refused(tmp_path):
    events = pl.DataFrame(PLAIN["events"])
    (found,) = refusal(write_city(tmp_path, [{"person_id": "a"}], events, toml='[relations]\nhousehold = "home"\n'))
    assert found.endswith("Add it to history, or leave the relation out")
