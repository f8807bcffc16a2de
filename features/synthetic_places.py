"""Pre-school units, homes and earlier offers of the invented city, with a known chance that an offer is accepted.

Drawn from streams of chance of their own, so that nothing else in the city changes. The three tables are read by the
pre-school proposals alone (:mod:`scoring.place_tables`): where a child lives, a safety ban or a secrecy order never
stand in persons, history or events, from which features are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.synthetic_recorder import logistic
from features.synthetic_residents import DISTRICT_SHARES, DISTRICTS, LANGUAGES, Residents
from features.synthetic_world import EXTRACT_DATE, Ints

CENTRES_METRES = ((-6000, 4000), (-2500, -1500), (0, 0), (5000, 500), (0, 7000), (6000, 7000), (9500, 2500))
"""Middle of each district, in the order of `DISTRICTS`: metres east and north of the city's own middle."""
SPREAD_METRES = 1_500.0
PERSONS_PER_UNIT = 2_250
"""About as many children of the age as a unit has places: 675 000 persons have 300 units."""
UNITS_OF_A_CITY = 300
SWEDISH_UNIT_EVERY = 10
SPARE_PLACES = 1.04
FIRST_OFFERS = 2021
SPECIAL_SUPPORT, CUSTODY_SPLIT, SAFETY_BAN, SECRECY_ORDER, NO_ADDRESS, NO_LANGUAGE = (
    0.08,
    0.03,
    0.004,
    0.006,
    0.01,
    0.01,
)
_TEXTS = ("person_id", "language", "family", "sibling_unit")
_STREAM = 1_106
"""Keeps these draws apart from those of the blocks' own generators."""


class AcceptanceTruth(NamedTuple):
    """Log odds that a family accepts an offer: what an acceptance model can be held against."""

    intercept: float = 2.1
    per_km: float = -0.6
    sibling: float = 1.0
    other_language: float = -2.5

    def chance(
        self, km: NDArray[Any], sibling: NDArray[np.bool_], other_language: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Probability of acceptance by distance on foot in kilometres, sibling in the unit and other language."""
        logit = self.intercept + self.per_km * km + self.sibling * sibling + self.other_language * other_language
        chance: NDArray[np.float64] = logistic(logit)
        return chance


ACCEPTANCE = AcceptanceTruth()
DETOUR = 1.3


@dataclass
class Places:
    """Units of a city to come, and the children met so far, block by block."""

    seed: int
    n_persons: int
    children: list[pl.DataFrame] = field(default_factory=list)
    offers: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, _STREAM])
        n = max(2, round(self.n_persons / PERSONS_PER_UNIT))
        district = rng.choice(len(DISTRICTS), n, p=DISTRICT_SHARES)
        self.scale = float(np.sqrt(n / UNITS_OF_A_CITY))  # a small town is small: the way to a unit stays the same
        self.at = _near(rng, district, n) * self.scale
        self.is_swedish = np.arange(n) % SWEDISH_UNIT_EVERY == 1
        self.weight = rng.uniform(0.6, 1.4, n)

    def settle(self, block: int, ids: Sequence[str], first: int, residents: Residents) -> None:
        """Homes and flags of the block's children, and the offers of earlier years."""
        rng = np.random.default_rng([self.seed, _STREAM, block])
        home = _near(rng, residents.district[residents.household], residents.household.size)[residents.household]
        home = home * self.scale
        turns_six = residents.birth_day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1976
        here = residents.leave_day > (residents.birth_day + 365 * 5)
        swedish = residents.language == LANGUAGES.index("sv")
        other = residents.language == LANGUAGES.index("other")
        swedish |= other & (rng.random(other.size) < 0.03)
        who = np.flatnonzero((turns_six >= FIRST_OFFERS) & (turns_six <= EXTRACT_DATE.year) & here)
        sibling_unit = self._unit_near(home[who], swedish[who])
        has_sibling = rng.random(who.size) < 0.35
        metres, unit = self._offered(rng, home[who], swedish[who])
        draws = rng.random((7, who.size))
        due = turns_six[who] == EXTRACT_DATE.year
        names = np.array(ids)[who]
        sibling = np.where(has_sibling, sibling_unit, -1)
        self.children.append(
            _children(names, home[who], swedish[who], sibling, draws, residents, who, first).filter(due)
        )
        chance = ACCEPTANCE.chance(metres / 1_000, sibling == unit, self.is_swedish[unit] != swedish[who])
        offers = {
            "person_id": names,
            "offered_on": np.array([f"{year}-01-08" for year in turns_six[who]], dtype="datetime64[D]"),
            "unit_id": _unit_id(unit),
            "metres": np.round(metres),
            "sibling_in_unit": sibling == unit,
            "own_language": self.is_swedish[unit] == swedish[who],
            "accepted": draws[6] < chance,
        }
        table = pl.DataFrame(offers, schema_overrides=dict.fromkeys(("person_id", "unit_id"), pl.String))
        self.offers.append(table.with_columns(pl.col("offered_on").cast(pl.Date)).filter(~due))

    def _distances(self, home: NDArray[np.float64]) -> NDArray[np.float64]:
        apart = home[:, None, :] - self.at[None, :, :]
        metres: NDArray[np.float64] = DETOUR * np.hypot(apart[..., 0], apart[..., 1])
        return metres

    def _unit_near(self, home: NDArray[np.float64], swedish: NDArray[np.bool_]) -> Ints:
        """The nearest unit of the child's language."""
        metres = np.where(self.is_swedish == swedish[:, None], self._distances(home), np.inf)
        nearest: Ints = np.argmin(metres, axis=1)
        return nearest

    def _offered(
        self, rng: np.random.Generator, home: NDArray[np.float64], swedish: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], Ints]:
        """Metres to and unit of the place offered in earlier years: near as places allowed, rarely of another language.

        Which of the near ones had a place is chance, so that distance varies for children alike in all else.
        """
        metres = self._distances(home)
        slip = np.less(rng.random(home.shape[0]), 0.2)
        fits = np.equal(self.is_swedish, swedish[:, None]) | slip[:, None]
        order = np.argsort(np.where(fits, metres, np.inf), axis=1, kind="stable")
        choice = np.minimum(rng.geometric(0.6, home.shape[0]) - 1, np.sum(fits, axis=1) - 1)
        unit = np.take_along_axis(order, choice[:, None], axis=1)[:, 0]
        return np.take_along_axis(metres, unit[:, None], axis=1)[:, 0], unit

    def write(self, folder: Path) -> None:
        """The three tables; places add up to a little more than the children of the coming year, by language."""
        children = pl.concat(self.children)
        places = np.zeros(self.weight.size, dtype=np.int64)
        for language, units in (("sv", self.is_swedish), ("fi", ~self.is_swedish)):
            wanted = children.filter(pl.col("language") == language).height * SPARE_PLACES
            places[units] = np.ceil(self.weight[units] / self.weight[units].sum() * wanted)
        units = {
            "unit_id": _unit_id(np.arange(places.size)),
            "name": [f"Pre-school {number:03d}" for number in range(1, places.size + 1)],
            "x": np.round(self.at[:, 0]),
            "y": np.round(self.at[:, 1]),
            "places": places,
            "languages": np.where(self.is_swedish, "sv", "fi"),
        }
        pl.DataFrame(units).write_parquet(folder / "preschool_units.parquet")
        children.write_parquet(folder / "preschool_children.parquet")
        pl.concat(self.offers).write_parquet(folder / "preschool_offers.parquet")


def _near(rng: np.random.Generator, district: Ints, n: int) -> NDArray[np.float64]:
    """A place somewhere in each district, (n, 2) metres."""
    place: NDArray[np.float64] = np.array(CENTRES_METRES, dtype=np.float64)[district]
    return place + rng.normal(0, SPREAD_METRES, (n, 2))


def _unit_id(unit: Ints) -> list[str]:
    return [f"preschool-{number:03d}" for number in (unit + 1).tolist()]


def _children(
    names: NDArray[Any],
    home: NDArray[np.float64],
    swedish: NDArray[np.bool_],
    sibling: Ints,
    draws: NDArray[np.float64],
    residents: Residents,
    who: Ints,
    first: int,
) -> pl.DataFrame:
    """One row per child, as the register of early education would hand it over."""
    has_address, has_language = draws[4] >= NO_ADDRESS, draws[5] >= NO_LANGUAGE
    family = residents.household[who]
    columns = {
        "person_id": names,
        "start_year": np.full(who.size, EXTRACT_DATE.year),
        "x": np.where(has_address, np.round(home[:, 0]), np.nan),
        "y": np.where(has_address, np.round(home[:, 1]), np.nan),
        "language": np.where(has_language, np.where(swedish, "sv", "fi"), ""),
        "family": [f"H{number:07d}" for number in (family + first + 1).tolist()],
        "sibling_unit": [unit if at >= 0 else "" for unit, at in zip(_unit_id(sibling), sibling.tolist(), strict=True)],
        "special_support": draws[0] < SPECIAL_SUPPORT,
        "custody_split": draws[1] < CUSTODY_SPLIT,
        "safety_ban": draws[2] < SAFETY_BAN,
        "secrecy_order": draws[3] < SECRECY_ORDER,
    }
    empty_is_null = [pl.col(name).replace("", None) for name in ("language", "sibling_unit")]
    table = pl.DataFrame(columns, schema_overrides=dict.fromkeys(_TEXTS, pl.String))
    return table.with_columns(pl.col("x", "y").fill_nan(None), *empty_is_null)
