import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.calibration import calibration_curve

from models.curves import k_curve, net_benefit, reliability
from models.metrics import evaluate, found_at_k

MEASURES = [
    f"{name}{end}" for name in ("precision", "recall", "lift") for end in ("", "_low", "_high", "_worst", "_best")
]


def world(n, seed=0):
    """Labels drawn from a known logistic curve: score, probability, label."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) - 1
    p = 1 / (1 + np.exp(-z))
    return z, p, (rng.random(n) < p).astype(float)


rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40)


# ---- k curve -------------------------------------------------------------------------------------------------------


@given(rows)
def test_the_k_curve_agrees_with_counting_in_every_period(triples):
    label, score, period = (np.array(part, float) for part in zip(*triples, strict=True))
    curve = k_curve(
        label=label, rank_score=score, person=np.arange(len(label)), period=period, seed=1, points=9, replicates=2
    )
    parts = [period == when for when in np.unique(period)]
    assert curve["k"].to_list() == sorted(set(curve["k"])) and curve["k"][-1] == max(part.sum() for part in parts)
    for k, row in zip(curve["k"], curve.iter_rows(named=True), strict=True):
        found = np.sum([found_at_k(label[part], score[part], k) for part in parts], axis=0)
        listed = sum(min(k, part.sum()) for part in parts)
        assert row["share"] == pytest.approx(listed / len(label))
        for end, n in zip(("", "_worst", "_best"), found, strict=True):
            assert row[f"precision{end}"] == pytest.approx(n / listed)
            if label.any():
                assert row[f"recall{end}"] == pytest.approx(n / label.sum())
                assert row[f"lift{end}"] == pytest.approx(n / listed / label.mean())
            else:
                assert np.isnan([row[f"recall{end}"], row[f"lift{end}"]]).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_k_curve_goes_through_the_measures_at_capacity(weighted):
    z, p, y = world(1500, seed=2)
    y[::9] = np.nan
    asked = {
        "label": y,
        "rank_score": np.round(z, 1),
        "person": np.arange(1500) // 2,
        "period": np.arange(1500) % 2,
        "weight": 1 / (0.3 + p) if weighted else None,
        "seed": 4,
        "replicates": 100,
    }
    curve = k_curve(points=12, **asked)
    for row in curve.iter_rows(named=True):
        measures = evaluate(probability=None, k=row["k"], **asked)
        for name in ("precision", "recall"):
            expected = measures[f"{name}_at_capacity"]
            assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(list(expected), abs=1e-12)
            assert row[f"{name}_worst"] - 1e-12 <= row[name] <= row[f"{name}_best"] + 1e-12


def test_the_k_curve_is_certain_of_nothing_but_that_everybody_holds_everybody():
    z, _, y = world(60, seed=1)
    y[np.argsort(-z)[:4]] = 1
    curve = k_curve(label=y, rank_score=z, person=np.arange(60), seed=1)
    for name in ("precision", "recall", "lift"):
        assert (curve[f"{name}_low"] < curve[f"{name}_high"])[:-1].all()
    assert curve.row(-1, named=True)["recall_low"] == 1
    short = curve.row(0, named=True)  # one place, one found
    assert short["precision"] == 1 and short["precision_low"] <= 0.025 + 1e-9


def test_the_last_row_of_the_k_curve_is_everybody():
    z, p, y = world(800, seed=5)
    curve = k_curve(label=y, rank_score=z, person=np.arange(800), seed=1)
    assert curve.columns == ["k", "share", *MEASURES]
    assert 35 <= curve.height <= 50  # the shortest lists are the same whole number
    last = curve.row(-1, named=True)
    assert (last["k"], last["share"], last["recall"], last["lift"]) == (800, 1.0, 1.0, 1.0)
    assert last["precision"] == pytest.approx(y.mean())
    # With weights, everybody includes those whose outcome is not known.
    unknown = np.where(np.arange(800) % 4 == 0, np.nan, y)
    weighted = k_curve(label=unknown, rank_score=z, person=np.arange(800), seed=1, weight=1 / (1 + p))
    assert weighted["k"].to_list()[-1] == 800
    known = np.isfinite(unknown)
    assert weighted["precision"][-1] == pytest.approx(np.average(y[known], weights=1 / (1 + p[known])))


def test_intervals_of_the_k_curve_hold_the_closed_truth():
    z = np.linspace(-9, 9, 200_001)
    density, p = norm.pdf(z), 1 / (1 + np.exp(1 - z))
    truth = {}
    for k in (20, 200, 1000):
        top = z >= norm.ppf(1 - k / 1000)
        truth[k] = (density * p)[top].sum() / density[top].sum()
    held = dict.fromkeys(truth, 0)
    for seed in range(200):
        z, _, y = world(1000, seed=500 + seed)
        curve = k_curve(label=y, rank_score=z, person=np.arange(1000), seed=seed, points=31, replicates=200)
        for k, value in truth.items():
            row = curve.row(by_predicate=pl.col("k") == k, named=True)
            held[k] += row["precision_low"] <= value <= row["precision_high"]
    fewest, most = binom.interval(0.999, 200, 0.95)
    assert fewest <= held[20]  # exact bounds of few places hold more
    assert all(fewest <= held[k] <= most for k in (200, 1000)), held


def test_the_same_seed_gives_the_same_curves():
    z, p, y = world(300)
    who = np.arange(300)
    for draw in (
        lambda seed: k_curve(label=y, rank_score=z, person=who, seed=seed),
        lambda seed: reliability(label=y, probability=p, person=who, seed=seed),
        lambda seed: net_benefit(label=y, probability=p, person=who, seed=seed),
    ):
        assert draw(1).equals(draw(1))
        assert not draw(1).equals(draw(2))


def test_no_known_outcome_gives_empty_curves():
    asked = {"label": np.full(3, np.nan), "person": np.arange(3), "seed": 1}
    p = np.array([0.1, 0.2, 0.3])
    assert k_curve(rank_score=p, **asked).is_empty()
    assert reliability(probability=p, **asked).is_empty()
    assert net_benefit(probability=p, **asked).is_empty()
    assert k_curve(rank_score=p, **asked).columns == ["k", "share", *MEASURES]


# ---- reliability ---------------------------------------------------------------------------------------------------


def test_reliability_agrees_with_scikit_learn():
    _, p, y = world(5000, seed=3)
    found = reliability(label=y, probability=p, person=np.arange(5000), seed=1, replicates=50)
    observed, promised = calibration_curve(y, p, n_bins=10, strategy="quantile")
    assert found["observed"].to_numpy() == pytest.approx(observed, abs=1e-12)
    assert found["promised"].to_numpy() == pytest.approx(promised, abs=1e-12)
    assert found["n"].to_list() == [500] * 10 and found["bin"].to_list() == list(range(10))
    # A share of 500 persons has a known standard error.
    width = found["high"].to_numpy() - found["low"].to_numpy()
    assert width == pytest.approx(2 * 1.96 * np.sqrt(observed * (1 - observed) / 500), rel=0.4)


def test_weighted_reliability_is_that_of_rows_repeated():
    _, p, y = world(600, seed=4)
    p = np.round(p, 2)
    times = np.random.default_rng(0).integers(1, 4, 600)
    person = np.arange(600)
    weighted = reliability(label=y, probability=p, person=person, seed=1, weight=times.astype(float), bins=4)
    for row in weighted.iter_rows(named=True):
        assert 0 <= row["low"] <= row["observed"] <= row["high"] <= 1
    often = np.repeat(person, times)
    repeated = reliability(label=y[often], probability=p[often], person=person[often], seed=1, bins=4)
    for column in ("promised", "observed", "low", "high"):
        assert weighted[column].to_list() == pytest.approx(repeated[column].to_list(), abs=1e-9)
    assert weighted["n"].sum() == 600 and repeated["n"].sum() == times.sum()


def test_a_bin_in_which_nobody_is_in_need_has_an_exact_bound():
    p = np.repeat([0.1, 0.5, 0.9], 30)
    y = np.concatenate([np.zeros(30), np.arange(30) % 2, np.ones(30)])
    found = reliability(label=y, probability=p, person=np.arange(90), seed=1, bins=3)
    bound = 0.025 ** (1 / 30)
    assert (found["low"][0], found["high"][0]) == (0, pytest.approx(1 - bound))
    assert (found["low"][2], found["high"][2]) == (pytest.approx(bound), 1)
    assert binom.pmf(0, 30, found["high"][0]) == pytest.approx(0.025)
    # Two rows of each person say no more than one.
    twice = reliability(label=y, probability=p, person=np.arange(90) // 2, seed=1, bins=3)
    assert twice["high"][0] == pytest.approx(1 - 0.025 ** (1 / 15))


# ---- net benefit ---------------------------------------------------------------------------------------------------


@given(rows, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5), st.booleans())
def test_net_benefit_agrees_with_counting(triples, thresholds, weighted):
    label, tenths, times = (np.array(part, float) for part in zip(*triples, strict=True))
    p, weight = tenths / 4, times + 1 if weighted else np.ones(len(label))
    found = net_benefit(
        label=label,
        probability=p,
        person=np.arange(len(label)),
        weight=weight if weighted else None,
        thresholds=np.array(thresholds),
        seed=1,
        replicates=2,
    )
    assert found["threshold"].to_list() == sorted(set(thresholds))
    for row in found.iter_rows(named=True):
        price = row["threshold"] / (1 - row["threshold"])
        for name, contacted in (("model", p >= row["threshold"]), ("everyone", np.ones(len(p), bool))):
            gain = sum(w * (y - price * (1 - y)) for w, y, c in zip(weight, label, contacted, strict=True) if c)
            assert row[name] == pytest.approx(gain / weight.sum(), abs=1e-9)
        assert row["nobody"] == 0


def test_the_interval_of_net_benefit_is_that_of_a_mean_over_persons():
    _, p, y = world(4000, seed=6)
    found = net_benefit(label=y, probability=p, person=np.arange(4000), seed=1, replicates=1000)
    assert found.height == 50
    assert found["threshold"].min() > 0 and found["threshold"].max() < p.max()
    for row in found.filter(pl.col("threshold") < 0.6).iter_rows(named=True):
        price = row["threshold"] / (1 - row["threshold"])
        each = np.where(p >= row["threshold"], y - price * (1 - y), 0)
        assert row["model"] == pytest.approx(each.mean())
        width = 2 * 1.96 * each.std() / np.sqrt(4000)
        assert row["high"] - row["low"] == pytest.approx(width, rel=0.15)


def test_a_threshold_that_is_no_price_is_refused():
    for wrong in (0, 1, 1.5, np.nan):
        with pytest.raises(ValueError) as refused:
            net_benefit(
                label=np.ones(2), probability=np.ones(2), person=np.arange(2), thresholds=np.array([wrong]), seed=1
            )
        assert str(refused.value) == f"thresholds: {wrong:g} does not lie between 0 and 1"
