"""Cutting a ranking: nobody excluded is listed, no unit is over its places, everybody is counted once."""

from collections import Counter
from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.below_the_line import chance, first_by_lot, lots
from scoring.contention import settled
from scoring.hygiene import REASONS, counted
from scoring.list_cut import Rules, cut
from scoring.units import split_capacity

DAY = date(2024, 6, 3)
rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, None, None, *REASONS[:3]]), st.booleans(), st.booleans()),
    max_size=60,
)


def frame(rows):
    return pl.DataFrame(
        {
            "person_id": [f"p{i}" for i in range(len(rows))],
            "unit_id": pl.Series([row[0] for row in rows], dtype=pl.String),
            "reason": pl.Series([row[1] for row in rows], dtype=pl.String),
            "is_carried": pl.Series([row[2] for row in rows], dtype=pl.Boolean),
        }
    )


def lots_of(ids):
    return lots(b"a secret of tests", "margin", ids, DAY)


@given(rows, st.integers(0, 15), st.sampled_from([0.0, 0.1, 0.3, 0.5]), st.sampled_from([0.0, 0.4, 1.0]), st.booleans())
def test_everybody_is_listed_below_the_line_or_excluded_and_no_unit_over_its_places(rows, k, margin, churn, is_first):
    people = frame(rows)
    eligible = Counter(row[0] for row in rows if row[1] is None)
    shares = split_capacity(k, list("abc"), eligible, {})
    last = None if is_first else {f"p{i}" for i, row in enumerate(rows) if row[3]}
    done = cut(people, shares, Rules(margin, churn, last), lots_of)
    listed = done.filter(pl.col("kind").is_not_null())
    below = done.filter(pl.col("reason").is_null() & pl.col("kind").is_null())
    assert listed.height + below.height + sum(counted(done, {}).values()) == len(rows)
    assert listed["reason"].null_count() == listed.height
    assert below.filter("is_held_out").height == done.filter("is_held_out").height
    for unit, places in shares.items():
        own = listed.filter(pl.col("unit_id") == unit)
        assert own.height <= places
        if last is not None and churn < 1:
            new = own.filter(~pl.col("person_id").is_in(list(last)) & ~pl.col("is_carried"))
            assert new.height <= churn * places + 1e-9
        if is_first or churn == 1:
            assert own.height == min(places, eligible[unit])
            carried = people.filter((pl.col("unit_id") == unit) & pl.col("reason").is_null() & pl.col("is_carried"))
            assert own.filter(pl.col("kind") == "carried").height == min(places, carried.height)


@given(rows, st.integers(0, 15))
def test_without_further_rules_a_units_list_is_the_first_of_its_people(rows, k):
    rows = [(unit, reason, False, old) for unit, reason, _, old in rows]
    eligible = Counter(row[0] for row in rows if row[1] is None)
    shares = split_capacity(k, list("abc"), eligible, {})
    done = cut(frame(rows), shares, Rules(), lots_of)
    for unit in "abc":
        theirs = [f"p{i}" for i, row in enumerate(rows) if row[0] == unit and row[1] is None]
        listed = done.filter((pl.col("unit_id") == unit) & pl.col("kind").is_not_null())
        assert listed["person_id"].to_list() == theirs[: shares[unit]]


def test_the_lot_decides_among_twice_as_many_people_as_it_has_places():
    done = cut(frame([("a", None, False, False)] * 40), {"a": 20}, Rules(margin=0.25), lots_of)
    by_lot = done.filter((pl.col("kind") == "margin") | pl.col("is_held_out"))
    assert by_lot["person_id"].to_list() == [f"p{i}" for i in range(15, 25)]
    assert by_lot["chance"].unique().to_list() == ["0.5"]
    assert (done["kind"] == "margin").sum() == 5 == by_lot["is_held_out"].sum()
    assert done.filter(pl.col("kind") == "ranked")["person_id"].to_list() == [f"p{i}" for i in range(15)]
    assert done.equals(cut(frame([("a", None, False, False)] * 40), {"a": 20}, Rules(margin=0.25), lots_of))


def test_every_one_below_the_line_is_drawn_about_as_often():
    ids = [f"p{i}" for i in range(50)]
    drawn = Counter(
        at
        for day in range(1, 29)
        for month in range(1, 13)
        for at in first_by_lot(lots(b"a secret of tests", "sample", ids, date(2024, month, day)), 10)
    )
    assert len(drawn) == 50
    assert max(abs(n - 336 * 0.2) for n in drawn.values()) < 4 * (336 * 0.2 * 0.8) ** 0.5
    assert lots(b"a", "sample", ["x"], DAY) != lots(b"a", "margin", ["x"], DAY) != lots(b"b", "margin", ["x"], DAY)
    assert chance(10, 50) == "0.2"


expected_need = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 40), st.floats(0, 30)), min_size=1)


@given(st.integers(0, 120), expected_need, st.booleans())
def test_places_by_need_fill_the_capacity_and_exceed_neither_people_nor_capacity(k, units, has_capacity):
    eligible = {unit: n for unit, (n, _) in units.items()}
    expected = {unit: need for unit, (_, need) in units.items()}
    capacity = dict.fromkeys(units, 7) if has_capacity else {}
    shares = split_capacity(k, sorted(units), eligible, capacity, expected)
    most = {unit: min(n, capacity.get(unit, n)) for unit, n in eligible.items()}
    assert sum(shares.values()) == min(k, sum(most.values()))
    assert all(0 <= shares[unit] <= most[unit] for unit in units)


ranking = st.permutations(list("abcdefgh"))


@given(ranking, ranking, ranking, st.integers(1, 4))
def test_nobody_is_wanted_twice_and_whoever_leaves_a_list_is_on_another(first, second, third, k):
    def cut_of(order):
        def listed(out):
            left = [person for person in order if person not in out][:k]
            return pl.DataFrame({"person_id": left, "score": [0.9 - 0.1 * order.index(p) for p in left]})

        return listed

    cuts = {"one": cut_of(first), "two": cut_of(second), "three": cut_of(third)}
    left = settled(cuts, b"a secret of tests")
    assert left == settled(dict(reversed(cuts.items())), b"a secret of tests")
    lists = {need: set(cuts[need](left[need])["person_id"]) for need in cuts}
    assert sum(map(len, lists.values())) == len(set.union(*lists.values()))
    for need, gone in left.items():
        assert all(any(person in lists[other] for other in cuts if other != need) for person in gone)


@pytest.mark.parametrize("score", [None, 0.0])
def test_needs_without_probabilities_compare_by_place(score):
    def rule(*people):
        return lambda out: pl.DataFrame(
            {"person_id": [p for p in people if p not in out][:2], "score": pl.Series([score] * 2, dtype=pl.Float64)}
        )

    assert settled({"a": rule("x", "y", "z", "v"), "b": rule("w", "x", "u")}, b"s") == {
        "a": frozenset(),
        "b": frozenset("x"),
    }
