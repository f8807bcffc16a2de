"""The loops: regrouping events by person, window features, and label windows. Arrays in, arrays out.

A kernel checks nothing (its caller has validated, sorted and cast) and calls only kernels of this file. Callers pass
arrays through :func:`frozen`: a writable array and a read-only one would be two signatures, and so two compilations.
An optional array given as ``None`` is compiled away together with every test that mentions it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

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
DAY_US = np.int64(86_400_000_000)

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
_SMALL = 16  # up to here insertion beats merging


def frozen(array: Any) -> Any:
    """A read-only, contiguous view of an array, which is what the kernels are compiled for."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


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
    time = np.array([1, 0], dtype=np.int64)
    code, value = np.zeros(2, dtype=np.uint16), np.zeros(2, dtype=np.float32)
    person, reason = frozen(np.zeros(2, dtype=np.uint32)), frozen(np.zeros(2, dtype=np.uint8))
    counts = np.zeros(1, dtype=np.int64)
    count_rows(person, reason, counts)
    for column in (time, code, value):
        scatter_rows(person, reason, frozen(column.copy()), np.zeros(1, dtype=np.int64), column)
    offsets, i32 = frozen(np.array([0, 2], dtype=np.int64)), np.int32
    rows = frozen(np.zeros(1, dtype=np.int64))
    first_column, measures = frozen(np.zeros((1, 2), dtype=i32)), frozen(np.zeros(1, dtype=np.uint8))
    measure_start, group_of = frozen(np.array([0, 1, 1], dtype=i32)), frozen(np.zeros(1, dtype=i32))
    for known in (None, time.copy()):
        sort_within_persons(offsets, time, known, code, value)
        log = (frozen(time), None if known is None else frozen(known), frozen(code), frozen(value), offsets)
        window_features(
            *log, person[:1], rows, rows, frozen(rows + 1), group_of, None, None, first_column, measure_start, measures,
            frozen(value[:1]), np.empty((1, 1), dtype=np.float32),
        )  # fmt: skip
        label_windows(
            *log, person[:1], rows, rows, rows, frozen(np.ones(1, dtype=np.bool_)), np.empty(1, dtype=np.int64),
            np.empty((3, 1)), np.empty(1, dtype=np.int64),
        )  # fmt: skip
