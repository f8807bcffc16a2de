import threading

import pytest
from sqlalchemy import create_engine, text

from ethics.audit_log import AuditLog


@pytest.fixture
def engine(tmp_path):
    return create_engine(f"sqlite:///{tmp_path / 'home.sqlite'}")


@pytest.fixture
def log(engine):
    log = AuditLog(engine)
    for number in range(4):
        log.append("list", "worker-1", list_id=f"l{number}", listed=number)
    return log


def test_rows_are_numbered_and_the_chain_holds(log):
    assert [row["number"] for row in log.rows()] == [1, 2, 3, 4]
    assert log.rows()[2]["facts"] == '{"list_id":"l2","listed":2}'
    assert log.head() == (4, log.rows()[3]["hash"])
    assert log.verify() == []


@pytest.mark.parametrize("column", ["at", "action", "actor", "facts"])
def test_an_edited_row_is_named(log, engine, column):
    with engine.begin() as connection:
        connection.execute(text(f"update audit_log set {column} = 'x' where number = 2"))
    assert [str(fault) for fault in log.verify()] == [
        "audit log main, row 2: was changed after it was written. Restore it from a backup"
    ]


def test_a_removed_row_is_named(log, engine):
    with engine.begin() as connection:
        connection.execute(text("delete from audit_log where number in (2, 3)"))
    assert [fault.wrong for fault in log.verify()] == ["rows 2 to 3 before it are missing"]


def test_an_edited_row_with_a_mended_hash_breaks_the_next(log, engine):
    from ethics.audit_log import _chained

    row = {**log.rows()[1], "actor": "someone else"}
    with engine.begin() as connection:
        connection.execute(
            text("update audit_log set actor = :actor, hash = :hash where number = 2"),
            {"actor": row["actor"], "hash": _chained(row["prev_hash"], row)},
        )
    assert [str(fault) for fault in log.verify()] == [
        "audit log main, row 3: does not follow the row before it. Restore both from a backup"
    ]


def test_a_cut_off_end_differs_from_a_head_kept_elsewhere(log, engine):
    head = log.head()
    with engine.begin() as connection:
        connection.execute(text("delete from audit_log where number = 4"))
    assert log.verify() == []
    assert log.head() != head


def test_facts_that_are_not_text_or_whole_numbers_are_refused(log):
    with pytest.raises(TypeError, match="not so: share"):
        log.append("list", "worker-1", share=0.5)
    assert log.head()[0] == 4


def test_writers_have_chains_of_their_own(engine, log):
    other = AuditLog(engine, writer="second")
    assert other.append("score", "worker-2") == 1
    assert log.verify() == other.verify() == []


def test_threads_that_race_for_a_number_fork_no_chain(engine):
    log = AuditLog(engine)
    threads = [threading.Thread(target=lambda: [log.append("score", "w") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.head()[0] == 40
    assert log.verify() == []
