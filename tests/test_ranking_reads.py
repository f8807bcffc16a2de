"""What the ranking reads of the attributes checked for fairness: told alike by report, register and public page."""

from dataclasses import replace

import pytest
from ethics_cases import NOW, POLICY, evidence, fair_table, feature, register
from test_report import Page

from ethics import judge
from ethics.document_texts import LANGUAGES
from ethics.public_summary import public_texts, render_public_summary
from ethics.ranking_reads import attributes_apart, attributes_read
from ethics.register_page import page_text
from ethics.report import render_report
from ethics.report_text import Language

NOTHING = {"attribute": None, "of": "self", "codes": ["school.absence.*"]}
NAMES = ("sex", "age_band", "language_group", "district", "deprivation_band")


def verdict_of(attributes=("sex", "language"), **reads):
    case = evidence(features=(feature(**NOTHING), feature("years", **{**NOTHING, "codes": [], **reads})))
    verdict = judge(replace(case, register=register()), fair_table(small=0.0), POLICY, issued_at=NOW)
    return replace(verdict, scope={**verdict.scope, "group_attributes": list(attributes)})


@pytest.mark.parametrize(
    ("reads", "found"),
    [
        ({}, []),
        ({"attribute": "age"}, ["age_band"]),
        ({"attribute": "birth_date"}, ["age_band"]),
        ({"attribute": "gender"}, ["sex"]),
        ({"attribute": "contact_language"}, ["language_group"]),
        ({"attribute": "district"}, ["district", "deprivation_band"]),
        ({"of": "district", "codes": ["school.absence.*"]}, ["district", "deprivation_band"]),
        ({"of": "household", "codes": ["school.absence.*"]}, []),
        ({"codes": ["person.language.sv", "person.moved"]}, ["language_group"]),
    ],
)
def test_what_a_feature_reads_decides_whatever_its_name(reads, found):
    verdict = verdict_of(NAMES, **reads)
    assert attributes_read(verdict) == found
    assert attributes_apart(verdict) == [name for name in NAMES if name not in found]


def test_a_feature_that_only_bears_the_name_of_an_attribute_reads_none():
    verdict = verdict_of(NAMES)
    features = [{**row, "feature": "age"} for row in verdict.record["features"]]
    assert attributes_read(replace(verdict, record={**verdict.record, "features": features})) == []
    older = [{name: row[name] for name in row if name not in NOTHING} for row in features]
    assert attributes_read(replace(verdict, record={**verdict.record, "features": older})) == ["age_band"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_three_documents_tell_alike_what_the_order_reads(language):
    cells, t = fair_table(small=0.0).cells, Language(language)
    for reads, read in (({"attribute": "gender"}, True), ({}, False)):
        verdict = verdict_of(**reads)
        sex = t.attribute("sex")
        report = Page(render_report(verdict, cells, language=language)).text()
        public = Page(render_public_summary(verdict, cells, language)).text()
        entry = page_text(verdict, language)
        apart = f"{t.attribute('language')}" if read else f"{sex}, {t.attribute('language')}"
        assert t("privacy.groups", groups=apart) in report
        assert public_texts(language)["data.groups"].format(groups=apart) in public
        assert (t("privacy.groups_read", groups=sex) in report) == read
        assert (public_texts(language)["data.groups_read"].format(groups=sex) in public) == read
        told = {"fi": "Järjestys lukee itsekin", "sv": "Ordningen läser själv", "en": "Read by the order itself"}
        assert (told[language] in entry) == read
        assert not any(lie in entry for lie in ("eikä järjestys näe", "ordningen ser dem", "order never sees"))
