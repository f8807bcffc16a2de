"""Contests: every contestant in a process of its own, kept alive, in turns; equal results first, then medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
EXACT = {"count", "n_values", "min", "max", "last", "first", "days_since_last", "days_since_first", "distinct_codes"}
"""Measures whose cells must be equal to the bit. Elsewhere the order of summation differs between engines:"""
RELATIVE, ABSOLUTE = 1e-5, 1e-4


def one_thread() -> dict[str, str]:
    """The environment of a contestant that may use one thread, except where it asks for more by argument."""
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")
    return os.environ | dict.fromkeys(names, "1")


def kept_memory() -> dict[str, str]:
    """Allocators that keep what they were given: a contestant runs again and again, and pages are touched once.

    On a virtual machine the first touch of a page costs more than computing what it holds, and by how much changes
    from minute to minute. Ours and pandas allocate through glibc, polars through jemalloc, pyarrow as it is told.
    """
    glibc = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    return glibc | {"_RJEM_MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


class Contestant:
    """A worker process that waits for orders; a context manager that ends it."""

    def __init__(self, who: str, folder: Path, block: str, dates: Sequence[date], **more: Any) -> None:
        self.who = who
        task = {"who": who, "folder": str(folder), "block": block, "dates": [d.isoformat() for d in dates], **more}
        task.setdefault("knowledge", False)
        command = [sys.executable, str(HERE / "worker.py"), json.dumps(task)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=one_thread() | kept_memory(),
            cwd=HERE,
        )

    def run(self, save: Path | None = None) -> dict[str, Any]:
        """One run: CPU and wall seconds, densifying apart, and the most memory so far."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"save": str(save) if save else None}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.who} stopped with exit code {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Result:
    """The runs of one contestant, and whether its matrix is ours."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    equal: bool | None = None
    exact: bool | None = None

    def median(self, what: str) -> float:
        return statistics.median(run[what] for run in self.runs)

    @property
    def peak_mb(self) -> int:
        return max(run["peak_mb"] for run in self.runs)


def contest(
    contestants: Sequence[Contestant], scratch: Path, *, runs: int, measures: Sequence[str] = (), compare: bool = True
) -> dict[str, Result]:
    """Let every contestant run once to be compared with the first, then ``runs`` times each, in turns.

    ``measures``: those of each group, repeated over the columns; they say which cells must be equal to the bit.
    """
    results = {one.who: Result() for one in contestants}
    with ExitStack() as stack:
        for one in contestants:
            stack.enter_context(one)
        reference = scratch / f"{contestants[0].who}.npy"
        for one in contestants:
            mine = scratch / f"{one.who}.npy"
            one.run(save=mine if compare else None)
            if compare and mine != reference:
                results[one.who].equal, results[one.who].exact = same_cells(reference, mine, measures)
                mine.unlink()
        reference.unlink(missing_ok=True)
        for _ in range(runs):
            for one in contestants:
                results[one.who].runs.append(one.run())
    return results


def same_cells(first: Path, second: Path, measures: Sequence[str]) -> tuple[bool, bool]:
    """Whether two saved matrices are equal cell by cell (as the measures allow), and whether to the bit."""
    one, other = np.load(first, mmap_mode="r"), np.load(second, mmap_mode="r")
    if one.shape != other.shape:
        return False, False
    exact_columns = np.array([measure in EXACT for measure in measures] or [True])
    exact_columns = np.resize(exact_columns, one.shape[1])
    equal = identical = True
    for start in range(0, one.shape[0], 10_000):
        a, b = np.asarray(one[start : start + 10_000]), np.asarray(other[start : start + 10_000])
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        identical &= bool(same.all())
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= ABSOLUTE + RELATIVE * np.abs(b)
        equal &= bool((same | (near & ~exact_columns)).all())
    return equal, identical


def line(bench: str, size: str, rival: str, ours_s: float, rival_s: float, target: str, **more: Any) -> dict[str, Any]:
    """One line of the report; ``ratio`` is rival ÷ ours unless the target speaks of something else."""
    ratio = more.pop("ratio", rival_s / ours_s if ours_s else float("nan"))
    met = more.pop("met", None)
    if met is None and target:
        sign, number = target.split()[:2]
        met = ratio >= float(number) if sign == "≥" else ratio <= float(number)
    if met and more.get("equal") is False:
        met = False
    found = {
        "bench": bench,
        "size": size,
        "rival": rival,
        "ours_s": round(ours_s, 4),
        "rival_s": round(rival_s, 4),
        "ratio": round(ratio, 2),
        "equal": more.pop("equal", None),
        "peak_mb": more.pop("peak_mb", None),
        "target": target,
        "met": met,
    }
    return found | {name: round(v, 4) if isinstance(v, float) else v for name, v in more.items()}
