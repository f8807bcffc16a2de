"""Tokens and the GDPR interface in the running service: real issuers, a real server, and the home behind them."""

import socket
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from gdpr_world import ANNA, BO, PATH, PROFILE_AUDIENCE, STRANGER
from openid_provider import AUDIENCE, Provider
from sealed_world import AS_OF, World
from served import start, stop, wait_until_it_answers
from test_gdpr import bearer, codes

from serving.endpoints import ENDPOINTS, ROLES
from serving.identity import Role
from serving.local_issuer import issue_token, make_issuer
from serving.pending_erasures import PendingErasures
from serving.profile_links import open_links

ABOUT = {"need": "youth", "as_of_date": str(AS_OF), "person_id": "000008"}
PURPOSE = {"x-purpose": "weekly list"}


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A city with somebody linked, somebody whose erasure was cut short, and an issuer of its own."""
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    links = open_links(world.home)
    links.link([(ANNA, "000005"), (BO, "000006")])
    PendingErasures(world.home.root / "erasures-asked").begin(links.mark(BO), "000006")
    world.home.objections.object("000005", "youth", channel="phone")
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    return world


@pytest.fixture(scope="module")
def server(world, provider):
    server = start(
        world,
        ENNAKKO_ISSUER=provider.issuer,
        ENNAKKO_AUDIENCE=AUDIENCE,
        ENNAKKO_PROFILE_ISSUER=provider.issuer,
        ENNAKKO_PROFILE_AUDIENCE=PROFILE_AUDIENCE,
    )
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said
    assert str(ANNA) not in said and "000005" not in said


def score(server, token, **headers):
    given = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx.post(f"{server.url}/score", json=ABOUT, headers={**PURPOSE, **given, **headers}, timeout=60)


def acts(world):
    return [row["action"] for row in world.home.audit_log.rows()]


def test_the_roles_of_the_table_are_those_of_tokens():
    assert set(ROLES) == {role.value for role in Role}


def test_tokens_of_the_city_and_of_the_home_open_what_their_role_may(world, provider, server):
    city = provider.token(role="system", needs=["youth"])
    claims = {"needs": ["youth"], "subject": "a test", "minutes": 5, "now": datetime.now(UTC)}
    own = issue_token(world.home, "system", **claims)["token"]
    first, second = score(server, city), score(server, own)
    assert (first.status_code, second.status_code) == (200, 200), first.text + second.text
    assert first.json() == second.json()
    assert score(server, city).status_code == 200  # known by now
    auditor = provider.token(role="auditor")
    assert score(server, auditor).status_code == 403
    assert score(server, provider.token(role="system", needs=["elderly"])).status_code == 404
    of_profile = provider.token(aud=PROFILE_AUDIENCE, sub=str(uuid4()), role="system", needs=["*"])
    assert score(server, of_profile).status_code == 403  # a resident, whatever else the token says


def test_no_token_and_bad_tokens_open_nothing(provider, server):
    missing = score(server, None)
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    good = provider.token(role="system", needs=["youth"])
    bad = [
        good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB"),
        provider.token(role="system", needs=["youth"], aud="another"),
        provider.token(role="system", needs=["youth"], iss="https://another.example"),
        provider.token(role="system", needs=["youth"], exp=1_700_000_000),
        "nonsense",
    ]
    for token in bad:
        answer = score(server, token)
        assert (answer.status_code, answer.json()["title"]) == (401, "Not signed in"), answer.text
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_an_erasure_that_was_cut_short_is_finished_when_the_service_starts(world, server):
    assert world.home.store.is_erased(["000005", "000006"]).tolist() == [False, True]
    assert open_links(world.home).person_of(BO) is None


def test_a_profile_asks_and_is_erased_and_no_score_is_left(world, provider, server):
    query, delete = bearer(provider, "gdprquery"), bearer(provider, "gdprdelete")
    url = f"{server.url}{PATH}/{ANNA}"
    told = httpx.get(url, headers={**query, "x-request-id": "a5" * 16}, timeout=60)
    assert told.status_code == 200 and told.json()["key"] == "ENNAKKO"
    assert told.headers["x-request-id"] == "a5" * 16 and told.headers["x-content-type-options"] == "nosniff"
    assert told.headers.get_list("cache-control") == ["no-store"]
    assert acts(world)[-2:] == ["gdpr query", "person"]
    refused = httpx.delete(url, headers=query, timeout=60)
    assert (refused.status_code, codes(refused)) == (403, ["scope_missing"])
    token = provider.token(role="system", needs=["*"])
    body = {**ABOUT, "person_id": "000005"}
    asking = {"headers": {**PURPOSE, "authorization": f"Bearer {token}"}, "timeout": 60}
    before = httpx.post(f"{server.url}/score", json=body, **asking).status_code
    assert httpx.delete(f"{url}?dry_run=true", headers=delete, timeout=60).status_code == 204
    assert not world.home.store.is_erased(["000005"])[0]
    assert httpx.delete(url, headers=delete, timeout=60).status_code == 204
    assert world.home.store.is_erased(["000005"])[0]
    after = httpx.post(f"{server.url}/score", json=body, **asking)
    assert (before, after.status_code) == (200, 403)
    assert httpx.get(url, headers=query, timeout=60).status_code == 204
    assert world.home.audit_log.verify() == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{PATH}/{STRANGER}", 401),
        ("POST", f"{PATH}/{STRANGER}", 405),
        ("GET", f"{PATH}/nobody", 404),
        ("GET", f"{PATH}/{STRANGER}/more", 404),
    ],
)
def test_what_a_profile_may_not_ask_is_told_in_three_languages(method, path, status, server):
    answer = httpx.request(method, server.url + path, timeout=60)
    assert answer.status_code == status
    assert codes(answer)


def test_a_body_that_never_ends_is_a_body_and_who_asks_too_often_is_told(provider, world):
    server = start(
        world,
        ENNAKKO_PROFILE_ISSUER=provider.issuer,
        ENNAKKO_PROFILE_AUDIENCE=PROFILE_AUDIENCE,
        TEST_LIMITS='{"chunk_seconds": 0.3, "rate": 0.001, "burst": 2}',
    )
    wait_until_it_answers(server)
    try:
        query = bearer(provider, "gdprquery", whose=STRANGER)
        token = bearer(provider, "gdprdelete", whose=STRANGER)["Authorization"]
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
            head = [f"DELETE {PATH}/{STRANGER} HTTP/1.1", "host: x", f"authorization: {token}", "content-length: 5"]
            head.append("connection: close")
            line.sendall("\r\n".join([*head, "", ""]).encode("ascii"))
            answer = b"".join(iter(lambda: line.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 400 ") and "request_not_understood" in answer
        asked = [httpx.get(f"{server.url}{PATH}/{STRANGER}", headers=query, timeout=60) for _ in range(2)]
        assert [(answer.status_code, answer.content and codes(answer)) for answer in asked] == [
            (204, b""),
            (429, ["too_often"]),
        ]
        # The demonstration issuer of the home is an issuer: without its token nothing is open.
        assert score(server, None).status_code == 401
    finally:
        stop(server)


def test_it_is_described_where_it_is_there(server):
    told = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    assert set(told) == {endpoint.path for endpoint in ENDPOINTS}
    assert told[f"{PATH}/{{profile}}"].keys() == {"get", "delete"}
