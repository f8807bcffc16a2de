"""How far the cells of a workbook reach, read as a stream: the reader of workbooks makes room for whole rectangles.

One cell typed into the last corner of a sheet is a few bytes in the file, and 17 thousand million cells in memory: more
than a machine has, and nothing catches that. So the corners are looked at before any sheet is opened.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO
from xml.parsers.expat import ExpatError, ParserCreate
from zipfile import BadZipFile, ZipFile

MOST_ROWS = 100_000
MOST_COLUMNS = 100
"""A list has some 40 columns; a unit may add its own."""

BROKEN_ARCHIVE = (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What an archive that is cut, changed, locked or packed in an unknown way raises when its parts are read."""

_PLACE = re.compile(r"([A-Za-z]{1,8})([0-9]{1,10})")
_CHUNK = 1 << 20


class CellTooFar(Exception):
    """A cell that holds something stands beyond what is read; ``place`` is it as a spreadsheet names it."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


def refuse_far_cells(book: ZipFile) -> None:
    """Refuse a workbook in which something is written beyond ``MOST_ROWS`` or ``MOST_COLUMNS``, in any sheet.

    Cells that hold nothing (a border drawn down to the end of the sheet) may stand anywhere: no room is made for them.

    Raises
    ------
    CellTooFar
    ValueError
        A sheet is no well-formed XML, declares a document type, or names a cell in no way that a spreadsheet does.
    """
    for part in book.infolist():
        with book.open(part) as content:
            _scan(content, is_xml=part.filename.lower().endswith(".xml"))


def _scan(content: IO[bytes], *, is_xml: bool) -> None:
    """One part, whatever it is called: which parts are sheets, the workbook says, and its word is not taken for it."""
    corner = _Corner()
    parser = ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = corner.begin, corner.end
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        for chunk in _chunks(content):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except ExpatError:
        if is_xml or corner.is_sheet:  # else a picture, or settings of a printer
            raise ValueError("no well-formed XML") from None


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(_CHUNK):
        yield chunk


def _refuse_document_type(*_: object) -> None:
    raise ValueError("declares a document type")


class _Corner:
    """Follows rows and cells as the reader of workbooks counts them: by what they are named, else one after another."""

    def __init__(self) -> None:
        self.row = self.column = 0
        self.is_sheet = False
        self._cell: tuple[int, int] | None = None

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name in ("v", "is"):
            self._refuse_far()
        elif name == "c":
            if "r" in attributes:
                self.row, self.column = _place(attributes["r"])
            self._cell = self.row, self.column
            self.column += 1
        elif name == "row":
            if "r" in attributes:
                self.row = _number(attributes["r"])
        elif name == "sheetData":
            self.is_sheet = True

    def end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        if name == "c":
            self._cell = None
        elif name == "row":
            self.row, self.column = self.row + 1, 0

    def _refuse_far(self) -> None:
        if self._cell is not None and (self._cell[0] >= MOST_ROWS or self._cell[1] >= MOST_COLUMNS):
            raise CellTooFar(f"{column_letters(self._cell[1])}{self._cell[0] + 1}")


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError("names a cell as no spreadsheet does")
    column = 0
    for letter in found[1].upper():
        column = 26 * column + ord(letter) - 64
    return _number(found[2]), column - 1


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) > 0):
        raise ValueError("names a row as no spreadsheet does")
    return int(text) - 1


def column_letters(column: int) -> str:
    """A column, counted from 0, as a spreadsheet names it.

    >>> column_letters(0), column_letters(25), column_letters(26)
    ('A', 'Z', 'AA')
    """
    name = ""
    while column >= 0:
        name, column = chr(65 + column % 26) + name, column // 26 - 1
    return name
