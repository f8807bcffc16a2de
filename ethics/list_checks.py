"""What only a list can answer (G2): notice, reasons, composition, coverage, columns, retention, purpose, drift.

Every one is asked before a list leaves memory, and only a block or an error keeps it there: a warning goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ethics.case import ListEvidence
from ethics.check_register import Context, Finding, Unanswerable, check, none_wrong
from ethics.count_bounds import share_bounds
from ethics.group_checks import bucket
from ethics.list_composition import Departure, departures, holm
from ethics.population_stability import Drift, drift_between

_IDENTITY_CODE = re.compile(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]", re.IGNORECASE)
_NUMBER = re.compile(r"[-−]?\d{1,3}([., \u00a0\u202f]\d{3})*([.,]\d{1,4})?%?")
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
_ALWAYS_SHOWN = ("rank", "person", "kind")


@check("C204", "B", "pass", "block", lists=True, models=False)
def people_are_told(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """For each channel the list uses there is a text that tells the person."""
    if not case.notice:
        raise Unanswerable("the list uses no contact channel")
    untold = [name for name, text in case.notice.items() if not (text or "").strip()]
    yield none_wrong("channels_without_notice", untold)


@check("C305", "B", "pass", "block", lists=True, models=False)
def reasons_tell_of_nobody_else(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """Reasons are made of templates, plain names, declared categories and numbers: no free text, no id, no audit group.

    A word that none of these holds, a number not written as numbers are told, anything shaped like a personal identity
    code, and the name of an audit attribute that the need does not declare, are all leaks.
    """
    if case.reasons is None or case.reason_words is None:
        raise Unanswerable("the reasons were not given")
    known = {word.casefold() for word in case.reason_words}
    audit = {" ".join(_WORD.findall(name.casefold())) for name in case.group_attributes}
    audit -= {" ".join(_WORD.findall(name.casefold())) for name in case.declared_attributes}
    wrong = set()
    for reason in case.reasons:
        text = str(reason["text"])
        for kind, is_wrong in (
            ("a personal identity code", _IDENTITY_CODE.search(text) is not None),
            ("words of no template", not _is_composed(text, known)),
            ("an audit group", any(_says(text, attribute) for attribute in audit)),
            ("a feature that was not judged", reason["feature"] is not None and reason["feature"] not in _judged(case)),
        ):
            if is_wrong:  # the words themselves are not repeated: they may be somebody's
                wrong.add(f"{kind} (unit {reason['unit']})")
    yield none_wrong("leaks_in_reasons", sorted(wrong))


@check("C408", "B", "pass", "process", "population", "expected_recall", "unranked", "units", lists=True, models=False)
def the_list_is_the_models(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """The list's groups are what this week's ranking and the judged people give (:mod:`ethics.list_composition`).

    Nobody whom the need covers was left out before the ranking, and every unit has the places due to its people: also
    one that has none on the list.
    """
    if case.week is None or case.ties is None or case.audited is None:
        raise Unanswerable("the groups of this week's people were not counted")
    if not case.places:
        raise Unanswerable("the places due to each unit were not counted")
    without = _units_without_their_places(case.places)
    yield from without
    limits = context.policy.thresholds
    found = departures(
        case.week,
        dict(case.ties),
        case.audited,
        tolerance=limits.min_recall_ratio,
        design_effect=case.design_effect,
    )
    if any(not departure.p >= 0 for departure in found):
        raise Unanswerable("a comparison without numbers")
    rejected = holm([departure.p for departure in found], limits.list_error)
    wrong = [departure for departure, is_wrong in zip(found, rejected, strict=True) if is_wrong]
    n_of = {(row["attribute"], row["group"]): int(row["n"]) for row in case.week.iter_rows(named=True)}
    for departure in wrong:
        n = n_of.get((departure.attribute, departure.group), 0)
        case_of = "population" if departure.question == "above_audit_cut" else departure.question
        yield _departed(departure, limits.min_recall_ratio, n, context.policy.min_persons_shown) | {
            "state": "block",
            "facts": {"case": case_of},
        }
    if not wrong and not without:
        many = context.policy.min_persons_shown
        shown = [part for part in found if n_of.get((part.attribute, part.group), 0) >= many]
        least = min(shown or found, key=lambda departure: departure.ratio)
        yield {
            "state": "pass",
            "statistic": "list_to_foretold",
            "value": least.ratio if shown else None,
            "threshold": limits.min_recall_ratio,
            "facts": {"comparisons": len(found)},
        }


@check("C411", "B", "pass", "warn", "block", lists=True, models=False)
def nobody_is_invisible(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """Of every group, about as many of the eligible can be ranked and placed with a unit as of everybody.

    It blocks where the upper bound (one-sided 95 %, Clopper-Pearson) of a group's share is below the limit times
    everyone's; below the limit but not proved, it warns: those left out must be reached by the manual path.
    """
    if case.week is None or case.week.is_empty():
        raise Unanswerable("the groups of this week's people were not counted")
    limit, least = context.policy.thresholds.min_coverage_ratio, context.policy.min_persons_shown
    first = case.week.filter(case.week["attribute"] == case.week["attribute"][0])
    overall = float(first["covered"].sum()) / float(first["n"].sum())
    if not overall > 0:
        yield {"state": "block", "statistic": "coverage_ratio", "value": 0.0, "threshold": limit}
        return
    findings = []
    for row in case.week.iter_rows(named=True):
        n, covered = int(row["n"]), int(row["covered"])
        low, high = share_bounds(covered, n)
        ratio = covered / n / overall
        state = "block" if high / overall < limit else "warn" if ratio < limit else "pass"
        finding: Finding = {"state": state, "statistic": "coverage_ratio", "threshold": limit}
        numbers = {"value": ratio, "low": low / overall, "high": high / overall}
        findings.append(
            finding
            | (numbers if n >= least else {})
            | {"group": f"{row['attribute']}={row['group']}", "n_bucket": bucket(n)}
        )
    wrong = [finding for finding in findings if finding["state"] != "pass"]
    yield from wrong or [min(findings, key=lambda finding: finding.get("value", 2.0))]


@check("C609", "B", "pass", "block", lists=True, models=False)
def the_list_shows_no_more_than_needed(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """Columns are those the need names, and what units read, as reasons or beside them, is visible to them."""
    if case.shown_columns is None or case.list_columns is None or case.reasons is None or case.visible_to is None:
        raise Unanswerable("the columns and reasons of the list were not given")
    if case.told_from is None:
        raise Unanswerable("what the columns beside the reasons are told from was not given")
    if not case.shown_columns:
        raise Unanswerable("the list has no columns")
    wrong = [f"column {name}" for name in case.shown_columns if name not in {*case.list_columns, *_ALWAYS_SHOWN}]
    for reason in case.reasons:
        feature, unit = reason["feature"], str(reason["unit"])
        if feature is None:
            if reason["source"] is not None:
                wrong.append(f"a source without a feature (unit {unit})")
            if reason.get("dated"):
                wrong.append(f"a date without a feature (unit {unit})")
            continue
        readers = case.visible_to.get(str(feature), ("nobody: it was not judged",))
        if readers and not {unit, case.service} & set(readers):
            wrong.append(f"{feature} (unit {unit})")
    for told in case.told_from:  # every unit reads these columns, so the service must be let see their features
        readers = case.visible_to.get(told["feature"], ("nobody: it was not judged",))
        if readers and case.service not in readers:
            wrong.append(f"{told['feature']} (column {told['column']})")
    yield none_wrong("shown_beyond_need", list(dict.fromkeys(wrong)))


@check("C610", "B", "pass", "warn", "block", lists=True, models=False)
def nothing_is_kept_too_long(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """What is stored of persons is not older than the policy's schedule.

    The log only warns: it is a chain that must be kept at least half a year and cannot yet be rotated.
    """
    if case.stored is None:
        raise Unanswerable("the ages of what is stored were not given")
    schedule = context.policy.retention.model_dump()
    overdue = []
    for row in case.stored:
        kind, days = str(row["kind"]), float(row["oldest_days"])
        if not days >= 0:  # made in the future: a clock is wrong, and nothing is known
            raise Unanswerable(f"{kind}: older than nothing can be")
        limit = schedule[f"{kind}_days"]
        if days > limit:
            overdue.append((kind, f"{kind.replace('_', ' ')} of {days:.0f} days (limit {limit}) in {row['where']}"))
    blocks = [said for kind, said in overdue if kind != "log"]
    if overdue and not blocks:
        yield {
            "state": "warn",
            "statistic": "kept_too_long",
            "value": len(overdue),
            "threshold": 0,
            "facts": {"names": overdue[0][1]},
        }
    else:
        yield none_wrong("kept_too_long", blocks)


@check("C611", "B", "pass", "block", lists=True, models=False)
def data_serve_their_purpose(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """Every source register whose purposes the city declares allows this service or need."""
    if not case.purposes or not case.run_purposes:
        raise Unanswerable("the sources of the need were not given")
    wrong = [
        str(row["source"])
        for row in case.purposes
        if row["allowed"] is not None and not set(case.run_purposes) & set(row["allowed"])
    ]
    undeclared = [str(row["source"]) for row in case.purposes if row["allowed"] is None]
    facts = {"undeclared": ", ".join(undeclared[:12])} if undeclared else {}
    yield none_wrong("sources_for_another_purpose", wrong, **facts)


@check("C703", "B", "pass", "warn", "schema", "score", lists=True, models=False)
def people_look_as_they_did(case: ListEvidence, context: Context) -> Iterable[Finding]:
    """The columns are the judged ones, the raw score has not drifted (block), and no feature has (warn).

    An index above its limit alarms only where chance would show it with at most ``list_error`` (see
    :func:`ethics.population_stability.drift_between`), so that few people do not alarm by being few.
    """
    if case.reference is None or case.today is None:
        raise Unanswerable("the verdict keeps no reference of its people, so judge again with this version")
    limits = context.policy.thresholds
    if list(case.today["schema"]) != list(case.reference["schema"]):
        differing = sorted({*case.today["schema"]} ^ {*case.reference["schema"]}) or ["their order"]
        yield none_wrong("columns_that_differ", differing, case="schema")
        return
    score = _score_drift(case.reference, case.today, limits.max_drift_of_score)
    if score is not None and score.stability > limits.max_drift_of_score and score.p_chance <= limits.list_error:
        yield _drifted("drift_of_score", score.stability, limits.max_drift_of_score, "block", {"case": "score"})
        return
    columns = [
        drift_between(name, _whole(binned["counts"]), case.today["columns"][name], limits.max_drift_of_feature)
        for name, binned in case.reference["columns"].items()
    ]
    moved = [part for part in columns if part.p_chance <= limits.list_error]
    if moved:
        names = none_wrong("", [part.column for part in sorted(moved, key=lambda part: -part.stability)])["facts"]
        worst = max(part.stability for part in moved)
        yield _drifted("drift_of_feature", worst, limits.max_drift_of_feature, "warn", {**names, "case": "warn"})
        return
    value = max((part.stability for part in columns), default=0.0) if score is None else score.stability
    name = "drift_of_feature" if score is None else "drift_of_score"
    limit = limits.max_drift_of_feature if score is None else limits.max_drift_of_score
    beyond = len(case.reference["schema"]) - len(case.reference["columns"])
    yield _drifted(name, value, limit, "pass", {"unwatched": beyond} if beyond else {})


def _units_without_their_places(places: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """A block that names the units whose list is not as long as the people the need covers there give."""
    wrong = [f"{row['unit']} ({row['listed']} of {row['due']} places)" for row in places if row["listed"] != row["due"]]
    return [none_wrong("units_with_other_places", wrong, case="units")] if wrong else []


def _judged(case: ListEvidence) -> Mapping[str, Sequence[str]]:
    return case.visible_to or {}


def _is_composed(text: str, known: set[str]) -> bool:
    """Whether every part of a text is a known word or a number as numbers are told."""
    for token in text.split():
        bare = token.strip("():,.;!?%\"'")
        if not bare or bare.casefold() in known or _NUMBER.fullmatch(bare):
            continue
        words = _WORD.findall(bare.casefold())
        if not words or any(character.isdigit() for character in bare) or not set(words) <= known:
            return False
    return True


def _says(text: str, phrase: str) -> bool:
    return bool(phrase) and f" {phrase} " in f" {' '.join(_WORD.findall(text.casefold()))} "


def _departed(departure: Departure, threshold: float, n: int, least: int) -> Finding:
    return {
        "statistic": "list_to_foretold",
        "value": departure.ratio if n >= least and departure.ratio < float("inf") else None,
        "threshold": threshold,
        "group": f"{departure.attribute}={departure.group}",
        "n_bucket": bucket(n),
    }


def _score_drift(reference: Mapping[str, Any], today: Mapping[str, Any], limit: float) -> Drift | None:
    if reference["score"] is None:
        return None
    return drift_between("score", _whole(reference["score"]["counts"]), today["score"], limit)


def _whole(counts: Sequence[str]) -> list[int]:
    return [int(count) for count in counts]


def _drifted(statistic: str, value: float, limit: float, state: str, facts: Mapping[str, str | int]) -> Finding:
    return {"state": state, "statistic": statistic, "value": value, "threshold": limit, "facts": dict(facts)}
