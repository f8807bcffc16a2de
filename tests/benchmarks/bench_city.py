"""The weekly run of a whole city, 675 000 persons and 100 million events: ``make bench-city``.

An invented city is written once into a temporary folder (about 1.7 GB). A model of 480 columns is trained on a small
city drawn in the same way, judged by the whole gate and approved with demonstration keys. Then the story of
``ennakko week`` runs in a new process on two cores: features, scores, store, list gate, reasons for the 5 000 listed,
files, leader's page. Its
steps are printed with wall and CPU seconds and the most memory so far, as JSON lines of the bench ``city_week``.

``--events`` makes the city smaller; ``--keep FOLDER`` leaves city and home there, and finds them there again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from contest import HERE, line
from performance_page import write_between
from worker import peak_mb

sys.path.insert(0, str(HERE.parents[1]))

CORES = 2
EVENTS, PERSONS, FILES = 100_000_000, 675_000, 48
SMALL_PERSONS = 12_000
EVENTS_PER_PERSON = EVENTS / PERSONS
MOST_SECONDS, MOST_MB = 120, 6_000
GOAL_SECONDS, GOAL_MB = 60, 4_000

STEPS = (
    ("serving.list_work", "open_champion", "verify the verdict"),
    ("features.city", "open_city", "open the city"),
    ("scoring.scorer", "Scorer.score", "features and scores"),
    ("serving.weekly", "ask_about_scores", "list gate"),
    ("scoring.store", "Store.add_scores", "scores into the store"),
    ("scoring.outreach", "draw_up", "hygiene and places"),
    ("scoring.cohort_columns", "CohortColumns.of", "what is typical"),
    ("scoring.outreach", "_reasons", "reasons"),
    ("scoring.outreach", "reason_stability", "reasons"),
    ("scoring.outreach", "list_facts", "list gate"),
    ("scoring.outreach", "ask_gate", "list gate"),
    ("scoring.outreach", "_scored_again", "list gate"),
    ("serving.list_work", "_surroundings", "list gate"),
    ("serving.weekly", "publish_to_units", "files and store of the list"),
    ("serving.weekly", "write_pages", "leader's page and area table"),
)
"""What is timed, each without what it calls of the others."""


class Clock:
    """Wall and CPU seconds of each step, exclusive of steps inside it, and the most memory when it last ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self._under_way = ["start"]
        self._since = _now()

    def turn(self) -> None:
        """Charge what has passed to the step under way."""
        now, step = _now(), self.seconds.setdefault(self._under_way[-1], {"wall_s": 0.0, "cpu_s": 0.0, "peak_mb": 0})
        step["wall_s"] += now[0] - self._since[0]
        step["cpu_s"] += now[1] - self._since[1]
        step["peak_mb"] = peak_mb()
        self._since = now

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What happens here belongs to a step."""
        self.turn()
        self._under_way.append(name)
        try:
            yield
        finally:
            self.turn()
            self._under_way.pop()

    def watch(self, module: str, name: str, step: str) -> None:
        """Let a function, where its callers find it, be timed."""
        *owner, name = name.split(".")
        place: Any = import_module(module)
        for part in owner:
            place = getattr(place, part)
        timed: Callable[..., Any] = getattr(place, name)

        def watched(*args: Any, **more: Any) -> Any:
            with self.step(step):
                return timed(*args, **more)

        # Of a class method ``timed`` is bound already.
        setattr(place, name, staticmethod(watched) if hasattr(timed, "__self__") else watched)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def run_week(home: Any, city: Path, need: Path, day: Any) -> dict[str, Any]:
    """The week of one need, as ``ennakko week`` runs it; what it says of that need's list."""
    from serving import weekly

    week = weekly.run_week(home, city, day, needs=[need])
    (told,) = week["needs"]
    if told["state"] != weekly.LISTED:
        sys.exit(f"the week made no list: {json.dumps(told, ensure_ascii=False)}")
    return told


def week(folder: Path, home_folder: Path) -> None:
    """In a process of its own: the weekly run, and what each step cost."""
    clock = Clock()
    with clock.step("imports"):
        from city_week import LIST_DAY, NEED_ID

        from serving.home import Home
        from serving.settings import Settings

        for step in STEPS:
            clock.watch(*step)
    listed = run_week(Home(Settings(home=home_folder)), folder, home_folder.parent / f"{NEED_ID}.toml", LIST_DAY)
    clock.turn()
    facts = {"listed": listed["listed"], "list_digest": listed["list_digest"], "files": len(listed["files"])}
    print(json.dumps(facts | {"peak_mb": peak_mb(), "steps": clock.seconds}))


def approved_home(root: Path, n_persons: int) -> Path:
    """A home with a model that was trained, judged and approved on a small city; made where it is not there."""
    from city_week import write_city, write_need

    from serving import approval, demo, flows
    from serving.home import Home
    from serving.settings import Settings

    folder, small, done = root / "home", root / "small-city", root / "approved"
    need = write_need(root)
    if done.exists():
        return folder
    write_city(small, n_persons, round(n_persons * EVENTS_PER_PERSON), 1)
    home = Home(Settings(home=folder))
    demo.ensure_demonstration_keys(home)
    start = time.perf_counter()

    def said(what: str, *_: object) -> None:
        print(f"{time.perf_counter() - start:6.0f} s  {what}", file=sys.stderr)

    _, judged = flows.train_and_judge(home, small, need, 0, said)
    judged = demo.attest_and_judge_again(home, judged, said)
    if judged["state"] not in demo.PASSED:
        open_checks = sorted({check["id"] for check in judged["checks"] if check["state"] not in ("pass", "warn")})
        sys.exit(f"the gate says {judged['state']} on the small city ({', '.join(open_checks)})")
    verdict = Path(judged["verdict_path"])
    approval.sign_verdict(home, verdict)
    approval.approve_verdict(home, verdict)
    done.touch()
    return folder


def city_lines(root: Path, n_events: int, n_small: int) -> list[dict[str, Any]]:
    """Write what is not there yet, run the week in a new process, and say what it cost."""
    from city_week import write_city

    n_persons = max(1, round(n_events / EVENTS_PER_PERSON))
    folder, told = root / f"city-{n_events}", root / f"city-{n_events}.events"
    start = time.perf_counter()
    if not told.exists():
        told.write_text(str(write_city(folder, n_persons, n_events, FILES)))
        print(f"wrote {n_persons:,} persons in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    n_events, home = int(told.read_text()), approved_home(root, n_small)
    command = [sys.executable, str(HERE / "bench_city.py"), "--week", str(folder), str(home)]
    environment = os.environ | dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), str(CORES))
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found, wall = json.loads(done.stdout), time.perf_counter() - start
    size = f"{n_events:,} events, {n_persons:,} persons, 480 columns, {found['listed']:,} listed"
    lines = []
    for what, figure, most, goal in (
        ("s", wall, MOST_SECONDS, GOAL_SECONDS),
        ("MB", float(found["peak_mb"]), MOST_MB, GOAL_MB),
    ):
        target, is_whole = f"≤ {most}", n_persons == PERSONS
        lines.append(
            line("city_week", f"{size} ({what})", "", wall, 0.0, target if is_whole else "", ratio=figure,
                 peak_mb=found["peak_mb"], goal=goal, goal_met=figure <= goal if is_whole else None)
        )  # fmt: skip
    steps = [
        line("city_week_step", name, "", cost["wall_s"], 0.0, "", ratio=cost["cpu_s"], peak_mb=cost["peak_mb"],
             cpu_s=cost["cpu_s"])
        for name, cost in found["steps"].items()
    ]  # fmt: skip
    return lines + steps


def steps_table(lines: list[dict[str, Any]]) -> str:
    """The steps and the whole as Markdown: wall and CPU seconds, and the most memory when a step last ended."""
    whole, steps = lines[0], [found for found in lines if found["bench"] == "city_week_step"]
    steps.sort(key=lambda found: -found["cpu_s"])
    total = sum(found["cpu_s"] for found in steps)
    rows = ["| step | wall, s | CPU, s | most memory so far, MB |", "|---|---|---|---|"]
    rows += [f"| {one['size']} | {one['ours_s']:.1f} | {one['cpu_s']:.1f} | {one['peak_mb']:,} |" for one in steps]
    rows.append(f"| **the week** | **{whole['ours_s']:.1f}** | **{total:.1f}** | **{whole['peak_mb']:,}** |")
    met = [f"{found['target']} {unit}: {_YES[found['met']]}" for found, unit in zip(lines, ("s", "MB"), strict=False)]
    return f"{whole['size'].removesuffix(' (s)')}.\n\n" + "\n".join(rows) + f"\n\nAim {'; '.join(met)}."


_YES = {True: "met", False: "**not met**", None: "not asked of a smaller city"}


def main() -> None:
    """Print one JSON line each, and write the table when the city was whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the city; persons in proportion")
    parser.add_argument("--small", type=int, default=SMALL_PERSONS, help="persons of the city the model is judged on")
    parser.add_argument("--keep", type=Path, help="a folder for city and home, to be found again")
    parser.add_argument("--week", nargs=2, type=Path, metavar=("CITY", "HOME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.week:
        week(*given.week)
        return
    with tempfile.TemporaryDirectory(prefix="ennakko-bench-") as scratch:
        root = given.keep or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        lines = city_lines(root, given.events, given.small)
    for found in lines:
        print(json.dumps(found, ensure_ascii=False), flush=True)
    if given.events == EVENTS:
        write_between("bench-city", steps_table(lines))


if __name__ == "__main__":
    main()
