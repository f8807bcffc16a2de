"""P4, fairness between groups, measured: need missed, need at the same score, and whether that could be tested.

What is measured of one group alone, or of the people whose group nobody knows, is 1 by construction and shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ethics.case import Evidence
from ethics.cells import UNKNOWN
from ethics.check_register import RULE, Context, Finding, Unanswerable, check
from ethics.fairness import AT_AUDIT, AT_K, BELOW_AUDIT, EVERYONE, NO_CUT, Estimate, FairnessTable
from ethics.verdict import NO_GROUP

MIN_MISSED, MIN_MISSED_SHARE = 5, 0.01
NOT_SHOWN = ("pass", "warn", "inconclusive", "not_testable")
_BY_GROUP = (
    *("pass", "warn", "block", "recall", "calibration", "inconclusive", "not_testable", "no_label", "one_group"),
    *("no_need", "unlabelled"),
)


@check("C401", "BA", *_BY_GROUP, core=True, scores=True, from_cells=True)
def no_group_is_missed(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Recall at the audit cut and calibration, group by group (decision rule in :func:`decide_group`).

    An attribute without two groups of people known compares nobody: its groups can alarm, and never pass.
    """
    table = measured(context)
    compared = attributes_compared(table)
    strict = context.policy.is_strict(evidence.service)
    for row in table.groups.iter_rows(named=True):
        attribute, group = row["attribute"], row["group"]
        finding = decide_group(table, attribute, group, testable=row["testable"], strict=strict)
        finding["facts"] |= pooling(row, finding["state"], table.thresholds.min_expected)
        if attribute not in compared and finding["state"] in NOT_SHOWN and finding["facts"]["case"] != "no_label":
            numbers = ("recall_ratio_at_k_audit", None, table.thresholds.recall)
            finding = group_finding("not_testable", "one_group", *numbers, "AT-07", {})
        small = row["n"] < context.policy.min_persons_shown
        if small:  # a handful of people: the verdict tells that they exist, not how they fare
            finding |= {"value": None, "low": None, "high": None, "facts": {"case": finding["facts"]["case"]}}
        yield finding | {"group": f"{attribute}={group}", "n_bucket": bucket(row["n"])}
    for attribute, group in table.unlabelled:
        numbers = ("recall_ratio_at_k_audit", None, table.thresholds.recall)
        yield group_finding("not_testable", "unlabelled", *numbers, "AT-07", {}) | {"group": f"{attribute}={group}"}


def decide_group(table: FairnessTable, attribute: str, group: str, *, testable: bool, strict: bool) -> Finding:
    """The decision rule for one group.

    *block*: recall is below the threshold at k* and need is under-predicted, both with the alarm probability, so base
    rates do not explain it. *needs_attestation*: one of them alone. *pass*: no alarm, and either the lower bound of
    the recall ratio is above the threshold, or the upper bounds of observed ÷ expected, overall and below k*, are
    under theirs. Otherwise *inconclusive*. A rule has no probabilities: recall alone decides. ``strict`` makes any
    single alarm a block.

    Recall at k, where a unit finds a handful of people, can alarm and never pass: an alarm there turns a pass into a
    *warn*, if it is about at least ``max(5, 1 % of k)`` missed residents. It must not do more: of fair worlds of
    70 000 youths with six attributes, one in six has such an alarm.
    """
    limits = table.thresholds
    if not table.has_label:
        rate = table.get(attribute, group, "selection_rate", AT_K)
        return group_finding("not_testable", "no_label", "selection_rate_at_k", rate, None, "AT-07", {})
    recall = table.get(attribute, group, "recall_ratio", AT_AUDIT)
    missed = affected(table.get(attribute, group, "missed_residents", AT_AUDIT))
    if not testable:
        return group_finding(
            "not_testable", "not_testable", "recall_ratio_at_k_audit", None, limits.recall, "AT-07", {}
        )
    calibration = [table.get(attribute, group, "observed_to_expected", cut) for cut in (NO_CUT, BELOW_AUDIT)]
    worst = max(calibration, key=lambda part: part.p_harm)
    by_recall = recall.p_harm >= limits.alarm
    by_need = table.has_probability and worst.p_harm >= limits.alarm
    at_k = table.get(attribute, group, "recall_ratio", AT_K).p_harm >= limits.alarm
    at_k = at_k and matters(table.get(attribute, group, "missed_residents", AT_K).value, table)
    shown = ("recall_ratio_at_k_audit", recall, limits.recall)
    if (by_recall and by_need) or (strict and (by_recall or by_need)):
        return group_finding("block", "block", *shown, None, missed)
    if by_recall:
        return group_finding("needs_attestation", "recall", *shown, "AT-06", missed)
    if by_need:
        found = ("observed_to_expected", worst, limits.oe)
        return group_finding("needs_attestation", "calibration", *found, "AT-06", missed)
    calibrated = table.has_probability and all(part.high <= limits.oe for part in calibration)
    by_found = recall.value == recall.value and recall.low >= limits.recall
    if by_found or calibrated:
        by = shown if by_found else ("observed_to_expected", worst, limits.oe)
        if not at_k:
            return group_finding("pass", "pass", *by, None, missed)
        recall_at_k = table.get(attribute, group, "recall_ratio", AT_K)
        return group_finding("warn", "warn", "recall_ratio_at_k", recall_at_k, limits.recall, None, missed)
    if recall.value != recall.value:  # nobody there is in need, so nobody could be found
        return group_finding("not_testable", "no_need", "recall_ratio_at_k_audit", None, limits.recall, "AT-07", {})
    return group_finding("inconclusive", "inconclusive", *shown, "AT-07", missed)


@check(
    "C403",
    "BA",
    "pass",
    "block",
    "needs_attestation",
    "not_testable",
    "too_few_indicators",
    "one_group",
    "unlabelled",
    core=True,
    scores=True,
    from_cells=True,
)
def same_score_same_need(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Need at the same score on indicators that are neither label nor feature.

    An indicator is testable in a group from the same number of expected events as the label. It alarms when need is
    higher than among others at the same scores. Two alarms block, for where the label is wrong, recall and
    calibration against it prove nothing; one needs AT-05; both whatever the number of indicators. Without an alarm,
    fewer than two testable indicators, or an outcome that nobody knows, prove nothing either.
    """
    table, limits = measured(context), context.policy.fairness
    compared = attributes_compared(table)
    wanted = context.policy.thresholds.min_indicators
    few = len(table.indicators) < wanted or not table.has_label
    for attribute, group, n in table.groups.select("attribute", "group", "n").iter_rows():
        named = {"group": f"{attribute}={group}", "n_bucket": bucket(n)}
        found = {name: table.get(attribute, group, f"need_at_score:{name}", AT_AUDIT) for name in table.indicators}
        testable = {name: part for name, part in found.items() if part.n >= limits.min_expected}
        alarms = sorted(name for name, part in testable.items() if part.p_harm >= limits.alarm)
        state, case = "pass", "pass"
        if len(alarms) >= 2:
            state = case = "block"
        elif alarms:
            state = case = "needs_attestation"
        elif few:
            state, case = "not_testable", "too_few_indicators"
        elif attribute not in compared:
            state, case = "not_testable", "one_group"
        elif len(testable) < wanted:
            state = case = "not_testable"
        worst = max(testable.values(), key=lambda part: part.p_harm) if testable and (alarms or not few) else None
        needs = "AT-05" if state in ("needs_attestation", "not_testable") else None
        facts = {"indicators": ", ".join(alarms)} if alarms else {}
        yield group_finding(state, case, "need_at_score", worst, limits.need, needs, facts) | named
    for attribute, group in table.unlabelled:
        numbers = ("need_at_score", None, limits.need)
        yield group_finding("not_testable", "unlabelled", *numbers, "AT-05", {}) | {"group": f"{attribute}={group}"}


@check("C404", "BA", "pass", "needs_attestation", scores=True, from_cells=True)
def label_can_be_tested(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """At least two independent signs of need, without which nobody can tell whether the label is one."""
    n, wanted = len(set(evidence.indicator_names)), context.policy.thresholds.min_indicators
    enough = n >= wanted
    yield {
        "state": "pass" if enough else "needs_attestation",
        "statistic": "independent_indicators",
        "value": n,
        "threshold": wanted,
        "needs": None if enough else "AT-05",
    }


@check(
    "C405", "W", "pass", "slope", "error", "drift", "not_shown", "not_testable", "rule", scores=True, from_cells=True
)
def score_means_the_same(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Calibration slope and error of each group that can be tested, and the level of need for everyone.

    It warns of what is proved, an interval that lies beyond the thresholds as a whole; and names the groups of which
    nothing is shown, whose slope has no interval or one that reaches beyond both thresholds. Everyone's observed ÷
    expected is a year that drifts, which the ratios of C401 leave out; it warns beyond ``max_oe_ratio`` either way.
    """
    table, limits = measured(context), context.policy.thresholds
    if evidence.kind == "rule":
        yield RULE
        return
    if not table.has_label or not table.has_probability:
        yield group_finding("warn", "not_testable", "calibration_slope", None, None, None, {})
        return
    found = []
    drift = table.get(EVERYONE, EVERYONE, "observed_to_expected")
    if drift.low > limits.max_oe_ratio or drift.high < 1 / limits.max_oe_ratio:
        found.append(group_finding("warn", "drift", "observed_to_expected", drift, limits.max_oe_ratio, None, {}))
    groups = [row for row in table.groups.iter_rows(named=True) if row["testable"]]
    open_slopes = []
    for row in groups:
        attribute, group = row["attribute"], row["group"]
        slope = table.get(attribute, group, "calibration_slope")
        error = table.get(attribute, group, "calibration_error")
        named = {"group": f"{attribute}={group}", "n_bucket": bucket(row["n"])}
        if not (slope.low >= limits.min_calibration_slope or slope.high <= limits.max_calibration_slope):
            open_slopes.append(f"{attribute}={group}")
        if slope.high < limits.min_calibration_slope or slope.low > limits.max_calibration_slope:
            flat = slope.high < limits.min_calibration_slope
            threshold = limits.min_calibration_slope if flat else limits.max_calibration_slope
            found.append(group_finding("warn", "slope", "calibration_slope", slope, threshold, None, {}) | named)
        if error.low > limits.max_calibration_error:
            numbers = ("calibration_error", error, limits.max_calibration_error)
            found.append(group_finding("warn", "error", *numbers, None, {}) | named)
    if open_slopes:
        more = f" and {len(open_slopes) - 12} more" if len(open_slopes) > 12 else ""
        facts: dict[str, str | int] = {"names": ", ".join(open_slopes[:12]) + more, "n": len(open_slopes)}
        found.append(group_finding("warn", "not_shown", "calibration_slope", None, None, None, facts))
    if not groups:
        yield group_finding("warn", "not_testable", "calibration_slope", None, None, None, {})
    elif not found:
        everyone = table.get(EVERYONE, EVERYONE, "calibration_error")
        yield group_finding("pass", "pass", "calibration_error", everyone, limits.max_calibration_error, None, {})
    yield from found


def matters(people: float, table: FairnessTable) -> bool:
    """Whether so many missed residents are worth a warning: at least five, and at least 1 % of k."""
    return people >= max(MIN_MISSED, MIN_MISSED_SHARE * table.cuts.k)


def pooling(row: Mapping[str, object], state: str, min_expected: int) -> dict[str, int | str]:
    """What would settle a group that is not: how many times as many people, or that none at this size can."""
    if state == "inconclusive" and row.get("periods_to_pool"):
        return {"periods_to_pool": int(str(row["periods_to_pool"]))}
    expected = float(str(row["expected"]))
    if state == "not_testable" and row["testable"] is False and expected > 0:
        if row.get("never_testable"):
            return {"never_testable": "yes"}
        return {"periods_to_test": math.ceil(min_expected / expected)}
    return {}


def measured(context: Context) -> FairnessTable:
    """The fairness table, or an error: without groups nothing has been shown."""
    if context.fairness is None or context.fairness.groups.is_empty():
        raise Unanswerable(NO_GROUP)
    if context.fairness.thresholds != context.policy.fairness:
        raise Unanswerable("measured against other thresholds than the policy's")
    return context.fairness


def attributes_compared(table: FairnessTable) -> set[str]:
    """The attributes in which at least two groups of people known are compared; an error when there is none."""
    known: dict[str, int] = {}
    for attribute, group, n in table.groups.select("attribute", "group", "n").iter_rows():
        known[attribute] = known.get(attribute, 0) + (group != UNKNOWN and n > 0)
    found = {attribute for attribute, groups in known.items() if groups >= 2}
    if not found:
        raise Unanswerable("no attribute has two groups of people who are known")
    return found


def group_finding(
    state: str,
    case: str,
    statistic: str,
    estimate: Estimate | None,
    threshold: float | None,
    needs: str | None,
    facts: Mapping[str, str | int],
) -> Finding:
    """A finding about one group, in numbers of one estimate."""
    numbers = {} if estimate is None else {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {
        "state": state,
        "statistic": statistic,
        "threshold": threshold,
        "needs": needs,
        "facts": {**facts, "case": case},
        **numbers,
    }


def affected(missed: Estimate) -> dict[str, int]:
    """Missed residents rounded to five, with their bounds; nothing when nobody is missed beyond the others."""
    if not missed.value > 0:
        return {}
    low, value, high = (5 * round(max(0.0, number) / 5) for number in (missed.low, missed.value, missed.high))
    return {"missed": value, "missed_low": low, "missed_high": high}


def bucket(n: int) -> str:
    """How many persons a group has, as widely as it may be published."""
    bounds = (5, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
    below = next((bound for bound in bounds if n < bound), None)
    if below is None:
        return f">={bounds[-1]}"
    lower = max((bound for bound in bounds if bound < below), default=0)
    return f"{lower}-{below - 1}" if lower else f"<{below}"
