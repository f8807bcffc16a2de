"""What a report is made of, before it is laid out: sections of facts, tables and charts, each value as text and number.

The page, the JSON and the CSV are three ways of writing down the same document, so none can say what another does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ethics.fairness import Estimate
from ethics.report_text import Language, machine

SHAPE = {
    "PASS": "✔",
    "PASS_ATTESTED": "✔",
    "INCONCLUSIVE": "▲",
    "BLOCK": "■",
    "ERROR": "✖",
    "pass": "✔",
    "warn": "!",
    "inconclusive": "▲",
    "needs_attestation": "◆",
    "not_testable": "△",
    "block": "■",
    "error": "✖",
}
TONE = {
    **dict.fromkeys(("PASS", "PASS_ATTESTED", "pass"), "good"),
    **dict.fromkeys(("INCONCLUSIVE", "inconclusive", "needs_attestation", "not_testable"), "open"),
    **dict.fromkeys(("BLOCK", "ERROR", "block", "error"), "bad"),
    "warn": "warn",
}


@dataclass(frozen=True)
class Cell:
    """A value as people read it, and as machines do (``value`` is None where nothing is told).

    ``low``, ``high`` and ``n`` stand beside an estimate; ``state`` is a check state, shown as word and shape.
    """

    text: str
    value: str | None = None
    low: str | None = None
    high: str | None = None
    n: str | None = None
    is_number: bool = False
    withheld: bool = False
    state: str = ""


@dataclass(frozen=True)
class Column:
    """One column; ``cut`` says at which cut of the ranking it is measured, where it is."""

    id: str
    heading: str
    is_number: bool = False
    cut: str = ""


@dataclass(frozen=True)
class Row:
    """One row; ``attribute`` and ``group`` name whom it is about, where it is about a group."""

    cells: Sequence[Cell]
    attribute: str = ""
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption. ``folded``: long, and shown when it is opened."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    folded: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing of a table beside it: its title, what it shows in words, and where its marks stand."""

    kind: str
    title: str
    finding: str
    drawing: Any
    table: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands beneath it, in this order: words, facts, charts, tables, notes, parts."""

    id: str
    heading: str
    paragraphs: Sequence[str] = ()
    facts: Sequence[tuple[str, str, str]] = ()  # id, name, value
    items: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    parts: Sequence[Section] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing beneath the heading."""
        return not (
            self.paragraphs or self.facts or self.items or self.charts or self.tables or self.notes or self.parts
        )


@dataclass(frozen=True)
class ToDo:
    """What one failed check asks for; ``wrong`` is in English whatever the report's language."""

    id: str
    state: str
    what: str
    wrong: str
    lines: Sequence[str]
    do: str
    lifted: str
    owner: str


@dataclass(frozen=True)
class Document:
    """A whole report in one language."""

    title: str
    state: str
    verdict_id: str
    demonstration: bool
    invented: bool
    meaning: Sequence[str]
    facts: Sequence[tuple[str, str, str]]
    missed: Section
    untested: Section
    todo: Sequence[ToDo]
    chapters: Sequence[Section] = field(default_factory=tuple)
    warned: str = ""


def without_blank_tables(section: Section, t: Language) -> Section:
    """The section without the tables of which every number is withheld, and a sentence that names them.

    Its charts go with a table: they would draw nothing. A table that tells answers of checks stays. Of a table that no
    chart draws, the rows go of which every number is withheld.
    """
    blank = [table.id for table in section.tables if _is_blank(table.rows)]
    drawn = {chart.table for chart in section.charts}
    names, tables = [table.caption for table in section.tables if table.id in blank], []
    for table in section.tables:
        if table.id not in blank:
            rows = [row for row in table.rows if table.id in drawn or not _is_blank([row])]
            names += dict.fromkeys(row.cells[0].text for row in table.rows if row not in rows)
            tables.append(replace(table, rows=rows))
    return replace(
        section,
        notes=[*section.notes, *([t("page.all_withheld", captions="; ".join(names))] if names else [])],
        charts=[chart for chart in section.charts if chart.table not in blank],
        tables=tables,
        parts=[without_blank_tables(part, t) for part in section.parts],
    )


def _is_blank(rows: Sequence[Row]) -> bool:
    cells = [cell for row in rows for cell in row.cells]
    told = any(cell.state or (cell.is_number and cell.value is not None) for cell in cells)
    return not told and any(cell.withheld for cell in cells)


def words(text: str, value: str | None = None) -> Cell:
    """A cell of words; ``value`` is what machines read, the text itself unless said."""
    return Cell(text, text if value is None else value)


def count_cell(n: int, t: Language) -> Cell:
    """A whole number."""
    return Cell(t.count(n), str(n), is_number=True)


def number_cell(
    value: float,
    t: Language,
    low: float | None = None,
    high: float | None = None,
    *,
    show: Any = None,
    n: int | None = None,
) -> Cell:
    """A number, with its interval if it has one; "not measured" where it is none."""
    if not math.isfinite(value):
        return Cell(t("page.missing"), is_number=True)
    kind = _kind(show, t)
    show = show or t.alike(value, low, high)
    interval = t.interval(low, high, show)
    size = None if n is None else str(n)
    if not interval or low is None or high is None:
        return Cell(show(value), machine(value, kind), n=size, is_number=True)
    text = f"{show(value)} ({interval})"
    return Cell(text, machine(value, kind), machine(low, kind), machine(high, kind), size, is_number=True)


def _kind(show: Any, t: Language) -> str:
    """How precisely a way of writing numbers writes them, of :data:`ethics.rounding.DECIMALS`."""
    return "share" if show == t.percent else "people" if show == t.count else "ratio"


def estimate_cell(found: Estimate, t: Language, show: Any = None) -> Cell:
    """An estimate with its interval; one that was not measured, or has no bounds, says so."""
    if not math.isfinite(found.value):
        return Cell(t("page.missing"), is_number=True)
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        text = f"{(show or t.number)(found.value)} ({t('page.missing')})"
        return Cell(text, machine(found.value, _kind(show, t)), is_number=True)
    return number_cell(found.value, t, found.low, found.high, show=show)
