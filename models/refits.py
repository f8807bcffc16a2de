"""Trees fitted again and again, with other parameters, rows or columns, and how far two orders are apart.

Search, feature value and learning curve compare orders, so these refits have no calibration: it would cost
up to five more fits and cannot change an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ethics.refusals import BadInput, Fault
from models.metrics import REPLICATES, Estimate, found_bounds, interval, ranking_replicates, widened
from models.sample_weights import row_weights
from models.training import fit_uncalibrated
from models.tree_fitting import raw_scores

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need

Parameters = Mapping[str, int | float]
_AUC, _AVERAGE_PRECISION, _RECALL, _FOUND = 0, 1, 3, 4
"""Columns of :func:`models.metrics.ranking_replicates`."""


class Figure(NamedTuple):
    """How well an order finds need at capacity; the average precision breaks ties."""

    recall: float
    average_precision: float


class RankingDifference(NamedTuple):
    """How far one order of some rows is ahead of another, with 95 % intervals by persons on the same replicates.

    ``auc`` and ``recall`` (at capacity) are differences of shares; ``found`` of people in need found at capacity,
    summed over the periods.
    """

    auc: Estimate
    recall: Estimate
    found: Estimate


def refuse_unlearnable(matrix: Matrix, need: Need) -> np.ndarray:
    """The labels of a matrix, 1, 0 or NaN: float64 (n,).

    Raises
    ------
    BadInput
        The matrix is another need's, or has no label.
    """
    if tuple(matrix.names) != need.columns:
        wrong = f"has other columns than {need.id}.toml makes"
        raise BadInput(Fault("matrix", wrong, "Build the matrix from this need"))
    if matrix.y is None:
        raise BadInput(Fault("matrix", "has no label to learn from", "Build it with label=need.label"))
    return matrix.y


def n_taught(matrix: Matrix, need: Need, weights: np.ndarray | None) -> int:
    """How many rows of a matrix teach: those with a known outcome and a weight above 0. Raises as ``train`` does."""
    return len(row_weights(matrix, need.model, weights).rows)


def rank_scores(
    matrix: Matrix,
    X: np.ndarray,
    need: Need,
    seed: int,
    *,
    parameters: Parameters,
    weights: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Raw scores of rows by trees fitted to others; to the bit those of the model that ``train`` would make.

    Parameters
    ----------
    matrix : Matrix (m, p)
        What to learn from.
    X : float32 (n, p)
        Rows to score.
    need : Need
    seed : int
    parameters : mapping
        LightGBM's names; above the defaults and the need's own.
    weights : float64 (m,), optional
        As ``train`` takes them.
    threads : int, optional
        The scores are the same with any number.

    Returns
    -------
    float64 (n,)
    """
    trees = fit_uncalibrated(matrix, need, seed, weights=weights, parameters=parameters, threads=threads)
    return raw_scores(trees, X, threads=threads)


def ranking_difference(
    *,
    label: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    person: np.ndarray,
    period: np.ndarray,
    k: int,
    seed: int,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> RankingDifference:
    """Our order less theirs, both of the same rows and ranked within their period.

    Parameters
    ----------
    label : float (n,)
        1, 0, or NaN, which is left out.
    ours, theirs : float (n,)
        Rank scores, higher first.
    person : (n,)
        A replicate draws persons, the same for both orders, so what they have in common cancels out.
    period : (n,)
    k : int
        Capacity per period.
    weight : float (n,), optional
        Inverse-probability weights; see :func:`models.metrics.evaluate` for what they do to the cut.

    Returns
    -------
    RankingDifference
        NaN where the rows do not determine it.
    """
    first, second = (
        ranking_replicates(
            label=label,
            rank_score=score,
            person=person,
            k=k,
            seed=seed,
            period=period,
            weight=weight,
            replicates=replicates,
        )
        for score in (ours, theirs)
    )
    auc, recall, found = (interval((first - second)[:, i]) for i in (_AUC, _RECALL, _FOUND))
    # Where few people are found the replicates agree, and only exact bounds say how little that means.
    bounds = found_bounds(label=label, ours=ours, theirs=theirs, person=person, k=k, period=period, weight=weight)[2]
    if bounds is not None:
        in_need = second[0, _FOUND] / second[0, _RECALL] if second[0, _RECALL] > 0 else np.nan
        found = widened(found, bounds)
        if np.isfinite(in_need):
            recall = widened(recall, (bounds[0] / in_need, bounds[1] / in_need))
    return RankingDifference(auc, recall, found)


def figure_of(
    label: np.ndarray, score: np.ndarray, period: np.ndarray, k: int, weight: np.ndarray | None = None
) -> Figure:
    """What one order finds at capacity; arguments as in :func:`ranking_difference`."""
    measured = ranking_replicates(
        label=label,
        rank_score=score,
        person=np.zeros(len(label), dtype=np.int64),
        k=k,
        seed=0,
        period=period,
        weight=weight,
        replicates=0,
    )[0]
    return Figure(float(measured[_RECALL]), float(measured[_AVERAGE_PRECISION]))
