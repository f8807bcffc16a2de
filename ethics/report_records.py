"""Tables of a verdict's record in the report, laid out by one file each: ``messages/records/<name>.toml``.

A table that is in the record and has such a file is shown; nothing else need be written. ``<name>`` is the table's key
in the record (``outer.inner`` for a table within one). The file says::

    chapter = "privacy"            # the chapter it stands in
    order = 10                     # place within the chapter (default 50)
    [heading]   fi, sv, en         # needed
    [intro]     fi, sv, en         # what it says and how to read it, if anything
    [columns.<key>]                # one per column shown, in order; a list of tables is a table, a single one is facts
    fi, sv, en                     # the heading
    kind = "text"                  # text, names, plain, feature, attribute, group, state, yes_no, day, changed, count,
                                   # people, number or share
    low = "…"   high = "…"         # keys that hold the interval of a number or share
    of = "…"                       # a share: the key of the people it is a share of, so that few are withheld
    cut = "…"                      # at which cut it is measured, for the CSV
    [columns.<key>.values.<value>] fi, sv, en     # words for values that are names
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ethics.report_changes import changed_in_words
from ethics.report_document import Cell, Column, Row, Section, Table, count_cell, number_cell, words
from ethics.report_tables import CountTable
from ethics.report_text import Language, record_layouts
from ethics.withheld_numbers import WITHHELD

CHAPTERS = ("purpose", "data", "model", "fairness", "uncertainty", "mitigation", "privacy", "oversight", "changes")
NUMBERS = ("count", "people", "number", "share")
_DEFAULT_ORDER = 50


def found_in(record: Mapping[str, Any], name: str) -> Any:
    """A table of the record, ``outer.inner`` within another; None where there is none."""
    found: Any = record
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def record_counts(record: Mapping[str, Any]) -> list[CountTable]:
    """Every table of the record that counts people, for whoever withholds small cells."""
    tables = []
    for name, layout in record_layouts().items():
        rows, columns = _rows(found_in(record, name)), layout["columns"]
        people = [key for key, column in columns.items() if column.get("kind") == "people"]
        if not people or not rows:
            continue
        by_attribute: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for position, row in enumerate(rows):
            by_attribute.setdefault(str(row.get("attribute", "")), []).append((_key_of(row, position), row))
        for attribute, kept in by_attribute.items():
            counts = {key: tuple(_whole(row.get(key)) for _, row in kept) for key in people}
            names = tuple(group for group, _ in kept)
            rates = {key: (column["of"],) for key, column in columns.items() if column.get("of") in people}
            tables.append(CountTable(name, attribute, names, counts, {}, tuple(people), (), rates))
    return tables


class RecordPages:
    """The tables of a record in one language; ``counts`` say what is withheld, by table name and attribute."""

    def __init__(
        self, record: Mapping[str, Any], counts: Mapping[tuple[str, str], CountTable], least: int, t: Language
    ) -> None:
        self.record, self.counts, self.least, self.t = record, counts, least, t
        self._plain = {row["feature"]: row["plain"] for row in record.get("features", ())}

    def parts(self, chapter: str) -> list[Section]:
        """The sections that belong to a chapter, in their order."""
        placed = sorted(
            (int(layout.get("order", _DEFAULT_ORDER)), name)
            for name, layout in record_layouts().items()
            if layout["chapter"] == chapter
        )
        return [part for _, name in placed if (part := self._part(name)) is not None]

    def _part(self, name: str) -> Section | None:
        t, layout, found = self.t, record_layouts()[name], found_in(self.record, name)
        rows = _rows(found)
        if not rows:
            return None
        id, prefix = f"record-{name.replace('.', '-').replace('_', '-')}", f"records.{name}"
        heading = t(f"{prefix}.heading")
        intro = [t(f"{prefix}.intro")] if "intro" in layout else []
        if isinstance(found, Mapping):
            cells = [
                Row([words(t(f"{prefix}.columns.{key}"), key), self._cell(name, key, column, rows[0], 0)])
                for key, column in layout["columns"].items()
                if key in rows[0]
            ]
            heads = [Column("what", t("page.what")), Column("value", t("page.value"), True)]
            return Section(id, heading, intro, tables=[Table(f"{id}-table", heading, heads, cells)] if cells else [])
        keys = {key: column for key, column in layout["columns"].items() if any(key in row for row in rows)}
        heads = [
            Column(key, t(f"{prefix}.columns.{key}"), column.get("kind") in NUMBERS, str(column.get("cut", "")))
            for key, column in keys.items()
        ]
        body = [
            Row(
                [self._cell(name, key, column, row, position) for key, column in keys.items()],
                str(row.get("attribute", "")),
                str(row.get("group", "")),
            )
            for position, row in enumerate(rows)
        ]
        return Section(id, heading, intro, tables=[Table(f"{id}-table", heading, heads, body)])

    def _cell(self, name: str, key: str, column: Mapping[str, Any], row: Mapping[str, Any], position: int) -> Cell:
        t, kind, value = self.t, column.get("kind", "text"), row.get(key)
        if kind in NUMBERS:
            return self._number(name, key, column, row, position)
        if value == WITHHELD:
            return Cell(t("page.withheld"), withheld=True)
        if value is None or value == "":
            return words(t("page.missing"), "")
        known = f"records.{name}.columns.{key}.values.{value}"
        if isinstance(value, str) and t.has(known):
            return words(t(known), value)
        return self._words(kind, value, row)

    def _words(self, kind: str, value: Any, row: Mapping[str, Any]) -> Cell:
        t = self.t
        if kind == "state":
            return Cell(t(f"states.{value}"), str(value), state=str(value))
        if kind == "yes_no":
            yes = str(value).lower() in ("true", "yes", "1")
            return words(t("page.yes" if yes else "page.no"), "true" if yes else "false")
        if kind == "day":
            return words(t.day(date.fromisoformat(str(value)[:10])), str(value)[:10])
        if kind == "feature":
            return words(t.of(self._plain.get(str(value), value)), str(value))
        if kind == "attribute":
            return words(t.attribute(str(value)), str(value))
        if kind == "group":
            return words(t.group_of(f"{row['attribute']}={value}" if "attribute" in row else str(value)), str(value))
        if kind == "changed":
            return words(changed_in_words(str(row["what"]), str(value), t), str(value))
        if kind == "plain":
            return words(t.of(value), t.of(value))
        if isinstance(value, Sequence) and not isinstance(value, str):
            return words(", ".join(map(str, value)) or t("page.none"), ", ".join(map(str, value)))
        return words(str(value))

    def _number(self, name: str, key: str, column: Mapping[str, Any], row: Mapping[str, Any], position: int) -> Cell:
        t, kind = self.t, column["kind"]
        counts = self.counts.get((name, str(row.get("attribute", ""))))
        is_hidden = counts is not None and counts.is_hidden(key, _key_of(row, position))
        if is_hidden or row.get(key) == WITHHELD:
            return Cell(t("page.withheld"), is_number=True, withheld=True)
        value, low, high = (_float(row.get(at)) for at in (key, column.get("low", ""), column.get("high", "")))
        if kind in ("count", "people"):
            show: Any = t.count
            if math.isfinite(value) and not math.isfinite(low):
                return count_cell(round(value), t)
        else:
            show = t.percent if kind == "share" else None
        bounds = (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)
        return number_cell(value, t, *bounds, show=show)


def _rows(found: Any) -> list[Mapping[str, Any]]:
    if isinstance(found, Mapping):
        return [found]
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, Sequence) else []


def _key_of(row: Mapping[str, Any], position: int) -> str:
    return str(row["group"]) if "group" in row else str(position)


def _float(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def _whole(value: Any) -> int:
    number = _float(value)
    return round(number) if math.isfinite(number) else 0
