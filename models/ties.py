"""Neutral order among people with equal scores (contracts.md §4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ethics.keyed_hashing import KeyedHash


def tie_keys(secret: bytes, person_ids: Sequence[str], model_digest: str, as_of_date: date) -> list[str]:
    """A key per person by which ties are broken: HMAC-SHA256(need secret, person | model | date), hexadecimal.

    Nobody chooses it per run, nobody without the secret can foresee it, and it says nothing about the person.

    Parameters
    ----------
    secret : bytes
        The need's secret in the home.
    person_ids : sequence of str (n,)

    Returns
    -------
    list of str (n,)
    """
    tail = f"|{model_digest}|{as_of_date.isoformat()}".encode()
    return [key.hex() for key in KeyedHash(secret).digests(person_id.encode() + tail for person_id in person_ids)]
