"""A second opinion by another engine: DuckDB SQL made from the same feature specs, for any measure and window.

It knows the words of ``contracts.md`` §3 and nothing of our kernels: every window of every feature is a query over the
events as they stand in the file, by SQL's own dates, intervals and aggregates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np

from features.windows import ZERO_WHEN_EMPTY, Window, numbered

# Over a cohort row's events of one feature in one window. Null is what the contract calls NaN; where it says 0, the row
# has no events and is not in SQL's answer at all.
_AGE_US = "(epoch_us(as_of_time) - epoch_us(event_time))"
_MEASURES = {
    "count": "count(*)",
    "n_values": "count(value)",
    "sum": "sum(value)",
    "mean": "avg(value)",
    "min": "min(value)",
    "max": "max(value)",
    "last": "last(value order by event_time, value) filter (where value is not null)",
    "first": "first(value order by event_time, value) filter (where value is not null)",
    "days_since_last": f"min({_AGE_US} // 86400000000)",
    "days_since_first": f"max({_AGE_US} // 86400000000)",
    "std": "case when count(value) >= 2 then stddev_pop(value) end",
    "distinct_codes": "count(distinct code)",
    "distinct_days": "count(distinct event_time::date)",
    "median": "quantile_cont(value, 0.5)",
    # Slope per local day.
    "trend": "case when count(distinct event_time::date) filter (where value is not null) >= 2"
    " then regr_slope(value, event_time::date - as_of) end",
}
_TABLES = """
    create table events as
    select person_id, event_date::timestamp as event_time,
           {known}::date as known_day, code, nullif(value, 'nan'::float)::double as value
    from read_parquet('{events}');
"""
_ONE_WINDOW = """
    select c.row_number as row, {measures}
    from cohort as c join events as e using (person_id)
    where {in_window} and e.event_time < c.as_of_time and e.known_day < c.as_of and ({codes})
    group by c.row_number
"""


class Oracle:
    """The events of one Parquet file and the rows of one cohort, ready to be asked."""

    def __init__(self, events: Path, rows: Sequence[tuple[str, object]], *, has_knowledge: bool) -> None:
        self.n_rows = len(rows)
        self.db = duckdb.connect(config={"threads": 1})
        known = "coalesce(knowledge_date, event_date)" if has_knowledge else "event_date"
        self.db.execute(_TABLES.format(events=events, known=known))
        self.db.execute("create table cohort (row_number integer, person_id text, as_of date, as_of_time timestamp)")
        persons, days = [person for person, _ in rows], [str(day) for _, day in rows]
        self.db.execute(
            "insert into cohort select generate_subscripts(p, 1) - 1, unnest(p), unnest(d)::date, unnest(d)::timestamp"
            " from (select $1::varchar[] as p, $2::varchar[] as d)",
            [persons, days],
        )

    def columns(self, feature) -> Iterator[tuple[str, np.ndarray]]:
        """Name and float64 values (n_rows,) of every column that the feature makes."""
        for window in feature.windows:
            found = self.db.execute(self._query(feature, window)).fetchnumpy()
            for measure, column in zip(feature.measures, list(found.values())[1:], strict=True):
                values = np.full(self.n_rows, 0.0 if measure in ZERO_WHEN_EMPTY else np.nan)
                values[np.asarray(found["row"])] = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
                yield f"{feature.name}.{measure}.{window.label}", values

    def _query(self, feature, window: Window) -> str:
        codes = [f"starts_with(code, '{c[:-1]}')" if c.endswith("*") else f"code = '{c}'" for c in feature.codes]
        measures = ", ".join(f"{sql_of(measure)} as m{i}" for i, measure in enumerate(feature.measures))
        return _ONE_WINDOW.format(measures=measures, in_window=_in_window(window), codes=" or ".join(codes))


def sql_of(measure: str) -> str:
    """The aggregate that a measure's name promises."""
    found = numbered(measure)
    if found is None:
        return _MEASURES[measure]
    kind, number = found
    if kind == "quantile":
        return f"quantile_cont(value, {number / 100})"
    return f"sum(pow(2.0, -({_AGE_US} // 86400000000) / {number}))"


def _in_window(window: Window) -> str:
    """The nearer end is outside when it is the as-of date, inside the farther end; months end as calendars do."""
    if window.unit == "ever":
        return "true"
    if window.unit == "months":
        return f"e.event_time >= c.as_of_time - interval {window.far} month"
    near = f" and e.event_time < c.as_of_time - interval {window.near} day" if window.near else ""
    return f"e.event_time >= c.as_of_time - interval {window.far} day{near}"
