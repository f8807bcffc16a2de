"""LightGBM's text form as arrays: every split and leaf of every tree, or the reason why it is not known here.

Source: LightGBM 4.7, ``src/io/tree.cpp`` (the form) and ``include/LightGBM/tree.h`` (what a split means).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
"""What counts as missing at a split: nothing (NaN is then 0), what is near 0 and NaN, or NaN alone."""
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2


class UnknownTrees(ValueError):
    """Trees that only LightGBM itself can read, and why."""


@dataclass(frozen=True, eq=False)
class Trees:
    """The splits and leaves of all trees, one tree after the other.

    Attributes
    ----------
    n_features : int
        Columns of the matrix they score.
    first_split, first_leaf : int64 (n_trees + 1,)
        Tree ``t`` owns splits ``first_split[t]:first_split[t + 1]``, its root first, and leaves likewise. A tree of one
        leaf has no split.
    feature : int64 (n_splits,)
    threshold : float64 (n_splits,)
        What is at most this goes left; NaN at a split by categories.
    default_left, categorical : bool (n_splits,)
        Where the missing go; whether ``categories`` decides instead of ``threshold``.
    missing : int64 (n_splits,)
        One of the three kinds above; of no account at a split by categories.
    left, right : int64 (n_splits,)
        The split that follows, numbered over all trees, or ``-1 - leaf``.
    split_count, leaf_count : int64 (n_splits,), (n_leaves,)
        Rows that taught there.
    leaf_value : float64 (n_leaves,)
    categories : mapping
        Split → uint32 words of the bits of the categories that go left.
    """

    n_features: int
    first_split: NDArray[np.int64]
    first_leaf: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    default_left: NDArray[np.bool_]
    categorical: NDArray[np.bool_]
    missing: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    split_count: NDArray[np.int64]
    leaf_count: NDArray[np.int64]
    leaf_value: NDArray[np.float64]
    categories: Mapping[int, NDArray[np.uint32]]

    @property
    def n_trees(self) -> int:
        """Trees."""
        return self.first_leaf.size - 1


def read_trees(text: bytes) -> Trees:
    """Read the text form of a booster; what follows the trees, settings among it, is not looked at.

    Raises
    ------
    UnknownTrees
        What of it is not known here: another version, several outputs, averaged trees, linear leaves, an unknown kind
        of split, a threshold that is no number, a tree that is none.
    """
    head, *trees = text.decode("utf-8").split("\nend of trees", 1)[0].split("\nTree=")
    n_features = _n_features(dict(_pairs(head)), len(trees))
    splits, leaves = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    categories = dict[int, NDArray[np.uint32]]()
    first_split, first_leaf = [0], [0]
    for number, block in enumerate(trees):
        try:
            found, values, bits = _tree(dict(_pairs(block)), n_features)
        except (KeyError, ValueError, OverflowError) as problem:
            raise UnknownTrees(f"tree {number}: {problem}") from problem
        found[_LEFT:] = np.where(found[_LEFT:] >= 0, found[_LEFT:] + first_split[-1], found[_LEFT:] - first_leaf[-1])
        categories |= {first_split[-1] + split: words for split, words in bits.items()}
        splits.append(found)
        leaves.append(values)
        first_split.append(first_split[-1] + found.shape[1])
        first_leaf.append(first_leaf[-1] + values.shape[1])
    every, ends = np.concatenate(splits, axis=1), np.concatenate(leaves, axis=1)
    feature, threshold, kind, count, left, right = every
    whole = kind.astype(np.int64)
    return Trees(
        n_features=n_features,
        first_split=np.array(first_split, dtype=np.int64),
        first_leaf=np.array(first_leaf, dtype=np.int64),
        feature=feature.astype(np.int64),
        threshold=np.where(whole & _CATEGORICAL, np.nan, threshold),
        default_left=(whole & _DEFAULT_LEFT) != 0,
        categorical=(whole & _CATEGORICAL) != 0,
        missing=whole >> _MISSING_SHIFT,
        left=left.astype(np.int64),
        right=right.astype(np.int64),
        split_count=count.astype(np.int64),
        leaf_count=ends[1].astype(np.int64),
        leaf_value=ends[0],
        categories=categories,
    )


_THRESHOLD, _LEFT = 1, 4  # rows of a tree's table; from the latter on they are children


def _pairs(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        name, mark, value = line.partition("=")
        yield name, value if mark else "yes"


def _n_features(head: Mapping[str, str], n_trees: int) -> int:
    faults = [
        f"{name} is {head.get(name, 'not given')}, not {known}"
        for name, known in (("version", "v4"), ("num_class", "1"), ("num_tree_per_iteration", "1"))
        if head.get(name) != known
    ]
    if "average_output" in head:
        faults.append("the trees' values are averaged")
    if not n_trees or len(head.get("tree_sizes", "").split()) != n_trees:
        faults.append(f"{n_trees} trees are not those that tree_sizes lists")
    if not head.get("max_feature_idx", "").isdecimal():
        faults.append("max_feature_idx is not given")
    if faults:
        raise UnknownTrees("; ".join(faults))
    return int(head["max_feature_idx"]) + 1


def _tree(
    said: Mapping[str, str], n_features: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, NDArray[np.uint32]]]:
    """One tree's splits (feature, threshold, kind, count, left, right) and leaves (value, count), each a column.

    Every number fits a float64 exactly: counts and places are below 2³¹.
    """
    n_leaves = int(said["num_leaves"])
    if said["is_linear"] != "0":
        raise ValueError("its leaves are linear models")
    one_leaf = n_leaves == 1
    names = ("split_feature", "threshold", "decision_type", "internal_count", "left_child", "right_child")
    splits = np.array([_numbers(said, name, 0 if one_leaf else n_leaves - 1) for name in names])
    counts = [0.0] if one_leaf and not said.get("leaf_count") else _numbers(said, "leaf_count", n_leaves)
    leaves = np.array([_numbers(said, "leaf_value", n_leaves), counts])
    # A threshold may be infinite: such a split sends the missing alone to the right.
    if not np.isfinite(np.delete(splits, _THRESHOLD, axis=0)).all() or np.isnan(splits[_THRESHOLD]).any():
        raise ValueError("holds what is no number")
    if not np.isfinite(leaves).all():
        raise ValueError("holds what is no number")
    feature, threshold, kind = splits[0], splits[1], splits[2].astype(np.int64)
    if ((feature < 0) | (feature >= n_features)).any():
        raise ValueError("splits by a column that is not there")
    if ((kind < 0) | (kind >> _MISSING_SHIFT > MISSING_NAN)).any():
        raise ValueError("has a kind of split that is not known")
    _refuse_what_is_no_tree(splits[_LEFT:].astype(np.int64), n_leaves)
    by_category = np.flatnonzero(kind & _CATEGORICAL)
    if not by_category.size:
        return splits, leaves, {}
    starts = [int(x) for x in said["cat_boundaries"].split()]
    words = np.array([int(x) for x in said["cat_threshold"].split()], dtype=np.uint32)
    sets = [int(place) for place in threshold[by_category]]
    if max(sets) + 1 >= len(starts) or min(sets) < 0 or sorted(starts) != starts or starts[-1] != words.size:
        raise ValueError("has sets of categories that are not there")
    return splits, leaves, {int(s): words[starts[i] : starts[i + 1]] for s, i in zip(by_category, sets, strict=True)}


def _numbers(said: Mapping[str, str], name: str, n: int) -> list[float]:
    numbers = [float(text) for text in said[name].split()] if n else []
    if len(numbers) != n:
        raise ValueError(f"{name} has {len(numbers)} numbers instead of {n}")
    return numbers


def _refuse_what_is_no_tree(children: NDArray[np.int64], n_leaves: int) -> None:
    """Every split but the root, and every leaf, is the child of exactly one split, which stands before it."""
    expected = np.concatenate([np.arange(-n_leaves, 0), np.arange(1, n_leaves - 1)])
    before = (children >= 0) & (children <= np.arange(children.shape[1]))
    if n_leaves > 1 and (not np.array_equal(np.sort(children, axis=None), expected) or before.any()):
        raise ValueError("its splits do not make a tree")
