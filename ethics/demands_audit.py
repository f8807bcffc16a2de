"""Whether a verdict was asked for all that nobody can sign away, and admits where its policy asks for less.

Both follow from the verdict alone: two keys that sign a short list of checks, or loose thresholds under the name of the
template, sign something that contradicts the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ethics.policy import GateThresholds, Policy
from ethics.policy_floor import FLOOR
from ethics.refusal_ids import CHECK_MISSING, CONTRADICTION
from ethics.refusals import Fault

if TYPE_CHECKING:
    from ethics.verdict import Verdict

_AGAIN = "Judge again; audit what an older version of the programme wrote with that version"
_TOUCHED = "Take the verdict as the gate wrote it"


def policy_of(verdict: Verdict) -> Policy:
    """The thresholds that were judged by, as the verdict holds them; the rest as the template has it."""
    scope = verdict.scope
    numbers = {name: float(text) for name, text in scope["thresholds"].items()}
    whole = {name: int(value) if value == int(value) else value for name, value in numbers.items()}
    return Policy.load().model_copy(
        update={
            "thresholds": GateThresholds.model_validate(whole),
            "min_persons_shown": int(scope["min_persons_shown"]),
            "min_persons_public": int(scope["min_persons_public"]),
            "strict_services": (verdict.service,) if scope.get("strict") else (),
            "required": verdict.required,
        }
    )


def demanded_faults(verdict: Verdict) -> list[Fault]:
    """Every check that had to be asked and was not, and every threshold that is looser than it is said to be."""
    return [*_missing_checks(verdict), *_unsaid_looseness(verdict)]


def asked_of(verdict: Verdict) -> set[str]:
    """The ids of the checks that are asked of what the verdict is about: a model, or scores alone."""
    from ethics.checks import BUILT

    scores = verdict.scope.get("kind") == "scores"
    return {id for id, built in BUILT.items() if (built.for_scores if scores else built.for_models)}


def _missing_checks(verdict: Verdict) -> Iterator[Fault]:
    from ethics.checks import BUILT

    signed = bool(verdict.scope.get("policy_signed_by"))
    demanded = {id for id in asked_of(verdict) if not signed or BUILT[id].core or BUILT[id].severity == "B"}
    which = "a check that no policy may leave out" if signed else "a check that only a signed policy may leave out"
    for where, ids in (("required", set(verdict.required)), ("checks", {check.id for check in verdict.checks})):
        lacking = sorted(demanded - ids)
        if lacking:
            yield Fault(where, f"lacks {', '.join(lacking)}, {which}", _AGAIN, CHECK_MISSING)


def _unsaid_looseness(verdict: Verdict) -> Iterator[Fault]:
    where = "scope: looser_than_template"
    said = [dict(row) for row in verdict.scope.get("looser_than_template", ())]
    asked = asked_of(verdict)
    found = [
        row
        for row in policy_of(verdict).looser_than_template()
        if row["key"] != "required" or row["value"].removeprefix("without ") in asked
    ]
    derived = {"required", "min_persons_shown", "min_persons_public"}
    comparable = [
        row
        for row in said
        if row["key"].startswith("thresholds.")
        or (row["key"] in derived and (row["key"] != "required" or row["value"].removeprefix("without ") in asked))
    ]
    for row in (row for row in found if row not in comparable):
        wrong = f"does not tell that {row['key']} is {row['value']}, where the template has {row['template']}"
        yield Fault(where, wrong, _TOUCHED, CONTRADICTION)
    for row in (row for row in comparable if row not in found):
        yield Fault(where, f"tells of {row['key']} = {row['value']}, which was not judged by", _TOUCHED, CONTRADICTION)
    if (said or found) and not verdict.scope.get("policy_signed_by"):
        wrong = "names nobody, and only a signed policy may ask for less than the template"
        yield Fault("scope: policy_signed_by", wrong, _TOUCHED, CONTRADICTION)


def audit_recall_of(scope: Mapping[str, Any]) -> float:
    """The recall that the audit cut aims at: the template's, unless a signed policy told of another."""
    for row in scope.get("looser_than_template", ()):
        if row["key"] == "audit_recall":
            return float(row["value"])
    return FLOOR["audit_recall"][1]
