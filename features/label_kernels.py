"""The loop over the time after each row's as-of date: what happened in the label's window. Arrays in, arrays out.

A kernel checks nothing and calls only kernels of this file; arrays enter as :mod:`features.kernels` says.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import DAY_US, frozen

EVER = np.int64(2**62)
"""Later than any moment, in µs."""


@njit(cache=True, nogil=True, error_model="numpy")
def label_windows(  # type: ignore[no-untyped-def]
    time, known, code, value, offsets, row_person, row_start, row_stop, row_known, wanted, days, totals, first_time
):
    """What happened in each row's window [start, stop) and was known before the row's last moment of knowing.

    Parameters
    ----------
    time, known, code, value, offsets
        The event log; see :func:`sort_within_persons`.
    row_person : uint32 (n_rows,)
        Dense index of the row's person, in any order.
    row_start, row_stop, row_known : int64 (n_rows,)
        µs; an event counts if ``start <= time < stop`` and ``known < row_known``.
    wanted : bool (n_codes,)
        Which codes count.
    days : int64 (n_rows,)
        Distinct local days with an event; changed in place, like the next two.
    totals : float64 (3, n_rows)
        Sum, max and min of the values; NaN without a value.
    first_time : int64 (n_rows,)
        The first such event; ``EVER`` without one.
    """
    for row in range(row_person.size):
        person = row_person[row]
        low, high = offsets[person], offsets[person + 1]
        stop = high
        while low < high:
            middle = (low + high) // 2
            if time[middle] < row_start[row]:
                low = middle + 1
            else:
                high = middle
        n_days, last_day, n_values = 0, np.int64(-(2**62)), 0
        total, largest, smallest = 0.0, -np.inf, np.inf
        first_time[row] = EVER
        for i in range(low, stop):
            if time[i] >= row_stop[row]:
                break
            if not wanted[code[i]]:
                continue
            moment = time[i] if known is None else known[i]
            if moment >= row_known[row]:
                continue
            if n_days == 0:
                first_time[row] = time[i]
            day = time[i] // DAY_US
            n_days += day != last_day
            last_day = day
            number = np.float64(value[i])
            if number == number:
                n_values += 1
                total += number
                largest = max(largest, number)
                smallest = min(smallest, number)
        days[row] = n_days
        totals[0, row] = total if n_values else np.nan
        totals[1, row] = largest if n_values else np.nan
        totals[2, row] = smallest if n_values else np.nan


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel of this file."""
    time = np.array([0, 1], dtype=np.int64)
    code, value = frozen(np.zeros(2, dtype=np.uint16)), frozen(np.zeros(2, dtype=np.float32))
    person, offsets = frozen(np.zeros(1, dtype=np.uint32)), frozen(np.array([0, 2], dtype=np.int64))
    rows, wanted = frozen(np.zeros(1, dtype=np.int64)), frozen(np.ones(1, dtype=np.bool_))
    for known in (None, frozen(time.copy())):
        days, totals, first_time = np.empty(1, dtype=np.int64), np.empty((3, 1)), np.empty(1, dtype=np.int64)
        log = (frozen(time), known, code, value, offsets)
        label_windows(*log, person, rows, rows, rows, wanted, days, totals, first_time)
