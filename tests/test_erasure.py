"""Erasure: nobody who was erased is named by any file or row of a home, and none comes back."""

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World
from store_cases import attempts, outcomes, small_scores

from ethics.refusals import BadInput, NotTrusted
from features.cache import FeatureCache
from features.matrix import build_matrix
from models.evidence_files import GatheredEvidence, read_evidence, write_evidence
from models.registry import approved_model, logged_digests, record_evidence
from serving import list_work
from serving.cli import main
from serving.erasure_work import erase_again, erase_person
from serving.feature_work import build_features
from serving.flows import score_need
from serving.gate_question import refuse_other_evidence
from serving.home import Home
from serving.list_work import list_need, why_not_listed
from serving.objection_work import record_objection
from serving.past_lists import change_list, rebuild_list, show_list
from serving.settings import Settings

ROOT = Path(__file__).parent.parent
LIST = '\n[list]\ncolumns = ["rank_band", "reasons", "contact", "attempts"]\nsample = 3\n'
GUARDIAN = "000899"
DUTY = '[list.keep]\ndays = 3650\nlaw = { fi = "laki sanoo", sv = "lagen säger", en = "the law says" }\n'
ASKED = {"by": "data protection officer", "reason": "asked for it"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, units=True, need_text=MODEL_NEED + LIST)
    ids = world.city.persons["person_id"].to_list()
    world.groups._frame.write_parquet(folder / "city" / "groups.parquet")
    names = ("person_id", "name", "channel", "phone", "language", "interpreter", "guardian", "secrecy_order")
    book = [(one, f"Person {one}", "phone", f"+358 {one}", "fi", False, None, False) for one in ids]
    pl.DataFrame(book, schema=names, orient="row").write_parquet(folder / "city" / "contacts.parquet")
    (folder / "youth.toml").write_text(world.need_text)
    world.approve()
    world.home.store.refer(ids)
    return world


@pytest.fixture(scope="module")
def used(world):
    """A home in which everything that can hold a person holds one: ``listed`` and ``other`` on the list of a unit."""
    home, city, need = world.home, world.folder / "city", world.folder / "youth.toml"
    made = list_need(home, city, need, AS_OF)
    rows = home.store.rows(made["list_id"]).filter(pl.col("kind") == "ranked", pl.col("unit_id") == "north")
    listed, other = rows["person_id"][:2]
    (home.root / "rebuilt").mkdir()
    rebuild_list(home, made["list_id"], home.root / "rebuilt" / "list.jsonl", by="archivist", purpose="an audit")
    home.store.add_scores(small_scores(world.city.persons["person_id"].to_list()))
    home.store.add_work(
        attempts((made["list_id"], listed, str(AS_OF), "phone", "w", "not_reached")),
        outcomes((made["list_id"], listed, str(AS_OF), "not_reached")),
        f"{listed}.csv",
    )
    change_list(home, made["list_id"], "north", other, "assigned", "head", worker="w")
    home.store.view(made["list_id"], "north", "head", f"to call {listed}")
    score_need(home, city, need, AS_OF)
    build_features(home, city, need, AS_OF)
    run = approved_model(home.registry, "youth").run_id
    frame = pl.DataFrame({"person_id": world.city.persons["person_id"], "as_of_date": AS_OF})
    frame = frame.with_columns(x=1.0, label=pl.lit(None, pl.Float64))
    digest = write_evidence(home.runs / run, GatheredEvidence({"capacity_k": 20}, frame, frame))
    record_evidence(home.registry, run, digest)
    places = home.root / "places" / "places-2024-06-03-0123456789ab"
    places.mkdir(parents=True)
    pl.DataFrame({"person_id": [listed, other]}).write_parquet(places / "proposals.parquet")
    (places / "places.en.html").write_text(f"<td>{listed}</td>")
    (home.root / "notes").mkdir()
    (home.root / "notes" / "2024-06-03.json").write_text(json.dumps({"elsewhere": [listed]}))
    (home.root / "notes" / "sentence.txt").write_text(f"We spoke about {listed}.")
    (home.root / "notes" / "aggregates.json").write_text(json.dumps({"n": 12, "listed": "twelve"}))
    (home.scores / "youth" / f".killed.{run}").write_bytes(f"half of {listed}".encode())
    (home.root / "town").mkdir()
    world.city.persons.select("person_id").write_parquet(home.root / "town" / "persons.parquet")
    return made["list_id"], run, listed, other


@pytest.fixture
def home(world, used, tmp_path):
    """A copy of that home for each test; the files of lists are known by where they now lie."""
    shutil.copytree(world.home.root, tmp_path / "home")
    home = Home(Settings(home=tmp_path / "home"))
    with home.engine.begin() as connection:
        moved = "update store_exports set file = replace(file, ?, ?)"
        connection.exec_driver_sql(moved, (str(world.home.root), str(home.root)))
    return home


def texts_of(path):
    """What a file says, packed or not."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield str(pl.read_parquet(path).to_dict(as_series=False)).encode()
    elif is_zipfile(path):
        with ZipFile(path) as parts:
            yield from (parts.read(name) for name in parts.namelist())


def naming(home, person):
    """Files of a home that name somebody anywhere; a city that lies in it is not the home's."""
    as_word = re.compile(rb"(?<![0-9A-Za-z.])" + person.encode() + rb"(?![0-9A-Za-z])")
    files = (path for path in sorted(home.root.rglob("*")) if path.is_file() and path.parent.name != "town")
    return [str(path.relative_to(home.root)) for path in files if any(as_word.search(text) for text in texts_of(path))]


def command(*words):
    out, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(wrong):
        code = main([*map(str, words)])
    return code, out.getvalue(), wrong.getvalue()


def test_after_erasure_nothing_names_the_person_and_everything_still_verifies(world, used, home, tmp_path):
    list_id, run, listed, other = used
    before = naming(home, listed)
    folder = f"lists/youth/{list_id}"
    for kind in ("csv", "html", "xlsx", "rows.json", "rows.parquet"):
        assert f"{folder}/north.{kind}" in before
    assert {"rebuilt/list.jsonl", f"runs/{run}/rows.parquet", "notes/2024-06-03.json", "notes/sentence.txt"} <= set(
        before
    )
    assert any(path.startswith("matrices/") for path in before) and len(before) >= 14
    east = {path.name: path.read_bytes() for path in (home.root / folder).glob("east.*")}
    scores = next(home.scores.glob("youth/*.parquet"))
    audited = command("audit", "verify", "--home", home.root)[2]
    n_scored, made_at = pl.read_parquet(scores).height, scores.stat().st_mtime_ns

    code, told, _ = command("erase", listed, "--by", "dpo", "--reason", "asked", "--json", "--home", home.root)
    result = json.loads(told)
    assert code == 0 and result["known"] and result["wiped"] and result["cache_blocks"] == 1
    assert naming(home, listed) == [], "packed files are opened"
    assert {Path(one["file"]).name for one in result["recall"]} >= {"north.xlsx", "north.csv", "list.jsonl"}
    assert not any(Path(one["file"]).name.startswith("east.") for one in result["recall"])
    assert east == {path.name: path.read_bytes() for path in (home.root / folder).glob("east.*")}
    assert (pl.read_parquet(scores).height, scores.stat().st_mtime_ns) == (n_scored - 1, made_at)
    assert (home.root / "notes" / "aggregates.json").exists() and (home.root / "town" / "persons.parquet").exists()
    assert naming(home, other), "nobody else goes"

    assert result["runs"] == [run]
    refuse_other_evidence(home.runs / run, logged_digests(home.registry, run))
    gathered = read_evidence(home.runs / run)
    assert gathered.rows.height == gathered.features.height == 899 and gathered.facts == {"capacity_k": 20}
    words = ("lists", "rebuild", "--list", list_id, "--by", "archivist", "--purpose", "an audit")
    code, told, _ = command(*words, "--out", tmp_path / "again", "--home", home.root)
    assert code == 0 and told.startswith("REDACTED 1\n") and listed.encode() not in (tmp_path / "again").read_bytes()
    proof = home.store.proof(list_id)
    assert (proof.redacted, proof.faults) == (1, ())
    assert home.audit_log.verify() == []
    (logged,) = home.audit_log.facts_of("erase")
    assert logged["tombstone"] == result["tombstone"] and listed not in json.dumps(home.audit_log.rows())
    assert command("audit", "verify", "--home", home.root)[2] == audited, "and the records hold as they did"
    shown = {row["file"]: row["recalled"] for row in _shown(home, list_id)}
    assert {Path(file).name for file, recalled in shown.items() if recalled} >= {"north.csv", "list.jsonl"}


def _shown(home, list_id):
    from serving.past_lists import show_list

    return show_list(home, list_id)["files"]


def test_the_erased_are_masked_in_every_later_extract(world, used, home, tmp_path):
    _, _, listed, other = used
    city, need = world.folder / "city", world.folder / "youth.toml"
    erase_person(home, listed, **ASKED)
    made = list_need(home, city, need, AS_OF)
    assert made["excluded"]["erased"] == 1
    assert listed not in home.store.rows(made["list_id"])["person_id"].to_list()
    assert listed not in pl.read_parquet(score_need(home, city, need, AS_OF)["path"])["person_id"].to_list()
    built = build_features(home, city, need, AS_OF)
    assert listed not in pl.read_parquet(built["path"])["person_id"].to_list()
    cached = []

    class Watched(FeatureCache):
        def columns(self, city, features, rows, compute):
            cached.extend(rows.keys["person_id"])
            return super().columns(city, features, rows, compute)

    keys = pl.DataFrame({"person_id": [listed, other], "as_of_date": AS_OF})
    asked = {"objections": home.objections, "need_id": "youth", "cache": Watched(tmp_path, secret=b"sixteen bytes ok")}
    assert build_matrix(world.city, world.need.features, keys, **asked).keys["person_id"].to_list() == [other]
    home.objections.object(other, "youth")
    keys = pl.DataFrame({"person_id": [listed, other, GUARDIAN], "as_of_date": AS_OF})
    assert build_matrix(world.city, world.need.features, keys, **asked).keys["person_id"].to_list() == [GUARDIAN]
    assert set(cached) == {other, GUARDIAN}, "of an objector columns are kept, of the erased none"
    assert why_not_listed(home, city, need, AS_OF, listed)["reason"] == "erased"
    with pytest.raises(BadInput, match="erased"):
        change_list(home, made["list_id"], "north", listed, "added", "head", reason="x")
    assert naming(home, listed) == []


def test_erasing_twice_or_somebody_unknown_does_no_harm(used, home):
    _, _, listed, _ = used
    first = erase_person(home, listed, **ASKED)
    again = erase_person(home, listed, **ASKED)
    assert again["recall"] == first["recall"] and not again["known"] and again["removed"] == []
    nobody = erase_person(home, "999999", **ASKED)
    assert not nobody["known"] and nobody["recall"] == [] and home.store.is_erased(["999999"]).all()


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["000001", "--reason", "asked"], "--by: is missing"),
        (["000001", "--by", "dpo", "--reason", " "], "--reason: is missing"),
        (["000001", "--by", "dpo", "--reason", "000001 asked"], "--reason: names the person"),
        (["--by", "dpo", "--reason", "asked"], "person: is missing"),
        (["000001", "--restored", "--by", "dpo", "--reason", "asked"], "person: is given with --restored or --overdue"),
        (["000001", "--by", "dpo", "--reason", "x" * 501], "--reason: has 501 characters"),
    ],
)
def test_what_is_not_said_is_refused_and_nothing_is_erased(used, home, words, wrong):
    code, _, told = command("erase", *words, "--home", home.root)
    assert code == 2 and wrong in told and home.store.summary()["tombstones"] == 0
    assert not (home.root / "erasures").exists()


def test_tables_that_cannot_be_read_are_told_and_the_rest_is_swept(used, home):
    list_id, run, listed, _ = used
    cut = (home.root / "runs" / run / "rows.parquet").read_bytes()[:-50]
    damaged = {
        "scores/youth/2020-01-01.parquet": b"PAR1 cut short",
        f"lists/youth/{list_id}/west.rows.parquet": cut,
        "matrices/cut.parquet": b"PAR1",
        "places/places-2020-01-01/proposals.parquet": b"",
    }
    naming_somebody = "scores/youth/2020-01-02.parquet"
    (home.runs / run / "rows.parquet").write_bytes(cut)
    for file, content in {**damaged, naming_somebody: f"PAR1 {listed}".encode()}.items():
        (home.root / file).parent.mkdir(parents=True, exist_ok=True)
        (home.root / file).write_bytes(content)
    code, said, _ = command("erase", listed, "--by", "dpo", "--reason", "asked", "--home", home.root, "--json")
    told = json.loads(said)
    assert code == 10 and naming_somebody in told["removed"]
    assert sorted(told["unreadable"]) == sorted([*damaged, f"runs/{run}"])
    assert told["recall"] and home.audit_log.facts_of("erase")[-1]["unreadable"] == len(told["unreadable"])
    for file in damaged:
        (home.root / file).unlink()
    shutil.rmtree(home.runs / run)
    assert naming(home, listed) == []
    assert erase_person(home, listed, **ASKED)["unreadable"] == []


def test_an_older_database_and_older_files_forget_again(world, used, home, tmp_path):
    _, run, listed, other = used
    home.audit_log.append("backup", "tests")
    backup = tmp_path / "backup"
    shutil.copytree(home.root, backup)
    erase_person(home, listed, **ASKED)
    for path in home.root.glob("ennakko.db*"):
        path.unlink()
    for path in backup.glob("ennakko.db*"):
        shutil.copy(path, home.root)
    restored = Home(Settings(home=home.root))
    assert restored.store.is_erased([listed, other]).tolist() == [True, False] and restored.store.lists_of(listed) == []
    made = list_need(restored, world.folder / "city", world.folder / "youth.toml", AS_OF)
    assert made["excluded"]["erased"] == 1 and naming(restored, listed) == []
    for name in ("scores", "runs", "lists", "feature_cache"):
        shutil.rmtree(home.root / name)
        shutil.copytree(backup / name, home.root / name)
    assert naming(restored, listed) != []
    code, told, _ = command("erase", "--restored", "--by", "dpo", "--reason", "restored", "--home", home.root)
    assert code == 0 and told.startswith("1 tombstone: ") and f"evidence of run {run}" in told
    assert naming(restored, listed) == [] and naming(restored, other) != []
    refuse_other_evidence(home.root / "runs" / run, logged_digests(restored.registry, run))


def test_evidence_that_was_altered_is_rewritten_and_stays_untrusted(used, home):
    _, run, listed, _ = used
    rows = home.runs / run / "rows.parquet"
    pl.read_parquet(rows).with_columns(x=2.0).write_parquet(rows)
    erase_person(home, listed, **ASKED)
    assert naming(home, listed) == []
    with pytest.raises(NotTrusted):
        refuse_other_evidence(home.runs / run, logged_digests(home.registry, run))


def test_a_statutory_duty_to_keep_answers_with_its_reason(world, used, tmp_path):
    text = MODEL_NEED + LIST + DUTY
    kept = World(tmp_path, need_text=text, shared_city=world.city, units=True)
    listed = kept.list()
    kept.home.store.publish(listed)
    person = listed.parts[0].rows[0].person_id
    before = kept.home.store.summary()
    code, _, told = command(
        "erase", person, "--by", "dpo", "--reason", "asked", "--lang", "sv", "--home", kept.home.root
    )
    until = AS_OF + timedelta(days=3650)
    assert code == 2 and f"must be kept until {until}: lagen säger" in told and person not in told
    assert kept.home.store.summary() == before and not kept.home.store.is_erased([person]).any()
    erase_person(kept.home, person, **ASKED, today=until)
    assert kept.home.store.is_erased([person]).all()


def test_what_the_law_says_must_be_kept_is_not_overdue_in_files_either(world, tmp_path):
    kept = World(tmp_path, need_text=MODEL_NEED + LIST + DUTY, shared_city=world.city, units=True)
    listed = kept.list()
    kept.home.store.publish(listed)
    files = [kept.home.lists / "youth" / name / "north.csv" for name in (listed.list_id, "youth-1999-01-01-nobody")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a")
        os.utime(file, (0, 0))
    code, _, _ = command("erase", "--overdue", "--by", "dpo", "--home", kept.home.root)
    assert code == 0 and [file.exists() for file in files] == [True, False]
    assert kept.home.audit_log.facts_of("erase overdue") == [{"files": 1}]


def test_whoever_is_somebodys_guardian_goes_from_the_childs_files(world, used, home, tmp_path):
    list_id, _, _, other = used
    city = tmp_path / "city"
    city.mkdir()
    is_child = pl.col("person_id") == other
    book = pl.read_parquet(world.folder / "city" / "contacts.parquet")
    book.with_columns(guardian=pl.when(is_child).then(pl.lit(GUARDIAN))).write_parquet(city / "contacts.parquet")
    result = erase_person(home, GUARDIAN, **ASKED, city=city)
    assert {Path(one["file"]).name for one in result["recall"]} >= {"north.html", "north.xlsx"}
    assert not list((home.lists / "youth" / list_id).glob("north.*"))
    assert list((home.lists / "youth" / list_id).glob("east.*"))


def test_files_that_show_a_guardian_under_a_secrecy_order_are_recalled_too(world, used, home, tmp_path):
    list_id, _, _, other = used
    city = tmp_path / "city"
    city.mkdir()
    tied = pl.when(pl.col("person_id") == other).then(pl.lit(GUARDIAN))
    book = pl.read_parquet(world.folder / "city" / "contacts.parquet")
    secret = (pl.col("person_id") == GUARDIAN).alias("secrecy_order")
    book.with_columns(secret, guardian=tied).write_parquet(city / "contacts.parquet")
    result = erase_person(home, GUARDIAN, **ASKED, city=city)
    assert {Path(one["file"]).name for one in result["recall"]} >= {"north.html", "north.xlsx"}
    assert not list((home.lists / "youth" / list_id).glob("north.*"))


def test_what_a_guardian_refuses_counts_for_the_child_on_past_lists(world, used, home, tmp_path):
    list_id, _, _, other = used
    city = tmp_path / "city"
    city.mkdir()
    said = ("object", GUARDIAN, "--channel", "phone", "--home", home.root)
    code, _, wrong = command(*said, "--city", city)
    assert code == 2 and "has no contact book" in wrong and home.objections.standing(GUARDIAN) == ()
    tied = pl.when(pl.col("person_id") == other).then(pl.lit(GUARDIAN))
    book = pl.read_parquet(world.folder / "city" / "contacts.parquet")
    book.with_columns(guardian=tied).write_parquet(city / "contacts.parquet")
    code, told, _ = command(*said, "--city", city, "--json")
    recalled = json.loads(told)["recalled"]
    assert code == 0 and {Path(file["file"]).name for file in recalled} >= {"north.html", "north.xlsx"}
    assert not any(Path(file["file"]).name.startswith("east.") for file in recalled)

    def not_by(of_city):
        shown = show_list(home, list_id, "north", by="head", purpose="work", city=of_city)
        return next(row["not_by"] for row in shown["rows"] if row["person_id"] == other)

    assert (not_by(city), not_by(None)) == (["phone"], [])
    home.objections.object(GUARDIAN)
    assert not_by(city) == ["digital", "phone", "letter", "visit"]


def test_a_guardian_who_objects_while_a_list_is_made_is_recalled_from_it(world, home, tmp_path, monkeypatch):
    city = shutil.copytree(world.folder / "city", tmp_path / "city")
    book = pl.read_parquet(city / "contacts.parquet")
    tied = pl.when(pl.col("person_id") != GUARDIAN).then(pl.lit(GUARDIAN))
    book.with_columns(guardian=tied).write_parquet(city / "contacts.parquet")
    publish = list_work.publish

    def objected_meanwhile(*asked):
        files = publish(*asked)
        home.objections.object(GUARDIAN, channel="phone")
        return files

    monkeypatch.setattr(list_work, "publish", objected_meanwhile)
    made = list_need(home, city, world.folder / "youth.toml", AS_OF)
    assert made["objected_meanwhile"] == home.store.rows(made["list_id"]).height > 0
    assert home.store.exports(list_id=made["list_id"])["recalled_at"].null_count() == 0
    monkeypatch.setattr(list_work, "publish", publish)
    assert list_need(home, city, world.folder / "youth.toml", AS_OF)["objected_meanwhile"] == 0, "its files say so"


@pytest.mark.parametrize("act", ["erased", "objects"])
def test_a_guardian_who_is_gone_is_on_no_later_list(world, home, tmp_path, act):
    city = shutil.copytree(world.folder / "city", tmp_path / "city")
    book = pl.read_parquet(city / "contacts.parquet")
    tied = pl.when(pl.col("person_id") != GUARDIAN).then(pl.lit(GUARDIAN))
    book.with_columns(guardian=tied).write_parquet(city / "contacts.parquet")
    if act == "erased":
        erase_person(home, GUARDIAN, **ASKED, city=city)
    else:
        record_objection(home, GUARDIAN)
    made = list_need(home, city, world.folder / "youth.toml", AS_OF + timedelta(days=14))
    assert made["listed"]
    for path in map(Path, made["files"]):
        if path.suffix in (".csv", ".html", ".json"):
            text = path.read_text()
            assert f"Person {GUARDIAN}" not in text and f"+358 {GUARDIAN}" not in text, path.name


def test_erasing_waits_for_other_commands_and_keeps_them_waiting(home, monkeypatch, capsys):
    def would_wait(kind):
        folder = os.open(home.root, os.O_RDONLY)
        try:
            fcntl.flock(folder, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(folder)
        return False

    seen = []
    erase = home.store.erase
    monkeypatch.setattr(home.store, "erase", lambda person: seen.append(would_wait(fcntl.LOCK_SH)) or erase(person))
    erase_person(home, "000001", **ASKED)
    monkeypatch.setattr(
        "serving.commands.function_of",
        lambda _: lambda _: seen.extend([would_wait(fcntl.LOCK_SH), would_wait(fcntl.LOCK_EX)]) or 0,
    )
    assert main(["lists", "show", "--list", "x", "--home", str(home.root)]) == 0
    assert seen == [True, False, True]


KILLED = """
import os, random, signal, sys
from pathlib import Path
import mlflow
from sqlalchemy import event
from sqlalchemy.engine import Engine
from models import evidence_files, registry, tracking
from scoring import store
from serving import erasure_files, erasure_work, feature_work, list_work
from serving.home import Home
from serving.settings import Settings

person, *folders = sys.argv[1:]
FILES = ("open", "os.rename", "os.remove", "os.utime", "shutil.rmtree")

def erased(root, moment, tell):
    seen = 0

    def step(*_):
        nonlocal seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    home = Home(Settings(home=Path(root)))
    home.store, home.audit_log, home.registry
    sys.addaudithook(lambda name, args: step() if name in FILES and str(args[0]).startswith(root) else None)
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, step)
    erasure_work.erase_person(home, person, by="dpo", reason="asked")
    os.write(tell, str(seen).encode())

def in_a_child(root, moment):
    read, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            erased(root, moment, tell)
        finally:
            os._exit(1)  # and 0 means: it told how many moments there were
    os.close(tell)
    said = os.read(read, 20).decode()
    return said, os.waitpid(child, 0)[1]

n, _ = in_a_child(folders[0], 0)
for root, moment in zip(folders[1:], random.Random(4).sample(range(1, int(n) + 1), len(folders) - 1)):
    said, status = in_a_child(root, moment)
    print(moment, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not said)
"""


@pytest.mark.full
def test_an_erasure_killed_anywhere_is_repeated_to_the_same_end(used, home, tmp_path):
    list_id, run, listed, _ = used
    copies = [tmp_path / f"copy-{n}" for n in range(4)]
    for folder in copies:
        shutil.copytree(home.root, folder)
    path = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", KILLED, listed, *map(str, copies)]
    done = subprocess.run(words, cwd=ROOT, env=path, capture_output=True, text=True)
    killed = [line.split()[1] for line in done.stdout.splitlines()]
    assert done.returncode == 0 and killed == ["True"] * 3, done.stdout + done.stderr
    for folder in copies[1:]:
        again = Home(Settings(home=folder))
        result = erase_person(again, listed, **ASKED)
        assert {Path(one["file"]).name for one in result["recall"]} >= {"north.xlsx", "list.jsonl"}
        assert naming(again, listed) == []
        assert again.store.proof(list_id).redacted == 1 and again.store.proof(list_id).faults == ()
        refuse_other_evidence(folder / "runs" / run, logged_digests(again.registry, run))
        assert again.audit_log.verify() == [] and again.audit_log.facts_of("erase")
    assert erase_again(again, **ASKED)["removed"] == []
