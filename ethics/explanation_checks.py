"""P3, explainability: reasons reproduce the score, are named, stable, and keep the rules that were promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ethics.case import LANGUAGES, Evidence
from ethics.check_register import RULE, Case, Context, Finding, Unanswerable, check, none_wrong


@check("C301", "B", "pass", "block", "rule", lists=True, core=True)
def reasons_add_up(case: Case, context: Context) -> Iterable[Finding]:
    """Base value plus contributions equals the raw score."""
    if case.kind == "rule":
        yield RULE
        return
    assert case.additivity_max_error is not None
    limit = context.policy.thresholds.max_additivity_error
    state = "pass" if case.additivity_max_error <= limit else "block"
    yield {"state": state, "statistic": "largest_gap", "value": case.additivity_max_error, "threshold": limit}


@check("C302", "B", "pass", "block")
def every_feature_can_be_told(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Every column that is used has a plain name in fi, sv and en, a source, and says whether it can change."""
    listed = {str(feature["column"]): feature for feature in evidence.features}
    if not evidence.model_columns:
        raise Unanswerable("no column is used")
    wrong = [name for name in evidence.model_columns if not _can_be_told(listed.get(name, {}))]
    yield none_wrong("columns_that_cannot_be_told", wrong)


def _can_be_told(feature: Mapping[str, Any]) -> bool:
    plain = feature.get("plain") or {}
    named = all(str(plain.get(language) or "").strip() for language in LANGUAGES)
    return named and bool(str(feature.get("source") or "").strip()) and isinstance(feature.get("changeable"), bool)


@check("C303", "W", "pass", "unstable", "not_done", "rule")
def reasons_are_stable(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """The first three reasons of people at the audit cut stay the same when other persons teach the model.

    It passes when even the lower bound of the overlap is high enough.
    """
    if evidence.kind == "rule":
        yield RULE
        return
    found = evidence.reason_stability
    if found is None:
        raise Unanswerable("reason stability was not gathered")
    limit = context.policy.thresholds.min_reason_overlap
    shown = {"statistic": "reason_overlap", "threshold": limit}
    if found["overlap"] is None:
        yield {**shown, "state": "warn", "facts": {"case": "not_done", "why": str(found["not_done"])}}
        return
    stable = found["low"] >= limit
    yield {
        **shown,
        **{name: found[key] for name, key in (("value", "overlap"), ("low", "low"), ("high", "high"))},
        "state": "pass" if stable else "warn",
        "facts": {"case": "pass" if stable else "unstable", "refits": found["refits"], "people": found["people"]},
    }


@check("C304", "B", "pass", "block", "rule")
def directions_hold(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Where the need says that more of something never lowers (or raises) a score, it never does."""
    if evidence.kind == "rule":
        yield RULE
        return
    if evidence.monotone is None:
        raise Unanswerable("declared directions were not probed")
    if not evidence.monotone:
        yield {"state": "pass", "statistic": "no_declared_direction"}
        return
    unknown = [str(row["column"]) for row in evidence.monotone if not row["proved"] and not int(row["probes"])]
    if unknown:
        raise Unanswerable("a declared direction was neither proved nor probed")
    broken = [str(row["column"]) for row in evidence.monotone if row["violations"]]
    facts = {"directions": len(evidence.monotone), "proved": sum(bool(row["proved"]) for row in evidence.monotone)}
    steps = sum(int(row["violations"]) for row in evidence.monotone)
    yield {**none_wrong("steps_against_a_direction", broken, **facts), "value": steps}
