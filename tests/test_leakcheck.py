from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from features.city import open_city
from features.cohort import build_cohort
from features.leakcheck import by_event_date_only, is_all_known_at_once, leakcheck, poisoned
from features.matrix import build_matrix
from features.spec import FeatureSpec
from features.synthetic import synthetic_city
from models.need import load_need
from serving.feature_work import check_for_leaks
from serving.home import Home
from serving.settings import Settings

NEEDS = Path(__file__).resolve().parent.parent / "models" / "needs"
ABSENCE = FeatureSpec(name="absence", codes=["school.absence.*"], windows=[30, "ever"], measures=["count", "last"])


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leak") / "city"
    synthetic_city(folder, 3_000, seed=5)
    return folder


def test_rewriting_the_future_changes_no_byte(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    keys = city.cohort_table("all")
    check = leakcheck(city, [ABSENCE], keys, objections=nobody_objects, need_id="youth")
    # Of the nine events, those known on or after 1 February: two of anna's, four of bo's less the first, none of cai's;
    # and of the history anna's move, which the city came to know on 5 February.
    assert check.n_rewritten == 6
    assert check.identical


LIVES = FeatureSpec(
    attribute="district", categories=["Kallio", "Vuosaari"], measures=["months_since_change", "n_changes"]
)


def test_rewriting_what_became_known_of_attributes_changes_no_byte(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    keys, asked = city.cohort_table("all"), {"objections": nobody_objects, "need_id": "youth"}
    assert leakcheck(city, [LIVES], keys, **asked).identical
    # The check can fail: who believes beginnings alone sees anna's move before the city knew of it.
    worlds = [open_city(tiny_city), poisoned(city, date(2024, 2, 1))[0]]
    naive = [replace(w, history=w.history.with_columns(knowledge_date="from_date")) for w in worlds]
    matrices = [build_matrix(world, [LIVES], keys, **asked) for world in naive]
    assert matrices[0].digest != matrices[1].digest


def test_a_build_that_ignores_knowledge_dates_is_caught(invented, nobody_objects):
    """The check can fail: what is known late is rewritten, and features by event date alone see it."""
    city, need = open_city(invented), load_need(NEEDS / "youth_exclusion.toml")
    day = date(2025, 12, 1)
    keys = build_cohort(city, need.cohort, [day], label=need.label)
    asked = {"objections": nobody_objects, "need_id": need.id}
    honest = leakcheck(city, need.features, keys, **asked)
    assert honest.identical and honest.n_rewritten > 1000
    other, _ = poisoned(city, day)
    matrices = [build_matrix(by_event_date_only(world), need.features, keys, **asked) for world in (city, other)]
    assert matrices[0].digest != matrices[1].digest


def test_other_seeds_write_other_futures(tiny_city):
    city = open_city(tiny_city)
    one, again, other = (poisoned(city, date(2024, 2, 1), seed)[0].events for seed in (0, 0, 1))
    assert one.value.tobytes() == again.value.tobytes()
    assert (one.value.tobytes(), one.time.tobytes()) != (other.value.tobytes(), other.time.tobytes())


def test_several_dates_at_once_are_refused(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    keys = city.cohort_table("all")
    two = keys.vstack(keys.with_columns(as_of_date=date(2024, 3, 1)))
    with pytest.raises(ValueError, match="one as-of date at a time"):
        leakcheck(city, [ABSENCE], two, objections=nobody_objects, need_id="youth")


def test_the_gap_to_a_build_by_event_dates_is_said(invented, tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    result = check_for_leaks(home, invented, NEEDS / "youth_exclusion.toml")
    assert result["identical"]
    assert result["gap"] == pytest.approx(result["auc_by_event_date"]["value"] - result["auc"]["value"])
    assert f"would have promised {result['gap']:+.3f}" in result["story"][1]


def test_a_number_stays_a_number_in_every_future(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    income = {"person_id": "bo", "attribute": "income", "value": "1200"}
    known = {"from_date": datetime(2024, 3, 1), "knowledge_date": datetime(2024, 3, 1)}
    more = pl.DataFrame([income | known], schema=city.history.schema)
    city = replace(city, history=pl.concat([city.history, more]))
    for seed in range(4):
        asked = {"objections": nobody_objects, "need_id": "youth", "seed": seed}
        assert leakcheck(city, [FeatureSpec(attribute="income")], city.cohort_table("all"), **asked).identical


def test_what_begins_before_it_is_known_makes_a_build_by_dates_alone_another(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    asked = {"objections": nobody_objects, "need_id": "youth"}
    honest, naive = (
        build_matrix(c, [LIVES], city.cohort_table("all"), **asked) for c in (city, by_event_date_only(city))
    )
    assert honest.digest != naive.digest
    assert not is_all_known_at_once(city)
    assert not is_all_known_at_once(replace(city, events=replace(city.events, known=None)))
    assert is_all_known_at_once(by_event_date_only(city))


def test_a_part_of_a_city_is_refused(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    with pytest.raises(ValueError, match="the whole city"):
        leakcheck(city.only(["bo"]), [LIVES], city.cohort_table("all")[:1], objections=nobody_objects, need_id="youth")
