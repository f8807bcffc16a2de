"""A matrix too large for memory, in a file without a name: nobody else can open it, and it is gone with its holder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.arrays import frozen, read_only
from features.csr_kernels import copy_transposed
from features.matrix import COLUMNS_AT_ONCE, Matrix, MatrixDigest


class MatrixOnFile:
    """The rows of blocks that were added, in their order; memory holds the keys, and what is asked for.

    The file has no name from the start (``O_TMPFILE``, or unlinked at once), so a killed process leaves nothing of it.
    A block is kept column by column.

    Parameters
    ----------
    folder : Path
        Where there is room for 4 bytes a cell: the home, whose disk may hold data of persons.
    names : sequence of str (p,)
    n_objectors : int
        Persons left out because they object.

    Attributes
    ----------
    names, n_objectors
        As of :class:`features.matrix.Matrix`.
    """

    def __init__(self, folder: Path, names: Sequence[str], n_objectors: int = 0) -> None:
        self.names, self.n_objectors = tuple(names), n_objectors
        self._folder = folder
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._digest, self._keys = MatrixDigest(self.names), list[pl.DataFrame]()
        self._starts = [0]
        self._columns = np.empty((len(self.names), 0), dtype=np.float32)
        self._known: str | None = None

    def __repr__(self) -> str:
        """Sizes alone, as of a matrix."""
        return f"<MatrixOnFile: {len(self):,} rows × {len(self.names):,} columns>"

    def __len__(self) -> int:
        return self._starts[-1]

    def add(self, block: Matrix) -> None:
        """Append the rows of a block.

        Raises
        ------
        ValueError
            It has other columns.
        BadInput
            There is no room for it on the disk.
        """
        if block.names != self.names:
            raise ValueError(f"a block has {len(block.names)} columns that are not the {len(self.names)} of the matrix")
        n = block.X.shape[0]
        if self._columns.shape[1] != n:
            self._columns = np.empty((len(self.names), n), dtype=np.float32)
        copy_transposed(frozen(block.X), self._columns, 0)
        self._digest.update(self._columns)
        self._write(self._columns.data.cast("B"))
        self._keys.append(block.keys)
        self._starts.append(len(self) + n)
        self._known = None

    def _write(self, cells: memoryview) -> None:
        try:
            while cells:
                cells = cells[self._file.write(cells) :]
        except OSError as error:
            wrong = f"has no room for a matrix of {len(self.names)} columns ({error.strerror})"
            raise BadInput(Fault(str(self._folder), wrong, "Make room there, or give another home")) from None

    @property
    def keys(self) -> pl.DataFrame:
        """``person_id``, ``as_of_date`` of every row."""
        if len(self._keys) > 1:
            self._keys = [pl.concat(self._keys, rechunk=True)]
        return self._keys[0]

    @property
    def digest(self) -> str:
        """That of the same matrix in memory."""
        if self._known is None:
            self._known = self._digest.of(self.keys)
        return self._known

    def columns(self, wanted: Sequence[int] | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Number and cells, float32 (n,), of all columns or of those wanted, in their order; each is the caller's."""
        among = range(len(self.names)) if wanted is None else wanted
        for first in range(0, len(self.names), COLUMNS_AT_ONCE):
            stop = min(first + COLUMNS_AT_ONCE, len(self.names))
            if asked := [j for j in among if first <= j < stop]:
                cells = self._read(first, stop)
                yield from ((j, cells[j - first]) for j in asked)

    def _read(self, first: int, stop: int) -> NDArray[np.float32]:
        """Neighbouring columns of all rows: float32 (stop - first, n)."""
        found = np.empty((stop - first, len(self)), dtype=np.float32)
        for start, end in zip(self._starts, self._starts[1:], strict=False):
            offset = (start * len(self.names) + first * (end - start)) * found.itemsize
            found[:, start:end] = self._cells(offset, (stop - first, end - start))
        return found

    def _cells(self, offset: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """float32 cells from a place in the file on."""
        cells = np.empty(shape, dtype=np.float32)
        left, at = cells.data.cast("B"), offset
        while left:
            n = os.preadv(self._file.fileno(), [left], at)
            if not n:
                raise OSError("the file of the matrix ends early")
            left, at = left[n:], at + n
        return cells

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Matrix:
        """The rows with these numbers, in the order given, in memory."""
        at = np.asarray(rows, dtype=np.int64)
        X = np.empty((at.size, len(self.names)), dtype=np.float32)
        block_of = np.searchsorted(self._starts, at, side="right") - 1
        for block in np.unique(block_of):
            start, end = self._starts[block], self._starts[block + 1]
            cells = self._cells(start * len(self.names) * X.itemsize, (len(self.names), end - start))
            here = np.flatnonzero(block_of == block)
            X[here] = cells[:, at[here] - start].T
        return Matrix(self.keys[at], read_only(X), self.names, n_objectors=self.n_objectors)
