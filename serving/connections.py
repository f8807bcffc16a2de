"""One HTTP connection, within bounds: a head that does not come, and an answer that is not taken, end it.

Uvicorn bounds how long an idle connection is kept, not how long the head of a request may take, nor how long an answer
may lie unread. Bodies are bounded behind the door (:mod:`serving.limits`).
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from serving.strict_connection import StrictConnection

HEAD_SECONDS = 10.0
"""From the first byte after an answer, or from the connection, until the head of a request is whole."""
UNREAD_SECONDS = 30.0
"""An answer of which nothing more was taken for so long is given up."""
_FILES_KEPT = 200
MOST_CONNECTIONS = max(64, min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES_KEPT))
"""At a time, in one worker, within the files a process may open; the next is told to come again."""

_HEAD = (
    b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n%b\r\n%b"
)


def _refusal(status: bytes, title: bytes, more: bytes = b"") -> bytes:
    body = b'{"type":"about:blank","title":"%b","status":%b,"errors":[]}' % (title, status[:3])
    return _HEAD % (status, len(body), more, body)


_TOO_SLOW = _refusal(b"408 Request Timeout", b"Too slow")
_FULL = _refusal(b"503 Service Unavailable", b"Busy", b"retry-after: 2\r\n")


class BoundedConnection(StrictConnection):
    """Uvicorn's connection by h11, read strictly, with the bounds of this module."""

    head_seconds, unread_seconds = HEAD_SECONDS, UNREAD_SECONDS
    most_connections = MOST_CONNECTIONS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_due: asyncio.TimerHandle | None = None
        self._unread_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, if there is room for one more."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.write(_FULL)
            transport.close()
            return
        self._head_due = self.loop.call_later(self.head_seconds, self._head_late)

    def data_received(self, data: bytes) -> None:
        """Read on; the bound holds while nobody is at work on a request of this connection."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            if self._head_due is not None:
                self._head_due.cancel()
                self._head_due = None
        elif self._head_due is None:
            self._head_due = self.loop.call_later(self.head_seconds, self._head_late)

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
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
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
