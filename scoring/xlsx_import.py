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

import polars as pl

from ethics.refusals import Fault
from scoring.contacts import CHANNELS
from scoring.event_rows import OUTCOME_CODES
from scoring.reason_words import MESSAGES, Words
from scoring.xlsx_file import FILL_IN, MARKS_SHEET, MOST_ATTEMPTS, SCHEMA, fill_columns

ATTEMPTS = {"list_id": pl.String, "person_id": pl.String, "at": pl.Date}
ATTEMPTS |= dict.fromkeys(("channel", "worker", "result"), pl.String)
OUTCOMES = {"list_id": pl.String, "person_id": pl.String, "at": pl.Date, "outcome": pl.String}
MOST_BYTES = 20_000_000
MOST_BYTES_UNPACKED = 400_000_000
MOST_ROWS = 100_000
LONGEST_WORKER = 60

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


class _Unreadable(Exception):
    """What is wrong with the file as a whole."""

    def __init__(self, wrong: str, mend: str) -> None:
        super().__init__(wrong)
        self.fault = (wrong, mend)


_AS_SENT = "Fill in the workbook as it was sent, and save it as an Excel workbook (.xlsx)"


def read_filled(
    path: Path, listed: pl.DataFrame, *, today: date | None = None
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
        own = _rows_of_file(marks, listed)
    except _Unreadable as error:
        return (*nothing, [Fault(where, *error.fault)])
    people = own["person_id"].drop_nulls().to_list()
    first = listed.filter(pl.col("list_id") == marks.list_id)["as_of_date"][0]
    reading = _Reading(where, marks.list_id, frozenset(people), first, today or date.today())
    attempts, outcomes, faults = reading.read(sheet)
    if faults:
        return (*nothing, faults)
    return pl.DataFrame(attempts, ATTEMPTS, orient="row"), pl.DataFrame(outcomes, OUTCOMES, orient="row"), []


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
        raise BadInput(Fault(path.name, *error.fault)) from None


def _opened(path: Path) -> tuple[FileMarks, _Sheet]:
    book = _book(path)
    marks = _marks(book)
    others = [name for name in book.sheet_names if name != MARKS_SHEET]
    for name in others:
        found = _find_columns(_cells(book, name), marks.attempts)
        if found is not None:
            return marks, found
    wanted = " / ".join(f"'{Words.of(language)('list.column_person')}'" for language in _LANGUAGES)
    wrong = "has no sheet with the columns of a list: the header row was changed or taken away"
    raise _Unreadable(wrong, f"Put the header row back, with {wanted} and the columns to fill in")


def _book(path: Path) -> Any:
    from zipfile import BadZipFile, ZipFile

    from python_calamine import CalamineError, CalamineWorkbook

    try:
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
        if not content:
            raise _Unreadable("is empty, or larger than any list", _AS_SENT)
        with ZipFile(BytesIO(content)) as parts:
            if sum(part.file_size for part in parts.infolist()) > MOST_BYTES_UNPACKED:
                raise _Unreadable("unpacks to more than any list holds", _AS_SENT)
        return CalamineWorkbook.from_filelike(BytesIO(content))
    except (OSError, BadZipFile, CalamineError, ValueError) as error:
        raise _Unreadable(f"cannot be read as an Excel workbook ({type(error).__name__})", _AS_SENT) from None


def _cells(book: Any, name: str) -> Sequence[Sequence[Any]]:
    from python_calamine import CalamineError

    try:
        rows: Sequence[Sequence[Any]] = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (CalamineError, ValueError) as error:
        wrong = f"has a sheet that cannot be read ({type(error).__name__})"
        raise _Unreadable(wrong, _AS_SENT) from None
    if len(rows) > MOST_ROWS:
        raise _Unreadable(f"has more than {MOST_ROWS:,} rows", _AS_SENT)
    return rows


def _marks(book: Any) -> FileMarks:
    if MARKS_SHEET not in book.sheet_names:
        wrong = "does not say which list it is: its hidden sheet is gone"
        raise _Unreadable(wrong, "Copy what was filled in into the workbook as it was sent, and give that back")
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
        wrong = "does not say which list it is: its hidden sheet was changed, or another version made it"
        raise _Unreadable(wrong, "Copy what was filled in into the workbook as it was sent, and give that back")
    list_id, unit_id, digest = (found.get(key, "") for key in ("list_id", "unit_id", "list_digest"))
    return FileMarks(list_id, unit_id, digest, int(attempts), frozenset(hashes))


def _rows_of_file(marks: FileMarks, listed: pl.DataFrame) -> pl.DataFrame:
    """The rows of the list and unit that the file names, if it is theirs: those it was written with."""
    same_list = listed.filter(pl.col("list_id") == marks.list_id)
    if same_list.is_empty():
        wrong = "belongs to another list than those it was to be read for, or to one that was never published"
        raise _Unreadable(wrong, "Give the list the file was made for, or fill in the file of this list")
    own = same_list.filter(pl.col("unit_id") == marks.unit_id)
    if own.is_empty():
        raise _Unreadable("belongs to another unit", "Give the file of a unit that this list has")
    if not marks.row_hashes <= {*own["row_hash"].drop_nulls()}:
        wrong = "does not hold the rows that this list was published with"
        raise _Unreadable(wrong, "Fill in the file that was written with the published list")
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
            return _Sheet(cells, number, person, at[0], groups, headings)
    return None


@dataclass(frozen=True)
class _Reading:
    """Reads the rows of one file."""

    where: str
    list_id: str
    people: frozenset[str]
    first: date
    today: date

    def read(self, sheet: _Sheet) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[Fault]]:
        attempts: list[tuple[Any, ...]] = []
        outcomes: list[tuple[Any, ...]] = []
        faults: list[Fault] = []
        seen: dict[str, int] = {}
        for number, row in enumerate(sheet.cells[sheet.header + 1 :], sheet.header + 2):
            wanted = (sheet.worker, *(j for group in sheet.attempts for j in group.values()))
            if not any(_text(_at(row, j)) for j in wanted):
                continue  # nothing filled in: a row without an attempt, or none at all
            person, wrong = self._person(_at(row, sheet.person), number, seen)
            if wrong:
                faults.append(self._fault(sheet, number, sheet.person, wrong))
            worker = _text(_at(row, sheet.worker))
            if len(worker) > LONGEST_WORKER or _IDENTITY_CODE.search(worker):
                wrong = f"at most {LONGEST_WORKER} characters, and nothing that looks like a personal identity code"
                faults.append(self._fault(sheet, number, sheet.worker, wrong))
            for group in sheet.attempts:
                found = self._attempt(sheet, row, number, group, faults)
                if found is not None and person is not None:
                    at, channel, outcome = found
                    attempts.append((self.list_id, person, at, channel, worker or None, outcome))
                    if outcome is not None:
                        outcomes.append((self.list_id, person, at, outcome))
        return attempts, outcomes, faults

    def _person(self, cell: Any, number: int, seen: dict[str, int]) -> tuple[str | None, str]:
        person = _text(cell).removeprefix("'")
        if person not in self.people:
            return None, "the id of somebody on this unit's list, as text; take rows away that were added by hand"
        if person in seen:
            return None, f"each person once; row {seen[person]} is of the same person"
        seen[person] = number
        return person, ""

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
            wrong = f"a day from {self.first} to {self.today}, such as {self.first}"
            faults.append(self._fault(sheet, number, group["day"], wrong))
        said = {}
        for kind, codes in (("channel", CHANNELS), ("outcome", OUTCOME_CODES)):
            said[kind], is_known = _code(_text(cells[kind]), f"{kind}s", codes)
            if not is_known:
                wrong = f"one of the words of the drop-down ({', '.join(codes)})"
                faults.append(self._fault(sheet, number, group[kind], wrong))
        return None if len(faults) > before or day is None else (day, said["channel"], said["outcome"])

    def _fault(self, sheet: _Sheet, number: int, column: int, expected: str) -> Fault:
        place = f"{self.where}: row {number}, column {_letters(column)} ({sheet.headings[column]})"
        return Fault(place, "cannot be read", f"Expected: {expected}")


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


def _letters(column: int) -> str:
    """A column as a spreadsheet names it.

    >>> _letters(0), _letters(25), _letters(26)
    ('A', 'Z', 'AA')
    """
    name = ""
    while column >= 0:
        name, column = chr(65 + column % 26) + name, column // 26 - 1
    return name
