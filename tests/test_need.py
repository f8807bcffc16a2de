from datetime import date
from pathlib import Path

import pytest

from ethics.digests import sha256
from ethics.refusals import BadInput
from models.evidence_facts import need_facts
from models.need import NEEDS, list_needs, load_need, parse_need
from models.need_misfits import _overlap
from models.need_parts import Capacity, ModelSettings, Splits
from models.written_order import OrderTerm, parse_order
from scoring.list_evidence import told_from

TESTS = Path(__file__).parent
TEXT = '{ fi = "yksi", sv = "ett", en = "one" }'
PEOPLE = """
[owner]
name = "Head of youth work"
email = "head@example.invalid"
phone = "+358 9 1"
[deputy]
name = "Deputy"
email = "deputy@example.invalid"
phone = "+358 9 2"
[dpo]
name = "Data protection officer"
email = "dpo@example.invalid"
phone = "+358 9 3"
"""
HEAD = f"""
schema = 1
kind = "model"
service = "outreach-youth-work"
use = "outreach_ranking"
review_by = 2027-06-30
title = {TEXT}
question = {TEXT}
action = {TEXT}
benefit = {TEXT}
alternative = {TEXT}
{PEOPLE}
"""
COHORT = """
[cohort]
age = [16, 28]
without = [{ codes = ["outreach.client"], window = 180 }]
as_of = { first = 2022-01-01, last = 2024-12-01, every_days = 30 }
"""
LABEL = """
[label]
codes = ["status.neet"]
measure = "days"
at_least = 6
horizon_days = 365
reporting_delay_days = 30
censored_by = ["moved_away", "death"]
censoring = "drop"
"""
INDICATORS = """
[[indicators]]
name = "psychiatric care"
codes = ["care.psychiatry.*"]
[[indicators]]
name = "income support"
codes = ["benefit.income_support"]
"""
FEATURES = f"""
[[features]]
name = "absence"
codes = ["school.absence.*"]
windows = [30, 90, "ever"]
measures = ["count", "days_since_last"]
plain = {TEXT}
source = "school register"
purpose = "absence comes first"
basis = "to be attested"
visible_to = ["outreach-youth-work"]
changeable = true
[[features]]
attribute = "age"
plain = {TEXT}
source = "population register"
purpose = "age"
basis = "to be attested"
"""
TRAINING = """
[splits]
kind = "temporal"
tests = 3
judged = 2
[baseline]
rule = "absence.count.90d desc, age asc"
[model]
num_leaves = 15
learning_rate = 0.05
monotone = { "absence.count.*" = 1 }
"""
TAIL = """
[capacity]
workers = 4
attempts_per_worker_per_period = 15
contact_success = 0.6
period_days = 7
[list]
columns = ["rank_band", "reasons"]
cooldown_days = 90
merge = "none"
[notice]
phone = "+358 9 4"
letter = "first-contact"
[limits]
max_reject_share = 0.005
"""
RULE = """
[rule]
order = ["absence.days_since_last.ever desc missing first", "age asc"]
"""
MODEL_NEED = HEAD + COHORT + LABEL + INDICATORS + FEATURES + TRAINING + TAIL
RULE_NEED = HEAD.replace('"model"', '"rule"') + COHORT + FEATURES + RULE + TAIL


def faults(text, where="youth.toml"):
    with pytest.raises(BadInput) as refused:
        parse_need(text.encode(), where)
    return [str(fault) for fault in refused.value.faults]


def test_a_complete_need_says_what_its_file_says():
    need = parse_need(MODEL_NEED.encode(), "needs/youth.toml")
    assert (need.id, need.kind, need.service, need.use) == ("youth", "model", "outreach-youth-work", "outreach_ranking")
    assert need.bytes == MODEL_NEED.encode()
    assert need.digest == sha256(MODEL_NEED.encode())
    assert need.review_by == date(2027, 6, 30)
    assert need.title.sv == "ett" and need.owner.phone == "+358 9 1"
    assert need.label.horizon_days == 365 and need.label.plausible_auc_max == 0.90
    assert [i.name for i in need.indicators] == ["psychiatric care", "income support"]
    assert need.columns == (
        "absence.count.30d",
        "absence.days_since_last.30d",
        "absence.count.90d",
        "absence.days_since_last.90d",
        "absence.count.ever",
        "absence.days_since_last.ever",
        "age",
    )
    assert need.order == (OrderTerm("absence.count.90d", True), OrderTerm("age", False))
    assert (need.splits.kind, need.splits.tests, need.splits.judged) == ("temporal", 3, 2)
    assert (need.capacity.k, need.capacity.periods(90)) == (60, 13)
    assert need.model.parameters() == {"num_leaves": 15, "learning_rate": 0.05}
    assert need.model.constraints(need.columns) == [1, 0, 1, 0, 1, 0, 0]
    assert need.limits.max_reject_share == 0.005
    assert need.list.cooldown_days == 90 and need.notice.letter == "first-contact"
    need.require_built()


def test_a_rule_need_has_an_order_and_no_label():
    need = parse_need(RULE_NEED.encode(), "screening.toml")
    assert need.label is None and need.splits is None and need.baseline is None
    assert need.order == (OrderTerm("absence.days_since_last.ever", True, True), OrderTerm("age", False))


@pytest.mark.parametrize("path", [*sorted(NEEDS.glob("*.toml")), *sorted((TESTS / "needs").glob("*.toml"))], ids=str)
def test_every_need_that_comes_with_ennakko_can_be_used(path):
    load_need(path).require_built()


def test_listing_needs_gives_them_by_id():
    ids = [need.id for need in list_needs()]
    assert ids == sorted(path.stem for path in NEEDS.glob("*.toml"))
    assert len(ids) > 0


def test_listing_needs_refuses_with_the_faults_of_all_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(MODEL_NEED.replace("[capacity]\nworkers = 4", "[capacity]\nworkers = 0"))
    with pytest.raises(BadInput) as refused:
        list_needs(tmp_path)
    assert [fault.where for fault in refused.value.faults] == [
        f"{tmp_path / name}.toml: capacity.workers" for name in ("one", "two")
    ]


def test_everything_wrong_is_said_at_once():
    text = (
        MODEL_NEED.replace("workers = 4", "wrokers = 4")
        .replace("contact_success = 0.6", "contact_success = 1.5")
        .replace("tests = 3", 'tests = "three"')
        .replace("num_leaves = 15", "num_leafs = 15")
        .replace('kind = "temporal"', 'kind = "sideways"')
        .replace("absence.count.90d desc", "absence.count.60d desc")
        .replace('codes = ["care.psychiatry.*"]', 'codes = ["school.*"]')
        .replace('"absence.count.*" = 1', '"absense.*" = 1')
    )
    said = faults(text)
    assert [line.split(": ")[1] for line in said] == [
        "splits.kind",
        "splits.tests",
        "capacity.workers",
        "capacity.contact_success",
        "capacity.wrokers",
        "model.num_leafs",
        "indicators[0].codes",
        "baseline.rule",
        "model.monotone.'absense.*'",
    ]
    assert said[4] == (
        "youth.toml: capacity.wrokers: is not a key here. Did you mean 'workers'? Allowed: "
        "attempts_per_worker_per_period, contact_success, period_days, slots, workers"
    )
    assert said[6] == (
        "youth.toml: indicators[0].codes: 'school.*' overlaps 'school.absence.*' of feature 'absence', so "
        "'psychiatric care' is not an independent sign. Use codes that nothing else in the need uses"
    )
    assert said[7].startswith(
        "youth.toml: baseline.rule: 'absence.count.60d' is not a column of the features. "
        "Did you mean 'absence.count.90d'? Allowed: "
    )


def test_an_unknown_schema_is_refused_with_how_to_migrate():
    assert faults(MODEL_NEED.replace("schema = 1", 'schema = 2\nsomething_new = "x"')) == [
        "youth.toml: schema: is 2, which is not known. This Ennakko reads schema 1: copy an example from models/needs/ "
        "and move the values into it"
    ]


def test_a_schema_that_is_no_number_hides_no_other_mistake():
    for schema in ('"1"', "true", "1.0"):
        said = faults(MODEL_NEED.replace("schema = 1", f"schema = {schema}").replace("workers = 4", "workers = 0"))
        assert said == [
            f"youth.toml: schema: is {schema.replace(chr(34), chr(39)).replace('true', 'True')}: not a number of a "
            "schema. Write schema = 1, without quotes",
            "youth.toml: capacity.workers: is 0: too small. Give at least 1",
        ]


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 20_000 + "]" * 20_000,
        "x = " + "{ a = " * 5_000 + "1" + " }" * 5_000,
    ],
)
def test_a_file_nested_without_end_is_refused_in_words(text):
    assert faults(text) == [
        "youth.toml: is nested too deeply. Write fewer tables and lists inside one another",
    ]


def test_a_value_nested_without_end_or_endlessly_long_is_refused_in_words():
    deep = "service." + ".".join("a" * 5_000) + " = 1"
    said = faults(MODEL_NEED.replace('service = "outreach-youth-work"', deep))
    assert said[0].endswith(": not text. Put it in quotes")
    assert len(said[0]) < 400
    for number in ("9" * 5_000, "0x" + "f" * 5_000):
        said = faults(MODEL_NEED.replace("workers = 4", f"workers = {number}"))
        assert len(said) == 1
        assert len(said[0]) < 400


def test_days_beyond_the_calendar_and_days_without_number_are_refused_at_birth():
    outside = "outside the years 1900-2200. Give a day such as 2024-01-31"
    assert faults(MODEL_NEED.replace("last = 2024-12-01", "last = 9999-12-31")) == [
        f"youth.toml: cohort.as_of.last: is 9999-12-31: {outside}"
    ]
    assert faults(MODEL_NEED.replace("first = 2022-01-01", "first = 0001-01-01")) == [
        f"youth.toml: cohort.as_of.first: is 0001-01-01: {outside}"
    ]
    assert faults(MODEL_NEED.replace("review_by = 2027-06-30", "review_by = 9999-12-31")) == [
        f"youth.toml: review_by: is 9999-12-31: {outside}"
    ]
    daily = MODEL_NEED.replace("first = 2022-01-01", "first = 1990-01-01").replace("every_days = 30", "every_days = 1")
    assert faults(daily) == [  # 34 years with 8 leap days, 335 days of 2024, and the first of December itself
        "youth.toml: cohort.as_of: gives 12,754 as-of dates, more than 10,000. Give a later first, an earlier last or "
        "a greater every_days"
    ]


def test_a_review_is_due_when_its_day_has_passed():
    need = parse_need(MODEL_NEED.encode(), "youth.toml")
    assert need.review_fault(date(2027, 6, 30)) is None
    assert str(need.review_fault(date(2027, 7, 1))) == (
        "youth.toml: review_by: is 2027-06-30, which has passed (2027-07-01). Review the need with those who answer "
        "for it, and give the day of the next review"
    )


def test_those_expected_to_be_reached_are_the_attempts_that_succeed():
    capacity = parse_need(MODEL_NEED.encode(), "youth.toml").capacity
    assert (capacity.k, capacity.expected_reached) == (60, 36.0)
    with_slots = Capacity(workers=4, attempts_per_worker_per_period=15, contact_success=0.6, period_days=7, slots=12)
    assert with_slots.expected_reached == 12.0


def test_text_that_is_not_toml_is_refused():
    assert faults("schema = ")[0].startswith("youth.toml: is not readable TOML")


def test_texts_are_complete_in_three_languages():
    said = faults(
        MODEL_NEED.replace(f"title = {TEXT}", 'title = { fi = "yksi", en = "one" }', 1).replace(
            f"benefit = {TEXT}", 'benefit = { fi = "yksi", sv = " ", en = "one" }'
        )
    )
    assert said == [
        "youth.toml: title.sv: is missing. Add it; docs/need-file.md shows an example",
        "youth.toml: benefit.sv: is ' ': empty. Say it in words, or leave the key out",
    ]


def test_a_rule_need_refuses_what_only_a_model_has():
    assert faults(RULE_NEED + TRAINING) == [
        'youth.toml: model: has no meaning in a need of kind "rule". Leave it out, or change kind',
        'youth.toml: splits: has no meaning in a need of kind "rule". Leave it out, or change kind',
        'youth.toml: baseline: has no meaning in a need of kind "rule". Leave it out, or change kind',
    ]


def test_a_model_need_refuses_an_order_and_misses_what_it_lacks():
    assert faults(HEAD + COHORT + FEATURES + RULE + TAIL) == [
        'youth.toml: label: is missing. Add it: a need of kind "model" has one',
        'youth.toml: splits: is missing. Add it: a need of kind "model" has one',
        'youth.toml: baseline: is missing. Add it: a need of kind "model" has one',
        'youth.toml: rule: has no meaning in a need of kind "model". Leave it out, or change kind',
    ]


def test_indicators_of_a_rule_need_a_label_to_look_beside():
    assert faults(RULE_NEED + INDICATORS) == [
        "youth.toml: indicators: look at the window of a label, and there is none. Add [label]"
    ]


def test_an_indicator_that_is_the_label_or_comes_twice_is_refused():
    text = MODEL_NEED.replace('"benefit.income_support"', '"status.*"').replace("income support", "psychiatric care")
    assert faults(text) == [
        "youth.toml: indicators[1].name: 'psychiatric care' comes twice. Give each its own name",
        "youth.toml: indicators[1].codes: 'status.*' overlaps 'status.neet' of the label, so 'psychiatric care' is not "
        "an independent sign. Use codes that nothing else in the need uses",
    ]


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.b", "a.*", True),
        ("a.b.*", "a.*", True),
        ("a.*", "a.b.*", True),
        ("*", "anything", True),
        ("a.*", "ab.c", False),
        ("a.b", "a.bc", False),
        ("a.b*", "a.c*", False),
        ("a.bc", "a.b", False),
    ],
)
def test_patterns_overlap_when_some_code_matches_both(a, b, overlap):
    assert _overlap(a, b) is overlap


def test_two_columns_of_one_name_are_refused():
    said = faults(MODEL_NEED + FEATURES.split("[[features]]\nattribute")[0])
    assert said[0] == "youth.toml: features: two columns are called 'absence.count.30d'. Give each feature its own name"
    assert len(said) == 6


def test_monotone_patterns_match_columns_and_do_not_contradict():
    text = MODEL_NEED.replace('"absence.count.*" = 1', '"absence.count.*" = 1, "absence.*.30d" = -1, "abcense.*" = 1')
    said = faults(text)
    assert said[0].startswith("youth.toml: model.monotone.'abcense.*': matches no column of the features. ")
    assert said[1] == (
        "youth.toml: model.monotone: 'absence.count.*' and 'absence.*.30d' send 'absence.count.30d' both ways. "
        "Let one column match patterns of one direction"
    )


def test_a_monotone_direction_is_up_or_down():
    assert (
        "not one of those allowed. Give -1 or 1"
        in faults(MODEL_NEED.replace('"absence.count.*" = 1', '"absence.count.*" = 2'))[0]
    )


def test_a_leaf_never_holds_fewer_than_twenty_persons():
    said = faults(MODEL_NEED.replace("num_leaves = 15", "min_data_in_leaf = 19"))
    assert said == [
        "youth.toml: model.min_data_in_leaf: is 19: too small. Give at least 20",
    ]
    assert ModelSettings(min_data_in_leaf=20).parameters() == {"min_data_in_leaf": 20}


@pytest.mark.parametrize("name", ["num_threads", "objective", "device", "seed", "boosting"])
def test_parameters_that_would_change_digests_or_meaning_are_not_allowed(name):
    assert (
        f"youth.toml: model.{name}: is not a key here" in faults(MODEL_NEED.replace("[model]", f"[model]\n{name}=1"))[0]
    )


def test_numbers_are_not_taken_from_text_or_truth():
    said = faults(MODEL_NEED.replace("workers = 4", "workers = true").replace("period_days = 7", 'period_days = "7"'))
    assert [line.split(". ")[0] for line in said] == [
        "youth.toml: capacity.workers: is True: not a whole number",
        "youth.toml: capacity.period_days: is '7': not a whole number",
    ]


def test_a_need_may_only_be_used_to_rank_for_outreach():
    assert faults(MODEL_NEED.replace('"outreach_ranking"', '"benefit_decision"')) == [
        "youth.toml: use: is 'benefit_decision': not one of those allowed. Give 'outreach_ranking'"
    ]


def test_a_need_without_features_is_refused():
    text = "features = []\n" + MODEL_NEED.replace(FEATURES, "").replace(TRAINING, "\n".join(TRAINING.splitlines()[:5]))
    assert "youth.toml: features: holds no feature. Add at least one [[features]] table" in faults(text)


def test_limits_are_only_stricter_than_the_policys():
    policy = {"max_reject_share": 0.01, "min_data_in_leaf": 30}
    parse_need(MODEL_NEED.encode(), "youth.toml").check_against(policy)
    text = MODEL_NEED.replace("max_reject_share = 0.005", "max_reject_share = 0.02")
    text = text.replace("num_leaves = 15", "min_data_in_leaf = 25")
    with pytest.raises(BadInput) as refused:
        parse_need(text.encode(), "youth.toml").check_against(policy)
    assert [str(fault) for fault in refused.value.faults] == [
        "youth.toml: limits.max_reject_share: is 0.02, looser than the policy's 0.01. Give at most 0.01, or leave "
        "it out",
        "youth.toml: model.min_data_in_leaf: is 25, looser than the policy's 30. Give at least 30, or leave it out",
    ]


FULL_LIST = """
columns = ["rank_band", "channel", "contact", "attempts"]
attempts_per_person = 2
allocation = "need"
churn_cap = 0.5
in_service = { codes = ["outreach.client"] }
left = ["moved_away"]
sample = 20
margin = 0.02
contraindications = [{ codes = ["no.visit"], window = 365, plain = { fi = "a", sv = "b", en = "c" } }]
"""


AGAINST = 'contraindications = [{ codes = ["%s"], plain = { fi = "a", sv = "b", en = "c" } }]'
HELPERS = 'helpers = [{ codes = ["%s"], plain = { fi = "a", sv = "b", en = "c" } }]'


def listing(text):
    return MODEL_NEED.replace('columns = ["rank_band", "reasons"]\ncooldown_days = 90\nmerge = "none"', text)


def test_every_key_of_a_list_is_read():
    settings = parse_need(listing(FULL_LIST).encode(), "youth.toml").list
    assert settings.in_service.window.label == "180d" and settings.contraindications[0].window.label == "365d"
    assert (settings.allocation, settings.churn_cap, settings.sample, settings.margin) == ("need", 0.5, 20, 0.02)
    assert settings.left == ("moved_away",) and settings.places(61) == 30
    assert parse_need(MODEL_NEED.encode(), "youth.toml").list.places(60) == 60


def test_several_attempts_for_each_person_make_shorter_lists_that_reach_more_of_them():
    need, thrice = (parse_need(listing(text).encode(), "youth.toml") for text in ("", "attempts_per_person = 3"))
    assert (need.capacity.k, need.listed_k, need.reach) == (60, 60, 0.6)
    assert (thrice.capacity.k, thrice.listed_k, thrice.reach) == (60, 20, 0.936)
    assert need_facts(thrice)["capacity_k"] == 20, "the gate judges the list that can be made"
    assert thrice.capacity.reached_in(20, 3) == 18.72


MINE, OTHERS = 'visible_to = ["outreach-youth-work"]', 'visible_to = ["school"]'


@pytest.mark.parametrize(
    ("key", "column", "entry"),
    [("helpers", "who_helps", HELPERS), ("contraindications", "contraindications", AGAINST)],
)
@pytest.mark.parametrize("code", ["school.absence.none", "school.*"])
def test_a_list_tells_nothing_of_events_that_the_service_may_not_see(key, column, entry, code):
    shown = f'columns = ["who_helps"]\n{entry % code}'
    before, absence = listing(shown).split('name = "absence"')
    hidden = f'{before}name = "absence"{absence.replace(MINE, OTHERS, 1)}'
    assert MINE in absence
    need = parse_need(listing(shown).encode(), "youth.toml")
    assert told_from(need) == [{"column": column, "feature": "absence"}]
    (told,) = faults(hidden)
    assert told.startswith(f"youth.toml: list.{key}[0].codes: reads events of feature 'absence'"), told


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('columns = ["attempts", "attempts"]', "list.columns: is ['attempts', 'attempts']: a column comes twice"),
        ('columns = ["score"]', "list.columns[0]: is 'score'"),
        ("attempts_per_person = 0", "list.attempts_per_person: is 0"),
        ("attempts_per_person = 61", "list.attempts_per_person: is 61, above the 60 attempts of a period"),
        ('allocation = "fair"', "list.allocation: is 'fair'"),
        ("churn_cap = 1.5", "list.churn_cap: is 1.5"),
        ("churn_cap = 0.5\ncooldown_days = 8", "list.churn_cap: is 0.5, and who was listed rests for 8 days"),
        ("sample = -1", "list.sample: is -1"),
        ("margin = 0.6", "list.margin: is 0.6"),
        ("margin = nan", "list.margin: is nan"),
        ("in_service = { window = 180 }", "list.in_service.codes: is missing"),
        ("in_service = { codes = [] }", "list.in_service.codes: "),
        ('in_service = { codes = ["a"], window = "soon" }', "list.in_service.window: is 'soon'"),
        ('left = ["a*b"]', "list.left[0]: is 'a*b'"),
        ('contraindications = [{ codes = ["a"] }]', "list.contraindications[0].plain: is missing"),
        ('helpers = [{ codes = ["a"] }]', "list.helpers[0].plain: is missing"),
        (f'columns = ["reasons"]\n{HELPERS % "help.*"}', "list.helpers: say who helps, and no column"),
        ('merge = "guardian"', "list.merge: is 'guardian', and the cohort holds people up to 28"),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(text, fault):
    (told,) = faults(listing(text))
    assert told.startswith(f"youth.toml: {fault}"), told


def test_siblings_are_merged_where_the_cohort_is_of_children():
    text = listing('merge = "guardian"').replace("age = [16, 28]", "age = [5, 6]")
    assert parse_need(text.encode(), "reach.toml").list.merge == "guardian"
    parse_need(text.encode(), "reach.toml").require_built()


@pytest.mark.parametrize(
    ("slots", "success", "k"),
    [(None, 0.6, 60), (100, 0.6, 60), (12, 0.6, 20), (12, 0.5, 24), (13, 0.6, 22), (3, 0.3, 10), (1, 1, 1)],
)
def test_capacity_is_attempts_or_what_fills_the_slots(slots, success, k):
    capacity = Capacity(
        workers=4, attempts_per_worker_per_period=15, contact_success=success, period_days=7, slots=slots
    )
    assert capacity.k == k


@pytest.mark.parametrize(("days", "periods"), [(1, 1), (7, 1), (8, 2), (90, 13)])
def test_periods_begun_are_counted(days, periods):
    capacity = Capacity(workers=1, attempts_per_worker_per_period=1, contact_success=1, period_days=7)
    assert capacity.periods(days) == periods


def test_an_order_may_be_a_text_or_a_list():
    terms = (OrderTerm("a.count.30d", True), OrderTerm("age", False, True))
    assert parse_order("a.count.30d desc, age asc missing first") == terms
    assert parse_order(["a.count.30d desc missing last", "age asc missing first"]) == terms


@pytest.mark.parametrize(
    ("order", "wrong"),
    [
        ("age", "not a column with a direction"),
        ("age down", "not a column with a direction"),
        ("age asc missing", "not a column with a direction"),
        ("age asc nulls first", "'nulls first' does not say where the missing go"),
        ("age asc, age desc", "age comes twice"),
        ([], "not an order"),
        (7, "not an order"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused(order, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_order(order)


def test_an_order_is_refused_with_its_value():
    said = faults(MODEL_NEED.replace("absence.count.90d desc, age asc", "absence.count.90d downwards"))
    assert said == [
        "youth.toml: baseline.rule: is 'absence.count.90d downwards': not a column with a direction. Write "
        "'<column> asc' or '<column> desc', and 'missing first' or 'missing last' after it if it matters"
    ]


def test_splits_judge_at_most_what_they_test_and_count_nothing_for_persons():
    assert faults(MODEL_NEED.replace("judged = 2", "judged = 4")) == [
        "youth.toml: splits: judged (4) is above tests (3). Judge at most those"
    ]
    assert faults(MODEL_NEED.replace('"temporal"', '"person"')) == [
        "youth.toml: splits: judged and tests say nothing in a split of persons. Leave them out"
    ]
    assert Splits(kind="person").kind == "person"


def test_a_file_that_cannot_be_the_name_of_a_need_is_refused(tmp_path):
    with pytest.raises(BadInput, match="'Youth Exclusion' cannot be the id of a need"):
        load_need(tmp_path / "Youth Exclusion.toml")
    with pytest.raises(BadInput, match=r"missing\.toml: cannot be read \(No such file or directory\)"):
        load_need(tmp_path / "missing.toml")
