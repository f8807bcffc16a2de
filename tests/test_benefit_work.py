"""``ennakko uplift``: a trial read from a file, and rubbish refused in words."""

import json

import numpy as np
import polars as pl
import pytest

from models.need import NEEDS
from serving.cli import main

ASK = ["--treated", "treated", "--outcome", "outcome", "--outcome-is", "wanted", "--share", "0.5"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """4 000 people, of whom the half with x above 0 is helped (+0.4) and the others not."""
    rng = np.random.default_rng(0)
    n = 4_000
    x, noise, treated = rng.normal(size=n), rng.normal(size=n), rng.random(n) < 0.5
    outcome = rng.random(n) < 0.3 + 0.4 * (treated & (x > 0))
    file = tmp_path_factory.mktemp("trial") / "trial.csv"
    columns = {
        "x": x,
        "noise": noise,
        "treated": treated.astype(int),
        "outcome": outcome.astype(int),
        "word": ["a"] * n,
    }
    pl.DataFrame(columns).write_csv(file)
    return file


def test_who_is_helped_is_found_and_said(trial, capsys):
    assert main(["uplift", str(trial), *ASK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["columns"] == ["x", "noise"] and found["rows"] == 4_000
    assert found["average"]["low"] < 0.2 < found["average"]["high"]
    assert found["fifths"][0]["low"] > 0.2 and found["fifths"][4]["high"] < 0.2
    assert found["heterogeneous"] and found["shows_benefit"]
    assert main(["uplift", str(trial), *ASK, "--learner", "t", "--columns", "x"]) == 0
    said = capsys.readouterr().out
    assert "4,000 rows; taken as known before the draw: x\n" in said
    assert "Some are helped more than others" in said


def test_a_trial_of_a_needs_action_is_kept_and_founds_the_word(trial, tmp_path, capsys):
    text = (NEEDS / "youth_exclusion.toml").read_text("utf-8")
    need = tmp_path / "youth_exclusion.toml"
    need.write_text(text.replace('en = "A youth worker', 'en = "Of most benefit: a youth worker', 1), "utf-8")
    home = ["--home", str(tmp_path / "home")]
    assert main(["needs", "check", str(need), *home]) == 2
    assert "says 'benefit' without evidence or trial" in capsys.readouterr().err
    assert main(["uplift", str(trial), *ASK, "--need", str(need), *home]) == 0
    assert main(["needs", "check", str(need), *home]) == 0
    kept = tmp_path / "home" / "trials" / "youth_exclusion.json"
    kept.write_text(kept.read_text().replace('"shows_benefit": true', '"shows_benefit": false'))
    assert main(["needs", "check", str(need), *home]) == 2
    kept.write_text("[]")
    assert main(["needs", "check", str(need), *home]) == 30


def test_help_that_was_not_drawn_by_lot_is_no_trial(tmp_path, capsys):
    rng = np.random.default_rng(1)
    x = rng.normal(size=4_000)
    treated = rng.random(4_000) < 1 / (1 + np.exp(-1.5 * x))
    outcome = rng.random(4_000) < 1 / (1 + np.exp(-x))
    columns = {"other": rng.normal(size=4_000), "x": x, "treated": treated, "outcome": outcome}
    pl.DataFrame(columns).write_parquet(tmp_path / "chosen.parquet")
    assert main(["uplift", str(tmp_path / "chosen.parquet"), *ASK]) == 2
    assert "column 2: differs between the arms" in capsys.readouterr().err
    pl.DataFrame(columns | {"treated": rng.random(4_000) < 0.5, "outcome": [0] * 4_000}).write_parquet(
        tmp_path / "nobody.parquet"
    )
    assert main(["uplift", str(tmp_path / "nobody.parquet"), *ASK]) == 2
    assert "the same in all 4000 rows" in capsys.readouterr().err


RUBBISH = {
    "no file": (["nowhere.csv", *ASK], "cannot be read as a table"),
    "no such columns": (["FILE", *ASK[:1], "treat", *ASK[2:], "--columns", "xx"], "has no column 'treat'"),
    "words as a column": (["FILE", *ASK, "--columns", "word"], "column 'word' holds no numbers"),
    "the outcome as a column": (["FILE", *ASK, "--columns", "x,outcome"], "'outcome' is not known before the draw"),
    "an outcome that is no 0 and 1": (["FILE", *ASK[:3], "x", *ASK[4:]], "outcome"),
    "a seed below 0": (["FILE", *ASK, "--seed", "-1"], "give 0 or more"),
    "a share of 2": (["FILE", *ASK[:-1], "2"], "share"),
    "a share that the draw does not fit": (["FILE", *ASK[:-1], "0.9"], "0.9"),
}


@pytest.mark.parametrize("case", RUBBISH)
def test_rubbish_is_refused_in_words(case, trial, capsys):
    words, told = RUBBISH[case]
    code = main(["uplift", *[str(trial) if word == "FILE" else word for word in words]])
    said = capsys.readouterr()
    assert code == 2 and told in said.err and "Traceback" not in said.err, said.err
    assert said.out == ""
