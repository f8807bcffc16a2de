"""A verdict on scores alone, read back: nobody signs it, so only that it agrees with itself can be asked of it."""

from __future__ import annotations

import json
from typing import Any

from ethics import refusal_ids as ids
from ethics.digests import canonical_json
from ethics.refusals import Fault, NotTrusted
from ethics.score_case import judges_scores_alone
from ethics.verdict import Verdict

_AS_WRITTEN = "Take the file as it was written, or judge the scores again"


def holds_unsigned_scores(written: bytes) -> bool:
    """Whether a file is a verdict on scores alone, as ``ennakko judge --scores`` writes it, and no envelope.

    >>> holds_unsigned_scores(b'{"scope": {"kind": "scores"}}'), holds_unsigned_scores(b"x")
    (True, False)
    """
    return judges_scores_alone(_parsed(written))


def read_unsigned_scores(written: bytes, where: str = "verdict") -> Verdict:
    """The verdict in such a file.

    Raises
    ------
    NotTrusted
        Not readable, not in the form in which it was written, or its state or id contradicts its content.
    """
    parsed = _parsed(written)
    try:
        verdict = Verdict.from_json(parsed)
        again = canonical_json(verdict.to_json())
    except NotTrusted as refusal:
        raise NotTrusted(*(fault._replace(code=fault.code or ids.CONTRADICTION) for fault in refusal.faults)) from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        wrong = f"holds no readable verdict ({type(error).__name__})"
        raise NotTrusted(Fault(where, wrong, _AS_WRITTEN, ids.CONTRADICTION)) from None
    if again != written:
        raise NotTrusted(Fault(where, "is not in the form in which it was written", _AS_WRITTEN, ids.CONTRADICTION))
    return verdict


def _parsed(written: bytes) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return None
