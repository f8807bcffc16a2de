"""Linters of Dockerfile and compose file, and the command that the compose file starts MLflow by."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from sealed_world import World
from served import free_port

from serving.approval import open_champion
from serving.home import Home
from serving.settings import Settings

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
LINTERS = ROOT / ".venv-deploy-lint" / "bin"
STARTED_WITHIN_S = 120


def linted(name, *words):
    if not (LINTERS / name).exists():
        pytest.fail("the linters are not installed: make setup-full")
    done = subprocess.run([LINTERS / name, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_the_dockerfile_is_clean():
    assert linted("hadolint", "--failure-threshold", "style", "Dockerfile") == (0, "")


def test_the_compose_file_is_clean_but_for_digests_that_a_city_pins_itself():
    environment = "--fail-on=low"
    code, said = linted("compose-lint", "check", environment, "compose.yaml")
    found = {word for word in said.split() if word.startswith("CL-")}
    assert found <= {"CL-0019", "CL-0019)"}, said
    assert code in (0, 1), said


def test_a_home_works_with_mlflow_as_the_compose_file_starts_it(tmp_path):
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["mlflow"]
    port, runs = free_port(), tmp_path / "runs"
    runs.mkdir()
    words = [
        word.replace("/var/lib/ennakko", str(runs)).replace("5000", str(port)).replace("0.0.0.0", "127.0.0.1")
        for word in service["entrypoint"]
    ]
    environment = {**os.environ, **service["environment"]}
    with (tmp_path / "said").open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < until and server.poll() is None:
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        else:
            pytest.fail((tmp_path / "said").read_text())
        named = httpx.get(f"{url}/health", headers={"host": f"mlflow:{port}"})  # what the service calls it
        assert named.status_code == 200
        world = World(tmp_path / "world")
        world.home = _with_mlflow(world, url)
        world.approve()
        champion = open_champion(world.home, world.need_id)
        assert champion.model.digest == world.model.digest
        assert list(world.home.mlflow_artefacts.rglob("trees.txt"))  # in the home, not at the server
        assert not list(runs.rglob("trees.txt"))
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def _with_mlflow(world, url):
    """The world's home, whose runs are kept by a server."""
    before = world.home
    return Home(Settings(home=before.root, mlflow_uri=url))
