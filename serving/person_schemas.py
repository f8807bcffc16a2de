"""Bodies of ``/person`` and ``/objections``: what residents, and service points for them, ask and are told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictStr, WithJsonSchema

from ethics.objections import CHANNELS, EVERY_NEED
from serving.schemas import Body, PersonId, Text


def _channel(value: str) -> str:
    if value not in CHANNELS:
        raise ValueError(f"not a channel | Give one of: {', '.join(CHANNELS)}")
    return value


Channel = Annotated[
    StrictStr, AfterValidator(_channel), WithJsonSchema({"type": "string", "enum": CHANNELS}, mode="validation")
]
Facts = dict[str, Any]
"""A row of the view whose names are those of ``ennakko person --json``."""


class ObjectionRequest(Body):
    """Whose no to what: ``need`` by its id, or ``*`` for every need; with ``channel``, only to be contacted so.

    A resident objects for themselves; a service point says for whom, by ``person_id``.
    """

    need: Text
    channel: Channel | None = None
    person_id: PersonId | None = None


class StandingBody(Body):
    """One objection that stands; ``need`` is ``*`` for every need, ``channel`` null for the use as a whole."""

    need: str
    channel: str | None
    since: datetime


class StandingResponse(Body):
    """The objections that stand."""

    standing: tuple[StandingBody, ...]


class ObjectionResponse(Body):
    """What an objection, or its withdrawal, changed.

    ``changed`` is false where it stood already, or nothing stood that could be withdrawn, or the person was erased
    (who is masked anyway). ``recalled_files`` counts lists handed out that are called back by this act,
    ``place_proposals`` those with the person, of which nobody records who holds a copy. ``seen_before`` says whether
    the person was ever scored or listed here; null where nobody was yet.
    """

    need: str
    channel: str | None
    by: Literal["resident", "service_point"]
    objecting: bool
    changed: bool
    erased: bool
    standing: tuple[StandingBody, ...]
    recalled_files: int
    place_proposals: int
    seen_before: bool | None


class BandBody(Body):
    """A score as it is told: the band among ``n`` people. Numbers go into the copy of all data (Helsinki Profile)."""

    as_of_date: str
    rank_band: str
    n: Annotated[int, Field(ge=1)]


class NeedViewBody(Body):
    """What one need did with the person, or would do.

    ``data`` is the person's row as it was built for the last score, in words; where it is null, ``no_data`` says why:
    ``never_scored``, ``objects``, ``no_model``, ``no_city``, ``not_in_city`` or ``not_built``.
    """

    need: str
    kind: str | None
    title: str
    service: str | None
    action: str | None
    alternative: str | None
    asking: Facts | None
    objects: bool
    not_by: tuple[str, ...]
    scores: tuple[BandBody, ...]
    lists: tuple[Facts, ...]
    contacts: tuple[Facts, ...]
    shows_contact: bool
    reads: tuple[Facts, ...]
    data: Facts | None
    no_data: str | None


class LookBody(Body):
    """Who looked, at what, what for; null where it names other people."""

    at: str
    what: str
    actor: str | None
    purpose: str | None
    need: str | None
    unit_id: str | None


class HistoryBody(Body):
    """One act of the history of objections."""

    at: str
    act: str
    need_id: str
    channel: str | None
    by: str


class ViewStandingBody(Body):
    """One objection that stands, in the view."""

    need_id: str
    channel: str | None
    since: str


class RetentionBody(Body):
    """For how many days each is kept."""

    scores: int
    lists: int
    log: int


class PersonResponse(Body):
    """Everything kept and computed here about one person, told to that person (see docs/residents.md).

    ``state`` is ``known``; ``not_seen``: no score or list ever held the person; ``unknown``: nor does the city; or
    ``erased``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    person_id: str
    language: Literal["fi", "sv", "en"]
    told_at: str
    state: Literal["known", "not_seen", "unknown", "erased"]
    invented: bool
    needs: tuple[NeedViewBody, ...]
    looks: tuple[LookBody, ...]
    standing: tuple[ViewStandingBody, ...]
    history: tuple[HistoryBody, ...]
    contacts_outside: tuple[Facts, ...]
    retention_days: RetentionBody


_LOOK = {"at": "2024-06-03T07:15:00+00:00", "what": "person", "actor": "service point", "purpose": "asked in person"}
VIEW_EXAMPLE = {
    "person_id": "000123",
    "language": "en",
    "told_at": "2024-06-03T07:15:00+00:00",
    "state": "known",
    "invented": True,
    "needs": [
        {
            "need": "youth_exclusion",
            "kind": "model",
            "title": "Young people",
            "service": "outreach-youth-work",
            "action": "A youth worker offers a meeting",
            "alternative": "Anyone can get in touch",
            "asking": None,
            "objects": False,
            "not_by": ["phone"],
            "scores": [{"as_of_date": "2024-06-03", "rank_band": "top_10", "n": 5120}],
            "lists": [],
            "contacts": [],
            "shows_contact": False,
            "reads": [],
            "data": None,
            "no_data": "no_city",
        }
    ],
    "looks": [{**_LOOK, "need": None, "unit_id": None}],
    "standing": [{"need_id": "*", "channel": "phone", "since": "2024-05-02T09:00:00+00:00"}],
    "history": [
        {"at": "2024-05-02T09:00:00+00:00", "act": "object", "need_id": "*", "channel": "phone", "by": "resident"}
    ],
    "contacts_outside": [],
    "retention_days": {"scores": 730, "lists": 730, "log": 3650},
}
STANDING_EXAMPLE = {"standing": [{"need": EVERY_NEED, "channel": "phone", "since": "2024-05-02T09:00:00Z"}]}
OBJECTION_EXAMPLE = {
    "need": EVERY_NEED,
    "channel": "phone",
    "by": "service_point",
    "objecting": True,
    "changed": True,
    "erased": False,
    **STANDING_EXAMPLE,
    "recalled_files": 0,
    "place_proposals": 0,
    "seen_before": True,
}
