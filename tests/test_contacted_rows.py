"""Training knows who was contacted: what is unknown from when, who stands for whom, and what it is worth."""

import dataclasses
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from experiment_world import need_text, world
from outcome_cases import home_with_list, outcome_file
from sqlalchemy import create_engine
from store_cases import FIRST

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import outreach_trials

from ethics.objections import ObjectionRegister
from ethics.refusals import BadInput, Fault
from features.matrix import Matrix
from features.spec import LabelSpec
from models import experiment_layout
from models.contacted_rows import MET, contact_days, heed_contacts, weigh_contacts
from models.experiment import run_experiment
from models.experiment_layout import lay_out
from models.mitigation import label_variants
from models.need import parse_need
from scoring.what_happened import REACHED
from serving.outcome_work import import_outcomes
from serving.progress import silent
from serving.training_flow import train_need

DAY = date(2024, 6, 1)
LABEL = LabelSpec(codes=["a"], horizon_days=30)


def contacts(*rows):
    schema = {"person_id": pl.String, "at": pl.Date, "outcome": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_first_contact_from_the_as_of_date_on_counts_if_the_person_was_met():
    keys = pl.DataFrame({"person_id": ["b", "a", "c", "a"], "as_of_date": [DAY, DAY, DAY, date(2024, 6, 9)]})
    said = contacts(
        ("a", date(2024, 6, 8), "declined"),
        ("a", date(2024, 6, 20), "helped"),
        ("a", date(2024, 5, 31), "helped"),
        ("b", DAY, "reached"),
        ("c", date(2024, 6, 2), "not_reached"),
        ("c", date(2024, 6, 2), "wrong_person"),
    )
    assert contact_days(keys, said).tolist() == [0, 7, np.inf, 11]
    assert contact_days(keys, said.clear()).tolist() == [np.inf] * 4
    assert set(MET) == set(REACHED)  # what training and what counting call reached is one


def test_a_frame_of_another_shape_is_refused():
    keys = pl.DataFrame({"person_id": ["b"], "as_of_date": [DAY]})
    with pytest.raises(BadInput, match=r"contacts: lack at, outcome\. Give person_id, at, outcome"):
        contact_days(keys, pl.DataFrame({"person_id": ["b"]}))
    with pytest.raises(BadInput, match="contacts: have String in place of a day in 'at'"):
        contact_days(keys, contacts(("b", DAY, "helped")).cast({"at": pl.String}))


def matrix_of(y, followed, censored):
    n = len(y)
    keys = pl.DataFrame({"person_id": [f"{i}" for i in range(n)], "as_of_date": [DAY] * n})
    return Matrix(
        keys=keys,
        X=np.zeros((n, 1), dtype=np.float32),
        names=("x",),
        y=np.array(y, dtype=float),
        followed_days=np.array(followed, dtype=float),
        censored=np.array(censored, dtype=bool),
    )


@pytest.mark.parametrize(
    ("case", "y", "followed", "censored", "contact", "then"),
    [
        ("nobody came", 1, 12, False, np.inf, (1, 12, False, False)),
        ("decided before the contact", 1, 12, False, 13, (1, 12, False, False)),
        ("decided on the day of the contact", 1, 12, False, 12, (np.nan, 12, False, True)),
        ("decided after the contact", 1, 12, False, 3, (np.nan, 3, False, True)),
        ("nothing happened, help perhaps did it", 0, 30, False, 29, (np.nan, 29, False, True)),
        ("contacted when the horizon had ended", 0, 30, False, 30, (0, 30, False, False)),
        ("left before the contact", np.nan, 5, True, 6, (np.nan, 5, True, False)),
        ("left after the contact", np.nan, 9, True, 6, (np.nan, 6, False, True)),
        ("not mature", np.nan, np.nan, False, 1, (np.nan, np.nan, False, False)),
    ],
)
def test_the_label_is_unknown_from_the_contact_on(case, y, followed, censored, contact, then):
    heeded, contacted = heed_contacts(matrix_of([y], [followed], [censored]), LABEL, np.array([contact]))
    told = (heeded.y[0], heeded.followed_days[0], bool(heeded.censored[0]), bool(contacted[0]))
    assert told == pytest.approx(then, nan_ok=True), case


def drawn_contacts(n, chance, seed=0):
    """Rows of two columns of which the first decides by how much somebody is contacted; nothing was decided before."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)).astype(np.float32)
    day = np.where(rng.random(n) < chance(X[:, 0]), np.floor(30 * rng.random(n)), np.inf)
    matrix = dataclasses.replace(matrix_of(np.zeros(n), np.full(n, 30.0), np.zeros(n, bool)), X=X, names=("x", "z"))
    return X, heed_contacts(matrix, LABEL, day)


def test_the_uncontacted_stand_for_the_contacted_where_chance_had_a_say():
    X, (matrix, contacted) = drawn_contacts(6000, lambda x: 0.7 / (1 + np.exp(-2 * x)))
    label = LABEL.model_copy(update={"contacted": "ipw"})
    weighed = weigh_contacts(matrix, label, contacted, 0)
    assert not weighed.is_fallback and weighed.represented == pytest.approx(1, abs=0.15)
    assert (weighed.weight[contacted] == 0).all() and (weighed.weight[~contacted] >= 1).all()
    # Weighted, the mean of what decides is that of everybody again.
    left, mended = X[~contacted, 0].mean(), np.average(X[:, 0], weights=weighed.weight)
    assert abs(mended - X[:, 0].mean()) < 0.25 * abs(left - X[:, 0].mean())
    for asked in ("censor", "ignore"):
        other = LABEL.model_copy(update={"contacted": asked})
        assert weigh_contacts(matrix, other, contacted, 0).weight is None


def test_where_columns_decide_who_is_contacted_nobody_can_stand_for_them():
    _, (matrix, contacted) = drawn_contacts(6000, lambda x: (x > 1.2).astype(float))
    weighed = weigh_contacts(matrix, LABEL.model_copy(update={"contacted": "ipw"}), contacted, 0)
    assert weighed.is_fallback and weighed.weight is None and weighed.represented < 0.75


def test_learning_from_helped_people_finds_fewer_and_heeding_contacts_mends_it():
    found = [outreach_trials.contacted_world(seed, persons=2000) for seed in range(3)]
    gaps = {
        (one, other): np.mean([told[f"{one}: recall"] - told[f"{other}: recall"] for told in found])
        for one, other in (("no help", "ignore"), ("censor", "ignore"), ("ipw", "ignore"))
    }
    assert min(gaps.values()) > 0, gaps
    assert outreach_trials.fallbacks(found) == 0


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return world(tmp_path_factory.mktemp("contacted") / "city")


@pytest.fixture(scope="module")
def register():
    return ObjectionRegister(create_engine("sqlite://"), b"a key of objections, for tests")


def need_of(*changes):
    return parse_need(need_text(*changes).encode(), "youth.toml")


def met_in(city, share=0.2):
    """Every fifth person was helped on 10 June 2023, and on the same day of 2024."""
    people = city.persons["person_id"].to_list()[:: round(1 / share)]
    return contacts(*((p, day, "helped") for p in people for day in (date(2023, 6, 10), date(2024, 4, 20))))


def test_an_experiment_learns_and_measures_without_what_followed_a_contact(city, register):
    plain = lay_out(city, need_of(), register, 1, silent)
    laid = lay_out(city, need_of(), register, 1, silent, met_in(city))
    days = contact_days(plain.matrix.keys, met_in(city))
    touched = (days <= plain.matrix.followed_days) & (days < 60)
    assert touched.any() and np.array_equal(laid.contacted, touched) and np.isnan(laid.matrix.y[touched]).all()
    same = ~touched
    assert np.array_equal(laid.matrix.y[same], plain.matrix.y[same], equal_nan=True)
    lost = dict(laid.attrition.filter(pl.col("step") == "contacted").select("part", "rows_lost").iter_rows())
    for part, dates in (("train", laid.split.train_dates), ("test", laid.split.test_dates)):
        here = plain.matrix.keys["as_of_date"].is_in(dates).to_numpy()
        assert lost[part] == (touched & here & np.isfinite(plain.matrix.y)).sum() > 0
    found = run_experiment(city, need_of(), register, 1, silent, laid=laid)
    assert found.contacts["used"] == "censor" and found.contacts["train_rows"] > 0
    assert found.model.facts["training"]["n_rows"] == np.isfinite(found.train_matrix.y).sum()


def test_a_need_may_ignore_contacts_and_another_label_heeds_them_too(city, register):
    ignoring = need_of(("horizon_days = 60", 'horizon_days = 60\ncontacted = "ignore"'))
    assert lay_out(city, ignoring, register, 1, silent, met_in(city)).contacted is None
    signs = '[[indicators]]\nname = "visit"\ncodes = ["school.place_lost"]\n[splits]'
    laid = lay_out(city, need_of(("[splits]", signs)), register, 1, silent, met_in(city))
    for variant in label_variants(laid):
        other = variant.laid
        assert other.contacted.any() and np.isnan(other.matrix.y[other.contacted]).all()


def test_weights_are_asked_for_in_the_need_file(city, register):
    need = need_of(("horizon_days = 60", 'horizon_days = 60\ncontacted = "ipw"'))
    laid = lay_out(city, need, register, 1, silent, met_in(city))
    assert laid.contact_facts["used"] == "ipw" and laid.contact_facts["represented"] > 0.75
    taught = laid.taught(laid.split.candidate)
    assert (laid.weights(taught)[laid.contacted[taught]] == 0).all()


def test_training_hears_of_contacts_from_the_store(tmp_path, monkeypatch):
    home, _ = home_with_list(tmp_path / "home")
    rows = [(FIRST, "p000", "2024-06-04", None, None, "helped")]
    file = outcome_file(tmp_path / "w.csv", rows)
    import_outcomes(home, file, list_id=None, dry_run=False, by="t", today=date(2024, 7, 1))
    world(tmp_path / "city", n=60)
    (tmp_path / "youth.toml").write_text(need_text())
    heard = []

    def lay_out_nothing(*given):
        heard.append(given[-1].rows())
        raise BadInput(Fault("tests", "stop here", "Nothing to mend"))

    monkeypatch.setattr(experiment_layout, "lay_out", lay_out_nothing)
    with pytest.raises(BadInput, match="stop here"):
        train_need(home, tmp_path / "city", tmp_path / "youth.toml")
    assert heard == [[("p000", date(2024, 6, 4), "helped")]]
