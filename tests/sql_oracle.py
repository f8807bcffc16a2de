"""A second opinion by another engine: DuckDB SQL made from the same specs, for features, cohort and label.

It knows the words of ``contracts.md`` §2 and §3 and nothing of our kernels: every window of every feature, every rule
of a cohort and every label is a query over the tables as they stand in the files, by SQL's own dates, intervals and
aggregates.
"""

from __future__ import annotations

import tomllib
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
        measures = ", ".join(f"{sql_of(measure)} as m{i}" for i, measure in enumerate(feature.measures))
        return _ONE_WINDOW.format(measures=measures, in_window=_in_window(window), codes=_is_one_of(feature.codes))


def sql_of(measure: str) -> str:
    """The aggregate that a measure's name promises."""
    found = numbered(measure)
    if found is None:
        return _MEASURES[measure]
    kind, number = found
    if kind == "quantile":
        return f"quantile_cont(value, {number / 100})"
    return f"sum(pow(2.0, -({_AGE_US} // 86400000000) / {number}))"


def _is_one_of(codes: Sequence[str]) -> str:
    """Whether a row's code is one of some, of which any may end in a star."""
    alone = [f"starts_with(code, '{c[:-1]}')" if c.endswith("*") else f"code = '{c}'" for c in codes]
    return "(" + " or ".join(alone) + ")"


def _in_window(window: Window) -> str:
    """The nearer end is outside when it is the as-of date, inside the farther end; months end as calendars do."""
    if window.unit == "ever":
        return "true"
    if window.unit == "months":
        return f"e.event_time >= c.as_of_time - interval {window.far} month"
    near = f" and e.event_time < c.as_of_time - interval {window.near} day" if window.near else ""
    return f"e.event_time >= c.as_of_time - interval {window.far} day{near}"


# ---- who is eligible, and what followed -----------------------------------------------------------------------------

_RUNNING = {
    "days": "count(*) over until_then",  # one row per day with an event
    "sum": "(sum(total) over until_then)::float",
    "max": "(max(largest) over until_then)::float",
    "min": "(min(smallest) over until_then)::float",
}
_OUTCOMES = """
    with
    looked as (
        select row_number, person_id, as_of, as_of_time,
               as_of_time + interval {starts} day as risk_time,
               as_of_time + interval {horizon} day as end_time,
               as_of + {horizon} + {delay} as told_on
        from cohort
    ),
    leaving as (
        select row_number, min(event_time::date) as left_on
        from looked join events using (person_id)
        where {leaves} and event_time >= as_of_time and event_time < end_time and known_day < told_on
        group by row_number
    ),
    -- What happened on the day of leaving still counts.
    by_day as (
        select row_number, event_time::date as day, sum(value) as total, max(value) as largest, min(value) as smallest
        from looked join events using (person_id) left join leaving using (row_number)
        where {counts} and event_time >= risk_time and event_time < end_time and known_day < told_on
          and (left_on is null or event_time::date <= left_on)
        group by all
    ),
    running as (
        select row_number, day, {measure} as measured
        from by_day window until_then as (partition by row_number order by day)
    ),
    -- Past its bound in the direction in which the measure moves; without any value it is past nothing.
    judged as (select row_number, day, measured, coalesce({beyond}, false) as beyond from running),
    -- The day from which on it stayed past the bound; none when it does not end there.
    stayed as (
        select row_number, arg_max(measured, day) as measured, arg_max(beyond, day) as decided,
               min(day) filter (where day > last_within) as decided_on
        from (select *, coalesce(max(day) filter (where not beyond) over (partition by row_number), '0001-01-01'::date)
                        as last_within from judged)
        group by row_number
    ),
    told as (
        select looked.row_number, told_on <= '{extract}'::date as mature, left_on, coalesce(decided, false) as decided,
               decided_on, as_of,
               -- 0 days where nothing counts; any other measure then has no value, which reaches neither bound.
               coalesce({reaches}, false) as state
        from looked left join leaving using (row_number) left join stayed using (row_number)
    ),
    followed as (
        select *, case when decided then decided_on - as_of when left_on is not null then left_on - as_of
                       else {horizon} end as days
        from told
    ),
    censored as (
        select *, left_on is not null and not decided and days - {starts} < {enough} as left_undecided from followed
    )
    select case when not mature then null when left_undecided then {censored} when state then 1 else 0 end as y,
           case when mature then days end as followed_days, mature and left_undecided as censored
    from censored order by row_number
"""


class CityOracle:
    """The tables of a city folder, ready to be asked who was eligible when, and what followed."""

    def __init__(self, folder: Path) -> None:
        settings = tomllib.loads((folder / "city.toml").read_text()) if (folder / "city.toml").exists() else {}
        self.extract = settings["extract_date"]
        self.fixed = settings.get("persons", {}).get("fixed", [])
        self.folder, self.db = folder, duckdb.connect(config={"threads": 1})
        self._load("persons")
        self._load("events")
        self.db.execute("create table history (person_id text, attribute text, value text, begins date, known date)")
        if (folder / "history.parquet").exists():
            self.db.execute(
                "insert into history select person_id, attribute, value, from_date::date,"
                f" coalesce(knowledge_date, from_date)::date from '{folder / 'history.parquet'}'"
            )
        self.db.execute("create table cohort (row_number integer, person_id text, as_of date, as_of_time timestamp)")

    def _load(self, table: str) -> None:
        file = self.folder / f"{table}.parquet"
        if table == "persons":
            self.db.execute(f"create table persons as select * from '{file}'")
            return
        columns = {name for name, *_ in self.db.execute(f"describe select * from '{file}'").fetchall()}
        known = "coalesce(knowledge_date, event_date)" if "knowledge_date" in columns else "event_date"
        value = "value" if "value" in columns else "null::float"
        self.db.execute(
            f"create table events as select person_id, event_date::timestamp as event_time, {known}::date as known_day,"
            f" code, nullif({value}::float, 'nan'::float)::double as value from '{file}'"
        )

    def cohort(self, cohort, label=None) -> list[tuple[str, object]]:
        """Who is eligible at which days, by day and person."""
        rules = [
            *self._personal(cohort),
            *(self._events(rule.codes, rule.window, "", rule.at_least) for rule in cohort.with_),
            *(self._events(rule.codes, rule.window, "not ", rule.at_least) for rule in cohort.without),
        ]
        if cohort.washout_days is not None:
            seen = f"as_of - event_time::date >= {cohort.washout_days} and known_day < as_of"
            rules.append(f"exists (from events as e where e.person_id = c.person_id and {seen})")
        if cohort.prior_outcome is not None:
            rules.append(self._events(label.codes, cohort.prior_outcome, "not ", 1))
        kept = " and ".join(rules) or "true"
        return self.db.execute(
            f"with c as (select distinct person_id, as_of, as_of::timestamp as as_of_time from ({self._days(cohort)}))"
            f" select c.person_id, c.as_of from c join persons using (person_id) where {kept} order by as_of, person_id"
        ).fetchall()

    def _days(self, cohort) -> str:
        if cohort.table is not None:
            file = self.folder / "cohorts" / f"{cohort.table}.parquet"
            return f"select person_id, as_of_date::date as as_of from '{file}'"
        days = cohort.as_of
        if days.on is None:
            step = f"generate_series('{days.first}'::date, '{days.last}'::date, interval {days.every_days} day)"
            return f"select person_id, day::date as as_of from persons, (select unnest({step}) as day)"
        later = f"known_day + 1 + {days.after_days}"
        return (
            f"select person_id, {later} as as_of from events where {_is_one_of([days.on])}"
            f" and {later} <= '{self.extract}'::date"
        )

    def _personal(self, cohort) -> Iterator[str]:
        if cohort.age is not None:
            # Who was born on 29 February has the birthday on 1 March, as SQL's age in months has it by day of month.
            years = (
                "(year(as_of) - year(birth_date) - ((month(as_of), day(as_of)) <"
                " (month(birth_date), day(birth_date)))::int)"
            )
            yield f"birth_date <= as_of and {years} between {cohort.age[0]} and {cohort.age[1]}"
        for rule in cohort.where:
            among = ", ".join(f"'{value}'" for value in rule.one_of)
            if rule.attribute in self.fixed:
                yield f"{rule.attribute}::text in ({among})"
                continue
            yield (
                "(select arg_max(h.value, (h.begins, h.known, h.value)) from history as h where h.person_id ="
                f" c.person_id and h.attribute = '{rule.attribute}' and h.begins < as_of and h.known < as_of)"
                f" in ({among})"
            )

    def _events(self, codes: Sequence[str], window: Window, negated: str, at_least: int) -> str:
        return (
            f"{negated}((select count(*) from events as e where e.person_id = c.person_id and {_is_one_of(codes)} and"
            f" {_in_window(window)} and e.event_time < c.as_of_time and e.known_day < c.as_of) >= {at_least})"
        )

    def outcomes(self, rows: Sequence[tuple[str, object]], label) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y and followed_days (float64, NaN where not known) and censored (bool) of each row."""
        self.db.execute("delete from cohort")
        self.db.execute(
            "insert into cohort select generate_subscripts(p, 1) - 1, unnest(p), unnest(d)::date, unnest(d)::timestamp"
            " from (select $1::varchar[] as p, $2::varchar[] as d)",
            [[person for person, _ in rows], [str(day) for _, day in rows]],
        )
        at_least, falls = label.at_least is not None, label.measure == "min"
        bound = label.at_least if at_least else label.at_most
        number = f"{bound}::double" if label.measure == "days" else f"{bound}::float"
        beyond = {(True, False): ">=", (False, False): ">", (True, True): "<", (False, True): "<="}[at_least, falls]
        measured = "coalesce(measured, 0)" if label.measure == "days" else "measured"
        query = _OUTCOMES.format(
            starts=label.starts_after_days,
            horizon=label.horizon_days,
            delay=label.reporting_delay_days,
            leaves=_is_one_of(label.censored_by) if label.censored_by else "false",
            counts=_is_one_of(label.codes),
            measure=_RUNNING[label.measure],
            beyond=f"measured {beyond} {number}",
            reaches=f"{measured} {'>=' if at_least else '<='} {number}",
            extract=self.extract,
            enough=label.horizon_days if label.min_days_at_risk is None else label.min_days_at_risk,
            censored="0" if label.censoring == "negative" else "null",
        )
        found = self.db.execute(query).fetchnumpy()
        y, followed = (
            np.ma.filled(np.ma.asarray(found[name]).astype(np.float64), np.nan) for name in ("y", "followed_days")
        )
        return y, followed, np.asarray(found["censored"], dtype=bool)
