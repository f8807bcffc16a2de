"""How well an order finds need, and how far probabilities can be believed: values with bootstrap intervals.

Rows of several as-of dates are ranked within their date (``period``), because a list is made per date: pairs for the
AUC, precision steps for the average precision and the cut at capacity are counted within dates and added up. The
bootstrap draws persons, not rows, since rows of one person resemble each other. Everything is fixed by the seed.

The list has its k places among *all* rows of a period, whether their outcome is known or not: rows with a known outcome
stand for the others. Their weights (``weight``, inverse probabilities; without any, equal ones) are scaled until they
add up to the number of rows of the period, in the sample and again in each replicate (Hájek's estimator). A cut at k of
n rows so stays a cut at k of n, however many outcomes are missing, and so many found means in k places of everybody.
Source: Hájek 1971, in Foundations of Statistical Inference, p. 236.

Where few people decide a figure at capacity, its interval is no narrower than :mod:`models.exact_bounds` allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.binned_gaps import calibrated_rows, mean_distance
from models.exact_bounds import Bounds, Runs, bounds_at_cut, difference_bounds, share_bounds
from models.metric_kernels import (
    N_CALIBRATION,
    N_RANKING,
    PERIOD_ENDS,
    RUN_ENDS,
    RankedRows,
    bootstrap_found,
    bootstrap_measures,
    column_aucs,
    draw_counts,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

REPLICATES = 1000
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
_AT_A_TIME = 32  # replicates whose draws are in memory together

RANKING = ("auc", "average_precision", "precision_at_capacity", "recall_at_capacity")
CALIBRATION = ("calibration_error", "calibration_slope", "calibration_intercept")


class Estimate(NamedTuple):
    """A value with its 95 % interval; NaN where the rows do not determine it."""

    value: float
    low: float
    high: float


class AtCut(NamedTuple):
    """A value at a cut that falls among equal scores: on average over orders of the equals, and at worst and best."""

    value: float
    worst: float
    best: float


def precision_at_k(label: np.ndarray, rank_score: np.ndarray, k: int) -> AtCut:
    """Share of the first k rows that are in need.

    Parameters
    ----------
    label : (n,) of 0 and 1
    rank_score : (n,)
        Higher first. The order among equal scores is not known here.
    k : int
        More than n means n.

    >>> precision_at_k(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]), 2)
    AtCut(value=0.75, worst=0.5, best=1.0)
    """
    size = min(k, len(label))
    found = found_at_k(label, rank_score, k)
    return AtCut(*(part / size for part in found)) if size else AtCut(np.nan, np.nan, np.nan)


def recall_at_k(label: np.ndarray, rank_score: np.ndarray, k: int) -> AtCut:
    """Share of those in need who are among the first k rows; arguments as in :func:`precision_at_k`.

    >>> recall_at_k(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]), 2)
    AtCut(value=0.75, worst=0.5, best=1.0)
    """
    positives = float(np.sum(label))
    found = found_at_k(label, rank_score, k)
    return AtCut(*(part / positives for part in found)) if positives else AtCut(np.nan, np.nan, np.nan)


def found_at_k(label: np.ndarray, rank_score: np.ndarray, k: int) -> AtCut:
    """How many of the first k rows are in need; arguments as in :func:`precision_at_k`."""
    if len(label) == 0 or k <= 0:
        return AtCut(0.0, 0.0, 0.0)
    k = min(k, len(label))
    score = np.asarray(rank_score, dtype=np.float64)
    cut = np.partition(score, len(score) - k)[len(score) - k]
    above, equal = score > cut, score == cut
    sure = float(np.sum(label[above]))
    places, n_equal, in_need = k - int(above.sum()), int(equal.sum()), float(np.sum(label[equal]))
    worst = max(0.0, places - (n_equal - in_need))
    return AtCut(sure + places * in_need / n_equal, sure + worst, sure + min(places, in_need))


def evaluate(
    *,
    label: np.ndarray,
    rank_score: np.ndarray,
    probability: np.ndarray | None,
    person: np.ndarray,
    k: int,
    seed: int,
    period: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> dict[str, Estimate]:
    """Ranking and calibration of judged rows.

    Parameters
    ----------
    label : float (n,)
        1, 0, or NaN where the outcome is not known: such rows only count among those the list is made of.
    rank_score : float (n,)
        Higher first.
    probability : float (n,) in [0, 1], or None
        None for a rule, whose calibration is NaN.
    person : (n,)
        Whose row it is; a replicate draws persons.
    k : int
        Capacity per period.
    seed : int
    period : (n,), optional
        As-of date of each row; rows are ranked within it. One period if left out.
    weight : float (n,), optional
        Inverse-probability weights, at least 0, of any scale; those of rows without a known outcome are not used. See
        the head of this module for the cut at k.

    Returns
    -------
    dict
        ``auc``, ``average_precision``, ``precision_at_capacity``, ``recall_at_capacity``, ``calibration_error`` (mean
        distance between promised and observed share over ten equally filled bins, less what chance makes of it; its
        interval begins at 0 as long as chance alone may have made it; :mod:`models.binned_gaps`),
        ``calibration_slope`` (1 is right; below 1, too extreme) and ``calibration_intercept`` (0 is right; above 0,
        too low on the whole, in log odds). Source: Van Calster et al. 2016, J Clin Epidemiol 74, for slope and
        intercept.

    Raises
    ------
    ValueError
        A weight that is negative or not a number.
    """
    rows, order = ranked_rows(label, rank_score, person, period, weight)
    p = None if probability is None else np.asarray(probability, dtype=np.float64)[order]
    calibrated, errors = calibrated_rows(rows, p)
    drawn = bootstrap_measures(rows, calibrated, float(k), replicates, seed)
    result = {name: interval(drawn[:, i]) for i, name in enumerate(RANKING)}
    for name, bounds in zip(RANKING[2:], bounds_at_cut(Runs(rows), float(k), TAIL), strict=True):
        result[name] = widened(result[name], bounds)
    result["calibration_error"] = Estimate(np.nan, np.nan, np.nan)
    if errors.size:
        result["calibration_error"] = Estimate(*mean_distance(drawn[:, N_RANKING + N_CALIBRATION :], errors, TAIL))
    return result | {name: interval(drawn[:, i]) for i, name in enumerate(CALIBRATION[1:], start=N_RANKING)}


def ranking_replicates(
    *,
    label: np.ndarray,
    rank_score: np.ndarray,
    person: np.ndarray,
    k: int,
    seed: int,
    period: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> Floats:
    """What :func:`evaluate` makes its ranking intervals from, so that two orders can be compared on equal replicates.

    Parameters are those of :func:`evaluate`. The same persons are drawn for every order of the same rows: subtract
    the results of two orders and hand a column to :func:`interval`; for few places, see :func:`found_bounds`.

    Returns
    -------
    float64 (1 + replicates, 5)
        AUC, average precision, precision and recall at capacity, and people in need found at capacity, added up over
        periods; first of the rows themselves, then of each replicate.
    """
    rows, _ = ranked_rows(label, rank_score, person, period, weight)
    drawn: Floats = bootstrap_measures(rows, calibrated_rows(rows, None)[0], float(k), replicates, seed)
    return drawn[:, :N_RANKING]


def found_difference(
    *,
    label: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray | None,
    person: np.ndarray,
    k: int,
    seed: int,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> tuple[Estimate, Estimate, Estimate]:
    """People in need found in the first k places by two orders, and how many more ours finds, on the same replicates.

    Parameters
    ----------
    label : float (n,)
        1, 0, or NaN where the outcome is not known: then those of known outcome stand for all n.
    ours, theirs : float (n,)
        Rank scores, higher first. ``theirs`` None is chance: k times the share in need.
    person : (n,)
    k : int
        Places among all n rows; more than n means n.
    weight : float (n,), optional
        As in :func:`evaluate`: what would be found in k places of all n rows, were every outcome known.

    Returns
    -------
    (ours, theirs, difference) : Estimate each
    """
    orders = [np.zeros(len(label)) if score is None else score for score in (ours, theirs)]
    (first, at), (second, there) = (ranked_rows(label, score, person, None, weight) for score in orders)
    found = bootstrap_found(first, second, float(k), replicates, seed)
    bounds = _found_bounds(first, at, second, there, k)
    measured = (found[:, 0], found[:, 1], found[:, 0] - found[:, 1])
    ours_found, theirs_found, difference = (
        widened(interval(drawn), either) for drawn, either in zip(measured, bounds, strict=True)
    )
    return ours_found, theirs_found, difference


def found_bounds(
    *,
    label: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    person: np.ndarray,
    k: int,
    period: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> tuple[Bounds | None, Bounds | None, Bounds | None]:
    """Exact bounds of people found at capacity by two orders, and of the difference, for :func:`widened`.

    Parameters are those of :func:`evaluate` and :func:`found_difference`. Each is None where enough people decide it.
    """
    (first, at), (second, there) = (ranked_rows(label, score, person, period, weight) for score in (ours, theirs))
    return _found_bounds(first, at, second, there, k)


def _found_bounds(
    first: RankedRows, at: NDArray[np.int64], second: RankedRows, there: NDArray[np.int64], k: int
) -> tuple[Bounds | None, Bounds | None, Bounds | None]:
    n = int(at.max(initial=-1)) + 1
    y, people, gained = np.zeros(n), np.zeros(n, dtype=np.int32), np.zeros(n)
    y[at], people[at] = first.y, first.people
    each: list[Bounds | None] = []
    for rows, place, sign in ((first, at, 1.0), (second, there, -1.0)):
        positions, mass = Runs(rows).listed(float(k))
        gained[place[positions]] += sign * mass
        bounds = share_bounds(mass, rows.y[positions].astype(np.float64), rows.people[positions], TAIL)
        places = float(mass.sum())
        each.append(None if bounds is None else (bounds[0] * places, bounds[1] * places))
    return each[0], each[1], difference_bounds(gained, y, people, TAIL)


def single_column_aucs(X: np.ndarray, label: np.ndarray) -> np.ndarray:
    """AUC of each column alone, in whichever direction is better: a column that knows too much is a leak (C106).

    Missing values are ranked once below and once above all others, and the better counts.

    Parameters
    ----------
    X : float32 (n, p)
    label : float (n,)
        1, 0, or NaN, which is left out.

    Returns
    -------
    float64 (p,)
        At least 0.5; NaN if the label does not vary.
    """
    known = np.isfinite(label)
    aucs: Floats = column_aucs(np.ascontiguousarray(X[known].T), np.asarray(label, dtype=np.float64)[known])
    return aucs


def interval(replicates: np.ndarray) -> Estimate:
    """Percentiles of the replicates; the first is the value itself."""
    value, drawn = float(replicates[0]), replicates[1:]
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        return Estimate(value, np.nan, np.nan)
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return Estimate(value, float(low), float(high))


def widened(estimate: Estimate, bounds: Bounds | None) -> Estimate:
    """An estimate whose interval reaches at least as far as bounds do, where there are any."""
    if bounds is None:
        return estimate
    return Estimate(estimate.value, float(np.fmin(estimate.low, bounds[0])), float(np.fmax(estimate.high, bounds[1])))


# ---- preparation ---------------------------------------------------------------------------------------------------


def ranked_rows(
    label: np.ndarray,
    rank_score: np.ndarray,
    person: np.ndarray,
    period: np.ndarray | None,
    weight: np.ndarray | None,
) -> tuple[RankedRows, NDArray[np.int64]]:
    """What the kernels read of rows with a known outcome (and a weight), and where each stood before."""
    known, used = known_rows(label, weight)
    when = np.zeros(len(known), dtype=np.int8) if period is None else np.asarray(period)
    people, n_people = numbered(np.asarray(person)[known])
    score = np.asarray(rank_score, dtype=np.float64)[known]
    order = np.lexsort((-score, when[known]))
    positions: NDArray[np.int64] = np.flatnonzero(known)[order]
    marks = np.zeros(order.size, dtype=np.uint8)
    marks[_run_ends(when[positions], score[order])] = RUN_ENDS
    marks[_run_ends(when[positions])] = PERIOD_ENDS
    unit, sizes = _unit_weights(used, when, known, positions)
    y = np.asarray(label)[positions].astype(np.uint8)
    return RankedRows(y, unit, people[order], n_people, marks, sizes), positions


def known_rows(label: np.ndarray, weight: np.ndarray | None) -> tuple[NDArray[np.bool_], Floats | None]:
    """Which rows have a known outcome and a weight above 0, and the weights.

    Raises
    ------
    ValueError
        A weight that is negative or not a number.
    """
    known: NDArray[np.bool_] = np.isfinite(np.asarray(label, dtype=np.float64))
    if weight is None:
        return known, None
    used: Floats = np.asarray(weight, dtype=np.float64)
    bad = known & ~(np.isfinite(used) & (used >= 0))
    if bad.any():
        raise ValueError(f"weight: {int(bad.sum())} rows of known outcome have one that is negative or not a number")
    return known & (used > 0), used


def drawn_people(n_people: int, replicates: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """How often each person is drawn: uint8 (some replicates, n_people) at a time; the first is everybody once."""
    for first in range(0, replicates + 1, _AT_A_TIME):
        yield draw_counts(n_people, seed, first, min(_AT_A_TIME, replicates + 1 - first))


def _unit_weights(
    weight: Floats | None, when: np.ndarray, known: np.ndarray, positions: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Weights of the ranked rows that add up to all rows of their period, and how many those are per period.

    No weights where every row weighs 1: all outcomes are known and none was given.
    """
    periods, which = np.unique(when[positions], return_inverse=True)
    if weight is None and known.all():
        return np.empty(0), np.bincount(which, minlength=len(periods)).astype(np.float64)
    everybody, counts = np.unique(when, return_counts=True)
    sizes = counts[np.searchsorted(everybody, periods)].astype(np.float64)
    raw = np.ones(positions.size) if weight is None else weight[positions]
    return raw * (sizes / np.bincount(which, weights=raw, minlength=len(periods)))[which], sizes


def numbered(values: np.ndarray) -> tuple[Ints, int]:
    """Values as 0, 1, …, and how many there are."""
    if values.dtype.kind in "OUS":  # sorting a million texts takes seconds, a dictionary does not
        seen: dict[str, int] = {}
        return np.fromiter((seen.setdefault(v, len(seen)) for v in values.tolist()), np.int32, len(values)), len(seen)
    unique, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int32), len(unique)


def _run_ends(*keys: np.ndarray) -> NDArray[np.bool_]:
    """True at the last row of each run of rows that are equal in every key."""
    if not keys[0].size:
        return np.zeros(0, dtype=np.bool_)
    changes = np.zeros(keys[0].size, dtype=np.bool_)
    changes[-1] = True
    for key in keys:
        changes[:-1] |= key[1:] != key[:-1]
    return changes
