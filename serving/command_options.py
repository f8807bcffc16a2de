"""What many commands are declared with: their common options, and how days, cities and numbers are read.

Only the standard library is imported here, so that ``ennakko --help`` answers at once.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

LANGUAGES = ("fi", "sv", "en")
ANY_CITY = "a city folder, a MEDS folder, or the URL of a database"
LAST_SEED = 2**31 - 1
SEED_DIGITS = 40
CITY_WITH_GROUPS = "a city folder; the gate's groups lie in it"


def declare(commands: Any, name: str, what: str, run: str, **defaults: str) -> argparse.ArgumentParser:
    """A command that calls the function ``run`` of commands.py, which is imported only then."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    command.add_argument("--home", type=Path, help="where all state lives (default: ENNAKKO_HOME, or var/)")
    command.add_argument("--policy", type=Path, help="the policy file (default: the one that comes with Ennakko)")
    command.set_defaults(run=run, **defaults)
    return command


def declare_group(commands: Any, name: str, what: str) -> Any:
    """A command that has commands of its own."""
    parser = commands.add_parser(name, help=what, description=what)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_city_and_need(command: argparse.ArgumentParser, city: str = CITY_WITH_GROUPS, *, required: bool = True) -> None:
    """Where the data are, and which need it is about."""
    command.add_argument("--city", type=city_place, required=required, help=city)
    command.add_argument(
        "--need", type=Path, required=True, help="a need file, or the id of one that comes with Ennakko"
    )


def city_place(text: str) -> str | Path:
    """A folder's path, or a database URL as it is written: a path would lose slashes of ``sqlite:///city.db``."""
    return text if "://" in text else Path(text)


def at_least_one(text: str) -> int:
    """A whole number of 1 or more."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number; give 1 or more") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {text}, but must be 1 or more")
    return number


def seed_number(text: str) -> int:
    """What every generator takes, LightGBM's 32 bits too, and what a signed file can hold."""
    if not (text.isascii() and text.isdecimal() and len(text) <= SEED_DIGITS and int(text) <= LAST_SEED):
        raise argparse.ArgumentTypeError(f"'{text[:SEED_DIGITS]}' is no seed: give 0 or more, at most {LAST_SEED}")
    return int(text)


def amount_of_euros(text: str) -> float:
    """An amount above zero."""
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 < amount < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of euros; give a number above 0, e.g. 25")
    return amount


def calendar_day(text: str) -> date:
    """A day, written in one way."""
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:  # Python reads weeks and digits without hyphens too
            raise ValueError
        return day
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a day; write it as 2026-06-01") from None
