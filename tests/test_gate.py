import math
from dataclasses import fields, replace
from datetime import timedelta

import numpy as np
import pytest
from ethics_cases import (
    DIGESTS,
    DRAWN,
    LIST,
    NOW,
    OVERRIDDEN,
    PASSING,
    POLICY,
    evidence,
    fair_table,
    feature,
    key_facts,
    people,
    register,
    responsible,
    texts,
    vouched,
)

from ethics import PRINCIPLES, Cuts, Thresholds, Verdict, judge, judge_list, measure
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.digests import canonical_json, sha256
from ethics.gate import LIST_CHECKS, MODEL_CHECKS, ONLINE_CHECKS
from ethics.policy import DEFAULT_PATH, Policy
from ethics.policy_floor import (
    FLOOR,
    FLOOR_ATTESTATIONS,
    FLOOR_REQUIRED_ATTESTATIONS,
    FLOOR_SIGN_ROLES,
    FLOOR_USES,
)
from ethics.refusals import BadInput, NotTrusted
from ethics.register_record import NAMED_DIGESTS
from ethics.verdict import Check, verdict_state


def judged(case=PASSING, table=None, policy=POLICY, **options):
    """The verdict of a need whose city has vouched for what the policy demands of every need."""
    table = fair_table(small=0.0) if table is None else table
    return judge(case, table, policy, vouched(policy_digest=policy.digest), issued_at=NOW, **options)


def check_of(verdict, id, group=None):
    return next(check for check in verdict.checks if check.id == id and group in (None, check.group))


def test_ten_rows_written_by_hand_are_judged():
    # The two of group b who need help stand last: found 0 of 2, where everyone's recall is 2 of 4.
    table = measure(
        label=[1, 1, 0, 0, 0, 0, 0, 0, 1, 1],
        groups={"g": list("aaaaabbbbb")},
        score=range(10, 0, -1),
        probability=[0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
        cuts=Cuts(2, 4),
        replicates=200,
    )
    verdict = judged(table=table)
    assert verdict.state == "INCONCLUSIVE"
    assert {check.state for check in verdict.checks if check.id == "C401"} == {"not_testable"}
    assert {check.needs for check in verdict.checks if check.is_open} == {"AT-05", "AT-07"}
    others = {check.id: check.state for check in verdict.checks if check.id not in ("C401", "C403", "C405", "C502")}
    assert set(others.values()) == {"pass"}
    assert (check_of(verdict, "C405").state, check_of(verdict, "C405").facts) == ("warn", {"case": "not_testable"})


def test_a_fair_model_of_a_large_city_passes_every_check():
    verdict = judged()
    assert verdict.state == "PASS_ATTESTED"
    assert {check.id for check in verdict.checks if check.attested_by} == {"C502"}
    assert {check.id for check in verdict.checks} == set(MODEL_CHECKS) == set(verdict.required)
    assert set(POLICY.required) == set(BUILT) == {*MODEL_CHECKS, *LIST_CHECKS}
    assert {check.group for check in verdict.checks if check.id == "C401"} == {
        "sex=f",
        "sex=m",
        "language=fi",
        "language=sv",
        "language=other",
    }


def test_a_model_that_does_not_see_a_groups_need_is_blocked():
    verdict = judged(table=fair_table(small=0.0, drop_label=0.5))
    assert verdict.state == "BLOCK"
    blocking = [check for check in verdict.checks if check.state == "block"]
    assert [(check.id, check.group, check.needs) for check in blocking] == [
        ("C401", "language=other", None),
        ("C402", "sex × language=f × other", None),
        ("C402", "sex × language=m × other", None),
    ]
    assert blocking[0].high < POLICY.thresholds.min_recall_ratio
    assert blocking[0].facts["missed"] > blocking[0].facts["missed_low"] > 0


def test_strict_services_are_blocked_by_one_alarm():
    table = fair_table(n=60_000, shift=1.2, small=0.0)
    assert judged(table=table).state == "INCONCLUSIVE"
    strict = POLICY.model_copy(update={"strict_services": (PASSING.service,)})
    assert judged(table=table, policy=strict).state == "BLOCK"


@pytest.mark.parametrize("name", ["Outreach-Youth-Work", " outreach-youth-work ", "outreach youth_work"])
def test_a_strict_service_is_strict_however_it_is_written(name):
    text = DEFAULT_PATH.read_text("utf-8").replace("strict_services = []", f'strict_services = ["{name}"]')
    strict = Policy.parse(text.encode(), "p")
    verdict = judged(table=fair_table(n=60_000, shift=1.2, small=0.0), policy=strict)
    assert verdict.scope["strict"] and verdict.state == "BLOCK"


def test_a_strict_service_without_a_name_is_refused():
    text = DEFAULT_PATH.read_text("utf-8").replace("strict_services = []", 'strict_services = [" "]')
    with pytest.raises(BadInput, match="strict_services"):
        Policy.parse(text.encode(), "p")


def test_need_at_the_same_score_on_two_indicators_blocks_on_one_asks():
    world = people(40_000, small=0.0)
    other = world["groups"]["language"] == "other"
    for n_wrong, state in ((1, "needs_attestation"), (2, "block")):
        indicators = {
            name: hit | (other & (world["probability"] > 0.05) & (position < n_wrong))
            for position, (name, hit) in enumerate(world["indicators"].items())
        }
        verdict = judged(table=measure(**{**world, "indicators": indicators}, replicates=300))
        found = check_of(verdict, "C403", "language=other")
        assert (found.state, found.needs) == (state, None if state == "block" else "AT-05")
        assert verdict.state == ("BLOCK" if state == "block" else "INCONCLUSIVE")


def test_two_alarms_block_whatever_number_of_indicators_a_policy_wants_and_one_asks():
    world = people(40_000, small=0.0)
    other = world["groups"]["language"] == "other"
    indicators = {name: hit | (other & (world["probability"] > 0.05)) for name, hit in world["indicators"].items()}
    many = POLICY.model_copy(update={"thresholds": POLICY.thresholds.model_copy(update={"min_indicators": 9})})
    for n, state in ((2, "block"), (1, "needs_attestation")):
        table = measure(**{**world, "indicators": dict(list(indicators.items())[:n])}, replicates=300)
        for policy in (POLICY, many):
            answers = BUILT["C403"].run(evidence(), Context(policy, NOW, table))
            found = next(check for check in answers if check.group == "language=other")
            assert (found.state, found.value > 1.25) == (state, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min_indicators = 2", "min_indicators = 9"),
        ("min_persons_shown = 5 ", "min_persons_shown = 1000000 "),
        ("min_persons_public = 10 ", "min_persons_public = 1000000 "),
    ],
)
def test_what_only_seems_stricter_is_refused_signed_or_not(old, new):
    text = DEFAULT_PATH.read_text("utf-8")
    assert old in text
    for signed in (False, True):
        with pytest.raises(BadInput, match=old.split()[0]):
            Policy._parsed(text.replace(old, new).encode(), "p", signed=signed)


# Every check fires for what it is about, and for nothing else

# A register entry and a statement about another model say nothing of the one that would be used.
# What is not listed at all can be told to nobody either.
BESIDE = {"C701": ("C202", "C502"), "C601": ("C302",)}


def flipped(**changes):
    row = {"feature": "age", "columns": ["age"], "people": 500, "values": 8, "median": 0.8, "low": 0.7, "high": 0.9}
    return row | changes


def reads(**changes):
    return {**PASSING.forbidden[0], **changes}


def worth(**changes):
    return {**PASSING.feature_value[0], **changes}


def member(**changes):
    return {**PASSING.membership[0], **changes}


def level(**changes):
    return {"column": "district", "level": "Here", "rows": 60, **changes}


FIRES = {
    "C101": [
        ({"texts": texts(alternative=" ")}, "pass"),  # a blank with its language is still text
        ({"texts": {**texts(), "benefit": {"fi": "x", "sv": " ", "en": "x"}}}, "block"),
        ({"texts": {name: text for name, text in texts().items() if name != "alternative"}}, "block"),
        ({"service": ""}, "block"),
    ],
    "C102": [({"use": "benefit_decision"}, "block"), ({"use": "sanction"}, "block")],
    "C103": [({"n_objectors_in_rows": 3}, "block"), ({"n_objectors_in_rows": None}, "error")],
    "C105": [
        ({"duel": ({**PASSING.duel[0], "low": -5}, PASSING.duel[1])}, "block"),
        ({"duel": (PASSING.duel[0], {**PASSING.duel[1], "low": -90, "high": -10})}, "block"),
        ({"duel": (PASSING.duel[0], {**PASSING.duel[1], "low": -10, "high": 90})}, "needs_attestation"),
        ({"duel": (PASSING.duel[1],)}, "error"),
        ({"duel": (PASSING.duel[0],)}, "error"),  # the unit's rule was due
        ({"rivals_due": ("unit_rule", "area")}, "error"),
        ({"rivals_due": None}, "error"),
        ({"duel": ({**PASSING.duel[0], "low": float("nan")},)}, "error"),
        ({"duel": ({**PASSING.duel[0], "low": None},)}, "error"),
    ],
    "C106": [
        ({"auc": {"value": 0.97, "low": 0.96, "high": 0.98}}, "needs_attestation"),
        ({"single_columns": ({"column": "x", "auc": 0.86},)}, "needs_attestation"),
        ({"auc": None}, "error"),
        ({"single_columns": ()}, "error"),
        ({"auc": {"value": float("nan"), "low": 0.5, "high": 0.6}}, "error"),
    ],
    "C201": [
        ({"register": register(lawful_basis={})}, "block"),
        ({"register": register(status="running")}, "block"),
        ({"register": register(risk_category="unacceptable")}, "block"),
        ({"register": register(contact_email="nobody")}, "block"),
        ({"register": register(published="yesterday")}, "block"),
        ({"register": {**register(), "schema": "another"}}, "block"),
    ],
    "C202": [
        *(({"register": register({**DIGESTS, name: "0" * 64})}, "block") for name in NAMED_DIGESTS),
        ({"register": register({})}, "block"),
        ({"register": register(revision_date="2026-11-01")}, "block"),
        ({"register": register(revision_date="2026-11-02")}, "pass"),
    ],
    "C203": [
        ({"register": register(risks={"fi": "Jotkut.", "sv": "", "en": "Some."})}, "warn"),
        ({"register": register(summary={"fi": "Lyhyt.", "sv": "x" * 151, "en": "Short."})}, "warn"),
        ({"register": register(sources={})}, "pass"),  # the registers are then named as the need file has them
        ({"register": register(sources={"school register": {"fi": "koulut"}})}, "warn"),
    ],
    "C301": [
        ({"additivity_max_error": 2e-6}, "block"),
        ({"additivity_max_error": None}, "error"),
        ({"additivity_max_error": float("nan")}, "error"),
    ],
    "C303": [
        ({"reason_stability": {**PASSING.reason_stability, "low": 0.59}}, "warn"),
        ({"reason_stability": {"overlap": None, "low": None, "high": None, "not_done": "too few"}}, "warn"),
        ({"reason_stability": {**PASSING.reason_stability, "low": float("nan")}}, "error"),
        ({"reason_stability": None}, "error"),
    ],
    "C304": [
        ({"monotone": ({**PASSING.monotone[0], "violations": 1},)}, "block"),
        ({"monotone": ()}, "pass"),
        ({"monotone": None}, "error"),
        ({"monotone": ({**PASSING.monotone[0], "probes": 0, "proved": False},)}, "error"),
        ({"monotone": ({**PASSING.monotone[0], "probes": 0, "proved": True},)}, "pass"),
    ],
    "C404": [
        ({"indicator_names": ("psychiatric care",)}, "needs_attestation"),
        ({"indicator_names": ("psychiatric care", "psychiatric care")}, "needs_attestation"),
    ],
    "C409": [
        ({"sort_key": ("rank_score desc", "person_id")}, "block"),
        ({"sort_key": ("language", "rank_score desc", "tie_key")}, "block"),
        ({"sort_key": ()}, "block"),
    ],
    "C501": [
        ({"responsible": responsible(dpo={"name": "DPO", "email": "", "phone": "1"})}, "block"),
        ({"responsible": responsible(deputy=None)}, "block"),
        ({"responsible": responsible(review_by="2026-11-01")}, "block"),
        ({"responsible": responsible(review_by="2026-11-02")}, "pass"),
        ({"responsible": responsible(review_by="")}, "block"),
        ({"responsible": responsible(), "trained_by": "demonstration  OWNER"}, "block"),
        ({"responsible": None}, "error"),
    ],
    "C410": [
        ({"flips": (flipped(high=0.9),)}, "pass"),
        ({"flips": (flipped(high=1.1),)}, "needs_attestation"),
        ({"flips": (flipped(median=None, low=None, high=None),)}, "not_testable"),
        ({"flips": (flipped(high=float("nan")),)}, "error"),
        ({"flips": None}, "error"),
    ],
    "C601": [
        ({"model_columns": ("absence.count.90d", "visits.count.90d")}, "block"),
        ({"features": (feature(basis=" "),)}, "block"),
        ({"features": ()}, "block"),
        ({"model_columns": ()}, "error"),
    ],
    "C602": [
        ({"forbidden": (reads(names=["crime.reports.*"]),)}, "block"),
        ({"forbidden": (reads(names=["religion"]),)}, "block"),
        ({"forbidden": ()}, "error"),
        ({"forbidden": None}, "error"),
    ],
    "C605": [
        ({"feature_value": (worth(low=-0.01, high=0.001),)}, "warn"),
        ({"feature_value": (worth(low=-0.01, high=0.003),)}, "pass"),
        ({"feature_value": (worth(used=False, worth=None, low=None, high=None),)}, "pass"),
        ({"feature_value": (worth(worth=None, low=None, high=None, not_done="too few"),)}, "warn"),
        ({"feature_value": ()}, "error"),
    ],
    "C606": [
        ({"membership": (member(auc=0.65, low=0.601),)}, "needs_attestation"),
        ({"membership": (member(auc=0.65, low=0.599),)}, "pass"),
        ({"membership": (member(auc=0.75, low=0.701),)}, "block"),
        ({"membership": (member(auc=None, low=None, high=None),)}, "not_testable"),
        ({"membership": (member(auc=float("nan")),)}, "error"),
        ({"membership": ()}, "error"),
    ],
    "C607": [
        ({"leaves": {"smallest_leaf": 19, "trees": 5, "levels": []}}, "block"),
        ({"leaves": {"smallest_leaf": 20, "trees": 5, "levels": [level(rows=50)]}}, "pass"),
        ({"leaves": None}, "error"),
    ],
    "C701": [
        *(({"subject": {**DIGESTS, name: "0" * 64}}, "block") for name in DIGESTS),
        ({"subject": {}}, "block"),
        ({"model_digest": "0" * 64}, "block"),  # not the model of the subject
        ({"subject": {**DIGESTS, "policy": "0" * 64}, "recorded": {**DIGESTS, "policy": "0" * 64}}, "block"),
        ({"recorded": {name: d for name, d in DIGESTS.items() if name != "code"}}, "block"),
        ({"recorded": {**DIGESTS, "test_matrix": "0" * 64}}, "block"),
        ({"recorded": {**DIGESTS, "training_matrix": "0" * 64}}, "block"),
    ],
    "C702": [
        ({"signing_keys": (key_facts("gate"),)}, "block"),
        ({"signing_keys": (key_facts("gate"), key_facts("auditor", valid_to=NOW))}, "block"),
        ({"signing_keys": (key_facts("gate"), key_facts("auditor", valid_from=NOW + timedelta(seconds=1)))}, "block"),
        ({"signing_keys": (key_facts("gate"), key_facts("auditor", keyid="gate-key"))}, "block"),
        ({"signing_keys": (key_facts("gate"), key_facts("auditor", name="Demonstration gate"))}, "block"),
        ({"trained_by": "Demonstration auditor"}, "block"),
        ({"trained_by": " demonstration  AUDITOR "}, "block"),
        ({"trained_by": "auditor"}, "block"),
        ({"trained_by": "auditor-key"}, "block"),
        ({"trained_by": ""}, "block"),
        ({"trained_by": "Demonstration gate"}, "pass"),
    ],
    "C704": [
        ({"determinism": {"rows": 1000, "different": 1}}, "block"),
        ({"determinism": {"rows": 0, "different": 0}}, "error"),
        ({"determinism": {"rows": 1000, "different": None}}, "error"),
        ({"determinism": None}, "error"),
    ],
    "C705": [
        ({"robustness": {**PASSING.robustness, "low": 0.89}}, "warn"),
        ({"robustness": None}, "error"),
    ],
    "C407": [
        ({"exploration": {**DRAWN, "sample": 2}}, "pass"),
        ({"exploration": {**DRAWN, "sample": 1}}, "needs_attestation"),
        ({"exploration": {**DRAWN, "sample": 1, "by_lot": 1, "margin": 0.02}}, "pass"),
        ({"exploration": {**DRAWN, "sample": 0, "by_lot": 1, "margin": 0.02}}, "needs_attestation"),
        ({"exploration": {**DRAWN, "sample": 0, "by_lot": 18, "margin": 0.3}}, "needs_attestation"),
        ({"exploration": {**DRAWN, "sample": 0, "below": 0}}, "pass"),
        ({"exploration": {**DRAWN, "sample": 1, "below": 1}}, "pass"),
        ({"exploration": {**DRAWN, "places": 0}}, "needs_attestation"),
        ({"exploration": {**DRAWN, "sample": -1}}, "error"),
        ({"exploration": {**DRAWN, "margin": math.nan}}, "error"),
        ({"exploration": {"places": 60}}, "error"),
        ({"exploration": None}, "error"),
        ({"exploration": {**DRAWN, "sample": 1}, "kind": "rule"}, "needs_attestation"),
    ],
    "C802": [
        *(({"override": {**OVERRIDDEN, step: False}}, "block") for step in OVERRIDDEN),
        ({"override": {**OVERRIDDEN, "added": 1}}, "error"),
        ({"override": {"added": True}}, "error"),
        ({"override": {}}, "error"),
        ({"override": None}, "error"),
    ],
    "C801": [
        ({"stop_switch_tested_at": None}, "block"),
        ({"stop_switch_tested_at": NOW - timedelta(days=31)}, "block"),
        ({"stop_switch_tested_at": NOW + timedelta(days=1)}, "block"),
        ({"stop_switch_tested_at": NOW - timedelta(days=30)}, "pass"),
    ],
}


@pytest.mark.parametrize(
    ("id", "changes", "state"), [(id, changes, state) for id, cases in FIRES.items() for changes, state in cases]
)
def test_each_check_fires_for_its_own_fault_only(id, changes, state):
    verdict = judged(evidence(**changes))
    assert check_of(verdict, id).state == state
    fired = {check.id for check in verdict.checks if check.state != "pass" and not check.attested_by}
    assert fired - set(BESIDE.get(id, ())) == ({id} if state != "pass" else set())
    expected = {"pass": "PASS_ATTESTED", "warn": "PASS_ATTESTED", "block": "BLOCK", "error": "ERROR"}
    expected |= dict.fromkeys(("needs_attestation", "not_testable"), "INCONCLUSIVE")
    assert verdict.state == expected[state]
    case = check_of(verdict, id).message_id.split(".")[1]
    assert case in (*BUILT[id].cases, "error")


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_register_entry_is_an_error_of_every_check_that_reads_it(nothing):
    verdict = judged(evidence(register=nothing))
    assert {check.id: check.state for check in verdict.checks if check.state != "pass" and not check.attested_by} == {
        "C201": "error",
        "C202": "error",
        "C203": "error",
    }


def test_an_entry_that_is_hard_to_read_warns_in_the_language_in_which_it_is():
    hard = " ".join(["Seurantajärjestelmän vaikuttavuusarviointi"] * 60)
    verdict = judged(evidence(register=register(risks={"fi": hard, "sv": "Vi hjälper.", "en": "We help."})))
    found = {check.statistic: check.state for check in verdict.checks if check.id == "C203"}
    assert found == {"texts_of_one_language_only": "pass", "lix_fi": "warn", "lix_sv": "pass"}
    assert check_of(verdict, "C203").message_id == "C203.pass"
    assert {check.message_id for check in verdict.checks if check.state == "warn"} == {"C203.hard"}
    assert verdict.state == "PASS_ATTESTED"


def test_features_of_health_wait_for_a_statement_that_names_each():
    health = (reads(feature="visits", names=["care.visit.*"]), reads(feature="x", special_category=True))
    verdict = judged(evidence(forbidden=(*health, PASSING.forbidden[0])))
    asked = [check for check in verdict.checks if check.id == "C602" and check.state != "pass"]
    assert {(check.group, check.state, check.needs) for check in asked} == {
        ("feature=visits", "needs_attestation", "AT-03"),
        ("feature=x", "needs_attestation", "AT-03"),
    }
    assert verdict.state == "INCONCLUSIVE"
    by_source = judged(evidence(forbidden=(reads(source="patient register"),)))
    assert check_of(by_source, "C602", "feature=absence").needs == "AT-03"


def test_a_feature_of_health_that_is_worth_nothing_asks_for_more_than_a_warning():
    health = {"forbidden": (reads(names=["care.visit.*"]),)}
    for row, state in (
        (worth(low=-0.01, high=0.001), "needs_attestation"),
        (worth(worth=None, low=None, high=None, not_done="too few"), "not_testable"),
        (worth(), "pass"),
    ):
        verdict = judged(evidence(**health, feature_value=(row,)))
        found = next(check for check in verdict.checks if check.id == "C605")
        assert (found.state, found.needs) == (state, None if state == "pass" else "AT-03")


def test_features_that_no_tree_uses_are_named():
    found = check_of(judged(evidence(feature_value=(worth(used=False, worth=None, low=None, high=None),))), "C605")
    assert (found.state, found.statistic) == ("pass", "features_that_no_tree_uses")
    assert found.facts["names"] == "absence"


def test_a_rare_category_blocks_by_name():
    verdict = judged(
        evidence(leaves={"smallest_leaf": 20, "trees": 5, "levels": [level(), level(level="Isle", rows=49)]})
    )
    found = [check for check in verdict.checks if check.id == "C607" and check.state == "block"]
    assert [(check.facts["names"], check.threshold) for check in found] == [("district: Isle", 50)]


def test_the_record_tells_what_was_found_inside_without_floats():
    record = judged(evidence(flips=(flipped(),))).record
    canonical_json(record)
    assert record["flips"][0]["columns"] == "age"
    assert record["monotone"][0]["proved"] == "true"
    assert set(record) >= {
        "flips",
        "feature_value",
        "membership",
        "monotone",
        "categories",
        "reason_stability",
        "robustness",
    }


def test_the_names_of_what_is_wrong_are_in_the_facts():
    verdict = judged(evidence(subject={**DIGESTS, "model": "0" * 64, "code": "0" * 64}))
    assert check_of(verdict, "C701").facts == {"names": "model, code"}
    assert check_of(verdict, "C701").value == 2
    record = register({**DIGESTS, "need": "0" * 64}, revision_date="2026-11-01", domain="magic", impact={})
    verdict = judged(evidence(register=record, responsible=responsible(owner={}, review_by="2026-01-01")))
    assert check_of(verdict, "C201").facts == {"names": "domain (not one of 21 words allowed), impact (missing)"}
    assert check_of(verdict, "C202").facts == {"names": "need, revision date 2026-11-01"}
    names = "owner.name, owner.email, owner.phone, review_by 2026-01-01 has passed"
    assert check_of(verdict, "C501").facts == {"names": names}


def test_what_the_policy_demands_of_every_need_is_asked_one_by_one():
    verdict = judge(PASSING, fair_table(small=0.0), POLICY, issued_at=NOW)
    asking = [check for check in verdict.checks if check.is_open]
    assert verdict.state == "INCONCLUSIVE"
    assert [(check.id, check.needs, check.message_id) for check in asking] == [
        ("C502", "AT-02", "C502.AT-02"),
        ("C502", "AT-04", "C502.AT-04"),
    ]
    none = POLICY.model_copy(update={"required_attestations": ()})
    assert judge(PASSING, fair_table(small=0.0), none, issued_at=NOW).state == "PASS"
    more = POLICY.model_copy(update={"required_attestations": ("AT-02", "AT-04", "AT-11")})
    assert [check.message_id for check in judged(policy=more).checks if check.is_open] == ["C502.needs_attestation"]


def test_a_list_rests_on_attestations_that_are_still_in_date():
    given = LIST.attestations
    for wrong in (
        given[:1],
        [],
        [{**row, "expires_at": NOW.isoformat()} for row in given],
        [{**row, "check": "C401"} for row in given],
        [{**row, "given_at": NOW - timedelta(days=365), "expires_at": NOW + timedelta(days=9)} for row in given],
    ):
        found = states(judge_list(replace(LIST, attestations=wrong), POLICY))
        assert found == {**dict.fromkeys(LIST_CHECKS, "pass"), "C502": "needs_attestation"}
    assert states(judge_list(replace(LIST, attestations=None), POLICY))["C502"] == "error"
    assert states(judge_list(replace(LIST, register=None), POLICY))["C202"] == "error"


def test_an_attribute_of_one_group_is_not_testable_and_a_harm_in_it_still_shows():
    world = people(40_000, small=0.0)
    world["groups"]["city"] = ["here"] * 40_000
    world["groups"]["carer"] = np.where(np.arange(40_000) < 6000, "yes", "unknown")
    verdict = judged(table=measure(**world, replicates=300))
    assert verdict.state == "INCONCLUSIVE"
    for group in ("city=here", "carer=yes", "carer=unknown"):
        found = check_of(verdict, "C401", group)
        assert (found.state, found.needs, found.value, found.facts) == (
            "not_testable",
            "AT-07",
            None,
            {"case": "one_group"},
        )
        found = check_of(verdict, "C403", group)
        assert (found.state, found.needs, found.facts["case"]) == ("not_testable", "AT-05", "one_group")
    assert check_of(verdict, "C401", "sex=f").state == "pass"
    unseen = people(40_000, small=0.0, drop_label=0.5)
    unseen["groups"]["speaker"] = np.where(unseen["groups"]["language"] == "other", "other", "unknown")
    harmed = check_of(judged(table=measure(**unseen, replicates=300)), "C401", "speaker=other")
    assert harmed.state == "block"


# States


def a_check(state, attested=None, id="C101"):
    return Check(id=id, version=1, severity="B", state=state, statistic="s", attested_by=attested)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (["pass"], "PASS"),
        (["pass", "warn"], "PASS"),
        (["warn"], "PASS"),
        (["pass", "inconclusive"], "INCONCLUSIVE"),
        (["pass", "needs_attestation"], "INCONCLUSIVE"),
        (["pass", "not_testable"], "INCONCLUSIVE"),
        (["inconclusive", "block"], "BLOCK"),
        (["block", "error"], "ERROR"),
        (["error"], "ERROR"),
        (["pass", "unheard of"], "ERROR"),
        (["pass", "inconclusive+"], "PASS_ATTESTED"),
        (["not_testable+", "needs_attestation+", "warn"], "PASS_ATTESTED"),
        (["inconclusive+", "inconclusive"], "INCONCLUSIVE"),
        (["inconclusive+", "block"], "BLOCK"),
        ([], "ERROR"),
    ],
)
def test_the_state_of_a_verdict_is_the_first_that_applies(states, verdict):
    checks = [a_check(state.rstrip("+"), "a" * 64 if state.endswith("+") else None) for state in states]
    assert verdict_state(checks, ["C101"]) == verdict


def test_an_attested_block_or_error_stays_what_it_is():
    for state in ("block", "error"):
        assert verdict_state([a_check(state, "a" * 64)], ["C101"]) == state.upper()


def test_a_required_check_that_did_not_run_is_an_error():
    assert verdict_state([a_check("pass")], ["C101", "C102"]) == "ERROR"
    assert verdict_state([a_check("pass")], []) == "ERROR"


def test_an_unknown_required_check_is_an_error_and_named():
    verdict = judged(policy=POLICY.model_copy(update={"required": (*POLICY.required, "C999")}))
    assert verdict.state == "ERROR"
    assert check_of(verdict, "C999").facts == {"wrong": "no such check is built"}


def test_no_groups_at_all_is_an_error():
    verdict = judge(PASSING, None, POLICY, issued_at=NOW)
    assert verdict.state == "ERROR"
    assert {check.id for check in verdict.checks if check.state == "error"} == {
        "C401",
        "C402",
        "C403",
        "C405",
        "C409",
        "C608",
    }


def test_a_table_measured_against_other_thresholds_is_an_error():
    table = replace(fair_table(small=0.0), thresholds=Thresholds(recall=0.5))
    assert judged(table=table).state == "ERROR"


def test_every_built_check_tests_one_principle():
    checks = [id for principle in PRINCIPLES for id in principle.checks]
    assert len(checks) == len(set(checks))
    assert set(BUILT) <= set(checks)


@pytest.mark.parametrize("id", sorted(BUILT))
def test_a_check_that_raises_is_an_error_and_never_a_pass(id):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("person 000123")

    (found,) = BUILT[id].run(Broken(), Context(POLICY, NOW))
    assert found.state == "error"
    assert "000123" not in str(found)


GIVEN = [name for name in (f.name for f in fields(PASSING)) if getattr(PASSING, name) is not None]


@pytest.mark.parametrize("name", [name for name in GIVEN if name not in ("rows", "units")])
def test_no_missing_evidence_makes_a_verdict_better(name):
    try:
        verdict = judged(evidence(**{name: None}))
    except (AttributeError, TypeError, ValueError):
        return  # not even a verdict
    shown_only = {"eligible_n", "capacity_k", "period_days", "seed", "need_id", "invented", "trained_by", "kind"}
    shown_only |= {"impact"}
    assert not verdict.state.startswith("PASS") or name in shown_only


# Rules


def rule(**changes):
    return evidence(kind="rule", duel=(), auc=None, plausible_auc_max=None, additivity_max_error=None, **changes)


def test_checks_of_probabilities_and_trees_do_not_apply_to_a_rule():
    world = {name: part for name, part in people(40_000, small=0.0).items() if name != "probability"}
    verdict = judged(rule(), measure(**world, replicates=300))
    for id in ("C105", "C106", "C301", "C303", "C304", "C605", "C606", "C607", "C705"):
        assert (check_of(verdict, id).state, check_of(verdict, id).statistic) == ("pass", "does not apply to a rule")
    assert {check.statistic for check in verdict.checks if check.id == "C401"} == {"recall_ratio_at_k_audit"}


def test_a_rule_without_a_label_shows_selection_rates_and_needs_at_07():
    world = {name: part for name, part in people(5000).items() if name not in ("probability", "label")}
    verdict = judged(rule(), measure(**world, label=None, replicates=300))
    groups = [check for check in verdict.checks if check.id == "C401"]
    assert {(check.state, check.needs) for check in groups} == {("not_testable", "AT-07")}
    assert {check.statistic for check in groups} == {"selection_rate_at_k"}
    assert check_of(verdict, "C401", "sex=f").value == pytest.approx(60 / 5000, rel=0.5)
    assert {(c.state, c.needs) for c in verdict.checks if c.id == "C403"} == {("not_testable", "AT-05")}


# Small groups, and the file


def test_a_handful_of_people_is_named_without_numbers():
    world = people(40_000, small=0.0)
    world["groups"]["language"][:3] = "rare"
    verdict = judged(table=measure(**world, replicates=300))
    rare = check_of(verdict, "C401", "language=rare")
    assert (rare.state, rare.n_bucket, rare.value, rare.needs) == ("not_testable", "<5", None, "AT-07")


def test_a_verdict_is_written_without_floats_and_read_back():
    verdict = judged(previous_sha256="d" * 64)
    data = verdict.to_json()
    canonical_json(data)  # refuses floats
    assert Verdict.from_json(data).to_json() == data
    assert data["coverage"] == {"required": list(MODEL_CHECKS), "run": sorted(MODEL_CHECKS), "skipped": []}
    assert data["prev_verdict_sha256"] == "d" * 64
    assert verdict.payload_sha256 == sha256(canonical_json(data))
    assert judged(previous_sha256="e" * 64).payload_sha256 != verdict.payload_sha256
    assert set(data["subject"]) == {*DIGESTS, "cells", "seed", "replicates", "design_effect"}
    assert data["issued_at"] == "2026-11-02T09:00:00+00:00"
    assert data["expires_at"] == "2027-01-31T09:00:00+00:00"
    assert {
        "id",
        "version",
        "severity",
        "state",
        "statistic",
        "group",
        "value",
        "low",
        "high",
        "threshold",
        "needs",
    } <= set(data["checks"][0])


def test_a_demonstration_lives_seven_days():
    assert judged(demonstration=True).expires_at == NOW + timedelta(days=7)


def test_the_same_evidence_gives_the_same_verdict():
    assert judged().to_json() == judged().to_json()


@pytest.mark.parametrize(
    "tamper",
    [
        lambda data: data.update(state="PASS"),
        lambda data: data["checks"].pop(0),
        lambda data: next(check for check in data["checks"] if check["id"] == "C801").update(state="pass"),
        lambda data: data.update(expires_at="2030-01-01T00:00:00+00:00"),
        lambda data: data.update(extra="x"),
        lambda data: data.pop("scope"),
        lambda data: data.update(schema="ennakko-verdict/2"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused(tamper):
    data = judged(evidence(stop_switch_tested_at=None)).to_json()
    tamper(data)
    with pytest.raises(NotTrusted):
        Verdict.from_json(data)


# Lists (G2)


def states(found):
    return {check.id: check.state for check in found}


def test_a_clean_list_passes_every_list_check():
    assert {"C102", "C103", "C301", "C409", "C601", "C701", "C702", "C801"} <= set(LIST_CHECKS)
    assert states(judge_list(LIST, POLICY)) == dict.fromkeys(LIST_CHECKS, "pass")
    assert states(judge_list(LIST, POLICY, ONLINE_CHECKS)) == dict.fromkeys(ONLINE_CHECKS, "pass")


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        ("C102", {"use": "sanction"}),
        ("C103", {"n_objectors": 1}),
        ("C202", {"register": register({**DIGESTS, "need": "0" * 64})}),
        ("C202", {"register": register(revision_date="2026-11-01")}),
        ("C301", {"additivity_max_error": 1e-3}),
        ("C409", {"sort_key": ("rank_score desc", "sex", "tie_key")}),
        ("C601", {"columns": ("absence.count.90d", "contacts.phone")}),
        ("C701", {"actual": {**DIGESTS, "policy": "f" * 64}}),
        ("C704", {"determinism": {"rows": 1000, "different": 3}}),
        ("C702", {"verdict_expires_at": NOW}),
        ("C702", {"signing_keys": (key_facts("auditor"),)}),
        ("C801", {"stop_switch_set": True}),
        ("C801", {"stop_switch_tested_at": None}),
    ],
)
def test_each_list_check_fires_for_its_own_fault_only(id, changes):
    found = states(judge_list(replace(LIST, **changes), POLICY))
    assert found == {**dict.fromkeys(LIST_CHECKS, "pass"), id: "block"}


def test_a_list_check_that_does_not_exist_is_an_error():
    assert states(judge_list(LIST, POLICY, ("C102", "C401", "C999"))) == {
        "C102": "pass",
        "C401": "error",
        "C999": "error",
    }


# The policy


def test_the_policy_requires_exactly_the_checks_that_are_built():
    assert sorted(POLICY.required) == sorted(BUILT)


def test_every_attestation_that_a_check_asks_for_is_in_the_policy():
    assert set(POLICY.attestations) == {f"AT-{number:02d}" for number in range(1, 13)}
    assert POLICY.attestations["AT-07"].roles == ("service_owner", "equality_officer")


def test_a_policy_with_faults_names_all_of_them(tmp_path):
    text = DEFAULT_PATH.read_text("utf-8").replace("verdict_days = 90", "verdict_days = 900")
    text = text.replace("min_recall_ratio = 0.80", 'min_recal_ratio = 0.80\nmin_recall_ratio = "a"')
    text = text.replace('roles = ["equality_officer"]', 'roles = ["boss"]')
    path = tmp_path / "policy.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput) as refusal:
        Policy.load(path)
    assert [fault.where.removeprefix(f"{path}: ") for fault in refusal.value.faults] == [
        "verdict_days",
        "thresholds.min_recall_ratio",
        "thresholds.min_recal_ratio",
        "attestations.AT-06",
    ]
    assert "Did you mean 'min_recall_ratio'?" in str(refusal.value)


def test_the_floor_is_the_default_policy_written_in_the_code():
    written = POLICY.model_dump()
    for key, (_, floor) in FLOOR.items():
        value = written
        for part in key.split("."):
            value = value[part]
        assert value == floor, key
    numbers = {name for name, value in written.items() if isinstance(value, (int, float)) and name != "schema_"}
    tables = ("thresholds", "limits", "retention")
    numbers |= {f"{table}.{name}" for table in tables for name in written[table]}
    assert set(FLOOR) == numbers
    assert (POLICY.uses, POLICY.sign_roles) == (FLOOR_USES, FLOOR_SIGN_ROLES)
    assert POLICY.required_attestations == FLOOR_REQUIRED_ATTESTATIONS
    assert {
        id: (rule.roles, rule.days, rule.days_inconclusive or rule.days) for id, rule in POLICY.attestations.items()
    } == FLOOR_ATTESTATIONS


def test_a_looser_policy_is_refused_with_everything_that_is_looser():
    text = DEFAULT_PATH.read_text("utf-8")
    start, end = text.index("required = ["), text.index("[thresholds]")
    text = text[:start] + 'required = ["C101"]\n\n' + text[end:]
    for old, new in (
        ("min_recall_ratio = 0.80", "min_recall_ratio = 0.01"),
        ("alarm_probability = 0.95", "alarm_probability = 0.99"),
        ("min_expected_positives = 30", "min_expected_positives = 1"),
        ("audit_recall = 0.30", "audit_recall = 0.90"),
        ("replicates = 1000", "replicates = 200"),
        ('uses = ["outreach_ranking"]', 'uses = ["outreach_ranking", "sanction"]'),
        ('sign_roles = ["gate", "auditor"]', 'sign_roles = ["gate", "dpo"]'),
        ('roles = ["service_owner", "equality_officer"]', 'roles = ["service_owner"]'),
        ("days_inconclusive = 92", ""),
        ("max_reject_share = 0.01", "max_reject_share = 0.5"),
        ('required_attestations = ["AT-02", "AT-04"]', 'required_attestations = ["AT-04", "AT-99"]'),
    ):
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(BadInput) as refusal:
        Policy.parse(text.encode(), "p")
    assert [fault.where.removeprefix("p: ") for fault in refusal.value.faults] == [
        "audit_recall",
        "replicates",
        "thresholds.min_recall_ratio",
        "thresholds.alarm_probability",
        "thresholds.min_expected_positives",
        "limits.max_reject_share",
        "required",
        "sign_roles",
        "required_attestations",
        "required_attestations",
        "uses",
        "attestations.AT-07.roles",
        "attestations.AT-07.days_inconclusive",
    ]
    assert str(refusal.value.faults[2]) == (
        "p: thresholds.min_recall_ratio: is 0.01, and at least 0.8 may be given. "
        "Give at least 0.8: a policy that is not signed may only be stricter than ethics/policy.toml"
    )


def test_a_stricter_policy_is_read():
    text = DEFAULT_PATH.read_text("utf-8").replace("min_recall_ratio = 0.80", "min_recall_ratio = 0.90")
    text = text.replace("verdict_days = 90", "verdict_days = 30").replace("replicates = 1000", "replicates = 4000")
    text = text.replace("strict_services = []", 'strict_services = ["health"]')
    assert Policy.parse(text.encode(), "p").thresholds.min_recall_ratio == 0.90


def test_two_keys_of_one_holder_are_one_however_the_name_is_spelt():
    keys = (key_facts("gate") | {"name": "Head of Services"}, key_facts("auditor") | {"name": "head_of  SERVICES"})
    found = check_of(judged(evidence(signing_keys=keys)), "C702")
    assert (found.state, found.facts["names"]) == ("block", "one name for two roles")
