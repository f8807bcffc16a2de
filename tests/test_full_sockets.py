"""What Ennakko connects to while it trains, scores, lists and serves: this machine, and no name is looked up.

The kernel is asked (strace), so that what C libraries do is seen too; the environment is a plain one, since some
packages send nothing home only where they believe to be tested.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from sealed_world import AS_OF
from served import free_port
from week_world import YOUTH, week_world

from serving.local_issuer import issue_token, make_issuer

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
CLEAN = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
WATCHED = ("--seccomp-bpf", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg")
NAME_PORTS = {53, 853, 5353, 5355}
STARTED_WITHIN_S = 240


def far(trace):
    """Lines of a trace that reach beyond this machine, or look a name up."""
    found = []
    for line in trace.splitlines():
        ports = [int(port) for port in re.findall(r"sin6?_port=htons\((\d+)\)", line)]
        texts = re.findall(r'inet_addr\("([^"]+)"\)', line) + re.findall(r'inet_pton\(AF_INET6, "([^"]+)"', line)
        if any(not ip_address(text).is_loopback for text in texts) or NAME_PORTS & set(ports):
            found.append(line)
        elif "sa_family=AF_INET" in line and not texts:
            found.append(line)  # an address that this test cannot read is none that it can vouch for
    return found


def watched(folder, name, *words):
    """A command and the file of its trace."""
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed: make setup-full")
    trace = folder / f"{name}.trace"
    environment = {**CLEAN, "HOME": str(folder), "TMPDIR": str(folder)}
    command = ["strace", *WATCHED, "-o", trace, sys.executable, *map(str, words)]
    out = (folder / f"{name}.said").open("wb")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    return process, trace


def ran(folder, name, *words, codes=(0,)):
    process, trace = watched(folder, name, "-m", "serving", *words)
    code = process.wait(600)
    assert code in codes, (folder / f"{name}.said").read_text()
    return trace.read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("watched")


@pytest.fixture(scope="module")
def world(folder):
    world = week_world(folder / "world", (YOUTH,))[YOUTH]
    make_issuer(world.home, datetime.now(UTC))
    return world


def test_the_watch_sees_connections_and_look_ups(folder):
    reach = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', {}))"
    for port, n in ((9, 0), (53, 1)):
        process, trace = watched(folder, f"control-{port}", "-c", reach.format(port))
        process.wait(60)
        assert f"htons({port})" in trace.read_text()
        assert len(far(trace.read_text())) == n
    there = 'connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = 0'
    six = (
        'connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = 0'
    )
    assert far(f"{there}\n{six}\n") == [there, six]
    assert far(six.replace("2001:db8::1", "::1")) == []


def test_training_reaches_nobody(folder):
    ran(folder, "synth", "city", "synth", folder / "city", "--persons", 3000)
    home = folder / "home"
    trace = ran(folder, "train", "train", "--city", folder / "city", "--need", "youth_exclusion", "--home", home)
    assert far(trace) == []
    rehearsed = ("rehearse", "--city", folder / "city", "--need", "youth_exclusion", "--home", home)
    assert far(ran(folder, "rehearse", *rehearsed, codes=(0, 10, 20))) == []


def test_scoring_and_listing_reach_nobody(folder, world):
    place = ("--home", world.home.root, "--city", world.folder / "city", "--need", world.folder / "youth.toml")
    for command in ("score", "list"):
        assert far(ran(folder, command, command, *place, "--as-of", AS_OF)) == []


def test_serving_reaches_nobody(folder, world):
    port = free_port()
    words = ("serve", "--home", world.home.root, "--city", world.folder / "city", "--port", port)
    process, trace = watched(folder, "serve", "-m", "serving", *words)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        body = {"need": "youth", "as_of_date": str(AS_OF), "person_id": "000001"}
        token = issue_token(
            world.home, "system", subject="sockets", needs=["youth"], minutes=30, now=datetime.now(UTC)
        )["token"]
        headers = {"authorization": f"Bearer {token}", "x-purpose": "to try"}
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            assert client.post("/score", json=body).json()["score"] > 0
            many = {"need": "youth", "as_of_date": str(AS_OF), "person_ids": ["000001", "000002"]}
            assert client.post("/score_batch", json=many).status_code == 200
            for path in ("/needs", "/metrics", "/openapi.json"):
                assert client.get(path).status_code == 200
    finally:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        code = process.wait(90)
    assert code == 0, (folder / "serve.said").read_text()
    assert far(trace.read_text()) == []
