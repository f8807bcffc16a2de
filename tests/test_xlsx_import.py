"""The filled workbook: read through sorting and format changes; what cannot be read is told, and nothing is kept."""

import datetime as dt
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest
from listed_cases import AS_OF, LIST_ID, a_book, a_list, a_need, store_rows
from python_calamine import CalamineWorkbook
from xlsxwriter import Workbook

from ethics.refusals import BadInput
from scoring.reasons import Words
from scoring.xlsx_file import MARKS_SHEET, render_xlsx
from scoring.xlsx_import import file_marks, read_filled

TODAY = dt.date(2024, 6, 20)
DAY = dt.date(2024, 6, 5)


class Filled:
    """A workbook as another program would save it: the cells of the written one, changed."""

    def __init__(self, listed, unit="north"):
        self.listed, self.words = listed, Words.of(listed.language)
        book = CalamineWorkbook.from_filelike(BytesIO(render_xlsx(listed, listed.part(unit), a_book())))
        self.sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}
        self.name = book.sheet_names[0]
        self.rows = self.sheets[self.name]
        self.head = next(i for i, row in enumerate(self.rows) if self.words("list.column_person") in row)

    @property
    def header(self):
        return self.rows[self.head]

    def at(self, heading):
        return self.header.index(heading)

    def row(self, person):
        return next(i for i, row in enumerate(self.rows) if row[self.at(self.words("list.column_person"))] == person)

    def fill(self, person, **cells):
        for kind, value in cells.items():
            name, _, n = kind.partition("_")
            heading = self.words(f"workbook.{name}")
            self.rows[self.row(person)][self.at(f"{heading} {n}" if n else heading)] = value
        return self

    def save(self, folder, name="north.xlsx", *, without=(), stray=None, text="x"):
        path = folder / name
        book = Workbook(str(path))
        day = book.add_format({"num_format": "d.m.yyyy"})
        for title, rows in self.sheets.items():
            if title in without:
                continue
            sheet = book.add_worksheet(title)
            for i, row in enumerate(rows):
                for j, cell in enumerate(row):
                    if isinstance(cell, dt.date):
                        sheet.write_datetime(i, j, cell, day)
                    elif isinstance(cell, str):
                        sheet.write_string(i, j, cell)
                    else:
                        sheet.write(i, j, cell)
            if stray and title == self.name:
                sheet.write(*stray, text, day)
        book.close()
        return path

    def read(self, folder, **kwargs):
        return read_filled(self.save(folder, **kwargs), store_rows(self.listed), today=TODAY)


def test_what_was_filled_in_comes_back(tmp_path):
    filled = Filled(a_list())
    filled.fill("000001", worker="Worker 1", day=DAY, channel="phone call", outcome="got help")
    filled.fill("000004", worker="AB", day=DAY, channel="letter")
    filled.fill("000002", worker="Worker 2")
    attempts, outcomes, faults = filled.read(tmp_path)
    assert faults == []
    assert attempts.rows() == [
        (LIST_ID, "000001", DAY, "phone", "Worker 1", "helped"),
        (LIST_ID, "000004", DAY, "letter", "AB", None),
    ]
    assert outcomes.rows() == [(LIST_ID, "000001", DAY, "helped")]


def test_an_untouched_workbook_says_nothing(tmp_path):
    listed = a_list()
    path = tmp_path / "north.xlsx"
    path.write_bytes(render_xlsx(listed, listed.part("north"), a_book()))
    attempts, outcomes, faults = read_filled(path, store_rows(listed), today=TODAY)
    assert (attempts.height, outcomes.height, faults) == (0, 0, [])
    assert attempts.schema["at"] == outcomes.schema["at"] == pl.Date
    marks = file_marks(path)
    assert (marks.list_id, marks.unit_id, marks.list_digest) == (LIST_ID, "north", listed.list_digest)


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
def test_words_of_any_language_are_read(tmp_path, language):
    filled = Filled(a_list(language=language))
    for person, said in zip(("000001", "000002", "000003", "000004"), ("fi", "sv", "en", None)):
        words = (
            {"channel": "visit", "outcome": "already_served"}
            if said is None
            else {
                "channel": Words.of(said)("channels.visit").upper(),
                "outcome": Words.of(said)("outcomes.already_served"),
            }
        )
        filled.fill(person, day=DAY, **words)
    attempts, _, faults = filled.read(tmp_path)
    assert faults == []
    assert set(attempts.select("channel", "result").iter_rows()) == {("visit", "already_served")}


@pytest.mark.parametrize(
    "day", [45448, 45448.0, 45448.6, "45448", "5.6.2024", "05.06.2024", "2024-06-05", "2024-06-05 09:30",
            "'5.6.2024", dt.datetime(2024, 6, 5, 14, 30)]
)  # fmt: skip
def test_a_day_may_be_a_date_a_number_or_text(tmp_path, day):
    attempts, _, faults = Filled(a_list()).fill("000001", day=day, outcome="reached").read(tmp_path)
    assert faults == [] and attempts["at"].to_list() == [DAY]


def test_sorted_filtered_shortened_and_moved_it_reads_the_same(tmp_path):
    filled = Filled(a_list())
    for person in ("000001", "000003", "000012"):
        filled.fill(person, day=DAY, channel="letter", outcome="not reached", worker="W")
    before = filled.read(tmp_path)
    body = filled.rows[filled.head + 1 :]
    body.sort(key=lambda row: row[1], reverse=True)
    filled.rows[filled.head + 1 :] = [row for row in body if row[1] not in ("000002", "000009")]
    filled.rows.insert(filled.head + 3, [""] * len(filled.header))
    filled.sheets = {
        title: rows if title != filled.name else [[row[-1], "own column", *row[:-1]] for row in rows]
        for title, rows in filled.sheets.items()
    }
    filled.sheets[filled.name].insert(0, ["a line above"])
    after = filled.read(tmp_path)
    assert before[2] == after[2] == []
    for one, other in zip(before[:2], after[:2]):
        assert one.sort("person_id").equals(other.sort("person_id"))
    assert before[0].height == 3


def test_several_attempts_of_one_person(tmp_path):
    filled = Filled(a_list(need=a_need(attempts_per_person=2)))
    filled.fill("000001", day_1=DAY, channel_1="letter", outcome_1="not reached")
    filled.fill("000001", day_2=dt.date(2024, 6, 9), channel_2="visit", outcome_2="said no", worker="W")
    attempts, outcomes, faults = filled.read(tmp_path)
    assert faults == []
    assert attempts.select("channel", "worker", "result").rows() == [
        ("letter", "W", "not_reached"), ("visit", "W", "declined"),
    ]  # fmt: skip
    assert outcomes["outcome"].to_list() == ["not_reached", "declined"]


def test_every_cell_that_cannot_be_read_is_told_by_row_and_column_and_nothing_is_kept(tmp_path):
    filled = Filled(a_list())
    filled.fill("000001", day=DAY, channel="phone call", outcome="reached")
    filled.fill("000002", day="last Tuesday", channel="pigeon", outcome="moved to Vantaa")
    filled.fill("000003", day=dt.date(2024, 7, 1), outcome="helped")
    filled.fill("000004", day=AS_OF - dt.timedelta(days=1), outcome="helped")
    filled.fill("000005", outcome="reached")
    filled.fill("000006", day=DAY, worker="010190-123A")
    own, stranger = filled.row("000007"), filled.row("000008")
    filled.fill("000007", day=DAY, outcome="helped")
    filled.fill("000008", day=DAY, outcome="helped")
    filled.rows[stranger][1] = "000001"
    filled.rows[own][1] = "Hidden Name"
    attempts, outcomes, faults = filled.read(tmp_path)
    assert attempts.is_empty() and outcomes.is_empty()
    first = filled.head + 2
    told = [fault.where.partition(": ")[2] for fault in faults]
    day, worker = "column O (Day)", "column N (Worker)"
    assert told == [
        f"row {first + 1}, {day}",
        f"row {first + 1}, column P (Channel)",
        f"row {first + 1}, column Q (Outcome)",
        f"row {first + 2}, {day}",
        f"row {first + 3}, {day}",
        f"row {first + 4}, {day}",
        f"row {first + 5}, {worker}",
        f"row {first + 6}, column B (Person)",
        f"row {first + 7}, column B (Person)",
    ]
    everything = " ".join(str(fault) for fault in faults)
    for value in ("Tuesday", "pigeon", "Vantaa", "010190", "Hidden", "00000", "2024-07-01"):
        assert value not in everything
    assert "not reached" in everything and "2024-06-03" in everything


def test_somebody_added_by_hand_in_the_file_is_told_and_an_id_that_became_a_number_is_no_guess(tmp_path):
    filled = Filled(a_list())
    stranger = [""] * len(filled.header)
    stranger[1], stranger[filled.at("Day")] = "999999", DAY
    filled.rows.append(stranger)
    filled.fill("000001", day=DAY)
    filled.rows[filled.row("000001")][1] = 1.0
    _, _, faults = filled.read(tmp_path)
    assert [fault.where.split("column ")[1] for fault in faults] == ["B (Person)"] * 2


def whole_file_fault(filled, tmp_path, listed=None, **kwargs):
    attempts, outcomes, faults = read_filled(
        filled.save(tmp_path, **kwargs), store_rows(listed or filled.listed), today=TODAY
    )
    assert attempts.is_empty() and outcomes.is_empty() and len(faults) == 1
    assert faults[0].where == "north.xlsx"
    return faults[0].wrong


def test_the_file_of_another_list_unit_or_version_is_refused_whole(tmp_path):
    filled = Filled(a_list()).fill("000001", day=DAY, outcome="helped")
    other = a_list(list_id="01HZZZZZZZZZZZZZZZZZZZZZZ2")
    assert "another list" in whole_file_fault(filled, tmp_path, other)
    assert "another unit" in whole_file_fault(filled, tmp_path, a_list({"west": ["000001"]}))
    again = a_list({"north": ["000001", "000002"]})
    assert "rows that this list was published with" in whole_file_fault(filled, tmp_path, again)
    assert "hidden sheet is gone" in whole_file_fault(filled, tmp_path, without=(MARKS_SHEET,))
    filled.sheets[MARKS_SHEET][0][1] = "ennakko-xlsx/9"
    assert "another version" in whole_file_fault(filled, tmp_path)


def test_a_file_of_one_of_many_lists_finds_its_own(tmp_path):
    filled = Filled(a_list()).fill("000001", day=DAY, outcome="helped")
    both = pl.concat([store_rows(a_list(list_id="01HZZZZZZZZZZZZZZZZZZZZZZ2")), store_rows(filled.listed)])
    attempts, _, faults = read_filled(filled.save(tmp_path), both, today=TODAY)
    assert faults == [] and attempts["list_id"].to_list() == [LIST_ID]


def test_a_header_that_is_gone_is_told(tmp_path):
    filled = Filled(a_list()).fill("000001", day=DAY, outcome="helped")
    filled.rows[filled.head][filled.at("Outcome")] = "Result"
    assert "header row was changed" in whole_file_fault(filled, tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"a,b\n1,2\n", None])
def test_what_is_no_workbook_is_refused(tmp_path, content):
    path = tmp_path / "north.xlsx"
    if content is not None:
        path.write_bytes(content)
    attempts, outcomes, faults = read_filled(path, store_rows(a_list()), today=TODAY)
    assert attempts.is_empty() and outcomes.is_empty() and len(faults) == 1
    with pytest.raises(BadInput):
        file_marks(path)


def test_a_file_cut_or_changed_anywhere_never_gives_half(tmp_path):
    """A byte changed or the end cut off: all that was filled in comes back, or nothing with a fault."""
    filled = Filled(a_list()).fill("000001", day=DAY, outcome="helped").fill("000003", day=DAY, outcome="helped")
    whole = filled.save(tmp_path).read_bytes()
    path, listed = tmp_path / "cut.xlsx", store_rows(filled.listed)
    cuts = [whole[: len(whole) * n // 12] for n in range(1, 12)]
    flips = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(50, len(whole), len(whole) // 40)]
    for content in cuts + flips:
        path.write_bytes(content)
        attempts, outcomes, faults = read_filled(path, listed, today=TODAY)
        assert (attempts.height, outcomes.height) in ((2, 2), (0, 0))
        assert faults or attempts.height == 2


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("scoring.xlsx_import.MOST_BYTES_UNPACKED", 1_000_000)
    path = tmp_path / "north.xlsx"
    with ZipFile(path, "w", compression=8) as parts:
        parts.writestr("xl/workbook.xml", b"0" * 2_000_000)
    assert "unpacks to more" in read_filled(path, store_rows(a_list()), today=TODAY)[2][0].wrong


UNDER_A_LIMIT = """
import resource, sys, datetime as dt
from pathlib import Path
from listed_cases import a_list, store_rows
from scoring.xlsx_import import read_filled
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
attempts, _, faults = read_filled(Path(sys.argv[1]), store_rows(a_list()), today=dt.date(2024, 6, 20))
print(attempts.height, *(fault.wrong for fault in faults))
"""


def read_by_another_process(path):
    """As the command reads it: a reader that runs out of memory takes its whole process with it."""
    tests = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": f"{tests.parent}:{tests}"}
    done = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT, str(path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("at, told", [((1048575, 16383), "XFD1048576"), ((100_000, 0), "A100001"), ((20, 100), "CW21")])
def test_a_stray_cell_far_away_is_told_and_no_room_is_made_for_it(tmp_path, at, told):
    path = Filled(a_list()).fill("000001", day=DAY, outcome="helped").save(tmp_path, stray=at)
    said = read_by_another_process(path)
    assert said.startswith("0 ") and f"cell {told}," in said


def test_cells_that_hold_nothing_may_stand_anywhere(tmp_path):
    """A border drawn down a whole column, as spreadsheets save it."""
    path = Filled(a_list()).fill("000001", day=DAY, outcome="helped").save(tmp_path, stray=(1048575, 16383), text=None)
    assert read_by_another_process(path) == "1\n"


def changed(path, pattern, new):
    """The workbook with its first sheet's XML changed."""
    with ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet], n = re.subn(pattern, new, parts[sheet], count=1)
    assert n
    with ZipFile(path, "w", compression=8) as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "pattern, new",
    [
        (rb'<row r="5"', b'<row r="1048576"'),  # rows that name their cells by nothing
        (rb'<c r="A5"', b'<c r="A1048576"'),
        (rb'<c r="A5"', b'<c r="&#65;&#49;048576"'),
        (rb'<c r="A5"', b'<c r="$A$5"'),
        (rb"<sheetData>", b"<sheetData><broken>"),
        (rb"<worksheet ", b'<!DOCTYPE worksheet [<!ENTITY a "a">]><worksheet '),
    ],
)
def test_a_sheet_that_no_spreadsheet_wrote_is_refused(tmp_path, pattern, new):
    path = Filled(a_list()).fill("000001", day=DAY, outcome="helped").save(tmp_path)
    if pattern.startswith(b"<row"):
        changed(path, rb"(?s)(<sheetData>.*)", lambda found: re.sub(rb'<c r="\w+"', b"<c", found[1]))
    attempts, _, faults = read_filled(changed(path, pattern, new), store_rows(a_list()), today=TODAY)
    assert attempts.is_empty() and len(faults) == 1


def test_another_format_under_the_same_name_is_refused(tmp_path):
    """One repeated cell of an OpenDocument sheet is as large as its writer says."""
    path = Filled(a_list()).save(tmp_path)
    with ZipFile(path, "a") as book:
        book.writestr("content.xml", "<office:document-content/>")
    assert "cannot be read as an Excel workbook" in read_filled(path, store_rows(a_list()), today=TODAY)[2][0].wrong
