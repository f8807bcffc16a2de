"""What the report tells of groups where attributes meet, as tables of people, so that small cells are withheld there.

Crossings are told in ratios with intervals from replicates, each of which tells its counts about
(:mod:`ethics.published_figures`); their groups add up to the groups of the attributes that they cross.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ethics.group_measures import AT_AUDIT, NO_CUT
from ethics.rate_counts import rates_on
from ethics.report_tables import CountTable

if TYPE_CHECKING:
    from ethics.fairness import FairnessTable

TABLE = "groups"
RECALL_RATIO, OBSERVED = f"recall_ratio@{AT_AUDIT}", f"observed_to_expected@{NO_CUT}"
_MEASURED = ("tested", "pooled")


def crossing_counts(table: FairnessTable) -> list[CountTable]:
    """One table for each crossing of which anything was measured: people in need, and those found at the audit cut.

    A crossing that is only listed tells its name and no number.
    """
    if not table.has_label:
        return []
    by_attribute: dict[str, list[str]] = {}
    for attribute, group, kind in table.crossings.select("attribute", "group", "kind").iter_rows():
        if kind in _MEASURED:
            by_attribute.setdefault(str(attribute), []).append(str(group))
    return [_counts(table, attribute, names) for attribute, names in by_attribute.items()]


def _counts(table: FairnessTable, attribute: str, names: list[str]) -> CountTable:
    found = [table.get(attribute, name, "recall", AT_AUDIT) for name in names]
    counts = {
        "need": tuple(part.n for part in found),
        "found_k_audit": tuple(part.people for part in found),
        "missed_k_audit": tuple(part.n - part.people for part in found),
    }
    rates = rates_on([RECALL_RATIO, *([OBSERVED] if table.has_probability else [])])
    return CountTable(
        TABLE,
        attribute,
        tuple(names),
        counts,
        totals={name: sum(people) for name, people in counts.items()},
        sums=(("need", ("found_k_audit", "missed_k_audit")),),
        rates=rates,
        tested=(True,) * len(names),
    )
