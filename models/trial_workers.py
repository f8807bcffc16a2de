"""Settings of the trees tried on the inner origins, in this process or in several.

What several processes read lies in a folder that only its owner may enter, as plain arrays without person ids; the
features are mapped into memory, so that the processes share one copy.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from ethics.refusals import BadInput, Fault
from models.inner_origins import InnerOrigin
from models.refits import Figure, Parameters, figure_of, rank_scores

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need


class Task(NamedTuple):
    """One setting on one origin."""

    parameters: Parameters
    origin: int


class Trials(Protocol):
    """Where tasks are worked off; answers come in the order of the tasks."""

    def scores(self, tasks: Sequence[Task]) -> Iterator[np.ndarray]:
        """Raw scores of the origins' test rows: float64 (n_test,) each."""


@dataclass(frozen=True)
class TrialData:
    """Everything a trial needs.

    Attributes
    ----------
    period : int64 (n,)
        Rows compete for places within it.
    weights : float64 (n,) or None
    threads : int or None
        Of LightGBM; None lets it choose.
    """

    matrix: Matrix
    need: Need
    origins: tuple[InnerOrigin, ...]
    seed: int
    period: np.ndarray
    weights: np.ndarray | None
    threads: int | None = None

    def scores(self, tasks: Sequence[Task]) -> Iterator[np.ndarray]:
        """See :class:`Trials`."""
        return map(self.score, tasks)

    def score(self, task: Task) -> np.ndarray:
        """Raw scores of the test rows of one origin: float64 (n_test,)."""
        origin = self.origins[task.origin]
        return rank_scores(
            self.matrix.rows(origin.train),
            self.matrix.X[origin.test],
            self.need,
            self.seed,
            parameters=task.parameters,
            weights=None if self.weights is None else self.weights[origin.train],
            threads=self.threads,
        )

    def figure(self, scores: np.ndarray, number: int) -> Figure:
        """What scores of the test rows find on the origin of that number."""
        origin = self.origins[number]
        assert self.matrix.y is not None
        weights = None if self.weights is None else self.weights[origin.test]
        return figure_of(self.matrix.y[origin.test], scores, self.period[origin.test], origin.k, weights)


@contextmanager
def trials_in(data: TrialData, workers: int, store: Path) -> Iterator[Trials]:
    """Where to try settings: this process, or so many others that share a folder beside ``store`` while it lasts.

    Raises
    ------
    BadInput
        Another search uses the store; a process ended before its answer, as one does that finds no memory.
    """
    folder = store.with_name(f".{store.name}.matrix")
    with _locked(store):
        try:
            shutil.rmtree(folder, ignore_errors=True)  # left by a search that was killed
            if workers == 1:
                yield data
                return
            _write(data, folder)
            with _Pool(data, workers, folder) as pool:
                yield pool
        except BrokenProcessPool:
            wrong = f"is {workers}, and one of the processes ended before its trial did, probably for want of memory"
            raise BadInput(Fault("workers", wrong, "Give fewer; the search goes on where it was")) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """One search at a time in a store; the lock ends with its holder, even a killed one."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = store.with_name(f".{store.name}.lock").open("ab")
    except OSError as error:
        wrong = f"cannot be written to ({error.strerror})"
        raise BadInput(Fault(str(store), wrong, "Give a file in a folder that you may write to")) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wrong = "is used by another search"
            raise BadInput(Fault(str(store), wrong, "Wait until it ends, or give another file")) from None
        yield


class _Pool:
    """Processes that hold the same data."""

    def __init__(self, data: TrialData, workers: int, folder: Path) -> None:
        names = tuple(origin.name for origin in data.origins)
        ks = tuple(origin.k for origin in data.origins)
        start = (folder, data.need.bytes, data.need.id, data.matrix.names, names, ks, data.seed)
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _open_data, start)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def scores(self, tasks: Sequence[Task]) -> Iterator[np.ndarray]:
        return self._pool.map(_score, tasks)


def _write(data: TrialData, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    days = data.matrix.keys["as_of_date"].to_numpy().astype("datetime64[D]").astype(np.int32)
    arrays: dict[str, Any] = {
        "X": data.matrix.X,
        "y": data.matrix.y,
        "day": days,
        "period": data.period,
        "train": np.stack([origin.train for origin in data.origins]),
        "test": np.stack([origin.test for origin in data.origins]),
    }
    if data.weights is not None:
        arrays["weights"] = data.weights
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(values), allow_pickle=False)


# ---- in the other processes ----------------------------------------------------------------------------------------

_data: list[TrialData] = []


def _open_data(
    folder: Path,
    need_bytes: bytes,
    need_id: str,
    names: tuple[str, ...],
    origins: tuple[str, ...],
    ks: tuple[int, ...],
    seed: int,
) -> None:
    """Open what :func:`_write` wrote, once per process."""
    from features.matrix import Matrix
    from models.need import parse_need

    threading.Thread(target=_end_with_parent, daemon=True).start()
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    days = pl.Series(arrays["day"].astype("datetime64[D]"))
    # Whose row it is, scores do not need to know.
    keys = pl.DataFrame({"person_id": pl.Series(np.arange(len(days))).cast(pl.String), "as_of_date": days})
    parts = zip(origins, arrays["train"], arrays["test"], ks, strict=True)
    _data[:] = [
        TrialData(
            matrix=Matrix(keys=keys, X=arrays["X"], names=names, y=np.array(arrays["y"])),
            need=parse_need(need_bytes, f"{need_id}.toml"),
            origins=tuple(InnerOrigin(name, np.array(train), np.array(test), k) for name, train, test, k in parts),
            seed=seed,
            period=arrays["period"],
            weights=arrays.get("weights"),
            threads=1,
        )
    ]


def _end_with_parent() -> None:
    """A killed parent cannot send its processes home: each watches for itself."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score(task: Task) -> np.ndarray:
    return _data[0].score(task)
