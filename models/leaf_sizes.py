"""How few rows a leaf, or a category that a split names, describes (check C607)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.tree_fitting import categories_of, smallest_leaf

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.training import NeedModel


def leaf_sizes(model: NeedModel, training: Matrix | None) -> dict[str, Any] | None:
    """The smallest leaf, and the rows of every category that a split names.

    Parameters
    ----------
    training : Matrix or None
        What the model learnt from; needed where a need has categories, to count them.

    Returns
    -------
    dict or None
        ``smallest_leaf`` (rows of those that taught its tree), ``trees``, ``levels``: {``column``, ``level``,
        ``rows``}. None where categories cannot be counted.
    """
    named = levels_named(model)
    if named and training is None:
        return None
    levels = []
    for j, places in sorted(named.items()):
        assert training is not None
        known = training.X[np.isfinite(np.asarray(training.y)), j] if training.y is not None else training.X[:, j]
        texts = categories_of(model.need)[model.columns[j]]
        levels += [
            {"column": model.columns[j], "level": texts[place], "rows": int((known == place).sum())}
            for place in sorted(places)
            if place < len(texts)
        ]
    return {"smallest_leaf": smallest_leaf(model.trees), "trees": model.trees.count(b"\nTree="), "levels": levels}


def levels_named(model: NeedModel) -> dict[int, set[int]]:
    """Column → places of the categories that some split sends to the left by name."""
    if not categories_of(model.need):
        return {}
    named: dict[int, set[int]] = {}

    def walk(node: dict[str, Any]) -> None:
        if "split_feature" not in node:
            return
        if node["decision_type"] == "==":
            named.setdefault(node["split_feature"], set()).update(int(p) for p in str(node["threshold"]).split("||"))
        walk(node["left_child"])
        walk(node["right_child"])

    for tree in model.booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return named
