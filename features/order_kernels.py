"""Measures of values in order: the median and other quantiles. They cannot be kept up to date event by event.

A kernel checks nothing and calls only kernels of this file; arrays enter as :mod:`features.kernels` says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.arrays import frozen


class OrderPlan(NamedTuple):
    """What to compute; dates and windows as in :class:`features.kernels.Plan`.

    Attributes
    ----------
    wanted : bool (n_groups, n_codes)
        Which codes a group is about.
    share_start, shares : int64 (n_groups + 1,), float64 (n_shares,)
        Group ``g`` asks for the quantiles ``shares[share_start[g]:share_start[g + 1]]``, each between 0 and 1.
    columns : int64 (n_windows, n_shares)
        Which column a quantile goes to; -1 where it is not asked for.
    """

    dates: NDArray[np.int64]
    tops: NDArray[np.int64]
    edges: NDArray[np.int64]
    window_at: NDArray[np.uint32]
    family_start: NDArray[np.uint32]
    wanted: NDArray[np.bool_]
    share_start: NDArray[np.int64]
    shares: NDArray[np.float64]
    columns: NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def _sort(values, n_sorted, n):  # type: ignore[no-untyped-def]
    """Order ``values[:n]``, of which the first ``n_sorted`` are in order: by insertion if few are new, else Shell's."""
    gap = 1
    if n - n_sorted > 8:
        while gap < n // 9:
            gap = 3 * gap + 1
    while gap > 0:
        for i in range(n_sorted if gap == 1 and n - n_sorted <= 8 else gap, n):
            moving, j = values[i], i
            while j >= gap and values[j - gap] > moving:
                values[j] = values[j - gap]
                j -= gap
            values[j] = moving
        gap //= 3


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(ordered, n, share):  # type: ignore[no-untyped-def]
    """Linear interpolation between the two nearest values, as numpy's default does it."""
    if n == 0:
        return np.nan
    position = share * (n - 1)
    low = int(np.floor(position))
    high = min(low + 1, n - 1)
    beyond, step = position - low, ordered[high] - ordered[low]
    return ordered[high] - step * (1.0 - beyond) if beyond >= 0.5 else ordered[low] + step * beyond


@njit(cache=True, nogil=True, error_model="numpy")
def window_quantiles(time, known, code, value, offsets, row_person, row_date, row_out, plan, out):  # type: ignore[no-untyped-def]
    """Quantiles of each group's values in each window before each row's as-of date, as the city knew them then.

    Parameters as of :func:`features.kernels.window_features`, with an :class:`OrderPlan`.
    """
    dates, tops, edges, window_at, family_start = plan.dates, plan.tops, plan.edges, plan.window_at, plan.family_start
    wanted, share_start, shares, columns = plan.wanted, plan.share_start, plan.shares, plan.columns
    most = 0
    for r in range(row_person.size):
        most = max(most, offsets[row_person[r] + 1] - offsets[row_person[r]])
    values = np.empty(most, dtype=np.float64)
    for r in range(row_person.size):
        person, date = row_person[r], row_date[r]
        start, stop = offsets[person], offsets[person + 1]
        line = out[row_out[r]]
        for g in range(wanted.shape[0]):
            for family in range(tops.shape[1]):
                end = start + np.searchsorted(time[start:stop], tops[date, family])
                n, n_sorted = 0, 0
                for step in range(family_start[family], family_start[family + 1]):
                    while end > start and time[end - 1] >= edges[date, step]:
                        end -= 1
                        if known is not None:  # noqa: SIM102 (numba prunes this form when there is no array)
                            if known[end] >= dates[date]:
                                continue
                        if wanted[g, code[end]] and value[end] == value[end]:
                            values[n] = value[end]
                            n += 1
                    _sort(values, n_sorted, n)
                    n_sorted = n
                    for s in range(share_start[g], share_start[g + 1]):
                        column = columns[window_at[date, step], s]
                        if column >= 0:
                            line[column] = _quantile(values, n, shares[s])


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel of this file."""
    time, offsets = frozen(np.array([0, 1], dtype=np.int64)), frozen(np.array([0, 2], dtype=np.int64))
    code, value = frozen(np.zeros(2, dtype=np.uint16)), frozen(np.zeros(2, dtype=np.float32))
    row, moment = frozen(np.zeros(1, dtype=np.uint32)), frozen(np.zeros((1, 1), dtype=np.int64))
    plan = OrderPlan(
        dates=moment[0],
        tops=moment,
        edges=moment,
        window_at=frozen(np.zeros((1, 1), dtype=np.uint32)),
        family_start=frozen(np.array([0, 1], dtype=np.uint32)),
        wanted=frozen(np.ones((1, 1), dtype=np.bool_)),
        share_start=frozen(np.array([0, 1], dtype=np.int64)),
        shares=frozen(np.array([0.5])),
        columns=moment,
    )
    for known in (None, time):
        out = np.empty((1, 1), dtype=np.float32)
        window_quantiles(time, known, code, value, offsets, row, row, moment[0], plan, out)
