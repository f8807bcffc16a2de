"""The command ``ennakko erase``: one person, everybody of a restored backup, or what lies too long."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ethics.refusals import BadInput, Fault, Inconclusive
from serving.home import Home
from serving.saying import Result, counted, home_of, say, steps


def erase(options: argparse.Namespace) -> int:
    """Forget a person for good; or, after a restore, everybody who was ever erased."""
    from serving.erasure_work import erase_again, erase_person

    if [bool(options.person_id), options.restored, options.overdue].count(True) != 1:
        mend = "Give one: a person_id to erase; --restored after a backup came back; --overdue for what lies too long"
        wrong = "is given with --restored or --overdue" if options.person_id else "is missing"
        raise BadInput(Fault("person", wrong, mend))
    home, asked = home_of(options), {"by": options.by, "reason": options.reason}
    if options.overdue:
        return _erase_overdue(options, home)
    with steps(options) as step:
        if options.restored:
            result = erase_again(home, **asked, step=step)
        else:
            more = {"city": options.city, "language": options.lang}
            result = erase_person(home, options.person_id, **asked, **more, step=step)
    said = say(options, result, lambda: _say_again(result) if options.restored else _say_erased(result))
    return Inconclusive.exit_code if result["unreadable"] else said


def _erase_overdue(options: argparse.Namespace, home: Home) -> int:
    from serving.retention import forget_overdue

    if not options.by.strip():
        raise BadInput(Fault("--by", "is missing", "Say who erases, by role"))
    result = forget_overdue(home, options.by.strip(), datetime.now(UTC))
    return say(options, result, lambda: _say_overdue(result))


def _say_overdue(result: Result) -> None:
    if not result["removed"] and not result["rows"]:
        print("Nothing lies longer than the policy's schedule lets it.")
    for path in result["removed"]:
        print(f"removed: {path}")
    for table, n in result["rows"].items():
        print(f"rows deleted: {table.replace('_', ' ')} {n:,}")


def _say_erased(result: Result) -> None:
    rows = ", ".join(f"{table.replace('_', ' ')} {n:,}" for table, n in result["rows"].items())
    print(f"Erased. Rows emptied or deleted: {rows}." if rows else "Erased; the database held nothing of this person.")
    _say_files(result)
    if result["cache_blocks"]:
        print(f"{counted(result['cache_blocks'], 'block')} of the feature cache removed.")
    if not result["wiped"]:
        print("The database's free space is cleared at its next opening: others kept it busy.")
    print("A tombstone stays: the person is masked from now on, and erased again from any restored backup.")
    if result["recall"]:
        print(f"Call back {counted(len(result['recall']), 'file')} that {_was(result['recall'])} handed out:")
        for one in result["recall"]:
            print(f"  {one['file']} (list {one['list_id']}, {one['unit_id'] or 'all units'})")
        print("Copies of files that lay in the home are gone there; make the list again: ennakko list.")


def _say_again(result: Result) -> None:
    print(f"{counted(result['tombstones'], 'tombstone')}: the database knows nobody whom they stand for.")
    _say_files(result)


def _say_files(result: Result) -> None:
    for name in ("rewritten", "removed"):
        for path in result[name]:
            print(f"{name}: {path}")
    for path in result["unreadable"]:
        print(f"CANNOT BE READ, and may still hold somebody: {path}. Restore or remove it, and erase again")
    for run in result["runs"]:
        print(f"evidence of run {run}: rewritten, its new digest logged")


def _was(files: list[Result]) -> str:
    return "was" if len(files) == 1 else "were"
