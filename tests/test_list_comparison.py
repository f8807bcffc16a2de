from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.list_comparison import error_crosstab, list_overlap, subset_performance
from models.metrics import evaluate, found_at_k

DAYS = [date(2024, 1, 1), date(2024, 7, 1)]


def judged(label, score, period=None, **columns):
    """Rows as an experiment leaves them."""
    n = len(label)
    days = [DAYS[0]] * n if period is None else [DAYS[int(i)] for i in period]
    return pl.DataFrame(
        {
            "person_id": [f"p{i:05d}" for i in range(n)],
            "as_of_date": days,
            "origin": days,
            "label": np.asarray(label, float),
            "rank_score": np.asarray(score, float),
            "probability": 1 / (1 + np.exp(-np.asarray(score, float))),
        }
        | columns
    ).with_columns(pl.col("label").fill_nan(None))


def world(n, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) - 1
    return z, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)


# ---- subsets -------------------------------------------------------------------------------------------------------


def test_a_part_is_ranked_anew_at_the_same_share():
    z, y = world(1000, seed=1)
    period = np.arange(1000) % 2
    rows = judged(y, z, period)
    young = np.arange(1000) < 300
    found = subset_performance(rows, {"young": young, "old": ~young}, 50, 3, replicates=40)
    assert found["subset"].to_list() == ["everybody", "young", "old"]
    assert found["n"].to_list() == [1000, 300, 700]
    assert found["in_need"].to_list() == [int(y.sum()), int(y[young].sum()), int(y[~young].sum())]
    assert found["k"].to_list() == [50, 15, 35]
    for part, row in zip((young | True, young, ~young), found.iter_rows(named=True), strict=True):
        counted = [found_at_k(y[part & (period == i)], z[part & (period == i)], row["k"]).value for i in (0, 1)]
        assert row["precision_at_capacity"] == pytest.approx(sum(counted) / (2 * row["k"]))
        assert row["precision_at_capacity_low"] < row["precision_at_capacity"] < row["precision_at_capacity_high"]
        expected = evaluate(
            label=y[part], rank_score=z[part], probability=rows["probability"].to_numpy()[part],
            person=rows["person_id"].to_numpy()[part], period=period[part], k=row["k"], seed=3, replicates=40,
        )  # fmt: skip
        for measure, estimate in expected.items():
            assert (row[measure], row[f"{measure}_low"], row[f"{measure}_high"]) == pytest.approx(tuple(estimate))


def test_places_of_a_part_are_its_share_of_everybody():
    z, y = world(400, seed=2)
    y[:150] = np.nan  # of the first half, 50 are known
    part = np.arange(400) < 200
    found = subset_performance(judged(y, z), {"half": part}, 100, 1, replicates=2)
    assert found["k"].to_list() == [100, 50]
    assert found["in_need"].to_list() == [int(np.nansum(y)), int(np.nansum(y[:200]))]
    weighted = subset_performance(judged(y, z, weight=np.where(part, 4.0, 1.0)), {"half": part}, 100, 1, replicates=2)
    assert weighted["k"].to_list() == [100, 50]
    # Fifty places of two hundred are a quarter, 12½ of the fifty known.
    found = np.mean([found_at_k(y[150:200], z[150:200], k).value for k in (12, 13)])
    assert weighted["precision_at_capacity"][1] == pytest.approx(found / 12.5)


def test_a_part_with_one_outcome_and_a_rule_have_figures_that_are_not_numbers():
    z, y = world(60, seed=3)
    rows = judged(y, z).with_columns(probability=pl.lit(None, dtype=pl.Float64))
    found = subset_performance(rows, {"in need": y == 1, "nobody": np.zeros(60, bool)}, 6, 1, replicates=10)
    assert np.isnan(found["calibration_slope"].to_numpy()).all()
    assert np.isnan(found["auc"][1]) and found["precision_at_capacity"][1] == 1
    assert (found["n"][2], found["in_need"][2]) == (0, 0) and np.isnan(found["precision_at_capacity"][2])


def test_a_part_that_is_not_one_truth_value_per_row_is_refused():
    z, y = world(5)
    for part in (np.arange(5), np.ones(4, bool)):
        with pytest.raises(ValueError) as refused:
            subset_performance(judged(y, z), {"x": part}, 2, 1)
        assert str(refused.value) == "subsets: 'x' is not one truth value for each of 5 rows"


# ---- errors --------------------------------------------------------------------------------------------------------


def test_errors_of_two_orders_counted_by_hand():
    label = [1, 1, 0, 0, 1, 0]
    ours, other = [6, 5, 4, 3, 2, 1], np.array([6.0, 1, 5, 2, 4, 3])
    found = error_crosstab(judged(label, ours), other, 2)  # ours: 0 and 1; other: 0 and 2
    assert found.columns == ["outcome", "ours", "other", "rows", "share"]
    assert found.rows() == [
        ("in need", "listed", "listed", 1.0, 1 / 3),
        ("in need", "listed", "not listed", 1.0, 1 / 3),
        ("in need", "not listed", "listed", 0.0, 0.0),
        ("in need", "not listed", "not listed", 1.0, 1 / 3),
        ("not in need", "listed", "listed", 0.0, 0.0),
        ("not in need", "listed", "not listed", 0.0, 0.0),
        ("not in need", "not listed", "listed", 1.0, 1 / 3),
        ("not in need", "not listed", "not listed", 2.0, 2 / 3),
    ]


def test_rows_of_known_outcome_stand_for_the_others():
    label = [1, 1, 0, 0, 1, 0] + [np.nan] * 6
    ours = [6, 5, 4, 3, 2, 1] * 2
    found = error_crosstab(
        judged(label, ours), np.array(ours, float), 4
    )  # each known row is two: 0 and 1 fill 4 places
    listed = found.filter((pl.col("ours") == "listed") & (pl.col("other") == "listed"))
    assert listed["rows"].to_list() == [4.0, 0.0] and found["rows"].sum() == 12


rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=30
)


@given(rows, st.integers(1, 12), st.booleans())
def test_errors_add_up_to_what_each_list_finds(quadruples, k, weighted):
    label, ours, other, period = (np.array(part, float) for part in zip(*quadruples, strict=True))
    weights = {"weight": 1.0 + ours} if weighted else {}
    table = error_crosstab(judged(label, ours, period, **weights), other, k)
    assert (table["rows"] >= -1e-12).all()
    assert table["rows"].sum() == pytest.approx(len(label))
    for score, column in ((ours, "ours"), (other, "other")):
        listed = table.filter(pl.col(column) == "listed")
        found = listed.filter(pl.col("outcome") == "in need")["rows"].sum()
        if not weighted:
            parts = [period == when for when in np.unique(period)]
            assert found == pytest.approx(sum(found_at_k(label[part], score[part], k).value for part in parts))
        precision = evaluate(
            label=label, rank_score=score, probability=None, person=np.arange(len(label)), period=period, k=k, seed=1,
            replicates=1, weight=weights.get("weight"),
        )["precision_at_capacity"].value  # fmt: skip
        assert found / listed["rows"].sum() == pytest.approx(precision)


def test_an_order_beside_itself_makes_no_other_error():
    z, y = world(200, seed=4)
    table = error_crosstab(judged(y, np.round(z)), np.round(z), 30)
    assert table.filter(pl.col("ours") != pl.col("other"))["rows"].to_list() == [0.0] * 4


# ---- overlap -------------------------------------------------------------------------------------------------------


def test_overlap_counted_by_hand():
    scores = {
        "a": np.array([6.0, 5, 4, 3, 2, 1]),
        "b": np.array([6.0, 1, 5, 2, 4, 3]),
        "c": np.array([1.0, 2, 3, 4, 5, 6]),
    }
    found = list_overlap(judged([1, np.nan, 0, 0, 1, 0], scores["a"]), scores, 2, 1, replicates=20)
    assert found.select("a", "b", "shared", "jaccard").rows() == [
        ("a", "b", 1.0, 1 / 3),
        ("a", "c", 0.0, 0.0),
        ("b", "c", 0.0, 0.0),
    ]
    assert (found["low"] <= found["jaccard"]).all() and (found["jaccard"] <= found["high"]).all()


def test_equal_orders_overlap_wholly_though_they_tie():
    z = np.round(world(300, seed=5)[0])
    found = list_overlap(judged(np.zeros(300), z, np.arange(300) % 2), {"a": z, "twice": 2 * z}, 20, 1, replicates=50)
    assert found.row(0)[:2] == ("a", "twice")
    assert found.row(0)[2:] == pytest.approx((40, 1, 1, 1), abs=1e-12)


@given(rows, st.integers(1, 12))
def test_overlap_without_ties_is_that_of_sets(quadruples, k):
    period = np.array([row[3] for row in quadruples])
    n = len(period)
    rng = np.random.default_rng(n * 100 + k)
    a, b = rng.permutation(n).astype(float), rng.permutation(n).astype(float)
    listed = [
        {i for when in (0, 1) for i in sorted(np.flatnonzero(period == when), key=lambda i: -score[i])[:k]}
        for score in (a, b)
    ]
    found = list_overlap(judged(np.zeros(n), a, period), {"a": a, "b": b}, k, 1, replicates=3).row(0, named=True)
    assert found["shared"] == len(listed[0] & listed[1])
    assert found["jaccard"] == pytest.approx(len(listed[0] & listed[1]) / len(listed[0] | listed[1]))


def test_the_interval_of_the_overlap_is_as_wide_as_worlds_differ():
    def overlap(seed, replicates):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=1000)
        b = a + rng.normal(size=1000)
        return list_overlap(judged(np.zeros(1000), a), {"a": a, "b": b}, 150, 1, replicates=replicates).row(
            0, named=True
        )

    worlds = [overlap(seed, 1)["jaccard"] for seed in range(300)]
    low, high = np.quantile(worlds, [0.025, 0.975])
    widths = [found["high"] - found["low"] for found in (overlap(seed, 300) for seed in range(20))]
    assert np.mean(widths) == pytest.approx(high - low, rel=0.2)
