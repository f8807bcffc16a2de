"""One line of JSON for every request: what, how long, with what end; never about whom."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

_MOST_WAITING = 10_000
_WRITE_SECONDS, _CLOSE_SECONDS = 0.2, 2.0


class RequestLog:
    """Writes lines from a thread of its own five times a second, so that no answer waits for whoever reads the log.

    Lines beyond ten thousand that wait are dropped and counted: a log that nobody reads must not stop the service.

    Parameters
    ----------
    to : text stream, optional
        Standard error unless given.
    dropped : callable, optional
        Told of each line that is dropped.
    """

    def __init__(self, to: TextIO | None = None, dropped: Callable[[], None] = lambda: None) -> None:
        self._to = sys.stderr if to is None else to
        self._dropped = dropped
        self._lines: deque[dict[str, Any]] = deque()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, name="request log", daemon=True)
        self._thread.start()

    def line(self, **facts: Any) -> None:
        """Log a request; a value of None is left out."""
        if len(self._lines) < _MOST_WAITING:
            self._lines.append(facts)
        else:
            self._drop(1)

    def close(self) -> None:
        """Write what waits, within two seconds."""
        self._closed.set()
        self._thread.join(_CLOSE_SECONDS)

    def _drop(self, n: int) -> None:
        for _ in range(n):
            self._dropped()

    def _write(self) -> None:
        going = True
        while going:
            going = not self._closed.wait(_WRITE_SECONDS)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if not lines:
                continue
            try:
                self._to.write("".join(map(_as_line, lines)))
                self._to.flush()
            except (OSError, ValueError):  # whoever read the log is gone
                self._drop(len(lines))


def _as_line(facts: dict[str, Any]) -> str:
    facts = {name: value for name, value in facts.items() if value is not None}
    at = datetime.fromtimestamp(facts.pop("at"), UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, **facts}, ensure_ascii=True) + "\n"
