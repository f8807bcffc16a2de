"""The loops that turn a dense block around: into its filled cells only, back, and from rows to columns.

A kernel checks nothing (its caller has validated, sorted and cast) and calls only kernels of this file. Callers pass
read-only arrays through :func:`features.arrays.frozen`, as in :mod:`features.kernels`. Cells are compared as the bits
they are stored in (float32 seen as uint32), because NaN equals nothing and -0 equals 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import frozen

_TILE = 64  # rows and columns of which both sides fit into the nearest cache


@njit(cache=True, nogil=True, error_model="numpy")
def count_filled(cells, empty, indptr):  # type: ignore[no-untyped-def]
    """How many cells of each row differ from the column's empty value, added up.

    Parameters
    ----------
    cells : uint32 (n, p)
    empty : uint32 (p,)
    indptr : int64 (n + 1,)
        Changed in place: the filled cells of row ``i`` are ``indptr[i]:indptr[i + 1]`` of all.
    """
    n = np.int64(0)
    indptr[0] = 0
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            n += np.int64(cells[row, column] != empty[column])
        indptr[row + 1] = n


@njit(cache=True, nogil=True, error_model="numpy")
def copy_filled(cells, empty, indptr, indices, data):  # type: ignore[no-untyped-def]
    """Copy the filled cells and their columns; ``indptr`` as :func:`count_filled` left it.

    Parameters
    ----------
    cells, empty, indptr
        As in :func:`count_filled`.
    indices, data : int32 (n_filled,), uint32 (n_filled,)
        Changed in place.
    """
    for row in range(cells.shape[0]):
        into = indptr[row]
        for column in range(cells.shape[1]):
            if cells[row, column] != empty[column]:
                indices[into] = column
                data[into] = cells[row, column]
                into += 1


@njit(cache=True, nogil=True, error_model="numpy")
def spread_filled(indptr, indices, data, empty, out):  # type: ignore[no-untyped-def]
    """The dense block again.

    Parameters
    ----------
    indptr, indices, data, empty
        As :func:`copy_filled` made them; here ``data`` and ``empty`` are float32.
    out : float32 (n, p)
        Changed in place.
    """
    for row in range(out.shape[0]):
        out[row, :] = empty
        for at in range(indptr[row], indptr[row + 1]):
            out[row, indices[at]] = data[at]


@njit(cache=True, nogil=True, error_model="numpy")
def copy_transposed(block, out, start):  # type: ignore[no-untyped-def]
    """Copy the rows of a block into columns that each lie in one piece, tile by tile.

    Parameters
    ----------
    block : float32 (n, p)
    out : float32 (p, n_rows)
        ``out[:, start:start + n]`` is changed in place.
    """
    n, p = block.shape
    for row in range(0, n, _TILE):
        for column in range(0, p, _TILE):
            for c in range(column, min(column + _TILE, p)):
                for r in range(row, min(row + _TILE, n)):
                    out[c, start + r] = block[r, c]


def warm_up() -> None:
    """Compile, or load from numba's cache, every kernel of this file."""
    cells, empty = frozen(np.zeros((1, 1), dtype=np.uint32)), frozen(np.ones(1, dtype=np.uint32))
    indptr, indices, data = np.zeros(2, dtype=np.int64), np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.uint32)
    count_filled(cells, empty, indptr)
    copy_filled(cells, empty, frozen(indptr), indices, data)
    out = np.zeros((1, 1), dtype=np.float32)
    floats = frozen(data.view(np.float32)), frozen(empty.view(np.float32))
    spread_filled(frozen(indptr), frozen(indices), *floats, out)
    copy_transposed(frozen(out.copy()), out, 0)
