"""Schemathesis against the running service and its own OpenAPI document: every check, without a token and as each role.

It needs the command ``schemathesis`` (a development dependency). The document it reads is the service's own, narrowed
to a need, days and persons that there are, so that what lies behind the first refusal is reached too; what is not
narrowed is asked by the second run.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from sealed_world import RULE_NEED, World
from served import start, stop, wait_until_it_answers

from serving.endpoints import ROLES

pytestmark = pytest.mark.full

LIMITS = json.dumps({"chunk_seconds": 2.0, "body_seconds": 5.0, "rate": 1e6, "burst": 1e6})
CLAIMS = {role: {"role": role, "needs": ["youth", "youth_rule"]} for role in ROLES}
TOKENS = json.dumps({**CLAIMS, "resident": {"role": "resident", "person_id": "000005"}})
# A body that its schema allows is still refused with 422 where the need does not cover somebody, or on a day the city
# does not know; with 406 where Accept asks for another kind.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "406", "422", "429", "503"]
"""
SEED = "7"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    rules = {"need_text": RULE_NEED, "need_id": "youth_rule"}
    World(world.folder / "rules", **rules, shared_home=world.home, shared_city=world.city).approve()
    return world


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
    yield from running(world)


@pytest.fixture(scope="module")
def locked(world):
    yield from running(world, TEST_TOKENS=TOKENS)


def narrowed(document):
    """The document with needs, days and persons that there are."""
    schemas = document["components"]["schemas"]
    some = {"type": "string", "enum": ["000005", "000007", "000011", "no such person"]}
    for name in ("ScoreRequest", "BatchRequest"):
        told = schemas[name]["properties"]
        told["need"] = {"type": "string", "enum": ["youth", "youth_rule"]}
        told["as_of_date"] = {"type": "string", "enum": ["2024-06-03", "2023-06-05"]}
        key, person = (
            ("person_id", some) if name == "ScoreRequest" else ("person_ids", {"type": "array", "items": some})
        )
        told[key] = {"anyOf": [{**person, **({"minItems": 1} if key == "person_ids" else {})}, {"type": "null"}]}
    return document


def run(server, folder, *options, examples, narrow=False):
    document = httpx.get(f"{server.url}/openapi.json").json()
    (folder / "openapi.json").write_text(json.dumps(narrowed(document) if narrow else document))
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    program = shutil.which("schemathesis", path=places)
    assert program, "schemathesis is not installed: make setup"
    command = [program, "--config-file", "schemathesis.toml", "run", "openapi.json", "--url", server.url]
    command += ["--checks", "all", "--max-examples", str(examples), "--seed", SEED, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert f"{sum(map(len, document['paths'].values()))} total" in done.stdout


@pytest.mark.parametrize("narrow", [False, True])
def test_nothing_undocumented_is_answered_without_a_token(server, tmp_path, narrow):
    run(server, tmp_path, examples=60, narrow=narrow)


@pytest.mark.parametrize("role", ROLES)
def test_nothing_undocumented_is_answered_to_a_role(locked, tmp_path, role):
    run(locked, tmp_path, "-H", f"Authorization: Bearer {role}", examples=20, narrow=True)
