"""A draft is valid whatever the answers, and says what is missing."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethics.refusals import BadInput
from models.need import parse_need
from models.need_draft import DraftAnswers, draft_need
from models.need_parts import MARK
from models.need_review import review_need

TODAY = date(2026, 6, 30)
CODES = st.from_regex(r"[a-z0-9_:.-]{1,20}\*?", fullmatch=True).filter(lambda code: code.strip("*") != "")
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(str.strip)


def answers(**changes):
    plain = {
        "title": "Losing touch",
        "service": "outreach",
        "age": (16, 28),
        "label_codes": ["status.neet"],
        "horizon_days": 180,
        "feature_codes": ["school.absence.*", "school.grade"],
        "workers": 4,
        "attempts": 15,
        "today": TODAY,
    }
    return DraftAnswers(**{**plain, **changes})


@given(
    title=TEXTS,
    service=TEXTS,
    feature_codes=st.lists(CODES, min_size=1, max_size=5),
    label_codes=st.lists(CODES, min_size=1, max_size=3),
)
def test_a_draft_of_any_answers_is_a_valid_need_file(title, service, feature_codes, label_codes):
    text = draft_need(answers(title=title, service=service, feature_codes=feature_codes, label_codes=label_codes))
    need = parse_need(text.encode(), "drafted.toml")
    assert (need.title.en, need.service) == (title, service)
    assert list(need.label.codes) == label_codes
    assert [code for feature in need.features for code in feature.codes] == list(dict.fromkeys(feature_codes))
    assert need.capacity.k == 60


def test_labels_of_a_draft_are_known_by_the_extract_date():
    need = parse_need(draft_need(answers(horizon_days=365)).encode(), "drafted.toml")
    ahead = need.label.horizon_days + need.label.reporting_delay_days
    assert (TODAY - need.cohort.as_of.last).days >= ahead
    assert need.cohort.as_of.n_days > need.splits.tests + ahead // need.cohort.as_of.every_days


def test_every_mark_is_found_by_the_review():
    text = draft_need(answers())
    remarks = review_need(parse_need(text.encode(), "drafted.toml"), TODAY)
    marked = [remark for remark in remarks if remark.missing.startswith("still to be written")]
    named = sum(len(remark.missing.split(",")) for remark in marked)
    assert named == text.count(f'"{MARK}') - 1  # one stands in the comment at the top
    assert {remark.weight for remark in marked} == {"blocks"}


def test_answers_that_do_not_fit_together_are_refused():
    text = draft_need(answers(horizon_days=10**6))
    with pytest.raises(BadInput, match="longer than a century"):
        parse_need(text.encode(), "drafted.toml")
