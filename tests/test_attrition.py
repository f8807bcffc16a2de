"""Where rows were lost, and that the table says no more than how many."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import rows, write_city
from hypothesis import given
from hypothesis import strategies as st
from small_cities import NOBODY, PEOPLE, START, Register, blank_city, city_of, logs

from features.attrition import STEPS, Attrition, Tally, attribute_in_words, censoring_in_words, window_in_words
from features.city import open_city
from features.cohort import cohort_with_attrition
from features.matrix import build_matrix
from features.spec import AttributeRule, CohortSpec, FeatureSpec, LabelSpec
from features.windows import Window

DAYS = {"first": date(2024, 2, 1), "last": date(2024, 3, 2), "every_days": 30}
LABEL = LabelSpec(codes=["status.neet"], horizon_days=60, reporting_delay_days=5, censored_by=["moved_away"])


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return blank_city(tmp_path_factory.mktemp("blank"))


def matrix_of(city, keys, steps, label, objections=NOBODY):
    feature = FeatureSpec(name="a", codes=["a"], windows=["ever"], measures=["count"])
    return build_matrix(
        city, [feature], keys, objections=objections, need_id="test", label=label, attrition=steps
    ).attrition


def test_every_step_is_told_in_words_with_what_it_took_away(tiny_city):
    """anna, bo, cai and dora at 1 February and 2 March 2024; counted by hand."""
    city = open_city(tiny_city)
    spec = CohortSpec(
        age=[16, 40],
        where=[{"attribute": "language", "in": ["fi", "sv"]}],
        washout_days=25,
        without=[{"codes": ["moved_away"], "window": 30}],
        prior_outcome="12mo",
        as_of=DAYS,
    )
    keys, steps = cohort_with_attrition(city, spec, label=LABEL)
    assert keys.rows() == [("anna", date(2024, 2, 1))]
    assert steps.rows() == [
        ("everyone", "everyone in the city at 2 as-of dates", 8, 4, 0),
        ("age", "aged 16 to 40 in whole years", 6, 3, 2),  # nobody knows dora's
        ("where[0]", "language is fi or sv", 4, 2, 2),
        # On 1 February bo's first event was the day before.
        ("washout_days", "known to the city (an event of any kind) for at least 25 days", 3, 2, 1),
        ("without[0]", "no event of moved_away in the 30 days before", 2, 1, 1),
        ("prior_outcome", "no event of the label (status.neet) in the 12 months before", 1, 1, 1),
    ]
    whole = matrix_of(city, keys, steps, LABEL)
    assert whole.head(6).equals(steps)
    assert whole.tail(3).rows() == [
        ("objection", "does not object to the need", 1, 1, 0),
        ("outcome not known", "the 60 days and 5 more for reporting after it lie within the extract", 1, 1, 0),
        (
            "censored",
            "those followed until the outcome was decided, without those who left before (moved_away)",
            1,
            1,
            0,
        ),
    ]


def test_a_ready_made_table_has_an_attrition_table_too(tiny_city):
    city = open_city(tiny_city)
    keys, steps = cohort_with_attrition(city, CohortSpec(table="all"))
    assert steps.rows() == [("table", "rows of the ready-made table 'all'", 3, 3, 0)]
    assert steps.schema == pl.Schema(STEPS)
    whole = matrix_of(city, keys, steps, LABEL, Register("cai"))
    assert whole.drop("rule").rows() == [
        ("table", 3, 3, 0),
        ("objection", 2, 2, 1),
        ("outcome not known", 2, 2, 0),
        ("censored", 1, 1, 1),
    ]
    assert matrix_of(city, keys, None, LABEL).rows()[0] == ("keys", "the rows asked for", 3, 3, 0)


def test_days_that_follow_an_event_begin_with_it(tiny_city):
    spec = CohortSpec(as_of={"on": "school.absence.*", "after_days": 6}, age=[16, 20])
    _, steps = cohort_with_attrition(open_city(tiny_city), spec)
    assert steps.rows() == [
        ("event", "7 days after the city came to know of school.absence.*, by the extract date", 6, 3, 0),
        ("age", "aged 16 to 20 in whole years", 3, 1, 3),
    ]


@given(found=logs, horizon=st.integers(5, 60), how=st.sampled_from(["drop", "negative", "ipcw"]))
def test_the_last_step_leaves_what_has_a_label(blank, found, horizon, how):
    found = [*found, *((who, START, START, "c", None) for who in PEOPLE)]
    known_until = START.date() + timedelta(days=100)
    city = city_of([e for e in found if e[2].date() <= known_until], blank, extract_date=known_until)
    label = LabelSpec(codes=["b.*"], at_most=3, horizon_days=horizon, censored_by=["a"], censoring=how)
    spec = CohortSpec(
        washout_days=3, as_of={"first": START.date(), "last": START.date() + timedelta(days=70), "every_days": 14}
    )
    keys, steps = cohort_with_attrition(city, spec)
    feature = FeatureSpec(name="a", codes=["a"], windows=["ever"], measures=["count"])
    try:
        matrix = build_matrix(city, [feature], keys, objections=NOBODY, need_id="x", label=label, attrition=steps)
    except Exception as refusal:
        assert "label: " in str(refusal)  # nobody has one
        return
    table, known = matrix.attrition, ~np.isnan(matrix.y)
    assert table["rows"][-1] == known.sum()
    assert table["persons"][-1] == matrix.keys.filter(pl.Series(known))["person_id"].n_unique()
    assert table["rows_lost"].to_list() == [0, *(table["rows"].shift(1) - table["rows"]).drop_nulls().to_list()]
    assert table.filter(step="censored")["rows_lost"][0] == (0 if how == "negative" else matrix.censored.sum())


def test_no_id_and_no_day_of_a_person_stands_in_the_table(tmp_path):
    names = [f"zq{number:03}" for number in range(40)]
    at = date(2023, 5, 17)
    persons = [{"person_id": name, "birth_date": date(1999, 3, 4)} for name in names]
    events = rows(
        ("person_id", "event_date", "code"),
        *((name, at + timedelta(days=i % 7), ("a", "b", "c")[i % 3]) for i, name in enumerate(names)),
    )
    city = open_city(write_city(tmp_path / "city", persons, events, toml="extract_date = 2024-12-31\n"))
    label = LabelSpec(codes=["a"], at_most=3, horizon_days=30, censored_by=["c"])
    spec = CohortSpec(washout_days=1, as_of={"on": "b"}, prior_outcome="ever")
    keys, steps = cohort_with_attrition(city, spec, label=label)
    written = matrix_of(city, keys, steps, label)
    assert written["rows"].to_list() == [13] * 6
    text = written.write_csv()
    assert not any(name in text for name in names)
    assert "2023" not in text and "1999" not in text


def test_words_are_plain():
    where = AttributeRule(attribute="district", one_of=["Kallio"])
    assert attribute_in_words(where) == "district is Kallio"
    many = AttributeRule(attribute="district", one_of=[str(i) for i in range(7)])
    assert attribute_in_words(many) == "district is one of 7 values"
    assert [window_in_words(Window.parse(w)) for w in (1, 30, [90, 365], "1mo", "12mo", "ever")] == [
        "in the day before",
        "in the 30 days before",
        "from 365 to 90 days before",
        "in the month before",
        "in the 12 months before",
        "ever before",
    ]
    left = {"codes": ["a"], "horizon_days": 90, "censored_by": ["moved_away", "death"]}
    assert censoring_in_words(LabelSpec(**left, censoring="negative")) == (
        "those followed until the outcome was decided, and those who left before (moved_away, death), who count as "
        "not in need"
    )
    assert censoring_in_words(LabelSpec(**left, censoring="ipcw", min_days_at_risk=30)) == (
        "those followed until the outcome was decided, or for at least 30 days at risk, weighted to stand for those "
        "who left before (moved_away, death)"
    )


def test_a_step_cannot_leave_more_than_there_was():
    table = Attrition().then("everyone", "everyone", 3, 2)
    for n_rows, persons in ((4, 2), (2, 3), (-1, -1)):
        with pytest.raises(ValueError, match="step 'age' leaves"):
            table.then("age", "x", n_rows, persons)


def test_persons_who_come_in_several_pieces_are_counted_once():
    tally = Tally(["all"], 4)
    for piece in ([0, 1], [1, 3], []):
        tally.add("all", np.array(piece, dtype=np.uint32))
    assert tally.table({"all": "everyone"}).steps.rows() == [("all", "everyone", 4, 3, 0)]
