"""What a whole feature is worth: people in need found at the audit cut with it and without it (check C605)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.bounded_refits import RefitGround, columns_used
from models.interval_ends import ends
from models.metrics import found_bounds, numbered, ranking_replicates
from models.reason_stability import feature_groups
from models.tree_fitting import raw_scores

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.training import NeedModel

MOST_FEATURES = 30
"""Features that are left out in turn at most: those that the trees gain least from."""
_DRAWS = 200
_AT_ONCE = 2
_FEW = 5_000
_RECALL, _FOUND = 3, 4
"""Columns of :func:`models.metrics.ranking_replicates`."""


def feature_worth(
    model: NeedModel,
    ground: RefitGround,
    drawn: Sequence[NDArray[np.int64]],
    whole: Sequence[bytes],
    judged: Matrix,
    k: int,
    seed: int,
    *,
    weight: np.ndarray | None = None,
    step: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Recall at a cut lost without each feature of the need file, all its columns together.

    Each refit with all features has its double without the feature: the same persons drawn, the same seed, the same
    draws of columns. A replicate draws judged persons, and pairs of refits.

    Parameters
    ----------
    drawn : sequence of int (n_people,)
        How often each person of the ground counts, per refit.
    whole : sequence of bytes
        The refits with all features, in the same order.
    judged : Matrix (n, p)
        Rows to compare on, one per person.
    k : int
        The cut among these rows.
    weight : float64 (n,), optional
        Inverse-probability weights of the judged rows.
    step : callable, optional
        ``step(done, total)``.

    Returns
    -------
    list of dict
        ``feature``, ``columns`` (how many), ``used`` (whether any tree of the candidate splits on one), and for those
        that were left out ``worth`` (recall with less recall without, averaged over the refits), ``low``, ``high``;
        null for the rest.
    """
    groups = feature_groups(model.need)
    names = list(dict.fromkeys(feature.name for feature in model.need.features))
    gain = np.bincount(groups, weights=model.booster.feature_importance("gain"), minlength=len(names))
    used = np.zeros(len(names), dtype=np.bool_)
    used[groups[columns_used(model.trees)]] = True
    tried = [g for g in np.argsort(gain, kind="stable").tolist() if used[g]][:MOST_FEATURES]
    asked: dict[str, Any] = {
        "label": np.asarray(judged.y),
        "person": numbered(judged.keys["person_id"].to_numpy())[0],  # once: texts are numbered again for every order
        "k": k,
        "weight": weight,
    }
    threads = 1 if len(judged.X) < _FEW else None  # the scores are the same
    with_all = [raw_scores(trees, judged.X, threads=threads) for trees in whole]
    base = [_replicates(score, seed, asked) for score in with_all]
    in_need = base[0][0, _FOUND] / base[0][0, _RECALL] if base[0][0, _RECALL] > 0 else np.nan
    pairs = np.random.default_rng(seed).integers(len(whole), size=(_DRAWS, len(whole)))

    def score_without(g: int, i: int) -> Any:
        columns = set(np.flatnonzero(groups == g).tolist())
        trees = ground.grow(seed + i, drawn=drawn[i], unused=columns, threads=1)
        assert trees is not None  # the refit with all features had the same rows
        return raw_scores(trees, judged.X, threads=1)

    found: dict[int, tuple[float, float, float]] = {}
    # Small refits on one thread each, side by side: dividing one of them costs half as much again.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked_for = {(g, i): pool.submit(score_without, g, i) for g in tried for i in range(len(drawn))}
        for done, g in enumerate(tried):
            if step is not None:
                step(done, len(tried))
            scores = [asked_for.pop((g, i)).result() for i in range(len(drawn))]
            lost = [(base[i] - _replicates(without, seed, asked))[:, _RECALL] for i, without in enumerate(scores)]
            bounds = [found_bounds(ours=with_all[i], theirs=without, **asked)[2] for i, without in enumerate(scores)]
            found[g] = _interval(np.array(lost), pairs, bounds, in_need)
    return [
        {
            "feature": name,
            "columns": int((groups == g).sum()),
            "used": bool(used[g]),
            **dict(zip(("worth", "low", "high"), found.get(g, (None, None, None)), strict=True)),
        }
        for g, name in enumerate(names)
    ]


def _replicates(score: np.ndarray, seed: int, asked: dict[str, Any]) -> NDArray[np.float64]:
    return ranking_replicates(rank_score=score, seed=seed, replicates=_DRAWS, **asked)


def _interval(
    lost: NDArray[np.float64], pairs: NDArray[np.int64], bounds: Sequence[Any], in_need: float
) -> tuple[float, float, float]:
    """Worth and its bounds from (refits, 1 + draws); as far as exact bounds reach where few people decide it."""
    each = np.take_along_axis(lost[:, 1:].T, pairs, axis=1).mean(axis=1)
    low, high = ends(each)
    if all(pair is not None for pair in bounds):
        low = min(low, float(np.mean([pair[0] for pair in bounds])) / in_need)
        high = max(high, float(np.mean([pair[1] for pair in bounds])) / in_need)
    return float(lost[:, 0].mean()), float(low), float(high)
