"""Work beside the work: pieces read ahead in another thread, handed on in the order of one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

_Piece = TypeVar("_Piece")
_WAIT_SECONDS = 0.1
"""How often a reader looks whether anybody still listens."""


def read_ahead(pieces: Callable[[], Iterable[_Piece]], most: int) -> Iterator[_Piece]:
    """The pieces in their order, of which so many are made beforehand in a thread of their own.

    What goes wrong there is raised here, at its place; and whoever stops listening stops the making.

    >>> list(read_ahead(lambda: range(3), 2))
    [0, 1, 2]
    """
    waiting: Queue[tuple[bool, _Piece | BaseException | None]] = Queue(most)
    stopped = Event()

    def hand_over(told: tuple[bool, _Piece | BaseException | None]) -> None:
        while not stopped.is_set():
            with suppress(Full):
                waiting.put(told, timeout=_WAIT_SECONDS)
                return

    def make() -> None:
        try:
            for piece in pieces():
                hand_over((True, piece))
                if stopped.is_set():
                    return
            hand_over((False, None))
        except BaseException as error:
            hand_over((False, error))

    maker = Thread(target=make, daemon=True)
    maker.start()
    try:
        while True:
            is_piece, told = waiting.get()
            if is_piece:
                yield told  # type: ignore[misc]
                continue
            if told is not None:
                raise told  # type: ignore[misc]
            return
    finally:
        stopped.set()
        with suppress(Empty):
            waiting.get_nowait()
        maker.join()
