"""The leader's page in a real browser, in three languages: axe-core, an HTML validator, narrow windows, and paper."""

import json
import re
import subprocess
from urllib.parse import unquote

import pytest
from leader_cases import LONG, a_need, a_unit, facts
from test_full_pages import measured
from test_full_report import BROWSER, LANGUAGES, RUN_AXE, chromium, installed

from scoring.leader_page import render_page

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def pages():
    """Every kind of need, one of them with many units of long names."""
    units = [a_unit(f"u{number}", name=f"{LONG} {number}") for number in range(30)]
    told = facts(*facts()["needs"], a_need("many", units=units))
    return {language: render_page(told, language) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing(pages, tmp_path, language):
    axe = (installed("axe-core") / "axe.min.js").read_text("utf-8").replace("</script>", "<\\/script>")
    page = tmp_path / "page.html"
    page.write_text(pages[language].replace("</body>", RUN_AXE.format(axe=axe)), encoding="utf-8")
    dom = chromium("--virtual-time-budget=60000", "--dump-dom", page.as_uri(), folder=tmp_path)
    found = re.search(r'data-axe="([^"]+)"', dom)
    assert found, "axe-core did not finish"
    told = json.loads(unquote(found[1]))
    assert told["told"] == []
    assert told["passed"] > 15


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_html_validator_finds_nothing(pages, tmp_path, language):
    path = tmp_path / "page.html"
    path.write_text(pages[language], encoding="utf-8")
    program, config = str(installed(".bin/html-validate")), str(BROWSER / "htmlvalidate.json")
    words = [program, "--config", config, "--formatter", "text", str(path)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=BROWSER)
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_fits_the_window_and_fetches_nothing(pages, tmp_path, language, width):
    wide, page_width, fetched, out = measured(pages[language], tmp_path, width)
    assert (wide, fetched, out) == (width, 0, "")
    assert page_width <= wide


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_prints_on_a4(pages, tmp_path, language):
    path, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    path.write_text(pages[language], encoding="utf-8")
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", path.as_uri(), folder=tmp_path)
    content = pdf.read_bytes()
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", content)}
    assert {(round(x), round(y)) for _, _, x, y in boxes} <= {(595, 842), (596, 842), (595, 841)}
    assert 4 <= len(re.findall(rb"/Type /Page\b", content)) <= 30
