"""Files that are there whole or not at all, readable by their owner alone."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ethics.refusals import BadInput, Fault


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: a kill at any instant leaves what was there before, or all of the new.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "new" / "key.pem"
    ...     write_whole(path, b"secret")
    ...     path.read_bytes(), oct(path.stat().st_mode & 0o777)
    (b'secret', '0o600')
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to fill, for content that is long in the making; it appears at ``path`` whole, or not at all.

    The draft has one name for each target, ``.<name>.draft`` beside it: what a killed process left there is the next
    one's to begin anew, so that none stays for good.

    Raises
    ------
    BadInput
        Another process, or another thread, is writing the same file.
    """
    draft = path.with_name(f".{path.name}.draft")
    with os.fdopen(_locked_draft(draft, path), "wb") as file:
        # The lock is held until the draft has its name or is gone, so that nobody touches another's.
        try:
            os.fchmod(file.fileno(), 0o600)  # one that was there already may be readable by others
            os.ftruncate(file.fileno(), 0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _locked_draft(draft: Path, path: Path) -> int:
    """The draft, open and locked; the lock ends with its holder, even a killed one."""
    while True:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(draft, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            wrong = "is being written by another process"
            raise BadInput(Fault(str(path), wrong, "Wait until it ends, or give another path")) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # between open and lock its holder finished: the name means another file now


def _is_still(draft: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(draft.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
