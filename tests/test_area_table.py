"""The area table: an outsider with the written file and a solver of whole numbers works out no small number of people.

The outsider is given more than the file says: a band that is printed is taken to tell its number exactly, and how many
people a need covers, lists and expects in all is known.
"""

import csv
import io
import itertools
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from scoring.area_table import (
    COLUMNS,
    EVERYWHERE,
    SHARES,
    UNKNOWN,
    District,
    area_rows,
    as_csv,
    as_json,
    band_of_people,
    band_of_share,
)

LEAST = 10
MEASURES = {"cohort": "n", "listed_percent": "listed", "expected_need": "expected"}
MESSAGES = Path(__file__).parent.parent / "scoring" / "leader_messages"


def invented(seed, n_districts=24, share=0.03):
    """Districts of very different sizes, one of them tiny, and people whose district is not known."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n_districts):
        n = 4 if number == 3 else int(rng.lognormal(5, 1.3)) + 1
        name = None if number == n_districts - 1 else f"District {number:02}"
        found.append(District(name, n, int(rng.binomial(n, share)), float(rng.binomial(n, 0.12))))
    return found


def written(rows):
    return list(csv.DictReader(io.StringIO(as_csv(rows))))


def truth_and_told(districts, rows):
    """Every number of people, and those whose band the file prints."""
    by_name = {one.district or UNKNOWN: one for one in districts}
    truth, told = {}, set()
    for row in rows:
        if row["district"] == EVERYWHERE:
            continue
        one = by_name[row["district"]]
        for column, name in MEASURES.items():
            truth[row["district"], name] = round(getattr(one, name))
            if row[f"{column}_from"]:
                told.add((row["district"], name))
    return truth, told


def solved(truth, told, target):
    """The least and the greatest whole number that everything leaves for a combination of counts."""
    keys = list(truth)
    at = {key: i for i, key in enumerate(keys)}
    rows, low, high = [], [], []

    def add(factors, least, most):
        row = np.zeros(len(keys))
        for key, factor in factors.items():
            row[at[key]] = factor
        rows.append(row)
        low.append(least)
        high.append(most)

    for name in MEASURES.values():
        members = [key for key in keys if key[1] == name]
        total = sum(truth[key] for key in members)
        add(dict.fromkeys(members, 1.0), total, total)
    for district in {key[0] for key in keys}:
        for part in ("listed", "expected"):
            add({(district, "n"): 1.0, (district, part): -1.0}, 0, np.inf)
    lower = np.array([truth[key] if key in told else 0 for key in keys], dtype=float)
    upper = np.array([truth[key] if key in told else 1e6 for key in keys], dtype=float)
    ends = []
    for sign in (1.0, -1.0):
        wish = np.zeros(len(keys))
        for key, factor in target.items():
            wish[at[key]] = sign * factor
        answer = milp(
            wish,
            constraints=LinearConstraint(np.array(rows), low, high),
            bounds=Bounds(lower, upper),
            integrality=np.ones(len(keys)),
        )
        assert answer.success, "the file contradicts itself"
        ends.append(round(sign * answer.fun))
    return ends


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_small_number_of_people_follows_from_the_file(seed):
    districts = invented(seed, share=(0.03, 0.2, 0.005)[seed - 1])
    rows = written(area_rows("youth", districts, LEAST))
    truth, told = truth_and_told(districts, rows)
    small = [key for key, people in truth.items() if people < LEAST]
    assert small and not told & set(small) and len(told) > 15
    totals = {name: sum(people for key, people in truth.items() if key[1] == name) for name in MEASURES.values()}
    for key in small:
        low, high = solved(truth, told, {key: 1.0})
        assert low <= truth[key] <= high
        assert high - low >= LEAST or totals[key[1]] < LEAST, (key, low, high)
    for district in {key[0] for key in truth}:
        for part in ("listed", "expected"):  # nor how few are not on the list, or not expected to be in need
            rest = truth[district, "n"] - truth[district, part]
            if 0 <= rest < LEAST:
                low, high = solved(truth, told, {(district, "n"): 1.0, (district, part): -1.0})
                assert high - low >= LEAST, (district, part, low, high)


def test_the_outsider_is_able():
    # With one withheld number more in the open, a small one is worked out; so the test above can fail.
    districts = invented(1)
    rows = written(area_rows("youth", districts, LEAST))
    truth, told = truth_and_told(districts, rows)
    key = ("District 03", "n")
    assert key not in told
    low, high = solved(truth, {one for one in truth if one[1] == "n"} - {key} | told, {key: 1.0})
    assert low == high == truth[key] == 4


def test_a_number_lies_in_its_band_and_a_large_table_is_printed():
    districts = invented(5, n_districts=150)
    rows = written(area_rows("youth", districts, LEAST))
    assert len(rows) == 151 and [row["district"] for row in rows[::150]] == [EVERYWHERE, UNKNOWN]
    assert sum(bool(row["cohort_from"]) for row in rows) > 120
    by_name = {one.district or UNKNOWN: one for one in districts}
    for row in rows[1:]:
        one = by_name[row["district"]]
        if row["cohort_from"]:
            assert int(row["cohort_from"]) <= one.n <= int(row["cohort_to"])
        if row["listed_percent_from"]:
            assert float(row["listed_percent_from"]) <= 100 * one.listed / one.n <= float(row["listed_percent_to"])
            assert row["cohort_from"]  # a share tells of what it is a share of
        if row["expected_need_from"]:
            assert int(row["expected_need_from"]) <= round(one.expected) <= int(row["expected_need_to"])


def test_the_order_of_districts_and_one_person_more_change_nothing_that_is_told():
    districts = invented(7)
    rows = area_rows("youth", districts, LEAST)
    assert area_rows("youth", districts[::-1], LEAST) == rows
    large = max(range(len(districts)), key=lambda at: districts[at].n)
    other = [one._replace(n=one.n + 1) if at == large else one for at, one in enumerate(districts)]
    assert area_rows("youth", other, LEAST) == rows


def test_bands_meet_and_leave_no_number_out():
    for least in (5, 7, 10, 30):
        bands = list(dict.fromkeys(band_of_people(n, least) for n in range(least, 3000)))
        assert bands[0].low == least
        assert all(one.high + 1 == other.low for one, other in itertools.pairwise(bands))
    assert [band_of_share(share).low for share in SHARES[:-1]] == list(SHARES[:-1])
    assert band_of_share(100.0).high == 100.0


def test_a_rule_has_no_expected_need_and_no_district_no_row():
    rows = area_rows("written", [District("a", 400, 40, None), District("b", 300, 20, None)], LEAST)
    assert [row.expected_need for row in rows] == [None] * 3 and rows[1].listed_percent == (10.0, 20.0)
    assert area_rows("written", [], LEAST) == []
    few = area_rows("written", [District("a", 9, 1, None)], LEAST)
    assert {row.cohort for row in few} == {None}


def test_the_file_for_machines_says_what_its_columns_mean_in_three_languages():
    rows = area_rows("youth", invented(1), LEAST)
    told = json.loads(as_json(rows, "2024-06-03", {"youth": {"fi": "a", "sv": "b", "en": "c"}}, LEAST, ["invented"]))
    assert [column["name"] for column in told["columns"]] == list(COLUMNS)
    assert all(set(column["what"]) == {"fi", "sv", "en"} and all(column["what"].values()) for column in told["columns"])
    assert (told["as_of_date"], told["smallest_number_told"], told["banners"]) == ("2024-06-03", LEAST, ["invented"])
    assert len(told["rows"]) == len(rows) and set(told["rows"][0]) == set(COLUMNS)
    cells = written(rows)
    for one, other in zip(told["rows"], cells, strict=True):
        assert {name: "" if value is None else str(value) for name, value in one.items()} == other
    for language in ("fi", "sv", "en"):
        area = tomllib.loads((MESSAGES / f"{language}.toml").read_text())["area"]
        assert set(area) == {"title", "about", *COLUMNS}


def test_the_week_writes_it_from_the_lists_that_were_published(listed_week):
    result = listed_week[2]
    paths = {Path(path).name: Path(path) for path in result["area_table"]}
    rows = list(csv.DictReader(paths["area.csv"].open()))
    assert {row["need"] for row in rows} == {need["need"] for need in result["needs"] if "list_id" in need}
    whole = {row["need"]: row for row in rows if row["district"] == EVERYWHERE}
    for need in result["needs"]:
        if "list_id" in need:
            assert int(whole[need["need"]]["cohort_from"]) <= need["cohort_n"] <= int(whole[need["need"]]["cohort_to"])
    told = json.loads(paths["area.json"].read_text())
    assert told["banners"] == ["demonstration", "invented"] and len(told["rows"]) == len(rows)
    tiny = [row for row in rows if row["district"] == "Nowhere"]  # some 2 % of 900 people live there
    assert tiny and all(not row["listed_percent_from"] and not row["expected_need_from"] for row in tiny)
