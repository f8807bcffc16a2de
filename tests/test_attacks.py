"""Attacks on the running service: what was published against BentoML, requests that can be read in two ways, floods.

A real server, whoever asks: nobody, a bad token, and a good token of each role. Whatever is sent, it is refused with a
4xx or the connection ends; nothing is executed, fetched or opened; the server lives, its memory stays flat, and its log
holds no traceback. BentoML's history: CVE-2025-27520, CVE-2025-32375, CVE-2025-54381, and its issue 5641.
"""

import base64
import contextlib
import gzip
import http.client
import io
import json
import os
import pickle
import socket
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import httpx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openid_provider import AUDIENCE, Provider, raw_token
from raw_http import head, memory_of, sockets, statuses, talk
from sealed_world import AS_OF, World
from served import start, stop, wait_until_it_answers

from serving.endpoints import ENDPOINTS, ROLES
from serving.exchange import ARROW

PROFILE_AUDIENCE = "ennakko-profile"
PURPOSE = {"x-purpose": "weekly list"}
LIMITS = json.dumps({"rate": 1e6, "burst": 1e6, "chunk_seconds": 1.0, "body_seconds": 3.0})
PERSON = "000005"
BATCH = f"/score_batch?need=youth&as_of_date={AS_OF}"
OURS = sorted({endpoint.path.replace("{", "").replace("}", "") for endpoint in ENDPOINTS} | {BATCH})
BENTOMLS = (
    *("/", "/predict", "/summarize", "/NeedScores", "/schema.json", "/docs.json", "/docs", "/static_content/x"),
    *("/__call__", "/__bentoml__", "/__bentoml__/predict", "/.well-known/x", "/is_ready", "/health", "/hello"),
    *("/runner", "/infer", "/v2/models/x/infer", "/mcp", "/destroy"),
    *(f"{path}/{step}" for path in ("/score", "/predict") for step in ("submit", "status", "get", "retry", "cancel")),
)
MOST_GROWTH_MB = 120


# ---- the server, and who asks it -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    return world


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module", params=["with an issuer", pytest.param("on trial", marks=pytest.mark.full)])
def server(request, world, provider):
    issuers = {
        "ENNAKKO_ISSUER": provider.issuer,
        "ENNAKKO_AUDIENCE": AUDIENCE,
        "ENNAKKO_PROFILE_ISSUER": provider.issuer,
        "ENNAKKO_PROFILE_AUDIENCE": PROFILE_AUDIENCE,
    }
    server = start(world, TEST_LIMITS=LIMITS, **(issuers if request.param == "with an issuer" else {}))
    wait_until_it_answers(server)
    whole = {"needs": ["youth"], "units": ["north"], "person_id": PERSON}
    server.tokens = {role: provider.token(role=role, exp=4_000_000_000, **whole) for role in ROLES}
    server.tokens |= {"nobody": None, "a bad token": "x.y.z"}
    server.pool = ThreadPoolExecutor(6)  # no more batches at a time than are taken
    server.first = score(server)
    assert server.first.status_code == 200, server.first.text
    before = memory_of(server)
    yield server
    server.pool.shutdown()
    assert score(server).json() == server.first.json()
    assert memory_of(server) - before < MOST_GROWTH_MB
    code, said = stop(server)
    assert code == 0, said[-3000:]
    for word in ("Traceback", "Error at", PERSON, "canary"):
        assert word not in said


def who(server, name):
    """The headers of somebody, with a purpose."""
    token = server.tokens[name]
    return PURPOSE if token is None else {**PURPOSE, "authorization": f"Bearer {token}"}


def score(server):
    body = {"need": "youth", "as_of_date": str(AS_OF), "person_id": PERSON, "reasons": False}
    return httpx.post(f"{server.url}/score", json=body, headers=who(server, "system"), timeout=60)


def ask_all(server, requests):
    """The status of every request, from several threads with a connection each; -1 where it was ended."""
    kept = threading.local()

    def once(method, path, headers, body):
        line = getattr(kept, "line", None)
        if line is None:
            kept.line = line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            answer.read()
            return answer.status
        except (http.client.HTTPException, OSError):
            line.close()
            return -1

    def ask(request):  # once more on a new connection: an idle one is ended, and then nothing was asked
        status = once(*request)
        return status if status != -1 else once(*request)

    return list(server.pool.map(ask, requests))


# ---- pickles -----------------------------------------------------------------------------------------------------


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, path, shell=False):
        self.made = (os.system, (f"touch {path}",)) if shell else (open, (str(path), "w"))

    def __reduce__(self):
        return self.made


def pickles(path):
    """A pickle by each protocol that writes a file, in turn by Python and by the shell."""
    return [pickle.dumps(Canary(path, shell=protocol % 2 == 1), protocol) for protocol in range(6)]


def form_of(kind, content):
    """A form with a part of some kind for every name that anything was ever called."""
    parts = []
    for name in ("need", "person_id", "file", "args", "__root__", "data"):
        for more in ("", f'; filename="{name}.pkl"'):
            said = f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\nContent-Type: {kind}\r\n'
            parts.append(said.encode() + b"Payload-Container: DefaultContainer\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + b"--x--\r\n"


PICKLED = "application/vnd.bentoml+pickle"
META = {"format": "default", "with_buffer": True, "buffer-length": 1, "indices": [0, 1], "pickle_bytes_str": ""}
KINDS = (
    *(PICKLED, f"{PICKLED}; charset=x", PICKLED.upper(), "application/vnd.bentoml.pickle", "application/pickle"),
    *("application/x-pickle", "application/python-pickle", "application/octet-stream", "application/x-npy", ""),
    *("application/json", "application/json; application/vnd.bentoml+pickle", "text/plain", ARROW, "image/*"),
    *("application/vnd.bentoml.multipart+pickle", "application/vnd.apache.parquet"),
)
CONTAINERS = ("NdarrayContainer", "PandasDataFrameContainer", "PILImageContainer", "DefaultContainer")


def selections(content):
    """Headers and body in every way in which BentoML was ever told to unpickle a body."""
    for kind in KINDS:
        yield {"content-type": kind}, content
    for container, prefix in product(CONTAINERS, ("", "Bentoml-")):
        meta = {**META, "pickle_bytes_str": base64.b64encode(content).decode("ascii")}
        for meta_of, kind in (({"format": "default"}, "application/json"), (meta, PICKLED)):
            headers = {f"{prefix}Payload-Container": container, f"{prefix}Payload-Meta": json.dumps(meta_of)}
            yield {**headers, "args-number": "1", "Batch-Size": "-1", "content-type": kind}, content
    yield {"args-number": "2", "content-type": PICKLED, "Runner-Name": "x"}, content
    for kind in (PICKLED, "application/octet-stream", "application/json"):
        yield {"content-type": "multipart/form-data; boundary=x"}, form_of(kind, content)
        yield {"content-type": "multipart/mixed; boundary=x"}, form_of(kind, content)
    quoted = json.dumps({"need": base64.b64encode(content).decode("ascii"), "__pickle__": True})
    yield {"content-type": "application/json"}, quoted.encode()


def pickled_requests(server, canary, every):
    """Every path with every selection, by each protocol in turn: as everybody, or as each of them in turn."""
    askers = list(server.tokens)
    chosen = [list(selections(content)) for content in pickles(canary)]
    for turn, (path, number) in enumerate(product((*OURS, *BENTOMLS), range(len(chosen[0])))):
        for place, asker in enumerate(askers if every else [askers[(turn + number) % len(askers)]]):
            headers, body = chosen[(turn + place) % len(chosen)][number]
            yield "POST" if number % 3 else "PUT", path, {**headers, **who(server, asker)}, body


def refused_without_running(server, canary, every):
    requests = list(pickled_requests(server, canary, every))
    wrong = [
        (status, *request[:2], request[2].get("content-type"))
        for request, status in zip(requests, ask_all(server, requests), strict=True)
        if not 400 <= status < 500
    ]
    assert wrong == []
    assert not canary.exists()
    for content in pickles(canary):  # so they would have written
        pickle.loads(content)  # noqa: S301 made a moment ago
        canary.unlink()


def test_pickled_bodies_are_refused_and_run_nothing(server, tmp_path):
    refused_without_running(server, tmp_path / "canary", every=False)


@pytest.mark.full
def test_nothing_is_unpickled_whoever_asks(server, tmp_path):
    refused_without_running(server, tmp_path / "canary", every=True)


def test_a_pickle_with_a_question_that_has_no_body_is_not_looked_at(server, tmp_path):
    canary = tmp_path / "canary"
    requests = [
        ("GET", path, {**headers, **who(server, asker)}, body)
        for path, asker in product(OURS, ("nobody", "system"))
        for headers, body in list(selections(pickles(canary)[4]))[::4]
    ]
    assert set(ask_all(server, requests)) <= {200, *range(400, 500)}
    assert not canary.exists()


# ---- what is opened and fetched ----------------------------------------------------------------------------------


def test_no_other_socket_is_opened(server, provider):
    """BentoML's supervisor and runners listen on ports of their own, where bodies were unpickled."""
    listening, connected, others = sockets(server)
    assert listening == {("127.0.0.1", server.port)}
    assert connected <= {("127.0.0.1", provider.server.server_port)}
    assert others == set()


def test_nothing_that_is_named_is_fetched(server):
    """Form fields, bodies and strings that are addresses were fetched by BentoML; tokens name keys and issuers."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.5)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/secret"
        form = form_of("text/plain", url.encode())
        now = {"iss": url, "sub": "x", "aud": AUDIENCE, "exp": 4_000_000_000}
        header = {"alg": "RS256", "kid": url, "jku": url, "x5u": url, "typ": "JWT"}
        strange = [raw_token(header, now), raw_token({**header, "alg": "none"}, now, signature=b"")]
        bodies = [
            ({"content-type": "multipart/form-data; boundary=x"}, form),
            ({"content-type": "application/json"}, url.encode()),
            ({"content-type": "application/json"}, json.dumps(url).encode()),
            ({"content-type": "application/json"}, json.dumps({"url": url, "need": url, "person_id": url}).encode()),
            ({"content-type": "text/uri-list"}, url.encode()),
            ({"content-type": ARROW}, url.encode()),
        ]
        elsewhere = {"x-forwarded-host": url, "referer": url, "origin": url, "link": f"<{url}>", "forwarded": url}
        requests = [
            ("POST", path, {**headers, **elsewhere, **who(server, asker)}, body)
            for path, asker in product((*OURS, "/", "/predict"), ("nobody", "system"))
            for headers, body in bodies
        ]
        requests += [
            ("GET", path, {**PURPOSE, "authorization": f"Bearer {token}"}, None)
            for path, token in product(("/needs", "/verdict?need=youth", f"{OURS[0]}"), strange)
        ]
        requests += [("GET", f"/needs?url={url}", who(server, "system"), None)]
        found = ask_all(server, requests)
        assert not [status for status in found if status >= 500 or status < 200]
        assert all(status >= 400 for (method, *_), status in zip(requests, found, strict=True) if method == "POST")
        for target in (url, url.partition("//")[2]):
            for method in ("GET", "POST", "CONNECT"):
                assert statuses(talk(server.port, head(method, target))) == [400]
        with pytest.raises(TimeoutError):
            trap.accept()


# ---- requests that can be read in two ways -----------------------------------------------------------------------

HIDDEN = head("GET", "/livez")  # answered with 200 if it is taken for a request of its own
SENT = ("content-type: application/json",)
CHUNKED = "transfer-encoding: chunked"
UPGRADE = ("connection: upgrade", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
END = b"0\r\n\r\n"


def post(*lines, path="/score", **more):
    return head("POST", path, *SENT, *lines, **more)


SHAPES = {
    "length and chunked": post("content-length: 5", CHUNKED) + END + HIDDEN,
    "length and chunked, nowhere": post("content-length: 5", CHUNKED, path="/nowhere") + END + HIDDEN,
    "chunked and length, no body here": post(CHUNKED, "content-length: 5", path="/livez") + END + HIDDEN,
    "length and chunked, profile": post("content-length: 5", CHUNKED, path="/gdpr-api/v1/profiles/x") + END + HIDDEN,
    "two lengths": post("content-length: 2", "content-length: 3") + b"{}" + HIDDEN,
    "two lengths in one": post("content-length: 2, 3") + b"{}" + HIDDEN,
    "length with a sign": post("content-length: +2") + b"{}" + HIDDEN,
    "length below nothing": post("content-length: -1") + HIDDEN,
    "length in hexadecimal": post("content-length: 0x2") + b"{}" + HIDDEN,
    "length of many digits": post("content-length: " + "9" * 400) + HIDDEN,
    "length of nothing": post("content-length: ") + HIDDEN,
    "length in other digits": post("content-length: \xb2") + b"{}" + HIDDEN,
    "chunked, said with a space": post("transfer-encoding : chunked") + END + HIDDEN,
    "chunked, nearly": post("transfer-encoding: xchunked") + END + HIDDEN,
    "chunked, after a tab": post("transfer-encoding: \x0bchunked") + END + HIDDEN,
    "chunked twice": post(CHUNKED, CHUNKED) + END + HIDDEN,
    "chunked and packed": post("transfer-encoding: gzip, chunked") + END + HIDDEN,
    "chunked and plain": post("transfer-encoding: chunked, identity") + END + HIDDEN,
    "chunked on the next line, and a length": post("transfer-encoding:\r\n chunked", "content-length: 5")
    + END
    + HIDDEN,
    "chunked in HTTP/1.0": post(CHUNKED, version="HTTP/1.0") + END + HIDDEN,
    "lines by LF alone": b"GET /livez HTTP/1.1\nhost: x\n\n",
    "a head that ends by LF": b"GET /verdict HTTP/1.1\r\nhost: x\r\na: b\n\n" + HIDDEN,
    "a header behind a LF": b"GET /livez HTTP/1.1\r\nhost: x\r\na: b\ncontent-length: 5\r\n\r\n" + HIDDEN,
    "the second by LF alone": head("GET", "/verdict") + HIDDEN.replace(b"\r\n", b"\n"),
    "a line that goes on": b"GET /livez HTTP/1.1\r\nhost: x\r\na: b\r\n c: d\r\n\r\n",
    "a CR alone": b"GET /livez HTTP/1.1\r\nhost: x\r\na: b\rc: d\r\n\r\n",
    "a chunk of 16 digits": post(CHUNKED) + b"F" * 16 + b"\r\n{}",
    "a chunk of 40 digits": post(CHUNKED) + b"F" * 40 + b"\r\n{}",
    "a chunk below nothing": post(CHUNKED) + b"-2\r\n{}" + END,
    "a chunk by 0x": post(CHUNKED) + b"0x2\r\n{}\r\n" + END,
    "a chunk that is longer than it says": post(CHUNKED) + b"1\r\n{}\r\n" + END + HIDDEN,
    "a chunk with a long word": post(CHUNKED) + b"2;" + b"a" * 200_000 + b"\r\n{}\r\n" + END,
    "a chunk by LF alone": post(CHUNKED) + b"2\n{}\n0\n\n" + HIDDEN,
    "lines after the last chunk": post(CHUNKED) + b"0\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "HTTP/0.9, said": head("GET", "/livez", version="HTTP/0.9"),
    "HTTP/1.2": head("GET", "/livez", version="HTTP/1.2"),
    "HTTP/2.0": head("GET", "/livez", version="HTTP/2.0"),
    "HTTP/2 from the first byte": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x12\4\0\0\0\0\0" + b"\0" * 18,
    "HTTP/2 by upgrade": head("GET", "/verdict", "connection: upgrade, http2-settings", "upgrade: h2c"),
    "HTTP/11": head("GET", "/livez", version="HTTP/11"),
    "no host": head("GET", "/livez", host=""),
    "two hosts": head("GET", "/livez", "host: y"),
    "a whole address": head("GET", "http://127.0.0.1/livez"),
    "a star": head("OPTIONS", "*"),
    "a proxy": head("CONNECT", "127.0.0.1:22"),
    "an echo": head("TRACE", "/verdict"),
    "a path that is quoted": head("GET", "%2Flivez"),
    "two slashes": head("GET", "//livez"),
    "up and down": head("GET", "/verdict/../livez"),
    "up and down, quoted": head("GET", "/verdict/%2e%2e/livez"),
    "up and down, profile": head("GET", "/gdpr-api/v1/profiles/../../../livez"),
    "up and down, profile, quoted": head("GET", "/gdpr-api/v1/profiles/%2e%2e%2f%2e%2e%2f%2e%2e%2flivez"),
    "up to files": head("GET", "/../../../../etc/passwd"),
    "up to files, quoted twice": head("GET", "/%252e%252e/%252e%252e/etc/passwd"),
    "backslashes": head("GET", "/..\\..\\livez"),
    "a NUL": b"GET /livez\0 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a NUL, quoted": head("GET", "/livez%00"),
    "a NUL in a header": head("GET", "/livez", "a: b\0c"),
    "a last slash": head("GET", "/livez/"),
    "a part after a semicolon": head("GET", "/livez;a=b"),
    "another case": head("GET", "/LIVEZ"),
    "a method in small letters": head("get", "/livez"),
    "another method said": head("GET", "/verdict", "x-http-method-override: DELETE"),
    "another path said": head("GET", "/verdict", "x-original-url: /livez", "x-rewrite-url: /livez"),
    "from the machine itself": head("GET", "/verdict", "x-forwarded-for: 127.0.0.1", "forwarded: for=127.0.0.1"),
    "letters that are none": "GET /liveż HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    "a space in the path": b"GET /livez /verdict HTTP/1.1\r\nhost: x\r\n\r\n",
    "tabs": b"GET\t/livez\tHTTP/1.1\r\nhost: x\r\n\r\n",
    "20 000 headers": head("GET", "/verdict", *(f"x-{i}: y" for i in range(20_000))),
    "1000 cookies": head("GET", "/verdict", *["cookie: a=b"] * 1000),
    "a long header": head("GET", "/verdict", "x: " + "y" * 5_000_000),
    "a long path": head("GET", "/" + "x" * 1_000_000),
    "a long query": head("GET", "/verdict?" + "a=b&" * 10_000),
    "a head without end": b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,
    "a web socket by POST": post(*UPGRADE, "upgrade: websocket", "content-length: 2") + b"{}",
    "a web socket to a role's": head("GET", "/verdict", *UPGRADE, "upgrade: websocket"),
    "two tokens": head("GET", "/verdict", "authorization: Bearer a.b.c", "authorization: Bearer d.e.f"),
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"a" * 500,
    "any bytes": bytes(range(256)) * 100,
}


def is_refused(found):
    """Whether every answer refuses; none says that the connection was ended, or is about to be."""
    return all(400 <= status < 500 for status in found)


def test_what_can_be_read_in_two_ways_is_refused(server):
    assert statuses(talk(server.port, HIDDEN)) == [200]
    assert statuses(talk(server.port, head("GET", "/livez") * 3)) == [200] * 3
    assert statuses(talk(server.port, b"\r\n" + HIDDEN)) == [200]  # an empty line before is nothing (RFC 9112 §2.2)
    found = dict(zip(SHAPES, server.pool.map(lambda shape: statuses(talk(server.port, shape)), SHAPES.values())))
    assert {name: told for name, told in found.items() if not is_refused(told)} == {}


def test_a_web_socket_is_not_opened_where_anybody_may_ask(server):
    answer = talk(server.port, head("GET", "/livez", *UPGRADE, "upgrade: websocket"))
    assert statuses(answer) == [200]


@pytest.mark.parametrize("late", [b"zzz\r\n", b"5\r\nab", b"\0" * 100, HIDDEN], ids=["no chunk", "half", "NUL", "more"])
def test_a_body_that_turns_out_to_be_none_ends_the_connection_once_it_is_answered(server, late):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head("GET", "/livez", CHUNKED))
        answer = line.recv(65536)
        line.sendall(late)
        line.settimeout(1.0)
        with contextlib.suppress(OSError):
            answer += line.recv(65536)
    assert statuses(answer) == [200]
    assert httpx.get(f"{server.url}/livez").status_code == 200


def test_many_connections_that_say_nothing_keep_nobody_away(server):
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    try:
        for number, line in enumerate(lines):
            line.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: "[: number % 40])
        assert score(server).json() == server.first.json()
    finally:
        for line in lines:
            line.close()


# ---- bodies ------------------------------------------------------------------------------------------------------


def stream(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


PLAIN = stream(pa.table({"person_id": [PERSON, "ä", "no such person", "b" * 40]}))
FORGED = (0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000000, 0)


def arrow_requests(server, bodies):
    headers = {"content-type": ARROW, **who(server, "system")}
    return [("POST", BATCH, headers, body) for body in bodies]


def test_a_forged_length_anywhere_in_an_arrow_stream_is_refused_or_harmless(server):
    """Every word of four bytes of a good stream in turn becomes a length that lies."""
    bodies = []
    for place, word in product(range(0, len(PLAIN) - 3, 4), FORGED):
        forged = word.to_bytes(4, "little")
        if (place // 4 + word) % 2 == 0 or place < 16:  # half of them, and all of the first
            bodies.append(PLAIN[:place] + forged + PLAIN[place + 4 :])
    assert ask_all(server, arrow_requests(server, [PLAIN])) == [200]
    assert set(ask_all(server, arrow_requests(server, bodies))) <= {200, 413, 422}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    st.integers(0, len(PLAIN)),
    st.binary(max_size=40),
)
def test_an_arrow_stream_with_any_bytes_changed_is_refused_or_harmless(server, changes, cut, more):
    bodies = []
    body = bytearray(PLAIN)
    for place, new in changes:
        body[place : place + len(new)] = new
        bodies.append(bytes(body))
    bodies += [bytes(body[:cut]), bytes(body) + more, PLAIN[:cut] + more + PLAIN[cut:]]
    assert set(ask_all(server, arrow_requests(server, bodies))) <= {200, 413, 422}


def zipped(content):
    with zipfile.ZipFile(sink := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("body.json", content)
    return sink.getvalue()


def test_what_unfolds_is_not_unfolded(server):
    zeros = b"0" * 50_000_000
    folded = {"gzip": gzip.compress(zeros), "zip": zipped(zeros)}
    deep = [
        b"[" * 500_000,
        b'{"a":' * 500_000,
        b'{"need":"' + b"\\u0000" * 500_000 + b'"}',
        b"[" + b"0," * 1_900_000 + b"0]",
    ]
    before = memory_of(server)
    requests = []
    for path, asker in product(("/score", BATCH), ("nobody", "system")):
        for kind, coding in product(
            ("application/json", ARROW, "application/zip"), ("", "gzip", "deflate", "br", "zstd")
        ):
            for content in folded.values():
                headers = {"content-type": kind, **({"content-encoding": coding} if coding else {})}
                requests.append(("POST", path, {**headers, **who(server, asker)}, content))
        requests += [("POST", path, {"content-type": "application/json", **who(server, asker)}, body) for body in deep]
    assert all(400 <= status < 500 for status in ask_all(server, requests))
    assert memory_of(server) - before < MOST_GROWTH_MB


def test_a_body_of_a_profile_s_question_is_refused_whatever_it_is(server):
    for method in ("GET", "DELETE", "POST"):
        for kind in KINDS[:6]:
            headers = {"content-type": kind, **who(server, "resident")}
            found = ask_all(server, [(method, f"/gdpr-api/v1/profiles/{PERSON}", headers, b"\x80\x05.")])
            assert 400 <= found[0] < 500
