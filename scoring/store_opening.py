"""Opening the store's database: one writer at a time, the schema brought up to date, keys that fit, bulk rows."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, insert, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite

from ethics.refusals import Fault, NotTrusted
from scoring.store_tables import HEAD, KEYS, VERSION_TABLE


@dataclass(frozen=True)
class Schema:
    """Tables that belong together, and the steps that bring a database to them.

    Attributes
    ----------
    what : str
        What refusals call the tables.
    folder : Path
        The steps, one a file.
    head : str
        The step that makes the tables as the code expects them.
    version_table : str
        Where a database keeps which step it has reached.
    """

    what: str
    folder: Path
    head: str
    version_table: str


STORE = Schema("the store's tables", Path(__file__).parent / "migrations", HEAD, VERSION_TABLE)
_ADVISORY_LOCK = 0x656E6E616B6B6F  # "ennakko"; any number that no other program in the database takes


@contextmanager
def writing(engine: Engine | Connection, *, alone: bool = False) -> Iterator[Connection]:
    """One transaction that writes: all of it is kept, or nothing.

    SQLite has one writer at a time, from the start (a transaction that reads first and writes later could fail midway).
    In PostgreSQL writers run side by side; ``alone`` waits for the others and keeps them out, for erasure and
    migration. Of a connection, its own transaction goes on: what is written is kept or taken back with the rest of it.
    """
    if isinstance(engine, Connection):
        with engine.begin_nested():
            yield engine
        return
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            if not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            connection.exec_driver_sql("PRAGMA cache_size = -65536")  # 64 MiB: a whole city's people in random order
        else:
            lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
            connection.execute(select(lock(_ADVISORY_LOCK)))
        yield connection


@contextmanager
def reading(engine: Engine | Connection) -> Iterator[Connection]:
    """One transaction that reads what was there when it began, and waits for no writer; of a connection, its own."""
    if isinstance(engine, Connection):
        yield engine
        return
    with engine.connect().execution_options(reads_only=True) as connection:
        yield connection


def migrate(engine: Engine, schema: Schema = STORE) -> None:
    """Bring tables to the version of the code, once, however many begin at the same time.

    Parameters
    ----------
    engine : sqlalchemy.Engine
    schema : Schema
        Which tables; the store's unless others are named.

    Raises
    ------
    NotTrusted
        A later version of Ennakko made the tables.
    """
    with reading(engine) as connection:
        if _version(connection, schema) == schema.head:
            return
    with writing(engine, alone=True) as connection:
        version = _version(connection, schema)
        if version == schema.head:  # another process was first
            return
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        script = ScriptDirectory(str(schema.folder), version_locations=[str(schema.folder)])
        known = {step.revision for step in script.walk_revisions()}
        if version is not None and version not in known:
            known_to = f"this Ennakko knows versions up to {schema.head}"
            wrong = f"has version {version}, and {known_to}: a later one has used it"
            mend = "Use the later Ennakko, or restore the database from a backup made before"
            raise NotTrusted(Fault(schema.what, wrong, mend))
        options = {
            "version_table": schema.version_table,
            "fn": lambda revision, _context: script._upgrade_revs(schema.head, revision),
        }
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):
            context.run_migrations()


def is_begun(engine: Engine) -> bool:
    """Whether the database holds a store that was begun with some keys."""
    with reading(engine) as connection:
        if not inspect(connection).has_table(KEYS.name):
            return False
        return connection.scalar(select(func.count()).select_from(KEYS)) != 0


def check_keys(engine: Engine, keys: Mapping[str, bytes]) -> None:
    """Compare keys with those the store was begun with; an empty store is begun with these.

    Raises
    ------
    NotTrusted
        A key is another: nobody would be found again, and the erased would be listed.
    """
    own = {name: hmac.digest(key, f"ennakko: store key {name}".encode(), "sha256").hex() for name, key in keys.items()}
    with reading(engine) as connection:
        begun_with = _kept_checks(connection)
    if begun_with.keys() != own.keys():
        with writing(engine, alone=True) as connection:
            begun_with = _kept_checks(connection)
            if not begun_with:
                connection.execute(insert(KEYS), [{"name": name, "check_value": own[name]} for name in own])
                begun_with = own
    faults = [
        Fault(
            f"{name} key",
            "is not the key this store was begun with, so nobody in it would be found, nor the erased be masked",
            f"Restore secrets/{name}.key from the backup",
        )
        for name, check in own.items()
        if not hmac.compare_digest(check, begun_with.get(name, ""))
    ]
    if faults:
        raise NotTrusted(*faults)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add the rows whose key is not there yet; returns how many those were.

    Give rows in order of their key: two writers in PostgreSQL would otherwise wait for each other crosswise.
    """
    if not rows:
        return 0
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).on_conflict_do_nothing().returning(*table.primary_key.columns)
    return len(connection.execute(statement, list(rows)).all())


def add_many(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add many rows by the fastest door there is: a prepared statement in SQLite, COPY in PostgreSQL."""
    names = ", ".join(columns)
    cursor = connection.connection.cursor()
    try:
        if connection.dialect.name == "sqlite":
            cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)
            return
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    finally:
        cursor.close()


def clear_free_space(engine: Engine, tables: Sequence[Table]) -> bool:
    """Rewrite what may hold copies of deleted rows; False when others kept the database busy.

    SQLite overwrites what is deleted (``secure_delete``), but a page that was once split may keep a copy of a row that
    moved, and the write-ahead log keeps older pages; PostgreSQL keeps dead rows until a table is rewritten.
    """
    from sqlalchemy.exc import OperationalError

    is_sqlite = engine.dialect.name == "sqlite"
    if is_sqlite and engine.url.database in (None, "", ":memory:"):
        return True
    try:
        if not is_sqlite:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.detach()  # nobody else shall get a connection that waits as long as it takes
                connection.execute(text("SET statement_timeout = 0"))
                for table in tables:
                    connection.execute(text(f"VACUUM (FULL) {table.name}"))
            return True
        raw = engine.raw_connection()  # no transaction: VACUUM runs outside one
        try:
            connection_ = raw.dbapi_connection
            connection_.execute("PRAGMA secure_delete = ON")  # type: ignore[union-attr]
            connection_.execute("VACUUM")  # type: ignore[union-attr]
            busy, _, _ = connection_.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # type: ignore[union-attr]
            return not busy
        finally:
            raw.close()
    except OperationalError:
        return False
    except Exception as error:  # what SQLite raises when asked without SQLAlchemy
        if "locked" in str(error) or "busy" in str(error):
            return False
        raise


def in_chunks(values: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """Parts short enough for the placeholders of one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _version(connection: Connection, schema: Schema) -> str | None:
    if not inspect(connection).has_table(schema.version_table):
        return None
    version = connection.scalar(text(f"SELECT version_num FROM {schema.version_table}"))
    return None if version is None else str(version)


def _kept_checks(connection: Connection) -> dict[str, str]:
    return {row.name: row.check_value for row in connection.execute(select(KEYS))}
