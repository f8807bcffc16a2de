"""Scores and contributions by a booster's trees: LightGBM's to the last bit, and several times as fast.

:class:`Forest` walks the trees itself (:mod:`scoring.forest_kernels`, :mod:`scoring.tree_shap`). Where it does not know
them (:class:`scoring.forest_reader.UnknownTrees` says why) LightGBM walks them, so that whoever asks need not care.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.arrays import frozen
from scoring.forest_layout import Layout, lay_out
from scoring.forest_reader import Trees, UnknownTrees, read_trees

if TYPE_CHECKING:
    from scoring.tree_shap import Paths

_CELL_BYTES = 2**19
"""Memory of the cells of a block of rows: a part of a processor's second cache."""
_MOST_ROWS, _EXPLAINED_ROWS = 1024, 128
_ROWS_PER_THREAD = 4096
"""Fewer rows than this are not worth a thread of their own."""


class Forest:
    """A booster's trees, ready to score.

    Parameters
    ----------
    text : bytes
        LightGBM's text form (``Booster.model_to_string()``, or a model's ``trees.txt``).

    Attributes
    ----------
    unknown : str or None
        Why LightGBM itself scores; None if the trees are walked here.

    Examples
    --------
    >>> forest = Forest(model.trees)                                              # doctest: +SKIP
    >>> forest.raw_scores(X).tobytes() == model.raw(X).tobytes()                  # doctest: +SKIP
    True
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.unknown: str | None = None
        self._trees: Trees | None = None
        self._layout: Layout | None = None
        try:
            self._trees = read_trees(text)
            self._layout = _unchanging(lay_out(self._trees))
        except UnknownTrees as refusal:
            self.unknown = str(refusal)

    @cached_property
    def n_features(self) -> int:
        """Columns of the matrix it scores."""
        return self._booster.num_feature() if self._trees is None else self._trees.n_features

    @cached_property
    def unknown_shares(self) -> str | None:
        """Why LightGBM itself explains; None if contributions are computed here."""
        return self.unknown or (self._paths if isinstance(self._paths, str) else None)

    def raw_scores(self, X: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float64]:
        """Raw scores: those of ``Booster.predict(X, raw_score=True)``, bit by bit, with any number of threads.

        Parameters
        ----------
        X : float32 (n, n_features)
            In either order of memory; NaN is missing.
        threads : int, optional
            Default: as many as there are processors, if there are rows enough.

        Returns
        -------
        float64 (n,)
            Or (n, outputs) from a booster with several, which LightGBM itself scores.

        Raises
        ------
        BadInput
            ``X`` has another number of columns, or another type.
        """
        self._refuse(X)
        layout = self._layout
        if layout is None:
            return self._by_lightgbm(X, threads, raw_score=True)
        columns, found = _columns_of(X), np.empty(len(X))
        rows = max(8, min(_MOST_ROWS, _CELL_BYTES // (32 * max(layout.source.size, 1)) * 8))
        _in_parts(len(X), threads, _ROWS_PER_THREAD, lambda part: _score(layout, columns, part, rows, found))
        return found

    def contributions(self, X: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float64]:
        """What each column adds to the raw score, and last the level they start from.

        Those of ``Booster.predict(X, pred_contrib=True)`` within 1e-12 of the largest, from whichever rows it is asked
        together with. Parameters and refusals are those of :meth:`raw_scores`.

        Returns
        -------
        float64 (n, n_features + 1)
        """
        self._refuse(X)
        paths = self._paths
        if paths is None or isinstance(paths, str):
            return self._by_lightgbm(X, threads, pred_contrib=True)
        found = np.empty((len(X), self.n_features + 1))
        _in_parts(len(X), threads, _EXPLAINED_ROWS, lambda part: _explain(paths, X[part], found[part]))
        return found

    @cached_property
    def _paths(self) -> Paths | str | None:
        """What contributions are computed from, or why they cannot be."""
        from scoring.tree_shap import paths_of

        try:
            return None if self._trees is None else _unchanging(paths_of(self._trees))
        except UnknownTrees as refusal:
            return str(refusal)

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self._text.decode("utf-8"))

    def _by_lightgbm(self, X: NDArray[np.float32], threads: int | None, **what: bool) -> NDArray[np.float64]:
        n = 1 if len(X) < _ROWS_PER_THREAD else threads or 0
        if len(X):
            return np.asarray(self._booster.predict(np.ascontiguousarray(X), num_threads=n, **what), dtype=np.float64)
        one = self._booster.predict(np.zeros((1, self.n_features), dtype=np.float32), num_threads=1, **what)
        return np.asarray(one, dtype=np.float64)[:0]

    def _refuse(self, X: NDArray[np.float32]) -> None:
        if X.ndim != 2 or X.shape[1] != self.n_features:
            wrong = f"has shape {X.shape}, and the model takes {self.n_features} columns"
            raise BadInput(Fault("matrix", wrong, "Build the matrix from the need that the model was trained for"))
        if X.dtype != np.float32:
            raise BadInput(Fault("matrix", f"holds {X.dtype}", "Give float32, as a matrix of features holds"))


@lru_cache(maxsize=16)
def forest_of(trees: bytes) -> Forest:
    """The forest of a text, made once: an online service asks for the same few again and again."""
    return Forest(trees)


def raw_scores(model: Any, X: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float64]:
    """Raw scores of a learned need by its forest, of whatever else ranks (a rule) by itself: float64 (n,)."""
    trees = getattr(model, "trees", None)
    return np.asarray(model.raw(X) if trees is None else forest_of(trees).raw_scores(X, threads), dtype=np.float64)


def contributions(model: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Contributions to the raw scores of a learned need by its forest: float64 (n, p + 1)."""
    return forest_of(model.trees).contributions(X)


def _score(layout: Layout, columns: NDArray[np.float32], part: slice, rows: int, out: NDArray[np.float64]) -> None:
    from scoring.forest_kernels import LANES, add_scores, write_cells

    groups = -(-min(rows, part.stop - part.start) // LANES)
    cells = np.zeros((groups, layout.source.size * LANES), dtype=np.uint32)
    sums = np.empty(groups * LANES)
    bits, words, values = columns.view(np.uint32), layout.words, layout.words.view(np.float64)
    first_category = None if layout.n_numbers == layout.source.size else np.uint64(layout.n_numbers)
    for start in range(part.start, part.stop, rows):
        stop = min(start + rows, part.stop)
        write_cells(bits, columns, start, stop, layout.source, layout.rule, layout.first_code, cells)
        sums[:] = 0.0
        add_scores(words, values, layout.pieces, cells, -(-(stop - start) // LANES), first_category, sums)
        out[start:stop] = sums[: stop - start]


def _explain(paths: Paths, X: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    from scoring.tree_shap import add_contributions, quadrature

    points, weights = map(frozen, quadrature(int(paths.n_points.max())))
    for start in range(0, len(X), _EXPLAINED_ROWS):
        columns = frozen(X[start : start + _EXPLAINED_ROWS].T)
        found = np.zeros((X.shape[1] + 1, columns.shape[1]))
        add_contributions(columns, paths, points, weights, found)
        out[start : start + columns.shape[1]] = found.T


def _columns_of(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """The columns of a matrix as one of the two kinds of array that the kernel is compiled for."""
    by_column = X.flags.f_contiguous and not X.flags.c_contiguous
    columns: NDArray[np.float32] = frozen(X.T) if by_column else frozen(X).T
    return columns


def _unchanging(table: Any) -> Any:
    """The same arrays, each read-only and in one piece."""
    return type(table)(*(frozen(part) if isinstance(part, np.ndarray) else part for part in table))


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parts(n: int, threads: int | None, fewest: int, work: Callable[[slice], None]) -> None:
    """Do work on rows in as many parts as there are threads, none of them with few rows."""
    most = threads or processors()
    parts = max(1, min(most, n // fewest))
    bounds = np.linspace(0, n, parts + 1).astype(int).tolist()
    slices = [slice(start, stop) for start, stop in pairwise(bounds)]
    if parts == 1:
        work(slices[0])
        return
    with ThreadPoolExecutor(parts) as pool:
        for _ in pool.map(work, slices):
            pass


def warm_up() -> None:
    """Compile, or load from numba's cache, every kernel, so that the first person asked about does not wait."""
    head = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\ntree_sizes=1\n"
    ends = "left_child=-1\nright_child=-2\nleaf_value=0 1\nleaf_count=1 1\ninternal_count=2\nis_linear=0\n"
    number = "num_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=8\n"
    category = "num_leaves=2\nnum_cat=1\nsplit_feature=0\nthreshold=0\ndecision_type=9\n"
    for split in (number, f"{category}cat_boundaries=0 1\ncat_threshold=1\n"):
        forest = Forest(f"{head}\nTree=0\n{split}{ends}\nend of trees\n".encode())
        forest.raw_scores(np.zeros((2, 1), dtype=np.float32), threads=1)
        forest.contributions(np.zeros((2, 1), dtype=np.float32), threads=1)
