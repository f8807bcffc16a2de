"""``ennakko needs new`` and ``needs check`` as somebody at a terminal meets them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ethics.policy import DEFAULT_PATH
from features.synthetic import synthetic_city
from serving.cli import main

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = {
    "title": 'Losing "touch" \\ [school]',
    "service": "outreach",
    "age": "16-28",
    "label-codes": "status.neet",
    "horizon-days": "180",
    "feature-codes": "school.absence.*, school.grade",
    "workers": "4",
    "attempts": "15",
}


def options(answers):
    return [word for name, value in answers.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("need_work") / "city"
    synthetic_city(folder, 1_000, seed=5)
    return folder


def test_a_draft_can_be_checked_in_its_city_and_says_what_is_missing(tmp_path, city, capsys):
    file = tmp_path / "losing_touch.toml"
    assert main(["needs", "new", str(file), "--city", str(city), *options(ANSWERS), "--json"]) == 0
    drafted = json.loads(capsys.readouterr().out)
    assert drafted["columns"] == ["absence.count.90d", "absence.count.365d", "grade.count.90d", "grade.count.365d"]
    assert {remark["where"] for remark in drafted["missing"]} >= {"question", "features[0]", "indicators"}
    home = ["--home", str(tmp_path / "home")]
    assert main(["needs", "check", str(file), "--city", str(city), *home]) == 0
    said = capsys.readouterr().out
    assert "losing_touch: can be read. 4 columns, 60 attempts in a period." in said
    assert "Training or the gate refuses it, and nothing lifts that" in said and "plain.fi" in said
    assert "mature" in said and "were in need afterwards" in said


def test_nothing_wrong_is_written_and_everything_wrong_is_said_at_once(tmp_path, city, capsys):
    file = tmp_path / "Losing touch.toml"
    wrong = {**ANSWERS, "age": "28-16", "label-codes": "status.neeet", "workers": "four"}
    del wrong["attempts"]
    assert main(["needs", "new", str(file), "--city", str(city), *options(wrong)]) == 2
    said = capsys.readouterr().err
    for told in ("cannot be the file of a need", "--age: '28-16'", "Did you mean status.neet", "--workers: 'four'"):
        assert told in said
    assert "--attempts: is missing" in said
    assert not list(tmp_path.iterdir())


def test_codes_of_any_alphabet_get_a_name_and_titles_are_one_line(tmp_path, capsys):
    wide = {**ANSWERS, "feature-codes": "terveys.käynti,koulu.poissaolo-tunti"}
    assert main(["needs", "new", str(tmp_path / "wide.toml"), *options(wide), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"][0] == "kaynti.count.90d"
    assert main(["needs", "new", str(tmp_path / "lines.toml"), *options({**ANSWERS, "title": "a\nb"})]) == 2
    assert "line break" in capsys.readouterr().err
    claim = {**ANSWERS, "title": "Most benefit first"}
    assert main(["needs", "new", str(tmp_path / "claim.toml"), *options(claim)]) == 2
    assert "says 'benefit' without evidence or trial" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_written_over(tmp_path, capsys):
    file = tmp_path / "losing_touch.toml"
    file.write_text("mine")
    assert main(["needs", "new", str(file), *options(ANSWERS)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_what_is_left_out_is_asked_at_a_terminal(tmp_path):
    """A real terminal (a pty): a wrong answer is asked again."""
    file = tmp_path / "losing_touch.toml"
    given = {name: value for name, value in ANSWERS.items() if name not in ("age", "workers")}
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "serving.cli", "needs", "new", str(file), *options(given), "--home", str(tmp_path)]
    words[1:3] = ["-c", "import sys; from serving.cli import main; sys.exit(main(sys.argv[1:]))"]
    process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT)
    os.write(ours, b"old\n16-28\n4\n")
    out, _ = process.communicate(timeout=60)
    asked = os.read(ours, 65_536).decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, asked
    assert asked.count("Between which ages?") == 2 and "How many workers call?" in asked
    assert b"a draft that can be read" in out
    assert "age = [16, 28]" in file.read_text()


def test_a_service_that_the_policy_nearly_names_is_told(tmp_path, capsys):
    file = tmp_path / "losing_touch.toml"
    assert main(["needs", "new", str(file), *options(ANSWERS)]) == 0
    policy = tmp_path / "policy.toml"
    text = DEFAULT_PATH.read_text("utf-8")
    for name, told in (("outraech", 1), (" OUTREACH", 0), ("schools", 0)):
        policy.write_text(text.replace("strict_services = []", f'strict_services = ["{name}"]'))
        capsys.readouterr()
        words = ["needs", "check", str(file), "--home", str(tmp_path / "home"), "--policy", str(policy), "--json"]
        assert main(words) == 0
        remarks = json.loads(capsys.readouterr().out)["remarks"]
        assert [name in remark["missing"] for remark in remarks if remark["where"] == "service"] == [True] * told
