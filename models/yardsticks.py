"""The same yardsticks for every order of the same people: who is found by the label and by each sign of need.

Variants of a model may have learnt another label, so that their own figures do not compare. Here all of them are
measured on one set of judged people, by the run's own label and indicators, in the same numbers of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.cells import INDICATOR
from ethics.fairness import AT_AUDIT, AT_K, Cuts
from models.baselines import floats, weight_of
from models.metrics import Estimate, found_difference

if TYPE_CHECKING:
    from ethics.fairness import Estimate as GroupEstimate
    from ethics.groups import GroupRegister
    from ethics.policy import Policy

LABEL = "label"
_RANKING = ("rank_score", "tie_key", "probability", "label")


@dataclass(frozen=True, eq=False)
class Yardsticks:
    """The judged people of a run, whom every variant puts into an order of its own.

    Attributes
    ----------
    rows : polars.DataFrame
        As :meth:`ethics.GroupRegister.measure` takes them, ranked as the run ranks them.
    cuts : Cuts
        Places: the capacity, and the run's audit cut.
    seed, replicates : int
    """

    rows: pl.DataFrame
    cuts: Cuts
    seed: int
    replicates: int

    @cached_property
    def outcomes(self) -> dict[str, NDArray[np.float64]]:
        """``label`` and each indicator's name → 1, 0 or NaN where the run's label is not known: float64 (n,)."""
        label = floats(self.rows["label"])
        found = {LABEL: label}
        for column in self.rows.columns:
            if column.startswith(INDICATOR):
                sign = self.rows[column].fill_null(False).cast(pl.Float64).to_numpy()
                found[column.removeprefix(INDICATOR)] = np.where(np.isfinite(label), sign, np.nan)
        return found

    def found(self, order: pl.DataFrame) -> list[dict[str, Any]]:
        """People found in the same places by another order, and how many more than by the run's.

        Parameters
        ----------
        order : polars.DataFrame
            ``person_id`` and ``rank_score`` of the same people.

        Returns
        -------
        list of dict
            ``outcome``, ``cut`` ("k" or "k_audit"), ``places``, ``value``, ``low``, ``high``, and of the paired
            difference ``more``, ``more_low``, ``more_high``; intervals of 95 %, by persons drawn again, null where
            the rows do not determine them.
        """
        theirs = floats(self.rows["rank_score"])
        ours = floats(self._in_order_of_rows(order)["rank_score"])
        table = []
        for outcome, label in self.outcomes.items():
            for cut, places in ((AT_K, self.cuts.k), (AT_AUDIT, self.cuts.k_audit)):
                found, _, more = found_difference(
                    label=label,
                    ours=ours,
                    theirs=theirs,
                    person=self.rows["person_id"].to_numpy(),
                    k=places,
                    seed=self.seed,
                    weight=weight_of(self.rows),
                    replicates=self.replicates,
                )
                table.append({"outcome": outcome, "cut": cut, "places": places, **_numbers(found, more)})
        return table

    def in_groups(self, order: pl.DataFrame, groups: GroupRegister, group: str, policy: Policy) -> list[dict[str, Any]]:
        """What one group's people get of it at the audit cut, by each outcome.

        Parameters
        ----------
        order : polars.DataFrame
            ``person_id``, ``rank_score`` and ``tie_key`` of the same people.
        groups : GroupRegister
            With one attribute alone (:meth:`ethics.GroupRegister.only`).
        group : str

        Returns
        -------
        list of dict
            ``outcome``; ``found`` people of the group (null where fewer were, or were missed, than may be told) among
            its ``in_need`` with a known outcome; ``recall_ratio`` against everyone's, ``missed`` residents, and of an
            indicator ``need_at_score``, how much more of it the group has than others at the same places of the order
            (1: as much), each with ``_low`` and ``_high`` (bounds of 95 % each, as the gate takes them); ``alarm``:
            whether that is more than the policy allows. Null where the group is too small to be tested.
        """
        (attribute,) = groups.attributes
        ranked = self._in_order_of_rows(order)
        table, need_at_score = [], None
        for outcome, label in self.outcomes.items():
            signs: list[str] = [] if need_at_score is None else [f"^{INDICATOR}.*$"]
            rows = self.rows.select(pl.exclude(*_RANKING, *signs)).with_columns(
                ranked["rank_score"],
                ranked["tie_key"],
                pl.lit(None, dtype=pl.Float64).alias("probability"),
                pl.Series("label", label).fill_nan(None),
            )
            fairness = groups.measure(rows, self.cuts, policy, seed=self.seed)
            need_at_score = need_at_score or partial(fairness.get, attribute, group)
            sizes = fairness.groups.filter(group=group)
            testable = sizes.height == 1 and bool(sizes["testable"][0])
            recall = fairness.get(attribute, group, "recall", AT_AUDIT)
            enough = testable and min(recall.people, recall.n - recall.people) >= policy.min_persons_public
            at_score = need_at_score(f"need_at_score:{outcome}", AT_AUDIT)
            at_score_testable = at_score.n >= policy.fairness.min_expected
            table.append(
                {
                    "outcome": outcome,
                    "found": recall.people if enough else None,
                    "in_need": recall.n if testable else None,
                    **_bounded("recall_ratio", fairness.get(attribute, group, "recall_ratio", AT_AUDIT), testable),
                    **_bounded("missed", fairness.get(attribute, group, "missed_residents", AT_AUDIT), testable),
                    **_bounded("need_at_score", at_score, at_score_testable),
                    "alarm": bool(at_score.p_harm >= policy.fairness.alarm) if at_score_testable else None,
                }
            )
        return table

    def _in_order_of_rows(self, order: pl.DataFrame) -> pl.DataFrame:
        wanted = [name for name in ("person_id", "rank_score", "tie_key") if name in order.columns]
        return self.rows.select("person_id").join(
            order.select(wanted), on="person_id", how="left", maintain_order="left", validate="1:1"
        )


def _bounded(name: str, estimate: GroupEstimate, shown: bool) -> dict[str, float | None]:
    numbers = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {part: float(value) if shown and np.isfinite(value) else None for part, value in numbers.items()}


def _numbers(found: Estimate, more: Estimate) -> dict[str, float | None]:
    numbers = {"value": found.value, "low": found.low, "high": found.high}
    numbers |= {"more": more.value, "more_low": more.low, "more_high": more.high}
    return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
