"""The commands of features, run as a person at a terminal runs them, on a small invented city and a home of its own."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, RULE_NEED, TRAIN, write_city

from ethics.refusals import BadInput
from features.city import open_city
from features.cohort import build_cohort
from features.matrix import build_matrix
from models.need import load_need
from serving import cli, feature_words, feature_work
from serving.home import Home
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COUNT = "absence.count.90d"


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return write_city(tmp_path_factory.mktemp("world") / "city", n=200)


@pytest.fixture
def need(tmp_path):
    path = tmp_path / "youth.toml"
    path.write_text(MODEL_NEED)
    return path


@pytest.fixture
def home(tmp_path):
    return Home(Settings(home=tmp_path / "home"))


@pytest.fixture
def ask(city, need, home, capsys):
    """Run one command of features; its exit code, and its JSON object (or with ``json=False`` its words)."""

    def asked(*words, as_json=True):
        words = ["features", *map(str, words), "--city", str(city), "--need", str(need), "--home", str(home.root)]
        code = cli.main([*words, "--json"] if as_json else words)
        told = capsys.readouterr()
        return code, json.loads(told.out) if as_json else told.out

    return asked


def eligible(city, need, day=AS_OF):
    return build_cohort(open_city(city), load_need(need).cohort, [day])["person_id"].to_list()


# ---- build and plan --------------------------------------------------------------------------------------------


def test_a_build_writes_the_matrix_and_a_second_one_computes_nothing(ask, city, need, home):
    world, opened = open_city(city), load_need(need)
    keys = build_cohort(world, opened.cohort)
    whole = build_matrix(world, opened.features, keys, objections=home.objections, need_id=opened.id)
    code, built = ask("build")
    assert code == 0
    assert (built["digest"], built["rows"], built["columns"]) == (whole.digest, keys.height, len(opened.columns))
    assert built["as_of_dates"] == [str(TRAIN), str(AS_OF)]
    assert built["columns_cached"] == 0 and built["columns_computed"] > 0
    frame = pl.read_parquet(built["path"])
    assert frame.columns == ["person_id", "as_of_date", *opened.columns]
    assert frame.select("person_id", "as_of_date").equals(whole.keys)
    assert frame[COUNT].to_list() == whole.X[:, whole.names.index(COUNT)].tolist()
    code, again = ask("build")
    assert (code, again["digest"], again["columns_computed"]) == (0, whole.digest, 0)
    assert again["columns_cached"] == built["columns_computed"]


def test_without_the_cache_the_digest_is_the_same(ask, tmp_path):
    _, cached = ask("build", "--as-of", AS_OF)
    code, streamed = ask("build", "--as-of", AS_OF, "--no-cache", "--threads", 2, "--out", tmp_path / "x.parquet")
    assert (code, streamed["digest"], streamed["path"]) == (0, cached["digest"], str(tmp_path / "x.parquet"))
    assert pl.read_parquet(streamed["path"]).equals(pl.read_parquet(cached["path"]))


def test_without_the_cache_no_cache_is_made(ask, home):
    assert ask("build", "--no-cache")[0] == 0
    assert not (home.root / "feature_cache").exists()


def test_dates_in_several_parts_make_the_same_file(ask, monkeypatch, tmp_path):
    _, together = ask("build")
    monkeypatch.setattr(feature_work, "_CELLS_AT_ONCE", 1)
    _, apart = ask("build", "--out", tmp_path / "apart.parquet")
    assert apart["digest"] == together["digest"]
    assert pl.read_parquet(apart["path"]).equals(pl.read_parquet(together["path"]))


def test_an_objector_is_in_no_matrix_and_costs_no_new_computing(ask, city, need, home):
    _, before = ask("build")
    who = eligible(city, need)[3]
    home.objections.object(who, "youth")
    code, after = ask("build")
    assert (code, after["columns_computed"]) == (0, 0)
    ids = pl.read_parquet(after["path"])["person_id"]
    assert who not in ids
    n_rows = sum(who in eligible(city, need, day) for day in (TRAIN, AS_OF))
    assert after["rows"] == before["rows"] - n_rows == ids.len()
    assert ask("build", "--no-cache")[1]["digest"] == after["digest"]


def test_the_plan_says_what_a_build_then_does(ask):
    code, plan = ask("plan")
    assert code == 0
    assert plan["totals"]["cells_cached"] == 0
    assert plan["totals"]["cells_to_compute"] == plan["totals"]["cells"] > 0
    assert {column["action"] for column in plan["columns"]} == {"compute"}
    ask("build", "--as-of", AS_OF)
    _, plan = ask("plan")
    by_day = {day: {c["action"] for c in plan["columns"] if c["as_of_date"] == day} for day in (str(TRAIN), str(AS_OF))}
    assert by_day == {str(TRAIN): {"compute"}, str(AS_OF): {"cached"}}
    _, words = ask("plan", as_json=False)
    assert "new as-of date" in words
    assert f"{plan['totals']['cells_to_compute']:,} of {plan['totals']['cells']:,} cells are to be computed" in words
    ask("build")
    assert ask("plan")[1]["totals"]["cells_to_compute"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "--as-of", "2024-07-01"], "is 2024-07-01, after the extract date 2024-06-30"),
        (["plan", "--as-of", "2024-07-01"], "is 2024-07-01, after the extract date 2024-06-30"),
        (["minimise", "--as-of", "2024-07-01"], "is 2024-07-01, after the extract date 2024-06-30"),
        (["build", "--out", "x.csv"], "'x.csv' does not end in .parquet"),
        (["build", "--out", "nowhere/x.parquet"], "nowhere: is not a folder"),
        (["build", "--out", "OLD"], "exists already"),
        (["build", "--threads", "0"], "must be 1 or more"),
        (["explain", "nobody", "2024-06-03", COUNT], "names nobody in the city"),
        (["explain", "000001", "2024-06-03", "absence.cout.90d"], "Did you mean 'absence.count.90d'?"),
        (["explain", "000001", "3.6.2024", COUNT], "'3.6.2024' is not a day"),
    ],
)
def test_wrong_words_are_refused_and_leave_nothing(ask, home, tmp_path, words, said):
    old = tmp_path / "old.parquet"
    old.write_bytes(b"kept")
    code, told = ask(*(str(old) if word == "OLD" else word for word in words))
    assert code == 2
    assert said in " ".join(f"{e['where']}: {e['wrong']}. {e['mend']}" for e in told["errors"])
    assert old.read_bytes() == b"kept"
    assert not list((home.root / "matrices").rglob("*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_stopped_leaves_nothing_half_done(city, need, tmp_path, number):
    """The signal itself, sent to a process of its own once it says that it computes."""
    home = tmp_path / "interrupted"
    code = (
        "import sys, time, features.matrix as m; real = m.build_matrix\n"
        "def slow(*a, **k):\n    built = real(*a, **k); print('BUILT', flush=True); time.sleep(30); return built\n"
        "m.build_matrix = slow\n"
        "from serving import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["features", "build", "--city", str(city), "--need", str(need), "--home", str(home)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "BUILT\n"
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped; nothing half-written was kept." in err
    assert not [path for path in (home / "matrices").rglob("*") if path.is_file()]


@pytest.mark.parametrize("cache", [[], ["--no-cache"]])
def test_a_build_that_was_killed_leaves_nothing_after_the_next(ask, city, need, tmp_path, cache):
    """SIGKILL while the draft is filled; the next build begins it anew, and the draft is gone with it."""
    out = tmp_path / "out" / "m.parquet"
    out.parent.mkdir()
    code = (
        "import sys, time, features.blocks as b\n"
        "def slow(self):\n    print('WRITING', flush=True); time.sleep(60)\n"
        "b._RowGroup.write = slow\n"
        "from serving import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["--city", str(city), "--need", str(need), "--home", str(tmp_path / "other"), "--out", str(out), *cache]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "features", "build", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "WRITING\n"
    assert [path.name for path in out.parent.iterdir()] == [".m.parquet.draft"]
    status, told = ask("build", "--out", out, *cache)  # while the first is still writing
    assert (status, told["errors"][0]["wrong"]) == (2, "is being written by another process")
    process.kill()
    process.communicate(timeout=60)
    assert [path.name for path in out.parent.iterdir()] == [".m.parquet.draft"]
    status, again = ask("build", "--out", out, *cache)
    assert status == 0
    assert [path.name for path in out.parent.iterdir()] == ["m.parquet"]
    assert again["digest"] == ask("build")[1]["digest"]


def test_what_needs_no_city_is_refused_before_it_is_opened(need, home, tmp_path, capsys):
    words = ["--city", str(tmp_path / "nowhere"), "--need", str(need), "--home", str(home.root), "--json"]
    for asked, said in (
        (["build", "--out", str(tmp_path / "x.csv")], "'x.csv' does not end in .parquet"),
        (["explain", "000001", str(AS_OF), "absence.cout.90d"], "'absence.cout.90d' is no column of these features"),
    ):
        assert cli.main(["features", *asked, *words]) == 2
        told = capsys.readouterr()
        assert [error["wrong"] for error in json.loads(told.out)["errors"]] == [said]
        assert "opening the city" not in told.err


def test_a_city_in_a_database_gives_the_same_matrix(ask, city, need, home, tmp_path, capsys):
    with sqlite3.connect(tmp_path / "city.db") as database:
        for name in ("persons", "events", "history"):
            frame = pl.read_parquet(city / f"{name}.parquet")
            rows = frame.with_columns(pl.col(pl.Date).cast(pl.String)).rows()
            database.execute(f"create table {name} ({', '.join(frame.columns)})")
            database.executemany(f"insert into {name} values ({', '.join('?' * frame.width)})", rows)
        database.execute("create table city (key text, value text)")
        database.execute("insert into city values ('extract_date', '2024-06-30')")
    _, built = ask("build")
    url = f"sqlite:///{tmp_path}/city.db"
    words = ["features", "build", "--city", url, "--need", str(need), "--home", str(home.root), "--json"]
    assert cli.main(words) == 0
    again = json.loads(capsys.readouterr().out)
    # The same people with the same events: not even the cache can tell where they came from.
    assert (again["digest"], again["columns_computed"]) == (built["digest"], 0)


# ---- explain ---------------------------------------------------------------------------------------------------


def test_a_cell_is_explained_as_json_and_in_words_and_the_reading_is_recorded(ask, city, need, home):
    world, opened = open_city(city), load_need(need)
    keys = build_cohort(world, opened.cohort, [AS_OF])
    matrix = build_matrix(world, opened.features, keys, objections=home.objections, need_id="youth")
    counts = matrix.X[:, matrix.names.index(COUNT)]
    row = int(counts.argmax())
    who, n = keys["person_id"][row], int(counts[row])
    code, told = ask("explain", who, AS_OF, COUNT, "--purpose", "resident")
    assert code == 0
    assert (told["value"], told["recounted"], told["n_counted"], told["agrees"]) == (n, n, n, True)
    assert sum(event["counted"] for event in told["events"]) == n
    code, words = ask("explain", who, AS_OF, COUNT, as_json=False)
    assert code == 0
    assert words.startswith(f"{COUNT} is {n}: ")
    assert "school.absence.unexcused" in words and "before the window's first day" in words
    log = [row for row in home.audit_log.rows() if row["action"] == "explain"]
    facts = [json.loads(row["facts"]) for row in log]
    assert [fact["purpose"] for fact in facts] == ["resident", "not-said"]
    assert facts[0]["person"] == facts[1]["person"] and len(facts[0]["person"]) == 64
    assert who not in json.dumps(log, default=str)
    assert home.audit_log.verify() == []


def test_nothing_is_computed_for_who_objects_and_that_it_was_asked_is_recorded(ask, city, need, home):
    who = eligible(city, need)[0]
    home.objections.object(who, "youth")
    code, told = ask("explain", who, AS_OF, COUNT)
    assert code == 2
    (error,) = told["errors"]
    assert error["wrong"].startswith("objects to this need: nothing is computed for them")
    assert who not in json.dumps(told)
    home.objections.withdraw(who, "youth")
    home.objections.object(who, "another")
    assert ask("explain", who, AS_OF, COUNT)[0] == 0
    log = [row for row in home.audit_log.rows() if row["action"] == "explain"]
    refused, told = (json.loads(row["facts"]) for row in log)
    assert (refused.pop("outcome"), told.pop("outcome")) == ("refused: objects", "told")
    assert refused == told and not [row for row in log if who in row["facts"]]


def test_a_personal_identity_code_is_never_repeated(ask):
    code, told = ask("explain", "010190-123A", AS_OF, "age")
    assert code == 2
    assert "010190" not in json.dumps(told)


def test_an_explanation_that_does_not_add_up_is_our_fault(ask, city, need, monkeypatch):
    from features import explanation

    monkeypatch.setattr(explanation, "recount", lambda *_: -1.0)
    who = eligible(city, need)[0]
    assert ask("explain", who, AS_OF, COUNT)[0] == 1
    code, words = ask("explain", who, AS_OF, COUNT, as_json=False)
    assert (code, "The rows below give -1: a fault of the program." in words) == (1, True)


def test_codes_with_brackets_and_colons_are_told_as_they_are(need, home, tmp_path, capsys):
    codes = ["lab[/x]", "LAB//50809//mg/[dL]", "a:id:b"]
    city = write_city(tmp_path / "brackets", n=20)
    events = pl.read_parquet(city / "events.parquet")
    at = pl.Series([AS_OF - timedelta(days=5 + i) for i in range(3)])
    more = pl.DataFrame({"person_id": ["000001"] * 3, "event_date": at, "code": codes, "value": [1.0] * 3})
    pl.concat([events, more]).write_parquet(city / "events.parquet")
    need.write_text(MODEL_NEED.replace('codes = ["school.absence.*"]', f"codes = {json.dumps(codes)}", 1))
    feature = load_need(need).features[0]
    assert feature.codes == tuple(codes)
    assert cli.main(["city", "check", str(city), "--home", str(home.root)]) == 0
    checked = capsys.readouterr().out
    column = next(name for name in feature.columns() if name.startswith(f"{feature.name}.count"))
    words = ["--city", str(city), "--need", str(need), "--home", str(home.root)]
    assert cli.main(["features", "explain", "000001", str(AS_OF), column, *words]) == 0
    explained = capsys.readouterr().out
    for code in codes:
        assert f"  {code} " in checked and f" {code} " in explained


# ---- minimise and leakcheck --------------------------------------------------------------------------------------


def test_the_view_of_data_minimisation_compares_what_is_read_with_what_is_handed_over(ask, city):
    code, told = ask("minimise")
    assert code == 0
    assert told["as_of_date"] == str(AS_OF)
    assert [column["column"] for column in told["columns"]][-1] == "age"
    # The label reads status.neet, so every code of this city is read.
    assert told["unread"] == [] and told["unseen"] == []
    _, words = ask("minimise", as_json=False)
    assert "rows with a value" in words and COUNT in words
    assert told["story"][-1] in words


def test_at_80_columns_the_view_of_data_minimisation_loses_nothing(ask, monkeypatch):
    _, told = ask("minimise")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _, words = ask("minimise", as_json=False)
    assert "…" not in words
    for use in told["columns"]:
        (line,) = (line for line in words.splitlines() if line.strip().startswith(f"{use['column']} "))
        assert f" {use['n_persons']} " in line and use["sketch"].rstrip() in line


def test_numbers_of_data_minimisation_have_marks_at_thousands(capsys):
    spread = {"column": "x.sum.90d", "n_persons": 12345, "share": 0.5, "quantiles": {"0.5": 67890.0}, "sketch": "▁"}
    unread = [{"code": "a", "n_events": 4321}, {"code": "b", "n_events": "fewer than 5"}]
    feature_words.say_minimised({"columns": [spread], "unread": unread, "story": []})
    words = capsys.readouterr().out
    assert all(number in words for number in ("12,345", "67,890", "4,321", "fewer than 5"))


def test_a_leakcheck_passes(city, tmp_path, capsys):
    need = tmp_path / "rule.toml"
    need.write_text(RULE_NEED)
    words = ["--city", str(city), "--need", str(need), "--home", str(tmp_path / "home")]
    assert cli.main(["features", "leakcheck", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["identical"] and told["before"] == told["after"]
    assert told["story"][0].endswith("the cohort of that day is the same, and its matrix is the same to the byte.")


def test_the_days_built_are_those_that_the_city_knows(city, need):
    world, opened = open_city(city), load_need(need)
    assert feature_work.days_to_build(world, opened) == [TRAIN, AS_OF]
    earlier = replace(world, extract_date=date(2024, 1, 1))
    assert feature_work.days_to_build(earlier, opened) == [TRAIN]
    with pytest.raises(BadInput) as refusal:
        feature_work.days_to_build(replace(world, extract_date=date(2023, 1, 1)), opened)
    assert str(refusal.value) == (
        "cohort.as_of: is 2023-06-05, after the extract date 2023-01-01: the city does not know that day yet. "
        "Give 2023-01-01 or earlier"
    )


def test_a_code_that_the_city_has_a_name_for_is_told_by_name(city, need, home, tmp_path, capsys):
    named = tmp_path / "named"
    shutil.copytree(city, named)
    (named / "codes.csv").write_text("code,en\nschool.absence*,absence from school\n")
    world = open_city(named)
    person = next(who for who in eligible(named, need) if len(world.only([who]).events.time))
    words = ["features", "explain", person, str(AS_OF), COUNT, "--city", str(named), "--need", str(need)]
    assert cli.main([*words, "--home", str(home.root)]) == 0
    told = capsys.readouterr().out
    assert "absence from school (school.absence" in told
