"""What a model must beat at the same capacity: chance, and what the unit does today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.metrics import REPLICATES, Estimate, found_difference

CHANCE = "chance"
UNIT_RULE = "unit_rule"


@dataclass(frozen=True)
class Duel:
    """Two orders with the same number of places: people in need found by each, and the difference.

    Attributes
    ----------
    rival : str
        ``chance``, ``unit_rule``, or the name given to another order.
    cut : int
        Places.
    ours, theirs, difference : Estimate
        In people; the difference is ours less theirs on the same replicates, positive when the model finds more.
    """

    rival: str
    cut: int
    ours: Estimate
    theirs: Estimate
    difference: Estimate


def run_baselines(
    *,
    label: np.ndarray,
    ours: np.ndarray,
    rivals: Mapping[str, np.ndarray],
    person: np.ndarray,
    cuts: tuple[int, ...],
    seed: int,
    replicates: int = REPLICATES,
) -> list[Duel]:
    """Let a model duel with chance and with other orders of the same people.

    Parameters
    ----------
    label : float (n,)
        1, 0, or NaN, which is left out.
    ours : float (n,)
        The model's rank score, higher first.
    rivals : mapping
        Name → rank score (n,), e.g. ``unit_rule`` by :func:`models.rule.rule_order`. Chance is always there; it is
        computed, not drawn: so many places times the share in need.
    person : (n,)
        Whose row it is; replicates draw persons.
    cuts : tuple of int
        Numbers of places, e.g. the capacity and the audit cut.

    Returns
    -------
    list of Duel
        Per cut: chance, then the rivals in their order.
    """
    orders: dict[str, np.ndarray | None] = {CHANCE: None, **rivals}
    return [
        Duel(
            name,
            cut,
            *found_difference(
                label=label, ours=ours, theirs=theirs, person=person, k=cut, seed=seed, replicates=replicates
            ),
        )
        for cut in cuts
        for name, theirs in orders.items()
    ]
