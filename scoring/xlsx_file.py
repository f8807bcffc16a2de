"""A unit's list as a workbook: filters, drop-downs, locked ids, and what an import needs to know it again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any

from scoring.contacts import CHANNELS
from scoring.event_rows import OUTCOME_CODES
from scoring.list_cells import ShownRow, needs_contacts, rows_or_shown, table_columns
from scoring.reasons import Words

if TYPE_CHECKING:
    from scoring.contacts import ContactBook
    from scoring.list_records import OutreachList, UnitPart

MARKS_SHEET = "ennakko"
"""The hidden sheet: what file this is. Row 1 onwards, column A a key, column B its value."""
SCHEMA = "ennakko-xlsx/1"
FILL_IN = ("day", "channel", "outcome")
"""What a unit fills in for each attempt; the worker, once per row."""
MOST_ATTEMPTS = 9

_WIDTHS = {"rank": 6, "person": 14, "kind": 13, "rank_band": 13, "reasons": 58, "action": 26, "who_helps": 16}
_WIDTHS |= {"channel": 17, "contact_name": 24, "contact_phone": 19, "contact_language": 17, "attempts": 11}
_WIDTHS |= {"contraindications": 24, "worker": 14, "day": 12, "outcome": 18}
_LINE = 15.0
"""Points of one line of text."""
_HIGHEST = 400.0


def attempts_of(listed: OutreachList) -> int:
    """How many attempts the workbook has room for in each row: as many as the need gives each person."""
    return min(listed.need.list.attempts_per_person, MOST_ATTEMPTS)


def render_xlsx(
    listed: OutreachList,
    part: UnitPart,
    contacts: ContactBook | None = None,
    rows: Sequence[ShownRow] | None = None,
) -> bytes:
    """One unit's list as an XLSX file; the same list gives the same bytes.

    Texts are written as texts, never as formulas, and stay so when a cell is edited. The sheets are locked without a
    password, against mistakes: a locked sheet cannot be sorted, so that no column is sorted apart from the others.
    """
    from xlsxwriter import Workbook  # type: ignore[import-untyped]

    content = BytesIO()
    book = Workbook(content, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    words = Words.of(listed.language)
    title = words("list.title", title=getattr(listed.need.title, listed.language), unit=part.name)
    book.set_properties({"title": title, "created": datetime.combine(listed.as_of_date, time())})
    looks = _Looks(book, words)
    rows = list(rows_or_shown(listed, part, contacts, rows))
    main = book.add_worksheet(words("workbook.sheet")[:31])
    _write_help(book.add_worksheet(words("workbook.help_sheet")[:31]), listed, looks, words, title)
    marks = book.add_worksheet(MARKS_SHEET)
    ranges = _write_marks(marks, listed, part, words)
    _write_list(main, listed, part, rows, looks, words, ranges, title, contacts is None)
    main.activate()
    book.close()
    return content.getvalue()


class _Looks:
    """The formats of the workbook."""

    def __init__(self, book: Any, words: Words) -> None:
        text = {"text_wrap": True, "valign": "top", "quote_prefix": True, "font_size": 11}
        line = {**text, "border": 1, "border_color": "#8C8C8C"}
        fill = {**line, "bg_color": "#FFF9DB", "locked": False, "quote_prefix": False}
        self.cell = book.add_format({**line, "num_format": "@"})
        self.number = book.add_format({**line, "align": "left", "quote_prefix": False})
        self.marked = book.add_format({**line, "num_format": "@", "bold": True, "bg_color": "#E4EAF1"})
        self.fill = book.add_format({**fill, "num_format": "@"})
        self.day = book.add_format({**fill, "num_format": words("workbook.date_format"), "align": "left"})
        head = {**line, "bold": True, "bg_color": "#1F3A5F", "font_color": "#FFFFFF", "quote_prefix": False}
        self.head = book.add_format(head)
        self.fill_head = book.add_format({**head, "bg_color": "#6B5200"})
        self.title = book.add_format({"bold": True, "font_size": 14})
        self.banner = book.add_format({"bold": True, "font_color": "#7A1F00", "font_size": 12})
        self.said = book.add_format({**text})
        self.strong = book.add_format({**text, "bold": True})


def _write_list(
    sheet: Any,
    listed: OutreachList,
    part: UnitPart,
    rows: list[ShownRow],
    looks: _Looks,
    words: Words,
    ranges: dict[str, str],
    title: str,
    has_no_book: bool,
) -> None:
    columns, fill = table_columns(listed), fill_columns(words, attempts_of(listed))
    top = 0
    sheet.write_string(top, 0, title, looks.title)
    for banner in listed.banners:
        top += 1
        sheet.write_string(top, 0, words(f"list.banner_{banner}"), looks.banner)
    said = [words("workbook.fill_in")]
    said += [words("list.no_contacts")] if has_no_book and needs_contacts(listed.need.list.columns) else []
    for text in said:
        top += 1
        sheet.write_string(top, 0, text)
    head = top + 1
    for j, column in enumerate(columns):
        sheet.write_string(head, j, words(f"list.column_{column}"), looks.head)
        sheet.set_column(j, j, _WIDTHS.get(column, 20))
    for j, (kind, heading) in enumerate(fill, len(columns)):
        sheet.write_string(head, j, heading, looks.fill_head)
        sheet.set_column(j, j, _WIDTHS.get(kind, 18))
    sheet.set_row(head, 2 * _LINE + 3)
    for i, row in enumerate(rows, head + 1):
        _write_row(sheet, i, row, columns, looks)
        for j, (kind, _) in enumerate(fill, len(columns)):
            sheet.write_blank(i, j, None, looks.day if kind == "day" else looks.fill)
    if not rows:
        sheet.write_string(head + 1, 0, words("list.empty"))
    last = head + max(len(rows), 1)
    for j, (kind, heading) in enumerate(fill, len(columns)):
        sheet.data_validation(head + 1, j, last, j, _rule(kind, heading, listed, words, ranges))
    sheet.freeze_panes(head + 1, columns.index("person") + 1)
    sheet.autofilter(head, 0, last, len(columns) + len(fill) - 1)
    _lock(sheet)
    _on_paper(sheet, listed, words, head)


def _write_row(sheet: Any, i: int, row: ShownRow, columns: list[str], looks: _Looks) -> None:
    lines = 1
    for j, column in enumerate(columns):
        text = row.cells[column]
        if column == "rank":
            sheet.write_number(i, j, int(text), looks.number)
            continue
        sheet.write_string(i, j, text, looks.marked if column == "kind" and row.kind != "ranked" else looks.cell)
        width = _WIDTHS.get(column, 20)
        lines = max(lines, sum(max(1, ceil(1.1 * len(line) / width)) for line in text.split("\n")))
    sheet.set_row(i, min(lines * _LINE + 3, _HIGHEST))


def fill_columns(words: Words, attempts: int) -> list[tuple[str, str]]:
    """The columns to fill in: what each holds, and its heading; attempts are numbered where there are several."""
    found = [("worker", words("workbook.worker"))]
    for n in range(1, attempts + 1):
        for kind in FILL_IN:
            heading = words(f"workbook.{kind}")
            found.append((kind, words("workbook.numbered", heading=heading, n=n) if attempts > 1 else heading))
    return found


def _rule(kind: str, heading: str, listed: OutreachList, words: Words, ranges: dict[str, str]) -> dict[str, Any]:
    """What a cell to fill in takes; a worker may be written freely, the rest may not."""
    said = {"input_title": heading[:32], "error_title": words("workbook.wrong_title")[:32]}
    if kind == "day":
        text = words("workbook.pick_day", day=words.day(listed.as_of_date))
        first = datetime.combine(listed.as_of_date, time())
        rule = {"validate": "date", "criteria": ">=", "value": first}
    else:
        text = words("workbook.pick_worker" if kind == "worker" else "workbook.pick")
        rule = {"validate": "list", "source": f"={ranges[kind]}"}
        if kind == "worker":
            rule["error_type"] = "information"
    return {**rule, **said, "input_message": text[:255], "error_message": text[:255]}


def _write_marks(sheet: Any, listed: OutreachList, part: UnitPart, words: Words) -> dict[str, str]:
    """What file this is, and the words to choose from; returns the range of each drop-down."""
    marks = {
        "schema": SCHEMA,
        "list_id": listed.list_id,
        "unit_id": part.unit_id,
        "list_digest": listed.list_digest,
        "language": listed.language,
        "attempts": str(attempts_of(listed)),
    }
    told = [*marks.items(), *(("row", row.row_hash) for row in part.rows)]
    for i, (key, value) in enumerate(told):
        sheet.write_string(i, 0, key)
        sheet.write_string(i, 1, value)
    choices = {
        "worker": [words("workbook.worker_n", n=n) for n in range(1, listed.need.capacity.workers + 1)],
        "channel": [words(f"channels.{channel}") for channel in CHANNELS],
        "outcome": [words(f"outcomes.{outcome}") for outcome in OUTCOME_CODES],
    }
    ranges = {}
    for j, (kind, texts) in enumerate(choices.items(), 3):
        for i, text in enumerate(texts):
            sheet.write_string(i, j, text)
        letter = "ABCDEFGH"[j]
        ranges[kind] = f"{MARKS_SHEET}!${letter}$1:${letter}${len(texts)}"
    sheet.protect()
    sheet.very_hidden()
    return ranges


def _write_help(sheet: Any, listed: OutreachList, looks: _Looks, words: Words, title: str) -> None:
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 90)
    sheet.hide_gridlines(2)
    sheet.write_string(0, 0, words("workbook.how_title"), looks.title)
    lines: list[tuple[str, str]] = [("", words(f"list.banner_{banner}")) for banner in listed.banners]
    lines += [("", words(f"workbook.{key}")) for key in ("fill_in", "how_save", "how_no_notes", "how_destroy")]
    lines += [(words("list.who_decides_title"), words("list.who_decides"))]
    lines += [(words("list.action_title"), getattr(listed.need.action, listed.language))]
    lines += [(words("list.objecting_title"), words("list.objecting"))]
    lines += [(words("list.kinds_title"), "")] + [
        (words(f"kinds.{kind}"), words(f"kinds.{kind}_note")) for kind in ("carried", "sample", "margin", "added")
    ]
    lines += [(words("workbook.how_outcomes"), "")]
    lines += [(words(f"outcomes.{outcome}"), words(f"workbook.outcome_{outcome}")) for outcome in OUTCOME_CODES]
    lines += [
        (words("list.fact_list_id"), listed.list_id),
        (words("list.fact_list_digest"), listed.list_digest),
        (words("list.fact_as_of_date"), words.day(listed.as_of_date)),
    ]
    for i, (name, text) in enumerate(lines, 2):
        sheet.write_string(i, 0, name, looks.strong)
        sheet.write_string(i, 1, text, looks.said)
        sheet.set_row(i, _LINE * max(1, ceil(1.1 * len(text) / 90), ceil(1.2 * len(name) / 26)) + 3)
    sheet.protect()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)


def _lock(sheet: Any) -> None:
    allowed = ("autofilter", "format_columns", "format_rows", "select_locked_cells", "select_unlocked_cells")
    sheet.protect("", dict.fromkeys(allowed, True))


def _on_paper(sheet: Any, listed: OutreachList, words: Words, head: int) -> None:
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(head)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.7)
    sheet.set_footer("&L" + words("workbook.footer", list_id=listed.list_id, page="&P / &N"))
