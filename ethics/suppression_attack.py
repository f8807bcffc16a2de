"""The attacker of disclosure control: what can be worked out of a withheld count from everything that is printed.

Every withheld number of people is an unknown of one linear program; every printed count, total, margin and rate of all
tables at once is a constraint. The least and the greatest value that the constraints leave are the attacker's answer.
Source: Fischetti & Salazar-González 2001, *Solving the cell suppression problem*, Management Science 47(7), §2.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ethics.published_figures import (
    Counts,
    Figure,
    Key,
    counts_of,
    figures_of,
    is_silent,
    is_total,
    place_of,
    told_of_everyone,
)
from ethics.report_tables import CountTable

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_MANY = 1e9  # more people than any city has: the bound of a count about which nothing is known
_CLOSE = 1e-6
_SHARED_TRIES = 8  # programs that move all cells at once before each is tried by itself
_DRAWN_ALONG = 1e-3


class Recovered(NamedTuple):
    """A number of people that outsiders can work out, and the bounds they can work out for it."""

    attribute: str
    group: str
    column: str
    low: int
    high: int


def attack(
    tables: Sequence[CountTable], least: int, *, earlier: Sequence[CountTable] = (), most: int | None = None
) -> list[Recovered]:
    """The withheld and the small counts that the tables give away.

    Parameters
    ----------
    tables : sequence of CountTable
        All tables of a report, with what is withheld.
    least : int
        A count is recovered when the values it can have lie fewer than ``least`` apart. Counts below ``least``, zeros
        among them, are attacked wherever they stand; others when they are withheld.
    earlier : sequence of CountTable
        Tables about the same people that are already out (another page, an earlier edition).
    most : int, optional
        As :meth:`Program.narrow`; without it every count is bounded.

    >>> table = CountTable("groups", "g", ("a", "b"), {"n": (3, 90)}, totals={"n": 93}, shown=("n",))
    >>> attack([table.hiding(frozenset({("n", "a")}))], least=5)
    [Recovered(attribute='g', group='a', column='n', low=3, high=3)]
    >>> attack([table.hiding(frozenset({("n", "a"), ("n", "b")}))], least=5)
    []
    """
    printed = [table for table in (*earlier, *tables) if not is_silent(table)]
    counts = counts_of(printed)
    targets = targets_of(printed, counts, least, earlier=earlier)
    return attack_figures(counts, figures_of(printed, counts), targets, least, most=most)


def targets_of(
    tables: Sequence[CountTable],
    counts: Counts,
    least: int,
    *,
    earlier: Sequence[CountTable] = (),
    settled: Settled | None = None,
) -> set[Key]:
    """What must not be known: counts of a group below ``least``, and every printed count that is withheld.

    Left out is what everyone's figures alone already narrow below ``least`` (where two people in all were missed, no
    group missed more): no cell that is withheld could widen it. Such counts are withheld where they are small. A large
    count that an ``earlier`` table tells is no secret of a later one.
    """
    withheld = {place_of(table, group, name) for table in tables for name, group in table.hidden if name in table.shown}
    settled = settled or Settled(counts, least, earlier)
    wanted = settled.small | (withheld - settled.known)
    return wanted & settled.wide(tables)


class Settled:
    """What does not change while figures are withheld: the sums, small counts, what is out, what totals narrow."""

    def __init__(self, counts: Counts, least: int, earlier: Sequence[CountTable]) -> None:
        self.counts, self.least, self.sums = counts, least, Sums(counts)
        self.small, self.known = small_counts(counts, least), told_exactly(earlier, counts)
        self._everyone: list[Figure] | None = None
        self._wide: set[Key] = set()

    def wide(self, tables: Sequence[CountTable]) -> set[Key]:
        """The counts that everyone's figures alone leave ``least`` values or more."""
        everyone = told_of_everyone(tables, self.counts.people)
        if everyone != self._everyone:
            program = Program(self.counts, everyone, self.sums)
            apart = program.high - program.low >= self.least
            self._wide, self._everyone = {key for key, place in program.place.items() if apart[place]}, everyone
        return self._wide


def told_exactly(tables: Sequence[CountTable], counts: Counts) -> set[Key]:
    """The counts that tables print, or that a rate in them tells."""
    figures = figures_of([table for table in tables if not is_silent(table)], counts)
    return {figure.terms[0][0] for figure in figures if len(figure.terms) == 1 and figure.low == figure.high}


def small_counts(counts: Counts, least: int) -> set[Key]:
    """Counts of groups below ``least``. A column that counts nobody at all is no secret of any group."""
    empty = {key[2] for key, people in counts.people.items() if is_total(key) and people == 0}
    return {
        key for key, people in counts.people.items() if people < least and not is_total(key) and key[2] not in empty
    }


def attack_figures(
    counts: Counts, figures: Iterable[Figure], targets: Collection[Key], least: int, *, most: int | None = None
) -> list[Recovered]:
    """As :func:`attack`, from any figures: say, those read off a finished page."""
    program = Program(counts, figures)
    found = []
    for key in sorted(targets):
        low, high = program.bounds(key)
        if high - low < least:
            found.append(Recovered(*key, low, high))
    open_keys = set(targets) - {(one.attribute, one.group, one.column) for one in found}
    found += [Recovered(*key, low, high) for key, (low, high) in program.narrow(open_keys, least, most=most).items()]
    return sorted(found)


class Sums:
    """The unknown counts in their order, and how they add up, as the rows that every program on them begins with."""

    def __init__(self, counts: Counts) -> None:
        self.keys = list(counts.people)
        self.place = {key: position for position, key in enumerate(self.keys)}
        self.truth = np.array([counts.people[key] for key in self.keys], dtype=np.float64)
        self.n = len(counts.sums)
        terms = [
            (number, self.place[key], factor)
            for number, (whole, parts) in enumerate(counts.sums)
            for key, factor in ((whole, -1.0), *((part, 1.0) for part in parts))
        ]
        rows, columns, factors = tuple(zip(*terms, strict=True)) or ((), (), ())
        self.arrays = (
            np.array(rows, dtype=np.int64),
            np.array(columns, dtype=np.int64),
            np.array(factors, dtype=np.float64),
        )


class Program:
    """The constraints as one sparse system, its bounds drawn together before any program is solved."""

    def __init__(self, counts: Counts, figures: Iterable[Figure], sums: Sums | None = None) -> None:
        sums = sums or Sums(counts)
        self.keys, self.place, self.truth = sums.keys, sums.place, sums.truth
        low, high = [0.0] * len(self.keys), [_MANY] * len(self.keys)
        terms: list[tuple[int, int, float]] = []
        bounds: list[tuple[float, float]] = [(0.0, 0.0)] * sums.n
        for figure, least, most in figures:
            if len(figure) == 1 and figure[0][1] == 1.0:
                position = self.place[figure[0][0]]
                low[position] = max(low[position], math.ceil(least - _CLOSE))
                high[position] = min(high[position], math.floor(most + _CLOSE))
            else:
                terms += [(len(bounds), self.place[key], factor) for key, factor in figure]
                bounds.append((least, most))
        self.low, self.high = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
        more = tuple(zip(*terms, strict=True)) or ((), (), ())
        self.rows, self.columns = (
            np.concatenate([sums.arrays[at], np.array(more[at], dtype=np.int64)]) for at in (0, 1)
        )
        self.factors = np.concatenate([sums.arrays[2], np.array(more[2], dtype=np.float64)])
        self.row_low, self.row_high = (np.array([pair[at] for pair in bounds], dtype=np.float64) for at in (0, 1))
        self._draw_together()

    def bounds(self, key: Key) -> tuple[int, int]:
        """The bounds that follow without any program."""
        position = self.place[key]
        return int(self.low[position]), int(self.high[position])

    def _draw_together(self, most: int = 40) -> None:
        """Bounds from each constraint alone, in whole people, until nothing moves."""
        n, rows, at, factors = len(self.row_low), self.rows, self.columns, self.factors
        for _ in range(most):
            if not len(rows):
                return
            # A constraint on counts that are all known moves nothing any more.
            moving = np.bincount(rows, self.high[at] > self.low[at], n)[rows] > 0
            if not moving.all():
                rows, at, factors = rows[moving], at[moving], factors[moving]
            up = factors > 0
            first, second = factors * self.low[at], factors * self.high[at]
            smallest, largest = np.where(up, first, second), np.where(up, second, first)
            rest_low = np.bincount(rows, smallest, n)[rows] - smallest
            rest_high = np.bincount(rows, largest, n)[rows] - largest
            one = (self.row_low[rows] - rest_high) / factors
            other = (self.row_high[rows] - rest_low) / factors
            low, high = self.low.copy(), self.high.copy()
            np.maximum.at(low, at, np.ceil(np.where(up, one, other) - _CLOSE))
            np.minimum.at(high, at, np.floor(np.where(up, other, one) + _CLOSE))
            if (low == self.low).all() and (high == self.high).all():
                return
            self.low, self.high = low, high

    def narrow(self, keys: Collection[Key], least: int, *, most: int | None = None) -> dict[Key, tuple[int, int]]:
        """Those of the keys that the whole system narrows below ``least``, with their bounds.

        With ``most``, at most so many keys are bounded one by one; if more are left, they come back with their bounds
        from single constraints: not shown to be narrow, and not shown to be safe either.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        free = self.high > self.low
        kept = free[self.columns]
        n = len(self.keys)
        shape = (len(self.row_low) + n, len(self.row_low) + n)
        edges = coo_array((np.ones(int(kept.sum())), (self.columns[kept], n + self.rows[kept])), shape=shape)
        _, part = connected_components(edges, directed=False)
        places = np.array([self.place[key] for key in sorted(keys) if free[self.place[key]]], dtype=np.int64)
        worlds = _Worlds(self, part, free)
        found = worlds.narrowed(places, least, most)
        return {self.keys[place]: bounds for place, bounds in sorted(found.items())}


class _Worlds:
    """Worlds that the figures allow, found by linear programs over all unknown counts that are still in question.

    Counts that hang together are a part. Parts share nothing, so one program serves one question of each of them.
    """

    def __init__(self, program: Program, part: npt.NDArray[np.int32], free: npt.NDArray[np.bool_]) -> None:
        n = len(program.keys)
        self.program, self.free, self.of, self.of_row = program, free, part[:n], part[n:]
        self.low, self.high = program.truth.copy(), program.truth.copy()
        self.asked: npt.NDArray[np.int32] | None = None

    def narrowed(self, targets: npt.NDArray[np.int64], least: int, most: int | None) -> dict[int, tuple[int, int]]:
        """Targets whose feasible values lie fewer than ``least`` apart.

        Each solution is a world that the page allows, and worlds that differ in a count by ``least`` clear it; so a
        few programs that move every count at once clear most. The others are bounded one of each part at a time, with
        the rest of the part drawn along a little, which clears many of them too; bounds are exact without that.
        """
        rng = np.random.default_rng(0)
        found: dict[int, tuple[int, int]] = {}
        for turn in range(_SHARED_TRIES):
            targets = self._unclear(targets, least)
            signs = rng.choice([-1.0, 1.0], len(targets)) if turn else -1.0
            self._see(targets, rng.uniform(0.5, 1.5, len(targets)) * signs)
        targets = self._unclear(targets, least)
        if most is not None:
            parts, sizes = np.unique(self.of[targets], return_counts=True)
            given_up = targets[np.isin(self.of[targets], parts[sizes > most])]
            low, high = self.program.low, self.program.high
            found |= {int(place): (int(low[place]), int(high[place])) for place in given_up}
            targets = np.setdiff1d(targets, given_up)
        while len(targets := self._unclear(targets, least)):
            _, first = np.unique(self.of[targets], return_index=True)
            picked = np.zeros(len(targets), dtype=np.bool_)
            picked[first] = True
            for sign in (1.0, -1.0):
                self._see(targets, np.where(picked, sign, rng.uniform(-_DRAWN_ALONG, _DRAWN_ALONG, len(targets))))
            one = self._unclear(targets[picked], least)
            lows, highs = self._see(one, np.ones(len(one))), self._see(one, -np.ones(len(one)))
            for place, low, high in zip(one.tolist(), lows, highs, strict=True):
                bounds = int(np.ceil(low - _CLOSE)), int(np.floor(high + _CLOSE))
                if bounds[1] - bounds[0] < least:
                    found[place] = bounds
            targets = targets[~picked]
        return found

    def _unclear(self, targets: npt.NDArray[np.int64], least: int) -> npt.NDArray[np.int64]:
        apart = np.floor(self.high[targets] + _CLOSE) - np.ceil(self.low[targets] - _CLOSE)
        left: npt.NDArray[np.int64] = targets[apart < least]
        return left

    def _see(self, places: npt.NDArray[np.int64], wish: Floats) -> Floats:
        """The values of some counts in the world that has least of what is wished."""
        if not len(places):
            return np.empty(0)
        asked = np.unique(self.of[places])
        if self.asked is None or not np.array_equal(asked, self.asked):
            self.asked = asked
            self.component = _Component(
                self.program, np.flatnonzero(np.isin(self.of, asked) & self.free), np.isin(self.of_row, asked)
            )
        here = self.component.places
        wanted = np.zeros(len(self.free))
        wanted[places] = wish
        world = self.component.least(wanted[here])
        self.low[here], self.high[here] = np.minimum(self.low[here], world), np.maximum(self.high[here], world)
        values = np.empty(len(self.free))
        values[here] = world
        answer: Floats = values[places]
        return answer


class _Component:
    """Unknown counts of some parts, and the linear programs over them."""

    def __init__(self, program: Program, places: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]) -> None:
        from scipy.sparse import csr_array

        self.places = places
        self.bounds = np.column_stack([program.low[places], program.high[places]])
        row_numbers = np.flatnonzero(rows)
        renumbered = np.full(len(program.row_low), -1)
        renumbered[row_numbers] = np.arange(len(row_numbers))
        here = rows[program.rows] if len(program.rows) else np.zeros(0, dtype=bool)
        line, column, factor = renumbered[program.rows[here]], program.columns[here], program.factors[here]
        mine = np.full(len(program.keys), -1)
        mine[places] = np.arange(len(places))
        free = mine[column] >= 0
        fixed = np.bincount(line[~free], factor[~free] * program.low[column[~free]], len(row_numbers))
        matrix = csr_array((factor[free], (line[free], mine[column[free]])), shape=(len(row_numbers), len(places)))
        low, high = program.row_low[row_numbers] - fixed, program.row_high[row_numbers] - fixed
        equal = low == high
        self.equal: dict[str, Any] = {"A_eq": matrix[equal], "b_eq": low[equal]} if equal.any() else {}
        above, below = ~equal & np.isfinite(low), ~equal & np.isfinite(high)
        self.within: dict[str, Any] = {}
        if above.any() or below.any():
            from scipy.sparse import vstack

            self.within = {
                "A_ub": vstack([-matrix[above], matrix[below]], format="csr"),
                "b_ub": np.concatenate([-low[above], high[below]]),
            }

    def least(self, wish: Floats) -> Floats:
        """The world in which what is wished is least."""
        from scipy.optimize import linprog

        answer = linprog(wish, bounds=self.bounds, method="highs", **self.equal, **self.within)
        if answer.x is None:
            raise ArithmeticError(f"the linear program ended without an answer (status {answer.status})")
        world: Floats = answer.x
        return world
