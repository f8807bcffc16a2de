"""How far the reasons of a list hang on the last digit of the records: measured as the list tells them."""

import numpy as np
import pytest
from sealed_world import RULE_NEED, World

from models.reason_stability import feature_groups, first_reasons, group_sums
from scoring.cohort_columns import CohortColumns
from scoring.forest import contributions as contributions_of
from scoring.reason_jitter import reason_stability
from scoring.reasons import Explainer, Typical


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def test_the_first_three_reasons_of_a_list_mostly_stay(world):
    facts = world.list().facts()["reason_stability"]
    assert (facts["people"], facts["draws"]) == (20, 5)
    assert facts["low"] <= facts["kept"] <= facts["high"] <= 1.0
    assert facts["kept"] >= 0.9
    assert facts == world.list().facts()["reason_stability"]


def test_many_are_looked_at_evenly_and_nobody_gives_nothing(world):
    scores = world.score()
    columns = CohortColumns.of(scores.matrix, world.need, None)
    rows = scores.frame["row"].to_numpy()
    assert reason_stability(world.model, scores.matrix, rows, columns, reader="x")["people"] == 100
    assert reason_stability(world.model, scores.matrix, rows[:0], columns, reader="x") is None


def test_a_rule_has_the_reasons_of_its_order_whatever_the_records_say(tmp_path):
    assert World(tmp_path, need_text=RULE_NEED, need_id="youth_rule").list().facts()["reason_stability"] is None


def test_lists_and_the_gate_group_contributions_by_the_same_sums(world):
    """Where all may be seen, the groups of a list are the features of check C303."""
    scores = world.score()
    X = scores.matrix.X[:50]
    explainer = Explainer(world.need, Typical.of(scores.matrix), "clinic")
    assert explainer.group_of.tolist() == feature_groups(world.need).tolist()
    contributions = contributions_of(world.model, X)
    sums = group_sums(contributions[:, :-1], explainer.group_of)
    assert np.allclose(sums.sum(axis=1), contributions[:, :-1].sum(axis=1))
    first = first_reasons(contributions, feature_groups(world.need))
    for i in range(len(X)):
        told = explainer.choose(X[i], contributions[i, :-1], sums[i])
        assert set(told.groups[:3]) <= set(np.flatnonzero(first[i])) or len(told.groups) < first[i].sum()


def test_a_row_has_the_same_sums_alone_and_among_others():
    rng = np.random.default_rng(0)
    contributions, groups = rng.normal(size=(40, 60)), rng.integers(0, 5, 60)
    together = group_sums(contributions, groups)
    for i in range(40):
        assert group_sums(contributions[i : i + 1], groups)[0].tobytes() == together[i].tobytes()
