"""The home's own erasure behind the GDPR interface: duties to keep, other commands at work, and the end of it."""

import json
import shutil
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from gdpr_world import ANNA, PATH, PROFILE_AUDIENCE, Client, app_of, desk_of, home_with_people
from openid_provider import Provider
from store_cases import NEED, SECOND, small_list
from test_gdpr import acts, bearer, codes

from serving.home import Home
from serving.settings import Settings

LAW = {"fi": "arkistolaki 831/1994.", "sv": "arkivlagen 831/1994", "en": "the Archives Act (831/1994)"}


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory, provider):
    return home_with_people(tmp_path_factory.mktemp("begun") / "home", provider.issuer).root


@pytest.fixture
def home(provider, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "home")
    settings = Settings(home=tmp_path / "home", profile_issuer=provider.issuer, profile_audience=PROFILE_AUDIENCE)
    return Home(settings)


def client_of(home):
    return Client(app_of(desk_of(home)))


def listed_under_a_duty(home, days):
    keep = SimpleNamespace(days=days, law=SimpleNamespace(model_dump=lambda: LAW))
    need = SimpleNamespace(**{**vars(NEED), "list": SimpleNamespace(keep=keep)})
    home.store.publish(small_list(home.store, {"kallio": ["000123"]}, SECOND, as_of=date.today(), need=need), [])


def test_a_resident_is_erased_from_database_and_files(provider, home):
    (home.scores / "youth").mkdir(parents=True)
    client, headers = client_of(home), bearer(provider, "gdprdelete")
    assert client.delete(f"{PATH}/{ANNA}?dry_run=true", headers=headers).status_code == 204
    assert not home.store.is_erased(["000123"])[0]
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 204
    assert home.store.is_erased(["000123", "000124"]).tolist() == [True, False]
    assert [act for act, _ in acts(home)] == ["gdpr delete", "gdpr delete", "erase"]
    assert acts(home)[-1][1]["reason"] == "asked for it through Helsinki Profile"
    [journal] = (home.root / "erasures").glob("*.json")
    assert json.loads(journal.read_bytes())["ended_at"] is not None
    assert home.audit_log.verify() == []
    held = [path for path in home.root.rglob("*") if path.is_file() and b"000123" in path.read_bytes()]
    assert held == []


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_law_that_says_to_keep_is_told_in_three_languages(query, provider, home):
    listed_under_a_duty(home, 3650)
    response = client_of(home).delete(f"{PATH}/{ANNA}{query}", headers=bearer(provider, "gdprdelete"))
    assert (response.status_code, codes(response)) == (403, ["statutory_duty"])
    said, until = response.json()["errors"][0]["message"], date.today() + timedelta(days=3650)
    assert f"ennen {until.day}.{until.month}.{until.year}, koska laki" in said["fi"]
    assert "säilyttämään ne: arkistolaki 831/1994. Voit" in said["fi"]
    assert f"före {until.day}.{until.month}.{until.year}" in said["sv"] and LAW["sv"] in said["sv"]
    assert f"before {until:%-d %B %Y}" in said["en"] and LAW["en"] in said["en"]
    assert not home.store.is_erased(["000123"])[0]
    assert list(desk_of(home).pending.all()) == []


def test_a_duty_that_has_passed_keeps_nothing(provider, home):
    listed_under_a_duty(home, 0)
    assert client_of(home).delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete")).status_code == 204
    assert home.store.is_erased(["000123"])[0]


def test_nobody_waits_for_another_command_to_end(provider, home):
    client, headers = client_of(home), bearer(provider, "gdprdelete")
    with home.in_use():
        response = client.delete(f"{PATH}/{ANNA}", headers=headers)
        assert (response.status_code, codes(response)) == (503, ["erasure_must_wait"])
        assert client.delete(f"{PATH}/{ANNA}?dry_run=1", headers=headers).status_code == 204
    assert not home.store.is_erased(["000123"])[0]
    assert list(desk_of(home).pending.all()) == []  # nothing is armed: who still wants it asks again
    assert client.delete(f"{PATH}/{ANNA}", headers=headers).status_code == 204
    assert home.store.is_erased(["000123"])[0]


def test_what_a_kill_left_in_the_files_goes_when_the_service_starts_again(provider, home, monkeypatch):
    """The store has forgotten the person, so no link leads to them; the pending file does."""
    from serving import erasure_work

    def killed(*_):
        raise OSError("killed")

    monkeypatch.setattr(erasure_work, "_take_out", killed)
    response = client_of(home).delete(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprdelete"))
    assert response.status_code == 500
    assert home.store.is_erased(["000123"])[0] and acts(home)[-1][0] != "erase"
    monkeypatch.undo()
    desk = desk_of(home)
    assert desk.finish() == 1
    assert acts(home)[-1][0] == "erase"
    assert (desk.links.count(), list(desk.pending.all())) == (1, [])
