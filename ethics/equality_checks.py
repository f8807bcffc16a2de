"""P4, equality beyond measured groups: neutral ties, no group in use, nobody left out of what is scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ethics.case import SORT_KEY, Evidence, ListEvidence
from ethics.check_register import (
    RULE,
    Case,
    Context,
    Finding,
    Unanswerable,
    check,
    is_vouched_for,
    none_wrong,
    whole,
)
from ethics.group_checks import measured


@check(
    "C406",
    "BA",
    *("pass", "needs_attestation", "inconclusive", "contacts", "contacts_unclear", "undeclared", "rule"),
    "not_testable",
)
def labels_are_seen_alike(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Labels are known as often in every group as among everybody, and at most half of them come from earlier contacts.

    Where a need does not say which codes only an earlier contact produces (``[label] contact_codes``), the second
    question cannot be tested. That is no pass: who knows the registers must say that the label can stand for need
    (AT-05, as for too few indicators in C404). It is no error either, which no word could lift.
    """
    if evidence.observability is None:
        raise Unanswerable("whose labels are known was not gathered")
    table, limits = evidence.observability, context.policy.thresholds
    if evidence.kind == "rule" and not table["labels"]:
        yield RULE
        return
    contacts = table["from_contacts"]
    contacts_are_declared = bool(table.get("declared", contacts is not None))
    if contacts is None and contacts_are_declared:
        raise Unanswerable("no label is 1, so none can come from a contact")
    declared = {"declared": "yes" if contacts_are_declared else "no"}
    most = limits.max_labels_from_contacts
    for row in table["groups"]:
        least = limits.min_observability
        state = "needs_attestation" if row["high"] < least else "pass" if row["low"] >= least else "inconclusive"
        yield (
            {"statistic": "label_observability", "threshold": least, "group": row["group"]}
            | _open(state)
            | {name: row[name] for name in ("value", "low", "high")}
        )
    if table["untested"] or not table["groups"]:
        few = {"case": "not_testable", "names": ", ".join(table["untested"])}
        yield {"state": "warn", "statistic": "label_observability", "facts": few}
    made: Finding = {"statistic": "labels_from_contacts", "threshold": most}
    if contacts is None:
        yield made | _open("not_testable") | {"facts": declared | {"case": "undeclared"}}
        return
    state = "needs_attestation" if contacts["low"] > most else "pass" if contacts["high"] <= most else "inconclusive"
    case = {"needs_attestation": "contacts", "inconclusive": "contacts_unclear"}.get(state)
    yield made | _open(state) | contacts | {"facts": declared | ({"case": case} if case else {})}


def _open(state: str) -> dict[str, Any]:
    return {"state": state, "needs": None if state == "pass" else "AT-05"}


@check("C407", "BA", "pass", "needs_attestation", "margin", lists=True)
def missed_need_can_be_seen(case: Case, context: Context) -> Iterable[Finding]:
    """A lot lets people be seen whom the ranking passes over; without one, nobody ever learns of need it misses.

    Counted are the places given by lot around the cut and the people drawn from below the line for human review,
    together against the places of the list: at least ``min_exploration``, or everybody below the line. A margin larger
    than that takes places from people ranked higher, and asks for AT-08 as too little exploration does. A rule is asked
    too: it passes people over as silently as a model. A list may rest on the AT-08 by which its verdict passed.
    """
    drawn = case.exploration
    if drawn is None:
        raise Unanswerable("how many are drawn by lot was not gathered")
    limit, margin = context.policy.thresholds.min_exploration, float(drawn["margin"])
    places, by_lot, sample, below = (whole(drawn[name]) for name in ("places", "by_lot", "sample", "below"))
    share = (by_lot + sample) / places if places else None
    is_seen = sample >= below or (share is not None and share >= limit)
    vouched: dict[str, Any] = {"state": "needs_attestation", "needs": "AT-08"}
    if isinstance(case, ListEvidence) and is_vouched_for("AT-08", "C407", case.attestations, context):
        vouched = {"state": "pass"}
    if not margin >= 0:
        raise ValueError("not a share")
    if margin > limit:
        facts = {} if vouched["state"] == "pass" else {"case": "margin"}
        yield {"statistic": "share_given_by_lot", "value": margin, "threshold": limit, "facts": facts} | vouched
    shown: Finding = {"statistic": "share_drawn_by_lot", "value": share, "threshold": limit}
    yield shown | ({"state": "pass"} if is_seen else vouched)


@check("C412", "W", "pass", "warn", "not_testable")
def data_are_as_full_for_everybody(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """No feature is missing, or old, more often in a group than among others by more than the threshold.

    It warns when the lower 95 % bound of the gap is above it, once for each group, with the features' names.
    """
    if evidence.missingness is None:
        raise Unanswerable("whose cells are missing was not gathered")
    limit = context.policy.thresholds.max_missing_gap
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for row in evidence.missingness:
        by_group.setdefault(str(row["group"]), []).append(row)
    if not by_group:
        untested = not evidence.group_proxies
        yield {
            "state": "warn" if untested else "pass",
            "statistic": "missing_gap",
            "threshold": limit,
            "facts": {"case": "not_testable"} if untested else {},
        }
    for group, rows in by_group.items():
        wrong = [row for row in rows if row["low"] > limit]
        worst = max(wrong or rows, key=lambda row: row["value"])
        names = ", ".join(f"{row['feature']} ({row['kind']})" for row in wrong)
        yield {
            "state": "warn" if wrong else "pass",
            "statistic": "missing_gap",
            "threshold": limit,
            "group": group,
            "facts": {"names": names} if wrong else {},
        } | {name: worst[name] for name in ("value", "low", "high")}


@check("C409", "B", "pass", "block", lists=True)
def ties_are_broken_neutrally(case: Case, context: Context) -> Iterable[Finding]:
    """The sort key is the score and then the neutral tie key; no group and nothing else."""
    attributes = case.group_attributes if isinstance(case, ListEvidence) else measured(context).attributes
    key = list(case.sort_key)
    wrong = [] if key == list(SORT_KEY) else key or ["nothing"]
    groups = [name for name in attributes if any(part.split()[:1] == [name] for part in key)]
    yield none_wrong("wrong_sort_keys", wrong, **({"groups": ", ".join(groups)} if groups else {}))


@check("C410", "BA", "pass", "needs_attestation", "not_testable")
def attributes_decide_little(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Another age, district, language or sex, all else equal, hardly moves anybody in the order.

    It passes when even the upper bound of the median move is small. It asks about direct use: what goes along with an
    attribute is measured by proxies (C603), not flipped.
    """
    if evidence.flips is None:
        raise Unanswerable("attributes were not flipped")
    limit = context.policy.thresholds.max_flip_percentiles
    shown = {"statistic": "median_move_in_percentiles", "threshold": limit}
    if not evidence.flips:
        yield {"state": "pass", "statistic": "no_attribute_to_flip"}
    for row in evidence.flips:
        name = str(row["feature"])
        finding = {**shown, "group": f"feature={name}", "needs": "AT-06"}
        facts = {"name": name, "people": int(row["people"])}
        if row["median"] is None:
            yield {**finding, "state": "not_testable", "facts": {"case": "not_testable", **facts}}
            continue
        state = "pass" if row["high"] <= limit else "needs_attestation"
        numbers = {"value": row["median"], "low": row["low"], "high": row["high"]}
        yield {
            **finding,
            **numbers,
            "state": state,
            "needs": None if state == "pass" else "AT-06",
            "facts": {"case": state, **facts},
        }
