"""The command: whatever it is given, it answers in words."""

import json
from pathlib import Path

import pytest

from serving import cli, commands

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


@pytest.mark.parametrize(
    "words",
    [
        ["needs", "new", "y", "--title", "z"],
        ["week", "--city", "x", "--as-of", "2026-06-01"],
        ["lists", "show", "--list", "1"],
        ["erase", "000123"],
    ],
)
def test_what_is_not_built_yet_says_so_whatever_follows(words, capsys):
    assert cli.main([*words, "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert "built" in f"{error['wrong']} {error['mend']}"


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


def test_a_built_command_takes_no_further_words(capsys):
    assert cli.main(["keys", "list", "--cty", "x"]) == 2
    assert "unrecognized arguments: --cty x" in capsys.readouterr().err
