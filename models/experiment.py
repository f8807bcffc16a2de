"""One experiment: train what each origin could have known, measure it on the period that came after.

Beside the figures stands everything that says what they are worth: simpler orders at the same capacity, persons never
seen, districts left out, who was lost on the way, and what those who left would change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.policy import Policy
from models.baseline_orders import LEARNT, LearntOrders, learn_orders
from models.baselines import (
    CHANCE,
    NO_BASELINES,
    UNIT_RULE,
    advise,
    baseline_table,
    duel_cut,
    floats,
    weight_of,
)
from models.censoring import censoring_differences, censoring_weights
from models.column_rankers import column_table
from models.experiment_layout import Layout, lay_out
from models.hold_out import hold_out_table
from models.metrics import Estimate, evaluate
from models.rule import RuleModel, rule_order
from models.splits import Origin, Split, places_for
from models.training import NeedModel, train

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.matrix import Matrix
    from models.need import Need

Floats = NDArray[np.float64]
Parameters = Mapping[str, int | float]


@dataclass(frozen=True, eq=False)
class Experiment:
    """What came of one need on one city.

    Attributes
    ----------
    model : NeedModel or RuleModel
        The candidate: trained at the first judged period, the only one that may be approved.
    split : Split
    train_matrix : Matrix or None
        What the candidate learnt from; None for a rule.
    judged : Matrix
        Rows the verdict is about: one per person, the latest.
    metrics : dict
        Measure → Estimate, pooled over all test periods; they describe the procedure. Empty without a label.
    by_date : dict
        First day of the test period → the same measures.
    seen_in_training : bool (n,)
        Which judged persons the candidate has learnt from at an earlier date.
    tested : pl.DataFrame
        Every row of every test date, scored by its origin's model: ``person_id``, ``as_of_date``, ``origin`` (first
        day of the test period), ``label`` (null: not known), ``rank_score``, ``probability`` (null for a rule),
        ``weight`` (1.0 unless the label's censoring is ``ipcw``), ``censored``, ``seen_in_training`` (by that model),
        ``rule_score``, and the orders that origin's training rows taught: ``best_column``, ``area``, ``logistic`` (log
        odds); null where there is none.
    k : int
        Places of a tested period: the unit's capacity, or in a split of persons the held-out persons' share of it.
    unseen : dict
        The measures among tested persons from whom their origin's model had learnt nothing, at their share of the
        places.
    k_unseen : int
        That share: by rows, over the periods in which there are such persons; at least 1.
    n_unseen : int
        How many such persons there are.
    baselines : pl.DataFrame
        :func:`models.baselines.baseline_table` on the judged rows.
    columns : pl.DataFrame
        :func:`models.column_rankers.column_table` on the judged rows.
    hold_outs : pl.DataFrame or None
        :func:`models.hold_out.hold_out_table`; None unless the need asks for it.
    attrition : pl.DataFrame
        ``part`` (train, test), then the columns of :data:`features.attrition.STEPS`.
    censoring : pl.DataFrame or None
        :func:`models.censoring.censoring_differences` on the tested rows; None where nobody left.
    advice : str or None
        :func:`models.baselines.advise` at the policy's audit cut.
    orders : dict
        Simple order → rank score of the judged rows, float64 (n,): for the gate's evidence.
    weight : float64 (n,) or None
        Inverse-probability weights of the judged rows.
    train_weights : float64 or None
        Those of the rows of ``train_matrix``.
    contacts : dict or None
        :attr:`models.experiment_layout.Layout.contact_facts`.
    """

    need: Need
    model: NeedModel | RuleModel
    split: Split
    train_matrix: Matrix | None
    judged: Matrix
    metrics: dict[str, Estimate]
    by_date: dict[date, dict[str, Estimate]]
    seen_in_training: NDArray[np.bool_]
    tested: pl.DataFrame
    k: int
    unseen: dict[str, Estimate]
    k_unseen: int
    n_unseen: int
    baselines: pl.DataFrame
    columns: pl.DataFrame
    hold_outs: pl.DataFrame | None
    attrition: pl.DataFrame
    censoring: pl.DataFrame | None
    advice: str | None
    orders: dict[str, Floats]
    weight: Floats | None
    train_weights: Floats | None
    contacts: dict[str, Any] | None = None


def run_experiment(
    city: City,
    need: Need,
    objections: ObjectionRegister,
    seed: int,
    step: Callable[..., None],
    *,
    parameters: Parameters | None = None,
    policy: Policy | None = None,
    laid: Layout | None = None,
) -> Experiment:
    """Train and measure a need on a city.

    Parameters
    ----------
    city : City
    need : Need
    objections : ObjectionRegister
    seed : int
    step : callable
        Told what is being done.
    parameters : mapping, optional
        Of the trees, above the need's own, e.g. from a search.
    policy : Policy, optional
        Fixes the audit cut of the duel; the one that comes with Ennakko if left out.
    laid : Layout, optional
        Of this city, need and seed, where it was laid out before, e.g. for a search.

    Raises
    ------
    BadInput
        Nothing mature, an empty cohort, a label that never occurs or does not vary, everyone objected: each says what
        to do.
    """
    laid = lay_out(city, need, objections, seed, step) if laid is None else laid
    learnt = _learn(laid, parameters, step)
    split = laid.split
    candidate = learnt[split.candidate.train_dates]
    tested = _tested_rows(laid, learnt)
    step(f"{need.id}: measuring, with intervals")
    pooled = _evaluate(tested, need, laid.k, seed)
    by_date = {origin.test_date: pooled for origin in split.origins}
    if len(split.origins) > 1:  # one test period is the pool itself
        parts = {origin.test_date: tested.filter(pl.col("origin") == origin.test_date) for origin in split.origins}
        by_date = {day: _evaluate(part, need, laid.k, seed) for day, part in parts.items()}
    step(f"{need.id}: comparing with simpler orders")
    judged_rows = _scored(laid, candidate, laid.judged, split.candidate)
    baselines, advice = _against_others(candidate, judged_rows, need, laid.k, policy or Policy.load(), seed)
    judged = laid.matrix.rows(laid.judged)
    strangers, k_unseen = _strangers(tested, laid.k)
    return Experiment(
        need=need,
        model=candidate.model,
        split=split,
        train_matrix=candidate.matrix,
        judged=judged,
        metrics=pooled,
        by_date=by_date,
        seen_in_training=judged_rows["seen_in_training"].to_numpy(),
        tested=tested,
        k=laid.k,
        unseen=_evaluate(strangers, need, k_unseen, seed),
        k_unseen=k_unseen,
        n_unseen=strangers["person_id"].n_unique(),
        baselines=baselines,
        columns=_columns(candidate, judged, judged_rows, laid.k, seed),
        hold_outs=_hold_outs(laid, candidate, parameters, step),
        attrition=laid.attrition,
        censoring=_censoring(laid, tested),
        advice=advice,
        orders={name: floats(judged_rows[name]) for name in LEARNT if not judged_rows[name].null_count()},
        weight=weight_of(judged_rows),
        train_weights=candidate.weights,
        contacts=None if need.kind == "rule" else laid.contact_facts,
    )


# ---- learning ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What one set of training dates taught; a rule was taught nothing."""

    model: NeedModel | RuleModel
    orders: LearntOrders | None = None
    matrix: Matrix | None = None
    weights: Floats | None = None
    persons: pl.Series | None = None


def _learn(laid: Layout, parameters: Parameters | None, step: Callable[..., None]) -> dict[tuple[date, ...], _Learnt]:
    """Training dates → what they taught. The matrix is kept of the candidate alone."""
    need, split, seed = laid.need, laid.split, laid.seed
    if split.kind == "rule":
        return {(): _Learnt(RuleModel.of(need))}
    learnt: dict[tuple[date, ...], _Learnt] = {}
    for done, origin in enumerate(split.origins):
        step(f"{need.id}: training", done, len(split.origins))
        if origin.train_dates in learnt:
            continue
        rows = laid.taught(origin)
        matrix, weights = laid.matrix.rows(rows), laid.weights(rows)
        is_candidate = origin.train_dates == split.train_dates
        learnt[origin.train_dates] = _Learnt(
            model=train(matrix, need, seed, weights=weights, parameters=parameters),
            orders=learn_orders(laid.city, matrix, need.listed_k, seed, weights),
            matrix=matrix if is_candidate else None,
            weights=weights if is_candidate else None,
            persons=matrix.keys["person_id"].unique(),
        )
    return learnt


# ---- scored rows ---------------------------------------------------------------------------------------------------


def _tested_rows(laid: Layout, learnt: Mapping[tuple[date, ...], _Learnt]) -> pl.DataFrame:
    return pl.concat(
        _scored(laid, learnt[origin.train_dates], laid.tested(origin.test_dates), origin)
        for origin in laid.split.origins
    )


def _scored(laid: Layout, learnt: _Learnt, rows: NDArray[np.bool_], origin: Origin) -> pl.DataFrame:
    """Some rows as :attr:`Experiment.tested` has them, scored by a model and the orders learnt with it."""
    matrix, need, model = laid.matrix.rows(rows), laid.need, learnt.model
    n, raw = matrix.keys.height, model.raw(matrix.X)
    unknown = np.full(n, np.nan)
    others = {} if learnt.orders is None else learnt.orders.scores(laid.city, matrix)
    people = matrix.keys["person_id"]
    seen = pl.repeat(False, n, eager=True) if learnt.persons is None else people.is_in(learnt.persons.implode())
    return matrix.keys.select("person_id", "as_of_date").with_columns(
        pl.lit(origin.test_date).alias("origin"),
        pl.Series("label", unknown if matrix.y is None else matrix.y).fill_nan(None),
        pl.Series("rank_score", raw),
        pl.Series("probability", model.probability(raw) if isinstance(model, NeedModel) else unknown).fill_nan(None),
        pl.Series("weight", np.ones(n) if laid.test_weights is None else laid.test_weights[rows]),
        pl.Series("censored", np.zeros(n, dtype=np.bool_) if matrix.censored is None else matrix.censored),
        seen.alias("seen_in_training"),
        pl.Series("rule_score", rule_order(matrix.names, matrix.X, need.order)),
        *(pl.Series(name, others.get(name, unknown)).fill_nan(None) for name in LEARNT),
    )


# ---- figures -------------------------------------------------------------------------------------------------------


def _strangers(tested: pl.DataFrame, k: int) -> tuple[pl.DataFrame, int]:
    """Tested rows of persons from whom nothing was learnt, and their share of the places of a period."""
    strangers = tested.filter(~pl.col("seen_in_training"))
    together = tested.join(strangers, on="origin", how="semi")
    return strangers, places_for(k, strangers.height, together.height)


def _evaluate(rows: pl.DataFrame, need: Need, k: int, seed: int) -> dict[str, Estimate]:
    if need.label is None:
        return {}
    return evaluate(
        label=floats(rows["label"]),
        rank_score=floats(rows["rank_score"]),
        probability=None if need.kind == "rule" else floats(rows["probability"]),
        person=rows["person_id"].to_numpy(),
        k=k,
        period=rows["origin"].to_physical().to_numpy(),
        seed=seed,
        weight=weight_of(rows),
    )


def _against_others(
    candidate: _Learnt, rows: pl.DataFrame, need: Need, k: int, policy: Policy, seed: int
) -> tuple[pl.DataFrame, str | None]:
    """Every order on the judged rows, and what to use if something simpler does as well."""
    if need.label is None or not rows["label"].count():
        return NO_BASELINES, None
    order = ", ".join(map(str, need.order))
    if candidate.orders is None:
        words = {"rule": order, CHANCE: "so many places, drawn"}
        return baseline_table(rows, k, seed, words=words, itself="rule"), None
    words = {
        "model": f"{need.id}, learnt from {candidate.orders.n_rows:,} rows",
        CHANCE: "so many places, drawn",
        UNIT_RULE: order,
        **candidate.orders.in_words(),
    }
    places = duel_cut(rows, _with_places(need, k), policy.verdict_days, policy.audit_recall)
    table = baseline_table(rows, k, seed, words=words, audit_places=places)
    return table, advise(table, words)


def _with_places(need: Need, k: int) -> Need:
    """The need as if its unit had so many places in a period."""
    there = {"workers": 1, "attempts_per_worker_per_period": k, "slots": None}
    return need.model_copy(update={"capacity": need.capacity.model_copy(update=there)})


def _columns(candidate: _Learnt, judged: Matrix, rows: pl.DataFrame, k: int, seed: int) -> pl.DataFrame:
    terms = () if candidate.orders is None else candidate.orders.terms
    X = judged.X if terms else judged.X[:, :0]
    return column_table(X, floats(rows["label"]), terms, k, seed, weight=weight_of(rows))


def _hold_outs(
    laid: Layout, candidate: _Learnt, parameters: Parameters | None, step: Callable[..., None]
) -> pl.DataFrame | None:
    attribute = laid.need.splits.hold_out if laid.need.splits else None
    if attribute is None or not isinstance(candidate.model, NeedModel):
        return None
    return hold_out_table(laid, candidate.model, attribute, step, parameters=parameters)


def _censoring(laid: Layout, tested: pl.DataFrame) -> pl.DataFrame | None:
    """How much the figures hang on what is made of those who left."""
    label = laid.need.label
    if label is None or not tested["censored"].any():
        return None
    rows = laid.tested(laid.split.test_dates)
    weights = laid.test_weights
    if weights is None:
        weights = np.full(len(rows), np.nan)
        weights[rows] = censoring_weights(laid.matrix.rows(rows), label, laid.seed)
    by_origin = np.concatenate([weights[laid.tested(origin.test_dates)] for origin in laid.split.origins])
    return censoring_differences(tested, laid.k, laid.seed, weight=by_origin)
