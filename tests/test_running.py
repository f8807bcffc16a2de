"""Starting and stopping the service: ports, workers, connections that are slow on purpose."""

import asyncio
import itertools
import socket
import threading
import time
from types import SimpleNamespace

import httpx
import pytest
from sealed_world import AS_OF, World
from served import soon, start, stop, wait_until_it_answers
from uvicorn import Config
from uvicorn.server import ServerState

from ethics.refusals import BadInput
from serving.connections import BoundedConnection
from serving.flows import serve_champions
from serving.home import Home
from serving.limits import Limits
from serving.running import Workers, serve
from serving.settings import Settings


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    return world


@pytest.fixture(scope="module")
def server(world):
    server = start(world)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said


def settings_of(world, **changes):
    return Settings(**{"home": world.home.root, "city": world.city.folder, "needs": ("youth",), **changes})


def test_several_workers_are_refused_with_sqlite(world):
    with pytest.raises(BadInput, match=r"ENNAKKO_WORKERS: asks for 2 workers, .* ENNAKKO_DATABASE_URL"):
        serve(settings_of(world, workers=2), world.city.folder, ["youth"])
    with pytest.raises(BadInput, match="ENNAKKO_WORKERS"):
        Settings.from_environment({"ENNAKKO_WORKERS": "0"})


def test_settings_reach_a_worker_whole(world, tmp_path):
    given = {"gdpr_loa": ("high",), "metrics_token": "x" * 20, "needs": ("a", "b"), "without_tokens": True}
    settings = settings_of(world, workers=3, **given)
    assert Settings.from_environment(settings.to_environment({})) == settings
    (tmp_path / "url").write_text("postgresql+psycopg://city@db/ennakko")
    around = {"ENNAKKO_DATABASE_URL_FILE": str(tmp_path / "url")}
    settings = Settings.from_environment(around, home=tmp_path)
    told = settings.to_environment(around)
    assert "ENNAKKO_DATABASE_URL" not in told, "a secret in a file stays there"
    assert Settings.from_environment(around | told) == settings


def test_a_port_that_is_taken_is_said_in_words(world, server):
    with pytest.raises(BadInput, match=rf"cannot listen on 127\.0\.0\.1:{server.port} \(Address already in use\)"):
        serve(settings_of(world, port=server.port), world.city.folder, ["youth"])


def test_whoever_starts_it_is_told_what_is_going_on(server):
    said = server.said()
    assert said.startswith("· verifying youth, reading the city\n")
    assert f"· answering on {server.url}; Ctrl-C ends it\n" in said


def test_what_the_workers_of_a_running_service_counted_stays_when_another_cannot_listen(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.service.verify_service", lambda _settings: None)
    with socket.create_server(("127.0.0.1", 0)) as running:
        port = running.getsockname()[1]
        counted = tmp_path / "serving" / f"metrics-{port}" / "counter_1.db"
        counted.parent.mkdir(parents=True)
        counted.write_bytes(b"counted")
        settings = Settings(home=tmp_path, workers=2, port=port, database_url="postgresql+psycopg://city@db/ennakko")
        with pytest.raises(BadInput, match="cannot listen on"):
            serve(settings, tmp_path, ["youth"])
    assert counted.read_bytes() == b"counted"


def test_the_needs_of_the_settings_are_those_that_are_served(world, monkeypatch):
    monkeypatch.setattr("serving.running.serve", lambda _settings, _city, ids: ids)
    both = Home(settings_of(world, needs=("youth", "elderly")))  # the second is refused where it has no champion
    assert serve_champions(both, world.city.folder) == ["youth", "elderly"]
    assert serve_champions(Home(settings_of(world, needs=())), world.city.folder) == ["youth"]


def test_each_worker_has_its_part_of_what_holds_for_all():
    part = Limits().shared_by(4)
    assert (part.rate, part.burst) == (25.0, 50.0)
    assert part.held_bytes >= 64_000_000, "the longest body still fits"
    assert Limits().shared_by(1) == Limits()


def test_a_small_answer_does_not_wait_for_the_next_acknowledgement(server):
    """Two writes without TCP_NODELAY take the 40 ms of a delayed acknowledgement, every time."""
    took = []
    with httpx.Client() as client:
        for _ in range(30):
            began = time.perf_counter()
            client.get(f"{server.url}/livez")
            took.append(time.perf_counter() - began)
    assert min(took) < 0.03


# ---- slow on purpose -------------------------------------------------------------------------------------------


def test_a_head_that_trickles_is_ended_and_others_are_answered_meanwhile(server):
    """A byte a second for ever, on twenty lines: closed within the bound, while others get their answers."""
    lines = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(20)]
    over, slowest = threading.Event(), []

    def others():
        while not over.is_set():
            began = time.monotonic()
            assert httpx.get(f"{server.url}/livez").status_code == 200
            slowest.append(time.monotonic() - began)

    thread = threading.Thread(target=others)
    thread.start()
    began, said = time.monotonic(), b""
    try:
        head = b"POST /score HTTP/1.1\r\nhost: x\r\nx-slow: " + b"a" * 60
        for byte in head:
            for line in lines:
                try:
                    line.send(bytes([byte]))
                except OSError:
                    continue
            lines[0].settimeout(1.0)
            try:
                said = lines[0].recv(4096)
                break
            except TimeoutError:
                continue
    finally:
        over.set()
        thread.join()
    assert 8.0 < time.monotonic() - began < 15.0
    assert said.startswith(b"HTTP/1.1 408") and b"application/problem+json" in said
    for line in lines:
        with line:
            line.settimeout(5.0)
            try:
                while line.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    assert max(slowest) < 2.0


def connection(**bounds):
    """A connection of the service's kind before an application that answers with twenty megabytes, as it stands."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
        for _ in range(20):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    state = ServerState()
    kind = type("Quick", (BoundedConnection,), bounds)
    config = Config(app, log_config=None, lifespan="off")
    config.load()
    return state, lambda: kind(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())


def talking(act, **bounds):
    """What ``act(port, state)`` finds out about a server of such connections."""

    async def run():
        state, made = connection(**bounds)
        server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return await asyncio.wait_for(asyncio.to_thread(act, port, state), 20)
        finally:
            server.close()

    return asyncio.run(run())


def test_an_answer_that_nobody_takes_is_given_up():
    def act(port, state):
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert soon(lambda: len(state.connections), 1, 5) == 1
            return soon(lambda: len(state.connections), 0, 5)

    assert talking(act, unread_seconds=0.3) == 0


def test_an_answer_that_is_taken_slowly_is_not():
    def act(port, state):
        read = 0
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            while piece := line.recv(200_000):
                read += len(piece)
                time.sleep(0.02)
        return read

    assert talking(act, unread_seconds=0.3) > 20_000_000


def test_a_second_head_on_the_same_line_has_its_bound_too():
    def act(port, state):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            read = b""
            while len(read) < 20_000_000:
                read += line.recv(1_000_000)
            line.sendall(b"G")
            return line.recv(1000)

    assert talking(act, head_seconds=0.3).startswith(b"HTTP/1.1 408")


def test_beyond_so_many_connections_the_next_is_told_to_come_again():
    def act(port, state):
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert soon(lambda: len(state.connections), 2, 5) == 2
            with socket.create_connection(("127.0.0.1", port), timeout=10) as third:
                return third.recv(1000)

    said = talking(act, most_connections=2)
    assert said.startswith(b"HTTP/1.1 503") and b"retry-after: 2" in said


# ---- the supervisor ----------------------------------------------------------------------------------------------


class Pretended:
    """A worker as the supervisor sees it: alive or not, ready or not; the processes are real in the full tests."""

    def __init__(self, alive=True, ready=True):
        self.alive, self.ready, self.exitcode, self.pid, self.begun = alive, ready, None, 2**30, 0

    def start(self):
        self.begun += 1

    def is_alive(self, timeout=0):
        return self.alive

    def is_ready(self, timeout=0):
        return self.ready

    def kill(self):
        pass

    join = kill


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    import serving.running as running

    monkeypatch.setattr("signal.signal", lambda *_: None)
    made, found = [], SimpleNamespace(next=(True, True))

    def process(config, sockets):
        made.append(Pretended(*found.next))
        return made[-1]

    monkeypatch.setattr(running, "Process", process)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(running.time, "monotonic", lambda: clock.now)
    workers = Workers(Config("x", workers=2), [], tmp_path)
    found.workers, found.made, found.clock = workers, made, clock
    workers.processes = [Pretended(), Pretended()]
    return found


def test_a_worker_that_was_ready_is_replaced_at_once(supervised):
    workers = supervised.workers
    workers.keep_subprocess_alive()
    workers.processes[0].alive = False
    workers.keep_subprocess_alive()
    assert [one.begun for one in supervised.made] == [1] and workers.processes[0] is supervised.made[0]


def test_a_worker_that_cannot_start_is_tried_less_and_less_often(supervised):
    workers = supervised.workers
    workers.keep_subprocess_alive()
    workers.processes[0].alive, supervised.next = False, (False, False)
    moments = []
    for _ in range(2000):
        before = len(supervised.made)
        workers.keep_subprocess_alive()
        if len(supervised.made) > before:
            moments.append(supervised.clock.now)
        supervised.clock.now += 0.1
    gaps = [round(b - a) for a, b in itertools.pairwise(moments)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 30] and set(gaps[6:]) <= {30}
    assert not workers.should_exit.is_set(), "the other one lives"


def test_workers_of_which_none_was_ever_ready_are_given_up(supervised):
    workers = supervised.workers
    workers.processes = [Pretended(alive=False, ready=False), Pretended(alive=False, ready=False)]
    workers.keep_subprocess_alive()
    assert workers.came_to_nothing and workers.should_exit.is_set()


def test_a_batch_under_way_is_answered_before_the_service_ends(world):
    server = start(world)
    wait_until_it_answers(server)
    people = sorted(world.score().frame["person_id"])
    body = {"need": "youth", "as_of_date": str(AS_OF), "person_ids": people}
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{server.url}/score_batch", json=body, timeout=60))
    )
    thread.start()
    time.sleep(0.05)
    code, said = stop(server)
    thread.join()
    assert code == 0, said
    assert [answer.status_code for answer in answers] == [200]
