"""Who objects, and who was erased: asked before every answer, on connections that are kept open."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from serving.settings import PATIENCE

if TYPE_CHECKING:
    from serving.home import Home

LOOK_MILLISECONDS = 5000
_BUSY_SECONDS = 0.2
_LOOK_SECONDS = 0.1


class KeptLook:
    """Looks into a home's SQLite database without the price of a connection for each look.

    Every look sees what was committed before it.

    Parameters
    ----------
    home : Home
    """

    waits = False
    """Whether the event loop would have to wait for an answer."""

    def __init__(self, home: Home) -> None:
        self._home, self._lock = home, Lock()
        self._path = home.settings.database.removeprefix("sqlite:///")
        self._opened, self._asks_of_store = -1, False
        self._people_key = str(home.settings.secret_path("people"))
        self._connection: Any = None
        self._looked_until = 0.0
        self._sql = ""
        self._parameters: Callable[[str, str], tuple[str, ...]] = lambda _person, _need: ()
        self._seen = -1
        self._state = ""

    def masked(self, person_id: str, need_id: str) -> bool:
        """Whether a person objects to a need, or was erased.

        Raises
        ------
        OSError, sqlite3.Error
            The database does not answer now; it is opened anew at the next look.
        """
        with self._lock:
            self._open_if_another()
            try:
                asked = self._connection.execute(self._sql, self._parameters(person_id, need_id))
                return bool(asked.fetchone()[0])
            except sqlite3.Error:
                self._close()
                raise

    def state(self) -> str:
        """A digest of all objections and erasures: another one means that somebody objected, withdrew or was erased."""
        with self._lock:
            self._open_if_another()
            try:
                seen = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if seen != self._seen:
                    self._state, self._seen = _digest_of_all(self._connection), seen
                return self._state
            except sqlite3.Error:
                self._close()
                raise

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._seen = None, -1

    def _open_if_another(self) -> None:
        """Open the database, also when another file has come in its place (a backup was restored) or a store began.

        Looked at ten times a second.
        """
        now = time.monotonic()
        if now < self._looked_until and self._connection is not None:
            return
        inode = os.stat(self._path).st_ino  # noqa: PTH116
        if inode != self._opened or self._connection is None:
            self._close()
            # In autocommit, and only to read; several threads may use it in turn.
            connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            connection.execute("PRAGMA query_only = 1")
            self._connection, self._opened, self._sql = connection, inode, ""
        if not self._sql or (not self._asks_of_store and self._store_begun()):
            self._asks_of_store = self._store_begun()
            self._sql, self._parameters = self._question(self._asks_of_store)
        self._looked_until = now + _LOOK_SECONDS

    def _store_begun(self) -> bool:
        """As :attr:`serving.home.Home.is_store_begun`, for less."""
        begun = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'store_keys')"
        return os.path.exists(self._people_key) or bool(self._connection.execute(begun).fetchone()[0])  # noqa: PTH110

    def _question(self, store_begun: bool) -> tuple[str, Callable[[str, str], tuple[str, ...]]]:
        return _question(self._home, store_begun)


def _question(home: Home, store_begun: bool) -> tuple[str, Callable[[str, str], tuple[str, ...]]]:
    """SQL with question marks that says whether somebody is masked, and what stands for them."""
    objects, of_objection = home.objections.question()
    if not store_begun:
        return f"SELECT {objects}", of_objection
    erased, mark_of = home.store.erased_question()

    def of_both(person_id: str, need_id: str) -> tuple[str, ...]:
        return *of_objection(person_id, need_id), mark_of(person_id)

    return f"SELECT {objects} OR {erased}", of_both


def _digest_of_all(connection: Any) -> str:
    digest = hashlib.sha256()
    for row in connection.execute("SELECT person_hmac, need_id FROM objections ORDER BY 1, 2"):
        digest.update("|".join(row).encode("utf-8"))
    for row in connection.execute("SELECT person_hmac, need_id, channel FROM channel_objections ORDER BY 1, 2, 3"):
        digest.update(f"|{'|'.join(row)}".encode())
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store_tombstones'").fetchone():
        for (mark,) in connection.execute("SELECT mark FROM store_tombstones ORDER BY 1"):
            digest.update(f"|{mark}".encode())
    return digest.hexdigest()


class PostgresLook:
    """Looks into a home's PostgreSQL database: a connection for each thread that asks, kept, and one query a look.

    Every look sees what was committed before it. A connection that is lost is opened anew once; while that fails, the
    look fails within seconds.

    Parameters
    ----------
    home : Home
    """

    waits = True

    def __init__(self, home: Home) -> None:
        self._home, self._own, self._lock = home, threading.local(), Lock()
        self._all: list[Any] = []
        self._asks_of_store = False
        self._looked_until = 0.0
        self._sql = ""
        self._parameters: Callable[[str, str], tuple[str, ...]] = lambda _person, _need: ()

    def masked(self, person_id: str, need_id: str) -> bool:
        """Whether a person objects to a need, or was erased; raises ConnectionError while nobody can tell."""
        self._learn_question()
        return bool(self._asked(self._sql, self._parameters(person_id, need_id))[0])

    def state(self) -> str:
        """What is another whenever somebody objects, withdraws or is erased; raises ConnectionError."""
        self._learn_question()
        erased = "(SELECT count(*) FROM store_tombstones)" if self._asks_of_store else "0"
        acts = "(SELECT coalesce(max(number), 0) FROM objection_acts), (SELECT count(*) FROM objections)"
        return "|".join(map(str, self._asked(f"SELECT {acts}, {erased}", ())))

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    def _learn_question(self) -> None:
        """Ask of the erased too once a store has begun; looked at ten times a second until it has."""
        now = time.monotonic()
        if self._sql and (self._asks_of_store or now < self._looked_until):
            return
        begun = self._home.settings.secret_path("people").exists()
        begun = begun or self._asked("SELECT to_regclass('store_keys') IS NOT NULL", ())[0]
        sql, parameters = _question(self._home, begun)
        with self._lock:
            self._sql, self._parameters = sql.replace("?", "%s"), parameters
            self._asks_of_store, self._looked_until = begun, now + _LOOK_SECONDS

    def _asked(self, sql: str, parameters: tuple[str, ...]) -> Any:
        import psycopg

        kept = getattr(self._own, "connection", None)
        try:
            if kept is not None and not kept.closed:
                try:
                    return kept.execute(sql, parameters, prepare=True).fetchone()
                except psycopg.Error:
                    kept.close()
            self._own.connection = fresh = self._connected()
            return fresh.execute(sql, parameters, prepare=True).fetchone()
        except psycopg.Error as error:
            raise ConnectionError(f"the database does not answer ({type(error).__name__})") from None

    def _connected(self) -> Any:
        import psycopg

        engine = self._home.engine
        words, named = engine.dialect.create_connect_args(engine.url)
        connection = psycopg.connect(*words, **{**named, **PATIENCE}, autocommit=True)
        connection.execute(f"SET statement_timeout = {LOOK_MILLISECONDS}")
        with self._lock:
            self._all = [one for one in self._all if not one.closed] + [connection]
        return connection


def look_of(home: Home) -> KeptLook | PostgresLook:
    """The look of a home, by what its database is."""
    return KeptLook(home) if home.settings.database.startswith("sqlite:///") else PostgresLook(home)
