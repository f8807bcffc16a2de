"""The city's own GDPR API tester (PyPI gdpr-api-tester) as a client: its prompt, its issuer, its judgement."""

import socket
import threading

import pytest
import uvicorn
from gdpr_tester import AUDIENCE, ISSUER, told
from gdpr_world import ANNA, BO, DUTY, app_of, desk_of, erasing, home_with_people

pytestmark = pytest.mark.full


def served(home, **parts):
    """The interface on a real port, until the caller says stop."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"log_level": "critical", "access_log": False, "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(app_of(desk_of(home, **parts)), host="127.0.0.1", port=port, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    return server, thread, port


@pytest.mark.parametrize("issuer_type", ["tunnistamo", "keycloak"])
def test_query_trial_and_erasure_are_to_the_testers_liking(issuer_type, tmp_path):
    home = home_with_people(tmp_path / "home", ISSUER, AUDIENCE)
    server, thread, port = served(home)
    try:
        commands = ("query", "delete dryrun", "query", "delete", "query", "delete")
        said = told(port, tmp_path, *commands, issuer_type=issuer_type)
    finally:
        server.should_exit = True
        thread.join(10)
    assert len(said) == 6
    for held in (said[0], said[2]):
        assert "Response status code: 200" in held and "Success.\nThe response JSON:" in held
        assert '"key": "ENNAKKO"' in held and '"value": "youth"' in held
    assert "Response status code: 204" in said[1] and "The service can do the needed" in said[1]
    for done in (said[3], said[5]):
        assert "Response status code: 204" in done and "The service no longer contains personal data" in done
    assert "Response status code: 204" in said[4] and "There is no personal data related to the profile" in said[4]
    assert home.store.is_erased(["000123", "000124"]).tolist() == [True, False]
    desk = desk_of(home)
    assert (desk.links.person_of(ANNA), desk.links.person_of(BO)) == (None, "000124")
    assert home.audit_log.verify() == []


def test_refusals_are_in_the_form_the_tester_asks_for(tmp_path):
    home = home_with_people(tmp_path / "home", ISSUER, AUDIENCE)
    server, thread, port = served(home, erase=erasing(home, [DUTY]))
    try:
        said = told(
            port,
            tmp_path,
            *("delete", "delete dryrun", "set LOA=low", "delete", "set LOA=substantial"),
            *("set GDPR_API_AUDIENCE=another", "query", "delete"),
        )
    finally:
        server.should_exit = True
        thread.join(10)
    assert len(said) == 5
    for kept in said[:2]:
        assert "Response status code: 403" in kept and "Deletion denied." in kept
        assert "(The errors are in the correct format)" in kept and '"code": "archive_act"' in kept
    assert "(The errors are in the correct format)" in said[2] and "stronger_sign_in_needed" in said[2]
    for other in said[3:]:
        assert "Response status code: 401" in other
        assert "Credentials in the request were missing or were invalid." in other
    assert not home.store.is_erased(["000123"])[0]
