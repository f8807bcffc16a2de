"""Bodies about whole-cohort jobs over HTTP."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import ConfigDict, ValidationError

from ethics.refusals import BadInput
from serving.schemas import Body, Day, Text, faults_of_body


class JobRequest(Body):
    """The scores of everybody whom a need covers on a day."""

    need: Text
    as_of_date: Day


class JobFault(Body):
    """Why a job failed; ``code`` is the stable id of a reason that has one."""

    where: str
    wrong: str
    mend: str
    code: str = ""


class JobResponse(Body):
    """How far a job is: ``progress`` from 0 to 1, and in a word what it is ``doing``.

    ``n`` is how many people were scored, once it is done; ``faults`` say why it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    job_id: str
    need: str
    as_of_date: date
    state: Literal["waiting", "running", "done", "failed"]
    doing: str
    progress: float
    n: int | None
    faults: tuple[JobFault, ...]
    asked_at: datetime
    ended_at: datetime | None
    model_digest: str | None
    verdict_id: str | None


class CohortRow(Body):
    """One person of the cohort; ``score`` is null for a need that is a written rule."""

    person_id: str
    score: float | None
    rank: int
    rank_band: Literal["top_1", "top_5", "top_10", "top_25", "top_50", "rest"]


class JobScoresResponse(Body):
    """Everybody's scores, first rank first; those who object by now are left out, and their ranks with them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    job_id: str
    need: str
    as_of_date: date
    model_digest: str
    verdict_id: str
    rows: tuple[CohortRow, ...]


def parse_job(body: bytes) -> JobRequest:
    """Read a body, or refuse it with everything that is wrong.

    Raises
    ------
    BadInput
    """
    try:
        return JobRequest.model_validate_json(body)
    except ValidationError as error:
        raise BadInput(*faults_of_body(error, JobRequest)) from None
