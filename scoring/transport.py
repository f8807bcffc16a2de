"""Who goes where at the lowest total price, no unit above its places, siblings together where that is worth it.

Without families this is the transportation problem, whose linear relaxation has whole-numbered solutions. Columns are
generated: solved with the cheapest few units of each child, then every other pair of child and unit is priced against
the dual values, and what could lower the total is added, until nothing can. The answer is then exact for all pairs,
though few were ever in the program.

A family either goes together (one column per unit, for all of its children), or its children go one by one, each at
an extra price. These columns may come out in fractions; then a mixed-integer program is solved over the columns whose
reduced cost does not exceed the gap between its answer and the linear bound, for no other column can be part of a
cheaper answer. Source: Dantzig 1951 (transportation); Nemhauser & Wolsey 1988, §II.5.1 (reduced cost fixing).
Solver: HiGHS (Huangfu & Hall 2018), as SciPy brings it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_PLACE = -1
FIRST_UNITS = 12
"""Units of each child in the program before the others are priced."""
MOST_NODES = 10_000
"""Of the search for whole numbers: a limit that does not depend on the clock, so the answer does not either."""
_WHOLE = 1e-6
_PRICED = 1e-6


class Placing(NamedTuple):
    """Unit of each child, -1 for no place; the total price; and a proven lower bound of any placing's price."""

    unit: Ints
    price: float
    bound: float

    @property
    def is_cheapest(self) -> bool:
        """Whether no placing can be cheaper, up to the rounding of the solver."""
        return self.price - self.bound <= 1e-6 * max(1.0, abs(self.price))


def cheapest_placing(
    price: Floats, places: Ints, *, family: Ints | None = None, apart: float = 0.0, no_place: float
) -> Placing:
    """The cheapest placing of children in units.

    Parameters
    ----------
    price : float64 (n_children, n_units)
        At least 0; infinite where a child may not go. Among equally cheap placings the order of the rows decides, so
        give them in an order that means nothing (:func:`scoring.assignment.neutral_order`).
    places : int64 (n_units,)
        At least 0.
    family : int64 (n_children,), optional
        Children of one number, at least 0, belong together; -1 is nobody's sibling.
    apart : float
        Extra price of each child of a family whose children do not all go to one unit; at least 0.
    no_place : float
        Price of a child that goes nowhere.

    Returns
    -------
    Placing

    >>> cheapest_placing(np.array([[1.0, 5.0], [2.0, 9.0]]), np.array([1, 1]), no_place=100.0).unit.tolist()
    [1, 0]
    """
    n = price.shape[0]
    if n == 0:
        return Placing(np.empty(0, np.int64), 0.0, 0.0)
    families = _families(np.full(n, -1) if family is None else family)
    alone = price.copy()
    for members in families:
        alone[members] += apart
    together = np.array([price[members].sum(axis=0) for members in families]).reshape(len(families), price.shape[1])
    program = _Program(alone, together, families, places, no_place)
    program.add_cheapest(FIRST_UNITS)
    value, use = program.solve_relaxed()
    while program.add_priced():
        value, use = program.solve_relaxed()
    bound = value
    if np.abs(use - np.round(use)).max(initial=0.0) > _WHOLE:
        bound, use = program.solve_whole(bound, max(2 * apart, 1.0))
    unit = program.units(use)
    return Placing(unit, price_of(unit, price, families, apart, no_place), bound)


def price_of(unit: Ints, price: Floats, families: list[Ints], apart: float, no_place: float) -> float:
    """What a placing costs in all."""
    placed = unit >= 0
    total = float(price[placed, unit[placed]].sum()) + no_place * int((~placed).sum())
    for members in families:
        if np.unique(unit[members]).size > 1:
            total += apart * int((unit[members] >= 0).sum())
    return total


def families_of(family: Ints) -> list[Ints]:
    """Positions of the children of each family of two or more."""
    return _families(family)


def _families(family: Ints) -> list[Ints]:
    order = np.argsort(family, kind="stable")
    starts = np.flatnonzero(np.diff(family[order], prepend=-2))
    return [part for part in np.split(order, starts[1:]) if part.size > 1 and family[part[0]] >= 0]


class _Program:
    """Columns in use: children alone (first block), families together, and children without a place (always all)."""

    def __init__(self, alone: Floats, together: Floats, families: list[Ints], places: Ints, no_place: float) -> None:
        self.alone, self.together, self.families = alone, together, families
        self.places, self.no_place = places, no_place
        self.sizes = np.array([len(members) for members in families], dtype=np.int64)
        self.has_alone = np.zeros(alone.shape, np.bool_)
        self.has_together = np.zeros(together.shape, np.bool_)
        self.dual_child: Floats = np.zeros(alone.shape[0])
        self.dual_unit: Floats = np.zeros(alone.shape[1])

    def add_cheapest(self, n_units: int) -> None:
        """The cheapest units of each child and family."""
        for price, has in ((self.alone, self.has_alone), (self.together, self.has_together)):
            cheapest = np.argsort(price, axis=1, kind="stable")[:, :n_units]
            np.put_along_axis(has, cheapest, True, axis=1)
            has &= np.isfinite(price)

    def _reduced(self) -> tuple[Floats, Floats]:
        """Reduced costs of all columns, in the program or not; infinite where not allowed."""
        alone = self.alone - self.dual_child[:, None] - self.dual_unit
        of_families = [self.dual_child[members].sum() for members in self.families]
        together = self.together - np.array(of_families).reshape(-1, 1) - self.sizes[:, None] * self.dual_unit
        return alone, together

    def add_priced(self) -> bool:
        """Add every column that could lower the total; False when there is none."""
        alone, together = self._reduced()
        more, more_together = ((alone < -_PRICED) & ~self.has_alone, (together < -_PRICED) & ~self.has_together)
        self.has_alone |= more
        self.has_together |= more_together
        return bool(more.any() or more_together.any())

    def _columns(self, has_alone: NDArray[np.bool_], has_together: NDArray[np.bool_]) -> None:
        self.child, self.child_unit = (part.astype(np.int64) for part in np.nonzero(has_alone))
        self.group, self.group_unit = (part.astype(np.int64) for part in np.nonzero(has_together))

    def _constraints(self) -> tuple[Floats, csc_matrix, csc_matrix]:
        """Prices; each child exactly once (no place is a column too); no unit above its places."""
        from scipy.sparse import csc_matrix

        (n, n_units), m, g = self.alone.shape, self.child.size, self.group.size
        members = [self.families[group] for group in self.group.tolist()]
        sizes = self.sizes[self.group]
        rows = np.concatenate([self.child, *members, np.arange(n)])
        columns = np.concatenate([np.arange(m), np.repeat(m + np.arange(g), sizes), m + g + np.arange(n)])
        once = csc_matrix((np.ones(rows.size), (rows, columns)), shape=(n, m + g + n))
        weight = np.concatenate([np.ones(m), sizes])
        units = np.concatenate([self.child_unit, self.group_unit])
        room = csc_matrix((weight, (units, np.arange(m + g))), shape=(n_units, m + g + n))
        taken = (self.alone[self.child, self.child_unit], self.together[self.group, self.group_unit])
        return np.concatenate([*taken, np.full(n, self.no_place)]), once, room

    def solve_relaxed(self) -> tuple[float, Floats]:
        """Value and use of the columns, fractions allowed; keeps the dual values."""
        from scipy.optimize import linprog

        self._columns(self.has_alone, self.has_together)
        price, once, room = self._constraints()
        ones = np.ones(once.shape[0])
        found = linprog(price, A_ub=room, b_ub=self.places, A_eq=once, b_eq=ones, method="highs-ds")
        _succeeded(found)
        self.dual_child, self.dual_unit = found.eqlin.marginals, found.ineqlin.marginals
        use: Floats = found.x
        return float(found.fun), use

    def solve_whole(self, bound: float, gap: float) -> tuple[float, Floats]:
        """A proven bound and the use of the columns in whole numbers, over all columns within the gap it leaves."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        alone, together = self._reduced()
        while True:
            self._columns(alone <= gap, together <= gap)
            price, once, room = self._constraints()
            limits = [LinearConstraint(once, 1, 1), LinearConstraint(room, -np.inf, self.places)]
            options = {"mip_rel_gap": 0.0, "node_limit": MOST_NODES}
            whole = np.ones(price.size)
            found = milp(price, constraints=limits, integrality=whole, bounds=Bounds(0, 1), options=options)
            if found.x is None:
                _succeeded(found)
            use: Floats = found.x
            if found.status != 0:  # out of nodes: whole numbers, and perhaps not the cheapest
                return max(bound, min(float(found.mip_dual_bound), bound + gap)), use
            if found.fun - bound <= gap * (1 + 1e-9):
                return float(found.fun), use
            gap = float(found.fun) - bound

    def units(self, use: Floats) -> Ints:
        """The unit of each child by the columns in use."""
        m, g = self.child.size, self.group.size
        unit = np.full(self.alone.shape[0], NO_PLACE, dtype=np.int64)
        chosen = np.flatnonzero(use[:m] > 0.5)
        unit[self.child[chosen]] = self.child_unit[chosen]
        for column in np.flatnonzero(use[m : m + g] > 0.5).tolist():
            unit[self.families[self.group[column]]] = self.group_unit[column]
        return unit


def _succeeded(found: Any) -> None:
    """No place is always allowed, so a solution exists; without one something of ours is wrong."""
    if found.x is None or found.status != 0:
        raise RuntimeError(f"HiGHS gave no solution: status {found.status}")
