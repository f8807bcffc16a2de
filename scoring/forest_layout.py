"""Trees laid out for the walk of :mod:`scoring.forest_kernels`: sixteen bytes a record, in pieces that fit a cache.

A row walks through all trees without an end in between: the record of a leaf holds the leaf's value *and* the split at
the root of the next tree. So each step does the same, whether it meets a split or a leaf: add the record's value (0 at
a split), compare, go to one of two records that stand side by side. Each piece begins with a pair of records that lead
to themselves, where walks end.

Numbers are compared as the unsigned integers that stand in the same order. A column of numbers has a cell for each kind
of missing that a split of it knows; a column of categories one for each 31 categories of which some split names one, so
that a set of categories is one word. A split that names categories of several words becomes several splits, whose left
child is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.forest_reader import MISSING_NONE, Trees, UnknownTrees

RULE_CATEGORY = 3
"""How a cell of categories is written; cells of numbers are written by their kind of missing (0, 1 or 2)."""
CODES = 31
"""Categories in a word; its last bit stands for every other and is never set."""
_ALWAYS_LEFT = np.uint64(0xFFFFFFFF)  # no key is above it
_CHILD, _DEFAULT_LEFT, _CELL = np.uint64(32), np.uint64(48), np.uint64(49)
_MOST_CELLS = _MOST_RECORDS = 2**15
_ENDS = 4
"""Records of a piece that are of no tree: two where walks end, one where they begin, and one to make it even."""
_PIECE_RECORDS = 2048
# A split as it is laid out; ``low`` is the low half of its word, and a cell is named by column, rule and word.
_SPLIT = np.dtype(
    [
        ("tree", np.int64),
        ("low", np.uint64),
        ("default_left", np.uint64),
        ("feature", np.int64),
        ("rule", np.int64),
        ("word", np.int64),
        ("left", np.int64),
        ("right", np.int64),
    ]
)


class Layout(NamedTuple):
    """What the kernels read.

    Attributes
    ----------
    source, rule : int64 (n_cells,)
        Which column of the matrix a cell comes from, and how it is written: its kind of missing, or as categories.
    first_code : int64 (n_cells,)
        The category that is code 0 of the cell.
    n_numbers : int
        Cells of numbers, which stand before those of categories.
    words : uint64 (2 * n_records,)
        In pairs. First the split: bits 0–31 the threshold's key or the categories that go left, 32–47 where the pair of
        children begins (in words from the beginning of the piece), 48 whether the missing go left, 49–63 the cell. Then
        the bits of the float64 that is added on arrival.
    pieces : int64 (n_pieces + 1,)
        Where each piece begins, in words. Its third record is where its walk begins.
    """

    source: NDArray[np.int64]
    rule: NDArray[np.int64]
    first_code: NDArray[np.int64]
    n_numbers: int
    words: NDArray[np.uint64]
    pieces: NDArray[np.int64]


def lay_out(trees: Trees, piece_records: int = _PIECE_RECORDS) -> Layout:
    """Lay trees out; ``piece_records`` changes the speed and nothing else.

    Raises
    ------
    UnknownTrees
        A tree has more than 16 000 leaves, or the trees use more than 32 768 columns.
    """
    splits = _splits_of(trees)
    tree = splits["tree"]
    first = np.searchsorted(tree, np.arange(trees.n_trees + 1))
    cells, cell = _cells_of(splits)
    n_records = 2 * np.diff(first)
    if n_records.max() + _ENDS > _MOST_RECORDS or cells.size > _MOST_CELLS:
        raise UnknownTrees(f"{n_records.max()} records of one tree and {cells.size} columns are too many")
    piece = _pieces_of(n_records, min(piece_records, _MOST_RECORDS))
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    before = np.concatenate([[0], np.cumsum(n_records)])
    origin = _ENDS * np.arange(starts.size) + before[starts]
    pair = _ENDS * (piece[tree] + 1) + 2 * np.arange(tree.size)
    head = splits["low"] | splits["default_left"] << _DEFAULT_LEFT | cell << _CELL
    head |= (2 * (pair - origin[piece[tree]])).astype(np.uint64) << _CHILD
    roots = head[first[:-1]]
    following = np.where(np.append(np.diff(piece), 1) != 0, _ALWAYS_LEFT, np.roll(roots, -1))
    words, values = (np.full(before[-1] + _ENDS * starts.size, start) for start in (_ALWAYS_LEFT, 0.0))
    words[origin + 2] = roots[starts]
    for side, child in enumerate((splits["left"], splits["right"])):
        is_leaf = child < 0
        words[pair + side] = np.where(is_leaf, following[tree], head[np.where(is_leaf, 0, child)])
        values[pair + side] = np.where(is_leaf, trees.leaf_value[np.where(is_leaf, -1 - child, 0)], 0.0)
    return Layout(
        source=cells["feature"].copy(),
        rule=cells["rule"].copy(),
        first_code=CODES * cells["word"],
        n_numbers=int((cells["rule"] != RULE_CATEGORY).sum()),
        words=np.stack([words, values.view(np.uint64)], axis=1).ravel(),
        pieces=2 * np.append(origin, words.size),
    )


def keys_of(numbers: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The largest float32 that is not above each number, as the unsigned integer that stands in the same order.

    >>> below, zero, above = keys_of(np.array([-0.1, -0.0, 1e300])).tolist()
    >>> below < zero < above, zero == int(keys_of(np.zeros(1))[0])
    (True, True)
    """
    with np.errstate(over="ignore"):
        near = numbers.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    bits = (np.where(near > numbers, below, near) + np.float32(0)).view(np.uint32)  # + 0: there is no -0
    return np.where(bits >> 31 != 0, ~bits, bits | np.uint32(2**31))


def _pieces_of(n_records: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The piece of each tree: one after the other, as many as fit, and one at least."""
    piece, number, used = np.zeros(n_records.size, dtype=np.int64), 0, _ENDS
    for tree, n in enumerate(n_records.tolist()):
        if used > _ENDS and used + n > most:
            number, used = number + 1, _ENDS
        used += n
        piece[tree] = number
    return piece


def _splits_of(trees: Trees) -> NDArray[Any]:
    """Every split by tree, the root first: one per word of categories, and one for a tree that is a single leaf."""
    splits = np.zeros(trees.feature.size, dtype=_SPLIT)
    numeric = ~trees.categorical
    default_left = (numeric & trees.default_left).astype(np.uint64)
    splits["tree"] = np.repeat(np.arange(trees.n_trees), np.diff(trees.first_split))
    splits["low"][numeric] = keys_of(trees.threshold[numeric])
    splits["low"] += default_left  # as is added to what it is compared with
    splits["default_left"] = default_left
    splits["feature"], splits["rule"] = trees.feature, np.where(numeric, trees.missing, RULE_CATEGORY)
    splits["left"], splits["right"] = trees.left, trees.right
    more = list[tuple[int, ...]]()
    for place, bits in trees.categories.items():
        (word, low), *further = _words_of(bits)
        tree, feature, left, right = (int(splits[name][place]) for name in ("tree", "feature", "left", "right"))
        for other in reversed(further):  # who is not in one word is looked for in the next
            more.append((tree, other[1], 0, feature, RULE_CATEGORY, other[0], left, right))
            right = splits.size + len(more) - 1
        splits["word"][place], splits["low"][place], splits["right"][place] = word, low, right
    for tree in np.flatnonzero(np.diff(trees.first_split) == 0).tolist():
        leaf = -1 - int(trees.first_leaf[tree])
        more.append((tree, int(_ALWAYS_LEFT), 0, 0, MISSING_NONE, 0, leaf, leaf))
    return _by_tree(np.concatenate([splits, np.array(more, dtype=_SPLIT)]))


def _by_tree(splits: NDArray[Any]) -> NDArray[Any]:
    """The splits of each tree together, in their order, and their children found again."""
    order = np.argsort(splits["tree"], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    for side in ("left", "right"):
        child = splits[side]
        splits[side] = np.where(child < 0, child, place[np.maximum(child, 0)])
    return splits[order]


def _words_of(bits: NDArray[np.uint32]) -> Iterator[tuple[int, int]]:
    """The words of 31 categories that have any in them, and their bits; the first word if none has."""
    categories = np.flatnonzero(np.unpackbits(bits.astype("<u4").view(np.uint8), bitorder="little"))
    words = categories // CODES
    for word in np.unique(words).tolist() or [0]:
        yield word, sum(1 << code for code in (categories[words == word] % CODES).tolist())


def _cells_of(splits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """The cells that splits look at, numbers first, and which of them each split looks at."""
    by_category = (splits["rule"] == RULE_CATEGORY).astype(np.int64)
    names = np.stack([by_category, splits["feature"], splits["rule"], splits["word"]], axis=1)
    _, first, cell = np.unique(names, axis=0, return_index=True, return_inverse=True)
    return splits[["feature", "rule", "word"]][first], cell.ravel().astype(np.uint64)
