"""What a sample of these sizes could have shown: power is part of the verdict.

A gate that cannot pass a fair model at a city's real sizes is broken, and the reader must be able to see it.

*Smallest gap* (closed form): the alarm needs the log ratio 1.645 standard errors beyond the log threshold, and 80 %
power another 0.842. The standard error of log recall is sqrt((1 - R)(1 - s) / (P R)) for P expected positives, recall
R and the group's share s of all positives; of log observed ÷ expected, sqrt((1 - s) / P).

*Fair worlds* (simulated from a fixed seed): every group has the overall base rate and is ranked alike, so its found,
missed and total need are binomial; the rule that :mod:`ethics.group_checks` applies is applied with normal bounds on
the log scale. Attributes are drawn independently of each other.

*Periods to pool*: the same worlds with two, three … times as many people, until a fair group would be shown fair in
80 of 100. A group that would hold fewer than the testable number of expected positives even in ``POOLED_AT_MOST``
times as many people can never be tested at this city's size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ethics.cells import Bools, Floats

ONE_SIDED_95 = 1.6448536269514722
POWER_80 = 0.8416212335729143
WORLDS = 1000
POOL_WORLDS = 300
POOLS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)
POOLED_AT_MOST = 5
"""Periods (of the length judged) after which a model, its label and its city are no longer the same."""
ENOUGH = 0.80


@dataclass(frozen=True)
class Power:
    """Per group: smallest recall gap (in share points) and O/E this sample would have shown; fair worlds that pass.

    ``pool``: how many times as many people would show a fair group to be fair with 80 % power; NaN beyond 100.
    """

    recall_gap: Floats
    observed_to_expected: Floats
    fair_pass: Floats
    all_pass: float
    pool: Floats


def power(
    attribute: npt.NDArray[np.int64],
    persons: Floats,
    expected: Floats,
    testable: Bools,
    *,
    recall: float,
    cut_share: float,
    min_recall: float,
    max_oe: float,
    with_probability: bool,
    design_effect: Floats,
    seed: int,
) -> Power:
    """Power of groups of these sizes.

    Parameters
    ----------
    attribute : int (g,)
        Which attribute each group belongs to; the groups of one attribute divide the same people.
    persons, expected : float (g,)
        Sizes and expected need.
    recall, cut_share : float
        Overall recall at k*, and k* as a share of everyone.
    design_effect : float (g,)
    """
    n_attributes = int(attribute.max()) + 1
    together = np.bincount(attribute, weights=expected, minlength=n_attributes)[attribute]
    share = np.divide(expected, together, out=np.zeros_like(together), where=together > 0)  # nobody expects any need
    positives = expected / design_effect
    beyond = ONE_SIDED_95 + POWER_80
    ratios = np.linspace(min_recall, 0.001, 400)[:, None]
    reach = ratios * recall
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt((1 - reach) * (1 - share) / (positives * reach))
        shown = np.log(min_recall / ratios) >= beyond * error
        detectable = np.where(shown.any(axis=0), ratios[shown.argmax(axis=0), 0], np.nan)
        oe = max_oe * np.exp(beyond * np.sqrt((1 - share) / positives))

    def fair(times: int, worlds: int) -> Bools:
        size = times / design_effect
        return _fair_passes(
            attribute,
            persons * size,
            expected * size,
            recall,
            cut_share,
            min_recall,
            max_oe,
            with_probability,
            seed,
            worlds,
        )

    passes = fair(1, WORLDS)
    return Power(
        recall_gap=recall * (1 - detectable),
        observed_to_expected=oe if with_probability else np.full(oe.shape, np.nan),
        fair_pass=np.where(testable, passes.mean(axis=0), 0.0),
        all_pass=float(passes[:, testable].all(axis=1).mean()) if testable.any() else 0.0,
        pool=_pools(passes.mean(axis=0), fair),
    )


def _pools(once: Floats, fair: Callable[[int, int], Bools]) -> Floats:
    """The smallest multiple of the people at which each group passes in enough fair worlds."""
    found = np.where(once >= ENOUGH, float(POOLS[0]), np.nan)
    for times in POOLS[1:]:
        if np.isfinite(found).all():
            break
        enough = fair(times, POOL_WORLDS).mean(axis=0) >= ENOUGH
        found = np.where(np.isnan(found) & enough, float(times), found)
    return found


def _fair_passes(
    attribute: npt.NDArray[np.int64],
    persons: Floats,
    positives: Floats,
    recall: float,
    cut_share: float,
    min_recall: float,
    max_oe: float,
    with_probability: bool,
    seed: int,
    worlds: int,
) -> Bools:
    """Whether each group passes in each fair world, (worlds, g)."""
    rng = np.random.default_rng([seed, 2])
    n = np.bincount(attribute, weights=persons)[attribute]
    base = float(positives.sum() / persons.sum())
    above = np.round(persons * cut_share).astype(np.int64)
    below = np.round(persons).astype(np.int64) - above
    rate_above = min(1.0, base * recall / cut_share)
    rate_below = min(1.0, base * (1 - recall) / (1 - cut_share)) if cut_share < 1 else 0.0
    found = rng.binomial(above, rate_above, size=(worlds, persons.size))
    missed = rng.binomial(below, rate_below, size=(worlds, persons.size))

    def everyone(values: Floats) -> Floats:
        sums = np.zeros((values.shape[0], int(attribute.max()) + 1))
        np.add.at(sums.T, attribute, values.T)
        return sums[:, attribute]

    def bounds(estimate: Floats, error: Floats) -> tuple[Floats, Floats]:
        return estimate - ONE_SIDED_95 * error, estimate + ONE_SIDED_95 * error

    with np.errstate(divide="ignore", invalid="ignore"):  # a world without any need passes nothing
        outside = np.sqrt(np.clip(1 - persons / n, 0.0, 1.0))
        need = found + missed
        low, high = bounds(
            np.log(((found + 0.5) / (need + 1)) / (everyone(found) / everyone(need))),
            outside * np.sqrt((missed + 0.5) / ((need + 1) * (found + 0.5))),
        )
        alarm, passed = high < np.log(min_recall), low >= np.log(min_recall)
        if with_probability:
            calibrated = np.ones(passed.shape, dtype=bool)
            for observed, size in ((need, above + below), (missed, below)):
                ratio = np.log(
                    (observed + 0.5) / size / (everyone(observed) / everyone(np.broadcast_to(size, observed.shape)))
                )
                low, high = bounds(ratio, outside / np.sqrt(observed + 0.5))
                alarm |= low > np.log(max_oe)
                calibrated &= high <= np.log(max_oe)
            passed |= calibrated
        decided: Bools = passed & ~alarm
        return decided
