"""Reasons: what contributed, in words, with values; only what the reader may see; nothing about other individuals."""

import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_world import RULE_NEED, World

from ethics.refusals import BadInput
from features.spec import ATTRIBUTE_MEASURES, FeatureSpec
from features.windows import MEASURES
from scoring.pages import render_page
from scoring.reasons import (
    FEWEST_FOR_TYPICAL,
    MOST_REASONS,
    Explainer,
    Reason,
    Typical,
    Words,
    explain,
    placeholders,
    source_of,
)

EVERY_MEASURE = (*MEASURES, "decay_180d", "quantile_90")
EVERY_WINDOW = (1, 90, (90, 365), "1mo", "12mo", "ever")
SAID = {
    1: "in the last day",
    90: "in the last 90 days",
    (90, 365): "between 90 and 365 days ago",
    "1mo": "in the last month",
    "12mo": "in the last 12 months",
    "ever": "on record",
}
MESSAGES = Path(__file__).resolve().parent.parent / "scoring" / "messages"
HIDDEN = Reason("information you may not see contributed", None, None)


def feature(name, plain, *, measures=("count",), windows=(90,), **more):
    texts = {"fi": "suomeksi", "sv": "på svenska", "en": plain}
    return FeatureSpec(name=name, codes=[name], windows=windows, measures=measures, plain=texts, **more)


def of(plain, measure):
    return feature("x", plain, measures=(measure,))


def need_of(*features, service="youth-work", order=()):
    columns = tuple(column for spec in features for column in spec.columns())
    return SimpleNamespace(features=features, columns=columns, service=service, order=order)


def sentence(spec, value, typical=float("nan")):
    """The sentence about the first column of a feature."""
    need = need_of(spec)
    typicals = Typical(dict.fromkeys(need.columns, typical))
    values = np.full(len(need.columns), value, dtype=np.float32)
    contributions = np.zeros(len(need.columns))
    contributions[0] = 1.0
    (reason,) = Explainer(need, typicals, "youth-work").of_contributions(values, contributions)
    return reason.text


ABSENCES = feature("absence", "absences from school")
LATEST = feature("visit", "homepage visits", measures=("days_since_last",), windows=("ever",))
PRESSURE = feature("pressure", "blood pressure reading", measures=("last",), windows=("ever",))
TREND = feature("x", "grades", measures=("trend",), windows=("ever",))
LATEST_IN_BAND = feature("visit", "homepage visits", measures=("days_since_last",), windows=((90, 365),))
STATED = {"purpose": "to test", "basis": "none: invented"}
DISTRICT = feature("evicted", "evictions", measures=("rate",), windows=("ever",), of="district", **STATED)
HOUSEHOLD = feature("of_others", "absences of others", of="household", source="school register", **STATED)


def attribute(name, plain, **more):
    return FeatureSpec(attribute=name, plain={"fi": "suomeksi", "sv": "på svenska", "en": plain}, **more)


HOME = attribute("district", "home", categories=("Kallio", "Vuosaari"))
MOVES = attribute("district", "home", measures=("months_since_change",))
N_MOVES = attribute("district", "home", measures=("n_changes",))
INCOME = attribute("income", "income")
AGE = FeatureSpec(attribute="age", plain={"fi": "ikä", "sv": "ålder", "en": "age"})


@pytest.mark.parametrize(
    ("spec", "value", "typical", "text"),
    [
        (ABSENCES, 12, 1, "absences from school: 12 in the last 90 days (typical here: 1)"),
        (ABSENCES, 0, 3, "absences from school: none in the last 90 days (typical here: 3)"),
        (ABSENCES, 1234, np.nan, "absences from school: 1,234 in the last 90 days"),
        (feature("a", "calls", windows=(1,)), 2, np.nan, "calls: 2 in the last day"),
        (feature("a", "calls", windows=("ever",)), 2, 0, "calls: 2 on record (typical here: none)"),
        (LATEST, 41, 3, "homepage visits: the latest was 41 days ago (typical here: 3 days)"),
        (LATEST, 1, 1, "homepage visits: the latest was 1 day ago (typical here: 1 day)"),
        (LATEST, 0, np.nan, "homepage visits: the latest was less than a day ago"),
        (LATEST, np.nan, 3, "homepage visits: none on record"),
        (PRESSURE, 168.4, 128.2, "last blood pressure reading: 168 (typical here: 128)"),
        (PRESSURE, 7.44, 7.25, "last blood pressure reading: 7.44 (typical here: 7.25)"),
        (PRESSURE, np.nan, 128, "blood pressure reading: no values on record"),
        (of("grades", "mean"), 7.25, 8, "grades: 7.25 on average in the last 90 days (typical here: 8)"),
        (of("grades", "min"), 4, 6, "grades: 4 at the lowest in the last 90 days (typical here: 6)"),
        (of("grades", "max"), 9, 8, "grades: 9 at the highest in the last 90 days (typical here: 8)"),
        (of("clicks", "sum"), 5678.4, 900, "clicks: 5,678 in total in the last 90 days (typical here: 900)"),
        (of("clicks", "n_values"), 1, 4, "clicks: 1 value in the last 90 days (typical here: 4)"),
        (of("clicks", "n_values"), 0, 4, "clicks: no values in the last 90 days (typical here: 4)"),
        (of("grades", "std"), 1.25, np.nan, "grades: vary by about 1.25 around their average in the last 90 days"),
        (of("grades", "std"), 0, np.nan, "grades: all alike in the last 90 days"),
        (of("grades", "std"), np.nan, 1, "grades: too few values to compare in the last 90 days"),
        (TREND, 0.5, -0.1, "grades: rising by 15 in 30 days, on record (typical here: falling by 3)"),
        (TREND, -0.5, 0, "grades: falling by 15 in 30 days, on record (typical here: neither)"),
        (TREND, 0, 0.1, "grades: neither rising nor falling on record (typical here: rising by 3)"),
        (TREND, np.nan, 0, "grades: too few values to tell a direction on record"),
        (of("grade", "first"), 7.5, 8, "first grade in the last 90 days: 7.5 (typical here: 8)"),
        (of("calls", "days_since_first"), 80, np.nan, "calls: the first in the last 90 days was 80 days ago"),
        (of("visits", "distinct_days"), 1, 4, "visits: on 1 day in the last 90 days (typical here: 4)"),
        (of("visits", "distinct_codes"), 3, 1, "visits: 3 different kinds in the last 90 days (typical here: 1)"),
        (of("calls", "decay_30d"), 2.345, np.nan, "calls: 2.35 in the last 90 days, where one 30 days old counts half"),
        (of("grades", "median"), 7, 8, "grades: the middle of the values in the last 90 days is 7 (typical here: 8)"),
        (of("grades", "quantile_90"), 9, 8, "grades: the 90 % point of the values in the last 90 days is 9 "
         "(typical here: 8)"),
        (feature("a", "calls", windows=((90, 365),)), 2, 1, "calls: 2 between 90 and 365 days ago (typical here: 1)"),
        (feature("a", "calls", windows=("12mo",)), 2, 0, "calls: 2 in the last 12 months (typical here: none)"),
        (LATEST_IN_BAND, 120, np.nan, "homepage visits: the latest between 90 and 365 days ago was 120 days ago"),
        (DISTRICT, 0.0123, np.nan, "where the person lives: evictions, 12.3 for every 1,000 residents on record"),
        (DISTRICT, 0, 0.01, "where the person lives: evictions, none on record (typical here: 10)"),
        (DISTRICT, np.nan, 0.01, "where the person lives: evictions, not known on record"),
        (HOME, 1, np.nan, "home: Vuosaari"),
        (HOME, np.nan, 0, "home: not on record, or none of those listed"),
        (INCOME, 1234.5, 2000, "income: 1,234 (typical here: 2,000)"),
        (MOVES, 7.9, 3, "home: the same for 7 months, as far as the city knows (typical here: 3 months)"),
        (MOVES, 0.4, 1, "home: the same for less than a month, as far as the city knows (typical here: 1 month)"),
        (MOVES, np.nan, 1, "home: not on record"),
        (N_MOVES, 1, 2, "home: changed once on record (typical here: 2)"),
        (N_MOVES, 0, 2, "home: no change on record (typical here: 2)"),
        (AGE, 17.93, 22.5, "17 years old (typical here: 22)"),
        (AGE, np.nan, 22.5, "age: not on record"),
    ],
)  # fmt: skip
def test_a_value_becomes_a_sentence_that_can_be_checked(spec, value, typical, text):
    assert sentence(spec, value, typical) == text


def test_every_language_has_the_same_keys():
    languages = {path.stem: Words(tomllib.loads(path.read_text("utf-8"))).texts for path in MESSAGES.glob("*.toml")}
    english = languages["en"]
    for texts in languages.values():
        assert {key: placeholders(text) for key, text in texts.items()} == {
            key: placeholders(text) for key, text in english.items()
        }


@pytest.mark.parametrize("measure", EVERY_MEASURE)
@pytest.mark.parametrize("window", EVERY_WINDOW, ids=str)
def test_every_measure_over_every_window_has_sentences_of_its_own(measure, window):
    spec = feature("register_code", "events", measures=(measure,), windows=(window,))
    (column,) = spec.columns()
    for value in (np.nan, -2.5, 0.0, 1.0, 2.0, 40.25):
        text = sentence(spec, value, 3.0)
        assert "events" in text
        assert column not in text and "register" not in text and "nan" not in text and "{" not in text
        # Only the latest of all needs no window, and in a band even that does: there may be a later one.
        if measure not in ("last", "days_since_last") or window == (90, 365):
            assert SAID[window] in text


@pytest.mark.parametrize("measure", ATTRIBUTE_MEASURES)
@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0, 17.0])
def test_every_measure_of_an_attribute_has_sentences(measure, value):
    text = sentence(attribute("district", "home", measures=(measure,)), value, 3.0)
    assert text.startswith("home: ") and "district" not in text and measure not in text


@given(st.sampled_from(EVERY_MEASURE), st.floats(allow_infinity=False, width=32, min_value=-1e7, max_value=1e7))
def test_no_value_of_any_measure_breaks_a_sentence(measure, value):
    text = sentence(feature("x", "events", measures=(measure,), windows=("ever",)), value, 3.0)
    assert "events" in text
    assert "nan" not in text
    assert "{" not in text


def test_of_a_household_it_is_said_once_that_it_contributed_and_nothing_else():
    other = feature("more", "visits of others", of="household", visible_to=("youth-work",), **STATED)
    need = need_of(HOUSEHOLD, other, ABSENCES)
    typical = Typical(dict.fromkeys(need.columns, 1.0))
    values, contributions = np.array([7, 9, 5], np.float32), np.array([0.4, 0.3, 0.1])
    told = Explainer(need, typical, "youth-work").of_contributions(values, contributions)
    assert told[0] == Reason("information about the household contributed", None, None)
    assert [reason.text for reason in told[1:]] == ["absences from school: 5 in the last 90 days (typical here: 1)"]
    assert source_of(told[0]) == ""
    # Where it lowers the place, not even that is said of others.
    assert Explainer(need, typical, "youth-work").of_contributions(values, -contributions)[0] == told[0]


def test_the_columns_explained_are_those_of_the_matrix_in_its_order():
    both = attribute("district", "home", categories=("Kallio", "Vuosaari"), measures=ATTRIBUTE_MEASURES)
    need = need_of(feature("a", "a", measures=EVERY_MEASURE, windows=EVERY_WINDOW), both, AGE, INCOME)
    columns = Explainer(need, Typical({}), "x").columns
    assert len(columns) == len(need.columns)
    named = [
        (column.measure.split("_")[0] if column.number else column.measure, column.window and column.window.label)
        for column in columns
    ]
    parts = [name.split(".") for name in need.columns[: -len(both.columns()) - 2]]
    expected = [("decay" if "decay" in m else "quantile" if "quantile" in m else m, label) for _, m, label in parts]
    assert named == [
        *expected,
        ("category", None),
        ("months_since_change", None),
        ("n_changes", None),
        ("age", None),
        ("attribute", None),
    ]


def test_reasons_are_grouped_by_feature_and_the_strongest_come_first():
    spec = feature("absence", "absences", windows=(30, 90), measures=("count",))
    need = need_of(spec, PRESSURE, AGE)
    typical = Typical(dict.fromkeys(need.columns, float("nan")))
    values = np.array([2, 9, 150, 17], dtype=np.float32)
    reasons = Explainer(need, typical, "youth-work").of_contributions(values, np.array([0.2, 0.4, 0.5, -0.9]))
    # 0.2 + 0.4 beats 0.5; the sentence speaks of the stronger window; what lowers the place is not told.
    assert [reason.text for reason in reasons] == [
        "absences: 9 in the last 90 days",
        "last blood pressure reading: 150",
    ]


def test_where_nothing_raises_the_place_it_is_said_what_lowers_it():
    need = need_of(ABSENCES, AGE)
    typical = Typical(dict.fromkeys(need.columns, float("nan")))
    reasons = Explainer(need, typical, "x").of_contributions(np.array([0, 17], np.float32), np.array([-0.9, -0.1]))
    assert [reason.text for reason in reasons] == [
        "absences from school: none in the last 90 days (this lowers the place on the list)",
        "17 years old (this lowers the place on the list)",
    ]
    assert Explainer(need, typical, "x").of_contributions(np.zeros(2, np.float32), np.zeros(2)) == []


def test_what_the_reader_may_not_see_is_said_once_and_names_nothing():
    closed = [feature(name, f"secret {name}", visible_to=("clinic",), source="health register") for name in "abc"]
    need = need_of(*closed, ABSENCES)
    typical = Typical(dict.fromkeys(need.columns, float("nan")))
    values, contributions = np.array([3, 3, 3, 5], np.float32), np.array([0.4, 0.3, 0.2, 0.1])
    told = Explainer(need, typical, "north").of_contributions(values, contributions)
    # Last, although it is the strongest: its place would tell its size.
    assert told == [Reason("absences from school: 5 in the last 90 days", None, False), HIDDEN]
    clinic = Explainer(need, typical, "clinic").of_contributions(values, contributions)
    assert [reason.text for reason in clinic][:2] == [f"secret {n}: 3 in the last 90 days" for n in "ab"]
    service = need_of(feature("a", "own", visible_to=("youth-work",)))
    (own,) = Explainer(service, Typical({"a.count.90d": np.nan}), "north").of_contributions(
        values[:1], contributions[:1]
    )
    assert own.text == "own: 3 in the last 90 days"


def test_there_are_never_more_than_four():
    need = need_of(*(feature(name, name) for name in "abcdefg"))
    typical = Typical(dict.fromkeys(need.columns, float("nan")))
    reasons = Explainer(need, typical, "x").of_contributions(np.ones(7, np.float32), np.arange(1.0, 8.0))
    assert [reason.text[0] for reason in reasons] == list("gfed")
    assert len(reasons) == MOST_REASONS


def test_typical_is_the_median_and_is_kept_quiet_when_few_stand_behind_it():
    X = np.full((FEWEST_FOR_TYPICAL, 2), np.nan, dtype=np.float32)
    X[:, 0] = np.arange(FEWEST_FOR_TYPICAL)
    X[1:, 1] = 7.0
    typical = Typical.of(SimpleNamespace(X=X, names=("many", "few")))
    assert typical.medians["many"] == (FEWEST_FOR_TYPICAL - 1) / 2
    assert np.isnan(typical.medians["few"])


def test_a_language_that_is_not_built_is_refused():
    with pytest.raises(BadInput, match=r"language: not built yet: 'se'\. Built: en, fi, sv"):
        Words.of("se")


def test_source_and_changeability_are_said_in_words():
    assert source_of(Reason("x", "school register", True)) == "school register\xa0· can be changed"
    assert source_of(Reason("x", None, False)) == "cannot be changed"
    assert source_of(HIDDEN) == ""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def test_contributions_of_a_trained_model_add_up_and_become_reasons(world):
    scores = world.score()
    typical = Typical.of(scores.matrix)
    rows = scores.frame["row"].head(10).to_list()
    reasons, max_error = explain(world.model, scores.matrix, rows, typical, reader="youth-work")
    assert max_error < 1e-9
    assert len(reasons) == 10
    for row, told in zip(rows, reasons):
        assert 1 <= len(told) <= MOST_REASONS
        count = int(scores.matrix.X[row, scores.matrix.names.index("absence.count.ever")])
        for reason in told:
            assert reason == HIDDEN or reason.source in {"school register", "population register"}
            if (
                reason.text.startswith("absences from school")
                and "on record" in reason.text
                and "none" not in reason.text
            ):
                assert f": {count} on record" in reason.text


def test_the_first_on_the_list_is_told_of_more_absences_than_typical(world):
    scores = world.score()
    reasons, _ = explain(
        world.model, scores.matrix, [scores.frame["row"][0]], Typical.of(scores.matrix), reader="youth-work"
    )
    assert reasons[0][0].source == "school register"


def test_alone_and_in_a_cohort_the_reasons_are_the_same(world):
    whole = world.score()
    typical = Typical.of(whole.matrix)
    for person_id in whole.frame["person_id"].gather_every(300):
        alone = world.score(person_id)
        row = int(whole.frame.filter(whole.frame["person_id"] == person_id)["row"][0])
        assert explain(world.model, alone.matrix, [0], typical, reader="x") == explain(
            world.model, whole.matrix, [row], typical, reader="x"
        )


def test_a_rule_explains_itself_by_the_columns_of_its_order(tmp_path):
    world = World(tmp_path, need_text=RULE_NEED, need_id="youth_rule")
    scores = world.score()
    typical = Typical.of(scores.matrix)
    row = scores.frame.row(0, named=True)["row"]
    (told,), max_error = explain(world.model, scores.matrix, [row], typical, reader="youth-work")
    count = int(scores.matrix.X[row, scores.matrix.names.index("absence.count.90d")])
    assert max_error == 0.0
    assert told[0].text.startswith(f"absences from school: {count} in the last 90 days (typical here: ")
    assert told[1] == HIDDEN
    assert told[2].text.endswith(f"(typical here: {int(typical.medians['age'])})")


def test_the_page_says_whom_to_ask_and_how_many_are_expected_to_be_reached(world):
    listed = world.list()  # 2 workers with 10 attempts each, of which half reach somebody
    text = render_page(listed, listed.parts[0])
    said = "Attempts: 20, one for each person listed; people expected to be reached: about 10."
    assert said in text
    assert (
        "Head of youth work, head@example.invalid, +358 9 000; in their absence Deputy, deputy@example.invalid, "
        "+358 9 001." in text
    )
    part = replace(listed.parts[0], rows=())
    assert "expected to be reached" not in render_page(replace(listed, parts=(part,)), part)


def test_what_is_as_it_is_with_most_people_is_no_reason_unless_nothing_else_is():
    need = need_of(
        feature("absence", "absences", windows=(30, 365)), feature("visits", "visits"), feature("grade", "grades")
    )
    typical = Typical(dict(zip(need.columns, (0.0, 3.0, 2.0, 1.0), strict=True)))
    told = Explainer(need, typical, "youth-work")
    contributions = np.array([0.9, 0.1, 0.5, 0.4])
    texts = [reason.text for reason in told.of_contributions(np.array([0, 9, 2, 4], np.float32), contributions)]
    # The last 30 days say nothing (none, as with most), so the year speaks for absences; visits are as usual.
    assert texts == [
        "absences: 9 in the last 365 days (typical here: 3)",
        "grades: 4 in the last 90 days (typical here: 1)",
    ]
    usual = told.of_contributions(np.array([0, 3, 2, 1], np.float32), contributions)
    assert len(usual) == 3, "somebody with nothing unusual still has a reason to read"
