"""What one more worker and a better order are worth, on rows whose outcome is known."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from models.need_parts import Capacity, ListSettings
from scoring.capacity_value import value_of_places

NEED = SimpleNamespace(
    capacity=Capacity(workers=2, attempts_per_worker_per_period=20, contact_success=0.5, period_days=7),
    list=ListSettings(),
    reach=0.5,
)


def rows(n=600, seed=1):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    return pl.DataFrame(
        {
            "person_id": [f"p{i}" for i in range(n)],
            "rank_score": score,
            "rule_score": score + rng.normal(size=n),
            "tie_key": [f"{i:04d}" for i in range(n)],
            "label": (rng.random(n) < 1 / (1 + np.exp(2 - 1.5 * score))).astype(float),
        }
    )


def test_more_workers_and_a_better_order_are_worth_what_the_rows_say():
    judged = rows()
    value = value_of_places(judged, NEED, 40, 20)
    ranked = judged.sort("rank_score", descending=True)["label"]
    now, more = ranked[:40].sum(), ranked[:60].sum()
    assert (value["k"], value["workers_added"], value["places_added"]) == (40, 1, 20)
    assert value["found_now"]["value"] == now and value["found_with_more"]["value"] == more
    assert value["one_more_worker"]["value"] == more - now
    assert value["perfect_order"]["value"] == min(40, ranked.sum()) - now
    assert value["access_ratio"]["value"] == pytest.approx((more - now) / value["perfect_order"]["value"])
    for name in ("found_now", "found_with_more", "one_more_worker", "perfect_order", "this_order_beyond_the_rule"):
        assert value[name]["low"] <= value[name]["value"] <= value[name]["high"]
    assert value_of_places(judged, NEED, 40, 20) == value


def test_so_many_workers_are_added_that_no_single_outcome_can_be_read():
    value = value_of_places(rows(), NEED, 40, 50)
    assert value is None, "forty places are fewer than may be told apart"
    value = value_of_places(rows(), NEED, 60, 50)
    assert (value["workers_added"], value["places_added"]) == (3, 60)
    more = value["found_with_more"]["value"] - value["found_now"]["value"]
    assert value["one_more_worker"]["value"] == pytest.approx(more / 3)


def test_nothing_is_said_where_nobodys_need_is_known():
    assert value_of_places(rows().with_columns(label=pl.lit(None, pl.Float64)), NEED, 40, 20) is None
    assert value_of_places(rows(30), NEED, 40, 20) is None
