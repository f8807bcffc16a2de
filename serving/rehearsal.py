"""The rehearsal of a judging: what the gate would say, in aggregates, without a key, a signature or a verdict.

It shows no person and leaves nothing that could be signed or approved: no envelope, no verdict id, no cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ethics.verdict import verdict_state
from ethics.whole_file import write_whole
from serving.home import Home
from serving.opening import open_city_for
from serving.progress import Step
from serving.saying import Result, interval, number, table
from serving.training_result import number_or_null

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from ethics.fairness import FairnessTable
    from ethics.policy import Policy
    from ethics.report_figures import Figures
    from ethics.verdict import Check, Verdict
    from models.need import Need

REHEARSAL, WITHHELD = "REHEARSAL", "withheld"
NOT_ASKED = {
    "C702": "not asked in a rehearsal: nobody signs",
    "C801": "not asked in a rehearsal: no list leaves, so there is nothing to stop",
}
"""Checks of the home rather than of the model; what they would ask for is told under ``still_needed``."""


@dataclass(frozen=True)
class _Ranked:
    """The judged people of one day in rank order, as units are told from."""

    frame: pl.DataFrame
    as_of_date: date


def rehearsed(
    home: Home,
    run_id: str,
    verdict: Verdict,
    fairness: FairnessTable,
    rows: pl.DataFrame,
    need: Need,
    city_folder: Path,
    step: Step,
    now: datetime,
) -> dict[str, Any]:
    """What a rehearsal tells, and a record of it in the home, marked as one.

    Parameters
    ----------
    verdict : Verdict
        As the gate gave it; it is neither sealed nor kept.
    rows : polars.DataFrame
        The judged rows; only counts of them leave.

    Returns
    -------
    dict
        ``state`` is always "REHEARSAL"; ``would_be`` the word a verdict would have, were all signatures there.
        ``groups``, ``list_by_unit`` and ``checks`` hold the word "withheld" for what counts too few people, or would
        give such a count away; null is what was not measured.
    """
    from ethics.report_figures import Figures

    word, _ = would_be(verdict)
    figures = Figures(fairness, home.policy.min_persons_public)
    step(f"{need.id}: counting the list by unit")
    result: dict[str, Any] = {
        "rehearsal": True,
        "state": REHEARSAL,
        "would_be": word,
        "need": need.id,
        "run_id": run_id,
        "checks": checks_told(verdict, figures),
        "not_asked": [{"id": id, "why": why} for id, why in NOT_ASKED.items()],
        "groups": _groups(figures),
        "list_by_unit": _list_by_unit(home, rows, need, city_folder, step),
        "still_needed": _still_needed(home, verdict.checks, home.policy, now),
    }
    path = home.root / "rehearsals" / need.id / f"{run_id}.json"
    write_whole(path, json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8"))
    home.audit_log.append("rehearse", "data scientist", need=need.id, run=run_id, would_be=result["would_be"])
    return {**result, "path": str(path)}


def would_be(verdict: Verdict) -> tuple[str, list[Check]]:
    """The word a verdict would have, were all signatures there; and the checks that are of the model alone."""
    asked = [check for check in verdict.checks if check.id not in NOT_ASKED]
    return verdict_state(asked, [id for id in verdict.required if id not in NOT_ASKED]), asked


def checks_told(verdict: Verdict, figures: Figures) -> list[dict[str, Any]]:
    """The checks of the model alone as JSON values, withheld and rounded as a report of the same people would."""
    from ethics.report_figures import GROUPS
    from ethics.withheld_numbers import without_withheld

    told = without_withheld(verdict, {name: part for (kind, name), part in figures.counts.items() if kind == GROUPS})
    return [_told_of(check) for check in would_be(told)[1]]


def _check_facts(check: Check) -> dict[str, Any]:
    """A check as a rehearsal tells it: words, and numbers that are null where there are none."""
    words = {name: getattr(check, name) for name in ("id", "severity", "state", "statistic", "group", "needs")}
    return {
        **words,
        "attested_by": check.attested_by,
        **{name: number_or_null(getattr(check, name)) for name in ("value", "low", "high", "threshold")},
    }


def _told_of(check: Check) -> dict[str, Any]:
    """A check with rounded numbers; the word for what is withheld where that is why it has none."""
    facts = _check_facts(check)
    if check.facts.get("withheld"):
        return facts | dict.fromkeys(("value", "low", "high"), WITHHELD)
    return facts | {name: _rounded(facts[name]) for name in ("value", "low", "high")}


def _rounded(value: float | None) -> float | None:
    """As precise as a report: more digits of a rate would give counts away."""
    from ethics.report_text import machine

    return None if value is None else float(machine(value))


def _groups(figures: Figures) -> list[dict[str, Any]]:
    """Per group: persons, share on the list, recall ratio at k*, as a report of the same people would tell them."""
    from ethics.fairness import AT_AUDIT
    from ethics.report_figures import Column

    rows = []
    for attribute, groups in figures.groups.items():
        for row in groups:
            n, listed = (figures.count(attribute, row["group"], name) for name in ("n", "selected_k"))
            told: dict[str, Any] = {"n": WITHHELD if n is None else n, "share_listed": WITHHELD}
            if n is not None and listed is not None:
                told["share_listed"] = _rounded(listed / n) if n else None
            recall: Any = None
            if figures.table.has_label:
                recall = figures.estimate(attribute, row["group"], Column("recall_ratio", AT_AUDIT))
            for name, part in (("recall_ratio", "value"), ("low", "low"), ("high", "high")):
                if recall is not None:
                    told[name] = _rounded(number_or_null(getattr(recall, part)))
                else:
                    told[name] = WITHHELD if figures.table.has_label else None
            rows.append({"attribute": attribute, "group": row["group"], **told, "testable": bool(row["testable"])})
    return rows


def _list_by_unit(
    home: Home, rows: pl.DataFrame, need: Need, city_folder: Path, step: Step
) -> list[dict[str, str | int | None]]:
    """How many each unit would have listed of the people judged last; withheld where that is too few to be told."""
    import polars as pl

    from scoring.units import split_capacity, unit_of_persons, units_of

    city = open_city_for(home, city_folder, need, step)
    units = units_of(city, need)
    day = cast("date", rows["as_of_date"].max())
    last = rows.filter(pl.col("as_of_date") == day).sort(["rank_score", "tie_key"], descending=[True, False])
    served = unit_of_persons(city, units, cast(Any, _Ranked(last, day))).drop_nulls("unit_id")
    people = dict(served.group_by("unit_id").len().iter_rows())
    capacity = {
        unit: None if attempts is None else need.list.places(attempts)
        for unit, attempts in units.select("unit_id", "capacity").iter_rows()
    }
    shares = split_capacity(need.listed_k, units["unit_id"].to_list(), people, capacity)
    names = dict(units.select("unit_id", "name").iter_rows())
    told = told_by_unit(shares, home.policy.min_persons_public)
    return [{"unit": names[unit] or unit, "listed": WITHHELD if n is None else n} for unit, n in told.items()]


def told_by_unit(listed: Mapping[str, int], least: int) -> dict[str, int | None]:
    """How many each unit would list; None where fewer than ``least``, zero too, could be read or worked out.

    The total is the capacity, which everybody knows.

    >>> told_by_unit({"a": 0, "b": 40, "c": 3, "d": 30}, least=5)
    {'a': None, 'b': 40, 'c': None, 'd': None}
    """
    from ethics.disclosure import suppress
    from ethics.report_tables import CountTable

    people = {"listed": tuple(listed.values())}
    (table,) = suppress([CountTable("units", "unit", tuple(listed), people, shown=("listed",))], least=least)
    return {unit: None if table.is_hidden("listed", unit) else n for unit, n in listed.items()}


def _still_needed(home: Home, checks: Sequence[Check], policy: Policy, now: datetime) -> list[str]:
    """What a real judging and an approval would still ask for, in the order it is done."""
    from ethics.verdict import OPEN_STATES

    keys = home.key_ring.trust().values()
    needed = [
        f"a key in date for {role}: ennakko keys make --role {role}"
        for role in policy.sign_roles
        if not any(key.role == role and key.state(now) == "in date" for key in keys)
    ]
    if any(check.id == "C801" and check.state != "pass" for check in checks):
        needed.append("a test of the stop switch: ennakko stop test")
    checks = [check for check in checks if check.id not in NOT_ASKED]
    blocked = sorted({check.id for check in checks if check.state in ("block", "error")})
    if blocked:
        needed.append(f"an answer to {', '.join(blocked)}, which nothing lifts")
    wanted: dict[str, set[str]] = {}
    for check in checks:
        if check.state in OPEN_STATES and not check.attested_by and check.needs:
            wanted.setdefault(check.needs, set()).add(check.id)
    for statement, ids in sorted(wanted.items()):
        rule = policy.attestations.get(statement)
        roles = ", ".join(rule.roles) if rule else "nobody named"
        needed.append(f"{statement} by {roles}, for {', '.join(sorted(ids))}: ennakko attest")
    needed += ["the gate's verdict: ennakko judge", "the auditor's signature on it: ennakko sign"]
    return needed


def _said(value: float | str | None) -> str:
    return value if isinstance(value, str) else number(value)


def say_rehearsed(result: Result) -> None:
    """The rehearsal in words and tables."""
    print(f"{result['need']}: REHEARSAL. A verdict would be {result['would_be']}; this is none.")
    open_checks = [check for check in result["checks"] if check["state"] not in ("pass", "warn")]
    if open_checks:
        rows = [(c["id"], c["state"].replace("_", " "), c["group"] or "", c["needs"] or "nothing") for c in open_checks]
        table(rows, ("check", "state", "group", "lifted by"))
    table(
        [
            (
                f"{r['attribute']}: {r['group']}",
                _said(r["n"]),
                _said(r["share_listed"]),
                _said(r["recall_ratio"]),
                WITHHELD if r["low"] == WITHHELD else interval(r),
            )
            for r in result["groups"]
        ],
        ("group", "persons", "share listed", "recall ratio at k*", "interval"),
    )
    table([(row["unit"], _said(row["listed"])) for row in result["list_by_unit"]], ("unit", "would be listed"))
    print('A dash stands for what was not measured; "withheld", where too few people could be told from it.')
    print("A real judging still needs:")
    for needed in result["still_needed"]:
        print(f"- {needed}")
