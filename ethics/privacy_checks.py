"""P6, privacy: every column has a basis and a use, nothing forbidden, nobody memorised, nothing carries a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ethics.case import Evidence, ListEvidence
from ethics.check_register import RULE, Case, Context, Finding, Unanswerable, check, none_wrong
from ethics.group_checks import measured
from ethics.public_tables import published_tables
from ethics.report_figures import Figures
from ethics.sensitive_features import forbidden_name, is_health
from ethics.suppression_attack import Recovered, attack

if TYPE_CHECKING:
    from ethics.fairness import FairnessTable


@check("C601", "B", "pass", "block", lists=True, core=True)
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
    yield none_wrong("columns_without_basis", wrong)


def _is_founded(feature: Mapping[str, Any]) -> bool:
    return all(str(feature.get(name) or "").strip() for name in ("feature", "source", "purpose", "basis"))


@check("C602", "B", "pass", "health", "block", core=True)
def nothing_forbidden_is_read(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """No feature reads what no model may read; each that tells of health waits for AT-03 naming it.

    A feature of health is not blocked and not passed: until the statement is given the verdict is INCONCLUSIVE, and no
    approval can be made.
    """
    if not evidence.forbidden:
        raise Unanswerable("what the features read was not gathered")
    wrong = [str(row["feature"]) for row in evidence.forbidden if forbidden_name(row["names"])]
    yield none_wrong("forbidden_features", wrong, features=len(evidence.forbidden))
    for name in sorted(special_features(evidence.forbidden) - set(wrong)):
        yield {
            "state": "needs_attestation",
            "statistic": "features_of_a_special_category",
            "group": f"feature={name}",
            "needs": "AT-03",
            "facts": {"case": "health", "name": name},
        }


def special_features(read: Iterable[Mapping[str, Any]]) -> set[str]:
    """Features of a special category: declared so, or told by their codes or register."""
    return {str(row["feature"]) for row in read if row["special_category"] or is_health(row["names"], row["source"])}


@check("C605", "BA", "pass", "useless", "special", "not_done", "special_not_done", "rule", core=True)
def every_feature_is_worth_reading(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Without a whole feature fewer people in need are found; one shown to be worth nothing is to be removed.

    A feature of a special category that is worth nothing, or whose worth could not be measured at all, asks for AT-03.
    What no tree uses is named and never fails: it decides nothing.
    """
    if evidence.kind == "rule":
        yield RULE
        return
    if not evidence.feature_value:
        raise Unanswerable("what features are worth was not gathered")
    special = special_features(evidence.forbidden or ())
    limit = context.policy.thresholds.min_feature_worth
    shown = {"statistic": "recall_lost_without_it", "threshold": limit}
    open_state = {"needs": "AT-03"}
    for row in evidence.feature_value:
        name, case = str(row["feature"]), ""
        asks = name in special
        if "not_done" in row:
            case, state = ("special_not_done", "not_testable") if asks else ("not_done", "warn")
        elif row["used"] and row["high"] is not None and row["high"] <= limit:
            case, state = ("special", "needs_attestation") if asks else ("useless", "warn")
        if case:
            why = {"why": str(row["not_done"])} if "not_done" in row else {}
            yield {
                **shown,
                **(open_state if asks else {}),
                "state": state,
                "group": f"feature={name}",
                "value": row["worth"],
                "low": row["low"],
                "high": row["high"],
                "facts": {"case": case, "name": name, **why},
            }
    unused = [str(row["feature"]) for row in evidence.feature_value if row["used"] is False]
    facts: dict[str, str | int] = {"case": "pass", "features": len(evidence.feature_value)}
    statistic = "features_that_no_tree_uses" if unused else "features_looked_at"
    yield {
        "state": "pass",
        "statistic": statistic,
        "facts": {**facts, **({"names": ", ".join(unused)} if unused else {})},
    }


@check("C606", "BA", "pass", "needs_attestation", "block", "not_testable", "rule")
def nobody_is_remembered(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Who taught the model cannot be told from how well it knows their outcomes."""
    if evidence.kind == "rule":
        yield RULE
        return
    if not evidence.membership:
        raise Unanswerable("membership was not gathered")
    limits = context.policy.thresholds
    for row in evidence.membership:
        finding: Finding = {"statistic": "membership_auc", "threshold": limits.membership_attest, "needs": "AT-12"}
        facts = {"members": int(row["members"]), "held_out": int(row["held_out"])}
        if row["auc"] is None:
            finding |= {"state": "not_testable", "facts": {"case": "not_testable", **facts}}
        else:
            state = "needs_attestation" if row["low"] > limits.membership_attest else "pass"
            state = "block" if row["low"] > limits.membership_block else state
            finding |= {"state": state, "value": row["auc"], "low": row["low"], "high": row["high"], "facts": facts}
            if state == "block":
                finding["threshold"] = limits.membership_block
            if state != "needs_attestation":
                finding["needs"] = None
        yield finding if row["group"] == "everyone" else finding | {"group": str(row["group"])}


@check("C607", "B", "pass", "leaf", "levels", "rule")
def no_leaf_describes_a_few(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Every leaf, and every category that a split names, holds enough of the rows that taught it."""
    if evidence.kind == "rule":
        yield RULE
        return
    if evidence.leaves is None:
        raise Unanswerable("leaves and categories were not counted")
    smallest, limit = int(evidence.leaves["smallest_leaf"]), context.policy.limits.min_data_in_leaf
    small = smallest < limit
    yield {
        "state": "block" if small else "pass",
        "statistic": "rows_of_the_smallest_leaf",
        "value": smallest,
        "threshold": limit,
        "facts": {"case": "leaf" if small else "pass"},
    }
    fewest = context.policy.thresholds.min_rows_per_level
    rare = [f"{row['column']}: {row['level']}" for row in evidence.leaves["levels"] if int(row["rows"]) < fewest]
    if rare:
        found = none_wrong("rare_categories", rare)
        yield {**found, "threshold": fewest, "value": len(rare), "facts": {**found["facts"], "case": "levels"}}


@check("C608", "B", "pass", "block", scores=True, from_cells=True)
def published_tables_single_nobody_out(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """What would be published of the groups is attacked before anything is written; nothing withheld may be recovered.

    First the public page by itself, with the policy's ``min_persons_public``; then the page and the report together,
    its crossings among it, with ``min_persons_shown``. The tables are made from the fairness table alone.
    """
    table, least, shown = measured(context), context.policy.min_persons_public, context.policy.min_persons_shown
    found = table.once(("C608", least, shown), lambda: _recovered(table, least, shown))
    names = [f"{one.attribute}={one.group}" if one.attribute else one.group for one in found]
    yield none_wrong("counts_that_can_be_worked_out", list(dict.fromkeys(names)), least=least)


def _recovered(table: FairnessTable, least: int, shown: int) -> list[Recovered]:
    """What the public page gives away by itself, and what page and report do together."""
    public = published_tables(table, least)
    report = list(Figures.beside_page(table, shown, least).counts.values())
    return [*attack(public, least), *attack(report, shown, earlier=public)]
