"""P1, people first: a purpose in words, help and never a decision, no objector, and better than simpler means."""

from __future__ import annotations

from collections.abc import Iterable

from ethics.case import LANGUAGES, TEXTS, Evidence
from ethics.check_register import RULE, Case, Context, Finding, Unanswerable, check, none_wrong, whole


@check("C101", "B", "pass", "block")
def purpose_is_stated(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Purpose, question, action, benefit and the alternative without AI, each in fi, sv and en."""
    missing = [
        f"{name}.{language}"
        for name in TEXTS
        for language in LANGUAGES
        if not str(evidence.texts.get(name, {}).get(language, "")).strip()
    ]
    missing += [name for name in ("service", "use") if not getattr(evidence, name).strip()]
    yield none_wrong("missing_texts", missing)


@check("C102", "B", "pass", "block", lists=True, core=True, scores=True)
def use_is_outreach(case: Case, context: Context) -> Iterable[Finding]:
    """A model may order an offer of help; it may not decide."""
    yield none_wrong("uses_not_permitted", [] if case.use in context.policy.uses else [case.use or "none"])


@check("C103", "B", "pass", "block", lists=True, core=True)
def no_objector_is_scored(case: Case, context: Context) -> Iterable[Finding]:
    """Residents who object are in no scored set and no list."""
    n = case.n_objectors_in_rows if isinstance(case, Evidence) else case.n_objectors
    yield {"state": "block" if n else "pass", "statistic": "objectors_scored", "value": whole(n), "threshold": 0}


@check("C105", "BA", "pass", "chance", "worse", "tie", "rule", "no_label", core=True, scores=True)
def better_than_simpler_means(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Found needs at k*, paired: above chance, and not below what the unit does today, nor any other rival that is due.

    A rival that is due and was not met is an error: a model is not shown to be better by leaving somebody out.
    """
    if evidence.kind == "rule":
        yield RULE
        return
    if evidence.kind == "scores" and not evidence.duel:  # nobody's outcome is known; no attestation reaches scores
        yield {"state": "not_testable", "statistic": "more_needs_found_than_rival", "facts": {"case": "no_label"}}
        return
    rivals = {str(duel["rival"]): duel for duel in evidence.duel}
    if evidence.rivals_due is None:
        raise Unanswerable("which rivals are due was not given")
    unmet = [name for name in dict.fromkeys(("chance", *evidence.rivals_due)) if name not in rivals]
    if unmet:
        raise Unanswerable(f"no duel against {', '.join(name.replace('_', ' ') for name in unmet)}")
    ordered = [rivals.pop("chance"), *rivals.values()]
    for duel in ordered:
        numbers = {name: float(duel[name]) for name in ("difference", "low", "high")}
        if any(number != number for number in numbers.values()):
            raise ValueError("a duel without numbers")
        case = "pass"
        if duel["rival"] == "chance":
            case = "chance" if numbers["low"] <= 0 else "pass"
        elif numbers["high"] < 0:
            case = "worse"
        elif numbers["low"] <= 0:
            case = "tie"
        if case != "pass":
            break
    yield {
        "state": {"pass": "pass", "tie": "needs_attestation"}.get(case, "block"),
        "statistic": "more_needs_found_than_rival",
        "value": numbers["difference"],
        "low": numbers["low"],
        "high": numbers["high"],
        "threshold": 0,
        "needs": "AT-01" if case == "tie" else None,
        "facts": {"case": case, "rival": str(duel["rival"])},
    }


@check("C106", "BA", "pass", "needs_attestation", "rule", core=True)
def not_too_good_to_be_true(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """An AUC beyond what is plausible, from all columns or from one, suggests that the outcome leaked in."""
    if evidence.kind == "rule":
        yield RULE
        return
    assert evidence.auc is not None and evidence.plausible_auc_max is not None
    if not evidence.single_columns:
        raise Unanswerable("no column was tried alone")
    limit = evidence.plausible_auc_max
    alone = limit * context.policy.thresholds.single_column_share
    aucs = {str(row["column"]): float(row["auc"]) for row in evidence.single_columns}
    suspects = sorted(name for name, auc in aucs.items() if not auc <= alone)
    value = float(evidence.auc["value"])
    alarm = not value <= limit or bool(suspects)
    yield {
        "state": "needs_attestation" if alarm else "pass",
        "statistic": "auc",
        "value": value,
        "low": evidence.auc["low"],
        "high": evidence.auc["high"],
        "threshold": limit,
        "needs": "AT-05" if alarm else None,
        "facts": {"columns": ", ".join(suspects[:12])} if suspects else {},
    }
