"""The loops that regroup events by person: a stable counting scatter, and a sort of those who arrive unsorted.

A kernel checks nothing (its caller has validated and cast) and calls only kernels of this file. Callers pass read-only
arrays through :func:`features.arrays.frozen`: a writable array and a read-only one would be two compilations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import frozen

_SMALL = 16  # up to here insertion beats merging


@njit(cache=True, nogil=True, error_model="numpy")
def count_rows(person, reason, counts):  # type: ignore[no-untyped-def]
    """Add one to ``counts[person]`` for every row whose ``reason`` to be left out is 0.

    Parameters
    ----------
    person : uint32 (n,)
        Dense index of each row's person.
    reason : uint8 (n,)
        0 for a row to keep.
    counts : int64 (n_persons,)
        Changed in place.
    """
    for i in range(person.size):
        if reason[i] == 0:
            counts[person[i]] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def scatter_rows(person, reason, source, cursor, target):  # type: ignore[no-untyped-def]
    """Copy the kept rows of ``source`` to where their persons stand in ``target``, in order of arrival.

    Parameters
    ----------
    person, reason
        As in :func:`count_rows`.
    source : (n,)
        One column of the rows.
    cursor : int64 (n_persons,)
        Where each person's next row goes; moved on in place.
    target : (n_kept,)
        The same column grouped by person; changed in place.
    """
    for i in range(person.size):
        if reason[i] == 0:
            target[cursor[person[i]]] = source[i]
            cursor[person[i]] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _tied_before(i, j, known, code, value):  # type: ignore[no-untyped-def]
    """Whether event ``i`` comes before event ``j`` of the same time."""
    null_i, null_j = value[i] != value[i], value[j] != value[j]
    if null_i != null_j:
        return null_i
    if not null_i and value[i] != value[j]:
        return value[i] < value[j]
    if code[i] != code[j]:
        return code[i] < code[j]
    if known is not None:
        return known[i] < known[j]
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _order_person(keys, order, spare_keys, spare_order, n, known, code, value):  # type: ignore[no-untyped-def]
    """Merge sort of ``order[:n]`` by time (``keys``, moved along), then as :func:`_tied_before`."""
    for low in range(0, n, _SMALL):
        for i in range(low + 1, min(low + _SMALL, n)):
            key, moving, j = keys[i], order[i], i
            while j > low and (
                key < keys[j - 1] or (key == keys[j - 1] and _tied_before(moving, order[j - 1], known, code, value))
            ):
                keys[j], order[j] = keys[j - 1], order[j - 1]
                j -= 1
            keys[j], order[j] = key, moving
    width = _SMALL
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, high):
                take_right = i >= middle
                if not take_right and j < high:
                    take_right = keys[j] < keys[i] or (
                        keys[j] == keys[i] and _tied_before(order[j], order[i], known, code, value)
                    )
                if take_right:
                    spare_keys[k], spare_order[k] = keys[j], order[j]
                    j += 1
                else:
                    spare_keys[k], spare_order[k] = keys[i], order[i]
                    i += 1
        keys[:n], order[:n] = spare_keys[:n], spare_order[:n]
        width *= 2


@njit(cache=True, nogil=True, error_model="numpy")
def sort_within_persons(offsets, time, known, code, value):  # type: ignore[no-untyped-def]
    """Order each person's events by time, then value (null first), code and knowledge; a sorted person costs one look.

    Parameters
    ----------
    offsets : int64 (n_persons + 1,)
        Person ``i`` owns ``time[offsets[i]:offsets[i + 1]]``.
    time : int64 (n_events,)
        µs since 1970-01-01, local. Like the next three, changed in place.
    known : int64 (n_events,) or None
    code : uint16 or uint32 (n_events,)
    value : float32 (n_events,)
        NaN is null.
    """
    longest = np.int64(0)
    for person in range(offsets.size - 1):
        longest = max(longest, offsets[person + 1] - offsets[person])
    keys, spare_keys = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    order, spare_order = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    codes, values = np.empty(longest, dtype=code.dtype), np.empty(longest, dtype=value.dtype)
    for person in range(offsets.size - 1):
        start, stop = offsets[person], offsets[person + 1]
        unsorted = False
        for i in range(start + 1, stop):
            tied = time[i] == time[i - 1]
            if time[i] < time[i - 1] or (tied and _tied_before(i, i - 1, known, code, value)):
                unsorted = True
                break
        if not unsorted:
            continue
        n = stop - start
        for i in range(n):
            keys[i], order[i] = time[start + i], start + i
        _order_person(keys, order, spare_keys, spare_order, n, known, code, value)
        for i in range(n):
            codes[i], values[i] = code[order[i]], value[order[i]]
        if known is not None:
            for i in range(n):
                spare_keys[i] = known[order[i]]
            for i in range(n):
                known[start + i] = spare_keys[i]
        for i in range(n):
            time[start + i], code[start + i], value[start + i] = keys[i], codes[i], values[i]


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel of this file."""
    person, reason = frozen(np.zeros(2, dtype=np.uint32)), frozen(np.zeros(2, dtype=np.uint8))
    count_rows(person, reason, np.zeros(1, dtype=np.int64))
    time, code, value = np.array([1, 0]), np.zeros(2, dtype=np.uint16), np.zeros(2, dtype=np.float32)
    for column in (time, code, value):
        scatter_rows(person, reason, frozen(column.copy()), np.zeros(1, dtype=np.int64), column)
    for known in (None, time.copy()):
        sort_within_persons(frozen(np.array([0, 2])), time, known, code, value)
