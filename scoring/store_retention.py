"""How long the store has kept what, and how what is overdue leaves it: whole batches of scores and whole lists."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, delete, func, select

from scoring.store_frames import now_text
from scoring.store_opening import clear_free_space, in_chunks, reading, writing
from scoring.store_people import People
from scoring.store_tables import (
    ATTEMPTS,
    BATCHES,
    CHANGES,
    EXPORTS,
    LISTS,
    OUTCOMES,
    PEOPLE,
    RECALLS,
    ROWS,
    SCORES,
    VIEWS,
)

_OF_LISTS = (ROWS, CHANGES, VIEWS, ATTEMPTS, OUTCOMES, EXPORTS, RECALLS)
_OUTSIDE = {ATTEMPTS: "added_at", OUTCOMES: "added_at", VIEWS: "at"}
"""Tables with rows that belong to no list → when they were added."""
_OF_PERSONS = (SCORES, ROWS, CHANGES, VIEWS, ATTEMPTS, OUTCOMES)


class Kept(NamedTuple):
    """How many rows of a kind are kept, and since when the oldest is."""

    n: int
    since: datetime


class StoredAges(People):
    """What :class:`scoring.store.Store` knows of how long it has kept things."""

    def kept(self, today: date) -> dict[str, Kept]:
        """Kind → rows and the moment of the oldest: ``scores``, and ``lists`` with what came of them.

        Lists under a duty to keep (the need's ``[list.keep]``) are left out until it ends. Kinds without rows too.
        """
        with reading(self._engine) as connection:
            found: dict[str, list[Any]] = {}
            found["scores"] = [connection.execute(select(func.sum(BATCHES.c.n), func.min(BATCHES.c.at))).one()]
            free = _free_lists(connection, today)
            found["lists"] = [(n, at) for n, at in free.values()]
            for table, moment in _OUTSIDE.items():
                counted = select(func.count(), func.min(table.c[moment])).where(table.c.list_id.is_(None))
                found["lists"].append(connection.execute(counted).one())
        told = {}
        for kind, rows in found.items():
            known = [(int(n), datetime.fromisoformat(at)) for n, at in rows if n]
            if known:
                told[kind] = Kept(sum(n for n, _ in known), min(at for _, at in known))
        return told

    def must_keep(self, today: date) -> frozenset[str]:
        """The lists that a law says must be kept still."""
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(select(LISTS.c.list_id))) - _free_lists(connection, today).keys()

    def forget_before(self, scores: datetime, lists: datetime, today: date) -> dict[str, int]:
        """Delete batches of scores, and lists with all that came of them, that were added before a moment.

        People of whom nothing is left are forgotten too; unlike the erased they may come back. Lists under a duty to
        keep stay.

        Returns
        -------
        dict of str to int
            Table → rows deleted.
        """
        gone: dict[str, int] = {}

        def remove(connection: Connection, table: Table, *where: object) -> None:
            n = connection.execute(delete(table).where(and_(*where))).rowcount  # type: ignore[arg-type]
            name = table.name.removeprefix("store_")
            gone[name] = gone.get(name, 0) + n

        with writing(self._engine, alone=True) as connection:
            old = list(connection.scalars(select(BATCHES.c.batch).where(BATCHES.c.at < now_text(scores))))
            for part in in_chunks(old):
                remove(connection, SCORES, SCORES.c.batch.in_(part))
                remove(connection, BATCHES, BATCHES.c.batch.in_(part))
            free = _free_lists(connection, today)
            overdue = [list_id for list_id, (_, at) in free.items() if at < now_text(lists)]
            for part in in_chunks(overdue):
                for table in (*_OF_LISTS, LISTS):
                    remove(connection, table, table.c.list_id.in_(part))
            for table, moment in _OUTSIDE.items():
                remove(connection, table, table.c.list_id.is_(None), table.c[moment] < now_text(lists))
            if any(gone.values()):
                held = (
                    ~select(t.c.person_ref).where(t.c.person_ref == PEOPLE.c.person_ref).exists() for t in _OF_PERSONS
                )
                remove(connection, PEOPLE, *held)
        if any(gone.values()) and not isinstance(self._engine, Connection):
            clear_free_space(self._engine, [PEOPLE, *_OF_PERSONS])
        return {table: n for table, n in gone.items() if n}


def _free_lists(connection: Connection, today: date) -> dict[str, tuple[int, str]]:
    """Lists that no law says must be kept: rows, and when they were published."""
    free = {}
    for row in connection.execute(select(LISTS.c.list_id, LISTS.c.n, LISTS.c.published_at, LISTS.c.facts)):
        keep = json.loads(row.facts).get("keep")
        if keep is None or date.fromisoformat(keep["until"]) <= today:
            free[row.list_id] = (max(int(row.n), 1), str(row.published_at))
    return free
