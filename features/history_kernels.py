"""The loops over what the city held of its persons: what held on a day, and what happened to who lived together.

A kernel checks nothing (its caller has validated, sorted and cast) and calls only kernels of this file. Callers pass
read-only arrays through :func:`features.arrays.frozen`, as in :mod:`features.kernels`.

The entries of an attribute come as four arrays: ``offsets`` int64 (n_persons + 1,), where person ``i`` owns the entries
``offsets[i]:offsets[i + 1]``; ``begins`` and ``known`` int64, µs, ascending by beginning and then by knowledge; and
``value`` int32, the number of the value, -1 for none.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import frozen


@njit(cache=True, nogil=True, error_model="numpy")
def _held(offsets, begins, known, person, as_of):  # type: ignore[no-untyped-def]
    """The last entry of a person that began and was known before the day; -1 without one."""
    last = -1
    for entry in range(offsets[person], offsets[person + 1]):
        if begins[entry] >= as_of:
            break
        if known[entry] < as_of:
            last = entry
    return last


@njit(cache=True, nogil=True, error_model="numpy")
def entries_held(offsets, begins, known, row_person, row_as_of, held):  # type: ignore[no-untyped-def]
    """Which entry held for each row's person on its as-of date, as the city knew it then.

    Parameters
    ----------
    offsets, begins, known
        The attribute's entries; see the module.
    row_person : uint32 (n_rows,)
    row_as_of : int64 (n_rows,)
    held : int64 (n_rows,)
        Changed in place; -1 where nothing was known.
    """
    for row in range(row_person.size):
        held[row] = _held(offsets, begins, known, np.int64(row_person[row]), row_as_of[row])


@njit(cache=True, nogil=True, error_model="numpy")
def count_changes(offsets, begins, known, value, row_person, row_as_of, n_values, changed):  # type: ignore[no-untyped-def]
    """How many different values followed one another before each row's as-of date, and when the last began to hold.

    Of several entries that begin at one moment the last is what the city then held; the others were corrected by it.

    Parameters
    ----------
    offsets, begins, known, value
        The attribute's entries; see the module.
    row_person, row_as_of
        As in :func:`entries_held`.
    n_values : int64 (n_rows,)
        Changed in place; the first value counts too.
    changed : int64 (n_rows,)
        When the last of them began, in µs; changed in place, meaningless where ``n_values`` is 0.
    """
    for row in range(row_person.size):
        person, as_of = np.int64(row_person[row]), row_as_of[row]
        n, since, before, entry = 0, np.int64(0), np.int32(-1), offsets[person]
        stop = offsets[person + 1]
        while entry < stop and begins[entry] < as_of:
            moment, last = begins[entry], np.int64(-1)
            while entry < stop and begins[entry] == moment:
                if known[entry] < as_of:
                    last = entry
                entry += 1
            if last >= 0 and (n == 0 or value[last] != before):
                n, since, before = n + 1, moment, value[last]
        n_values[row], changed[row] = n, since


@njit(cache=True, nogil=True, error_model="numpy")
def events_of_others(  # type: ignore[no-untyped-def]
    offsets, begins, known, value, home_start, home_persons, left_out, event_offsets, event_time, event_known,
    event_code, event_value, wanted, row_person, row_as_of, starts, time, code, number,
):  # fmt: skip
    """The events, known before each row's as-of date, of the others who then lived in its person's home.

    Called twice: without ``time``, ``code`` and ``number`` it counts, and with them it copies.

    Parameters
    ----------
    offsets, begins, known, value
        The entries of the attribute that says where a person lives; see the module.
    home_start, home_persons : int64 (n_homes + 1,), uint32
        Who ever lived in home ``h``: ``home_persons[home_start[h]:home_start[h + 1]]``, each once.
    left_out : bool (n_persons,)
        Whose events nobody may see.
    event_offsets, event_time, event_known, event_code, event_value
        The event log; ``event_known`` may be None.
    wanted : bool (n_codes,)
        Which codes are read at all.
    row_person, row_as_of
        As in :func:`entries_held`.
    starts : int64 (n_rows + 1,)
        Counting, ``starts[i + 1]`` becomes the number of events of row ``i``; copying, they go to ``starts[i]`` on.
    time, code, number : int64, uint16 or uint32, float32 (n_found,); or None
        Changed in place: member after member, each in the order of the log.
    """
    for row in range(row_person.size):
        person, as_of = np.int64(row_person[row]), row_as_of[row]
        n = np.int64(0)
        place = starts[row]
        held = _held(offsets, begins, known, person, as_of)
        home = np.int64(-1) if held < 0 else np.int64(value[held])
        if home >= 0:
            for candidate in range(home_start[home], home_start[home + 1]):
                other = np.int64(home_persons[candidate])
                if other == person or left_out[other]:
                    continue
                held = _held(offsets, begins, known, other, as_of)
                if held < 0 or np.int64(value[held]) != home:
                    continue
                for event in range(event_offsets[other], event_offsets[other + 1]):
                    if event_time[event] >= as_of:
                        break
                    if not wanted[event_code[event]]:
                        continue
                    if event_known is not None:  # noqa: SIM102 (numba prunes this form when there is no array)
                        if event_known[event] >= as_of:
                            continue
                    if time is not None:
                        time[place + n] = event_time[event]
                        code[place + n] = event_code[event]
                        number[place + n] = event_value[event]
                    n += 1
        if time is None:
            starts[row + 1] = n


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel of this file."""
    offsets, moment = frozen(np.array([0, 1])), frozen(np.zeros(1, dtype=np.int64))
    value, person = frozen(np.zeros(1, dtype=np.int32)), frozen(np.zeros(1, dtype=np.uint32))
    entries_held(offsets, moment, moment, person, moment, np.empty(1, dtype=np.int64))
    found = np.empty(1, dtype=np.int64), np.empty(1, dtype=np.int64)
    count_changes(offsets, moment, moment, value, person, moment, *found)
    code, number, yes = np.zeros(1, dtype=np.uint16), np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.bool_)
    for known in (None, moment):
        for target in ((None, None, None), (np.zeros(1, dtype=np.int64), code, number)):
            events_of_others(
                offsets, moment, moment, value, offsets, person, frozen(yes), offsets, moment, known, frozen(code),
                frozen(number), frozen(yes), person, moment, np.zeros(2, dtype=np.int64), *target,
            )  # fmt: skip
