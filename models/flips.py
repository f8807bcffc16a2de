"""How far people move when an attribute that is also a ground of discrimination is another (check C410)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ethics.sensitive_features import is_dual_use
from models.interval_ends import median_ends

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need
    from models.rule import RuleModel
    from models.training import NeedModel

MOST_PEOPLE = 500
MOST_VALUES = 8
DISTRICT = "district"


def dual_use_columns(need: Need) -> dict[str, list[int]]:
    """Features whose value is such an attribute, and the columns that change with it.

    What a district's residents are like (``of = "district"``) changes with the district, so it is flipped together with
    it, as "district" even where the need does not read the district itself. What is measured of an attribute's history
    (``n_changes``) is not its value and stays.
    """
    found: dict[str, list[int]] = {}
    columns = list(need.columns)
    for feature in need.features:
        if feature.of == DISTRICT:
            found.setdefault(DISTRICT, []).extend(columns.index(name) for name in feature.columns())
        elif feature.attribute and is_dual_use(feature.attribute) and feature.name in feature.columns():
            found.setdefault(feature.name, []).append(columns.index(feature.name))
    return found


def flips(model: NeedModel | RuleModel, judged: Matrix, seed: int) -> list[dict[str, Any]]:
    """Give people the other values of each such attribute, and see how far they move among the judged.

    Values are those that other judged people have: all of them up to eight; of more, eight that are spread evenly over
    a number, or drawn. Everybody else stays. Nothing else of the person changes, so what goes along with an attribute
    in life (other than the rates of a district) is not flipped: the move is that of the attribute's direct use.

    Returns
    -------
    list of dict
        ``feature``, ``columns`` (names), ``people``, ``values``, and ``median`` over people of the mean absolute move
        over the other values, in percentiles, with ``low`` and ``high``; null where nobody has another value. Empty
        where the need reads no such attribute.
    """
    rows = np.arange(len(judged.X))
    if len(rows) > MOST_PEOPLE:
        rows = np.sort(np.random.default_rng(seed).choice(len(judged.X), MOST_PEOPLE, replace=False))
    found = []
    for name, columns in dual_use_columns(model.need).items():
        others = _values(judged.X[:, columns], seed)
        row: dict[str, Any] = {"feature": name, "columns": [judged.names[j] for j in columns]}
        row |= {"people": len(rows), "values": len(others), "median": None, "low": None, "high": None}
        moves = _moves(model, judged.X, rows, columns, others)
        if moves.size:
            row |= {"people": len(moves), "median": float(np.median(moves))}
            row["low"], row["high"] = median_ends(moves)
        found.append(row)
    return found


def _values(cells: np.ndarray, seed: int) -> NDArray[np.float32]:
    """Values to flip to: float32 (v, c), of people of whom all are known."""
    known = np.unique(cells[np.isfinite(cells).all(axis=1)], axis=0)
    if len(known) <= MOST_VALUES:
        return np.asarray(known)
    if cells.shape[1] == 1:
        spread = (np.arange(MOST_VALUES) + 0.5) / MOST_VALUES
        one = cells[np.isfinite(cells[:, 0]), 0]
        return np.unique(np.quantile(one, spread, method="nearest"))[:, None].astype(np.float32)
    return np.asarray(known[np.sort(np.random.default_rng(seed).choice(len(known), MOST_VALUES, replace=False))])


def _moves(
    model: NeedModel | RuleModel, X: np.ndarray, rows: np.ndarray, columns: Sequence[int], others: np.ndarray
) -> NDArray[np.float64]:
    """Mean absolute move of each person over the values that are not the person's own: float64 (m,)."""
    if not len(others) or not len(rows):
        return np.zeros(0)
    flipped = np.repeat(X[rows], len(others), axis=0)
    flipped[:, columns] = np.tile(others, (len(rows), 1))
    differs = (flipped[:, columns] != np.repeat(X[rows][:, columns], len(others), axis=0)).any(axis=1)
    if model.kind == "rule":  # its places compare the rows of one call only
        places = model.raw(np.vstack([X, flipped]))
        everybody, after = places[: len(X)], places[len(X) :]
    else:
        everybody, after = model.raw(X), model.raw(flipped)
    ordered = np.sort(everybody)
    moved = np.abs(_percentile(ordered, after) - np.repeat(_percentile(ordered, everybody[rows]), len(others)))
    moved, differs = moved.reshape(len(rows), -1), differs.reshape(len(rows), -1)
    has_other = differs.any(axis=1)
    return np.asarray((moved * differs).sum(axis=1)[has_other] / differs.sum(axis=1)[has_other])


def _percentile(ordered: np.ndarray, score: np.ndarray) -> NDArray[np.float64]:
    """Where scores stand among the ordered ones, in per cent, equals in the middle of their run."""
    places = np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")
    return np.asarray(50.0 * places / len(ordered))
