from datetime import date, datetime, timedelta

import naive
import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from features.arrays import DAY_US, frozen
from features.kernels import EVER, MEASURE_NUMBERS, label_windows, window_features
from features.regrouping import count_rows, scatter_rows, sort_within_persons

START = datetime(2024, 1, 1)
CODES = ("a", "b.1", "b.2", "c", "unused")
GROUPS = (("a",), ("b.*",), ("b.2", "c"), ("c", "a", "b.*"))  # codes shared by two and three groups
SEPARATE = (("a",), ("b.*",), ("c",))
WINDOWS = (1, 7, 30, "ever")
MEASURES = tuple(MEASURE_NUMBERS)
N_PERSONS = 3

clocks = st.sampled_from([timedelta(0), timedelta(hours=9, minutes=30), timedelta(days=1) - timedelta(microseconds=1)])
moments = st.tuples(st.integers(0, 60), clocks).map(lambda at: START + timedelta(days=at[0]) + at[1])
# Quarters add up exactly, so that the order of adding cannot hide behind rounding.
values = st.none() | st.integers(-40, 40).map(lambda quarters: quarters / 4)
events = st.lists(
    st.tuples(st.integers(0, N_PERSONS - 1), moments, st.integers(0, 12), st.sampled_from(CODES), values),
    max_size=60,
).map(lambda found: [(who, at, at + timedelta(days=lag), code, value) for who, at, lag, code, value in found])
as_of_days = st.lists(st.integers(0, 75), min_size=1, max_size=4, unique=True).map(
    lambda days: [START.date() + timedelta(days=day) for day in sorted(days)]
)


def us(moment):
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def as_arrays(found, *, with_known=True):
    """Events in any order as the kernels want them; sorting is left to the kernel under test."""
    people = np.array([e[0] for e in found], dtype=np.uint32)
    columns = {
        "time": np.array([us(e[1]) for e in found], dtype=np.int64),
        "known": np.array([us(e[2]) for e in found], dtype=np.int64),
        "code": np.array([CODES.index(e[3]) for e in found], dtype=np.uint16),
        "value": np.array([np.nan if e[4] is None else e[4] for e in found], dtype=np.float32),
    }
    reason, counts = frozen(np.zeros(len(found), dtype=np.uint8)), np.zeros(N_PERSONS, dtype=np.int64)
    count_rows(frozen(people), reason, counts)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for name, column in columns.items():
        target = np.empty_like(column)
        scatter_rows(frozen(people), reason, frozen(column), offsets[:-1].copy(), target)
        columns[name] = target
    known = columns["known"] if with_known else None
    sort_within_persons(frozen(offsets), columns["time"], known, columns["code"], columns["value"])
    return columns["time"], known, columns["code"], columns["value"], offsets


def features_of(found, days, groups=GROUPS, windows=WINDOWS, *, with_known=True, later=0):
    """All measures for all persons at all days: float32 (n_persons, n_days, n_groups, n_windows, n_measures).

    ``later`` moves the as-of moment ahead by so many µs, which is what a leaking kernel would do.
    """
    log = as_arrays(found, with_known=with_known)
    of = [[g for g, codes in enumerate(groups) if naive.fits(code, codes)] for code in CODES]
    more = [found[1:] for found in of]
    shared = any(more)
    n_w, n_m = len(windows), len(MEASURES)
    first_column = np.full((n_w, len(groups) + 1), -1, dtype=np.int32)
    for g in range(len(groups)):
        first_column[:, g] = (g * n_w + np.arange(n_w)) * n_m
    empty = np.tile(np.array([0 if m in {"count", "n_values"} else np.nan for m in MEASURES], dtype=np.float32), n_w)
    out = np.empty((N_PERSONS * len(days), len(groups) * n_w * n_m), dtype=np.float32)
    window_features(
        *(None if array is None else frozen(array) for array in log),
        frozen(np.repeat(np.arange(N_PERSONS, dtype=np.uint32), len(days))),
        frozen(np.tile([us(naive.midnight(day)) + later for day in days], N_PERSONS).astype(np.int64)),
        frozen(np.arange(N_PERSONS * len(days))),
        frozen(np.array([EVER if w == "ever" else w * DAY_US for w in windows], dtype=np.int64)),
        frozen(np.array([g[0] if g else len(groups) for g in of], dtype=np.int32)),
        frozen(np.cumsum([0, *map(len, more)]).astype(np.int32)) if shared else None,
        frozen(np.array([g for found in more for g in found], dtype=np.int32)) if shared else None,
        frozen(first_column),
        frozen(np.array([*range(0, (len(groups) + 1) * n_m, n_m), len(groups) * n_m], dtype=np.int32)),
        frozen(np.array([*MEASURE_NUMBERS.values()] * len(groups), dtype=np.uint8)),
        frozen(np.tile(empty, len(groups))),
        out,
    )
    return out.reshape(N_PERSONS, len(days), len(groups), n_w, n_m)


def naive_features(found, days, groups):
    shape = (N_PERSONS, len(days), len(groups), len(WINDOWS), len(MEASURES))
    expected = np.empty(shape, dtype=np.float32)
    for person, d, g, w, m in np.ndindex(shape):
        expected[person, d, g, w, m] = naive.cell(found, person, days[d], WINDOWS[w], groups[g], MEASURES[m])
    return expected


@pytest.mark.parametrize("groups", [GROUPS, SEPARATE], ids=["shared codes", "separate codes"])
def test_every_measure_agrees_with_the_oracle(groups):
    @given(events, as_of_days)
    def agrees(found, days):
        np.testing.assert_array_equal(features_of(found, days, groups), naive_features(found, days, groups))

    agrees()


@given(events, as_of_days)
def test_without_late_knowledge_the_variant_without_the_array_agrees(found, days):
    at_once = [(who, at, at, code, value) for who, at, _, code, value in found]
    np.testing.assert_array_equal(
        features_of(at_once, days, SEPARATE, with_known=False), naive_features(at_once, days, SEPARATE)
    )


def unseen(found, days, **how):
    """Whether everything known on or after the only day can be deleted, changed or multiplied without a trace."""
    past = [e for e in found if naive.known_before(e[2], days[0])]
    poison = [(who, at, known, "a", 1000.0) for who, at, known, _, _ in found if not naive.known_before(known, days[0])]
    whole = features_of(found, days, **how).tobytes()
    return all(features_of(other, days, **how).tobytes() == whole for other in (past, past + poison, past + poison * 3))


one_day = as_of_days.map(lambda days: days[:1])


@given(events, one_day)
def test_what_is_known_on_or_after_the_day_changes_no_byte(found, days):
    assert unseen(found, days)


@pytest.mark.parametrize(
    "leak",
    [{"later": int(DAY_US)}, {"later": 1}, {"with_known": False}],
    ids=["sees the as-of day", "sees the as-of midnight", "ignores when things became known"],
)
def test_a_leaking_kernel_is_caught_by_the_property_above(leak):
    found, days = find(st.tuples(events, one_day), lambda case: not unseen(*case, **leak))
    assert not unseen(found, days, **leak) and unseen(found, days)


@pytest.mark.parametrize(
    ("offset_us", "in_30_days", "ever"),
    [
        (-1, 1, 1),  # the last microsecond before the as-of midnight
        (0, 0, 0),  # the as-of midnight itself
        (-30 * DAY_US, 1, 1),  # the first microsecond of the window
        (-30 * DAY_US - 1, 0, 1),  # just before the window
    ],
)
def test_a_window_is_exact_to_the_microsecond(offset_us, in_30_days, ever):
    day = date(2024, 3, 1)
    at = naive.midnight(day) + timedelta(microseconds=int(offset_us))
    counts = features_of([(0, at, at, "a", None)], [day], SEPARATE)[0, 0, 0, :, MEASURES.index("count")]
    assert (counts[WINDOWS.index(30)], counts[WINDOWS.index("ever")]) == (in_30_days, ever)


def test_an_hour_before_midnight_is_zero_whole_days_ago():
    day = date(2024, 3, 1)
    at = [naive.midnight(day) - timedelta(hours=hours) for hours in (1, 24, 25)]
    since = [
        features_of([(0, t, t, "a", None)], [day], SEPARATE)[0, 0, 0, 3, MEASURES.index("days_since_last")] for t in at
    ]
    assert since == [0.0, 1.0, 1.0]


@given(events, as_of_days, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(found, days, random):
    shuffled = random.sample(found, len(found))
    assert features_of(shuffled, days).tobytes() == features_of(found, days).tobytes()


@pytest.mark.parametrize("n", [0, 1, 16, 17, 33, 200])
def test_a_person_is_sorted_by_time_then_value_then_code_then_knowledge(n):
    rng = np.random.default_rng(n)
    found = [
        (1, START + timedelta(days=int(d)), START + timedelta(days=int(d + k)), CODES[c], None if v == 0 else float(v))
        for d, k, c, v in rng.integers(0, 4, (n, 4))
    ]
    time, known, code, value, offsets = as_arrays(found)
    expected = sorted((us(at), -np.inf if v is None else v, CODES.index(c), us(k)) for _, at, k, c, v in found)
    assert offsets.tolist() == [0, 0, n, n]
    assert list(zip(time, np.where(np.isnan(value), -np.inf, value), code, known)) == expected


def test_a_rejected_row_is_neither_counted_nor_scattered():
    person, reason = frozen(np.array([1, 0, 1], dtype=np.uint32)), frozen(np.array([0, 3, 0], dtype=np.uint8))
    counts, target = np.zeros(2, dtype=np.int64), np.full(2, -1, dtype=np.int64)
    count_rows(person, reason, counts)
    scatter_rows(person, reason, frozen(np.array([7, 8, 9])), np.array([0, 0]), target)
    assert (counts.tolist(), target.tolist()) == ([0, 2], [7, 9])


@given(events, st.integers(0, 60), st.integers(1, 30), st.integers(0, 10))
def test_a_label_window_counts_days_and_values(found, first_day, horizon_days, delay_days):
    start = START + timedelta(days=first_day)
    stop = start + timedelta(days=horizon_days)
    told = stop + timedelta(days=delay_days)
    days, totals, first_time = np.empty(3, dtype=np.int64), np.empty((3, 3)), np.empty(3, dtype=np.int64)
    label_windows(
        *map(frozen, as_arrays(found)),
        frozen(np.arange(3, dtype=np.uint32)),
        *(frozen(np.full(3, us(moment))) for moment in (start, stop, told)),
        frozen(np.array([naive.fits(code, ["b.*", "c"]) for code in CODES])),
        days,
        totals,
        first_time,
    )
    for person in range(3):
        seen = [e for e in found if e[0] == person and naive.fits(e[3], ["b.*", "c"]) and start <= e[1] < stop]
        seen = [e for e in seen if naive.known_before(e[2], told.date())]
        numbers = [e[4] for e in seen if e[4] is not None]
        assert days[person] == len({e[1].date() for e in seen})
        assert first_time[person] == min([us(e[1]) for e in seen], default=EVER)
        measured = [sum(numbers), max(numbers), min(numbers)] if numbers else [np.nan] * 3
        np.testing.assert_array_equal(totals[:, person], measured)
