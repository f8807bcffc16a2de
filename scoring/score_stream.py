"""Scores of a matrix that does not fit in memory: block after block, of which the best rows are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from ethics.whole_file import whole_file
from features.arrays import read_only
from features.matrix import Matrix

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from scoring.scorer import Scorer

_ROWS = 2**14
_NOBODY = pl.DataFrame(schema={"person_id": pl.String, "raw": pl.Float64, "tie_key": pl.String})


def parquet_blocks(paths: Sequence[Path], names: Sequence[str], rows: int = _ROWS) -> Iterator[Matrix]:
    """The rows of Parquet files as :func:`features.blocks.write_matrix` writes them, in their order.

    Parameters
    ----------
    paths : the parts of one matrix
    names : columns of the matrix, in the order that is wanted
    rows : int
        Rows of a block at most; memory holds one block, and what of its row group is decoded.

    Yields
    ------
    Matrix
        Without label; ``n_objectors`` is not known from a file and 0.

    Raises
    ------
    BadInput
        Columns that a file lacks or holds as another type, of every file, at the call and not at the first block.
    """
    import pyarrow as pa
    from pyarrow import parquet

    text, day, cell = (pa.string(), pa.large_string()), (pa.date32(),), (pa.float32(),)
    wanted = {"person_id": text, "as_of_date": day, **dict.fromkeys(names, cell)}
    faults = list[Fault]()
    for path in paths:
        found = {field.name: field.type for field in parquet.read_schema(path)}
        wrong = [f"{name} ({found.get(name, 'missing')})" for name, may in wanted.items() if found.get(name) not in may]
        if wrong:
            listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
            mend = "Write the matrix of this need, by features.blocks.write_matrix for instance"
            faults.append(Fault(path.name, f"has not the columns of the matrix: {listed}", mend))
    if faults:
        raise BadInput(*faults)
    return (block for path in paths for block in _blocks_of(path, tuple(names), rows))


def _blocks_of(path: Path, names: tuple[str, ...], rows: int) -> Iterator[Matrix]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(rows, columns=["person_id", "as_of_date", *names], use_threads=False):
            cells = np.empty((len(names), batch.num_rows), dtype=np.float32)
            for name, cell in zip(names, cells, strict=True):
                cell[:] = batch.column(name).to_numpy(zero_copy_only=False)  # null becomes NaN
            keys = pl.from_arrow(batch.select(["person_id", "as_of_date"]))
            assert isinstance(keys, pl.DataFrame)
            yield Matrix(keys, read_only(cells.T), names)


class BestRows:
    """The first ``k`` of rows that come block by block, by raw score and then by tie key.

    Memory holds no more than twice ``k`` rows and a block. Tie keys are made for those alone who can still be listed.

    Parameters
    ----------
    k : int, 1 or more
    tie_keys_of : callable
        Persons → their tie keys; see :meth:`scoring.scorer.Scorer.tie_keys`.
    """

    def __init__(self, k: int, tie_keys_of: Callable[[Sequence[str]], list[str]]) -> None:
        if k < 1:
            raise ValueError(f"k ({k}) is 1 or more")
        self._k, self._tie_keys_of, self._kept = k, tie_keys_of, _NOBODY

    def add(self, person_ids: pl.Series, raw: NDArray[np.float64]) -> None:
        """Take in a block: text (n,) and float64 (n,)."""
        if self._kept.height == self._k:
            here = raw >= self._kept["raw"][-1]
        elif raw.size > self._k:
            here = raw >= np.partition(raw, raw.size - self._k)[raw.size - self._k]
        else:
            here = np.ones(raw.size, dtype=bool)
        if not here.any():
            return
        ids = person_ids.filter(pl.Series(here))
        keys = pl.Series(self._tie_keys_of(ids.to_list()), dtype=pl.String)
        more = pl.DataFrame({"person_id": ids, "raw": raw[here], "tie_key": keys})
        ordered = pl.concat([self._kept, more]).sort(["raw", "tie_key"], descending=[True, False])
        self._kept = ordered.head(self._k)

    def frame(self) -> pl.DataFrame:
        """Those kept, first rank first: ``person_id``, ``raw`` and ``tie_key``."""
        return self._kept


def stream_scores(
    scorer: Scorer,
    blocks: Iterable[Matrix],
    objections: ObjectionRegister,
    *,
    k: int,
    to: Path | None = None,
    threads: int | None = None,
) -> pl.DataFrame:
    """Score blocks of one as-of date as they come, write all scores to a file, and give back the first ``k`` persons.

    Scores and order are those of :meth:`scoring.scorer.Scorer.score` to the last bit. Whoever objects by now is left
    out, even if the blocks were computed before.

    Parameters
    ----------
    scorer : Scorer
        Of a learned need; a written rule orders a whole cohort and nobody alone.
    blocks : of one matrix, each person once
        From :func:`parquet_blocks` or :func:`features.blocks.matrix_blocks`.
    objections : ObjectionRegister
    k : int, 1 or more
    to : Path, optional
        Parquet file of ``person_id`` and ``score``, in the order of the blocks; there whole or not at all.
    threads : int, optional
        See :meth:`scoring.forest.Forest.raw_scores`.

    Returns
    -------
    pl.DataFrame
        ``person_id``, ``raw``, ``tie_key``, ``score`` and ``rank``, first rank first.

    Raises
    ------
    BadInput
        The scorer's need is a rule; there is no row; a block has other columns, or another as-of date than the first.
    NotTrusted
        Somebody's score is no score.
    """
    if scorer.model.kind == "rule":
        raise BadInput(Fault("model", "is a written rule", "Score the whole cohort at once, by Scorer.score"))
    following = (block for block in blocks if len(block.X))
    first = next(following, None)
    if first is None:
        raise BadInput(Fault("matrix", "has no rows", "Compute the features of a cohort first"))
    day = first.keys["as_of_date"][0]
    best = BestRows(k, partial(scorer.tie_keys, as_of_date=day))
    with _score_file(to) as write:
        for block in chain([first], following):
            _refuse_another(scorer, block, day)
            keep = ~objections.objecting(block.keys["person_id"].to_list(), scorer.need.id)
            block = block if keep.all() else block.rows(keep)
            raw, score = scorer.raw_and_score(block.X, threads)
            best.add(block.keys["person_id"], raw)
            write(block.keys["person_id"], score)
    found = best.frame()
    probability = pl.Series("score", scorer.model.probability(found["raw"].to_numpy()), dtype=pl.Float64)
    return found.with_columns(probability, rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32))


def _refuse_another(scorer: Scorer, block: Matrix, day: object) -> None:
    faults = []
    if tuple(block.names) != tuple(scorer.model.columns):
        faults.append(Fault("matrix", "has other columns than the model takes", "Build the matrix from the same need"))
    if (block.keys["as_of_date"] != day).any():
        faults.append(Fault("as_of_date", "is not the same in all rows", "Score one as-of date at a time"))
    if faults:
        raise BadInput(*faults)


@contextmanager
def _score_file(path: Path | None) -> Iterator[Callable[[pl.Series, NDArray[np.float64] | None], None]]:
    """What writes a block's scores to a file, or to nowhere."""
    if path is None:
        yield lambda person_ids, score: None
        return
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("person_id", pa.string()), ("score", pa.float64())])
    with whole_file(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(person_ids: pl.Series, score: NDArray[np.float64] | None) -> None:
            writer.write_table(pa.table([person_ids.to_arrow().cast(pa.string()), pa.array(score)], schema=schema))

        yield write
