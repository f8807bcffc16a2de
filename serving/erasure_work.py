"""The story of an erasure: a person is forgotten in database and files alike, and what was handed out is called back.

A journal (``erasures/<tombstone>.json`` in the home: keyed hashes, files and digests, no person) is written before
anything goes, so that a run killed at any moment is repeated to the same end, and still tells every file to call back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.whole_file import write_whole
from serving.erasure_files import Gone, Swept, remove_exports, sweep
from serving.guardian_lists import listed_children
from serving.home import Home
from serving.objection_work import person_fault
from serving.progress import Step, silent
from serving.typed_texts import free_text_fault

_DIGITS = 32
_EXPORT = ("file", "sha256", "unit_id", "list_id")


def erase_person(
    home: Home,
    person_id: str,
    *,
    by: str,
    reason: str,
    city: Path | None = None,
    language: str = "en",
    today: date | None = None,
    wait: bool = True,
    begun: Callable[[], object] = bool,
    step: Step = silent,
) -> dict[str, Any]:
    """Forget a person everywhere in the home (contracts.md §7); repeating it does no harm.

    What is left is a tombstone, by which the person is masked as an objector is and erased again from restored backups.

    Parameters
    ----------
    by : str
        Who erases, by role.
    reason : str
        E.g. ``"asked for it on 3 June"``; kept in journal and audit log, so it must not name the person.
    city : Path, optional
        A city folder whose contact book tells whose guardian the person is: lists of those children show contact data.
    language : {"en", "fi", "sv"}
        Of the reason why somebody cannot be erased.
    wait : bool
        Until other commands have ended.
    begun : callable
        Called once nothing keeps the erasure from going on: alone in the home, no duty to keep, and nothing gone yet.

    Returns
    -------
    dict
        ``at``, ``known`` (whether the store held the person), ``rows`` (by table), ``rewritten`` and ``removed`` (files
        of the home), ``unreadable`` (files of the home that may still hold the person: restore or remove them, and
        erase again), ``runs`` (whose evidence was rewritten), ``cache_blocks``, ``recall`` (files handed out: call them
        back), ``wiped`` (whether the database's free space is clear already), ``tombstone``.

    Raises
    ------
    BadInput
        No role or reason, or one that names the person; a statutory duty to keep, with its reason: nothing is erased.
    BlockingIOError
        Without ``wait``, while another command is at work: nothing is erased.
    """
    from scoring.reasons import Words

    Words.of(language)
    person_id, by, reason = person_id.strip(), by.strip(), reason.strip()
    _refuse_unsaid(person_id, by, reason)
    step("waiting until other commands have ended")
    with home.in_use(alone=True, wait=wait):
        _refuse_duty(home, person_id, language, today or date.today())
        begun()
        step("recalling, and erasing from the database")
        mark = home.store.tombstone_of(person_id)
        journal = _Journal(home.root / "erasures" / f"{mark[:_DIGITS]}.json")
        journal.begin(by, reason, _exports_of(home, person_id, city))
        erasure = home.store.erase(person_id)
        step("taking the person out of the files")

        def gone(ids: Sequence[str]) -> list[bool]:
            return [one == person_id for one in ids]

        swept, runs = _take_out(home, gone, journal)
        swept.removed += remove_exports(home, (one["file"] for one in journal.said["recall"]))
        n_blocks = _forget_in_cache(home, person_id)
        _log(home, mark, journal, erasure.rows, swept)
        journal.end()
    return {
        "at": erasure.at,
        "known": erasure.person_ref is not None,
        "rows": {table: n for table, n in erasure.rows.items() if n},
        "rewritten": swept.rewritten,
        "removed": swept.removed,
        "unreadable": swept.unreadable,
        "runs": runs,
        "cache_blocks": n_blocks,
        "recall": journal.said["recall"],
        "wiped": erasure.wiped,
        "tombstone": mark,
    }


def erase_again(home: Home, *, by: str, reason: str, step: Step = silent) -> dict[str, Any]:
    """Take everybody who was ever erased out of the home again, after files or database came back from a backup.

    The database is clean as soon as it is opened; here the files follow. The feature cache goes as a whole.

    Returns
    -------
    dict
        ``tombstones`` (how many were ever erased), ``rewritten``, ``removed``, ``unreadable``, ``runs``.
    """
    _refuse_unsaid("nobody in particular", by.strip(), reason.strip())
    step("waiting until other commands have ended")
    with home.in_use(alone=True):
        n = home.store.summary()["tombstones"]
        journal = _Journal(home.root / "erasures" / "restored.json")
        journal.begin(by.strip(), reason.strip(), [])
        step("taking the erased out of the files")
        swept, runs = _take_out(home, lambda ids: home.store.is_erased(ids).tolist(), journal)
        shutil.rmtree(home.root / "feature_cache", ignore_errors=True)
        facts = {"tombstones": n, **{name: len(files) for name, files in vars(swept).items()}}
        home.audit_log.append("erase again", journal.said["by"], reason=journal.said["reason"], **facts)
        journal.end()
    return {"tombstones": n, **vars(swept), "runs": runs}


class _Journal:
    """What an erasure is about to do, on the disk before it is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.said: dict[str, Any] = {"recall": [], "accepted": [], "evidence": []}

    def begin(self, by: str, reason: str, recall: Sequence[Mapping[str, Any]]) -> None:
        """Go on where a killed run ended; of one that came to its end, only what was handed out is still told."""
        if self._path.exists():
            try:
                before = json.loads(self._path.read_bytes())
                self.said |= {name: list(before[name]) for name in self.said}
            except (ValueError, KeyError, TypeError):
                mend = "Restore it from the backup; without it files to call back may be missing"
                raise NotTrusted(Fault(str(self._path), "cannot be read as a journal of an erasure", mend)) from None
        self.said |= {"by": by, "reason": reason, "begun_at": _now(), "ended_at": None}
        known = {(one["list_id"], one["file"]) for one in self.said["recall"]}
        self.said["recall"] += [one for one in recall if (one["list_id"], one["file"]) not in known]
        self.keep()

    def keep(self) -> None:
        """Write it whole."""
        write_whole(self._path, json.dumps(self.said, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8"))

    def end(self) -> None:
        """The erasure came to its end; what was handed out stays told."""
        self.said |= {"ended_at": _now(), "accepted": [], "evidence": []}
        self.keep()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _refuse_unsaid(person_id: str, by: str, reason: str) -> None:
    faults = []
    if fault := person_fault(person_id):
        faults.append(fault)
    for where, said, mend in (
        ("--by", by, "Say who erases, by role"),
        ("--reason", reason, "Say why, without naming anybody"),
    ):
        if not said:
            faults.append(Fault(where, "is missing", mend))
        elif person_id and person_id in said:
            faults.append(Fault(where, "names the person, and is kept for good", mend))
        elif fault := free_text_fault(where, said):
            faults.append(fault)
    if faults:
        raise BadInput(*faults)


class Duty(NamedTuple):
    """A law that says what is recorded of a list's people must be kept: of which need, until when, which law."""

    need: str
    until: str
    law: Mapping[str, str]


def duties_to_keep(home: Home, person_id: str, today: date) -> list[Duty]:
    """The duties that go before somebody's wish to be erased; of each need and law the longest."""
    longest: dict[tuple[str, str], Duty] = {}
    for list_id in home.store.lists_of(person_id):
        facts = home.store.list_facts(list_id)
        keep = facts.get("keep")
        if keep is not None and date.fromisoformat(keep["until"]) > today:
            key = (facts["need"], json.dumps(keep["law"], sort_keys=True))
            duty = Duty(facts["need"], keep["until"], keep["law"])
            longest[key] = max(longest.get(key, duty), duty, key=lambda one: one.until)
    return [longest[key] for key in sorted(longest)]


def _refuse_duty(home: Home, person_id: str, language: str, today: date) -> None:
    faults = [
        Fault(
            "person",
            f"was on a list of {duty.need}, and what was recorded must be kept until {duty.until}: "
            f"{duty.law[language]}",
            f"Erase from {duty.until} on. An objection (ennakko object) keeps the person from every list at once",
        )
        for duty in duties_to_keep(home, person_id, today)
    ]
    if faults:
        raise BadInput(*faults)


def _exports_of(home: Home, person_id: str, city: Path | None) -> list[dict[str, Any]]:
    """Files handed out in which the person stands, or a child whose guardian they are; the latter are recalled."""
    exports = home.store.exports(person_id=person_id)
    found = exports.select(_EXPORT).to_dicts()
    for child in listed_children(home, person_id, city):
        found += home.store.recall(child, "their guardian was erased").select(_EXPORT).to_dicts()
    return [one for at, one in enumerate(found) if one not in found[:at]]


def _take_out(home: Home, gone: Gone, journal: _Journal) -> tuple[Swept, list[str]]:
    from serving.list_work import finish_interrupted

    for folder in sorted(path for path in home.lists.glob("[!.]*") if path.is_dir()):
        finish_interrupted(home, folder.name)
    _finish_drafts_of_runs(home)
    swept = sweep(home, gone)
    return swept, _redact_runs(home, gone, journal, swept)


def _finish_drafts_of_runs(home: Home) -> None:
    from models.tracking import clear_drafts

    if any(home.runs.glob(".*")):
        clear_drafts(home.registry, home.runs)


def _redact_runs(home: Home, gone: Gone, journal: _Journal, swept: Swept) -> list[str]:
    """Rewrite the evidence of every run that holds somebody who goes; MLflow learns its new digest.

    A run whose evidence had been altered before is rewritten too, and stays untrusted.
    """
    from polars.exceptions import PolarsError

    from models.evidence_files import FACTS, evidence_digest, redacted_evidence

    changed = []
    for folder in sorted(path for path in home.runs.glob("[!.]*") if (path / FACTS).exists()):
        try:
            redaction = redacted_evidence(folder, gone, journal.said["accepted"])
        except PolarsError:
            swept.unreadable.append(str(folder.relative_to(home.root)))
            continue
        if redaction is not None:
            if redaction.is_trusted:
                journal.said["evidence"].append([folder.name, redaction.before, redaction.after])
                journal.said["accepted"] += redaction.digests
                journal.keep()
            redaction.write()
        chain = [one[1:] for one in journal.said["evidence"] if one[0] == folder.name]
        if redaction is not None or chain:
            changed.append(folder.name)
            _log_evidence(home, folder.name, evidence_digest(folder), chain)
    return changed


def _log_evidence(home: Home, run_id: str, digest: str, chain: Sequence[Sequence[str]]) -> None:
    from models.registry import logged_digests, record_evidence

    try:
        logged = logged_digests(home.registry, run_id).get("evidence")
    except BadInput:  # a run that MLflow no longer knows: nothing will ever read its evidence
        return
    if any(logged == before for before, _ in chain) and any(digest == after for _, after in chain):
        record_evidence(home.registry, run_id, digest)


def _forget_in_cache(home: Home, person_id: str) -> int:
    from serving.feature_work import feature_cache

    if not (home.root / "feature_cache").is_dir():
        return 0
    return feature_cache(home, silent).forget([person_id])


def _log(home: Home, mark: str, journal: _Journal, rows: Mapping[str, int], swept: Swept) -> None:
    """One line in the audit log for each run that came to its end: keyed hashes and counts."""
    runs = " ".join(f"{run}:{before[:12]}>{after[:12]}" for run, before, after in journal.said["evidence"])
    facts = {
        "tombstone": mark,
        "reason": journal.said["reason"],
        "rows": sum(rows.values()),
        "rewritten": len(swept.rewritten),
        "removed": len(swept.removed),
        "unreadable": len(swept.unreadable),
        "recall": len(journal.said["recall"]),
        "evidence": runs,
    }
    home.audit_log.append("erase", journal.said["by"], **facts)
