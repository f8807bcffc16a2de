"""The command ``ennakko assign``, and what it says."""

from __future__ import annotations

import argparse

from serving.saying import Result, count, counted, home_of, interval, number, say, steps, table


def assign(options: argparse.Namespace) -> int:
    """Propose pre-school places; people decide."""
    from serving.assignment_work import assign_places

    with steps(options) as step:
        result = assign_places(
            home_of(options),
            options.city,
            options.as_of,
            need=options.need,
            settings=options.settings,
            out=options.out,
            seed=options.seed,
            step=step,
        )
    return say(options, result, lambda: say_places(result))


def say_places(result: Result) -> None:
    """Proposals beside the nearest-unit rule, and who needs a person."""
    ours, rule = result["ours"], result["nearest_unit_rule"]
    print("Proposals only: a person decides on every place, and no message has been sent.")
    rows = [
        ("children with a place", count(ours["placed"]), count(rule["placed"])),
        ("way on foot in all, km", number(ours["walking_metres"] / 1_000), number(rule["walking_metres"] / 1_000)),
        ("acceptances to expect", *(count(one["expected_acceptances"]["value"]) for one in (ours, rule))),
        ("  95 % interval", *(interval(one["expected_acceptances"], people=True) for one in (ours, rule))),
        (
            f"with brothers and sisters (of {ours['with_siblings']:,})",
            *(count(one["siblings_together"]) for one in (ours, rule)),
        ),
        ("in a unit of another language", *(count(one["other_language"]) for one in (ours, rule))),
        ("more than 2 km", *(count(one["beyond_2_km"]) for one in (ours, rule))),
    ]
    table(rows, ("", "proposals", "nearest-unit rule"))
    n = sum(result["exceptions"].values())
    verb = "stands" if n == 1 else "stand"
    print(f"{counted(n, 'exception')} {verb} with a person; {result['held']:,} places are kept free for them.")
    table(
        [(reason.replace("_", " "), f"{n:,}") for reason, n in result["exceptions"].items()], ("exception", "children")
    )
    missing = sum(result["no_place"].values())
    print(
        f"No place found for {missing:,} of {result['children']:,} children."
        if missing
        else "Nobody is without a place."
    )
    if not result["is_cheapest"]:
        print("The search stopped before it was certain that no other distribution is better.")
    print(result["path"])
