"""Auditors over HTTP: a need's chain of verdicts, each verdict as it was signed, its cells, and the audit log.

What is told is what lies in the home, byte for byte where a signature or a digest is over bytes, so that an auditor can
verify it without trusting this service. Every read is itself a line of the audit log.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic_core

from ethics.digests import sha256
from ethics.refusals import Fault, NotTrusted, Refusal, did_you_mean
from ethics.verdict import moment_text
from serving.access import known_identity
from serving.audit_schemas import LAST_NUMBER, MOST_ROWS, SOME_ROWS
from serving.exchange import ARROW, JSON, PARQUET, Act, Answer, Asked, Unanswered
from serving.home import CELLS, VERDICT
from serving.negotiation import chosen_kind

if TYPE_CHECKING:
    from ethics.keys import TrustedKey
    from ethics.verdict_chain import Link
    from serving.home import Home

_VERDICT_ID = re.compile(r"v-[0-9a-f]{20}")
_ROW = ("number", "at", "action", "actor", "facts", "prev_hash", "hash")


async def verdicts(asked: Asked) -> Answer:
    """A need's verdicts, and where their chain does not hold."""
    return await asked.in_room(asked.state.audit_reads, _chain)


async def verdict_envelope(asked: Asked) -> Answer:
    """A verdict as it was signed."""
    return await asked.in_room(asked.state.audit_reads, _envelope)


async def cells(asked: Asked) -> Answer:
    """The cells of a verdict."""
    kind = chosen_kind(asked.headers.get("accept", ""), (JSON, ARROW, PARQUET))
    return await asked.in_room(asked.state.audit_reads, _cells, kind)


async def audit_log(asked: Asked) -> Answer:
    """Some rows of the audit log."""
    return await asked.in_room(asked.state.audit_reads, _log)


# ---- verdicts --------------------------------------------------------------------------------------------------


def _chain(asked: Asked) -> Answer:
    from serving.approval import chain_of, revoked_verdicts

    home, need_id = asked.state.home, _need(asked)
    links, faults = chain_of(home, need_id)
    try:
        revoked = revoked_verdicts(home)
    except NotTrusted as refusal:  # a list that cannot be read may name any of them
        revoked = frozenset(link.verdict.verdict_id for link in links)
        faults += refusal.faults
    approved, trust, now = _approved(home, need_id), home.key_ring.trust(), datetime.now(UTC)
    told = [
        {
            **_told(link),
            "signed_by": _signers(home.verdicts / need_id / link.where / VERDICT, trust, now),
            "approved": link.verdict.verdict_id == approved,
            "revoked": link.verdict.verdict_id in revoked,
        }
        for link in links
    ]
    named = [{name: fault.facts()[name] for name in ("where", "wrong", "mend")} for fault in faults]
    found = {"need": need_id, "verdicts": told, "faults": named}
    return _answer(found, Act("verdicts read", {"need": need_id}), len(told))


def _told(link: Link) -> dict[str, Any]:
    verdict = link.verdict
    return {
        "verdict_id": verdict.verdict_id,
        "state": verdict.state,
        "issued_at": moment_text(verdict.issued_at),
        "expires_at": moment_text(verdict.expires_at),
        "model_digest": str(verdict.subject["model"]),
        "demonstration": verdict.demonstration,
        "payload_sha256": link.payload_sha256,
        "previous_sha256": verdict.previous_sha256,
    }


def _signers(path: Path, trust: dict[str, TrustedKey], now: datetime) -> list[str]:
    """The roles in which trusted keys in date have signed a file; none of one that is no envelope any more."""
    from ethics.envelopes import check_signatures, open_envelope

    try:
        signed_by, _ = check_signatures(open_envelope(path.read_bytes(), path.name), trust, now, path.name)
    except (OSError, Refusal):
        return []
    return sorted({signed.key.role for signed in signed_by})


def _approved(home: Home, need_id: str) -> str | None:
    """The verdict of the approved model; None where there is none."""
    from models.registry import approved_model

    try:
        return approved_model(home.registry, need_id).tags.get("verdict")
    except Refusal:
        return None


def _envelope(asked: Asked) -> Answer:
    verdict_id = asked.path["verdict_id"]
    path = _verdict_path(asked, verdict_id, "path: verdict_id")
    act = Act("verdict read", {"need": path.parent.parent.name, "verdict": verdict_id})
    return Answer(path.read_bytes(), acts=(act,), rows=1)


def _verdict_path(asked: Asked, verdict_id: str, where: str, need_id: str = "*") -> Path:
    """Where a verdict lies, of a need that the caller may ask about; raises Unanswered."""
    found: list[Path] = []
    if _VERDICT_ID.fullmatch(verdict_id):
        found = list(asked.state.home.verdicts.glob(f"*/{verdict_id}/{VERDICT}"))
    for path in found:
        own = path.parent.parent.name
        if need_id in ("*", own) and (asked.identity is None or asked.identity.may_use_need(own)):
            return path
    mend = "Ask for a need's verdicts: GET /verdicts?need=…"
    raise Unanswered(404, "Unknown verdict", Fault(where, "is no verdict that is kept here", mend))


def _need(asked: Asked) -> str:
    """The need asked about, which has a verdict or is served, and is the caller's to ask about."""
    asked_for = asked.query["need"]
    judged = {folder.name for folder in asked.state.home.verdicts.glob("[!.]*") if folder.is_dir()}
    identity = asked.identity
    known = [
        one for one in sorted(judged | {*asked.state.desk.guarded}) if identity is None or identity.may_use_need(one)
    ]
    if asked_for not in known:
        mend = did_you_mean(asked_for, known) if known else "Judge a need first: ennakko judge"
        raise Unanswered(404, "Unknown need", Fault("query: need", "names no need that was judged here", mend))
    return asked_for


# ---- cells -----------------------------------------------------------------------------------------------------


def _cells(asked: Asked, kind: str) -> Answer:
    need_id = _need(asked)
    verdict_id = asked.query.get("verdict") or _approved(asked.state.home, need_id)
    if verdict_id is None:
        mend = f"Name one of GET /verdicts?need={need_id} with &verdict="
        raise Unanswered(404, "Unknown verdict", Fault("query: need", "has no approved model", mend))
    path = _verdict_path(asked, verdict_id, "query: verdict", need_id)
    try:
        content = path.with_name(CELLS).read_bytes()
    except OSError as error:
        raise _not_as_signed(f"cannot be read ({error.strerror})", "Restore them from the backup") from None
    act = Act("cells read", {"need": need_id, "verdict": verdict_id})
    if kind == PARQUET:  # as they lie: whoever computes the digest sees for themselves
        return Answer(content, PARQUET, acts=(act,))
    if sha256(content) != _digest_in(path):
        mend = f"Restore them from the backup; as they lie: Accept: {PARQUET}"
        raise _not_as_signed("are not those that the verdict was signed with", mend)
    body, n = _as_told(content, kind, {"need": need_id, "verdict_id": verdict_id, "cells_sha256": sha256(content)})
    return Answer(body, kind, acts=(act,), rows=n)


def _digest_in(verdict: Path) -> str | None:
    """The digest of the cells that a verdict says, whoever signed it; None where it cannot be read."""
    from ethics.envelopes import open_envelope

    try:
        said = json.loads(open_envelope(verdict.read_bytes(), verdict.name).payload)["subject"]["cells"]
    except (OSError, Refusal, ValueError, KeyError, TypeError):
        return None
    return str(said)


def _as_told(content: bytes, kind: str, head: dict[str, str]) -> tuple[bytes, int]:
    """The cells as rows of JSON, or as an Arrow stream with the head in its metadata; and how many rows."""
    import polars as pl

    from ethics.cells import cells_from_bytes

    frame = cells_from_bytes(content)
    sink = BytesIO()
    if kind == JSON:
        frame.write_json(sink)
        return pydantic_core.to_json(head)[:-1] + b',"rows":' + sink.getvalue() + b"}", frame.height
    import pyarrow as pa

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(head)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue(), frame.height


def _not_as_signed(wrong: str, mend: str) -> Unanswered:
    return Unanswered(503, "Not as signed", Fault("cells", wrong, mend))


# ---- the audit log ---------------------------------------------------------------------------------------------


def _log(asked: Asked) -> Answer:
    known_identity(asked)
    faults: list[Fault] = []
    after = _whole(asked, "after", 0, LAST_NUMBER, 0, faults)
    limit = _whole(asked, "limit", 1, MOST_ROWS, SOME_ROWS, faults)
    if faults:
        raise Unanswered(400, "The request cannot be used", *faults)
    log = asked.state.home.audit_log
    rows, last = log.rows_beyond(after, limit), log.head()[0]
    told = [{name: row[name] for name in _ROW} for row in rows]
    found = {
        "writer": log.writer,
        "rows": told,
        "last": last,
        "more": bool(told) and told[-1]["number"] < last,
    }
    return _answer(found, Act("audit log read", {"after": after, "n": len(told)}), len(told))


def _whole(asked: Asked, name: str, least: int, most: int, unless: int, faults: list[Fault]) -> int:
    text = asked.query.get(name)
    if text is None:
        return unless
    if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    faults.append(Fault(f"query: {name}", "is not a whole number in its range", f"Give {least} to {most}"))
    return unless


def _answer(found: dict[str, Any], act: Act, n: int) -> Answer:
    return Answer(json.dumps(found, ensure_ascii=False).encode(), acts=(act,), rows=n)
