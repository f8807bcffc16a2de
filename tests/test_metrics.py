import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from models.metrics import (
    AtCut,
    evaluate,
    found_at_k,
    found_difference,
    precision_at_k,
    recall_at_k,
    single_column_aucs,
)


def world(n, seed=0, slope=1.0):
    """Labels drawn from a known logistic curve: score, probability that is believed, label."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) - 1
    return z, 1 / (1 + np.exp(-slope * z)), (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)


def measured(label, score, probability=None, **options):
    options = {"person": np.arange(len(label)), "k": 10, "seed": 1, "replicates": 50} | options
    return evaluate(
        label=np.asarray(label, float), rank_score=np.asarray(score, float), probability=probability, **options
    )


rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@given(rows)
def test_auc_and_average_precision_agree_with_scikit_learn(pairs):
    label, score = (np.array(part, float) for part in zip(*pairs, strict=True))
    result = measured(label, score)
    assert result["auc"].value == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert result["average_precision"].value == pytest.approx(average_precision_score(label, score), abs=1e-12)


@given(rows, st.integers(1, 50))
def test_bounds_over_ties_hold_every_order_of_the_equals(pairs, k):
    label, score = (np.array(part, float) for part in zip(*pairs, strict=True))
    found = found_at_k(label, score, k)
    rng = np.random.default_rng(0)
    counted = []
    for _ in range(200):
        order = np.lexsort((rng.random(len(score)), -score))
        counted.append(label[order][:k].sum())
    worst = label[np.lexsort((label, -score))][:k].sum()
    best = label[np.lexsort((-label, -score))][:k].sum()
    assert (found.worst, found.best) == (worst, best)
    assert worst <= min(counted) and max(counted) <= best
    assert found.value == pytest.approx(np.mean(counted), abs=0.6)
    result = measured(label, score, k=k)
    assert result["precision_at_capacity"].value == pytest.approx(precision_at_k(label, score, k).value)
    assert result["recall_at_capacity"].value == pytest.approx(recall_at_k(label, score, k).value)


def test_a_cut_among_equals_counted_by_hand():
    label, score = np.array([1, 1, 0, 1, 0, 0.0]), np.array([9, 5, 5, 5, 5, 1.0])
    # One sure place, then two places among four equals of whom two are in need.
    assert found_at_k(label, score, 3) == AtCut(value=2.0, worst=1.0, best=3.0)
    assert precision_at_k(label, score, 3) == AtCut(2 / 3, 1 / 3, 1.0)
    assert recall_at_k(label, score, 3) == AtCut(2 / 3, 1 / 3, 1.0)
    assert precision_at_k(label, score, 100) == AtCut(0.5, 0.5, 0.5)


def test_rows_are_ranked_within_their_period():
    # In each period the only one in need is first, though period 2's scores all lie below period 1's.
    label, score = [1, 0, 0, 1, 0, 0], [9, 8, 7, 3, 2, 1]
    period = np.array([1, 1, 1, 2, 2, 2])
    apart = measured(label, score, k=1, period=period)
    assert [apart[name].value for name in ("auc", "average_precision")] == [1.0, 1.0]
    assert (apart["precision_at_capacity"].value, apart["recall_at_capacity"].value) == (1.0, 1.0)
    together = measured(label, score, k=1)
    assert together["auc"].value == 6 / 8
    assert together["recall_at_capacity"].value == 0.5


def test_rows_of_unknown_outcome_are_left_out():
    label, score = np.array([1, np.nan, 0, 1, 0.0]), np.array([4, 9, 3, 2, 1.0])
    known = np.isfinite(label)
    probability = np.array([0.8, 0.9, 0.5, 0.4, 0.2])
    assert measured(label, score, probability) == measured(
        label[known], score[known], probability[known], person=np.array([0, 2, 3, 4])
    )


def test_what_the_rows_do_not_determine_is_not_a_number():
    result = measured([0, 0, 0], [1, 2, 3], np.array([0.5, 0.5, 0.5]))
    assert math.isnan(result["auc"].value) and math.isnan(result["recall_at_capacity"].value)
    assert result["precision_at_capacity"].value == 0.0
    assert result["calibration_error"].value == pytest.approx(0.5)
    assert math.isnan(result["calibration_slope"].value)
    assert all(math.isnan(value) for value in measured([], [])["auc"])


def test_calibration_agrees_with_scikit_learn_and_a_plain_sum():
    z, p, y = world(4000, seed=3, slope=1.7)
    result = measured(y, z, p, replicates=20)
    logit = np.log(p / (1 - p))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], y)
    assert result["calibration_slope"].value == pytest.approx(fitted.coef_[0, 0], abs=1e-5)
    # Calibration in the large: the shift that makes the promised total the observed one.
    shift = result["calibration_intercept"].value
    assert np.sum(1 / (1 + np.exp(-(logit + shift)))) == pytest.approx(y.sum(), abs=1e-6)
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    gap = sum(abs(np.sum(y[b] - p[b])) for b in bins) / len(y)
    assert result["calibration_error"].value == pytest.approx(gap, abs=2e-3)


def test_a_rule_has_no_calibration():
    result = measured([1, 0, 1, 0], [4, 3, 2, 1])
    assert all(
        math.isnan(v)
        for name in ("calibration_error", "calibration_slope", "calibration_intercept")
        for v in result[name]
    )


def test_two_newton_steps_reach_a_replicates_own_solution():
    z, p, y = world(600, seed=5, slope=2.0)
    person = np.arange(600)
    drawn = measured(y, z, p, replicates=400)["calibration_slope"]
    rng = np.random.default_rng(0)
    logit = np.log(p / (1 - p))
    slopes = []
    for _ in range(400):
        rows = rng.integers(0, 600, 600)
        model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=200).fit(logit[rows, None], y[rows])
        slopes.append(model.coef_[0, 0])
    low, high = np.quantile(slopes, [0.025, 0.975])
    assert len(person) == 600
    assert drawn.low == pytest.approx(low, abs=0.03) and drawn.high == pytest.approx(high, abs=0.03)


def test_the_same_seed_gives_the_same_intervals_and_another_does_not():
    z, p, y = world(500)
    assert measured(y, z, p, seed=4) == measured(y, z, p, seed=4)
    assert measured(y, z, p, seed=4)["auc"] != measured(y, z, p, seed=5)["auc"]
    assert measured(y, z, p, seed=4)["auc"].value == measured(y, z, p, seed=5)["auc"].value


def test_intervals_do_not_depend_on_the_order_of_the_rows():
    z, p, y = world(300)
    turned = np.random.default_rng(1).permutation(300)
    first, second = measured(y, z, p), measured(y[turned], z[turned], p[turned], person=turned)
    assert {name: round(e.value, 12) for name, e in first.items()} == {
        name: round(e.value, 12) for name, e in second.items()
    }


def test_people_are_drawn_not_rows():
    # Four rows per person say no more than one: the interval must be that of 200 persons, not of 800 rows.
    z, p, y = world(200, seed=2)
    once = measured(y, z, p, replicates=1000)["auc"]
    four = measured(
        np.repeat(y, 4), np.repeat(z, 4), np.repeat(p, 4), person=np.repeat(np.arange(200), 4), replicates=1000
    )
    as_rows = measured(np.repeat(y, 4), np.repeat(z, 4), np.repeat(p, 4), person=np.arange(800), replicates=1000)
    width = once.high - once.low
    assert four["auc"].high - four["auc"].low == pytest.approx(width, rel=0.1)
    assert as_rows["auc"].high - as_rows["auc"].low == pytest.approx(width / 2, rel=0.15)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    z, _, y = world(400_000, seed=11)
    truth = roc_auc_score(y, z)
    held = {"auc": 0, "calibration_slope": 0, "calibration_intercept": 0}
    right = {"auc": truth, "calibration_slope": 1.0, "calibration_intercept": 0.0}
    for seed in range(200):
        z, p, y = world(500, seed=seed)
        result = measured(y, z, p, replicates=300, seed=seed)
        for name, value in right.items():
            held[name] += result[name].low <= value <= result[name].high
    # 95 % of 200 is 190; three standard deviations are 9, and percentile intervals run a little short.
    assert all(count >= 179 for count in held.values()), held


def test_the_calibration_error_lies_within_its_own_interval():
    z, p, y = world(2000, seed=8)
    error = measured(y, z, p, replicates=500)["calibration_error"]
    assert 0 <= error.low <= error.value <= error.high < 0.06


def test_a_duel_counts_found_people_on_the_same_replicates():
    label = np.array([1, 1, 0, 0, 1, 0.0])
    ours, theirs = np.array([6, 5, 4, 3, 2, 1.0]), np.array([1, 2, 3, 4, 5, 6.0])
    a, b, difference = found_difference(label=label, ours=ours, theirs=theirs, person=np.arange(6), k=2, seed=1)
    assert (a.value, b.value, difference.value) == (2.0, 1.0, 1.0)
    mine = found_difference(label=label, ours=ours, theirs=ours * 3, person=np.arange(6), k=2, seed=1)[2]
    assert mine == (0.0, 0.0, 0.0)


def test_chance_finds_its_share():
    label = np.array([1, 0, 0, 0, 1, 0, 0, 0.0])
    a, chance, difference = found_difference(
        label=label, ours=-np.arange(8.0), theirs=None, person=np.arange(8), k=4, seed=1, replicates=2000
    )
    assert (a.value, chance.value, difference.value) == (1.0, 1.0, 0.0)
    assert difference.low < 0 < difference.high


def test_paired_differences_are_narrower_than_unpaired_ones():
    z, _, y = world(3000, seed=4)
    noisy = z + 0.1 * np.random.default_rng(0).normal(size=3000)
    a, b, difference = found_difference(label=y, ours=z, theirs=noisy, person=np.arange(3000), k=500, seed=1)
    unpaired = math.hypot(a.high - a.low, b.high - b.low)
    assert difference.high - difference.low < 0.6 * unpaired


def test_a_column_that_knows_the_outcome_is_found_in_either_direction():
    z, _, y = world(2000, seed=6)
    X = np.column_stack([z, -z, y, 1 - y, np.zeros(2000), np.where(y == 1, 7, np.nan)]).astype(np.float32)
    aucs = single_column_aucs(X, y)
    expected = roc_auc_score(y, z.astype(np.float32))
    assert aucs[:2] == pytest.approx([expected, expected], abs=1e-12)
    assert aucs[2:].tolist() == [1.0, 1.0, 0.5, 1.0]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.one_of(st.integers(0, 3), st.none())), min_size=2, max_size=30).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_missing_values_are_tried_at_both_ends(pairs):
    y = np.array([label for label, _ in pairs], float)
    ends = [np.array([end if value is None else value for _, value in pairs], float) for end in (-1, 9)]
    expected = max(max(auc, 1 - auc) for auc in (roc_auc_score(y, x) for x in ends))
    X = np.array([[np.nan if value is None else value] for _, value in pairs], dtype=np.float32)
    assert single_column_aucs(X, y)[0] == pytest.approx(expected, abs=1e-12)


def test_a_label_that_does_not_vary_tells_nothing_about_a_column():
    assert np.isnan(single_column_aucs(np.ones((5, 1), np.float32), np.ones(5))).all()
