"""Everything the gate asks about a model, as plain tables: the gate names them, this room fills them.

What a trial showed is gathered once and kept in the run's folder; what can change until the model is judged (the
policy, objections, keys, the stop switch, digests of what is then on disk) is added when it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ethics.cells import INDICATOR
from ethics.digests import sha256
from ethics.groups import HOUSEHOLD
from ethics.policy import Policy
from ethics.refusals import BadInput, Fault
from models.baselines import audit_cut_of, duels, enough_replicates, floats, weight_of
from models.evidence_facts import columns_used, json_duel, json_estimate, need_facts, number_or_none
from models.evidence_files import GatheredEvidence
from models.gate_evidence import inside_evidence
from models.label_choice import rank_by_indicators
from models.metrics import REPLICATES, Estimate, evaluate, single_column_aucs
from models.rule import RuleModel, rule_order
from models.splits import places_for
from models.ties import tie_keys
from models.training import NeedModel

if TYPE_CHECKING:
    from features.matrix import Matrix

_SAMPLE = 2000
"""Rows on which contributions are added up and compared with the raw score."""


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
    k = need.listed_k if k is None else k
    figures = evaluate_rows(rows, k, seed, replicates, by_date=by_date)
    strangers = rows.filter(~pl.col("seen_in_training"))
    together = rows.join(strangers, on="as_of_date", how="semi") if by_date else rows
    k_unseen = places_for(k, strangers.height, together.height)
    unseen = evaluate_rows(strangers, k_unseen, seed, replicates, by_date=by_date)
    facts: dict[str, Any] = {
        **need_facts(need),
        "model_digest": model.digest,
        "model_columns": columns_used(model),
        "recorded": {**recorded, **own_digests(model, training, judged)},
        "indicator_names": list(judged.indicators),
        "eligible_n": rows.height,
        "auc": None if isinstance(model, RuleModel) else json_estimate(figures["auc"]),
        "figures": {name: json_estimate(figure) for name, figure in figures.items()},
        "figures_of_unseen_persons": {name: json_estimate(figure) for name, figure in unseen.items()},
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


def _duels_at_capacity(
    model: NeedModel | RuleModel, rows: pl.DataFrame, k: int, seed: int, replicates: int
) -> list[dict[str, Any]]:
    """The model against every order there is, logistic regression among them, at the unit's capacity."""
    if isinstance(model, RuleModel) or not rows["label"].count():
        return []
    fought = duels(rows, (k,), seed, enough_replicates(rows.height, replicates))
    return [json_duel(duel) for duel in fought]


def additivity_max_error(model: NeedModel | RuleModel, X: np.ndarray, seed: int) -> float | None:
    """Largest gap between a raw score and the sum of its contributions on a sample; None for a rule (C301)."""
    if isinstance(model, RuleModel):
        return None
    n = len(X)
    sample = X if n <= _SAMPLE else X[np.sort(np.random.default_rng(seed).choice(n, _SAMPLE, replace=False))]
    if not len(sample):
        return 0.0
    return float(np.abs(model.contributions(sample).sum(axis=1) - model.raw(sample)).max())


def _single_columns(model: NeedModel | RuleModel, test: Matrix) -> list[dict[str, Any]]:
    if isinstance(model, RuleModel) or test.y is None:
        return []
    aucs = single_column_aucs(test.X, test.y).tolist()
    return [
        {"column": name, "auc": number_or_none(auc)}
        for name, auc in sorted(zip(model.columns, aucs, strict=True), key=lambda pair: (-_or_zero(pair[1]), pair[0]))
    ]


def _or_zero(value: float) -> float:
    return value if np.isfinite(value) else 0.0
