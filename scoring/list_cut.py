"""Cutting a screened ranking at the units' places: carried over first, then by rank, the last places perhaps by lot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import floor
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.need_parts import places_by_lot
from scoring.below_the_line import chance, first_by_lot
from scoring.hygiene import CHURN
from scoring.units import split_capacity

Ints = NDArray[np.int64]
LotsOf = Callable[[Sequence[str]], list[str]]
"""Person ids → lots for one purpose; see :func:`scoring.below_the_line.lots`."""


class Rules(NamedTuple):
    """How a list is cut.

    Attributes
    ----------
    margin : float
        Share of the places that is given by lot around the cut.
    churn_cap : float
        Share of a unit's places that may go to people who were not on the list before.
    last : collection of str or None
        Who was on it; None: there was none, and everybody may be new.
    """

    margin: float = 0.0
    churn_cap: float = 1.0
    last: Collection[str] | None = None


def cut(people: pl.DataFrame, shares: Mapping[str, int], rules: Rules, lots_of: LotsOf) -> pl.DataFrame:
    """Who is listed, and who is not because of the churn cap.

    Parameters
    ----------
    people : polars.DataFrame
        From :func:`scoring.hygiene.screened`.
    shares : mapping
        Unit → people it may list.

    Returns
    -------
    polars.DataFrame
        The same rows with ``reason`` completed, ``kind`` (null: not listed, unless ``is_held_out``), ``is_held_out``
        (the lot at the cut left the person below the line) and ``chance`` (text; empty where no lot decided).
    """
    ids = people["person_id"].to_list()
    kind: list[str | None] = [None] * len(ids)
    drawn = [""] * len(ids)
    held_out = np.zeros(len(ids), dtype=np.bool_)
    capped = np.zeros(len(ids), dtype=np.bool_)
    carried = people["is_carried"].to_numpy()
    is_old = np.ones(len(ids), dtype=np.bool_)
    if rules.last is not None and rules.churn_cap < 1:
        is_old = people["person_id"].is_in(list(rules.last)).to_numpy() | carried
    n_by_lot = split_capacity(places_by_lot(rules.margin, sum(shares.values())), sorted(shares), dict(shares), {})
    free = people.with_columns(at=pl.int_range(pl.len())).filter(pl.col("reason").is_null())
    for unit, rows in free.group_by("unit_id", maintain_order=True).agg("at").iter_rows():
        at = np.array(rows, dtype=np.int64)
        k = shares.get(unit, 0)
        first = at[carried[at]][:k]
        for row in first:
            kind[row] = "carried"
        rest = np.setdiff1d(at, first)  # both ascend: rank order stays
        allowed = _within_churn(rest, is_old, floor(rules.churn_cap * k + 1e-9))
        places = k - first.size
        zone_from = places - min(n_by_lot[unit], places)
        zone = allowed[zone_from : places + (places - zone_from)]
        n_lot = min(places - zone_from, zone.size)
        for row in allowed[: min(zone_from, allowed.size)]:
            kind[row] = "ranked"
        _draw(zone, n_lot, ids, lots_of, kind, drawn, held_out)
        capped[_passed_over(rest, allowed, places, zone)] = True
    reason = pl.when(pl.Series(capped, dtype=pl.Boolean)).then(pl.lit(CHURN)).otherwise(pl.col("reason"))
    return people.with_columns(
        reason=reason,
        kind=pl.Series(kind, dtype=pl.String),
        is_held_out=pl.Series(held_out, dtype=pl.Boolean),
        chance=pl.Series(drawn, dtype=pl.String),
    )


def _draw(
    zone: Ints,
    n: int,
    ids: Sequence[str],
    lots_of: LotsOf,
    kind: list[str | None],
    drawn: list[str],
    held_out: NDArray[np.bool_],
) -> None:
    """Give ``n`` places by lot among the rows of a zone; where there is a place for each, no lot is needed."""
    if zone.size <= n:
        for row in zone:
            kind[row] = "ranked"
        return
    won = set(first_by_lot(lots_of([ids[row] for row in zone]), n))
    for number, row in enumerate(zone):
        drawn[row] = chance(n, zone.size)
        held_out[row] = number not in won
        kind[row] = "margin" if number in won else None


def _within_churn(rest: Ints, is_old: NDArray[np.bool_], budget: int) -> Ints:
    """Those who may be listed under the cap: everybody who was on the list before, and the first new ones."""
    is_new = ~is_old[rest]
    return rest[~is_new | (np.cumsum(is_new) <= budget)]


def _passed_over(rest: Ints, allowed: Ints, places: int, zone: Ints) -> Ints:
    """New people who would have stood above the line but for the cap; all of them where places stay empty."""
    over = np.setdiff1d(rest, allowed)
    if allowed.size < places:
        return over
    last = zone[-1] if zone.size else allowed[places - 1] if places else -1
    passed: Ints = over[over < last]
    return passed
