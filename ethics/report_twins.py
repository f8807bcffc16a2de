"""The report for machines: everything the page shows, as JSON and as one long CSV table.

JSON, schema ``ennakko-report/1``::

    {"schema", "verdict_id", "state", "demonstration", "invented", "title", "meaning": [words],
     "facts":    [{"id", "name", "value"}],
     "sections": [{"id", "heading", "paragraphs", "items",
                   "facts":  [{"id", "name", "value"}],
                   "charts": [{"title", "finding", "table"}],
                   "tables": [{"id", "caption", "columns": [{"id", "heading", "cut"?}],
                               "rows": [{"attribute"?, "group"?, "cells": {column: cell}}]}],
                   "notes": [words],
                   "parts":  [section …]}],
     "todo":     [{"id", "state", "what", "wrong", "lines", "do", "lifted", "owner"}]}

Words are ``{"fi", "sv", "en"}``, or one text where all three are the same. A row's cells are named by column, with
``@cut`` where the column is measured at a cut of the ranking. A cell is ``{"withheld": true}``, ``{"value", "low"?,
"high"?}`` with decimals as strings, ``{"state"}``, or ``{"text", "value"}``; null where nothing was measured. Numbers
are as precise as the page shows them.

CSV: ``section, attribute, group, measure, cut, value, low, high, n``; a row of a table that is about no group has its
first cell as ``group``. A value that is withheld is the word ``withheld``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ethics.report_document import Cell, Chart, Column, Document, Row, Section, Table, ToDo

SCHEMA = "ennakko-report/1"
CSV_COLUMNS = ("section", "attribute", "group", "measure", "cut", "value", "low", "high", "n")


def json_twin(documents: Mapping[str, Document]) -> str:
    """The report in all its languages as JSON; ``documents`` say the same, each in its language."""
    names = list(documents)
    all_of = list(documents.values())
    first = all_of[0]
    sections = [_section(parts, names) for parts in zip(*map(sections_of, all_of), strict=True)]
    content = {
        "schema": SCHEMA,
        "verdict_id": first.verdict_id,
        "state": first.state,
        "demonstration": first.demonstration,
        "invented": first.invented,
        "title": _words([document.title for document in all_of], names),
        "meaning": [_words(texts, names) for texts in zip(*(document.meaning for document in all_of), strict=True)],
        "facts": _facts([document.facts for document in all_of], names),
        "sections": sections,
        "todo": [_to_do(items, names) for items in zip(*(document.todo for document in all_of), strict=True)],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def csv_twin(document: Document) -> str:
    """Every number of the report's tables, one a line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in sections_of(document):
        for table in tables_of(section):
            writer.writerows(_lines(table))
    return stream.getvalue()


def sections_of(document: Document) -> list[Section]:
    """Every section in the page's order, page one first."""
    return [document.missed, document.untested, *document.chapters]


def tables_of(section: Section) -> Iterator[Table]:
    """A section's tables and those of its parts, in order."""
    yield from section.tables
    for part in section.parts:
        yield from tables_of(part)


def _lines(table: Table) -> Iterator[Sequence[str]]:
    for row in table.rows:
        first = row.cells[0]
        group = row.group or str(first.value if first.value is not None else first.text)
        for column, cell in zip(table.columns, row.cells, strict=True):
            if not cell.is_number or (cell.value is None and not cell.withheld):
                continue
            value = "withheld" if cell.withheld else cell.value or ""
            yield [
                table.id,
                _safe(row.attribute),
                _safe(group),
                _safe(column.id),
                column.cut,
                value,
                cell.low or "",
                cell.high or "",
                cell.n or "",
            ]


def _safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _words(texts: Sequence[str], names: Sequence[str]) -> Any:
    return texts[0] if len(set(texts)) == 1 else dict(zip(names, texts, strict=True))


def _facts(facts: Sequence[Sequence[tuple[str, str, str]]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "id": rows[0][0],
            "name": _words([name for _, name, _ in rows], names),
            "value": _words([value for _, _, value in rows], names),
        }
        for rows in zip(*facts, strict=True)
    ]


def _section(parts: Sequence[Section], names: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": parts[0].id,
        "heading": _words([part.heading for part in parts], names),
        "paragraphs": [_words(texts, names) for texts in zip(*(part.paragraphs for part in parts), strict=True)],
        "items": [_words(texts, names) for texts in zip(*(part.items for part in parts), strict=True)],
        "facts": _facts([part.facts for part in parts], names),
        "charts": [_chart(charts, names) for charts in zip(*(part.charts for part in parts), strict=True)],
        "tables": [_table(tables, names) for tables in zip(*(part.tables for part in parts), strict=True)],
        "notes": [_words(texts, names) for texts in zip(*(part.notes for part in parts), strict=True)],
        "parts": [_section(inner, names) for inner in zip(*(part.parts for part in parts), strict=True)],
    }
    return {name: value for name, value in content.items() if value}


def _chart(charts: Sequence[Chart], names: Sequence[str]) -> dict[str, Any]:
    return {
        "title": _words([chart.title for chart in charts], names),
        "finding": _words([chart.finding for chart in charts], names),
        "table": charts[0].table,
    }


def _table(tables: Sequence[Table], names: Sequence[str]) -> dict[str, Any]:
    columns = [
        {"id": heads[0].id, "heading": _words([head.heading for head in heads], names)}
        | ({"cut": heads[0].cut} if heads[0].cut else {})
        for heads in zip(*(table.columns for table in tables), strict=True)
    ]
    return {
        "id": tables[0].id,
        "caption": _words([table.caption for table in tables], names),
        "columns": columns,
        "rows": [
            _row(rows, [_key(column) for column in tables[0].columns], names)
            for rows in zip(*(table.rows for table in tables), strict=True)
        ],
    }


def _key(column: Column) -> str:
    return f"{column.id}@{column.cut}" if column.cut else column.id


def _row(rows: Sequence[Row], columns: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    cells = zip(columns, zip(*(row.cells for row in rows), strict=True), strict=True)
    named = {"attribute": rows[0].attribute, "group": rows[0].group}
    found = {name: value for name, value in named.items() if value}
    return {**found, "cells": {column: _cell(same, names) for column, same in cells}}


def _cell(cells: Sequence[Cell], names: Sequence[str]) -> Any:
    first = cells[0]
    if first.withheld:
        return {"withheld": True}
    if first.state:
        return {"state": first.state, "text": _words([cell.text for cell in cells], names)}
    if first.value is None:
        return None
    if first.is_number:
        numbers = {"value": first.value, "low": first.low, "high": first.high, "n": first.n}
        return {name: value for name, value in numbers.items() if value is not None}
    return {"text": _words([cell.text for cell in cells], names), "value": first.value}


def _to_do(items: Sequence[ToDo], names: Sequence[str]) -> dict[str, Any]:
    first = items[0]
    content: dict[str, Any] = {"id": first.id, "state": first.state}
    for name in ("what", "do", "lifted", "owner"):
        content[name] = _words([getattr(item, name) for item in items], names)
    content["wrong"] = first.wrong
    content["lines"] = [_words(lines, names) for lines in zip(*(item.lines for item in items), strict=True)]
    return content
