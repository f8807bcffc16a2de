"""From a person's id to the place of that person in the log: two open hash tables over the ids of a city.

Identity is the decimal or literal text of an id (contracts.md §1). Texts of at most 12 bytes, and whole numbers, are
compared as two 64-bit words; longer texts byte by byte. Nothing is told by a hash alone, and no id has a meaning of
its own: an empty slot is an empty slot, not a number that some register may use.

A kernel checks nothing (its caller has validated and cast) and calls only kernels of this file. Callers pass read-only
arrays through :func:`features.arrays.frozen`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from features.arrays import frozen
from features.machine import prefetch, word_at

_SHORT = 12  # bytes that stand inside a string view
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_TOGETHER = 32  # texts looked up in step


class PersonIndex:
    """Finds the dense index of ids: position in ``ids``; ``stranger`` when none has the id, ``no_id`` when empty.

    Parameters
    ----------
    ids : pl.Series of str (n_persons,)
        Unique, without null.
    """

    def __init__(self, ids: pl.Series) -> None:
        self._ids = ids
        self._numbers: dict[bool, tuple[Any, Any]] = {}
        self._long: tuple[Any, Any, Any] | None = None
        self._views_recur = True
        views = _views(ids)
        is_short = (views[:, 0] & _LOW) <= _SHORT
        self._any_long, self._any_short = not is_short.all(), bool(is_short.any())
        self._short = _table_of_pairs(views, is_short)

    @property
    def stranger(self) -> int:
        """What :meth:`find` tells of an id that nobody has."""
        return len(self._ids)

    @property
    def no_id(self) -> int:
        """What :meth:`find` tells of an empty cell."""
        return len(self._ids) + 1

    def find(self, column: pl.Series) -> NDArray[np.uint32]:
        """The place of each id of a column of text or whole numbers: uint32 (n,)."""
        valid = frozen(column.is_not_null().to_numpy().view(np.uint8) if column.null_count() else _ALL)
        place = np.empty(len(column), dtype=np.uint32)
        if column.dtype.is_integer() and column.dtype not in (pl.Int128, pl.UInt128):
            is_signed = column.dtype.is_signed_integer()
            pairs = _pairs(column.cast(pl.Int64 if is_signed else pl.UInt64))
            find_pairs(frozen(pairs), valid, *self._numbers_of(is_signed), len(self._ids), False, place)
            return place
        column = column.cast(pl.String)
        views = _views(column)
        if not self._any_short:
            return self._find_long(column, views, valid)
        longest = find_pairs(frozen(views), valid, *self._short, len(self._ids), True, place)
        if self._any_long and longest > _SHORT:
            return self._find_long(column, views, valid)
        return place

    def _find_long(self, column: pl.Series, views: NDArray[np.uint64], valid: Any) -> NDArray[np.uint32]:
        """As :meth:`find`, where texts are too long for a view: each view is looked up once.

        Equal views point at the same bytes. A file that keeps its texts in a dictionary gives every occurrence of a
        text the same view, so that few texts are left to be hashed.
        """
        if not self._views_recur:
            place = np.empty(len(column), dtype=np.uint32)
            find_texts(*_bytes(column), valid, *self._long_table(), len(self._ids), place)
            return place
        first, which = np.empty(len(column), dtype=np.uint32), np.empty(len(column), dtype=np.uint32)
        n_unlike = unlike_views(frozen(views), valid, _slots(len(column)), first, which)
        if not n_unlike:
            return np.full(len(column), self.no_id, dtype=np.uint32)
        # A file whose dictionary grew too large writes each text out, here and, as a rule, in what follows.
        self._views_recur = 2 * n_unlike < len(column)
        first = first[:n_unlike]
        found = np.empty(n_unlike, dtype=np.uint32)
        find_texts(*_bytes(column.gather(first)), frozen(_ALL), *self._long_table(), len(self._ids), found)
        place = found[which]
        if valid.size:
            place[valid == 0] = self.no_id
        return place

    def _numbers_of(self, is_signed: bool) -> tuple[Any, Any]:
        """The table of those ids that are the decimal text of a whole number of 64 bits."""
        if is_signed not in self._numbers:
            numbers = self._ids.cast(pl.Int64 if is_signed else pl.UInt64, strict=False)
            is_number = (numbers.cast(pl.String) == self._ids).fill_null(False).to_numpy()
            self._numbers[is_signed] = _table_of_pairs(_pairs(numbers.fill_null(0)), is_number)
        return self._numbers[is_signed]

    def _long_table(self) -> tuple[Any, Any, Any]:
        if self._long is None:
            start, letters = _bytes(self._ids)
            slots = _slots(len(self._ids))
            build_texts(start, letters, slots)
            self._long = start, letters, frozen(slots)
        return self._long


_ALL = np.empty(0, dtype=np.uint8)


def _slots(n: int) -> NDArray[np.uint32]:
    """An empty table at most half full; a slot holds a place + 1, or 0 when it is empty."""
    return np.zeros(1 << max(4, (2 * n - 1).bit_length()), dtype=np.uint32)


def _table_of_pairs(pairs: NDArray[np.uint64], is_in: NDArray[np.bool_]) -> tuple[Any, Any]:
    keys, slots = frozen(pairs), _slots(len(pairs))
    build_pairs(keys, frozen(is_in.view(np.uint8)), slots)
    return keys, frozen(slots)


def _pairs(numbers: pl.Series) -> NDArray[np.uint64]:
    """Whole numbers of 64 bits as the words that stand for them; what a null holds does not matter."""
    pairs = np.zeros((len(numbers), 2), dtype=np.uint64)
    pairs[:, 0] = numbers.fill_null(0).to_numpy().view(np.uint64)
    return pairs


def _views(texts: pl.Series) -> NDArray[np.uint64]:
    """Arrow's string views: length and first four bytes, then eight more bytes, zero-padded, of a short text."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    words = np.frombuffer(array.buffers()[1], dtype=np.uint64) if len(array) else np.empty(0, dtype=np.uint64)
    return words.reshape(-1, 2)[array.offset : array.offset + len(array)]


def _bytes(texts: pl.Series) -> tuple[Any, Any]:
    """Text ``i`` is ``letters[start[i]:start[i + 1]]``."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
    _, starts, letters = array.buffers()
    start = np.frombuffer(starts, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return frozen(start), frozen(np.frombuffer(letters, dtype=np.uint8) if letters else _ALL)


@njit(cache=True, nogil=True, error_model="numpy")
def _mixed(first, second):  # type: ignore[no-untyped-def]
    mixed = (first * _FIRST) ^ second
    mixed ^= mixed >> _HALF
    mixed *= _SECOND
    return mixed ^ (mixed >> _HALF)


@njit(cache=True, nogil=True, error_model="numpy")
def _last_word(letters, start, length):  # type: ignore[no-untyped-def]
    """The last eight bytes of a text, or all bytes of a shorter one."""
    if length >= 8:
        return word_at(letters, start + length - 8)
    word = np.uint64(0)
    for k in range(length):
        word = (word << np.uint64(8)) | np.uint64(letters[start + k])
    return word


@njit(cache=True, nogil=True, error_model="numpy")
def _hash_of(letters, start, length):  # type: ignore[no-untyped-def]
    """Eight bytes at a time; the last eight may overlap those before them."""
    hashed = np.uint64(length)
    for k in range(0, length - 8, 8):
        hashed = _mixed(hashed, word_at(letters, start + k))
    return _mixed(hashed, _last_word(letters, start, length))


@njit(cache=True, nogil=True, error_model="numpy")
def _are_equal(letters, start, others, at, length):  # type: ignore[no-untyped-def]
    """Whether two texts of one length are the same, byte by byte."""
    for k in range(0, length - 8, 8):
        if word_at(letters, start + k) != word_at(others, at + k):
            return False
    return _last_word(letters, start, length) == _last_word(others, at, length)


@njit(cache=True, nogil=True, error_model="numpy")
def build_pairs(keys, is_in, slots):  # type: ignore[no-untyped-def]
    """Enter the keys with ``is_in`` into a table.

    Parameters
    ----------
    keys : uint64 (n, 2)
    is_in : uint8 (n,)
    slots : uint32 (a power of two,)
        Empty (0); changed in place.
    """
    last = np.uint64(slots.size - 1)
    for i in range(keys.shape[0]):
        if is_in[i] != 0:
            hashed = _mixed(keys[i, 0], keys[i, 1])
            slot = (hashed >> _HALF) & last
            while slots[slot] != 0:
                slot = (slot + np.uint64(1)) & last
            slots[slot] = i + 1


@njit(cache=True, nogil=True, error_model="numpy")
def find_pairs(sought, valid, keys, slots, n_persons, are_texts, place):  # type: ignore[no-untyped-def]
    """Where each of the sought keys stands.

    Parameters
    ----------
    sought : uint64 (n, 2)
    valid : uint8 (n,) or (0,)
        0 for null; without length nothing is null.
    keys, slots
        As :func:`build_pairs` left them.
    n_persons : int
    are_texts : bool
        Whether a key of length 0 is an empty text.
    place : uint32 (n,)
        Changed in place: a position in ``keys``, ``n_persons`` for a stranger, ``n_persons + 1`` for no id.

    Returns
    -------
    uint64
        The longest of the texts, in bytes.
    """
    last = np.uint64(slots.size - 1)
    longest = np.uint64(0)
    for i in range(sought.shape[0]):
        first, second = sought[i, 0], sought[i, 1]
        length, found = first & _LOW, n_persons
        longest = max(longest, length)
        if (valid.size != 0 and valid[i] == 0) or (are_texts and length == 0):
            found = n_persons + 1
        else:
            slot = (_mixed(first, second) >> _HALF) & last
            while slots[slot] != 0:
                at = slots[slot] - np.uint32(1)
                if keys[at, 0] == first and keys[at, 1] == second:
                    found = np.int64(at)
                    break
                slot = (slot + np.uint64(1)) & last
        place[i] = found
    return longest


@njit(cache=True, nogil=True, error_model="numpy")
def unlike_views(views, valid, slots, first, which):  # type: ignore[no-untyped-def]
    """Number the views in the order in which each is first met, passing over nulls, whose views mean nothing.

    Parameters
    ----------
    views : uint64 (n, 2)
    valid : uint8 (n,) or (0,)
        0 for null; without length nothing is null.
    slots : uint32 (a power of two,)
        Empty (0), at most half to be filled; changed in place, like the next two.
    first : uint32 (n,)
        Where view number ``u`` is first met.
    which : uint32 (n,)
        The number of each row's view; 0 for null.

    Returns
    -------
    int64
        How many views there are.
    """
    last = np.uint64(slots.size - 1)
    n_unlike = np.int64(0)
    for i in range(views.shape[0]):
        which[i] = 0
        if valid.size != 0 and valid[i] == 0:
            continue
        slot = (_mixed(views[i, 0], views[i, 1]) >> _HALF) & last
        while True:
            if slots[slot] == 0:
                first[n_unlike] = i
                n_unlike += 1
                slots[slot] = n_unlike
            number = slots[slot] - np.uint32(1)
            if views[first[number], 0] == views[i, 0] and views[first[number], 1] == views[i, 1]:
                which[i] = number
                break
            slot = (slot + np.uint64(1)) & last
    return n_unlike


@njit(cache=True, nogil=True, error_model="numpy")
def build_texts(start, letters, slots):  # type: ignore[no-untyped-def]
    """Enter every text into a table.

    Parameters
    ----------
    start : int64 (n + 1,)
        Text ``i`` is ``letters[start[i]:start[i + 1]]``.
    letters : uint8
    slots : uint32 (a power of two,)
        Empty (0); changed in place.
    """
    last = np.uint64(slots.size - 1)
    for i in range(start.size - 1):
        hashed = _hash_of(letters, start[i], start[i + 1] - start[i])
        slot = (hashed >> _HALF) & last
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & last
        slots[slot] = i + 1


@njit(cache=True, nogil=True, error_model="numpy")
def find_texts(start, letters, valid, ids_start, ids_letters, slots, n_persons, place):  # type: ignore[no-untyped-def]
    """Where each of some texts stands among the ids; as :func:`find_pairs`, for texts of any length.

    In three steps for some texts at a time, each of which asks for the memory that the next will read: the ids of a
    city lie all over it.
    """
    last = np.uint64(slots.size - 1)
    slot_of, n = np.empty(_TOGETHER, dtype=np.uint64), start.size - 1
    for first in range(0, n, _TOGETHER):
        stop = min(first + _TOGETHER, n)
        for i in range(first, stop):
            slot = (_hash_of(letters, start[i], start[i + 1] - start[i]) >> _HALF) & last
            slot_of[i - first] = slot
            prefetch(slots, slot)
        for i in range(first, stop):
            if slots[slot_of[i - first]] != 0:
                prefetch(ids_start, np.uint64(slots[slot_of[i - first]] - np.uint32(1)))
        for i in range(first, stop):
            if slots[slot_of[i - first]] != 0:
                prefetch(ids_letters, np.uint64(ids_start[slots[slot_of[i - first]] - np.uint32(1)]))
        for i in range(first, stop):
            length, found = start[i + 1] - start[i], n_persons
            if (valid.size != 0 and valid[i] == 0) or length == 0:
                place[i] = n_persons + 1
                continue
            slot = slot_of[i - first]
            while slots[slot] != 0:
                at = np.int64(slots[slot]) - 1
                if ids_start[at + 1] - ids_start[at] == length and _are_equal(
                    letters, start[i], ids_letters, ids_start[at], length
                ):
                    found = at
                    break
                slot = (slot + np.uint64(1)) & last
            place[i] = found


def warm_up() -> None:
    """Compile, or load from numba's cache, every kernel of this file."""
    index = PersonIndex(pl.Series(["1", "a text too long for a view"]))
    index.find(pl.Series([1, None]))
    index.find(pl.Series(["1", None]))
    index.find(pl.Series(["a text too long for a view"]))
