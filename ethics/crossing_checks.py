"""P4, fairness where groups meet: C402, on partially pooled estimates of every pair and of all attributes together.

A crossing is decided by the rule of single groups, on shrunk estimates: what its groups add up to, moved by its own
numbers as far as they speak. So a small crossing is not blocked by chance, and it passes only where both leave no room
for harm. Crossings too small to test are listed and pooled; they make no verdict inconclusive, and are never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ethics.case import Evidence
from ethics.check_register import Context, Finding, Unanswerable, check
from ethics.fairness import AT_AUDIT, BELOW_AUDIT, NO_CUT, SHRUNK, Estimate, FairnessTable
from ethics.group_checks import affected, attributes_compared, bucket, group_finding, matters, measured

_NAMED = 12
_CASES = (
    "pass",
    "block",
    "recall",
    "calibration",
    "need",
    "discovered",
    "pooled",
    "inconclusive",
    "too_few",
    "left_out",
    "no_label",
    "one_attribute",
)


@check("C402", "BA", *_CASES, core=True, scores=True, from_cells=True)
def no_crossing_is_missed(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """The decision rule of C401 on crossings of groups, and need at the same score, all partially pooled.

    Alarms are told crossing by crossing; what passes, what is neither shown fair nor unfair, and what is too small to
    test are told once for each pair of attributes. A crossing that would pass is a warning when its own, unpooled
    numbers are discovered among all of them (Benjamini and Hochberg, at ``discovery_rate``) and it is about enough
    people; so the correction takes from warnings and from blocks, and never makes a pass.
    """
    table = measured(context)
    if len(attributes_compared(table)) < 2:
        yield group_finding("pass", "one_attribute", "crossings_tested", None, None, None, {})
        return
    if not table.has_label:
        yield group_finding("not_testable", "no_label", "crossings_tested", None, None, "AT-07", {})
        return
    if table.crossings.is_empty():
        raise Unanswerable("no crossing of attributes was counted")
    strict = context.policy.is_strict(evidence.service)
    discovered = discoveries(table, context.policy.thresholds.discovery_rate)
    for attribute in table.crossings["attribute"].unique(maintain_order=True).to_list():
        rows = [row for row in table.crossings.iter_rows(named=True) if row["attribute"] == attribute]
        yield from _one_crossing(table, attribute, rows, discovered, strict, context.policy.min_persons_shown)
    missing = table.crossings_left_out
    if missing:
        facts: dict[str, str | int] = {"names": "; ".join(missing[:_NAMED]), "n": len(missing)}
        yield group_finding("warn", "left_out", "crossings_tested", None, None, None, facts)


def _one_crossing(
    table: FairnessTable,
    attribute: str,
    rows: Sequence[Mapping[str, Any]],
    discovered: set[tuple[str, str]],
    strict: bool,
    least: int,
) -> Iterator[Finding]:
    """The findings about one pair of attributes, or about all of them."""
    tested = [row for row in rows if row["testable"]]
    together: dict[str, list[tuple[str, Finding]]] = {"pass": [], "inconclusive": []}
    for row in tested:
        group = row["group"]
        finding = decide_crossing(table, attribute, group, strict=strict)
        if finding["state"] == "pass" and (attribute, group) in discovered:
            raw = table.get(attribute, group, "recall_ratio", AT_AUDIT)
            missed = affected(table.get(attribute, group, "missed_residents", AT_AUDIT))
            finding = group_finding(
                "warn", "discovered", "recall_ratio_at_k_audit", raw, table.thresholds.recall, None, missed
            )
        if finding["state"] in together:
            together[finding["state"]].append((group, finding))
            continue
        if row["n"] < least:
            finding |= {"value": None, "low": None, "high": None, "facts": {"case": finding["facts"]["case"]}}
        yield finding | {"group": f"{attribute}={group}", "n_bucket": bucket(row["n"])}
    for found in together.values():
        if found:
            group, worst = min(found, key=lambda item: item[1]["value"])
            named = ", ".join(name for name, _ in found[:_NAMED])
            facts = {**worst["facts"], "names": named, "n": len(found), "worst": group, "small": _small(rows)}
            yield worst | {"group": attribute, "facts": facts}
    for row in rows:
        recall = table.get(attribute, row["group"], "recall_ratio", AT_AUDIT)
        if row["kind"] == "pooled" and recall.p_harm >= table.thresholds.alarm:
            people = table.get(attribute, row["group"], "missed_residents", AT_AUDIT)
            if matters(people.value, table):  # warned of however few may be shown: then without its numbers
                is_shown = row["n"] >= least
                numbers = ("recall_ratio_at_k_audit", recall if is_shown else None, table.thresholds.recall)
                missed = affected(people) if is_shown else {}
                yield group_finding("warn", "pooled", *numbers, None, missed) | {"group": attribute}
    if not tested:
        facts = {"n": _small(rows)}
        yield group_finding("warn", "too_few", "crossings_tested", None, None, None, facts) | {"group": attribute}


def decide_crossing(table: FairnessTable, attribute: str, group: str, *, strict: bool) -> Finding:
    """The decision rule for one crossed group that can be tested, on shrunk estimates.

    *block*: recall and need as in :func:`ethics.group_checks.decide_group`, or two indicators of need at the same
    score; *needs_attestation*: one alarm alone (AT-06; AT-05 where it is an indicator's). *pass* needs what a single
    group's pass needs.
    """
    limits = table.thresholds

    def shrunk(measure: str, cut: str) -> Estimate:
        return table.get(attribute, group, measure + SHRUNK, cut)

    recall = shrunk("recall_ratio", AT_AUDIT)
    parts = [shrunk("observed_to_expected", cut) for cut in (NO_CUT, BELOW_AUDIT)] if table.has_probability else []
    worst = max(parts, key=lambda part: part.p_harm, default=None)
    needs = [shrunk(f"need_at_score:{name}", AT_AUDIT) for name in table.indicators]
    alarms = [part for part in needs if part.n >= limits.min_expected and part.p_harm >= limits.alarm]
    if not recall.value == recall.value:
        raise Unanswerable("a crossing has no recall")
    missed = affected(table.get(attribute, group, "missed_residents", AT_AUDIT))
    by_recall = recall.p_harm >= limits.alarm
    by_need = worst is not None and worst.p_harm >= limits.alarm
    shown = ("recall_ratio_at_k_audit_pooled", recall, limits.recall)
    if (by_recall and by_need) or len(alarms) >= 2 or (strict and (by_recall or by_need)):
        return group_finding("block", "block", *shown, None, missed)
    if by_recall:
        return group_finding("needs_attestation", "recall", *shown, "AT-06", missed)
    if by_need:
        found = ("observed_to_expected_pooled", worst, limits.oe)
        return group_finding("needs_attestation", "calibration", *found, "AT-06", missed)
    if alarms:
        found = ("need_at_score_pooled", max(alarms, key=lambda part: part.p_harm), limits.need)
        return group_finding("needs_attestation", "need", *found, "AT-05", missed)
    if recall.low >= limits.recall or (parts and all(part.high <= limits.oe for part in parts)):
        return group_finding("pass", "pass", *shown, None, {})
    return group_finding("inconclusive", "inconclusive", *shown, "AT-07", {})


def discoveries(table: FairnessTable, rate: float) -> set[tuple[str, str]]:
    """Crossed groups whose own recall or need is beyond the threshold, at a false discovery rate.

    Benjamini and Hochberg 1995 over all tested crossings, on one minus the unpooled probability of harm (at least
    one part in the replicates: no finer is known), counted only where enough people are missed.

    Parameters
    ----------
    rate : float
        The share of false ones among those discovered, in expectation.
    """
    found = []
    for row in table.crossings.filter(table.crossings["testable"]).iter_rows(named=True):
        place = row["attribute"], row["group"]
        recall = table.get(*place, "recall_ratio", AT_AUDIT)
        need = table.get(*place, "observed_to_expected", NO_CUT)
        harm = max(part.p_harm for part in (recall, need) if part.p_harm == part.p_harm)
        people = table.get(*place, "missed_residents", AT_AUDIT).value
        # Two measures are looked at, so the smaller p-value counts twice.
        found.append((min(1.0, 2 * max(1.0 - harm, 1 / table.replicates)), place, matters(people, table)))
    found.sort(key=lambda item: item[0])
    last = max((i for i, (p, _, _) in enumerate(found, start=1) if p <= rate * i / len(found)), default=0)
    return {place for _, place, enough in found[:last] if enough}


def _small(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["kind"] == "small" for row in rows)
