"""What the gate answers: checks with their numbers, and the verdict they add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ethics.digests import canonical_json, decimal, sha256
from ethics.refusals import Fault, NotTrusted
from ethics.verdict_parts import PARTS, part_digests

SCHEMA = "ennakko-verdict/1"
GATE_VERSION = "1"
CHECK_STATES = ("pass", "warn", "inconclusive", "needs_attestation", "not_testable", "block", "error")
OPEN_STATES = ("inconclusive", "needs_attestation", "not_testable")
NO_SUCH_CHECK, NOT_A_NUMBER = "no such check is built", "a statistic is not a number"
NOTHING_EVALUATED, NO_GROUP = "nothing was evaluated", "no group was measured"
"""Why a check could not be answered, where the refusal has an id of its own."""
VERDICT_STATES = ("ERROR", "BLOCK", "INCONCLUSIVE", "PASS_ATTESTED", "PASS")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question of the gate and its answer, with the numbers it rests on.

    ``group`` is "attribute=group" where the check speaks of one; ``needs`` names the only attestation that lifts an
    open state; ``facts`` hold what the message says beside the numbers (text and whole numbers only).
    """

    id: str
    version: int
    severity: str
    state: str
    statistic: str
    group: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    needs: str | None = None
    n_bucket: str | None = None
    attested_by: str | None = None
    facts: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        """The key of the message template."""
        return f"{self.id}.{self.facts.get('case', self.state)}"

    def lifted(self, attestation_sha256: str) -> Check:
        """The same check, attested; its state stays what it is."""
        return replace(self, attested_by=attestation_sha256)

    @property
    def is_open(self) -> bool:
        """Whether only an attestation could let this pass, and none has."""
        return self.state in OPEN_STATES and self.attested_by is None

    def to_json(self) -> dict[str, Any]:
        """As verdicts and ``--json`` hold it: decimals as strings."""
        numbers = {name: decimal(getattr(self, name)) for name in ("value", "low", "high", "threshold")}
        return {**asdict(self), **numbers, "facts": dict(self.facts), "message_id": self.message_id}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Check:
        """The inverse of :meth:`to_json`."""
        numbers = {name: _float(data[name]) for name in ("value", "low", "high", "threshold")}
        return cls(**{**{name: value for name, value in data.items() if name != "message_id"}, **numbers})


def verdict_state(checks: Sequence[Check], required: Sequence[str]) -> str:
    """The first that applies: ERROR, BLOCK, INCONCLUSIVE, PASS_ATTESTED, PASS (contracts.md §5).

    >>> verdict_state([], ["C101"])
    'ERROR'
    """
    states = {check.state for check in checks}
    if (
        not required
        or set(required) - {check.id for check in checks}
        or states - set(CHECK_STATES)
        or "error" in states
    ):
        return "ERROR"
    if "block" in states:
        return "BLOCK"
    if any(check.is_open for check in checks):
        return "INCONCLUSIVE"
    return "PASS_ATTESTED" if any(check.attested_by for check in checks) else "PASS"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A model's verdict: what was judged, by which checks, how it came out, and until when it holds.

    Purpose, scope and record are signed, and nothing decides by them; the report shows them. ``previous_sha256`` is the
    :attr:`payload_sha256` of the need's verdict before this one, so that a verdict taken away is noticed.
    """

    service: str
    need_id: str
    model_id: str
    use: str
    issued_at: datetime
    expires_at: datetime
    demonstration: bool
    subject: Mapping[str, str | int]
    scope: Mapping[str, Any]
    purpose: Mapping[str, Any]
    record: Mapping[str, Any]
    checks: tuple[Check, ...]
    required: tuple[str, ...]
    attestations: tuple[Mapping[str, Any], ...] = ()
    previous_sha256: str | None = None

    @cached_property
    def state(self) -> str:
        """ERROR, BLOCK, INCONCLUSIVE, PASS_ATTESTED or PASS."""
        return verdict_state(self.checks, self.required)

    @cached_property
    def verdict_id(self) -> str:
        """Derived from the content, so two verdicts that say the same are the same."""
        return "v-" + sha256(canonical_json(self._content()))[:20]

    @cached_property
    def payload_sha256(self) -> str:
        """SHA-256 of the canonical payload: what the next verdict chains on, the same whoever signs and how often."""
        return sha256(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """The verdict as signed: strings, whole numbers, booleans, null, lists and tables; no floats."""
        return {"verdict_id": self.verdict_id, **self._content()}

    def _content(self) -> dict[str, Any]:
        run = sorted({check.id for check in self.checks})
        content = {
            "schema": SCHEMA,
            "gate_version": GATE_VERSION,
            "service": self.service,
            "need_id": self.need_id,
            "model_id": self.model_id,
            "use": self.use,
            "purpose": dict(self.purpose),
            "state": self.state,
            "demonstration": self.demonstration,
            "issued_at": moment_text(self.issued_at),
            "expires_at": moment_text(self.expires_at),
            "subject": dict(self.subject),
            "scope": dict(self.scope),
            "checks": [check.to_json() for check in self.checks],
            "coverage": {
                "required": list(self.required),
                "run": run,
                "skipped": sorted(set(self.required) - set(run)),
            },
            "attestations": [dict(attestation) for attestation in self.attestations],
            "record": dict(self.record),
            "prev_verdict_sha256": self.previous_sha256,
            "revocation_path": "revoked.json",
        }
        return {**content, PARTS: part_digests(content)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read a verdict back; one that contradicts itself is refused.

        Raises
        ------
        NotTrusted
            Another schema, a field missing, or a state or id that does not follow from the content.
        """
        if data.get("schema") != SCHEMA:
            raise NotTrusted(Fault("verdict: schema", f"is {data.get('schema')!r}", f"This version reads {SCHEMA}"))
        try:
            verdict = cls(
                **{name: data[name] for name in _AS_WRITTEN},
                issued_at=datetime.fromisoformat(data["issued_at"]),
                expires_at=datetime.fromisoformat(data["expires_at"]),
                checks=tuple(Check.from_json(check) for check in data["checks"]),
                required=tuple(data["coverage"]["required"]),
                attestations=tuple(data["attestations"]),
                previous_sha256=data["prev_verdict_sha256"],
            )
            again = canonical_json(verdict.to_json())
        except (KeyError, TypeError, ValueError) as error:
            wrong = f"cannot be read ({type(error).__name__})"
            raise NotTrusted(Fault("verdict", wrong, "Judge again with this version")) from None
        if again != canonical_json(dict(data)):
            wrong = f"contradicts itself (its checks make it {verdict.state})"
            raise NotTrusted(Fault("verdict", wrong, "Judge again; a verdict is never edited"))
        return verdict


_AS_WRITTEN = ("service", "need_id", "model_id", "use", "demonstration", "subject", "scope", "purpose", "record")


def moment_text(moment: datetime) -> str:
    """A moment as signed files write it: UTC, whole seconds."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be signed")
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)
