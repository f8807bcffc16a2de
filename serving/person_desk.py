"""Residents over HTTP, and service points for them: what was done with a person's data, and how to say no to it.

The same functions answer as behind ``ennakko person`` and ``ennakko object``. A resident sees and speaks for themselves
alone; another person, and one who does not exist, are one answer. Nobody unknown is told anything of a person, not even
where a service without an issuer is otherwise open to this machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ethics.objections import CHANNELS, EVERY_NEED
from ethics.refusals import BadInput, Fault, did_you_mean
from serving.access import known_identity, role_of
from serving.exchange import HTML, JSON, Act, Answer, Asked, Unanswered
from serving.identity import Role
from serving.negotiation import chosen_kind
from serving.objection_work import known_needs, person_fault, record_objection, store_if_begun
from serving.person_schemas import ObjectionRequest
from serving.person_work import look_at_person
from serving.schemas import faults_of_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.home import Home

LANGUAGES = ("fi", "sv", "en")
_STYLE = ("<style>", "</style>")
_SHOWN = ("need", "channel", "by", "objecting", "changed", "erased", "seen_before")


async def person(asked: Asked) -> Answer:
    """The resident's own view."""
    return await _view(asked, await asked.state.views.do(_self_of, asked))


async def person_of(asked: Asked) -> Answer:
    """A person's view: to the person, or to a service point on their behalf."""
    return await _view(asked, await asked.state.views.do(_whose, asked, asked.path["person_id"], "path: person_id"))


async def objections(asked: Asked) -> Answer:
    """The objections that stand."""
    return await asked.in_room(asked.state.objecting, _standing)


async def object_to(asked: Asked) -> Answer:
    """An objection, in force once this is answered."""
    try:
        said = ObjectionRequest.model_validate_json(asked.body)
    except ValidationError as error:
        raise Unanswered(422, "The body cannot be used", *faults_of_body(error, ObjectionRequest)) from None
    return await asked.in_room(asked.state.objecting, _objected, said.person_id, said.need, said.channel, "body")


async def withdraw(asked: Asked) -> Answer:
    """The withdrawal of one objection; asking again changes nothing."""
    query = asked.query
    given = (query.get("person_id"), query["need"], query.get("channel"))
    return await asked.in_room(asked.state.objecting, _objected, *given, "query")


# ---- the view --------------------------------------------------------------------------------------------------


async def _view(asked: Asked, person_id: str) -> Answer:
    kind = chosen_kind(asked.headers.get("accept", ""), (JSON, HTML))
    language = asked.query.get("language", "en")
    if language not in LANGUAGES:
        raise _unusable(Fault("query: language", "is none of the view", f"Give one of: {', '.join(LANGUAGES)}"))
    return await asked.in_room(asked.state.views, _looked_at, person_id, language, kind)


def _looked_at(asked: Asked, person_id: str, language: str, kind: str) -> Answer:
    """The view; who looked is in the store and the audit log before anything is read."""
    home, identity = asked.state.home, known_identity(asked)
    try:
        with _beside_others(home):
            found = look_at_person(
                home,
                person_id,
                actor=role_of(identity).replace("_", " "),
                purpose=asked.purpose,
                language=language,
                city=asked.state.desk.city,
                said_of_look={"subject": asked.state.pseudonym(identity), "request": asked.request_id},
            )
    except BadInput as refusal:
        named = (fault._replace(where="header: x-purpose") for fault in refusal.faults)
        raise Unanswered(422, "The purpose cannot be kept", *named) from None
    del found["html"]
    return _as_page(found) if kind == HTML else Answer(_as_json(found), rows=1)


def _as_page(view: Mapping[str, Any]) -> Answer:
    """The view as the page that ``ennakko person --html`` writes, of which the browser runs and fetches nothing."""
    from scoring.person_page import render_page

    page = render_page(view)
    headers = {"content-security-policy": page_policy(page), "content-language": str(view["language"])}
    return Answer(page.encode(), f"{HTML}; charset=utf-8", headers=headers, rows=1)


def page_policy(page: str) -> str:
    """The content security policy under which one page's own style works, and nothing else.

    Source: Content Security Policy Level 3, §8.3 (hashes of inline content).
    """
    style = page.partition(_STYLE[0])[2].partition(_STYLE[1])[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    closed = ("default-src", "base-uri", "form-action", "frame-ancestors")
    return "; ".join((*(f"{name} 'none'" for name in closed), f"style-src 'sha256-{digest}'"))


# ---- objections ------------------------------------------------------------------------------------------------


def _standing(asked: Asked) -> Answer:
    person_id = _whose(asked, asked.query.get("person_id"), "query: person_id")
    home = asked.state.home
    with _beside_others(home):
        standing = [] if _is_erased(home, person_id) else home.objections.standing(person_id)
    acts = (Act("objections", _reference(home, person_id)),)
    return Answer(_as_json({"standing": _told([one._asdict() for one in standing])}), acts=acts, rows=1)


def _objected(asked: Asked, given: str | None, need_id: str, channel: str | None, where: str) -> Answer:
    """Record or withdraw; the log learns who did it for somebody else, and of a resident only that it was one."""
    home, identity = asked.state.home, known_identity(asked)
    person_id = _whose(asked, given, f"{where}: person_id")
    _refuse_unknown(home, need_id, channel, where)
    by = Role(role_of(identity))
    said = {"request": asked.request_id}
    if by is not Role.RESIDENT:
        said["subject"] = asked.state.pseudonym(identity)
    what: dict[str, Any] = {"need_id": need_id, "channel": channel, "by": by.value}
    record = _object if where == "body" else _withdraw
    with _beside_others(home):
        found = record(home, person_id, what, said)
    told = {name: found[name] for name in _SHOWN}
    told["standing"] = [] if found["erased"] else _told(found["standing"])
    told |= {"recalled_files": sum(file["new"] for file in found["recalled"]), "place_proposals": len(found["places"])}
    acts: tuple[Act, ...] = ()
    if (
        record is _withdraw and not found["changed"] and by is not Role.RESIDENT
    ):  # nothing was done, and yet somebody was looked at
        acts = (Act("withdraw", {"need": need_id, "changed": 0, **_reference(home, person_id)}),)
    return Answer(_as_json(told), acts=acts, rows=1)


def _is_erased(home: Home, person_id: str) -> bool:
    """Whether nothing is told of a person any more."""
    store = store_if_begun(home)
    return store is not None and bool(store.is_erased([person_id])[0])


def _reference(home: Home, person_id: str) -> dict[str, str | int]:
    """A person as the audit log names them, or that they are nobody the store knows."""
    store = store_if_begun(home)
    refs = {} if store is None else store.refs([person_id])
    return {"person": refs[person_id]} if refs else {"known": 0}


def _object(home: Home, person_id: str, what: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, Any]:
    from serving.guardian_lists import city_with_contacts

    return record_objection(home, person_id, **what, city=city_with_contacts(home), said_of_act=said)


def _withdraw(home: Home, person_id: str, what: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, Any]:
    """The withdrawal; where nothing of the kind stands, that it does not, which is what was wanted."""
    try:
        return record_objection(home, person_id, **what, withdraw=True, said_of_act=said)
    except BadInput:
        standing, store = home.objections.standing(person_id), store_if_begun(home)
        if any((one.need_id, one.channel) == (what["need_id"], what["channel"]) for one in standing):
            raise
    return {
        **{"need": what["need_id"], "channel": what["channel"], "by": what["by"], "objecting": False, "changed": False},
        "erased": store is not None and bool(store.is_erased([person_id])[0]),
        "standing": [one._asdict() for one in standing],
        "recalled": [],
        "places": [],
        "seen_before": None if store is None else bool(store.refs([person_id])),
    }


def _refuse_unknown(home: Home, need_id: str, channel: str | None, where: str) -> None:
    known = [EVERY_NEED, *known_needs(home)]
    if need_id not in known:
        fault = Fault(f"{where}: need", "is no need of this city", did_you_mean(need_id, known))
        raise Unanswered(404, "Unknown need", fault)
    if channel is not None and channel not in CHANNELS:
        raise _unusable(Fault(f"{where}: channel", "is no channel", f"Give one of: {', '.join(CHANNELS)}"))


def _told(standing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"need": one["need_id"], "channel": one["channel"], "since": one["since"]} for one in standing]


# ---- who -------------------------------------------------------------------------------------------------------


def _self_of(asked: Asked) -> str:
    """The resident who asks, by the token or by the profile that it names."""
    identity = known_identity(asked)
    if identity.profile is None:
        own = identity.person_id
    else:
        levels = asked.state.settings.gdpr_loa
        if identity.loa not in levels:
            wrong, mend = "was given for a weaker sign-in than this asks for", f"Sign in at: {' or '.join(levels)}"
            raise Unanswered(403, "Stronger sign-in needed", Fault("token", wrong, mend))
        own = asked.state.links.person_of(identity.profile)
    if own is None:
        raise _nobody("token")
    return own


def _whose(asked: Asked, given: str | None, where: str) -> str:
    """Whom it is about: the resident themselves, or whomever a service point names."""
    identity = known_identity(asked)
    if role_of(identity) == Role.RESIDENT:
        own = _self_of(asked)
        if given not in (None, own):
            raise _nobody(where)
        return own
    if given is None:
        fault = Fault(where, "is missing", "Say for whom: a service point asks on somebody's behalf")
        raise Unanswered(422, "Not said for whom", fault)
    if fault_of_id := person_fault(given.strip()):
        raise Unanswered(404, "Unknown person", fault_of_id._replace(where=where))
    return given.strip()


def _nobody(where: str) -> Unanswered:
    mend = "A resident asks: GET /person"
    return Unanswered(404, "Unknown person", Fault(where, "is nobody who is known here", mend))


# ---- small parts -----------------------------------------------------------------------------------------------


@contextmanager
def _beside_others(home: Home) -> Iterator[None]:
    """Beside other commands in this home; while an erasure is at work nobody is kept waiting."""
    with ExitStack() as held:
        try:
            held.enter_context(home.in_use(wait=False))
        except BlockingIOError:
            wrong = "is at an erasure, beside which nothing about a person is read or kept"
            again = {"Retry-After": "5"}
            raise Unanswered(503, "Must wait", Fault("home", wrong, "Ask again soon"), headers=again) from None
        yield


def _unusable(*faults: Fault) -> Unanswered:
    return Unanswered(400, "The request cannot be used", *faults)


def _as_json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()
