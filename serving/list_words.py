"""The commands ``ennakko list`` and ``ennakko lists``, and what they say."""

from __future__ import annotations

import argparse

from serving.saying import Result, home_of, say, steps, table


def outreach(options: argparse.Namespace) -> int:
    """The outreach lists of a need's units."""
    from serving.list_work import list_need

    with steps(options) as step:
        asked = (options.city, options.need, options.as_of, options.unit)
        result = list_need(home_of(options), *asked, step, language=options.lang)
    return say(options, result, lambda: _say_list(result))


def _say_list(result: Result) -> None:
    excluded = ", ".join(f"{n:,} {reason}" for reason, n in result["excluded"].items() if n) or "nobody"
    print(f"list {result['list_id']}: {result['listed']} people; left out: {excluded}")
    value = result["capacity_value"]
    if value is not None:
        print(_worth("one more worker", value["one_more_worker"], "more people in need"))
        print(_worth("a perfect order in today's places", value["perfect_order"], "more"))
    if result["objected_meanwhile"]:
        print(f"{result['objected_meanwhile']} objected while it was made: its files are RECALLED; make the list again")
    print("\n".join(result["files"]))


def _worth(who: str, estimate: Result, what: str) -> str:
    value, low, high = (estimate[part] for part in ("value", "low", "high"))
    if None in (value, low, high):
        return f"{who} would find: not known"
    return f"{who} would find {value:.1f} {what} (95 %: {low:.1f} to {high:.1f}), by the people the model was judged on"


def lists_show(options: argparse.Namespace) -> int:
    """What a past list rests on, what became of it, and who looked."""
    from serving.past_lists import show_list

    said = {"by": options.by, "purpose": options.purpose, "city": options.city}
    result = show_list(home_of(options), options.list_id, options.unit, **said)
    return say(options, result, lambda: _say_shown(result))


def _say_shown(result: Result) -> None:
    proof = result["proof"]
    state = "as it was published" if proof["whole"] else "NOT as it was published"
    rows = [
        ("list", result["list_id"]),
        ("need", f"{result['need']}, {result['period']}"),
        ("published", result["published_at"]),
        ("people", f"{result['listed']} of {result['cohort_n']:,}; attempts {result['capacity_k']}"),
        ("rows", f"{proof['rows']}, {state}; redacted {proof['redacted']}"),
        ("digest", result["list_digest"]),
        ("model", result["model_digest"]),
        ("verdict", result["verdict_id"]),
        ("matrix", result["matrix_digest"]),
        *((f"left out: {reason}", f"{n:,}") for reason, n in result["excluded"].items() if n),
        *((f"changed: {act}", f"{n:,}") for act, n in result["changes"].items()),
        *([("objected since", f"{result['objected_since']:,}")] if result["objected_since"] else []),
        *(("seen", f"{view['at']} {view['actor']}: {view['purpose']}") for view in result["views"]),
        *(("file", file["file"] + (" RECALLED" if file["recalled"] else "")) for file in result["files"]),
    ]
    table(rows, ("", ""))
    if "rows" in result:
        heads = ("place", "person", "why here", "band", "worker", "not by")
        names = ("position", "person_id", "kind", "rank_band", "worker", "not_by")
        rows_of = ({**row, "not_by": ", ".join(row["not_by"])} for row in result["rows"])
        shown = [tuple(str(row[name] if row[name] is not None else "") for name in names) for row in rows_of]
        table(shown, heads)


def lists_rebuild(options: argparse.Namespace) -> int:
    """A past list out of the store, proved row by row."""
    from serving.past_lists import rebuild_list

    who = {"by": options.by, "purpose": options.purpose}
    result = rebuild_list(home_of(options), options.list_id, options.out, **who)
    said = f"{result['rows']} rows, digest {result['list_digest']}: {result['path']}"
    redacted = f"REDACTED {result['redacted']}\n" if result["redacted"] else ""
    if n := result["objected_since"]:
        said += f"\n{n} of them objected since: this file is RECALLED; use nobody of it, and destroy it afterwards"
    return say(options, result, lambda: print(redacted + said))


def lists_change(options: argparse.Namespace) -> int:
    """Add, remove or assign somebody by hand."""
    from serving.past_lists import change_list

    result = change_list(
        home_of(options),
        options.list_id,
        options.unit,
        options.person_id,
        options.act,
        options.by,
        reason=getattr(options, "reason", ""),
        worker=getattr(options, "worker", ""),
    )
    return say(options, result, lambda: print(f"{result['act']}: list {result['list_id']}, {result['unit_id']}"))


def lists_why(options: argparse.Namespace) -> int:
    """Why somebody is, or is not, on a list."""
    from serving.list_work import why_not_listed

    with steps(options) as step:
        asked = (options.city, options.need, options.as_of, options.person_id)
        result = why_not_listed(home_of(options), *asked, step)
    return say(options, result, lambda: print(_why(result)))


def _why(result: Result) -> str:
    what = result["what"]
    if what == "excluded":
        return f"excluded: {result['reason']}"
    if result["place"] is None:
        return str(what)
    where = f"place {result['place']:,} of {result['unit_id']}, which lists {result['k']:,}"
    return f"{what}: {where}; rank band {result['rank_band']}"
