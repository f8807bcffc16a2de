"""Attempts and outcomes as they come in: read whole, with every fault by row number, before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from ethics.refusals import BadInput, Fault, did_you_mean

OUTCOME_CODES = ("reached", "declined", "already_served", "helped", "not_relevant", "wrong_person", "not_reached")


def checked_events(rows: pl.DataFrame, kind: str, said: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as records with the moment as text, or every fault by row number, counted from 1."""
    wanted = ["list_id", "person_id", "at", *said]
    missing = [name for name in wanted if name not in rows.columns]
    if missing:
        mend = f"Give the columns {', '.join(wanted)}"
        raise BadInput(*(Fault(kind, f"has no column '{name}'", mend) for name in missing))
    faults, records = [], rows.select(wanted).to_dicts()
    for number, record in enumerate(records, 1):
        where = f"{kind}, row {number}"
        if not record["person_id"]:
            faults.append(Fault(where, "has no person", "Give the person_id"))
        record["at"], wrong = _clock_text(record["at"])
        if wrong:
            faults.append(Fault(where, wrong, "Give a day or a local time, e.g. 2024-06-03 or 2024-06-03T09:30"))
        if kind == "outcomes" and record["outcome"] not in OUTCOME_CODES:
            mend = did_you_mean(str(record["outcome"]), OUTCOME_CODES)
            faults.append(Fault(where, f"has the outcome '{record['outcome']}', which is none", mend))
    if faults:
        raise BadInput(*faults)
    return records


def _clock_text(at: Any) -> tuple[str, str]:
    """A moment as the tables keep it, and what is wrong with it."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return "", "has a time that cannot be read"
    if isinstance(at, datetime) and at.tzinfo is not None:
        return "", "has a time with a time zone"
    if isinstance(at, datetime):
        return at.replace(tzinfo=None).isoformat(timespec="seconds"), ""
    if isinstance(at, date):
        return f"{at.isoformat()}T00:00:00", ""
    return "", "has no time"
