"""Whom a unit may ask about: people on its own lists, by their ids alone. Of everybody else it learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ethics.refusals import Fault
from serving.access import role_of
from serving.acts import caller_of
from serving.endpoint_shape import UNIT
from serving.exchange import Unanswered

if TYPE_CHECKING:
    from scoring.store import Store
    from serving.exchange import Asked


def is_of_unit(asked: Asked) -> bool:
    """Whether a unit asks."""
    return asked.identity is not None and role_of(asked.identity) == UNIT


def people_of_unit(asked: Asked, need_id: str, person_ids: Sequence[str]) -> frozenset[str]:
    """Those of some people who stand on a current list of the asker's units; one query, for a thread."""
    store: Store = asked.state.home.store
    return store.on_lists_of(need_id, caller_of(asked).units, person_ids)


def by_id_alone(where: str) -> Unanswered:
    """The answer to a unit that sends a person of its own making: who that is cannot be looked up on a list."""
    fault = Fault(where, "is for systems: a unit asks about people on its lists", "Send person_id alone")
    return Unanswered(403, "Not for this role", fault)
