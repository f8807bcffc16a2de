"""The command ``ennakko week``, and what it says."""

from __future__ import annotations

import argparse
import sys

from serving.progress import silent
from serving.saying import Result, counted, home_of, say, steps, table


def week(options: argparse.Namespace) -> int:
    """The lists of a day, the leader's page and the area table; the exit code is the worst of all needs."""
    from serving.weekly import run_week

    with steps(options) as step:
        result = run_week(
            home_of(options),
            options.city,
            options.as_of,
            needs=options.need,
            again=options.again,
            max_age=options.max_age,
            language=options.lang,
            step=silent if options.quiet else step,
        )
    code: int = result["exit_code"]
    if not options.quiet or options.json:
        say(options, result, lambda: _say_week(result))
    _say_errors(result)
    return code


def _say_week(result: Result) -> None:
    city = result["city"]
    rejected = counted(city["rejected"], "rejected row")
    print(f"week of {result['as_of_date']}: extract of {city['extract_date']}, {city['age_days']} days old, {rejected}")
    rows = [
        (
            need["need"],
            need["state"] + ("" if need.get("is_new", True) else " before"),
            f"{need['listed']:,}" if "listed" in need else "–",
            need.get("list_id", "–"),
        )
        for need in result["needs"]
    ]
    table(rows, ("need", "state", "people", "list"), unbroken=(0, 3))
    for need in result["needs"]:
        if need.get("objected_since"):
            print(f"{need['need']}: somebody on the list has objected since; call its files back")
    print("\n".join([*result["pages"], *result["area_table"]]))


def _say_errors(result: Result) -> None:
    """Why needs have no list, on standard error, so that a cron job's mail holds nothing else."""
    for need in result["needs"]:
        for error in need.get("errors", ()):
            said = f"{need['need']}: {error['where']}: {error['wrong']}. {error['mend']}"
            code = f" [{error['code']}]" if error.get("code") else ""
            print(said + code, file=sys.stderr)
