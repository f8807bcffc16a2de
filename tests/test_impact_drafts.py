"""Drafts of FRIA and DPIA: what is known stands in them, what is not answered is named, and nothing is made up."""

from dataclasses import replace

import pytest
from ethics_cases import DIGESTS, NOW, POLICY, evidence, fair_table, people, vouched
from test_report import Page

from ethics import judge, measure
from ethics.document_texts import LANGUAGES, Words
from ethics.impact_drafts import DOCUMENTS, render_dpia, render_fria, unanswered
from models.need import NEEDS, load_need
from models.register_facts import impact_answers, register_of
from models.register_parts import IMPACT_KEYS

RENDER = {"fria": render_fria, "dpia": render_dpia}
SHARED = {"consulted"}


def verdict_of(need="youth_exclusion", table=None, impact=None, **changes):
    loaded = load_need(NEEDS / f"{need}.toml")
    answers = impact_answers(loaded) if impact is None else impact
    case = evidence(need_id=need, register=register_of(loaded, DIGESTS), impact=answers, **changes)
    return judge(case, table or fair_table(small=0.0), POLICY, vouched(need), issued_at=NOW)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_need_that_answers_everything_leaves_nothing_unanswered(document, language):
    verdict = verdict_of()
    assert unanswered(verdict, document, language) == []
    page = Page(RENDER[document](verdict, language))
    assert Words("impact", language)("page.missing_none") in page.text()
    assert (
        Words("impact", language)("page.not_answered", question="", who="", where="").split(":")[0] not in page.text()
    )
    assert verdict.record["impact"]["consulted"][language] in page.text()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_missing_answer_is_named_with_who_and_where(language):
    verdict = verdict_of(impact={})
    named = {document: unanswered(verdict, document, language) for document in DOCUMENTS}
    assert {item.key for items in named.values() for item in items} == set(IMPACT_KEYS)
    assert {item.key for item in named["fria"]} & {item.key for item in named["dpia"]} == SHARED
    for document, items in named.items():
        page = Page(RENDER[document](verdict, language))
        lines = [element["text"] for element in page.all("li")]
        for item in items:
            (line,) = [text for text in lines if item.question in text]
            assert item.who in line and item.where in line
            assert f"[impact] {item.key}.{language}" in item.where and "youth_exclusion.toml" in item.where
        assert len(lines) == len(items)


def test_an_answer_in_another_language_is_shown_as_such_and_still_missing():
    verdict = verdict_of(impact={"harms": {"fi": "", "sv": "", "en": "Being watched."}})
    assert "harms" in {item.key for item in unanswered(verdict, "fria", "fi")}
    assert "harms" not in {item.key for item in unanswered(verdict, "fria", "en")}
    page = Page(render_fria(verdict, "fi"))
    (shown,) = [element for element in page.all("p") if element["text"] == "Being watched."]
    assert shown["lang"] == "en"


def test_the_needs_that_come_along_say_which_answers_are_missing():
    assert unanswered(verdict_of("health_benefit"), "fria", "sv")[0].key == "duration"
    keys = {item.key for item in unanswered(verdict_of("preschool_reach"), "fria", "fi")}
    assert keys == {"duration", "harms", "measures", "consulted"}


def test_who_is_missed_and_who_could_not_be_tested_stand_in_both():
    world = people(40_000, small=0.0, drop_label=0.5)
    world["groups"]["language"][:3] = "rare"
    verdict = verdict_of(table=measure(**world, replicates=300))
    found = next(check for check in verdict.checks if (check.id, check.group) == ("C401", "language=other"))
    for render in RENDER.values():
        page = Page(render(verdict, "en"))
        text = page.text()
        assert "language: other" in text and "rare" in text and "cannot be tested" in text
        assert f"about {found.facts['missed']:,} people".replace(",", "\u00a0") in text
        rows = [row["text"] for row in page.all("tr")]
        (rare,) = [row for row in rows if "rare" in row and "C401" in row]
        assert "about" not in rare  # three people: that they exist, not how they fare


def test_what_the_run_knows_is_filled_in():
    verdict = verdict_of()
    fria, dpia = (Page(render(verdict, "fi")).text() for render in (render_fria, render_dpia))
    for text in (fria, dpia):
        assert DIGESTS["model"] in text and verdict.verdict_id in text and "C401" in text
    assert "enintään 60 ihmistä 40\u00a0000" in fria
    assert "Youth Act 1285/2016" in dpia and "AT-02" in dpia and "AT-04" in fria


def test_the_drafts_escape_what_people_write():
    verdict = verdict_of(impact={"harms": {"en": "<script>alert(1)</script>"}})
    assert "<script>" not in render_fria(verdict, "en")


def test_the_groups_table_has_a_row_for_each_answer_and_no_empty_column():
    verdict = verdict_of()
    (first, *_) = (check for check in verdict.checks if check.id == "C401")
    poor = [
        replace(first, id="C405", state="warn", group=group, facts={"case": case})
        for group in ("sex=f", "sex=m")
        for case in ("slope", "error")
    ]
    label = [
        replace(first, id="C403", state="not_testable", group=g, facts={"case": "too_few_indicators"})
        for g in ("sex=f", "sex=m")
    ]
    checks = [check for check in verdict.checks if check.id not in ("C403", "C405")]
    page = Page(render_fria(replace(verdict, checks=(*checks, *poor, *label)), "en"))
    rows = [row["text"] for row in page.all("tr")]
    (calibration,) = [row for row in rows if "C405" in row and "sex" in row]
    assert "female, male" in calibration
    assert not [row for row in rows if "C403" in row and "sex" in row]
    assert "Missed" not in [head["text"] for head in page.all("th")]
