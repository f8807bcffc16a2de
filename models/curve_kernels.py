"""What some replicates of persons tell along the length of a list, in cells, and of two lists, compiled.

``counts`` uint8 (replicates, n_people) is how often each replicate drew each person
(:func:`models.metric_kernels.draw_counts`); ``people`` says whose row it is. ``marks`` are those of
:class:`models.metric_kernels.RankedRows`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_PERIOD_ENDS = 2


@njit(cache=True, error_model="numpy")
def _along_k(
    y: Bytes, unit: Floats, people: Ints, marks: Bytes, count: Bytes, scale: Floats, cuts: Floats, out: Floats
) -> None:
    """Found and listed in the first ``cuts`` places of every period, added up; last, all positives and all rows."""
    out[:] = 0.0
    s_all = s_pos = t_all = t_pos = 0.0
    at = period = 0
    for i in range(y.size):
        w = np.float64(count[people[i]])
        if unit.size:
            w *= unit[i] * scale[period]
        t_all += w
        t_pos += w * y[i]
        if marks[i] == 0:
            continue
        while at < cuts.size and cuts[at] <= s_all + t_all:
            places = cuts[at] - s_all
            out[at, 0] += s_pos + (places * t_pos / t_all if places > 0.0 else 0.0)
            out[at, 1] += cuts[at]
            at += 1
        s_all += t_all
        s_pos += t_pos
        t_all = t_pos = 0.0
        if marks[i] == _PERIOD_ENDS:
            for rest in range(at, cuts.size):
                out[rest, 0] += s_pos
                out[rest, 1] += s_all
            out[cuts.size, 0] += s_pos
            out[cuts.size, 1] += s_all
            s_all = s_pos = 0.0
            at = 0
            period += 1


@njit(cache=True, error_model="numpy", parallel=True)
def sums_along_k(
    y: Bytes, unit: Floats, people: Ints, marks: Bytes, counts: Bytes, scales: Floats, cuts: Floats
) -> Floats:
    """Found and listed at each cut, and at the end of the rows.

    Parameters
    ----------
    y, unit, people, marks
        As :class:`models.metric_kernels.RankedRows` has them; empty ``unit`` means 1.
    counts : uint8 (replicates, n_people)
    scales : float64 (replicates, n_periods)
        Factors of ``unit``.
    cuts : float64 (n_cuts,)
        Places per period, ascending.

    Returns
    -------
    float64 (replicates, n_cuts + 1, 2)
    """
    out = np.empty((counts.shape[0], cuts.size + 1, 2))
    for r in prange(counts.shape[0]):
        _along_k(y, unit, people, marks, counts[r], scales[r], cuts, out[r])
    return out


@njit(cache=True, error_model="numpy", parallel=True)
def sums_in_cells(y: Bytes, unit: Floats, people: Ints, starts: Longs, counts: Bytes) -> Floats:
    """Weight of all rows and of those in need in each cell, of rows sorted by cell: float64 (replicates, n_cells, 2).

    ``starts`` (n_cells + 1,) is where each cell begins; empty ``unit`` means 1.
    """
    out = np.empty((counts.shape[0], starts.size - 1, 2))
    for r in prange(counts.shape[0]):
        for cell in range(starts.size - 1):
            everyone = positives = 0.0
            for i in range(starts[cell], starts[cell + 1]):
                w = np.float64(counts[r, people[i]])
                if unit.size:
                    w *= unit[i]
                everyone += w
                positives += w * y[i]
            out[r, cell, 0] = everyone
            out[r, cell, 1] = positives
    return out


@njit(cache=True, error_model="numpy")
def listed_shares(order: Longs, marks: Bytes, unit: Floats, count: Bytes, people: Ints, k: float, out: Floats) -> float:
    """Which part of each row is in the first k places of its period: 1 above the cut, 0 below, between among equals.

    Parameters
    ----------
    order, marks : (n,)
        Positions of the rows by period and from the highest score down, and the marks of that order.
    unit : float64 (n,)
        Weight of each row by position, or empty for 1.
    count, people
        By position: how often the row's person was drawn.
    out : float64 (n,)
        Filled, by position.

    Returns
    -------
    float
        Places filled, over all periods.
    """
    out[:] = 0.0
    everything = listed = t_all = 0.0
    first = 0
    for i in range(order.size):
        row = order[i]
        if listed < k:
            t_all += count[people[row]] * (unit[row] if unit.size else 1.0)
        if marks[i] == 0:
            continue
        places = min(t_all, k - listed)
        if places > 0.0:
            for j in range(first, i + 1):
                out[order[j]] = places / t_all
            listed += places
        t_all = 0.0
        first = i + 1
        if marks[i] == _PERIOD_ENDS:
            everything += listed
            listed = 0.0
    return everything


@njit(cache=True, error_model="numpy", parallel=True)
def shared_places(
    order_a: Longs, marks_a: Bytes, order_b: Longs, marks_b: Bytes, people: Ints, counts: Bytes, k: float
) -> Floats:
    """Places that two lists of the same rows share, and the places of one list: float64 (replicates, 2).

    A row of which a part p is in one list and q in the other shares min(p, q): equals are put in one neutral order,
    the same for both lists.
    """
    out = np.empty((counts.shape[0], 2))
    for r in prange(counts.shape[0]):
        by_a, by_b = np.empty(order_a.size), np.empty(order_a.size)
        everyone = np.empty(0)
        out[r, 1] = listed_shares(order_a, marks_a, everyone, counts[r], people, k, by_a)
        listed_shares(order_b, marks_b, everyone, counts[r], people, k, by_b)
        shared = 0.0
        for row in range(order_a.size):
            shared += counts[r, people[row]] * min(by_a[row], by_b[row])
        out[r, 0] = shared
    return out
