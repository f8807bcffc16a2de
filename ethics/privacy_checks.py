"""P6, privacy: every column has a basis and a use, nothing forbidden, nobody memorised, nothing carries a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ethics.case import ListEvidence
from ethics.check_register import Case, Context, Finding, check, none_wrong


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
