"""People of one household are alike, so they say less than as many strangers: how much less, from household sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ethics.cells import VENTILES

if TYPE_CHECKING:
    import numpy.typing as npt

    from ethics.cells import Bools, Floats, Ints


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


def design_effect_of(
    household: npt.ArrayLike,
    *,
    label: Floats | None,
    selected: Bools,
    probability: Floats | None,
    indicators: Mapping[str, Bools],
    rank: Ints,
) -> float:
    """The largest design effect among what the gate decides by: no interval may be too narrow.

    Found need at k*, observed less expected need (below k* too), and each indicator less its ventile's mean. Rounded
    as signed files write it, so that the same table can be computed again from a verdict.

    Parameters
    ----------
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
    return float(f"{max(_effects(residuals, code)):.6g}")


def _effects(residuals: Iterable[Floats], code: Ints) -> list[float]:
    return [_effect(residual, code) for residual in residuals]


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
