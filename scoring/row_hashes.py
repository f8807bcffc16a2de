"""The salted hash of one row of a list: it proves the row while the person's salt is there, and says nothing after."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ethics.digests import canonical_json

RowKeys = Callable[[Sequence[str]], Mapping[str, bytes]]
"""Person ids → each one's key for row hashes; :meth:`scoring.store.Store.row_keys` is one."""


def payload_text(payload: Mapping[str, Any]) -> str:
    """What a row shows, as the store keeps it and the hash covers it: canonical JSON, decimals as strings."""
    return canonical_json(dict(payload)).decode("utf-8")


def lot_of(kind: str, payload: str | None) -> tuple[float | None, bool]:
    """What a lot did to a row, by its payload.

    Returns
    -------
    (float or None, bool)
        The probability with which it would have drawn the person (None where no lot decided), and whether the lot at
        the cut left the person below the line: recorded, and shown to nobody.

    >>> lot_of("margin", '{"margin":{"listed":false,"probability":"0.5"}}'), lot_of("ranked", '{"reasons":[]}')
    ((0.5, True), (None, False))
    """
    if payload is None or kind not in ("sample", "margin"):
        return None, False
    lot = json.loads(payload).get(kind, {})
    return float(lot["probability"]) if lot.get("probability") else None, not lot.get("listed", True)


def row_hash(
    key: bytes, *, unit_id: str, position: int, kind: str, person_id: str, rank_band: str | None, payload: str
) -> str:
    """HMAC-SHA256 over everything a row says.

    Parameters
    ----------
    key : bytes
        The person's own, made from a salt that erasure deletes: without it nobody can test a guess.
    payload : str
        From :func:`payload_text`.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    said = {
        "unit_id": unit_id,
        "position": position,
        "kind": kind,
        "person_id": person_id,
        "rank_band": rank_band,
        "payload": payload,
    }
    return hmac.digest(key, canonical_json(said), "sha256").hex()
