"""Mean distance between promised and observed shares, without the distance that chance alone makes.

A bin's observed share misses even a right promise, and absolute gaps do not cancel: the plain sum of absolute gaps lies
above the truth, of a perfect promise most of all. Here each gap loses what its own noise explains, and the interval
holds for whatever sign the true gaps have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.metric_kernels import CalibratedRows, RankedRows, calibration_solution, newton_terms

Floats = NDArray[np.float64]

CALIBRATION_BINS = 10
_LARGEST_LOGIT = 35.0  # a probability nearer to 0 or 1 is not a number one can take the logit of
_FEW_ROWS = 10_000  # up to here one Newton step from everybody's solution would be noticeably off a replicate's own
_NOISE = 0.723
"""Variances taken from a squared gap: with it sgn(G² - aσ²)·√|G² - aσ²| is 0 on average where there is no true gap (G
normal with standard deviation σ), and within 0.3 σ of the absolute gap wherever that is."""
_CLEAR = 3.0  # standard deviations from which the sign of a gap is taken for known


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


def calibrated_rows(rows: RankedRows, p: Floats | None) -> tuple[CalibratedRows, Floats]:
    """What calibration adds up, of probabilities in the order of the ranked rows, and each bin's noise as a share."""
    nothing, nobody = np.empty(0), np.empty(0, dtype=np.int32)
    no_terms = np.empty((0, 8))
    if p is None:
        none = CalibratedRows(nothing, no_terms, nothing, nobody, np.zeros(1, dtype=np.int64), np.full(3, np.nan))
        return none, nothing
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
    calibrated = CalibratedRows(logit, terms, gaps[by_bin], rows.people[by_bin], starts, solution)
    by_chance = p * (1 - p) * (1.0 if unit is None else unit**2)
    total = float(p.size if unit is None else unit.sum())
    return calibrated, _null_errors(by_chance[by_bin], calibrated) / total if total > 0 else np.full(
        starts.size - 1, np.nan
    )


def _null_errors(gap_variance: Floats, calibrated: CalibratedRows) -> Floats:
    """Standard deviation of each bin's summed gap if labels are drawn from the promises: float64 (n_bins,).

    ``gap_variance`` float64 (n,): squared weight × p × (1 - p), sorted by bin as the gaps are.
    """
    starts = calibrated.bin_starts
    sums = np.concatenate([[0.0], np.cumsum(gap_variance)])
    errors: Floats = np.sqrt(np.maximum(sums[starts[1:]] - sums[starts[:-1]], 0.0))
    return errors


def mean_distance(gaps: Floats, errors: Floats, tail: float) -> tuple[float, float, float]:
    """Sum over bins of the absolute true gap, each gap a share of all rows: value, low, high.

    Parameters
    ----------
    gaps : float64 (1 + replicates, n_bins)
        Observed less promised, of the rows and of replicates of persons.
    errors : float64 (n_bins,)
        Least standard deviation of each gap: that of labels drawn from the promises. Where a bin holds few in need, a
        bootstrap knows less noise than there is.
    tail : float
        Probability beyond either end.

    Returns
    -------
    value, low, high : float
        The value sums the bins' gaps less their noise (the square less a part of its variance, and the signed root:
        after Kumar et al. 2019, NeurIPS 32, who correct squares), at least 0. With T the sum of absolute observed gaps
        and e the noise, the truth lies above T - Σ|e| (triangle inequality) and below T - Σ sign × e, so ``low`` and
        ``high`` are these at their quantiles; in ``low``, too, bins whose sign is clear (3 standard deviations) take
        sign × e. ``low`` is 0 as long as noise alone may have made the gaps. NaN ends without replicates.
    """
    seen, drawn = gaps[0], gaps[1:]
    noise = drawn[np.isfinite(drawn).all(axis=1)] - seen
    spread = np.sqrt(np.mean(noise**2, axis=0)) if len(noise) else np.zeros(seen.size)
    sd = np.maximum(spread, errors)
    size, sign = np.abs(seen), np.sign(seen)
    square = seen**2 - _NOISE * sd**2
    value = max(0.0, float(np.sum(np.sign(square) * np.sqrt(np.abs(square)))))
    if not len(noise) or not np.isfinite(value):
        return value, np.nan, np.nan
    told = spread > 1e-3 * sd
    # A bin whose every replicate is the same (nobody in need) has its labels' noise all the same.
    normal = np.random.default_rng(0).normal(size=noise.shape)
    noise = np.where(told, noise / np.where(told, spread, 1.0), normal) * sd
    signed = noise * sign
    most = np.where(size > _CLEAR * sd, signed, np.abs(noise)).sum(axis=1)
    low = max(0.0, float(size.sum() - np.quantile(most, 1 - tail)))
    high = min(1.0, float(size.sum() - np.quantile(signed.sum(axis=1), tail)))
    high = max(low, high)
    return min(max(value, low), high), low, high
