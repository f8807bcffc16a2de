"""The commands ``ennakko outcome add``, ``outcome import`` and ``outcomes``, and what they say."""

from __future__ import annotations

import argparse

from serving.saying import Result, counted, home_of, say, table


def outcome_add(options: argparse.Namespace) -> int:
    """One attempt, and what came of it."""
    from serving.outcome_work import add_outcome, moment_of_now

    cells = {
        "list_id": options.list_id,
        "person_id": options.person,
        "at": options.at or moment_of_now(),
        "outcome": options.outcome,
        "channel": options.channel or "",
        "worker": options.worker or "",
    }
    result = add_outcome(home_of(options), cells, by=options.by)
    return say(options, result, lambda: say_kept(result))


def outcome_import(options: argparse.Namespace) -> int:
    """Every attempt of a file, or none."""
    from serving.outcome_work import import_outcomes

    result = import_outcomes(
        home_of(options), options.file, list_id=options.list_id, dry_run=options.dry_run, by=options.by
    )
    return say(options, result, lambda: say_kept(result))


def say_kept(result: Result) -> None:
    """How many rows were new, known before, or of people who were erased."""
    would = "" if result["kept"] else " would be"
    print(f"{counted(result['rows'], 'row')} read: {counted(result['attempts'], 'attempt')}{would} new", end="")
    print(f", {result['known_before']:,} known before.")
    if result["erased"]:
        print(f"{counted(result['erased'], 'row')} of people who were erased: nothing is kept of them.")
    table([(name, f"{n:,}") for name, n in result["by_outcome"].items()], ("outcome", "rows"))
    if not result["kept"]:
        print("Tried only: nothing was kept.")
