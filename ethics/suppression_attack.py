"""The attacker of disclosure control: what can be worked out of a withheld count from everything that is printed.

Every withheld number of people is an unknown of one linear program; every printed count, total, margin and rate of all
tables at once is a constraint. The least and the greatest value that the constraints leave are the attacker's answer.
Source: Fischetti & Salazar-González 2001, *Solving the cell suppression problem*, Management Science 47(7), §2.
"""

from __future__ import annotations

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
    tables: Sequence[CountTable], counts: Counts, least: int, *, earlier: Sequence[CountTable] = ()
) -> set[Key]:
    """What must not be known: counts of a group below ``least``, and every printed count that is withheld.

    Left out is what everyone's figures alone already narrow below ``least`` (where two people in all were missed, no
    group missed more): no cell that is withheld could widen it. Such counts are withheld where they are small. A large
    count that an ``earlier`` table tells is no secret of a later one.
    """
    withheld = {place_of(table, group, name) for table in tables for name, group in table.hidden if name in table.shown}
    wanted = small_counts(counts, least) | (withheld - told_exactly(earlier, counts))
    program = Program(counts, told_of_everyone(tables, counts.people))
    widths = program.high - program.low
    return {key for key in wanted & counts.people.keys() if widths[program.place[key]] >= least}


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


class Program:
    """The constraints as one sparse system, its bounds drawn together before any program is solved."""

    def __init__(self, counts: Counts, figures: Iterable[Figure]) -> None:
        self.keys = list(counts.people)
        self.place = {key: position for position, key in enumerate(self.keys)}
        self.truth = np.array([counts.people[key] for key in self.keys], dtype=np.float64)
        self.low, self.high = np.zeros(len(self.keys)), np.full(len(self.keys), _MANY)
        rows, columns, factors, lows, highs = [], [], [], [], []
        lines: list[tuple[list[tuple[int, float]], float, float]] = []
        for whole, parts in counts.sums:
            terms = [(self.place[whole], -1.0), *((self.place[part], 1.0) for part in parts)]
            lines.append((terms, 0.0, 0.0))
        for figure, low, high in figures:
            known = [(self.place[key], factor) for key, factor in figure]
            if len(known) == 1 and known[0][1] == 1.0:
                position = known[0][0]
                self.low[position] = max(self.low[position], np.ceil(low - _CLOSE))
                self.high[position] = min(self.high[position], np.floor(high + _CLOSE))
            else:
                lines.append((known, low, high))
        for number, (terms, low, high) in enumerate(lines):
            for position, factor in terms:
                rows.append(number)
                columns.append(position)
                factors.append(factor)
            lows.append(low)
            highs.append(high)
        self.rows, self.columns = np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
        self.factors = np.array(factors, dtype=np.float64)
        self.row_low, self.row_high = np.array(lows, dtype=np.float64), np.array(highs, dtype=np.float64)
        self._draw_together()

    def bounds(self, key: Key) -> tuple[int, int]:
        """The bounds that follow without any program."""
        position = self.place[key]
        return int(self.low[position]), int(self.high[position])

    def _draw_together(self, most: int = 40) -> None:
        """Bounds from each constraint alone, in whole people, until nothing moves."""
        n, up = len(self.row_low), self.factors > 0
        at = self.columns
        for _ in range(most):
            if not n:
                return
            smallest = np.where(up, self.factors * self.low[at], self.factors * self.high[at])
            largest = np.where(up, self.factors * self.high[at], self.factors * self.low[at])
            rest_low = np.bincount(self.rows, smallest, n)[self.rows] - smallest
            rest_high = np.bincount(self.rows, largest, n)[self.rows] - largest
            one = (self.row_low[self.rows] - rest_high) / self.factors
            other = (self.row_high[self.rows] - rest_low) / self.factors
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
        found: dict[Key, tuple[int, int]] = {}
        by_part: dict[int, list[int]] = {}
        for key in sorted(keys):
            by_part.setdefault(int(part[self.place[key]]), []).append(self.place[key])
        for number, targets in by_part.items():
            component = _Component(self, np.flatnonzero((part[:n] == number) & free), part[n:] == number)
            found |= {self.keys[place]: bounds for place, bounds in component.narrowed(targets, least, most).items()}
        return found


class _Component:
    """Unknown counts that hang together, and the linear programs over them."""

    def __init__(self, program: Program, places: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]) -> None:
        from scipy.sparse import csr_array

        self.places = places
        self.at = {int(place): position for position, place in enumerate(places)}
        self.start = program.truth[places]
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

    def narrowed(self, targets: Sequence[int], least: int, most: int | None = None) -> dict[int, tuple[int, int]]:
        """Targets whose feasible values lie fewer than ``least`` apart.

        Each solution is a world that the page allows, and worlds that differ in a count by ``least`` clear it; so a
        few programs that move every count at once clear most, and only the others are bounded one by one.
        """
        rng = np.random.default_rng(0)
        seen_low, seen_high = self.start.copy(), self.start.copy()
        unclear = np.array([self.at[place] for place in targets if place in self.at], dtype=np.int64)

        def still() -> npt.NDArray[np.int64]:
            apart = np.floor(seen_high[unclear] + _CLOSE) - np.ceil(seen_low[unclear] - _CLOSE)
            left: npt.NDArray[np.int64] = unclear[apart < least]
            return left

        for turn in range(_SHARED_TRIES if len(unclear) > 2 else 0):
            unclear = still()
            if not len(unclear):
                return {}
            wish = np.zeros(len(self.places))
            wish[unclear] = rng.uniform(0.5, 1.5, len(unclear)) * (
                rng.choice([-1.0, 1.0], len(unclear)) if turn else -1
            )
            self._see(wish, seen_low, seen_high)
        found = {}
        if most is not None and len(unclear := still()) > most:
            return {int(self.places[one]): (int(self.bounds[one, 0]), int(self.bounds[one, 1])) for one in unclear}
        while len(unclear := still()):
            one = int(unclear[0])
            wish = np.zeros(len(self.places))
            wish[one] = 1.0
            low = self._see(wish, seen_low, seen_high)[one]
            high = self._see(-wish, seen_low, seen_high)[one]
            first, last = int(np.ceil(low - _CLOSE)), int(np.floor(high + _CLOSE))
            if last - first < least:
                found[int(self.places[one])] = (first, last)
            unclear = unclear[1:]
        return found

    def _see(self, wish: Floats, seen_low: Floats, seen_high: Floats) -> Floats:
        from scipy.optimize import linprog

        answer = linprog(wish, bounds=self.bounds, method="highs", **self.equal, **self.within)
        if answer.x is None:
            raise ArithmeticError(f"the linear program ended without an answer (status {answer.status})")
        world: Floats = answer.x
        np.minimum(seen_low, world, out=seen_low)
        np.maximum(seen_high, world, out=seen_high)
        return world
