"""The gate before worlds whose truth is known: the small version of ``make trials``."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))
from gate_trials import (
    blocked,
    broken,
    checks_of,
    fair_world,
    fires,
    lower_bound,
    passes,
    states_of,
    upper_bound,
    youths,
)
from gate_worlds import NeedWorld, need_world

TWO = {"language_group": {"fi": 0.7, "other": 0.3}, "sex": {"f": 0.5, "m": 0.5}}


def test_exact_bounds_are_those_of_the_tables():
    assert upper_bound(0, 2000) == pytest.approx(1 - 0.05 ** (1 / 2000))
    assert lower_bound(100, 100) == pytest.approx(0.05**0.01)
    assert (upper_bound(5, 5), lower_bound(0, 5)) == (1.0, 0.0)


def test_chances_are_what_comes_true():
    people = need_world(NeedWorld(n=200_000, base_rate=0.08), seed=3)
    assert people.chance.mean() == pytest.approx(0.08, abs=1e-6)
    assert people.label.mean() == pytest.approx(0.08, abs=0.002)
    decile = np.digitize(people.chance, np.quantile(people.chance, np.arange(0.1, 1, 0.1)))
    for part in range(10):
        rows = decile == part
        assert people.label[rows].mean() == pytest.approx(people.chance[rows].mean(), abs=0.006)


def test_planted_faults_are_in_the_world():
    world = NeedWorld(n=200_000, attributes=TWO, unseen={"other": 0.4}, unobserved={"f": 0.2})
    people = need_world(world, seed=4)
    other, women = people.groups["language_group"] == "other", people.groups["sex"] == "f"
    assert np.allclose(people.score[other] / people.chance[other], 0.6)
    assert np.array_equal(people.score[~other], people.chance[~other])
    assert np.isnan(people.label[women]).mean() == pytest.approx(0.2, abs=0.01)
    assert not np.isnan(people.label[~women]).any()
    unlabelled = need_world(NeedWorld(n=200_000, attributes=TWO, unlabelled={"other": 0.5}), seed=4)
    signs = unlabelled.indicators["sign 1"]
    assert unlabelled.label[other].mean() < 0.6 * unlabelled.label[~other].mean()
    assert signs[other].mean() == pytest.approx(signs[~other].mean(), rel=0.05)


def test_fair_worlds_are_not_blocked():
    found = [fair_world(seed) for seed in range(9_000, 9_012)]
    assert not any(map(blocked, found))
    assert not any(map(broken, found))


def test_fair_worlds_of_a_citys_youths_pass():
    found = [youths(seed) for seed in range(9_000, 9_005)]
    assert sum(passes(one, "C401") for one in found) >= 4


@pytest.mark.parametrize(
    ("id", "world"),
    [
        ("C401", NeedWorld(n=60_000, base_rate=0.1, attributes=TWO, unseen={"other": 0.55})),
        ("C403", NeedWorld(n=60_000, base_rate=0.1, attributes=TWO, unlabelled={"other": 0.5})),
    ],
)
def test_a_planted_fault_fires_its_own_check(id, world):
    found = [states_of(checks_of(world, seed, 600, 13, replicates=400)) for seed in range(9_100, 9_104)]
    assert all(fires(one, id) for one in found)
