"""What people and programmes call: the command, the HTTP service, settings. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.cli import main as main
    from serving.service import NeedScores as NeedScores
    from serving.settings import Settings as Settings

_HOMES = {"main": "cli", "NeedScores": "service", "Settings": "settings"}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'serving' has no attribute {name!r}")
    return getattr(import_module(f"serving.{_HOMES[name]}"), name)
