"""What the commands do that look at a city, a need or its features; each says it in words or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from serving.saying import Result, counted, home_of, say, steps, table


def demo(options: argparse.Namespace) -> int:
    """The main job on an invented city."""
    from serving.demo import run_demo

    with steps(options) as step:
        result = run_demo(home_of(options), options.persons, options.seed, step)
    return say(options, result, lambda: print(result["story"]))


def city_check(options: argparse.Namespace) -> int:
    """What a city folder holds, and what the door rejected."""
    from serving import upkeep

    with steps(options) as step:
        result = upkeep.look_at_city(home_of(options), options.folder, step, rejects_to=options.rejects)
    return say(options, result, lambda: table(_city_rows(result), ("", "")))


def _city_rows(result: Result) -> list[tuple[str, str]]:
    codes = result["codes"]
    rows = [
        ("persons", f"{result['persons']:,}"),
        ("events", f"{result['events']:,}"),
        ("period", f"{result['first_event']} to {result['last_event']}"),
        ("extract date", result["extract_date"]),
        ("codes", f"{len(codes):,}"),
        *((f"  {code}", f"{n:,}") for code, n in list(codes.items())[:15]),
    ]
    if len(codes) > 15:
        rows.append(("  …", f"{len(codes) - 15} more (--json lists all)"))
    rows.append(("rejected rows", f"{result['rejected']:,}"))
    rows.extend((f"  {reason}", f"{n:,}") for reason, n in result["rejects_by_reason"].items())
    return rows


def city_synth(options: argparse.Namespace) -> int:
    """Write an invented city."""
    from serving import upkeep

    with steps(options) as step:
        result = upkeep.invent_city(options.folder, options.persons, options.seed, step)
    return say(options, result, lambda: print(f"{result['persons']:,} invented persons in {result['folder']}"))


def needs_list(options: argparse.Namespace) -> int:
    """The needs that come with Ennakko."""
    from models.need import list_needs

    rows = [(need.id, need.kind, need.title.en) for need in list_needs()]
    result = {"needs": [dict(zip(("id", "kind", "title"), row, strict=True)) for row in rows]}
    return say(options, result, lambda: table(rows, ("need", "kind", "title")))


def needs_check(options: argparse.Namespace) -> int:
    """Read a need file: everything that is wrong at once, or else what an auditor would miss."""
    from serving.need_work import check_need

    with steps(options) as step:
        result = check_need(home_of(options), options.need, options.city, step)
    return say(options, result, lambda: _say_checked(result))


def _say_checked(result: Result) -> None:
    k = result["k"]
    print(f"{result['id']}: can be read. {counted(len(result['columns']), 'column')}, {k} attempts in a period.")
    if city := result["city"]:
        print(f"In this city: {counted(city['as_of_dates'], 'as-of date')}, {city['mature']} of them mature.")
        if "eligible" in city:
            share = city.get("in_need_share")
            in_need = "" if share is None else f", {share:.1%} of those known were in need afterwards"
            print(f"On {city['latest']}: {counted(city['eligible'], 'person')} eligible{in_need}.")
    _say_remarks("What an auditor would miss", result["remarks"])


def _say_remarks(title: str, remarks: Sequence[Result]) -> None:
    from models.need_review import MEANING

    if not remarks:
        print(f"{title}: nothing.")
        return
    print(f"\n{title}")
    for weight, meaning in MEANING.items():
        rows = [(r["where"], r["missing"], r["mend"], r["check"]) for r in remarks if r["weight"] == weight]
        if rows:
            print(f"\n{meaning[0].upper()}{meaning[1:]}:")
            table(rows, ("where", "what", "mend", "check"))


def needs_new(options: argparse.Namespace) -> int:
    """Draft a need file from a few answers."""
    from serving.need_work import QUESTIONS, new_need

    city = None
    if options.city is not None:
        from features.city import open_city

        with steps(options) as step:
            step("opening the city")
            city = open_city(options.city)
    given = {question.option: getattr(options, question.option.replace("-", "_")) for question in QUESTIONS}
    result = new_need(options.path, given, city)

    def in_words() -> None:
        print(f"{result['path']}: a draft that can be read, with {counted(len(result['columns']), 'column')}.")
        _say_remarks("Still missing", result["missing"])
        print(f"\nNext: ennakko needs check {result['path']}")

    return say(options, result, in_words)


def features_build(options: argparse.Namespace) -> int:
    """Build a need's matrix into a file."""
    from serving import feature_work

    with steps(options) as step:
        result = feature_work.build_features(
            home_of(options),
            options.city,
            options.need,
            options.as_of,
            options.out,
            use_cache=not options.no_cache,
            threads=options.threads,
            step=step,
        )
    size = f"{counted(result['rows'], 'row')} × {counted(result['columns'], 'column')}"
    said = f"{size} in {result['path']}\ndigest {result['digest']}"
    return say(options, result, lambda: print(said))


def features_plan(options: argparse.Namespace) -> int:
    """What a build would compute, and why."""
    from serving import feature_words, feature_work

    with steps(options) as step:
        result = feature_work.plan_build(home_of(options), options.city, options.need, options.as_of, step)
    return say(options, result, lambda: feature_words.say_planned(result))


def features_explain(options: argparse.Namespace) -> int:
    """The events that made one cell."""
    from serving import feature_words, feature_work

    with steps(options) as step:
        result = feature_work.explain_to_reader(
            home_of(options),
            options.city,
            options.need,
            options.person,
            options.as_of,
            options.column,
            purpose=options.purpose,
            step=step,
        )
    say(options, result, lambda: feature_words.say_explained(result))
    return 0 if result["agrees"] else 1


def features_minimise(options: argparse.Namespace) -> int:
    """What a need reads beside what the city hands over."""
    from serving import feature_words, feature_work

    with steps(options) as step:
        result = feature_work.look_at_minimisation(home_of(options), options.city, options.need, options.as_of, step)
    return say(options, result, lambda: feature_words.say_minimised(result))


def leakcheck(options: argparse.Namespace) -> int:
    """Poison the future of a city and see that nothing changes."""
    from serving import feature_work

    with steps(options) as step:
        result = feature_work.check_for_leaks(home_of(options), options.city, options.need, options.seed, step)
    say(options, result, lambda: print("\n".join(result["story"])))
    return 0 if result["identical"] else 1
