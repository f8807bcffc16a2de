"""Sealing a verdict and verifying it: who signed, until when, and that the bytes in use are the bytes that were judged.

:func:`verify` is the only door to a :class:`VerifiedVerdict`, and a
:class:`VerifiedVerdict` the only thing that scoring accepts: there is no way round.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ethics import refusal_ids as ids
from ethics.case import COMPARED, holder, names_holder
from ethics.digests import canonical_json, sha256
from ethics.envelopes import SignedBy as SignedBy
from ethics.envelopes import check_signatures as check_signatures
from ethics.envelopes import countersign as countersign
from ethics.envelopes import open_envelope as open_envelope
from ethics.envelopes import retired_faults as retired_faults
from ethics.envelopes import short
from ethics.envelopes import sign_payload as sign_payload
from ethics.keys import SIGNED_DAYS, TrustedKey
from ethics.refusals import Blocked, Fault, Inconclusive, NotTrusted, Refusal
from ethics.score_case import judges_scores_alone, no_model_fault
from ethics.stop_switch import StopSwitch
from ethics.verdict import NO_GROUP, NO_SUCH_CHECK, NOT_A_NUMBER, NOTHING_EVALUATED, Verdict
from ethics.verdict_parts import touched_parts

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signer

VERDICT_TYPE = "application/vnd.ennakko.verdict+json"
SIGN_ROLES = ("gate", "auditor")
_TOKEN = object()


class VerifiedVerdict:
    """A verdict whose signatures, dates, digests and state have been verified; made by :func:`verify` only."""

    __slots__ = ("_envelope_sha256", "_signed_by", "_verdict")
    _envelope_sha256: str
    _signed_by: tuple[SignedBy, ...]
    _verdict: Verdict

    def __init__(
        self, verdict: Verdict, envelope_sha256: str, signed_by: Sequence[SignedBy], *, token: object = None
    ) -> None:
        if token is not _TOKEN:
            raise TypeError("a VerifiedVerdict comes from ethics.verify only; give that the signed envelope")
        object.__setattr__(self, "_verdict", verdict)
        object.__setattr__(self, "_envelope_sha256", envelope_sha256)
        object.__setattr__(self, "_signed_by", tuple(signed_by))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a VerifiedVerdict cannot be changed ({name})")

    def __reduce__(self) -> Any:
        raise TypeError("a VerifiedVerdict cannot be pickled or copied; verify the envelope again")

    def __repr__(self) -> str:
        return f"VerifiedVerdict({self.verdict.verdict_id}, {self.verdict.state})"

    @property
    def verdict(self) -> Verdict:
        """What was signed."""
        return self._verdict

    @property
    def envelope_sha256(self) -> str:
        """SHA-256 of the signed file."""
        return self._envelope_sha256

    @property
    def signed_by(self) -> tuple[SignedBy, ...]:
        """The trusted keys that signed, for the list gate's C702."""
        return self._signed_by


def seal(verdict: Verdict, signer: Signer) -> bytes:
    """The verdict in an envelope with its first signature (the gate's)."""
    return sign_payload(canonical_json(verdict.to_json()), VERDICT_TYPE, [signer])


def verify(
    envelope: bytes,
    cells: bytes,
    *,
    trust: Mapping[str, TrustedKey],
    expected: Mapping[str, str | int],
    use: str,
    now: datetime,
    revoked: Collection[str],
    stop_switch: StopSwitch,
    allow_demonstration: bool,
    demonstration_policy: bool = False,
) -> VerifiedVerdict:
    """Verify a signed verdict against the bytes that will be used.

    A verdict that says no says so even before the auditor has signed it, where everything else holds: another
    signature would change nothing.

    Parameters
    ----------
    envelope, cells : bytes
        The signed file, and the file of cells it rests on.
    expected : mapping of subject name to SHA-256
        Recomputed from the bytes in use; model, need, policy, code and environment at least. The other subjects, seed
        and replicates among them, are compared where the caller knows what was recorded elsewhere.
    use : str
        What the scores are for; must be the verdict's.
    revoked : collection of str
        Verdict ids or envelope digests that no longer hold.
    allow_demonstration : bool
        Whether a demonstration verdict is good enough here (never beyond loopback).
    demonstration_policy : bool
        Whether the policy in force is signed with demonstration keys: every verdict under it is a demonstration.

    Raises
    ------
    NotTrusted
        Every reason at once, each with its id (:mod:`ethics.refusal_ids`): signature, key, role, dates, revocation,
        signers of attestations, stop switch, digests (each named), an ERROR.
    Blocked, Inconclusive
        The verdict says no, and nothing but the auditor's signature may be missing; every check that says so is named.
    """
    opened = open_envelope(envelope, "verdict")
    signed_by, faults = check_signatures(opened, trust, now, "verdict")
    expected = {**expected, "cells": sha256(cells)}
    try:
        verdict = _payload_of(opened, faults)
    except NotTrusted as refusal:  # which subjects were touched is said also where the whole contradicts itself
        touched = [fault for fault in _digest_faults(_subject_written(opened), expected) if "was judged" in fault.wrong]
        raise NotTrusted(*refusal.faults, *touched) from None
    damaged, unsigned = [*faults, *retired_faults(signed_by, verdict.issued_at)], _role_faults(signed_by)
    faults = holder_faults(signed_by, verdict)
    faults += statement_faults(verdict.attestations, trust) + _date_faults(verdict, now, signed_by)
    if any(signed.key.demonstration for signed in signed_by) or verdict.demonstration:
        if not allow_demonstration:
            mend = "Sign with real keys; demonstration keys are for one's own machine"
            faults.append(Fault("verdict", "is a DEMONSTRATION", mend, ids.DEMONSTRATION))
        if not verdict.demonstration:
            wrong = "is signed by a demonstration key but not marked so"
            faults.append(Fault("verdict", wrong, "Judge again", ids.DEMONSTRATION))
    if demonstration_policy and not verdict.demonstration:
        wrong = "is not marked as a demonstration, and its policy is signed by demonstration keys"
        faults.append(
            Fault("verdict", wrong, "Have the policy signed with real keys, and judge again", ids.DEMONSTRATION)
        )
    envelope_sha256 = sha256(envelope)
    if {verdict.verdict_id, envelope_sha256} & set(revoked):
        mend = "Judge again, and approve the new one"
        faults.append(Fault("verdict", f"{verdict.verdict_id} has been revoked", mend, ids.REVOKED))
    if stop_switch.is_set():
        faults.append(stop_switch.fault())
    if use != verdict.use:
        mend = "Use the scores for nothing else than what was judged"
        faults.append(Fault("use", f"is {use!r} where the verdict allows {verdict.use!r}", mend, ids.OTHER_USE))
    faults += _digest_faults(verdict.subject, expected)
    if judges_scores_alone({"scope": verdict.scope}):
        faults.append(no_model_fault())
    if verdict.state == "ERROR":
        faults += error_faults(verdict)
    if damaged or faults or all(signed.key.role != "gate" for signed in signed_by):
        raise NotTrusted(*damaged, *unsigned, *faults)
    _refuse_unless_passed(verdict)
    if unsigned:
        raise NotTrusted(*unsigned)
    return VerifiedVerdict(verdict, envelope_sha256, signed_by, token=_TOKEN)


def read_signed_verdict(
    envelope: bytes, trust: Mapping[str, TrustedKey], now: datetime, where: str = "verdict"
) -> Verdict:
    """What a signed verdict says, to read, attest or sign it. Nothing may be done on its strength: see :func:`verify`.

    Raises
    ------
    NotTrusted
        Damaged, or a signature that is not by a trusted key in date.
    """
    opened = open_envelope(envelope, where)
    signed_by, faults = check_signatures(opened, trust, now, where)
    try:
        verdict = _payload_of(opened, faults)
    except NotTrusted as refusal:
        raise NotTrusted(*refusal.faults, *_touched_subjects(opened)) from None
    faults += retired_faults(signed_by, verdict.issued_at)
    if not signed_by:
        faults.append(Fault(where, "has no valid signature", "Take the file as it was signed", ids.ROLE_MISSING))
    if faults:
        raise NotTrusted(*faults)
    return verdict


def _touched_subjects(envelope: Envelope) -> list[Fault]:
    """The subjects that were edited in a payload; none where it cannot be read."""
    try:
        return [fault for fault in touched_parts(json.loads(envelope.payload)) if fault.code in ids.SUBJECT.values()]
    except (ValueError, TypeError, AttributeError):
        return []


def _subject_written(envelope: Envelope) -> Mapping[str, Any]:
    """The subject as a payload holds it, consistent or not; empty where it cannot be read."""
    try:
        written = json.loads(envelope.payload)["subject"]
        return {str(name): value for name, value in written.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _payload_of(envelope: Envelope, faults: Sequence[Fault]) -> Verdict:
    """The verdict inside, or a refusal that names the faults of the signatures too."""
    if envelope.payload_type != VERDICT_TYPE:
        wrong = f"holds a payload of type {envelope.payload_type!r}"
        raise NotTrusted(*faults, Fault("verdict", wrong, f"Give an envelope of type {VERDICT_TYPE}", ids.ENVELOPE))
    try:
        return Verdict.from_json(json.loads(envelope.payload))
    except NotTrusted as refusal:
        contradictions = [fault._replace(code=fault.code or ids.CONTRADICTION) for fault in refusal.faults]
        raise NotTrusted(*faults, *contradictions) from None
    except (ValueError, TypeError, AttributeError):
        wrong = "holds no readable verdict"
        fault = Fault("verdict", wrong, "Take the file as it was signed", ids.CONTRADICTION)
        raise NotTrusted(*faults, fault) from None


def _role_faults(signed_by: Sequence[SignedBy]) -> list[Fault]:
    """Roles that have not signed."""
    faults = []
    for role in SIGN_ROLES:
        if all(signed.key.role != role for signed in signed_by):
            have = ", ".join(sorted({signed.key.role for signed in signed_by})) or "none"
            wrong = f"has no valid signature by a key of role {role} (valid: {have})"
            mend = f"Have a trusted {role} key sign it: ennakko sign"
            faults.append(Fault("verdict", wrong, mend, ids.ROLE_MISSING))
    return faults


def holder_faults(signed_by: Sequence[SignedBy], verdict: Verdict) -> list[Fault]:
    """Signers who may not have signed both, or not at all."""
    faults = []
    signing = [signed for signed in signed_by if signed.key.role in SIGN_ROLES]
    for what, found, code in (
        ("key", {signed.key.public for signed in signing}, ids.ONE_KEY_TWICE),
        ("person", {holder(signed.key.name) for signed in signing}, ids.ONE_HOLDER_TWICE),
    ):
        if len(signing) >= len(SIGN_ROLES) > len(found):
            wrong, mend = f"is signed twice by the same {what}", "Two different holders must sign"
            faults.append(Fault("verdict", wrong, mend, code))
    author = str(verdict.record.get("trained_by", ""))
    auditors = [signed for signed in signing if signed.key.role == "auditor"]
    if any(names_holder(author, signed.key.name, signed.key.role, signed.keyid) for signed in auditors):
        wrong = f"is audited by {author}, who trained the model"
        faults.append(Fault("verdict", wrong, "Have somebody else audit it", ids.AUTHOR_AUDITS))
    return faults


def statement_faults(statements: Iterable[Mapping[str, Any]], trust: Mapping[str, TrustedKey]) -> list[Fault]:
    """Statements a verdict rests on whose signers are not believed now: unknown, revoked, or nobody.

    A key that has expired or was retired since does not matter: the statement was verified when it was judged.
    """
    faults = []
    for statement in statements:
        where, signers = f"{statement.get('id')} of {statement.get('name')}", list(statement.get("signers") or ())
        wrong = [] if signers else ["is signed by nobody"]
        for keyid in (str(signer.get("keyid")) for signer in signers):
            key = trust.get(keyid)
            if key is None:
                wrong.append(f"is signed by the unknown key {short(keyid)}")
            elif key.revoked_at is not None:
                wrong.append(f"is signed by the key {short(keyid)} of {key.name}, revoked ({key.revoked_because})")
        mend = "Have it attested anew by a trusted key, judge and approve again"
        faults += [Fault(where, each, mend, ids.STATEMENT_SIGNER) for each in wrong]
    return faults


def _date_faults(verdict: Verdict, now: datetime, signed_by: Sequence[SignedBy]) -> list[Fault]:
    faults = []
    if now >= verdict.expires_at:
        wrong, mend = f"expired at {verdict.expires_at.isoformat()}", "Judge again: ennakko judge"
        faults.append(Fault("verdict", wrong, mend, ids.EXPIRED))
    if now < verdict.issued_at:
        wrong = f"is not valid before {verdict.issued_at.isoformat()}, and it is {now.isoformat()}"
        mend = "Set the clock right, here or where it was judged"
        faults.append(Fault("verdict", wrong, mend, ids.NOT_YET_VALID))
    demonstration = verdict.demonstration or any(signed.key.demonstration for signed in signed_by)
    days = (verdict.expires_at - verdict.issued_at).total_seconds() / 86400
    if days > SIGNED_DAYS[demonstration]:
        wrong = f"claims to hold for {days:.0f} days; {SIGNED_DAYS[demonstration]} is the most"
        faults.append(Fault("verdict", wrong, "Judge again with a policy that gives fewer days", ids.TOO_LONG))
    return faults


def _digest_faults(subject: Mapping[str, Any], found: Mapping[str, str | int]) -> list[Fault]:
    faults = []
    for name in dict.fromkeys((*COMPARED, *found)):
        judged, used, code = subject.get(name), found.get(name), ids.SUBJECT.get(name, "")
        if used is None:
            faults.append(Fault(f"subject {name}", "was not recomputed", "Hash the bytes that will be used", code))
        elif judged is None:
            faults.append(Fault(f"subject {name}", "is not part of the verdict", "Judge again with this version", code))
        elif str(judged) != str(used):
            wrong = f"is {short(str(used))} in use, but {short(str(judged))} was judged"
            faults.append(Fault(f"subject {name}", wrong, "Use what was judged, or judge what is used", code))
    return faults


def error_faults(verdict: Verdict) -> list[Fault]:
    """Why a verdict is an ERROR: checks that are missing, unknown, or could not be answered, each with its id."""
    missing = sorted(set(verdict.required) - {check.id for check in verdict.checks})
    faults = [
        Fault(id, "is required, and did not run", "Judge again: ennakko judge", ids.CHECK_MISSING) for id in missing
    ]
    coded = {NO_SUCH_CHECK: ids.CHECK_UNKNOWN, NOT_A_NUMBER: ids.NOT_A_NUMBER}
    coded |= dict.fromkeys((NO_GROUP, NOTHING_EVALUATED), ids.NO_GROUP)
    errors = (check for check in verdict.checks if check.state == "error")
    for check, fault in zip(errors, _check_faults(verdict, "error"), strict=True):
        faults.append(fault._replace(code=coded.get(str(check.facts.get("wrong")), ids.CHECK_ERROR)))
    return faults or [Fault("verdict", "did not run every required check", "Judge again", ids.CHECK_MISSING)]


def _check_faults(verdict: Verdict, *states: str) -> list[Fault]:
    return [
        Fault(
            f"{check.id}{' ' + check.group if check.group else ''}",
            f"{check.state}: {check.statistic} ({check.facts.get('wrong', check.value)})",
            f"Only {check.needs} lifts this" if check.needs else "The report says what to do",
        )
        for check in verdict.checks
        if check.state in states and (check.state == "error" or not check.attested_by)
    ]


def _refuse_unless_passed(verdict: Verdict) -> None:
    refusals: dict[str, tuple[type[Refusal], tuple[str, ...]]] = {
        "BLOCK": (Blocked, ("block",)),
        "INCONCLUSIVE": (Inconclusive, ("inconclusive", "needs_attestation", "not_testable")),
    }
    if verdict.state in refusals:
        refusal, states = refusals[verdict.state]
        raise refusal(*_check_faults(verdict, *states))
