"""Twenty runs of ``list`` and twenty of ``week``, each killed at a random moment and then run again.

A moment is a file opened, renamed or removed, a statement of the database before and after it ran, or a commit. After
each kill there is no list or a whole one; the next run must give the very digests of a run that nobody disturbed, reuse
no id, and (``week``) make no second list. Prints a table; exits with 1 when a run differs.

    python tests/benchmarks/kills_week.py [--kills 20] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

_HEADS = "command  kill   moment  lists kept  digests  ids   whole  lists then"


def main() -> int:
    """Run the trial; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    from week_world import OTHER, YOUTH, week_world

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        week_world(folder, (YOUTH, OTHER))
        print(_HEADS)
        failed = sum(_trial(folder, command, chosen.kills, chosen.seed) for command in ("list", "week"))
    print(f"{2 * chosen.kills} kills; {failed} failed")
    return 1 if failed else 0


def _trial(folder: Path, command: str, kills: int, seed: int) -> int:
    from killed_run import moments_of, run_killed

    whole = run_killed(0, _words(folder, command, f"{command}-whole"))
    if whole.returncode:
        raise SystemExit(whole.stderr)
    undisturbed = _digests(json.loads(whole.stdout))
    failed = 0
    for kill, moment in enumerate(moments_of(whole, kills, seed), 1):
        words = _words(folder, command, f"{command}-{kill}")
        killed = run_killed(moment, words)
        home = _home(folder / f"{command}-{kill}")
        before = home.store.lists()
        again = run_killed(0, words)
        digests = again.returncode == 0 and _digests(json.loads(again.stdout)) == undisturbed
        after = home.store.lists()
        ids = after["list_id"].is_unique().all() and set(before["list_id"]) <= set(after["list_id"])
        most = 1 if command == "week" else 2  # another `list` is another list, of the same people
        n_each = Counter(after["need_id"])
        once = set(n_each) == set(undisturbed) and max(n_each.values()) <= most
        is_whole = _is_whole(home, after)
        is_killed = killed.returncode == -signal.SIGKILL
        failed += not (digests and ids and once and is_whole and is_killed)
        said = ["same" if digests else "OTHER", "new" if ids else "REUSED", "yes" if is_whole else "NO"]
        columns = f"{said[0]:7}  {said[1]:4}  {said[2]:5}  {after.height:10}"
        print(f"{command:7} {kill:5} {moment:8,} {before.height:11}  {columns}{'' if is_killed else '  NOT KILLED'}")
        shutil.rmtree(folder / f"{command}-{kill}")
    return failed


def _words(folder: Path, command: str, name: str) -> list[Any]:
    from week_world import OTHER, YOUTH

    shutil.copytree(folder / "home", folder / name)
    needs = (YOUTH, OTHER) if command == "week" else (YOUTH,)
    asked = [word for need in needs for word in ("--need", folder / f"{need}.toml")]
    return [command, "--city", folder / "city", "--home", folder / name, "--as-of", "2024-06-03", *asked, "--json"]


def _digests(said: dict[str, Any]) -> dict[str, str]:
    return {need["need"]: need["list_digest"] for need in said.get("needs", [said])}


def _home(root: Path) -> Any:
    from serving.home import Home
    from serving.settings import Settings

    return Home(Settings(home=root))


def _is_whole(home: Any, lists: Any) -> bool:
    """Whether every list has its files as recorded, and there is no other file."""
    from ethics.digests import sha256

    for need_id, list_id in lists.select("need_id", "list_id").iter_rows():
        exports = home.store.exports(list_id=list_id).select("file", "sha256").iter_rows()
        here = home.lists / need_id / list_id
        found = {path.name: sha256(path.read_bytes()) for path in here.iterdir()}
        if {Path(file).name: digest for file, digest in exports} != found or home.store.proof(list_id).faults:
            return False
    folders = {path.name for need in home.lists.glob("[!.]*") for path in need.iterdir()}
    return folders == set(lists["list_id"])


if __name__ == "__main__":
    sys.exit(main())
