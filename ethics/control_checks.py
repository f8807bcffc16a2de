"""P8, under human control: the stop works, and people can override."""

from __future__ import annotations

from collections.abc import Iterable

from ethics.case import ListEvidence
from ethics.check_register import Case, Context, Finding, Unanswerable, check


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


_OVERRIDES = ("added", "removed", "needs_reason", "nothing_kept")


@check("C802", "B", "pass", *_OVERRIDES, lists=True)
def people_can_override(case: Case, context: Context) -> Iterable[Finding]:
    """A unit can add and remove people with a reason, each is logged, and without a reason nothing is changed.

    It is tried on the store itself, in a rehearsal that is rolled back; one finding for each step that fails.
    """
    if case.override is None:
        raise Unanswerable("whether lists can be overridden was not tried")
    if set(case.override) != set(_OVERRIDES) or not all(isinstance(did, bool) for did in case.override.values()):
        raise Unanswerable("the rehearsal of overrides did not tell what it should")
    wrong = [step for step in _OVERRIDES if not case.override[step]]
    shown: Finding = {"statistic": "overrides_that_fail", "value": len(wrong), "threshold": 0}
    for step in wrong:
        yield shown | {"state": "block", "facts": {"case": step}}
    if not wrong:
        yield shown | {"state": "pass"}
