"""The filled cells of a matrix alone: most people have had nothing to do with most services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.arrays import frozen, read_only
from features.csr_kernels import copy_filled, count_filled, spread_filled
from features.windows import ZERO_WHEN_EMPTY


@dataclass(frozen=True, eq=False)
class SparseBlock:
    """The cells of a block that differ from what their column holds for a person without events.

    Attributes
    ----------
    indptr : int64 (n + 1,)
        Row ``i`` has the cells ``indptr[i]:indptr[i + 1]``.
    indices : int32 (n_filled,)
        Their columns, ascending within a row.
    data : float32 (n_filled,)
    empty : float32 (p,)
        What every other cell of a column holds: 0 or NaN.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    empty: NDArray[np.float32]

    def __repr__(self) -> str:
        """Sizes alone: a notebook shows what its last line gives."""
        n, p = self.shape
        return f"<SparseBlock: {n:,} rows × {p:,} columns, {self.data.size:,} cells filled>"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.indptr.size - 1, self.empty.size

    @classmethod
    def of(cls, X: NDArray[np.float32], empty: NDArray[np.float32]) -> SparseBlock:
        """The filled cells of ``X`` float32 (n, p), told from the empty ones by their bits."""
        cells, nothing = frozen(X).view(np.uint32), frozen(empty).view(np.uint32)
        indptr = np.empty(X.shape[0] + 1, dtype=np.int64)
        count_filled(cells, nothing, indptr)
        indices, data = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.uint32)
        copy_filled(cells, nothing, frozen(indptr), indices, data)
        return cls(read_only(indptr), read_only(indices), read_only(data.view(np.float32)), frozen(empty))

    def to_dense(self) -> NDArray[np.float32]:
        """The whole block again, float32 (n, p), equal to the bit."""
        out = np.empty(self.shape, dtype=np.float32)
        spread_filled(self.indptr, self.indices, self.data, self.empty, out)
        return read_only(out)

    def to_scipy(self) -> Any:
        """A ``scipy.sparse.csr_matrix`` of the filled cells.

        To scipy a cell that is not stored is 0. In the columns whose ``empty`` is NaN it means *no value*, so give
        this only to what is told so, or fill such columns otherwise.
        """
        from scipy.sparse import csr_matrix

        return csr_matrix((self.data, self.indices, self.indptr), shape=self.shape)


def empty_cells(names: Sequence[str]) -> NDArray[np.float32]:
    """What columns of these names hold for a person without events: 0 for counts, NaN for the rest.

    >>> empty_cells(["age", "absence.count.30d", "absence.mean.30d", "district.n_changes"]).tolist()
    [nan, 0.0, nan, 0.0]
    """
    zero = {*ZERO_WHEN_EMPTY, "n_changes"}
    return np.array([0.0 if zero & {*name.split(".")[1:2]} else np.nan for name in names], dtype=np.float32)
