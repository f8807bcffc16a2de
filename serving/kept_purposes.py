"""Purposes as they come with requests: kept for years and told to residents, so none may name anybody.

One that was accepted costs the next request a look in a dictionary. The accepted are asked about again every second,
all in one question, so that nobody who becomes known goes on being named for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ethics.refusals import Fault
from serving.exchange import PURPOSE_REFUSED, Unanswered
from serving.typed_texts import free_text_fault

if TYPE_CHECKING:
    from serving.home import Home

_MOST = 256
_WHERE = "header: x-purpose"
_MEND = "Say it without naming anybody: those whom it concerns may read it"


class KeptPurposes:
    """The purposes that this process has accepted.

    Parameters
    ----------
    home : Home
        Whose store knows the people that a purpose might name.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._accepted: dict[str, None] = {}

    def __contains__(self, purpose: str) -> bool:
        return purpose in self._accepted

    def __len__(self) -> int:
        return len(self._accepted)

    def accept(self, purpose: str) -> None:
        """Take in a purpose, for the next requests too; to be called in a thread, for the store is asked.

        Raises
        ------
        Unanswered
            422: it has the form of a personal identity code, or names somebody whom the store knows or has forgotten.
        """
        fault = free_text_fault(_WHERE, purpose)
        if fault is None and self._named([purpose])[0]:
            fault = Fault(_WHERE, "names a person", _MEND)
        if fault is not None:
            raise Unanswered(422, PURPOSE_REFUSED, fault)
        self._accepted[purpose] = None
        while len(self._accepted) > _MOST:
            self._accepted.pop(next(iter(self._accepted)), None)

    def look_again(self) -> None:
        """Let go of what names somebody by now; to be called at short intervals."""
        purposes = list(self._accepted)
        for purpose, names in zip(purposes, self._named(purposes), strict=True):
            if names:
                self._accepted.pop(purpose, None)

    def _named(self, purposes: Sequence[str]) -> list[bool]:
        from scoring.named_people import naming

        return naming(self._home.store, purposes) if purposes else []
