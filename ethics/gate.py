"""The gate: evidence and fairness compared with a policy, for a model (G1) and for every list (G2). It fails closed.

An exception, a NaN, a missing input, no group at all, a required check that is unknown or did not run: ERROR. Not shown
fair is INCONCLUSIVE, which is not a pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ethics.case import SORT_KEY, Evidence, ListEvidence
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.digests import decimal
from ethics.fairness import NOT_KNOWN
from ethics.policy import Policy
from ethics.verdict import NO_SUCH_CHECK, Check, Verdict
from ethics.verdict_record import recorded

if TYPE_CHECKING:
    from ethics.attestation import SignedAttestation
    from ethics.fairness import FairnessTable

__all__ = [
    "BUILT",
    "LIST_CHECKS",
    "MODEL_CHECKS",
    "ONLINE_CHECKS",
    "SCORE_CHECKS",
    "Check",
    "Evidence",
    "ListEvidence",
    "Policy",
    "Verdict",
    "judge",
    "judge_list",
]


MODEL_CHECKS = tuple(id for id, check in BUILT.items() if check.for_models)
SCORE_CHECKS = tuple(id for id, check in BUILT.items() if check.for_scores)
LIST_CHECKS = tuple(id for id, check in BUILT.items() if check.for_lists)
ONLINE_CHECKS = ("C102", "C103", "C301", "C701", "C702", "C801")


def judge(
    evidence: Evidence,
    fairness: FairnessTable | None,
    policy: Policy,
    attestations: Sequence[SignedAttestation] = (),
    *,
    issued_at: datetime,
    previous_sha256: str | None = None,
    demonstration: bool = False,
) -> Verdict:
    """Judge a model or a rule (G1), or scores alone, of which only :data:`SCORE_CHECKS` can be asked.

    Parameters
    ----------
    fairness : FairnessTable or None
        What :meth:`ethics.GroupRegister.measure` gave; None (no groups known) makes the verdict an ERROR.
    attestations : sequence of SignedAttestation
        As :func:`ethics.read_attestations` verified them. They lift open checks, never a block and never an error.
        One signed by a demonstration key makes the verdict that rests on it a demonstration.
    issued_at : datetime
        With a time zone. The verdict holds for the policy's ``verdict_days`` from then, or ``demonstration_days``, and
        never longer than an attestation that it rests on.

    Returns
    -------
    Verdict
        Whatever a check cannot answer makes it an ERROR; an exception there is never one here.
    """
    context = Context(policy, issued_at, fairness)
    demonstration = demonstration or policy.demonstration
    asked = tuple(id for id in (SCORE_CHECKS if evidence.kind == "scores" else MODEL_CHECKS) if id in policy.required)
    required = tuple(id for id in policy.required if id in asked or id not in BUILT)
    checks = [check for id in asked for check in BUILT[id].run(evidence, context)]
    checks += [_unknown(id) for id in policy.required if id not in BUILT]
    checks = [_lift(check, attestations, evidence, policy, issued_at) for check in checks]
    used = {check.attested_by for check in checks}
    given = {signed.sha256: signed for signed in attestations if signed.sha256 in used}
    demonstration = demonstration or any(signed.demonstration for signed in given.values())
    # A verdict does not outlive what it rests on: a score asked for afterwards asks no list's C502.
    ends = [given[check.attested_by].ends_at(check, policy) for check in checks if check.attested_by]
    days = policy.demonstration_days if demonstration else policy.verdict_days
    return Verdict(
        service=evidence.service,
        need_id=evidence.need_id,
        model_id=f"{evidence.need_id}@{evidence.model_digest[:12]}",
        use=evidence.use,
        issued_at=issued_at,
        expires_at=min([issued_at + timedelta(days=days), *ends]),
        demonstration=demonstration,
        subject=_subject(evidence, fairness),
        scope=_scope(evidence, fairness, policy),
        purpose={name: dict(text) for name, text in evidence.texts.items()},
        record=recorded(evidence, fairness, policy.min_persons_shown),
        checks=tuple(checks),
        required=required,
        attestations=tuple(signed.summary() for signed in attestations if signed.sha256 in used),
        previous_sha256=previous_sha256,
    )


def judge_list(evidence: ListEvidence, policy: Policy, checks: Collection[str] = LIST_CHECKS) -> tuple[Check, ...]:
    """Judge one list before it leaves memory (G2); with ``checks=ONLINE_CHECKS``, one online score.

    The list may leave only when every check is ``pass`` or ``warn``: nothing lifts a check of a list.

    >>> [id for id in ONLINE_CHECKS if id not in LIST_CHECKS]
    []
    """
    context = Context(policy, evidence.moment)
    known = [BUILT[id] for id in checks if id in BUILT and BUILT[id].for_lists and id in policy.required]
    unknown = [_unknown(id) for id in checks if id not in BUILT or not BUILT[id].for_lists]
    return (*(check for built in known for check in built.run(evidence, context)), *unknown)


def _unknown(id: str) -> Check:
    facts = {"wrong": NO_SUCH_CHECK}
    return Check(id=id, version=0, severity="B", state="error", statistic="error", facts=facts)


def _lift(
    check: Check, attestations: Sequence[SignedAttestation], evidence: Evidence, policy: Policy, now: datetime
) -> Check:
    """The check with the attestation that lifts it, if one does; the earliest given wins."""
    if not check.is_open:
        return check
    lifting = (signed for signed in attestations if signed.lifts(check, evidence, policy, now))
    first = min(lifting, key=lambda signed: (signed.attestation.given_at, signed.sha256), default=None)
    return check if first is None else check.lifted(first.sha256)


def _subject(evidence: Evidence, fairness: FairnessTable | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {"seed": evidence.seed}
    if fairness is not None:
        numbers |= {
            "cells": fairness.cells_digest,
            "seed": fairness.seed,
            "replicates": fairness.replicates,
            "design_effect": decimal(fairness.design_effect),
        }
    return {**evidence.subject, **numbers}


def _scope(evidence: Evidence, fairness: FairnessTable | None, policy: Policy) -> dict[str, Any]:
    limits = policy.thresholds
    scope = {
        "capacity_k": evidence.capacity_k,
        "period_days": evidence.period_days,
        "eligible_n": evidence.eligible_n,
        "kind": evidence.kind,
        "tie_break": list(SORT_KEY),
        "postprocess_sha256": None,
        "units": list(evidence.units),
        "invented": evidence.invented,
        "min_persons_shown": policy.min_persons_shown,
        "min_persons_public": policy.min_persons_public,
        "strict": policy.is_strict(evidence.service),
        "policy_signed_by": [dict(signer) for signer in policy.signed_by],
        "looser_than_template": policy.looser_than_template(),
        "sign_roles": list(policy.sign_roles),
        "thresholds": {name: decimal(value) for name, value in limits.model_dump().items()},
        "group_attributes": [],
        "households": NOT_KNOWN,
    }
    if fairness is not None:
        scope |= {
            "group_attributes": list(fairness.attributes),
            "households": fairness.households,
            "indicators": list(fairness.indicators),
            "measured_n": fairness.n,
            "selection_given": fairness.fixed,
            "measured_k": fairness.cuts.k,
            "measured_k_audit": fairness.cuts.k_audit,
        }
    return scope
