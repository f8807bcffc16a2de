"""The city's own GDPR API tester (PyPI gdpr-api-tester) as a client: its prompt, its issuer, its judgement."""

import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import uvicorn
from gdpr_world import ANNA, BO, DUTY, PATH, app_of, desk_of, erasing, home_with_people

pytestmark = pytest.mark.full
PYTHON = Path(__file__).resolve().parent.parent / ".venv-gdpr-tester" / "bin" / "python"
ISSUER = "http://127.0.0.1:8888/"  # the tester always listens there
AUDIENCE = "http://localhost:8080/ennakko"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


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


def told(port, folder, *commands, issuer_type="tunnistamo", **settings):
    """What the tester says to some commands, without its colours, cut into one text per request."""
    if not PYTHON.exists():
        pytest.fail("the GDPR tester is not installed: make setup-full")
    environment = {
        "PATH": os.environ["PATH"],
        "ISSUER": ISSUER,
        "ISSUER_TYPE": issuer_type,
        "GDPR_API_AUDIENCE": AUDIENCE,
        "GDPR_API_AUTHORIZATION_FIELD": "https://api.hel.fi/auth",
        "GDPR_API_QUERY_SCOPE": "ennakko.gdprquery",
        "GDPR_API_DELETE_SCOPE": "ennakko.gdprdelete",
        "GDPR_API_URL": f"http://127.0.0.1:{port}{PATH}/$user_uuid",
        "USER_UUID": str(ANNA),
    } | settings
    lines = "".join(f"{command}\n" for command in (*commands, "exit"))
    run = subprocess.run(
        [PYTHON, "-c", "from gdpr_api_tester.main import main; main()"],
        input=lines,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return COLOUR.sub("", run.stdout).split("Sending GDPR API request")[1:]


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
