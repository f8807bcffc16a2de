"""Numbers that README and CHANGELOG tell of the code: each is counted in the code, so none goes stale unseen."""

import re
from pathlib import Path

import pytest

from ethics import refusal_ids
from ethics.checks import BUILT
from ethics.outcome_checks import OUTCOME_CHECKS

ROOT = Path(__file__).resolve().parent.parent
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CHANGELOG.md")}
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def refusals():
    """Every id of a refusal in the module that gives them, in order."""
    return sorted(set(re.findall(r'"(V\d+)"', Path(refusal_ids.__file__).read_text("utf-8"))))


@pytest.mark.parametrize("name", TEXTS)
def test_the_number_of_checks_is_that_of_the_code(name):
    told = re.findall(r"\bgate\s+asks\s+(\d+)\s+questions|\b(\d+)\s+checks\b", TEXTS[name])
    assert {int(number) for pair in told for number in pair if number} <= {len(BUILT)}
    outcomes = re.findall(r"\b(\w+)\s+on\s+outcomes\b", TEXTS[name])
    assert {WORDS.index(word) for word in outcomes} <= {len(OUTCOME_CHECKS)}


@pytest.mark.parametrize("name", TEXTS)
def test_the_ids_of_refusals_are_those_of_the_code(name):
    given = refusals()
    assert given == [f"V{number:02d}" for number in range(1, len(given) + 1)]
    assert set(re.findall(r"\(V01\s+to\s+(V\d+)\)", TEXTS[name])) <= {given[-1]}
    assert set(re.findall(r"\bV\d\d\b", TEXTS[name])) <= set(given)


def test_the_changelog_tells_all_three():
    text = TEXTS["CHANGELOG.md"]
    for pattern in (r"gate\s+asks\s+\d+\s+questions", r"\w+\s+on\s+outcomes", r"\(V01\s+to\s+V\d+\)"):
        assert re.search(pattern, text)
