"""The lists of the store: published whole or not at all, then only added to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy import Connection, and_, insert, select

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean
from scoring.row_hashes import lot_of, row_hash
from scoring.store_forgetting import EXPORT_SCHEMA, exports_frame, exports_query, of_person, recalled
from scoring.store_frames import MOMENT, day_text, frame_of, now_text
from scoring.store_opening import insert_new, reading, writing
from scoring.store_people import People, key_of_rows, refuse_erased
from scoring.store_tables import CHANGES, EXPORTS, LISTS, RECALLS, ROWS

if TYPE_CHECKING:
    from scoring.list_records import OutreachList

KINDS = ("ranked", "carried", "sample", "margin", "added")
_LISTS = {
    "list_id": pl.String,
    "need_id": pl.String,
    "as_of_date": pl.Date,
    "period": pl.String,
    "n": pl.UInt32,
    "digest": pl.String,
    "published_at": MOMENT,
}
_ROWS = {
    "list_id": pl.String,
    "need_id": pl.String,
    "as_of_date": pl.Date,
    "unit_id": pl.String,
    "position": pl.UInt32,
    "kind": pl.String,
    "person_ref": pl.String,
    "person_id": pl.String,
    "rank_band": pl.String,
    "payload": pl.String,
    "row_hash": pl.String,
    "probability": pl.Float64,
    "is_held_out": pl.Boolean,
}


@dataclass(frozen=True)
class Export:
    """A file handed out of the state.

    Attributes
    ----------
    file : str
        Where it was written; its name says nothing of a person.
    sha256 : str
        Of its bytes.
    unit_id : str or None
        Whose people it holds; None for those of every unit.
    """

    file: str
    sha256: str
    unit_id: str | None = None


@dataclass(frozen=True)
class ListProof:
    """What can still be shown of a published list.

    Attributes
    ----------
    list_id, digest : str
    n, redacted : int
        Rows, and those whose person was erased or whose payload was emptied.
    faults : tuple of Fault
        Every place where digest, row hashes and rows do not agree; empty when the list is as it was published.
    """

    list_id: str
    digest: str
    n: int
    redacted: int
    faults: tuple[Fault, ...]


class StoredLists(People):
    """What :class:`scoring.store.Store` knows of lists, their rows and the files made of them."""

    def publish(self, listed: OutreachList, exports: Sequence[Export] = (), at: datetime | None = None) -> None:
        """Keep a list with its rows and files: in one transaction, or not at all.

        Publishing the same list again changes nothing, so an interrupted run may repeat it.

        Raises
        ------
        BadInput
            A row's kind is unknown.
        NotTrusted
            The id is taken by another list; a row's hash or the list's digest is not that of what it says; somebody on
            it was erased.
        """
        rows = [(part.unit_id, row) for part in listed.parts for row in part.recorded]
        said, moment = canonical_json(listed.said()).decode("utf-8"), now_text(at)
        _refuse_unknown_kinds({row.kind for _, row in rows})
        if sha256(said.encode("utf-8")) != listed.list_digest:
            raise _forged("list_digest", "is not that of what the list says")
        with writing(self._engine) as connection:
            if insert_new(connection, LISTS, [_list_values(listed, said, len(rows), moment)]):
                made = self._made(connection, [row.person_id for _, row in rows])
                refuse_erased(len({row.person_id for _, row in rows} - made.keys()))
                values = [_row_values(listed.list_id, unit_id, row, *made[row.person_id]) for unit_id, row in rows]
                _refuse_repeated(values)
                if values:
                    connection.execute(insert(ROWS), values)
            elif require_list(connection, listed.list_id).digest != listed.list_digest:
                raise _forged("list_id", "belongs to another list that was published before")
            _add_exports(connection, listed.list_id, exports, moment)

    def add_exports(self, list_id: str, exports: Sequence[Export]) -> None:
        """Record files made of a published list later on."""
        with writing(self._engine) as connection:
            require_list(connection, list_id)
            _add_exports(connection, list_id, exports, now_text())

    def lists(
        self, need_id: str | None = None, since: date | None = None, *, before: date | None = None
    ) -> pl.DataFrame:
        """Published lists in order of their as-of date.

        Parameters
        ----------
        need_id : str, optional
        since, before : date, optional
            As-of dates from ``since`` on, and earlier than ``before``.

        Returns
        -------
        polars.DataFrame
            ``list_id``, ``need_id``, ``as_of_date``, ``period`` (ISO 8601, e.g. ``2024-06-03/2024-06-10``), ``n``,
            ``digest``, ``published_at``.
        """
        query = select(LISTS).where(*_dated(need_id, since, None))
        if before is not None:
            query = query.where(LISTS.c.as_of_date < day_text(before))
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(LISTS.c.as_of_date, LISTS.c.list_id))
            return frame_of(found.mappings().all(), _LISTS)

    def need_of(self, list_id: str) -> str | None:
        """Whose need's list it is; None for one that was never published. One look, whichever it is."""
        with reading(self._engine) as connection:
            return connection.scalar(select(LISTS.c.need_id).where(LISTS.c.list_id == list_id))

    def list_facts(self, list_id: str) -> dict[str, Any]:
        """What was said of a list when it was published, without saying who is on it."""
        with reading(self._engine) as connection:
            facts: dict[str, Any] = json.loads(require_list(connection, list_id).facts)
        return facts

    def rows(
        self,
        list_id: str | None = None,
        *,
        need_id: str | None = None,
        first: date | None = None,
        last: date | None = None,
        unit_id: str | None = None,
        person_id: str | None = None,
    ) -> pl.DataFrame:
        """Rows as published, in order of list, unit and position; what was changed since is in ``changes``.

        Parameters
        ----------
        list_id, need_id, unit_id, person_id : str, optional
        first, last : date, optional
            As-of dates, both included.

        Returns
        -------
        polars.DataFrame
            ``list_id``, ``need_id``, ``as_of_date``, ``unit_id``, ``position``, ``kind``, ``person_ref``,
            ``person_id`` (null: erased), ``rank_band``, ``payload`` (JSON text; null: erased), ``row_hash``; and, of
            the erased too, ``probability`` of the lot (null: none decided) and ``is_held_out`` by it.
        """
        query = select(ROWS, LISTS.c.need_id, LISTS.c.as_of_date).join_from(
            ROWS, LISTS, ROWS.c.list_id == LISTS.c.list_id
        )
        query = query.where(*_dated(need_id, first, last))
        for column, value in ((ROWS.c.list_id, list_id), (ROWS.c.unit_id, unit_id)):
            query = query if value is None else query.where(column == value)
        query = query.order_by(LISTS.c.as_of_date, ROWS.c.list_id, ROWS.c.unit_id, ROWS.c.position)
        with reading(self._engine) as connection:
            if person_id is not None:
                found = self._found(connection, [person_id])
                if not found:
                    return frame_of([], _ROWS)
                query = query.where(ROWS.c.person_ref == found[person_id][1])
            return self.with_names(connection, connection.execute(query).mappings().all(), _ROWS)

    def with_names(self, connection: Connection, rows: Sequence[Any], schema: dict[str, Any]) -> pl.DataFrame:
        """Rows as a table, with the person id beside each reference; null for the erased."""
        named = self._named(connection, (row["person_ref"] for row in rows if row["person_ref"] is not None))
        return frame_of(({**row, "person_id": named.get(row["person_ref"])} for row in rows), schema)

    def proof(self, list_id: str) -> ListProof:
        """Compare a published list with its digest: rows of the erased by their hashes, all others by what they say."""
        with reading(self._engine) as connection:
            kept = require_list(connection, list_id)
            query = select(ROWS).where(ROWS.c.list_id == list_id).order_by(ROWS.c.unit_id, ROWS.c.position)
            rows = connection.execute(query).all()
            named = self._named(connection, [row.person_ref for row in rows])
            salts = self._found(connection, list(named.values()))
        where, faults, redacted = f"list {list_id}", [], 0
        if sha256(kept.said.encode("utf-8")) != kept.digest:
            faults.append(Fault(where, "does not say what its digest is over", _RESTORE))
        hashes = {part["unit_id"]: part["rows"] for part in json.loads(kept.said)["parts"]}
        stored: dict[str, list[str]] = {unit_id: [] for unit_id in hashes}
        for row in rows:
            stored.setdefault(row.unit_id, []).append(row.row_hash)
            if row.payload is None or row.person_ref not in named:
                redacted += 1
            elif not _is_as_said(row, named[row.person_ref], salts[named[row.person_ref]][0]):
                faults.append(Fault(f"{where}, {row.unit_id}, row {row.position}", "was changed", _RESTORE))
        if stored != hashes:
            faults.append(Fault(where, "holds other rows than its digest is over", _RESTORE))
        return ListProof(list_id, kept.digest, len(rows), redacted, tuple(faults))

    def exports(self, person_id: str | None = None, list_id: str | None = None) -> pl.DataFrame:
        """Files handed out, oldest first; of one list, or those in which a person stands.

        Returns
        -------
        polars.DataFrame
            ``file``, ``sha256``, ``unit_id`` (null: every unit), ``list_id``, ``at``, ``recalled_at`` (null: in use).
        """
        with reading(self._engine) as connection:
            conditions = [] if list_id is None else [EXPORTS.c.list_id == list_id]
            if person_id is not None:
                found = self._found(connection, [person_id])
                if not found:
                    return frame_of([], EXPORT_SCHEMA)
                conditions.append(of_person(found[person_id][1]))
            return exports_frame(connection.execute(exports_query(and_(True, *conditions))).mappings())

    def lists_of(self, person_id: str) -> list[str]:
        """Lists on which a person stands, or was put by hand, in order of their ids; none once erased."""
        with reading(self._engine) as connection:
            found = self._found(connection, [person_id])
            if not found:
                return []
            chosen = (
                select(table.c.list_id).where(table.c.person_ref == found[person_id][1]) for table in (ROWS, CHANGES)
            )
            return sorted({list_id for query in chosen for list_id in connection.scalars(query)})

    def recall(self, person_id: str, why: str, *, need_id: str | None = None) -> pl.DataFrame:
        """Mark the files in which a person stands as recalled, and return them as ``exports`` does.

        With ``need_id`` only those of that need's lists. What was recalled before stays as it was.
        """
        with writing(self._engine) as connection:
            found = self._found(connection, [person_id])
            if not found:
                return frame_of([], EXPORT_SCHEMA)
            ref = found[person_id][1]
            if need_id is None:
                return recalled(connection, ref, why, now_text())
            of_need = EXPORTS.c.list_id.in_(select(LISTS.c.list_id).where(LISTS.c.need_id == need_id))
            query, more = exports_query(and_(of_person(ref), of_need)), {"person_ref": ref, "why": why}
            rows = connection.execute(query).mappings().all()
            keys = [{name: row[name] for name in ("list_id", "file", "sha256")} for row in rows]
            insert_new(connection, RECALLS, [{**key, **more, "at": now_text()} for key in keys])
            return exports_frame(connection.execute(query).mappings())


_RESTORE = "Restore the database from the backup"


def require_list(connection: Connection, list_id: str) -> Any:
    """The row of a list, or a refusal that names some lists.

    Raises
    ------
    BadInput
    """
    kept = connection.execute(select(LISTS).where(LISTS.c.list_id == list_id)).first()
    if kept is None:
        known = connection.scalars(select(LISTS.c.list_id).order_by(LISTS.c.list_id.desc()).limit(3))
        last = ", ".join(known)
        mend = (
            f"Give the id of a published list; the last are: {last}" if last else "Publish a list first: ennakko list"
        )
        raise BadInput(Fault("list", f"'{list_id}' was never published", mend))
    return kept


def _row_values(list_id: str, unit_id: str, row: Any, salt: bytes, ref: bytes) -> dict[str, Any]:
    if row.row_hash != row.hashed(unit_id, key_of_rows(salt)).row_hash:
        raise _forged("row_hash", f"in place {row.rank} of {unit_id} is not that of the row")
    probability, is_held_out = lot_of(row.kind, row.payload_text)
    return {
        "list_id": list_id,
        "unit_id": unit_id,
        "position": row.rank,
        "kind": row.kind,
        "person_ref": ref,
        "rank_band": row.rank_band,
        "payload": row.payload_text,
        "row_hash": row.row_hash,
        "probability": probability,
        "is_held_out": is_held_out,
    }


def _list_values(listed: OutreachList, said: str, n: int, moment: str) -> dict[str, Any]:
    first = listed.as_of_date
    last = first + timedelta(days=listed.need.capacity.period_days)
    return {
        "list_id": listed.list_id,
        "need_id": listed.need.id,
        "as_of_date": first.isoformat(),
        "period": f"{first.isoformat()}/{last.isoformat()}",
        "n": n,
        "digest": listed.list_digest,
        "facts": json.dumps(listed.facts(), sort_keys=True, ensure_ascii=False, allow_nan=False),  # never signed
        "said": said,
        "published_at": moment,
    }


def _is_as_said(row: Any, person_id: str, salt: bytes) -> bool:
    """Whether a row has the hash of what it says, and the lot's columns are its payload's."""
    said = {"person_id": person_id, "rank_band": row.rank_band, "payload": row.payload}
    found = row_hash(key_of_rows(salt), unit_id=row.unit_id, position=row.position, kind=row.kind, **said)
    return row.row_hash == found and (row.probability, row.is_held_out) == lot_of(row.kind, row.payload)


def _add_exports(connection: Connection, list_id: str, exports: Iterable[Export], moment: str) -> None:
    rows = [
        {"list_id": list_id, "file": e.file, "sha256": e.sha256, "unit_id": e.unit_id, "at": moment} for e in exports
    ]
    insert_new(connection, EXPORTS, rows)


def _dated(need_id: str | None, first: date | None, last: date | None) -> list[Any]:
    conditions = [] if need_id is None else [LISTS.c.need_id == need_id]
    if first is not None:
        conditions.append(LISTS.c.as_of_date >= day_text(first))
    if last is not None:
        conditions.append(LISTS.c.as_of_date <= day_text(last))
    return conditions


def _refuse_unknown_kinds(kinds: set[str]) -> None:
    unknown = sorted(kinds - set(KINDS))
    if unknown:
        raise BadInput(*(Fault("kind", f"'{kind}' is no kind of row", did_you_mean(kind, KINDS)) for kind in unknown))


def _refuse_repeated(values: Sequence[dict[str, Any]]) -> None:
    repeated = len(values) - len({row["person_ref"] for row in values})
    if repeated:
        wrong = f"names {repeated} {'person' if repeated == 1 else 'people'} more than once"
        raise NotTrusted(Fault("list", wrong, "Make the list again"))


def _forged(where: str, wrong: str) -> NotTrusted:
    return NotTrusted(Fault(where, wrong, "Make the list again"))
