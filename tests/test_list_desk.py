"""Lists over HTTP, with tokens of the home's own issuer: whose they are, what is told, and what is kept of the work."""

import json
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from sealed_world import World
from served import start, stop, wait_until_it_answers

from scoring.store import Export
from serving.erasure_work import erase_person
from serving.local_issuer import issue_token, make_issuer
from serving.past_lists import change_list, show_list

NO_LIST = "01HZZZZZZZZZZZZZZZZZZZZZZ0"
PURPOSE = "the week's outreach"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A city with two units, and two lists of the same day: the second is the one that stands."""
    world = World(tmp_path_factory.mktemp("world"), units=True)
    world.approve()
    store = world.home.store
    world.listed = world.list()
    world.people = {part.unit_id: [row.person_id for row in part.rows] for part in world.listed.parts}
    assert all(len(people) >= 4 for people in world.people.values()), world.people
    world.older = replace(world.listed, list_id=NO_LIST[:-1] + "1")
    store.publish(world.older, [Export("north.csv", "a" * 64, "north"), Export("east.csv", "b" * 64, "east")])
    store.publish(world.listed, [])
    assert store.lists().height == 2
    return world


@pytest.fixture(scope="module")
def server(world):
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    server = start(world)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said and "Error at" not in said
    assert not any(person in said for people in world.people.values() for person in people)


@pytest.fixture(scope="module")
def token(world, server):
    now = datetime.now(UTC)

    def made(role="unit", needs=("youth",), units=("north",), subject="a test"):
        units = units if role == "unit" else ()
        return issue_token(world.home, role, needs=needs, units=units, subject=subject, minutes=30, now=now)["token"]

    return made


@pytest.fixture(scope="module")
def ask(server, token):
    north = token(subject="worker of the north")
    client = httpx.Client(base_url=server.url, timeout=60)

    def asked(method, path, body=None, *, by=north, purpose=PURPOSE, **more):
        headers = {"authorization": f"Bearer {by}", **({"x-purpose": purpose} if purpose else {})}
        return client.request(method, path, json=body, headers=headers, **more)

    yield asked
    client.close()


def of(world, unit="north", list_id=None, rest=""):
    return f"/lists/{list_id or world.listed.list_id}{rest}?unit={unit}"


def title_of(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["title"]


def lines(world, action):
    return [row for row in world.home.audit_log.rows() if row["action"] == action]


def test_a_service_that_is_tried_out_without_tokens_tells_of_no_list(world):
    """Comes first: the home has no issuer yet."""
    server = start(world)
    try:
        wait_until_it_answers(server)
        for path in ("/lists?need=youth&unit=north", of(world)):
            assert title_of(httpx.get(server.url + path, headers={"x-purpose": PURPOSE})) == (401, "Not signed in")
    finally:
        stop(server)


# ---- reading -------------------------------------------------------------------------------------------------------


def test_a_unit_s_lists_are_told_newest_first_with_what_became_of_them(world, ask):
    world.home.store.recall(world.people["north"][0], "a test", need_id="youth")
    told = ask("GET", "/lists?need=youth&unit=north", purpose=None).json()
    assert [one["list_id"] for one in told["lists"]] == [world.listed.list_id, world.older.list_id]
    newest, older = told["lists"]
    assert (newest["replaced_by"], older["replaced_by"]) == (None, world.listed.list_id)
    assert (newest["recalled"], older["recalled"]) == (False, True)
    assert newest["n"] == len(world.people["north"])
    assert (newest["as_of_date"], newest["period"]) == ("2024-06-03", "2024-06-03/2024-06-10")
    assert datetime.fromisoformat(newest["published_at"]) <= datetime.now(UTC)


def test_the_rows_are_those_of_the_command_line_with_the_reasons_that_were_published(world, ask):
    answer = ask("GET", of(world))
    told = answer.json()
    shown = show_list(world.home, world.listed.list_id, "north", by="head", purpose="a look")["rows"]
    assert [{name: row[name] for name in shown[0]} for row in told["rows"]] == shown
    for row, kept in zip(told["rows"], world.listed.part("north").rows, strict=True):
        assert [why["text"] for why in row["reasons"]] == [why.text for why in kept.reasons]
        assert set(row) == {
            *("position", "kind", "person_id", "rank_band", "worker", "not_by"),
            *("reasons", "cautions", "attempts", "who_helps"),
        }
    assert any(row["reasons"] for row in told["rows"])
    assert "probability" not in answer.text and "score" not in answer.text


def test_a_look_is_kept_in_store_and_audit_log_before_the_answer_without_the_subject(world, ask):
    store, begun = world.home.store, len(lines(world, "view"))
    before = store.views(world.listed.list_id).height
    answer = ask("GET", of(world))
    (line,) = lines(world, "view")[begun:]
    facts, look = json.loads(line["facts"]), store.views(world.listed.list_id).row(-1, named=True)
    assert store.views(world.listed.list_id).height == before + 1
    assert (look["unit_id"], look["purpose"]) == ("north", PURPOSE)
    role, _, pseudonym = look["actor"].partition(" ")
    assert (line["actor"], facts["subject"], facts["purpose"]) == (role, pseudonym, PURPOSE)
    assert (facts["list"], facts["unit"], facts["request"]) == (
        world.listed.list_id,
        "north",
        answer.headers["x-request-id"],
    )
    assert set(facts["persons"].split()) == set(store.refs(world.people["north"]).values())
    assert "worker of the north" not in str(look) + str(line)
    assert store.views(person_id=world.people["north"][0])["actor"].to_list()[-1] == look["actor"]


def test_objectors_are_gone_the_erased_name_nobody_and_changes_by_hand_are_in(world, ask):
    first, second, third = world.people["north"][:3]
    world.home.objections.object(first, "youth")
    world.home.objections.object(second, "youth", channel="phone")
    change_list(world.home, world.listed.list_id, "north", second, "assigned", "head", worker="A12")
    change_list(world.home, world.listed.list_id, "north", third, "removed", "head", reason="moved away")
    try:
        rows = {row["person_id"]: row for row in ask("GET", of(world)).json()["rows"]}
        assert first not in rows and third not in rows
        assert (rows[second]["not_by"], rows[second]["worker"]) == (["phone"], "A12")
        erase_person(world.home, first, by="dpo", reason="asked for it")
        rows = ask("GET", of(world)).json()["rows"]
        (gone,) = (row for row in rows if row["person_id"] is None)
        assert (gone["reasons"], gone["worker"]) == ([], None)
    finally:
        world.home.objections.withdraw(second, "youth", channel="phone")
        change_list(world.home, world.listed.list_id, "north", third, "added", "head", reason="was a mistake")
        world.people["north"].remove(first)
    assert third in [row["person_id"] for row in ask("GET", of(world)).json()["rows"]]


# ---- whose ---------------------------------------------------------------------------------------------------------


def test_a_foreign_list_is_answered_as_one_that_never_was(world, ask, token):
    other_need = token(needs=("elderly",), units=("north",))
    body = {"rows": [{"person_id": world.people["north"][1], "at": "2024-06-05", "outcome": "reached"}]}
    tried = [("GET", "", None), ("POST", "/attempts", body), ("POST", "/outcomes", body)]
    kept = world.home.store.attempts().height, world.home.store.views().height
    for method, rest, sent in tried:
        absent = ask(method, of(world, list_id=NO_LIST, rest=rest), sent)
        assert title_of(absent) == (404, "Unknown list")
        for foreign in (
            ask(method, of(world, "east", rest=rest), sent),
            ask(method, of(world, rest=rest), sent, by=other_need),
            ask(method, of(world, "no such unit", rest=rest), sent),
            ask(method, of(world, list_id="'; --\x00", rest=rest).replace("\x00", "%00"), sent),
            ask(method, of(world, "no such unit", rest=rest), sent, by=token("system", ("*",))),
        ):
            assert (foreign.status_code, foreign.content) == (404, absent.content)
    assert title_of(ask("GET", "/lists?need=youth&unit=east")) == (404, "Unknown list")
    assert ask("GET", "/lists?need=youth&unit=east").content == ask("GET", "/lists?need=youth&unit=nowhere").content
    assert title_of(ask("GET", "/lists?need=youth&unit=north", by=other_need)) == (404, "Unknown need")
    assert (world.home.store.attempts().height, world.home.store.views().height) == kept


def test_a_foreign_list_is_refused_no_slower_than_one_that_never_was(world, ask):
    def seconds(path):
        begun = time.perf_counter()
        assert ask("GET", path).status_code == 404
        return time.perf_counter() - begun

    paths = of(world, "east"), of(world, list_id=NO_LIST)
    took = [[seconds(path) for path in paths] for _ in range(25)]
    foreign, absent = (statistics.median(each) for each in zip(*took, strict=True))
    assert 0.5 < foreign / absent < 2.0


def test_a_system_sees_every_unit_of_its_needs_and_other_roles_none(world, ask, token):
    system = token("system", ("youth",))
    for unit, people in world.people.items():
        rows = ask("GET", of(world, unit), by=system).json()["rows"]
        assert {row["person_id"] for row in rows} - {None} == set(people)
    for role in ("auditor", "data_scientist", "service_point"):
        assert title_of(ask("GET", of(world), by=token(role, ()))) == (403, "Not for this role")
    assert title_of(ask("GET", of(world), by="nonsense")) == (401, "Not signed in")
    assert title_of(ask("GET", of(world), purpose=None)) == (400, "No purpose")


def test_a_purpose_that_names_a_person_is_refused_and_kept_nowhere(world, ask):
    person, begun = world.people["north"][1], world.home.store.views().height
    for purpose in (f"asks about {person}", "asks about 010190-123A"):
        for method, rest in (("GET", ""), ("POST", "/attempts")):
            sent = {"rows": [{"person_id": person, "at": "2024-06-05", "outcome": "reached"}]}
            answer = ask(method, of(world, rest=rest), sent if rest else None, purpose=purpose)
            assert title_of(answer) == (422, "The purpose cannot be kept")
            assert person not in answer.text and "010190" not in answer.text
    assert world.home.store.views().height == begun
    assert person not in str(world.home.audit_log.rows())


# ---- telling -------------------------------------------------------------------------------------------------------


def test_attempts_are_kept_once_with_what_came_of_them(world, ask):
    store, path = world.home.store, of(world, rest="/attempts")
    first, second = world.people["north"][1:3]
    rows = [
        {"person_id": first, "at": "2024-06-05T09:30", "outcome": "reached", "channel": "phone", "worker": "A12"},
        {"person_id": second, "at": "5.6.2024", "outcome": "not_reached"},
    ]
    began = store.attempts().height, store.outcomes().height
    new = ask("POST", path, {"rows": rows})
    assert new.json() == {
        "list_id": world.listed.list_id,
        "rows": 2,
        "attempts": 2,
        "outcomes": 2,
        "known_before": 0,
        "erased": 0,
        "by_outcome": {"not_reached": 1, "reached": 1},
    }, new.text
    again = ask("POST", path, {"rows": rows}).json()
    assert (again["attempts"], again["outcomes"], again["known_before"]) == (0, 0, 2)
    assert (store.attempts().height, store.outcomes().height) == (began[0] + 2, began[1] + 2)
    kept = store.attempts(person_id=first).row(-1, named=True)
    assert (kept["channel"], kept["worker"], kept["result"]) == ("phone", "A12", "reached")
    assert kept["source"].startswith("unit ") and "worker of the north" not in kept["source"]
    facts = json.loads(lines(world, "attempts")[0]["facts"])
    assert (facts["list"], facts["unit"], facts["rows"], facts["attempts"]) == (world.listed.list_id, "north", 2, 2)
    assert set(facts["persons"].split()) == set(store.refs([first, second]).values())


def test_outcomes_alone_count_no_attempt(world, ask):
    store, path, person = world.home.store, of(world, rest="/outcomes"), world.people["north"][1]
    began = store.attempts().height
    body = {"rows": [{"person_id": person, "at": "2024-06-20", "outcome": "helped"}]}
    told = [ask("POST", path, body).json() for _ in range(2)]
    assert [(one["attempts"], one["outcomes"], one["known_before"]) for one in told] == [(0, 1, 0), (0, 0, 1)]
    assert store.attempts().height == began
    assert store.outcomes(person_id=person)["outcome"].to_list()[-1] == "helped"
    refused = ask("POST", path, {"rows": [{**body["rows"][0], "worker": "A12"}]})
    assert title_of(refused) == (422, "The body cannot be used")


@pytest.mark.parametrize(("language", "row"), [("en", "row"), ("fi", "rivi"), ("sv", "rad")])
def test_nothing_is_kept_of_rows_that_cannot_be_used_and_every_fault_is_told_by_its_row(world, ask, language, row):
    own, foreign = world.people["north"][1], world.people["east"][0]
    began = world.home.store.attempts().height
    rows = [
        {"person_id": own, "at": "2024-06-06", "outcome": "declined"},
        {"person_id": foreign, "at": "2024-06-06", "outcome": "reached"},
        {"person_id": own, "at": "2023-01-01", "outcome": "reched"},
        {"person_id": own, "at": "soon", "outcome": "reached", "worker": "010190-123A"},
        {"person_id": own, "at": "2024-06-06", "outcome": "reached", "worker": "A12\u0000"},
    ]
    answer = ask("POST", of(world, rest="/attempts"), {"rows": rows, "language": language})
    assert title_of(answer) == (422, "The body cannot be used")
    where = [fault["where"] for fault in answer.json()["errors"]]
    assert sorted(where) == sorted(
        [f"{row} 2", f"{row} 3", f"{row} 3", f"{row} 4", f"{row} 4: worker", f"{row} 5: worker"]
    )
    assert own not in answer.text and foreign not in answer.text and "010190" not in answer.text
    assert world.home.store.attempts().height == began


def test_somebody_of_another_unit_and_somebody_unknown_are_one_answer(world, ask):
    def refused(person):
        rows = [{"person_id": person, "at": "2024-06-06", "outcome": "reached"}]
        return ask("POST", of(world, rest="/attempts"), {"rows": rows}).content

    assert refused(world.people["east"][0]) == refused("999999")


@pytest.mark.parametrize("body", [{}, {"rows": []}, {"rows": [{"person_id": "x"}]}, {"rows": "all"}, [1]])
def test_a_body_of_another_form_is_refused_in_words(world, ask, body):
    answer = ask("POST", of(world, rest="/attempts"), body)
    assert title_of(answer) == (422, "The body cannot be used")
    assert answer.json()["errors"]


def test_a_person_added_by_hand_can_be_told_of_by_that_unit(world, ask, token):
    listed = {person for people in world.people.values() for person in people}
    person = next(person for person in world.city.persons["person_id"] if person not in listed)
    change_list(world.home, world.listed.list_id, "north", person, "added", "head", reason="asked for help")
    rows = [{"person_id": person, "at": "2024-06-07", "outcome": "helped"}]
    of_east = ask("POST", of(world, "east", rest="/attempts"), {"rows": rows}, by=token(units=("east",)))
    assert title_of(of_east)[0] == 422
    assert ask("POST", of(world, rest="/attempts"), {"rows": rows}).json()["attempts"] == 1
