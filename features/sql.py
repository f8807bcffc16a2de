"""A city in a SQL database: the tables of contracts.md §1, read in chunks through any SQLAlchemy URL.

Only the columns that a city has are asked for, in one read-only transaction; audit groups and contacts are never
touched. No message holds a password, and none holds what a driver says of a cell.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, make_url

from ethics.refusals import Fault, parse_toml
from features.city_file import CityFile, columns_of
from features.door import DataError, Door, Source

_CHUNK_ROWS = 200_000
_CONNECT_SECONDS = 10
_NEEDED = ("persons", "events")
_COHORT = "cohorts_"
_NO_RIGHT = "42501"
"""PostgreSQL's SQLSTATE of an insufficient privilege."""
_UNREADABLE = (sa.exc.SQLAlchemyError, OSError, ValueError, OverflowError)
_HOW_URLS_LOOK = "Write it as dialect+driver://user@host/database, e.g. postgresql+psycopg://reader@localhost/city"


class Database(NamedTuple):
    """A database being read: its connection, the schema its tables are in, and its URL as messages may show it."""

    connection: Connection
    schema: str | None
    shown: str

    def has(self, table: str) -> bool:
        """Whether there is a table or view of that name."""
        return sa.inspect(self.connection).has_table(table, schema=self.schema)


def is_url(city: str | Path) -> bool:
    """Whether what stands for a city is a database URL and no path.

    >>> is_url("sqlite:///city.db"), is_url("var/city")
    (True, False)
    """
    return re.match(r"[A-Za-z][\w+.-]+:/", str(city)) is not None and not Path(city).is_dir()


def parse_url(text: str, beside: Path | None = None) -> URL:
    """A URL, whose relative SQLite file is looked for ``beside`` a folder; DataError that does not show it."""
    try:
        url = make_url(text)
    except (sa.exc.SQLAlchemyError, ValueError):
        raise DataError(Fault("the database URL", "cannot be read", _HOW_URLS_LOOK)) from None
    if url.get_backend_name() == "sqlite" and beside is not None and url.database:
        url = url.set(database=str(beside / url.database))
    return url


def shown_url(url: URL) -> str:
    """The URL without password and options.

    >>> shown_url(make_url("postgresql+psycopg://reader:secret@localhost/city?password=secret"))
    'postgresql+psycopg://reader:***@localhost/city'
    """
    return url.set(query={}).render_as_string(hide_password=True)


@contextmanager
def reading(url: URL, schema: str | None = None) -> Iterator[Database]:
    """One read-only transaction, in which every table is seen as it was when it began; DataError if unreachable."""
    connection = _connect(url)
    try:
        yield Database(connection, schema, shown_url(url))
    except _UNREADABLE as error:
        wrong = f"could not be read ({type(error).__name__})"
        raise DataError(Fault(shown_url(url), wrong, "Look at the database's log, and whether you may read")) from None
    finally:
        connection.close()
        connection.engine.dispose()


def _connect(url: URL) -> Connection:
    shown, options = shown_url(url), dict[str, Any]()
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not path.is_file():  # SQLite would make an empty file of it
            raise DataError(Fault(shown, "there is no such file", "Give the path of a SQLite database"))
        file = "file:" + quote(str(path.resolve()))
        url = url.set(database=file, query={"mode": "ro", "uri": "true"})
    if url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query:
        options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
    try:
        connection = sa.create_engine(url, poolclass=sa.NullPool, **options).connect()
        if url.get_backend_name() == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        if url.get_backend_name() == "sqlite":
            connection.exec_driver_sql("BEGIN")
        return connection
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError):
        wrong, mend = f"there is no driver '{url.drivername}' here", "Install the driver that the URL names"
        if url.drivername == "postgresql+psycopg":
            mend = "Install it: pip install 'psycopg[binary]'"
        elif url.get_backend_name() == "postgresql":
            mend = "Begin the URL with postgresql+psycopg://, or install that driver"
    except (sa.exc.SQLAlchemyError, TypeError, ValueError, OSError) as error:
        wrong = f"cannot be reached ({_said(error, url)})"
        mend = "See that the server runs, the database exists and you may read it; a password belongs in ~/.pgpass"
    raise DataError(Fault(shown, wrong, mend))


def _said(error: Exception, url: URL) -> str:
    """What a driver says of a connection, in one line and without any secret of the URL."""
    text = str(getattr(error, "orig", None) or type(error).__name__).strip().partition("\n")[0].rstrip(" .:")
    values = [value for values in url.query.values() for value in ([values] if isinstance(values, str) else values)]
    for secret in filter(None, (url.password, *values)):
        text = text.replace(str(secret), "***")
    return text


# -- settings


def read_settings(database: Database) -> CityFile:
    """What the optional table ``city`` says as rows (key, value), as city.toml does: ``persons.fixed``, ``["x"]``.

    A value that is no TOML value is a text, so that texts need no quotes.
    """
    if not database.has("city"):
        return CityFile()
    where = f"{database.shown}: table city"
    columns = {column["name"] for column in sa.inspect(database.connection).get_columns("city", database.schema)}
    if missing := {"key", "value"} - columns:
        raise DataError(Fault(where, f"has no column '{min(missing)}'", "Give it the columns key and value"))
    table = sa.table("city", sa.column("key"), sa.column("value"), schema=database.schema)
    try:
        rows = [(str(row.key), str(row.value)) for row in database.connection.execute(sa.select(table))]
    except sa.exc.SQLAlchemyError as error:
        raise DataError(Fault(where, *_why_unread(error))) from None
    if any(re.match(r"\s*['\"]?sql\b", key) for key, _ in rows):
        raise DataError(Fault(where, "has the key sql", "Take it out; a database does not name another"))
    text = "\n".join(f"{key} = {_toml_value(value)}" for key, value in sorted(rows))
    return parse_toml(text.encode(), where, CityFile, DataError)


def _toml_value(value: str) -> str:
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return json.dumps(value)
    return value


# -- tables


def read_tables(door: Door, database: Database) -> dict[str, list[Source]]:
    """The tables of the city, and faults for those missing or unreadable; those named ``cohorts_…`` are cohorts."""
    sources: dict[str, list[Source]] = {}
    for table in ("persons", "events", "history", "units", "codes"):
        if database.has(table):
            sources[table] = _read(door, database, table, table)
        elif table in _NEEDED:
            door.fault(database.shown, f"has no table '{table}'", "Make the table, or a view of that name")
    inspector = sa.inspect(database.connection)
    names = {*inspector.get_table_names(database.schema), *inspector.get_view_names(database.schema)}
    if database.connection.dialect.name == "postgresql":
        names |= {*inspector.get_materialized_view_names(database.schema)}
    found = [_read(door, database, name, "cohorts") for name in sorted(names) if name.startswith(_COHORT)]
    sources["cohorts"] = [source for sources_of_one in found for source in sources_of_one]
    return sources


def cohort_name(source: Source) -> str:
    """The name of a cohort whose table is ``cohorts_<name>``."""
    return source.label.removeprefix(_COHORT)


def _read(door: Door, database: Database, name: str, table: str) -> list[Source]:
    """One table as a frame; without rows where columns are missing, so that the door can say which."""
    needed, optional = columns_of(table, door.settings.persons.fixed)
    theirs = door.settings.columns.get(table, {})
    kinds = {theirs.get(ours, ours): kind for ours, kind in {**needed, **optional}.items()}
    declared = {c["name"]: c["type"] for c in sa.inspect(database.connection).get_columns(name, database.schema)}
    is_loose = database.connection.dialect.name == "sqlite"  # its columns hold whatever was put into them
    forms = {column: _form(kinds.get(column, "text"), declared[column], is_loose) for column in declared}
    if any(theirs.get(ours, ours) not in declared for ours in (*needed, *theirs)):
        frame = pl.DataFrame(schema={column: form.dtype for column, form in forms.items()})
        return [Source(name, frame.lazy(), parses_text=True)]
    wanted = [column for column in declared if column in kinds]
    query: Any = sa.select(*map(sa.column, wanted)).select_from(sa.table(name, schema=database.schema))
    parts: list[dict[str, pl.Series]] = []
    try:
        result = database.connection.execution_options(stream_results=True, yield_per=_CHUNK_ROWS).execute(query)
        for rows in result.partitions():
            cells = zip(wanted, zip(*rows, strict=True), strict=True)
            parts.append({column: forms[column].series(column, values) for column, values in cells})
    except _WrongCellError as error:
        door.fault(name, *error.args)
        return []
    except _UNREADABLE as error:
        door.fault(name, *_why_unread(error))
        if isinstance(error, sa.exc.SQLAlchemyError):  # PostgreSQL answers nothing more in a transaction that failed
            database.connection.rollback()
        return []
    columns = [_together(column, [part[column] for part in parts], forms[column].dtype) for column in wanted]
    return [Source(name, pl.DataFrame(columns).lazy(), parses_text=True)]


def _why_unread(error: Exception) -> tuple[str, str]:
    """What is wrong with a table that a driver could not read, and how to mend it."""
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_RIGHT:
        return "may not be read by this user", "Grant the user of the URL the right SELECT on it"
    mend = "A cell may be out of range, such as the date 'infinity', or no UTF-8; look at it in the database"
    return f"cannot be read ({type(error).__name__})", mend


class _WrongCellError(Exception):
    """What is wrong with a column, and how to mend it."""


class _Form(NamedTuple):
    """How a column of a database becomes one of a frame; ``cell`` makes a cell of it that is not null."""

    dtype: pl.DataType
    cell: Callable[[Any], Any] | None = None

    def series(self, column: str, values: Sequence[Any]) -> pl.Series:
        try:
            if self.cell is not None:
                values = [None if value is None else self.cell(value) for value in values]
            return pl.Series(column, values, dtype=self.dtype, strict=True)
        except _WrongCellError as error:
            raise _WrongCellError(f"column '{column}' {error.args[0]}", error.args[1]) from None
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            if self.dtype == pl.Float64 and self.cell is None:  # numbers as text, or a text among numbers
                return _Form(pl.String(), _text_of_number).series(column, values)
            wrong = f"column '{column}' holds cells that do not fit its type"
            raise _WrongCellError(wrong, "Mend them, or read the table through a view that does") from None


def _form(kind: str, declared: Any, is_loose: bool) -> _Form:
    """The form of a column that holds a ``kind`` of ours, by what the database says of it."""
    if is_loose:
        return _Form(pl.Float64()) if kind == "number" else _Form(pl.String(), _text_of_loose)
    if isinstance(declared, sa.Boolean):
        return _Form(pl.Boolean())
    if isinstance(declared, sa.Integer):
        return _Form(pl.Int64())
    if isinstance(declared, sa.Float):
        return _Form(pl.Float64())
    if isinstance(declared, sa.Numeric):
        return _Form(pl.Float64(), float) if kind == "number" else _Form(pl.String(), _text_of_whole)
    if isinstance(declared, sa.DateTime):
        return _Form(pl.Datetime("us", "UTC"), _in_utc) if declared.timezone else _Form(pl.Datetime("us"))
    if isinstance(declared, sa.Date):
        return _Form(pl.Date())
    if isinstance(declared, sa.ARRAY):
        return _Form(pl.List(pl.String()))
    if isinstance(declared, sa.CHAR):  # padded to its length by the database
        return _Form(pl.String(), _without_padding)
    return _Form(pl.Binary()) if isinstance(declared, sa.LargeBinary) else _Form(pl.String(), str)


def _text_of_loose(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    wrong = "holds numbers with a fraction" if isinstance(value, float) else "holds bytes"
    raise _WrongCellError(wrong, "Store ids and codes as text or whole numbers, days and moments as text")


def _without_padding(value: Any) -> str:
    return str(value).rstrip(" ")


def _text_of_whole(value: Decimal) -> str:
    if value.is_finite() and value == value.to_integral_value():
        return format(value.to_integral_value(), "f")
    raise _WrongCellError("holds numbers with a fraction", "Store ids and codes as text or whole numbers")


def _text_of_number(value: Any) -> str:
    if isinstance(value, bytes):
        raise _WrongCellError("holds bytes", "Store numbers as numbers")
    return value if isinstance(value, str) else repr(value)


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _together(column: str, parts: Sequence[pl.Series], dtype: pl.DataType) -> pl.Series:
    """The chunks of a column; where some hold text, the others become text."""
    if not parts:
        return pl.Series(column, [], dtype=dtype)
    mixed = any(part.dtype != parts[0].dtype for part in parts)
    return pl.concat([part.cast(pl.String) if mixed else part for part in parts])
