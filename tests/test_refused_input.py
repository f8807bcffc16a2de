"""What is refused at the door of the command: one clear message, every fault at once, exit 2, nothing half-written."""

import contextlib
import io
import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import write_city

from serving.cli import main

AS_OF = (date(2022, 6, 1), date(2023, 6, 1))
NEED = """
schema = 1
kind = "model"
service = "youth-work"
use = "outreach_ranking"
title = { fi = "a", sv = "b", en = "c" }
question = { fi = "a", sv = "b", en = "c" }
action = { fi = "a", sv = "b", en = "c" }
benefit = { fi = "a", sv = "b", en = "c" }
alternative = { fi = "a", sv = "b", en = "c" }
owner = { name = "Head", email = "head@example.invalid", phone = "1" }
deputy = { name = "Deputy", email = "deputy@example.invalid", phone = "2" }
dpo = { name = "Officer", email = "dpo@example.invalid", phone = "3" }
review_by = 2030-01-01
[cohort]
table = "all"
[label]
codes = ["status.neet"]
horizon_days = 180
[[features]]
name = "absence"
codes = ["school.absence"]
windows = [90]
measures = ["count"]
plain = { fi = "a", sv = "b", en = "c" }
source = "s"
purpose = "p"
basis = "b"
[splits]
kind = "temporal"
[baseline]
rule = "absence.count.90d desc"
[capacity]
workers = 1
attempts_per_worker_per_period = 5
contact_success = 0.5
period_days = 7
"""


@pytest.fixture
def city(tmp_path):
    """Two hundred persons, two as-of dates, absences that foretell the label a little."""
    rng = np.random.default_rng(1)
    ids = [f"resident-{i:04d}" for i in range(200)]
    events = []
    for person in ids:
        for day in AS_OF:
            absences = int(rng.poisson(2))
            events += [(person, day - timedelta(days=int(rng.integers(1, 80))), "school.absence", 1.0)] * absences
            if rng.random() < 0.1 + 0.1 * absences:
                events.append((person, day + timedelta(days=30), "status.neet", None))
    frame = pl.DataFrame(events, schema=["person_id", "event_date", "code", "value"], orient="row")
    cohort = pl.DataFrame({"person_id": ids * 2, "as_of_date": [AS_OF[0]] * 200 + [AS_OF[1]] * 200})
    groups = pl.DataFrame({"person_id": ids, "sex": ["f", "m"] * 100})
    toml = "extract_date = 2024-06-01\n"
    persons = pl.DataFrame({"person_id": ids})
    return write_city(tmp_path / "city", persons, frame, cohorts={"all": cohort}, groups=groups, toml=toml)


@pytest.fixture
def need(tmp_path):
    path = tmp_path / "youth.toml"
    path.write_text(NEED)
    return path


def run(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, words), "--json"])
    return code, json.loads(out.getvalue()), err.getvalue()


def train(city, need, home):
    return run("train", "--city", city, "--need", need, "--home", home)


def test_the_example_itself_is_good(city, need, tmp_path):
    code, said, _ = train(city, need, tmp_path / "home")
    assert code == 0, said


def without_events(city, need):
    (city / "events.parquet").unlink()


def with_a_wrong_column(city, need):
    frame = pl.read_parquet(city / "events.parquet").rename({"event_date": "date"})
    (city / "events.parquet").unlink()
    frame.write_csv(city / "events.csv")


def with_two_spoilt_tables(city, need):
    with_a_wrong_column(city, need)
    pl.DataFrame({"id": ["x"]}).write_parquet(city / "persons.parquet")


def truncated(city, need):
    path = city / "events.parquet"
    path.write_bytes(path.read_bytes()[:200])


def with_an_empty_cohort(city, need):
    pl.read_parquet(city / "cohorts" / "all.parquet").head(0).write_parquet(city / "cohorts" / "all.parquet")


def with_three_mistakes(city, need):
    text = NEED.replace("horizon_days = 180", "horizon_days = 0").replace("workers = 1", "wrokers = 1")
    need.write_text(text.replace('measures = ["count"]', 'measures = ["cuont"]'))


def with_a_label_that_never_occurs(city, need):
    need.write_text(NEED.replace("status.neet", "status.lottery_win"))


def without_a_cohort_table(city, need):
    shutil.rmtree(city / "cohorts")


CASES = {
    without_events: ["events"],
    with_a_wrong_column: ["event_date"],
    with_two_spoilt_tables: ["event_date", "person_id"],
    truncated: ["events.parquet"],
    with_an_empty_cohort: ["cohort"],
    with_three_mistakes: ["horizon_days", "wrokers", "measures"],
    with_a_label_that_never_occurs: ["status.lottery_win"],
    without_a_cohort_table: ["all"],
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda spoil: spoil.__name__)
def test_spoilt_input_is_told_in_words_and_leaves_nothing(city, need, tmp_path, spoil):
    spoil(city, need)
    code, said, err = train(city, need, tmp_path / "home")
    assert code == 2
    told = [f"{error['where']} {error['wrong']} {error['mend']}" for error in said["errors"]]
    for word in CASES[spoil]:
        assert any(word in line for line in told), told
    assert all(error["mend"] for error in said["errors"])
    assert "Traceback" not in err and "resident-" not in err + str(said)
    assert_nothing_kept(tmp_path / "home")


def test_a_city_in_which_everyone_objects_gives_no_matrix(city, need, tmp_path):
    home = tmp_path / "home"
    for person in pl.read_parquet(city / "persons.parquet")["person_id"]:
        run("object", person, "--home", home)
    code, said, _ = train(city, need, home)
    assert code == 2
    (error,) = said["errors"]
    assert "object" in error["wrong"]
    assert_nothing_kept(home)


def assert_nothing_kept(home: Path):
    left = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    allowed = ("ennakko.db", "secrets/", "audit_head.json")  # who objected, and that it was logged
    assert not [path for path in left if not path.startswith(allowed)], left


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["trian"], "invalid choice"),
        (["train", "--city", "x"], "required"),
        (["score", "--city", "x", "--need", "y", "--as-of", "tomorrow"], "not a day"),
        (["score", "--city", "x", "--need", "y", "--as-of", "2024-W05-4"], "not a day"),
        (["score", "--city", "x", "--need", "y", "--as-of", "20240201"], "not a day"),
        (["judge"], "is missing"),
        (["judge", "--run", "nonsense"], "not a finished run"),
        (["city", "check", "nowhere"], "not a folder"),
        (["needs", "check", "youth_exclusoin"], "neither a file nor a need"),
        (["city", "synth", "x/city", "--persons", "0"], "must be 1 or more"),
        (["judge", "--scores", "a", "--groups", "b", "--capacity", "3"], "a cannot be read"),
        (["token"], "required"),
        (["features", "plan"], "required"),
    ],
)
def test_wrong_words_are_refused_in_one_line_of_json(words, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if words[0] not in ("trian", "week") and "plan" not in words:
        words = [*words, "--home", str(tmp_path / "home")]
    code, said, err = run(*words)
    assert code == 2
    assert wrong in " ".join(f"{e['where']} {e['wrong']} {e['mend']}" for e in said["errors"])
    assert "Traceback" not in err


def test_a_misspelt_bundled_need_is_guessed(tmp_path):
    code, said, _ = run("needs", "check", "youth_exclusoin", "--home", tmp_path)
    assert code == 2
    assert "Did you mean 'youth_exclusion'?" in said["errors"][0]["mend"]
