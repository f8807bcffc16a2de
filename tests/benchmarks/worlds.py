"""Invented worlds, one per seed: is the planted unfairness blocked, and the honest model passed? ``make trials``.

Each world goes the whole way that ``ennakko demo`` goes: an invented city, training, the gate's own checks,
demonstration attestations for whatever the verdict asks, and the gate again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

PASSED = ("PASS", "PASS_ATTESTED")
NEEDS = ("health_by_cost", "health_benefit")


def judge_world(seed: int, n_persons: int) -> dict[str, Any]:
    """Both needs in one world: verdict states, and which checks block."""
    from serving import flows
    from serving.demo import attest_and_judge_again, demonstration_city, ensure_demonstration_keys
    from serving.home import Home
    from serving.progress import silent
    from serving.settings import Settings

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Settings(home=Path(folder)))
        city = demonstration_city(home, n_persons, seed, silent)
        ensure_demonstration_keys(home)
        result: dict[str, Any] = {"seed": seed}
        for need in NEEDS:
            trained, judged = flows.train_and_judge(home, city, Path(need), seed)
            judged = attest_and_judge_again(home, judged, silent)
            blocking = [check for check in judged["checks"] if check["state"] == "block"]
            result[need] = {
                "state": judged["state"],
                "auc": trained["test"]["auc"]["value"],
                "blocked_by": sorted({f"{check['id']} {check['group'] or ''}".strip() for check in blocking}),
                "attested": sorted({check["needs"] for check in judged["checks"] if check["attested_by"]}),
            }
    result["seconds"] = time.perf_counter() - start
    return result


def worlds(seeds: range, n_persons: int, workers: int) -> Iterator[dict[str, Any]]:
    """The worlds of some seeds, as they are done."""
    # A fresh process per worker: numba and LightGBM threads do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(judge_world, seed, n_persons) for seed in seeds]
        for job in as_completed(jobs):
            yield job.result()


def main() -> int:
    """Print a line per world and what they add up to; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--persons", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    # One thread each: the workers are the parallelism.
    os.environ |= {"OMP_THREAD_LIMIT": "1", "POLARS_MAX_THREADS": "1"}  # LightGBM heeds the limit, not the number
    print(f"{options.seeds} invented worlds of {options.persons:,} persons\n")
    print(
        f"{'seed':>4}  {'health_by_cost':14} {'auc':>5}  {'blocked by':32} {'health_benefit':14} {'auc':>5}  attested"
    )
    found = []
    for world in worlds(range(options.first, options.first + options.seeds), options.persons, options.workers):
        found.append(world)
        cost, benefit = (world[need] for need in NEEDS)
        blocked = ", ".join(cost["blocked_by"]) or "–"
        print(
            f"{world['seed']:>4}  {cost['state']:14} {cost['auc']:.3f}  {blocked:32} "
            f"{benefit['state']:14} {benefit['auc']:.3f}  {', '.join(benefit['attested'])}",
            flush=True,
        )
    blocked = sum(
        world["health_by_cost"]["state"] == "BLOCK"
        and any(by.startswith(("C401", "C403")) for by in world["health_by_cost"]["blocked_by"])
        for world in found
    )
    passed = sum(world["health_benefit"]["state"] in PASSED for world in found)
    needed = -(-19 * options.seeds // 20)
    print(f"\nhealth_by_cost blocked by C401 or C403: {blocked} of {options.seeds} (at least {needed} wanted)")
    print(f"health_benefit passed: {passed} of {options.seeds} (all wanted)")
    return 0 if blocked >= needed and passed == options.seeds else 1


if __name__ == "__main__":
    sys.exit(main())
