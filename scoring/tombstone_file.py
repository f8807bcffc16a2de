"""The tombstones beside the database: keyed hashes alone, so that a restored backup forgets whom it should."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ethics.refusals import BadInput, Fault, NotTrusted

_MARK = re.compile(r"[0-9a-f]{64}")
_CUT_SHORT = re.compile(r"[0-9a-f]{0,63}")


class TombstoneFile:
    """A file to which lines are only ever added: one HMAC(tombstone key, person_id) each.

    Parameters
    ----------
    path : Path
        Made at the first erasure. Back it up apart from the database, and never restore an older one over it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def marks(self) -> frozenset[str]:
        """Every tombstone in the file; empty when there is none.

        Raises
        ------
        NotTrusted
            A line is no tombstone: somebody erased could come back unnoticed.
        """
        try:
            lines = self._path.read_text("ascii").split("\n")
        except FileNotFoundError:
            return frozenset()
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(f"cannot be read ({type(error).__name__})") from None
        # A line cut short by a crash belongs to an erasure that was never confirmed.
        wrong = [n for n, line in enumerate(lines, 1) if not (_MARK.fullmatch(line) or _CUT_SHORT.fullmatch(line))]
        if wrong:
            raise self._damaged(f"has a line that is no tombstone (line {wrong[0]})")
        return frozenset(line for line in lines if _MARK.fullmatch(line))

    def add(self, marks: Sequence[str]) -> None:
        """Add tombstones, on the disk before this returns; those that are there are not added again."""
        new = [mark for mark in marks if mark not in self.marks()] if marks else []
        if not new:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                size = os.fstat(handle).st_size
                begins_anew = size == 0 or os.pread(handle, 1, size - 1) == b"\n"
                os.write(handle, (("" if begins_anew else "\n") + "".join(f"{mark}\n" for mark in new)).encode("ascii"))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            wrong = f"cannot be written ({error.strerror}), so nobody was erased"
            raise BadInput(Fault(str(self._path), wrong, "Make the file and its folder writable")) from None

    def _damaged(self, wrong: str) -> NotTrusted:
        mend = "Restore it from its newest backup; who was erased would otherwise come back"
        return NotTrusted(Fault(str(self._path), wrong, mend))
