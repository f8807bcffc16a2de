"""Who lives in the invented city: ages, households, languages, districts, and moves over the years.

Shares of ages are Helsinki's (Paavo open data by postal area, Statistics Finland, CC BY 4.0), those of language groups
of its order of size. No person or household comes from any register.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from features.synthetic_world import (
    EXTRACT_DAY,
    MONTH_DAYS,
    MONTH_START,
    N_MONTHS,
    START_DAY,
    Bools,
    Floats,
    Ints,
    World,
)

LANGUAGES = ("fi", "sv", "other")
LANGUAGE_SHARES = (0.780, 0.056, 0.164)
DISTRICTS = ("west", "south", "centre", "southeast", "north", "northeast", "east")
DISTRICT_SHARES = (0.16, 0.18, 0.15, 0.09, 0.07, 0.16, 0.19)
# Youngest age of each band and its share of residents; the last band ends at 99.
AGE_STARTS = (0, 3, 7, 13, 16, 18, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85)
AGE_SHARES = (
    0.0268, 0.0366, 0.0583, 0.0287, 0.0186, 0.0194, 0.0633, 0.0840, 0.0934, 0.0841,
    0.0758, 0.0666, 0.0533, 0.0576, 0.0557, 0.0465, 0.0425, 0.0423, 0.0240, 0.0225,
)  # fmt: skip
WOMEN_SHARE = 0.525
EARLIER_YEARS = 3
"""Years before the log whose moves the city still has: pre-school offers are older than the log."""
YEAR_DAYS = 365.25


@dataclass(frozen=True, kw_only=True)
class Residents:
    """One block of residents; every array has one entry per person, in the order of their ids."""

    birth_day: Ints
    leave_day: Ints  # death or moving away; after the extract date for everyone who stays
    died: Bools  # whether `leave_day` is a death
    woman: Bools
    language: Ints
    disability: Bools
    household: Ints
    district: Ints
    hardship: Floats
    use_factor: Floats
    access: Floats
    watched: Bools

    @property
    def present(self) -> Bools:
        """Whether each person is alive and in the city for the whole of each month, (n, N_MONTHS)."""
        ends = MONTH_START + MONTH_DAYS
        return (self.birth_day[:, None] <= MONTH_START) & (self.leave_day[:, None] >= ends)

    @property
    def age(self) -> Floats:
        """Age in years at the start of each month, (n, N_MONTHS)."""
        return ((MONTH_START - self.birth_day[:, None]) / 365.25).astype(np.float32)


@dataclass(frozen=True)
class History:
    """Rows of a block's history: position of the person, attribute, value, from which day, known on which day."""

    person: Ints
    is_district: Bools
    value: Ints
    from_day: Ints
    known: Ints


class Moves(NamedTuple):
    """Moves to a new address, within a district too and in the years before the log: position of the person, day."""

    person: Ints
    day: Ints

    def within(self, months: int, n: int) -> Bools:
        """Whether each of `n` persons moved in the `months` before each month of the log, (n, N_MONTHS)."""
        starts = np.append(MONTH_START[0] - 30 * np.arange(months, 0, -1), MONTH_START)
        month = np.searchsorted(starts, self.day, side="right") - 1
        inside = month >= 0
        moved = np.zeros((n, starts.size), np.bool_)
        moved[self.person[inside], month[inside]] = True
        recent = np.zeros((n, N_MONTHS), np.bool_)
        for back in range(1, months + 1):
            recent |= moved[:, months - back : months - back + N_MONTHS]
        return recent


def settle(rng: np.random.Generator, n: int, world: World) -> tuple[Residents, History, Moves]:
    """A block of residents, where and with whom each of them has lived, and when they moved."""
    band = rng.choice(len(AGE_STARTS), n, p=np.array(AGE_SHARES) / sum(AGE_SHARES))
    ends = np.array([*AGE_STARTS[1:], 100])
    starts = np.array(AGE_STARTS)
    age = starts[band] + rng.random(n) * (ends - starts)[band]
    birth_day = (EXTRACT_DAY - age * YEAR_DAYS).astype(np.int64)

    household = _households(rng, age)
    hardship = rng.standard_normal(n).astype(np.float32)[household]
    district = rng.choice(len(DISTRICTS), n, p=DISTRICT_SHARES)[household]
    language = rng.choice(len(LANGUAGES), n, p=LANGUAGE_SHARES)[household]
    hardship += np.array(world.district_hardship, dtype=np.float32)[district]

    years = 4.0
    dies = rng.random(n) < 1 - np.exp(-years * 0.0006 * np.exp(0.085 * (age - 30)).clip(0.1, 300))
    departs = rng.random(n) < 0.06
    earliest = np.maximum(birth_day + 1, START_DAY)
    leave_day = earliest + (rng.random(n) * (EXTRACT_DAY - earliest)).astype(np.int64)
    leave_day[~dies & ~departs] = EXTRACT_DAY + 1_000
    factor = np.where(language == LANGUAGES.index(world.barred_group), world.use_factor, 1.0)
    residents = Residents(
        birth_day=birth_day,
        leave_day=leave_day,
        died=dies,
        woman=rng.random(n) < WOMEN_SHARE,
        language=language,
        disability=rng.random(n) < 0.07,
        household=household,
        district=district,
        hardship=hardship,
        use_factor=factor.astype(np.float32),
        access=(world.access_sd * rng.standard_normal(n)).astype(np.float32),
        watched=rng.random(n) < world.watched_share * np.exp(0.3 * hardship).clip(0.2, 4),
    )
    history, latest_district, moves = _moves(rng, residents, age)
    return replace(residents, district=latest_district), history, moves


def _households(rng: np.random.Generator, age: Floats) -> Ints:
    """Position of the person each resident lived with at the start of the log: a partner, a parent or none."""
    household = np.arange(age.size)
    grown = np.flatnonzero(age >= 22)
    by_age = grown[np.argsort(age[grown] + rng.normal(0, 2, grown.size), kind="stable")]
    first, second = by_age[0 : by_age.size // 2 * 2 : 2], by_age[1::2]
    couples = rng.random(second.size) < 0.5
    household[second[couples]] = first[couples]
    parents = np.flatnonzero((age >= 28) & (age < 58) & (rng.random(age.size) < 0.4))
    children = np.flatnonzero(age < 22)
    if parents.size:
        household[children] = household[rng.choice(parents, children.size)]
    return household


def _moves(rng: np.random.Generator, residents: Residents, age: Floats) -> tuple[History, Ints, Moves]:
    """Where each person lived and with whom, from when; the district on the extract date; and every change of address.

    The history of districts begins with the log; addresses before it are known by the moves alone.
    """
    n = age.size
    everyone = np.arange(n)
    start = np.maximum(residents.birth_day, START_DAY)
    current = residents.district.copy()
    known_at_once = [
        (everyone, np.zeros(n, np.bool_), residents.household, start),
        (everyone, np.ones(n, np.bool_), current.copy(), start),
    ]
    rows = []
    # Young adults leave the parental home between their 18th birthday and the extract date.
    came_of_age = np.maximum(residents.birth_day + round(18 * YEAR_DAYS), START_DAY + 1)
    leaves_home = np.where(
        (age >= 18) & (age < 22) & (residents.household != everyone),
        came_of_age + (rng.random(n) * np.maximum(EXTRACT_DAY - came_of_age, 1)).astype(np.int64),
        EXTRACT_DAY + 1,
    )
    year_starts = np.linspace(START_DAY, EXTRACT_DAY, 5).astype(np.int64)
    for first, last in pairwise(year_starts):
        moving = (rng.random(n) < 0.08)[residents.household]
        day = rng.integers(first + 1, last, n)[residents.household]
        new = rng.choice(len(DISTRICTS), n, p=DISTRICT_SHARES)[residents.household]
        who = np.flatnonzero(moving & (day > start) & (day < residents.leave_day) & (day < leaves_home))
        rows.append((who, np.ones(who.size, np.bool_), new[who], day[who]))
        current[who] = new[who]
    who = np.flatnonzero((leaves_home <= EXTRACT_DAY) & (leaves_home < residents.leave_day))
    rows.append((who, np.zeros(who.size, np.bool_), who, leaves_home[who]))
    own = rng.choice(len(DISTRICTS), who.size, p=DISTRICT_SHARES)
    rows.append((who, np.ones(who.size, np.bool_), own, leaves_home[who]))
    current[who] = own

    addresses = [(who, day) for who, is_district, _, day in rows if is_district.all()]
    for first, last in pairwise((*(START_DAY - 365 * np.arange(EARLIER_YEARS, 0, -1)), *year_starts)):
        share = 0.14 if last <= START_DAY else 0.06  # the moves to another district are there already
        moving = (rng.random(n) < share)[residents.household]
        day = rng.integers(first + 1, last, n)[residents.household]
        who = np.flatnonzero(
            moving
            & (day > residents.birth_day)
            & (day < residents.leave_day)
            & ((day < leaves_home) | (last <= START_DAY))
        )
        addresses.append((who, day[who]))
    moves = Moves(*(np.concatenate(column) for column in zip(*addresses, strict=True)))

    parts = [*known_at_once, *rows]
    person, is_district, value, from_day = (np.concatenate(column) for column in zip(*parts, strict=True))
    late = np.arange(person.size) >= 2 * n
    known = from_day + late * rng.integers(0, 15, person.size)
    keep = np.flatnonzero(known <= EXTRACT_DAY)
    order = keep[np.lexsort((is_district[keep], from_day[keep], person[keep]))]
    history = History(person[order], is_district[order], value[order], from_day[order], known[order])
    return history, current, moves
