"""P5, responsibility: somebody answers for the need, and those who must vouch for it have."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from ethics.case import Evidence, ListEvidence, names_holder
from ethics.check_register import Case, Context, Finding, Unanswerable, check, is_vouched_for, none_wrong

RESPONSIBLE = ("owner", "deputy", "dpo")
CONTACTS = ("name", "email", "phone")
_TOLD_APART = ("AT-02", "AT-04")


@check("C501", "B", "pass", "block")
def somebody_answers_for_it(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Owner, deputy and data protection officer can be reached, none of them made the model, and a review is due."""
    people = evidence.responsible
    if people is None:
        raise Unanswerable("nobody is named as responsible")
    wrong = [
        f"{role}.{contact}" for role in RESPONSIBLE for contact in CONTACTS if not (people.get(role) or {}).get(contact)
    ]
    # Whoever built the model may not be the one who answers for its use: nobody would look at it with other eyes.
    wrong += [
        f"{role} is who trained the model"
        for role in RESPONSIBLE
        if names_holder(evidence.trained_by, str((people.get(role) or {}).get("name", "")))
    ]
    review = str(people.get("review_by") or "")
    if not review:
        wrong.append("review_by")
    elif date.fromisoformat(review) < context.now.date():
        wrong.append(f"review_by {review} has passed")
    yield none_wrong("missing_responsibilities", wrong)


@check("C502", "A", "pass", *_TOLD_APART, "needs_attestation", lists=True)
def those_who_must_have_vouched(case: Case, context: Context) -> Iterable[Finding]:
    """The attestations that the policy demands of every need: one finding each, which that attestation alone lifts.

    A statement counts for the model and policy it names, signed in date by every role the policy names; those who sign
    for several roles are several persons. Of a list: those by which the verdict passed are still in date.
    """
    demanded = context.policy.required_attestations
    if isinstance(case, ListEvidence):
        yield _still_in_date(case, context)
        return
    if not case.model_digest:
        raise Unanswerable("there is no model to vouch for")
    for statement in demanded:
        yield {
            "state": "needs_attestation",
            "statistic": "attestation_demanded",
            "needs": statement,
            "facts": {"names": statement} | ({"case": statement} if statement in _TOLD_APART else {}),
        }
    if not demanded:
        yield {"state": "pass", "statistic": "attestation_demanded"}


def _still_in_date(case: ListEvidence, context: Context) -> Finding:
    missing = [
        statement
        for statement in context.policy.required_attestations
        if not is_vouched_for(statement, "C502", case.attestations, context)
    ]
    finding = none_wrong("attestations_missing", missing)
    return finding | ({"state": "needs_attestation"} if missing else {})
