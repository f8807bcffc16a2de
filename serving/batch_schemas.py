"""Bodies of ``POST /score_batch`` as JSON: many people by id, or as tables of persons and events."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ethics.refusals import BadInput, Fault
from serving.schemas import Body, Day, EventBody, PersonBody, PersonId, Text, faults_of_body, one_of

MAX_ROWS = 200_000
"""People in one batch; a whole cohort is a job."""
MAX_EVENT_ROWS = 2_000_000
TOO_MANY = "rows"
STATUSES = ("scored", "unknown_person", "objected", "not_covered")
Status = Literal["scored", "unknown_person", "objected", "not_covered"]


class EventRow(EventBody):
    """One thing that happened to one of the persons."""

    person_id: PersonId


class BatchRequest(Body):
    """Many people to score: by ``person_ids`` from the city folder, or ``persons`` and ``events`` in the body."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=one_of("person_ids", "persons", "events"),
    )

    need: Text
    as_of_date: Day
    person_ids: Annotated[tuple[PersonId, ...], Field(min_length=1, max_length=MAX_ROWS, fail_fast=True)] | None = None
    persons: Annotated[tuple[PersonBody, ...], Field(min_length=1, max_length=MAX_ROWS, fail_fast=True)] | None = None
    events: Annotated[tuple[EventRow, ...], Field(max_length=MAX_EVENT_ROWS, fail_fast=True)] | None = None

    mend: ClassVar[str] = "Give person_ids alone, or persons together with events (an empty list when there are none)"

    @model_validator(mode="after")
    def _one_kind(self) -> BatchRequest:
        if self.person_ids is not None and (self.persons is not None or self.events is not None):
            raise ValueError(f"person_ids stand beside persons or events | {self.mend}")
        if self.person_ids is None and (self.persons is None or self.events is None):
            raise ValueError(f"does not say who is to be scored | {self.mend}")
        return self


class BatchRow(Body):
    """One person asked about; ``score`` and ``rank_band`` are null unless ``status`` is ``scored``."""

    person_id: str
    status: Status
    score: float | None
    rank_band: Literal["top_1", "top_5", "top_10", "top_25", "top_50", "rest"] | None


class BatchResponse(BaseModel):
    """As many rows as were asked about, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    need: str
    as_of_date: date
    model_digest: str
    verdict_id: str
    rows: tuple[BatchRow, ...]


def parse_batch(body: bytes) -> BatchRequest:
    """Read a body, or refuse it with what is wrong; no refusal shows an identifier.

    Raises
    ------
    BadInput
        ``where`` is :data:`TOO_MANY` where there are too many rows.
    """
    try:
        return BatchRequest.model_validate_json(body)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            if problem["type"] == "too_long":
                wrong = f"are more than {problem['ctx']['max_length']}"
                raise BadInput(Fault(TOO_MANY, wrong, "Send less at a time")) from None
        raise BadInput(*faults_of_body(error, BatchRequest)) from None
