import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm, poisson
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from models import metrics
from models.binned_gaps import calibrated_rows
from models.exact_bounds import Runs, exact_share
from models.metric_kernels import bootstrap_measures, draw_counts
from models.metrics import (
    AtCut,
    evaluate,
    found_at_k,
    found_difference,
    precision_at_k,
    ranking_replicates,
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


def test_rows_of_unknown_outcome_tell_nothing_but_their_number():
    label, score = np.array([1, np.nan, 0, 1, 0.0]), np.array([4, 9, 3, 2, 1.0])
    known = np.isfinite(label)
    probability = np.array([0.8, 0.9, 0.5, 0.4, 0.2])
    every, fewer = (
        measured(label[rows], score[rows], probability[rows], person=np.flatnonzero(rows), k=5)
        for rows in (np.ones(5, bool), known)
    )
    for name, figure in every.items():
        assert list(figure) == pytest.approx(list(fewer[name]), abs=1e-9), name
    # 2.5 places of everybody are 2 of those whose outcome is known.
    assert measured(label, score, k=5)["precision_at_capacity"].value == 0.5
    z, p, y = world(1000, seed=3)
    unknown = np.where(np.arange(1000) % 5 == 0, np.nan, y)
    here = np.isfinite(unknown)
    given, by_hand = measured(unknown, z, p, k=100), measured(y[here], z[here], p[here], k=80)
    for name in ("precision_at_capacity", "recall_at_capacity", "auc"):
        assert given[name].value == pytest.approx(by_hand[name].value), name


def test_leaving_that_tells_nothing_moves_no_figure_at_capacity():
    # A standard normal less 1 is the log odds, and 45 % leave whoever they are.
    z = np.linspace(-9, 9, 200_001)
    density, p = norm.pdf(z), 1 / (1 + np.exp(1 - z))
    top = z >= norm.ppf(0.9)
    precision = (density * p)[top].sum() / density[top].sum()
    recall = (density * p)[top].sum() / (density * p).sum()
    off = []
    for seed in range(60):
        z, _, y = world(2000, seed=7000 + seed)
        y[np.random.default_rng(seed).random(2000) < 0.45] = np.nan
        figures = measured(y, z, k=200, replicates=0)
        ours, chance, _ = found_difference(
            label=y, ours=z, theirs=None, person=np.arange(2000), k=200, seed=1, replicates=0
        )
        here = (figures["precision_at_capacity"].value - precision, figures["recall_at_capacity"].value - recall)
        off.append((*here, ours.value - 200 * precision, chance.value - 200 * (density * p).sum() / density.sum()))
    error, noise = np.mean(off, axis=0), np.std(off, axis=0, ddof=1) / np.sqrt(60)
    assert (np.abs(error) < 3 * noise).all(), (error, noise)
    assert noise[1] < 0.006  # counting the places among the known only would be off by 0.1


def test_what_the_rows_do_not_determine_is_not_a_number():
    result = measured([0, 0, 0], [1, 2, 3], np.array([0.5, 0.5, 0.5]))
    assert math.isnan(result["auc"].value) and math.isnan(result["recall_at_capacity"].value)
    assert result["precision_at_capacity"].value == 0.0
    # All promised 1/2 and none came: a gap of 1/2, of which labels drawn by chance make a variance of 1/12.
    assert result["calibration_error"].value == pytest.approx(np.sqrt(0.25 - 0.723 / 12))
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
    z, p, y = world(200_000, seed=3, slope=1.7)  # so many that noise takes next to nothing away
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    gap = sum(abs(np.sum(y[b] - p[b])) for b in bins) / len(y)
    assert measured(y, z, p, replicates=20)["calibration_error"].value == pytest.approx(gap, abs=2e-4)


def test_a_rule_has_no_calibration():
    result = measured([1, 0, 1, 0], [4, 3, 2, 1])
    assert all(
        math.isnan(v)
        for name in ("calibration_error", "calibration_slope", "calibration_intercept")
        for v in result[name]
    )


def test_two_newton_steps_reach_a_replicates_own_solution():
    z, p, y = world(600, seed=5, slope=2.0)
    drawn = measured(y, z, p, replicates=400)["calibration_slope"]
    rows = np.random.default_rng(0).integers(0, 600, (400, 600))
    x, label = np.log(p / (1 - p))[rows], y[rows]
    slope, level = np.full((400, 1), 0.5), np.zeros((400, 1))  # near all rows' solution, so Newton cannot run away
    for _ in range(12):  # Newton to the end, all replicates at once
        q = 1 / (1 + np.exp(-slope * x - level))
        v = q * (1 - q)
        h_aa, h_ab, h_bb = (np.sum(v * term, axis=1, keepdims=True) for term in (x * x, x, np.ones_like(x)))
        g_a, g_b = (np.sum((label - q) * term, axis=1, keepdims=True) for term in (x, np.ones_like(x)))
        determinant = h_aa * h_bb - h_ab**2
        slope, level = slope + (h_bb * g_a - h_ab * g_b) / determinant, level + (h_aa * g_b - h_ab * g_a) / determinant
    exact = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[0][:, None], label[0])
    assert slope[0, 0] == pytest.approx(exact.coef_[0, 0], abs=1e-5)
    slopes = slope[:, 0]
    low, high = np.quantile(slopes, [0.025, 0.975])
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


def test_intervals_hold_the_closed_truth_of_ranking_as_often_as_they_say():
    # A standard normal less 1 is the log odds; everything about the best order then follows by integration.
    z = np.linspace(-9, 9, 200_001)
    density, p = norm.pdf(z), 1 / (1 + np.exp(1 - z))
    in_need, not_in_need = density * p, density * (1 - p)
    prevalence, top = in_need.sum() / density.sum(), z >= norm.ppf(0.9)
    below = np.cumsum(not_in_need) / not_in_need.sum()
    right = {
        "auc": np.sum(in_need * below) / in_need.sum(),
        "precision_at_capacity": in_need[top].sum() / density[top].sum(),
        "recall_at_capacity": in_need[top].sum() / in_need.sum(),
    }
    assert right["recall_at_capacity"] == pytest.approx(0.1 * right["precision_at_capacity"] / prevalence, rel=1e-3)
    held = dict.fromkeys(right, 0)
    for seed in range(200):
        z, _, y = world(2000, seed=1000 + seed)
        result = measured(y, z, replicates=400, seed=seed, k=200)
        for name, value in right.items():
            held[name] += result[name].low <= value <= result[name].high
    fewest, most = binom.interval(0.999, 200, 0.95)
    assert all(fewest <= count <= most for count in held.values()), held


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "shift"), [(300, 0.0), (300, 0.4), (2000, 0.0), (2000, 0.4), (12_000, 0.0)])
def test_the_calibration_error_holds_the_truth_and_tells_no_error_where_there_is_none(n, shift, weighted):
    z = np.linspace(-9, 9, 200_001)  # of a standard normal less 1, whose log odds are too low by the shift
    truth = np.average(1 / (1 + np.exp(1 - z - shift)) - 1 / (1 + np.exp(1 - z)), weights=norm.pdf(z))
    held, values, plain, runs = 0, [], [], 60 if n < 10_000 else 30
    for seed in range(runs):
        rng = np.random.default_rng([seed, n])
        z = rng.normal(size=n) - 1
        p, y = 1 / (1 + np.exp(-z)), (rng.random(n) < 1 / (1 + np.exp(-z - shift))).astype(float)
        stays = 1 / (1 + np.exp(0.8 * z)) if weighted else np.ones(n)
        y[rng.random(n) >= stays] = np.nan
        weight = 1 / stays if weighted else None
        error = measured(y, z, p, seed=seed, weight=weight, replicates=200)["calibration_error"]
        assert 0 <= error.low <= error.value <= error.high <= 1
        held += error.low <= truth + 1e-12 and truth <= error.high
        values.append(error.value)
        known = np.isfinite(y)
        bins = np.array_split(np.flatnonzero(known)[np.argsort(p[known])], 10)
        plain.append(sum(abs(np.sum(y[b] - p[b])) for b in bins) / known.sum())
    assert held >= 0.9 * runs
    if shift == 0:
        assert np.mean(values) < 0.35 * np.mean(plain)  # the plain sum of gaps is all noise
    elif n == 2000:
        assert np.mean(values) == pytest.approx(truth, rel=0.25)


def test_a_duel_counts_found_people_on_the_same_replicates():
    label = np.array([1, 1, 0, 0, 1, 0.0])
    ours, theirs = np.array([6, 5, 4, 3, 2, 1.0]), np.array([1, 2, 3, 4, 5, 6.0])
    a, b, difference = found_difference(label=label, ours=ours, theirs=theirs, person=np.arange(6), k=2, seed=1)
    assert (a.value, b.value, difference.value) == (2.0, 1.0, 1.0)
    mine = found_difference(label=label, ours=ours, theirs=ours * 3, person=np.arange(6), k=2, seed=1)[2]
    assert mine == (0.0, 0.0, 0.0)


def few_places(k, seed, n=500):
    """A score and a rival that know the need to some degree; the truth of both at k places of n."""
    z, _, y = world(n, seed=seed)
    return z, y, z + np.random.default_rng(seed + 1).normal(size=n)


@pytest.fixture(scope="module")
def truth_at_few_places():
    """Per k of 500: precision, recall and the difference between the orders, by chances of need of 2,000 samples."""
    truth = {k: [] for k in (3, 5, 10)}
    for seed in range(2000):
        z, _, rival = few_places(3, 100_000 + seed)
        p = 1 / (1 + np.exp(-z))
        for k, figures in truth.items():
            ours, theirs = (p[np.argpartition(-score, k)[:k]].sum() for score in (z, rival))
            figures.append((ours / k, ours / p.sum(), ours, ours - theirs))
    return {k: np.mean(figures, axis=0) for k, figures in truth.items()}


@pytest.mark.parametrize("k", [3, 5, 10])
def test_few_places_are_never_certain_and_their_intervals_hold_the_truth(k, truth_at_few_places):
    precision, recall, found, difference = truth_at_few_places[k]
    held, runs = np.zeros(4), 200
    for seed in range(runs):
        z, y, rival = few_places(k, seed)
        figures = measured(y, z, k=k, seed=seed, replicates=200)
        a, b, more = found_difference(
            label=y, ours=z, theirs=rival, person=np.arange(500), k=k, seed=seed, replicates=200
        )
        estimates = (figures["precision_at_capacity"], figures["recall_at_capacity"], a, more)
        assert all(e.low < e.high for e in (*estimates, b))
        held += [e.low <= t <= e.high for e, t in zip(estimates, (precision, recall, found, difference), strict=True)]
    assert (held >= 0.9 * runs).all(), held / runs


def test_three_of_three_are_no_certainty():
    label, score = np.array([1, 1, 1, *[0] * 40, 1, 1]), -np.arange(45.0)
    figures = measured(label, score, k=3, replicates=300)
    low = 0.025 ** (1 / 3)  # Clopper and Pearson, three of three
    precision = figures["precision_at_capacity"]
    assert (precision.value, precision.high) == (1, 1) and precision.low <= low
    assert figures["recall_at_capacity"].low < 3 / 5 < figures["recall_at_capacity"].high
    ours, theirs, difference = found_difference(
        label=label, ours=score, theirs=np.where(np.arange(45) == 2, -99, score), person=np.arange(45), k=3, seed=1
    )
    assert (ours.value, theirs.value, difference.value) == (3, 2, 1)
    assert ours.low <= 3 * low + 1e-9
    # They differ in one place each: one of one was found there, and none of one.
    reach = math.hypot(0.975, 0.975)
    assert difference.low <= 1 - reach < 0 < 1 < difference.high
    # One person at three dates is one person.
    thrice = measured(np.tile([1, 0, 0], 3), np.tile([3, 2, 1], 3), k=1, person=np.tile(np.arange(3), 3),
                      period=np.repeat(np.arange(3), 3))["precision_at_capacity"]  # fmt: skip
    assert thrice.value == 1 and thrice.low <= 0.025 + 1e-9


@given(rows, st.integers(1, 50))
def test_places_are_given_to_rows_as_the_cut_counts_them(pairs, k):
    label, score = (np.array(part, float) for part in zip(*pairs, strict=True))
    period = np.arange(len(label)) % 2
    ranked, positions = metrics.ranked_rows(label, score, np.arange(len(label)), period, None)
    listed, places = Runs(ranked).listed(float(k))
    for when in (0, 1):
        here = period == when
        if here.any():
            mine = period[positions[listed]] == when
            assert places[mine].sum() == pytest.approx(min(k, here.sum()))
            assert places[mine] @ ranked.y[listed][mine] == pytest.approx(found_at_k(label[here], score[here], k).value)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_bounds_are_those_of_the_binomial(found_of):
    found, n = found_of
    low, high = exact_share(found, n, 0.025)
    assert low <= found / n <= high
    assert binom.sf(found - 1, n, low) == pytest.approx(0.025 if found else 1)
    assert binom.cdf(found, n, high) == pytest.approx(0.025 if found < n else 1)


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


# ---- replicates ----------------------------------------------------------------------------------------------------


def test_a_replicate_draws_as_many_persons_as_there_are():
    counts = draw_counts(5000, 3, 0, 41)
    assert counts[0].tolist() == [1] * 5000
    assert counts.sum(axis=1).tolist() == [5000] * 41
    seen = np.bincount(counts[1:].ravel(), minlength=6)[:6] / 200_000
    assert seen == pytest.approx(poisson.pmf(range(6), 1), abs=0.004)  # binomial(5000, 1/5000) is as good as Poisson
    assert not np.array_equal(counts[1], counts[2]) and not np.array_equal(counts[1], draw_counts(5000, 4, 1, 1)[0])


@given(rows, st.integers(0, 9))
def test_a_replicate_is_the_measure_of_rows_weighted_by_how_often_they_were_drawn(pairs, seed):
    label, score = (np.array(part, float) for part in zip(*pairs, strict=True))
    person = np.array([f"p{i}" for i in range(len(label))])
    drawn = ranking_replicates(label=label, rank_score=score, person=person, k=3, seed=seed, replicates=4)
    for counts, (auc, average, precision, recall, found) in zip(
        draw_counts(len(label), seed, 0, 5), drawn, strict=True
    ):
        often, times = np.repeat(label, counts), np.repeat(score, counts)
        expected = found_at_k(often, times, 3).value
        assert found == pytest.approx(expected)
        assert precision == pytest.approx(expected / min(3, len(often)))
        if often.sum() > 0:
            assert recall == pytest.approx(expected / often.sum())
            assert average == pytest.approx(average_precision_score(label, score, sample_weight=counts), abs=1e-12)
        if 0 < often.sum() < len(often):
            assert auc == pytest.approx(roc_auc_score(label, score, sample_weight=counts), abs=1e-12)
        else:
            assert math.isnan(auc)


def test_two_orders_are_compared_on_the_same_persons():
    z, _, y = world(400, seed=9)
    asked = {"label": y, "person": np.array([f"p{i // 2}" for i in range(400)]), "k": 10**9, "seed": 2}
    everyone = [ranking_replicates(rank_score=score, **asked, replicates=30)[:, 4] for score in (z, -z)]
    assert everyone[0].tolist() == everyone[1].tolist()  # listing everybody finds those in need among the drawn
    assert len(set(everyone[0])) > 5


@pytest.mark.parametrize("n", [300, 12_000])  # below and above where Newton's steps are precomputed
def test_any_number_of_threads_gives_the_same_figures(n):
    z, p, y = world(n, seed=7)
    weight = np.linspace(0.5, 2, n)
    found = []
    for threads in (1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        found.append(measured(y, z, p, replicates=30, weight=weight, period=np.arange(n) % 3))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert found[0] == found[1]


@pytest.mark.parametrize("slope", [0.6, 2.0])
def test_one_precomputed_newton_step_is_nearly_a_replicates_own_solution(slope):
    z, p, y = world(12_000, seed=5, slope=slope)
    ranked, order = metrics.ranked_rows(y, z, np.arange(12_000) % 9000, None, None)
    quick, _ = calibrated_rows(ranked, p[order])
    assert quick.terms.shape == (9000, 8)
    slow = quick._replace(terms=np.empty((0, 8)))
    one, two = (bootstrap_measures(ranked, each, 10.0, 60, 1)[:, 5:7] for each in (quick, slow))
    assert one[0] == pytest.approx(two[0], abs=1e-8)
    assert (np.abs(one - two).max(axis=0) < 0.06 * two.std(axis=0)).all()


# ---- weights -------------------------------------------------------------------------------------------------------

weighted_rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 5), st.sampled_from([0.5, 1.0, 2.0, 7.0])), min_size=2, max_size=30
).filter(lambda triples: len({label for label, *_ in triples}) == 2)


def naive_found(label, score, weight, k):
    """Weight in need within the first k of weight, the equals at the cut in proportion; plainly."""
    found = 0.0
    for value in sorted(set(score), reverse=True):
        here = score == value
        places = min(k, weight[here].sum())
        found += places * (weight * label)[here].sum() / weight[here].sum()
        k -= places
    return found


@given(weighted_rows, st.integers(1, 40))
def test_weighted_ranking_agrees_with_scikit_learn_and_a_plain_walk(triples, k):
    label, score, weight = (np.array(part, float) for part in zip(*triples, strict=True))
    result = measured(label, score, k=k, weight=weight, replicates=2)
    assert result["auc"].value == pytest.approx(roc_auc_score(label, score, sample_weight=weight), abs=1e-12)
    average = average_precision_score(label, score, sample_weight=weight)
    assert result["average_precision"].value == pytest.approx(average, abs=1e-12)
    n = len(label)
    scaled = weight * n / weight.sum()
    found = naive_found(label, score, scaled, k)
    assert result["precision_at_capacity"].value == pytest.approx(found / min(k, n))
    assert result["recall_at_capacity"].value == pytest.approx(found / (scaled * label).sum())
    ours, chance, _ = found_difference(
        label=label, ours=score, theirs=None, person=np.arange(n), k=k, seed=1, weight=weight, replicates=2
    )
    assert ours.value == pytest.approx(found)
    assert chance.value == pytest.approx(min(k, n) * (scaled * label).sum() / n)


def test_weighted_calibration_agrees_with_scikit_learn():
    z, p, y = world(4000, seed=3, slope=1.7)
    weight = np.random.default_rng(1).choice([0.5, 1, 3], 4000)
    result = measured(y, z, p, replicates=5, weight=weight)
    logit = np.log(p / (1 - p))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], y, sample_weight=weight)
    assert result["calibration_slope"].value == pytest.approx(fitted.coef_[0, 0], abs=1e-5)
    shift = result["calibration_intercept"].value
    assert np.sum(weight / (1 + np.exp(-(logit + shift)))) == pytest.approx(np.sum(weight * y), abs=1e-6)
    # Rows repeated as often as they weigh.
    often = np.repeat(np.arange(4000), (2 * weight).astype(int))
    repeated = measured(y[often], z[often], p[often], person=often, replicates=400)["calibration_error"]
    weighted = measured(y, z, p, replicates=400, weight=weight)["calibration_error"]
    assert list(weighted) == pytest.approx(list(repeated), abs=2e-3)


def test_the_scale_of_weights_does_not_matter_and_ones_change_nothing():
    z, p, y = world(600, seed=1)
    weight = np.random.default_rng(2).random(600) + 0.5
    period = np.arange(600) % 2
    first, second = (measured(y, z, p, weight=scale * weight, period=period) for scale in (1, 1024))
    assert first == second
    plain = measured(y, z, p, person=np.arange(600))
    ones = measured(y, z, p, person=np.arange(600), weight=np.ones(600))
    for name, figures in plain.items():
        # Bins of equal weight and of equal number differ by a row at an edge.
        near = 1e-2 if name == "calibration_error" else 1e-12
        assert list(ones[name]) == pytest.approx(list(figures), abs=near)


def test_rows_of_weight_nothing_are_left_out_but_keep_their_place_in_the_count():
    z, p, y = world(300, seed=3)
    gone = np.arange(300) % 5 == 0
    weight = np.where(gone, 0.0, 1.25)
    unknown = np.where(gone, np.nan, y)
    assert measured(y, z, p, weight=weight) == measured(unknown, z, p, weight=np.where(gone, np.nan, 1.25))
    # Ten places among 300 rows are eight among the 240 that are known.
    by_hand = found_at_k(unknown[~gone], z[~gone], 8).value / 8
    assert measured(unknown, z, p, weight=weight)["precision_at_capacity"].value == pytest.approx(by_hand)


def test_weights_that_are_no_weights_are_refused():
    z, _, y = world(5)
    for weight in ([1, 1, -1, 1, 1], [1, np.nan, 1, 1, 1]):
        with pytest.raises(ValueError) as refused:
            measured(y, z, weight=np.array(weight, float))
        assert str(refused.value) == "weight: 1 rows of known outcome have one that is negative or not a number"


def informative_world(n, seed):
    """Those likelier to be in need leave more often: score, probability, label, left, 1 / chance of staying."""
    z, p, y = world(n, seed=seed)
    stays = 1 / (1 + np.exp(1.2 * z))
    return z, p, y, np.random.default_rng(seed + 10_000).random(n) >= stays, 1 / stays


def test_under_informative_censoring_weighted_figures_are_nearer_the_truth():
    names = ("auc", "average_precision", "precision_at_capacity", "recall_at_capacity")
    dropped_off, weighted_off = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    truth = measured(*[informative_world(400_000, 99)[i] for i in (2, 0, 1)], k=20_000, replicates=1)
    for seed in range(12):
        z, p, y, left, weight = informative_world(4000, seed)
        # A model that promises what is true of everybody.
        known = np.where(left, np.nan, y)
        dropped = measured(known, z, p, k=200, replicates=1)
        weighted = measured(known, z, p, k=200, replicates=1, weight=weight)
        for name in names:
            dropped_off[name] += (dropped[name].value - truth[name].value) / 12
            weighted_off[name] += (weighted[name].value - truth[name].value) / 12
    for name in names:
        assert abs(weighted_off[name]) < 0.5 * abs(dropped_off[name]), (name, weighted_off, dropped_off)


def test_weighted_intervals_hold_the_closed_truth():
    z = np.linspace(-9, 9, 200_001)
    density, p = norm.pdf(z), 1 / (1 + np.exp(1 - z))
    top = z >= norm.ppf(0.9)
    right = {
        "precision_at_capacity": (density * p)[top].sum() / density[top].sum(),
        "recall_at_capacity": (density * p)[top].sum() / (density * p).sum(),
    }
    held = dict.fromkeys(right, 0)
    for seed in range(200):
        z, _, y, left, weight = informative_world(2000, 3000 + seed)
        result = measured(np.where(left, np.nan, y), z, k=200, replicates=300, seed=seed, weight=weight)
        for name, value in right.items():
            held[name] += result[name].low <= value <= result[name].high
    fewest, most = binom.interval(0.999, 200, 0.95)
    assert all(fewest <= count <= most for count in held.values()), held
