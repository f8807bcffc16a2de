"""HMAC-SHA-256 of many messages under one key: a whole city's people are looked up every week."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator


class KeyedHash:
    """What :func:`hmac.digest` gives with SHA-256; the key, and what every message begins with, are hashed once.

    Parameters
    ----------
    key : bytes
    begin : bytes
        What every message begins with.

    Examples
    --------
    >>> KeyedHash(b"key").digest(b"message") == hmac.digest(b"key", b"message", "sha256")
    True
    """

    def __init__(self, key: bytes, begin: bytes = b"") -> None:
        self._begun = hmac.new(key, begin, "sha256")

    def __repr__(self) -> str:
        return "KeyedHash(…)"

    def digests(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """The hash of each message, 32 bytes."""
        for message in messages:
            keyed = self._begun.copy()
            keyed.update(message)
            yield keyed.digest()

    def digest(self, message: bytes) -> bytes:
        """The hash of one message."""
        return next(self.digests([message]))
