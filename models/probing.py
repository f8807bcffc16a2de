"""Whether a score keeps to the directions that its need declares (check C304): by moving columns, and by the trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.training import NeedModel

MOST_PEOPLE = 200
_POINTS = 16


def monotone_rules(model: NeedModel, X: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Every column with a declared direction, moved over its range for some rows.

    Parameters
    ----------
    model : NeedModel
    X : float32 (n, p)
        Judged rows: values come from them, between the smallest and the largest.

    Returns
    -------
    list of dict
        ``column``, ``direction`` (1: never down; -1: never up), ``probes`` (steps that were tried), ``violations``
        (steps against the direction), ``largest`` (of them, in the raw score), and ``proved``: the trees themselves
        leave no room for a violation, at any value of any column. A column without two values has no probes.
    """
    need, columns = model.need, list(model.columns)
    declared = [(j, sign) for j, sign in enumerate(need.model.constraints(columns)) if sign]
    if not declared:
        return []
    rng = np.random.default_rng(seed)
    people = np.sort(rng.choice(len(X), min(MOST_PEOPLE, len(X)), replace=False))
    against = columns_against(model.trees, dict(declared))
    found = []
    for j, sign in declared:
        points = _points(X[:, j])
        n_wrong, largest = 0, 0.0
        if len(points) > 1 and len(people):
            probes = np.repeat(X[people], len(points), axis=0)
            probes[:, j] = np.tile(points, len(people))
            steps = sign * np.diff(model.raw(probes).reshape(len(people), len(points)), axis=1)
            n_wrong, largest = int((steps < 0).sum()), float(max(0.0, -steps.min()))
        found.append(
            {
                "column": columns[j],
                "direction": int(sign),
                "probes": len(people) * max(0, len(points) - 1),
                "violations": n_wrong,
                "largest": largest,
                "proved": j not in against,
            }
        )
    return found


def _points(values: np.ndarray) -> NDArray[np.float32]:
    """Up to sixteen values of a column, evenly by rank, the smallest and the largest among them; ascending."""
    known = np.unique(values[np.isfinite(values)])
    if len(known) <= _POINTS:
        return known.astype(np.float32)
    return known[np.linspace(0, len(known) - 1, _POINTS).round().astype(np.int64)].astype(np.float32)


def columns_against(trees: bytes, directions: dict[int, int]) -> set[int]:
    """Columns with a split of which one side could lie on the wrong side of the other.

    Sufficient, not necessary: where every leaf below a split on the column, on the side that should be lower, is at
    most every leaf on the other side, no value can break the rule. A split that fails this need not break it.
    """
    against: set[int] = set()
    for text in trees.decode("utf-8").split("\nTree=")[1:]:
        lines = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
        if int(lines["num_leaves"]) < 2:
            continue
        column = [int(c) for c in lines["split_feature"].split()]
        children = [[int(c) for c in lines[side].split()] for side in ("left_child", "right_child")]
        values = [float(v) for v in lines["leaf_value"].split()]
        lowest, highest = [0.0] * len(column), [0.0] * len(column)
        for node in range(len(column) - 1, -1, -1):  # LightGBM numbers a node before those below it
            left, right = (
                (values[~c], values[~c]) if c < 0 else (lowest[c], highest[c])
                for c in (side[node] for side in children)
            )
            lowest[node], highest[node] = min(left[0], right[0]), max(left[1], right[1])
            sign = directions.get(column[node], 0)
            if (sign > 0 and left[1] > right[0]) or (sign < 0 and left[0] < right[1]):
                against.add(column[node])
    return against
