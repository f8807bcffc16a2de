"""A resident's view, and objections as commands make them: what was done is told, and a no is in force at once."""

import csv
import json
import shutil
import subprocess
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, RULE_NEED, World

from ethics.refusals import BadInput, Refusal
from models.evidence_files import GatheredEvidence
from scoring.person_page import render_page, render_text, sections_of
from scoring.person_words import FOLDER, LANGUAGES, PersonWords, _texts
from scoring.reason_words import placeholders
from serving import cli, list_work
from serving.audit_work import read_log
from serving.home import Home
from serving.list_work import list_need
from serving.objection_work import record_objection
from serving.past_lists import change_list, show_list
from serving.person_work import look_at_person
from serving.settings import Settings
from serving.simulation_work import _without_objectors

ROOT = Path(__file__).resolve().parent.parent
LIST = '\n[list]\ncolumns = ["rank_band", "reasons", "channel", "contact"]\nsample = 3\n'
ASKS = {"actor": "resident", "purpose": "asks what is kept"}
RULE_LIST = '[list]\ncolumns = ["rank_band", "reasons"]\n'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two approved needs; a list of each, of which the model's was looked at, and one person contacted."""
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, units=True, need_text=MODEL_NEED + LIST)
    people = world.city.persons["person_id"]
    world.groups._frame.write_parquet(folder / "city" / "groups.parquet")
    channels = np.resize(["phone", "digital", "letter", "visit"], len(people))
    pl.DataFrame(
        {
            "person_id": people,
            "name": [f"Person {person}" for person in people],
            "channel": channels,
            "phone": [f"+358 000 77{person}" for person in people],
            "language": "fi",
            "interpreter": False,
            "guardian": pl.Series([None] * len(people), dtype=pl.String),
            "secrecy_order": False,
        }
    ).write_parquet(folder / "city" / "contacts.parquet")
    world.approve()
    rule = World(
        folder / "rule",
        need_text=RULE_NEED + RULE_LIST,
        need_id="youth_rule",
        shared_home=world.home,
        shared_city=world.city,
    )
    rule.approve()
    for one in (world, rule):
        (folder / f"{one.need_id}.toml").write_text(one.need_text)
    shutil.copytree(world.home.root, folder / "before")
    days = {"youth": AS_OF, "youth_rule": AS_OF + timedelta(days=7)}  # periods that do not overlap
    made = [list_need(world.home, folder / "city", folder / f"{name}.toml", day) for name, day in days.items()]
    world.lists = {one["need"]: one["list_id"] for one in made}
    rows = world.home.store.rows(world.lists["youth"])
    by_rule = set(world.home.store.rows(world.lists["youth_rule"])["person_id"])
    both = rows.filter(pl.col("person_id").is_in(list(by_rule)), kind="ranked")
    world.listed, world.unit = both.row(0, named=True)["person_id"], both.row(0, named=True)["unit_id"]
    show_list(world.home, world.lists["youth"], world.unit, by="unit head", purpose="the week's work")
    attempt = pl.DataFrame(
        [{"list_id": world.lists["youth"], "person_id": world.listed, "at": "2024-06-05T09:30", "channel": "phone"}]
    ).with_columns(worker=pl.lit("W. Worker"), result=pl.lit("reached"))
    world.home.store.add_attempts(attempt, "by hand")
    return world


@pytest.fixture
def home(world, tmp_path):
    shutil.copytree(world.home.root, tmp_path / "home")
    return Home(Settings(home=tmp_path / "home"))


def look(world, home, person, **more):
    return look_at_person(home, person, **{**ASKS, "city": world.folder / "city", **more})


def need_of(view, need="youth"):
    return next(one for one in view["needs"] if one["need"] == need)


def listed_again(world, home, need="youth"):
    return list_need(home, world.folder / "city", world.folder / f"{need}.toml", AS_OF)


def people_of(home, list_id):
    return set(home.store.rows(list_id)["person_id"])


def in_another_process(*words):
    code = "import sys; from serving.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# ---- what is told ----------------------------------------------------------------------------------------------


def test_a_person_is_told_what_was_read_computed_listed_and_done(world, home):
    view = look(world, home, world.listed)
    assert view["state"] == "known" and [one["need"] for one in view["needs"]] == ["youth", "youth_rule"]
    youth = need_of(view)
    kept = home.store.scores_of(world.listed, "youth")
    assert youth["scores"] == [{"as_of_date": str(AS_OF), "rank_band": kept["rank_band"][0], "n": kept["n"][0]}]
    events = pl.read_parquet(world.folder / "city" / "events.parquet")
    own = events.filter(pl.col("person_id") == world.listed, pl.col("event_date") < AS_OF)
    read = {one["feature"]: one for one in youth["data"]["read"]}
    for feature, code in (("absence", "school.absence"), ("pressure", "health.pressure")):
        days = own.filter(pl.col("code").str.starts_with(code)).sort("event_date")["event_date"]
        assert [event["day"] for event in read[feature]["events"]] == [str(day) for day in days]
    assert read["pressure"]["source"] == "health register", "what a unit may not see is the person's own"
    assert youth["data"]["as_scored"] and youth["data"]["reasons"] and youth["no_data"] is None
    (on_list,) = youth["lists"]
    payload = json.loads(home.store.rows(world.lists["youth"], person_id=world.listed)["payload"][0])
    assert on_list["reasons"] == [reason["text"] for reason in payload["reasons"]]
    assert (on_list["kind"], on_list["unit_id"], on_list["recalled"]) == ("ranked", world.unit, 0)
    assert youth["contacts"] == [{"at": "2024-06-05T09:30:00", "channel": "phone", "result": "reached"}]
    assert [(one["what"], one["actor"], one["need"]) for one in view["looks"]] == [
        ("list", "unit head", "youth"),
        ("person", "resident", None),
    ]
    assert need_of(view, "youth_rule")["kind"] == "rule" and need_of(view, "youth_rule")["data"]["as_scored"]
    told = render_text(view)
    assert "W. Worker" not in json.dumps(view) + told, "who tried is another person"
    assert "+358 9 003" in told and "dpo@example.invalid" in told


def test_the_look_is_recorded_before_anything_is_told_and_names_nobody(world, home, monkeypatch):
    monkeypatch.setattr("serving.person_work.records_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        look(world, home, world.listed, actor="service point", purpose="asked in person")
    views = home.store.views(person_id=world.listed).filter(pl.col("list_id").is_null())
    assert views.select("actor", "purpose").rows() == [("service point", "asked in person")]
    act = home.audit_log.rows()[-1]
    assert (act["action"], act["actor"]) == ("person", "service point")
    assert world.listed not in act["facts"] and home.audit_log.verify() == []
    found = read_log(home, need=None, person=world.listed, since=None)["rows"]
    assert [row["action"] for row in found] == ["person"] and "person" not in found[0]["facts"]


def test_numbers_are_told_only_when_asked_for(world, home):
    assert "score" not in need_of(look(world, home, world.listed))["scores"][0]
    shown = need_of(look(world, home, world.listed, numbers=True))["scores"][0]
    assert shown["score"] == home.store.scores_of(world.listed, "youth")["score"][0]


def test_below_the_line_one_is_told_the_same(world, home):
    listed = people_of(home, world.lists["youth"]) | people_of(home, world.lists["youth_rule"])
    other = next(person for person in world.score().frame["person_id"] if person not in listed)
    youth = need_of(look(world, home, other))
    assert youth["lists"] == [] and youth["scores"] and youth["data"]["reasons"]
    assert youth["alternative"] == "Anyone can get in touch"


def test_people_of_whom_nothing_is_kept_get_a_plain_answer(world, home):
    stranger = look(world, home, "stranger")
    assert stranger["state"] == "unknown" and not home.store.refs(["stranger"]), "looking makes nobody known"
    assert "The city holds nothing about this person" in render_text(stranger)
    before = Home(Settings(home=Path(shutil.copytree(world.folder / "before", home.root / "before"))))
    unseen = look(world, before, world.listed)
    assert unseen["state"] == "not_seen" and "Nobody has estimated your need" in render_text(unseen)
    assert need_of(unseen)["no_data"] == "never_scored" and "You were never ranked" in render_text(unseen)
    assert before.store.refs([world.listed]) == {}, "looking makes nobody known"
    assert look(world, before, world.listed, city=None)["state"] == "not_seen"


def test_the_erased_are_told_that_nothing_is_left(world, home):
    home.store.erase(world.listed)
    view = look(world, home, world.listed)
    assert view["state"] == "erased" and view["looks"] == view["history"] == []
    assert all(not one["scores"] and not one["lists"] and one["data"] is None for one in view["needs"])
    assert not home.store.refs([world.listed]) and json.loads(home.audit_log.rows()[-1]["facts"])["known"] == 0
    for language in LANGUAGES:
        text = render_text({**view, "language": language})
        assert PersonWords(language)("brief.erased")[:40] in text and "north" not in text


def test_nothing_is_computed_of_an_objector_and_what_was_kept_is_told(world, home):
    record_objection(home, world.listed, "youth")
    view = look(world, home, world.listed)
    youth, rule = need_of(view), need_of(view, "youth_rule")
    assert youth["objects"] and youth["data"] is None and youth["no_data"] == "objects" and youth["scores"]
    assert youth["lists"][0]["recalled"] == youth["lists"][0]["files"] == 5
    assert not rule["objects"] and rule["data"] is not None and rule["lists"][0]["recalled"] == 0
    assert [(act["act"], act["by"]) for act in view["history"]] == [("object", "service_point")]
    assert "You object to this. Nothing is computed" in render_text(view)


def test_without_a_city_or_a_model_the_rest_is_told(world, home):
    youth = need_of(look(world, home, world.listed, city=None))
    assert youth["no_data"] == "no_city" and youth["scores"] and youth["lists"] and youth["reads"]
    for path in (home.mlflow_artefacts / "youth").rglob("need.toml"):
        path.write_bytes(path.read_bytes() + b"# altered")
    youth = need_of(look(world, home, world.listed))
    assert youth["no_data"] == "no_model" and youth["scores"] and youth["title"] == "youth"


def test_a_damaged_training_city_closes_only_what_it_would_tell(world, home, monkeypatch, tmp_path):
    person = world.listed
    monkeypatch.setattr(Home, "run_record", lambda self, run: {"city": str(tmp_path)})
    youth = need_of(look_at_person(home, person, actor="resident", purpose="asks"))
    assert youth["no_data"] == "no_city" and youth["scores"] and youth["lists"]
    with pytest.raises(Refusal):
        look_at_person(home, person, actor="resident", purpose="asks", city=tmp_path)


def test_a_view_needs_no_verdict(world, home):
    home.stop_switch.set("a test")
    shutil.rmtree(home.verdicts)
    assert need_of(look(world, home, world.listed))["data"]["reasons"]


@pytest.mark.parametrize(
    ("person", "more", "wrong"),
    [
        ("", {"actor": "", "purpose": " "}, ["person: is empty", "--actor: is empty", "--purpose: is empty"]),
        ("010190-123A", {}, ["has the form of a personal identity code"]),
        ("a\nb", {"purpose": "x" * 201}, ["(3 characters) cannot be a pseudonym", "--purpose: is too long"]),
        ("\udcff", {"actor": "010190-123A"}, ["cannot be a pseudonym", "--actor: names the person"]),
        ("000001", {"purpose": "about 000001"}, ["--purpose: names the person"]),
        ("000001", {"html": Path("/nowhere/x.html")}, ["--html: /nowhere is not a folder"]),
        ("000001", {"html": Path(__file__)}, ["exists already"]),
    ],
)
def test_rubbish_is_refused_all_at_once_and_nothing_of_a_person_repeated(world, home, person, more, wrong):
    with pytest.raises(BadInput) as refusal:
        look(world, home, person, **more)
    for part in wrong:
        assert part in str(refusal.value)
    assert "010190" not in str(refusal.value)
    assert "person" not in {row["action"] for row in home.audit_log.rows()}


# ---- the page --------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Tags with their ids, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.language = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "html":
            self.language = dict(attributes)["lang"]
        self.tags.append((tag, dict(attributes).get("id")))


def test_every_language_has_every_text_and_the_same_page(world, home):
    texts = {language: _texts(language) for language in LANGUAGES}
    keys = {(table, key): placeholders(text) for table, of in texts["en"].items() for key, text in of.items()}
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(LANGUAGES)
    for language in LANGUAGES:
        own = {(table, key): placeholders(text) for table, of in texts[language].items() for key, text in of.items()}
        assert own == keys
    pages = [_Page(render_page(look(world, home, world.listed, language=language))) for language in LANGUAGES]
    assert [page.language for page in pages] == list(LANGUAGES)
    bare = [[tag for tag in page.tags if tag[1] is None or not tag[1].startswith("looks")] for page in pages]
    assert [sum(tag == "h2" for tag, _ in of) for of in bare] == [7, 7, 7]
    assert {tuple(i for _, i in of if i) for of in bare} == {tuple(i for _, i in bare[0] if i)}


def test_the_page_holds_nothing_of_other_people(world, home):
    view = look(world, home, world.listed)
    page = render_page(view)
    people = set(world.city.persons["person_id"]) - {world.listed}
    assert not {word.strip(".,;:()") for word in page.replace("<", " ").replace(">", " ").split()} & people
    assert "<script" not in page and world.listed in page
    household = {"feature": "h", "plain": "Absences", "source": None, "of": "household", "changeable": False}
    read = {**household, "statements": ["12 absences"], "since": None, "events": [{"day": "2024-01-01"}]}
    youth = need_of(view)
    youth["data"]["read"] = [read]
    for section in sections_of({**view, "needs": [youth]}, PersonWords("en")):
        assert "12 absences" not in str(section.blocks)


def test_typed_texts_that_name_other_people_are_refused_and_older_ones_withheld(world, home):
    list_id = world.lists["youth"]
    other = next(one for one in home.store.rows(list_id)["person_id"] if one != world.listed)
    told = {"reason": f"same family as {other}, who is in shelter", "by": "M. Caseworker"}
    with pytest.raises(BadInput, match="--reason: names a person"):
        change_list(home, list_id, world.unit, world.listed, "removed", told["by"], reason=told["reason"])
    with pytest.raises(BadInput, match="--purpose: names a person"):
        show_list(home, list_id, world.unit, by="unit head", purpose=f"to call ({other})")
    with pytest.raises(BadInput, match="--purpose: names a person"):
        look(world, home, world.listed, purpose=f"asks for {other}.")
    assert home.store.changes(list_id).is_empty()
    home.store.change(list_id, world.unit, world.listed, "removed", **told)
    home.store.view(list_id, world.unit, "unit head", f"to call {other}")
    view = look(world, home, world.listed)
    (change,) = need_of(view)["lists"][0]["changes"]
    assert (change["act"], change["reason"], change["is_withheld"]) == ("removed", None, True)
    assert [one["purpose"] for one in view["looks"]].count(None) == 1
    for text in (json.dumps(view), render_text(view), render_page(view)):
        assert other not in text and "shelter" not in text and "M. Caseworker" not in text
    assert "withheld, because it names another person" in render_text(view)
    home.store.change(list_id, world.unit, world.listed, "added", "head", reason=f"asked for it: {world.listed}")
    assert need_of(look(world, home, world.listed))["lists"][0]["changes"][1]["reason"].startswith("asked for it")


def test_the_command_tells_writes_and_answers_in_json(world, home, tmp_path, capsys):
    page = tmp_path / "page.html"
    asked = ["person", world.listed, "--home", str(home.root), "--city", str(world.folder / "city"), "--actor", "me"]
    assert cli.main([*asked, "--purpose", "mine", "--lang", "sv", "--html", str(page)]) == 0
    assert "Dina uppgifter i rangordningen av behov" in capsys.readouterr().out
    assert page.stat().st_mode & 0o077 == 0 and '<html lang="sv">' in page.read_text("utf-8")
    assert cli.main([*asked, "--purpose", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "known"
    assert cli.main([*asked[:-2], "--json"]) == 2
    assert "--actor" in json.loads(capsys.readouterr().out)["errors"][0]["wrong"]


# ---- objections ------------------------------------------------------------------------------------------------


def test_who_objected_in_one_process_is_on_no_list_of_another(world, home, tmp_path):
    code, told = in_another_process("object", world.listed, "--need", "youth", "--home", home.root, "--json")
    assert code == 0, told
    result = json.loads(told)
    assert result["changed"] and result["seen_before"] and {file["new"] for file in result["recalled"]} == {True}
    made = listed_again(world, home)
    assert world.listed not in people_of(home, made["list_id"]) and made["excluded"]["objected"] == 1
    assert made["objected_meanwhile"] == 0
    shutil.copytree(home.root, tmp_path / "by_rule")
    other = Home(Settings(home=tmp_path / "by_rule"))
    by_rule = listed_again(world, other, "youth_rule")
    assert world.listed in people_of(other, by_rule["list_id"]), "an objection to one need leaves the others"
    code, told = in_another_process("object", world.listed, "--need", "youth", "--withdraw", "--home", home.root)
    assert code == 0 and "stay recalled" in told
    again = listed_again(world, home)
    first = home.store.lists("youth").filter(list_id=world.lists["youth"])["digest"][0]
    assert again["list_digest"] == first and world.listed in people_of(home, again["list_id"])


def test_an_objection_recalls_the_files_of_its_need_and_lists_show_says_so(world, home):
    recalled = record_objection(home, world.listed, "youth", by="resident")["recalled"]
    of_list = {Path(file["file"]).name for file in recalled}
    assert f"{world.unit}.xlsx" in of_list and {file["list_id"] for file in recalled} == {world.lists["youth"]}
    assert home.store.exports(list_id=world.lists["youth_rule"])["recalled_at"].null_count() == 7 + 5
    shown = show_list(home, world.lists["youth"], world.unit, by="unit head", purpose="work")
    assert shown["objected_since"] == 1
    assert world.listed not in {row["person_id"] for row in shown["rows"]}
    assert {Path(file["file"]).name for file in shown["files"] if file["recalled"]} == of_list
    with pytest.raises(BadInput, match="person: has objected to this need"):
        change_list(home, world.lists["youth"], world.unit, world.listed, "assigned", "unit head", worker="w 1")
    record_objection(home, world.listed, "youth", withdraw=True)
    shown = show_list(home, world.lists["youth"], world.unit, by="unit head", purpose="work")
    assert shown["objected_since"] == 0 and world.listed in {row["person_id"] for row in shown["rows"]}
    acts = [(row["action"], row["actor"]) for row in home.audit_log.rows() if row["action"] in ("object", "withdraw")]
    assert acts == [("object", "resident"), ("withdraw", "service point")]
    assert world.listed not in json.dumps([row["facts"] for row in home.audit_log.rows()])


def cells_of(home, list_id, person):
    """The person's row in the unit's table, and in its file for machines."""
    unit = home.store.rows(list_id, person_id=person)["unit_id"][0]
    folder = home.lists / "youth" / list_id
    with (folder / f"{unit}.csv").open(encoding="utf-8-sig", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["Person"] == person)
    rows = json.loads((folder / f"{unit}.rows.json").read_bytes())["rows"]
    return row, next(row for row in rows if row["person"] == person), (folder / f"{unit}.html").read_text("utf-8")


def test_an_objection_to_a_channel_takes_the_channel_away_and_not_the_person(world, home):
    before = cells_of(home, world.lists["youth"], world.listed)[0]
    assert "+358" in before["Phone"]
    result = record_objection(home, world.listed, "youth", channel="phone")
    assert result["standing"][0]["channel"] == "phone" and result["recalled"]
    made = listed_again(world, home)
    row, facts, page = cells_of(home, made["list_id"], world.listed)
    assert row["Phone"] == "wants no calls" and row["Suggested channel"] != "phone call"
    assert row["On the list"] == "by the ranking; not by phone call" and "not by phone call" in page
    assert facts["not_by"] == ["phone"] and facts["contact_phone"] is None
    assert f"+358 000 77{world.listed}" not in page
    assert home.store.proof(made["list_id"]).faults == ()
    shown = show_list(home, made["list_id"], world.unit, by="unit head", purpose="work")
    assert [one["not_by"] for one in shown["rows"] if one["person_id"] == world.listed] == [["phone"]]
    for channel in ("letter", "visit", "digital"):
        record_objection(home, world.listed, channel=channel)
    assert home.objections.objecting([world.listed], "youth").tolist() == [True], "no way is left to make contact"
    assert home.objections.objecting([world.listed], "youth_rule").tolist() == [False]
    record_objection(home, world.listed, channel="visit", withdraw=True)
    assert home.objections.objecting([world.listed], "youth").tolist() == [False]


def test_whoever_objects_while_a_list_is_made_is_recalled_from_it(world, home, monkeypatch):
    publish, said = list_work.publish, []

    def interrupted(*asked):
        said.append(record_objection(Home(home.settings), world.listed, "youth"))
        return publish(*asked)

    monkeypatch.setattr(list_work, "publish", interrupted)
    made = listed_again(world, home)
    assert made["objected_meanwhile"] == 1 and world.listed in people_of(home, made["list_id"])
    assert made["list_id"] not in {file["list_id"] for file in said[0]["recalled"]}
    files = home.store.exports(person_id=world.listed).filter(list_id=made["list_id"])
    assert files.height == 7 and files["recalled_at"].null_count() == 0
    monkeypatch.undo()
    assert listed_again(world, home)["objected_meanwhile"] == 0


def test_what_cannot_be_recorded_is_refused_with_what_stands(world, home):
    def refused(*words, **more):
        with pytest.raises(BadInput) as refusal:
            record_objection(home, *words, **more)
        return str(refusal.value)

    told = refused(" ", "yuoth", channel="fax", by="neighbour")
    for wrong in ("person: is empty", "Did you mean 'youth'?", "--channel: 'fax' is no", "--by: 'neighbour' is no"):
        assert wrong in told
    assert "010190" not in refused("010190-123A")
    assert refused("000001", withdraw=True).endswith("Nothing is on record for this pseudonym: check it")
    record_objection(home, "000001")
    assert "ennakko object ID --withdraw" in refused("000001", "youth", withdraw=True), "it stands for every need"
    assert "for every need by phone" in refused("000001", withdraw=True, channel="phone")
    assert record_objection(home, "000001")["changed"] is False


def test_place_proposals_that_hold_the_person_are_named(world, home):
    for day, people in (("2026-01-08", ["000001", "000002"]), ("2026-02-08", ["000002"])):
        folder = home.root / "places" / f"places-{day}-abc"
        folder.mkdir(parents=True)
        pl.DataFrame({"person_id": people, "unit_id": "a"}).write_parquet(folder / "proposals.parquet")
    told = record_objection(home, "000001", "preschool_reach")["places"]
    assert [Path(folder).name for folder in told] == ["places-2026-01-08-abc"]
    assert record_objection(home, "000002", channel="phone")["places"] == []


def test_of_the_erased_no_objection_is_kept(world, home):
    home.store.erase(world.listed)
    result = record_objection(home, world.listed)
    assert result["erased"] and not result["changed"] and result["standing"] == []
    assert home.objections.count() == 0 and home.objections.objecting([world.listed], "youth").tolist() == [True]


def test_the_simulated_lists_hold_no_objector(world, home):
    gathered = GatheredEvidence({}, pl.DataFrame({"person_id": ["000001", "000002", "000003"], "label": [0, 1, 0]}))
    home.objections.object("000002", "youth")
    need = SimpleNamespace(id="youth")
    assert _without_objectors(home, need, gathered).rows["person_id"].to_list() == ["000001", "000003"]
    for person in ("000001", "000003"):
        home.objections.object(person)
    with pytest.raises(BadInput, match="people who all object by now"):
        _without_objectors(home, need, gathered)


def test_scores_and_lists_leave_what_a_person_may_ask_for(world, home):
    scores = home.store.scores_of(world.listed)
    days = {"youth": AS_OF, "youth_rule": AS_OF + timedelta(days=7)}
    assert dict(scores.select("need_id", "as_of_date").iter_rows()) == days and scores.height == 2
