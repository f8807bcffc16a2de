"""Does the future leak? Rewrite everything the city came to know later, and see whether a single byte changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.arrays import DAY_US, read_only
from features.city import City, EventLog
from features.matrix import build_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ethics.objections import ObjectionRegister
    from features.spec import FeatureSpec

_SHARE_REMOVED, _SHARE_DOUBLED = 0.2, 0.2


@dataclass(frozen=True)
class LeakCheck:
    """Digests of a day's matrix before and after its future was rewritten, and how many rows that touched."""

    as_of_date: date
    before: str
    after: str
    n_rewritten: int

    @property
    def identical(self) -> bool:
        """Whether not one byte changed."""
        return self.before == self.after


def leakcheck(
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    *,
    objections: ObjectionRegister,
    need_id: str,
    seed: int = 0,
) -> LeakCheck:
    """Build the matrix of one as-of date twice: from the city, and from the city with another future.

    Parameters
    ----------
    keys : pl.DataFrame
        ``person_id`` and ``as_of_date``, all of the same date.

    Raises
    ------
    ValueError
        The keys hold several dates: each date has a future of its own; or the city is a part of one, whose other people
        would keep their future.
    """
    if city.whole is not None:
        raise ValueError("the whole city, not a part of it")
    days = keys["as_of_date"].unique().to_list()
    if len(days) != 1:
        raise ValueError(f"one as-of date at a time, not {len(days)}")
    other, n_rewritten = poisoned(city, days[0], seed)
    before, after = (
        build_matrix(world, features, keys, objections=objections, need_id=need_id) for world in (city, other)
    )
    return LeakCheck(days[0], before.digest, after.digest, n_rewritten)


def poisoned(city: City, as_of_date: date, seed: int = 0) -> tuple[City, int]:
    """The same city, in which all that became known on or after a day is rewritten; and how many rows that was.

    Of these events a fifth is removed and a fifth doubled; all get other values, other codes, and other, mostly
    earlier event dates, so that a feature which looked at event dates alone would see them. What the history of
    attributes says is rewritten likewise (see :func:`_poisoned_history`).
    """
    log, rng = city.events, np.random.default_rng(seed)
    as_of = int(np.datetime64(as_of_date, "us").astype(np.int64))
    known = log.time if log.known is None else log.known
    person = np.repeat(np.arange(len(log.person_ids)), np.diff(log.offsets))
    # An event without a clock becomes usable the day after: known on the day before the as-of date is still the past.
    later = known >= as_of
    past, future = np.flatnonzero(~later), np.flatnonzero(later)
    kept = future[rng.random(future.size) >= _SHARE_REMOVED]
    future = np.concatenate([kept, kept[rng.random(kept.size) < _SHARE_DOUBLED]])
    earliest = int(log.time.min()) if log.time.size else 0
    time = np.concatenate(
        [log.time[past], rng.integers(earliest, as_of + 400 * DAY_US, future.size) // DAY_US * DAY_US]
    )
    columns: dict[str, NDArray[Any]] = {
        "person": np.concatenate([person[past], person[future]]),
        "time": time,
        "known": np.concatenate([known[past], np.maximum(known[future], time[past.size :])]),
        "code": np.concatenate(
            [log.code[past], rng.integers(0, max(len(log.codes), 1), future.size).astype(log.code.dtype)]
        ),
        "value": np.concatenate([log.value[past], rng.normal(0, 1e6, future.size).astype(np.float32)]),
    }
    history, n_history = _poisoned_history(city.history, as_of_date, rng)
    return replace(city, events=_log_of(log, columns), history=history), int(later.sum()) + n_history


def _poisoned_history(
    history: pl.DataFrame | None, as_of_date: date, rng: np.random.Generator
) -> tuple[pl.DataFrame | None, int]:
    """Rows known on or after the day, or beginning then, get values of other rows.

    Rows known only later also get beginnings up to years before the day, which a reader of beginnings alone would
    believe.
    """
    import polars as pl

    if history is None or history.is_empty():
        return history, 0
    day = pl.lit(as_of_date).cast(pl.Datetime("us"))
    known_later = history.select(pl.col("knowledge_date") >= day).to_series().to_numpy()
    later = history.select((pl.col("knowledge_date") >= day) | (pl.col("from_date") >= day)).to_series().to_numpy()
    # Of the same attribute, so that a number stays a number: only what is known may say whether a matrix can be built.
    mixed = history.with_columns(rank=pl.Series(rng.permutation(history.height)))
    other = mixed.select(pl.col("value").sort_by("rank").over("attribute")).to_series()
    value = pl.select(pl.when(pl.Series(later)).then(other).otherwise(history["value"])).to_series().alias("value")
    midnight = int(np.datetime64(as_of_date, "us").astype(np.int64))
    earlier = pl.Series(midnight - rng.integers(1, 3650, history.height) * DAY_US).cast(pl.Datetime("us"))
    begins = pl.when(pl.Series(known_later)).then(earlier).otherwise(pl.col("from_date"))
    poisoned = history.with_columns(value, from_date=begins)
    return poisoned.sort("person_id", "attribute", "value", "from_date", "knowledge_date"), int(later.sum())


def _log_of(log: EventLog, columns: dict[str, NDArray[Any]]) -> EventLog:
    """The columns in a log's order: person, time, value with null first, code."""
    null_first = np.where(np.isnan(columns["value"]), -np.inf, columns["value"])
    order = np.lexsort((columns["code"], null_first, columns["time"], columns["person"]))
    ordered = {name: read_only(values[order]) for name, values in columns.items()}
    counts = np.bincount(columns["person"], minlength=len(log.person_ids))
    offsets = read_only(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    return EventLog(
        person_ids=log.person_ids,
        offsets=offsets,
        time=ordered["time"],
        known=ordered["known"],
        code=ordered["code"],
        value=ordered["value"],
        codes=log.codes,
    )


def by_event_date_only(city: City) -> City:
    """The city as a naive build sees it: everything counts from the day it happened or began, known or not."""
    history = None if city.history is None else city.history.with_columns(knowledge_date="from_date")
    return replace(city, events=replace(city.events, known=None), history=history)


def is_all_known_at_once(city: City) -> bool:
    """Whether the city came to know everything on the day it happened."""
    history = city.history
    late = history is not None and bool((history["knowledge_date"].dt.date() > history["from_date"].dt.date()).any())
    return city.events.known is None and not late
