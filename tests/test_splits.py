from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethics.refusals import BadInput
from features.spec import LabelSpec
from models.need_parts import Splits
from models.splits import Origin, Split, hash_share, is_test_person, split_periods

OULAD = [date(2013, 4, 2), date(2013, 11, 30), date(2014, 4, 2)]
EXTRACT = date(2014, 12, 31)


def label(horizon, delay=0):
    return LabelSpec(codes=["need"], horizon_days=horizon, reporting_delay_days=delay)


def temporal(tests=1, judged=1):
    return Splits(kind="temporal", tests=tests, judged=judged)


def refusal(*arguments):
    with pytest.raises(BadInput) as refused:
        split_periods(*arguments)
    return [str(fault) for fault in refused.value.faults]


def test_a_label_that_ends_after_the_test_date_teaches_nothing():
    split = split_periods(OULAD, label(215), EXTRACT, temporal())
    assert split == Split("temporal", (Origin(OULAD[2], (OULAD[0],)),), (OULAD[2],), tuple(OULAD), 215, EXTRACT)
    assert (split.train_dates, split.test_dates) == ((OULAD[0],), (OULAD[2],))


def test_days_at_the_end_of_the_calendar_are_never_mature():
    end = date(9999, 12, 31)
    assert split_periods([*OULAD, end], label(215), EXTRACT, temporal()).judged_dates == (OULAD[2],)
    assert refusal([end], label(215), EXTRACT, temporal()) == [
        "label.horizon_days: looks 215 days ahead (reporting delay included), so even the earliest as-of date, "
        "9999-12-31, needs data up to 9999-12-31, and the extract ends on 2014-12-31. Shorten the horizon, start the "
        "cohort earlier, or use a later extract"
    ]


def test_the_reporting_delay_counts_as_part_of_the_label():
    # 2013-04-02 + 215 + 149 days is 2014-04-01, and one day more is the test date itself.
    extract = date(2015, 12, 31)
    for delay in (149, 150):
        assert split_periods(OULAD, label(215, delay), extract, temporal()).train_dates == (OULAD[0],)
    assert refusal(OULAD, label(215, 151), extract, temporal()) == [
        "splits.tests: nothing can be learnt before the test date 2014-04-02: the earliest label, of 2013-04-02, is "
        "complete on 2014-04-03. Start the cohort earlier, use a later extract, or shorten label.horizon_days"
    ]


def test_a_date_is_mature_when_its_label_ends_by_the_extract_date():
    days = [date(2020, 1, 1), date(2020, 2, 1), date(2020, 3, 1)]
    # 2020-03-01 + 31 days is 2020-04-01.
    assert split_periods(days, label(31), date(2020, 4, 1), temporal()).judged_dates == (days[2],)
    assert split_periods(days, label(31), date(2020, 3, 31), temporal()).judged_dates == (days[1],)


def test_the_candidate_is_trained_at_the_first_of_the_judged_dates():
    days = [date(2020, month, 1) for month in range(1, 8)]
    split = split_periods(days, label(28), date(2021, 1, 1), temporal(tests=4, judged=2))
    assert split.test_dates == tuple(days[3:])
    assert split.judged_dates == (days[5], days[6])
    assert split.candidate == Origin(days[5], tuple(days[:5]))
    assert split.train_dates == tuple(days[:5])


def test_nothing_mature_is_refused_with_the_dates():
    assert refusal(OULAD, label(1000), EXTRACT, temporal()) == [
        "label.horizon_days: looks 1000 days ahead (reporting delay included), so even the earliest as-of date, "
        "2013-04-02, needs data up to 2015-12-28, and the extract ends on 2014-12-31. Shorten the horizon, start the "
        "cohort earlier, or use a later extract"
    ]
    assert refusal([], label(10), EXTRACT, temporal()) == [
        "cohort.as_of: gives no as-of date. Widen the dates, or check the cohort's table"
    ]


def test_more_tests_than_mature_dates_are_refused():
    assert refusal(OULAD, label(215), EXTRACT, temporal(tests=4)) == [
        "splits.tests: is 4, and only 3 of the 3 dates are mature by 2014-12-31. Give at most 2, start the cohort "
        "earlier, or use a later extract"
    ]


def test_one_mature_date_cannot_be_mended_by_testing_fewer():
    # No number of tests helps: a single date has nothing before it to learn from.
    assert refusal(OULAD[:1], label(215), EXTRACT, temporal(tests=2)) == [
        "splits.tests: is 2, and only 1 of the 1 dates are mature by 2014-12-31. Start the cohort earlier, or use a "
        "later extract"
    ]
    (said,) = refusal(OULAD[:1], label(215), EXTRACT, temporal(tests=1))
    assert said.endswith("Start the cohort earlier, use a later extract, or shorten label.horizon_days")


def test_every_origin_without_anything_to_learn_is_named():
    said = refusal(OULAD, label(215), EXTRACT, temporal(tests=3))
    assert [line.split(": the")[0] for line in said] == [
        "splits.tests: nothing can be learnt before the test date 2013-04-02"
    ]


def test_a_rule_is_judged_on_the_last_mature_date_and_learns_nothing():
    split = split_periods(OULAD, label(215), date(2014, 7, 4), None)
    assert (split.kind, split.origins, split.judged_dates) == ("rule", (Origin(OULAD[1], ()),), (OULAD[1],))
    assert split_periods(OULAD, None, date(2014, 4, 2), None).judged_dates == (OULAD[2],)


def test_a_split_of_persons_uses_every_mature_date():
    split = split_periods(OULAD, label(215), date(2014, 7, 4), Splits(kind="person"))
    assert split.kind == "person"
    assert split.train_dates == split.test_dates == split.judged_dates == (OULAD[0], OULAD[1])


days = st.lists(st.dates(date(2015, 1, 1), date(2022, 1, 1)), min_size=1, max_size=12)


@given(days, st.integers(1, 500), st.integers(0, 60), st.integers(1, 4), st.integers(1, 4))
def test_no_training_label_reaches_past_its_test_date_nor_the_extract(as_of_dates, horizon, delay, tests, judged):
    extract = date(2022, 1, 1)
    ahead = timedelta(days=horizon + delay)
    try:
        split = split_periods(as_of_dates, label(horizon, delay), extract, temporal(max(tests, judged), judged))
    except BadInput:
        return
    mature = sorted(day for day in set(as_of_dates) if day + ahead <= extract)
    assert split.test_dates == tuple(mature[-max(tests, judged) :])
    assert split.judged_dates == split.test_dates[-judged:]
    for origin in split.origins:
        assert origin.train_dates == tuple(day for day in mature if day + ahead <= origin.test_date)
        assert origin.train_dates


def test_a_person_is_on_the_same_side_whoever_else_is_there():
    people = [f"S{n}" for n in range(4000)]
    sides = is_test_person(people, seed=7)
    assert np.array_equal(is_test_person(people[::-1], seed=7), sides[::-1])
    assert np.array_equal(is_test_person(people[100:200], seed=7), sides[100:200])
    assert not np.array_equal(is_test_person(people, seed=8), sides)
    # A quarter of 4000, give or take four standard deviations (27 persons each).
    assert abs(sides.sum() - 1000) < 110


def test_shares_of_a_hash_are_spread_evenly():
    shares = hash_share([str(n) for n in range(10_000)], "salt")
    assert shares.min() >= 0 and shares.max() < 1
    counts = np.histogram(shares, bins=10, range=(0, 1))[0]
    assert abs(counts - 1000).max() < 150


# ---- as-of dates that follow an event ------------------------------------------------------------------------------


def every_day(first, n):
    return [first + timedelta(days=i) for i in range(n)]


def test_days_that_follow_an_event_are_tested_in_periods_counted_back_from_the_last_mature_one():
    days = every_day(date(2020, 1, 1), 100)  # to 2020-04-09
    # With 20 days ahead and an extract of 2020-04-20 the last mature day is 2020-03-31.
    split = split_periods(days, label(20), date(2020, 4, 20), temporal(tests=2, judged=1), period_days=30)
    first, last = split.origins
    assert (last.test_date, last.test_dates) == (date(2020, 3, 2), tuple(every_day(date(2020, 3, 2), 30)))
    assert (first.test_date, first.test_dates) == (date(2020, 2, 1), tuple(every_day(date(2020, 2, 1), 30)))
    # The label of 2020-02-11 is complete on 2020-03-02, the first day of the period; that of the 12th is not.
    assert last.train_dates == tuple(every_day(date(2020, 1, 1), 42))
    assert first.train_dates == tuple(every_day(date(2020, 1, 1), 12))
    assert split.judged_dates == last.test_dates
    assert split.candidate == last
    assert split.test_dates == first.test_dates + last.test_dates


def test_the_candidate_of_several_judged_periods_is_that_of_the_first():
    split = split_periods(
        every_day(date(2020, 1, 1), 120), label(10), date(2021, 1, 1), temporal(tests=3, judged=2), period_days=20
    )
    assert split.candidate == split.origins[1]
    assert split.judged_dates == split.origins[1].test_dates + split.origins[2].test_dates


def test_a_period_begins_on_its_first_day_whether_or_not_anybody_is_looked_at_then():
    days = [date(2020, 1, 1), date(2020, 3, 20), date(2020, 3, 31)]
    split = split_periods(days, label(30), date(2020, 12, 31), temporal(), period_days=30)
    assert split.origins == (Origin(date(2020, 3, 2), (days[0],), (days[1], days[2])),)


def test_periods_without_dates_are_passed_over():
    days = [date(2020, 1, 1), date(2020, 3, 1), date(2020, 12, 31)]
    split = split_periods(days, label(10), date(2021, 6, 1), temporal(tests=2, judged=2), period_days=30)
    assert [origin.test_dates for origin in split.origins] == [(days[1],), (days[2],)]


def test_too_few_periods_and_periods_with_nothing_to_learn_are_refused():
    def said(tests):
        with pytest.raises(BadInput) as refused:
            split_periods(every_day(date(2020, 1, 1), 60), label(10), date(2021, 1, 1), temporal(tests), period_days=30)
        return [str(fault) for fault in refused.value.faults]

    assert said(3) == [
        "splits.tests: is 3, and only 2 periods of 30 days are mature by 2021-01-01. Give at most 1, start the "
        "cohort earlier, or use a later extract"
    ]
    assert said(2) == [
        "splits.tests: nothing can be learnt before the test period that begins on 2020-01-01: the earliest label, of "
        "2020-01-01, is complete on 2020-01-11. Test fewer dates, start the cohort earlier, or shorten "
        "label.horizon_days"
    ]


def test_a_rule_and_a_split_of_persons_look_at_periods_too():
    days = every_day(date(2020, 1, 1), 60)  # to 2020-02-29
    rule = split_periods(days, None, date(2021, 1, 1), None, period_days=30)
    assert rule.origins == (Origin(date(2020, 1, 31), (), tuple(days[30:])),)
    assert rule.judged_dates == tuple(days[30:])
    persons = split_periods(days, label(10), date(2021, 1, 1), Splits(kind="person"), period_days=30)
    assert [origin.test_dates for origin in persons.origins] == [tuple(days[:30]), tuple(days[30:])]
    assert persons.judged_dates == persons.train_dates == tuple(days)


@given(days, st.integers(1, 500), st.integers(0, 60), st.integers(1, 3), st.integers(1, 200))
def test_no_training_label_reaches_into_its_test_period(as_of_dates, horizon, delay, tests, period_days):
    extract, ahead = date(2022, 1, 1), timedelta(days=horizon + delay)
    try:
        split = split_periods(as_of_dates, label(horizon, delay), extract, temporal(tests), period_days=period_days)
    except BadInput:
        return
    mature = sorted(day for day in set(as_of_dates) if day + ahead <= extract)
    assert split.test_dates == tuple(mature[-len(split.test_dates) :])
    for origin in split.origins:
        assert origin.train_dates == tuple(day for day in mature if day + ahead <= origin.test_date)
        assert all(
            origin.test_date <= day < origin.test_date + timedelta(days=period_days) for day in origin.test_dates
        )
        assert not set(origin.train_dates) & set(split.judged_dates)


# ---- the time line -------------------------------------------------------------------------------------------------


def test_the_time_line_says_what_each_date_serves_for():
    days = [date(2020, 1, 1), date(2020, 3, 1), date(2020, 4, 1), date(2020, 6, 1), date(2020, 12, 1)]
    split = split_periods(days, label(60, 10), date(2020, 8, 20), temporal(tests=2, judged=1))
    line = split.timeline()
    assert line.columns == ["origin", "date", "role", "label_ends"]
    roles = {origin: dict(part.select("date", "role").iter_rows()) for (origin,), part in line.group_by("origin")}
    assert roles == {
        days[2]: dict(zip(days, ["train", "not used", "test", "not used", "not mature"], strict=True)),
        days[3]: dict(zip(days, ["train", "train", "not used", "judged", "not mature"], strict=True)),
    }
    assert line["label_ends"].to_list()[:2] == [date(2020, 3, 11), date(2020, 5, 10)]
    assert line.height == 10


def test_in_a_split_of_persons_a_date_teaches_and_is_judged():
    split = split_periods(OULAD, label(215), date(2014, 7, 4), Splits(kind="person"))
    line = split.timeline().filter(date=OULAD[0], origin=OULAD[0])
    assert line["role"].to_list() == ["train", "judged"]
    assert split.timeline().filter(date=OULAD[2])["role"].to_list() == ["not mature", "not mature"]


def test_a_rules_time_line_learns_from_nothing():
    roles = split_periods(OULAD, label(215), EXTRACT, None).timeline()["role"].to_list()
    assert roles == ["not used", "not used", "judged"]
