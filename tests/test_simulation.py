"""What-ifs on history: counted by hand and by the house's measures, shared within places, small numbers withheld."""

import json
import string
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethics.groups import GroupRegister
from models.metrics import found_difference
from scoring.simulation import CHANCE, MODEL, PERFECT, RULE, History, Scenario, simulate, worth_of_a_worker
from scoring.simulation_groups import found_by_group
from scoring.simulation_page import LANGUAGES, PageWords, curves_of, render_page, scenario_rows, worth_sentences
from serving.simulation_work import _estimate, _outcome, _refuse, _scenarios, _worth

MESSAGES = Path(__file__).parent.parent / "scoring" / "simulation_messages"


def a_history(n=400, seed=0, k=40, worker=10, units=None, **more):
    """A model that tells a good deal, a rule that tells a little."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(1.5 - 1.5 * risk))).astype(np.float64)
    rows = pl.DataFrame(
        {
            "person_id": [f"{number:05d}" for number in range(n)],
            "tie_key": [f"{number:05x}" for number in rng.permutation(n)],
            "label": label,
        }
    )
    fields = {
        "rows": rows,
        "orders": {MODEL: risk + rng.normal(0, 0.5, n), RULE: np.round(risk + rng.normal(0, 4, n))},
        "k": k,
        "attempts_of_a_worker": worker,
        "contact_success": 0.6,
        "expected": 1 / (1 + np.exp(1.5 - 1.5 * risk)),
        "units": None if units is None else pl.Series([units[number % len(units)] for number in range(n)]),
        "capacity": {},
        "attempt_cost": 20.0,
        "seed": 3,
        "replicates": 200,
    }
    return History(**fields | more)


# ---- counts --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(1, 70))
def test_found_and_missed_are_those_of_the_list_and_add_up_to_those_in_need(seed, n, k):
    history = a_history(n, seed, k=k, replicates=20)
    for order in (MODEL, RULE, PERFECT):
        (outcome,) = simulate(history, [Scenario(order, k)])
        listed = history.listed(Scenario(order, k))
        assert listed.sum() == min(k, n)
        assert outcome.found.value == pytest.approx(history.label[listed].sum())
        assert outcome.found.value + outcome.missed.value == pytest.approx(history.label.sum())
    assert outcome.found.value == min(k, history.label.sum())  # nobody can find more than a perfect order


def test_intervals_are_those_of_the_house_and_cover_the_world():
    history = a_history(replicates=1000)
    (outcome,) = simulate(history, [Scenario(MODEL, 40)])
    person = history.rows["person_id"].to_numpy()
    score = history.orders[MODEL]
    theirs = found_difference(label=history.label, ours=score, theirs=None, person=person, k=40, seed=3)[0]
    assert outcome.found == pytest.approx(theirs)
    assert outcome.reached.value == pytest.approx(0.6 * outcome.found.value)
    assert outcome.cost_per_found.value == pytest.approx(40 * 20 / outcome.found.value)


def test_the_interval_of_a_list_holds_what_other_draws_of_the_same_world_find():
    held = 0
    truth = np.mean([simulate(a_history(seed=seed, replicates=1), [Scenario(MODEL, 40)])[0].found.value
                     for seed in range(1_000, 1_200)])  # fmt: skip
    for seed in range(60):
        found = simulate(a_history(seed=seed), [Scenario(MODEL, 40)])[0].found
        held += found.low <= truth <= found.high
    assert held >= 52  # of 60; 95 % would be 57


def test_chance_finds_its_share_and_equals_stand_in_their_neutral_order():
    history = a_history()
    (chance,) = simulate(history, [Scenario(CHANCE, 100)])
    assert chance.found.value == pytest.approx(100 * history.label.mean())
    flat = a_history(orders={MODEL: np.zeros(400)})
    first = flat.rows.sort("tie_key")["person_id"][:7]
    assert set(flat.rows["person_id"].filter(pl.Series(flat.listed(Scenario(MODEL, 7))))) == set(first)


def test_the_order_of_rows_changes_no_number():
    history = a_history(units=["a", "b", "c"])
    order = np.random.default_rng(1).permutation(400)
    shuffled = a_history(
        rows=history.rows[order],
        orders={name: score[order] for name, score in history.orders.items()},
        expected=history.expected[order],
        units=history.units.gather(order),
    )
    scenarios = _scenarios(history, [40, 50])
    for one, other in zip(simulate(history, scenarios), simulate(shuffled, scenarios), strict=True):
        assert one.found.value == other.found.value
        assert one.missed.value == other.missed.value


# ---- allocations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ["proportional", "need"])
@pytest.mark.parametrize("k", [1, 7, 40, 399, 1_000])
def test_shares_add_up_to_the_places_and_no_unit_lists_more_people_than_it_has(allocation, k):
    history = a_history(units=["a", "b", "b", None])
    parts = history.parts(Scenario(MODEL, k, allocation))
    assert sum(n for _, n in parts) == min(k, 300)  # the fourth of each four lives where no unit serves
    assert all(n <= rows.size for rows, n in parts)
    listed = history.listed(Scenario(MODEL, k, allocation))
    assert not listed[history.units.is_null().to_numpy()].any()


def test_by_need_a_unit_with_more_expected_need_gets_more_places():
    units = pl.Series(["a"] * 200 + ["b"] * 200)
    history = a_history(units=["x"], expected=np.repeat([0.3, 0.1], 200))
    history = a_history(expected=history.expected, rows=history.rows)
    history = History(**{**vars_of(history), "units": units})
    by_people, by_need = (history.parts(Scenario(MODEL, 40, how)) for how in ("proportional", "need"))
    assert [n for _, n in by_people] == [20, 20]
    assert [n for _, n in by_need] == [30, 10]


def vars_of(history):
    return {name: getattr(history, name) for name in History.__dataclass_fields__}


def test_those_whom_no_unit_serves_are_missed():
    history = a_history(units=["a", None])
    (outcome,) = simulate(history, [Scenario(MODEL, 400, "proportional")])
    served = history.units.is_not_null().to_numpy()
    assert outcome.found.value == history.label[served].sum()
    assert outcome.missed.value == history.label[~served].sum()


# ---- one more worker or a better order -----------------------------------------------------------------------------


def test_a_worker_and_a_better_order_are_counted_in_the_same_people():
    history = a_history()
    worth = worth_of_a_worker(history, RULE, MODEL)

    def found(order, k):
        return history.label[history.listed(Scenario(order, k))].sum()

    assert worth.one_more_worker.value == pytest.approx(found(RULE, 50) - found(RULE, 40))
    assert worth.better_order.value == pytest.approx(found(MODEL, 40) - found(RULE, 40))
    assert worth.access_ratio.value == pytest.approx(worth.one_more_worker.value / worth.better_order.value)
    assert worth.workers_equal == pytest.approx(1 / worth.access_ratio.value)


def test_no_ratio_is_told_over_a_gain_that_is_not_shown():
    history = a_history(orders={MODEL: np.arange(400.0), RULE: np.arange(400.0)[::-1]})
    same = worth_of_a_worker(history, MODEL, MODEL)
    assert same.better_order.value == 0
    assert np.isnan(same.access_ratio.value)
    said = worth_sentences({"workers_added": 1, "worth": [_worth(same)]}, PageWords("en"))
    assert said[0].endswith("It is not shown that the model finds more, so a worker is the surer choice.")


# ---- what may be shown ---------------------------------------------------------------------------------------------


def test_small_groups_cannot_be_read_under_any_scenario():
    history = a_history()
    group = ["few" if number < 12 else "some" if number < 60 else "many" for number in range(400)]
    register = GroupRegister(pl.DataFrame({"person_id": history.rows["person_id"], "language_group": group}), "groups")
    scenarios = [Scenario(MODEL, 40), Scenario(RULE, 40)]
    rows = {row["group"]: row for row in found_by_group(history, scenarios, register, [], 10)}
    assert rows["few"]["need"] is None and rows["few"]["found"] == [None, None]
    in_many = np.array(group) == "many"
    for scenario, found in zip(scenarios, rows["many"]["found"], strict=True):
        assert found in (None, history.label[in_many & history.listed(scenario)].sum())
    shown = [n for row in rows.values() for n in (row["need"], *row["found"], *row["missed"]) if n is not None]
    assert min(shown) >= 10


def test_capacities_too_near_to_one_another_are_all_named():
    need = type("Need", (), {"id": "youth", "label": object()})()
    with pytest.raises(Exception) as refused:
        _refuse(need, [5, 61, 100], 60, 10, given=True)
    assert [fault.wrong for fault in refused.value.faults] == [
        "5 lies 5 people from nobody: an outcome could be read",
        "61 lies 1 people from 60: an outcome could be read",
    ]
    _refuse(need, [50, 70], 60, 10, given=True)


# ---- pages ---------------------------------------------------------------------------------------------------------


def a_result(history):
    scenarios = _scenarios(history, [40, 50])
    return {
        "run_id": "0123456789abcdef",
        "need": "youth",
        "title": dict.fromkeys(("fi", "sv", "en"), "Youth & work"),
        "invented": True,
        "people": 400,
        "known": 400,
        "k": 40,
        "attempts_per_person": 1,
        "workers_added": 1,
        "scenarios": [_outcome(one) for one in simulate(history, scenarios)],
        "worth": [_worth(worth_of_a_worker(history, RULE, MODEL))],
        "group_scenarios": [scenario._asdict() for scenario in scenarios[:2]],
        "by_group": [{"attribute": "sex", "group": "f", "need": 50, "found": [20, None], "missed": [30, None]}],
        "curves": curves_of(history, 50),
    }


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
def test_the_page_has_table_plot_and_words_and_no_person(language):
    history = a_history(units=["a", "b"])
    result = a_result(history)
    json.dumps(result, allow_nan=False)
    page = render_page(result, language)
    assert "<script" not in page and "Youth &amp; work" in page and "<polyline" in page
    words = PageWords(language)
    assert words("banner_invented") in page and words("withheld") in page and words("allocations.need") in page
    assert not any(person in page for person in history.rows["person_id"])


def test_several_attempts_for_each_person_are_told_as_attempts():
    result = a_result(a_history(units=["a", "b"])) | {"attempts_per_person": 3}
    words = PageWords("en")
    assert [row[1] for row in scenario_rows(result, words)][:2] == ["120", "150"]
    assert "120 attempts " in render_page(result, "en")


def test_languages_have_the_same_keys_and_the_same_names():
    texts = {path.stem: flat(tomllib.loads(path.read_text("utf-8"))) for path in MESSAGES.glob("*.toml")}
    assert sorted(texts) == sorted(LANGUAGES)
    fields = {
        language: {
            key: sorted(name for _, name, _, _ in string.Formatter().parse(text) if name) for key, text in t.items()
        }
        for language, t in texts.items()
    }
    assert fields["fi"] == fields["sv"] == fields["en"]


def flat(texts, prefix=""):
    parts = [
        flat(value, f"{key}.") if isinstance(value, dict) else {prefix + key: value} for key, value in texts.items()
    ]
    return {key: value for part in parts for key, value in part.items()}


def test_what_is_not_known_is_null_in_json():
    history = a_history(attempt_cost=None)
    (outcome,) = simulate(history, [history.now])
    assert _outcome(outcome)["cost_per_found"] == {"value": None, "low": None, "high": None}
    assert _estimate(outcome.found)["value"] == outcome.found.value
