"""Whether the first places hang on the last digit of what was recorded (check C705)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.interval_ends import ends
from models.tree_fitting import categories_of

if TYPE_CHECKING:
    from models.training import NeedModel

MOST_ROWS = 20_000
DRAWS = 10


def noise_overlap(model: NeedModel, X: np.ndarray, k: int, seed: int) -> dict[str, Any]:
    """Share of the first k that stay among them when every value is a little off.

    Each recorded number moves down or up by one quantum, or stays, with equal chances. A column's quantum is the usual
    step between its neighbouring values: 1 for whole numbers. What is not recorded (missing, or 0) and categories stay,
    and no number changes its sign.

    Parameters
    ----------
    X : float32 (n, p)
        Judged rows; of more than 20 000 so many are drawn, and k is cut down likewise.

    Returns
    -------
    dict
        ``overlap`` (mean over the draws), ``low``, ``high`` (5 % and 95 % points of the draws), ``draws``, ``rows``,
        ``cut``.
    """
    rng = np.random.default_rng(seed)
    n = len(X)
    if n > MOST_ROWS:
        X = X[np.sort(rng.choice(n, MOST_ROWS, replace=False))]
        k = max(1, round(k * MOST_ROWS / n))
    k = min(k, len(X))
    quanta = quanta_of(model, X)
    first = _first(model.raw(X), k)
    shares = []
    for _ in range(DRAWS):
        shares.append(_shared(first, model.raw(jittered(X, quanta, rng)), k))
    low, high = ends(np.array(shares))
    return {"overlap": float(np.mean(shares)), "low": low, "high": high, "draws": DRAWS, "rows": len(X), "cut": k}


def jittered(X: np.ndarray, quanta: np.ndarray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Every recorded number a quantum lower, higher, or as it was; 0, NaN and signs stay: float32 (n, p).

    Parameters
    ----------
    X : float32 (n, p)
    quanta : float32 (p,)
        As :func:`quanta_of` finds them.
    """
    steps = rng.integers(-1, 2, size=X.shape, dtype=np.int8)
    moved = X + steps * quanta
    return np.where((X == 0) | (np.sign(moved) == -np.sign(X)), X, moved).astype(np.float32)


def quanta_of(model: NeedModel, X: np.ndarray) -> NDArray[np.float32]:
    """Per column the median step between neighbouring values: 1 for whole numbers, 0 for what does not move."""
    still = categories_of(model.need)
    quanta = np.zeros(X.shape[1], dtype=np.float32)
    for j, name in enumerate(model.columns):
        if name not in still:
            quanta[j] = quantum_of(np.sort(X[np.isfinite(X[:, j]), j]))
    return quanta


def quantum_of(ordered: np.ndarray) -> float:
    """The median step between neighbouring values of a column, of its values in order; 1 for whole numbers.

    >>> quantum_of(np.array([1.0, 1.0, 1.5, 2.0])), quantum_of(np.array([0.0, 2.0, 7.0])), quantum_of(np.array([3.0]))
    (0.5, 1.0, 0.0)
    """
    if not ordered.size:
        return 0.0
    known = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    known = known[np.isfinite(known)].astype(np.float64)
    if known.size < 2:
        return 0.0
    if (known == np.round(known)).all():
        return 1.0
    steps = np.sort(np.diff(known))  # quicker than to look for the middle alone
    return float(np.mean(steps[(steps.size - 1) // 2 : steps.size // 2 + 1]))


def _first(raw: np.ndarray, k: int) -> NDArray[np.int64]:
    """The first k rows; among equals those that come first."""
    return np.argsort(-raw, kind="stable")[:k]


def _shared(first: np.ndarray, raw: np.ndarray, k: int) -> float:
    return float(np.isin(first, _first(raw, k)).mean()) if k else 1.0
