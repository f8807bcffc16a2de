import csv
import io
import json
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import polars as pl
import pytest
from ethics_cases import (
    NOW,
    PASSING,
    POLICY,
    attestation,
    evidence,
    fair_table,
    feature,
    key_ring,
    people,
    texts,
    vouched,
)

from ethics import PRINCIPLES, BadInput, NotTrusted, judge, measure, read_attestations, render_report, sign_attestation
from ethics.checks import BUILT
from ethics.outcome_checks import OUTCOME_CHECKS
from ethics.report import SHAPE, TONE, figures_of, render, render_all
from ethics.report_page import Page as Page_
from ethics.report_records import CHAPTERS
from ethics.report_text import LANGUAGES, MESSAGES, Language, record_layouts
from ethics.verdict import CHECK_STATES, VERDICT_STATES, Check

VOID = {"meta", "link", "br", "line", "circle", "rect", "path", "polyline"}


class Page(HTMLParser):
    """The elements of a page in order, with their text; refuses tags that do not close."""

    def __init__(self, html):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs), "within": [parent["tag"] for parent in self._open]}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs), "within": []})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]

    def text(self):
        return self.all("body")[0]["text"]


def verdict_of(case=PASSING, table=None, attestations=(), **options):
    table = fair_table(small=0.0003, drop_label=0.45) if table is None else table
    return judge(case, table, POLICY, (*vouched(), *attestations), issued_at=NOW, **options), table


@pytest.fixture(scope="module")
def blocked():
    case = evidence(invented=True, stop_switch_tested_at=None, texts=texts(title="Youth <at> risk & more"))
    verdict, table = verdict_of(case, demonstration=True)
    return verdict, table, render_report(verdict, table.cells)


@pytest.fixture(scope="module")
def page(blocked):
    return Page(blocked[2])


def test_the_same_verdict_gives_the_same_bytes(blocked):
    verdict, table, html = blocked
    assert render_report(verdict, table.cells) == html


def test_other_cells_are_refused(blocked):
    verdict, table, _ = blocked
    with pytest.raises(NotTrusted, match="Give the file of cells that was written with the verdict"):
        render_report(verdict, table.cells.with_columns(pl.col("n") + 1))
    with pytest.raises(NotTrusted):
        render_report(verdict, None)


def test_a_language_the_report_is_not_written_in_is_refused(blocked):
    with pytest.raises(
        BadInput, match=r"language: is 'xx', and the report is not written in it\. Give one of: en, fi, sv"
    ):
        render_report(blocked[0], blocked[1].cells, language="xx")


# What it says


def test_page_one_is_verdict_who_is_missed_what_could_not_be_tested_and_what_to_do(page):
    headings = [element["text"] for element in page.all("h2")]
    assert headings[:4] == ["Verdict", "Who is missed", "What could not be tested", "What must be done"]
    assert "■ Blocked" in page.text()
    first = next(element["text"] for element in page.all("li") if "ol" in element["within"])
    assert "[C401] The group's need is missed, and base rates do not explain it" in first
    assert re.search(r"language: other · recall ratio at k\*: 0\.\d\d \(0\.\d\d\sto\s0\.\d\d\) against 0\.80", first)
    assert re.search(r"about \d+ residents in need would be missed", first)
    assert "Whom to ask: Demonstration service owner, owner@example.org, 09 000 0000" in page.text()
    missed = next(element["text"] for element in page.all("section") if element["aria-labelledby"] == "missed")
    assert re.search(r"the audit cut, k\*\), [\d,]+ of the [\d,]+ residents in need would not be found\.", missed)
    assert re.search(r"language: other\s*\d+ \(\d+\sto\s\d+\)", missed)


def test_the_core_checks_are_the_first_table_and_the_rest_stand_by_principle(page):
    captions = [element["text"] for element in page.all("caption")]
    after_page_one = captions[captions.index("The core checks, worst first") :]
    assert after_page_one[1].startswith("P1 People-orientedness: checks")
    table = next(element for element in page.all("table") if "The core checks" in element["text"])
    core = {id for id, check in BUILT.items() if check.core}
    assert set(re.findall(r"C\d{3}", table["text"])) == core


def test_principle_names_that_are_not_confirmed_are_printed_as_such(blocked):
    verdict, table, _ = blocked
    finnish = Page(render_report(verdict, table.cells, language="fi")).text()
    assert "P7 Turvallisuus (sanamuoto vahvistamatta)" in finnish
    assert "P1 Ihmislähtöisyys (sanamuoto vahvistamatta)" not in finnish


def test_demonstrations_and_invented_people_are_said_loudly(page):
    banners = [element["text"] for element in page.all("p") if element.get("class") == "banner"]
    assert [text.split(":")[0] for text in banners] == ["DEMONSTRATION", "INVENTED PEOPLE", "DEMONSTRATION"]


def test_a_real_verdict_says_neither():
    html = render_report(*(lambda pair: (pair[0], pair[1].cells))(verdict_of(table=fair_table(small=0.0))))
    assert "DEMONSTRATION" not in html
    assert "INVENTED" not in html
    assert "Nothing. Every check passes or is attested, or warns and stops nothing." in html


def test_households_that_are_not_known_are_said():
    verdict, table = verdict_of(table=fair_table(small=0.0))
    words = "Households are not known, so people who live together are counted as independent"
    assert words in Page(render_report(verdict, table.cells)).text()
    verdict, table = verdict_of(table=replace(fair_table(small=0.0), households="known"))
    assert words not in Page(render_report(verdict, table.cells)).text()


def test_an_open_check_names_who_may_lift_it():
    verdict, table = verdict_of(table=fair_table(small=0.0, n=60_000, shift=1.2))
    html = Page(render_report(verdict, table.cells)).text()
    assert "Only AT-06 lifts this. It may be given by: the equality officer." in html


def test_every_check_of_the_table_is_built_and_none_is_told_as_missing(page):
    assert {id for principle in PRINCIPLES for id in principle.checks} == {*BUILT, *OUTCOME_CHECKS}
    assert "not built yet" not in page.text()


def test_what_people_wrote_is_escaped(blocked):
    assert "Youth &lt;at&gt; risk &amp; more en" in blocked[2]
    assert "<at>" not in blocked[2]


def test_small_cells_are_withheld_with_what_would_give_them_away(blocked):
    _, table, html = blocked
    rare = table.groups.filter(pl.col("group") == "rare").row(0, named=True)
    assert 0 < rare["need"] < 5 <= rare["n"] or 0 < rare["n"] < 5
    html = html[html.index('id="groups-2"') :]
    rows = [re.findall(r"<td class=\"number\"[^>]*>([^<]*)", row) for row in re.findall(r"<tr>.*?</tr>", html)]
    names = [re.search(r'<th scope="row">(\w+)</th>', row) for row in re.findall(r"<tr>.*?</tr>", html)]
    by_name = {name.group(1): row for name, row in reversed(list(zip(names, rows, strict=True))) if name}
    assert by_name["rare"][1] == "withheld"  # in need
    assert sum(by_name[name][1] == "withheld" for name in ("Finnish", "Swedish", "other")) >= 1


def test_attested_checks_are_shown_as_attested(tmp_path):
    ring = key_ring(tmp_path / "keys", ("service_owner", "equality_officer", "domain_professional"))
    for number, (statement, roles) in enumerate(
        [
            (attestation(), ("service_owner", "equality_officer")),
            (attestation("C403", "AT-05", "domain_professional"), ("domain_professional",)),
        ]
    ):
        envelope = sign_attestation(statement, *(ring.signer(role) for role in roles))
        (tmp_path / f"{number}.json").write_bytes(envelope)
    given = read_attestations(tmp_path, ring.trust(), NOW)
    verdict, table = verdict_of(table=fair_table(small=0.002), attestations=given)
    html = Page(render_report(verdict, table.cells)).text()
    assert verdict.state == "PASS_ATTESTED"
    assert "not testable, attested" in html
    assert "Two more years of outcomes will be pooled by the end of next year." in html
    assert "Demonstration equality_officer (the equality officer)" in html


# Accessible


def test_one_h1_and_no_skipped_levels(page):
    levels = [int(element["tag"][1]) for element in page.elements if re.fullmatch(r"h[1-6]", element["tag"])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_language_title_skip_link_and_no_scripts(page, blocked):
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")[0]["text"] == "Verdict on Youth <at> risk & more en: Blocked"
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(ids) == len(set(ids))
    links = [element["href"] for element in page.all("a")]
    assert links[0] == "#verdict"
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert not page.all("script")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", blocked[2])  # one file, asks nothing of the network
    labelled = [name for element in page.elements for name in element.get("aria-labelledby", "").split()]
    assert set(labelled) <= set(ids)


def test_every_table_has_a_caption_scopes_and_a_scroll_region(page):
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables) > 8
    assert all(element.get("scope") in ("col", "row") for element in page.all("th"))
    regions = [element for element in page.all("section") if element.get("class") == "scroll"]
    assert len(regions) == len(tables)
    assert all(region["tabindex"] == "0" for region in regions)


def test_every_chart_states_its_finding_in_words_beside_it(page):
    charts = page.all("svg")
    notes = " ".join(part["text"] for part in page.all("p") if part["text"].startswith("Not shown, because"))
    not_drawn = len(re.findall(r"if the ranking were cut elsewhere|by twentieth of the ranking", notes))
    # of each attribute: recall, calibration, other cuts, two indicators
    assert len(charts) + not_drawn == 2 * (2 + 1 + 2)
    assert len(charts) > 2 * 2
    assert all(chart["role"] == "img" for chart in charts)
    titles, found = ([element["text"] for element in page.all(tag)] for tag in ("title", "desc"))
    assert len(found) == len(titles) - 1 == len(charts)
    captions = [element["text"] for element in page.all("figcaption")]
    assert all(finding in caption for finding, caption in zip(found, captions, strict=True))
    assert any(re.match(r"1 of 4 groups lie wholly below 0\.80\. Lowest: other, 0\.\d\d", finding) for finding in found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_chart_draws_stands_in_its_table(blocked, language):
    verdict, table, _ = blocked
    figures = figures_of(verdict, table.cells)
    drawn = 0
    for section in Page_(verdict, figures, Language(language)).document().chapters:
        for part in section.parts:
            shown = {one.id: one for one in part.tables}
            for chart in part.charts:
                cells = {cell.text for row in shown[chart.table].rows for cell in row.cells}
                if chart.kind == "dots":
                    drawn += len([dot for dot in chart.drawing.dots if dot.x is not None])
                    assert {dot.text for dot in chart.drawing.dots if dot.x is not None} <= cells
                else:
                    points = [point for line in chart.drawing.lines for piece in line.pieces for point in piece]
                    told = [c for row in shown[chart.table].rows for c in row.cells[1:] if c.value is not None]
                    assert len(points) == len(told)
                    assert heights(points) == pytest.approx(heights_of(told), abs=0.01)
    assert drawn > 4


def heights(points):
    """How high each point lies, as a share of the highest."""
    ys = sorted(200 - point.y for point in points)
    return [y / ys[-1] for y in ys]


def heights_of(cells):
    values = sorted(float(cell.value) for cell in cells)
    return [value / values[-1] for value in values]


def test_every_state_has_a_word_a_shape_and_a_tone():
    texts = tomllib.loads((MESSAGES / "en.toml").read_text("utf-8"))["states"]
    for state in (*CHECK_STATES, *VERDICT_STATES):
        assert texts[state]
        assert SHAPE[state]
        assert TONE[state]


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_the_palette(blocked):
    palette = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocked[2]))
    words = {"text", "quiet", "link", "good", "open", "warn", "bad", "blue", "teal", "plum"}
    assert set(palette) == words | {"paper", "line", "tint"}
    for name in sorted(words):
        for ground in ("paper", "tint"):
            assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)
    assert contrast(palette["line"], palette["paper"]) >= 3


# Texts


def keys_of(table, prefix=""):
    items = enumerate(table) if isinstance(table, list) else table.items()
    for name, value in items:
        if isinstance(value, str):
            yield f"{prefix}{name}"
        else:
            yield from keys_of(value, f"{prefix}{name}.")


def written_in(language):
    return tomllib.loads((MESSAGES / f"{language}.toml").read_text("utf-8"))


def test_every_language_has_the_same_keys_and_names_the_same_facts():
    texts = {language: Language(language)._texts for language in LANGUAGES}
    assert set(keys_of(written_in("fi"))) == set(keys_of(written_in("sv"))) == set(keys_of(written_in("en")))
    assert texts["fi"].keys() == texts["sv"].keys() == texts["en"].keys()
    for key, english in texts["en"].items():
        named = sorted(re.findall(r"{(\w+)}", english))
        for language in ("fi", "sv"):
            assert sorted(re.findall(r"{(\w+)}", texts[language][key])) == named, (language, key)


def test_every_check_has_its_texts_in_every_language():
    for id, check in BUILT.items():
        for language in LANGUAGES:
            t = Language(language)
            assert t(f"checks.{id}.title")
            assert t(f"checks.{id}.law")
            for case in set(check.cases) - {"pass", "rule"}:
                assert t(f"checks.{id}.what.{case}")
                assert t(f"checks.{id}.do.{case}")


@pytest.mark.parametrize(
    ("language", "number", "percent", "negative", "day"),
    [
        ("fi", "1\u00a0234\u00a0567,89", "29,5\u00a0%", "\u22120,25", "2. marraskuuta 2026"),
        ("sv", "1\u00a0234\u00a0567,89", "29,5\u00a0%", "\u22120,25", "2 november 2026"),
        ("en", "1,234,567.89", "29.5\u00a0%", "\u22120.25", "2 November 2026"),
    ],
)
def test_numbers_and_dates_are_written_as_readers_of_the_language_write_them(language, number, percent, negative, day):
    t = Language(language)
    assert t.number(1234567.89) == number
    assert t.percent(0.295) == percent
    assert t.number(-0.25) == negative
    assert t.day(NOW.date()) == day
    assert [t.number(value) for value in (60, 0.0001, 1e-6)] == [
        "60",
        "0" + number[-3] + "0001",
        "0" + number[-3] + "000001",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_in_another_language_holds_no_text_of_english(blocked, language):
    """What is shown is either of the language, of the data, or marked as English."""
    verdict, table, english = blocked
    html = render_report(verdict, table.cells, language=language)
    page = Page(html)
    assert page.all("html")[0]["lang"] == language
    assert f"Youth <at> risk &amp; more {language}".replace("<at>", "&lt;at&gt;") in html
    values = [re.findall(r'data-value="([^"]*)"', text) for text in (html, english)]
    assert values[0] == values[1]  # machines read the same
    assert not [value for value in values[0] if "," in value or "\u00a0" in value]


def named_in_texts(id):
    """The facts that a check's texts name."""
    return re.findall(r"{(\w+)}", (MESSAGES / "checks" / f"{id}.toml").read_text("utf-8"))


def rendered_keys(verdict, table):
    t = Language("en")
    render(verdict, None if table is None else table.cells, t)
    return t.used


def every_case():
    """A verdict for every message: each check in each case it can end in, and each section in each of its forms."""
    blocked, table = verdict_of(evidence(invented=True), demonstration=True)
    yield blocked, table
    checks = []
    for check in BUILT.values():
        for case in (*check.cases, "error"):
            state = case if case in CHECK_STATES else "pass" if case == "rule" else "block"
            facts = dict.fromkeys(named_in_texts(check.id), "x") | {"case": case, "rival": "chance", "wrong": "x"}
            checks.append(
                Check(id=check.id, version=1, severity="B", state=state, statistic="error", needs="AT-07", facts=facts)
            )
    yield replace(blocked, checks=tuple(checks)), table
    world = people(5000)
    no_label = {name: part for name, part in world.items() if name not in ("probability", "label")}
    rule = evidence(kind="rule", duel=(), auc=None, plausible_auc_max=None, additivity_max_error=None)
    yield verdict_of(rule, measure(**no_label, label=None, replicates=300))
    yield verdict_of(table=fair_table(small=0.0))
    yield verdict_of(table=replace(fair_table(small=0.0), households="known"))
    yield judge(PASSING, None, POLICY, issued_at=NOW), None
    stated = {"use": "stated", "periods": "1", "share_with_groups": "1", "labels_known": "9", "tie_break": "hash"}
    scores = evidence(kind="scores", period_days=0, owner={}, stated=stated)
    fair = fair_table(small=0.0)
    yield verdict_of(scores, fair)
    yield verdict_of(replace(scores, use="sanction", stated={**stated, "use": "assumed"}), fair)
    yield judge(scores, None, POLICY, issued_at=NOW), None
    one_indicator = replace(scores, indicator_names=("one",))
    asking, fair = verdict_of(one_indicator, fair)
    yield asking, fair
    lifted = tuple(check.lifted("x") if check.is_open else check for check in asking.checks)
    yield replace(asking, checks=lifted), fair
    tiny = measure(
        label=[1, 0, 0, 0],
        groups={"g": list("aabb")},
        score=[4, 3, 2, 1],
        probability=[0.5] * 4,
        cuts=fair_table().cuts,
    )
    yield verdict_of(evidence(texts={}), tiny)


def test_every_text_is_used_and_every_text_used_is_there(tmp_path):
    used = set()
    for verdict, table in every_case():
        used |= rendered_keys(verdict, table)  # a missing text raises
    ring = key_ring(tmp_path / "keys", ("service_owner", "equality_officer"))
    envelope = sign_attestation(attestation(), ring.signer("service_owner"), ring.signer("equality_officer"))
    (tmp_path / "a.json").write_bytes(envelope)
    given = read_attestations(tmp_path, ring.trust(), NOW)
    used |= rendered_keys(*verdict_of(table=fair_table(small=0.002), attestations=given))
    reads_sex = evidence(features=(feature(attribute="sex", of="self", codes=[]),))
    used |= rendered_keys(*verdict_of(reads_sex, fair_table(small=0.002)))
    written = set(keys_of(written_in("en")))
    # Looked up by value, so that not every one is met here; the tests of who writes the values cover them.
    by_value = ("states", "meaning", "statistics", "who", "attributes", "groups", "roles", "uses", "subjects")
    by_value += ("dates", "scores", "measures", "model.rivals", "mitigation", "oversight", "changes")
    by_value += ("policy_names", "missed", "verdict")
    looked_up = {key for key in written if key.startswith(tuple(f"{name}." for name in by_value))}
    looked_up |= {"purpose.capacity_of_scores", "page.more", "page.yes", "page.no", "page.what", "checks_table.other"}
    looked_up |= {"fairness.chart_rest", "trace.unconfirmed", "todo.together"}
    assert written - used - looked_up == set()
    assert {f"meaning.{state}" for state in VERDICT_STATES} == {key for key in written if key.startswith("meaning.")}
    assert {f"who.{id}" for id in POLICY.attestations} == {key for key in written if key.startswith("who.")}


def test_every_statistic_has_a_name():
    names = set(written_in("en")["statistics"])
    source = "".join(file.read_text("utf-8") for file in MESSAGES.parent.glob("*_checks.py"))
    used = set(re.findall(r'"statistic": "([^"]+)"', source)) | set(re.findall(r'none_wrong\(\s*"([^"]+)"', source))
    used |= set(re.findall(r'"((?:recall|selection|observed|need)_[a-z_]+_?(?:k|audit|expected|score))"', source))
    assert {name.partition(":")[0] for name in used} <= names
    assert names >= {"observed_to_expected", "does not apply to a rule"}


# Tables of a verdict's record


def with_record(verdict, **tables):
    return replace(verdict, record={**verdict.record, **tables})


def test_a_table_of_the_record_is_shown_because_it_has_texts(blocked):
    verdict, table, _ = blocked
    rows = [
        {"group": "language=fi", "n": "900", "features": "0.71", "features_low": "0.68", "features_high": "0.74"},
        {"group": "language=sv", "n": "3", "features": None, "features_low": None, "features_high": None},
        {"group": "language=other", "n": "40", "features": "0.9", "features_low": "0.8", "features_high": "1"},
    ]
    html = render_report(with_record(verdict, group_proxies=rows), table.cells, language="sv")
    text = next(e["text"] for e in Page(html).all("div") if e.get("data-part") == "record-group-proxies")
    assert "Om gruppen kan utläsas" in text
    assert "språk: finska" in text
    assert "0,71 (0,68\u2060–\u20600,74)" in text
    assert "visas inte" in text  # three people, and the forty with whom they would be worked out
    assert "40" not in text
    none = render_report(with_record(verdict, group_proxies=[]), table.cells)
    assert "record-group-proxies" not in none


def test_what_has_changed_is_told_in_words(blocked):
    verdict, table, _ = blocked
    rows = [{"what": "threshold", "name": "min_recall_ratio", "before": "0.80", "after": "0.75"}]
    changes = {"since": "v-1", "issued_at": "2026-08-01T09:00:00+00:00", "rows": rows}
    html = render_report(with_record(verdict, changes=changes), table.cells, language="fi")
    assert "Mikä on muuttunut edellisen tuloksen jälkeen" in html
    assert "raja-arvo" in html


def test_every_layout_of_a_record_table_can_be_shown():
    kinds = {"text", "names", "plain", "feature", "attribute", "group", "state", "yes_no", "day"}
    kinds |= {"changed", "count", "people", "number", "share"}
    for name, layout in record_layouts().items():
        assert layout["chapter"] in CHAPTERS, name
        assert set(layout["heading"]) == set(LANGUAGES)
        assert set(layout.get("intro", layout["heading"])) == set(LANGUAGES)
        assert layout["columns"], name
        for column in layout["columns"].values():
            assert set(LANGUAGES) <= set(column)
            assert column.get("kind", "text") in kinds
            assert set(column) <= {*LANGUAGES, "kind", "low", "high", "of", "cut", "values"}


# Twins


def test_every_form_is_the_same_twice(blocked):
    verdict, table, html = blocked
    first, second = (render_all(verdict, table.cells) for _ in range(2))
    assert first == second
    assert set(first) == {"report.fi.html", "report.sv.html", "report.en.html", "report.json", "report.csv"}
    assert first["report.en.html"] == html


def test_the_twins_hold_every_number_that_the_page_shows(blocked):
    verdict, table, _ = blocked
    made = render_all(verdict, table.cells)
    shown = sorted(re.findall(r'data-value="([^"]*)"', made["report.fi.html"]))
    lines = list(csv.DictReader(io.StringIO(made["report.csv"])))
    assert sorted(line["value"] for line in lines if line["value"] != "withheld") == shown
    document = json.loads(made["report.json"])
    assert document["schema"] == "ennakko-report/1"
    assert sorted(numbers_of(document)) == shown
    assert "NaN" not in made["report.json"]
    recall = [line for line in lines if (line["group"], line["measure"], line["cut"]) == ("f", "recall", "k_audit")]
    found = table.get("sex", "f", "recall", "k_audit")
    assert float(recall[0]["value"]) == pytest.approx(found.value, rel=1e-2)
    assert float(recall[0]["low"]) <= float(recall[0]["value"]) <= float(recall[0]["high"])


def numbers_of(part):
    if isinstance(part, dict):
        if isinstance(part.get("value"), str) and set(part) <= {"value", "low", "high", "n"}:
            yield part["value"]
            return
        for inner in part.values():
            yield from numbers_of(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from numbers_of(inner)


def test_a_withheld_cell_is_withheld_in_every_form(blocked):
    verdict, table, _ = blocked
    made = render_all(verdict, table.cells)
    lines = list(csv.DictReader(io.StringIO(made["report.csv"])))
    rare = [line for line in lines if line["group"] == "rare" and line["section"].startswith("groups-")]
    assert rare
    assert {line["value"] for line in rare if line["measure"] == "need"} == {"withheld"}
    assert '"withheld": true' in made["report.json"]


def test_a_spreadsheet_takes_no_group_for_a_formula():
    verdict, table = verdict_of(
        table=measure(**{**people(6000), "groups": {"=cmd": ["@a", "+b"] * 3000}}, replicates=50)
    )
    lines = list(csv.DictReader(io.StringIO(render_all(verdict, table.cells)["report.csv"])))
    assert not [line for line in lines for text in line.values() if text[:1] in ("=", "@", "+")]
