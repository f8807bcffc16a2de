"""From specs to the arrays that the window kernel wants, and back to columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import DAY_US, frozen
from features.city import City, matches
from features.kernels import EVER, MEASURE_NUMBERS, window_features
from features.keyed_rows import KeyedRows
from features.windows import Window


class Group(NamedTuple):
    """What the sweep computes together: measures of the events with certain codes over some windows."""

    codes: Sequence[str]
    windows: Sequence[Window]
    measures: Sequence[str]
    first_column: int


def sweep(city: City, groups: Sequence[Group], place: KeyedRows, n_columns: int) -> NDArray[np.float32]:
    """Lay the groups out as the kernel wants them, and run it."""
    lengths = sorted({_length(w) for group in groups for w in group.windows})
    empty_row = np.full(n_columns, np.nan, dtype=np.float32)
    first_column = np.full((len(lengths), len(groups) + 1), -1, dtype=np.int32)
    measures, measure_start = [], [0]
    for g, group in enumerate(groups):
        numbers = [MEASURE_NUMBERS[measure] for measure in group.measures]
        for i, window in enumerate(group.windows):
            start = group.first_column + i * len(numbers)
            first_column[lengths.index(_length(window)), g] = start
            empty_row[[start + k for k, m in enumerate(group.measures) if m in {"count", "n_values"}]] = 0.0
        measures += numbers
        measure_start.append(len(measures))
    group_of, more_start, more_groups = _groups_of_codes(city.events.codes, groups)
    order = np.lexsort((place.as_of, place.person))
    out = np.empty((place.person.size, n_columns), dtype=np.float32)
    window_features(
        *log_arrays(city),
        frozen(place.person[order]),
        frozen(place.as_of[order]),
        frozen(order),
        frozen(np.array(lengths, dtype=np.int64)),
        group_of,
        more_start,
        more_groups,
        frozen(first_column),
        frozen(np.array([*measure_start, measure_start[-1]], dtype=np.int32)),
        frozen(np.array(measures, dtype=np.uint8)),
        frozen(empty_row),
        out,
    )
    return out


def _length(window: Window) -> int:
    return int(EVER) if window.unit == "ever" else window.far * DAY_US


def _groups_of_codes(
    codes: Sequence[str], groups: Sequence[Group]
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None, NDArray[np.int32] | None]:
    """The first group of each code, and the further ones where features share codes."""
    of = [[g for g, group in enumerate(groups) if matches(code, group.codes)] for code in codes]
    first = np.array([found[0] if found else len(groups) for found in of], dtype=np.int32)
    more = [found[1:] for found in of]
    if not any(more):
        return frozen(first), None, None
    starts = np.cumsum([0, *map(len, more)]).astype(np.int32)
    return frozen(first), frozen(starts), frozen(np.array([g for found in more for g in found], dtype=np.int32))


def log_arrays(city: City) -> tuple[Any, ...]:
    """The event log as the kernels take it."""
    log = city.events
    return frozen(log.time), _frozen(log.known), frozen(log.code), frozen(log.value), frozen(log.offsets)


def _frozen(array: NDArray[Any] | None) -> Any:
    return None if array is None else frozen(array)
