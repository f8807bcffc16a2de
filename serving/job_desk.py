"""Whole-cohort jobs over HTTP: asked for, watched, read, forgotten. Another's job is answered as one that never was."""

from __future__ import annotations

import re
from datetime import UTC
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pydantic_core

from ethics.refusals import BadInput, Fault
from serving.acts import caller_of
from serving.answers import refuse_foreign_need
from serving.exchange import ARROW, JSON, Act, Answer, Asked, RestsOn, Unanswered
from serving.job_schemas import JobResponse, parse_job
from serving.negotiation import chosen_kind

if TYPE_CHECKING:
    import polars as pl

    from serving.job_table import Job

_JOB_ID = re.compile("[0-9a-f]{32}")
_UNKNOWN = Fault("job", "is none that is known here", "Ask for one: POST /jobs")
_AGAIN = {"Retry-After": "30"}


async def ask_job(asked: Asked) -> Answer:
    """Take a job, or give the one that was taken before and still holds."""
    found, is_new = await asked.state.in_thread(_asked, asked)
    if is_new:
        asked.state.jobs.wake()
    acts = (Act("score job", _facts(found)),)
    return Answer(_told(found), status=202, acts=acts, headers={"location": f"/jobs/{found.job_id}"})


async def job(asked: Asked) -> Answer:
    """How far a job is."""
    found = await asked.state.in_thread(_own, asked)
    return Answer(_told(found), headers={} if not found.is_unfinished else {"retry-after": "2"})


async def job_scores(asked: Asked) -> Answer:
    """All scores of a job that is done, in a thread of its own; so many at a time, as batches."""
    kind = chosen_kind(asked.headers.get("accept", ""), (JSON, ARROW))
    found, people, content = await asked.state.room.do(_scores, asked, kind)
    act = Act("score job read", {**_facts(found), "n": len(people)}, people)
    rests_on = RestsOn(found.need_id, str(found.verdict_id))
    return Answer(content, kind, acts=(act,), rows=len(people), rests_on=rests_on)


async def forget_job(asked: Asked) -> Answer:
    """Cancel a job, or forget what it came to."""
    found = await asked.state.in_thread(_forgotten, asked)
    return Answer(b"", status=204, acts=(Act("score job forgotten", _facts(found)),))


def _asked(asked: Asked) -> tuple[Job, bool]:
    from serving.job_table import TooManyJobs

    try:
        wanted = parse_job(asked.body)
    except BadInput as refusal:
        raise Unanswered(422, "The body cannot be used", *refusal.faults) from None
    refuse_foreign_need(asked, wanted.need, "body: need")
    desk, jobs = asked.state.desk, asked.state.jobs
    desk.trusted(wanted.need, "body: need")
    desk.refuse_date(wanted.as_of_date)
    try:
        found: tuple[Job, bool] = jobs.table.ask(
            wanted.need, wanted.as_of_date, asked.state.asker_of_job(caller_of(asked)), jobs.holds
        )
    except TooManyJobs as full:
        if full.of_one:
            fault = Fault("jobs", "of yours wait already, as many as may", "Ask again when one of them is done")
            raise Unanswered(429, "Too many jobs", fault, headers=_AGAIN) from None
        fault = Fault("service", "has as many jobs as it can take", "Ask again a little later")
        raise Unanswered(503, "Busy", fault, headers=_AGAIN) from None
    return found


def _own(asked: Asked) -> Job:
    """The job that the path names, if it is the caller's; raises Unanswered (404)."""
    job_id, caller = asked.path["job_id"], caller_of(asked)
    found: Job | None = asked.state.jobs.table.find(job_id if _JOB_ID.fullmatch(job_id) else "-")
    whose = asked.state.asker_of_job(caller)
    if found is None or found.asked_by != whose or not caller.may_use_need(found.need_id):
        raise Unanswered(404, "Unknown job", _UNKNOWN)
    return found


def _forgotten(asked: Asked) -> Job:
    found = _own(asked)
    asked.state.jobs.forget(found)
    return found


def _scores(asked: Asked, kind: str) -> tuple[Job, tuple[str, ...], bytes]:
    found = _own(asked)
    if found.state == "failed":
        raise Unanswered(409, "Failed", *found.faults)
    if found.is_unfinished:
        mend = f"Ask GET /jobs/{found.job_id} until it is done"
        raise Unanswered(409, "Not done", Fault("job", f"is {found.state}", mend), headers={"Retry-After": "2"})
    _require_trust(asked, found)
    frame = asked.state.jobs.scores_of(found)
    if frame is None:
        raise Unanswered(410, "No longer kept", Fault("job", "has no scores any more", "Ask for them: POST /jobs"))
    content = _as_arrow(found, frame) if kind == ARROW else _as_json(found, frame)
    return found, tuple(frame["person_id"]), content


def _require_trust(asked: Asked, found: Job) -> None:
    """Refuse scores that may not leave now: of a need that is not trusted, or of another model than the one that is."""
    scorer = asked.state.desk.trusted(found.need_id, "job")
    if (found.model_digest, found.verdict_id) != (str(scorer.model.digest), scorer.verified.verdict.verdict_id):
        wrong = "was made by a model, or under a verdict, that is no longer in force"
        raise Unanswered(409, "Not in force", Fault("job", wrong, "Ask for the scores again: POST /jobs"))


def _facts(found: Job) -> dict[str, str | int]:
    return {"need": found.need_id, "as_of_date": found.as_of_date.isoformat(), "job": found.job_id}


def _told(found: Job) -> bytes:
    told: dict[str, Any] = {name: getattr(found, name) for name in JobResponse.model_fields if hasattr(found, name)}
    told |= {"need": found.need_id, "faults": [fault.facts() for fault in found.faults]}
    told |= {name: None if told[name] is None else told[name].astimezone(UTC) for name in ("asked_at", "ended_at")}
    return pydantic_core.to_json(told)


def _head(found: Job) -> dict[str, str]:
    assert found.model_digest is not None and found.verdict_id is not None  # it is done
    rests_on = {"model_digest": found.model_digest, "verdict_id": found.verdict_id}
    return {"job_id": found.job_id, "need": found.need_id, "as_of_date": found.as_of_date.isoformat(), **rests_on}


def _as_json(found: Job, frame: pl.DataFrame) -> bytes:
    rows = BytesIO()
    frame.write_json(rows)
    return pydantic_core.to_json(_head(found))[:-1] + b',"rows":' + rows.getvalue() + b"}"


def _as_arrow(found: Job, frame: pl.DataFrame) -> bytes:
    """One Arrow IPC stream; what all rows share is in the schema's metadata."""
    import polars as pl
    import pyarrow as pa

    schema = pa.schema(
        [
            *(pa.field("person_id", pa.string()), pa.field("score", pa.float64())),
            *(pa.field("rank", pa.uint32()), pa.field("rank_band", pa.string())),
        ],
        metadata=_head(found),
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content
