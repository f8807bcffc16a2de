"""People of one household are alike, so they say less than as many strangers: how much less, from household sums.

Everyone's design effect would make the intervals of a group that lives in large households too narrow, so it is
measured in each group too. What is used in a group is the larger of both; in a crossing, the largest of the groups that
meet there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ethics.cells import DESIGN_EFFECT, VENTILES
from ethics.crossings import POOLED, in_crossing, is_crossing, parts_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from ethics.cells import Bools, Coded, Floats, Ints


def household_design_effect(residual: npt.ArrayLike, household: npt.ArrayLike) -> float:
    """How many times the variance of a sum over people grows because households share their fate; at least 1.

    The sum of squared household sums ÷ the sum of squares of persons, both of residuals about their mean: 1 when
    members are strangers to one another, the size of a household when they are copies.

    Parameters
    ----------
    residual : float (n,)
        Any statistic's residual per person; NaN (not known) is left out.
    household : (n,)
        The household of each person; a person without one (null) stands alone.

    >>> household_design_effect([1, 1, -1, -1], ["a", "a", "b", "b"])
    2.0
    >>> household_design_effect([1, -1, 1, -1], [None, None, "b", None])
    1.0
    """
    return _effect(np.asarray(residual, dtype=np.float64), _coded(household))


class DesignEffects(NamedTuple):
    """Everyone's design effect, and each group's by attribute and name, which is never less."""

    everyone: float
    groups: dict[str, dict[str, float]]


def design_effects_of(
    household: npt.ArrayLike,
    groups: Mapping[str, Coded],
    *,
    least: float,
    label: Floats | None,
    selected: Bools,
    probability: Floats | None,
    indicators: Mapping[str, Bools],
    rank: Ints,
) -> DesignEffects:
    """The largest design effects among what the gate decides by: no interval may be too narrow.

    Found need at k*, observed less expected need (below k* too), and each indicator less its ventile's mean. Rounded
    as signed files write it, so that the same table can be computed again from a verdict.

    Parameters
    ----------
    groups : mapping of attribute to its groups as numbers, in the order of the rows
    least : float
        No design effect is less.
    rank : int (n,)
        0 = highest score.
    """
    code = _coded(household)
    residuals: list[Floats] = []
    if label is None:
        residuals.append(selected.astype(np.float64))
    else:
        need = np.nansum(label)
        recall = np.nansum(label * selected) / need if need else 0.0
        residuals.append(label * (selected - recall))
        expected = np.full(label.size, np.nanmean(label)) if probability is None else probability
        residuals += [label - expected, np.where(selected, 0.0, label - expected)]
    ventile = rank * VENTILES // max(rank.size, 1)
    size = np.maximum(np.bincount(ventile, minlength=VENTILES), 1)
    for hit in indicators.values():
        share = np.bincount(ventile, weights=hit, minlength=VENTILES) / size
        residuals.append(hit - share[ventile])
    everyone = _written(max(least, *(_effect(residual, code) for residual in residuals)))
    by_group = {}
    for attribute, (names, member) in groups.items():
        place = code * len(names) + member
        _, household_of = np.unique(place, return_inverse=True)
        most = np.full(len(names), everyone)
        for residual in residuals:
            np.maximum(most, _effects_within(residual, household_of, member.astype(np.int64), len(names)), out=most)
        by_group[attribute] = {in_crossing(name): _written(effect) for name, effect in zip(names, most, strict=True)}
    return DesignEffects(everyone, by_group)


def with_design_effects(cells: pl.DataFrame, effects: DesignEffects) -> pl.DataFrame:
    """The cells, each with the design effect of its group; of a crossing, the largest of the groups that meet there.

    The people of crossings that are pooled have the largest of all groups of those attributes.
    """
    import polars as pl

    known = effects.groups
    places = cells.select("attribute", "group").unique(maintain_order=True)
    found = []
    for attribute, group in places.iter_rows():
        attributes, groups = (
            (parts_of(attribute), parts_of(group)) if is_crossing(attribute) else ([attribute], [group])
        )
        if group == POOLED and is_crossing(attribute):
            found.append(max(max(known[name].values()) for name in attributes))
        else:
            found.append(max(known[name][in_crossing(part)] for name, part in zip(attributes, groups, strict=True)))
    of_place = places.with_columns(pl.Series(DESIGN_EFFECT, found, dtype=pl.Float64))
    return cells.join(of_place, on=["attribute", "group"], how="left", maintain_order="left")


def _written(effect: float) -> float:
    return float(f"{effect:.6g}")


def _effects_within(residual: Floats, household: Ints, member: Ints, n_groups: int) -> Floats:
    """The design effect of each group (g,), of residuals about its own mean; ``household`` is of one group each."""
    known = np.isfinite(residual)
    group, home, values = member[known], household[known], residual[known]
    size = np.maximum(np.bincount(group, minlength=n_groups), 1)
    centred = values - (np.bincount(group, weights=values, minlength=n_groups) / size)[group]
    persons = np.bincount(group, weights=centred**2, minlength=n_groups)
    sums = np.bincount(home, weights=centred)
    group_of = np.zeros(sums.size, dtype=np.int64)
    group_of[home] = group
    together = np.bincount(group_of, weights=sums**2, minlength=n_groups)
    effect: Floats = np.maximum(np.divide(together, persons, out=np.ones(n_groups), where=persons > 1e-9), 1.0)
    return effect


def _effect(residual: Floats, code: Ints) -> float:
    known = np.isfinite(residual)
    if not known.any():
        return 1.0
    centred = residual[known] - residual[known].mean()
    persons = float((centred**2).sum())
    if persons <= 0:
        return 1.0
    households = np.bincount(code[known], weights=centred)
    return max(1.0, float((households**2).sum()) / persons)


def _coded(household: npt.ArrayLike) -> Ints:
    """A number per household; whoever has none gets a number of their own."""
    import polars as pl

    names = pl.Series("household", cast(Any, household), strict=False).cast(pl.String)
    codes = names.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    alone = codes == 0
    codes[alone] = codes.max(initial=0) + 1 + np.arange(int(alone.sum()))
    return codes
