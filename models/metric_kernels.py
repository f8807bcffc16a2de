"""Bootstrap of persons, compiled: how often each is drawn, and what ordered or sorted rows then tell.

A replicate is 1 byte per person, which stays in a core's cache while the rows stream past it. What is a sum over rows
(calibration bins, and gradient and Hessian of the logistic fit) is computed once per row and only added up per
replicate. A kernel calls only kernels of this file, and the generator depends on seed and replicate alone, so neither
threads nor library versions change a figure. Replicate 0 is everybody once: the value itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

RUN_ENDS, PERIOD_ENDS = 1, 2
N_RANKING, N_CALIBRATION = 5, 2
_TOGETHER = 8  # replicates that share a pass over what is too large for a cache
_TILE = 1024  # persons whose terms stay in a core's first cache meanwhile


class RankedRows(NamedTuple):
    """Rows of known outcome by period, and within it from the highest score down.

    ``y`` uint8 (n,) is 0 or 1; ``unit`` float64 the weight of each row, or empty for 1; ``people`` int32 (n,) in
    0 … ``n_people`` - 1; ``marks`` uint8 (n,): 0, 1 at the last row of a run of equal scores, 2 at the last of a
    period; ``sizes`` float64 (n_periods,): rows of each period, to which ``unit`` adds up.
    """

    y: Bytes
    unit: Floats
    people: Ints
    n_people: int
    marks: Bytes
    sizes: Floats


class CalibratedRows(NamedTuple):
    """What calibration adds up; empty ``bin_starts`` if there are no probabilities.

    ``logit`` float64 (n,), in the order of the ranked rows, is used only where ``terms`` is empty: few rows, whose
    every replicate takes two whole Newton steps. ``terms`` float64 (n_people, 8) holds each person's share of the
    gradient and Hessian. ``gaps`` float64 (n,) is weight × (label - probability), sorted by bin, of ``gap_people``;
    ``bin_starts`` int64 (n_bins + 1,). ``solution`` is slope, level beside it, and intercept at slope 1, of all rows.
    """

    logit: Floats
    terms: Floats
    gaps: Floats
    gap_people: Ints
    bin_starts: NDArray[np.int64]
    solution: Floats


@njit(cache=True, error_model="numpy")
def _draw(count: Bytes, seed: int, replicate: int) -> None:
    """Fill ``count`` (n_people,) with how often each person is drawn; replicate 0 is everybody once.

    The generator is splitmix64, started by seed and replicate.
    """
    n = count.size
    if replicate == 0:
        count[:] = 1
        return
    count[:] = 0
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(replicate) * np.uint64(0xD1342543DE82EF95)
    for _ in range(n):
        state += np.uint64(0x9E3779B97F4A7C15)
        z = state
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        # 256 draws of one person out of n have a chance below 1 in 10^500.
        count[((z >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)] += np.uint8(1)


@njit(cache=True, error_model="numpy")
def _scales(rows: RankedRows, count: Bytes, scale: Floats) -> None:
    """Fill ``scale`` (n_periods,) with what makes the weights drawn add up to the rows of each period again."""
    scale[:] = 1.0
    if rows.unit.size == 0:
        return
    period, total = 0, 0.0
    for i in range(rows.y.size):
        total += count[rows.people[i]] * rows.unit[i]
        if rows.marks[i] == PERIOD_ENDS:
            scale[period] = rows.sizes[period] / total if total > 0.0 else 0.0
            period += 1
            total = 0.0


@njit(cache=True, error_model="numpy")
def _rank_measures(rows: RankedRows, count: Bytes, scale: Floats, k: float, out: Floats) -> None:
    """AUC, average precision, precision, recall and number found at k, counted within periods and added up."""
    y, unit, people, marks = rows.y, rows.unit, rows.people, rows.marks
    weighted = unit.size > 0
    concordant = pairs = steps = positives = found = listed = 0.0
    s_pos = s_neg = s_found = s_listed = 0.0  # of the period so far
    t_pos = t_neg = 0.0  # of the run of equal scores
    period = 0
    for i in range(y.size):
        w = np.float64(count[people[i]])
        if weighted:
            w *= unit[i] * scale[period]
        of_need = w * y[i]  # no branch on y: which rows are in need cannot be foreseen
        t_pos += of_need
        t_neg += w - of_need
        if marks[i] == 0:
            continue
        concordant += t_neg * (s_pos + 0.5 * t_pos)
        if s_listed < k:
            equal = t_pos + t_neg
            places = min(equal, k - s_listed)
            if places > 0.0:
                s_found += places * t_pos / equal
                s_listed += places
        s_pos += t_pos
        s_neg += t_neg
        steps += t_pos * s_pos / max(s_pos + s_neg, 1e-300)
        t_pos = t_neg = 0.0
        if marks[i] == PERIOD_ENDS:
            pairs += s_pos * s_neg
            positives += s_pos
            found += s_found
            listed += s_listed
            s_pos = s_neg = s_found = s_listed = 0.0
            period += 1
    out[0] = concordant / pairs if pairs > 0.0 else np.nan
    out[1] = steps / positives if positives > 0.0 else np.nan
    out[2] = found / listed if listed > 0.0 else np.nan
    out[3] = found / positives if positives > 0.0 else np.nan
    out[4] = found


@njit(cache=True, error_model="numpy")
def _bin_gaps(rows: CalibratedRows, count: Bytes, out: Floats) -> None:
    """Weight observed less weight promised, per bin: ``out`` (n_bins,)."""
    for j in range(rows.bin_starts.size - 1):
        gap = 0.0
        for i in range(rows.bin_starts[j], rows.bin_starts[j + 1]):
            gap += count[rows.gap_people[i]] * rows.gaps[i]
        out[j] = gap


@njit(cache=True, error_model="numpy")
def _newton(g_a: float, g_b: float, h_aa: float, h_ab: float, h_bb: float, fixed: bool) -> tuple[float, float]:
    """One Newton step of slope and level, or of the level alone; NaN where the rows do not determine it."""
    if fixed:
        step_a, step_b = 0.0, g_b / h_bb if h_bb > 0.0 else np.nan
    else:
        determinant = h_aa * h_bb - h_ab * h_ab
        if not determinant > 1e-12 * h_aa * h_bb:
            return np.nan, np.nan
        step_a = (h_bb * g_a - h_ab * g_b) / determinant
        step_b = (h_aa * g_b - h_ab * g_a) / determinant
    # A step this long comes from a nearly flat likelihood, where Newton's parabola means little.
    longest = max(abs(step_a), abs(step_b))
    shrink = min(1.0, 1.0 / longest) if longest > 0.0 else 1.0
    return shrink * step_a, shrink * step_b


@njit(cache=True, error_model="numpy")
def _logistic(
    y: Bytes, x: Floats, unit: Floats, people: Ints, count: Bytes, a: float, b: float, fixed: bool, steps: int
) -> tuple[float, float]:
    """Weighted logistic regression of y on x by Newton's method from (a, b); NaN when the rows do not determine it."""
    for _ in range(steps):
        g_a = g_b = h_aa = h_ab = h_bb = 0.0
        for i in range(y.size):
            w = np.float64(count[people[i]])
            if w == 0.0:
                continue
            if unit.size:
                w *= unit[i]
            p = 1.0 / (1.0 + np.exp(-(a * x[i] + b)))
            d = w * (y[i] - p)
            v = w * p * (1.0 - p)
            g_a += d * x[i]
            g_b += d
            h_aa += v * x[i] * x[i]
            h_ab += v * x[i]
            h_bb += v
        step_a, step_b = _newton(g_a, g_b, h_aa, h_ab, h_bb, fixed)
        a += step_a
        b += step_b
        if abs(step_a) < 1e-9 and abs(step_b) < 1e-9:
            return a, b
        if not (abs(a) < 1e3 and abs(b) < 1e3):  # also NaN
            return np.nan, np.nan
    return a, b


@njit(cache=True, error_model="numpy")
def calibration_solution(y: Bytes, logit: Floats, unit: Floats, people: Ints, n_people: int) -> Floats:
    """Slope and level of the logistic fit of all rows, and the intercept at slope 1: float64 (3,)."""
    everybody = np.ones(n_people, dtype=np.uint8)
    slope, level = _logistic(y, logit, unit, people, everybody, 1.0, 0.0, False, 60)
    _, intercept = _logistic(y, logit, unit, people, everybody, 1.0, 0.0, True, 60)
    return np.array([slope, level, intercept])


@njit(cache=True, error_model="numpy")
def newton_terms(y: Bytes, logit: Floats, unit: Floats, people: Ints, n_people: int, solution: Floats) -> Floats:
    """Each person's share of the gradient and Hessian at the solution of all rows, and its weight.

    Columns of the float64 (n_people, 8): gradient by slope and level, Hessian (slope², slope × level, level²), then
    gradient and Hessian by the intercept at slope 1, then the weight.
    """
    terms = np.zeros((n_people, 8))
    for i in range(y.size):
        w = unit[i] if unit.size else 1.0
        x = logit[i]
        p = 1.0 / (1.0 + np.exp(-(solution[0] * x + solution[1])))
        v = w * p * (1.0 - p)
        to = terms[people[i]]
        to[0] += w * (y[i] - p) * x
        to[1] += w * (y[i] - p)
        to[2] += v * x * x
        to[3] += v * x
        to[4] += v
        p = 1.0 / (1.0 + np.exp(-(x + solution[2])))
        to[5] += w * (y[i] - p)
        to[6] += w * p * (1.0 - p)
        to[7] += w
    return terms


@njit(cache=True, error_model="numpy")
def _add_terms(terms: Floats, counts: Bytes, sums: Floats) -> None:
    """Add up the persons' terms as often as each replicate drew them: ``sums`` (replicates, 8)."""
    for start in range(0, terms.shape[0], _TILE):
        stop = min(start + _TILE, terms.shape[0])
        for r in range(counts.shape[0]):
            s0, s1, s2, s3, s4, s5, s6, s7 = sums[r]
            for person in range(start, stop):
                w = np.float64(counts[r, person])
                s0 += w * terms[person, 0]
                s1 += w * terms[person, 1]
                s2 += w * terms[person, 2]
                s3 += w * terms[person, 3]
                s4 += w * terms[person, 4]
                s5 += w * terms[person, 5]
                s6 += w * terms[person, 6]
                s7 += w * terms[person, 7]
            sums[r] = s0, s1, s2, s3, s4, s5, s6, s7


@njit(cache=True, error_model="numpy")
def _calibration(rows: RankedRows, calibrated: CalibratedRows, counts: Bytes, out: Floats) -> None:
    """Slope and intercept of some replicates, and the gaps as shares: ``out`` (replicates, 2 + n_bins) holds sums."""
    slope, level, intercept = calibrated.solution[0], calibrated.solution[1], calibrated.solution[2]
    if calibrated.terms.shape[0] == 0:
        y, unit, people, x = rows.y, rows.unit, rows.people, calibrated.logit
        for r in range(counts.shape[0]):
            total = 0.0
            for i in range(y.size):
                total += counts[r, people[i]] * (unit[i] if unit.size else 1.0)
            out[r, 0] = _logistic(y, x, unit, people, counts[r], slope, level, False, 2)[0]
            out[r, 1] = _logistic(y, x, unit, people, counts[r], 1.0, intercept, True, 2)[1]
            out[r, 2:] /= total if total > 0.0 else np.nan
        return
    sums = np.zeros((counts.shape[0], 8))
    _add_terms(calibrated.terms, counts, sums)
    for r in range(counts.shape[0]):
        s = sums[r]
        out[r, 0] = slope + _newton(s[0], s[1], s[2], s[3], s[4], False)[0]
        out[r, 1] = intercept + _newton(0.0, s[5], 0.0, 0.0, s[6], True)[1]
        out[r, 2:] /= s[7] if s[7] > 0.0 else np.nan


@njit(cache=True, error_model="numpy", parallel=True)
def bootstrap_measures(rows: RankedRows, calibrated: CalibratedRows, k: float, replicates: int, seed: int) -> Floats:
    """Ranking and calibration of the rows and of replicates.

    Returns
    -------
    float64 (1 + replicates, 7 + n_bins)
        AUC, average precision, precision, recall and number found at k, calibration slope and intercept, then each
        bin's gap between observed and promised as a share of all rows; slope and intercept NaN without probabilities.
    """
    n_bins = calibrated.bin_starts.size - 1
    out = np.full((replicates + 1, N_RANKING + N_CALIBRATION + n_bins), np.nan)
    for batch in prange((replicates + _TOGETHER) // _TOGETHER):
        first = batch * _TOGETHER
        counts = np.empty((min(_TOGETHER, replicates + 1 - first), rows.n_people), dtype=np.uint8)
        scale = np.empty(rows.sizes.size)
        for r in range(counts.shape[0]):
            count = counts[r]
            _draw(count, seed, first + r)
            _scales(rows, count, scale)
            _rank_measures(rows, count, scale, k, out[first + r, :N_RANKING])
            if n_bins > 0:
                _bin_gaps(calibrated, count, out[first + r, N_RANKING + N_CALIBRATION :])
        if n_bins > 0:
            _calibration(rows, calibrated, counts, out[first : first + counts.shape[0], N_RANKING:])
    return out


@njit(cache=True, error_model="numpy")
def _found(rows: RankedRows, count: Bytes, scale: float, k: float) -> float:
    """Weighted positives in the first k places of one period, the last run of equal scores taken in proportion."""
    found = listed = t_all = t_pos = 0.0
    for i in range(rows.y.size):
        w = np.float64(count[rows.people[i]])
        if rows.unit.size:
            w *= rows.unit[i] * scale
        t_all += w
        t_pos += w * rows.y[i]
        if rows.marks[i]:
            places = min(t_all, k - listed)
            if places > 0.0:
                found += places * t_pos / t_all
                listed += places
            if listed >= k:
                break
            t_all = t_pos = 0.0
    return found


@njit(cache=True, error_model="numpy", parallel=True)
def bootstrap_found(ours: RankedRows, theirs: RankedRows, k: float, replicates: int, seed: int) -> Floats:
    """Positives in the first k places by two orders of the same rows, one period, the same replicates: (1 + r, 2)."""
    out = np.empty((replicates + 1, 2))
    for replicate in prange(replicates + 1):
        count = np.empty(ours.n_people, dtype=np.uint8)
        scale = np.empty(1)
        _draw(count, seed, replicate)
        _scales(ours, count, scale)
        out[replicate, 0] = _found(ours, count, scale[0], k)
        out[replicate, 1] = _found(theirs, count, scale[0], k)
    return out


@njit(cache=True, error_model="numpy", parallel=True)
def draw_counts(n_people: int, seed: int, first: int, n: int) -> Bytes:
    """How often each person is drawn in replicates ``first`` … ``first + n - 1``: uint8 (n, n_people)."""
    counts = np.empty((n, n_people), dtype=np.uint8)
    for r in prange(n):
        _draw(counts[r], seed, first + r)
    return counts


@njit(cache=True, parallel=True)
def column_aucs(columns: NDArray[np.float32], y: Floats) -> Floats:
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
