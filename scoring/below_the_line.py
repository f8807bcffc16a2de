"""Lots: a random sample of those below the line for human review, and the randomised margin around the cut.

A lot is HMAC(need secret, purpose | person | as-of date): nobody chooses it per run, nobody without the secret can
foresee it, and the same list made again draws the same people. The sample is of everybody below the line (but for those
held out at the cut), each with the same probability, so that the share in need among them is an unbiased estimate of
the missed need. At the cut the last places of a unit are drawn among twice as many people as there are places, so that
those drawn and those not drawn differ by the lot alone, and what contact changes can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ethics.keyed_hashing import KeyedHash

SAMPLE, MARGIN = "sample", "margin"


def lots(secret: bytes, purpose: str, person_ids: Sequence[str], as_of_date: date) -> list[str]:
    """A lot per person, 64 hexadecimal digits each; lots of two purposes have nothing to do with one another.

    Parameters
    ----------
    secret : bytes
        The need's secret in the home.
    purpose : {"sample", "margin"}
    person_ids : sequence of str (n,)
    """
    keyed = KeyedHash(secret, f"ennakko lots|{purpose}|{as_of_date.isoformat()}|".encode())
    return [lot.hex() for lot in keyed.digests(person_id.encode() for person_id in person_ids)]


def first_by_lot(lot_of: Sequence[str], n: int) -> list[int]:
    """Positions of the ``n`` lowest lots, lowest first.

    >>> first_by_lot(["c", "a", "b"], 2)
    [1, 2]
    """
    return sorted(range(len(lot_of)), key=lambda at: lot_of[at])[:n]


def chance(drawn: int, of: int) -> str:
    """The probability of being drawn, as the text that rows keep: decimals in signed rows are strings.

    >>> chance(2, 3), chance(1, 2)
    ('0.6666666667', '0.5')
    """
    return f"{drawn / of:.10g}"
