"""Twenty builds of a cached matrix of an invented city, each killed at a random moment and then run again.

After each kill the next run must end in the digest, and leave the very files, of a build that nobody disturbed. Prints
a table; exits with 1 when a run differs, or when no kill fell inside a build.

    python tests/benchmarks/kills.py [--kills 20] [--persons 20000] [--seed 1]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SECRET = b"a secret for this trial alone"
_BLOCK_PERSONS = 512
_DATES = tuple(date(2023, month, 1) for month in (1, 4, 7, 10))


def build(city_folder: Path, cache_folder: Path) -> None:
    """One build, in a process that may be killed: says when it begins, and at the end its digest and what it did."""
    import polars as pl
    from sqlalchemy import create_engine

    from ethics.objections import ObjectionRegister
    from features.cache import FeatureCache
    from features.city import open_city
    from features.matrix import build_matrix
    from features.spec import FeatureSpec

    city = open_city(city_folder)
    kinds = sorted({code.partition(".")[0] for code in city.events.codes})
    measures = ["count", "sum", "mean", "max", "days_since_last"]
    features = [
        *(FeatureSpec(name=k, codes=[f"{k}*"], windows=[30, 90, 365, "ever"], measures=measures) for k in kinds),
        FeatureSpec(attribute="age"),
    ]
    keys = pl.DataFrame({"person_id": city.events.person_ids}).join(
        pl.DataFrame({"as_of_date": list(_DATES)}), how="cross"
    )
    objections = ObjectionRegister(create_engine("sqlite://"), b"a key for this trial alone")
    # Few cells at a time, so that many packs are written one after the other and a kill falls between them.
    cache = FeatureCache(cache_folder, secret=_SECRET, block_persons=_BLOCK_PERSONS, cells_at_once=1)
    print("begun", flush=True)
    matrix = build_matrix(city, features, keys, objections=objections, need_id="trial", cache=cache)
    print(matrix.digest, cache.last_use.n_cached, cache.last_use.n_computed, flush=True)


def main() -> int:
    """Run the trial; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--persons", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", nargs=2, type=Path, metavar=("CITY", "CACHE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.build:
        build(*chosen.build)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _trial(Path(folder), chosen.kills, chosen.persons, chosen.seed)


def _trial(folder: Path, n_kills: int, n_persons: int, seed: int) -> int:
    from features.synthetic import synthetic_city

    city, random_moment = folder / "city", random.Random(seed)
    synthetic_city(city, n_persons, seed=seed)
    _run(_begin(city, folder / "warming"))  # compiles
    begun = _begin(city, folder / "undisturbed")
    start = time.time()
    digest, *_ = _run(begun)
    lasts = max(path.stat().st_mtime for path in (folder / "undisturbed").rglob("*.pack")) - start
    undisturbed = _files(folder / "undisturbed")
    n_packs, n_failed, n_inside = len(undisturbed), 0, 0
    print(f"{n_persons:,} persons, {n_packs:,} packs, the last of them written after {lasts:.1f} s: {digest[:16]}")
    print("kill   after  packs kept  drafts  then cached  then computed  digest  files")
    for kill in range(1, n_kills + 1):
        cache, after = folder / f"killed{kill}", random_moment.uniform(0, lasts)
        child = _begin(city, cache)
        time.sleep(after)
        child.kill()
        child.communicate()
        left = _files(cache)
        n_drafts = sum(Path(name).name.startswith(".") for name in left)
        n_kept = len(left) - n_drafts
        again, n_cached, n_computed = _run(_begin(city, cache))
        same_digest, same_files = again == digest, _files(cache) == undisturbed
        n_failed += not (same_digest and same_files)
        n_inside += 0 < n_kept < n_packs
        verdict = "  ".join("same  " if same else "OTHER " for same in (same_digest, same_files))
        print(f"{kill:4} {after:6.2f}s {n_kept:11,} {n_drafts:7} {n_cached:>12} {n_computed:>14}  {verdict}")
    print(f"{n_kills} kills, {n_inside} of them between the first pack and the last; {n_failed} failed")
    return 1 if n_failed or not n_inside else 0


def _begin(city: Path, cache: Path) -> subprocess.Popen[str]:
    """A build that has just begun."""
    command = [sys.executable, str(Path(__file__).resolve()), "--build", str(city), str(cache)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    if child.stdout.readline() != "begun\n":
        raise SystemExit("a build did not begin")
    return child


def _run(child: subprocess.Popen[str]) -> list[str]:
    """Digest, columns found and columns computed of a build that is left to end."""
    out, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"a build ended with {child.returncode}")
    return out.split()


def _files(folder: Path) -> dict[str, str]:
    """Path → SHA-256 of every file in a cache, the lock aside."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


if __name__ == "__main__":
    sys.exit(main())
