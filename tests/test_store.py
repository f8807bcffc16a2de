"""The store on SQLite: whole or nothing, only added to, and forgetful where it has to be."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from sealed_world import World
from sqlalchemy import text

from ethics.refusals import BadInput, NotTrusted
from scoring.store import Export, Store, StoreKeys
from serving.settings import Settings

KEYS = StoreKeys(b"a key of people, for tests", b"a key of tombstones, for tests")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def open_store(tmp_path):
    return lambda: Store(Settings(home=tmp_path).engine(), KEYS, tmp_path / "tombstones.txt")


@pytest.fixture
def store(open_store):
    return open_store()


def listed_in(store, world, **changes):
    return world.list(row_keys=store.row_keys, **changes)


def people_of(listed):
    return listed.rows()["person_id"].to_list()


def test_a_reference_is_the_same_until_erasure_and_means_nothing_without_the_store(open_store):
    first = open_store().refer(["anna", "bo", "anna"])
    assert open_store().refer(["bo", "anna"]) == first and len(set(first.values())) == 2
    assert open_store().refs(["anna", "cai"]) == {"anna": first["anna"]}
    assert open_store().people([first["bo"], "0" * 64]) == {first["bo"]: "bo"}


def test_a_published_list_reads_back_as_it_was_made(store, world):
    listed = listed_in(store, world)
    exports = [Export("west.csv", "a" * 64, listed.parts[0].unit_id), Export("all.json", "b" * 64)]
    for _ in range(2):
        store.publish(listed, exports)
    assert store.lists().drop("published_at").rows() == [
        (
            listed.list_id,
            listed.need.id,
            listed.as_of_date,
            "2024-06-03/2024-06-10",
            listed.listed,
            listed.list_digest,
        )
    ]
    kept = store.rows(listed.list_id)
    assert kept["person_id"].to_list() == people_of(listed)
    assert kept["row_hash"].to_list() == listed.rows()["row_hash"].to_list()
    assert set(kept["kind"]) == {"ranked"} and kept["payload"].str.json_decode(
        pl.Struct({"reasons": pl.List(pl.Struct({"text": pl.String}))})
    ).len() == listed.listed
    assert store.list_facts(listed.list_id) == listed.facts()
    assert store.exports()["file"].to_list() == ["all.json", "west.csv"]
    proof = store.proof(listed.list_id)
    assert (proof.n, proof.redacted, proof.faults) == (listed.listed, 0, ())


def test_scores_are_added_once_and_found_by_person(store, world):
    scores = world.score()
    assert store.add_scores(scores) == store.add_scores(scores)
    assert store.summary()["scores"] == len(scores) and store.summary()["score_batches"] == 1
    person, score, rank, band = scores.frame.select("person_id", "score", "rank", "rank_band").row(3)
    found = store.scores_of(person, scores.need_id)
    assert found.select("as_of_date", "score", "rank", "rank_band", "n").rows() == [
        (scores.as_of_date, score, rank, band, len(scores))
    ]
    assert store.scores_of("nobody").is_empty() and store.scores_of(person, "another").is_empty()
