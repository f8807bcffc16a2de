"""Who asked over HTTP and what for, as store and audit log keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.access import role_of
from serving.exchange import Asked

if TYPE_CHECKING:
    from serving.access import Identity


def caller_of(asked: Asked) -> Identity:
    """Who asks, of a row that nobody may ask without a token."""
    if asked.identity is None:
        raise RuntimeError("a row that asks for a token was answered without one")
    return asked.identity


def actor_of(asked: Asked) -> str:
    """Role and pseudonym of whoever asks: what the store keeps, and residents are told."""
    caller = caller_of(asked)
    return f"{role_of(caller)} {asked.state.pseudonym(caller)}"
