"""How much each row counts: when trees learn, and when their scores become probabilities.

Three things may weigh a row: weights that are handed in (inverse probabilities of censoring, say), how long ago it was
(``recency_half_life_days``), and how rare its outcome is (``imbalance = "balanced"``). The first two say whom the rows
stand for, so calibration heeds them too. The third only helps the trees to see the rare outcome; calibration leaves it
out, and so brings the probabilities back to what happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need_parts import ModelSettings

Floats = NDArray[np.float64]


class RowWeights(NamedTuple):
    """The rows that teach, and how much each counts.

    Attributes
    ----------
    rows : int64 (m,)
        Rows of the matrix with a known outcome and a weight above 0, in order.
    population : float64 (m,) or None
        Whom each row stands for, 1 on average; None where all count alike.
    learning : float64 (m,) or None
        The same times the balance of the outcomes, 1 on average: what the trees are taught with.
    facts : dict
        What the manifest says of them.
    """

    rows: NDArray[np.int64]
    population: Floats | None
    learning: Floats | None
    facts: dict[str, Any]


def row_weights(matrix: Matrix, settings: ModelSettings, weights: np.ndarray | None = None) -> RowWeights:
    """Weigh the rows of a matrix as a need asks.

    Parameters
    ----------
    matrix : Matrix (n, p)
        With a label. A row's age is the days from its as-of date to the latest one of the rows that teach; after each
        ``recency_half_life_days`` it counts half as much.
    settings : ModelSettings
        ``recency_half_life_days`` and ``imbalance``. Balanced: both outcomes have half of the weight (King & Zeng
        2001, Polit Anal 9: 137-163, §4.2, weighting by the outcome).
    weights : float (n,), optional
        At least 0; rows of weight 0 are left out. Only their proportions matter.

    Raises
    ------
    BadInput
        Weights of another length, below 0 or not finite; all of them 0.
    """
    y = np.asarray(matrix.y)
    given = None if weights is None else _checked(weights, len(y))
    rows = np.flatnonzero(np.isfinite(y) if given is None else np.isfinite(y) & (given > 0))
    if given is not None and not rows.size and np.isfinite(y).any():
        raise BadInput(Fault("weights", "are 0 for every row with a known outcome", "Give some rows a weight above 0"))
    population = None if given is None else given[rows]
    if settings.recency_half_life_days is not None and rows.size:
        day = matrix.keys["as_of_date"].to_physical().to_numpy()[rows].astype(np.float64)
        recent = np.exp2((day - day.max()) / settings.recency_half_life_days)
        population = recent if population is None else population * recent
    population = _normal(population)
    learning = population
    if settings.imbalance == "balanced" and rows.size:
        each = np.ones(rows.size) if population is None else population
        in_need = y[rows] > 0
        learning = _normal(each / np.where(in_need, each[in_need].sum(), each[~in_need].sum()))
    facts = {
        "given": "none" if given is None else sha256(np.ascontiguousarray(given, dtype="<f8").tobytes()),
        "imbalance": settings.imbalance,
        "recency_half_life_days": settings.recency_half_life_days or "none",
    }
    return RowWeights(rows, population, learning, facts)


def effective_share(weight: np.ndarray | None) -> float:
    """What share of the rows, equally weighted, would tell as much. Source: Kish 1965, Survey Sampling, §11.7.

    >>> effective_share(None), effective_share(np.array([1.0, 1.0])), effective_share(np.array([3.0, 1.0]))
    (1.0, 1.0, 0.8)
    """
    if weight is None or not len(weight):
        return 1.0
    return float(weight.sum() ** 2 / np.square(weight).sum() / len(weight))


def _checked(weights: np.ndarray, n: int) -> Floats:
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n,):
        wrong = f"have shape {given.shape}, and the matrix has {n} rows"
        raise BadInput(Fault("weights", wrong, "Give one weight for each row"))
    if not (np.isfinite(given) & (given >= 0)).all():
        n_wrong = int((~(np.isfinite(given) & (given >= 0))).sum())
        raise BadInput(Fault("weights", f"{n_wrong} of {n} are below 0 or not finite", "Give numbers of at least 0"))
    return given


def _normal(weight: Floats | None) -> Floats | None:
    """1 on average, so that what LightGBM adds to sums of weights (``lambda_l2``) keeps its size; None if all equal."""
    if weight is None or not weight.size or (weight == weight[0]).all():
        return None
    scaled: Floats = weight / weight.mean()
    return scaled
