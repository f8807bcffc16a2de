"""The stories that command line and service share: judge, score, list, serve. Each reads top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import Fault, NotTrusted
from ethics.whole_file import write_whole
from serving.approval import RECORDED, chain_of, open_champion
from serving.gate_question import (
    groups_of,
    put_before_gate,
    refuse_other_evidence,
    running_digests,
    subject_of,
)
from serving.home import CELLS, REPORT, VERDICT, Home, locked, whole_folder
from serving.list_work import list_need, scored
from serving.opening import folder_of, need_path, refuse_unfounded
from serving.progress import Step, silent
from serving.rehearsal import rehearsed
from serving.report_work import signatures_of, write_beside_verdict
from serving.training_flow import number_or_null, train_need

if TYPE_CHECKING:
    from scoring.scorer import Scorer, Scores

# ---- judge -----------------------------------------------------------------------------------------------------


def judge_run(
    home: Home,
    run_id: str,
    city_folder: Path | None = None,
    step: Step = silent,
    now: datetime | None = None,
    *,
    rehearse: bool = False,
    language: str = "en",
) -> dict[str, Any]:
    """Let the gate judge a run: verdict, cells and report, in a folder that is there whole or not at all.

    With ``rehearse`` the gate judges all the same, without a key: aggregates are told, and there is no verdict
    (:func:`serving.rehearsal.rehearsed`). One judging of a need at a time, or its verdicts would not make one chain.
    """
    need_id = home.run_record(run_id)["need_id"]
    with locked(home.verdicts / f".{need_id}.lock"):
        return _judge_run(home, run_id, city_folder, step, now, rehearse=rehearse, language=language)


def _judge_run(
    home: Home,
    run_id: str,
    city_folder: Path | None,
    step: Step,
    now: datetime | None,
    *,
    rehearse: bool,
    language: str,
) -> dict[str, Any]:
    from ethics.cells import cells_as_bytes
    from ethics.groups import GroupRegister
    from ethics.judged_table import remember
    from ethics.signing import seal
    from ethics.verdict_chain import latest
    from ethics.verdict_changes import with_changes
    from models.evidence_files import read_evidence
    from models.registry import logged_digests, refuse_person_split, run_model

    now = now or datetime.now(UTC)
    record = home.run_record(run_id)
    step(f"{record['need_id']}: judging")
    model = run_model(home.registry, run_id)
    refuse_person_split(model)  # no key could help
    refuse_unfounded(home, model.need)
    signer, trust = None if rehearse else home.key_ring.signer("gate"), home.key_ring.trust()
    folder = home.runs / run_id
    logged = logged_digests(home.registry, run_id)
    refuse_other_evidence(folder, logged)
    need = model.need
    links, broken = chain_of(home, need.id)
    if broken:  # a new verdict would be chained to what is not whole
        raise NotTrusted(*broken)
    before = latest(links)
    verdict, fairness, evidence = put_before_gate(
        home,
        model,
        read_evidence(folder),
        GroupRegister.open(groups_of(record, city_folder)),
        subject={**subject_of(model, logged), **running_digests(home)},
        record=record,
        now=now,
        previous_sha256=before.payload_sha256 if before else None,
        demonstration=signer is not None and trust[signer.public_key.keyid].demonstration,
    )
    if signer is None:
        city = Path(city_folder or record["city"])
        return rehearsed(home, run_id, verdict, fairness, evidence.rows, need, city, step, now)
    remember(fairness)
    verdict = with_changes(verdict, before.verdict if before else None)
    step(f"{need.id}: writing the report")
    target = home.verdicts / need.id / verdict.verdict_id
    with whole_folder(target) as draft:
        write_whole(draft / VERDICT, seal(verdict, signer))
        write_whole(draft / CELLS, cells_as_bytes(fairness.cells))
        by = signatures_of(home, (draft / VERDICT).read_bytes(), str(target))
        write_beside_verdict(verdict, fairness.cells, draft, language, by)
    kept = {name: str(verdict.subject[name]) for name in RECORDED if name in verdict.subject}
    home.audit_log.append("judge", "gate", need=need.id, verdict=verdict.verdict_id, state=verdict.state, **kept)
    return {
        "need": need.id,
        "run_id": run_id,
        "state": verdict.state,
        "verdict_id": verdict.verdict_id,
        "verdict_path": str(target / VERDICT),
        "report_path": str(target / REPORT),
        "checks": [check_as_json(check) for check in verdict.checks],
        "changes": verdict.record["changes"],
    }


def check_as_json(check: Any) -> dict[str, Any]:
    """A check as ``--json`` says it."""
    words = ("id", "version", "severity", "state", "statistic", "group", "needs", "attested_by")
    numbers = {name: getattr(check, name) for name in ("value", "low", "high", "threshold")}
    return {**{name: getattr(check, name) for name in words}, **{k: number_or_null(v) for k, v in numbers.items()}}


def train_and_judge(
    home: Home, city_folder: str | Path, need: Path, seed: int = 0, step: Step = silent, *, rehearse: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train a need and let the gate judge the run: what :func:`train_need` and :func:`judge_run` give."""
    trained = train_need(home, city_folder, need, seed, step)
    return trained, judge_run(home, trained["run_id"], step=step, rehearse=rehearse)


# ---- score, list, serve ----------------------------------------------------------------------------------------


def score_need(home: Home, city_folder: str | Path, need: Path, as_of: date, step: Step = silent) -> dict[str, Any]:
    """Score the cohort of a day with the approved model; written whole, recorded in the audit log."""
    champion, scorer, _, scores = scored(home, city_folder, need, as_of, step)
    ask_about_scores(home, scorer, scores)
    name = f"{as_of}-{scores.model_digest[:12]}-{scores.matrix_digest[:12]}.parquet"
    path = scores.write(home.scores / champion.need.id / name)
    home.store.add_scores(scores)  # so that a resident can be told
    home.audit_log.append("score", "service", need=champion.need.id, verdict=scores.verdict_id, n=len(scores))
    return {
        "path": str(path),
        "n": len(scores),
        "n_objectors": scores.n_objectors,
        "need": champion.need.id,
        "as_of_date": str(as_of),
        "model_digest": scores.model_digest,
        "verdict_id": scores.verdict_id,
        "matrix_digest": scores.matrix_digest,
    }


def ask_about_scores(home: Home, scorer: Scorer, scores: Scores) -> None:
    """Let the gate judge scores before they are kept: the checks of a score, on all of them at once.

    Raises
    ------
    Blocked, NotTrusted
        They may not leave.
    """
    from ethics.gate import ONLINE_CHECKS
    from scoring.list_gate import ask_gate
    from scoring.reasons import additivity_gap
    from scoring.scorer import sort_key_of

    people = scores.frame["person_id"].to_list()
    ask_gate(
        scorer,
        home.policy,
        home.stop_switch,
        n_objectors=int(home.objections.objecting(people, scorer.need.id).sum()),
        columns=scores.matrix.names,
        sort_key=sort_key_of(scores.frame),
        max_error=additivity_gap(scorer.model, scores.matrix),
        moment=datetime.now(UTC),
        checks=ONLINE_CHECKS,
    )


def serve_champions(home: Home, city_folder: str | Path, needs: Sequence[Path] = ()) -> int:
    """Answer over HTTP for the needs of these files, or those of the settings, or every need with an approved model."""
    from models.registry import approved_needs
    from serving.running import serve

    files = {path.stem: path for path in map(need_path, needs)}
    for need_id, path in files.items():
        open_champion(home, need_id, path)
    ids = list(files or home.settings.needs or approved_needs(home.registry))
    if not ids:
        raise NotTrusted(Fault("serve", "no need has an approved model", "Train, judge, sign and approve one"))
    return serve(home.settings, folder_of(city_folder), ids)


def score_and_list(
    home: Home, city_folder: str | Path, need: Path, as_of: date, step: Step = silent
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score a day's cohort and cut the lists: what :func:`score_need` and :func:`list_need` give."""
    of_all = score_need(home, city_folder, need, as_of, step)
    return of_all, list_need(home, city_folder, need, as_of, step=step)
