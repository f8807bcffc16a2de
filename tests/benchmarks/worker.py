"""One contestant in a process of its own, kept alive: it runs when it is told to, and says what that cost.

``python worker.py '{"who": "ours", "folder": …, "block": "A", "dates": […], "knowledge": false, "threads": 1}'``; then
for each JSON line in, such as ``{"save": null}``, one run and one line out. Who starts it sets the environment so that
polars and the rest have one thread.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from event_world import BLOCKS, all_features

NEED = "benchmark"


def peak_mb() -> int:
    """The most memory this process ever had, in MB.

    As the kernel counts it since the program began: what ``getrusage`` tells also holds the peak of whoever started it.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return round(int(line.split()[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def register() -> Any:
    """A register of objections in memory, in which nobody objects."""
    from sqlalchemy import create_engine

    from ethics.objections import ObjectionRegister

    return ObjectionRegister(create_engine("sqlite://"), b"a key for benchmarks only")


def keys_of(city: Any, dates: list[date]) -> Any:
    """Everyone at every date."""
    import polars as pl

    return city.persons.select("person_id").join(pl.DataFrame({"as_of_date": dates}), how="cross")


class Ours:
    """The public way from a folder to a dense matrix, every check on."""

    def __init__(self, task: dict[str, Any], dates: list[date]) -> None:
        self.folder, self.features, self.dates = Path(task["folder"]), all_features(task["block"]), dates
        self.threads = {} if task.get("threads", 1) == 1 else {"threads": task["threads"]}

    def run(self) -> tuple[np.ndarray, float]:
        from features import build_matrix, open_city

        city = open_city(self.folder)
        keys = keys_of(city, self.dates)
        matrix = build_matrix(city, self.features, keys, objections=register(), need_id=NEED, **self.threads)
        return matrix.X, 0.0


class Sweep:
    """The kernel alone, on a log that is loaded already, writing into one array."""

    def __init__(self, task: dict[str, Any], dates: list[date]) -> None:
        from features import open_city
        from features.keyed_rows import keyed_rows
        from features.sweep import Group, lay_out

        city = open_city(Path(task["folder"]))
        place = keyed_rows(city, keys_of(city, dates), in_order=True)
        groups, column = [], 0
        for feature in all_features(task["block"]):
            groups.append(Group(feature.codes, feature.windows, feature.measures, column))
            column += len(feature.columns())
        self.log, self.person, self.as_of = city.events, place.person, place.as_of
        self.layout = lay_out(groups, self.log.codes, column)
        self.threads = task.get("threads", 1)
        self.out = np.zeros((place.person.size, column), dtype=np.float32)

    def run(self) -> tuple[np.ndarray, float]:
        from features.sweep import sweep

        return sweep(self.log, self.layout, self.person, self.as_of, threads=self.threads, out=self.out), 0.0


class Fill(Sweep):
    """Writing the empty row into the same array: the least that anything filling a dense matrix costs."""

    def run(self) -> tuple[np.ndarray, float]:
        from filling import fill_rows

        fill_rows(self.layout.empty, self.out)
        return self.out, 0.0


class Reading:
    """Reading the columns of the file and nothing else."""

    def __init__(self, task: dict[str, Any], dates: list[date]) -> None:
        self.file = Path(task["folder"]) / "events.parquet"

    def run(self) -> tuple[np.ndarray, float]:
        import polars as pl

        pl.scan_parquet(self.file).select("person_id", "event_date", "code", "value").collect(engine="streaming")
        return np.empty((0, 0), np.float32), 0.0


class Rival:
    """One of the modules in ``rivals``."""

    def __init__(self, task: dict[str, Any], dates: list[date]) -> None:
        self.module = importlib.import_module(f"rivals.{task['who']}")
        self.args = (Path(task["folder"]), BLOCKS[task["block"]], dates)
        self.knowledge = task["knowledge"]

    def run(self) -> tuple[np.ndarray, float]:
        return self.module.run(*self.args, knowledge=self.knowledge)


CONTESTANTS = {"ours": Ours, "sweep": Sweep, "fill": Fill, "reading": Reading}


def main() -> None:
    """Answer orders until there are no more."""
    task = json.loads(sys.argv[1])
    dates = [date.fromisoformat(day) for day in task["dates"]]
    contestant = CONTESTANTS.get(task["who"], Rival)(task, dates)
    for line in sys.stdin:
        order = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        matrix, densify = contestant.run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if order.get("save"):
            np.save(order["save"], matrix)
        answer = {"cpu_s": cpu, "wall_s": wall, "densify_s": densify, "peak_mb": peak_mb(), "shape": matrix.shape}
        print(json.dumps(answer), flush=True)
        del matrix


if __name__ == "__main__":
    main()
