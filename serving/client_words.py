"""The command ``ennakko score --server URL``: what it needs to be told, and what it says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault
from serving.saying import counted, say, settings_of, steps
from serving.settings import wrong_issuer

if TYPE_CHECKING:
    import polars as pl

_HERE_ONLY = {"persons": "--persons", "purpose": "--purpose", "output": "--output", "token_file": "--token-file"}
_LONGEST_TOKEN, _LONGEST_PURPOSE = 16_000, 200
_FILES = (".csv", ".parquet")


def refuse_mixed(options: argparse.Namespace) -> None:
    """Refuse options of the other way of scoring: from a city folder here, or by a service elsewhere."""
    faults = []
    if options.server is None:
        if options.city is None:
            faults.append(Fault("--city", "is missing", "Give the city folder, or --server with the URL of a service"))
        for name, option in _HERE_ONLY.items():
            if getattr(options, name) is not None:
                faults.append(Fault(option, "means nothing without --server", "Leave it out, or add --server URL"))
    elif options.city is not None:
        faults.append(Fault("--city", "stands beside --server", "Give one of the two: a service has its own city"))
    if faults:
        raise BadInput(*faults)


def score_by_service(options: argparse.Namespace) -> int:
    """Have people scored by a service, and say what came of it."""
    from serving.client import Question, Service, score_from_service

    faults: list[Fault] = []
    if wrong := wrong_issuer(options.server):
        mend = "Give the service's address, e.g. https://ennakko.example.fi; http:// only for this machine"
        faults.append(Fault("--server", f"is {wrong}", mend))
    for name in ("purpose", "output"):
        if not getattr(options, name):
            faults.append(Fault(_HERE_ONLY[name], "is missing", "With --server it must be said"))
    purpose = (options.purpose or "").strip()
    if options.purpose and not (purpose.isascii() and purpose.isprintable() and 0 < len(purpose) <= _LONGEST_PURPOSE):
        wrong = f"is not 1 to {_LONGEST_PURPOSE} plain characters"
        faults.append(Fault("--purpose", wrong, "Say it in a few words, in English letters: it travels in a header"))
    token = _token(options, faults)
    ids = _person_ids(options.persons, faults) if options.persons else None
    if faults:
        raise BadInput(*faults)
    question = Question(options.need.stem, options.as_of, ids, purpose)
    with steps(options) as step:
        result = score_from_service(Service(options.server, token), question, options.output, step)
    return say(options, result, lambda: print(_in_words(result)))


def _in_words(result: Any) -> str:
    others = [f"{n:,} {status.replace('_', ' ')}" for status, n in result["status"].items() if n and status != "scored"]
    missing = f" ({', '.join(others)})" if others else ""
    return f"{counted(result['status']['scored'], 'score')} in {result['path']}{missing}"


def _token(options: argparse.Namespace, faults: list[Fault]) -> str | None:
    """The token of a file, or of the environment; never of the command line, which others on the machine can read."""
    where = "--token-file"
    if options.token_file is None:
        where, token = "ENNAKKO_TOKEN", settings_of(options).token
    else:
        try:
            token = options.token_file.read_text("ascii").strip()
        except (OSError, ValueError):
            faults.append(Fault(where, "cannot be read as a token", "Give the file that holds the token alone"))
            return None
    if token is not None and not (token.isascii() and token.isprintable() and 0 < len(token) <= _LONGEST_TOKEN):
        faults.append(Fault(where, "does not hold a token alone", "Write the token in it, in one line"))
    elif token is not None and " " in token:
        faults.append(Fault(where, "does not hold a token alone", "Write the token in it, without the word Bearer"))
    return token


def _person_ids(persons: str, faults: list[Fault]) -> pl.Series | None:
    """Ids from a file's column ``person_id``, or with commas between; None with faults."""
    import polars as pl

    path = Path(persons)
    if path.suffix not in _FILES and not path.exists():
        ids = pl.Series("person_id", [name.strip() for name in persons.split(",")], dtype=pl.String)
    else:
        try:
            read = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
            ids = read["person_id"]
        except pl.exceptions.ColumnNotFoundError:
            faults.append(Fault("--persons", "has no column person_id", "Give a file with a row for each person"))
            return None
        except (OSError, pl.exceptions.PolarsError):
            mend = "Give a CSV or Parquet file with the column person_id, or ids with commas between"
            faults.append(Fault("--persons", "cannot be read", mend))
            return None
    if ids.dtype != pl.String and not ids.dtype.is_integer():
        faults.append(Fault("--persons: person_id", "is neither text nor whole numbers", "Give ids as text"))
        return None
    ids = ids.cast(pl.String)
    blank = int((ids.is_null() | (ids.str.strip_chars() == "")).sum())
    again = len(ids) - ids.n_unique()
    if not len(ids):
        faults.append(Fault("--persons", "names nobody", "Give the id of at least one person"))
    if blank:
        faults.append(Fault("--persons: person_id", f"is empty in {counted(blank, 'row')}", "Fill in or leave out"))
    if again:
        faults.append(
            Fault("--persons: person_id", f"was given before in {counted(again, 'row')}", "Give each id once")
        )
    return ids
