"""The report by the tools of others, in three languages: axe-core in a browser, an HTML validator, and paper."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ethics_cases import NOW, POLICY, evidence, people, texts
from test_full_pages import QUIET, measured

from ethics import judge, measure
from ethics.report import render_all

pytestmark = pytest.mark.full
BROWSER = Path(__file__).parent / "browser"
LANGUAGES = ("fi", "sv", "en")
LONG = "Lähisuhdeväkivaltakokemuskartoitushaastatteluvastaanottoaikavarausjärjestelmä"
# Runs axe-core when the page is laid out and writes what it found where --dump-dom shows it.
RUN_AXE = """<script>{axe}</script><script>
addEventListener("load", () => axe.run(document, {{
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  resultTypes: ["violations"],
}}).then((found) => {{
  const told = found.violations.map((rule) => [rule.id, rule.nodes.length, rule.nodes[0].html.slice(0, 300)]);
  const passed = found.passes.length;
  document.documentElement.setAttribute("data-axe", encodeURIComponent(JSON.stringify({{told, passed}})));
}}));
</script></body>"""


def installed(name):
    path = BROWSER / "node_modules" / name
    if not path.exists():
        pytest.fail(f"{name} is not installed: make setup-full")
    return path


def chromium(*words, folder):
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("Chromium is not installed: make setup-full")
    words = [program, *QUIET, f"--user-data-dir={folder / 'profile'}", *words]
    return subprocess.run(words, capture_output=True, text=True, timeout=180, check=True).stdout


@pytest.fixture(scope="module")
def pages():
    """A blocked verdict with every kind of section, and a need with a very long name."""
    world = people(20_000)
    world["groups"] |= {LONG: world["groups"]["language"]}
    table = measure(**world, seed=7, replicates=200)
    case = evidence(invented=True, stop_switch_tested_at=None, texts=texts(title=LONG, question=LONG))
    verdict = judge(case, table, POLICY, issued_at=NOW, demonstration=True)
    return render_all(verdict, table.cells)


@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing(pages, tmp_path, language):
    axe = (installed("axe-core") / "axe.min.js").read_text("utf-8").replace("</script>", "<\\/script>")
    # What is folded is read too, or half the tables would go unseen.
    html = pages[f"report.{language}.html"].replace("<details>", "<details open>")
    (tmp_path / "page.html").write_text(html.replace("</body>", RUN_AXE.format(axe=axe)), encoding="utf-8")
    page = (tmp_path / "page.html").as_uri()
    dom = chromium("--virtual-time-budget=60000", "--dump-dom", page, folder=tmp_path)
    found = re.search(r'data-axe="([^"]+)"', dom)
    assert found, "axe-core did not finish"
    from urllib.parse import unquote

    told = json.loads(unquote(found[1]))
    assert told["told"] == []
    assert told["passed"] > 15


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_html_validator_finds_nothing(pages, tmp_path, language):
    path = tmp_path / "page.html"
    path.write_text(pages[f"report.{language}.html"], encoding="utf-8")
    words = [
        str(installed(".bin/html-validate")),
        "--config",
        str(BROWSER / "htmlvalidate.json"),
        "--formatter",
        "text",
        str(path),
    ]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=BROWSER)
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [320, 1280])
def test_the_report_fits_the_window_whatever_words_it_holds(pages, tmp_path, language, width):
    wide, page_width, fetched, out = measured(pages[f"report.{language}.html"], tmp_path, width)
    assert (wide, fetched, out) == (width, 0, "")
    assert page_width <= wide


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_prints_on_a4(pages, tmp_path, language):
    path, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    path.write_text(pages[f"report.{language}.html"], encoding="utf-8")
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", path.as_uri(), folder=tmp_path)
    content = pdf.read_bytes()
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", content)}
    assert {(round(x), round(y)) for _, _, x, y in boxes} <= {(595, 842), (596, 842), (595, 841)}
    assert 5 <= len(re.findall(rb"/Type /Page\b", content)) <= 80
