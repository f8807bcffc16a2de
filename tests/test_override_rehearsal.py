"""Whether people can override a list: tried on a real store, taken back, and found out where it does not work."""

import sys
from pathlib import Path

import pytest
from sealed_world import World
from sqlalchemy import create_engine, text
from store_cases import KEYS, small_list

from ethics.refusals import BadInput, Blocked
from scoring.override_rehearsal import rehearsed_overrides
from scoring.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))
from gate_faults import SWALLOWING, unexplained

WORKS = dict.fromkeys(("needs_reason", "removed", "added", "nothing_kept"), True)


@pytest.fixture
def engine(tmp_path):
    return create_engine(f"sqlite:///{tmp_path}/store.sqlite")


def broken(engine, statement):
    store = Store(engine, KEYS)
    with engine.begin() as connection:
        connection.execute(text(statement))
    return store


def test_the_rehearsal_works_and_leaves_nothing(engine):
    store = Store(engine, KEYS)
    listed = small_list(store, {"north": ["000001", "000002"]})
    store.publish(listed)
    store.change(listed.list_id, listed.parts[0].unit_id, listed.parts[0].rows[0].person_id, "removed", "w", reason="r")
    before = store.summary(), store.changes().rows(), store.rows().rows()
    assert rehearsed_overrides(store) == WORKS
    assert (store.summary(), store.changes().rows(), store.rows().rows()) == before


@pytest.mark.parametrize(
    ("statement", "fails"),
    zip(SWALLOWING, ({"removed", "added"}, {"removed", "added"}, {"removed", "added"}, {"removed"}), strict=True),
)
def test_a_database_that_loses_changes_is_found_out(engine, statement, fails):
    found = rehearsed_overrides(broken(engine, statement))
    assert {step for step, did in found.items() if not did} == fails


def test_a_store_that_takes_changes_unexplained_is_found_out(engine):
    store = unexplained()(engine, KEYS)
    found = rehearsed_overrides(store)
    assert not found["needs_reason"] and found["nothing_kept"]
    assert store.summary() == Store(engine, KEYS).summary() and not any(store.summary().values())


def test_what_a_trigger_keeps_of_the_rehearsal_is_taken_back_with_it(engine):
    store = broken(engine, "CREATE TABLE copy (who TEXT)")
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TRIGGER spy AFTER INSERT ON store_list_rows BEGIN INSERT INTO copy VALUES (NEW.list_id); END")
        )
    assert rehearsed_overrides(store) == WORKS
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM copy")) == 0


def test_inside_a_transaction_a_refused_change_undoes_itself_alone(engine):
    """A store within somebody's transaction: what was refused is taken back, the rest is theirs to keep."""
    from scoring.store_opening import writing

    store = Store(engine, KEYS)
    listed = small_list(store, {"north": ["000001", "000002"]})
    store.publish(listed)
    part = listed.parts[0]
    with writing(engine) as connection:
        inside = store.within(connection)
        inside.change(listed.list_id, part.unit_id, part.rows[0].person_id, "removed", "w", reason="moved")
        with pytest.raises(BadInput, match="not on the list"):
            inside.change(listed.list_id, part.unit_id, part.rows[0].person_id, "removed", "w", reason="again")
        with pytest.raises(BadInput, match="reason: is missing"):
            inside.change(listed.list_id, part.unit_id, part.rows[1].person_id, "removed", "w")
    assert store.changes()["reason"].to_list() == ["moved"]


def test_no_list_leaves_a_home_whose_store_swallows_changes(tmp_path):
    world = World(tmp_path, units=True)
    assert world.list().listed == 20
    with world.home.engine.begin() as connection:
        connection.execute(text(SWALLOWING[0]))
    with pytest.raises(Blocked, match=r"check C802: block: overrides that fail 2 \(limit 0\)"):
        world.list()
