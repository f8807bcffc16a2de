"""Invented people before the gate: who needs what is drawn from chances that are known, so every verdict has a truth.

No model is trained here: a score is the chance of need itself, or that chance with a planted fault. So thousands of
worlds are cheap, and what the gate says of them is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

LANGUAGES = {"fi": 0.78, "sv": 0.056, "other": 0.164}
SIX_ATTRIBUTES: Mapping[str, Mapping[str, float]] = {
    "language_group": LANGUAGES,
    "sex": {"f": 0.49, "m": 0.51},
    "age_band": {"16-19": 0.30, "20-23": 0.31, "24-28": 0.39},
    "district": dict.fromkeys(("centre", "south", "west", "central", "north", "northeast", "southeast"), 1 / 7),
    "family": {"two adults": 0.62, "one adult": 0.24, "other": 0.14},
    "support_need": {"no": 0.93, "yes": 0.07},
}
"""A city's six attributes with their shares; the smallest group is 5.6 %."""
THREE_ATTRIBUTES = {name: SIX_ATTRIBUTES[name] for name in ("language_group", "sex", "age_band")}


@dataclass(frozen=True)
class NeedWorld:
    """How one world is.

    Attributes
    ----------
    n : int
        Persons.
    base_rate : float
        Share in need, on average.
    spread : float
        Standard deviation of the log odds of need: 1.1 gives an AUC of about 0.77.
    attributes : mapping of attribute to group → share
    shift : mapping of group to float
        Log odds of need that a group has more than others; the score knows it.
    unseen : mapping of group to float
        Share of a group's need that the score does not know of.
    unlabelled : mapping of group to float
        Share of a group's need that the label does not show, and so neither does the score; the indicators do.
    unobserved : mapping of group to float
        Share of a group whose label is not known.
    indicators : int
        Independent signs of need.
    """

    n: int
    base_rate: float = 0.08
    spread: float = 1.1
    attributes: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: SIX_ATTRIBUTES)
    shift: Mapping[str, float] = field(default_factory=dict)
    unseen: Mapping[str, float] = field(default_factory=dict)
    unlabelled: Mapping[str, float] = field(default_factory=dict)
    unobserved: Mapping[str, float] = field(default_factory=dict)
    indicators: int = 2


@dataclass(frozen=True)
class People:
    """What the gate is given, and what is true.

    Attributes
    ----------
    groups : mapping of attribute to str (n,)
    chance : float64 (n,)
        Of need, as it is.
    score : float64 (n,)
        What the score says of it.
    label : float64 (n,)
        1, 0, or NaN where it is not known.
    indicators : mapping of name to bool (n,)
    """

    groups: Mapping[str, np.ndarray]
    chance: np.ndarray
    score: np.ndarray
    label: np.ndarray
    indicators: Mapping[str, np.ndarray]


def need_world(world: NeedWorld, seed: int) -> People:
    """Draw the people of a world."""
    rng = np.random.default_rng([seed, 77])
    groups = {
        name: np.asarray(list(shares))[rng.choice(len(shares), world.n, p=_shares(shares))]
        for name, shares in world.attributes.items()
    }
    log_odds = rng.normal(0.0, world.spread, world.n) + _of_group(groups, world.shift)
    level = brentq(lambda at: float(expit(log_odds + at).mean()) - world.base_rate, -20, 20)
    chance = expit(log_odds + level)
    hidden = 1 - (1 - _of_group(groups, world.unseen)) * (1 - _of_group(groups, world.unlabelled))
    in_need = rng.random(world.n) < chance
    shown = in_need & (rng.random(world.n) >= _of_group(groups, world.unlabelled))
    label = np.where(rng.random(world.n) < _of_group(groups, world.unobserved), np.nan, shown.astype(np.float64))
    signs = {f"sign {j + 1}": sign_of(in_need, rng) for j in range(world.indicators)}
    return People(groups, chance, chance * (1 - hidden), label, signs)


def sign_of(in_need: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An independent sign of need: shown by 45 % of those in need and 6 % of the others, bool (n,)."""
    return rng.random(len(in_need)) < np.where(in_need, 0.45, 0.06)


def _shares(shares: Mapping[str, float]) -> np.ndarray:
    found = np.asarray(list(shares.values()))
    return found / found.sum()


def _of_group(groups: Mapping[str, np.ndarray], value: Mapping[str, float]) -> np.ndarray:
    """The value of every person's groups, added up; 0 where nothing is said of them."""
    total = np.zeros(len(next(iter(groups.values()))))
    for name, much in value.items():
        total += sum(np.where(column == name, much, 0.0) for column in groups.values())
    return total
