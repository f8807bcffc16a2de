"""Load on an HTTP server from a process of its own: as fast as it answers, or at a steady rate; JSON in, JSON out.

The task on standard input: ``port``, ``seconds``, ``connections``, ``requests`` (raw bytes in base64, asked in turn),
and ``rate`` (requests a second; as fast as answers come without it). Connections are kept alive. Under a rate a request
is due at its moment whether or not the one before was answered, and its time counts from that moment,
so that a stall is not hidden by asking less.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """One request on a connection; the status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length:") + 15
    await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    return int(head[9:12])


async def closed(task: dict[str, Any], requests: Iterator[bytes], found: list[tuple[float, int]]) -> None:
    """One connection that asks again as soon as it is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", task["port"], limit=2**26)
    until = time.perf_counter() + task["seconds"]
    while (begun := time.perf_counter()) < until:
        status = await ask(reader, writer, next(requests))
        found.append((time.perf_counter() - begun, status))
    writer.close()


async def open_rate(task: dict[str, Any], requests: Iterator[bytes], found: list[tuple[float, int]]) -> None:
    """Requests at their moments, on whichever connection is free."""
    due: asyncio.Queue[float | None] = asyncio.Queue()

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", task["port"], limit=2**26)
        while (moment := await due.get()) is not None:
            status = await ask(reader, writer, next(requests))
            found.append((time.perf_counter() - moment, status))
        writer.close()

    workers = [asyncio.create_task(worker()) for _ in range(task["connections"])]
    begun = time.perf_counter()
    for number in range(int(task["seconds"] * task["rate"])):
        moment = begun + number / task["rate"]
        if (wait := moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(moment)
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)


async def main(task: dict[str, Any]) -> dict[str, Any]:
    """Run a task; requests a second, quantiles of the time of an answer in seconds, statuses."""
    requests = cycle([base64.b64decode(request) for request in task["requests"]])
    found: list[tuple[float, int]] = []
    begun = time.perf_counter()
    if task.get("rate"):
        await open_rate(task, requests, found)
    else:
        await asyncio.gather(*(closed(task, requests, found) for _ in range(task["connections"])))
    seconds = time.perf_counter() - begun
    times = sorted(time for time, _ in found)
    statuses: dict[str, int] = {}
    for _, status in found:
        statuses[str(status)] = statuses.get(str(status), 0) + 1
    quantiles = {f"p{q:g}": times[min(len(times) - 1, int(len(times) * q / 100))] for q in (50, 90, 99, 99.9)}
    return {"n": len(found), "per_second": len(found) / seconds, "statuses": statuses, **quantiles, "most": times[-1]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
