"""Scores: only with a verified verdict of the same model, objectors masked, alone as in a cohort."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sealed_world import AS_OF, RULE_NEED, World

from ethics.refusals import BadInput, NotTrusted
from models.need import parse_need
from models.ties import tie_keys
from scoring.scorer import BAND_SHARES, RANK_BANDS, Scorer, sort_key_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def rule_world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("rules"), need_text=RULE_NEED, need_id="youth_rule")


@pytest.fixture
def objection(world):
    world.objections.object("000005", world.need.id)
    yield "000005"
    world.objections.withdraw("000005", world.need.id)


def test_the_verdict_of_the_world_is_a_real_pass(world):
    assert world.verified.verdict.state == "PASS_ATTESTED"


@pytest.mark.parametrize("pretender", [None, object(), SimpleNamespace(verdict=SimpleNamespace(subject={}))])
def test_nothing_but_a_verified_verdict_makes_a_scorer(world, pretender):
    with pytest.raises(TypeError, match=r"a Scorer needs what ethics\.signing\.verify gives, not "):
        Scorer(pretender, world.model, b"secret")


def test_the_verdict_itself_is_not_enough(world):
    with pytest.raises(TypeError, match="not Verdict"):
        Scorer(world.verdict, world.model, b"secret")


def test_another_model_is_refused_with_both_digests(world):
    other = SimpleNamespace(digest="0" * 64, need=world.need, columns=world.need.columns)
    with pytest.raises(NotTrusted) as refusal:
        Scorer(world.verified, other, b"secret")
    (fault,) = refusal.value.faults
    assert fault.where == "model"
    assert fault.wrong == f"has the digest {'0' * 12}…, but the verdict judged {world.model.digest[:12]}…"
    assert fault.mend == "Use the model that was judged, or judge this one"


def test_another_need_and_other_columns_are_refused_together(world):
    edited = parse_need(world.need_text.encode() + b"\n# edited\n", "youth.toml")
    other = SimpleNamespace(digest=world.model.digest, need=edited, columns=("age",))
    with pytest.raises(NotTrusted) as refusal:
        Scorer(world.verified, other, b"secret")
    assert [fault.where for fault in refusal.value.faults] == ["need", "columns"]


def test_everybody_of_the_cohort_is_scored_and_ranked_by_raw_score_then_tie_key(world):
    scores = world.score()
    births = world.city.persons
    of_age = births.filter(pl.col("birth_date").map_elements(_age, pl.Int64).is_between(15, 30))["person_id"]
    assert sorted(scores.frame["person_id"]) == sorted(of_age)
    rows = list(scores.frame.select("raw", "tie_key", "rank").iter_rows())
    assert rows == sorted(rows, key=lambda row: (-row[0], row[1]))
    assert [row[2] for row in rows] == list(range(1, len(rows) + 1))
    assert (scores.cohort_n, scores.n_objectors, len(scores)) == (len(rows), 0, len(rows))
    assert sort_key_of(scores.frame) == ("rank_score desc", "tie_key")
    assert sort_key_of(scores.frame.reverse()) == ("another order",)


def _age(born):
    return AS_OF.year - born.year - ((AS_OF.month, AS_OF.day) < (born.month, born.day))


def test_scores_are_the_models_and_tie_keys_the_needs(world):
    scores = world.score()
    frame = scores.frame.sort("person_id")
    matrix = scores.matrix
    assert frame["person_id"].to_list() == matrix.keys["person_id"].to_list()
    assert frame["score"].to_numpy().tobytes() == world.model.predict(matrix.X).tobytes()
    assert frame["raw"].to_numpy().tobytes() == world.model.raw(matrix.X).tobytes()
    assert frame["row"].to_list() == list(range(frame.height))
    secret = world.home.settings.secret("need-youth")
    assert frame["tie_key"].to_list() == tie_keys(secret, frame["person_id"].to_list(), world.model.digest, AS_OF)


def test_one_person_is_scored_as_in_the_cohort_to_the_bit(world):
    whole = world.score().frame
    for person_id in whole["person_id"].gather_every(37):
        alone = world.score(person_id).frame
        same = ["person_id", "score", "raw", "rank_band", "tie_key"]
        assert alone.select(same).equals(whole.filter(pl.col("person_id") == person_id).select(same))


def test_bands_begin_where_they_did_when_the_model_was_judged(world):
    frame = world.score().frame
    for raw, band in frame.select("raw", "rank_band").iter_rows():
        expected = "rest"
        for share in reversed(BAND_SHARES):
            if raw >= world.model.score_bands[share]:
                expected = f"top_{share}"
        assert band == expected
    assert set(frame["rank_band"]) <= set(RANK_BANDS)
    assert frame["rank_band"].n_unique() >= 4


def test_an_objector_is_in_no_score_and_changes_nobody_elses(world, objection):
    with_objection = world.score()
    assert objection not in with_objection.frame["person_id"].to_list()
    assert objection not in with_objection.matrix.keys["person_id"].to_list()
    assert with_objection.n_objectors == 1
    assert with_objection.cohort_n == len(with_objection) + 1
    world.objections.withdraw(objection, world.need.id)
    before = world.score().frame.filter(pl.col("person_id") != objection)
    assert before["score"].equals(with_objection.frame["score"])


def test_an_objector_alone_gets_no_score(world, objection):
    with pytest.raises(BadInput, match="object"):
        world.score(objection)


def test_nobody_is_covered_on_a_day_before_all_were_born(world):
    with pytest.raises(BadInput, match="nobody is eligible"):
        world.score(as_of_date=date(1990, 1, 1))
    assert not world.scorer.covers(world.city, date(1990, 1, 1), "000005")
    assert world.scorer.covers(world.city, AS_OF, world.score().frame["person_id"][0])


def test_an_unknown_person_is_refused_and_not_named(world):
    with pytest.raises(BadInput) as refusal:
        world.score("131052-308T")
    assert "131052-308T" not in str(refusal.value)


def test_the_same_inputs_give_the_same_bytes(world, tmp_path):
    first, second = world.score(), world.score()
    assert first.matrix_digest == second.matrix_digest
    assert first.write(tmp_path / "a.parquet").read_bytes() == second.write(tmp_path / "b.parquet").read_bytes()


def test_the_file_says_what_the_scores_rest_on_and_holds_no_raw_score(world, tmp_path):
    path = world.score().write(tmp_path / "deep" / "scores.parquet")
    table = pl.read_parquet(path)
    assert table.columns == [
        "need_id", "person_id", "as_of_date", "score", "rank", "rank_band", "model_digest", "verdict_id",
    ]  # fmt: skip
    assert table["verdict_id"].unique().to_list() == [world.verdict.verdict_id]
    assert table["model_digest"].unique().to_list() == [world.model.digest]
    assert path.stat().st_mode & 0o077 == 0


def test_a_write_that_fails_leaves_nothing(world, tmp_path, monkeypatch):
    def fail(*_args, **_keywords):
        raise OSError("no space left")

    scores = world.score()
    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(OSError, match="no space left"):
        scores.write(tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_model_whose_scores_are_no_numbers_scores_nobody(world):
    class Broken:
        digest, need, columns, kind = world.model.digest, world.need, world.model.columns, "model"
        score_bands = world.model.score_bands

        def raw(self, X):
            return np.full(len(X), np.nan)

        def probability(self, raw):
            return np.full(len(raw), 0.5)

    scorer = Scorer(world.verified, Broken(), b"secret")
    with pytest.raises(NotTrusted, match="people a score that is not one"):
        scorer.score(world.city, AS_OF, world.objections)


def test_training_again_gives_the_model_that_was_judged(world):
    again = World(world.folder / "again")
    again.folder.mkdir()
    assert again.model.digest == world.model.digest


def test_a_rule_puts_the_cohort_in_its_written_order_and_promises_no_probability(rule_world):
    scores = rule_world.score()
    X = scores.matrix.X[scores.frame["row"].to_numpy()]
    names = list(scores.matrix.names)
    absences, pressure, age = (
        X[:, names.index(n)].tolist() for n in ("absence.count.90d", "pressure.last.ever", "age")
    )
    keys = [(-a, -(float("inf") if np.isnan(p) else p), y) for a, p, y in zip(absences, pressure, age)]
    assert keys == sorted(keys)
    assert scores.frame["score"].null_count() == len(scores)
    n = len(scores)
    for raw, band in scores.frame.select("raw", "rank_band").iter_rows():
        ahead = sum(other > raw for other in scores.frame["raw"])
        expected = next((f"top_{share}" for share in BAND_SHARES if ahead * 100 < share * n), "rest")
        assert band == expected


def test_a_rule_asked_about_one_person_gives_the_place_in_the_cohort(rule_world):
    whole = rule_world.score().frame
    for person_id in whole["person_id"].gather_every(211):
        alone = rule_world.score(person_id)
        assert alone.frame.equals(whole.filter(pl.col("person_id") == person_id))
        assert alone.cohort_n == 1
