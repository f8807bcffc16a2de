"""How results are said: in words and tables, or as one JSON object; and what every command opens first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.home import Home
from serving.settings import Settings

Result = Mapping[str, Any]


def settings_of(options: argparse.Namespace, **more: Any) -> Settings:
    """The settings that a command's options and the environment give."""
    return Settings.from_environment(home=options.home, policy=options.policy, **more)


def home_of(options: argparse.Namespace) -> Home:
    """The home that a command works in."""
    return Home(settings_of(options))


def say(options: argparse.Namespace, result: Result, in_words: Callable[[], None]) -> int:
    """Say a result, in words or as one JSON object; the exit code of a command that did what was asked."""
    if options.json:
        print(json.dumps(result, ensure_ascii=False, default=str, allow_nan=False))
    else:
        in_words()
    return 0


def steps(options: argparse.Namespace) -> Any:
    """Shows the steps of a story while it runs; on standard error, so that JSON stays alone."""
    from serving.progress import Steps

    return Steps(quiet=options.json and not sys.stderr.isatty())


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """Print rows under their heads."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    printed = Table(*heads, box=box.SIMPLE, show_header=any(heads), pad_edge=False)
    for row in rows:
        printed.add_row(*row)
    # A file or a pipe has no width of its own; cutting words off there would only lose them.
    Console(width=None if sys.stdout.isatty() else 160).print(printed)


def count(value: float | None) -> str:
    """A whole number to read; a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def number(value: float | None) -> str:
    """A number to read; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3f}"


def interval(measure: Result, signed: bool = False) -> str:
    """The interval of a measure to read, with ``signed`` as a difference; a dash where there is none."""
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return "–"
    if signed:
        return f"{low:+,.0f} to {high:+,.0f}"
    return f"{number(low)} to {number(high)}"
