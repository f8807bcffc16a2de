"""What every rival shares: placing a long result into the dense matrix, so that all pay the same for it.

A rival computes, for each (person, group, bucket) of an as-of date, the measures of the events whose smallest window is
that bucket. From there the dense matrix is plain numpy, and written here once, as well as we can.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import date

import numpy as np

EVER_DAYS = 400_000
"""Days of the window "ever": more than lie between any two dates here."""
DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_PERSONS_AT_ONCE = 500  # so that the part of the matrix being written stays in the second-level cache


class Stopwatch:
    """CPU seconds spent in one part of a run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self):
        start = time.process_time()
        yield
        self.seconds += time.process_time() - start


def window_days(block) -> list[int]:
    """The block's windows in whole days, in the order of the specs (which is nearest first)."""
    return [EVER_DAYS if w == "ever" else w for w in block.windows]


def epoch_day(day: date) -> int:
    return (day - _EPOCH).days


class Dense:
    """The dense matrix: as-of dates × persons, groups × windows × measures."""

    def __init__(self, n_dates: int, n_persons: int, block) -> None:
        self.block = block
        self.cells = np.empty(
            (n_dates, n_persons, len(block.prefixes), len(block.windows), len(block.measures)), dtype=np.float32
        )
        self._scratch: dict[str, np.ndarray] = {}

    @property
    def matrix(self) -> np.ndarray:
        return self.cells.reshape(self.cells.shape[0] * self.cells.shape[1], -1)

    def spread(self, name: str, empty: float) -> np.ndarray:
        """An empty array (windows, persons, groups) of one measure, the same memory for every as-of date."""
        if name not in self._scratch:
            shape = (self.cells.shape[3], *self.cells.shape[1:3])
            self._scratch[name] = np.empty(shape, np.float64 if name in _NEEDS_DOUBLE else np.float32)
        self._scratch[name].fill(empty)
        return self._scratch[name]

    def place(self, d: int, found: dict[str, np.ndarray]) -> None:
        """One as-of date's measures, each (windows, persons, groups) or a scalar, into their columns."""
        target = self.cells[d]
        for start in range(0, target.shape[0], _PERSONS_AT_ONCE):
            part = slice(start, start + _PERSONS_AT_ONCE)
            for m, measure in enumerate(self.block.measures):
                for w in range(target.shape[2]):
                    target[part, :, w, m] = found[measure][w, part]


_EMPTY_IS_ZERO = {"count", "n_values", "sum", "squares", "distinct_codes"}
_JOIN = {
    "min": np.fmin,
    "max": np.fmax,
    "days_since_last": np.fmin,
    "days_since_first": np.fmax,
    "last_row": np.fmax,
}
_NEEDS_DOUBLE = {"sum", "squares", "last_row"}


def place_buckets(
    dense: Dense,
    d: int,
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    watch: Stopwatch,
    values: np.ndarray | None = None,
) -> None:
    """Cumulate one as-of date's buckets over the windows, and place them.

    Parameters
    ----------
    d : int
        Which as-of date.
    parts : (key (n,), name → number (n,)) each
        ``key`` = (bucket × persons + person) × groups + group, each once; of the events in that bucket ``count``,
        ``n_values``, ``sum``, ``min``, ``max``, ``days_since_last``; for spec B also ``squares`` (their sum),
        ``days_since_first``, ``last_row`` (of the last value, among ``values``) and ``distinct_codes`` (those that do
        not occur in a nearer bucket).
    watch
        Runs while the long result is scattered and while the matrix is written. Not while it is cumulated: whoever is
        content with the long result needs that too.
    values : float32 or None
        What ``last_row`` points into.
    """
    found = {}
    for key, long in parts:
        for name, numbers in long.items():
            with watch.running():
                cells = dense.spread(name, 0 if name in _EMPTY_IS_ZERO else np.nan)
                cells.reshape(-1)[key] = numbers
            for w in range(1, cells.shape[0]):
                _JOIN.get(name, np.add)(cells[w - 1], cells[w], out=cells[w])
            found[name] = cells
    complete_and_place(dense, d, found, watch, values)


def complete_and_place(
    dense: Dense, d: int, found: dict[str, np.ndarray], watch: Stopwatch, values: np.ndarray | None = None
) -> None:
    """Derive mean, std and last from what was cumulated, (windows, persons, groups) each, and place everything."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found["mean"] = found["sum"] / found["n_values"]
        if "squares" in found:
            found["std"] = np.sqrt(np.maximum(found.pop("squares") / found["n_values"] - found["mean"] ** 2, 0))
            found["std"][found["n_values"] < 2] = np.nan
    found["sum"][found["n_values"] == 0] = np.nan
    if values is not None:
        row = found.pop("last_row")
        found["last"] = np.where(np.isnan(row), np.float32(np.nan), values[np.nan_to_num(row).astype(np.int64)])
    with watch.running():
        dense.place(d, found)


def place_long(dense: Dense, d: int, person: np.ndarray, group: np.ndarray, columns: list[np.ndarray]) -> None:
    """One as-of date's long result whose windows are whole already: a row per person and group, all columns wide."""
    _, n_persons, n_groups, n_windows, n_measures = dense.cells.shape
    dense.cells[d] = [0.0 if m in _EMPTY_IS_ZERO - {"sum"} else np.nan for m in dense.block.measures]
    flat = dense.cells[d].reshape(n_persons * n_groups, n_windows * n_measures)
    together = np.empty((len(person), len(columns)), dtype=np.float32)
    for k, column in enumerate(columns):
        together[:, k] = column
    flat[person.astype(np.int64) * n_groups + group] = together
