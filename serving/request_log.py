"""One line of JSON for every request: what, how long, with what end; never about whom."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

_MOST_WAITING = 10_000
_FLUSH_SECONDS = 2.0


class RequestLog:
    """Writes lines from a thread of its own, so that no answer waits for whoever reads the log.

    Lines beyond ten thousand that wait are dropped and counted: a log that nobody reads must not stop the service.

    Parameters
    ----------
    to : text stream, optional
        Standard error unless given.
    dropped : callable, optional
        Told of each line that is dropped.
    """

    def __init__(self, to: TextIO | None = None, dropped: Callable[[], None] | None = None) -> None:
        self._to = sys.stderr if to is None else to
        self._dropped = dropped
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="request log", daemon=True)
        self._thread.start()

    def line(self, **facts: Any) -> None:
        """Log a request; a value of None is left out."""
        if self._lines.qsize() >= _MOST_WAITING:
            if self._dropped is not None:
                self._dropped()
            return
        self._lines.put(facts)

    def close(self) -> None:
        """Write what waits, within two seconds."""
        self._lines.put(None)
        self._thread.join(_FLUSH_SECONDS)

    def _write(self) -> None:
        while (facts := self._lines.get()) is not None:
            try:
                self._to.write(_as_line(facts))
                if self._lines.empty():
                    self._to.flush()
            except (OSError, ValueError):  # whoever read the log is gone
                if self._dropped is not None:
                    self._dropped()


def _as_line(facts: dict[str, Any]) -> str:
    facts = {name: value for name, value in facts.items() if value is not None}
    at = datetime.fromtimestamp(facts.pop("at"), UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, **facts}, ensure_ascii=True) + "\n"
