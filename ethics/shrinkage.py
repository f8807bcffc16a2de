"""Partial pooling of crossed groups: each is pulled towards what its groups add up to, the more the less it says.

The model, on the scale 2 (√ratio - 1) of a ratio (recall, observed ÷ expected, need at the same score):

    estimate of a crossing = sum of the effects of its groups + effect of the crossing + error of the estimate

Near 1 that scale is the logarithm's, and on it a count has nearly the same spread whatever it is. The logarithm of a
group in which nobody was found has an enormous spread instead, so that it would weigh nothing, and the worst harm there
can be would take the estimate of its neighbours.

Group effects have a wide prior (a standard deviation of 0.5: ratios from 0.25 to 2.25). Effects of crossings have the
standard deviation tau, which the crossings of a block tell together; its prior is half-normal with scale 0.1, so that
few small crossings, which tell nothing about tau, are neither taken for alike (tau 0) nor for unrelated. tau is
integrated over a grid, not estimated: an estimate of 0 would make every interval too narrow. Given tau all is normal,
so every number here is a finite sum and there is nothing to converge.

Sources: Anscombe 1948, Biometrika 35:246 (the square root of counts); Gelman 2006, Bayesian Analysis 1:515 (priors for
few groups); Ghitza and Gelman 2013, American Journal of Political Science 57:762 (deep interactions by main effects and
a pooled remainder).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ethics.power import ONE_SIDED_95

if TYPE_CHECKING:
    from ethics.cells import Floats

GROUP_SD = 0.5
CROSSING_SD = 0.1
_TAU = np.geomspace(0.004, 1.5, 32)
_MIN_ERROR = 1e-6


class Shrunk(NamedTuple):
    """Per crossing (g,): the posterior median, the bounds that hold with 95 % each, and the probability of harm."""

    value: Floats
    low: Floats
    high: Floats
    p_harm: Floats


def to_scale(ratio: Floats) -> Floats:
    """A ratio on the scale it is pooled on.

    >>> to_scale(np.array([0.0, 1.0])).tolist()
    [-2.0, 0.0]
    """
    scaled: Floats = 2.0 * (np.sqrt(ratio) - 1.0)
    return scaled


def from_scale(scaled: Floats) -> Floats:
    """The ratio back; what lies below the least there can be is 0."""
    ratio: Floats = np.maximum(1.0 + scaled / 2.0, 0.0) ** 2
    return ratio


def shrink(
    centre: Floats, error: Floats, members: Sequence[Sequence[str]], *, threshold: float, harm_below: bool
) -> Shrunk:
    """Shrunk ratios of the crossings of one block.

    Parameters
    ----------
    centre, error : float (g,)
        Mean and standard deviation of each ratio over the replicates, on the scale of :func:`to_scale`.
    members : (g,) of the groups that meet in each crossing, attribute by attribute
    threshold : float
        The ratio beyond which there is harm.
    harm_below : bool
        Whether harm is a ratio below the threshold (recall) or above it (need).

    >>> near, far = 0.02, 0.2
    >>> alone = shrink(to_scale(np.array([0.6, 1, 1, 1])), np.array([far, near, near, near]), ["ac", "ad", "bc", "bd"],
    ...                threshold=0.8, harm_below=True)
    >>> bool(0.6 < alone.value[0] < 1.0 and abs(alone.value[1] - 1.0) < 0.02)
    True
    """
    weight, mean, spread = _given_tau(centre, np.maximum(error, _MIN_ERROR), _design(members))
    from scipy.special import ndtr

    def below(scaled: Floats) -> Floats:
        found: Floats = weight @ ndtr((scaled - mean) / spread)
        return found

    def quantile(share: float) -> Floats:
        low, high = (mean - 6 * spread).min(axis=0), (mean + 6 * spread).max(axis=0)
        for _ in range(40):
            middle = (low + high) / 2
            under = below(middle) < share
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return from_scale((low + high) / 2)

    harm = below(to_scale(np.full(centre.size, threshold)))
    return Shrunk(
        quantile(0.5), quantile(float(ndtr(-ONE_SIDED_95))), quantile(0.95), harm if harm_below else 1.0 - harm
    )


def _design(members: Sequence[Sequence[str]]) -> Floats:
    """Which group effects each crossing has, (g, effects)."""
    effects = sorted({(place, group) for crossing in members for place, group in enumerate(crossing)})
    column = {effect: position for position, effect in enumerate(effects)}
    design = np.zeros((len(members), len(effects)))
    for row, crossing in enumerate(members):
        for place, group in enumerate(crossing):
            design[row, column[place, group]] = 1.0
    return design


def _given_tau(y: Floats, error: Floats, design: Floats) -> tuple[Floats, Floats, Floats]:
    """Posterior weight of each tau (t,), and mean and standard deviation of each crossing under it (t, g)."""
    n_effects = design.shape[1]
    log_weight, means, spreads = [], [], []
    for tau in _TAU:
        variance = error**2 + tau**2
        weighted = design / variance[:, None]
        precision = design.T @ weighted + np.eye(n_effects) / GROUP_SD**2
        factor = np.linalg.inv(np.linalg.cholesky(precision))
        effects = factor.T @ (factor @ (weighted.T @ y))
        own = tau**2 / variance  # how much of a crossing's own estimate is kept
        fitted = design @ effects
        means.append(fitted + own * (y - fitted))
        of_effects = ((design @ factor.T) ** 2).sum(axis=1)
        spreads.append(np.sqrt(own * error**2 + (1 - own) ** 2 * of_effects))
        explained = float(y @ (y / variance) - (weighted.T @ y) @ effects)
        log_determinant = float(np.log(variance).sum() - 2 * np.log(np.diag(factor)).sum())
        log_prior = -0.5 * (tau / CROSSING_SD) ** 2 + np.log(tau)  # times tau: the grid is even in log tau
        log_weight.append(log_prior - 0.5 * (explained + log_determinant))
    weight = np.exp(np.asarray(log_weight) - max(log_weight))
    return weight / weight.sum(), np.stack(means), np.stack(spreads)
