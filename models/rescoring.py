"""Whether a model gives the same scores again, to the byte (check C704)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

    from models.rule import RuleModel
    from models.training import NeedModel

ROWS = 1000
"""Rows that are scored again; a rule, whose places compare all rows, takes all."""
_ALONE = 10


def rescoring(
    model: NeedModel | RuleModel, X: np.ndarray, raw: np.ndarray, at: np.ndarray | None = None
) -> dict[str, int]:
    """Score rows again, together and some of them alone, and compare with what they were given.

    Parameters
    ----------
    X : float32 (n, p)
    raw : float64 (m,)
        The scores that rows were given.
    at : int (m,), optional
        Which rows; all if left out.

    Returns
    -------
    dict
        ``rows`` (scored again), ``different`` (of these, not the same to the byte).
    """
    given = np.ascontiguousarray(raw, dtype=np.float64)
    rows = np.arange(len(X)) if at is None else np.asarray(at, dtype=np.int64)
    if model.kind == "rule":
        return {"rows": len(rows), "different": int(_differ(model.raw(X)[rows], given).sum())}
    some = rescored(len(rows))
    rows, given = rows[some], given[some]
    wrong = _differ(model.raw(X[rows]), given)
    for i in range(0, len(rows), max(1, len(rows) // _ALONE)):
        wrong[i] |= _differ(model.raw(X[rows[i : i + 1]]), given[i : i + 1])[0]
    return {"rows": len(rows), "different": int(wrong.sum())}


def rescored(n: int) -> NDArray[np.int64]:
    """Which of ``n`` rows a model scores again: evenly spread, so that they are the same each time."""
    return np.arange(n) if n <= ROWS else np.linspace(0, n - 1, ROWS).astype(np.int64)


def _differ(again: np.ndarray, given: np.ndarray) -> NDArray[np.bool_]:
    return np.asarray(np.ascontiguousarray(again).view(np.uint64) != given.view(np.uint64))


def rescoring_kept(
    model: NeedModel | RuleModel, rows: pl.DataFrame, features: pl.DataFrame | None
) -> dict[str, Any] | None:
    """As :func:`rescoring`, of the judged rows that a run kept; None where it kept no features.

    Parameters
    ----------
    rows : polars.DataFrame
        ``person_id``, ``rank_score``: as they were scored at training.
    features : polars.DataFrame or None
        ``person_id`` and the model's columns.
    """
    if features is None:
        return None
    scored = features.select("person_id").join(rows.select("person_id", "rank_score"), on="person_id", how="left")
    X = np.ascontiguousarray(features.select(model.columns).to_numpy(), dtype=np.float32)
    return rescoring(model, X, scored["rank_score"].to_numpy())
