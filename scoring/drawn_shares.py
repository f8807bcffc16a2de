"""Shares and differences among people who were drawn with known probabilities, with intervals by person.

A person who comes several times is one draw of information: sums are taken by person before they are squared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z = 1.959963984540054


class Interval(NamedTuple):
    """An estimate with its 95 % interval; NaN where nothing is known."""

    value: float
    low: float
    high: float


class Effect(NamedTuple):
    """What being given a place changed: the share in need among those drawn, among the others, and the difference.

    ``p_value`` is that of redrawing the lots: how often so large a difference comes by chance alone.
    """

    placed: Interval
    others: Interval
    difference: Interval
    p_value: float
    n_placed: int
    n_others: int


NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def drawn_share(found: Floats, person: NDArray[np.int64], probability: Floats | None = None) -> Interval:
    """A share among people who were drawn, for those they were drawn from.

    Each row weighs 1 / probability. The interval is Clopper and Pearson's with the number of rows that would tell as
    much (Korn & Graubard 1998, Surv Methodol 24: 193-201); what was drawn with certainty adds no uncertainty.

    Parameters
    ----------
    found : float64 (n,)
        1 or 0.
    person : int64 (n,)
        Whose row it is.
    probability : float64 (n,), optional
        Of being drawn, in (0, 1]. None: these are rows of a process that goes on, not of a finite population.

    >>> [round(x, 3) for x in drawn_share(np.array([1.0, 0, 0, 0]), np.arange(4))]
    [0.25, 0.006, 0.806]
    >>> [round(x, 3) for x in drawn_share(np.array([1.0, 0.0]), np.arange(2), np.ones(2))]
    [0.5, 0.5, 0.5]
    """
    value, n = _share_and_size(found, person, probability)
    if np.isnan(value) or np.isinf(n):
        return Interval(value, value, value)
    return Interval(value, *_clopper_pearson(value * n, n))


def effect_of_lot(
    found: Floats,
    placed: NDArray[np.bool_],
    probability: Floats,
    person: NDArray[np.int64],
    block: NDArray[np.int64],
    *,
    seed: int = 0,
    draws: int = 2000,
) -> Effect:
    """What being drawn changed, among people of whom some were drawn by lot.

    Rows weigh 1 / the probability of what the lot gave them. The interval of the difference is Newcombe's, of Wilson
    intervals with the number of rows that would tell as much; draws without replacement make it if anything too wide.

    Parameters
    ----------
    found : float64 (n,)
        What followed: 1 or 0, of both alike known by other ways than the contact.
    placed : bool (n,)
    probability : float64 (n,)
        Of being placed, between 0 and 1; other rows were not drawn and are left out.
    person, block : int64 (n,)
        Whose row it is, and within whom the lot was drawn (a unit of a list).
    seed, draws : int
        Of redrawing the lots.

    Source: Newcombe 1998, Stat Med 17: 873-890; Imbens & Rubin 2015, Causal Inference, ch. 5-6.
    """
    open_to_lot = (probability > 0) & (probability < 1)
    found, placed, probability = found[open_to_lot], placed[open_to_lot], probability[open_to_lot]
    person, block = person[open_to_lot], block[open_to_lot]
    if not placed.any() or placed.all():
        return Effect(NOTHING, NOTHING, NOTHING, float("nan"), int(placed.sum()), int((~placed).sum()))
    arms = []
    for here, chance in ((placed, probability), (~placed, 1 - probability)):
        value, n = _share_and_size(found[here], person[here], chance[here], is_finite=False)
        arms.append(Interval(value, *_wilson(value, n)))
    one, other = arms
    difference = one.value - other.value
    low = difference - float(np.hypot(one.value - one.low, other.high - other.value))
    high = difference + float(np.hypot(one.high - one.value, other.value - other.low))
    p_value = _redrawn(found, placed, probability, block, abs(difference), np.random.default_rng(seed), draws)
    between = Interval(difference, low, high)
    return Effect(one, other, between, p_value, int(placed.sum()), int((~placed).sum()))


def _share_and_size(
    found: Floats, person: NDArray[np.int64], probability: Floats | None, *, is_finite: bool = True
) -> tuple[float, float]:
    """The weighted share, and how many equally weighted rows of as many persons would tell as much; inf: exact."""
    if not found.size:
        return float("nan"), 0.0
    weight = np.ones(found.size) if probability is None else 1 / probability
    unseen = np.ones(found.size) if probability is None or not is_finite else 1 - probability
    total = float(weight.sum())
    value = float(weight @ found) / total
    if not unseen.any():
        return value, float("inf")
    # A weighted mean's variance when rows are drawn one by one, by persons (Särndal et al. 1992, §5.7).
    _, who = np.unique(person, return_inverse=True)
    sums = np.bincount(who, np.sqrt(unseen) * weight * (found - value))
    variance = float(np.square(sums).sum()) / total**2
    if variance > 0 and sums.size > 1:
        return value, value * (1 - value) / variance  # n itself where nobody comes twice and all weigh alike
    # Everybody alike: nothing varies, and persons count, weighted (Kish 1965, §11.7).
    by_person = np.bincount(who, weight)
    return value, total**2 / float(np.square(by_person).sum()) / float(unseen.mean())


def _clopper_pearson(found: float, n: float) -> tuple[float, float]:
    from scipy.stats import beta

    low = float(beta.ppf(0.025, found, n - found + 1)) if found > 1e-9 else 0.0
    high = float(beta.ppf(0.975, found + 1, n - found)) if n - found > 1e-9 else 1.0
    return low, high


def _wilson(value: float, n: float) -> tuple[float, float]:
    centre = (value + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * float(np.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _redrawn(
    found: Floats,
    placed: NDArray[np.bool_],
    probability: Floats,
    block: NDArray[np.int64],
    seen: float,
    generator: np.random.Generator,
    draws: int,
) -> float:
    """How often the lots, drawn again within their blocks, differ at least as much: (1 + such draws) / (1 + draws)."""
    order = np.argsort(block, kind="stable")
    found, placed, probability, block = found[order], placed[order], probability[order], block[order]
    as_large = 0
    for _ in range(draws):
        shuffled = np.lexsort((generator.random(found.size), block))  # within each block
        again = placed[shuffled]
        one, other = again / probability, ~again / (1 - probability)
        difference = (one @ found) / one.sum() - (other @ found) / other.sum()
        as_large += abs(difference) >= seen - 1e-12
    return (1 + as_large) / (1 + draws)
