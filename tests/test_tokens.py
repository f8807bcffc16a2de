"""Tokens: what a verified one tells, and every way in which one that should not count might."""

import contextlib
import json
import threading
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openid_provider import (
    ALGORITHM_OF,
    AUDIENCE,
    EC_KEY,
    ED_KEY,
    OTHER_RSA_KEY,
    RSA_KEY,
    SHORT_RSA_KEY,
    Provider,
    b64,
    jwk_of,
    public_pem,
    raw_token,
    rsa_signed,
)

from ethics.refusals import BadInput
from serving.home import Home
from serving.identity import ClaimNames, Role, UnusableClaims, holds_scope
from serving.issuer_keys import FRESH_SECONDS, LAST_SECONDS, RETRY_SECONDS, IssuerSilent, ProviderKeys, fetch_document
from serving.settings import Settings
from serving.tokens import (
    LONGEST_TOKEN,
    Issuers,
    TokenRefused,
    TrustedIssuer,
    bearer_of,
    challenge_of,
    open_issuers,
)

PROFILE_AUDIENCE = "ennakko-profile"
UUID_OF_ANNA = "9e14df7c-81f6-4c41-8578-6aa7b9d0e5c0"


class Clock:
    """A clock that a test moves on."""

    def __init__(self, at=0.0):
        self.at = at

    def __call__(self):
        return self.at


@pytest.fixture
def provider():
    provider = Provider("/realms/city")
    yield provider
    provider.close()


@pytest.fixture
def clock():
    return Clock(time.time())


@pytest.fixture
def ticks():
    return Clock(1000.0)


@pytest.fixture
def issuers(provider, clock, ticks):
    keys = ProviderKeys(provider.issuer, clock=ticks)
    city = TrustedIssuer(provider.issuer, AUDIENCE, keys)
    profile = TrustedIssuer(provider.issuer, PROFILE_AUDIENCE, keys, is_profile=True)
    return Issuers([city, profile], clock=clock)


def refusal_of(issuers, token):
    with pytest.raises((TokenRefused, UnusableClaims, IssuerSilent)) as refusal:
        issuers.verified(token)
    assert issuers.known(token) is None
    return getattr(refusal.value, "reason", type(refusal.value).__name__)


# ---- good tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHM_OF)
def test_a_good_token_tells_role_needs_and_units(algorithm, provider, issuers):
    identity = issuers.verified(provider.token(algorithm))
    assert (identity.role, identity.needs, identity.units) == (Role.UNIT, {"youth_exclusion"}, {"kallio"})
    assert (identity.person_id, identity.profile, identity.scopes) == (None, None, frozenset())
    assert repr(identity) == "Identity(unit)"


def test_keys_are_fetched_once_for_many_tokens_and_a_known_token_asks_nobody(provider, issuers):
    tokens = [provider.token("ES256", sub=f"caseworker {i}") for i in range(5)]
    assert issuers.known(tokens[0]) is None
    for token in (*tokens, *tokens):
        issuers.verified(token)
    assert provider.asked == {provider.discovery: 1, provider.jwks: 1}
    provider.close()
    assert issuers.known(tokens[1]).subject == "caseworker 1"


def test_a_token_without_a_key_id_counts_only_where_one_key_fits(provider, issuers):
    assert issuers.verified(provider.token("ES256", headers={"kid": None})).role is Role.UNIT
    provider.publish(jwk_of(RSA_KEY, "RS256", "one"), jwk_of(OTHER_RSA_KEY, "RS256", "two"))
    fresh = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer))])
    assert refusal_of(fresh, provider.token(headers={"kid": None})) == "key"


@pytest.mark.parametrize("role", Role)
def test_every_role_is_read_from_its_claim(role, provider, issuers):
    person = "000123" if role is Role.RESIDENT else None
    identity = issuers.verified(provider.token(role=str(role), person_id=person))
    assert (identity.role, identity.person_id) == (role, person)
    assert identity.units == ({"kallio"} if role is Role.UNIT else frozenset())


def test_claims_are_called_what_the_settings_say(provider):
    names = ClaimNames(role="realm_access.roles", units="https://example.fi/units", needs="ennakko.needs")
    issuers = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer), names)])
    claims = {"realm_access": {"roles": ["offline_access", "unit"]}, "https://example.fi/units": "kallio"}
    identity = issuers.verified(provider.token(role=None, **claims, ennakko={"needs": ["youth_exclusion"]}))
    assert (identity.role, identity.units, identity.needs) == (Role.UNIT, {"kallio"}, {"youth_exclusion"})
    assert issuers.verified(provider.token(role="unit")).role is None  # another claim than the one named


def test_a_token_without_a_role_of_ours_opens_nothing(provider, issuers):
    for role in (None, [], "mayor", ["mayor"], "UNIT"):
        assert issuers.verified(provider.token(role=role)).role is None


# ---- residents by Helsinki Profile -----------------------------------------------------------------------------


def test_the_profile_issuer_makes_nobody_more_than_a_resident(provider, issuers):
    token = provider.token(aud=PROFILE_AUDIENCE, sub=UUID_OF_ANNA, role="system", needs=["*"], person_id="000123")
    identity = issuers.verified(token)
    assert (identity.role, str(identity.profile)) == (Role.RESIDENT, UUID_OF_ANNA)
    assert (identity.needs, identity.units, identity.person_id) == (frozenset(), frozenset(), None)


@pytest.mark.parametrize(
    ("claims", "granted"),
    [
        ({"https://api.hel.fi/auth": ["ennakko.gdprquery"]}, True),
        ({"https://api.hel.fi/auth": ["other.gdprquery", "ennakko.gdprdelete"]}, False),
        ({"https://api.hel.fi/auth": ["gdprquery"]}, False),
        ({"https://api.hel.fi/auth": [".gdprquery"]}, False),
        ({"authorization": {"permissions": [{"scopes": ["gdprquery"]}]}}, True),
        ({"authorization": {"permissions": [{"scopes": [["gdprquery"]]}]}}, True),  # as the city's tester writes it
        ({"authorization": {"permissions": [{"scopes": ["gdprdelete"]}, {"scopes": []}]}}, False),
        ({"authorization": {"permissions": [{"rsname": "gdprquery"}]}}, False),
        ({"authorization": "gdprquery"}, False),
        ({"authorization": {"permissions": "gdprquery"}}, False),
        ({"authorization": {"permissions": ["gdprquery", {"scopes": "gdprquery"}, {"scopes": [7, None]}]}}, False),
        ({"scope": "ennakko.gdprquery"}, False),
        ({}, False),
    ],
)
def test_scopes_come_in_the_shapes_of_tunnistamo_and_keycloak(claims, granted, provider, issuers):
    identity = issuers.verified(provider.token(aud=PROFILE_AUDIENCE, sub=UUID_OF_ANNA, **claims))
    assert holds_scope(identity, "ennakko.gdprquery") is granted


def test_the_city_issuer_grants_no_scope_of_the_profile(provider, issuers):
    claims = {"https://api.hel.fi/auth": ["ennakko.gdprquery"]}
    identity = issuers.verified(provider.token(sub=UUID_OF_ANNA, **claims))
    assert (identity.scopes, identity.profile) == (frozenset(), None)


@pytest.mark.parametrize(
    "subject", ["anna", UUID_OF_ANNA.replace("-", ""), f"{{{UUID_OF_ANNA}}}", "urn:uuid:" + UUID_OF_ANNA]
)
def test_a_profile_is_named_by_a_plain_uuid(subject, provider, issuers):
    assert refusal_of(issuers, provider.token(aud=PROFILE_AUDIENCE, sub=subject)) == "UnusableClaims"


# ---- attacks ---------------------------------------------------------------------------------------------------


def test_a_token_without_a_signature_never_counts(provider, issuers):
    claims = provider.claims()
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        unsigned = f"{b64({'alg': algorithm, 'typ': 'JWT'})}.{b64(claims)}."
        assert refusal_of(issuers, unsigned) == "malformed"
        for kid in ("RS256", None):
            header = {"alg": algorithm, "typ": "JWT"} | ({"kid": kid} if kid else {})
            assert refusal_of(issuers, raw_token(header, claims, signature=b"x")) == "algorithm"
    assert refusal_of(issuers, raw_token({"typ": "JWT", "kid": "RS256"}, claims)) == "algorithm"
    assert refusal_of(issuers, raw_token({"alg": ["RS256"], "kid": "RS256"}, claims)) == "algorithm"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_shared_secret(algorithm, provider, issuers):
    claims = provider.claims()
    published = [
        json.dumps(jwk_of(RSA_KEY, "RS256", "RS256")).encode(),
        jwk_of(RSA_KEY, "RS256", "RS256")["n"].encode(),
    ]
    for key, kid in ((public_pem(RSA_KEY), "RS256"), (public_pem(EC_KEY), "ES256"), (public_pem(ED_KEY), "EdDSA")):
        for secret in (key, key.strip(), *published):
            token = raw_token({"alg": algorithm, "typ": "JWT", "kid": kid}, claims, secret)
            assert refusal_of(issuers, token) == "algorithm"


def test_a_key_signs_only_in_its_own_way(provider, issuers):
    claims = provider.claims()
    # The kid of one kind, the signature of another.
    for algorithm, kid in (("RS256", "ES256"), ("ES256", "EdDSA"), ("EdDSA", "RS256")):
        assert refusal_of(issuers, provider.token(algorithm, headers={"kid": kid})) == "key"
    assert refusal_of(issuers, raw_token({"alg": "RS256", "kid": "RS256"}, claims, public_pem(RSA_KEY))) == "signature"
    for algorithm in ("RS384", "RS512", "ES384", "ES256K", "PS384"):
        assert refusal_of(issuers, raw_token({"alg": algorithm, "kid": "RS256"}, claims)) == "algorithm"


def test_a_key_declared_for_one_algorithm_verifies_no_other(provider):
    provider.publish(jwk_of(RSA_KEY, "RS256", "RS256", alg="RS256"))
    issuers = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer))])
    assert issuers.verified(provider.token("RS256")).role is Role.UNIT
    assert refusal_of(issuers, provider.token("PS256")) == "key"


@pytest.mark.parametrize("algorithm", ALGORITHM_OF)
def test_whatever_is_altered_is_noticed(algorithm, provider, issuers):
    token = provider.token(algorithm)
    header, _payload, signature = token.split(".")
    promoted = b64(provider.claims(role="system", needs=["*"]))
    assert refusal_of(issuers, f"{header}.{promoted}.{signature}") == "signature"
    other = provider.token(algorithm, sub="another").rpartition(".")[2]
    assert refusal_of(issuers, f"{token.rpartition('.')[0]}.{other}") == "signature"
    for place in range(0, len(signature) - 2, 7):
        letter = "A" if signature[place] != "A" else "B"
        changed = f"{signature[:place]}{letter}{signature[place + 1 :]}"
        assert refusal_of(issuers, f"{token.rpartition('.')[0]}.{changed}") == "signature"
    assert refusal_of(issuers, f"{token.rpartition('.')[0]}.{signature[:-8]}") in ("signature", "malformed")
    assert refusal_of(issuers, provider.token("RS256", key=OTHER_RSA_KEY)) == "signature"


def test_the_issuer_is_compared_to_the_letter(provider, issuers):
    port = provider.server.server_port
    for issuer in (
        f"{provider.issuer}/",
        provider.issuer.upper(),
        f"http://localhost:{port}/realms/city",
        "https://evil.example",
        f"{provider.issuer}@evil.example",
        [provider.issuer],
        {"a": 1},
        7,
        None,
    ):
        assert (
            refusal_of(
                issuers,
                provider.token(iss=issuer)
                if isinstance(issuer, str | None)
                else rsa_signed({"alg": "RS256", "kid": "RS256"}, {**provider.claims(), "iss": issuer}),
            )
            == "issuer"
        )
    assert provider.asked == {}  # nobody is asked on a stranger's word


def test_an_issuer_has_its_own_keys_only(provider, issuers):
    other = Provider()
    try:
        other.publish(jwk_of(OTHER_RSA_KEY, "RS256", "other"))
        both = Issuers([*issuers.trusted, TrustedIssuer(other.issuer, AUDIENCE, ProviderKeys(other.issuer))])
        theirs = other.token(key=OTHER_RSA_KEY, headers={"kid": "other"})
        assert both.verified(theirs).issuer == other.issuer
        crossed = other.token(key=OTHER_RSA_KEY, headers={"kid": "other"}, iss=provider.issuer)
        assert refusal_of(both, crossed) == "key"
    finally:
        other.close()


@pytest.mark.parametrize(
    ("audience", "reason"),
    [
        ("another-service", "audience"),
        ([], "claims"),
        ("", "claims"),
        (AUDIENCE.upper(), "audience"),
        (f"{AUDIENCE}x", "audience"),
        ([AUDIENCE, 7], "audience"),
        ({AUDIENCE: 1}, "audience"),
        (None, "claims"),
        ([AUDIENCE, PROFILE_AUDIENCE], "audience"),  # would be a caseworker and a resident at once
    ],
)
def test_a_token_meant_for_another_service_does_not_count(audience, reason, provider, issuers):
    assert refusal_of(issuers, provider.token(aud=audience)) == reason


def test_a_token_for_several_services_counts_when_this_one_is_among_them(provider, issuers):
    assert issuers.verified(provider.token(aud=["another-service", AUDIENCE])).role is Role.UNIT


@pytest.mark.parametrize(
    ("claims", "counts_from", "counts_before"),
    [
        ({"exp": 1000}, None, 1060),
        ({"nbf": 2000, "exp": 9000}, 1940, 9060),
        ({"iat": 2000, "exp": 9000}, 1940, 9060),
        ({"iat": 1000, "nbf": 2000.5, "exp": 2000}, 1940.5, 2060),
    ],
)
def test_clocks_may_stand_a_minute_apart_and_no_more(claims, counts_from, counts_before, provider, issuers, clock):
    token = provider.token(**({"iat": 0} | claims))
    if counts_from is not None:
        clock.at = counts_from - 0.01
        assert refusal_of(issuers, token) == "not-yet"
        clock.at = counts_from
        assert issuers.verified(token).role is Role.UNIT
    clock.at = counts_before - 0.01
    assert issuers.verified(token).role is Role.UNIT
    assert issuers.known(token).role is Role.UNIT
    clock.at = counts_before
    assert refusal_of(issuers, token) == "expired"  # known before, or not


def test_by_the_real_clock_too(provider):
    issuers = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer))])
    now = int(time.time())
    for claims, reason in (
        ({"exp": now - 61}, "expired"),
        ({"exp": now - 10}, None),
        ({"nbf": now + 300}, "not-yet"),
        ({"nbf": now + 50}, None),
    ):
        token = provider.token(**claims)
        assert (refusal_of(issuers, token) if reason else issuers.verified(token).role) == (reason or Role.UNIT)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["1e999", "-1e999", "NaN", '"9999999999"', "true", "null", "[]", "1e20", "-1", "9" * 5000]
)
def test_a_time_is_a_number_that_can_be_one(name, value, provider, issuers):
    claims = {claim: each for claim, each in provider.claims().items() if claim != name}
    text = json.dumps(claims)[:-1] + f', "{name}": {value}}}'
    token = rsa_signed({"alg": "RS256", "kid": "RS256"}, text.encode())
    assert refusal_of(issuers, token) in ("claims", "malformed")


@pytest.mark.parametrize("name", ["exp", "aud", "sub"])
def test_what_every_token_must_say_is_there(name, provider, issuers):
    assert (
        refusal_of(issuers, rsa_signed({"alg": "RS256", "kid": "RS256"}, provider.claims(**{name: None}))) == "claims"
    )


def test_no_name_stands_twice(provider, issuers):
    header, claims = {"alg": "RS256", "kid": "RS256"}, json.dumps(provider.claims())
    for doubled in (
        claims[:-1] + ', "role": "system"}',
        '{"role": "system", ' + claims[1:],
        claims[:-1] + ', "realm_access": {"roles": ["unit"], "roles": ["system"]}}',
        claims[:-1] + ', "\\u0072ole": "system"}',
    ):
        assert refusal_of(issuers, rsa_signed(header, doubled.encode())) == "duplicate"
    for head in ('{"alg": "RS256", "alg": "none", "kid": "RS256"}', '{"alg": "none", "kid": "RS256", "alg": "RS256"}'):
        assert refusal_of(issuers, rsa_signed(head.encode(), claims.encode())) == "duplicate"


def test_where_keys_come_from_is_never_the_tokens_word(provider, issuers):
    evil = Provider()
    try:
        evil.publish(jwk_of(OTHER_RSA_KEY, "RS256", "RS256"))
        for headers in (
            {"jku": f"{evil.origin}{evil.jwks}"},
            {"x5u": f"{evil.origin}/chain.pem"},
            {"jwk": jwk_of(OTHER_RSA_KEY, "RS256", "RS256")},
            {"x5c": [b64(b"certificate")]},
            {"kid": f"{evil.origin}{evil.jwks}"},
            {"kid": "../../../etc/passwd"},
            {"kid": "x' OR '1'='1"},
        ):
            token = provider.token(key=OTHER_RSA_KEY, headers=headers)
            assert refusal_of(issuers, token) in ("signature", "key")
        good = provider.token(headers={"jku": f"{evil.origin}{evil.jwks}"})
        assert issuers.verified(good).role is Role.UNIT  # the header is not read, so it does no harm either
        assert evil.asked == {}
    finally:
        evil.close()


def test_an_extension_that_is_not_known_is_refused(provider, issuers):
    for extra in (
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"crit": "x", "x": 1},
    ):
        token = rsa_signed({"alg": "RS256", "kid": "RS256", **extra}, provider.claims())
        assert refusal_of(issuers, token) == "critical"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",  # an encrypted one
        "a.b.c",
        "..",
        "ä.b.c",
        "a b.c.d",
        "e30.e30.e30",
        "bnVsbA.bnVsbA.AA",
        f"{b64([])}.{b64([])}.AA",
        f"{b64(b'[' * 6000)}.{b64({})}.AA",
        f"{b64({'alg': 'RS256'})}.{b64(b'{' * 6000)}.AA",
        f"{b64({'alg': 'RS256'})}.{b64(b'[' * 5000 + b']' * 5000)}.AA",
        f"{b64({'alg': 'RS256', 'kid': 7})}.{b64({})}.AA",
        f"{b64({'alg': 'RS256', 'typ': 'JWE'})}.{b64({})}.AA",
        f"{b64(bytes([0xFF, 0xFE]))}.{b64({})}.AA",
        f"{b64({'alg': 'RS256'})}.{b64({'iss': chr(0xD800)})}.AA",
    ],
)
def test_rubbish_is_refused_in_words(token, issuers):
    assert refusal_of(issuers, token) in ("malformed", "issuer")


def test_a_huge_token_is_refused_before_it_is_read(provider, issuers):
    token = provider.token(units=["kallio"] * 400)
    assert issuers.verified(token).units == {"kallio"}
    assert refusal_of(issuers, provider.token(x="x" * LONGEST_TOKEN)) == "too-long"
    assert refusal_of(issuers, "x" * 10_000_000) == "too-long"


@pytest.mark.parametrize(
    "claims",
    [
        {"role": ["unit", "auditor"]},
        {"role": 7},
        {"role": {"unit": 1}},
        {"needs": [["youth_exclusion"]]},
        {"needs": "x" * 201},
        {"units": ["u"] * 501},
        {"units": [""]},
        {"role": "resident"},
        {"role": "resident", "person_id": 123},
        {"role": "resident", "person_id": ["000123"]},
        {"role": "resident", "person_id": ""},
    ],
)
def test_claims_of_another_shape_are_refused_not_guessed(claims, provider, issuers):
    assert refusal_of(issuers, provider.token(**claims)) == "UnusableClaims"


def test_a_subject_is_a_short_text(provider, issuers):
    for subject, reason in (("", "claims"), ("x" * 256, "claims"), (7, "malformed"), (["a"], "malformed")):
        token = rsa_signed({"alg": "RS256", "kid": "RS256"}, provider.claims(sub=subject))
        assert refusal_of(issuers, token) == reason


def test_no_issuer_means_no_token(provider):
    assert refusal_of(Issuers([]), provider.token()) == "issuer"


# ---- keys ------------------------------------------------------------------------------------------------------


def test_an_unknown_key_makes_one_refetch_a_minute_at_most(provider, issuers, ticks):
    issuers.verified(provider.token())
    ticks.at += RETRY_SECONDS - 1
    for i in range(20):
        assert refusal_of(issuers, provider.token(headers={"kid": f"invented {i}"})) == "key"
    assert provider.asked[provider.jwks] == 1
    ticks.at += 1
    for i in range(20):
        assert refusal_of(issuers, provider.token(headers={"kid": f"invented {i}"})) == "key"
    assert provider.asked[provider.jwks] == 2


def test_a_new_key_is_found_and_a_withdrawn_one_counts_no_more(provider, issuers, ticks):
    old = provider.token()
    issuers.verified(old)
    issuers.verified(old)
    assert issuers.known(old) is not None
    ticks.at += RETRY_SECONDS
    provider.publish(jwk_of(OTHER_RSA_KEY, "RS256", "new"))
    new = provider.token(key=OTHER_RSA_KEY, headers={"kid": "new"})
    assert issuers.verified(new).role is Role.UNIT
    assert refusal_of(issuers, old) == "key"


def test_a_withdrawn_key_counts_no_longer_than_keys_are_fresh(provider, issuers, ticks):
    token = provider.token()
    issuers.verified(token)
    provider.publish(jwk_of(OTHER_RSA_KEY, "RS256", "new"))
    ticks.at += FRESH_SECONDS
    assert issuers.verified(token).role is Role.UNIT
    ticks.at += 1
    assert issuers.known(token) is None
    assert refusal_of(issuers, token) == "key"


def test_a_silent_provider_is_waited_for_an_hour(provider, issuers, ticks):
    token = provider.token()
    issuers.verified(token)
    provider.answers[provider.jwks] = None
    ticks.at += LAST_SECONDS
    assert issuers.verified(token).role is Role.UNIT
    ticks.at += 1
    with pytest.raises(IssuerSilent, match="cannot be asked for its keys"):
        issuers.verified(token)
    assert issuers.known(token) is None


def test_a_provider_that_was_not_there_at_first_is_asked_again(provider, issuers, ticks):
    answer = provider.answers.pop(provider.jwks)
    assert refusal_of(issuers, provider.token()) == "IssuerSilent"
    provider.answers[provider.jwks] = answer
    assert refusal_of(issuers, provider.token()) == "IssuerSilent"  # not at once
    ticks.at += 11
    assert issuers.verified(provider.token()).role is Role.UNIT


def test_many_threads_ask_for_the_keys_once(provider, issuers):
    tokens, found = [provider.token(sub=str(i)) for i in range(12)], []
    threads = [threading.Thread(target=lambda t=token: found.append(issuers.verified(t).subject)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=int) == [str(i) for i in range(12)]
    assert provider.asked[provider.jwks] == 1


def redirect(handler):
    handler.send_response(302)
    handler.send_header("Location", "http://127.0.0.1:9/jwks")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def compressed(handler):
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b")


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"[" * 65_536)


def not_http(handler):
    handler.wfile.write(b"\x00\x01\x02 garbage\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"not json",
        b"[" * 60_000,
        b"[]",
        b"null",
        b"{}",
        {"keys": {}},
        {"keys": []},
        {"keys": [{}] * 51},
        {"keys": [7, None, "key", [], {"kty": ["RSA"]}, {"kty": "RSA"}, {"kty": "RSA", "n": 7, "e": 7}]},
        {"keys": [{"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": "RS256", "key_ops": 7}]},
        {"keys": [{"kty": "RSA", "n": "A" * 60_000, "e": "AQAB", "kid": "RS256"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "kid": "ES256"}]},  # not on the curve
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "RS256"}]},
        b'{"keys": "' + b"x" * 70_000 + b'"}',
        redirect,
        compressed,
        endless,
        not_http,
    ],
    ids=lambda answer: getattr(answer, "__name__", str(answer)[:30]),
)
@pytest.mark.parametrize("which", ["discovery", "jwks"])
def test_a_provider_that_answers_rubbish_makes_no_key(which, answer, provider, issuers):
    provider.answers[getattr(provider, which)] = answer
    assert refusal_of(issuers, provider.token()) == "IssuerSilent"


def wrapped(status=200, headers=(), padding=0):
    """The right content, in another wrapping."""

    def answer_of(content):
        def answer(handler):
            body = json.dumps(content).encode() + b" " * padding
            handler.send_response(status)
            for name, value in (*headers, ("Content-Length", str(len(body)))):
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

        return answer

    return answer_of


@pytest.mark.parametrize("which", ["discovery", "jwks"])
@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (wrapped(), True),
        (wrapped(padding=60_000), True),
        (wrapped(padding=70_000), False),
        (wrapped(201), False),
        (wrapped(301), False),
        (wrapped(302, [("Location", "/elsewhere")]), False),
        (wrapped(403), False),
        (wrapped(500), False),
        (wrapped(200, [("Content-Encoding", "gzip")]), False),
    ],
)
def test_the_right_content_counts_in_a_plain_answer_only(which, answer, is_good, provider, issuers):
    path = getattr(provider, which)
    provider.answers[path] = answer(provider.answers[path])
    if is_good:
        assert issuers.verified(provider.token()).role is Role.UNIT
    else:
        assert refusal_of(issuers, provider.token()) == "IssuerSilent"
    assert "/elsewhere" not in provider.asked


def test_another_machines_keys_are_not_fetched_on_the_issuers_word(provider, issuers):
    other = Provider()
    try:
        for where in (f"{other.origin}{other.jwks}", f"{other.origin.replace('127.0.0.1', 'localhost')}{other.jwks}"):
            provider.answers[provider.discovery] = {"issuer": provider.issuer, "jwks_uri": where}
            fresh = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer))])
            assert refusal_of(fresh, provider.token()) == "IssuerSilent"
        assert other.asked == {}
    finally:
        other.close()


def test_a_token_that_the_library_reads_otherwise_is_refused(provider, issuers, monkeypatch):
    token = provider.token()
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: provider.claims(role="system"))
    assert refusal_of(issuers, token) == "malformed"


def test_a_provider_that_trickles_or_says_nothing_is_hung_up_on(provider):
    """Each would go on until the test lets it."""
    let_go = threading.Event()

    def trickle(handler):
        handler.send_response(200)
        handler.end_headers()
        while not let_go.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    provider.answers |= {"/slow": trickle, "/mute": lambda _handler: let_go.wait(60)}
    try:
        assert fetch_document(f"{provider.origin}/slow", seconds=0.4).strip() == b""
        with pytest.raises(OSError):
            fetch_document(f"{provider.origin}/mute", seconds=0.3)
        assert not let_go.is_set()
    finally:
        let_go.set()


def test_a_proxy_of_the_environment_is_not_asked(provider, monkeypatch, issuers):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert issuers.verified(provider.token()).role is Role.UNIT


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": "https://evil.example/jwks"},
        {"jwks_uri": "http://127.0.0.1:9/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://user@127.0.0.1/jwks"},
        {"jwks_uri": ["http://127.0.0.1/jwks"]},
        {"jwks_uri": None},
    ],
)
def test_keys_lie_with_the_issuer_and_nowhere_else(said, provider, issuers):
    provider.answers[provider.discovery] |= said
    assert refusal_of(issuers, provider.token()) == "IssuerSilent"
    assert provider.jwks not in provider.asked


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        (jwk_of(SHORT_RSA_KEY, "RS256", "bad"), "too short"),
        (jwk_of(OTHER_RSA_KEY, "RS256", "bad", use="enc"), "for encryption"),
        (jwk_of(OTHER_RSA_KEY, "RS256", "bad", key_ops=["encrypt"]), "for encryption"),
        (jwk_of(OTHER_RSA_KEY, "RS256", "bad", alg="RS512"), "for another algorithm"),
        (
            {**jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA_KEY, as_dict=True), "kid": "bad", "key_ops": ["verify"]},
            "private",
        ),
        (jwk_of(OTHER_RSA_KEY, "RS256", "x" * 201), "an endless id"),
        (jwk_of(OTHER_RSA_KEY, "RS256", "RS256"), "the id of another key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_some_keys_are_not_taken_from_anybody(jwk, why, provider):
    provider.publish(jwk_of(EC_KEY, "ES256", "ES256"), jwk_of(RSA_KEY, "RS256", "RS256"), jwk)
    issuers = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer))])
    assert issuers.verified(provider.token("ES256")).role is Role.UNIT
    key = SHORT_RSA_KEY if why == "too short" else OTHER_RSA_KEY
    token = rsa_signed({"alg": "RS256", "kid": jwk["kid"]}, provider.claims(), key)
    assert refusal_of(issuers, token) == "key"


@pytest.mark.parametrize(
    ("issuer", "wrong"),
    [
        ("http://login.example.fi", "not https"),
        ("http://192.168.1.5/realm", "not https"),
        ("ftp://login.example.fi", "not an address"),
        ("login.example.fi", "not an address"),
        ("https://", "not an address"),
        ("https://user:word@login.example.fi", "an address with a user, a query or a fragment"),
        ("https://login.example.fi/?x=1", "an address with a user, a query or a fragment"),
        ("https://login.example.fi/#x", "an address with a user, a query or a fragment"),
        ("https://login.example.fi:99999", "not an address"),
    ],
)
def test_off_this_machine_an_issuer_answers_by_https(issuer, wrong):
    with pytest.raises(BadInput, match=f"{wrong}. Give the provider's address"):
        Settings.from_environment({"ENNAKKO_ISSUER": issuer, "ENNAKKO_AUDIENCE": "ennakko"})


# ---- over HTTP -------------------------------------------------------------------------------------------------


def test_the_token_comes_in_one_header():
    assert bearer_of(["Bearer a.b.c"]) == bearer_of(["bearer   a.b.c"]) == "a.b.c"
    for headers, reason in (
        ([], "missing"),
        ([""], "malformed"),
        (["Bearer"], "malformed"),
        (["Bearer "], "malformed"),
        (["Basic dXNlcjpwYXNz"], "malformed"),
        (["Bearer a b"], "malformed"),
        (["Bearer a.b.c", "Bearer d.e.f"], "malformed"),
    ):
        with pytest.raises(TokenRefused) as refusal:
            bearer_of(headers)
        assert refusal.value.reason == reason
        assert challenge_of(refusal.value) == ("Bearer" if reason == "missing" else 'Bearer error="invalid_token"')


def test_no_refusal_shows_what_a_token_says(provider, issuers, clock):
    clock.at += 10_000
    for token in (
        provider.token(sub="131052-308T"),
        provider.token(aud="131052-308T"),
        provider.token(iss="131052-308T"),
    ):
        with pytest.raises(TokenRefused) as refusal:
            issuers.verified(token)
        assert "131052" not in str(refusal.value) + repr(refusal.value)


def test_pyjwt_reads_a_good_token_alike(provider):
    """The library's own reading with its own clock, beside ours."""
    token = provider.token("ES256")
    issuers = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, ProviderKeys(provider.issuer))])
    said = jwt.decode(token, EC_KEY.public_key(), algorithms=["ES256"], audience=AUDIENCE, issuer=provider.issuer)
    assert issuers.verified(token).subject == said["sub"]


def test_the_settings_name_the_issuers(provider, tmp_path):
    environment = {
        "ENNAKKO_HOME": str(tmp_path),
        "ENNAKKO_ISSUER": provider.issuer,
        "ENNAKKO_AUDIENCE": AUDIENCE,
        "ENNAKKO_PROFILE_ISSUER": provider.issuer,
        "ENNAKKO_PROFILE_AUDIENCE": PROFILE_AUDIENCE,
        "ENNAKKO_CLAIM_ROLE": "realm_access.roles",
        "ENNAKKO_CLAIM_SCOPES": "granted",
    }
    issuers = open_issuers(Home(Settings.from_environment(environment)))
    assert issuers.verified(provider.token(role=None, realm_access={"roles": ["auditor"]})).role is Role.AUDITOR
    resident = issuers.verified(provider.token(aud=PROFILE_AUDIENCE, sub=UUID_OF_ANNA, granted=["ennakko.gdprquery"]))
    assert holds_scope(resident, "ennakko.gdprquery")
    assert provider.asked[provider.jwks] == 1  # one provider, one set of keys
    assert open_issuers(Home(Settings(home=tmp_path))).trusted == ()


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("iss", "aud", "sub", "exp", "nbf", "iat", "role", "needs", "units", "person_id", "loa", "authorization")


@pytest.fixture(scope="module")
def standing():
    """A provider and its issuers, as they stand during a whole module."""
    provider = Provider()
    keys = ProviderKeys(provider.issuer)
    city = TrustedIssuer(provider.issuer, AUDIENCE, keys)
    yield provider, Issuers([city, TrustedIssuer(provider.issuer, PROFILE_AUDIENCE, keys, is_profile=True)])
    provider.close()


def said_of(issuers, token):
    with contextlib.suppress(TokenRefused, UnusableClaims):
        return issuers.verified(token)


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3), st.booleans())
def test_whatever_a_signed_token_claims_is_read_or_refused(standing, claims, is_profile):
    provider, issuers = standing
    whose = {"aud": PROFILE_AUDIENCE, "sub": UUID_OF_ANNA} if is_profile else {}
    identity = said_of(issuers, rsa_signed({"alg": "RS256", "kid": "RS256"}, provider.claims(**whose) | claims))
    if identity is not None:
        assert identity.issuer == provider.issuer
        assert all(isinstance(name, str) for name in identity.needs | identity.units | identity.scopes)


@given(st.dictionaries(st.sampled_from(("alg", "kid", "typ", "crit", "jwk", "x")), JSON, max_size=4))
def test_whatever_a_header_says_another_key_signs_nothing(standing, header):
    provider, issuers = standing
    for base in ({}, {"alg": "RS256", "kid": "RS256"}):
        assert said_of(issuers, rsa_signed(base | header, provider.claims(), OTHER_RSA_KEY)) is None


@given(
    st.text(max_size=60) | st.lists(st.binary(max_size=12), min_size=1, max_size=4).map(lambda p: ".".join(map(b64, p)))
)
def test_whatever_comes_instead_of_a_token_is_refused(standing, token):
    assert said_of(standing[1], token) is None
    assert standing[1].known(token) is None


def test_issuers_that_all_are_silent_are_told_without_waiting_and_asked_again(provider):
    clock, answers = [0.0], [False]

    def fetch(url):
        if not answers[0]:
            raise OSError("no way there")
        return fetch_document(url)

    def asked():
        keys.is_silent()
        while keys._lock.locked() or any(thread.name == "issuer keys" for thread in threading.enumerate()):
            time.sleep(0.001)
        return issuers.are_silent()

    keys = ProviderKeys(provider.issuer, clock=lambda: clock[0], fetch=fetch)
    issuers = Issuers([TrustedIssuer(provider.issuer, AUDIENCE, keys)])
    assert not Issuers([]).are_silent(), "nobody is trusted, which is said elsewhere"
    assert asked()
    answers[0] = True
    assert asked(), "it was asked just now"
    clock[0] += RETRY_SECONDS
    assert not asked(), "nobody came with a token, and it is asked all the same"
    answers[0] = False
    clock[0] += FRESH_SECONDS + 1
    assert not asked(), "its keys still count"
    clock[0] += LAST_SECONDS
    assert asked()
    other = TrustedIssuer(provider.issuer, "another", ProviderKeys(provider.issuer))
    assert not Issuers([*issuers.trusted, other]).are_silent(), "others can be recognised"
