"""What an auditor would miss: each remark appears when its cause is put in, and goes when it is mended."""

from datetime import date, timedelta

import pytest

from features.city import open_city
from features.synthetic import synthetic_city
from models.need import NEEDS, load_need, parse_need
from models.need_review import review_in_city, review_need

TODAY = date(2026, 6, 30)
LABEL = 'codes = ["status.neet"]\ncontact_codes'
TEXT = (NEEDS / "youth_exclusion.toml").read_text("utf-8")


def reviewed(*changes, today=TODAY):
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return review_need(parse_need(text.encode(), "youth_exclusion.toml"), today)


def places(remarks):
    return {(remark.where, remark.check) for remark in remarks}


CAUSES = {
    "a forbidden code": (('codes = ["school.guidance"]', 'codes = ["crime.reports.*"]'), "blocks", "crime.reports.*"),
    "a forbidden code by its Finnish name": (('codes = ["school.guidance"]', 'codes = ["rikos"]'), "blocks", "rikos"),
    "a label of use": ((LABEL, LABEL.replace("status.neet", "care.visit.gp")), "attest", "care.visit.gp"),
    "a label of spending": ((LABEL, LABEL.replace("status.neet", "care.cost")), "attest", "care.cost"),
    "nothing censors": (
        ('min_days_at_risk = 150\nreporting_delay_days = 30\ncensored_by = ["death", "moved_away"]', ""),
        "weak",
        "label.censored_by",
    ),
    "one test date": (("tests = 3", "tests = 1"), "weak", "splits.tests"),
    "persons split": (('kind = "temporal"\ntests = 3\njudged = 1', 'kind = "person"'), "blocks", "splits.kind"),
    "no notice": (("[notice]", "[limits]\n#"), "weak", "notice"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_brings_its_remark(cause):
    change, weight, told = CAUSES[cause]
    if cause == "no notice":
        text = TEXT[: TEXT.index("[notice]")]
        remarks = review_need(parse_need(text.encode(), "youth_exclusion.toml"), TODAY)
    else:
        remarks = reviewed(change)
    new = set(remarks) - set(reviewed())
    assert any(remark.weight == weight and told in remark.where + remark.missing for remark in new), new


def test_a_review_that_comes_near_is_said_in_time():
    review_by = parse_need(TEXT.encode(), "youth_exclusion.toml").review_by
    assert "review_by" in {remark.where for remark in reviewed(today=review_by - timedelta(days=30))}
    assert "review_by" not in {remark.where for remark in reviewed(today=review_by - timedelta(days=200))}


def test_ordinary_words_that_hold_a_forbidden_one_are_not_forbidden():
    remarks = reviewed(('codes = ["school.guidance"]', 'codes = ["school.renamed_course", "photosynthesis.course"]'))
    assert not [remark for remark in remarks if "no model may read" in remark.missing]


@pytest.mark.parametrize("path", sorted(NEEDS.glob("*.toml")), ids=lambda path: path.stem)
def test_needs_that_come_with_ennakko_have_nothing_that_the_gate_would_block(path):
    assert not [remark for remark in review_need(load_need(path), TODAY) if remark.weight == "blocks"]


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review") / "city"
    synthetic_city(folder, 1_000, seed=3)
    return open_city(folder)


def test_a_city_tells_of_codes_that_never_occur_delays_and_sizes(city):
    text = TEXT.replace('codes = ["school.guidance"]', 'codes = ["school.guidence"]')
    text = text.replace("reporting_delay_days = 30", "reporting_delay_days = 2").replace("workers = 4", "workers = 900")
    remarks, facts = review_in_city(parse_need(text.encode(), "youth_exclusion.toml"), city)
    told = {remark.where: remark for remark in remarks}
    assert "school.guidance" in told["features 'guidance'.codes"].mend
    assert told["label.reporting_delay_days"].check == "C103"
    assert "capacity" in told and told["cohort"].check == "C401"
    assert 0 < facts["mature"] <= facts["as_of_dates"] and 0 < facts["eligible"] < 1_000
    assert 0 < facts["in_need_share"] < 0.5


def test_an_honest_need_in_its_city_has_no_slip(city):
    remarks, _ = review_in_city(load_need(NEEDS / "youth_exclusion.toml"), city)
    assert {remark.where for remark in remarks} <= {"cohort"}  # 1 000 persons are few


SILENT = {
    "a hold-out the city does not know": ('hold_out = "district"', 'hold_out = "borough"', "splits.hold_out"),
    "a label nobody reaches": ("at_least = 2", "at_least = 900", "label"),
    "more tests than dates": ("tests = 3", "tests = 50", "splits.tests"),
    "a horizon beyond the data": ("horizon_days = 180", "horizon_days = 2000", "label.horizon_days"),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_training_would_refuse_in_this_city_is_said_before(case, city):
    old, new, where = SILENT[case]
    assert old in TEXT
    remarks, _ = review_in_city(parse_need(TEXT.replace(old, new).encode(), "youth_exclusion.toml"), city)
    assert (where, "blocks") in {(remark.where, remark.weight) for remark in remarks}
