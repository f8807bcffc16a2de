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
