from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from searched_world import DAYS, NEED, past

from ethics.refusals import BadInput
from models.learning_shares import learning_curve
from models.metrics import evaluate
from models.splits import hash_share
from models.training import train


def together(X):
    """Need hangs on two columns together, which takes many people to learn."""
    return np.where((X[:, 1] > 2) == (X[:, 3] > 2), 0.5, 0.1)


@pytest.fixture(scope="module")
def worlds():
    return past(n=1500, days=DAYS[:2], chance=together), past(n=800, days=DAYS[3:4], seed=1, chance=together)


@pytest.fixture(scope="module")
def curve(worlds):
    return learning_curve(*worlds, NEED, 1)


def test_more_people_teach_more_and_the_last_point_is_the_model_itself(worlds, curve):
    learnt, judged = worlds
    assert curve["share"].to_list() == [0.1, 0.25, 0.5, 1.0]
    assert curve["persons"].is_sorted() and curve["persons"][-1] == 1500
    assert curve["rows"][-1] == np.isfinite(learnt.y).sum()
    assert curve["auc"][-1] > curve["auc"][0] + 0.02
    found = evaluate(
        label=judged.y,
        rank_score=train(learnt, NEED, 1).raw(judged.X),
        probability=None,
        person=judged.keys["person_id"].to_numpy(),
        k=NEED.capacity.k,
        seed=1,
    )
    last = curve.row(-1, named=True)
    for name in ("auc", "precision_at_capacity", "recall_at_capacity"):
        assert (last[name], last[f"{name}_low"], last[f"{name}_high"]) == found[name]
        assert last[f"{name}_low"] < last[name] < last[f"{name}_high"]


def test_the_judged_are_weighted_and_have_the_places_that_are_given(worlds):
    learnt, judged = worlds
    weight = np.where(judged.X[:, 1] > 2, 3.0, 1.0)
    found = learning_curve(learnt, judged, NEED, 1, weight=weight, k=25, shares=(1.0,))
    expected = evaluate(
        label=judged.y,
        rank_score=train(learnt, NEED, 1).raw(judged.X),
        probability=None,
        person=judged.keys["person_id"].to_numpy(),
        k=25,
        seed=1,
        weight=weight,
    )
    plain = learning_curve(learnt, judged, NEED, 1, k=25, shares=(1.0,))
    for name in ("auc", "precision_at_capacity", "recall_at_capacity"):
        assert found[name][0] == expected[name].value != plain[name][0]


def test_a_person_teaches_with_all_rows_or_none_and_smaller_shares_lie_in_larger_ones(worlds, curve):
    learnt, _ = worlds
    people = np.array(learnt.keys["person_id"].to_list())
    drawn = {
        p for p, place in zip(people, hash_share(people.tolist(), "learning curve 1"), strict=True) if place < 0.25
    }
    rows = np.isin(people, sorted(drawn)) & np.isfinite(learnt.y)
    assert (curve["persons"][1], curve["rows"][1]) == (len(drawn), rows.sum())


def test_the_same_seed_gives_the_same_curve_and_progress_is_told(worlds, curve):
    said = []
    again = learning_curve(*worlds, NEED, 1, shares=(1.0, 0.5, 0.25, 0.1), step=lambda *step: said.append(step[1:]))
    assert again.equals(curve)
    assert said == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert not learning_curve(*worlds, NEED, 2).equals(curve)


def test_a_share_too_small_to_learn_from_is_left_open(worlds):
    found = learning_curve(*worlds, NEED, 1, shares=(0.005, 1.0))
    assert found["persons"][0] < 20
    assert found.row(0)[3:] == (None,) * 9
    assert found.select(pl.exclude("share").is_null().any()).row(0)[:2] == (False, False)
    assert found["auc"][1] is not None


def test_shares_that_are_none_and_other_matrices_are_refused(worlds):
    for share in (0.0, 1.5, -0.1, float("nan")):
        with pytest.raises(BadInput, match=rf"^shares: hold {share}\. Give shares above 0, up to 1$"):
            learning_curve(*worlds, NEED, 1, shares=(0.5, share))
    learnt, judged = worlds
    with pytest.raises(BadInput, match="matrix: has no label to learn from"):
        learning_curve(replace(learnt, y=None), judged, NEED, 1)
