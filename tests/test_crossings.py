"""Crossings of groups: counted, measured and partially pooled, against fairlearn on rows and sums written out."""

import math
from itertools import product

import numpy as np
import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, evidence, people

from ethics import BadInput, Cuts, cells_from_bytes, judge, measure, render_report, tabulate
from ethics.cells import LISTED
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.crossing_checks import _need_tail, _recall_tail, discoveries
from ethics.crossings import MIN_LISTED, POOLED
from ethics.fairness import AT_AUDIT, AT_K, EVERYONE, NO_CUT, SHRUNK
from ethics.group_record import group_record
from ethics.recomputation import statistics_faults
from ethics.shrinkage import CROSSING_SD, GROUP_SD, shrink, to_scale


def city(n=50_000, seed=1, *, unseen=0.0):
    """Four attributes; ``unseen`` hides that share of the need of women who speak another language from the scores."""
    rng = np.random.default_rng(seed)
    groups = {
        "sex": rng.choice(["f", "m"], n),
        "language": rng.choice(["fi", "sv", "other"], n, p=[0.78, 0.06, 0.16]),
        "age": rng.choice(["15-17", "18-20", "21-24", "25-28"], n),
        "district": rng.choice(list("abcde"), n),
    }
    odds = np.exp(rng.normal(0, 1.1, n))
    truth = np.clip(odds * 0.08 / odds.mean(), 0, 0.95)
    hidden = (groups["sex"] == "f") & (groups["language"] == "other")
    seen = np.where(hidden, truth * (1 - unseen), truth)
    return {
        "label": (rng.random(n) < truth).astype(float),
        "groups": groups,
        "score": seen,
        "probability": seen,
        "indicators": {"care": rng.random(n) < 0.3 * truth**0.5, "welfare": rng.random(n) < 0.2 * truth**0.5},
        "cuts": Cuts(300, int(n * 0.13)),
    }


def answers(table, id="C402", case=PASSING):
    return BUILT[id].run(case, Context(POLICY, NOW, table))


# Oracle: fairlearn on rows


@pytest.mark.parametrize("n", [6_000, pytest.param(50_000, marks=pytest.mark.full)])
def test_cells_equal_fairlearn_on_rows_crossings_included(n):
    from fairlearn.metrics import (
        MetricFrame,
        false_negative_rate,
        false_positive_rate,
        selection_rate,
        true_positive_rate,
    )
    from sklearn.metrics import precision_score

    world = city(n)
    table = measure(**world, replicates=20)
    order = np.argsort(-world["score"], kind="stable")
    groups = {name: np.asarray(column, dtype=object) for name, column in world["groups"].items()}
    own = {
        "recall": true_positive_rate,
        "selection_rate": selection_rate,
        "false_positive_rate": false_positive_rate,
        "false_negative_rate": false_negative_rate,
        "precision": lambda y, taken: precision_score(y, taken, zero_division=np.nan),
        "false_omission_rate": lambda y, taken: np.asarray(y)[np.asarray(taken) == 0].mean(),
    }
    places = [(name,) for name in groups] + [("sex", "language"), ("age", "district"), tuple(groups)]
    compared = 0
    for cut, k in ((AT_K, world["cuts"].k), (AT_AUDIT, world["cuts"].k_audit)):
        taken = np.zeros(len(order), dtype=int)
        taken[order[:k]] = 1
        for place in places if cut == AT_AUDIT else places[:-1]:
            features = pl.DataFrame({name: groups[name].astype(str) for name in place}).to_pandas()
            frame = MetricFrame(
                metrics=own if len(place) == 1 else {name: own[name] for name in ("recall", "selection_rate")},
                y_true=world["label"].astype(int),
                y_pred=taken,
                sensitive_features=features,
            )
            for group, row in frame.by_group.iterrows():
                named = " × ".join(group) if len(place) > 1 else group
                for name, expected in row.items():
                    found = table.get(" × ".join(place), named, name, cut)
                    if found.n == 0 and len(place) > 1:
                        continue  # too small to test: only listed
                    compared += 1
                    if math.isnan(expected):
                        assert math.isnan(found.value)
                    else:
                        assert found.value == pytest.approx(expected, abs=1e-12), (place, group, name, cut)
    assert compared > (250 if n == 50_000 else 150)


def test_the_people_of_a_crossing_add_up_to_the_city():
    world = city(20_000)
    table = measure(**world, replicates=20)
    for (attribute,), part in table.crossings.group_by("attribute"):
        assert part.filter(pl.col("kind") != "small")["n"].sum() == 20_000, attribute
        assert part.filter(pl.col("kind") != "small")["need"].sum() == world["label"].sum()
    assert table.crossings.filter(kind="tested")["testable"].all()
    assert not table.crossings.filter(pl.col("kind") != "tested")["testable"].any()
    assert (table.crossings.filter(kind="small")["n"] >= MIN_LISTED).all()
    whole = " × ".join(world["groups"])
    small = table.crossings.filter((pl.col("attribute") == whole) & (pl.col("kind") == "small")).row(0, named=True)
    named = dict(zip(world["groups"], small["group"].split(" × "), strict=True))
    inside = np.all([np.asarray(world["groups"][name]) == group for name, group in named.items()], axis=0)
    assert (small["n"], small["need"]) == (inside.sum(), world["label"][inside].sum())
    assert small["expected"] == pytest.approx(world["probability"][inside].sum())


def test_every_pair_and_all_together_are_crossed_and_what_is_not_is_named():
    world = city(20_000)
    table = measure(**world, replicates=20)
    assert table.attributes == ("sex", "language", "age", "district")
    assert table.crossings["attribute"].n_unique() == 6 + 1
    assert table.crossings_left_out == ()
    few = measure(**world, crossings=[("sex", "age")], replicates=20)
    assert set(few.crossings["attribute"]) == {"sex × age"}
    assert len(few.crossings_left_out) == 6
    warned = [check for check in answers(few) if check.facts.get("case") == "left_out"]
    assert [(check.state, check.needs) for check in warned] == [("not_testable", "AT-07")] * 6
    assert {check.group for check in warned} == set(few.crossings_left_out)


def test_an_attribute_of_one_known_group_is_not_crossed():
    world = city(10_000)
    world["groups"] = {name: world["groups"][name] for name in ("sex", "age")} | {"city": ["here"] * 10_000}
    table = measure(**world, replicates=20)
    assert set(table.crossings["attribute"]) == {"sex × age"}
    assert table.crossings_left_out == ()


def test_more_groups_than_can_be_tested_are_left_out_whole(monkeypatch):
    monkeypatch.setattr("ethics.crossings.MAX_CROSSED_GROUPS", 25)
    table = measure(**city(20_000), replicates=20)
    assert table.crossings.filter(kind="tested").height <= 25
    assert "age × district" not in set(table.crossings["attribute"])
    assert "age × district" in table.crossings_left_out


def test_the_sign_of_a_crossing_is_no_name():
    with pytest.raises(BadInput, match="the sign of a crossing"):
        measure(label=[1, 0], groups={"a × b": ["x", "y"]}, score=[2.0, 1.0], cuts=Cuts(1, 1))


def test_crossings_follow_from_the_file_of_cells():
    table = measure(**city(20_000), seed=5, replicates=100)
    again = tabulate(
        cells_from_bytes(table.cells_bytes), table.cuts, seed=5, replicates=100, thresholds=table.thresholds
    )
    assert again.table.equals(table.table)
    assert again.crossings.equals(table.crossings)
    assert table.cells.filter(pl.col("bin") == LISTED).height > 0


def test_a_crossings_interval_is_that_of_its_people_as_a_group_of_their_own():
    """Blocks of crossings have fewer bins, which must change nothing but the draw."""
    world = city(30_000)
    both = np.char.add(np.char.add(world["groups"]["sex"], " × "), world["groups"]["language"])
    crossed = measure(**world, crossings=[("sex", "language")], replicates=2000)
    world["groups"] = {"both": both}
    alone = measure(**world, replicates=2000)
    for name, cut in (("recall_ratio", AT_AUDIT), ("observed_to_expected", NO_CUT), ("need_at_score:care", AT_AUDIT)):
        for group in ("f × fi", "m × other"):
            one, other = crossed.get("sex × language", group, name, cut), alone.get("both", group, name, cut)
            assert one.value == pytest.approx(other.value, abs=1e-12)
            assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.06)


# Partial pooling


def naive_shrink(y, s, members, threshold):
    """P(ratio < threshold) and posterior means by the joint normal of all effects, tau integrated on a fine grid."""
    taus = np.linspace(1e-3, 1.5, 1500)
    logs, means, variances = [], [], []
    names = sorted({(i, g) for member in members for i, g in enumerate(member)})
    design = np.array([[(i, g) in set(enumerate(member)) for i, g in names] for member in members], dtype=float)
    for tau in taus:
        prior = GROUP_SD**2 * design @ design.T + tau**2 * np.eye(len(y))
        total = prior + np.diag(s**2)
        gain = prior @ np.linalg.inv(total)
        _, logdet = np.linalg.slogdet(total)
        logs.append(-0.5 * (tau / CROSSING_SD) ** 2 - 0.5 * (logdet + y @ np.linalg.solve(total, y)))
        means.append(gain @ y)
        variances.append(np.diag(prior - gain @ prior))
    weight = np.exp(np.array(logs) - max(logs))
    weight /= weight.sum()
    cdf = [
        [
            0.5 * (1 + math.erf((2 * (math.sqrt(threshold) - 1) - m) / math.sqrt(2 * v)))
            for m, v in zip(ms, vs, strict=True)
        ]
        for ms, vs in zip(means, variances, strict=True)
    ]
    return weight @ np.array(means), weight @ np.array(cdf)


def test_shrinkage_agrees_with_the_joint_normal_written_out():
    rng = np.random.default_rng(3)
    members = list(product("fm", "abcd"))
    y, s = rng.normal(0, 0.15, 8), rng.uniform(0.03, 0.25, 8)
    found = shrink(y, s, members, threshold=0.9, harm_below=True)
    mean, harm = naive_shrink(y, s, members, 0.9)
    assert to_scale(found.value) == pytest.approx(mean, abs=0.004)  # a median beside a mean
    assert found.p_harm == pytest.approx(harm, abs=0.003)
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()


def test_a_crossing_that_says_much_keeps_its_own_estimate_and_one_that_says_little_takes_its_groups():
    members = list(product("fm", "abc"))
    y = to_scale(np.array([0.5, 1, 1, 1, 1, 1]))
    sure = shrink(y, np.full(6, 0.02), members, threshold=0.8, harm_below=True)
    assert sure.value[0] == pytest.approx(0.5, rel=0.05)
    assert sure.p_harm[0] > 0.99
    unsure = shrink(y, np.array([0.4, *[0.02] * 5]), members, threshold=0.8, harm_below=True)
    assert unsure.value[0] > 0.9
    assert unsure.p_harm[0] < 0.2


def test_the_order_and_the_names_of_crossings_change_nothing():
    members = list(product("fm", "abc"))
    rng = np.random.default_rng(1)
    y, s, order = rng.normal(0, 0.2, 6), rng.uniform(0.05, 0.2, 6), rng.permutation(6)
    one = shrink(y, s, members, threshold=1.25, harm_below=False)
    other = shrink(y[order], s[order], [("x" + members[i][0], members[i][1]) for i in order], threshold=1.25,
                   harm_below=False)  # fmt: skip
    for part, again in zip(one, other, strict=True):
        assert again == pytest.approx(part[order], abs=1e-9)


# C402


@pytest.mark.parametrize("seed", range(3))
def test_a_harm_where_two_groups_meet_is_blocked_by_its_own_name(seed):
    table = measure(**city(60_000, seed=seed, unseen=0.55), replicates=300)
    blocked = [check.group for check in answers(table) if check.state == "block"]
    assert "sex × language=f × other" in blocked
    assert all("other" in group for group in blocked)
    told = group_record(table, 5)["crossings"]
    assert {row["group"] for row in told[:3]} & {"f × other"}
    assert {"recall_ratio", "recall_ratio_shrunk", "recall_ratio_shrunk.low"} <= set(told[0])


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 8), marks=pytest.mark.full)])
def test_fair_worlds_are_not_blocked_by_crossings(seeds):
    states = [
        {check.state for id in ("C401", "C402", "C403") for check in answers(measure(**world, replicates=200), id)}
        for world in (people(15_000, seed=seed, small=0.0) for seed in seeds)
    ]
    assert sum("block" in found for found in states) == 0
    assert sum("needs_attestation" in found for found in states) <= len(seeds) // 4


def test_crossings_too_small_to_test_are_listed_and_leave_the_verdict_open_to_pass():
    world = city(2000)
    world["groups"] = {name: world["groups"][name] for name in ("language", "district")}
    table = measure(**world, replicates=100)
    assert set(table.crossings.filter(pl.col("kind") == "small")["group"]) >= {"sv × a"}
    small = [check for check in answers(table) if check.group == "language × district"]
    assert {check.state for check in small} <= {"warn", "pass", "inconclusive"}
    assert not any("sv × a" in str(check.facts.get("names", "")) for check in small)


def test_three_people_where_groups_meet_do_not_crash_and_are_not_named():
    world = people(20_000, small=0.0)
    world["groups"]["language"][:3] = "rare"
    table = measure(**world, replicates=100)
    assert not any("rare" in group for group in table.crossings["group"])
    assert all("rare" not in str(check.to_json()) for check in answers(table))


def test_without_two_attributes_nothing_crosses_and_without_a_label_nothing_is_shown():
    world = people(5000)
    one = measure(**{**world, "groups": {"sex": world["groups"]["sex"]}}, replicates=50)
    assert [(check.state, check.group) for check in answers(one)] == [("pass", None)]
    blind = measure(**{**world, "label": None}, replicates=50)
    assert [(check.state, check.needs) for check in answers(blind)] == [("not_testable", "AT-07")]
    uncounted = measure(**world, crossings=[], replicates=50)
    assert [check.state for check in answers(uncounted)] == ["error"]


def test_discoveries_never_grow_with_a_stricter_rate():
    table = measure(**city(60_000, seed=2, unseen=0.4), replicates=300)
    strict, loose = (discoveries(table, rate) for rate in (0.01, 0.2))
    assert strict.one <= loose.one and strict.both <= loose.both
    assert loose.both <= loose.one
    assert all(table.get(*place, "missed_residents", AT_AUDIT).value >= 5 for place in loose.one)


def districts(drop, *, n=20_000, ages=6, probability=False, seed=1):
    """Eight districts by ages; of people of d0 and a0 the scores are put lower by ``drop``, and nobody else's."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 8, n), rng.integers(0, ages, n)
    skill = rng.normal(size=n)
    chance = 1 / (1 + np.exp(-(1.8 * skill - 1.2)))
    return {
        "label": (rng.random(n) < chance).astype(float),
        "groups": {"district": np.char.add("d", a.astype(str)), "age": np.char.add("a", b.astype(str))},
        "score": np.where((a == 0) & (b == 0), skill - drop, skill),
        "probability": chance if probability else None,
        "cuts": Cuts(200, 6000),
    }


@pytest.mark.parametrize("probability", [False, True])
def test_a_crossing_of_which_nobody_is_found_never_passes(probability):
    table = measure(**districts(8.0, probability=probability), replicates=300)
    place = "district × age", "d0 × a0"
    own, pooled = (table.get(*place, name, AT_AUDIT) for name in ("recall_ratio", "recall_ratio" + SHRUNK))
    assert own.people == 0 and own.n > 100
    assert pooled.value < 0.4 and pooled.p_harm > 0.99
    (told,) = [check for check in answers(table) if check.group == "district × age=d0 × a0"]
    assert (told.state, told.needs) == ("needs_attestation", "AT-06")


@pytest.mark.parametrize("drop", [0.8, 1.2, 2.0])
def test_one_harmed_crossing_among_many_is_found_alone(drop):
    table = measure(**districts(drop), replicates=300)
    assert table.crossings.filter(kind="tested").height == 48
    assert discoveries(table, 0.05).one == {("district × age", "d0 × a0")}
    (told,) = [check for check in answers(table) if "d0 × a0" in str(check.group)]
    assert told.state == "needs_attestation"


def test_tails_are_those_of_the_counts():
    from scipy.stats import binom, poisson

    table = measure(**districts(1.2, probability=True), replicates=100)
    place = "district × age", "d0 × a0"
    recall, everyone = table.get(*place, "recall", AT_AUDIT), table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
    assert _recall_tail(table, place) == pytest.approx(binom.cdf(recall.people, recall.n, 0.8 * everyone.value))
    need = table.get(*place, "observed_to_expected", NO_CUT)
    assert _need_tail(table, place) == pytest.approx(poisson.sf(need.n - 1, 1.25 * need.n / need.value))


def test_an_alarm_of_a_crossings_own_numbers_leaves_it_open_by_name(monkeypatch):
    from ethics.crossing_checks import Discovered

    monkeypatch.setattr("ethics.crossing_checks.discoveries", lambda *_: Discovered(set(), set()))
    found = []
    for seed in range(3):
        table = measure(**districts(0.4, seed=seed), replicates=300)
        alarmed = {
            f"{row['attribute']}={row['group']}"
            for row in table.crossings.filter(kind="tested").iter_rows(named=True)
            if table.get(row["attribute"], row["group"], "recall_ratio", AT_AUDIT).p_harm >= 0.95
        }
        told = {check.group: check for check in answers(table) if "=" in str(check.group)}
        passed = [check.facts for check in answers(table) if check.state == "pass"]
        for group in alarmed:
            assert group in told or not any(group.split("=")[1] in str(facts) for facts in passed)
            found.append(told[group].facts["case"] if group in told else "inconclusive")
    assert "own_alarm" in found


def test_need_at_the_same_score_blocks_by_its_own_number_and_words():
    world = districts(0.0, n=40_000, ages=3)
    rng = np.random.default_rng(2)
    hidden = (world["groups"]["district"] == "d0") & (world["groups"]["age"] == "a0")
    chance = np.where(hidden, 0.5, 0.15)
    world["indicators"] = {name: rng.random(40_000) < chance for name in ("care", "welfare")}
    (told,) = [check for check in answers(measure(**world, replicates=300)) if check.state == "block"]
    assert (told.group, told.facts["case"]) == ("district × age=d0 × a0", "block_by_need")
    assert told.statistic == "need_at_score_pooled"
    assert told.value > told.low > told.threshold == 1.25


def test_a_small_table_has_crossings_too_small_to_test_and_no_error():
    n = 40
    groups = {"a": [str(i % 5) for i in range(n)], "b": [str(i // 8) for i in range(n)]}
    table = measure(
        label=np.arange(n) % 2, groups=groups, score=-np.arange(n), cuts=Cuts(3, 10), replicates=50
    )  # fmt: skip
    assert [(check.state, check.facts["case"]) for check in answers(table)] == [("warn", "too_few")]
    assert table.crossings_left_out == ()
    again = tabulate(table.cells, table.cuts, seed=0, replicates=50, thresholds=table.thresholds)
    assert again.crossings.equals(table.crossings)


def test_a_pair_of_more_groups_than_are_tested_is_not_testable_by_name():
    n, levels = 70_000, 26
    rng = np.random.default_rng(0)
    a, b = np.arange(n) % levels, (np.arange(n) // levels) % levels
    label = (rng.random(n) < 0.5).astype(float)
    groups = {"street": np.char.add("s", a.astype(str)), "year": np.char.add("y", b.astype(str))}
    table = measure(label=label, groups=groups, score=label + rng.normal(size=n), cuts=Cuts(300, 20_000), replicates=20)
    (told,) = answers(table)
    assert (told.state, told.needs, told.group) == ("not_testable", "AT-07", "street × year")
    assert told.facts["case"] == "left_out"


def test_a_crossing_and_a_group_without_any_need_are_not_testable_and_no_error():
    world = districts(0.0, probability=False)
    nobody = world["groups"]["age"] == "a0"
    world["label"][nobody] = 0.0
    table = measure(**world, replicates=100)
    told = {check.group: check for check in answers(table, "C401")}
    assert (told["age=a0"].state, told["age=a0"].needs) == ("not_testable", "AT-07")
    assert told["age=a0"].facts["case"] == "no_need"
    assert "error" not in {check.state for id in ("C401", "C402", "C403") for check in answers(table, id)}
    both = nobody & (world["groups"]["district"] == "d1")
    world = districts(0.0, probability=True)
    world["label"][both] = 0.0
    table = measure(**world, replicates=100)
    assert "error" not in {check.state for id in ("C401", "C402", "C403") for check in answers(table, id)}


def test_the_pooled_group_is_measured_and_never_shrunk():
    table = measure(**city(20_000), replicates=50)
    pooled = table.crossings.filter(kind="pooled")
    assert pooled.height
    place = pooled["attribute"][0], POOLED
    assert table.get(*place, "recall_ratio", AT_AUDIT).value > 0
    assert math.isnan(table.get(*place, "recall_ratio" + SHRUNK, AT_AUDIT).value)


# What a score means (C405), why residents are missed (M4), where they stand (M10)


def test_slope_intercept_and_error_are_those_of_the_world():
    world = people(60_000, seed=3, small=0.0)
    odds = np.log(world["probability"] / (1 - world["probability"]))
    world["probability"] = 1 / (1 + np.exp(-(odds * 0.5 - 1.0)))  # true log odds = 2 × these + 2
    table = measure(**world, replicates=200)
    for group in ("f", "m"):
        slope = table.get("sex", group, "calibration_slope")
        assert slope.low < 2.0 < slope.high
        assert slope.high - slope.low < 0.3
    found = {(check.state, check.facts.get("case")) for check in answers(table, "C405")}
    assert {("warn", "slope"), ("warn", "error")} <= found
    world["probability"] = people(60_000, seed=3, small=0.0)["probability"] * 0.7
    found = {check.facts.get("case") for check in answers(measure(**world, replicates=200), "C405")}
    assert "drift" in found


def test_a_slope_of_which_nothing_is_shown_is_no_pass():
    table = measure(**people(6000, seed=3, small=0.0), design_effect=12.0, replicates=200)
    (check,) = [check for check in answers(table, "C405") if check.facts["case"] == "not_shown"]
    assert check.state == "warn" and check.value is None and "language=" in check.facts["names"]
    assert "pass" not in {check.state for check in answers(table, "C405")}


def test_one_attribute_is_said_not_to_have_been_crossed():
    world = people(6000, small=0.0)
    (check,) = answers(measure(**{**world, "groups": {"sex": world["groups"]["sex"]}}, replicates=200))
    assert (check.state, check.facts["case"]) == ("pass", "one_attribute")


def test_a_slope_agrees_with_logistic_regression_on_rows():
    from sklearn.linear_model import LogisticRegression

    world = people(8000, seed=4)
    table = measure(**world, replicates=50)
    of = world["groups"]["sex"] == "f"
    odds = np.log(world["probability"] / (1 - world["probability"]))[of, None]
    rows = LogisticRegression(C=np.inf, tol=1e-10).fit(odds, world["label"][of])
    assert table.get("sex", "f", "calibration_slope").value == pytest.approx(rows.coef_[0, 0], rel=0.01)


def test_calibrated_scores_do_not_alarm_and_their_errors_bounds_take_the_bias_off():
    lows = []
    for seed in range(6):
        table = measure(**people(12_000, seed=seed, small=0.0), replicates=200)
        # Of the few Swedish speakers the slope is not shown either way; nothing is proved against anybody.
        assert {check.facts["case"] for check in answers(table, "C405")} <= {"pass", "not_shown"}
        lows += [table.get("language", group, "calibration_error").low for group in ("fi", "sv", "other")]
        assert table.get("language", "sv", "calibration_error").value > 0
    assert np.mean(np.array(lows) == 0) > 0.5
    assert [check.state for check in answers(table, "C405", evidence(kind="rule"))] == ["pass"]


def test_missed_residents_are_those_of_base_rates_and_those_of_the_model():
    table = measure(**people(60_000, seed=2, shift=1.2, small=0.0), replicates=200)
    for group in ("fi", "other"):
        parts = [
            table.get("language", group, name, AT_AUDIT)
            for name in ("missed_residents", "missed_by_base_rate", "missed_by_model")
        ]
        assert parts[0].value == pytest.approx(parts[1].value + parts[2].value, abs=1e-9)
    whole, by_rate, by_model = (
        table.get("language", "fi", name, AT_AUDIT)
        for name in ("missed_residents", "missed_by_base_rate", "missed_by_model")
    )
    assert by_rate.low > 0.6 * whole.value  # a calibrated model: base rates explain it
    assert by_model.low < 0 < by_model.high
    unseen = measure(**people(60_000, seed=2, drop_label=0.5, small=0.0), replicates=200)
    assert unseen.get("language", "other", "missed_by_model", AT_AUDIT).low > 0


def test_ten_people_decomposed_and_placed_by_hand():
    table = measure(
        label=[1, 1, 0, 1, 1, 0, 0, 0, 0, 1],
        groups={"g": list("ab" * 5)},
        score=np.arange(10, 0, -1),
        probability=[0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2],
        cuts=Cuts(3, 4),
        replicates=50,
    )
    # Calibrated in its group, each expects what it shows: a 2 of its five, b 3, so b fills the cut first.
    a, b = (table.get("g", group, "expected_recall", AT_AUDIT).value for group in "ab")
    everyone = table.get(EVERYONE, EVERYONE, "expected_recall", AT_AUDIT).value
    assert (2 * a + 3 * b) / 5 == pytest.approx(everyone)
    assert a <= everyone <= b
    parts = [table.get("g", "a", f"missed_by_{name}", AT_AUDIT).value for name in ("base_rate", "model")]
    assert parts[0] == pytest.approx(2 * (everyone - a))
    assert sum(parts) == pytest.approx(2 * (3 / 5 - 1 / 2))
    # Above k stand a, b, a at ranks 1, 2, 3.
    gain = [1 / math.log2(1 + rank) for rank in (1, 2, 3)]
    assert table.get("g", "a", "mean_rank", AT_K).value == pytest.approx((0.5 + 2.5) / 2 / 3)
    assert table.get("g", "b", "mean_rank", AT_K).value == pytest.approx(1.5 / 3)
    assert table.get("g", "b", "exposure_ratio", AT_K).value == pytest.approx(gain[1] / (sum(gain) / 3))


def test_exposure_bounds_hold_for_lists_drawn_by_lot():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(30):
        groups = rng.permutation(["a"] * 60 + ["b"] * 240)
        table = measure(
            label=rng.random(300) < 0.5, groups={"g": groups}, score=-np.arange(300), cuts=Cuts(100, 150), replicates=20
        )
        part = table.get("g", "a", "exposure_ratio", AT_K)
        covered += part.low <= 1.0 <= part.high
    assert 20 <= covered <= 30  # 90 % of 30, four standard deviations below


# Power


def test_periods_to_pool_say_when_a_fair_group_would_be_shown():
    small, large = (measure(**people(n, seed=3, small=0.002), replicates=50) for n in (8000, 60_000))
    few, many = (table.groups.filter(group="sv").row(0, named=True) for table in (small, large))
    assert few["periods_to_pool"] > many["periods_to_pool"] >= 1
    assert all(
        (row["periods_to_pool"] == 1) == (row["fair_pass_share"] >= 0.8)
        for row in small.groups.filter(pl.col("testable")).iter_rows(named=True)
    )
    assert small.groups.filter(group="rare").row(0, named=True)["never_testable"]
    found = {check.group: check for check in answers(small, "C401")}
    assert found["language=rare"].facts.get("never_testable") == "yes"
    assert all(check.facts["periods_to_pool"] > 1 for check in found.values() if check.state == "inconclusive")


# Groups of whose people nobody's label is known


@pytest.mark.parametrize("probability", [True, False])
def test_a_group_of_whose_people_no_label_is_known_stays_and_is_not_testable(probability):
    world = people(6000, seed=2, small=0.0)
    lost = np.asarray(world["groups"]["language"]) == "other"
    world["label"] = np.where(lost, np.nan, world["label"])
    world["probability"] = world["probability"] if probability else None
    table = measure(**world, replicates=100)
    assert table.unlabelled == (("language", "other"),)
    for id, needs in (("C401", "AT-07"), ("C403", "AT-05")):
        (told,) = [check for check in answers(table, id) if check.group == "language=other"]
        assert (told.state, told.needs) == ("not_testable", needs), id
    assert not any(check.state == "error" for id in ("C401", "C402", "C403", "C405") for check in answers(table, id))
    assert "other" not in set(table.crossings["group"])
    cells = cells_from_bytes(table.cells_bytes)
    again = tabulate(cells, table.cuts, seed=0, replicates=100, thresholds=table.thresholds)
    assert again.unlabelled == table.unlabelled
    assert again.table.equals(table.table)


def test_a_group_of_whose_people_no_label_is_known_stands_in_the_report():
    world = people(6000, seed=2, small=0.0)
    lost = np.asarray(world["groups"]["language"]) == "other"
    world["label"] = np.where(lost, np.nan, world["label"])
    table = measure(**world, replicates=100)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    assert verdict.state != "PASS"
    assert statistics_faults(verdict, table.cells) == []
    html = render_report(verdict, table.cells, language="en")
    assert "Of nobody in the group is it known whether need appeared" in html


def test_what_may_be_shown_decides_no_crossing():
    rng = np.random.default_rng(3)
    n = 8000
    small = np.arange(n) < 160
    language = np.where(small, np.char.add("l", (np.arange(n) % 8).astype(str)), "fi")
    label = np.where(small, rng.random(n) < 0.4, rng.random(n) < 0.2)
    score = np.where(small, -5.0, label + rng.normal(0, 1, n))  # nobody of the small groups is found
    groups = {"language": language, "sex": rng.choice(["f", "m"], n)}
    table = measure(label=label.astype(float), groups=groups, score=score, cuts=Cuts(100, 1500), replicates=200)
    pooled = [check for check in answers(table) if check.facts["case"] == "pooled"]
    assert [(check.state, check.facts["missed"] > 0) for check in pooled] == [("warn", True)]
    hiding = POLICY.model_copy(update={"min_persons_shown": 10**6})
    hidden = BUILT["C402"].run(PASSING, Context(hiding, NOW, table))
    assert [(check.state, check.facts) for check in hidden if check.facts["case"] == "pooled"] == [
        ("warn", {"case": "pooled"})
    ]
    assert {check.value for check in hidden if check.facts["case"] == "pooled"} == {None}
