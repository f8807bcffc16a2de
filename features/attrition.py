"""Where rows and persons were lost on the way from everyone to those a model learns from, step by step in words.

A cohort is an argument: each rule should take away whom it was meant to take away. The table says so without a name,
an id or a date of anybody (the attrition table of OHDSI's studies; the flow diagram of CONSORT).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.spec import AsOfSpec, AttributeRule, EventRule, LabelSpec
from features.windows import Window

STEPS = {"step": pl.String(), "rule": pl.String(), "rows": pl.Int64(), "persons": pl.Int64(), "rows_lost": pl.Int64()}
"""Columns of an attrition table: a short name, the rule in words, what it left, and how many rows it took away."""
_MOST_VALUES = 6


@dataclass(frozen=True)
class Attrition:
    """An attrition table that grows by one step at a time.

    Attributes
    ----------
    steps : pl.DataFrame
        As :data:`STEPS`; the first step loses nothing.

    >>> together = Attrition().then("everyone", "everyone", 10, 5).then("age", "aged 16 to 28", 4, 3)
    >>> together.steps.select("step", "rows", "persons", "rows_lost").rows()
    [('everyone', 10, 5, 0), ('age', 4, 3, 6)]
    """

    steps: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=STEPS))

    @property
    def rows(self) -> int | None:
        """Rows left by the last step; None before the first."""
        return int(self.steps["rows"][-1]) if self.steps.height else None

    def then(self, step: str, rule: str, rows: int, persons: int) -> Attrition:
        """The table with one more step, after which so many rows of so many persons are left.

        Raises
        ------
        ValueError
            More rows are left than there were, or more persons than rows.
        """
        before = rows if self.rows is None else self.rows
        if not 0 <= persons <= rows <= before:
            raise ValueError(f"step '{step}' leaves {rows} rows of {persons} persons, after {before} rows")
        one = pl.DataFrame([(step, rule, rows, persons, before - rows)], schema=STEPS, orient="row")
        return Attrition(pl.concat([self.steps, one]))


class Tally:
    """Counts what each of some steps leaves of rows that come in pieces, such as the as-of dates of a cohort."""

    def __init__(self, steps: Sequence[str], n_persons: int) -> None:
        self.rows: dict[str, int] = dict.fromkeys(steps, 0)
        self._seen = {step: np.zeros(n_persons, dtype=np.bool_) for step in steps}

    def add(self, step: str, person: NDArray[np.uint32]) -> None:
        """Take in the rows of one piece that a step left, by the dense index of their persons."""
        self.rows[step] += person.size
        self._seen[step][person] = True

    def table(self, rules: Mapping[str, str]) -> Attrition:
        """The steps as a table; ``rules`` says each in words."""
        table = Attrition()
        for step, rows in self.rows.items():
            table = table.then(step, rules[step], rows, int(np.count_nonzero(self._seen[step])))
        return table


# ---- rules in words ------------------------------------------------------------------------------------------------


def window_in_words(window: Window) -> str:
    """When, seen from the as-of date.

    >>> [window_in_words(Window.parse(w)) for w in (30, [90, 365], "1mo", "ever")]
    ['in the 30 days before', 'from 365 to 90 days before', 'in the month before', 'ever before']
    """
    if window.unit == "ever":
        return "ever before"
    if window.near:
        return f"from {window.far} to {window.near} days before"
    one = "day" if window.unit == "days" else "month"
    return f"in the {one} before" if window.far == 1 else f"in the {window.far} {one}s before"


def age_in_words(ages: tuple[int, int]) -> str:
    """Both ends are in."""
    return f"aged {ages[0]} to {ages[1]} in whole years"


def attribute_in_words(rule: AttributeRule) -> str:
    """Long lists by their length."""
    if len(rule.one_of) > _MOST_VALUES:
        return f"{rule.attribute} is one of {len(rule.one_of)} values"
    return f"{rule.attribute} is {' or '.join(map(str, rule.one_of))}"


def with_in_words(rule: EventRule) -> str:
    """Events a person must have."""
    events = "event" if rule.at_least == 1 else "events"
    return f"at least {rule.at_least} {events} of {' or '.join(rule.codes)} {window_in_words(rule.window)}"


def without_in_words(rule: EventRule) -> str:
    """Events a person must not have."""
    how_many = "no event" if rule.at_least == 1 else f"fewer than {rule.at_least} events"
    return f"{how_many} of {' or '.join(rule.codes)} {window_in_words(rule.window)}"


def trigger_in_words(days: AsOfSpec) -> str:
    """The day a cohort that follows an event looks from."""
    wait = 1 + (days.after_days or 0)
    return f"{wait} {'day' if wait == 1 else 'days'} after the city came to know of {days.on}, by the extract date"


def censoring_in_words(label: LabelSpec) -> str:
    """Who is kept where some left: how many that takes away is the table's to say."""
    followed = "those followed until the outcome was decided"
    if label.min_days_at_risk is not None:
        followed += f", or for at least {label.min_days_at_risk} days at risk"
    left = f"those who left before ({', '.join(label.censored_by)})"
    return {
        "drop": f"{followed}, without {left}",
        "ipcw": f"{followed}, weighted to stand for {left}",
        "negative": f"{followed}, and {left}, who count as not in need",
    }[label.censoring]


# ---- from keys to a matrix -----------------------------------------------------------------------------------------


def after_label(
    table: Attrition, label: LabelSpec, persons: NDArray[np.uint32], mature: NDArray[Any], censored: NDArray[Any]
) -> Attrition:
    """The table with what the label left: rows whose outcome can be known, and those who were followed to it.

    Parameters
    ----------
    persons : uint32 (n,)
        Dense index of each row's person.
    mature, censored : bool (n,)
        See :class:`features.label.Outcome`.
    """
    ahead = f"{label.horizon_days} days"
    if label.reporting_delay_days:
        ahead += f" and {label.reporting_delay_days} more for reporting"
    known = persons[mature]
    table = table.then(
        "outcome not known", f"the {ahead} after it lie within the extract", known.size, np.unique(known).size
    )
    if label.censored_by:
        kept = known if label.censoring == "negative" else persons[mature & ~censored]
        table = table.then("censored", censoring_in_words(label), kept.size, np.unique(kept).size)
    return table


def attrition_of_keys(steps: pl.DataFrame | None, n_rows: int, n_persons: int) -> Attrition:
    """A table to go on with: that of the cohort the keys came from, or one that begins with the keys.

    Raises
    ------
    BadInput
        The steps are of another cohort: they end with another number of rows.
    """
    if steps is None:
        return Attrition().then("keys", "the rows asked for", n_rows, n_persons)
    table = Attrition(steps.select(pl.col(name).cast(kind) for name, kind in STEPS.items()))
    if table.rows != n_rows:
        wrong = f"end with {table.rows or 0:,} rows, and there are {n_rows:,} keys"
        raise BadInput(Fault("attrition", wrong, "Give the steps that came with these keys"))
    return table
