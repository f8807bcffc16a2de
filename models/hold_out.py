"""Does it also work where it has never been? Each district (or other value) judged by a model without its residents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.baseline_orders import attribute_of_rows
from models.experiment_layout import Layout
from models.metrics import CALIBRATION, RANKING, REPLICATES, Estimate, evaluate
from models.splits import places_for
from models.training import NeedModel, train

if TYPE_CHECKING:
    from features.matrix import Matrix

FEWEST_JUDGED = 100
"""Judged persons with a known outcome that a value needs to be held out by itself."""
FEWEST_OF_EACH = 10
"""Of these in need, and not in need; and of training rows that are left."""

_MEASURES = (*RANKING, *CALIBRATION, "auc_of_candidate")


def hold_out_table(
    laid: Layout,
    candidate: NeedModel,
    attribute: str,
    step: Callable[..., None],
    *,
    parameters: Mapping[str, int | float] | None = None,
    replicates: int = REPLICATES,
) -> pl.DataFrame:
    """Judge the residents of each district (or whatever the attribute is) by a model that knew none of them.

    The attribute is read as of each row's date, and is no feature. The model is trained on the candidate's dates,
    without rows of that value and without the persons who are judged there, wherever they lived before.

    Parameters
    ----------
    laid : Layout
    candidate : NeedModel
        Measured on the same persons, for comparison.
    attribute : str
    step : callable
        Told of each training.
    parameters : mapping, optional
        As the candidate's were given to :func:`models.training.train`.

    Returns
    -------
    polars.DataFrame
        ``value``, ``n`` (judged persons), ``in_need`` (of those whose outcome is known), ``k`` (the capacity's share
        of places, at least 1), then ``auc``, ``average_precision``, ``precision_at_capacity``,
        ``recall_at_capacity``, ``calibration_error``, ``calibration_slope``, ``calibration_intercept`` and
        ``auc_of_candidate``, each with ``_low`` and ``_high``; the largest value first. Values of too few persons
        stand together in a last row without figures, and who has none in it too.
    """
    values = attribute_of_rows(laid.city, laid.matrix.keys, attribute)
    assert values is not None  # refused when the experiment was laid out
    judged = laid.matrix.rows(laid.judged)
    assert judged.y is not None
    of_judged = values.filter(pl.Series(laid.judged))
    weights = None if laid.test_weights is None else laid.test_weights[laid.judged]
    large, small = _by_size(of_judged, judged.y)
    rows = []
    for done, value in enumerate(large):
        step(f"{laid.need.id}: training without {attribute} {done + 1} of {len(large)}", done, len(large))
        here = (of_judged == value).fill_null(False).to_numpy()
        model = _without(laid, values, value, judged.keys["person_id"].filter(pl.Series(here)), parameters)
        k = places_for(laid.k, int(here.sum()), len(here))
        part = judged.rows(here)
        weight = None if weights is None else weights[here]
        figures = _measured(model, candidate, part, k, weight, laid.seed, replicates)
        rows.append((value, int(here.sum()), _n_in_need(judged.y[here]), k, *figures))
    if small:
        few = (~of_judged.is_in(large)).fill_null(True).to_numpy()
        empty = [None] * (3 * len(_MEASURES))
        rows.append((f"({small} smaller or unknown)", int(few.sum()), _n_in_need(judged.y[few]), None, *empty))
    figures_of = {f"{name}{end}": pl.Float64 for name in _MEASURES for end in ("", "_low", "_high")}
    schema = {"value": pl.String, "n": pl.Int64, "in_need": pl.Int64, "k": pl.Int64, **figures_of}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _by_size(values: pl.Series, y: NDArray[np.float64]) -> tuple[list[str], int]:
    """Values with enough persons, the largest first; and how many others there are, those without any being one."""
    counted = (
        pl.DataFrame({"value": values, "y": pl.Series(y).fill_nan(None)})
        .group_by("value")
        .agg(n=pl.len(), known=pl.col("y").count(), in_need=pl.col("y").sum())
        .sort(["n", "value"], descending=[True, False])
    )
    enough = counted.filter(
        pl.col("value").is_not_null(),
        pl.col("known") >= FEWEST_JUDGED,
        pl.col("in_need") >= FEWEST_OF_EACH,
        pl.col("known") - pl.col("in_need") >= FEWEST_OF_EACH,
    )
    return enough["value"].to_list(), counted.height - enough.height


def _without(
    laid: Layout, values: pl.Series, value: str, persons: pl.Series, parameters: Mapping[str, int | float] | None
) -> NeedModel | None:
    """A model that learnt from nobody with the value; None where too little is left to learn from."""
    residents = (values == value).fill_null(False).to_numpy()
    judged_there = laid.matrix.keys["person_id"].is_in(persons.implode()).to_numpy()
    rows = laid.taught(laid.split.candidate) & ~residents & ~judged_there
    assert laid.matrix.y is not None
    y = laid.matrix.y[rows]
    in_need = _n_in_need(y)
    if min(in_need, int(np.isfinite(y).sum()) - in_need) < FEWEST_OF_EACH:
        return None
    return train(laid.matrix.rows(rows), laid.need, laid.seed, weights=laid.weights(rows), parameters=parameters)


def _measured(
    model: NeedModel | None,
    candidate: NeedModel,
    part: Matrix,
    k: int,
    weight: NDArray[np.float64] | None,
    seed: int,
    replicates: int,
) -> list[float | None]:
    """Values of :data:`_MEASURES` with their intervals, one after the other."""

    def figures(scored: NeedModel) -> dict[str, Estimate]:
        raw = scored.raw(part.X)
        assert part.y is not None
        return evaluate(
            label=part.y,
            rank_score=raw,
            probability=scored.probability(raw),
            person=part.keys["person_id"].to_numpy(),
            k=k,
            seed=seed,
            weight=weight,
            replicates=replicates,
        )

    without = {} if model is None else figures(model)
    found = {**without, "auc_of_candidate": figures(candidate)["auc"]}
    nothing = Estimate(np.nan, np.nan, np.nan)
    numbers = [number for name in _MEASURES for number in found.get(name, nothing)]
    return [float(number) if np.isfinite(number) else None for number in numbers]


def _n_in_need(y: NDArray[np.float64]) -> int:
    return int(np.nansum(y))
