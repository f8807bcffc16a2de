from datetime import date

import numpy as np
import polars as pl
import pytest
from conftest import write_city
from experiment_world import need_text, world

from features.city import open_city
from models.experiment_layout import lay_out
from models.hold_out import hold_out_table
from models.metrics import evaluate
from models.need import parse_need
from models.training import train

HELD = ('kind = "temporal"\ntests = 2', 'kind = "temporal"\nhold_out = "district"\ntests = 1')


def silent(*_):
    """Nobody is told."""


@pytest.fixture(scope="module")
def register():
    from sqlalchemy import create_engine

    from ethics.objections import ObjectionRegister

    return ObjectionRegister(create_engine("sqlite://"), b"a key for tests only")


@pytest.fixture(scope="module")
def laid(tmp_path_factory, register):
    city = world(tmp_path_factory.mktemp("city"), n=1200)
    return lay_out(city, parse_need(need_text(HELD).encode(), "youth.toml"), register, 1, silent)


@pytest.fixture(scope="module")
def candidate(laid):
    return train(laid.matrix.rows(laid.taught(laid.split.candidate)), laid.need, 1)


@pytest.fixture(scope="module")
def table(laid, candidate):
    return hold_out_table(laid, candidate, "district", silent)


def district_of(city):
    return dict(city.history.select("person_id", "value").iter_rows())


def test_each_district_with_enough_people_is_judged_and_the_rest_stand_together(laid, table):
    where = district_of(laid.city)
    judged = laid.matrix.rows(laid.judged)
    living = [where[person] for person in judged.keys["person_id"]]
    assert table["value"].to_list() == ["South", "North", "(1 smaller or unknown)"]
    assert table["n"].to_list() == [living.count(name) for name in ("South", "North", "Isle")]
    for name, n, in_need, k in table.select("value", "n", "in_need", "k").rows()[:2]:
        assert in_need == sum(y for y, home in zip(judged.y, living, strict=True) if home == name)
        assert k == round(40 * n / 1200)
    assert table.row(2)[3:] == (None,) * (table.width - 3)


def test_its_figures_are_those_of_a_model_without_its_residents(laid, table):
    where = district_of(laid.city)
    people = laid.matrix.keys["person_id"].to_list()
    north = np.array([where[person] == "North" for person in people])
    taught = laid.taught(laid.split.candidate)
    others = laid.matrix.rows(taught & ~north)
    assert not {where[person] for person in others.keys["person_id"]} & {"North"}
    model = train(others, laid.need, 1)
    there = laid.matrix.rows(laid.judged & north)
    row = table.row(1, named=True)
    figures = evaluate(
        label=there.y,
        rank_score=model.raw(there.X),
        probability=model.predict(there.X),
        person=there.keys["person_id"].to_numpy(),
        k=row["k"],
        seed=1,
    )
    for name, figure in figures.items():
        assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == figure


def test_the_candidate_is_measured_on_the_same_persons(laid, candidate, table):
    where = district_of(laid.city)
    judged = laid.matrix.rows(laid.judged)
    south = np.array([where[person] == "South" for person in judged.keys["person_id"]])
    expected = evaluate(
        label=judged.y[south],
        rank_score=candidate.raw(judged.X[south]),
        probability=None,
        person=judged.keys["person_id"].filter(pl.Series(south)).to_numpy(),
        k=1,
        seed=1,
    )["auc"]
    row = table.row(0, named=True)
    assert (row["auc_of_candidate"], row["auc_of_candidate_low"], row["auc_of_candidate_high"]) == expected


def test_the_district_is_read_on_the_day_and_who_moved_there_teaches_nothing(
    tmp_path, register, candidate, monkeypatch
):
    """Everybody of the north moves there on one day between training and judging: they lived in the south before."""
    city = world(tmp_path / "before", n=1200)
    moved = date(2024, 3, 1)
    history = city.history.select("person_id", "attribute", "value", pl.col("from_date").cast(pl.Date))
    north = history.filter(pl.col("value") == "North").with_columns(from_date=pl.lit(moved))
    history = pl.concat([history.with_columns(value=pl.lit("South")), north])
    events = pl.read_parquet(city.folder / "events.parquet")
    folder = write_city(
        tmp_path / "after", city.persons.select("person_id"), events, history=history,
        toml=f"extract_date = {city.extract_date}",
    )  # fmt: skip
    laid = lay_out(open_city(folder), parse_need(need_text(HELD).encode(), "youth.toml"), register, 1, silent)
    taught = []
    monkeypatch.setattr("models.hold_out.train", lambda matrix, need, seed, **_: taught.append(matrix) or candidate)
    table = hold_out_table(laid, candidate, "district", silent)
    assert table["value"].to_list() == ["South", "North"]
    movers = set(north["person_id"])
    # Without the south nobody is left to learn from; without the north, those who stayed in the south.
    (matrix,) = taught
    assert not movers & set(matrix.keys["person_id"])
    assert table["auc"].null_count() == 1 and table["auc_of_candidate"].null_count() == 0


def test_a_need_that_asks_for_it_gets_the_table_and_another_does_not(tmp_path, register):
    from models.experiment import run_experiment

    city = world(tmp_path / "c", n=900)
    said = []
    text = need_text(HELD)
    found = run_experiment(city, parse_need(text.encode(), "youth.toml"), register, 1, lambda *s: said.append(s[0]))
    assert found.hold_outs["value"].to_list()[:2] == ["South", "North"]
    assert "district" not in found.need.columns
    assert [line for line in said if "without" in line] == [
        "youth: training without district 1 of 2",
        "youth: training without district 2 of 2",
    ]
    plain = parse_need(text.replace('hold_out = "district"\n', "").encode(), "youth.toml")
    assert run_experiment(city, plain, register, 1, silent).hold_outs is None
