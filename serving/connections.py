"""One HTTP connection, within bounds: a head that does not come or end, and an answer that is not taken, end it.

Requests are read by llhttp (httptools), in C, strictly: lines end by CR LF, and none goes on in the next. A proxy that
read the same bytes otherwise would see other requests in them (request smuggling). What can be told from a whole
request is refused behind the door: :class:`serving.http_door.OnlyOurs`.

Uvicorn bounds how long an idle connection is kept; not how long the head of a request may take, how long it may be, nor
how long an answer may lie unread. Bodies are bounded behind the door (:mod:`serving.limits`).
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS = 10.0
"""From the first byte after an answer, or from the connection, until the head of a request is whole."""
UNREAD_SECONDS = 30.0
"""An answer of which nothing more was taken for so long is given up."""
_FILES_KEPT = 200
MOST_CONNECTIONS = max(64, min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES_KEPT))
"""At a time, in one worker, within the files a process may open; the next is told to come again."""
KEPT_SECONDS = 30.0
"""After so long a connection ends with its next answer, so that load finds its way to a worker that came later."""
MOST_HEAD_BYTES, MOST_HEADERS = 65_536, 100
"""Of one request: a long token fits, and then some."""

_MOST_JOINED_BYTES = 65_536
_HEAD = (
    b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n%b\r\n%b"
)


def _refusal(status: bytes, title: bytes, more: bytes = b"") -> bytes:
    body = b'{"type":"about:blank","title":"%b","status":%b,"errors":[]}' % (title, status[:3])
    return _HEAD % (status, len(body), more, body)


_TOO_SLOW = _refusal(b"408 Request Timeout", b"Too slow")
_TOO_LONG = _refusal(b"431 Request Header Fields Too Large", b"Too long a head")
_UNREADABLE = _refusal(b"400 Bad Request", b"The request cannot be used")
_FULL = _refusal(b"503 Service Unavailable", b"Busy", b"retry-after: 2\r\n")


class _Trailers(list[tuple[bytes, bytes]]):
    """Fields after a body, which nobody here reads: headers they are not, and they would add up without end."""

    def append(self, _field: tuple[bytes, bytes]) -> None:
        """Let it go."""


class _Joined:
    """What one answer is written to: its head goes out with its body, since to send twice, and to wake up whoever waits
    twice, is a third of what a small answer costs.

    Parameters
    ----------
    to : asyncio.Transport
    """

    __slots__ = ("_head", "_to", "is_closing")

    def __init__(self, to: asyncio.Transport) -> None:
        self._to = to
        self._head: bytes | None = None
        self.is_closing = to.is_closing

    def write(self, data: bytes) -> None:
        """Hold the first piece, which is the head, until the next comes."""
        held = self._head
        if held is None and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            return
        if held:
            self._head = b""
            if len(data) <= _MOST_JOINED_BYTES:
                data = held + data
            else:
                self._to.write(held)
        self._to.write(data)

    def close(self) -> None:
        """Send what is held, and no more."""
        if self._head:
            self._to.write(self._head)
            self._head = b""
        self._to.close()


class BoundedConnection(HttpToolsProtocol):
    """Uvicorn's connection by httptools, with the bounds of this module."""

    head_seconds, unread_seconds = HEAD_SECONDS, UNREAD_SECONDS
    most_connections, kept_seconds = MOST_CONNECTIONS, KEPT_SECONDS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_due: asyncio.TimerHandle | None = None
        self._unread_due: asyncio.TimerHandle | None = None
        self._in_head, self._head_bytes = False, 0
        self._kept_until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, if there is room for one more."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.write(_FULL)
            transport.close()
            return
        self._kept_until = self.loop.time() + self.kept_seconds
        self._head_due = self.loop.call_later(self.head_seconds, self._head_late)

    def data_received(self, data: bytes) -> None:
        """Read on; the bound holds while nobody is at work on a request of this connection."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_TOO_LONG)
        if self.cycle is not None and not self.cycle.response_complete:
            if self._head_due is not None:
                self._head_due.cancel()
                self._head_due = None
        elif self._head_due is None:
            self._head_due = self.loop.call_later(self.head_seconds, self._head_late)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Begin to answer, unless there are too many headers, or a whole address where a path is due.

        Raises
        ------
        ValueError
            httptools then reads no further, and the request is refused.
        """
        if len(self.headers) > MOST_HEADERS or not self.url.startswith(b"/"):
            raise ValueError("not a request for us")
        super().on_headers_complete()
        self._in_head, self.headers = False, _Trailers()
        if self.loop.time() > self._kept_until:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["method"] != "HEAD":  # whose answer has a head alone
            cycle.transport = _Joined(self.transport)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, if its turn to be answered has come; else it would pass for another's answer."""
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and self._in_head):
            due = True
        else:  # garbage in a body, or right after a request that is not answered yet
            due = not (cycle.response_started or self._in_head or self.pipeline)
        if due:
            self._refuse(_TOO_LONG if len(self.headers or ()) > MOST_HEADERS else _UNREADABLE)
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        """Never: whoever asks for another protocol is answered in this one, as RFC 9110 §7.8 allows."""
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to say of it."""

    def pause_writing(self) -> None:
        """More is written than is taken: look whether it goes on."""
        super().pause_writing()
        if self._unread_due is None:
            self._watch_unread(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._forget_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._forget_unread()
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
        super().connection_lost(exc)

    def _head_late(self) -> None:
        self._head_due = None
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(_TOO_SLOW)

    def _refuse(self, said: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(said)
            self.transport.close()

    def _watch_unread(self, left: int) -> None:
        self._unread_due = self.loop.call_later(self.unread_seconds, self._still_unread, left)

    def _still_unread(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._watch_unread(left)
        else:
            self._unread_due = None
            self.transport.abort()

    def _forget_unread(self) -> None:
        if self._unread_due is not None:
            self._unread_due.cancel()
            self._unread_due = None
