"""The register entry: every key of the standard for every need that comes with Ennakko, and what makes it refused."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from ethics_cases import DIGESTS, NOW, POLICY, evidence, fair_table, register, vouched
from test_report import Page

from ethics import BadInput, judge
from ethics.document_texts import LANGUAGES, Words, _texts, check_title
from ethics.readability import lix
from ethics.register_page import (
    BLOCKS,
    ats_of,
    group_words,
    groups_text,
    page_blocks,
    page_json,
    page_text,
    performance_text,
    write_register_files,
)
from ethics.register_record import ATS, NAMED_DIGESTS, ats_entry, ats_faults, language_faults, record_faults
from ethics.report_text import Language
from ethics.verdict import Verdict
from models.need import NEEDS, load_need, parse_need
from models.register_facts import impact_answers, register_of, responsible_of

REQUIRED = [
    "standard_version",
    "lang",
    "publication_date",
    "last_change_date",
    "revision_date",
    "name",
    "organization",
    "department",
    "country",
    "contact_email",
    "description_short",
    "status",
    "decision_making_process",
    "domain",
    "area",
    "goal",
    "impact",
    "risks",
    "risk_category",
    "proportionality",
    "lawful_basis",
    "training_data",
    "source_data",
    "connected_data_sources",
    "algorithm_type",
    "type",
    "monitoring",
    "human_intervention",
    "objection_procedure",
]
SHIPPED = sorted([*NEEDS.glob("*.toml"), *(Path(__file__).parent / "needs").glob("*.toml")])
WHEN = {"changed": date(2026, 11, 2), "valid_days": 90}


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda path: path.stem)
def need(request):
    return load_need(request.param)


def test_the_required_keys_are_those_of_the_standard():
    assert {name for name, kind in ATS.items() if kind.required} == set(REQUIRED)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_need_that_comes_along_has_every_key_typed(need, language):
    record = register_of(need, DIGESTS)
    entry = ats_entry(record, language, **WHEN)
    assert ats_faults(entry) == {}
    assert set(REQUIRED) <= set(entry)
    assert all(isinstance(text, str) and text.strip() for text in entry.values())
    assert "TO DO" not in json.dumps(entry) and "{" not in json.dumps(entry)[1:-1]
    assert (entry["lang"], entry["revision_date"]) == (language, "2027-06-30")
    assert entry["algorithm_type"] == ("self-learning" if need.kind == "model" else "rule-based")
    assert 500 <= len(entry["description"]) <= 10_000


def test_every_need_that_comes_along_can_be_published_and_read(need):
    record = register_of(need, DIGESTS)
    assert record_faults(record, **WHEN) == language_faults(record) == []
    assert record["digests"] == {name: DIGESTS[name] for name in NAMED_DIGESTS}
    for language, limit in (("fi", POLICY.thresholds.max_lix_fi), ("sv", POLICY.thresholds.max_lix_sv)):
        text = " ".join(said[language] for said in record["texts"].values())
        assert 20 < lix(text) <= limit
    people = responsible_of(need)
    assert all(people[role][way] for role in ("owner", "deputy", "dpo") for way in ("name", "email", "phone"))


@pytest.mark.parametrize("key", REQUIRED)
def test_a_key_that_is_taken_away_is_named(key):
    entry = ats_entry(register(), "en", **WHEN)
    assert ats_faults(entry) == {}
    assert ats_faults({name: text for name, text in entry.items() if name != key}) == {key: "missing"}
    assert ats_faults({**entry, key: " "}).keys() == {key}
    assert ats_faults({**entry, key: 3}) == {key: "not text"}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"description_short": "x" * 151}, "longer than 150 characters"),
        ({"status": "running"}, "not one of 7 words allowed"),
        ({"domain": "magic"}, "not one of 21 words allowed"),
        ({"revision_date": "30.6.2027"}, "not a day"),
        ({"revision_date": "2027-02-30"}, "not a day"),
        ({"contact_email": "the desk"}, "not an e-mail address"),
        ({"description": "Too short."}, "shorter than 500 characters"),
        ({"favourite_colour": "blue"}, "is not a key of the standard"),
    ],
)
def test_what_the_standard_would_refuse_is_said(changes, wrong):
    assert ats_faults({**ats_entry(register(), "en", **WHEN), **changes}) == dict.fromkeys(changes, wrong)


def test_a_text_that_no_language_has_is_missing_and_one_that_a_language_lacks_is_told_apart():
    nowhere, swedish = register(risks={}), register(risks={"fi": "Jotkut.", "sv": "", "en": "Some."})
    assert record_faults(nowhere, **WHEN) == ["risks (missing)"]
    assert language_faults(nowhere) == record_faults(swedish, **WHEN) == []
    assert language_faults(swedish) == ["risks.sv"]
    assert language_faults(register(summary={"fi": "a", "sv": "b", "en": "c" * 151})) == ["summary.en (151 characters)"]


def test_a_need_without_a_register_part_names_everything_that_people_must_write():
    text = (NEEDS / "youth_exclusion.toml").read_text("utf-8")
    bare = parse_need(text[: text.index("[register]")].encode(), "youth_exclusion.toml")
    assert record_faults(register_of(bare, DIGESTS), **WHEN) == [
        f"{name} (missing)"
        for name in (
            *("organisation", "department", "summary", "status", "decision_process", "domain", "area", "impact"),
            *("risks", "risk_category", "proportionality", "lawful_basis", "human_intervention"),
        )
    ]
    assert set(impact_answers(bare)["harms"].values()) == {""}


def test_marked_texts_and_the_address_of_a_draft_count_as_missing():
    text = (NEEDS / "youth_exclusion.toml").read_text("utf-8").replace("outreach.head@", "to-do@")
    text = text.replace('fi = "Koko kaupunki"', 'fi = "TO DO: x"').replace('domain = "family, ', 'domain = "TO DO: "#')
    marked = parse_need(text.encode(), "youth_exclusion.toml")
    record = register_of(marked, DIGESTS)
    assert responsible_of(marked)["owner"]["email"] == record["contact"]["email"] == ""
    assert record_faults(record, **WHEN) == ["owner.email (missing)", "domain (missing)"]
    assert language_faults(record) == ["area.fi"]


def test_faults_of_the_register_part_are_told_with_all_others():
    text = (NEEDS / "youth_exclusion.toml").read_text("utf-8")
    for old, new in (
        ('status = "development"', 'status = "running"'),
        ('[register.summary]\nfi = "', f'[register.summary]\nfi = "{"x" * 160}'),
        ("[impact.harms]", "[impact.harm]"),
        ("[register.area]", "[register.arena]"),
    ):
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(BadInput) as refusal:
        parse_need(text.encode(), "youth_exclusion.toml")
    wheres = {fault.where.removeprefix("youth_exclusion.toml: ") for fault in refusal.value.faults}
    assert {"register.summary", "register.arena", "impact.harm"} <= wheres
    said = str(refusal.value)
    assert "longer than 150 characters (fi " in said and "Did you mean 'harms'?" in said


@pytest.mark.parametrize(
    ("key", "word", "wrong"),
    [
        ("status", "running", "status is 'running', which no register knows"),
        ("domain", "health", "domain is 'health', which no register knows"),
        ("risk_category", "unacceptable", "risk_category is 'unacceptable', which no register knows"),
    ],
)
def test_words_that_no_register_knows_are_refused(key, word, wrong):
    lines = (NEEDS / "youth_exclusion.toml").read_text("utf-8").splitlines()
    text = "\n".join(f'{key} = "{word}"' if line.startswith(f"{key} =") else line for line in lines)
    with pytest.raises(BadInput, match=wrong):
        parse_need(text.encode(), "youth_exclusion.toml")


# The page, from a verdict


@pytest.fixture(scope="module")
def verdict():
    return verdict_of()


def verdict_of(**changes):
    need = load_need(NEEDS / "youth_exclusion.toml")
    case = {"register": register_of(need, DIGESTS), "impact": impact_answers(need), **changes}
    return judge(evidence(**case), fair_table(small=0.0), POLICY, vouched(), issued_at=NOW)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_every_block_in_every_language(verdict, language):
    blocks = page_blocks(verdict, language)
    assert [block["id"] for block in blocks] == list(BLOCKS)
    missing = Words("register", language)("page.missing")
    for block in blocks:
        assert block["heading"] and all(item["term"] and item["text"] != missing for item in block["items"])
    text = page_text(verdict, language)
    assert "+358 9 000 0004" in text and DIGESTS["model"] in text and "2027-06-30" in text
    entry = ats_of(verdict, language)
    assert ats_faults(entry) == {}
    assert entry["performance"] and entry["data_bias"] in text
    assert page_json(verdict, language)["changed"] == entry["last_change_date"] == "2026-11-02"


def test_what_is_not_written_is_said_and_never_guessed():
    words = Words("register", "sv")
    blocks = page_blocks(verdict_of(register=register(risks={"fi": "Jotkut."})), "sv")
    (risks,) = [item["text"] for block in blocks for item in block["items"] if item["term"] == words("terms.risks")]
    assert risks == words("page.missing")


def test_the_files_are_written_from_the_signed_verdict_alone_and_twice_the_same(verdict, tmp_path):
    read_back = Verdict.from_json(verdict.to_json())
    first = write_register_files(verdict, tmp_path / "a")
    again = write_register_files(read_back, tmp_path / "b")
    assert {path.name for path in first} == {
        name
        for lang in LANGUAGES
        for name in (
            *(f"ats-0.3.1.{lang}.json", f"register.{lang}.json", f"register.{lang}.html", f"register.{lang}.txt"),
            *(f"fria.{lang}.html", f"dpia.{lang}.html"),
        )
    }
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    for path in first:
        content = path.read_text("utf-8")
        if path.suffix == ".json":
            json.loads(content)
        if path.suffix == ".html":
            page = Page(content)
            assert page.all("html")[0]["lang"] == path.name.split(".")[1]
            assert next(int(e["tag"][1]) for e in page.elements if e["tag"] in ("h1", "h2", "h3")) == 1
            assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
            assert not page.all("script") and "http" not in content
            ids = [element["id"] for element in page.elements if "id" in element]
            assert len(ids) == len(set(ids))
            assert {e["aria-labelledby"] for e in page.elements if "aria-labelledby" in e} <= set(ids)


def test_a_verdict_without_a_register_record_is_refused(tmp_path):
    bare = judge(evidence(register=None), fair_table(small=0.0), POLICY, issued_at=NOW)
    with pytest.raises(BadInput, match="holds no register record"):
        write_register_files(bare, tmp_path)


def test_invented_people_and_demonstrations_are_marked():
    case = evidence(invented=True, register=register())
    shown = judge(case, fair_table(small=0.0), POLICY, issued_at=NOW, demonstration=True)
    assert "INVENTED PEOPLE" in page_text(shown, "en") and "DEMONSTRATION" in page_text(shown, "en")
    assert "INVENTED" not in page_text(
        replace(shown, demonstration=False, scope={**shown.scope, "invented": False}), "en"
    )


@pytest.mark.parametrize("document", ["register", "impact"])
def test_every_text_has_three_languages_with_the_same_names(document):
    import re

    for key, texts in _texts(document).items():
        names = {language: set(re.findall(r"\{(\w+)\}", texts[language])) for language in LANGUAGES}
        assert all(texts[language].strip() for language in LANGUAGES), key
        assert names["fi"] == names["sv"] == names["en"], key


def test_a_title_that_is_not_translated_says_that_it_is_english():
    assert check_title("C201", "sv") == ("Registerposten är fullständig", "sv")
    assert check_title("C999", "sv") == ("C999", "en")


def test_lix_is_words_per_sentence_and_long_words():
    assert lix("Anna ringer. Hon föreslår ett möte.") == pytest.approx(6 / 2 + 100 / 6)
    assert lix("a b c d e f g h i j") == 10
    assert lix("") != lix("")


# What was measured, in words


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_check_of_the_label_says_nothing_of_groups_that_passed(language):
    table = fair_table(small=0.0)
    verdict = judge(evidence(register=register(), indicator_names=[]), table, POLICY, issued_at=NOW)
    groups = [check.group for check in verdict.checks if check.id == "C401"]
    checks = [replace(check, state="pass") if check.id == "C401" else check for check in verdict.checks]
    checks += [
        replace(next(check for check in checks if check.id == "C401"), id="C403", state="not_testable", group=group)
        for group in groups
    ]
    checks = [replace(check, state="needs_attestation") if check.id == "C404" else check for check in checks]
    verdict = replace(verdict, checks=tuple(checks))
    assert set(group_words(verdict).values()) == {"shown"}
    words, said = Words("register", language), groups_text(verdict, language)
    assert words("groups_found", shown=len(groups), alarm=0, unknown=0) in said
    assert said.count(words("label_not_tested")) == 1
    alarm = [replace(check, state="block") if check.id == "C403" else check for check in checks]
    assert set(group_words(replace(verdict, checks=tuple(alarm))).values()) == {"alarm"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_performance_names_its_cut_the_hardest_rival_and_what_is_not_shown(language):
    verdict = verdict_of()
    duel = [
        {"rival": name, "cut": "1067", "ours": "850", "theirs": "800", "difference": value, "low": low, "high": high}
        for name, value, low, high in (
            ("unit_rule", "58.113", "38.5889", "80.9401"),
            ("best_column", "-9.2027", "-21.114", "7.19992"),
        )
    ]
    verdict = replace(verdict, record={**verdict.record, "duel": duel})
    said, t, words = performance_text(verdict, language), Language(language), Words("register", language)
    assert t.count(1067) in said and t.number(58.113) in said
    assert t("model.rivals.best_column") in said and t.number(-9.2027) in said
    assert words("performance_not_shown") not in said
    checks = [replace(c, state="needs_attestation") if c.id == "C105" else c for c in verdict.checks]
    assert words("performance_not_shown") in performance_text(replace(verdict, checks=tuple(checks)), language)
