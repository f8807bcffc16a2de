"""Scores, contributions and lists beside LightGBM's own prediction, as JSON lines: ``make bench-scoring``.

Boosters of 500 trees × 63 leaves on 300 columns (20 of categories) and on 2000 (50); rows with 15 % missing values and
with categories that no tree has seen. One thread; ours and the rival in turns; medians of CPU seconds. The rival gets
the cells in the form of memory in which it is fastest here, and its conversion is not counted. First both score a
million rows at 300 columns (``--rows``; fewer at 2000), block by block, and every bit is compared. Nothing timed
decides whether a test passes.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from contest import line

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

RUNS, AT_ONCE, K = 5, 10_000, 5_000
SEEN = 20
"""Categories that teach; later there are more."""
DAY = date(2026, 1, 1)
Cells = np.ndarray


def cells_of(n: int, p: int, n_categorical: int, seed: int, n_categories: int = SEEN) -> Cells:
    """Invented features: a third counts, the last ones categories, the rest measured; 15 % missing."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p), dtype=np.float32)
    X[:, : p // 3] = rng.poisson(1.5, (n, p // 3))
    X[:, p - n_categorical :] = rng.integers(0, n_categories, (n, n_categorical))
    X[rng.random((n, p), dtype=np.float32) < 0.15] = np.nan
    return X


def booster_of(p: int, n_categorical: int, n_trees: int) -> Any:
    """Trees that know numbers, missing values and sets of categories."""
    import lightgbm

    X = cells_of(6_000, p, n_categorical, seed=1)
    rng, known = np.random.default_rng(2), np.nan_to_num(X)
    score = known @ rng.normal(size=p) / np.sqrt(p) + np.sin(3 * known[:, 0]) * np.cos(known[:, p // 2])
    score += 0.5 * np.isin(known[:, -1], [1, 4, 7, 12]) - 0.4 * np.isin(known[:, -2], [2, 5, 7, 13])
    y = (score + rng.normal(size=len(X)) > np.quantile(score, 0.7)).astype(np.float64)
    settings = {"objective": "binary", "num_leaves": 63, "learning_rate": 0.05, "max_bin": 31, "min_data_in_leaf": 10}
    settings |= {"feature_fraction": min(1.0, 100 / p), "verbosity": -1, "num_threads": 1, "seed": 3}
    data = lightgbm.Dataset(X, y, categorical_feature=list(range(p - n_categorical, p)))
    return lightgbm.Booster(model_str=lightgbm.train(settings, data, n_trees).model_to_string())


def in_turns(contestants: dict[str, Callable[[], Any]], runs: int = RUNS) -> dict[str, float]:
    """Median CPU seconds of each, after one run that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for run in range(runs + 1):
        for name, work in contestants.items():
            start = time.process_time()
            work()
            if run:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


FORMS = {
    "float32, row by row": lambda X: np.ascontiguousarray(X, dtype=np.float32),
    "float64, row by row": lambda X: np.ascontiguousarray(X, dtype=np.float64),
    "float32, column by column": lambda X: np.asfortranarray(X, dtype=np.float32),
}


def best_form(booster: Any, X: Cells) -> str:
    """The form of memory in which the rival is fastest."""
    sample = {name: form(X[:2_000]) for name, form in FORMS.items()}
    seconds = in_turns({name: partial(predict, booster, cells) for name, cells in sample.items()}, runs=3)
    return min(seconds, key=lambda name: seconds[name])


def predict(booster: Any, X: Cells) -> Cells:
    """The rival."""
    return np.asarray(booster.predict(X, raw_score=True, num_threads=1))


def shuffled(X: Cells, n: int) -> Iterator[Cells]:
    """``n`` rows, block by block: in each, every column is turned by another number of rows."""
    rng = np.random.default_rng(9)
    for start in range(0, n, len(X)):
        turned = np.empty_like(X)
        for column, by in enumerate(rng.integers(0, len(X), X.shape[1]).tolist()):
            turned[:by, column], turned[by:, column] = X[len(X) - by :, column], X[: len(X) - by, column]
        yield turned[: n - start]


def scores(bench: str, booster: Any, n_categorical: int, n_compared: int, target: str) -> dict[str, Any]:
    """Raw scores."""
    from scoring.forest import Forest

    p = booster.num_feature()
    forest = Forest(booster.model_to_string().encode())
    assert forest.unknown is None, forest.unknown
    X = cells_of(AT_ONCE, p, n_categorical, seed=4, n_categories=SEEN + 5)
    form = best_form(booster, X)
    theirs = FORMS[form](X)
    furthest, equal = 0.0, True
    for block in shuffled(X, n_compared):
        ours, rival = forest.raw_scores(block, threads=1), predict(booster, block)
        furthest = max(furthest, float(np.abs(ours - rival).max()))
        equal &= ours.tobytes() == rival.tobytes()
    seconds = in_turns({"ours": lambda: forest.raw_scores(X, threads=1), "rival": lambda: predict(booster, theirs)})
    return line(
        bench, f"{AT_ONCE:,} rows x {p} columns, {booster.num_trees()} trees", "lightgbm", seconds["ours"],
        seconds["rival"], target, equal=equal, compared_rows=n_compared, max_difference=furthest, rival_form=form,
        ours_rows_per_s=round(AT_ONCE / seconds["ours"]), rival_rows_per_s=round(AT_ONCE / seconds["rival"]),
    )  # fmt: skip


def contributions(booster: Any, n_categorical: int, n: int = 256) -> dict[str, Any]:
    """Contributions to the raw scores of a short list."""
    from scoring.forest import Forest

    forest = Forest(booster.model_to_string().encode())
    X = cells_of(n, booster.num_feature(), n_categorical, seed=5, n_categories=SEEN + 5)
    added = np.asarray(booster.predict(X, pred_contrib=True, num_threads=1))
    furthest = float(np.abs(forest.contributions(X, threads=1) - added).max() / np.abs(added).max())
    few = np.asarray(booster.predict(X[:1], pred_contrib=True, num_threads=1))
    assert np.array_equal(few, added[:1])
    work = {
        "ours": lambda: forest.contributions(X, threads=1),
        "rival": lambda: booster.predict(X, pred_contrib=True, num_threads=1),
    }
    seconds = in_turns(work)
    size = f"{n} rows x {booster.num_feature()} columns, {booster.num_trees()} trees"
    return line(
        "contrib", size, "lightgbm", seconds["ours"], seconds["rival"], "≥ 2.5", equal=furthest <= 1e-12,
        relative_difference=f"{furthest:.1e}",
    )  # fmt: skip


def written(folder: Path, n: int, p: int, n_categorical: int) -> Path:
    """A matrix in a Parquet file, as the product writes it."""
    import polars as pl

    from features.blocks import write_blocks
    from features.matrix import Matrix

    names = tuple(f"f{j}" for j in range(p))

    def blocks() -> Iterator[Matrix]:
        X = cells_of(AT_ONCE, p, n_categorical, seed=6, n_categories=SEEN + 5)
        for number, block in enumerate(shuffled(X, n)):
            ids = [f"{number * AT_ONCE + row:09d}" for row in range(len(block))]
            yield Matrix(pl.DataFrame({"person_id": ids, "as_of_date": [DAY] * len(ids)}), block, names)

    return write_blocks(folder / f"matrix{n}x{p}.parquet", blocks()).path


def list_of(paths: list[Path], p: int, raw: Callable[[Cells], Cells], to: Path) -> Any:
    """From files to a file of scores and the best ``K``, by the product's own way with an engine of choice."""
    from scipy.special import expit
    from worker import register

    from models.ties import tie_keys
    from scoring.score_stream import parquet_blocks, stream_scores

    names = tuple(f"f{j}" for j in range(p))
    scorer: Any = SimpleNamespace(
        need=SimpleNamespace(id="bench"),
        model=SimpleNamespace(kind="model", columns=names, probability=expit),
        tie_keys=lambda ids, as_of_date: tie_keys(b"secret", ids, "0" * 64, as_of_date),
        raw_and_score=lambda X, threads: (scored := raw(X), expit(scored)),
    )
    return stream_scores(scorer, parquet_blocks(paths, names), register(), k=K, to=to, threads=1)


def listing(booster: Any, n_categorical: int, folder: Path, n: int) -> dict[str, Any]:
    """From a Parquet file to scores and the best, beside the same with the rival's engine."""
    from scoring.forest import Forest

    p = booster.num_feature()
    path = written(folder, n, p, n_categorical)
    forest = Forest(booster.model_to_string().encode())
    sample = cells_of(2_000, p, n_categorical, seed=7)
    # The blocks come column by column: what another form costs to make is the rival's to pay.
    by_form = {name: (lambda X, form=form: predict(booster, form(X))) for name, form in FORMS.items()}
    columns = np.asfortranarray(sample)
    seconds = in_turns({name: partial(engine, columns) for name, engine in by_form.items()}, runs=3)
    form = min(seconds, key=lambda name: seconds[name])
    engines = {"ours": lambda X: forest.raw_scores(X, threads=1), "rival": by_form[form]}
    files = {name: folder / f"{name}.parquet" for name in engines}
    work = {name: partial(list_of, [path], p, engine, files[name]) for name, engine in engines.items()}
    same = work["ours"]().equals(work["rival"]()) and files["ours"].read_bytes() == files["rival"].read_bytes()
    seconds = in_turns(work, runs=3)
    size = f"{n:,} rows x {p} columns, best {K:,}"
    return line(
        "list_from_parquet", size, "lightgbm", seconds["ours"], seconds["rival"], "≥ 1.9", equal=same, rival_form=form
    )


def peak_of(text: Path, part: Path, times: int) -> None:
    """In a process of its own: a list from a file read so many times over; prints the most memory it ever had."""
    from worker import peak_mb

    from scoring.forest import Forest

    forest, start = Forest(text.read_bytes()), time.process_time()
    list_of([part] * times, forest.n_features, lambda X: forest.raw_scores(X, threads=1), part.with_suffix(".scores"))
    print(json.dumps({"peak_mb": peak_mb(), "cpu_s": time.process_time() - start}))


def memory(folder: Path) -> dict[str, Any]:
    """Peak memory at five million rows beside that at one million."""
    p, n_categorical, part_rows = 40, 5, 500_000
    text, part = folder / "trees.txt", written(folder, part_rows, p, n_categorical)
    text.write_text(booster_of(p, n_categorical, 100).model_to_string(), encoding="utf-8")
    found = []
    for times in (2, 10):
        command = [sys.executable, __file__, "--peak-of", str(text), str(part), str(times)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    few, many = found
    return line(
        "list_peak_memory", f"5,000,000 rows x {p} columns ÷ 1,000,000", "ourselves", many["cpu_s"], few["cpu_s"],
        "≤ 1.1", ratio=many["peak_mb"] / few["peak_mb"], peak_mb=many["peak_mb"], peak_mb_at_1m=few["peak_mb"],
    )  # fmt: skip


def main() -> None:
    """Print a line for each bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows compared bit by bit at 300 columns")
    parser.add_argument("--wide-rows", type=int, default=100_000, help="the same at 2000 columns")
    parser.add_argument("--list-rows", type=int, default=50_000)
    parser.add_argument("--only", choices=("forest_300", "forest_2000", "contrib", "list_from_parquet", "memory"))
    parser.add_argument("--peak-of", nargs=3)
    options = parser.parse_args()
    if options.peak_of:
        text, part, times = options.peak_of
        peak_of(Path(text), Path(part), int(times))
        return

    def wanted(*names: str) -> bool:
        return options.only is None or options.only in names

    def say(found: dict[str, Any]) -> None:
        print(json.dumps(found, ensure_ascii=False), flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if wanted("forest_300", "contrib", "list_from_parquet"):
            booster = booster_of(300, 20, 500)
            if wanted("forest_300"):
                say(scores("forest_300", booster, 20, options.rows, "≥ 2.5"))
            if wanted("contrib"):
                say(contributions(booster, 20))
            if wanted("list_from_parquet"):
                say(listing(booster, 20, folder, options.list_rows))
        if wanted("forest_2000"):
            say(scores("forest_2000", booster_of(2000, 50, 500), 50, options.wide_rows, "≥ 1.9"))
        if wanted("memory"):
            say(memory(folder))


if __name__ == "__main__":
    main()
