"""An explanation shows the events that make a cell, and its own arithmetic gives that cell."""

import json
import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import rows, write_city
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.attribute_story import attribute_story
from features.city import DataError, city_from_frames, open_city
from features.columns import compute_columns
from features.explanation import explain_cell
from features.keyed_rows import keyed_rows
from features.recount import Happened, agree, bounds, needs_value, recount
from features.spec import ATTRIBUTE_MEASURES, FeatureSpec, SpecError
from features.windows import MEASURES, Window

AS_OF = date(2024, 3, 31)
EVERY_MEASURE = (*MEASURES, "decay_30d", "quantile_10", "quantile_90")
EVERY_WINDOW = (1, 30, (10, 60), "1mo", "13mo", "ever")
VISITS = FeatureSpec(name="visits", codes=["visit.*"], windows=EVERY_WINDOW, measures=EVERY_MEASURE)
ABSENCE = FeatureSpec(
    name="absence", codes=["school.absence.*"], windows=[30, "ever"], measures=["count", "last", "days_since_last"]
)
AGE = FeatureSpec(attribute="age")
STATED = {"purpose": "to test", "basis": "none: invented"}


@pytest.fixture
def city(tiny_city):
    return open_city(tiny_city)


@pytest.fixture(scope="module")
def like(tmp_path_factory):
    """An empty frame of a city: its settings are those of the small cities made from it."""
    people = rows(("person_id",), ("anna",))
    events = rows(("person_id", "event_date", "knowledge_date", "code", "value"), ("anna", AS_OF, AS_OF, "x", 1.0))
    return open_city(write_city(tmp_path_factory.mktemp("like") / "like", people, events))


# ---- every measure -----------------------------------------------------------------------------------------------

MINUTES = 24 * 60
histories = st.lists(
    st.tuples(
        st.integers(-2, 500).flatmap(lambda day: st.tuples(st.just(day), st.sampled_from([0, 0, 555, 1439]))),
        st.sampled_from([0, 0, 0, 1, 3, 40]),
        st.sampled_from(["visit.doctor", "visit.nurse", "call"]),
        st.none() | st.integers(-40, 40).map(lambda quarters: quarters / 4),
    ),
    max_size=12,
)


def city_of(like, history):
    """One person with some events: (days before the as-of date, minute), days until known, code, value."""
    midnight = datetime.combine(AS_OF, datetime.min.time())
    happened = [
        (midnight - timedelta(days=ago) + timedelta(minutes=minute), delay, code, value)
        for (ago, minute), delay, code, value in [*history, ((600, 0), 0, "call", None)]
    ]
    frame = pl.DataFrame(
        [("anna", at, at + timedelta(days=delay), code, value) for at, delay, code, value in happened],
        schema={
            "person_id": pl.String,
            "event_date": pl.Datetime("us"),
            "knowledge_date": pl.Datetime("us"),
            "code": pl.String,
            "value": pl.Float64,
        },
        orient="row",
    )
    return city_from_frames(pl.DataFrame({"person_id": ["anna"]}), frame, like=like, extract_date=date(2024, 12, 31))


@settings(max_examples=25)
@given(histories)
@example([((31, 0), 0, "visit.nurse", 1.0), ((1, 1439), 0, "visit.nurse", 2.0), ((0, 0), 0, "visit.nurse", 4.0)])
@example([((10, 555), 0, "visit.nurse", 1.0), ((11, 555), 0, "visit.doctor", 2.0), ((60, 0), 0, "visit.nurse", None)])
def test_the_events_counted_reproduce_the_cell_for_every_measure_and_window(like, history):
    city = city_of(like, history)
    keys = pl.DataFrame({"person_id": ["anna"], "as_of_date": [AS_OF]})
    cells = compute_columns(city, [VISITS], keyed_rows(city, keys))[0]
    for column, cell in zip(VISITS.columns(), cells.tolist(), strict=True):
        explanation = explain_cell(city, [VISITS], "anna", AS_OF, column)
        assert explanation.agrees, f"{column}: {explanation.value} is not {explanation.recounted}"
        assert (math.nan if explanation.value is None else explanation.value) == pytest.approx(cell, nan_ok=True)


@given(histories, st.sampled_from(EVERY_MEASURE), st.sampled_from(EVERY_WINDOW))
def test_every_event_of_the_codes_is_shown_and_says_why_it_does_not_count(like, history, measure, window):
    column = f"visits.{measure}.{Window.parse(window).label}"
    explanation = explain_cell(city_of(like, history), [VISITS], "anna", AS_OF, column)
    asked = [event for event in history if event[2].startswith("visit.")]
    assert len(explanation.events) == len(asked)
    assert [event.event_date for event in explanation.events] == sorted(e.event_date for e in explanation.events)
    for event in explanation.events:
        day, known = date.fromisoformat(event.event_date[:10]), date.fromisoformat(event.knowledge_date[:10])
        begins = explanation.first_day is None or explanation.first_day <= day
        in_window = begins and day <= explanation.last_day
        has_value = event.value is not None or not needs_value(measure)
        assert event.counted == (in_window and known < AS_OF and has_value)
        assert event.counted == (event.why_not is None)


# ---- the arithmetic, by hand ---------------------------------------------------------------------------------------

WEEK = [
    Happened(datetime(2024, 3, 24), "visit.a", 2.0),
    Happened(datetime(2024, 3, 26, 12), "visit.b", None),
    Happened(datetime(2024, 3, 28), "visit.a", 8.0),
    Happened(datetime(2024, 3, 28), "visit.a", 5.0),
]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("count", 4),
        ("n_values", 3),
        ("sum", 15),
        ("mean", 5),
        ("min", 2),
        ("max", 8),
        ("first", 2),
        ("last", 8),  # of one moment, the larger value comes last
        ("days_since_last", 3),
        ("days_since_first", 7),
        ("distinct_codes", 2),
        ("distinct_days", 3),
        ("median", 5),
        ("quantile_25", 3.5),
        ("std", math.sqrt((9 + 9 + 0) / 3)),
        ("trend", (6.5 - 2) / 4),  # two days, so the line goes through their means
        ("decay_7d", 2**-1 + 2 ** (-4 / 7) + 2 * 2 ** (-3 / 7)),  # whole days, as days_since_last has them
    ],
)
def test_a_measure_is_what_the_contract_says(measure, expected):
    assert recount(measure, WEEK, AS_OF) == pytest.approx(expected)
    assert recount(measure, WEEK[::-1], AS_OF) == pytest.approx(expected)


@pytest.mark.parametrize("measure", EVERY_MEASURE)
def test_nothing_counted_is_nought_for_counts_and_empty_for_the_rest(measure):
    is_zero = measure in ("count", "n_values", "distinct_codes", "distinct_days")
    assert recount(measure, [], AS_OF) == 0 if is_zero else math.isnan(recount(measure, [], AS_OF))


def test_one_value_has_no_spread_and_one_day_no_direction():
    assert math.isnan(recount("std", WEEK[:2], AS_OF))
    assert math.isnan(recount("trend", WEEK[2:], AS_OF))


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        (30, "2024-03-01", "2024-03-30"),
        ([90, 365], "2023-04-01", "2023-12-31"),
        ("1mo", "2024-02-29", "2024-03-30"),
        ("13mo", "2023-02-28", "2024-03-30"),
        ("3mo", "2023-12-31", "2024-03-30"),
        ("ever", "None", "2024-03-30"),
    ],
)
def test_a_window_has_a_first_and_a_last_day(window, first, last):
    assert tuple(map(str, bounds(Window.parse(window), AS_OF))) == (first, last)


def test_a_difference_beyond_rounding_is_no_agreement():
    assert agree(math.nan, math.nan, ()) and agree(0.1, 0.1 + 1e-9, (0.1,))
    assert not agree(3.0, 4.0, (1.0,)) and not agree(math.nan, 0.0, ()) and not agree(0.0, math.nan, ())


# ---- what is said --------------------------------------------------------------------------------------------------


def test_a_cell_is_explained_in_one_sentence_with_its_events(city):
    told = explain_cell(city, [ABSENCE, AGE], "anna", date(2024, 2, 1), "absence.count.30d")
    assert told.sentence == (
        "absence.count.30d is 2: two events between 2 January and 31 January 2024, known before 1 February 2024."
    )
    assert [(event.event_date, event.counted, event.why_not) for event in told.events] == [
        ("2024-01-05", True, None),
        ("2024-01-20 09:30", True, None),
        ("2024-01-25", False, "not known before the as-of date"),
    ]
    assert json.loads(json.dumps(told.as_facts()))["n_counted"] == 2


@pytest.mark.parametrize(
    ("person", "column", "sentence"),
    [
        ("anna", "absence.last.ever", "absence.last.ever is 2: the latest of one value up to 31 January 2024, known "
         "before 1 February 2024, is of 5 January 2024."),
        ("bo", "absence.days_since_last.30d", "absence.days_since_last.30d is 1: the latest of one event between "
         "2 January and 31 January 2024, known before 1 February 2024, was on 31 January 2024."),
        ("cai", "absence.count.30d", "absence.count.30d is 0: no event between 2 January and 31 January 2024, known "
         "before 1 February 2024."),
        ("cai", "absence.last.30d", "absence.last.30d is empty: no event with a value between 2 January and 31 January "
         "2024, known before 1 February 2024."),
        ("anna", "age", "age is 17.920765: born on 1 March 2006, 17 years old since 1 March 2023, and 337 of the 366 "
         "days to the next birthday have passed."),
        ("dora", "age", "age is empty: no birth date is on record."),
    ],
)  # fmt: skip
def test_each_kind_of_cell_has_its_sentence(city, person, column, sentence):
    told = explain_cell(city, [ABSENCE, AGE], person, date(2024, 2, 1), column)
    assert told.agrees
    assert told.sentence == sentence


def test_numbers_are_shown_as_they_were_written_and_not_as_float64_sees_them(like):
    city = city_of(like, [((5, 0), 0, "visit.nurse", 8.4), ((6, 0), 0, "visit.nurse", 0.1)])
    told = explain_cell(city, [VISITS], "anna", AS_OF, "visits.max.30d")
    assert [event.value for event in told.events] == [0.1, 8.4]
    assert (told.value, told.recounted) == (8.4, 8.4)
    assert explain_cell(city, [VISITS], "anna", AS_OF, "visits.sum.30d").value == 8.5
    quantile = explain_cell(city, [VISITS], "anna", AS_OF, "visits.quantile_90.30d").sentence
    assert ": the 90 % point of two values between 1 March and 30 March 2024, known before" in quantile


def test_an_event_bears_what_the_city_calls_its_code(like):
    city = city_of(like, [((5, 0), 0, "visit.doctor", 1.0), ((6, 0), 0, "visit.nurse", 1.0)])

    def plain(codes):
        named = replace(city, codes=codes)
        return [
            event["plain"]
            for event in explain_cell(named, [VISITS], "anna", AS_OF, "visits.count.30d").as_facts()["events"]
        ]

    names = {"*": "anything", "visit.*": "a visit", "visit.doctor": "a visit to a doctor", "visit.d*": "a visit to d"}
    codes = pl.DataFrame({"code": list(names), "en": list(names.values())})
    assert plain(codes) == ["a visit", "a visit to a doctor"]
    assert plain(codes.filter(pl.col("code") == "visit.doctor")) == [None, "a visit to a doctor"]
    assert plain(codes.with_columns(en=pl.lit(None, pl.String))) == plain(codes.rename({"en": "fi"})) == [None, None]
    assert plain(None) == [None, None]


# ---- attributes ----------------------------------------------------------------------------------------------------

HOME = FeatureSpec(attribute="district", categories=["Vuosaari", "Kallio"], measures=ATTRIBUTE_MEASURES)
LANGUAGE = FeatureSpec(attribute="language", categories=["fi", "sv"])


def test_an_attribute_shows_the_entries_that_were_known_and_those_that_were_not(city):
    told = explain_cell(city, [HOME], "anna", date(2024, 2, 1), "district")
    assert (told.value, told.recounted) == (1.0, 1.0)
    assert [(event.value, event.counted, event.why_not) for event in told.events] == [
        ("Kallio", True, None),
        ("Vuosaari", False, "not known before the as-of date"),
    ]
    assert "'Kallio', number 1 of the need's categories counted from 0" in told.sentence
    moved = explain_cell(city, [HOME], "anna", date(2024, 4, 1), "district")
    assert [event.why_not for event in moved.events] == ["replaced by a later entry", None]
    assert moved.value == 0.0


@pytest.mark.parametrize(
    ("as_of", "sentence"),
    [
        # Of one entry nobody knows whether it was a change.
        (date(2022, 1, 1), "district.months_since_change is 0: the same since 5 December 2021, for less than a month, "
         "by the entries known before 1 January 2022."),
        (date(2022, 3, 4), "district.months_since_change is 2: the same since 5 December 2021, for two months, by the "
         "entries known before 4 March 2022."),
        (date(2022, 5, 20), "district.months_since_change is 1: the same since 1 April 2022, for one month, by the "
         "entries known before 20 May 2022."),
    ],
)  # fmt: skip
def test_time_without_a_change_is_told_without_claiming_one(like, as_of, sentence):
    people = pl.DataFrame({"person_id": ["anna"]})
    events = pl.DataFrame({"person_id": ["anna"], "event_date": [date(2020, 1, 1)], "code": ["x"]})
    begins = [datetime(2021, 12, 5), datetime(2022, 4, 1)]
    frame = pl.DataFrame({"person_id": ["anna"] * 2, "attribute": "district", "value": ["Kallio", "Vuosaari"],
                          "from_date": begins, "knowledge_date": begins})  # fmt: skip
    city = replace(city_from_frames(people, events, like=like, extract_date=date(2024, 1, 1)), history=frame)
    assert explain_cell(city, [HOME], "anna", as_of, "district.months_since_change").sentence == sentence


entries = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from(["Kallio", "Vuosaari", "Oulunkylä"])), max_size=6
)


@settings(max_examples=30)
@given(entries, st.integers(1, 70))
def test_the_story_of_an_attribute_ends_in_the_cell(like, history, day):
    first = datetime(2023, 1, 15)
    as_of = date(2023, 1, 15) + timedelta(days=9 * day)
    frame = pl.DataFrame(
        [
            ("anna", "district", v, first + timedelta(days=9 * b), first + timedelta(days=9 * (b + k)))
            for b, k, v in history
        ]
        + [("bo", "district", "Kallio", first, first)],
        schema={
            "person_id": pl.String,
            "attribute": pl.String,
            "value": pl.String,
            "from_date": pl.Datetime("us"),
            "knowledge_date": pl.Datetime("us"),
        },
        orient="row",
    )
    people = pl.DataFrame({"person_id": ["anna", "bo"]})
    events = pl.DataFrame({"person_id": ["bo"], "event_date": [date(2020, 1, 1)], "code": ["x"]})
    city = replace(city_from_frames(people, events, like=like, extract_date=date(2026, 1, 1)), history=frame)
    for column in HOME.columns():
        told = explain_cell(city, [HOME], "anna", as_of, column)
        assert told.agrees, f"{column}: {told.value} is not {told.recounted}"
        assert len(told.events) == len(history)


@pytest.mark.parametrize(("person", "value"), [("anna", 0.0), ("bo", 1.0), ("cai", None)])
def test_what_never_changes_is_read_from_the_persons(city, person, value):
    told = explain_cell(city, [LANGUAGE], person, date(2024, 2, 1), "language")
    assert (told.value, told.recounted, told.events) == (value, value, ())
    assert "in the persons table, where it never changes" in told.sentence


@pytest.mark.parametrize(
    ("birth", "as_of", "years"),
    [
        (date(2000, 2, 29), date(2024, 2, 29), 24.0),
        (date(2000, 2, 29), date(2023, 3, 1), 23.0),
        (date(2000, 2, 29), date(2023, 2, 28), 22 + 364 / 365),
        (date(2024, 1, 31), date(2024, 1, 31), 0.0),
        (date(2024, 2, 1), date(2024, 1, 31), math.nan),
    ],
)
def test_an_age_is_counted_from_birthday_to_birthday(like, birth, as_of, years):
    people = pl.DataFrame({"person_id": ["anna"], "birth_date": [birth]})
    events = pl.DataFrame({"person_id": ["anna"], "event_date": [date(2020, 1, 1)], "code": ["x"]})
    city = city_from_frames(people, events, like=like, extract_date=date(2026, 1, 1))
    assert attribute_story(city, AGE, "anna", as_of, "age").value == pytest.approx(years, nan_ok=True)
    assert explain_cell(city, [AGE], "anna", as_of, "age").agrees


# ---- others --------------------------------------------------------------------------------------------------------


@pytest.fixture
def homes(tmp_path):
    """Two people share a home; thirty live in the district."""
    ids = [f"p{i:02d}" for i in range(30)]
    people = rows(("person_id",), *((i,) for i in ids))
    events = rows(
        ("person_id", "event_date", "code", "value"),
        ("p00", date(2024, 1, 3), "visit.own", 1.0),
        ("p01", date(2024, 1, 5), "visit.secret", 77.5),
        ("p01", date(2024, 1, 6), "visit.secret", None),
        ("p02", date(2024, 1, 7), "visit.secret", 1.0),
    )
    history = rows(
        ("person_id", "attribute", "value", "from_date"),
        *((i, "home", "h0" if i in ("p00", "p01") else f"h{i}", date(2020, 1, 1)) for i in ids),
        *((i, "district", "Kallio", date(2020, 1, 1)) for i in ids),
    )
    toml = 'extract_date = 2024-12-31\n[relations]\nhousehold = "home"\ndistrict = "district"\n'
    return open_city(write_city(tmp_path / "homes", people, events, history=history, toml=toml))


def test_of_a_household_only_numbers_are_told(homes):
    at_home = FeatureSpec(
        name="at_home", codes=["visit.*"], windows=[30], measures=["max", "count"], of="household", **STATED
    )
    told = explain_cell(homes, [at_home], "p00", date(2024, 2, 1), "at_home.max.30d")
    assert (told.kind, told.value, told.n_counted, told.events) == ("household", 77.5, 2, ())
    said = json.dumps(told.as_facts())
    for secret in ("visit.secret", "p01", "2024-01-05", "2024-01-06"):
        assert secret not in said
    masked = np.array([person == "p01" for person in homes.events.person_ids])
    hidden = explain_cell(homes, [at_home], "p00", date(2024, 2, 1), "at_home.max.30d", masked=masked)
    assert (hidden.value, hidden.n_counted) == (None, 0)


def test_of_a_district_only_the_rate_is_told(homes):
    around = FeatureSpec(name="around", codes=["visit.*"], windows=["ever"], measures=["rate"], of="district", **STATED)
    told = explain_cell(homes, [around], "p09", date(2024, 2, 1), "around.rate.ever")
    assert told.value == pytest.approx(4 / 30)
    assert (told.kind, told.n_counted, told.events) == ("district", None, ())
    assert "visit" not in json.dumps(told.as_facts())


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "day", "column", "said"),
    [
        ("zoe", date(2024, 2, 1), "age", "person: what was given (3 characters) names nobody in the city 'tiny'. Give "
         "a person_id of its persons table"),
        ("010190-123A", date(2024, 2, 1), "age", "person: what was given (11 characters) has the form of a "
         "personal identity code. Give the pseudonym of the persons table, and keep personal identity codes out of "
         "commands"),
        ("anna", date(2025, 1, 1), "age", "as-of date: is 2025-01-01, after the extract date 2024-12-31: the city does "
         "not know that day yet. Give 2024-12-31 or earlier"),
        ("anna", date(2023, 2, 1), "absence.count.30d", "as-of date: is 2023-02-01, before the city 'tiny' has any "
         "data: its events begin on 2023-02-01. Give a later day"),
        ("anna", date(2024, 2, 1), "absence.cuont.30d", "column: 'absence.cuont.30d' is no column of these features. "
         "Did you mean 'absence.count.30d'? Columns: absence.count.30d, absence.last.30d, absence.days_since_last.30d, "
         "absence.count.ever, absence.last.ever, absence.days_since_last.ever, age"),
    ],
)  # fmt: skip
def test_what_has_no_answer_is_refused_with_the_reason(city, person, day, column, said):
    with pytest.raises((DataError, SpecError)) as refusal:
        explain_cell(city, [ABSENCE, AGE], person, day, column)
    assert str(refusal.value) == said


def test_a_wrong_person_and_a_wrong_day_are_refused_together_and_the_id_is_never_repeated(city):
    with pytest.raises(DataError) as refusal:
        explain_cell(city, [ABSENCE], "010190-123A", date(2025, 1, 1), "absence.count.30d")
    assert len(refusal.value.faults) == 2
    assert "010190" not in str(refusal.value)


def test_an_age_can_be_asked_before_the_first_event(city):
    assert explain_cell(city, [AGE], "anna", date(2020, 3, 1), "age").value == 14.0
