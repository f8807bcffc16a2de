"""The loop over the time before each row's as-of date: measures of events in windows. Arrays in, arrays out.

A kernel checks nothing (its caller has validated, sorted and cast) and calls only kernels of this file. Callers pass
arrays through :func:`features.arrays.frozen`: a writable array and a read-only one would be two signatures, and so two
compilations. An optional array given as ``None`` is compiled away together with every test that mentions it.

What makes :func:`window_features` fast, as measured: indices are unsigned, so that none is tested for being negative;
what an event changes in its group lies in one or two cache lines; an event's null value is turned into a 0 to add, and
an empty group's measures into NaN, by arithmetic instead of branches; a person's events are gathered once for all of
the person's rows; a row is put together in cache, while the memory that it will be written to is being fetched.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.arrays import DAY_US, frozen
from features.machine import prefetch

SLOTS = {
    "count": 0,
    "n_values": 1,
    "sum": 2,
    "mean": 3,
    "min": 4,
    "max": 5,
    "days_since_last": 6,
    # Groups that are asked for one of these keep moments.
    "last": 7,
    "std": 8,
    "trend": 9,
    "first": 10,
    "days_since_first": 11,
    # Groups that are asked for one of these, or for a decay, keep count of codes and days.
    "distinct_codes": 12,
    "distinct_days": 13,
}
"""Where a measure stands among those of its group and window."""
N_SLOTS = 16
BEFORE_ALL = np.int64(-(2**62))
_BEGINNING = np.int64(-(2**63))

# What is kept of each group. A count and a number of values share 64 bits: an event adds 1, one with a value 1 + 2³².
_SUMS = np.dtype(
    [("counts", np.int64), ("sum", np.float64), ("min", np.float32), ("max", np.float32), ("spare", np.int64)]
)
# Sums over the values' distances from the value met first, and their days' from its day: near it, nothing cancels.
_MOMENTS = np.dtype(
    [
        ("distance", np.float64),
        ("distance_squared", np.float64),
        ("days", np.float64),
        ("days_squared", np.float64),
        ("product", np.float64),
        ("first_time", np.int64),
    ]
)
_DISTINCT = np.dtype([("codes", np.int64), ("days", np.int64), ("day", np.uint64), ("spare", np.int64)])
# An event as one of its groups meets it; ``number`` is its value, or 0 without one.
_ENTRY = np.dtype(
    [
        ("time", np.int64),
        ("weight", np.int64),
        ("number", np.float64),
        ("value", np.float32),
        ("group", np.uint32),
    ]
)
_NAN = np.float32(np.nan)
_INF = np.float32(np.inf)
_ONE: Any = np.uint64(1)
_HALF = np.int64(32)  # of the 64 bits
_DAY = np.uint64(DAY_US)
_DAYS_BEFORE_1970 = np.int64(2**20 * DAY_US)  # whole days, so that no moment is negative any more
_LINE = np.uint64(16)  # float32 in a cache line


class Plan(NamedTuple):
    """What to compute: groups of events, windows, and where each measure goes.

    Groups are numbered so that those that are asked for no more than sums come first, those that need moments next,
    and those that count codes and days, or sum decaying weights, last. Windows are numbered by family: those of one
    family end at the same moment (the as-of date, or some days before it), so that one walk backwards serves them all.

    Attributes
    ----------
    dates : int64 (n_dates,)
        Local midnights of the as-of dates, µs.
    tops : int64 (n_dates, n_families)
        Where the windows of a family end; descending along a row.
    edges, window_at : int64, uint32 (n_dates, n_windows)
        Where the windows of a family begin, the latest first, and which windows they are.
    family_start : uint32 (n_families + 1,)
        Family ``f`` owns ``edges[:, family_start[f]:family_start[f + 1]]``.
    member_start, members : uint32 (n_codes + 1,), (n_members + 1,)
        The groups of code ``c`` are ``members[member_start[c]:member_start[c + 1]]``; one more stands at the end.
    first_with : uint32 (3,)
        The first group that needs moments, the first that needs codes and days, and the number of groups.
    asked : bool (n_windows, n_groups)
        Whether the group is asked for anything over the window.
    columns : uint32 (n_windows, n_groups * N_SLOTS)
        Which column a measure goes to; ``n_columns`` where it is not asked for.
    decay_start : uint32 (n_groups - first_with[1] + 1,)
        Which decays a group has, of those that count codes and days.
    decay_half_life : uint32 (n_decays,)
        Row of ``decay_weight``.
    decay_columns : uint32 (n_windows, n_decays)
        Which column a decay goes to; ``n_columns`` where it is not asked for.
    decay_weight : float64 (n_half_lives, n_ages)
        Weight of an event by its age in whole days.
    empty_row : float32 (n_columns,)
        What a row holds before any event.
    """

    dates: NDArray[np.int64]
    tops: NDArray[np.int64]
    edges: NDArray[np.int64]
    window_at: NDArray[np.uint32]
    family_start: NDArray[np.uint32]
    member_start: NDArray[np.uint32]
    members: NDArray[np.uint32]
    first_with: NDArray[np.uint32]
    asked: NDArray[np.bool_]
    columns: NDArray[np.uint32]
    decay_start: NDArray[np.uint32]
    decay_half_life: NDArray[np.uint32]
    decay_columns: NDArray[np.uint32]
    decay_weight: NDArray[np.float64]
    empty_row: NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def _most_entries(code, offsets, row_person, member_start, in_several):  # type: ignore[no-untyped-def]
    """The most entries that any row's person needs."""
    most, before = np.int64(0), np.int64(-1)
    for row in range(row_person.size):
        person = np.int64(row_person[row])
        if person == before:
            continue
        before = person
        n = offsets[person + 1] - offsets[person]
        if in_several:
            n = np.int64(0)
            for i in range(offsets[person], offsets[person + 1]):
                c = np.uint64(code[i])
                n += np.int64(member_start[c + _ONE]) - np.int64(member_start[c])
        most = max(most, n)
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def _enter(entry, moment, number, group):  # type: ignore[no-untyped-def]
    has_value = number == number
    entry.time = moment
    entry.weight = np.int64(1) + (np.int64(has_value) << _HALF)
    entry.number = np.float64(number if has_value else np.float32(0.0))
    entry.value = number
    entry.group = group


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(  # type: ignore[no-untyped-def]
    time, known, code, value, start, stop, member_start, members, in_several, entries, entry_known, entry_member
):
    """Write one entry for each event and group it is in, from place 1 on; returns where they end."""
    n = _ONE
    for i in range(start, stop):
        c = np.uint64(code[i])
        m, end = np.uint64(member_start[c]), np.uint64(member_start[c + _ONE])
        while True:
            # An event of no group is written too, and written over.
            _enter(entries[n], time[i], value[i], members[m])
            if known is not None:
                entry_known[n] = known[i]
            if entry_member.size > 1:
                entry_member[n] = m
            n += np.uint64(m < end)
            m += _ONE
            if not in_several or m >= end:
                break
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _add(group, entry):  # type: ignore[no-untyped-def]
    """Take an event, not later than all before it, into the sums of a group; returns the group's counts before."""
    before = group.counts
    group.counts = before + entry.weight
    group.sum += entry.number
    number = entry.value
    group.min = number if number < group.min else group.min  # false for NaN
    group.max = number if number > group.max else group.max
    return before


@njit(cache=True, nogil=True, error_model="numpy")
def _add_moments(moments, last, last_day, first, entry, counts_before):  # type: ignore[no-untyped-def]
    """Likewise into its moments."""
    has_value = entry.weight >> _HALF != 0
    day = np.int64(np.uint64(entry.time + _DAYS_BEFORE_1970) // _DAY)
    not_last = np.uint64((counts_before >> _HALF != 0) | (not has_value))
    last[not_last] = entry.value
    last_day[not_last] = day
    first[np.uint64(not has_value)] = entry.value
    distance = entry.number - np.float64(last[0]) if has_value else 0.0
    days = np.float64(day - last_day[0]) if has_value else 0.0
    moments.distance += distance
    moments.distance_squared += distance * distance
    moments.days += days
    moments.days_squared += days * days
    moments.product += distance * days
    moments.first_time = entry.time


@njit(cache=True, nogil=True, error_model="numpy")
def _add_distinct(distinct, decays, start, stop, half_life, weight, is_new_code, age, moment):  # type: ignore[no-untyped-def]
    """Likewise into its counts of codes and days and its decaying sums."""
    day = np.uint64(moment + _DAYS_BEFORE_1970) // _DAY
    distinct.codes += np.int64(is_new_code)
    distinct.days += np.int64(distinct.day != day)
    distinct.day = day
    for k in range(np.uint64(start), np.uint64(stop)):
        decays[k] += weight[np.uint64(half_life[k]), age]


@njit(cache=True, nogil=True, error_model="numpy")
def _clear(group):  # type: ignore[no-untyped-def]
    group.counts = 0
    group.sum = 0.0
    group.min = _INF
    group.max = -_INF


@njit(cache=True, nogil=True, error_model="numpy")
def _clear_moments(moments):  # type: ignore[no-untyped-def]
    moments.distance = 0.0
    moments.distance_squared = 0.0
    moments.days = 0.0
    moments.days_squared = 0.0
    moments.product = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _write(row, columns, at, group, nothing, days_since_last):  # type: ignore[no-untyped-def]
    """Put a group's measures where they belong; ``nothing`` is NaN without a value and 0 with one, to be added."""
    n_values = group.counts >> _HALF
    row[np.uint64(columns[at])] = np.float32(np.int32(group.counts))
    row[np.uint64(columns[at + np.uint64(1)])] = np.float32(n_values)
    row[np.uint64(columns[at + np.uint64(2)])] = np.float32(group.sum) + nothing
    row[np.uint64(columns[at + np.uint64(3)])] = np.float32(group.sum / np.float64(max(n_values, 1))) + nothing
    row[np.uint64(columns[at + np.uint64(4)])] = group.min + nothing
    row[np.uint64(columns[at + np.uint64(5)])] = group.max + nothing
    row[np.uint64(columns[at + np.uint64(6)])] = days_since_last


@njit(cache=True, nogil=True, error_model="numpy")
def _write_moments(row, columns, at, group, nothing, moments, last, first, as_of):  # type: ignore[no-untyped-def]
    n = np.float64(group.counts >> _HALF)
    deviation = moments.distance_squared - moments.distance * moments.distance / n
    spread = n * moments.days_squared - moments.days * moments.days
    slope = (n * moments.product - moments.days * moments.distance) / spread
    row[np.uint64(columns[at + np.uint64(7)])] = last + nothing
    row[np.uint64(columns[at + np.uint64(8)])] = np.float32(np.sqrt(max(deviation, 0.0) / n)) if n > 1.0 else _NAN
    # Days descend from the one met first, so that any other day leaves a sum.
    row[np.uint64(columns[at + np.uint64(9)])] = np.float32(slope) if moments.days != 0.0 else _NAN
    row[np.uint64(columns[at + np.uint64(10)])] = first + nothing
    since_first = np.uint64(as_of - moments.first_time) // _DAY
    row[np.uint64(columns[at + np.uint64(11)])] = np.float32(np.int64(since_first))


@njit(cache=True, nogil=True, error_model="numpy")
def window_features(time, known, code, value, offsets, row_person, row_date, row_out, plan, out):  # type: ignore[no-untyped-def]
    """Measures of each group's events in each window before each row's as-of date, as the city knew them then.

    From each as-of date the person's events are walked backwards once for each family of windows; at each window's
    edge, latest first, the groups met so far are written. An event not known before the as-of date is passed over.
    A cell depends on nothing but its person's events, its date and its feature, to the last bit.

    Parameters
    ----------
    time, known, code, value, offsets
        The event log; see :func:`sort_within_persons`. ``known`` None: no event became known later than it happened.
    row_person : uint32 (n_rows,)
        Dense index of the row's person; quick where the rows of a person stand together, earliest first.
    row_date : uint32 (n_rows,)
        Which of the plan's dates is the row's as-of date.
    row_out : int64 (n_rows,)
        Which row of ``out`` to write.
    plan : Plan
    out : float32 (n, n_columns)
        Changed in place.
    """
    dates, tops, edges, window_at, family_start = plan.dates, plan.tops, plan.edges, plan.window_at, plan.family_start
    member_start, members, asked, columns = plan.member_start, plan.members, plan.asked, plan.columns
    decay_start, half_life, decay_columns = plan.decay_start, plan.decay_half_life, plan.decay_columns
    weight, empty_row = plan.decay_weight, plan.empty_row
    with_moments, with_distinct = np.uint64(plan.first_with[0]), np.uint64(plan.first_with[1])
    n_groups = np.uint64(plan.first_with[2])
    n_rows, n_columns, n_families = np.uint64(row_person.size), np.uint64(empty_row.size), np.uint64(tops.shape[1])

    sums = np.zeros(n_groups, dtype=_SUMS)
    moments = np.zeros(n_groups - with_moments, dtype=_MOMENTS)
    # In each pair the first place holds what is wanted, and the second takes what is not, so that nothing is asked.
    last = np.zeros((n_groups - with_moments, 2), dtype=np.float32)
    last_day = np.zeros((n_groups - with_moments, 2), dtype=np.int64)
    first = np.zeros((n_groups - with_moments, 2), dtype=np.float32)
    distinct = np.zeros(n_groups - with_distinct, dtype=_DISTINCT)
    decays = np.zeros(half_life.size, dtype=np.float64)
    for k in range(n_groups):
        _clear(sums[k])
    nothing = np.zeros(2, dtype=np.float32)
    nothing[0] = _NAN

    touched = np.empty(n_groups + _ONE, dtype=np.uint64)
    last_time = np.empty(n_groups + _ONE, dtype=np.int64)
    since_last = np.empty(n_groups + _ONE, dtype=np.float32)
    seen, walk = np.zeros(members.size if distinct.size else 1, dtype=np.uint64), np.uint64(0)

    in_several = False
    for k in range(member_start.size - 1):
        in_several |= member_start[k + 1] - member_start[k] > 1
    most = _most_entries(code, offsets, row_person, member_start, in_several) + 1  # one more to write over
    entries = np.empty(most + 1, dtype=_ENTRY)
    entries[0].time = _BEGINNING  # ends every walk
    entry_known = np.empty(1 if known is None else most + 1, dtype=np.int64)
    entry_member = np.empty(most + 1 if distinct.size else 1, dtype=np.uint32)

    row_in_cache = np.empty(n_columns + _ONE, dtype=np.float32)  # its last place takes what nobody asked for
    person, before = np.int64(-1), np.int64(0)
    n_entries, end = _ONE, _ONE
    for r in range(n_rows):
        date = np.uint64(row_date[r])
        as_of = dates[date]
        if np.int64(row_person[r]) != person:
            person = np.int64(row_person[r])
            start, stop = np.uint64(offsets[person]), np.uint64(offsets[person + 1])
            n_entries = _gather(
                time, known, code, value, start, stop, member_start, members, in_several, entries, entry_known,
                entry_member,
            )  # fmt: skip
            end = _ONE
        elif as_of < before:
            end = _ONE
        before = as_of
        while end < n_entries and entries[end].time < as_of:
            end += _ONE
        ahead = out[row_out[min(r + _ONE, n_rows - _ONE)]]
        for k in range(np.uint64(0), n_columns, _LINE):
            prefetch(ahead, k)
        for k in range(n_columns):
            row_in_cache[k] = empty_row[k]

        top_entry = end - _ONE
        for family in range(n_families):
            top = tops[date, family]
            while entries[top_entry].time >= top:
                top_entry -= _ONE
            at = top_entry
            n_touched, n_dated = np.uint64(0), np.uint64(0)
            walk += _ONE
            for step in range(np.uint64(family_start[family]), np.uint64(family_start[family + _ONE])):
                edge = edges[date, step]
                while True:
                    here = at
                    entry = entries[here]
                    moment = entry.time
                    if moment < edge:
                        break
                    at -= _ONE
                    if known is not None:  # noqa: SIM102 (numba prunes this form when there is no array)
                        if entry_known[here] >= as_of:
                            continue
                    g = np.uint64(entry.group)
                    touched[n_touched] = g
                    last_time[n_touched] = moment
                    counts_before = _add(sums[g], entry)
                    n_touched += np.uint64(counts_before == 0)
                    if g >= with_moments:
                        h = g - with_moments
                        _add_moments(moments[h], last[h], last_day[h], first[h], entry, counts_before)
                        if g >= with_distinct:
                            h = g - with_distinct
                            member = np.uint64(entry_member[here])
                            is_new_code = seen[member] != walk
                            seen[member] = walk
                            _add_distinct(
                                distinct[h], decays, decay_start[h], decay_start[h + _ONE], half_life, weight,
                                is_new_code, np.uint64(as_of - moment) // _DAY, moment,
                            )  # fmt: skip
                for t in range(n_dated, n_touched):
                    since_last[t] = np.float32(np.int64(np.uint64(as_of - last_time[t]) // _DAY))
                n_dated = n_touched

                w = np.uint64(window_at[date, step])
                to, asked_here = columns[w], asked[w]
                for t in range(n_touched):
                    g = touched[t]
                    if not asked_here[g]:
                        continue
                    nan = nothing[np.uint64(sums[g].counts >> _HALF != 0)]
                    place = g << np.uint64(4)
                    _write(row_in_cache, to, place, sums[g], nan, since_last[t])
                    if g >= with_moments:
                        h = g - with_moments
                        _write_moments(
                            row_in_cache, to, place, sums[g], nan, moments[h], last[h, 0], first[h, 0], as_of
                        )
                        if g >= with_distinct:
                            h = g - with_distinct
                            row_in_cache[np.uint64(to[place + np.uint64(12)])] = distinct[h].codes
                            row_in_cache[np.uint64(to[place + np.uint64(13)])] = distinct[h].days
                            for k in range(np.uint64(decay_start[h]), np.uint64(decay_start[h + _ONE])):
                                row_in_cache[np.uint64(decay_columns[w, k])] = decays[k]
            for t in range(n_touched):
                g = touched[t]
                _clear(sums[g])
                if g >= with_moments:
                    _clear_moments(moments[g - with_moments])
                    if g >= with_distinct:
                        h = g - with_distinct
                        distinct[h].codes, distinct[h].days, distinct[h].day = 0, 0, 0
                        for k in range(np.uint64(decay_start[h]), np.uint64(decay_start[h + _ONE])):
                            decays[k] = 0.0
        line = out[row_out[r]]
        for k in range(n_columns):
            line[k] = row_in_cache[k]


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel, so that the first answer is quick."""
    time = np.array([0, 1], dtype=np.int64)
    code, value = frozen(np.zeros(2, dtype=np.uint16)), frozen(np.zeros(2, dtype=np.float32))
    person, offsets = frozen(np.zeros(1, dtype=np.uint32)), frozen(np.array([0, 2], dtype=np.int64))
    rows = frozen(np.zeros(1, dtype=np.int64))
    indices, table = frozen(np.zeros(2, dtype=np.uint32)), frozen(np.zeros((1, N_SLOTS), dtype=np.uint32))
    plan = Plan(
        dates=rows,
        tops=frozen(np.zeros((1, 1), dtype=np.int64)),
        edges=frozen(np.zeros((1, 1), dtype=np.int64)),
        window_at=table[:, :1],
        family_start=indices,
        member_start=indices,
        members=indices[:1],
        first_with=frozen(np.ones(3, dtype=np.uint32)),
        asked=frozen(np.zeros((1, 1), dtype=np.bool_)),
        columns=table,
        decay_start=indices[:1],
        decay_half_life=indices[:0],
        decay_columns=frozen(np.zeros((1, 0), dtype=np.uint32)),
        decay_weight=frozen(np.zeros((1, 1))),
        empty_row=value[:1],
    )
    for known in (None, time.copy()):
        log = (frozen(time), None if known is None else frozen(known), code, value, offsets)
        window_features(*log, person, person, rows, plan, np.empty((1, 1), dtype=np.float32))
