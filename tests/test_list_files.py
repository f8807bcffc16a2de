"""What a unit gets: page, workbook, tables; its need's columns and no more, in three languages, the same each time."""

import csv
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest
from listed_cases import COLUMNS, a_book, a_list, a_need, store_rows
from python_calamine import CalamineWorkbook

from ethics.list_checks import _ALWAYS_SHOWN
from scoring.list_cells import columns_of, needs_contacts, table_columns
from scoring.list_files import render_json, render_parquet, write_files
from scoring.pages import render_csv, render_page
from scoring.reasons import Words
from scoring.xlsx_file import MARKS_SHEET, render_xlsx
from serving.list_work import _exports

LANGUAGES = ("fi", "sv", "en")
SECRET = ("unlisted", "0000006", "0000007", "000031")
CONTACT = ("+358 000", "Person 000030", "Somali", "interpreter")


def texts_of(listed, unit, book):
    """What each file of a unit says."""
    part = listed.part(unit)
    with ZipFile(BytesIO(render_xlsx(listed, part, book))) as parts:
        workbook = "".join(parts.read(name).decode("utf-8") for name in parts.namelist())
    return {
        "csv": render_csv(listed, part, book),
        "html": render_page(listed, part, book),
        "xlsx": workbook,
        "json": render_json(listed, part, book).decode("utf-8"),
        "parquet": str(pl.read_parquet(BytesIO(render_parquet(listed, part, book))).to_dicts()),
    }


def sheet_of(content, name=None):
    book = CalamineWorkbook.from_filelike(BytesIO(content))
    return book.get_sheet_by_name(name or book.sheet_names[0]).to_python(skip_empty_area=False)


def header_of(rows, words):
    return next(i for i, row in enumerate(rows) if words("list.column_person") in row)


def test_every_file_says_how_to_reach_each_person():
    for kind, text in texts_of(a_list(), "north", a_book()).items():
        assert "+358 000 0000001" in text and "Person 000030" in text, kind
        assert "asked for peace" in text and "school welfare" in text, kind


def test_a_secrecy_order_shows_in_no_file_unless_the_need_says_so():
    for kind, text in texts_of(a_list(), "north", a_book()).items():
        assert not any(secret in text for secret in SECRET), kind
    said = texts_of(a_list(), "north", a_book())
    for kind in ("csv", "html", "xlsx"):
        assert "secrecy order: ask the responsible officer" in said[kind]
    shown = a_list(need=a_need(secrecy_order='"shown"'))
    for kind, text in texts_of(shown, "north", a_book()).items():
        assert "Person 000006 unlisted" in text and "+358 000 0000031" in text, kind


@pytest.mark.parametrize("columns", [("rank_band",), ("reasons", "action"), ("rank_band", "reasons", "who_helps")])
def test_only_the_needs_columns_are_in_any_file(columns):
    listed = a_list(need=a_need(columns))
    assert columns_of(listed) == [*_ALWAYS_SHOWN, *columns]
    assert table_columns(listed) == columns_of(listed) and not needs_contacts(listed.need.list.columns)
    said = texts_of(listed, "north", a_book())
    for kind, text in said.items():
        assert not any(word in text for word in CONTACT), kind
        assert "asked for peace" not in text and ("who_helps" in columns) == ("school welfare" in text), kind
        if kind not in ("html", "xlsx"):
            assert ("reasons" in columns) == ("absences from school" in text), kind


def test_without_a_contact_book_the_files_say_so():
    said = texts_of(a_list(), "north", None)
    for kind in ("html", "xlsx"):
        assert "The city gave no contact book" in said[kind]
    assert "The city gave no contact book" not in "".join(texts_of(a_list(), "north", a_book()).values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_that_are_not_there_by_the_ranking_are_marked_in_every_file(language):
    listed, words = a_list(language=language), Words.of(language)
    said = texts_of(listed, "north", a_book())
    for kind in ("carried", "sample", "margin", "added"):
        for file in ("csv", "html", "xlsx"):
            assert words(f"kinds.{kind}") in said[file], (kind, file)
        assert f'"kind": "{kind}"' in said["json"]
        assert words(f"kinds.{kind}_note").split(":")[1] in said["html"]
    only_ranked = replace(listed, parts=(replace(listed.parts[0], rows=listed.parts[0].rows[:3]),))
    assert words("list.kinds_title") not in render_page(only_ranked, only_ranked.parts[0], a_book())


def test_a_random_check_has_neither_reasons_nor_band():
    listed = a_list()
    rows = json.loads(render_json(listed, listed.part("north"), a_book()))["rows"]
    checks = [row for row in rows if row["kind"] == "sample"]
    assert checks and all(row["reasons"] == [] and row["rank_band"] is None for row in checks)


def test_the_same_list_gives_the_same_bytes(tmp_path):
    written = [write_files(a_list(), tmp_path / name, None, a_book()) for name in ("one", "two")]
    for one, two in zip(*written, strict=True):
        assert one.name == two.name and one.read_bytes() == two.read_bytes(), one.name


def test_contact_data_are_in_the_units_files_alone(tmp_path):
    listed = a_list()
    files = write_files(listed, tmp_path, None, a_book())
    shared = [path for path in files if path.name in ("list.json", "rows.parquet")]
    assert len(shared) == 2
    for path in shared:
        content = path.read_bytes()
        assert b"+358 000" not in content and b"Person 000001" not in content
    assert not any("phone" in column or "name" in column for column in pl.read_parquet(shared[1]).columns)
    east = "".join(path.read_text("utf-8") for path in files if path.name in ("east.csv", "east.rows.json"))
    assert "000001" not in east
    for part in listed.parts:
        for row in part.rows:
            assert "+358" not in json.dumps(row.payload)


def test_a_unit_called_list_or_rows_keeps_its_files_apart(tmp_path):
    listed = a_list({"list": ["000001"], "rows": ["000002"]})
    files = write_files(listed, tmp_path, None, a_book())
    assert len({path.name for path in files}) == len(files) == 12
    assert json.loads((files[0].parent / "list.json").read_text("utf-8"))["listed"] == 2


def test_units_of_long_ids_or_with_a_dot_have_files_of_their_own(tmp_path):
    units = {"x" * 200: ["000001"], "x" * 199 + "y": ["000002"], "north.1": ["000003"]}
    listed = a_list(units)
    files = write_files(listed, tmp_path, None, a_book())
    assert len({path.name for path in files}) == len(files) == 17 and max(len(path.name) for path in files) < 120
    of_unit = {}
    for export in _exports(listed, files[0].parent, tmp_path):
        of_unit.setdefault(export.unit_id, []).append(export.file)
    assert {unit: len(names) for unit, names in of_unit.items()} == {**dict.fromkeys(units, 5), None: 2}
    for unit, (person,) in units.items():
        (rows,) = [files[0].parent / Path(name).name for name in of_unit[unit] if name.endswith(".rows.json")]
        assert [row["person"] for row in json.loads(rows.read_text("utf-8"))["rows"]] == [person]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_workbook_has_a_locked_list_and_drop_downs_in_the_language(language):
    listed, words = a_list(language=language), Words.of(language)
    content = render_xlsx(listed, listed.part("north"), a_book())
    rows = sheet_of(content)
    head = header_of(rows, words)
    wanted = [words(f"list.column_{column}") for column in table_columns(listed)]
    wanted += [words(f"workbook.{kind}") for kind in ("worker", "day", "channel", "outcome")]
    assert rows[head] == wanted
    assert [row[1] for row in rows[head + 1 :]] == [row.person_id for row in listed.part("north").rows]
    choices = {cell for row in sheet_of(content, MARKS_SHEET) for cell in row[3:] if cell}
    assert {words("outcomes.helped"), words("channels.letter"), words("workbook.worker_n", n=2)} <= choices
    with ZipFile(BytesIO(content)) as parts:
        sheet, book = (parts.read(f"xl/{name}.xml").decode() for name in ("worksheets/sheet1", "workbook"))
    assert 'state="veryHidden"' in book and "<sheetProtection" in sheet and "<autoFilter" in sheet
    assert "<f>" not in sheet and 'state="frozen"' in sheet
    assert sheet.count("<dataValidation ") == 4


def test_what_the_gate_is_shown_is_what_the_workbook_shows():
    listed = a_list()
    assert set(columns_of(listed)) == {*_ALWAYS_SHOWN, *COLUMNS, "contraindications"}


def test_no_cell_of_any_file_is_a_formula():
    listed, book = a_list({"=1+1": ["000008"]}), a_book()
    part = listed.parts[0]
    cells = [cell for row in csv.reader(render_csv(listed, part, book).splitlines()) for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells and not any(cell.startswith("=") for cell in cells)
    with ZipFile(BytesIO(render_xlsx(listed, part, book))) as parts:
        sheets = [parts.read(name).decode() for name in parts.namelist() if "worksheets/sheet" in name]
        styles = parts.read("xl/styles.xml").decode()
    assert not any("<f>" in sheet for sheet in sheets)
    assert 'quotePrefix="1"' in styles


def test_several_attempts_have_columns_of_their_own():
    listed = a_list(need=a_need(attempts_per_person=3))
    rows = sheet_of(render_xlsx(listed, listed.part("north"), a_book()))
    header = rows[header_of(rows, Words.of("en"))]
    numbered = [f"{name} {n}" for n in (1, 2, 3) for name in ("Day", "Channel", "Outcome")]
    assert header[-10:] == ["Worker", *numbered]


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
def test_the_page_says_how_many_attempts_there_are_for_each_person(language):
    listed = replace(a_list(need=a_need(attempts_per_person=3), language=language), attempts_per_person=3)
    n, words = listed.part("north").listed_n, Words.of(language)
    reached = words.number(round(n * (1 - (1 - listed.need.capacity.contact_success) ** 3)))
    told = words("list.reached_several", attempts=3 * n, each=3, people=n, n=reached)
    assert told in render_page(listed, listed.part("north"), a_book())


def test_a_unit_without_anybody_gets_files_that_say_so():
    listed = a_list({"north": []})
    said = texts_of(listed, "north", a_book())
    assert all("Nobody is on this list." in said[kind] for kind in ("html", "xlsx"))
    assert json.loads(said["json"])["rows"] == []


def test_the_machines_table_has_the_same_types_whoever_is_on_it():
    empty, full = ({"north": []}, None)
    schemas = [
        pl.read_parquet(BytesIO(render_parquet(listed, listed.parts[0], a_book()))).schema
        for listed in (a_list(empty), a_list(full))
    ]
    assert schemas[0] == schemas[1]
    assert store_rows(a_list())["person_id"].n_unique() == 14
