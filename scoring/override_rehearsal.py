"""Whether people can override a list, tried on the store itself and taken back (check C802).

An invented list with one invented person on it is kept, changed as a unit would change it, and read again, all inside
one transaction that is rolled back. So it is a fact about this database, not about the code alone: one that swallows
changes, or a store that takes them without a reason, is found before a list leaves.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from ethics.digests import canonical_json
from ethics.refusals import BadInput, Refusal
from scoring.store_opening import reading, writing
from scoring.store_tables import CHANGES, LISTS, ROWS

if TYPE_CHECKING:
    from scoring.store import Store

_UNIT, _WHO, _WHY = "rehearsal", "rehearsal of the gate", "to see that the change is logged"


class _TakenBack(Exception):
    """Everything was tried, and nothing is to be kept."""


def rehearsed_overrides(store: Store) -> dict[str, bool]:
    """Try to add and remove somebody, with a reason and without, in a transaction that is rolled back.

    Returns
    -------
    dict
        ``added``, ``removed`` : with a reason it is done, stands in the log with who and why, and the list shows it;
        ``needs_reason`` : without one, or with blanks alone, it is refused and nothing is logged;
        ``nothing_kept`` : afterwards neither the list nor a change nor a person of the rehearsal is in the store.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The database cannot be written to at all.
    """
    name = secrets.token_hex(10)
    list_id, listed, other = (f"{part}-{name}" for part in ("rehearsal", "listed", "other"))
    found: dict[str, bool] = {}
    with suppress(_TakenBack), writing(store._engine) as connection:
        trial = _Trial(store.within(connection), list_id)
        trial.publish(connection, listed)
        found["needs_reason"] = all(
            trial.is_refused(act, person, reason)
            for act, person in (("removed", listed), ("added", other))
            for reason in ("", "  \t")
        )
        found["removed"] = trial.is_logged("removed", listed)
        found["added"] = trial.is_logged("added", other)
        raise _TakenBack
    found["nothing_kept"] = _left(store, list_id) == 0 and not store.refs([listed, other])
    return found


class _Trial:
    """One invented list inside a transaction."""

    def __init__(self, store: Store, list_id: str) -> None:
        self.store = store
        self.list_id = list_id

    def publish(self, connection: Connection, person_id: str) -> None:
        """The list, with one person on it."""
        ref = bytes.fromhex(self.store.refer([person_id])[person_id])
        facts = canonical_json({"units": [{"unit_id": _UNIT}]}).decode("utf-8")
        texts = dict.fromkeys(("need_id", "period"), _UNIT) | dict.fromkeys(("facts", "said"), facts)
        dated = {"as_of_date": "2000-01-01", "published_at": "2000-01-01T00:00:00+00:00"}
        none = "0" * 64
        connection.execute(insert(LISTS).values(list_id=self.list_id, n=1, digest=none, **texts, **dated))
        row = {"unit_id": _UNIT, "position": 1, "kind": "ranked", "payload": '{"reasons":[]}', "row_hash": none}
        connection.execute(insert(ROWS).values(list_id=self.list_id, person_ref=ref, **row))

    def is_logged(self, act: str, person_id: str) -> bool:
        """Whether the change is made, logged with who, what and why, and shown by the list as it stands."""

        def changed() -> bool:
            self.store.change(self.list_id, _UNIT, person_id, act, _WHO, reason=_WHY)
            log = self.store.changes(self.list_id).filter(person_id=person_id, act=act)
            shown = person_id in self.store.current(self.list_id, _UNIT)["person_id"]
            return log.select("unit_id", "by", "reason").rows() == [(_UNIT, _WHO, _WHY)] and shown == (act == "added")

        return _answered(changed)

    def is_refused(self, act: str, person_id: str, reason: str) -> bool:
        """Whether a change without a reason is refused, and leaves the log as it was."""

        def refused() -> bool:
            before = self.store.changes(self.list_id).height
            try:
                self.store.change(self.list_id, _UNIT, person_id, act, _WHO, reason=reason)
            except BadInput as refusal:
                named = [fault.where for fault in refusal.faults]
                return named == ["reason"] and self.store.changes(self.list_id).height == before
            return False

        return _answered(refused)


def _answered(question: Callable[[], bool]) -> bool:
    """The answer; no, where the store refuses or the database fails."""
    try:
        return question()
    except (Refusal, SQLAlchemyError):
        return False


def _left(store: Store, list_id: str) -> int:
    """Rows of the rehearsal that are still there."""
    with reading(store._engine) as connection:
        return sum(
            int(connection.scalar(select(func.count()).select_from(table).where(table.c.list_id == list_id)) or 0)
            for table in (LISTS, ROWS, CHANGES)
        )
