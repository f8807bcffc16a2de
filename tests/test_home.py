"""The home: what is lost or damaged in it is noticed before anybody is listed."""

import subprocess
import sys
from pathlib import Path

import pytest

from ethics.refusals import BadInput, NotTrusted
from serving.home import Home
from serving.settings import Settings

ROOT = Path(__file__).parent.parent


def home_at(folder):
    return Home(Settings(home=folder))


def test_an_objection_is_found_again_by_the_next_process(tmp_path):
    home_at(tmp_path).objections.object("anna", "youth")
    assert home_at(tmp_path).objections.objecting(["anna", "bo"], "youth").tolist() == [True, False]
    assert [path.name for path in (tmp_path / "secrets").glob("*.key")] == ["objections.key"]


def test_a_lost_objection_key_is_not_made_anew(tmp_path):
    home_at(tmp_path).objections.object("anna", "youth")
    key = tmp_path / "secrets" / "objections.key"
    kept = key.read_bytes()
    key.unlink()
    for _ in range(2):
        with pytest.raises(NotTrusted) as refusal:
            _ = home_at(tmp_path).objections
        assert str(refusal.value) == f"{key}: is lost. Restore it from the backup"
    key.touch(0o600)
    key.write_bytes(b"x" * 32)
    with pytest.raises(NotTrusted, match="is not the key this register was begun with"):
        _ = home_at(tmp_path).objections
    key.write_bytes(kept)
    assert home_at(tmp_path).objections.objecting(["anna"], "youth").tolist() == [True]


def test_a_lost_database_is_not_begun_anew(tmp_path):
    home_at(tmp_path).objections.object("anna", "youth")
    for path in tmp_path.glob("ennakko.db*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(NotTrusted) as refusal:
            _ = home_at(tmp_path).objections
        assert str(refusal.value) == (
            f"{tmp_path}/ennakko.db: holds no objection register, though its key is there "
            f"({tmp_path}/secrets/objections.key): every objector would be listed. "
            "Restore the database from the backup; only if nobody had objected yet, move objections.key away"
        )


@pytest.mark.parametrize("is_register_begun", [False, True])
def test_a_register_whose_beginner_was_killed_is_finished_by_the_next(tmp_path, is_register_begun):
    home = home_at(tmp_path)
    draft = home.settings.secret("objections-begun")
    if is_register_begun:
        from ethics.objections import ObjectionRegister

        ObjectionRegister(home.engine, draft)
    home_at(tmp_path).objections.object("anna")
    assert (tmp_path / "secrets" / "objections.key").read_bytes() == draft
    assert home_at(tmp_path).objections.objecting(["anna"], "youth").tolist() == [True]


def test_two_processes_begin_the_register_at_once(tmp_path):
    words = "import sys; from pathlib import Path; from serving.home import Home; from serving.settings import Settings"
    words += "; Home(Settings(home=Path(sys.argv[1]))).objections.object(sys.argv[2])"
    both = [
        subprocess.Popen([sys.executable, "-c", words, str(tmp_path), name], cwd=ROOT, stderr=subprocess.PIPE)
        for name in ("anna", "bo")
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0), (b"", 0)]
    assert home_at(tmp_path).objections.objecting(["anna", "bo", "cai"], "y").tolist() == [True, True, False]


def test_what_cannot_be_a_home_is_refused_in_words(tmp_path):
    (tmp_path / "file").touch()
    for folder, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "x", "Not a directory")):
        with pytest.raises(BadInput) as refusal:
            home_at(folder)
        assert str(refusal.value) == (
            f"--home: is '{folder}', which cannot be a home: {why}. Give a folder that you may write to"
        )


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ('{"need_id": "yo', "cannot be read (JSONDecodeError)"),
        ("[]", "cannot be read (AttributeError)"),
        ("{}", "lacks what training records"),
    ],
)
def test_a_damaged_run_is_not_trusted_and_a_missing_one_is_bad_input(tmp_path, content, wrong):
    path = tmp_path / "runs" / "a1" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(NotTrusted) as refusal:
        home_at(tmp_path).run_record("a1")
    assert str(refusal.value) == f"{path}: {wrong}. Restore it from the backup, or train again"
    for missing in ("a2", "", "../runs/a1", "a" * 5000, "a\0b"):
        with pytest.raises(BadInput, match=r"is not a finished run of this home\. Give one of: a1"):
            home_at(tmp_path).run_record(missing)


def test_the_store_is_found_again_with_both_its_keys(tmp_path):
    ref = home_at(tmp_path).store.refer(["anna"])
    assert home_at(tmp_path).store.refs(["anna", "bo"]) == ref
    assert sorted(path.name for path in (tmp_path / "secrets").glob("*.key")) == ["people.key", "tombstones.key"]


@pytest.mark.parametrize("name", ["people", "tombstones"])
def test_a_lost_key_of_a_begun_store_is_not_made_anew(tmp_path, name):
    home_at(tmp_path).store.refer(["anna"])
    key = tmp_path / "secrets" / f"{name}.key"
    key.unlink()
    for _ in range(2):
        with pytest.raises(NotTrusted) as refusal:
            _ = home_at(tmp_path).store
        assert str(refusal.value) == f"{key}: is lost. Restore it from the backup"


def test_a_lost_database_of_a_begun_store_is_not_begun_anew(tmp_path):
    home_at(tmp_path).store.refer(["anna"])
    for path in tmp_path.glob("ennakko.db*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(NotTrusted) as refusal:
            _ = home_at(tmp_path).store
        assert str(refusal.value) == (
            f"{tmp_path}/ennakko.db: holds no store, though its key is there ({tmp_path}/secrets/people.key): nobody "
            "listed would be found. Restore the database from the backup; only if nothing was listed yet, move "
            "people.key away"
        )


@pytest.mark.parametrize("last", ["nothing", "tables", "one name"])
def test_a_store_whose_beginner_was_killed_is_finished_by_the_next(tmp_path, last):
    from scoring.store import Store, StoreKeys

    home = home_at(tmp_path)
    drafts = {name: home.settings.secret(f"{name}-begun") for name in ("tombstones", "people")}
    if last != "nothing":
        Store(home.engine, StoreKeys(**drafts))
    if last == "one name":
        home.settings.secret_path("tombstones-begun").rename(home.settings.secret_path("tombstones"))
    home_at(tmp_path).store.refer(["anna"])
    assert {name: home.settings.secret(name, make=False) for name in drafts} == drafts
    assert home_at(tmp_path).store.refs(["anna"])


def test_the_erased_are_masked_wherever_objectors_are(tmp_path):
    home = home_at(tmp_path)
    home.objections.object("bo", "youth")
    assert home.objections.objecting(["anna", "bo"], "youth").tolist() == [False, True]
    home_at(tmp_path).store.erase("anna")
    assert home.objections.objecting(["anna", "bo"], "youth").tolist() == [True, True]
    assert home_at(tmp_path).objections.objecting(["anna", "bo"], "health").tolist() == [True, False]
