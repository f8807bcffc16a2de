"""A plan says what a build would compute and why, and the build then computes exactly that."""

from datetime import date

import polars as pl
import pytest
from cache_world import (
    ABSENCE,
    DATES,
    FEATURES,
    VISITS,
    cache_in,
    cached,
    city_of,
    event,
    events,
    keys_of,
    persons,
)

from features.cache import FeatureCache
from features.plan import plan_features
from features.spec import FeatureSpec

SEEN_FROM = date(2024, 1, 20)  # seen by every as-of date


@pytest.fixture
def city(tmp_path):
    return city_of(tmp_path / "city")


@pytest.fixture
def cache(tmp_path):
    return cache_in(tmp_path / "cache")


def planned(city, cache, features=FEATURES, keys=None):
    """Column → date → what is planned; checked against what a build then computes of how many cells."""
    keys = keys_of(city) if keys is None else keys
    before = {path: path.stat().st_mtime_ns for path in cache.packs.folder.rglob("*")}
    plan = plan_features(city, features, keys, cache)
    assert {path: path.stat().st_mtime_ns for path in cache.packs.folder.rglob("*")} == before
    computed = [
        (name, day, rows.height)
        for names, keys_computed in cached(cache, city, features, keys=keys).calls
        for name in names
        for (day,), rows in keys_computed.group_by("as_of_date")
    ]
    would = sorted((p.column, p.as_of_date, p.n_to_compute) for p in plan if p.action == "compute")
    assert would == pl.DataFrame(computed, schema=["c", "d", "n"], orient="row").group_by("c", "d").agg(
        pl.col("n").sum()
    ).sort("c", "d").rows() if computed else not would  # fmt: skip
    assert [(p.column, p.as_of_date) for p in plan] == [
        (name, day) for f in features for name in f.columns() for day in sorted(set(keys["as_of_date"]))
    ]
    return {(p.column, p.as_of_date): p for p in plan}


def whys(plan):
    return {p.why for p in plan.values()}


def computed_columns(plan):
    return {column for (column, _), p in plan.items() if p.action == "compute"}


def test_an_empty_cache_was_never_built(city, cache):
    plan = planned(city, cache)
    assert whys(plan) == {"never built"}
    assert {(p.n_persons, p.n_to_compute, p.n_blocks) for p in plan.values()} == {(60, 60, 4)}


def test_a_second_build_takes_everything_from_the_cache(city, cache):
    planned(city, cache)
    plan = planned(city, cache)
    assert {(p.action, p.why, p.n_to_compute) for p in plan.values()} == {("cached", "", 0)}


def test_a_new_column_is_told_from_a_new_date(city, cache):
    cached(cache, city, (ABSENCE,), DATES[:2])
    plan = planned(city, cache, (ABSENCE, VISITS))
    assert {p.why for (column, _), p in plan.items() if column.startswith("visits")} == {"new column"}
    of_absence = {(day, p.why) for (column, day), p in plan.items() if column.startswith("absence")}
    assert of_absence == {(DATES[0], ""), (DATES[1], ""), (DATES[2], "new as-of date")}


def test_a_renamed_feature_is_kept(city, cache):
    cached(cache, city)
    plan = planned(city, cache, (ABSENCE.model_copy(update={"name": "missed"}),))
    assert whys(plan) == {""}


def test_changed_events_are_named_by_their_codes(tmp_path, city, cache):
    cached(cache, city)
    more = [event(7, SEEN_FROM, "school.ill", 2.0), event(7, SEEN_FROM, "school.bullied", None)]
    plan = planned(city_of(tmp_path / "changed", [*events(), *more]), cache)
    assert computed_columns(plan) == set(ABSENCE.columns())
    assert whys(plan) == {"", "what it reads changed (school.bullied, school.ill; 1 of 4 blocks)"}
    assert all(0 < p.n_to_compute < 60 for p in plan.values() if p.action == "compute")


def test_a_corrected_birth_date_is_named(tmp_path, city, cache):
    cached(cache, city)
    corrected = [{**p, "birth_date": date(1980, 5, 5)} if p["person_id"] == "p007" else p for p in persons()]
    plan = planned(city_of(tmp_path / "corrected", who=corrected), cache)
    assert computed_columns(plan) == {"age"}
    assert whys(plan) == {"", "what it reads changed (age; 1 of 4 blocks)"}


def test_another_cohort_is_named(city, cache):
    cached(cache, city)
    keys = keys_of(city).filter((pl.col("person_id") != "p007") | (pl.col("as_of_date") != DATES[1]))
    plan = planned(city, cache, keys=keys)
    assert {day for (_, day), p in plan.items() if p.action == "compute"} == {DATES[1]}
    assert whys(plan) == {"", "other persons in the cohort (1 of 4 blocks)"}


def test_another_engine_is_named(city, cache, monkeypatch):
    cached(cache, city)
    monkeypatch.setattr("features.cache_keys.engine_digest", lambda: b"another engine".ljust(32))
    assert whys(planned(city, cache)) == {"another engine version"}


def test_another_division_into_blocks_is_named(city, cache):
    cached(cache, city)
    halves = cache_in(cache.packs.folder, block_persons=30)
    assert whys(planned(city, halves)) == {"the city has grown or shrunk into another number of blocks"}


@pytest.mark.parametrize("place", [20, -1])
def test_a_damaged_pack_is_named_and_left_for_the_build_to_drop(city, cache, place):
    cached(cache, city)
    pack = next(path for path in cache.packs.folder.rglob("2024-03-01.*.pack"))
    content = bytearray(pack.read_bytes())
    content[place] ^= 1
    pack.write_bytes(bytes(content))
    plan = planned(city, cache)
    assert {(p.as_of_date, p.why) for p in plan.values() if p.action == "compute"} == {
        (DATES[1], "a damaged pack (1 of 4 blocks)")
    }


def test_a_pack_whose_head_is_damaged_is_named(city, cache):
    cached(cache, city)
    pack = next(path for path in cache.packs.folder.rglob("2024-03-01.*.pack"))
    pack.write_bytes(b"")
    assert whys(planned(city, cache)) == {"", "a damaged pack (1 of 4 blocks)"}


def test_an_objection_plans_nothing_and_what_is_about_others_is_computed_each_time(city, cache):
    cached(cache, city)
    why = {"purpose": "p", "basis": "b"}
    near = FeatureSpec(name="near", of="household", codes=["other"], windows=[30], measures=["count"], **why)
    plan = plan_features(city, [ABSENCE, near], keys_of(city), cache)
    assert {(p.column, p.action, p.why, p.n_to_compute) for p in plan if p.column.startswith("near")} == {
        ("near.count.30d", "compute", "it reads about others, and depends on who objects", 60)
    }
    assert {p.action for p in plan if p.column.startswith("absence")} == {"cached"}


def test_what_lies_under_another_secret_was_never_built(city, cache):
    cached(cache, city)
    other = FeatureCache(cache.packs.folder, secret=b"another secret".ljust(32), block_persons=16)
    assert whys({p: p for p in plan_features(city, FEATURES, keys_of(city), other)}) == {"never built"}
