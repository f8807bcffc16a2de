"""Which parameters of the trees a search varies, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ethics.refusals import BadInput, Fault
from models.need_parts import SMALLEST_LEAF
from models.tree_fitting import parameters_for

if TYPE_CHECKING:
    from models.need import Need

_LARGE = 20_000


class Range(NamedTuple):
    """Values of one parameter to search, ends included; ``log`` spreads them evenly over orders of magnitude."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


def search_space(need: Need, n_rows: int) -> dict[str, Range]:
    """Parameters to search, for a need that learns from so many rows; the need's own are not among them.

    Raises
    ------
    BadInput
        The need sets every parameter itself.
    """
    large = n_rows >= _LARGE
    fixed = need.model.parameters()
    space = {
        "num_leaves": Range(4, 255 if large else 64, log=True, whole=True),
        "min_data_in_leaf": Range(SMALLEST_LEAF, float(np.clip(n_rows // 10, 60, 2000)), log=True, whole=True),
        "learning_rate": Range(0.01, 0.2, log=True),
        "n_estimators": Range(50, 600, log=True, whole=True),
        "feature_fraction": Range(0.2, 1.0),
        "bagging_fraction": Range(0.5, 1.0),
        "lambda_l1": Range(0.0, 10.0),
        "lambda_l2": Range(0.01, 100.0, log=True),
    }
    if fixed.get("bagging_freq") == 0:
        del space["bagging_fraction"]  # has no effect then
    space = {name: values for name, values in space.items() if name not in fixed}
    if not space:
        wrong = "sets every parameter that a search could vary"
        raise BadInput(Fault(f"{need.id}.toml: model", wrong, "Leave some out, or train without a search"))
    return space


def untuned(need: Need, n_rows: int, space: Mapping[str, Range]) -> dict[str, int | float]:
    """The default of each parameter to search; LightGBM's own, 0, where Ennakko sets none."""
    defaults = parameters_for(need, n_rows)
    return {name: defaults.get(name, 0.0) for name in space}
