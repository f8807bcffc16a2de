"""The filled workbook comes back: read row by row, whole or not at all, telling what could not be read, and of nobody.

It may have been saved by another program, sorted, filtered, shortened; columns may have moved and dates become numbers
or text. What decides is that the file names its list and unit, and each row a person of that unit's list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polars as pl

from ethics.refusals import Fault
from scoring.contacts import CHANNELS
from scoring.event_rows import OUTCOME_CODES
from scoring.hygiene import Erased, nobody_erased
from scoring.import_words import ImportWords
from scoring.reason_words import MESSAGES, Words
from scoring.xlsx_extent import BROKEN_ARCHIVE, MOST_COLUMNS, MOST_ROWS, CellTooFar, column_letters, refuse_far_cells
from scoring.xlsx_file import FILL_IN, MARKS_SHEET, MOST_ATTEMPTS, SCHEMA, fill_columns

ATTEMPTS = {"list_id": pl.String, "person_id": pl.String, "at": pl.Date}
ATTEMPTS |= dict.fromkeys(("channel", "worker", "result"), pl.String)
OUTCOMES = {"list_id": pl.String, "person_id": pl.String, "at": pl.Date, "outcome": pl.String}
MOST_BYTES = 20_000_000
MOST_BYTES_UNPACKED = 400_000_000
LONGEST_WORKER = 60
_OF_OTHER_FORMATS = {"content.xml", "xl/workbook.bin"}
"""The reader knows these too, and makes room for what they say is repeated."""

_FIRST_SERIAL = date(1899, 12, 30)
"""Day 0 of a spreadsheet's calendar."""
_HEADER_WITHIN = 30
_WRITTEN = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?")
_WRITTEN_IN_FINLAND = re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})")
_IDENTITY_CODE = re.compile(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", re.IGNORECASE)
_LANGUAGES = tuple(sorted(path.stem for path in MESSAGES.glob("*.toml")))


@dataclass(frozen=True)
class FileMarks:
    """What a workbook says it is: ids of list and unit, digest of the list, attempts per row, hashes of its rows."""

    list_id: str
    unit_id: str
    list_digest: str
    attempts: int
    row_hashes: frozenset[str]


@dataclass(frozen=True)
class _Sheet:
    """The sheet that was filled in: cells, the number of the header row, and where each column stands now."""

    cells: Sequence[Sequence[Any]]
    header: int
    person: int
    worker: int
    attempts: tuple[Mapping[str, int], ...]
    headings: Mapping[int, str]
    language: str


class _Unreadable(Exception):
    """What is wrong with the file as a whole: a key of the texts, what fills its {names}, and the file's language."""

    def __init__(self, key: str, *, of: str = "", **values: object) -> None:
        super().__init__(key)
        self.key, self.values, self.of = key, values, of

    def fault(self, where: str, language: str | None) -> Fault:
        """Said in a language, or in the file's own."""
        return ImportWords(language or self.of or _UNKNOWN_LANGUAGE).fault(where, self.key, **self.values)


_UNKNOWN_LANGUAGE = "en"


def read_filled(
    path: Path,
    listed: pl.DataFrame,
    *,
    today: date | None = None,
    language: str | None = None,
    erased: Erased = nobody_erased,
) -> tuple[pl.DataFrame, pl.DataFrame, list[Fault]]:
    """Attempts and outcomes of a filled workbook.

    Parameters
    ----------
    path : Path
    listed : polars.DataFrame
        Rows of the lists it may be of, as :meth:`scoring.store.Store.rows` gives them: ``list_id``, ``as_of_date``,
        ``unit_id``, ``person_id``, ``row_hash``.
    today : date, optional
        The day after which nothing can have happened; the present day by default.
    language : {"en", "fi", "sv"}, optional
        In which the faults are told; by default that of the workbook's own headings.
    erased : callable
        :meth:`scoring.store.Store.is_erased`. Rows of the erased are read like any other, for the store keeps nothing
        of them: a workbook handed out before an erasure still comes in.

    Returns
    -------
    attempts : polars.DataFrame
        ``list_id``, ``person_id``, ``at``, ``channel``, ``worker``, ``result`` (null where not filled in).
    outcomes : polars.DataFrame
        ``list_id``, ``person_id``, ``at``, ``outcome``.
    faults : list of Fault
        Everything that could not be read, by row and column of the sheet as a spreadsheet shows them, and what is
        expected there; no value of a cell. Where there is a fault both tables are empty, so that nothing is half kept.
    """
    where = path.name
    nothing = pl.DataFrame(schema=ATTEMPTS), pl.DataFrame(schema=OUTCOMES)
    try:
        marks, sheet = _opened(path)
        own = _rows_of_file(marks, listed, sheet.language)
    except _Unreadable as error:
        return (*nothing, [error.fault(where, language)])
    people = own["person_id"].drop_nulls().to_list()
    first = listed.filter(pl.col("list_id") == marks.list_id)["as_of_date"][0]
    words = ImportWords(language or sheet.language)
    gone = _erased_of(sheet, people, erased)
    reading = _Reading(where, marks.list_id, frozenset(people) | gone, first, today or date.today(), words)
    attempts, outcomes, faults = reading.read(sheet)
    if faults:
        return (*nothing, faults)
    return pl.DataFrame(attempts, ATTEMPTS, orient="row"), pl.DataFrame(outcomes, OUTCOMES, orient="row"), []


def _erased_of(sheet: _Sheet, people: Sequence[str], erased: Erased) -> frozenset[str]:
    """People of a sheet who are no longer known and were erased."""
    written = {_text(_at(row, sheet.person)).removeprefix("'") for row in sheet.cells[sheet.header + 1 :]}
    strangers = sorted(written - {*people, ""})
    return frozenset(one for one, is_gone in zip(strangers, erased(strangers), strict=True) if is_gone)


def file_marks(path: Path) -> FileMarks:
    """What a workbook says it is, without reading its rows.

    Raises
    ------
    BadInput
        It is no workbook, or none that a list was handed out as.
    """
    from ethics.refusals import BadInput

    try:
        return _marks(_book(path))
    except _Unreadable as error:
        raise BadInput(error.fault(path.name, None)) from None


def _opened(path: Path) -> tuple[FileMarks, _Sheet]:
    book = _book(path)
    own = _language_of(book)
    marks = _marks(book, own)
    others = [name for name in book.sheet_names if name != MARKS_SHEET]
    for name in others:
        found = _find_columns(_cells(book, name), marks.attempts)
        if found is not None:
            return marks, found
    wanted = " / ".join(f"'{Words.of(language)('list.column_person')}'" for language in _LANGUAGES)
    raise _Unreadable("no_header", of=own, wanted=wanted)


def _language_of(book: Any) -> str:
    """The language of a workbook by the name of its sheet of help; empty where that is gone."""
    names = set(book.sheet_names)
    return next((one for one in _LANGUAGES if Words.of(one)("workbook.help_sheet")[:31] in names), "")


def _book(path: Path) -> Any:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
        if not content:
            raise _Unreadable("book_size")
        with ZipFile(BytesIO(content)) as parts:
            if sum(part.file_size for part in parts.infolist()) > MOST_BYTES_UNPACKED:
                raise _Unreadable("book_unpacked")
            names = {*parts.namelist()}
            if not content.startswith(b"PK") or "xl/workbook.xml" not in names or names & _OF_OTHER_FORMATS:
                raise _Unreadable("book_unread", kind="BadZipFile")
            book = CalamineWorkbook.from_filelike(BytesIO(content))
            _refuse_far(book, parts)
        return book
    except (OSError, CalamineError, ValueError, *BROKEN_ARCHIVE) as error:
        raise _Unreadable("book_unread", kind=type(error).__name__) from None


def _refuse_far(book: Any, parts: ZipFile) -> None:
    """Before any sheet is opened."""
    try:
        refuse_far_cells(parts)
    except CellTooFar as error:
        last = f"{column_letters(MOST_COLUMNS - 1)}{MOST_ROWS}"
        raise _Unreadable("sheet_far", of=_language_of(book), cell=error.place, last=last) from None


def _cells(book: Any, name: str) -> Sequence[Sequence[Any]]:
    from python_calamine import CalamineError

    try:
        rows: Sequence[Sequence[Any]] = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (CalamineError, ValueError) as error:
        raise _Unreadable("sheet_unread", of=_language_of(book), kind=type(error).__name__) from None
    return rows


def _marks(book: Any, language: str = "") -> FileMarks:
    if MARKS_SHEET not in book.sheet_names:
        raise _Unreadable("no_marks", of=language)
    found: dict[str, str] = {}
    hashes = []
    for row in _cells(book, MARKS_SHEET):
        key, value = (_text(cell) for cell in [*row, "", ""][:2])
        if key == "row":
            hashes.append(value)
        elif key:
            found[key] = value
    attempts = found.get("attempts", "")
    if found.get("schema") != SCHEMA or not attempts.isdecimal() or not 1 <= int(attempts) <= MOST_ATTEMPTS:
        raise _Unreadable("bad_marks", of=language)
    list_id, unit_id, digest = (found.get(key, "") for key in ("list_id", "unit_id", "list_digest"))
    return FileMarks(list_id, unit_id, digest, int(attempts), frozenset(hashes))


def _rows_of_file(marks: FileMarks, listed: pl.DataFrame, language: str) -> pl.DataFrame:
    """The rows of the list and unit that the file names, if it is theirs: those it was written with."""
    same_list = listed.filter(pl.col("list_id") == marks.list_id)
    if same_list.is_empty():
        raise _Unreadable("other_list", of=language)
    own = same_list.filter(pl.col("unit_id") == marks.unit_id)
    if own.is_empty():
        raise _Unreadable("other_unit", of=language)
    if not marks.row_hashes <= {*own["row_hash"].drop_nulls()}:
        raise _Unreadable("other_rows", of=language)
    return own.filter(pl.col("row_hash").is_in(list(marks.row_hashes)) | pl.col("row_hash").is_null())


def _find_columns(cells: Sequence[Sequence[Any]], attempts: int) -> _Sheet | None:
    """The header row, in whatever language and order its columns stand."""
    for number, row in enumerate(cells[:_HEADER_WITHIN]):
        headings = {j: _text(cell) for j, cell in enumerate(row) if _text(cell)}
        for language in _LANGUAGES:
            words = Words.of(language)
            place = {heading.casefold(): j for j, heading in reversed(headings.items())}
            person = place.get(words("list.column_person").casefold())
            fill = [(kind, place.get(heading.casefold())) for kind, heading in fill_columns(words, attempts)]
            if person is None or any(j is None for _, j in fill):
                continue
            at = [int(j) for _, j in fill if j is not None]
            groups = tuple(dict(zip(FILL_IN, at[1 + 3 * n : 4 + 3 * n], strict=True)) for n in range(attempts))
            return _Sheet(cells, number, person, at[0], groups, headings, language)
    return None


@dataclass(frozen=True)
class _Reading:
    """Reads the rows of one file."""

    where: str
    list_id: str
    people: frozenset[str]
    first: date
    today: date
    words: ImportWords

    def read(self, sheet: _Sheet) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[Fault]]:
        attempts: list[tuple[Any, ...]] = []
        outcomes: list[tuple[Any, ...]] = []
        faults: list[Fault] = []
        seen: dict[str, int] = {}
        for number, row in enumerate(sheet.cells[sheet.header + 1 :], sheet.header + 2):
            wanted = (sheet.worker, *(j for group in sheet.attempts for j in group.values()))
            if not any(_text(_at(row, j)) for j in wanted):
                continue  # nothing filled in: a row without an attempt, or none at all
            person = _text(_at(row, sheet.person)).removeprefix("'")
            if person not in self.people:
                faults.append(self._fault(sheet, number, sheet.person, "cell_person"))
            elif person in seen:
                faults.append(self._fault(sheet, number, sheet.person, "cell_twice", row=seen[person]))
            else:
                seen[person] = number
            worker = _text(_at(row, sheet.worker))
            if len(worker) > LONGEST_WORKER or _IDENTITY_CODE.search(worker):
                faults.append(self._fault(sheet, number, sheet.worker, "cell_worker", most=LONGEST_WORKER))
            for group in sheet.attempts:
                found = self._attempt(sheet, row, number, group, faults)
                if found is not None:
                    at, channel, outcome = found
                    attempts.append((self.list_id, person, at, channel, worker or None, outcome))
                    if outcome is not None:
                        outcomes.append((self.list_id, person, at, outcome))
        return attempts, outcomes, faults

    def _attempt(
        self, sheet: _Sheet, row: Sequence[Any], number: int, group: Mapping[str, int], faults: list[Fault]
    ) -> tuple[date, str | None, str | None] | None:
        """Day, channel and outcome of one attempt; None where nothing is filled in, or something cannot be read."""
        cells = {kind: _at(row, j) for kind, j in group.items()}
        if not any(_text(cell) for cell in cells.values()):
            return None
        before = len(faults)
        day = _day(cells["day"])
        if day is None or not self.first <= day <= self.today:
            faults.append(self._fault(sheet, number, group["day"], "cell_day", first=self.first, today=self.today))
        said = {}
        for kind, codes in (("channel", CHANNELS), ("outcome", OUTCOME_CODES)):
            said[kind], is_known = _code(_text(cells[kind]), f"{kind}s", codes)
            if not is_known:
                told = ", ".join(Words.of(self.words.language)(f"{kind}s.{code}") for code in codes)
                faults.append(self._fault(sheet, number, group[kind], "cell_word", codes=told))
        return None if len(faults) > before or day is None else (day, said["channel"], said["outcome"])

    def _fault(self, sheet: _Sheet, number: int, column: int, key: str, **values: object) -> Fault:
        place = self.words.cell(self.where, number, column_letters(column), sheet.headings[column])
        return self.words.fault(place, key, **values)


def _at(row: Sequence[Any], j: int) -> Any:
    return row[j] if j < len(row) else ""


def _text(cell: Any) -> str:
    """A cell as text; a whole number without a point, as a person writes it."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else re.sub(r"\s+", " ", str(cell)).strip()


def _day(cell: Any) -> date | None:
    """A day from a date, a spreadsheet's number of days, or text; None where it is none.

    >>> [_day(cell) for cell in (45446.0, "3.6.2024", "2024-06-03", "3 June")]
    [datetime.date(2024, 6, 3), datetime.date(2024, 6, 3), datetime.date(2024, 6, 3), None]
    """
    if isinstance(cell, datetime):
        return cell.date()
    if isinstance(cell, date):
        return cell
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return _FIRST_SERIAL + timedelta(days=int(cell)) if 1 <= cell < 200_000 else None
    text = _text(cell).removeprefix("'")
    if text.isdecimal() and len(text) == 5:
        return _FIRST_SERIAL + timedelta(days=int(text))
    parts: Sequence[str] | None = None
    if found := _WRITTEN.fullmatch(text):
        parts = found.groups()
    elif found := _WRITTEN_IN_FINLAND.fullmatch(text):
        parts = found.groups()[::-1]
    try:
        return None if parts is None else date(*(int(part) for part in parts))
    except ValueError:
        return None


def _code(text: str, family: str, codes: Sequence[str]) -> tuple[str | None, bool]:
    """The code of a word in any of the languages, or the code itself; whether it is known (nothing at all is)."""
    if not text:
        return None, True
    wanted = text.casefold()
    return next(((code, True) for code, word in _words(family, codes) if word == wanted), (None, False))


def _words(family: str, codes: Sequence[str]) -> Iterator[tuple[str, str]]:
    for code in codes:
        yield code, code
        for language in _LANGUAGES:
            yield code, Words.of(language)(f"{family}.{code}").casefold()
