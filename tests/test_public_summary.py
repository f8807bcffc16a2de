"""The page for residents: what it says, in three languages, and what it must not give away."""

import re
import tomllib
from dataclasses import replace
from string import Formatter

import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, evidence, fair_table, people, register, texts
from test_report import Page, contrast, luminance

from ethics import BadInput, NotTrusted, judge, measure
from ethics.public_summary import (
    HERE,
    LANGUAGES,
    MOST_ROWS,
    public_texts,
    render_public_summaries,
    render_public_summary,
)
from ethics.public_tables import REACHED, published_tables
from ethics.report_text import Language
from ethics.verdict import CHECK_STATES, VERDICT_STATES


def summary(language="en", case=PASSING, table=None, **options):
    table = fair_table(small=0.0) if table is None else table
    verdict = judge(case, table, POLICY, issued_at=NOW, **options)
    return render_public_summary(verdict, table.cells, language), verdict


def test_the_same_verdict_gives_the_same_bytes():
    html, verdict = summary()
    assert html == summary()[0]
    assert render_public_summaries(verdict, fair_table(small=0.0).cells)["public.en.html"] == html


def test_other_cells_and_other_languages_are_refused():
    table = fair_table(small=0.0)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    with pytest.raises(NotTrusted):
        render_public_summary(verdict, table.cells.with_columns(pl.col("n") + 1), "fi")
    with pytest.raises(BadInput, match=r"language: is 'de', and the summary is not written in it\. Give one of: fi"):
        render_public_summary(verdict, table.cells, "de")


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_a_resident_needs(language):
    html, verdict = summary(language, evidence(texts=texts(title="Outreach <youth> work")))
    page, t = Page(html), public_texts(language)
    assert page.all("html")[0]["lang"] == language
    assert page.all("title")[0]["text"] == t["page.title"].format(title=f"Outreach <youth> work {language}")
    headings = [element["text"] for element in page.all("h2")]
    assert headings == [
        t[f"{section}.heading"] for section in ("result", "purpose", "person", "data", "fair", "untested", "ask")
    ]
    text = page.text()
    for part in ("question", "action", "benefit", "alternative"):
        assert f"{part} {language}" in text
    assert t["person.decides"] in text
    assert "owner@example.org" in text
    assert verdict.verdict_id in text
    assert verdict.subject["model"][:12] in text
    assert "2026" in text


def test_the_words_of_every_result_and_of_every_group_are_there():
    for language in LANGUAGES:
        t = public_texts(language)
        assert all(t[f"result.{state}"] for state in VERDICT_STATES)
        assert all(t[f"words.{state}"] for state in CHECK_STATES)


def test_the_three_languages_have_the_same_keys_and_names():
    def names(text):
        return sorted(name.split(":")[0] for _, name, _, _ in Formatter().parse(text) if name)

    first = public_texts("en")
    for language in LANGUAGES:
        t = public_texts(language)
        assert t.keys() == first.keys()
        assert {key: names(text) for key, text in t.items() if key != "page.day"} == {
            key: names(text) for key, text in first.items() if key != "page.day"
        }


def test_every_text_is_used():
    source = (HERE / "public_summary.py").read_text("utf-8")
    source += (HERE / "templates" / "public.html.jinja").read_text("utf-8")
    by_value = ("result.", "words.")
    for key in public_texts("en"):
        name = key.split(".")[1]
        assert key in source or key.startswith(by_value) or name == "heading" or name in ("demonstration", "invented")


def test_a_blocked_verdict_says_so_and_names_the_group():
    html, verdict = summary(table=fair_table(small=0.0003, drop_label=0.45))
    text = Page(html).text()
    assert verdict.state == "BLOCK"
    assert "■ The ranking may not be used: the check found a fault" in text
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td><td>([^<]*)</td></tr>', html)
    assert rows[0][0] == "language: other"
    assert rows[0][2] == "disadvantage found"
    assert [int(share.split()[0]) for _, share, _ in rows] == sorted(int(share.split()[0]) for _, share, _ in rows)
    assert "language: rare" in text  # named as not tested
    assert all("rare" not in name for name, _, _ in rows)


def test_figures_are_those_that_may_be_published():
    table = fair_table(small=0.002)
    html, _ = summary(table=table)
    shown = {(one.attribute, group) for one in published_tables(table, 10) for group in one.groups}
    hidden = {
        (one.attribute, group)
        for one in published_tables(table, 10)
        for group in one.groups
        if one.is_hidden(REACHED, group)
    }
    rows = {tuple(name.split(": ")) for name in re.findall(r'<th scope="row">([^<]*)</th>', html)}
    assert hidden
    assert rows == {tuple(Language("en").group_of("=".join(pair)).split(": ")) for pair in shown - hidden}


def test_few_rows_of_many_groups():
    world = people(30_000)
    world["groups"] = {"district": [f"d{i % 12:02d}" for i in range(30_000)]}
    html, _ = summary(table=measure(**world, seed=1, replicates=200))
    assert len(re.findall(r'<th scope="row">', html)) == MOST_ROWS
    assert "The table shows the 8 lowest of 12 groups." in html


def test_what_was_not_established_is_not_claimed():
    html, _ = summary(case=evidence(forbidden=None))
    assert "was not" not in html
    assert "The check did not establish that no forbidden data is used." in html
    assert "none was found" not in html
    assert "none was found" in summary()[0]


def test_demonstrations_invented_people_and_rules_are_said():
    html, _ = summary(case=evidence(invented=True, kind="rule"), demonstration=True)
    assert "DEMONSTRATION" in html
    assert "INVENTED PEOPLE" in html
    assert "A written rule puts people in order" in html
    assert "DEMONSTRATION" not in summary()[0]


def test_without_groups_nothing_is_claimed_of_them():
    verdict = judge(PASSING, None, POLICY, issued_at=NOW)
    text = Page(render_public_summary(verdict, None, "en")).text()
    assert "No figures by group can be shown." in text
    assert "Every group could be tested." not in text


def test_structure_links_and_contrast():
    html, _ = summary()
    page = Page(html)
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == 1
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(ids) == len(set(ids))
    assert {link["href"].removeprefix("#") for link in page.all("a")} <= set(ids)
    assert {name for element in page.elements for name in element.get("aria-labelledby", "").split()} <= set(ids)
    assert len(page.all("caption")) == len(page.all("table")) == 1
    assert not page.all("script")
    assert "http" not in html
    palette = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", html))
    for name in ("text", "quiet", "link", "good", "open", "bad"):
        assert min(contrast(palette[name], palette[ground]) for ground in ("paper", "tint")) >= 4.5
    assert contrast(palette["line"], palette["paper"]) >= 3
    assert luminance(palette["paper"]) == 1


def test_no_text_speaks_of_more_than_the_verdict_knows():
    for language in LANGUAGES:
        written = tomllib.loads((HERE / "messages" / "public" / f"{language}.toml").read_text("utf-8"))
        assert all(text == text.strip() and text for section in written.values() for text in section.values())


def test_a_signer_or_trainer_is_not_named():
    html, _ = summary(case=replace(PASSING, trained_by="Somebody Who Trains"))
    assert "Somebody Who Trains" not in html


@pytest.mark.parametrize("language", ["fi", "sv"])
def test_registers_attributes_and_groups_are_named_in_the_language_of_the_page(language):
    names = dict.fromkeys(LANGUAGES, "school register") | {"fi": "koulurekisteri", "sv": "skolregistret"}
    case = evidence(register=register(sources={"school register": names}))
    html, _ = summary(language, case, fair_table(small=0.0003, drop_label=0.45))
    text, t = Page(html).text(), Language(language)
    assert names[language] in text and "school register" not in text
    assert t.group_of("language=other") in html and t.attribute("language") in text
    assert "language" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
