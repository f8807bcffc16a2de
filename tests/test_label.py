"""What followed: counted by hand, and beside an oracle that goes through the days one by one."""

import math
from datetime import date, timedelta

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cities import CODES, START, blank_city, city_of, days, everyone_on, keys_of, logs, refusal, values

from features.city import DataError
from features.keyed_rows import keyed_rows
from features.label import build_label, outcome_of, refuse_empty_label
from features.spec import LabelSpec, SpecError

DAY_20 = START.date() + timedelta(days=20)


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return blank_city(tmp_path_factory.mktemp("blank"))


# -- beside an oracle


# Most logs of Hypothesis are nearly empty; in these much follows within a month, so that measures go back and forth.
busy_logs = st.lists(
    st.tuples(st.sampled_from(["anna", "bo"]), st.integers(0, 30), st.integers(0, 3), st.sampled_from(CODES), values),
    min_size=20,
    max_size=50,
).map(lambda found: [(who, moment(day), moment(day + lag), code, value) for who, day, lag, code, value in found])
busy_days = st.integers(0, 12).map(lambda day: START.date() + timedelta(days=day))


def moment(day):
    return START + timedelta(days=day)


@st.composite
def label_specs(draw):
    horizon = draw(st.integers(2, 30))
    starts = draw(st.integers(0, min(8, horizon - 1)))
    label = {
        "codes": draw(st.sampled_from([("b.*",), ("b.2", "c"), ("b.1",)])),
        "horizon_days": horizon,
        "starts_after_days": starts,
        "reporting_delay_days": draw(st.integers(0, 10)),
        "measure": draw(st.sampled_from(["days", "sum", "max", "min"])),
        "censored_by": draw(st.sampled_from([(), ("a",), ("a", "b.2")])),
        "censoring": draw(st.sampled_from(["drop", "negative", "ipcw"])),
    }
    if label["censored_by"]:
        label["min_days_at_risk"] = draw(st.none() | st.integers(1, horizon - starts))
    if label["measure"] == "days":
        return label | draw(st.sampled_from([{"at_least": 1}, {"at_least": 2}, {"at_most": 0}, {"at_most": 1}]))
    bound = draw(st.integers(-12, 20)) / 4
    return label | {draw(st.sampled_from(["at_least", "at_most"])): bound}


def naive_outcome(found, person, as_of, label, extract_date):
    """y, days followed and whether censored, straight from the sentences of the contract, one day after another."""
    end = as_of + timedelta(days=label["horizon_days"])
    told = end + timedelta(days=label["reporting_delay_days"])
    if told > extract_date:
        return math.nan, math.nan, False
    wait = timedelta(days=label["starts_after_days"])

    def seen(codes, first):
        return [
            ((time.date() - as_of).days, value)
            for who, time, known, code, value in found
            if who == person
            and naive.fits(code, codes)
            and first <= time.date() < end
            and naive.known_before(known, told)
        ]

    leaving = min((day for day, _ in seen(label["censored_by"], as_of)), default=None)
    events = [(day, value) for day, value in seen(label["codes"], as_of + wait) if leaving is None or day <= leaving]
    last = label["horizon_days"] - 1 if leaving is None else leaving

    def measured(until):
        so_far = [(day, value) for day, value in events if day <= until]
        if label["measure"] == "days":
            return len({day for day, _ in so_far})
        values = [value for _, value in so_far if value is not None]
        return {"sum": sum, "max": max, "min": min}[label["measure"]](values) if values else None

    def holds(until):
        number = measured(until)
        if number is None:
            return False
        return number >= label["at_least"] if "at_least" in label else number <= label["at_most"]

    def decided(until):
        """Whether later events cannot undo it; a sum is taken as it stands."""
        falls = label["measure"] == "min"
        final = holds(until) if ("at_least" in label) != falls else not holds(until)
        return final and measured(until) is not None

    state = float(holds(last))
    if decided(last):
        day = last
        while day > 0 and decided(day - 1):
            day -= 1
        return state, day, False
    if leaving is None:
        return state, label["horizon_days"], False
    enough = label.get("min_days_at_risk")
    if enough is not None and leaving - label["starts_after_days"] >= enough:
        return state, leaving, False
    return (0.0 if label["censoring"] == "negative" else math.nan), leaving, True


@given(found=logs, day=days, label=label_specs(), extract=st.integers(60, 110))
def test_every_outcome_agrees_with_the_oracle(blank, found, day, label, extract):
    agree_with_the_oracle(blank, found, day, label, extract)


@settings(max_examples=200)
@given(found=busy_logs, day=busy_days, label=label_specs())
def test_every_outcome_of_busy_people_agrees_with_the_oracle(blank, found, day, label):
    agree_with_the_oracle(blank, found, day, label, extract=110)


def agree_with_the_oracle(blank, found, day, label, extract):
    known_until = START.date() + timedelta(days=extract)
    found = [e for e in found if e[2].date() <= known_until]
    city, keys = city_of(found, blank, extract_date=known_until), everyone_on(day)
    outcome = outcome_of(city, keyed_rows(city, keys), LabelSpec(**label))
    expected = [naive_outcome(found, who, day, label, known_until) for who in keys["person_id"]]
    for ours, theirs in zip(outcome, zip(*expected, strict=True), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(build_label(city, keys, LabelSpec(**label)), outcome.y)
    assert outcome.is_mature.all() == (expected[0][1] == expected[0][1])


@given(found=logs, day=days, label=label_specs())
def test_censoring_changes_the_label_of_those_who_left_and_nothing_else(blank, found, day, label):
    city, keys = city_of(found, blank), everyone_on(day)
    drop, negative, ipcw = (
        outcome_of(city, keyed_rows(city, keys), LabelSpec(**label | {"censoring": how}))
        for how in ("drop", "negative", "ipcw")
    )
    np.testing.assert_array_equal(drop.y, ipcw.y)
    for other in (negative, ipcw):
        np.testing.assert_array_equal(other.followed_days, drop.followed_days)
        np.testing.assert_array_equal(other.censored, drop.censored)
    np.testing.assert_array_equal(np.isnan(drop.y), drop.censored)
    np.testing.assert_array_equal(negative.y, np.where(drop.censored, 0.0, drop.y))


# -- counted by hand


def outcomes(found, blank, **label):
    """Outcome of anna, looked at from day 20."""
    spec = LabelSpec(**{"codes": ["c"], "horizon_days": 10, **label})
    city = city_of(found, blank)
    outcome = outcome_of(city, keyed_rows(city, keys_of(("anna", DAY_20))), spec)
    return outcome.y[0], outcome.followed_days[0], bool(outcome.censored[0])


def at(day, code="c", known=None, value=None):
    """An event of anna so many days after the as-of date."""
    moment = START + timedelta(days=20 + day)
    return ("anna", moment, START + timedelta(days=20 + (day if known is None else known)), code, value)


@pytest.mark.parametrize("measure", ["max", "min", "sum"])
def test_a_bound_is_reached_by_the_value_that_it_names(blank, measure):
    """0.1 and 0.7 are no binary fractions: values are kept as float32, and the bound is rounded alike."""
    for bound in (0.1, 0.7):
        found = [at(1, value=bound)]
        assert outcomes(found, blank, measure=measure, at_least=bound)[0] == 1
        assert outcomes(found, blank, measure=measure, at_most=bound)[0] == 1


LEFT = {"censored_by": ["a"]}


@pytest.mark.parametrize(
    ("found", "label", "expected"),
    [
        ([at(-1)], {}, (0, 10, False)),  # before the window
        ([at(0)], {}, (1, 0, False)),  # its first day
        ([at(9)], {}, (1, 9, False)),  # its last day
        ([at(10)], {}, (0, 10, False)),  # the day after
        ([at(9, known=10)], {}, (0, 10, False)),  # known too late
        ([at(9, known=12)], {"reporting_delay_days": 3}, (1, 9, False)),  # known within the delay
        ([at(9, known=13)], {"reporting_delay_days": 3}, (0, 10, False)),
        ([at(1), at(1), at(2)], {"at_least": 3}, (0, 10, False)),  # two distinct days
        ([at(1), at(1), at(2), at(7)], {"at_least": 3}, (1, 7, False)),
        ([], {"at_most": 0}, (1, 10, False)),  # nothing happened
        ([at(3), at(4)], {"at_most": 0}, (0, 3, False)),
        # The time at risk begins later.
        ([at(2)], {"starts_after_days": 3}, (0, 10, False)),
        ([at(3)], {"starts_after_days": 3}, (1, 3, False)),
        ([at(1), at(5)], {"starts_after_days": 3, "at_least": 2}, (0, 10, False)),
        # Leaving.
        ([at(5), at(2, "a")], LEFT, (math.nan, 2, True)),
        ([at(5), at(2, "a")], LEFT | {"censoring": "negative"}, (0, 2, True)),
        ([at(5), at(2, "a")], LEFT | {"censoring": "ipcw"}, (math.nan, 2, True)),
        ([at(5), at(5, "a")], LEFT, (1, 5, False)),  # within one day nobody knows which came first
        ([at(5), at(8, "a")], LEFT, (1, 5, False)),
        ([at(5), at(12, "a")], LEFT, (1, 5, False)),  # after the window
        ([at(-3, "a")], LEFT, (0, 10, False)),  # whoever left before is the cohort's business
        ([at(5, "a")], LEFT | {"at_most": 0}, (math.nan, 5, True)),
        ([at(2), at(5, "a")], LEFT | {"at_most": 0}, (0, 2, False)),
        ([at(1, "a")], LEFT | {"starts_after_days": 3}, (math.nan, 1, True)),  # before the time at risk began
        # Followed for long enough.
        ([at(5, "a")], LEFT | {"min_days_at_risk": 5}, (0, 5, False)),
        ([at(4, "a")], LEFT | {"min_days_at_risk": 5}, (math.nan, 4, True)),
        ([at(5, "a")], LEFT | {"min_days_at_risk": 5, "at_most": 0}, (1, 5, False)),
        ([at(5, "a")], LEFT | {"min_days_at_risk": 5, "starts_after_days": 1}, (math.nan, 5, True)),
        ([at(6, "a")], LEFT | {"min_days_at_risk": 5, "starts_after_days": 1}, (0, 6, False)),
        ([at(4, "a")], LEFT | {"min_days_at_risk": 5, "censoring": "negative"}, (0, 4, True)),
    ],
)
def test_an_outcome_is_exact_to_the_day(blank, found, label, expected):
    assert outcomes(found, blank, **label) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("values", "label", "expected"),
    [
        # A maximum only rises: reached is reached, and exceeded is exceeded.
        ([1, 5], {"measure": "max", "at_least": 4}, (1, 2, False)),
        ([1, 3], {"measure": "max", "at_least": 4}, (math.nan, 3, True)),
        ([1, 5], {"measure": "max", "at_most": 4}, (0, 2, False)),
        ([1, 3], {"measure": "max", "at_most": 4}, (math.nan, 3, True)),
        # A minimum only falls: low enough stays low enough, and too low stays too low.
        ([5, 3], {"measure": "min", "at_most": 4}, (1, 2, False)),
        ([5, 6], {"measure": "min", "at_most": 4}, (math.nan, 3, True)),
        ([5, 3], {"measure": "min", "at_least": 4}, (0, 2, False)),
        ([5, 6], {"measure": "min", "at_least": 4}, (math.nan, 3, True)),
        # A sum is taken as it stands at the end of the day.
        ([2, 2], {"measure": "sum", "at_least": 4}, (1, 2, False)),
        ([4, -1], {"measure": "sum", "at_least": 4}, (math.nan, 3, True)),
        ([5, -1], {"measure": "sum", "at_least": 4}, (1, 1, False)),
        ([5, -1], {"measure": "sum", "at_most": 4}, (math.nan, 3, True)),
        # No value reaches neither bound, and leaves everything open.
        ([None, None], {"measure": "max", "at_most": 4}, (math.nan, 3, True)),
        ([None, None], {"measure": "max", "at_most": 4, "min_days_at_risk": 3}, (0, 3, False)),
        ([1, None], {"measure": "max", "at_most": 4, "min_days_at_risk": 3}, (1, 3, False)),
    ],
)
def test_who_left_is_known_once_nothing_could_undo_it(blank, values, label, expected):
    found = [at(1 + i, value=value) for i, value in enumerate(values)]
    assert outcomes([*found, at(3, "a")], blank, **LEFT, **label) == pytest.approx(expected, nan_ok=True)


def test_what_goes_back_and_forth_within_a_day_did_not(blank):
    """3 from the first day on; that it was 1 for some hours of the second is no new beginning."""
    found = [at(1, value=3.0), at(2, value=-2.0), at(2.5, value=2.0)]
    assert outcomes(found, blank, measure="sum", at_least=3) == (1, 1, False)


def test_a_label_is_unknown_until_window_and_delay_have_passed(blank):
    city = city_of([], blank, extract_date=date(2024, 3, 1))
    spec = LabelSpec(codes=["c"], horizon_days=20, reporting_delay_days=10)
    keys = keys_of(("anna", date(2024, 1, 31)), ("anna", date(2024, 2, 1)))
    outcome = outcome_of(city, keyed_rows(city, keys), spec)
    np.testing.assert_array_equal(outcome.y, [0.0, np.nan])
    np.testing.assert_array_equal(outcome.followed_days, [20.0, np.nan])
    assert outcome.censored.tolist() == [False, False] and outcome.is_mature.tolist() == [True, False]


# -- refusals


def refused(city, day, spec):
    place = keyed_rows(city, everyone_on(day))
    return refusal(lambda: refuse_empty_label(city, place, spec, outcome_of(city, place, spec)), DataError)


def test_a_label_that_nobody_has_is_refused_with_the_reason(blank):
    city = city_of([(who, *at(1, "a")[1:]) for who in ("anna", "bo", "cai")], blank, extract_date=date(2024, 6, 30))
    late = LabelSpec(codes=["c"], horizon_days=180)
    assert refused(city, DAY_20, late) == (
        "label: is known for none of 3 rows; as-of dates up to 2024-01-02 are mature by 2024-06-30, and the first is "
        "2024-01-21. Look from earlier days, or shorten horizon_days or the delay"
    )
    assert refused(city, DAY_20, LabelSpec(codes=["c"], horizon_days=30, **LEFT)) == (
        "label: is known for none of 3 mature rows: everyone left (a) before it was decided. "
        "Mend censored_by, shorten horizon_days, or give min_days_at_risk"
    )
    assert refused(city, DAY_20, LabelSpec(codes=["c"], horizon_days=30)) == (
        "label: never occurs: c in none of 3 rows whose label is known. "
        "Mend its codes or its bound, or look from other days"
    )


def test_a_bound_that_nobody_reaches_is_told_apart_from_codes_that_never_occur(blank):
    found = [(who, *at(day, "c")[1:]) for who in ("anna", "bo") for day in (5, 6)]
    found += [("cai", *at(1, "a")[1:])]
    city = city_of(found, blank, extract_date=date(2024, 6, 30))
    mend = "Mend its codes or its bound, or look from other days"
    asked = {"codes": ["c"], "horizon_days": 30}
    assert refused(city, DAY_20, LabelSpec(**asked, at_least=900)) == (
        f"label: no row reaches at_least = 900 of c, though 2 of 3 rows whose label is known have it. {mend}"
    )
    # Before the time at risk, and after it, the code does not count as occurring.
    assert "never occurs: c in none of 3 rows" in refused(city, DAY_20, LabelSpec(**asked, starts_after_days=15))
    for measure in ("sum", "max"):
        said = refused(city, DAY_20, LabelSpec(**asked, at_least=900, measure=measure))
        assert said.startswith(f"label: no row reaches at_least = 900 of c (the {measure} of its values), though 2 of")
    everyone = city_of([*found, ("cai", *at(5, "c")[1:])], blank, extract_date=date(2024, 6, 30))
    assert refused(everyone, DAY_20, LabelSpec(**asked, at_most=0)) == (
        f"label: no row keeps to at_most = 0 of c, though 3 of 3 rows whose label is known have it. {mend}"
    )


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (
            {"starts_after_days": -1},
            "label: starts_after_days: is -1: the label would begin inside the feature window, where the model could "
            "read it. Give 0, or the days to wait after the as-of date",
        ),
        (
            {"starts_after_days": 10},
            "label: starts_after_days: is 10: no day of the horizon (10 days) is left. Give fewer than horizon_days",
        ),
        (
            {"starts_after_days": 3, "min_days_at_risk": 8, **LEFT},
            "label: min_days_at_risk: is 8: the time at risk is 7 days. Give 1 to 7, or leave it out for all",
        ),
        (
            {"min_days_at_risk": 0, **LEFT},
            "label: min_days_at_risk: is 0: the time at risk is 10 days. Give 1 to 10, or leave it out for all",
        ),
        (
            {"min_days_at_risk": 5},
            "label: min_days_at_risk: is 5: is about those who leave, and censored_by names no event. "
            "Add it, or leave this out",
        ),
    ],
)
def test_an_impossible_time_at_risk_is_refused_in_words(label, said):
    assert refusal(lambda: LabelSpec(codes=["c"], horizon_days=10, **label), SpecError) == said
