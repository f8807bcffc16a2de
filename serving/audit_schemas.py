"""Bodies of what auditors are told: chains of verdicts, signed envelopes, cells, and the audit log."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from serving.schemas import Body

MOST_ROWS, SOME_ROWS = 1000, 200
"""Of the audit log in one answer: at most, and unless somebody says how many."""
LAST_NUMBER = 2**31 - 1


class ChainLinkBody(Body):
    """One verdict of a need's chain.

    ``approved`` says whether it is the one that scores rest on, ``signed_by`` in which roles trusted keys in date have
    signed it; ``previous_sha256`` names the ``payload_sha256`` of the verdict before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    verdict_id: str
    state: str
    issued_at: datetime
    expires_at: datetime
    model_digest: str
    demonstration: bool
    signed_by: tuple[str, ...]
    approved: bool
    revoked: bool
    payload_sha256: str
    previous_sha256: str | None


class FaultBody(Body):
    """A place where a chain does not hold."""

    where: str
    wrong: str
    mend: str


class VerdictsResponse(Body):
    """A need's verdicts, oldest first, and every place where their chain does not hold."""

    need: str
    verdicts: tuple[ChainLinkBody, ...]
    faults: tuple[FaultBody, ...]


class SignatureBody(Body):
    """One signature of an envelope, in base64."""

    keyid: str
    sig: str


class EnvelopeResponse(BaseModel):
    """A verdict as it was signed (DSSE): the payload in base64, and the signatures over it."""

    payload: str
    payloadType: str  # DSSE names it so
    signatures: tuple[SignatureBody, ...]


class CellBody(BaseModel):
    """People counted by group, score bin, outcome and indicators (a column ``indicator:<name>`` for each)."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    attribute: str
    group: str
    bin: int
    label: int | None
    n: int
    sum_probability: float | None
    sum_rank: float | None
    sum_discount: float | None


class CellsResponse(Body):
    """The cells of a verdict, from which its statistics are computed again."""

    need: str
    verdict_id: str
    cells_sha256: str
    rows: tuple[CellBody, ...]


class AuditRow(Body):
    """One act; ``hash`` is SHA-256 of ``prev_hash``, ``|`` and the canonical JSON of writer and the other keys."""

    number: int
    at: str
    action: str
    actor: str
    facts: str
    prev_hash: str
    hash: str


class AuditLogResponse(Body):
    """Some rows of the audit log, oldest first; ``last`` is the number of the last there is."""

    writer: str
    rows: tuple[AuditRow, ...]
    last: int
    more: bool


_DIGEST = "5c1b" * 16
_VERDICT = "v-217ee618b351ce3a5935"
_MOMENTS = {"issued_at": "2024-06-03T00:00:00Z", "expires_at": "2025-06-03T00:00:00Z"}
VERDICTS_EXAMPLE = {
    "need": "youth_exclusion",
    "verdicts": [
        {
            "verdict_id": _VERDICT,
            "state": "PASS",
            **_MOMENTS,
            "model_digest": _DIGEST,
            "demonstration": False,
            "signed_by": ["auditor", "gate"],
            "approved": True,
            "revoked": False,
            "payload_sha256": _DIGEST,
            "previous_sha256": None,
        }
    ],
    "faults": [],
}
ENVELOPE_EXAMPLE = {
    "payload": "eyJ2ZXJkaWN0X2lkIjoi4oCmIn0=",
    "payloadType": "application/vnd.ennakko.verdict+json",
    "signatures": [{"keyid": _DIGEST, "sig": "c2lnbmF0dXJl"}],
}
_CELL = {"attribute": "sex", "group": "f", "bin": 0, "label": 1, "indicator:psychiatric care": 0, "n": 12}
CELLS_EXAMPLE = {
    "need": "youth_exclusion",
    "verdict_id": _VERDICT,
    "cells_sha256": _DIGEST,
    "rows": [{**_CELL, "sum_probability": 6.5, "sum_rank": 310.0, "sum_discount": 2.75, "design_effect": 1.0}],
}
LOG_EXAMPLE = {
    "writer": "main",
    "rows": [
        {
            "number": 1,
            "at": "2024-06-03T07:15:00.000000+00:00",
            "action": "approve",
            "actor": "service owner",
            "facts": '{"need":"youth_exclusion"}',
            "prev_hash": "0" * 64,
            "hash": _DIGEST,
        }
    ],
    "last": 1,
    "more": False,
}
