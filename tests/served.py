"""A real server on loopback in a process of its own, for tests that ask it over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import httpx

ROOT = Path(__file__).resolve().parent.parent
STARTED_WITHIN_S = 120
SERVE = """
import dataclasses
import json
import os
import sys
from ethics.refusals import Fault, Refusal
from serving.access import Access
from serving.exchange import Unanswered
from serving.identity import Identity, Role
from serving.limits import Limits
from serving.settings import Settings

if os.environ.get("TEST_EMPTY"):  # for a benchmark: an endpoint that reads a body like that of /score and does nothing
    from serving import endpoints
    of_score = next(endpoint for endpoint in endpoints.ENDPOINTS if endpoint.path == "/score")
    empty = {"path": "/empty", "handler": "answers.livez", "roles": (), "purpose": False}
    endpoints.ENDPOINTS = (*endpoints.ENDPOINTS, dataclasses.replace(of_score, **empty))

from serving.running import serve

who = json.loads(os.environ.get("TEST_TOKENS", "null"))

def authenticate(headers):
    token = headers.get("authorization", "").removeprefix("Bearer ")
    if token == "breaks":
        raise KeyError(token)
    if token not in who:
        raise Unanswered(401, "Not signed in", Fault("token", "is unknown", "Ask for one"))
    claims = {**who[token], "role": Role(who[token]["role"])}
    names = {name: frozenset(claims.pop(name, ())) for name in ("needs", "units", "scopes")}
    return Identity(token, "test", **names, **claims)

settings = Settings.from_environment()
access = Access(authenticate) if who else None
limits = Limits(**json.loads(os.environ.get("TEST_LIMITS", "{}")))
try:
    code = serve(settings, settings.city, settings.needs, access, limits)
except Refusal as refusal:
    print(refusal, file=sys.stderr)
    code = refusal.exit_code
sys.exit(code)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(world, needs="youth", **environment):
    """A server in a process of its own; its port is free a moment before."""
    port = free_port()
    asks = "TEST_TOKENS" in environment or any("ISSUER" in name for name in environment)
    if not asks and not (world.home.root / "issuer").exists():
        environment = {"ENNAKKO_WITHOUT_TOKENS": "1", **environment}
    environment = {
        **os.environ,
        "ENNAKKO_HOME": str(world.home.root),
        "ENNAKKO_CITY": str(world.city.folder),
        "ENNAKKO_NEEDS": needs,
        "ENNAKKO_PORT": str(port),
        "POLARS_MAX_THREADS": "2",
        **environment,
    }
    out = Path(tempfile.mkdtemp(dir=world.home.root.parent)) / "said"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    return SimpleNamespace(process=process, url=f"http://127.0.0.1:{port}", port=port, said=out.read_text)


def wait_until_it_answers(server):
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    server.process.kill()
    raise AssertionError(f"no answer; it said:\n{server.said()}")


def stop(server):
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(timeout=60), server.said()


def soon(look, wanted, within_s=1.0):
    """What is looked at, once it is as wanted; after a second, as it is."""
    until = time.monotonic() + within_s
    while (found := look()) != wanted and time.monotonic() < until:
        pass
    return found
