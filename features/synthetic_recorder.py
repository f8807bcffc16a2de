"""How the invented city comes to know what happens in it: drawing events, and when each becomes known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.synthetic_world import (
    CODE_INDEX,
    EXTRACT_DAY,
    MONTH_DAYS,
    MONTH_START,
    N_MONTHS,
    Bools,
    Floats,
    Ints,
    World,
)

MONTHS_SEEN = 6
"""A service knows somebody whom it saw in this month or the five before."""


class Events(NamedTuple):
    """Events of a block: position of the person in the block, epoch days, index into `CODES`, value or NaN."""

    person: Ints
    day: Ints
    known: Ints
    code: Ints
    value: Floats


@dataclass
class Recorder:
    """Collects events of one part of life as they are drawn, from a stream of chance of its own.

    A change in one part of life therefore leaves what happens in the others as it was.
    """

    rng: np.random.Generator
    parts: list[tuple[Ints, Ints, Ints, Floats, Bools]] = field(default_factory=list)

    def add(
        self,
        code: str | Ints,
        person: Ints,
        day: Ints,
        value: NDArray[Any] | None = None,
        recorded: Bools | None = None,
    ) -> None:
        """Add events; those not `recorded` happened, and no register has them."""
        codes = np.full(person.size, CODE_INDEX[code]) if isinstance(code, str) else code
        values = np.full(person.size, np.nan, np.float32) if value is None else value.astype(np.float32)
        kept = np.ones(person.size, np.bool_) if recorded is None else recorded
        self.parts.append((person.astype(np.int64), day.astype(np.int64), codes.astype(np.int64), values, kept))

    def monthly(self, code: str, rate: NDArray[Any]) -> tuple[Ints, Ints]:
        """Draw Poisson events at a monthly rate (n, N_MONTHS), add them, and return their persons and months."""
        person, month = self.draw(rate)
        self.add(code, person, self.day_in(month))
        return person, month

    def draw(self, rate: NDArray[Any]) -> tuple[Ints, Ints]:
        """Persons and months of Poisson events at a monthly rate (n, N_MONTHS)."""
        counts = self.rng.poisson(rate).ravel()
        cell = np.flatnonzero(counts)
        cell = np.repeat(cell, counts[cell])
        return cell // N_MONTHS, cell % N_MONTHS

    def noted(self, seen: Bools, world: World) -> Bools:
        """Which outcomes are recorded, given who was seen by a service; drawn aside, so that no other draw changes."""
        return seen | (self.rng.spawn(1)[0].random(seen.size) >= world.selective_labels)

    def day_in(self, month: Ints) -> Ints:
        """A day in each month."""
        return MONTH_START[month] + self.rng.integers(0, MONTH_DAYS[month])


def known_events(recorders: Sequence[Recorder], rng: np.random.Generator, world: World) -> Events:
    """Give each event the day the city came to know it; what is not known by the extract date is not there yet."""
    parts = [part for recorder in recorders for part in recorder.parts]
    person, day, code, value, recorded = (np.concatenate(column) for column in zip(*parts, strict=True))
    late_share, late_days = world.knowledge()
    late = rng.random(day.size) < late_share[code]
    known = day + late * rng.integers(1, late_days[code] + 1, endpoint=True)
    kept = np.flatnonzero(recorded & (known <= EXTRACT_DAY))
    order = kept[np.lexsort((code[kept], day[kept], person[kept]))]
    return Events(person[order], day[order], known[order], code[order], value[order])


def logistic(logit: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of log odds."""
    probability: NDArray[Any] = 1 / (1 + np.exp(-logit))
    return probability


def slow_drift(rng: np.random.Generator, n: int, sd: float, correlation: float) -> Floats:
    """A stationary series per person that forgets its past at a fixed pace, (n, N_MONTHS)."""
    shocks = rng.standard_normal((n, N_MONTHS), dtype=np.float32) * np.float32(sd)
    scale = np.float32(np.sqrt(1 - correlation**2))
    for month in range(1, N_MONTHS):
        shocks[:, month] = np.float32(correlation) * shocks[:, month - 1] + scale * shocks[:, month]
    return shocks


def seen_lately(n: int, contacts: Sequence[tuple[Ints, Ints]]) -> Bools:
    """Whether a service saw each of `n` persons in a month or the five before, by persons and months, (n, N_MONTHS)."""
    seen = np.zeros((n, MONTHS_SEEN - 1 + N_MONTHS), np.bool_)
    for person, month in contacts:
        seen[person, month + MONTHS_SEEN - 1] = True
    lately = np.zeros((n, N_MONTHS), np.bool_)
    for back in range(MONTHS_SEEN):
        lately |= seen[:, MONTHS_SEEN - 1 - back : MONTHS_SEEN - 1 - back + N_MONTHS]
    return lately
