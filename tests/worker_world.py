"""A home whose database is PostgreSQL, served by several workers by the command itself, with the home's own tokens."""

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import httpx
from ethics_cases import trusting
from sealed_world import AS_OF, NOW, World
from served import ROOT, free_port

from serving.home import Home
from serving.local_issuer import issue_token, make_issuer
from serving.settings import Settings

COMMAND = "import sys; from serving.cli import main; sys.exit(main())"


def world_in(folder, database_url):
    """A sealed world whose registers are in a database server, with an approved need and tokens for systems."""
    home = Home(Settings(home=folder / "home", database_url=database_url))
    home.stop_switch.test(NOW)
    for role in ("gate", "auditor"):
        home.key_ring.make(role, f"Demonstration {role}", demonstration=True, days=7, now=NOW)
    trusting(home.key_ring)
    world = World(folder / "world", shared_home=home, units=True)
    world.approve()
    world.listed = world.list()
    home.store.publish(world.listed, [])
    now = datetime.now(UTC)
    make_issuer(home, now, demonstration=True)
    given = {"needs": ["*"], "minutes": 60, "now": now}
    world.tokens = [issue_token(home, "system", subject=f"system {i}", **given)["token"] for i in range(16)]
    return world


def start_workers(world, n=2):
    """``ennakko serve`` with several workers."""
    port = free_port()
    out = Path(tempfile.mkdtemp(dir=world.folder)) / "said"
    settings = world.home.settings
    environment = {**os.environ, "ENNAKKO_DATABASE_URL": settings.database, "POLARS_MAX_THREADS": "1"}
    words = ["serve", "--city", world.city.folder, "--home", settings.home, "--port", port, "--workers", n]
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    server = SimpleNamespace(process=process, url=f"http://127.0.0.1:{port}", port=port, said=out.read_text)
    return server


def workers_of(server):
    """Process ids of the workers that are there."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    lines = {pid: Path(f"/proc/{pid}/cmdline") for pid in children}
    return sorted(int(pid) for pid, line in lines.items() if line.exists() and b"spawn_main" in line.read_bytes())


def until(look, within_s=60.0):
    """Wait for what is looked at to be true; returns how long it took."""
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not so within {within_s} seconds")
        time.sleep(0.05)
    return time.monotonic() - began


def n_ready(server):
    """How many workers count themselves; 0 while nobody answers."""
    assert server.process.poll() is None, server.said()
    try:
        text = httpx.get(f"{server.url}/metrics", timeout=5).text
    except httpx.TransportError:
        return 0
    found = [line for line in text.splitlines() if line.startswith("ennakko_workers ")]
    return int(float(found[0].split()[1])) if found else 0


def ask(server, world, turn=0, person="000005", client=httpx, path="/score", **more):
    """One question with a token of its own for every sixteenth."""
    body = {"need": "youth", "as_of_date": str(AS_OF), **(more or {"person_id": person, "reasons": False})}
    headers = {"authorization": f"Bearer {world.tokens[turn % len(world.tokens)]}", "x-purpose": "a test"}
    return client.post(server.url + path, json=body, headers=headers, timeout=30)
