"""Bounds for what few people decide: where three of three are found, every replicate agrees, and nothing is certain.

A bootstrap cannot draw what the sample does not hold. Where fewer than :data:`FEW` of those who make a share are of
either kind, intervals are therefore at least as wide as the exact ones of a share among so many people (Clopper &
Pearson 1934, Biometrika 26: 404-413). How many people that is follows Kish 1965 (Survey Sampling): (Σm)² / Σm², m being
the places (and weight) each person takes. Somebody listed at three dates counts once, and equals who share the last
places count as the many they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from models.metric_kernels import PERIOD_ENDS, RankedRows

Floats = NDArray[np.float64]
Bounds = tuple[float, float]

FEW = 10
"""From so many of either kind a bootstrap's percentiles are trusted alone."""


class Runs:
    """Runs of equal scores of ranked rows, in rank order within each period.

    Attributes
    ----------
    start : int64 (runs + 1,)
        First row of each run; at the end, the number of rows.
    mass, before : float64 (runs,)
        Weight of a run, and of its period's runs above it.
    weight_in_need, people_in_need : float
        Of all rows in need, and how many people they tell as much as.
    """

    def __init__(self, rows: RankedRows) -> None:
        self.rows = rows
        self.unit = rows.unit if rows.unit.size else np.ones(rows.y.size)
        ends = np.flatnonzero(rows.marks) + 1
        self.start = np.concatenate([[0], ends]).astype(np.int64)
        self.mass = np.add.reduceat(self.unit, self.start[:-1]) if ends.size else np.empty(0)
        upto = np.cumsum(self.mass)
        last = np.flatnonzero(rows.marks[ends - 1] == PERIOD_ENDS)
        runs_per_period = np.diff(np.concatenate([[-1], last]))
        period_start = np.concatenate([[0.0], upto[last[:-1]]]) if last.size else np.empty(0)
        self.before = upto - self.mass - np.repeat(period_start, runs_per_period)
        in_need = np.flatnonzero(rows.y)
        self.weight_in_need = float(self.unit[in_need].sum())
        self.people_in_need = kish(self.unit[in_need], rows.people[in_need])

    def listed(self, k: float) -> tuple[NDArray[np.int64], Floats]:
        """Rows with a place among the first k of their period, and the places (weight) each takes."""
        share = np.clip((k - self.before) / self.mass, 0.0, 1.0)
        some = np.flatnonzero(share > 0)
        lengths = self.start[some + 1] - self.start[some]
        first = np.repeat(self.start[some] - np.cumsum(lengths) + lengths, lengths)
        positions = (first + np.arange(lengths.sum())).astype(np.int64)
        return positions, np.repeat(share[some], lengths) * self.unit[positions]


def exact_share(found: float, n: float, tail: float) -> Bounds:
    """Clopper and Pearson's bounds of a share of ``found`` in ``n``, either of which may be fractional."""
    low = float(betaincinv(found, n - found + 1, tail)) if found > 1e-9 else 0.0
    high = float(betaincinv(found + 1, n - found, 1 - tail)) if n - found > 1e-9 else 1.0
    return low, high


def few_bounds(found: float, n: float, tail: float) -> Bounds | None:
    """:func:`exact_share` where fewer than :data:`FEW` were found, or not found; None otherwise."""
    found = min(max(found, 0.0), n)
    return exact_share(found, n, tail) if min(found, n - found) < FEW else None


def kish(mass: Floats, people: NDArray[np.int32]) -> float:
    """People who would tell as much if each had the same mass; 0 for nobody."""
    if not mass.size:
        return 0.0
    if 8 * people.size < people.max():  # few of many: sorting them is quicker than counting everybody
        people = np.unique(people, return_inverse=True)[1].astype(np.int32)
    each = np.bincount(people, weights=mass)
    return float(each.sum() ** 2 / np.sum(each**2)) if each.any() else 0.0


def share_bounds(mass: Floats, y: NDArray[np.float64], people: NDArray[np.int32], tail: float) -> Bounds | None:
    """Exact bounds of the share of ``mass`` where ``y``; None where there are enough of either kind, or nobody."""
    n = kish(mass, people)
    if n <= 0:
        return None
    return few_bounds(n * float(mass @ y) / float(mass.sum()), n, tail)


def bounds_at_cut(runs: Runs, k: float, tail: float) -> tuple[Bounds | None, Bounds | None]:
    """Exact bounds of precision and of recall at k places per period; None where a bootstrap will do.

    Precision is a share of those listed, recall a share of those in need. No bounds of recall where everybody is
    listed: then it is 1 and nothing is uncertain.
    """
    rows = runs.rows
    positions, mass = runs.listed(k)
    y = rows.y.astype(np.float64)
    precision = share_bounds(mass, y[positions], rows.people[positions], tail)
    if mass.sum() >= runs.unit.sum() * (1 - 1e-12):
        return precision, None
    n = runs.people_in_need
    if n <= 0:
        return precision, None
    return precision, few_bounds(n * float(mass @ y[positions]) / runs.weight_in_need, n, tail)


def difference_bounds(gained: Floats, y: NDArray[np.float64], people: NDArray[np.int32], tail: float) -> Bounds | None:
    """Bounds of the difference in people found by two lists, from the places in which they differ.

    Parameters
    ----------
    gained : float64 (n,)
        Places a row has on our list less those it has on theirs.
    y, people : (n,)

    Returns
    -------
    tuple of float, or None
        None where a bootstrap will do: enough of either kind among the places of both sides, or no difference. The two
        sides' exact bounds are joined by the method of variance estimates recovery (Zou & Donner 2008, Stat Med 27:
        1693-1702).
    """
    sides, few = [], False
    for mass in (np.maximum(gained, 0.0), np.maximum(-gained, 0.0)):
        some = mass > 1e-9
        total, found = float(mass[some].sum()), float(mass[some] @ y[some])
        n = kish(mass[some], people[some])
        if n <= 0:
            sides.append((0.0, 0.0, 0.0))
            continue
        at = n * min(1.0, found / total)
        few |= min(at, n - at) < FEW
        low, high = exact_share(at, n, tail)
        sides.append((found, low * total, high * total))
    if not few:
        return None
    (ours, ours_low, ours_high), (theirs, theirs_low, theirs_high) = sides
    value = ours - theirs
    return value - np.hypot(ours - ours_low, theirs_high - theirs), value + np.hypot(
        ours_high - ours, theirs - theirs_low
    )
