"""Whether more people to learn from would help: the same model taught by growing shares of the training persons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ethics.refusals import BadInput, Fault
from models.inner_origins import FEWEST_OF_EACH, periods_of, rarer
from models.metrics import evaluate
from models.refits import Parameters, n_taught, rank_scores, refuse_unlearnable
from models.splits import hash_share
from models.tree_fitting import parameters_for

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need

SHARES = (0.1, 0.25, 0.5, 1.0)
MEASURES = ("auc", "precision_at_capacity", "recall_at_capacity")


def learning_curve(
    train_matrix: Matrix,
    judged: Matrix,
    need: Need,
    seed: int,
    *,
    parameters: Parameters | None = None,
    weights: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    k: int | None = None,
    shares: Sequence[float] = SHARES,
    step: Callable[..., None] | None = None,
) -> pl.DataFrame:
    """Ranking by models taught by growing shares of the training persons.

    A smaller share's persons are among a larger one's, drawn by seed. Every model has the parameters of the whole, so
    only the number of persons changes. The intervals are over judged persons; that another tenth would have taught
    another model is not in them, so neighbouring points differ by more than they show.

    Parameters
    ----------
    train_matrix : Matrix
        What the candidate learnt from, all rows of a person together.
    judged : Matrix
        Rows to measure on, ranked within their period.
    need : Need
    seed : int
    parameters : mapping, optional
        Of the candidate, above the defaults and the need's.
    weights : float64 (m,), optional
        Of the training rows.
    weight : float64 (n,), optional
        Inverse-probability weights of the judged rows.
    k : int, optional
        Places of a period; the need's capacity if left out.
    shares : sequence of float in (0, 1]
    step : callable, optional
        ``step(text, done, total)``.

    Returns
    -------
    pl.DataFrame
        ``share``, ``persons``, ``rows`` (with a known outcome), then value, ``_low`` and ``_high`` of ``auc``,
        ``precision_at_capacity`` and ``recall_at_capacity``; null where a share holds fewer than ten in need, or ten
        not in need, to learn from. By share.

    Raises
    ------
    BadInput
        A share that is none; a matrix of another need, or without labels.
    """
    if wrong := [share for share in shares if not 0 < share <= 1]:
        raise BadInput(Fault("shares", f"hold {wrong[0]}", "Give shares above 0, up to 1"))
    labels, outcome = refuse_unlearnable(train_matrix, need), refuse_unlearnable(judged, need)
    every = parameters_for(need, n_taught(train_matrix, need, weights), parameters)
    place = hash_share(train_matrix.keys["person_id"].to_list(), f"learning curve {seed}")
    shares = sorted(set(shares))
    rows = []
    for done, share in enumerate(shares):
        if step is not None:
            step(f"{need.id}: learning from fewer", done, len(shares))
        chosen = place < share
        learnt = train_matrix.rows(chosen)
        n_known = int(np.isfinite(labels[chosen]).sum())
        measured: list[float | None] = [None] * (3 * len(MEASURES))
        if rarer(labels[chosen]) >= FEWEST_OF_EACH:
            some = None if weights is None else np.asarray(weights)[chosen]
            scores = rank_scores(learnt, judged.X, need, seed, parameters=every, weights=some)
            found = evaluate(
                label=outcome,
                rank_score=scores,
                probability=None,
                person=judged.keys["person_id"].to_numpy(),
                k=need.listed_k if k is None else k,
                seed=seed,
                period=periods_of(judged, need),
                weight=weight,
            )
            measured = [number for name in MEASURES for number in found[name]]
        rows.append((share, learnt.keys["person_id"].n_unique(), n_known, *measured))
    numbers = {f"{name}{end}": pl.Float64 for name in MEASURES for end in ("", "_low", "_high")}
    schema = {"share": pl.Float64, "persons": pl.Int64, "rows": pl.Int64, **numbers}
    return pl.DataFrame(rows, schema=schema, orient="row")
