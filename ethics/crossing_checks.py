"""P4, fairness where groups meet: C402, on partially pooled estimates of every pair and of all attributes together.

A crossing is decided by the rule of single groups, on shrunk estimates: what its groups add up to, moved by its own
numbers as far as they speak. So a small crossing is not blocked by chance, and it passes only where both leave no room
for harm: one whose own numbers alarm is never passed by what its neighbours say. It stays open, or where they are
discovered among those of all crossings, is asked about or blocked. Crossings too small to test are listed and pooled;
they make no verdict inconclusive, and are never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ethics.case import Evidence
from ethics.check_register import Context, Finding, Unanswerable, check
from ethics.crossings import MAX_CROSSED_GROUPS, POOLED, parts_of
from ethics.fairness import AT_AUDIT, BELOW_AUDIT, EVERYONE, NO_CUT, SHRUNK, Estimate, FairnessTable
from ethics.group_checks import affected, attributes_compared, bucket, group_finding, matters, measured

_NAMED = 12
_CASES = (
    "pass",
    "block",
    "block_by_need",
    "recall",
    "calibration",
    "need",
    "discovered",
    "discovered_block",
    "own_alarm",
    "pooled",
    "inconclusive",
    "no_need",
    "too_few",
    "left_out",
    "no_label",
    "one_attribute",
)
Place = tuple[str, str]


class Discovered(NamedTuple):
    """Crossed groups whose own numbers stand out among all: by recall or need, and by recall and need together."""

    one: set[Place]
    both: set[Place]


@check("C402", "BA", *_CASES, core=True, scores=True, from_cells=True)
def no_crossing_is_missed(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """The decision rule of C401 on crossings of groups, and need at the same score, all partially pooled.

    Alarms are told crossing by crossing; what passes, what is neither shown fair nor unfair, and what is too small to
    test are told once for each pair of attributes. A crossing that would pass or stay open is asked about when its own,
    unpooled numbers are discovered among all of them (Benjamini and Hochberg, at ``discovery_rate``) and it is about
    enough people; it is blocked when recall and need both are. An alarm of its own that is not discovered leaves it
    open. So the correction takes from blocks and from questions, and never makes a pass.

    A crossing of which nothing was counted, for it has more groups than one verdict tests, is not testable (AT-07).
    """
    table = measured(context)
    if len(attributes_compared(table)) < 2:
        yield group_finding("pass", "one_attribute", "crossings_tested", None, None, None, {})
        return
    if not table.has_label:
        yield group_finding("not_testable", "no_label", "crossings_tested", None, None, "AT-07", {})
        return
    missing = table.crossings_left_out
    if table.crossings.is_empty() and any(_levels(table, name) <= MAX_CROSSED_GROUPS for name in missing):
        raise Unanswerable("no crossing of attributes was counted")
    strict = context.policy.is_strict(evidence.service)
    discovered = discoveries(table, context.policy.thresholds.discovery_rate)
    for attribute in table.crossings["attribute"].unique(maintain_order=True).to_list():
        rows = [row for row in table.crossings.iter_rows(named=True) if row["attribute"] == attribute]
        yield from _one_crossing(table, attribute, rows, discovered, strict, context.policy.min_persons_shown)
    for name in missing:
        facts: dict[str, str | int] = {"names": name, "n": _levels(table, name)}
        numbers = ("crossings_tested", None, None)
        yield group_finding("not_testable", "left_out", *numbers, "AT-07", facts) | {"group": name}


def _levels(table: FairnessTable, crossing: str) -> int:
    """How many groups a crossing of attributes could have."""
    by_attribute = dict(table.groups.group_by("attribute").len().iter_rows())
    return math.prod(by_attribute[attribute] for attribute in parts_of(crossing))


def _one_crossing(
    table: FairnessTable,
    attribute: str,
    rows: Sequence[Mapping[str, Any]],
    discovered: Discovered,
    strict: bool,
    least: int,
) -> Iterator[Finding]:
    """The findings about one pair of attributes, or about all of them."""
    tested = [row for row in rows if row["testable"]]
    together: dict[str, list[tuple[str, Finding]]] = {"pass": [], "inconclusive": []}
    for row in tested:
        group = row["group"]
        finding = decide_crossing(table, attribute, group, strict=strict)
        own = _by_its_own(table, (attribute, group), discovered, strict)
        if own and (finding["state"] in ("pass", "inconclusive") or own["state"] == "block" != finding["state"]):
            finding = own
        if finding["state"] == "pass":
            finding = _own_alarm(table, attribute, group) or finding
        if finding["state"] in together and finding["facts"]["case"] != "own_alarm":
            together[finding["state"]].append((group, finding))
            continue
        if row["n"] < least:
            finding |= {"value": None, "low": None, "high": None, "facts": {"case": finding["facts"]["case"]}}
        yield finding | {"group": f"{attribute}={group}", "n_bucket": bucket(row["n"])}
    for found in together.values():
        if found:
            group, worst = max(found, key=lambda item: _harm(item[1]))
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


def _harm(finding: Finding) -> float:
    """How far a finding's number lies on the harmful side, whichever side that is."""
    value = float(finding["value"])
    return -value if finding["statistic"].startswith("recall") else -1 / max(value, 1e-9)


def _own_alarm(table: FairnessTable, attribute: str, group: str) -> Finding | None:
    """The finding about a crossing of which an unpooled estimate reaches the alarm probability; None when none does."""
    limits = table.thresholds
    asked = [("recall_ratio", AT_AUDIT, "recall_ratio_at_k_audit", limits.recall)]
    asked += [("observed_to_expected", cut, "observed_to_expected", limits.oe) for cut in (NO_CUT, BELOW_AUDIT)]
    asked += [(f"need_at_score:{name}", AT_AUDIT, "need_at_score", limits.need) for name in table.indicators]
    for measure, cut, statistic, threshold in asked:
        raw = table.get(attribute, group, measure, cut)
        enough = statistic != "need_at_score" or raw.n >= limits.min_expected
        if enough and raw.value == raw.value and raw.p_harm >= limits.alarm:
            missed = affected(table.get(attribute, group, "missed_residents", AT_AUDIT))
            return group_finding("inconclusive", "own_alarm", statistic, raw, threshold, "AT-07", missed)
    return None


def _by_its_own(table: FairnessTable, place: Place, discovered: Discovered, strict: bool) -> Finding | None:
    """The finding about a crossing whose own numbers are discovered among all; None when they are not."""
    if place not in discovered.one:
        return None
    raw = table.get(*place, "recall_ratio", AT_AUDIT)
    missed = affected(table.get(*place, "missed_residents", AT_AUDIT))
    shown = ("recall_ratio_at_k_audit", raw, table.thresholds.recall)
    if place in discovered.both or strict:
        return group_finding("block", "discovered_block", *shown, None, missed)
    return group_finding("needs_attestation", "discovered", *shown, "AT-06", missed)


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
    missed = affected(table.get(attribute, group, "missed_residents", AT_AUDIT))
    by_recall = recall.p_harm >= limits.alarm
    by_need = worst is not None and worst.p_harm >= limits.alarm
    shown = ("recall_ratio_at_k_audit_pooled", recall, limits.recall)
    if (by_recall and by_need) or (strict and by_recall):
        return group_finding("block", "block", *shown, None, missed)
    if strict and by_need:
        return group_finding("block", "block", "observed_to_expected_pooled", worst, limits.oe, None, missed)
    alarm = max(alarms, key=lambda part: (part.p_harm, part.value), default=None)
    if len(alarms) >= 2:
        return group_finding("block", "block_by_need", "need_at_score_pooled", alarm, limits.need, None, {})
    if by_recall:
        return group_finding("needs_attestation", "recall", *shown, "AT-06", missed)
    if by_need:
        found = ("observed_to_expected_pooled", worst, limits.oe)
        return group_finding("needs_attestation", "calibration", *found, "AT-06", missed)
    if alarm is not None:
        return group_finding("needs_attestation", "need", "need_at_score_pooled", alarm, limits.need, "AT-05", {})
    calibrated = bool(parts) and all(part.high <= limits.oe for part in parts)
    if recall.value != recall.value:  # nobody there is in need, so nobody could be found
        if calibrated:
            return group_finding("pass", "pass", "observed_to_expected_pooled", worst, limits.oe, None, {})
        return group_finding("not_testable", "no_need", "crossings_tested", None, None, "AT-07", {})
    if recall.low >= limits.recall or calibrated:
        return group_finding("pass", "pass", *shown, None, {})
    return group_finding("inconclusive", "inconclusive", *shown, "AT-07", {})


def discoveries(table: FairnessTable, rate: float) -> Discovered:
    """Crossed groups whose own recall or need is beyond the threshold, at a false discovery rate.

    Benjamini and Hochberg 1995 over all tested crossings, twice: on the smaller p-value of recall and need, which
    counts double, and on the larger. p-values are tails of counts and not shares of replicates, the least of which is
    too coarse for anything to be found alone among many: binomial of those found (Clopper and Pearson's, everyone's
    recall held fixed), Poisson of observed need. The design effect divides the counts. Only crossings in which enough
    people are missed are told.

    Parameters
    ----------
    rate : float
        The share of false ones among those discovered, in expectation.
    """
    places = table.crossings.filter(table.crossings["testable"]).select("attribute", "group")
    tested: list[Place] = [(str(attribute), str(group)) for attribute, group in places.iter_rows()]
    tails = {place: (_recall_tail(table, place), _need_tail(table, place)) for place in tested}
    enough = {place: matters(table.get(*place, "missed_residents", AT_AUDIT).value, table) for place in tested}

    def found(p_of: Callable[[tuple[float, float]], float]) -> set[Place]:
        ordered = sorted((p_of(tail), place) for place, tail in tails.items())
        last = max((i for i, (p, _) in enumerate(ordered, start=1) if p <= rate * i / len(ordered)), default=0)
        return {place for _, place in ordered[:last] if enough[place]}

    both = found(max)
    return Discovered(found(lambda tail: min(1.0, 2 * min(tail))) | both, both)


def _recall_tail(table: FairnessTable, place: Place) -> float:
    """The chance of so few found, were recall at its threshold."""
    from scipy.special import betaincc

    recall, everyone = table.get(*place, "recall_ratio", AT_AUDIT), table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
    share = table.thresholds.recall * everyone.value
    if not (recall.n > recall.people and 0 < share < 1):
        return 1.0
    effect = table.design_effect_in(*place)
    return float(betaincc(recall.people / effect + 1, (recall.n - recall.people) / effect, share))


def _need_tail(table: FairnessTable, place: Place) -> float:
    """The chance of so much need, were observed ÷ expected at its threshold."""
    from scipy.special import gammainc

    need = table.get(*place, "observed_to_expected", NO_CUT)
    if not (need.value > 0 and need.n > 0):
        return 1.0
    effect = table.design_effect_in(*place)
    return float(gammainc(need.n / effect, table.thresholds.oe * need.n / need.value / effect))


def _small(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["kind"] == "small" and row["group"] != POOLED for row in rows)
