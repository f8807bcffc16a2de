"""The walk of rows through trees. Arrays in, arrays out.

A kernel checks nothing and calls only kernels of this file. What makes :func:`add_scores` fast, as measured: eight rows
walk side by side, so that the processor works on one while it waits for another; no step has a branch that could be
foretold wrongly; no row waits at the end of a tree for the others; the cells of eight rows and a piece of the trees lie
in the first cache. The values of the leaves are added tree after tree in float64, as LightGBM adds them, and adding the
0 of a split changes nothing: the scores are LightGBM's to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from scoring.forest_layout import CODES, RULE_CATEGORY
from scoring.forest_reader import MISSING_NAN, MISSING_ZERO

LANES = 8
"""Rows that walk side by side."""
_TILE = 16
_LANES: Any = np.uint64(LANES)
_NEAR_ZERO = np.uint32(np.float32(1e-35).view(np.uint32))  # what is not above it is 0 to LightGBM
_INFINITE = np.uint32(0x7F800000)  # bits above are NaN
_SIGN = np.uint32(0x80000000)
_MISSING = np.uint32(0xFFFFFFFF)
_OTHER = np.uint32(CODES)
_ZERO, _NAN, _CATEGORY = np.int64(MISSING_ZERO), np.int64(MISSING_NAN), np.int64(RULE_CATEGORY)
_ADDRESS, _BEGINNING = np.uint64(0xFFFF), np.uint64(4)
_STEPS_UNASKED = 4
_CHILD, _DEFAULT, _CELL, _ONE = np.uint64(32), np.uint64(48), np.uint64(49), np.uint64(1)


@njit(cache=True, nogil=True, error_model="numpy")
def _key(bits, missing_if):  # type: ignore[no-untyped-def]
    size = bits & np.uint32(0x7FFFFFFF)
    missing = (missing_if != 0 and size > _INFINITE) or (missing_if == _ZERO and size <= _NEAR_ZERO)
    zero = size <= _NEAR_ZERO or size > _INFINITE
    ordered = ~bits if bits & _SIGN else bits | _SIGN
    return _MISSING if missing else _SIGN if zero else np.uint32(ordered)


@njit(cache=True, nogil=True, error_model="numpy")
def _code(number, first):  # type: ignore[no-untyped-def]
    inside = number > np.float32(-1) and number < np.float32(2147483648.0)  # false for NaN
    code = np.int64(number if inside else np.float32(-1)) - first
    code = code if inside else np.int64(-1)
    return np.uint32(code) if code >= 0 and code < np.int64(CODES) else _OTHER


@njit(cache=True, nogil=True, error_model="numpy")
def write_cells(bits, numbers, start, stop, source, rule, first_code, cells):  # type: ignore[no-untyped-def]
    """Write the cells of some rows as the walk compares them.

    Parameters
    ----------
    bits, numbers : uint32 and float32 (n_features, n)
        Columns of the matrix, twice: the same memory, of whichever order.
    start, stop : int
        The rows.
    source, rule, first_code
        See :class:`scoring.forest_layout.Layout`.
    cells : uint32 (at least (stop - start) / LANES, n_cells * LANES)
        Changed in place.
    """
    n_groups = (stop - start + LANES - 1) // LANES
    # A few columns at a time, so that columns that lie far apart are read in long pieces too.
    for tile in range(0, source.size, _TILE):
        for group in range(n_groups):
            first = start + group * LANES
            lanes = min(stop - first, LANES)
            for cell in range(tile, min(tile + _TILE, source.size)):
                column, how = source[cell], rule[cell]
                to = cells[group, cell * LANES : (cell + 1) * LANES]
                if how == _CATEGORY:
                    for lane in range(lanes):
                        to[lane] = _code(numbers[column, first + lane], first_code[cell])
                else:
                    for lane in range(lanes):
                        to[lane] = _key(bits[column, first + lane], how)


@njit(cache=True, nogil=True, error_model="numpy")
def _step(words, values, cells, lane, first_category, at, total):  # type: ignore[no-untyped-def]
    word = words[at]
    total += values[at + _ONE]
    cell = word >> _CELL
    number = cells[cell * _LANES + lane]
    low = np.uint32(word)
    right = np.uint64(np.uint32(number + np.uint32((word >> _DEFAULT) & _ONE)) > low)
    if first_category is not None:
        # Put together by arithmetic: as a branch it would be foretold wrongly at every other split by categories.
        outside = ~(np.uint64(low) >> np.uint64(number & _OTHER)) & _ONE
        right ^= (right ^ outside) & np.uint64(cell >= first_category)
    return ((word >> _CHILD) & _ADDRESS) + right + right, total


@njit(cache=True, nogil=True, error_model="numpy")
def add_scores(words, values, pieces, cells, n_groups, first_category, out):  # type: ignore[no-untyped-def]
    """Add the value of every row in every tree, tree after tree.

    Parameters
    ----------
    words, values : uint64 and float64 (2 * n_records,)
        The records, twice: the same memory.
    pieces : int64 (n_pieces + 1,)
    cells : uint32 (n_groups, n_cells * LANES)
    n_groups : int
    first_category : uint64 or None
        The first cell of categories; None where there is none.
    out : float64 (n_groups * LANES,)
        Changed in place.
    """
    for piece in range(pieces.size - 1):
        w, v = words[pieces[piece] : pieces[piece + 1]], values[pieces[piece] : pieces[piece + 1]]
        for group in range(n_groups):
            c, to = cells[group], out[group * LANES : (group + 1) * LANES]
            # Eight variables each, and no array of eight, so that they stay in registers: where a row is, and its sum.
            at0 = at1 = at2 = at3 = at4 = at5 = at6 = at7 = _BEGINNING
            s0, s1, s2, s3, s4, s5, s6, s7 = to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7]
            while at0 | at1 | at2 | at3 | at4 | at5 | at6 | at7:  # walks end at 0, and stay there
                for _ in range(_STEPS_UNASKED):
                    at0, s0 = _step(w, v, c, np.uint64(0), first_category, at0, s0)
                    at1, s1 = _step(w, v, c, np.uint64(1), first_category, at1, s1)
                    at2, s2 = _step(w, v, c, np.uint64(2), first_category, at2, s2)
                    at3, s3 = _step(w, v, c, np.uint64(3), first_category, at3, s3)
                    at4, s4 = _step(w, v, c, np.uint64(4), first_category, at4, s4)
                    at5, s5 = _step(w, v, c, np.uint64(5), first_category, at5, s5)
                    at6, s6 = _step(w, v, c, np.uint64(6), first_category, at6, s6)
                    at7, s7 = _step(w, v, c, np.uint64(7), first_category, at7, s7)
            to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7] = s0, s1, s2, s3, s4, s5, s6, s7
