"""Two minutes of mixed load on two workers over PostgreSQL, with another champion and a killed worker in the middle.

At 70 % of what the service can take: one person, one with reasons, many as JSON and as Arrow, needs; all with token and
purpose, and an audit line on disk for each score. Every answer is exactly that of the model it names; nothing is lost
but what was with the killed worker; memory is flat.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres_server import Cluster
from sealed_world import AS_OF, MODEL_NEED, World
from served import stop
from worker_world import ask, n_ready, start_workers, until, workers_of, world_in

from models.registry import CHAMPION
from serving.local_issuer import issue_token

pytestmark = pytest.mark.full
LOAD = Path(__file__).resolve().parent / "mixed_load.py"
SECONDS = 120.0
SWAP_AT, KILL_AT, WARM_AT, WARM_S = 12.0, 24.0, 40.0, 15.0
"""Seconds into the load: another champion, the kill, when memory must grow no more; and how long a worker is new."""
LEAST_LOOKS = 15
SHARE, CONNECTIONS, TOKENS = 0.7, 16, 48
MOST_GROWTH_MB, MOST_GROWTH_SHARE = 24.0, 0.05


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def world(cluster, tmp_path_factory):
    """A home with two judged models of one need, of which the first is approved, and tokens for many systems."""
    world = world_in(tmp_path_factory.mktemp("mixed"), cluster.url)
    other_need = MODEL_NEED.replace("n_estimators = 40", "n_estimators = 25")
    shared = {"shared_home": world.home, "shared_city": world.city}
    world.other = World(world.folder / "other", need_text=other_need, **shared)
    world.other.approve()
    approve(world, 1)
    given = {"needs": ["youth"], "minutes": 60, "now": datetime.now(UTC)}
    world.tokens = [issue_token(world.home, "system", subject=f"load {i}", **given)["token"] for i in range(TOKENS)]
    world.of = {}
    for each in (world, world.other):
        scores = dict(each.score().frame.select("person_id", "score").iter_rows())
        world.of[each.model.digest] = each.verdict.verdict_id, scores
    return world


def approve(world, version):
    world.home.registry.client.set_registered_model_alias("youth", CHAMPION, str(version))


@pytest.fixture(scope="module")
def server(world):
    server = start_workers(world)
    try:
        until(lambda: n_ready(server) == 2, 240)
        yield server
        code, said = stop(server)
        assert code == 0, said
        assert "Traceback" not in said
    finally:
        server.process.kill()


def load(world, server, seconds, rate=0.0):
    """A load that is under way, as a process."""
    people = sorted(next(iter(world.of.values()))[1])
    task = {"port": server.port, "seconds": seconds, "connections": CONNECTIONS, "rate": rate, "need": "youth"}
    task |= {"day": str(AS_OF), "people": people, "tokens": world.tokens, "of": world.of}
    process = subprocess.Popen([sys.executable, LOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    return process


def found_by(process):
    found = json.loads(process.stdout.read())
    assert process.wait() == 0
    return found


def resident_mb(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), None)


class Watch:
    """What happens while the load goes on: memory of each worker each second, and what is done to them."""

    def __init__(self, server):
        self.server, self.begun = server, time.monotonic()
        self.memory, self.acts = {}, []

    def now(self):
        return time.monotonic() - self.begun

    def until(self, moment):
        while self.now() < moment:
            time.sleep(min(1.0, max(0.0, moment - self.now())))
            for pid in workers_of(self.server):
                if (size := resident_mb(pid)) is not None:
                    self.memory.setdefault(pid, []).append((self.now(), size))

    def growth(self, pid):
        """Median memory in the first and in the last third of the time once it was warm; None if that was short."""
        since = max(WARM_AT, self.memory[pid][0][0] + WARM_S)
        sizes = [size for moment, size in self.memory[pid] if moment >= since]
        if len(sizes) < LEAST_LOOKS:
            return None
        third = len(sizes) // 3
        return statistics.median(sizes[:third]), statistics.median(sizes[-third:])


def test_two_minutes_with_another_champion_and_a_killed_worker(world, server):
    for turn in range(200):  # both workers have the day ready from here on
        assert ask(server, world, turn).status_code == 200
    most = [found_by(load(world, server, 5.0)) for _ in range(3)]
    assert [told["wrong"] for told in most] == [[]] * 3
    rate = SHARE * statistics.median(told["per_second"] for told in most)

    before = workers_of(server)
    process, watch = load(world, server, SECONDS, rate), Watch(server)
    watch.until(SWAP_AT)
    approve(world, 2)
    watch.until(KILL_AT)
    killed_at = time.time()
    os.kill(before[0], signal.SIGKILL)
    watch.until(SECONDS)
    found = found_by(process)
    report = {name: found[name] for name in ("asked", "unasked", "per_second", "p50", "p99", "most", "statuses")}
    print(json.dumps({"bench": "serving: mixed load", "rate": rate, **report, "broken": len(found["broken"])}))

    assert found["wrong"] == []
    assert {status.split()[1] for status in found["statuses"]} == {"200"}
    assert found["asked"] + found["unasked"] == int(SECONDS * rate)
    assert found["unasked"] == 0, "it could not keep up with 70 % of what it can take"
    assert set(found["models"]) == set(world.of), "both champions answered"
    assert len(found["broken"]) <= CONNECTIONS
    assert all(0.0 <= moment - killed_at <= 5.0 for moment in found["broken"]), "lost with the killed worker alone"

    after = workers_of(server)
    assert len(after) == 2 and before[0] not in after and before[1] in after
    told = {pid: watch.growth(pid) for pid in after}
    first_seen = [round(looks[0][0], 1) for looks in watch.memory.values()]
    report = {"mb_first_and_last": list(told.values()), "workers_seen_first_at_s": first_seen}
    print(json.dumps({"bench": "serving: memory of workers", **report}))
    assert told[before[1]] is not None
    for first, last in filter(None, told.values()):
        assert last - first <= max(MOST_GROWTH_MB, MOST_GROWTH_SHARE * first), told
    until(lambda: world.home.audit_log.verify() == [], 10)
