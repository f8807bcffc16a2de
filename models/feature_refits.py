"""What each feature of a need is worth to its model: without it, and with it alone, refitted each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.arrays import read_only
from features.spec import FeatureSpec
from models.inner_origins import periods_of
from models.refits import Parameters, n_taught, rank_scores, ranking_difference, refuse_unlearnable
from models.tree_fitting import parameters_for

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need

WITHOUT, ALONE = "without", "alone"


def feature_value(
    train_matrix: Matrix,
    judged: Matrix,
    need: Need,
    seed: int,
    k: int,
    *,
    parameters: Parameters | None = None,
    weights: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    step: Callable[..., None] | None = None,
) -> pl.DataFrame:
    """Leave one feature out, and one in, by feature of the need file (all its windows and measures together).

    Every refit has the parameters, the seed and the rows of the model with all features, so a difference comes from
    the columns, and from the order in which the trees draw them: between two refits of equally good columns it is
    about as wide as the interval, seldom exactly 0. The interval is over persons (1 000 replicates, the same for both
    models) and not over training sets. A feature whose knowledge others share may show nothing when it is left out
    and much alone.

    Parameters
    ----------
    train_matrix : Matrix (m, p)
        What the candidate learnt from.
    judged : Matrix (n, p)
        Rows to compare on.
    need : Need
    seed : int
    k : int
        Capacity per period.
    parameters : mapping, optional
        Of the candidate, above the defaults and the need's.
    weights : float64 (m,), optional
        Of the training rows.
    weight : float64 (n,), optional
        Inverse-probability weights of the judged rows.
    step : callable, optional
        ``step(text, done, total)``.

    Returns
    -------
    pl.DataFrame
        ``feature``, ``change`` ("without" or "alone"), and the changed model less the one with all features:
        ``auc_difference``, ``auc_difference_low``, ``auc_difference_high``, ``found_difference`` (people in need
        found at capacity, over all periods), ``found_difference_low``, ``found_difference_high``. Below 0, the change
        loses. In the order of the file, "without" first. Of a need with one feature no row is "without".

    Raises
    ------
    BadInput
        A matrix of another need, or without labels.
    """
    refuse_unlearnable(train_matrix, need)
    outcome = refuse_unlearnable(judged, need)
    every = parameters_for(need, n_taught(train_matrix, need, weights), parameters)
    changes = _changes(need)
    what = f"{need.id}: refitting without each feature, and with each alone"

    def scores(features: Sequence[FeatureSpec]) -> np.ndarray:
        some = need.model_copy(update={"features": tuple(features)})
        columns = np.flatnonzero(np.isin(need.columns, some.columns))
        learnt = replace(train_matrix, X=read_only(train_matrix.X[:, columns]), names=some.columns)
        return rank_scores(learnt, judged.X[:, columns], some, seed, parameters=every, weights=weights)

    whole = scores(need.features)
    rows = []
    for done, (name, change, features) in enumerate(changes):
        if step is not None:
            step(what, done, len(changes))
        found = ranking_difference(
            label=outcome,
            ours=scores(features),
            theirs=whole,
            person=judged.keys["person_id"].to_numpy(),
            period=periods_of(judged, need),
            weight=weight,
            k=k,
            seed=seed,
        )
        rows.append((name, change, *found.auc, *found.found))
    schema = {"feature": pl.String, "change": pl.String, **_triple("auc_difference"), **_triple("found_difference")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _changes(need: Need) -> list[tuple[str, str, tuple[FeatureSpec, ...]]]:
    """Feature, change, and the features that are left."""
    changes = []
    for name in dict.fromkeys(feature.name for feature in need.features):
        others = tuple(feature for feature in need.features if feature.name != name)
        changes += [(name, WITHOUT, others)] if others else []
        changes.append((name, ALONE, tuple(feature for feature in need.features if feature.name == name)))
    return changes


def _triple(name: str) -> dict[str, Any]:
    return dict.fromkeys((name, f"{name}_low", f"{name}_high"), pl.Float64)
