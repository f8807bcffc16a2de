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
_WIDEST = 100_000


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


def table(rows: Sequence[Sequence[str]], heads: Sequence[str], unbroken: Sequence[int] = (0,)) -> None:
    """Print rows under their heads, every character of them as it is: codes may hold brackets and colons.

    Parameters
    ----------
    rows, heads
    unbroken : columns, by number, of which no cell goes over several lines; the first unless said
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    printed = Table(box=box.SIMPLE, show_header=any(heads), pad_edge=False)
    for i, head in enumerate(heads):
        cells = [Text(row[i]).cell_len for row in rows] if i in unbroken else []
        least = max(cells, default=0) or None
        printed.add_column(Text(head), no_wrap=i in unbroken, min_width=least, overflow="fold")
    for row in rows:
        printed.add_row(*map(Text, row))
    console = Console(markup=False, emoji=False, highlight=False)
    content = Measurement.get(console, console.options.update(width=_WIDEST), printed)
    # A terminal breaks lines at its width, but no word; a file or a pipe has no width of its own.
    console.width = max(console.width, content.minimum) if sys.stdout.isatty() else max(content.maximum, 1)
    console.print(printed, crop=False)


def count(value: float | None, signed: bool = False) -> str:
    """So many people, or with ``signed`` so many more or fewer; a dash where that is not known.

    An expected number need not be whole: below 10 its first decimal is told, which "0" would hide.

    >>> count(1234.5), count(0.2), count(3.0), count(-0.04), count(2.6, signed=True)
    ('1,234', '0.2', '3', '0', '+2.6')
    """
    if value is None:
        return "–"
    rounded = round(value, 1) if abs(value) < 10 else round(value)
    sign = "+" if signed and rounded else ""
    return f"{rounded:{sign}z,.0f}" if float(rounded).is_integer() else f"{rounded:{sign}.1f}"


def counted(n: int, thing: str) -> str:
    """So many things: ``1 row``, ``2 rows``."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def number(value: float | None) -> str:
    """A number to read; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:z,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:z.3f}"


def interval(measure: Result, signed: bool = False, people: bool = False) -> str:
    """The interval of a measure to read, of a number of people, or with ``signed`` of a difference of such numbers.

    A dash where there is none.

    >>> interval({"low": -0.3, "high": 12.0}, signed=True), interval({"low": 0.1, "high": 0.25})
    ('-0.3 to +12', '0.100 to 0.250')
    """
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return "–"
    if people or signed:
        return f"{count(low, signed)} to {count(high, signed)}"
    return f"{number(low)} to {number(high)}"
