"""The day behind a reason: of the person's own event, in the window, known before the day; as the cell is explained."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from conftest import write_city
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cities import blank_city, city_of, days, keys_of, logs

from features.city import open_city
from features.columns import compute_columns
from features.explanation import explain_cell
from features.keyed_rows import keyed_rows
from features.recount import needs_value
from features.spec import ATTRIBUTE_MEASURES, FeatureSpec
from features.windows import MEASURES
from scoring.reason_events import Behind, EventDays
from scoring.reason_sentences import columns_of

FEATURE = FeatureSpec(
    name="x", codes=["a", "b.*"], windows=[7, (7, 40), "1mo", "ever"], measures=[*MEASURES, "quantile_50", "decay_9d"]
)
COLUMNS = columns_of(FEATURE)


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return blank_city(tmp_path_factory.mktemp("blank") / "city")


@settings(max_examples=60)
@given(logs, st.integers(0, len(COLUMNS) - 1), days, st.sampled_from(["anna", "bo", "cai"]))
def test_the_day_is_one_of_the_events_that_the_explained_cell_counts(blank, found, j, day, who):
    city = city_of(found, blank)
    measure = COLUMNS[j].measure
    told = EventDays(city, keys_of((who, day)), COLUMNS).behind(0, j)
    own = [event for event in found if event[0] == who]
    first = min((at for _, at, *_ in found), default=None)
    if first is None or day <= first.date():  # nothing can be explained of a day before all events
        assert told is None
        return
    cell = explain_cell(city, [FEATURE], who, day, FEATURE.columns()[j])
    counted = [event for event in cell.events if event.counted]
    assert (told is None) == (not counted)
    if told is None:
        return
    known = [
        event
        for event in own
        if event[1].date() == told.day and event[2].date() < day and (event[4] is not None or not needs_value(measure))
    ]
    assert known, "a day of the person's own, known before"
    days_of = [date.fromisoformat(event.event_date[:10]) for event in counted]
    if measure in ("first", "days_since_first"):
        expected = days_of[0]
    elif measure in ("min", "max"):
        extreme = (min if measure == "min" else max)(event.value for event in counted)
        expected = max(at for at, event in zip(days_of, counted, strict=True) if event.value == extreme)
    else:
        expected = days_of[-1]
    alone = {"last", "days_since_last", "first", "days_since_first", "min", "max"}
    assert told == Behind(expected, "latest" if len(counted) > 1 and measure not in alone else "day")


def test_others_days_are_never_looked_at(blank):
    stated = {"purpose": "x", "basis": "x"}
    others = [
        FeatureSpec(name="h", codes=["a"], windows=["ever"], measures=["count"], of="household", **stated),
        FeatureSpec(name="d", codes=["a"], windows=["ever"], measures=["rate"], of="district", **stated),
        FeatureSpec(attribute="age"),
    ]
    at = datetime(2024, 1, 5)
    city = city_of([("anna", at, at, "a", 1.0)], blank)
    columns = [column for feature in others for column in columns_of(feature)]
    found = EventDays(city, keys_of(("anna", date(2024, 2, 1))), columns)
    assert [found.behind(0, j) for j in range(len(columns))] == [None] * 3


def test_what_became_known_late_lends_no_day(blank):
    at = datetime(2024, 1, 5)
    found = [
        ("anna", at, at + timedelta(days=3), "a", None),
        ("anna", at + timedelta(days=1), at + timedelta(days=9), "a", None),
    ]
    city, counts = city_of(found, blank), columns_of(FEATURE)
    j = FEATURE.columns().index("x.count.ever")
    days_of = [EventDays(city, keys_of(("anna", date(2024, 1, 1 + d))), counts).behind(0, j) for d in (6, 8, 14)]
    assert days_of == [None, Behind(date(2024, 1, 5), "day"), Behind(date(2024, 1, 6), "latest")]


def test_a_part_of_a_city_gives_the_same_days(blank):
    at = datetime(2024, 1, 5)
    city = city_of(
        [(who, at + timedelta(days=n), at + timedelta(days=n), "a", 1.0) for n, who in enumerate(["anna", "bo"])], blank
    )
    keys = keys_of(("bo", date(2024, 2, 1)))
    of_part = EventDays(city.only(["bo"]), keys, COLUMNS)
    of_whole = EventDays(city, keys, COLUMNS)
    assert [of_part.behind(0, j) for j in range(len(COLUMNS))] == [of_whole.behind(0, j) for j in range(len(COLUMNS))]


def test_a_count_and_its_day_agree(blank):
    at = datetime(2024, 1, 5)
    city = city_of([("anna", at, at, "a", 1.0)], blank)
    keys = keys_of(("anna", date(2024, 2, 1)))
    X = compute_columns(city, [FEATURE], keyed_rows(city, keys))
    found = EventDays(city, keys, COLUMNS)
    for j, name in enumerate(FEATURE.columns()):
        if ".count." in name:
            assert (X[0, j] > 0) == (found.behind(0, j) is not None)


def test_an_attribute_says_since_when_as_the_city_then_knew_it(tmp_path):
    """By the entries known before the day; never of age, of what never changes, or where no value stands."""
    told = [
        ("home", "Kallio", "2024-01-01", "2024-01-01"),
        ("home", "Vuosaari", "2024-02-01", "2024-03-01"),
        ("home", "Vuosaari", "2024-04-01", "2024-04-01"),
        ("home", None, "2024-05-01", "2024-05-01"),
    ]
    history = pl.DataFrame(
        [("anna", *row) for row in told],
        schema=["person_id", "attribute", "value", "from_date", "knowledge_date"],
        orient="row",
    ).with_columns(pl.col("from_date", "knowledge_date").str.to_date())
    persons = pl.DataFrame({"person_id": ["anna", "bo"], "birth_date": [date(2000, 1, 1)] * 2, "born_in": ["x", "y"]})
    toml = 'extract_date = 2024-12-31\n[persons]\nfixed = ["born_in"]'
    event = [{"person_id": "anna", "event_date": datetime(2024, 1, 1), "code": "a"}]
    city = open_city(write_city(tmp_path / "city", persons, event, history=history, toml=toml))
    home = FeatureSpec(attribute="home", categories=["Kallio", "Vuosaari"], measures=ATTRIBUTE_MEASURES)
    fixed = FeatureSpec(attribute="born_in", categories=["x", "y"])
    columns = [column for spec in (home, FeatureSpec(attribute="age"), fixed) for column in columns_of(spec)]
    on = [date(2024, 2, 15), date(2024, 3, 2), date(2024, 4, 15), date(2024, 5, 2)]
    found = EventDays(city, keys_of(*(("anna", day) for day in on), ("bo", on[0])), columns)
    since = [Behind(date(2024, 1, 1), "since"), *[Behind(date(2024, 2, 1), "since")] * 2, None, None]
    for j in range(3):
        assert [found.behind(i, j) for i in range(5)] == since
    assert [found.behind(0, j) for j in (3, 4)] == [None, None]
