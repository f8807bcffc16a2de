"""Groups told from features, columns, score and holes: planted truth, and worlds where there is nothing to find."""

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, feature, gap_row, proxy_row
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from ethics import Cuts, GroupRegister
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.influence import Bounds, apart, around_ratio, standard_error, stratified_auc
from ethics.label_audit import FROM_CONTACT
from ethics.proxies import POOLED, Joined
from ethics.refusals import BadInput


def found(id, **changes):
    return BUILT[id].run(replace(PASSING, **changes), Context(POLICY, NOW))


def states(id, **changes):
    return [check.state for check in found(id, **changes)]


def world(n=2000, seed=0, *, carried=0.0, proxy=0.0, missing=0.0, unlabelled=0.0, shares=(0.78, 0.06, 0.16)):
    """People with a calibrated score. For the group "other", ``carried`` is added to the score beyond need; a column
    tells it with ``proxy`` standard deviations; ``missing`` of its lab values, and ``unlabelled`` of its labels, lack.
    """
    rng = np.random.default_rng(seed)
    language = rng.choice(["fi", "sv", "other"], n, p=shares)
    other = language == "other"
    raw = rng.normal(-2.2, 1.2, n)
    need = 1 / (1 + np.exp(-raw))
    label = np.where(rng.random(n) < unlabelled * other, np.nan, (rng.random(n) < need).astype(float))
    ids = [f"r{i}" for i in range(n)]
    rows = pl.DataFrame(
        {
            "person_id": ids,
            "rank_score": raw + carried * other,
            "tie_key": [f"{i:06x}" for i in rng.permutation(n)],
            "probability": need,
            "label": label,
            "indicator:one": rng.random(n) < need,
            "household": [f"h{i // 2}" for i in range(n)],
            FROM_CONTACT: False,
        }
    ).with_columns(pl.col("label").fill_nan(None))
    lab = rng.normal(0, 1, n)
    lab[rng.random(n) < 0.1 + missing * other] = np.nan
    features = pl.DataFrame(
        {
            "person_id": ids,
            "postcode": (proxy * other + rng.normal(0, 1, n)).astype(np.float32),
            "lab.last.730d": lab.astype(np.float32),
            "lab.days_since_last.730d": np.where(np.isnan(lab), np.nan, rng.integers(0, 730, n)).astype(np.float32),
            "absence": raw.astype(np.float32),
        }
    )
    groups = pl.DataFrame({"person_id": ids, "language": language, "sex": rng.choice(["f", "m"], n)})
    return rows, features, GroupRegister(groups, "groups")


def examine(rows, features, register, gain=None, **options):
    feature_of = {name: name.partition(".")[0] for name in features.columns}
    gain = {"absence": 0.9, "lab.last.730d": 0.1} if gain is None else gain
    cuts = Cuts(60, rows.height // 8)
    return register.examine(rows, features, cuts, POLICY, seed=1, gain=gain, feature_of=feature_of, **options)


# The statistics against oracles


def naive_stratified_auc(score, member, strata):
    above, pairs = 0.0, 0.0
    for stratum in set(strata):
        ours = [s for s, m, c in zip(score, member, strata, strict=True) if m and c == stratum]
        theirs = [s for s, m, c in zip(score, member, strata, strict=True) if not m and c == stratum]
        if ours and theirs:
            weight = len(ours) * len(theirs) / (len(ours) + len(theirs))
            wins = [(a > b) + (a == b) / 2 for a, b in product(ours, theirs)]
            above, pairs = above + weight * np.mean(wins), pairs + weight
    return above / pairs


def test_the_stratified_area_is_that_of_all_pairs_of_a_stratum():
    rng = np.random.default_rng(3)
    score, member, strata = rng.integers(0, 9, 80).astype(float), rng.random(80) < 0.4, rng.integers(0, 3, 80)
    area = stratified_auc(score, member, np.arange(80), strata)
    assert area.value == pytest.approx(naive_stratified_auc(score, member, strata), abs=1e-12)
    weight = rng.integers(1, 4, 80)
    whole = stratified_auc(score, member, np.arange(80), None, weight.astype(float)).value
    assert whole == pytest.approx(roc_auc_score(member, score, sample_weight=weight), abs=1e-12)
    assert whole == pytest.approx(
        stratified_auc(score.repeat(weight), member.repeat(weight), np.arange(weight.sum())).value, abs=1e-12
    )


def test_the_interval_is_that_of_a_bootstrap_of_households():
    rng = np.random.default_rng(5)
    home = np.repeat(np.arange(300), 2)
    member, score = np.repeat(rng.random(300) < 0.3, 2), np.repeat(rng.normal(size=300), 2) + rng.normal(0, 0.3, 600)
    score = score + 0.5 * member
    area = stratified_auc(score, member, home)
    drawn = []
    for _ in range(400):
        rows = (2 * rng.integers(0, 300, 300)[:, None] + np.arange(2)).ravel()
        drawn.append(roc_auc_score(member[rows], score[rows]))
    half = (np.quantile(drawn, 0.95) - np.quantile(drawn, 0.05)) / 2
    assert (area.high - area.low) / 2 == pytest.approx(half, rel=0.15)
    alone = stratified_auc(score, member, np.arange(600))
    assert area.high - area.low > 1.25 * (alone.high - alone.low)


def test_bounds_of_areas_and_ratios():
    assert apart(Bounds(0.7, 0.65, 0.75)) == (0.7, 0.65, 0.75)
    assert apart(Bounds(0.52, 0.48, 0.56)) == (0.52, 0.5, 0.56)
    assert np.isnan(stratified_auc(np.arange(3.0), np.ones(3, bool), np.arange(3)).value)
    assert standard_error(np.ones(4), np.array([0, 0, 1, 1])) == pytest.approx(8**0.5)
    assert around_ratio(2.0, np.zeros(3), np.arange(3)) == (2.0, 2.0, 2.0)


def test_small_groups_are_pooled_and_where_that_is_too_few_only_named():
    joined = Joined.of("g", ["a"] * 300 + ["b"] * 60 + ["c"] * 60)
    assert (joined.groups, joined.untested) == (("a", POOLED), ())
    joined = Joined.of("g", ["a"] * 300 + ["b"] * 20 + ["c"] * 6)
    assert (joined.groups, joined.untested) == (("a",), ("b", "c"))
    assert [name for name, _ in joined.each()] == ["g=a"]


# Planted truth


def test_a_fair_world_passes_and_each_fault_fires_its_own_check():
    tables = examine(*world())
    assert {state for id in ("C603", "C604", "C406", "C412") for state in states(id, **tables)} == {"pass"}
    faults = {
        "C603": (world(carried=1.5), "needs_attestation", {"language=other", "language=fi"}),
        "C604": (world(proxy=3.0), "warn", {None}),
        "C406": (world(unlabelled=0.6), "needs_attestation", {"language=other"}),
        "C412": (world(missing=0.4), "warn", {"language=other"}),
    }
    for id, (faulty, state, groups) in faults.items():
        tables = examine(*faulty)
        for other in faults:
            named = {check.group for check in found(other, **tables) if check.state != "pass"}
            if other == id:
                assert named == groups
                assert {check.state for check in found(id, **tables) if check.state != "pass"} == {state}
            elif (id, other) != ("C604", "C603"):  # a proxy among the features tells the group there too
                assert not named, (id, other)


def test_a_postcode_that_tells_the_language_is_named_and_one_that_is_of_use_is_not():
    rows, features, register = world(proxy=3.0)
    (check,) = found("C604", **examine(rows, features, register))
    assert check.facts == {"names": "postcode (language=other)"}
    gain = {"postcode": 0.4, "absence": 0.6}
    assert states("C604", **examine(rows, features, register, gain=gain)) == ["pass"]
    warned = [check for check in found("C603", **examine(rows, features, register)) if check.state == "warn"]
    assert {(check.statistic, check.group) for check in warned} == {
        ("group_auc", "language=other"),
        ("group_auc", "language=fi"),
    }


def test_a_column_that_trees_gain_from_must_be_shown_to_be_of_use_to_tell_a_group():
    rows, features, register = world(proxy=3.0)
    tables = examine(rows, features, register, gain={"postcode": 0.1, "absence": 0.9})
    tables["features"] = (feature("postcode"),)

    def worth(**bounds):
        return {"feature": "postcode", "columns": 1, "used": True, "worth": 0.01, **bounds}

    assert states("C604", **tables, feature_value=(worth(low=0.002, high=0.02),)) == ["pass"]
    assert states("C604", **tables, feature_value=(worth(low=-0.002, high=0.02),)) == ["warn"]
    not_done = {"feature": "postcode", "columns": 1, "used": None, "worth": None, "low": None, "high": None}
    assert states("C604", **tables, feature_value=({**not_done, "not_done": "too few rows"},)) == ["pass"]


def test_holes_that_tell_a_group_are_a_proxy_too():
    rows, features, register = world(missing=0.85)
    (check,) = found("C604", **examine(rows, features, register, gain={"absence": 1.0}))
    assert "lab.last.730d (language=other)" in check.facts["names"]


def test_what_base_rates_explain_is_told_beside_what_is_found():
    rng = np.random.default_rng(0)
    n = 6000
    other = rng.random(n) < 0.3
    raw = rng.normal(-2, 1, n) + 1.6 * other
    p = 1 / (1 + np.exp(-raw))
    rows, features, _ = world(n)
    rows = rows.with_columns(
        pl.Series("rank_score", raw), pl.Series("probability", p), pl.Series("label", (rng.random(n) < p).astype(float))
    ).drop("indicator:one")
    register = GroupRegister(pl.DataFrame({"person_id": rows["person_id"], "group": np.where(other, "a", "b")}), "g")
    row = examine(rows, features, register)["group_proxies"][0]
    assert row["score_low"] <= row["score_implied"] <= row["score_high"]
    (check, _) = found("C603", group_proxies=[row, row])
    assert check.state == "needs_attestation"
    assert check.facts == {"implied": f"{row['score_implied']:.2f}"}


def test_of_forty_fair_worlds_few_alarm_and_of_forty_unfair_ones_nearly_all():
    alarms, misses = 0, 0
    for seed in range(40):
        fair = examine_score(*world(900, seed=seed))
        unfair = examine_score(*world(900, seed=seed, carried=1.4))
        alarms += any(row["score_low"] > 0.6 for row in fair)
        misses += not any(row["score_low"] > 0.6 for row in unfair)
    # Exact (Clopper-Pearson) one-sided 95 % bounds.
    assert beta.ppf(0.95, alarms + 1, 40 - alarms) <= 0.08
    assert beta.ppf(0.95, misses + 1, 40 - misses) <= 0.08


def examine_score(rows, features, register):
    """Only the score's part: no columns to learn the group from but one of noise."""
    return examine(rows, features.select("person_id", "postcode"), register)["group_proxies"]


# Errors, limits and disclosure


def test_nothing_small_leaves_the_register():
    rows, features, register = world(1500, shares=(0.97, 0.01, 0.02))
    tables = examine(rows, features, register)
    told = {row["group"] for name in ("group_proxies", "column_proxies", "missingness") for row in tables[name]}
    assert told <= {"sex=f", "sex=m", "language=fi"}
    assert tables["observability"]["untested"] == ["language=other", "language=sv"]
    shown = [check for check in found("C406", **tables) if check.state == "warn"]
    assert [check.facts["names"] for check in shown] == ["language=other, language=sv"]
    assert "r12" not in str(tables)


def test_few_missing_cells_are_not_counted_out():
    rows, features, register = world(1500)
    lab = features["lab.last.730d"].fill_nan(0.0).to_numpy().copy()
    lab[:2] = np.nan
    features = features.select("person_id", pl.Series("lab", lab))
    gaps = {row["group"]: row["value"] for row in examine(rows, features, register)["missingness"]}
    n = rows.height
    assert all(abs(gap) < 6 / 80 for gap in gaps.values())
    assert max(gaps.values()) >= 5 / n  # two people count as five


def test_tables_that_were_not_gathered_are_errors():
    for id, name in (
        ("C603", "group_proxies"),
        ("C604", "column_proxies"),
        ("C406", "observability"),
        ("C412", "missingness"),
        ("C414", "label_choice"),
    ):
        assert states(id, **{name: None}) == ["error"]


def test_groups_too_small_to_be_tested_are_not_a_pass():
    assert states("C603", group_proxies=()) == ["not_testable"]
    assert states("C604", column_proxies=()) == ["warn"]
    assert states("C412", missingness=(), group_proxies=()) == ["warn"]
    assert states("C412", missingness=()) == ["pass"]
    assert states("C603", group_proxies=(proxy_row(score=None, score_low=None, score_high=None),)) == ["not_testable"]


def test_an_estimate_above_whose_bound_is_below_does_not_alarm():
    assert states("C603", group_proxies=(proxy_row(score=0.63, score_low=0.59, score_high=0.67),)) == ["pass"]
    assert states("C603", group_proxies=(proxy_row(score=0.63, score_low=0.61, score_high=0.65),)) == [
        "needs_attestation"
    ]
    assert states("C603", group_proxies=(proxy_row(features=0.9, features_low=0.85, features_high=0.95),)) == ["warn"]
    assert states("C603", group_proxies=(proxy_row(features=0.82, features_low=0.79, features_high=0.85),)) == ["pass"]
    assert states("C412", missingness=(gap_row(gap=0.105),)) == ["pass"]
    assert states("C412", missingness=(gap_row(gap=0.2), gap_row("lab", 0.3))) == ["warn"]


def test_a_rule_has_no_trees_that_gain():
    (check,) = found("C604", kind="rule", column_proxies=None)
    assert (check.state, check.facts) == ("pass", {"case": "rule"})


def test_features_of_other_rows_are_refused_and_another_order_is_not():
    rows, features, register = world(600)
    with pytest.raises(BadInput, match="features: are of other rows than those judged"):
        examine(rows, features.head(599), register)
    shuffled = features.sample(fraction=1.0, shuffle=True, seed=1)
    assert examine(rows, shuffled, register) == examine(rows, features, register)


def test_without_features_what_needs_them_is_not_gathered():
    rows, _, register = world(600)
    tables = register.examine(rows, None, Cuts(60, 100), POLICY, seed=1)
    assert [name for name, table in tables.items() if table is None] == [
        "group_proxies", "column_proxies", "missingness",
    ]  # fmt: skip
