"""Whether the reasons somebody is told would be the same, had other persons taught the model (check C303)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.interval_ends import ends

if TYPE_CHECKING:
    from models.need import Need
    from models.training import NeedModel

REASONS = 3
"""Reasons that are compared."""
MOST_PEOPLE = 100
_DRAWS = 400


def people_at_cut(raw: np.ndarray, k: int) -> NDArray[np.int64]:
    """Rows nearest to a cut, half of them above it and half below, :data:`MOST_PEOPLE` at most; ascending."""
    order = np.argsort(-np.asarray(raw), kind="stable")
    half = MOST_PEOPLE // 2
    first = max(0, min(k - half, len(order) - MOST_PEOPLE))
    return np.sort(order[first : first + MOST_PEOPLE])


def reason_overlap(model: NeedModel, refits: Sequence[bytes], X: np.ndarray, seed: int) -> dict[str, Any]:
    """How far the first three reasons by the candidate and by each refit agree.

    A reason is a feature of the need file, all its columns together, that raises the score; where none does, one that
    lowers it: as :class:`scoring.reasons.Explainer` chooses them, except that it also passes over what is as it is
    with most people.

    Parameters
    ----------
    model : NeedModel
    refits : sequence of bytes
        Trees that other persons taught.
    X : float32 (n, p)
        People near the audit cut.

    Returns
    -------
    dict
        ``overlap`` (mean Jaccard index of the two sets, in [0, 1]), its bounds ``low`` and ``high`` over refits and
        people, ``refits``, ``people``.
    """
    import lightgbm

    groups = feature_groups(model.need)
    ours = first_reasons(model.contributions(X), groups)
    found = np.empty((len(refits), len(X)))
    for i, trees in enumerate(refits):
        booster = lightgbm.Booster(model_str=trees.decode("utf-8"))
        theirs = first_reasons(np.asarray(booster.predict(X, pred_contrib=True)), groups)
        found[i] = jaccard(ours, theirs)
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            found[rng.integers(len(refits), size=len(refits))][:, rng.integers(len(X), size=len(X))].mean()
            for _ in range(_DRAWS)
        ]
    )
    low, high = ends(drawn)
    return {"overlap": float(found.mean()), "low": low, "high": high, "refits": len(refits), "people": len(X)}


def feature_groups(need: Need) -> NDArray[np.int64]:
    """Per column, the number of its feature in the need file; entries of one name are one feature: int64 (p,)."""
    names = list(dict.fromkeys(feature.name for feature in need.features))
    return np.array([names.index(feature.name) for feature in need.features for _ in feature.columns()])


def group_sums(contributions: np.ndarray, groups: np.ndarray) -> NDArray[np.float64]:
    """Contributions summed by group: float64 (n, n_groups); a row's sums are the same alone and among others.

    Parameters
    ----------
    contributions : float64 (n, p)
        Of columns, without the level they start from.
    groups : int64 (p,)
        The group of each column, numbered from 0.

    >>> group_sums(np.array([[0.25, 0.5, -1.0]]), np.array([0, 0, 1])).tolist()
    [[0.75, -1.0]]
    """
    sums = np.zeros((int(groups.max()) + 1, len(contributions)))
    # Column by column: a sum over a row would take its terms in another order when there is only one row.
    for column, group in zip(np.ascontiguousarray(contributions.T), groups, strict=True):
        sums[group] += column
    return np.ascontiguousarray(sums.T)


def first_reasons(contributions: np.ndarray, groups: np.ndarray) -> NDArray[np.bool_]:
    """Which features are a row's first reasons: bool (n, n_features).

    Parameters
    ----------
    contributions : float64 (n, p + 1)
        Of columns, and last the level they start from.
    groups : int64 (p,)
    """
    sums = group_sums(contributions[:, :-1], groups)
    raises = (sums > 0).any(axis=1, keepdims=True)
    strength = np.where(raises, sums, -sums)
    order = np.argsort(-strength, axis=1, kind="stable")[:, :REASONS]
    chosen = np.zeros(sums.shape, dtype=np.bool_)
    np.put_along_axis(chosen, order, True, axis=1)
    return np.asarray(chosen & (strength > 0))


def jaccard(ours: np.ndarray, theirs: np.ndarray) -> NDArray[np.float64]:
    """Size of what two sets share over that of both together, row by row; 1 where both are empty.

    >>> jaccard(np.array([[True, True, False]]), np.array([[True, False, True]])).tolist()
    [0.3333333333333333]
    """
    shared, together = (ours & theirs).sum(axis=1), (ours | theirs).sum(axis=1)
    return np.where(together > 0, shared / np.maximum(together, 1), 1.0)
