"""Who is found and missed by group under each scenario: numbers of people alone, small ones withheld."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ethics.disclosure import suppress
from ethics.groups import GroupRegister
from ethics.report_tables import CountTable
from scoring.simulation import History, Scenario


def found_by_group(
    history: History, scenarios: Sequence[Scenario], register: GroupRegister, wanted: Sequence[str], least: int
) -> list[dict[str, Any]]:
    """People in need found and missed by group; those whose outcome is not known are not counted.

    Parameters
    ----------
    history : History
    scenarios : sequence of Scenario
    register : GroupRegister
    wanted : sequence of str
        Attributes; none means all.
    least : int
        No number of people below this can be read or worked out from the table.

    Returns
    -------
    list of dict
        ``attribute``, ``group``, ``need``, and per scenario, in ``found`` and ``missed``, a list; None where withheld.
    """
    for attribute in wanted:
        register.only(attribute)  # refuses what the register does not have
    need = np.nan_to_num(history.label, nan=0.0)
    columns = {"need": need} | {f"found_{i}": need * history.listed(one) for i, one in enumerate(scenarios)}
    people = pl.DataFrame({"person_id": history.rows["person_id"], **columns})
    sums = register.sums(people, list(columns))
    names = [f"found_{i}" for i in range(len(scenarios))]
    tables = []
    for attribute in wanted or register.attributes:
        rows = sums.filter(sums["attribute"] == attribute)
        counts = {name: tuple(int(n) for n in rows[name]) for name in columns}
        for name in names:
            counts[_missed(name)] = tuple(n - f for n, f in zip(counts["need"], counts[name], strict=True))
        tables.append(
            CountTable(
                name="groups",
                attribute=attribute,
                groups=tuple(rows["group"].to_list()),
                counts=counts,
                totals={name: sum(values) for name, values in counts.items()},
                shown=tuple(counts),
                sums=tuple(("need", (name, _missed(name))) for name in names),
            )
        )
    return [
        {
            "attribute": table.attribute,
            "group": group,
            "need": _shown(table, "need", at),
            "found": [_shown(table, name, at) for name in names],
            "missed": [_shown(table, _missed(name), at) for name in names],
        }
        for table in suppress(tables, least=least)
        for at, group in enumerate(table.groups)
    ]


def _missed(found: str) -> str:
    return found.replace("found", "missed")


def _shown(table: CountTable, name: str, at: int) -> int | None:
    return None if table.is_hidden(name, table.groups[at]) else table.counts[name][at]
