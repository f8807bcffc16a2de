"""The command ``ennakko outcomes``, and what it says."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from serving.saying import Result, home_of, say, steps, table

if TYPE_CHECKING:
    from scoring.happened_texts import HappenedWords


def outcomes(options: argparse.Namespace) -> int:
    """What came of lists: reach, yield, uptake, missed need, the effect of a place."""
    from serving.happened_work import what_happened

    with steps(options) as step:
        result = what_happened(
            home_of(options),
            options.need,
            list_id=options.list_id,
            since=options.since,
            city=options.city,
            by=tuple(options.by),
            seed=options.seed,
            step=step,
        )
    return say(options, result, lambda: say_happened(result, options.lang))


def say_happened(result: Result, language: str) -> None:
    """Counts and shares, what was missed, what a place changed, and groups."""
    from scoring.happened_texts import HappenedWords

    words = HappenedWords(language)
    if not result["lists"]:
        print(words("none"))
        return
    n = len(result["lists"])
    lists = words("list_one") if n == 1 else words("list_many", n=words.number(n))
    print(words("title", need=result["need"], lists=lists, first=result["first"], last=result["last"]))
    print(words("intro"))
    rows = [
        (words("listed"), words.number(result["listed"]), ""),
        (words("tried"), words.number(result["tried"]), ""),
        *(
            (words(name), words.number(result[name]), words.percent(result[share]))
            for name, share in (("reached", "reach"), ("found", "found_share"), ("taken_up", "uptake"))
        ),
    ]
    table(rows, ("", "n", "%"))
    print(words("found_note"))
    for sentence in words.missed_and_effect(result["missed"], result["effect"]):
        print(sentence)
    _say_groups(result, words)


def _say_groups(result: Result, words: HappenedWords) -> None:
    parts = [*result["channels"], *result["groups"]]
    if not parts:
        return
    print(words("group_caption"))
    heads = [words(name) for name in ("attribute", "group", "people", "reach_share", "uptake_share")]
    table([_group_row(row, words) for row in parts], heads, unbroken=(0, 1))
    for one in result.get("low_uptake", []):
        limits = {"ratio": words.number(one["value"], 2), "limit": words.number(one["threshold"], 2)}
        print(words("low_uptake", group=one["group"], **limits))


def _group_row(row: dict[str, Any], words: HappenedWords) -> list[str]:
    attribute = words("channel") if row["attribute"] == "channel" else row["attribute"].replace("_", " ")
    people = words("withheld") if row["listed"] is None else words.number(row["listed"])
    shares = [words("withheld") if row[name] is None else words.percent(row[name]) for name in ("reach", "uptake")]
    return [attribute, row["group"], people, *shares]
