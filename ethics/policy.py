"""The policy a city signs: thresholds, required checks, and who may vouch for what.

Anybody who can write a file could have any model pass. So a policy that nobody has signed may only be stricter than
the floor (:mod:`ethics.policy_floor`). What service owner and equality officer have signed
(:mod:`ethics.policy_envelope`) may set other thresholds within bounds and leave out checks that are neither of the core
nor of severity B; each is then named in the verdict.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ethics.case import holder
from ethics.digests import sha256
from ethics.fairness import Thresholds
from ethics.policy_floor import below_floor, built_checks, looser_faults
from ethics.refusals import BadInput, Fault, parse_toml

DEFAULT_PATH = Path(__file__).resolve().parent / "policy.toml"
ROLES = (
    "gate",
    "auditor",
    "service_owner",
    "equality_officer",
    "domain_professional",
    "dpo",
    "lawyer",
    "ethics_board",
    "accessibility_specialist",
    "security_owner",
)

MOST_HIDDEN, MOST_HIDDEN_PUBLIC = 30, 100
"""The largest group whose numbers a policy may withhold: from the auditor, none that is large enough to be tested."""

Share = Annotated[float, Field(gt=0, lt=1)]
Days = Annotated[int, Field(ge=1, le=400)]


def _as_compared(service: str) -> str:
    """A service's name without what only looks different: case, hyphens, underscores and spacing."""
    return " ".join(holder(service).replace("-", " ").split())


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    discovery_rate: Share
    min_calibration_slope: Share
    max_calibration_slope: Annotated[float, Field(gt=1)]
    max_calibration_error: Share
    min_observability: Share
    max_labels_from_contacts: Share
    list_error: Share
    min_exploration: Share
    min_reason_overlap: Share
    max_flip_percentiles: Annotated[float, Field(gt=0)]
    min_coverage_ratio: Share
    max_missing_gap: Share
    max_group_auc: Share
    max_group_auc_by_score: Share
    max_group_auc_by_column: Share
    min_feature_worth: Share
    membership_attest: Share
    membership_block: Share
    min_rows_per_level: Annotated[int, Field(ge=1)]
    max_drift_of_score: Annotated[float, Field(gt=0)]
    max_drift_of_feature: Annotated[float, Field(gt=0)]
    min_noise_overlap: Share
    max_lix_fi: Annotated[int, Field(ge=1)]
    max_lix_sv: Annotated[int, Field(ge=1)]
    max_objection_ratio: Annotated[float, Field(gt=1)]
    min_uptake_ratio: Share
    max_complaint_days: Days
    min_override_share: Share
    max_override_share: Share


class Limits(_Frozen):
    """What a need may make stricter, never looser."""

    max_reject_share: Annotated[float, Field(ge=0, lt=1)]
    min_data_in_leaf: Annotated[int, Field(ge=1)]


class Retention(_Frozen):
    """How many days what is stored of persons may lie before it must be deleted (or, the log, archived)."""

    scores_days: Annotated[int, Field(ge=1)]
    lists_days: Annotated[int, Field(ge=1)]
    judged_rows_days: Annotated[int, Field(ge=1)]
    groups_days: Annotated[int, Field(ge=1)]
    log_days: Annotated[int, Field(ge=1)]


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
    strict_services: tuple[Annotated[str, Field(pattern=r"\S")], ...]
    replicates: Annotated[int, Field(ge=200, le=100_000)]
    min_persons_shown: Annotated[int, Field(ge=5, le=MOST_HIDDEN)]
    min_persons_public: Annotated[int, Field(ge=5, le=MOST_HIDDEN_PUBLIC)]
    sign_roles: Annotated[tuple[str, ...], Field(min_length=2)]
    required: Annotated[tuple[str, ...], Field(min_length=1)]
    required_attestations: tuple[str, ...]
    thresholds: GateThresholds
    limits: Limits
    retention: Retention
    attestations: dict[str, AttestationRule]
    _bytes: bytes = PrivateAttr(default=b"")
    _signed_by: tuple[dict[str, str | bool], ...] = PrivateAttr(default=())

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
        """Read a policy that nobody has signed, from its bytes.

        Raises
        ------
        BadInput
            It cannot be read, is looser than :data:`ethics.policy_floor.FLOOR` anywhere, or does not require a check
            that is built.
        """
        return cls._parsed(content, where, signed=False)

    @classmethod
    def _parsed(cls, content: bytes, where: str, *, signed: bool) -> Policy:
        policy = parse_toml(content, where, cls)
        if policy.schema_ != 1:
            mend = "This version reads schema = 1; take the policy of the same version as the programme"
            raise BadInput(Fault(f"{where}: schema", f"is {policy.schema_}", mend))
        faults = list(looser_faults(policy, where, signed=signed))
        if faults:
            raise BadInput(*faults)
        policy._bytes = content
        return policy

    @property
    def bytes(self) -> bytes:
        """The TOML as it was read, without the signatures on it."""
        return self._bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the TOML: what is demanded, the same whoever signs it and how often."""
        return sha256(self._bytes)

    @property
    def signed_by(self) -> tuple[dict[str, str | bool], ...]:
        """Role, holder, key id and ``demonstration`` of each signer; empty for a policy that nobody has signed."""
        return self._signed_by

    @property
    def demonstration(self) -> bool:
        """Whether a demonstration key signed it: every verdict under it is a demonstration."""
        return any(signer["demonstration"] for signer in self._signed_by)

    def looser_than_template(self) -> list[dict[str, str]]:
        """Where a signed policy asks for less than the template, to be told on the first page of every report.

        Returns
        -------
        list of {key, value, template}
            As written, e.g. ``thresholds.min_recall_ratio``, ``0.7``, ``0.8``; checks left out as key ``required``.
        """
        found = [
            {"key": key, "value": f"{value:g}", "template": f"{floor:g}"} for key, value, _, floor in below_floor(self)
        ]
        left_out = [id for id in built_checks() if id not in self.required]
        return found + [{"key": "required", "value": f"without {id}", "template": f"with {id}"} for id in left_out]

    def is_strict(self, service: str) -> bool:
        """Whether one alarm alone blocks in this service, however the policy writes its name."""
        return _as_compared(service) in map(_as_compared, self.strict_services)

    def nearly_strict(self, service: str) -> list[str]:
        """Strict services that are not this one, and are spelt so like it that it may have been meant.

        >>> policy = Policy.load().model_copy(update={"strict_services": (" Health ", "helath", "schools")})
        >>> policy.is_strict("health"), policy.nearly_strict("health")
        (True, ['helath'])
        """
        meant = _as_compared(service)
        said = {_as_compared(name): name for name in self.strict_services}
        near = difflib.get_close_matches(meant, said.keys() - {meant}, n=3, cutoff=0.75)
        return [said[name] for name in near]

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
