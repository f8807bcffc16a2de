"""What training costs beside the bare fit: ``train``, scores, figures with intervals and the log, one origin.

    python tests/benchmarks/bench_training.py [--rows 200000] [--columns 500] [--runs 3] [--threads 1]

The rival is what a notebook does: bin, ``lightgbm.train`` with the very same settings on the whole matrix, predict on
the same matrix; no calibration, no figures, no record. Each run is a process of its own, in turns; CPU seconds of the
work alone (imports, compiling and opening the store left out), medians. ``equal``: the trees that are kept score every
row of the matrix to the bit as those of a bare fit to the rows they were taught with, which from a certain size on are
not all (``docs/adr/0016-calibration-of-large-cohorts.md``).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from calibration_trials import need_of
from scipy.special import expit

from features.matrix import Matrix
from models.calibration import plan_calibration
from models.need import Need
from models.training import train
from models.tree_fitting import settings_of

DATES = [date(2023, month, 1) for month in (1, 4, 7, 10)]
SEED = 1
TARGET = "ratio < 1.5"


def write_world(folder: Path, n_rows: int, n_columns: int) -> None:
    """Persons at four dates: windowed counts, mostly 0; values of which 55 % are missing; 8 % in need."""
    rng = np.random.default_rng(0)
    n_persons = n_rows // len(DATES)
    n, need = n_persons * len(DATES), rng.normal(size=n_persons)
    z = np.tile(need, len(DATES)).astype(np.float32)
    X = np.empty((n, n_columns), dtype=np.float32)
    for j in range(n_columns):
        effect = 0.5 * rng.normal()
        if j % 2 == 0:
            X[:, j] = rng.poisson(np.exp(-2.2 + 0.7 * rng.normal() + effect * z + 0.5 * rng.normal(size=n)))
        else:
            X[:, j] = np.round(effect * z + rng.normal(size=n), 2)
            X[rng.random(n) < 0.55, j] = np.nan
    logit = -2.95 + z + 0.4 * np.nan_to_num(X[:, 1]) + 0.3 * (X[:, 0] > 0)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", (rng.random(n) < expit(logit)).astype(np.float64))


def read_world(folder: Path) -> tuple[Matrix, Need]:
    """The matrix as it would come from the features, and its need."""
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    n_persons = len(y) // len(DATES)
    ids = [f"P{i:07d}" for i in range(n_persons)] * len(DATES)
    days = [day for day in DATES for _ in range(n_persons)]
    need = need_of(X.shape[1])
    return Matrix(pl.DataFrame({"person_id": ids, "as_of_date": days}), X, need.columns, y), need


def ours(matrix: Matrix, need: Need, folder: Path) -> dict[str, Any]:
    """Train, score, measure, log."""
    from models.metrics import evaluate
    from models.tracking import configure, log_run

    with tempfile.TemporaryDirectory() as scratch:
        registry = configure(f"sqlite:///{scratch}/mlflow.db", Path(scratch) / "artefacts")
        few = slice(0, 200)
        person, day = matrix.keys["person_id"].to_numpy(), matrix.keys["as_of_date"].to_physical().to_numpy()
        noise = np.random.default_rng(0).random(200)
        compiled = {"label": noise > 0.5, "rank_score": noise, "probability": noise, "person": person[few]}
        evaluate(**compiled, k=10, seed=SEED, period=day[few], replicates=2)
        clock, cpu = time.perf_counter(), time.process_time()
        model = train(matrix, need, SEED)
        trained = time.process_time()
        raw = model.raw(matrix.X)
        found = evaluate(
            label=matrix.y,
            rank_score=raw,
            probability=model.probability(raw),
            person=person,
            k=need.capacity.k,
            seed=SEED,
            period=day,
        )
        log_run(registry, model, figures={"test": found}, parameters={"seed": SEED}, digests={"matrix": matrix.digest})
        spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - clock}
    np.save(folder / "ours.npy", raw)
    return {**spent, "train_s": trained - cpu, "calibration": model.facts["calibration"]["method"]}


def rival(matrix: Matrix, need: Need, _folder: Path) -> dict[str, Any]:
    """The bare fit and its scores."""
    import lightgbm

    clock, cpu = time.perf_counter(), time.process_time()
    settings, n_trees = _bare(need, len(matrix.X))
    data = lightgbm.Dataset(matrix.X, matrix.y, params=settings)
    lightgbm.train(settings, data, n_trees).predict(matrix.X, raw_score=True)
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - clock}


def compare(matrix: Matrix, need: Need, folder: Path) -> dict[str, Any]:
    """Whether our trees are those of a bare fit to the rows they were taught with."""
    import lightgbm

    settings, n_trees = _bare(need, len(matrix.X))
    data = lightgbm.Dataset(matrix.X, matrix.y, feature_name=list(need.columns), params=settings).construct()
    plan = plan_calibration(np.asarray(matrix.y), matrix.keys["person_id"].to_list(), None, SEED)
    if plan.method == "held out":
        data = data.subset(np.flatnonzero(plan.fold >= plan.n_folds).tolist())
    raw = lightgbm.train(settings, data, n_trees).predict(matrix.X, raw_score=True)
    return {"equal": np.asarray(raw).tobytes() == np.load(folder / "ours.npy").tobytes()}


def _bare(need: Need, n_rows: int) -> tuple[dict[str, Any], int]:
    from models.tree_fitting import parameters_for

    parameters = parameters_for(need, n_rows)
    return settings_of(need, parameters, SEED, n_rows), int(parameters["n_estimators"])


def child(what: str, folder: Path, threads: int) -> dict[str, Any]:
    """One run in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--child", what, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def bench(n_rows: int, n_columns: int, runs: int, threads: int) -> dict[str, Any]:
    """One line of the report."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_world(folder, n_rows, n_columns)
        mine, theirs = [], []
        for _ in range(runs):
            mine.append(child("ours", folder, threads))
            theirs.append(child("rival", folder, threads))
        equal = child("compare", folder, threads)["equal"]
    spent = [statistics.median(one["cpu_s"] for one in side) for side in (mine, theirs)]
    ratio = spent[0] / spent[1]
    return {
        "bench": "training",
        "size": f"{n_rows:,} rows × {n_columns} columns",
        "rival": "lightgbm.train + predict",
        "ours_s": round(spent[0], 2),
        "rival_s": round(spent[1], 2),
        "ratio": round(ratio, 3),
        "train_s": round(statistics.median(one["train_s"] for one in mine), 2),
        "wall_ratio": round(
            statistics.median(one["wall_s"] for one in mine) / statistics.median(one["wall_s"] for one in theirs), 3
        ),
        "calibration": mine[0]["calibration"],
        "equal": equal,
        "peak_mb": max(one["peak_mb"] for one in mine),
        "rival_peak_mb": max(one["peak_mb"] for one in theirs),
        "target": TARGET,
        "met": bool(equal and ratio < 1.5),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", choices=("ours", "rival", "compare"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        work = {"ours": ours, "rival": rival, "compare": compare}[chosen.child]
        result = work(*read_world(chosen.folder), chosen.folder)
        print(json.dumps({**result, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
    else:
        print(json.dumps(bench(chosen.rows, chosen.columns, chosen.runs, chosen.threads)))
