"""Progress on the terminal: one line per step, a bar where the length is known, all on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

Step = Callable[..., None]
"""``step(what)`` begins a step; ``step(what, done, total)`` moves its bar."""

# The pattern of features/explanation.py, with every sign of a century; that module is too heavy to say an error with.
PERSONAL_IDENTITY_CODE = r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]"
# Digests and ids of runs and verdicts are told whole, though eleven of their characters in a row may look like a code.
_TO_MASK = re.compile(
    rf"(?<![0-9a-f])(?:[0-9a-f]{{16}}|[0-9a-f]{{20}}|[0-9a-f]{{32}}|[0-9a-f]{{64}})(?![0-9a-f])|((?i:{PERSONAL_IDENTITY_CODE}))"
)
_MASK = "[personal identity code]"


def masked(text: str) -> str:
    """A text to print, without anything that has the form of a personal identity code.

    >>> masked("'010190-123A' is not a day")
    "'[personal identity code]' is not a day"
    """
    return _TO_MASK.sub(lambda found: _MASK if found[1] else found[0], text)


def silent(what: str, done: float | None = None, total: float | None = None) -> None:
    """A step that nobody watches."""


class Steps:
    """Shows the steps of a story while it runs; a terminal gets bars, a file gets a line per step."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._progress: Any = None
        self._task: Any = None
        self._what = ""

    def __enter__(self) -> Step:
        if self._quiet:
            return silent
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        if sys.stderr.isatty():
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=False)
            self._progress.start()
        return self._step

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            if self._task is not None and kind is None:
                self._finish()
            self._progress.stop()

    def _step(self, what: str, done: float | None = None, total: float | None = None) -> None:
        what = masked(what)
        if self._progress is None:
            if what != self._what:
                print(f"· {what}", file=sys.stderr, flush=True)
        else:
            if what != self._what:
                if self._task is not None:
                    self._finish()
                self._task = self._progress.add_task(what, total=total)
            self._progress.update(self._task, completed=done or 0, total=total)
        self._what = what

    def _finish(self) -> None:
        total = self._progress.tasks[-1].total or 1
        self._progress.update(self._task, total=total, completed=total)
