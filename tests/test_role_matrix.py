"""Who may do what: endpoint × role × own or another's × what can be wrong with a token, written down and asked for.

The tables are what the city was promised. They are not made from the table of endpoints, which is what is checked: a
row of it that is not here fails, and so does one that is here and answers otherwise. A real server, a real OpenID
provider and the home's own issuer, real tokens.
"""

import json
import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import NAMESPACE_URL, uuid5

import httpx
import pytest
from gdpr_world import ANNA, PROFILE_AUDIENCE, STRANGER
from openid_provider import (
    AUDIENCE,
    OTHER_RSA_KEY,
    RSA_KEY,
    Provider,
    b64,
    jwk_of,
    public_pem,
    raw_token,
)
from sealed_world import AS_OF, RULE_NEED, World
from served import start, stop, wait_until_it_answers
from test_gdpr import SCOPES

from serving.endpoints import ENDPOINTS, ROLES
from serving.local_issuer import issue_token, make_issuer
from serving.profile_links import open_links

# Who asks for their own: none (no token), other (a good token that names no role), a good token of each role (data: a
# data scientist; audit: an auditor; self: a resident; point: a service point), and profile, a resident by Helsinki
# Profile whose token also claims to be a system. `purpose` says where X-Purpose is required; `act` is the line of the
# audit log that every 2xx leaves, with who, role and request (- where nothing of a person or an audit is told).
OWN = """
endpoint                               none other unit data audit self point system profile purpose act
POST /score                            401  403   200  403  403   403  403   200    403     yes     score
POST /score_batch                      401  403   200  403  403   403  403   200    403     yes     score_batch
GET /needs                             401  403   200  200  200   200  200   200    200     no      -
GET /verdict                           401  403   403  200  200   403  403   200    403     no      -
GET /lists                             401  403   200  403  403   403  403   200    403     no      -
GET /lists/{list_id}                   401  403   200  403  403   403  403   200    403     yes     view
POST /lists/{list_id}/attempts         401  403   200  403  403   403  403   200    403     yes     attempts
POST /lists/{list_id}/outcomes         401  403   200  403  403   403  403   200    403     yes     outcomes
POST /jobs                             401  403   403  403  403   403  403   202    403     yes     score_job
GET /jobs/{job_id}                     401  403   403  403  403   403  403   200    403     no      -
GET /jobs/{job_id}/scores              401  403   403  403  403   403  403   200    403     yes     score_job_read
DELETE /jobs/{job_id}                  401  403   403  403  403   403  403   204    403     no      score_job_forgotten
GET /verdicts                          401  403   403  200  200   403  403   200    403     no      verdicts_read
GET /verdicts/{verdict_id}             401  403   403  200  200   403  403   200    403     no      verdict_read
GET /cells                             401  403   403  403  200   403  403   403    403     no      cells_read
GET /audit-log                         401  403   403  403  200   403  403   403    403     yes     audit_log_read
GET /person                            401  403   403  403  403   200  403   403    200     yes     person
GET /person/{person_id}                401  403   403  403  403   200  200   403    200     yes     person
GET /objections                        401  403   403  403  403   200  200   403    200     yes     objections
POST /objections                       401  403   403  403  403   200  200   403    200     no      object
DELETE /objections                     401  403   403  403  403   200  200   403    200     no      withdraw
GET /open-data/{need}.csv              200  200   200  200  200   200  200   200    200     no      -
GET /livez                             200  200   200  200  200   200  200   200    200     no      -
GET /readyz                            200  200   200  200  200   200  200   200    200     no      -
GET /healthz                           200  200   200  200  200   200  200   200    200     no      -
GET /metrics                           200  200   200  200  200   200  200   200    200     no      -
GET /openapi.json                      200  200   200  200  200   200  200   200    200     no      -
GET /gdpr-api/v1/profiles/{profile}    401  403   403  403  403   403  403   403    200     no      gdpr_query
DELETE /gdpr-api/v1/profiles/{profile} 401  403   403  403  403   403  403   403    204     no      gdpr_delete
"""

# What is another's is answered as what does not exist, byte for byte. `of` is the part of the question that is theirs.
FOREIGN = """
endpoint                               asker   of       expected
POST /score                            unit    need     404
POST /score                            unit    scored   404
POST /score                            unit    listed   404
POST /score                            system  need     404
POST /score_batch                      unit    need     404
POST /score_batch                      system  need     404
GET /verdict                           audit   need     404
GET /verdict                           data    need     404
GET /verdict                           system  need     404
GET /lists                             unit    need     404
GET /lists                             unit    unit     404
GET /lists                             system  need     404
GET /lists/{list_id}                   unit    list     404
GET /lists/{list_id}                   unit    unit     404
GET /lists/{list_id}                   system  list     404
POST /lists/{list_id}/attempts         unit    list     404
POST /lists/{list_id}/attempts         unit    unit     404
POST /lists/{list_id}/attempts         unit    listed   422
POST /lists/{list_id}/attempts         system  list     404
POST /lists/{list_id}/outcomes         unit    list     404
POST /lists/{list_id}/outcomes         unit    unit     404
POST /lists/{list_id}/outcomes         unit    listed   422
POST /lists/{list_id}/outcomes         system  list     404
POST /jobs                             system  need     404
GET /jobs/{job_id}                     system  job      404
GET /jobs/{job_id}/scores              system  job      404
DELETE /jobs/{job_id}                  system  job      404
GET /verdicts                          audit   need     404
GET /verdicts                          data    need     404
GET /verdicts                          system  need     404
GET /verdicts/{verdict_id}             audit   verdict  404
GET /verdicts/{verdict_id}             data    verdict  404
GET /verdicts/{verdict_id}             system  verdict  404
GET /cells                             audit   need     404
GET /cells                             audit   verdict  404
GET /person/{person_id}                self    person   404
GET /person/{person_id}                profile person   404
GET /objections                        self    person   404
GET /objections                        profile person   404
POST /objections                       self    person   404
POST /objections                       profile person   404
DELETE /objections                     self    person   404
DELETE /objections                     profile person   404
GET /gdpr-api/v1/profiles/{profile}    profile profile  403
DELETE /gdpr-api/v1/profiles/{profile} profile profile  403
"""

# What is wrong with a token that would be good: with every role, on every row. `roles` are rows that ask for one,
# `profile` those of Helsinki Profile, `open` those that ask for no token.
FAULTS = """
fault                                      roles profile open
no token                                   401   401     200
expired two minutes ago                    401   401     200
not valid before an hour from now          401   401     200
issued an hour from now                    401   401     200
by another issuer, signed by ours          401   401     200
by another issuer that is a real one       401   401     200
for another audience                       401   401     200
alg none, no signature                     401   401     200
alg none, some signature                   401   401     200
alg None, some signature                   401   401     200
another's claims under this signature      401   401     200
another's signature under these claims     401   401     200
the first letter of the signature changed  401   401     200
HS256 by the public key                    401   401     200
HS256 by nothing                           401   401     200
signed by another key                      401   401     200
signed by a key that it brings along       401   401     200
said to be signed in another way           401   401     200
without an end                             401   401     200
as Basic                                   401   401     200
in the query                               401   401     400
twice                                      400   400     400
"""

# Every way in which a purpose is none, where one is required.
NO_PURPOSE = (None, "", "x" * 201, "a\tb", "\u00a0", "a\u0085b")


def rows_of(text):
    """The rows of a table, by the names of its columns; a first column of several words ends where two spaces do."""
    lines = text.strip().splitlines()
    names = lines[0].split()
    return [dict(zip(names, line.rsplit(None, len(names) - 1), strict=True)) for line in lines[1:]]


ASKERS = ("none", "other", "unit", "data", "audit", "self", "point", "system", "profile")
ROLE_OF = dict(zip(("unit", "data", "audit", "self", "point", "system"), ROLES, strict=True)) | {"profile": "resident"}
MATRIX = {row.pop("endpoint"): row for row in rows_of(OWN)}
FOR_PROFILE = "/gdpr-api/"
OWN_NO = ("POST /objections", "DELETE /objections")
"""Of a resident's own no the log says that it was a resident's, and not whose: who objects is nobody's matter."""


# ---- what is asked -----------------------------------------------------------------------------------------------

WORK = {"at": f"{AS_OF}T12:00", "outcome": "reached"}
REQUESTS = {
    "POST /score": lambda v: ({}, {"need": v.need, "as_of_date": str(AS_OF), "person_id": v.scored}),
    "POST /score_batch": lambda v: ({}, {"need": v.need, "as_of_date": str(AS_OF), "person_ids": [v.scored]}),
    "GET /verdict": lambda v: ({"need": v.need}, None),
    "GET /lists": lambda v: ({"need": v.need, "unit": v.unit}, None),
    "GET /lists/{list_id}": lambda v: ({"unit": v.unit}, None),
    "POST /lists/{list_id}/attempts": lambda v: (
        {"unit": v.unit},
        {"rows": [{**WORK, "person_id": v.listed, "channel": "phone", "worker": "A12"}]},
    ),
    "POST /lists/{list_id}/outcomes": lambda v: ({"unit": v.unit}, {"rows": [{**WORK, "person_id": v.listed}]}),
    "POST /jobs": lambda v: ({}, {"need": v.need, "as_of_date": str(AS_OF)}),
    "GET /verdicts": lambda v: ({"need": v.need}, None),
    "GET /cells": lambda v: ({"need": v.need, "verdict": v.verdict}, None),
    "GET /objections": lambda v: (v.on_behalf, None),
    "POST /objections": lambda v: ({}, {"need": "youth", **v.on_behalf}),
    "DELETE /objections": lambda v: ({"need": "youth", **v.on_behalf}, None),
    "DELETE /gdpr-api/v1/profiles/{profile}": lambda v: ({"dry_run": "true"}, None),
}


def sent(row, values, asker, **changes):
    """Method, address, query and body of a row's question, with what is another's in ``changes``."""
    linked = {"person": values["linked"]} if asker == "profile" else {}
    v = SimpleNamespace(**{**values, **linked, **changes})
    if asker == "unit" and "scored" not in changes:
        v.scored = v.listed  # a unit asks about people on its own lists
    v.on_behalf = {"person_id": v.person} if asker == "point" or "person" in changes else {}
    method, path = row.split(" ")
    query, body = REQUESTS.get(row, lambda _: ({}, None))(v)
    path = path.format(
        list_id=v.list, job_id=v.job, verdict_id=v.verdict, person_id=v.person, profile=v.profile, need=v.need
    )
    return method, path, query, body


# ---- the server, the people, and the tokens ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def stranger():
    """Another provider, as real as ours."""
    provider = Provider()
    provider.publish(jwk_of(OTHER_RSA_KEY, "RS256", "RS256"))
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two needs with a verdict and a list each, two units, a resident, and another whose profile is linked."""
    world = World(tmp_path_factory.mktemp("world"), units=True)
    world.approve()
    more = {"need_text": RULE_NEED, "need_id": "youth_rule", "shared_home": world.home, "shared_city": world.city}
    rules = World(world.folder / "rules", units=True, **more)
    rules.approve()
    ours, theirs = world.list(), rules.list()
    for listed in (ours, theirs):
        world.home.store.publish(listed, [])
    people = {part.unit_id: [row.person_id for row in part.rows] for part in ours.parts}
    elsewhere = {row.person_id for part in theirs.parts for row in part.rows}
    listed = {person for unit in people.values() for person in unit} | elsewhere
    free = sorted(set(world.score().frame["person_id"]) - listed)
    world.own = {
        **{"need": "youth", "unit": "north", "list": ours.list_id, "listed": people["north"][0]},
        **{"scored": free[0], "person": free[1], "profile": str(ANNA), "verdict": world.verdict.verdict_id},
    }
    world.anothers = {
        **{"need": "youth_rule", "unit": "east", "list": theirs.list_id, "listed": people["east"][0]},
        **{"scored": free[2], "person": free[2], "profile": str(STRANGER), "verdict": rules.verdict.verdict_id},
    }
    world.absent = {
        **{
            "need": "youth_rull",
            "unit": "west",
            "list": "01HZZZZZZZZZZZZZZZZZZZZZZ0",
            "listed": "000999",
            "scored": "000999",
        },
        **{
            "job": "0" * 32,
            "person": "000998",
            "profile": "22222222-2222-4333-8444-555555555555",
            "verdict": "v-" + "0" * 20,
        },
    }
    world.own |= {"linked": free[3], "job": "1" * 32}
    open_links(world.home).link([(ANNA, free[3]), (STRANGER, free[4])])
    world.named = {*listed, *free[:5], *world.absent.values(), str(ANNA), str(STRANGER)} - {"west"}
    published = world.home.root / "week" / str(AS_OF) / "area.csv"
    published.parent.mkdir(parents=True)
    published.write_text("need,district,n\nyouth,Kallio,5\nyouth_rule,Kallio,5\n")
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    return world


@pytest.fixture(scope="module")
def server(world, provider):
    server = start(
        world,
        "youth,youth_rule",
        ENNAKKO_ISSUER=provider.issuer,
        ENNAKKO_AUDIENCE=AUDIENCE,
        ENNAKKO_PROFILE_ISSUER=provider.issuer,
        ENNAKKO_PROFILE_AUDIENCE=PROFILE_AUDIENCE,
        TEST_LIMITS='{"rate": 1e6, "burst": 1e6}',
    )
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said[-3000:]
    assert "Traceback" not in said and "Error at" not in said
    assert named_in(world, said) == []


def named_in(world, text):
    """Which persons, profiles, subjects and what else must not be told stand in a text, as words of their own."""
    words = set(re.findall(r"[\w-]+", text))
    return sorted(words & world.named) + re.findall("sub of|caseworker", text)


def claims_of(world, asker):
    """What a token of the city's provider says of somebody who asks for their own."""
    claims = {"role": ROLE_OF.get(asker), "needs": ["youth"], "units": ["north"], "person_id": world.own["person"]}
    if asker == "profile":
        scopes = SCOPES["tunnistamo"]("gdprquery", "gdprdelete")
        claims |= {"role": "system", "needs": ["*"], "aud": PROFILE_AUDIENCE, "loa": "substantial", **scopes}
    return {**claims, "sub": str(ANNA) if asker == "profile" else f"sub of {asker}", "exp": int(time.time()) + 3000}


@pytest.fixture(scope="module")
def ask(world, server, provider):
    """Ask as somebody; ``token`` instead of their own, ``changes`` are what is another's."""
    city = {asker: provider.token(**claims_of(world, asker)) for asker in ASKERS[1:]}
    now, resident = datetime.now(UTC), world.own["person"]
    own = {
        "unit": {"needs": ["youth"], "units": ["north"]},
        "system": {"needs": ["youth"]},
        "self": {"person_id": resident},
    }
    home = {
        asker: issue_token(
            world.home, ROLE_OF[asker], subject=f"caseworker {asker}", minutes=30, now=now, **own.get(asker, {})
        )["token"]
        for asker in ASKERS[2:-1]
    }
    client = httpx.Client(base_url=server.url, timeout=60)

    def job_of(token, row):
        """A job of whoever has the token, done if its scores are asked for."""
        headers = {"x-purpose": "the week's outreach", "authorization": f"Bearer {token}"}
        job = client.post("/jobs", json={"need": "youth", "as_of_date": str(AS_OF)}, headers=headers).json()
        until = time.monotonic() + 60
        while row.endswith("/scores") and job["state"] != "done" and time.monotonic() < until:
            job = client.get(f"/jobs/{job['job_id']}", headers=headers).json()
        return job["job_id"]

    another = provider.token(**{**claims_of(world, "system"), "sub": "sub of another"})
    world.anothers["job"] = job_of(another, "/scores")

    def asked(row, asker, *, token=None, issuer="city", headers=None, body=None, **changes):
        token = token or {"city": city, "home": home}[issuer].get(asker)
        if "{job_id}" in row and asker == "system" and "job" not in changes:
            changes["job"] = job_of(token, row)
        method, path, query, usual = sent(row, world.own, asker, **changes)
        body = usual if body is None else body
        given = {"x-purpose": "the week's outreach", **({"authorization": f"Bearer {token}"} if token else {})}
        given = {name: value for name, value in {**given, **(headers or {})}.items() if value is not None}
        answer = client.request(method, path, params=query, json=body, headers=given)
        if answer.is_error:
            assert named_in(world, answer.text) == [] and not (token and token in answer.text), (row, answer.text)
        return answer

    yield asked
    client.close()


# ---- the tables --------------------------------------------------------------------------------------------------


def test_every_endpoint_has_its_row():
    assert [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.scope] != []
    assert {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS} == set(MATRIX)
    assert {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.purpose} == {
        row for row, told in MATRIX.items() if told["purpose"] == "yes"
    }
    assert {row["endpoint"] for row in rows_of(FOREIGN)} <= set(MATRIX)


@pytest.mark.parametrize("issuer", ["city", "home"])
def test_each_role_is_answered_as_the_table_says_and_every_look_is_in_the_audit_log(world, ask, issuer):
    askers = [asker for asker in ASKERS if issuer == "city" or asker in ASKERS[2:-1]]
    wrong, looks, marks = {}, {}, {}
    for row, told in MATRIX.items():
        for asker in askers:
            named = uuid5(NAMESPACE_URL, f"{issuer}.{len(looks)}").hex
            answer = ask(row, asker, issuer=issuer, headers={"x-request-id": named})
            looks[named] = (row, asker, answer.status_code)
            if answer.status_code != int(told[asker]):
                wrong[row, asker] = (told[asker], answer.status_code, answer.text[:200])
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
    assert wrong == {}
    log = [(row, json.loads(row["facts"])) for row in world.home.audit_log.rows()]
    for named, (row, asker, status) in looks.items():
        lines = [(line, facts) for line, facts in log if facts.get("request") == named]
        told = MATRIX[row]
        expected = [] if status >= 300 or told["act"] == "-" else [told["act"].replace("_", " ")]
        if sorted({line["action"] for line, _ in lines}) != expected:  # many people are told of in several lines
            wrong[row, asker] = (expected, [line["action"] for line, _ in lines])
        for line, facts in lines:
            assert line["actor"].replace(" ", "_") == ROLE_OF[asker], (row, line["actor"])
            assert told["purpose"] == "no" or facts["purpose"] == "the week's outreach"
            if row not in OWN_NO or ROLE_OF[asker] != "resident":
                mark = facts.get("subject") or facts["who"]
                marks.setdefault(asker, set()).add(mark[:32])
                assert len(mark) in (32, 64) and int(mark, 16), (row, facts)
    assert wrong == {}
    assert {asker: len(found) for asker, found in marks.items()} == dict.fromkeys(marks, 1)  # one caller, one mark
    assert named_in(world, json.dumps([facts for _, facts in log])) == []
    assert world.home.audit_log.verify() == []


@pytest.mark.parametrize("row", [row for row, told in MATRIX.items() if told["purpose"] == "yes"])
def test_nothing_is_told_without_a_purpose(world, ask, row):
    begun = len(world.home.audit_log.rows())
    for asker in ASKERS:
        if MATRIX[row][asker] in ("200", "202"):
            for purpose in NO_PURPOSE:
                purpose = None if purpose is None else purpose.encode("latin-1")
                answer = ask(row, asker, headers={"x-purpose": purpose})
                assert (answer.status_code, answer.json()["title"]) == (400, "No purpose"), (asker, purpose)
    # A job that there is to be asked about was asked for, and scored by the service.
    assert {line["action"] for line in world.home.audit_log.rows()[begun:]} <= {"score job", "score"}


@pytest.mark.parametrize("told", rows_of(FOREIGN), ids=lambda told: " ".join(told.values()))
def test_what_is_anothers_is_answered_as_what_does_not_exist(world, ask, told):
    row, asker, part = told["endpoint"], told["asker"], told["of"]
    n_lines = len(world.home.audit_log.rows())
    foreign, absent = (ask(row, asker, **{part: values[part]}) for values in (world.anothers, world.absent))
    assert foreign.status_code == int(told["expected"]), foreign.text
    assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content)
    changing = ("date", "x-request-id")
    assert [h for h in foreign.headers.items() if h[0] not in changing] == [
        h for h in absent.headers.items() if h[0] not in changing
    ]
    assert len(world.home.audit_log.rows()) == n_lines
    assert ask(row, asker).status_code == int(MATRIX[row][asker])  # and their own is there


def test_needs_and_lists_tell_of_nothing_that_is_anothers(world, ask):
    for asker in ("unit", "system"):
        assert [need["need"] for need in ask("GET /needs", asker).json()["needs"]] == ["youth"]
        assert world.anothers["list"] not in ask("GET /lists", asker).text
    east = set(ask("GET /lists/{list_id}", "system", unit="east").json()["rows"][0])
    assert east and world.anothers["listed"] not in ask("GET /lists/{list_id}", "unit").text


def test_a_unit_is_told_of_the_people_on_its_own_lists_alone(world, ask, provider):
    own, easts, unlisted = world.own["listed"], world.anothers["listed"], world.own["scored"]
    objects = world.own["linked"]
    world.objections.object(objects, "youth")
    body = {"need": "youth", "as_of_date": str(AS_OF)}
    people = [easts, own, unlisted, world.absent["listed"], objects, own]
    try:
        rows = ask("POST /score_batch", "unit", body={**body, "person_ids": people}).json()["rows"]
        assert [row["status"] for row in rows] == ["scored" if person == own else "unknown_person" for person in people]
        assert all(row["score"] is None for row in rows if row["person_id"] != own)
        of_all = ask("POST /score_batch", "system", body={**body, "person_ids": people}).json()["rows"]
        assert rows[1] == of_all[1] and [row["status"] for row in of_all][:1] == ["scored"]
        answers = [ask("POST /score", "unit", body={**body, "person_id": person}) for person in people]
        assert answers[1].json()["score"] == rows[1]["score"]
        assert len({(answer.status_code, answer.content) for answer in answers}) == 2
    finally:
        world.objections.withdraw(objects, "youth")
    nobody = ask("POST /score_batch", "unit", body={**body, "person_ids": [easts, unlisted]})
    assert [row["status"] for row in nobody.json()["rows"]] == ["unknown_person"] * 2
    of_east = provider.token(**{**claims_of(world, "unit"), "units": ["east"]})
    assert ask("POST /score", "unit", token=of_east, body={**body, "person_id": easts}).status_code == 200
    of_both = {"person": {"person_id": own, "birth_date": "2007-01-01"}, "events": []}
    assert ask("POST /score", "unit", body={**body, **of_both}).status_code == 403
    sent = {"persons": [of_both["person"]], "events": []}
    assert ask("POST /score_batch", "unit", body={**body, **sent}).status_code == 403


def test_two_askers_of_the_home_s_issuer_are_two(world, ask):
    """Also with one role, need and unit: neither job nor mark of the one is the other's."""
    given = {"needs": ["youth"], "minutes": 30, "now": datetime.now(UTC)}
    one, two = (issue_token(world.home, "system", subject=name, **given)["token"] for name in ("one", "two"))
    begun = len(world.home.audit_log.rows())
    job = ask("POST /jobs", "system", token=one).json()["job_id"]
    until = time.monotonic() + 60
    while ask("GET /jobs/{job_id}", "system", token=one, job=job).json()["state"] != "done":
        assert time.monotonic() < until
    for row in ("GET /jobs/{job_id}", "GET /jobs/{job_id}/scores", "DELETE /jobs/{job_id}"):
        assert ask(row, "system", token=two, job=job).status_code == 404
    assert ask("POST /score", "system", token=two).status_code == 200
    asked = [json.loads(row["facts"]) for row in world.home.audit_log.rows()[begun:] if row["actor"] == "system"]
    assert len({facts["subject"] for facts in asked}) == 2
    assert ask("DELETE /jobs/{job_id}", "system", token=one, job=job).status_code == 204


# ---- tokens ------------------------------------------------------------------------------------------------------


def bad_tokens(provider, stranger, claims, better):
    """A token for each fault, and headers where the fault is how it is sent; ``better`` are another's claims."""
    now = int(time.time())
    good = provider.token(**claims)
    header, payload, signature = good.split(".")
    said = provider.claims(**claims)
    other = provider.token(**better).split(".")
    changed = ("A" if signature[0] != "A" else "B") + signature[1:]
    hs256 = {"alg": "HS256", "typ": "JWT", "kid": "RS256"}
    brought = {"jwk": jwk_of(OTHER_RSA_KEY, "RS256", "mine"), "kid": "mine"}
    tokens = {
        "expired two minutes ago": provider.token(**{**claims, "iat": now - 900, "exp": now - 120}),
        "not valid before an hour from now": provider.token(**{**claims, "nbf": now + 3600, "exp": now + 9000}),
        "issued an hour from now": provider.token(**{**claims, "iat": now + 3600, "exp": now + 9000}),
        "by another issuer, signed by ours": provider.token(**{**claims, "iss": "https://another.example"}),
        "by another issuer that is a real one": stranger.token(key=OTHER_RSA_KEY, **claims),
        "for another audience": provider.token(**{**claims, "aud": "another"}),
        "alg none, no signature": raw_token({"alg": "none", "typ": "JWT"}, said, signature=b""),
        "alg none, some signature": raw_token({"alg": "none", "typ": "JWT"}, said, signature=b"x" * 32),
        "alg None, some signature": raw_token({"alg": "None", "typ": "JWT"}, said, signature=b"x" * 32),
        "another's claims under this signature": f"{header}.{other[1]}.{signature}",
        "another's signature under these claims": f"{header}.{payload}.{other[2]}",
        "the first letter of the signature changed": f"{header}.{payload}.{changed}",
        "HS256 by the public key": raw_token(hs256, said, key=public_pem(RSA_KEY)),
        "HS256 by nothing": raw_token(hs256, said, key=b""),
        "signed by another key": provider.token(key=OTHER_RSA_KEY, **claims),
        "signed by a key that it brings along": provider.token(key=OTHER_RSA_KEY, headers=brought, **claims),
        "said to be signed in another way": f"{b64({'alg': 'PS256', 'kid': 'RS256'})}.{payload}.{signature}",
        "without an end": provider.token(**{**claims, "exp": None}),
    }
    sent_so = {name: {"headers": {"authorization": f"Bearer {token}"}} for name, token in tokens.items()}
    return sent_so | {
        "no token": {"headers": {"authorization": None}},
        "as Basic": {"headers": {"authorization": f"Basic {good}"}},
        "in the query": {"headers": {"authorization": None}, "query": good},
        "twice": {"headers": [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")]},
    }


def test_a_token_that_is_not_good_opens_nothing_in_any_role(world, server, provider, stranger):
    faults = {row.pop("fault"): row for row in rows_of(FAULTS)}
    n_lines, wrong = len(world.home.audit_log.rows()), {}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for asker in ASKERS[1:]:
            better = claims_of(world, "system" if asker != "system" else "unit")
            made = bad_tokens(provider, stranger, claims_of(world, asker), better)
            assert set(made) == set(faults)
            for row, told in MATRIX.items():
                method, path, query, body = sent(row, world.own, asker)
                kind = "profile" if FOR_PROFILE in row else "open" if told["none"] == "200" else "roles"
                for fault, given in made.items():
                    more = {"access_token": given["query"]} if "query" in given else {}
                    headers = given["headers"]
                    pairs = headers if isinstance(headers, list) else list(headers.items())
                    pairs = [*((name, value) for name, value in pairs if value), ("x-purpose", "a look")]
                    answer = client.request(method, path, params={**query, **more}, json=body, headers=pairs)
                    if answer.status_code != int(faults[fault][kind]):
                        wrong[row, asker, fault] = (answer.status_code, answer.text[:150])
                    if answer.is_error:
                        assert named_in(world, answer.text) == [] and "eyJ" not in answer.text
    assert wrong == {}
    assert len(world.home.audit_log.rows()) == n_lines


def test_the_good_ones_open_what_they_should(world, provider, ask):
    """As the bad ones are made, so that it is their fault and nothing else that was refused."""
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
        token = provider.token(algorithm, **claims_of(world, "unit"))
        assert ask("POST /score", "unit", token=token).status_code == 200


def test_a_method_that_is_not_in_the_table_is_refused_to_everybody(server, provider, world):
    there = {}
    for row in MATRIX:
        method, path = row.split(" ")
        there.setdefault(path, set()).add(method)
    headers = {"authorization": f"Bearer {provider.token(**claims_of(world, 'system'))}", "x-purpose": "a look"}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for path, methods in there.items():
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - methods:
                for given in ({}, headers):
                    answer = client.request(method, path.replace("{", "").replace("}", ""), headers=given)
                    assert answer.status_code in ((401, 404, 405) if FOR_PROFILE in path else (405,)), (method, path)
        for path in ("/", "/docs", "/score/x", "/lists/x/y", "/person/x/y", "/persons", "/admin", "/objections/x"):
            assert client.get(path, headers=headers).status_code == 404
