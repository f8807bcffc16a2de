"""P2, openness: the register entry is whole, describes what is used, and can be read by those it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from ethics.case import Evidence, ListEvidence
from ethics.check_register import Case, Context, Finding, Unanswerable, check, none_wrong
from ethics.readability import lix
from ethics.register_record import NAMED_DIGESTS, language_faults, published_text, record_faults


def _record(case: Case) -> Mapping[str, Any]:
    if not case.register:
        raise Unanswerable("there is no register entry")
    return case.register


@check("C201", "B", "pass", "block")
def register_entry_is_whole(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """The record gives an entry of the Algorithmic Transparency Standard 0.3.1 with every required key of its type.

    A text counts as there when one language has it; what another language lacks is C203's.
    """
    faults = record_faults(_record(evidence), changed=context.now.date(), valid_days=context.policy.verdict_days)
    yield none_wrong("register_faults", faults)


@check("C202", "B", "pass", "block", lists=True)
def register_describes_what_is_used(case: Case, context: Context) -> Iterable[Finding]:
    """The entry's digests are those of the model, need, policy and data judged, and its review day has not passed.

    Of a list, whose data are of another week, model, need and policy are compared.
    """
    record = _record(case)
    used: Mapping[str, str] = case.actual if isinstance(case, ListEvidence) else case.subject
    names = [name for name in NAMED_DIGESTS if not (isinstance(case, ListEvidence) and name.endswith("matrix"))]
    used = {**used, "policy": context.policy.digest}
    wrong = [name for name in names if not used.get(name) or record["digests"].get(name) != used[name]]
    if date.fromisoformat(record["revision_date"]) < context.now.date():
        wrong.append(f"revision date {record['revision_date']}")
    yield none_wrong("register_out_of_step", wrong)


@check("C203", "W", "pass", "warn", "hard")
def register_can_be_read(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Every text in fi, sv and en, a summary of at most 150 characters, and the whole no harder than LIX allows."""
    record, limits = _record(evidence), context.policy.thresholds
    lacking = none_wrong("texts_of_one_language_only", language_faults(record))
    yield lacking | ({"state": "warn"} if lacking["state"] == "block" else {})
    for language, limit in (("fi", limits.max_lix_fi), ("sv", limits.max_lix_sv)):
        text = published_text(record, language)
        if not text:
            continue  # nothing to read; C201 or the finding above says what is missing
        hardness = round(lix(text), 1)
        finding: Finding = {"statistic": f"lix_{language}", "value": hardness, "threshold": limit}
        yield finding | ({"state": "pass"} if hardness <= limit else {"state": "warn", "facts": {"case": "hard"}})
