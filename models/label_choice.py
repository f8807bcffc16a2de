"""The same people ranked by other labels: trees taught each independent indicator in the label's place.

Who would be listed then, by group, is counted at judging, where the groups are (:mod:`ethics.label_audit`).
Source: Obermeyer et al. 2019, Science 366:447, table 2 (the same algorithm trained on cost, avoidable cost, illness).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ethics.label_audit import RANKED_BY
from models.column_rankers import sampled_rows
from models.tree_fitting import binned, grow_safely, parameters_for, raw_scores

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need

MOST_ROWS = 20_000
"""Training rows at most: who is listed is asked by group, which needs no finer ranking."""

_FEWEST_OF_EACH = 30
_PARAMETERS = {"n_estimators": 60, "learning_rate": 0.1, "num_leaves": 12}


def rank_by_indicators(need: Need, training: Matrix, judged: Matrix, seed: int) -> dict[str, NDArray[np.float64]]:
    """Rank the judged rows as if each indicator had been the label.

    Features, directions that scores may go (``[model] monotone``) and training rows are the need's own, so that what
    differs is the label alone.

    Parameters
    ----------
    training, judged : Matrix
        With the same columns and indicators; indicators count where the label is known.
    seed : int
        Draws at most :data:`MOST_ROWS` rows, and grows the trees.

    Returns
    -------
    dict
        ``by:<indicator>`` → rank score float64 (n,), higher first. An indicator that fewer than 30 of the rows have,
        or lack, is left out: nothing can be learnt from it.
    """
    if training.y is None or not training.indicators:
        return {}
    known = np.flatnonzero(np.isfinite(training.y))
    rows = known[sampled_rows(known.size, MOST_ROWS, seed)]
    X, parameters = training.X[rows], parameters_for(need, rows.size, _PARAMETERS)
    found = {}
    for name in judged.indicators:
        y = training.indicators[name][rows].astype(np.float64)
        if min(y.sum(), y.size - y.sum()) < _FEWEST_OF_EACH:
            continue
        trees, _ = grow_safely(binned(X, y, need, parameters), need, parameters, seed, threads=1)
        found[RANKED_BY + name] = raw_scores(trees, judged.X)
    return found
