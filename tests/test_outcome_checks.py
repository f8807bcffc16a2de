"""What outcomes show later: bounds against simulation, each check in each of its cases, and what revokes."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from ethics_cases import NOW, POLICY

from ethics.count_bounds import rate_ratio, share_bounds
from ethics.outcome_checks import OUTCOME_CHECKS, OutcomeTables, judge_outcomes, revokes


def table(column, n=(1000, 400, 20), events=(100, 40, 1)):
    groups = ["fi", "sv", "other"]
    return pl.DataFrame({"attribute": ["language"] * 3, "group": groups, "n": n, column: events})


READ = {"list_id": "L1", "unit": "north", "role": "caseworker", "list_unit": "north", "logged": True}
FINE = OutcomeTables(
    objections=table("objecting"),
    uptake=table("taken_up"),
    complaints=(NOW - timedelta(days=30),),
    reads=(READ,),
    roles=("caseworker",),
    decisions=table("overridden"),
    in_rank_order=(60, 100),
    reviewer_load=(9.5, 10),
)


def asked(**changes):
    return judge_outcomes(replace(FINE, **changes), POLICY, NOW)


def cases(checks, id):
    return {check.facts.get("case", check.state) for check in checks if check.id == id}


def test_ordinary_outcomes_neither_warn_nor_revoke():
    checks = asked()
    assert {check.id for check in checks} == set(OUTCOME_CHECKS) == {"C104", "C413", "C503", "C706", "C803", "C804"}
    assert {check.state for check in checks} == {"pass", "not_testable"}
    assert {check.group for check in checks if check.state == "not_testable"} == {"language=other"}
    assert not revokes(checks)
    assert all(check.low is not None and check.high is not None for check in checks if check.group == "language=fi")


@pytest.mark.parametrize(
    ("id", "changes", "case"),
    [
        ("C104", {"objections": table("objecting", events=(50, 80, 1))}, "warn"),
        ("C104", {"objections": table("objecting", n=(1000, 400, 20), events=(20, 8, 12))}, "warn"),
        ("C413", {"uptake": table("taken_up", events=(500, 60, 9))}, "warn"),
        ("C503", {"complaints": (NOW - timedelta(days=31),)}, "warn"),
        ("C706", {"reads": (READ, {**READ, "unit": "east"})}, "block"),
        ("C706", {"reads": ({**READ, "role": "manager"},)}, "block"),
        ("C706", {"reads": ({**READ, "logged": False},)}, "block"),
        ("C706", {"reads": ({**READ, "logged": None},)}, "block"),
        ("C803", {"decisions": table("overridden", events=(0, 0, 0))}, "rubber_stamp"),
        ("C803", {"decisions": table("overridden", events=(300, 120, 6))}, "many"),
        ("C803", {"decisions": table("overridden", events=(40, 80, 1))}, "one_way"),
        ("C803", {"in_rank_order": (2000, 2000)}, "in_order"),
        ("C804", {"reviewer_load": (10.5, 10)}, "warn"),
    ],
)
def test_each_outcome_check_fires_for_its_own_fault_only(id, changes, case):
    checks = asked(**changes)
    assert case in cases(checks, id)
    alarmed = {check.id for check in checks if check.state not in ("pass", "not_testable")}
    assert alarmed == {id}
    assert revokes(checks) == (case == "block")
    assert cases(checks, id) <= {*OUTCOME_CHECKS[id].cases}


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        *((id, {name: None}) for id, name in (("C104", "objections"), ("C413", "uptake"), ("C503", "complaints"),
                                              ("C706", "reads"), ("C803", "decisions"), ("C804", "reviewer_load"))),
        ("C706", {"roles": ()}),
        ("C803", {"in_rank_order": None}),
        ("C803", {"in_rank_order": (3, 2)}),
        ("C803", {"decisions": table("overridden", n=(0, 0, 0), events=(0, 0, 0))}),
        ("C104", {"objections": table("objecting", events=(2000, 0, 0))}),
        ("C104", {"objections": table("objecting").head(0)}),
        ("C503", {"complaints": (NOW + timedelta(days=1),)}),
        ("C804", {"reviewer_load": (math.nan, 10)}),
    ],
)  # fmt: skip
def test_what_outcomes_do_not_tell_is_an_error_and_never_a_pass(id, changes):
    assert "error" in {check.state for check in asked(**changes) if check.id == id}


def test_a_moment_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        judge_outcomes(FINE, POLICY, NOW.replace(tzinfo=None))


def test_bounds_hold_as_often_as_they_say():
    rng = np.random.default_rng(0)
    above = below = share_low = share_high = 0
    for _ in range(2000):
        x, y = rng.binomial(400, 0.06), rng.binomial(2000, 0.06)
        found = rate_ratio(x, 400, y, 2000)
        above += found.low > 1
        below += found.high < 1
        low, high = share_bounds(int(x), 400)
        share_low += low > 0.06
        share_high += high < 0.06
    assert max(above, below, share_low, share_high) <= 2000 * 0.05 + 3 * math.sqrt(2000 * 0.05 * 0.95)


def test_a_ratio_of_nothing_is_not_told():
    assert math.isnan(rate_ratio(0, 10, 0, 20).value)
    assert rate_ratio(0, 10, 5, 20).low == 0
    assert rate_ratio(5, 10, 0, 20).high == math.inf
