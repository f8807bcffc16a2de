"""A made-up past to search parameters on: eight half-years, one column that matters, one store per folder."""

import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import expit
from test_need import MODEL_NEED

from features.arrays import read_only
from features.matrix import Matrix
from models.need import parse_need
from models.selection import search
from models.splits import split_periods

OWN = "num_leaves = 15\nlearning_rate = 0.05"
DAYS = tuple(date(2019 + i // 2, 1 + 6 * (i % 2), 1) for i in range(8))
EXTRACT = date(2023, 12, 31)


def need_with(model="n_estimators = 25", *, old=OWN, **changes):
    """The complete need of the tests with other settings of the trees; ``changes`` replace values of the file."""
    text = MODEL_NEED.replace(old, model)
    for key, value in changes.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(line, f"{key} = {value}")
    return parse_need(text.encode(), "youth.toml")


NEED = need_with()


def past(n=400, days=DAYS, seed=0, chance=None):
    """``n`` persons on each day; need is more likely the more absences in the first column."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(3, size=(n * len(days), len(NEED.columns))).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    p = expit(np.nan_to_num(X[:, 0]) * 0.5 - 3) if chance is None else chance(X)
    y = (rng.random(len(X)) < p).astype(np.float64)
    y[rng.random(len(X)) < 0.05] = np.nan
    ids = [f"person-{i:05d}" for _ in days for i in range(n)]
    keys = pl.DataFrame({"person_id": ids, "as_of_date": [day for day in days for _ in range(n)]})
    return Matrix(keys=keys, X=read_only(X), names=NEED.columns, y=read_only(y))


def split_of(need=NEED, days=DAYS, extract=EXTRACT):
    return split_periods(days, need.label, extract, need.splits)


def searched(store, trials=6, *, matrix=None, need=NEED, seed=1, **options):
    return search(matrix or past(), need, split_of(need), seed, trials=trials, store=Path(store), **options)


if __name__ == "__main__":  # a search to be killed: store, trials, workers
    store, trials, workers = sys.argv[1:]
    searched(store, int(trials), workers=int(workers), step=lambda *said: print(*said, flush=True))
