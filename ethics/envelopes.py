"""Envelopes of signed files: DSSE (the signature covers type, lengths and payload) with Ed25519 keys.

They are written as canonical JSON, so that no byte of the file is without meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ethics import refusal_ids as ids
from ethics.digests import canonical_json
from ethics.refusals import Fault, NotTrusted
from ethics.score_case import judges_scores_alone, no_model_fault

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signer

    from ethics.keys import TrustedKey


@dataclass(frozen=True)
class SignedBy:
    """A valid signature by a trusted key."""

    keyid: str
    key: TrustedKey


def sign_payload(payload: bytes, payload_type: str, signers: Iterable[Signer]) -> bytes:
    """A payload in an envelope, signed by each signer."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, payload_type, {})
    for signer in signers:
        envelope.sign(signer)
    return _written(envelope)


def countersign(envelope: bytes, signer: Signer) -> bytes:
    """The envelope with one more signature, e.g. the auditor's who has read the report (AT-10).

    Raises
    ------
    NotTrusted
        The envelope is damaged, or this key has signed it before.
    """
    opened = open_envelope(envelope, "envelope")
    if signer.public_key.keyid in opened.signatures:
        mend = "The second signature must come from another key"
        wrong = f"already holds a signature of key {short(signer.public_key.keyid)}"
        raise NotTrusted(Fault("envelope", wrong, mend, ids.ONE_KEY_TWICE))
    opened.sign(signer)
    return _written(opened)


def open_envelope(content: bytes, where: str) -> Envelope:
    """Parse an envelope; every byte must be the one that writing it again gives. No signature is checked here."""
    from securesystemslib.dsse import Envelope

    mend = "Take the file as it was signed"
    written: Any = None
    try:
        written = json.loads(content)
        envelope = Envelope.from_dict(written)
        again = _written(envelope)
    except Exception as error:  # whatever a damaged file makes the parsers raise
        if judges_scores_alone(written):
            raise NotTrusted(no_model_fault(where)) from None
        wrong = f"is not a readable envelope ({type(error).__name__})"
        raise NotTrusted(Fault(where, wrong, mend, ids.ENVELOPE)) from None
    if again != content:
        wrong = "is not written in canonical form, so it was changed after signing"
        raise NotTrusted(Fault(where, wrong, mend, ids.ENVELOPE))
    return envelope


def check_signatures(
    envelope: Envelope, trust: Mapping[str, TrustedKey], now: datetime, where: str
) -> tuple[list[SignedBy], list[Fault]]:
    """The valid signatures by trusted keys in date, and a fault for each other one."""
    from securesystemslib.exceptions import UnverifiedSignatureError

    signed_by, faults, content = [], [], envelope.pae()
    for keyid, signature in envelope.signatures.items():
        key = trust.get(keyid)
        if key is None:
            mend = "Add it to trust.json, if its holder is known, or have a trusted key sign"
            faults.append(Fault(where, f"is signed by the unknown key {short(keyid)}", mend, ids.UNKNOWN_KEY))
            continue
        try:
            key.verifier(keyid).verify_signature(signature, content)
        except UnverifiedSignatureError:
            wrong = f"does not match the signature of {key.name} ({short(keyid)})"
            mend = "It was changed after signing; take the file as it was signed"
            faults.append(Fault(where, wrong, mend, ids.SIGNATURE))
            continue
        fault = key.date_fault(keyid, now)
        if fault is not None:
            faults.append(fault)
            continue
        signed_by.append(SignedBy(keyid, key))
    return signed_by, faults


def retired_faults(signed_by: Iterable[SignedBy], made_at: datetime) -> list[Fault]:
    """Signatures with keys that had been retired when what they sign was made."""
    found = (signed.key.retired_fault(signed.keyid, made_at) for signed in signed_by)
    return [fault for fault in found if fault is not None]


def _written(envelope: Envelope) -> bytes:
    data = envelope.to_dict()
    data["signatures"] = sorted(data["signatures"], key=lambda signature: str(signature["keyid"]))
    return canonical_json(data)


def short(digest: str) -> str:
    """The first twelve digits, by which people tell digests apart."""
    return digest[:12]
