"""Who is eligible: counted by hand, and beside an oracle that asks each rule about each person and day."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import naive
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cities import EXTRACT, PEOPLE, START, blank_city, city_of, days, logs, people, refusal

from features.city import DataError, city_from_frames, open_city
from features.cohort import as_of_dates, build_cohort, cohort_with_attrition
from features.spec import CohortSpec, LabelSpec, SpecError

WINDOWS = (1, 30, (7, 30), "1mo", "ever")


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return blank_city(tmp_path_factory.mktemp("blank"))


def same_or_nobody(city, spec, expected, **how):
    """Exactly these rows; or, where there are none, the refusal that says so."""
    if expected:
        assert build_cohort(city, spec, **how).rows() == expected
    else:
        assert refusal(lambda: build_cohort(city, spec, **how)).startswith("cohort: nobody is eligible at ")


# -- rules

WEEKLY = {"first": date(2024, 1, 10), "last": date(2024, 2, 20), "every_days": 7}


@given(found=logs, at_least=st.integers(1, 3), window=st.sampled_from(WINDOWS))
def test_event_rules_agree_with_the_oracle(blank, found, at_least, window):
    city = city_of(found, blank)
    spec = CohortSpec(
        as_of=WEEKLY,
        **{"with": [{"codes": ["a", "b.*"], "window": window, "at_least": at_least}]},
        without=[{"codes": ["c"], "window": 30}],
    )
    expected = [
        (who, day)
        for day in as_of_dates(city, spec)
        for who in PEOPLE
        if naive.cell(found, who, day, window, ("a", "b.*"), "count") >= at_least
        and naive.cell(found, who, day, 30, ("c",), "count") < 1
    ]
    if expected:
        assert build_cohort(city, spec).rows() == expected
    else:
        assert refusal(lambda: build_cohort(city, spec)).startswith("cohort: nobody is eligible at 6 as-of dates")


@given(found=logs, at_least=st.integers(1, 2), oldest=st.integers(17, 30))
def test_each_rule_looks_at_whom_the_others_left(blank, found, at_least, oldest):
    """All kinds of rules at several dates: the same persons as when each rule is asked about everybody."""
    spec = CohortSpec(
        age=[17, oldest],
        where=[{"attribute": "language", "in": ["fi", "en"]}],
        **{"with": [{"codes": ["a", "b.*"], "window": 30, "at_least": at_least}]},
        without=[{"codes": ["c"], "window": 7}],
        as_of=WEEKLY | {"last": date(2024, 3, 20)},
    )
    city = city_of(found, blank)
    language = {"anna": "fi", "bo": "sv", "cai": "en"}
    city = replace(city, persons=city.persons.with_columns(language=pl.col("person_id").replace_strict(language)))
    expected = [
        (who, day)
        for day in as_of_dates(city, spec)
        for who, born in PEOPLE.items()
        if born is not None
        and language[who] != "sv"
        and 17 <= naive.age(born, day) <= oldest
        and naive.cell(found, who, day, 30, ("a", "b.*"), "count") >= at_least
        and naive.cell(found, who, day, 7, ("c",), "count") < 1
    ]
    if expected:
        assert build_cohort(city, spec).rows() == expected
    else:
        message = refusal(lambda: build_cohort(city, spec))
        assert "(everyone leaves 33, age 17" in message and "without c leaves 0)" in message


history_rows = st.lists(
    st.tuples(
        st.sampled_from([*PEOPLE]),
        st.just("district"),
        st.sampled_from(["Kallio", "Vuosaari"]),
        days,
        st.integers(-5, 20),
    ).map(lambda r: (*r[:4], r[3] + timedelta(days=r[4]))),
    max_size=8,
)


@given(history=history_rows, day=days)
def test_attributes_are_read_as_they_were_known_on_the_day(blank, history, day):
    frame = pl.DataFrame(
        history,
        schema={
            "person_id": pl.String,
            "attribute": pl.String,
            "value": pl.String,
            "from_date": pl.Date,
            "knowledge_date": pl.Date,
        },
        orient="row",
    ).with_columns(pl.col("from_date", "knowledge_date").cast(pl.Datetime("us")))
    city = replace(city_of([], blank), history=pl.concat([frame, frame.clear()]))
    expected = [(who, day) for who in PEOPLE if naive.attribute(history, who, "district", day) == "Kallio"]
    spec = CohortSpec(
        where=[{"attribute": "district", "in": ["Kallio"]}], as_of={"first": day, "last": day, "every_days": 1}
    )
    if expected:
        assert build_cohort(city, spec).rows() == expected
    elif history:
        assert "where district leaves 0" in refusal(lambda: build_cohort(city, spec))


def test_both_ends_of_an_age_range_are_in(tiny_city):
    city = open_city(tiny_city)
    spec = {"as_of": {"first": date(2024, 2, 28), "last": date(2024, 3, 1), "every_days": 1}}
    assert build_cohort(city, CohortSpec(age=[18, 23], **spec)).rows() == [
        ("bo", date(2024, 2, 28)),  # 24 from the next day
        ("anna", date(2024, 3, 1)),  # 18 that day
    ]
    assert build_cohort(city, CohortSpec(age=[17, 17], **spec)).height == 2


def test_a_move_counts_from_when_the_city_knew(tiny_city):
    city = open_city(tiny_city)

    def in_kallio(day):
        spec = CohortSpec(
            where=[{"attribute": "district", "in": ["Kallio"]}, {"attribute": "language", "in": ["fi"]}],
            as_of={"first": day, "last": day, "every_days": 1},
        )
        return build_cohort(city, spec)["person_id"].to_list()

    assert in_kallio(date(2024, 2, 5)) == ["anna"]  # moved on 15 January, known during 5 February
    assert refusal(lambda: in_kallio(date(2024, 2, 6))) == (
        "cohort: nobody is eligible at 1 as-of dates from 2024-02-06 to 2024-02-06 (everyone leaves 4, "
        "where district leaves 1, where language leaves 0). Widen the rules or the dates"
    )


def test_a_ready_made_table_keeps_its_rows_and_can_be_asked_for_some_days(tiny_city):
    city = open_city(tiny_city)
    table = CohortSpec(table="all")
    assert as_of_dates(city, table) == [date(2024, 2, 1)]
    assert build_cohort(city, table).rows() == [(who, date(2024, 2, 1)) for who in ("anna", "bo", "cai")]
    assert refusal(lambda: build_cohort(city, table, [date(2024, 2, 2)])) == (
        "cohort: nobody is eligible at 1 as-of dates from 2024-02-02 to 2024-02-02 (table 'all' leaves 0). "
        "Widen the rules or the dates"
    )


def test_as_of_dates_step_from_first_to_last(blank):
    spec = CohortSpec(as_of={"first": date(2024, 1, 1), "last": date(2024, 3, 1), "every_days": 30})
    assert as_of_dates(blank, spec) == [date(2024, 1, 1), date(2024, 1, 31), date(2024, 3, 1)]


# -- days that follow an event


def naive_triggers(found, codes, after_days, extract_date):
    """Everyone's own days, by day and person."""
    looked = {
        (known.date() + timedelta(days=1 + after_days), who)
        for who, _, known, code, _ in found
        if naive.fits(code, codes)
    }
    return [(who, day) for day, who in sorted(looked) if day <= extract_date]


@given(found=logs, after_days=st.integers(0, 20), code=st.sampled_from(["a", "b.*", "c"]), extract=st.integers(73, 95))
def test_days_follow_the_day_on_which_the_event_became_known(blank, found, after_days, code, extract):
    known_until = START.date() + timedelta(days=extract)
    city = city_of([e for e in found if e[2].date() <= known_until], blank, extract_date=known_until)
    spec = CohortSpec(as_of={"on": code, "after_days": after_days})
    expected = naive_triggers(found, [code], after_days, known_until)
    same_or_nobody(city, spec, expected)
    if expected:
        assert as_of_dates(city, spec) == sorted({day for _, day in expected})
    some = sorted({day for _, day in expected})[:2]
    same_or_nobody(city, spec, [row for row in expected if row[1] in some], as_of_dates=some)


@given(found=logs, window=st.sampled_from(WINDOWS), washout_days=st.integers(1, 40), after_days=st.integers(0, 9))
def test_every_rule_also_holds_on_days_that_follow_an_event(blank, found, window, washout_days, after_days):
    label = LabelSpec(codes=["c"], horizon_days=10)
    spec = CohortSpec(
        age=[17, 24],
        washout_days=washout_days,
        prior_outcome=window,
        **{"with": [{"codes": ["b.*"], "window": 30}]},
        as_of={"on": "a", "after_days": after_days},
    )
    expected = [
        (who, day)
        for who, day in naive_triggers(found, ["a"], after_days, EXTRACT)
        if PEOPLE[who] is not None
        and 17 <= naive.age(PEOPLE[who], day) <= 24
        and naive.cell(found, who, day, 30, ("b.*",), "count") >= 1
        and naive.cell(found, who, day, window, ("c",), "count") == 0
        and is_observed(found, who, day, washout_days)
    ]
    same_or_nobody(city_of(found, blank), spec, expected, label=label)


def test_several_events_on_one_day_are_one_row_and_two_codes_known_together_too(blank):
    def known(day, code="b.1", who="anna", happened=0):
        return (who, START + timedelta(days=happened), START + timedelta(days=day), code, None)

    found = [known(3), known(3, happened=2), known(3, "b.2"), known(5, "b.2"), known(3, who="bo"), known(4, "a")]
    spec = CohortSpec(as_of={"on": "b.*", "after_days": 2})
    assert build_cohort(city_of(found, blank), spec).rows() == [
        ("anna", date(2024, 1, 7)),
        ("bo", date(2024, 1, 7)),
        ("anna", date(2024, 1, 9)),
    ]


def test_an_event_that_is_known_ahead_is_followed_from_when_it_was_known(blank):
    """A decision of 10 January about a place that ends on 31 May: the person is looked at on 11 January."""
    ahead = replace(blank, ahead=("place.ends",))
    told, late = datetime(2024, 1, 10, 12), datetime(2024, 1, 20)
    found = [
        {"person_id": "bo", "event_date": datetime(2024, 5, 31), "knowledge_date": told, "code": "place.ends"},
        {"person_id": "bo", "event_date": START, "knowledge_date": late, "code": "a"},
    ]
    city = city_from_frames(people(), pl.DataFrame(found), like=ahead)
    assert build_cohort(city, CohortSpec(as_of={"on": "place.ends"})).rows() == [("bo", date(2024, 1, 11))]


def test_an_event_that_nobody_has_gives_no_days_and_says_so(blank):
    city = city_of([("anna", START, START, "a", None)], blank, extract_date=date(2024, 1, 5))
    assert as_of_dates(city, CohortSpec(as_of={"on": "a", "after_days": 3})) == [date(2024, 1, 5)]
    assert refusal(lambda: as_of_dates(city, CohortSpec(as_of={"on": "a", "after_days": 4}))) == (
        "cohort.as_of.on: nobody is looked at 5 days after the city came to know of a, by the extract date "
        "(2024-01-05). Mend the code, or give first, last and every_days"
    )
    assert refusal(lambda: build_cohort(city, CohortSpec(as_of={"on": "zzz"}))) == (
        "cohort: nobody is eligible at no as-of date at all (event zzz leaves 0). Widen the rules or the dates"
    )


def test_a_period_is_a_quarter_unless_the_cohort_says_otherwise():
    assert CohortSpec(as_of={"on": "a"}).as_of.period_days == 91
    assert CohortSpec(as_of={"on": "a", "period_days": 28}).as_of.period_days == 28
    fixed = {"first": date(2024, 1, 1), "last": date(2024, 3, 1), "every_days": 30}
    assert CohortSpec(as_of=fixed).as_of.period_days is None
    assert refusal(lambda: CohortSpec(as_of=fixed | {"period_days": 28}), SpecError) == (
        "cohort: as_of: period_days groups days that follow an event, and these days are fixed, each a period of its "
        "own. Leave it out, or give on and after_days"
    )


# -- washout and prior outcome


def is_observed(found, who, day, washout_days):
    """Whether an event of any kind happened so many days before, and was known before the day."""
    return any(
        person == who and (day - time.date()).days >= washout_days and naive.known_before(known, day)
        for person, time, known, *_ in found
    )


@given(found=logs, washout_days=st.integers(1, 40), day=days)
def test_washout_asks_for_an_event_that_long_before(blank, found, washout_days, day):
    spec = CohortSpec(washout_days=washout_days, as_of={"first": day, "last": day, "every_days": 1})
    expected = [(who, day) for who in PEOPLE if is_observed(found, who, day, washout_days)]
    same_or_nobody(city_of(found, blank), spec, expected)


@pytest.mark.parametrize(("washout_days", "is_in"), [(30, True), (31, True), (32, False)])
def test_washout_is_exact_to_the_day(blank, washout_days, is_in):
    """1 January, whatever the clock, is 31 days before 1 February."""
    at = START + timedelta(hours=23)
    day = {"first": date(2024, 2, 1), "last": date(2024, 2, 1), "every_days": 1}
    city = city_of([("anna", at, at, "a", None)], blank)
    same_or_nobody(
        city, CohortSpec(washout_days=washout_days, as_of=day), [("anna", date(2024, 2, 1))] if is_in else []
    )


@given(found=logs, window=st.sampled_from(WINDOWS))
def test_a_prior_outcome_is_any_event_of_the_label_as_known_then(blank, found, window):
    label = LabelSpec(codes=["b.*", "c"], measure="max", at_least=3, horizon_days=10)
    spec = CohortSpec(prior_outcome=window, as_of=WEEKLY)
    city = city_of(found, blank)
    expected = [
        (who, day)
        for day in as_of_dates(city, spec)
        for who in PEOPLE
        if naive.cell(found, who, day, window, ("b.*", "c"), "count") == 0
    ]
    same_or_nobody(city, spec, expected, label=label)


def test_without_a_label_a_prior_outcome_is_refused_in_words(blank):
    spec = CohortSpec(prior_outcome="ever", as_of=WEEKLY)
    assert refusal(lambda: build_cohort(city_of([], blank), spec), SpecError) == (
        "cohort.prior_outcome: leaves out those who already have an event of the label's codes, and no label is given. "
        "Give the label too, or use without"
    )


def test_washout_and_prior_outcome_also_narrow_a_ready_made_table(tiny_city):
    city, label = open_city(tiny_city), LabelSpec(codes=["school.absence.ill"], horizon_days=30)
    assert build_cohort(city, CohortSpec(table="all", washout_days=300)).rows() == [("cai", date(2024, 2, 1))]
    assert build_cohort(city, CohortSpec(table="all", prior_outcome=[25, 30]), label=label).rows() == [
        ("bo", date(2024, 2, 1)),
        ("cai", date(2024, 2, 1)),
    ]
    nobody = CohortSpec(table="all", washout_days=300, prior_outcome="ever")
    assert refusal(lambda: build_cohort(city, nobody, label=label), DataError) == (
        "cohort: nobody is eligible at 1 as-of dates from 2024-02-01 to 2024-02-01 (table 'all' leaves 3, "
        "washout_days 300 leaves 1, prior_outcome ever leaves 0). Widen the rules or the dates"
    )
    assert refusal(lambda: build_cohort(city, nobody, [date(2024, 5, 1)], label=label), DataError) == (
        "cohort: nobody is eligible at 1 as-of dates from 2024-05-01 to 2024-05-01 (table 'all' leaves 0, "
        "washout_days 300 leaves 0, prior_outcome ever leaves 0). Widen the rules or the dates"
    )


@given(found=logs, day=days, added=logs)
def test_nothing_known_on_or_after_the_day_changes_who_is_eligible(blank, found, day, added):
    """Washout, prior outcome and the day itself are read as known before it."""
    future = [(who, at, max(known, naive.midnight(day)), code, value) for who, at, known, code, value in added]
    past = [e for e in found if naive.known_before(e[2], day)]
    spec = CohortSpec(washout_days=5, prior_outcome=30, as_of={"on": "a", "after_days": 2})
    label = LabelSpec(codes=["c"], horizon_days=10)

    def eligible(events):
        try:
            return build_cohort(city_of(events, blank), spec, [day], label=label).rows()
        except DataError:
            return []

    assert eligible(past) == eligible(past + future)


def test_one_person_of_a_city_is_eligible_when_the_city_says_so(blank):
    at = [START + timedelta(days=day) for day in range(4)]
    found = [("anna", at[0], at[3], "a", None), ("bo", at[1], at[1], "a", None), ("bo", at[0], at[0], "c", None)]
    city, spec = city_of(found, blank), CohortSpec(washout_days=1, as_of={"on": "a"})
    together = build_cohort(city, spec).rows()
    assert together == [("bo", date(2024, 1, 3)), ("anna", date(2024, 1, 5))]
    assert [build_cohort(city.only([who]), spec, [day]).rows() for who, day in together] == [[row] for row in together]


def test_large_cohorts_come_in_pieces_and_are_the_same(blank, monkeypatch):
    found = [("anna", START + timedelta(days=d), START + timedelta(days=d), "a", None) for d in range(20)]
    city, spec = city_of(found, blank), CohortSpec(washout_days=5, as_of={"on": "a"})
    whole = cohort_with_attrition(city, spec)
    monkeypatch.setattr("features.cohort._ROWS_AT_ONCE", 3)
    for one, other in zip(whole, cohort_with_attrition(city, spec), strict=True):
        assert one.equals(other)
    assert whole[1].drop("rule").rows() == [("event", 20, 1, 0), ("washout_days", 16, 1, 4)]
