import fcntl
import json
import subprocess
import sys
import threading

import pytest
from sqlalchemy import create_engine, text

from ethics.audit_log import AuditLog
from ethics.refusals import Refusal


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


# The head kept outside the database


def test_rows_come_page_by_page(log):
    assert [row["number"] for row in log.rows_beyond(0, 3)] == [1, 2, 3]
    assert log.rows_beyond(3, 3) == log.rows()[3:]
    assert log.rows_beyond(4, 3) == []
    assert log.writer == log.rows()[0]["writer"]


def test_rows_that_hold_a_text_are_found_by_the_database(log, engine):
    AuditLog(engine, "another").append("score", "unit", persons="aa bb")
    log.append("score", "unit", persons="aa bb")
    log.append("person", "resident", person="bb")
    log.append("note", "unit", said="100% of a_b")
    assert [row["number"] for row in log.rows_holding({"bb", "no such text"})] == [5, 6]
    assert [row["number"] for row in log.rows_holding(["%"])] == [7]  # a text, not a pattern
    assert [row["number"] for row in log.rows_holding(["a_b"])] == [7]
    assert log.rows_holding([]) == []


@pytest.fixture
def kept(engine, tmp_path):
    log = AuditLog(engine, head_path=tmp_path / "kept" / "audit_head.json")
    for number in range(4):
        log.append("list", "worker-1", listed=number)
    return log


def cut(engine, condition):
    with engine.begin() as connection:
        connection.execute(text(f"delete from audit_log where {condition}"))


def test_the_head_is_kept_for_its_owner_alone(kept, tmp_path):
    path = tmp_path / "kept" / "audit_head.json"
    number, digest = kept.head()
    assert json.loads(path.read_bytes()) == {"main": {"hash": digest, "number": number}}
    assert path.stat().st_mode & 0o077 == 0
    assert kept.verify() == []


@pytest.mark.parametrize(
    ("condition", "missing"),
    [
        ("number = 4", "row 4 at its end is"),
        ("number > 1", "rows 2 to 4 at its end are"),
        ("true", "rows 1 to 4 at its end are"),
    ],
)
def test_rows_cut_off_at_the_end_are_named(kept, engine, condition, missing):
    cut(engine, condition)
    assert [str(fault) for fault in kept.verify()] == [f"audit log main: {missing} missing. Restore it from a backup"]


def test_rows_written_after_a_cut_do_not_hide_it(kept, engine):
    cut(engine, "number > 2")
    for number in range(5):
        kept.append("list", "worker-1", listed=100 + number)
        assert kept.verify() != []
    assert [str(fault) for fault in kept.verify()] == [
        "audit log main, row 4: is not the row that was once the last. Restore it from a backup"
    ]


def test_a_head_that_is_gone_or_spoilt_is_said(kept, tmp_path):
    path = tmp_path / "kept" / "audit_head.json"
    whole = path.read_bytes()
    path.write_bytes(b"{")
    assert [fault.wrong for fault in kept.verify()] == ["cannot be read (JSONDecodeError), so a cut is not noticed"]
    kept.append("list", "worker-1")  # an act is never lost over it, and the spoilt file stays to be seen
    assert len(kept.verify()) == 1
    path.unlink()
    assert "no head in" in kept.verify()[0].wrong
    path.write_bytes(whole)
    assert kept.verify() == []  # behind, but on the chain


def test_whether_the_next_act_can_be_written_is_told_without_writing(kept, engine, tmp_path):
    path = tmp_path / "kept" / "audit_head.json"
    lock, whole = path.with_name("audit_head.json.lock"), path.read_bytes()
    assert kept.faults_of_writing() == []
    path.unlink()
    path.mkdir()  # cannot be read
    with pytest.raises(Refusal, match="cannot be read"):
        kept.keep_head()
    assert [fault.where for fault in kept.faults_of_writing()] == [str(path)]
    path.rmdir()
    path.write_bytes(whole)
    lock.unlink()
    lock.mkdir()
    assert [fault.where for fault in kept.faults_of_writing()] == [str(lock)]
    lock.rmdir()
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert kept.faults_of_writing() == []  # somebody writes, and nobody waits for it
    assert len(kept.rows()) == 4 and path.read_bytes() == whole


def test_an_old_log_gets_a_head_with_its_next_act(log, engine, tmp_path):
    kept = AuditLog(engine, head_path=tmp_path / "audit_head.json")
    assert len(kept.verify()) == 1
    kept.append("list", "worker-1")
    assert kept.verify() == []
    assert AuditLog(engine, writer="new", head_path=tmp_path / "audit_head.json").verify() == []


def test_processes_that_share_a_head_never_move_it_back(engine, tmp_path):
    path = tmp_path / "audit_head.json"
    script = (
        "import sys; from pathlib import Path; from sqlalchemy import create_engine\n"
        "from ethics.audit_log import AuditLog\n"
        "log = AuditLog(create_engine(sys.argv[1]), head_path=Path(sys.argv[2]))\n"
        "for n in range(10): log.append('score', 'w', n=n)"
    )
    AuditLog(engine, head_path=path).append("score", "first")
    workers = [subprocess.Popen([sys.executable, "-c", script, str(engine.url), str(path)]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    log = AuditLog(engine, head_path=path)
    assert json.loads(path.read_bytes())["main"]["number"] == log.head()[0] == 31
    assert log.verify() == []
