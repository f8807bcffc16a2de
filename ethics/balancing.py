"""Two ways to help a group by naming it: weights for learning, and a cut of its own. Either asks for somebody's word.

Using a ground directly to help is positive action (Non-Discrimination Act 1325/2014, section 9): it needs evidence, a
plan, an end, and means in proportion. So what these give is shown beside its price, and judged like anything else; the
weights ask for AT-06, the cut for AT-09.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ethics.cells import Floats, Ints


def balancing_weights(label: npt.ArrayLike, group: npt.ArrayLike) -> Floats:
    """Weights under which need and group are independent: P(group) P(need) ÷ P(group, need).

    After Kamiran and Calders 2012 (reweighing). The weights of all persons with a known label have the mean 1.

    Parameters
    ----------
    label : float (n,)
        1, 0 or NaN (not known: weight 1).
    group : (n,)
        Null is a group of its own.

    >>> balancing_weights([1, 0, 0, 1, 1, 0], ["a", "a", "a", "b", "b", "b"]).round(2).tolist()
    [1.5, 0.75, 0.75, 0.75, 0.75, 1.5]
    """
    y = np.asarray(label, dtype=np.float64)
    known = np.isfinite(y)
    code = group_codes(group)
    weights = np.ones(y.size)
    if not known.any():
        return weights
    need, member = y[known].astype(np.int64), code[known]
    together = np.zeros((int(code.max()) + 1, 2))
    np.add.at(together, (member, need), 1.0)
    expected = together.sum(axis=1, keepdims=True) * together.sum(axis=0, keepdims=True) / together.sum()
    ratio = np.divide(expected, together, out=np.ones_like(together), where=together > 0)
    found: Floats = ratio[member, need]
    weights[known] = found / found.mean()
    return weights


def equal_recall_order(rank_score: npt.ArrayLike, probability: npt.ArrayLike, group: npt.ArrayLike) -> Floats:
    """A rank score by which every cut finds the same share of each group's expected need.

    People keep their order inside a group; groups take turns so that the expected found need (the sum of calibrated
    probabilities) grows alike. No label is looked at, so what it costs can be measured on labels that it has not seen.

    Parameters
    ----------
    rank_score, probability : float (n,)
    group : (n,)

    Returns
    -------
    float64 (n,)
        Between -1 and 0, higher first: minus the middle of the share of the group's expected need that a person stands
        for.

    >>> equal_recall_order([3, 2, 1, 0], [0.4, 0.4, 0.1, 0.1], ["a", "a", "b", "b"]).round(2).tolist()
    [-0.25, -0.75, -0.25, -0.75]
    """
    score, chance = np.asarray(rank_score, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    code = group_codes(group)
    order = np.lexsort((-score, code))
    sizes = np.bincount(code)
    ends = np.cumsum(sizes)
    along = np.cumsum(chance[order])
    before_group = np.concatenate([[0.0], along])[ends - sizes]
    total = np.maximum(np.bincount(code, weights=chance), np.finfo(float).tiny)
    sorted_code = code[order]
    middle = (along - chance[order] / 2 - before_group[sorted_code]) / total[sorted_code]
    level = np.empty(score.size)
    level[order] = -middle
    return level


def group_codes(group: npt.ArrayLike) -> Ints:
    """A number per group, groups in alphabetical order; null is a group of its own, the last."""
    import polars as pl

    values = pl.Series("group", cast(Any, group), strict=False).cast(pl.String)
    codes = values.rank("dense").cast(pl.Int64) - 1
    last = codes.max()
    return codes.fill_null(0 if last is None else int(str(last)) + 1).to_numpy().astype(np.int64)
