"""What ``judge --scores`` says on the terminal: the verdict, what was judged, what was found, and where it lies."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from typing import Any

from ethics.cells import INDICATOR
from serving.saying import Result, count

_LINES_SAID = 4
_ENOUGH = 2
_WIDTH = 110
_LOST = {
    "label": "without outcomes nobody can say whom the scores miss",
    "probability": "whether needs are foreseen alike in each group (observed ÷ expected) was not compared",
    "indicator:<name>": "with fewer than two, need at the same score was not compared, nor the label tested",
}
"""What a verdict lacks where the file of scores lacks a column."""


def in_one_language(told: Any, language: str) -> str:
    """Words of the report's JSON, which are one text where all languages have the same.

    >>> in_one_language({"en": "yes", "fi": "kyllä"}, "fi"), in_one_language("C401", "fi")
    ('kyllä', 'C401')
    """
    return str(told[language]) if isinstance(told, Mapping) else str(told)


def findings_of(report: Mapping[str, Any], language: str) -> list[dict[str, Any]]:
    """What must be done, of a report as JSON: ``id``, ``state``, ``what``, ``lines``, ``do`` in one language."""
    return [
        {
            "id": item["id"],
            "state": item["state"],
            **{name: in_one_language(item[name], language) for name in ("what", "do", "wrong")},
            "lines": [in_one_language(line, language) for line in item["lines"]],
        }
        for item in report["todo"]
    ]


def not_given(columns: Sequence[str], known: Mapping[str, int]) -> list[str]:
    """The optional columns that a fuller verdict would need.

    Parameters
    ----------
    columns : of the rows that were judged
    known : how many labels and probabilities there are

    >>> not_given(["person_id", "indicator:one"], {"label": 9, "probability": 0})
    ['probability', 'indicator:<name>']
    """
    indicators = sum(name.startswith(INDICATOR) for name in columns)
    return [*(name for name, n in known.items() if not n), *([f"{INDICATOR}<name>"] if indicators < _ENOUGH else [])]


def say_scores(result: Result, scores: str) -> None:
    """Print a verdict on scores alone; findings in the words of its report, of which small numbers are withheld."""
    print(f"{scores}, scores alone: {result['state']}")
    for line in result["meaning"]:
        _paragraph(line)
    of = f"{count(result['n'])} people, {count(result['capacity_k'])} contacted in a period"
    _paragraph(f"{of}; groups are compared at the {count(result['k_audit'])} highest scores (k*).")
    for name in result["not_given"]:
        _paragraph(f"Not given: {name} – {_LOST[name]}.")
    for finding in result["findings"]:
        print()
        _paragraph(f"{finding['what']} – {finding['state'].replace('_', ' ')}")
        lines: Sequence[str] = [*finding["lines"], *([finding["wrong"]] if finding["wrong"] else [])]
        for line in lines[:_LINES_SAID]:
            _paragraph(f"- {line}", "  ")
        if len(lines) > _LINES_SAID:
            print(f"  … and {len(lines) - _LINES_SAID} more, in the report")
        _paragraph(f"→ {finding['do']}", "  ")
    print(f"\nverdict {result['verdict_path']} (unsigned)\nreport  {result['report_path']}")
    print(f"All languages: ennakko report {result['verdict_path']}")
    print(f"Against its cells: ennakko audit verify {result['verdict_path']}")


def _paragraph(text: str, indent: str = "") -> None:
    """A text broken at the terminal's width; a file or a pipe gets it in one line."""
    if not sys.stdout.isatty():
        print(f"{indent}{text}")
        return
    width = min(get_terminal_size().columns, _WIDTH)
    print(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}  "))
