"""A policy that a city has signed: the TOML in a DSSE envelope, by its service owner and its equality officer.

Two officers with opposed duties decide what may be tolerated; neither can alone. Their keys must be in date *when the
policy is read*, at judging and at every use: an envelope holds no moment that anybody but its signer vouches for, so
that a key was in date at signing could not be shown. A policy whose signers' keys have expired, or were retired or
revoked, is signed anew; its digest is that of the TOML alone, so verdicts under it live on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ethics.case import holder
from ethics.envelopes import SignedBy, check_signatures, countersign, open_envelope, retired_faults, sign_payload
from ethics.policy import Policy
from ethics.refusal_ids import ENVELOPE, ONE_HOLDER_TWICE, ONE_KEY_TWICE, POLICY_SIGNATURE
from ethics.refusals import BadInput, Fault, NotTrusted

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from ethics.keys import TrustedKey

POLICY_TYPE = "application/vnd.ennakko.policy+toml"
POLICY_SIGNERS = ("equality_officer", "service_owner")


def is_envelope(content: bytes) -> bool:
    """Whether a policy file is an envelope; TOML never begins with a brace.

    >>> is_envelope(b'{"payload": ""}'), is_envelope(b"schema = 1")
    (True, False)
    """
    return content.lstrip()[:1] == b"{"


def sign_policy(content: bytes, where: str, signer: Signer) -> bytes:
    """The envelope with one more signature, or a new one around a TOML.

    Raises
    ------
    BadInput
        The policy cannot be read, or asks for less than even a signed one may: everything at once.
    NotTrusted
        The envelope is damaged, or this key has signed it before.
    """
    if not is_envelope(content):
        Policy._parsed(content, where, signed=True)
        return sign_payload(content, POLICY_TYPE, [signer])
    Policy._parsed(_toml_in(content, where), where, signed=True)
    return countersign(content, signer)


def read_policy(content: bytes, where: str, trust: Mapping[str, TrustedKey], now: datetime) -> Policy:
    """A policy from its file: TOML that nobody has signed, or an envelope that both officers have.

    Raises
    ------
    BadInput
        A TOML that cannot be read or is looser than the template.
    NotTrusted
        An envelope that is damaged, not signed by both officers with trusted keys in date, or asks for less than even
        a signed policy may.
    """
    if not is_envelope(content):
        return Policy.parse(content, where)
    toml = _toml_in(content, where)
    signed_by, faults = check_signatures(open_envelope(content, where), trust, now, where)
    faults += retired_faults(signed_by, now)
    faults += missing_signatures(signed_by, where)
    try:
        policy = Policy._parsed(toml, where, signed=True)
    except BadInput as refusal:
        raise NotTrusted(*faults, *refusal.faults) from None
    if faults:
        raise NotTrusted(*faults)
    policy._signed_by = tuple(
        {
            "role": signed.key.role,
            "name": signed.key.name,
            "keyid": signed.keyid,
            "demonstration": signed.key.demonstration,
        }
        for signed in sorted(signed_by, key=lambda signed: signed.keyid)
    )
    return policy


def missing_signatures(signed_by: list[SignedBy], where: str) -> list[Fault]:
    """Which officer has not signed, or that one person or key stands for both."""
    faults = []
    officers = [signed for signed in signed_by if signed.key.role in POLICY_SIGNERS]
    for role in POLICY_SIGNERS:
        if all(signed.key.role != role for signed in officers):
            mend = f"Have a trusted {role} key sign it: ennakko sign --policy FILE --role {role}"
            faults.append(Fault(where, f"has no valid signature by a key of role {role}", mend, POLICY_SIGNATURE))
    mend = "Two different holders must sign"
    if not faults and len({signed.key.public for signed in officers}) < len(POLICY_SIGNERS):
        faults.append(Fault(where, "is signed twice by the same key", mend, ONE_KEY_TWICE))
    elif not faults and len({holder(signed.key.name) for signed in officers}) < len(POLICY_SIGNERS):
        faults.append(Fault(where, "is signed twice by the same person", mend, ONE_HOLDER_TWICE))
    return faults


def _toml_in(content: bytes, where: str) -> bytes:
    opened = open_envelope(content, where)
    if opened.payload_type != POLICY_TYPE:
        wrong = f"holds a payload of type {opened.payload_type!r}"
        raise NotTrusted(Fault(where, wrong, f"Give an envelope of type {POLICY_TYPE}", ENVELOPE))
    return bytes(opened.payload)
