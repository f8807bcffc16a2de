"""The rendered report against the attacker: what stands on the page, read off it, gives no withheld count away."""

import re
from dataclasses import replace

import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, fair_table, people

from ethics import judge, measure, render_report
from ethics.public_tables import published_tables
from ethics.published_figures import Figure, counts_of, figures_of, place_of, told_of_everyone
from ethics.report import figures_of as figures_shown
from ethics.report_figures import COUNTS, GROUPS, Figures
from ethics.suppression_attack import attack, attack_figures, targets_of
from ethics.withheld_numbers import without_withheld

WORLDS = ({"small": 0.002}, {"small": 0.0003, "drop_label": 0.45}, {"small": 0.006, "n": 9000})
EXACT = {"recall", "precision", "false_omission_rate", "selection_rate"}


@pytest.fixture(scope="module", params=WORLDS, ids=str)
def report(request):
    table = fair_table(**request.param)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    return verdict, table, render_report(verdict, table.cells), figures_shown(verdict, table.cells)


def group_tables(html, figures):
    """(attribute, group) → texts of its number cells, of the two tables by group; one left out tells nothing."""
    found = dict(re.findall(r'<table>\s*<caption id="t-([\w-]+)"(.*?)</table>', html, re.DOTALL))
    assert any(id.endswith("-audit") for id in found)
    for number, attribute in enumerate(figures.groups, 1):
        for columns, ending in zip(figures.columns()[:2], ("audit", "k"), strict=True):
            text = found.get(f"groups-{number}-{ending}")
            if text is None:
                continue
            rows = re.findall(r"<tr>(.*?)</tr>", text.split("<tbody>")[1], re.DOTALL)
            for row, part in zip(figures.groups[attribute], rows, strict=True):
                cells = re.findall(r'<td class="number"[^>]*>(.*?)</td>', part, re.DOTALL)
                yield from ((attribute, row["group"], *pair) for pair in zip(columns, cells, strict=True))


def read_off(html, figures):
    """The page's figures as constraints on people: counts as they stand, rates within half a unit of the last digit."""
    tables = [table for (name, _), table in figures.counts.items() if name == GROUPS]
    by_attribute = {table.attribute: table for table in tables}
    told = told_of_everyone(tables, counts_of(tables).people)
    for attribute, group, column, text in group_tables(html, figures):
        number = re.match(r"[\d,.]+", text)
        table = by_attribute[attribute]
        if number is None:
            continue
        value = float(number[0].replace(",", ""))
        if column.measure in COUNTS:
            told.append(Figure(((place_of(table, group, column.measure), 1.0),), value, value))
        elif column.measure in EXACT:
            some, of = (place_of(table, group, name) for name in table.rates[column.key])
            told.append(Figure(((some, 1.0), (of, -(value - 0.05) / 100)), 0.0, float("inf")))
            told.append(Figure(((some, 1.0), (of, -(value + 0.05) / 100)), float("-inf"), 0.0))
    return tables, told


def test_nothing_is_recovered_from_what_the_page_shows(report):
    _, table, html, figures = report
    tables, told = read_off(html, figures)
    counts, public = counts_of(tables), published_tables(table, POLICY.min_persons_public)
    assert len(told) > 30
    assert attack_figures(counts, told, targets_of(tables, counts, 5, earlier=public), 5) == []
    assert attack(list(figures.counts.values()), 5, earlier=public) == []


def test_what_the_page_shows_is_no_more_than_the_suppression_thinks(report):
    _, _, html, figures = report
    for attribute, group, column, text in group_tables(html, figures):
        hidden = figures.counts[GROUPS, attribute].is_hidden(column.key, group)
        assert hidden == ("withheld" in text)


def test_the_attacker_would_recover_a_count_that_the_page_told(report):
    _, table, html, figures = report
    tables, told = read_off(html, figures)
    rare = table.groups.filter(pl.col("group") == "rare").row(0, named=True)
    told.append(Figure(((("language", "rare", "need"), 1.0),), rare["need"], rare["need"]))
    counts = counts_of(tables)
    assert attack_figures(counts, told, targets_of(tables, counts, 5) | {("language", "rare", "need")}, 5)


def test_checks_and_records_tell_no_more_than_the_tables(report):
    verdict, _, html, figures = report
    counts = {name: table for (kind, name), table in figures.counts.items() if kind == GROUPS}
    told = without_withheld(verdict, counts)
    for check in told.checks:
        attribute, _, group = (check.group or "").partition("=")
        if attribute in counts and check.statistic == "recall_ratio_at_k_audit":
            assert check.value is None or not counts[attribute].is_hidden("recall_ratio@k_audit", group)
    for row in told.record["decomposition"]:
        hidden = counts[row["attribute"]].is_hidden(f"recall@{row['cut']}", row["group"])
        assert hidden == (row["recall"] == "withheld") or row["recall"] is None
    assert [check.state for check in told.checks] == [check.state for check in verdict.checks]
    assert verdict.verdict_id in html


def test_the_report_shows_figures_of_many_groups_and_keeps_the_decided_ratios():
    world = people(40_000)
    world["groups"]["district"] = [f"d{i * i % 17}" for i in range(40_000)]
    figures = Figures(measure(**world, seed=1, replicates=200), 5)
    for attribute in ("sex", "district"):
        table = figures.counts[GROUPS, attribute]
        assert not any(table.is_hidden("n", group) for group in table.groups)
        assert not any(table.is_hidden("recall_ratio@k_audit", group) for group in table.groups)


def test_a_check_about_a_group_keeps_its_words():
    table = fair_table(small=0.0003, drop_label=0.45)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    all_hidden = {
        name: replace(one, hidden=frozenset((rate, group) for rate in (*one.rates, *one.shown) for group in one.groups))
        for (kind, name), one in Figures(table, 5).counts.items()
        if kind == GROUPS
    }
    told = without_withheld(verdict, all_hidden)
    for before, after in zip(verdict.checks, told.checks, strict=True):
        assert (before.id, before.state, before.group, before.needs) == (
            after.id,
            after.state,
            after.group,
            after.needs,
        )
        if before.id == "C401":
            assert after.value is None
            assert "missed" not in after.facts
    assert figures_of(list(all_hidden.values()), counts_of(list(all_hidden.values())))  # everyone's are still told
