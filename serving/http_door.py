"""The door of the HTTP service: every request comes through here, and what the table does not name is not found.

For each request, in this order: who asks and whether they may, for what purpose, how often; the query; the body within
its limits; the handler, within its time; the audit log on disk; the answer. Refusals are problem details (RFC 9457).
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from ethics.refusals import Fault, Refusal
from serving.access import purpose_of, role_of
from serving.endpoints import ENDPOINTS, PROFILE_PATH, PROFILES, Endpoint
from serving.exchange import (
    PROBLEM,
    REQUEST_ID,
    REQUEST_ID_FORM,
    WITHOUT_BODY,
    Act,
    Answer,
    Asked,
    Unanswered,
    is_database_gone,
)
from serving.limits import GoneAway, drain

if TYPE_CHECKING:
    from serving.serving_state import ServingState

_LOG = logging.getLogger("ennakko.service")
_REQUEST_ID = re.compile(REQUEST_ID_FORM)
_ONCE = (b"authorization", b"content-type", b"content-length", b"content-encoding", b"x-purpose", b"x-request-id")
_GONE = 499
"""In log and metrics: whoever asked left before the answer."""
SECURE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_TITLES = {401: "Not signed in", 403: "Not for this role", 404: "Not Found"}
Send = Callable[[Any], Awaitable[None]]


class Served:
    """One endpoint behind the door.

    Parameters
    ----------
    endpoint : Endpoint
    state : ServingState
    """

    def __init__(self, endpoint: Endpoint, state: ServingState) -> None:
        self.endpoint, self._state = endpoint, state
        self._handler = endpoint.function()
        self._takes_path = "{" in endpoint.path
        self._parameters = {parameter.name: parameter for parameter in endpoint.query}

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request, log it, count it."""
        begun, at = time.perf_counter(), time.time()
        seen = _Seen(self.endpoint.path, scope["method"])
        try:
            answer = await self._answer(scope, receive, seen)
        except GoneAway:
            seen.status = _GONE
            tell(self._state, seen, begun, at)
            return
        except Unanswered as unanswered:
            answer = self._problem(unanswered, seen)
        except asyncio.CancelledError:
            late = self._state.deadlines.missed()
            if late is None:
                raise
            answer = self._problem(late, seen)
        seen.status = answer.status
        try:
            await send_answer(send, answer, seen.request_id)
        finally:
            tell(self._state, seen, begun, at, len(answer.body), answer.rows)

    async def _answer(self, scope: Any, receive: Any, seen: _Seen) -> Answer:
        """The handler's answer, with what it did on disk; raises Unanswered and GoneAway."""
        state, endpoint = self._state, self.endpoint
        held = 0
        try:
            headers = _headers(scope["headers"])
            seen.request_id = _request_id(headers)
            identity = await state.access.admit(headers, endpoint.roles, on_trial=endpoint.on_trial)
            purpose = ""
            if identity is not None:
                seen.role = role_of(identity)
                seen.subject = state.pseudonym(identity)
                state.rates.take(seen.subject)
                purpose = purpose_of(headers) if endpoint.purpose else ""
            query = self._query(scope["query_string"])
        except Unanswered:
            await drain_body(scope, receive)
            raise
        body, kind, task = b"", "", asyncio.current_task()
        try:
            if endpoint.body is not None:
                kinds, most = endpoint.body_kinds, endpoint.max_body_bytes
                body, kind = await state.bodies.read(receive, headers, kinds, most, task)
                held = seen.bytes_in = len(body)
            path = scope["path_params"] if self._takes_path else {}
            asked = Asked(query, path, headers, body, kind, identity, purpose, seen.request_id, state)
            answer = await self._in_time(asked, task)
            if answer.acts:
                await self._keep(answer.acts, seen, purpose)
            if answer.rests_on is not None:
                await state.look_again(answer.rests_on)
            return answer
        except Unanswered as unanswered:
            await self._keep(unanswered.acts, seen, purpose)
            raise
        finally:
            state.deadlines.clear(task)
            state.bodies.release(held)

    async def _in_time(self, asked: Asked, task: Any) -> Answer:
        self._state.deadlines.set(time.monotonic() + self.endpoint.seconds, self._too_slow, task)
        try:
            if asked.purpose and asked.purpose not in self._state.purposes:
                await self._state.in_thread(self._state.purposes.accept, asked.purpose)
            answer: Answer = await self._handler(asked)
            return answer
        except (Unanswered, asyncio.CancelledError):
            raise
        except Refusal as refusal:  # of an identity: not for its role, or foreign and so as if it did not exist
            if (status := getattr(refusal, "status", 500)) not in (401, 403, 404):
                raise failed(refusal) from None
            raise Unanswered(status, _TITLES[status], *refusal.faults) from None
        except BaseException as error:
            raise (database_gone(error) or failed(error)) from None

    def _too_slow(self) -> Unanswered:
        wrong = f"took longer than {self.endpoint.seconds:g} seconds"
        fault = Fault("answer", wrong, "Ask for fewer at a time, or again a little later")
        return Unanswered(503, "Too slow", fault, headers={"Retry-After": "5"})

    async def _keep(self, acts: tuple[Act, ...], seen: _Seen, purpose: str) -> None:
        """Have the acts of somebody known on disk; without that nothing is answered."""
        audit = self._state.audit
        if not acts or not seen.subject:
            return
        if audit is None:
            raise failed(RuntimeError("no audit log"))
        who = {"role": seen.role, "subject": seen.subject, "request": seen.request_id}
        if purpose:
            who["purpose"] = purpose
        try:
            await audit.keep(acts, who)
        except Exception as error:
            _log_failure(error)
            fault = Fault("audit log", "cannot be written, so nothing is answered", "Ask again when it can")
            raise Unanswered(503, "No score may leave now", fault, headers={"Retry-After": "5"}) from None

    def _query(self, text: bytes) -> dict[str, str]:
        """The query string, of which every name is known and comes once."""
        if not text and not self._parameters:
            return {}
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, strict_parsing=bool(text), errors="strict")
        except ValueError:
            raise _bad("query", "cannot be read", "Write it as name=value") from None
        found = dict(pairs)
        if set(found) - set(self._parameters) or len(pairs) > len(found):
            named = ", ".join(self._parameters) or "none"
            raise _bad("query", "has a name that is not one here, or one twice", f"Allowed, once each: {named}")
        for name, parameter in self._parameters.items():
            if parameter.required and name not in found:
                raise _bad(f"query: {name}", "is missing", "Add it")
        return found

    def _problem(self, unanswered: Unanswered, seen: _Seen) -> Answer:
        seen.refusal = unanswered.problem.title
        body = unanswered.problem.model_dump_json().encode()
        return Answer(body, PROBLEM, unanswered.problem.status, headers=unanswered.headers)


class _Seen:
    """What log, metrics and audit log tell of a request."""

    __slots__ = ("bytes_in", "method", "path", "refusal", "request_id", "role", "status", "subject")

    def __init__(self, path: str, method: str) -> None:
        self.path, self.method = path, method
        self.bytes_in = self.status = 0
        self.refusal = self.request_id = self.role = self.subject = ""


def tell(state: ServingState, seen: _Seen, begun: float, at: float, bytes_out: int = 0, rows: int = 0) -> None:
    """Count a request, and write its line in the log."""
    seconds = time.perf_counter() - begun
    state.metrics.count(seen.path, seen.method, seen.status, seconds, seen.refusal, rows)
    if state.log is not None:
        state.log.line(
            at=at,
            request=seen.request_id,
            method=seen.method,
            path=seen.path,
            status=seen.status,
            ms=round(seconds * 1e3, 3),
            bytes_in=seen.bytes_in,
            bytes_out=bytes_out,
            rows=rows or None,
            role=seen.role or None,
            subject=seen.subject or None,
            refusal=seen.refusal or None,
        )


class ByMethod:
    """The endpoints of one path; another method is refused with those there are."""

    def __init__(self, served: Mapping[str, Served], state: ServingState) -> None:
        self._served = dict(served)
        allow = ", ".join(sorted(served))
        fault = Fault("method", "is not one of this path", f"Use {allow}")
        self._other = Refusing(405, HTTPStatus(405).phrase, fault, state, headers={"Allow": allow})

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Pass the request on to whoever answers to its method."""
        await self._served.get(scope["method"], self._other)(scope, receive, send)


class Refusing:
    """Answers every request with one refusal."""

    def __init__(
        self, status: int, title: str, fault: Fault, state: ServingState, headers: Mapping[str, str] | None = None
    ) -> None:
        self._said, self._state = Unanswered(status, title, fault, headers=headers), state

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Refuse; what was sent with it is not read further than a bound."""
        await drain_body(scope, receive)
        problem = self._said.problem
        answer = Answer(problem.model_dump_json().encode(), PROBLEM, problem.status, headers=dict(self._said.headers))
        await send_answer(send, answer, secrets.token_hex(8))
        self._state.metrics.count("", scope["method"], problem.status, 0.0, problem.title, 0)


class ForProfile:
    """The rows for Helsinki Profile: its own application answers them, and the door adds what all answers have.

    Who asks, for what, and the audit log are that application's matter (:mod:`serving.gdpr`); where none is open,
    nothing is here.
    """

    def __init__(self, state: ServingState, nowhere: Refusing) -> None:
        self._state, self._nowhere = state, nowhere

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Pass one request on, log it and count it; the profile's id is in neither."""
        app, begun, at = self._state.gdpr, time.perf_counter(), time.time()
        if app is None:
            await self._nowhere(scope, receive, send)
            return
        seen = _Seen(PROFILE_PATH, scope["method"])
        until = time.monotonic() + self._state.bodies.limits.chunk_seconds

        async def in_time() -> Any:
            try:
                return await asyncio.wait_for(receive(), max(until - time.monotonic(), 0.0))
            except TimeoutError:  # a body that does not end is a body, which is refused there
                return {"type": "http.request", "body": b" ", "more_body": False}

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                own = {name for name, _ in SECURE_HEADERS}
                headers = [pair for pair in message["headers"] if pair[0].lower() not in own]
                headers += [(b"x-request-id", seen.request_id.encode("ascii")), *SECURE_HEADERS]
                message = {**message, "headers": headers}
            await send(message)

        try:
            scope[REQUEST_ID] = seen.request_id = _request_id(_headers(scope["headers"]))
            await app(scope, in_time, with_headers)
        except Unanswered as unanswered:
            await drain_body(scope, receive)
            seen.status, seen.refusal = unanswered.problem.status, unanswered.problem.title
            body = unanswered.problem.model_dump_json().encode()
            answer = Answer(body, PROBLEM, seen.status, headers=unanswered.headers)
            await send_answer(send, answer, seen.request_id or secrets.token_hex(8))
        finally:
            tell(self._state, seen, begun, at)


class Routes(Starlette):
    """Starlette's routes; a path that stands in the table as it is, is found without trying one after another.

    Parameters
    ----------
    fixed : mapping
        Path → its endpoints.
    routes, lifespan
        As Starlette takes them; ``fixed`` are among the routes.
    """

    def __init__(self, fixed: Mapping[str, ByMethod], **named: Any) -> None:
        super().__init__(**named)
        self._fixed = dict(fixed)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Pass a request on."""
        found = self._fixed.get(scope["path"]) if scope["type"] == "http" and not scope.get("root_path") else None
        await (found or super().__call__)(scope, receive, send)


def http_app(state: ServingState) -> Starlette:
    """The routes of the table, and for everything else a refusal."""
    paths: dict[str, dict[str, Served]] = {}
    for endpoint in ENDPOINTS:
        if endpoint.scope:
            continue
        paths.setdefault(endpoint.path, {})[endpoint.method] = Served(endpoint, state)
    named = ", ".join(f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if not endpoint.scope)
    nowhere = Refusing(404, "Not Found", Fault("path", "is not one here", f"Ask for one of: {named}"), state)
    by_path = {path: ByMethod(served, state) for path, served in paths.items()}
    routes: list[BaseRoute] = [Route(path, endpoint) for path, endpoint in by_path.items()]
    routes.append(Mount(PROFILES, ForProfile(state, nowhere)))
    fixed = {path: endpoint for path, endpoint in by_path.items() if "{" not in path}
    return Routes(fixed, routes=[*routes, Route("/{path:path}", nowhere)], lifespan=state.lifespan)


class OnlyOurs:
    """Lets nothing through to what BentoML itself would answer: its pages, schemas and task endpoints are not ours.

    Parameters
    ----------
    app : ASGI application
        BentoML's, which still gets its lifespan.
    ours : ASGI application
    state : ServingState
    """

    def __init__(self, app: Any, ours: Any, state: ServingState) -> None:
        self.app, self.ours = app, ours
        fault = Fault("request", "can be read in two ways", "Send HTTP/1.1, one path, and one length of the body")
        self._twofold = Refusing(400, "The request cannot be used", fault, state, headers={"Connection": "close"})

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Pass a request to our application, everything that is not HTTP to nobody, and the lifespan to BentoML."""
        if scope["type"] == "http":
            await (self._twofold if _is_twofold(scope) else self.ours)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:  # a web socket, which is closed before it opens
            await send({"type": "websocket.close", "code": 1000})


def _is_twofold(scope: Any) -> bool:
    """Whether a proxy before us may have read another request than we do, and let it pass for that.

    Both ways of saying how long a body is (RFC 9112 §6.3), a body packed in transfer, a version that is none of ours,
    no host or two, or a path that begins by being unquoted.
    """
    version, names = scope["http_version"], [name for name, _ in scope["headers"]]
    if version not in ("1.1", "1.0") or not scope.get("raw_path", b"/").startswith(b"/"):
        return True
    if names.count(b"host") != 1 and (version == "1.1" or b"host" in names):
        return True
    if b"transfer-encoding" not in names:
        return False
    codings = [value.strip().lower() for name, value in scope["headers"] if name == b"transfer-encoding"]
    return codings != [b"chunked"] or b"content-length" in names or version == "1.0"


async def send_answer(send: Send, answer: Answer, request_id: str) -> None:
    """Send an answer with the headers that all of them have."""
    headers = [
        (b"x-request-id", request_id.encode("ascii")),
        *(SECURE_HEADERS if not answer.headers else _not_said(answer.headers)),
    ]
    if answer.status not in WITHOUT_BODY:
        headers += [(b"content-type", answer.kind.encode("ascii")), (b"content-length", b"%d" % len(answer.body))]
    for name, value in answer.headers.items():
        headers.append((name.lower().encode("ascii"), value.encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _not_said(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The secure headers in whose place an answer has none of its own: twice would mean both."""
    said = {name.lower().encode("ascii") for name in headers}
    return [pair for pair in SECURE_HEADERS if pair[0] not in said]


async def drain_body(scope: Any, receive: Any) -> None:
    """Read and throw away a body that is refused, within bounds, so that whoever sends it sees the answer."""
    if any(name in (b"transfer-encoding", b"content-length") for name, _ in scope["headers"]):
        await drain(receive)


def database_gone(error: BaseException) -> Unanswered | None:
    """What is answered where the database is gone, locked or starting; None for any other mistake."""
    if not is_database_gone(error):
        return None
    _log_failure(error)
    fault = Fault("database", "does not answer now", "Ask again a little later")
    return Unanswered(503, "The database does not answer", fault, headers={"Retry-After": "5"})


def failed(error: BaseException) -> Unanswered:
    """What is said of a mistake of ours: nothing; the log gets its kind and place, never the data it was made on."""
    _log_failure(error)
    return Unanswered(500, "Internal error")


def _log_failure(error: BaseException) -> None:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "an unknown place"
    _LOG.error("%s at %s", type(error).__name__, where)


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by small name; one that decides something may not come twice."""
    found: dict[bytes, bytes] = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        if any(names.count(name) > 1 for name in _ONCE):
            raise _bad("headers", "hold one twice that may come once", "Send it once")
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in found.items()}


def _request_id(headers: Mapping[str, str]) -> str:
    """The asker's own, where it is a UUID or 16 to 64 hexadecimal digits; otherwise a new one.

    It is kept for years: a word of the asker's choosing could be somebody's name.
    """
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _bad(where: str, wrong: str, mend: str) -> Unanswered:
    return Unanswered(400, "The request cannot be used", Fault(where, wrong, mend))
