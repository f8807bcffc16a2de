"""How well an order finds need, and how far probabilities can be believed: values with bootstrap intervals.

Rows of several as-of dates are ranked within their date (``period``), because a list is made per date: pairs for the
AUC, precision steps for the average precision and the cut at capacity are counted within dates and added up. The
bootstrap draws persons, not rows, since rows of one person resemble each other. Everything is fixed by the seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

REPLICATES = 1000
CALIBRATION_BINS = 10
_CONFIDENCE = 0.95
_LARGEST_LOGIT = 35.0  # a probability nearer to 0 or 1 is not a number one can take the logit of

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

    Returns
    -------
    dict
        ``auc``, ``average_precision``, ``precision_at_capacity``, ``recall_at_capacity``, ``calibration_error`` (mean
        distance between promised and observed share over ten equally filled bins), ``calibration_slope`` (1 is
        right; below 1, too extreme) and ``calibration_intercept`` (0 is right; above 0, too low on the whole, in
        log odds). Source: Van Calster et al. 2016, J Clin Epidemiol 74, for slope and intercept.
    """
    known = np.isfinite(label)
    order = _ranked(rank_score, period, known)
    y = np.asarray(label, dtype=np.float64)[order]
    people, n_people = _dense(np.asarray(person)[order])
    ends, stratum = _runs(rank_score, period, order)
    ranking = _bootstrap_ranking(y, people, n_people, ends, stratum, k, replicates, seed)
    result = {name: _interval(ranking[:, i]) for i, name in enumerate(RANKING)}
    if probability is None:
        return result | {name: Estimate(np.nan, np.nan, np.nan) for name in CALIBRATION}
    p = np.asarray(probability, dtype=np.float64)[order]
    edges = np.unique(np.quantile(p, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])) if p.size else np.empty(0)
    bins = np.searchsorted(edges, p, side="right")
    with np.errstate(divide="ignore"):
        logit = np.clip(np.log(p) - np.log1p(-p), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    calibration = _bootstrap_calibration(y, p, logit, bins, len(edges) + 1, people, n_people, replicates, seed)
    result["calibration_error"] = _interval(calibration[:, 0], centred=True)
    result["calibration_slope"] = _interval(calibration[:, 1])
    result["calibration_intercept"] = _interval(calibration[:, 2])
    return result


def found_difference(
    *,
    label: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray | None,
    person: np.ndarray,
    k: int,
    seed: int,
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

    Returns
    -------
    (ours, theirs, difference) : Estimate each
    """
    known = np.flatnonzero(np.isfinite(label))
    y = np.asarray(label, dtype=np.float64)[known]
    people, n_people = _dense(np.asarray(person)[known])
    orders, ends = [], []
    for score in (ours, theirs):
        chosen = np.zeros(y.size) if score is None else np.asarray(score, dtype=np.float64)[known]
        order = np.argsort(-chosen, kind="stable")
        orders.append(order)
        ends.append(_run_ends(chosen[order]))
    found = _bootstrap_found(
        y[orders[0]], people[orders[0]], ends[0], y[orders[1]], people[orders[1]], ends[1],
        n_people, k, replicates, seed,
    )  # fmt: skip
    return _interval(found[:, 0]), _interval(found[:, 1]), _interval(found[:, 0] - found[:, 1])


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
    aucs: Floats = _column_aucs(np.ascontiguousarray(X[known].T), np.asarray(label, dtype=np.float64)[known])
    return aucs


# ---- preparation ---------------------------------------------------------------------------------------------------


def _ranked(rank_score: np.ndarray, period: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    """Positions of the known rows by period, and within it from the highest score down."""
    keys = [-np.asarray(rank_score, dtype=np.float64)]
    if period is not None:
        keys.append(np.asarray(period))
    order = np.lexsort(keys)
    ranked: NDArray[np.int64] = order[known[order]]
    return ranked


def _dense(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Values as 0, 1, …, and how many there are."""
    if values.dtype.kind in "OUS":  # sorting a million texts takes seconds, a dictionary does not
        seen: dict[str, int] = {}
        return np.fromiter((seen.setdefault(v, len(seen)) for v in values.tolist()), np.int32, len(values)), len(seen)
    unique, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int32), len(unique)


def _run_ends(*keys: np.ndarray) -> np.ndarray:
    """True at the last row of each run of rows that are equal in every key."""
    if not keys[0].size:
        return np.zeros(0, dtype=np.bool_)
    changes = np.zeros(keys[0].size, dtype=np.bool_)
    changes[-1] = True
    for key in keys:
        changes[:-1] |= key[1:] != key[:-1]
    return changes


def _runs(rank_score: np.ndarray, period: np.ndarray | None, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Last rows of equal score within a period, and of a period."""
    score = np.asarray(rank_score, dtype=np.float64)[order]
    when = np.zeros(order.size, dtype=np.int8) if period is None else np.asarray(period)[order]
    return _run_ends(when, score), _run_ends(when)


def _interval(replicates: np.ndarray, *, centred: bool = False) -> Estimate:
    """Percentiles of the replicates; the first is the value itself.

    ``centred`` moves them to the value: resampling adds noise that a distance counts as error, so the replicates of a
    distance lie above it.
    """
    value, drawn = float(replicates[0]), replicates[1:]
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        return Estimate(value, np.nan, np.nan)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    if centred:
        shift = value - float(np.mean(drawn))
        low, high = max(0.0, low + shift), high + shift
    return Estimate(value, float(low), float(high))


# ---- kernels -------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _draw(weight: Floats, seed: int, replicate: int) -> None:
    """Fill ``weight`` (n_people,) with how often each person is drawn; replicate 0 is everybody once.

    The generator is splitmix64, started by seed and replicate, so neither threads nor library versions matter.
    """
    n = weight.size
    if replicate == 0:
        weight[:] = 1.0
        return
    weight[:] = 0.0
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(replicate) * np.uint64(0xD1342543DE82EF95)
    for _ in range(n):
        state += np.uint64(0x9E3779B97F4A7C15)
        z = state
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        weight[((z >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)] += 1.0


@njit(cache=True)
def _rank_measures(y: Floats, weight: Floats, people: Ints, ends: Bools, stratum: Bools, k: int, out: Floats) -> None:
    """AUC, average precision, precision and recall at k of weighted rows, each counted within its stratum."""
    concordant = pairs = steps = positives = found = listed = 0.0
    s_pos = s_neg = s_found = s_listed = 0.0  # of the stratum so far
    t_pos = t_neg = 0.0  # of the run of equal scores
    for i in range(y.size):
        w = weight[people[i]]
        t_pos += w * y[i]
        t_neg += w * (1.0 - y[i])
        if ends[i]:
            equal = t_pos + t_neg
            concordant += t_neg * (s_pos + 0.5 * t_pos)
            places = min(equal, k - s_listed)
            if places > 0.0:
                s_found += places * t_pos / equal
                s_listed += places
            s_pos += t_pos
            s_neg += t_neg
            if t_pos > 0.0:
                steps += t_pos * s_pos / (s_pos + s_neg)
            t_pos = t_neg = 0.0
        if stratum[i]:
            pairs += s_pos * s_neg
            positives += s_pos
            found += s_found
            listed += s_listed
            s_pos = s_neg = s_found = s_listed = 0.0
    out[0] = concordant / pairs if pairs > 0.0 else np.nan
    out[1] = steps / positives if positives > 0.0 else np.nan
    out[2] = found / listed if listed > 0.0 else np.nan
    out[3] = found / positives if positives > 0.0 else np.nan


@njit(cache=True, parallel=True)
def _bootstrap_ranking(
    y: Floats, people: Ints, n_people: int, ends: Bools, stratum: Bools, k: int, replicates: int, seed: int
) -> Floats:
    """:func:`_rank_measures` of the rows and of replicates: float64 (1 + replicates, 4)."""
    out = np.empty((replicates + 1, 4))
    for replicate in prange(replicates + 1):
        weight = np.empty(n_people)
        _draw(weight, seed, replicate)
        _rank_measures(y, weight, people, ends, stratum, k, out[replicate])
    return out


@njit(cache=True)
def _found(y: Floats, weight: Floats, people: Ints, ends: Bools, k: int) -> float:
    """Weighted positives in the first k places, the last run of equal scores taken in proportion."""
    found = listed = t_all = t_pos = 0.0
    for i in range(y.size):
        w = weight[people[i]]
        t_all += w
        t_pos += w * y[i]
        if ends[i]:
            places = min(t_all, k - listed)
            if places > 0.0:
                found += places * t_pos / t_all
                listed += places
            if listed >= k:
                break
            t_all = t_pos = 0.0
    return found


@njit(cache=True, parallel=True)
def _bootstrap_found(
    y_a: Floats,
    people_a: Ints,
    ends_a: Bools,
    y_b: Floats,
    people_b: Ints,
    ends_b: Bools,
    n_people: int,
    k: int,
    replicates: int,
    seed: int,
) -> Floats:
    """:func:`_found` by two orders of the same rows and of the same replicates: float64 (1 + replicates, 2)."""
    out = np.empty((replicates + 1, 2))
    for replicate in prange(replicates + 1):
        weight = np.empty(n_people)
        _draw(weight, seed, replicate)
        out[replicate, 0] = _found(y_a, weight, people_a, ends_a, k)
        out[replicate, 1] = _found(y_b, weight, people_b, ends_b, k)
    return out


@njit(cache=True)
def _logistic(
    y: Floats,
    x: Floats,
    weight: Floats,
    people: Ints,
    slope: float,
    intercept: float,
    slope_is_fixed: bool,
    steps: int,
) -> tuple[float, float]:
    """Weighted logistic regression of y on x by Newton's method; NaN when the rows do not determine it."""
    a, b = slope, intercept
    for _ in range(steps):
        g_a = g_b = h_aa = h_ab = h_bb = 0.0
        for i in range(y.size):
            w = weight[people[i]]
            if w == 0.0:
                continue
            p = 1.0 / (1.0 + np.exp(-(a * x[i] + b)))
            d = w * (y[i] - p)
            v = w * p * (1.0 - p)
            g_a += d * x[i]
            g_b += d
            h_aa += v * x[i] * x[i]
            h_ab += v * x[i]
            h_bb += v
        if slope_is_fixed:
            if h_bb <= 0.0:
                return np.nan, np.nan
            step_a, step_b = 0.0, g_b / h_bb
        else:
            determinant = h_aa * h_bb - h_ab * h_ab
            if determinant <= 1e-12 * h_aa * h_bb:
                return np.nan, np.nan
            step_a = (h_bb * g_a - h_ab * g_b) / determinant
            step_b = (h_aa * g_b - h_ab * g_a) / determinant
        # A step this long comes from a nearly flat likelihood, where Newton's parabola means little.
        longest = max(abs(step_a), abs(step_b) * 0.5)
        shrink = min(1.0, 2.0 / longest) if longest > 0.0 else 1.0
        a += shrink * step_a
        b += shrink * step_b
        if longest < 1e-9:
            return a, b
        if abs(a) > 1e3 or abs(b) > 1e3:
            return np.nan, np.nan
    return a, b


@njit(cache=True, parallel=True)
def _bootstrap_calibration(
    y: Floats,
    p: Floats,
    logit: Floats,
    bins: NDArray[np.int64],
    n_bins: int,
    people: Ints,
    n_people: int,
    replicates: int,
    seed: int,
) -> Floats:
    """Calibration error, slope and intercept of the rows and of replicates: float64 (1 + replicates, 3)."""
    out = np.empty((replicates + 1, 3))
    everybody = np.ones(n_people)
    slope, level = _logistic(y, logit, everybody, people, 1.0, 0.0, False, 25)
    _, intercept = _logistic(y, logit, everybody, people, 1.0, 0.0, True, 25)
    for replicate in prange(replicates + 1):
        weight = np.empty(n_people)
        _draw(weight, seed, replicate)
        gap = np.zeros(n_bins)
        total = 0.0
        for i in range(y.size):
            w = weight[people[i]]
            gap[bins[i]] += w * (y[i] - p[i])
            total += w
        out[replicate, 0] = np.sum(np.abs(gap)) / total if total > 0.0 else np.nan
        # From the solution for all rows two steps reach a replicate's to far within its interval.
        out[replicate, 1] = _logistic(y, logit, weight, people, slope, level, False, 2)[0]
        out[replicate, 2] = _logistic(y, logit, weight, people, 1.0, intercept, True, 2)[1]
    return out


@njit(cache=True, parallel=True)
def _column_aucs(columns: NDArray[np.float32], y: Floats) -> Floats:
    """Better of the AUCs with missing values below and above, in either direction, per row of ``columns`` (p, n)."""
    out = np.empty(columns.shape[0])
    n = y.size
    for j in prange(columns.shape[0]):
        x = columns[j]
        order = np.argsort(x)  # NaN last
        m_pos = m_neg = below = pos = neg = t_pos = t_neg = 0.0
        for r in range(n):
            i = order[r]
            if np.isnan(x[i]):
                m_pos += y[i]
                m_neg += 1.0 - y[i]
                continue
            t_pos += y[i]
            t_neg += 1.0 - y[i]
            if r + 1 == n or x[order[r + 1]] != x[i]:
                below += t_pos * (neg + 0.5 * t_neg)
                pos += t_pos
                neg += t_neg
                t_pos = t_neg = 0.0
        pairs = (pos + m_pos) * (neg + m_neg)
        if pairs == 0.0:
            out[j] = np.nan
            continue
        among = below + 0.5 * m_pos * m_neg
        first, last = (among + pos * m_neg) / pairs, (among + m_pos * neg) / pairs
        out[j] = max(max(first, 1.0 - first), max(last, 1.0 - last))
    return out
