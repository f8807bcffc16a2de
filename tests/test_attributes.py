"""Attributes as features: what the city held before the day, and how often and how long ago it changed."""

import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import write_city
from hypothesis import given
from hypothesis import strategies as st

from features.attributes import attribute_on
from features.city import DataError, city_from_frames, open_city
from features.matrix import build_matrix
from features.spec import FeatureSpec

START = date(2024, 1, 1)
PEOPLE = ("anna", "bo", "cai")
VALUES = (None, "2", " 3.5", "many", "1e300", "inf", "-4")
CHANGES = ["months_since_change", "n_changes"]
ROOMS = [FeatureSpec(attribute="rooms"), FeatureSpec(attribute="district", categories=["2", "many"], measures=CHANGES)]

# Few days, month ends among them, so that something often begins or becomes known on the as-of date itself.
days = st.sampled_from([0, 1, 29, 30, 31, 58, 59, 60, 90, 200, 365, 366, 400]).map(lambda d: START + timedelta(days=d))
names = st.sampled_from(["rooms", "district"])
histories = st.lists(
    st.tuples(st.sampled_from(PEOPLE), names, st.sampled_from(VALUES), days, st.integers(-30, 90)).map(
        lambda r: (*r[:4], r[3] + timedelta(days=r[4]))
    ),
    max_size=14,
)


class Nobody:
    def objecting(self, person_ids, need_id):
        return np.zeros(len(person_ids), dtype=bool)


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    people = [{"person_id": who, "birth_date": date(2000, 1, 1), "language": "fi", "grade": "8"} for who in PEOPLE]
    toml = 'extract_date = 2026-12-31\n[persons]\nfixed = ["language", "grade"]\n'
    events = [{"person_id": "anna", "event_date": datetime(2024, 1, 1), "code": "a"}]
    return open_city(write_city(tmp_path_factory.mktemp("blank"), people, events, toml=toml))


def city_of(history, blank, **fixed):
    persons = blank.persons.with_columns(**{name: pl.Series(values) for name, values in fixed.items()})
    city = city_from_frames(
        persons, pl.DataFrame(schema={"person_id": pl.String, "event_date": pl.Date, "code": pl.String}), like=blank
    )
    held = {"from_date": pl.Date, "knowledge_date": pl.Date}
    schema = {"person_id": pl.String, "attribute": pl.String, "value": pl.String, **held}
    frame = pl.DataFrame(history, schema=schema, orient="row").with_columns(pl.col(*held).cast(pl.Datetime("us")))
    return replace(city, history=frame)


def matrix_of(city, features, *on):
    keys = pl.DataFrame(
        [(who, day) for who in PEOPLE for day in on],
        schema={"person_id": pl.String, "as_of_date": pl.Date},
        orient="row",
    )
    return build_matrix(city, features, keys, objections=Nobody(), need_id="test")


def values_held(history, who, name, day):
    """(beginning, value) of what the city then believed, earliest first; the last known word about each beginning."""
    known = [
        (begins, known, value is not None, value or "")
        for person, what, value, begins, known in history
        if (person, what) == (who, name) and begins < day and known < day
    ]
    last = {begins: value if there else None for begins, _, there, value in sorted(known)}
    return sorted(last.items())


def months_between(start, stop):
    return max(m for m in range(-1, 100) if add_months(start, m) <= (stop.year, stop.month, stop.day))


def add_months(day, months):
    """The day so many months on, as (year, month, day), where a short month may not have it: then it is after it."""
    month = day.year * 12 + day.month - 1 + months
    return month // 12, month % 12 + 1, day.day


def as_number(text):
    try:
        number = float(np.float32(text))
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


@pytest.mark.filterwarnings("ignore:overflow")
@given(history=histories, on=st.lists(days, min_size=1, max_size=3, unique=True))
def test_every_cell_agrees_with_the_oracle(blank, history, on):
    # A number and a district of nobody's time, so that both attributes exist.
    history = [*history, *(("anna", name, "2", date(2030, 1, 1), date(2030, 1, 1)) for name in ("rooms", "district"))]
    matrix = matrix_of(city_of(history, blank), ROOMS, *on)
    assert matrix.names == ("rooms", "district", "district.months_since_change", "district.n_changes")
    for (who, day), cells in zip(matrix.keys.rows(), matrix.X, strict=True):
        rooms, held = (values_held(history, who, name, day) for name in ("rooms", "district"))
        changes = [begins for i, (begins, value) in enumerate(held) if i == 0 or held[i - 1][1] != value]
        expected = [
            as_number(rooms[-1][1]) if rooms else math.nan,
            {"2": 0.0, "many": 1.0}.get(held[-1][1] if held else None, math.nan),
            months_between(changes[-1], day) if changes else math.nan,
            max(len(changes) - 1, 0),
        ]
        np.testing.assert_array_equal(cells, np.array(expected, dtype=np.float32))


@given(history=histories, on=days, random=st.randoms(use_true_random=False))
def test_one_reading_of_an_attribute_serves_lists_and_features(blank, history, on, random):
    city = city_of(random.sample(history, len(history)), blank)
    found = attribute_on(city, "rooms", on)
    held = {who: values_held(history, who, "rooms", on) for who in PEOPLE}
    if not any(name == "rooms" for _, name, *_ in history):
        assert found is None
    else:
        assert dict(found.rows()) == {who: values[-1][1] for who, values in held.items() if values}


@pytest.mark.parametrize(
    ("moved", "on", "months"),
    [
        (date(2024, 1, 31), date(2024, 2, 28), 0),
        (date(2024, 1, 31), date(2024, 2, 29), 0),
        (date(2024, 1, 31), date(2024, 3, 1), 1),
        (date(2024, 2, 29), date(2025, 2, 28), 11),
        (date(2024, 2, 29), date(2025, 3, 1), 12),
        (date(2024, 1, 15), date(2024, 1, 15), math.nan),  # some time that day, so not before it
        (date(2024, 1, 15), date(2024, 1, 16), 0),
        (date(2023, 12, 15), date(2024, 12, 15), 12),
    ],
)
def test_months_are_calendar_months(blank, moved, on, months):
    history = [("anna", "district", "Kallio", moved, moved)]
    feature = FeatureSpec(attribute="district", measures=CHANGES)
    matrix = matrix_of(city_of(history, blank), [feature], on)
    np.testing.assert_array_equal(matrix.X, np.array([[months, 0], [np.nan, 0], [np.nan, 0]], dtype=np.float32))


def test_a_move_counts_from_when_the_city_knew(tiny_city):
    """Anna moved on 15 January, which became known during 5 February."""
    city, feature = open_city(tiny_city), FeatureSpec(attribute="district", categories=["Kallio"], measures=CHANGES)
    keys = pl.DataFrame({"person_id": ["anna"] * 2, "as_of_date": [date(2024, 2, 5), date(2024, 2, 6)]})
    X = build_matrix(city, [feature], keys, objections=Nobody(), need_id="test").X
    np.testing.assert_array_equal(X, np.array([[0, 49, 0], [np.nan, 0, 1]], dtype=np.float32))


def test_fixed_columns_are_numbers_or_places_in_a_list(blank):
    city = city_of([], blank, grade=["8", None, "none yet"], language=["sv", "fi", "et"])
    features = [FeatureSpec(attribute="grade"), FeatureSpec(attribute="language", categories=["fi", "sv"])]
    np.testing.assert_array_equal(
        matrix_of(city, features, START).X, np.array([[8, 1], [np.nan, 0], [np.nan, np.nan]], dtype=np.float32)
    )


def test_what_the_city_does_not_have_is_refused_all_at_once(blank):
    city = city_of([("anna", "district", "Kallio", START, START)], blank)
    city = replace(city, persons=city.persons.drop("birth_date"))
    features = [
        FeatureSpec(attribute="age"),
        FeatureSpec(attribute="distrikt", categories=["Kallio"]),
        FeatureSpec(attribute="district"),
        FeatureSpec(attribute="grade", measures=["n_changes"]),
        FeatureSpec(attribute="language_group"),
    ]
    with pytest.raises(DataError) as caught:
        matrix_of(city, features, START)
    allowed = "Allowed: age, district, grade, language"
    assert str(caught.value).splitlines() == [
        "persons: age is asked for, and the city's persons have no birth_date. "
        "Add the column, or leave age out of the need",
        "features 'distrikt'.attribute: 'distrikt' is neither a fixed column of persons nor in history. "
        f"Did you mean 'district'? {allowed}",
        "features 'district'.attribute: no value of 'district' is a number. "
        'List its values: categories = ["…", "…"]',
        "features 'grade'.attribute: 'grade' is a fixed column of persons, so it has no changes to measure. "
        "Leave measures out, or let history say how it changes",
        "features 'language_group'.attribute: 'language_group' is neither a fixed column of persons nor in history. "
        f"Did you mean 'language'? {allowed}",
    ]


def test_audit_groups_are_no_attribute(tmp_path):
    people, events = [{"person_id": "anna"}], [{"person_id": "anna", "event_date": START, "code": "a"}]
    groups = [{"person_id": "anna", "sex": "female"}]
    city = open_city(write_city(tmp_path, people, events, groups=groups))
    keys = pl.DataFrame({"person_id": ["anna"], "as_of_date": [START]})
    with pytest.raises(DataError, match="'sex' is neither a fixed column of persons nor in history"):
        build_matrix(
            city, [FeatureSpec(attribute="sex", categories=["female"])], keys, objections=Nobody(), need_id="x"
        )
