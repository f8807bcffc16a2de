"""Append-only, hash-chained record of who did what: an edited, removed or moved row is noticed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, Text, insert, select
from sqlalchemy.exc import IntegrityError

from ethics.digests import canonical_json, sha256
from ethics.refusals import Fault, Refusal

_METADATA = MetaData()
_LOG = Table(
    "audit_log",
    _METADATA,
    Column("writer", String(100), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", String(40), nullable=False),
    Column("action", String(100), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("facts", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
_BEFORE_THE_FIRST = "0" * 64
_ATTEMPTS = 50


class AuditLog:
    """One writer's chain: each row holds SHA-256(hash of the row before | canonical form of this row).

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Where the table ``audit_log`` lives; it is made when missing.
    writer : str
        One chain per writer. Two processes may share a writer: the number of a row is unique, so a race is
        retried, never forked.

    Notes
    -----
    Facts are strings and whole numbers about acts, never about persons: callers pass keyed hashes of ids.
    Cutting off the end of a chain is noticed by comparing :meth:`head` with one kept elsewhere.
    """

    def __init__(self, engine: Engine, writer: str = "main") -> None:
        self._engine = engine
        self._writer = writer
        _METADATA.create_all(engine)

    def append(self, action: str, actor: str, **facts: str | int) -> int:
        """Write one act; returns its number (1, 2, …) in this writer's chain."""
        wrong = [name for name, value in facts.items() if not isinstance(value, str | int)]
        if wrong:
            raise TypeError(f"audit facts must be text or whole numbers; not so: {', '.join(wrong)}")
        for _ in range(_ATTEMPTS):
            number, prev_hash = self.head()
            row = {
                "writer": self._writer,
                "number": number + 1,
                "at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "action": action,
                "actor": actor,
                "facts": canonical_json(facts).decode("utf-8"),
            }
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(_LOG).values(**row, prev_hash=prev_hash, hash=_chained(prev_hash, row)))
            except IntegrityError:  # another process took the number; take the next
                continue
            return number + 1
        raise Refusal(
            Fault("audit log", f"gave no free number in {_ATTEMPTS} attempts", "Give each process its own writer")
        )

    def head(self) -> tuple[int, str]:
        """Number and hash of the last row: what to sign or keep elsewhere."""
        last = select(_LOG.c.number, _LOG.c.hash).where(_LOG.c.writer == self._writer).order_by(_LOG.c.number.desc())
        with self._engine.connect() as connection:
            row = connection.execute(last.limit(1)).first()
        return (0, _BEFORE_THE_FIRST) if row is None else (int(row.number), str(row.hash))

    def rows(self) -> list[dict[str, Any]]:
        """Every row of this writer, oldest first."""
        mine = select(_LOG).where(_LOG.c.writer == self._writer).order_by(_LOG.c.number)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(mine)]

    def verify(self) -> list[Fault]:
        """Every place where the chain does not hold; empty when it does."""
        faults = []
        prev_hash, expected_number = _BEFORE_THE_FIRST, 1
        for row in self.rows():
            where = f"audit log {self._writer}, row {row['number']}"
            if row["number"] != expected_number:
                missing = f"{expected_number} to {row['number'] - 1}"
                faults.append(Fault(where, f"rows {missing} before it are missing", "Restore them from a backup"))
            elif row["prev_hash"] != prev_hash:
                faults.append(Fault(where, "does not follow the row before it", "Restore both from a backup"))
            if row["hash"] != _chained(row["prev_hash"], row):
                faults.append(Fault(where, "was changed after it was written", "Restore it from a backup"))
            prev_hash, expected_number = row["hash"], row["number"] + 1
        return faults


def _chained(prev_hash: str, row: dict[str, Any]) -> str:
    content = {name: row[name] for name in ("writer", "number", "at", "action", "actor", "facts")}
    return sha256(prev_hash.encode("ascii") + b"|" + canonical_json(content))
