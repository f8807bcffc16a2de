"""Risk list beside benefit list: the figures of the report by hand, and the word refused where nothing founds it."""

from datetime import date

import numpy as np
import pytest

from ethics.refusals import BadInput
from features.spec import Texts
from models.benefit import check_wording, parse_evidence_table
from models.benefit_report import benefit_report, refuse_unfounded_wording
from models.need import NEEDS, parse_need

TODAY = date(2026, 6, 30)
TEXT = (NEEDS / "health_benefit.toml").read_text("utf-8")
TABLE = """
schema = 1
version = "test-1"
review_by = 2027-01-31
[[effects]]
id = "pressure"
needs = ["health_benefit"]
cities = ["here"]
label_codes = ["hospital.avoidable*"]
action = "Treatment that lowers systolic blood pressure"
source = "Invented for this test"
size = { measure = "risk_ratio", value = 0.8, low = 0.7, high = 0.9 }
eligible = [{ column = "sbp", at_least = 140, plain = { fi = "a", sv = "b", en = "c" } }]
contra_indications = []
minutes_per_attempt = 20
"""


@pytest.fixture
def table():
    return parse_evidence_table(TABLE.encode(), "effects.toml")


@pytest.fixture
def need():
    import re

    return parse_need(
        re.sub(
            r"workers = \d+",
            "workers = 1",
            re.sub(
                r"attempts_per_worker_per_period = \d+",
                "attempts_per_worker_per_period = 2",
                re.sub(r"contact_success = [\d.]+", "contact_success = 0.5", TEXT),
            ),
        ).encode(),
        "health_benefit.toml",
    )


def refused(need, table=None, today=TODAY, city=None, trial=None):
    refuse_unfounded_wording(need, city, table=table, trial=trial, today=today)


def report(need, table, city="here"):
    risk = np.array([0.5, 0.4, 0.3, 0.2])
    pressure = np.array([120.0, 150.0, 160.0, np.nan])
    return benefit_report(
        need, city, table=table, probability=risk, columns={"sbp": pressure}, tie_keys=list("abcd"), today=TODAY
    )


def test_the_report_by_hand(need, table):
    found = report(need, table)
    effect, lists = found["effects"][0], found["lists"]
    assert [effect[k] for k in ("eligible", "not_known", "not_eligible", "contra_indicated")] == [2, 1, 1, 0]
    assert effect["missing"] == {"sbp": 1}
    # By risk the first two are 0.5 (not eligible) and 0.4; by benefit 0.4 and 0.3. Half of the attempts succeed.
    assert lists["k"] == 2 and lists["overlap_share"] == 0.5
    assert lists["avoided_by_risk"]["value"] == pytest.approx(0.5 * 0.2 * 0.4)
    assert lists["avoided_by_benefit"]["value"] == pytest.approx(0.5 * 0.2 * 0.7)
    assert lists["avoided_by_benefit"]["low"] == pytest.approx(0.5 * 0.1 * 0.7)
    assert lists["attempts_per_event_by_benefit"]["value"] == pytest.approx(2 / 0.07)
    assert lists["attempts_per_event_by_benefit"]["high"] == pytest.approx(2 / 0.035)
    assert found["table_sha256"] == table.digest


def test_no_effect_in_this_city_is_no_report(need, table):
    assert report(need, table, city="elsewhere") is None


def test_without_minutes_nothing_is_ranked(need):
    bare = parse_evidence_table(TABLE.replace("minutes_per_attempt = 20\n", "").encode(), "effects.toml")
    assert report(need, bare)["lists"] is None


def test_the_word_is_refused_without_a_table_and_allowed_with_one(table):
    words = TEXT.replace('fi = "', 'fi = "Eniten hyötyä: ', 1).replace('en = "', 'en = "Most benefit: ', 1)
    need = parse_need(words.encode(), "health_benefit.toml")
    with pytest.raises(BadInput, match="says 'hyötyä' without evidence") as refusal:
        refused(need)
    assert {fault.where for fault in refusal.value.faults} == {
        "health_benefit.toml: title.fi",
        "health_benefit.toml: title.en",
    }
    refused(need, table)
    with pytest.raises(BadInput, match="was to be reviewed by 2027-01-31"):
        refused(need, table, date(2027, 2, 1))


@pytest.mark.parametrize("path", sorted(NEEDS.glob("*.toml")), ids=lambda path: path.stem)
def test_needs_that_come_with_ennakko_claim_no_benefit(path):
    refused(parse_need(path.read_bytes(), path.name))


@pytest.mark.parametrize(
    ("language", "text", "claims"),
    [
        ("en", "people on unemployment benefit", False),
        ("en", "the most beneficial call", True),
        ("en", "those in the benefit register", False),
        ("fi", "Nuori voi hyödyntää ohjausta", False),
        ("fi", "eniten hyo\u0308tya\u0308", True),
        ("fi", "kenelle on benefit", True),
        ("sv", "ett nyttigt samtal", True),
        ("sv", "till gagn för unga", True),
        ("sv", "utnyttjar sin studieplats", False),
    ],
)
def test_the_word_is_told_from_others_that_look_like_it(language, text, claims):
    said = {"fi": "a", "sv": "b", "en": "c"} | {language: text}
    if claims:
        with pytest.raises(BadInput, match="without evidence or trial"):
            check_wording(Texts(**said), "title", None)
    else:
        check_wording(Texts(**said), "title", None)


def test_an_effect_for_other_cities_founds_nothing_in_this_one(table):
    need = parse_need(TEXT.replace('en = "', 'en = "Most benefit: ', 1).encode(), "health_benefit.toml")
    refused(need, table, city="here")
    with pytest.raises(BadInput, match="has no effect for need 'health_benefit' in city 'elsewhere'"):
        refused(need, table, city="elsewhere")
