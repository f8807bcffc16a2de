"""PostgreSQL killed under a running service and started again: clear refusals, nothing lost, no restart needed."""

import json
import threading
import time

import httpx
import pytest
from postgres_server import Cluster
from served import stop
from worker_world import ask, n_ready, start_workers, until, world_in

pytestmark = pytest.mark.full
OUT_S = 4.0
LONGEST_S = 6.0


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def world(cluster, tmp_path_factory):
    return world_in(tmp_path_factory.mktemp("outage"), cluster.url)


@pytest.fixture(scope="module")
def server(world):
    server = start_workers(world)
    try:
        until(lambda: n_ready(server) == 2 or server.process.poll() is not None, 180)
        assert server.process.poll() is None, server.said()
        yield server
    finally:
        server.process.kill()


class Asking(threading.Thread):
    """Asks again and again until told to stop, and keeps what came back and how long it took."""

    def __init__(self, ask_once):
        super().__init__()
        self._ask, self.over, self.came = ask_once, threading.Event(), []

    def run(self):
        with httpx.Client() as client:
            turn = 0
            while not self.over.is_set():
                turn += 1
                began = time.monotonic()
                try:
                    answer = self._ask(turn, client)
                except httpx.TransportError as error:  # told by no answer: not allowed here
                    answer = error
                self.came.append((turn, time.monotonic() - began, answer))
                time.sleep(0.01)


def n_answered(thread):
    """How many of a thread's questions were answered with 200."""
    return sum(getattr(answer, "status_code", 0) == 200 for _, _, answer in list(thread.came))


def test_killed_and_started_again(world, cluster, server):
    people = sorted(world.score().frame["person_id"])
    unit, (first, second) = (part := world.listed.parts[0]).unit_id, [row.person_id for row in part.rows[:2]]
    scores = dict(world.score().frame.select("person_id", "score").iter_rows())

    def score(turn, client):
        return ask(server, world, turn, people[turn % len(people)], client)

    def batch(turn, client):
        return ask(server, world, turn, client=client, path="/score_batch", person_ids=people[:20])

    def attempt(turn, client):
        """Two people in one body: both are kept, or none."""
        at = f"2024-06-{5 + turn // 1440:02d}T{turn // 60 % 24:02d}:{turn % 60:02d}"
        rows = [{"person_id": p, "at": at, "outcome": "not_reached", "channel": "phone"} for p in (first, second)]
        path = f"/lists/{world.listed.list_id}/attempts?unit={unit}"
        headers = {"authorization": f"Bearer {world.tokens[turn % 16]}", "x-purpose": "a test"}
        return client.post(server.url + path, json={"rows": rows}, headers=headers, timeout=30)

    asking = [Asking(each) for each in (score, batch, attempt)]
    until(lambda: score(1, httpx).status_code == 200)
    assert attempt(0, httpx).status_code == 200, attempt(0, httpx).text
    for thread in asking:
        thread.start()
    try:
        until(lambda: min(map(n_answered, asking)) > 25)
        cluster.kill()
        time.sleep(OUT_S)
        during = [score(1, httpx), batch(1, httpx), attempt(5000, httpx), httpx.get(f"{server.url}/readyz")]
        assert [answer.status_code for answer in during] == [503] * 4
        assert httpx.get(f"{server.url}/livez").status_code == 200
        cluster.start()
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200, 10)
        until(lambda: [each(6000 + i, httpx).status_code for i, each in enumerate((score, batch))] == [200, 200], 10)
        until(lambda: min(map(n_answered, asking)) > 75)
    finally:
        for thread in asking:
            thread.over.set()
        for thread in asking:
            thread.join()
    for thread in asking:
        told = {getattr(answer, "status_code", type(answer).__name__) for _, _, answer in thread.came}
        assert told == {200, 503}, told
        assert max(took for _, took, _ in thread.came) < LONGEST_S
        assert thread.came[-1][2].status_code == 200
        refused = [answer for _, _, answer in thread.came if answer.status_code == 503]
        for answer in refused:
            assert answer.headers["content-type"] == "application/problem+json"
            assert "retry-after" in answer.headers, answer.text
            assert answer.json()["title"] in ("The database does not answer", "No score may leave now")
    _nothing_is_lost(world, asking, (first, second), scores)
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said and not any(f'"{person}"' in said for person in people)


def _nothing_is_lost(world, asking, pair, scores):
    kept = world.home.store.attempts().select("person_id", "at").rows()
    moments = {person: {at for who, at in kept if who == person} for person in pair}
    assert moments[pair[0]] == moments[pair[1]], "each body is whole or absent"
    acknowledged = [turn for turn, _, answer in asking[2].came if answer.status_code == 200]
    assert len(acknowledged) > 50
    told = {str(at)[:16].replace(" ", "T") for at in moments[pair[0]]}
    missing = [t for t in acknowledged if f"2024-06-{5 + t // 1440:02d}T{t // 60 % 24:02d}:{t % 60:02d}" not in told]
    assert not missing, (missing[:3], sorted(told)[:3])
    log = world.home.audit_log
    assert log.verify() == []
    written = {json.loads(row["facts"]).get("request") for row in log.rows()}
    for thread in asking:
        left = {answer.headers["x-request-id"] for _, _, answer in thread.came if answer.status_code == 200}
        assert left <= written
    for _, _, answer in asking[0].came:
        if answer.status_code == 200:
            assert answer.json()["score"] == scores[answer.json()["person_id"]]
