"""What a column holds and how it becomes ours: ids and codes as text, local moments, days, numbers."""

from __future__ import annotations

from datetime import date

import polars as pl

EXPECTED = {
    "id": "text or whole numbers",
    "text": "text",
    "texts": "a list of texts, or text with ; between",
    "moment": "a day (2024-01-31) or a moment (2024-01-31T09:30:00)",
    "day": "a day (2024-01-31)",
    "number": "numbers",
}
"""The kinds of column, as messages name what was expected."""

_OURS: dict[str, pl.DataType] = {
    "moment": pl.Datetime("us"),
    "day": pl.Date(),
    "number": pl.Float32(),
    "texts": pl.List(pl.String()),
}
_FIRST_DAY, _LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": None}


def typed(raw: pl.Expr, kind: str, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    """A typed column as ours; None when its type is not what we expect.

    A moment outside the years 1 to 9999 is null: some files hold what no calendar does.
    """
    is_text = dtype == pl.String or isinstance(dtype, pl.Enum | pl.Categorical)
    if dtype == pl.Null:
        return raw.cast(_OURS.get(kind, pl.String()))
    if kind == "id" and (is_text or dtype.is_integer()):
        return _not_empty(raw.cast(pl.String))
    if kind == "text" and (is_text or dtype.is_integer() or dtype == pl.Boolean):
        return _not_empty(raw.cast(pl.String))
    if kind == "texts":
        if dtype == pl.List(pl.String):
            return raw
        return _split(raw.cast(pl.String)) if is_text else None
    if kind == "number" and dtype.is_numeric():
        return raw.cast(pl.Float32)
    if kind in {"moment", "day"} and dtype == pl.Date:
        return _on_calendar(raw, 1).cast(pl.Datetime("us")) if kind == "moment" else _on_calendar(raw, 1)
    if kind in {"moment", "day"} and isinstance(dtype, pl.Datetime):
        moment = _on_calendar(raw, _PER_DAY[dtype.time_unit]).cast(pl.Datetime("us", dtype.time_zone))
        if dtype.time_zone:
            local = moment.dt.convert_time_zone(zone).dt.replace_time_zone(None)
            moment = _on_calendar(local, _PER_DAY["us"])
        return moment if kind == "moment" else _midnight_only(moment)
    return None


def from_text(raw: pl.Expr, kind: str, zone: str) -> pl.Expr:
    """A column of text as ours; a cell that cannot be read is null.

    Ids, codes and other texts stay as they are written, blanks around them too: in a Parquet file they are read so,
    and the same rows are the same city in every format.
    """
    if kind in {"id", "text"}:
        return _not_empty(raw)
    text = raw.str.strip_chars()
    if kind == "number":
        return text.cast(pl.Float64, strict=False).cast(pl.Float32)
    if kind in {"moment", "day"}:
        stamp = text.str.replace(" ", "T", literal=True)
        day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
        clock = stamp.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        short = stamp.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False)
        zoned = stamp.str.replace("Z$", "+00:00").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
        )
        moment = pl.coalesce(day, clock, short, zoned.dt.convert_time_zone(zone).dt.replace_time_zone(None))
        moment = _on_calendar(moment, _PER_DAY["us"])
        return moment if kind == "moment" else _midnight_only(moment)
    return _split(text)


def _on_calendar(time: pl.Expr, per_day: int | None) -> pl.Expr:
    """Only what lies in the years 1 to 9999: beyond them a change of unit overflows, and no day has a name."""
    if per_day is None:  # 64 bits of nanoseconds reach from 1677 to 2262
        return time
    number = time.to_physical().cast(pl.Int64)
    return pl.when((number >= _FIRST_DAY * per_day) & (number < (_LAST_DAY + 1) * per_day)).then(time)


def _not_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _split(text: pl.Expr) -> pl.Expr:
    return text.str.split(";").list.eval(pl.element().str.strip_chars())


def _midnight_only(moment: pl.Expr) -> pl.Expr:
    return pl.when(moment == moment.dt.truncate("1d")).then(moment.dt.date())
