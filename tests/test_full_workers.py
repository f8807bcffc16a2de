"""Several workers over PostgreSQL: one that dies is replaced, all tell the same, the audit log keeps one chain."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from postgres_server import Cluster
from served import stop
from sqlalchemy import create_engine
from worker_world import ask, n_ready, start_workers, until, workers_of, world_in

from ethics.audit_log import AuditLog

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def world(cluster, tmp_path_factory):
    return world_in(tmp_path_factory.mktemp("workers"), cluster.url)


@pytest.fixture(scope="module")
def server(world):
    server = start_workers(world)
    try:
        until(lambda: n_ready(server) == 2 or server.process.poll() is not None, 240)
        assert server.process.poll() is None, server.said()
        yield server
        code, said = stop(server)
        assert code == 0, said
        assert "Traceback" not in said
    finally:
        server.process.kill()


def covered(world):
    return sorted(world.score().frame["person_id"])


def test_every_worker_answers_alike_and_the_audit_log_keeps_one_chain(world, server):
    scores = dict(world.score().frame.select("person_id", "score").iter_rows())
    people = sorted(scores)[:120]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda i: ask(server, world, i, people[i]), range(len(people))))
    assert [answer.status_code for answer in answers] == [200] * len(people)
    assert [answer.json()["score"] for answer in answers] == [scores[person] for person in people]
    log = world.home.audit_log
    until(lambda: log.verify() == [], 5)
    requests = [facts["request"] for facts in log.facts_of("score")]
    assert set(requests) >= {answer.headers["x-request-id"] for answer in answers}


def test_metrics_of_any_worker_tell_the_whole(world, server):
    def scored():
        text = httpx.get(f"{server.url}/metrics").text
        return sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("ennakko_requests_total") and 'endpoint="/score"' in line
        )

    before = scored()
    for turn in range(40):
        ask(server, world, turn)
    told = {scored() for _ in range(20)}  # by whichever worker took the connection
    assert told == {before + 40}


def test_a_worker_that_is_killed_is_replaced_while_the_other_answers(world, server):
    before = workers_of(server)
    assert len(before) == 2
    statuses, over = [], threading.Event()

    def load():
        turn = 0
        while not over.is_set():
            turn += 1
            try:
                statuses.append(ask(server, world, turn).status_code)
            except httpx.TransportError:
                statuses.append(None)  # it was with the killed one
            time.sleep(0.02)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(workers_of(server)) == 2 and before[0] not in workers_of(server), 60)
        until(lambda: n_ready(server) == 2, 240)
        time.sleep(0.5)
    finally:
        over.set()
        thread.join()
    assert statuses.count(None) <= 1 and set(statuses) <= {200, None}
    assert before[1] in workers_of(server)
    until(lambda: world.home.audit_log.verify() == [], 5)


def test_a_worker_that_cannot_start_is_waited_for_and_the_others_say_why(world, server):
    victim = workers_of(server)[0]
    world.stop_switch.set("tried")
    try:
        os.kill(victim, signal.SIGKILL)
        until(lambda: "tried again in 1 seconds" in server.said(), 180)
        answer = ask(server, world)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "V14")
        until(lambda: "tried again in 2 seconds" in server.said(), 180)
    finally:
        world.stop_switch.clear()
    until(lambda: n_ready(server) == 2, 240)
    assert ask(server, world).status_code == 200


def test_trust_that_is_lost_stops_every_worker_within_a_second(world, server):
    def statuses():
        return {ask(server, world, turn).status_code for turn in range(12)}  # a connection each

    assert statuses() == {200}
    world.stop_switch.set("tried")
    try:
        time.sleep(1.0)
        assert statuses() == {503}
    finally:
        world.stop_switch.clear()
    until(lambda: statuses() == {200}, 5)


def test_an_objection_counts_with_the_next_question_to_any_worker(world, server):
    person = covered(world)[10]
    until(lambda: ask(server, world, person=person).status_code == 200)
    world.objections.object(person, "youth")
    try:
        assert {ask(server, world, turn, person).status_code for turn in range(8)} == {403}
    finally:
        world.objections.withdraw(person, "youth")
    assert {ask(server, world, turn, person).status_code for turn in range(8)} == {200}


def test_many_processes_that_write_at_once_keep_one_chain(cluster, tmp_path):
    def write(number):
        engine = create_engine(cluster.url)
        log = AuditLog(engine, "crowd", tmp_path / "head.json")
        for turn in range(25):
            log.append_all([("act", "system", {"n": turn, "by": number})] * 3)
        engine.dispose()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    log = AuditLog(create_engine(cluster.url), "crowd", tmp_path / "head.json")
    assert log.verify() == [] and log.head()[0] == 8 * 25 * 3


def test_stopping_answers_what_is_under_way(world):
    server = start_workers(world)
    try:
        until(lambda: n_ready(server) == 2, 240)
        people = covered(world)
        with ThreadPoolExecutor(4) as pool:
            batches = [
                pool.submit(ask, server, world, turn, path="/score_batch", person_ids=people) for turn in range(4)
            ]
            time.sleep(0.05)
            code, said = stop(server)
            assert code == 0, said
            assert all(batch.result().status_code == 200 for batch in batches)
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
    finally:
        server.process.kill()


def test_workers_end_with_the_process_that_watches_them(world):
    server = start_workers(world)
    try:
        until(lambda: n_ready(server) == 2, 240)
        workers = workers_of(server)
        server.process.kill()
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), 20)  # noqa: PTH110
    finally:
        server.process.kill()
