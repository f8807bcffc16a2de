"""The home's own person view behind the GDPR interface."""

import json

import pytest
from gdpr_world import ANNA, BO, PATH, STRANGER, Client, app_of, desk_of, home_with_people
from openid_provider import Provider
from test_gdpr import acts, bearer

from serving.profile_links import open_links


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture
def home(provider, tmp_path):
    return home_with_people(tmp_path / "home", provider.issuer)


def values_of(node, key):
    """Every value under a key, wherever it stands in the tree."""
    found = [node["value"]] if node["key"] == key and "value" in node else []
    return found + [value for child in node.get("children", ()) for value in values_of(child, key)]


def test_the_tree_holds_scores_lists_and_who_looked(provider, home):
    client = Client(app_of(desk_of(home)))
    response = client.get(f"{PATH}/{ANNA}", headers=bearer(provider, "gdprquery"))
    assert response.status_code == 200
    tree = response.json()
    assert values_of(tree, "STATE") == ["known"]
    assert values_of(tree, "NEED")[0] == "youth"
    assert values_of(tree, "RANK_BAND") and len(values_of(tree, "SCORE")) == 1
    assert values_of(tree, "PURPOSE")[-1].startswith("right of access (GDPR 15)")
    assert "000124" not in response.text
    assert [act for act, _ in acts(home)] == ["gdpr query", "person"]
    assert "000123" not in json.dumps(acts(home))


def test_of_whom_nothing_is_held_there_is_nothing_to_tell(provider, home):
    client = Client(app_of(desk_of(home)))
    home.store.erase("000124")
    open_links(home).link([(STRANGER, "000999")])
    for whose in (BO, STRANGER):
        assert client.get(f"{PATH}/{whose}", headers=bearer(provider, "gdprquery", whose=whose)).status_code == 204
    home.objections.object("000999", "youth")
    response = client.get(f"{PATH}/{STRANGER}", headers=bearer(provider, "gdprquery", whose=STRANGER))
    assert response.status_code == 200 and "youth" in response.text
