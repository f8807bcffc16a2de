"""Which as-of dates to learn from and which to judge on, with label horizons kept clear.

A label looks ahead, so a date may be learnt from only if its label was complete when the judged date came: a unit
that had trained on that day could not have known more. A worked example, with a label of 215 days, no reporting
delay, and an extract that ends on 2014-12-31::

    as-of date   label complete   mature (by 2014-12-31)   may teach 2014-04-02
    2013-04-02   2013-11-03       yes                      yes
    2013-11-30   2014-07-03       yes                      no: its label ends after 2014-04-02
    2014-04-02   2014-11-03       yes                      it is the judged date itself

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

from ethics.refusals import BadInput, Fault
from features.spec import LabelSpec
from models.need_parts import Splits

TEST_SHARE_OF_PERSONS = 0.25


@dataclass(frozen=True)
class Origin:
    """A test date and the dates whose labels were complete by then."""

    test_date: date
    train_dates: tuple[date, ...]


@dataclass(frozen=True)
class Split:
    """Who teaches and who is tested.

    Attributes
    ----------
    kind : "temporal", "person" or "rule"
        A rule is taught by nothing. A split of persons shows what a model could do at best; it is never approved.
    origins : tuple of Origin
        One per test date, in time order; the pooled figures over them describe the procedure.
    judged_dates : tuple of date
        Test dates on which the candidate is judged. The candidate is what the first of them could have used.
    """

    kind: Literal["temporal", "person", "rule"]
    origins: tuple[Origin, ...]
    judged_dates: tuple[date, ...]

    @property
    def candidate(self) -> Origin:
        """The origin of the only model that may be approved."""
        return next(origin for origin in self.origins if origin.test_date == self.judged_dates[0])

    @property
    def train_dates(self) -> tuple[date, ...]:
        """Dates from which the candidate learns."""
        return self.candidate.train_dates

    @property
    def test_dates(self) -> tuple[date, ...]:
        """Every date on which something is tested."""
        return tuple(origin.test_date for origin in self.origins)


def split_periods(
    as_of_dates: Sequence[date], label: LabelSpec | None, extract_date: date, splits: Splits | None
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
        None for a rule, which learns from nothing and is judged on the last mature date.

    Raises
    ------
    BadInput
        No date is mature; fewer mature dates than ``tests``; nothing to learn from before a test date.
    """
    ahead = timedelta(days=label.horizon_days + label.reporting_delay_days if label else 0)
    days = sorted(set(as_of_dates))
    mature = [day for day in days if _after(day, ahead) <= extract_date]
    if not mature:
        raise BadInput(_nothing_mature(days, ahead, extract_date))
    if splits is None:
        return Split("rule", (Origin(mature[-1], ()),), (mature[-1],))
    if splits.kind == "person":
        every = tuple(mature)
        return Split("person", tuple(Origin(day, every) for day in mature), every)
    if len(mature) < splits.tests:
        wrong = f"is {splits.tests}, and only {len(mature)} of the {len(days)} dates are mature by {extract_date}"
        raise BadInput(Fault("splits.tests", wrong, f"Give at most {max(1, len(mature) - 1)}, or a longer extract"))
    origins = tuple(
        Origin(test, tuple(day for day in mature if day + ahead <= test)) for test in mature[-splits.tests :]
    )
    faults = [
        Fault(
            "splits.tests",
            f"nothing can be learnt before the test date {origin.test_date}: the earliest label, of {days[0]}, "
            f"is complete on {_after(days[0], ahead)}",
            "Test fewer dates, start the cohort earlier, or shorten label.horizon_days",
        )
        for origin in origins
        if not origin.train_dates
    ]
    if faults:
        raise BadInput(*faults)
    return Split("temporal", origins, tuple(origin.test_date for origin in origins[-splits.judged :]))


def _after(day: date, ahead: timedelta) -> date:
    """So much later, or the last day there is: a ready-made table may hold days at the end of the calendar."""
    return day + ahead if ahead <= date.max - day else date.max


def _nothing_mature(days: Sequence[date], ahead: timedelta, extract_date: date) -> Fault:
    if not days:
        return Fault("cohort.as_of", "gives no as-of date", "Widen the dates, or check the cohort's table")
    wrong = (
        f"looks {ahead.days} days ahead (reporting delay included), so even the earliest as-of date, {days[0]}, needs "
        f"data up to {_after(days[0], ahead)}, and the extract ends on {extract_date}"
    )
    return Fault("label.horizon_days", wrong, "Shorten the horizon, start the cohort earlier, or use a later extract")


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
