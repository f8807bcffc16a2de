"""What came of mitigation, in words and tables: what a variant gives, what it costs, and who must vouch for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.saying import Result, count, number, table

_LABEL = "label"
_BY_FILE = "To make it real, write this into the need file: {change}. Then train, judge and sign as for any model."
_MAKE_REAL = {
    "label": _BY_FILE,
    "features": _BY_FILE,
    "weights": "No command trains with such weights for use; it takes AT-06 and a change of Ennakko itself.",
    "cut": "No command applies a cut by group today, and no list can be made with it. It would take AT-09 (a lawyer's "
    "and the equality officer's word: disadvantage shown, planned, temporary, proportionate) and a change of Ennakko.",
}


def in_plain_words(result: Result, row: Result) -> str:
    """One paragraph about one variant: the gate's word, who gains, who loses, who must vouch, how it becomes real."""
    base = result["variants"][0]
    said = [_state_in_words(row, base)]
    if row is not base:
        said.append(_people_in_words(result, row))
    group = _group_in_words(result, row, base)
    said += [group] if group else []
    said.append(_asks_in_words(row))
    if row["kind"] in _MAKE_REAL:
        said.append(_MAKE_REAL[row["kind"]].format(change=row["change"]))
    return " ".join(said)


def _state_in_words(row: Result, base: Result) -> str:
    blocks = f" by {', '.join(row['blocks'])}" if row["blocks"] else ""
    moved = [] if row is base else [*_gone(row, base), *_came(row, base)]
    change = f" ({'; '.join(moved)})" if moved else ""
    return f"The gate would say {row['state']}{blocks}{change}.{_alarms_in_words(row)}"


def _gone(row: Result, base: Result) -> list[str]:
    """What blocked and does so no longer; a check that cannot be asked any more is not one that passes."""
    untested = {check["id"] for check in row["checks"] if check["state"] == "not_testable"}
    gone = [id for id in base["blocks"] if id not in row["blocks"]]
    parts = [(", ".join(id for id in gone if id not in untested), "would block no longer")]
    parts.append((", ".join(id for id in gone if id in untested), "cannot be tested any more, which is no pass"))
    return [f"{ids} {what}" for ids, what in parts if ids]


def _came(row: Result, base: Result) -> list[str]:
    came = ", ".join(id for id in row["blocks"] if id not in base["blocks"])
    return [f"{came} would block now"] if came else []


def _alarms_in_words(row: Result) -> str:
    if not row["need_at_score_tested"]:
        return " Need at the same score can no longer be tested by the gate: too few independent signs are left."
    told = [f"{alarm['group']} ({alarm['indicators']})" for alarm in row["need_at_score_alarms"]]
    return f" At the same score there is more need in {'; '.join(told)}." if told else ""


def _people_in_words(result: Result, row: Result) -> str:
    """What is found more and less at k*, by each yardstick; what is not shown is said to be not shown."""
    parts = []
    for found in _at_audit(row):
        what = _outcome(found["outcome"])
        if found["more_low"] is None:
            parts.append(f"how many more by {what} is not determined")
            continue
        between = f"{count(found['more_low'], signed=True)} to {count(found['more_high'], signed=True)}"
        if found["more_low"] > 0 or found["more_high"] < 0:
            side = "more" if found["more"] > 0 else "fewer"
            parts.append(f"{count(abs(found['more']))} {side} by {what} ({between})")
        else:
            parts.append(f"neither more nor fewer shown by {what} ({between})")
    return f"In the same {result['places']['k_audit']:,} places it finds {'; '.join(parts)}."


def _group_in_words(result: Result, row: Result, base: Result) -> str:
    named = f"{result['attribute']}={result['group']}"
    parts = []
    for now, before in zip(row["group"], base["group"], strict=True):
        if now["recall_ratio"] is None:
            continue
        instead = "" if row is base else f" instead of {_few(before['found'])}"
        ratio = f"recall ratio {number(now['recall_ratio'])}, {_between(now, 'recall_ratio')}"
        parts.append(f"{_few(now['found'])}{instead} of {now['in_need']:,} by {_outcome(now['outcome'])} ({ratio})")
    return f"Of {named} it finds {'; '.join(parts)}." if parts else ""


def _few(found: int | None) -> str:
    """A count, or words where it is too small, or too near to everyone, to be told."""
    return "a few (withheld)" if found is None else f"{found:,}"


def _asks_in_words(row: Result) -> str:
    own = row["asks_by_itself"]
    by_itself = f" {own} is asked because a group is named, whatever the gate finds." if own else ""
    if not row["asks"]:
        return f"It would ask for no attestation.{by_itself}"
    lift = " They lift no block." if row["blocks"] else ""
    return f"It would ask for {', '.join(row['asks'])}.{lift}{by_itself}"


def _outcome(name: str) -> str:
    return "the run's label" if name == _LABEL else f"'{name}'"


def _at_audit(row: Result) -> list[Mapping[str, Any]]:
    return [found for found in row["found"] if found["cut"] == "k_audit"]


def _between(row: Result, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"


def say_mitigated(result: Result) -> None:
    """Three tables and a paragraph per variant."""
    places, variants = result["places"], result["variants"]
    named = f"{result['attribute']}={result['group']}"
    print(
        f"{result['need']}, run {result['run_id']}: {len(variants)} ways, each judged as a rehearsal. No verdict, and"
    )
    print("nothing here can be approved.")
    print("\nWhat the gate would say of each")
    _say_states(variants)
    print(
        f"\nPeople found, of everyone, by the run's label and its indicators: k = {places['k']:,}, k* = "
        f"{places['k_audit']:,} places for all"
    )
    _say_found(variants)
    print(f"\nWhat {named} gets of it in k* places")
    _say_group(variants)
    print("A dash stands where too few people are counted, or nothing is determined. Not shown is not fair.")
    print(f"Intervals: {result['intervals']}.")
    for row in variants:
        print(f"\n{row['variant']}. {row['summary']}")
    for left in result["not_tried"]:
        print(f"\nNot tried: {left['variant']}: {left['why']}.")
    print(f"\n{result['path']}")


def _say_states(variants: Sequence[Result]) -> None:
    rows = []
    for row in variants:
        worst = row["worst_off"]
        rows.append(
            (
                row["variant"],
                row["state"],
                ", ".join(row["blocks"]) or "nothing",
                ", ".join(row["asks"]) or "nothing",
                str(len(row["need_at_score_alarms"])) if row["need_at_score_tested"] else "not testable",
                "–" if worst is None else f"{worst['group']}: {_with_bounds(worst, 'recall_ratio', number)}",
                "–" if worst is None else _with_bounds(worst, "missed", count),
            )
        )
    heads = (
        "way",
        "state",
        "blocked by",
        "asks for",
        "need-at-score alarms",
        "worst off: recall ratio",
        "missed there",
    )
    table(rows, heads)


def _say_found(variants: Sequence[Result]) -> None:
    rows = []
    for row in variants:
        for found in row["found"]:
            more = "" if found["more"] is None else count(found["more"], signed=True)
            between = (
                ""
                if found["more_low"] is None
                else (f"{count(found['more_low'], signed=True)} to {count(found['more_high'], signed=True)}")
            )
            rows.append(
                (
                    row["variant"],
                    found["outcome"],
                    "k" if found["cut"] == "k" else "k*",
                    f"{count(found['value'])} ({count(found['low'])} to {count(found['high'])})",
                    more,
                    between,
                )
            )
    table(rows, ("way", "by", "at", "found (interval)", "more than as it is", "interval"))


def _say_group(variants: Sequence[Result]) -> None:
    rows = []
    for row in variants:
        for got in row["group"]:
            in_need = number(got["in_need"])
            rows.append(
                (
                    row["variant"],
                    got["outcome"],
                    f"{number(got['found'])} of {in_need}",
                    _with_bounds(got, "recall_ratio", number),
                    _with_bounds(got, "missed", count),
                    _with_bounds(got, "need_at_score", number) + (" alarm" if got["alarm"] else ""),
                )
            )
    heads = ("way", "by", "found of in need", "recall ratio (interval)", "missed (interval)", "need at the same score")
    table(rows, heads)


def _with_bounds(row: Result, name: str, said: Callable[[float | None], str]) -> str:
    if row[name] is None:
        return "–"
    return f"{said(row[name])} ({said(row[f'{name}_low'])} to {said(row[f'{name}_high'])})"
