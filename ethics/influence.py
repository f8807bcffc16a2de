"""Intervals without replicates: what each person adds to an estimate, squared and summed by household.

The sum of squared influences is the first-order (infinitesimal-jackknife) form of a bootstrap that draws persons, or
whole households, anew; it needs no random numbers, and is the same with any number of threads.
Sources: Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, ch. 6; for the area under the curve
DeLong et al. 1988, Biometrics 44:837, and with clusters Obuchowski 1997, Biometrics 53:567.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[Any]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

Z95 = 1.6448536269514722
"""One-sided 95 %: the bounds are the 5 %–95 % interval, as everywhere in the gate."""


class Bounds(NamedTuple):
    """An estimate with its one-sided 95 % bounds; all NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float


NOTHING = Bounds(np.nan, np.nan, np.nan)


def standard_error(influence: Floats, clusters: Ints) -> float:
    """Square root of the summed squares of influences, added up within clusters first.

    Parameters
    ----------
    influence : float (n,)
        Of each person on the estimate.
    clusters : int (n,)
        Household of each person, 0 … c-1; who lives alone is a cluster.

    >>> standard_error(np.array([3.0, 4.0]), np.array([0, 1])), standard_error(np.array([3.0, 4.0]), np.array([0, 0]))
    (5.0, 7.0)
    """
    return float(np.sqrt((np.bincount(clusters, weights=influence) ** 2).sum()))


def around(value: float, influence: Floats, clusters: Ints, lowest: float = 0.0, highest: float = 1.0) -> Bounds:
    """An estimate with normal bounds, kept within the numbers it can take."""
    half = Z95 * standard_error(influence, clusters)
    return Bounds(value, max(lowest, value - half), min(highest, value + half))


def around_ratio(value: float, influence_of_log: Floats, clusters: Ints) -> Bounds:
    """A ratio with bounds that are normal for its logarithm."""
    half = Z95 * standard_error(influence_of_log, clusters)
    return Bounds(value, value * np.exp(-half), value * np.exp(half))


def stratified_auc(
    score: Floats, member: Bools, clusters: Ints, strata: Ints | None = None, weight: Floats | None = None
) -> Bounds:
    """How often a member stands above somebody else of the same stratum (ties count half), pooled over strata.

    Strata count by members × others ÷ everybody, which is the weight with the least variance when there is nothing to
    find. A stratum without either has no pairs and counts for nothing.

    Parameters
    ----------
    score : float (n,)
    member : bool (n,)
    clusters : int (n,)
    strata : int (n,), optional
    weight : float (n,), optional
        How many persons each stands for.

    >>> stratified_auc(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]), np.arange(4)).value
    0.75
    """
    w = np.ones(score.size) if weight is None else weight
    code = np.zeros(score.size, dtype=np.int64) if strata is None else strata
    influence, areas, pairs = np.zeros(score.size), [], []
    for stratum in np.unique(code):
        rows = np.flatnonzero(code == stratum)
        ours, theirs = w[rows] * member[rows], w[rows] * ~member[rows]
        n_ours, n_theirs = ours.sum(), theirs.sum()
        if not n_ours or not n_theirs:
            continue
        below_ours, below_theirs = _share_below(score[rows], np.stack([ours, theirs]))
        area = float((ours * below_theirs).sum() / n_ours)
        areas.append(area)
        pairs.append(n_ours * n_theirs / (n_ours + n_theirs))
        parts = ours * (below_theirs - area) / n_ours + theirs * (1 - below_ours - area) / n_theirs
        influence[rows] = parts * pairs[-1]
    if not pairs:
        return NOTHING
    total = float(np.sum(pairs))
    return around(float(np.dot(areas, pairs)) / total, influence / total, clusters)


def _share_below(score: Floats, weights: Floats) -> Floats:
    """For each row, the share of each weighting that stands below it, its equals counting half: (m, n)."""
    _, level = np.unique(score, return_inverse=True)
    shares = []
    for weight in weights:
        at = np.bincount(level, weights=weight)
        shares.append(((np.cumsum(at) - at / 2) / at.sum())[level])
    return np.stack(shares)


def apart(area: Bounds) -> Bounds:
    """How far from 0.5 an area tells two sides apart, whichever of them stands above: 0.5 to 1.

    >>> apart(Bounds(0.3, 0.25, 0.35))
    Bounds(value=0.7, low=0.65, high=0.75)
    """
    if not area.value < 0.5:
        return Bounds(area.value, max(0.5, area.low), area.high)
    return Bounds(1 - area.value, max(0.5, 1 - area.high), 1 - area.low)
