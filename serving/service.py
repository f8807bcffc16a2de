"""The HTTP service: ``POST /score`` for one person, and nothing without a verified verdict.

BentoML runs it; the routes are a small application mounted in it, because refusals are problem details (RFC 9457)
and BentoML's own endpoints answer in another shape. What is not a route here is not found: BentoML's start page would
load scripts from elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

# Only this exact word is understood, and only before the import.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ethics.refusals import BadInput, Fault, NotTrusted, Refusal
from serving.desk import Guarded, ScoreDesk, Unanswered
from serving.schemas import MAX_BODY_BYTES, Problem, parse_request
from serving.settings import Settings

_ANSWER_SECONDS = 60
_LOG = logging.getLogger("ennakko.service")
_SECURE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


# ---- HTTP ------------------------------------------------------------------------------------------------------


async def _score(request: Request) -> Response:
    content = await _body(request)
    try:
        wanted = parse_request(content)
    except BadInput as refusal:
        raise Unanswered(422, "The body cannot be used", *refusal.faults) from None
    answer = await run_in_threadpool(_without_trace, _desk(request).answer, wanted)
    return _json(200, answer.model_dump_json().encode())


async def _needs(request: Request) -> Response:
    return _json(200, json.dumps({"needs": _desk(request).needs()}, ensure_ascii=False).encode())


async def _verdict(request: Request) -> Response:
    facts = await run_in_threadpool(_without_trace, _desk(request).verdict, request.query_params.get("need", ""))
    return _json(200, json.dumps(facts, ensure_ascii=False).encode())


class _NoSuchPath:
    """Whatever is asked by no route: a path of ours with another method, or a path that is not ours.

    Not a function, because a route to a function answers to some methods only.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Raise what is to be said; Starlette's exception handlers say it."""
        request, paths = Request(scope, receive, send), []
        path = request.url.path
        for route in request.app.routes:
            if route.methods is None:
                continue
            if route.path == path:
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(route.methods))})
            paths.append(f"{sorted(route.methods)[0]} {route.path}")
        if path == "/score_batch":
            raise Unanswered(404, "Not Found", Fault("path", "is not built yet", "Ask for each person: POST /score"))
        raise Unanswered(404, "Not Found", Fault("path", "is not one here", f"Ask for one of: {', '.join(paths)}"))


def _without_trace(answer: Callable[[Any], Any], asked: Any) -> Any:
    """Answer, or say that we failed; the log gets the kind and place of a mistake, never the data it was made on."""
    try:
        return answer(asked)
    except Unanswered:
        raise
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "an unknown place"
        _LOG.error("%s at %s", type(error).__name__, where)
        raise Unanswered(500, "Internal error") from None


async def _body(request: Request) -> bytes:
    """The body, read no further than its limit."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        wrong = "is not application/json"
        raise Unanswered(415, "Not JSON", Fault("header: content-type", wrong, "Send content-type: application/json"))
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            wrong = f"is longer than {MAX_BODY_BYTES} bytes"
            raise Unanswered(413, "Too long", Fault("body", wrong, "Score the person from the city folder"))
    return bytes(content)


def _desk(request: Request) -> ScoreDesk:
    desk: ScoreDesk = request.app.state.desk
    return desk


def _json(status: int, content: bytes, kind: str = "application/json") -> Response:
    return Response(content, status, media_type=kind)


def _problem(problem: Problem) -> Response:
    return _json(problem.status, problem.model_dump_json().encode(), "application/problem+json")


async def _say_unanswered(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Unanswered)
    return _problem(error.problem)


async def _say_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _problem(Problem.of(error.status_code, HTTPStatus(error.status_code).phrase))
    response.headers.update(error.headers or {})
    return response


def http_app() -> Starlette:
    """The routes; ``state.desk`` must be set before the first request."""
    return Starlette(
        routes=[
            Route("/score", _score, methods=["POST"]),
            Route("/needs", _needs, methods=["GET"]),
            Route("/verdict", _verdict, methods=["GET"]),
            Route("/{path:path}", _NoSuchPath()),
        ],
        exception_handlers={Unanswered: _say_unanswered, HTTPException: _say_http},
    )


class SecureHeaders:
    """Adds to every answer the headers by which nothing of it is kept, framed, guessed or passed on."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Pass the request on; add the headers to the answer."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_SECURE_HEADERS]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


# ---- BentoML ---------------------------------------------------------------------------------------------------

_HTTP = http_app()


@bentoml.asgi_app(_HTTP, path="/")
@bentoml.service(
    name="NeedScores",
    workers=1,
    traffic={"timeout": _ANSWER_SECONDS},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class NeedScores:
    """Scores one person at a time, with reasons; refuses to start without verified verdicts."""

    def __init__(self) -> None:
        # What `serve` opened in this process is not read again, but it is verified again.
        desk = getattr(_HTTP.state, "desk", None) or open_desk(Settings.from_environment())
        desk.require_trust()
        _HTTP.state.desk = desk


# BentoML's decorator has made it a Service, which its types do not say.
_SERVICE: Any = NeedScores
_SERVICE.add_asgi_middleware(SecureHeaders)


def open_desk(settings: Settings) -> ScoreDesk:
    """Open the city and verify the champion of every need asked for, or refuse with everything that is wrong.

    Raises
    ------
    Refusal
        No city or need is named; a verdict is missing, altered, expired, revoked, inconclusive or blocked; or only
        demonstration keys stand behind it while others than this machine could knock.
    """
    from features.city import open_city
    from features.compiled import warm_up
    from scoring import forest
    from serving.approval import open_champion
    from serving.home import Home

    home = Home(settings)
    if settings.city is None:
        raise BadInput(Fault("ENNAKKO_CITY", "names no city", "Give the path of a city folder"))
    if not settings.needs:
        raise BadInput(Fault("ENNAKKO_NEEDS", "names no need", "Give the ids of approved needs, with commas between"))
    guarded: dict[str, Guarded] = {}
    refusals: list[Refusal] = []
    for need_id in settings.needs:
        try:
            guarded[need_id] = Guarded(partial(open_champion, home, need_id))
            _refuse_demonstration(guarded[need_id], settings)
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals:
        worst = max(refusals, key=lambda refusal: refusal.exit_code)
        raise type(worst)(*(fault for refusal in refusals for fault in refusal.faults))
    limits = [guard.champion.need.limits.max_reject_share for guard in guarded.values()]
    share = min([home.policy.limits.max_reject_share, *(limit for limit in limits if limit is not None)])
    city = open_city(settings.city, max_reject_share=share)
    for prepare in (warm_up, forest.warm_up):  # or the first person asked about would wait for the compiler
        prepare()
    return ScoreDesk(city, guarded, home.objections, home.policy)


def serve(settings: Settings, city_path: Path, need_ids: Sequence[str]) -> int:
    """Answer over HTTP until told to stop (SIGTERM, or Ctrl-C); returns the exit code.

    Everything is verified here first, so that a refusal is said in words before any port is opened, and once more when
    BentoML makes the service.

    Raises
    ------
    Refusal
        As :func:`open_desk`.
    """
    import uvicorn

    settings = settings.model_copy(update={"city": city_path.resolve(), "needs": tuple(need_ids)})
    _HTTP.state.desk = open_desk(settings)
    os.environ["BENTOML_HOME"] = str(settings.home / "bentoml")
    # BentoML's own worker does the same; its supervisor would add a control port that asks nobody who they are.
    configuration = uvicorn.Config(
        _SERVICE.to_asgi(is_main=True),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_ANSWER_SECONDS,
    )
    server = uvicorn.Server(configuration)
    # Uvicorn stops in order and then raises the signal again, which would end this process as if it had failed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run()
    if not server.started:
        wrong = f"could not listen on {settings.host}:{settings.port}, or lost its verdict while starting"
        raise NotTrusted(Fault("serve", wrong, "See the lines above"))
    return 0


def _refuse_demonstration(guarded: Guarded, settings: Settings) -> None:
    if guarded.champion.verified.verdict.demonstration and not settings.on_loopback:
        wrong = f"was signed with demonstration keys, and others than this machine can reach {settings.host}"
        mend = "Serve it on 127.0.0.1, or sign with the city's keys"
        raise NotTrusted(Fault(f"verdict of {guarded.champion.need.id}", wrong, mend))
