"""What the gate's evidence about the inside of a model costs: seconds per part, and all of it together.

    python tests/benchmarks/bench_evidence.py [--rows 50000] [--columns-from youth_exclusion] [--threads 1]

Rows are invented: persons at four dates with the columns of a need that comes with Ennakko (windowed counts, mostly 0;
values of which half are missing), 8 % in need; as many rows are judged. CPU seconds and wall clock per part; imports
and compiling left out. One JSON line per part, then one for the whole with its target.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

DATES = [date(2024, month, 1) for month in (1, 4, 7, 10)]
SEED = 1
LIMIT_S = 90.0


def world(need: Any, n_rows: int, days: list[date], seed: int) -> Any:
    """A matrix of the need's columns; need follows the first ten of them and the age."""
    from features.matrix import Matrix

    rng = np.random.default_rng(seed)
    n_persons = n_rows // len(days)
    n, p = n_persons * len(days), len(need.columns)
    hidden = np.tile(rng.normal(size=n_persons), len(days))
    X = np.empty((n, p), dtype=np.float32)
    for j in range(p):
        if j % 3 < 2:
            X[:, j] = rng.poisson(np.exp(-1.8 + 0.6 * (j < 10) * hidden))
        else:
            X[:, j] = np.round(0.5 * (j < 10) * hidden + rng.normal(size=n), 2)
            X[rng.random(n) < 0.5, j] = np.nan
    X[:, -1] = np.round(rng.uniform(16, 29, n), 3)
    logit = -3.0 + hidden + 0.1 * (X[:, -1] - 22)
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    ids = [f"{seed}-{i:07d}" for i in range(n_persons)] * len(days)
    keys = pl.DataFrame({"person_id": ids, "as_of_date": [day for day in days for _ in range(n_persons)]})
    return Matrix(keys, X, need.columns, y)


def bench(n_rows: int, need_id: str) -> list[dict[str, Any]]:
    """Seconds per part, by the words that the work itself says before each."""
    from models.gate_evidence import inside_evidence
    from models.need import NEEDS, load_need
    from models.training import train

    need = load_need(NEEDS / f"{need_id}.toml")
    training, judged = world(need, n_rows, DATES, 1), world(need, n_rows, [date(2025, 6, 1)], 2)
    clock = time.process_time()
    model = train(training, need, SEED)
    train_s = time.process_time() - clock
    small = {"training": world(need, 2000, DATES, 3), "k": 100, "seed": SEED}
    inside_evidence(train(small["training"], need, SEED), world(need, 500, [date(2025, 6, 1)], 4), **small)  # compiles
    marks: list[tuple[str, float, float]] = []

    def step(text: str, *_counted: int) -> None:
        marks.append((text.split(": ", 1)[1], time.process_time(), time.perf_counter()))

    found = inside_evidence(model, judged, training=training, k=len(judged.X) // 8, seed=SEED, step=step)
    step("x: end")
    spent: dict[str, list[float]] = {}
    for (text, cpu, wall), (_, next_cpu, next_wall) in pairwise(marks):
        so_far = spent.setdefault(text, [0.0, 0.0])
        so_far[0] += next_cpu - cpu
        so_far[1] += next_wall - wall
    size = f"{n_rows:,} rows × {len(need.columns)} columns, {need_id}"
    lines: list[dict[str, Any]] = [
        {"bench": "evidence", "size": size, "part": part, "cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
        for part, (cpu, wall) in spent.items()
    ]
    cpu, wall = (sum(part[i] for part in spent.values()) for i in (0, 1))
    whole = {"bench": "evidence", "size": size, "part": "all", "cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
    whole |= {"train_s": round(train_s, 2), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    shown = {
        "membership_auc": found["membership"][0]["auc"],
        "reason_overlap": found["reason_stability"]["overlap"],
        "noise_overlap": found["robustness"]["overlap"],
    }
    whole |= {name: None if value is None else round(value, 3) for name, value in shown.items()}
    return [*lines, {**whole, "target": f"cpu_s <= {LIMIT_S:g}", "met": cpu <= LIMIT_S}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--columns-from", default="youth_exclusion")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(chosen.threads), "NUMBA_NUM_THREADS": str(chosen.threads)}
    for line in bench(chosen.rows, chosen.columns_from):
        print(json.dumps(line))
