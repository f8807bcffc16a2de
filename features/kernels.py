"""The loops over time: window features before, and label windows after, each row's as-of date. Arrays in, arrays out.

A kernel checks nothing (its caller has validated, sorted and cast) and calls only kernels of this file. Callers pass
arrays through :func:`features.arrays.frozen`: a writable array and a read-only one would be two signatures, and so two
compilations. An optional array given as ``None`` is compiled away together with every test that mentions it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import DAY_US, frozen

MEASURE_NUMBERS = {
    "count": 0,
    "n_values": 1,
    "sum": 2,
    "mean": 3,
    "min": 4,
    "max": 5,
    "last": 6,
    "days_since_last": 7,
}
EVER = np.int64(2**62)  # a window longer than all time, in µs

# One record per group, so that whatever an event changes lies in one cache line.
ACCUMULATOR = np.dtype(
    [
        ("count", np.int64),
        ("n_values", np.int64),
        ("sum", np.float64),
        ("min", np.float32),
        ("max", np.float32),
        ("last", np.float32),
        ("spare", np.float32),
        ("last_time", np.int64),
    ]
)
_NAN = np.float32(np.nan)
_INF = np.float32(np.inf)
_ONE = np.uint64(1)
_DAY = np.uint64(DAY_US)


@njit(cache=True, nogil=True, error_model="numpy")
def _add(groups, group, touched, n_touched, moment, number):  # type: ignore[no-untyped-def]
    """Take one event, earlier than all before it, into its group; selects instead of branches."""
    into = groups[group]
    touched[n_touched] = group
    is_first = into.count == 0
    is_value = number == number
    is_last = is_value & (into.n_values == 0)  # not `and`, which would branch
    into.last_time = moment if is_first else into.last_time
    into.count += 1
    into.last = number if is_last else into.last
    into.n_values += np.int64(is_value)
    into.sum += np.float64(number if is_value else np.float32(0.0))
    into.min = number if number < into.min else into.min  # false for NaN
    into.max = number if number > into.max else into.max
    return n_touched + np.uint64(is_first)


@njit(cache=True, nogil=True, error_model="numpy")
def _clear(groups, group):  # type: ignore[no-untyped-def]
    empty = groups[group]
    empty.count = 0
    empty.n_values = 0
    empty.sum = 0.0
    empty.min = _INF
    empty.max = -_INF
    empty.last = _NAN


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_all(group, as_of, measured):  # type: ignore[no-untyped-def]
    """Every measure of a group, in the order of MEASURE_NUMBERS: cheaper than branching to the ones asked for."""
    has_value = group.n_values > 0
    measured[0] = group.count
    measured[1] = group.n_values
    measured[2] = group.sum if has_value else _NAN
    measured[3] = group.sum / np.float64(group.n_values) if has_value else _NAN
    measured[4] = group.min if has_value else _NAN
    measured[5] = group.max if has_value else _NAN
    measured[6] = group.last
    # Never negative; unsigned, because a signed floor division costs more than all the rest.
    measured[7] = np.int64(np.uint64(as_of - group.last_time) // _DAY)


@njit(cache=True, nogil=True, error_model="numpy")
def window_features(  # type: ignore[no-untyped-def]
    time,
    known,
    code,
    value,
    offsets,
    row_person,
    row_as_of,
    row_out,
    windows,
    group_of,
    more_start,
    more_groups,
    first_column,
    measure_start,
    measures,
    empty_row,
    out,
):
    """Measures of each group's events in each window before each row's as-of date, as the city knew them then.

    Rows of one person stand together, earliest first. From each as-of date the person's events are walked backwards
    once; at each window's edge, nearest first, the groups met so far are written. An event not known before the as-of
    date is passed over.

    Parameters
    ----------
    time, known, code, value, offsets
        The event log; see :func:`sort_within_persons`. ``known`` None: no event became known later than it happened.
    row_person : uint32 (n_rows,)
        Dense index of the row's person, ascending.
    row_as_of : int64 (n_rows,)
        Local midnight of the as-of date in µs, ascending within a person.
    row_out : int64 (n_rows,)
        Which row of ``out`` to write.
    windows : int64 (n_windows,)
        Lengths in µs, ascending; ``EVER`` for everything before.
    group_of : int32 (n_codes,)
        The first group of each code; ``n_groups`` for a code that belongs to none.
    more_start, more_groups : int32 (n_codes + 1,), int32 (n_more,); or None, None
        Further groups of code ``c``: ``more_groups[more_start[c]:more_start[c + 1]]``. None when there are none.
    first_column : int32 (n_windows, n_groups + 1)
        Where the measures of a group over a window begin in a row of ``out``; -1 where none are asked for.
    measure_start, measures : int32 (n_groups + 2,), uint8 (n,)
        Group ``g`` asks for ``measures[measure_start[g]:measure_start[g + 1]]``, numbered as in MEASURE_NUMBERS.
    empty_row : float32 (n_columns,)
        What a row holds before any event.
    out : float32 (n, n_columns)
        Changed in place.
    """
    n_groups = first_column.shape[1]
    groups = np.zeros(n_groups, dtype=ACCUMULATOR)
    for every in range(n_groups):
        _clear(groups, every)
    touched = np.empty(n_groups + 1, dtype=np.uint32)
    measured = np.empty(8, dtype=np.float32)
    end = np.uint64(0)
    person = np.int64(-1)
    for row in range(row_person.size):
        as_of = row_as_of[row]
        if np.int64(row_person[row]) != person:
            person = np.int64(row_person[row])
            end = np.uint64(offsets[person])
        start, stop = np.uint64(offsets[person]), np.uint64(offsets[person + 1])
        while end < stop and time[end] < as_of:
            end += _ONE
        line = out[row_out[row]]
        line[:] = empty_row
        i = end
        n_touched = np.uint64(0)
        for w in range(windows.size):
            edge = as_of - windows[w]
            while i > start and time[i - _ONE] >= edge:
                i -= _ONE
                if known is not None:  # noqa: SIM102 (numba prunes this form when there is no array)
                    if known[i] >= as_of:
                        continue
                c = np.uint64(code[i])
                n_touched = _add(groups, np.uint64(group_of[c]), touched, n_touched, time[i], value[i])
                if more_start is not None:
                    for m in range(more_start[c], more_start[c + _ONE]):
                        n_touched = _add(groups, np.uint64(more_groups[m]), touched, n_touched, time[i], value[i])
            for t in range(n_touched):
                g = np.uint64(touched[t])
                column = first_column[w, g]
                if column < 0:
                    continue
                _measure_all(groups[g], as_of, measured)
                into = np.uint64(column)
                for slot in range(np.uint64(measure_start[g]), np.uint64(measure_start[g + _ONE])):
                    line[into] = measured[np.uint64(measures[slot])]
                    into += _ONE
        for t in range(n_touched):
            _clear(groups, np.uint64(touched[t]))


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
    """Compile, or load from numba's cache, the usual variants of every kernel, so that the first answer is quick."""
    time = np.array([0, 1], dtype=np.int64)
    code, value = np.zeros(2, dtype=np.uint16), np.zeros(2, dtype=np.float32)
    person = frozen(np.zeros(2, dtype=np.uint32))
    offsets, i32 = frozen(np.array([0, 2], dtype=np.int64)), np.int32
    rows = frozen(np.zeros(1, dtype=np.int64))
    first_column, measures = frozen(np.zeros((1, 2), dtype=i32)), frozen(np.zeros(1, dtype=np.uint8))
    measure_start, group_of = frozen(np.array([0, 1, 1], dtype=i32)), frozen(np.zeros(1, dtype=i32))
    for known in (None, time.copy()):
        log = (frozen(time), None if known is None else frozen(known), frozen(code), frozen(value), offsets)
        window_features(
            *log, person[:1], rows, rows, frozen(rows + 1), group_of, None, None, first_column, measure_start, measures,
            frozen(value[:1]), np.empty((1, 1), dtype=np.float32),
        )  # fmt: skip
        label_windows(
            *log, person[:1], rows, rows, rows, frozen(np.ones(1, dtype=np.bool_)), np.empty(1, dtype=np.int64),
            np.empty((3, 1)), np.empty(1, dtype=np.int64),
        )  # fmt: skip
