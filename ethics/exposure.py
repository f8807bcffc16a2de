"""Where in the list a group's people stand (M10), for units that work from the top and stop when time is up.

*Mean rank*: of the group's people above k, as a share of k; 0.5 when they are spread evenly. *Exposure ratio*: the
mean of 1 / log2(1 + rank), the discount of nDCG, over the group's people above k ÷ the same of everyone above k; below
1 the group stands lower in the list than the others who are on it (Singh and Joachims 2018, KDD, 2219).

Both describe the order *inside* the list; who is on it at all is recall's business. Bounds take the group's people as
drawn from their bins, corrected for the share of the list that the group makes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ethics.group_calibration import WithBounds
from ethics.power import ONE_SIDED_95

if TYPE_CHECKING:
    from ethics.cells import Floats


def exposure(ranks: Floats, design_effect: Floats) -> dict[str, WithBounds]:
    """Mean rank and exposure ratio of each group.

    Parameters
    ----------
    ranks : float (g, b, 3)
        Persons above k, their summed ranks and their summed discounts, by group and bin.
    design_effect : float (g,)
    """
    by_bin = ranks.sum(axis=0)
    last = np.cumsum(by_bin[:, 0])
    k = float(last[-1])
    rank = np.arange(1, round(k) + 1, dtype=np.float64)
    found = {}
    for place, (name, values) in enumerate(
        (("mean_rank", (rank - 0.5) / k), ("exposure_ratio", 1 / np.log2(1 + rank))), start=1
    ):
        n, sums = ranks[:, :, 0], ranks[:, :, place]
        if name == "mean_rank":
            sums = (sums - 0.5 * n) / k
        size = n.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums.sum(axis=1) / size
            inside = _variance_by_bin(values, by_bin[:, 0])
            between = np.where(n > 0, (sums / n - mean[:, None]) ** 2, 0.0)
            variance = (n * (inside + between)).sum(axis=1) / size**2 * np.maximum(1 - size / k, 0.0) * design_effect
            scale = values.mean() if name == "exposure_ratio" else 1.0
            half = ONE_SIDED_95 * np.sqrt(variance) / scale
        found[name] = WithBounds(mean / scale, np.maximum(mean / scale - half, 0.0), mean / scale + half)
    return found


def _variance_by_bin(values: Floats, persons: Floats) -> Floats:
    """The variance of a function of the rank within each bin."""
    bins = np.repeat(np.arange(persons.size), np.round(persons).astype(np.int64))
    size = np.maximum(persons, 1)
    mean = np.bincount(bins, weights=values, minlength=persons.size) / size
    square = np.bincount(bins, weights=values**2, minlength=persons.size) / size
    variance: Floats = np.maximum(square - mean**2, 0.0)
    return variance
