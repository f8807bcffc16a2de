"""Every timing, printed as JSON lines: ``make bench``. Nothing timed decides whether a test passes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ENNAKKO = Path(sys.executable).with_name("ennakko")


def time_of_help(runs: int = 5) -> dict[str, object]:
    """How long ``ennakko --help`` takes as a whole process, warm disk, beside an empty Python process."""
    seconds: dict[str, list[float]] = {"ours": [], "rival": []}
    commands = {"ours": [str(ENNAKKO), "--help"], "rival": [sys.executable, "-c", "pass"]}
    for run in range(runs + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if run:  # the first warms the disk
                seconds[name].append(time.perf_counter() - start)
    ours, rival = (statistics.median(seconds[name]) for name in ("ours", "rival"))
    return {
        "bench": "help",
        "size": runs,
        "rival": "python -c pass",
        "ours_s": round(ours, 3),
        "rival_s": round(rival, 3),
        "ratio": round(rival / ours, 3),
        "target": "ours_s < 0.5",
        "met": ours < 0.5,
    }


if __name__ == "__main__":
    print(json.dumps(time_of_help()))
