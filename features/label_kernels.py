"""The loops behind cohort and label: what follows a row's as-of date, and who was seen long before it.

Arrays in, arrays out.

A kernel checks nothing and calls only kernels of this file; arrays enter as :mod:`features.kernels` says.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import DAY_US, frozen

EVER = np.int64(2**62)
"""Later than any moment, in µs."""
DAYS, SUM, MAX, MIN = range(4)
"""Numbers of the measures a label may be made of."""


@njit(cache=True, nogil=True, error_model="numpy")
def _first_from(time, low, high, start):  # type: ignore[no-untyped-def]
    """Position of the first of the sorted ``time[low:high]`` that is not before ``start``."""
    while low < high:
        middle = (low + high) // 2
        if time[middle] < start:
            low = middle + 1
        else:
            high = middle
    return low


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
        stop = offsets[person + 1]
        low = _first_from(time, offsets[person], stop, row_start[row])
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


@njit(cache=True, nogil=True, error_model="numpy")
def _is_beyond(measure, at_least, n_days, n_values, total, largest, smallest, bound, bound_32):  # type: ignore[no-untyped-def]
    """Whether a measure has gone past its bound in the direction in which it moves as events come.

    Days, sums and maxima rise, minima fall. Values are float32, so the bound is rounded alike: a value of 0.7 reaches
    ``at_least = 0.7``.
    """
    if measure == DAYS:
        return n_days >= bound if at_least else n_days > bound
    if n_values == 0:
        return False
    if measure == MIN:
        return np.float32(smallest) < bound_32 if at_least else np.float32(smallest) <= bound_32
    number = np.float32(total if measure == SUM else largest)
    return number >= bound_32 if at_least else number > bound_32


@njit(cache=True, nogil=True, error_model="numpy")
def measured_until(  # type: ignore[no-untyped-def]
    time, known, code, value, offsets, row_person, row_start, row_stop, row_known, wanted,
    measure, at_least, bound, beyond_since, has_value,
):  # fmt: skip
    """Since which day the events of each row's window [start, stop) have a measure beyond its bound.

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
    measure : int
        ``DAYS``, ``SUM``, ``MAX`` or ``MIN``.
    at_least : bool
        Whether the bound is the least that is enough, or the most that is allowed.
    bound : float
    beyond_since : int64 (n_rows,)
        µs of an event on the day by whose end the measure was beyond its bound (days, sum and max: at or above
        ``at_least``, above ``at_most``; min: below ``at_least``, at or below ``at_most``), and stayed so until the
        window's end; ``EVER`` when it ended on the other side. Changed in place, like the next.
    has_value : bool (n_rows,)
        Whether there was any value, or for days always.
    """
    bound_32 = np.float32(bound)
    for row in range(row_person.size):
        person = row_person[row]
        stop = offsets[person + 1]
        n_days, n_values, last_time = 0, 0, np.int64(-(2**62))
        total, largest, smallest = 0.0, -np.inf, np.inf
        since = EVER
        for i in range(_first_from(time, offsets[person], stop, row_start[row]), stop):
            if time[i] >= row_stop[row]:
                break
            if not wanted[code[i]]:
                continue
            moment = time[i] if known is None else known[i]
            if moment >= row_known[row]:
                continue
            if time[i] // DAY_US != last_time // DAY_US:
                # Only whole days are told apart: what went back and forth within one day did not.
                if not _is_beyond(measure, at_least, n_days, n_values, total, largest, smallest, bound, bound_32):
                    since = EVER
                elif since == EVER:
                    since = last_time
                n_days += 1
            last_time = time[i]
            number = np.float64(value[i])
            if number == number:
                n_values += 1
                total += number
                largest = max(largest, number)
                smallest = min(smallest, number)
        if not _is_beyond(measure, at_least, n_days, n_values, total, largest, smallest, bound, bound_32):
            since = EVER
        elif since == EVER:
            since = last_time
        beyond_since[row] = since
        has_value[row] = measure == DAYS or n_values > 0


@njit(cache=True, nogil=True, error_model="numpy")
def observed_by(time, known, offsets, row_person, row_stop, row_known, seen):  # type: ignore[no-untyped-def]
    """Whether any event of each row's person lies before a moment and was known before another.

    Parameters
    ----------
    time, known, offsets
        The event log; see :func:`sort_within_persons`.
    row_person : uint32 (n_rows,)
    row_stop, row_known : int64 (n_rows,)
        µs; an event shows it if ``time < stop`` and ``known < row_known``.
    seen : bool (n_rows,)
        Changed in place.
    """
    for row in range(row_person.size):
        person = row_person[row]
        seen[row] = False
        for i in range(offsets[person], offsets[person + 1]):
            if time[i] >= row_stop[row]:
                break
            if (time[i] if known is None else known[i]) < row_known[row]:
                seen[row] = True
                break


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
        has_value = np.empty(1, dtype=np.bool_)
        measured_until(*log, person, rows, rows, rows, wanted, DAYS, True, 1.0, first_time, has_value)
        observed_by(log[0], known, log[4], person, rows, rows, has_value)
