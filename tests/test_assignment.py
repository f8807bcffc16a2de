"""Pre-school proposals: cheapest by brute force, never over places, exceptions never proposed, files whole."""

import itertools
import json
import re
import shutil
import string
import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from ethics.groups import GroupRegister
from ethics.refusals import BadInput
from features.synthetic import synthetic_city
from features.synthetic_places import ACCEPTANCE
from scoring.acceptance import learn_acceptance
from scoring.assignment import held_places, nearest_placing, propose_places, start_year_of
from scoring.place_comparison import by_group
from scoring.place_exceptions import REASONS
from scoring.place_files import render_page
from scoring.place_settings import DEFAULT_SETTINGS, load_settings
from scoring.place_tables import FLAGS, PlaceTables, read_tables
from scoring.transport import cheapest_placing, families_of, price_of
from serving.cli import main

JANUARY = date(2026, 1, 8)
SECRET = b"a secret of this test, 32 bytes."
NO_PLACE_PRICE = 60.0


# ---- the solver ----------------------------------------------------------------------------------------------------


@st.composite
def small_cases(draw):
    n, n_units = draw(st.integers(0, 5)), draw(st.integers(1, 3))
    cell = st.one_of(st.integers(0, 20).map(float), st.just(np.inf))
    price = np.array(draw(st.lists(cell, min_size=n * n_units, max_size=n * n_units))).reshape(n, n_units)
    places = np.array(draw(st.lists(st.integers(0, 4), min_size=n_units, max_size=n_units)))
    family = np.array(draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n)), dtype=np.int64)
    return price, places, family, float(draw(st.integers(0, 12)))


def lowest_price(price, places, family, apart):
    """Every placing there is."""
    lowest = np.inf
    for unit in itertools.product(range(-1, price.shape[1]), repeat=price.shape[0]):
        unit = np.array(unit, dtype=np.int64)
        is_allowed = all(u < 0 or np.isfinite(price[child, u]) for child, u in enumerate(unit))
        if is_allowed and all((unit == u).sum() <= room for u, room in enumerate(places)):
            lowest = min(lowest, price_of(unit, price, families_of(family), apart, NO_PLACE_PRICE))
    return lowest


@settings(max_examples=60, deadline=None)
@given(small_cases())
def test_no_placing_is_cheaper_and_none_is_over_its_places(case):
    price, places, family, apart = case
    found = cheapest_placing(price, places, family=family, apart=apart, no_place=NO_PLACE_PRICE)
    assert found.price == pytest.approx(lowest_price(*case))
    assert found.is_cheapest
    assert (np.bincount(found.unit[found.unit >= 0], minlength=places.size) <= places).all()
    assert np.isfinite(price[np.arange(len(price))[found.unit >= 0], found.unit[found.unit >= 0]]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 60))
def test_units_of_one_place_are_the_linear_assignment(seed, n):
    price = np.random.default_rng(seed).integers(0, 1_000, (n, n)).astype(float)
    found = cheapest_placing(price, np.ones(n, np.int64), no_place=1e6)
    assert found.price == price[linear_sum_assignment(price)].sum()


def test_a_unit_beyond_the_first_ones_is_found_by_its_price():
    """Forty units; all but the dearest are full, so pairs that were not in the program at first must come in."""
    price = np.tile(np.arange(40.0), (3, 1))
    places = np.zeros(40, np.int64)
    places[39] = 2
    found = cheapest_placing(price, places, no_place=100.0)
    assert sorted(found.unit.tolist()) == [-1, 39, 39]


def test_a_family_goes_together_where_that_is_worth_it():
    price = np.array([[0.0, 5.0], [0.0, 5.0], [0.0, 50.0]])
    family = np.array([7, 7, -1])
    places = np.array([2, 2])
    together = cheapest_placing(price, places, family=family, apart=10.0, no_place=100.0)
    assert together.unit.tolist() == [1, 1, 0]
    alone = cheapest_placing(price, places, family=family, apart=0.0, no_place=100.0)
    assert sorted(alone.unit[:2].tolist()) == [0, 1] and alone.unit[2] == 0


# ---- whole proposals -----------------------------------------------------------------------------------------------


def a_city(seed=0, n=60, n_units=6, places=8, **columns):
    rng = np.random.default_rng(seed)
    units = pl.DataFrame(
        {
            "unit_id": [f"u{number}" for number in range(n_units)],
            "name": [f"Unit {number}" for number in range(n_units)],
            "x": rng.uniform(0, 2_000, n_units),
            "y": rng.uniform(0, 2_000, n_units),
            "places": np.full(n_units, places),
            "languages": [["fi"], ["sv"], *[["fi"]] * (n_units - 2)],
        }
    )
    children = {
        "person_id": [f"{number:06d}" for number in range(n)],
        "start_year": np.full(n, 2026),
        "x": rng.uniform(0, 2_000, n),
        "y": rng.uniform(0, 2_000, n),
        "language": np.where(rng.random(n) < 0.1, "sv", "fi"),
        "family": [f"f{number // 2}" if number < 8 else None for number in range(n)],
        "sibling_unit": [f"u{number % n_units}" if number % 3 == 0 else None for number in range(n)],
        **{flag: np.zeros(n, np.bool_) for flag in FLAGS},
    }
    return PlaceTables(units, pl.DataFrame(children | columns), None)


def proposed(tables, **more):
    return propose_places(tables, JANUARY, load_settings(), secret=SECRET, **more)


@pytest.mark.parametrize("places", [0, 3, 8, 40])
@pytest.mark.parametrize("seed", range(4))
def test_everybody_is_proposed_a_place_or_stands_in_a_queue_and_no_unit_is_over_its_places(seed, places):
    rng = np.random.default_rng(seed)
    flags = {flag: rng.random(60) < 0.1 for flag in FLAGS}
    tables = a_city(seed, places=places, **flags)
    found = proposed(tables)
    everybody = [*found.proposals["person_id"], *found.exceptions["person_id"], *found.no_place["person_id"]]
    assert sorted(everybody) == tables.children["person_id"].to_list()
    assert (found.units["proposed"] + found.units["held"] <= found.units["places"]).all()
    assert (found.units["nearest"] + found.units["held"] <= found.units["places"]).all()
    assert found.proposals.height == found.ours.placed == found.units["proposed"].sum()
    excepted = tables.children.filter(pl.any_horizontal(*FLAGS))["person_id"]
    assert set(excepted) <= set(found.exceptions["person_id"])
    assert sum(found.excepted.values()) == found.exceptions.height


def test_proposals_do_not_depend_on_the_order_of_rows():
    tables = a_city(3, places=9)
    same_home = tables.children.with_columns(x=pl.lit(1_000.0), y=pl.lit(1_000.0))  # ties everywhere
    for children in (tables.children, same_home):
        first = proposed(tables._replace(children=children))
        for seed in range(3):
            shuffled = children.sample(fraction=1, shuffle=True, seed=seed)
            assert proposed(tables._replace(children=shuffled)).digest == first.digest


def test_another_home_draws_another_lot_between_equals():
    tables = a_city(3, places=4)
    children = tables.children.with_columns(x=pl.lit(1_000.0), y=pl.lit(1_000.0), sibling_unit=pl.lit(None, pl.String))
    one, other = (
        propose_places(tables._replace(children=children), JANUARY, load_settings(), secret=secret)
        for secret in (SECRET, SECRET[::-1])
    )
    assert one.ours.placed == other.ours.placed
    assert set(one.no_place["person_id"]) != set(other.no_place["person_id"])


def test_a_child_stands_under_the_gravest_reason_and_its_family_is_protected_too():
    tables = a_city(n=12)
    flags = {flag: np.zeros(12, np.bool_) for flag in FLAGS}
    flags["safety_ban"][0] = flags["special_support"][0] = True  # its brother is 000001
    flags["special_support"][2] = True  # 000003 is its sister, and may be proposed a place
    unknown = pl.Series([None if number == 4 else False for number in range(12)], dtype=pl.Boolean)
    x = [None if number == 6 else 500.0 for number in range(12)]
    language = [{7: None, 8: "se", 9: "sv"}.get(number, "fi") for number in range(12)]
    tables = a_city(n=12, **flags | {"custody_split": unknown, "x": x, "language": language})
    found = proposed(tables, objecting=["000010"])
    assert dict(found.exceptions.iter_rows()) == {
        "000000": "safety_ban",
        "000001": "family_protected",
        "000002": "special_support",
        "000004": "not_known",
        "000006": "no_coordinates",
        "000007": "no_language",
        "000008": "language_not_taught",
        "000010": "objected",
    }
    assert "000003" in found.proposals["person_id"]
    assert list(found.excepted) == list(REASONS)


@pytest.mark.parametrize("flag", ["safety_ban", "secrecy_order", "custody_split"])
def test_a_child_under_a_ban_protects_its_family_in_whatever_year_it_begins_and_when_it_is_erased(flag):
    years = [2026, 2027, 2026, 2024, *[2026] * 8]  # 000000 and 000001 are of one family, 000002 and 000003 of another
    banned = np.isin(np.arange(12), (1, 3))
    tables = a_city(n=12, start_year=years, **{flag: banned})
    protected = {"000000": "family_protected", "000002": "family_protected"}
    assert dict(proposed(tables).exceptions.iter_rows()) == protected
    same_year = a_city(n=12, **{flag: banned})
    found = proposed(same_year, erased=["000001", "000003"])
    assert dict(found.exceptions.iter_rows()) == protected
    assert not {"000000", "000001", "000002", "000003"} & {*found.proposals["person_id"], *found.no_place["person_id"]}


def test_who_lives_too_far_from_every_unit_is_told_apart_from_who_finds_them_full():
    x = [50_000.0, *[500.0] * 59]
    found = proposed(a_city(places=2, x=x))
    reasons = dict(found.no_place.iter_rows())
    assert reasons.pop("000000") == "no_unit_near"
    assert set(reasons.values()) == {"places_full"}
    assert found.proposals.height == 10 + min(2, found.proposals.filter(pl.col("unit_id") == "u1").height)


def test_places_are_kept_free_for_those_whom_people_place():
    units = pl.DataFrame({"unit_id": ["a", "b", "c"], "places": [30, 10, 0]})
    assert held_places(units, 4, 40).tolist() == [3, 1, 0]
    assert held_places(units, 8, 80).tolist() == [3, 1, 0]  # all are too few, so these are, too
    assert held_places(units, 0, 40).tolist() == [0, 0, 0]


def test_the_nearest_unit_rule_takes_the_nearest_of_the_language_that_has_a_place():
    metres = np.array([[10.0, 20.0, 30.0]] * 3)
    other = np.array([[False, True, False]] * 3)
    assert nearest_placing(metres, other, 100.0, np.array([1, 5, 1])).tolist() == [0, 2, -1]
    assert nearest_placing(metres, other, 25.0, np.array([0, 5, 1])).tolist() == [-1, -1, -1]


def test_the_year_is_that_of_the_coming_august():
    assert [start_year_of(date(2026, month, 1)) for month in (1, 7, 8, 12)] == [2026, 2026, 2027, 2027]


# ---- acceptance ----------------------------------------------------------------------------------------------------


def offers(n, seed=1, chance=ACCEPTANCE.chance):
    rng = np.random.default_rng(seed)
    metres, sibling, own = rng.gamma(2.0, 450.0, n), rng.random(n) < 0.2, rng.random(n) < 0.9
    return pl.DataFrame(
        {
            "person_id": [f"{number:06d}" for number in range(n)],
            "offered_on": [date(2022 + number % 4, 1, 8) for number in range(n)],
            "metres": metres,
            "sibling_in_unit": sibling,
            "own_language": own,
            "accepted": rng.random(n) < chance(metres / 1_000, sibling, ~own),
        }
    )


def learned(table, as_of=JANUARY):
    return learn_acceptance(table, as_of, answer_days=60, at_least=300)


def test_acceptance_is_learned_with_intervals_that_hold_the_truth():
    found = learned(offers(8_000))
    assert found.kind == "learned"
    low, high = np.quantile(found.weights[1:], [0.005, 0.995], axis=0)
    assert ((low <= ACCEPTANCE) & (high >= ACCEPTANCE)).all()
    asked = np.array([500.0, 3_000.0]), np.array([False, True]), np.array([False, False])
    expected = found.expected(*asked)
    truth = ACCEPTANCE.chance(asked[0] / 1_000, asked[1], asked[2]).sum()
    assert expected.low <= truth <= expected.high
    assert found.measures["gain"].low > 0


def test_what_does_not_foretell_the_last_year_is_not_used():
    found = learned(offers(4_000, chance=lambda km, sibling, other: np.full(km.shape, 0.8)))
    assert found.kind == "rate"
    assert found.rate.low <= 0.8 <= found.rate.high
    chance = found.chance(np.array([100.0, 4_000.0]), np.array([True, False]), np.array([False, True]))
    assert chance == pytest.approx([found.rate.value] * 2)


def test_too_few_offers_say_nothing_and_young_ones_teach_nothing():
    for few in (None, offers(299), offers(4_000).with_columns(accepted=pl.lit(True))):
        found = learned(few)
        assert found.kind == "unknown"
        assert np.isnan(found.expected(np.ones(3), np.ones(3, np.bool_), np.ones(3, np.bool_)).value)
    table = offers(4_000)
    assert learned(table, date(2023, 3, 10)).n_offers == 2 * learned(table, date(2023, 3, 9)).n_offers == 2_000


# ---- files and settings --------------------------------------------------------------------------------------------


def test_everything_wrong_with_the_tables_is_said_at_once(tmp_path):
    pl.DataFrame(
        {"unit_id": ["a", "a"], "name": ["A", "B"], "x": [0.0, None], "y": [0.0, 1.0], "places": [2.5, 3.0]}
    ).with_columns(languages=pl.lit("fi")).write_parquet(tmp_path / "preschool_units.parquet")
    with pytest.raises(BadInput) as refused:
        read_tables(tmp_path)
    needed = "person_id, start_year, x, y, language, special_support, custody_split, safety_ban, secrecy_order"
    assert str(refused.value).splitlines() == [
        f"{tmp_path}/preschool_children.parquet: is not there. Add it, with the columns {needed}",
        "preschool_units: unit_id: repeats in 1 rows. Keep one row each",
        "preschool_units: places of 'a': is no number of children. Give a whole number, 0 or more",
        "preschool_units: x of 'a': is missing. Give metres east",
    ]


def test_a_table_of_csv_reads_like_parquet_and_never_shows_what_is_wrong_in_it(tmp_path):
    tables = a_city(n=5)
    units = tables.units.with_columns(pl.col("languages").list.join(" "))
    units.write_csv(tmp_path / "preschool_units.csv")
    tables.children.write_csv(tmp_path / "preschool_children.csv")
    read = read_tables(tmp_path)
    assert read.children.equals(tables.children.select(read.children.columns))
    assert read.units["languages"].to_list() == tables.units["languages"].to_list()
    spoilt = tables.children.with_columns(safety_ban=pl.lit("secret word"), x=pl.lit("secret place"))
    spoilt.write_csv(tmp_path / "preschool_children.csv")
    with pytest.raises(BadInput) as refused:
        read_tables(tmp_path)
    assert str(refused.value).count("holds 5 values that are not") == 2
    assert "secret" not in str(refused.value).replace(str(tmp_path), "")


def test_the_settings_say_everything_wrong_with_them_at_once(tmp_path):
    text = DEFAULT_SETTINGS.read_text("utf-8")
    text = text.replace("detour_factor = 1.3", "detour_factor = 0.5").replace("answer_days", "answer_weeks")
    (tmp_path / "own.toml").write_text(text, "utf-8")
    with pytest.raises(BadInput) as refused:
        load_settings(tmp_path / "own.toml")
    places = [fault.where.rpartition(" ")[2] for fault in refused.value.faults]
    assert places == ["assignment.detour_factor", "assignment.answer_days", "assignment.answer_weeks"]
    cheap = DEFAULT_SETTINGS.read_text("utf-8").replace("no_place_metres = 100000", "no_place_metres = 32000")
    (tmp_path / "own.toml").write_text(cheap, "utf-8")
    with pytest.raises(BadInput, match=r"no more than one place can cost \(32000\)"):
        load_settings(tmp_path / "own.toml")


def test_small_groups_are_withheld_beside_the_nearest_unit_rule():
    found = proposed(a_city(n=60, places=14))
    people = found.people["person_id"].to_list()
    group = ["few" if number < 6 else "other few" if number < 15 else "many" for number in range(len(people))]
    register = GroupRegister(pl.DataFrame({"person_id": people, "language_group": group}), "groups")
    rows = {row["group"]: row for row in by_group(found, register, ["language_group", "absent"], 10)}
    assert rows["few"]["n"] is None and rows["other few"]["n"] is None
    assert rows["few"]["ours.mean_metres"] is None and rows["few"]["nearest.expected_acceptance"] is None
    many = found.people.filter(pl.Series(group) == "many")
    assert rows["many"]["n"] == many.height
    assert rows["many"]["ours.mean_metres"] == pytest.approx(
        many["ours.metres"].sum() / many["ours.placed"].sum(), abs=1e-3
    )
    assert rows["many"]["ours.none"] == found.no_place.height == 0  # where nobody is without a place, all know it


def test_so_few_without_a_place_that_the_total_tells_each_group_are_not_told_by_group():
    found = proposed(a_city(n=60, places=40, x=[50_000.0] * 3 + [500.0] * 57))
    assert found.no_place.height == 3
    people = found.people["person_id"].to_list()
    register = GroupRegister(pl.DataFrame({"person_id": people, "sex": ["f", "m"] * (len(people) // 2)}), "groups")
    rows = by_group(found, register, ["sex"], 10)
    assert [row["ours.none"] for row in rows] == [None, None]
    assert [row["n"] for row in rows] == [30, 30]


def test_many_without_a_place_are_told():
    found = proposed(a_city(n=60, places=3))
    people = found.people["person_id"].to_list()
    group = ["one" if number % 2 else "other" for number in range(len(people))]
    register = GroupRegister(pl.DataFrame({"person_id": people, "language_group": group}), "groups")
    rows = by_group(found, register, ["language_group"], 5)
    none = {one: int((1 - found.people.filter(pl.Series(group) == one)["ours.placed"]).sum()) for one in set(group)}
    assert min(none.values()) >= 5
    assert {row["group"]: row["ours.none"] for row in rows} == none


def test_languages_have_the_same_keys_and_the_same_names():
    folder = Path(DEFAULT_SETTINGS).with_name("place_messages")
    texts = {path.stem: flat(tomllib.loads(path.read_text("utf-8"))) for path in folder.glob("*.toml")}
    assert sorted(texts) == ["en", "fi", "sv"]
    names = {language: {key: fields(text) for key, text in one.items()} for language, one in texts.items()}
    assert names["fi"] == names["sv"] == names["en"]
    assert set(REASONS) <= {key.removeprefix("reasons.") for key in texts["fi"]}


def flat(texts, prefix=""):
    parts = [
        flat(value, f"{key}.") if isinstance(value, dict) else {prefix + key: value} for key, value in texts.items()
    ]
    return {key: value for part in parts for key, value in part.items()}


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
def test_the_page_says_that_people_decide_and_names_everybody_once(language):
    flags = {"safety_ban": np.arange(60) % 20 == 0}
    page = render_page(proposed(a_city(places=3, **flags)), [], language)
    words = tomllib.loads((DEFAULT_SETTINGS.with_name("place_messages") / f"{language}.toml").read_text("utf-8"))
    assert words["banner"] in page and words["reasons"]["safety_ban"] in page
    assert "<script" not in page and "http" not in page
    assert sorted(re.findall(r">\w+ (\d{6})<", page)) == [f"{number:06d}" for number in range(60)]


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return synthetic_city(tmp_path_factory.mktemp("places") / "city", 20_000, seed=3, density=0).folder


def assign(capsys, city, home, *more):
    code = main(["assign", "--city", str(city), "--as-of", "2026-01-08", "--home", str(home), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_proposes_twice_alike_and_leaves_objectors_to_people(city, tmp_path, capsys):
    home = tmp_path / "home"
    code, first = assign(capsys, city, home)
    assert code == 0
    assert first["proposed"] + sum(first["exceptions"].values()) + sum(first["no_place"].values()) == first["children"]
    assert first["ours"]["siblings_together"] >= first["nearest_unit_rule"]["siblings_together"]
    assert first["acceptance"]["kind"] in ("learned", "rate")
    assert {Path(file).name for file in first["files"]} >= {"proposals.csv", "exceptions.parquet", "places.fi.html"}
    again = assign(capsys, city, home)[1]
    assert (again["path"], again["digest"]) == (first["path"], first["digest"])
    someone = pl.read_parquet(Path(first["path"]) / "proposals.parquet")["person_id"][0]
    assert main(["object", someone, "--home", str(home), "--need", "preschool_reach"]) == 0
    capsys.readouterr()
    after = assign(capsys, city, home)[1]
    exceptions = dict(pl.read_parquet(Path(after["path"]) / "exceptions.parquet").iter_rows())
    assert exceptions[someone] == "objected"
    assert someone not in pl.read_parquet(Path(after["path"]) / "proposals.parquet")["person_id"]
    assert main(["audit", "log", "--home", str(home)]) == 0
    said = capsys.readouterr().out
    assert "propose places" in said and someone not in said
    assert main(["erase", someone, "--by", "dpo", "--reason", "asked", "--home", str(home)]) == 0
    told = capsys.readouterr().out
    assert f"removed: places/{Path(after['path']).name}" in told and not Path(first["path"]).exists()
    erased = assign(capsys, city, home)[1]
    assert erased["children"] == first["children"] - 1, "an erased child stands in no queue either"
    for path in Path(erased["path"]).iterdir():
        text = str(pl.read_parquet(path).to_dicts()) if path.suffix == ".parquet" else path.read_text("utf-8")
        assert someone not in text


def test_the_family_of_an_erased_child_under_a_ban_is_still_left_to_people(city, tmp_path, capsys):
    home, own = tmp_path / "home", tmp_path / "city"
    shutil.copytree(city, own)
    of_year = pl.col("start_year") == 2026
    children = pl.read_parquet(own / "preschool_children.parquet")
    one, other = children.filter(of_year & ~pl.any_horizontal(*FLAGS))["person_id"].head(2)
    both, banned = pl.col("person_id").is_in([one, other]), pl.col("person_id") == other
    children.with_columns(
        family=pl.when(both).then(pl.lit("these two")).otherwise("family"), safety_ban=banned | pl.col("safety_ban")
    ).write_parquet(own / "preschool_children.parquet")
    assert main(["erase", other, "--by", "dpo", "--reason", "asked", "--home", str(home)]) == 0
    capsys.readouterr()
    folder = Path(assign(capsys, own, home)[1]["path"])
    exceptions = dict(pl.read_parquet(folder / "exceptions.parquet").iter_rows())
    assert exceptions[one] == "family_protected" and other not in exceptions


def test_the_stop_switch_stops_proposals_too(city, tmp_path, capsys):
    home = tmp_path / "home"
    assert main(["stop", "on", "--home", str(home)]) == 0
    capsys.readouterr()
    assert assign(capsys, city, home)[0] == 30
    assert not (home / "places").exists()


def test_a_day_that_the_city_does_not_know_and_a_year_nobody_begins_are_refused(city, tmp_path, capsys):
    for day, wrong in (("2030-01-08", "after the extract date"), ("2025-01-08", "holds nobody who begins in 2025")):
        words = ["assign", "--city", str(city), "--as-of", day, "--home", str(tmp_path / "home"), "--json"]
        assert main(words) == 2
        assert wrong in json.loads(capsys.readouterr().out)["errors"][0]["wrong"]
