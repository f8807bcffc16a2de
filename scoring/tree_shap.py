"""What each column adds to a raw score: exact path-dependent TreeSHAP, as ``pred_contrib`` gives it, in far less time.

A leaf of value v is reached by the columns 1 … d of its path. If the row passes all the splits of column j on it, o_j
is 1, else 0; z_j is the share of the rows that taught of those that would have passed. Column i then adds

    v · (o_i − z_i) · ∫₀¹ Π_{j ≠ i} (z_j · (1 − t) + o_j · t) dt,

since ∫ tᵏ(1 − t)^(d−1−k) dt = k!(d−1−k)!/d! is the Shapley weight of k columns out of d − 1. The integrand is a
polynomial of degree d − 1, which Gauss-Legendre quadrature at ⌈d/2⌉ points integrates exactly. So the products are kept
at these points on the way down, summed over leaves on the way up, and divided by a column's own factor once per edge
instead of once per leaf and column. A column met again on a path stands for both splits from there on, and what lies
beneath is taken from the edge before. Every factor is positive, so that no division is by a number near to 0.

Source: Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for trees", algorithm
2; the way of summing is that of Yu et al. 2022, "Linear TreeShap". The quadrature is our own derivation.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.arrays import frozen
from scoring.forest_reader import MISSING_NAN, MISSING_NONE, MISSING_ZERO, Trees, UnknownTrees

_NONE, _ZERO, _NAN = np.int64(MISSING_NONE), np.int64(MISSING_ZERO), np.int64(MISSING_NAN)
_NEAR_ZERO = np.float64(np.float32(1e-35))
_END_OF_INT = 2147483648.0


class Paths(NamedTuple):
    """The trees as the kernel reads them; an edge is ``2 * split + side``, with side 0 to the left.

    Attributes
    ----------
    first_split : int64 (n_trees + 1,)
    feature, missing : int64 (n_splits,)
        ``missing`` is -1 at a split by categories.
    threshold : float64 (n_splits,)
    default_left : bool (n_splits,)
    first_word : int64 (n_splits + 1,)
    categories : uint32 (n_words,)
        Bits of the categories that go left.
    child : int64 (n_edges,)
        Split, or ``-1 - leaf``.
    before : int64 (n_splits,)
        The nearest edge above that splits by the same column, counted within the tree; if there is none, twice
        ``most_splits``.
    share : float64 (n_edges,)
        Share of the rows of an edge's split that took it.
    leaf_value : float64 (n_leaves,)
    n_points : int64 (n_trees,)
        Points of the quadrature.
    most_splits : int
        Splits of the largest tree.
    expected : float
        Mean raw score of the rows that taught.
    """

    first_split: NDArray[np.int64]
    feature: NDArray[np.int64]
    missing: NDArray[np.int64]
    threshold: NDArray[np.float64]
    default_left: NDArray[np.bool_]
    first_word: NDArray[np.int64]
    categories: NDArray[np.uint32]
    child: NDArray[np.int64]
    before: NDArray[np.int64]
    share: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    n_points: NDArray[np.int64]
    most_splits: int
    expected: float


def paths_of(trees: Trees) -> Paths:
    """Prepare trees.

    Raises
    ------
    UnknownTrees
        No row taught at some split or leaf, so that shares of rows say nothing.
    """
    if (trees.split_count <= 0).any() or (np.diff(trees.first_split).any() and (trees.leaf_count <= 0).any()):
        raise UnknownTrees("some splits or leaves count no rows")
    n_words = np.zeros(trees.feature.size, dtype=np.int64)
    for split, words in trees.categories.items():
        n_words[split] = words.size
    named = sorted(trees.categories)
    child = np.stack([trees.left, trees.right], axis=1).ravel()
    count = np.where(child < 0, trees.leaf_count[np.where(child < 0, -1 - child, 0)], 0)
    if trees.split_count.size:
        count = np.where(child < 0, count, trees.split_count[np.maximum(child, 0)])
    before, deepest = _look_back(trees.first_split, trees.feature, child)
    most_splits = int(np.diff(trees.first_split).max())
    return Paths(
        first_split=trees.first_split,
        feature=trees.feature,
        missing=np.where(trees.categorical, -1, trees.missing),
        threshold=trees.threshold,
        default_left=trees.default_left,
        first_word=np.concatenate([[0], np.cumsum(n_words)]),
        categories=np.concatenate([np.zeros(0, dtype=np.uint32), *(trees.categories[split] for split in named)]),
        child=child,
        before=np.where(before < 0, 2 * most_splits, before),
        share=count / np.repeat(trees.split_count, 2),
        leaf_value=trees.leaf_value,
        n_points=(deepest + 1) // 2,
        most_splits=most_splits,
        expected=_expected(trees),
    )


@lru_cache(maxsize=8)
def quadrature(most_points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points between 0 and 1 and their weights: row ``n`` of each holds those of ``n`` points.

    >>> points, weights = quadrature(2)
    >>> bool(abs((weights[2] * points[2] ** 3).sum() - 1 / 4) < 1e-15)
    True
    """
    points, weights = np.full((most_points + 1, most_points), 0.5), np.zeros((most_points + 1, most_points))
    for n in range(1, most_points + 1):
        x, w = np.polynomial.legendre.leggauss(n)
        points[n, :n], weights[n, :n] = (1 + x) / 2, w / 2
    return frozen(points), frozen(weights)


def _expected(trees: Trees) -> float:
    """Mean of the leaves by their rows, tree after tree, as LightGBM adds them."""
    total, values, counts = 0.0, trees.leaf_value.tolist(), trees.leaf_count.tolist()
    bounds = trees.first_leaf.tolist()
    for start, stop in pairwise(bounds):
        taught = sum(counts[start:stop])
        alone = stop == start + 1
        total += values[start] if alone else sum(values[i] * (counts[i] / taught) for i in range(start, stop))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _look_back(first_split, feature, child):  # type: ignore[no-untyped-def]
    """``before`` of :class:`Paths`, -1 where there is none; and the most columns on a path of each tree."""
    above = np.full(feature.size, -1, dtype=np.int64)
    before = np.full(feature.size, -1, dtype=np.int64)
    columns = np.zeros(feature.size, dtype=np.int64)
    deepest = np.zeros(first_split.size - 1, dtype=np.int64)
    for tree in range(deepest.size):
        for split in range(first_split[tree], first_split[tree + 1]):
            edge = above[split]
            while edge >= 0 and feature[edge // 2] != feature[split]:
                edge = above[edge // 2]
            before[split] = edge if edge < 0 else edge - 2 * first_split[tree]
            columns[split] = 0 if above[split] < 0 else columns[above[split] // 2]
            columns[split] += edge < 0
            deepest[tree] = max(deepest[tree], columns[split])
            for side in range(2):
                if child[2 * split + side] >= 0:
                    above[child[2 * split + side]] = 2 * split + side
    return before, deepest


@njit(cache=True, nogil=True, error_model="numpy")
def _goes_left(number, missing, threshold, default_left, words):  # type: ignore[no-untyped-def]
    if missing < 0:
        if not (number > -1.0 and number < _END_OF_INT):  # NaN too
            return False
        category = np.int64(number)
        return category >> 5 < words.size and (words[category >> 5] >> np.uint32(category & 31)) & np.uint32(1) != 0
    is_nan = number != number
    near_zero = abs(number) <= _NEAR_ZERO or (is_nan and missing != _NAN)
    if (missing == _NAN and is_nan) or (missing == _ZERO and near_zero):
        return default_left
    return (0.0 if near_zero else number) <= threshold


@njit(cache=True, nogil=True, error_model="numpy")
def _decide(numbers, missing, threshold, default_left, words, above, left, right):  # type: ignore[no-untyped-def]
    """Which rows pass each of a split's two edges, and the edge above of the same column."""
    for row in range(numbers.size):
        is_left = _goes_left(np.float64(numbers[row]), missing, threshold, default_left, words)
        left[row] = above[row] if is_left else 0.0
        right[row] = 0.0 if is_left else above[row]


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(to, number):  # type: ignore[no-untyped-def]
    for row in range(to.size):
        to[row] = number


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(numbers, to):  # type: ignore[no-untyped-def]
    for row in range(to.size):
        to[row] = numbers[row]


@njit(cache=True, nogil=True, error_model="numpy")
def _scale(numbers, factor):  # type: ignore[no-untyped-def]
    for row in range(numbers.size):
        numbers[row] *= factor


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(product, passed, above, share, if_failed, if_passed, to):  # type: ignore[no-untyped-def]
    """The products beyond an edge: by the edge's factor, in place of that of the edge above of the same column."""
    for point in range(if_failed.size):
        failed, given = if_failed[point], if_passed[point]
        come, go = product[point], to[point]
        for row in range(passed.size):
            factor = failed if above[row] != 0.0 else share
            go[row] = come[row] * (given if passed[row] != 0.0 else factor)


@njit(cache=True, nogil=True, error_model="numpy")
def _collect(product, passed, above, failed_weight, passed_weight, above_weight, total, to):  # type: ignore[no-untyped-def]
    """Add what lies beneath an edge to the edge's column, instead of that above, and to the sum of its split."""
    for point in range(failed_weight.size):
        failed, own, before = failed_weight[point], passed_weight[point], above_weight[point]
        come, go = product[point], total[point]
        for row in range(passed.size):
            weight = own if passed[row] != 0.0 else failed
            weight -= before if above[row] != 0.0 else failed
            to[row] += come[row] * weight
            go[row] += come[row]


@njit(cache=True, nogil=True, error_model="numpy")
def _factors(start, stop, before, share, points, weights, shares, factor, if_failed, if_passed, weight):  # type: ignore[no-untyped-def]
    """Factors and weights of a tree's edges at each point, those of the edge that stands for none apart."""
    for edge in range(2 * (stop - start)):
        above = before[start + edge // 2]
        z = share[2 * start + edge] * shares[above]
        shares[edge] = z
        for point in range(points.size):
            t = points[point]
            factor[edge, point] = z * (1.0 - t) + t
            if_failed[edge, point] = z * (1.0 - t) / factor[above, point]
            if_passed[edge, point] = factor[edge, point] / factor[above, point]
            weight[edge, point] = weights[point] * (1.0 - z) / factor[edge, point]


@njit(cache=True, nogil=True, error_model="numpy")
def add_contributions(columns, paths, points, weights, out):  # type: ignore[no-untyped-def]
    """Add what each column gives to each row's raw score, and last the level they start from.

    Parameters
    ----------
    columns : float32 (n_features, n)
    paths : Paths
    points, weights : float64 (most_points + 1, most_points)
        See :func:`quadrature`.
    out : float64 (n_features + 1, n)
        Changed in place.
    """
    none, most_points, n = 2 * paths.most_splits, points.shape[1], columns.shape[1]
    shares, factor = np.ones(none + 1), np.ones((none + 1, most_points))
    if_failed, if_passed = np.empty((none, most_points)), np.empty((none, most_points))
    weight = np.zeros((none + 1, most_points))  # of passing an edge; the last of each is that of no edge
    product = np.empty((paths.most_splits, most_points, n))
    leaf, total = np.empty((most_points, n)), np.empty((most_points, n))
    passed, failed_weight = np.ones((none + 1, n)), np.empty(most_points)
    for tree in range(paths.n_points.size):
        start, stop = paths.first_split[tree], paths.first_split[tree + 1]
        g = paths.n_points[tree]
        t, w = points[g, :g], weights[g, :g]
        _factors(start, stop, paths.before, paths.share, t, w, shares, factor, if_failed, if_passed, weight)
        for point in range(g):
            failed_weight[point] = -w[point] / (1.0 - t[point])
            _fill(product[0, point], 1.0)
        for split in range(start, stop):
            first, above = 2 * (split - start), passed[paths.before[split]]
            _decide(
                columns[paths.feature[split]], paths.missing[split], paths.threshold[split], paths.default_left[split],
                paths.categories[paths.first_word[split] : paths.first_word[split + 1]],
                above, passed[first], passed[first + 1],
            )  # fmt: skip
            for edge in range(first, first + 2):
                child = paths.child[2 * start + edge]
                if child >= 0:
                    _multiply(
                        product[split - start], passed[edge], above, paths.share[2 * start + edge],
                        if_failed[edge, :g], if_passed[edge, :g], product[child - start],
                    )  # fmt: skip
        for split in range(stop - 1, start - 1, -1):
            first, before = 2 * (split - start), paths.before[split]
            above, to = passed[before], out[paths.feature[split]]
            for point in range(g):
                _fill(total[point], 0.0)
            for edge in range(first, first + 2):
                child = paths.child[2 * start + edge]
                beneath = leaf if child < 0 else product[child - start]
                if child < 0:
                    value = paths.leaf_value[-1 - child]
                    _multiply(
                        product[split - start], passed[edge], above, paths.share[2 * start + edge],
                        if_failed[edge, :g], if_passed[edge, :g], leaf,
                    )  # fmt: skip
                    for point in range(g):
                        _scale(leaf[point], value)
                _collect(beneath, passed[edge], above, failed_weight[:g], weight[edge], weight[before], total, to)
            for point in range(g):
                _copy(total[point], product[split - start, point])
    for row in range(n):
        out[columns.shape[0], row] += paths.expected
