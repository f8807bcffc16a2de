"""Who objects, and who was erased: asked before every answer, on one connection that is kept open."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.home import Home

_BUSY_SECONDS = 0.2
_LOOK_SECONDS = 0.1


class KeptLook:
    """Looks into a home's SQLite database without the price of a connection for each look.

    Every look sees what was committed before it. A database in PostgreSQL is asked otherwise, in a thread, since its
    answer may have to be waited for.

    Parameters
    ----------
    home : Home
    """

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

    @classmethod
    def of(cls, home: Home) -> KeptLook | None:
        """The look of a home; None where its database is no SQLite file."""
        return cls(home) if home.settings.database.startswith("sqlite:///") else None

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
        objects, of_objection = self._home.objections.question()
        if not store_begun:
            return f"SELECT {objects}", of_objection
        erased, mark_of = self._home.store.erased_question()

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
