"""The loops that regroup events by person: judging, a counting scatter, and a sort of those who arrive unsorted.

A kernel checks nothing (its caller has validated and cast) and calls only kernels of this file. Callers pass read-only
arrays through :func:`features.arrays.frozen`: a writable array and a read-only one would be two compilations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import DAY_US, frozen

_SMALL = 16  # up to here insertion beats merging
_MOVES_PER_EVENT = 4  # beyond, merging beats insertion


@njit(cache=True, nogil=True, error_model="numpy")
def count_persons(place, counts):  # type: ignore[no-untyped-def]
    """Add one to ``counts`` for every row of a person; places beyond it are nobody's.

    Parameters
    ----------
    place : uint32 (n,)
    counts : int64 (n_persons,)
        Changed in place.
    """
    for i in range(place.size):
        if place[i] < counts.size:
            counts[place[i]] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _fault_of(is_person, has_id, has_time, has_code, has_known, is_finite, is_early, is_late):  # type: ignore[no-untyped-def]
    """Why a row cannot be used, as a position in ``why`` of :func:`place_rows`; -1 when it can."""
    if not has_id:
        return 0
    if not has_time:
        return 1
    if not has_code:
        return 2
    if not has_known:
        return 3
    if not is_finite:
        return 4
    if not is_person:
        return 5
    if is_early:
        return 6
    return 7 if is_late else -1


@njit(cache=True, nogil=True, error_model="numpy")
def place_rows(  # type: ignore[no-untyped-def]
    place, time, known, code, number_of, is_ahead, value, has_value, why, bounds, reason, stops, log_time, log_known,
    log_code, log_value,
):  # fmt: skip
    """Judge each row, and copy the good ones to where their persons' events stand, in order of arrival.

    Parameters
    ----------
    place : uint32 (n,)
        Dense index of each row's person; ``n_persons`` for a stranger, one more for an empty id.
    time, known, code, value, has_value
        As in :class:`features.row_groups.Rows`.
    number_of : int32 (n_names,)
        Number in the log of each code that ``code`` points to; -1 for an empty text.
    is_ahead : uint8 (n_codes,)
        1 for a number whose code may be known before it happens.
    why : uint8 (8,)
        What ``reason`` is to hold for: no id, no date, no code, no date of knowledge, not finite, person not in
        persons, known before it happened, known after the extract date.
    bounds : int64 (3,)
        First moment of the calendar, first after it, and first at which knowledge comes too late.
    reason : uint8 (n,)
        0, or why the door has put the row aside already; changed in place.
    stops : int64 (n_persons,)
        Where each person's next event goes; moved on in place.
    log_time, log_known, log_code, log_value : (n_events,)
        The log; changed in place.
    """
    n_persons, start, stop, too_late = np.uint32(stops.size), bounds[0], bounds[1], bounds[2]
    nothing = np.float32(np.nan)
    for i in range(time.size):
        who, moment, seen, number = place[i], time[i], time[i], np.int32(-1)
        if known is not None:
            seen = known[i]
        if code[i] >= 0:
            number = number_of[code[i]]
        filled = has_value[i] != 0
        measured = value[i] + np.float32(0)  # -0 becomes the same number as 0
        is_finite = (not filled) | (abs(measured) < np.float32(np.inf))
        is_moment = (moment >= start) & (moment < stop)
        is_known = (seen >= start) & (seen < stop)
        # By day; only where the moments differ are the days asked for.
        is_early = seen < moment and number >= 0 and seen // DAY_US < moment // DAY_US and is_ahead[number] == 0
        is_good = (who < n_persons) & is_moment & is_known & (number >= 0) & is_finite & (seen < too_late)
        # Half of the values may be null: chosen here, where the processor need not guess.
        measured = measured if filled else nothing
        if not is_good or is_early or reason[i] != 0:
            if reason[i] == 0:
                has_id, is_person = who <= n_persons, who < n_persons
                fault = _fault_of(
                    is_person, has_id, is_moment, number >= 0, is_known, is_finite, is_early, seen >= too_late
                )
                reason[i] = why[fault]
            continue
        at = stops[who]
        stops[who] = at + 1
        log_time[at] = moment
        if log_known is not None:
            log_known[at] = seen
        log_code[at] = number
        log_value[at] = measured


@njit(cache=True, nogil=True, error_model="numpy")
def count_days(offsets, stops, moment, first_day, counts):  # type: ignore[no-untyped-def]
    """Add one to ``counts[day - first_day]`` for each event.

    Parameters
    ----------
    offsets : int64 (n_persons + 1,), stops : int64 (n_persons,)
        Person ``i`` owns ``moment[offsets[i]:stops[i]]``.
    moment : int64 (n,)
        µs since 1970-01-01.
    first_day : int
    counts : int64 (n_days,)
        The first and the last also count what lies before and after; changed in place.
    """
    last = counts.size - 1
    for person in range(stops.size):
        for i in range(offsets[person], stops[person]):
            counts[min(max(moment[i] // DAY_US - first_day, 0), last)] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def close_gaps(offsets, stops, too_late, time, known, code, value):  # type: ignore[no-untyped-def]
    """Move the events together, leaving out what is known too late; ``offsets`` become those of what is left.

    Parameters
    ----------
    offsets, stops
        As in :func:`count_days`; ``offsets`` is changed in place.
    too_late : int
    time, known, code, value : (n_events,)
        The log; changed in place.
    """
    n = np.int64(0)
    for person in range(stops.size):
        start, offsets[person] = offsets[person], n
        for i in range(start, stops[person]):
            seen = time[i]
            if known is not None:
                seen = known[i]
            if seen < too_late:
                time[n], code[n], value[n] = time[i], code[i], value[i]
                if known is not None:
                    known[n] = seen
                n += 1
    offsets[stops.size] = n


@njit(cache=True, nogil=True, error_model="numpy")
def mark_codes(code, is_used):  # type: ignore[no-untyped-def]
    """Set ``is_used`` (uint8) to 1 for each code that occurs."""
    for i in range(code.size):
        is_used[code[i]] = 1


@njit(cache=True, nogil=True, error_model="numpy")
def renumber(code, number_of):  # type: ignore[no-untyped-def]
    """Put ``number_of[code]`` (uint32) in the place of each code."""
    for i in range(code.size):
        code[i] = number_of[code[i]]


@njit(cache=True, nogil=True, error_model="numpy")
def any_known_on_another_day(time, known):  # type: ignore[no-untyped-def]
    """Whether any event became known on another day than it happened; a place lost may be known before it is."""
    other = False
    for i in range(time.size):
        other = other or (known[i] != time[i] and known[i] // DAY_US != time[i] // DAY_US)
        if other:
            break
    return other


@njit(cache=True, nogil=True, error_model="numpy")
def _is_before(value, code, known, other_value, other_code, other_known):  # type: ignore[no-untyped-def]
    """Whether the first of two events of the same time comes before the other."""
    is_null, other_is_null = value != value, other_value != other_value
    if is_null != other_is_null:
        return is_null
    if not is_null and value != other_value:
        return value < other_value
    if code != other_code:
        return code < other_code
    return known < other_known


@njit(cache=True, nogil=True, error_model="numpy")
def _at(known, time, i):  # type: ignore[no-untyped-def]
    if known is not None:
        return known[i]
    return time[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _tied_before(i, j, time, known, code, value):  # type: ignore[no-untyped-def]
    """Whether event ``i`` comes before event ``j`` of the same time."""
    return _is_before(value[i], code[i], _at(known, time, i), value[j], code[j], _at(known, time, j))


@njit(cache=True, nogil=True, error_model="numpy")
def _order_person(keys, order, spare_keys, spare_order, n, time, known, code, value):  # type: ignore[no-untyped-def]
    """Merge sort of ``order[:n]`` by time (``keys``, moved along), then as :func:`_tied_before`."""
    for low in range(0, n, _SMALL):
        for i in range(low + 1, min(low + _SMALL, n)):
            key, moving, j = keys[i], order[i], i
            while j > low and (
                key < keys[j - 1]
                or (key == keys[j - 1] and _tied_before(moving, order[j - 1], time, known, code, value))
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
                        keys[j] == keys[i] and _tied_before(order[j], order[i], time, known, code, value)
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
        # Nearly sorted, as when events arrive in the order they became known: a few moves in place.
        left = _MOVES_PER_EVENT * (stop - start)
        i = start + 1
        while i < stop and left >= 0:
            moment, number, measured, seen = time[i], code[i], value[i], time[i]
            if known is not None:
                seen = known[i]
            j = i
            while j > start and (
                moment < time[j - 1]
                or (
                    moment == time[j - 1]
                    and _is_before(measured, number, seen, value[j - 1], code[j - 1], _at(known, time, j - 1))
                )
            ):
                time[j], code[j], value[j] = time[j - 1], code[j - 1], value[j - 1]
                if known is not None:
                    known[j] = known[j - 1]
                j -= 1
            if j < i:
                time[j], code[j], value[j] = moment, number, measured
                if known is not None:
                    known[j] = seen
                left -= i - j
            i += 1
        if left >= 0:
            continue
        n = stop - start
        for i in range(n):
            keys[i], order[i] = time[start + i], start + i
        _order_person(keys, order, spare_keys, spare_order, n, time, known, code, value)
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
    """Compile, or load from numba's cache, every variant of every kernel that reading events runs."""
    place, one_of_each = frozen(np.zeros(2, dtype=np.uint32)), frozen(np.zeros(2, dtype=np.int32))
    count_persons(place, np.zeros(1, dtype=np.int64))
    bytes_, numbers, bounds = (np.zeros(n, dtype=t) for n, t in ((8, np.uint8), (2, np.float32), (3, np.int64)))
    time, offsets, stops = np.array([1, 0]), np.array([0, 2]), np.array([2])
    any_known_on_another_day(frozen(time), frozen(time))
    count_days(frozen(offsets), frozen(stops), frozen(time), 0, np.zeros(1, dtype=np.int64))
    for dtype in (np.uint16, np.uint32):
        code, value = np.zeros(2, dtype=dtype), np.zeros(2, dtype=np.float32)
        mark_codes(frozen(code), np.zeros(1, dtype=np.uint8))
        renumber(code, frozen(np.zeros(1, dtype=np.uint32)))
        for known in (None, time.copy()):
            told = None if known is None else frozen(known.copy())
            place_rows(
                place, frozen(time.copy()), told, one_of_each, one_of_each, frozen(bytes_), frozen(numbers),
                frozen(bytes_[:2]), frozen(bytes_), frozen(bounds), bytes_[:2].copy(), stops.copy(),
                time.copy(), known, code, value,
            )  # fmt: skip
            close_gaps(offsets.copy(), frozen(stops), 2, time.copy(), known, code, value)
            sort_within_persons(frozen(offsets), time.copy(), known, code, value)
