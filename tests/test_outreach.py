"""Lists: as long as the capacity, counted to the last person, judged by the gate, whole or not at all."""

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from types import SimpleNamespace

import polars as pl
import pytest
from file_texts import text_of
from hypothesis import given
from hypothesis import strategies as st
from sealed_world import AS_OF, RULE_NEED, World

from ethics.case import SORT_KEY
from ethics.gate import LIST_CHECKS, ONLINE_CHECKS
from ethics.policy import Policy
from ethics.refusals import BadInput, Blocked, NotTrusted, Refusal
from scoring.hygiene import REASONS, Past
from scoring.list_gate import ask_gate
from scoring.list_records import ROWS, new_list_id
from scoring.outreach import outreach_list
from scoring.pages import as_cell, render_csv, render_page
from scoring.reasons import Reason
from scoring.units import split_capacity, unit_of_persons, unit_places, units_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def city_of_units(tmp_path_factory):
    return World(tmp_path_factory.mktemp("units"), units=True)


def people(listed):
    return [row.person_id for part in listed.parts for row in part.rows]


# ---- who is listed ---------------------------------------------------------------------------------------------


def test_one_unit_lists_the_first_k_of_the_ranking(world):
    scores = world.score()
    listed = world.list(scores)
    assert people(listed) == scores.frame["person_id"].head(20).to_list()
    assert [row.rank for row in listed.parts[0].rows] == list(range(1, 21))
    assert (listed.capacity_k, listed.listed, listed.below) == (20, 20, len(scores) - 20)
    assert listed.parts[0].unit_id == "youth-work"


def test_nobody_is_lost_between_units(city_of_units):
    world = city_of_units
    scores = world.score()
    listed = world.list(scores)
    homes = dict(world.city.history.select("person_id", "value").iter_rows())
    expected = {"north": "Kallio", "east": "Vuosaari"}
    assert [part.unit_id for part in listed.parts] == ["east", "north"]
    for part in listed.parts:
        theirs = [p for p in scores.frame["person_id"] if homes[p] == expected[part.unit_id]]
        assert part.eligible_n == len(theirs)
        assert [row.person_id for row in part.rows] == theirs[: len(part.rows)]
    nowhere = sum(homes[p] == "Nowhere" for p in scores.frame["person_id"])
    assert listed.excluded == {**dict.fromkeys(REASONS, 0), "unit not known": nowhere}
    assert nowhere > 0
    assert listed.listed == 20
    assert listed.listed + listed.below + sum(listed.excluded.values()) == listed.cohort_n


def test_a_district_known_only_later_counts_for_nothing(city_of_units):
    world = city_of_units
    someone = people(world.list())[0]
    moved = pl.DataFrame(
        {
            "person_id": someone,
            "attribute": "district",
            "value": "Nowhere",
            "from_date": datetime(2024, 1, 1),
            "knowledge_date": datetime(2024, 6, 3),
        }
    ).cast(dict(world.city.history.schema))
    history = pl.concat([world.city.history, moved.select(world.city.history.columns)])
    later = replace(world.city, history=history)
    earlier = replace(world.city, history=history.with_columns(knowledge_date=pl.col("from_date")))
    scores = world.score()
    known_later = outreach(world, scores, later)
    assert someone in people(known_later)
    assert someone not in people(outreach(world, scores, earlier))


def outreach(world, scores, city):
    return outreach_list(
        scores,
        world.scorer,
        city,
        objections=world.objections,
        policy=world.policy,
        stop_switch=world.stop_switch,
        surroundings=world.surroundings,
        row_keys=world.home.store.row_keys,
        issued_at=world.now,
    )


def test_an_objection_between_scoring_and_listing_is_honoured(world):
    scores = world.score()
    first = scores.frame["person_id"][0]
    world.objections.object(first, world.need.id)
    try:
        listed = world.list(scores)
    finally:
        world.objections.withdraw(first, world.need.id)
    assert first not in people(listed)
    assert people(listed) == scores.frame["person_id"][1:21].to_list()
    assert listed.excluded["objected"] == 1
    assert listed.listed + listed.below + sum(listed.excluded.values()) == listed.cohort_n


def test_who_rests_is_left_in_peace(world):
    listed, scores = world.list(), world.score()
    rested = world.list(scores, past=Past(frozenset(people(listed))))
    assert people(rested) == scores.frame["person_id"][20:40].to_list()
    assert rested.excluded["listed recently"] == 20


units_with_people = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1)


@given(st.integers(0, 120), units_with_people)
def test_shares_by_people_fill_the_capacity_and_no_unit_beyond_its_people(k, eligible):
    shares = split_capacity(k, sorted(eligible), eligible, {})
    assert sum(shares.values()) == min(k, sum(eligible.values()))
    assert all(0 <= shares[unit] <= eligible[unit] for unit in eligible)
    total = sum(eligible.values())
    if total and k <= total:
        assert all(abs(shares[unit] - k * eligible[unit] / total) < 1 for unit in eligible)


@given(st.integers(0, 120), units_with_people, st.lists(st.integers(0, 40), min_size=6, max_size=6))
def test_shares_by_capacity_never_exceed_capacity_or_people(k, eligible, capacities):
    capacity = dict(zip(sorted(eligible), capacities))
    shares = split_capacity(k, sorted(eligible), eligible, capacity)
    most = {unit: min(eligible[unit], capacity[unit]) for unit in eligible}
    assert sum(shares.values()) == min(k, sum(most.values()))
    assert all(0 <= shares[unit] <= most[unit] for unit in eligible)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"unit_id": ["a", "a"], "name": ["A", "B"]}, "units: unit_id: 'a' comes twice. Give each unit one row"),
        (
            {"unit_id": ["a", "b"], "name": ["A", "B"], "districts": [["x"], ["x", "y"]]},
            "units: districts: 'x' is served by two units. Let one unit serve each district",
        ),
        (
            {"unit_id": ["a", "b"], "name": ["A", "B"], "capacity": [1.5, 2.0]},
            "units: capacity of 'a': is 1.5. Give how many people it can try to reach",
        ),
        (
            {"unit_id": ["a", "b"], "name": ["A", "B"], "capacity": [None, 2.0]},
            "units: capacity: is missing for a. Give it for every unit, or for none",
        ),
        (
            {"unit_id": ["a" * 201, "b"], "name": ["A", "B"], "capacity": [1, 2]},
            "units: unit_id: is 201 characters long. Give at most 200",
        ),
    ],
)
def test_units_that_contradict_themselves_are_refused(world, units, message):
    with pytest.raises(BadInput) as refusal:
        units_of(SimpleNamespace(units=pl.DataFrame(units)), world.need)
    assert str(refusal.value) == message


# ---- ids and digests -------------------------------------------------------------------------------------------


def test_the_same_list_has_another_id_and_the_same_digest(world):
    first, second = world.list(), world.list(issued_at=world.now + timedelta(seconds=1))
    assert first.list_id < second.list_id
    assert first.list_digest == second.list_digest
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", first.list_id)


def test_the_digest_depends_on_who_is_listed_and_on_on_the_secret(world):
    listed = world.list()
    assert world.list(past=Past(frozenset(people(listed)[:1]))).list_digest != listed.list_digest
    assert world.list(row_keys=lambda people: dict.fromkeys(people, b"another key")).list_digest != listed.list_digest


def test_ids_of_one_moment_differ():
    now = datetime(2024, 6, 3, tzinfo=UTC)
    assert len({new_list_id(now) for _ in range(1000)}) == 1000


# ---- the gate --------------------------------------------------------------------------------------------------


def test_every_list_check_has_passed(world):
    assert {check.id: check.state for check in world.list().checks} == dict.fromkeys(LIST_CHECKS, "pass")


def test_a_set_stop_switch_lets_no_list_leave(world):
    world.stop_switch.set("two wrong lists")
    try:
        with pytest.raises(NotTrusted, match="check C801: block"):
            world.list()
    finally:
        world.stop_switch.clear()


def test_another_policy_than_the_judged_one_lets_no_list_leave(world):
    edited = Policy.parse(world.policy.bytes + b"\n# edited\n", "policy.toml")
    with pytest.raises(NotTrusted, match=r"check C701: block: digests that differ 1 .*: policy"):
        world.list(policy=edited)


def test_an_expired_verdict_lets_no_list_leave(world):
    with pytest.raises(NotTrusted, match="the verdict has expired"):
        world.list(issued_at=world.now + timedelta(days=8))


def test_a_list_in_another_order_is_blocked(world):
    scores = world.score()
    with pytest.raises(Blocked, match="check C409: block: wrong sort keys"):
        world.list(replace(scores, frame=scores.frame.reverse()))


def ask(world, **changes):
    asked = {"n_objectors": 0, "columns": world.need.columns, "sort_key": SORT_KEY, "max_error": 0.0}
    asked |= {"moment": world.now, "checks": (*ONLINE_CHECKS, "C601"), **changes}
    return ask_gate(world.scorer, world.policy, world.stop_switch, **asked)


@pytest.mark.parametrize(
    ("changes", "refusal", "message"),
    [
        (
            {"columns": ("age", "religion")},
            Blocked,
            "check C601: block: columns without basis 1 (limit 0): religion. ",
        ),
        ({"columns": ()}, NotTrusted, "check C601: error: "),
        ({"n_objectors": 2}, Blocked, "check C103: block: objectors scored 2 (limit 0). Make the scores again"),
        ({"max_error": 1e-3}, Blocked, "check C301: block: "),
        ({"max_error": float("nan")}, NotTrusted, "check C301: error: "),
        ({"checks": ("C102", "C999")}, NotTrusted, "check C999: error: "),
    ],
)
def test_the_gate_names_what_it_blocks_and_whatever_cannot_be_answered_is_no_pass(world, changes, refusal, message):
    with pytest.raises(refusal) as refused:
        ask(world, **changes)
    assert str(refused.value).startswith(message)


def test_one_online_score_is_asked_for_its_own_checks(world):
    assert [check.id for check in ask(world, checks=ONLINE_CHECKS)] == list(ONLINE_CHECKS)


def test_scores_of_another_model_are_refused(world):
    with pytest.raises(BadInput, match="scores: were made by another model"):
        world.list(replace(world.score(), model_digest="0" * 64))


def test_a_register_that_cannot_be_asked_lets_no_list_leave(world):
    class Silent:
        def objecting(self, *_):
            raise OSError("database is gone")

    with pytest.raises(OSError, match="gone"):
        world.list(objections=Silent())


# ---- what a unit gets ------------------------------------------------------------------------------------------


def test_a_written_list_is_a_table_and_a_page_for_each_unit(city_of_units, tmp_path):
    listed = city_of_units.list()
    files = listed.write(tmp_path)
    folder = tmp_path / listed.list_id
    endings = ("csv", "html", "rows.json", "rows.parquet", "xlsx")
    of_units = [f"{unit}.{ending}" for unit in ("east", "north") for ending in endings]
    assert sorted(path.name for path in files) == sorted([*of_units, "list.json", ROWS])
    assert list(tmp_path.iterdir()) == [folder]
    facts = json.loads((folder / "list.json").read_text("utf-8"))
    assert facts["listed"] == 20
    assert not any(person in json.dumps(facts) for person in people(listed))
    assert pl.read_parquet(folder / ROWS)["person_id"].to_list() == people(listed)


def test_one_units_files_hold_nobody_elses_people(city_of_units, tmp_path):
    listed = city_of_units.list()
    listed.write(tmp_path, unit="north")
    written = "".join(text_of(path) for path in (tmp_path / listed.list_id).glob("*.*"))
    assert all(row.person_id in written for row in listed.part("north").rows)
    assert not any(row.person_id in written for row in listed.part("east").rows)
    assert set(pl.read_parquet(tmp_path / listed.list_id / ROWS)["unit_id"]) == {"north"}
    with pytest.raises(BadInput, match=r"unit: 'norht' is not a unit here. Did you mean 'north'\?"):
        listed.write(tmp_path / "other", unit="norht")
    assert not (tmp_path / "other").exists()


def test_a_write_that_fails_leaves_nothing(world, tmp_path, monkeypatch):
    monkeypatch.setattr("scoring.pages.render_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.list().write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_the_needs_columns_and_no_more(world):
    listed = world.list()
    lines = list(csv.reader(render_csv(listed, listed.parts[0]).splitlines(keepends=True)))
    shown = ["Estimated need", "Main reasons", "Proposed action", "Who already helps"]
    assert lines[0] == ["Place", "Person", "On the list", *shown]
    assert len(lines) == 21
    assert lines[1][1] == people(listed)[0]
    assert lines[1][2] == "by the ranking"
    assert lines[1][5:] == ["A youth worker offers a meeting", "not recorded"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1"])
def test_no_cell_can_run_as_a_formula(text):
    assert as_cell(text) == f"'{text}"


def test_ordinary_cells_stay_as_they_are():
    assert [as_cell(text) for text in ("12 absences", "", "000123", "a=b")] == ["12 absences", "", "000123", "a=b"]


class Page(HTMLParser):
    """What an accessibility check asks of a page."""

    VOID = {"meta", "link", "br"}  # noqa: RUF012

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.headings = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(listed):
    text = render_page(listed, listed.parts[0])
    return text, Page(text)


def test_the_page_is_accessible_in_structure(world):
    text, page = page_of(world.list())
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert page.text["title"] == ["Young people: outreach list for youth-work"]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("caption")) == 1
    assert {th["scope"] for th in page.all("th")} == {"col", "row"}
    assert len([th for th in page.all("th") if th["scope"] == "row"]) == 20
    targets = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    skip = page.all("a")[0]
    assert skip["class"] == "skip"
    assert skip["href"][1:] in targets
    region = next(attrs for _, attrs in page.tags if attrs.get("role") == "region")
    assert region["tabindex"] == "0"
    assert region["aria-label"]
    assert "@media print" in text
    assert "@media (max-width" in text
    assert not page.all("script")
    assert "http" not in re.sub(r"\s", "", text).replace("https://", "http")  # nothing is fetched from anywhere


def test_the_page_says_who_decides_how_to_object_and_that_nobody_here_exists(world):
    text, _ = page_of(world.list())
    for said in (
        "A computer ranking suggested these people; people decide.",
        "You do. Contact people in the order and the way you find right",
        "Anyone may object to being ranked, without giving a reason",
        "Through Head of youth work, head@example.invalid, +358 9 000.",
        "DEMONSTRATION.",
        "INVENTED PEOPLE.",
        "Person 0",
        "Nobody was left out for another reason.",
        world.verdict.verdict_id,
    ):
        assert said in text, said


def test_a_name_that_is_markup_is_shown_not_run(world):
    listed = world.list()
    row = replace(listed.parts[0].rows[0], person_id="<script>alert(1)</script>", reasons=(Reason("<b>", "<i>", True),))
    part = replace(listed.parts[0], name="<img>", rows=(row,))
    text = render_page(replace(listed, parts=(part,)), part)
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<img>" not in text
    assert "&lt;script&gt;" in text


def test_a_unit_id_that_is_a_path_stays_in_the_folder(world, tmp_path):
    listed = world.list()
    parts = tuple(replace(listed.parts[0], unit_id=unit) for unit in ("../../etc", "//etc"))
    files = replace(listed, parts=parts).write(tmp_path)
    assert {path.parent for path in files} == {tmp_path / listed.list_id}
    assert len(files) == 12


def test_an_empty_list_is_a_page_too(world):
    scores = world.score()
    listed = world.list(scores, past=Past(frozenset(scores.frame["person_id"])))
    text, page = page_of(listed)
    assert "Nobody is on this list." in text
    assert page.open == []
    assert f"{len(scores):,} were on a list of this need, or contacted about it, in the last 0 days" in text


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("fi", ("Tietokoneen laskema järjestys ehdotti", "Otsikko: yhteydenottolista", "3.6.2024", "ylin 1\xa0%")),
        ("sv", ("En datorberäknad rangordning föreslog", "Rubrik: kontaktlista", "3.6.2024", "högsta 1\xa0%")),
        ("en", ("A computer ranking suggested", "Young people: outreach list", "3 June 2024", "highest 1\xa0%")),
    ],
)
def test_a_list_is_in_one_language_and_the_gate_reads_it_in_that(world, language, said):
    listed = world.list(language=language)
    assert {check.state for check in listed.checks} == {"pass"}
    text, page = page_of(listed)
    assert page.all("html") == [{"lang": language}]
    assert all(words in text for words in said)
    assert listed.facts()["language"] == language
    assert people(listed) == people(world.list()), "who is listed depends on no language"


def test_a_reason_has_the_day_of_the_latest_event_of_the_person(world):
    listed = world.list()
    events = pl.read_parquet(world.folder / "city" / "events.parquet").filter(
        pl.col("code").str.starts_with("school.absence") & (pl.col("event_date") < AS_OF)
    )
    row = listed.parts[0].rows[0]
    latest = events.filter(pl.col("person_id") == row.person_id)["event_date"].max()
    (told,) = [reason for reason in row.reasons if reason.feature == "absence"]
    assert told.day == latest
    assert f"last {latest.day} {latest:%B %Y}" in page_of(listed)[0]


def test_the_hash_of_a_row_covers_the_day_behind_a_reason(world, monkeypatch):
    before = world.list()
    monkeypatch.setattr("scoring.reason_events.EventDays.behind", lambda *_: None)
    assert world.list().list_digest != before.list_digest


def test_a_rule_makes_a_list_too(tmp_path):
    world = World(tmp_path, need_text=RULE_NEED, need_id="youth_rule")
    listed = world.list()
    assert listed.listed == 20
    assert {check.state for check in listed.checks} == {"pass"}
    assert listed.parts[0].rows[0].reasons[0].text.startswith("absences from school: ")


# ---- what a list must not have lost before the cut ------------------------------------------------------------------


def refusal_of(world, scores=None):
    with pytest.raises(Refusal) as refusal:
        world.list(scores)
    return [fault for fault in refusal.value.faults if fault.where.startswith("check C408")]


def test_a_unit_whose_people_were_taken_out_before_the_ranking_is_missed(city_of_units):
    scores = city_of_units.score()
    living = unit_of_persons(city_of_units.city, units_of(city_of_units.city, city_of_units.need), scores)
    gone = living.filter(pl.col("unit_id") == "east")["person_id"]
    assert city_of_units.list(scores).part("east").rows
    without = replace(scores, frame=scores.frame.filter(~pl.col("person_id").is_in(gone.to_list())))
    found = refusal_of(city_of_units, without)
    assert any("east (0 of" in fault.wrong for fault in found)
    assert any(fault.where == "check C408 sex=f" for fault in found)


def test_a_group_that_was_taken_out_before_the_ranking_is_missed(city_of_units):
    scores = city_of_units.score()
    sex = dict(city_of_units.groups._frame.select("person_id", "sex").iter_rows())
    some = [person for person in scores.frame["person_id"] if sex[person] == "f"][:2]
    without = replace(scores, frame=scores.frame.filter(~pl.col("person_id").is_in(some)))
    assert "check C408 sex=f" in [fault.where for fault in refusal_of(city_of_units, without)]


def test_a_unit_that_was_given_no_places_is_missed(city_of_units, monkeypatch):
    monkeypatch.setattr("scoring.outreach.unit_places", lambda *given: {**unit_places(*given), "north": 0})
    (fault,) = refusal_of(city_of_units)
    assert "north (0 of" in fault.wrong
