"""``ennakko simulate`` on a really trained run: from the command to the pages, and what it refuses."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from features.synthetic import synthetic_city
from serving.cli import main


def command(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main([*map(str, words)])
    return code, out.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulation")
    synthetic_city(folder / "city", 4_000, seed=2, density=0)
    return folder


@pytest.fixture(scope="module")
def runs(place):
    words = ("--city", place / "city", "--need", "youth_exclusion", "--home", place / "home", "--json")
    code, told = command("train", *words)
    assert code == 0, told
    return [json.loads(told)["run_id"]]


@pytest.fixture(scope="module")
def said(place, runs):
    more = ("--compare", runs[0], "--attempt-cost", "25", "--by", "language_group", "--out", place / "pages")
    code, told = command("simulate", "--run", runs[0], "--home", place / "home", "--json", *more)
    assert code == 0, told
    return json.loads(told)


def test_found_and_missed_are_counted_on_the_judged_people(place, runs, said):
    rows = pl.read_parquet(place / "home" / "runs" / runs[0] / "rows.parquet")
    assert (said["people"], said["known"]) == (rows.height, rows["label"].drop_nulls().len())
    by_order = {(one["order"], one["k"], one["allocation"]): one for one in said["scenarios"]}
    k = said["k"]
    assert {(order, k, "whole") for order in ("model", "rule", "chance", "perfect", runs[0])} <= set(by_order)
    assert {("model", k, "proportional"), ("model", k, "need"), ("model", k + 15, "whole")} <= set(by_order)
    model, perfect = by_order["model", k, "whole"], by_order["perfect", k, "whole"]
    assert model["found"]["value"] <= perfect["found"]["value"]
    assert by_order[runs[0], k, "whole"]["more_than_now"] == {"value": 0, "low": 0, "high": 0}  # the same order twice
    total = model["found"]["value"] + model["missed"]["value"]
    assert perfect["found"]["value"] + perfect["missed"]["value"] == pytest.approx(total)
    assert model["cost_per_found"]["value"] == pytest.approx(25 * k / model["found"]["value"])


def test_pages_and_json_name_no_person(place, said):
    names = {Path(file).name for file in (place / "pages").iterdir()}
    assert names == {"simulation.json", *(f"simulation.{language}.html" for language in ("fi", "sv", "en"))}
    people = pl.read_parquet(place / "city" / "persons.parquet")["person_id"]
    for name in names:
        text = (place / "pages" / name).read_text("utf-8")
        assert not any(f'"{person}"' in text or f">{person}<" in text or f" {person} " in text for person in people)
    assert all(row["attribute"] == "language_group" for row in said["by_group"])
    shown = [n for row in said["by_group"] for n in (row["need"], *row["found"], *row["missed"]) if n is not None]
    assert all(n >= 10 for n in shown)


def test_the_same_question_has_the_same_answer_in_words_too(place, runs, said):
    again = command("simulate", "--run", runs[0], "--home", place / "home", "--lang", "fi")
    assert again[0] == 0
    assert "täydellinen järjestys (yläraja)" in again[1] and "yksi lista kaikille" in again[1]
    kept = json.loads((place / "home" / "simulations" / "youth_exclusion" / runs[0] / "simulation.json").read_text())
    first = {(one["order"], one["k"], one["allocation"]): one["found"] for one in said["scenarios"]}
    for one in kept["scenarios"]:
        assert first[one["order"], one["k"], one["allocation"]] == one["found"]


def test_what_cannot_be_simulated_is_refused(place, runs):
    words = ("simulate", "--home", place / "home", "--json")

    def wrong(*more):
        code, told = command(*words, *more)
        assert code == 2
        return [error["wrong"] for error in json.loads(told)["errors"]]

    assert "is not a finished run of this home" in wrong("--run", "nothing")[0]
    assert wrong("--run", runs[0], "--capacity", "61") == ["61 lies 1 people from 60: an outcome could be read"]
    assert "'colour' is not an attribute" in wrong("--run", runs[0], "--by", "colour")[0]
    assert "is no amount of euros" in wrong("--run", runs[0], "--attempt-cost", "0")[0]


def test_altered_rows_are_not_simulated(place, runs):
    path = place / "home" / "runs" / runs[0] / "rows.parquet"
    before = path.read_bytes()
    pl.read_parquet(path).with_columns(label=pl.lit(1.0)).write_parquet(path)
    code, told = command("simulate", "--run", runs[0], "--home", place / "home", "--json")
    path.write_bytes(before)
    assert code == 30 and "was altered" in told


def test_the_erased_are_simulated_no_more_and_the_rest_is_still_trusted(place, runs, said, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(place / "home", home)
    rows = home / "runs" / runs[0] / "rows.parquet"
    someone = pl.read_parquet(rows)["person_id"][7]
    code, told = command("erase", someone, "--by", "dpo", "--reason", "asked", "--home", home, "--json")
    assert code == 0 and json.loads(told)["runs"] == [runs[0]]
    code, told = command("simulate", "--run", runs[0], "--home", home, "--json")
    assert code == 0 and json.loads(told)["people"] == said["people"] - 1
    assert someone not in pl.read_parquet(rows)["person_id"]
