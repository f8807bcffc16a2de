"""How well an order finds need, and how far probabilities can be believed: values with bootstrap intervals.

Rows of several as-of dates are ranked within their date (``period``), because a list is made per date: pairs for the
AUC, precision steps for the average precision and the cut at capacity are counted within dates and added up. The
bootstrap draws persons, not rows, since rows of one person resemble each other. Everything is fixed by the seed.

With inverse-probability weights (``weight``) every measure is that of the weighted rows, and the list keeps its k
places among *all* rows of a period: the weights of the rows with a known outcome are scaled until they add up to the
number of rows of the period, known or not, in the sample and again in each replicate (Hájek's estimator). A cut at k
of n rows so stays a cut at k of n, however many outcomes are missing. Without weights rows of unknown outcome are
left out, and the cut reaches further down. Source: Hájek 1971, in Foundations of Statistical Inference, p. 236.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.metric_kernels import (
    N_RANKING,
    PERIOD_ENDS,
    RUN_ENDS,
    CalibratedRows,
    RankedRows,
    bootstrap_found,
    bootstrap_measures,
    calibration_solution,
    column_aucs,
    draw_counts,
    newton_terms,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

REPLICATES = 1000
CALIBRATION_BINS = 10
CONFIDENCE = 0.95
_LARGEST_LOGIT = 35.0  # a probability nearer to 0 or 1 is not a number one can take the logit of
_AT_A_TIME = 32  # replicates whose draws are in memory together
_FEW_ROWS = 10_000  # up to here one Newton step from everybody's solution would be noticeably off a replicate's own

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
        1, 0, or NaN where the outcome is not known; those rows are left out.
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
        distance between promised and observed share over ten equally filled bins), ``calibration_slope`` (1 is
        right; below 1, too extreme) and ``calibration_intercept`` (0 is right; above 0, too low on the whole, in
        log odds). Source: Van Calster et al. 2016, J Clin Epidemiol 74, for slope and intercept.

    Raises
    ------
    ValueError
        A weight that is negative or not a number.
    """
    rows, order = ranked_rows(label, rank_score, person, period, weight)
    calibrated = _calibrated(rows, None if probability is None else np.asarray(probability, dtype=np.float64)[order])
    drawn = bootstrap_measures(rows, calibrated, float(k), replicates, seed)
    result = {name: interval(drawn[:, i]) for i, name in enumerate(RANKING)}
    for i, name in enumerate(CALIBRATION, start=N_RANKING):
        result[name] = interval(drawn[:, i], centred=name == "calibration_error")
    return result


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
    the results of two orders and hand a column to :func:`interval`.

    Returns
    -------
    float64 (1 + replicates, 5)
        AUC, average precision, precision and recall at capacity, and people in need found at capacity, added up over
        periods; first of the rows themselves, then of each replicate.
    """
    rows, _ = ranked_rows(label, rank_score, person, period, weight)
    drawn: Floats = bootstrap_measures(rows, _calibrated(rows, None), float(k), replicates, seed)
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
        1, 0, or NaN, which is left out.
    ours, theirs : float (n,)
        Rank scores, higher first. ``theirs`` None is chance: k times the share in need.
    person : (n,)
    k : int
        Places; more than n means n.
    weight : float (n,), optional
        As in :func:`evaluate`: what would be found in k places of all n rows, were every outcome known.

    Returns
    -------
    (ours, theirs, difference) : Estimate each
    """
    orders = [np.zeros(len(label)) if score is None else score for score in (ours, theirs)]
    rows = [ranked_rows(label, score, person, None, weight)[0] for score in orders]
    found = bootstrap_found(rows[0], rows[1], float(k), replicates, seed)
    return interval(found[:, 0]), interval(found[:, 1]), interval(found[:, 0] - found[:, 1])


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


def interval(replicates: np.ndarray, *, centred: bool = False) -> Estimate:
    """Percentiles of the replicates; the first is the value itself.

    ``centred`` moves them to the value: resampling adds noise that a distance counts as error, so the replicates of a
    distance lie above it.
    """
    value, drawn = float(replicates[0]), replicates[1:]
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        return Estimate(value, np.nan, np.nan)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    if centred:
        shift = value - float(np.mean(drawn))
        low, high = max(0.0, low + shift), high + shift
    return Estimate(value, float(low), float(high))


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
    """Weights of the ranked rows that add up to all rows of their period, and how many those are per period."""
    periods, which = np.unique(when[positions], return_inverse=True)
    if weight is None:
        return np.empty(0), np.bincount(which, minlength=len(periods)).astype(np.float64)
    everybody, counts = np.unique(when, return_counts=True)
    sizes = counts[np.searchsorted(everybody, periods)].astype(np.float64)
    raw = weight[positions]
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


def calibration_bins(probability: np.ndarray, n_bins: int, weight: np.ndarray | None = None) -> NDArray[np.uint16]:
    """Which of ``n_bins`` equally filled bins each probability is in; fewer bins if many are equal."""
    p = np.asarray(probability, dtype=np.float64)
    at = np.linspace(0, 1, n_bins + 1)[1:-1]
    if not p.size:
        edges = np.empty(0)
    elif weight is None:
        edges = np.unique(np.quantile(p, at))
    else:
        order = np.argsort(p, kind="stable")
        reached = np.cumsum(weight[order])
        edges = np.unique(p[order][np.minimum(np.searchsorted(reached, at * reached[-1]), p.size - 1)])
    return np.searchsorted(edges, p, side="right").astype(np.uint16)


def _calibrated(rows: RankedRows, p: Floats | None) -> CalibratedRows:
    """What calibration adds up, of probabilities in the order of the ranked rows."""
    nothing, nobody = np.empty(0), np.empty(0, dtype=np.int32)
    no_terms = np.empty((0, 8))
    if p is None:
        return CalibratedRows(nothing, no_terms, nothing, nobody, np.zeros(1, dtype=np.int64), np.full(3, np.nan))
    unit = rows.unit if rows.unit.size else None
    bins = calibration_bins(p, CALIBRATION_BINS, unit)
    by_bin = np.argsort(bins, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=1))])
    gaps = rows.y - p if unit is None else unit * (rows.y - p)
    with np.errstate(divide="ignore"):
        logit = np.clip(np.log(p) - np.log1p(-p), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    solution = calibration_solution(rows.y, logit, rows.unit, rows.people, rows.n_people)
    terms = no_terms
    if p.size > _FEW_ROWS:
        terms = newton_terms(rows.y, logit, rows.unit, rows.people, rows.n_people, solution)
    return CalibratedRows(logit, terms, gaps[by_bin], rows.people[by_bin], starts, solution)
