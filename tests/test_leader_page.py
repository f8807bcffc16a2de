"""The leader's page: its numbers are the store's, it names nobody, tells of no few people, in three languages."""

import json
import re
import string
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from leader_cases import a_need, a_unit, a_verdict, an_estimate, facts, no_list
from sealed_world import AS_OF
from store_cases import outcomes
from week_world import FORBIDDEN, RULE, YOUTH

from ethics.suppression_attack import attack
from scoring.leader_numbers import _past_table, about, cost_of_found, left_out, totals_told, unit_rows
from scoring.leader_page import LANGUAGES, render_page
from scoring.week_counts import counts_of_week, interval_of_number

MESSAGES = Path(__file__).parent.parent / "scoring" / "leader_messages"


def flat(texts, before=""):
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def names_in(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_says_the_same_with_the_same_names():
    texts = {language: dict(flat(tomllib.loads((MESSAGES / f"{language}.toml").read_text()))) for language in LANGUAGES}
    for language in ("fi", "sv"):
        assert texts[language].keys() == texts["en"].keys()
        for key, text in texts[language].items():
            assert names_in(text) == names_in(texts["en"][key]), key
            assert text and (len(text) < 20 or text != texts["en"][key]), key


def text_of(page):
    """What a reader of the page reads, without the style."""
    parts = []

    class Reader(HTMLParser):
        silent = False

        def handle_starttag(self, tag, attributes):
            self.silent = tag == "style"

        def handle_data(self, data):
            if not self.silent and data.strip():
                parts.append(data.strip())

    Reader().feed(page)
    return "\n".join(parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_everything_in_its_language(language):
    page = render_page(facts(), language)
    assert (
        f'<html lang="{language}">' in page and "<script" not in page.lower() and "http" not in page.split("xmlns")[0]
    )
    told = text_of(page)
    assert "{" not in told
    texts = dict(flat(tomllib.loads((MESSAGES / f"{language}.toml").read_text())))
    for key in ("page.demonstration", "page.invented", "states.blocked", "section.recall", "section.verdict_over"):
        assert texts[key] in told, key
    assert texts["withheld"] in told and "C611" in told
    if language != "en":
        english = dict(flat(tomllib.loads((MESSAGES / "en.toml").read_text())))
        wording = [text for key, text in english.items() if len(text) > 30 and not names_in(text)]
        assert not [text for text in wording if text in told]


def test_the_figures_of_one_need_stand_in_words_and_tables():
    told = text_of(render_page(facts(a_need()), "en"))
    for said in (
        "27 people are on the list, for 27 attempts in the period 3 June 2024–9 June 2024. The need covers about 900",
        "11.1 (6.0–17.0) of them would be in need",
        "4 lists, 1 April 2024 to 20 May 2024",
        "108 people were to be contacted, 96 were tried, 61 were reached: 56 (47–66) %.",
        "Need was found in 27 of those reached (44 (32–58) %). 22 took the help (36 (24–49) % of those reached).",
        "below the line 7.5 (1.6–20.4) % are in need, by a random check of 48 people of whom 40 became known."
        " That is 68 (14–184) of about 900 people",
        "This list: 62 (41–110) euros for each person in need on it, at 24.50 euros an attempt.",
        "Lists whose period is over: 119 (91–167) euros for each person found, by 131 attempts made.",
        "One more worker would find 2.4 (0.6–4.1) more people in need in a period",
        "Passed, with statements that named people answer for; holds until 15 July 2024 (v-5000df543189581ed546).",
        "Objections on record in this city, for all needs: about 40.",
        "Extract of 3 June 2024, 2 days old then; 12 rows of it could not be used.",
    ):
        assert said in told, said
    assert "ends in" not in told and "East\n7\n7\n100\nwithheld" in told


def test_what_is_not_known_is_said_to_be_not_known():
    told = text_of(render_page(facts(), "en"))
    for said in (
        "A written rule gives no probabilities",
        "No list of this need in the last 91 days has a period that is over.",
        "Missed: not known.",
        "Not known: city.toml does not say under [attempt_cost] what an attempt of youth-work costs.",
        "Not known: the need has no label",
        "Each person is tried 2 times.",
        "It ends in 3 days",
        "It no longer holds.",
        "It cannot be read or is not signed by a trusted key (v-1).",
    ):
        assert said in told, said
    quiet = a_need(happened={**a_need()["happened"], "tried": 0, "reached": 0, "missed": None})
    told = text_of(render_page(facts(quiet, objections_about=None), "en"))
    assert "Nothing has been reported of them yet" in told and "By unit: what lists came to" not in told
    assert "for all needs: withheld." in told
    assert "Nobody whom the need covers was left out." in text_of(render_page(facts(a_need(left_out=[])), "en"))
    assert "can no longer be made again" in text_of(render_page(facts(a_need(expected=None)), "en"))


def test_the_picture_shows_what_the_table_says():
    page = render_page(
        facts(a_need(), a_need("other", expected=an_estimate(5.0, 2.0, 9.0)), no_list("x", "failed")), "en"
    )
    drawing = page[page.index('id="needs-chart-title"') : page.index("</svg>")]
    ticks = re.findall(r'<text x="([\d.]+)" y="\d+" text-anchor="middle">(\d+)</text>', drawing)
    (x0, zero), (x1, most) = ticks[0], ticks[-1]
    assert zero == "0" and int(most) >= 17
    per_person = (float(x1) - float(x0)) / int(most)
    circles = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawing)]
    assert [round((x - float(x0)) / per_person, 1) for x in circles] == [11.1, 5.0]
    ends = re.findall(r'<line x1="([\d.]+)" y1="\d+" x2="([\d.]+)" y2="\d+" stroke-width="3"', drawing)
    assert [round((float(x) - float(x0)) / per_person) for x in ends[0]] == [6, 17]
    # Two needs that are called alike are told apart by their ids.
    assert "Young people (youth) 11.1 (6.0–17.0); Young people (other) 5.0 (2.0–9.0)." in page
    alone = render_page(facts(a_need(units=[a_unit("north")])), "en")
    assert "<svg" not in alone  # one number needs no picture


# ---- numbers of few people ---------------------------------------------------------------------------------------


def worked(counts, seed=0):
    """Rows of lists: unit → people listed, reached, found, taken up."""
    rows = [
        (unit, f"{unit}{number}", number < reached, number < found, number < taken)
        for unit, (listed, reached, found, taken) in counts.items()
        for number in range(listed)
    ]
    names = ["unit_id", "person_ref", "reached", "found", "taken_up"]
    return pl.DataFrame(rows, schema=names, orient="row").sample(fraction=1, shuffle=True, seed=seed)


@pytest.mark.parametrize("seed", range(6))
def test_few_people_of_a_unit_are_withheld_and_cannot_be_worked_out(seed):
    rng = np.random.default_rng(seed)
    counts = {}
    for unit in "abcdefgh"[: int(rng.integers(2, 9))]:
        listed = int(rng.integers(8, 120))
        reached = int(rng.binomial(listed, 0.6))
        found = int(rng.binomial(reached, 0.5))
        counts[unit] = (listed, reached, found, int(rng.binomial(found, 0.7)))
    units = [{"unit_id": unit, "name": unit, "k": 20, "listed": 20, "expected": None} for unit in counts]
    rows = unit_rows(units, worked(counts), 10)
    table = _past_table(tuple(counts), worked(counts))
    hidden = set()
    for row in rows:
        listed, reached, found, taken_up = counts[row["unit_id"]]
        for name, true in (("listed", listed), ("reached", reached), ("found", found), ("taken_up", taken_up)):
            told = row["past"][name]
            assert told is None or told == true >= 10
            hidden |= {(name, row["unit_id"])} if told is None else set()
        if row["past"]["reach"]:
            assert row["past"]["reach"]["value"] == pytest.approx(reached / listed)
    assert not attack([table.hiding(frozenset(hidden))], 10)


def test_expected_need_of_few_people_and_reasons_of_few_are_withheld():
    nobody = worked({"a": (0, 0, 0, 0)})
    few = {"unit_id": "a", "name": "A", "k": 9, "listed": 9, "expected": an_estimate(3.0, 1.0, 5.0)}
    (row,) = unit_rows([few], nobody, 10)
    assert (row["expected"], row["is_withheld"], row["listed"], row["share_used"]) == (None, True, 9, 1.0)
    (row,) = unit_rows([{**few, "k": 0, "listed": 0}], nobody, 10)
    assert row["share_used"] is None
    assert unit_rows([], nobody, 10) == [] and left_out({}, 10) == left_out({"objected": 0}, 10) == []
    told = left_out({"listed recently": 40, "objected": 9, "erased": 0, "moved or deceased": 10}, 10)
    assert [(one["reason"], one["n"]) for one in told] == [
        ("objected", None),
        ("erased", None),
        ("moved or deceased", 10),
        ("listed recently", 40),
    ]
    assert [about(n, 10) for n in (None, 0, 9, 14, 15, 999)] == [None, None, None, 10, 20, 1000]


@pytest.mark.parametrize(
    "counts, told",
    [
        ((60, 40, 20, 10), (40, 20, 10)),
        ((60, 40, 20, 9), (40, 20, None)),
        ((60, 40, 9, 4), (40, None, None)),
        ((60, 9, 4, 4), (None, None, None)),
        ((60, 60, 30, 20), (None, 30, 20)),  # nobody was left unreached
        ((60, 40, 31, 20), (40, None, 20)),  # nine were reached and not in need
        ((60, 55, 51, 20), (None, None, 20)),
        ((60, 0, 0, 0), (None, None, None)),
    ],
)
def test_totals_of_few_people_are_withheld_with_everything_that_tells_them(counts, told):
    names = ("reached", "found", "taken_up")
    shares = {"reach": ("reached",), "found_share": ("reached", "found"), "uptake": ("reached", "taken_up")}
    totals = {**dict(zip(names, counts[1:])), **dict.fromkeys(shares, an_estimate(0.5, 0.4, 0.6))}
    found = totals_told(totals, worked({"a": counts}), 10)
    assert tuple(found[name] for name in names) == told
    for share, parts in shares.items():
        assert (found[share] is None) == any(found[part] is None for part in parts)


def test_a_total_of_few_people_on_many_lists_is_one_of_few():
    """Four people, three lists: twelve times reached."""
    rows = pl.concat([worked({"a": (30, 4, 4, 4)})] * 3)
    totals = {"reached": 12, "found": 12, "taken_up": 12, "reach": None, "found_share": None, "uptake": None}
    assert not any(totals_told(totals, rows, 10).values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_withheld_totals_are_nowhere_on_the_page(language):
    names = ("reached", "found", "taken_up", "reach", "found_share", "uptake")
    past = {**a_need()["happened"], **dict.fromkeys(names), "listed": 83, "tried": 79}
    cost = {**a_need()["cost"], "measured": None}
    texts = dict(flat(tomllib.loads((MESSAGES / f"{language}.toml").read_text())))
    for hidden in (names, names[1:3] + names[4:], names[:1] + names[3:], names[2:3] + names[5:]):
        some = {**past, **{name: a_need()["happened"][name] for name in names if name not in hidden}}
        if "found" not in hidden:
            cost = a_need()["cost"]
        told = text_of(render_page(facts(a_need(happened=some, cost=cost)), language))
        for name in names[:3]:
            said = texts[f"section.happened_{name}_withheld"].format(listed=83, tried=79)
            assert (said in told) == (name in hidden), (name, hidden)
        assert (texts["section.cost_measured_withheld"] in told) == ("found" in hidden)
        assert texts["section.cost_measured_unknown"] not in told and "None" not in told


def test_a_cost_needs_a_price_attempts_and_somebody_found():
    found = an_estimate(10.0, 5.0, 20.0)
    assert cost_of_found(20.0, 100, found) == an_estimate(200.0, 100.0, 400.0)
    for price, attempts, number in (
        (None, 100, found),
        (20.0, 0, found),
        (20.0, 9, None),
        (20.0, 9, an_estimate(0, 0, 2)),
    ):
        assert cost_of_found(price, attempts, number) is None


def test_the_interval_of_a_number_holds_95_in_100_lists():
    rng = np.random.default_rng(4)
    probability = rng.beta(1.0, 4.0, 60)
    low, high = interval_of_number(probability)
    drawn = (rng.random((4000, 60)) < probability).sum(axis=1)
    assert 0.945 < np.mean((drawn >= low) & (drawn <= high)) < 0.99


# ---- in a home ---------------------------------------------------------------------------------------------------


def test_the_page_of_a_week_shows_the_store_and_nobody(listed_week):
    folder, home, result = listed_week
    paths = {Path(path).name: Path(path) for path in result["pages"]}
    assert set(paths) == {"leader.json", *(f"leader.{language}.html" for language in LANGUAGES)}
    told = json.loads(paths["leader.json"].read_text())
    said = {need["need"]: need for need in result["needs"]}
    for need in told["needs"]:
        if need["need"] == FORBIDDEN:
            assert need["list_id"] is None and need["state"] == "blocked" and need["verdict"]["holds"]
            continue
        rows = home.store.rows(need["list_id"])
        assert need["listed"] == rows.filter(pl.col("kind") != "sample").height == said[need["need"]]["listed"]
        by_unit = dict(rows.filter(pl.col("kind") != "sample").group_by("unit_id").len().iter_rows())
        assert {unit["unit_id"]: unit["listed"] for unit in need["units"]} == by_unit
        assert need["verdict"]["id"] == home.store.list_facts(need["list_id"])["verdict_id"]
    everybody = pl.read_parquet(folder / "city" / "persons.parquet")["person_id"].to_list()
    refs = home.store.rows()["person_ref"].unique().to_list()
    for path in [*paths.values(), *map(Path, result["area_table"]), home.root / "week" / f"{AS_OF}.json"]:
        content = path.read_text()
        assert not set(re.findall(r"(?<![0-9A-Za-z])\d{6}(?![0-9A-Za-z])", content)) & set(everybody), path
        assert not [ref for ref in refs if ref in content]
        assert path.stat().st_mode & 0o777 == 0o600


def test_expected_need_is_that_of_the_scores(listed_week, approved_needs_folder):
    from serving.list_work import scored

    folder, home, result = listed_week
    told = {need["need"]: need for need in json.loads(Path(result["pages"][0]).read_text())["needs"]}
    _, scorer, city, scores = scored(home, folder / "city", folder / f"{YOUTH}.toml", AS_OF, lambda *_: None)
    rows = home.store.rows(told[YOUTH]["list_id"])
    listed = rows.filter(pl.col("kind") != "sample")["person_id"].to_list()
    score = scores.frame.filter(pl.col("person_id").is_in(listed))["score"]
    assert told[YOUTH]["expected"]["value"] == pytest.approx(score.sum())
    assert told[YOUTH]["cost"]["expected"]["value"] == pytest.approx(24.5 * 20 / score.sum())
    assert told[RULE]["expected"] is None and told[RULE]["is_rule"]
    counts = counts_of_week(scores, city, scorer.need, listed)
    assert sum(one["listed"] for one in counts["districts"]) == len(listed) == 20
    assert sum(one["n"] for one in counts["districts"]) == 900
    assert sum(one["expected"]["value"] for one in counts["units"]) == pytest.approx(score.sum())


def test_outcomes_that_came_in_stand_on_the_page(approved_needs_folder, listed_week, tmp_path):
    import shutil

    from serving.home import Home
    from serving.settings import Settings
    from serving.weekly import run_week

    folder, first, result = listed_week
    shutil.copytree(first.root, tmp_path / "home")
    home = Home(Settings(home=tmp_path / "home"))
    list_id = next(need["list_id"] for need in result["needs"] if need["need"] == YOUTH)
    rows = home.store.rows(list_id)
    listed = rows.filter(pl.col("kind") != "sample")["person_id"].to_list()
    sample = rows.filter(pl.col("kind") == "sample")["person_id"].to_list()
    came = [
        (list_id, person, "2024-06-05", code)
        for person, code in zip(listed, ["helped"] * 8 + ["reached"] * 6, strict=False)
    ]
    came += [
        (list_id, person, "2024-06-06", "helped" if at < 10 else "not_relevant") for at, person in enumerate(sample)
    ]
    home.store.add_outcomes(outcomes(*came), "a.xlsx")
    again = run_week(home, folder / "city", AS_OF, needs=[folder / f"{YOUTH}.toml"])
    need = next(one for one in json.loads(Path(again["pages"][0]).read_text())["needs"] if one["need"] == YOUTH)
    past = need["happened"]  # the extract is of 30 June, so the list's own week is over
    assert [past[name] for name in ("lists", "listed", "tried")] == [1, 20, 14]
    # Six were not reached, and eight found and helped: fewer than the ten of whom anything may be told.
    assert not any(past[name] for name in ("reached", "found", "taken_up", "reach", "found_share", "uptake"))
    assert past["missed"]["share"]["value"] == pytest.approx(10 / 40) and past["missed"]["known"] == 40
    low, value, high = (past["missed"]["share"][end] for end in ("low", "value", "high"))
    assert 0.1 < low < value < high < 0.45
    assert past["missed"]["below_about"] == 800 and past["missed"]["people"]["value"] == pytest.approx(200)
    assert need["cost"]["attempts"] == 14 and need["cost"]["measured"] is None
    assert all(unit["past"]["taken_up"] is None for unit in need["units"])
    told = text_of((home.root / "week" / str(AS_OF) / "leader.en.html").read_text())
    assert "20 people were to be contacted, 14 were tried. How many were reached is withheld." in told


def test_a_verdict_on_the_page_has_a_life(listed_week):
    from serving.week_pages import _verdict

    _, home, result = listed_week
    need = next(need for need in result["needs"] if need["need"] == YOUTH)
    told = _verdict(home, YOUTH, need["verdict_id"])
    assert told["holds"] and told["demonstration"] and 0 < told["days_left"] <= 90
    assert _verdict(home, YOUTH, "v-none")["state"] is None
    assert a_verdict().keys() >= told.keys()
