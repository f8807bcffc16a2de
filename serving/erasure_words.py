"""The command ``ennakko erase``, and what it says."""

from __future__ import annotations

import argparse

from ethics.refusals import BadInput, Fault
from serving.saying import Result, counted, home_of, say, steps


def erase(options: argparse.Namespace) -> int:
    """Forget a person for good; or, after a restore, everybody who was ever erased."""
    from serving.erasure_work import erase_again, erase_person

    if options.restored == bool(options.person_id):
        mend = "Give a person_id to erase, or --restored alone after files or database came back from a backup"
        raise BadInput(Fault("person", "is given with --restored" if options.restored else "is missing", mend))
    home, said = home_of(options), {"by": options.by, "reason": options.reason}
    with steps(options) as step:
        if options.restored:
            result = erase_again(home, **said, step=step)
        else:
            more = {"city": options.city, "language": options.lang}
            result = erase_person(home, options.person_id, **said, **more, step=step)
    return say(options, result, lambda: _say_again(result) if options.restored else _say_erased(result))


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
    for run in result["runs"]:
        print(f"evidence of run {run}: rewritten, its new digest logged")


def _was(files: list[Result]) -> str:
    return "was" if len(files) == 1 else "were"
