"""A verdict as a report may tell it: without the numbers of checks and record that rest on withheld figures.

The signed verdict keeps every number; whoever renders it shows no more of a group than the tables by group do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ethics.report_tables import CountTable

if TYPE_CHECKING:
    from ethics.verdict import Check, Verdict

WITHHELD = "withheld"
_RATES_OF_STATISTIC = {
    "recall_ratio_at_k_audit": ("recall_ratio@k_audit",),
    "recall_ratio_at_k": ("recall_ratio@k",),
    "observed_to_expected": ("observed_to_expected@none", "observed_to_expected@below_k_audit"),
}
_PLACE = ("attribute", "group", "cut")


def without_withheld(verdict: Verdict, counts: Mapping[str, CountTable]) -> Verdict:
    """The verdict with the numbers blanked that would tell of a withheld figure. Its id is not the verdict's.

    Parameters
    ----------
    counts : mapping of attribute to CountTable
        The tables by group, with what is withheld.
    """
    record = dict(verdict.record)
    for name in ("decomposition", "exposure", "power"):
        if name in record:
            record[name] = [_row(name, row, counts) for row in record[name]]
    return replace(verdict, checks=tuple(_check(check, counts) for check in verdict.checks), record=record)


def _check(check: Check, counts: Mapping[str, CountTable]) -> Check:
    attribute, _, group = (check.group or "").partition("=")
    table = counts.get(attribute)
    if table is None or group not in table.groups:
        return check
    facts = dict(check.facts)
    if table.is_hidden("recall_ratio@k_audit", group) or table.is_hidden("missed_residents@k_audit", group):
        facts = {name: fact for name, fact in facts.items() if not name.startswith("missed")}
    rates: tuple[str, ...] = _RATES_OF_STATISTIC.get(check.statistic, ("n",))
    if check.statistic.partition(":")[0] == "need_at_score":
        rates = tuple(rate for rate in table.rates if rate.startswith("need_at_score:"))
    if any(table.is_hidden(rate, group) for rate in rates):
        return replace(check, value=None, low=None, high=None, facts=facts)
    return replace(check, facts=facts)


def _row(name: str, row: Mapping[str, Any], counts: Mapping[str, CountTable]) -> Mapping[str, Any]:
    table, group = counts.get(str(row.get("attribute"))), str(row.get("group"))
    if table is None or group not in table.groups:
        return row
    if not table.is_hidden(f"recall@{row['cut']}" if name == "decomposition" else "n", group):
        return row
    return {key: value if key in _PLACE or not _is_number(value) else WITHHELD for key, value in row.items()}


def _is_number(value: Any) -> bool:
    try:
        return value is not None and float(value) == float(value)
    except ValueError:
        return False
