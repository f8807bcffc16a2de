"""Parts that need a process of their own: ``python children.py stream|warm|fresh …``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from event_world import AS_OF_DATES, all_features
from worker import CONTESTANTS, NEED, Rival, keys_of, peak_mb, register


def stream(folder: str) -> None:
    """Spec A over a city in blocks, each looked at and let go; prints the most memory this process ever had."""
    from features import open_city
    from features.blocks import matrix_blocks

    start = time.process_time()
    city = open_city(folder)
    opened_s, opened_mb = time.process_time() - start, peak_mb()
    keys = keys_of(city, list(AS_OF_DATES))
    n_rows = 0
    for block in matrix_blocks(city, all_features("A"), keys, objections=register(), need_id=NEED):
        n_rows += block.X.shape[0]
    found = {"rows": n_rows, "cpu_s": time.process_time() - start, "peak_mb": peak_mb()}
    print(json.dumps(found | {"opened_s": opened_s, "opened_mb": opened_mb}))


def warm() -> None:
    """CPU seconds until every kernel is ready."""
    from features import warm_up

    start = time.process_time()
    warm_up()
    print(time.process_time() - start)


def fresh(who: str, folder: str) -> None:
    """One run of one contestant."""
    task = {"who": who, "folder": folder, "block": "A", "knowledge": False}
    matrix, _ = CONTESTANTS.get(who, Rival)(task, list(AS_OF_DATES)).run()
    print(Path(folder).name, matrix.shape)


if __name__ == "__main__":
    {"stream": stream, "warm": warm, "fresh": fresh}[sys.argv[1]](*sys.argv[2:])
