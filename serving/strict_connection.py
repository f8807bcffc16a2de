"""A connection whose bytes can be read in one way only: no two readers of it may see different requests.

h11 forgives what RFC 9112 lets a recipient forgive. A proxy before us that forgives something else would see other
requests in the same bytes (request smuggling), so nothing is forgiven here. What can be told from a whole request is
refused behind the door, whatever server runs it: :class:`serving.http_door.OnlyOurs`.
"""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_END_OF_HEAD = b"\r\n\r\n"
_MOST_WAITING = 64 * 1024
"""Bytes of a head that is not whole, as uvicorn's own bound."""


class _StrictReading(h11.Connection):
    """Refuses a head in which a line ends otherwise than by CR LF, or goes on in the next.

    Source: RFC 9112 §2.2 and §5.2, which let a recipient take a bare LF for the end of a line, and put folded lines
    together, and so hide a header, or the end of the head, from one that does not.
    """

    def next_event(self) -> Any:
        """The next event; raises h11.RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            waiting, _ = self.trailing_data
            head, _, _ = waiting.partition(_END_OF_HEAD)
            if head.count(b"\n") != head.count(b"\r\n") or b"\n " in head or b"\n\t" in head:
                raise h11.RemoteProtocolError("a line ends by LF alone, or goes on in the next")
        return super().next_event()


class StrictConnection(H11Protocol):
    """Uvicorn's connection by h11, which reads heads strictly, and ends in order when a body turns out to be none."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = _StrictReading(h11.SERVER, self.config.h11_max_incomplete_event_size or _MOST_WAITING)

    def _should_upgrade(self) -> bool:
        """Never: whoever asks for another protocol is answered in this one, as RFC 9110 §7.8 allows."""
        return False

    def send_400_response(self, msg: str) -> None:
        """Refuse, if nothing was answered yet; a second answer to one request would be somebody else's."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
