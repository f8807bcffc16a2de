"""Raw scores made probabilities: by persons the trees had not seen, and a logistic curve through what came of them.

Two ways to such scores (docs/adr/0016-calibration-of-large-cohorts.md). *Cross-fitting*: the persons are dealt into
folds, and each fold is scored by trees taught with the others; the trees that are kept learn from everybody. *Held
out*: the trees that are kept never see some of the persons, and are calibrated on these. The first wastes no row and
costs a fit per fold; the second costs no fit, and calibrates the very trees that are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ethics.digests import decimal
from models.sample_weights import effective_share
from models.splits import hash_share

Rows = NDArray[np.int64]

FOLDS = 5
LARGE = 5_000
"""Persons of the rarer outcome from whom on some of the persons are held out, instead of cross-fitting."""
_ENOUGH = 1_500  # persons of the rarer outcome to calibrate with: the slope's standard error is then about 0.03
_LEAST_HELD_OUT, _MOST_HELD_OUT = 0.05, 0.2


@dataclass(frozen=True, eq=False)
class CalibrationPlan:
    """Who is scored by trees that were taught with whom.

    Attributes
    ----------
    method : "cross-fitting" or "held out"
    fold : int64 (n,)
        Fold of each row, the same for all rows of a person. Held out: 0 for those held out, else 1.
    n_folds : int
        Folds that are scored: the first so many.
    held_out_share : float
        Of the persons, whom the trees that are kept do not see; 0 when cross-fitting.
    """

    method: str
    fold: Rows
    n_folds: int
    held_out_share: float = 0.0

    def parts(self) -> Iterator[tuple[Rows, Rows]]:
        """Rows to score, and rows to teach the trees that score them with, fold by fold."""
        for number in range(self.n_folds):
            held = self.fold == number
            if held.any():
                yield np.flatnonzero(held), np.flatnonzero(~held)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        if self.method == "cross-fitting":
            return {"method": self.method, "folds": self.n_folds}
        n_rows = int((self.fold < self.n_folds).sum())
        return {"method": self.method, "n_rows": n_rows, "share_of_persons": decimal(self.held_out_share, 17)}


def plan_calibration(y: np.ndarray, people: Sequence[str], weight: np.ndarray | None, seed: int) -> CalibrationPlan:
    """How to calibrate with so many persons.

    Parameters
    ----------
    y : float64 (n,) of 0 and 1
    people : sequence of str (n,)
    weight : float64 (n,), optional
        Whom the rows stand for. Unequal weights tell less than as many equal ones, and count for less here.
    seed : int
        Deals the persons, by a hash of seed and id.
    """
    n_telling = _n_telling(y, people, weight)
    if n_telling < LARGE:
        return deal_folds(people, FOLDS, seed)
    return hold_out(people, float(np.clip(_ENOUGH / n_telling, _LEAST_HELD_OUT, _MOST_HELD_OUT)), seed)


def deal_folds(people: Sequence[str], n_folds: int, seed: int) -> CalibrationPlan:
    """Cross-fitting: every person is in one of so many folds."""
    share = hash_share(people, f"calibration {seed}")
    return CalibrationPlan("cross-fitting", (share * n_folds).astype(np.int64), n_folds)


def hold_out(people: Sequence[str], held_out_share: float, seed: int) -> CalibrationPlan:
    """So large a share of the persons is scored by trees taught with the rest."""
    share = hash_share(people, f"calibration {seed}")
    return CalibrationPlan("held out", (share >= held_out_share).astype(np.int64), 1, held_out_share)


def _n_telling(y: np.ndarray, people: Sequence[str], weight: np.ndarray | None) -> float:
    """Persons of the rarer outcome; as many of equal weight as would tell as much as they do."""
    rarer = y == float(y.mean() < 0.5)
    rows = np.flatnonzero(rarer)
    persons = len({people[row] for row in rows.tolist()})
    return persons * effective_share(None if weight is None else weight[rows])


def fit_calibration(raw: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """Slope and intercept of a logistic curve through (raw score, label), by Newton's method.

    Labels are drawn in a little (Source: Platt 1999, §2.2), so that a perfect separation has a finite answer. Scores
    that do not rank at all get slope 0: everyone has the share in need.

    Parameters
    ----------
    raw : float64 (n,)
        From models that had not seen the row.
    y : float64 (n,) of 0 and 1
    weight : float64 (n,), optional
        Whom the rows stand for, 1 on average.
    """
    # Sums, not dot products: BLAS shares those out among threads, and the last bits then depend on how many they are.
    w = np.ones(len(y)) if weight is None else weight
    total, n_pos = float(w.sum()), float((w * y).sum())
    n_neg = total - n_pos
    target = np.where(y > 0, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
    in_need = float((w * target).sum())
    level = float(np.log(in_need / (total - in_need)))
    spread = float(raw.std())
    if spread == 0:
        return 0.0, level
    centre = float(raw.mean())
    x = (raw - centre) / spread
    a, b = 0.0, level
    for _ in range(100):
        p = expit(a * x + b)
        v, residual = w * p * (1 - p), w * (target - p)
        vx = v * x
        gradient = np.array([(residual * x).sum(), residual.sum()])
        hessian = np.array([[(vx * x).sum(), vx.sum()], [vx.sum(), v.sum()]])
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 1.0 / float(np.abs(step).max()))
        a, b = a + float(step[0]), b + float(step[1])
        if np.abs(step).max() < 1e-12:
            break
    if a <= 0:
        return 0.0, level
    return a / spread, b - a * centre / spread


def score_thresholds(raw: np.ndarray, weight: np.ndarray | None, shares: Sequence[int]) -> dict[int, float]:
    """Per cent → raw score from which a row is in that top share of those it stands for."""
    tops = [1 - share / 100 for share in shares]
    found = np.quantile(raw, tops, weights=weight, method="linear" if weight is None else "inverted_cdf")
    return dict(zip(shares, found.tolist(), strict=True))
