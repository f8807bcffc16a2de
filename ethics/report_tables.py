"""Tables of people as the report publishes them: counts by group, and the rates that can be worked back to counts.

A table is data before it is text. Whoever withholds small cells looks at all tables of a report at once, names what is
withheld, and the page prints a word in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class CountTable:
    """People by group of one attribute, in several columns.

    Parameters
    ----------
    name : str
        Which table of the report, e.g. ``groups``.
    attribute : str
        What the groups are groups of; ``a × b`` for a crossing of two attributes.
    groups : tuple of str
        The rows.
    counts : mapping of column to tuple of int
        Persons per group, in the order of ``groups``. Also columns that are never printed but follow from a printed
        rate, such as those found above the cut.
    totals : mapping of column to int
        Sums of columns that the report tells, here or elsewhere (everyone's figures).
    shown : tuple of str
        The columns that are printed as they are; the others are known only through ``rates``.
    sums : tuple of (column, (part, …))
        Columns that are the sum of others in every row, e.g. ``("need", ("found_k_audit", "missed_k_audit"))``.
    rates : mapping of rate to (column, …)
        The columns each printed rate, ratio or interval is worked out from: numerator first, then denominator.
    tested : tuple of bool
        Whether a group's decision numbers are judged; those are the last that may be withheld.
    at_most : mapping of column to tuple of int or None
        Upper bounds that words tell of a group whatever is withheld, e.g. "too few in need to be tested".
    spread : mapping of column to tuple of str
        Columns that are sums of what another table counts of the same group, as that table's places name it.
    within : tuple of (whole, part)
        Columns, of this table or as another's places name them, of which the second counts some of the first.
    same : mapping of column to column
        Columns that count the very people a column of the tables by group counts, by that column's name.
    hidden : frozenset of (column or rate, group)
        What is withheld.
    """

    name: str
    attribute: str
    groups: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    totals: Mapping[str, int] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    sums: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tested: tuple[bool, ...] = ()
    at_most: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    spread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    within: tuple[tuple[str, str], ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[tuple[str, str]] = frozenset()

    def hiding(self, cells: frozenset[tuple[str, str]]) -> CountTable:
        """The same table with these cells, of (column or rate, group), withheld as well."""
        return replace(self, hidden=self.hidden | cells)

    def is_hidden(self, column: str, group: str) -> bool:
        """Whether a count or a rate of a group is withheld.

        >>> table = CountTable("groups", "sex", ("f", "m"), {"n": (3, 400)})
        >>> table.hiding(frozenset({("n", "f")})).is_hidden("n", "f")
        True
        """
        return (column, group) in self.hidden
