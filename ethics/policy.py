"""The policy a city signs: thresholds, required checks, and who may vouch for what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ethics.digests import sha256
from ethics.fairness import Thresholds
from ethics.refusals import BadInput, Fault, parse_toml

DEFAULT_PATH = Path(__file__).resolve().parent / "policy.toml"
ROLES = ("gate", "auditor", "service_owner", "equality_officer", "domain_professional", "dpo", "security_owner")

Share = Annotated[float, Field(gt=0, lt=1)]
Days = Annotated[int, Field(ge=1, le=400)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateThresholds(_Frozen):
    """Where a statistic becomes an alarm."""

    min_recall_ratio: Share
    max_oe_ratio: Annotated[float, Field(gt=1)]
    max_need_ratio: Annotated[float, Field(gt=1)]
    alarm_probability: Annotated[float, Field(ge=0.5, lt=1)]
    min_expected_positives: Annotated[int, Field(ge=1)]
    min_indicators: Annotated[int, Field(ge=1)]
    max_additivity_error: Annotated[float, Field(gt=0)]
    single_column_share: Share
    stop_switch_days: Days


class Limits(_Frozen):
    """What a need may make stricter, never looser."""

    max_reject_share: Annotated[float, Field(ge=0, lt=1)]
    min_data_in_leaf: Annotated[int, Field(ge=1)]


class AttestationRule(_Frozen):
    """Who signs an attestation (every role listed) and how long it may hold."""

    roles: Annotated[tuple[str, ...], Field(min_length=1)]
    days: Days
    days_inconclusive: Days | None = None

    @model_validator(mode="after")
    def _roles_exist(self) -> Self:
        unknown = sorted(set(self.roles) - set(ROLES))
        if unknown:
            raise ValueError(f"roles {', '.join(unknown)} do not exist | Allowed: {', '.join(ROLES)}")
        return self


class Policy(_Frozen):
    """What the gate demands; its digest is part of every verdict.

    >>> policy = Policy.load(DEFAULT_PATH)
    >>> policy.thresholds.min_recall_ratio, policy.verdict_days
    (0.8, 90)
    """

    schema_: Annotated[int, Field(alias="schema")]
    uses: tuple[str, ...]
    verdict_days: Annotated[int, Field(ge=1, le=90)]
    demonstration_days: Annotated[int, Field(ge=1, le=7)]
    audit_recall: Share
    strict_services: tuple[str, ...]
    replicates: Annotated[int, Field(ge=200, le=100_000)]
    min_persons_shown: Annotated[int, Field(ge=5)]
    sign_roles: Annotated[tuple[str, ...], Field(min_length=2)]
    required: Annotated[tuple[str, ...], Field(min_length=1)]
    thresholds: GateThresholds
    limits: Limits
    attestations: dict[str, AttestationRule]
    _bytes: bytes = PrivateAttr(default=b"")

    @classmethod
    def load(cls, path: Path | str = DEFAULT_PATH) -> Policy:
        """Read a policy file, or refuse with everything that is wrong in it."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            mend = "Give the path of a policy, e.g. ethics/policy.toml"
            raise BadInput(Fault(str(path), f"cannot be read ({error.strerror})", mend)) from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, where: str) -> Policy:
        """Read a policy from its bytes."""
        policy = parse_toml(content, where, cls)
        if policy.schema_ != 1:
            mend = "This version reads schema = 1; take the policy of the same version as the programme"
            raise BadInput(Fault(f"{where}: schema", f"is {policy.schema_}", mend))
        policy._bytes = content
        return policy

    @property
    def bytes(self) -> bytes:
        """The file as it was read."""
        return self._bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256(self._bytes)

    @property
    def fairness(self) -> Thresholds:
        """The thresholds that :func:`ethics.measure` takes probabilities of harm against."""
        numbers = self.thresholds
        return Thresholds(
            recall=numbers.min_recall_ratio,
            oe=numbers.max_oe_ratio,
            need=numbers.max_need_ratio,
            alarm=numbers.alarm_probability,
            min_expected=numbers.min_expected_positives,
        )
