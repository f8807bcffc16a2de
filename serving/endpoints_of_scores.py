"""Rows of the table of endpoints: scores of one person, of many, of whole cohorts, and what they rest on."""

from __future__ import annotations

from typing import Any

from serving.batch_schemas import BatchRequest, BatchResponse
from serving.endpoint_shape import (
    AUDITOR,
    DATA_SCIENTIST,
    DIGEST,
    MEGABYTE,
    NEED,
    NO_TRUST,
    RESTS_ON,
    ROLES,
    SMALL_BODY_BYTES,
    SYSTEM,
    TEXT,
    UNIT,
    Endpoint,
    Parameter,
)
from serving.exchange import ARROW, JSON
from serving.job_schemas import JobRequest, JobResponse, JobScoresResponse
from serving.schemas import NeedsResponse, ScoreRequest, ScoreResponse, VerdictResponse

_EXAMPLE = {"need": "youth_exclusion", "as_of_date": "2024-06-03", "person_id": "000123"}
_MANY = {"need": "youth_exclusion", "as_of_date": "2024-06-03", "person_ids": ["000123", "000124"]}
_JOB: dict[str, Any] = {
    "job_id": "9f0c" * 8,
    "need": "youth_exclusion",
    "as_of_date": "2024-06-03",
    "n": None,
    "faults": [],
    "asked_at": "2024-06-03T05:12:09Z",
    "ended_at": None,
    "model_digest": None,
    "verdict_id": None,
}

SCORES: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/score",
        handler="answers.score",
        title="Score one person",
        says=(
            "A person of the city folder by `person_id`, or one who is not in it by `person` and `events`. "
            "The score, its band and the reasons are those of the weekly list, to the bit. A unit asks by `person_id`, "
            "and only about people on its own lists: everybody else is answered as one whom nobody knows."
        ),
        roles=(UNIT, SYSTEM),
        on_trial=True,
        purpose=True,
        body=ScoreRequest,
        answer=ScoreResponse,
        problems={
            403: ("Objected",),
            404: ("Unknown need", "Unknown person"),
            415: ("Not JSON",),
            422: (
                *("Not covered", "Too early", "Too late"),
                *("This need cannot be scored from a body", "No score can be made"),
            ),
            **NO_TRUST,
        },
        example=_EXAMPLE,
        answer_example={
            "person_id": "000123",
            "as_of_date": "2024-06-03",
            "score": 0.176,
            "rank_band": "top_10",
            "reasons": [{"text": "12 absences from school", "source": "school register", "changeable": True}],
            **RESTS_ON,
        },
    ),
    Endpoint(
        method="POST",
        path="/score_batch",
        handler="answers.score_batch",
        title="Score many people at once",
        says=(
            "JSON, or Arrow IPC streams: one with the column `person_id`, or one of persons and, right after it, one "
            "of events; `need` and `as_of_date` then stand in the query. The answer has a row for every row asked "
            "about, in the same order; `status` says who has no score and why. It comes as JSON, or as an Arrow IPC "
            "stream where `Accept` asks for one. Reasons are told one person at a time, by `POST /score`. A unit asks "
            "by `person_id`; whoever is not on its own lists is an `unknown_person`."
        ),
        roles=(UNIT, SYSTEM),
        on_trial=True,
        purpose=True,
        query=(
            Parameter(name="need", says="With an Arrow body: the need.", required=False, schema=TEXT),
            Parameter(
                name="as_of_date",
                says="With an Arrow body: the day.",
                required=False,
                schema={"type": "string", "format": "date"},
            ),
        ),
        body=BatchRequest,
        body_kinds=(JSON, ARROW),
        answer=BatchResponse,
        answer_kinds=(JSON, ARROW),
        problems={
            404: ("Unknown need",),
            406: ("No such kind of answer",),
            413: ("Too many rows",),
            422: ("Too early", "Too late", "This need cannot be scored from a body", "No score can be made"),
            **NO_TRUST,
        },
        example=_MANY,
        answer_example={
            "need": "youth_exclusion",
            "as_of_date": "2024-06-03",
            **RESTS_ON,
            "rows": [
                {"person_id": "000123", "status": "scored", "score": 0.176, "rank_band": "top_10"},
                {"person_id": "000124", "status": "not_covered", "score": None, "rank_band": None},
            ],
        },
        max_body_bytes=64 * MEGABYTE,
        seconds=300.0,
    ),
    Endpoint(
        method="GET",
        path="/needs",
        handler="answers.needs",
        title="What can be asked for",
        says="The needs this server answers for.",
        roles=ROLES,
        on_trial=True,
        answer=NeedsResponse,
        answer_example={
            "needs": [{"need": "youth_exclusion", "service": "outreach-youth-work", "title": "Young people"}]
        },
    ),
    Endpoint(
        method="GET",
        path="/verdict",
        handler="answers.verdict",
        title="What the scores of a need rest on",
        says="The verdict in force: its id, state, model and expiry.",
        roles=(AUDITOR, DATA_SCIENTIST, SYSTEM),
        on_trial=True,
        query=(NEED,),
        answer=VerdictResponse,
        problems={404: ("Unknown need",), **NO_TRUST},
        answer_example={
            "need": "youth_exclusion",
            "verdict_id": RESTS_ON["verdict_id"],
            "state": "PASS",
            "model_digest": DIGEST,
            "expires_at": "2025-06-03T00:00:00+00:00",
            "demonstration": False,
        },
    ),
    Endpoint(
        method="POST",
        path="/jobs",
        handler="job_desk.ask_job",
        title="Have a whole cohort scored",
        says="Everybody whom a need covers on a day, in the background; `Location` says where to ask how far it is. "
        "Whoever asks again for the same day gets the same job, as long as its scores would be the same.",
        roles=(SYSTEM,),
        purpose=True,
        body=JobRequest,
        max_body_bytes=SMALL_BODY_BYTES,
        answer=JobResponse,
        successes=(202,),
        problems={
            404: ("Unknown need",),
            415: ("Not JSON",),
            422: ("Too early", "Too late"),
            429: ("Too many jobs",),
            **NO_TRUST,
        },
        example={"need": "youth_exclusion", "as_of_date": "2024-06-03"},
        answer_example={**_JOB, "state": "waiting", "doing": "waiting", "progress": 0.0},
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}",
        handler="job_desk.job",
        title="How far a job is",
        says="To whoever asked for it. It is kept for a week.",
        roles=(SYSTEM,),
        answer=JobResponse,
        problems={404: ("Unknown job",)},
        answer_example={**_JOB, "state": "running", "doing": "scoring", "progress": 0.4},
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/scores",
        handler="job_desk.job_scores",
        title="All scores of a job",
        says="As `ennakko score` writes them, to the bit, first rank first, and without those who object by now: JSON, "
        "or an Arrow IPC stream where `Accept` asks for one.",
        roles=(SYSTEM,),
        purpose=True,
        answer=JobScoresResponse,
        answer_kinds=(JSON, ARROW),
        problems={
            404: ("Unknown job",),
            406: ("No such kind of answer",),
            409: ("Not done", "Failed", "Not in force"),
            410: ("No longer kept",),
            503: ("No score may leave now", "Busy", "Too slow"),
        },
        answer_example={
            **{name: _JOB[name] for name in ("job_id", "need", "as_of_date")},
            **RESTS_ON,
            "rows": [{"person_id": "000123", "score": 0.176, "rank": 1, "rank_band": "top_1"}],
        },
        seconds=300.0,
    ),
    Endpoint(
        method="DELETE",
        path="/jobs/{job_id}",
        handler="job_desk.forget_job",
        title="Cancel or forget a job",
        says="Its scores go with it. What the store keeps of them, so that residents can be told, stays.",
        roles=(SYSTEM,),
        answer_kinds=(),
        successes=(204,),
        problems={404: ("Unknown job",)},
    ),
)
