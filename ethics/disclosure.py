"""Disclosure control: which figures of a report are withheld, so that no small number of people can be worked out.

Withheld are

1. every count of a group below ``least`` and every rate that rests on one, or leaves one as its remainder (numerator
   and denominator with it). A zero is a small count too: it says of everybody in a group that none is in need, or
   none was selected, and a zero that is printed tells that every withheld cell holds somebody (UK LLC withholds zeros
   and the percentages derived from them for the same reason). One word stands for every withheld figure: "fewer than
   five" would itself narrow a count below five.
2. further figures, until the attacker of :mod:`ethics.suppression_attack` can narrow no withheld and no small count
   below ``least`` values, from all tables of the report together. The smallest numbers of people go first, counts
   and plain rates before the ratios that a verdict decides by.

Everyone's figures stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ethics.published_figures import (
    BY_POSITION,
    CROSSED,
    IN_PEOPLE,
    Counts,
    Key,
    Sum,
    counts_of,
    figures_of,
    is_loose,
    is_silent,
    is_total,
    place_of,
    tells_too_nearly,
)
from ethics.rate_counts import FAIR_PASS, POWER
from ethics.report_tables import CountTable
from ethics.suppression_attack import Program, Settled, attack, targets_of

MOST_GROUPS = 400  # a larger table is not printed at all: most of its groups are too small, and nobody reads it
MOST_UNCLEAR = 12
"""Counts for which the whole system is solved one by one. A finer table that gives something away, or of which that
could not be excluded so, is not printed at all."""
_FAMILIES = (("need", "found_k_audit", "missed_k_audit", "missed_k"), ("found_k", "missed_k"))
"""Columns that go together where one of a neighbour must go: with a ratio that stays, each would tell the others."""
DECIDING = ("recall_ratio@k_audit", "n", FAIR_PASS, "observed_to_expected@none", "need", "recall@k_audit", POWER)
"""What a reader needs first of a group: given back, in this order, wherever it need not be withheld."""
_TESTED = 1e6  # what withholding a ratio that is decided by costs, beside the people it hides


def suppress(
    tables: Sequence[CountTable],
    *,
    least: int,
    earlier: Sequence[CountTable] = (),
    most_unclear: int | None = MOST_UNCLEAR,
) -> list[CountTable]:
    """The same tables with what must be withheld named in ``hidden``.

    Parameters
    ----------
    tables : sequence of CountTable
        All tables of a report. Groups of a crossing are named "a × b", like its attribute; they add up to the groups
        of the attributes crossed, where those are in the report.
    least : int
        The policy's ``min_persons_public`` or ``min_persons_shown``.
    earlier : sequence of CountTable
        Tables about the same people that are already out.
    most_unclear : int, optional
        Counts for which the whole system is solved one by one, see :data:`MOST_UNCLEAR`. None solves it for all of
        them, however many: for one large table that is better printed in part than not at all.

    Returns
    -------
    list of CountTable
        In the same order. Everyone's figures are never withheld. A table of which nothing is left is not to be printed.

    >>> table = CountTable("groups", "g", ("a", "b", "c"), {"n": (3, 90, 40)}, totals={"n": 133}, shown=("n",))
    >>> sorted(suppress([table], least=5)[0].hidden)
    [('n', 'a'), ('n', 'c')]
    """
    done: list[CountTable | None] = [None] * len(tables)
    out = [*earlier]
    for numbers in _stages(tables):
        work = _Suppression([tables[number] for number in numbers], least, out)
        for number, table in zip(numbers, work.tables(), strict=True):
            done[number] = table
            if not is_silent(table):
                out.append(table)
    answer = [table for table in done if table is not None]
    return _without_what_gives_away(answer, least, earlier, most_unclear)


def _stages(tables: Sequence[CountTable]) -> list[list[int]]:
    """Tables in the order in which they are let out: groups first, then crossings, then the finer tables.

    What comes later may cost nothing that is out already; a crossing is never bought with a group of one attribute.
    """
    order: dict[tuple[int, bool], list[int]] = {}
    for number, table in enumerate(tables):
        crossed = CROSSED in table.attribute
        finer = list(BY_POSITION).index(table.name) + 1 if table.name in BY_POSITION else 0
        order.setdefault((finer, crossed), []).append(number)
    return [order[key] for key in sorted(order)]


def _without_what_gives_away(
    tables: list[CountTable], least: int, earlier: Sequence[CountTable], most: int | None
) -> list[CountTable]:
    """The tables once more, all together: finer ones are silenced for as long as anything is given away.

    Those go that speak of an attribute of which something is given away, the finest first; in the end the tables by
    group of that attribute too. So nothing that leaves here is stopped by C608, whose attack is the same.
    """
    stages = list(reversed(_stages(tables)[1:]))
    while found := attack(tables, least, earlier=earlier, most=most):
        about = {name for one in found for name in one.attribute.split(CROSSED)}
        left = [[number for number in numbers if not is_silent(tables[number])] for numbers in stages]
        near = [[number for number in numbers if about & _attributes(tables[number])] for numbers in left]
        chosen = next((numbers for numbers in (*near, *left) if numbers), None)
        if chosen is None:
            chosen = [number for number, table in enumerate(tables) if about & _attributes(table)]
            chosen = [number for number in chosen or range(len(tables)) if not is_silent(tables[number])]
        if not chosen:  # only what was out before gives it away
            break
        for number in chosen:
            tables[number] = silenced(tables[number])
    return tables


def _attributes(table: CountTable) -> set[str]:
    return set(table.attribute.partition(" / ")[0].split(CROSSED))


def silenced(table: CountTable) -> CountTable:
    """The table with every figure withheld."""
    names = (*table.shown, *table.rates)
    return table.hiding(frozenset((name, group) for name in names for group in table.groups))


class _Suppression:
    """The figures withheld so far, and what they leave open."""

    def __init__(self, tables: Sequence[CountTable], least: int, earlier: Sequence[CountTable]) -> None:
        self.least = least
        self.given = [silenced(table) if len(table.groups) > MOST_GROUPS else table for table in tables]
        tables = [table for table in self.given if not is_silent(table)]
        self.hidden = [set(table.hidden) for table in self.given]
        self.counts: Counts = counts_of([*tables, *earlier])
        self.of: dict[Key, list[Sum]] = {}
        for each in self.counts.sums:
            for key in (each.whole, *each.parts):
                self.of.setdefault(key, []).append(each)
        self.settled = Settled(self.counts, least, earlier)
        self.small, self.known = self.settled.small, self.settled.known
        self.out = [table for table in earlier if not is_silent(table)]
        self.told = figures_of(self.out, self.counts)
        self.is_later = any(CROSSED in table.attribute or table.name in BY_POSITION for table in tables)
        self.hopeless: set[Key] = set()
        self._index()
        self._withhold_small()
        self._withhold_sparse()
        self._withhold_more()
        if not self.is_later:
            self._give_back()

    def tables(self) -> list[CountTable]:
        """The tables with everything withheld that must be."""
        return [table.hiding(frozenset(cells)) for table, cells in zip(self.given, self.hidden, strict=True)]

    def _index(self) -> None:
        """Where each count is printed: as itself, in rates that tell it exactly, in ratios that tell it about."""
        self.exact: dict[Key, list[tuple[int, str, str]]] = {}
        self.loose: dict[Key, list[tuple[int, str, str]]] = {}
        self.tested: set[tuple[str, str]] = set()
        for number, table in enumerate(self.given):
            for position, group in enumerate(table.groups):
                if table.tested and table.tested[position]:
                    self.tested.add((table.attribute, group))
                for name in table.shown:
                    self.exact.setdefault(place_of(table, group, name), []).append((number, name, group))
                for rate, columns in table.rates.items():
                    told = self.loose if is_loose(rate) else self.exact
                    for name in columns:
                        told.setdefault(place_of(table, group, name), []).append((number, rate, group))

    def _open(self, places: Iterable[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
        return [(number, name, group) for number, name, group in places if (name, group) not in self.hidden[number]]

    def _hide(self, places: Iterable[tuple[int, str, str]]) -> bool:
        here = self._open(places)
        for number, name, group in here:
            self.hidden[number].add((name, group))
        return bool(here)

    def _withhold_small(self) -> None:
        """Small counts, and of a whole and its part that leave a small rest, the part."""
        for key in self.small:
            self._hide(self.exact.get(key, ()))
            self._hide(self.loose.get(key, ()))
        for each in self.counts.sums:
            if is_total(each.whole) or len(each.parts) != 2 or each.parts[1][:2] != each.whole[:2]:
                continue
            for part, rest in (each.parts, each.parts[::-1]):
                if rest in self.small and part not in self.small and self._is_printed(each.whole):
                    self._hide(self.exact.get(part, ()))
                    self._hide(self.loose.get(part, ()))

    def _withhold_sparse(self) -> None:
        """Columns of a crossing in which most groups are small: what is left of them would tell little, at risk."""
        for number, table in enumerate(self.given):
            if CROSSED not in table.attribute:
                continue
            for name, people in table.counts.items():
                if 2 * sum(count < self.least for count in people) > len(people):
                    rates = [rate for rate, columns in table.rates.items() if name in columns]
                    shown = [name] if name in table.shown else []
                    self._hide((number, each, group) for each in [*shown, *rates] for group in table.groups)

    def _is_printed(self, key: Key) -> bool:
        return self._is_any_open(self.exact.get(key, ()))

    def _is_any_open(self, places: Iterable[tuple[int, str, str]]) -> bool:
        hidden = self.hidden
        return any((name, group) not in hidden[number] for number, name, group in places)

    def _withhold_more(self) -> None:
        """One figure for each sum that gives a count away, where that helps by itself; else one that is near."""
        while narrow := self._narrow():
            touched: set[tuple[str, str]] = set()
            first = sorted(narrow.keys() & self.small or narrow, key=_audit_cut_first)
            if sum(self._widen_by_neighbour(key, touched) for key in first):
                continue
            for key in narrow:
                if not self._widen_from_afar(key) and not self._withhold_group(key):
                    self.hopeless.add(key)
                elif not self.is_later:
                    break  # what widens one count often widens the others

    def _narrow(self) -> dict[Key, tuple[int, int]]:
        """The counts that the figures give away now: by single sums where there are any, else by the whole system.

        Of a finer table only single sums are asked: the whole system is solved once, for all of them together.
        """
        own = [table for table in self.tables() if not is_silent(table)]
        tables = [*self.out, *own]
        targets = targets_of(tables, self.counts, self.least, settled=self.settled) - self.hopeless
        self.program = program = Program(self.counts, [*self.told, *figures_of(own, self.counts)], self.settled.sums)
        plain = {key: program.bounds(key) for key in sorted(targets)}
        found = {key: (low, high) for key, (low, high) in plain.items() if high - low < self.least}
        if found or self.is_later:
            return found
        return program.narrow(targets, self.least)

    def _widen_by_neighbour(self, key: Key, touched: set[tuple[str, str]]) -> bool:
        """Withhold the count's own figures, or the cheapest of another group in a sum that alone gives it away."""
        if self._withhold(key):
            return True
        for each in self.of.get(key, ()):
            if each.parts[0][2] == each.whole[2] and self._width(each, key) < self.least:
                others = [one for one in (each.whole, *each.parts) if one != key]
                if any(one[:2] in touched for one in others):
                    return True  # something of this sum was withheld in this round: see first what that leaves
                if chosen := self._withhold_cheapest(others):
                    touched.add(chosen[:2])
                    return True
        return False

    def _widen_from_afar(self, key: Key) -> bool:
        """Withhold the cheapest of the nearest figures of the same tables; False when none is left."""
        level, seen = [key], {key}
        while level:
            # Each sum once, however many of its counts are near: the sum over a table's groups is a sum of every group.
            sums = list({id(each): each for member in level for each in self.of.get(member, ())}.values())
            if level == [key]:
                sums = [each for each in sums if self._width(each, key) < self.least] or sums
            near = dict.fromkeys(one for each in sums for one in (each.whole, *each.parts))
            level = [one for one in near if one not in seen and not is_total(one)]
            if self._withhold_cheapest(level):
                return True
            seen |= near.keys()
        return False

    def _give_back(self) -> None:
        """What a group of many is judged by, wherever it went for the sake of a smaller group and need not have gone.

        Figures are withheld one by one, and what goes later may make needless what went before.
        """
        for rate in DECIDING:
            for number, table in enumerate(self.given):
                for position, group in enumerate(table.groups):
                    columns = table.rates.get(rate, (rate,) if rate in table.shown else ())
                    people = [table.counts[name][position] for name in columns]
                    if (rate, group) not in self.hidden[number] or self._tells_of_few(people, is_loose(rate)):
                        continue
                    self.hidden[number].discard((rate, group))
                    if self._narrow():
                        self.hidden[number].add((rate, group))

    def _tells_of_few(self, people: Sequence[int], is_about: bool) -> bool:
        return any(n < self.least or (is_about and tells_too_nearly(n, self.least)) for n in people)

    def _withhold_group(self, key: Key) -> bool:
        """The last resort: all ratios of the count's group, then all that is left of it; False when nothing is."""
        for told in (self.loose, self.exact):
            if self._hide(place for one, places in told.items() if one[:2] == key[:2] for place in places):
                return True
        return False

    def _withhold_cheapest(self, keys: Iterable[Key]) -> Key | None:
        printed = [
            key
            for key in keys
            if key not in self.known and (self._is_printed(key) or self._is_any_open(self.loose.get(key, ())))
        ]
        chosen = min(printed, key=lambda one: (self._cost(one), one), default=None)
        if chosen is not None:
            family = next((names for names in _FAMILIES if chosen[2] in names), (chosen[2],))
            gone = [self._withhold((chosen[0], chosen[1], name)) for name in family]
            if not any(gone):  # whole numbers of people before the ratio that is decided by
                places = self.loose.get(chosen, ())
                self._hide(place for place in places if place[1].startswith(IN_PEOPLE)) or self._hide(places)
            self._free(chosen, {chosen})
        return chosen

    def _free(self, key: Key, seen: set[Key]) -> None:
        """Withhold one more figure wherever a withheld count still follows from others of its own group."""
        for each in self.of.get(key, ()):
            others = [one for one in (each.whole, *each.parts) if one != key]
            if any(one[:2] != key[:2] for one in others) or not all(map(self._is_printed, others)):
                continue
            chosen = min(others, key=lambda one: (self._cost(one), one))
            if chosen not in seen:
                self._withhold(chosen)
                self._free(chosen, seen | {chosen})

    def _withhold(self, key: Key) -> bool:
        """Withhold what tells a count exactly, and what tells it about where that is too near."""
        gone = self._hide(self.exact.get(key, ()))
        if tells_too_nearly(self.counts.people.get(key, 0), self.least):
            gone = self._hide(self.loose.get(key, ())) or gone
        return gone

    def _width(self, each: Sum, key: Key) -> float:
        """How narrowly one sum alone holds a count."""
        others = [one for one in (each.whole, *each.parts) if one != key]
        return float(sum(high - low for low, high in map(self.program.bounds, others)))

    def _cost(self, key: Key) -> float:
        people = self.counts.people[key]
        told = any(not name.endswith("@k") for _, name, _ in self._open(self.loose.get(key, ())))
        decided = (
            told and key[:2] in self.tested and (not self._is_printed(key) or tells_too_nearly(people, self.least))
        )
        wanted = (4.0 if key[2] == "n" else 1.0) / (1 + 3 * key[0].count(CROSSED))
        places = self._open(self.loose.get(key, ()))
        if not self._is_printed(key) and any(name.startswith(IN_PEOPLE) for _, name, _ in places):
            return wanted * people / 10
        return wanted * people + (_TESTED if decided else 0.0)


def _audit_cut_first(key: Key) -> tuple[bool, Key]:
    """Need and what is found at the audit cut before one period's capacity, where few are found anyhow."""
    return key[2].endswith("_k"), key
