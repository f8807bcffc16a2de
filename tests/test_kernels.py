"""The kernels themselves: what they may not see, when they compile, and whether the tests would notice a slip."""

import os
import re
import subprocess
import sys
import types
from datetime import date, timedelta
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from small_logs import (
    CODES,
    N_PERSONS,
    SEPARATE,
    START,
    WINDOWS,
    as_of_days,
    assert_agree,
    events,
    everyone_at,
    expected_of,
    features_of,
    groups_of,
    log_of,
    us,
)

from features import kernels, order_kernels
from features.arrays import DAY_US, frozen
from features.label_kernels import EVER, label_windows
from features.sweep import lay_out, log_arrays, sweep

ROOT = Path(__file__).resolve().parent.parent
FEW = ("count", "sum", "last", "distinct_days", "median")


def unseen(found, days, **how):
    """Whether everything known on or after the only day can be deleted, changed or multiplied without a trace."""
    past = [e for e in found if naive.known_before(e[2], days[0])]
    poison = [(who, at, known, "a", 1000.0) for who, at, known, _, _ in found if not naive.known_before(known, days[0])]
    whole = features_of(found, days, **how).tobytes()
    return all(features_of(other, days, **how).tobytes() == whole for other in (past, past + poison, past + poison * 3))


one_day = as_of_days.map(lambda days: days[:1])


@given(events, one_day)
def test_what_is_known_on_or_after_the_day_changes_no_byte(found, days):
    assert unseen(found, days)


@pytest.mark.parametrize(
    "leak",
    [{"later": int(DAY_US)}, {"later": 1}, {"with_known": False}],
    ids=["sees the as-of day", "sees the as-of midnight", "ignores when things became known"],
)
def test_a_leaking_kernel_is_caught_by_the_property_above(leak):
    few = {"codes": SEPARATE, "windows": (7, "ever"), "measures": ["count"]}
    found, days = find(st.tuples(events, one_day), lambda case: not unseen(*case, **leak, **few))
    assert not unseen(found, days, **leak) and unseen(found, days)


# ---- slips of the pen ----------------------------------------------------------------------------------------------
DAY = date(2024, 3, 1)
MIDNIGHT = naive.midnight(DAY)
ON_EDGES = [
    (0, MIDNIGHT + timedelta(days=days, microseconds=us_more), START, "a", float(100 * days + us_more))
    for days in (0, -1, -7, -8, -30)
    for us_more in (-1, 0)
]
KNOWN_ON_EDGES = [
    (0, MIDNIGHT - timedelta(days=3), MIDNIGHT + timedelta(microseconds=us_more), "a", 9.0) for us_more in (-1, 0)
]


def cells_at_the_edges_are_right():
    assert_agree(features_of(ON_EDGES, [DAY], measures=FEW), expected_of(ON_EDGES, [DAY], measures=FEW), FEW)


def counts_at_the_edges_are_right():
    for found in (ON_EDGES, KNOWN_ON_EDGES):
        counts = features_of(found, [DAY], [("a",)], WINDOWS, FEW)[0, 0, 0, :, 0]
        for window, count in zip(WINDOWS, counts, strict=True):
            first, after = naive.window_of(DAY, window)
            assert count == sum(first <= at < after and known < MIDNIGHT for _, at, known, _, _ in found), window


def the_day_is_unseen():
    assert unseen(ON_EDGES + KNOWN_ON_EDGES, [DAY], measures=FEW)


def medians_at_the_edges_are_right():
    found = ON_EDGES + KNOWN_ON_EDGES
    medians = features_of(found, [DAY], [("a",)], WINDOWS, ["median"])
    np.testing.assert_array_equal(medians, expected_of(found, [DAY], [("a",)], WINDOWS, ["median"]))


CHECKS = (
    cells_at_the_edges_are_right,
    counts_at_the_edges_are_right,
    the_day_is_unseen,
    medians_at_the_edges_are_right,
)
SLIPS = {
    # The as-of midnight is looked at twice: where a row begins, and where a family of windows ends.
    "sees the as-of midnight": (
        kernels,
        ("entries[end].time < as_of", "entries[end].time <= as_of"),
        ("entries[top_entry].time >= top", "entries[top_entry].time > top"),
    ),
    "sees what becomes known that day": (kernels, ("entry_known[here] >= as_of", "entry_known[here] > as_of")),
    "loses a window's first moment": (kernels, ("if moment < edge:", "if moment <= edge:")),
    "quantiles lose a window's first moment": (
        order_kernels,
        ("time[end - 1] >= edges[date, step]", "time[end - 1] > edges[date, step]"),
    ),
}


def mutant_of(module, *slips):
    """The module compiled anew from its text with some slips, and without numba's cache."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    for right, wrong in slips:
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    mutant = types.ModuleType(module.__name__)
    mutant.__file__ = module.__file__
    exec(compile(source.replace("cache=True, ", ""), module.__file__, "exec"), mutant.__dict__)
    return mutant


@pytest.mark.parametrize("slip", SLIPS)
def test_a_kernel_with_a_slip_fails_several_checks(slip, monkeypatch):
    module, *slips = SLIPS[slip]
    for check in CHECKS:
        check()
    import features.sweep

    mutant = mutant_of(module, *slips)
    name = "window_features" if module is kernels else "window_quantiles"
    monkeypatch.setattr(features.sweep, name, getattr(mutant, name))
    failed = []
    for check in CHECKS:
        try:
            check()
        except AssertionError:
            failed.append(check.__name__)
    assert len(failed) >= 2, failed


# ---- compiling -----------------------------------------------------------------------------------------------------
USUAL_RUN = """
import sys
sys.path.insert(0, "tests")
from features.compiled import compilations, warm_up
warm_up()
compiled = compilations()
from datetime import timedelta
import numpy as np
from small_logs import GROUPS, SEPARATE, START, features_of
late = [(i % 3, START + timedelta(hours=5 * i), START + timedelta(hours=9 * i), "abc"[0], i / 4) for i in range(40)]
days = [(START + timedelta(days=4)).date(), (START + timedelta(days=8)).date()]
for measures in (["count"], ["std", "first"], ["decay_3d", "distinct_codes"], ["median"], ["count", "quantile_10"]):
    for groups in (GROUPS, SEPARATE, [("nothing",)]):
        for windows in ([7], [7, (7, 30), "1mo", "ever"]):
            for known in (True, False):
                features_of(late, days, groups, windows, measures, with_known=known)
print(compiled, compilations())
"""


@pytest.fixture(scope="module")
def warmed_twice():
    """What two processes in turn compiled: each when warming up, and then in usual runs."""
    run = [sys.executable, "-c", USUAL_RUN]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    outputs = [
        subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout
        for _ in range(2)
    ]
    return [tuple(map(int, output.split())) for output in outputs]


def test_after_warming_up_no_usual_run_compiles(warmed_twice):
    assert all(before == after for before, after in warmed_twice)


def test_a_second_process_compiles_nothing(warmed_twice):
    assert warmed_twice[1] == (0, 0)


def test_the_counter_of_compilations_counts(tmp_path):
    """An empty cache, one small kernel: it and nothing else is counted."""
    code = (
        "from features import kernels; from features.compiled import compilations; import numpy as np\n"
        "kernels._clear(np.zeros(1, dtype=kernels._SUMS)[0]); print(compilations())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout.split() == ["1"], done.stderr


def test_every_module_with_kernels_is_warmed_up_and_counted():
    from features.compiled import _modules_with_kernels

    with_kernels = {
        f"features.{path.stem}"
        for path in (ROOT / "features").glob("*.py")
        if re.search(r"^@njit", path.read_text(), re.M)
    }
    assert set(_modules_with_kernels()) >= with_kernels
    assert "features.kernels" in with_kernels


def test_read_only_and_writable_arrays_are_one_signature():
    found = [(0, START, START, "a", 1.0)]
    groups, n_columns = groups_of(SEPARATE)
    layout = lay_out(groups, CODES, n_columns)
    for _ in range(2):
        log, (person, as_of) = log_of(found), everyone_at([DAY])
        writable = sweep(log, layout, person, as_of)
        before = [len(kernel.signatures) for kernel in (kernels.window_features, order_kernels.window_quantiles)]
        for array in (log.time, log.known, log.code, log.value, person, as_of):
            array.flags.writeable = False
        assert sweep(log, layout, person, as_of).tobytes() == writable.tobytes()
        after = [len(kernel.signatures) for kernel in (kernels.window_features, order_kernels.window_quantiles)]
        assert before == after


# ---- the label -----------------------------------------------------------------------------------------------------
@given(events, st.integers(0, 60), st.integers(1, 30), st.integers(0, 10))
def test_a_label_window_counts_days_and_values(found, first_day, horizon_days, delay_days):
    start = START + timedelta(days=first_day)
    stop = start + timedelta(days=horizon_days)
    told = stop + timedelta(days=delay_days)
    days, totals, first_time = np.empty(3, dtype=np.int64), np.empty((3, 3)), np.empty(3, dtype=np.int64)
    label_windows(
        *log_arrays(log_of(found)),
        frozen(np.arange(3, dtype=np.uint32)),
        *(frozen(np.full(3, us(moment))) for moment in (start, stop, told)),
        frozen(np.array([naive.fits(code, ["b.*", "c"]) for code in CODES])),
        days,
        totals,
        first_time,
    )
    for person in range(N_PERSONS):
        seen = [e for e in found if e[0] == person and naive.fits(e[3], ["b.*", "c"]) and start <= e[1] < stop]
        seen = [e for e in seen if naive.known_before(e[2], told.date())]
        numbers = [e[4] for e in seen if e[4] is not None]
        assert days[person] == len({e[1].date() for e in seen})
        assert first_time[person] == min([us(e[1]) for e in seen], default=EVER)
        measured = [sum(numbers), max(numbers), min(numbers)] if numbers else [np.nan] * 3
        np.testing.assert_array_equal(totals[:, person], measured)


@pytest.mark.parametrize("n", [0, 1, 16, 17, 33, 200])
def test_a_person_is_sorted_by_time_then_value_then_code_then_knowledge(n):
    rng = np.random.default_rng(n)
    found = [
        (1, START + timedelta(days=int(d)), START + timedelta(days=int(d + k)), CODES[c], None if v == 0 else float(v))
        for d, k, c, v in rng.integers(0, 4, (n, 4))
    ]
    log = log_of(found)
    expected = sorted((us(at), -np.inf if v is None else v, CODES.index(c), us(k)) for _, at, k, c, v in found)
    assert log.offsets.tolist() == [0, 0, n, n]
    assert list(zip(log.time, np.where(np.isnan(log.value), -np.inf, log.value), log.code, log.known)) == expected
