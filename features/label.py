"""What followed after each as-of date, under the knowledge and censoring rules of the contract.

Features end at the as-of date, and the label is looked for from ``starts_after_days`` later: the *time at risk*. Who
leaves the city within it has not been followed to the end, which is another thing than not being in need.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.arrays import DAY_US, frozen
from features.city import City, DataError, matches
from features.keyed_rows import KeyedRows, keyed_rows
from features.label_kernels import DAYS, EVER, MAX, MIN, SUM, label_windows, measured_until
from features.spec import LabelSpec, require_built
from features.sweep import log_arrays

_EPOCH = date(1970, 1, 1)
_MEASURES = {"days": DAYS, "sum": SUM, "max": MAX, "min": MIN}


class Outcome(NamedTuple):
    """What followed, row by row.

    Attributes
    ----------
    y : float64 (n,)
        1, 0, or NaN where it is not known under the label's ``censoring``.
    followed_days : float64 (n,)
        Days from the as-of date until the label was decided, the person left, or the horizon ended, whichever came
        first; what happened on the as-of date itself is at 0. NaN where the row is not mature.
    censored : bool (n,)
        The person left before the label was decided, whatever ``censoring`` makes of that; False where not mature.
    """

    y: NDArray[np.float64]
    followed_days: NDArray[np.float64]
    censored: NDArray[np.bool_]

    @property
    def is_mature(self) -> NDArray[np.bool_]:
        """Whether the window and its reporting delay had passed by the extract date: bool (n,)."""
        return ~np.isnan(self.followed_days)


def build_label(city: City, keys: pl.DataFrame, label: LabelSpec) -> NDArray[np.float64]:
    """Whether the need appeared after each key's as-of date: 1, 0, or NaN where that is not known.

    Parameters
    ----------
    keys : person_id, as_of_date; in any order, which the result follows

    Returns
    -------
    float64 (n,)
        ``y`` of :func:`outcome_of`.
    """
    require_built([label])
    return outcome_of(city, keyed_rows(city, keys), label).y


def outcome_of(city: City, place: KeyedRows, label: LabelSpec) -> Outcome:
    """Whether the need appeared, how long each row was followed, and who left before it was decided.

    Not known: the window and its reporting delay reach past the extract date; or a censoring event came between the
    as-of date and the end of the horizon, on an earlier day than the label was decided, and ``censoring`` is ``drop``
    or ``ipcw``. The label is *decided* once no further event could undo it: as many days, or as large a maximum, as
    ``at_least`` asks for, more than ``at_most`` allows; a minimum below ``at_least``, or one that is low enough for
    ``at_most``. A sum of values that may be negative is taken as it stood at the end of the day of leaving. What
    happened on that day still counts: which came first within a day is not known.

    Parameters
    ----------
    place : KeyedRows (n,)

    Examples
    --------
    A label of 30 days; the person leaves on the tenth day after the as-of date, and nothing had happened by then::

        censoring   min_days_at_risk   y     followed_days   censored
        drop        not given          NaN   10              yes
        negative    not given          0     10              yes
        drop        10                 0     10              no: followed for long enough

    Source: time at risk and minimum time at risk as in Reps et al. 2018, JAMIA 25: 969-975.
    """
    n = place.person.size
    end = place.as_of + label.horizon_days * DAY_US
    leaves = np.full(n, EVER)
    if label.censored_by:
        leaves = look_ahead(city, place, label, label.censored_by, starts_after_days=0).first_time
    leaves_day = np.where(leaves < EVER, leaves // DAY_US * DAY_US, EVER)
    state, decided_on = _measured(city, place, label, np.minimum(end, leaves_day + DAY_US))
    decided, left = decided_on < EVER, leaves < EVER
    until = np.where(decided, decided_on // DAY_US * DAY_US, np.minimum(leaves_day, end))
    followed_days = (until - place.as_of) / DAY_US
    censored = left & ~decided
    if label.min_days_at_risk is not None:
        censored &= followed_days - label.starts_after_days < label.min_days_at_risk
    mature = place.as_of <= _last_mature(city, label)
    known = mature if label.censoring == "negative" else mature & ~censored
    return Outcome(
        y=np.where(known, state & ~censored, np.nan),
        followed_days=np.where(mature, followed_days, np.nan),
        censored=censored & mature,
    )


def _measured(
    city: City, place: KeyedRows, label: LabelSpec, stop: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether the label holds by what happened until ``stop``, and µs on the day that decided it (``EVER``: none)."""
    n = place.person.size
    beyond_since, has_value = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.bool_)
    bound = label.at_most if label.at_least is None else label.at_least
    assert bound is not None  # a label is born with one of the two
    measured_until(
        *log_arrays(city.events),
        frozen(place.person),
        frozen(place.as_of + label.starts_after_days * DAY_US),
        frozen(stop),
        frozen(_told_by(place, label)),
        _wanted(city, label.codes),
        _MEASURES[label.measure],
        label.at_least is not None,
        bound,
        beyond_since,
        has_value,
    )
    beyond = beyond_since < EVER
    # Going beyond the bound is reaching at_least for what rises, and breaking it for a minimum, which falls. A measure
    # without any value reaches neither bound.
    reaches = (label.at_least is not None) == (label.measure != "min")
    return (beyond if reaches else has_value & ~beyond), beyond_since


def produced_by_contacts(city: City, keys: pl.DataFrame, label: LabelSpec) -> NDArray[np.bool_] | None:
    """Whether an event that only an earlier contact of a service produces counts towards each row's label: bool (n,).

    The label may hold without that event too, so a share of such labels is the most that contacts can have produced.
    None where the label does not say which of its codes are of contacts.
    """
    if label.contact_codes is None:
        return None
    both = [code for code in city.events.codes if matches(code, label.codes) and matches(code, label.contact_codes)]
    if not both:
        return np.zeros(keys.height, dtype=np.bool_)
    seen: NDArray[np.bool_] = look_ahead(city, keyed_rows(city, keys), label, both).days > 0
    return seen


def label_values(city: City, keys: pl.DataFrame, label: LabelSpec) -> NDArray[np.float64] | None:
    """The sum of values behind each row's label, 0 without any: float64 (n,); None where it measures something else."""
    if label.measure != "sum":
        return None
    sums: NDArray[np.float64] = np.nan_to_num(look_ahead(city, keyed_rows(city, keys), label, label.codes).totals[0])
    return sums


class _Ahead(NamedTuple):
    """What happened in the windows of some rows; see :func:`features.label_kernels.label_windows`."""

    days: NDArray[np.int64]
    totals: NDArray[np.float64]
    first_time: NDArray[np.int64]


def look_ahead(
    city: City, place: KeyedRows, label: LabelSpec, codes: Sequence[str], starts_after_days: int | None = None
) -> _Ahead:
    """Events of some codes in the label's time at risk, or from so many days after the as-of date, as it is known."""
    n, wait = place.person.size, label.starts_after_days if starts_after_days is None else starts_after_days
    ahead = _Ahead(np.empty(n, dtype=np.int64), np.empty((3, n)), np.empty(n, dtype=np.int64))
    label_windows(
        *log_arrays(city.events),
        frozen(place.person),
        frozen(place.as_of + wait * DAY_US),
        frozen(place.as_of + label.horizon_days * DAY_US),
        frozen(_told_by(place, label)),
        _wanted(city, codes),
        *ahead,
    )
    return ahead


def _told_by(place: KeyedRows, label: LabelSpec) -> NDArray[np.int64]:
    """µs by which an event must have become known to count."""
    return place.as_of + (label.horizon_days + label.reporting_delay_days) * DAY_US


def _wanted(city: City, codes: Sequence[str]) -> NDArray[np.bool_]:
    wanted: NDArray[np.bool_] = frozen(np.array([matches(code, codes) for code in city.events.codes], dtype=np.bool_))
    return wanted


def _last_mature(city: City, label: LabelSpec) -> int:
    """µs of the last as-of date whose window and reporting delay have passed by the extract date."""
    return ((city.extract_date - _EPOCH).days - label.horizon_days - label.reporting_delay_days) * DAY_US


def refuse_empty_label(city: City, place: KeyedRows, label: LabelSpec, outcome: Outcome) -> None:
    """DataError when a label is known for no row, or occurs in none."""
    n, known = outcome.y.size, ~np.isnan(outcome.y)
    if not outcome.is_mature.any():
        last = _EPOCH + timedelta(days=_last_mature(city, label) // DAY_US)
        wrong = (
            f"is known for none of {n:,} rows; as-of dates up to {last} are mature by {city.extract_date}, and "
            f"the first is {place.keys['as_of_date'].to_list()[0]}"
        )
        raise DataError(Fault("label", wrong, "Look from earlier days, or shorten horizon_days or the delay"))
    if not known.any():
        n_mature = int(outcome.is_mature.sum())
        wrong = (
            f"is known for none of {n_mature:,} mature rows: everyone left ({', '.join(label.censored_by)}) before it "
            "was decided"
        )
        raise DataError(Fault("label", wrong, "Mend censored_by, shorten horizon_days, or give min_days_at_risk"))
    if not (outcome.y[known] == 1).any():
        raise DataError(Fault("label", _why_nobody(city, place, label, known), _MEND_NOBODY))


_MEND_NOBODY = "Mend its codes or its bound, or look from other days"


def _why_nobody(city: City, place: KeyedRows, label: LabelSpec, known: NDArray[np.bool_]) -> str:
    """Why no row of known outcome is in need: the codes never come, or never often (or high, or low) enough."""
    codes, n = ", ".join(label.codes), int(known.sum())
    n_with = int(np.count_nonzero(look_ahead(city, place, label, label.codes).days[known]))
    if not n_with:
        return f"never occurs: {codes} in none of {n:,} rows whose label is known"
    if label.at_least is not None:
        bound = f"reaches at_least = {label.at_least:g}"
    else:
        bound = f"keeps to at_most = {label.at_most:g}"
    of = "" if label.measure == "days" else f" (the {label.measure} of its values)"
    return f"no row {bound} of {codes}{of}, though {n_with:,} of {n:,} rows whose label is known have it"
