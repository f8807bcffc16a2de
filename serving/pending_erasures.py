"""Erasures that were asked for through Helsinki Profile and have not come to their end: whoever asked is not forgotten.

Once the store has forgotten a person, no link leads to them any more, though their files may still be there. Until all
of it is done, a file in the home says whom the profile meant; it goes last. It is written only once an erasure really
begins, and never says who somebody is: that is the link's to say, for as long as the store knows the person.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from ethics.whole_file import write_whole

_NAME = re.compile(r"[0-9a-f]{64}\.json")
_LOG = logging.getLogger("ennakko.gdpr")


class PendingErasures:
    """One file for each profile whose erasure has begun; named by the profile's keyed hash.

    Parameters
    ----------
    folder : Path
        Made at the first erasure.

    Examples
    --------
    >>> import tempfile
    >>> pending = PendingErasures(Path(tempfile.mkdtemp()) / "asked")
    >>> pending.begin(b"x" * 32, "000123")
    >>> pending.person_of(b"x" * 32), [person for _, person in pending.all()]
    ('000123', ['000123'])
    >>> pending.end(b"x" * 32)
    >>> pending.person_of(b"x" * 32) is None
    True
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, mark: bytes, person_id: str) -> None:
        """Remember whom a profile meant, on the disk before anything is erased."""
        write_whole(self._path(mark), json.dumps(person_id).encode("utf-8"))

    def end(self, mark: bytes) -> None:
        """The erasure came to its end, or was refused."""
        self._path(mark).unlink(missing_ok=True)

    def person_of(self, mark: bytes) -> str | None:
        """Whom a profile meant whose erasure has begun and not ended."""
        try:
            person_id = json.loads(self._path(mark).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return person_id if isinstance(person_id, str) else None

    def all(self) -> Iterator[tuple[bytes, str]]:
        """Every erasure that has begun and not ended: the profile's keyed hash, and the person."""
        names = sorted(path.name for path in self._folder.glob("*.json") if _NAME.fullmatch(path.name))
        for mark in (bytes.fromhex(name.removesuffix(".json")) for name in names):
            if (person_id := self.person_of(mark)) is None:
                _LOG.error("an erasure that was asked for cannot be read; ask the resident to ask again")
            else:
                yield mark, person_id

    def _path(self, mark: bytes) -> Path:
        return self._folder / f"{mark.hex()}.json"


def pending_in(root: Path) -> PendingErasures:
    """Those of the home that lies at ``root``."""
    return PendingErasures(root / "erasures-asked")
