"""Invented worlds whose truth is known: persons with states that change by quarter, and needs that follow from them.

No city is needed: matrices are drawn straight, so that hundreds of worlds are cheap, and the truth about a model is
its figure among any number of fresh persons of the same world, weighed with the chance of need instead of its draw.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit, logit

from features.matrix import Matrix
from models.need import Need, parse_need

DAYS = 91  # of a quarter
HORIZON = 2 * DAYS
TRAIN_QUARTERS, TEST_QUARTERS = (0, 2, 4), (6, 7, 8)
"""As-of dates, in quarters: no training label reaches a test date, and labels of the tests overlap."""
MANY_QUARTERS = tuple(range(6, 14))
"""Test dates of worlds in which a person's rows tell little more than one of them."""
_FIRST_DAY = date(2020, 1, 1)
_STATES = 6
_PRESENT = 0.85  # share of persons in the cohort of a date
_TEXT = '{ fi = "a", sv = "a", en = "a" }'
_WHO = 'name = "Head of the unit"\nemail = "head@example.invalid"\nphone = "+358 9 1"'


@dataclass(frozen=True)
class World:
    """How one world is.

    Attributes
    ----------
    seed : int
    persons : int
    base_rate : float
        Share in need within the horizon, on average over dates.
    strength : float
        Standard deviation of the log odds that the states explain.
    frailty : float
        Standard deviation of log odds that no column shows, kept by a person for ever.
    persistence : float
        Correlation of a state with that of the next quarter.
    capacity_share : float
        Places per person of the cohort.
    leave_share : float
        Share that leaves within the horizon, need or not; 0: nobody.
    leave_by_columns : float
        Log hazard of leaving per standard deviation of a score of the columns, which goes with the need.
    leave_by_unseen : float
        Log hazard of leaving per standard deviation of the states' log odds of need, which columns show in part.
    """

    seed: int
    persons: int = 3000
    base_rate: float = 0.12
    strength: float = 1.1
    frailty: float = 0.5
    persistence: float = 0.7
    capacity_share: float = 0.05
    leave_share: float = 0.0
    leave_by_columns: float = 0.0
    leave_by_unseen: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Persons at as-of dates: columns, what followed, and the chance with which it would.

    Attributes
    ----------
    person, quarter : int64 (n,)
    X : float32 (n, 9)
    chance : float64 (n,)
        Probability of need within the horizon, knowing everything.
    need_day, leave_day : float64 (n,)
        Days from the as-of date until need appears and the person leaves; infinite if not within the horizon.
    """

    person: np.ndarray
    quarter: np.ndarray
    X: np.ndarray
    chance: np.ndarray
    need_day: np.ndarray
    leave_day: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """Whether need appeared, seen or not: float64 (n,)."""
        return np.isfinite(self.need_day).astype(np.float64)

    def at(self, quarters: tuple[int, ...]) -> Rows:
        """The rows of some dates."""
        here = np.isin(self.quarter, quarters)
        return Rows(**{field.name: getattr(self, field.name)[here] for field in dataclasses.fields(self)})


class Nature:
    """The laws of a world: what follows from states, fixed by the world's seed."""

    def __init__(self, world: World) -> None:
        self.world = world
        generator = np.random.default_rng([world.seed, 1])
        self._weights = generator.normal(size=_STATES) * np.array([1, 1, 1, 0.6, 0.6, 0])
        self._turn = generator.normal() * 0.4
        z = generator.normal(size=(2, 20_000, _STATES))
        z[1] = self._next(z[0], z[1])
        self._mean, self._sd = 0.0, 1.0
        score = self._score(z)
        self._mean, self._sd = float(score.mean()), float(score.std())
        frailty = generator.normal(size=20_000) * world.frailty
        odds = self.risk(z) * world.strength + frailty
        low, high = -15.0, 5.0
        for _ in range(50):
            self.level = (low + high) / 2
            chances = expit(self.level + odds)
            either = 1 - (1 - chances[0]) * (1 - chances[1])
            low, high = (self.level, high) if either.mean() < world.base_rate else (low, self.level)

    def _score(self, z: np.ndarray) -> np.ndarray:
        return z @ self._weights + self._turn * (z[..., 0] * z[..., 1] + np.abs(z[..., 2]))

    def _next(self, z: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """States of the next quarter, as spread as those of this one."""
        rho = self.world.persistence
        return rho * z + np.sqrt(1 - rho**2) * fresh

    def risk(self, z: np.ndarray) -> np.ndarray:
        """Standardised log odds of need that the states explain: (...,) for states (..., 6)."""
        return (self._score(z) - self._mean) / self._sd

    def columns(self, z: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What a register holds of the states: counts, values with gaps, and noise: float32 (n, 9)."""
        n = len(z)
        X = np.empty((n, 9), dtype=np.float32)
        X[:, :4] = generator.poisson(np.exp(0.7 + 0.7 * z[:, :4]))
        X[:, 4:6] = z[:, 4:6] + 0.3 * generator.normal(size=(n, 2))
        X[:, 6] = np.where(generator.random(n) < 0.3, np.nan, z[:, 2] + 0.5 * generator.normal(size=n))
        X[:, 7] = generator.normal(size=n)
        X[:, 8] = generator.poisson(0.3, n)
        return X

    def leaving(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Hazard of leaving per day: float64 (n,)."""
        shown = np.log1p(X[:, :4].astype(np.float64)) @ self._weights[:4] + X[:, 4:6] @ self._weights[4:6]
        shown = (shown - shown.mean()) / shown.std()
        level = -np.log1p(-self.world.leave_share) / HORIZON
        return level * np.exp(self.world.leave_by_columns * shown + self.world.leave_by_unseen * self.risk(z))

    def rows(self, persons: int, quarters: tuple[int, ...], seed: int) -> Rows:
        """Persons in their cohorts at some dates, drawn anew for each ``seed``."""
        world = self.world
        generator = np.random.default_rng([world.seed, 2, seed])
        n_quarters = max(quarters) + 2
        z = np.empty((n_quarters, persons, _STATES))
        z[0] = generator.normal(size=(persons, _STATES))
        for quarter in range(1, n_quarters):
            z[quarter] = self._next(z[quarter - 1], generator.normal(size=(persons, _STATES)))
        frailty = generator.normal(size=persons) * world.frailty
        chance = expit(self.level + world.strength * self.risk(z) + frailty)
        need_day = np.where(
            generator.random(chance.shape) < chance, DAYS * generator.random(chance.shape), np.inf
        )  # within its quarter
        parts = []
        for quarter in quarters:
            here = np.flatnonzero(generator.random(persons) < _PRESENT)
            X = self.columns(z[quarter, here], generator)
            leave = np.full(here.size, np.inf)
            if world.leave_share:
                leave = np.floor(generator.exponential(1 / self.leaving(X, z[quarter, here])))
            first, second = need_day[quarter, here], need_day[quarter + 1, here] + DAYS
            parts.append(
                Rows(
                    person=here,
                    quarter=np.full(here.size, quarter),
                    X=X,
                    chance=1 - (1 - chance[quarter, here]) * (1 - chance[quarter + 1, here]),
                    need_day=np.floor(np.minimum(first, second)),
                    leave_day=np.where(leave < HORIZON, leave, np.inf),
                )
            )
        return Rows(
            **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(Rows)}
        )


def world_need(world: World, n_rows_per_date: int, *, censoring: str = "drop") -> Need:
    """A need that fits the columns, with the world's capacity and quick trees."""
    features = "".join(
        f'[[features]]\nname = "c{i}"\ncodes = ["code.{i}"]\nwindows = [90]\nmeasures = ["count"]\nplain = {_TEXT}\n'
        'source = "a register"\npurpose = "a trial"\nbasis = "a trial"\n'
        for i in range(9)
    )
    people = "".join(f"[{role}]\n{_WHO}\n" for role in ("owner", "deputy", "dpo"))
    texts = "".join(f"{name} = {_TEXT}\n" for name in ("title", "question", "action", "benefit", "alternative"))
    places = max(1, round(world.capacity_share * n_rows_per_date))
    text = f"""
schema = 1
kind = "model"
service = "a-unit"
use = "outreach_ranking"
review_by = 2035-01-01
{texts}
{people}
[cohort]
as_of = {{ first = 2020-01-01, last = 2022-01-01, every_days = {DAYS} }}
[label]
codes = ["status.need"]
horizon_days = {HORIZON}
plausible_auc_max = 0.90
censored_by = ["moved_away"]
censoring = "{censoring}"
[[indicators]]
name = "one"
codes = ["one"]
[[indicators]]
name = "two"
codes = ["two"]
{features}
[splits]
kind = "temporal"
tests = {len(TEST_QUARTERS)}
judged = 1
[baseline]
rule = "c0.count.90d desc"
[capacity]
workers = 1
attempts_per_worker_per_period = {places}
contact_success = 0.6
period_days = 7
[model]
n_estimators = 60
learning_rate = 0.08
num_leaves = 8
min_data_in_leaf = 40
"""
    return parse_need(text.encode(), "trial.toml")


def world_matrix(rows: Rows, need: Need) -> Matrix:
    """Rows as the features room hands them over: labels of those who left are unknown."""
    days = [_FIRST_DAY + timedelta(days=DAYS * quarter) for quarter in rows.quarter.tolist()]
    people = [f"P{person:07d}" for person in rows.person.tolist()]
    keys = pl.DataFrame(
        {"person_id": people, "as_of_date": days}, schema={"person_id": pl.String, "as_of_date": pl.Date}
    )
    censored = rows.leave_day < rows.need_day
    followed = np.minimum(np.minimum(rows.need_day, rows.leave_day), HORIZON)
    return Matrix(
        keys=keys,
        X=rows.X,
        names=need.columns,
        y=np.where(censored, np.nan, rows.label),
        followed_days=followed,
        censored=censored,
    )


def true_figures(raw: np.ndarray, probability: np.ndarray | None, chance: np.ndarray, share: float) -> dict[str, float]:
    """What a model is worth in a population so large that it is one: by chances of need, not by their draw.

    Parameters
    ----------
    raw, probability, chance : float64 (n,)
        Rank score, promised (None: not measured) and true probability.
    share : float
        Part of the population that is listed.

    Returns
    -------
    dict
        ``auc``, ``average_precision``, ``precision_at_capacity``, ``recall_at_capacity``, ``share_in_need``; of
        probabilities ``calibration_slope``, ``calibration_intercept`` and ``calibration_error`` (ten bins).
    """
    order = np.argsort(-raw, kind="stable")
    sorted_raw, p = raw[order], chance[order]
    ends = np.flatnonzero(np.append(np.diff(sorted_raw) != 0, True))
    in_need, not_ = np.cumsum(p)[ends], np.cumsum(1 - p)[ends]
    # The area under the curve by trapezoids: equal scores lie on a straight line.
    x, y = np.append(0.0, not_ / not_[-1]), np.append(0.0, in_need / in_need[-1])
    places = share * len(raw)
    found = np.interp(places, np.append(0.0, ends + 1.0), np.append(0.0, in_need))
    figures = {
        "auc": float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)),
        "average_precision": float(np.sum(np.diff(y) * in_need / (ends + 1.0))),
        "precision_at_capacity": float(found / places),
        "recall_at_capacity": float(found / in_need[-1]),
        "share_in_need": float(chance.mean()),
    }
    if probability is not None:
        odds = logit(np.clip(probability, 1e-12, 1 - 1e-12))
        figures["calibration_slope"] = _slope(odds, chance)
        figures["calibration_intercept"] = float(brentq(lambda shift: np.mean(expit(odds + shift) - chance), -9, 9))
        bins = np.array_split(np.argsort(probability, kind="stable"), 10)
        figures["calibration_error"] = float(sum(abs((chance - probability)[b].sum()) for b in bins) / len(chance))
    return figures


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Slope of the logistic curve through (x, y) for y in [0, 1], by Newton's method."""
    design = np.column_stack((x, np.ones_like(x)))
    beta = np.array([1.0, 0.0])
    for _ in range(30):
        p = expit(design @ beta)
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, design.T @ (y - p))
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0])


# ---- leaks ---------------------------------------------------------------------------------------------------------

LEAKS = ("copy", "noisy copy", "known late", "contact after")


def plant_leak(rows: Rows, kind: str, seed: int, *, flipped: float | None = None) -> Rows:
    """The rows with a leak in the last column; ``"clean"`` computes the same column as it ought to be.

    ``copy``: the outcome itself. ``noisy copy``: 2–8 % of it flipped, or ``flipped``. ``known late``: a code that is
    dated before the as-of date when the need is found, counted by event date; its clean twin counts what was known
    by the as-of date. ``contact after``: contacts that follow the need, in a window that runs past the as-of date.

    Parameters
    ----------
    seed : int
        Fixes how strong the leak is, and the draws; give training and test rows seeds of one world.
    """
    strength = np.random.default_rng([seed, 3])
    generator = np.random.default_rng([seed, 4, int(rows.quarter.min()), len(rows.person)])
    n, y = len(rows.person), rows.label > 0
    share_flipped = strength.uniform(0.02, 0.08) if flipped is None else flipped
    recorded, background = strength.uniform(0.88, 1.0), strength.uniform(0.02, 0.10)
    if kind == "copy":
        column = rows.label
    elif kind == "noisy copy":
        column = np.where(generator.random(n) < share_flipped, ~y, y)
    else:
        event, known = _late_codes(rows, recorded, background, generator)
        contact = _contacts(rows, recorded, background, generator)
        if kind == "known late":
            column = (event < 0).sum(axis=1)
        elif kind == "contact after":
            column = ((contact >= -HORIZON) & (contact < HORIZON + 60)).sum(axis=1)
        else:
            column = ((event < 0) & (known < 0)).sum(axis=1) + ((contact >= -HORIZON) & (contact < 0)).sum(axis=1)
    X = rows.X.copy()
    X[:, -1] = column
    return dataclasses.replace(rows, X=X)


def _late_codes(
    rows: Rows, recorded: float, background: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Event and knowledge day of two codes a row may have (infinite: none): one of the need, one of daily life."""
    n = len(rows.person)
    of_need = np.where(generator.random(n) < recorded, rows.need_day, np.inf)  # known when the need is found …
    begun = np.where(np.isfinite(of_need), -generator.uniform(1, HORIZON, n), np.inf)  # … and dated to its beginning
    other = np.where(generator.random(n) < background, -generator.uniform(1, HORIZON, n), np.inf)
    return np.column_stack((begun, other)), np.column_stack((of_need, other))


def _contacts(rows: Rows, recorded: float, background: float, generator: np.random.Generator) -> np.ndarray:
    """Days of the contact that follows a need, and of one by chance within a year of the as-of date."""
    n = len(rows.person)
    after = np.where(generator.random(n) < recorded, rows.need_day + generator.uniform(1, 60, n), np.inf)
    other = np.where(generator.random(n) < background, generator.uniform(-HORIZON, HORIZON, n), np.inf)
    return np.column_stack((after, other))
