"""The record of a verdict: everything its report tells beside the checks, as plain text and tables.

It is signed, and nothing decides by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ethics.case import Evidence
from ethics.digests import decimal, environment
from ethics.group_record import group_record

if TYPE_CHECKING:
    from ethics.fairness import FairnessTable

_TOLD = 20
"""Columns that tell a group best, in a verdict's record."""
_TOLD_GAP = 0.05


def recorded(evidence: Evidence, fairness: FairnessTable | None, least: int) -> dict[str, Any]:
    """What the report tells beside the checks; copied, never decided by.

    Parameters
    ----------
    least : int
        Persons a group must have to be told of.
    """
    features: dict[str, dict[str, Any]] = {}
    for row in evidence.features:
        known = features.setdefault(
            str(row.get("feature")),
            {name: str(row.get(name, "")) for name in ("source", "purpose", "basis")}
            | {"feature": str(row.get("feature")), "plain": dict(row.get("plain", {})), "columns": 0}
            | _reads(row),
        )
        known["columns"] += 1
    return {
        **_inside_record(evidence),
        "owner": dict(evidence.owner),
        "trained_by": evidence.trained_by,
        "environment": environment(),
        "features": list(features.values()),
        "auc": None if evidence.auc is None else _as_written(evidence.auc),
        "duel": [_as_written(row) for row in evidence.duel],
        "fair_worlds_pass": None if fairness is None else decimal(fairness.fair_worlds_pass),
        "register": _copied(evidence.register),
        "impact": _copied(evidence.impact),
        **_of_groups(evidence),
        "reference": None if evidence.reference is None else dict(evidence.reference),
        **({} if evidence.stated is None else {"stated": dict(evidence.stated)}),
        **group_record(fairness, least),
    }


def _reads(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a feature reads, where the evidence says it: :mod:`ethics.ranking_reads` decides by it."""
    if "attribute" not in row:
        return {}
    return {"attribute": row["attribute"], "of": str(row["of"]), "codes": [str(code) for code in row["codes"]]}


def _of_groups(evidence: Evidence) -> dict[str, Any]:
    """The tables of :meth:`ethics.GroupRegister.examine`, without what is too small to be worth telling."""
    choice, seen = evidence.label_choice, evidence.observability
    columns = sorted(evidence.column_proxies or (), key=lambda row: -row["auc"])
    contacts = None if seen is None else seen["from_contacts"]
    return {
        "group_proxies": [_as_written(row) for row in evidence.group_proxies or ()],
        "column_proxies": [_as_written(row) for row in columns[:_TOLD]],
        "missingness": [_as_written(row) for row in evidence.missingness or () if row["value"] > _TOLD_GAP],
        "observability": [_as_written(row) for row in ((seen or {}).get("groups") or ())],
        "labels_from_contacts": None if contacts is None else _as_written(contacts),
        "label_choice": None
        if choice is None
        else {
            "kind": str(choice["kind"]),
            "compared": list(choice["compared"]),
            **{name: [_as_written(row) for row in choice[name]] for name in ("lists", "shifts", "concentration")},
        },
    }


def _inside_record(evidence: Evidence) -> dict[str, Any]:
    """What was found inside the model, row by row: flips, worth of features, membership, directions, leaves."""
    tables = {
        "flips": evidence.flips,
        "feature_value": evidence.feature_value,
        "membership": evidence.membership,
        "monotone": evidence.monotone,
        "categories": None if evidence.leaves is None else evidence.leaves["levels"],
    }
    single = {"reason_stability": evidence.reason_stability, "robustness": evidence.robustness}
    return {
        **{name: None if rows is None else [_as_told(row) for row in rows] for name, rows in tables.items()},
        **{name: None if row is None else _as_told(row) for name, row in single.items()},
    }


def _as_told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as signed files hold it: numbers as decimals, lists as one text."""
    told: dict[str, Any] = {}
    for name, value in row.items():
        is_list = isinstance(value, list | tuple)
        told[name] = ", ".join(value) if is_list else str(value).lower() if isinstance(value, bool) else value
    return _as_written(told)


def _copied(value: Any) -> Any:
    """Text, whole numbers, lists and tables as signed files hold them; nobody's later change reaches the verdict."""
    if isinstance(value, Mapping):
        return {str(name): _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value


def _as_written(row: Mapping[str, Any]) -> dict[str, str | None]:
    """A row of names and numbers as signed files hold it."""
    return {
        name: value if value is None or isinstance(value, str) else decimal(float(value)) for name, value in row.items()
    }
