"""A verdict as a report may tell it: without the numbers of checks and record that rest on withheld figures.

The signed verdict keeps every number; whoever renders it shows no more of a group than the tables by group do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ethics.crossings import POOLED, is_crossing
from ethics.report_tables import CountTable

if TYPE_CHECKING:
    from ethics.verdict import Check, Verdict

WITHHELD = "withheld"
_CALIBRATION = ("observed_to_expected@none", "observed_to_expected@below_k_audit")
_RATES_OF_STATISTIC = {
    "recall_ratio_at_k_audit": ("recall_ratio@k_audit",),
    "recall_ratio_at_k_audit_pooled": ("recall_ratio@k_audit",),
    "recall_ratio_at_k": ("recall_ratio@k",),
    "observed_to_expected": _CALIBRATION,
    "observed_to_expected_pooled": _CALIBRATION,
}
_ALL_OF_A_GROUP = ("n", "need", "recall_ratio@k_audit")
"""What must stand in the open for any other number about a group to be told."""
_RATES_OF_RECORD = {
    "decomposition": ("recall@{cut}",),
    "exposure": ("mean_rank@k", "exposure_ratio@k"),
    "power": ("power",),
    "crossings": ("recall_ratio@k_audit", "observed_to_expected@none"),
}
_ABOUT_GROUPS = ("group_proxies", "missingness", "observability")
"""Tables of a record whose other numbers rest on how many people a group has."""
_PLACE = ("attribute", "group", "cut", "kind", "feature", "label", "indicator")


def without_withheld(verdict: Verdict, counts: Mapping[str, CountTable]) -> Verdict:
    """The verdict with the numbers blanked that would tell of a withheld figure. Its id is not the verdict's.

    Parameters
    ----------
    counts : mapping of attribute to CountTable
        The tables by group, with what is withheld.
    """
    record = dict(verdict.record)
    for name in (*_RATES_OF_RECORD, *_ABOUT_GROUPS):
        if record.get(name):
            record[name] = [_row(name, row, counts) for row in record[name]]
    for name in ("decomposition", "exposure", "power"):
        if record.get(name):
            record[name] = _with_those_left_out(record[name], counts)
    choice = record.get("label_choice")
    if choice:
        record["label_choice"] = {
            **choice,
            **{name: [_row(name, row, counts) for row in choice[name]] for name in ("lists", "shifts")},
        }
    return replace(verdict, checks=tuple(_check(check, counts) for check in verdict.checks), record=record)


def _check(check: Check, counts: Mapping[str, CountTable]) -> Check:
    attribute, sign, group = (check.group or "").partition("=")
    if not sign and is_crossing(attribute):  # the numbers of one of its groups, or of those that are pooled
        group = str(check.facts.get("worst", POOLED))
    table = counts.get(attribute)
    if table is None or group not in table.groups:
        return check
    facts = dict(check.facts)
    if table.is_hidden("recall_ratio@k_audit", group) or table.is_hidden("missed_residents@k_audit", group):
        facts = {name: fact for name, fact in facts.items() if not name.startswith("missed")}
    rates: tuple[str, ...] = _RATES_OF_STATISTIC.get(check.statistic, _ALL_OF_A_GROUP)
    if check.statistic.partition(":")[0] == "need_at_score":
        rates = tuple(rate for rate in table.rates if rate.startswith("need_at_score:"))
    if any(table.is_hidden(rate, group) for rate in rates):
        blanked = {"withheld": "yes"} if check.value is not None else {}
        return replace(check, value=None, low=None, high=None, facts={**facts, **blanked})
    return replace(check, facts=facts)


def _row(name: str, row: Mapping[str, Any], counts: Mapping[str, CountTable]) -> Mapping[str, Any]:
    attribute, group = str(row.get("attribute")), str(row.get("group"))
    if "attribute" not in row:
        attribute, _, group = group.partition("=")
    table = counts.get(attribute)
    if table is None or group not in table.groups:
        return row
    rates = _RATES_OF_RECORD.get(name, ("n", "selected_k_audit") if name in ("lists", "shifts") else ("n",))
    if not any(table.is_hidden(rate.format(**row), group) for rate in rates):
        return row
    return {
        key: WITHHELD if key not in _PLACE and (value is None or _is_number(value)) else value
        for key, value in row.items()
    }


def _with_those_left_out(
    rows: Sequence[Mapping[str, Any]], counts: Mapping[str, CountTable]
) -> list[Mapping[str, Any]]:
    """The rows, and one for each group that has none: that it is missing would tell that it is small.

    What such a row says is the word for what is withheld, as in the rows of larger groups.
    """
    first = rows[0]
    cuts = list(dict.fromkeys(row.get("cut") for row in rows))
    held = {(row["attribute"], row["group"], row.get("cut")): row for row in rows}
    blank = {key: None if key in _PLACE else WITHHELD for key in first}
    return [
        held.get((attribute, group, cut))
        or {**blank, "attribute": attribute, "group": group, **({"cut": cut} if "cut" in first else {})}
        for attribute, table in counts.items()
        if not is_crossing(attribute)
        for group in table.groups
        for cut in cuts
    ]


def _is_number(value: Any) -> bool:
    try:
        return value is not None and float(value) == float(value)
    except ValueError:
        return False
