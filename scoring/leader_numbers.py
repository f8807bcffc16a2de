"""The numbers of the leader's page that speak of few people: by unit, and by reason of being left out.

What is withheld is decided over all tables of a need together (:mod:`ethics.disclosure`). Whole numbers of a list stay:
they are everybody's. How many people a need covers is told roundly, or the reasons withheld would follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from ethics.disclosure import suppress
from ethics.report_tables import CountTable
from scoring.drawn_shares import drawn_share
from scoring.hygiene import REASONS

_PAST = ("listed", "reached", "found", "taken_up")
_SHARES = {"reach": ("reached",), "found_share": ("reached", "found"), "uptake": ("reached", "taken_up")}
_RESTS = (("listed", "reached", "unreached"), ("reached", "found", "not_found"), ("found", "taken_up", "not_taken_up"))


def about(n: float | None, least: int) -> int | None:
    """A number of people, to the nearest ``least``; None where it is smaller than that.

    >>> about(1234, 10), about(9, 10), about(None, 10)
    (1230, None, None)
    """
    return None if n is None or n < least else least * round(n / least)


def left_out(excluded: Mapping[str, int], least: int) -> list[dict[str, Any]]:
    """People left out by reason: ``reason`` and ``n``, None where fewer than ``least`` (or none); empty if nobody was.

    >>> left_out({"objected": 3, "listed recently": 40}, 10)
    [{'reason': 'objected', 'n': None}, {'reason': 'listed recently', 'n': 40}]
    """
    if not any(excluded.values()):
        return []
    reasons = tuple(reason for reason in REASONS if reason in excluded)
    counts = {"left_out": tuple(excluded[reason] for reason in reasons)}
    # How many were left out in all is not told, so a reason that is withheld does not follow from the others.
    (table,) = suppress([CountTable("groups", "reason", reasons, counts, shown=("left_out",))], least=least)
    return [
        {"reason": reason, "n": None if table.is_hidden("left_out", reason) else excluded[reason]} for reason in reasons
    ]


def unit_rows(units: Sequence[Mapping[str, Any]], worked: pl.DataFrame, least: int) -> list[dict[str, Any]]:
    """What each unit has on this list, and what earlier lists of it came to; small numbers withheld.

    Parameters
    ----------
    units : sequence of mapping
        ``unit_id``, ``name``, ``k`` (places), ``listed``, ``expected`` ({value, low, high} or None).
    worked : polars.DataFrame
        Rows of earlier lists that were there to be contacted, from :func:`scoring.what_happened.worked_rows`.
    least : int

    Returns
    -------
    list of dict
        ``unit_id``, ``name``, ``k``, ``listed``, ``share_used``, ``expected`` (None where not known, or withheld as
        ``is_withheld`` says), and ``past``: ``listed``, ``reached``, ``found``, ``taken_up``, ``reach``, ``uptake``,
        None where withheld.
    """
    ids = tuple(str(unit["unit_id"]) for unit in units)
    if not ids:
        return []
    (past,) = suppress([_past_table(ids, worked)], least=least)
    return [_unit_row(at, unit, past, least) for at, unit in enumerate(units)]


def _unit_row(at: int, unit: Mapping[str, Any], past: CountTable, least: int) -> dict[str, Any]:
    """Places are the service's own, and that they are used says nothing of anybody; what is found in them does."""
    k, listed = int(unit["k"]), int(unit["listed"])
    return {
        "unit_id": unit["unit_id"],
        "name": unit["name"],
        "k": k,
        "listed": listed,
        "share_used": listed / k if k else None,
        "is_withheld": listed < least,
        "expected": unit["expected"] if listed >= least else None,
        "past": _told(past, at),
    }


def _past_table(ids: tuple[str, ...], worked: pl.DataFrame) -> CountTable:
    """People by unit, once each, over all earlier lists."""
    people = worked.group_by("unit_id", "person_ref").agg(pl.col(name).any() for name in _PAST[1:])
    sums = people.group_by("unit_id").agg(pl.len().alias("listed"), *(pl.col(name).sum() for name in _PAST[1:]))
    by_unit = {row["unit_id"]: row for row in sums.iter_rows(named=True)}
    nothing = dict.fromkeys(_PAST, 0)
    counts = {name: tuple(int(by_unit.get(unit, nothing)[name]) for unit in ids) for name in _PAST}
    for whole, part, rest in _RESTS:
        counts[rest] = tuple(n - some for n, some in zip(counts[whole], counts[part], strict=True))
    return CountTable(
        name="past",
        attribute="unit",
        groups=ids,
        counts=counts,
        totals={f"past: {name}": sum(values) for name, values in counts.items()},
        shown=_PAST,
        sums=tuple((whole, (part, rest)) for whole, part, rest in _RESTS),
    )


def _told(table: CountTable, at: int) -> dict[str, Any]:
    unit = table.groups[at]
    told: dict[str, Any] = {name: None if table.is_hidden(name, unit) else table.counts[name][at] for name in _PAST}
    for name, of, some in (("reach", "listed", "reached"), ("uptake", "reached", "taken_up")):
        told[name] = _share(told[some], told[of])
    return told


def _share(some: int | None, of: int | None) -> dict[str, float] | None:
    if some is None or not of:
        return None
    was = np.zeros(of)
    was[:some] = 1
    return drawn_share(was, np.arange(of))._asdict()


def totals_told(totals: Mapping[str, Any], worked: pl.DataFrame, least: int) -> dict[str, Any]:
    """What all earlier lists of a need came to, without numbers of few people.

    Withheld is a number of fewer than ``least`` people reached, found or helped, one that leaves fewer as the rest of
    the number told before it, and every share of one. Who was to be contacted and who was tried is the service's own.

    Parameters
    ----------
    totals : mapping
        ``reached``, ``found``, ``taken_up`` (a person once for each list), ``reach``, ``found_share``, ``uptake``.
    worked : polars.DataFrame
        The rows they are of, as for :func:`unit_rows`.
    """
    people = worked.group_by("person_ref").agg(pl.col(name).any() for name in _PAST[1:])
    told, whole = dict(totals), (worked.height, people.height)
    for name in _PAST[1:]:
        some = (int(totals[name]), int(people[name].sum()))
        if min(some) < least or any(of - part < least for of, part in zip(whole, some, strict=True)):
            told[name] = None
        else:
            whole = some
    for share, parts in _SHARES.items():
        if any(told[part] is None for part in parts):
            told[share] = None
    return told


def cost_of_found(
    cost: float | None, attempts: float, found: Mapping[str, float | None] | None
) -> dict[str, Any] | None:
    """Euros for each person found, with the interval that the number found has; None where anything is not known.

    Where it may be that nobody was found, the upper end is None: no sum is too high.

    >>> cost_of_found(20.0, 60, {"value": 12.0, "low": 6.0, "high": 24.0})
    {'value': 100.0, 'low': 50.0, 'high': 200.0}
    >>> cost_of_found(20.0, 60, {"value": 1.0, "low": 0.0, "high": 3.0})["high"]
    >>> cost_of_found(None, 60, {"value": 12.0, "low": 6.0, "high": 24.0})
    """
    if cost is None or not attempts or found is None or not found["value"] or not found["high"]:
        return None
    spent = cost * attempts
    return {
        "value": spent / found["value"],
        "low": spent / found["high"],
        "high": spent / found["low"] if found["low"] else None,
    }
