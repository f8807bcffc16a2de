"""Bearer tokens: whose they are, once everything about them has been verified.

PyJWT does the cryptography. What goes before and after is ours: which issuers, which signatures, no name twice, whole
times, and the same reading of a token by the library and by us.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

from ethics.refusals import Fault, Refusal
from serving.identity import ClaimNames, Identity, UnusableClaims, city_identity, profile_identity
from serving.issuer_keys import ALGORITHMS, KeySource, ProviderKeys, PublicKey, UnknownKey

if TYPE_CHECKING:
    from serving.home import Home

LONGEST_TOKEN = 16_384
"""Characters; a token with hundreds of units still fits."""
SKEW_SECONDS = 60
"""So far may the issuer's clock and ours stand apart."""
_MOST_KNOWN = 4096
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BEARER = re.compile(r"(?i:bearer) +(\S+)")
_TYPES = ("jwt", "at+jwt", "application/at+jwt", "bearer")
_LATEST = 253_402_300_799  # the end of the year 9999: beyond it is no date
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, section 2
_ANEW = "Ask for a new token"


class TokenRefused(Refusal):
    """No identity comes of this token. ``reason`` is a word for logs and figures."""

    exit_code = 30
    status = 401

    def __init__(self, reason: str, wrong: str, mend: str = _ANEW) -> None:
        super().__init__(Fault("token", wrong, mend))
        self.reason = reason


@dataclass(frozen=True)
class TrustedIssuer:
    """An issuer whose tokens count, for one audience.

    Attributes
    ----------
    issuer, audience : str
        What ``iss`` and ``aud`` must say.
    keys : KeySource
        The issuer's public keys.
    names : ClaimNames
        What it calls its claims.
    is_profile : bool
        The issuer behind Helsinki Profile: its tokens make nobody more than a resident.
    is_local : bool
        The home's own, of which there is one.
    """

    issuer: str
    audience: str
    keys: KeySource = field(repr=False)
    names: ClaimNames = field(default_factory=ClaimNames)
    is_profile: bool = False
    is_local: bool = False


@dataclass(frozen=True)
class _Times:
    """When a token counts, in seconds since 1970, before any allowance for clocks."""

    expires: float
    begins: float

    def fault(self, now: float) -> TokenRefused | None:
        if now >= self.expires + SKEW_SECONDS:
            return TokenRefused("expired", "has expired")
        if now < self.begins - SKEW_SECONDS:
            return TokenRefused("not-yet", "is not valid yet", "Compare the clocks of this machine and of the issuer")
        return None


@dataclass(frozen=True)
class _Known:
    identity: Identity
    times: _Times
    keys: KeySource
    stamp: Hashable


class Issuers:
    """The issuers that are trusted, and what their tokens say.

    Parameters
    ----------
    trusted : sequence of TrustedIssuer
        None at all is allowed: then no token is any good.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, trusted: Sequence[TrustedIssuer], *, clock: Callable[[], float] = time.time) -> None:
        self.trusted = tuple(trusted)
        self._clock = clock
        self._lock = Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def trust(self, own: TrustedIssuer) -> None:
        """Trust the home's own issuer from now on, in place of an earlier one."""
        self.trusted = (*(entry for entry in self.trusted if not entry.is_local), own)

    def are_silent(self) -> bool:
        """Whether no token can be recognised now, because no issuer could be asked for too long; never waits."""
        silent = [isinstance(entry.keys, ProviderKeys) and entry.keys.is_silent() for entry in self.trusted]
        return bool(silent) and all(silent)

    def known(self, token: str) -> Identity | None:
        """Whose token this is, if it was verified before and all that it rested on still stands; never waits.

        For an event loop: what is not known goes to :meth:`verified`, in a thread, since that may ask an issuer.
        """
        digest = _digest(token)
        with self._lock:
            found = self._known.get(digest)
        if (
            found is None
            or found.stamp is None
            or found.keys.stamp() != found.stamp
            or found.times.fault(self._clock()) is not None
        ):
            return None
        return found.identity

    def verified(self, token: str) -> Identity:
        """Whose token this is, after everything about it has been verified.

        Raises
        ------
        TokenRefused
            It is none of a trusted issuer for this audience, not in date, altered, or not a token at all.
        UnusableClaims
            It is good, but its claims cannot be used.
        IssuerSilent
            Nobody can say, because its issuer cannot be asked.
        """
        header, claims = _parts(token)
        trusted = [entry for entry in self.trusted if entry.issuer == claims.get("iss")]
        if not trusted:
            raise TokenRefused("issuer", "is by no issuer that is trusted here")
        key = self._signed_with(token, header, claims, trusted)
        times = _times(claims)
        if fault := times.fault(self._clock()):
            raise fault
        identity = self._identity(claims, trusted)
        self._remember(_digest(token), _Known(identity, times, trusted[0].keys, key.stamp))
        return identity

    @staticmethod
    def _signed_with(
        token: str, header: dict[str, Any], claims: dict[str, Any], trusted: Sequence[TrustedIssuer]
    ) -> PublicKey:
        """The key it is signed with, by the library's word: the issuer's own, by the issuer, for this audience."""
        import jwt

        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise TokenRefused("algorithm", f"is not signed in a way that counts: {', '.join(ALGORITHMS)}")
        try:
            key = trusted[0].keys.key_for(header.get("kid"), algorithm)
            said = jwt.decode(
                token,
                key.key,
                algorithms=list(key.algorithms),
                audience=[entry.audience for entry in trusted],
                issuer=trusted[0].issuer,
                # The times are compared in _Times, then and whenever a known token comes again.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except UnknownKey:
            raise TokenRefused("key", "is signed with a key that its issuer does not publish") from None
        except jwt.InvalidSignatureError:
            raise TokenRefused("signature", "has a signature that does not hold") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise TokenRefused("audience", "is meant for another service") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenRefused("claims", f"lacks the claim '{error.claim}'") from None
        except jwt.PyJWTError:
            raise TokenRefused("malformed", "cannot be read as a token") from None
        if said != claims:
            raise TokenRefused("malformed", "can be read in two ways")
        return key

    @staticmethod
    def _identity(claims: dict[str, Any], trusted: Sequence[TrustedIssuer]) -> Identity:
        subject, audience = claims["sub"], claims["aud"]
        if not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise TokenRefused("claims", "has no subject, or one that is too long")
        meant = [
            entry for entry in trusted if entry.audience in ([audience] if isinstance(audience, str) else audience)
        ]
        if len(meant) != 1:
            raise TokenRefused("audience", "is meant for several services", "Ask for a token for one")
        entry = meant[0]
        read = profile_identity if entry.is_profile else city_identity
        return read(claims, entry.names)

    def _remember(self, digest: bytes, known: _Known) -> None:
        with self._lock:
            self._known[digest] = known
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


def open_issuers(home: Home) -> Issuers:
    """The issuers that a home's settings name, and the home's own if it has one.

    Raises
    ------
    NotTrusted
        The home's own is damaged, or a demonstration while others than this machine could knock.
    """
    settings, trusted = home.settings, []
    names = ClaimNames(
        **{name: getattr(settings, f"claim_{name}") for name in ("role", "needs", "units", "person", "scopes", "loa")}
    )
    sources: dict[str, ProviderKeys] = {}
    for issuer, audience, is_profile in (
        (settings.issuer, settings.audience, False),
        (settings.profile_issuer, settings.profile_audience, True),
    ):
        if issuer is not None and audience is not None:
            source = sources.setdefault(issuer, ProviderKeys(issuer))
            trusted.append(TrustedIssuer(issuer, audience, source, names, is_profile))
    own = trusted_local(home)
    return Issuers(trusted if own is None else [*trusted, own])


def trusted_local(home: Home) -> TrustedIssuer | None:
    """The home's own issuer; None where it has none.

    Raises
    ------
    NotTrusted
        It is damaged, or a demonstration while others than this machine could knock.
    """
    from serving.local_issuer import LOCAL_AUDIENCE, LOCAL_NAMES, LocalKeys, issuer_path

    path = issuer_path(home)
    if not path.exists():
        return None
    keys = LocalKeys(path, demonstration=home.settings.on_loopback)
    return TrustedIssuer(keys.issuer().issuer, LOCAL_AUDIENCE, keys, LOCAL_NAMES, is_local=True)


def bearer_of(headers: Sequence[str]) -> str:
    """The token in the ``Authorization`` headers of a request: exactly one header, and nothing but a bearer token.

    Raises
    ------
    TokenRefused
        None, several, or another kind.

    >>> bearer_of(["Bearer abc.def.ghi"])
    'abc.def.ghi'
    """
    mend = "Send one header: Authorization: Bearer <token>"
    if not headers:
        raise TokenRefused("missing", "is missing", mend)
    found = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        raise TokenRefused("malformed", "is not a bearer token in one header", mend)
    return found[1]


def challenge_of(refusal: Refusal) -> str | None:
    """What ``WWW-Authenticate`` says beside a refusal (RFC 6750 section 3); None where no token would help."""
    if isinstance(refusal, TokenRefused) and refusal.reason == "missing":
        return "Bearer"
    if isinstance(refusal, TokenRefused | UnusableClaims):
        return 'Bearer error="invalid_token"'
    return 'Bearer error="insufficient_scope"' if getattr(refusal, "status", 0) == 403 else None


# ---- reading without trusting ----------------------------------------------------------------------------------


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they stand, believed by nobody yet."""
    if len(token) > LONGEST_TOKEN:
        raise TokenRefused("too-long", f"is longer than {LONGEST_TOKEN} characters")
    if not _SEGMENT.fullmatch(token):
        raise TokenRefused("malformed", "is not three parts of base64url with dots between")
    header, claims, _ = token.split(".")
    head = _object(header)
    if "crit" in head or "b64" in head:
        raise TokenRefused("critical", "demands an extension that is not known here")
    kid, kind = head.get("kid"), head.get("typ", "JWT")
    if not isinstance(kid, str | None) or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRefused("malformed", "has a header that is not a token's")
    return head, _object(claims)


def _object(segment: str) -> dict[str, Any]:
    """A JSON object of a token; each name stands once, and every number is one."""
    from jwt.utils import base64url_decode

    try:
        found = json.loads(base64url_decode(segment), object_pairs_hook=_once, parse_constant=_no_number)
    except TokenRefused:
        raise
    except (ValueError, RecursionError):
        raise TokenRefused("malformed", "cannot be read as a token") from None
    if not isinstance(found, dict):
        raise TokenRefused("malformed", "cannot be read as a token")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TokenRefused("duplicate", "says the same name twice")
    return found


def _no_number(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no numbers of JSON")


def _times(claims: dict[str, Any]) -> _Times:
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    for name, value in times.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
            raise TokenRefused("claims", f"has a claim '{name}' that is no time")
    begins = max((times[name] for name in ("nbf", "iat") if name in times), default=0)
    return _Times(expires=times["exp"], begins=begins)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
