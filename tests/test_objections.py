import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from ethics.objections import CHANNELS, ObjectionRegister
from ethics.refusals import BadInput, NotTrusted
from serving.settings import Settings

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


def test_an_objection_to_a_channel_leaves_the_use_and_the_other_channels(engine):
    register = ObjectionRegister(engine, KEY)
    assert register.refused_channels(["1", "2"], "youth") == {}
    register.object("2", "youth", channel="phone")
    register.object("2", channel="digital")
    assert register.refused_channels(["1", "2"], "youth") == {"2": ("digital", "phone")}
    assert register.refused_channels(["2"], "health") == {"2": ("digital",)}
    assert register.objecting(["2"], "youth").tolist() == [False] and register.count() == 0
    assert register.withdraw("2", channel="phone") is False, "it stands for one need alone"
    assert register.withdraw("2", "youth", channel="phone") is True
    assert register.refused_channels(["2"], "youth") == {"2": ("digital",)}


def test_whoever_refuses_every_channel_is_masked_for_that_need(engine):
    register = ObjectionRegister(engine, KEY)
    for channel in CHANNELS[:2]:
        register.object("2", channel=channel)
    for channel in CHANNELS[2:]:
        register.object("2", "youth", channel=channel)
    assert register.objecting(["1", "2"], "youth").tolist() == [False, True]
    assert register.objecting(["2"], "health").tolist() == [False]


def test_every_act_is_kept_and_told_in_order(engine):
    register = ObjectionRegister(engine, KEY)
    assert register.object("2", "youth", since="2026-01-01T00:00:00+02:00") is True
    first = register.version()
    assert register.object("2", "youth", by="service_point") is False and register.version() == first
    register.object("2", channel="visit", by="service_point")
    register.withdraw("2", "youth", by="service_point")
    register.object("3")
    acts = register.history("2")
    assert [(act.act, act.need_id, act.channel, act.by) for act in acts] == [
        ("object", "youth", None, "resident"),
        ("object", "*", "visit", "service_point"),
        ("withdraw", "youth", None, "service_point"),
    ]
    assert acts[0].at == "2026-01-01T00:00:00+02:00"
    assert [(one.need_id, one.channel) for one in register.standing("2")] == [("*", "visit")]
    assert register.history("1") == register.standing("1") == ()
    assert register.version() != first


def test_one_who_withdraws_and_another_who_objects_are_noticed_though_as_many_stand(engine):
    register = ObjectionRegister(engine, KEY)
    register.object("2", "youth")
    before = register.version()
    register.withdraw("2", "youth")
    register.object("3", "youth")
    assert register.count() == 1 and register.version() != before


def test_an_objection_of_an_earlier_register_keeps_its_moment(engine):
    register = ObjectionRegister(engine, KEY)
    register.object("2", "youth", since="2025-05-05T00:00:00+00:00")
    with engine.begin() as connection:
        connection.execute(text("delete from objection_acts"))
    register.withdraw("2", "youth")
    register.object("2", "health")
    with engine.begin() as connection:
        connection.execute(text("delete from objection_acts where act = 'object'"))
    acts = ObjectionRegister(engine, KEY).history("2")
    assert [(act.act, act.need_id, act.by) for act in acts] == [
        ("object", "health", ""),
        ("withdraw", "youth", "resident"),
    ]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"channel": "fax"}, "channel: 'fax' is none. Allowed: digital, letter, phone, visit"),
        ({"by": "neighbour"}, "by: 'neighbour' is no capacity. Allowed: resident, service_point"),
    ],
)
def test_a_channel_or_a_capacity_that_is_none_is_refused(engine, more, wrong):
    register = ObjectionRegister(engine, KEY)
    for act in (register.object, register.withdraw):
        with pytest.raises(BadInput) as refusal:
            act("1", **more)
        assert str(refusal.value) == wrong


def test_many_who_object_and_withdraw_at_once_leave_one_objection_and_a_history_that_leads_there(tmp_path):
    engine = Settings(home=tmp_path).engine()
    ObjectionRegister(engine, KEY)
    start = threading.Barrier(6)

    def act(i):
        start.wait()
        register = ObjectionRegister(Settings(home=tmp_path).engine(), KEY)
        done = register.object if i % 2 else register.withdraw
        return [done(person, "youth") for person in ("1", "2")]

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(act, range(6)))
    register = ObjectionRegister(engine, KEY)
    for at, person in enumerate(("1", "2")):
        acts = [one.act for one in register.history(person)]
        assert acts == [("object", "withdraw")[i % 2] for i in range(len(acts))]
        assert len(acts) == sum(row[at] for row in done)
        assert len(register.standing(person)) == (len(acts) % 2)


def test_a_short_key_is_refused():
    with pytest.raises(BadInput) as refusal:
        ObjectionRegister(create_engine("sqlite://"), b"short")
    assert str(refusal.value) == (
        "objection key: is 5 bytes long, so its hashes could be guessed. Give at least 16 random bytes"
    )
