"""The gate before worlds whose truth is known: the small version of ``make trials``."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))
from gate_faults import CHEAP, HOLDS_UP, MODELS, Fault, matrix, model_fault, outcome, rise, score_worlds
from gate_trials import (
    blocked,
    broken,
    checks_of,
    fair_world,
    fires,
    lower_bound,
    passes,
    preschoolers,
    states_of,
    unequal,
    upper_bound,
    worst_state,
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
    found = [fair_world(seed) for seed in range(9_000, 9_006)]
    assert not any(map(blocked, found))
    assert not any(map(broken, found))


def test_fair_worlds_of_a_citys_youths_pass():
    found = [youths(seed) for seed in range(9_000, 9_003)]
    assert sum(passes(one, "C401") for one in found) >= 2
    assert {check for one in found for check, _ in one} == {"C401", "C403", "C404", "C405"}


def test_fair_preschoolers_are_told_what_would_settle_their_groups():
    states, unsettled = preschoolers(9_000)
    assert worst_state(states, "C401") in ("inconclusive", "not_testable")
    assert not blocked(states) and not broken(states)
    assert unsettled
    assert all(facts.keys() & {"periods_to_pool", "periods_to_test", "never_testable"} for facts in unsettled)


def test_calibrated_worlds_of_unequal_need_are_asked_about_and_never_blocked():
    assert not blocked(unequal(9_000))
    world = NeedWorld(n=40_000, attributes=TWO, shift={"other": 1.2})
    checks = checks_of(world, 9_001, 100, 13, replicates=400)
    assert not any(check.state == "block" for check in checks)
    (asked,) = [check for check in checks if check.id == "C401" and check.state == "needs_attestation"]
    assert (asked.group, asked.needs, asked.facts["case"]) == ("language_group=fi", "AT-06", "recall")


@pytest.mark.parametrize("name", ["unseen_35", "unlabelled"])
def test_a_planted_fault_of_scores_fires_its_own_check(name):
    world, capacity, periods = score_worlds()[name]
    found = states_of(checks_of(world, 9_100, capacity, periods, replicates=400))
    assert fires(found, {"unseen_35": "C401", "unlabelled": "C403"}[name])


# ---- the matrix of faults --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faults():
    return model_fault(9_200)


@pytest.mark.full
def test_every_planted_fault_of_a_model_or_list_fires_its_own_check_and_no_other(faults):
    assert set(faults) == {*MODELS, *CHEAP, "an honest model"}
    honest = faults.pop("an honest model")
    assert {title for title, found in faults.items() if not found.own} == set()
    for title in CHEAP:
        assert faults[title].others <= honest.others, title
    assert "C502" in honest.others, "what a city must vouch for is asked of every model"


def test_a_check_that_fires_beside_the_own_one_is_seen(capsys):
    quiet, loud = (
        outcome(frozenset(found), Fault("f", "C607")) for found in ({("C607", "block")}, {("C105", "error")})
    )
    both = outcome(frozenset({("C607", "block"), ("C105", "error"), ("C303", "warn")}), Fault("f", "C607"))
    assert (quiet.own, loud.own, both.own) == (True, False, True)
    assert (quiet.others, both.others) == (frozenset(), {"C105"})
    names = {*MODELS, *CHEAP, "an honest model"}
    calm = [dict.fromkeys(names, quiet)] * 20
    worlds = [{**calm[0], "leaves of a few people": both}] * 20
    assert matrix([], calm)[1:] == [True] * (len(names) - 2)
    found = dict(zip([*MODELS, *CHEAP], matrix([], worlds), strict=True))
    assert [title for title, good in found.items() if not good] == ["leaves of a few people"]
    assert "C105 20/20, without 0/20" in capsys.readouterr().out
    assert "warn" not in HOLDS_UP


def test_a_rise_is_measured_by_an_exact_test():
    assert rise(5, 10, 0, 10) == pytest.approx(252 / 15504)
    assert rise(3, 60, 3, 60) > 0.5 and rise(60, 60, 60, 60) == 1.0
