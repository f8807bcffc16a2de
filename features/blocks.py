"""A matrix in blocks of persons, so that a city need not fit in memory; and a matrix as one Parquet file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.whole_file import whole_file
from features.arrays import frozen, read_only
from features.city import City
from features.columns import LaidOutFeatures, masked_persons
from features.csr_kernels import copy_transposed
from features.keyed_rows import KeyedRows, keyed_rows, without_objectors
from features.matrix import Matrix, MatrixDigest, as_arrow, refuse_wrong_types
from features.spec import FeatureSpec, column_names, require_built

if TYPE_CHECKING:
    import pyarrow as pa

    from ethics.objections import ObjectionRegister

Compression = Literal["none", "lz4", "zstd", "snappy"]
BLOCK_PERSONS = 2_500
"""Persons of one block: few enough that their cells stay near the processor, and enough that each block is work."""
_CELLS_PER_ROW_GROUP = 2**23
_MOST_ROWS_PER_GROUP = 2**18


def matrix_blocks(
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    *,
    objections: ObjectionRegister,
    need_id: str,
    block_persons: int = BLOCK_PERSONS,
    threads: int = 1,
) -> Iterator[Matrix]:
    """The matrix of :func:`features.matrix.build_matrix`, block after block of whole persons.

    Persons come in the order of their ids, and the rows of a block in the order of as-of date and person. All blocks
    together, sorted, are the whole matrix to the byte, whatever the block size and the threads.

    Parameters
    ----------
    block_persons : int, 1 or more
        Persons of one block, objectors not counted.
    threads : int
        With more than one, that many further blocks are computed while this one is used.

    Yields
    ------
    Matrix
        Without label; ``n_objectors`` is that of the whole in every block.

    Raises
    ------
    DataError, SpecError
        As :func:`features.matrix.build_matrix`, at the call and not at the first block.
    """
    _refuse_counts(block_persons, threads)
    work = _prepare(city, features, keys, objections, need_id, threads)
    return _in_turn(work, _by_persons(work.place, block_persons), threads)


def _refuse_counts(block_persons: int, threads: int) -> None:
    if block_persons < 1 or threads < 1:
        raise ValueError(f"block_persons ({block_persons}) and threads ({threads}) are 1 or more")


class _Work(NamedTuple):
    """What is to be computed, checked and laid out."""

    laid_out: LaidOutFeatures
    place: KeyedRows
    names: tuple[str, ...]
    n_objectors: int

    def matrix(self, rows: slice | NDArray[np.int64], threads: int = 1) -> Matrix:
        place = self.place.part(rows)
        X = read_only(self.laid_out.columns(place, threads))
        return Matrix(place.keys, X, self.names, n_objectors=self.n_objectors)


def _prepare(
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    objections: ObjectionRegister,
    need_id: str,
    threads: int,
) -> _Work:
    refuse_wrong_types(features, keys)
    names = column_names(features)
    require_built(features)
    place, n_objectors = without_objectors(keyed_rows(city, keys, in_order=True), objections, need_id)
    masked = masked_persons(city, features, objections, need_id)
    laid_out = LaidOutFeatures(city, features, np.unique(place.as_of), masked=masked, threads=threads)
    return _Work(laid_out, place, names, n_objectors)


def _by_persons(place: KeyedRows, block_persons: int) -> list[slice | NDArray[np.int64]]:
    """The rows of each block, in their order; rows of one as-of date stand by person already."""
    persons, nth = np.unique(place.person, return_inverse=True)
    block = nth // block_persons
    order = np.argsort(block, kind="stable")
    ends = np.searchsorted(block[order], np.arange(1, -(-persons.size // block_persons)))
    return list(np.split(order, ends))


def _in_turn(work: _Work, parts: Sequence[slice | NDArray[np.int64]], threads: int) -> Iterator[Matrix]:
    """The blocks in their order, with as many computed ahead as there are threads."""
    if threads == 1:
        for part in parts:
            yield work.matrix(part)
        return
    ahead, following = deque[Future[Matrix]](), iter(parts)
    with ThreadPoolExecutor(threads) as pool:
        try:
            for part in islice(following, threads):
                ahead.append(pool.submit(work.matrix, part))
            while ahead:
                block = ahead.popleft().result()
                ahead.extend(pool.submit(work.matrix, part) for part in islice(following, 1))
                yield block
        finally:  # whoever stops listening, or an error, stops the work
            for future in ahead:
                future.cancel()


class WrittenMatrix(NamedTuple):
    """A matrix in a Parquet file, and the digest it would have in memory."""

    path: Path
    n_rows: int
    n_columns: int
    n_objectors: int
    digest: str


def write_matrix(
    path: str | Path,
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    *,
    objections: ObjectionRegister,
    need_id: str,
    block_persons: int = BLOCK_PERSONS,
    threads: int = 1,
    compression: Compression = "lz4",
) -> WrittenMatrix:
    """Compute a matrix block by block into one Parquet file; see :func:`write_blocks`.

    The blocks are of so many persons on one as-of date or on neighbouring ones, so that the file has the rows of
    :func:`features.matrix.build_matrix` in their order, and its digest.

    Raises
    ------
    DataError, SpecError
        As :func:`features.matrix.build_matrix`, before anything is written.
    OSError
        The file cannot be written; nothing is left of it.
    """
    _refuse_counts(block_persons, threads)
    work = _prepare(city, features, keys, objections, need_id, threads)
    n = work.place.person.size
    parts = [slice(start, start + block_persons) for start in range(0, n, block_persons)]
    return write_blocks(path, _in_turn(work, parts, threads), threads=threads, compression=compression)


def write_blocks(
    path: str | Path, blocks: Iterable[Matrix], *, threads: int = 1, compression: Compression = "lz4"
) -> WrittenMatrix:
    """Write blocks as they come into one Parquet file, which is there whole or not at all.

    The columns are ``person_id`` (text), ``as_of_date`` (day) and a float32 column per name, where NaN stays NaN.

    Parameters
    ----------
    path : file to write; what stood there is replaced
    blocks : of one matrix, in the order of as-of date and person
        Each is forgotten once it was copied: memory holds one of them and one row group.
    threads : int
        With more than one, the digest is computed while the file is written.

    Raises
    ------
    ValueError
        There is no block; or they are not of one matrix, or not in order.
    BadInput
        Another process is writing the same file.
    OSError
        The file cannot be written; nothing is left of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        return _write(file, path, iter(blocks), threads, compression)


def _write(file: Any, path: Path, blocks: Iterator[Matrix], threads: int, compression: Compression) -> WrittenMatrix:
    from pyarrow import parquet

    first = next(blocks, None)
    if first is None:
        raise ValueError("there is no block to write")
    names, n_objectors, keys = first.names, first.n_objectors, list[pl.DataFrame]()
    with ExitStack() as stack:
        beside = stack.enter_context(ThreadPoolExecutor(1)) if threads > 1 else None
        how = {"compression": compression, "use_dictionary": ["as_of_date"], "write_statistics": False}
        waiting = _RowGroup(stack.enter_context(parquet.ParquetWriter(file, _schema(names), **how)), names, beside)
        for block in chain([first], blocks):
            _refuse_disorder(keys[-1] if keys else None, block, names)
            keys.append(block.keys)
            waiting.add(block)
        waiting.write()
    together = pl.concat(keys)
    return WrittenMatrix(path, together.height, len(names), n_objectors, waiting.digest.of(together))


def _schema(names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    columns = [(name, pa.float32()) for name in names]
    return pa.schema([("person_id", pa.string()), ("as_of_date", pa.date32()), *columns])


def _refuse_disorder(before: pl.DataFrame | None, block: Matrix, names: Sequence[str]) -> None:
    if block.names != names:
        raise ValueError(f"a block has {len(block.names)} columns that are not the {len(names)} of the first")
    if before is not None and before.row(-1)[::-1] >= block.keys.row(0)[::-1]:
        raise ValueError("the blocks do not come in the order of as-of date and person")


class _RowGroup:
    """Rows that wait as columns, until they are enough to be written together."""

    def __init__(self, writer: Any, names: Sequence[str], beside: Executor | None) -> None:
        self.digest = MatrixDigest(names)
        self._writer, self._beside = writer, beside
        at_once = min(max(_CELLS_PER_ROW_GROUP // max(len(names), 1), 1), _MOST_ROWS_PER_GROUP)
        self._columns = np.empty((len(names), at_once), dtype=np.float32)
        self._keys: list[pl.DataFrame] = []
        self._n = 0

    def add(self, block: Matrix) -> None:
        start = 0
        while start < block.X.shape[0]:
            rows = block.X[start : start + self._columns.shape[1] - self._n]
            copy_transposed(frozen(rows), self._columns, self._n)
            self._keys.append(block.keys[start : start + rows.shape[0]])
            self._n += rows.shape[0]
            start += rows.shape[0]
            if self._n == self._columns.shape[1]:
                self.write()

    def write(self) -> None:
        import pyarrow as pa

        if not self._n:
            return
        columns = self._columns[:, : self._n]
        hashed = self._beside.submit(self.digest.update, columns) if self._beside else None
        keys = pl.concat(self._keys)
        ids, days = keys["person_id"].to_arrow().cast(pa.string()), keys["as_of_date"].to_arrow()
        cells = [as_arrow(column) for column in columns]
        self._writer.write_table(pa.Table.from_arrays([ids, days, *cells], schema=self._writer.schema))
        if hashed is None:
            self.digest.update(columns)
        else:
            hashed.result()
        self._keys, self._n = [], 0
