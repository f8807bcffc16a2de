"""Report and list in a real browser: they fit a narrow screen, need no script, and fetch nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sealed_world import World

from ethics.report import render_report

pytestmark = pytest.mark.full
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Says, after the page is laid out, how wide it is and which visible elements stick out of the window.
MEASURE = """<script>
addEventListener("load", () => {
  const wide = document.documentElement.clientWidth;
  const inside = (element) => element.closest("[tabindex], .region") !== null;
  const out = [...document.body.querySelectorAll("*")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.left >= 0 && box.right > wide + 1 && !inside(element);
  });
  const fetched = performance.getEntriesByType("resource").length;
  const width = document.documentElement.scrollWidth;
  parent.postMessage(`${wide} ${width} ${fetched} ${out.map((element) => element.tagName).join()}`, "*");
});
</script></body>"""
# Chromium's own window is never narrower than 500 px; a frame is as narrow as one likes.
FRAME = """<!DOCTYPE html><html><body style="margin:0"><script>
addEventListener("message", (event) => document.documentElement.setAttribute("data-measured", event.data));
</script><iframe src="page.html" width="{width}" height="900" style="border:0"></iframe></body></html>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report and the list of a small sealed world."""
    world = World(tmp_path_factory.mktemp("world"), units=True)
    files = world.list().write(tmp_path_factory.mktemp("lists"))
    page = next(path for path in files if path.suffix == ".html")
    return {"report": render_report(world.verdict, world.fairness[1].cells), "list": page.read_text("utf-8")}


def measured(page: str, folder: Path, width: int):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is not installed: make setup-full")
    (folder / "page.html").write_text(page.replace("</body>", MEASURE), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    words = [chromium, *QUIET, "--hide-scrollbars", profile, "--window-size=1400,900", "--dump-dom", frame.as_uri()]
    dom = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-measured="(\d+) (\d+) (\d+) ([^"]*)"', dom)
    assert found, dom[:500]
    return int(found[1]), int(found[2]), int(found[3]), found[4]


@pytest.mark.parametrize("name", ["report", "list"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_page_fits_the_window_and_fetches_nothing(pages, tmp_path, name, width):
    wide, page_width, fetched, out = measured(pages[name], tmp_path, width)
    assert wide == width
    assert page_width <= wide, f"scrolls sideways at {width} px: {out}"
    assert out == ""
    assert fetched == 0


@pytest.mark.parametrize("name", ["report", "list"])
def test_a_page_carries_no_script(pages, name):
    assert "<script" not in pages[name].lower()


@pytest.mark.parametrize("name", ["report", "list"])
def test_a_page_prints_on_a4(pages, tmp_path, name):
    path = tmp_path / "page.html"
    path.write_text(pages[name], encoding="utf-8")
    pdf = tmp_path / "page.pdf"
    words = [shutil.which("chromium"), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}"]
    subprocess.run([*words, path.as_uri()], capture_output=True, timeout=120, check=True)
    assert pdf.read_bytes().startswith(b"%PDF")
