"""Looking at the SQLite file of a store before anything opens it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ethics.refusals import Fault, NotTrusted

_BUSY_SECONDS = 30


def file_of(uri: str) -> Path | None:
    """The file of an SQLAlchemy address; None for any other database than SQLite, or one in memory."""
    from sqlalchemy.engine import make_url

    url = make_url(uri) if uri.startswith("sqlite") else None
    if url is None or not url.database or url.database.startswith((":memory:", "file:")):
        return None
    return Path(url.database).absolute()


def is_built(file: Path) -> bool:
    """Whether a SQLite file holds anything. Raises NotTrusted if it is damaged, or locked for too long."""
    if not file.exists():
        return False
    try:
        # Not read-only: what a writer that was killed left half-written has to be taken back first.
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)) as database:
            said = database.execute("PRAGMA quick_check(1)").fetchone()
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:  # e.g. locked for too long
        mend = "Try again; if that does not help, restore it from the backup"
        raise NotTrusted(Fault(str(file), f"cannot be opened: {error}", mend)) from None
    except sqlite3.DatabaseError:
        said, tables = ("damaged",), (0,)
    if said != ("ok",):
        mend = "Restore it from the backup; the models themselves are in the folder of artefacts"
        raise NotTrusted(Fault(str(file), "is damaged: SQLite cannot read it", mend))
    return bool(tables[0])
