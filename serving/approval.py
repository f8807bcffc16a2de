"""From a judged run to the model in use: attest, sign, approve, and open what was approved, verified again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.digests import code_digest, environment_digest, sha256
from ethics.refusal_ids import REVOCATIONS, SUBJECT
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean, faults_of
from ethics.whole_file import write_whole
from serving.endings import Ending, endings_of
from serving.home import CELLS, VERDICT, Home
from serving.opening import refuse_unfounded

if TYPE_CHECKING:
    from ethics.attestation import Attestation
    from ethics.keys import TrustedKey
    from ethics.policy import Policy
    from ethics.signing import VerifiedVerdict
    from ethics.stop_switch import StopSwitch
    from ethics.verdict import Check, Verdict
    from ethics.verdict_chain import Link
    from models.need import Need
    from models.registry import ApprovedModel
    from models.rule import RuleModel
    from models.training import NeedModel


def give_attestation(
    home: Home,
    verdict_path: Path,
    statement: str,
    reasons: str,
    *,
    check: str | None = None,
    role: str | None = None,
    organisation: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Sign a statement for every open check of a verdict that asks for it (or for one check).

    ``organisation`` is on whose behalf it is given; only demonstration keys, which speak for nobody, need none.
    """
    from ethics.attestation import sign_attestation

    now = now or datetime.now(UTC)
    verdict = read_verdict(home, verdict_path, now)
    rule = home.policy.attestations.get(statement)
    if rule is None:
        raise BadInput(Fault("--id", f"'{statement}' lifts nothing", did_you_mean(statement, home.policy.attestations)))
    if role is not None and role not in rule.roles:
        raise BadInput(Fault("--role", f"'{role}' may not give {statement}", did_you_mean(role, rule.roles)))
    asking = [c for c in verdict.checks if c.is_open and c.needs == statement and check in (None, c.id)]
    if not asking:
        asked = sorted({c.needs for c in verdict.checks if c.is_open and c.needs})
        wrong = f"has no open check that {statement} lifts"
        raise BadInput(Fault(str(verdict_path), wrong, f"It asks for: {', '.join(asked) or 'nothing'}"))
    signers = [home.key_ring.signer(name) for name in sorted(rule.roles, key=lambda name: name != role)]
    key = home.key_ring.trust()[signers[0].public_key.keyid]
    if organisation is None and not key.demonstration:
        mend = 'Say on whose behalf it is given, e.g. --organisation "Youth services of the city"'
        raise BadInput(Fault("--organisation", "is missing", mend))
    organisation = organisation or "Demonstration"
    checks = sorted({c.id for c in asking})
    for check_id in checks:
        spoken_of = [c for c in asking if c.id == check_id]
        attestation = _statement(home, verdict, statement, spoken_of, reasons, organisation, key, now)
        sealed = sign_attestation(attestation, *signers)
        folder = home.attestation_folder(verdict.need_id, attestation.model_digest)
        write_whole(folder / f"{statement}-{check_id}-{sha256(sealed)[:8]}.json", sealed)
    home.audit_log.append("attest", key.role, need=verdict.need_id, statement=statement, checks=",".join(checks))
    return {"id": statement, "checks": checks, "role": ", ".join(rule.roles), "need": verdict.need_id}


def _statement(
    home: Home,
    verdict: Verdict,
    statement: str,
    checks: Sequence[Check],
    reasons: str,
    organisation: str,
    key: TrustedKey,
    now: datetime,
) -> Attestation:
    """The statement about some groups of one check, for as long as the policy and the key allow."""
    from pydantic import ValidationError

    from ethics.attestation import THE_WHOLE, Attestation

    rule = home.policy.attestations[statement]
    short = rule.days_inconclusive if any(c.state == "inconclusive" for c in checks) else None
    try:
        return Attestation(
            id=statement,
            version=1,
            need_id=verdict.need_id,
            check=checks[0].id,
            group=tuple(sorted({c.group or THE_WHOLE for c in checks})),
            model_digest=str(verdict.subject["model"]),
            policy_digest=str(verdict.subject["policy"]),
            reasons=reasons,
            name=key.name,
            role=key.role,
            organisation=organisation,
            given_at=now,
            expires_at=min(now + timedelta(days=short or rule.days), key.valid_to),
        )
    except ValidationError as error:
        raise BadInput(*faults_of(error, statement, Attestation)) from None


def sign_verdict(home: Home, verdict_path: Path) -> dict[str, Any]:
    """Add the auditor's signature to a verdict's envelope (AT-10)."""
    from ethics.signing import countersign
    from serving.report_work import renew_page

    now = datetime.now(UTC)
    verdict = read_verdict(home, verdict_path, now)
    signed = countersign(verdict_path.read_bytes(), home.key_ring.signer("auditor"))
    write_whole(verdict_path, signed)
    renew_page(home, verdict, verdict_path)  # whose first page says who has signed
    home.audit_log.append("sign", "auditor", need=verdict.need_id, verdict=verdict.verdict_id)
    return {"verdict_path": str(verdict_path), "verdict_id": verdict.verdict_id, "signed_by": ["gate", "auditor"]}


def read_verdict(home: Home, path: Path, now: datetime) -> Verdict:
    """A verdict whose signatures are by trusted keys; what it says is not yet acted on."""
    from ethics.signing import read_signed_verdict

    if not path.is_file():
        raise BadInput(Fault(str(path), "is not a file", "Give the verdict_path that ennakko judge printed"))
    return read_signed_verdict(bytes_of(path), home.key_ring.trust(), now, str(path))


def chain_of(home: Home, need_id: str) -> tuple[list[Link], list[Fault]]:
    """The need's verdicts as this home keeps them, oldest first, and where their chain does not hold."""
    from ethics.verdict_chain import read_chain

    paths = sorted((home.verdicts / need_id).glob(f"[!.]*/{VERDICT}"))
    return read_chain(((path.parent.name, bytes_of(path)) for path in paths), home.key_ring.trust())


def approve_verdict(home: Home, verdict_path: Path) -> dict[str, Any]:
    """Make the judged model the one in use: only with a verdict that verifies against the bytes on disk now."""
    from models.registry import approve, run_model

    run_id, verified = _verified_run(home, verdict_path)
    verdict = verified.verdict
    place = verdict_place(home, verdict.need_id, verdict.verdict_id)
    if verdict_path.resolve() != place.resolve():
        wrong = "is a verdict that lies elsewhere than this home keeps it"
        raise BadInput(Fault(str(verdict_path), wrong, f"Put it back, signatures and all: {place}"))
    refuse_unfounded(home, run_model(home.registry, run_id, str(verdict.subject["model"])).need)
    approve(home.registry, verified, run_id, verdict.verdict_id)
    home.audit_log.append("approve", "service owner", need=verdict.need_id, verdict=verdict.verdict_id, run=run_id)
    return {
        "need": verdict.need_id,
        "model_digest": verdict.subject["model"],
        "verdict_id": verdict.verdict_id,
        "state": verdict.state,
        "expires_at": verdict.expires_at.isoformat(),
    }


def verdict_place(home: Home, need_id: str, verdict_id: str) -> Path:
    """Where the home keeps a verdict."""
    return home.verdicts / need_id / verdict_id / VERDICT


def verify_verdict(home: Home, verdict_path: Path) -> VerifiedVerdict:
    """A verdict that verifies against the model, need, policy, cells and code on disk now."""
    return _verified_run(home, verdict_path)[1]


def _verified_run(home: Home, verdict_path: Path) -> tuple[str, VerifiedVerdict]:
    from models.registry import find_version
    from models.training import load_model

    trust, now = home.key_ring.trust(), datetime.now(UTC)
    judged = read_verdict(home, verdict_path, now)
    try:
        run_id, folder = find_version(home.registry, judged.need_id, str(judged.subject["model"]))
    except NotTrusted as refusal:
        raise _about_the_model(refusal) from None
    policy = _signed_policy(home, trust, now)
    verified = _verify(home, verdict_path, folder, _need_file(home, run_id), now, policy, trust)
    load_model(folder, str(verified.verdict.subject["model"]))  # every file of the artefact, byte by byte
    return run_id, verified


def _about_the_model(refusal: NotTrusted) -> NotTrusted:
    """A refusal of which each fault has the id that it is the model's, unless it has another."""
    return NotTrusted(*(fault._replace(code=fault.code or SUBJECT["model"]) for fault in refusal.faults))


def _need_file(home: Home, run_id: str) -> Path | None:
    """The need file that a run was trained from, where it still is: a change of it is noticed even when not named."""
    if not (home.runs / run_id / "run.json").exists():
        return None
    path = Path(home.run_record(run_id)["need_file"])
    return path if path.exists() else None


@dataclass(frozen=True)
class Champion:
    """The approved model of a need, verified from the bytes that will be used.

    Attributes
    ----------
    approved : ApprovedModel
        What was approved, as the registry recorded it.
    watched : tuple of Path
        Other files whose change means: verify again.
    tie_secret : bytes
        Orders equal scores.
    endings : tuple of Ending
        What ends its trust by the clock alone, the earliest first.
    """

    verified: VerifiedVerdict
    model: NeedModel | RuleModel
    need: Need
    tie_secret: bytes
    stop_switch: StopSwitch
    approved: ApprovedModel
    watched: tuple[Path, ...]
    endings: tuple[Ending, ...]

    @property
    def artefact_folder(self) -> Path:
        """Where the model's files lie."""
        return self.approved.folder

    @property
    def holds_until(self) -> datetime:
        """From when on no score may leave, though no file changes: of verdict, keys and evidence table the earliest."""
        return self.endings[0].at


def open_champion(home: Home, need_id: str, need_file: Path | None = None) -> Champion:
    """Open a need's approved model; every digest is compared before anything is parsed or used.

    Raises
    ------
    NotTrusted
        Nothing approved; any subject of the verdict has changed: which, with both digests; or the need speaks of
        benefit, and what founded the word is gone or past its review.
    Blocked, Inconclusive
        The verdict says no.
    """
    from models.registry import approved_model

    home.stop_switch.guard()
    return _opened(home, need_id, approved_model(home.registry, need_id), need_file)


def reopen_champion(home: Home, champion: Champion) -> Champion:
    """The same champion, verified anew from its own files; the registry is not asked, so its silence keeps nobody.

    Raises
    ------
    Refusal
        As :func:`open_champion`.
    """
    home.stop_switch.guard()
    return _opened(home, champion.need.id, champion.approved, None)


def _opened(home: Home, need_id: str, approved: ApprovedModel, need_file: Path | None) -> Champion:
    from models.training import load_model

    verdict_path = verdict_place(home, need_id, approved.tags.get("verdict", ""))
    need_file = need_file or _need_file(home, approved.run_id)
    trust, now = home.key_ring.trust(), datetime.now(UTC)
    policy = _signed_policy(home, trust, now)
    verified = _verify(home, verdict_path, approved.folder, need_file, now, policy, trust)
    try:
        model = load_model(approved.folder, str(verified.verdict.subject["model"]))
    except NotTrusted as refusal:
        raise _about_the_model(refusal) from None
    try:
        refuse_unfounded(home, model.need)
    except BadInput as unfounded:
        raise NotTrusted(*unfounded.faults) from None
    files = (
        verdict_path,
        verdict_path.with_name(CELLS),
        home.policy_path,
        revoked_path(home),
        home.trust_path,
        home.effects_path,  # as the trial: what founds the need's words, and may come or go
        home.trial_path(need_id),
    )
    watched = files if need_file is None else (*files, need_file)
    return Champion(
        verified=verified,
        model=model,
        need=model.need,
        tie_secret=home.tie_secret(need_id),
        stop_switch=home.stop_switch,
        approved=approved,
        watched=watched,
        endings=endings_of(home, verified, policy, trust, model.need),
    )


def _signed_policy(home: Home, trust: Mapping[str, TrustedKey], now: datetime) -> Policy | None:
    """The policy that officers signed, whose signatures must hold now; None where nobody signed it."""
    from ethics.policy_envelope import is_envelope, read_policy

    content = bytes_of(home.policy_path)
    return read_policy(content, str(home.policy_path), trust, now) if is_envelope(content) else None


def _verify(
    home: Home,
    verdict_path: Path,
    artefact: Path,
    need_file: Path | None,
    now: datetime,
    policy: Policy | None,
    trust: Mapping[str, TrustedKey],
) -> VerifiedVerdict:
    from ethics.signing import verify

    return verify(
        bytes_of(verdict_path),
        bytes_of(verdict_path.with_name(CELLS)),
        trust=trust,
        expected={
            "model": sha256(bytes_of(artefact / "manifest.json")),
            "need": sha256(bytes_of(need_file or artefact / "need.toml")),
            "policy": policy.digest if policy else sha256(bytes_of(home.policy_path)),
            "code": code_digest(),
            "environment": environment_digest(),
            **recorded_at_judging(home, verdict_path),
        },
        use="outreach_ranking",
        now=now,
        revoked=revoked_verdicts(home),
        stop_switch=home.stop_switch,
        allow_demonstration=True,
        demonstration_policy=policy is not None and policy.demonstration,
    )


RECORDED = ("training_matrix", "test_matrix", "seed", "replicates", "design_effect")
"""Subjects that nothing in use can be hashed into; the audit log keeps them as they were when the gate judged."""


def recorded_at_judging(home: Home, verdict_path: Path) -> dict[str, str | int]:
    """What the audit log keeps of a verdict's subject since it was judged; empty where it was judged elsewhere."""
    kept = [facts for facts in home.audit_log.facts_of("judge") if facts.get("verdict") == verdict_path.parent.name]
    return {name: kept[-1][name] for name in RECORDED if kept and name in kept[-1]}


def bytes_of(path: Path) -> bytes:
    """The bytes of a file that something trusted must rest on."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotTrusted(Fault(str(path), f"cannot be read ({error.strerror})", "Restore it, or judge again")) from None


def revoked_path(home: Home) -> Path:
    """The list of revoked verdicts, which a running server watches."""
    return home.verdicts / "revoked.json"


def revoked_verdicts(home: Home) -> frozenset[str]:
    """Ids of verdicts that no longer hold: those listed, and those whose revocation the audit log keeps.

    A line taken out of the list therefore brings no verdict back. A list that cannot be read may name any of them.
    """
    return revoked_listed(home) | {str(facts.get("verdict")) for facts in home.audit_log.facts_of("revoke")}


def revoked_listed(home: Home) -> frozenset[str]:
    """Ids of verdicts in ``revoked.json``."""
    path = revoked_path(home)
    if not path.exists():
        return frozenset()
    try:
        ids = json.loads(path.read_bytes())
    except (OSError, ValueError):
        ids = None
    if not isinstance(ids, list) or not all(isinstance(verdict_id, str) for verdict_id in ids):
        mend = 'Write a list of verdict ids, e.g. ["v-217ee618b351ce3a5935"]'
        raise NotTrusted(Fault(str(path), "is not a list of verdict ids", mend, REVOCATIONS))
    return frozenset(ids)
