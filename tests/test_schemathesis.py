"""Schemathesis against the running service and its own OpenAPI document: every check, every endpoint, whoever asks.

It needs the command ``schemathesis`` (a development dependency). Whoever asks has a real token by a real OpenID
provider, or none. Each asks twice: by the document as it is (examples and borders of every schema), and by the document
narrowed to needs, days, lists, persons and profiles that there are, so that what lies behind the first refusal is
reached too (at random, and one question after another).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from gdpr_world import ANNA, PROFILE_AUDIENCE, STRANGER
from openid_provider import AUDIENCE, Provider
from sealed_world import RULE_NEED, World
from served import start, stop, wait_until_it_answers
from test_gdpr import SCOPES

from serving.endpoints import ROLES
from serving.profile_links import open_links

pytestmark = pytest.mark.full

LIMITS = json.dumps({"chunk_seconds": 2.0, "body_seconds": 5.0, "rate": 1e6, "burst": 1e6})
# A body that its schema allows is still refused with 422 where the need does not cover somebody, or on a day the city
# does not know; with 406 where Accept asks for another kind; with 409 where a job is not done; with 400 where a purpose
# or a parameter names somebody.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "406", "409", "410", "422", "429", "503"]
"""
SEED = "7"
LIST_ID = "01HZZZZZZZZZZZZZZZZZZZZZZ1"
ASKERS = ("nobody", *ROLES, "profile")
AT_ONCE, EXAMPLES = 2, 8


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"), units=True)
    world.approve()
    world.home.store.publish(replace(world.list(), list_id=LIST_ID), [])
    rules = {"need_text": RULE_NEED, "need_id": "youth_rule"}
    World(world.folder / "rules", **rules, shared_home=world.home, shared_city=world.city).approve()
    open_links(world.home).link([(ANNA, "000013"), (STRANGER, "000017")])
    return world


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


def running(world, **environment):
    server = start(world, "youth,youth_rule", TEST_LIMITS=LIMITS, **environment)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said
    assert "Error at" not in said


@pytest.fixture(scope="module")
def server(world):
    """On trial: without tokens."""
    yield from running(world)


@pytest.fixture(scope="module")
def locked(world, provider):
    yield from running(
        world,
        ENNAKKO_ISSUER=provider.issuer,
        ENNAKKO_AUDIENCE=AUDIENCE,
        ENNAKKO_PROFILE_ISSUER=provider.issuer,
        ENNAKKO_PROFILE_AUDIENCE=PROFILE_AUDIENCE,
    )


def token_of(provider, asker):
    claims = {"needs": ["youth", "youth_rule"], "units": ["north"], "person_id": "000005", "exp": time.time() + 3000}
    if asker == "profile":
        scopes = SCOPES["tunnistamo"]("gdprquery", "gdprdelete")
        claims |= {"aud": PROFILE_AUDIENCE, "sub": str(ANNA), "loa": "substantial", **scopes}
    return provider.token(**{**claims, "role": asker if asker in ROLES else None})


def narrowed(document):
    """The document with needs, days and persons that there are."""
    schemas = document["components"]["schemas"]
    some = {"type": "string", "enum": ["000005", "000007", "000011", "no such person"]}
    for path, methods in document["paths"].items():
        for parameter in (one for told in methods.values() for one in told.get("parameters", ())):
            known = {"list_id": [LIST_ID], "unit": ["north", "east"], "need": ["youth", "youth_rule"]}
            known |= {"person_id": some["enum"], "profile": [str(ANNA), str(STRANGER)]}
            if parameter["name"] in known and not path.startswith("/score"):
                parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
    for name in ("AttemptBody", "OutcomeBody"):
        told = schemas[name]["properties"]
        told["person_id"] = some
        told["at"] = {"type": "string", "enum": ["2024-06-04", "2024-06-05T09:30", "2030-01-01"]}
        told["outcome"] = {"type": "string", "enum": ["reached", "helped", "none"]}
    for name in ("ScoreRequest", "BatchRequest", "JobRequest"):
        told = schemas[name]["properties"]
        told["need"] = {"type": "string", "enum": ["youth", "youth_rule"]}
        told["as_of_date"] = {"type": "string", "enum": ["2024-06-03", "2023-06-05"]}
        if name == "JobRequest":
            continue
        key, person = (
            ("person_id", some) if name == "ScoreRequest" else ("person_ids", {"type": "array", "items": some})
        )
        told[key] = {"anyOf": [{**person, **({"minItems": 1} if key == "person_ids" else {})}, {"type": "null"}]}
    return document


def run(server, folder, *options, narrow):
    """One run of every check; raises with what it found."""
    folder.mkdir()
    document = httpx.get(f"{server.url}/openapi.json").json()
    (folder / "openapi.json").write_text(json.dumps(narrowed(document) if narrow else document))
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    program = shutil.which("schemathesis", path=places)
    assert program, "schemathesis is not installed: make setup"
    command = [program, "--config-file", "schemathesis.toml", "run", "openapi.json", "--url", server.url]
    command += ["--checks", "all", "--seed", SEED, "--max-examples", str(EXAMPLES), *options]
    if narrow:  # what it is narrowed to is not a rule of the service's: the rest is no violation
        command += ["--phases", "fuzzing,stateful", "--exclude-checks", "negative_data_rejection"]
    else:
        command += ["--phases", "examples,coverage"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    every = f"Tested: {sum(map(len, document['paths'].values()))}\n"
    return "" if done.returncode == 0 and every in done.stdout else done.stdout[-6000:] + done.stderr[-1000:]


def test_nothing_undocumented_is_answered_while_the_service_is_on_trial(server, tmp_path):
    for narrow in (False, True):
        assert run(server, tmp_path / str(narrow), narrow=narrow) == ""


def test_nothing_undocumented_is_answered_to_anybody(locked, provider, tmp_path):
    def asked(asker):
        as_whom = () if asker == "nobody" else ("-H", f"Authorization: Bearer {token_of(provider, asker)}")
        return "".join(run(locked, tmp_path / f"{asker}-{narrow}", *as_whom, narrow=narrow) for narrow in (False, True))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(ASKERS, pool.map(asked, ASKERS), strict=True))
    assert {asker: told for asker, told in found.items() if told} == {}, "\n".join(found.values())
