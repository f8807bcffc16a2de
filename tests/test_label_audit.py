"""Whose label is known, what made it, and whom another label would list: planted truth and naive counts."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from conftest import write_city
from ethics_cases import NOW, PASSING, POLICY, shift_row
from test_training import made_matrix, made_need

from ethics import Cuts, GroupRegister
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.label_audit import FROM_CONTACT, LABEL, VALUE
from features.city import open_city
from features.label import label_values, produced_by_contacts
from features.spec import LabelSpec
from features.spec_base import SpecError
from models.label_choice import rank_by_indicators

SIGNS = ("one", "two")


def found(id, **changes):
    return BUILT[id].run(replace(PASSING, **changes), Context(POLICY, NOW))


def of_group(checks, group):
    return next(check for check in checks if check.group == group)


def world(n=12_000, seed=0, *, barrier=0.0, less_need=0.0):
    """Need drives two indicators and cost; ``barrier`` keeps the group "other" from care it needs, so that it costs
    little; ``less_need`` makes its need, and so its indicators, smaller in truth.
    """
    rng = np.random.default_rng(seed)
    other = rng.random(n) < 0.2
    need = rng.normal(0, 1, n) - less_need * other
    seen = need - barrier * other
    rows = pl.DataFrame(
        {
            "person_id": [f"r{i}" for i in range(n)],
            "rank_score": seen,
            "tie_key": [f"{i:06x}" for i in rng.permutation(n)],
            "probability": 1 / (1 + np.exp(1.5 - seen)),
            "label": (rng.random(n) < 1 / (1 + np.exp(1.5 - seen))).astype(float),
            **{f"indicator:{name}": rng.random(n) < 1 / (1 + np.exp(1.5 - need)) for name in SIGNS},
            **{f"by:{name}": need + rng.normal(0, 0.3, n) for name in SIGNS},
            "household": [f"h{i // 2}" for i in range(n)],
        }
    )
    groups = pl.DataFrame({"person_id": rows["person_id"], "language": np.where(other, "other", "fi")})
    return rows, GroupRegister(groups, "groups")


def examine(rows, register, kind="need", k=1600, **options):
    return register.examine(rows, None, Cuts(60, k), POLICY, seed=1, kind=kind, **options)


# Who is listed under another label


def test_a_cost_label_that_passes_over_a_group_blocks_and_one_that_follows_need_does_not():
    harmed = examine(*world(barrier=1.5), kind="spending")
    check = of_group(found("C414", **harmed), "language=other")
    assert (check.state, check.facts) == ("block", {"indicators": "one, two"})
    assert check.high < POLICY.thresholds.min_recall_ratio
    assert {check.state for check in found("C414", **examine(*world(), kind="spending"))} == {"pass"}
    justified = examine(*world(less_need=1.0), kind="spending")  # so few are listed that little can be shown
    assert {check.state for check in found("C414", **justified)} <= {"pass", "inconclusive"}


def test_the_same_shift_of_a_need_label_asks_a_professional():
    harmed = examine(*world(barrier=1.5))
    check = of_group(found("C414", **harmed), "language=other")
    assert (check.state, check.needs) == ("needs_attestation", "AT-05")
    assert of_group(found("C414", **harmed), "language=fi").state == "pass"


def test_of_forty_justified_worlds_none_blocks_and_of_forty_harmed_ones_nearly_all_do():
    blocks = {"justified": 0, "harmed": 0}
    for seed in range(40):
        for truth, planted in (("justified", {"less_need": 0.5}), ("harmed", {"barrier": 1.5})):
            rows, register = world(8000, seed=seed, **planted)
            tables = examine(rows.drop("household"), register, kind="spending", k=1100)
            blocks[truth] += any(check.state == "block" for check in found("C414", **tables))
    # Exact (Clopper-Pearson) one-sided 95 % bounds: at most 7.2 % of justified worlds, at least 88 % of harmed ones.
    assert blocks["justified"] == 0
    assert blocks["harmed"] >= 39


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_where_those_who_come_instead_have_no_sign_of_need_at_all_the_shift_alarms_as_where_few_have(share):
    rows, register = world(barrier=1.5)
    other = register._frame["language"].to_numpy() == "other"
    kept = other | (np.random.default_rng(3).random(rows.height) < share)
    rows = rows.with_columns(pl.col(f"indicator:{name}") & pl.Series(kept) for name in SIGNS)
    for kind, state in (("spending", "block"), ("need", "needs_attestation")):
        assert of_group(found("C414", **examine(rows, register, kind=kind)), "language=other").state == state


def test_nobody_with_a_sign_of_need_proves_nothing():
    rows, register = world(barrier=1.5)
    rows = rows.with_columns(pl.lit(False).alias(f"indicator:{name}") for name in SIGNS)
    checks = found("C414", **examine(rows, register, kind="spending"))
    assert "block" not in {check.state for check in checks}


def test_shares_of_lists_are_counted_by_hand():
    rows, register = world(barrier=1.5)
    choice = examine(rows, register)["label_choice"]
    groups = register._frame["language"].to_numpy()
    for label, column in {LABEL: "rank_score", "one": "by:one"}.items():
        listed = rows.with_row_index().sort([column, "tie_key"], descending=[True, False])["index"][:1600].to_numpy()
        n = int((groups[listed] == "other").sum())
        (row,) = [r for r in choice["lists"] if (r["label"], r["group"]) == (label, "language=other")]
        assert (row["n"], row["share"]) == (n, n / 1600)


def test_the_interval_is_that_of_a_bootstrap_of_persons_that_cuts_again():
    rows, register = world(3000, barrier=0.6)
    rows = rows.drop("household")
    row = next(
        r
        for r in examine(rows, register, k=450)["label_choice"]["shifts"]
        if (r["group"], r["indicator"]) == ("language=other", "one")
    )
    other = register._frame["language"].to_numpy() == "other"
    by_label, by_one = rows["rank_score"].to_numpy(), rows["by:one"].to_numpy()
    rng, drawn = np.random.default_rng(1), []
    for _ in range(400):
        some = rng.integers(0, 3000, 3000)
        ours = other[some[np.argsort(-by_label[some])[:450]]].sum()
        drawn.append(np.log(ours / other[some[np.argsort(-by_one[some])[:450]]].sum()))
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert np.log(row["high"] / row["low"]) == pytest.approx(high - low, rel=0.12)


def test_the_outcome_held_by_the_first_tenth_is_counted_by_hand():
    rows, register = world(1000)
    rows = rows.with_columns(pl.Series(VALUE, np.arange(1000.0)))
    table = examine(rows, register, k=100)["label_choice"]["concentration"]
    first = rows.sort("rank_score", descending=True).head(100)
    held = {row["outcome"]: row["share"] for row in table if (row["label"], row["top"]) == (LABEL, 10)}
    assert held["label"] == pytest.approx(first["label"].sum() / rows["label"].sum())
    assert held["one"] == pytest.approx(first["indicator:one"].sum() / rows["indicator:one"].sum())
    assert held["value"] == pytest.approx(first[VALUE].sum() / rows[VALUE].sum())
    assert {(row["label"], row["top"]) for row in table} == {(n, t) for n in (LABEL, *SIGNS) for t in (1, 5, 10)}


@pytest.mark.parametrize(
    ("kind", "alarms", "state"),
    [
        ("need", 0, "pass"),
        ("need", 1, "warn"),
        ("need", 2, "needs_attestation"),
        ("use", 0, "pass"),
        ("use", 1, "needs_attestation"),
        ("use", 2, "block"),
        ("spending", 2, "block"),
    ],
)
def test_use_and_spending_are_judged_harder_than_need(kind, alarms, state):
    shifts = [shift_row(name, *((0.5, 1.0) if i < alarms else ())) for i, name in enumerate(SIGNS)]
    (check,) = found("C414", label_choice={"kind": kind, "compared": SIGNS, "shifts": shifts})
    assert check.state == state
    assert check.facts == ({"indicators": ", ".join(SIGNS[:alarms])} if alarms else {})


def test_a_shift_to_those_with_more_need_is_no_alarm_and_spending_must_clear_itself():
    shifts = [shift_row(name, 0.5, 0.7) for name in SIGNS]
    for kind, state in (("need", "pass"), ("spending", "pass")):
        assert found("C414", label_choice={"kind": kind, "compared": SIGNS, "shifts": shifts})[0].state == state
    unclear = [{**shift_row(name, 0.5, 1.0), "need_low": 0.7} for name in SIGNS]  # as much need, not shown
    (check,) = found("C414", label_choice={"kind": "spending", "compared": SIGNS, "shifts": unclear})
    assert (check.state, check.needs) == ("inconclusive", "AT-05")


def test_too_few_indicators_or_people_are_not_testable():
    (check,) = found("C414", label_choice={"kind": "need", "compared": SIGNS[:1], "shifts": [shift_row("one")]})
    assert (check.state, check.needs, check.group) == ("not_testable", "AT-05", None)
    few = [shift_row(name, compared=False) for name in SIGNS]
    for kind, state in (("need", "warn"), ("spending", "not_testable")):
        (check,) = found("C414", label_choice={"kind": kind, "compared": SIGNS, "shifts": few})
        assert (check.state, check.facts, check.value) == (state, {"case": "not_testable"}, None)


def test_an_alarm_about_the_label_is_one_however_many_indicators_a_policy_wants():
    many = POLICY.model_copy(update={"thresholds": POLICY.thresholds.model_copy(update={"min_indicators": 9})})
    for n, state in ((2, "block"), (1, "needs_attestation")):
        table = {"kind": "spending", "compared": SIGNS[:n], "shifts": [shift_row(name, 0.5, 1.0) for name in SIGNS[:n]]}
        checks = BUILT["C414"].run(replace(PASSING, label_choice=table), Context(many, NOW))
        assert of_group(checks, "language=other").state == state
        assert of_group(checks, None).state == "not_testable"


def test_lists_of_a_handful_are_not_told():
    rows, register = world(2000, barrier=3.0)
    choice = examine(rows, register, k=60)["label_choice"]
    (row,) = [r for r in choice["lists"] if (r["label"], r["group"]) == (LABEL, "language=other")]
    assert (row["n"], row["share"]) == (None, None)


# Whose label is known, and what made it


def test_a_group_whose_labels_are_not_known_is_asked_about():
    rows, register = world()
    other = register._frame["language"] == "other"
    hidden = rows.with_columns(label=pl.when(other & (pl.int_range(pl.len()) % 2 == 0)).then(None).otherwise("label"))
    tables = examine(hidden, register)
    row = next(row for row in tables["observability"]["groups"] if row["group"] == "language=other")
    known = hidden["label"].is_not_null()
    assert row["value"] == pytest.approx(known.filter(other).mean() / known.mean())
    check = of_group(found("C406", **tables), "language=other")
    assert (check.state, check.needs) == ("needs_attestation", "AT-05")
    assert of_group(found("C406", **tables), "language=fi").state == "pass"


def test_labels_that_contacts_made():
    rows, register = world()
    none = examine(rows, register)["observability"]
    assert none["from_contacts"] is None
    (check,) = [c for c in found("C406", observability=none) if c.statistic == "labels_from_contacts"]
    assert (check.state, check.needs, check.value) == ("not_testable", "AT-05", None)
    assert check.facts == {"declared": "no", "case": "undeclared"}
    assert found("C406", observability={**none, "labels": 0, "declared": True})[-1].state == "error"
    positive = rows["label"] == 1
    for share, state in ((0.2, "pass"), (0.8, "needs_attestation"), (0.5, "inconclusive")):
        made = positive & (pl.Series(np.random.default_rng(0).random(rows.height)) < share)
        tables = examine(rows.with_columns(made.alias(FROM_CONTACT)), register)
        assert tables["observability"]["from_contacts"]["value"] == pytest.approx(made.sum() / positive.sum())
        (check,) = [c for c in found("C406", **tables) if c.statistic == "labels_from_contacts"]
        assert check.state == state
        assert check.facts["declared"] == "yes"


def test_one_unknown_label_counts_as_five():
    rows, register = world(600)
    rows = rows.with_columns(label=pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise("label"))
    group = register._frame["language"][0]
    row = next(r for r in examine(rows, register)["observability"]["groups"] if r["group"] == f"language={group}")
    n = (register._frame["language"] == group).sum()
    assert row["value"] == pytest.approx((1 - 5 / n) / (599 / 600))


def test_a_rule_without_labels_is_not_asked():
    assert [c.facts for c in found("C406", kind="rule", observability={"labels": 0})] == [{"case": "rule"}]
    assert [c.facts for c in found("C414", kind="rule", label_choice=None)] == [{"case": "rule"}]


# At training


def label(**changes):
    return LabelSpec(**{"codes": ["outreach.*", "status.neet"], "horizon_days": 30, **changes})


def test_kinds_and_contact_codes_of_a_label():
    assert (label().kind, label().contact_codes) == ("need", None)
    assert label(measure="sum", at_least=1.0).kind == "spending"
    assert label(measure="sum", at_least=1.0, kind="use").kind == "use"
    with pytest.raises(SpecError, match="kind"):
        label(kind="wish")


def test_labels_produced_by_contacts_and_values_are_counted_by_hand(tmp_path):
    persons = [{"person_id": name, "birth_date": date(2000, 1, 1)} for name in ("anna", "bo", "cai")]
    events = [
        {"person_id": "anna", "event_date": date(2024, 1, 5), "code": "outreach.notified", "value": 2.0},
        {"person_id": "anna", "event_date": date(2024, 1, 9), "code": "status.neet", "value": 3.0},
        {"person_id": "bo", "event_date": date(2024, 1, 9), "code": "status.neet", "value": 4.0},
        {"person_id": "bo", "event_date": date(2024, 3, 9), "code": "outreach.notified", "value": 9.0},  # too late
        {"person_id": "cai", "event_date": date(2023, 1, 9), "code": "outreach.visited", "value": 1.0},
    ]
    city = open_city(write_city(tmp_path / "c", persons, events, toml="extract_date = 2024-12-31"))
    keys = pl.DataFrame({"person_id": ["anna", "bo", "cai"], "as_of_date": [date(2024, 1, 1)] * 3})
    assert produced_by_contacts(city, keys, label(contact_codes=["outreach.*"])).tolist() == [True, False, False]
    assert produced_by_contacts(city, keys, label(contact_codes=[])).tolist() == [False] * 3
    assert produced_by_contacts(city, keys, label()) is None
    assert label_values(city, keys, label(measure="sum", at_least=1.0)).tolist() == [5.0, 4.0, 0.0]
    assert label_values(city, keys, label()) is None


def test_each_indicator_ranks_by_what_foretells_it():
    need, training, judged = made_need(), made_matrix(), made_matrix(n=900, seed=7, days=(date(2024, 3, 1),))
    signs = {}
    for matrix in (training, judged):
        by = np.nan_to_num(matrix.X[:, 3])
        signs[id(matrix)] = {"foretold": by > np.median(by), "never": np.zeros(len(by), dtype=bool)}
    training, judged = (replace(m, indicators=signs[id(m)]) for m in (training, judged))
    ranked = rank_by_indicators(need, training, judged, seed=1)
    assert list(ranked) == ["by:foretold"]
    score, hit = ranked["by:foretold"], judged.indicators["foretold"]
    assert score[hit].min() > np.quantile(score[~hit], 0.9)
    again = rank_by_indicators(need, training, judged, seed=1)
    assert score.tobytes() == again["by:foretold"].tobytes()
    assert rank_by_indicators(need, replace(training, indicators={}), judged, seed=1) == {}
