"""The city's own GDPR API tester (PyPI gdpr-api-tester) as a client: it is issuer, prompt and judge in one.

It stands in an environment of its own (``make setup-full``); ``ENNAKKO_GDPR_TESTER`` names another.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from gdpr_world import ANNA, PATH

ENVIRONMENT = Path(
    os.environ.get("ENNAKKO_GDPR_TESTER") or Path(__file__).resolve().parent.parent / ".venv-gdpr-tester"
)
PYTHON = ENVIRONMENT / "bin" / "python"
ISSUER = "http://127.0.0.1:8888/"  # the tester always listens there
AUDIENCE = "http://localhost:8080/ennakko"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


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
