"""How old what a home stores of persons is, for check C610."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.home import Home

_SECONDS_A_DAY = 86_400
_CLOCK_STEP_DAYS = 1 / 24
"""A file may seem made up to an hour ahead: file systems and clocks differ."""


def stored_ages(home: Home, groups: Path, now: datetime) -> list[dict[str, Any]]:
    """Per kind of stored personal data, where it lies, how many files there are, and the age of the oldest in days.

    Files are dated by when they were last written, since as-of dates may lie far in the past; the log by its first row.
    What was restored from a backup without its times seems new: keep times when restoring.
    """
    kinds: dict[str, tuple[Path, Iterable[Path]]] = {
        "scores": (home.scores, home.scores.glob("*/[!.]*.parquet")),
        "lists": (home.lists, home.lists.glob("*/[!.]*/*")),
        "judged_rows": (home.runs, home.runs.glob("[!.]*/*.parquet")),
        "groups": (groups, [groups]),
    }
    rows = [_oldest(kind, where, files, now) for kind, (where, files) in kinds.items()]
    begun = home.audit_log.begun_at()
    if begun is not None:
        days = (now - begun).total_seconds() / _SECONDS_A_DAY
        rows.append({"kind": "log", "where": "the audit log", "n": 1, "oldest_days": _not_ahead(days)})
    return [row for row in rows if row["n"]]


def _oldest(kind: str, where: Path, files: Iterable[Path], now: datetime) -> dict[str, Any]:
    made = [datetime.fromtimestamp(file.stat().st_mtime, UTC) for file in files if file.is_file()]
    days = (now - min(made)).total_seconds() / _SECONDS_A_DAY if made else 0.0
    return {"kind": kind, "where": str(where), "n": len(made), "oldest_days": _not_ahead(days)}


def _not_ahead(days: float) -> float:
    return 0.0 if -_CLOCK_STEP_DAYS <= days < 0 else days
