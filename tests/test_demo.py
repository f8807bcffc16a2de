import json
from datetime import UTC, datetime, timedelta

import pytest

from serving import upkeep
from serving.demo import ENOUGH_PERSONS, NEEDS, _story, ensure_demonstration_keys, run_demo
from serving.home import Home
from serving.progress import silent
from serving.settings import Settings


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    home = Home(Settings(home=tmp_path_factory.mktemp("demo") / "home"))
    return home, run_demo(home, 4_000, 0, silent)


@pytest.mark.full
def test_the_demonstration_takes_every_need_to_a_verdict_and_says_what_it_is(shown):
    _, result = shown
    assert [row["need"] for row in result["needs"]] == list(NEEDS)
    assert {row["state"] for row in result["needs"]} <= {"PASS", "PASS_ATTESTED", "BLOCK"}
    story = result["story"]
    assert "DEMONSTRATION" in story and "INVENTED PEOPLE" in story
    assert "As a caseworker reads it" in story
    assert story.split("Try next:")[1].count(".venv/bin/ennakko") == 3


@pytest.mark.full
def test_it_can_be_run_again_in_the_same_home(shown):
    home, first = shown
    again = run_demo(home, 4_000, 0, silent)
    assert [row["state"] for row in again["needs"]] == [row["state"] for row in first["needs"]]


@pytest.mark.full
def test_a_city_too_small_for_the_proof_is_said_to_be(shown):
    home, result = shown
    (cost,) = [row for row in result["needs"] if row["need"] == "health_by_cost"]
    assert cost["state"] == "BLOCK" and "is not blocked here" not in result["story"]
    assert f"--persons {ENOUGH_PERSONS}" in _story(home, home.root / "city", {}, missed="")


@pytest.mark.full
def test_a_blocked_need_has_a_report_and_no_list(shown):
    _, result = shown
    for row in result["needs"]:
        assert bool(row["list"]) == (row["state"] != "BLOCK")


@pytest.mark.full
def test_everything_it_touched_says_demonstration_and_invented_people(shown):
    home, _ = shown
    pages = [*home.verdicts.rglob("*.html"), *home.lists.rglob("*.html")]
    assert len(pages) > 8
    for page in pages:
        text = page.read_text("utf-8")
        assert any(word in text for word in ("DEMONSTRATION", "ESITTELY")), page
        assert any(word in text for word in ("INVENTED PEOPLE", "KEKSITTYJÄ IHMISIÄ", "PÅHITTADE MÄNNISKOR")), page
    for record in home.runs.glob("*/run.json"):
        assert json.loads(record.read_text("utf-8"))["invented"]


def test_demonstration_keys_are_made_once_and_again_when_they_have_expired(tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    upkeep.make_demonstration_keys(home, datetime.now(UTC) - timedelta(days=8))
    ensure_demonstration_keys(home)
    n_keys = len(home.key_ring.trust())
    assert n_keys == 2 * len(upkeep.DEMONSTRATION_NAMES)
    ensure_demonstration_keys(home)
    assert len(home.key_ring.trust()) == n_keys
