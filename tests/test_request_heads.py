"""How requests are read from a connection, and answers sent: heads within bounds, no trailers, one piece, no timers."""

import asyncio
import json
import socket

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from serving.connections import MOST_HEAD_BYTES, MOST_HEADERS, BoundedConnection

GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


async def echo(scope, receive, send):
    """Answers what arrived: the names of the headers, after the body, and how long that was."""
    length, more = 0, True
    while more and (message := await receive())["type"] == "http.request":
        length, more = length + len(message["body"]), message["more_body"]
    names = [name.decode() for name, _ in scope["headers"]]
    body = json.dumps([scope["method"], names, length]).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def talk(*pieces, app=echo, **bounds):
    """What comes back over one connection, piece by piece, until it is closed or nothing comes for a while."""
    kind = type("Quick", (BoundedConnection,), bounds)
    config = Config(app, log_config=None, lifespan="off", ws="none")
    config.load()
    state = ServerState()

    def ask(port):
        told = []
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as line:
            for piece in pieces:
                try:
                    line.sendall(piece)
                    told.append(line.recv(1_000_000))
                except OSError:  # nothing yet, or closed while it was still being sent
                    told.append(b"")
        return told

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: kind(config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
        )
        try:
            return await asyncio.to_thread(ask, server.sockets[0].getsockname()[1])
        finally:
            server.close()

    return asyncio.run(run())


def body_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def test_an_answer_comes_in_one_piece_head_and_body():
    for answer in talk(GET + b"\r\n", GET + b"\r\n"):
        assert (status_of(answer), body_of(answer)) == (200, ["GET", ["host"], 0])


def test_a_head_alone_is_sent_where_nothing_follows_it():
    (answer,) = talk(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status_of(answer) == 200 and answer.endswith(b"\r\n\r\n")

    async def breaks(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        raise KeyError

    (answer,) = talk(GET + b"\r\n", app=breaks)
    assert status_of(answer) == 200


@pytest.mark.parametrize(
    "head",
    [
        GET + b"x: " + b"y" * (MOST_HEAD_BYTES + 10),
        GET + b"x: y\r\n" * MOST_HEADERS + b"\r\n",
        GET + b"x: y\r\n" * (MOST_HEAD_BYTES // 5),
        b"GET /" + b"y" * (MOST_HEAD_BYTES + 10),
    ],
    ids=["a long line", "many headers", "many that do not end", "a long path"],
)
def test_a_head_has_its_bounds(head):
    told = talk(*(head[at : at + 30_000] for at in range(0, len(head), 30_000)), b"")
    (answer,) = filter(None, told)
    assert status_of(answer) == 431
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "Too long a head"


def test_as_many_headers_as_may_be_are_read():
    (answer,) = talk(GET + b"x: y\r\n" * (MOST_HEADERS - 1) + b"\r\n")
    assert len(body_of(answer)[1]) == MOST_HEADERS


def test_what_comes_after_a_body_is_no_header():
    chunked = POST + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
    (answer,) = talk(chunked + b"x-purpose: another\r\n\r\n")
    assert body_of(answer) == ["POST", ["host", "transfer-encoding"], 2]


def test_whoever_waits_to_be_told_to_go_on_is_told_at_once():
    first, second = talk(POST + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n", b"ab")
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert body_of(second)[2] == 2


def test_garbage_after_a_request_that_is_not_answered_yet_is_no_answer_to_it():
    (answer,) = talk(POST + b"content-length: 2\r\n\r\nab" + b"\0\0\0")
    assert answer == b"" or status_of(answer) == 200
    (answer,) = talk(POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n")
    assert status_of(answer) == 400


def test_a_connection_ends_in_time_so_that_load_finds_other_workers():
    first, second = talk(GET + b"\r\n", GET + b"\r\n", kept_seconds=60.0)
    assert b"connection: close" not in first + second
    first, second = talk(GET + b"\r\n", GET + b"\r\n", kept_seconds=-1.0)
    assert status_of(first) == 200 and b"\r\nconnection: close\r\n" in first
    assert second == b""


def test_a_request_leaves_no_timer_behind():
    """BentoML's own layer against slowness leaves one for ten minutes, so that memory grows with every request."""
    from serving.service import asgi_app

    async def run():
        app, told = asgi_app(), []

        async def send(message):
            told.append(message)

        for _ in range(20):
            scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/livez", "query_string": b""}
            await app({**scope, "headers": [(b"host", b"x")], "raw_path": b"/livez"}, None, send)
        return told, asyncio.get_running_loop()._scheduled

    told, timers = asyncio.run(run())
    assert [message["status"] for message in told[::2]] == [200] * 20
    assert timers == []
