"""The checks that are built: each a small function from evidence, fairness table and policy to findings.

A check that cannot be answered raises, and the gate makes that an error; nothing here guesses in favour of a model.
What is measured of one group alone, or of the people whose group nobody knows, is 1 by construction and shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ethics.case import COMPARED, LANGUAGES, SORT_KEY, SUBJECTS, TEXTS, Evidence, ListEvidence, names_holder
from ethics.cells import UNKNOWN
from ethics.fairness import AT_AUDIT, AT_K, BELOW_AUDIT, NO_CUT, Estimate, FairnessTable
from ethics.policy import Policy
from ethics.verdict import Check

DOES_NOT_APPLY = "does not apply to a rule"
Finding = dict[str, Any]
Case = Evidence | ListEvidence
_NOT_SHOWN = ("pass", "warn", "inconclusive", "not_testable")


class Unanswerable(ValueError):
    """A check that cannot be answered, in words that name no person and may be shown."""


@dataclass(frozen=True)
class Context:
    """What a check may look at beside the evidence."""

    policy: Policy
    now: datetime
    fairness: FairnessTable | None = None


@dataclass(frozen=True)
class BuiltCheck:
    """A check of the table: its severity, the message cases it can end in, and whether lists run it too."""

    id: str
    severity: str
    cases: tuple[str, ...]
    answer: Callable[[Any, Context], Iterable[Finding]]
    for_lists: bool
    version: int = 1

    def run(self, case: Case, context: Context) -> list[Check]:
        """The findings as checks. An exception, a NaN or no finding at all is an error, never a pass."""
        try:
            checks = [
                Check(id=self.id, version=self.version, severity=self.severity, **finding)
                for finding in self.answer(case, context)
            ]
            if not checks:
                return [self.error("nothing was evaluated")]
        except Unanswerable as error:
            return [self.error(str(error))]
        except Exception as error:
            return [self.error(type(error).__name__)]
        return [self.error("a statistic is not a number") if _is_nan(check) else check for check in checks]

    def error(self, wrong: str) -> Check:
        """This check could not be answered."""
        facts = {"wrong": wrong}
        return Check(
            id=self.id, version=self.version, severity=self.severity, state="error", statistic="error", facts=facts
        )


BUILT: dict[str, BuiltCheck] = {}


def _check(
    id: str, severity: str, *cases: str, lists: bool = False
) -> Callable[[Callable[[Any, Context], Iterable[Finding]]], Callable[[Any, Context], Iterable[Finding]]]:
    def register(answer: Callable[[Any, Context], Iterable[Finding]]) -> Callable[[Any, Context], Iterable[Finding]]:
        BUILT[id] = BuiltCheck(id, severity, cases, answer, lists)
        return answer

    return register


def _is_nan(check: Check) -> bool:
    return any(
        number is not None and number != number for number in (check.value, check.low, check.high, check.threshold)
    )


def _none_wrong(statistic: str, wrong: Sequence[str], **facts: str | int) -> Finding:
    """The usual finding: nothing in the list of wrongs, or a block that names them."""
    named = ", ".join(wrong[:12]) + (f" and {len(wrong) - 12} more" if len(wrong) > 12 else "")
    return {
        "state": "block" if wrong else "pass",
        "statistic": statistic,
        "value": len(wrong),
        "threshold": 0,
        "facts": {**({"names": named} if wrong else {}), **facts},
    }


_RULE: Finding = {"state": "pass", "statistic": DOES_NOT_APPLY, "facts": {"case": "rule"}}


@_check("C101", "B", "pass", "block")
def purpose_is_stated(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Purpose, question, action, benefit and the alternative without AI, each in fi, sv and en."""
    missing = [
        f"{name}.{language}"
        for name in TEXTS
        for language in LANGUAGES
        if not str(evidence.texts.get(name, {}).get(language, "")).strip()
    ]
    missing += [name for name in ("service", "use") if not getattr(evidence, name).strip()]
    yield _none_wrong("missing_texts", missing)


@_check("C102", "B", "pass", "block", lists=True)
def use_is_outreach(case: Case, context: Context) -> Iterable[Finding]:
    """A model may order an offer of help; it may not decide."""
    yield _none_wrong("uses_not_permitted", [] if case.use in context.policy.uses else [case.use or "none"])


@_check("C103", "B", "pass", "block", lists=True)
def no_objector_is_scored(case: Case, context: Context) -> Iterable[Finding]:
    """Residents who object are in no scored set and no list."""
    n = case.n_objectors_in_rows if isinstance(case, Evidence) else case.n_objectors
    yield {"state": "block" if n else "pass", "statistic": "objectors_scored", "value": _whole(n), "threshold": 0}


@_check("C105", "BA", "pass", "chance", "worse", "tie", "rule")
def better_than_simpler_means(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Found needs at k*, paired: above chance, and not below what the unit does today."""
    if evidence.kind == "rule":
        yield _RULE
        return
    rivals = {str(duel["rival"]): duel for duel in evidence.duel}
    ordered = [rivals.pop("chance"), *rivals.values()]  # no duel against chance is an error
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


@_check("C106", "BA", "pass", "needs_attestation", "rule")
def not_too_good_to_be_true(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """An AUC beyond what is plausible, from all columns or from one, suggests that the outcome leaked in."""
    if evidence.kind == "rule":
        yield _RULE
        return
    assert evidence.auc is not None and evidence.plausible_auc_max is not None
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


@_check("C301", "B", "pass", "block", "rule", lists=True)
def reasons_add_up(case: Case, context: Context) -> Iterable[Finding]:
    """Base value plus contributions equals the raw score."""
    if case.kind == "rule":
        yield _RULE
        return
    assert case.additivity_max_error is not None
    limit = context.policy.thresholds.max_additivity_error
    state = "pass" if case.additivity_max_error <= limit else "block"
    yield {"state": state, "statistic": "largest_gap", "value": case.additivity_max_error, "threshold": limit}


_BY_GROUP = ("pass", "warn", "block", "recall", "calibration", "inconclusive", "not_testable", "no_label", "one_group")


@_check("C401", "BA", *_BY_GROUP)
def no_group_is_missed(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Recall at the audit cut and calibration, group by group (decision rule in :func:`decide_group`).

    An attribute without two groups of people known compares nobody: its groups can alarm, and never pass.
    """
    table = _measured(context)
    compared = _compared(table)
    strict = evidence.service in context.policy.strict_services
    for row in table.groups.iter_rows(named=True):
        attribute, group = row["attribute"], row["group"]
        finding = decide_group(table, attribute, group, testable=row["testable"], strict=strict)
        if attribute not in compared and finding["state"] in _NOT_SHOWN and finding["facts"]["case"] != "no_label":
            numbers = ("recall_ratio_at_k_audit", None, table.thresholds.recall)
            finding = _group_finding("not_testable", "one_group", *numbers, "AT-07", {})
        small = row["n"] < context.policy.min_persons_shown
        if small:  # a handful of people: the verdict tells that they exist, not how they fare
            finding |= {"value": None, "low": None, "high": None, "facts": {"case": finding["facts"]["case"]}}
        yield finding | {"group": f"{attribute}={group}", "n_bucket": _bucket(row["n"])}


def decide_group(table: FairnessTable, attribute: str, group: str, *, testable: bool, strict: bool) -> Finding:
    """The decision rule for one group.

    *block*: recall is below the threshold at k* and need is under-predicted, both with the alarm probability, so base
    rates do not explain it. *needs_attestation*: one of them alone. *pass*: no alarm, and either the lower bound of
    the recall ratio is above the threshold, or the upper bounds of observed ÷ expected, overall and below k*, are
    under theirs. Otherwise *inconclusive*. A rule has no probabilities: recall alone decides. ``strict`` makes any
    single alarm a block.

    Recall at k, where a unit finds a handful of people, can alarm and never pass: an alarm there turns a pass into a
    *warn*. It must not do more: of fair worlds of 70 000 youths with six attributes, one in six has such an alarm.
    """
    limits = table.thresholds
    if not table.has_label:
        rate = table.get(attribute, group, "selection_rate", AT_K)
        return _group_finding("not_testable", "no_label", "selection_rate_at_k", rate, None, "AT-07", {})
    recall = table.get(attribute, group, "recall_ratio", AT_AUDIT)
    affected = _affected(table.get(attribute, group, "missed_residents", AT_AUDIT))
    if not testable:
        return _group_finding(
            "not_testable", "not_testable", "recall_ratio_at_k_audit", None, limits.recall, "AT-07", {}
        )
    calibration = [table.get(attribute, group, "observed_to_expected", cut) for cut in (NO_CUT, BELOW_AUDIT)]
    worst = max(calibration, key=lambda part: part.p_harm)
    by_recall = recall.p_harm >= limits.alarm
    by_need = table.has_probability and worst.p_harm >= limits.alarm
    at_k = table.get(attribute, group, "recall_ratio", AT_K).p_harm >= limits.alarm
    shown = ("recall_ratio_at_k_audit", recall, limits.recall)
    if (by_recall and by_need) or (strict and (by_recall or by_need)):
        return _group_finding("block", "block", *shown, None, affected)
    if by_recall:
        return _group_finding("needs_attestation", "recall", *shown, "AT-06", affected)
    if by_need:
        found = ("observed_to_expected", worst, limits.oe)
        return _group_finding("needs_attestation", "calibration", *found, "AT-06", affected)
    calibrated = table.has_probability and all(part.high <= limits.oe for part in calibration)
    if recall.low >= limits.recall or calibrated:
        by = shown if recall.low >= limits.recall else ("observed_to_expected", worst, limits.oe)
        if not at_k:
            return _group_finding("pass", "pass", *by, None, affected)
        recall_at_k = table.get(attribute, group, "recall_ratio", AT_K)
        return _group_finding("warn", "warn", "recall_ratio_at_k", recall_at_k, limits.recall, None, affected)
    return _group_finding("inconclusive", "inconclusive", *shown, "AT-07", affected)


@_check("C403", "BA", "pass", "block", "needs_attestation", "not_testable", "too_few_indicators", "one_group")
def same_score_same_need(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Need at the same score on indicators that are neither label nor feature.

    An indicator is testable in a group from the same number of expected events as the label. It alarms when need is
    higher than among others at the same scores. Two alarms block, for where the label is wrong, recall and
    calibration against it prove nothing; one needs AT-05. Fewer than two testable indicators prove nothing either.
    """
    table, limits = _measured(context), context.policy.fairness
    compared = _compared(table)
    wanted = context.policy.thresholds.min_indicators
    few = len(table.indicators) < wanted or not table.has_label
    for attribute, group, n in table.groups.select("attribute", "group", "n").iter_rows():
        named = {"group": f"{attribute}={group}", "n_bucket": _bucket(n)}
        found = {name: table.get(attribute, group, f"need_at_score:{name}", AT_AUDIT) for name in table.indicators}
        testable = {name: part for name, part in found.items() if part.n >= limits.min_expected}
        alarms = sorted(name for name, part in testable.items() if part.p_harm >= limits.alarm)
        state, case = "pass", "pass"
        if few:
            state, case = "not_testable", "too_few_indicators"
        elif len(alarms) >= 2:
            state = case = "block"
        elif alarms:
            state = case = "needs_attestation"
        elif attribute not in compared:
            state, case = "not_testable", "one_group"
        elif len(testable) < wanted:
            state = case = "not_testable"
        worst = max(testable.values(), key=lambda part: part.p_harm) if testable and not few else None
        needs = "AT-05" if state in ("needs_attestation", "not_testable") else None
        facts = {"indicators": ", ".join(alarms)} if alarms else {}
        yield _group_finding(state, case, "need_at_score", worst, limits.need, needs, facts) | named


@_check("C404", "BA", "pass", "needs_attestation")
def label_can_be_tested(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """At least two independent signs of need, without which nobody can tell whether the label is one."""
    n, wanted = len(set(evidence.indicator_names)), context.policy.thresholds.min_indicators
    enough = n >= wanted
    yield {
        "state": "pass" if enough else "needs_attestation",
        "statistic": "independent_indicators",
        "value": n,
        "threshold": wanted,
        "needs": None if enough else "AT-05",
    }


@_check("C409", "B", "pass", "block", lists=True)
def ties_are_broken_neutrally(case: Case, context: Context) -> Iterable[Finding]:
    """The sort key is the score and then the neutral tie key; no group and nothing else."""
    attributes = case.group_attributes if isinstance(case, ListEvidence) else _measured(context).attributes
    key = list(case.sort_key)
    wrong = [] if key == list(SORT_KEY) else key or ["nothing"]
    groups = [name for name in attributes if any(part.split()[:1] == [name] for part in key)]
    yield _none_wrong("wrong_sort_keys", wrong, **({"groups": ", ".join(groups)} if groups else {}))


@_check("C601", "B", "pass", "block", lists=True)
def every_feature_has_a_basis(case: Case, context: Context) -> Iterable[Finding]:
    """Every column the scores are made from is listed with source, purpose and legal basis."""
    if isinstance(case, ListEvidence):
        wrong = sorted(set(case.columns) - set(case.allowed_columns))
        columns: Sequence[str] = case.columns
    else:
        listed = {str(feature["column"]): feature for feature in case.features}
        columns = case.model_columns
        wrong = [name for name in columns if not _is_founded(listed.get(name, {}))]
    if not columns:
        raise ValueError("no columns")
    yield _none_wrong("columns_without_basis", wrong)


@_check("C701", "B", "pass", "block", lists=True)
def nothing_changed_since(case: Case, context: Context) -> Iterable[Finding]:
    """What would be used is what was recorded, digest by digest; the model and policy before the gate among them."""
    names: Sequence[str] = COMPARED if isinstance(case, ListEvidence) else SUBJECTS
    if isinstance(case, ListEvidence):
        before, now = case.expected, case.actual
    else:
        # Training reads no policy; what counts is that the one judged by is the one signed for.
        before, now = {**case.recorded, "policy": context.policy.digest}, case.subject
    wrong = {name for name in names if not now.get(name) or now[name] != before.get(name)}
    if isinstance(case, Evidence):
        wrong |= {"model"} if now.get("model") != case.model_digest else set()
    yield _none_wrong("digests_that_differ", [name for name in names if name in wrong])


@_check("C702", "B", "pass", "block", lists=True)
def signers_are_trusted(case: Case, context: Context) -> Iterable[Finding]:
    """The gate and an auditor, two different keys of two different holders, trusted and in date."""
    keys = [key for key in case.signing_keys if _moment(key["valid_from"]) <= context.now < _moment(key["valid_to"])]
    wrong = [
        f"no key in date for {role}" for role in context.policy.sign_roles if all(key["role"] != role for key in keys)
    ]
    signing = [key for key in keys if key["role"] in context.policy.sign_roles]
    for what in ("keyid", "name"):
        if len({key[what] for key in signing}) < min(len(signing), len(context.policy.sign_roles)):
            wrong.append(f"one {what} for two roles")
    if isinstance(case, Evidence):
        auditors = [key for key in signing if key["role"] == "auditor"]
        if any(names_holder(case.trained_by, key["name"], key["role"], key["keyid"]) for key in auditors):
            wrong.append("the auditor trained the model")
        if not case.trained_by.strip():
            wrong.append("nobody is named as who trained the model")
    if isinstance(case, ListEvidence) and case.verdict_expires_at <= context.now:
        wrong.append("the verdict has expired")
    yield _none_wrong("faults_of_signers", wrong)


@_check("C801", "B", "pass", "block", "never", "set", lists=True)
def the_stop_works(case: Case, context: Context) -> Iterable[Finding]:
    """The stop switch was tried within the days the policy gives, and is not set."""
    limit = context.policy.thresholds.stop_switch_days
    finding: Finding = {"statistic": "days_since_stop_test", "threshold": limit}
    if isinstance(case, ListEvidence) and case.stop_switch_set:
        yield finding | {"state": "block", "facts": {"case": "set"}}
    elif case.stop_switch_tested_at is None:
        yield finding | {"state": "block", "facts": {"case": "never"}}
    else:
        days = (context.now - case.stop_switch_tested_at).total_seconds() / 86400
        yield finding | {"state": "pass" if 0 <= days <= limit else "block", "value": round(days, 2)}


def _measured(context: Context) -> FairnessTable:
    """The fairness table, or an error: without groups nothing has been shown."""
    if context.fairness is None or context.fairness.groups.is_empty():
        raise Unanswerable("no group was measured")
    if context.fairness.thresholds != context.policy.fairness:
        raise Unanswerable("measured against other thresholds than the policy's")
    return context.fairness


def _compared(table: FairnessTable) -> set[str]:
    """The attributes in which at least two groups of people known are compared; an error when there is none."""
    known: dict[str, int] = {}
    for attribute, group, n in table.groups.select("attribute", "group", "n").iter_rows():
        known[attribute] = known.get(attribute, 0) + (group != UNKNOWN and n > 0)
    found = {attribute for attribute, groups in known.items() if groups >= 2}
    if not found:
        raise Unanswerable("no attribute has two groups of people who are known")
    return found


def _group_finding(
    state: str,
    case: str,
    statistic: str,
    estimate: Estimate | None,
    threshold: float | None,
    needs: str | None,
    facts: Mapping[str, str | int],
) -> Finding:
    numbers = {} if estimate is None else {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {
        "state": state,
        "statistic": statistic,
        "threshold": threshold,
        "needs": needs,
        "facts": {**facts, "case": case},
        **numbers,
    }


def _affected(missed: Estimate) -> dict[str, int]:
    """Missed residents rounded to five, with their bounds; nothing when nobody is missed beyond the others."""
    if not missed.value > 0:
        return {}
    low, value, high = (5 * round(max(0.0, number) / 5) for number in (missed.low, missed.value, missed.high))
    return {"missed": value, "missed_low": low, "missed_high": high}


def _bucket(n: int) -> str:
    """How many persons a group has, as widely as it may be published."""
    bounds = (5, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
    below = next((bound for bound in bounds if n < bound), None)
    if below is None:
        return f">={bounds[-1]}"
    lower = max((bound for bound in bounds if bound < below), default=0)
    return f"{lower}-{below - 1}" if lower else f"<{below}"


def _is_founded(feature: Mapping[str, Any]) -> bool:
    return all(str(feature.get(name) or "").strip() for name in ("feature", "source", "purpose", "basis"))


def _whole(n: object) -> int:
    if not isinstance(n, int) or n < 0:
        raise ValueError("not a count")
    return n


def _moment(value: object) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
