"""The service: a real server on loopback, asked over HTTP; no score without a verified verdict."""

import json
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import polars as pl
import pytest
from sealed_world import AS_OF, NOW, RULE_NEED, World
from served import free_port, soon, start, stop, wait_until_it_answers

from ethics.refusals import BadInput, NotTrusted
from scoring.reasons import Typical, explain
from serving.endpoints import ENDPOINTS
from serving.exchange import Unanswered
from serving.http_door import failed
from serving.running import serve
from serving.schemas import ScoreRequest
from serving.service import NeedScores, _refuse_misplaced, open_desk
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.verdict_path = world.approve()
    rules = World(
        world.folder / "rules",
        need_text=RULE_NEED,
        need_id="youth_rule",
        shared_home=world.home,
        shared_city=world.city,
    )
    rules.approve()
    world.rules = rules
    return world


@pytest.fixture(scope="module")
def server(world):
    server = start(world, "youth,youth_rule")
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said


def ask(server, body, **keywords):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    keywords.setdefault("headers", {"content-type": "application/json"})
    return httpx.post(f"{server.url}/score", content=body, timeout=30, **keywords)


def of(person_id, **changes):
    return {"need": "youth", "as_of_date": str(AS_OF), "person_id": person_id, **changes}


def body_of(world, person_id):
    """A person of the city folder as an online body."""
    persons = pl.read_parquet(world.city.folder / "persons.parquet").filter(pl.col("person_id") == person_id)
    events = pl.read_parquet(world.city.folder / "events.parquet").filter(pl.col("person_id") == person_id)
    return {
        "need": "youth",
        "as_of_date": str(AS_OF),
        "person": {"person_id": person_id, "birth_date": str(persons["birth_date"][0])},
        "events": [
            {"event_date": str(row["event_date"]), "code": row["code"], "value": row["value"]}
            for row in events.iter_rows(named=True)
        ],
    }


# ---- answers ---------------------------------------------------------------------------------------------------


def test_a_person_is_scored_as_in_the_cohort_to_the_bit(world, server):
    whole = world.score()
    typical = Typical.of(whole.matrix)
    for row in whole.frame.gather_every(89).iter_rows(named=True):
        answer = ask(server, of(row["person_id"]))
        assert answer.status_code == 200, answer.text
        told, _ = explain(world.model, whole.matrix, [row["row"]], typical, reader="youth-work")
        assert answer.json() == {
            "person_id": row["person_id"],
            "as_of_date": str(AS_OF),
            "score": row["score"],
            "rank_band": row["rank_band"],
            "reasons": [{"text": r.text, "source": r.source, "changeable": r.changeable} for r in told[0]],
            "model_digest": world.model.digest,
            "verdict_id": world.verdict.verdict_id,
        }


def test_reasons_come_in_the_language_that_is_asked_for(world, server):
    scores = world.score()
    row, typical = scores.frame.row(0, named=True), Typical.of(scores.matrix)
    for language in ("fi", "sv", "en"):
        answer = ask(server, of(row["person_id"], language=language)).json()
        (told,), _ = explain(world.model, scores.matrix, [row["row"]], typical, reader="youth-work", language=language)
        assert [reason["text"] for reason in answer["reasons"]] == [reason.text for reason in told]
    assert ask(server, of(row["person_id"], language="se")).status_code == 422


def test_a_body_with_events_is_scored_as_the_same_person_of_the_folder(world, server):
    for person_id in world.score().frame["person_id"].head(3):
        assert ask(server, body_of(world, person_id)).json() == ask(server, of(person_id)).json()


def test_events_in_a_body_may_come_in_any_order_and_with_clocks_of_any_zone(world, server):
    body = body_of(world, world.score().frame["person_id"][0])
    turned = {
        **body,
        "events": [{**e, "event_date": f"{e['event_date']}T10:00:00+02:00"} for e in body["events"][::-1]],
    }
    noon = {**body, "events": [{**e, "event_date": f"{e['event_date']}T12:00:00"} for e in body["events"]]}
    assert ask(server, turned).status_code == 200
    assert ask(server, turned).json()["rank_band"] == ask(server, noon).json()["rank_band"]


def test_what_a_body_says_of_later_days_changes_no_score(world, server):
    body = body_of(world, world.score().frame["person_id"][0])
    before = {**body, "events": [e for e in body["events"] if e["event_date"] < str(AS_OF)]}
    later = {"event_date": str(AS_OF), "code": "school.absence.unexcused", "value": None}
    known_later = {"event_date": "2024-06-01", "knowledge_date": str(AS_OF), "code": "school.absence.x", "value": None}
    after = {**before, "events": [*before["events"], later, known_later]}
    assert ask(server, after).json() == ask(server, before).json()


def test_a_rule_gives_the_band_and_no_probability(world, server):
    for row in world.rules.score().frame.gather_every(300).iter_rows(named=True):
        answer = ask(server, of(row["person_id"], need="youth_rule")).json()
        assert (answer["score"], answer["rank_band"]) == (None, row["rank_band"])
        assert answer["reasons"][0]["text"].startswith("absences from school: ")


def test_what_can_be_asked_for_and_what_it_rests_on_can_be_read(world, server):
    needs = httpx.get(f"{server.url}/needs").json()["needs"]
    assert [need["need"] for need in needs] == ["youth", "youth_rule"]
    facts = httpx.get(f"{server.url}/verdict", params={"need": "youth"}).json()
    assert facts["verdict_id"] == world.verdict.verdict_id
    assert facts["demonstration"] is True


def test_every_answer_has_secure_headers_and_none_says_what_runs(server):
    for answer in (
        ask(server, of("000005")),
        ask(server, b"{"),
        httpx.get(f"{server.url}/"),
        httpx.get(f"{server.url}/x"),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in answer.headers


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "title", "where"),
    [
        (b"{", 422, "The body cannot be used", "body"),
        ({}, 422, "The body cannot be used", "body: need"),
        (of(True), 422, "The body cannot be used", "body: person_id"),
        (of("000005", as_of_date="soon"), 422, "The body cannot be used", "body: as_of_date"),
        (of("000005", more=1), 422, "The body cannot be used", "body: more"),
        (of("  "), 422, "The body cannot be used", "body: person_id"),
        (of("000005", need="yuoth"), 404, "Unknown need", "body: need"),
        (of("nobody"), 404, "Unknown person", "body: person_id"),
        (of("131052-308T"), 422, "The body cannot be used", "body: person_id"),
        (of("000005", as_of_date="2024-07-01"), 422, "Too late", "body: as_of_date"),
        (of("000005", as_of_date="1990-01-01"), 422, "Too early", "body: as_of_date"),
    ],
)
def test_a_bad_request_is_a_problem_told_in_words(server, body, status, title, where):
    answer = ask(server, body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["title"], problem["errors"][0]["where"]) == (status, title, where)
    assert all(set(error) == {"where", "wrong", "mend"} and all(error.values()) for error in problem["errors"])
    assert "131052" not in answer.text
    assert "Traceback" not in answer.text


def test_a_person_the_need_does_not_cover_gets_no_score(world, server):
    body = body_of(world, "000005")
    body["person"]["birth_date"] = "1950-01-01"
    answer = ask(server, body)
    assert (answer.status_code, answer.json()["title"]) == (422, "Not covered")
    assert "000005" not in answer.text


def test_an_objector_gets_no_score_from_folder_or_body_and_is_not_named(world, server):
    body = body_of(world, "000007")
    world.objections.object("000007", "youth")
    try:
        for asked in (of("000007"), body):
            answer = ask(server, asked)
            assert (answer.status_code, answer.json()["title"]) == (403, "Objected")
            assert "000007" not in answer.text
        assert ask(server, of("000008")).status_code == 200
    finally:
        world.objections.withdraw("000007", "youth")
    assert ask(server, of("000007")).status_code == 200


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"events": [{"event_date": "2024-07-05", "code": "a"}]}, "known after the extract date"),
        (
            {"events": [{"event_date": "2024-01-05", "knowledge_date": "2024-01-04", "code": "a"}]},
            "known before it happened",
        ),
        ({"person": {"person_id": "x", "birth_date": "2005-01-01", "shoe": 42}}, "holds a key that is not one"),
    ],
)  # fmt: skip
def test_a_body_comes_in_by_the_same_door_as_a_city_folder(world, server, change, wrong):
    answer = ask(server, {**body_of(world, "000005"), **change})
    assert answer.status_code == 422
    assert wrong in answer.json()["errors"][0]["wrong"]


def test_a_need_that_orders_a_cohort_takes_no_body(world, server):
    answer = ask(server, {**body_of(world, "000005"), "need": "youth_rule"})
    assert (answer.status_code, answer.json()["title"]) == (422, "This need cannot be scored from a body")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/score", 405),
        ("POST", "/needs", 405),
        ("GET", "/", 404),
        ("GET", "/docs.json", 404),
        ("GET", "/schema.json", 404),
        ("GET", "/assets/index.js", 404),
        ("GET", "/verdict", 400),
        *((method, "/scores", 404) for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")),
        ("GET", "/score_batch", 405),
        ("DELETE", "/score", 405),
        ("PUT", "/verdict", 405),
    ],
)
def test_another_path_or_method_is_a_problem_too(server, method, path, status):
    answer = httpx.request(method, f"{server.url}{path}")
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_path_that_is_not_here_is_told_in_words(server):
    (error,) = httpx.post(f"{server.url}/scores", json={}).json()["errors"]
    assert error == {
        "where": "path",
        "wrong": "is not one here",
        "mend": "Ask for one of: "
        + ", ".join(f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if not endpoint.scope),
    }


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_at_the_end_of_the_calendar_is_refused_in_words(world, server, moment):
    body = {**body_of(world, "000005"), "events": [{"event_date": moment, "code": "a"}]}
    answer = ask(server, body)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body: events[0].event_date")


def test_only_json_of_bounded_length_is_read(server):
    plain = ask(server, of("000005"), headers={"content-type": "text/plain"})
    assert (plain.status_code, plain.json()["title"]) == (415, "Not JSON")
    long = ask(server, b'{"need": "' + b"x" * 5_000_000 + b'"}')
    assert (long.status_code, long.json()["title"]) == (413, "Too long")


# ---- trust -----------------------------------------------------------------------------------------------------


def title_of(server, person_id="000005"):
    answer = ask(server, of(person_id))
    return answer.status_code, answer.json().get("title")


NO = (503, "No score may leave now")


def test_a_set_stop_switch_stops_a_running_server(world, server):
    assert soon(lambda: title_of(server)[0], 200) == 200
    world.stop_switch.set("two wrong answers")
    try:
        assert soon(lambda: title_of(server), NO) == NO
    finally:
        world.stop_switch.clear()
    assert soon(lambda: title_of(server)[0], 200) == 200


@pytest.mark.parametrize("name", ["trees.txt", "manifest.json", "need.toml", "calibration.json", "columns.json"])
def test_an_altered_artefact_stops_a_running_server_until_it_is_restored(world, server, name):
    (path,) = (path for path in world.home.mlflow_artefacts.rglob(name) if "youth/" in str(path))
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    try:
        assert soon(lambda: title_of(server), NO) == NO
        assert soon(lambda: title_of(server), NO) == NO
    finally:
        path.write_bytes(content)
    assert soon(lambda: title_of(server)[0], 200) == 200


def test_a_changed_or_missing_verdict_stops_a_running_server(world, server):
    content = world.verdict_path.read_bytes()
    world.verdict_path.write_bytes(content.replace(b'"sig":"', b'"sig":"0', 1))
    try:
        assert soon(lambda: title_of(server), NO) == NO
        world.verdict_path.unlink()
        assert soon(lambda: title_of(server), NO) == NO
    finally:
        world.verdict_path.write_bytes(content)
    assert soon(lambda: title_of(server)[0], 200) == 200


def test_a_revoked_verdict_stops_a_running_server(world, server):
    revoked = world.home.verdicts / "revoked.json"
    revoked.write_text(json.dumps([world.verdict.verdict_id]))
    try:
        assert soon(lambda: title_of(server), NO) == NO
    finally:
        revoked.unlink()
    assert soon(lambda: title_of(server)[0], 200) == 200


def settings_of(world, **changes):
    given = {"home": world.home.root, "city": world.city.folder, "needs": ("youth",), "port": free_port(), **changes}
    return Settings(**given)


@pytest.fixture(scope="module")
def desk(world):
    return open_desk(settings_of(world))


def test_nothing_starts_without_an_approved_verdict(world):
    with pytest.raises(NotTrusted, match="no model of 'elderly' is approved"):
        open_desk(settings_of(world, needs=("elderly",)))
    with pytest.raises(NotTrusted, match="no model of 'elderly' is approved"):
        serve(settings_of(world), world.city.folder, ["youth", "elderly"])


def test_a_server_that_may_not_start_says_why_and_listens_nowhere(world):
    server = start(world, needs="elderly")
    assert server.process.wait(timeout=60) == 30
    said = server.said()
    assert "no model of 'elderly' is approved" in said
    assert "Traceback" not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_the_service_itself_verifies_when_bentoml_makes_it(world, monkeypatch):
    for name, value in settings_of(world, needs=("elderly",)).model_dump().items():
        if value is not None:
            monkeypatch.setenv(f"ENNAKKO_{name.upper()}", ",".join(value) if name == "needs" else str(value))
    with pytest.raises(NotTrusted, match="no model of 'elderly' is approved"):
        NeedScores()


def test_a_demonstration_is_served_on_loopback_only(world):
    with pytest.raises(NotTrusted, match=r"was signed with demonstration keys, and others .* reach 0\.0\.0\.0"):
        open_desk(settings_of(world, host="0.0.0.0"))


def test_without_tokens_a_demonstration_alone_is_served(world):
    open_desk(settings_of(world, without_tokens=True)).close()
    by_the_city = SimpleNamespace(
        need=SimpleNamespace(id="youth"), verified=SimpleNamespace(verdict=SimpleNamespace(demonstration=False))
    )
    with pytest.raises(NotTrusted, match="for those alone who show a token"):
        _refuse_misplaced(by_the_city, settings_of(world, without_tokens=True))


def test_without_a_token_nothing_is_answered_unless_told(world):
    server = start(world, ENNAKKO_WITHOUT_TOKENS="0")
    try:
        wait_until_it_answers(server)
        for asked in (ask(server, of("000005")), httpx.get(f"{server.url}/needs")):
            assert asked.status_code == 401
            assert "ennakko keys issuer" in asked.json()["errors"][0]["mend"]
    finally:
        stop(server)


def test_a_set_stop_switch_lets_no_server_start(world):
    world.stop_switch.set("stopped")
    try:
        with pytest.raises(NotTrusted, match="stop switch"):
            open_desk(settings_of(world))
    finally:
        world.stop_switch.clear()


@pytest.mark.parametrize(("change", "where"), [({"city": None}, "ENNAKKO_CITY"), ({"needs": ()}, "ENNAKKO_NEEDS")])
def test_a_server_must_know_its_city_and_needs(world, change, where):
    with pytest.raises(BadInput, match=where):
        open_desk(settings_of(world, **change))


def test_an_expired_verdict_answers_nothing(desk):
    guarded = desk.guarded["youth"]
    assert guarded.still_trusted(NOW + timedelta(days=6)) is guarded.scorer
    with pytest.raises(NotTrusted, match="verdict: expired at "):
        guarded.still_trusted(NOW + timedelta(days=7))


def test_a_need_with_changing_attributes_takes_no_body(desk):
    scorer = desk.guarded["youth"].scorer
    district = SimpleNamespace(attribute="district")
    cohort = SimpleNamespace(table="enrolled", where=[district])
    need = SimpleNamespace(kind="model", cohort=cohort, features=scorer.need.features)
    request = SimpleNamespace(person=SimpleNamespace(model_extra={}))
    faults = desk._needs_more_than_a_body(request, SimpleNamespace(need=need))
    assert [fault.wrong for fault in faults] == [
        "this need covers those of a ready-made table",
        "this need uses 'district', which changes over time and cannot come in a body",
    ]


def test_typical_values_are_made_anew_when_somebody_objects(world, desk):
    scorer = desk.guarded["youth"].scorer
    first = desk._typical(scorer, AS_OF)
    assert desk._typical(scorer, AS_OF) is first
    world.objections.object("000009", "youth")
    try:
        assert desk._typical(scorer, AS_OF) is not first
    finally:
        world.objections.withdraw("000009", "youth")


def test_a_running_server_keeps_no_medians_that_counted_somebody_erased_since(world, desk):
    scorer = desk.guarded["youth"].scorer
    first = desk._typical(scorer, AS_OF)
    world.home.store.refer(["000011"])
    world.home.store.erase("000011")
    second = desk._typical(scorer, AS_OF)
    assert second is not first
    assert list(desk._typicals.values()) == [second]


def test_bentoml_reports_to_nobody():
    usage = "bentoml._internal.utils.analytics.usage_stats"
    code = f"import serving.service; from {usage} import do_not_track; print(do_not_track())"
    environment = {name: value for name, value in os.environ.items() if not re.match("BENTOML|PYTEST|CI", name)}
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == "True", said.stderr


def test_the_first_day_of_a_city_is_that_of_its_first_event(world, desk):
    first = pl.read_parquet(world.city.folder / "events.parquet")["event_date"].min()
    assert isinstance(first, date)
    assert desk._first_day == first
    yesterday = ScoreRequest(need="youth", as_of_date=str(first), person_id="000005")
    with pytest.raises(Unanswered, match="Too early"):
        desk.answer(yesterday)


def test_what_goes_wrong_inside_is_told_to_nobody_and_logged_without_data(caplog):
    try:
        raise KeyError("131052-308T")
    except KeyError as error:
        said = failed(error)
    assert said.problem.model_dump() == {"type": "about:blank", "title": "Internal error", "status": 500, "errors": ()}
    assert "KeyError at " in caplog.text
    assert "131052-308T" not in caplog.text
