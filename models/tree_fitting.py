"""Trees fitted to rows by LightGBM: the same bytes in every process, whatever the number of threads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.refusals import BadInput, Fault, did_you_mean
from models.need_parts import SMALLEST_LEAF, ModelSettings

if TYPE_CHECKING:
    import lightgbm

    from models.need import Need

_LARGE = 20_000
_BLOCK = 20_000
_SMALL_DEFAULTS: Mapping[str, int | float] = {
    "n_estimators": 200,
    "learning_rate": 0.03,
    "num_leaves": 12,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
}
_LARGE_DEFAULTS: Mapping[str, int | float] = {
    "n_estimators": 240,
    "learning_rate": 0.06,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
}
_NO_PARAMETERS = {"monotone", "imbalance", "recency_half_life_days"}


def parameters_for(
    need: Need, n_rows: int, parameters: Mapping[str, int | float] | None = None
) -> dict[str, int | float]:
    """Parameters of the trees: sensible for so many rows, untuned; the need's own above them; ``parameters`` above all.

    A leaf is to hold at least 20 rows whatever they say; :func:`grow_safely` makes it so.

    Raises
    ------
    BadInput
        ``parameters`` has a name that no need may set; LightGBM itself would pass over a misspelt one in silence.
    """
    known = sorted(set(ModelSettings.model_fields) - _NO_PARAMETERS)
    unknown = [name for name in parameters or {} if name not in known]
    if unknown:
        wrong = "is not a parameter that may be set"
        raise BadInput(*(Fault(f"parameters.{name}", wrong, did_you_mean(name, known)) for name in unknown))
    defaults = _SMALL_DEFAULTS if n_rows < _LARGE else _LARGE_DEFAULTS
    chosen = {**defaults, **need.model.parameters(), **(parameters or {})}
    chosen["min_data_in_leaf"] = max(SMALLEST_LEAF, int(chosen["min_data_in_leaf"]))
    return chosen


def categories_of(need: Need) -> dict[str, tuple[str, ...]]:
    """Columns whose numbers are places in a list of values, and the lists.

    A value that is not in the list has no place: it is missing, to the trees too.
    """
    return {
        feature.name: feature.categories
        for feature in need.features
        if feature.categories and feature.name in feature.columns()
    }


def binned(
    X: np.ndarray, y: np.ndarray, need: Need, parameters: Mapping[str, int | float], weight: np.ndarray | None = None
) -> lightgbm.Dataset:
    """The rows as LightGBM bins them, once for every fit: it holds no reference to ``X``, a byte or less per cell.

    Parameters
    ----------
    X : float32 (n, p)
    y : float64 (n,) of 0 and 1
    parameters : mapping
        As :func:`parameters_for` gives them.
    weight : float64 (n,), optional
    """
    import lightgbm

    data = lightgbm.Dataset(
        np.ascontiguousarray(X),
        y,
        weight=weight,
        feature_name=list(need.columns),
        categorical_feature=[need.columns.index(name) for name in categories_of(need)],
        params=settings_of(need, parameters, 0, len(y)),
    )
    return data.construct()


def grow(
    data: lightgbm.Dataset,
    need: Need,
    parameters: Mapping[str, int | float],
    seed: int,
    *,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> bytes:
    """The text of trees fitted to binned rows.

    Parameters
    ----------
    data : lightgbm.Dataset
        From :func:`binned`, with the same need and parameters.
    rows : int64 (m,), optional
        The rows to learn from, ascending; all if left out.
    threads : int, optional
        Default: all there are, or 1 for little work, where dividing costs more than it saves.
    """
    import lightgbm

    taught = data if rows is None else data.subset(rows.tolist())
    settings = settings_of(need, parameters, seed, data.num_data(), threads)
    text = lightgbm.train(settings, taught, int(parameters["n_estimators"])).model_to_string()
    # What follows are settings, thread count and paths among them; the trees are complete without.
    trees: str = text.split("\nparameters:", 1)[0] + "\n"
    return trees.encode("utf-8")


def grow_safely(
    data: lightgbm.Dataset,
    need: Need,
    parameters: Mapping[str, int | float],
    seed: int,
    *,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> tuple[bytes, dict[str, int | float]]:
    """Trees none of whose leaves holds fewer than 20 rows, and the parameters that made them so.

    LightGBM does not count the rows of a leaf before it makes it: it estimates them from their second derivatives,
    w·p·(1 − p), as if every row had the average one. Where need is rare, or rows are weighted, a leaf of one person can
    pass for twenty. So the leaves are counted afterwards. If one is too small the trees are grown again with a bound on
    the sum of the derivatives in a leaf (``min_sum_hessian_in_leaf``), first at what the estimate means on average,
    then twice that, and so on. No derivative is above w/4, so the bound of 20/4 of the highest weight is always enough.
    """
    taught = data if rows is None else data.subset(rows.tolist()).construct()
    trees, used = grow(taught, need, parameters, seed, threads=threads), dict(parameters)
    y, given = taught.get_label().astype(np.float64), taught.get_weight()
    weight = np.ones(len(y)) if given is None else given.astype(np.float64)
    share = float((weight * y).sum() / weight.sum())
    enough = SMALLEST_LEAF / 4 * float(weight.max())
    bound = float(parameters["min_data_in_leaf"]) * share * (1 - share)
    while smallest_leaf(trees) < SMALLEST_LEAF and used.get("min_sum_hessian_in_leaf", 0.0) < enough:
        used["min_sum_hessian_in_leaf"] = min(bound, enough)
        trees = grow(taught, need, used, seed, threads=threads)
        bound *= 2
    return trees, used


def smallest_leaf(trees: bytes) -> int:
    """Rows in the smallest leaf, of those that taught its tree."""
    lines = re.findall(rb"^leaf_count=(.*)$", trees, re.MULTILINE)
    return min((int(count) for line in lines for count in line.split()), default=0)


def settings_of(
    need: Need, parameters: Mapping[str, int | float], seed: int, n_rows: int, threads: int | None = None
) -> dict[str, Any]:
    """Everything LightGBM is told.

    Histograms are made column by column: made row by row, threads each sum a part of the rows, and in weighted sums the
    last bits then depend on how many they are.
    """
    settings: dict[str, Any] = {
        "objective": "binary",
        "deterministic": True,
        "force_col_wise": True,
        "seed": seed,
        "verbosity": -1,
        **{name: value for name, value in parameters.items() if name != "n_estimators"},
    }
    if threads is not None or n_rows < _LARGE:
        settings["num_threads"] = threads or 1
    if need.model.monotone:
        settings["monotone_constraints"] = need.model.constraints(need.columns)
    return settings


def raw_scores(trees: bytes, X: np.ndarray, rows: np.ndarray | None = None, threads: int | None = None) -> np.ndarray:
    """Raw scores by trees of some rows of a matrix, or of all: float64 (m,). Copies no more than a block of rows."""
    import lightgbm

    booster = lightgbm.Booster(model_str=trees.decode("utf-8"))
    found = np.empty(len(X) if rows is None else len(rows))
    for start in range(0, len(found), _BLOCK):
        stop = start + _BLOCK
        cells = X[start:stop] if rows is None else X[rows[start:stop]]
        found[start:stop] = booster.predict(np.ascontiguousarray(cells), raw_score=True, num_threads=threads or 0)
    return found
