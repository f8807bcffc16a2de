"""The registers in PostgreSQL: the same promises as in SQLite, kept by a real server on this machine."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ethics.audit_log import AuditLog
from ethics.objections import ObjectionRegister

pytestmark = pytest.mark.full
KEY = b"a key for tests only"


def programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is not installed: make setup-full")
    return found[-1].parent


def as_server_user(*words):
    """PostgreSQL will not run as root; its Debian package brings a user of its own."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return subprocess.run([*user, *map(str, words)], check=True, capture_output=True, cwd="/")


@pytest.fixture(scope="module")
def server():
    programs_folder = programs()
    folder = Path(tempfile.mkdtemp(prefix="ennakko-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    as_server_user(programs_folder / "initdb", "-D", data, "-U", "ennakko", "-A", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    as_server_user(programs_folder / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    yield f"postgresql+psycopg://ennakko@127.0.0.1:{port}/postgres"
    as_server_user(programs_folder / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def engine(server):
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("drop schema public cascade; create schema public"))
    yield engine
    engine.dispose()


def test_an_objection_masks_until_it_is_withdrawn(engine):
    register = ObjectionRegister(engine, KEY)
    register.object("anna", "youth")
    register.object("bo")
    assert register.objecting(["anna", "bo", "cai"], "youth").tolist() == [True, True, False]
    assert register.objecting(["anna", "bo", "cai"], "health").tolist() == [False, True, False]
    register.withdraw("bo")
    assert ObjectionRegister(engine, KEY).objecting(["anna", "bo"], "youth").tolist() == [True, False]


def test_rows_of_the_audit_log_are_paged_and_found_by_what_they_hold(engine):
    log = AuditLog(engine)
    for number in range(5):
        log.append("score", "unit", persons=f"p{number} q", share="100%")
    assert [row["number"] for row in log.rows_beyond(2, 2)] == [3, 4]
    assert [row["number"] for row in log.rows_holding({"p1", "p4"})] == [2, 5]
    assert len(log.rows_holding(["0%"])) == 5 and log.rows_holding(["1%0"]) == []


def test_channels_and_history_are_kept_and_many_at_once_lose_nothing(server, engine):
    register = ObjectionRegister(engine, KEY)
    register.object("anna", "youth", channel="phone", by="service_point")
    assert register.refused_channels(["anna", "bo"], "youth") == {"anna": ("phone",)}
    start = threading.Barrier(8)

    def act(i):
        own = create_engine(server)
        mine = ObjectionRegister(own, KEY)
        start.wait()
        try:
            return (mine.object if i % 2 else mine.withdraw)("bo", "youth")
        finally:
            own.dispose()

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(act, range(8)))
    acts = [one.act for one in register.history("bo")]
    assert len(acts) == sum(done) and acts == [("object", "withdraw")[i % 2] for i in range(len(acts))]
    assert len(register.standing("bo")) == len(acts) % 2


def test_the_database_never_holds_a_person(engine):
    ObjectionRegister(engine, KEY).object("anna-the-resident", "youth")
    with engine.connect() as connection:
        rows = connection.execute(text("select * from objections")).all()
    assert rows and "anna-the-resident" not in str(rows)


def test_writers_at_the_same_time_make_one_chain(engine):
    log = AuditLog(engine)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda i: log.append("score", "service", n=i), range(40)))
    assert sorted(numbers) == list(range(1, 41))
    assert log.verify() == []


def test_an_edited_row_is_noticed(engine):
    log = AuditLog(engine)
    for n in range(3):
        log.append("list", "service", n=n)
    with engine.begin() as connection:
        connection.execute(text("update audit_log set action = 'nothing' where number = 2"))
    assert log.verify()


def test_a_whole_journey_keeps_its_registers_in_postgresql(server, engine, oulad_folder, tmp_path, monkeypatch):
    from test_journeys import Journey

    monkeypatch.setenv("ENNAKKO_DATABASE_URL", server)
    journey = Journey(tmp_path, oulad_folder).take()
    assert journey.said["list"][0] == 0
    assert not (journey.home / "ennakko.db").exists()
    actions = [row["action"] for row in AuditLog(engine).rows()]
    assert actions[0] == "keys" and {"train", "judge", "attest", "sign", "approve", "score", "list"} <= set(actions)
    assert AuditLog(engine).verify() == []


def test_many_who_begin_the_register_at_once_agree(server, engine):
    start = threading.Barrier(8)

    def begin(_):
        own = create_engine(server)
        start.wait()
        try:
            return ObjectionRegister(own, KEY).count()
        finally:
            own.dispose()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(begin, range(8))) == [0] * 8


# -- a city in PostgreSQL


def in_postgresql(engine, tables):
    """Typed tables as a city's own systems keep them: numeric, timestamp, timestamptz, arrays, whole-number ids."""
    with engine.begin() as connection:
        for name, (columns, frame) in tables.items():
            connection.execute(text(f"create table {name} ({columns})"))
            marks = ", ".join(f":{column}" for column in frame.columns)
            connection.execute(text(f"insert into {name} values ({marks})"), frame.to_dicts())


def test_a_city_in_postgresql_gives_the_matrix_that_parquet_gives(server, engine, tmp_path, nobody_objects):
    import polars as pl
    from conftest import write_city
    from test_city import events_of
    from test_doors import EXTRACT, TOML, invented, matrix_digest, shuffled

    from features.city import open_city

    persons, events = invented()
    cohort = persons.select("person_id", as_of_date=pl.lit(EXTRACT)).head(3)
    aware = events.with_columns(pl.col("event_date").dt.replace_time_zone("Europe/Helsinki", ambiguous="earliest"))
    history = pl.DataFrame({"person_id": [100], "attribute": ["district"], "value": ["Kallio"], "from_date": [EXTRACT]})
    units = pl.DataFrame({"unit_id": [1], "name": ["West"], "districts": [["Kallio", "Vallila"]], "capacity": [2.5]})
    settings = pl.DataFrame({"key": ["extract_date"], "value": [str(EXTRACT)]})
    in_postgresql(
        engine,
        {
            "persons": ("person_id bigint, birth_date date", persons),
            "history": ("person_id numeric(20), attribute text, value text, from_date date", history),
            "events": (
                "person_id int, event_date timestamptz, code varchar(20), value numeric(8, 2)",
                shuffled(aware, 7),
            ),
            "units": ("unit_id smallint, name char(9), districts text[], capacity real", units),
            "cohorts_all": ("person_id int, as_of_date date", cohort),
            "city": ("key text, value text", settings),
            "groups": ("person_id int, sex text", persons.select("person_id", sex=pl.lit("f"))),
        },
    )
    parquet = write_city(tmp_path, persons, events, history=history, units=units, cohorts={"all": cohort}, toml=TOML)
    city, expected = open_city(server), open_city(parquet)
    assert events_of(city) == events_of(expected) and city.rejects.is_empty()
    assert city.digest == expected.digest
    assert matrix_digest(city, nobody_objects) == matrix_digest(expected, nobody_objects)
    folder = tmp_path / "only a name"
    folder.mkdir()
    (folder / "city.toml").write_text(f'{TOML}[sql]\nurl = "{server}"\nschema = "public"\n')
    assert open_city(folder).digest == expected.digest


def test_what_postgresql_cannot_give_is_refused_without_a_password(server, engine):
    from features.city import DataError, open_city

    def refusal(url):
        with pytest.raises(DataError) as caught:
            open_city(url)
        return str(caught.value)

    assert refusal(server).splitlines() == [
        f"{server}: has no table '{table}'. Make the table, or a view of that name" for table in ("persons", "events")
    ]
    elsewhere = server.replace("ennakko@", "ennakko:hunter2@").replace("/postgres", "/nowhere")
    assert "cannot be reached" in refusal(elsewhere) and "hunter2" not in refusal(elsewhere)
    with engine.begin() as connection:
        connection.execute(text("create table persons as select 1 as person_id"))
        connection.execute(
            text("create table events as select 1.5 as person_id, 'infinity'::date as event_date, 'x' as code")
        )
    assert "events: cannot be read (DataError)" in refusal(server)
    with engine.begin() as connection:
        connection.execute(text("update events set event_date = '2024-01-01'"))
    assert refusal(server).startswith("events: column 'person_id' holds numbers with a fraction")
    with engine.begin() as connection:
        connection.execute(
            text("alter table events drop column code, alter column event_date type interval using '1 day'")
        )
    assert [line.partition(",")[0].partition(" (")[0] for line in refusal(server).splitlines()] == [
        "events: has no column 'code'",
    ]


def test_a_postgresql_table_is_read_in_chunks_of_one_snapshot(server, engine, monkeypatch):
    from features import sql
    from features.city import open_city

    with engine.begin() as connection:
        connection.execute(text("create table persons as select generate_series(1, 50) as person_id"))
        connection.execute(
            text(
                "create table events as select 1 + i % 50 as person_id, date '2024-01-01' + i % 9 as event_date, "
                "'x' as code, i % 4 as value from generate_series(1, 1000) as i"
            )
        )
    whole = open_city(server)
    monkeypatch.setattr(sql, "_CHUNK_ROWS", 7)
    assert open_city(server).digest == whole.digest and whole.n_event_rows == 1000
    with sql.reading(sql.parse_url(server)) as database:
        assert database.connection.execute(text("show transaction_read_only")).scalar() == "on"
        assert database.connection.execute(text("show transaction_isolation")).scalar() == "repeatable read"
