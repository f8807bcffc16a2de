"""The champions in use: verified when opened, and looked at again before every answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING

from ethics.refusals import Fault, NotTrusted, Refusal
from scoring.scorer import Scorer

if TYPE_CHECKING:
    from serving.approval import Champion

_LOOK_SECONDS = 0.1
_Stamp = tuple[int, int, int] | None
"""What a file looked like when it was verified; if any of it changes the file is read and hashed again."""


def _stamp_of(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  -- before every answer, for a dozen files
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Guarded:
    """One need's champion: verified when it is opened, and looked at again before every answer.

    Parameters
    ----------
    opener : callable
        Opens and verifies the champion from its files; raises when anything is not as it was sealed.
    """

    def __init__(self, opener: Callable[[], Champion]) -> None:
        self._opener = opener
        self._lock = Lock()
        self._stamps: dict[str, _Stamp] = {}
        self._looked_until = 0.0
        self._open()

    def _open(self) -> None:
        self._stamps = {}  # until it is verified again, nothing is
        champion = self._opener()
        scorer = Scorer(champion.verified, champion.model, champion.tie_secret)
        self.champion, self.scorer = champion, scorer
        watched = {champion.artefact_folder, *champion.artefact_folder.iterdir(), *champion.watched}
        self._stamps = {str(path): _stamp_of(str(path)) for path in sorted(watched)}

    def still_trusted(self, now: datetime) -> Scorer:
        """The scorer, if the stop switch is not set, the verdict is in date, and no file has changed unverified.

        Raises
        ------
        Refusal
            Why no score may leave now.
        """
        with self._lock:
            if self.champion.stop_switch.is_set():
                raise NotTrusted(Fault("stop switch", "is set, so no score leaves", "Ask the service owner"))
            if not self._unchanged():
                self._open()
            expires_at = self.champion.verified.verdict.expires_at
            if now >= expires_at:
                wrong = f"expired at {expires_at.isoformat(timespec='seconds')}"
                raise NotTrusted(Fault("verdict", wrong, "Judge, sign and approve the model again"))
            return self.scorer

    def if_unchanged(self, now: datetime) -> Scorer | None:
        """The scorer, where nothing needs to be read again to trust it; None says that :meth:`still_trusted` decides.

        Never waits, so the event loop may ask. The stop switch and the expiry are looked at each time, the files ten
        times a second.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            champion, moment = self.champion, time.monotonic()
            if moment >= self._looked_until:
                if not self._unchanged():
                    return None
                self._looked_until = moment + _LOOK_SECONDS
            in_date = now < champion.verified.verdict.expires_at
            return self.scorer if in_date and not champion.stop_switch.is_set() else None
        finally:
            self._lock.release()

    def may_score(self, now: datetime) -> bool:
        """Whether a score may leave now."""
        try:
            self.still_trusted(now)
        except Refusal:
            return False
        return True

    def _unchanged(self) -> bool:
        return bool(self._stamps) and all(_stamp_of(path) == stamp for path, stamp in self._stamps.items())
