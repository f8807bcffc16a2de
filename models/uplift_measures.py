"""How well an order finds those whom the help helps most: effects by fifth, RATE and Qini, with intervals.

Everything is computed from *effect scores* (augmented inverse-probability scores), whose mean over any group chosen
without looking at its outcomes is that group's effect, because the share offered the help is known. All measures are
weighted means of effect scores; the weights depend on a row's place in the order. Rows with equal scores share the
weights of the places they fill, which is the average over all orders of the equals.

Intervals are 95 %, from influence functions summed within persons. In AUTOC and Qini the influence on the ranks is
included; in the effects of fifths, and along the curve, the cuts are taken as given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import norm

from models.metrics import Estimate
from models.uplift_trial import Bools, Floats, Integers, sums_by

GROUPS = 5
CURVE_POINTS = 21
_ROUNDING = 1e-9
_CONFIDENCE = 0.95
_Z = float(norm.ppf((1 + _CONFIDENCE) / 2))

Weight = Callable[[Floats], Floats]


@dataclass(frozen=True)
class QiniCurve:
    """What offering the help to the first ``share`` of an order gains, against offering it to as many at random.

    Attributes
    ----------
    share : float64 (points,)
        From 0 to 1.
    gain, low, high : float64 (points,)
        Wanted outcomes more, per person of the whole (not of the share); with a pointwise interval.
    at_random : float64 (points,)
        The straight line to the gain of offering it to everybody.
    """

    share: Floats
    gain: Floats
    low: Floats
    high: Floats
    at_random: Floats


@dataclass(frozen=True)
class RankingEffects:
    """What an order by predicted uplift is worth.

    Attributes
    ----------
    fifths : five Estimates
        Average effect in each fifth of the order, highest predictions first.
    top_minus_bottom : Estimate
        First fifth less last fifth.
    autoc : Estimate
        RATE with equal weight on every share treated: the mean, over shares u, of the effect among the first u less
        the effect in all. Sensitive to a few who gain much. (Source: Yadlowsky et al., RATE, arXiv 2111.07966.)
    qini : Estimate
        Qini coefficient: the area between the Qini curve and the straight line. Sensitive to many who gain a little.
    p_value : float
        One-sided, of ``top_minus_bottom``; the one test of heterogeneity, fixed in advance.
    curve : QiniCurve
    """

    fifths: tuple[Estimate, ...]
    top_minus_bottom: Estimate
    autoc: Estimate
    qini: Estimate
    p_value: float
    curve: QiniCurve

    @property
    def heterogeneous(self) -> bool:
        """Whether effects may be said to differ along the order: one-sided 2.5 %, so the interval lies above 0."""
        return self.top_minus_bottom.low > 0


def effect_scores(treated: Bools, outcome: Floats, share: Floats, if_treated: Floats, if_not: Floats) -> Floats:
    """Scores whose mean over rows is their average effect, whatever the two predictions are worth.

    Parameters
    ----------
    treated, outcome, share : (n,)
        As in :class:`models.uplift_trial.Trial`.
    if_treated, if_not : float64 (n,)
        Predicted outcome with and without the help, by models that have not seen the row. Good ones narrow the
        intervals; bad ones do not bias them, since the share is known. (Source: Robins, Rotnitzky & Zhao 1994.)

    Returns
    -------
    float64 (n,)
    """
    with_help = if_treated + treated * (outcome - if_treated) / share
    without = if_not + ~treated * (outcome - if_not) / (1 - share)
    return np.asarray(with_help - without, dtype=np.float64)


def rank_effects(
    predicted: np.ndarray, effect_score: np.ndarray, person: Integers, part: Integers | None = None
) -> RankingEffects:
    """Measure an order on rows that it was not learnt from.

    Parameters
    ----------
    predicted : (n,)
        Higher first.
    effect_score : float64 (n,)
        See :func:`effect_scores`.
    person : int64 (n,)
        Numbers from 0; rows of one person count as one.
    part : int64 (n,), optional
        Rows are ranked within their part, and the parts averaged by size. The parts' predictions must have been
        learnt one after the other, each from earlier parts only, or the interval is too narrow.
    """
    parts = np.zeros(len(predicted), np.int64) if part is None else part
    numbers, sizes = np.unique(parts, return_counts=True)
    found = [_measured(predicted[parts == i], effect_score[parts == i], person[parts == i]) for i in numbers]
    weight = sizes / sizes.sum()
    values = weight @ np.array([value for value, _ in found])
    errors = np.sqrt(weight**2 @ np.array([error for _, error in found]) ** 2)
    estimates = [estimate(value, error) for value, error in zip(values, errors, strict=True)]
    difference, autoc, qini = estimates[GROUPS : GROUPS + 3]
    value, error = values[GROUPS], errors[GROUPS]
    gain, gain_error = values[GROUPS + 3 :], errors[GROUPS + 3 :]
    share = np.linspace(0, 1, CURVE_POINTS)
    return RankingEffects(
        fifths=tuple(estimates[:GROUPS]),
        top_minus_bottom=difference,
        autoc=autoc,
        qini=qini,
        p_value=float(norm.sf(value / error)) if error > 0 else float(value <= 0),
        curve=QiniCurve(share, gain, gain - _Z * gain_error, gain + _Z * gain_error, share * gain[-1]),
    )


def average_effect(treated: Bools, outcome: Floats, stratum: Integers, person: Integers) -> Estimate:
    """Average effect in a trial: difference of the arms within strata, weighted by size; no model takes part."""
    n = len(outcome)
    n_in = np.bincount(stratum)
    effect = np.zeros(len(n_in))
    influence = np.zeros(n)
    for arm, sign in ((treated, 1.0), (~treated, -1.0)):
        n_arm = sums_by(stratum, arm)
        mean = sums_by(stratum, arm * outcome) / n_arm
        effect += sign * mean
        influence += sign * arm * (outcome - mean[stratum]) * (n_in / n_arm)[stratum]
    value = float(n_in @ effect / n)
    return estimate(value, standard_error(influence + effect[stratum] - value, person))


def estimate(value: float, error: float) -> Estimate:
    """A value with the normal interval of its standard error."""
    return Estimate(float(value), float(value - _Z * error), float(value + _Z * error))


def standard_error(influence: Floats, person: Integers) -> float:
    """Standard error of a mean from each row's influence on it, rows of one person taken together."""
    present, number = np.unique(person, return_inverse=True)
    total = sums_by(number, influence)
    correction = len(present) / max(1, len(present) - 1)
    return float(np.sqrt(correction * (total**2).sum()) / len(influence))


# ---- one part ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Blocks:
    """Rows of equal prediction as blocks of places: block b holds the places from start[b] to end[b], in [0, 1]."""

    of_row: Integers
    start: Floats
    end: Floats

    def weights(self, total: Weight) -> Floats:
        """Mean weight of each block's places, when ``total(u)`` is the weight of all places up to u: (blocks,)."""
        return (total(self.end) - total(self.start)) / (self.end - self.start)

    def inside(self, low: float, high: float) -> Floats:
        """The part of each block's places that lies between two places: (blocks,)."""
        return self.weights(partial(np.clip, a_min=low, a_max=high))


def _blocks(predicted: np.ndarray) -> _Blocks:
    _, of_row, sizes = np.unique(-np.asarray(predicted, np.float64), return_inverse=True, return_counts=True)
    end = np.cumsum(sizes) / len(predicted)
    return _Blocks(of_row, np.concatenate(([0.0], end[:-1])), end)


def _measured(predicted: np.ndarray, score: Floats, person: Integers) -> tuple[Floats, Floats]:
    """Values and standard errors: the fifths, their difference, AUTOC, Qini, the gain at each point of the curve."""
    blocks = _blocks(predicted)
    values, influences = [], []
    inside = [GROUPS * blocks.inside(group / GROUPS, (group + 1) / GROUPS) for group in range(GROUPS)]
    for weight in inside:
        value = float(weight[blocks.of_row] @ score) / len(score)
        values.append(value)
        influences.append(weight[blocks.of_row] * (score - value))
    if np.allclose(inside[0], inside[-1], rtol=0, atol=_ROUNDING):  # no order at all, and rounding is no difference
        values.append(0.0)
        influences.append(np.zeros(len(score)))
    else:
        values.append(values[0] - values[-1])
        influences.append(influences[0] - influences[-1])
    for total, density in ((_autoc_total, _autoc_density), (_qini_total, _qini_density)):
        value, influence = _smooth(blocks, score, total, density)
        values.append(value)
        influences.append(influence)
    for share in np.linspace(0, 1, CURVE_POINTS):
        weighted = blocks.inside(0.0, float(share))[blocks.of_row] * score
        values.append(float(weighted.mean()))
        influences.append(weighted - weighted.mean())
    return np.array(values), np.array([standard_error(influence, person) for influence in influences])


def _autoc_total(u: Floats) -> Floats:
    return -u * np.log(np.maximum(u, np.finfo(float).tiny))


def _autoc_density(u: Floats) -> Floats:
    return -np.log(np.maximum(u, np.finfo(float).tiny)) - 1


def _qini_total(u: Floats) -> Floats:
    return u * (1 - u) / 2


def _qini_density(u: Floats) -> Floats:
    return 0.5 - u


def _smooth(blocks: _Blocks, score: Floats, total: Weight, density: Weight) -> tuple[float, Floats]:
    """A measure whose weight changes smoothly along the order, and each row's influence on it.

    A row counts twice: by its own score at its own weight, and by pushing everybody after it one place down.
    """
    n = len(score)
    mean = np.bincount(blocks.of_row, weights=score) / np.bincount(blocks.of_row)
    size = blocks.end - blocks.start
    weight = blocks.weights(total)
    value = float((mean * size) @ weight)
    at_start, at_end = density(blocks.start), density(blocks.end)
    jump = mean * (at_end - at_start)
    after = np.concatenate((np.cumsum(jump[::-1])[::-1][1:], [0.0]))  # of the blocks behind one's own
    pushed = after + mean * (at_end - weight)
    influence = weight[blocks.of_row] * score + pushed[blocks.of_row]
    return value, np.asarray(influence - influence.sum() / n, dtype=np.float64)
