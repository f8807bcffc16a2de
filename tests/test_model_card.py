"""The model card: everything the run shows, nothing it does not, and nothing that a need file could smuggle in."""

import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import polars as pl
import pytest

from models.metrics import Estimate
from models.model_card import CardFacts, label_weaknesses, model_card, not_measured, short_card
from models.need import NEEDS, load_need, parse_need

NAN = float("nan")
NEED = load_need(NEEDS / "youth_exclusion.toml")
BASELINES = pl.DataFrame(
    {
        "order": ["model", "chance", "unit_rule"],
        "what": ["youth_exclusion, learnt from 900 rows", "so many places, drawn", "absence.count.90d desc"],
        "found_at_capacity": [30.0, 10.0, 29.0],
        "found_at_capacity_low": [22.0, 7.0, 21.0],
        "found_at_capacity_high": [38.0, 13.0, 37.0],
        "difference_found": [0.0, 20.0, 1.0],
        "difference_found_low": [0.0, 12.0, -5.0],
        "difference_found_high": [0.0, 28.0, 7.0],
    }
)
ATTRITION = pl.DataFrame(
    {
        "part": ["train", "train"],
        "step": ["everyone", "age"],
        "rule": ["everyone", "aged 16 to 28 in whole years"],
        "rows": [5000, 1000],
        "persons": [2500, 600],
        "rows_lost": [0, 4000],
    }
)
FACTS = CardFacts(
    need=NEED,
    model_digest="a" * 64,
    extract_date=date(2026, 1, 1),
    invented=True,
    train_dates=(date(2024, 1, 29), date(2024, 4, 22)),
    judged_dates=(date(2025, 3, 24),),
    test_dates=(date(2024, 12, 30), date(2025, 3, 24)),
    n_train=1000,
    n_judged=500,
    n_unseen=40,
    n_in_need=90,
    n_unknown=100,
    figures={"auc": Estimate(0.71, 0.66, 0.76), "calibration_slope": Estimate(NAN, NAN, NAN)},
    unseen={"auc": Estimate(0.69, 0.55, 0.8)},
    findings=("30 people in need are found",),
    baselines=BASELINES,
    attrition=ATTRITION,
    advice="Use the simple rule: in 60 places the model does not clearly find more.",
)


class Page(HTMLParser):
    """Text and tags of a page; complains of tags that are not closed."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.open = [], [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def test_the_card_tells_purpose_responsibility_data_figures_and_how_to_object():
    words = Page(model_card(FACTS)).words
    for said in (
        NEED.title.en,
        NEED.title.fi,
        NEED.title.sv,
        NEED.question.en,
        NEED.alternative.en,
        "never a decision, a duty or a sanction",
        "Head of outreach youth work, outreach.head@example.invalid",
        "Data protection officer",
        "1,000 rows, as of 2024-01-29, 2024-04-22",
        "500 persons, as of 2025-03-24",
        "60 people in a period of 7 days",
        "AUC (0.5 is chance) 0.710 (0.660 to 0.760) 0.690 (0.550 to 0.800)",
        "Never seen in training (40 persons)",
        "the unit's rule absence.count.90d desc 29 (21 to 37) +1 (-5 to +7)",
        "Advice: Use the simple rule: in 60 places",
        "aged 16 to 28 in whole years 1,000 4,000 600",
        "90 of 900 rows with a known outcome are in need (10.0%)",
        "Of 1,000 rows to learn from, 100 have no known outcome",
        "Call +358 9 000 0004, or write to Data protection officer",
        "a" * 64,
        NEED.digest,
    ):
        assert said in words, said
    assert "calibration slope" not in words, "a figure that was not determined is not shown"


def test_the_card_is_no_permission_and_an_invented_city_is_told():
    words = Page(model_card(FACTS)).words
    assert "It is no permission" in words and "Invented city: no line of this card is about real people" in words
    assert "Invented city" not in Page(model_card(replace(FACTS, invented=False))).words
    assert short_card(FACTS).startswith("*Invented city") and "nobody is ranked before approval" in short_card(FACTS)


def test_the_card_can_be_read_by_a_screen_reader_and_runs_nothing():
    page = Page(model_card(FACTS))
    assert ("html", {"lang": "en"}) in page.tags
    assert {attributes["lang"] for tag, attributes in page.tags if tag == "span"} == {"fi", "sv"}
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert len(tables) == len([tag for tag, _ in page.tags if tag == "caption"]) == 4
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link", "a", "form"}


def test_what_a_need_file_says_is_text_and_never_markup():
    text = NEED.bytes.decode().replace("Young people losing touch", "<script>alert(1)</script> & young people losing")
    nasty = parse_need(text.encode(), "youth_exclusion.toml")
    html = model_card(replace(FACTS, need=nasty))
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; young" in html


def test_the_same_facts_give_the_same_card():
    assert model_card(FACTS) == model_card(replace(FACTS))


def test_what_was_not_measured_is_listed_until_it_is():
    said = not_measured(FACTS)
    assert "fairness between groups, which the gate judges apart" in said
    assert "what a contact changes for those contacted" in said
    assert "what each feature is worth" in said and "anything after 2026-01-01" in said
    table = pl.DataFrame({"feature": ["absence"]})
    more = replace(FACTS, feature_value=table, learning_curve=table, search=table, hold_outs=table, censoring=table)
    assert not_measured(more) == [
        "fairness between groups, which the gate judges apart",
        "what a contact changes for those contacted",
        "anything after 2026-01-01",
    ]
    nothing = replace(FACTS, figures={}, unseen={}, baselines=None)
    assert "how many of those ranked first are in need" in not_measured(nothing)
    assert "ranking of persons never seen in training" in not_measured(nothing)


def test_a_card_of_a_rule_without_a_label_claims_nothing():
    rule = load_need(NEEDS / "cervical_screening.toml").model_copy(update={"label": None})
    facts = CardFacts(
        need=rule,
        model_digest="b" * 64,
        extract_date=date(2026, 1, 1),
        invented=False,
        train_dates=(),
        judged_dates=(date(2025, 3, 24),),
        test_dates=(date(2025, 3, 24),),
        n_train=0,
        n_judged=500,
        n_unseen=500,
        n_in_need=None,
        n_unknown=None,
        figures={},
    )
    words = Page(model_card(facts)).words
    assert "There is no label: whether those ranked first are in need is not known" in words
    assert "a written rule" in words and "Learnt from nothing" in words
    assert not re.search(r"0\.\d\d\d|95 %", words), "no figure, since none was measured"
    assert "what each feature is worth" not in words, "a rule has nothing to refit"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"indicators": ()}, "0 independent signs of need: too few to test whether the label sees the same need"),
        ({}, "Only what a register records under status.neet counts: need that nobody recorded is missed"),
    ],
)
def test_the_weaknesses_of_a_label_come_from_the_file(changed, said):
    need = NEED.model_copy(update=changed)
    assert any(said in line for line in label_weaknesses(replace(FACTS, need=need)))


def test_counting_those_who_left_as_not_in_need_is_told_as_a_weakness():
    label = NEED.label.model_copy(update={"censoring": "negative", "censored_by": ("moved_away",)})
    lines = label_weaknesses(replace(FACTS, need=NEED.model_copy(update={"label": label})))
    assert "Who left is counted as not in need, whether they were or not." in lines
