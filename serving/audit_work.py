"""The auditor's commands: a verdict verified from files alone, and the access log read and verified."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.envelopes import open_envelope
from ethics.refusal_ids import CHAIN
from ethics.refusals import BadInput, Fault, NotTrusted
from serving.approval import bytes_of
from serving.home import CELLS, MODEL_DIGITS, VERDICT, Home
from serving.records_audit import log_faults
from serving.saying import Result, table

if TYPE_CHECKING:
    from ethics.verdict_audit import Audit

_HMAC = re.compile(r"[0-9a-f]{64}")
_UNSAID = ("person", "persons")
_POLICIES = ("policy.json", "policy.toml")


def audit_files(
    verdict: Path,
    *,
    trust: Path | None,
    cells: Path | None,
    home: Path | None,
    now: datetime,
    policy: Path | None = None,
    attestations: Path | None = None,
) -> Audit:
    """Verify a verdict from its file, and from what lies beside it unless it is named.

    Parameters
    ----------
    trust : Path or None
        Public keys; those of the home, if one is there, when None (a verdict on scores alone, which nobody signs, is
        then compared with its cells without keys). Keys that merely lie beside the verdict are not
        taken unasked: whoever edits the one can edit the other.

    policy : Path or None
        The policy it was judged by; ``policy.json`` or ``policy.toml`` beside the verdict when None. A home's own is
        not taken unasked: it may rightly be another than the one in force then.
    attestations : Path or None
        A folder of signed statements; ``attestations`` beside the verdict, or the home's for its model, when None.

    Raises
    ------
    BadInput
        No such file, or no public keys.
    """
    from ethics.keys import read_trust
    from ethics.score_verdict import holds_unsigned_scores
    from ethics.verdict_audit import audit_unsigned_scores, audit_verdict

    if trust is None and verdict.is_file() and holds_unsigned_scores(bytes_of(verdict)):
        beside = cells or verdict.with_name(CELLS)
        if cells is not None and not cells.is_file():
            raise BadInput(Fault(str(cells), "is not a file", "Give the path of a file"))
        return audit_unsigned_scores(
            bytes_of(verdict),
            now=now,
            cells=bytes_of(beside) if beside.is_file() else None,
            reports=_reports_beside(verdict),
        )
    folder, needs_folder = verdict.parent, verdict.parent.parent
    known = home / "keys" / "trust.json" if home else None
    trust = trust or (known if known and known.is_file() else None)
    faults = [
        Fault(str(path), "is not a file", "Give the path of a file")
        for path in (verdict, cells, trust, policy)
        if path is not None and not path.is_file()
    ]
    if attestations is not None and not attestations.is_dir():
        faults.append(Fault(str(attestations), "is not a folder", "Give the folder of the signed statements"))
    if trust is None:
        mend = "Give the city's public keys, as ennakko keys export wrote them"
        faults.append(Fault("--trust", "is missing, and there is no home with keys", mend))
    if faults or trust is None:
        raise BadInput(*faults)
    beside = folder / CELLS
    cells = cells or (beside if beside.is_file() else None)
    lies_in_chain = verdict.name == VERDICT and folder.name.startswith("v-")
    neighbours = {
        path.parent.name: bytes_of(path)
        for path in (sorted(needs_folder.glob(f"v-*/{VERDICT}")) if lies_in_chain else ())
        if path.resolve() != verdict.resolve()
    }
    policy = policy or next((path for name in _POLICIES if (path := folder / name).is_file()), None)
    content = bytes_of(verdict)
    audit = audit_verdict(
        content,
        trust=read_trust(trust),
        now=now,
        cells=None if cells is None else bytes_of(cells),
        reports=_reports_beside(verdict),
        neighbours=neighbours,
        revoked=_revoked_beside(needs_folder.parent / "revoked.json") if lies_in_chain else None,
        policy=None if policy is None else bytes_of(policy),
        attestations=_statement_files(attestations or _statements_beside(content, folder, lies_in_chain)),
    )
    if lies_in_chain and audit.verdict is not None and audit.verdict.verdict_id != folder.name:
        wrong = f"holds {audit.verdict.verdict_id}, which is another verdict"
        audit.touched.append(Fault(folder.name, wrong, "Restore the verdicts of this need from the backup", CHAIN))
    return audit


def _reports_beside(verdict: Path) -> dict[str, bytes]:
    """What lies beside a verdict under the names of what is written from one: reports, public pages, register."""
    from ethics.written_audit import REGISTER

    folder = verdict.parent
    paths = [path for glob in ("report*", "public*", f"{REGISTER}*") for path in sorted(folder.glob(glob))]
    return {path.relative_to(folder).as_posix(): bytes_of(path) for path in paths if path.is_file()}


def _statements_beside(envelope: bytes, folder: Path, lies_in_chain: bool) -> Path:
    """Where the statements of a verdict lie: beside it, or where its home keeps those about its model."""
    beside = folder / "attestations"
    if beside.is_dir() or not lies_in_chain:
        return beside
    try:
        subject = json.loads(open_envelope(envelope, "verdict").payload)["subject"]
        model = str(subject["model"])[:MODEL_DIGITS]
    except (NotTrusted, ValueError, TypeError, KeyError):  # the audit itself says what is wrong with it
        return beside
    return folder.parents[2] / "attestations" / folder.parent.name / model


def _statement_files(folder: Path) -> dict[str, bytes]:
    return {path.name: bytes_of(path) for path in sorted(folder.glob("*.json"))} if folder.is_dir() else {}


def _revoked_beside(path: Path) -> list[str] | None:
    """The list of revoked verdicts where a home keeps it; a home without one has revoked nothing by list."""
    if not path.is_file():
        return None
    try:
        ids = json.loads(path.read_bytes())
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise NotTrusted(Fault(str(path), "is not a list of verdict ids", "Restore it from the backup"))
    return ids


def say_audited(result: Result) -> None:
    """What was verified, what was touched, what could not be checked, in that order of weight."""
    named = f"{result['verdict_id']} ({result['need']}), {result['state']}" if result["verdict_id"] else "no verdict"
    if result["verified"]:
        print(f"VERIFIED: {named}")
    elif result["consistent"]:
        print(f"CONSISTENT, BUT SIGNED BY NOBODY: {named}")
        print("These files agree with each other. Whoever can write them could have made them so.")
    else:
        print(f"NOT VERIFIED: {named}")
        for fault in result["errors"]:
            code = f" [{fault['code']}]" if "code" in fault else ""
            print(f"touched: {fault['where']}: {fault['wrong']}{code}")
    for title, lines in (
        ("Checked", result["checked"]),
        ("Note", result["notes"]),
        ("Could not be checked from these files", result["unchecked"]),
    ):
        if lines:
            print(f"{title}:")
            for line in lines:
                print(f"- {line}")
    other = [row for row in result["versions"] if row["recorded"] != row["here"]]
    if other:
        print("Versions that differ from those it was computed with:")
        rows = [(str(row["package"]), str(row["recorded"] or "–"), str(row["here"] or "–")) for row in other]
        table(rows, ("package", "recorded", "here"))


def read_log(home: Home, *, need: str | None, person: str | None, since: date | None) -> dict[str, Any]:
    """The access log, oldest first, and whether its chain holds.

    Parameters
    ----------
    person : str or None
        A pseudonym, or the keyed hash of one as the log holds it: only acts upon that person. Neither is ever printed.
    since : date or None
        Only acts on that day (UTC) or later.

    Raises
    ------
    BadInput
        Nothing was ever done in this home.
    NotTrusted
        The chain does not hold, or is gone: each place where it does not.
    """
    faults = log_faults(home)
    if faults:
        raise NotTrusted(*faults)
    wanted = None if person is None else hashes_of(home, person.strip())
    rows = []
    everything = home.audit_log.rows()
    for row in everything:
        facts = json.loads(row["facts"])
        if need is not None and facts.get("need") != need:
            continue
        if wanted is not None and not persons_of(facts) & wanted:
            continue
        if since is not None and row["at"][:10] < since.isoformat():
            continue
        told = {name: value for name, value in facts.items() if name not in _UNSAID}
        n_about = len(persons_of(facts))
        about = None if not n_about else "one person" if n_about == 1 else f"{n_about} people"
        columns = {name: row[name] for name in ("number", "at", "action", "actor")}
        rows.append({**columns, "about": about, "facts": told, "hash": row["hash"]})
    return {"rows": rows, "total": len(everything), "verified": True}


def hashes_of(home: Home, person: str) -> set[str]:
    """What stands for a person in the log: a reference of the store, and a hash by a key of the home.

    Raises
    ------
    BadInput
        Nobody is named.
    """
    from serving.objection_work import store_if_begun

    if not person:
        raise BadInput(Fault("--person", "is empty", "Give the pseudonym, e.g. 000123"))
    if _HMAC.fullmatch(person):
        return {person}
    found, store = set(), store_if_begun(home) if person.isprintable() else None
    if store is not None:
        found |= set(store.refs([person]).values())
    if home.settings.secret_path("audit-persons").exists():  # otherwise no act upon a person was so recorded
        secret = home.settings.secret("audit-persons")
        found.add(hmac.digest(secret, person.encode("utf-8", "surrogatepass"), "sha256").hex())
    return found


def persons_of(facts: Mapping[str, Any]) -> set[str]:
    """What stands for people in one act's facts: one reference, or those of everybody in an answer over HTTP.

    >>> sorted(persons_of({"persons": "aa bb"}))
    ['aa', 'bb']
    """
    return {*str(facts.get("persons", "")).split(), *([str(facts["person"])] if "person" in facts else [])}


def _shortened(value: object) -> str:
    """A fact to read: of a digest its first twelve digits, which ``--json`` gives whole."""
    text = str(value)
    return f"{text[:12]}…" if _HMAC.fullmatch(text) else text


def say_log(result: Result) -> None:
    """The log as a table."""
    rows = [
        (
            *(str(row["number"]), row["at"][:19], row["action"], row["actor"], row["about"] or ""),
            ", ".join(f"{name} {_shortened(value)}" for name, value in row["facts"].items()),
        )
        for row in result["rows"]
    ]
    if rows:
        table(rows, ("number", "at (UTC)", "act", "by", "about", "facts"), unbroken=(0, 1))
    print(f"{len(rows)} of {result['total']} acts; the chain holds.")
