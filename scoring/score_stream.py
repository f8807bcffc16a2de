"""Scores of a matrix that does not fit in memory: block after block, of which the best rows are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from ethics.whole_file import whole_file
from models.ties import tie_keys

if TYPE_CHECKING:
    from datetime import date

    from ethics.objections import ObjectionRegister
    from scoring.scorer import Scorer

_ROWS = 2**14


class Block(NamedTuple):
    """Some rows of a matrix: ``person_id`` and ``as_of_date``, and float32 (n, p) in either order of memory."""

    keys: pl.DataFrame
    X: NDArray[np.float32]


def parquet_blocks(paths: Sequence[Path], names: Sequence[str], rows: int = _ROWS) -> Iterator[Block]:
    """The rows of Parquet files as :func:`features.blocks.write_matrix` writes them, in their order.

    Parameters
    ----------
    names : columns of the matrix, in the order that is wanted
    rows : int
        Rows of a block at most; memory holds one block, and what of its row group was decoded.

    Raises
    ------
    BadInput
        Each column that a file lacks or holds as another type, of all files, before anything is read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    wanted = {"person_id": pa.string(), "as_of_date": pa.date32(), **dict.fromkeys(names, pa.float32())}
    faults = list[Fault]()
    for path in paths:
        found = {field.name: field.type for field in parquet.read_schema(path)}
        wrong = [f"{name} ({found.get(name, 'missing')})" for name, kind in wanted.items() if found.get(name) != kind]
        if wrong:
            mend = "Write the matrix of this need, for instance by features.write_matrix"
            faults.append(Fault(path.name, f"has not the columns of the matrix: {', '.join(wrong[:5])}", mend))
    if faults:
        raise BadInput(*faults)
    return _read(paths, names, rows)


def _read(paths: Sequence[Path], names: Sequence[str], rows: int) -> Iterator[Block]:
    from pyarrow import parquet

    for path in paths:
        with parquet.ParquetFile(path, memory_map=True) as file:
            for group in range(file.num_row_groups):
                columns = ["person_id", "as_of_date", *names]
                for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                    cells = np.empty((len(names), batch.num_rows), dtype=np.float32)
                    for name, cell in zip(names, cells, strict=True):
                        cell[:] = batch.column(name).to_numpy(zero_copy_only=False)  # null becomes NaN
                    keys = pl.from_arrow(batch.select(["person_id", "as_of_date"]))
                    assert isinstance(keys, pl.DataFrame)
                    yield Block(keys, cells.T)


class BestRows:
    """The first ``k`` of rows that come block by block, by raw score and then by tie key.

    Memory holds no more than twice ``k`` rows and a block. Tie keys are made for those alone who can still be listed.

    Parameters
    ----------
    k : int, 1 or more
    secret, model_digest, as_of_date
        See :func:`models.ties.tie_keys`.
    """

    def __init__(self, k: int, secret: bytes, model_digest: str, as_of_date: date) -> None:
        if k < 1:
            raise ValueError(f"k ({k}) is 1 or more")
        self._k, self._key = k, (secret, model_digest, as_of_date)
        self._kept = _NOBODY

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
        secret, model_digest, as_of_date = self._key
        keys = tie_keys(secret, ids.to_list(), model_digest, as_of_date)
        more = pl.DataFrame({"person_id": ids, "raw": raw[here], "tie_key": pl.Series(keys, dtype=pl.String)})
        ordered = pl.concat([self._kept, more]).sort(["raw", "tie_key"], descending=[True, False])
        self._kept = ordered.head(self._k)

    def frame(self) -> pl.DataFrame:
        """Those kept, first first: ``person_id``, ``raw`` and ``tie_key``."""
        return self._kept


_NOBODY = pl.DataFrame(schema={"person_id": pl.String, "raw": pl.Float64, "tie_key": pl.String})


def stream_scores(
    scorer: Scorer,
    blocks: Iterable[Block],
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
    blocks : of whole persons, each at most once
    objections : ObjectionRegister
    k : int, 1 or more
    to : Path, optional
        Parquet file of ``person_id`` and ``score`` in the order of the blocks, there whole or not at all.
    threads : int, optional
        For scoring; see :meth:`scoring.forest.Forest.raw_scores`.

    Returns
    -------
    pl.DataFrame
        ``person_id``, ``raw``, ``tie_key``, ``score`` and ``rank``, first rank first.

    Raises
    ------
    BadInput
        The scorer's need is a rule; the blocks are of several as-of dates, or there is none.
    NotTrusted
        Somebody's score is no score.
    """
    if scorer.model.kind == "rule":
        raise BadInput(Fault("model", "is a written rule", "Score the whole cohort at once: Scorer.score"))
    best: BestRows | None = None
    day: date | None = None
    with ExitStack() as stack:
        write = None if to is None else stack.enter_context(_ScoreFile(to))
        for block in blocks:
            best, day = _same_day(scorer, block, best, day, k)
            keep = ~objections.objecting(block.keys["person_id"].to_list(), scorer.need.id)
            keys, X = block if keep.all() else (block.keys.filter(pl.Series(keep)), block.X[keep])
            raw, score = scorer.raw_and_score(X, threads)
            best.add(keys["person_id"], raw)
            if write is not None:
                write.rows(keys["person_id"], score)
        if best is None:
            raise BadInput(Fault("matrix", "has no rows", "Compute the features of a cohort first"))
    found = best.frame()
    score = scorer.model.probability(found["raw"].to_numpy())
    return found.with_columns(score=pl.Series(score), rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32))


def _same_day(
    scorer: Scorer, block: Block, best: BestRows | None, day: date | None, k: int
) -> tuple[BestRows, date | None]:
    days = block.keys["as_of_date"].unique().to_list()
    if len(days) > 1 or (days and best is not None and days[0] != day):
        raise BadInput(Fault("as_of_date", "is not the same in all rows", "Score one as-of date at a time"))
    if best is None or day is None:
        day = days[0] if days else None
        best = scorer.best_rows(k, day)
    return best, day


class _ScoreFile:
    """Scores on their way to a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._stack, self._writer = path, ExitStack(), None

    def __enter__(self) -> _ScoreFile:
        return self
