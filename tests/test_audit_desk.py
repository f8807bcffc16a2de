"""Auditors over HTTP: what is told suffices to verify verdict, cells and log without trusting the service."""

import hashlib
import io
import json
import shutil
from datetime import UTC, datetime

import httpx
import polars as pl
import pyarrow as pa
import pytest
from sealed_world import RULE_NEED, World
from served import start, stop, wait_until_it_answers

from ethics.digests import canonical_json
from ethics.verdict_audit import audit_verdict
from serving.approval import revoked_path
from serving.audit_schemas import AuditLogResponse, CellsResponse, EnvelopeResponse, VerdictsResponse
from serving.exchange import ARROW, PARQUET
from serving.home import CELLS, VERDICT

PURPOSE = {"x-purpose": "yearly audit"}
TOKENS = {
    "auditor": {"role": "auditor"},
    "of-youth": {"role": "auditor", "needs": ["youth"]},
    "scientist": {"role": "data_scientist"},
    "system": {"role": "system", "needs": ["youth_rule"]},
    "own-system": {"role": "system", "needs": ["youth"]},
    "unit": {"role": "unit", "needs": ["youth"], "units": ["north"]},
    "resident": {"role": "resident", "person_id": "000005"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two needs approved, of which the service answers for one; somebody's score in the log."""
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    rules = {"need_text": RULE_NEED, "need_id": "youth_rule"}
    world.rules = World(world.folder / "rules", **rules, shared_home=world.home, shared_city=world.city)
    world.rules.approve()
    return world


@pytest.fixture(scope="module")
def server(world):
    server = start(world, "youth", TEST_TOKENS=json.dumps(TOKENS))
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said and "Error at" not in said


@pytest.fixture(scope="module")
def ask(server):
    def ask(who, path, accept="*/*", **headers):
        headers = {"authorization": f"Bearer {who}", "accept": accept, **PURPOSE, **headers}
        return httpx.get(server.url + path, headers=headers, timeout=60)

    return ask


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["title"]


def last_act(world):
    row = world.home.audit_log.rows()[-1]
    return row["action"], row["actor"], json.loads(row["facts"])


# ---- verdicts and cells ----------------------------------------------------------------------------------------


def test_the_chain_of_a_need_is_told_with_its_states(world, ask):
    answer = ask("auditor", "/verdicts?need=youth")
    VerdictsResponse.model_validate_json(answer.content)
    (one,) = answer.json()["verdicts"]
    verdict = world.verdict
    assert (one["verdict_id"], one["state"], one["approved"]) == (verdict.verdict_id, verdict.state, True)
    assert one["signed_by"] == ["auditor", "gate"] and one["revoked"] is False
    assert one["payload_sha256"] == verdict.payload_sha256
    assert answer.json()["faults"] == []
    action, actor, facts = last_act(world)
    assert (action, actor, facts["need"]) == ("verdicts read", "auditor", "youth")
    assert ask("scientist", "/verdicts?need=youth_rule").json()["verdicts"][0]["approved"] is True  # of the home


def test_a_revoked_verdict_and_a_broken_chain_are_told(world, ask):
    place = world.home.verdicts / "youth_rule"
    copy = place / "v-00000000000000000000"
    try:
        revoked_path(world.home).write_text(json.dumps([world.rules.verdict.verdict_id]))
        assert ask("auditor", "/verdicts?need=youth_rule").json()["verdicts"][0]["revoked"] is True
        revoked_path(world.home).write_text("not a list")
        told = ask("auditor", "/verdicts?need=youth_rule").json()
        assert told["verdicts"][0]["revoked"] is True and "not a list of verdict ids" in told["faults"][0]["wrong"]
        revoked_path(world.home).unlink()
        shutil.copytree(place / world.rules.verdict.verdict_id, copy)
        told = ask("auditor", "/verdicts?need=youth_rule").json()
        assert any(copy.name in fault["where"] for fault in told["faults"])
    finally:
        revoked_path(world.home).unlink(missing_ok=True)
        shutil.rmtree(copy, ignore_errors=True)


def test_a_verdict_comes_as_it_was_signed_and_can_be_verified_from_what_was_told(world, ask):
    verdict_id = world.verdict.verdict_id
    envelope = ask("auditor", f"/verdicts/{verdict_id}")
    assert envelope.content == (world.home.verdicts / "youth" / verdict_id / VERDICT).read_bytes()
    EnvelopeResponse.model_validate_json(envelope.content)
    assert last_act(world)[2]["verdict"] == verdict_id
    cells = ask("auditor", "/cells?need=youth", PARQUET)
    assert cells.headers["content-type"] == PARQUET
    audit = audit_verdict(
        envelope.content, trust=world.keys.trust(), now=datetime.now(UTC), cells=cells.content, reports={}
    )
    assert {fault.code for fault in audit.touched} <= {"V26"}  # the cut of the invented world is no real one
    assert audit.verdict.verdict_id == verdict_id
    other = audit_verdict(
        envelope.content, trust=world.keys.trust(), now=datetime.now(UTC), cells=world.rules.cells[:-1], reports={}
    )
    assert "V38" in {fault.code for fault in other.touched}


@pytest.mark.parametrize(
    "verdict_id", ["v-00000000000000000000", "..", "v-*", "../youth", "%2e%2e%2fyouth", "youth", "v-" + "A" * 20]
)
def test_a_verdict_that_is_not_there_is_not_found(ask, verdict_id):
    assert ask("auditor", f"/verdicts/{verdict_id}").status_code == 404
    assert ask("auditor", f"/cells?need=youth&verdict={verdict_id}").status_code == 404


def test_the_cells_are_those_that_were_signed_in_each_kind(world, ask):
    frame = pl.read_parquet(io.BytesIO(world.cells))
    as_json = ask("auditor", "/cells?need=youth", "application/json")
    CellsResponse.model_validate_json(as_json.content)
    told = as_json.json()
    assert told["cells_sha256"] == hashlib.sha256(world.cells).hexdigest() == world.verdict.subject["cells"]
    assert pl.DataFrame(told["rows"], schema=frame.schema).equals(frame)
    answer = ask("auditor", f"/cells?need=youth&verdict={told['verdict_id']}", ARROW)
    stream = pa.ipc.open_stream(answer.content)
    assert stream.schema.metadata[b"verdict_id"].decode() == world.verdict.verdict_id
    assert pl.from_arrow(stream.read_all()).equals(frame)
    assert last_act(world)[0] == "cells read"
    assert problem_of(ask("auditor", "/cells?need=youth", "text/html")) == (406, "No such kind of answer")


def test_cells_that_were_touched_are_told_as_they_lie_and_not_otherwise(world, ask):
    path = world.home.verdicts / "youth_rule" / world.rules.verdict.verdict_id / CELLS
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        for kind in ("application/json", ARROW):
            assert problem_of(ask("auditor", "/cells?need=youth_rule", kind)) == (503, "Not as signed")
        assert ask("auditor", "/cells?need=youth_rule", PARQUET).content == path.read_bytes()
        path.unlink()
        assert problem_of(ask("auditor", "/cells?need=youth_rule", PARQUET)) == (503, "Not as signed")
    finally:
        path.write_bytes(whole)


def test_each_sees_the_verdicts_of_their_needs_alone(world, ask):
    youth, rule = world.verdict.verdict_id, world.rules.verdict.verdict_id
    for who, own, other, other_id in (
        ("of-youth", "youth", "youth_rule", rule),
        ("system", "youth_rule", "youth", youth),
    ):
        assert ask(who, f"/verdicts?need={own}").status_code == 200
        foreign, absent = ask(who, f"/verdicts?need={other}"), ask(who, "/verdicts?need=no_such_need")
        assert problem_of(foreign) == problem_of(absent) == (404, "Unknown need")
        assert f"Allowed: {own}" in foreign.json()["errors"][0]["mend"]
        foreign, absent = ask(who, f"/verdicts/{other_id}"), ask(who, "/verdicts/v-00000000000000000000")
        assert problem_of(foreign) == (404, "Unknown verdict") and foreign.json() == absent.json()
    assert problem_of(ask("auditor", "/cells?need=..")) == (404, "Unknown need")
    assert problem_of(ask("auditor", f"/cells?need=youth&verdict={rule}")) == (404, "Unknown verdict")


def test_cells_and_log_are_for_auditors_alone(ask):
    for who in ("scientist", "system", "unit", "resident"):
        assert problem_of(ask(who, "/cells?need=youth")) == (403, "Not for this role")
        assert problem_of(ask(who, "/audit-log")) == (403, "Not for this role")
    for who in ("unit", "resident"):
        assert problem_of(ask(who, "/verdicts?need=youth")) == (403, "Not for this role")


# ---- the audit log ---------------------------------------------------------------------------------------------


def test_the_log_can_be_verified_from_what_is_told(world, ask, server):
    body = {"need": "youth", "as_of_date": "2024-06-03", "person_id": "000005"}
    headers = {"authorization": "Bearer own-system", "x-purpose": "weekly list"}
    assert httpx.post(f"{server.url}/score", json=body, headers=headers, timeout=60).status_code == 200
    rows, after, more = [], 0, True
    while more:
        answer = ask("auditor", f"/audit-log?after={after}&limit=3")
        AuditLogResponse.model_validate_json(answer.content)
        page = answer.json()
        assert len(page["rows"]) <= 3
        rows += page["rows"]
        after, more = page["rows"][-1]["number"], page["more"]
        if page["last"] - after < 3:  # every page is itself an act
            break
    before = "0" * 64
    for number, row in enumerate(rows, start=1):
        assert (row["number"], row["prev_hash"]) == (number, before)
        content = {name: row[name] for name in ("number", "at", "action", "actor", "facts")} | {
            "writer": page["writer"]
        }
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert plain == canonical_json(content)
        before = hashlib.sha256(row["prev_hash"].encode() + b"|" + plain).hexdigest()
        assert row["hash"] == before
    (scored,) = [row for row in rows if row["action"] == "score"]
    assert "000005" not in answer.text and json.loads(scored["facts"])["purpose"] == "weekly list"
    read = [json.loads(row["facts"]) for row in rows if row["action"] == "audit log read"]
    assert read[1]["after"] == 3 and {one["purpose"] for one in read} == {"yearly audit"}
    assert world.home.audit_log.verify() == []


def test_beyond_the_last_row_there_is_nothing(world, ask):
    last = world.home.audit_log.head()[0]
    page = ask("auditor", f"/audit-log?after={last}").json()
    assert (page["rows"], page["last"], page["more"]) == ([], last, False)
    assert ask("auditor", f"/audit-log?after={2**31 - 1}").status_code == 200


def test_which_rows_is_said_in_whole_numbers(ask):
    for query in ("after=-1", "after=x", "after=1.5", "after=", "after=²", f"after={2**31}", "limit=0", "limit=1001"):
        answer = ask("auditor", f"/audit-log?{query}")
        assert problem_of(answer) == (400, "The request cannot be used"), query
    assert problem_of(ask("auditor", "/audit-log", **{"x-purpose": ""})) == (400, "No purpose")
