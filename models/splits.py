"""Which as-of dates to learn from and which to judge on, with label horizons kept clear.

A label looks ahead, so a date may be learnt from only if its label was complete when the judged date came: a unit
that had trained on that day could not have known more. A worked example, with a label of 215 days, no reporting
delay, and an extract that ends on 2014-12-31::

    as-of date   label complete   mature (by 2014-12-31)   may teach 2014-04-02
    2013-04-02   2013-11-03       yes                      yes
    2013-11-30   2014-07-03       yes                      no: its label ends after 2014-04-02
    2014-04-02   2014-11-03       yes                      it is the judged date itself

Where each person's as-of date follows an event, dates are tested in periods, and a period's model learns only from
dates whose label was complete on the period's first day: one model serves the whole period.

>>> from datetime import date
>>> from features.spec import LabelSpec
>>> from models.need_parts import Splits
>>> days = [date(2013, 4, 2), date(2013, 11, 30), date(2014, 4, 2)]
>>> label = LabelSpec(codes=["edu.result.fail:*"], horizon_days=215)
>>> split = split_periods(days, label, date(2014, 12, 31), Splits(kind="temporal", tests=1, judged=1))
>>> [str(day) for day in split.train_dates], [str(day) for day in split.judged_dates]
(['2013-04-02'], ['2014-04-02'])
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl

from ethics.refusals import BadInput, Fault
from features.spec import LabelSpec
from models.need_parts import Splits

TEST_SHARE_OF_PERSONS = 0.25

TRAIN, TEST, JUDGED, NOT_MATURE, NOT_USED = "train", "test", "judged", "not mature", "not used"
"""Roles of an as-of date at an origin, as :meth:`Split.timeline` names them."""


@dataclass(frozen=True)
class Origin:
    """A test period and the dates whose labels were complete when it began.

    Attributes
    ----------
    test_date : date
        First day of the test period; where as-of dates are fixed, the test date itself.
    train_dates : tuple of date
    test_dates : tuple of date
        As-of dates of the period: ``test_date`` alone, unless as-of dates follow an event.
    """

    test_date: date
    train_dates: tuple[date, ...]
    test_dates: tuple[date, ...] = ()

    def __post_init__(self) -> None:
        """A fixed date is a period of its own."""
        if not self.test_dates:
            object.__setattr__(self, "test_dates", (self.test_date,))


@dataclass(frozen=True)
class Split:
    """Who teaches and who is tested.

    Attributes
    ----------
    kind : "temporal", "person" or "rule"
        A rule is taught by nothing. A split of persons shows what a model could do at best; it is never approved.
    origins : tuple of Origin
        One per test period, in time order; the pooled figures over them describe the procedure.
    judged_dates : tuple of date
        Test dates on which the candidate is judged. The candidate is what the first of them could have used.
    as_of_dates : tuple of date
        All the cohort's, those that serve for nothing too.
    ahead_days : int
        From an as-of date to the end of its label, reporting delay included.
    extract_date : date
        The last day the city's data cover.
    """

    kind: Literal["temporal", "person", "rule"]
    origins: tuple[Origin, ...]
    judged_dates: tuple[date, ...]
    as_of_dates: tuple[date, ...] = ()
    ahead_days: int = 0
    extract_date: date = date.max

    @property
    def candidate(self) -> Origin:
        """The origin of the only model that may be approved."""
        return next(origin for origin in self.origins if self.judged_dates[0] in origin.test_dates)

    @property
    def train_dates(self) -> tuple[date, ...]:
        """Dates from which the candidate learns."""
        return self.candidate.train_dates

    @property
    def test_dates(self) -> tuple[date, ...]:
        """Every date on which something is tested."""
        return tuple(day for origin in self.origins for day in origin.test_dates)

    def timeline(self) -> pl.DataFrame:
        """What every as-of date serves for at every origin: the table behind a plot of the split.

        Returns
        -------
        polars.DataFrame
            ``origin`` (first day of the test period), ``date`` (as-of), ``role`` (train, test, judged, not mature:
            its label ends after the extract, or not used: its label was not complete when the period began, or it
            lies beyond), ``label_ends`` (reporting delay included), by origin, date and role. In a split of persons
            a date both teaches and is judged, by different persons, and has two rows.
        """
        ahead, judged = timedelta(days=self.ahead_days), set(self.judged_dates)
        everyone = {*self.as_of_dates, *(day for o in self.origins for day in (*o.train_dates, *o.test_dates))}
        rows = []
        for origin in self.origins:
            taught, tested = set(origin.train_dates), set(origin.test_dates)
            for day in sorted(everyone):
                ends = _after(day, ahead)
                roles = [TRAIN] if day in taught else []
                roles += [JUDGED if day in judged else TEST] if day in tested else []
                idle = NOT_MATURE if ends > self.extract_date else NOT_USED
                rows += [(origin.test_date, day, role, ends) for role in roles or [idle]]
        schema = {"origin": pl.Date, "date": pl.Date, "role": pl.String, "label_ends": pl.Date}
        return pl.DataFrame(rows, schema=schema, orient="row")


def split_periods(
    as_of_dates: Sequence[date],
    label: LabelSpec | None,
    extract_date: date,
    splits: Splits | None,
    *,
    period_days: int | None = None,
) -> Split:
    """Divide as-of dates into learning and judging.

    Parameters
    ----------
    as_of_dates : sequence of date
        The cohort's, in any order.
    label : LabelSpec or None
        None for a rule without a label: every date by the extract date can be looked at.
    extract_date : date
        The last day the city's data cover.
    splits : Splits or None
        None for a rule, which learns from nothing and is judged on the last mature period.
    period_days : int, optional
        As-of dates that follow an event are tested in periods of so many days, counted back from the last mature one;
        a period without dates is passed over. Left out: each date is a period of its own.

    Raises
    ------
    BadInput
        No date is mature; fewer mature periods than ``tests``; nothing to learn from before a test period.
    """
    ahead = timedelta(days=label.horizon_days + label.reporting_delay_days if label else 0)
    days = sorted(set(as_of_dates))
    mature = [day for day in days if _after(day, ahead) <= extract_date]
    if not mature:
        raise BadInput(_nothing_mature(days, ahead, extract_date))
    periods = _periods(mature, period_days)
    whole = tuple(days), ahead.days, extract_date
    if splits is None:
        start, tested = periods[-1]
        return Split("rule", (Origin(start, (), tested),), tested, *whole)
    if splits.kind == "person":
        every = tuple(mature)
        return Split("person", tuple(Origin(start, every, tested) for start, tested in periods), every, *whole)
    if len(periods) < splits.tests:
        raise BadInput(_too_few(splits.tests, len(periods), len(days), period_days, extract_date))
    origins = tuple(
        Origin(start, tuple(day for day in mature if _after(day, ahead) <= start), tested)
        for start, tested in periods[-splits.tests :]
    )
    untaught = [origin for origin in origins if not origin.train_dates]
    if untaught:
        fewer = len(untaught) < len(origins)
        raise BadInput(*(_nothing_learnt(origin, days[0], ahead, period_days, fewer) for origin in untaught))
    judged = tuple(day for origin in origins[-splits.judged :] for day in origin.test_dates)
    return Split("temporal", origins, judged, *whole)


def _periods(mature: Sequence[date], period_days: int | None) -> list[tuple[date, tuple[date, ...]]]:
    """First day and as-of dates of each period, earliest first; periods are counted back from the last date."""
    if period_days is None:
        return [(day, (day,)) for day in mature]
    by_number: dict[int, list[date]] = {}
    for day in mature:
        by_number.setdefault((mature[-1] - day).days // period_days, []).append(day)
    return [
        (_after(mature[-1], timedelta(days=1 - (number + 1) * period_days)), tuple(found))
        for number, found in sorted(by_number.items(), reverse=True)
    ]


def _after(day: date, ahead: timedelta) -> date:
    """So much later, or the last day there is: a ready-made table may hold days at the end of the calendar."""
    return day + ahead if ahead <= date.max - day else date.max


def _too_few(tests: int, n_periods: int, n_days: int, period_days: int | None, extract_date: date) -> Fault:
    if period_days is None:
        wrong = f"is {tests}, and only {n_periods} of the {n_days} dates are mature by {extract_date}"
    else:
        wrong = f"is {tests}, and only {n_periods} periods of {period_days} days are mature by {extract_date}"
    # The first mature period has nothing before it to learn from.
    fewer = f"Give at most {n_periods - 1}, start" if n_periods > 1 else "Start"
    return Fault("splits.tests", wrong, f"{fewer} the cohort earlier, or use a later extract")


def _nothing_learnt(origin: Origin, first: date, ahead: timedelta, period_days: int | None, fewer: bool) -> Fault:
    """``fewer``: testing fewer dates would help, since a later one could be learnt for."""
    what = "the test date" if period_days is None else "the test period that begins on"
    wrong = (
        f"nothing can be learnt before {what} {origin.test_date}: the earliest label, of {first}, "
        f"is complete on {_after(first, ahead)}"
    )
    mend = "Test fewer dates, start the cohort earlier" if fewer else "Start the cohort earlier, use a later extract"
    return Fault("splits.tests", wrong, f"{mend}, or shorten label.horizon_days")


def _nothing_mature(days: Sequence[date], ahead: timedelta, extract_date: date) -> Fault:
    if not days:
        return Fault("cohort.as_of", "gives no as-of date", "Widen the dates, or check the cohort's table")
    wrong = (
        f"looks {ahead.days} days ahead (reporting delay included), so even the earliest as-of date, {days[0]}, needs "
        f"data up to {_after(days[0], ahead)}, and the extract ends on {extract_date}"
    )
    return Fault("label.horizon_days", wrong, "Shorten the horizon, start the cohort earlier, or use a later extract")


def places_for(k: int, part: int, whole: int) -> int:
    """Places that a part of the people would have if the unit's capacity were shared out by head; at least 1.

    Figures among a part at the whole capacity would flatter: a hundred places find everybody among eighty.

    Parameters
    ----------
    k : int
        Capacity of the whole.
    part, whole : int
        Rows (or persons) of each.

    >>> places_for(60, 25, 100), places_for(60, 1, 100_000)
    (15, 1)
    """
    return max(1, round(k * part / whole)) if whole else 1


def is_test_person(person_ids: Sequence[str], seed: int) -> np.ndarray:
    """Which persons a split of persons holds out: a quarter, by a hash of seed and id, so the same in every run.

    Parameters
    ----------
    person_ids : sequence of str (n,)
    seed : int

    Returns
    -------
    bool (n,)
    """
    return hash_share(person_ids, f"person split {seed}") < TEST_SHARE_OF_PERSONS


def hash_share(person_ids: Sequence[str], salt: str) -> np.ndarray:
    """A number in [0, 1) per person, fixed by id and salt alone: float64 (n,)."""
    start = hashlib.blake2b(salt.encode(), digest_size=8)
    shares = np.empty(len(person_ids), dtype=np.uint64)
    for i, person_id in enumerate(person_ids):
        state = start.copy()
        state.update(b"|")
        state.update(person_id.encode())
        shares[i] = int.from_bytes(state.digest(), "little")
    return (shares >> np.uint64(11)) * 2.0**-53
