"""What happened to lists after they were published: changes, views, attempts, outcomes. Only ever added to."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl
from sqlalchemy import Connection, Table, insert, or_, select

from ethics.digests import canonical_json
from ethics.refusals import BadInput, Fault, did_you_mean
from scoring.event_rows import checked_events
from scoring.store_frames import CLOCK, MOMENT, day_text, frame_of, now_text
from scoring.store_lists import StoredLists, require_list
from scoring.store_opening import insert_new, reading, writing
from scoring.store_people import refuse_erased
from scoring.store_tables import ATTEMPTS, CHANGES, LISTS, OUTCOMES, ROWS, VIEWS

ACTS = ("added", "removed", "assigned")
_PERSON = {"person_ref": pl.String, "person_id": pl.String}
_CHANGES = {
    "number": pl.UInt32,
    "list_id": pl.String,
    "unit_id": pl.String,
    **_PERSON,
    "act": pl.String,
    "by": pl.String,
    "reason": pl.String,
    "worker": pl.String,
    "at": MOMENT,
}
_VIEWS = {
    "number": pl.UInt32,
    "list_id": pl.String,
    "unit_id": pl.String,
    **_PERSON,
    "actor": pl.String,
    "purpose": pl.String,
    "at": MOMENT,
}
_ATTEMPTS = {
    "list_id": pl.String,
    "need_id": pl.String,
    **_PERSON,
    "at": CLOCK,
    **dict.fromkeys(("channel", "worker", "result", "source"), pl.String),
    "added_at": MOMENT,
}
_OUTCOMES = {
    "list_id": pl.String,
    "need_id": pl.String,
    **_PERSON,
    "at": CLOCK,
    **dict.fromkeys(("outcome", "source"), pl.String),
    "added_at": MOMENT,
}
_SAID_OF = {"attempts": ("channel", "worker", "result"), "outcomes": ("outcome",)}


class _TakenBack(Exception):
    """Everything was tried, and nothing is to be kept."""


class StoredEvents(StoredLists):
    """What :class:`scoring.store.Store` knows of the work done with lists."""

    def change(
        self, list_id: str, unit_id: str, person_id: str, act: str, by: str, *, reason: str = "", worker: str = ""
    ) -> None:
        """Record that somebody was added to a unit's list by hand, removed from it, or given to a worker.

        Whom the lot at the cut left below the line is not on the list: nobody can remove or assign them, and to add
        them is to cross over to the other side of the lot, which :func:`scoring.what_happened.crossovers` counts.

        Parameters
        ----------
        act : {"added", "removed", "assigned"}
            Adding and removing need a ``reason``, assigning a ``worker``.
        by : str
            Who did it.

        Raises
        ------
        BadInput
            The list, unit or act is not known, a reason or worker is missing, or the person is (or is not) on it.
        NotTrusted
            The person was erased.
        """
        faults = []
        if act not in ACTS:
            faults.append(Fault("act", f"'{act}' is none", did_you_mean(act, ACTS)))
        if act in ("added", "removed") and not reason.strip():
            faults.append(Fault("reason", "is missing", f"Say why the person is {act}"))
        if act == "assigned" and not worker.strip():
            faults.append(Fault("worker", "is missing", "Say who takes the person on"))
        if not by.strip():
            faults.append(Fault("by", "is missing", "Say who makes the change"))
        with writing(self._engine) as connection:
            units = [unit["unit_id"] for unit in _facts_of(require_list(connection, list_id))["units"]]
            if unit_id not in units:
                faults.append(Fault("unit", f"'{unit_id}' is not on this list", did_you_mean(unit_id, units)))
            if faults:
                raise BadInput(*faults)
            made = self._made(connection, [person_id])
            refuse_erased(len({person_id} - made.keys()))
            ref = made[person_id][1]
            place = _place(connection, list_id, ref)
            if (place is not None) if act == "added" else (place != unit_id):
                wrong = f"is {'on this list already' if act == 'added' else 'not on the list of this unit'}"
                raise BadInput(Fault("person", wrong, "Look at the list again: it may have been changed"))
            values: dict[str, Any] = {"list_id": list_id, "unit_id": unit_id, "person_ref": ref, "act": act, "by": by}
            values |= {"reason": reason or None, "worker": worker or None, "at": now_text()}
            connection.execute(insert(CHANGES).values(values))

    def changes(self, list_id: str | None = None, *, person_id: str | None = None) -> pl.DataFrame:
        """Changes made by hand, oldest first.

        Returns
        -------
        polars.DataFrame
            ``number``, ``list_id``, ``unit_id``, ``person_ref``, ``person_id``, ``act``, ``by``, ``reason``,
            ``worker``, ``at``; erasure empties ``person_id``, ``reason`` and ``worker``.
        """
        return self._kept(CHANGES, _CHANGES, list_id, person_id)

    def current(self, list_id: str, unit_id: str | None = None) -> pl.DataFrame:
        """A list as it stands today: rows as published, without the removed and the held out, then those added by hand.

        Returns
        -------
        polars.DataFrame
            As ``rows``, and ``worker`` (null: nobody's yet). Who was added has the kind ``added``, the next positions
            of the unit, and no band, payload or hash.
        """
        rows, changes = self.rows(list_id, unit_id=unit_id), self.changes(list_id)
        if unit_id is not None:
            changes = changes.filter(pl.col("unit_id") == unit_id)
        worker: dict[str, str | None] = {}
        added: dict[str, str] = {}
        removed: set[str] = set()
        for ref, unit, act, who in changes.select("person_ref", "unit_id", "act", "worker").iter_rows():
            worker[ref] = who if act == "assigned" else None if act == "removed" else worker.get(ref)
            if act == "removed":
                removed.add(ref)
                added.pop(ref, None)
            elif act == "added":
                added[ref] = unit
        base = rows.filter(~(pl.col("person_ref").is_in(list(removed)) | pl.col("is_held_out")))
        more = self._added_rows(rows, added)
        both = pl.concat([base, more]).sort("unit_id", "position", maintain_order=True)
        return both.with_columns(
            worker=pl.col("person_ref").replace_strict(worker, default=None, return_dtype=pl.String)
            if worker
            else pl.lit(None, dtype=pl.String)
        )

    def _added_rows(self, rows: pl.DataFrame, added: Mapping[str, str]) -> pl.DataFrame:
        if not added:
            return rows.clear()
        named = self.people(list(added))
        last = dict(rows.group_by("unit_id").agg(pl.col("position").max()).rows())
        shared = rows.select("list_id", "need_id", "as_of_date").head(1).to_dicts()
        records = []
        for ref, unit in added.items():
            last[unit] = last.get(unit, 0) + 1
            records.append(
                {
                    "unit_id": unit,
                    "position": last[unit],
                    "kind": "added",
                    "person_ref": ref,
                    "person_id": named.get(ref),
                    "is_held_out": False,
                }
            )
        more = pl.DataFrame(records).with_columns(
            **{name: pl.lit(value) for name, value in (shared or [{}])[0].items()}
        )
        return more.select(
            (pl.col(name) if name in more.columns else pl.lit(None).alias(name)).cast(dtype)
            for name, dtype in rows.schema.items()
        )

    def view(
        self, list_id: str | None, unit_id: str | None, actor: str, purpose: str, *, person_id: str | None = None
    ) -> None:
        """Record that somebody looked: at a unit's part of a list, at a whole list, or at one person's page.

        Raises
        ------
        BadInput
            Nothing is said of who looked, what for, or at what; the list was never published.
        """
        said: dict[str, Any] = {"actor": actor, "purpose": purpose}
        faults = [Fault(name, "is missing", "Say who looks, and what for") for name, text in said.items() if not text]
        if list_id is None and person_id is None:
            faults.append(Fault("view", "is of nothing", "Give a list or a person"))
        if faults:
            raise BadInput(*faults)
        with writing(self._engine) as connection:
            if list_id is not None:
                require_list(connection, list_id)
            made = {} if person_id is None else self._made(connection, [person_id])
            if person_id is not None and not made:
                return  # of the erased nothing is kept
            ref = None if person_id is None else made[person_id][1]
            values = {**said, "list_id": list_id, "unit_id": unit_id, "person_ref": ref, "at": now_text()}
            connection.execute(insert(VIEWS).values(values))

    def views(self, list_id: str | None = None, person_id: str | None = None) -> pl.DataFrame:
        """Who looked, oldest first: at a list, or at a person (the person's page, and lists the person stands on).

        Returns
        -------
        polars.DataFrame
            ``number``, ``list_id``, ``unit_id`` (null: the whole list), ``person_ref``, ``person_id`` (null: a list),
            ``actor``, ``purpose``, ``at``.
        """
        return self._kept(VIEWS, _VIEWS, list_id, person_id, of=_views_of)

    def add_attempts(self, rows: pl.DataFrame, source: str) -> int:
        """Add attempts to reach people: all of them, or none; the same row twice is one, from whatever file.

        Parameters
        ----------
        rows : polars.DataFrame
            ``list_id`` (null: outside a list), ``person_id``, ``at`` (a day, a moment, or either as ISO text),
            ``channel``, ``worker``, ``result`` (null where not known). Rows of the erased are passed over.
        source : str
            Where they come from, e.g. the name of the file.

        Returns
        -------
        int
            Rows that were new.

        Raises
        ------
        BadInput
            A column is missing, a row has no person or day, or names a list that was never published.
        """
        return self._add_events(ATTEMPTS, "attempts", rows, source)

    def add_outcomes(self, rows: pl.DataFrame, source: str) -> int:
        """Add what came of it: ``list_id``, ``person_id``, ``at``, ``outcome`` (one of ``OUTCOMES``), as attempts."""
        return self._add_events(OUTCOMES, "outcomes", rows, source)

    def add_work(
        self, attempts: pl.DataFrame, outcomes: pl.DataFrame, source: str, *, keep: bool = True
    ) -> tuple[int, int]:
        """Add attempts and what came of them in one transaction: all of it, or nothing.

        Parameters
        ----------
        attempts, outcomes : polars.DataFrame
            As ``add_attempts`` and ``add_outcomes`` take them.
        source : str
        keep : bool
            False takes everything back at the end: what would have been new is counted, and nothing is kept.

        Returns
        -------
        (int, int)
            Attempts and outcomes that were new.
        """
        parts = [(ATTEMPTS, "attempts", attempts), (OUTCOMES, "outcomes", outcomes)]
        checked = [(table, kind, checked_events(rows, kind, _SAID_OF[kind])) for table, kind, rows in parts]
        new: list[int] = []
        with contextlib.suppress(_TakenBack), writing(self._engine) as connection:
            new += [self._insert_events(connection, *part, source) for part in checked]
            if not keep:
                raise _TakenBack
        return new[0], new[1]

    def attempts(
        self,
        list_id: str | None = None,
        *,
        need_id: str | None = None,
        first: date | None = None,
        last: date | None = None,
        person_id: str | None = None,
    ) -> pl.DataFrame:
        """Attempts in order of time.

        Parameters
        ----------
        first, last : date, optional
            Days of the attempt, both included.

        Returns
        -------
        polars.DataFrame
            ``list_id``, ``need_id`` (null: outside a list), ``person_ref``, ``person_id``, ``at``, ``channel``,
            ``worker``, ``result``, ``source``, ``added_at``; erasure empties person, worker, result and source.
        """
        return self._kept_events(ATTEMPTS, _ATTEMPTS, list_id, need_id, first, last, person_id)

    def outcomes(
        self,
        list_id: str | None = None,
        *,
        need_id: str | None = None,
        first: date | None = None,
        last: date | None = None,
        person_id: str | None = None,
    ) -> pl.DataFrame:
        """Outcomes in order of time, filtered as attempts: … ``at``, ``outcome``, ``source``, ``added_at``."""
        return self._kept_events(OUTCOMES, _OUTCOMES, list_id, need_id, first, last, person_id)

    def _add_events(self, table: Table, kind: str, rows: pl.DataFrame, source: str) -> int:
        records = checked_events(rows, kind, _SAID_OF[kind])
        with writing(self._engine) as connection:
            return self._insert_events(connection, table, kind, records, source)

    def _insert_events(
        self, connection: Connection, table: Table, kind: str, records: Sequence[Mapping[str, Any]], source: str
    ) -> int:
        _refuse_unknown_lists(connection, records)
        made = self._made(connection, [record["person_id"] for record in records])
        added_at = now_text()
        values = {}
        for record in records:
            if (found := made.get(record["person_id"])) is None:
                continue
            salt, ref = found
            event = {name: record[name] for name in ("list_id", "at", *_SAID_OF[kind])}
            digest = hmac.digest(salt, kind.encode() + canonical_json(event), "sha256")
            values[digest] = {**event, "digest": digest, "person_ref": ref, "source": source, "added_at": added_at}
        return insert_new(connection, table, [values[digest] for digest in sorted(values)])

    def _kept(
        self, table: Table, schema: dict[str, Any], list_id: str | None, person_id: str | None, of: Any = None
    ) -> pl.DataFrame:
        query = select(table).order_by(table.c.number)
        if list_id is not None:
            query = query.where(table.c.list_id == list_id)
        with reading(self._engine) as connection:
            if person_id is not None:
                found = self._found(connection, [person_id])
                if not found:
                    return frame_of([], schema)
                ref = found[person_id][1]
                query = query.where(table.c.person_ref == ref if of is None else of(ref))
            return self.with_names(connection, connection.execute(query).mappings().all(), schema)

    def _kept_events(
        self,
        table: Table,
        schema: dict[str, Any],
        list_id: str | None,
        need_id: str | None,
        first: date | None,
        last: date | None,
        person_id: str | None,
    ) -> pl.DataFrame:
        joined = table.outerjoin(LISTS, LISTS.c.list_id == table.c.list_id)
        query = select(table, LISTS.c.need_id).select_from(joined).order_by(table.c.at, table.c.digest)
        bounds = ((table.c.list_id, list_id), (LISTS.c.need_id, need_id))
        query = query.where(*(column == value for column, value in bounds if value is not None))
        if first is not None:
            query = query.where(table.c.at >= day_text(first))
        if last is not None:
            query = query.where(table.c.at < f"{day_text(last)}U")  # after every clock time of the day
        with reading(self._engine) as connection:
            if person_id is not None:
                found = self._found(connection, [person_id])
                if not found:
                    return frame_of([], schema)
                query = query.where(table.c.person_ref == found[person_id][1])
            return self.with_names(connection, connection.execute(query).mappings().all(), schema)


def _facts_of(kept: Any) -> dict[str, Any]:
    import json

    facts: dict[str, Any] = json.loads(kept.facts)
    return facts


def _place(connection: Connection, list_id: str, ref: bytes) -> str | None:
    """The unit on whose list the person stands today."""
    row = select(ROWS.c.unit_id, ROWS.c.is_held_out).where(ROWS.c.list_id == list_id, ROWS.c.person_ref == ref)
    found = connection.execute(row).first()
    place = None if found is None or found.is_held_out else str(found.unit_id)
    changed = select(CHANGES.c.unit_id, CHANGES.c.act).where(CHANGES.c.list_id == list_id, CHANGES.c.person_ref == ref)
    for unit_id, act in connection.execute(changed.order_by(CHANGES.c.number)):
        place = None if act == "removed" else unit_id
    return place


def _views_of(ref: bytes) -> Any:
    listed = [
        select(table.c.list_id)
        .where(
            table.c.person_ref == ref,
            table.c.list_id == VIEWS.c.list_id,
            or_(VIEWS.c.unit_id.is_(None), table.c.unit_id == VIEWS.c.unit_id),
        )
        .exists()
        for table in (ROWS, CHANGES)
    ]
    return or_(VIEWS.c.person_ref == ref, *((VIEWS.c.person_ref.is_(None) & found) for found in listed))


def _refuse_unknown_lists(connection: Connection, records: Sequence[Mapping[str, Any]]) -> None:
    for list_id in sorted({record["list_id"] for record in records} - {None}):
        require_list(connection, list_id)
