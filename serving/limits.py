"""How much may be asked: bytes, rows, seconds, requests per token; beyond it a 4xx, and memory stays flat."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from ethics.refusals import Fault
from serving.exchange import Unanswered

Receive = Callable[[], Awaitable[Any]]

_MOST_KNOWN_TOKENS = 10_000
_DRAINED_BYTES, _DRAINED_SECONDS = 8_000_000, 2.0
_MEGABYTE = 1_000_000
_LEAST_HELD = 80 * _MEGABYTE  # the longest body, and a little more
_LOOK_SECONDS = 0.1


class Limits(NamedTuple):
    """The service's limits.

    Attributes
    ----------
    chunk_seconds, body_seconds : float
        Between two pieces of a body, and for all of it.
    held_bytes : int
        Of all bodies that are read at a time, together.
    rate, burst : float
        Requests a second that a token may make on and on, and at once.
    """

    chunk_seconds: float = 10.0
    body_seconds: float = 60.0
    held_bytes: int = 256 * _MEGABYTE
    rate: float = 100.0
    burst: float = 200.0

    def shared_by(self, workers: int) -> Limits:
        """Each worker's part of what holds for the service as a whole: bytes held, and requests of a token."""
        part = 1.0 / workers
        held = max(int(self.held_bytes * part), _LEAST_HELD)
        return self._replace(held_bytes=held, rate=self.rate * part, burst=max(1.0, self.burst * part))


class GoneAway(Exception):
    """Whoever asked has left before the body was whole; nobody is there to be answered."""


class Deadlines:
    """Ends tasks that are late: one look at all of them ten times a second costs less than a timer for each.

    A task sets its deadline, and another later, and clears it. One that is late is cancelled, and finds out by
    :meth:`missed` that it was for this.
    """

    def __init__(self) -> None:
        self._due: dict[Any, tuple[float, Callable[[], Unanswered]]] = {}
        self._late: dict[Any, Unanswered] = {}

    def set(self, moment: float, said: Callable[[], Unanswered], task: Any = None) -> None:
        """By when (``time.monotonic``) the present task is to be done, and what is answered if it is not.

        Whoever has asked which task that is may say it, and it is not asked again.
        """
        self._due[task or asyncio.current_task()] = moment, said

    def clear(self, task: Any = None) -> None:
        """The present task is done."""
        self._due.pop(task or asyncio.current_task(), None)

    def missed(self) -> Unanswered | None:
        """What is to be answered if the present task was cancelled for being late; None if it was for another cause."""
        task = asyncio.current_task()
        late = self._late.pop(task, None)
        if late is not None and task is not None:
            task.uncancel()
        return late

    async def watch(self) -> None:
        """Look, for as long as the service runs."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            for task, (moment, said) in list(self._due.items()):
                if moment <= now:
                    del self._due[task]
                    self._late[task] = said()
                    task.cancel()


class Bodies:
    """Reads bodies, no further than their limits; memory is bounded whatever is sent.

    Parameters
    ----------
    limits : Limits
    deadlines : Deadlines
        Of the tasks that read.
    """

    def __init__(self, limits: Limits, deadlines: Deadlines) -> None:
        self.limits, self._deadlines = limits, deadlines
        self.held = 0

    async def read(
        self, receive: Receive, headers: Mapping[str, str], kinds: tuple[str, ...], most: int, task: Any = None
    ) -> tuple[bytes, str]:
        """A body and its content type, of which the caller gives back the bytes by :meth:`release`.

        ``task`` is the present one, where the caller knows it.

        Raises
        ------
        Unanswered
            413, 415 or 503, after what was sent beyond the limit is read and thrown away, so far as that is
            bounded: whoever sends on and reads nothing would otherwise never see the answer.
        GoneAway
        """
        try:
            kind = content_kind(headers, kinds)
            _refuse_length(headers, most)
        except Unanswered:
            await drain(receive)
            raise
        content = bytearray()
        until = time.monotonic() + self.limits.body_seconds
        more = True
        while more:
            message = await self._next(receive, until, len(content), task)
            chunk, more = message.get("body", b""), message.get("more_body", False)
            content += chunk
            self.held += len(chunk)
            if len(content) > most or self.held > self.limits.held_bytes:
                self.release(len(content))
                too_long = len(content) > most
                del content
                if more:
                    await drain(receive)
                raise long_body(most) if too_long else _too_many_bytes()
        return bytes(content), kind

    async def _next(self, receive: Receive, until: float, n_read: int, task: Any) -> Any:
        """The next piece; what was read before is given back when there is none."""
        try:
            self._deadlines.set(min(time.monotonic() + self.limits.chunk_seconds, until), too_slow, task)
            message = await receive()
        except BaseException:
            self.release(n_read)
            raise
        if message["type"] != "http.request":
            self.release(n_read)
            raise GoneAway
        return message

    def release(self, n_bytes: int) -> None:
        """What was read is no longer held."""
        self.held -= n_bytes


def content_kind(headers: Mapping[str, str], kinds: tuple[str, ...]) -> str:
    """The content type of a body, one of ``kinds``; a body that is packed is not unpacked."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        wrong = "says that the body is compressed"
        raise Unanswered(415, "Compressed", Fault("header: content-encoding", wrong, "Send the body as it is"))
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in kinds:
        return kind
    named = " or ".join(kinds)
    title = "Not JSON" if kinds == ("application/json",) else "Not a kind that is read"
    raise Unanswered(415, title, Fault("header: content-type", f"is not {named}", f"Send content-type: {kinds[0]}"))


def _refuse_length(headers: Mapping[str, str], most: int) -> None:
    length = headers.get("content-length", "0")
    if length.isdecimal() and len(length) < 20 and int(length) > most:
        raise long_body(most)


def long_body(most: int) -> Unanswered:
    """A body beyond its limit."""
    wrong = f"is longer than {most} bytes"
    return Unanswered(413, "Too long", Fault("body", wrong, "Send less at a time, or ids of the city folder alone"))


def too_slow() -> Unanswered:
    """A body that does not come."""
    fault = Fault("body", "did not come in time", "Send it at once, over a faster line")
    return Unanswered(408, "Too slow", fault, headers={"Connection": "close"})


def _too_many_bytes() -> Unanswered:
    fault = Fault("service", "is reading as many bodies as it can hold", "Ask again a little later")
    return Unanswered(503, "Busy", fault, headers={"Retry-After": "2"})


async def drain(receive: Receive) -> None:
    """Read what is still sent and throw it away, up to a bound of bytes and seconds."""
    read, until = 0, time.monotonic() + _DRAINED_SECONDS
    while read < _DRAINED_BYTES:
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
                message = await receive()
        except TimeoutError:
            return
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        read += len(message.get("body", b""))


class Rates:
    """A bucket of requests for each token, filled at a steady rate; of so many tokens the oldest is forgotten."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, token: str) -> None:
        """Take one request out; raises Unanswered (429) when there is none, with when there will be."""
        now = self._clock()
        left, at = self._buckets.pop(token, (self._limits.burst, now))
        left = min(self._limits.burst, left + (now - at) * self._limits.rate)
        taken = left >= 1.0
        self._buckets[token] = (left - 1.0 if taken else left, now)
        while len(self._buckets) > _MOST_KNOWN_TOKENS:
            self._buckets.popitem(last=False)
        if not taken:
            wait = max(1, round((1.0 - left) / self._limits.rate + 0.5))
            wrong = f"has asked more than {self._limits.rate:g} times a second"
            fault = Fault("token", wrong, "Ask more slowly, or for many at once: POST /score_batch")
            raise Unanswered(429, "Too often", fault, headers={"Retry-After": str(wait)})


class Room:
    """So many pieces of heavy work at a time, and so many that wait; the next is told to come again.

    Each piece has one of the room's own threads, and its place until that thread is done with it, however long ago
    whoever asked was told that it takes too long.
    """

    def __init__(self, at_once: int, waiting: int, of: str = "batches") -> None:
        self._of = of
        self._gate = asyncio.Semaphore(at_once)
        self._most, self._inside = at_once + waiting, 0
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix=of)

    async def do(self, work: Callable[..., Any], *given: Any) -> Any:
        """Do some work in a thread once there is a place; raises Unanswered (503) where too many wait for one."""
        await self._enter()
        try:
            future = self._pool.submit(work, *given)
        except BaseException:
            self._leave()
            raise
        loop = asyncio.get_running_loop()

        def done(_: Any) -> None:
            with suppress(RuntimeError):  # the service has ended meanwhile
                loop.call_soon_threadsafe(self._leave)

        future.add_done_callback(done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Nothing more is begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _enter(self) -> None:
        if self._inside >= self._most:
            fault = Fault("service", f"has as many {self._of} as it can take", "Ask again a little later")
            raise Unanswered(503, "Busy", fault, headers={"Retry-After": "5"})
        self._inside += 1
        try:
            await self._gate.acquire()
        except BaseException:
            self._inside -= 1
            raise

    def _leave(self) -> None:
        self._gate.release()
        self._inside -= 1
