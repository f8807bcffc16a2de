"""What passes between the door of the HTTP service and those who answer behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.refusals import Fault, Refusal
from serving.schemas import Problem

if TYPE_CHECKING:
    from serving.access import Identity
    from serving.limits import Room

JSON = "application/json"
PROBLEM = "application/problem+json"
CSV = "text/csv"
PURPOSE_REFUSED = "The purpose cannot be kept"
WITHOUT_BODY = (204, 304)
"""Statuses of an answer that is nothing but its headers."""
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
HTML = "text/html"
REQUEST_ID = "ennakko.request_id"
"""In the scope of a request that the door passes on to another application of ours: its id."""
REQUEST_ID_FORM = r"[0-9A-Fa-f]{16,64}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
"""What an asker's own id of a request must be to be kept: nothing that could name anybody."""


class Unanswered(Exception):
    """A request that gets no answer: an HTTP status, a title, and what is wrong.

    ``headers`` go with it, as ``Allow`` with 405; ``acts`` are what the audit log keeps of it.
    """

    def __init__(self, status: int, title: str, *faults: Fault, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(title)
        self.problem = Problem.of(status, title, *faults)
        self.headers = dict(headers or {})
        self.acts: tuple[Act, ...] = ()


def no_score_now(refusal: Refusal) -> Unanswered:
    """What is answered while trust is lost; each fault has the id of its reason, where it has one."""
    return Unanswered(503, "No score may leave now", *refusal.faults, headers={"Retry-After": "5"})


def unknown_person() -> Unanswered:
    """What is answered about whoever is not here: nobody, or nobody of the asker's, which must be one answer."""
    mend = "Check it; a system may also send person and events"
    return Unanswered(404, "Unknown person", Fault("body: person_id", "is nobody who is known here", mend))


def is_database_gone(error: BaseException) -> bool:
    """Whether a mistake is that the database is gone, starting, or keeps others waiting: another time it may answer."""
    from sqlalchemy.exc import InterfaceError, OperationalError
    from sqlalchemy.exc import TimeoutError as NoConnection

    return isinstance(error, OperationalError | InterfaceError | NoConnection | ConnectionError)


class RestsOn(NamedTuple):
    """What an answer was made on the strength of; it is looked at again before the answer leaves."""

    need: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Act:
    """One line for the audit log: what was done, and to whom.

    Attributes
    ----------
    action : str
    facts : mapping
        Text and whole numbers; never about a person.
    persons : tuple of str
        Ids of those whom the answer is about; the log gets their references (keyed hashes) alone.
    """

    action: str
    facts: Mapping[str, str | int]
    persons: tuple[str, ...] = ()


@dataclass(slots=True)
class Asked:
    """A request that came through the door: known who asks, body within its limits."""

    query: Mapping[str, str]
    path: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    kind: str
    identity: Identity | None
    purpose: str
    request_id: str
    state: Any

    async def in_room(self, room: Room, work: Callable[..., Answer], *given: Any) -> Answer:
        """The answer of work that has to find a place in a room; it is given this request first."""
        found: Answer = await room.do(work, self, *given)
        return found


@dataclass(slots=True)
class Answer:
    """What is to be sent, once ``acts`` are on disk; ``rows`` is how many rows it tells of, for log and metrics.

    Scores leave only while what they rest on still holds: ``rests_on`` says what that is.
    ``headers``, by small names, come in place of those that every answer has.
    """

    body: bytes
    kind: str = JSON
    status: int = 200
    acts: tuple[Act, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    rests_on: RestsOn | None = None
