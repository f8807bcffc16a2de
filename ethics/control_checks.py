"""P8, under human control: the stop works, and people can override."""

from __future__ import annotations

from collections.abc import Iterable

from ethics.case import ListEvidence
from ethics.check_register import Case, Context, Finding, check


@check("C801", "B", "pass", "block", "never", "set", lists=True)
def the_stop_works(case: Case, context: Context) -> Iterable[Finding]:
    """The stop switch was tried within the days the policy gives, and is not set."""
    limit = context.policy.thresholds.stop_switch_days
    finding: Finding = {"statistic": "days_since_stop_test", "threshold": limit}
    if isinstance(case, ListEvidence) and case.stop_switch_set:
        yield finding | {"state": "block", "facts": {"case": "set"}}
    elif case.stop_switch_tested_at is None:
        yield finding | {"state": "block", "facts": {"case": "never"}}
    else:
        days = (context.now - case.stop_switch_tested_at).total_seconds() / 86400
        yield finding | {"state": "pass" if 0 <= days <= limit else "block", "value": round(days, 2)}
