"""From a need file to what the gate asks about openness and responsibility: register record, people, answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ethics.case import TEXTS
from ethics.register_record import ANSWERED, register_record
from models.need import Need
from models.need_parts import written
from models.register_parts import IMPACT_KEYS, Register, texts_of


def register_of(need: Need, digests: Mapping[str, str]) -> dict[str, Any]:
    """The register record of a need: what its people wrote, and what the rest of the file says anyway.

    Parameters
    ----------
    digests : mapping
        As they were recorded at training, so that a record of another model is noticed (C202), with the policy's.
    """
    answers = need.register_ or Register()
    named = {
        "need_id": need.id,
        "kind": need.kind,
        "service": need.service,
        "texts": {name: texts_of(getattr(need, name)) for name in TEXTS},
        "owner": need.owner.written(),
        "notice_phone": (written(need.notice.phone) if need.notice else "") or "",
        "capacity_k": need.listed_k,
        "period_days": need.capacity.period_days,
        "features": [
            {"source": written(feature.source) or "", "plain": texts_of(feature.plain)} for feature in need.features
        ],
    }
    said: dict[str, Any] = {name: texts_of(getattr(answers, name)) for name in ANSWERED}
    said |= {name: written(getattr(answers, name)) or "" for name in ("domain", "status", "risk_category")}
    said |= {
        "contact_email": answers.contact_email or "",
        "published": "" if answers.published is None else answers.published.isoformat(),
        "sources": {source: texts_of(name) for source, name in answers.sources.items()},
    }
    return register_record(need=named, answers=said, digests=digests, revision_date=need.review_by.isoformat())


def responsible_of(need: Need) -> dict[str, Any]:
    """Who answers for a need, by role, and the day of its next review."""
    people = {"owner": need.owner.written(), "deputy": need.deputy.written(), "dpo": need.dpo.written()}
    return {**people, "review_by": need.review_by.isoformat()}


def impact_answers(need: Need) -> dict[str, dict[str, str]]:
    """Question → answer in each language; empty where nobody has answered."""
    return {key: texts_of(getattr(need.impact, key) if need.impact else None) for key in IMPACT_KEYS}
