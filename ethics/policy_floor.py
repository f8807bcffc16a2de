"""How loose a policy may be: the floor, what a signature may change of it, and what nobody can sign away.

The floor is part of the code, and so of every verdict's code digest; ``ethics/policy.toml`` is it written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ethics.refusals import Fault

if TYPE_CHECKING:
    from ethics.check_register import BuiltCheck
    from ethics.policy import Policy

AT_LEAST, AT_MOST, EXACTLY = "at least", "at most", "exactly"
FLOOR: dict[str, tuple[str, float]] = {
    "verdict_days": (AT_MOST, 90),
    "demonstration_days": (AT_MOST, 7),
    "audit_recall": (EXACTLY, 0.30),  # lower hides harm in noise, higher hides it in a cut so deep that all are found
    "replicates": (AT_LEAST, 1000),
    "min_persons_shown": (AT_LEAST, 5),
    "thresholds.min_recall_ratio": (AT_LEAST, 0.80),
    "thresholds.max_oe_ratio": (AT_MOST, 1.25),
    "thresholds.max_need_ratio": (AT_MOST, 1.25),
    "thresholds.alarm_probability": (AT_MOST, 0.95),
    "thresholds.min_expected_positives": (EXACTLY, 30),  # higher blocks fewer groups, lower passes indicators unproved
    "thresholds.min_indicators": (EXACTLY, 2),  # more would turn what fails to pass into what AT-05 lifts
    "thresholds.max_additivity_error": (AT_MOST, 1e-6),
    "thresholds.single_column_share": (AT_MOST, 0.95),
    "thresholds.stop_switch_days": (AT_MOST, 30),
    "thresholds.discovery_rate": (AT_LEAST, 0.05),
    "thresholds.min_calibration_slope": (AT_LEAST, 0.80),
    "thresholds.max_calibration_slope": (AT_MOST, 1.25),
    "thresholds.max_calibration_error": (AT_MOST, 0.03),
    "thresholds.min_observability": (AT_LEAST, 0.80),
    "thresholds.max_labels_from_contacts": (AT_MOST, 0.50),
    "thresholds.list_error": (AT_LEAST, 0.001),
    "thresholds.min_exploration": (AT_LEAST, 0.02),
    "thresholds.min_reason_overlap": (AT_LEAST, 0.60),
    "thresholds.max_flip_percentiles": (AT_MOST, 1.0),
    "thresholds.min_coverage_ratio": (AT_LEAST, 0.95),
    "thresholds.max_missing_gap": (AT_MOST, 0.10),
    "thresholds.max_group_auc": (AT_MOST, 0.80),
    "thresholds.max_group_auc_by_score": (AT_MOST, 0.60),
    "thresholds.max_group_auc_by_column": (AT_MOST, 0.75),
    "thresholds.min_feature_worth": (AT_LEAST, 0.002),
    "thresholds.membership_attest": (AT_MOST, 0.60),
    "thresholds.membership_block": (AT_MOST, 0.70),
    "thresholds.min_rows_per_level": (AT_LEAST, 50),
    "thresholds.max_drift_of_score": (AT_MOST, 0.25),
    "thresholds.max_drift_of_feature": (AT_MOST, 0.20),
    "thresholds.min_noise_overlap": (AT_LEAST, 0.90),
    "thresholds.max_lix_fi": (AT_MOST, 60),
    "thresholds.max_lix_sv": (AT_MOST, 45),
    "thresholds.max_objection_ratio": (AT_MOST, 2.0),
    "thresholds.min_uptake_ratio": (AT_LEAST, 0.80),
    "thresholds.max_complaint_days": (AT_MOST, 30),
    "thresholds.min_override_share": (AT_LEAST, 0.005),
    "thresholds.max_override_share": (AT_MOST, 0.20),
    "min_persons_public": (AT_LEAST, 10),
    "limits.max_reject_share": (AT_MOST, 0.01),
    "limits.min_data_in_leaf": (AT_LEAST, 20),
    "retention.scores_days": (AT_MOST, 183),
    "retention.lists_days": (AT_MOST, 730),
    "retention.judged_rows_days": (AT_MOST, 400),
    "retention.groups_days": (AT_MOST, 400),
    "retention.log_days": (AT_MOST, 1830),
}
"""Per key of a policy: the direction that is not looser, and the number."""
FLOOR_USES = ("outreach_ranking",)
FLOOR_SIGN_ROLES = ("gate", "auditor")
FLOOR_REQUIRED_ATTESTATIONS = ("AT-02", "AT-04")
FLOOR_ATTESTATIONS: dict[str, tuple[tuple[str, ...], int, int]] = {
    "AT-01": (("service_owner",), 365, 365),
    "AT-02": (("dpo", "lawyer"), 365, 365),
    "AT-03": (("dpo", "lawyer"), 365, 365),
    "AT-04": (("service_owner",), 365, 365),
    "AT-05": (("domain_professional",), 365, 365),
    "AT-06": (("equality_officer",), 183, 183),
    "AT-07": (("service_owner", "equality_officer"), 365, 92),
    "AT-08": (("ethics_board", "service_owner"), 365, 365),
    "AT-09": (("equality_officer", "lawyer"), 183, 183),
    "AT-10": (("auditor",), 365, 365),
    "AT-11": (("accessibility_specialist",), 365, 365),
    "AT-12": (("security_owner",), 365, 365),
}
"""Per attestation: who must sign, the longest it may hold, and the longest where a check is inconclusive."""
FLOOR_WHEN_SIGNED = (
    "verdict_days",
    "demonstration_days",
    "replicates",
    "min_persons_shown",
    "min_persons_public",
    "thresholds.min_indicators",
    "thresholds.max_additivity_error",
    "thresholds.stop_switch_days",
)
"""Numbers that protect residents or the measuring itself, and weigh nothing up: no signature lowers them."""
SIGNED_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "audit_recall": (0.10, 0.60),
    "thresholds.min_recall_ratio": (0.50, None),
    "thresholds.max_oe_ratio": (None, 2.0),
    "thresholds.max_need_ratio": (None, 2.0),
    "thresholds.alarm_probability": (None, 0.99),
    "thresholds.min_expected_positives": (10, 300),
    "thresholds.single_column_share": (None, 0.99),
    "thresholds.discovery_rate": (0.01, None),
    "thresholds.min_calibration_slope": (0.50, None),
    "thresholds.max_calibration_slope": (None, 2.0),
    "thresholds.max_calibration_error": (None, 0.10),
    "thresholds.min_observability": (0.50, None),
    "thresholds.max_labels_from_contacts": (None, 0.80),
    "thresholds.list_error": (1e-6, None),
    "thresholds.min_exploration": (0.005, None),
    "thresholds.min_reason_overlap": (0.30, None),
    "thresholds.max_flip_percentiles": (None, 5.0),
    "thresholds.min_coverage_ratio": (0.80, None),
    "thresholds.max_missing_gap": (None, 0.30),
    "thresholds.max_group_auc": (None, 0.95),
    "thresholds.max_group_auc_by_score": (None, 0.75),
    "thresholds.max_group_auc_by_column": (None, 0.90),
    "thresholds.min_feature_worth": (0.0005, None),
    "thresholds.membership_attest": (None, 0.70),
    "thresholds.membership_block": (None, 0.80),
    "thresholds.min_rows_per_level": (20, None),
    "thresholds.max_drift_of_score": (None, 1.0),
    "thresholds.max_drift_of_feature": (None, 1.0),
    "thresholds.min_noise_overlap": (0.70, None),
    "thresholds.max_lix_fi": (None, 80),
    "thresholds.max_lix_sv": (None, 60),
    "thresholds.max_objection_ratio": (None, 5.0),
    "thresholds.min_uptake_ratio": (0.50, None),
    "thresholds.max_complaint_days": (None, 90),
    "thresholds.min_override_share": (0.001, None),
    "thresholds.max_override_share": (None, 0.50),
    "limits.max_reject_share": (None, 0.05),
    "limits.min_data_in_leaf": (10, None),
    "retention.scores_days": (None, 400),
    "retention.lists_days": (None, 1830),
    "retention.judged_rows_days": (None, 800),
    "retention.groups_days": (None, 800),
    "retention.log_days": (None, 3660),
}
"""Least and most of what a signed policy may say: beyond them a check would run and could never find anything."""
NEVER_LEFT_OUT = ("C502",)
"""Beside core and severity B: without it the attestations that every need must have would be asked by nobody."""
_ONLY_STRICTER = "a policy that is not signed may only be stricter than ethics/policy.toml"
_NOBODY = "not even a signed policy may be looser here"


def built_checks() -> dict[str, BuiltCheck]:
    """Every check there is, by its id."""
    from ethics.checks import BUILT  # here, because the checks read policies

    return BUILT


def _number(policy: Policy, key: str) -> float:
    value: Any = policy
    for part in key.split("."):
        value = getattr(value, part)
    return float(value)


def below_floor(policy: Policy) -> Iterator[tuple[str, float, str, float]]:
    """Key, value, direction and floor of every number that asks for less than the floor."""
    for key, (direction, floor) in FLOOR.items():
        value = _number(policy, key)
        if (direction != AT_MOST and value < floor) or (direction != AT_LEAST and value > floor):
            yield key, value, direction, floor


def _out_of_bounds(policy: Policy, where: str) -> Iterator[Fault]:
    """Numbers beyond which no signature goes."""
    for key, (least, most) in SIGNED_BOUNDS.items():
        value = _number(policy, key)
        for bound, direction, beyond in (
            (least, AT_LEAST, least is not None and value < least),
            (most, AT_MOST, most is not None and value > most),
        ):
            if beyond:
                wrong = f"is {value:g}, and {direction} {bound:g} may be given"
                yield Fault(f"{where}: {key}", wrong, f"Give {direction} {bound:g}: {_NOBODY}")


def looser_faults(policy: Policy, where: str, *, signed: bool) -> Iterator[Fault]:
    """Everything in which a policy asks for less than it may, signed or not."""
    why = _NOBODY if signed else _ONLY_STRICTER
    for key, value, direction, floor in below_floor(policy):
        if not signed or key in FLOOR_WHEN_SIGNED:
            mend = f"Give {direction} {floor:g}: {why}"
            yield Fault(f"{where}: {key}", f"is {value:g}, and {direction} {floor:g} may be given", mend)
    yield from _out_of_bounds(policy, where) if signed else ()
    demanded = {
        id
        for id, check in built_checks().items()
        if not signed or check.core or check.severity == "B" or id in NEVER_LEFT_OUT
    }
    omitted = {
        "required": demanded - set(policy.required),
        "sign_roles": set(FLOOR_SIGN_ROLES) - {*policy.sign_roles},
        "required_attestations": set(FLOOR_REQUIRED_ATTESTATIONS) - {*policy.required_attestations},
    }
    for key, names in omitted.items():
        if names:
            yield Fault(f"{where}: {key}", f"leaves out {', '.join(sorted(names))}", f"Add them: {why}")
    unknown = sorted(set(policy.required_attestations) - set(policy.attestations))
    if unknown:
        mend = "Say in [attestations] who gives it and for how long"
        yield Fault(f"{where}: required_attestations", f"names {', '.join(unknown)}, which nobody can give", mend)
    more = sorted(set(policy.uses) - set(FLOOR_USES))
    if more:
        yield Fault(f"{where}: uses", f"permits {', '.join(more)}", f"Remove them: {why}")
    for id, rule in policy.attestations.items():
        roles, days, days_inconclusive = FLOOR_ATTESTATIONS.get(id, ((), rule.days, rule.days))
        place = f"{where}: attestations.{id}"
        if set(roles) - set(rule.roles):
            unasked = ", ".join(sorted(set(roles) - set(rule.roles)))
            yield Fault(f"{place}.roles", f"leave out {unasked}", f"Add them: {why}")
        if rule.days > days:
            wrong = f"is {rule.days}, and at most {days} may be given"
            yield Fault(f"{place}.days", wrong, f"Give at most {days}: {why}")
        if id in FLOOR_ATTESTATIONS and (rule.days_inconclusive or rule.days) > days_inconclusive:
            wrong = f"is {rule.days_inconclusive or 'not given'}, and at most {days_inconclusive} may be given"
            yield Fault(f"{place}.days_inconclusive", wrong, f"Give at most {days_inconclusive}: {why}")
