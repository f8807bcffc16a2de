"""The public summary printed by a real browser: one sheet of A4 in each language, however much there is to say."""

import re
import shutil
import subprocess

import pytest
from ethics_cases import NOW, POLICY, evidence, feature, people
from test_full_pages import QUIET

from ethics import judge, measure
from ethics.public_summary import LANGUAGES, render_public_summary

pytestmark = pytest.mark.full
LONG = "Tällä tavalla kirjoitettu, varsin pitkä mutta tavallinen kuvaus siitä, mitä nuorelle tarjotaan ja miksi. " * 2


@pytest.fixture(scope="module")
def crowded():
    """A verdict with many groups, features and words, blocked or not certain in most."""
    world = people(20_000, drop_label=0.4)
    world["groups"] |= {"district_of_residence": [f"district number {i % 15}" for i in range(20_000)]}
    table = measure(**world, seed=1, replicates=200)
    features = [
        feature(f"f{i}.count", feature=f"f{i}", plain=dict.fromkeys(LANGUAGES, f"a long enough name of a feature {i}"))
        for i in range(14)
    ]
    written = {name: dict.fromkeys(LANGUAGES, LONG) for name in ("question", "action", "benefit", "alternative")} | {
        "title": dict.fromkeys(LANGUAGES, "Etsivä nuorisotyö: kenelle apua tarjotaan ensin")
    }
    case = evidence(features=features, texts=written, invented=True)
    return judge(case, table, POLICY, issued_at=NOW, demonstration=True), table


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_prints_on_one_sheet(crowded, tmp_path, language):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is not installed: make setup-full")
    page, printed = tmp_path / "summary.html", tmp_path / "summary.pdf"
    page.write_text(render_public_summary(crowded[0], crowded[1].cells, language), encoding="utf-8")
    words = [chromium, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer"]
    subprocess.run([*words, f"--print-to-pdf={printed}", page.as_uri()], check=True, capture_output=True, timeout=120)
    pdf = printed.read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1
    width, height = map(float, re.search(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf).groups())
    assert (round(width), round(height)) == (595, 842)  # A4 in points
