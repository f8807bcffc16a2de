"""The case that is put before the gate: what a trial showed, with what may have changed since it was gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ethics.case import SORT_KEY, Evidence
from ethics.cells import INDICATOR
from ethics.policy import Policy
from ethics.population_stability import reference_of
from models.baseline_orders import AREA, BEST_COLUMN
from models.baselines import SIMPLE, UNIT_RULE, duel_cut, duels, floats
from models.evidence_facts import columns_used, json_duel, need_facts
from models.evidence_files import GatheredEvidence, read_evidence
from models.gate_evidence import NAMES as INSIDE
from models.metrics import REPLICATES
from models.need_parts import places_by_lot
from models.register_facts import impact_answers, register_of, responsible_of
from models.registry import refuse_person_split
from models.rescoring import rescoring_kept
from models.rule import RuleModel
from models.training import NeedModel

if TYPE_CHECKING:
    from datetime import datetime

    from ethics.objections import ObjectionRegister
    from models.need import Need


def load_evidence(
    folder: Path,
    model: NeedModel | RuleModel,
    *,
    policy: Policy,
    subject: Mapping[str, str],
    objections: ObjectionRegister,
    stop_switch_tested_at: datetime | None,
    signing_keys: Sequence[Mapping[str, Any]],
    units: Sequence[str] = (),
    invented: bool = False,
    expected_digest: str | None = None,
) -> Evidence:
    """Evidence as the gate wants it, with what may have changed since training.

    Parameters
    ----------
    folder : Path
        The run's.
    model : NeedModel or RuleModel
        Loaded from the registry, so verified; what it and its need say themselves is taken from them.
    policy : Policy
        Decides the audit cut at which the duel with chance and the unit's rule is fought.
    subject : mapping
        Digests recomputed now, for each name in ``recorded``; those of the matrices, which are not kept, as they were
        logged elsewhere. Never from the evidence itself: C701 would then compare it with itself.
    objections : ObjectionRegister
    stop_switch_tested_at : datetime or None
    signing_keys : sequence
        Facts about the trusted keys of gate and auditor.
    units : sequence of str
        Names of the units that work the list.
    invented : bool
        Whether the city is invented.
    expected_digest : str, optional
        :func:`evidence_digest` as it was logged with the run.

    Raises
    ------
    Inconclusive
        The need was measured on a split of persons.
    """
    return evidence_of(
        read_evidence(folder, expected_digest),
        model,
        policy=policy,
        subject=subject,
        objections=objections,
        stop_switch_tested_at=stop_switch_tested_at,
        signing_keys=signing_keys,
        units=units,
        invented=invented,
    )


def evidence_of(
    gathered: GatheredEvidence,
    model: NeedModel | RuleModel,
    *,
    policy: Policy,
    subject: Mapping[str, str],
    objections: ObjectionRegister,
    stop_switch_tested_at: datetime | None,
    signing_keys: Sequence[Mapping[str, Any]],
    units: Sequence[str] = (),
    invented: bool = False,
) -> Evidence:
    """Evidence as the gate wants it, of what a trial showed; parameters are those of :func:`load_evidence`."""
    refuse_person_split(model)
    facts, rows = gathered.facts, gathered.rows
    known = {name: facts[name] for name in _KEPT} | {name: facts.get(name) for name in INSIDE}
    people = rows["person_id"].to_list()
    return Evidence(
        **known,
        **need_facts(model.need),
        model_digest=model.digest,
        model_columns=columns_used(model),
        indicator_names=[name.removeprefix(INDICATOR) for name in rows.columns if name.startswith(INDICATOR)],
        eligible_n=rows.height,
        rows=rows,
        subject=dict(subject),
        n_objectors_in_rows=int(objections.objecting(people, model.need.id).sum()),
        duel=duel_rows(rows, model, policy.verdict_days, policy.audit_recall, facts["seed"], policy.replicates),
        rivals_due=rivals_due(rows, model),
        sort_key=list(SORT_KEY),
        stop_switch_tested_at=stop_switch_tested_at,
        signing_keys=list(signing_keys),
        units=tuple(units),
        invented=invented,
        determinism=rescoring_kept(model, rows, gathered.features),
        register=register_of(model.need, {**facts["recorded"], "policy": policy.digest}),
        responsible=responsible_of(model.need),
        impact=impact_answers(model.need),
        exploration=declared_exploration(model.need, rows.height),
        reference=reference_for_lists(gathered, model),
    )


def declared_exploration(need: Need, eligible_n: int) -> dict[str, Any]:
    """How many people the need has drawn by lot for each list, as check C407 asks of a model.

    Parameters
    ----------
    eligible_n : int
        People of whom a list takes as many as it has places; the rest are below the line.
    """
    places = need.list.places(need.capacity.k)
    return {
        "places": places,
        "by_lot": places_by_lot(need.list.margin, places),
        "sample": need.list.sample,
        "below": max(0, eligible_n - places),
        "margin": need.list.margin,
    }


def reference_for_lists(gathered: GatheredEvidence, model: NeedModel | RuleModel) -> dict[str, Any] | None:
    """What later lists are compared with (check C703); None where the judged rows' features were not kept."""
    if gathered.features is None:
        return None
    names = list(gathered.features.columns)[2:]
    raw = None if isinstance(model, RuleModel) else floats(gathered.rows["rank_score"])
    return reference_of(raw, names, gathered.features.select(names).to_numpy())


_KEPT = ("recorded", "auc", "single_columns", "additivity_max_error", "seed", "trained_by")


def duel_rows(
    rows: pl.DataFrame,
    model: NeedModel | RuleModel,
    verdict_days: int,
    audit_recall: float,
    seed: int,
    replicates: int = REPLICATES,
) -> list[dict[str, Any]]:
    """The model against chance and what a unit could do without a model, at k*, in people found; empty for a rule.

    C105 asks that the model finds more than chance, and no fewer than the unit's rule, the best single column and the
    area alone. A logistic regression is none of these: it takes a model to run, so it stands among the figures only
    (``duels_at_capacity``). Rows whose outcome is known stand for the rest of their number (:mod:`models.metrics`).
    """
    if isinstance(model, RuleModel):
        return []
    cut = duel_cut(rows, model.need, verdict_days, audit_recall)
    return [json_duel(duel) for duel in duels(rows, (cut,), seed, replicates, orders=SIMPLE)]


def rivals_due(rows: pl.DataFrame, model: NeedModel | RuleModel) -> list[str]:
    """Whom C105 must see the model meet: the need's rule, the best column, and the area where anybody judged has one.

    It follows from the need and the judged people, never from the duels: an order with an empty cell is not fought
    (:func:`models.baselines.rivals_in`), and must not be left out in silence.
    """
    if isinstance(model, RuleModel):
        return []
    has_area = AREA in rows.columns and rows[AREA].count() > 0
    due = {UNIT_RULE: model.need.baseline is not None, BEST_COLUMN: True, AREA: has_area}
    return [name for name in SIMPLE if due[name]]
