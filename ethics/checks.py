"""The checks that are built, by id; importing this module registers every one of them."""

from __future__ import annotations

from ethics import (
    control_checks,
    crossing_checks,
    equality_checks,
    explanation_checks,
    group_checks,
    label_checks,
    list_checks,
    openness_checks,
    people_checks,
    privacy_checks,
    proxy_checks,
    responsibility_checks,
    security_checks,
)
from ethics.check_register import BUILT as _REGISTERED
from ethics.check_register import BuiltCheck

MODULES = (
    people_checks,
    openness_checks,
    explanation_checks,
    group_checks,
    crossing_checks,
    label_checks,
    equality_checks,
    responsibility_checks,
    privacy_checks,
    proxy_checks,
    security_checks,
    control_checks,
    list_checks,
)
"""In the order of the principles they answer to."""

BUILT: dict[str, BuiltCheck] = dict(sorted(_REGISTERED.items()))
"""Check id → check."""
