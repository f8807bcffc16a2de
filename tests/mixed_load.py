"""Mixed load on a running service from a process of its own; every answer is compared with what it must be, to the bit.

A task comes on standard input as JSON, what was found goes to standard output: see :func:`main`. Under a rate a request
is due at its moment whether or not the one before was answered, and its time counts from that moment.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from io import BytesIO
from itertools import count

import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
TURNS = (["one"] * 11 + ["reasons", "one", "many", "one", "arrow", "one", "needs", "one", "one", "one"]) * 2
MANY = 40
MOST_WRONG = 5
AGAIN_S, LATE_S = 0.02, 20.0
"""Seconds between two tries to connect, and for which what could not be asked in time is still asked."""


class Broken(Exception):
    """The connection ended before the answer was whole."""


class Line:
    """A connection that is kept, and opened anew when it is gone."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def ask(self, request):
        """Status, headers and body of the answer; raises Broken once the request is under way."""
        if self.reader is None or self.reader.at_eof():
            await self._open()
        try:
            self.writer.write(request)
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            body = await self.reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        except (OSError, asyncio.IncompleteReadError):
            self.reader = None
            raise Broken from None
        if b"connection: close" in head:
            self.writer.close()
            self.reader = None
        return int(head[9:12]), body

    async def _open(self):
        """To whichever worker takes it; the listening socket is there as long as the service is."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)


class Load:
    """What is asked, and what was found; ``task`` as :func:`main` has it."""

    def __init__(self, task):
        self.task, self.people = task, task["people"]
        self.turns = count()
        self.times, self.broken, self.wrong, self.unasked = [], [], [], 0
        self.statuses, self.models = Counter(), Counter()

    def request(self):
        """The next request: its kind, whom it is about, its bytes."""
        turn = next(self.turns)
        kind = TURNS[turn % len(TURNS)]
        at = turn * 7 % len(self.people)
        about = [self.people[(at + i) % len(self.people)] for i in range(MANY if kind in ("many", "arrow") else 1)]
        asked = {"need": self.task["need"], "as_of_date": self.task["day"]}
        method, path, said, body = "POST", "/score", "application/json", b""
        if kind == "needs":
            method, path = "GET", "/needs"
        elif kind == "arrow":
            path, said = f"/score_batch?need={asked['need']}&as_of_date={asked['as_of_date']}", ARROW
            body = stream(about)
        elif kind == "many":
            path, body = "/score_batch", json.dumps({**asked, "person_ids": about}).encode()
        else:
            body = json.dumps({**asked, "person_id": about[0], "reasons": kind == "reasons"}).encode()
        token = self.task["tokens"][turn % len(self.task["tokens"])]
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {token}", "x-purpose: a test"]
        lines += [f"content-type: {said}", f"content-length: {len(body)}"] if body else []
        return kind, about, "\r\n".join([*lines, "", ""]).encode() + body

    async def one(self, line, due):
        """One request, asked and looked at."""
        kind, about, request = self.request()
        try:
            status, body = await line.ask(request)
        except Broken:
            self.broken.append(time.time())
            return
        except OSError as error:  # nobody takes a connection: that is no part of what may happen
            self.statuses[f"{kind} {type(error).__name__}"] += 1
            await asyncio.sleep(AGAIN_S)
            return
        self.times.append(time.perf_counter() - due)
        self.statuses[f"{kind} {status}"] += 1
        if fault := f"status {status}" if status != 200 else self.fault(kind, about, body):
            self.wrong.append(f"{kind}: {fault}: {body[:300]!r}")

    def fault(self, kind, about, body):
        """What is wrong with an answer; nothing when it is exactly that of the model it names."""
        if kind == "needs":
            return "" if [need["need"] for need in json.loads(body)["needs"]] == [self.task["need"]] else "needs"
        if kind == "arrow":
            table = pa.ipc.open_stream(body).read_all()
            told = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
            told["rows"] = table.to_pylist()
        else:
            told = json.loads(body)
        digest = told["model_digest"]
        verdict_id, scores = self.task["of"][digest]
        self.models[digest] += 1
        if told["verdict_id"] != verdict_id:
            return "the verdict is not the model's"
        if kind == "reasons" and not told["reasons"]:
            return "no reasons"
        rows = told.get("rows", [told])
        same = [(row["person_id"], row["score"]) for row in rows] == [(person, scores[person]) for person in about]
        return "" if same else "a score is not the model's"

    def found(self, seconds):
        """What is told at the end."""
        times = sorted(self.times)
        quantile = {f"p{q}": times[min(len(times) - 1, len(times) * q // 100)] for q in (50, 99)}
        return {
            "unasked": self.unasked,
            "asked": sum(self.statuses.values()) + len(self.broken),
            "per_second": len(times) / seconds,
            "statuses": self.statuses,
            "models": self.models,
            "broken": self.broken,
            "n_wrong": len(self.wrong),
            "wrong": self.wrong[:MOST_WRONG],
            **quantile,
            "most": times[-1],
        }


def stream(person_ids):
    """Ids as an Arrow IPC stream."""
    table, sink = pa.table({"person_id": person_ids}), BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


async def as_fast_as_answered(load, task):
    """Each connection asks again once it is answered."""
    until = time.perf_counter() + task["seconds"]

    async def connection():
        line = Line(task["port"])
        while (now := time.perf_counter()) < until:
            await load.one(line, now)

    await asyncio.gather(*(connection() for _ in range(task["connections"])))


async def at_a_rate(load, task):
    """Requests at their moments, on whichever connection is free."""
    due = asyncio.Queue()

    async def connection():
        line = Line(task["port"])
        while (moment := await due.get()) is not None:
            if time.perf_counter() < last:
                await load.one(line, moment)
            else:
                load.unasked += 1

    begun = time.perf_counter()
    last = begun + task["seconds"] + LATE_S
    connections = [asyncio.create_task(connection()) for _ in range(task["connections"])]
    for number in range(int(task["seconds"] * task["rate"])):
        moment = begun + number / task["rate"]
        if (wait := moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(moment)
    for _ in connections:
        due.put_nowait(None)
    await asyncio.gather(*connections)


def main():
    """The task: port, seconds, connections, rate (0: as fast as answered), need, day, people, tokens, and ``of``.

    ``of`` is, for the digest of each model that may answer, the id of its verdict and the score of every person.
    """
    task = json.load(sys.stdin)
    load = Load(task)
    begun = time.perf_counter()
    asyncio.run((at_a_rate if task["rate"] else as_fast_as_answered)(load, task))
    print(json.dumps(load.found(time.perf_counter() - begun)))


if __name__ == "__main__":
    main()
