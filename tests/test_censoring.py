import dataclasses
import re
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from model_worlds import HORIZON, Nature, World, world_matrix, world_need

from ethics.refusals import BadInput
from features.city import open_city
from features.cohort import build_cohort
from features.matrix import Matrix, build_matrix
from features.spec import CohortSpec, FeatureSpec, LabelSpec
from models import censoring
from models.censoring import censoring_differences, censoring_weights, effective_rows, weigh_censoring

DAY = date(2024, 1, 1)


def label_of_days(days, **more):
    return LabelSpec(codes=["need"], horizon_days=days, censored_by=["moved_away"], **more)


def made(followed, censored, y=None, X=None, people=None):
    n = len(followed)
    people = [f"P{i}" for i in range(n)] if people is None else people
    return Matrix(
        keys=pl.DataFrame({"person_id": people, "as_of_date": [DAY] * n}),
        X=np.zeros((n, 1), dtype=np.float32) if X is None else X,
        names=("a",) if X is None else tuple(f"c{j}" for j in range(X.shape[1])),
        y=np.zeros(n) if y is None else np.asarray(y, dtype=np.float64),
        followed_days=np.asarray(followed, dtype=np.float64),
        censored=np.asarray(censored, dtype=bool),
    )


@pytest.fixture(scope="module")
def world():
    """Those at risk leave: 30 % of the city within the horizon, of the risky most."""
    return World(seed=3, persons=16_000, base_rate=0.2, strength=1.8, leave_share=0.35, leave_by_columns=1.0)


@pytest.fixture(scope="module")
def rows(world):
    return Nature(world).rows(world.persons, (0,), seed=0)


@pytest.fixture(scope="module")
def matrix(world, rows):
    return world_matrix(rows, world_need(world, len(rows.person)))


@pytest.fixture(scope="module")
def weighed(matrix):
    return weigh_censoring(matrix, label_of_days(HORIZON), seed=1)


# ---- counted by hand -----------------------------------------------------------------------------------------------


def test_where_nobody_left_everybody_weighs_one_and_what_is_not_mature_nothing():
    found = weigh_censoring(made([30, 4, np.nan, 30], [False] * 4), label_of_days(30), seed=1)
    assert found.weight.tolist() == [1.0, 1.0, 0.0, 1.0]
    assert (found.method, found.n_censored, found.n_truncated, found.effective_rows) == ("none", 0, 0, 3.0)


def test_where_nobody_stayed_there_is_nobody_to_weigh():
    assert censoring_weights(made([3, 4], [True, True]), label_of_days(30), seed=1).tolist() == [0.0, 0.0]


def test_few_who_left_are_spoken_for_by_those_still_followed_then():
    # Two were decided on day 3. On day 5 eight were left, of whom two moved: six speak for eight.
    left = [False, False, True, True, *[False] * 6]
    found = weigh_censoring(made([3, 3, 5, 5, *[10] * 6], left), label_of_days(10), seed=1)
    assert found.weight == pytest.approx([1, 1, 0, 0, *[4 / 3] * 6])
    assert (found.method, found.n_censored) == ("time alone", 2)
    assert found.effective_rows == pytest.approx(10**2 / (2 + 6 * 16 / 9))


def test_who_was_decided_within_an_interval_was_there_for_a_part_of_it():
    # From day 4 to 8 the chance of staying is 1 - 2 / (2 + 4 + 2 * 1/4): who is decided on day 5 needs a quarter of it.
    found = weigh_censoring(made([4, 4, 5, 5, 8, 8, 8, 8], [True, True, *[False] * 6]), label_of_days(8), seed=1)
    stay = 1 - 2 / 6.5
    assert found.weight == pytest.approx([0, 0, *[stay**-0.25] * 2, *[1 / stay] * 4])


def test_who_was_followed_for_long_enough_is_known_and_weighs_as_of_that_day():
    # Followed for 5 days from day 1 suffices, so leaving on day 6 or later loses nothing: nobody left before but two.
    label = label_of_days(10, starts_after_days=1, min_days_at_risk=5)
    found = weigh_censoring(made([3, 3, 6, 7, 10, 10], [True, True, False, False, False, False]), label, seed=1)
    assert found.weight == pytest.approx([0, 0, 1.5, 1.5, 1.5, 1.5])


def test_a_city_tells_who_left_and_who_stayed_speaks_for_them(tiny_city, nobody_objects):
    # Anna is in need on day 29 of 90, Bo moves on day 9, Cai is followed to the end.
    city = open_city(tiny_city)
    label = LabelSpec(codes=["status.neet"], horizon_days=90, censored_by=["moved_away"], censoring="ipcw")
    keys = build_cohort(city, CohortSpec(table="all"))
    features = [FeatureSpec(name="absence", codes=["school.*"], windows=[30], measures=["count"])]
    matrix = build_matrix(city, features, keys, objections=nobody_objects, need_id="youth", label=label)
    assert matrix.keys["person_id"].to_list() == ["anna", "bo", "cai"]
    assert np.array_equal(matrix.y, [1, np.nan, 0], equal_nan=True)
    stay = 1 - 1 / (1 + 1 + 20 / 81)  # from day 9 on: Bo, Cai, and Anna for 20 days of 81
    assert censoring_weights(matrix, label, seed=1) == pytest.approx([stay ** (-20 / 81), 0, 1 / stay], rel=2e-3)


def test_a_matrix_without_how_long_rows_were_followed_is_refused():
    matrix = dataclasses.replace(made([3], [False]), followed_days=None)
    wrong = "matrix: does not say how long its rows were followed. Build it with label=need.label"
    with pytest.raises(BadInput, match=re.escape(wrong)):
        weigh_censoring(matrix, label_of_days(10), seed=1)


@given(st.lists(st.tuples(st.sampled_from([2, 4, 6, 10]), st.booleans()), min_size=2, max_size=60))
def test_those_who_stayed_speak_for_everybody(people):
    followed = np.array([day for day, _ in people])
    left = np.array([gone and day < 10 for day, gone in people])
    assume((followed == 10).mean() > 0.05)  # else the highest weights are cut
    found = weigh_censoring(made(followed, left), label_of_days(10), seed=1)
    assume(left.sum() < 30 and found.n_truncated == 0)
    # Intervals begin on days of leaving, on which the decided are no longer there: the case of Kaplan and Meier.
    assume(set(followed[~left]) - {10} <= set(followed[left]))
    assert found.weight.sum() == pytest.approx(len(people))


# ---- who leaves, learnt from columns -------------------------------------------------------------------------------


def test_weights_are_those_of_the_world(world, rows, matrix, weighed):
    known = ~matrix.censored
    assert weighed.method == "time and columns"
    assert np.array_equal(weighed.weight > 0, known)
    hazard = Nature(world).leaving(rows.X, np.zeros((len(rows.X), 6)))[known]
    true = np.exp(hazard * np.minimum(rows.need_day, HORIZON)[known])
    true_log, found_log = np.log(true), np.log(weighed.weight[known])
    assert true_log.std() > 0.3
    assert np.sqrt(np.mean((found_log - true_log) ** 2)) < 0.15
    assert np.corrcoef(found_log, true_log)[0, 1] > 0.9


def test_weighting_is_nearer_the_truth_than_leaving_out(rows, matrix, weighed):
    truth = rows.label.mean()
    known = ~matrix.censored
    weighted = np.average(rows.label[known], weights=weighed.weight[known])
    dropped = rows.label[known].mean()
    assert abs(weighted - truth) < 0.25 * abs(dropped - truth)
    assert abs(dropped - truth) > 0.01


def test_the_heaviest_thousandth_is_cut_and_counted(matrix, weighed, monkeypatch):
    known = ~matrix.censored
    assert weighed.weight.max() == weighed.truncated_at
    assert weighed.n_truncated == (weighed.weight == weighed.truncated_at).sum() == -(-known.sum() // 1000)
    assert weighed.effective_rows == effective_rows(weighed.weight) < known.sum()
    monkeypatch.setattr(censoring, "TRUNCATED_AT", 1.0)
    uncut = weigh_censoring(matrix, label_of_days(HORIZON), seed=1)
    assert uncut.n_truncated == 0 and uncut.weight.max() > weighed.truncated_at
    assert np.array_equal(np.minimum(uncut.weight, weighed.truncated_at), weighed.weight)


def test_weights_do_not_look_at_the_label(matrix, weighed):
    negative = dataclasses.replace(matrix, y=np.zeros(len(matrix.y)))
    assert weigh_censoring(negative, label_of_days(HORIZON), seed=1).weight.tobytes() == weighed.weight.tobytes()


def test_threads_do_not_change_a_bit_and_another_seed_does(matrix, weighed):
    with threadpool_limits(2):
        again = weigh_censoring(matrix, label_of_days(HORIZON), seed=1)
    assert again.weight.tobytes() == weighed.weight.tobytes()
    assert censoring_weights(matrix, label_of_days(HORIZON), seed=2).tobytes() != weighed.weight.tobytes()


def test_a_person_is_weighed_by_models_that_had_not_seen_them(matrix):
    matrix = matrix.rows(np.arange(len(matrix.censored)) < 5000)  # so few that every person-period is learnt from
    people = ["same"] * 40 + [f"P{i}" for i in range(len(matrix.censored) - 40)]
    keys = matrix.keys.with_columns(pl.Series("person_id", people))
    changed = matrix.followed_days.copy()
    known = np.flatnonzero(~matrix.censored[:40])
    changed[known] = 1.0  # decided at once: no exposure, nothing to teach
    ours = dataclasses.replace(matrix, keys=keys)
    base = weigh_censoring(ours, label_of_days(HORIZON), seed=1).weight
    left_early = dataclasses.replace(ours, followed_days=changed)
    other = weigh_censoring(left_early, label_of_days(HORIZON), seed=1).weight
    same_fold = np.array([share * 3 // 1 for share in censoring.hash_share(people, "censoring 1")])
    untouched = (same_fold == same_fold[0]) & (np.arange(len(people)) >= 40) & (base < np.quantile(base, 0.99))
    assert base[untouched].tobytes() == other[untouched].tobytes()
    elsewhere = (same_fold != same_fold[0]) & (base > 0)
    assert (base[elsewhere] != other[elsewhere]).any()


def test_what_is_missing_constant_or_infinite_is_taken_in_stride(matrix):
    X = np.hstack((matrix.X, np.full((len(matrix.X), 3), np.nan, dtype=np.float32)))
    X[:, -1] = 7
    X[::5, -2] = np.inf
    odd = dataclasses.replace(matrix, X=X, names=tuple(f"c{j}" for j in range(X.shape[1])))
    weight = censoring_weights(odd, label_of_days(HORIZON), seed=1)
    assert np.isfinite(weight).all()
    assert weight == pytest.approx(censoring_weights(matrix, label_of_days(HORIZON), seed=1), rel=0.05)


def test_a_sample_of_person_periods_gives_nearly_the_same_weights(matrix, weighed, monkeypatch):
    monkeypatch.setattr(censoring, "_MOST_ROWS", 8000)
    sampled = censoring_weights(matrix, label_of_days(HORIZON), seed=1)
    known = ~matrix.censored
    assert np.median(np.abs(np.log(sampled[known] / weighed.weight[known]))) < 0.03
    assert sampled.sum() == pytest.approx(weighed.weight.sum(), rel=0.02)


# ---- figures under each treatment ----------------------------------------------------------------------------------


def judged(**changes):
    rows = pl.DataFrame(
        {
            "person_id": list("abcdef"),
            "as_of_date": [DAY] * 6,
            "label": [1.0, None, 0.0, 1.0, 0.0, None],
            "rank_score": [6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
            "probability": [0.9, 0.8, 0.5, 0.4, 0.2, 0.1],
            "censored": [False, True, False, False, False, True],
            "weight": [1.0, 0.0, 3.0, 1.0, 1.0, 0.0],
        }
    )
    return rows.with_columns(**changes)


def values(frame, measure):
    return dict(frame.filter(measure=measure).select("censoring", "value").rows())


def test_figures_stand_side_by_side_under_each_treatment():
    frame = censoring_differences(judged(), k=2, seed=1, replicates=50)
    assert frame.columns == ["measure", "censoring", "value", "low", "high", "effective_rows"]
    assert frame["censoring"].to_list()[:6] == ["drop", "negative", "ipcw"] * 2
    assert values(frame, "share_in_need") == pytest.approx({"drop": 2 / 4, "negative": 2 / 6, "ipcw": 2 / 6})
    # Pairs in order: 3 of 2 x 2; 6 of 2 x 4; and of 2 x (3 + 1), 1 x (3 + 1) and 1 x 1.
    assert values(frame, "auc") == pytest.approx({"drop": 3 / 4, "negative": 6 / 8, "ipcw": 5 / 8})
    assert dict(frame.filter(measure="auc").select("censoring", "effective_rows").rows()) == pytest.approx(
        {"drop": 4, "negative": 6, "ipcw": 36 / 12}
    )


def test_a_need_that_counts_leavers_as_negative_gives_the_same_table():
    negative = judged(label=pl.Series([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]), weight=pl.lit(1.0))
    given_weight = judged()["weight"].to_numpy()
    ours = censoring_differences(negative, k=2, seed=1, weight=given_weight, replicates=50)
    assert ours.equals(censoring_differences(judged(), k=2, seed=1, replicates=50), null_equal=True)


def test_a_rule_has_no_calibration_under_any_treatment():
    frame = censoring_differences(judged(probability=pl.lit(None, dtype=pl.Float64)), k=2, seed=1, replicates=50)
    assert np.isnan(frame.filter(measure="calibration_slope")["value"].to_numpy()).all()
    assert values(frame, "auc")["drop"] == 3 / 4
