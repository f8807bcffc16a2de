"""The champions in use: verified when opened, looked at again before every answer, followed when another is approved.

A newly approved model is opened and verified beside the one in use, which answers until the new one is whole. One that
does not verify is not passed over in favour of the old: its need answers nothing until that is mended, since whoever
approved it meant the old one to be used no more (fail closed).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ethics.refusal_ids import STOPPED
from ethics.refusals import Fault, NotTrusted, Refusal
from models.registry import RegistrySilent
from scoring.scorer import Scorer

if TYPE_CHECKING:
    from serving.approval import Champion

_LOG = logging.getLogger("ennakko.service")
_LOOK_SECONDS = 0.1
_REGISTRY_SECONDS = 0.4
_REFUSED_SECONDS = 0.5
_WAIT_SECONDS = 2.0
"""How long a question waits while another has the champion verified again."""
_PREPARE_SECONDS = 5.0
"""How long the champion in use may answer on while its successor is made ready."""
_MOST_FORMER = 4
_Stamp = tuple[int, ...] | None
"""What a file looked like when it was verified; if any of it changes the file is read and hashed again."""


def _stamp_of(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  -- before every answer, for a dozen files
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


class _Opened(NamedTuple):
    """A champion as it was verified: by what scores are made, and what must not change."""

    champion: Champion
    scorer: Scorer
    stamps: dict[str, _Stamp]
    pointer: Hashable

    @property
    def verdict_id(self) -> str:
        return str(self.champion.verified.verdict.verdict_id)

    def unchanged(self) -> bool:
        return all(_stamp_of(path) == stamp for path, stamp in self.stamps.items())


class Guarded:
    """One need's champion: verified when it is opened, and looked at again before every answer.

    Parameters
    ----------
    opener : callable
        Opens and verifies the approved champion from its files; raises when anything is not as it was sealed.
    pointer : callable, optional
        What is another whenever another champion is approved; looked at by :meth:`follow`. Raises where it cannot be
        told now.
    again : callable, optional
        Verifies the champion in use anew, without asking which is approved; by default as ``opener``.
    """

    def __init__(
        self,
        opener: Callable[[], Champion],
        pointer: Callable[[], Hashable] = lambda: None,
        again: Callable[[Champion], Champion] | None = None,
    ) -> None:
        self._opener, self._pointer = opener, pointer
        self._again = again or (lambda _champion: opener())
        self._lock = Lock()
        """Held for a moment only, never while a file is read; ``_verifying`` is held by the one that verifies."""
        self._verifying = Lock()
        self._looked_until = 0.0
        self._refusal: tuple[Refusal, float] | None = None
        self._unwanted: Refusal | None = None
        self._tried: tuple[Hashable, float] = (None, 0.0)
        self._now = self._opened(opener, pointer())
        self._former: OrderedDict[str, _Opened] = OrderedDict()

    @property
    def champion(self) -> Champion:
        """The champion in use, or the last that was."""
        return self._now.champion

    @property
    def scorer(self) -> Scorer:
        """By which it scores."""
        return self._now.scorer

    @staticmethod
    def _opened(opener: Callable[[], Champion], pointer: Hashable) -> _Opened:
        """A champion, verified now; ``pointer`` was read before, so a later approval is noticed."""
        try:
            champion = opener()
            scorer = Scorer(champion.verified, champion.model, champion.tie_secret)
        except Refusal:
            raise
        except Exception as error:  # a database that does not answer, a file that is cut short
            wrong = f"cannot be verified now ({type(error).__name__})"
            raise NotTrusted(Fault("champion", wrong, "Look at registry, database and disk")) from None
        watched = {champion.artefact_folder, *champion.artefact_folder.iterdir(), *champion.watched}
        stamps = {str(path): _stamp_of(str(path)) for path in sorted(watched)}
        return _Opened(champion, scorer, stamps, pointer)

    # ---- before an answer ----------------------------------------------------------------------------------------

    def still_trusted(self, now: datetime) -> Scorer:
        """The scorer, if the stop switch is not set, all is in date, and no file has changed unverified.

        Raises
        ------
        Refusal
            Why no score may leave now; each fault has the id of its reason, where it has one.
        """
        _refuse_stopped(self._now)
        if self._unwanted is not None:
            raise self._unwanted
        opened = self._now if self._refusal is None and self._now.unchanged() else self._verified_again()
        _refuse_expired(opened, now)
        return opened.scorer

    def _verified_again(self) -> _Opened:
        """What changed on disk, opened anew by one; others wait for it, but not for long.

        A refusal is repeated for a moment, not found out anew by every request.
        """
        self._repeat_refusal()
        if not self._verifying.acquire(timeout=_WAIT_SECONDS):
            raise NotTrusted(Fault("champion", "is being verified again", "Ask again in a moment"))
        try:
            self._repeat_refusal()
            before = self._now
            if self._refusal is None and before.unchanged():
                return before  # somebody else had it verified meanwhile
            try:
                opened = self._opened(partial(self._again, before.champion), before.pointer)
            except Refusal as refusal:
                with self._lock:
                    if self._now is before:
                        self._refusal = refusal, time.monotonic() + _REFUSED_SECONDS
                raise
            with self._lock:
                if self._now is before:  # otherwise another took over
                    self._refusal = None
                    self._take(opened)
                return self._now
        finally:
            self._verifying.release()

    def _repeat_refusal(self) -> None:
        refusal = self._refusal
        if refusal is not None and time.monotonic() < refusal[1]:
            raise refusal[0]

    def if_unchanged(self, now: datetime) -> Scorer | None:
        """The scorer, where nothing needs to be read again to trust it; None says that :meth:`still_trusted` decides.

        Never waits, so the event loop may ask. The stop switch and the clock are looked at each time, the files ten
        times a second.
        """
        opened = self._now
        return opened.scorer if self._is_fresh(opened, now) else None

    def _is_fresh(self, opened: _Opened, now: datetime) -> bool:
        if self._unwanted is not None or self._refusal is not None:
            return False
        moment = time.monotonic()
        if moment >= self._looked_until:
            if not opened.unchanged():
                return False
            self._looked_until = moment + _LOOK_SECONDS
        return now < opened.champion.holds_until and not opened.champion.stop_switch.is_set()

    def may_score(self, now: datetime) -> bool:
        """Whether a score may leave now."""
        try:
            self.still_trusted(now)
        except Refusal:
            return False
        return True

    # ---- before an answer leaves ---------------------------------------------------------------------------------

    def still_holds(self, verdict_id: str, now: datetime) -> bool:
        """Whether what was made on the strength of a verdict may leave; False says that :meth:`require` decides.

        Never waits, as :meth:`if_unchanged`.
        """
        opened = self._now
        return opened.verdict_id == verdict_id and self._is_fresh(opened, now)

    def require(self, verdict_id: str, now: datetime) -> None:
        """Refuse what was made on the strength of a verdict that holds no more.

        An answer that was under way while another champion took over may leave, if nothing else has changed.

        Raises
        ------
        Refusal
            Why it may not.
        """
        self.still_trusted(now)
        with self._lock:
            opened = self._now if self._now.verdict_id == verdict_id else self._former.get(verdict_id)
        if opened is None or not opened.unchanged():
            wrong = f"{verdict_id} was replaced while an answer was made by it"
            raise NotTrusted(Fault("verdict", wrong, "Ask again"))
        _refuse_expired(opened, now)

    # ---- another approval ----------------------------------------------------------------------------------------

    def follow(self, prepare: Callable[[Scorer, Scorer], None] = lambda _old, _new: None) -> bool:
        """Take over the champion that is approved now, if it is another; True if it was taken over.

        Parameters
        ----------
        prepare : callable
            Called with the scorer in use and the new one before it answers; the old one answers meanwhile, for five
            seconds at most and while it is trusted. Whatever it raises keeps nothing back.

        Raises
        ------
        Exception
            Whatever kept the registry from telling which is approved, or where it lies. The champion in use, which is
            verified by its own files, goes on.
        """
        pointer, moment = self._pointer(), time.monotonic()
        if pointer == self._now.pointer:
            with self._lock:
                self._unwanted = None  # what was approved since was taken back
            return False
        if self._unwanted is not None and self._tried[0] == pointer and moment < self._tried[1]:
            return False
        try:
            opened = self._opened(self._opener, pointer)
        except RegistrySilent:
            raise
        except Refusal as refusal:
            faults = (Fault("approval", "is of a champion that cannot be used", "Mend it, or approve another"),)
            with self._lock:
                self._unwanted = NotTrusted(*faults, *refusal.faults)
                self._tried = pointer, moment + 1.0
            return False
        self._prepare(partial(prepare, self._now.scorer, opened.scorer))
        with self._lock:
            self._take(opened)
            self._unwanted = self._refusal = None
        return True

    def _prepare(self, prepare: Callable[[], None]) -> None:
        """Wait for what is made ready; no longer than the old one may answer, and never for its success."""

        def work() -> None:
            try:
                prepare()
            except Exception as error:
                _LOG.error("%s while a champion was made ready", type(error).__name__)

        maker = threading.Thread(target=work, name="champion made ready", daemon=True)
        maker.start()
        until = time.monotonic() + _PREPARE_SECONDS
        while maker.is_alive() and time.monotonic() < until and self._is_fresh(self._now, datetime.now(UTC)):
            maker.join(_LOOK_SECONDS)

    def _take(self, opened: _Opened) -> None:
        before, self._now = self._now, opened
        self._former.pop(opened.verdict_id, None)
        if before.verdict_id != opened.verdict_id:
            self._former[before.verdict_id] = before
            while len(self._former) > _MOST_FORMER:
                self._former.popitem(last=False)


def _refuse_stopped(opened: _Opened) -> None:
    if opened.champion.stop_switch.is_set():
        raise NotTrusted(Fault("stop switch", "is set, so no score leaves", "Ask the service owner", STOPPED))


def _refuse_expired(opened: _Opened, now: datetime) -> None:
    """Of verdict, keys and evidence table, all whose time is over; as a fresh verification would say."""
    over = [ending.fault for ending in opened.champion.endings if now >= ending.at]
    if over:
        raise NotTrusted(*over)


class ChampionWatch:
    """Looks twice a second, in threads of its own, whether another champion is approved, and if trust is lost or back.

    Two threads for each need: a registry that is slow, or a successor that is made ready, keeps no look at trust.

    Parameters
    ----------
    guarded : mapping of need id to Guarded
    prepare : callable
        See :meth:`Guarded.follow`.
    tell : callable
        Told of every change, as facts for the log.
    """

    def __init__(
        self,
        guarded: Mapping[str, Guarded],
        prepare: Callable[[Scorer, Scorer], None],
        tell: Callable[..., None],
    ) -> None:
        self._guarded, self._prepare, self._tell = dict(guarded), prepare, tell
        self._said: dict[str, tuple[str, ...]] = {}
        self._silent: set[str] = set()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=look, args=(need_id,), name=f"{what} {need_id}", daemon=True)
            for need_id in guarded
            for what, look in (("champion", self._watch), ("trust", self._watch_trust))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _watch(self, need_id: str) -> None:
        guarded = self._guarded[need_id]
        while not self._closed.wait(_REGISTRY_SECONDS):
            try:
                if guarded.follow(self._prepare):
                    verdict = guarded.champion.verified.verdict
                    digest = str(guarded.scorer.model.digest)
                    self._tell("champion taken over", need_id, verdict=verdict.verdict_id, model=digest)
                self._silent.discard(need_id)
            except Exception as error:
                if need_id not in self._silent:
                    self._silent.add(need_id)
                    _LOG.error("%s while the registry was asked for a champion", type(error).__name__)

    def _watch_trust(self, need_id: str) -> None:
        while not self._closed.wait(_REGISTRY_SECONDS):
            self._look_at_trust(need_id, self._guarded[need_id])

    def _look_at_trust(self, need_id: str, guarded: Guarded) -> None:
        """Say when trust is lost, and when it is back."""
        try:
            guarded.still_trusted(datetime.now(UTC))
            reasons: tuple[str, ...] = ()
        except Refusal as refusal:
            reasons = tuple(fault.code or fault.where for fault in refusal.faults)
        if reasons != self._said.get(need_id, ()):
            self._said[need_id] = reasons
            self._tell("trust lost" if reasons else "trusted again", need_id, reasons=" ".join(reasons) or None)
