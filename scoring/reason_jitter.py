"""Whether the reasons that are told would be the same, had every record been a little off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.input_noise import jittered
from models.interval_ends import ends
from models.reason_stability import MOST_PEOPLE, REASONS, group_sums
from scoring.forest import contributions
from scoring.reasons import Explainer

if TYPE_CHECKING:
    from features.matrix import Matrix
    from features.matrix_file import MatrixOnFile
    from scoring.cohort_columns import CohortColumns

DRAWS = 5
_RESAMPLED = 400


def reason_stability(
    model: Any,
    matrix: Matrix | MatrixOnFile,
    rows: np.ndarray,
    columns: CohortColumns,
    *,
    reader: str,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Share of people's first three reasons that stay among the first three when every value is a little off.

    The reasons are those that are told (:meth:`scoring.reasons.Explainer.choose`), grouped as they are told. The
    values move as in check C705 (:func:`models.input_noise.jittered`): by the usual step between a column's values.

    Parameters
    ----------
    model : NeedModel or RuleModel
    matrix : Matrix
        What was scored.
    rows : int (m,)
        The people listed; of more than 100, so many are taken, evenly.
    columns : CohortColumns
        Of the matrix: what is typical, and the usual steps.
    reader : str
    seed : int

    Returns
    -------
    dict or None
        ``kept`` (mean over people and draws, in [0, 1]), its bounds ``low`` and ``high`` over people, ``people``,
        ``draws``; None for a rule, whose reasons are its order, and where nobody is listed.
    """
    if model.need.kind == "rule" or not len(rows):
        return None
    few = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_PEOPLE)).astype(np.int64))
    X = matrix.take(np.asarray(rows, dtype=np.int64)[few]).X
    explainer, quanta = Explainer(model.need, columns.typical, reader), columns.quanta
    rng = np.random.default_rng(seed)
    ours = _first(model, explainer, X)
    kept = np.empty((DRAWS, len(X)))
    for d in range(DRAWS):
        theirs = _first(model, explainer, jittered(X, quanta, rng))
        kept[d] = [len(a & b) / len(a) if a else 1.0 for a, b in zip(ours, theirs, strict=True)]
    of_people = kept.mean(axis=0)
    low, high = ends(rng.choice(of_people, (_RESAMPLED, len(X))).mean(axis=1))
    return {"kept": float(of_people.mean()), "low": low, "high": high, "people": len(X), "draws": DRAWS}


def _first(model: Any, explainer: Explainer, X: np.ndarray) -> list[frozenset[int]]:
    """The groups of everybody's first three reasons."""
    added = contributions(model, X)[:, :-1]
    sums = group_sums(added, explainer.group_of)
    chosen = (explainer.choose(v, c, s) for v, c, s in zip(X, added, sums, strict=True))
    return [frozenset(choice.groups[:REASONS]) for choice in chosen]
