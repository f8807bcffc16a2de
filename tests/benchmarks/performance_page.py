"""Writes benchmark tables between the markers of ``docs/performance.md``, with the facts of the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_PACKAGES = ("numba", "numpy", "polars", "duckdb", "pandas", "pyarrow")


def write_table(lines: list[dict[str, Any]], name: str = "bench-features") -> None:
    """Put the table of some lines where the page keeps it; everything outside the markers stays as it is."""
    write_between(name, f"{_table(lines)}\n{_missed(lines)}")


def write_between(name: str, table: str) -> None:
    """Put what was measured between the markers of a name, after the facts of the machine."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    PAGE.write_text(f"{before}{begin}\n{_machine()}\n\n{table}\n{end}{after}", encoding="utf-8")


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} processors ({platform.machine()}), {memory:.0f} GB of memory, "
        f"Python {platform.python_version()}, {packages}."
    )


def _table(lines: list[dict[str, Any]]) -> str:
    rows = [
        "| what | size | beside | ours, s | theirs, s | ratio, or figure | equal | demand | met |",
        "|---" * 9 + "|",
    ]
    for found in lines:
        equal = {None: "", True: "yes", False: "NO"}[found["equal"]]
        if found.get("to_the_bit"):
            equal = "to the bit"
        met = {None: "", True: "yes", False: "**no**"}[found["met"]]
        seconds = [f"{found[name]:.3f}" if found[name] else "" for name in ("ours_s", "rival_s")]
        cells = [found["bench"], found["size"], found["rival"], *seconds, f"{found['ratio']:,.2f}", equal]
        rows.append("| " + " | ".join(map(str, [*cells, found["target"], met])) + " |")
    steps = [f"{name} {s:,.1f} s" for found in lines for name, s in found.get("seconds", {}).items()]
    return "\n".join(rows + (["", "Steps: " + ", ".join(steps) + "."] if steps else []))


def _missed(lines: list[dict[str, Any]]) -> str:
    missed = [f"{found['bench']} ({found['rival'] or found['size']})" for found in lines if found["met"] is False]
    if not missed:
        return "\nEvery demand is met in this run."
    return "\n**Missed in this run:** " + "; ".join(missed) + "."
