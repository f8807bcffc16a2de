"""Risk list beside benefit list: what an evidence table makes of a trained model's judged rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.refusals import BadInput, Fault
from models.benefit import EvidenceTable, ShownByTrial, benefit_grounds, check_wording, effects_without_minutes
from models.benefit_ranking import (
    CONTRA_INDICATED,
    ELIGIBLE,
    NOT_ELIGIBLE,
    NOT_KNOWN,
    ExpectedBenefit,
    compare_with_risk,
    expected_benefit,
    rank_by_benefit,
)
from models.metrics import Estimate

if TYPE_CHECKING:
    from models.need import Need

TEXTS = ("title", "question", "action", "benefit", "alternative")


def unfounded_words(need: Need) -> list[Fault]:
    """Each word in a need's texts, and in the plain names of its features, that speaks of benefit."""
    texts = {name: getattr(need, name) for name in TEXTS}
    texts |= {f"features '{feature.name}'.plain": feature.plain for feature in need.features if feature.plain}
    faults: list[Fault] = []
    for name, text in texts.items():
        try:
            check_wording(text, f"{need.id}.toml: {name}", None)
        except BadInput as refusal:
            faults += refusal.faults
    return faults


def refuse_unfounded_wording(
    need: Need, city: str | None, *, table: EvidenceTable | None, trial: ShownByTrial | None, today: date
) -> None:
    """Refuse a need whose texts speak of benefit where neither an effect of the table nor a trial is about it.

    Parameters
    ----------
    city : str or None
        As the table's ``cities`` name it; None is whichever city, where none is open yet.

    Raises
    ------
    BadInput
        Each word found, with its place, and why what is given is no ground.
    """
    if not (words := unfounded_words(need)):
        return
    try:
        benefit_grounds(need, city, today=today, table=table, trial=trial)
    except BadInput as no_grounds:
        raise BadInput(*words, *(no_grounds.faults if table is not None or trial is not None else ())) from None


def benefit_report(
    need: Need,
    city: str,
    *,
    table: EvidenceTable,
    probability: np.ndarray,
    columns: Mapping[str, np.ndarray],
    tie_keys: Sequence[str],
    today: date,
) -> dict[str, Any] | None:
    """What the table's effects make of a list: who is eligible, what is avoided by risk and by benefit.

    Parameters
    ----------
    need : Need
    city : str
        As the table's ``cities`` name it.
    table : EvidenceTable
    probability : float (n,) in [0, 1]
        Calibrated, of the need's label.
    columns : mapping of column name to (n,)
        The judged matrix.
    tie_keys : (n,)
    today : date

    Returns
    -------
    dict or None
        JSON values; None where the table says nothing about this need in this city. ``lists`` is null where an effect
        names no minutes of work: nothing is then ranked by benefit.

    Raises
    ------
    BadInput
        A condition of an effect names a column that the need does not have.
    """
    try:
        effects = benefit_grounds(need, city, today=today, table=table).effects
    except BadInput:
        return None
    reached = need.reach
    benefits = [expected_benefit(probability, e, columns=columns, contact_success=reached) for e in effects]
    k = min(need.listed_k, len(probability))
    each = need.list.attempts_per_person
    lists = None
    if not effects_without_minutes(effects):
        order = rank_by_benefit(benefits, tie_keys)
        compared = compare_with_risk(probability, order, k, tie_keys)
        lists = {
            "k": k,
            "overlap_share": compared.overlap_share,
            "avoided_by_risk": _numbers(compared.avoided_by_risk),
            "avoided_by_benefit": _numbers(compared.avoided_by_benefit),
            "attempts_per_event_by_risk": _attempts(k * each, compared.avoided_by_risk),
            "attempts_per_event_by_benefit": _attempts(min(k, len(order.rows)) * each, compared.avoided_by_benefit),
        }
    return {
        "table_version": table.version,
        "table_sha256": table.digest,
        "effects": [_effect(benefit) for benefit in benefits],
        "lists": lists,
    }


def _effect(benefit: ExpectedBenefit) -> dict[str, Any]:
    effect, status = benefit.effect, benefit.status
    return {
        "id": effect.id,
        "action": effect.action,
        "source": effect.source,
        **effect.size.model_dump(),
        "minutes_per_attempt": effect.minutes_per_attempt,
        "eligible": int((status == ELIGIBLE).sum()),
        "not_known": int((status == NOT_KNOWN).sum()),
        "not_eligible": int((status == NOT_ELIGIBLE).sum()),
        "contra_indicated": int((status == CONTRA_INDICATED).sum()),
        "missing": {column: int(rows.sum()) for column, rows in benefit.missing},
    }


def _attempts(k: int, avoided: Estimate) -> dict[str, float | None]:
    """Attempts for one event avoided; the ends change places, and where nothing is avoided there is no number."""
    value, few, many = (k / part if part > 0 else None for part in (avoided.value, avoided.high, avoided.low))
    return {"value": value, "low": few, "high": many}


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {name: float(value) for name, value in estimate._asdict().items()}
