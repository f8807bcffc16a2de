import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, attestation, evidence, fair_table, key_ring, people, texts

from ethics import BadInput, NotTrusted, judge, measure, read_attestations, render_report, sign_attestation
from ethics.checks import BUILT
from ethics.report import HERE, SHAPE, TONE, Language, render
from ethics.report_page import hidden
from ethics.verdict import CHECK_STATES, VERDICT_STATES, Check

VOID = {"meta", "link", "br", "line", "circle", "rect", "path"}


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
    return judge(case, table, POLICY, attestations, issued_at=NOW, **options), table


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
    with pytest.raises(BadInput, match=r"language: is 'xx', and the report is not written in it\. Give one of: en"):
        render_report(blocked[0], blocked[1].cells, language="xx")


# What it says


def test_the_verdict_and_what_must_be_done_come_first(page):
    headings = [element["text"] for element in page.all("h2")]
    assert headings[0] == "Verdict"
    assert headings[2] == "What must be done"
    assert "■ Blocked" in page.text()
    first = next(element["text"] for element in page.all("li") if "todo" not in element and "ol" in element["within"])
    assert "[C401] The group's need is missed, and base rates do not explain it" in first
    assert re.search(r"language=other · recall ratio at k\*: 0\.\d\d \(0\.\d\d\sto\s0\.\d\d\) against 0\.80", first)
    assert re.search(r"about \d+ residents in need would be missed", first)
    assert "Ask: Demonstration service owner, owner@example.org, 09 000 0000" in first


def test_demonstrations_and_invented_people_are_said_loudly(page):
    banners = [element["text"] for element in page.all("p") if element.get("class") == "banner"]
    assert [text.split(":")[0] for text in banners] == ["DEMONSTRATION", "INVENTED PEOPLE", "DEMONSTRATION"]


def test_a_real_verdict_says_neither():
    html = render_report(*(lambda pair: (pair[0], pair[1].cells))(verdict_of(table=fair_table(small=0.0))))
    assert "DEMONSTRATION" not in html
    assert "INVENTED" not in html
    assert "Nothing. Every check passes or is attested." in html


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


def test_checks_not_built_yet_are_named(page):
    assert "Checks of the table that are not built yet: C201," in page.text()


def test_what_people_wrote_is_escaped(blocked):
    assert "Youth &lt;at&gt; risk &amp; more en" in blocked[2]
    assert "<at>" not in blocked[2]


def test_small_cells_are_withheld_with_what_would_give_them_away(blocked):
    _, table, html = blocked
    rare = table.groups.filter(pl.col("group") == "rare").row(0, named=True)
    assert 0 < rare["need"] < 5 <= rare["n"] or 0 < rare["n"] < 5
    rows = [re.findall(r"<td class=\"number\"[^>]*>([^<]*)", row) for row in re.findall(r"<tr>.*?</tr>", html)]
    names = [re.search(r'<th scope="row">(\w+)</th>', row) for row in re.findall(r"<tr>.*?</tr>", html)]
    by_name = {name.group(1): row for name, row in reversed(list(zip(names, rows, strict=True))) if name}
    assert by_name["rare"][1] == "fewer than 5"  # in need
    assert sum(by_name[name][1] == "withheld" for name in ("fi", "sv", "other")) == 1


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ([40, 900], set()),
        ([0, 40, 900], set()),
        ([3, 40, 900], {0, 1}),
        ([3, 4, 900], {0, 1}),
        ([1, 1, 40, 900], {0, 1, 2}),  # two ones would say that each is one
        ([2, 0], {0}),  # nothing to hide it behind
    ],
)
def test_no_hidden_count_follows_from_the_total(counts, chosen):
    assert hidden(counts, 5) == chosen


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
    assert "Demonstration equality_officer (equality officer)" in html


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
    regions = [element for element in page.all("div") if element.get("role") == "region"]
    assert len(regions) == len(tables)
    assert all(region["tabindex"] == "0" for region in regions)


def test_every_chart_states_its_finding_and_equals_its_table(page, blocked):
    charts = page.all("svg")
    assert [chart["role"] for chart in charts] == ["img", "img"]
    found = [element["text"] for element in page.all("desc")]
    assert re.match(r"1 of 4 groups lie wholly below 0\.80\. Lowest: other, 0\.\d\d", found[1])
    shown = set(re.findall(r"<text[^>]*>(\d\.\d\d \([^)]*\))</text>", blocked[2]))
    table = {
        text.replace("\u00a0to\u00a0", "–")
        for text in re.findall(r'<td class="number" data-value="[^"]*">(\d\.\d\d \([^)]*\))</td>', blocked[2])
    }
    assert shown
    assert shown <= table


def test_every_state_has_a_word_a_shape_and_a_tone():
    texts = tomllib.loads((HERE / "messages" / "en.toml").read_text("utf-8"))["states"]
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
    assert set(palette) == {"text", "paper", "quiet", "line", "tint", "link", "good", "open", "warn", "bad"}
    for name in ("text", "quiet", "link", "good", "open", "warn", "bad"):
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


def rendered_keys(verdict, table):
    t = Language("en")
    render(verdict, None if table is None else table.cells, t, "en")
    return t.used


def every_case():
    """A verdict for every message: each check in each case it can end in, and each section in each of its forms."""
    blocked, table = verdict_of(evidence(invented=True), demonstration=True)
    yield blocked, table
    checks = []
    for check in BUILT.values():
        for case in (*check.cases, "error"):
            state = case if case in CHECK_STATES else "pass" if case == "rule" else "block"
            facts = {"case": case, "names": "x", "rival": "chance", "wrong": "x", "indicators": "x"}
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
    tiny = measure(label=[1, 0, 0, 0], groups={"g": list("aabb")}, score=[4, 3, 2, 1], cuts=fair_table().cuts)
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
    written = set(keys_of(tomllib.loads((HERE / "messages" / "en.toml").read_text("utf-8"))))
    # Names of verdict states, statistics and givers are looked up by value; the checks' own tests cover the values.
    looked_up = {key for key in written if key.split(".")[0] in ("states", "meaning", "statistics", "who")}
    assert written - used - looked_up == set()
    assert {f"meaning.{state}" for state in VERDICT_STATES} == {key for key in written if key.startswith("meaning.")}
    assert {f"who.{id}" for id in POLICY.attestations} == {key for key in written if key.startswith("who.")}


def test_every_statistic_has_a_name():
    names = set(tomllib.loads((HERE / "messages" / "en.toml").read_text("utf-8"))["statistics"])
    source = (HERE / "checks.py").read_text("utf-8")
    used = set(re.findall(r'"statistic": "([^"]+)"', source)) | set(re.findall(r'_none_wrong\(\s*"([^"]+)"', source))
    used |= set(re.findall(r'"((?:recall|selection|observed|need)_[a-z_]+_?(?:k|audit|expected|score))"', source))
    assert used - {"observed_to_expected"} <= names
    assert names >= {"observed_to_expected", "does not apply to a rule"}
