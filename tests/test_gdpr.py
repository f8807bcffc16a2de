"""The GDPR interface: who may ask, what is answered, and that nothing is erased by a slip of the pen."""

import json
import shutil
import tomllib

import pytest
from gdpr_world import (
    ANNA,
    BO,
    DUTY,
    PATH,
    PROFILE_AUDIENCE,
    STRANGER,
    Client,
    app_of,
    desk_of,
    erasing,
    home_with_people,
)
from openid_provider import AUDIENCE, OTHER_RSA_KEY, Provider

from serving.gdpr import _MESSAGES as MESSAGES
from serving.gdpr import LANGUAGES, Kept, NotNow, as_node
from serving.home import Home
from serving.settings import Settings

SCOPES = {
    "tunnistamo": lambda *names: {"https://api.hel.fi/auth": [f"ennakko.{name}" for name in names]},
    "keycloak": lambda *names: {"authorization": {"permissions": [{"rsname": "ennakko", "scopes": list(names)}]}},
    "tester": lambda *names: {"authorization": {"permissions": [{"scopes": [list(names)]}]}},
}


@pytest.fixture
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The home as each test finds it; made once, for the disk's sake."""
    return home_with_people(tmp_path_factory.mktemp("begun") / "home", "http://127.0.0.1:9").root


@pytest.fixture
def home(provider, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "home")
    settings = Settings(home=tmp_path / "home", profile_issuer=provider.issuer, profile_audience=PROFILE_AUDIENCE)
    return Home(settings)


@pytest.fixture
def client(home):
    return Client(app_of(desk_of(home)))


def bearer(provider, *scopes, whose=ANNA, shape="tunnistamo", **claims):
    given = {"aud": PROFILE_AUDIENCE, "sub": str(whose), "loa": "substantial", "role": None, **SCOPES[shape](*scopes)}
    return {"Authorization": f"Bearer {provider.token(**(given | claims))}"}


def codes(response):
    """The codes of the errors, once every one of them is in the form that the city's tester asks for."""
    said = response.json()
    assert list(said) == ["errors"]
    for error in said["errors"]:
        assert set(error) == {"code", "message"}
        assert set(error["message"]) == set(LANGUAGES)
        assert all(isinstance(text, str) and text for text in error["message"].values())
    return [error["code"] for error in said["errors"]]


def acts(home):
    return [(row["action"], json.loads(row["facts"])) for row in home.audit_log.rows()]


# ---- query -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SCOPES)
def test_a_resident_gets_what_is_held_about_them_and_the_log_says_so(shape, provider, home, client):
    response = client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery", shape=shape))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    tree = response.json()
    assert tree["key"] == "ENNAKKO"
    assert {"PERSON_ID", "STATE", "STANDING"} <= {child["key"] for child in tree["children"]}
    assert '"value": "top_1"' in response.text and '"value": "2024-06-03"' in response.text
    assert "000124" not in response.text
    (act, facts), (looked, _) = acts(home)  # the profile's question, and the look that answers it
    assert (act, facts["purpose"], looked) == ("gdpr query", "right of access (GDPR 15)", "person")
    assert facts["person"] == home.store.refs(["000123"])["000123"]
    assert str(ANNA) not in json.dumps(facts) and "000123" not in json.dumps(facts)


def test_the_address_may_be_written_in_capitals(provider, client):
    assert client.get(f"{PATH}/{str(ANNA).upper()}", headers=bearer(provider, "gdprquery")).status_code == 200


def test_whoever_is_not_linked_has_no_data_here(provider, home, client):
    headers = bearer(provider, "gdprquery", "gdprdelete", whose=STRANGER)
    for method in ("GET", "DELETE"):
        response = client.request(method, f"{PATH}/{STRANGER}", headers=headers)
        assert (response.status_code, response.content) == (204, b"")
    assert acts(home) == []


def test_a_linked_person_of_whom_nothing_is_held_gets_204(provider, home):
    client = Client(app_of(desk_of(home, view=lambda _person: None)))
    assert client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery")).status_code == 204
    assert [act for act, _ in acts(home)] == ["gdpr query"]


# ---- delete ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SCOPES)
def test_a_trial_erases_nothing_and_an_erasure_everything(shape, provider, home, client):
    headers = bearer(provider, "gdprdelete", shape=shape)
    for given in ("true", "True", "TRUE", "1"):
        response = client.delete(f"{PATH}/{ANNA}?dry_run={given}", headers=headers)
        assert (response.status_code, response.content) == (204, b"")
    assert not home.store.is_erased(["000123"])[0]
    assert client.delete(f"{PATH}/{ANNA}?dry_run=false", headers=headers).status_code == 204
    assert home.store.is_erased(["000123", "000124"]).tolist() == [True, False]
    assert home.store.scores_of("000123").is_empty()
    desk = desk_of(home)
    assert (desk.links.person_of(ANNA), desk.links.person_of(BO), desk.links.count()) == (None, "000124", 1)
    # Once more does no harm, and there is nothing left to tell.
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 204
    assert client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery", shape=shape)).status_code == 204
    *asked, (done, _) = acts(home)
    assert [(act, facts["dry_run"]) for act, facts in asked] == [*[("gdpr delete", 1)] * 4, ("gdpr delete", 0)]
    assert done == "erase"
    assert home.audit_log.verify() == []


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_statutory_duty_to_keep_is_told_with_its_reason(query, provider, home):
    client = Client(app_of(desk_of(home, erase=erasing(home, [DUTY]))))
    response = client.delete(f"{PATH}/{ANNA}{query}", headers=bearer(provider, "gdprdelete"))
    assert (response.status_code, codes(response)) == (403, ["archive_act"])
    assert response.json()["errors"][0]["message"] == dict(DUTY.message)
    assert "www-authenticate" not in response.headers
    assert not home.store.is_erased(["000123"])[0]
    assert desk_of(home).links.person_of(ANNA) == "000123"
    assert acts(home)[-1] == ("gdpr delete refused", {**acts(home)[-1][1], "reasons": "archive_act"})


@pytest.mark.parametrize(
    "message",
    [{}, {"fi": "x", "sv": "y"}, {"fi": "x", "sv": "y", "en": ""}, {"fi": "x", "sv": "y", "en": "z", "de": "w"}],
)
def test_a_reason_speaks_all_three_languages(message):
    with pytest.raises(ValueError, match="a text in each of fi, sv, en"):
        Kept("archive_act", message)


@pytest.mark.parametrize(
    "query",
    [
        "dryrun=true",
        "dry_run",
        "dry_run=",
        "dry_run=yes",
        "dry_run=true&dry_run=false",
        "dry_run=false&dry_run=true",
        "dry_run=true&x=1",
        "x=1",
        "DRY_RUN=true",
    ],
)
def test_what_cannot_be_understood_erases_nothing(query, provider, home, client):
    for method in ("DELETE", "GET"):
        headers = bearer(provider, "gdprdelete", "gdprquery")
        response = client.request(method, f"{PATH}/{ANNA}?{query}", headers=headers)
        assert (response.status_code, codes(response)) == (400, ["request_not_understood"])
    assert acts(home) == [] and not home.store.is_erased(["000123"])[0]


@pytest.mark.parametrize("body", [b'{"dry_run": true}', b"dry_run=true", b" "])
def test_a_body_that_may_say_otherwise_erases_nothing(body, provider, home, client):
    response = client.request("DELETE", f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete"), content=body)
    assert (response.status_code, codes(response)) == (400, ["request_not_understood"])
    assert not home.store.is_erased(["000123"])[0]


def cut_short(home, *moments):
    """An erasure that fails before the store forgets, or after, where the files would follow."""
    left = list(moments)

    def erase(person_id, dry_run, begun):
        moment = left.pop(0) if left and not dry_run else None
        if not dry_run:
            begun()
        if moment == "before":
            raise OSError("the disk is full")
        if not dry_run:
            home.store.erase(person_id)
        if moment == "after":
            raise OSError("the disk is full")
        erased.append(person_id)
        return []

    erased = erase.done = []
    return erase


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_erasure_cut_short_is_finished_by_asking_again(moment, provider, home):
    """Even once the store has forgotten the person, the profile still says who is meant, until all of it is done."""
    erase = cut_short(home, moment, moment)
    client, headers = Client(app_of(desk_of(home, erase=erase))), bearer(provider, "gdprdelete")
    for _ in range(2):
        response = client.delete(f"{PATH}/{ANNA}", headers=headers)
        assert (response.status_code, codes(response)) == (500, ["internal_error"])
        assert "disk" not in response.text
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 204
    assert erase.done == ["000123"]
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 204
    assert erase.done == ["000123"]  # once it is done nothing leads there any more
    desk = desk_of(home)
    assert (desk.links.count(), list(desk.pending.all()), desk.finish()) == (1, [], 0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_service_that_starts_again_finishes_what_was_asked(moment, provider, home):
    erase = cut_short(home, moment)
    client, headers = Client(app_of(desk_of(home, erase=erase))), bearer(provider, "gdprdelete")
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 500
    again = desk_of(home, erase=erase)
    assert again.finish() == 1
    assert (erase.done, home.store.is_erased(["000123"])[0], again.links.count()) == (["000123"], True, 1)
    assert again.finish() == 0
    assert not any("000123" in path.read_text() for path in (home.root / "erasures-asked").iterdir())


def test_what_cannot_be_finished_stays_to_be_done_and_stops_nobody_elses(provider, home, caplog):
    erase = cut_short(home, "before", "before", "before")
    desk = desk_of(home, erase=erase)
    for whose in (ANNA, BO):
        headers = bearer(provider, "gdprdelete", whose=whose)
        assert Client(app_of(desk)).delete(f"{PATH}/{whose}", headers=headers).status_code == 500
    assert desk.finish() == 1  # one of the two failed once more
    assert len(list(desk.pending.all())) == 1
    assert desk.finish() == 1
    assert sorted(erase.done) == ["000123", "000124"]
    assert "00012" not in caplog.text


def test_an_erasure_that_must_wait_says_so_and_leaves_nothing_armed(provider, home):
    waits = [True]

    def erase(person_id, dry_run, begun):
        if not dry_run and waits and waits.pop():
            raise NotNow
        return erasing(home)(person_id, dry_run, begun)

    desk, headers = desk_of(home, erase=erase), bearer(provider, "gdprdelete")
    client = Client(app_of(desk))
    assert client.delete(f"{PATH}/{ANNA}?dry_run=true", headers=headers).status_code == 204
    response = client.delete(f"{PATH}/{ANNA}", headers=headers)
    assert (response.status_code, codes(response)) == (503, ["erasure_must_wait"])
    assert list(desk.pending.all()) == []
    assert (desk.finish(), home.store.is_erased(["000123"])[0]) == (0, False)
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 204
    assert home.store.is_erased(["000123"])[0]


def test_a_link_that_was_mended_is_believed_and_no_erasure_that_was_armed_before(provider, home):
    """A profile linked to the wrong person, of which an erasure was cut short before anything was gone."""
    desk = desk_of(home, erase=cut_short(home, "before"), view=lambda person_id: {"person": person_id})
    client = Client(app_of(desk))
    assert client.delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete")).status_code == 500
    armed = list(desk.pending.all())
    assert [person for _, person in armed] == ["000123"]
    desk.links.unlink(ANNA)
    assert list(desk.pending.all()) == []
    desk.links.link([(ANNA, "000125")])
    desk.pending.begin(*armed[0])  # as if it had been left behind
    shown = client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery")).json()
    assert shown["children"] == [{"key": "PERSON", "value": "000125"}]
    assert (desk.finish(), list(desk.pending.all())) == (0, [])
    assert home.store.is_erased(["000123", "000125"]).tolist() == [False, False]
    desk.pending.begin(*armed[0])
    assert client.delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete")).status_code == 204
    assert home.store.is_erased(["000123", "000125"]).tolist() == [False, True]


def test_of_somebody_half_forgotten_nothing_is_told(provider, home):
    desk = desk_of(home, erase=cut_short(home, "after"), view=lambda person_id: {"person": person_id})
    client = Client(app_of(desk))
    assert client.delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete")).status_code == 500
    assert client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery")).status_code == 204
    assert client.delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete")).status_code == 204
    assert list(desk.pending.all()) == []


def test_a_refused_erasure_is_not_pending(provider, home):
    desk = desk_of(home, erase=erasing(home, [DUTY]))
    assert Client(app_of(desk)).delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete")).status_code == 403
    assert list(desk.pending.all()) == []


# ---- who may ask -----------------------------------------------------------------------------------------------

QUERY, DELETE = ("GET", "gdprquery"), ("DELETE", "gdprdelete")


@pytest.mark.parametrize(("method", "scope"), [QUERY, DELETE])
@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        ({}, 200, None),
        ({"loa": "high"}, 200, None),
        ({"loa": "low"}, 403, "stronger_sign_in_needed"),
        ({"loa": "Substantial"}, 403, "stronger_sign_in_needed"),
        ({"loa": None}, 403, "stronger_sign_in_needed"),
        ({"loa": ["substantial"]}, 401, "token_missing_or_invalid"),
        ({"sub": str(BO)}, 403, "not_own_profile"),
        ({"sub": str(STRANGER)}, 403, "not_own_profile"),
        ({"sub": "000123"}, 401, "token_missing_or_invalid"),
        ({"https://api.hel.fi/auth": []}, 403, "scope_missing"),
        ({"https://api.hel.fi/auth": ["other.gdprquery", "other.gdprdelete"]}, 403, "scope_missing"),
        ({"aud": AUDIENCE}, 401, "token_missing_or_invalid"),
        ({"iss": "https://evil.example"}, 401, "token_missing_or_invalid"),
        ({"exp": 1000, "iat": 900}, 401, "token_missing_or_invalid"),
    ],
)
def test_a_resident_reaches_their_own_data_alone(method, scope, claims, status, code, provider, home, client):
    if status == 200 and method == "DELETE":
        status = 204
    response = client.request(method, f"{PATH}/{ANNA}", headers=bearer(provider, scope, **claims))
    assert response.status_code == status
    if code:
        assert codes(response) == [code]
        assert acts(home) == []
        challenged = response.headers.get("www-authenticate")
        assert challenged == ('Bearer error="invalid_token"' if status == 401 else None)
    assert home.store.is_erased(["000123", "000124"]).tolist() == [status == 204, False]


@pytest.mark.parametrize(("method", "scope"), [("GET", "gdprdelete"), ("DELETE", "gdprquery")])
@pytest.mark.parametrize("shape", SCOPES)
def test_one_scope_does_not_open_the_other_door(method, scope, shape, provider, home, client):
    response = client.request(method, f"{PATH}/{ANNA}", headers=bearer(provider, scope, shape=shape))
    assert (response.status_code, codes(response)) == (403, ["scope_missing"])
    assert acts(home) == [] and not home.store.is_erased(["000123"])[0]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_without_a_good_token_nothing_is_said(method, provider, home, client):
    forged = provider.token(key=OTHER_RSA_KEY, aud=PROFILE_AUDIENCE, sub=str(ANNA))
    for headers, challenge in (
        ({}, "Bearer"),
        ({"Authorization": "Basic YW5uYTphbm5h"}, 'Bearer error="invalid_token"'),
        ({"Authorization": "Bearer rubbish"}, 'Bearer error="invalid_token"'),
        ({"Authorization": f"Bearer {forged}"}, 'Bearer error="invalid_token"'),
    ):
        answers = [client.request(method, f"{PATH}/{whose}", headers=headers) for whose in (ANNA, STRANGER)]
        for response in answers:
            assert (response.status_code, codes(response)) == (401, ["token_missing_or_invalid"])
            assert response.headers["www-authenticate"] == challenge
        assert answers[0].content == answers[1].content
    assert acts(home) == []


def test_a_token_of_the_city_or_of_the_home_is_no_residents(provider, home):
    from datetime import UTC, datetime

    from serving.local_issuer import issue_token, make_issuer

    settings = home.settings.model_copy(update={"issuer": provider.issuer, "audience": AUDIENCE})
    home = Home(settings)
    make_issuer(home, datetime.now(UTC), demonstration=True)
    client = Client(app_of(desk_of(home)))
    local = issue_token(home, "resident", person_id="000123", minutes=5, now=datetime.now(UTC))["token"]
    scopes = SCOPES["tunnistamo"]("gdprquery", "gdprdelete")
    city = [
        provider.token(sub=str(ANNA), role=role, loa="substantial", **scopes) for role in ("system", "service_point")
    ]
    for token in (local, *city):
        for method in ("GET", "DELETE"):
            response = client.request(method, f"{PATH}/{ANNA}", headers={"Authorization": f"Bearer {token}"})
            assert (response.status_code, codes(response)) == (403, ["scope_missing"])
    assert not home.store.is_erased(["000123"])[0]


def test_a_provider_that_cannot_be_asked_is_said_so(provider, home):
    headers = bearer(provider, "gdprquery")
    provider.close()
    response = Client(app_of(desk_of(home))).get(f"{PATH}/{ANNA}", headers=headers)
    assert (response.status_code, codes(response)) == (503, ["try_again_later"])


@pytest.mark.parametrize(
    "path",
    ["", "/", "/anna", f"/{ANNA.hex}", f"/{{{ANNA}}}", f"/{ANNA}/", f"/{ANNA}/more", f"/{ANNA}%00", "/000123", "//"],
)
def test_other_addresses_do_not_exist(path, provider, client):
    for method, scope in (QUERY, DELETE):
        response = client.request(method, f"{PATH}{path}", headers=bearer(provider, scope))
        assert response.status_code in (404, 307) and (response.status_code == 404 or path == "")
        if path:
            assert codes(response) == ["not_found"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method, provider, client):
    response = client.request(method, f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery", "gdprdelete"))
    assert (response.status_code, response.headers["allow"]) == (405, "GET, DELETE")


def test_a_fault_of_ours_shows_no_data(provider, home, caplog):
    def view(_person_id):
        raise KeyError("000123 Anna")

    client = Client(app_of(desk_of(home, view=view)))
    response = client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery"))
    assert (response.status_code, codes(response)) == (500, ["internal_error"])
    assert "Anna" not in response.text + caplog.text
    assert "KeyError at " in caplog.text


def test_every_message_stands_in_three_languages():
    messages = tomllib.loads(MESSAGES.read_text("utf-8"))
    for code, texts in messages.items():
        assert set(texts) == set(LANGUAGES), code
        assert len(set(texts.values())) == len(LANGUAGES), code


def test_a_tree_holds_texts_only():
    tree = as_node("person", {"n": 3, "share": 0.25, "none": None, "open?": True, "ä": ["x"], "": {}})
    assert tree == {
        "key": "PERSON",
        "children": [
            {"key": "N", "value": "3"},
            {"key": "SHARE", "value": "0.25"},
            {"key": "NONE"},
            {"key": "OPEN", "value": "true"},
            {"key": "ITEM", "children": [{"key": "ITEM_ITEM", "value": "x"}]},
            {"key": "ITEM", "children": []},
        ],
    }
