"""What the gate asks of a model's inside: reasons, rules, flips, worth, memory, leaves and noise, gathered together.

The refits that this takes are shared. Those that draw persons again (bootstrap) tell both how steady reasons are and,
with a double that lacks a feature, what the feature is worth. Memory takes one of its own: in a bootstrap a person
counts several times and is remembered better than any recipe would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from models.bounded_refits import MOST_ROWS, RefitGround
from models.feature_worth import feature_worth
from models.flips import flips
from models.input_noise import noise_overlap
from models.leaf_sizes import leaf_sizes
from models.membership import EVERYONE, membership
from models.probing import monotone_rules
from models.reason_stability import people_at_cut, reason_overlap
from models.rule import RuleModel

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.training import NeedModel

REFITS = 5
"""Bootstrap refits that reasons are compared by."""
DOUBLES = 3
"""Of them, those that have a double without each feature; of few rows, one less."""
_FEWEST_IN_NEED = 10
NAMES = ("reason_stability", "monotone", "flips", "feature_value", "membership", "leaves", "robustness")
"""Fields of :class:`ethics.case.Evidence` that are gathered here."""


def inside_evidence(
    model: NeedModel | RuleModel,
    judged: Matrix,
    *,
    training: Matrix | None,
    k: int,
    seed: int,
    train_weights: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    step: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """The gate's tables about the inside of a model or a rule.

    Parameters
    ----------
    judged : Matrix
        One row per person.
    training : Matrix or None
        What the candidate learnt from. Without it nothing can be refitted, and the tables say so.
    k : int
        The audit cut.
    train_weights : float64 (m,), optional
        As :func:`models.training.train` took them.
    weight : float64 (n,), optional
        Inverse-probability weights of the judged rows.
    step : callable, optional
        ``step(text, done, total)``.

    Returns
    -------
    dict
        One entry per name of :data:`NAMES`, as :class:`ethics.case.Evidence` describes them; of a rule, which has no
        trees, only ``flips`` is not None.
    """
    tell = step or _silent
    what = f"{model.need.id}: evidence"
    found: dict[str, Any] = dict.fromkeys(NAMES)
    tell(f"{what} on directions, flips and noise")
    found["flips"] = flips(model, judged, seed)
    if isinstance(model, RuleModel) or not len(judged.X):
        return found
    found["monotone"] = monotone_rules(model, judged.X, seed)
    found["leaves"] = leaf_sizes(model, training)
    found["robustness"] = noise_overlap(model, judged.X, k, seed)
    ground = None if training is None or training.y is None else RefitGround.of(model, training, train_weights, seed)
    if ground is None:
        why = "not enough of both outcomes to refit" if training is not None else "the training rows were not given"
        return found | _not_refitted(model, why)
    tell(f"{what} on membership")
    found["membership"] = membership(ground, seed)
    tell(f"{what} on reasons")
    return found | _by_bootstrap(
        model, judged, ground, k, seed, weight, lambda done, n: tell(f"{what} on features", done, n)
    )


def _silent(*_told: object) -> None:
    """Nobody listens."""


def _not_refitted(model: NeedModel, why: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("auc", "low", "high"))
    names = dict.fromkeys(feature.name for feature in model.need.features)
    unknown: dict[str, Any] = {"columns": None, "used": None, "worth": None, "low": None, "high": None}
    return {
        "reason_stability": {"overlap": None, "low": None, "high": None, "not_done": why},
        "membership": [{"group": EVERYONE, "members": 0, "held_out": 0, **nothing, "not_done": why}],
        "feature_value": [{"feature": name, **unknown, "not_done": why} for name in names],
    }


def _by_bootstrap(
    model: NeedModel,
    judged: Matrix,
    ground: RefitGround,
    k: int,
    seed: int,
    weight: np.ndarray | None,
    tell: Callable[[int, int], None],
) -> dict[str, Any]:
    """Reason stability and feature worth, from the same refits."""
    rng = np.random.default_rng(seed)
    every = np.full(ground.n_people, 1 / ground.n_people)
    drawn = [rng.multinomial(ground.n_people, every) for _ in range(REFITS)]
    grown = [(persons, ground.grow(seed + i, drawn=persons)) for i, persons in enumerate(drawn)]
    if any(trees is None for _, trees in grown):
        return {
            name: part for name, part in _not_refitted(model, "a draw has one outcome").items() if name != "membership"
        }
    whole = [trees for _, trees in grown if trees is not None]
    near = people_at_cut(model.raw(judged.X), k)
    bounds = {"rows": len(ground.y), "of_rows": ground.of_rows, "most_rows": MOST_ROWS, "most_trees": ground.most_trees}
    reasons = {**reason_overlap(model, whole, judged.X[near], seed), **bounds}
    in_need = 0 if judged.y is None else int(np.nansum(judged.y))
    if in_need < _FEWEST_IN_NEED:
        return {
            "reason_stability": reasons,
            "feature_value": _not_refitted(model, "too few judged people in need")["feature_value"],
        }
    some, cut, of_weight = _fewer(judged, k, weight, seed)
    n = DOUBLES - ground.is_small
    worth = feature_worth(model, ground, drawn[:n], whole[:n], some, cut, seed, weight=of_weight, step=tell)
    return {"reason_stability": reasons, "feature_value": worth}


def _fewer(judged: Matrix, k: int, weight: np.ndarray | None, seed: int) -> tuple[Matrix, int, np.ndarray | None]:
    """At most so many judged rows, with the cut that is theirs."""
    n = len(judged.X)
    if n <= MOST_ROWS:
        return judged, k, weight
    mask = np.zeros(n, dtype=np.bool_)
    mask[np.random.default_rng(seed).choice(n, MOST_ROWS, replace=False)] = True
    return judged.rows(mask), max(1, round(k * MOST_ROWS / n)), None if weight is None else weight[mask]
