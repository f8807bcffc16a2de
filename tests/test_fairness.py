import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ethics_cases import people
from hypothesis import given, settings
from hypothesis import strategies as st

from ethics import BadInput, Cuts, audit_cut, cells_from_bytes, measure, tabulate
from ethics.fairness import ABOVE_AUDIT, AT_AUDIT, AT_K, BELOW_AUDIT, EVERYONE, NO_CUT
from ethics.group_checks import decide_group

COMPAS = Path(__file__).parents[2] / "shared" / "data" / "compas" / "two_years.csv"


def value(table, *place):
    return table.get(*place).value


def test_ten_people_counted_by_hand():
    # Ranked 0 … 9; a b a b a b a b a b; in need: 0, 1, 3, 4, 9. k = 2, k* = 4.
    label = [1, 1, 0, 1, 1, 0, 0, 0, 0, 1]
    table = measure(
        label=label,
        groups={"g": list("ab" * 5)},
        score=np.arange(10, 0, -1),
        probability=[0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2],
        cuts=Cuts(2, 4),
    )
    assert value(table, "g", "a", "recall", AT_K) == 1 / 2  # 0 of 0, 4
    assert value(table, "g", "b", "recall", AT_K) == 1 / 3  # 1 of 1, 3, 9
    assert value(table, "g", "b", "recall", AT_AUDIT) == 2 / 3
    assert value(table, EVERYONE, EVERYONE, "recall", AT_AUDIT) == 3 / 5
    assert value(table, "g", "b", "recall_ratio", AT_AUDIT) == pytest.approx((2 / 3) / (3 / 5), abs=1e-12)
    assert value(table, "g", "a", "missed_residents", AT_AUDIT) == pytest.approx(2 * (3 / 5 - 1 / 2), abs=1e-12)
    assert value(table, "g", "a", "false_omission_rate", AT_AUDIT) == 1 / 3  # 4 of 4, 6, 8
    assert value(table, "g", "b", "omission_ratio", AT_AUDIT) == pytest.approx((1 / 3) / (2 / 6), abs=1e-12)
    assert value(table, "g", "a", "precision", AT_AUDIT) == 1 / 2
    assert value(table, "g", "a", "selection_rate", AT_K) == 1 / 5
    assert value(table, EVERYONE, EVERYONE, "attainable_recall", AT_K) == 2 / 5
    # Expected: a 2.2, b 2.2; below k* a .8, b .8; observed a 2, b 3; below a 1, b 1.
    assert value(table, "g", "a", "observed_to_expected") == pytest.approx((2 / 2.2) / (5 / 4.4), abs=1e-12)
    assert value(table, "g", "b", "observed_to_expected", BELOW_AUDIT) == pytest.approx(1.0, abs=1e-12)
    assert value(table, "g", "b", "observed_to_expected", ABOVE_AUDIT) == pytest.approx(
        (2 / 1.4) / (3 / 2.8), abs=1e-12
    )


def test_need_at_score_reweights_the_others_to_the_groups_ventiles():
    # 40 people, ventiles of two; k* = 20, so ventile 9 holds it, and 7 … 11 are compared: ranks 14 … 23.
    group = np.array(["g" if rank in (14, 15, 18, 20) else "h" for rank in range(40)])
    need = np.isin(np.arange(40), [14, 15, 17, 19, 21, 30])
    table = measure(label=need, groups={"a": group}, score=-np.arange(40), indicators={"need": need}, cuts=Cuts(5, 20))
    # g: 14, 15 (ventile 7, where nobody else is), 18 (ventile 9), 20 (ventile 10): only 18 and 20 can be compared.
    # Others in ventile 9: 19 (need); in ventile 10: 21 (need). So 0 of 2 against 1 of 1 twice.
    assert value(table, "a", "g", "need_at_score:need", AT_AUDIT) == 0
    # h is compared in ventiles 9 and 10 with 18 and 20, who have none.
    assert math.isnan(value(table, "a", "h", "need_at_score:need", AT_AUDIT))


def naive_need_at_score(group, need, rank, wanted, k_audit):
    n = len(rank)
    ventile = [int((r + 0.5) * 20 / n) for r in rank]
    middle = int((k_audit - 0.5) * 20 / n)
    window = range(max(0, middle - 2), min(20, middle + 3))
    mine = expected = size = 0.0
    for v in window:
        inside = [need[i] for i in range(n) if ventile[i] == v and group[i] == wanted]
        outside = [need[i] for i in range(n) if ventile[i] == v and group[i] != wanted]
        if inside and outside:
            mine += sum(inside)
            size += len(inside)
            expected += len(inside) * sum(outside) / len(outside)
    return (mine / size) / (expected / size) if expected else math.nan


def test_need_at_score_agrees_with_the_slow_definition():
    rng = np.random.default_rng(5)
    n = 2000
    group, need = rng.choice(list("abc"), n), rng.random(n) < 0.3
    table = measure(label=need, groups={"g": group}, score=-np.arange(n), indicators={"need": need}, cuts=Cuts(40, 333))
    for name in "abc":
        slow = naive_need_at_score(group, need, range(n), name, 333)
        assert value(table, "g", name, "need_at_score:need", AT_AUDIT) == pytest.approx(slow, abs=1e-12)


def test_equals_fairlearn_on_raw_rows():
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import precision_score

    world = people(3000, seed=4)
    table = measure(**world, replicates=200)
    order = np.argsort(-world["score"], kind="stable")
    for cut, k in ((AT_K, 60), (AT_AUDIT, 390)):
        chosen = np.zeros(3000, dtype=int)
        chosen[order[:k]] = 1
        frame = MetricFrame(
            metrics={
                "recall": true_positive_rate,
                "false_positive_rate": false_positive_rate,
                "selection_rate": selection_rate,
                "precision": precision_score,
            },
            y_true=world["label"],
            y_pred=chosen,
            sensitive_features=world["groups"]["sex"],
        )
        for name in ("recall", "false_positive_rate", "selection_rate", "precision"):
            assert value(table, EVERYONE, EVERYONE, name, cut) == pytest.approx(frame.overall[name], abs=1e-12)
            for group in "fm":
                assert value(table, "sex", group, name, cut) == pytest.approx(frame.by_group[name][group], abs=1e-12)


def test_a_group_of_three_is_measured_and_never_testable():
    world = people(1000, seed=2)
    world["groups"] = {"g": ["three"] * 3 + ["rest"] * 997}
    table = measure(**world, replicates=200)
    assert table.groups.filter(pl.col("group") == "three").select("n", "testable").row(0) == (3, False)


@pytest.fixture(scope="module")
def compas():
    if not COMPAS.exists():
        pytest.skip(f"no COMPAS data at {COMPAS}")
    return pl.read_csv(COMPAS, infer_schema_length=10_000)


@pytest.fixture(scope="module")
def compas_table(compas):
    return measure(
        label=compas["two_year_recid"], groups={"race": compas["race"]}, selected=compas["score_text"] != "Low"
    )


@pytest.mark.parametrize(
    ("group", "n", "fpr", "fnr", "ppv"),
    [("African-American", 3696, 44.85, 27.99, 0.630), ("Caucasian", 2454, 23.45, 47.72, 0.591)],
)
def test_compas_gives_the_published_error_rates(compas_table, group, n, fpr, fnr, ppv):
    assert value(compas_table, "race", group, "false_positive_rate", AT_K) * 100 == pytest.approx(fpr, abs=0.005)
    assert value(compas_table, "race", group, "false_negative_rate", AT_K) * 100 == pytest.approx(fnr, abs=0.005)
    assert value(compas_table, "race", group, "precision", AT_K) == pytest.approx(ppv, abs=0.0005)
    assert compas_table.get("race", group, "selection_rate", AT_K).n == n


def test_compas_counts_for_everyone(compas_table):
    everyone = {
        name: compas_table.get(EVERYONE, EVERYONE, name, AT_K).people
        for name in ("recall", "false_positive_rate", "false_negative_rate")
    }
    assert everyone == {"recall": 2035, "false_positive_rate": 1282, "false_negative_rate": 1216}
    assert compas_table.n == 7214


@pytest.mark.parametrize(("group", "n"), [("Native American", 18), ("Asian", 32)])
def test_compas_groups_of_a_few_are_not_testable(compas_table, group, n):
    row = compas_table.groups.filter(pl.col("group") == group).row(0, named=True)
    assert (row["n"], row["testable"]) == (n, False)
    assert decide_group(compas_table, "race", group, testable=False, strict=False)["state"] == "not_testable"


# Metamorphic: what must not matter does not


def point_values(table):
    return table.table.select("attribute", "group", "cut", "measure", "value").sort(
        "attribute", "group", "cut", "measure"
    )


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing_at_all(seed):
    world = people(1500, seed=3)
    world["score"] = np.round(world["score"], 2)  # many ties
    world["tie_key"] = [f"{i * 7919 % 1500:04d}" for i in range(1500)]
    order = np.random.default_rng(seed).permutation(1500)
    shuffled = {
        name: {key: np.asarray(column)[order] for key, column in part.items()}
        if isinstance(part, dict)
        else part
        if name == "cuts"
        else np.asarray(part)[order]
        for name, part in world.items()
    }
    shuffled["tie_key"] = shuffled["tie_key"].tolist()
    before, after = (measure(**rows, replicates=200) for rows in (world, shuffled))
    assert before.cells_bytes == after.cells_bytes
    assert before.table.equals(after.table)


def test_renaming_groups_renames_the_table():
    world = people(3000, seed=6)
    names = {"fi": "zz", "sv": "aa", "other": "mm", "rare": "qq"}
    renamed = {**world, "groups": {"language": [names[name] for name in world["groups"]["language"]]}}
    world["groups"] = {"language": world["groups"]["language"]}
    before, after = (point_values(measure(**rows, replicates=200)) for rows in (world, renamed))
    back = after.with_columns(pl.col("group").replace({new: old for old, new in names.items()}))
    joined = before.join(back, on=["attribute", "group", "cut", "measure"], nulls_equal=True)
    assert joined.height == before.height
    gap = (joined["value"] - joined["value_right"]).abs().fill_nan(0.0)
    assert gap.max() < 1e-12


def test_every_person_twice_keeps_the_values_and_shrinks_the_intervals():
    world = people(4000, seed=8)
    twice = {
        name: {key: np.repeat(np.asarray(column), 2) for key, column in part.items()}
        if isinstance(part, dict)
        else np.repeat(part, 2)
        for name, part in world.items()
        if name != "cuts"
    } | {"cuts": Cuts(120, 1040)}
    before, after = measure(**world, replicates=2000), measure(**twice, replicates=2000)
    for group in ("fi", "other"):
        for name, cut in (("recall_ratio", AT_AUDIT), ("observed_to_expected", NO_CUT)):
            one, two = before.get("language", group, name, cut), after.get("language", group, name, cut)
            assert two.value == pytest.approx(one.value, abs=1e-12)
            assert (one.high - one.low) / (two.high - two.low) == pytest.approx(math.sqrt(2), rel=0.12)


def test_intervals_agree_with_resampling_rows_and_cutting_again():
    world = people(6000, seed=9)
    table = measure(**world, replicates=2000)
    rng = np.random.default_rng(0)
    n, k = 6000, world["cuts"].k_audit
    label, score, other = world["label"], world["score"], world["groups"]["language"] == "other"
    recall, calibration = [], []
    for _ in range(2000):
        rows = rng.integers(0, n, n)
        y, g = label[rows], other[rows]
        above = np.zeros(n, dtype=bool)
        above[np.argpartition(-score[rows], k)[:k]] = True
        recall.append((y[g & above].sum() / y[g].sum()) / (y[above].sum() / y.sum()))
        p = world["probability"][rows]
        calibration.append((y[g].sum() / p[g].sum()) / (y.sum() / p.sum()))
    for name, cut, rows in (("recall_ratio", AT_AUDIT, recall), ("observed_to_expected", NO_CUT, calibration)):
        found = table.get("language", "other", name, cut)
        low, high = np.quantile(rows, [0.05, 0.95])
        assert found.high - found.low == pytest.approx(high - low, rel=0.07)
        assert found.low == pytest.approx(low, abs=0.15 * (high - low))


def test_a_design_effect_widens_by_its_square_root():
    world = people(6000, seed=9)
    one, four = (measure(**world, replicates=2000, design_effect=effect) for effect in (1.0, 4.0))
    narrow, wide = (table.get("sex", "f", "recall_ratio", AT_AUDIT) for table in (one, four))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2.0, rel=0.12)


def test_the_table_follows_from_the_file_of_cells():
    world = people(2000, seed=1)
    table = measure(**world, seed=11, replicates=300)
    again = tabulate(
        cells_from_bytes(table.cells_bytes), table.cuts, seed=11, replicates=300, thresholds=table.thresholds
    )
    assert again.table.equals(table.table)
    assert again.groups.equals(table.groups)
    assert again.cells_digest == table.cells_digest


# What is not known


def test_missing_groups_are_a_group_and_unknown_labels_leave_after_the_cut():
    label = [1, math.nan, 0, 1, 0, 1]
    table = measure(
        label=label, groups={"g": ["a", "a", None, "b", None, "b"]}, score=[6, 5, 4, 3, 2, 1], cuts=Cuts(2, 4)
    )
    assert table.groups["group"].to_list() == ["a", "b", "unknown"]
    assert table.n == 5
    assert (table.cuts.k, table.cuts.k_audit) == (1, 3)  # the same people stay above the cuts
    assert value(table, "g", "b", "recall", AT_AUDIT) == 1 / 2


def test_without_a_label_only_selection_rates_are_known():
    table = measure(label=[math.nan] * 4, groups={"g": list("aabb")}, score=[4, 3, 2, 1], cuts=Cuts(2, 2))
    assert set(table.table["measure"]) == {"selection_rate"}
    assert value(table, "g", "a", "selection_rate", AT_K) == 1.0
    assert decide_group(table, "g", "a", testable=False, strict=False)["facts"] == {"case": "no_label"}


def test_every_fault_of_the_columns_at_once():
    with pytest.raises(BadInput) as refusal:
        measure(label=[1, 0], groups={"sex": ["f"]}, score=[1.0, 2.0, 3.0])
    assert [str(fault) for fault in refusal.value.faults] == [
        "cuts: is missing. A score is judged at cuts, e.g. cuts=Cuts(k=240, k_audit=3120)",
        "label: has 2 rows where the scores have 3. Give one value per row",
        "sex: has 1 rows where the scores have 3. Give one value per row",
    ]
    with pytest.raises(BadInput, match="score, selected: neither is given"):
        measure(label=[1], groups={})


@pytest.mark.parametrize(
    ("label", "k", "periods", "recall", "cut"),
    [
        ([1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], 2, 1, 0.6, 4),
        ([1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], 2, 3, 0.6, 6),  # k × periods is larger
        ([1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], 9, 1, 0.6, 6),  # never beyond half the cohort
        ([0, 0, 0, 0, 0, 0], 1, 1, 0.3, 1),  # no need found at all
        ([math.nan, 1, 0, 0], 1, 1, 0.3, 2),
    ],
)
def test_audit_cut(label, k, periods, recall, cut):
    assert audit_cut(label, k, periods, recall) == cut


# Worlds whose truth is known


def decisions(table):
    return {
        (row["attribute"], row["group"]): decide_group(
            table, row["attribute"], row["group"], testable=row["testable"], strict=False
        )
        for row in table.groups.iter_rows(named=True)
    }


def test_fair_worlds_are_never_blocked_and_pass_as_often_as_power_says():
    tables = [measure(**people(20_000, seed=seed), replicates=300) for seed in range(20)]
    states = [{finding["state"] for finding in decisions(table).values()} for table in tables]
    assert sum("block" in found for found in states) == 0
    assert sum("needs_attestation" in found for found in states) <= 2
    passed = sum(found <= {"pass", "warn", "not_testable"} for found in states)
    predicted = sum(table.fair_worlds_pass for table in tables)
    assert 0.3 < predicted / 20 < 0.95  # neither hopeless nor trivial at this size
    assert abs(passed - predicted) < 3 * math.sqrt(predicted * (1 - predicted / 20))


@pytest.mark.parametrize("seed", range(4))
def test_a_group_whose_need_the_model_does_not_see_is_blocked(seed):
    found = decisions(measure(**people(40_000, seed=seed, drop_label=0.5), replicates=400))
    assert found["language", "other"]["state"] == "block"
    assert found["language", "other"]["facts"]["missed"] > 50
    assert {finding["state"] for place, finding in found.items() if place[0] == "sex"} <= {"pass", "warn"}


@pytest.mark.parametrize("seed", range(4))
def test_unequal_base_rates_are_never_blocked_but_need_an_attestation(seed):
    found = decisions(measure(**people(60_000, seed=seed, shift=1.2), replicates=400))
    assert "block" not in {finding["state"] for finding in found.values()}
    lower = found["language", "fi"]  # less need, so fewer of those in need stand above one common cut
    assert (lower["state"], lower["needs"], lower["facts"]["case"]) == ("needs_attestation", "AT-06", "recall")


def test_power_tells_small_samples_from_large_ones():
    small, large = (measure(**people(n, seed=3), replicates=200) for n in (9_000, 60_000))
    assert small.fair_worlds_pass < 0.5 < 0.8 < large.fair_worlds_pass
    sv_small, sv_large = (table.groups.filter(pl.col("group") == "sv").row(0, named=True) for table in (small, large))
    assert sv_large["detectable_recall_gap"] < sv_small["detectable_recall_gap"]
    assert 1.25 < sv_large["detectable_oe"] < sv_small["detectable_oe"]


def test_where_nobody_in_need_is_below_the_cut_nothing_is_compared_and_nothing_alarms():
    """A score that finds everybody: the part below k* has no need, which is no harm and no error."""
    rng = np.random.default_rng(1)
    label = (rng.random(4000) < 0.15).astype(float)
    groups = {"g": rng.choice(["a", "b", "c"], 4000, p=[0.6, 0.3, 0.1])}
    score = label + 0.1 * rng.random(4000)
    probability = np.where(label > 0, 0.999, 0.001)
    table = measure(
        label=label, groups=groups, score=score, probability=probability, cuts=Cuts(200, 2000), replicates=200
    )
    for group in "abc":
        below = table.get("g", group, "observed_to_expected", BELOW_AUDIT)
        assert math.isnan(below.value) and below.p_harm == 0
    found = decisions(table)
    assert {finding["state"] for finding in found.values()} == {"pass"}
    assert all(math.isfinite(finding["value"]) for finding in found.values())
