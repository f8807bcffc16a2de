"""The store in PostgreSQL: the cases of SQLite once more, writers side by side, and what its files still hold."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import test_full_stores
from sqlalchemy import create_engine, text
from store_cases import *  # noqa: F403 the cases shared with SQLite
from store_cases import KEYS, filled

from scoring.store import Store

pytestmark = pytest.mark.full
server, engine = test_full_stores.server, test_full_stores.engine


@pytest.fixture
def open_store(engine, tmp_path):
    def open_it():
        return Store(engine, KEYS, tmp_path / "tombstones.txt")

    open_it.engine = lambda: engine
    return open_it


@pytest.fixture
def url_and_home(server, engine, tmp_path):
    return server, str(tmp_path)


def side_by_side(server, act):
    def alone(number):
        own = create_engine(server)
        try:
            return act(Store(own, KEYS), number)
        finally:
            own.dispose()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(alone, range(8)))


def test_many_who_begin_at_once_give_everybody_one_reference(server, engine):
    people = [f"p{i}" for i in range(50)]
    made = side_by_side(server, lambda store, number: store.refer(people if number % 2 else people[::-1]))
    assert all(refs == made[0] for refs in made)


def test_erasing_while_others_write_leaves_nobody_behind(server, engine):
    people = [f"p{i}" for i in range(20)]
    Store(engine, KEYS).refer(people)

    def act(store, number):
        if number % 2:
            return [store.erase(person).person_ref for person in people[number::8]]
        return [store.refer(people) for _ in range(5)]

    side_by_side(server, act)
    store, gone = Store(engine, KEYS), {p for n in (1, 3, 5, 7) for p in people[n::8]}
    assert store.refs(people).keys() == set(people) - gone
    assert store.is_erased(people).tolist() == [person in gone for person in people]


def test_the_tables_hold_nothing_of_the_erased_even_as_dead_rows(engine, open_store):
    store = open_store()
    filled(store)

    def pages():
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("checkpoint"))
            folder = connection.scalar(text("show data_directory"))
            tables = connection.scalars(text("select tablename from pg_tables where tablename like 'store_%'")).all()
            files = [connection.scalar(text(f"select pg_relation_filepath('{table}')")) for table in tables]
        read = subprocess.run(["cat", *(f"{folder}/{file}" for file in files)], capture_output=True, check=True)
        return read.stdout

    assert b"Secret Reason: anna" in pages() and b"Secret Worker" in pages()
    assert store.erase("anna").wiped
    assert b"Secret Reason: anna" not in pages() and b"Secret Worker" not in pages()
