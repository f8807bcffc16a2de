"""Proposals and the nearest-unit rule by group: numbers of people and means, small groups withheld.

Groups are joined inside :class:`ethics.groups.GroupRegister`, and only sums leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ethics.disclosure import suppress
from ethics.groups import GroupRegister
from ethics.report_tables import CountTable
from scoring.assignment import PlaceProposals

RULES = ("ours", "nearest")


def by_group(found: PlaceProposals, register: GroupRegister, wanted: Sequence[str], least: int) -> list[dict[str, Any]]:
    """How each group fares under the proposals and under the nearest-unit rule.

    Parameters
    ----------
    found : PlaceProposals
    register : GroupRegister
    wanted : sequence of str
        Attributes; those that the register does not have are left out.
    least : int
        No number of people below this can be read or worked out.

    Returns
    -------
    list of dict
        Per attribute and group: ``attribute``, ``group``, ``n`` children, and for each rule (``ours``, ``nearest``)
        ``none`` (children without a place), ``mean_metres`` (of those with one) and ``expected_acceptance`` (share of
        all); None where withheld or not known. With ``n``, the children with a place would tell those without, who
        are few: they are not told.
    """
    attributes = [name for name in wanted if name in register.attributes]
    if found.people.is_empty() or not attributes:
        return []
    columns = [name for name in found.people.columns if name != "person_id"]
    sums = register.sums(found.people, columns)
    tables = []
    for attribute in attributes:
        rows = sums.filter(sums["attribute"] == attribute)
        counts = {"n": tuple(rows["n"].to_list())}
        for rule in RULES:
            placed = rows[f"{rule}.placed"]
            none = tuple(n - int(p) for n, p in zip(counts["n"], placed, strict=True))
            # So few that everyone's figure alone tells each group's about: by group they are not told at all.
            if sum(none) == 0 or sum(none) >= least:
                counts[f"{rule}.none"] = none
        tables.append(
            CountTable(
                name="groups",
                attribute=attribute,
                groups=tuple(rows["group"].to_list()),
                counts=counts,
                totals={name: sum(values) for name, values in counts.items()},
                shown=tuple(counts),
                rates={"means": ("n",)},
            )
        )
    answer = []
    for table in suppress(tables, least=least):
        rows = sums.filter(sums["attribute"] == table.attribute)
        answer += [_row(table, number, rows.row(number, named=True)) for number in range(len(table.groups))]
    return answer


def _row(table: CountTable, number: int, sums: dict[str, Any]) -> dict[str, Any]:
    group = table.groups[number]

    def shown(name: str) -> int | None:
        known = name in table.counts and not table.is_hidden(name, group)
        return table.counts[name][number] if known else None

    row: dict[str, Any] = {"attribute": table.attribute, "group": group, "n": shown("n")}
    withheld = table.is_hidden("means", group)
    for rule in RULES:
        row[f"{rule}.none"] = shown(f"{rule}.none")
        metres = _mean(sums[f"{rule}.metres"], sums[f"{rule}.placed"])
        share = _mean(sums[f"{rule}.acceptances"], sums["n"])
        row[f"{rule}.mean_metres"] = None if withheld else metres
        row[f"{rule}.expected_acceptance"] = None if withheld else share
    return row


def _mean(total: float, n: float) -> float | None:
    """None where there is nobody, or where the total is not known."""
    return round(total / n, 4) if n and total == total else None
