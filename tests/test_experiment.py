import dataclasses
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from experiment_world import need_text, world

from ethics.refusals import BadInput
from features.city import open_city
from models import experiment as experiment_module
from models.evidence import evaluate_rows
from models.experiment import run_experiment
from models.metrics import evaluate
from models.need import load_need, parse_need
from models.rule import RuleModel
from models.training import NeedModel

ROOT = Path(__file__).resolve().parent.parent


def silent(*_):
    """Nobody is told."""


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return world(tmp_path_factory.mktemp("city"))


def need_of(*changes, name="youth"):
    return parse_need(need_text(*changes).encode(), f"{name}.toml")


def run(city, need, register, **options):
    return run_experiment(city, need, register, 1, silent, **options)


@pytest.fixture(scope="module")
def register():
    from sqlalchemy import create_engine

    from ethics.objections import ObjectionRegister

    return ObjectionRegister(create_engine("sqlite://"), b"a key for tests only")


@pytest.fixture(scope="module")
def usual(city, register):
    return run(city, need_of(), register)


def test_every_test_date_is_scored_by_a_model_that_could_have_been_used_then(usual):
    first, judged = usual.split.origins
    tested = usual.tested
    assert tested["as_of_date"].unique().sort().to_list() == [first.test_date, judged.test_date]
    assert (tested["origin"] == tested["as_of_date"]).all()
    assert tested.columns == [
        "person_id", "as_of_date", "origin", "label", "rank_score", "probability", "weight", "censored",
        "seen_in_training", "rule_score", "best_column", "area", "logistic",
    ]  # fmt: skip
    on_the_day = tested.filter(origin=judged.test_date)
    assert on_the_day["rank_score"].to_list() == usual.model.raw(usual.judged.X).tolist()
    assert tested.null_count().sum_horizontal().item() == 0
    assert tested["weight"].unique().to_list() == [1.0]
    days = usual.train_matrix.keys["as_of_date"].unique().sort().to_list()
    assert days == list(judged.train_dates) and max(days).toordinal() + 60 <= judged.test_date.toordinal()


def test_figures_by_date_and_pooled_are_those_of_the_tested_rows(usual):
    def measured(rows):
        return evaluate(
            label=rows["label"].to_numpy(),
            rank_score=rows["rank_score"].to_numpy(),
            probability=rows["probability"].to_numpy(),
            person=rows["person_id"].to_numpy(),
            period=rows["origin"].to_physical().to_numpy(),
            k=40,
            seed=1,
        )

    assert usual.metrics == measured(usual.tested)
    assert list(usual.by_date) == [origin.test_date for origin in usual.split.origins]
    for day, figures in usual.by_date.items():
        assert figures == measured(usual.tested.filter(origin=day))
    assert usual.metrics["auc"].low > 0.6


def test_persons_never_seen_in_training_stand_beside_the_rest(tmp_path, register):
    # Persons come and go: who arrives late is in no training row.
    persons = world(tmp_path / "both")
    text = need_text(
        ("[cohort]\n", '[cohort]\nwith = [{ codes = ["school.absence"], window = "ever", at_least = 1 }]\n')
    )
    found = run(persons, parse_need(text.encode(), "youth.toml"), register)
    taught = set(found.train_matrix.keys["person_id"])
    rows = found.tested.filter(origin=found.split.judged_dates[0])
    assert rows["seen_in_training"].to_list() == [person in taught for person in rows["person_id"]]
    assert found.seen_in_training.tolist() == rows["seen_in_training"].to_list()
    n_unseen = found.tested.filter(~pl.col("seen_in_training")).height
    assert 0 < n_unseen < found.tested.height
    assert set(found.unseen) == set(found.metrics) and found.unseen["auc"] != found.metrics["auc"]


def test_persons_never_seen_have_their_share_of_the_places_and_no_more(tmp_path, register):
    # A handful arrives late: forty places would find every one of them, whatever the order.
    text = need_text(("[cohort]\n", '[cohort]\nwith = [{ codes = ["school.absence"], window = 90, at_least = 4 }]\n'))
    found = run(world(tmp_path / "late"), parse_need(text.encode(), "youth.toml"), register)
    strangers = found.tested.filter(~pl.col("seen_in_training"))
    of_their_periods = found.tested.filter(pl.col("origin").is_in(strangers["origin"].unique().implode()))
    assert found.k == 40 and found.n_unseen == strangers["person_id"].n_unique()
    assert found.k_unseen == max(1, round(40 * strangers.height / of_their_periods.height)) < 10

    def recall_at(k):
        return evaluate(
            label=strangers["label"].to_numpy(),
            rank_score=strangers["rank_score"].to_numpy(),
            probability=None,
            person=strangers["person_id"].to_numpy(),
            k=k,
            period=strangers["origin"].to_physical().to_numpy(),
            seed=1,
        )["recall_at_capacity"]

    assert found.unseen["recall_at_capacity"] == recall_at(found.k_unseen)
    assert found.unseen["recall_at_capacity"].value < recall_at(40).value == 1.0


def test_every_baseline_stands_in_one_table_at_the_same_capacity(usual):
    table = usual.baselines
    assert table["order"].to_list() == ["model", "chance", "unit_rule", "best_column", "area", "logistic"]
    words = dict(table.select("order", "what").iter_rows())
    assert words["unit_rule"] == "visit.count.90d desc"
    assert words["best_column"].startswith("absence.")
    assert words["area"] == "share in need in one's district among the training rows"
    for measure in ("auc", "precision_at_capacity", "recall_at_capacity", "found_at_capacity", "difference_found"):
        assert table.select(measure, f"{measure}_low", f"{measure}_high").null_count().sum_horizontal().item() == 0
    by_order = {row["order"]: row for row in table.iter_rows(named=True)}
    assert by_order["model"]["auc"] == usual.by_date[usual.split.judged_dates[0]]["auc"].value
    assert by_order["chance"]["auc"] == 0.5
    # A visit to the doctor says nothing in this city; the district says something, and less than absences do.
    assert abs(by_order["unit_rule"]["auc"] - 0.5) < 0.05 and by_order["area"]["auc_low"] > 0.5
    assert by_order["area"]["auc"] < by_order["best_column"]["auc"] and by_order["logistic"]["auc_low"] > 0.6
    assert by_order["model"]["calibration_slope"] is not None is not by_order["logistic"]["calibration_slope"]
    assert by_order["area"]["calibration_slope"] is None
    places = by_order["model"]["precision_at_capacity"] * 40
    assert by_order["model"]["found_at_capacity"] == pytest.approx(places)
    assert usual.orders.keys() == {"best_column", "area", "logistic"}


def test_a_city_without_districts_has_no_area_order(tmp_path, register):
    found = run(world(tmp_path / "c", districts=False), need_of(), register)
    assert found.tested["area"].null_count() == found.tested.height
    assert found.baselines["order"].to_list() == ["model", "chance", "unit_rule", "best_column", "logistic"]
    assert found.orders.keys() == {"best_column", "logistic"}


def test_orders_learn_from_training_rows_alone(usual, city, register, monkeypatch):
    # Whatever the outcome of the judged is: what was learnt stays what it was.
    laid = experiment_module.lay_out(city, need_of(), register, 1, silent)
    y = laid.matrix.y.copy()
    judged = laid.tested(laid.split.judged_dates)
    y[judged] = np.random.default_rng(0).permutation(y[judged])
    shuffled = dataclasses.replace(laid, matrix=dataclasses.replace(laid.matrix, y=y))
    again = run(city, need_of(), register, laid=shuffled)
    for name, score in usual.orders.items():
        assert again.orders[name].tobytes() == score.tobytes()
    assert again.model.digest == usual.model.digest
    assert abs(again.baselines["auc"][0] - 0.5) < 0.1


def test_the_simple_rule_is_advised_where_it_finds_as_many(city, register):
    # The unit already goes by what the model would go by: one column is the whole story.
    need = need_of(
        ('rule = "visit.count.90d desc"', 'rule = "absence.count.ever desc"'),
        ("n_estimators = 30", "n_estimators = 2"),
    )
    advice = run(city, need, register).advice
    assert advice.startswith("Use the simple rule: in ")
    assert 'Write it as a need of kind = "rule" with order = "absence.' in advice


def test_each_column_is_a_ranker_of_its_own(usual):
    table = usual.columns
    assert sorted(table["column"].to_list()) == sorted(usual.need.columns)
    assert table["precision"].is_sorted(descending=True)
    by_column = {row["column"]: row for row in table.iter_rows(named=True)}
    assert by_column["absence.count.ever"]["direction"] == "desc"
    assert by_column["absence.count.ever"]["auc_low"] > 0.55
    for row in by_column.values():
        assert row["precision_low"] <= row["precision"] <= row["precision_high"]
        assert row["auc_low"] < row["auc"] < row["auc_high"]


def test_the_attrition_of_training_and_testing_is_told_apart(usual):
    parts = {part: rows for (part,), rows in usual.attrition.group_by("part", maintain_order=True)}
    assert list(parts) == ["train", "test"]
    assert parts["train"]["rows"][-1] == usual.train_matrix.keys.height
    assert parts["test"]["rows"][-1] == usual.tested.height
    assert "objection" in parts["test"]["step"].to_list()


def test_an_objector_is_counted_and_nowhere_else(city, register):
    from sqlalchemy import create_engine

    from ethics.objections import ObjectionRegister

    said_no = ObjectionRegister(create_engine("sqlite://"), b"a key for tests only")
    said_no.object("P00007", "youth")
    found = run(city, need_of(("tests = 2", "tests = 1")), said_no)
    assert "P00007" not in found.tested["person_id"].to_list()
    lost = found.attrition.filter(step="objection")
    assert lost["rows_lost"].to_list() == [len(found.split.train_dates), 1]


def test_the_same_seed_gives_the_same_experiment_in_another_process_with_one_thread(tmp_path, usual, city):
    (tmp_path / "youth.toml").write_text(need_text(), encoding="utf-8")
    code = f"""
import hashlib
from pathlib import Path
from sqlalchemy import create_engine
from ethics.objections import ObjectionRegister
from features.city import open_city
from models.experiment import run_experiment
from models.need import load_need
found = run_experiment(open_city(Path({str(city.folder)!r})), load_need(Path({str(tmp_path / "youth.toml")!r})),
    ObjectionRegister(create_engine("sqlite://"), b"a key for tests only"), 1, lambda *_: None)
print(found.model.digest, hashlib.sha256(found.tested.write_ipc(None).getvalue()).hexdigest(),
    hashlib.sha256(found.baselines.write_csv().encode()).hexdigest(),
    hashlib.sha256(found.columns.write_csv().encode()).hexdigest())
"""
    threads = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=threads
    ).stdout.split()
    import hashlib

    assert there == [
        usual.model.digest,
        hashlib.sha256(usual.tested.write_ipc(None).getvalue()).hexdigest(),
        hashlib.sha256(usual.baselines.write_csv().encode()).hexdigest(),
        hashlib.sha256(usual.columns.write_csv().encode()).hexdigest(),
    ]


def test_parameters_from_elsewhere_stand_above_the_needs(city, register):
    found = run(city, need_of(("tests = 2", "tests = 1")), register, parameters={"n_estimators": 3})
    assert isinstance(found.model, NeedModel)
    assert found.model.facts["parameters"]["n_estimators"] == "3"


# ---- other kinds of need -------------------------------------------------------------------------------------------


def test_a_cohort_that_follows_an_event_is_tested_in_periods(city, register):
    text = ("as_of = { first = 2023-03-01, last = 2024-06-01, every_days = 60 }",
            'as_of = { on = "school.place_lost", after_days = 1, period_days = 90 }')  # fmt: skip
    found = run(city, need_of(text), register)
    first, judged = found.split.origins
    assert (judged.test_date - first.test_date).days == 90
    assert len(judged.test_dates) > 30
    assert set(found.by_date) == {first.test_date, judged.test_date}
    assert found.tested["origin"].unique().sort().to_list() == [first.test_date, judged.test_date]
    assert found.judged.keys["as_of_date"].min() >= judged.test_date
    assert not found.judged.keys["person_id"].is_duplicated().any()
    latest = found.train_matrix.keys["as_of_date"].max()
    assert latest.toordinal() + 60 <= judged.test_date.toordinal()


RULE = [
    ('kind = "model"', 'kind = "rule"'),
    ('[splits]\nkind = "temporal"\ntests = 2\njudged = 1\n', ""),
    ('[baseline]\nrule = "visit.count.90d desc"\n[model]\nn_estimators = 30\nnum_leaves = 6\n',
     '[rule]\norder = ["absence.count.90d desc"]\n'),
]  # fmt: skip


def test_a_rule_with_a_label_is_measured_beside_chance(city, register):
    found = run(city, need_of(*RULE), register)
    assert isinstance(found.model, RuleModel)
    assert (found.train_matrix, found.hold_outs, found.advice, found.orders) == (None, None, None, {})
    assert found.baselines["order"].to_list() == ["rule", "chance"]
    assert found.metrics["auc"].value > 0.55 and np.isnan(found.metrics["calibration_slope"].value)
    assert found.tested["probability"].null_count() == found.tested.height
    assert not found.seen_in_training.any()
    assert found.attrition["part"].unique().to_list() == ["test"]


def test_a_rule_without_a_label_has_no_figures(city, register):
    found = run(city, need_of(*RULE, ('[label]\ncodes = ["status.need"]\nhorizon_days = 60\n', "")), register)
    assert (found.metrics, found.unseen, found.baselines.height, found.columns.height) == ({}, {}, 0, 0)
    assert found.tested["label"].null_count() == found.tested.height > 0
    assert found.tested["rank_score"].null_count() == 0


UNCENSORED = 'codes = ["status.need"]\nhorizon_days = 60\n'
CENSORED = (UNCENSORED, f'{UNCENSORED}censored_by = ["moved_away"]\ncensoring = "ipcw"\n')


def test_those_who_stayed_are_weighted_for_those_who_left_in_training_and_measuring(tmp_path, register):
    leaving = world(tmp_path / "leaving", leave_rate=0.004)
    weighted = run(leaving, need_of(CENSORED), register)
    dropped = run(leaving, need_of((CENSORED[0], CENSORED[1].replace("ipcw", "drop"))), register)
    rows = weighted.tested
    assert rows["censored"].sum() > 50
    assert (rows["label"].is_null() == rows["censored"]).all()
    assert (rows.filter("censored")["weight"] == 0).all() and rows["weight"].max() > 1.0
    assert weighted.train_weights.size == weighted.train_matrix.keys.height
    assert weighted.weight.size == weighted.judged.keys.height
    assert dropped.weight is None and dropped.tested["weight"].unique().to_list() == [1.0]
    assert weighted.model.trees != dropped.model.trees
    assert weighted.metrics["auc"] != dropped.metrics["auc"]
    for found in (weighted, dropped):
        assert found.censoring["censoring"].unique().sort().to_list() == ["drop", "ipcw", "negative"]
    assert run(leaving, need_of(), register).censoring is None


def test_a_split_of_persons_is_laid_out_so_that_nobody_is_on_both_sides(city, register):
    found = run(city, need_of(('kind = "temporal"\ntests = 2\njudged = 1\n', 'kind = "person"\n')), register)
    assert not found.seen_in_training.any()
    assert found.unseen == found.metrics
    taught, judged = set(found.train_matrix.keys["person_id"]), set(found.judged.keys["person_id"])
    assert not taught & judged and len(taught) > 2 * len(judged)
    # A quarter of the people has a quarter of the places, in every figure.
    assert found.k == round(40 * len(judged) / 900) == found.k_unseen
    assert found.n_unseen == len(judged)
    (figures,) = [evaluate_rows(found.tested.with_columns(as_of_date="origin"), found.k, 1)]
    assert found.metrics == figures
    baselines = {row["order"]: row for row in found.baselines.iter_rows(named=True)}
    for order in baselines.values():
        assert order["found_at_capacity"] == pytest.approx(found.k * order["precision_at_capacity"])
    assert found.baselines["audit_places"][0] <= found.judged.keys.height / 2


def test_the_attrition_of_a_split_of_persons_tells_who_was_held_out(city, register):
    found = run(city, need_of(('kind = "temporal"\ntests = 2\njudged = 1\n', 'kind = "person"\n')), register)
    parts = {part: rows for (part,), rows in found.attrition.group_by("part", maintain_order=True)}
    assert parts["train"]["rows"][-1] == found.train_matrix.keys.height
    assert parts["test"]["rows"][-1] == found.tested.height
    told = {part: steps.filter(step="held out").row(0, named=True) for part, steps in parts.items()}
    assert told["test"]["rule"] == "persons held out for testing"
    assert told["train"]["rule"].startswith("persons learnt from")
    assert told["train"]["persons"] + told["test"]["persons"] == 900
    assert told["train"]["rows_lost"] == told["test"]["rows"]


# ---- refusals ------------------------------------------------------------------------------------------------------


def refused(city, register, *changes):
    with pytest.raises(BadInput) as said:
        run(city, need_of(*changes), register)
    return str(said.value)


def test_a_horizon_beyond_the_data_is_refused(city, register):
    said = refused(city, register, ("horizon_days = 60", "horizon_days = 900"))
    assert said.startswith("label.horizon_days: looks 900 days ahead")


def test_a_label_without_two_outcomes_is_refused(city, register):
    always = ('codes = ["status.need"]\nhorizon_days = 60', 'codes = ["status.need"]\nhorizon_days = 60\nat_most = 99')
    said = refused(city, register, always)
    assert "judged rows (2024-04-24) with a known outcome are in need: one class only" in said
    assert said.startswith("label: 900 of the 900 ")


def test_a_cohort_of_three_is_refused(tmp_path, register):
    said = refused(world(tmp_path / "three", n=3), register)
    assert "in need" in said or "never occurs" in said


def test_an_attribute_to_hold_out_that_nobody_has_is_refused(city, register):
    said = refused(city, register, ('kind = "temporal"', 'kind = "temporal"\nhold_out = "distrikt"'))
    assert said.startswith("splits.hold_out: 'distrikt' is neither a fixed column of persons nor in history")
    assert "district" in said


# ---- real students -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def students(oulad_folder):
    return open_city(oulad_folder)


def on_students(students, register, name):
    need = load_need(ROOT / "tests" / "needs" / f"{name}.toml")
    return run_experiment(students, need, register, 0, silent)


def test_real_students_tested_in_a_later_year(students, register):
    found = on_students(students, register, "course_dropout")
    assert found.split.judged_dates == (date(2014, 4, 2),) and found.split.train_dates == (date(2013, 4, 2),)
    assert 0.745 <= found.metrics["auc"].value < 0.80
    table = {row["order"]: row for row in found.baselines.iter_rows(named=True)}
    assert {"model", "chance", "unit_rule", "best_column", "logistic"} <= set(table)
    assert table["model"]["auc"] > max(table[name]["auc"] for name in ("chance", "unit_rule", "area"))
    for measure in ("calibration_error", "calibration_slope", "calibration_intercept", "difference_at_audit_cut"):
        for end in ("", "_low", "_high"):
            assert table["model"][measure + end] is not None
    assert table["chance"]["difference_found_low"] > 0 and table["unit_rule"]["difference_found_low"] > 0
    assert found.tested.filter("seen_in_training").height == 204
    assert found.unseen["auc"].value == pytest.approx(found.metrics["auc"].value, abs=0.01)


def test_real_students_split_by_persons(students, register):
    found = on_students(students, register, "course_dropout_persons")
    assert 0.82 <= found.metrics["auc"].value < 0.87
    assert 0.8 < found.metrics["calibration_slope"].value < 1.25
    assert found.baselines["calibration_slope_low"][0] is not None
