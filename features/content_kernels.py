"""The loops that tell content apart: keyed hashes of texts, and sums of event hashes that no order can change.

A kernel checks nothing (its caller has validated and cast) and calls only kernels of this file. Callers pass read-only
arrays through :func:`features.arrays.frozen`: a writable array and a read-only one would be two compilations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.arrays import frozen

_U = np.uint64
_ONE = np.uint64(1)
_NULL = np.uint64(2**32)  # beside every pattern of 32 bits, so no value looks like it
_MAGNITUDE, _INFINITY = np.uint64(0x7FFFFFFF), np.uint64(0x7F800000)


@njit(cache=True, nogil=True, error_model="numpy")
def _rotated(x, n):  # type: ignore[no-untyped-def]
    return (x << _U(n)) | (x >> _U(64 - n))


@njit(cache=True, nogil=True, error_model="numpy")
def _sip_round(v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    v0 += v1
    v1 = _rotated(v1, 13) ^ v0
    v0 = _rotated(v0, 32)
    v2 += v3
    v3 = _rotated(v3, 16) ^ v2
    v0 += v3
    v3 = _rotated(v3, 21) ^ v0
    v2 += v1
    v1 = _rotated(v1, 17) ^ v2
    return v0, v1, _rotated(v2, 32), v3


@njit(cache=True, nogil=True, error_model="numpy")
def sip_hashes(data, offsets, key, out):  # type: ignore[no-untyped-def]
    """SipHash-2-4 of each text: without the key, nobody can tell or steer where a text lands.

    Source: Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF".

    Parameters
    ----------
    data : uint8 (n_bytes,)
        The texts one after the other.
    offsets : int64 (n + 1,)
        Text ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
    key : uint64 (2,)
    out : uint64 (n,)
        Changed in place.
    """
    for i in range(out.size):
        start, length = offsets[i], offsets[i + 1] - offsets[i]
        v0, v1 = key[0] ^ _U(0x736F6D6570736575), key[1] ^ _U(0x646F72616E646F6D)
        v2, v3 = key[0] ^ _U(0x6C7967656E657261), key[1] ^ _U(0x7465646279746573)
        for word in range(length // 8 + 1):
            # The last word carries what is left of the text, and its length in the highest byte.
            m = _U(length & 0xFF) << _U(56) if word == length // 8 else _U(0)
            for byte in range(min(8, length - 8 * word)):
                m |= _U(data[start + 8 * word + byte]) << _U(8 * byte)
            v3 ^= m
            for _ in range(2):
                v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
            v0 ^= m
        v2 ^= _U(0xFF)
        for _ in range(4):
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        out[i] = v0 ^ v1 ^ v2 ^ v3


@njit(cache=True, nogil=True, error_model="numpy")
def _mixed(x):  # type: ignore[no-untyped-def]
    """Spread every bit over all 64 (Stafford's mix 13, the finaliser of SplitMix64)."""
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


@njit(cache=True, nogil=True, error_model="numpy")
def _mixed_otherwise(x):  # type: ignore[no-untyped-def]
    """The same with other constants (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> _U(33))) * _U(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> _U(33))) * _U(0xC4CEB9FE1A85EC53)
    return x ^ (x >> _U(33))


@njit(cache=True, nogil=True, error_model="numpy")
def visible_sums(  # type: ignore[no-untyped-def]
    time, known, code, word, is_float, offsets, keys, persons, present, as_of, slot_of, sums
):
    """For each as-of date and code, sums over the hashes of the events that could be seen then, and their number.

    Each event is hashed once, added where it first can be seen by a row of its person, and taken away where the
    person's rows pause; the running sum over the dates then holds what each date sees.

    Parameters
    ----------
    time, known, code, offsets
        As in :class:`~features.event_log.EventLog`; ``known`` None: nothing became known on a later day.
    word : uint32 or uint64 (n_events,)
        The bits of each value.
    is_float : bool
        Whether ``word`` is the bits of a float32, of which every NaN is the same null.
    keys : uint64 (n_persons, 2)
        Two secret hashes of each person.
    persons : uint32 (n,)
        Whose events to read, as dense indices.
    present : uint8 (n, n_dates)
        Whether the person has a row at the date.
    as_of : int64 (n_dates,)
        Midnights in µs, ascending.
    slot_of : int32 (n_codes,)
        Where to count each code; -1 for a code that nobody reads.
    sums : uint64 (n_dates + 1, n_slots, 3)
        Zeros; changed in place to two sums modulo 2^64 and the number of events. The last date is scratch.
    """
    n_dates = as_of.size
    run_start, run_stop = np.empty(n_dates + 1, dtype=np.int64), np.empty(n_dates + 1, dtype=np.int64)
    for i in range(persons.size):
        n_runs = 0
        for d in range(n_dates):
            if present[i, d] != 0:
                if n_runs == 0 or run_stop[n_runs - 1] != d:
                    run_start[n_runs] = d
                    n_runs += 1
                run_stop[n_runs - 1] = d + 1
        person = np.int64(persons[i])
        first_key, second_key = keys[person, 0], keys[person, 1]
        happened = 0
        for e in range(_U(offsets[person]), _U(offsets[person + 1])):
            slot = slot_of[_U(code[e])]
            if slot < 0:
                continue
            while happened < n_dates and as_of[happened] <= time[e]:
                happened += 1
            if happened == n_dates:
                break  # all that follows happened later still
            seen = happened
            if known is not None:
                while seen < n_dates and as_of[seen] <= known[e]:
                    seen += 1
            bits = _U(word[e])
            if is_float and (bits & _MAGNITUDE) > _INFINITY:
                bits = _NULL
            moment = _U(time[e])
            first = _mixed(_mixed(first_key ^ moment) + bits)
            second = _mixed_otherwise(_mixed_otherwise(second_key + moment) ^ bits)
            for run in range(n_runs):
                if run_stop[run] > seen:
                    at = sums[max(run_start[run], seen), slot]
                    at[0] += first
                    at[1] += second
                    at[2] += _ONE
                    after = sums[run_stop[run], slot]
                    after[0] -= first
                    after[1] -= second
                    after[2] -= _ONE
    for d in range(1, n_dates):
        for slot in range(sums.shape[1]):
            for k in range(3):
                sums[d, slot, k] += sums[d - 1, slot, k]


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel of this file."""
    offsets, time = frozen(np.array([0, 1])), frozen(np.zeros(1, dtype=np.int64))
    sip_hashes(frozen(np.zeros(1, dtype=np.uint8)), offsets, frozen(np.zeros(2, dtype=_U)), np.empty(1, dtype=_U))
    code, word = frozen(np.zeros(1, dtype=np.uint16)), frozen(np.zeros(1, dtype=np.uint32))
    keys, persons = frozen(np.zeros((1, 2), dtype=_U)), frozen(np.zeros(1, dtype=np.uint32))
    present, slot_of = frozen(np.ones((1, 1), dtype=np.uint8)), frozen(np.zeros(1, dtype=np.int32))
    for known, bits, is_float in ((None, word, True), (time, word, True), (time, frozen(word.astype(_U)), False)):
        visible_sums(
            time, known, code, bits, is_float, offsets, keys, persons, present, frozen(time + 1), slot_of,
            np.zeros((2, 1, 3), dtype=_U),
        )  # fmt: skip
