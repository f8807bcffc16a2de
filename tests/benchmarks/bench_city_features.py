"""A city like Helsinki, 100 million events of 675 000 residents, to 480 columns: ``make bench-city-features``.

Writes the city once into a temporary folder (about 1.5 GB), then computes one as-of date in a new process on two
threads to Parquet, and prints the seconds of each step and the most memory. ``--events`` makes it smaller, ``--full``
also times an invented city of a million persons.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contest import HERE, line
from event_world import AS_OF_DATES, Shape, all_features, write_world
from performance_page import write_table
from worker import NEED, keys_of, peak_mb, register

MOST_MB = 4_000
EVENTS, PERSONS, FILES = 100_000_000, 675_000, 48


def build(folder: str, target: str) -> None:
    """In a process of its own: one as-of date of the whole city to a Parquet file; prints what each step cost."""
    start = time.perf_counter()
    seconds = {}

    def step(name: str) -> None:
        seconds[name] = time.perf_counter() - start - sum(seconds.values())

    from features import open_city, warm_up
    from features.blocks import write_matrix

    warm_up()
    step("imports and kernels")
    city = open_city(folder)
    step("open city")
    opened_mb = peak_mb()
    keys = keys_of(city, [AS_OF_DATES[-1]])
    step("keys")
    nobody_objects, features = register(), all_features("A")
    write_matrix(Path(target), city, features, keys, objections=nobody_objects, need_id=NEED, threads=2)
    step("features to Parquet")
    facts = {"rows": keys.height, "file_mb": round(Path(target).stat().st_size / 2**20), "opened_mb": opened_mb}
    print(json.dumps(facts | {"peak_mb": peak_mb(), "seconds": {name: round(s, 2) for name, s in seconds.items()}}))


def city_line(scratch: Path, n_events: int) -> dict:
    """Write the city, build it in a new process, and say what that cost."""
    n_persons = max(1, n_events * PERSONS // EVENTS)
    start = time.perf_counter()
    folder = write_world(scratch / "city", Shape(n_events, n_persons, n_files=FILES))
    print(f"wrote {n_events:,} events of {n_persons:,} persons in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    command = [
        sys.executable,
        str(HERE / "bench_city_features.py"),
        "--build",
        str(folder),
        str(scratch / "matrix.parquet"),
    ]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return line(
        "city folder to 480 columns in Parquet, 2 threads: peak memory (MB)",
        f"{n_events:,} events, {n_persons:,} persons",
        "",
        sum(found["seconds"].values()),
        0.0,
        f"≤ {MOST_MB}",
        ratio=float(found["peak_mb"]),
        **found,
    )


def synthetic_lines(scratch: Path, *, full: bool) -> list[dict]:
    """How many persons of an invented city are made per second."""
    from features import synthetic_city

    lines = []
    for n_persons in (100_000, 1_000_000) if full else (100_000,):
        start = time.perf_counter()
        truth = synthetic_city(scratch / f"invented-{n_persons}", n_persons)
        seconds = time.perf_counter() - start
        size = f"{n_persons:,} persons, {truth.n_events:,} events"
        per_second = n_persons / seconds
        lines.append(line("invented city, persons per second", size, "", seconds, 0.0, "", ratio=per_second))
    return lines


def main() -> None:
    """Print one JSON line each, and write the table when the city was whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the city; persons in proportion")
    parser.add_argument("--full", action="store_true", help="an invented city of 1 000 000 persons too")
    parser.add_argument("--build", nargs=2, metavar=("CITY", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        build(*given.build)
        return
    with tempfile.TemporaryDirectory(prefix="ennakko-bench-") as scratch:
        lines = [city_line(Path(scratch), given.events)]
        print(json.dumps(lines[0], ensure_ascii=False), flush=True)
        for found in synthetic_lines(Path(scratch), full=given.full):
            lines.append(found)
            print(json.dumps(found, ensure_ascii=False), flush=True)
    if given.events == EVENTS:
        write_table(lines, "bench-city-features")


if __name__ == "__main__":
    main()
