"""From groups of events to the plan that the window kernels follow, and from rows to columns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import DAY_US, frozen
from features.kernels import BEFORE_ALL, N_SLOTS, SLOTS, Plan, window_features
from features.order_kernels import OrderPlan, window_quantiles
from features.windows import ZERO_WHEN_EMPTY, Window, numbered

if TYPE_CHECKING:
    from features.event_log import EventLog

_EPOCH = date(1970, 1, 1)
_FIRST_OF_MOMENTS, _FIRST_OF_DISTINCT = SLOTS["last"], SLOTS["distinct_codes"]
_PARTS_PER_THREAD = 4  # so that a thread whose persons have few events helps the others
_COST_OF_A_ROW = 64  # in events


class Group(NamedTuple):
    """What is computed of the events with certain codes: measures over some windows, each once.

    ``codes`` may end in a star. Its columns stand together from ``first_column`` on: for each window in order, each
    measure in order. Any measure of events in :data:`features.windows.MEASURES`, ``decay_<n>d`` or ``quantile_<p>``.
    """

    codes: Sequence[str]
    windows: Sequence[Window]
    measures: Sequence[str]
    first_column: int


@dataclass(frozen=True, eq=False)
class Layout:
    """Groups laid out for logs with certain codes, to be used for any rows, in several threads at once.

    Attributes
    ----------
    empty : float32 (n_columns,)
        What a row without events holds: 0 or NaN; NaN too in columns of no group.
    """

    empty: NDArray[np.float32]
    _windows: _Windows
    _online: dict[str, Any]
    _half_lives: tuple[int, ...]
    _in_order: dict[str, Any] | None


def lay_out(groups: Sequence[Group], codes: Sequence[str], n_columns: int) -> Layout:
    """Lay groups out for logs whose codes are ``codes``, in that order.

    Parameters
    ----------
    n_columns : int
        Width of the rows, of which the groups may fill some.
    """
    empty = np.full(n_columns, np.nan, dtype=np.float32)
    for group in groups:
        for at, _, measure in _cells(group):
            if measure in ZERO_WHEN_EMPTY:
                empty[at] = 0.0
    windows = _Windows.of(groups)
    place = {id(group): _members(group.codes, codes) for group in groups}
    online = [group for group in groups if any(_share(measure) is None for measure in group.measures)]
    # A group that is asked for less is spared the work for more.
    online.sort(key=_kind)
    in_order = [group for group in groups if any(_share(measure) is not None for measure in group.measures)]
    half_lives = sorted({n for group in groups for measure in group.measures if (n := _half_life(measure))})
    return Layout(
        frozen(empty),
        windows,
        _lay_out_online(online, windows, [place[id(group)] for group in online], len(codes), half_lives, empty),
        tuple(half_lives),
        _lay_out_in_order(in_order, windows, [place[id(g)] for g in in_order], len(codes)) if in_order else None,
    )


def _cells(group: Group) -> Iterator[tuple[int, Window, str]]:
    """Column, window and measure of everything a group is asked for."""
    cells = [(window, measure) for window in group.windows for measure in group.measures]
    return ((group.first_column + i, *cell) for i, cell in enumerate(cells))


def _share(measure: str) -> float | None:
    """The share of values below a quantile; None for any other measure."""
    if measure == "median":
        return 0.5
    found = numbered(measure)
    return found[1] / 100 if found and found[0] == "quantile" else None


def _half_life(measure: str) -> int | None:
    found = numbered(measure)
    return found[1] if found and found[0] == "decay" else None


def _kind(group: Group) -> int:
    """0: sums are enough; 1: moments are needed; 2: codes and days are counted, or weights decay."""
    slots = [SLOTS.get(measure, _FIRST_OF_DISTINCT) for measure in group.measures if _share(measure) is None]
    return (max(slots) >= _FIRST_OF_MOMENTS) + (max(slots) >= _FIRST_OF_DISTINCT)


def _members(patterns: Sequence[str], codes: Sequence[str]) -> NDArray[np.int64]:
    """Positions of the codes that are one of the patterns."""
    order = sorted(range(len(codes)), key=codes.__getitem__)
    ordered = [codes[i] for i in order]
    found = set[int]()
    for pattern in patterns:
        i = bisect_left(ordered, pattern.removesuffix("*"))
        while i < len(ordered) and (
            ordered[i].startswith(pattern[:-1]) if pattern.endswith("*") else ordered[i] == pattern
        ):
            found.add(order[i])
            i += 1
    return np.array(sorted(found), dtype=np.int64)


def _lay_out_online(
    groups: Sequence[Group],
    windows: _Windows,
    places: Sequence[NDArray[np.int64]],
    n_codes: int,
    half_lives: Sequence[int],
    empty: NDArray[np.float32],
) -> dict[str, Any]:
    """The parts of a plan that do not depend on the dates."""
    kinds = [_kind(group) for group in groups]
    first_with = [sum(kind < 1 for kind in kinds), sum(kind < 2 for kind in kinds), len(groups)]
    asked = np.zeros((len(windows.all), len(groups)), dtype=np.bool_)
    columns = np.full((len(windows.all), len(groups) * N_SLOTS), empty.size, dtype=np.uint32)
    decays = [(g, n) for g, group in enumerate(groups) for m in group.measures if (n := _half_life(m))]
    decay_columns = np.full((len(windows.all), len(decays)), empty.size, dtype=np.uint32)
    for g, group in enumerate(groups):
        for at, window, measure in _cells(group):
            w = windows.number[window]
            if measure in SLOTS:
                columns[w, g * N_SLOTS + SLOTS[measure]] = at
            elif n := _half_life(measure):
                decay_columns[w, decays.index((g, n))] = at
            asked[w, g] = True
    code = np.concatenate([np.empty(0, dtype=np.int64), *places])
    group_of = np.repeat(np.arange(len(groups)), [found.size for found in places])
    of_codes = np.bincount(code, minlength=n_codes)
    n_decays = np.bincount([g for g, _ in decays], minlength=len(groups))[first_with[1] :]
    return {
        "family_start": frozen(np.array(windows.family_start, dtype=np.uint32)),
        "member_start": frozen(np.concatenate([[0], np.cumsum(of_codes)]).astype(np.uint32)),
        "members": frozen(np.append(group_of[np.argsort(code, kind="stable")], 0).astype(np.uint32)),
        "first_with": frozen(np.array(first_with, dtype=np.uint32)),
        "asked": frozen(asked),
        "columns": frozen(columns),
        "decay_start": frozen(np.concatenate([[0], np.cumsum(n_decays)]).astype(np.uint32)),
        "decay_half_life": frozen(np.array([half_lives.index(n) for _, n in decays], dtype=np.uint32)),
        "decay_columns": frozen(decay_columns),
        "empty_row": frozen(empty),
    }


def _lay_out_in_order(
    groups: Sequence[Group], windows: _Windows, places: Sequence[NDArray[np.int64]], n_codes: int
) -> dict[str, Any]:
    """The same for measures of values in order."""
    wanted = np.zeros((len(groups), n_codes), dtype=np.bool_)
    shares, share_start, columns = [], [0], []
    for g, group in enumerate(groups):
        wanted[g, places[g]] = True
        for measure in group.measures:
            if (share := _share(measure)) is not None:
                shares.append(share)
                column = np.full(len(windows.all), -1, dtype=np.int64)
                for at, window, what in _cells(group):
                    if what == measure:
                        column[windows.number[window]] = at
                columns.append(column)
        share_start.append(len(shares))
    return {
        "family_start": frozen(np.array(windows.family_start, dtype=np.uint32)),
        "wanted": frozen(wanted),
        "share_start": frozen(np.array(share_start, dtype=np.int64)),
        "shares": frozen(np.array(shares)),
        "columns": frozen(np.stack(columns, axis=1)),
    }


@dataclass(frozen=True, eq=False)
class _Windows:
    """All windows of a layout by the family they belong to: those that end equally many days before the as-of date."""

    all: tuple[Window, ...]
    nears: tuple[int, ...]
    family_start: tuple[int, ...]
    number: dict[Window, int]

    @classmethod
    def of(cls, groups: Sequence[Group]) -> _Windows:
        found = sorted({w for group in groups for w in group.windows}, key=lambda w: (w.near, w.unit, w.far))
        nears = sorted({w.near for w in found})
        starts = (*(next(i for i, w in enumerate(found) if w.near == near) for near in nears), len(found))
        return cls(tuple(found), tuple(nears), starts, {w: i for i, w in enumerate(found)})

    def at(self, dates: NDArray[np.int64]) -> dict[str, Any]:
        """Where every window begins and ends, looked at from each date; see :class:`features.kernels.Plan`."""
        tops = dates[:, None] - np.array(self.nears, dtype=np.int64)[None, :] * DAY_US
        begins = np.empty((dates.size, len(self.all)), dtype=np.int64)
        for w, window in enumerate(self.all):
            if window.unit == "ever":
                begins[:, w] = BEFORE_ALL
            elif window.unit == "days":
                begins[:, w] = dates - window.far * DAY_US
            else:
                begins[:, w] = [_months_before(int(moment), window.far) for moment in dates]
        window_at = np.empty(begins.shape, dtype=np.int64)
        for first, stop in pairwise(self.family_start):
            # A month may be longer or shorter than 30 days, so which begins later depends on the date.
            window_at[:, first:stop] = first + np.argsort(-begins[:, first:stop], axis=1, kind="stable")
        return {
            "dates": frozen(dates),
            "tops": frozen(tops),
            "edges": frozen(np.take_along_axis(begins, window_at, axis=1)),
            "window_at": frozen(window_at.astype(np.uint32)),
        }


def _months_before(moment: int, months: int) -> int:
    """The same clock on the same day of an earlier month, or on that month's last day where it is shorter."""
    day, clock = divmod(moment, DAY_US)
    then = _EPOCH + timedelta(days=day)
    year, month = divmod(then.year * 12 + then.month - 1 - months, 12)
    if year < date.min.year:
        return int(BEFORE_ALL)
    next_month = date(year + month // 11, (month + 1) % 12 + 1, 1)
    found = date(year, month + 1, min(then.day, (next_month - timedelta(days=1)).day))
    return (found - _EPOCH).days * DAY_US + clock


def sweep(
    log: EventLog,
    layout: Layout,
    person: NDArray[np.uint32],
    as_of: NDArray[np.int64],
    *,
    threads: int = 1,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the layout's columns for each row: a person, looked at from the local midnight of an as-of date.

    Parameters
    ----------
    log : EventLog
        With the codes that the layout was made for.
    person : uint32 (n,)
        Dense indices into the log, in any order; persons may recur.
    as_of : int64 (n,)
        µs since 1970-01-01, local.
    threads : int
        Share the persons out among so many threads; the bytes of the result do not depend on it.
    out : float32 (n, n_columns), optional
        Where to write; every column is, those of no group with NaN.

    Returns
    -------
    float32 (n, n_columns)
    """
    n_columns = layout.empty.size
    if out is None:
        out = np.empty((person.size, n_columns), dtype=np.float32)
    if out.shape != (person.size, n_columns) or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous float32 array of {person.size} rows and {n_columns} columns")
    if not person.size:
        return out
    dates = np.unique(as_of)
    order = np.lexsort((as_of, person))
    rows = (
        frozen(person[order].astype(np.uint32, copy=False)),
        frozen(np.searchsorted(dates, as_of[order]).astype(np.uint32)),
        frozen(order),
    )
    times = layout._windows.at(dates)
    weight = _decay_weights(layout._half_lives, log, rows[0], int(dates[-1]))
    plans: list[tuple[Any, Any]] = [(window_features, Plan(**times, decay_weight=frozen(weight), **layout._online))]
    if layout._in_order is not None:
        plans.append((window_quantiles, OrderPlan(**times, **layout._in_order)))
    parts = _by_person(rows[0], log.offsets, threads)
    for kernel, plan in plans:
        compute = partial(_compute, kernel, log_arrays(log), plan, out)
        if len(parts) == 1:
            compute(rows)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(compute, [tuple(column[part] for column in rows) for part in parts]))
    return out


def _compute(kernel: Any, log: tuple[Any, ...], plan: Any, out: NDArray[np.float32], rows: tuple[Any, ...]) -> None:
    kernel(*log, *rows, plan, out)


def _decay_weights(
    half_lives: Sequence[int], log: EventLog, person: NDArray[np.uint32], last: int
) -> NDArray[np.float64]:
    """2^(-age / half-life) for every age in whole days that an event of the persons may have, by half-life and age."""
    has_events = log.offsets[person.astype(np.int64) + 1] > log.offsets[person]
    if not half_lives or not has_events.any():
        return np.zeros((1, 1))
    first = int(log.time[log.offsets[person[has_events]]].min())
    ages = np.arange(max((last - first) // DAY_US, 0) + 1)
    weights: NDArray[np.float64] = np.exp2(-ages[None, :] / np.array(half_lives)[:, None])
    return weights


def _by_person(person: NDArray[np.uint32], offsets: NDArray[np.int64], threads: int) -> list[slice]:
    """Slices of the rows, none of which divides a person's, of about equal work."""
    if threads <= 1:
        return [slice(0, person.size)]
    work = np.cumsum(offsets[person.astype(np.int64) + 1] - offsets[person] + _COST_OF_A_ROW)
    n_parts = threads * _PARTS_PER_THREAD
    cuts = np.searchsorted(work, work[-1] * np.arange(1, n_parts) / n_parts)
    cuts = np.unique([0, *np.searchsorted(person, person[cuts]), person.size])
    return [slice(int(a), int(b)) for a, b in pairwise(cuts)]


def log_arrays(log: EventLog) -> tuple[Any, ...]:
    """The event log as the kernels take it: time, known or None, code, value, offsets."""
    known = None if log.known is None else frozen(log.known)
    return frozen(log.time), known, frozen(log.code), frozen(log.value), frozen(log.offsets)
