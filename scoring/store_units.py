"""Who stands on a unit's lists: the people whom the unit may ask about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Integer, String, and_, exists, literal, select, union_all

from scoring.store_opening import reading
from scoring.store_people import People
from scoring.store_tables import CHANGES, LISTS, PEOPLE, ROWS

_ASKED_BY_NAME = 500
"""Up to so many people stand in the question itself; of more, all of the unit's are read."""


class StoredUnits(People):
    """What :class:`scoring.store.Store` knows of a unit's own people."""

    def on_lists_of(self, need_id: str, units: Collection[str], person_ids: Sequence[str]) -> frozenset[str]:
        """Those of some people who stand today on a list of these units.

        A list counts that no newer one of its need and day replaces; on it stands who was published there and not held
        out, or added by hand, unless the last such change removed them. One query, whoever is asked about.

        Parameters
        ----------
        need_id : str
        units : collection of str
        person_ids : sequence of str

        Returns
        -------
        frozenset of str
            The erased, and whoever was never there, are absent.
        """
        lookups = self._lookups(list(dict.fromkeys(person_ids)))
        if not lookups or not units:
            return frozenset()
        asked = list(lookups) if len(lookups) <= _ASKED_BY_NAME else None
        stands: dict[tuple[bytes, str], bool] = {}
        with reading(self._engine) as connection:
            for lookup, list_id, _, act in connection.execute(_standing(need_id, units, asked)):
                stands[lookup, list_id] = act != "removed"
        return frozenset(lookups[lookup] for (lookup, _), here in stands.items() if here and lookup in lookups)


def _standing(need_id: str, units: Collection[str], asked: Collection[bytes] | None) -> Any:
    """``lookup``, ``list_id``, ``number`` and ``act`` of rows and changes by hand, oldest first."""
    newer = LISTS.alias("newer")
    replaced = exists().where(
        newer.c.need_id == LISTS.c.need_id, newer.c.as_of_date == LISTS.c.as_of_date, newer.c.list_id > LISTS.c.list_id
    )
    parts = []
    for table, number, act, where in (
        (ROWS, literal(0, Integer), literal("listed", String(20)), ROWS.c.is_held_out.is_(False)),
        (CHANGES, CHANGES.c.number, CHANGES.c.act, CHANGES.c.act.in_(("added", "removed"))),
    ):
        people = table.join(LISTS, LISTS.c.list_id == table.c.list_id)
        people = people.join(PEOPLE, PEOPLE.c.person_ref == table.c.person_ref)
        of_units = and_(LISTS.c.need_id == need_id, ~replaced, table.c.unit_id.in_(list(units)), where)
        columns = (PEOPLE.c.lookup, table.c.list_id, number.label("number"), act.label("act"))
        part = select(*columns).select_from(people).where(of_units)
        parts.append(part if asked is None else part.where(PEOPLE.c.lookup.in_(asked)))
    return union_all(*parts).order_by("number")
