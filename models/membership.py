"""Whether it can be told from a score whose data taught the model (check C606).

The attack: whoever's outcome the model knows better than others' was probably learnt from. It is tried on a shadow of
the candidate: the same recipe, taught by two thirds of the persons, against the third that was held out *at the same
as-of dates*. Members and others of different dates differ by the time that has passed, and would be told apart without
any memory. Source: Yeom et al. 2018, IEEE CSF, 268-282 (loss threshold); Shokri et al. 2017, IEEE S&P (shadow models).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from models.bounded_refits import RefitGround
from models.interval_ends import SIDE
from models.tree_fitting import raw_scores

FEWEST = 200
"""Members, and persons held out, of a group at least: smaller groups are measured together."""
EVERYONE, OTHERS = "everyone", "others"
MOST_TREES = 2000
"""Trees of the shadow at most: a model that remembers shows it by then."""
_HELD = 1 / 3


def membership(ground: RefitGround, seed: int) -> list[dict[str, Any]]:
    """How well a loss threshold tells who was learnt from.

    Fewer persons than taught the candidate teach the shadow, and fewer are easier to remember: the figure is rather too
    high than too low.

    Returns
    -------
    list of dict
        As :func:`attack_by_group` for everyone; ``auc`` null where there are too few persons to hold out.
    """
    rng = np.random.default_rng(seed)
    member = np.ones(ground.n_people, dtype=np.bool_)
    member[rng.permutation(ground.n_people)[: int(ground.n_people * _HELD)]] = False
    n_members = int(member.sum())
    trees = None
    if min(n_members, ground.n_people - n_members) >= FEWEST:
        trees = ground.grow(seed, drawn=member.astype(np.int64), most_trees=MOST_TREES)
    if trees is None:
        return [_row(EVERYONE, n_members, ground.n_people - n_members, None)]
    raw = raw_scores(trees, ground.X)
    loss = np.logaddexp(0.0, np.where(ground.y > 0, -raw, raw))
    n_rows = np.bincount(ground.people, minlength=ground.n_people)
    return attack_by_group(np.bincount(ground.people, weights=loss, minlength=ground.n_people) / n_rows, member)


def attack_by_group(loss: np.ndarray, member: np.ndarray, group: np.ndarray | None = None) -> list[dict[str, Any]]:
    """The attack on everyone, or group by group.

    Parameters
    ----------
    loss : float64 (n,)
        Of each person, the mean over his or her rows.
    member : bool (n,)
        Whether the person was learnt from.
    group : str (n,), optional
        Groups with fewer than :data:`FEWEST` members or others are merged into "others".

    Returns
    -------
    list of dict
        ``group``, ``members``, ``held_out`` (persons), ``auc``, ``low``, ``high`` (null where even the merged are too
        few).
    """
    names = np.full(len(loss), EVERYONE, dtype=object) if group is None else np.asarray(group, dtype=object).copy()
    for name in np.unique(names.astype(str)).tolist() if group is not None else []:
        here = names == name
        if min((here & member).sum(), (here & ~member).sum()) < FEWEST:
            names[here] = OTHERS
    rows = []
    for name in sorted(set(names.tolist())):
        here = names == name
        inside, outside = -loss[here & member], -loss[here & ~member]
        enough = min(len(inside), len(outside)) >= FEWEST
        rows.append(_row(name, len(inside), len(outside), auc_of(inside, outside) if enough else None))
    return rows


def _row(group: str, n_members: int, n_held: int, auc: tuple[float, float, float] | None) -> dict[str, Any]:
    figures = dict(zip(("auc", "low", "high"), auc or (None, None, None), strict=True))
    return {"group": group, "members": n_members, "held_out": n_held, **figures}


def auc_of(higher: np.ndarray, lower: np.ndarray) -> tuple[float, float, float]:
    """Chance that one of the first lies above one of the second, ties half, with one-sided 95 % bounds.

    Source: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44: 837-845.

    >>> auc_of(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    (1.0, 1.0, 1.0)
    """
    m, n = len(higher), len(lower)
    ranks: NDArray[np.float64] = rankdata(np.concatenate([higher, lower]))
    of_first = (ranks[:m] - rankdata(higher)) / n
    of_second = 1.0 - (ranks[m:] - rankdata(lower)) / m
    auc = float(of_first.mean())
    reach = float(norm.ppf(1 - SIDE) * np.sqrt(of_first.var(ddof=1) / m + of_second.var(ddof=1) / n))
    return auc, max(0.0, auc - reach), min(1.0, auc + reach)
