"""Everything the gate asks about a model, as plain tables: the gate names them, this room fills them.

What a trial showed is gathered once and kept in the run's folder; what can change until the model is judged (the
policy, objections, keys, the stop switch, digests of what is then on disk) is added when it is read again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ethics.case import SORT_KEY, Evidence
from ethics.cells import INDICATOR
from ethics.digests import sha256
from ethics.groups import HOUSEHOLD
from ethics.policy import Policy
from ethics.population_stability import reference_of
from ethics.refusals import BadInput, Fault, NotTrusted
from models.baseline_orders import AREA, BEST_COLUMN
from models.baselines import SIMPLE, UNIT_RULE, Duel, duel_cut, enough_replicates, floats, weight_of
from models.baselines import audit_cut_of as audit_cut_of
from models.baselines import duels as duels
from models.gate_evidence import NAMES as INSIDE
from models.gate_evidence import inside_evidence
from models.label_choice import rank_by_indicators
from models.metrics import REPLICATES, Estimate, evaluate, single_column_aucs
from models.need import Need
from models.need_parts import written
from models.register_facts import impact_answers, register_of, responsible_of
from models.registry import refuse_person_split
from models.rescoring import rescoring_kept
from models.rule import RuleModel, rule_order
from models.splits import places_for
from models.ties import tie_keys
from models.training import NeedModel

if TYPE_CHECKING:
    from datetime import datetime

    from ethics.objections import ObjectionRegister
    from features.matrix import Matrix

FACTS, ROWS, FEATURES = "evidence.json", "rows.parquet", "features.parquet"
_SAMPLE = 2000
"""Rows on which contributions are added up and compared with the raw score."""


@dataclass(frozen=True)
class GatheredEvidence:
    """What a trial showed: ``facts`` (JSON values), and the judged ``rows`` with their tie keys.

    ``features`` are the same rows' ``person_id``, ``as_of_date`` and columns (float32), in the matrix's order; None
    where they were not kept.
    """

    facts: dict[str, Any]
    rows: pl.DataFrame
    features: pl.DataFrame | None = None


def gather_evidence(
    model: NeedModel | RuleModel,
    judged: Matrix,
    *,
    training: Matrix | None,
    seen_in_training: np.ndarray,
    secret: bytes,
    recorded: Mapping[str, str],
    seed: int,
    trained_by: str,
    replicates: int = REPLICATES,
    households: pl.DataFrame | None = None,
    orders: Mapping[str, np.ndarray] | None = None,
    weight: np.ndarray | None = None,
    k: int | None = None,
    train_weights: np.ndarray | None = None,
    policy: Policy | None = None,
    step: Callable[..., None] | None = None,
    of_label: Mapping[str, np.ndarray] | None = None,
) -> GatheredEvidence:
    """Fill the gate's tables from a model and the rows it is judged on.

    Parameters
    ----------
    model : NeedModel or RuleModel
        The candidate.
    judged : Matrix
        One row per person, with labels (a rule may have none) and indicators.
    training : Matrix or None
        What it learnt from; None for a rule.
    seen_in_training : bool (n,)
        Whether the model learnt from the person of each judged row at an earlier date.
    secret : bytes
        The need's, for tie keys.
    recorded : mapping
        ``policy``, ``code`` and ``environment`` digests at the time of training; those of model, need and matrices
        are added.
    seed : int
    trained_by : str
        Who trained, by the name their key would carry: the auditor must be somebody else (C702).
    households : polars.DataFrame or None
        ``person_id``, ``household``: who lives with whom at the judged date. None: not known, and the verdict says so.
    orders : mapping, optional
        Simple order → rank score of the judged rows (n,), learnt from the training rows alone
        (``Experiment.orders``): the model duels with the best column and the area too.
    weight : float64 (n,), optional
        Inverse-probability weights of the judged rows (``Experiment.weight``), for figures and duels.
    k : int, optional
        Places, where the judged are a share of the people (``Experiment.k``); the need's capacity if left out.
    train_weights : float64 (m,), optional
        Of the training rows, as the candidate was taught with them (``Experiment.train_weights``).
    policy : Policy, optional
        Fixes the audit cut at which reasons, features and noise are looked at; the one that comes with Ennakko if left
        out.
    step : callable, optional
        Told what is being done: ``step(text, done, total)``.
    of_label : mapping, optional
        What else is known of the judged rows' labels (n,): :data:`ethics.label_audit.FROM_CONTACT` bool,
        :data:`ethics.label_audit.VALUE` float64.

    Raises
    ------
    BadInput
        A person comes twice, or nobody is named as who trained.
    """
    if not trained_by.strip():
        raise BadInput(Fault("trained_by", "is empty", "Name who trained, so that the auditor can be somebody else"))
    need = model.need
    further = dict(of_label or {})
    if training is not None and isinstance(model, NeedModel):
        further |= rank_by_indicators(need, training, judged, seed)
    rows = judged_rows(
        model, judged, seen_in_training, secret, households, orders=orders, weight=weight, further=further
    )
    # Where as-of dates follow an event, the persons of many days stand in one list.
    by_date = need.cohort.as_of is None or need.cohort.as_of.on is None
    k = need.capacity.k if k is None else k
    figures = evaluate_rows(rows, k, seed, replicates, by_date=by_date)
    strangers = rows.filter(~pl.col("seen_in_training"))
    together = rows.join(strangers, on="as_of_date", how="semi") if by_date else rows
    k_unseen = places_for(k, strangers.height, together.height)
    unseen = evaluate_rows(strangers, k_unseen, seed, replicates, by_date=by_date)
    facts: dict[str, Any] = {
        **_need_facts(need),
        "model_digest": model.digest,
        "model_columns": _columns_used(model),
        "recorded": {**recorded, **own_digests(model, training, judged)},
        "indicator_names": list(judged.indicators),
        "eligible_n": rows.height,
        "auc": None if isinstance(model, RuleModel) else _json_estimate(figures["auc"]),
        "figures": {name: _json_estimate(figure) for name, figure in figures.items()},
        "figures_of_unseen_persons": {name: _json_estimate(figure) for name, figure in unseen.items()},
        "n_unseen_persons": strangers.height,
        "places_of_unseen_persons": k_unseen,
        "duels_at_capacity": _duels_at_capacity(model, rows, k, seed, replicates),
        "single_columns": _single_columns(model, judged),
        "additivity_max_error": additivity_max_error(model, judged.X, seed),
        **_inside(model, judged, rows, policy or Policy.load(), training, train_weights, weight, seed, step),
        "seed": seed,
        "trained_by": trained_by,
    }
    features = judged.keys.select("person_id", "as_of_date").with_columns(
        pl.Series(name, judged.X[:, position]) for position, name in enumerate(judged.names)
    )
    return GatheredEvidence(facts, rows, features)


def _inside(
    model: NeedModel | RuleModel,
    judged: Matrix,
    rows: pl.DataFrame,
    policy: Policy,
    training: Matrix | None,
    train_weights: np.ndarray | None,
    weight: np.ndarray | None,
    seed: int,
    step: Callable[..., None] | None,
) -> dict[str, Any]:
    """What refits and probes of the model show at the policy's audit cut."""
    cut = audit_cut_of(rows, model.need, policy.verdict_days, policy.audit_recall) if rows.height else 0
    given: dict[str, Any] = {"training": training, "train_weights": train_weights, "weight": weight}
    return inside_evidence(model, judged, k=cut, seed=seed, step=step, **given)


def own_digests(model: NeedModel | RuleModel, training: Matrix | None, judged: Matrix) -> dict[str, str]:
    """Digests of model, need and matrices, as a verdict names them; a rule's training matrix is empty."""
    return {
        "model": model.digest,
        "need": model.need.digest,
        "training_matrix": sha256(b"") if training is None else training.digest,
        "test_matrix": judged.digest,
    }


def judged_rows(
    model: NeedModel | RuleModel,
    judged: Matrix,
    seen_in_training: np.ndarray,
    secret: bytes,
    households: pl.DataFrame | None = None,
    *,
    orders: Mapping[str, np.ndarray] | None = None,
    weight: np.ndarray | None = None,
    further: Mapping[str, np.ndarray] | None = None,
) -> pl.DataFrame:
    """Rows as the gate takes them, one per person.

    Returns
    -------
    polars.DataFrame
        ``person_id``, ``as_of_date``, ``rank_score``, ``tie_key``, ``probability`` (null for a rule), ``label`` (null
        = unknown), ``rule_score``, ``seen_in_training``, ``indicator:<name>`` …; where they are given, each of
        ``orders`` by its name, ``weight``, each of ``further`` by its name (``by:<indicator>``: rank score had the
        indicator been the label), and ``household`` (null: alone).

    Raises
    ------
    BadInput
        A person comes twice, here or in the households.
    """
    people = judged.keys["person_id"]
    if people.is_duplicated().any():
        mend = "Keep each person's latest row"
        raise BadInput(Fault("judged rows", f"{len(people) - people.n_unique()} persons come twice", mend))
    raw = model.raw(judged.X)
    unknown = np.full(len(raw), np.nan)
    probability = model.probability(raw) if isinstance(model, NeedModel) else unknown
    rows = judged.keys.select("person_id", "as_of_date").with_columns(
        pl.Series("rank_score", raw),
        pl.Series("probability", probability).fill_nan(None),
        pl.Series("label", unknown if judged.y is None else judged.y, dtype=pl.Float64).fill_nan(None),
        pl.Series("rule_score", rule_order(model.columns, judged.X, model.need.order)),
        pl.Series("seen_in_training", seen_in_training, dtype=pl.Boolean),
        *(pl.Series(INDICATOR + name, values) for name, values in judged.indicators.items()),
        *(pl.Series(name, score, dtype=pl.Float64) for name, score in (orders or {}).items()),
        *([] if weight is None else [pl.Series("weight", weight, dtype=pl.Float64)]),
        *(pl.Series(name, values) for name, values in (further or {}).items()),
    )
    keyed = [
        part.with_columns(pl.Series("tie_key", tie_keys(secret, part["person_id"].to_list(), model.digest, day)))
        for (day,), part in rows.group_by("as_of_date", maintain_order=True)
    ]
    everything: pl.DataFrame = (
        pl.concat(keyed) if keyed else rows.with_columns(pl.lit(None, dtype=pl.String).alias("tie_key"))
    )
    return everything if households is None else _with_households(everything, households)


def _with_households(rows: pl.DataFrame, households: pl.DataFrame) -> pl.DataFrame:
    wanted = ("person_id", HOUSEHOLD)
    faults = [
        Fault("households", f"have no column {name}", f"Give {' and '.join(wanted)}")
        for name in wanted
        if name not in households.columns
    ]
    if not faults and households["person_id"].is_duplicated().any():
        faults.append(Fault("households", "hold a person twice", "Give each person's household at the judged date"))
    if faults:
        raise BadInput(*faults)
    known = households.select(pl.col("person_id").cast(rows.schema["person_id"]), pl.col(HOUSEHOLD).cast(pl.String))
    return rows.join(known, on="person_id", how="left", maintain_order="left")


def evaluate_rows(
    rows: pl.DataFrame, k: int, seed: int, replicates: int = REPLICATES, *, by_date: bool = True
) -> dict[str, Estimate]:
    """:func:`models.metrics.evaluate` of rows of :func:`judged_rows`, ranked within each as-of date or not."""
    has_probability = rows["probability"].null_count() == 0
    return evaluate(
        label=floats(rows["label"]),
        rank_score=floats(rows["rank_score"]),
        probability=floats(rows["probability"]) if has_probability else None,
        person=rows["person_id"].to_numpy(),
        period=rows["as_of_date"].to_physical().to_numpy() if by_date else None,
        k=k,
        seed=seed,
        weight=weight_of(rows),
        replicates=replicates,
    )


def write_evidence(folder: Path, gathered: GatheredEvidence) -> str:
    """Write ``rows.parquet`` and ``features.parquet``, then ``evidence.json``, which names their digests.

    Returns
    -------
    str
        :func:`evidence_digest`, to be kept elsewhere, e.g. with the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = dict(gathered.facts)
    for name, frame in ((ROWS, gathered.rows), (FEATURES, gathered.features)):
        if frame is not None:
            path = folder / name
            unfinished = path.with_suffix(".unfinished")
            frame.write_parquet(unfinished)
            unfinished.replace(path)
            facts[f"{path.stem}_sha256"] = sha256(path.read_bytes())
    unfinished = folder / f"{FACTS}.unfinished"
    unfinished.write_text(json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False), "utf-8")
    unfinished.replace(folder / FACTS)
    return evidence_digest(folder)


def evidence_digest(folder: Path) -> str:
    """SHA-256 of ``evidence.json``, which names the digests of the tables, and so of all evidence in the folder."""
    return sha256((folder / FACTS).read_bytes())


def read_evidence(folder: Path, expected_digest: str | None = None) -> GatheredEvidence:
    """Read what :func:`write_evidence` wrote.

    Parameters
    ----------
    expected_digest : str, optional
        :func:`evidence_digest` as it was logged with the run.

    Raises
    ------
    BadInput
        There is no evidence in the folder.
    NotTrusted
        The rows were altered, or the facts are not those of the digest.
    """
    try:
        written = (folder / FACTS).read_bytes()
        facts = json.loads(written)
        contents = {name: (folder / name).read_bytes() for name in _tables_in(facts)}
    except (OSError, ValueError, AttributeError) as error:
        mend = "Give the run_id of a finished train"
        raise BadInput(Fault(str(folder), f"holds no evidence that can be read ({error})", mend)) from None
    if expected_digest is not None and sha256(written) != expected_digest:
        wrong = f"has SHA-256 {sha256(written)[:12]}…, and {expected_digest[:12]}… was logged: it was altered"
        raise NotTrusted(Fault(str(folder / FACTS), wrong, "Train again"))
    faults = []
    for name, content in contents.items():
        expected = facts.pop(f"{Path(name).stem}_sha256", "")
        if sha256(content) != expected:
            wrong = f"has SHA-256 {sha256(content)[:12]}…, and {expected[:12]}… was recorded: it was altered"
            faults.append(Fault(str(folder / name), wrong, "Train again"))
    if faults:
        raise NotTrusted(*faults)
    features = pl.read_parquet(contents[FEATURES]) if FEATURES in contents else None
    return GatheredEvidence(facts, pl.read_parquet(contents[ROWS]), features)


def _tables_in(facts: Mapping[str, Any]) -> list[str]:
    return [ROWS, FEATURES] if facts.get("features_sha256") else [ROWS]


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
        **_need_facts(model.need),
        model_digest=model.digest,
        model_columns=_columns_used(model),
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
        reference=reference_for_lists(gathered, model),
    )


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
    return [_json_duel(duel) for duel in duels(rows, (cut,), seed, replicates, orders=SIMPLE)]


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


def _duels_at_capacity(
    model: NeedModel | RuleModel, rows: pl.DataFrame, k: int, seed: int, replicates: int
) -> list[dict[str, Any]]:
    """The model against every order there is, logistic regression among them, at the unit's capacity."""
    if isinstance(model, RuleModel) or not rows["label"].count():
        return []
    fought = duels(rows, (k,), seed, enough_replicates(rows.height, replicates))
    return [_json_duel(duel) for duel in fought]


def additivity_max_error(model: NeedModel | RuleModel, X: np.ndarray, seed: int) -> float | None:
    """Largest gap between a raw score and the sum of its contributions on a sample; None for a rule (C301)."""
    if isinstance(model, RuleModel):
        return None
    n = len(X)
    sample = X if n <= _SAMPLE else X[np.sort(np.random.default_rng(seed).choice(n, _SAMPLE, replace=False))]
    if not len(sample):
        return 0.0
    return float(np.abs(model.contributions(sample).sum(axis=1) - model.raw(sample)).max())


def feature_table(need: Need) -> list[dict[str, Any]]:
    """Per column: its feature, and that feature's source, purpose, basis (null: none, or a mark) and plain name."""
    return [
        {
            "column": column,
            "feature": feature.name,
            "source": written(feature.source),
            "purpose": written(feature.purpose),
            "basis": written(feature.basis),
            "plain": {language: written(said) for language, said in feature.plain.model_dump().items()}
            if feature.plain
            else None,
            "changeable": feature.changeable,
        }
        for feature in need.features
        for column in feature.columns()
    ]


def read_table(need: Need) -> list[dict[str, Any]]:
    """Per feature what it reads: ``names`` (attribute or codes), ``source``, and whether it is declared special."""
    return [
        {
            "feature": feature.name,
            "names": [feature.attribute] if feature.attribute else list(feature.codes),
            "source": written(feature.source),
            "special_category": feature.special_category,
        }
        for feature in need.features
    ]


def _need_facts(need: Need) -> dict[str, Any]:
    texts = {"title": need.title, "question": need.question, "action": need.action}
    texts |= {"benefit": need.benefit, "alternative": need.alternative}
    return {
        "need_id": need.id,
        "kind": need.kind,
        "service": need.service,
        "use": need.use,
        "texts": {
            name: {language: written(said) or "" for language, said in text.model_dump().items()}
            for name, text in texts.items()
        },
        "owner": need.owner.model_dump(),
        "capacity_k": need.capacity.k,
        "period_days": need.capacity.period_days,
        "plausible_auc_max": need.label.plausible_auc_max if need.label else None,
        "features": feature_table(need),
        "forbidden": read_table(need),
    }


def _columns_used(model: NeedModel | RuleModel) -> list[str]:
    """Columns as the artefact itself names them, whatever the need file says."""
    return list(model.booster.feature_name()) if isinstance(model, NeedModel) else list(model.columns)


def _single_columns(model: NeedModel | RuleModel, test: Matrix) -> list[dict[str, Any]]:
    if isinstance(model, RuleModel) or test.y is None:
        return []
    aucs = single_column_aucs(test.X, test.y).tolist()
    return [
        {"column": name, "auc": _number(auc)}
        for name, auc in sorted(zip(model.columns, aucs, strict=True), key=lambda pair: (-_or_zero(pair[1]), pair[0]))
    ]


def _json_duel(duel: Duel) -> dict[str, Any]:
    return {
        "rival": duel.rival,
        "cut": duel.cut,
        "ours": _number(duel.ours.value),
        "theirs": _number(duel.theirs.value),
        "difference": _number(duel.difference.value),
        "low": _number(duel.difference.low),
        "high": _number(duel.difference.high),
    }


def _json_estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: _number(value) for name, value in estimate._asdict().items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _or_zero(value: float) -> float:
    return value if np.isfinite(value) else 0.0
