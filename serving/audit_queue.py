"""Acts on their way to the audit log: those that wait at a moment are written together, and each waits for its own.

One transaction serves all of them, so that a line on disk before every answer costs an answer little more than the wait
for the disk. The file of the chain's head follows four times a second.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ethics.refusals import Fault
from serving.exchange import Act

if TYPE_CHECKING:
    from serving.home import Home

_MOST_TOGETHER = 512
_MOST_REFS = 200_000
_REFS_PER_LINE = 500
_CLOSE_SECONDS = 10.0
_HEAD_SECONDS = 0.25
_FAILURE_SECONDS = 30.0


class _Waiting(NamedTuple):
    acts: Sequence[Act]
    who: Mapping[str, str]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class AuditQueue:
    """Writes acts from a thread of its own, as many together as wait.

    Parameters
    ----------
    home : Home
        Whose audit log, and whose references of persons: the log holds keyed hashes, never ids.
    in_city : callable, optional
        Whether the served city has a person; by default it has everybody. Of whoever it has not, and the store does
        not know either, the log says only how many they were (``not_in_city``): asking about somebody makes nobody.
    """

    def __init__(self, home: Home, in_city: Callable[[str], bool] = lambda _person: True) -> None:
        self._home, self._in_city = home, in_city
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._refs: OrderedDict[str, str] = OrderedDict()
        self._forgets = False
        self._thread: threading.Thread | None = None
        self._head_due = 0.0
        self._head_failure: Exception | None = None
        self._failed_at = float("-inf")

    async def keep(self, acts: Sequence[Act], who: Mapping[str, str]) -> None:
        """Return once the acts are on disk; raises what kept them from it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="audit log", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Waiting(acts, who, loop, done))
        await done

    def faults(self) -> list[Fault]:
        """Why the next act could not be kept; empty where nothing is known to stand against it.

        That the last act was not kept counts for half a minute: whoever sends nobody to a service that is not ready
        could otherwise never see that it is mended.
        """
        faults = self._home.audit_log.faults_of_writing()
        if not faults and time.monotonic() - self._failed_at < _FAILURE_SECONDS:
            faults.append(Fault("audit log", "could not be written a moment ago", "Look at the disk and the database"))
        return faults

    def forget(self) -> None:
        """Let go of the references that are kept: somebody was erased, and has none any more."""
        self._forgets = True

    def close(self) -> None:
        """Write what waits, and no more."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_CLOSE_SECONDS)

    def _write(self) -> None:
        going = True
        while going:
            try:
                together = [self._queue.get(timeout=_HEAD_SECONDS if self._head_due else None)]
            except queue.Empty:
                self._keep_head()
                continue
            while len(together) < _MOST_TOGETHER and not self._queue.empty():
                together.append(self._queue.get())
            going = None not in together
            self._answer([one for one in together if one is not None])
            if self._head_due and time.monotonic() >= self._head_due:
                self._keep_head()
        self._keep_head()

    def _answer(self, waiting: Sequence[_Waiting]) -> None:
        """Write for those who wait, and tell each."""
        if self._head_failure is not None:
            self._keep_head()
        failure: BaseException | None = self._head_failure
        try:
            if waiting and failure is None:
                self._write_all(waiting)
                self._head_due = self._head_due or time.monotonic() + _HEAD_SECONDS
        except BaseException as error:
            failure = error
        if waiting:
            self._failed_at = float("-inf") if failure is None else time.monotonic()
        for one in waiting:
            try:
                one.loop.call_soon_threadsafe(_finish, one.done, failure)
            except RuntimeError:  # the service has ended meanwhile
                continue

    def _keep_head(self) -> None:
        """Move the chain's head on in its file; while that fails, nothing more is written or answered."""
        self._head_due = 0.0
        try:
            self._home.audit_log.keep_head()
            self._head_failure = None
        except Exception as error:
            self._head_failure = error
            self._failed_at = time.monotonic()

    def _write_all(self, waiting: Sequence[_Waiting]) -> None:
        refs = self._refs_of({person for one in waiting for act in one.acts for person in act.persons})
        lines = []
        for one in waiting:
            who = {name: text for name, text in one.who.items() if name != "role"}
            for act in one.acts:
                persons = [refs[person] for person in act.persons if person in refs]
                outside = sum(person not in refs and not self._in_city(person) for person in act.persons)
                facts = {**act.facts, **({"not_in_city": outside} if outside else {})}
                parts = [persons[i : i + _REFS_PER_LINE] for i in range(0, len(persons), _REFS_PER_LINE)] or [[]]
                for part in parts:
                    about = {"persons": " ".join(part)} if part else {}
                    lines.append((act.action, one.who["role"], {**facts, **who, **about}))
        self._home.audit_log.append_all(lines, keep_head=False)

    def _refs_of(self, persons: set[str]) -> dict[str, str]:
        """References of persons, kept for the next time; the erased and those whom nobody knows have none."""
        if self._forgets:
            self._forgets = False
            self._refs.clear()
        found = {person: self._refs[person] for person in persons if person in self._refs}
        if missing := sorted(persons - found.keys()):
            inside = [person for person in missing if self._in_city(person)]
            new = self._home.store.refer(inside) if inside else {}
            if len(inside) < len(missing):
                new |= self._home.store.refs([person for person in missing if not self._in_city(person)])
            found |= new
            self._refs.update(new)
            while len(self._refs) > _MOST_REFS:
                self._refs.popitem(last=False)
        return found


def _finish(done: asyncio.Future[None], failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure if isinstance(failure, Exception) else RuntimeError(type(failure).__name__))
