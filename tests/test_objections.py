import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from ethics.objections import ObjectionRegister
from ethics.refusals import BadInput, NotTrusted

KEY = b"a key of the home, thirty bytes"


@pytest.fixture(params=["memory", "file"])
def engine(request, tmp_path):
    return create_engine("sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'home.sqlite'}")


def test_nobody_objects_in_an_empty_register(engine):
    register = ObjectionRegister(engine, KEY)
    assert register.objecting(["1", "2"], "youth").tolist() == [False, False]
    assert register.objecting([], "youth").tolist() == []
    assert register.count() == 0


def test_an_objection_to_one_need_leaves_the_others(engine):
    register = ObjectionRegister(engine, KEY)
    register.object("2", "youth")
    register.object("3")
    people = ["1", "2", "3"]
    assert register.objecting(people, "youth").tolist() == [False, True, True]
    assert register.objecting(people, "health").tolist() == [False, False, True]
    assert register.count() == 2


def test_objecting_twice_keeps_the_first_moment_and_withdrawing_forgets_it(engine):
    register = ObjectionRegister(engine, KEY)
    register.object("2", "youth", since="2026-01-01T00:00:00+02:00")
    register.object("2", "youth", since="2026-03-01T00:00:00+02:00")
    with engine.connect() as connection:
        assert connection.execute(text("select since from objections")).all() == [("2026-01-01T00:00:00+02:00",)]
    assert register.withdraw("2", "youth") is True
    assert register.withdraw("2", "youth") is False
    assert register.objecting(["2"], "youth").tolist() == [False]


def test_the_table_names_nobody(engine):
    ObjectionRegister(engine, KEY).object("resident-000123", "youth")
    with engine.connect() as connection:
        rows = connection.execute(text("select * from objections")).all()
    assert "000123" not in str(rows)


def test_another_key_is_refused_also_in_an_empty_register(engine):
    assert ObjectionRegister.is_begun(engine) is False
    ObjectionRegister(engine, KEY)
    assert ObjectionRegister.is_begun(engine) is True
    ObjectionRegister(engine, KEY).object("1")
    with pytest.raises(NotTrusted) as refusal:
        ObjectionRegister(engine, b"another key of the home, also so")
    assert str(refusal.value) == (
        "objection key: is not the key this register was begun with, so every objector would be listed. "
        "Restore secrets/objections.key from the backup"
    )


def test_objections_without_a_check_value_are_not_read(engine):
    ObjectionRegister(engine, KEY).object("1")
    with engine.begin() as connection:
        connection.execute(text("delete from objection_key"))
    with pytest.raises(NotTrusted, match="hold objections, and no check value of the key that reads them"):
        ObjectionRegister(engine, KEY)


def test_many_who_begin_the_register_at_once_agree(tmp_path):
    start = threading.Barrier(6)

    def begin(_):
        start.wait()
        return ObjectionRegister(create_engine(f"sqlite:///{tmp_path / 'home.sqlite'}"), KEY).count()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(begin, range(6))) == [0] * 6


def test_a_short_key_is_refused():
    with pytest.raises(BadInput) as refusal:
        ObjectionRegister(create_engine("sqlite://"), b"short")
    assert str(refusal.value) == (
        "objection key: is 5 bytes long, so its hashes could be guessed. Give at least 16 random bytes"
    )
