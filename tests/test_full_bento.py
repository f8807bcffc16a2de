"""The Bento: unpacked outside the checkout, installed from its own lock, it answers the same scores to the bit."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World
from served import free_port

from ethics.digests import PACKAGES, code_digest
from serving.cli import main
from serving.local_issuer import issue_token, make_issuer

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
INSTALLED_WITHIN_S, STARTED_WITHIN_S = 900, 180
CLEAN = {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "TMPDIR") if name in os.environ}


@pytest.fixture(scope="module")
def bento(tmp_path_factory):
    """A Bento as ``bentoml build`` and ``bentoml export`` make it, unpacked."""
    folder = tmp_path_factory.mktemp("bento")
    environment = {**os.environ, "BENTOML_HOME": str(folder / "store"), "BENTOML_DO_NOT_TRACK": "True"}
    bentoml = [sys.executable, "-m", "bentoml"]
    built = subprocess.run(
        [*bentoml, "build", "--output", "tag"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    tag = re.search(r"ennakko:\w+", built.stdout)[0]
    file = folder / "ennakko.tar"
    subprocess.run([*bentoml, "export", tag, file], env=environment, check=True, capture_output=True, timeout=300)
    with tarfile.open(file) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def python(bento, tmp_path_factory):
    """A Python that has what the Bento's own lock names, checked by its hashes, and nothing else."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    lock = bento / "env" / "python" / "requirements.txt"
    install = [folder / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", lock]
    done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALLED_WITHIN_S)
    assert done.returncode == 0, done.stderr
    yield folder / "bin" / "python"
    shutil.rmtree(folder)  # half a gigabyte


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    (world.folder / "youth.toml").write_text(MODEL_NEED)
    make_issuer(world.home, datetime.now(UTC))
    return world


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_the_packages_and_nothing_else(bento):
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    new = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", *PACKAGES], cwd=ROOT, capture_output=True, text=True
    )
    expected = {*tracked.stdout.split(), *new.stdout.split(), "requirements-run.lock", "bentofile.yaml"}
    assert files_below(bento / "src") == expected
    others = {path for path in files_below(bento) if not path.startswith("src/")}
    assert others == {
        *("README.md", "bento.yaml", "apis/openapi.yaml", "apis/schema.json"),
        *("env/python/requirements.in", "env/python/requirements.txt"),
        *("env/docker/Dockerfile", "env/docker/entrypoint.sh"),
    }


def test_no_file_names_an_index_or_a_place_on_the_builder(bento):
    for name in files_below(bento):
        content = (bento / name).read_bytes()
        assert not re.search(rb"(?m)^\s*--(extra-)?index-url|^\s*--find-links|/simple/", content), name
        assert str(ROOT).encode() not in content, name


def test_its_code_is_that_of_the_checkout(bento):
    assert code_digest(bento / "src") == code_digest()


def test_it_installs_no_tool_that_only_developers_need(python):
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"bentoml", "lightgbm", "polars", "pyjwt"} <= names
    assert not names & {"pytest", "hypothesis", "mypy", "ruff", "schemathesis", "marimo", "duckdb", "pre-commit"}


def test_it_answers_the_same_scores_to_the_bit(bento, python, world, tmp_path):
    words = ["score", "--home", world.home.root, "--city", world.city.folder, "--need", world.folder / "youth.toml"]
    assert main([str(word) for word in (*words, "--as-of", AS_OF)]) == 0
    (path,) = world.home.scores.rglob("*.parquet")
    local = pl.read_parquet(path)
    port = free_port()
    command = [python, "-m", "serving", "serve", "--home", world.home.root, "--city", world.city.folder]
    out = tmp_path / "said"
    with out.open("wb") as said:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=bento / "src", env=CLEAN, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        else:
            pytest.fail(out.read_text())
        body = {"need": "youth", "as_of_date": str(AS_OF), "reasons": False}
        token = issue_token(world.home, "system", subject="bento", needs=["youth"], minutes=30, now=datetime.now(UTC))[
            "token"
        ]
        headers = {"authorization": f"Bearer {token}", "x-purpose": "to compare"}
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            for row in local.sample(50, seed=0).to_dicts():
                answer = client.post("/score", json={**body, "person_id": row["person_id"]}).json()
                assert answer["score"] == row["score"] and answer["rank_band"] == row["rank_band"]
                assert answer["verdict_id"] == row["verdict_id"]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, out.read_text()


def test_bentoml_s_own_way_to_start_it_is_refused_before_a_port_opens(bento, python, world):
    port = free_port()
    environment = {
        **CLEAN,
        "ENNAKKO_HOME": str(world.home.root),
        "ENNAKKO_CITY": str(world.city.folder),
        "ENNAKKO_NEEDS": "youth",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [python, "-m", "bentoml", "serve", ".", "--port", str(port)]
    done = subprocess.run(
        command, cwd=bento / "src", env=environment, capture_output=True, text=True, timeout=STARTED_WITHIN_S
    )
    assert done.returncode != 0
    assert "would listen elsewhere than the settings say" in done.stdout + done.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
