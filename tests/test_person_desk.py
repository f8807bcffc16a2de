"""Residents and service points over HTTP: the view, who may see whose, and objections in force at once."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime

import httpx
import numpy as np
import polars as pl
import pytest
from gdpr_world import ANNA, BO, PROFILE_AUDIENCE
from openid_provider import Provider
from sealed_world import AS_OF, MODEL_NEED, World
from served import start, stop, wait_until_it_answers

from ethics.objections import CHANNELS
from scoring.person_page import render_page
from serving.list_work import list_need
from serving.local_issuer import issue_token, make_issuer
from serving.objection_work import store_if_begun
from serving.person_desk import page_policy
from serving.person_schemas import ObjectionResponse, PersonResponse, StandingResponse
from serving.person_work import look_at_person
from serving.profile_links import open_links

PURPOSE = {"x-purpose": "asks what is kept"}
LIST = '\n[list]\ncolumns = ["rank_band", "reasons", "channel", "contact"]\nmerge = "none"\n'
NOBODY = {"type": "about:blank", "title": "Unknown person", "status": 404}


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A listed week; somebody listed has a guardian who is in the city too; two profiles, of which one is linked."""
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, units=True, need_text=MODEL_NEED + LIST)
    people = world.city.persons["person_id"]
    world.groups._frame.write_parquet(folder / "city" / "groups.parquet")
    world.approve()
    (folder / "youth.toml").write_text(world.need_text)
    contacts = pl.DataFrame(
        {
            "person_id": people,
            "name": [f"Person {person}" for person in people],
            "channel": np.resize(CHANNELS, len(people)),
            "phone": [f"+358 000 77{person}" for person in people],
            "language": "fi",
            "interpreter": False,
            "guardian": pl.Series([None] * len(people), dtype=pl.String),
            "secrecy_order": False,
        }
    )
    contacts.write_parquet(folder / "city" / "contacts.parquet")
    made = list_need(world.home, folder / "city", folder / "youth.toml", AS_OF)
    rows = world.home.store.rows(made["list_id"])
    listed = rows["person_id"].to_list()
    by_unit = rows.partition_by("unit_id", maintain_order=True)
    world.listed, world.child = by_unit[0]["person_id"].to_list()[:2]
    world.third = by_unit[1]["person_id"][0]
    covered = set(world.score().frame["person_id"]) - set(listed)
    world.resident, world.guardian, world.other = sorted(covered)[:3]
    of_child = pl.col("person_id") == world.child
    guardians = pl.when(of_child).then(pl.lit(world.guardian)).otherwise(pl.col("guardian"))
    contacts.with_columns(guardian=guardians).write_parquet(folder / "city" / "contacts.parquet")
    open_links(world.home).link([(ANNA, world.resident)])
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    return world


@pytest.fixture(scope="module")
def server(world, provider):
    issuer = {"ENNAKKO_PROFILE_ISSUER": provider.issuer, "ENNAKKO_PROFILE_AUDIENCE": PROFILE_AUDIENCE}
    server = start(world, **issuer)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said and "Error at" not in said
    for person in (world.listed, world.child, world.resident, world.guardian):
        assert person not in said


@pytest.fixture(scope="module")
def tokens(world):
    def token(role, **claims):
        if role in ("unit", "system"):
            claims = {"subject": f"a {role}", **claims}
        return issue_token(world.home, role, minutes=30, now=datetime.now(UTC), **claims)["token"]

    return {
        "service point": token("service_point", subject="desk 4"),
        "unit": token("unit", needs=["youth"], units=["north"]),
        "system": token("system", needs=["*"]),
        "auditor": token("auditor"),
        **{
            name: token("resident", person_id=getattr(world, name))
            for name in ("listed", "resident", "guardian", "other", "third")
        },
    }


@pytest.fixture(scope="module")
def ask(server, tokens):
    def ask(who, method, path, **options):
        headers = {"authorization": f"Bearer {tokens.get(who, who)}", **PURPOSE, **options.pop("headers", {})}
        return httpx.request(method, server.url + path, headers=headers, timeout=60, **options)

    return ask


def score(ask, person_id):
    body = {"need": "youth", "as_of_date": str(AS_OF), "person_id": person_id, "reasons": False}
    return ask("system", "POST", "/score", json=body)


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["title"]


def last_act(world, action):
    return [row for row in world.home.audit_log.rows() if row["action"] == action][-1]


# ---- the view --------------------------------------------------------------------------------------------------


def test_a_resident_sees_what_the_command_tells_them(world, ask):
    told = ask("listed", "GET", "/person?language=fi")
    assert told.status_code == 200, told.text
    view = told.json()
    PersonResponse.model_validate_json(told.content)
    by_command = look_at_person(
        world.home,
        world.listed,
        actor="resident",
        purpose="asks what is kept",
        language="fi",
        city=world.folder / "city",
    )
    assert view["state"] == "known" and view["language"] == "fi"
    assert view["needs"] == by_command["needs"]
    (need,) = view["needs"]
    assert need["lists"][0]["unit_id"] in ("north", "east") and need["data"]["as_scored"] is True
    assert "score" not in need["scores"][0]  # bands; numbers go into the copy of all data
    assert (
        ask("listed", "GET", f"/person/{world.listed}").json()["needs"]
        == ask("listed", "GET", "/person").json()["needs"]
    )


def test_who_looked_is_recorded_and_told_before_the_answer_leaves(world, ask):
    path = f"/person/{world.third}"
    n = len(world.home.store.views(person_id=world.third))
    seen = ask("service point", "GET", path, headers={"x-purpose": "asked at the desk", "x-request-id": "d1" * 16})
    assert seen.status_code == 200
    row = last_act(world, "person")
    facts = json.loads(row["facts"])
    assert (row["actor"], facts["purpose"], facts["request"]) == ("service point", "asked at the desk", "d1" * 16)
    assert facts["person"] == world.home.store.refs([world.third])[world.third]
    assert re.fullmatch("[0-9a-f]{32}", facts["subject"])
    assert len(world.home.store.views(person_id=world.third)) == n + 1
    assert score(ask, world.third).status_code == 200
    looks = ask("third", "GET", "/person").json()["looks"]
    assert ("service point", "asked at the desk") in {(look["actor"], look["purpose"]) for look in looks}
    by_system = [look for look in looks if look["what"] == "score"]  # asked over HTTP, and told as well
    assert [(look["actor"], look["need"]) for look in by_system] == [("system", "youth")]
    assert world.home.audit_log.verify() == []


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
def test_the_page_comes_where_it_is_asked_for_and_only_its_own_style_works(world, ask, language):
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = ask("listed", "GET", f"/person?language={language}", headers=browser)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-language"] == language
    assert f'<html lang="{language}">' in answer.text
    (policy,) = answer.headers.get_list("content-security-policy")
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    style = re.search(r"<style>(.*?)</style>", answer.text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert allowed.pop("style-src") == f"'sha256-{digest}'"
    assert allowed == dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    assert answer.text.count("<style") == 1 and not re.search(r"<script|\sstyle=|\son\w+=|<link", answer.text)
    for header in ("cache-control", "x-content-type-options", "referrer-policy"):
        assert len(answer.headers.get_list(header)) == 1
    assert ask("listed", "GET", "/person").headers["content-security-policy"].startswith("default-src 'none'; frame")


def test_a_name_in_the_view_cannot_bring_a_style_of_its_own(world):
    view = look_at_person(world.home, world.listed, actor="resident", purpose="x")
    page = render_page({**view, "person_id": "<style>body { display: none }</style>"})
    assert page_policy(page) == page_policy(render_page(view))


def test_another_person_and_nobody_are_one_answer_to_a_resident(world, ask):
    others = (world.listed, world.other, "no such person", "131052-308T", f"{world.resident} ", f"{world.resident}.")
    rows = len(world.home.audit_log.rows())
    for other in others:
        answers = [
            ask("resident", "GET", f"/person/{other}"),
            ask("resident", "GET", "/objections", params={"person_id": other}),
            ask("resident", "DELETE", "/objections", params={"person_id": other, "need": "youth"}),
            ask("resident", "POST", "/objections", json={"person_id": other, "need": "youth"}),
        ]
        for answer in answers:
            is_code = other == "131052-308T" and answer is answers[3]  # which no body may hold, whoever's it is
            refused = (422, "The body cannot be used") if is_code else (404, "Unknown person")
            assert problem_of(answer) == refused, other
            assert other not in answer.text
        assert answers[0].json() == ask("resident", "GET", f"/person/{world.guardian}").json()
    assert len(world.home.audit_log.rows()) == rows
    assert world.home.objections.count() == 0


def test_a_service_point_is_told_of_somebody_unknown_and_makes_nobody_known(world, ask):
    n = world.home.store.summary()["people"]
    answer = ask("service point", "GET", "/person/nobody-at-all")
    assert (answer.status_code, answer.json()["state"]) == (200, "unknown")
    assert ask("service point", "GET", "/objections?person_id=nobody-at-all").json() == {"standing": []}
    assert json.loads(last_act(world, "objections")["facts"])["known"] == 0
    assert world.home.store.summary()["people"] == n
    code = ask("service point", "GET", "/person/131052-308T")
    assert problem_of(code) == (404, "Unknown person")
    assert code.json()["errors"][0]["where"] == "path: person_id" and "131052" not in code.text


def test_only_residents_and_service_points_are_told_of_persons(world, ask):
    for who in ("unit", "system", "auditor"):
        for path in ("/person", f"/person/{world.listed}", "/objections"):
            assert problem_of(ask(who, "GET", path)) == (403, "Not for this role")
        assert problem_of(ask(who, "POST", "/objections", json={"need": "*"})) == (403, "Not for this role")
    assert problem_of(ask("service point", "GET", "/person")) == (403, "Not for this role")


def test_what_is_asked_wrongly_is_refused_in_words(world, ask):
    refused = ask("resident", "GET", "/person?language=se")
    assert problem_of(refused) == (400, "The request cannot be used")
    assert refused.json()["errors"][0] == {
        "where": "query: language",
        "wrong": "is none of the view",
        "mend": "Give one of: fi, sv, en",
    }
    assert problem_of(ask("resident", "GET", "/person", headers={"accept": "image/png"}))[0] == 406
    for purpose in ("", "x" * 201):
        assert problem_of(ask("resident", "GET", "/person", headers={"x-purpose": purpose})) == (400, "No purpose")
    named = ask("service point", "GET", f"/person/{world.third}", headers={"x-purpose": f"asks about {world.third}"})
    assert named.json()["errors"][0]["where"] == "header: x-purpose"
    assert problem_of(named) == (422, "The purpose cannot be kept")
    for body, where in (
        ({}, "body: need"),
        ({"need": "youth", "channel": "pigeon"}, "body: channel"),
        ({"need": "youth", "withdraw": True}, "body: withdraw"),
    ):
        answer = ask("resident", "POST", "/objections", json=body)
        assert problem_of(answer) == (422, "The body cannot be used")
        assert answer.json()["errors"][0]["where"] == where
    answer = ask("resident", "DELETE", "/objections?need=youth&channel=pigeon")
    assert problem_of(answer) == (400, "The request cannot be used")
    assert answer.json()["errors"][0]["where"] == "query: channel"
    for answer, where in (
        (ask("resident", "POST", "/objections", json={"need": "yuoth"}), "body: need"),
        (ask("resident", "DELETE", "/objections?need=yuoth"), "query: need"),
    ):
        assert problem_of(answer) == (404, "Unknown need")
        assert answer.json()["errors"][0]["where"] == where
        assert "Did you mean 'youth'?" in answer.json()["errors"][0]["mend"]
    for answer in (
        ask("service point", "POST", "/objections", json={"need": "*"}),
        ask("service point", "DELETE", "/objections?need=*"),
        ask("service point", "GET", "/objections"),
    ):
        assert problem_of(answer) == (422, "Not said for whom")


# ---- by a profile ----------------------------------------------------------------------------------------------


def test_a_linked_profile_is_the_person_it_is_linked_to(world, provider, ask):
    def token(profile, **claims):
        return provider.token(aud=PROFILE_AUDIENCE, sub=str(profile), **{"loa": "substantial", **claims})

    own = ask(token(ANNA), "GET", "/person")
    assert own.status_code == 200 and own.json()["person_id"] == world.resident
    assert problem_of(ask(token(ANNA), "GET", f"/person/{world.other}")) == (404, "Unknown person")
    assert problem_of(ask(token(BO), "GET", "/person")) == (404, "Unknown person")
    for loa in ("low", None):
        assert problem_of(ask(token(ANNA, loa=loa), "GET", "/person")) == (403, "Stronger sign-in needed")
    weak = ask(token(ANNA, loa="low"), "POST", "/objections", json={"need": "*"})
    assert problem_of(weak) == (403, "Stronger sign-in needed")


# ---- objections ------------------------------------------------------------------------------------------------


def test_an_objection_is_in_force_before_the_next_score(world, ask):
    person = world.resident
    assert score(ask, person).status_code == 200
    said = ask("resident", "POST", "/objections", json={"need": "youth"})
    assert said.status_code == 200, said.text
    ObjectionResponse.model_validate_json(said.content)
    assert (said.json()["by"], said.json()["changed"], said.json()["objecting"]) == ("resident", True, True)
    assert problem_of(score(ask, person)) == (403, "Objected")
    again = ask("resident", "POST", "/objections", json={"need": "youth"}).json()
    assert again["changed"] is False and [one["need"] for one in again["standing"]] == ["youth"]
    standing = ask("resident", "GET", "/objections")
    StandingResponse.model_validate_json(standing.content)
    assert [(one["need"], one["channel"]) for one in standing.json()["standing"]] == [("youth", None)]
    assert ask("resident", "GET", "/person").json()["needs"][0]["objects"] is True
    other = ask("resident", "DELETE", "/objections?need=*").json()
    assert other["changed"] is False and len(other["standing"]) == 1
    assert problem_of(score(ask, person)) == (403, "Objected")
    back = ask("resident", "DELETE", "/objections?need=youth").json()
    assert (back["changed"], back["objecting"], back["standing"]) == (True, False, [])
    assert score(ask, person).status_code == 200
    assert ask("resident", "DELETE", "/objections?need=youth").json()["changed"] is False


def test_a_channel_is_refused_and_taken_back_by_itself(ask):
    for channel in CHANNELS[:2]:
        assert ask("other", "POST", "/objections", json={"need": "*", "channel": channel}).json()["changed"] is True
    standing = ask("other", "GET", "/objections").json()["standing"]
    assert {(one["need"], one["channel"]) for one in standing} == {("*", channel) for channel in CHANNELS[:2]}
    left = ask("other", "DELETE", f"/objections?need=*&channel={CHANNELS[0]}").json()["standing"]
    assert [one["channel"] for one in left] == [CHANNELS[1]]


def test_a_service_point_objects_on_behalf_and_that_is_recorded(world, ask):
    body = {"need": "*", "person_id": world.third}
    said = ask("service point", "POST", "/objections", json=body, headers={"x-request-id": "d2" * 16})
    assert said.json()["by"] == "service_point" and said.json()["recalled_files"] >= 1
    assert "/" not in said.text  # no path of this machine
    assert problem_of(score(ask, world.third)) == (403, "Objected")
    row = last_act(world, "object")
    facts = json.loads(row["facts"])
    assert row["actor"] == "service point" and facts["request"] == "d2" * 16
    ask("service point", "GET", f"/objections?person_id={world.third}")
    assert facts["subject"] == json.loads(last_act(world, "objections")["facts"])["subject"]  # the same desk
    assert world.home.objections.history(world.third)[-1].by == "service_point"
    assert world.third not in str(row)
    assert ask("service point", "DELETE", f"/objections?need=*&person_id={world.third}").json()["changed"] is True


def test_of_a_resident_the_log_learns_that_somebody_objected_and_not_who(world, ask):
    ask("resident", "POST", "/objections", json={"need": "youth", "channel": "visit"})
    row = last_act(world, "object")
    assert row["actor"] == "resident"
    assert set(json.loads(row["facts"])) == {"need", "channel", "changed", "recalled", "request"}


def test_a_guardian_s_no_calls_back_the_files_with_their_child(world, ask):
    assert ask("guardian", "POST", "/objections", json={"need": "youth"}).json()["recalled_files"] >= 1
    files = world.home.store.exports(person_id=world.child)
    assert files["recalled_at"].null_count() == 0


def test_nothing_about_a_person_is_read_or_kept_beside_an_erasure(world, ask):
    with world.home.in_use(alone=True):
        for answer in (
            ask("resident", "GET", "/person"),
            ask("resident", "GET", "/objections"),
            ask("resident", "POST", "/objections", json={"need": "youth"}),
        ):
            assert problem_of(answer) == (503, "Must wait")
            assert answer.headers["retry-after"] == "5"
    assert ask("resident", "GET", "/person").status_code == 200


def test_of_the_erased_nothing_is_left_to_tell(world, ask):
    assert store_if_begun(world.home).erase(world.other)
    view = ask("other", "GET", "/person").json()
    assert view["state"] == "erased" and view["looks"] == [] and view["standing"] == []
    said = ask("other", "POST", "/objections", json={"need": "*"}).json()
    assert (said["erased"], said["changed"], said["standing"]) == (True, False, [])
    assert world.home.objections.standing(world.other)  # it stays, as a keyed hash that masks
    assert ask("other", "GET", "/objections").json() == {"standing": []}
