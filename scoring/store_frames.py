"""Rows of the store as tables with days and moments, and the filters its readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

MOMENT = pl.Datetime("us", "UTC")
"""When the store was told."""
CLOCK = pl.Datetime("us")
"""When something happened, by the clock on the wall; midnight where only the day is known."""


def frame_of(rows: Iterable[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Rows (by name) as a table: texts become days and moments, references hexadecimal."""
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    readers: dict[str, Callable[[Any], Any]] = {n: _READERS.get(dtype, _same) for n, dtype in schema.items()}
    for row in rows:
        for name, read in readers.items():
            value = row[name]
            columns[name].append(None if value is None else read(value))
    return pl.DataFrame({name: pl.Series(columns[name], dtype=dtype) for name, dtype in schema.items()})


def now_text(at: datetime | None = None) -> str:
    """A moment (with its time zone), by default this one, as the tables keep it."""
    return (datetime.now(UTC) if at is None else at.astimezone(UTC)).isoformat(timespec="microseconds")


def day_text(day: date | None) -> str | None:
    """A day as the tables keep it."""
    return None if day is None else day.isoformat()


def _same(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


_READERS: dict[Any, Callable[[Any], Any]] = {
    pl.Date: date.fromisoformat,
    MOMENT: datetime.fromisoformat,
    CLOCK: datetime.fromisoformat,
}
