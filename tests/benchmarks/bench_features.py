"""How quick the features are beside the best that polars, DuckDB and pandas can do: ``make bench-features``.

Prints JSON lines and writes them as a table into ``docs/performance.md``. Nothing timed decides whether a test passes.
``--quick`` is a smoke run at a tenth of the size, which writes no table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contest import HERE, Contestant, contest, line, one_thread
from event_world import AS_OF_DATES, BLOCKS, FIRST_DAY, Shape, days_between, write_world
from performance_page import write_table

EXPERTS = ("polars_expert", "duckdb_expert", "pandas_expert")
LONG = {"polars_long": 10, "duckdb_long": 12}
SHARED = "polars_shared_dates"
_TRIAGE = {"triage 20k x 40": (600_000, 20_000, 40), "triage 100k x 12": (3_000_000, 100_000, 12)}


class Bench:
    """The cases, at one size, in one scratch folder."""

    def __init__(self, scratch: Path, *, quick: bool, runs: int) -> None:
        self.scratch, self.runs, self.quick = scratch, runs, quick
        self.main = 200_000 if quick else 2_000_000

    def world(self, n_events: int, n_persons: int | None = None, *, knowledge: bool = False) -> Path:
        """The folder of a world, written when first asked for."""
        shape = Shape(n_events, n_persons or n_events // 100, knowledge)
        folder = self.scratch / shape.name
        return folder if folder.exists() else write_world(folder, shape)

    def _contest(self, block: str, rivals: tuple[str, ...], knowledge: bool) -> dict[str, Any]:
        folder = self.world(self.main, knowledge=knowledge)
        contestants = [Contestant(who, folder, block, AS_OF_DATES, knowledge=knowledge) for who in ("ours", *rivals)]
        return contest(contestants, self.scratch, runs=self.runs, measures=BLOCKS[block].measures)

    def _lines(self, bench: str, results: dict[str, Any], targets: dict[str, str], **more: Any) -> Iterator[dict]:
        ours = results["ours"]
        for rival, target in targets.items():
            theirs = results[rival]
            yield line(
                bench,
                f"{self.main:,} events",
                rival,
                ours.median("cpu_s"),
                theirs.median("cpu_s"),
                target,
                equal=theirs.equal,
                to_the_bit=theirs.exact,
                peak_mb=ours.peak_mb,
                rival_peak_mb=theirs.peak_mb,
                ours_wall_s=ours.median("wall_s"),
                rival_wall_s=theirs.median("wall_s"),
                **more,
            )

    def spec_a(self) -> Iterator[dict]:
        """End to end: a folder to a dense matrix; then the same without the step that makes the rivals' dense."""
        results = self._contest("A", (*EXPERTS, SHARED, *LONG), knowledge=False)
        yield from self._lines("spec A end to end", results, dict.fromkeys(EXPERTS, "≥ 7"))
        yield from self._lines("spec A, dates shared by all", results, {SHARED: ""})
        yield from self._lines("spec A end to end", results, {rival: f"≥ {n}" for rival, n in LONG.items()})
        for rival in EXPERTS:
            runs = results[rival].runs
            for run in runs:
                run["cpu_s"] -= run["densify_s"]
        yield from self._lines("spec A, their densify taken out", results, dict.fromkeys(EXPERTS, "≥ 4"))

    def spec_a_known(self) -> Iterator[dict]:
        results = self._contest("A", EXPERTS, knowledge=True)
        yield from self._lines("spec A with knowledge dates", results, dict.fromkeys(EXPERTS, "≥ 5.5"))

    def spec_b(self) -> Iterator[dict]:
        results = self._contest("B", ("duckdb_expert",), knowledge=False)
        yield from self._lines("spec B end to end", results, {"duckdb_expert": "≥ 20"})

    def reading(self) -> Iterator[dict]:
        """Our whole way beside reading the file's columns and doing nothing with them."""
        folder = self.world(self.main)
        both = [Contestant(who, folder, "A", AS_OF_DATES) for who in ("ours", "reading")]
        results = contest(both, self.scratch, runs=self.runs, compare=False)
        ours, read = (results[who].median("cpu_s") for who in ("ours", "reading"))
        size = f"{self.main:,} events"
        yield line(
            "end to end ÷ reading the columns with polars", size, "reading", ours, read, "≤ 3 (aim)", ratio=ours / read
        )

    def kernel(self) -> Iterator[dict]:
        """The sweep over a loaded log beside filling its output."""
        folder = self.world(self.main)
        both = [Contestant(who, folder, "A", AS_OF_DATES) for who in ("sweep", "fill")]
        results = contest(both, self.scratch, runs=2 * self.runs, compare=False)
        ours, fill = (results[who].median("cpu_s") for who in ("sweep", "fill"))
        size = f"{self.main:,} events"
        yield line("kernel ÷ filling its output", size, "fill", ours, fill, "≤ 3.5", ratio=ours / fill)

    def two_threads(self) -> Iterator[dict]:
        """The same sweep on one thread and on two: wall seconds, and the same bytes."""
        folder = self.world(self.main)
        for who in ("sweep", "ours"):
            one, two = Contestant(who, folder, "A", AS_OF_DATES), Contestant(who, folder, "A", AS_OF_DATES, threads=2)
            two.who = "two"
            results = contest([one, two], self.scratch, runs=2 * self.runs)
            slow, quick = results[who].median("wall_s"), results["two"].median("wall_s")
            yield line(
                "two threads, kernel" if who == "sweep" else "two threads, end to end",
                f"{self.main:,} events",
                "one thread",
                quick,
                slow,
                "≥ 1.6" if who == "sweep" else "",
                equal=results["two"].exact,
            )

    def windows(self) -> Iterator[dict]:
        """Twelve windows instead of three."""
        folder = self.world(self.main)
        for who in ("ours", "sweep"):
            few, many = (Contestant(who, folder, block, AS_OF_DATES) for block in ("A3", "A12"))
            few.who = "three"
            results = contest([few, many], self.scratch, runs=self.runs, compare=False)
            short, long = results["three"].median("cpu_s"), results[who].median("cpu_s")
            bench = "12 windows ÷ 3 windows, " + ("end to end" if who == "ours" else "kernel")
            target = "≤ 1.5" if who == "ours" else ""
            yield line(bench, f"{self.main:,} events", "3 windows", long, short, target, ratio=long / short)

    def triage(self) -> Iterator[dict]:
        """The two workloads that triage-pg publishes: rows of the matrix per second, reading the file included."""
        for bench, (n_events, n_persons, n_dates) in _TRIAGE.items():
            scale = 10 if self.quick else 1
            n_events, n_persons = n_events // scale, n_persons // scale
            folder = self.world(n_events, n_persons)
            dates = days_between(FIRST_DAY.replace(year=FIRST_DAY.year + 1), n_dates, 1_080 // n_dates)
            results = contest(
                [Contestant("ours", folder, "triage", dates)], self.scratch, runs=self.runs, compare=False
            )
            seconds, n_rows = results["ours"].median("wall_s"), n_persons * n_dates
            yield line(
                bench + ", thousand rows/s",
                f"{n_events:,} events, {n_rows:,} rows, 33 columns",
                "(published: 20.9 and 15.8)",
                seconds,
                0.0,
                "≥ 400",
                ratio=n_rows / seconds / 1000,
                peak_mb=results["ours"].peak_mb,
            )

    def streaming(self) -> Iterator[dict]:
        """A bigger city block by block: the most memory of a process that does nothing else."""
        n_events = self.main if self.quick else 20_000_000
        folder = self.world(n_events)
        found = json.loads(_child("stream", str(folder)))
        yield line(
            "streaming blocks, peak memory (MB)",
            f"{n_events:,} events",
            "",
            found["cpu_s"],
            0.0,
            "≤ 1000",
            ratio=found["peak_mb"],
            peak_mb=found["peak_mb"],
            rows=found["rows"],
        )

    def fresh_process(self) -> Iterator[dict]:
        """What the compiler costs: the first time ever, from its cache, and beside polars in a new process."""
        with tempfile.TemporaryDirectory() as cache:
            where = {"NUMBA_CACHE_DIR": cache}
            first, later = (float(_child("warm", env=where)) for _ in range(2))
        yield line("compiling all kernels: from the cache, first time ever", "", "first time", later, first, "")
        for n_events in (200_000, self.main):
            folder = self.world(n_events)
            ours, polars = (_cpu_of_process("fresh", who, str(folder)) for who in ("ours", "polars_expert"))
            size = f"{n_events:,} events"
            yield line("spec A in a new process, imports included", size, "polars_expert", ours, polars, "")


def _child(*order: str, env: dict[str, str] | None = None) -> str:
    """Run one part of ``children.py`` in a new process and return what it printed."""
    command = [sys.executable, str(HERE / "children.py"), *order]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread() | (env or {}))
    return done.stdout


def _cpu_of_process(*order: str) -> float:
    """CPU seconds of a whole process, the least of three; the first run warms the disk."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _child(*order)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


CASES = (
    "spec_a",
    "spec_a_known",
    "spec_b",
    "kernel",
    "windows",
    "two_threads",
    "streaming",
    "triage",
    "reading",
    "fresh_process",
)


def main() -> None:
    """Run the cases asked for, print each line as it comes, and write the table when all of them ran in full."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one run each, no table")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contestant (median)")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES, metavar="CASE", help=", ".join(CASES))
    given = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="ennakko-bench-") as scratch:
        bench = Bench(Path(scratch), quick=given.quick, runs=1 if given.quick else given.runs)
        for case in given.only:
            for found in getattr(bench, case)():
                lines.append(found)
                print(json.dumps(found, ensure_ascii=False), flush=True)
    missed = [found for found in lines if found["met"] is False]
    print(f"{len(missed)} of {len(lines)} lines miss their demand", file=sys.stderr)
    if tuple(given.only) == CASES and not given.quick:
        write_table(lines)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()
