from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethics.refusals import BadInput
from features.spec import Texts
from models.benefit import (
    Effect,
    benefit_grounds,
    check_wording,
    load_evidence_table,
    parse_evidence_table,
)
from models.benefit_ranking import (
    CONTRA_INDICATED,
    ELIGIBLE,
    NOT_ELIGIBLE,
    NOT_KNOWN,
    compare_with_risk,
    expected_benefit,
    rank_by_benefit,
)
from models.metrics import Estimate
from models.need import NEEDS, load_need
from models.uplift_learning import uplift
from models.uplift_trial import randomised_trial

PLAIN = 'plain = { fi = "a", sv = "b", en = "c" }'
TABLE = f"""
schema = 1
version = "test-1"
review_by = 2027-01-31
[[effects]]
id = "pressure"
needs = ["health_benefit"]
cities = ["Testby"]
label_codes = ["hospital.*"]
action = "An invented action"
source = "Invented for this test"
size = {{ measure = "risk_ratio", value = 0.8, low = 0.75, high = 0.9 }}
eligible = [{{ column = "pressure", at_least = 140, {PLAIN} }}]
contra_indications = [{{ column = "allergy", at_least = 1, missing = "no", {PLAIN} }}]
minutes_per_attempt = 20
"""
TODAY = date(2026, 6, 1)


def refusal(make):
    with pytest.raises(BadInput) as caught:
        make()
    return [str(fault) for fault in caught.value.faults]


def table(*changes):
    text = TABLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_evidence_table(text.encode(), "effects.toml")


def effect(*changes):
    return table(*changes).effects[0]


@pytest.fixture(scope="module")
def need():
    return load_need(NEEDS / "health_benefit.toml")


# ---- the table -----------------------------------------------------------------------------------------------------


def test_a_table_says_what_was_read_and_changes_digest_with_every_byte(tmp_path):
    (tmp_path / "effects.toml").write_text(TABLE)
    read = load_evidence_table(tmp_path / "effects.toml")
    assert (read.version, read.review_by, len(read.effects)) == ("test-1", date(2027, 1, 31), 1)
    assert read.effects[0].size.high == 0.9 and read.effects[0].minutes_per_attempt == 20
    assert read.digest == table().digest != table(("test-1", "test-2")).digest


def test_everything_wrong_in_a_table_is_said_at_once():
    changes = (
        ('source = "Invented for this test"\n', ""),
        ("low = 0.75", "low = 0.85"),
        ("minutes_per_attempt = 20", "minutes_per_atempt = 20"),
        ("at_least = 140, ", ""),
        ("2027-01-31", '"soon"'),
    )
    faults = refusal(lambda: table(*changes))
    assert set(faults) == {
        "effects.toml: review_by: is 'soon': not a day. Give a day such as 2024-01-31, without quotes or a clock",
        "effects.toml: effects[0].source: is missing. Add it; the beginning of models/benefit.py shows an example",
        "effects.toml: effects[0].size: low 0.85, value 0.8, high 0.9 are not in order. "
        "Give the interval that the source states",
        "effects.toml: effects[0].eligible[0]: has neither at_least nor at_most. Give one or both",
        "effects.toml: effects[0].minutes_per_atempt: is not a key here. Did you mean 'minutes_per_attempt'? "
        "Allowed: action, cities, contra_indications, eligible, id, label_codes, minutes_per_attempt, needs, size, "
        "source",
    }


def test_contra_indications_are_said_even_where_there_are_none():
    line = next(line for line in TABLE.splitlines() if line.startswith("contra"))
    assert effect((line, "contra_indications = []")).contra_indications == ()
    assert refusal(lambda: table((line, ""))) == [
        "effects.toml: effects[0].contra_indications: is missing. "
        "Add it; the beginning of models/benefit.py shows an example"
    ]


def test_tables_that_cannot_be_read_are_refused():
    assert refusal(lambda: parse_evidence_table(b"schema = 2\nnew = 1", "t")) == [
        "t: schema: is 2, which is not known. This Ennakko reads schema 1: move the values into a table of that schema"
    ]
    assert refusal(lambda: load_evidence_table(Path("nowhere.toml")))[0].startswith("nowhere.toml: cannot be read")
    twice = TABLE + TABLE[TABLE.index("[[effects]]") :]
    assert (
        "pressure comes twice. Give each effect its own id"
        in refusal(lambda: parse_evidence_table(twice.encode(), "t"))[0]
    )


def test_the_example_of_the_module_is_a_table_that_can_be_read():
    import models.benefit

    example = models.benefit.__doc__.split("::\n", 1)[1]
    read = parse_evidence_table(example.encode(), "example")
    assert read.effects[0].source.startswith("Ettehad") and read.effects[0].size.value == 0.80


# ---- the word ------------------------------------------------------------------------------------------------------


def test_a_need_with_an_effect_may_speak_of_benefit_in_the_cities_it_holds_for(need):
    grounds = benefit_grounds(need, "Testby", today=TODAY, table=table())
    assert [e.id for e in grounds.effects] == ["pressure"] and grounds.trial is None
    anywhere = table(('cities = ["Testby"]\n', ""))
    assert benefit_grounds(need, "Elsewhere", today=TODAY, table=anywhere).effects


def test_without_evidence_or_trial_the_word_is_refused(need):
    assert refusal(lambda: benefit_grounds(need, "Testby", today=TODAY)) == [
        "benefit: neither an evidence table nor a trial is given for need 'health_benefit' in city 'Testby'. "
        "Speak of risk or need; or give a table of published effects, or randomise a part of the list"
    ]
    assert refusal(lambda: benefit_grounds(need, "Elsewhere", today=TODAY, table=table())) == [
        "benefit: evidence table test-1: has no effect for need 'health_benefit' in city 'Elsewhere'. "
        "Speak of risk or need, or add an effect with its source. Needs: ['health_benefit']"
    ]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("high = 0.9", "high = 1.05"), "pressure: its interval 0.75–1.05 reaches 1, so no effect is shown"),
        (("hospital.*", "death"), "pressure: is an effect on death, and the need has hospital.avoidable of the label"),
        (("2027-01-31", "2026-05-31"), "was to be reviewed by 2026-05-31, which has passed (2026-06-01)"),
    ],
)
def test_evidence_that_is_none_is_refused_with_why(need, change, wrong):
    assert wrong in refusal(lambda: benefit_grounds(need, "Testby", today=TODAY, table=table(change)))[0]


def test_an_effect_is_no_ground_where_the_label_is_that_there_is_little_of_its_outcome(need):
    label = need.label.model_copy(update={"at_least": None, "at_most": 1.0})
    rare = need.model_copy(update={"label": label})
    assert refusal(lambda: benefit_grounds(rare, "Testby", today=TODAY, table=table())) == [
        "benefit: evidence table test-1: says that an outcome grows rarer, and the need's label is "
        "at_most = 1. Speak of risk or need; or use a label with at_least, which is the outcome itself"
    ]


def trial(effect_of_help, n=4000):
    rng = np.random.default_rng(1)
    treated = rng.random(n) < 0.5
    ill = rng.random(n) < 0.4 - effect_of_help * treated
    X = rng.random((n, 2))
    checked = randomised_trial(X, treated, ill, share=0.5, person=np.arange(n), outcome_is="unwanted")
    return uplift(checked, learner="t", seed=0, parameters={"n_estimators": 10})


def test_a_trial_is_a_ground_only_when_it_shows_an_effect(need):
    helps = trial(0.2)
    assert benefit_grounds(need, "Testby", today=TODAY, trial=helps).trial is helps
    assert benefit_grounds(need, "Elsewhere", today=TODAY, trial=helps, table=table()).effects == ()
    for useless in (0.0, -0.2):
        found = refusal(lambda useless=useless: benefit_grounds(need, "Testby", today=TODAY, trial=trial(useless)))
        assert "benefit: trial: its average effect lies between" in found[0]
    both = refusal(lambda: benefit_grounds(need, "Elsewhere", today=TODAY, trial=trial(0.0), table=table()))
    assert len(both) == 2


def test_the_word_is_found_in_three_languages_and_let_through_on_grounds(need):
    texts = Texts(fi="Suurin terveyshyöty ja hyödyllinen apu", sv="Störst hälsonytta", en="Those who benefit most")
    assert refusal(lambda: check_wording(texts, "title", None)) == [
        f"title.{language}: says '{word}' without evidence or trial. "
        "Say risk or need; or show the benefit by an evidence table or a trial"
        for language, word in (("fi", "terveyshyöty"), ("fi", "hyödyllinen"), ("sv", "hälsonytta"), ("en", "benefit"))
    ]
    check_wording(texts, "title", benefit_grounds(need, "Testby", today=TODAY, table=table()))
    check_wording(Texts(fi="Suurin tarve", sv="Nytt behov, ett nytt år", en="Most in need"), "title", None)


# ---- expected events avoided ---------------------------------------------------------------------------------------

PEOPLE = {"pressure": np.array([150, 140, 139, np.nan, 160]), "allergy": np.array([0, np.nan, 0, 0, 2])}
RISK = np.array([0.5, 0.1, 0.9, 0.4, 0.9])


def avoided(**changed):
    given = {"probability": RISK, "effect": effect(), "columns": PEOPLE, "contact_success": 0.5} | changed
    return expected_benefit(given.pop("probability"), given.pop("effect"), **given)


def test_events_avoided_counted_by_hand():
    found = avoided()
    assert found.status.tolist() == [ELIGIBLE, ELIGIBLE, NOT_ELIGIBLE, NOT_KNOWN, CONTRA_INDICATED]
    # 0.5 × (1 − 0.8) × 0.5 for the first; the ends with 0.9 and 0.75.
    assert found.avoided == pytest.approx([0.05, 0.01, 0, np.nan, 0], nan_ok=True)
    assert found.low == pytest.approx([0.025, 0.005, 0, np.nan, 0], nan_ok=True)
    assert found.high == pytest.approx([0.0625, 0.0125, 0, np.nan, 0], nan_ok=True)
    assert found.if_eligible == pytest.approx([0.05, 0.01, 0, 0.04, 0])
    assert [(column, who.tolist()) for column, who in found.missing] == [("pressure", [False] * 3 + [True, False])]
    everybody = np.arange(5)
    assert found.total(everybody) == pytest.approx(Estimate(0.06, 0.03, 0.075))
    assert found.attempts_per_event(np.array([0, 1])) == pytest.approx(Estimate(2 / 0.06, 2 / 0.075, 2 / 0.03))


def test_a_success_of_contact_may_differ_between_people():
    found = avoided(contact_success=np.array([1, 0, 1, 1, 1.0]))
    assert found.avoided[:2] == pytest.approx([0.1, 0.0])


@given(st.floats(0, 1), st.floats(0.05, 0.95), st.sampled_from(["risk_ratio", "odds_ratio", "hazard_ratio"]))
def test_each_ratio_turns_into_a_difference_of_risks(risk, ratio, measure):
    size = ("low = 0.75, high = 0.9", f"low = {ratio!r}, high = {ratio!r}"), ("value = 0.8", f"value = {ratio!r}")
    found = avoided(
        probability=np.full(5, risk), effect=effect(*size, ("risk_ratio", measure)), contact_success=1.0
    ).avoided[0]
    remaining = risk - found
    assert 0 <= found <= risk + 1e-12
    if measure == "risk_ratio":
        assert remaining == pytest.approx(ratio * risk)
    elif measure == "odds_ratio":
        assert remaining * (1 - risk) == pytest.approx(ratio * risk * (1 - remaining), abs=1e-9)
    else:
        assert 1 - remaining == pytest.approx((1 - risk) ** ratio)


def test_the_interval_covers_what_a_simulated_world_avoids():
    """Risks thinned by the ratio: the events that really fail to happen lie within the interval of the total."""
    rng = np.random.default_rng(0)
    n = 200_000
    risk = rng.random(n) * 0.4
    columns = {"pressure": rng.normal(145, 10, n), "allergy": (rng.random(n) < 0.1).astype(float)}
    found = avoided(probability=risk, columns=columns, contact_success=0.6)
    helped = (columns["pressure"] >= 140) & (columns["allergy"] < 1) & (rng.random(n) < 0.6)
    happened = rng.random(n) < risk
    prevented = happened & helped & (rng.random(n) < 0.2)
    total = found.total(np.arange(n))
    assert total.low < prevented.sum() < total.high
    assert total.value == pytest.approx(prevented.sum(), rel=0.05)


def test_what_cannot_be_computed_is_refused_all_at_once():
    assert refusal(lambda: avoided(columns={"presure": RISK, "allergy": RISK[:2]}, contact_success=1.2)) == [
        "benefit: pressure.eligible[0].column: 'pressure' is no column. Did you mean 'presure'? "
        "Allowed: allergy, presure",
        "benefit: contact_success: 1 of 1 values are not between 0 and 1. Give calibrated probabilities",
        "benefit: allergy: has shape (2,), and probability (5,). Give one value per person, in the same order",
    ]
    assert refusal(lambda: avoided(probability=np.array([0.1, np.nan, 0.2, 0.3, -1]))) == [
        "benefit: probability: 2 of 5 values are not between 0 and 1. Give calibrated probabilities"
    ]
    assert refusal(lambda: avoided(effect=effect(("high = 0.9", "high = 1.0")))) == [
        "benefit: pressure: its interval 0.75–1 reaches 1, so no effect is shown. "
        "Use a source that shows one, or run a trial"
    ]


# ---- order ---------------------------------------------------------------------------------------------------------

KEYS = list("edcba")


def second(**changed):
    """Another action on the same outcome: twice the effect, four times the work, for everybody."""
    given = effect().model_dump(by_alias=True) | {
        "id": "visit",
        "size": {"measure": "risk_ratio", "value": 0.6, "low": 0.5, "high": 0.8},
        "eligible": [],
        "contra_indications": [],
        "minutes_per_attempt": 80,
    }
    return Effect(**(given | changed))


def test_the_order_is_by_benefit_per_minute_with_the_best_action_of_each():
    order = rank_by_benefit([avoided(), avoided(effect=second())], KEYS)
    # Per minute: call 0.05/20 and 0.01/20 for the first two; visit 0.18/80, 0.08/80, 0.18/80 for the others.
    assert order.effect.tolist() == [0, 0, 1, 1, 1]
    assert order.per_minute == pytest.approx([0.0025, 0.0005, 0.00225, 0.001, 0.00225])
    assert order.rows.tolist() == [0, 4, 2, 3, 1]  # rows 2 and 4 are equal: the tie keys 'c' and 'a' decide
    assert order.n_eligible == 5
    assert order.total(order.rows[:2]) == pytest.approx(Estimate(0.05 + 0.18, 0.025 + 0.09, 0.0625 + 0.225))


def test_those_of_whom_it_is_not_known_come_after_the_eligible_and_the_others_not_at_all():
    order = rank_by_benefit([avoided()], KEYS)
    assert order.rows.tolist() == [0, 1, 3] and order.n_eligible == 2
    assert order.effect.tolist() == [0, 0, -1, 0, -1]
    assert order.per_minute == pytest.approx([0.0025, 0.0005, 0, np.nan, 0], nan_ok=True)


def test_a_list_by_benefit_is_not_the_list_by_risk():
    order = rank_by_benefit([avoided()], KEYS)
    compared = compare_with_risk(RISK, order, 2, KEYS)
    assert (compared.k, compared.overlap_share) == (2, 0.0)  # the two at most risk cannot be helped
    assert compared.avoided_by_risk == pytest.approx(Estimate(0, 0, 0))
    assert compared.avoided_by_benefit == pytest.approx(Estimate(0.06, 0.03, 0.075))


def test_what_cannot_be_ranked_together_is_refused():
    unmeasured, elsewhere = second(minutes_per_attempt=None), second(label_codes=["death"])
    assert refusal(lambda: rank_by_benefit([avoided(), avoided(effect=unmeasured)], KEYS)) == [
        "benefit: visit.minutes_per_attempt: is missing, so nothing can be said per minute. "
        "Give minutes_per_attempt as the unit has measured them"
    ]
    assert refusal(lambda: rank_by_benefit([avoided(), avoided(effect=elsewhere)], KEYS[:4])) == [
        "benefit: pressure, visit are effects on different outcomes. Rank by effects on one outcome",
        "benefit: of 5, 5 people, and 4 tie keys. Give the same people",
    ]
    assert refusal(lambda: rank_by_benefit([], [])) == [
        "benefit: nothing to rank by. Give at least one expected benefit"
    ]
