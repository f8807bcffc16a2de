"""What a week's scores say in numbers, once a list is cut: need expected among the listed, and districts for open data.

Scores are needed for these, and no person is left in them: they are kept with the state of the week, so that its pages
can be made again without scoring anybody anew.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.attributes import attribute_on
from scoring.units import unit_of_persons, units_of

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from scoring.scorer import Scores

_OUTSIDE = 0.025
"""Probability beyond either end of an interval."""


def counts_of_week(scores: Scores, city: City, need: Need, listed: Collection[str]) -> dict[str, Any]:
    """Need expected among those listed, whole and by unit; people, listed and expected need by district.

    Parameters
    ----------
    scores : Scores
        Of everybody the need covers.
    city : City
        The city that was scored.
    need : Need
    listed : collection of str
        People to contact.

    Returns
    -------
    dict
        ``expected`` ({value, low, high}, or None for a rule), ``units`` (``unit_id``, ``name``, ``expected``) and
        ``districts`` (``district``, None where it is not known; ``n``, ``listed``, ``expected`` people).
    """
    units = units_of(city, need)
    people = scores.frame.select("person_id", "score").join(
        unit_of_persons(city, units, scores), on="person_id", how="left", maintain_order="left"
    )
    people = people.with_columns(is_listed=pl.col("person_id").is_in(list(listed)))
    on_list = people.filter("is_listed")
    by_unit = dict(on_list.group_by("unit_id", maintain_order=True).agg("score").iter_rows())
    return {
        "expected": _expected(on_list["score"]),
        "units": [
            {"unit_id": unit, "name": name, "expected": _expected(pl.Series(by_unit.get(unit, []), dtype=pl.Float64))}
            for unit, name in units.sort("unit_id").select("unit_id", "name").iter_rows()
        ],
        "districts": _districts(people, city, scores),
    }


def _districts(people: pl.DataFrame, city: City, scores: Scores) -> list[dict[str, Any]]:
    living = attribute_on(city, "district", scores.as_of_date)
    if living is None:
        return []
    known = people.join(living.rename({"value": "district"}), on="person_id", how="left", maintain_order="left")
    is_rule = bool(people["score"].null_count())
    found = known.group_by("district").agg(
        n=pl.len(), listed=pl.col("is_listed").sum(), expected=pl.lit(None) if is_rule else pl.col("score").sum()
    )
    return found.sort("district", nulls_last=True).select("district", "n", "listed", "expected").to_dicts()


def _expected(score: pl.Series) -> dict[str, float] | None:
    """People in need among some with these probabilities, with the interval of their number; None for a rule."""
    if score.null_count():
        return None
    low, high = interval_of_number(score.to_numpy())
    return {"value": round(float(score.sum()), 6), "low": float(low), "high": float(high)}


def interval_of_number(probability: NDArray[np.float64]) -> tuple[int, int]:
    """Between which numbers of people in need 95 of 100 such lists hold, were each probability right.

    The exact distribution of a sum of independent draws of unequal probabilities (Poisson's binomial).

    Parameters
    ----------
    probability : float64 (n,), in [0, 1]

    >>> interval_of_number(np.full(20, 0.5)), interval_of_number(np.array([])), interval_of_number(np.ones(3))
    ((6, 14), (0, 0), (3, 3))
    """
    number = np.ones(1)
    for one in probability:
        grown = np.zeros(number.size + 1)
        grown[:-1] = number * (1 - one)
        grown[1:] += number * one
        number = grown
    up_to = np.cumsum(number)
    low = int(np.searchsorted(up_to, _OUTSIDE, side="right"))
    high = int(np.searchsorted(up_to, 1 - _OUTSIDE, side="left"))
    return min(low, probability.size), min(high, probability.size)
