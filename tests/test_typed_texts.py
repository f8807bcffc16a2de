"""What people type into commands: what cannot be kept is refused before anything is done, and stopping never is."""

import pytest
from outcome_cases import home_with_list
from store_cases import FIRST

from serving.cli import main

BYTES = "\udcff"
CODE = "010190-123A"
LINES = "first\nsecond"
SAID = ["--by", "dpo", "--reason", "asked"]
WORKED = ["outcome", "add", "--list", FIRST, "--outcome", "reached", "--at", "2024-06-04", "--person"]


@pytest.fixture
def home(tmp_path):
    return home_with_list(tmp_path / "home", people=4)[0]


def refused(capsys, home, *words):
    before = (home.store.summary(), len(list(home.audit_log.rows())))
    code = main([*words, "--home", str(home.root)])
    told = capsys.readouterr().err
    assert (home.store.summary(), len(list(home.audit_log.rows()))) == before, "nothing was done"
    assert CODE not in told and BYTES not in told and "Traceback" not in told
    return code, told


@pytest.mark.parametrize("text", [BYTES, CODE, LINES, f"asked by {CODE}"])
@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["erase", "{}", *SAID], "person"),
        (["erase", "p000", "--by", "{}", "--reason", "asked"], "--by"),
        (["erase", "p000", "--by", "dpo", "--reason", "{}"], "--reason"),
        (["erase", "--restored", "--by", "dpo", "--reason", "{}"], "--reason"),
        (["erase", "--overdue", "--by", "{}"], "--by"),
        (["lists", "add", "--list", FIRST, "{}", "--unit", "west", *SAID], "person"),
        (["lists", "add", "--list", FIRST, "p001", "--unit", "west", "--by", "head", "--reason", "{}"], "--reason"),
        (["lists", "remove", "--list", FIRST, "p000", "--unit", "west", "--by", "head", "--reason", "{}"], "--reason"),
        (["lists", "remove", "--list", FIRST, "p000", "--unit", "west", "--by", "{}", "--reason", "moved"], "--by"),
        (["lists", "assign", "--list", FIRST, "p000", "--unit", "west", "--by", "head", "--worker", "{}"], "--worker"),
        (["lists", "show", "--list", FIRST, "--unit", "west", "--by", "{}", "--purpose", "work"], "--by"),
        (["lists", "show", "--list", FIRST, "--unit", "west", "--by", "head", "--purpose", "{}"], "--purpose"),
        ([*WORKED, "{}"], "person"),
        ([*WORKED, "p000", "--worker", "{}"], "--worker"),
        ([*WORKED, "p000", "--channel", "{}"], "--channel"),
        ([*WORKED, "p000", "--by", "{}"], "--by"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value.strip("-"),
)
def test_no_command_keeps_what_cannot_be_read_or_names_a_resident(capsys, home, words, where, text):
    code, told = refused(capsys, home, *(word.replace("{}", text) for word in words))
    assert (code, told.split(":")[0]) == (2, where)


def test_the_stop_switch_is_set_whatever_is_typed_as_the_reason(capsys, home):
    for typed, kept in (
        (BYTES, "?"),
        (f"asked by {CODE}", "asked by [personal identity code]"),
        ("a" * 9999, "a" * 9999),
    ):
        assert main(["stop", "on", "--reason", typed, "--home", str(home.root)]) == 0
        assert home.stop_switch.is_set() and home.stop_switch.reason() == kept
        home.stop_switch.clear()
    assert "SET" in capsys.readouterr().out
