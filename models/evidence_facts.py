"""What a need and a model say of themselves, as the plain values that evidence is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.baselines import Duel
from models.metrics import Estimate
from models.need import Need
from models.need_parts import written
from models.rule import RuleModel
from models.training import NeedModel


def need_facts(need: Need) -> dict[str, Any]:
    """What the gate asks of a need: texts, owner, places, and what its features are and read."""
    texts = {"title": need.title, "question": need.question, "action": need.action}
    texts |= {"benefit": need.benefit, "alternative": need.alternative}
    return {
        "need_id": need.id,
        "kind": need.kind,
        "service": need.service,
        "use": need.use,
        "texts": {
            name: {language: written(said) or "" for language, said in text.model_dump().items()}
            for name, text in texts.items()
        },
        "owner": need.owner.model_dump(),
        "capacity_k": need.listed_k,
        "period_days": need.capacity.period_days,
        "plausible_auc_max": need.label.plausible_auc_max if need.label else None,
        "features": feature_table(need),
        "forbidden": read_table(need),
    }


def feature_table(need: Need) -> list[dict[str, Any]]:
    """Per column: its feature, and that feature's source, purpose, basis (null: none, or a mark) and plain name.

    ``attribute``, ``of`` and ``codes`` say what the feature reads, whatever its name.
    """
    return [
        {
            "column": column,
            "feature": feature.name,
            "source": written(feature.source),
            "purpose": written(feature.purpose),
            "basis": written(feature.basis),
            "plain": {language: written(said) for language, said in feature.plain.model_dump().items()}
            if feature.plain
            else None,
            "changeable": feature.changeable,
            "attribute": feature.attribute,
            "of": feature.of,
            "codes": list(feature.codes),
        }
        for feature in need.features
        for column in feature.columns()
    ]


def read_table(need: Need) -> list[dict[str, Any]]:
    """Per feature what it reads: ``names`` (attribute or codes), ``source``, and whether it is declared special."""
    return [
        {
            "feature": feature.name,
            "names": [feature.attribute] if feature.attribute else list(feature.codes),
            "source": written(feature.source),
            "special_category": feature.special_category,
        }
        for feature in need.features
    ]


def columns_used(model: NeedModel | RuleModel) -> list[str]:
    """Columns as the artefact itself names them, whatever the need file says."""
    return list(model.booster.feature_name()) if isinstance(model, NeedModel) else list(model.columns)


def json_duel(duel: Duel) -> dict[str, Any]:
    """A duel as JSON values; null where nothing is determined."""
    return {
        "rival": duel.rival,
        "cut": duel.cut,
        "ours": number_or_none(duel.ours.value),
        "theirs": number_or_none(duel.theirs.value),
        "difference": number_or_none(duel.difference.value),
        "low": number_or_none(duel.difference.low),
        "high": number_or_none(duel.difference.high),
    }


def json_estimate(estimate: Estimate) -> dict[str, float | None]:
    """An estimate with its interval as JSON values; null where nothing is determined."""
    return {name: number_or_none(value) for name, value in estimate._asdict().items()}


def number_or_none(value: float) -> float | None:
    """A number that JSON can hold."""
    return float(value) if np.isfinite(value) else None
