"""What a printed rate rests on is declared in one table, and truly: worked out from the cells, not from the table."""

import json
from itertools import permutations
from math import isclose, isfinite

import numpy as np
import pytest
from ethics_cases import NOW, PASSING, POLICY, fair_table

from ethics import judge
from ethics.fairness import AT_AUDIT, AT_K, EVERYONE
from ethics.published_figures import _about, is_loose
from ethics.rate_counts import FAIR_PASS, POWER, counts_behind
from ethics.report import render_all
from ethics.report_figures import GROUPS, Column, Figures
from ethics.rounding import bounds_read, rounded

WORLDS = ({"seed": 11, "n": 8000}, {"seed": 12, "n": 8000, "small": 0.01})
COLUMNS = ("n", "need", "selected_k_audit", "selected_k", "found_k_audit", "found_k", "missed_k_audit", "missed_k")
COLUMNS += ("below_k_audit", "below_k")


@pytest.fixture(scope="module")
def figures():
    return [Figures(fair_table(**world), 1) for world in WORLDS]


def truly_behind(figures, rate):
    """Pairs of counts of which a rate is the quotient, or that over everyone's, in every group of all worlds."""
    found = None
    for one in figures:
        for (kind, attribute), table in one.counts.items():
            if kind != GROUPS or attribute not in one.table.attributes:
                continue
            measure, _, cut = rate.partition("@")
            values = [one.table.get(attribute, group, measure, cut).value for group in table.groups]
            here = set()
            for top, under in permutations([name for name in COLUMNS if name in table.counts], 2):
                all_top, all_under = sum(table.counts[top]), sum(table.counts[under])
                plain = [a / b if b else np.nan for a, b in zip(table.counts[top], table.counts[under], strict=True)]
                for scale in (1.0, all_under / all_top if all_top else np.nan):
                    pairs = [
                        (x * scale, value)
                        for x, value in zip(plain, values, strict=True)
                        if isfinite(x) and isfinite(value)
                    ]
                    if pairs and all(isclose(x, value, rel_tol=1e-6, abs_tol=1e-9) for x, value in pairs):
                        here.add((top, under))
            found = here if found is None else found & here
    return found


AT_EITHER = ("recall", "recall_ratio", "precision", "false_omission_rate")
PRINTED = [f"selection_rate@{AT_AUDIT}", *(f"{measure}@{cut}" for measure in AT_EITHER for cut in (AT_AUDIT, AT_K))]


@pytest.mark.parametrize("rate", PRINTED)
def test_a_rate_rests_on_the_counts_it_is_declared_to_rest_on(figures, rate):
    assert truly_behind(figures, rate) == {counts_behind(rate)}
    for one in figures:
        for attribute in one.table.attributes:
            assert one.counts[GROUPS, attribute].rates[rate] == counts_behind(rate)


def test_every_printed_column_is_declared(figures):
    for one in figures:
        for attribute in one.table.attributes:
            table = one.counts[GROUPS, attribute]
            for column in (column for part in one.columns() for column in part if column.cut):
                assert table.rates[column.key] == counts_behind(column.key)
            assert {POWER, FAIR_PASS} <= table.rates.keys()
            assert all(set(columns) <= table.counts.keys() for columns in table.rates.values())
    with pytest.raises(KeyError):
        counts_behind("share_of_the_undeclared@k")


def test_calibration_times_what_was_expected_is_need(figures):
    # what was expected is a sum of probabilities, which no count tells: need is the one count behind it
    seen = 0
    for one in figures:
        expected = {(row["attribute"], row["group"]): row["expected"] for row in one.table.groups.iter_rows(named=True)}
        for attribute in one.table.attributes:
            table = one.counts[GROUPS, attribute]
            scales = set()
            for group, need in zip(table.groups, table.counts["need"], strict=True):
                value = one.table.get(attribute, group, "observed_to_expected", "none").value
                if need and isfinite(value):
                    scales.add(round(value * expected[attribute, group] / need, 6))
            assert len(scales) <= 1
            seen += len(table.groups) * len(scales)
    assert seen > 6 and counts_behind("observed_to_expected@none") == ("need",)


def test_the_share_above_the_cut_goes_with_who_is_above_it():
    table = fair_table(small=0.002, seed=4, n=20_000)
    told = Figures(table, 10)
    seen = 0
    for attribute in table.attributes:
        counts = told.counts[GROUPS, attribute]
        for group in counts.groups:
            if min(counts.counts["selected_k_audit"][counts.groups.index(group)], 10) < 10:
                seen += 1
                assert told.estimate(attribute, group, Column("selection_rate", AT_AUDIT)) is None
    assert seen


def test_fair_worlds_know_nothing_of_a_groups_own_need():
    # the same people, whose needs are dealt to other groups: how often a fair world passes stays
    from ethics.power import power

    shares = []
    for expected in ((60.0, 500.0), (200.0, 360.0)):
        answer = power(
            np.array([0, 0]),
            np.array([900.0, 5000.0]),
            np.array(expected),
            np.array([True, True]),
            recall=0.5,
            cut_share=0.13,
            min_recall=0.8,
            max_oe=1.25,
            with_probability=True,
            design_effect=1.0,
            seed=3,
        )
        shares.append(answer.fair_pass.tolist())
        gaps = answer.recall_gap.tolist()
    assert shares[0] == shares[1] and len(set(gaps)) == 2


# How finely a ratio is written, and read


def test_no_file_is_finer_than_the_attacker_takes_it_to_be():
    table = fair_table(seed=6)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    told = Figures(table, 5)
    rows = [*_rows(json.loads(render_all(verdict, table.cells)["report.json"]))]
    seen = 0
    for row in rows:
        attribute, group = row.get("attribute"), row.get("group")
        for key, cell in row["cells"].items():
            if (attribute, group) and is_loose(key) and key.startswith("recall_ratio@") and _is_number(cell):
                if (GROUPS, attribute) not in told.counts or attribute not in table.attributes:
                    continue
                seen += 1
                counts = told.counts[GROUPS, attribute]
                value = table.get(attribute, group, "recall_ratio", key.partition("@")[2]).value
                assert float(cell["value"]) == float(rounded(value))
                low, high = bounds_read(value)
                overall = table.get(EVERYONE, EVERYONE, "recall", key.partition("@")[2]).value
                place = counts.groups.index(group)
                figures = [*_about(counts, place, group, counts.rates[key], is_people=False)][2:]
                factors = sorted(-figure.terms[1][1] for figure in figures)
                assert factors == pytest.approx([low * overall, high * overall])
                assert high - low >= 0.0099
    assert seen > 4


def _is_number(cell):
    return isinstance(cell, dict) and "value" in cell and "text" not in cell


def _rows(content):
    if isinstance(content, list):
        for part in content:
            yield from _rows(part)
    elif isinstance(content, dict):
        yield from content.get("rows", ())
        for part in content.values():
            yield from _rows(part)
