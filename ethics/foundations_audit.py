"""What a verdict rests on beside its numbers, from the files themselves: the policy, and the signed statements."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ethics import refusal_ids as ids
from ethics.attestation import ATTESTATION_TYPE
from ethics.demands_audit import policy_of
from ethics.digests import sha256
from ethics.envelopes import check_signatures, open_envelope
from ethics.policy import Policy
from ethics.policy_envelope import POLICY_TYPE, is_envelope
from ethics.refusals import BadInput, Fault, NotTrusted

if TYPE_CHECKING:
    from datetime import datetime

    from securesystemslib.dsse import Envelope

    from ethics.keys import TrustedKey
    from ethics.verdict import Verdict

_AS_SIGNED = "Take the file as it was signed"
_NAMED = re.compile(r"AT-\d\d-C\d{3}-([0-9a-f]{8})\.json")
_TOUCHED = (ids.SIGNATURE, ids.UNKNOWN_KEY)
"""What an edit does to signatures. That a key has expired or gone out of use since is no edit."""


@dataclass
class Statements:
    """What became of a verdict's statements: rows whose file is here, rows whose file is not, and what was touched."""

    found: list[Mapping[str, Any]] = field(default_factory=list)
    missing: list[Mapping[str, Any]] = field(default_factory=list)
    touched: list[Fault] = field(default_factory=list)


def policy_file_faults(
    content: bytes, where: str, verdict: Verdict, trust: Mapping[str, TrustedKey], at: datetime
) -> list[Fault]:
    """Where a policy file is not the one that was judged by, or its signatures are not those of its officers.

    The digest is that of the TOML alone, so a policy that was signed anew is the same policy.
    """
    toml, faults = toml_of(content, where, trust, at)
    if toml is None:
        return faults
    code = ids.SUBJECT["policy"]
    judged = str(verdict.subject.get("policy"))
    if sha256(toml) != judged:
        wrong = f"has SHA-256 {sha256(toml)[:12]}…, and {judged[:12]}… was judged by"
        return [*faults, Fault(where, wrong, "Give the policy that was in force when it was judged", code)]
    try:
        policy = Policy._parsed(toml, where, signed=is_envelope(content))
    except BadInput as refusal:
        return [*faults, *(fault._replace(code=code) for fault in refusal.faults)]
    said = policy_of(verdict)
    for name in ("thresholds", "min_persons_shown", "min_persons_public"):
        if getattr(said, name) != getattr(policy, name):
            wrong = "is not what the policy says, which was judged by"
            faults.append(Fault(f"scope: {name}", wrong, "Take the verdict as the gate wrote it", ids.CONTRADICTION))
    return faults


def toml_of(
    content: bytes, where: str, trust: Mapping[str, TrustedKey], at: datetime
) -> tuple[bytes | None, list[Fault]]:
    """The TOML of a policy file, and what is wrong with the signatures on it; None where the envelope is damaged."""
    if not is_envelope(content):
        return content, []
    opened, faults = _opened(content, where, POLICY_TYPE, trust, at)
    return (None if opened is None else bytes(opened.payload)), faults


def statements_in(
    files: Mapping[str, bytes], verdict: Verdict, trust: Mapping[str, TrustedKey], at: datetime
) -> Statements:
    """The verdict's statements, found by their digests among files; files that were touched are named.

    A statement that expired may be taken away, so one that is missing is not touched. Other models' and later
    statements may lie there too.
    """
    here = {sha256(content): name for name, content in files.items()}
    result = Statements()
    for row in verdict.attestations:
        name = here.get(str(row.get("sha256")))
        if name is None:
            result.missing.append(row)
            continue
        differing = _differing(row, files[name])
        result.touched += [
            Fault(f"attestation {row.get('id')} of the verdict: {key}", f"is not what {name} says", _AS_SIGNED, _CODE)
            for key in differing
        ]
        if not differing:
            result.found.append(row)
    named = {str(row.get("sha256")) for row in verdict.attestations}
    for digest, name in here.items():
        if digest not in named:
            result.touched += statement_file_faults(files[name], name, trust, at)
    return result


_CODE = ids.STATEMENT_FILE


def statement_file_faults(content: bytes, where: str, trust: Mapping[str, TrustedKey], at: datetime) -> list[Fault]:
    """Whether a file of a statement is as it was signed, by its signatures and by the digest in its name."""
    _, faults = _opened(content, where, ATTESTATION_TYPE, trust, at)
    named = _NAMED.fullmatch(where.rpartition("/")[2])
    if named is not None and not sha256(content).startswith(named.group(1)):
        faults.append(Fault(where, "is not the file that its name tells the digest of", _AS_SIGNED, _CODE))
    return faults


def _opened(
    content: bytes, where: str, payload_type: str, trust: Mapping[str, TrustedKey], at: datetime
) -> tuple[Envelope | None, list[Fault]]:
    try:
        opened = open_envelope(content, where)
    except NotTrusted as refusal:
        return None, list(refusal.faults)
    if opened.payload_type != payload_type:
        return None, [Fault(where, f"holds a payload of type {opened.payload_type!r}", _AS_SIGNED, ids.ENVELOPE)]
    signed_by, faults = check_signatures(opened, trust, at, where)
    touched = [fault for fault in faults if fault.code in _TOUCHED]
    if not signed_by and not faults:
        touched.append(Fault(where, "is signed by nobody", _AS_SIGNED, ids.SIGNATURE))
    return opened, touched


def _differing(row: Mapping[str, Any], content: bytes) -> list[str]:
    """What a verdict tells of a statement otherwise than its file, where the file is the one it names."""
    try:
        said = json.loads(open_envelope(content, "attestation").payload)
        return [name for name in said if name in row and row[name] != said[name]]
    except (NotTrusted, ValueError, TypeError):
        return ["sha256"]
