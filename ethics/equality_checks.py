"""P4, equality beyond measured groups: neutral ties, no group in use, nobody left out of what is scored."""

from __future__ import annotations

from collections.abc import Iterable

from ethics.case import SORT_KEY, Evidence, ListEvidence
from ethics.check_register import Case, Context, Finding, Unanswerable, check, none_wrong
from ethics.group_checks import measured


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
