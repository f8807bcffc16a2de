"""Scores of a matrix that comes in blocks: those of the whole, to the bit, with the same first persons."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_world import AS_OF, RULE_NEED, World

from ethics.refusals import BadInput, NotTrusted
from features.blocks import matrix_blocks, write_matrix
from scoring.forest import forest_of
from scoring.reasons import Explainer, Typical, explain
from scoring.score_stream import BestRows, parquet_blocks, stream_scores
from scoring.scorer import Scorer

K = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(world):
    return world.score()


@pytest.fixture(scope="module")
def scorer(world):
    return Scorer(world.verified, world.model, b"secret")


@pytest.fixture(scope="module")
def written(world, whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("matrix") / "matrix.parquet"
    keys = whole.matrix.keys
    write_matrix(path, world.city, world.need.features, keys, objections=world.objections, need_id=world.need.id)
    return path


def first(scores, k=K):
    return scores.frame.head(k).select("person_id", "raw", "tie_key", "score", "rank")


def blocks_of(matrix, rows):
    for start in range(0, len(matrix.X), rows):
        mask = np.zeros(len(matrix.X), dtype=bool)
        mask[start : start + rows] = True
        yield matrix.rows(mask)


@pytest.mark.parametrize("rows", [1, 7, 64, 10_000])
def test_blocks_of_a_file_give_the_scores_and_the_list_of_the_whole(world, whole, scorer, written, tmp_path, rows):
    to = tmp_path / "scores.parquet"
    blocks = parquet_blocks([written], world.model.columns, rows)
    found = stream_scores(scorer, blocks, world.objections, k=K, to=to)
    assert found.equals(first(scorer.score(world.city, AS_OF, world.objections)))
    scores = pl.read_parquet(to)
    ordered = whole.frame.sort("row")
    assert scores["person_id"].to_list() == ordered["person_id"].to_list()
    assert scores["score"].to_numpy().tobytes() == ordered["score"].to_numpy().tobytes()
    assert to.stat().st_mode & 0o777 == 0o600


def test_feature_blocks_give_the_same_list(world, whole, scorer):
    about = {"objections": world.objections, "need_id": world.need.id, "block_persons": 9}
    blocks = matrix_blocks(world.city, world.need.features, whole.matrix.keys, **about)
    found = stream_scores(scorer, blocks, world.objections, k=K)
    assert found.equals(first(scorer.score(world.city, AS_OF, world.objections)))


def test_several_files_are_one_matrix_and_more_than_there_are_is_everybody(world, whole, scorer, tmp_path):
    from features.blocks import write_blocks

    parts = [write_blocks(tmp_path / f"{i}.parquet", [part]).path for i, part in enumerate(blocks_of(whole.matrix, 40))]
    found = stream_scores(scorer, parquet_blocks(parts, world.model.columns), world.objections, k=10**6)
    assert found.equals(first(scorer.score(world.city, AS_OF, world.objections), 10**6))


def test_whoever_objects_after_the_matrix_was_written_is_in_no_file_and_on_no_list(world, scorer, written, tmp_path):
    to = tmp_path / "scores.parquet"
    blocks = parquet_blocks([written], world.model.columns, 16)
    someone = stream_scores(scorer, blocks, world.objections, k=1)["person_id"][0]
    world.objections.object(someone, world.need.id)
    try:
        blocks = parquet_blocks([written], world.model.columns, 16)
        found = stream_scores(scorer, blocks, world.objections, k=10**6, to=to)
    finally:
        world.objections.withdraw(someone, world.need.id)
    assert someone not in found["person_id"].to_list()
    assert someone not in pl.read_parquet(to)["person_id"].to_list()
    assert someone.encode() not in to.read_bytes()


def test_a_block_that_does_not_belong_is_refused_and_leaves_no_file(world, whole, scorer, tmp_path):
    other_day = whole.matrix.keys.with_columns(as_of_date=pl.lit(date(2001, 1, 1)))
    later = SimpleNamespace(keys=other_day, X=whole.matrix.X, names=whole.matrix.names[::-1])
    with pytest.raises(BadInput) as refusal:
        stream_scores(scorer, [whole.matrix, later], world.objections, k=3, to=tmp_path / "scores.parquet")
    assert [(fault.where, fault.wrong) for fault in refusal.value.faults] == [
        ("matrix", "has other columns than the model takes"),
        ("as_of_date", "is not the same in all rows"),
    ]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="has no rows"):
        stream_scores(scorer, [], world.objections, k=3)


def test_a_file_without_the_columns_is_refused_before_it_is_read(world, written, tmp_path):
    poor = tmp_path / "poor.parquet"
    columns = world.model.columns
    pl.read_parquet(written).drop(columns[0]).with_columns(pl.col(columns[1]).cast(pl.Float64)).write_parquet(poor)
    with pytest.raises(BadInput) as refusal:
        parquet_blocks([written, poor], columns)
    (fault,) = refusal.value.faults
    assert fault.where == "poor.parquet"
    assert f"{columns[0]} (missing), {columns[1]} (double)" in fault.wrong


def test_nulls_of_a_file_are_missing_values(world, whole, scorer, written, tmp_path):
    """As other programs write them."""
    nulls = tmp_path / "nulls.parquet"
    frame = pl.read_parquet(written).with_columns(pl.col(pl.Float32).fill_nan(None))
    assert sum(frame.null_count().row(0)) > 0
    frame.write_parquet(nulls, use_pyarrow=True)
    same = [
        stream_scores(scorer, parquet_blocks([path], world.model.columns), world.objections, k=K)
        for path in (written, nulls)
    ]
    assert same[0].equals(same[1])


def test_a_rule_is_not_streamed(tmp_path):
    rules = World(tmp_path, need_text=RULE_NEED, need_id="youth_rule")
    with pytest.raises(BadInput, match="is a written rule"):
        stream_scores(Scorer(rules.verified, rules.model, b"secret"), [], rules.objections, k=3)


def test_scores_that_are_none_stop_the_stream(world, whole, scorer, monkeypatch, tmp_path):
    monkeypatch.setattr("scoring.scorer.raw_scores", lambda model, X, threads=None: np.full(len(X), np.nan))
    with pytest.raises(NotTrusted, match="a score that is not one"):
        stream_scores(scorer, [whole.matrix], world.objections, k=3, to=tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=8), st.integers(1, 12))
def test_the_best_of_blocks_are_the_best_of_all_whatever_the_ties(blocks, k):
    def keys_of(ids):
        return [f"{sum(map(ord, one)) * 7919 % 97:02d}{one}" for one in ids]

    best, everybody = BestRows(k, keys_of), []
    for number, block in enumerate(blocks):
        ids = [f"{number}.{i}" for i in range(len(block))]
        best.add(pl.Series(ids), np.array(block, dtype=np.float64))
        everybody += zip((-float(raw) for raw in block), keys_of(ids), ids)
    expected = [(person, -raw, key) for raw, key, person in sorted(everybody)[:k]]
    assert best.frame().rows() == expected


def test_scores_and_reasons_are_those_of_lightgbm_and_made_without_it(world, whole, monkeypatch):
    """The scorer and the reasons walk the trees themselves: nothing of a need's model is unknown to the forest."""
    X, rows = whole.matrix.X, list(range(0, len(whole.matrix.X), 5))
    added, raw = world.model.contributions(X[rows]), world.model.raw(X)
    typical = Typical.of(whole.matrix)
    explainer = Explainer(world.need, typical, world.need.service, "en")
    expected = [explainer.of_contributions(x, c[:-1]) for x, c in zip(X[rows], added)]

    def no_lightgbm(*_, **__):
        raise AssertionError("LightGBM was asked")

    forest_of.cache_clear()
    monkeypatch.setattr("lightgbm.Booster.predict", no_lightgbm)
    reasons, error = explain(world.model, whole.matrix, rows, typical, reader=world.need.service)
    assert reasons == expected and error < 1e-12
    again = world.score()
    assert again.frame.sort("row")["raw"].to_numpy().tobytes() == raw.tobytes()
