"""Whether today's people look like those a model was judged on: binned references and the population stability index.

A reference is a handful of counts per column, so it can be signed with the verdict and tells of nobody. The index of
few people is large by chance (about (bins - 1)(1/n + 1/m) where nothing has changed), so an alarm needs both: an index
above the limit, and one that people drawn from one and the same population would hardly ever show.

Source: the index is the symmetric Kullback-Leibler divergence of two binned distributions (Jeffreys 1946).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ethics.digests import decimal

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[Any]

BINS = 10
MOST_COLUMNS = 100
"""Columns watched: the first of the model's; how many more there are is said."""
DRAWS = 4999
_DIGITS = 17


class Drift(NamedTuple):
    """How far a column has moved, and how often chance alone would move it so far."""

    column: str
    stability: float
    p_chance: float


def reference_of(score: Floats | None, columns: Sequence[str], values: Floats) -> dict[str, Any]:
    """What is kept of the judged rows, in strings as signed files hold them.

    Parameters
    ----------
    score : float64 (n,) or None
        Raw scores; None for a rule, whose places mean nothing among other people.
    columns : sequence of str (p,)
        All columns of the model, in order.
    values : float32 (n, p)

    Returns
    -------
    dict
        ``schema`` (every column's name), ``score`` (or None) and, per watched column, ``{edges, counts}``: a bin holds
        what is above the edge before and not above its own; the last counts what is missing.
    """
    watched = list(columns)[:MOST_COLUMNS]
    return {
        "schema": list(columns),
        "score": None if score is None else _binned(score),
        "columns": {name: _binned(values[:, position]) for position, name in enumerate(watched)},
    }


def counts_like(reference: Mapping[str, Any], score: Floats, columns: Sequence[str], values: Floats) -> dict[str, Any]:
    """Today's people counted into the bins of a reference: the same shape, and ``schema`` as it is today."""
    position = {name: place for place, name in enumerate(columns)}
    found = {
        name: _counts(values[:, position[name]], _edges(binned))
        for name, binned in reference["columns"].items()
        if name in position
    }
    binned = reference["score"]
    return {
        "schema": list(columns),
        "score": None if binned is None else _counts(score, _edges(binned)),
        "columns": found,
    }


def counts_in_order(binned: Mapping[str, Sequence[str]], ordered: Floats, n_missing: int) -> list[int]:
    """The counts of :func:`counts_like` for one column, of its values in order and the number of those missing.

    >>> counts_in_order({"edges": ["1", "2"]}, np.array([0.5, 1.0, 1.5, 3.0]), 2)
    [2, 1, 1, 2]
    """
    edges = np.asarray(_edges(binned), dtype=ordered.dtype)
    ends = np.searchsorted(ordered, edges, side="right").tolist()
    return [*np.diff([0, *ends, len(ordered)]).tolist(), n_missing]


def drift_between(column: str, before: Sequence[int], now: Sequence[int], limit: float, seed: int = 0) -> Drift:
    """The index between two counts in the same bins, and the chance of one as large where nothing changed.

    The chance is simulated: both samples drawn from what they have together, :data:`DRAWS` times. It is looked for only
    where the index is above ``limit``; below, it is 1.

    >>> drift_between("x", [500, 500], [50, 50], limit=0.2)
    Drift(column='x', stability=0.0, p_chance=1.0)
    """
    old, new = (np.asarray(counts, dtype=np.float64) for counts in (before, now))
    if old.shape != new.shape or not old.sum() or not new.sum() or not np.isfinite(old + new).all():
        raise ValueError("counts that cannot be compared")
    index = float(_index(old, new))
    if index <= limit:
        return Drift(column, round(index, 6), 1.0)
    generator = np.random.default_rng([seed, 703])
    together = (old + new) / (old + new).sum()
    drawn_old = generator.multinomial(int(old.sum()), together, size=DRAWS)
    drawn_new = generator.multinomial(int(new.sum()), together, size=DRAWS)
    beyond = int((_index(drawn_old, drawn_new) >= index).sum())
    return Drift(column, round(index, 6), (1 + beyond) / (1 + DRAWS))


def _index(old: Floats, new: Floats) -> Floats:
    """Population stability index along the last axis; half a person is added to every bin, so that none is empty."""
    bins = old.shape[-1]
    before = (old + 0.5) / (old.sum(axis=-1, keepdims=True) + 0.5 * bins)
    now = (new + 0.5) / (new.sum(axis=-1, keepdims=True) + 0.5 * bins)
    total: Floats = ((now - before) * np.log(now / before)).sum(axis=-1)
    return total


def _binned(values: Floats) -> dict[str, list[str]]:
    known = values[~np.isnan(values)].astype(np.float64)
    at = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf") if known.size else np.zeros(1)
    edges = [str(decimal(float(edge), _DIGITS)) for edge in np.unique(at)]
    return {"edges": edges, "counts": [str(n) for n in _counts(values, [float(edge) for edge in edges])]}


def _edges(binned: Mapping[str, Sequence[str]]) -> list[float]:
    return [float(edge) for edge in binned["edges"]]


def _counts(values: Floats, edges: Sequence[float]) -> list[int]:
    values = np.ascontiguousarray(values)
    # Edges are values of the column, so they are exact in its own type, and nothing is copied into a wider one.
    bins = np.searchsorted(np.asarray(edges, dtype=values.dtype), values, side="left")
    bins[np.isnan(values)] = len(edges) + 1
    return [int(n) for n in np.bincount(bins, minlength=len(edges) + 2)]
