"""What a verdict's record tells of groups beside the checks: crossings, why residents are missed, order, power.

Plain strings, as signed files hold numbers; nothing is decided by them. Groups of fewer than ``least`` persons are
left out, for the verdict tells that they exist (C401) and not how they fare.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ethics.digests import decimal
from ethics.group_measures import AT_AUDIT, AT_K, NO_CUT, SHRUNK

if TYPE_CHECKING:
    from ethics.fairness import FairnessTable
    from ethics.group_measures import Estimate

MOST_CROSSINGS = 50
Told = dict[str, str | None]


def group_record(table: FairnessTable | None, least: int) -> dict[str, list[Told]]:
    """The tables ``crossings`` (largest harm first), ``decomposition``, ``exposure`` and ``power``.

    Parameters
    ----------
    least : int
        Persons a group must have to be told of.
    """
    if table is None or not table.has_label:
        return {"crossings": [], "decomposition": [], "exposure": [], "power": []}
    groups = [row for row in table.groups.iter_rows(named=True) if row["n"] >= least]
    places = [(str(row["attribute"]), str(row["group"])) for row in groups]
    return {
        "crossings": _crossings(table, least),
        "decomposition": [
            _place(attribute, group, cut=cut)
            | _numbers(
                (name, table.get(attribute, group, name, cut))
                for name in ("recall", "expected_recall", "missed_residents", "missed_by_base_rate", "missed_by_model")
            )
            for attribute, group in (places if table.has_probability else [])
            for cut in (AT_AUDIT, AT_K)
        ],
        "exposure": [
            _place(attribute, group)
            | _numbers((name, table.get(attribute, group, name, AT_K)) for name in ("mean_rank", "exposure_ratio"))
            for attribute, group in (places if not table.fixed else [])
        ],
        "power": [
            _place(*(str(row[name]) for name in ("attribute", "group")), testable=str(row["testable"]))
            | {"never_testable": str(row["never_testable"])}
            | {name: _text(row[name]) for name in ("detectable_recall_gap", "detectable_oe", "fair_pass_share")}
            | {"periods_to_pool": None if row["periods_to_pool"] is None else str(row["periods_to_pool"])}
            for row in groups
            if "periods_to_pool" in row
        ],
    }


def _crossings(table: FairnessTable, least: int) -> list[Told]:
    """Tested crossings, the one with the least shrunk recall first; then the small ones by name."""
    tested = []
    for row in table.crossings.filter(table.crossings["n"] >= least).iter_rows(named=True):
        attribute, group = str(row["attribute"]), str(row["group"])
        told = _place(attribute, group, kind=str(row["kind"]))
        recall = table.get(attribute, group, "recall_ratio" + SHRUNK, AT_AUDIT)
        measures: list[tuple[str, str]] = [("recall_ratio", AT_AUDIT)]
        if table.has_probability:
            measures.append(("observed_to_expected", NO_CUT))
        measures += [(f"need_at_score:{name}", AT_AUDIT) for name in table.indicators]
        named = [(name + end, table.get(attribute, group, name + end, cut)) for name, cut in measures for end in _ENDS]
        missed = [("missed_residents", table.get(attribute, group, "missed_residents", AT_AUDIT))]
        if row["kind"] == "small":
            named = missed = []
        order = (-recall.p_harm, recall.value) if recall.value == recall.value else (1.0, 0.0)
        tested.append(((*order, attribute, group), told | _numbers([*named, *missed])))
    tested.sort(key=lambda item: item[0])
    return [told for _, told in tested[:MOST_CROSSINGS]]


_ENDS = ("", SHRUNK)


def _place(attribute: str, group: str, **more: str) -> Told:
    return {"attribute": attribute, "group": group, **more}


def _numbers(estimates: Iterable[tuple[str, Estimate]]) -> Told:
    return {
        f"{name}{end}": _text(number)
        for name, estimate in estimates
        for end, number in (("", estimate.value), (".low", estimate.low), (".high", estimate.high))
    }


def _text(number: float | None) -> str | None:
    return None if number is None or number != number else decimal(number)
