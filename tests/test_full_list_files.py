"""A unit's files in the programs that open them: the workbook saved by LibreOffice, the page in a real browser."""

import json
import re
import shutil
import subprocess
from datetime import date
from io import BytesIO
from urllib.parse import unquote

import pytest
from listed_cases import LIST_ID, LONG, a_book, a_list, a_need, store_rows
from python_calamine import CalamineWorkbook
from test_full_pages import measured
from test_full_report import RUN_AXE, chromium, installed
from test_xlsx_import import DAY, TODAY, Filled

from scoring.pages import render_page
from scoring.reasons import Words
from scoring.xlsx_file import MARKS_SHEET, render_xlsx
from scoring.xlsx_import import read_filled

pytestmark = pytest.mark.full
LANGUAGES = ("fi", "sv", "en")


def libreoffice(source, folder, to="xlsx"):
    """The file as LibreOffice saves it."""
    office = shutil.which("soffice")
    assert office, "needs LibreOffice: make setup-full"
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = [office, profile, "--headless", "--convert-to", to, "--outdir", str(folder / "saved"), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder / "saved" / source.with_suffix(f".{to.partition(':')[0]}").name


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_workbook_filled_in_and_saved_by_libreoffice_imports(tmp_path, language):
    filled, words = Filled(a_list(language=language)), Words.of(language)
    helped, declined, call = (words(key) for key in ("outcomes.helped", "outcomes.declined", "channels.phone"))
    filled.fill("000001", worker="AB", day=DAY, channel=call, outcome=helped)
    filled.fill("000003", day="5.6.2024", outcome=declined)
    saved = libreoffice(filled.save(tmp_path), tmp_path)
    attempts, outcomes, faults = read_filled(saved, store_rows(filled.listed), today=TODAY)
    assert faults == []
    assert attempts.sort("person_id").rows() == [
        (LIST_ID, "000001", DAY, "phone", "AB", "helped"),
        (LIST_ID, "000003", DAY, None, None, "declined"),
    ]
    assert outcomes.height == 2


def test_the_written_workbook_survives_libreoffice_with_locks_lists_and_marks(tmp_path):
    from zipfile import ZipFile

    listed = a_list()
    source = tmp_path / "north.xlsx"
    source.write_bytes(render_xlsx(listed, listed.part("north"), a_book()))
    saved = libreoffice(source, tmp_path)
    one, two = (CalamineWorkbook.from_filelike(BytesIO(path.read_bytes())) for path in (source, saved))
    assert one.sheet_names == two.sheet_names and MARKS_SHEET in two.sheet_names
    for name in one.sheet_names:
        kept = [
            [[str(cell) for cell in row if cell != ""] for row in book.get_sheet_by_name(name).to_python()]
            for book in (one, two)
        ]
        assert kept[0] == kept[1], name
    with ZipFile(saved) as parts:
        sheet, book = (parts.read(f"xl/{name}.xml").decode() for name in ("worksheets/sheet1", "workbook"))
    assert "<sheetProtection" in sheet and "<autoFilter" in sheet and sheet.count("<dataValidation ") == 4
    assert re.search(r'name="ennakko"[^>]*state="(veryH|h)idden"', book)
    assert read_filled(saved, store_rows(listed), today=date(2024, 6, 20))[2] == []


@pytest.fixture(scope="module")
def pages():
    found = {}
    for language in LANGUAGES:
        listed = a_list({"north": [*(f"{i:06d}" for i in range(1, 13)), LONG]}, language=language)
        found[language] = render_page(listed, listed.parts[0], a_book())
    plain = a_list(need=a_need(("rank_band", "reasons", "action", "who_helps")))
    return {**found, "plain": render_page(plain, plain.parts[0], None)}


@pytest.mark.parametrize("name", [*LANGUAGES, "plain"])
def test_axe_finds_nothing(pages, tmp_path, name):
    axe = (installed("axe-core") / "axe.min.js").read_text("utf-8").replace("</script>", "<\\/script>")
    page = tmp_path / "page.html"
    page.write_text(pages[name].replace("</body>", RUN_AXE.format(axe=axe)), encoding="utf-8")
    dom = chromium("--virtual-time-budget=60000", "--dump-dom", page.as_uri(), folder=tmp_path)
    found = re.search(r'data-axe="([^"]+)"', dom)
    assert found, "axe-core did not finish"
    told = json.loads(unquote(found[1]))
    assert told["told"] == []
    assert told["passed"] > 15


@pytest.mark.parametrize("name", ["fi", "sv", "en"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_page_fits_the_window_and_fetches_nothing(pages, tmp_path, name, width):
    wide, page_width, fetched, out = measured(pages[name], tmp_path, width)
    assert (wide, fetched, out) == (width, 0, "")
    assert page_width <= wide


@pytest.mark.parametrize("name", [*LANGUAGES, "plain"])
def test_nothing_is_cut_off_on_a4(pages, tmp_path, name):
    """Within margins of 12 mm, at 96 pixels to the inch: a printer cuts what is wider, and nobody scrolls paper."""
    width = 1032 if "A4 landscape" in pages[name] else 703
    assert (width == 703) == (name == "plain")
    _, page_width, _, out = measured(pages[name].replace("@media print", "@media all"), tmp_path, width)
    assert page_width <= width and out == ""
