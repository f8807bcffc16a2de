"""Who asked over HTTP and what for, as store and audit log keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ethics.refusals import Fault
from serving.access import role_of
from serving.exchange import PURPOSE_REFUSED, Asked, Unanswered

if TYPE_CHECKING:
    from serving.access import Identity

_MEND = "Say it without naming anybody: those whom it concerns may read it"


def caller_of(asked: Asked) -> Identity:
    """Who asks, of a row that nobody may ask without a token."""
    if asked.identity is None:
        raise RuntimeError("a row that asks for a token was answered without one")
    return asked.identity


def actor_of(asked: Asked) -> str:
    """Role and pseudonym of whoever asks: what the store keeps, and residents are told."""
    caller = caller_of(asked)
    return f"{role_of(caller)} {asked.state.pseudonym(caller)}"


def refuse_naming(asked: Asked) -> None:
    """Refuse a purpose that cannot be kept, or that names somebody the store knows: it is kept, and told to others.

    Raises
    ------
    Unanswered
    """
    from scoring.named_people import naming
    from serving.typed_texts import free_text_fault

    where = "header: x-purpose"
    fault = free_text_fault(where, asked.purpose)
    if fault is None and naming(asked.state.home.store, [asked.purpose])[0]:
        fault = Fault(where, "names a person", _MEND)
    if fault is not None:
        raise Unanswered(422, PURPOSE_REFUSED, fault)
