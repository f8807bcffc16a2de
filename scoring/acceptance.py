"""How likely a family accepts a place, learned from earlier offers: by the way to it, siblings there, and language.

Only what the offer itself is like is looked at, never what the family is like: otherwise children whose families
seldom answer would be sent farther for the sake of a better sum. Three numbers on top of a rate: a logistic regression,
with intervals from resampling persons. It is used only if it foretold the last year's answers better than the plain
rate did; otherwise the rate stands for everybody, and where there are too few offers nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.metrics import Estimate, drawn_people, evaluate, interval, numbered

Floats = NDArray[np.float64]

REPLICATES = 200
LEAST_OF_EITHER = 30
_RIDGE = 1e-3  # keeps a column that never varies at 0
_STEPS = 25
_TELLING = ("auc", "calibration_error", "calibration_slope", "calibration_intercept")


@dataclass(frozen=True)
class Acceptance:
    """Chance that an offer is accepted.

    Attributes
    ----------
    kind : "learned", "rate" or "unknown"
        A chance by offer; one rate for all, because nothing better was shown; or nothing.
    n_offers : int
        Answered offers learned from.
    weights : float64 (1 + replicates, 4)
        Log odds: intercept, per kilometre (at most 0), sibling in the unit (at least 0), other language (at most 0);
        first of all offers, then of resampled persons. No rows when unknown.
    rate : Estimate
        Share accepted of the offers learned from.
    measures : mapping
        On the last year's offers, by a model of the years before: ``auc``, ``calibration_error``, …, and ``gain``
        (how much lower the log loss per offer is than the plain rate's).
    """

    kind: Literal["learned", "rate", "unknown"]
    n_offers: int
    weights: Floats
    rate: Estimate
    measures: dict[str, Estimate] = field(default_factory=dict)

    def chance(self, metres: Floats, sibling: NDArray[np.bool_], other_language: NDArray[np.bool_]) -> Floats:
        """Chance of each offer; NaN where nothing is known. Arrays of one shape."""
        if self.kind == "unknown":
            return np.full(metres.shape, np.nan)
        return _logistic(self._logit(self.weights[0], metres, sibling, other_language))

    def expected(self, metres: Floats, sibling: NDArray[np.bool_], other_language: NDArray[np.bool_]) -> Estimate:
        """Acceptances to expect of some offers, with an interval for what the past left open: (n,) arrays each."""
        if self.kind == "unknown":
            return Estimate(np.nan, np.nan, np.nan)
        drawn = [_logistic(self._logit(one, metres, sibling, other_language)).sum() for one in self.weights]
        return interval(np.array(drawn))

    def _logit(
        self, weights: Floats, metres: Floats, sibling: NDArray[np.bool_], other_language: NDArray[np.bool_]
    ) -> Floats:
        logit: Floats = weights[0] + weights[1] * metres / 1_000 + weights[2] * sibling + weights[3] * other_language
        return logit


def learn_acceptance(
    offers: pl.DataFrame | None, as_of_date: date, *, answer_days: int, at_least: int, seed: int = 0
) -> Acceptance:
    """Learn from the offers whose answer was final before a day.

    Parameters
    ----------
    offers : polars.DataFrame or None
        ``person_id``, ``offered_on``, ``metres``, ``sibling_in_unit``, ``own_language``, ``accepted``.
    as_of_date : date
    answer_days : int
        Days after which no answer is a refusal.
    at_least : int
        Fewer offers teach nothing.
    seed : int
        Of the intervals.
    """
    nothing = Estimate(np.nan, np.nan, np.nan)
    final = pl.DataFrame() if offers is None else _final(offers, as_of_date, answer_days)
    n_accepted = int(final["accepted"].sum()) if final.height else 0
    if final.height < at_least or min(n_accepted, final.height - n_accepted) < LEAST_OF_EITHER:
        return Acceptance("unknown", final.height, np.empty((0, 4)), nothing)
    x, y, person = _columns(final)
    counts = _draws(person, seed)
    rate = interval(counts @ y / counts.sum(axis=1))
    measures = _judged(final, seed)
    if measures and measures["gain"].low > 0:
        weights = np.array([_plausible(_fitted(x, y, drawn)) for drawn in counts])
        return Acceptance("learned", final.height, weights, rate, measures)
    rates = np.clip(counts @ y / counts.sum(axis=1), 1e-6, 1 - 1e-6)
    weights = np.zeros((len(counts), 4))
    weights[:, 0] = np.log(rates / (1 - rates))
    return Acceptance("rate", final.height, weights, rate, measures)


def _final(offers: pl.DataFrame, as_of_date: date, answer_days: int) -> pl.DataFrame:
    """Offers with a final answer, in an order that does not depend on the file's."""
    before = as_of_date - timedelta(days=answer_days)
    return offers.filter(pl.col("offered_on") < before).sort("person_id", "offered_on", "metres", "accepted")


def _columns(offers: pl.DataFrame) -> tuple[Floats, Floats, NDArray[np.int32]]:
    told = offers.select(
        pl.lit(1.0),
        pl.col("metres") / 1_000,
        pl.col("sibling_in_unit").cast(float),
        (~pl.col("own_language")).cast(float),
    )
    x: Floats = told.to_numpy().astype(np.float64)
    person, _ = numbered(offers["person_id"].to_numpy())
    return x, offers["accepted"].cast(pl.Float64).to_numpy(), person


def _draws(person: NDArray[np.int32], seed: int) -> Floats:
    """How often each offer counts in each replicate of persons; once in the first: (1 + replicates, n)."""
    batches = drawn_people(int(person.max()) + 1, REPLICATES, seed)
    return np.concatenate([counts[:, person] for counts in batches]).astype(np.float64)


def _fitted(x: Floats, y: Floats, weight: Floats) -> Floats:
    """Logistic regression by Newton's method, slightly drawn to 0."""
    beta = np.zeros(x.shape[1])
    ridge = _RIDGE * weight.sum() * np.diag([0.0, *np.ones(x.shape[1] - 1)]) / 100 + 1e-9 * np.eye(x.shape[1])
    for _ in range(_STEPS):
        p = _logistic(x @ beta)
        gradient = x.T @ (weight * (y - p)) - ridge @ beta
        hessian = (x.T * (weight * p * (1 - p))) @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return beta


def _plausible(beta: Floats) -> Floats:
    """No one accepts a place rather because it is farther, has no sibling, or speaks another language."""
    return np.array([beta[0], min(beta[1], 0.0), max(beta[2], 0.0), min(beta[3], 0.0)])


def _judged(offers: pl.DataFrame, seed: int) -> dict[str, Estimate]:
    """How well the years before foretell the last; empty where there is but one, or too little to tell."""
    year = offers["offered_on"].dt.year().to_numpy()
    last = pl.Series(year == year.max())
    past, judged = offers.filter(~last), offers.filter(last)
    if past.height < LEAST_OF_EITHER or past["accepted"].n_unique() < 2:
        return {}
    x, y, _ = _columns(past)
    beta = _plausible(_fitted(x, y, np.ones(y.size)))
    x, answer, person = _columns(judged)
    p = _logistic(x @ beta)
    found = evaluate(label=answer, rank_score=p, probability=p, person=person, k=1, seed=seed, replicates=REPLICATES)
    gain = _loss(answer, np.full(answer.size, y.mean())) - _loss(answer, p)
    counts = _draws(person, seed)
    return {name: found[name] for name in _TELLING} | {"gain": interval(counts @ gain / counts.sum(axis=1))}


def _loss(y: Floats, p: Floats) -> Floats:
    p = np.clip(p, 1e-9, 1 - 1e-9)
    loss: Floats = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    return loss


def _logistic(logit: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-logit))
    return probability
