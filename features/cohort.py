"""Who is eligible at which as-of dates: a ready-made table, or rules that must all hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault, did_you_mean
from features.arrays import DAY_US
from features.attributes import age_on, attribute_history, attributes_of
from features.city import City, DataError
from features.keyed_rows import KEYS, Rows
from features.spec import AttributeRule, CohortSpec, EventRule, require_built
from features.sweep import Group, lay_out, sweep

_EPOCH = date(1970, 1, 1)


def as_of_dates(city: City, cohort: CohortSpec) -> list[date]:
    """The days a cohort is looked at from, earliest first."""
    return _own_dates(city, cohort)


def _own_dates(city: City, cohort: CohortSpec) -> list[date]:
    if cohort.table is not None:
        return city.cohort_table(cohort.table)["as_of_date"].unique().sort().to_list()
    require_built([cohort])
    days = cohort.as_of
    assert days is not None and days.first is not None and days.last is not None and days.every_days is not None
    return [days.first + timedelta(days=i * days.every_days) for i in range(days.n_days)]


def build_cohort(city: City, cohort: CohortSpec, as_of_dates: Sequence[date] | None = None) -> pl.DataFrame:
    """Who is eligible at which as-of dates: person_id, as_of_date, in the order of date and person.

    Parameters
    ----------
    as_of_dates : sequence of date, optional
        Look from these days instead of the cohort's own (a table keeps those it has).

    Raises
    ------
    DataError
        Nobody is eligible (with how many each rule left), or a rule asks for an attribute the city does not have.
    SpecError
        A part that is not built yet.
    """
    require_built([cohort])
    days = sorted(set(_own_dates(city, cohort) if as_of_dates is None else as_of_dates))
    if cohort.table is not None:
        table = city.cohort_table(cohort.table)
        found = table if as_of_dates is None else table.filter(pl.col("as_of_date").is_in(days))
        left = [(f"table '{cohort.table}'", found.height)]
    else:
        found, left = _eligible(city, cohort, days)
    if found.is_empty():
        span = f"{len(days)} as-of dates from {days[0]} to {days[-1]}" if days else "no as-of date at all"
        steps = ", ".join(f"{name} leaves {n:,}" for name, n in left)
        raise DataError(Fault("cohort", f"nobody is eligible at {span} ({steps})", "Widen the rules or the dates"))
    return found.select(*KEYS)


def _eligible(city: City, cohort: CohortSpec, days: Sequence[date]) -> tuple[pl.DataFrame, list[tuple[str, int]]]:
    """Persons for whom every rule holds at each day, and how many rows each rule left.

    A rule looks only at those whom the rules before it left, and the cheapest rules come first.
    """
    _refuse_unknown_attributes(city, cohort.where)
    ids, rules = city.events.person_ids, _rules(city, cohort)
    left = {"everyone": len(ids) * len(days), **dict.fromkeys((name for name, _ in rules), 0)}
    found = [pl.DataFrame(schema=KEYS)]
    for day in days:
        person = np.arange(len(ids), dtype=np.uint32)
        for name, rule in rules:
            person = person[rule(Rows(person, np.full(person.size, (day - _EPOCH).days * DAY_US)))]
            left[name] += person.size
        found.append(pl.DataFrame({"person_id": ids.gather(person)}).with_columns(as_of_date=pl.lit(day)))
    return pl.concat(found), list(left.items())


_Rule = Callable[[Rows], NDArray[np.bool_]]


def _rules(city: City, cohort: CohortSpec) -> list[tuple[str, _Rule]]:
    rules: list[tuple[str, _Rule]] = []
    if cohort.age is not None:
        youngest, oldest = cohort.age

        def of_age(rows: Rows) -> NDArray[np.bool_]:
            years = np.floor(age_on(city, rows))
            return (years >= youngest) & (years <= oldest)

        rules.append((f"age {youngest}-{oldest}", of_age))
    rules += [(f"where {rule.attribute}", _attribute_rule(city, rule)) for rule in cohort.where]
    rules += [(f"with {', '.join(rule.codes)}", _event_rule(city, rule)) for rule in cohort.with_]
    for rule in cohort.without:
        rules.append((f"without {', '.join(rule.codes)}", _negated(_event_rule(city, rule))))
    return rules


def _negated(rule: _Rule) -> _Rule:
    return lambda rows: ~rule(rows)


def _event_rule(city: City, rule: EventRule) -> _Rule:
    layout = lay_out([Group(rule.codes, [rule.window], ["count"], 0)], city.events.codes, 1)
    return lambda rows: sweep(city.events, layout, rows.person, rows.as_of)[:, 0] >= rule.at_least


def _attribute_rule(city: City, rule: AttributeRule) -> _Rule:
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
