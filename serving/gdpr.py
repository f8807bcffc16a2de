"""The GDPR interface of Helsinki Profile: a resident asks for their data, or for its erasure, through their profile.

The form is the city's: ``GET`` and ``DELETE`` of one address per profile, a tree of nodes for an answer, errors as
``{"errors": [{"code", "message": {"fi", "sv", "en"}}]}``.
Source: City-of-Helsinki/open-city-profile, GDPR API specification 1.0.0.
"""

from __future__ import annotations

import json
import logging
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.exchange import REQUEST_ID, is_database_gone
from serving.identity import Identity, UnusableClaims, holds_scope
from serving.issuer_keys import IssuerSilent
from serving.pending_erasures import PendingErasures, pending_in
from serving.tokens import Issuers, TokenRefused, bearer_of, challenge_of

if TYPE_CHECKING:
    from serving.home import Home
    from serving.profile_links import ProfileLinks

LANGUAGES = ("fi", "sv", "en")
ROOT_KEY = "ENNAKKO"
_LOG = logging.getLogger("ennakko.gdpr")
_MESSAGES = Path(__file__).with_name("gdpr_messages.toml")
_TRUE, _FALSE = ("true", "1"), ("false", "0")
_NOT_IN_KEYS = re.compile(r"[^A-Z0-9]+")
_PURPOSES = {"GET": "right of access (GDPR 15)", "DELETE": "right to erasure (GDPR 17)"}
_ACTS = {"GET": "gdpr query", "DELETE": "gdpr delete"}


@dataclass(frozen=True)
class Kept:
    """Why somebody's data may not be erased: a statutory duty to keep it, as the policy names it.

    Attributes
    ----------
    code : str
        A stable word for the reason.
    message : mapping of str to str
        Language → what the resident is told; all three languages.
    """

    code: str
    message: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.code or set(self.message) != set(LANGUAGES) or not all(self.message.values()):
            raise ValueError(f"a reason to keep data needs a code and a text in each of {', '.join(LANGUAGES)}")


class NotNow(Exception):
    """Raised by an erasure that has to wait for other work in the home: it has not begun, and nothing is left armed."""


View = Callable[[str], Mapping[str, Any] | None]
"""A person's pseudonym → everything that is held about them, as JSON could hold it; None where there is nothing."""
Erase = Callable[[str, bool, Callable[[], object]], Sequence[Kept]]
"""A person's pseudonym, whether only to try, and what to call once it begins → why not, or nothing once it is done.

The call comes alone in the home, before anything is gone; what it raises ends the erasure unbegun.

Raises :class:`NotNow` where somebody would have to wait for it.
"""
Record = Callable[..., object]
"""``(act, identity, person_id, **facts)``: writes who did what about whom into the audit log, before it returns."""


@dataclass(frozen=True)
class GdprDesk:
    """What stands behind the interface.

    Attributes
    ----------
    issuers : Issuers
    links : ProfileLinks
        Which profile is which person.
    pending : PendingErasures
        Erasures that have begun and not ended.
    view, erase : callable
        See :data:`View` and :data:`Erase`.
    record : callable
        See :data:`Record`.
    query_scope, delete_scope : str
        What the token must be granted.
    loa : sequence of str
        Levels of assurance that suffice.
    admits : callable
        Whether somebody may ask now, or has asked too often.
    """

    issuers: Issuers
    links: ProfileLinks
    pending: PendingErasures
    view: View
    erase: Erase
    record: Record
    query_scope: str = "ennakko.gdprquery"
    delete_scope: str = "ennakko.gdprdelete"
    loa: Sequence[str] = field(default=("substantial", "high"))
    admits: Callable[[Identity], bool] = lambda _identity: True

    @classmethod
    def of(
        cls,
        home: Home,
        *,
        issuers: Issuers,
        view: View,
        erase: Erase,
        admits: Callable[[Identity], bool] = lambda _identity: True,
    ) -> GdprDesk:
        """A desk over a home, with the scopes and levels that its settings name."""
        from serving.profile_links import open_links

        settings = home.settings
        return cls(
            issuers=issuers,
            links=open_links(home),
            pending=pending_in(home.root),
            view=view,
            erase=erase,
            record=audit_recorder(home),
            query_scope=settings.gdpr_query_scope,
            delete_scope=settings.gdpr_delete_scope,
            loa=settings.gdpr_loa,
            admits=admits,
        )

    def answer(
        self, method: str, profile: UUID, identity: Identity, *, dry_run: bool, request_id: str = ""
    ) -> Mapping[str, Any] | None:
        """What is held about the resident, or its erasure; None for nothing held, or nothing any more.

        The audit log keeps ``request_id`` with who asked.

        Raises
        ------
        _Unmet
            The token does not reach so far, or the data must be kept.
        """
        scope = self.query_scope if method == "GET" else self.delete_scope
        if identity.profile is None or not holds_scope(identity, scope):
            raise _Unmet(403, "scope_missing")
        if identity.profile != profile:
            raise _Unmet(403, "not_own_profile")
        if identity.loa not in self.loa:
            raise _Unmet(403, "stronger_sign_in_needed")
        mark = self.links.mark(profile)
        person_id = self.links.person_of(profile)
        if person_id is None and method != "GET" and not dry_run:
            person_id = self._half_forgotten(mark)
        if person_id is None:
            return None
        facts: dict[str, Any] = {"purpose": _PURPOSES[method]} | ({"dry_run": int(dry_run)} if method != "GET" else {})
        asked = {"request": request_id} if request_id else {}
        facts |= asked
        # Who looked is on disk before anything is looked up: a crash leaves a line too many, never one too few.
        self.record(_ACTS[method], identity, person_id, **facts)
        if method == "GET":
            return self.view(person_id)
        kept = self.erase(person_id, True, _nothing) if dry_run else self._erased(mark, person_id)
        if kept:
            self.record(
                "gdpr delete refused", identity, person_id, reasons=", ".join(each.code for each in kept), **asked
            )
            raise _Unmet(403, *kept)
        return None

    def _erased(self, mark: bytes, person_id: str) -> Sequence[Kept]:
        """Erase somebody, or say why not; what fails midway is still to be done, by whoever asks next."""

        def begun() -> None:
            if not self._still_means(mark, person_id):  # linked anew since this was asked
                raise NotNow
            self.pending.begin(mark, person_id)

        kept = self.erase(person_id, False, begun)
        if not kept:
            self.links.sweep()
        self.pending.end(mark)
        return kept

    def _half_forgotten(self, mark: bytes) -> str | None:
        """Whom a profile meant that leads nowhere because the store forgot them, while their files may be there."""
        person_id = self.pending.person_of(mark)
        return person_id if person_id is not None and self.links.is_forgotten(person_id) else None

    def _still_means(self, mark: bytes, person_id: str) -> bool:
        """Whether a profile is linked to somebody, or to nobody since the store forgot that very person."""
        return self.links.person_of_mark(mark) == person_id or self.links.is_forgotten(person_id)

    def finish(self) -> int:
        """Finish erasures that a fault or a kill cut short; returns how many. To be called when the service starts."""
        n = 0
        for mark, person_id in self.pending.all():
            try:
                if not self._still_means(mark, person_id):  # unlinked or linked anew by hand: nobody asks for this now
                    self.pending.end(mark)
                    continue
                self._erased(mark, person_id)
                n += 1
            except NotNow:
                continue
            except Exception as error:
                _log_fault(error)  # it stays to be done, and stops nobody else's
        return n


def audit_recorder(home: Home) -> Record:
    """Writes acts of residents into a home's audit log: who asked, and the person by the store's reference."""

    def record(act: str, identity: Identity, person_id: str, **facts: str | int) -> None:
        who = identity.mark(home.settings.secret("audit-subjects"))
        ref = home.store.refs([person_id]).get(person_id)
        about = {} if ref is None else {"person": ref}
        home.audit_log.append(act, "resident", who=who, **about, **facts)

    return record


def _nothing() -> None:
    """Only tried: nothing begins."""


class _Unmet(Exception):
    """A request that is not met: a status, and why in the resident's languages."""

    def __init__(self, status: int, *why: str | Kept, challenge: str | None = None) -> None:
        super().__init__(status, *(each if isinstance(each, str) else each.code for each in why))
        self.status = status
        self.errors = [
            {"code": each.code, "message": dict(each.message)}
            if isinstance(each, Kept)
            else {"code": each, "message": messages()[each]}
            for each in why
        ]
        self.challenge = challenge


@cache
def messages() -> dict[str, dict[str, str]]:
    """What residents are told, by code and language."""
    return tomllib.loads(_MESSAGES.read_text("utf-8"))


# ---- HTTP ------------------------------------------------------------------------------------------------------


def gdpr_app(desk: GdprDesk) -> Starlette:
    """The interface as an application of its own, to be mounted at ``/gdpr-api/v1/profiles``.

    Parameters
    ----------
    desk : GdprDesk
    """
    app = Starlette(
        routes=[Route("/{profile}", _Profiles(desk))], exception_handlers={HTTPException: _say_nothing_is_here}
    )
    app.router.redirect_slashes = False  # who asks to delete is not sent elsewhere
    return app


async def _say_nothing_is_here(_request: Request, _error: Exception) -> Response:
    return _errors(_Unmet(404, "not_found"))


class _Profiles:
    """The one address of a profile. Not a function, since a route to one answers to some methods only."""

    def __init__(self, desk: GdprDesk) -> None:
        self._desk = desk

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except _Unmet as unmet:
            response = _errors(unmet)
        except NotNow:
            response = _errors(_Unmet(503, "erasure_must_wait"))
        except Exception as error:
            response = _errors(_Unmet(503, "try_again_later")) if is_database_gone(error) else _our_fault(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in _ACTS:
            raise _Unmet(405, "method_not_allowed")
        profile = _profile_of(request.path_params["profile"])
        identity = await self._identity(request)
        if not self._desk.admits(identity):
            raise _Unmet(429, "too_often")
        dry_run = await _dry_run(request)
        said = {"dry_run": dry_run, "request_id": request.scope.get(REQUEST_ID, "")}
        found = await run_in_threadpool(self._desk.answer, request.method, profile, identity, **said)
        if found is None:
            return Response(status_code=204)
        return _json(200, as_node(ROOT_KEY, found))

    async def _identity(self, request: Request) -> Identity:
        try:
            token = bearer_of(request.headers.getlist("authorization"))
            known = self._desk.issuers.known(token)
            return await run_in_threadpool(self._desk.issuers.verified, token) if known is None else known
        except (TokenRefused, UnusableClaims) as refusal:
            raise _Unmet(401, "token_missing_or_invalid", challenge=challenge_of(refusal)) from None
        except IssuerSilent:
            raise _Unmet(503, "try_again_later") from None


def _profile_of(text: str) -> UUID:
    try:
        profile = UUID(text)
    except ValueError:
        raise _Unmet(404, "not_found") from None
    if str(profile) != text.lower():  # Python reads UUIDs in braces, and without hyphens
        raise _Unmet(404, "not_found")
    return profile


async def _dry_run(request: Request) -> bool:
    """Whether to try only. Whatever cannot be understood is refused: nothing is erased by a slip of the pen."""
    given = request.query_params.multi_items()
    async for chunk in request.stream():
        if chunk:  # a body might say what the query does not
            raise _Unmet(400, "request_not_understood")
    if not given:
        return False
    if request.method == "GET" or len(given) != 1 or given[0][0] != "dry_run":
        raise _Unmet(400, "request_not_understood")
    value = given[0][1].lower()
    if value not in (*_TRUE, *_FALSE):
        raise _Unmet(400, "request_not_understood")
    return value in _TRUE


def as_node(key: str, value: Any) -> dict[str, Any]:
    """A value as the tree that Helsinki Profile reads: ``key``, and ``value`` as text or ``children``.

    >>> as_node("lists", [{"need": "youth", "since": date(2026, 1, 5), "open": True}])["children"][0]
    {'key': 'LISTS_ITEM', 'children': [{'key': 'NEED', 'value': 'youth'}, {'key': 'SINCE', 'value': '2026-01-05'},
    {'key': 'OPEN', 'value': 'true'}]}
    """
    name = _NOT_IN_KEYS.sub("_", key.upper()).strip("_") or "ITEM"
    if isinstance(value, Mapping):
        return {"key": name, "children": [as_node(str(inner), each) for inner, each in value.items()]}
    if isinstance(value, list | tuple):
        return {"key": name, "children": [as_node(f"{name}_ITEM", each) for each in value]}
    if value is None:
        return {"key": name}
    if isinstance(value, bool):
        return {"key": name, "value": str(value).lower()}
    return {"key": name, "value": value.isoformat() if isinstance(value, date | datetime) else str(value)}


def _json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    said = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    own = {"cache-control": "no-store", **(headers or {})}
    return Response(said, status, headers=own, media_type="application/json")


def _errors(unmet: _Unmet) -> Response:
    headers = {"www-authenticate": unmet.challenge} if unmet.challenge else {}
    headers |= {"allow": "GET, DELETE"} if unmet.status == 405 else {}
    return _json(unmet.status, {"errors": unmet.errors}, headers)


def _our_fault(error: Exception) -> Response:
    """We failed, and say so."""
    _log_fault(error)
    return _errors(_Unmet(500, "internal_error"))


def _log_fault(error: Exception) -> None:
    """The log gets the kind and place of a mistake, never the data it was made on."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "an unknown place"
    _LOG.error("%s at %s", type(error).__name__, where)
