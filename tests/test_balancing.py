import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethics.balancing import balancing_weights, equal_recall_order, group_codes


def test_null_is_a_group_of_its_own():
    assert group_codes(["b", None, "a"]).tolist() == [1, 2, 0]
    assert group_codes([None, None]).tolist() == [0, 0]


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.sampled_from(["a", "b", None])), min_size=1))
def test_weighted_need_is_the_same_in_every_group(rows):
    label = np.array([y for y, _ in rows])
    group = [g for _, g in rows]
    weight, code = balancing_weights(label, group), group_codes(group)
    known = np.isfinite(label)
    assert np.all(weight[~known] == 1) and np.all(weight > 0)
    if not known.any():
        return
    assert weight[known].mean() == pytest.approx(1)
    for member in np.unique(code[known]):
        rows_of = known & (code == member)
        if len(set(label[rows_of])) == 2 and len(set(zip(code[known], label[known]))) == 2 * len(
            np.unique(code[known])
        ):
            share = np.average(label[rows_of], weights=weight[rows_of])
            assert share == pytest.approx(np.average(label[known], weights=weight[known]))


def test_every_cut_finds_the_same_share_of_each_groups_expected_need():
    rng = np.random.default_rng(1)
    n = 20_000
    group = rng.choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1])
    chance = rng.beta(1, 12, n) * np.where(group == "b", 2.0, 1.0)
    score = np.log(chance)
    order = np.argsort(-equal_recall_order(score, chance, group))
    for cut in (500, 2_000, 8_000):
        taken = order[:cut]
        found = [chance[taken][group[taken] == name].sum() / chance[group == name].sum() for name in "abc"]
        assert max(found) - min(found) < 0.01


def test_the_order_inside_a_group_stays():
    rng = np.random.default_rng(2)
    score, group = rng.normal(size=500), rng.choice(["a", "b"], 500)
    level = equal_recall_order(score, np.full(500, 0.1), group)
    for name in "ab":
        inside = group == name
        assert np.array_equal(np.argsort(-score[inside]), np.argsort(-level[inside]))


def test_people_of_no_expected_need_come_somewhere():
    assert np.isfinite(equal_recall_order([2, 1, 0], [0.0, 0.0, 0.5], ["a", "a", "b"])).all()
