"""What a home recorded is verified only where there is a home and a log: nothing there is not the same as verified."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout

import pytest
from sealed_world import World
from sqlalchemy import create_engine, text

from serving.approval import RECORDED
from serving.cli import main
from serving.home import Home
from serving.settings import Settings

DATABASE = ("ennakko.db", "ennakko.db-wal", "ennakko.db-shm")


def command(*words):
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main([*map(str, words), "--json"])
    return code, json.loads(out.getvalue())


def verify(home, *words):
    return command("audit", "verify", *words, "--home", home)


@pytest.fixture
def home(tmp_path):
    """A home with keys and a few lines in its log."""
    assert command("keys", "demo", "--home", tmp_path / "home")[0] == 0
    assert command("stop", "test", "--home", tmp_path / "home")[0] == 0
    return tmp_path / "home"


def test_a_home_that_is_not_there_is_not_verified_and_not_made(tmp_path):
    (tmp_path / "file").write_text("x")
    for name, wrong in (("hme", "no such folder"), ("file", "that is a file")):
        for words in (("verify",), ("log",), ("verify", "--verdict", tmp_path / "v.json")):
            code, said = command("audit", *words, "--home", tmp_path / name)
            assert code == 2 and "errors" in said
            (fault,) = said["errors"]
            assert fault["where"] == "--home" and "there is no home" in fault["wrong"] and wrong in fault["wrong"]
    assert not (tmp_path / "hme").exists()


def test_an_empty_folder_is_no_home(tmp_path, monkeypatch):
    (tmp_path / "empty" / "keys").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty")
    for place in (tmp_path / "empty", ""):
        for word in ("verify", "log"):
            code, said = command("audit", word, "--home", place)
            assert code == 2 and "holds no keys" in said["errors"][0]["wrong"]
    assert sorted(path.name for path in (tmp_path / "empty").rglob("*")) == ["keys"]


def test_a_home_in_which_nothing_was_done_has_nothing_to_verify(tmp_path):
    home = Home(Settings(home=tmp_path))
    assert home.objections.count() == 0 and home.settings.secret("feature-cache")
    for word in ("verify", "log"):
        code, said = command("audit", word, "--home", tmp_path)
        assert code == 2 and "nothing here shows" in said["errors"][0]["wrong"]
    for name in DATABASE:  # the register of objectors is gone, and its key is not
        (tmp_path / name).unlink(missing_ok=True)
    code, said = verify(tmp_path)
    assert (code, said["errors"][0]["code"]) == (30, "V42") and "objection register" in said["errors"][0]["wrong"]


@pytest.mark.parametrize("gone", [DATABASE, (*DATABASE, "audit_head.json")])
def test_a_log_that_is_gone_is_not_verified_and_not_made_anew(home, gone):
    assert verify(home)[0] == 0
    for name in gone:
        (home / name).unlink(missing_ok=True)
    for word in ("verify", "log", "verify"):
        code, said = command("audit", word, "--home", home)
        assert (code, [fault["code"] for fault in said["errors"]]) == (30, ["V42"])
        assert "keys" in said["errors"][0]["wrong"]
    assert not (home / "ennakko.db").exists()


@pytest.mark.parametrize("statement", ["delete from audit_log", "drop table audit_log"])
def test_an_emptied_log_is_not_verified(home, statement):
    with create_engine(f"sqlite:///{home / 'ennakko.db'}").begin() as connection:
        connection.execute(text(statement))
    (home / "audit_head.json").unlink()
    code, said = verify(home)
    assert (code, [fault["code"] for fault in said["errors"]]) == (30, ["V42"])


@pytest.mark.parametrize("folder", ["secrets", "verdicts", "lists", "runs", "attestations"])
def test_one_trace_is_enough_to_miss_the_log(home, tmp_path, folder):
    kept = tmp_path / "kept" / folder
    kept.mkdir(parents=True)
    (kept / ("need-youth.key" if folder == "secrets" else "something")).write_bytes(b"x")
    code, said = verify(tmp_path / "kept")
    assert (code, said["errors"][0]["code"]) == (30, "V42") and folder in said["errors"][0]["wrong"]


def test_a_verdict_that_the_log_does_not_tell_of_is_named(tmp_path):
    """The log cut back behind a judging, with a head that was cut along."""
    world = World(tmp_path)
    path = world.approve()
    home, verdict = world.home, world.verdict
    home.audit_log.append("keys", "system", made=2)
    code, said = verify(home.root)
    assert (code, [fault["code"] for fault in said["errors"]]) == (30, ["V42"])
    assert verdict.verdict_id in said["errors"][0]["wrong"]
    kept = {name: str(verdict.subject[name]) for name in RECORDED}
    home.audit_log.append("judge", "gate", need=world.need_id, verdict=verdict.verdict_id, **kept)
    assert verify(home.root)[1]["verdicts"] == {world.need_id: 1}
    shutil.rmtree(path.parent)
    code, said = verify(home.root)
    assert (code, [fault["code"] for fault in said["errors"]]) == (30, ["V25"])


def test_asking_for_a_person_makes_no_secret(home):
    code, said = command("audit", "log", "--person", "000123", "--home", home)
    assert (code, said["rows"]) == (0, []) and not (home / "secrets" / "audit-persons.key").exists()
