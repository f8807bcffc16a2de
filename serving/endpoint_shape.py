"""What a row of the table of endpoints says, and what several rows say alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from serving.exchange import JSON, PURPOSE_REFUSED
from serving.identity import Role
from serving.schemas import MAX_BODY_BYTES

UNIT, DATA_SCIENTIST, AUDITOR, RESIDENT, SERVICE_POINT, SYSTEM = ROLES = tuple(role.value for role in Role)
PLAIN, PROMETHEUS = "text/plain", "text/plain; version=0.0.4"
PROFILES = "/gdpr-api/v1/profiles"
PROFILE_PATH = f"{PROFILES}/{{profile}}"
MEGABYTE = 1_000_000
SMALL_BODY_BYTES = 8_000
DIGEST = "5c1b" * 16


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
            door[422] = (PURPOSE_REFUSED,)
            door[503] = (*door.get(503, ()), "Too slow")
        if self.body is not None:
            door |= {408: ("Too slow",), 413: ("Too long",)}
            door[422] = (*door.get(422, ()), "The body cannot be used")
            door |= {415: ("Compressed", "Not a kind that is read"), 503: (*door.get(503, ()), "Busy", "Too slow")}
        for status, titles in self.problems.items():
            door[status] = (*door.get(status, ()), *titles)
        return {status: tuple(dict.fromkeys(titles)) for status, titles in sorted(door.items())}


NEED = Parameter(name="need", says="Id of a need that this server answers for.", example="youth_exclusion")
TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
RESTS_ON = {"model_digest": DIGEST, "verdict_id": "v-217ee618b351ce3a5935"}
HEAVY: Mapping[int, tuple[str, ...]] = {503: ("Busy", "Too slow")}
NO_TRUST = {503: ("No score may leave now",)}
