"""The figures of the report by group, worked out from the verdict's cells, with small cells marked as withheld.

Here is everything that the report publishes of people, as :class:`ethics.report_tables.CountTable`, so that small
cells are withheld over all tables at once. The auditor's tables (:class:`ethics.fairness.FairnessTable`) are whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ethics.cells import VENTILES, Block, blocks_of
from ethics.crossing_figures import crossing_counts
from ethics.disclosure import suppress
from ethics.fairness import AT_AUDIT, AT_K, BELOW_AUDIT, EVERYONE, NO_CUT, Estimate, FairnessTable
from ethics.group_measures import wilson
from ethics.public_tables import published_tables
from ethics.published_figures import BY_POSITION
from ethics.rate_counts import FAIR_PASS, POWER, rates_on
from ethics.report_tables import CountTable
from ethics.resampling import ventiles_around

GROUPS, CURVE, VENTILE = "groups", "curve", "ventiles"
CUT_SHARES = (0.02, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50)
COUNTS = ("n", "need", "selected_k_audit", "selected_k")
EXPOSURE = (f"mean_rank@{AT_K}", f"exposure_ratio@{AT_K}")
_AT = {"k_audit": AT_AUDIT, "k": AT_K}
_AT_A_CUT = ("recall", "recall_ratio", "missed_residents", "precision", "false_omission_rate")


class Column(NamedTuple):
    """A column of the tables by group: a count of ``FairnessTable.groups`` (no cut), or a measure at a cut."""

    measure: str
    cut: str = ""

    @property
    def key(self) -> str:
        """As :class:`CountTable` names it."""
        return f"{self.measure}@{self.cut}" if self.cut else self.measure


class Figures:
    """A fairness table as the report shows it.

    ``least`` is the smallest number of persons shown; ``further`` are count tables from elsewhere in the report,
    which are withheld together with these; ``earlier`` are those that are out already, such as the public page's.
    """

    def __init__(
        self,
        table: FairnessTable,
        least: int,
        further: Sequence[CountTable] = (),
        *,
        earlier: Sequence[CountTable] = (),
    ) -> None:
        self.table, self.least = table, least
        blocks = {block.attribute: block for block in blocks_of(table.cells, table.indicators)}
        self._blocks = {name: blocks[name] for name in table.attributes}
        built = [*(self._group_counts(name) for name in table.attributes), *crossing_counts(table)]
        if table.has_label:
            built += [self._curve(block) for block in self._blocks.values()]
        for block in self._blocks.values():
            built += [self._ventiles(block, j) for j in range(len(table.indicators))]
        masked = suppress([*built, *further], least=least, earlier=earlier)
        self.counts = {(one.name, one.attribute): one for one in masked}

    @classmethod
    def beside_page(
        cls, table: FairnessTable, least: int, least_public: int, further: Sequence[CountTable] = ()
    ) -> Figures:
        """The figures of a report whose public page, with its own least number of persons, is out already.

        What C608 attacked is what the report then shows: neither is worked out twice.
        """
        key = ("figures", least, least_public, tuple(map(repr, further)))
        return table.once(key, lambda: cls(table, least, further, earlier=published_tables(table, least_public)))

    @cached_property
    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of ``FairnessTable.groups`` by attribute."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self.table.groups.iter_rows(named=True):
            rows.setdefault(row["attribute"], []).append(row)
        return rows

    def columns(self) -> tuple[list[Column], list[Column], list[Column]]:
        """Columns of the three tables by group: at k*, at k, and what else was measured."""
        table = self.table
        above = [Column("selected_k_audit"), Column("selected_k")]
        if not table.has_label:
            return [Column("n"), *above], [], []
        first = [Column("n"), Column("need"), above[0], Column("recall", AT_AUDIT), Column("recall_ratio", AT_AUDIT)]
        first.append(Column("false_omission_rate", AT_AUDIT))
        if table.has_probability:
            first += [Column("observed_to_expected", NO_CUT), Column("observed_to_expected", BELOW_AUDIT)]
        second = [above[1], Column("recall", AT_K), Column("recall_ratio", AT_K), Column("precision", AT_K)]
        second += [Column(f"need_at_score:{name}", AT_AUDIT) for name in table.indicators]
        measured = dict.fromkeys(
            Column(measure, cut)
            for attribute, measure, cut in table.table.select("attribute", "measure", "cut").iter_rows()
            if attribute != EVERYONE
        )
        third = [column for column in measured if column in FURTHER]
        return first, second, third

    def count(self, attribute: str, group: str, measure: str) -> int | None:
        """A count of a group, or None where it is withheld."""
        counts = self.counts[GROUPS, attribute]
        if counts.is_hidden(measure, group):
            return None
        return counts.counts[measure][counts.groups.index(group)]

    def estimate(self, attribute: str, group: str, column: Column) -> Estimate | None:
        """An estimate of a group, or None where it is withheld."""
        if self.counts[GROUPS, attribute].is_hidden(column.key, group):
            return None
        return self.table.get(attribute, group, column.measure, column.cut)

    def _group_counts(self, attribute: str) -> CountTable:
        rows = self.groups[attribute]
        names = tuple(str(row["group"]) for row in rows)
        counts = {name: tuple(int(row[name]) for row in rows) for name in COUNTS if rows[0].get(name) is not None}
        rates: list[str] = []
        sums: list[tuple[str, tuple[str, ...]]] = []
        for end, cut in _AT.items():
            taken = counts[f"selected_{end}"]
            counts[f"below_{end}"] = tuple(n - part for n, part in zip(counts["n"], taken, strict=True))
            sums.append(("n", (f"selected_{end}", f"below_{end}")))
            if "need" not in counts:
                continue
            found = tuple(self.table.get(attribute, name, "recall", cut).people for name in names)
            counts[f"found_{end}"] = found
            counts[f"missed_{end}"] = tuple(n - part for n, part in zip(counts["need"], found, strict=True))
            sums.append(("need", (f"found_{end}", f"missed_{end}")))
            rates += [f"{name}@{cut}" for name in _AT_A_CUT]
        if "need" in counts:
            rates += [f"observed_to_expected@{NO_CUT}", f"observed_to_expected@{BELOW_AUDIT}"]
            rates += [*(column.key for column in FURTHER), POWER, FAIR_PASS]
            if not self.table.fixed:
                rates += EXPOSURE
        shown = tuple(name for name in COUNTS if name in counts)
        block = self._blocks[attribute]
        for j, name in enumerate(self.table.indicators):
            expected = tuple(self.table.get(attribute, group, f"need_at_score:{name}", AT_AUDIT).n for group in names)
            window = ventiles_around(block, self.table.cuts.k_audit)
            events = block.events[:, window, j].sum(axis=1)
            counts |= {f"expected:{name}": expected, f"events:{name}": tuple(round(float(x)) for x in events)}
            rates.append(f"need_at_score:{name}@{AT_AUDIT}")
        totals = {name: sum(values) for name, values in counts.items() if not name.startswith(("events:", "expected:"))}
        tested = tuple(bool(row["testable"]) for row in rows)
        built = CountTable(GROUPS, attribute, names, counts, totals, shown, tuple(sums), rates_on(rates), tested)
        return self._bound_by_others(built, block)

    def _bound_by_others(self, table: CountTable, block: Block) -> CountTable:
        """The table with what its counts have to do with those by ventile and by cut, and with what words tell."""
        counts, cuts, persons = dict(table.counts), self.table.cuts, block.by_ventile.sum()
        spread: dict[str, tuple[str, ...]] = {}
        within: list[tuple[str, str]] = []
        if self.table.indicators:
            spread["n"] = _ventile_places(slice(0, VENTILES))
            window = ventiles_around(block, cuts.k_audit)
            for name in self.table.indicators:
                spread[f"events:{name}"] = _ventile_places(window, f"events in ventile {{}}: {name}")
            cumulated = np.cumsum(block.by_ventile, axis=1)
            for end, cut in (("k_audit", cuts.k_audit), ("k", cuts.k)):
                above = int(np.searchsorted(cumulated.sum(axis=0), cut + 0.5, side="right"))
                for first in (above, min(above + 1, VENTILES)):
                    if 0 < first < VENTILES:
                        name = f"n in ventiles to {first}"
                        counts[name] = tuple(round(float(x)) for x in cumulated[:, first - 1])
                        spread[name] = _ventile_places(slice(0, first))
                        selected = f"selected_{end}"
                        within.append((selected, name) if first == above else (name, selected))
        if "need" in counts:
            for end, cut in (("k_audit", cuts.k_audit), ("k", cuts.k)):
                for share in CUT_SHARES:
                    here, found = f"found {BY_POSITION[CURVE]} {share:g}", f"found_{end}"
                    within.append((found, here) if share * persons <= cut else (here, found))
        return replace(table, counts=counts, spread=spread, within=tuple(within), at_most=self._told_in_words(table))

    def _told_in_words(self, table: CountTable) -> dict[str, tuple[int | None, ...]]:
        """A group that could not be tested has fewer in need than could be."""
        most = self.table.thresholds.min_expected - 1
        if "need" not in table.counts:
            return {}
        return {
            "need": tuple(
                most if not tested and need <= most else None
                for tested, need in zip(table.tested, table.counts["need"], strict=True)
            )
        }

    # What other cuts would find

    def _curve(self, block: Block) -> CountTable:
        """People in need above each cut, by group; a step of fewer than ``least`` people is not told."""
        persons = np.cumsum(block.count.sum(axis=(0, 2)))
        need = block.count[..., 1].sum(axis=1)
        edges = np.searchsorted(persons, np.array(CUT_SHARES) * persons[-1], side="right")
        found = np.concatenate([np.zeros((need.size, 1)), np.cumsum(block.count[..., 1], axis=1)], axis=1)[:, edges]
        cuts = tuple(f"{share:g}" for share in CUT_SHARES)
        counts: dict[str, tuple[int, ...]] = {}
        for g, group in enumerate(block.groups):
            counts[f"found:{group}"] = tuple(round(float(x)) for x in found[g])
            counts[f"need:{group}"] = (round(float(need[g])),) * len(cuts)
        rates = {group: (f"found:{group}", f"need:{group}") for group in block.groups}
        table = CountTable(CURVE, block.attribute, cuts, counts, {}, (), (), rates)
        return table.hiding(self._steps_too_small(block.groups, found, need, cuts))

    def _steps_too_small(
        self, groups: Sequence[str], found: Any, need: Any, cuts: Sequence[str]
    ) -> frozenset[tuple[str, str]]:
        """Points that would tell of a handful of people between two cuts, or in one group against all others."""
        before, hide = np.zeros(len(groups)), set()
        for position, cut in enumerate(cuts):
            step, left = found[:, position] - before, need - found[:, position]
            small = {g for g in range(len(groups)) if 0 < step[g] < self.least or 0 < left[g] < self.least}
            small |= {g for g in range(len(groups)) if need[g] < self.least}
            if len(small) == 1 and len(groups) > 1:
                small.add(int(min((need[g], g) for g in range(len(groups)) if g not in small)[1]))
            for g in range(len(groups)):
                if g in small:
                    hide.add((groups[g], cut))
                else:
                    before[g] = found[g, position]
        return frozenset(hide)

    def curve(self, attribute: str, group: str, cut: int) -> Estimate | None:
        """Recall of a group if the ranking were cut at ``CUT_SHARES[cut]``, or None where it is withheld."""
        counts = self.counts[CURVE, attribute]
        if counts.is_hidden(group, counts.groups[cut]):
            return None
        effect = self.table.design_effect_in(attribute, group)
        return self._rate(counts.counts[f"found:{group}"][cut], counts.counts[f"need:{group}"][cut], effect)

    # Need by score

    def _ventiles(self, block: Block, indicator: int) -> CountTable:
        """People with one indicator by ventile of the score, a column for each group."""
        counts: dict[str, tuple[int, ...]] = {}
        for g, group in enumerate(block.groups):
            counts[f"events:{group}"] = tuple(round(float(x)) for x in block.events[g, :, indicator])
            counts[f"n:{group}"] = tuple(round(float(x)) for x in block.by_ventile[g])
        rates = {group: (f"events:{group}", f"n:{group}") for group in block.groups}
        ventiles = tuple(str(ventile + 1) for ventile in range(VENTILES))
        attribute = f"{block.attribute} / {self.table.indicators[indicator]}"
        few = frozenset(
            (group, ventiles[v])
            for group in block.groups
            for v in range(VENTILES)
            if 0 < counts[f"n:{group}"][v] < self.least
        )
        return CountTable(VENTILE, attribute, ventiles, counts, {}, (), (), rates).hiding(few)

    def ventile(self, attribute: str, indicator: str, group: str, ventile: int) -> Estimate | None:
        """Share of a group with an indicator in a ventile (0 = highest scores), or None where it is withheld."""
        counts = self.counts[VENTILE, f"{attribute} / {indicator}"]
        if counts.is_hidden(group, counts.groups[ventile]):
            return None
        effect = self.table.design_effect_in(attribute, group)
        return self._rate(counts.counts[f"events:{group}"][ventile], counts.counts[f"n:{group}"][ventile], effect)

    def _rate(self, hits: int, n: int, effect: float) -> Estimate:
        low, high = wilson(hits, n, effect)
        return Estimate(hits / n if n else math.nan, low, high, math.nan, n, hits)


def _ventile_places(window: slice, name: str = "n in ventile {}") -> tuple[str, ...]:
    return tuple(name.format(ventile + 1) for ventile in range(*window.indices(VENTILES)))


# Measures that are told when they were measured, each with its text in messages ``fairness.measures``.
FURTHER: Mapping[Column, str] = {
    Column("selection_rate", AT_AUDIT): "share",
}
