"""Rows of the table of endpoints: what residents see and say, by themselves or through Helsinki Profile."""

from __future__ import annotations

from typing import Any

from ethics.objections import CHANNELS
from serving.endpoint_shape import PROFILE_PATH, RESIDENT, SERVICE_POINT, SMALL_BODY_BYTES, TEXT, Endpoint, Parameter
from serving.exchange import HTML, JSON
from serving.gdpr_schemas import GdprNode
from serving.person_schemas import (
    OBJECTION_EXAMPLE,
    STANDING_EXAMPLE,
    VIEW_EXAMPLE,
    ObjectionRequest,
    ObjectionResponse,
    PersonResponse,
    StandingResponse,
)

_CHANNEL = {"type": "string", "enum": list(CHANNELS)}
_LANGUAGE = Parameter(
    name="language",
    says="Of what is told: fi, sv or en (which it is unless said).",
    required=False,
    schema={"type": "string", "enum": ["fi", "sv", "en"]},
)
_ON_BEHALF = Parameter(
    name="person_id", says="For a service point: on whose behalf it asks.", required=False, schema=TEXT
)
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
    "problems": {**_OF_PERSON, 406: ("No such kind of answer",)},
    "answer_example": VIEW_EXAMPLE,
}
_OF_OBJECTION = {**_OF_PERSON, 404: ("Unknown person", "Unknown need"), 422: ("Not said for whom",)}
_PROFILE_PROBLEMS: dict[int, tuple[str, ...]] = {
    401: ("Not signed in",),
    403: ("Not granted", "To be kept by law"),
    404: ("Not Found",),
    405: ("Method Not Allowed",),
    429: ("Too often",),
    503: ("Must wait",),
}

RESIDENTS: tuple[Endpoint, ...] = (
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
        max_body_bytes=SMALL_BODY_BYTES,
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
            Parameter(name="need", says="The need, or `*`.", schema=TEXT, example="*"),
            Parameter(name="channel", says="The channel, if it was one.", required=False, schema=_CHANNEL),
            _ON_BEHALF,
        ),
        answer=ObjectionResponse,
        problems=_OF_OBJECTION,
        answer_example={**OBJECTION_EXAMPLE, "objecting": False, "standing": []},
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
