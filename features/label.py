"""What followed after each as-of date, under the knowledge and censoring rules of the contract."""

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
from features.label_kernels import EVER, label_windows
from features.spec import LabelSpec, require_built
from features.sweep import log_arrays

_EPOCH = date(1970, 1, 1)


def build_label(city: City, keys: pl.DataFrame, label: LabelSpec) -> NDArray[np.float64]:
    """Whether the need appeared after each key's as-of date: 1, 0, or NaN where that is not known.

    Not known: the window and its reporting delay reach past the extract date; or, where ``censoring`` is ``drop``, a
    censoring event came on an earlier day than the label was decided. What happened up to the day of the first
    censoring event is taken into account: ``at_least`` reached by then is 1, ``at_most`` exceeded by then is 0.

    Parameters
    ----------
    keys : person_id, as_of_date; in any order, which the result follows

    Returns
    -------
    float64 (n,)
    """
    require_built([label])
    return label_of(city, keyed_rows(city, keys), label)


class _Ahead(NamedTuple):
    """What happened in the windows of some rows; see :func:`features.label_kernels.label_windows`."""

    days: NDArray[np.int64]
    totals: NDArray[np.float64]
    first_time: NDArray[np.int64]


def look_ahead(
    city: City, place: KeyedRows, label: LabelSpec, codes: Sequence[str], stop: NDArray[np.int64] | None = None
) -> _Ahead:
    """Events of some codes in the label's window, or until ``stop`` if that comes first, under its knowledge rule."""
    wanted = np.array([matches(code, codes) for code in city.events.codes], dtype=np.bool_)
    end = place.as_of + label.horizon_days * DAY_US
    n = place.person.size
    ahead = _Ahead(np.empty(n, dtype=np.int64), np.empty((3, n)), np.empty(n, dtype=np.int64))
    label_windows(
        *log_arrays(city.events),
        frozen(place.person),
        frozen(place.as_of),
        frozen(end if stop is None else np.minimum(end, stop)),
        frozen(end + label.reporting_delay_days * DAY_US),
        frozen(wanted),
        *ahead,
    )
    return ahead


def label_of(city: City, place: KeyedRows, label: LabelSpec) -> NDArray[np.float64]:
    """See :func:`build_label`; for rows that are already placed."""
    y = _decide(label, look_ahead(city, place, label, label.codes))
    if label.censored_by:
        leaves = look_ahead(city, place, label, label.censored_by).first_time
        censored = leaves < EVER
        # Which came first within one day is not known, so the day of leaving still counts.
        day_after = np.where(censored, (leaves // DAY_US + 1) * DAY_US, EVER)
        by_then = _decide(label, look_ahead(city, place, label, label.codes, stop=day_after))
        decided = by_then == (0.0 if label.at_least is None else 1.0)
        y = np.where(censored & decided, by_then, y)
        y = np.where(censored & ~decided, np.nan if label.censoring == "drop" else 0.0, y)
    return np.where(place.as_of <= _last_mature(city, label), y, np.nan)


def _decide(label: LabelSpec, ahead: _Ahead) -> NDArray[np.float64]:
    if label.measure == "days":
        measured = ahead.days.astype(np.float64)
    else:
        # Values are float32, so the bound is rounded alike: a value of 0.7 reaches at_least = 0.7.
        measured = ahead.totals[("sum", "max", "min").index(label.measure)].astype(np.float32)
    # A measure without any value is NaN, and reaches neither bound.
    if label.at_most is not None:
        return (measured <= measured.dtype.type(label.at_most)).astype(np.float64)
    assert label.at_least is not None  # a label is born with one of the two
    return (measured >= measured.dtype.type(label.at_least)).astype(np.float64)


def _last_mature(city: City, label: LabelSpec) -> int:
    """µs of the last as-of date whose window and reporting delay have passed by the extract date."""
    return ((city.extract_date - _EPOCH).days - label.horizon_days - label.reporting_delay_days) * DAY_US


def refuse_empty_label(city: City, place: KeyedRows, label: LabelSpec, y: NDArray[np.float64]) -> None:
    """DataError when a label is known for no row, or occurs in none."""
    known = ~np.isnan(y)
    if not known.any():
        last = _EPOCH + timedelta(days=_last_mature(city, label) // DAY_US)
        wrong = (
            f"is known for none of {y.size:,} rows; as-of dates up to {last} are mature by {city.extract_date}, and "
            f"the first is {place.keys['as_of_date'].to_list()[0]}"
        )
        raise DataError(Fault("label", wrong, "Look from earlier days, or shorten horizon_days or the delay"))
    if not (y[known] == 1).any():
        wrong = f"never occurs: {', '.join(label.codes)} in none of {int(known.sum()):,} rows whose label is known"
        raise DataError(Fault("label", wrong, "Mend its codes or its bound, or look from other days"))
