"""The door of the HTTP service: who may ask, limits, batches, log, measures; real servers on loopback."""

import io
import json
import pickle
import socket
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pyarrow as pa
import pytest
from sealed_world import AS_OF, RULE_NEED, World
from served import soon, start, stop, wait_until_it_answers

from serving.endpoints import ENDPOINTS, ROLES
from serving.exchange import ARROW
from serving.limits import Limits

PURPOSE = {"x-purpose": "weekly list"}
OWN = [endpoint for endpoint in ENDPOINTS if not endpoint.scope]  # what Helsinki Profile asks is in test_gdpr_service
TOKENS = {
    "own-unit": {"role": "unit", "needs": ["youth"], "units": ["north"]},
    "own-system": {"role": "system", "needs": ["youth"]},
    "other-unit": {"role": "unit", "needs": ["elderly"]},
    "quick-system": {"role": "system", "needs": ["*"]},
    **{role: {"role": role, "needs": ["*"] if role == "system" else []} for role in ROLES},
    "resident": {"role": "resident", "person_id": "000005"},
}
LIMITS = {"chunk_seconds": 0.5, "body_seconds": 1.5, "rate": 50.0, "burst": 60.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    rules = {"need_text": RULE_NEED, "need_id": "youth_rule"}
    world.rules = World(world.folder / "rules", **rules, shared_home=world.home, shared_city=world.city)
    world.rules.approve()
    return world


def running(world, **environment):
    server = start(world, "youth,youth_rule", TEST_LIMITS=json.dumps(LIMITS), **environment)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def server(world):
    yield from running(world)


@pytest.fixture(scope="module")
def locked(world):
    yield from running(world, TEST_TOKENS=json.dumps(TOKENS))


def of(person_id, **changes):
    return {"need": "youth", "as_of_date": str(AS_OF), "person_id": person_id, **changes}


def many(person_ids, **changes):
    return {"need": "youth", "as_of_date": str(AS_OF), "person_ids": list(person_ids), **changes}


def post(server, path, body, **keywords):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **keywords.pop("headers", {})}
    return httpx.post(server.url + path, content=content, headers=headers, timeout=60, **keywords)


def stream(**columns):
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def post_arrow(server, body, need="youth", day=AS_OF, **headers):
    query = {"need": need, "as_of_date": str(day)}
    headers = {"content-type": ARROW, **headers}
    return httpx.post(f"{server.url}/score_batch", params=query, content=body, headers=headers, timeout=60)


def rows_of(answer):
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == ARROW:
        return pa.ipc.open_stream(answer.content).read_all().to_pylist()
    return answer.json()["rows"]


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["status"] == answer.status_code
    return answer.status_code, found["title"]


# ---- batches ---------------------------------------------------------------------------------------------------


def test_a_batch_is_the_whole_cohort_and_one_person_to_the_bit(world, server):
    whole = {row["person_id"]: row for row in world.score().frame.iter_rows(named=True)}
    asked = [f"{i:06d}" for i in range(899, -1, -1)]
    for answer in (post(server, "/score_batch", many(asked)), post_arrow(server, stream(person_id=asked))):
        rows = rows_of(answer)
        assert [row["person_id"] for row in rows] == asked
        for row in rows:
            found = whole.get(row["person_id"])
            told = (row["status"], row["score"], row["rank_band"])
            assert told == (("scored", found["score"], found["rank_band"]) if found else ("not_covered", None, None))
    some = next(iter(whole))
    one = post(server, "/score", of(some, reasons=False)).json()
    assert (one["score"], one["rank_band"], one["reasons"]) == (whole[some]["score"], whole[some]["rank_band"], None)


def test_one_person_is_answered_alike_before_and_after_the_day_is_ready(world, server):
    day = AS_OF.replace(day=10)
    of_day = {row["person_id"]: row for row in world.score(as_of_date=day).frame.iter_rows(named=True)}
    person = sorted(of_day)[3]
    first = post(server, "/score", of(person, as_of_date=str(day)))
    time.sleep(1.0)  # by now the day is ready
    for reasons in (True, False):
        again = post(server, "/score", of(person, as_of_date=str(day), reasons=reasons)).json()
        assert {**again, "reasons": None} == {**first.json(), "reasons": None}
        assert again["score"] == of_day[person]["score"]
    assert again["reasons"] is None
    assert first.json()["reasons"] == post(server, "/score", of(person, as_of_date=str(day))).json()["reasons"]
    assert (
        post(server, "/score_batch", many([person], as_of_date=str(day))).json()["rows"][0]["score"] == again["score"]
    )


def test_whoever_has_no_score_is_a_row_that_says_why(world, server):
    covered = set(world.score().frame["person_id"])
    person, other = sorted(covered)[:2]
    asked = [person, "no such person", other, person, "nobody"]
    world.objections.object(other, "youth")
    try:
        for answer in (post(server, "/score_batch", many(asked)), post_arrow(server, stream(person_id=asked))):
            told = [row["status"] for row in rows_of(answer)]
            assert told == ["scored", "unknown_person", "objected", "scored", "unknown_person"]
            assert rows_of(answer)[0] == rows_of(answer)[3]
        everyone = rows_of(post(server, "/score_batch", many([other])))
        assert everyone == [{"person_id": other, "status": "objected", "score": None, "rank_band": None}]
    finally:
        world.objections.withdraw(other, "youth")
    assert rows_of(post(server, "/score_batch", many([other])))[0]["status"] == "scored"
    nobody = rows_of(post(server, "/score_batch", many(["x", "y"])))
    assert [row["status"] for row in nobody] == ["unknown_person"] * 2


def test_persons_and_events_of_a_body_are_scored_as_those_of_the_folder(world, server):
    frame = world.score().frame.sort("person_id")
    ids = frame["person_id"].head(3).to_list()
    persons = world.city.persons.filter(world.city.persons["person_id"].is_in(ids)).sort("person_id")
    import polars as pl

    events = pl.read_parquet(world.city.folder / "events.parquet").filter(pl.col("person_id").is_in(ids))
    old = persons.with_columns(person_id=pl.lit("old"), birth_date=pl.date(1950, 1, 1)).head(1)
    persons = pl.concat([persons, old])
    expected = [*zip(["scored"] * 3, frame["score"].head(3), strict=True), ("not_covered", None)]
    people = [{"person_id": r["person_id"], "birth_date": str(r["birth_date"])} for r in persons.to_dicts()]
    things = [{**row, "event_date": str(row["event_date"])} for row in events.to_dicts()]
    body = {"need": "youth", "as_of_date": str(AS_OF), "persons": people, "events": things}
    plain = persons.select("person_id", "birth_date")
    two = b"".join(arrow_of(table) for table in (plain, events))
    for answer in (post(server, "/score_batch", body), post_arrow(server, two)):
        assert [(row["status"], row["score"]) for row in rows_of(answer)] == expected
    refused = post(server, "/score_batch", {**body, "need": "youth_rule"})
    assert problem_of(refused) == (422, "This need cannot be scored from a body")
    bad = arrow_of(plain.with_columns(shoe=pl.lit(42))) + arrow_of(events)
    assert post_arrow(server, bad).json()["errors"][0]["wrong"] == "hold a column that is not one"


def arrow_of(frame):
    return stream(**{name: pa.array(frame[name].to_list()) for name in frame.columns})


def test_a_rule_puts_a_batch_in_its_bands_without_probability(world, server):
    whole = world.rules.score().frame
    for _ in range(2):
        rows = rows_of(post(server, "/score_batch", many(whole["person_id"].head(40), need="youth_rule")))
        assert [(row["score"], row["rank_band"]) for row in rows] == [
            (None, band) for band in whole["rank_band"].head(40)
        ]


def test_the_kind_of_answer_can_be_chosen(server):
    asked = stream(person_id=["000005"])
    assert post_arrow(server, asked, accept="application/json").headers["content-type"] == "application/json"
    answer = post(server, "/score_batch", many(["000005"]), headers={"accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    shared = pa.ipc.open_stream(answer.content).schema.metadata
    assert shared[b"need"] == b"youth"
    assert problem_of(post_arrow(server, asked, accept="text/html")) == (406, "No such kind of answer")


def test_a_batch_that_cannot_be_used_is_refused_in_words(server):
    for body, where in (
        ({}, "body: need"),
        (many([]), "body: person_ids"),
        (many(["a"], persons=[{"person_id": "a"}]), "body"),
        (many([True]), "body: person_ids[0]"),
        ({**many(["a"]), "as_of_date": "soon"}, "body: as_of_date"),
    ):
        answer = post(server, "/score_batch", body)
        assert problem_of(answer) == (422, "The body cannot be used")
        assert answer.json()["errors"][0]["where"] == where
    assert problem_of(post(server, "/score_batch", many(["a"], need="x"))) == (404, "Unknown need")
    assert problem_of(post(server, "/score_batch", many(["a"], as_of_date="2024-07-01"))) == (422, "Too late")
    assert problem_of(post(server, "/score_batch?need=elderly", many(["a"])))[0] == 422
    assert post(server, "/score_batch?need=youth", many(["a"])).status_code == 200
    assert problem_of(post(server, "/score_batch?unit=3", many(["a"]))) == (400, "The request cannot be used")
    assert problem_of(post_arrow(server, stream(person_id=["a"]), need=""))[0] == 422
    assert problem_of(post(server, "/score_batch", many(["a"] * 200_001))) == (413, "Too many rows")
    assert problem_of(post_arrow(server, stream(person_id=["a"] * 200_001))) == (413, "Too many rows")


# ---- limits ----------------------------------------------------------------------------------------------------


def raw(server, head, *pieces, pause=0.0):
    """What a connection is answered, whatever is sent over it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        try:
            line.sendall(head)
            for piece in pieces:
                time.sleep(pause)
                line.sendall(piece)
        except OSError:
            pass  # refused while it was still sending
        answer = b""
        try:
            while piece := line.recv(65536):
                answer += piece
                head_of, _, body = answer.partition(b"\r\n\r\n")
                lengths = [h for h in head_of.lower().split(b"\r\n") if h.startswith(b"content-length:")]
                if lengths and len(body) >= int(lengths[0].split(b":")[1]):
                    break
        except OSError:
            pass
    return answer


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


HEAD = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def memory_of(server):
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def test_a_body_without_end_is_refused_and_memory_stays_flat(server):
    post(server, "/score", of("000005"))
    before = memory_of(server)
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(3):
        answer = raw(server, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 60)
        assert answer == b"" or status_of(answer) == 413
    huge = raw(server, HEAD + b"content-length: 99999999999\r\n\r\n", *[b"x" * 1_000_000] * 30)
    assert huge == b"" or status_of(huge) == 413
    assert memory_of(server) - before < 60
    assert post(server, "/score", of("000005")).status_code == 200


def test_a_body_that_does_not_come_is_refused(server):
    assert status_of(raw(server, HEAD + b"content-length: 100\r\n\r\n{")) == 408
    drops = [b"1\r\n \r\n"] * 12
    assert status_of(raw(server, HEAD + b"transfer-encoding: chunked\r\n\r\n", *drops, pause=0.2)) == 408


def test_a_compressed_body_is_not_unpacked(server):
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, identity"):
        answer = post(server, "/score", b"\x1f\x8b" + b"\0" * 1000, headers={"content-encoding": coding})
        assert problem_of(answer) == (415, "Compressed")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"need":' * 100_000,
        b'{"need": NaN}',
        json.dumps({**of("000005"), "as_of_date": float("inf")}).encode(),
        b'{"need": 1e999}',
        b'"\xff\xfe"',
        b'{"need": "\\ud800", "as_of_date": "2024-06-03", "person_id": "a"}',
        b"",
        b"null",
        b"9" * 100_000,
    ],
    ids=range(10),
)
def test_what_is_no_decent_json_is_refused(server, body):
    for path in ("/score", "/score_batch"):
        answer = post(server, path, body)
        assert problem_of(answer) == (422, "The body cannot be used")
        assert len(answer.content) < 5_000


def test_no_number_of_a_body_is_infinite(server):
    person = {"person_id": "x", "birth_date": "2005-01-01"}
    for value in ("NaN", "Infinity", "-Infinity", "1e999"):
        events = [{"event_date": "2024-01-01", "code": "a", "value": "VALUE"}]
        body = json.dumps({"need": "youth", "as_of_date": str(AS_OF), "person": person, "events": events})
        assert problem_of(post(server, "/score", body.replace('"VALUE"', value).encode()))[0] == 422
        fixed = json.dumps({"need": "youth", "as_of_date": str(AS_OF), "person": {**person, "a": "V"}, "events": []})
        assert problem_of(post(server, "/score", fixed.replace('"V"', value).encode()))[0] == 422


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"],
)
def test_another_kind_of_body_is_not_read(server, kind):
    for path, title in (("/score", "Not JSON"), ("/score_batch", "Not a kind that is read")):
        answer = post(server, path, of("000005"), headers={"content-type": kind})
        assert problem_of(answer) == (415, title)


def test_a_query_is_known_to_the_letter(server):
    for query in ("need=youth&need=youth", "need=youth&x=1", "%ff", "need=%ff", "need", "&&&"):
        answer = httpx.get(f"{server.url}/verdict?{query}")
        assert problem_of(answer)[0] in (400, 404), query
    assert problem_of(httpx.get(f"{server.url}/needs?x=1"))[0] == 400


def test_a_header_that_decides_comes_once(server):
    head = HEAD + b"content-type: text/plain\r\ncontent-length: 2\r\n\r\n{}"
    assert status_of(raw(server, head)) == 400


# ---- attacks that were published against BentoML ---------------------------------------------------------------


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


SELECTORS = (
    {"content-type": "application/vnd.bentoml+pickle"},
    {"content-type": "application/vnd.bentoml+pickle; charset=x"},
    {"content-type": "application/octet-stream"},
    {
        "content-type": "application/json",
        "Payload-Container": "NdarrayContainer",
        "Payload-Meta": '{"format":"default"}',
    },
    {"content-type": "application/json", "Payload-Container": "PandasDataFrameContainer", "Batch-Size": "1"},
    {"content-type": "application/json", "args-number": "1", "Payload-Container": "DefaultContainer"},
    {"content-type": "application/vnd.bentoml.multipart+pickle", "args-number": "1"},
    {"content-type": ARROW},
    {"content-type": "multipart/form-data; boundary=x"},
)


@pytest.mark.parametrize("with_token", [False, True])
@pytest.mark.parametrize("number", range(len(SELECTORS)))
def test_pickled_bodies_are_refused_and_run_nothing(server, locked, tmp_path, number, with_token):
    """CVE-2025-27520 and CVE-2025-32375: bodies unpickled by content type, or by headers that select a container."""
    canary = tmp_path / "canary"
    body = pickle.dumps(Canary(canary))
    headers = {**SELECTORS[number], **({"authorization": "Bearer quick-system", **PURPOSE} if with_token else {})}
    for path in ("/score", "/score_batch?need=youth&as_of_date=2024-06-03", "/", "/predict", "/__call__", "/needs"):
        for method in ("POST", "PUT"):
            answer = httpx.request(
                method, f"{(locked if with_token else server).url}{path}", content=body, headers=headers
            )
            assert 400 <= answer.status_code < 500, (path, answer.status_code)
    assert not canary.exists()
    function, given = Canary(canary).__reduce__()
    function(*given).close()
    assert canary.exists()  # so it would have written


def test_no_url_of_a_body_is_fetched(server):
    """Multipart fields and JSON strings that are URLs were fetched by BentoML (server-side request forgery)."""
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/secret"
        form = f'--x\r\nContent-Disposition: form-data; name="need"\r\n\r\n{url}\r\n--x--\r\n'.encode()
        assert post(server, "/score", form, headers={"content-type": "multipart/form-data; boundary=x"}).is_error
        for body in (of(url), of("000005", need=url), url, {"url": url}, {**of("000005"), "person_id": {"url": url}}):
            assert 400 <= post(server, "/score", body).status_code < 500
        with pytest.raises(TimeoutError):
            trap.accept()


def test_no_other_port_is_opened(server):
    """BentoML's supervisor and runners listen on ports of their own, where bodies were unpickled."""
    inodes = set()
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        target = str(entry.readlink()) if entry.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{server.process.pid}/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                listening.add((cells[1].rpartition(":")[0], int(cells[1].rpartition(":")[2], 16)))
    assert listening == {("0100007F", server.port)}


# ---- who may ask -----------------------------------------------------------------------------------------------


def headers_of(token, purpose=True):
    return {"authorization": f"Bearer {token}", **(PURPOSE if purpose else {})}


def asked_of(endpoint):
    return {
        "/score": of("000005"),
        "/score_batch": many(["000005"]),
        "/lists/{list_id}/attempts": {"rows": [CAME]},
        "/lists/{list_id}/outcomes": {"rows": [CAME]},
        "/jobs": {"need": "youth", "as_of_date": str(AS_OF)} if endpoint.method == "POST" else None,
        "/objections": {"need": "youth", "channel": "visit", "person_id": "000005"},
    }.get(endpoint.path)


CAME = {"person_id": "000005", "at": "2024-06-05", "outcome": "reached"}
QUERIES = {"need": "youth", "unit": "north"}


def url_of(endpoint, world):
    """The endpoint's address, with the query and the names in its path that an answer needs."""
    query = {parameter.name: QUERIES[parameter.name] for parameter in endpoint.query if parameter.required}
    if endpoint.path == "/objections" and endpoint.method != "POST":
        query |= {"person_id": "000005"} | ({"channel": "visit"} if endpoint.method == "DELETE" else {})
    names = {"verdict_id": world.verdict.verdict_id, "person_id": "000005", "list_id": "none", "job_id": "none"}
    names["need"] = "youth"
    return f"{endpoint.path.format(**names)}?{urlencode(query)}".rstrip("?")


def ask_as(server, endpoint, world, **keywords):
    body = asked_of(endpoint) if endpoint.body is not None else None
    return httpx.request(endpoint.method, server.url + url_of(endpoint, world), json=body, timeout=60, **keywords)


def is_answered(endpoint, answer):
    """What there is none of in this home is not found, as anybody who may ask is told."""
    return answer.status_code in (200, 404 if "{" in endpoint.path else 200, 202 if endpoint.path == "/jobs" else 200)


def test_each_role_may_ask_what_the_table_says(world, locked):
    for endpoint in OWN:
        for role in ROLES:
            token = "own-unit" if role == "unit" else role
            answer = ask_as(locked, endpoint, world, headers=headers_of(token))
            if not endpoint.roles or role in endpoint.roles:
                if role == "unit" and endpoint.path == "/score":  # nobody is on its lists, so nobody is known
                    assert problem_of(answer) == (404, "Unknown person")
                    continue
                assert is_answered(endpoint, answer), (endpoint.path, role, answer.text)
            else:
                assert problem_of(answer) == (403, "Not for this role"), (endpoint.path, role)


@pytest.mark.parametrize("token", [None, "nobody", "breaks", "own-unit2"])
def test_without_a_token_that_holds_nothing_is_answered(world, locked, token):
    headers = PURPOSE if token is None else headers_of(token)
    for endpoint in OWN:
        answer = ask_as(locked, endpoint, world, headers=headers)
        if endpoint.roles:
            assert problem_of(answer) == (401, "Not signed in")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "breaks" not in answer.text
        else:
            assert is_answered(endpoint, answer)


def test_another_unit_s_need_is_told_of_as_one_that_does_not_exist(locked):
    of_other, of_none = (
        [
            post(locked, "/score", of("000005", need=need), headers=headers_of(token)),
            post(locked, "/score_batch", many(["000005"], need=need), headers=headers_of(token)),
        ]
        for need, token in (("youth", "other-unit"), ("no_such_need", "other-unit"))
    )
    for foreign, absent in zip(of_other, of_none, strict=True):
        assert problem_of(foreign) == (404, "Unknown need")
        assert foreign.json() == absent.json()
    needs = httpx.get(f"{locked.url}/needs", headers=headers_of("own-unit")).json()["needs"]
    assert [need["need"] for need in needs] == ["youth"]
    assert httpx.get(f"{locked.url}/needs", headers=headers_of("other-unit")).json()["needs"] == []


def test_a_purpose_is_required_where_somebody_is_read(world, locked):
    for endpoint in OWN:
        if endpoint.purpose:
            for purpose in ({}, {"x-purpose": ""}, {"x-purpose": "x" * 201}):
                headers = {**headers_of(endpoint.roles[0], purpose=False), **purpose}
                assert problem_of(ask_as(locked, endpoint, world, headers=headers)) == (400, "No purpose")


def test_no_purpose_that_names_anybody_is_kept_wherever_one_is_asked_for(world, locked):
    begun = len(world.home.audit_log.rows())
    world.home.store.refer(["000011"])
    for endpoint in OWN:
        if endpoint.purpose:
            for purpose in ("sister of 000011", "call 131052-308T"):
                headers = {**headers_of(endpoint.roles[0], purpose=False), "x-purpose": purpose}
                answer = ask_as(locked, endpoint, world, headers=headers)
                assert problem_of(answer) == (422, "The purpose cannot be kept"), endpoint.path
                assert "000011" not in answer.text and "131052" not in answer.text
    assert len(world.home.audit_log.rows()) == begun


def test_every_answer_about_a_person_is_in_the_audit_log_before_it_leaves(world, locked):
    log = world.home.audit_log
    begun = len(log.rows())
    world.objections.object("000007", "youth")
    try:
        for number, person in enumerate(("000005", "000007")):
            headers = {**headers_of("own-system"), "x-request-id": f"{number:x}" * 16}
            answer = post(locked, "/score", of(person), headers=headers)
            assert (answer.status_code, answer.headers["x-request-id"]) == ((200, 403)[number], f"{number:x}" * 16)
            assert len(log.rows()) == begun + number + 1  # at once: it was there before the answer
        post(locked, "/score_batch", many(["000005", "x", "000009"]), headers=headers_of("own-system"))
        post(locked, "/score", of("x"), headers=headers_of("own-system"))
    finally:
        world.objections.withdraw("000007", "youth")
    rows = log.rows()[begun:]
    refs = world.home.store.refs(["000005", "000007", "000009"])
    facts = [json.loads(row["facts"]) for row in rows]
    assert [(row["action"], row["actor"]) for row in rows] == [("score", "system")] * 2 + [("score batch", "system")]
    assert [fact["persons"] for fact in facts] == [refs["000005"], refs["000007"], f"{refs['000005']} {refs['000009']}"]
    assert [fact.get("outcome") for fact in facts] == ["scored", "Objected", None]
    assert (facts[2]["n"], facts[2]["scored"]) == (3, 2)
    assert {fact["purpose"] for fact in facts} == {"weekly list"}
    assert facts[0]["request"] == "0" * 16
    assert len({fact["subject"] for fact in facts}) == 1
    assert "own-system" not in str(rows)
    assert soon(log.verify, []) == []  # the file of the chain's head follows four times a second


def test_no_answer_leaves_when_the_audit_log_cannot_be_written(world, locked):
    with world.home.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO audit_log_away")
    try:
        answer = post(locked, "/score", of("000005"), headers=headers_of("own-system"))
        assert problem_of(answer) == (503, "No score may leave now")
        assert answer.json()["errors"][0]["where"] == "audit log"
    finally:
        with world.home.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE audit_log_away RENAME TO audit_log")
    assert post(locked, "/score", of("000005"), headers=headers_of("own-system")).status_code == 200


def test_a_token_that_asks_too_often_is_told_when_to_come_again(locked):
    asked = f"GET /needs HTTP/1.1\r\nhost: here\r\nauthorization: {headers_of('auditor')['authorization']}\r\n"
    with socket.create_connection(("127.0.0.1", locked.port), timeout=60) as line:  # quicker than any client asks
        line.sendall(f"{asked}\r\n".encode() * 400 + f"{asked}connection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: line.recv(1 << 16), b""))
    answers = said.split(b"HTTP/1.1 ")[1:]
    refused = [answer for answer in answers if not answer.startswith(b"200 ")]
    assert len(answers) == 401
    assert refused
    head, _, body = refused[0].partition(b"\r\n\r\n")
    assert head.startswith(b"429 ")
    assert json.loads(body)["title"] == "Too often"
    assert b"\r\nretry-after: " in head
    other = httpx.get(f"{locked.url}/needs", headers=headers_of("resident"))
    assert other.status_code == 200


# ---- watching --------------------------------------------------------------------------------------------------


def test_readiness_tells_the_truth(world, server):
    def ready():
        return httpx.get(f"{server.url}/readyz").status_code

    assert ready() == 200
    world.stop_switch.set("two wrong answers")
    try:
        assert soon(ready, 503) == 503
        answer = httpx.get(f"{server.url}/readyz")
        assert problem_of(answer) == (503, "Not ready")
        assert [error["where"] for error in answer.json()["errors"]] == ["need youth", "need youth_rule"]
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert 'ennakko_need_trusted{need="youth"} 0.0' in httpx.get(f"{server.url}/metrics").text
    finally:
        world.stop_switch.clear()
    assert soon(ready, 200) == 200


def test_measures_tell_requests_refusals_and_verdicts(server):
    post(server, "/score", of("000005"))
    post(server, "/score", of("no such person"))
    httpx.get(f"{server.url}/a/path/of/000005")
    text = httpx.get(f"{server.url}/metrics").text
    assert 'ennakko_requests_total{endpoint="/score",method="POST",status="200"}' in text
    assert 'ennakko_refusals_total{endpoint="/score",reason="Unknown person"}' in text
    assert 'ennakko_verdict_age_seconds{need="youth"}' in text
    assert "ennakko_feature_age_days" in text
    assert "000005" not in text and "no such person" not in text


def test_the_log_has_a_line_for_each_request_and_no_person(locked):
    named = {**headers_of("own-system"), "x-request-id": "0f" * 16}
    post(locked, "/score", of("000005"), headers=named)
    post(locked, "/score", of("no-such-person"), headers=headers_of("own-system"))
    httpx.get(f"{locked.url}/person/000005?x=000005")
    assert soon(lambda: f'"{"0f" * 16}"' in locked.said() and "Unknown person" in locked.said(), True, 5)
    lines = [json.loads(line) for line in locked.said().splitlines() if line.startswith('{"at"')]
    (line,) = (line for line in lines if line.get("request") == "0f" * 16)
    assert (line["path"], line["status"], line["role"], line["rows"]) == ("/score", 200, "system", 1)
    assert "refusal" not in line
    refused = [line for line in lines if line.get("refusal") == "Unknown person"]
    assert {line["status"] for line in refused} == {404}
    for personal in ("000005", "000007", "no-such-person", "own-system"):
        assert personal not in locked.said()


def test_the_limits_that_a_city_gets_unless_it_says_otherwise():
    assert Limits() == (10.0, 60.0, 256_000_000, 100.0, 200.0)
