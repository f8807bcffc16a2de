"""Bodies about lists over HTTP: what a unit is told of its lists, and what it tells of its work with them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ethics.refusals import BadInput
from serving.schemas import Body, Language, PersonId, Text, faults_of_body

MAX_WORK_ROWS = 5_000


class ListHead(Body):
    """One published list, without saying who is on it.

    ``n`` people were listed for the unit. ``recalled``: a file of the unit was called back, so take the rows from here.
    ``replaced_by`` is the newer list of the same need and day, null where this is the one that stands.
    """

    list_id: str
    as_of_date: date
    period: str
    published_at: datetime
    n: int
    recalled: bool
    replaced_by: str | None


class ListsResponse(Body):
    """The lists of a unit, newest first."""

    need: str
    unit: str
    lists: tuple[ListHead, ...]


class ListedReason(Body):
    """Why, as the published row tells the unit; ``day`` is that of what stands behind it."""

    text: str
    source: str | None
    changeable: bool | None
    day: date | None


class ListedRow(Body):
    """One row as it stands today; the erased keep theirs, which names nobody.

    ``not_by`` are channels by which the person does not want to be contacted.
    """

    position: int
    kind: str
    person_id: str | None
    rank_band: str | None
    worker: str | None
    not_by: tuple[str, ...]
    reasons: tuple[ListedReason, ...]
    cautions: tuple[str, ...]
    attempts: int | None
    who_helps: tuple[str, ...] | None


class UnitListResponse(Body):
    """A unit's part of a list, as it stands today."""

    list_id: str
    need: str
    unit: str
    as_of_date: date
    period: str
    published_at: datetime
    language: str
    rows: tuple[ListedRow, ...]


class AttemptBody(Body):
    """One attempt to reach a person and what came of it; ``at`` is a day or a local time, ``outcome`` a code."""

    person_id: PersonId
    at: Text
    outcome: Text
    channel: Text | None = None
    worker: Text | None = None


class OutcomeBody(Body):
    """What came of earlier attempts, later on."""

    person_id: PersonId
    at: Text
    outcome: Text


class AttemptsRequest(Body):
    """Attempts, of which all are kept or none; what is wrong is told in ``language``."""

    rows: Annotated[tuple[AttemptBody, ...], Field(min_length=1, max_length=MAX_WORK_ROWS, fail_fast=True)]
    language: Language = "en"


class OutcomesRequest(Body):
    """Outcomes without a new attempt, of which all are kept or none; what is wrong is told in ``language``."""

    rows: Annotated[tuple[OutcomeBody, ...], Field(min_length=1, max_length=MAX_WORK_ROWS, fail_fast=True)]
    language: Language = "en"


class WorkResponse(Body):
    """What was kept: rows that are new as attempts and outcomes, known before, or of people who were erased since."""

    list_id: str
    rows: int
    attempts: int
    outcomes: int
    known_before: int
    erased: int
    by_outcome: dict[str, int]


def parse_work(body: bytes, schema: type[AttemptsRequest | OutcomesRequest]) -> Any:
    """Read a body of attempts or outcomes, or refuse it with everything that is wrong with its form.

    Raises
    ------
    BadInput
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise BadInput(*faults_of_body(error, schema)) from None


def shown_row(row: dict[str, Any], payload: dict[str, Any]) -> dict[str, Any]:
    """A row as :class:`ListedRow`: how it stands today, and what the published row tells; lots and shares stay here."""
    reasons = [
        {
            "text": why["text"],
            "source": why["source"],
            "changeable": why["changeable"],
            "day": None if why.get("behind") is None else why["behind"]["day"],
        }
        for why in payload.get("reasons", ())
    ]
    told = {"cautions": payload.get("cautions", []), "attempts": payload.get("attempts")}
    return {**row, "reasons": reasons, **told, "who_helps": payload.get("who_helps")}
