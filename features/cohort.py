"""Who is eligible at which as-of dates: a ready-made table, fixed days, or days that follow an event; and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault, did_you_mean
from features.arrays import DAY_US, frozen
from features.attributes import age_on, attribute_history, attributes_of
from features.attrition import (
    Attrition,
    Tally,
    age_in_words,
    attribute_in_words,
    trigger_in_words,
    window_in_words,
    with_in_words,
    without_in_words,
)
from features.city import City, DataError, matches
from features.keyed_rows import KEYS, Rows, keyed_rows
from features.label_kernels import observed_by
from features.spec import AsOfSpec, AttributeRule, CohortSpec, EventRule, LabelSpec, SpecError, require_built
from features.sweep import Group, lay_out, log_arrays, sweep
from features.windows import Window

_EPOCH = date(1970, 1, 1)
_ROWS_AT_ONCE = 1_000_000


def as_of_dates(city: City, cohort: CohortSpec) -> list[date]:
    """The days a cohort is looked at from, earliest first; where they follow an event, everyone's together.

    Raises
    ------
    DataError
        There is none: the table is empty, or the event that the days follow is known of nobody.
    """
    require_built([cohort])
    days = _own_dates(city, cohort)
    if not days and cohort.table is not None:
        raise DataError(Fault("cohort.table", f"'{cohort.table}' holds no rows", "Export it again"))
    if not days and cohort.as_of is not None:
        wrong = f"nobody is looked at {trigger_in_words(cohort.as_of)} ({city.extract_date})"
        raise DataError(Fault("cohort.as_of.on", wrong, "Mend the code, or give first, last and every_days"))
    return days


def _own_dates(city: City, cohort: CohortSpec) -> list[date]:
    if cohort.table is not None:
        return city.cohort_table(cohort.table)["as_of_date"].unique().sort().to_list()
    days = cohort.as_of
    assert days is not None  # a cohort is born with a table or days
    if days.on is not None:
        return [_EPOCH + timedelta(days=int(day)) for day in np.unique(_triggered(city, days).as_of) // DAY_US]
    assert days.first is not None and days.every_days is not None
    return [days.first + timedelta(days=i * days.every_days) for i in range(days.n_days)]


def build_cohort(
    city: City, cohort: CohortSpec, as_of_dates: Sequence[date] | None = None, *, label: LabelSpec | None = None
) -> pl.DataFrame:
    """Who is eligible at which as-of dates: person_id, as_of_date, in the order of date and person.

    Parameters
    ----------
    as_of_dates : sequence of date, optional
        Look from these days instead of the cohort's own (a table, and days that follow an event, keep those they
        have).
    label : LabelSpec, optional
        Needed where the cohort leaves out those with a ``prior_outcome``.

    Raises
    ------
    DataError
        Nobody is eligible (with how many each rule left), or a rule asks for an attribute the city does not have.
    SpecError
        A part that is not built yet; ``prior_outcome`` without a label.
    """
    return cohort_with_attrition(city, cohort, as_of_dates, label=label)[0]


def cohort_with_attrition(
    city: City, cohort: CohortSpec, as_of_dates: Sequence[date] | None = None, *, label: LabelSpec | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """As :func:`build_cohort`, and what each step left: the rows, and :attr:`features.attrition.Attrition.steps`.

    A rule looks only at those whom the rules before it left, and the cheapest rules come first; so what a rule is said
    to have lost is what it took away from those.
    """
    require_built([cohort])
    _refuse_unknown_attributes(city, cohort.where)
    days = None if as_of_dates is None else sorted(set(as_of_dates))
    rules = _rules(city, cohort, label)
    if cohort.table is not None and not rules:
        found, table = _of_table(city, cohort.table, days)
        named = [(f"table '{cohort.table}'", found.height)]
    else:
        begin, pieces = _candidates(city, cohort, days)
        steps = [begin, *rules]
        tally = Tally([step.step for step in steps], len(city.events.person_ids))
        found = _eligible(city, pieces, begin, rules, tally)
        table = tally.table({step.step: step.words for step in steps})
        named = [(step.name, tally.rows[step.step]) for step in steps]
    if found.is_empty():
        raise DataError(_nobody(_own_dates(city, cohort) if days is None else days, named))
    return found.select(*KEYS), table.steps


def _nobody(days: Sequence[date], named: Sequence[tuple[str, int]]) -> Fault:
    span = f"{len(days)} as-of dates from {days[0]} to {days[-1]}" if days else "no as-of date at all"
    steps = ", ".join(f"{name} leaves {n:,}" for name, n in named)
    return Fault("cohort", f"nobody is eligible at {span} ({steps})", "Widen the rules or the dates")


def _of_table(city: City, name: str, days: Sequence[date] | None) -> tuple[pl.DataFrame, Attrition]:
    table = city.cohort_table(name)
    found = table if days is None else table.filter(pl.col("as_of_date").is_in(days))
    begin = _table_step(name)
    return found, Attrition().then(begin.step, begin.words, found.height, found["person_id"].n_unique())


def had_events(city: City, keys: pl.DataFrame, rule: EventRule) -> NDArray[np.bool_]:
    """For which rows of person and as-of date an event rule holds, by what was known before the day: bool (n,).

    Parameters
    ----------
    keys : polars.DataFrame
        ``person_id``, ``as_of_date``.
    """
    rows = keyed_rows(city, keys, in_order=False).rows
    holds: NDArray[np.bool_] = _event_rule(city, rule)(rows)
    return holds


# ---- where a cohort begins -----------------------------------------------------------------------------------------

_Holds = Callable[[Rows], NDArray[np.bool_]]


class _Step(NamedTuple):
    """One step of a cohort: its name in the attrition table, in a refusal, in words; and for whom it holds."""

    step: str
    name: str
    words: str
    holds: _Holds | None = None


def _table_step(name: str) -> _Step:
    return _Step("table", f"table '{name}'", f"rows of the ready-made table '{name}'")


def _candidates(city: City, cohort: CohortSpec, days: Sequence[date] | None) -> tuple[_Step, Iterable[Rows]]:
    """Everyone whom the rules are to look at, in the order of date and person, in pieces that fit in memory."""
    if cohort.table is not None:
        table, _ = _of_table(city, cohort.table, days)
        place = keyed_rows(city, table).rows if table.height else _no_rows()
        return _table_step(cohort.table), _in_pieces(place)
    as_of = cohort.as_of
    assert as_of is not None  # a cohort is born with a table or days
    if as_of.on is not None:
        place = _triggered(city, as_of)
        if days is not None:
            among = np.isin(place.as_of, _midnights(days))
            place = Rows(place.person[among], place.as_of[among])
        return _Step("event", f"event {as_of.on}", trigger_in_words(as_of)), _in_pieces(place)
    asked = _midnights(_own_dates(city, cohort) if days is None else days)
    everyone = np.arange(len(city.events.person_ids), dtype=np.uint32)
    pieces = (Rows(everyone, np.full(everyone.size, midnight)) for midnight in asked)
    dates = "1 as-of date" if asked.size == 1 else f"{asked.size:,} as-of dates"
    return _Step("everyone", "everyone", f"everyone in the city at {dates}"), pieces


def _midnights(days: Sequence[date]) -> NDArray[np.int64]:
    return np.array([(day - _EPOCH).days for day in days], dtype=np.int64) * DAY_US


def _no_rows() -> Rows:
    return Rows(np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64))


def _in_pieces(rows: Rows) -> Iterator[Rows]:
    for start in range(0, rows.person.size, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        yield Rows(rows.person[part], rows.as_of[part])


def _triggered(city: City, days: AsOfSpec) -> Rows:
    """Each person at each day that follows their events: the day after each became known, and ``after_days`` more.

    Several events that became known on one day are one row; days after the extract date are none.
    """
    assert days.on is not None and days.after_days is not None
    log = city.events
    wanted = np.array([matches(code, [days.on]) for code in log.codes], dtype=np.bool_)
    at = np.flatnonzero(wanted[log.code])
    if not at.size:
        return _no_rows()
    known = (log.time if log.known is None else log.known)[at]
    day = known // DAY_US + 1 + days.after_days
    person = np.searchsorted(log.offsets, at, side="right").astype(np.int64) - 1
    order = np.lexsort((person, day))
    person, day = person[order], day[order]
    first = np.ones(day.size, dtype=np.bool_)
    first[1:] = (day[1:] != day[:-1]) | (person[1:] != person[:-1])
    first &= day <= (city.extract_date - _EPOCH).days
    return Rows(person[first].astype(np.uint32), day[first] * DAY_US)


# ---- the rules -----------------------------------------------------------------------------------------------------


def _eligible(city: City, pieces: Iterable[Rows], begin: _Step, rules: Sequence[_Step], tally: Tally) -> pl.DataFrame:
    """Rows for which every rule holds, and in ``tally`` what each left."""
    ids = city.events.person_ids
    found = [pl.DataFrame(schema=KEYS)]
    for rows in pieces:
        tally.add(begin.step, rows.person)
        for rule in rules:
            assert rule.holds is not None  # only a beginning has no rule
            holds = rule.holds(rows)
            rows = Rows(rows.person[holds], rows.as_of[holds])
            tally.add(rule.step, rows.person)
        day = pl.Series(rows.as_of // DAY_US, dtype=pl.Int64).cast(pl.Int32).cast(pl.Date)
        found.append(pl.DataFrame({"person_id": ids.gather(rows.person), "as_of_date": day}))
    return pl.concat(found)


def _rules(city: City, cohort: CohortSpec, label: LabelSpec | None) -> list[_Step]:
    rules: list[_Step] = []
    if cohort.age is not None:
        youngest, oldest = cohort.age
        rules.append(_Step("age", f"age {youngest}-{oldest}", age_in_words(cohort.age), _of_age(city, cohort.age)))
    for i, where in enumerate(cohort.where):
        name = f"where {where.attribute}"
        rules.append(_Step(f"where[{i}]", name, attribute_in_words(where), _attribute_rule(city, where)))
    if cohort.washout_days is not None:
        words = f"known to the city (an event of any kind) for at least {cohort.washout_days} days"
        holds = _observed(city, cohort.washout_days)
        rules.append(_Step("washout_days", f"washout_days {cohort.washout_days}", words, holds))
    for i, event in enumerate(cohort.with_):
        name = f"with {', '.join(event.codes)}"
        rules.append(_Step(f"with[{i}]", name, with_in_words(event), _event_rule(city, event)))
    for i, event in enumerate(cohort.without):
        name = f"without {', '.join(event.codes)}"
        rules.append(_Step(f"without[{i}]", name, without_in_words(event), _negated(_event_rule(city, event))))
    if cohort.prior_outcome is not None:
        rules.append(_no_prior_outcome(city, cohort.prior_outcome, label))
    return rules


def _no_prior_outcome(city: City, window: Window, label: LabelSpec | None) -> _Step:
    if label is None:
        wrong = "leaves out those who already have an event of the label's codes, and no label is given"
        raise SpecError(Fault("cohort.prior_outcome", wrong, "Give the label too, or use without"))
    words = f"no event of the label ({' or '.join(label.codes)}) {window_in_words(window)}"
    holds = _negated(_event_rule(city, EventRule(codes=label.codes, window=window)))
    return _Step("prior_outcome", f"prior_outcome {window.label}", words, holds)


def _of_age(city: City, ages: tuple[int, int]) -> _Holds:
    def holds(rows: Rows) -> NDArray[np.bool_]:
        years = np.floor(age_on(city, rows))
        return (years >= ages[0]) & (years <= ages[1])

    return holds


def _observed(city: City, days: int) -> _Holds:
    """An event of any code so many days before, or earlier, that was known before the as-of date."""
    time, known, _, _, offsets = log_arrays(city.events)

    def holds(rows: Rows) -> NDArray[np.bool_]:
        seen = np.empty(rows.person.size, dtype=np.bool_)
        # An event is on its day at some time: what happened on the day itself still counts.
        stop = frozen(rows.as_of - (days - 1) * DAY_US)
        observed_by(time, known, offsets, frozen(rows.person), stop, frozen(rows.as_of), seen)
        return seen

    return holds


def _negated(rule: _Holds) -> _Holds:
    return lambda rows: ~rule(rows)


def _event_rule(city: City, rule: EventRule) -> _Holds:
    layout = lay_out([Group(rule.codes, [rule.window], ["count"], 0)], city.events.codes, 1)
    return lambda rows: sweep(city.events, layout, rows.person, rows.as_of)[:, 0] >= rule.at_least


def _attribute_rule(city: City, rule: AttributeRule) -> _Holds:
    history = attribute_history(city, rule.attribute)
    assert history is not None  # refused before
    fits = history.values.is_in([str(value) for value in rule.one_of]).to_numpy()
    fits = np.append(fits, False)  # read where the number of the value is -1
    return lambda rows: fits[history.on(rows)]


def _refuse_unknown_attributes(city: City, rules: Sequence[AttributeRule]) -> None:
    known = attributes_of(city)
    faults = [
        Fault(
            f"cohort.where[{i}].attribute",
            f"'{rule.attribute}' is neither a fixed column of persons nor in history",
            did_you_mean(rule.attribute, known),
        )
        for i, rule in enumerate(rules)
        if rule.attribute not in known
    ]
    if faults:
        raise DataError(*faults)
