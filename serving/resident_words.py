"""The commands of residents, ``ennakko object`` and ``ennakko person``, and what they say."""

from __future__ import annotations

import argparse

from serving.saying import Result, counted, home_of, say, steps


def objection(options: argparse.Namespace) -> int:
    """Record or withdraw an objection."""
    from serving.objection_work import record_objection

    asked = {"channel": options.channel, "withdraw": options.withdraw, "by": options.by, "city": options.city}
    result = record_objection(home_of(options), options.person_id, options.need, **asked)
    return say(options, result, lambda: _say_objection(result))


def _say_objection(result: Result) -> None:
    to = "every need" if result["need"] == "*" else result["need"]
    way = "" if result["channel"] is None else f", contact by {result['channel']} alone"
    print(f"objection to {to}{way}: {_what_came_of_it(result)}")
    if result["objecting"] and result["seen_before"] is False:
        print("nobody with this pseudonym was ever scored or listed here: check it if that is a surprise")
    standing = [one for one in result["standing"] if one["need_id"] == "*" and one["channel"] is None]
    if not result["objecting"]:
        print("files that were recalled stay recalled" + ("; an objection to every need still stands" * bool(standing)))
    if result["recalled"]:
        n = sum(file["new"] for file in result["recalled"])
        print(f"{counted(n, 'file')} recalled now, {len(result['recalled']) - n} before: have every copy destroyed")
    for file in result["recalled"]:
        print(f"  {file['unit_id'] or 'all units'}: {file['file']}")
    for folder in result["places"]:
        print(f"place proposals that hold the person, to be called back by hand: {folder}")


def _what_came_of_it(result: Result) -> str:
    if not result["objecting"]:
        return "withdrawn, from this moment on"
    if result["erased"]:
        return "the person was erased, and is masked for good; nothing is recorded"
    if not result["changed"]:
        return "stood already, since the first time"
    if result["channel"] is None:
        return "recorded: masked in every matrix, score and list from this moment on"
    return "recorded: not contacted in this way from this moment on; the person may still be listed"


def person(options: argparse.Namespace) -> int:
    """Tell a person what was done with their data."""
    from serving.person_work import look_at_person

    with steps(options) as step:
        result = look_at_person(
            home_of(options),
            options.person_id,
            actor=options.actor,
            purpose=options.purpose,
            language=options.lang,
            city=options.city,
            numbers=options.numbers,
            html=options.html,
            step=step,
        )
    return say(options, result, lambda: _say_person(result))


def _say_person(result: Result) -> None:
    from scoring.person_page import render_text

    print(render_text(result))
    if result["html"] is not None:
        print(f"\n{result['html']}")
