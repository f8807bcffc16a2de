"""The statistics of a verdict on a million people, as JSON lines: ``make bench-gate``.

Four attributes of 3, 2, 8 and 5 groups, their six pairs and all of them together, every measure, 1000 replicates that
cut again at k and k*, on one thread. The rival is fairlearn's ``MetricFrame`` on rows with its own bootstrap, which
takes many hours at this size: two replicates are measured on two smaller numbers of rows, and the line through them is
drawn on to the rows and the replicates, which the output says. Nothing timed decides whether a test passes.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = {"sex": 3, "disability": 2, "district": 8, "age_band": 5}
K, K_AUDIT_SHARE = 5000, 0.13


def world(n: int, seed: int = 1) -> dict[str, Any]:
    """Invented people with a calibrated score; need at the same score by one indicator."""
    import polars as pl

    rng = np.random.default_rng(seed)
    truth = np.exp(rng.normal(0, 1.1, n))
    truth *= 0.08 / truth.mean()
    np.clip(truth, 0, 0.95, out=truth)
    return {
        "label": (rng.random(n) < truth).astype(np.float64),
        "groups": {
            name: pl.Series(rng.integers(0, levels, n, dtype=np.int8)).cast(pl.String).cast(pl.Categorical)
            for name, levels in LEVELS.items()
        },
        "score": truth,
        "probability": truth,
        "indicators": {"care": rng.random(n) < 0.3 * truth**0.5},
    }


def peak_mb() -> float:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(n: int, replicates: int) -> dict[str, object]:
    """One measurement, in this process: seconds, memory, what came out."""
    import fairlearn.metrics  # loading it is not measuring

    from ethics import Cuts, measure

    people = world(n)
    before = peak_mb()
    cpu, wall = time.process_time(), time.perf_counter()
    table = measure(**people, cuts=Cuts(K * n // 1_000_000, int(K_AUDIT_SHARE * n)), replicates=replicates)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    tested = table.crossings.filter(kind="tested").height
    return {
        "bench": "gate",
        "size": n,
        "replicates": replicates,
        "fairlearn": fairlearn.__version__,
        "groups": table.groups.height,
        "crossed_groups": tested,
        "measures": table.table["measure"].n_unique(),
        "cells": table.cells.height,
        "cells_kb": round(len(table.cells_bytes) / 1024),
        "ours_cpu_s": round(cpu, 3),
        "ours_wall_s": round(wall, 3),
        "peak_mb": round(peak_mb()),
        "peak_before_mb": round(before),
        "target": "ours_cpu_s <= 5 and peak_mb <= 400",
        "met": cpu <= 5 and peak_mb() <= 400,
    }


def rival(n: int, replicates: int) -> dict[str, float]:
    """fairlearn on rows: CPU seconds of the point estimates, and of each replicate, over all eleven frames."""
    from itertools import combinations

    import pandas as pd
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    people = world(n)
    taken = np.zeros(n, dtype=int)
    taken[np.argsort(-people["score"], kind="stable")[: int(K_AUDIT_SHARE * n)]] = 1
    groups = pd.DataFrame({name: column.cast(str).to_list() for name, column in people["groups"].items()})
    metrics = {
        "recall": true_positive_rate,
        "selection_rate": selection_rate,
        "false_positive_rate": false_positive_rate,
    }
    names = list(LEVELS)
    crossed = [*([name] for name in names), *map(list, combinations(names, 2)), names]

    def run(**options: Any) -> float:
        start = time.process_time()
        for columns in crossed:
            MetricFrame(
                metrics=metrics, y_true=people["label"], y_pred=taken, sensitive_features=groups[columns], **options
            )
        return time.process_time() - start

    point = run()
    drawn = run(n_boot=replicates, ci_quantiles=[0.05, 0.95], random_state=1)
    return {"point_cpu_s": point, "replicate_cpu_s": max(drawn - point, 0.0) / replicates}


def render(n: int) -> dict[str, object]:
    """Every form of the report of a verdict on these people: three pages and the twins, withheld anew.

    ``ours_cpu_s`` is what rendering costs where the statistics are at hand, as after judging; small cells are withheld
    and attacked anew in it. ``statistics_again_cpu_s`` is what reading the cells back adds, ``one_page_cpu_s`` a page
    alone.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from ethics_cases import NOW, PASSING, POLICY

    from ethics import Cuts, judge, measure
    from ethics.judged_table import table_of
    from ethics.report import figures_of, render_all, render_report

    cuts = Cuts(K * n // 1_000_000, int(K_AUDIT_SHARE * n))
    table = measure(**world(n), cuts=cuts, replicates=POLICY.replicates)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = work()
        seconds[name] = round(time.process_time() - start, 3)
        return made

    timed("statistics_again_cpu_s", lambda: table_of(verdict, table.cells))
    timed("first_cpu_s", lambda: render_all(verdict, table.cells))  # loads templates, texts and the solver
    files = timed("ours_cpu_s", lambda: render_all(verdict, table.cells))
    timed("withholding_cpu_s", lambda: figures_of(verdict, table.cells))
    timed("one_page_cpu_s", lambda: render_report(verdict, table.cells))
    return {
        "bench": "gate-report",
        "size": n,
        "groups": table.groups.height,
        **seconds,
        "kb": {name: round(len(text) / 1024) for name, text in files.items()},
        "target": "ours_cpu_s <= 1",
        "met": seconds["ours_cpu_s"] <= 1,
    }


def main() -> None:
    """Print one line for the statistics, one for the rival, one for the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--rival-persons", type=int, default=20_000)
    parser.add_argument("--only", choices=("ours", "rival", "report"))
    options = parser.parse_args()
    if options.only == "ours":
        print(json.dumps(ours(options.persons, options.replicates)), flush=True)
    elif options.only == "rival":
        print(json.dumps(rival(options.rival_persons, 2)), flush=True)
    elif options.only == "report":
        print(json.dumps(render(options.persons)), flush=True)
    else:

        def child(what: str) -> dict[str, Any]:
            """A process of its own, so that memory is this measurement's alone."""
            given = {name: str(getattr(options, name)) for name in ("persons", "replicates", "rival_persons")}
            arguments = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
            command = [sys.executable, __file__, "--only", what, *arguments]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found: dict[str, Any] = json.loads(done.stdout)
            return found

        found = child("ours")
        print(json.dumps(found), flush=True)
        sizes = (options.rival_persons, 3 * options.rival_persons)
        seconds = []
        for size in sizes:
            options.rival_persons = size
            slow = child("rival")
            seconds.append((slow["point_cpu_s"], slow["replicate_cpu_s"]))
        # fairlearn pays per group and per row: a line through two sizes, not a multiple of the smaller one.
        point, replicate = (
            few + (more - few) / (sizes[1] - sizes[0]) * (options.persons - sizes[0])
            for few, more in zip(*seconds, strict=True)
        )
        whole = point + options.replicates * replicate
        line = {
            "bench": "gate-rival",
            "rival": "fairlearn MetricFrame on rows, its bootstrap, 3 measures, a fixed cut",
            "measured_on": sizes,
            "measured_replicates": 2,
            "measured_replicate_cpu_s": [round(replicate, 2) for _, replicate in seconds],
            "extrapolated_cpu_s": round(whole),
            "extrapolation": f"linear in rows and in replicates (x{options.replicates}); not measured at this size",
            "ratio": round(whole / found["ours_cpu_s"]),
        }
        print(json.dumps(line), flush=True)
        print(json.dumps(child("report")), flush=True)


if __name__ == "__main__":
    main()
