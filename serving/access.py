"""Who asks, and whether they may: nothing for a stranger, except where a table row says so."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ethics.refusals import BadInput, Fault, Refusal
from serving.exchange import Asked, Unanswered

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.tokens import Issuers

MOST_PURPOSE_CHARACTERS = 200


class Identity(Protocol):
    """Who a token speaks for, as :mod:`serving.identity` makes it; only these are read here."""

    @property
    def role(self) -> Any:
        """One of :data:`serving.endpoints.ROLES`: text, or an enumeration whose value is that text."""

    @property
    def units(self) -> Collection[str]:
        """A unit's own."""

    @property
    def person_id(self) -> str | None:
        """A resident's pseudonym, where the token says it."""

    @property
    def profile(self) -> Any:
        """A resident's Helsinki Profile, where the token says that."""

    @property
    def loa(self) -> str | None:
        """How surely a resident was recognised, where the token says it."""

    def may_use_need(self, need_id: str) -> bool:
        """Whether a need is this caller's to ask about."""

    def may_see_list(self, need_id: str, unit_id: str) -> bool:
        """Whether a unit's list of a need is this caller's."""

    def mark(self, secret: bytes) -> str:
        """The subject as logs hold it: a keyed hash."""

    def mark_of_rights(self, secret: bytes) -> str:
        """A keyed hash of the subject and of all that the token lets it do."""


Authenticate = Callable[[Mapping[str, str]], Identity | Awaitable[Identity]]
"""Headers (names in small letters) → who asks; raises where nobody can be told."""


class Access:
    """Decides before a body is read: default deny.

    Parameters
    ----------
    authenticate : callable, optional
        What tells who asks. Without it nobody is let in, but as ``without_tokens`` says.
    without_tokens : bool
        For trying out: whether everybody who can knock may ask for the rows that are ``on_trial`` in the table. Never
        beside ``authenticate``.
    """

    def __init__(self, authenticate: Authenticate | None = None, *, without_tokens: bool = False) -> None:
        if authenticate is not None and without_tokens:
            raise ValueError("a service that knows who asks asks for tokens")
        self._authenticate = authenticate
        self.without_tokens = without_tokens

    async def admit(
        self, headers: Mapping[str, str], roles: Collection[str], *, on_trial: bool = False
    ) -> Identity | None:
        """Who asks; None where nobody needs to be told: no role is named, or the row is on trial and so is the service.

        Raises
        ------
        Unanswered
            401 without a token that holds; 403 where the role may not.
        """
        if not roles or (on_trial and self.without_tokens):
            return None
        identity = await self._known(headers)
        if role_of(identity) not in roles:
            wrong = f"speaks for the role '{role_of(identity)}', which may not ask this"
            raise Unanswered(403, "Not for this role", Fault("header: authorization", wrong, _roles(roles)))
        return identity

    async def _known(self, headers: Mapping[str, str]) -> Identity:
        if self._authenticate is None:
            mend = "Name who issues tokens (ENNAKKO_ISSUER), or make an issuer: ennakko keys issuer, ennakko token"
            raise _unknown(Fault("header: authorization", "cannot be checked: no issuer is configured", mend))
        try:
            found = self._authenticate(headers)
            identity: Identity | None = await found if inspect.isawaitable(found) else found
            if identity is None:
                raise _unknown(Fault("header: authorization", "says nobody", "Ask for a token"))
            return identity
        except Unanswered as unanswered:
            if unanswered.problem.status == 401:
                unanswered.headers.setdefault("WWW-Authenticate", "Bearer")
            raise
        except Refusal as refusal:
            raise _unknown(*refusal.faults) from None
        except Exception as error:  # whatever else goes wrong, nobody is let in
            wrong = f"could not be checked ({type(error).__name__})"
            raise _unknown(Fault("header: authorization", wrong, "Ask for a new token")) from None


def access_of(settings: Settings, issuers: Issuers) -> Access:
    """Who may ask, as a home's settings say.

    With any issuer, whoever its tokens speak for. Without one nobody, unless it is said that this is for trying out.

    Raises
    ------
    BadInput
        Tokens are said to be needless where there is an issuer.
    """
    if not issuers.trusted:
        return Access(without_tokens=settings.without_tokens)
    if settings.without_tokens:
        wrong = "cannot be: this home has an issuer of tokens"
        raise BadInput(Fault("--without-tokens", wrong, "Leave it out, and ask with a token: ennakko token"))
    return Access(by_tokens(issuers))


def by_tokens(issuers: Issuers) -> Authenticate:
    """Tells who asks by the bearer token; one that was verified before costs the event loop a look."""
    from starlette.concurrency import run_in_threadpool

    from serving.issuer_keys import IssuerSilent
    from serving.tokens import bearer_of, challenge_of

    async def verified(token: str) -> Identity:
        try:
            return await run_in_threadpool(issuers.verified, token)
        except IssuerSilent as silent:
            again = {"Retry-After": "5"}
            raise Unanswered(503, "Nobody can be recognised now", *silent.faults, headers=again) from None
        except Refusal as refusal:
            raise refused(refusal) from None

    def refused(refusal: Refusal) -> Unanswered:
        headers = {"WWW-Authenticate": challenge_of(refusal) or "Bearer"}
        return Unanswered(401, "Not signed in", *refusal.faults, headers=headers)

    def authenticate(headers: Mapping[str, str]) -> Identity | Awaitable[Identity]:
        given = headers.get("authorization")
        try:
            token = bearer_of([] if given is None else [given])
        except Refusal as refusal:
            raise refused(refusal) from None
        return issuers.known(token) or verified(token)

    return authenticate


def known_identity(asked: Asked) -> Identity:
    """Who asks for what is told to nobody unknown.

    Raises
    ------
    Unanswered
        401: a row that is on trial was asked without a token.
    """
    if asked.identity is None:
        raise _unknown(Fault("header: authorization", "says nobody", "Ask for a token"))
    return asked.identity


def role_of(identity: Identity) -> str:
    """A role as text."""
    return str(getattr(identity.role, "value", identity.role))


def purpose_of(headers: Mapping[str, str]) -> str:
    """What the answer is for, in the asker's words.

    Raises
    ------
    Unanswered
        400 where it is missing, too long, or not plain text.
    """
    purpose = headers.get("x-purpose", "").strip()
    if 0 < len(purpose) <= MOST_PURPOSE_CHARACTERS and purpose.isprintable():
        return purpose
    wrong = "is missing" if not purpose else f"is not plain text of at most {MOST_PURPOSE_CHARACTERS} characters"
    raise Unanswered(400, "No purpose", Fault("header: x-purpose", wrong, "Say in a few words what the answer is for"))


def _unknown(*faults: Fault) -> Unanswered:
    return Unanswered(401, "Not signed in", *faults, headers={"WWW-Authenticate": "Bearer"})


def _roles(roles: Collection[str]) -> str:
    return f"Ask with a token for: {', '.join(sorted(roles))}"
