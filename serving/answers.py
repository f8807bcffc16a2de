"""What answers each row of the table of endpoints: ``async (Asked) -> Answer``."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, did_you_mean
from serving import service_metrics
from serving.exchange import ARROW, JSON, Act, Answer, Asked, RestsOn, Unanswered, unknown_person
from serving.negotiation import chosen_kind
from serving.own_people import by_id_alone, is_of_unit, people_of_unit
from serving.schemas import parse_request

if TYPE_CHECKING:
    from serving.audit_queue import AuditQueue
    from serving.batches import Many, ManyScored
    from serving.desk import ScoreDesk
    from serving.schemas import ScoreRequest

_INLINE_BYTES = 16_000
_PLAIN = "text/plain; charset=utf-8"


async def score(asked: Asked) -> Answer:
    """One person. Where the day is ready, at once; otherwise in a thread."""
    try:
        short = len(asked.body) <= _INLINE_BYTES  # a longer one would hold up everybody else while it is read
        wanted = parse_request(asked.body) if short else await asked.state.in_thread(parse_request, asked.body)
    except BadInput as refusal:
        raise _unusable(refusal) from None
    refuse_foreign_need(asked, wanted.need, "body: need")
    of_unit = is_of_unit(asked)
    try:
        desk = asked.state.desk
        found = None if of_unit or desk.waits else desk.answer_now(wanted)
        if of_unit:
            content, verdict_id = await asked.state.in_thread(_score_to_unit, asked, wanted)
        else:
            content, verdict_id = found or await asked.state.in_thread(desk.answer_in_thread, wanted)
    except Unanswered as unanswered:
        if unanswered.problem.title != "Unknown person":
            unanswered.acts = _act_of(wanted, unanswered.problem.title)
        raise
    if asked.identity is not None:
        return Answer(content, acts=_act_of(wanted, "scored"), rows=1, rests_on=RestsOn(wanted.need, verdict_id))
    # Made a moment ago in this very step of the event loop, it leaves in the same: nothing came between.
    return Answer(content, rows=1, rests_on=None if found else RestsOn(wanted.need, verdict_id))


def _score_to_unit(asked: Asked, wanted: ScoreRequest) -> tuple[bytes, str]:
    """The answer to a unit; about whoever is not on its lists, that of somebody whom nobody knows."""
    desk: ScoreDesk = asked.state.desk
    if wanted.person is not None:
        raise by_id_alone("body: person")
    desk.trusted(wanted.need, "body: need")
    desk.refuse_date(wanted.as_of_date)
    if not people_of_unit(asked, wanted.need, [wanted.whose]):
        raise unknown_person()
    return desk.answer_in_thread(wanted)


def _act_of(wanted: ScoreRequest, outcome: str) -> tuple[Act, ...]:
    facts = {"need": wanted.need, "as_of_date": str(wanted.as_of_date), "outcome": outcome}
    return (Act("score", facts, (wanted.whose,)),)


async def score_batch(asked: Asked) -> Answer:
    """Many people, in a thread of their own; so many batches at a time, and the next is told to come again."""
    kind = chosen_kind(asked.headers.get("accept", ""), (asked.kind, JSON, ARROW))
    found, content = await asked.state.room.do(_batch, asked, kind)
    facts = {"need": found.need, "as_of_date": found.as_of_date.isoformat(), "n": len(found.person_ids)}
    acts: tuple[Act, ...] = ()
    if asked.identity is not None:
        acts = (Act("score batch", {**facts, "scored": found.n_scored}, found.concerned),)
    return Answer(content, kind, acts=acts, rows=found.n_scored, rests_on=RestsOn(found.need, found.verdict_id))


def _batch(asked: Asked, kind: str) -> tuple[ManyScored, bytes]:
    from serving import batches
    from serving.batch_schemas import TOO_MANY

    try:
        many: Many = batches.read_batch(asked.body, asked.kind, asked.query)
    except BadInput as refusal:
        if any(fault.where == TOO_MANY for fault in refusal.faults):
            raise Unanswered(413, "Too many rows", *refusal.faults) from None
        raise _unusable(refusal) from None
    refuse_foreign_need(asked, many.need, "need")
    if is_of_unit(asked):
        if many.person_ids is None:
            raise by_id_alone("body: persons")
        many = replace(many, only=people_of_unit(asked, many.need, many.person_ids.unique().to_list()))
    found = batches.score_many(asked.state.desk, many)
    return found, (batches.as_arrow if kind == ARROW else batches.as_json)(found)


async def needs(asked: Asked) -> Answer:
    """What can be asked for; a unit sees its own needs."""
    found = [need for need in asked.state.desk.needs() if _may_ask(asked, need["need"])]
    return _json({"needs": found})


async def verdict(asked: Asked) -> Answer:
    """What the scores of a need rest on."""
    need_id = asked.query["need"]
    refuse_foreign_need(asked, need_id, "query: need")
    return _json(await asked.state.in_thread(asked.state.desk.verdict, need_id))


async def livez(_asked: Asked) -> Answer:
    """The process answers."""
    return Answer(b"\n", _PLAIN)


async def readyz(asked: Asked) -> Answer:
    """Every need is trusted, the database answers, and the audit log can be written."""
    faults = await asked.state.probe(_not_ready, asked.state.desk, asked.state.audit)
    if faults:
        raise Unanswered(503, "Not ready", *faults)
    return Answer(b"\n", _PLAIN)


def _not_ready(desk: ScoreDesk, audit: AuditQueue) -> list[Fault]:
    from sqlalchemy.exc import SQLAlchemyError

    now = datetime.now(UTC)
    faults = [
        Fault(f"need {need_id}", "is not trusted now", f"Ask why: GET /verdict?need={need_id}")
        for need_id, guarded in sorted(desk.guarded.items())
        if not guarded.may_score(now)
    ]
    try:
        desk.objections.count()
        if audit.faults():  # anyone may ask, so no path is told
            mend = "Look at audit_head.json, its folder and disk, and the database"
            faults.append(Fault("audit log", "cannot be written, so nothing that it must hold is answered", mend))
    except (SQLAlchemyError, BadInput, OSError):
        faults.append(Fault("database", "does not answer", "Start it, or look at its disk"))
    return faults


async def metrics(asked: Asked) -> Answer:
    """Prometheus' text; open on loopback, by a token of its own elsewhere."""
    settings = asked.state.settings
    if not settings.on_loopback:
        token, given = settings.metrics_token, asked.headers.get("authorization", "")
        if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Unanswered(404, "Not Found", Fault("path", "is not one here", "See GET /openapi.json"))
    return Answer(await asked.state.probe(asked.state.metrics.text), service_metrics.KIND)


async def openapi(asked: Asked) -> Answer:
    """The description of what can be asked."""
    return Answer(asked.state.openapi)


def refuse_foreign_need(asked: Asked, need_id: str, where: str) -> None:
    """Another unit's need is told of as one that does not exist.

    Raises
    ------
    Unanswered
    """
    guarded = asked.state.desk.guarded
    if need_id not in guarded or not _may_ask(asked, need_id):
        known = [known for known in guarded if _may_ask(asked, known)]
        mend = did_you_mean(need_id, known) if known else "Ask for a token that names a need"
        raise Unanswered(404, "Unknown need", Fault(where, "names no need this server answers for", mend))


def _may_ask(asked: Asked, need_id: str) -> bool:
    return asked.identity is None or asked.identity.may_use_need(need_id)


def _unusable(refusal: BadInput) -> Unanswered:
    return Unanswered(422, "The body cannot be used", *refusal.faults)


def _json(facts: Any) -> Answer:
    return Answer(json.dumps(facts, ensure_ascii=False).encode())
