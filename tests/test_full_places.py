"""Pages of proposals and of simulations in a real browser, in three languages: axe-core, narrow and wide windows."""

import json
import re
from urllib.parse import unquote

import numpy as np
import pytest
from test_assignment import a_city, offers, proposed
from test_full_pages import measured
from test_full_report import RUN_AXE, chromium, installed
from test_simulation import a_history, a_result

from scoring.place_files import render_page as render_places
from scoring.simulation_page import render_page as render_simulation

pytestmark = pytest.mark.full
LANGUAGES = ("fi", "sv", "en")
LONG = "Lähisuhdeväkivaltakokemuskartoitushaastatteluvastaanottoaikavarausjärjestelmä"
GROUP = {
    "attribute": "district",
    "group": LONG,
    "n": 40,
    **{
        f"{rule}.{name}": 12.5
        for rule in ("ours", "nearest")
        for name in ("none", "mean_metres", "expected_acceptance")
    },
}


@pytest.fixture(scope="module")
def pages():
    flags = {"safety_ban": np.arange(60) % 20 == 0}
    found = proposed(a_city(places=8, **flags)._replace(offers=offers(4_000)))
    result = a_result(a_history(units=["a", "b"]))
    result["by_group"][0]["group"] = LONG
    places = {f"places.{language}": render_places(found, [GROUP], language, invented=True) for language in LANGUAGES}
    return places | {f"simulation.{language}": render_simulation(result, language) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["places", "simulation"])
def test_axe_finds_nothing(pages, tmp_path, name, language):
    axe = (installed("axe-core") / "axe.min.js").read_text("utf-8").replace("</script>", "<\\/script>")
    page = tmp_path / "page.html"
    page.write_text(pages[f"{name}.{language}"].replace("</body>", RUN_AXE.format(axe=axe)), encoding="utf-8")
    dom = chromium("--virtual-time-budget=60000", "--dump-dom", page.as_uri(), folder=tmp_path)
    found = re.search(r'data-axe="([^"]+)"', dom)
    assert found, "axe-core did not finish"
    told = json.loads(unquote(found[1]))
    assert told["told"] == []
    assert told["passed"] > 15


@pytest.mark.parametrize("name", ["places.fi", "places.sv", "simulation.fi", "simulation.en"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_page_fits_the_window_and_fetches_nothing(pages, tmp_path, name, width):
    wide, page_width, fetched, out = measured(pages[name], tmp_path, width)
    assert (wide, fetched, out) == (width, 0, "")
    assert page_width <= wide
