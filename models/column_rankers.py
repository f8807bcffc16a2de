"""Each column of a matrix as a ranker of its own: which end comes first, and how much need its first k places hold.

Directions are learnt on rows to learn from, figures come from rows to be judged on. A city's matrix has hundreds of
columns, so nothing here sorts all rows of a column where the rows near the cut will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numba import njit, prange
from numpy.typing import NDArray

from models.exact_bounds import Bounds, few_bounds
from models.metrics import TAIL, Estimate, widened
from models.written_order import OrderTerm

Floats = NDArray[np.float64]

REPLICATES = 200
_MOST_CELLS = 10_000_000
_BLOCK = 64  # columns laid out together
_Z = 1.959963984540054


def learn_directions(
    X: np.ndarray, label: np.ndarray, names: Sequence[str], weight: np.ndarray | None = None
) -> tuple[OrderTerm, ...]:
    """Which end of each column comes first, and where its missing values go.

    Parameters
    ----------
    X : float32 (n, p)
    label : float (n,) of 0 and 1
    names : sequence of str (p,)
    weight : float (n,), optional

    Returns
    -------
    tuple of OrderTerm (p,)
        High values first if need is likelier among them (AUC among known values of at least 0.5); the missing first
        if need is likelier among them than among the rest.
    """
    y, w = np.asarray(label, dtype=np.float64), _ones(weight, len(label))
    terms = []
    for start, columns in _blocks(X):
        aucs = _aucs(columns, y, w)[:, 0]
        missing = np.isnan(columns)
        in_need = (missing @ (w * y), (w * y).sum() - missing @ (w * y))
        rows = (missing @ w, w.sum() - missing @ w)
        shares = [part / np.where(n > 0, n, 1.0) for part, n in zip(in_need, rows, strict=True)]
        first = (rows[0] > 0) & (shares[0] > shares[1])
        terms += [OrderTerm(names[start + i], not aucs[i] < 0.5, bool(first[i])) for i in range(len(columns))]
    return tuple(terms)


def directed(column: np.ndarray, term: OrderTerm) -> NDArray[np.float32]:
    """A column as a rank score without gaps, higher first: float32 (n,)."""
    score = column.astype(np.float32) if term.descending else -column.astype(np.float32)
    return np.where(np.isnan(score), np.float32(np.inf if term.missing_first else -np.inf), score)


def found_by_columns(
    X: np.ndarray, label: np.ndarray, terms: Sequence[OrderTerm], k: float, weight: np.ndarray | None = None
) -> Floats:
    """Rows in need among the first k places of each column, equals taken in proportion: float64 (p,)."""
    y, w = np.asarray(label, dtype=np.float64), _ones(weight, len(label))
    found = [
        _found(_RunsAtCut(directed(column, terms[start + i]), y, w, k), k, None)[0]
        for start, columns in _blocks(X)
        for i, column in enumerate(columns)
    ]
    return np.array(found).reshape(len(terms))


def column_table(
    X: np.ndarray,
    label: np.ndarray,
    terms: Sequence[OrderTerm],
    k: int,
    seed: int,
    *,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> pl.DataFrame:
    """How every column does alone at capacity.

    Parameters
    ----------
    X : float32 (n, p)
    label : float (n,)
        1, 0, or NaN where the outcome is not known. One row per person.
    terms : sequence of OrderTerm (p,)
        Learnt on other rows.
    k : int
        Places among all n rows, for whom those of known outcome stand; more means all.
    seed : int
    weight : float (n,), optional
        Inverse-probability weights of the rows of known outcome; left out, they weigh the same.

    Returns
    -------
    polars.DataFrame
        ``column``, ``direction``, ``precision``, ``precision_low``, ``precision_high`` (bootstrap by persons, each
        drawn a Poisson(1) number of times: Hanley & MacGibbon 2006, Comput Methods Programs Biomed 83; no narrower than
        :mod:`models.exact_bounds` allows), ``auc``,
        ``auc_low``, ``auc_high`` (DeLong et al. 1988, Biometrics 44), and ``auc_rows``: on how many rows the AUC was
        measured, a sample where there are very many cells. The best precision comes first.
    """
    known = np.flatnonzero(np.isfinite(label))
    X = X if known.size == len(X) else X[known]
    y, w = np.asarray(label, dtype=np.float64)[known], _ones(weight, len(label))[known]
    if w.sum():
        w = w * (len(label) / w.sum())
    some = sampled_rows(len(y), max(1000, _MOST_CELLS // max(1, len(terms))), seed)
    rows = []
    for start, columns in _blocks(X):
        ranked = np.stack([directed(column, terms[start + i]) for i, column in enumerate(columns)])
        aucs = _aucs(np.ascontiguousarray(ranked[:, some]), y[some], w[some])
        for i, score in enumerate(ranked):
            term = terms[start + i]
            runs = _RunsAtCut(score, y, w, k)
            drawn = _found(runs, k, np.random.default_rng([seed, start + i]), replicates)
            precision = widened(_precision(drawn, min(k, w.sum())), runs.exact_precision(k))
            direction = str(term).removeprefix(f"{term.column} ")
            rows.append((term.column, direction, *precision, *_delong(aucs[i]), some.size))
    figures = [f"{name}{end}" for name in ("precision", "auc") for end in ("", "_low", "_high")]
    schema = {"column": pl.String, "direction": pl.String, **dict.fromkeys(figures, pl.Float64), "auc_rows": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col(figures).fill_nan(None))
    return table.sort("precision", "auc", "column", descending=[True, True, False], nulls_last=True)


def sampled_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """All rows, or so many of them drawn by the seed, in order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def _ones(weight: np.ndarray | None, n: int) -> Floats:
    return np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)


def _blocks(X: np.ndarray) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Columns laid out one after the other, a few at a time: position of the first, float32 (≤ 64, n)."""
    for start in range(0, X.shape[1], _BLOCK):
        yield start, np.ascontiguousarray(X[:, start : start + _BLOCK].T)


class _RunsAtCut:
    """Rows of one column from the top to safely below the cut, in runs of equals; those surely listed are one run.

    Attributes
    ----------
    mass : float64 (2, runs)
        Weight in need, and not in need.
    squares : float64 (2, runs)
        Sums of squared weights.
    """

    def __init__(self, score: NDArray[np.float32], y: Floats, w: Floats, k: float) -> None:
        margin = 6.0 * np.sqrt(k) + 20.0
        top = _top(score, w, k + margin)
        order = top[np.argsort(-score[top], kind="stable")]
        ordered, weight, in_need = score[order], w[order], y[order]
        starts = np.ones(order.size, dtype=np.bool_)
        starts[1:] = ordered[1:] != ordered[:-1]
        at = np.flatnonzero(starts)
        listed = np.cumsum(weight)[np.append(at[1:], order.size) - 1] if at.size else at
        # Runs that end far above the cut are listed in every replicate, whatever their order.
        at = at[(listed >= k - margin) | (at == 0)]
        parts = np.stack([weight * in_need, weight * (1 - in_need)])
        self.mass = np.add.reduceat(parts, at, axis=1) if at.size else np.zeros((2, 0))
        self.squares = np.add.reduceat(parts * weight, at, axis=1) if at.size else np.zeros((2, 0))

    def exact_precision(self, k: float) -> Bounds | None:
        """Bounds of the share in need among the first k places where few decide it; else None."""
        every = self.mass.sum(axis=0)
        places = np.clip(k - (np.cumsum(every) - every), 0.0, every)
        share = np.divide(places, every, out=np.zeros_like(every), where=every > 0)
        listed, squares = float(places.sum()), float((share**2 * self.squares).sum())
        if listed <= 0:
            return None
        n = listed**2 / squares
        return few_bounds(n * float(share @ self.mass[0]) / listed, n, TAIL)


def _top(score: NDArray[np.float32], w: Floats, wanted: float) -> NDArray[np.int64]:
    """Rows from the top that weigh at least so much, whole runs of equals: positions."""
    size = int(np.ceil(wanted))
    while size < score.size:
        bar = np.partition(score, score.size - size)[score.size - size]
        top = np.flatnonzero(score >= bar)
        if w[top].sum() >= wanted:
            return top
        size *= 2
    return np.arange(score.size)


def _found(runs: _RunsAtCut, k: float, generator: np.random.Generator | None, replicates: int = 0) -> Floats:
    """Weight in need in the first k places, of the rows and then of replicates: float64 (1 + replicates,)."""
    drawn = runs.mass[None]
    if generator is not None:
        # A sum of Poisson weights has mean Σw and variance Σw²: exact for equal weights, close for others.
        scale = np.divide(runs.squares, runs.mass, out=np.zeros_like(runs.mass), where=runs.mass > 0)
        rate = np.divide(runs.mass, scale, out=np.zeros_like(runs.mass), where=scale > 0)
        drawn = np.concatenate([drawn, generator.poisson(rate, (replicates, *rate.shape)) * scale])
    every = drawn.sum(axis=1)
    before = np.cumsum(every, axis=1) - every
    places = np.clip(k - before, 0.0, every)
    share = np.divide(drawn[:, 0], every, out=np.zeros_like(every), where=every > 0)
    found: Floats = (places * share).sum(axis=1)
    return found


def _precision(found: Floats, k: float) -> Estimate:
    if k <= 0:
        return Estimate(np.nan, np.nan, np.nan)
    low, high = np.quantile(found[1:] / k, [TAIL, 1 - TAIL])
    return Estimate(float(found[0]) / k, float(low), min(1.0, float(high)))


def _delong(measured: Floats) -> Estimate:
    value, variance = float(measured[0]), float(measured[1])
    if not np.isfinite(variance):
        return Estimate(value, np.nan, np.nan)
    error = _Z * np.sqrt(variance)
    return Estimate(value, max(0.0, value - error), min(1.0, value + error))


@njit(cache=True, parallel=True)
def _aucs(columns: NDArray[np.float32], y: Floats, w: Floats) -> Floats:
    """AUC of each row of ``columns`` (p, n) among its values that are not NaN, and DeLong's variance: float64 (p, 2).

    An AUC is the mean, over those in need, of the share of the others that lie below; its variance is that of these
    shares over those in need, and of their counterparts over the others, each over its effective number.
    """
    out = np.empty((columns.shape[0], 2))
    for j in prange(columns.shape[0]):
        x = columns[j]
        order = np.argsort(x)  # NaN last
        n = x.size
        while n > 0 and np.isnan(x[order[n - 1]]):
            n -= 1
        pos = neg = pos_2 = neg_2 = 0.0
        for r in range(n):
            i = order[r]
            pos += w[i] * y[i]
            neg += w[i] * (1.0 - y[i])
            pos_2 += w[i] * w[i] * y[i]
            neg_2 += w[i] * w[i] * (1.0 - y[i])
        if pos <= 0.0 or neg <= 0.0:
            out[j] = np.nan
            continue
        below_pos = below_neg = t_pos = t_neg = 0.0
        first = first_2 = second_2 = 0.0
        for r in range(n):
            i = order[r]
            t_pos += w[i] * y[i]
            t_neg += w[i] * (1.0 - y[i])
            if r + 1 == n or x[order[r + 1]] != x[i]:
                beaten = (below_neg + 0.5 * t_neg) / neg
                beating = (pos - below_pos - 0.5 * t_pos) / pos
                first += t_pos * beaten
                first_2 += t_pos * beaten * beaten
                second_2 += t_neg * beating * beating
                below_pos += t_pos
                below_neg += t_neg
                t_pos = t_neg = 0.0
        auc = first / pos
        out[j, 0] = auc
        out[j, 1] = (first_2 / pos - auc * auc) * pos_2 / (pos * pos) + (second_2 / neg - auc * auc) * neg_2 / (
            neg * neg
        )
    return out
