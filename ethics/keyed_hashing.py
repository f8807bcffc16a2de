"""HMAC-SHA-256 of many messages under one key: a whole city's people are looked up every week."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class KeyedHash:
    """What :func:`hmac.digest` gives with SHA-256, at a third of its price: the key's blocks are hashed once.

    Parameters
    ----------
    key : bytes
    begin : bytes
        What every message begins with.

    Examples
    --------
    >>> import hmac
    >>> KeyedHash(b"key").digest(b"message") == hmac.digest(b"key", b"message", "sha256")
    True
    """

    def __init__(self, key: bytes, begin: bytes = b"") -> None:
        block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER) + begin)
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def __repr__(self) -> str:
        return "KeyedHash(…)"

    def digests(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """The hash of each message, 32 bytes."""
        begun, ended = self._inner.copy, self._outer.copy
        for message in messages:
            inner, outer = begun(), ended()
            inner.update(message)
            outer.update(inner.digest())
            yield outer.digest()

    def digest(self, message: bytes) -> bytes:
        """The hash of one message."""
        return next(self.digests([message]))
