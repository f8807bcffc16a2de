"""What a list needs to know of a cohort's columns, each read and put in order once: a matrix need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ethics.population_stability import counts_in_order
from models.input_noise import quantum_of
from models.tree_fitting import categories_of
from scoring.forest import processors
from scoring.reasons import Typical, median_of

if TYPE_CHECKING:
    from features.matrix import Matrix
    from features.matrix_file import MatrixOnFile
    from models.need import Need


class _Column(NamedTuple):
    median: float
    quantum: float
    counts: list[int] | None


@dataclass(frozen=True)
class CohortColumns:
    """What is typical in each column, by how much it steps, and how it is spread over the bins of a reference.

    Attributes
    ----------
    typical : Typical
        As :meth:`scoring.reasons.Typical.of` finds it.
    quanta : float32 (p,)
        As :func:`models.input_noise.quanta_of` does; 0 for a rule, which nothing moves.
    counts : mapping of column to counts
        As :func:`ethics.population_stability.counts_like` counts them; empty without a reference.
    """

    typical: Typical
    quanta: NDArray[np.float32]
    counts: Mapping[str, list[int]]

    @classmethod
    def of(
        cls, matrix: Matrix | MatrixOnFile, need: Need, reference: Mapping[str, Any] | None, threads: int | None = None
    ) -> CohortColumns:
        """Read the columns of a matrix.

        Parameters
        ----------
        reference : mapping, optional
            That of the verdict in use (:func:`ethics.population_stability.reference_of`).
        threads : int, optional
            Default: as many as there are processors; the result is the same.
        """
        binned = {} if reference is None else reference["columns"]
        still = frozenset(matrix.names) if need.kind == "rule" else frozenset(categories_of(need))
        names = matrix.names

        def look(numbered: tuple[int, NDArray[np.float32]]) -> _Column:
            j, values = numbered
            return _looked_at(values, binned.get(names[j]), moves=names[j] not in still)

        found = list(_in_threads(look, matrix.columns(), threads or processors()))
        return cls(
            Typical({name: column.median for name, column in zip(names, found, strict=True)}),
            np.array([column.quantum for column in found], dtype=np.float32),
            {name: column.counts for name, column in zip(names, found, strict=True) if column.counts is not None},
        )


def _looked_at(values: NDArray[np.float32], binned: Mapping[str, Any] | None, *, moves: bool) -> _Column:
    """One column, whose values are put in order where they stand."""
    values.sort()  # NaN last
    ordered = values[: int(np.searchsorted(values, np.nan))]
    counts = None if binned is None else counts_in_order(binned, ordered, values.size - ordered.size)
    return _Column(median_of(ordered), quantum_of(ordered) if moves else 0.0, counts)


def _in_threads(look: Callable[[Any], _Column], columns: Iterator[Any], threads: int) -> Iterator[_Column]:
    """In the order of the columns, of which no more are read ahead than there are threads twice over."""
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(columns, 2 * threads)):
            yield from pool.map(look, some)
