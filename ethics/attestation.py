"""What only a named person can vouch for: signed statements that lift one open check of one model under one policy.

An attestation lifts what it names: check, group, model digest, policy digest and the AT id that the check asks for. It
never lifts a block or an error, and never changes a threshold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ethics.case import holder
from ethics.digests import canonical_json, sha256
from ethics.envelopes import SignedBy, check_signatures, open_envelope, retired_faults, sign_payload
from ethics.refusals import BadInput, Fault, NotTrusted, faults_of

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from ethics.case import Evidence
    from ethics.keys import TrustedKey
    from ethics.policy import Policy
    from ethics.verdict import Check

ATTESTATION_TYPE = "application/vnd.ennakko.attestation+json"
THE_WHOLE = "*"
"""Names, in a statement, the finding about no group: about the model, the label or everybody."""
_TOKEN = object()


class Attestation(BaseModel):
    """One statement by one role about one model.

    ``group`` is None (every finding of the check: one AT-07 per service may accept all groups that cannot be tested,
    for this model and this policy only), one "attribute=group", or a list of them, in which :data:`THE_WHOLE` stands
    for the finding that is about no group. ``reasons`` are read by people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^AT-\d\d$")]
    version: Annotated[int, Field(ge=1)] = 1
    need_id: Annotated[str, Field(min_length=1)]
    check: Annotated[str, Field(pattern=r"^C\d\d\d$")]
    group: str | tuple[str, ...] | None = None
    model_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    policy_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    reasons: Annotated[str, Field(min_length=20, max_length=5000)]
    evidence: tuple[str, ...] = ()
    name: Annotated[str, Field(min_length=1)]
    role: Annotated[str, Field(min_length=1)]
    organisation: Annotated[str, Field(min_length=1)]
    given_at: AwareDatetime
    expires_at: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.expires_at <= self.given_at:
            raise ValueError("expires_at is not after given_at | Give the day until which you vouch for it")
        return self

    def speaks_of(self, group: str | None) -> bool:
        """Whether the statement covers the findings about this group; None: the finding that is about no group."""
        named = (self.group,) if isinstance(self.group, str) else self.group
        return named is None or (THE_WHOLE if group is None else group) in named


@dataclass(frozen=True)
class SignedAttestation:
    """An attestation whose signatures were verified; made by :func:`read_attestation` only."""

    attestation: Attestation
    sha256: str
    signed_by: tuple[SignedBy, ...]
    token: object = None

    def __post_init__(self) -> None:
        if self.token is not _TOKEN:
            raise TypeError("a SignedAttestation comes from ethics.read_attestations only")

    def lifts(self, check: Check, evidence: Evidence, policy: Policy, now: datetime) -> bool:
        """Whether this lifts that open check, now.

        The AT-05 that accepts too few indicators (C404) also lifts C403 and C414 where there is nothing to test.
        """
        statement = self.attestation
        rule = policy.attestations.get(statement.id)
        named = statement.check == check.id or (
            statement.check == "C404" and check.id in ("C403", "C414") and check.state == "not_testable"
        )
        return (
            rule is not None
            and named
            and statement.id == check.needs
            and (statement.speaks_of(check.group) or (statement.check != check.id and statement.speaks_of(None)))
            and (check.id not in NAMED_ONLY or statement.group is not None)
            and statement.need_id == evidence.need_id
            and statement.model_digest == evidence.model_digest
            and statement.policy_digest == policy.digest
            and self._signed_by_all(rule.roles)
            and statement.given_at <= now < self.ends_at(check, policy)
        )

    def ends_at(self, check: Check, policy: Policy) -> datetime:
        """Until when it lifts that check: its own end, or the policy's longest life of such a statement if earlier."""
        statement = self.attestation
        return min(statement.expires_at, statement.given_at + _longest(policy.attestations[statement.id], check))

    @property
    def demonstration(self) -> bool:
        """Whether a demonstration key signed it: a verdict that rests on it is a demonstration."""
        return any(signed.key.demonstration for signed in self.signed_by)

    def _signed_by_all(self, roles: Sequence[str]) -> bool:
        """Whether every role has signed, each by another holder: two keys of one person are one pair of eyes."""
        holders = [{holder(signed.key.name) for signed in self.signed_by if signed.key.role == role} for role in roles]
        return any(len(set(chosen)) == len(roles) for chosen in product(*holders))

    def summary(self) -> dict[str, Any]:
        """What the verdict holds of it."""
        statement = self.attestation.model_dump(mode="json", include=set(_SHOWN))
        keys = [{"keyid": signed.keyid, "role": signed.key.role, "name": signed.key.name} for signed in self.signed_by]
        return {**statement, "sha256": self.sha256, "signers": sorted(keys, key=lambda key: key["keyid"])}


NAMED_ONLY = ("C602",)
"""Checks that only a statement that names the group lifts: a feature of health is vouched for by name."""

_SHOWN = ("id", "check", "group", "reasons", "evidence", "name", "role", "organisation", "given_at", "expires_at")


def _longest(rule: Any, check: Check) -> timedelta:
    short = rule.days_inconclusive if check.state == "inconclusive" and rule.days_inconclusive else rule.days
    return timedelta(days=short)


def sign_attestation(attestation: Attestation, *signers: Signer) -> bytes:
    """The statement in a signed envelope. Where the policy names two roles, both sign (here or by ``countersign``)."""
    if not signers:
        raise BadInput(Fault("attestation", "has no signer", "Give the key of the role that vouches for it"))
    return sign_payload(canonical_json(attestation.model_dump(mode="json")), ATTESTATION_TYPE, signers)


def read_attestation(content: bytes, where: str, trust: Mapping[str, TrustedKey], now: datetime) -> SignedAttestation:
    """One signed attestation, or every reason why it cannot be trusted.

    Raises
    ------
    NotTrusted
        Damaged, of another type, signed by an unknown, expired or other role's key, or not in date.
    """
    envelope = open_envelope(content, where)
    if envelope.payload_type != ATTESTATION_TYPE:
        wrong = f"holds a payload of type {envelope.payload_type!r}"
        raise NotTrusted(Fault(where, wrong, "Put only attestations into this folder"))
    signed_by, faults = check_signatures(envelope, trust, now, where)
    try:
        statement = Attestation.model_validate(json.loads(envelope.payload))
    except ValidationError as error:
        raise NotTrusted(*faults, *faults_of(error, where, Attestation)) from None
    except ValueError:
        raise NotTrusted(*faults, Fault(where, "holds no readable statement", "Sign it again")) from None
    if all(signed.key.role != statement.role for signed in signed_by):
        wrong = f"says it is given as {statement.role}, but no valid signature is of that role"
        faults.append(Fault(where, wrong, f"Have a trusted {statement.role} key sign it"))
    faults += retired_faults(signed_by, statement.given_at)
    if now >= statement.expires_at:
        faults.append(
            Fault(where, f"expired at {statement.expires_at.isoformat()}", "Give it anew, or remove the file")
        )
    if now < statement.given_at:
        faults.append(Fault(where, f"is given only at {statement.given_at.isoformat()}", "Set the clock right"))
    if faults:
        raise NotTrusted(*faults)
    return SignedAttestation(statement, sha256(content), tuple(signed_by), _TOKEN)


def read_attestations(folder: Path | str, trust: Mapping[str, TrustedKey], now: datetime) -> list[SignedAttestation]:
    """Every ``*.json`` attestation of a folder, by file name; all faults of all files at once.

    A folder that does not exist holds none.
    """
    found: list[SignedAttestation] = []
    faults: list[Fault] = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            found.append(read_attestation(path.read_bytes(), path.name, trust, now))
        except NotTrusted as refusal:
            faults += refusal.faults
        except OSError as error:
            faults.append(Fault(path.name, f"cannot be read ({error.strerror})", "Restore or remove the file"))
    if faults:
        raise NotTrusted(*faults)
    return found


def open_groups(checks: Sequence[Check], attestation_id: str) -> list[str]:
    """The groups that wait for this attestation: what its giver should read before vouching."""
    return sorted(
        {str(check.group) for check in checks if check.is_open and check.needs == attestation_id and check.group}
    )
