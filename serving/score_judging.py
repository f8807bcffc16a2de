"""Judging anybody's scores: two files and a capacity in, a verdict and its report out. No city, no home, no keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.digests import canonical_json, code_digest, environment_digest
from ethics.refusals import BadInput, Fault
from ethics.score_case import neutral_tie_keys, score_evidence
from serving.home import CELLS, DEFAULT_POLICY, REPORT, VERDICT, whole_folder
from serving.progress import Step, silent
from serving.score_files import RULE_SCORE, read_score_files
from serving.score_words import findings_of, in_one_language, not_given

if TYPE_CHECKING:
    import polars as pl

    from ethics.fairness import FairnessTable
    from ethics.verdict import Verdict

NOT_STATED = "not stated"
DEFAULT_USE = "outreach_ranking"
FEWEST_PEOPLE = 100
"""Fewer people than the policy's expected needs of a single testable group can show nothing of any group."""
FARTHEST_OFF = 10.0
"""Probabilities so many times off are of something else; whatever is nearer, the verdict judges."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about some scores.

    Parameters
    ----------
    scores, groups : Path
        See :func:`serving.score_files.read_score_files`.
    capacity_k : int
        People who are contacted in a period.
    periods : int
        Periods that the answer is to hold for: fairness is judged at k* = capacity × periods at least.
    use : str or None
        What the scores are for; None: the only use the policy permits is assumed, and the report says so.
    service, title : str
        Whose scores they are, and what the report calls them.
    language : str
        Of the report.
    """

    scores: Path
    groups: Path
    capacity_k: int
    periods: int = 1
    seed: int = 0
    use: str | None = None
    service: str = NOT_STATED
    title: str = ""
    language: str = "en"


def judge_scores(
    question: Question,
    out: Path,
    policy_path: Path | None = None,
    step: Step = silent,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Judge scores and write ``<out>/<verdict_id>/``: ``verdict.json`` (unsigned), ``cells.parquet``, ``report.html``,
    ``report.json`` and ``report.csv``.

    Equal scores are put in order by a keyed hash of the person's id (:func:`ethics.score_case.neutral_tie_keys`), the
    same on every run of a seed.

    Raises
    ------
    BadInput
        Everything that is wrong in the files at once, or a language in which there is no report.
    """
    from ethics.cells import Cuts
    from ethics.gate import judge
    from ethics.policy import Policy
    from ethics.report_text import Language

    Language(question.language)
    now = now or datetime.now(UTC)
    policy = Policy.load(policy_path or DEFAULT_POLICY)
    step("reading scores and groups")
    files = read_score_files(question.scores, question.groups, question.capacity_k)
    _refuse_too_little(files.rows, question.scores)
    rows = files.rows.with_columns(_tie_keys(files.rows, question.seed))
    k_audit = _audit_cut(rows, question, policy.audit_recall)
    step("measuring groups")
    fairness = files.groups.measure(rows, Cuts(question.capacity_k, k_audit), policy, seed=question.seed)
    step("judging")
    evidence = score_evidence(
        rows,
        use=question.use or DEFAULT_USE,
        service=question.service,
        title=question.title or question.scores.stem,
        capacity_k=question.capacity_k,
        duel=_duels(rows, k_audit, question.seed, policy.replicates),
        rivals_due=_rivals_due(rows),
        subject={
            **files.digests,
            "policy": policy.digest,
            "code": code_digest(),
            "environment": environment_digest(),
        },
        seed=question.seed,
        stated=_stated(question, rows, files.share_with_groups),
    )
    verdict = judge(evidence, fairness, policy, issued_at=now)
    step("writing the report")
    target = out / verdict.verdict_id
    report = _write(target, verdict, fairness, question.language)
    return {
        "state": verdict.state,
        "verdict_id": verdict.verdict_id,
        "verdict_path": str(target / VERDICT),
        "report_path": str(target / REPORT),
        "capacity_k": question.capacity_k,
        "k_audit": k_audit,
        "n": rows.height,
        "share_with_groups": files.share_with_groups,
        "use": evidence.use,
        "not_given": not_given(rows.columns, {name: rows[name].count() for name in ("label", "probability")}),
        "meaning": [in_one_language(line, "en") for line in report["meaning"][:1]],
        "findings": findings_of(report, "en"),
        "checks": verdict.checks,
    }


def _refuse_too_little(rows: pl.DataFrame, where: Path) -> None:
    """Files that are in order, and of which no measure of groups can be taken.

    Raises
    ------
    BadInput
        Too few people, an outcome that nobody or everybody has, or probabilities that are none of that outcome.
    """
    faults = []
    if rows.height < FEWEST_PEOPLE:
        wrong = f"holds {rows.height} people, too few to compare groups of them"
        faults.append(Fault(str(where), wrong, f"Give at least {FEWEST_PEOPLE}"))
    known = rows["label"].drop_nulls()
    if len(known) and known.n_unique() == 1:
        wrong = f"is {int(known[0])} wherever it is known, so neither found nor missed need can be counted"
        faults.append(Fault(f"{where}: label", wrong, "Give outcomes of both kinds, or leave the column out"))
    elif len(known) and not rows["probability"].null_count():
        expected = float(rows["probability"].filter(rows["label"].is_not_null()).sum())
        seen = float(known.sum())
        if not seen / FARTHEST_OFF <= expected <= seen * FARTHEST_OFF:
            wrong = f"adds up to {expected:,.1f} needs where {seen:,.0f} appeared: these are no probabilities of them"
            mend = "Give calibrated probabilities of the label, or leave the column out"
            faults.append(Fault(f"{where}: probability", wrong, mend))
    if faults:
        raise BadInput(*faults)


def _write(target: Path, verdict: Verdict, fairness: FairnessTable, language: str) -> dict[str, Any]:
    """All files of the verdict, or none; the one place where they are named. Returns the report as JSON holds it."""
    from ethics.cells import cells_as_bytes
    from ethics.judged_table import remember
    from ethics.report import render_all

    if target.exists():
        mend = "Give another --out, or remove the folder"
        raise BadInput(Fault(str(target), "exists already: these very scores were judged at this moment", mend))
    with whole_folder(target) as draft:
        (draft / VERDICT).write_bytes(canonical_json(verdict.to_json()))
        (draft / CELLS).write_bytes(cells_as_bytes(fairness.cells))
        remember(fairness)
        files = render_all(verdict, fairness.cells)
        for name, text in files.items():
            if name == f"report.{language}.html":
                (draft / REPORT).write_text(text, "utf-8")
            elif not name.endswith(".html"):
                (draft / name).write_text(text, "utf-8")
    report: dict[str, Any] = json.loads(files["report.json"])
    return report


def _tie_keys(rows: pl.DataFrame, seed: int) -> pl.Series:
    import polars as pl

    return pl.Series("tie_key", neutral_tie_keys(rows["person_id"].to_list(), seed), dtype=pl.String)


def _audit_cut(rows: pl.DataFrame, question: Question, audit_recall: float) -> int:
    from ethics.cells import audit_cut, rank_order

    label = rows["label"].fill_null(float("nan")).to_numpy()
    order = rank_order(rows["rank_score"].to_numpy(), rows["tie_key"])
    return audit_cut(label[order], question.capacity_k, question.periods, audit_recall)


def _duels(rows: pl.DataFrame, k_audit: int, seed: int, replicates: int) -> list[dict[str, Any]]:
    """Found needs at k* against chance and, where it is given, the simple rule; none where no outcome is known."""
    if not rows["label"].count():
        return []
    from models.baselines import duels

    return [
        {
            "rival": duel.rival,
            "cut": duel.cut,
            "ours": duel.ours.value,
            "theirs": duel.theirs.value,
            "difference": duel.difference.value,
            "low": duel.difference.low,
            "high": duel.difference.high,
        }
        for duel in duels(rows, (k_audit,), seed, replicates, orders=_rivals_due(rows))
    ]


def _rivals_due(rows: pl.DataFrame) -> tuple[str, ...]:
    """Beside chance: the simple rule, where the files give one."""
    from models.baselines import UNIT_RULE

    return (UNIT_RULE,) if RULE_SCORE in rows.columns else ()


def _stated(question: Question, rows: pl.DataFrame, share_with_groups: float) -> dict[str, str]:
    """How the scores were read, for the report."""
    return {
        "use": "stated" if question.use else "assumed",
        "periods": str(question.periods),
        "share_with_groups": f"{share_with_groups:.4f}",
        "labels_known": str(rows["label"].count()),
        "tie_break": f"keyed hash of person_id, seed {question.seed}",
    }
