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
_MEANS = {"metres": "mean_metres", "acceptances": "expected_acceptance"}


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
        Per attribute and group: ``attribute``, ``group``, ``n``, and for each rule (``ours``, ``nearest``) ``placed``,
        ``mean_metres`` and ``expected_acceptance`` (share); None where withheld or not known.
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
            counts[f"{rule}.placed"] = tuple(int(n) for n in rows[f"{rule}.placed"])
            # Who gets no place is a number of people as well: with it, placed and all tell one another.
            counts[f"{rule}.none"] = tuple(n - p for n, p in zip(counts["n"], counts[f"{rule}.placed"], strict=True))
        tables.append(
            CountTable(
                name="groups",
                attribute=attribute,
                groups=tuple(rows["group"].to_list()),
                counts=counts,
                totals={name: sum(values) for name, values in counts.items()},
                shown=("n", *(f"{rule}.placed" for rule in RULES)),
                sums=tuple(("n", (f"{rule}.placed", f"{rule}.none")) for rule in RULES),
                rates={f"{rule}.means": (f"{rule}.placed",) for rule in RULES},
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
        return None if table.is_hidden(name, group) else table.counts[name][number]

    row: dict[str, Any] = {"attribute": table.attribute, "group": group, "n": shown("n")}
    for rule in RULES:
        row[f"{rule}.placed"] = placed = shown(f"{rule}.placed")
        withheld = table.is_hidden(f"{rule}.means", group) or not placed
        for summed, mean in _MEANS.items():
            value = sums[f"{rule}.{summed}"] / placed if placed and not withheld else None
            row[f"{rule}.{mean}"] = None if value is None or value != value else round(value, 4)
    return row
