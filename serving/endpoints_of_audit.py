"""Rows of the table of endpoints: verdicts, cells and the audit log, for those who verify."""

from __future__ import annotations

from dataclasses import replace

from serving.audit_schemas import (
    CELLS_EXAMPLE,
    ENVELOPE_EXAMPLE,
    LAST_NUMBER,
    LOG_EXAMPLE,
    MOST_ROWS,
    SOME_ROWS,
    VERDICTS_EXAMPLE,
    AuditLogResponse,
    CellsResponse,
    EnvelopeResponse,
    VerdictsResponse,
)
from serving.endpoint_shape import AUDITOR, DATA_SCIENTIST, HEAVY, NEED, SYSTEM, TEXT, Endpoint, Parameter
from serving.exchange import ARROW, JSON, PARQUET

_JUDGED = replace(NEED, says="Id of a need that was judged here.")

AUDIT: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/verdicts",
        handler="audit_desk.verdicts",
        title="A need's chain of verdicts",
        says="Every verdict that is kept of a need, oldest first, with its state, who signed it and whether it was "
        "revoked, and every place where the chain does not hold.",
        roles=(AUDITOR, DATA_SCIENTIST, SYSTEM),
        query=(_JUDGED,),
        answer=VerdictsResponse,
        problems={404: ("Unknown need",), **HEAVY},
        answer_example=VERDICTS_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/verdicts/{verdict_id}",
        handler="audit_desk.verdict_envelope",
        title="A verdict as it was signed",
        says="The file, byte for byte: a DSSE envelope. `ennakko audit verify` verifies it from files alone.",
        roles=(AUDITOR, DATA_SCIENTIST, SYSTEM),
        answer=EnvelopeResponse,
        problems={404: ("Unknown verdict",), **HEAVY},
        answer_example=ENVELOPE_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/cells",
        handler="audit_desk.cells",
        title="The cells of a verdict",
        says=(
            "Counts of people by group, score bin and outcome, from which every statistic of a verdict is computed "
            "again; of the approved verdict unless another is named. They hold counts as small as one, and no id. "
            "As JSON, as an Arrow IPC stream, or as the Parquet file itself, whose SHA-256 the verdict was signed with."
        ),
        roles=(AUDITOR,),
        query=(
            _JUDGED,
            Parameter(name="verdict", says="Id of another verdict of the need.", required=False, schema=TEXT),
        ),
        answer=CellsResponse,
        answer_kinds=(JSON, ARROW, PARQUET),
        problems={
            404: ("Unknown need", "Unknown verdict"),
            406: ("No such kind of answer",),
            503: (*HEAVY[503], "Not as signed"),
        },
        answer_example=CELLS_EXAMPLE,
    ),
    Endpoint(
        method="GET",
        path="/audit-log",
        handler="audit_desk.audit_log",
        title="The audit log",
        says=(
            "Who did what, oldest first, some rows at a time, with the hashes of their chain. People stand in it as "
            "keyed hashes. Reading it is itself an act, which the next page shows."
        ),
        roles=(AUDITOR,),
        purpose=True,
        query=(
            Parameter(
                name="after",
                says="Rows after this number; 0, which is all of them, unless said.",
                required=False,
                schema={"type": "integer", "minimum": 0, "maximum": LAST_NUMBER},
            ),
            Parameter(
                name="limit",
                says=f"No more rows than this; {SOME_ROWS} unless said.",
                required=False,
                schema={"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
            ),
        ),
        answer=AuditLogResponse,
        problems=HEAVY,
        answer_example=LOG_EXAMPLE,
    ),
)
