"""What would have been found: other capacities, orders and allocations, on judged people whose outcome is known.

Everything is counted on the rows that a run was judged on, so it says what lists would have found then, not what help
would have changed. Intervals are of persons drawn again; those of one list for the whole service are drawn alike in all
scenarios, so that differences are of the same persons.

The value of one more worker stands beside that of a better order: their quotient is the prediction-access ratio; above
1 the worker finds more. Source: Perdomo 2024, "The relative value of prediction in algorithmic decision making";
Fischer-Abaigar, Kern & Perdomo 2025, "The value of prediction in identifying the worst-off".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.baselines import floats, weight_of
from models.metrics import Estimate, found_bounds, interval, ranking_replicates, widened
from scoring.units import split_capacity

Floats = NDArray[np.float64]
Allocation = Literal["whole", "proportional", "need"]

REPLICATES = 400
MODEL, RULE, CHANCE, PERFECT = "model", "rule", "chance", "perfect"
_FOUND = 4  # column of models.metrics.ranking_replicates
_NOTHING = Estimate(np.nan, np.nan, np.nan)


class Scenario(NamedTuple):
    """Places for one period, by which order they are filled, and how they are shared between units."""

    order: str
    k: int
    allocation: Allocation = "whole"


class Outcome(NamedTuple):
    """What a scenario finds of the people in need, with intervals."""

    scenario: Scenario
    found: Estimate
    missed: Estimate
    share_found: Estimate
    reached: Estimate
    cost_per_found: Estimate
    more_than_now: Estimate


class Worth(NamedTuple):
    """One more worker beside a better order in the places of today."""

    worse: str
    better: str
    one_more_worker: Estimate
    better_order: Estimate
    access_ratio: Estimate
    workers_equal: float


@dataclass(frozen=True, eq=False)
class History:
    """Judged people with their outcomes, whom every scenario lists anew.

    Attributes
    ----------
    rows : polars.DataFrame
        One row per person: ``person_id``, ``tie_key``, ``label`` (null where not known), perhaps ``weight``.
    orders : mapping
        Name → rank score float64 (n,), higher first; "model" among them.
    k, attempts_of_a_worker : int
    contact_success : float
    expected : float64 (n,) or None
        Calibrated probability of need, by which "need" shares places; None where there is none.
    units : polars.Series or None
        Unit of each person, null where none serves them; None where the service has but one.
    capacity : mapping
        Unit → attempts it has, or None.
    attempt_cost : float or None
        Euros.
    seed : int
    """

    rows: pl.DataFrame
    orders: Mapping[str, Floats]
    k: int
    attempts_of_a_worker: int
    contact_success: float
    expected: Floats | None
    units: pl.Series | None
    capacity: Mapping[str, int | None]
    attempt_cost: float | None
    seed: int
    replicates: int = REPLICATES

    @cached_property
    def label(self) -> Floats:
        """1, 0, or NaN where not known."""
        return floats(self.rows["label"])

    @cached_property
    def ties(self) -> Floats:
        """A score below every difference of orders, so that equals stand in their neutral order, (n,) in [0, 1)."""
        rank: Floats = self.rows["tie_key"].rank("ordinal").to_numpy() / (self.rows.height + 1.0)
        return rank

    def score(self, order: str) -> Floats:
        """Rank score of an order in which nobody is equal to another; of "perfect", who is in need comes first."""
        if order == PERFECT:
            raw = np.nan_to_num(self.label, nan=-1.0)
        else:
            raw = np.zeros(self.rows.height) if order == CHANCE else np.asarray(self.orders[order], dtype=np.float64)
        return _places(raw) - (self.ties if order != CHANCE else 0.0)

    def parts(self, scenario: Scenario) -> list[tuple[NDArray[np.int64], int]]:
        """Rows of each unit, and how many of them are listed; people of no unit are listed by none."""
        if scenario.allocation == "whole" or self.units is None:
            return [(np.arange(self.rows.height), min(scenario.k, self.rows.height))]
        names = self.units.to_numpy()
        ids = sorted(set(self.units.drop_nulls()))
        rows = {unit: np.flatnonzero(names == unit) for unit in ids}
        eligible = {unit: rows[unit].size for unit in ids}
        if scenario.allocation == "need" and self.expected is not None:
            # Thousandths of an expected person, for shares are split in whole numbers; room is never above the people.
            weight = {unit: max(1, round(1_000 * float(self.expected[rows[unit]].sum()))) for unit in ids}
            shares = _by_weight(scenario.k, ids, weight, eligible)
        else:
            shares = split_capacity(scenario.k, ids, eligible, self.capacity)
        return [(rows[unit], shares[unit]) for unit in ids]

    def listed(self, scenario: Scenario) -> NDArray[np.bool_]:
        """Whom a scenario lists, ties in their neutral order: bool (n,)."""
        chosen = np.zeros(self.rows.height, dtype=np.bool_)
        score = self.score(scenario.order)
        for rows, k in self.parts(scenario):
            chosen[rows[np.lexsort((self.ties[rows], -score[rows]))[:k]]] = True
        return chosen

    def drawn(self, scenario: Scenario) -> Floats:
        """People in need found, first really and then in each replicate of persons: float64 (1 + replicates,)."""
        total = np.zeros(1 + self.replicates)
        for number, (rows, k) in enumerate(self.parts(scenario)):
            total += self._drawn(scenario.order, rows, k, self.seed + number)
        return total

    def _drawn(self, order: str, rows: NDArray[np.int64], k: int, seed: int) -> Floats:
        if k == 0 or not np.isfinite(self.label[rows]).any():
            return np.zeros(1 + self.replicates)
        weight = weight_of(self.rows)
        drawn = ranking_replicates(
            label=self.label[rows],
            rank_score=self.score(order)[rows],
            person=self.rows["person_id"].to_numpy()[rows],
            k=k,
            seed=seed,
            weight=None if weight is None else weight[rows],
            replicates=self.replicates,
        )
        found: Floats = np.ascontiguousarray(drawn[:, _FOUND])
        return found

    def in_need(self, scenario: Scenario) -> Floats:
        """All people in need, drawn as :meth:`drawn` draws them; also those whom no unit serves."""
        everybody = self.parts(scenario)
        total = np.zeros(1 + self.replicates)
        for number, (rows, _) in enumerate(everybody):
            total += self._drawn(MODEL, rows, rows.size, self.seed + number)
        rest = np.setdiff1d(np.arange(self.rows.height), np.concatenate([rows for rows, _ in everybody]))
        return total + self._drawn(MODEL, rest, rest.size, self.seed + len(everybody))

    @property
    def now(self) -> Scenario:
        """The model in the places of today, one list for the whole service."""
        return Scenario(MODEL, self.k)


def simulate(history: History, scenarios: Sequence[Scenario]) -> list[Outcome]:
    """What each scenario would have found, and how many more than today's list.

    >>> rows = pl.DataFrame({"person_id": list("abcd"), "tie_key": list("1234"), "label": [1.0, 0.0, 1.0, 0.0]})
    >>> history = History(rows, {"model": np.array([4.0, 3, 2, 1])}, 1, 1, 0.5, None, None, {}, 10.0, seed=1)
    >>> one, three = simulate(history, [Scenario("model", 1), Scenario("model", 3)])
    >>> one.found.value, one.missed.value, three.found.value, three.cost_per_found.value
    (1.0, 1.0, 2.0, 15.0)
    """
    now = history.drawn(history.now)
    outcomes = []
    for scenario in scenarios:
        found, need = history.drawn(scenario), history.in_need(scenario)
        cost = np.full(found.size, np.nan)
        if history.attempt_cost is not None:
            listed = sum(k for _, k in history.parts(scenario))
            cost = _quotient(np.full(found.size, listed * history.attempt_cost), found)
        # Units draw their own people, so their difference from one list is of persons drawn apart: wider, if anything.
        more = found - now
        bounded = _bounded(history, scenario, interval(found))
        outcomes.append(
            Outcome(
                scenario=scenario,
                found=bounded,
                missed=interval(np.maximum(need - found, 0.0)),
                share_found=interval(_quotient(found, need)),
                reached=Estimate(*(part * history.contact_success for part in bounded)),
                cost_per_found=interval(cost),
                more_than_now=Estimate(0.0, 0.0, 0.0) if scenario == history.now else interval(more),
            )
        )
    return outcomes


def worth_of_a_worker(history: History, worse: str, better: str) -> Worth:
    """What one more worker would find with an order, beside what a better order finds in the places of today.

    The ratio is not told where the better order does not surely find more: it would be a number over nothing.
    """
    base = history.drawn(Scenario(worse, history.k))
    worker = history.drawn(Scenario(worse, history.k + history.attempts_of_a_worker)) - base
    order = history.drawn(Scenario(better, history.k)) - base
    gained = interval(order)
    ratio = interval(_quotient(worker, order)) if gained.low > 0 else _NOTHING
    equal = order[0] / worker[0] if worker[0] > 0 and order[0] > 0 else np.nan
    return Worth(worse, better, interval(worker), gained, ratio, float(equal))


def _bounded(history: History, scenario: Scenario, found: Estimate) -> Estimate:
    """An interval no narrower than the exact one where few people decide."""
    if scenario.allocation != "whole" and history.units is not None:
        return found
    score = history.score(scenario.order)
    person, weight = history.rows["person_id"].to_numpy(), weight_of(history.rows)
    bounds = found_bounds(label=history.label, ours=score, theirs=score, person=person, k=scenario.k, weight=weight)[0]
    return widened(found, bounds)


def _places(raw: Floats) -> Floats:
    """Equal scores as equal whole numbers, one apart from the next, so that a tie key below 1 changes no order."""
    return np.unique(raw, return_inverse=True)[1].astype(np.float64)


def _quotient(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = np.where(below > 0, above / below, np.nan)
    return quotient


def _by_weight(k: int, ids: Sequence[str], weight: Mapping[str, int], eligible: Mapping[str, int]) -> dict[str, int]:
    """Places in proportion to expected need, none above a unit's people; what is left over goes on alike."""
    shares = dict.fromkeys(ids, 0)
    open_units = [unit for unit in ids if eligible[unit]]
    left = min(k, sum(eligible.values()))
    while left and open_units:
        given = split_capacity(left, open_units, {unit: weight[unit] for unit in open_units}, {})
        for unit, n in given.items():
            shares[unit] = min(eligible[unit], shares[unit] + n)
        left = min(k, sum(eligible.values())) - sum(shares.values())
        open_units = [unit for unit in open_units if shares[unit] < eligible[unit]]
    return shares
