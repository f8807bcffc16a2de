"""A resident's page in a real browser, in three languages: axe-core, an HTML validator, narrow windows, and paper."""

import contextlib
import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from test_full_pages import measured
from test_full_report import BROWSER, RUN_AXE, chromium, installed
from test_person_view import ASKS, world  # noqa: F401 a fixture

from scoring.person_page import render_page
from serving.objection_work import record_objection
from serving.person_desk import page_policy
from serving.person_work import look_at_person

pytestmark = pytest.mark.full
LANGUAGES = ("fi", "sv", "en")
LONG = "Lähisuhdeväkivaltakokemuskartoitushaastatteluvastaanottoaikavarausjärjestelmä"


@pytest.fixture(scope="module")
def pages(world):  # noqa: F811
    """Of somebody listed, contacted, looked at and objecting; with very long words; and of somebody unknown."""
    home, city = world.home, world.folder / "city"
    record_objection(home, world.listed, "youth_rule", channel="letter", by="resident")
    found = {}
    for language in LANGUAGES:
        view = look_at_person(home, world.listed, **ASKS, city=city, language=language)
        view["invented"] = True
        view["needs"][0]["title"] = view["looks"][0]["purpose"] = LONG
        view["needs"][0]["data"]["read"][0]["plain"] = LONG
        found[language] = render_page(view)
    found["unknown"] = render_page(look_at_person(home, "stranger", **ASKS, city=city))
    return found


@pytest.mark.parametrize("name", [*LANGUAGES, "unknown"])
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


@pytest.mark.parametrize("name", [*LANGUAGES, "unknown"])
def test_an_html_validator_finds_nothing(pages, tmp_path, name):
    path = tmp_path / "page.html"
    path.write_text(pages[name], encoding="utf-8")
    words = ("--config", str(BROWSER / "htmlvalidate.json"), "--formatter", "text", str(path))
    program = str(installed(".bin/html-validate"))
    result = subprocess.run([program, *words], capture_output=True, text=True, timeout=120, cwd=BROWSER)
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.parametrize("width", [320, 1280])
def test_a_page_fits_the_window_and_fetches_nothing(pages, tmp_path, name, width):
    wide, page_width, fetched, out = measured(pages[name], tmp_path, width)
    assert (wide, fetched, out) == (width, 0, "")
    assert page_width <= wide


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_page_prints_on_a4(pages, tmp_path, name):
    path, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    path.write_text(pages[name], encoding="utf-8")
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", path.as_uri(), folder=tmp_path)
    content = pdf.read_bytes()
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", content)}
    assert {(round(x), round(y)) for _, _, x, y in boxes} <= {(595, 842), (596, 842), (595, 841)}
    assert 2 <= len(re.findall(rb"/Type /Page\b", content)) <= 12


@contextlib.contextmanager
def answering(page, policy):
    """The page over HTTP, under a content security policy as the service sends it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # the standard library's name for it
            content = page.encode() if self.path == "/" else b""
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_under_the_policy_of_its_answer_the_browser_applies_its_style_and_no_other(pages, tmp_path):
    """What is seen is compared: a script of ours could not look, since the policy lets none run."""
    page = pages["en"]
    policy = page_policy(page)
    changed = page.replace("<style>", "<style>body { display: none }", 1)
    seen = {}
    for name, (shown, under) in {
        "free": (page, "frame-ancestors 'none'"),
        "answer": (page, policy),
        "changed": (changed, policy),
        "none": (page, "default-src 'none'"),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        with answering(shown, under) as address:
            chromium(f"--screenshot={folder / 'seen.png'}", "--window-size=600,800", address, folder=folder)
        seen[name] = (folder / "seen.png").read_bytes()
    assert seen["answer"] == seen["free"] != seen["none"]
    assert seen["changed"] == seen["none"]
