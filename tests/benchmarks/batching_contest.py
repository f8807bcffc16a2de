"""Adaptive batching beside none: one service of BentoML, one model, two endpoints that differ in ``batchable`` alone.

The model is a large one (500 trees of 63 leaves on 300 columns), for which scoring rows together saves the most; its
rows come in the body, one for each request. Both endpoints are asked by as many connections at a time, in turns, and by
a steady rate at half of what the one without batching can take.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

SERVICE = """
from pathlib import Path

import bentoml
import numpy as np
from scoring.forest import Forest

FOREST = Forest(Path("trees.txt").read_bytes())


def scored(rows):
    return FOREST.raw_scores(np.asarray(rows, np.float32), threads=1).tolist()


scored(np.zeros((1, {columns})))


@bentoml.service{settings}
class Empty:
    @bentoml.api
    async def alone(self, rows: list[list[float]]) -> list[float]:
        return scored(rows)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    async def together(self, rows: list[list[float]]) -> list[float]:
        return scored(rows)
"""
COLUMNS, CATEGORICAL, TREES, ROWS = 300, 20, 500, 200


def write_model(folder: Path) -> None:
    """The model's text, where the service finds it."""
    from bench_scoring import booster_of

    (folder / "trees.txt").write_text(booster_of(COLUMNS, CATEGORICAL, TREES).model_to_string())


def bodies_of() -> list[bytes]:
    """Rows, one for each request."""
    rows = np.random.default_rng(7).normal(size=(ROWS, COLUMNS)).round(3).tolist()
    return [json.dumps({"rows": [row]}).encode() for row in rows]


def same(url: str, bodies: list[bytes]) -> bool:
    """Whether both endpoints answer alike, to the bit."""
    kind = {"content-type": "application/json"}
    with httpx.Client() as client:
        told = [
            [client.post(f"{url}/{path}", content=body, headers=kind).json() for body in bodies[:50]]
            for path in ("alone", "together")
        ]
    return told[0] == told[1]


def contest(server: Any, request: Callable[..., str], asks: Callable[..., dict[str, float]], runs: int) -> None:
    """Print the lines.

    Parameters
    ----------
    server
        Runs :data:`SERVICE`.
    request
        ``(method, path, body, **headers)`` → a request as the load process sends it.
    asks
        ``(requests, connections, rate)`` → what a load gave: ``per_second``, ``p50``, ``p99``, ``cpu`` for an answer,
        and ``refused``, the share that was.
    runs : int
    """
    bodies = bodies_of()
    equal = same(server.url, bodies)
    asked = {
        path: [request("POST", f"/{path}", body, content_type="application/json") for body in bodies]
        for path in ("alone", "together")
    }
    most = 0.0
    for connections, share in ((1, 0.0), (8, 0.0), (32, 0.0), (32, 0.5)):
        rate = share * most
        found: dict[str, list[dict[str, float]]] = {path: [] for path in asked}
        for run in range(runs + 1):
            for path, requests in asked.items():
                told = asks(requests, connections, rate)
                if run:
                    found[path].append(told)
        how = f"at {rate:.0f} a second" if rate else "as fast as answered"
        line: dict[str, Any] = {"bench": "serving: adaptive batching", "size": f"{connections} connections, {how}"}
        for path, several in found.items():
            for name, unit in (("per_second", 1.0), ("p50", 1e3), ("p99", 1e3), ("cpu", 1e3), ("refused", 1.0)):
                label = f"{name}_ms" if unit == 1e3 else name
                line[f"{path}_{label}"] = round(unit * statistics.median(told[name] for told in several), 3)
        most = line["alone_per_second"] if not rate else most
        print(json.dumps({**line, "equal": equal}), flush=True)
