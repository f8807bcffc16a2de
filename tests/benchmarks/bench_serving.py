"""The HTTP service on loopback, as JSON lines: ``make bench-serving``.

Real servers, each in a process of its own on one core, and the load from another process on the other. An empty
endpoint of BentoML as ``bentoml serve`` ships it, and the lean one: an empty route of Starlette in a service of BentoML
by our service's settings (OpenTelemetry excluded, access log and BentoML's metrics off), which is what ours is. One
person without reasons, bare (no token, no purpose, no audit line) and of a day whose scores are ready. As a stricter
measure, without a target, the emptiest endpoint there can be behind our own door, which has passed BentoML's layers by:
it reads the same body, answers nothing, and is logged and counted as every request is. Batches of a thousand as JSON
and as Arrow; a hundred thousand rows over HTTP beside the same call in this process; and one person with token, purpose
and audit line on disk, at half of the rate at which it saturates. Contestants in turns, medians of ``--runs`` runs.
Beside the rates, the CPU seconds that the server's processes spent for an answer are told, since a machine that others
use too changes rates more than it changes these. Answers are compared before they are timed.

``--batching`` runs one comparison instead: adaptive batching (docs/adr/0036).
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import httpx  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
from contest import line  # noqa: E402
from sealed_world import AS_OF, TRAIN, World  # noqa: E402
from served import free_port, start, stop, wait_until_it_answers  # noqa: E402

from features.city import open_city  # noqa: E402
from serving.exchange import ARROW  # noqa: E402

SHIPPED = """
import bentoml


@bentoml.service
class Empty:
    @bentoml.api
    def empty(self) -> str:
        return ""
"""
LEAN = """
import bentoml
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def empty(request):
    await request.body()
    return PlainTextResponse("")


@bentoml.asgi_app(Starlette(routes=[Route("/empty", empty, methods=["POST"])]), path="/")
@bentoml.service{settings}
class Empty:
    pass
"""
SETTINGS = '(metrics={"enabled": False}, logging={"access": {"enabled": False}}, tracing={"excluded_urls": ".*"})'
TOKENS = {"bench": {"role": "system", "needs": ["*"]}}
FAST = {"TEST_LIMITS": json.dumps({"rate": 1e9, "burst": 1e9}), "POLARS_MAX_THREADS": "1"}
CONNECTIONS = 8
READY_S = 0.006
PROCESSORS = sorted(os.sched_getaffinity(0))


def write_city(folder: Path, n: int) -> Path:
    """A city of ``n`` persons, like the one of the tests, made at once."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    ids = np.array([f"{i:06d}" for i in range(n)])
    born = np.datetime64("1998-01-01") + rng.integers(0, 365 * 8, n)
    pl.DataFrame({"person_id": ids, "birth_date": born.astype("datetime64[D]")}).write_parquet(
        folder / "persons.parquet"
    )
    parts = []
    for year, centre in ((2023, TRAIN), (2024, AS_OF)):
        risk = rng.gamma(1.0, 2.0, n)
        who = np.repeat(np.arange(n), rng.poisson(risk))
        parts.append((ids[who], np.datetime64(centre) - rng.integers(1, 200, who.size), "school.absence.unexcused"))
        who = np.flatnonzero(rng.random(n) < 0.7)
        parts.append((ids[who], np.datetime64(centre) - rng.integers(1, 300, who.size), "health.pressure"))
        if year == 2023:
            who = np.flatnonzero(rng.random(n) < 1 / (1 + np.exp(2.5 - 0.6 * risk)))
            parts.append((ids[who], np.datetime64(centre) + rng.integers(5, 150, who.size), "status.neet"))
    frames = [
        pl.DataFrame({"person_id": who, "event_date": day.astype("datetime64[D]")}).with_columns(
            code=pl.lit(code), value=pl.lit(120.0 if code == "health.pressure" else None, pl.Float64)
        )
        for who, day, code in parts
    ]
    pl.concat(frames).write_parquet(folder / "events.parquet")
    (folder / "city.toml").write_text("extract_date = 2024-06-30\n")
    return folder


def request(method: str, path: str, body: bytes = b"", **headers: str) -> str:
    """A request as the load process sends it."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items()),
    ]
    lines += [f"content-length: {len(body)}"] if body else []
    return base64.b64encode("\r\n".join([*lines, "", ""]).encode() + body).decode()


def load(port: int, requests: list[str], seconds: float, connections: int = CONNECTIONS, rate: float = 0.0) -> Any:
    """Load from a process of its own, on the last processor where there are several."""
    task = {"port": port, "requests": requests, "seconds": seconds, "connections": connections, "rate": rate}
    command, content = [sys.executable, str(HERE / "load.py")], json.dumps(task)
    return json.loads(
        subprocess.run(
            command, input=content, stdout=subprocess.PIPE, check=True, text=True, preexec_fn=_on_last_processor
        ).stdout
    )


def _on_last_processor() -> None:
    os.sched_setaffinity(0, {PROCESSORS[-1]})


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of those it has started."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0.0
    for each in [pid, *_children(pid)]:
        cells = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(cells[11]) + int(cells[12])) / tick
    return total


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


class Contestant:
    """What is asked of a server, and what its runs gave."""

    def __init__(self, name: str, server: Any, requests: list[str]) -> None:
        self.name, self.server, self.requests = name, server, requests
        self.runs: list[dict[str, float]] = []

    def run(self, seconds: float, connections: int = CONNECTIONS) -> None:
        """As fast as it answers."""
        before = cpu_of(self.server.process.pid)
        found = load(self.server.port, self.requests, seconds, connections)
        cpu = cpu_of(self.server.process.pid) - before
        assert set(found["statuses"]) == {"200"}, (self.name, found["statuses"])
        self.runs.append({"per_second": found["per_second"], "cpu": cpu / found["n"]})

    def median(self, what: str) -> float:
        """Median of the runs."""
        return statistics.median(run[what] for run in self.runs)


def tell(bench: str, size: str, ours: Contestant, rival: Contestant, target: str, **more: Any) -> None:
    """A line whose ratio is of rates, with that of CPU seconds beside it."""
    rates = ours.median("per_second"), rival.median("per_second")
    cpu = ours.median("cpu"), rival.median("cpu")
    more |= {"per_second": rates[0], "rival_per_second": rates[1], "ratio_cpu": cpu[1] / cpu[0]}
    told = line(bench, size, rival.name, 1 / rates[0], 1 / rates[1], target, **more)
    print(json.dumps(told), flush=True)


def stream(**columns: Any) -> bytes:
    """A table as an Arrow IPC stream."""
    table, sink = pa.table(columns), BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def bench_one(world: World, ids: list[str], runs: int, seconds: float) -> None:
    """The default empty endpoint, the lean one, and one person bare."""
    ours = start(world, TEST_EMPTY="1", **FAST)
    rivals = start_bentoml(world.folder, "shipped", SHIPPED), start_bentoml(world.folder, "lean", LEAN)
    try:
        for each in (ours, *rivals):
            wait_until_it_answers(each)
        bodies = [score_body(person) for person in ids[:: max(1, len(ids) // 500)]]
        make_ready(ours, ids)
        plain = {"content_type": "application/json"}
        told = [json.dumps({**json.loads(body), "reasons": True}).encode() for body in bodies]
        default = Contestant("BentoML empty, as shipped", rivals[0], [request("POST", "/empty", b"{}", **plain)])
        lean = Contestant("lean empty", rivals[1], [request("POST", "/empty", body, **plain) for body in bodies])
        door = Contestant("empty behind our door", ours, [request("POST", "/empty", body, **plain) for body in bodies])
        bare = Contestant("one row bare", ours, [request("POST", "/score", body, **plain) for body in bodies])
        reasons = Contestant("one row with reasons", ours, [request("POST", "/score", body, **plain) for body in told])
        contestants = (default, lean, door, bare, reasons)
        for one in contestants:
            one.run(0.5)
            one.runs.clear()
        for _ in range(runs):
            for one in contestants:
                one.run(seconds)
        tell("serving: lean empty endpoint", "1 request", lean, default, "≥ 2")
        tell("serving: one row as JSON, bare", "1 row", bare, lean, "≥ 0.65", equal=same_as_scored(world, ours, ids))
        tell("serving: one row as JSON, with reasons", "1 row", reasons, lean, "")
        tell("serving: an empty endpoint behind our door", "1 request", door, default, "")
        tell("serving: one row as JSON, bare", "1 row", bare, door, "")
        bench_thousand(world, ours, ids, runs, seconds)
        bench_many(world, ours, ids, runs)
    finally:
        stop(ours)
        for rival in rivals:
            rival.process.terminate()
            rival.process.wait()


def start_bentoml(folder: Path, name: str, code: str) -> Any:
    """BentoML's own server of a service, as its users start it."""
    from types import SimpleNamespace

    (folder / f"{name}_service.py").write_text(code.replace("{settings}", SETTINGS))
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", f"{name}_service:Empty", "--port", str(port)]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / f"bentoml-{name}")}
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"], cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    said = (folder / f"{name}.out").read_text
    return SimpleNamespace(process=process, port=port, url=f"http://127.0.0.1:{port}", said=said)


def score_body(person: str, day: date = AS_OF, **more: Any) -> bytes:
    """One person, without reasons."""
    return json.dumps({"need": "youth", "as_of_date": str(day), "person_id": person, "reasons": False, **more}).encode()


def make_ready(server: Any, ids: list[str], **headers: str) -> None:
    """Ask until the day's scores are ready; one that is made when it is asked for takes ten milliseconds of CPU."""
    headers = {"content-type": "application/json", **headers}
    with httpx.Client(headers=headers, timeout=120) as client:
        for _ in range(60):
            took = []
            for person in ids[:20]:
                begun = time.perf_counter()
                client.post(f"{server.url}/score", content=score_body(person)).raise_for_status()
                took.append(time.perf_counter() - begun)
            if statistics.median(took) < READY_S:
                return
            time.sleep(1.0)
    raise AssertionError("the day does not get ready")


def same_as_scored(world: World, server: Any, ids: list[str]) -> bool:
    """Whether answers over HTTP are the scores of the whole cohort, to the bit."""
    whole = dict(world.score().frame.select("person_id", "score").iter_rows())
    kind = {"content-type": "application/json"}
    some = [person for person in ids[:: max(1, len(ids) // 100)] if person in whole]
    answers = [httpx.post(f"{server.url}/score", content=score_body(person), headers=kind).json() for person in some]
    return all(answer["score"] == whole[answer["person_id"]] for answer in answers)


def bench_thousand(world: World, server: Any, ids: list[str], runs: int, seconds: float) -> None:
    """A thousand rows as JSON and as Arrow: persons with their events, and ids alone, which cost little to read."""
    query = f"/score_batch?need=youth&as_of_date={AS_OF}"
    some = ids[:1000]
    persons = world.city.persons.filter(pl.col("person_id").is_in(some)).select("person_id", "birth_date")
    events = pl.read_parquet(world.city.folder / "events.parquet").filter(pl.col("person_id").is_in(some))
    base = {"need": "youth", "as_of_date": str(AS_OF)}
    people = [{**row, "birth_date": str(row["birth_date"])} for row in persons.to_dicts()]
    things = [{**row, "event_date": str(row["event_date"])} for row in events.to_dicts()]
    columns = {name: pa.array(events[name].to_list()) for name in events.columns}
    tables = stream(**{name: pa.array(persons[name].to_list()) for name in persons.columns}) + stream(**columns)
    for what, body, arrow, target in (
        (f"persons, {events.height} events", {**base, "persons": people, "events": things}, tables, "≤ 0.6"),
        ("ids", {**base, "person_ids": some}, stream(person_id=some), ""),
    ):
        json_body = json.dumps(body).encode()
        told = [
            httpx.post(server.url + path, content=content, headers={"content-type": kind}, timeout=60)
            for path, content, kind in (("/score_batch", json_body, "application/json"), (query, arrow, ARROW))
        ]
        equal = told[0].json()["rows"] == pa.ipc.open_stream(told[1].content).read_all().to_pylist()
        as_json = Contestant(
            "JSON", server, [request("POST", "/score_batch", json_body, content_type="application/json")]
        )
        as_arrow = Contestant("Arrow", server, [request("POST", query, arrow, content_type=ARROW)])
        for _ in range(runs):
            for one in (as_json, as_arrow):
                one.run(seconds, connections=1)
        ours, theirs = as_arrow.median("cpu"), as_json.median("cpu")
        told_line = line(
            "serving: CPU of Arrow ÷ JSON",
            f"1000 {what}",
            "JSON",
            ours,
            theirs,
            target,
            ratio=ours / theirs,
            equal=equal,
        )
        print(json.dumps(told_line), flush=True)


def bench_many(world: World, server: Any, ids: list[str], runs: int) -> None:
    """All rows over HTTP beside the same call in this process, of days that are not ready."""
    body, scorer, city = stream(person_id=ids), world.scorer, world.city
    ours, theirs, equal = [], [], True
    for number in range(runs + 1):
        day = AS_OF + timedelta(days=number + 1)
        begun = time.perf_counter()
        scores = scorer.score(city, day, world.objections, ids)
        theirs.append(time.perf_counter() - begun)
        query = {"need": "youth", "as_of_date": str(day)}
        begun = time.perf_counter()
        answer = httpx.post(
            f"{server.url}/score_batch", params=query, content=body, headers={"content-type": ARROW}, timeout=300
        )
        ours.append(time.perf_counter() - begun)
        rows = pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())
        assert isinstance(rows, pl.DataFrame)
        both = scores.frame.select("person_id", "score").join(rows, on="person_id", suffix="_http")
        equal &= both.height == scores.frame.height and bool((both["score"] == both["score_http"]).all())
    one, other = statistics.median(ours[1:]), statistics.median(theirs[1:])
    told = line("serving: a batch over HTTP", f"{len(ids)} rows", "Scorer.score", one, other, "≥ 0.8", equal=equal)
    print(json.dumps(told), flush=True)


def bench_locked(world: World, ids: list[str], runs: int, seconds: float) -> None:
    """One person with token, purpose and audit line on disk, at half of saturation."""
    server = start(world, TEST_TOKENS=json.dumps(TOKENS), **FAST)
    try:
        wait_until_it_answers(server)
        headers = {"authorization": "Bearer bench", "x-purpose": "bench"}
        make_ready(server, ids, **headers)
        plain = {"content_type": "application/json", "authorization": "Bearer bench", "x_purpose": "bench"}
        bodies = [score_body(person) for person in ids[:: max(1, len(ids) // 500)]]
        requests = [request("POST", "/score", body, **plain) for body in bodies]
        full, half = [], []
        for _ in range(runs):
            full.append(load(server.port, requests, seconds, 32)["per_second"])
            half.append(load(server.port, requests, seconds, 64, rate=full[-1] / 2))
        rate, p99 = statistics.median(full), statistics.median(run["p99"] for run in half)
        more = {"per_second": rate / 2, "p50_ms": statistics.median(run["p50"] for run in half) * 1e3}
        more |= {"p99_ms": p99 * 1e3, "most_ms": max(run["most"] for run in half) * 1e3}
        audited = world.home.audit_log.verify() == []
        target = "≤ 0.06 s at the 99th percentile"
        size = "1 row, token, purpose, audit line on disk"
        told = line("serving: half of saturation", size, "", p99, p99, target, ratio=p99, met=p99 <= 0.06, **more)
        print(json.dumps({**told, "saturation_per_second": round(rate, 1), "chain_verifies": audited}), flush=True)
    finally:
        stop(server)


def bench_batching(folder: Path, runs: int, seconds: float) -> None:
    """Adaptive batching beside none; see :mod:`batching_contest`."""
    import batching_contest

    batching_contest.write_model(folder)
    code = batching_contest.SERVICE.replace("{columns}", str(batching_contest.COLUMNS))
    server = start_bentoml(folder, "batching", code)

    def asks(requests: list[str], connections: int, rate: float) -> dict[str, float]:
        before = cpu_of(server.process.pid)
        found = load(server.port, requests, seconds, connections, rate)
        cpu = (cpu_of(server.process.pid) - before) / found["n"]
        refused = 1.0 - found["statuses"].get("200", 0) / found["n"]  # BentoML refuses what it cannot batch in time
        return {**{name: found[name] for name in ("per_second", "p50", "p99")}, "cpu": cpu, "refused": refused}

    try:
        wait_until_it_answers(server)
        batching_contest.contest(server, request, asks, runs)
    finally:
        server.process.terminate()
        server.process.wait()


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batching", action="store_true", help="adaptive batching beside none, and nothing else")
    given = parser.parse_args()
    os.sched_setaffinity(0, {PROCESSORS[0]})  # and of every server that is started from here
    with tempfile.TemporaryDirectory() as folder:
        if given.batching:
            bench_batching(Path(folder), given.runs, given.seconds)
            return
        city = open_city(write_city(Path(folder) / "city", given.rows))
        world = World(Path(folder), shared_city=city)
        world.approve()
        ids = world.score().frame["person_id"].sort().to_list()
        bench_one(world, ids, given.runs, given.seconds)
        bench_locked(world, ids, given.runs, given.seconds)


if __name__ == "__main__":
    main()
