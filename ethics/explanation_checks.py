"""P3, explainability: reasons reproduce the score, are named, stable, and keep the rules that were promised."""

from __future__ import annotations

from collections.abc import Iterable

from ethics.check_register import RULE, Case, Context, Finding, check


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
