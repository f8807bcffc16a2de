import numpy as np
import polars as pl
import pytest
from test_need import MODEL_NEED

from models.baselines import advise, audit_cut_of, baseline_table, duel_cut, run_baselines
from models.column_rankers import column_table, directed, found_by_columns, learn_directions
from models.linear_columns import LinearColumns
from models.metrics import evaluate
from models.need import parse_need
from models.rule import rule_order
from models.written_order import OrderTerm


def duels(label, ours, rivals, cuts, **options):
    everyone = np.arange(len(label))
    return run_baselines(label=label, ours=ours, rivals=rivals, person=everyone, cuts=cuts, seed=1, **options)


def test_chance_and_the_units_rule_are_met_at_each_cut():
    label = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0.0])
    found = duels(label, -np.arange(10.0), {"unit_rule": np.arange(10.0)}, (2, 5), replicates=50)
    assert [(d.rival, d.cut) for d in found] == [("chance", 2), ("unit_rule", 2), ("chance", 5), ("unit_rule", 5)]
    # The model finds 2 of 2 and 3 of 5; chance finds 3 in 10 of the places; the rule looks at the wrong end.
    assert [d.ours.value for d in found] == [2, 2, 3, 3]
    np.testing.assert_allclose([d.theirs.value for d in found], [0.6, 0, 1.5, 0])
    np.testing.assert_allclose([d.difference.value for d in found], [1.4, 2, 1.5, 3])


def test_equals_share_the_last_places():
    label = np.array([1, 0, 1, 0.0])
    (_, rule) = duels(label, np.array([3, 2, 1, 0.0]), {"unit_rule": np.array([1, 1, 1, 1.0])}, (2,), replicates=50)
    assert (rule.ours.value, rule.theirs.value) == (1.0, 1.0)


def test_a_model_that_knows_beats_both_beyond_doubt_and_one_that_does_not_beats_neither():
    rng = np.random.default_rng(0)
    need = rng.normal(size=3000)
    label = (need + rng.normal(size=3000) > 1.3).astype(float)
    rule = need + 2 * rng.normal(size=3000)
    for duel in duels(label, need, {"unit_rule": rule}, (300,)):
        assert duel.difference.low > 0
    chance, against_rule = duels(label, rng.normal(size=3000), {"unit_rule": rule}, (300,))
    assert chance.difference.low < 0 < chance.difference.high
    assert against_rule.difference.high < 0


def test_the_interval_of_a_difference_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        label = (rng.random(400) < 0.3).astype(float)
        # Two orders that know nothing find as many on average: the true difference is 0.
        difference = duels(label, rng.random(400), {"unit_rule": rng.random(400)}, (100,), replicates=300)[1].difference
        held += difference.low <= 0 <= difference.high
    assert held >= 179


# ---- columns -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """A column where much is bad, one where little is, one whose gaps are bad, one that says nothing; and the label."""
    rng = np.random.default_rng(3)
    need = rng.normal(size=4000)
    label = (need + rng.normal(size=4000) > 1.2).astype(float)
    gaps = np.where(need > 0.8, np.nan, rng.normal(size=4000))
    columns = [np.floor(3 * need + 9), -need + rng.normal(size=4000), gaps, rng.poisson(0.2, 4000), np.full(4000, 2.0)]
    return np.stack(columns, axis=1).astype(np.float32), label


NAMES = ("much", "little", "gaps", "noise", "same")


def test_directions_are_learnt_and_the_missing_go_where_need_is(planted):
    terms = [str(term) for term in learn_directions(*planted, NAMES)]
    assert terms[:2] == ["much desc", "little asc"]
    assert terms[2].endswith(" missing first")
    assert not terms[3].endswith("missing first") and terms[4] == "same desc"


def test_a_directed_column_ranks_as_the_written_order_does(planted):
    X, _ = planted
    for j, text in enumerate(["much asc", "little desc", "gaps desc missing first", "gaps asc", "noise desc"]):
        term = OrderTerm.parse(text)
        written = rule_order(NAMES, X, (term,))
        score = directed(X[:, NAMES.index(term.column)], term)
        assert np.array_equal(np.unique(score, return_inverse=True)[1], written), (j, text)


def brute_found(score, label, k):
    """Expected rows in need among the first k, equals in proportion, by counting."""
    found, places = 0.0, k
    for value in sorted(set(score.tolist()), reverse=True):
        equal = label[score == value]
        taken = min(places, len(equal))
        found, places = found + taken * equal.mean(), places - taken
    return found


@pytest.mark.parametrize("k", [1, 7, 60, 900, 3999, 10_000])
def test_what_columns_find_is_counted_with_equals_in_proportion(planted, k):
    X, label = planted
    terms = learn_directions(X, label, NAMES)
    found = found_by_columns(X, label, terms, k)
    expected = [brute_found(directed(X[:, j], term), label, k) for j, term in enumerate(terms)]
    np.testing.assert_allclose(found, expected)


def test_the_table_of_columns_agrees_with_the_measures_of_a_model(planted):
    X, label = planted
    label = label.copy()
    label[:100] = np.nan
    terms = learn_directions(X[100:], label[100:], NAMES)
    table = column_table(X, label, terms, 200, 5, replicates=2000)
    assert table["column"].to_list()[-1] in ("noise", "same") and table["auc_rows"].unique().to_list() == [3900]
    for row in table.iter_rows(named=True):
        j = NAMES.index(row["column"])
        figures = evaluate(
            label=label, rank_score=directed(X[:, j], terms[j]), probability=None, person=np.arange(4000), k=200, seed=1
        )
        precision, auc = figures["precision_at_capacity"], figures["auc"]
        assert (row["precision"], row["auc"]) == pytest.approx((precision.value, auc.value))
        # Two kinds of bootstrap, and DeLong's formula beside a bootstrap: the same to a tenth of the width.
        for name, figure in (("precision", precision), ("auc", auc)):
            width = figure.high - figure.low
            assert row[f"{name}_low"] == pytest.approx(figure.low, abs=0.12 * width + 1e-9)
            assert row[f"{name}_high"] == pytest.approx(figure.high, abs=0.12 * width + 1e-9)


def test_the_interval_of_a_columns_precision_holds_the_truth_about_as_often_as_it_says():
    # Need follows the column. A fifth have its highest value, so the first tenth are all of these, of whom 60 % need.
    chances = np.array([0.05, 0.1, 0.3, 0.6])
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        value = rng.choice(4, size=1000, p=[0.4, 0.3, 0.1, 0.2])
        label = (rng.random(1000) < chances[value]).astype(float)
        table = column_table(
            value[:, None].astype(np.float32), label, (OrderTerm("value", True),), 100, seed, replicates=400
        )
        held += table["precision_low"][0] <= 0.6 <= table["precision_high"][0]
    assert 179 <= held <= 199


def test_a_column_that_finds_three_of_three_is_not_certain():
    label = np.array([1.0, 1, 1, *[0] * 40])
    column = -np.arange(43.0, dtype=np.float32)[:, None]
    (row,) = column_table(column, label, (OrderTerm("much", True),), 3, 1).iter_rows(named=True)
    assert (row["precision"], row["precision_high"]) == (1.0, 1.0)
    assert row["precision_low"] <= 0.025 ** (1 / 3)


def test_weights_count_as_so_many_rows(planted):
    X, label = planted
    X, label = X[:, :4], label
    copies = np.random.default_rng(1).integers(1, 4, size=4000)
    terms = learn_directions(X, label, NAMES[:4])
    repeated = found_by_columns(np.repeat(X, copies, axis=0), np.repeat(label, copies), terms, 300)
    np.testing.assert_allclose(found_by_columns(X, label, terms, 300, copies.astype(float)), repeated)
    assert learn_directions(X, label, NAMES[:4], copies) == learn_directions(
        np.repeat(X, copies, axis=0), np.repeat(label, copies), NAMES[:4]
    )


def test_weighted_columns_are_measured_as_a_weighted_model_is(planted):
    X, label = planted
    label, rng = label.copy(), np.random.default_rng(2)
    label[rng.random(4000) < 0.3] = np.nan
    weight = np.where(np.isnan(label), 0.0, rng.uniform(1, 3, size=4000))
    known = np.isfinite(label)
    terms = learn_directions(X[known], label[known], NAMES, weight[known])
    for row in column_table(X, label, terms, 200, 5, weight=weight).iter_rows(named=True):
        j = NAMES.index(row["column"])
        score = directed(X[:, j], terms[j])
        figures = evaluate(
            label=label, rank_score=score, probability=None, person=np.arange(4000), k=200, seed=1, weight=weight
        )
        precision, auc = figures["precision_at_capacity"], figures["auc"]
        assert (row["precision"], row["auc"]) == pytest.approx((precision.value, auc.value))
        for name, figure in (("precision", precision), ("auc", auc)):
            width = figure.high - figure.low
            assert row[f"{name}_low"] == pytest.approx(figure.low, abs=0.25 * width + 1e-9)
            assert row[f"{name}_high"] == pytest.approx(figure.high, abs=0.25 * width + 1e-9)


# ---- logistic regression -------------------------------------------------------------------------------------------


def test_cells_are_imputed_scaled_and_cut_with_one_indicator_per_pattern_of_gaps():
    X = np.array([[1, 1, 5, 0], [3, np.nan, 5, np.nan], [5, np.nan, 5, np.nan], [np.nan, 3, 5, 2]], dtype=np.float32)
    columns = LinearColumns(X)
    laid_out = columns(X)
    # Three columns that vary, and the gaps of the first and of the second; the fourth's gaps are the second's.
    assert laid_out.shape == (4, 5)
    np.testing.assert_allclose(laid_out.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(laid_out.std(axis=0), 1)
    assert laid_out[3, 0] == 0  # the median, 3, which is the mean too
    far = columns(np.array([[1e9, -1e9, 5, 0]], dtype=np.float32))
    assert (far[0, 0], far[0, 1]) == (5, -5)


def test_a_weighted_sum_is_that_of_the_laid_out_columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 12)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[:, 3], X[:, 7] = 1.0, np.nan
    columns = LinearColumns(X[:300])
    coefficients = rng.normal(size=columns(X).shape[1])
    np.testing.assert_allclose(columns.weighted_sum(X, coefficients), columns(X) @ coefficients, atol=1e-12)


# ---- the table, and what follows from it ---------------------------------------------------------------------------


def judged(n=2000, seed=0, model=2.0, rule=0.5, best=0.4, area=0.2):
    """Judged rows whose orders know the need to a chosen degree: 0 is chance."""
    rng = np.random.default_rng(seed)
    need = rng.normal(size=n)
    scores = {
        name: strength * need + rng.normal(size=n)
        for name, strength in (("rank_score", model), ("rule_score", rule), ("best_column", best), ("area", area))
    }
    label = (need + rng.normal(size=n) > 1).astype(float)
    frame = pl.DataFrame({"person_id": [f"P{i}" for i in range(n)], "label": label, **scores, "weight": np.ones(n)})
    return frame.with_columns(probability=1 / (1 + (-pl.col("rank_score")).exp()), logistic=pl.col("rank_score") * 0.9)


WORDS = {"unit_rule": "visits.count desc", "best_column": "absence.count.90d desc missing first"}


def test_every_order_stands_in_the_table_with_what_it_is_and_its_intervals():
    rows = judged()
    table = baseline_table(rows, 100, 1, words=WORDS, audit_places=400, replicates=200)
    assert table["order"].to_list() == ["model", "chance", "unit_rule", "best_column", "area", "logistic"]
    assert table["what"].to_list()[2:4] == list(WORDS.values())
    model, chance, rule, *_, logistic = table.iter_rows(named=True)
    assert chance["found_at_capacity"] == pytest.approx(100 * rows["label"].mean())
    assert chance["precision_at_capacity"] == pytest.approx(rows["label"].mean())
    assert rule["difference_found"] == pytest.approx(model["found_at_capacity"] - rule["found_at_capacity"])
    assert rule["difference_at_audit_cut_low"] < rule["difference_at_audit_cut"] < rule["difference_at_audit_cut_high"]
    # The logistic regression orders as the model does, less sure of itself.
    assert (logistic["difference_found"], logistic["difference_found_low"], logistic["difference_found_high"]) == (
        0,
    ) * 3
    assert logistic["auc"] == model["auc"] and logistic["calibration_slope"] > model["calibration_slope"]
    assert (rule["calibration_slope"], chance["calibration_error"]) == (None, None)
    assert table["audit_places"].unique().to_list() == [400]


def test_an_order_that_the_rows_lack_is_left_out():
    rows = judged().with_columns(area=pl.lit(None, dtype=pl.Float64)).drop("logistic")
    table = baseline_table(rows, 100, 1, words=WORDS, replicates=50)
    assert table["order"].to_list() == ["model", "chance", "unit_rule", "best_column"]
    assert table["difference_at_audit_cut"].null_count() == 4


def advice_on(**strengths):
    rows = judged(**strengths)
    return advise(baseline_table(rows, 100, 1, words=WORDS, audit_places=500, replicates=300), WORDS)


def test_a_model_that_finds_clearly_more_than_all_is_advised_against_by_nothing():
    assert advice_on() is None


def test_a_tie_with_the_units_rule_says_use_the_simple_rule_with_figures():
    said = advice_on(rule=2.0)
    assert said.startswith(
        "Use the simple rule: in 500 places the model does not clearly find more people in need than the unit's own "
        "rule ("
    )
    assert said.endswith('Write it as a need of kind = "rule" with order = "visits.count desc".')


def test_the_order_that_comes_out_best_against_the_model_is_named():
    said = advice_on(rule=2.0, best=9.0)
    assert "the model finds fewer people in need than the best single column (-" in said
    assert said.endswith('order = "absence.count.90d desc missing first".')
    assert "Offer the help in the districts" in advice_on(area=9.0)


def test_a_model_no_better_than_chance_is_no_model():
    assert advice_on(model=0.0).startswith("Use no model: in 500 places the model ")


def test_the_duel_is_over_the_places_of_everybody():
    rows = judged(1000).with_columns(label=pl.when(pl.int_range(1000) % 4 > 0).then("label"))
    need = parse_need(MODEL_NEED.encode(), "youth.toml")
    cut = audit_cut_of(rows, need, 14, 0.3)
    assert duel_cut(rows, need, 14, 0.3) == cut
    weighted = rows.with_columns(weight=pl.when(pl.col("label").is_null()).then(0.0).otherwise(4 / 3))
    assert duel_cut(weighted, need, 14, 0.3) == cut
    # A quarter unknown: rows of known outcome stand for all, as with equal weights.
    one, other = (
        baseline_table(each, 50, 1, words=WORDS, audit_places=cut, replicates=20) for each in (rows, weighted)
    )
    for column in ("precision_at_capacity", "recall_at_capacity", "found_at_capacity", "difference_at_audit_cut"):
        np.testing.assert_allclose(one[column].to_numpy(), other[column].to_numpy())
    (chance,) = one.filter(pl.col("order") == "chance")["found_at_capacity"]
    assert chance == pytest.approx(50 * rows["label"].mean())


@pytest.mark.parametrize(
    ("people", "said"),
    [(-0.0, "0"), (-0.04, "0"), (0.3, "+0.3"), (-0.5, "-0.5"), (9.96, "+10"), (-12.4, "-12"), (1234.4, "+1,234")],
)
def test_a_difference_in_people_is_said_without_minus_nothing(people, said):
    table = pl.DataFrame(
        {
            "order": ["chance"],
            "difference_at_audit_cut": [people],
            "difference_at_audit_cut_low": [-20.0],
            "difference_at_audit_cut_high": [20.0],
            "audit_places": [40],
        }
    )
    assert f"than chance ({said}, 95 % -20 to +20)." in advise(table, {})
