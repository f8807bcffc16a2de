"""Whom the help helps most, learnt from a randomised trial: T- and DR-learners, always judged on persons not seen.

Two cross-fittings stand side by side. The *prediction* of a row comes from a model learnt on all folds but its own.
What an order is *worth* is measured one fold after the other, by models learnt on earlier folds only. The second is
what a claim rests on: in ordinary cross-fitting each fold both teaches the models of the other folds and is judged by
them, their errors go the same way, and a trial without any heterogeneity would too often seem to have some.
(Source: Wager, Sequential validation of treatment heterogeneity, arXiv 2405.05534, after Luedtke & van der Laan 2016.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ethics.refusals import BadInput, Fault, did_you_mean
from models.metrics import Estimate
from models.need_parts import SMALLEST_LEAF, ModelSettings
from models.uplift_measures import RankingEffects, average_effect, effect_scores, rank_effects
from models.uplift_trial import Floats, Integers, Trial

Learner = Literal["t", "dr"]
FOLDS = 5
_DEFAULTS: Mapping[str, int | float] = {
    "n_estimators": 60,
    "learning_rate": 0.08,
    "num_leaves": 8,
    "lambda_l2": 5.0,
    "max_bin": 63,
}
_LEAVES_AT_MOST = 50
"""A leaf holds at least this part of the rows (one fiftieth): effects are noisier than outcomes."""


@dataclass(frozen=True)
class UpliftModel:
    """Predicted outcome with and without the help, and the effect.

    ``effect`` is None for a T-learner, whose effect is the difference of the two.
    """

    if_treated: tuple[Any, ...]
    if_not: tuple[Any, ...]
    effect: Any = None

    def outcomes(self, X: np.ndarray) -> tuple[Floats, Floats]:
        """Predicted probability of the wanted outcome with and without the help: two of float64 (n,)."""
        with_help = np.mean([_predicted(trees, X) for trees in self.if_treated], axis=0)
        without = np.mean([_predicted(trees, X) for trees in self.if_not], axis=0)
        return with_help, without

    def predict(self, X: np.ndarray) -> Floats:
        """Predicted effect: by how much the help raises the probability of the wanted outcome, float64 (n,)."""
        if self.effect is not None:
            return _predicted(self.effect, X)
        with_help, without = self.outcomes(X)
        return with_help - without


@dataclass(frozen=True)
class Uplift:
    """What a trial tells of whom the help helps.

    Attributes
    ----------
    learner : "t" or "dr"
    predicted : float64 (n,)
        Effect of each row by a model that has not seen its person.
    average : Estimate
        Effect on average, from the draw alone.
    worth : RankingEffects
        Of the order by predicted effect, from models learnt on earlier folds only; the first fold is not judged.
    n_judged : int
        Rows that ``worth`` rests on.
    """

    learner: Learner
    predicted: Floats
    average: Estimate
    worth: RankingEffects
    n_judged: int

    @property
    def shows_benefit(self) -> bool:
        """Whether "benefit" may be said: for everybody, or, effects differing, for the first fifth of the order."""
        return self.average.low > 0 or (self.worth.heterogeneous and self.worth.fifths[0].low > 0)


def uplift(
    trial: Trial,
    *,
    learner: Learner = "dr",
    seed: int,
    folds: int = FOLDS,
    parameters: Mapping[str, int | float] | None = None,
) -> Uplift:
    """Predict each row's effect, and measure what an order by it is worth.

    Parameters
    ----------
    trial : Trial
        From :func:`models.uplift_trial.randomised_trial`.
    learner : "t" or "dr"
        T: one model of the outcome per arm, and their difference. DR: those two make effect scores, which a third
        model learns (Source: Kennedy 2023, Electronic Journal of Statistics 17).
    seed : int
        Same trial, same seed: the same numbers.
    folds : int
        At least 3. Of persons, never of rows.
    parameters : mapping, optional
        LightGBM parameters in place of the defaults.

    Raises
    ------
    BadInput
        An unknown learner or parameter; too few folds.
    """
    _check(learner, folds, parameters)
    fold = person_folds(trial.person, folds, seed)
    predicted = np.full(len(trial), np.nan)
    last = None
    for number in range(folds):
        last = learn_uplift(trial, fold != number, learner=learner, seed=seed, parameters=parameters)
        predicted[fold == number] = last.predict(trial.X[fold == number])
    # The last fold's model was learnt from exactly the folds before it, so it serves both ends.
    worth, n_judged = _in_sequence(trial, fold, learner, seed, parameters, {folds - 1: last})
    average = average_effect(trial.treated, trial.outcome, trial.stratum, trial.person)
    return Uplift(learner, predicted, average, worth, n_judged)


def worth_of_uplift(
    trial: Trial,
    *,
    learner: Learner = "dr",
    seed: int,
    folds: int = FOLDS,
    parameters: Mapping[str, int | float] | None = None,
) -> RankingEffects:
    """What ordering by predicted effect is worth, without the predictions; arguments as of :func:`uplift`."""
    _check(learner, folds, parameters)
    return _in_sequence(trial, person_folds(trial.person, folds, seed), learner, seed, parameters, {})[0]


def learn_uplift(
    trial: Trial,
    rows: np.ndarray | None = None,
    *,
    learner: Learner = "dr",
    seed: int,
    parameters: Mapping[str, int | float] | None = None,
) -> UpliftModel:
    """Learn from the rows given (bool (n,), default all); nothing is said here about how good it is.

    The DR-learner splits the persons in two: the effect scores of one half come from the models of the other.
    """
    _check(learner, FOLDS, parameters)
    chosen = np.arange(len(trial)) if rows is None else np.flatnonzero(rows)
    if learner == "t":
        with_help, without = _arms(trial, chosen, seed, parameters)
        return UpliftModel((with_help,), (without,))
    half = person_folds(trial.person[chosen], 2, seed + 1)
    arms = [_arms(trial, chosen[half != side], seed, parameters) for side in (0, 1)]
    score = np.zeros(len(chosen))
    for side, (with_help, without) in enumerate(arms):
        at = chosen[half == side]
        score[half == side] = effect_scores(
            trial.treated[at],
            trial.outcome[at],
            trial.share[at],
            _predicted(with_help, trial.X[at]),
            _predicted(without, trial.X[at]),
        )
    effect = _fit(trial.X[chosen], score, None, "regression", seed, parameters)
    return UpliftModel(tuple(arm[0] for arm in arms), tuple(arm[1] for arm in arms), effect)


def _check(learner: str, folds: int, parameters: Mapping[str, int | float] | None) -> None:
    known = {*_DEFAULTS, *ModelSettings.model_fields} - {"monotone", "imbalance", "recency_half_life_days"}
    faults = [
        Fault(f"uplift.parameters.{name}", "is not a parameter that may be set", did_you_mean(name, known))
        for name in parameters or {}
        if name not in known  # LightGBM itself would pass over it in silence
    ]
    if learner not in get_args(Learner):
        faults.append(Fault("uplift.learner", f"is {learner!r}", did_you_mean(str(learner), get_args(Learner))))
    if type(folds) is not int or not 3 <= folds <= 20:
        faults.append(Fault("uplift.folds", f"is {folds!r}", "Give a whole number from 3 to 20"))
    if faults:
        raise BadInput(*faults)


def _in_sequence(
    trial: Trial,
    fold: Integers,
    learner: Learner,
    seed: int,
    parameters: Mapping[str, int | float] | None,
    learnt: Mapping[int, UpliftModel | None],
) -> tuple[RankingEffects, int]:
    """Judge each fold but the first by a model of the folds before it (``learnt`` where there is one already)."""
    predicted, score = np.zeros(len(trial)), np.zeros(len(trial))
    for number in range(1, int(fold.max()) + 1):
        model = learnt.get(number) or learn_uplift(
            trial, fold < number, learner=learner, seed=seed, parameters=parameters
        )
        here = fold == number
        predicted[here] = model.predict(trial.X[here])
        if_treated, if_not = model.outcomes(trial.X[here])
        score[here] = effect_scores(trial.treated[here], trial.outcome[here], trial.share[here], if_treated, if_not)
    judged = fold > 0
    return rank_effects(predicted[judged], score[judged], trial.person[judged], fold[judged]), int(judged.sum())


def person_folds(person: Integers, n_folds: int, seed: int) -> Integers:
    """The fold of each row, all rows of a person in one, folds of equally many persons: int64 (n,)."""
    present, number = np.unique(person, return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(present))
    return (place[number] * n_folds // len(present)).astype(np.int64)


def _arms(trial: Trial, rows: Integers, seed: int, parameters: Mapping[str, int | float] | None) -> tuple[Any, Any]:
    """Models of the outcome in each arm of some rows.

    Where the share differs between strata, rows are weighted by it, so that both arms speak of the same people.
    """
    models = []
    for arm, chance in ((True, trial.share), (False, 1 - trial.share)):
        at = rows[trial.treated[rows] == arm]
        weight = None if np.ptp(trial.share) == 0 else 1 / chance[at]
        models.append(_fit(trial.X[at], trial.outcome[at], weight, "binary", seed, parameters))
    return models[0], models[1]


def _fit(
    X: np.ndarray,
    y: Floats,
    weight: Floats | None,
    objective: str,
    seed: int,
    parameters: Mapping[str, int | float] | None,
) -> Any:
    """Trees, or the mean where there is nothing to learn; the same whatever the machine's number of threads."""
    import lightgbm

    if len(y) < 2 * SMALLEST_LEAF or np.ptp(y) == 0:
        return float(np.mean(y)) if len(y) else 0.0
    settings: dict[str, Any] = {
        "objective": objective,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": seed,
        "verbosity": -1,
        "min_data_in_leaf": len(y) // _LEAVES_AT_MOST,
        **_DEFAULTS,
        **(parameters or {}),
    }
    settings["min_data_in_leaf"] = max(SMALLEST_LEAF, int(settings["min_data_in_leaf"]))
    rounds = int(settings.pop("n_estimators"))
    data = lightgbm.Dataset(X, y, weight=weight, params=settings)
    return lightgbm.train(settings, data, rounds)


def _predicted(trees: Any, X: np.ndarray) -> Floats:
    if isinstance(trees, float):
        return np.full(len(X), trees)
    return np.asarray(trees.predict(X, num_threads=1), dtype=np.float64)
