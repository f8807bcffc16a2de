"""The command: whatever it is given, it answers in words."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, write_city

from serving import cli, commands
from serving.progress import PERSONAL_IDENTITY_CODE, Steps, masked

RUBBISH = [
    (["keys", "list", "--home", "/dev/null/x"], "--home: is '/dev/null/x', which cannot be a home: Not a directory"),
    (["keys", "list", "--home", "FILE"], "which cannot be a home: File exists"),
    (["keys", "demo", "--home", "/proc/ennakko"], "which cannot be a home: No such file or directory"),
    (["city", "synth", "/proc/xx/y", "--persons", "50"], "No such file or directory"),
]


@pytest.mark.parametrize(("words", "said"), RUBBISH)
def test_a_rubbish_path_is_one_refusal_in_words(words, said, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = [str(tmp_path / "file") if word == "FILE" else word for word in words]
    assert cli.main([*words, "--json"]) == 2
    told = capsys.readouterr()
    (error,) = json.loads(told.out)["errors"]
    assert said in f"{error['where']}: {error['wrong']}"
    assert "Traceback" not in told.err and said in told.err


def test_a_fault_of_ours_is_told_by_kind_and_place_and_never_by_its_message(monkeypatch, capsys):
    def burst(options):
        raise KeyError("anna the resident")

    monkeypatch.setattr(commands, "run", burst)
    monkeypatch.delenv("ENNAKKO_DEBUG", raising=False)
    assert cli.main(["keys", "list", "--json"]) == 1
    told = capsys.readouterr()
    (error,) = json.loads(told.out)["errors"]
    assert error["where"] == "ennakko"
    assert error["wrong"].startswith("our fault: KeyError at serving/cli.py:")
    assert "anna" not in told.out + told.err and "Traceback" not in told.err
    monkeypatch.setenv("ENNAKKO_DEBUG", "1")
    assert cli.main(["keys", "list", "--json"]) == 1
    told = capsys.readouterr()
    assert "anna" in told.err and "anna" not in told.out


def test_a_system_error_names_the_file_and_the_reason_only(monkeypatch, capsys):
    def full(options):
        raise OSError(28, "No space left on device", "/srv/draft", None, "/srv/verdict.json")

    monkeypatch.setattr(commands, "run", full)
    assert cli.main(["keys", "list"]) == 2
    assert capsys.readouterr().err == (
        "/srv/verdict.json: cannot be read or written: No space left on device. "
        "Give another path, or make this one usable\n"
    )
    monkeypatch.setattr(commands, "run", lambda options: open_nothing())
    assert cli.main(["keys", "list"]) == 2
    assert capsys.readouterr().err.startswith("a file: cannot be read or written: FileNotFoundError. ")


def open_nothing():
    raise FileNotFoundError("a library's own words about anna")


def test_help_names_every_command_of_features(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["features", "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for name in ("build", "plan", "explain", "minimise", "leakcheck"):
        assert f"\n    {name}" in told
    assert "not built" not in told


@pytest.mark.parametrize(
    "url", ["sqlite:///city.db", "sqlite:////srv/city.db", "postgresql+psycopg://reader@host/city"]
)
def test_the_url_of_a_database_reaches_the_command_as_it_was_written(url, monkeypatch):
    asked = {}
    monkeypatch.setattr(commands, "run", lambda options: asked.update(vars(options)) or 0)
    for words in (
        ["features", "plan", "--need", "youth"],
        ["train", "--need", "youth"],
        ["score", "--need", "youth", "--as-of", "2024-06-01"],
        ["serve"],
    ):
        asked.clear()
        assert cli.main([*words, "--city", url]) == 0
        assert asked["city"] == url
    assert cli.main(["city", "check", url]) == 0
    assert asked["folder"] == url
    assert cli.main(["features", "plan", "--need", "youth", "--city", "./folder"]) == 0
    assert asked["city"] == Path("folder")


def test_the_purposes_of_an_explanation_are_those_that_are_recorded():
    from serving.feature_work import PURPOSES

    words = ["features", "explain", "000001", "2024-06-01", "age", "--city", "x", "--need", "y"]
    for purpose in PURPOSES:
        assert cli._parser().parse_args([*words, "--purpose", purpose]).purpose == purpose
    assert cli._parser().parse_args(words).purpose == PURPOSES[0]


def test_a_list_is_asked_for_in_one_of_three_languages(capsys):
    words = ["list", "--city", "x", "--need", "y", "--as-of", "2024-06-01"]
    assert cli._parser().parse_args(words).lang == "en"
    assert cli._parser().parse_args([*words, "--lang", "sv"]).lang == "sv"
    assert cli.main([*words, "--lang", "se"]) == 2
    assert "--lang" in capsys.readouterr().err


def test_a_built_command_takes_no_further_words(capsys):
    assert cli.main(["keys", "list", "--cty", "x"]) == 2
    assert "unrecognized arguments: --cty x" in capsys.readouterr().err


# ---- personal identity codes --------------------------------------------------------------------------------------

CODES = ["010190-123A", "010190+123a", *(f"010190{sign}123A" for sign in "UVWXYABCDEF")]
EVERYWHERE = [
    ["CODE"],
    ["features", "CODE"],
    ["keys", "list", "CODE"],
    ["keys", "list", "--home", "/dev/null/CODE"],
    ["keys", "list", "--CODE"],
    ["city", "check", "CODE"],
    ["city", "check", "CODE://x"],
    ["city", "check", "CITY", "--rejects", "/nowhere/CODE/x.csv"],
    ["city", "synth", "/proc/CODE", "--persons", "50"],
    ["city", "synth", "x", "--persons", "CODE"],
    ["city", "synth", "x", "--seed", "CODE"],
    ["needs", "check", "CODE"],
    ["features", "explain", "CODE", "2024-06-03", "absence.count.30d", "--city", "CITY", "--need", "youth_exclusion"],
    ["features", "explain", "1", "CODE", "age", "--city", "CITY", "--need", "youth_exclusion"],
    ["features", "explain", "1", "2024-06-03", "CODE", "--city", "CITY", "--need", "youth_exclusion"],
    ["features", "explain", "1", "2024-06-03", "age", "--city", "CITY", "--need", "CODE"],
    ["features", "explain", "1", "2024-06-03", "age", "--city", "CODE", "--need", "youth_exclusion"],
    ["features", "explain", "1", "2024-06-03", "age", "--city", "x", "--need", "y", "--purpose", "CODE"],
    ["features", "explain", "1", "2024-06-03", "age", "CODE", "--city", "x", "--need", "y"],
    ["features", "build", "--city", "x", "--need", "y", "--as-of", "CODE"],
    ["features", "build", "--city", "x", "--need", "y", "--threads", "CODE"],
    ["features", "build", "--city", "CITY", "--need", "youth_exclusion", "--out", "CODE.csv"],
    ["judge", "--run", "CODE"],
    ["audit", "verify", "--verdict", "CODE"],
    ["stop", "CODE"],
    ["object", "1", "--need", "CODE"],
    ["serve", "--city", "x", "--port", "CODE"],
    ["serve", "--city", "x", "--host", "CODE"],
    ["score", "--city", "x", "--need", "CODE", "--as-of", "2024-06-01"],
]


@pytest.mark.parametrize("words", EVERYWHERE, ids=" ".join)
def test_a_personal_identity_code_is_never_printed_back(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENNAKKO_HOME", str(tmp_path / "home"))
    for code in CODES[:1] if "CITY" in words else CODES:
        asked = [word.replace("CODE", code).replace("CITY", str(tmp_path)) for word in words]
        for form in ([], ["--json"]):
            assert cli.main([*asked, *form]) in (2, 30)
            told = capsys.readouterr()
            assert told.err and code.upper() not in (told.out + told.err).upper()


def test_the_progress_of_a_step_never_tells_a_personal_identity_code(capsys):
    with Steps() as step:
        step("reading /srv/010190-123A/city")
    assert capsys.readouterr().err == "· reading /srv/[personal identity code]/city\n"


def test_a_bar_shows_brackets_and_colons_as_they_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Steps() as step:
        step("reading lab[/x] a:id:b 010190-123A", 1, 2)
    assert "reading lab[/x] a:id:b [personal identity code]" in " ".join(capsys.readouterr().err.split())


def test_what_is_masked_is_what_explanations_keep_silent_about_and_no_digest():
    from features import explanation

    assert explanation._PERSONAL_IDENTITY_CODE.pattern == PERSONAL_IDENTITY_CODE
    digest = hashlib.sha256(b"x").hexdigest()[:53] + "010190a123b"
    assert (masked(digest), masked(digest[:21] + "010190a123b")) == (digest, digest[:21] + "010190a123b")
    assert masked("x010190a123b.") == "x[personal identity code]."


# ---- rejects of a city ---------------------------------------------------------------------------------------------


@pytest.fixture
def flawed(tmp_path):
    """A city of 400 events, of which as many as asked have no readable date."""

    def made(n_bad):
        people = [{"person_id": f"p{i}"} for i in range(4)]
        days = ["never" if i < n_bad else "2024-01-02" for i in range(400)]
        events = [{"person_id": f"p{i % 4}", "event_date": day, "code": "a"} for i, day in enumerate(days)]
        return str(write_city(tmp_path / f"flawed{n_bad}", people, events, csv=("persons", "events")))

    return made


def test_rejected_rows_are_told_and_written(flawed, tmp_path, capsys):
    home = ["--home", str(tmp_path / "home"), "--json"]
    out = tmp_path / "rejects.csv"
    assert cli.main(["city", "check", flawed(3), "--rejects", str(out), *home]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = pl.read_csv(out)
    assert rows.columns == ["file", "row", "column", "reason"]
    assert rows.select("file", "row", "column").rows() == [("events.csv", i, "event_date") for i in (1, 2, 3)]
    assert told["rejects"] == rows.to_dicts() and told["rejected"] == sum(told["rejects_by_reason"].values()) == 3
    before = out.read_bytes()
    assert cli.main(["city", "check", flawed(3), "--rejects", str(out), *home]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0]["wrong"] == "exists already"
    assert out.read_bytes() == before


def test_rejected_rows_are_written_also_of_a_city_that_is_refused_for_them(flawed, tmp_path, capsys):
    out, home = tmp_path / "rejects.csv", ["--home", str(tmp_path / "home"), "--json"]
    assert cli.main(["city", "check", flawed(150), "--rejects", str(out), *home]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert "150 of 400 rows cannot be used" in error["wrong"] and error["mend"].endswith(f"it is in {out}")
    assert pl.read_csv(out)["row"].to_list() == list(range(1, 151))
    assert cli.main(["city", "check", flawed(150), *home]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["mend"].endswith("`ennakko city check CITY --rejects FILE.csv` writes it")


# ---- cities, numbers, pipes ------------------------------------------------------------------------------------------


def test_help_says_where_a_database_will_do(capsys):
    anywhere = "a city folder, a MEDS folder, or the URL of a database"
    for words, is_anywhere in (
        (["city", "check"], True),
        (["features", "build"], True),
        (["features", "leakcheck"], True),
        (["train"], False),
        (["score"], False),
        (["list"], False),
        (["serve"], False),
        (["judge"], False),
    ):
        with pytest.raises(SystemExit):
            cli.main([*words, "--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert (anywhere in told) is is_anywhere and ("URL" in told) is is_anywhere
        assert "city folder" in told


def test_judging_refuses_the_url_of_a_database_and_does_not_repeat_it(tmp_path, capsys):
    url = "postgresql://reader:secret@host/city"
    assert cli.main(["judge", "--run", "x", "--city", url, "--home", str(tmp_path), "--json"]) == 2
    told = capsys.readouterr()
    (error,) = json.loads(told.out)["errors"]
    assert error["where"] == "--city" and error["wrong"].startswith("names a database")
    assert "secret" not in told.out + told.err


def test_a_number_that_is_none_is_said_plainly(capsys):
    assert cli.main(["features", "build", "--city", "x", "--need", "y", "--threads", "abc"]) == 2
    assert "argument --threads: 'abc' is not a whole number; give 1 or more" in capsys.readouterr().err


def test_a_reader_who_stops_reading_ends_a_command_quietly(tmp_path):
    code = "import sys; sys.argv[0] = 'ennakko'; from serving import cli; sys.exit(cli.main())"
    words = [sys.executable, "-c", code, "needs", "list", "--json", "--home", str(tmp_path)]
    read, write = os.pipe()
    os.close(read)
    for unbuffered in ("", "1"):  # noticed at the end, or by the first line
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, "")
    os.close(write)


def test_every_command_finds_its_function():
    def named(parser):
        found = {parser.get_default("run")} - {None}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found = found.union(*(named(inner) for inner in action.choices.values()))
        return found

    names = named(cli._parser())
    assert len(names) > 30
    assert all(commands.function_of(name).__name__ == name for name in names)
