"""How long intervals take: every measure of ``evaluate`` and the curves, 1 000 replicates of persons on a million rows.

``python tests/benchmarks/bench_metrics.py [--rows 1000000] [--profile]`` prints one JSON line per case, each run in a
process of its own on at most two threads: wall and CPU seconds, preparation included and compiling not, and the most
memory. ``--profile`` also says what the parts of one replicate cost on one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from worker import peak_mb

from models import metrics
from models.binned_gaps import calibrated_rows
from models.curves import k_curve, net_benefit, reliability
from models.metric_kernels import _add_terms, _bin_gaps, _draw, _rank_measures

MOST_S = 10.0
THREADS = 2
ROWS = 1_000_000
REPLICATES = 1000


def world(n: int, *, periods: int, text: bool) -> dict[str, Any]:
    """Rows of a calibrated model: every person once in each period, in any order."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n) - 2
    probability = 1 / (1 + np.exp(-z))
    person = rng.permutation(n) % (n // periods)
    return {
        "label": (rng.random(n) < probability).astype(float),
        "rank_score": z,
        "probability": probability,
        "person": np.array([f"{i:07d}" for i in person], dtype=object) if text else person,
        "period": np.arange(n) // (n // periods),
        "weight": 1 / (1 - 0.5 * probability),
        "k": max(n // 100 // periods, 1),
        "seed": 1,
    }


def _evaluate(rows: dict[str, Any], *leave: str) -> Callable[[int], object]:
    given = {name: value for name, value in rows.items() if name not in leave}
    return lambda replicates: metrics.evaluate(**given, replicates=replicates)


def _curve(made: Callable[..., object], rows: dict[str, Any], *take: str) -> Callable[[int], object]:
    given = {name: rows[name] for name in ("label", "person", "seed", *take)}
    return lambda replicates: made(**given, replicates=replicates)


CASES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Callable[[int], object]], int]] = {
    "evaluate, persons once, numbers as ids": (
        {"periods": 1, "text": False},
        lambda rows: _evaluate(rows, "weight", "period"),
        REPLICATES,
    ),
    "evaluate, persons once, texts as ids": (
        {"periods": 1, "text": True},
        lambda rows: _evaluate(rows, "weight", "period"),
        REPLICATES,
    ),
    "evaluate, four periods": ({"periods": 4, "text": False}, lambda rows: _evaluate(rows, "weight"), REPLICATES),
    "evaluate, persons once, weighted": ({"periods": 1, "text": False}, _evaluate, REPLICATES),
    "k_curve": (
        {"periods": 1, "text": False},
        lambda rows: _curve(k_curve, rows, "rank_score"),
        200,
    ),
    "reliability": ({"periods": 1, "text": False}, lambda rows: _curve(reliability, rows, "probability"), REPLICATES),
    "net_benefit": ({"periods": 1, "text": False}, lambda rows: _curve(net_benefit, rows, "probability"), 200),
}


def measure(name: str, n: int) -> dict[str, Any]:
    """One case in this process."""
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))
    shape, made, replicates = CASES[name]
    for rows in (400, 20_000):  # compiles both ways to calibrate
        made(world(rows, **shape))(2)
    run = made(world(n, **shape))
    wall, cpu = time.perf_counter(), time.process_time()
    run(replicates)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "bench": name,
        "size": f"{n:,} rows, {replicates:,} replicates, {numba.get_num_threads()} threads",
        "ours_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "peak_mb": peak_mb(),
        "target": f"ours_s ≤ {MOST_S:g}",
        "met": wall <= MOST_S,
    }


def profile(n: int, runs: int = 8) -> dict[str, Any]:
    """CPU milliseconds of the parts of a replicate, one thread."""
    given = world(n, periods=1, text=False)
    rows, order = metrics.ranked_rows(given["label"], given["rank_score"], given["person"], None, None)
    calibrated, errors = calibrated_rows(rows, given["probability"][order])
    counts, scale, out = np.zeros((runs, rows.n_people), dtype=np.uint8), np.ones(1), np.empty(5)
    gaps = np.empty(errors.size)
    parts: dict[str, Callable[[int], object]] = {
        "draw": lambda r: _draw(counts[r], 1, r + 1),
        "rank": lambda r: _rank_measures(rows, counts[r], scale, float(given["k"]), out),
        "bins": lambda r: _bin_gaps(calibrated, counts[r], gaps),
    }
    found = {}
    for name, part in parts.items():
        part(0)
        cpu = time.process_time()
        for r in range(runs):
            part(r)
        found[f"{name}_ms"] = round((time.process_time() - cpu) / runs * 1000, 2)
    sums = np.zeros((runs, 8))
    _add_terms(calibrated.terms, counts, sums)
    cpu = time.process_time()
    _add_terms(calibrated.terms, counts, sums)  # the replicates of a batch share the pass
    found["newton_ms"] = round((time.process_time() - cpu) / runs * 1000, 2)
    return {"bench": "parts of a replicate", "size": f"{n:,} rows, 1 thread", **found}


def main() -> None:
    """Print one JSON line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--profile", action="store_true", help="also the parts of one replicate")
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(given.case, given.rows), ensure_ascii=False))
        return
    for name in CASES:
        command = [sys.executable, str(Path(__file__)), "--case", name, "--rows", str(given.rows)]
        subprocess.run(command, check=True)
    if given.profile:
        print(json.dumps(profile(given.rows)))


if __name__ == "__main__":
    main()
