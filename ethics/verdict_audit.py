"""Everything that can be verified of a verdict from files alone: verdict, cells, public keys, report, neighbours.

No home, no city, no model, no network. What these files cannot show is named too, so that VERIFIED says no more than
it should.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ethics import refusal_ids as ids
from ethics.cells import BINS, cells_from_bytes, columns_of_cells
from ethics.demands_audit import demanded_faults
from ethics.digests import canonical_json, installed, sha256
from ethics.envelopes import SignedBy, check_signatures, open_envelope, retired_faults
from ethics.foundations_audit import policy_file_faults, statements_in
from ethics.recomputation import not_recomputed, recomputed_ids, statistics_faults
from ethics.refusals import Fault, NotTrusted, Refusal
from ethics.score_verdict import read_unsigned_scores
from ethics.signing import SIGN_ROLES, VERDICT_TYPE, error_faults, holder_faults, statement_faults
from ethics.verdict import Verdict
from ethics.verdict_chain import read_chain
from ethics.verdict_parts import touched_parts
from ethics.written_audit import compare_written

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

    from ethics.keys import TrustedKey

_AS_SIGNED = "Take the file as it was signed"
_PASSED = ("PASS", "PASS_ATTESTED")
_SUBJECTS = ("model", "need", "code", "training_matrix", "test_matrix")
_SUBJECTS_OF_SCORES = ("scores", "groups", "policy", "code")
_MOST_NAMED = 12


@dataclass
class Audit:
    """What was verified, what was touched, and what these files cannot show; each as text to read."""

    verdict: Verdict | None = None
    checked: list[str] = field(default_factory=list)
    touched: list[Fault] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    signed: bool = True
    versions: list[dict[str, str | None]] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether it is signed, and nothing was touched."""
        return self.signed and self.consistent

    @property
    def consistent(self) -> bool:
        """Whether nothing contradicts anything; somebody who wrote all files anew could have made them so."""
        return self.verdict is not None and not self.touched

    def facts(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "verified": self.verified,
            "signed": self.signed,
            "consistent": self.consistent,
            "verdict_id": self.verdict and self.verdict.verdict_id,
            "need": self.verdict and self.verdict.need_id,
            "state": self.verdict and self.verdict.state,
            "checked": self.checked,
            "errors": [fault.facts() for fault in self.touched],
            "unchecked": self.unchecked,
            "notes": self.notes,
            "versions": self.versions,
        }

    def found(self, what: str, faults: Sequence[Fault]) -> None:
        """Keep what a part of the audit came to."""
        self.touched += faults
        if not faults:
            self.checked.append(what)


def audit_verdict(
    envelope: bytes,
    *,
    trust: Mapping[str, TrustedKey],
    now: datetime,
    cells: bytes | None = None,
    reports: Mapping[str, bytes] | None = None,
    neighbours: Mapping[str, bytes] | None = None,
    revoked: Sequence[str] | None = None,
    policy: bytes | None = None,
    attestations: Mapping[str, bytes] | None = None,
) -> Audit:
    """Verify a verdict from files alone.

    Parameters
    ----------
    envelope : bytes
        The signed verdict.
    trust : mapping of key id to TrustedKey
        Public keys (``ennakko keys export``), which the auditor got from the city, not from beside the verdict.
    cells, reports, neighbours : optional
        The file of cells; files written from the verdict by name (:func:`ethics.written_audit.compare_written`); the
        need's other verdicts by folder name. What is not given is named
        among the unchecked.
    revoked : sequence of str, optional
        Ids that no longer hold; None where no list is there.
    policy : bytes, optional
        The policy it was judged by: a TOML, or the envelope that its officers have signed.
    attestations : optional
        Files of signed statements by name; those the verdict does not rest on may be among them.

    Returns
    -------
    Audit
        Never raises for what is wrong with the files: each fault is in ``touched``, with its id.
    """
    audit = Audit()
    try:
        opened = open_envelope(envelope, "verdict")
    except NotTrusted as refusal:
        audit.touched += refusal.faults
        return audit
    audit.verdict = _read_payload(audit, opened)
    signed_by = _audit_signatures(audit, opened, trust, now)
    if audit.verdict is None:
        audit.unchecked.append("everything else (cells, statistics, chain, report: the verdict itself was touched)")
        return audit
    _audit_dates(audit, audit.verdict, now, revoked)
    _audit_signers(audit, audit.verdict, signed_by)
    audit.found("statements: signers known and not revoked", statement_faults(audit.verdict.attestations, trust))
    _audit_foundations(audit, audit.verdict, trust, policy, attestations or {})
    _audit_demands(audit, audit.verdict)
    _audit_cells(audit, audit.verdict, cells, reports or {}, signed_by)
    _audit_chain(audit, audit.verdict, envelope, neighbours or {}, trust)
    _name_the_rest(audit, audit.verdict)
    return audit


def audit_unsigned_scores(
    written: bytes, *, now: datetime, cells: bytes | None = None, reports: Mapping[str, bytes] | None = None
) -> Audit:
    """Whether a verdict on scores alone, which nobody signs, agrees with itself, its cells and its reports.

    Parameters
    ----------
    written : bytes
        The verdict as ``ennakko judge --scores`` wrote it.
    cells, reports : optional
        As in :func:`audit_verdict`.

    Returns
    -------
    Audit
        Never ``verified``: that files agree says nothing of who made them.
    """
    audit = Audit(signed=False)
    try:
        audit.verdict = read_unsigned_scores(written)
    except NotTrusted as refusal:
        audit.touched += refusal.faults
        return audit
    audit.checked.append("self-consistency: state and id follow from the checks and the content")
    _audit_dates(audit, audit.verdict, now, None, unsigned=True)
    _audit_demands(audit, audit.verdict)
    _audit_cells(audit, audit.verdict, cells, reports or {}, ())
    _name_the_rest(audit, audit.verdict)
    audit.unchecked.insert(0, "who judged, and when: nobody has signed it, and it belongs to no home and no chain")
    audit.unchecked.insert(1, "whether the cells were counted from those scores and groups")
    return audit


def _read_payload(audit: Audit, opened: Envelope) -> Verdict | None:
    if opened.payload_type != VERDICT_TYPE:
        wrong = f"holds a payload of type {opened.payload_type!r}"
        audit.touched.append(Fault("verdict", wrong, "Give a verdict", ids.ENVELOPE))
        return None
    try:
        data = json.loads(opened.payload)
        verdict = Verdict.from_json(data)
        canonical = canonical_json(data) == opened.payload
    except NotTrusted as refusal:
        named = touched_parts(data)
        audit.touched += named or [fault._replace(code=ids.CONTRADICTION) for fault in refusal.faults]
        return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        audit.touched.append(Fault("verdict", "holds no readable verdict", _AS_SIGNED, ids.CONTRADICTION))
        return None
    if not canonical:
        wrong = "is not written in canonical form, so its text was changed after it was judged"
        audit.touched.append(Fault("verdict", wrong, _AS_SIGNED, ids.CONTRADICTION))
        return None
    audit.checked.append("self-consistency: parts, state and id follow from the checks and the content")
    return verdict


def _audit_signatures(audit: Audit, opened: Envelope, trust: Mapping[str, TrustedKey], now: datetime) -> list[SignedBy]:
    """Signatures by keys that were in date when the verdict was issued, whatever has expired since."""
    at = audit.verdict.issued_at if audit.verdict else now
    if audit.verdict is not None:
        trust = _as_at_signing(trust, audit.verdict)
    # Keys are dated to the microsecond, verdicts to the second: a key made in that second is old enough.
    signed_by, faults = check_signatures(opened, trust, at + timedelta(seconds=1), "verdict")
    faults += retired_faults(signed_by, at)
    audit.found(f"signatures: {', '.join(sorted(signed.key.role for signed in signed_by))}", faults)
    return signed_by


def _as_at_signing(trust: Mapping[str, TrustedKey], verdict: Verdict) -> dict[str, TrustedKey]:
    """The gate signs when it issues; everybody else may with a key made later, while the verdict lives."""
    return {
        keyid: key
        if key.role == "gate" or key.valid_from >= verdict.expires_at
        else key.model_copy(update={"valid_from": min(key.valid_from, verdict.issued_at)})
        for keyid, key in trust.items()
    }


def _audit_dates(
    audit: Audit, verdict: Verdict, now: datetime, revoked: Sequence[str] | None, *, unsigned: bool = False
) -> None:
    from ethics.keys import SIGNED_DAYS

    faults = []
    life = verdict.expires_at - verdict.issued_at
    if not timedelta(0) < life <= timedelta(days=SIGNED_DAYS[verdict.demonstration]):
        wrong = f"holds from {verdict.issued_at.isoformat()} to {verdict.expires_at.isoformat()}"
        faults.append(Fault("verdict", wrong, "No verdict holds so long", ids.TOO_LONG))
    if now < verdict.issued_at:
        wrong = f"is not valid before {verdict.issued_at.isoformat()}, and it is {now.isoformat()}"
        faults.append(Fault("verdict", wrong, "Set the clock right, here or where it was judged", ids.NOT_YET_VALID))
    audit.found("dates", faults)
    if unsigned:  # it lets no score leave at any time, so it neither expires nor can be revoked
        return
    if now >= verdict.expires_at:
        audit.notes.append(f"It expired at {verdict.expires_at.isoformat()}: it lets no score leave any more.")
    if revoked is None:
        audit.unchecked.append("revocation since it was issued (revoked.json is not here)")
    elif verdict.verdict_id in revoked:
        audit.touched.append(Fault("verdict", f"{verdict.verdict_id} has been revoked", "Judge again", ids.REVOKED))
    else:
        audit.checked.append("revocation: not in the list here")


def _audit_signers(audit: Audit, verdict: Verdict, signed_by: list[SignedBy]) -> None:
    faults = holder_faults(signed_by, verdict)
    missing = [role for role in SIGN_ROLES if all(signed.key.role != role for signed in signed_by)]
    if "gate" in missing or (missing and verdict.state in _PASSED):
        wrong = f"has no valid signature by a key of role {' and '.join(missing)}"
        faults.append(Fault("verdict", wrong, "Take the file as both have signed it", ids.ROLE_MISSING))
    elif missing:
        audit.notes.append("The auditor has not signed it; it says no, and another signature would change nothing.")
    if any(signed.key.demonstration for signed in signed_by) and not verdict.demonstration:
        wrong = "is signed by a demonstration key but not marked so"
        faults.append(Fault("verdict", wrong, "Judge again", ids.DEMONSTRATION))
    if verdict.demonstration:
        audit.notes.append("It is a DEMONSTRATION: signed by keys that anybody can make.")
    if verdict.state == "ERROR":
        audit.notes += [f"ERROR: {fault}" for fault in error_faults(verdict)]
    audit.found("roles: two holders, neither the author of the model", faults)


def _audit_foundations(
    audit: Audit,
    verdict: Verdict,
    trust: Mapping[str, TrustedKey],
    policy: bytes | None,
    attestations: Mapping[str, bytes],
) -> None:
    """The policy and the statements, as far as their files are here."""
    if policy is None:
        audit.unchecked.append("the policy, and whether its officers signed it (no policy file was given)")
    else:
        faults = policy_file_faults(policy, "policy", verdict, trust, verdict.issued_at)
        audit.found("policy: the digest is the verdict's, and the thresholds are the policy's", faults)
    statements = statements_in(attestations, verdict, trust, verdict.issued_at)
    audit.touched += statements.touched
    audit.checked += [f"attestation {row['id']} for {row['check']}: its file" for row in statements.found]
    audit.unchecked += [f"attestation {row['id']} for {row['check']} (no such file)" for row in statements.missing]


def _audit_demands(audit: Audit, verdict: Verdict) -> None:
    try:
        faults = demanded_faults(verdict)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wrong = f"holds no thresholds that can be compared with the template's ({type(error).__name__})"
        faults = [Fault("scope", wrong, _AS_SIGNED, ids.CONTRADICTION)]
    audit.found("demands: no check is left out, and no threshold is loosened, beyond what is told", faults)


def _audit_cells(
    audit: Audit, verdict: Verdict, cells: bytes | None, reports: Mapping[str, bytes], signed_by: Sequence[SignedBy]
) -> None:
    """The cells, what follows from them, and the files that were written from both."""
    _audit_written(audit, verdict, _cells_that_hold(audit, verdict, cells), reports, signed_by)


def _cells_that_hold(audit: Audit, verdict: Verdict, cells: bytes | None) -> Any:
    """The verdict's own cells, their statistics computed again; None if it has none, False if they are not here."""
    judged = verdict.subject.get("cells")
    if judged is None:
        audit.notes.append("It was judged without any group, so there are no cells.")
        return None
    if cells is None:
        audit.unchecked.append("cells, and all statistics that follow from them (no file of cells was given)")
        return False
    if sha256(cells) != judged:
        wrong = f"have SHA-256 {sha256(cells)[:12]}…, and {str(judged)[:12]}… were judged"
        fault = Fault("subject cells", wrong, "Give the file of cells written with the verdict", ids.SUBJECT["cells"])
        audit.touched.append(fault)
        audit.notes.append(_what_other_cells_give(verdict, cells))
        return False
    audit.checked.append("cells: the digest is the verdict's")
    frame = cells_from_bytes(cells)
    faults = _recomputed_faults(verdict, frame)
    again = recomputed_ids(verdict)
    if again or faults:
        audit.found(f"statistics computed again from the cells: {', '.join(again)}", faults)
    else:
        audit.unchecked.append("statistics: no statistic was computed again, for no check here follows from the cells")
    return frame


def _recomputed_faults(verdict: Verdict, cells: Any) -> list[Fault]:
    try:
        return statistics_faults(verdict, cells, str(verdict.subject["cells"]))
    except Refusal as refusal:
        return [fault._replace(code=fault.code or ids.STATISTICS) for fault in refusal.faults]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        wrong = f"cannot be computed again from what it holds ({type(error).__name__})"
        return [Fault("verdict", wrong, _AS_SIGNED, ids.STATISTICS)]


def _what_other_cells_give(verdict: Verdict, content: bytes) -> str:
    """In words, what an edit of the cells was about: the columns, or what no longer follows from them."""
    try:
        cells = cells_from_bytes(content)
        columns = columns_of_cells(verdict.scope.get("indicators") or ())
        differing = [name for name in dict.fromkeys((*columns, *cells.columns)) if (name in columns) != (name in cells)]
        if differing:
            return f"The cells given lack these columns, or hold them too many: {', '.join(differing)}."
        if int(cells["bin"].cast(int).max() or 0) > 2 * BINS:  # type: ignore[arg-type]
            return "The cells given hold bins that no counting makes."
        found = sha256(content)
        faults = statistics_faults(replace(verdict, subject={**verdict.subject, "cells": found}), cells, found)
    except Exception as error:  # whatever edited bytes make the readers raise
        return f"The cells given cannot be read as cells ({type(error).__name__})."
    if not faults:
        return (
            "The same statistics follow from the cells given: their order, form, or what no check rests on was edited."
        )
    places = list(dict.fromkeys(fault.where.partition(": ")[0] for fault in faults))
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return f"Other numbers than those signed follow from the cells given: {', '.join(places[:_MOST_NAMED])}{more}."


def _audit_written(
    audit: Audit, verdict: Verdict, cells: Any, files: Mapping[str, bytes], signed_by: Sequence[SignedBy]
) -> None:
    """Every file written from a verdict must be the bytes that it gives, where this is the code that wrote it."""
    from ethics.report_page import Signature

    signers = [Signature(signed.key.role, signed.key.name) for signed in signed_by]
    found = compare_written(verdict, cells, files, signers)
    audit.checked += found.checked
    audit.touched += found.touched
    audit.unchecked += found.unchecked


def _audit_chain(
    audit: Audit, verdict: Verdict, envelope: bytes, neighbours: Mapping[str, bytes], trust: Mapping[str, TrustedKey]
) -> None:
    if not neighbours:
        if verdict.previous_sha256 is not None:
            before = verdict.previous_sha256[:12]
            audit.unchecked.append(f"the chain (the verdict before it, {before}…, is not beside it)")
        return
    links, faults = read_chain({**neighbours, verdict.verdict_id: envelope}.items(), trust)
    audit.found(f"chain: {len(links)} verdicts of {verdict.need_id}", faults)


def _name_the_rest(audit: Audit, verdict: Verdict) -> None:
    """What needs more than these files, by name; and the versions here beside those recorded."""
    recomputed = any(line.startswith("statistics computed again") for line in audit.checked)
    derived = set(recomputed_ids(verdict)) if recomputed else set()
    others: dict[str, str] = {}
    for check in verdict.checks:
        if check.id not in derived:
            others.setdefault(check.id, check.statistic.replace("_", " "))
    audit.unchecked += [f"{id} ({statistic})" for id, statistic in others.items()]
    audit.unchecked += [
        f"the record's {name.replace('_', ' ')}" for name in not_recomputed(verdict, with_cells=bool(derived))
    ]
    subjects = _SUBJECTS if audit.signed else _SUBJECTS_OF_SCORES
    audit.unchecked.append(f"the digests of {', '.join(subjects).replace('_', ' ')}")
    recorded = verdict.record.get("environment")
    if not isinstance(recorded, Mapping):
        audit.unchecked.append("the versions it was computed with (not recorded)")
        return
    if sha256(canonical_json(dict(recorded))) != verdict.subject.get("environment"):
        wrong = "lists versions whose digest is not the one signed as its subject"
        audit.touched.append(Fault("record: environment", wrong, _AS_SIGNED, ids.SUBJECT["environment"]))
    here = installed()
    audit.versions = [
        {"package": name, "recorded": recorded.get(name), "here": here.get(name)}
        for name in dict.fromkeys((*recorded, *here))
    ]
