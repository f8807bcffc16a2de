"""Who is missed, on page one of the report: in people where that may be told, and in words wherever it may not.

"Nobody" stands there only where every answer about groups is a pass and no figure is withheld: a group whose number is
too small to print, or of which nothing could be shown, is named instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ethics.fairness import AT_AUDIT, EVERYONE, FairnessTable
from ethics.report_document import Cell, Column, Row, Section, Table, words
from ethics.report_figures import Column as Measured
from ethics.report_figures import Figures
from ethics.report_text import Language, machine
from ethics.verdict import Check, Verdict

ABOUT_GROUPS = ("C401", "C402", "C403", "C405")
"""Checks that must all pass before anybody says that nobody is missed."""
_FINDING = ("C401", "C402", "C403")
_SHOWING = ("C401", "C402")
MISSED = Measured("missed_residents", AT_AUDIT)
_ALARMS = ("block", "needs_attestation", "warn")
_NOTHING_SHOWN = ("too_few", "left_out", "not_testable", "one_group", "no_label", "too_few_indicators")
"""Cases in which a check that asks for something found no alarm: it could show nothing."""
_MOST_NAMED = 12


def missed(verdict: Verdict, figures: Figures | None, t: Language) -> Section:
    """The section "who is missed".

    Parameters
    ----------
    verdict : Verdict
        As it was signed; none of its numbers of single groups is printed here but through ``figures``.
    figures : Figures or None
        What may be shown of groups; None where none was measured.
    """
    table = figures.table if figures else None
    if table is None or not table.has_label or figures is None:
        return Section("missed", t("missed.heading"), [t("missed.not_known")])
    rows = _rows(figures, t)
    named = {f"{row.attribute}={row.group}" for row in rows}
    open_checks = [check for check in verdict.checks if check.id in ABOUT_GROUPS and check.state != "pass"]
    paragraphs = [_everyone(table, t), *([t("missed.intro")] if rows else [])]
    rest = _alarms_without_number(open_checks, named, figures, t)
    rest += _unknown(open_checks, named, t)
    rest += _withheld(open_checks, figures, t)
    if not rows and not rest:
        ids = sorted({check.id for check in open_checks})
        rest = [t("missed.not_shown", ids=", ".join(ids))] if ids else [t("missed.nobody")]
    tables = []
    if rows:
        columns = [Column("group", t("missed.group")), Column("missed_residents", t("missed.at_audit"), True, AT_AUDIT)]
        tables.append(Table("missed-table", t("missed.caption"), columns, rows))
    return Section("missed", t("missed.heading"), [*paragraphs, *rest], tables=tables)


def _rows(figures: Figures, t: Language) -> list[Row]:
    """Groups that miss more residents than everyone's share implies, most people first."""
    rows = []
    for row in figures.table.groups.iter_rows(named=True):
        attribute, group = row["attribute"], row["group"]
        found = figures.estimate(attribute, group, MISSED)
        if found is None or not row["testable"] or not all(math.isfinite(part) for part in found[:3]):
            continue
        if found.value < figures.least:
            continue
        bounds = min(found.low, found.value), max(found.high, found.value)
        low, value, high = (5 * round(max(0.0, part) / 5) for part in (bounds[0], found.value, bounds[1]))
        shown = f"{t.count(value)} ({t.interval(low, high, t.count)})"
        written = [machine(part, "people") for part in (value, low, high)]
        cell = Cell(shown, written[0], written[1], written[2], is_number=True)
        rows.append((-found.value, Row([words(t.group_of(f"{attribute}={group}"), group), cell], attribute, group)))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _everyone(table: FairnessTable, t: Language) -> str:
    recall = table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
    facts = {"missed": t.count(recall.n - recall.people), "need": t.count(recall.n)}
    return t("missed.everyone", k=t.count(table.cuts.k_audit), n=t.count(table.n), **facts)


def _alarms_without_number(checks: Iterable[Check], named: set[str], figures: Figures, t: Language) -> list[str]:
    """Groups that a check asks or blocks about and the table says nothing of, apart by whether they are withheld."""
    found = _groups_of(filter(_is_alarm, checks), named)
    hidden = [group for group in found if _is_hidden(group, figures)]
    told = [group for group in found if group not in hidden]
    texts = [t("missed.alarm_withheld", groups=_named(hidden, t))] if hidden else []
    return texts + ([t("missed.alarm", groups=_named(told, t))] if told else [])


def _unknown(checks: Sequence[Check], named: set[str], t: Language) -> list[str]:
    """Groups of which neither is shown."""
    alarmed = set(_groups_of(filter(_is_alarm, checks), set()))
    unclear = (check for check in checks if check.id in _SHOWING and not _is_alarm(check))
    found = _groups_of(unclear, named | alarmed)
    return [t("missed.unknown", groups=_named(found, t))] if found else []


def _withheld(checks: Iterable[Check], figures: Figures, t: Language) -> list[str]:
    """Groups whose number is withheld though no check found anything about them."""
    spoken_of = set(_groups_of(checks, set()))
    found = [
        reference
        for row in figures.table.groups.iter_rows(named=True)
        if (reference := f"{row['attribute']}={row['group']}") not in spoken_of and _is_hidden(reference, figures)
    ]
    return [t("missed.withheld", groups=_named(found, t))] if found else []


def _is_alarm(check: Check) -> bool:
    """Whether a check found something, not whether it could look."""
    return check.id in _FINDING and check.state in _ALARMS and check.facts.get("case") not in _NOTHING_SHOWN


def _groups_of(checks: Iterable[Check], named: set[str]) -> list[str]:
    """What checks speak of, each once, in their order, without those named already."""
    return [group for group in dict.fromkeys(check.group for check in checks) if group and group not in named]


def _is_hidden(reference: str, figures: Figures) -> bool:
    """Whether the number of a group's missed residents is withheld; crossings have none of their own on page one."""
    attribute, _, group = reference.partition("=")
    if attribute not in figures.groups or all(row["group"] != group for row in figures.groups[attribute]):
        return False
    return figures.estimate(attribute, group, MISSED) is None


def _named(groups: Sequence[str], t: Language) -> str:
    """Groups in words, the first few by name."""
    text = t.groups_of(groups[:_MOST_NAMED])
    rest = len(groups) - _MOST_NAMED
    return text + (t("page.more", n=t.count(rest)) if rest > 0 else "")
