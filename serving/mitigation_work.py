"""The story of mitigation: other labels, weights, features and a cut by group, each judged, side by side.

Every variant is judged by the whole gate as a rehearsal: nothing is signed, no verdict is made, and nothing that was
learnt here is kept, so nothing of it can be approved. A variant becomes real by a change of the need file, a training
and a judging of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.mitigation_choices import VOUCHED_BY, NamedGroup, features_to_drop, worst_group
from ethics.refusals import BadInput, Fault
from ethics.rounding import rounded
from ethics.whole_file import write_whole
from serving.gate_question import (
    Answer,
    groups_of,
    put_before_gate,
    refuse_other_evidence,
    running_digests,
    subject_of,
)
from serving.home import Home
from serving.mitigation_words import in_plain_words
from serving.opening import open_city_for, refuse_unfounded
from serving.outcome_work import contacted_people
from serving.progress import Step, silent
from serving.rehearsal import checks_told, would_be

if TYPE_CHECKING:
    import polars as pl

    from ethics.case import Evidence
    from ethics.fairness import Estimate
    from ethics.groups import GroupRegister
    from ethics.report_figures import Figures
    from features.city import City
    from features.matrix import Matrix
    from models.evidence_files import GatheredEvidence
    from models.experiment_layout import Layout
    from models.mitigation import Variant
    from models.training import NeedModel
    from models.yardsticks import Yardsticks

AS_IT_IS, WEIGHTS, CUT = "as it is", "weights", "cut by group"
INTERVALS = (
    "found and more: 95 % intervals; recall ratio and missed: bounds that hold with 95 % each; every one is of its own "
    "line, so the best of several lines looks partly better than it is"
)


@dataclass(frozen=True, eq=False)
class _Bench:
    """What every variant is tried on."""

    home: Home
    run_id: str
    record: dict[str, Any]
    model: NeedModel
    subject: dict[str, str]
    gathered: GatheredEvidence
    groups: GroupRegister
    city: City
    laid: Layout
    worst: NamedGroup
    yardsticks: Yardsticks
    now: datetime


def mitigate_run(
    home: Home,
    run_id: str,
    city_folder: Path | None = None,
    step: Step = silent,
    now: datetime | None = None,
    *,
    attribute: str | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Try what could mend a run, let the gate judge each, and put what it costs and gives side by side.

    Parameters
    ----------
    attribute : str, optional
        By which weights and cut are made, and in which groups are compared; that of the gravest finding if left out,
        or else the first there is.
    out : Path, optional
        A folder for ``mitigation.json``; the home's own if left out.

    Returns
    -------
    dict
        ``need``, ``run_id``, ``attribute``, ``group``, ``places``, ``variants`` and ``not_tried``; counts and figures
        of groups, and no person.

    Raises
    ------
    BadInput
        A written rule; an attribute that the groups do not have; a city that has changed since the run.
    """
    now = now or datetime.now(UTC)
    bench, as_it_is = _lay_bench(home, run_id, city_folder, step, now, attribute)
    need = bench.model.need
    told = [_told(bench, "as it is", AS_IT_IS, "nothing", as_it_is)]
    variants, not_tried = _variants(bench, as_it_is)
    for done, variant in enumerate(variants, start=1):
        what = f"{need.id}: {variant.name} ({done} of {len(variants)})"
        inner = partial(_within, step, what)
        inner(what)
        try:
            answer = _judged(bench, variant, inner)
        except BadInput as refusal:
            not_tried.append({"variant": variant.name, "why": "; ".join(fault.wrong for fault in refusal.faults)})
            continue
        told.append(_told(bench, variant.kind, variant.name, variant.change, answer))
    cuts = bench.yardsticks.cuts
    result: dict[str, Any] = {
        "need": need.id,
        "run_id": run_id,
        "attribute": bench.worst.attribute,
        "group": bench.worst.group,
        "places": {"k": cuts.k, "k_audit": cuts.k_audit},
        "label": need.label.kind if need.label else None,
        "intervals": INTERVALS,
        "approvable": False,
        "variants": told,
        "not_tried": not_tried,
    }
    for row in told:
        row["summary"] = in_plain_words(result, row)
    path = (out or home.root / "mitigations" / need.id / run_id) / "mitigation.json"
    write_whole(path, json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8"))
    home.audit_log.append("mitigate", "data scientist", need=need.id, run=run_id, n=len(told))
    return {**result, "path": str(path)}


def _within(step: Step, what: str, _told: str, done: float | None = None, total: float | None = None) -> None:
    """The steps of one variant move one bar."""
    step(what, done or 0, total or 1)


def _lay_bench(
    home: Home, run_id: str, city_folder: Path | None, step: Step, now: datetime, attribute: str | None
) -> tuple[_Bench, Answer]:
    """Everything that variants are tried on, and what the gate says of the run as it is."""
    from ethics.groups import GroupRegister
    from models.evidence_files import read_evidence
    from models.mitigation import laid_out_again
    from models.registry import logged_digests, refuse_person_split, run_model
    from models.rule import RuleModel
    from models.yardsticks import Yardsticks

    record = home.run_record(run_id)
    model = run_model(home.registry, run_id)
    if isinstance(model, RuleModel):
        mend = 'Change the order in its file, or write the need as kind = "model"; then train and judge'
        raise BadInput(
            Fault(
                "--run",
                f"is of {model.need.id}, a written rule: nothing was learnt, so nothing can be learnt otherwise",
                mend,
            )
        )
    refuse_person_split(model)
    refuse_unfounded(home, model.need)
    logged = logged_digests(home.registry, run_id)
    refuse_other_evidence(home.runs / run_id, logged)
    gathered, groups = read_evidence(home.runs / run_id), GroupRegister.open(groups_of(record, city_folder))
    if attribute is not None:
        groups.only(attribute)
    city = open_city_for(home, Path(city_folder or record["city"]), model.need, step)
    contacted = contacted_people(home, model.need.id)
    test_matrix = logged.get("test_matrix", "")
    laid = laid_out_again(city, model, home.objections, step, test_matrix=test_matrix, contacted=contacted)
    step(f"{model.need.id}: judging the run as it is")
    subject = {**subject_of(model, logged), **running_digests(home)}
    answer = put_before_gate(home, model, gathered, groups, subject=subject, record=record, now=now)
    yardsticks = Yardsticks(gathered.rows, answer.fairness.cuts, answer.evidence.seed, home.policy.replicates)
    worst = _worst(answer, home.policy.min_persons_public, attribute)
    bench = _Bench(home, run_id, record, model, subject, gathered, groups, city, laid, worst, yardsticks, now)
    return bench, answer


def _worst(answer: Answer, least: int, attribute: str | None) -> NamedGroup:
    """The group of the gravest finding, of one attribute if that is asked for; else the one with the lowest recall."""
    from ethics.report_figures import Figures

    fairness = answer.fairness
    allowed = fairness.attributes if attribute is None else (attribute,)
    found = worst_group(would_be(answer.verdict)[1], allowed)
    if found is not None:
        return found
    chosen = allowed[0]
    lowest = _worst_off(Figures(fairness, least), chosen)
    return NamedGroup(
        chosen, fairness.groups.filter(attribute=chosen)["group"][0] if lowest is None else lowest["group"]
    )


# ---- variants ------------------------------------------------------------------------------------------------------


def _variants(bench: _Bench, as_it_is: Answer) -> tuple[list[Variant], list[dict[str, str]]]:
    """What is tried beside the run as it is, and what is not, with why."""
    from models.mitigation import Variant, feature_variants, kept_features, label_variants

    laid, attribute = bench.laid, bench.worst.attribute
    variants, not_tried = label_variants(laid), []
    if not variants:
        why = "the need names no independent sign of need: add [[indicators]]"
        not_tried.append({"variant": "label", "why": why})
    change = f"training rows weighed so that need is the same in every group of {attribute}"
    variants.append(Variant(f"{WEIGHTS} by {attribute}", "weights", change, laid))
    checks = would_be(as_it_is.verdict)[1]
    chosen = features_to_drop(checks, as_it_is.evidence, bench.home.policy, kept_features(laid.need))
    if not chosen:
        why = "no finding names a feature that could be left out, and the worth of none was measured"
        not_tried.append({"variant": "features", "why": why})
    variants += feature_variants(laid, chosen)
    change = f"groups of {attribute} take turns, so that every cut finds the same share of each group's expected need"
    variants.append(Variant(f"{CUT} of {attribute}", "cut", change, laid))
    return variants, not_tried


def _judged(bench: _Bench, variant: Variant, step: Step) -> Answer:
    """What the gate says of a variant; its model is learnt here, and forgotten."""
    from models.evidence import own_digests
    from models.mitigation import learnt
    from serving.training_flow import gather_for_gate

    running = running_digests(bench.home)
    asked: dict[str, Any] = {"record": bench.record, "now": bench.now}
    if variant.kind == "cut":
        asked |= {"subject": bench.subject, "changed": partial(_with_cut, bench)}
        return put_before_gate(bench.home, bench.model, bench.gathered, bench.groups, **asked)
    weigh = partial(_balancing, bench) if variant.kind == "weights" else None
    candidate = learnt(variant, bench.model, weigh)
    by, day = str(bench.gathered.facts["trained_by"]), variant.laid.split.judged_dates[-1]
    gathered = gather_for_gate(bench.home, bench.city, candidate, day, running, variant.laid.seed, by, step)
    subject = {**own_digests(candidate.model, candidate.train_matrix, candidate.judged), **running}
    return put_before_gate(bench.home, candidate.model, gathered, bench.groups, subject=subject, **asked)


def _balancing(bench: _Bench, matrix: Matrix) -> Any:
    """Weights of training rows by which need is the same in every group; the groups stay in the register."""
    import polars as pl

    rows = matrix.keys.select("person_id").with_columns(pl.Series("label", matrix.y).fill_nan(None))
    return bench.groups.balancing_weights(rows, bench.worst.attribute)


def _with_cut(bench: _Bench, evidence: Evidence) -> Evidence:
    """The evidence of the composite: the model's scores, and the order that is put after them."""
    import polars as pl

    from models.gate_case import duel_rows

    policy = bench.home.policy
    order = bench.groups.equal_recall_order(evidence.rows, bench.worst.attribute)
    rows = evidence.rows.with_columns(pl.Series("rank_score", order))
    duel = duel_rows(rows, bench.model, policy.verdict_days, policy.audit_recall, evidence.seed, policy.replicates)
    return replace(evidence, rows=rows, duel=duel)


# ---- what came of it -----------------------------------------------------------------------------------------------


def _told(bench: _Bench, kind: str, name: str, change: str, answer: Answer) -> dict[str, Any]:
    """One variant, as JSON values: what the gate would say, who is found, and what one group gets of it."""
    from ethics.report_figures import Figures

    word, checks = would_be(answer.verdict)
    figures = Figures(answer.fairness, bench.home.policy.min_persons_public)
    own = VOUCHED_BY.get(kind)
    open_checks = [check for check in checks if check.state in ("inconclusive", "needs_attestation", "not_testable")]
    asks = {check.needs for check in open_checks if check.needs and not check.attested_by} | {own}
    policy, attribute = bench.home.policy, bench.worst.attribute
    order: pl.DataFrame = answer.evidence.rows
    alarms = [
        {"group": check.group, "indicators": check.facts["indicators"]}
        for check in checks
        if check.id == "C403" and "indicators" in check.facts
    ]
    found = bench.yardsticks.found(order)
    if kind == AS_IT_IS:
        found = [{**row, "more": None, "more_low": None, "more_high": None} for row in found]
    return {
        "variant": name,
        "kind": kind,
        "change": change,
        # Whoever names a group needs somebody's word for it, even where the gate has nothing to ask.
        "state": "INCONCLUSIVE" if own and word in ("PASS", "PASS_ATTESTED") else word,
        "blocks": sorted({check.id for check in checks if check.state in ("block", "error")}),
        "asks": sorted(filter(None, asks)),
        "asks_by_itself": own,
        "checks": [check for check in checks_told(answer.verdict, figures) if check["state"] not in ("pass", "warn")],
        "need_at_score_alarms": alarms,
        "need_at_score_tested": any(check.id == "C403" and check.state != "not_testable" for check in checks),
        "found": found,
        "worst_off": _worst_off(figures, attribute),
        "group": bench.yardsticks.in_groups(order, bench.groups.only(attribute), bench.worst.group, policy),
    }


def _worst_off(figures: Figures, attribute: str) -> dict[str, Any] | None:
    """The testable group with the lowest recall ratio at the variant's own k*, by its own label; or None.

    Withheld and rounded as a report of the same people would: ``missed`` is null where it is withheld.
    """
    from ethics.fairness import AT_AUDIT
    from ethics.report_figures import Column

    rows: list[dict[str, Any]] = []
    for group in (str(row["group"]) for row in figures.groups[attribute] if row["testable"]):
        ratio = figures.estimate(attribute, group, Column("recall_ratio", AT_AUDIT))
        missed = figures.estimate(attribute, group, Column("missed_residents", AT_AUDIT))
        if ratio is not None and ratio.value == ratio.value:
            told = _as_told("recall_ratio", ratio, "ratio") | _as_told("missed", missed, "people")
            rows.append({"group": group, **told})
    return min(rows, key=lambda row: row["recall_ratio"], default=None)


def _as_told(name: str, estimate: Estimate | None, kind: str) -> dict[str, float | None]:
    """An estimate with its bounds, as precise as a report; null where it is withheld or not determined."""
    ends = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    if estimate is None:
        return dict.fromkeys(ends)
    values = {key: float(getattr(estimate, end)) for key, end in ends.items()}
    return {key: float(rounded(value, kind)) if isfinite(value) else None for key, value in values.items()}
