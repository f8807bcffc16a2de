"""Small event logs for the tests of the kernels: drawn by Hypothesis, turned into arrays, computed and expected."""

from datetime import datetime, timedelta

import naive
import numpy as np
import polars as pl
from hypothesis import strategies as st

from features.event_log import EventLog
from features.regrouping import sort_within_persons
from features.sweep import Group, lay_out, sweep
from features.windows import MEASURES, Window

START = datetime(2024, 1, 1)
CODES = ("a", "b.1", "b.2", "c", "unused")
GROUPS = (("a",), ("b.*",), ("b.2", "c"), ("c", "a", "b.*"))  # codes shared by two and three groups
SEPARATE = (("a",), ("b.*",), ("c",))
WINDOWS = (1, 7, 30, (0, 2), (1, 8), (7, 30), (7, 45), "1mo", "2mo", "ever")
ALL_MEASURES = (*MEASURES, "decay_3d", "decay_180d", "quantile_10", "quantile_75")
ROUNDED = {"std", "trend"} | {m for m in ALL_MEASURES if m.startswith(("decay_", "quantile_", "median"))}
N_PERSONS = 3

clocks = st.sampled_from([timedelta(0), timedelta(hours=9, minutes=30), timedelta(days=1) - timedelta(microseconds=1)])
moments = st.tuples(st.integers(0, 60), clocks).map(lambda at: START + timedelta(days=at[0]) + at[1])
# Quarters add up exactly, so that the order of adding cannot hide behind rounding.
values = st.none() | st.integers(-40, 40).map(lambda quarters: quarters / 4)
events = st.lists(
    st.tuples(st.integers(0, N_PERSONS - 1), moments, st.integers(0, 12), st.sampled_from(CODES), values),
    max_size=60,
).map(lambda found: [(who, at, at + timedelta(days=lag), code, value) for who, at, lag, code, value in found])
as_of_days = st.lists(st.integers(0, 75), min_size=1, max_size=4, unique=True).map(
    lambda days: [START.date() + timedelta(days=day) for day in sorted(days)]
)


def us(moment):
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def log_of(found, *, with_known=True, n_persons=N_PERSONS):
    """Events in any order as a log; putting a person's in order is left to the kernel that does it for cities."""
    found = sorted(found, key=lambda event: event[0])
    time = np.array([us(e[1]) for e in found], dtype=np.int64)
    known = np.array([us(e[2]) for e in found], dtype=np.int64) if with_known else None
    code = np.array([CODES.index(e[3]) for e in found], dtype=np.uint16)
    value = np.array([np.nan if e[4] is None else e[4] for e in found], dtype=np.float32)
    counts = np.bincount(np.array([e[0] for e in found], dtype=np.int64), minlength=n_persons)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    offsets.flags.writeable = False
    sort_within_persons(offsets, time, known, code, value)
    return EventLog(pl.Series([f"p{i}" for i in range(n_persons)]), offsets, time, known, code, value, CODES)


def groups_of(codes, windows=WINDOWS, measures=ALL_MEASURES):
    """Groups that are asked for the same, one after another; and the number of their columns."""
    parsed = [Window.parse(w) for w in windows]
    width = len(parsed) * len(measures)
    return [Group(c, parsed, measures, i * width) for i, c in enumerate(codes)], len(codes) * width


def everyone_at(days, *, later=0):
    """Each person looked at from each day: person and as-of moment of every row."""
    person = np.repeat(np.arange(N_PERSONS, dtype=np.uint32), len(days))
    return person, np.tile([us(naive.midnight(day)) + later for day in days], N_PERSONS).astype(np.int64)


def features_of(found, days, codes=GROUPS, windows=WINDOWS, measures=ALL_MEASURES, *, with_known=True, later=0):
    """All measures for all persons at all days: float32 (n_persons, n_days, n_groups, n_windows, n_measures).

    ``later`` moves the as-of moment ahead by so many µs, which is what a leaking kernel would do.
    """
    groups, n_columns = groups_of(codes, windows, measures)
    out = sweep(
        log_of(found, with_known=with_known), lay_out(groups, CODES, n_columns), *everyone_at(days, later=later)
    )
    return out.reshape(N_PERSONS, len(days), len(codes), len(windows), len(measures))


def expected_of(found, days, codes=GROUPS, windows=WINDOWS, measures=ALL_MEASURES):
    """The same by the oracle: float64."""
    expected = np.empty((N_PERSONS, len(days), len(codes), len(windows), len(measures)))
    for person, d, g, w in np.ndindex(expected.shape[:-1]):
        inside = naive.window_events(found, person, days[d], windows[w], codes[g])
        expected[person, d, g, w] = [naive.measured(inside, days[d], measure) for measure in measures]
    return expected


def assert_agree(cells, expected, measures=ALL_MEASURES):
    """Counts, days and values to the last bit; what is divided or multiplied as far as float32 can tell."""
    for m, measure in enumerate(measures):
        ours, theirs = cells[..., m], expected[..., m].astype(np.float32)
        if measure in ROUNDED:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7, err_msg=measure)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=measure)
