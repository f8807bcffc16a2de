"""How old what a home stores of persons is, for check C610; and how what is overdue goes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.typed_texts import refuse_typed

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
    rows += _stored_rows(home, now)
    begun = home.audit_log.begun_at()
    if begun is not None:
        rows.append({"kind": "log", "where": "the audit log", "n": 1, "oldest_days": _not_ahead(_days(now - begun))})
    return [row for row in rows if row["n"]]


def _stored_rows(home: Home, now: datetime) -> list[dict[str, Any]]:
    """Scores and lists of the store: its rows outlive the files that were made of them."""
    from scoring.store_opening import is_begun

    if not is_begun(home.engine):
        return []
    return [
        {"kind": kind, "where": "the database", "n": kept.n, "oldest_days": _not_ahead(_days(now - kept.since))}
        for kind, kept in home.store.kept(now.date()).items()
    ]


def forget_overdue(home: Home, by: str, now: datetime) -> dict[str, Any]:
    """Delete scores and lists that lie longer than the policy's schedule lets them, in files and in the database.

    Judged rows and groups are not touched: those are for training anew and for the city to delete. Lists that a law
    says must be kept stay, files and rows. The audit log says so before anything goes, and after.

    Returns
    -------
    dict
        ``removed`` (files of the home), ``rows`` (table → rows deleted), ``handed_out`` (files outside the home, of
        lists that are gone: their holders are to destroy them).

    Raises
    ------
    BadInput
        The role cannot be kept in the audit log: nothing is deleted.
    """
    refuse_typed(by=by)
    schedule = home.policy.retention
    with home.in_use(alone=True):
        limits = {"scores": schedule.scores_days, "lists": schedule.lists_days}
        bound = home.store.must_keep(now.date())
        kinds = {"scores": home.scores.glob("*/[!.]*.parquet"), "lists": home.lists.glob("*/[!.]*/*")}
        overdue = [
            path
            for kind, files in kinds.items()
            for path in sorted(file for file in files if file.is_file())
            if _days(now - _written(path)) > limits[kind] and (kind != "lists" or path.parent.name not in bound)
        ]
        removed = [str(path.relative_to(home.root)) for path in overdue]
        before = home.store.exports()
        home.audit_log.append("erase overdue", by, files=len(removed))  # first: nothing goes without a line
        for path in overdue:
            path.unlink()
        for folder in sorted(path for path in home.lists.glob("*/[!.]*") if path.is_dir()):
            if not any(folder.iterdir()):
                folder.rmdir()
        oldest = {kind: now - timedelta(days=days) for kind, days in limits.items()}
        rows = home.store.forget_before(**oldest, today=now.date())
        home.audit_log.append("erased overdue", by, files=len(removed), rows=sum(rows.values()))
        left = set(home.store.lists()["list_id"])
    gone = [one for one in before.select("file", "list_id", "unit_id").to_dicts() if one["list_id"] not in left]
    handed_out = [one for one in gone if not Path(one["file"]).is_relative_to(home.root)]
    return {"removed": removed, "rows": rows, "handed_out": handed_out}


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _days(age: timedelta) -> float:
    return age.total_seconds() / _SECONDS_A_DAY


def _oldest(kind: str, where: Path, files: Iterable[Path], now: datetime) -> dict[str, Any]:
    made = [_written(file) for file in files if file.is_file()]
    days = _days(now - min(made)) if made else 0.0
    return {"kind": kind, "where": str(where), "n": len(made), "oldest_days": _not_ahead(days)}


def _not_ahead(days: float) -> float:
    return 0.0 if -_CLOCK_STEP_DAYS <= days < 0 else days
