"""Lists as commands make them: whole or not at all, kept in the store, shown, rebuilt, and changed by hand."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World
from store_cases import outcomes

from ethics.digests import sha256
from ethics.refusals import BadInput, NotTrusted
from serving import cli
from serving.home import Home
from serving.list_work import _DRAFT, list_need, scored, wanted_elsewhere, why_not_listed
from serving.objection_work import record_objection
from serving.past_lists import change_list, rebuild_list, show_list
from serving.settings import Settings

ROOT = Path(__file__).parent.parent
ASKED = {"by": "archivist", "purpose": "an audit"}
LIST = '\n[list]\ncolumns = ["rank_band", "reasons"]\ncooldown_days = 90\nsample = 3\n'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, units=True, need_text=MODEL_NEED + LIST)
    world.city  # noqa: B018 written by being opened
    world.groups._frame.write_parquet(folder / "city" / "groups.parquet")
    (folder / "youth.toml").write_text(world.need_text)
    world.approve()
    # What is drawn at random once, and then kept: every copy of the home shares it.
    world.home.store.refer(world.city.persons["person_id"].to_list())
    world.scorer  # noqa: B018 its secret
    return world


@pytest.fixture
def home(world, tmp_path):
    """A home of its own for each test, with everything that was approved."""
    shutil.copytree(world.home.root, tmp_path / "home")
    return Home(Settings(home=tmp_path / "home"))


def make(world, home, day=AS_OF, **more):
    return list_need(home, world.folder / "city", world.folder / "youth.toml", day, **more)


def is_whole(home):
    """Every list of the store has its files as they were recorded, and there is no other file of any list."""
    lists = home.store.lists()
    folders = sorted(path.name for path in (home.lists / "youth").iterdir() if not path.name.startswith("."))
    assert folders == sorted(lists["list_id"])
    for list_id in lists["list_id"]:
        exports = home.store.exports(list_id=list_id)
        here = home.lists / "youth" / list_id
        assert {(Path(file).name, digest) for file, digest in exports.select("file", "sha256").iter_rows()} == {
            (path.name, sha256(path.read_bytes())) for path in here.iterdir()
        }
        assert home.store.proof(list_id).faults == ()
    return lists


def test_a_list_is_kept_with_its_files_and_the_next_one_lists_others(world, home):
    first = make(world, home)
    lists = is_whole(home)
    assert lists.select("list_id", "digest").rows() == [(first["list_id"], first["list_digest"])]
    assert first["listed"] == 20 and first["kinds"] == {"ranked": 20, "sample": 3} and first["capacity_value"] is None
    exports = home.store.exports(list_id=first["list_id"])
    assert set(exports["unit_id"]) == {"north", "east", None}
    assert {Path(file).name for file in exports["file"]} == {Path(file).name for file in first["files"]}
    again = make(world, home)
    assert again["list_digest"] == first["list_digest"] and again["list_id"] > first["list_id"]
    rows = home.store.rows(first["list_id"]).filter(pl.col("kind") == "ranked")
    someone = rows["person_id"][0]
    home.store.add_outcomes(outcomes((first["list_id"], someone, str(AS_OF), "not_reached")), "a.xlsx")
    later = make(world, home, AS_OF + timedelta(days=7))
    next_rows = home.store.rows(later["list_id"]).filter(pl.col("kind") != "sample")
    assert set(next_rows["person_id"]) & set(rows["person_id"]) == {someone}
    assert next_rows.filter(pl.col("kind") == "carried")["person_id"].to_list() == [someone]
    assert later["excluded"]["listed recently"] == 19
    is_whole(home)


KILLED = """
import os, signal, sys
from datetime import date
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from serving import list_work
from serving.home import Home
from serving.settings import Settings

home, city, need, day, moment = sys.argv[1:]
armed, seen = False, 0

def step(*_):
    global seen
    if armed:
        seen += 1
        if seen == int(moment):
            os.kill(os.getpid(), signal.SIGKILL)

FILES = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.listdir")

def touched(name, args):
    # Of this home alone: what an import or a cache opens differs from one run to the next.
    if armed and name in FILES and str(args[0]).startswith(home):
        step()

sys.addaudithook(touched)
for name in ("before_cursor_execute", "after_cursor_execute"):
    event.listen(Engine, name, step)
event.listen(Engine, "commit", step)
publish = list_work.publish

def watched(*asked):
    global armed
    armed = True
    try:
        return publish(*asked)
    finally:
        armed = False

list_work.publish = watched
made = list_work.list_need(Home(Settings(home=Path(home))), Path(city), Path(need), date.fromisoformat(day))
print(made["list_digest"], seen)
"""


def run_killed(world, folder, moment):
    words = [str(folder), str(world.folder / "city"), str(world.folder / "youth.toml"), str(AS_OF), str(moment)]
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, env=path, capture_output=True, text=True)


@pytest.mark.full
def test_a_killed_run_leaves_no_list_or_a_whole_one_and_the_next_gives_the_same(world, tmp_path):
    def copied(name):
        shutil.copytree(world.home.root, tmp_path / name)
        return tmp_path / name

    done = run_killed(world, copied("whole"), 0)
    assert done.returncode == 0, done.stderr
    digest, n = done.stdout.split()
    moments = sorted(random.Random(6).sample(range(1, int(n) + 1), 3))
    for moment in moments:
        folder = copied(f"killed-{moment}")
        killed = run_killed(world, folder, moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        home = Home(Settings(home=folder))
        before = set(home.store.lists()["list_id"])
        named = {p.name for p in (home.lists / "youth").glob("[!.]*")}
        assert named <= before and len(before) <= 1, "no file has a list's name before the list is published"
        again = make(world, home)
        lists = is_whole(home)
        assert again["list_digest"] == digest and set(lists["digest"]) == {digest}
        assert again["list_id"] not in before and set(lists["list_id"]) == before | {again["list_id"]}
        assert not list((home.lists / "youth").glob(f"{_DRAFT}*"))
        assert sorted(act["list"] for act in home.audit_log.facts_of("list")) == sorted(lists["list_id"])


def test_a_list_that_cannot_be_published_leaves_no_file(world, home, monkeypatch):
    monkeypatch.setattr("scoring.store.Store.publish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(world, home)
    assert not list((home.lists / "youth").iterdir()) and home.store.lists().is_empty()


def test_a_past_list_is_shown_rebuilt_and_redacted(world, home, tmp_path):
    made = make(world, home)
    list_id = made["list_id"]
    shown = show_list(home, list_id)
    assert "rows" not in shown and shown["proof"] == {"rows": 23, "redacted": 0, "whole": True} and shown["views"] == []
    assert (shown["model_digest"], shown["list_digest"]) == (made["model_digest"], made["list_digest"])
    with pytest.raises(BadInput, match="purpose: is missing"):
        show_list(home, list_id, "north", by="unit head")
    with pytest.raises(BadInput, match="'norht' is not on this list"):
        show_list(home, list_id, "norht", by="unit head", purpose="the week's work")
    shown = show_list(home, list_id, "north", by="unit head", purpose="the week's work")
    assert shown["rows"][0]["kind"] == "ranked" and shown["views"][0]["actor"] == "unit head"
    one, two = (rebuild_list(home, list_id, tmp_path / name, **ASKED) for name in ("one", "two"))
    assert home.store.views(list_id)["actor"].to_list() == ["unit head", "archivist", "archivist"]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() and one["sha256"] == two["sha256"]
    assert one["list_digest"] == made["list_digest"] and one["redacted"] == 0
    gone = shown["rows"][0]["person_id"]
    assert str(tmp_path / "one") in home.store.exports(person_id=gone)["file"].to_list()
    assert gone.encode() in (tmp_path / "one").read_bytes()
    home.store.erase(gone)
    redacted = rebuild_list(home, list_id, tmp_path / "three", **ASKED)
    assert redacted["redacted"] == 1 and gone.encode() not in (tmp_path / "three").read_bytes()
    assert show_list(home, list_id)["proof"] == {"rows": 23, "redacted": 1, "whole": True}
    with home.engine.begin() as connection:
        connection.exec_driver_sql("update store_list_rows set payload = '{}' where position = 2")
    with pytest.raises(NotTrusted, match="row 2: was changed"):
        rebuild_list(home, list_id, **ASKED)


def test_a_list_rebuilt_after_an_objection_is_recalled_as_it_is_written(world, home, tmp_path, capsys):
    list_id = make(world, home)["list_id"]
    one, other = home.store.rows(list_id)["person_id"][:2]
    assert rebuild_list(home, list_id, tmp_path / "before", **ASKED)["objected_since"] == 0
    record_objection(home, one)
    for wrong in ({"by": "", "purpose": "x"}, {"by": "archivist", "purpose": f"to find {other}"}):
        with pytest.raises(BadInput, match=r"is missing|names a person"):
            rebuild_list(home, list_id, tmp_path / "refused", **wrong)
    assert not (tmp_path / "refused").exists()
    words = ["lists", "rebuild", "--list", list_id, "--home", str(home.root), "--out", str(tmp_path / "after")]
    assert cli.main([*words, "--by", "archivist", "--purpose", "an audit"]) == 0
    assert "1 of them objected since: this file is RECALLED" in capsys.readouterr().out
    recalled = {Path(file["file"]).name: file["recalled"] for file in show_list(home, list_id)["files"]}
    assert recalled["before"] and recalled["after"]
    assert cli.main(words) == 2


def test_changes_by_hand_are_recorded_and_no_objector_is_added(world, home):
    made = make(world, home)
    list_id, rows = made["list_id"], home.store.rows(made["list_id"])
    everybody = world.city.persons["person_id"].to_list()
    free = [person for person in everybody if person not in set(rows["person_id"])][:2]
    change_list(home, list_id, "north", free[0], "added", "unit head", reason="asked for help")
    home.objections.object(free[1], "youth")
    with pytest.raises(BadInput, match="person: has objected to this need, or was erased"):
        change_list(home, list_id, "north", free[1], "added", "unit head", reason="x")
    change_list(home, list_id, "north", free[0], "assigned", "unit head", worker="worker 2")
    shown = show_list(home, list_id, "north", by="unit head", purpose="work")
    assert (shown["rows"][-1]["person_id"], shown["rows"][-1]["worker"]) == (free[0], "worker 2")
    assert shown["changes"] == {"added": 1, "assigned": 1}
    log = json.dumps(home.audit_log.facts_of("list-change"))
    assert free[0] not in log and "asked for help" not in log


def test_an_objection_is_honoured_by_the_next_list_in_another_process(world, home):
    made = make(world, home)
    someone = home.store.rows(made["list_id"])["person_id"][0]
    home.objections.object(someone)
    done = run_killed(world, home.root, 0)
    assert done.returncode == 0, done.stderr
    newest = Home(Settings(home=home.root)).store.lists()["list_id"][-1]
    assert someone not in set(home.store.rows(newest)["person_id"])


def why(world, home, person):
    return why_not_listed(home, world.folder / "city", world.folder / "youth.toml", AS_OF, person)


def test_why_somebody_is_not_listed_has_an_answer(world, home):
    ids = world.score().frame["person_id"].to_list()
    home.objections.object(ids[0], "youth")
    home.store.refer(ids[:3])
    home.store.erase(ids[1])
    told = [why(world, home, person) for person in (ids[0], ids[1], ids[2], ids[-1], "stranger")]
    assert [(one["what"], one["reason"]) for one in told] == [
        ("excluded", "objected"),
        ("excluded", "erased"),
        ("listed", None),
        (told[3]["what"], told[3]["reason"]),
        ("not known to the city", None),
    ]
    assert told[3]["what"] == "below the line" and told[3]["rank_band"] == "rest" and told[3]["place"] > told[3]["k"]


def test_two_needs_of_one_period_contact_nobody_twice(world, home):
    champion, scorer, city, scores = scored(
        home, world.folder / "city", world.folder / "youth.toml", AS_OF, lambda *_: None
    )
    from copy import copy
    from types import SimpleNamespace

    other = copy(scorer)
    other.need = world.need.model_copy(update={"list": world.need.list})
    other.need._id = "other"
    left = wanted_elsewhere(home, [(scorer, city, scores), (other, city, scores)], world.folder / "city")
    assert set(left) == {"youth", "other"} and not left["youth"] & left["other"]
    assert len(left["youth"] | left["other"]) >= 20
    assert isinstance(champion, SimpleNamespace) or champion.need.id == "youth"


def test_the_commands_say_it_in_words_and_as_json(world, home, capsys, tmp_path):
    asked = ["--city", str(world.folder / "city"), "--need", str(world.folder / "youth.toml"), "--as-of", str(AS_OF)]
    at_home = ["--home", str(home.root)]
    assert cli.main(["list", *asked, *at_home, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    person = home.store.rows(made["list_id"]).filter(pl.col("unit_id") == "north")["person_id"][0]
    one, who = ["--list", made["list_id"], *at_home], ["--by", "archivist", "--purpose", "an audit"]
    for words, said in (
        (["lists", "show", *one], "as it was published"),
        (["lists", "show", *one, "--unit", "north", "--by", "head", "--purpose", "work"], person),
        (["lists", "assign", person, *one, "--unit", "north", "--by", "head", "--worker", "w 1"], "assigned: list"),
        (["lists", "remove", person, *one, "--unit", "north", "--by", "head", "--reason", "moved"], "removed: list"),
        (["lists", "add", person, *one, "--unit", "north", "--by", "head", "--reason", "back"], "added: list"),
        (["lists", "rebuild", *one, *who, "--out", str(tmp_path / "rebuilt.jsonl")], "23 rows"),
        (["lists", "why", person, *asked, *at_home], "listed: place"),
    ):
        assert cli.main(words) == 0, words
        assert said in capsys.readouterr().out
    assert cli.main(["lists", "remove", person, *one, "--unit", "north", "--by", "head", "--reason", " "]) == 2
    told = capsys.readouterr().err
    assert "reason: is missing" in told and person not in told
