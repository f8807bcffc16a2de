"""Who objects, and who was erased: asked before every answer, on one connection that is kept open."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.home import Home

_BUSY_SECONDS = 0.2


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
        self._inode = -1
        self._connection: Any = None
        self._objects: Callable[[str, str], bool] = lambda _person, _need: True
        self._erased: Callable[[str], bool] = lambda _person: True
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
                return self._objects(person_id, need_id) or self._erased(person_id)
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
        self._connection, self._inode, self._seen = None, -1, -1

    def _open_if_another(self) -> None:
        """Open the database, also when another file has come in its place: a backup was restored."""
        inode = os.stat(self._path).st_ino  # noqa: PTH116  -- a Path would cost as much as the look
        if inode == self._inode and self._connection is not None:
            return
        self._close()
        # In autocommit, and only to read; a second connection in one process may be used by several threads in turn.
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA query_only = 1")
        self._objects = self._home.objections.asker(connection)
        self._erased = self._home.erased_asker(connection)
        self._connection, self._inode = connection, inode


def _digest_of_all(connection: Any) -> str:
    digest = hashlib.sha256()
    for row in connection.execute("SELECT person_hmac, need_id FROM objections ORDER BY 1, 2"):
        digest.update("|".join(row).encode("utf-8"))
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store_tombstones'").fetchone():
        for (mark,) in connection.execute("SELECT mark FROM store_tombstones ORDER BY 1"):
            digest.update(f"|{mark}".encode())
    return digest.hexdigest()
