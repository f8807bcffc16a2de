"""P6, privacy: no score and no column stands in for a group.

Whoever cannot be told from others of the same need is not treated by their group, whatever the columns are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ethics.case import Evidence
from ethics.check_register import RULE, Context, Finding, Unanswerable, check
from ethics.group_checks import bucket
from ethics.policy import Policy


@check("C603", "BA", "pass", "warn", "needs_attestation", "not_testable")
def score_carries_no_group(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """A group is told neither from the score, among people with the same need, nor from the features.

    Two people with the same label and the same indicators, one of the group and one not: which of them stands higher
    should be a toss-up. It alarms (AT-06) when the lower 95 % bound of how well the score tells them apart is above
    the threshold; an estimate above it whose lower bound is below does not. A calibrated score of a group with other
    base rates is above 0.5 too, and ``implied`` in the facts says by how much: what AT-06 may rest on. Told from the
    features together, by trees that have not seen the person, the group only warns.
    """
    if evidence.group_proxies is None:
        raise Unanswerable("what tells the groups was not gathered")
    limits = context.policy.thresholds
    if not evidence.group_proxies:
        yield {"state": "not_testable", "statistic": "group_auc_by_score", "needs": "AT-06"}
    for row in evidence.group_proxies:
        named = {"group": row["group"], "n_bucket": bucket(int(row["n"]))}
        by_score = {"statistic": "group_auc_by_score", "threshold": limits.max_group_auc_by_score}
        if row["score"] is None:
            yield {"state": "not_testable", "needs": "AT-06", **by_score, **named}
        elif row["score_low"] > limits.max_group_auc_by_score:
            implied = {} if row["score_implied"] is None else {"implied": f"{row['score_implied']:.2f}"}
            yield (
                {"state": "needs_attestation", "needs": "AT-06", "facts": implied}
                | by_score
                | _numbers(row, "score")
                | named
            )
        elif row["features_low"] is not None and row["features_low"] > limits.max_group_auc:
            by_features = {"statistic": "group_auc", "threshold": limits.max_group_auc}
            yield {"state": "warn"} | by_features | _numbers(row, "features") | named
        else:
            yield {"state": "pass"} | by_score | _numbers(row, "score") | named


@check("C604", "W", "pass", "warn", "rule", "not_testable")
def no_proxy_without_worth(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """No single column tells a group (lower 95 % bound above the threshold) without being shown to be of use.

    A column is of use when the trees gain something from it and without its feature people in need would be missed: the
    recall lost (C605's, by paired refits) is above 0 with its lower bound. Gain alone shows nothing: trees gain from
    noise too, a few per cent of all. Where no worth could be measured, the gain alone is asked.
    """
    if evidence.kind == "rule":
        yield RULE
        return
    if evidence.column_proxies is None:
        raise Unanswerable("what single columns tell was not gathered")
    wrong = proxies_without_worth(evidence, context.policy)
    names = ", ".join(f"{row['column']} ({row['group']})" for row in wrong[:12])
    more = f" and {len(wrong) - 12} more" if len(wrong) > 12 else ""
    yield {
        "state": "warn" if wrong or not evidence.column_proxies else "pass",
        "statistic": "proxies_without_worth",
        "value": len(wrong),
        "threshold": 0,
        "facts": {"names": names + more} if wrong else {} if evidence.column_proxies else {"case": "not_testable"},
    }


def proxies_without_worth(evidence: Evidence, policy: Policy) -> list[Mapping[str, Any]]:
    """The rows of ``column_proxies`` whose column tells a group and is not shown to be of use (rule of C604)."""
    limits, useless = policy.thresholds, _not_shown_useful(evidence)
    return [
        row
        for row in evidence.column_proxies or ()
        if row["auc_low"] > limits.max_group_auc_by_column
        and (row["gain"] < limits.min_feature_worth or row["column"] in useless)
    ]


def _not_shown_useful(evidence: Evidence) -> set[str]:
    """The columns of features whose worth was measured, and not shown to be above 0."""
    lows = {str(row["feature"]): row["low"] for row in evidence.feature_value or ()}
    return {
        str(row["column"])
        for row in evidence.features
        if (low := lows.get(str(row["feature"]))) is not None and not low > 0
    }


def _numbers(row: Mapping[str, Any], name: str) -> Finding:
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
