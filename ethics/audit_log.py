"""Append-only, hash-chained record of who did what: an edited, removed, moved or cut-off row is noticed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from ethics.digests import canonical_json, sha256
from ethics.refusals import Fault, Refusal
from ethics.tables import make_tables
from ethics.whole_file import write_whole

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
_ADVISORY_LOCK = 0x61756474  # "audt"; the first of two numbers that no other program in the database takes
_RESTORE = "Restore it from a backup"
_WRITABLE = "Make the folder writable"


class AuditLog:
    """One writer's chain: each row holds SHA-256(hash of the row before | canonical form of this row).

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Where the table ``audit_log`` lives; it is made when missing.
    writer : str
        One chain per writer. Two processes may share a writer: the number of a row is unique, so a race is
        retried, never forked.
    head_path : Path, optional
        A file outside the database that keeps number and hash of the last row, so that rows cut off at the end are
        noticed too. It only ever moves on along the chain. Several processes may share it.

    Notes
    -----
    Facts are strings and whole numbers about acts, never about persons: callers pass keyed hashes of ids.
    Whoever can change both the database and the file of the head can cut unseen; keep a copy of the file elsewhere.
    """

    def __init__(self, engine: Engine, writer: str = "main", head_path: Path | None = None) -> None:
        self._engine = engine
        self._writer = writer
        self._head_path = head_path
        make_tables(engine, _METADATA)

    @staticmethod
    def is_begun(engine: Engine) -> bool:
        """Whether the database holds an act of any writer; unlike opening the log, asking makes no table."""
        if not inspect(engine).has_table(_LOG.name):
            return False
        with engine.connect() as connection:
            return connection.execute(select(_LOG.c.number).limit(1)).first() is not None

    def append(self, action: str, actor: str, **facts: str | int) -> int:
        """Write one act; returns its number (1, 2, …) in this writer's chain."""
        return self.append_all([(action, actor, facts)])

    def append_all(self, acts: Sequence[tuple[str, str, Mapping[str, str | int]]], *, keep_head: bool = True) -> int:
        """Write several acts, each action, actor and facts, in one transaction: all of them are there, or none.

        Parameters
        ----------
        acts : sequence of action, actor and facts
        keep_head : bool
            False for a writer that calls :meth:`keep_head` itself, soon and seldom; a head that lags behind lies on
            the chain all the same, and only what came after it could be cut unnoticed.

        Returns
        -------
        int
            Number of the last in this writer's chain.
        """
        for _, _, facts in acts:
            if wrong := [name for name, value in facts.items() if not isinstance(value, str | int)]:
                raise TypeError(f"audit facts must be text or whole numbers; not so: {', '.join(wrong)}")
        for _ in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    self._queue_up(connection)
                    number, prev_hash = self._head(connection)
                    rows = self._rows_after(number, prev_hash, acts)
                    connection.execute(insert(_LOG), rows)
            except IntegrityError:  # another process took the number; take the next
                continue
            if keep_head:
                self._keep_readable_head()
            return number + len(rows)
        raise Refusal(
            Fault("audit log", f"gave no free number in {_ATTEMPTS} attempts", "Give each process its own writer")
        )

    def _rows_after(
        self, number: int, prev_hash: str, acts: Sequence[tuple[str, str, Mapping[str, str | int]]]
    ) -> list[dict[str, Any]]:
        rows, at = [], datetime.now(UTC).isoformat(timespec="microseconds")
        for action, actor, facts in acts:
            number += 1
            row: dict[str, Any] = {
                "writer": self._writer,
                "number": number,
                "at": at,
                "action": action,
                "actor": actor,
                "facts": canonical_json(facts).decode("utf-8"),
            }
            row |= {"prev_hash": prev_hash, "hash": _chained(prev_hash, row)}
            prev_hash = row["hash"]
            rows.append(row)
        return rows

    def head(self) -> tuple[int, str]:
        """Number and hash of the last row: what to sign or keep elsewhere."""
        with self._engine.connect() as connection:
            return self._head(connection)

    def _head(self, connection: Connection) -> tuple[int, str]:
        last = select(_LOG.c.number, _LOG.c.hash).where(_LOG.c.writer == self._writer).order_by(_LOG.c.number.desc())
        row = connection.execute(last.limit(1)).first()
        return (0, _BEFORE_THE_FIRST) if row is None else (int(row.number), str(row.hash))

    def _queue_up(self, connection: Connection) -> None:
        """In PostgreSQL, wait until the other writers' transactions have ended; SQLite's begin so (BEGIN IMMEDIATE).

        Without it, many processes that write at once would take each other's number again and again.
        """
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK, func.hashtext(self._writer))))

    @property
    def writer(self) -> str:
        """Whose chain this is."""
        return self._writer

    def begun_at(self) -> datetime | None:
        """When the first row was written; None for an empty chain."""
        query = select(_LOG.c.at).where(_LOG.c.writer == self._writer).order_by(_LOG.c.number).limit(1)
        with self._engine.connect() as connection:
            first = connection.execute(query).scalar()
        return None if first is None else datetime.fromisoformat(first)

    def rows(self) -> list[dict[str, Any]]:
        """Every row of this writer, oldest first."""
        mine = select(_LOG).where(_LOG.c.writer == self._writer).order_by(_LOG.c.number)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(mine)]

    def rows_beyond(self, number: int, limit: int) -> list[dict[str, Any]]:
        """The rows of this writer that come after one, oldest first, and no more than ``limit`` of them."""
        mine = select(_LOG).where(_LOG.c.writer == self._writer, _LOG.c.number > number).order_by(_LOG.c.number)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(mine.limit(limit))]

    def rows_holding(self, words: Collection[str]) -> list[dict[str, Any]]:
        """The rows of this writer whose facts hold one of some texts anywhere, oldest first; the database looks."""
        if not words:
            return []
        held = or_(*(_LOG.c.facts.contains(word, autoescape=True) for word in sorted(words)))
        mine = select(_LOG).where(_LOG.c.writer == self._writer, held).order_by(_LOG.c.number)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(mine)]

    def facts_of(self, action: str) -> list[dict[str, Any]]:
        """The facts of every act of one kind by this writer, oldest first."""
        chosen = select(_LOG.c.facts).where(_LOG.c.writer == self._writer, _LOG.c.action == action)
        with self._engine.connect() as connection:
            return [json.loads(row.facts) for row in connection.execute(chosen.order_by(_LOG.c.number))]

    def verify(self) -> list[Fault]:
        """Every place where the chain does not hold; empty when it does."""
        faults = []
        kept, unreadable = self._kept_heads()  # before the rows: whoever appends meanwhile moves both on
        prev_hash, expected_number = _BEFORE_THE_FIRST, 1
        rows = self.rows()
        for row in rows:
            where = f"audit log {self._writer}, row {row['number']}"
            if row["number"] != expected_number:
                missing = f"{expected_number} to {row['number'] - 1}"
                faults.append(Fault(where, f"rows {missing} before it are missing", "Restore them from a backup"))
            elif row["prev_hash"] != prev_hash:
                faults.append(Fault(where, "does not follow the row before it", "Restore both from a backup"))
            if row["hash"] != _chained(row["prev_hash"], row):
                faults.append(Fault(where, "was changed after it was written", "Restore it from a backup"))
            prev_hash, expected_number = row["hash"], row["number"] + 1
        if self._head_path is not None:
            faults += [unreadable] if unreadable else self._faults_of_end(rows, kept.get(self._writer))
        return faults

    def _faults_of_end(self, rows: list[dict[str, Any]], kept: tuple[int, str] | None) -> list[Fault]:
        """Where the chain does not reach the head that was kept outside the database."""
        where = f"audit log {self._writer}"
        last = rows[-1]["number"] if rows else 0
        if kept is None:
            if not rows:
                return []
            mend = "Restore the file from a backup; the next act writes it anew"
            return [Fault(where, f"has {last} rows, but no head in {self._head_path}, so a cut is not noticed", mend)]
        number, digest = kept
        if number > last:
            missing = f"row {number}" if number == last + 1 else f"rows {last + 1} to {number}"
            return [Fault(where, f"{missing} at its end {'is' if number == last + 1 else 'are'} missing", _RESTORE)]
        if all((row["number"], row["hash"]) != (number, digest) for row in rows):
            return [Fault(f"{where}, row {number}", "is not the row that was once the last", _RESTORE)]
        return []

    def keep_head(self) -> None:
        """Move the head on to the last row, if the head that is kept still lies on the chain.

        A head beyond the chain, or beside it, stays as it is: it is the proof that rows were cut.

        Raises
        ------
        Refusal
            The file, or its lock, cannot be read or written. What is there stays as it is.
        """
        if self._head_path is None:
            return
        try:
            with _locked(self._head_path):
                heads, unreadable = self._kept_heads()
                number, digest = self.head()
                kept_number, kept_hash = heads.get(self._writer, (0, _BEFORE_THE_FIRST))
                if unreadable:
                    raise Refusal(unreadable)
                if number <= kept_number or self._hash_of(kept_number) != kept_hash:
                    return
                heads[self._writer] = (number, digest)
                content = {writer: {"number": n, "hash": h} for writer, (n, h) in heads.items()}
                write_whole(self._head_path, canonical_json(content))
        except OSError as error:
            wrong = f"cannot be written ({error.strerror}), though the act is in the log"
            raise Refusal(Fault(str(self._head_path), wrong, _WRITABLE)) from None

    def faults_of_writing(self) -> list[Fault]:
        """What would keep the next act out of the log, as far as reading can tell; empty where nothing does.

        Cheap, and it waits for nobody: files are opened, a database server is asked one thing, nothing is written.
        """
        faults = []
        if self._engine.dialect.name == "postgresql":
            with self._engine.connect() as connection:
                if connection.scalar(text("SHOW transaction_read_only")) == "on":
                    faults.append(Fault("audit log", "cannot be written: the database only reads", "Ask the primary"))
        elif (file := self._engine.url.database) and file != ":memory:" and not os.access(file, os.W_OK):
            faults.append(Fault("audit log", "cannot be written: its database is read-only", "Make it writable"))
        if self._head_path is None:
            return faults
        _, unreadable = self._kept_heads()
        faults += [unreadable] if unreadable else []
        try:
            with _locked(self._head_path, wait=False):
                pass
        except BlockingIOError:  # somebody writes just now, so it can be written
            pass
        except OSError as error:
            faults.append(Fault(f"{self._head_path}.lock", f"cannot be opened ({error.strerror})", _WRITABLE))
        if not os.access(self._head_path.parent, os.W_OK):
            faults.append(Fault(str(self._head_path), "cannot be written: its folder is read-only", _WRITABLE))
        return faults

    def _keep_readable_head(self) -> None:
        """Move the head on; one that cannot be read stays to be seen by :meth:`verify`, and the act counts."""
        if self._kept_heads()[1] is None:
            self.keep_head()

    def _kept_heads(self) -> tuple[dict[str, tuple[int, str]], Fault | None]:
        """Number and hash of each writer's last row as kept outside the database, or why they cannot be read."""
        if self._head_path is None:
            return {}, None
        try:
            content = json.loads(self._head_path.read_bytes())
            return {writer: (int(head["number"]), str(head["hash"])) for writer, head in content.items()}, None
        except FileNotFoundError:
            return {}, None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = f"cannot be read ({type(error).__name__}), so a cut is not noticed"
            return {}, Fault(str(self._head_path), wrong, _RESTORE)

    def _hash_of(self, number: int) -> str | None:
        """The hash of one row of this writer; None when it is not there."""
        if number == 0:
            return _BEFORE_THE_FIRST
        chosen = select(_LOG.c.hash).where(_LOG.c.writer == self._writer, _LOG.c.number == number)
        with self._engine.connect() as connection:
            found = connection.execute(chosen).scalar()
        return None if found is None else str(found)


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """One process and one thread at a time, by a lock file beside ``path``; BlockingIOError where none shall wait."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _chained(prev_hash: str, row: dict[str, Any]) -> str:
    content = {name: row[name] for name in ("writer", "number", "at", "action", "actor", "facts")}
    return sha256(prev_hash.encode("ascii") + b"|" + canonical_json(content))
