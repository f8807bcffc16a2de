"""The loops that regroup events by person, and the index that finds persons by their ids."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.arrays import DAY_US, frozen
from features.person_index import PersonIndex
from features.regrouping import any_known_on_another_day, close_gaps, count_days, sort_within_persons

events = st.tuples(st.integers(-3, 40), st.integers(0, 3), st.integers(0, 4), st.sampled_from([None, -1.0, 0.0, 2.5]))


def columns_of(rows, dtype=np.uint16):
    time, known, code, value = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    numbers = [np.nan if v is None else v for v in value]
    return (
        np.array(time, dtype=np.int64),
        np.array(known, dtype=np.int64),
        np.array(code, dtype=dtype),
        np.array(numbers, dtype=np.float32),
    )


def rows_of(time, known, code, value):
    numbers = [None if np.isnan(v) else float(v) for v in value]
    return list(zip(time.tolist(), known.tolist(), code.tolist(), numbers, strict=True))


def in_order(rows, *, with_known):
    """By time, then value (null first), code and knowledge."""
    key = lambda r: (r[0], r[3] is not None, r[3] or 0, r[2], r[1] if with_known else 0)  # noqa: E731
    return sorted(rows, key=key)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@given(st.lists(st.lists(events, max_size=90), min_size=1, max_size=4), st.booleans())
def test_each_persons_events_are_sorted_among_themselves(dtype, people, with_known):
    time, known, code, value = columns_of([row for rows in people for row in rows], dtype)
    if not with_known:
        known = np.zeros_like(known)
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in people])]).astype(np.int64)
    sort_within_persons(frozen(offsets), time, known if with_known else None, code, value)
    if not with_known:
        people = [[(t, 0, c, v) for t, _, c, v in rows] for rows in people]
    assert rows_of(time, known, code, value) == [r for rows in people for r in in_order(rows, with_known=with_known)]


@pytest.mark.parametrize("arrival", ["shuffled", "newest first", "a few late", "all at one time"])
def test_a_long_history_is_sorted_however_it_arrives(arrival):
    rng = np.random.default_rng(3)
    n = 5_000
    time = np.sort(rng.integers(0, n, n))
    time = {"shuffled": rng.permutation(time), "newest first": time[::-1], "all at one time": np.zeros(n)}.get(
        arrival, np.where(rng.random(n) < 0.05, time // 2, time)
    )
    rows = list(zip(time.tolist(), rng.integers(0, 5, n).tolist(), [1] * n, [None] * n, strict=True))
    columns = columns_of(rows)
    sort_within_persons(frozen(np.array([0, n])), *columns)
    assert rows_of(*columns) == in_order(rows, with_known=True)


@given(st.lists(st.tuples(st.lists(events, max_size=6), st.integers(0, 3)), min_size=1, max_size=5), st.integers(0, 4))
def test_gaps_are_closed_and_what_is_known_too_late_is_left_out(people, too_late):
    laid_out, room, filled = [], [0], []
    for rows, gap in people:
        filled.append(len(laid_out) + len(rows))
        laid_out += [*rows, *[(99, 0, 9, 9.0)] * gap]
        room.append(len(laid_out))
    offsets, columns = np.array(room, dtype=np.int64), columns_of(laid_out)
    close_gaps(offsets, frozen(np.array(filled, dtype=np.int64)), too_late, *columns)
    kept = [[row for row in rows if row[1] < too_late] for rows, _ in people]
    assert offsets.tolist() == [0, *np.cumsum([len(rows) for rows in kept])]
    assert rows_of(*(column[: offsets[-1]] for column in columns)) == [row for rows in kept for row in rows]


@given(st.lists(st.integers(-5 * DAY_US, 5 * DAY_US), max_size=20), st.integers(0, 20))
def test_days_are_counted_by_the_calendar_before_1970_too(moments, n_first):
    n_first = min(n_first, len(moments))
    counts = np.zeros(11, dtype=np.int64)
    offsets = np.array([0, n_first, len(moments)], dtype=np.int64)
    count_days(frozen(offsets), frozen(offsets[1:]), frozen(np.array(moments, dtype=np.int64)), -5, counts)
    assert counts.tolist() == [sum(moment // DAY_US == day for moment in moments) for day in range(-5, 6)]


@pytest.mark.parametrize(("known", "other"), [(DAY_US - 1, False), (DAY_US, True), (5, False), (-1, True)])
def test_another_hour_is_not_another_day(known, other):
    assert any_known_on_another_day(frozen(np.array([3, 5])), frozen(np.array([3, known]))) == other


texts = st.one_of(
    st.text(max_size=16), st.sampled_from(["a", "a\0", "a\0\0", "åäö" * 2, "åäö" * 3, "x" * 12, "x" * 13])
)


@given(st.sets(texts.filter(bool), min_size=1, max_size=40), st.lists(st.one_of(st.none(), texts), max_size=40))
def test_texts_are_found_by_every_letter(ids, sought):
    index = PersonIndex(pl.Series("person_id", sorted(ids), dtype=pl.String))
    place = {who: at for at, who in enumerate(sorted(ids))}
    asked = [*sought, *ids]
    expected = [place.get(who, index.stranger) if who else index.no_id for who in asked]
    assert index.find(pl.Series(asked, dtype=pl.String)).tolist() == expected
    assert index.find(pl.Series([None, *asked], dtype=pl.String)[1:]).tolist() == expected  # not from the first row


whole = st.one_of(st.integers(-3, 3), st.sampled_from([-(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**32, -1]))


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64])
@given(ids=st.sets(whole, min_size=1), sought=st.lists(st.one_of(st.none(), whole)))
def test_no_whole_number_is_taken_for_another_or_for_an_empty_slot(dtype, ids, sought):
    low, high = (pl.select(bound).item() for bound in (dtype.min(), dtype.max()))
    sought = [n for n in sought if n is None or low <= n <= high]
    told = sorted(map(str, ids))
    index = PersonIndex(pl.Series("person_id", told))
    expected = [index.no_id if n is None else told.index(str(n)) if n in ids else index.stranger for n in sought]
    assert index.find(pl.Series(sought, dtype=dtype)).tolist() == expected
