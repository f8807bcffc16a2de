"""What a need reads beside what the city hands over: how full each column is, how it is spread, and what is not needed.

For whoever decides what data a need may have: nothing here speaks of a person. What fewer than five persons stand
behind is told as "fewer than 5", and nothing is told that it could be worked out from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.city import City, EventLog
from features.event_log import matches
from features.matrix import Matrix
from features.spec import CohortSpec, FeatureSpec, IndicatorSpec, LabelSpec, Spec
from features.windows import ZERO_WHEN_EMPTY

FEWEST = 5
"""Persons behind a number at least; also on each side of a quantile."""
FEWER = f"fewer than {FEWEST}"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BARS = " ▁▂▃▄▅▆▇█"
_N_BARS = 12
_CELLS_AT_ONCE = 2**25


@dataclass(frozen=True)
class ColumnUse:
    """How full one column is, and how its values are spread.

    Attributes
    ----------
    column, feature : str
    n_persons : int or None
        Persons with a value (for a count: with at least one event) at some as-of date; None for fewer than five.
    share : float in [0, 1], or None
        Share of rows with a value; None where it would tell of fewer than five persons, with or without one.
    quantiles : tuple of float or None
        Of the values, at :data:`QUANTILES`, to three figures; None where fewer than five persons lie on a side.
    sketch : str
        A small histogram between the outermost quantiles told; bars of fewer than five persons are left blank.
    constant : bool or None
        Whether every row holds the same; None where fewer than five persons have a value, be it nobody.
    """

    column: str
    feature: str
    n_persons: int | None
    share: float | None
    quantiles: tuple[float | None, ...]
    sketch: str
    constant: bool | None


@dataclass(frozen=True)
class UnreadCode:
    """A code of the log that the need does not read; ``n_events`` is None where it has fewer than five persons."""

    code: str
    n_events: int | None


@dataclass(frozen=True)
class Minimisation:
    """What a need reads beside what the city hands over.

    Attributes
    ----------
    n_rows, n_persons : int
        Of the matrix looked at.
    columns : tuple of ColumnUse
        In the matrix's order.
    unseen : tuple of (str, str)
        Feature, and a code it names that no event has.
    unread : tuple of UnreadCode
        Codes of the log that no feature, label, indicator or cohort rule reads, most events first.
    unread_share : float in [0, 1]
        Share of all events of the log that are of these codes, those of fewer than five persons left aside.
    constant : tuple of str
        Features of which every column is constant: they tell nobody from anybody.
    identical : tuple of tuple of str
        Columns that hold the same bytes, together; those of fewer than five persons are left aside.
    """

    n_rows: int
    n_persons: int
    columns: tuple[ColumnUse, ...]
    unseen: tuple[tuple[str, str], ...]
    unread: tuple[UnreadCode, ...]
    unread_share: float
    constant: tuple[str, ...]
    identical: tuple[tuple[str, ...], ...]

    def as_facts(self) -> dict[str, Any]:
        """Everything as plain values that JSON can hold; a number of fewer than five is "fewer than 5"."""
        return {
            **vars(self),
            "n_persons": self.n_persons if self.n_persons >= FEWEST else FEWER,
            "n_rows": self.n_rows if self.n_persons >= FEWEST else FEWER,
            "columns": [
                {
                    **vars(use),
                    "n_persons": FEWER if use.n_persons is None else use.n_persons,
                    "quantiles": {str(q): value for q, value in zip(QUANTILES, use.quantiles, strict=True)},
                }
                for use in self.columns
            ],
            "unseen": [{"feature": feature, "code": code} for feature, code in self.unseen],
            "unread": [
                {"code": unread.code, "n_events": FEWER if unread.n_events is None else unread.n_events}
                for unread in self.unread
            ],
        }

    def sentences(self) -> list[str]:
        """What somebody who decides should read first, one sentence each."""
        told = []
        if self.unread:
            told.append(
                f"The city hands over more than the need reads: {len(self.unread):,} codes, {self.unread_share:.1%} of "
                "all events, are read by no feature, label, indicator or cohort rule."
            )
        told += [f"'{feature}' names '{code}', which no event has." for feature, code in self.unseen]
        told += [f"'{feature}' is the same for everybody: it can be left out." for feature in self.constant]
        told += [f"{' and '.join(names)} hold the same: one is enough." for names in self.identical]
        if silent := sum(use.n_persons is None for use in self.columns):
            columns = "one column" if silent == 1 else f"{silent:,} columns"
            told.append(f"Of {columns} nothing more is told, because {FEWER} persons, or nobody, have a value.")
        return told or ["Every code handed over is read, and every column tells something of its own."]


def minimisation(
    city: City, features: Sequence[FeatureSpec], matrix: Matrix, *, also_read: Iterable[Spec] = ()
) -> Minimisation:
    """Compare what a need reads with what the city hands over.

    Parameters
    ----------
    city : City
    features : sequence of FeatureSpec
        Of the need, in the order of the matrix's columns.
    matrix : Matrix
        Of these features; objectors are not in it.
    also_read : iterable of Spec
        Label, indicators and cohort of the need: what they read is read too.

    Raises
    ------
    ValueError
        The matrix holds other columns than the features make.
    """
    feature_of = {column: feature for feature in features for column in feature.columns()}
    if tuple(feature_of) != matrix.names:
        raise ValueError("the matrix is not of these features")
    # Rows of one person stand apart (a matrix is ordered by date), so each row carries its person's number.
    person = matrix.keys["person_id"].rank("dense").to_numpy().astype(np.int64) - 1
    n_persons = int(person.max()) + 1
    columns, same = [], dict[str, list[str]]()
    for j, name in enumerate(matrix.names):
        values = np.ascontiguousarray(matrix.X[:, j])
        use = _use(name, feature_of[name], values, person, n_persons)
        columns.append(use)
        if use.n_persons is not None:
            same.setdefault(hashlib.sha256(values.data).hexdigest(), []).append(name)
    flat = {feature.name: True for feature in features}
    for use in columns:
        flat[use.feature] &= bool(use.constant)
    unread, share = _unread(city.events, [*features, *also_read])
    return Minimisation(
        n_rows=matrix.X.shape[0],
        n_persons=n_persons,
        columns=tuple(columns),
        unseen=_unseen(city.events, features),
        unread=unread,
        unread_share=share,
        constant=tuple(name for name, is_flat in flat.items() if is_flat),
        identical=tuple(tuple(names) for names in same.values() if len(names) > 1),
    )


# ---- columns ---------------------------------------------------------------------------------------------------


def _use(
    column: str, feature: FeatureSpec, values: NDArray[np.float32], person: NDArray[np.int64], n_persons: int
) -> ColumnUse:
    is_empty = np.isnan(values)
    constant = bool((values == values[0]).all())
    if feature.attribute is None and column.split(".")[1] in ZERO_WHEN_EMPTY:
        is_empty |= values == 0
    n_with, n_without = _n_persons(person[~is_empty], n_persons), _n_persons(person[is_empty], n_persons)
    is_open = n_with >= FEWEST and (n_without == 0 or n_without >= FEWEST)
    told, owners = values[~is_empty], person[~is_empty]
    quantiles = _quantiles(told, owners, n_persons)
    return ColumnUse(
        column=column,
        feature=feature.name,
        n_persons=n_with if n_with >= FEWEST else None,
        share=round(told.size / values.size, 4) if is_open else None,
        quantiles=quantiles,
        sketch=_sketch(told, owners, n_persons, [value for value in quantiles if value is not None]),
        constant=constant if n_with >= FEWEST else None,
    )


def _n_persons(person: NDArray[np.int64], n_persons: int) -> int:
    seen = np.zeros(n_persons, dtype=np.bool_)
    seen[person] = True
    return int(seen.sum())


def _quantiles(values: NDArray[np.float32], person: NDArray[np.int64], n_persons: int) -> tuple[float | None, ...]:
    """Each quantile with at least five persons below or at it, and five above or at it."""
    if not values.size:
        return (None,) * len(QUANTILES)
    found = np.quantile(values, QUANTILES)
    return tuple(
        float(f"{value:.3g}")
        if min(_n_persons(person[values <= value], n_persons), _n_persons(person[values >= value], n_persons)) >= FEWEST
        else None
        for value in found
    )


def _sketch(values: NDArray[np.float32], person: NDArray[np.int64], n_persons: int, quantiles: Sequence[float]) -> str:
    """Bars of equal width between the outermost quantiles told, eight heights; none where all is one value."""
    if len(quantiles) < 2 or quantiles[0] == quantiles[-1]:
        return ""
    low, high, n_bars = quantiles[0], quantiles[-1], _N_BARS
    if np.ceil(high) - np.floor(low) < _N_BARS and (values == np.round(values)).all():
        low, high = np.floor(low), np.ceil(high) + 1.0  # a bar for each whole number, so that none is empty between
        n_bars = int(high - low)
    edges = np.linspace(low, high, n_bars + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n_bars - 1)
    heights = np.bincount(place, minlength=n_bars).astype(np.float64)
    for bar in np.flatnonzero(heights):
        if _n_persons(person[place == bar], n_persons) < FEWEST:
            heights[bar] = 0
    if not heights.max():
        return ""
    return "".join(_BARS[int(np.ceil(height / heights.max() * (len(_BARS) - 1)))] for height in heights)


# ---- codes -----------------------------------------------------------------------------------------------------


def codes_read_by(spec: Spec) -> tuple[str, ...]:
    """The codes, some ending in a star, that a part of a need reads."""
    if isinstance(spec, FeatureSpec | IndicatorSpec):
        return spec.codes
    if isinstance(spec, LabelSpec):
        return (*spec.codes, *spec.censored_by)
    if isinstance(spec, CohortSpec):
        followed = () if spec.as_of is None or spec.as_of.on is None else (spec.as_of.on,)
        return (*followed, *(code for rule in (*spec.with_, *spec.without) for code in rule.codes))
    return ()


def _unseen(log: EventLog, features: Sequence[FeatureSpec]) -> tuple[tuple[str, str], ...]:
    named = [(feature.name, pattern) for feature in features for pattern in feature.codes]
    return tuple((name, pattern) for name, pattern in named if not any(matches(code, [pattern]) for code in log.codes))


def _unread(log: EventLog, specs: Sequence[Spec]) -> tuple[tuple[UnreadCode, ...], float]:
    patterns = [pattern for spec in specs for pattern in codes_read_by(spec)]
    n_events, n_persons = _events_and_persons(log)
    unread = [i for i, code in enumerate(log.codes) if not matches(code, patterns)]
    unread.sort(key=lambda i: (-n_events[i] if n_persons[i] >= FEWEST else 0, log.codes[i]))
    found = tuple(UnreadCode(log.codes[i], int(n_events[i]) if n_persons[i] >= FEWEST else None) for i in unread)
    told = sum(code.n_events or 0 for code in found)
    return found, round(told / max(int(n_events.sum()), 1), 4)


def _events_and_persons(log: EventLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each code how many events, and how many persons who have any; some persons at a time."""
    n_codes = len(log.codes)
    n_events, n_persons = np.zeros(n_codes, dtype=np.int64), np.zeros(n_codes, dtype=np.int64)
    for first, stop in _spans(log, n_codes):
        start, end = int(log.offsets[first]), int(log.offsets[stop])
        code = log.code[start:end]
        n_events += np.bincount(code, minlength=n_codes)
        has = np.zeros((stop - first, n_codes), dtype=np.bool_)
        has[np.repeat(np.arange(stop - first), np.diff(log.offsets[first : stop + 1])), code] = True
        n_persons += has.sum(axis=0)
    return n_events, n_persons


def _spans(log: EventLog, n_codes: int) -> Iterable[tuple[int, int]]:
    """First and last-but-one person of stretches whose table of persons and codes stays small."""
    n, step = len(log.person_ids), max(_CELLS_AT_ONCE // max(n_codes, 1), 1)
    return ((first, min(first + step, n)) for first in range(0, n, step))
