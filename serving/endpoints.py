"""The one table of what can be asked over HTTP: routes, roles, limits, and the OpenAPI document are read from it.

What is not a row here is not found. A handler is named, not imported, so that the table can be read without BentoML,
polars or a city: ``answers.score`` is the function ``score`` of :mod:`serving.answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from ethics.objections import CHANNELS
from serving.audit_schemas import (
    CELLS_EXAMPLE,
    ENVELOPE_EXAMPLE,
    LAST_NUMBER,
    LOG_EXAMPLE,
    MOST_ROWS,
    SOME_ROWS,
    VERDICTS_EXAMPLE,
    AuditLogResponse,
    CellsResponse,
    EnvelopeResponse,
    VerdictsResponse,
)
from serving.batch_schemas import BatchRequest, BatchResponse
from serving.exchange import ARROW, HTML, JSON, PARQUET
from serving.gdpr_schemas import GdprNode
from serving.identity import Role
from serving.list_schemas import (
    AttemptsRequest,
    ListsResponse,
    OutcomesRequest,
    UnitListResponse,
    WorkResponse,
)
from serving.person_schemas import (
    OBJECTION_EXAMPLE,
    STANDING_EXAMPLE,
    VIEW_EXAMPLE,
    ObjectionRequest,
    ObjectionResponse,
    PersonResponse,
    StandingResponse,
)
from serving.schemas import MAX_BODY_BYTES, NeedsResponse, ScoreRequest, ScoreResponse, VerdictResponse

UNIT, DATA_SCIENTIST, AUDITOR, RESIDENT, SERVICE_POINT, SYSTEM = ROLES = tuple(role.value for role in Role)
PLAIN, PROMETHEUS = "text/plain", "text/plain; version=0.0.4"
PROFILES = "/gdpr-api/v1/profiles"
PROFILE_PATH = f"{PROFILES}/{{profile}}"
_MEGABYTE = 1_000_000
_DIGEST = "5c1b" * 16


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One value of the query string."""

    name: str
    says: str
    required: bool = True
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One thing that can be asked.

    Attributes
    ----------
    method, path : str
        A path may hold ``{names}``.
    handler : str
        ``module.function`` within :mod:`serving`: ``async (Asked) -> Answer``.
    title, says : str
        In a few words, and at length.
    roles : tuple of str
        Who may ask with a token; empty means anybody, without one.
    on_trial : bool
        Whether a service that is started without tokens, to try things out, answers it to anybody on the machine.
    purpose : bool
        Whether the header ``X-Purpose`` must say what the answer is for, and the audit log keeps it.
    query : tuple of Parameter
        All that the query string may hold, each at most once.
    body, answer : pydantic model or None
        As JSON; ``body_kinds`` and ``answer_kinds`` are the content types, JSON first.
    problems : mapping
        Status → titles of the problem details, besides those that every endpoint can give.
    example, answer_example
        As JSON holds them.
    scope : str
        For Helsinki Profile alone: what its token must be granted, in place of a role. Such a row is answered by the
        GDPR interface (:mod:`serving.gdpr`) in the city's own form, and is there only where the settings name the
        issuer behind Helsinki Profile.
    successes : tuple of int
        Statuses of an answer; 204 has no body.
    max_body_bytes : int
    seconds : float
        How long an answer may take once the body is here.
    """

    method: str
    path: str
    handler: str
    title: str
    says: str
    roles: tuple[str, ...] = ()
    on_trial: bool = False
    purpose: bool = False
    query: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    body_kinds: tuple[str, ...] = (JSON,)
    answer: type[BaseModel] | None = None
    answer_kinds: tuple[str, ...] = (JSON,)
    problems: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    example: Any = None
    answer_example: Any = None
    max_body_bytes: int = MAX_BODY_BYTES
    seconds: float = 60.0
    scope: str = ""
    successes: tuple[int, ...] = (200,)

    def function(self) -> Callable[..., Any]:
        """The handler itself."""
        module, _, name = self.handler.rpartition(".")
        found: Callable[..., Any] = getattr(import_module(f"serving.{module}"), name)
        return found

    @property
    def all_problems(self) -> dict[int, tuple[str, ...]]:
        """Status → titles of every refusal that can come, its own and those of the door."""
        door: dict[int, tuple[str, ...]] = {400: ("The request cannot be used",), 500: ("Internal error",)}
        if self.roles:
            door |= {401: ("Not signed in",), 403: ("Not for this role",), 429: ("Too often",)}
            door |= {503: ("Nobody can be recognised now", "The database does not answer")}
        if self.purpose:
            door[400] = (*door[400], "No purpose")
        if self.body is not None:
            door |= {408: ("Too slow",), 413: ("Too long",), 422: ("The body cannot be used",)}
            door |= {415: ("Compressed", "Not a kind that is read"), 503: (*door.get(503, ()), "Busy", "Too slow")}
        for status, titles in self.problems.items():
            door[status] = tuple(dict.fromkeys((*door.get(status, ()), *titles)))
        return dict(sorted(door.items()))


_NO_TRUST = {503: ("No score may leave now",)}
_NEED = Parameter(name="need", says="Id of a need that this server answers for.", example="youth_exclusion")
_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
_CHANNEL = {"type": "string", "enum": list(CHANNELS)}
_EXAMPLE = {"need": "youth_exclusion", "as_of_date": "2024-06-03", "person_id": "000123"}
_MANY = {"need": "youth_exclusion", "as_of_date": "2024-06-03", "person_ids": ["000123", "000124"]}
_UNIT_ASKED = Parameter(name="unit", says="The unit whose part of a list it is.", schema=_TEXT, example="kallio")
_LIST = {
    "list_id": "01J3ZV5Q8W2M7R4T6Y9B1C0D3F",
    "as_of_date": "2024-06-03",
    "period": "2024-06-03/2024-06-10",
    "published_at": "2024-06-03T05:12:09+00:00",
    "n": 40,
    "recalled": False,
    "replaced_by": None,
}
_CAME = {"person_id": "000123", "at": "2024-06-05T09:30", "outcome": "reached"}
_KEPT = {"outcomes": 1, "known_before": 0, "erased": 0, "by_outcome": {"reached": 1}}
_RESTS_ON = {"model_digest": _DIGEST, "verdict_id": "v-217ee618b351ce3a5935"}

_LANGUAGE = Parameter(
    name="language",
    says="Of what is told: fi, sv or en (which it is unless said).",
    required=False,
    schema={"type": "string", "enum": ["fi", "sv", "en"]},
)
_ON_BEHALF = Parameter(
    name="person_id", says="For a service point: on whose behalf it asks.", required=False, schema=_TEXT
)
_JUDGED = replace(_NEED, says="Id of a need that was judged here.")
_OF_PERSON: dict[int, tuple[str, ...]] = {
    403: ("Stronger sign-in needed",),
    404: ("Unknown person",),
    503: ("Must wait", "Busy", "Too slow"),
}
_VIEW: dict[str, Any] = {
    "purpose": True,
    "query": (_LANGUAGE,),
    "answer": PersonResponse,
    "answer_kinds": (JSON, HTML),
    "problems": {**_OF_PERSON, 406: ("No such kind of answer",), 422: ("The purpose cannot be kept",)},
    "answer_example": VIEW_EXAMPLE,
}
_OF_OBJECTION = {**_OF_PERSON, 404: ("Unknown person", "Unknown need"), 422: ("Not said for whom",)}
_HEAVY: dict[int, tuple[str, ...]] = {503: ("Busy", "Too slow")}

_PROFILE_PROBLEMS: dict[int, tuple[str, ...]] = {
    401: ("Not signed in",),
    403: ("Not granted", "To be kept by law"),
    404: ("Not Found",),
    405: ("Method Not Allowed",),
    429: ("Too often",),
    503: ("Must wait",),
}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/score",
        handler="answers.score",
        title="Score one person",
        says=(
            "A person of the city folder by `person_id`, or one who is not in it by `person` and `events`. "
            "The score, its band and the reasons are those of the weekly list, to the bit."
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
            **_NO_TRUST,
        },
        example=_EXAMPLE,
        answer_example={
            "person_id": "000123",
            "as_of_date": "2024-06-03",
            "score": 0.176,
            "rank_band": "top_10",
            "reasons": [{"text": "12 absences from school", "source": "school register", "changeable": True}],
            **_RESTS_ON,
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
            "stream where `Accept` asks for one. Reasons are told one person at a time, by `POST /score`."
        ),
        roles=(UNIT, SYSTEM),
        on_trial=True,
        purpose=True,
        query=(
            Parameter(name="need", says="With an Arrow body: the need.", required=False, schema=_TEXT),
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
            **_NO_TRUST,
        },
        example=_MANY,
        answer_example={
            "need": "youth_exclusion",
            "as_of_date": "2024-06-03",
            **_RESTS_ON,
            "rows": [
                {"person_id": "000123", "status": "scored", "score": 0.176, "rank_band": "top_10"},
                {"person_id": "000124", "status": "not_covered", "score": None, "rank_band": None},
            ],
        },
        max_body_bytes=64 * _MEGABYTE,
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
        query=(_NEED,),
        answer=VerdictResponse,
        problems={404: ("Unknown need",), **_NO_TRUST},
        answer_example={
            "need": "youth_exclusion",
            "verdict_id": _RESTS_ON["verdict_id"],
            "state": "PASS",
            "model_digest": _DIGEST,
            "expires_at": "2025-06-03T00:00:00+00:00",
            "demonstration": False,
        },
    ),
    Endpoint(
        method="GET",
        path="/lists",
        handler="list_desk.lists",
        title="A unit's lists",
        says="The published lists of a need that have a part for the unit, newest first; nobody is named.",
        roles=(UNIT, SYSTEM),
        query=(_NEED, _UNIT_ASKED),
        answer=ListsResponse,
        problems={404: ("Unknown need", "Unknown list")},
        answer_example={"need": "youth_exclusion", "unit": "kallio", "lists": [_LIST]},
    ),
    Endpoint(
        method="GET",
        path="/lists/{list_id}",
        handler="list_desk.unit_list",
        title="A unit's part of a list",
        says="Its rows as they stand today, without those who object; the look is recorded, and residents are told of "
        "it. Reasons are those of the published list.",
        roles=(UNIT, SYSTEM),
        purpose=True,
        query=(_UNIT_ASKED,),
        answer=UnitListResponse,
        problems={404: ("Unknown list",)},
        answer_example={
            **{name: _LIST[name] for name in ("list_id", "as_of_date", "period", "published_at")},
            "need": "youth_exclusion",
            "unit": "kallio",
            "language": "fi",
            "rows": [
                {
                    "position": 1,
                    "kind": "ranked",
                    "person_id": "000123",
                    "rank_band": "top_1",
                    "worker": None,
                    "not_by": ["phone"],
                    "reasons": [
                        {
                            "text": "12 poissaoloa koulusta",
                            "source": "koulurekisteri",
                            "changeable": True,
                            "day": "2024-05-30",
                        }
                    ],
                    "cautions": [],
                    "attempts": None,
                    "who_helps": None,
                }
            ],
        },
    ),
    Endpoint(
        method="POST",
        path="/lists/{list_id}/attempts",
        handler="list_desk.attempts",
        title="Tell of attempts to reach people",
        says="Each with what came of it, as a file of outcomes has it: all rows are kept or none, and every fault is "
        "told by its row. The same attempt sent twice is kept once.",
        roles=(UNIT, SYSTEM),
        purpose=True,
        query=(_UNIT_ASKED,),
        body=AttemptsRequest,
        answer=WorkResponse,
        problems={404: ("Unknown list",), 415: ("Not JSON",)},
        example={"rows": [{**_CAME, "channel": "phone", "worker": "A12"}], "language": "fi"},
        answer_example={"list_id": _LIST["list_id"], "rows": 1, "attempts": 1, **_KEPT},
    ),
    Endpoint(
        method="POST",
        path="/lists/{list_id}/outcomes",
        handler="list_desk.outcomes",
        title="Tell what came of earlier attempts",
        says="As attempts are told of, where nothing was tried anew: no attempt is counted.",
        roles=(UNIT, SYSTEM),
        purpose=True,
        query=(_UNIT_ASKED,),
        body=OutcomesRequest,
        answer=WorkResponse,
        problems={404: ("Unknown list",), 415: ("Not JSON",)},
        example={"rows": [_CAME], "language": "fi"},
        answer_example={"list_id": _LIST["list_id"], "rows": 1, "attempts": 0, **_KEPT},
    ),
    Endpoint(
        method="GET",
        path="/verdicts",
        handler="audit_desk.verdicts",
        title="A need's chain of verdicts",
        says="Every verdict that is kept of a need, oldest first, with its state, who signed it and whether it was "
        "revoked, and every place where the chain does not hold.",
        roles=(AUDITOR, DATA_SCIENTIST, SYSTEM),
        query=(_JUDGED,),
        answer=VerdictsResponse,
        problems={404: ("Unknown need",), **_HEAVY},
        answer_example=VERDICTS_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/verdicts/{verdict_id}",
        handler="audit_desk.verdict_envelope",
        title="A verdict as it was signed",
        says="The file, byte for byte: a DSSE envelope. `ennakko audit verify` verifies it from files alone.",
        roles=(AUDITOR, DATA_SCIENTIST, SYSTEM),
        answer=EnvelopeResponse,
        problems={404: ("Unknown verdict",)},
        answer_example=ENVELOPE_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/cells",
        handler="audit_desk.cells",
        title="The cells of a verdict",
        says=(
            "Counts of people by group, score bin and outcome, from which every statistic of a verdict is computed "
            "again; of the approved verdict unless another is named. They hold counts as small as one, and no id. "
            "As JSON, as an Arrow IPC stream, or as the Parquet file itself, whose SHA-256 the verdict was signed with."
        ),
        roles=(AUDITOR,),
        query=(
            _JUDGED,
            Parameter(name="verdict", says="Id of another verdict of the need.", required=False, schema=_TEXT),
        ),
        answer=CellsResponse,
        answer_kinds=(JSON, ARROW, PARQUET),
        problems={
            404: ("Unknown need", "Unknown verdict"),
            406: ("No such kind of answer",),
            503: (*_HEAVY[503], "Not as signed"),
        },
        answer_example=CELLS_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/audit-log",
        handler="audit_desk.audit_log",
        title="The audit log",
        says=(
            "Who did what, oldest first, some rows at a time, with the hashes of their chain. People stand in it as "
            "keyed hashes. Reading it is itself an act, which the next page shows."
        ),
        roles=(AUDITOR,),
        purpose=True,
        query=(
            Parameter(
                name="after",
                says="Rows after this number; 0, which is all of them, unless said.",
                required=False,
                schema={"type": "integer", "minimum": 0, "maximum": LAST_NUMBER},
            ),
            Parameter(
                name="limit",
                says=f"No more rows than this; {SOME_ROWS} unless said.",
                required=False,
                schema={"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
            ),
        ),
        answer=AuditLogResponse,
        problems=_HEAVY,
        answer_example=LOG_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/person",
        handler="person_desk.person",
        title="What was done with my data",
        says="The resident's own view: what was read, computed, listed and done, by whom, and who looked. As JSON, or "
        "as a page where `Accept` asks for one. The look is recorded before anything is read.",
        roles=(RESIDENT,),
        **_VIEW,
    ),
    Endpoint(
        method="GET",
        path="/person/{person_id}",
        handler="person_desk.person_of",
        title="What was done with a person's data",
        says="The same of one person: for a resident of themselves alone, for a service point of whoever asks there.",
        roles=(RESIDENT, SERVICE_POINT),
        **_VIEW,
    ),
    Endpoint(
        method="GET",
        path="/objections",
        handler="person_desk.objections",
        title="Which objections stand",
        says="The resident's own; for a service point, those of the person it asks for.",
        roles=(RESIDENT, SERVICE_POINT),
        purpose=True,
        query=(_ON_BEHALF,),
        answer=StandingResponse,
        problems={**_OF_PERSON, 422: ("Not said for whom",)},
        answer_example=STANDING_EXAMPLE,
    ),
    Endpoint(
        method="POST",
        path="/objections",
        handler="person_desk.object_to",
        title="Object",
        says=(
            "A no to one need or to all (`*`), as a whole or to one channel. In force once this is answered: no score "
            "and no list holds the person from then on, and files already handed out are called back. A service point "
            "says on whose behalf, and that is recorded. Objecting again changes nothing."
        ),
        roles=(RESIDENT, SERVICE_POINT),
        body=ObjectionRequest,
        answer=ObjectionResponse,
        problems={**_OF_OBJECTION, 415: ("Not JSON",)},
        example={"need": "*", "channel": "phone"},
        answer_example=OBJECTION_EXAMPLE,
    ),
    Endpoint(
        method="DELETE",
        path="/objections",
        handler="person_desk.withdraw",
        title="Withdraw an objection",
        says="Takes back the objection with this need and channel, and no other; `changed` is false where none stands.",
        roles=(RESIDENT, SERVICE_POINT),
        query=(
            Parameter(name="need", says="The need, or `*`.", schema=_TEXT, example="*"),
            Parameter(name="channel", says="The channel, if it was one.", required=False, schema=_CHANNEL),
            _ON_BEHALF,
        ),
        answer=ObjectionResponse,
        problems=_OF_OBJECTION,
        answer_example={**OBJECTION_EXAMPLE, "objecting": False, "standing": []},
    ),
    Endpoint(
        method="GET",
        path="/livez",
        handler="answers.livez",
        title="Whether the process answers",
        says="Always 200 while it does; says nothing of trust.",
        answer_kinds=(PLAIN,),
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        handler="answers.readyz",
        title="Whether scores can leave",
        says="200 only while every need is trusted and the database answers.",
        answer_kinds=(PLAIN,),
        problems={503: ("Not ready",)},
    ),
    Endpoint(
        method="GET",
        path="/healthz",
        handler="answers.livez",
        title="Whether the process answers",
        says="The same as `/livez`, by the name older watchers ask for.",
        answer_kinds=(PLAIN,),
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handler="answers.metrics",
        title="Measures for Prometheus",
        says="Open on loopback; elsewhere it needs the bearer token of `ENNAKKO_METRICS_TOKEN`.",
        answer_kinds=(PROMETHEUS,),
        problems={404: ("Not Found",)},
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler="answers.openapi",
        title="This description",
        says="OpenAPI 3.1, made from the same table as the routes.",
        answer_kinds=("application/json",),
    ),
    Endpoint(
        method="GET",
        path=PROFILE_PATH,
        handler="gdpr.gdpr_app",
        title="What is held about a resident, for Helsinki Profile",
        says="Everything held about the resident whose profile it is, as a tree of keys and values; 204 where that is "
        "nothing. The token is the resident's own, by the issuer behind Helsinki Profile.",
        scope="gdprquery",
        answer=GdprNode,
        successes=(200, 204),
        problems=_PROFILE_PROBLEMS,
        answer_example={"key": "ENNAKKO", "children": [{"key": "STATE", "value": "known"}]},
    ),
    Endpoint(
        method="DELETE",
        path=PROFILE_PATH,
        handler="gdpr.gdpr_app",
        title="Erasure of a resident's data, for Helsinki Profile",
        says="Done before the answer, or refused with the law that says to keep the data; with `dry_run`, nothing is "
        "erased and the answer is the same.",
        scope="gdprdelete",
        query=(
            Parameter(
                name="dry_run",
                says="Whether only to try.",
                required=False,
                schema={"type": "string", "enum": ["true", "false", "1", "0"]},
            ),
        ),
        answer_kinds=(),
        successes=(204,),
        problems=_PROFILE_PROBLEMS,
    ),
)
