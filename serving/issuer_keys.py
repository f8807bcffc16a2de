"""The public keys of an OpenID provider: fetched from that provider alone, kept a while, asked for once a minute.

Nothing that a token says decides where keys come from: ``jku``, ``x5u``, ``jwk`` and ``x5c`` of its header are never
read.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ethics.refusals import Fault, Refusal
from serving.settings import wrong_issuer

if TYPE_CHECKING:
    from jwt.types import JWKDict

    VerifyingKey = Any

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures that count; never ``none``, and never one whose verifying key could also sign (HS*)."""
FETCH_SECONDS = 5.0
MOST_BYTES = 65_536
FRESH_SECONDS = 600.0
"""So long keys are used without asking again: a key taken back counts no longer after this."""
LAST_SECONDS = 3_600.0
"""So long keys are used when the provider cannot be asked; then no token of its verifies."""
RETRY_SECONDS = 60.0
"""Between two fetches, whoever asks and however the first ended."""
_FIRST_RETRY_SECONDS = 10.0
_MOST_KEYS = 50
_LONGEST_KID = 200
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_FOR_KIND = {"RSA": ("RS256", "PS256"), "EC": ("ES256",), "OKP": ("EdDSA",)}
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_LOG = logging.getLogger("ennakko.issuer")


class UnknownKey(Refusal):
    """The issuer publishes no key of this id for this kind of signature."""

    exit_code = 30


class IssuerSilent(Refusal):
    """The issuer's keys could not be had, so nobody can say whether a token is good."""

    exit_code = 30
    status = 503


class Unfetched(Exception):
    """Why keys could not be had, in words for the log."""


@dataclass(frozen=True)
class PublicKey:
    """One public key, the signatures it may verify, and the stamp of its source when it was read."""

    kid: str | None
    algorithms: tuple[str, ...]
    key: VerifyingKey
    stamp: Hashable = None


class KeySource(Protocol):
    """Where the keys of an issuer come from."""

    def key_for(self, kid: str | None, algorithm: str) -> PublicKey:
        """The key of this id, for this kind of signature; raises UnknownKey or IssuerSilent."""
        ...

    def stamp(self) -> Hashable | None:
        """What stays the same for as long as what was verified may be believed again; None when it may not."""
        ...


class ProviderKeys:
    """The keys of an OpenID provider, by discovery.

    Parameters
    ----------
    issuer : str
        As the provider's tokens and its discovery document write it, to the letter.
    clock : callable
        Seconds that never go back.
    fetch : callable
        Address → bytes; raises OSError or ValueError.
    """

    def __init__(
        self,
        issuer: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.issuer = issuer
        self._clock = clock
        self._fetch = fetch or fetch_document
        self._lock = threading.Lock()
        self._keys: tuple[PublicKey, ...] = ()
        self._fetched_at = self._tried_at = self._probed_at = float("-inf")
        self._generation = 0
        self._failed = False

    def key_for(self, kid: str | None, algorithm: str) -> PublicKey:
        """The provider's key of this id; asks the provider when the keys are old or the id is new.

        ``kid`` None, for a token that names no key, finds one only where the provider has a single key that fits.

        Raises
        ------
        UnknownKey
            The provider has no such key.
        IssuerSilent
            The provider could not be asked for too long.
        """
        if self._age() > FRESH_SECONDS:
            self._refresh()
        found = self._find(kid, algorithm)
        if found is None:
            self._refresh()
            found = self._find(kid, algorithm)
        if self._age() > LAST_SECONDS:
            raise IssuerSilent(Fault("token issuer", "cannot be asked for its keys", "Try again in a minute"))
        if found is None:
            wrong = "is signed with a key that its issuer does not publish"
            raise UnknownKey(Fault("token", wrong, "Ask for a new token"))
        return found

    def stamp(self) -> Hashable | None:
        """The number of the last fetch while its keys are fresh."""
        return self._generation if self._age() <= FRESH_SECONDS else None

    def is_silent(self) -> bool:
        """Whether the provider could not be asked for so long that its tokens count no more.

        Never waits: where it is time to ask again, that begins in a thread of its own, so that a service which is sent
        nobody while it is not ready notices that the provider is back. It keeps no token waiting: whoever comes with
        one may have the provider asked at once.
        """
        last = max(self._tried_at, self._probed_at)
        if self._age() > FRESH_SECONDS and self._is_due(last) and not self._lock.locked():
            threading.Thread(target=self._refresh, args=(True,), name="issuer keys", daemon=True).start()
        return self._failed and self._age() > LAST_SECONDS

    def _is_due(self, last: float) -> bool:
        wait = RETRY_SECONDS if self._fetched_at > float("-inf") else _FIRST_RETRY_SECONDS
        return self._clock() - last >= wait

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        fitting = [key for key in self._keys if algorithm in key.algorithms and kid in (None, key.kid)]
        return fitting[0] if len(fitting) == 1 else None

    def _refresh(self, probing: bool = False) -> None:
        """Fetch the keys, unless that was tried just now; whoever comes meanwhile waits a moment at most."""
        first = self._fetched_at == float("-inf")
        if not self._lock.acquire(timeout=2 * FETCH_SECONDS + 1 if first else 1):
            return
        try:
            if probing:
                self._probed_at = self._clock()
            elif not self._is_due(self._tried_at):
                return
            else:
                self._tried_at = self._clock()
            self._keys = tuple(replace(key, stamp=self._generation + 1) for key in self._fetched())
            self._fetched_at = self._clock()
            self._generation += 1
            self._failed = False
        except Unfetched as error:
            self._failed = True
            _LOG.warning("the keys of a token issuer could not be had: %s", error)
        finally:
            self._lock.release()

    def _fetched(self) -> tuple[PublicKey, ...]:
        about = self._document(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", "discovery document")
        if about.get("issuer") != self.issuer:
            raise Unfetched("its discovery document names another issuer")
        where = about.get("jwks_uri")
        if not isinstance(where, str) or wrong_issuer(where.partition("?")[0]) or _place(where) != _place(self.issuer):
            raise Unfetched("its keys are said to lie elsewhere than with the issuer")
        keys = public_keys(self._document(where, "key set"))
        if not keys:
            raise Unfetched("its key set holds no key that can be used")
        return keys

    def _document(self, url: str, what: str) -> dict[str, Any]:
        try:
            found = json.loads(self._fetch(url))
        except OSError as error:
            raise Unfetched(f"its {what} cannot be read ({error})") from None
        except (ValueError, RecursionError) as error:
            raise Unfetched(f"its {what} cannot be used ({error.__class__.__name__})") from None
        if not isinstance(found, dict):
            raise Unfetched(f"its {what} is not a JSON object")
        return found


def fetch_document(url: str, *, seconds: float = FETCH_SECONDS, most_bytes: int = MOST_BYTES) -> bytes:
    """What an address answers, whole and at once: no redirect, no proxy, no compression, no more than so many bytes.

    Raises
    ------
    OSError
        No answer in time, or not a plain 200.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
    with contextlib.closing(connection), _as_os_errors():
        connection.connect()
        # A time limit on each read lets somebody who sends a byte now and then go on for ever.
        watch = threading.Timer(seconds, _hang_up, [connection.sock])
        watch.daemon = True
        watch.start()
        try:
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request("GET", path, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
            with connection.getresponse() as response:
                if response.status != 200:
                    raise OSError(f"it answered {response.status}")
                if response.getheader("Content-Encoding", "identity") != "identity":
                    raise OSError("it came compressed")
                content = response.read(most_bytes + 1)
        finally:
            watch.cancel()
    if len(content) > most_bytes:
        raise OSError(f"it is longer than {most_bytes} bytes")
    return content


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except http.client.HTTPException as error:
        raise OSError(f"it does not answer as HTTP does ({type(error).__name__})") from None


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _place(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def public_keys(key_set: dict[str, Any]) -> tuple[PublicKey, ...]:
    """The keys of a JSON Web Key Set (RFC 7517) that may verify signatures here.

    Left out are keys of other kinds, symmetric ones, RSA keys too short or too long, keys for something else than
    signatures, and keys published with their private part. Where two share an id, neither is found by it.
    """
    entries = key_set.get("keys")
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise Unfetched(f"its key set is not a list of at most {_MOST_KEYS} keys")
    return tuple(key for key in map(_public_key, entries) if key is not None)


def _public_key(entry: Any) -> PublicKey | None:
    if not isinstance(entry, dict):
        return None
    kind, kid, uses = entry.get("kty"), entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _FOR_KIND or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(uses, list) or "verify" not in uses:
        return None
    if "d" in entry or "k" in entry or not (kid is None or (isinstance(kid, str) and 0 < len(kid) <= _LONGEST_KID)):
        return None
    if kind in _CURVES and entry.get("crv") != _CURVES[kind]:
        return None
    algorithms = tuple(name for name in _FOR_KIND[kind] if entry.get("alg", name) == name)
    key = _verifying_key(kind, entry) if algorithms else None
    return None if key is None else PublicKey(kid, algorithms, key)


def _verifying_key(kind: str, entry: JWKDict) -> VerifyingKey | None:
    """The key as cryptography holds it; None when its numbers are none."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt.algorithms import get_default_algorithms
    from jwt.exceptions import InvalidKeyError

    numbers = [entry.get(name) for name in ("n", "e", "x", "y") if name in entry]
    if not all(isinstance(number, str) and len(number) <= 4 * _MAX_RSA_BITS // 3 // 8 + 4 for number in numbers):
        return None
    try:
        key: VerifyingKey = get_default_algorithms()[_FOR_KIND[kind][0]].from_jwk(entry)
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return None
    return key
