"""What printed tables of people tell: which counts hang together, and how narrowly each printed figure names them.

An outsider needs no more than this to work back from a page to a count that was withheld. A count and a rate with
Wilson's interval are taken to tell their counts exactly, whatever they are rounded to: numerator, denominator and
interval together leave one pair of whole numbers for any small group. A ratio with an interval from replicates tells
its counts only about: it is taken to tell them within :data:`ABOUT`, and itself to the last digit printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ethics.crossings import POOLED, SIGN
from ethics.report_tables import CountTable
from ethics.rounding import bounds_read

GROUP_TABLES = ("groups", "public")
"""Tables that count the same people under the same column names. Those of any other name count people of their own."""
BY_POSITION = {"curve": "above", "ventiles": "in ventile"}
CROSSED = SIGN
OF = " of "
"""Between what a table by group and by something else is by, and its attribute: ``label of sex``."""
ABOUT = 0.10
LOOSE = ("recall_ratio", "omission_ratio", "observed_to_expected", "missed_residents", "calibration_slope")
"""Measures whose intervals come from replicates. A bound of 1000 replicates is itself uncertain by some 4 % of the
interval's half-width, and two printed decimals add as much, so the number of people behind it is known to 10 %."""
IN_PEOPLE = "missed_residents"
"""The one of these that is printed in people, to the nearest five."""
WITHIN = (
    ("selected_k_audit", "selected_k"),
    ("found_k_audit", "found_k"),
    ("selected_k_audit", "found_k_audit"),
    ("selected_k", "found_k"),
    ("need", "found_k_audit"),
    ("need", "found_k"),
)
"""Pairs of columns of which the second counts some of the people of the first, whatever a table says of sums."""

Key = tuple[str, str, str]
"""Attribute, group and column: one number of people (of everyone: see :func:`is_total`)."""
_CLOSE = 1e-6  # of products that are whole but for how numbers are held
_TOTAL = "\0"  # the name of no attribute


class Figure(NamedTuple):
    """One printed figure, as what it tells: ``low`` ≤ Σ factor · people ≤ ``high``."""

    terms: tuple[tuple[Key, float], ...]
    low: float
    high: float


class Sum(NamedTuple):
    """A number of people that is the sum of others."""

    whole: Key
    parts: tuple[Key, ...]


class Counts(NamedTuple):
    """Every number of people that the tables speak of, printed or not, and how they add up."""

    people: dict[Key, int]
    sums: list[Sum]


def place_of(table: CountTable, group: str, column: str) -> Key:
    """The number of people that a cell of a table holds: the same key wherever the same people are counted.

    Tables by cut (``curve``) and by ventile (``ventiles``) have a column ``what:group`` for each group of their
    attribute; they count people of the same groups.

    >>> place_of(CountTable("curve", "sex", ("0.05",), {"found:f": (7,), "need:f": (90,)}), "0.05", "found:f")
    ('sex', 'f', 'found above 0.05')
    """
    if table.name in GROUP_TABLES:
        return table.attribute, group, column
    if column in table.same:
        return table.attribute.rpartition(OF)[2], group, table.same[column]
    if table.name not in BY_POSITION:
        return table.attribute, group, f"{table.name}: {column}"
    attribute, _, topic = table.attribute.partition(" / ")
    what, _, name = column.partition(":")
    if what == "need":
        return attribute, name, what
    return attribute, name, f"{what} {BY_POSITION[table.name]} {group}" + (f": {topic}" if what == "events" else "")


def is_silent(table: CountTable) -> bool:
    """Whether a table tells nothing of any group: it is not printed, so that not even its groups are known."""
    return all(table.is_hidden(name, group) for name in (*table.shown, *table.rates) for group in table.groups)


def counts_of(tables: Sequence[CountTable]) -> Counts:
    """All counts of the tables and the sums between them: within a group, over groups, and over crossings."""
    people: dict[Key, int] = {}
    sums: dict[tuple[Key, Key], Sum] = {}
    for table in tables:
        for position, group in enumerate(table.groups):
            for name, counts in table.counts.items():
                people[place_of(table, group, name)] = counts[position]
    for table in tables:
        for group in table.groups:
            for whole, parts in table.sums:
                each = Sum(place_of(table, group, whole), tuple(place_of(table, group, part) for part in parts))
                sums[each.whole, each.parts[0]] = each
            for whole, columns in table.spread.items():
                spread = Sum(
                    place_of(table, group, whole), tuple((table.attribute, group, column) for column in columns)
                )
                if set(spread.parts) <= people.keys() and people[spread.whole] == sum(people[k] for k in spread.parts):
                    sums[spread.whole, spread.parts[0]] = spread
    complete = {(each.whole, part) for each in sums.values() if len(each.parts) == 2 for part in each.parts}
    for of, part in dict.fromkeys(_nested(tables)):
        if (of, part) not in complete and part in people and people.get(of, -1) >= people[part]:
            rest = (of[0], of[1], f"{of[2]} - {part[2]}")
            people[rest] = people[of] - people[part]
            sums[of, part] = Sum(of, (part, rest))
    inside = list(sums.values())
    for each in [*_totals(people), *_crossings(people), *_of_everyone(inside, people)]:
        sums[each.whole, each.parts[0]] = each
    return Counts(people, list(sums.values()))


def _nested(tables: Sequence[CountTable]) -> Iterable[tuple[Key, Key]]:
    """Pairs of counts of which the second counts some of the first: the rest follows as soon as both are known."""
    for table in tables:
        pairs = [("n", name) for name in table.shown if name != "n"]
        pairs += [(columns[1], columns[0]) for columns in table.rates.values() if len(columns) >= 2]
        pairs += WITHIN
        here = [(whole, part) for whole, part in pairs if {whole, part} <= set(table.counts) and whole != part]
        for group in table.groups:
            for whole, part in here:
                yield place_of(table, group, whole), place_of(table, group, part)
            for whole, part in table.within:
                yield (table.attribute, group, whole), (table.attribute, group, part)
        if table.name == "curve":  # more are found above a later cut
            for name in table.counts:
                if name.startswith("found:"):
                    for before, after in pairwise(table.groups):
                        yield place_of(table, after, name), place_of(table, before, name)


def _totals(people: dict[Key, int]) -> Iterable[Sum]:
    """Everyone as the sum of an attribute's groups; one total for all attributes that count the same people."""
    members: dict[tuple[str, str], list[Key]] = {}
    for key in people:
        members.setdefault((key[0], key[2]), []).append(key)
    for (attribute, name), parts in members.items():
        total, whole = sum(people[part] for part in parts), (_TOTAL, "", name)
        if people.setdefault(whole, total) != total:
            whole = (_TOTAL, attribute, name)
            people[whole] = total
        yield Sum(whole, tuple(parts))


def _of_everyone(sums: Iterable[Sum], people: Mapping[Key, int]) -> Iterable[Sum]:
    """What adds up in every group adds up for everyone: where all but one who were listed were in need, all know it."""
    for whole, parts in dict.fromkeys((each.whole[2], tuple(part[2] for part in each.parts)) for each in sums):
        total, rest = (_TOTAL, "", whole), tuple((_TOTAL, "", part) for part in parts)
        if total in people and people[total] == sum(people.get(part, 0) for part in rest) and set(rest) <= set(people):
            yield Sum(total, rest)


def _crossings(people: dict[Key, int]) -> Iterable[Sum]:
    """A crossing's groups add up to the groups of the attributes, and of the smaller crossings, that it crosses."""
    groups: dict[str, dict[str, None]] = {}
    columns: dict[str, dict[str, None]] = {}
    for attribute, group, name in people:
        if attribute != _TOTAL:
            groups.setdefault(attribute, {})[group] = None
            columns.setdefault(attribute, {})[name] = None
    for fine in groups:
        for coarse in groups:
            outsiders: dict[str, list[Key]] = {}
            met = dict(_coarser(fine, coarse, groups))
            for whole, inner in met.items():
                for name in list(columns[coarse]):
                    key, parts = (coarse, whole, name), tuple((fine, member, name) for member in inner)
                    if key not in people or not all(part in people for part in parts):
                        continue
                    outside = people[key] - sum(people[part] for part in parts)
                    # In groups of the crossing that are pooled, and not printed; that nobody is, is not told.
                    if outside > 0 or (outside == 0 and POOLED in groups[fine]):
                        rest = (coarse, whole, f"{name} outside {fine}")
                        people[rest] = outside
                        parts = (*parts, rest)
                        outsiders.setdefault(name, []).append(rest)
                    if outside >= 0:
                        yield Sum(key, parts)
            for name, rests in outsiders.items():
                pooled = (fine, POOLED, name)
                rests += [(coarse, whole, name) for whole in groups[coarse] if whole not in met]
                known = all(rest in people for rest in rests)
                if known and people.get(pooled, -1) == sum(people[rest] for rest in rests):
                    yield Sum(pooled, tuple(rests))


def _coarser(fine: str, coarse: str, groups: Mapping[str, Iterable[str]]) -> Iterable[tuple[str, list[str]]]:
    crossed, wanted = fine.split(CROSSED), coarse.split(CROSSED)
    if len(wanted) >= len(crossed) or not set(wanted) <= set(crossed):
        return
    places = [crossed.index(part) for part in wanted]
    members: dict[str, list[str]] = {}
    for group in groups[fine]:
        names = group.split(CROSSED)
        if len(names) == len(crossed):
            members.setdefault(CROSSED.join(names[place] for place in places), []).append(group)
    yield from members.items()


def is_total(key: Key) -> bool:
    """Whether a number of people is everyone's and no group's."""
    return key[0] == _TOTAL


def is_loose(rate: str) -> bool:
    """Whether a rate's interval comes from replicates, so that it tells its counts about and not exactly.

    >>> is_loose("recall_ratio@k_audit"), is_loose("recall@k_audit")
    (True, False)
    """
    return rate.partition("@")[0].partition(":")[0] in LOOSE


def told_about(people: int) -> tuple[int, int]:
    """The fewest and the most people that a ratio with an interval from replicates may rest on, in whole people.

    >>> told_about(27), told_about(0)
    ((25, 29), (0, 0))
    """
    return math.ceil((1 - ABOUT) * people - _CLOSE), math.floor((1 + ABOUT) * people + _CLOSE)


def tells_too_nearly(people: int, least: int) -> bool:
    """Whether such a ratio leaves fewer than ``least`` apart what its counts may be.

    >>> tells_too_nearly(27, 5), tells_too_nearly(30, 5)
    (True, False)
    """
    low, high = told_about(people)
    return high - low < least


def told_of_everyone(tables: Sequence[CountTable], people: Mapping[Key, int]) -> list[Figure]:
    """Everyone's figures, as far as the report tells them; of a table that does not say, all are taken as told."""
    told: dict[Key, int] = {}
    for table in tables:
        totals = dict(table.totals)
        if not totals and table.name not in (*GROUP_TABLES, *BY_POSITION):
            totals = {f"{table.name}: {name}": sum(table.counts[name]) for name in table.shown}
        for name, total in totals.items():
            keys: list[Key] = [(_TOTAL, "", name), (_TOTAL, table.attribute, name)]
            told |= {key: total for key in keys if people.get(key) == total}
    return [Figure(((key, 1.0),), total, total) for key, total in told.items()]


def figures_of(tables: Sequence[CountTable], counts: Counts) -> list[Figure]:
    """What the tables tell about people: totals, counts and rates that are not withheld."""
    figures = told_of_everyone(tables, counts.people)
    for table in tables:
        for position, group in enumerate(table.groups):
            exact: dict[str, None] = dict.fromkeys(name for name in table.shown if not table.is_hidden(name, group))
            for rate, columns in table.rates.items():
                if table.is_hidden(rate, group):
                    continue
                known = [name for name in columns if name in table.counts]
                if is_loose(rate):
                    figures += _about(table, position, group, known, is_people=rate.startswith(IN_PEOPLE))
                else:
                    exact |= dict.fromkeys(known)
            for name in exact:
                people = table.counts[name][position]
                figures.append(Figure(((place_of(table, group, name), 1.0),), people, people))
            for name, bounds in table.at_most.items():
                if (most := bounds[position]) is not None:
                    figures.append(Figure(((place_of(table, group, name), 1.0),), 0.0, most))
    return figures


def _about(
    table: CountTable, position: int, group: str, columns: Sequence[str], *, is_people: bool
) -> Iterable[Figure]:
    """A ratio to everyone with an interval: its counts about, and the ratio to two decimals.

    Missed residents, need × everyone's rate − found, are printed to the nearest five.
    """
    for name in columns:
        low, high = told_about(table.counts[name][position])
        yield Figure(((place_of(table, group, name), 1.0),), low, high)
    if len(columns) < 2:
        return
    some, of = (table.counts[name] for name in columns[:2])
    if of[position] and sum(some):
        overall = sum(some) / sum(of)
        if is_people:
            one, other = (place_of(table, group, name) for name in columns[:2])
            missed = 5 * round((overall * of[position] - some[position]) / 5)
            yield Figure(((other, overall), (one, -1.0)), missed - 2.5, missed + 2.5)
            return
        least, most = bounds_read(some[position] / of[position] / overall)
        one, other = (place_of(table, group, name) for name in columns[:2])
        yield Figure(((one, 1.0), (other, -least * overall)), 0.0, float("inf"))
        yield Figure(((one, 1.0), (other, -most * overall)), float("-inf"), 0.0)
