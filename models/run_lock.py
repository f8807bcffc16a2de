"""Whether the process that began something still lives, told by a lock that ends with its holder, even a killed one."""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def held(folder: Path) -> Iterator[str]:
    """Hold a lock of a new name in a folder while the block lasts; yields the name (32 hexadecimal digits)."""
    name = uuid.uuid4().hex
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def taken(folder: Path, name: str) -> Iterator[bool]:
    """Whether nobody holds the lock of a name any more; if so it is ours while the block lasts, and gone after it.

    Parameters
    ----------
    folder : Path
    name : str
        As :func:`held` gave it; a lock whose file is gone is held by nobody.
    """
    path = folder / name
    lock: IO[bytes] | None = None
    try:
        lock = path.open("ab") if path.exists() else None
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        assert lock is not None
        lock.close()
        yield False
        return
    try:
        yield True
    finally:
        if lock is not None:
            path.unlink(missing_ok=True)
            lock.close()


def abandoned(folder: Path, locks: Path, holder_of: Callable[[str], str]) -> tuple[Path, ...]:
    """Remove the folders ``.<what>.<anything>`` whose maker is dead; returns them.

    Parameters
    ----------
    folder : Path
        Where the drafts lie.
    locks : Path
        The folder of :func:`held`.
    holder_of : callable
        What a draft is of → the name of its maker's lock; empty if that is not known, and the draft is left alone.
    """
    cleared = []
    for draft in sorted(folder.glob(".*.*")):
        what = draft.name.split(".")[1]
        holder = holder_of(what) if what.isalnum() and draft.is_dir() else ""
        if not holder.isalnum():
            continue
        with taken(locks, holder) as is_dead:
            if is_dead:
                shutil.rmtree(draft, ignore_errors=True)
                cleared.append(draft)
    return tuple(cleared)
