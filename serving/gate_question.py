"""A model put before the gate: its evidence, its judged people and their groups, for a verdict or a rehearsal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.digests import code_digest, environment_digest, sha256
from ethics.refusals import BadInput, Fault, NotTrusted
from serving.home import Home

if TYPE_CHECKING:
    from ethics.attestation import SignedAttestation
    from ethics.case import Evidence
    from ethics.fairness import FairnessTable
    from ethics.groups import GroupRegister
    from ethics.keys import TrustedKey
    from ethics.verdict import Verdict
    from models.evidence_files import GatheredEvidence
    from models.rule import RuleModel
    from models.training import NeedModel


class Answer(NamedTuple):
    """What the gate said, what it measured, and the evidence it went by."""

    verdict: Verdict
    fairness: FairnessTable
    evidence: Evidence


def put_before_gate(
    home: Home,
    model: NeedModel | RuleModel,
    gathered: GatheredEvidence,
    groups: GroupRegister,
    *,
    subject: Mapping[str, str],
    record: Mapping[str, Any],
    now: datetime,
    previous_sha256: str | None = None,
    demonstration: bool = False,
    changed: Callable[[Evidence], Evidence] | None = None,
) -> Answer:
    """Let the gate judge a model (G1); nothing is signed, and nothing is kept.

    Parameters
    ----------
    gathered : GatheredEvidence
        What the trial of the model showed.
    groups : GroupRegister
    subject : mapping
        Digests of what is judged and runs now, each from another place than the evidence that is compared with them.
    record : mapping
        ``units`` and ``invented``, as training recorded them.
    previous_sha256, demonstration
        As :func:`ethics.gate.judge` takes them.
    changed : callable, optional
        Makes the evidence to judge of the evidence gathered, before groups are measured: an order put after the
        scores (:mod:`serving.mitigation_work`). No statement lifts anything then: each was given about the model,
        by its digest, and this is another order of people than the one that was vouched for.
    """
    from ethics.cells import Cuts
    from ethics.gate import judge
    from ethics.judged_table import tabulated_once
    from models.baselines import audit_cut_of
    from models.gate_case import evidence_of
    from scoring.override_rehearsal import rehearsed_overrides

    trust, need, policy = home.key_ring.trust(), model.need, home.policy
    evidence = evidence_of(
        gathered,
        model,
        policy=policy,
        subject=subject,
        objections=home.objections,
        stop_switch_tested_at=home.stop_switch.tested_at(),
        signing_keys=[
            key.facts(keyid)
            for keyid, key in trust.items()
            if key.role in policy.sign_roles and key.state(now) == "in date"
        ],
        units=record["units"],
        invented=record["invented"],
    )
    if changed is not None:
        evidence = changed(evidence)
    cuts = Cuts(need.listed_k, audit_cut_of(evidence.rows, need, policy.verdict_days, policy.audit_recall))
    fairness = groups.measure(evidence.rows, cuts, policy, seed=evidence.seed, tabulated=tabulated_once)
    examined = groups.examine(
        evidence.rows,
        gathered.features,
        cuts,
        policy,
        seed=evidence.seed,
        kind=need.label.kind if need.label else "need",
        gain=gain_of(model),
        feature_of={row["column"]: row["feature"] for row in evidence.features},
    )
    evidence = replace(evidence, **examined, override=rehearsed_overrides(home.store))
    verdict = judge(
        evidence,
        fairness,
        policy,
        () if changed is not None else statements_about(home, model, trust, now),
        issued_at=now,
        previous_sha256=previous_sha256,
        demonstration=demonstration,
    )
    return Answer(verdict, fairness, evidence)


def statements_about(
    home: Home, model: NeedModel | RuleModel, trust: Mapping[str, TrustedKey], now: datetime
) -> list[SignedAttestation]:
    """What was vouched for about this model, by keys that are trusted now."""
    from ethics.attestation import read_attestations

    return read_attestations(home.attestation_folder(model.need.id, model.digest), trust, now)


def running_digests(home: Home) -> dict[str, str]:
    """Digests of the policy, code and environment that run now."""
    return {"policy": home.policy.digest, "code": code_digest(), "environment": environment_digest()}


def gain_of(model: Any) -> dict[str, float] | None:
    """Each column's share of what the model's trees gain by their splits; None for a rule."""
    if model.kind == "rule":
        return None
    gain = model.booster.feature_importance("gain")
    total = float(gain.sum()) or 1.0
    return {name: float(part) / total for name, part in zip(model.columns, gain, strict=True)}


def subject_of(model: Any, logged: Mapping[str, str]) -> dict[str, str]:
    """Digests of what is judged, each from another place than the evidence that is compared with them."""
    taught = model.facts["training"]["matrix_digest"] if model.kind == "model" else sha256(b"")
    return {
        "model": model.digest,
        "need": model.need.digest,
        "training_matrix": taught,
        "test_matrix": logged.get("test_matrix", ""),
    }


def refuse_other_evidence(folder: Path, logged: Mapping[str, str]) -> None:
    """Refuse evidence that is not the one whose digest was logged with the run (NotTrusted)."""
    from models.evidence_files import evidence_digest

    found, expected = evidence_digest(folder), logged.get("evidence", "")
    if found != expected:
        wrong = f"has SHA-256 {found[:12]}…, and {expected[:12] or 'nothing'}… was logged with the run: it was altered"
        raise NotTrusted(Fault(str(folder / "evidence.json"), wrong, "Train again"))


def groups_of(record: Mapping[str, Any], city_folder: Path | None) -> Path:
    """The groups that lay beside the city when it was learnt from; others would judge other people."""
    path = groups_file(Path(city_folder or record["city"]))
    found, expected = sha256(path.read_bytes()), record["groups_sha256"] or ""
    if found != expected:
        wrong = f"has SHA-256 {found[:12]}…, and {expected[:12] or 'none'}… lay beside the city at training"
        raise NotTrusted(Fault(str(path), wrong, "Judge with the same groups, or train again"))
    return path


def groups_file(city: Path) -> Path:
    """Where a city's audit groups lie."""
    for name in ("groups.parquet", "groups.csv"):
        if (city / name).exists():
            return city / name
    mend = "Fairness cannot be judged without groups: add groups.parquet (person_id and the attributes)"
    raise BadInput(Fault(str(city), "has no groups.parquet or groups.csv", mend))
