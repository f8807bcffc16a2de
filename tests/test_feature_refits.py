from dataclasses import replace

import numpy as np
import pytest
from searched_world import DAYS, NEED, need_with, past
from sklearn.metrics import roc_auc_score

from ethics.refusals import BadInput
from models.feature_refits import feature_value
from models.need import parse_need
from models.training import train

COLUMNS = [
    "feature", "change", "auc_difference", "auc_difference_low", "auc_difference_high", "found_difference",
    "found_difference_low", "found_difference_high",
]  # fmt: skip
K = 60


@pytest.fixture(scope="module")
def worlds():
    return past(n=500, days=DAYS[:3]), past(n=800, days=DAYS[3:4], seed=1)


@pytest.fixture(scope="module")
def value(worlds):
    return feature_value(*worlds, NEED, 1, K)


def row(value, feature, change):
    return value.filter(feature=feature, change=change).row(0, named=True)


def test_what_carries_the_knowledge_is_missed_and_what_carries_none_is_not(value):
    assert value.columns == COLUMNS
    assert value.select("feature", "change").rows() == [
        ("absence", "without"), ("absence", "alone"), ("age", "without"), ("age", "alone")
    ]  # fmt: skip
    assert row(value, "absence", "without")["auc_difference_high"] < -0.1
    assert row(value, "absence", "without")["found_difference_high"] < 0
    assert row(value, "age", "alone")["auc_difference_high"] < -0.1
    for change, feature in (("without", "age"), ("alone", "absence")):
        found = row(value, feature, change)
        assert found["auc_difference_low"] < 0.01 and found["auc_difference_high"] > -0.01
    # Without one of two features the other is alone.
    assert row(value, "absence", "without") == row(value, "age", "alone") | {"feature": "absence", "change": "without"}


def test_the_differences_are_those_of_models_trained_without_the_columns(worlds, value):
    learnt, judged = worlds
    text = NEED.bytes.decode()
    before, _, rest = text.partition('[[features]]\nattribute = "age"')
    without_age = parse_need((before + rest[rest.index("[splits]") :]).replace(", age asc", "").encode(), "youth.toml")
    columns = [i for i, name in enumerate(NEED.columns) if name in without_age.columns]
    fewer = replace(learnt, X=learnt.X[:, columns], names=without_age.columns)
    theirs = train(fewer, without_age, 1).raw(judged.X[:, columns])
    ours = train(learnt, NEED, 1).raw(judged.X)
    known = np.isfinite(judged.y)
    difference = roc_auc_score(judged.y[known], theirs[known]) - roc_auc_score(judged.y[known], ours[known])
    assert row(value, "age", "without")["auc_difference"] == pytest.approx(difference, abs=1e-12)


def test_the_same_seed_gives_the_same_table_and_progress_is_told(worlds, value):
    said = []
    assert feature_value(*worlds, NEED, 1, K, step=lambda *step: said.append(step[1:])).equals(value)
    assert said == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert not feature_value(*worlds, NEED, 1, K, parameters={"num_leaves": 3}).equals(value)


def test_the_judged_are_weighted(worlds, value):
    learnt, judged = worlds
    weight = np.where(judged.X[:, 1] > 2, 3.0, 1.0)
    found = feature_value(*worlds, NEED, 1, K, weight=weight)
    text = NEED.bytes.decode()
    before, _, rest = text.partition('[[features]]\nattribute = "age"')
    without_age = parse_need((before + rest[rest.index("[splits]") :]).replace(", age asc", "").encode(), "youth.toml")
    columns = [i for i, name in enumerate(NEED.columns) if name in without_age.columns]
    theirs = train(replace(learnt, X=learnt.X[:, columns], names=without_age.columns), without_age, 1)
    known = np.isfinite(judged.y)
    scores = theirs.raw(judged.X[:, columns]), train(learnt, NEED, 1).raw(judged.X)
    aucs = [roc_auc_score(judged.y[known], score[known], sample_weight=weight[known]) for score in scores]
    there = row(found, "age", "without")
    assert there["auc_difference"] == pytest.approx(aucs[0] - aucs[1], abs=1e-12)
    assert there["auc_difference"] != row(value, "age", "without")["auc_difference"]


def test_a_need_with_one_feature_has_it_alone(worlds):
    text = NEED.bytes.decode()
    before, _, rest = text.partition('[[features]]\nattribute = "age"')
    need = parse_need((before + rest[rest.index("[splits]") :]).replace(", age asc", "").encode(), "youth.toml")
    matrices = [replace(matrix, X=matrix.X[:, :6], names=need.columns) for matrix in worlds]
    found = feature_value(*matrices, need, 1, K)
    assert found.select("feature", "change").rows() == [("absence", "alone")]
    assert found["auc_difference"][0] == found["found_difference"][0] == 0.0


def test_matrices_of_another_need_or_without_labels_are_refused(worlds):
    learnt, judged = worlds
    with pytest.raises(BadInput, match=r"^matrix: has no label to learn from\. Build it with label=need\.label$"):
        feature_value(learnt, replace(judged, y=None), NEED, 1, K)
    other = replace(judged, names=("other", *judged.names[1:]))
    with pytest.raises(BadInput, match=r"^matrix: has other columns than youth\.toml makes"):
        feature_value(learnt, other, need_with(), 1, K)
