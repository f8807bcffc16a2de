"""The store on SQLite: whole or nothing, only added to, and forgetful where it has to be."""

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text
from store_cases import *  # noqa: F403 the cases shared with PostgreSQL
from store_cases import FIRST, KEYS, SECOND, attempts, filled, outcomes, small_list, small_scores

from ethics.refusals import NotTrusted
from scoring.store import Export, Store
from scoring.store_tables import PEOPLE
from serving.settings import Settings


@pytest.fixture
def open_store(tmp_path):
    return opener(tmp_path)


@pytest.fixture
def url_and_home(tmp_path):
    return "", str(tmp_path)


def opener(home):
    def open_it():
        return Store(open_it.engine(), KEYS, home / "tombstones.txt")

    open_it.engine = lambda: Settings(home=home).engine()
    return open_it


def bytes_of(home):
    return {path.name: path.read_bytes() for path in home.iterdir()}


def test_no_byte_of_the_database_names_or_reveals_the_erased(tmp_path):
    home = tmp_path / "home"
    store = opener(home)()
    store.refer([f"somebody {i}" for i in range(300)])
    filled(store)
    with store._engine.connect() as connection:
        ref = bytes.fromhex(store.refs(["anna"])["anna"])
        secret = list(connection.execute(select(PEOPLE).where(PEOPLE.c.person_ref == ref)).one())
    words = [b"Secret Reason: anna", b"Secret Worker", b"Secret Result", b"Secret file", b"Secret Why", *secret[:3]]
    assert all(any(word in content for content in bytes_of(home).values()) for word in words)
    assert store.erase("anna").wiped
    for name, content in bytes_of(home).items():
        assert not [word for word in [*words, b"anna"] if word in content], name
    assert ref in bytes_of(home)["ennakko.db"]


@pytest.mark.parametrize("is_reader_in_the_way", [False, True])
def test_free_space_that_could_not_be_cleared_is_cleared_at_the_next_opening(
    tmp_path, is_reader_in_the_way, monkeypatch
):
    monkeypatch.setattr("serving.settings._BUSY_MS", 10)
    store = opener(tmp_path)()
    filled(store)
    reader = store._engine.raw_connection()
    if is_reader_in_the_way:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM store_people").fetchone()
    assert store.erase("anna").wiped is not is_reader_in_the_way
    reader.close()
    assert opener(tmp_path)().wipe()
    assert all(b"Secret Reason: anna" not in content for content in bytes_of(tmp_path).values())


def test_a_restored_backup_forgets_the_erased_again(tmp_path):
    home, backup = tmp_path / "home", tmp_path / "backup"
    store = opener(home)()
    filled(store)
    shutil.copytree(home, backup)
    store.erase("anna")
    store.erase("somebody unknown to the store")
    for path in home.glob("ennakko.db*"):
        path.unlink()
    for path in backup.glob("ennakko.db*"):
        shutil.copy(path, home)
    restored = opener(home)()
    assert restored.is_erased(["anna", "bo", "somebody unknown to the store"]).tolist() == [True, False, True]
    assert restored.refs(["anna", "bo"]).keys() == {"bo"} and restored.summary()["tombstones"] == 2
    assert (restored.proof(FIRST).redacted, restored.proof(FIRST).faults) == (1, ())
    assert all(b"Secret Reason: anna" not in content for content in bytes_of(home).values())
    lines = (home / "tombstones.txt").read_text().split()
    assert len(lines) == 2 == len(set(lines)) and "anna" not in "".join(lines)


def test_a_lost_tombstone_file_is_written_again_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "tombstones.txt"
    opener(tmp_path)().erase("anna")
    kept = path.read_text()
    path.unlink()
    opener(tmp_path)()
    assert path.read_text() == kept
    path.write_text(kept + "abc")  # cut short by a crash
    opener(tmp_path)().erase("bo")
    assert path.read_text().split()[:2] == [kept.strip(), "abc"] and len(path.read_text().split()) == 3
    path.write_text("not a tombstone\n")
    with pytest.raises(NotTrusted) as refusal:
        opener(tmp_path)()
    assert str(refusal.value) == (
        f"{path}: has a line that is no tombstone (line 1). "
        "Restore it from its newest backup; who was erased would otherwise come back"
    )


def test_a_reader_waits_for_no_writer_and_sees_no_half_of_what_is_written(tmp_path):
    store = opener(tmp_path)()
    ref = store.refer(["anna"])
    with store._engine.begin() as writer:
        writer.execute(text("delete from store_people"))
        assert opener(tmp_path)().refs(["anna"]) == ref and store.is_erased(["anna"]).tolist() == [False]
        writer.rollback()


def killed_at(home, statement, act):
    """Do something in a process of its own, killed at its n-th statement; whether that came before the end."""
    child = os.fork()
    if not child:
        try:
            store, seen = opener(home)(), []

            @event.listens_for(store._engine, "before_cursor_execute")
            def _kill(*_):
                seen.append(1)
                if len(seen) == statement:
                    os.kill(os.getpid(), signal.SIGKILL)

            act(store)
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_list_whose_publisher_is_killed_is_whole_or_absent(tmp_path):
    listed = small_list(opener(tmp_path)(), {"west": [f"p{i}" for i in range(20)], "east": ["cai"]})
    exports = [Export("west.csv", "a" * 64, "west")]
    moment = 1
    while killed_at(tmp_path, moment, lambda store: store.publish(listed, exports)):
        store = opener(tmp_path)()
        counts = store.summary()
        assert (counts["lists"], counts["list_rows"], counts["exports"]) == (0, 0, 0), moment
        moment += 1
    assert moment >= 8  # every statement of the transaction was once the last
    store = opener(tmp_path)()
    store.publish(listed, exports)
    assert (store.proof(FIRST).n, store.proof(FIRST).faults) == (21, ())


@pytest.mark.full
def test_an_erasure_whose_process_is_killed_is_finished_by_the_next_opening(tmp_path):
    moment, home = 1, tmp_path / "0"
    filled(opener(home)())
    while killed_at(home, moment, lambda store: store.erase("anna")):
        store = opener(home)()  # the tombstone file is written first, so the next opening erases
        assert store.is_erased(["anna"]).tolist() == [True] and store.refs(["anna"]) == {}
        assert all(b"Secret Reason: anna" not in content for content in bytes_of(home).values())
        moment, home = moment + 1, tmp_path / str(moment)
        filled(opener(home)())
    assert moment > 10


def test_many_who_begin_at_once_all_find_the_store(tmp_path):
    def begin(_):
        return opener(tmp_path)().refer(["anna"])["anna"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(begin, range(8)))) == 1


def test_a_begun_migration_that_fails_leaves_nothing(tmp_path, monkeypatch):
    from scoring.migrations import store_0001

    engine = Settings(home=tmp_path).engine()
    with engine.begin() as connection:
        connection.execute(text("create table store_tombstones (something integer)"))
    with pytest.raises(Exception, match="store_tombstones"):
        opener(tmp_path)()
    with engine.connect() as connection:
        tables = connection.scalars(text("select name from sqlite_master where type = 'table'")).all()
    assert tables == ["store_tombstones"] and store_0001.revision == "0001"


PEOPLE_IDS = st.sampled_from([f"p{i}" for i in range(6)])
ACTS = st.one_of(
    st.tuples(st.just("refer"), st.lists(PEOPLE_IDS, max_size=4)),
    st.tuples(st.just("scores"), st.lists(PEOPLE_IDS, min_size=1, max_size=4, unique=True), st.integers(1, 3)),
    st.tuples(st.just("publish"), st.lists(PEOPLE_IDS, max_size=4, unique=True), st.sampled_from([FIRST, SECOND])),
    st.tuples(st.just("attempts"), st.lists(st.tuples(PEOPLE_IDS, st.integers(1, 3)), max_size=4)),
    st.tuples(st.just("outcomes"), st.lists(st.tuples(PEOPLE_IDS, st.integers(1, 3)), max_size=4)),
    st.tuples(st.just("erase"), PEOPLE_IDS),
)


def everything(store):
    """Every row of every table but the people, by table."""
    with store._engine.connect() as connection:
        names = [name for name in store.summary() if name not in ("people", "tombstones")]
        return {name: set(map(tuple, connection.execute(text(f"select * from store_{name}")))) for name in names}


@settings(max_examples=25)
@given(acts=st.lists(ACTS, max_size=14))
def test_whatever_is_done_rows_are_only_added_and_the_erased_are_gone(tmp_path_factory, acts):
    home = tmp_path_factory.mktemp("store")
    store, erased, refs, events = opener(home)(), set(), {}, {"attempts": set(), "outcomes": set()}
    for name, *words in acts:
        before = everything(store)
        if name == "refer":
            assert store.refer(words[0]).keys() == set(words[0]) - erased
        elif name == "scores":
            store.add_scores(small_scores(words[0], seed=words[1]))
        elif name == "publish":
            try:
                store.publish(small_list(store, {"west": words[0]}, words[1]), [])
                assert not erased & set(words[0])
            except NotTrusted:
                assert erased & set(words[0]) or words[1] in store.lists()["list_id"]
        elif name in events:
            last = {"attempts": ("phone", "w", "r"), "outcomes": ("helped",)}[name]
            made = {"attempts": attempts, "outcomes": outcomes}[name]
            rows = [(None, person, f"2024-06-0{day}", *last) for person, day in words[0]]
            new = {row for row in words[0] if row[0] not in erased} - events[name]
            add = {"attempts": store.add_attempts, "outcomes": store.add_outcomes}[name]
            assert (add(made(*rows), "a"), add(made(*rows), "b")) == (len(new), 0)
            events[name] |= new
        else:
            store.erase(words[0])
            erased.add(words[0])
            refs.pop(words[0], None)
            events = {kind: {row for row in rows if row[0] != words[0]} for kind, rows in events.items()}
        if name == "erase":
            assert {table: len(rows) for table, rows in before.items()} == {
                t: len(r) for t, r in everything(store).items()
            }
        else:
            assert all(rows <= everything(store)[table] for table, rows in before.items())
        known = store.refs([f"p{i}" for i in range(6)])
        assert refs.items() <= known.items() and not erased & known.keys()
        refs = known
        assert all(store.proof(list_id).faults == () for list_id in store.lists()["list_id"])
    assert set(store.people(list(refs.values())).values()) == refs.keys()


def test_the_index_of_people_is_made_anew_with_most_of_them_or_not_touched_at_all(tmp_path, monkeypatch):
    """A run that ends between the two leaves the table and its index as they were."""
    monkeypatch.setattr("scoring.store_people._READ_ALL_FROM", 3)
    store = opener(tmp_path)()

    def index():
        with store._engine.connect() as connection:
            found = "select sql from sqlite_master where name = 'store_people_by_ref'"
            return connection.exec_driver_sql(found).scalar()

    begun = index()
    monkeypatch.setattr("scoring.store_people.add_many", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.refer(["anna", "bo", "cai"])
    assert index() == begun and store.refs(["anna"]) == {}
    monkeypatch.undo()
    monkeypatch.setattr("scoring.store_people._READ_ALL_FROM", 3)
    refs = store.refer(["anna", "bo", "cai"])
    assert index() == begun and "UNIQUE" in begun
    assert opener(tmp_path)().refer(["anna", "dora"])["anna"] == refs["anna"] and index() == begun
    with store._engine.connect() as connection:
        plan = connection.exec_driver_sql("explain query plan select salt from store_people where person_ref = x'00'")
        assert "store_people_by_ref" in str(plan.all())
