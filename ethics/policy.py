"""The policy a city signs: thresholds, required checks, and who may vouch for what.

Anybody who can write a file could have any model pass. So a policy that nobody has signed may only be stricter than
:data:`FLOOR`, which is part of the code and so of every verdict's code digest; ``ethics/policy.toml`` is the floor
written out. What service owner and equality officer have signed (:mod:`ethics.policy_envelope`) may set other
thresholds within :data:`SIGNED_BOUNDS` and leave out checks that are neither of the core nor of severity B; each is
then named in the verdict. The rest of the floor (:data:`FLOOR_WHEN_SIGNED`, :data:`NEVER_LEFT_OUT`) nobody can sign
away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ethics.digests import sha256
from ethics.fairness import Thresholds
from ethics.refusals import BadInput, Fault, parse_toml

if TYPE_CHECKING:
    from ethics.check_register import BuiltCheck

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
    "thresholds.min_indicators": (AT_LEAST, 2),
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

Share = Annotated[float, Field(gt=0, lt=1)]
Days = Annotated[int, Field(ge=1, le=400)]


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
    strict_services: tuple[str, ...]
    replicates: Annotated[int, Field(ge=200, le=100_000)]
    min_persons_shown: Annotated[int, Field(ge=5)]
    min_persons_public: Annotated[int, Field(ge=5)]
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
            It cannot be read, or is looser than :data:`FLOOR` anywhere, or does not require a check that is built.
        """
        return cls._parsed(content, where, signed=False)

    @classmethod
    def _parsed(cls, content: bytes, where: str, *, signed: bool) -> Policy:
        policy = parse_toml(content, where, cls)
        if policy.schema_ != 1:
            mend = "This version reads schema = 1; take the policy of the same version as the programme"
            raise BadInput(Fault(f"{where}: schema", f"is {policy.schema_}", mend))
        faults = list(_looser(policy, where, signed=signed))
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
            {"key": key, "value": f"{value:g}", "template": f"{floor:g}"} for key, value, _, floor in _below_floor(self)
        ]
        left_out = [id for id in _built() if id not in self.required]
        return found + [{"key": "required", "value": f"without {id}", "template": f"with {id}"} for id in left_out]

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


def _built() -> dict[str, BuiltCheck]:
    from ethics.checks import BUILT  # here, because the checks read policies

    return BUILT


def _number(policy: Policy, key: str) -> float:
    value: Any = policy
    for part in key.split("."):
        value = getattr(value, part)
    return float(value)


def _below_floor(policy: Policy) -> Iterator[tuple[str, float, str, float]]:
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


def _looser(policy: Policy, where: str, *, signed: bool) -> Iterator[Fault]:
    """Everything in which a policy asks for less than it may, signed or not."""
    why = _NOBODY if signed else _ONLY_STRICTER
    for key, value, direction, floor in _below_floor(policy):
        if not signed or key in FLOOR_WHEN_SIGNED:
            mend = f"Give {direction} {floor:g}: {why}"
            yield Fault(f"{where}: {key}", f"is {value:g}, and {direction} {floor:g} may be given", mend)
    yield from _out_of_bounds(policy, where) if signed else ()
    demanded = {
        id
        for id, check in _built().items()
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
