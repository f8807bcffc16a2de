"""What is looked for inside a model, each against a planted truth; and that it is the same wherever it is computed."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from test_need import RULE_NEED, TEXT
from test_training import DISTRICT_TEXT, DISTRICTS, NEED_TEXT, made_matrix, made_need

from features.matrix import Matrix
from models import membership as of_membership
from models.bounded_refits import RefitGround, bounded_parameters, columns_used, parameters_of
from models.feature_worth import feature_worth
from models.flips import dual_use_columns, flips
from models.gate_evidence import NAMES, inside_evidence
from models.input_noise import noise_overlap, quanta_of
from models.interval_ends import median_ends
from models.leaf_sizes import leaf_sizes
from models.membership import attack_by_group, auc_of, membership
from models.need import parse_need
from models.probing import columns_against, monotone_rules
from models.reason_stability import feature_groups, first_reasons, jaccard, people_at_cut, reason_overlap
from models.rescoring import rescoring, rescoring_kept
from models.rule import RuleModel
from models.training import train

DAY = date(2024, 3, 1)


@pytest.fixture(scope="module")
def training():
    return made_matrix()


@pytest.fixture(scope="module")
def model(training):
    return train(training, made_need(), seed=1)


@pytest.fixture(scope="module")
def judged():
    return made_matrix(n=900, seed=7, days=(DAY,))


@pytest.fixture(scope="module")
def found(model, judged, training):
    return inside_evidence(model, judged, training=training, k=300, seed=1)


# -- an honest model


def test_an_honest_model_has_everything_looked_at_and_nothing_that_blocks(found):
    assert set(found) == set(NAMES) and None not in found.values()
    assert found["membership"][0]["low"] < 0.6
    assert found["leaves"]["smallest_leaf"] >= 20
    assert all(row["proved"] and not row["violations"] and row["probes"] for row in found["monotone"])
    worth = {row["feature"]: row for row in found["feature_value"]}
    assert worth["absence"]["low"] > 0.1
    assert worth["age"]["low"] <= 0 <= worth["age"]["high"]
    assert 0 < found["reason_stability"]["low"] <= found["reason_stability"]["overlap"] <= 1
    json.dumps(found, allow_nan=False)


CODE = """
import sys, json, hashlib
sys.path.insert(0, {tests!r})
from test_gate_evidence import DAY, made_matrix, made_need, train, inside_evidence
training = made_matrix()
model = train(training, made_need(), seed=1)
found = inside_evidence(model, made_matrix(n=900, seed=7, days=(DAY,)), training=training, k=300, seed=1)
print(json.dumps(found, sort_keys=True))
"""


def test_another_process_with_one_thread_finds_the_same(found):
    tests = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tests.parent)}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(tests=str(tests))],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(found))


def test_a_rule_has_no_trees_and_is_flipped_all_the_same(judged):
    rule = RuleModel.of(parse_need(RULE_NEED.encode(), "screening.toml"))
    found = inside_evidence(rule, judged, training=None, k=60, seed=1)
    assert {name for name, part in found.items() if part is not None} == {"flips"}


def test_what_cannot_be_refitted_is_said(model, judged):
    few = made_matrix().rows(np.arange(1200) < 12)
    for training, why in ((None, "were not given"), (few, "not enough of both outcomes")):
        found = inside_evidence(model, judged, training=training, k=60, seed=1)
        assert why in found["reason_stability"]["not_done"]
        assert found["membership"][0]["auc"] is None and why in found["membership"][0]["not_done"]
        assert [row["feature"] for row in found["feature_value"]] == ["absence", "age"]


def test_a_step_is_told(model, judged, training):
    told = []
    inside_evidence(model, judged, training=training, k=60, seed=1, step=lambda *words: told.append(words))
    assert [words[0] for words in told[:2]] == [
        "youth: evidence on directions, flips and noise",
        "youth: evidence on membership",
    ]
    assert told[-1][1:] == (1, 2)


# -- refits


def test_refits_are_of_whole_persons_and_of_bounded_size(model):
    many = made_matrix(n=4000, days=tuple(date(2023, month, 1) for month in (1, 4, 7, 10)))
    ground = RefitGround.of(model, many, None, seed=1, most_rows=1000)
    assert len(ground.y) == 1000 and ground.n_people == 250 and ground.of_rows == 4000
    assert (np.bincount(ground.people) == 4).all()
    assert parameters_of(model)["n_estimators"] == 20
    trees = ground.grow(1, most_trees=5)
    assert trees.count(b"Tree=") == 5
    assert bounded_parameters({"n_estimators": 10_000, "learning_rate": 0.05}, 100)["learning_rate"] == 0.5


def test_a_column_that_may_not_be_used_is_not(model, training):
    ground = RefitGround.of(model, training, None, seed=1)
    assert 0 in columns_used(ground.grow(1))
    assert not {0, 1, 2} & set(columns_used(ground.grow(1, unused={0, 1, 2})).tolist())


def test_whoever_was_not_drawn_taught_nothing(model, training):
    ground = RefitGround.of(model, training, None, seed=1)
    drawn = np.ones(ground.n_people, dtype=int)
    drawn[:400] = 0
    kept = training.rows(ground.people >= 400)
    alone = RefitGround.of(model, kept, None, seed=1)
    assert len(alone.y) == 800
    # The same rows; only the edges of the bins were drawn with the others.
    one, other = (train_scores(trees, kept.X) for trees in (ground.grow(1, drawn=drawn), alone.grow(1)))
    assert np.corrcoef(one, other)[0, 1] > 0.97


def train_scores(trees, X):
    from models.tree_fitting import raw_scores

    return raw_scores(trees, X)


# -- C303


def test_first_reasons_are_of_features_and_raise_the_score():
    groups = np.array([0, 0, 1, 2, 3])
    contributions = np.array([[0.2, 0.2, 0.3, -1.0, 0.1, 9.0], [-0.1, 0.0, -0.3, -1.0, 0.0, 9.0], [0, 0, 0, 0, 0, 9.0]])
    assert first_reasons(contributions, groups).tolist() == [
        [True, True, False, True],
        [True, True, True, False],
        [False, False, False, False],
    ]
    nobody = np.zeros((1, 4), dtype=bool)
    assert jaccard(nobody, nobody).tolist() == [1.0]


def test_people_at_the_cut_stand_on_either_side_of_it():
    raw = np.random.default_rng(0).permutation(1000).astype(float)
    assert sorted(raw[people_at_cut(raw, 300)].tolist()) == list(range(650, 750))
    assert len(people_at_cut(raw, 10)) == len(people_at_cut(raw, 1000)) == 100
    assert people_at_cut(raw[:30], 10).tolist() == list(range(30))


PLAIN = "\n".join(line for line in NEED_TEXT.splitlines() if not line.startswith("monotone"))
MANY = (
    PLAIN
    + "\n"
    + "".join(
        f'[[features]]\nattribute = "x{i}"\nplain = {TEXT}\nsource = "register"\npurpose = "to test"\nbasis = "none"\n'
        for i in range(8)
    )
)


def test_reasons_of_noise_are_unstable_and_those_of_strong_causes_are_not():
    rng, n, need = np.random.default_rng(0), 1500, made_need(MANY)
    assert feature_groups(need).tolist() == [0] * 6 + list(range(1, 10))
    X = rng.normal(size=(n, len(need.columns))).astype(np.float32)
    keys = pl.DataFrame({"person_id": [f"P{i}" for i in range(n)], "as_of_date": [DAY] * n})
    overlap = {}
    for what, logit in (("noise", np.zeros(n)), ("causes", 3 * X[:, -1] + 2 * X[:, -2] + X[:, -3] - 2)):
        y = (rng.random(n) < expit(logit)).astype(float)
        matrix = Matrix(keys, X, need.columns, y)
        fitted = train(matrix, need, seed=1)
        ground = RefitGround.of(fitted, matrix, None, seed=1)
        refits = [ground.grow(i, drawn=rng.multinomial(n, np.full(n, 1 / n))) for i in range(5)]
        overlap[what] = reason_overlap(fitted, refits, X[people_at_cut(fitted.raw(X), 300)], 1)
    assert overlap["noise"]["high"] < 0.6 < overlap["causes"]["overlap"]
    assert overlap["noise"]["high"] < overlap["causes"]["low"]


# -- C304


def test_a_broken_direction_is_found_by_probing_and_not_proved_by_the_trees(training, judged):
    backwards = dataclasses.replace(training, y=1 - training.y)
    free = train(backwards, made_need(PLAIN), seed=1)
    rules = monotone_rules(dataclasses.replace(free, need=made_need()), judged.X, 1)
    worst = max(rules, key=lambda row: row["violations"])
    assert worst["column"] == "absence.count.30d" and worst["violations"] > 100 and worst["largest"] > 0.05
    assert not worst["proved"]
    assert monotone_rules(free, judged.X, 1) == []


def test_probing_agrees_with_the_trees(model, judged):
    directions = {j: sign for j, sign in enumerate(made_need().model.constraints(model.columns)) if sign}
    assert columns_against(model.trees, directions) == set()
    opposite = {j: -sign for j, sign in directions.items()}
    assert columns_against(model.trees, opposite) == set(directions) & set(columns_used(model.trees).tolist())


# -- C410


def with_district(matrix, seed=0, drives=0.0):
    rng = np.random.default_rng(seed)
    district = rng.integers(len(DISTRICTS), size=len(matrix.X)).astype(np.float32)
    logit = -1.0 + drives * (district >= 3) + 0.3 * np.nan_to_num(matrix.X[:, 0])
    y = (rng.random(len(district)) < expit(logit)).astype(float)
    names = made_need(DISTRICT_TEXT).columns
    return dataclasses.replace(matrix, X=np.column_stack([matrix.X, district]), names=names, y=y)


def test_a_district_that_drives_the_order_is_found_and_one_that_does_not_is_not(training, judged):
    moves = {}
    for drives in (0.0, 2.5):
        learnt = train(with_district(training, 1, drives), made_need(DISTRICT_TEXT), seed=1)
        rows = {row["feature"]: row for row in flips(learnt, with_district(judged, 2, drives), 1)}
        moves[drives] = rows["district"]
        assert rows["district"]["values"] == len(DISTRICTS) and rows["district"]["people"] == 500
    assert moves[2.5]["low"] > 10 > moves[0.0]["high"]


def test_a_move_is_the_mean_over_the_values_that_are_not_ones_own(training):
    learnt = train(with_district(training, 1, 2.5), made_need(DISTRICT_TEXT), seed=1)
    some = with_district(training, 1, 2.5).rows(np.arange(1200) < 40)
    (row,) = (row for row in flips(learnt, some, 1) if row["feature"] == "district")
    raw = learnt.raw(some.X)

    def percentile(score):
        return 100 * ((raw < score).sum() + (raw <= score).sum()) / 2 / len(raw)

    naive = []
    for i, cells in enumerate(some.X):
        others = [v for v in np.unique(some.X[:, -1]) if v != cells[-1]]
        moved = [learnt.raw(np.append(cells[:-1], np.float32(v))[None, :])[0] for v in others]
        naive.append(np.mean([abs(percentile(score) - percentile(raw[i])) for score in moved]))
    assert row["median"] == pytest.approx(np.median(naive))
    assert (row["low"], row["high"]) == median_ends(np.array(naive))


def test_a_rule_by_age_moves_people_by_their_age(judged):
    written = 'order = ["absence.days_since_last.ever desc missing first", "age asc"]'
    assert written in RULE_NEED
    text = RULE_NEED.replace(written, 'order = ["age desc"]')
    rule = RuleModel.of(parse_need(text.encode(), "screening.toml"))
    assert "age" in dual_use_columns(rule.need)
    rows = flips(rule, dataclasses.replace(judged, X=judged.X[:, : len(rule.columns)], names=rule.columns), 1)
    assert rows[0]["feature"] == "age" and rows[0]["median"] > 1


def test_who_has_no_other_value_cannot_be_flipped(model, judged):
    X = judged.X.copy()
    X[:, judged.names.index("age")] = 20.0
    (row,) = flips(model, dataclasses.replace(judged, X=X), 1)
    assert (row["feature"], row["values"], row["median"]) == ("age", 1, None)


def test_bounds_of_a_median_hold_it_as_often_as_they_say():
    rng = np.random.default_rng(0)
    ends = np.array([median_ends(rng.normal(size=75)) for _ in range(2000)])
    assert (ends[:, 0] > 0).mean() <= 0.06 and (ends[:, 1] < 0).mean() <= 0.06


# -- C605


def test_a_useless_feature_is_shown_to_be_and_one_of_worth_is_not():
    """Many people, so that it can be shown: the age tells nothing and nothing stands in for the absences."""
    training, judged = made_matrix(n=6000, seed=1), made_matrix(n=12_000, seed=2)
    fitted = train(training, made_need(), seed=1)
    ground = RefitGround.of(fitted, training, None, seed=1)
    drawn = [np.random.default_rng(i).multinomial(6000, np.full(6000, 1 / 6000)) for i in range(3)]
    whole = [ground.grow(1 + i, drawn=persons) for i, persons in enumerate(drawn)]
    rows = {row["feature"]: row for row in feature_worth(fitted, ground, drawn, whole, judged, 4000, 1)}
    assert rows["absence"]["low"] > 0.1
    assert abs(rows["age"]["worth"]) < 0.004 and rows["age"]["high"] < 0.006


def test_a_feature_that_no_tree_uses_is_named_and_not_refitted(training, judged):
    X = training.X.copy()
    X[:, training.names.index("age")] = 30.0
    still = dataclasses.replace(training, X=X)
    fitted = train(still, made_need(), seed=1)
    found = inside_evidence(fitted, judged, training=still, k=300, seed=1)["feature_value"]
    assert found[1] == {"feature": "age", "columns": 1, "used": False, "worth": None, "low": None, "high": None}


# -- C606


def fitted_with(model, **parameters):
    """As if somebody had fitted the model with other parameters than any need may set."""
    facts = json.loads(model.manifest)
    facts["parameters"] |= {name: str(value) for name, value in parameters.items()}
    return dataclasses.replace(model, manifest=json.dumps(facts).encode())


def test_a_model_that_remembers_people_is_caught(training):
    finely = training.X + np.random.default_rng(0).random(training.X.shape, dtype=np.float32)
    recorded = dataclasses.replace(training, X=finely)  # nobody is like another
    honest = train(recorded, made_need(PLAIN), seed=1)
    tiny = {"min_data_in_leaf": 1, "num_leaves": 200, "n_estimators": 200, "learning_rate": 0.3, "lambda_l2": 0}
    for model, low, high in ((honest, 0.4, 0.6), (fitted_with(honest, **tiny), 0.7, 1.0)):
        (row,) = membership(RefitGround.of(model, recorded, None, 1), 1)
        assert low < row["low"] < high and (row["members"], row["held_out"]) == (800, 400)


def test_time_alone_is_no_memory():
    """At later dates the base rate is another: members and others of different dates would be told apart by that."""
    early, late = made_matrix(n=1500, seed=1, share=0.03), made_matrix(n=1500, seed=2, share=0.5, days=(DAY,))
    ids = pl.Series("person_id", [f"L{i}" for i in range(1500)])
    keys = pl.concat([early.keys, late.keys.with_columns(ids)])
    both = dataclasses.replace(early, keys=keys, X=np.vstack([early.X, late.X]), y=np.append(early.y, late.y))
    fitted = train(both, made_need(), seed=1)
    (row,) = membership(RefitGround.of(fitted, both, None, 1), 1)
    assert row["low"] < 0.55
    raw = fitted.raw(both.X)
    loss = np.logaddexp(0, np.where(both.y > 0, -raw, raw))
    (naive,) = attack_by_group(loss, np.arange(3000) < 1500)
    assert naive["low"] > 0.6 > row["high"]


def test_too_few_persons_to_hold_out_have_no_figure(model, training):
    (row,) = membership(RefitGround.of(model, training.rows(np.arange(1200) < 500), None, 1), 1)
    assert (row["auc"], row["members"], row["held_out"]) == (None, 334, 166)


def test_small_groups_are_measured_together():
    rng = np.random.default_rng(0)
    loss, member = rng.random(3000), rng.random(3000) < 0.5
    group = np.repeat(["a", "b", "c", "d"], [2400, 350, 200, 50])
    rows = {row["group"]: row for row in attack_by_group(loss, member, group)}
    assert sorted(rows) == ["a", "others"]
    assert rows["others"]["members"] + rows["others"]["held_out"] == 600
    tiny = attack_by_group(loss[:100], member[:100], group[:100])
    assert [(row["group"], row["auc"]) for row in tiny] == [("others", None)]
    assert of_membership.FEWEST == 200


def test_the_area_and_its_bounds_are_those_of_pairs_and_of_a_bootstrap():
    rng = np.random.default_rng(0)
    higher, lower = rng.normal(0.4, 1, 300).round(1), rng.normal(0, 1, 500).round(1)
    auc, low, high = auc_of(higher, lower)
    both = np.concatenate([higher, lower])
    assert auc == pytest.approx(roc_auc_score(np.arange(800) < 300, both))
    drawn = [auc_of(rng.choice(higher, 300), rng.choice(lower, 500))[0] for _ in range(2000)]
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist(), abs=0.004)


# -- C607


def test_a_category_that_a_split_names_is_counted(training):
    matrix = with_district(training, 1, 3.0)
    X = matrix.X.copy()
    X[30:, -1] = np.where(X[30:, -1] == 5, 4, X[30:, -1])
    X[:30, -1] = 5
    fitted = train(dataclasses.replace(matrix, X=X), made_need(DISTRICT_TEXT), seed=1)
    found = leaf_sizes(fitted, dataclasses.replace(matrix, X=X))
    rows = {level["level"]: level["rows"] for level in found["levels"]}
    assert rows and set(rows) <= set(DISTRICTS)
    assert all(rows[name] == (X[:, -1] == DISTRICTS.index(name)).sum() for name in rows)
    assert leaf_sizes(fitted, None) is None


def test_a_tiny_leaf_is_counted(model):
    trees = re.sub(rb"leaf_count=\d+", b"leaf_count=3", model.trees, count=1)
    assert leaf_sizes(dataclasses.replace(model, trees=trees), None)["smallest_leaf"] == 3


# -- C704, C705


def test_another_score_is_seen_to_the_last_bit(model, judged):
    raw = model.raw(judged.X)
    assert rescoring(model, judged.X, raw) == {"rows": 900, "different": 0}
    raw[0] = np.nextafter(raw[0], 1)
    assert rescoring(model, judged.X, raw) == {"rows": 900, "different": 1}
    assert rescoring(model, judged.X[:0], raw[:0]) == {"rows": 0, "different": 0}
    assert rescoring_kept(model, judged.keys, None) is None


def test_a_rule_is_put_in_order_again(judged):
    rule = RuleModel.of(parse_need(RULE_NEED.encode(), "screening.toml"))
    X = judged.X[:, : len(rule.columns)]
    raw = rule.raw(X)
    assert rescoring(rule, X, raw[[5, 3]], at=np.array([5, 3])) == {"rows": 2, "different": 0}
    assert rescoring(rule, X, raw[[5, 3]] + 1, at=np.array([5, 3]))["different"] == 2


def test_noise_moves_what_is_recorded_by_one_quantum(model, judged):
    assert set(quanta_of(model, judged.X).tolist()) == {1.0}
    X = np.round(judged.X / 7, 2).astype(np.float32)
    assert quanta_of(model, X)[0] == pytest.approx(0.14, abs=0.02)
    assert noise_overlap(model, np.zeros_like(judged.X), 100, 1)["overlap"] == 1.0
    brittle, steady = noise_overlap(model, judged.X, 100, 1), noise_overlap(model, judged.X, 800, 1)
    assert brittle["high"] < steady["low"] and brittle["cut"] == 100
