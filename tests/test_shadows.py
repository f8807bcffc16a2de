"""Shadows: scored beside the champion, compared, told of in figures, and never served."""

import json
from dataclasses import asdict

import httpx
import numpy as np
import pytest
from scipy.stats import spearmanr
from sealed_world import AS_OF, MODEL_NEED, World
from served import soon, start, stop, wait_until_it_answers

from ethics.refusals import BadInput
from models.registry import CHAMPION, approved_pointer, shadow_model, shadow_pointer
from models.tracking import log_run
from scoring.forest import raw_scores
from serving import shadows
from serving.cli import main
from serving.shadows import begin_shadow, compare, kept_comparisons, stop_shadow

FEWER_FEATURES = MODEL_NEED.replace('measures = ["count", "days_since_last"]', 'measures = ["count"]')


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A home with a champion, and runs of two further models that nobody has judged."""
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    shared = {"shared_home": world.home, "shared_city": world.city}
    text = MODEL_NEED.replace("n_estimators = 40", "n_estimators = 8")
    world.near = World(world.folder / "near", need_text=text, **shared)
    world.far = World(world.folder / "far", need_text=FEWER_FEATURES, **shared)
    for each in (world.near, world.far):
        each.run_id = log_run(world.home.registry, each.model, figures={}, parameters={}, digests={})
    return world


@pytest.fixture
def matrix(world):
    return world.scorer.matrix(world.city, AS_OF, world.objections)


def test_a_shadow_is_compared_on_the_same_people_by_plain_figures(world, matrix):
    found = compare(world.scorer, world.near.model, world.city, matrix, world.home, AS_OF)
    ours, theirs = raw_scores(world.model, matrix.X), raw_scores(world.near.model, matrix.X)
    assert found.n == matrix.X.shape[0]
    assert found.rank_correlation == pytest.approx(spearmanr(ours, theirs).statistic, abs=1e-12)
    listed = world.score().frame["person_id"].head(found.k).to_list()
    keys = world.scorer.tie_keys(matrix.keys["person_id"].to_list(), AS_OF)
    rows = sorted(range(found.n), key=lambda i: (-theirs[i], keys[i]))[: found.k]
    first = set(matrix.keys["person_id"].gather(rows))
    assert found.overlap == len(first & set(listed)) / found.k
    assert found.mean_difference == pytest.approx(
        np.abs(world.model.probability(ours) - world.near.model.probability(theirs)).mean()
    )
    same = compare(world.scorer, world.model, world.city, matrix, world.home, AS_OF)
    assert (same.rank_correlation, same.overlap, same.mean_difference) == (pytest.approx(1.0), 1.0, 0.0)


def test_a_shadow_of_other_features_gets_a_matrix_of_its_own(world, matrix):
    assert world.far.model.columns != world.model.columns
    found = compare(world.scorer, world.far.model, world.city, matrix, world.home, AS_OF)
    assert found.n == matrix.X.shape[0] and 0.0 < found.rank_correlation < 1.0


@pytest.mark.parametrize("which", ["near", "far"])  # of the champion's features, and of others
def test_whoever_objects_or_is_erased_meanwhile_is_scored_by_neither(world, matrix, which, monkeypatch):
    objecting, gone = matrix.keys["person_id"][0], matrix.keys["person_id"][1]
    monkeypatch.setattr(world.home.objections, "_erased", lambda ids: np.array([person == gone for person in ids]))
    shadow, rows = getattr(world, which).model, []
    monkeypatch.setattr("scoring.forest.raw_scores", lambda model, X: rows.append(X) or raw_scores(model, X))
    world.objections.object(objecting, "youth")
    try:
        found = compare(world.scorer, shadow, world.city, matrix, world.home, AS_OF)
    finally:
        world.objections.withdraw(objecting, "youth")
    assert [len(X) for X in rows] == [found.n] * 2 and found.n == matrix.X.shape[0] - 2
    assert np.array_equal(rows[0], matrix.X[2:], equal_nan=True)


def test_figures_about_a_few_are_not_made(world, matrix, monkeypatch):
    monkeypatch.setattr(shadows, "FEWEST", matrix.X.shape[0] + 1)
    with pytest.raises(BadInput, match="figures about a few"):
        compare(world.scorer, world.near.model, world.city, matrix, world.home, AS_OF)


def test_a_shadow_needs_no_verdict_and_changes_no_champion(world, capsys):
    registry = world.home.registry
    before = approved_pointer(registry, "youth")
    told = begin_shadow(world.home, world.near.run_id)
    assert told["model_digest"] == world.near.model.digest == shadow_model(registry, "youth").digest
    assert approved_pointer(registry, "youth") == before
    assert world.home.audit_log.rows()[-1]["action"] == "shadow"
    stop_shadow(world.home, "youth")
    assert shadow_pointer(registry, "youth") == () and shadow_model(registry, "youth") is None
    with pytest.raises(BadInput, match="has no shadow"):
        stop_shadow(world.home, "youth")
    words = ["--home", str(world.home.root), "--json"]
    assert main(["shadow", "set", "--run", world.far.run_id, *words]) == 0
    assert json.loads(capsys.readouterr().out)["model_digest"] == world.far.model.digest
    assert main(["shadow", "end", "--need", "youth", *words]) == 0
    assert main(["shadow", "end", "--need", "youth", *words]) == 2
    assert main(["shadow", "set", "--run", "nothing", *words]) == 2


def test_a_line_that_was_cut_short_is_left_out(world):
    path = shadows.kept_path(world.home)
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"need": "elderly", "n": 60}\n{"need": "eld')
    assert kept_comparisons(world.home, "elderly") == [{"need": "elderly", "n": 60}]
    assert kept_comparisons(world.home, "youth") == []
    path.unlink()


def test_a_running_service_compares_and_never_answers_by_a_shadow(world, matrix, capsys):
    begin_shadow(world.home, world.near.run_id)
    server = start(world)
    try:
        wait_until_it_answers(server)
        scores = dict(world.score().frame.select("person_id", "score").iter_rows())
        people = sorted(scores)

        def ask(person, **changes):
            body = {"need": "youth", "as_of_date": str(AS_OF), "person_id": person, **changes}
            return httpx.post(f"{server.url}/score", json=body, timeout=30).json()

        ask(people[0])
        assert soon(lambda: len(kept_comparisons(world.home, "youth")), 1, 20) == 1
        begin_shadow(world.home, world.far.run_id)  # another, while it serves
        assert soon(lambda: len(kept_comparisons(world.home, "youth")), 2, 20) == 2
        batch = {"need": "youth", "as_of_date": str(AS_OF), "person_ids": people}
        answers = [ask(person, reasons=reasons) for person in people[:40] for reasons in (True, False)]
        answers.append(httpx.post(f"{server.url}/score_batch", json=batch, timeout=30).json())
        for answer in answers:
            assert (answer["model_digest"], answer["verdict_id"]) == (world.model.digest, world.verdict.verdict_id)
            for row in answer.get("rows", [answer]):
                assert row["score"] == scores[row["person_id"]]
        assert httpx.get(f"{server.url}/verdict?need=youth").json()["model_digest"] == world.model.digest
        alone = world.home.registry.client
        alone.delete_registered_model_alias("youth", CHAMPION)
        refused = {"need": "youth", "as_of_date": str(AS_OF), "person_id": people[0]}
        status = lambda: httpx.post(f"{server.url}/score", json=refused).status_code  # noqa: E731
        assert soon(status, 503, 2.0) == 503, "without a champion nothing answers, though there is a shadow"
        alone.set_registered_model_alias("youth", CHAMPION, "1")
        assert soon(status, 200, 3.0) == 200
        metrics = httpx.get(f"{server.url}/metrics").text
    finally:
        code, said = stop(server)
    assert code == 0, said
    first, second = kept_comparisons(world.home, "youth")
    expected = asdict(compare(world.scorer, world.near.model, world.city, matrix, world.home, AS_OF))
    assert {**first, "at": None} == {**expected, "at": None}
    assert second["shadow"] == world.far.model.digest
    assert 'ennakko_shadow{figure="overlap",need="youth"}' in metrics
    (line, _) = [line for line in said.splitlines() if '"event": "shadow compared"' in line]
    assert json.loads(line)["rank_correlation"] == first["rank_correlation"]
    kept = shadows.kept_path(world.home).read_text() + line
    assert not any(f'"{person}"' in kept for person in people)
    assert main(["shadow", "show", "--home", str(world.home.root)]) == 0
    assert str(AS_OF) in capsys.readouterr().out
