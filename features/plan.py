"""What a build would take from the cache and what it would compute, column by column and date by date, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import polars as pl

from features.cache import FeatureCache
from features.cache_keys import Part, Survey
from features.city import City
from features.keyed_rows import keyed_rows
from features.packs import DamagedPackError, PackName
from features.spec import FeatureSpec

NEVER_BUILT = "never built"
NEW_COLUMN = "new column"
NEW_DATE = "new as-of date"
OTHER_PERSONS = "other persons in the cohort"
EVENTS_CHANGED = "what it reads changed"
OTHER_ENGINE = "another engine version"
OTHER_BLOCKS = "the city has grown or shrunk into another number of blocks"
DAMAGED = "a damaged pack"
OF_OTHERS = "it reads about others, and depends on who objects"


class Reason(NamedTuple):
    """Why a column is computed, in how many blocks, and which codes or attributes of it changed."""

    why: str
    n_blocks: int
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedColumn:
    """What a build would do about one column at one as-of date.

    ``n_persons`` are looked at, in ``n_blocks`` blocks; the cells of ``n_to_compute`` of them would be computed, for
    the reasons given, the most frequent first.
    """

    column: str
    as_of_date: date
    n_persons: int
    n_to_compute: int
    n_blocks: int
    reasons: tuple[Reason, ...] = ()

    @property
    def action(self) -> str:
        """``cached`` when every cell is kept, ``compute`` when any is not."""
        return "compute" if self.n_to_compute else "cached"

    @property
    def why(self) -> str:
        """The reasons in words; empty for a column that is kept.

        >>> PlannedColumn("a.count.30d", date(2024, 2, 1), 9, 4, 2, (Reason(EVENTS_CHANGED, 1, ("x", "y")),)).why
        'what it reads changed (x, y; 1 of 2 blocks)'
        """
        return "; ".join(self._said(reason) for reason in self.reasons)

    def _said(self, reason: Reason) -> str:
        where = "" if reason.n_blocks == self.n_blocks else f"{reason.n_blocks:,} of {self.n_blocks:,} blocks"
        about = "; ".join(part for part in (", ".join(reason.codes), where) if part)
        return f"{reason.why} ({about})" if about else reason.why


def plan_features(
    city: City, features: Sequence[FeatureSpec], keys: pl.DataFrame, cache: FeatureCache
) -> list[PlannedColumn]:
    """What building a matrix of these keys would compute, and why; nothing is computed, written or marked as used.

    Every pack that would be used is read and checked, so a damaged one is told.

    Parameters
    ----------
    keys : person_id, as_of_date
        Objectors among them, as for a build: they are masked after the cache.

    Returns
    -------
    list of PlannedColumn
        In the order of the matrix's columns, and of dates within each.
    """
    rows = keyed_rows(city, keys, in_order=True)
    own = [feature for feature in features if feature.of == "self"]
    tallies: dict[tuple[str, str], _Tally] = {}
    if own:
        survey = cache.survey(city, own, rows)
        for parts in survey.parts():
            shelf = _Shelf(cache, parts[0])
            for part in parts:
                for j, column in enumerate(survey.columns):
                    tally = tallies.setdefault((column.name, part.as_of_date), _Tally())
                    tally.add(part.rows.size, shelf.why_missing(survey, part, j))
    counts = rows.keys.group_by("as_of_date").len().sort("as_of_date")
    planned = []
    for feature in features:
        for name in feature.columns():
            for day, n_persons in counts.iter_rows():
                if feature.of == "self":
                    planned.append(tallies[name, str(day)].planned(name, day))
                else:
                    planned.append(PlannedColumn(name, day, n_persons, n_persons, 1, (Reason(OF_OTHERS, 1),)))
    return planned


class _Tally:
    """One column at one date, block after block."""

    def __init__(self) -> None:
        self.n_persons = self.n_to_compute = self.n_blocks = 0
        self.blocks: dict[str, int] = {}
        self.codes: dict[str, set[str]] = {}

    def add(self, n_persons: int, reasons: Mapping[str, set[str]]) -> None:
        self.n_persons += n_persons
        self.n_blocks += 1
        self.n_to_compute += n_persons if reasons else 0
        for why, codes in reasons.items():
            self.blocks[why] = self.blocks.get(why, 0) + 1
            self.codes.setdefault(why, set()).update(codes)

    def planned(self, column: str, day: date) -> PlannedColumn:
        reasons = [Reason(why, n, tuple(sorted(self.codes[why]))) for why, n in self.blocks.items()]
        ordered = tuple(sorted(reasons, key=lambda reason: (-reason.n_blocks, reason.why)))
        return PlannedColumn(column, day, self.n_persons, self.n_to_compute, self.n_blocks, ordered)


class _Kept(NamedTuple):
    """One column of a pack, and what went into its key."""

    as_of_date: str
    engine: str
    cohort: str
    content: str
    parts: Mapping[str, str]


class _Shelf:
    """What is kept of one block: the keys that can be had, and by spec what was kept under other keys."""

    def __init__(self, cache: FeatureCache, part: Part) -> None:
        folder = cache.packs.block(part.n_blocks, part.block)
        self._sound: set[tuple[str, bytes]] = set()
        self._by_spec: dict[str, list[_Kept]] = {}
        self._damaged: set[tuple[str, bytes]] = set()
        self._unreadable_dates: set[str] = set()
        names = cache.packs.names(folder)
        self._is_empty = not names
        self._elsewhere = self._is_empty and cache.packs.other_divisions(part.n_blocks)
        for name in names:
            keys: tuple[bytes, ...] = ()
            try:
                keys, told = cache.packs.read_ingredients(folder / str(name))
                cache.packs.read(folder / str(name))
            except DamagedPackError:
                self._damaged.update((name.as_of_date, key) for key in keys)
                if not keys:
                    self._unreadable_dates.add(name.as_of_date)
                continue
            except OSError:  # pruned in between
                continue
            self._sound.update((name.as_of_date, key) for key in keys)
            self._put(name, told)

    def _put(self, name: PackName, told: Mapping[str, Any]) -> None:
        for spec, place in zip(told["specs"], told["content_of"], strict=True):
            kept = _Kept(name.as_of_date, told["engine"], told["cohort"], told["contents"][place], told["parts"][place])
            self._by_spec.setdefault(spec, []).append(kept)

    def why_missing(self, survey: Survey, part: Part, j: int) -> dict[str, set[str]]:
        """Reason → codes that changed, for a column that must be computed; empty for one that is kept."""
        if (part.as_of_date, part.keys[j]) in self._sound:
            return {}
        if (part.as_of_date, part.keys[j]) in self._damaged:
            return {DAMAGED: set()}
        kept = self._by_spec.get(survey.columns[j].spec.hex(), [])
        same_date = [k for k in kept if k.as_of_date == part.as_of_date]
        if same_date:
            told = survey.ingredients(part, [j])
            return min((_differences(k, told) for k in same_date), key=len)
        if part.as_of_date in self._unreadable_dates:
            return {DAMAGED: set()}
        if kept:
            return {NEW_DATE: set()}
        if not self._is_empty:
            return {NEW_COLUMN: set()}
        return {OTHER_BLOCKS if self._elsewhere else NEVER_BUILT: set()}


def _differences(kept: _Kept, told: Mapping[str, Any]) -> dict[str, set[str]]:
    """What differs between a column that is kept and one that is wanted at the same date."""
    reasons: dict[str, set[str]] = {}
    if kept.engine != told["engine"]:
        reasons[OTHER_ENGINE] = set()
    if kept.cohort != told["cohort"]:
        reasons[OTHER_PERSONS] = set()  # whose events are others too, which says nothing more
    elif kept.content != told["contents"][0]:
        changed = set(kept.parts.items()) ^ set(told["parts"][0].items())
        reasons[EVENTS_CHANGED] = {code for code, _ in changed}
    return reasons
