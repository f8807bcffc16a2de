"""What the report says in words: who is missed, whose signatures there are, and no code word where there is a word."""

import re
from dataclasses import replace
from functools import cache

import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, fair_table, people, vouched
from test_report import Page, verdict_of

from ethics import judge, measure, render_report
from ethics.digests import decimal
from ethics.policy import GateThresholds
from ethics.policy_floor import FLOOR
from ethics.report import figures_of
from ethics.report_changes import changed_in_words
from ethics.report_document import Cell, Column, Row, Section, Table, without_blank_tables, words
from ethics.report_findings import checks_chapter, to_do, warned, worst_answers
from ethics.report_missed import missed
from ethics.report_page import Signature
from ethics.report_text import LANGUAGES, Language

EN = Language("en")


@cache
def blocked():
    return verdict_of()


def told(verdict, table, t=EN):
    section = missed(verdict, figures_of(verdict, table.cells), t)
    return " ".join(section.paragraphs), section.tables


# Who is missed


def test_a_group_that_is_withheld_and_asked_about_is_named_and_nobody_is_never_said():
    verdict, table = blocked()
    figures = figures_of(verdict, table.cells)
    blocking = [check for check in verdict.checks if check.id == "C401" and check.state == "block"]
    assert blocking
    name = EN.group_of(blocking[0].group)
    everything = frozenset((rate, group) for rate in ("missed_residents@k_audit",) for group in ("other",))
    at = ("groups", "language")
    figures.counts[at] = figures.counts[at].hiding(everything)
    section = missed(verdict, figures, EN)
    text = " ".join(section.paragraphs)
    assert "A check found that need is missed in these groups too. How many people is withheld" in text
    assert name in text
    assert EN("missed.nobody") not in text
    assert all(row.group != "other" for one in section.tables for row in one.rows)


@pytest.mark.parametrize("check_id", ["C401", "C402", "C403", "C405"])
@pytest.mark.parametrize("state", ["block", "needs_attestation", "inconclusive", "not_testable", "warn", "error"])
def test_nobody_is_missed_only_where_every_check_of_groups_passes(check_id, state):
    verdict, _, figures = nothing_wrong()
    assert " ".join(missed(verdict, figures, EN).paragraphs).endswith(EN("missed.nobody"))
    at = next(i for i, check in enumerate(verdict.checks) if check.id == check_id)
    group = "sex=f" if check_id != "C405" else None
    other = replace(verdict.checks[at], state=state, group=group, facts={})
    checks = (*verdict.checks[:at], other, *verdict.checks[at + 1 :])
    text = " ".join(missed(replace(verdict, checks=checks), figures, EN).paragraphs)
    assert EN("missed.nobody") not in text
    assert ("sex: female" in text) == (
        group is not None and (check_id != "C403" or state in ("block", "warn", "needs_attestation"))
    )


@cache
def nothing_wrong():
    """Two large groups of a fair world, every check a pass, and nothing withheld."""
    world = people(30_000)
    world["groups"] = {"sex": world["groups"]["sex"]}
    table = measure(**world, seed=3, replicates=100)
    verdict = judge(PASSING, table, POLICY, vouched(), issued_at=NOW)
    checks = tuple(replace(c, state="pass") if c.id[:2] == "C4" else c for c in verdict.checks)
    verdict = replace(verdict, checks=checks)
    figures = figures_of(verdict, table.cells)
    figures.least = 1000  # a few people more or less are chance, in a fair world
    assert not any(figures.counts["groups", "sex"].is_hidden("missed_residents@k_audit", g) for g in "fm")
    return verdict, table, figures


def test_a_withheld_number_without_any_finding_is_said_to_be_withheld():
    verdict, _, figures = nothing_wrong()
    at = ("groups", "sex")
    whole = figures.counts[at]
    figures.counts[at] = whole.hiding(frozenset({("missed_residents@k_audit", "m")}))
    text = " ".join(missed(verdict, figures, EN).paragraphs)
    figures.counts[at] = whole
    assert "is withheld" in text and "sex: male" in text
    assert EN("missed.nobody") not in text


# Thresholds as the policy has them


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_of_the_policy_has_a_name(language):
    t = Language(language)
    keys = {*FLOOR, "required", *(f"thresholds.{name}" for name in GateThresholds.model_fields)}
    assert not [key for key in sorted(keys) if t.policy_name(key) == key]


def test_thresholds_are_printed_as_the_policy_has_them():
    verdict, table = blocked()
    t = Language("fi")
    assert t.number(0.005) == "0,005"
    for value in verdict.scope["thresholds"].values():
        assert float(t.exact(value).replace(",", ".").replace("\u00a0", "")) == float(value)
    html = render_report(verdict, table.cells, language="fi")
    row = re.search(r"<th scope=\"row\">ihmisen muuttamien rivien osuus vähintään</th><td[^>]*>([^<]*)", html)
    assert row[1] == "0,005"
    assert "min_override_share" not in html


def test_minus_nothing_is_nothing_and_numbers_of_an_interval_look_alike():
    t = Language("sv")
    assert (t.number(-0.0), t.count(-0.2), t.percent(-0.0001), t.number(-0.001)) == (
        "0",
        "0",
        "0,0\u00a0%",
        "\u22120,001",
    )
    assert t.interval(0.997, 1.0) == "1,00\u2060–\u20601,00"


def test_a_part_of_missed_need_lies_within_its_own_interval():
    for world in ({"small": 0.0003, "drop_label": 0.45}, {"small": 0.006, "n": 9000}):
        table = fair_table(**world).table
        parts = table.filter(
            pl.col("measure").is_in(["expected_recall", "missed_by_base_rate", "missed_by_model"]),
            pl.col("value").is_finite(),
        )
        assert parts.height > 10
        assert parts.filter((pl.col("value") < pl.col("low")) | (pl.col("value") > pl.col("high"))).is_empty()


# Page one


def test_checks_are_counted_once_each_by_their_worst_answer():
    verdict, _ = blocked()
    counts = worst_answers(verdict, EN)
    assert sum(counts.values()) == len({check.id for check in verdict.checks}) < len(verdict.checks)
    assert counts["block"] == len({check.id for check in verdict.checks if check.state == "block"})


def test_page_one_says_who_signed_and_whose_signature_is_missing():
    verdict, table = blocked()
    alone = Page(render_report(verdict, table.cells)).text()
    assert "Signed by nobody yet. It counts only when signed by: the gate, the auditor." in alone
    by = [Signature("gate", "Demonstration gate")]
    first = Page(render_report(verdict, table.cells, signed_by=by)).text()
    assert "Signed by Demonstration gate (the gate). It counts only when signed by: the auditor." in first
    both = Page(
        render_report(verdict, table.cells, signed_by=[*by, Signature("auditor", "Demonstration auditor")])
    ).text()
    assert "Signed by Demonstration gate (the gate), Demonstration auditor (the auditor)." in both
    assert "It counts only" not in both


def test_page_one_says_who_signed_the_policy_and_where_it_is_looser():
    verdict, table = blocked()
    assert "signed by nobody, so every threshold is the template's or stricter" in render_report(
        verdict, table.cells
    ).replace("&#39;", "'")
    looser = [
        {"key": "thresholds.min_override_share", "value": "0.002", "template": "0.005"},
        {"key": "required", "value": "without C409", "template": "with C409"},
    ]
    by = [{"role": "service_owner", "name": "Head of service", "keyid": "k", "demonstration": True}]
    signed = replace(verdict, scope={**verdict.scope, "policy_signed_by": by, "looser_than_template": looser})
    text = Page(render_report(signed, table.cells, language="sv")).text()
    assert "undertecknade av Head of service (tjänstens ägare)" in text
    assert "andel rader som människor ändrat, minst: 0,002, i mallen 0,005; kontroll C409 saknas" in text


# Tables of which nothing may be told


def table_of(*rows):
    columns = [Column("group", "Group"), Column("n", "People", True)]
    return Table("t", "People by group", columns, [Row([words(name), cell]) for name, cell in rows])


def test_a_table_of_which_everything_is_withheld_is_a_sentence():
    withheld, number = Cell("withheld", is_number=True, withheld=True), Cell("7", "7", is_number=True)
    section = without_blank_tables(Section("s", "S", tables=[table_of(("a", withheld), ("b", withheld))]), EN)
    assert section.tables == []
    assert section.notes == [EN("page.all_withheld", captions="People by group")]
    section = without_blank_tables(Section("s", "S", tables=[table_of(("a", withheld), ("b", number))]), EN)
    assert [row.cells[0].text for row in section.tables[0].rows] == ["b"]
    assert section.notes == [EN("page.all_withheld", captions="a")]


def test_no_table_of_the_page_is_withheld_from_end_to_end():
    verdict, table = verdict_of(table=fair_table(small=0.006, n=9000))
    html = render_report(verdict, table.cells)
    for one in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        cells = re.findall(r'<td class="number"[^>]*>(.*?)</td>', one)
        assert 'class="state' in one or not cells or set(cells) != {"withheld"}


# No code word in another language

ENGLISH = (
    *("pooled", "everyone", "others", "withheld", "not measured", "inconclusive", "attested", "people", "ranking"),
    *("recall ratio", "need at the same score", "min_", "max_", "k_audit", "language=", "sex=", "age_band", "the gate"),
)


@pytest.mark.parametrize("language", ["fi", "sv"])
def test_no_known_english_word_stands_in_another_language(language):
    verdict, table = blocked()
    plain = {"fi": "poissaolot", "sv": "frånvaro", "en": "absences"}
    rows = [
        {"what": "threshold", "name": "min_recall_ratio", "before": "0.80", "after": "0.75"},
        {"what": "check", "name": "C401 language=fi", "before": "inconclusive", "after": "inconclusive (attested)"},
        {"what": "check", "name": "C402 sex × language need_at_score", "before": "–", "after": "pass"},
        {"what": "value", "name": "C405", "before": "0.8 (0.7 to 0.9)", "after": "1"},
        {"what": "group", "name": "sex=f", "before": "measured", "after": "–"},
        {"what": "feature", "name": "absence", "before": "3 columns", "after": "2 columns"},
        {"what": "scope", "name": "capacity_k", "before": "60", "after": "70"},
        {"what": "subject", "name": "training_matrix", "before": "1" * 12, "after": "2" * 12},
    ]
    record = {
        **verdict.record,
        "features": [{**row, "plain": plain, "purpose": "", "basis": ""} for row in verdict.record["features"]],
        "changes": {"since": "v-1", "issued_at": "2026-08-01T09:00:00+00:00", "rows": rows},
    }
    told = replace(verdict, record=record, attestations=())  # what people wrote stays as they wrote it
    html = render_report(told, table.cells, language=language)
    shown = re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)
    found = [word for word in ENGLISH if re.search(rf"(?<![\w.]){re.escape(word)}", shown)]
    assert found == []
    assert {"fi": "sukupuoli: nainen", "sv": "kön: kvinna"}[language] in shown
    keys = [
        key for key in Language(language)._texts if "_" in key and re.search(rf"(?<![\w-]){re.escape(key)}\b", shown)
    ]
    assert keys == []


def test_what_has_changed_is_told_in_the_language_of_the_page():
    t = Language("fi")
    assert changed_in_words("check", "C401 sex=f", t) == "C401 sukupuoli: nainen"
    assert changed_in_words("check", "pass (attested)", t) == "hyväksytty, vahvistettu"
    assert changed_in_words("subject", "ab12ab12ab12", t) == "ab12ab12ab12"
    assert changed_in_words("check", "C402 age_band × sex need_at_score #2", t) == (
        "C402 ikäryhmä × sukupuoli tarve samalla pistemäärällä #2"
    )


def test_decimal_thresholds_of_checks_lose_no_digit():
    for value in (0.005, 0.002, 1e-6, 0.8, 30):
        assert float(EN.exact(value)) == float(decimal(value))


def test_many_groups_of_one_cause_are_one_line_and_one_row():
    verdict, _ = blocked()
    first = next(check for check in verdict.checks if check.id == "C401")
    names = ["sex=F", "sex=M", "age_band=55<=", "disability=Y", "deprivation_band=90-100%"]
    slope = [
        replace(first, id="C405", group=g, state="warn", statistic="calibration_slope", value=0.5 - 0.01 * i)
        for i, g in enumerate(names)
    ]
    slope = [replace(check, low=0.4, high=0.6, threshold=0.8, facts={"case": "slope"}) for check in slope]
    label = [
        replace(first, id="C403", group=g, state="not_testable", value=None, facts={"case": "too_few_indicators"})
        for g in names
    ]
    others = tuple(check for check in verdict.checks if check.id not in ("C403", "C405"))
    verdict = replace(verdict, checks=(*others, *slope, *label))
    for language, said_as in (("en", "55 or over"), ("fi", "vähintään 55"), ("sv", "minst 55")):
        t = Language(language)
        (item,) = [item for item in to_do(verdict, t, "owner") if item.id == "C405"]
        (line,) = item.lines
        assert said_as in line and t.exact(0.8) in line and "Y" not in line and "_" not in line
        core = checks_chapter(verdict, t).tables[0]
        (row,) = [row for row in core.rows if row.cells[0].text == "C403"]
        assert said_as in row.cells[2].text
        said = warned(verdict, to_do(verdict, t, "owner"), t)
        assert said and "{" not in said


@pytest.mark.parametrize(
    ("attribute", "group", "said"),
    [
        ("sex", "F", "female"),
        ("Sex", "m", "male"),
        ("disability", "Y", "yes"),
        ("married", "No", "no"),
        ("age_band", "<18", "under 18"),
        ("age_band", "65+", "65 or over"),
        ("age_band", "≤5", "up to 5"),
        ("age_band", ">64", "over 64"),
        ("deprivation_band", "90-100%", "90–100\u00a0%"),
        ("district", "d-12", "d-12"),
    ],
)
def test_values_are_told_in_words_however_a_register_writes_them(attribute, group, said):
    assert Language("en").group(attribute, group) == said
