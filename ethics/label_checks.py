"""P4, whom a label leaves out: the same people ranked by other signs of need.

Source: Obermeyer et al. 2019, Science 366:447: a label of spending passes over those who get less care for their need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ethics.case import Evidence
from ethics.check_register import RULE, Context, Finding, Unanswerable, check

NEED = "need"


@check("C414", "BA", "pass", "warn", "block", "needs_attestation", "inconclusive", "not_testable", "rule")
def label_passes_over_no_group(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """No group's share of the list falls because of what was chosen for a label.

    For each indicator, the group's share of the places (at k*) under the label is compared with its share had the
    indicator been the label. It *alarms* when the ratio is below four fifths (upper 95 % bound) **and** the group's
    people who would come on the list have no less of the other indicators than those who would leave it for them (the
    ratio's lower 95 % bound is above four fifths): the shift is then not one of need. A label of use or spending is
    blocked by two alarms and asks for AT-05 after one; a label of need asks for AT-05 after two, and warns after one:
    that one sign of need differs from another is no fault by itself. A label of use or spending passes when the group
    is shown not to fall (lower bound at four fifths), or to fall with its need (the ratio of need is below 1 with its
    upper bound). Otherwise it is inconclusive.
    """
    if evidence.kind == "rule":
        yield RULE
        return
    if evidence.label_choice is None:
        raise Unanswerable("who would be listed under other labels was not gathered")
    table, wanted = evidence.label_choice, context.policy.thresholds.min_indicators
    is_need = table["kind"] == NEED
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for row in table["shifts"]:
        by_group.setdefault(str(row["group"]), []).append(row)
    few = len(table["compared"]) < wanted or not by_group
    if few:
        yield {"state": "not_testable", "statistic": "share_of_list_ratio", "needs": "AT-05"}
    for group, rows in by_group.items():
        finding = _of_group(rows, is_need, wanted, context)
        if not few or "indicators" in finding["facts"]:  # an alarm is one, however few were compared
            yield finding | {"group": group}


def _of_group(rows: list[Mapping[str, Any]], is_need: bool, wanted: int, context: Context) -> Finding:
    limits = context.policy.thresholds
    compared = [row for row in rows if row["compared"]]
    alarms = [row for row in compared if _is_unjustified(row, limits.min_recall_ratio)]
    cleared = [
        row
        for row in compared
        if row["low"] >= limits.min_recall_ratio or (row["need_high"] is not None and row["need_high"] < 1.0)
    ]
    facts: dict[str, str | int] = {}
    if alarms:
        facts["indicators"] = ", ".join(sorted(str(row["indicator"]) for row in alarms))
        state = ("warn", "needs_attestation", "block")[(len(alarms) >= 2) + (not is_need)]
    elif len(compared) < wanted:
        state = "warn" if is_need else "not_testable"
        facts["case"] = "not_testable"
    else:
        state = "pass" if is_need or len(cleared) == len(compared) else "inconclusive"
    finding: Finding = {
        "state": state,
        "statistic": "share_of_list_ratio",
        "threshold": limits.min_recall_ratio,
        "needs": "AT-05" if state in ("needs_attestation", "inconclusive", "not_testable") else None,
        "facts": facts,
    }
    if compared and facts.get("case") != "not_testable":
        worst = min(alarms or compared, key=lambda row: row["value"])
        finding |= {name: worst[name] for name in ("value", "low", "high")}
    return finding


def _is_unjustified(row: Mapping[str, Any], four_fifths: float) -> bool:
    """The group loses places, and its people who lose them have no less need than those who get them."""
    return bool(row["high"] < four_fifths and row["need_low"] is not None and row["need_low"] > four_fifths)
