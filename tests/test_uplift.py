import dataclasses
import math

import numpy as np
import polars as pl
import pytest
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ethics.refusals import BadInput
from models.uplift_learning import learn_uplift, person_folds, uplift, worth_of_uplift
from models.uplift_measures import CURVE_POINTS, average_effect, effect_scores, rank_effects, standard_error
from models.uplift_trial import FEWEST_PERSONS, randomised_trial

SMALL_TREES = {"n_estimators": 20, "learning_rate": 0.2, "num_leaves": 4}


def refusal(make):
    with pytest.raises(BadInput) as caught:
        make()
    return [str(fault) for fault in caught.value.faults]


def world(n, effect, seed=0, share=0.5, stratum=None):
    """A trial in which the help raises the chance of the outcome by ``effect(x)``; x is the first of two columns."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, 2))
    shares = share if stratum is None else np.array([share[s] for s in stratum])
    treated = rng.random(n) < shares
    chance = 0.2 + 0.3 * X[:, 1] + treated * effect(X[:, 0])
    return randomised_trial(
        X,
        treated,
        (rng.random(n) < chance).astype(int),
        share=share,
        person=np.arange(n),
        outcome_is="wanted",
        stratum=stratum,
    )


def constant(x):
    return np.full(len(x), 0.1)


def linear(x):
    return 0.4 * x


def none(x):
    return np.zeros(len(x))


# ---- measures against what can be counted --------------------------------------------------------------------------


def naive_gain(score, effect_score, share):
    """Mean over every order of the equals of what the first ``share`` gains: by many random orders."""
    rng = np.random.default_rng(0)
    n = len(score)
    gains = []
    for _ in range(200):
        order = np.lexsort((rng.random(n), -score))
        whole = np.concatenate(([0.0], np.cumsum(effect_score[order]) / n))
        gains.append(np.interp(share, np.arange(n + 1) / n, whole))
    return np.mean(gains, axis=0)


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=5, max_size=30)


@settings(max_examples=25)
@given(rows)
def test_every_measure_agrees_with_areas_under_the_counted_curve(pairs):
    score, effect_score = (np.array(part, float) for part in zip(*pairs, strict=True))
    n = len(score)
    found = rank_effects(score, effect_score, np.arange(n))
    fine = np.linspace(0, 1, 3001)
    gain = naive_gain(score, effect_score, fine)
    noise = 5 * (np.abs(effect_score).max() + 1) / 200**0.5
    at = np.linspace(0, 1, CURVE_POINTS)
    assert found.curve.gain == pytest.approx(np.interp(at, fine, gain), abs=noise)
    assert found.qini.value == pytest.approx(np.trapezoid(gain - fine * gain[-1], fine), abs=noise)
    toc = gain[1:] / fine[1:] - gain[-1]
    assert found.autoc.value == pytest.approx(np.mean(toc), abs=noise)
    ends = np.interp([0, 0.2, 0.4, 0.6, 0.8, 1], fine, gain)
    assert [fifth.value for fifth in found.fifths] == pytest.approx(list(5 * np.diff(ends)), abs=5 * noise)


def test_fifths_and_curve_counted_by_hand():
    score = np.arange(10, 0, -1.0)
    effect_score = np.array([5, 3, 2, 2, 1, 1, 0, 0, -1, -3.0])
    found = rank_effects(score, effect_score, np.arange(10))
    assert [fifth.value for fifth in found.fifths] == pytest.approx([4, 2, 1, 0, -2])
    assert found.top_minus_bottom.value == pytest.approx(6)
    assert found.curve.gain[[0, 4, 8, 20]] == pytest.approx([0, 0.8, 1.2, 1.0])
    assert found.curve.at_random[[0, 10, 20]] == pytest.approx([0, 0.5, 1])


def test_the_order_of_the_true_effects_is_best_its_inverse_worst_and_none_at_all_nothing():
    """Closed form, effect c·x for x even on [0, 1]: AUTOC c/4, Qini c/12, fifths 0.9c … 0.1c."""
    c, n = 0.4, 20_000
    effect = c * (np.arange(n) + 0.5) / n
    person = np.arange(n)
    perfect, inverted, nothing = (rank_effects(score, effect, person) for score in (effect, -effect, np.zeros(n)))
    assert perfect.autoc.value == pytest.approx(c / 4, rel=1e-3)
    assert perfect.qini.value == pytest.approx(c / 12, rel=1e-3)
    assert [fifth.value for fifth in perfect.fifths] == pytest.approx(
        [c * m for m in (0.9, 0.7, 0.5, 0.3, 0.1)], rel=1e-3
    )
    assert inverted.qini.value == pytest.approx(-c / 12, rel=1e-3)
    assert inverted.top_minus_bottom.value == pytest.approx(-0.8 * c, rel=1e-3)
    assert perfect.heterogeneous and not inverted.heterogeneous
    for value in (nothing.autoc.value, nothing.qini.value, nothing.top_minus_bottom.value):
        assert value == pytest.approx(0, abs=1e-12)
    assert not nothing.heterogeneous and nothing.p_value >= 0.5
    random = rank_effects(np.random.default_rng(3).random(n), effect, person)
    assert random.qini.low < 0 < random.qini.high


def test_intervals_cover_the_truth_and_are_no_wider_than_they_need_be():
    """300 small worlds ranked by a known score: coverage of AUTOC, Qini and top less bottom within 95 % ± noise."""
    n, worlds, c = 500, 300, 0.4
    truth = {"autoc": c / 4, "qini": c / 12, "top_minus_bottom": 0.8 * c}
    covered = dict.fromkeys(truth, 0)
    for seed in range(worlds):
        trial = world(n, linear, seed)
        chance = 0.2 + 0.3 * trial.X[:, 1].astype(float)
        score = effect_scores(trial.treated, trial.outcome, trial.share, chance + linear(trial.X[:, 0]), chance)
        found = rank_effects(trial.X[:, 0], score, trial.person)
        for name, value in truth.items():
            interval = getattr(found, name)
            covered[name] += interval.low <= value <= interval.high
    low, high = binom.ppf([0.001, 0.999], worlds, 0.95)
    for name, n_covered in covered.items():
        assert low - 0.01 * worlds <= n_covered <= high, f"{name}: {n_covered} of {worlds}"


def test_intervals_agree_with_a_bootstrap_of_persons():
    trial = world(1500, linear, seed=4)
    person = trial.person // 3  # three rows of each
    score = effect_scores(trial.treated, trial.outcome, trial.share, np.full(1500, 0.5), np.full(1500, 0.4))
    predicted = np.round(trial.X[:, 0], 2)  # with equals
    found = rank_effects(predicted, score, person)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        at = (3 * rng.integers(0, 500, 500)[:, None] + np.arange(3)).ravel()
        again = rank_effects(predicted[at], score[at], np.repeat(np.arange(500), 3))
        drawn.append([again.autoc.value, again.qini.value, again.top_minus_bottom.value])
    for interval, spread in zip((found.autoc, found.qini, found.top_minus_bottom), np.std(drawn, axis=0), strict=True):
        assert (interval.high - interval.low) / 2 / 1.96 == pytest.approx(spread, rel=0.15)


def test_rows_of_one_person_count_as_one():
    rng = np.random.default_rng(1)
    influence = rng.normal(size=200)
    once = standard_error(influence, np.arange(200))
    fourfold = standard_error(np.repeat(influence, 4), np.repeat(np.arange(200), 4))
    assert fourfold == pytest.approx(once)


def test_effect_scores_are_unbiased_whatever_the_predictions():
    trial = world(200_000, linear, seed=2, share=0.2)
    for guess in (0.0, 0.5, 0.9):
        score = effect_scores(
            trial.treated, trial.outcome, trial.share, np.full(len(trial), guess), np.zeros(len(trial))
        )
        assert score.mean() == pytest.approx(0.2, abs=4 * score.std() / math.sqrt(len(trial)))


def test_the_average_effect_is_compared_within_strata():
    """Where need is greater more were offered help: the plain difference is wrong, the stratified one is not."""
    n = 40_000
    rng = np.random.default_rng(5)
    stratum = (rng.random(n) < 0.5).astype(int)
    treated = rng.random(n) < np.where(stratum == 1, 0.8, 0.2)
    outcome = (rng.random(n) < 0.2 + 0.4 * stratum + 0.1 * treated).astype(float)
    found = average_effect(treated, outcome, stratum, np.arange(n))
    plain = outcome[treated].mean() - outcome[~treated].mean()
    assert found.low <= 0.1 <= found.high and found.high - found.low < 0.03
    assert not found.low <= plain <= found.high


# ---- learners ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["t", "dr"])
def test_effects_that_differ_are_found_and_predicted(learner):
    trial = world(20_000, linear, seed=1)
    found = uplift(trial, learner=learner, seed=1)
    truth = linear(trial.X[:, 0].astype(float))
    assert found.average.low <= 0.2 <= found.average.high
    assert found.worth.heterogeneous and found.shows_benefit
    # No order beats that of the true effects, and this much data comes near it.
    assert 0.2 < found.worth.top_minus_bottom.value < 0.32 + 0.1
    assert np.corrcoef(found.predicted, truth)[0, 1] > 0.7
    assert found.predicted.mean() == pytest.approx(0.2, abs=0.03)
    tops = [fifth.value for fifth in found.worth.fifths]
    assert tops[0] > tops[2] > tops[4]
    assert found.n_judged == 16_000


@pytest.mark.parametrize("learner", ["t", "dr"])
@pytest.mark.parametrize(("effect", "value"), [(constant, 0.1), (none, 0.0)])
def test_one_effect_for_everybody_is_not_called_many(learner, effect, value):
    found = uplift(world(6_000, effect, seed=7), learner=learner, seed=2)
    assert found.average.low <= value <= found.average.high
    assert not found.worth.heterogeneous
    assert found.worth.autoc.low <= 0 <= found.worth.autoc.high
    covering = sum(fifth.low <= value <= fifth.high for fifth in found.worth.fifths)
    assert covering >= 4
    assert found.shows_benefit == (value > 0)


def test_false_claims_are_as_rare_as_stated():
    worlds = 100
    claims = sum(
        worth_of_uplift(world(800, constant, seed), learner="t", seed=seed, parameters=SMALL_TREES).heterogeneous
        for seed in range(worlds)
    )
    assert claims <= binom.ppf(0.999, worlds, 0.025)


def test_an_effect_on_an_unwanted_outcome_is_turned_round():
    rng = np.random.default_rng(0)
    n = 4000
    treated = rng.random(n) < 0.5
    ill = (rng.random(n) < 0.5 - 0.2 * treated).astype(int)
    given = {"share": 0.5, "person": np.arange(n)}
    avoided = randomised_trial(rng.random((n, 1)), treated, ill, outcome_is="unwanted", **given)
    average = average_effect(avoided.treated, avoided.outcome, avoided.stratum, avoided.person)
    assert average.low > 0.1
    caused = randomised_trial(rng.random((n, 1)), treated, ill, outcome_is="wanted", **given)
    assert average_effect(caused.treated, caused.outcome, caused.stratum, caused.person).high < -0.1


def test_a_row_is_predicted_by_a_model_that_has_not_seen_its_person():
    """Changing the outcomes of one fold leaves that fold's own predictions as they were, and moves the others."""
    trial = world(2_000, linear, seed=3)
    trial = dataclasses.replace(trial, person=trial.person // 2)
    fold = person_folds(trial.person, 5, 11)
    assert all(len(set(fold[trial.person == person])) == 1 for person in range(0, 1000, 97))
    assert np.bincount(fold).tolist() == [400] * 5
    changed = dataclasses.replace(trial, outcome=np.where(fold == 2, 1 - trial.outcome, trial.outcome))
    before, after = (uplift(t, learner="dr", seed=11, parameters=SMALL_TREES).predicted for t in (trial, changed))
    assert (before[fold == 2] == after[fold == 2]).all()
    assert (before[fold == 0] != after[fold == 0]).any()


def test_strata_drawn_at_different_shares_do_not_mislead_the_t_learner():
    """One effect for all; the stratum of the higher share has the better outcomes, and X does not tell which it is."""
    n = 12_000
    rng = np.random.default_rng(8)
    stratum = np.where(rng.random(n) < 0.5, "north", "south")
    share = {"north": 0.8, "south": 0.2}
    treated = rng.random(n) < np.vectorize(share.get)(stratum)
    outcome = rng.random(n) < 0.2 + 0.4 * (stratum == "north") + 0.1 * treated
    trial = randomised_trial(
        rng.random((n, 2)), treated, outcome, share=share, person=np.arange(n), outcome_is="wanted", stratum=stratum
    )
    model = learn_uplift(trial, learner="t", seed=0)
    assert model.predict(trial.X).mean() == pytest.approx(0.1, abs=0.03)


def test_the_same_trial_and_seed_give_the_same_numbers():
    trial = world(1_500, linear)
    first, second = (uplift(trial, learner="dr", seed=5, parameters=SMALL_TREES) for _ in range(2))
    assert (first.predicted == second.predicted).all()
    assert first.worth.autoc == second.worth.autoc
    alone = worth_of_uplift(trial, learner="dr", seed=5, parameters=SMALL_TREES)
    assert alone.top_minus_bottom == first.worth.top_minus_bottom


# ---- refusals ------------------------------------------------------------------------------------------------------


def trial_of(n=1000, **changed):
    rng = np.random.default_rng(0)
    given = {
        "X": rng.random((n, 2)),
        "treated": np.arange(n) % 2,
        "outcome": rng.integers(0, 2, n),
        "share": 0.5,
        "person": np.arange(n),
        "outcome_is": "wanted",
    } | changed
    return randomised_trial(given.pop("X"), given.pop("treated"), given.pop("outcome"), **given)


SHARE_MEND = "State the share the plan gave the help, e.g. share=0.5, or one per stratum, e.g. share={'north': 0.5}"


def test_a_share_that_nobody_states_is_refused():
    wrong = "trial.share: is missing: the plan states it, the data do not. " + SHARE_MEND
    assert refusal(lambda: trial_of(share=None)) == [wrong]
    assert refusal(lambda: trial_of(share=1.0)) == ["trial.share: is 1.0, not between 0 and 1. " + SHARE_MEND]


def test_a_share_that_does_not_fit_the_arms_is_refused():
    assert refusal(lambda: trial_of(share=0.3)) == [
        "trial.share: 0.3 is stated, yet 0.5 of the rows are treated. "
        "State the share of the plan, give the strata of the draw, or find why rows are missing"
    ]


def test_a_stratum_with_one_arm_is_refused_by_name():
    stratum = np.array(["north"] * 500 + ["south"] * 500)
    treated = np.concatenate((np.arange(500) % 2, np.ones(500)))
    assert refusal(lambda: trial_of(treated=treated, stratum=stratum)) == [
        "trial.treated: stratum south: all 500 rows were offered the help, so there is nobody to compare with. "
        "Leave the stratum out, or join it to one drawn alike"
    ]
    assert refusal(lambda: trial_of(treated=np.zeros(1000))) == [
        "trial.treated: all 1000 rows were not offered the help, so there is nobody to compare with. "
        "Give the rows of both arms"
    ]


def test_shares_of_strata_must_be_those_of_the_strata():
    stratum = np.repeat(["north", "south"], 500)
    assert refusal(lambda: trial_of(share={"north": 0.5, "west": 0.5}, stratum=stratum)) == [
        "trial.share: says nothing of stratum south. State its share too",
        "trial.share: names stratum west, which has no rows. Leave it out",
    ]
    assert refusal(lambda: trial_of(share={"north": 0.5})) == [
        "trial.share: is given per stratum, and no strata are. Give stratum too"
    ]


def test_what_is_not_zero_or_one_is_refused_all_at_once():
    outcome = np.array([0, 1, 2.5, np.inf] * 250)
    treated = np.where(np.arange(1000) < 3, np.nan, np.arange(1000) % 2)
    assert refusal(lambda: trial_of(outcome=outcome, treated=treated, share=None)) == [
        "trial.treated: is missing in 3 of 1000 rows. Give 1 for those drawn to be offered the help, else 0",
        "trial.outcome: holds values other than 0 and 1: 2.5, inf. Give the outcome as 0 and 1; "
        "leave out rows without one",
        "trial.share: is missing: the plan states it, the data do not. " + SHARE_MEND,
    ]
    assert "holds what is not a number" in refusal(lambda: trial_of(outcome=["yes", "no"] * 500))[0]


def test_lengths_and_words_that_do_not_fit_are_refused():
    assert refusal(lambda: trial_of(person=np.arange(999), outcome_is="good")) == [
        "trial.person: has 999 entries, and the matrix 1000 rows. Give one per row",
        "trial.outcome_is: is 'good'. Give 'wanted' or 'unwanted': what outcome 1 is to the person",
    ]
    assert refusal(lambda: trial_of(X=np.zeros(1000)))[0].startswith("trial.X: has shape (1000,)")


def test_a_trial_too_small_to_learn_from_is_refused():
    n = FEWEST_PERSONS
    assert refusal(lambda: trial_of(n=n)) == [
        f"trial: {n // 2} persons were {which} the help. Learning uplift takes at least {n} in each arm"
        for which in ("offered", "not offered")
    ]


def test_unknown_learners_folds_and_parameters_are_refused():
    trial = trial_of()
    assert refusal(lambda: learn_uplift(trial, learner="t", seed=0, parameters={"num_leafs": 4}))[0].startswith(
        "uplift.parameters.num_leafs: is not a parameter that may be set. Did you mean 'num_leaves'? "
    )
    assert refusal(lambda: uplift(trial, learner="drr", seed=0, folds=2)) == [
        "uplift.learner: is 'drr'. Did you mean 'dr'? Allowed: dr, t",
        "uplift.folds: is 2. Give a whole number from 3 to 20",
    ]


# ---- randomised letters --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def letters():
    path = DATA / "gotv" / "social.parquet"
    if not path.exists():
        pytest.skip("the shared data (../shared/data/gotv) is not here")
    frame = pl.read_parquet(path).filter(pl.col("messages").is_in(["Control", "Neighbors"]))
    # A third of the persons: the whole trial, and 20 shuffled copies, are in tests/benchmarks/uplift_trials.py.
    frame = frame.sample(fraction=1 / 3, seed=0)
    X = frame.select(pl.col("sex") == "female", "yearofbirth", "primary2004", "hhsize").cast(pl.Float32).to_numpy()
    treated = (frame["messages"] == "Neighbors").to_numpy()
    outcome = frame["primary2006"].to_numpy()
    return randomised_trial(X, treated, outcome, share=1 / 6, person=np.arange(len(frame)), outcome_is="wanted")


def test_the_fifth_most_moved_by_a_letter_gains_more_than_the_least(letters):
    worth = worth_of_uplift(letters, learner="t", seed=0)
    assert worth.heterogeneous and worth.top_minus_bottom.low > 0 and worth.qini.low > 0


def test_letters_dealt_anew_move_nobody(letters):
    claims = 0
    for seed in range(3):
        treated = np.random.default_rng(seed).permutation(letters.treated)
        claims += worth_of_uplift(dataclasses.replace(letters, treated=treated), learner="t", seed=seed).heterogeneous
    assert claims <= 1
