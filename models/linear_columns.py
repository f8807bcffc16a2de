"""Cells of a matrix as a linear model can take them: no gaps, one scale, nothing too far out."""

from __future__ import annotations

import hashlib

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from features.arrays import frozen

Floats = NDArray[np.float64]

FARTHEST = 5.0
"""Standard deviations from the mean beyond which a value says no more: one huge count must not decide an order."""


class LinearColumns:
    """Median imputation, indicators of what was missing, and scaling, all learnt on some rows and kept.

    Columns with the same gaps share one indicator. A column (or indicator) that did not vary is left out.

    Parameters
    ----------
    X : float32 (n, p)
        Rows to learn from; NaN is missing.

    >>> columns = LinearColumns(np.array([[0.0], [2.0], [np.nan]], dtype=np.float32))
    >>> columns(np.array([[1.0], [np.nan]], dtype=np.float32)).round(2).tolist()
    [[0.0, -0.71], [0.0, 1.41]]
    """

    def __init__(self, X: np.ndarray) -> None:
        missing = ~np.isfinite(X)
        seen = ~missing.all(axis=0)
        self._median = np.zeros(X.shape[1])
        self._median[seen] = np.nanmedian(np.where(missing, np.nan, X)[:, seen].astype(np.float64), axis=0)
        self._patterns = _distinct(missing)
        plain = self._plain(X)
        self._mean, spread = plain.mean(axis=0), plain.std(axis=0)
        self._used = np.flatnonzero(spread > 0)
        self._spread = spread[self._used]

    def _plain(self, X: np.ndarray) -> Floats:
        missing = ~np.isfinite(X)
        plain = np.empty((len(X), X.shape[1] + self._patterns.size))
        plain[:, : X.shape[1]] = np.where(missing, self._median, X)
        plain[:, X.shape[1] :] = missing[:, self._patterns]
        return plain

    def __call__(self, X: np.ndarray) -> Floats:
        """Cells, then indicators: float64 (n, q) within ±:data:`FARTHEST`."""
        plain = self._plain(X)[:, self._used]
        plain -= self._mean[self._used]
        plain /= self._spread
        return np.clip(plain, -FARTHEST, FARTHEST, out=plain)

    def weighted_sum(self, X: np.ndarray, coefficients: Floats) -> Floats:
        """The sum of a row's cells and indicators, each times its coefficient (q,), without laying them out: (n,)."""
        n_cells = int(np.searchsorted(self._used, len(self._median)))
        cells, gaps = self._used[:n_cells], self._patterns[self._used[n_cells:] - len(self._median)]
        total = np.empty(len(X))
        _weighted_sum(
            frozen(X),
            *(frozen(part) for part in (cells, self._median[cells], gaps)),
            *(frozen(part) for part in (self._mean[self._used], self._spread, coefficients)),
            total,
        )
        return total


@njit(cache=True, parallel=True)
def _weighted_sum(
    X: NDArray[np.float32],
    cells: NDArray[np.int64],
    median: Floats,
    gaps: NDArray[np.int64],
    mean: Floats,
    spread: Floats,
    coefficients: Floats,
    total: Floats,
) -> None:
    """Fill ``total`` (n,); means, spreads and coefficients are those of the cells, then of the gaps."""
    for row in prange(X.shape[0]):
        total[row] = 0.0
        for i in range(cells.size + gaps.size):
            if i < cells.size:
                value = float(X[row, cells[i]])
                if not np.isfinite(value):
                    value = median[i]
            else:
                value = 0.0 if np.isfinite(X[row, gaps[i - cells.size]]) else 1.0
            scaled = (value - mean[i]) / spread[i]
            total[row] += coefficients[i] * min(max(scaled, -FARTHEST), FARTHEST)


def _distinct(missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first column of each pattern of gaps that varies."""
    first: dict[bytes, int] = {}
    for column in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        pattern = np.packbits(missing[:, column]).tobytes()
        first.setdefault(hashlib.sha256(pattern).digest(), int(column))
    return np.array(sorted(first.values()), dtype=np.int64)
