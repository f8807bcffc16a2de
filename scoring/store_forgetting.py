"""What erasure does to the rows of one person."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from sqlalchemy import Column, Connection, and_, delete, func, or_, select, true, update

from scoring.store_frames import MOMENT, frame_of
from scoring.store_opening import insert_new
from scoring.store_tables import (
    ATTEMPTS,
    CHANGES,
    EXPORTS,
    FORGOTTEN_COLUMNS,
    OUTCOMES,
    PEOPLE,
    RECALLS,
    ROWS,
    VIEWS,
)

EXPORT_SCHEMA: Any = {
    **dict.fromkeys(("file", "sha256", "unit_id", "list_id"), pl.String),
    "at": MOMENT,
    "recalled_at": MOMENT,
}


@dataclass(frozen=True)
class Erasure:
    """What erasing one person did.

    Attributes
    ----------
    at : str
        When, in UTC.
    person_ref : str or None
        What stands in the person's rows, by now nobody's; None when the store never knew the person.
    rows : mapping of str to int
        Table → rows emptied (``people``: deleted). ``others`` counts other people's rows that named the person.
    exports : polars.DataFrame
        Files handed out in which the person stands, marked as recalled: ``file``, ``sha256``, ``unit_id``,
        ``list_id``, ``at``, ``recalled_at``.
    wiped : bool
        Whether free space of the database is clear of the person already; otherwise the next opening does it.
    """

    at: str
    person_ref: str | None
    rows: Mapping[str, int]
    exports: pl.DataFrame = field(repr=False)
    wiped: bool = True


def forget(connection: Connection, ref: bytes | None, person_id: str, at: str) -> tuple[dict[str, int], pl.DataFrame]:
    """Empty a person's rows and delete who they are; the exports they stand in are recalled first."""
    counts = {"others": _forget_mentions(connection, ref, person_id)}
    if ref is None:
        return counts, pl.DataFrame(schema=EXPORT_SCHEMA)
    exports = recalled(connection, ref, "erased", at)
    for table, columns in FORGOTTEN_COLUMNS.items():
        emptied = update(table).where(table.c.person_ref == ref).values(dict.fromkeys(columns))
        counts[table.name.removeprefix("store_")] = connection.execute(emptied).rowcount
    counts["people"] = connection.execute(delete(PEOPLE).where(PEOPLE.c.person_ref == ref)).rowcount
    return counts, exports


def recalled(connection: Connection, ref: bytes, why: str, at: str) -> pl.DataFrame:
    """Mark every export in which a person stands, once, and return them all."""
    rows = connection.execute(exports_query(of_person(ref))).mappings().all()
    keys = [{name: row[name] for name in ("list_id", "file", "sha256")} for row in rows]
    insert_new(connection, RECALLS, [{**key, "person_ref": ref, "why": why, "at": at} for key in keys])
    return exports_frame(connection.execute(exports_query(of_person(ref))).mappings().all())


def exports_query(where: Any = None) -> Any:
    """Exports with the moment of their first recall, oldest first."""
    first = func.min(RECALLS.c.at).label("recalled_at")
    same = and_(*(RECALLS.c[name] == EXPORTS.c[name] for name in ("list_id", "file", "sha256")))
    query = select(EXPORTS, first).select_from(EXPORTS.outerjoin(RECALLS, same))
    query = query.where(true() if where is None else where)
    return query.group_by(*EXPORTS.columns).order_by(EXPORTS.c.at, EXPORTS.c.list_id, EXPORTS.c.file, EXPORTS.c.sha256)


def exports_frame(rows: Any) -> pl.DataFrame:
    """Exports as others read them."""
    return frame_of(rows, EXPORT_SCHEMA)


def of_person(ref: bytes) -> Any:
    """Which exports a person stands in: those of a list for the person's unit, or for all units."""
    places = [
        select(table.c.list_id).where(
            table.c.person_ref == ref,
            table.c.list_id == EXPORTS.c.list_id,
            or_(EXPORTS.c.unit_id.is_(None), table.c.unit_id == EXPORTS.c.unit_id),
        )
        for table in (ROWS, CHANGES)
    ]
    return or_(*(place.exists() for place in places))


def _forget_mentions(connection: Connection, ref: bytes | None, person_id: str) -> int:
    """Empty other people's payloads that name the person (a guardian, a sibling)."""
    like = ROWS.c.payload.contains(json.dumps(person_id, ensure_ascii=False)[1:-1], autoescape=True)
    own = true() if ref is None else ROWS.c.person_ref != ref
    key = (ROWS.c.list_id, ROWS.c.unit_id, ROWS.c.position)
    found = connection.execute(select(*key, ROWS.c.payload).where(like, own)).all()
    naming = [row for row in found if _names(json.loads(row.payload), person_id)]
    for row in naming:
        connection.execute(
            update(ROWS).where(*(c == v for c, v in zip(key, row[:3], strict=True))).values(payload=None)
        )
    return len(naming) + sum(_forget_in_text(connection, column, ref, person_id) for column in _FREE_TEXTS)


_FREE_TEXTS = (CHANGES.c.reason, ATTEMPTS.c.source, OUTCOMES.c.source, RECALLS.c.why, VIEWS.c.purpose)
"""What somebody typed; it may name a person other than the row's."""


def _forget_in_text(connection: Connection, column: Column[str], ref: bytes | None, person_id: str) -> int:
    """Empty a typed text of other people's rows where it holds the id as a word."""
    table = column.table
    own = true() if ref is None else or_(table.c.person_ref.is_(None), table.c.person_ref != ref)
    keys = list(table.primary_key.columns)
    found = connection.execute(select(*keys, column).where(column.contains(person_id, autoescape=True), own)).all()
    as_word = re.compile(rf"(?<!\w){re.escape(person_id)}(?!\w)")
    naming = [row for row in found if as_word.search(row[-1])]
    for row in naming:
        same = (key == value for key, value in zip(keys, row[:-1], strict=True))
        connection.execute(update(table).where(*same).values({column.name: None if column.nullable else ""}))
    return len(naming)


def _names(value: Any, person_id: str) -> bool:
    """Whether some text of a JSON value is the id, or ends in it as a word ("Person 000123").

    >>> _names({"guardian": ["Person 000123"]}, "000123"), _names({"text": "12 absences"}, "12")
    (True, False)
    """
    if isinstance(value, Mapping):
        return any(_names(part, person_id) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_names(part, person_id) for part in value)
    return isinstance(value, str) and (value == person_id or value.endswith(f" {person_id}"))
