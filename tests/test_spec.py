from datetime import date

import pytest
from pydantic import BaseModel

from ethics.refusals import parse_toml
from features.spec import (
    MEASURES,
    AttributeRule,
    CohortSpec,
    FeatureSpec,
    IndicatorSpec,
    LabelSpec,
    SpecError,
    Window,
    column_names,
    require_built,
)

DATES = {"first": date(2024, 1, 1), "last": date(2024, 6, 1), "every_days": 30}
WINDOW_MEND = "Give at least 1 day, and in a band the nearer end first: [90, 365]"


def refusal(make):
    with pytest.raises(SpecError) as caught:
        make()
    return str(caught.value)


def test_every_measure_and_window_of_the_contracts_is_recognised():
    feature = FeatureSpec(
        name="absence",
        codes=["school.absence.*"],
        windows=[30, [90, 365], "12mo", "ever"],
        measures=[*MEASURES, "decay_180d", "quantile_90"],
    )
    assert len(feature.columns()) == 4 * (len(MEASURES) + 2)
    assert {
        "absence.count.30d",
        "absence.mean.90d_365d",
        "absence.count.12mo",
        "absence.decay_180d.ever",
        "absence.quantile_90.12mo",
    } <= set(feature.columns())


def test_columns_stand_in_the_order_of_the_file():
    feature = FeatureSpec(name="absence", codes=["a"], windows=["ever", 30], measures=["sum", "count"])
    assert feature.columns() == (
        "absence.sum.ever",
        "absence.count.ever",
        "absence.sum.30d",
        "absence.count.30d",
    )
    assert column_names([FeatureSpec(attribute="age"), feature])[0] == "age"


def test_a_band_that_begins_today_is_a_plain_window():
    assert Window.parse([0, 30]) == Window.parse(30)


def test_an_impossible_feature_is_refused_with_everything_that_is_wrong():
    assert refusal(
        lambda: FeatureSpec(
            name="abs:ence",
            codes=["a.*b", ""],
            windows=[0, [90, 30], "12m", True],
            measures=["cuont", "decay_0d", 3],
            codez=["a"],
        )
    ).splitlines() == [
        "features: name: is 'abs:ence': not a name for a column. "
        "Use letters a–z, digits and _, beginning with a letter",
        "features: codes[0]: is 'a.*b': a star may only end a code. "
        "Write 'care.psychiatry.*' for every code beginning so",
        "features: codes[1]: is '': not a code. Give the code as the event log writes it, without blanks around it",
        f"features: windows[0]: is 0: no day lies in it. {WINDOW_MEND}",
        f"features: windows[1]: is [90, 30]: no day lies in it. {WINDOW_MEND}",
        "features: windows[2]: is '12m': not a window. "
        'Give days (30), a band of days ([90, 365]), months ("12mo") or "ever"',
        "features: windows[3]: is True: not a window. "
        'Give days (30), a band of days ([90, 365]), months ("12mo") or "ever"',
        "features: measures[0]: is 'cuont': unknown measure. Did you mean 'count'? Allowed: count, days_since_first, "
        "days_since_last, decay_<n>d, distinct_codes, distinct_days, first, last, max, mean, median, min, "
        "months_since_change, n_changes, n_values, quantile_<p>, rate, std, sum, trend",
        "features: measures[1]: is 'decay_0d': unknown measure. Did you mean 'decay_<n>d'? Allowed: count, "
        "days_since_first, days_since_last, decay_<n>d, distinct_codes, distinct_days, first, last, max, mean, median, "
        "min, months_since_change, n_changes, n_values, quantile_<p>, rate, std, sum, trend",
        "features: measures[2]: is 3: not text. Put it in quotes",
        "features: codez: is not a key here. Did you mean 'codes'? Allowed: attribute, basis, categories, changeable, "
        "codes, measures, name, of, plain, purpose, source, special_category, visible_to, windows",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"attribute": "age", "codes": ["a"]},
            "features: attribute 'age' stands beside codes. Give attribute alone, or codes, windows and measures",
        ),
        (
            {"attribute": "age", "name": "years"},
            "features: attribute 'age' stands beside name. Give attribute alone, or codes, windows and measures",
        ),
        (
            {"name": "absence", "codes": ["a"]},
            "features: feature 'absence' has no windows, measures. "
            "Give codes, windows and measures, or attribute alone",
        ),
        (
            {"name": "absence", "codes": ["a"], "windows": [30, [0, 30]], "measures": ["sum"]},
            "features: windows: is [30, [0, 30]]: 30d is given twice, so two columns would have one name. "
            "Give each once",
        ),
        (
            {"name": "absence", "codes": ["a"], "windows": [30], "measures": ["sum", "sum"]},
            "features: measures: is ['sum', 'sum']: sum is given twice, so two columns would have one name. "
            "Give each once",
        ),
        (
            {"name": "absence", "codes": ["a"], "windows": [40000], "measures": ["sum"]},
            'features: windows[0]: is 40000: longer than a century. Give "ever" for everything before the as-of date',
        ),
        (
            {"attribute": "age", "plain": {"fi": "ikä", "sv": "ålder", "en": " "}},
            "features: plain.en: is ' ': empty. Say it in words, or leave the key out",
        ),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(values, message):
    assert refusal(lambda: FeatureSpec(**values)) == message


def test_two_features_of_one_name_are_refused():
    feature = FeatureSpec(name="absence", codes=["a"], windows=[30], measures=["sum"])
    other = FeatureSpec(name="absence", codes=["b"], windows=[30, 60], measures=["sum"])
    assert (
        refusal(lambda: column_names([feature, other]))
        == "features: two columns are called 'absence.sum.30d'. Give each feature its own name"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"age": [28, 16], "as_of": DATES},
            "cohort: age: is [28, 16]: nobody is that old. Give whole years, the younger first, e.g. age = [16, 28]",
        ),
        (
            {"age": [-1, 16], "as_of": DATES},
            "cohort: age: is [-1, 16]: nobody is that old. Give whole years, the younger first, e.g. age = [16, 28]",
        ),
        (
            {"age": [16, 28]},
            'cohort: names no days to look from. Give table = "<name>", or as_of = { first = …, last = …, '
            "every_days = … }",
        ),
        (
            {"table": "enrolled", "age": [16, 28], "as_of": DATES},
            "cohort: table stands beside age, as_of, and a table already says who and when. "
            "Give the table alone, or rules with as_of",
        ),
        (
            {"table": "../enrolled"},
            "cohort: table: is '../enrolled': not a cohort's name. "
            "Give the file's name without folder and ending, e.g. 'enrolled'",
        ),
        (
            {"as_of": DATES | {"on": "school.place_lost"}},
            "cohort: as_of: needs either fixed days or an event to follow, and not both. "
            "Give first, last and every_days, or on and after_days",
        ),
        (
            {"as_of": {"first": date(2024, 1, 1)}},
            "cohort: as_of: lacks a part. Give first, last and every_days, or on and after_days",
        ),
        (
            {"as_of": DATES | {"last": date(2023, 1, 1)}},
            "cohort: as_of: last (2023-01-01) comes before first (2024-01-01). Give the earlier day as first",
        ),
        (
            {"as_of": DATES | {"first": "2024-01-01"}},
            "cohort: as_of.first: is '2024-01-01': not a day. Give a day such as 2024-01-31, without quotes or a clock",
        ),
        (
            {"as_of": DATES | {"every_days": 0}},
            "cohort: as_of.every_days: is 0: too small. Give at least 1",
        ),
        (
            {"as_of": DATES, "where": [{"attribute": "district", "in": []}]},
            "cohort: where[0].in: is []: nothing to look for. Give at least one",
        ),
        (
            {"as_of": DATES, "with": [{"codes": ["a"], "window": 0}], "without": [{"codes": [], "window": 1}]},
            f"cohort: with[0].window: is 0: no day lies in it. {WINDOW_MEND}\n"
            "cohort: without[0].codes: is []: nothing to look for. Give at least one",
        ),
    ],
)
def test_an_impossible_cohort_is_refused(values, message):
    assert refusal(lambda: CohortSpec(**values)) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"horizon_days": -5},
            "label: horizon_days: is -5: no day lies after the as-of date. "
            "Give the number of days to look ahead, e.g. horizon_days = 180",
        ),
        (
            {"at_least": 1, "at_most": 2},
            "label: at_least: is 1: at_most = 2 is given too. Give one of at_least and at_most",
        ),
        ({"at_least": 0}, "label: at_least: is 0: everyone has that many days. Give at least 1, or use at_most"),
        (
            {"at_most": -1},
            "label: at_most: is -1: nobody has so few days. Give at least 0, where 0 means that nothing happened",
        ),
        ({"measure": "sum"}, "label: the sum of values is compared with nothing. Give at_least or at_most"),
        (
            {"measure": "mean"},
            "label: measure: is 'mean': not one of those allowed. Give 'days', 'sum', 'max' or 'min'",
        ),
        (
            {"censoring": "dorp"},
            "label: censoring: is 'dorp': not one of those allowed. Give 'drop', 'negative' or 'ipcw'",
        ),
        (
            {"reporting_delay_days": -1},
            "label: reporting_delay_days: is -1: too small. Give at least 0",
        ),
        ({"at_least": "6"}, "label: at_least: is '6': not a number. Give a number, e.g. 0.5"),
        (
            {"plausible_auc_max": 0.4},
            "label: plausible_auc_max: is 0.4: not an AUC better than chance. "
            "Give a share above 0.5 and up to 1, e.g. 0.90",
        ),
    ],
)
def test_an_impossible_label_is_refused(values, message):
    assert refusal(lambda: LabelSpec(**{"codes": ["status.neet"], "horizon_days": 365, **values})) == message


def test_a_label_fills_in_what_the_contracts_say():
    label = LabelSpec(codes=["status.neet"], horizon_days=179)
    assert (label.measure, label.at_least, label.at_most, label.reporting_delay_days) == ("days", 1.0, None, 0)
    assert (label.censoring, label.plausible_auc_max) == ("drop", 0.97)
    assert LabelSpec(codes=["status.neet"], horizon_days=180).plausible_auc_max == 0.90
    assert LabelSpec(codes=["status.neet"], horizon_days=180, at_most=0).at_least is None


STATED = {"purpose": "to plan outreach", "basis": "a statute"}
EVENTS = {"name": "absence", "codes": ["a"], "windows": [30], "measures": ["count"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {**EVENTS, "of": "household", "purpose": "to plan outreach"},
            "feature 'absence' reads about others than the person, without purpose or basis. State both",
        ),
        (
            {**EVENTS, **STATED, "of": "district"},
            'a district is measured by its rate alone. Give measures = ["rate"]',
        ),
        ({**EVENTS, "measures": ["rate"]}, 'a rate is of a district. Give of = "district", or another measure'),
        ({**EVENTS, "categories": ["a"]}, "feature 'absence' counts events, which have no categories. Leave"),
        ({**EVENTS, "measures": ["n_changes"]}, "'n_changes' measures an attribute, not events. Give one of: count"),
        ({"attribute": "address", "measures": ["sum"]}, "'sum' measures events. Give one of: months_since_change, n"),
        ({"attribute": "age", "measures": ["n_changes"]}, "age is a number that only grows. Give attribute = "),
        (
            {"attribute": "floor", **STATED, "of": "household"},
            "attribute 'floor' stands beside of. Give attribute alone, or codes, windows and measures",
        ),
    ],
)
def test_a_relation_or_history_that_makes_no_sense_is_refused(values, message):
    assert refusal(lambda: FeatureSpec(**values)).startswith(f"features: {message}")


def test_what_relations_and_attributes_call_their_columns():
    household = FeatureSpec(**EVENTS, **STATED, of="household")
    district = FeatureSpec(**{**EVENTS, "measures": ["rate"]}, **STATED, of="district")
    moved = FeatureSpec(attribute="district", measures=["months_since_change", "n_changes"])
    both = FeatureSpec(attribute="district", categories=["Kallio", "Vuosaari"], measures=["n_changes"])
    assert household.columns() == ("absence.count.30d",)
    assert district.columns() == ("absence.rate.30d",)
    assert moved.columns() == ("district.months_since_change", "district.n_changes")
    assert both.columns() == ("district", "district.n_changes")
    assert FeatureSpec(attribute="income").columns() == ("income",)


def test_what_is_built_is_not_refused():
    features = [FeatureSpec(name="a", codes=["a"], windows=[1, "ever"], measures=MEASURES)]
    require_built([*features, FeatureSpec(attribute="age"), IndicatorSpec(name="a", codes=["a"])])
    require_built([CohortSpec(table="all"), LabelSpec(codes=["a"], horizon_days=1, censoring="negative")])


def test_inside_a_file_a_spec_leaves_its_faults_to_the_file():
    class File(BaseModel):
        cohort: CohortSpec
        features: tuple[FeatureSpec, ...]

    text = b'[cohort]\nage = [28, 16]\n[[features]]\nattribute = "age"\n[[features]]\nname = "x"\nwindows = [0]\n'
    with pytest.raises(SpecError) as caught:
        parse_toml(text, "need.toml", File, SpecError)
    assert [str(fault) for fault in caught.value.faults] == [
        "need.toml: cohort.age: is [28, 16]: nobody is that old. "
        "Give whole years, the younger first, e.g. age = [16, 28]",
        f"need.toml: features[1].windows[0]: is 0: no day lies in it. {WINDOW_MEND}",
    ]


def test_specs_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        FeatureSpec(attribute="age").name = "years"


@pytest.mark.parametrize("value", [1.5, True, [1]])
def test_an_attribute_is_compared_with_texts_and_whole_numbers(value):
    assert AttributeRule(attribute="floor", **{"in": ["Kallio", 4]}).one_of == ("Kallio", 4)
    with pytest.raises(SpecError) as refused:
        AttributeRule(attribute="floor", **{"in": [value]})
    assert [str(fault) for fault in refused.value.faults] == [
        f"cohort.where: in[0]: is {value}: neither text nor a whole number. Give values as the city has them, e.g. "
        '"Kallio" or 4'
    ]
