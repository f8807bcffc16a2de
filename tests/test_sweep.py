"""Window features as the matrix asks for them: groups, windows and measures in; cells out."""

from datetime import date, datetime, timedelta

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_logs import (
    ALL_MEASURES,
    CODES,
    GROUPS,
    N_PERSONS,
    SEPARATE,
    START,
    WINDOWS,
    as_of_days,
    assert_agree,
    events,
    everyone_at,
    expected_of,
    features_of,
    groups_of,
    log_of,
)

from features.arrays import DAY_US
from features.sweep import Group, lay_out, sweep
from features.windows import Window

MICROSECOND = timedelta(microseconds=1)
DAY = date(2024, 3, 31)


@settings(max_examples=30)
@given(events, as_of_days)
def test_every_measure_over_every_window_agrees_with_the_oracle(found, days):
    assert_agree(features_of(found, days), expected_of(found, days))


@settings(max_examples=30)
@given(events, as_of_days)
def test_without_late_knowledge_the_variant_without_the_array_agrees(found, days):
    at_once = [(who, at, at, code, value) for who, at, _, code, value in found]
    without = features_of(at_once, days, SEPARATE, with_known=False)
    assert_agree(without, expected_of(at_once, days, SEPARATE))
    assert features_of(at_once, days, SEPARATE).tobytes() == without.tobytes()


@given(
    events,
    as_of_days,
    st.permutations(ALL_MEASURES),
    st.lists(st.tuples(st.sets(st.sampled_from(CODES)), st.sets(st.sampled_from(WINDOWS), min_size=1)), max_size=4),
    st.randoms(use_true_random=False),
)
def test_a_cell_does_not_depend_on_what_else_is_asked_for(found, days, measures, wanted, random):
    whole = features_of(found, days, [tuple(codes) for codes, _ in wanted] or GROUPS)
    groups, n_columns, places = [], 2, []
    for g, (_, windows) in enumerate(wanted):
        some = measures[: random.randint(1, len(measures))]
        groups.append(Group(tuple(wanted[g][0]), [Window.parse(w) for w in windows], some, n_columns))
        places += [(g, WINDOWS.index(w), ALL_MEASURES.index(m)) for w in windows for m in some]
        n_columns += len(windows) * len(some)
    cells = sweep(log_of(found), lay_out(groups, CODES, n_columns), *everyone_at(days))
    assert np.isnan(cells[:, :2]).all()  # columns of no group
    for column, (g, w, m) in enumerate(places, start=2):
        np.testing.assert_array_equal(cells[:, column], whole[:, :, g, w, m].ravel())


@given(events, as_of_days, st.randoms(use_true_random=False))
def test_neither_order_of_arrival_nor_of_rows_nor_chunks_nor_threads_change_a_byte(found, days, random):
    groups, n_columns = groups_of(GROUPS)
    layout, (person, as_of) = lay_out(groups, CODES, n_columns), everyone_at(days)
    whole = sweep(log_of(found), layout, person, as_of)
    shuffled = log_of(random.sample(found, len(found)))
    order = np.array(random.sample(range(person.size), person.size))
    assert sweep(shuffled, layout, person[order], as_of[order]).tobytes() == whole[order].tobytes()
    alone = [sweep(shuffled, layout, person[i : i + 1], as_of[i : i + 1]) for i in range(person.size)]
    assert np.concatenate(alone).tobytes() == whole.tobytes()
    out = np.empty_like(whole)
    assert sweep(shuffled, layout, person, as_of, threads=3, out=out) is out
    assert out.tobytes() == whole.tobytes()


def test_a_person_may_stand_in_several_rows_of_one_date():
    found = [(1, START, START, "a", 2.0)]
    groups, n_columns = groups_of(SEPARATE)
    layout, moment = lay_out(groups, CODES, n_columns), int(everyone_at([DAY])[1][0])
    person = np.array([1, 0, 1], dtype=np.uint32)
    cells = sweep(log_of(found), layout, person, np.full(3, moment))
    assert cells[0].tobytes() == cells[2].tobytes() != cells[1].tobytes()


def counts_of(at, window, day=DAY, known=None):
    """How many events "a", of the only one there is, lie in the window."""
    return features_of([(0, at, known or at, "a", None)], [day], [("a",)], [window], ["count"]).ravel()[0]


# The first moment inside and the last one, looked at from 31 March 2024.
EDGES = [
    (30, datetime(2024, 3, 1), datetime(2024, 3, 31)),
    (1, datetime(2024, 3, 30), datetime(2024, 3, 31)),
    ((7, 30), datetime(2024, 3, 1), datetime(2024, 3, 24)),
    ((1, 2), datetime(2024, 3, 29), datetime(2024, 3, 30)),
    ("1mo", datetime(2024, 2, 29), datetime(2024, 3, 31)),  # 31 February does not exist
    ("6mo", datetime(2023, 9, 30), datetime(2024, 3, 31)),
    ("13mo", datetime(2023, 2, 28), datetime(2024, 3, 31)),
    ("12mo", datetime(2023, 3, 31), datetime(2024, 3, 31)),
    ("3mo", datetime(2023, 12, 31), datetime(2024, 3, 31)),
    ("ever", datetime(1800, 1, 1), datetime(2024, 3, 31)),
]


@pytest.mark.parametrize(("window", "first", "after"), EDGES, ids=[str(w) for w, _, _ in EDGES])
def test_a_window_is_exact_to_the_microsecond(window, first, after):
    assert (counts_of(first, window), counts_of(after - MICROSECOND, window), counts_of(after, window)) == (1, 1, 0)
    assert counts_of(first - MICROSECOND, window) == (window == "ever")


@pytest.mark.parametrize(
    ("known", "counted"),
    [(datetime(2024, 3, 30), 1), (datetime(2024, 3, 31) - MICROSECOND, 1), (datetime(2024, 3, 31), 0)],
)
def test_what_is_known_on_the_as_of_date_is_not_known_before_it(known, counted):
    assert [counts_of(datetime(2024, 3, 10), window, known=known) for window in (30, (7, 30), "ever")] == [counted] * 3


def test_a_late_event_between_others_is_passed_over_and_they_are_not():
    known_late = datetime(2024, 4, 5)
    found = [
        (0, datetime(2024, 3, 10), datetime(2024, 3, 10), "a", 1.0),
        (0, datetime(2024, 3, 20), known_late, "a", 50.0),
        (0, datetime(2024, 3, 25), datetime(2024, 3, 25), "a", 3.0),
    ]
    measures = ["count", "max", "median"]
    before, after = features_of(found, [DAY, date(2024, 4, 6)], [("a",)], ["ever"], measures)[0].reshape(2, 3)
    assert (before.tolist(), after.tolist()) == ([2, 3, 2], [3, 50, 3])


def test_which_of_thirty_days_and_a_month_is_longer_depends_on_the_date():
    windows = ["1mo", 30, 29, (0, 31)]
    found = [(0, datetime(2024, 1, 1) + timedelta(days=d), datetime(2024, 1, 1), "a", float(d)) for d in range(90)]
    days = [date(2024, 3, 1), date(2024, 2, 1), date(2024, 3, 31)]
    cells = features_of(found, days, [("a",)], windows, ["count"])[0, :, 0, :, 0]
    assert cells.tolist() == [[29, 30, 29, 31], [31, 30, 29, 31], [31, 30, 29, 31]]


def test_an_hour_before_midnight_is_zero_whole_days_ago():
    at = [naive.midnight(DAY) - timedelta(hours=hours) for hours in (1, 24, 25)]
    measures = ["days_since_last", "days_since_first", "decay_1d"]
    since = [features_of([(0, t, t, "a", None)], [DAY], [("a",)], ["ever"], measures)[0].ravel().tolist() for t in at]
    assert since == [[0, 0, 1], [1, 1, 0.5], [1, 1, 0.5]]


def test_events_before_1970_are_counted_by_their_own_local_days():
    at = [datetime(1969, 12, 30, 23), datetime(1969, 12, 31), datetime(1969, 12, 31, 23), datetime(1, 1, 1)]
    found = [(0, t, t, "a", float(v)) for v, t in enumerate(at)]
    measures = ["distinct_days", "days_since_last", "days_since_first", "last", "first"]
    cells = features_of(found, [date(1970, 1, 1)], [("a",)], ["ever"], measures)[0].ravel()
    assert cells.tolist() == [3, 0, (date(1970, 1, 1) - date(1, 1, 1)).days, 2, 3]


@pytest.mark.parametrize("middle", [0.0, 1e7, -3e5])
@pytest.mark.parametrize("outlier", [0.0, 1e6])
def test_spread_and_slope_stay_exact_far_from_zero(middle, outlier):
    rng = np.random.default_rng(5)
    numbers = np.float32(middle + rng.normal(size=200) * 3)
    numbers[-1] += outlier  # met first
    found = [(0, START + timedelta(hours=9 * i), START, "a", float(v)) for i, v in enumerate(numbers)]
    measures = ["std", "trend", "mean", "sum"]
    cells = features_of(found, [DAY], [("a",)], ["ever"], measures)[0].ravel()
    np.testing.assert_allclose(cells, expected_of(found, [DAY], [("a",)], ["ever"], measures)[0].ravel(), rtol=1e-6)


def test_equal_values_have_no_spread_and_no_slope():
    found = [(0, START + timedelta(days=i), START, "a", float(np.float32(0.1))) for i in range(30)]
    assert features_of(found, [DAY], [("a",)], ["ever"], ["std", "trend"])[0].ravel().tolist() == [0.0, 0.0]


def test_a_slope_needs_two_days_and_a_spread_two_values():
    a_day = [(0, datetime(2024, 3, 1, hour), START, "a", float(hour)) for hour in (0, 9, 23)]
    a_null = [(0, datetime(2024, 3, 5), START, "a", None)]
    measures = ["std", "trend"]

    def cells(found):
        return features_of(found, [DAY], [("a",)], ["ever"], measures)[0].ravel()

    assert np.isnan(cells(a_day + a_null)).tolist() == [False, True]
    assert np.isnan(cells(a_day[:1] + a_null)).all()
    next_day = [(0, datetime(2024, 3, 2), START, "a", 23.0)]  # less than a whole day later, on another day
    assert cells(a_day[2:] + next_day).tolist() == [0.0, 0.0]


def test_a_person_with_thousands_of_events_in_random_order():
    rng = np.random.default_rng(1)
    found = [
        (0, START + timedelta(minutes=int(m)), START, CODES[int(c)], None if v < 0.3 else float(np.float32(v)))
        for m, c, v in zip(rng.integers(0, 80_000, 3000), rng.integers(0, 4, 3000), rng.random(3000), strict=True)
    ]
    assert_agree(features_of(found, [DAY]), expected_of(found, [DAY]))


def test_no_rows_no_events_no_groups():
    nobody = np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64)
    groups, n_columns = groups_of(GROUPS)
    layout = lay_out(groups, CODES, n_columns)
    assert sweep(log_of([]), layout, *nobody).shape == (0, n_columns)
    without_events = sweep(log_of([]), layout, *everyone_at([DAY]))
    assert without_events.tobytes() == np.tile(layout.empty, (N_PERSONS, 1)).tobytes()
    without_groups = sweep(log_of([(0, START, START, "a", 1.0)]), lay_out([], CODES, 3), *everyone_at([DAY]), threads=2)
    assert without_groups.shape == (N_PERSONS, 3) and np.isnan(without_groups).all()


def test_a_place_to_write_to_of_another_kind_is_refused():
    layout = lay_out([], CODES, 2)
    for out in (np.empty((3, 3), dtype=np.float32), np.empty((3, 2)), np.empty((2, 3), dtype=np.float32).T):
        with pytest.raises(ValueError, match="contiguous float32 array of 3 rows and 2 columns"):
            sweep(log_of([]), layout, *everyone_at([DAY]), out=out)


def test_more_codes_than_sixteen_bits_can_number():
    n = 70_000
    codes = tuple(f"c{i:05d}" for i in range(n))
    log = log_of([(0, START, START, "a", 1.0), (0, START, START, "c", 2.0)], with_known=False)
    code = np.array([n - 1, 0], dtype=np.uint32)
    log = type(log)(log.person_ids, log.offsets, log.time, None, code, log.value, codes)
    everything = Group(("*",), (Window.parse("ever"),), ("count", "median", "distinct_codes"), 0)
    last = Group((codes[-1], "c0000*"), (Window.parse("ever"),), ("count", "sum"), 3)
    cells = sweep(log, lay_out([everything, last], codes, 5), *everyone_at([DAY]))
    assert cells[0].tolist() == [2, 1.5, 2, 2, 3.0]


@given(st.integers(0, 40_000), st.integers(1, 400))
def test_calendar_months_are_those_of_the_oracle(day, months):
    from features.sweep import _months_before

    then = date(1970, 1, 1) + timedelta(days=day)
    expected = (naive.months_before(then, months) - date(1970, 1, 1)).days
    assert _months_before(int(day * DAY_US), months) == expected * DAY_US
