"""Where an interval ends: one-sided bounds of 95 % each, as the gate's statistics have them."""

from __future__ import annotations

import numpy as np

SIDE = 0.05
"""Chance that a bound is missed on its side."""


def ends(drawn: np.ndarray) -> tuple[float, float]:
    """The 5 % and 95 % points of replicates."""
    low, high = np.quantile(drawn, [SIDE, 1 - SIDE])
    return float(low), float(high)


def median_ends(values: np.ndarray) -> tuple[float, float]:
    """Bounds of a median by order statistics, exact whatever the distribution.

    Source: Conover 1999, Practical Nonparametric Statistics, §3.2.

    >>> median_ends(np.arange(1.0, 21.0))
    (6.0, 15.0)
    """
    from scipy.stats import binom

    n = len(values)
    # The value at place j (from 1) lies above the median when fewer than j values lie below it.
    place = max(1, int(binom.ppf(SIDE, n, 0.5)))
    ordered = np.sort(values)
    return float(ordered[place - 1]), float(ordered[n - place])
