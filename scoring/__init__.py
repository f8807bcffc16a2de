"""From a model to an explained list: scores, reasons, outreach lists. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoring.forest import Forest as Forest
    from scoring.list_records import OutreachList as OutreachList
    from scoring.outreach import outreach_list as outreach_list
    from scoring.reasons import Reason as Reason
    from scoring.reasons import explain as explain
    from scoring.score_stream import parquet_blocks as parquet_blocks
    from scoring.score_stream import stream_scores as stream_scores
    from scoring.scorer import Scorer as Scorer
    from scoring.scorer import Scores as Scores

_HOMES = {
    "Forest": "forest",
    "OutreachList": "list_records",
    "outreach_list": "outreach",
    "Reason": "reasons",
    "explain": "reasons",
    "Scorer": "scorer",
    "Scores": "scorer",
    "parquet_blocks": "score_stream",
    "stream_scores": "score_stream",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scoring' has no attribute {name!r}")
    return getattr(import_module(f"scoring.{_HOMES[name]}"), name)
