"""docs/examples.md: every example runs against a real service; those for Excel say what the table of endpoints says."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from sealed_world import AS_OF, World
from served import start, stop, wait_until_it_answers

from serving.endpoints import ENDPOINTS
from serving.local_issuer import issue_token, make_issuer

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "examples.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", TEXT, flags=re.DOTALL) for kind in ("sh", "python", "m")}
PATHS = {(endpoint.method, endpoint.path): endpoint for endpoint in ENDPOINTS}
OPEN_DATA = "/open-data/"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    make_issuer(world.home, datetime.now(UTC))
    return world


@pytest.fixture(scope="module")
def local(world):
    frame = world.score().frame
    return dict(zip(frame["person_id"], frame["score"], strict=True))


@pytest.fixture(scope="module")
def server(world):
    server = start(world)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said


@pytest.fixture
def run(world, server, tmp_path):
    """Run an example with this world's names in the place of the page's."""
    token = issue_token(world.home, "system", subject="page", needs=["youth"], minutes=60, now=datetime.now(UTC))[
        "token"
    ]
    (tmp_path / "token").write_text(token + "\n")
    pl.DataFrame({"person_id": ["000123", "000124"]}).write_csv(tmp_path / "people.csv")
    command = tmp_path / "ennakko"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m serving "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ENNAKKO_HOME": str(world.home.root),
        "SERVER": server.url,
        "TOKEN_FILE": str(tmp_path / "token"),
    }

    def run(words, text):
        text = text.replace("youth_exclusion", "youth").replace("2026-06-01", str(AS_OF))
        text = text.replace("http://127.0.0.1:3000", server.url)
        done = subprocess.run(
            [*words, text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout, done.stderr

    return run


def shell(part):
    (found,) = [block for block in BLOCKS["sh"] if part in block]
    return found


def test_a_token_is_made_as_the_page_says(run, tmp_path):
    (tmp_path / "token").unlink()
    code, out, err = run(["sh", "-e", "-c"], shell("ennakko token"))
    assert (code, out) == (0, ""), err
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert run(["sh", "-e", "-c"], shell("/needs"))[0] == 0


def test_the_command_writes_the_scores(run, local, tmp_path):
    code, _, err = run(["sh", "-e", "-c"], shell("ennakko score"))
    assert code == 0, err
    found = pl.read_parquet(tmp_path / "scores.parquet")
    assert found["score"].to_list() == [local["000123"], local["000124"]]


def test_curl_gets_one_score_the_needs_and_whether_scores_can_leave(run, local):
    code, out, err = run(["sh", "-e", "-c"], shell('"$SERVER/score"'))
    assert code == 0, err
    assert json.loads(out)["score"] == local["000123"]
    code, out, _ = run(["sh", "-e", "-c"], shell("/needs"))
    assert code == 0 and [need["need"] for need in json.loads(out)["needs"]] == ["youth"]
    assert run(["sh", "-e", "-c"], shell("/readyz"))[0] == 0


def test_every_shell_example_is_one_of_those_above_or_of_open_data():
    parts = ("ennakko token", "ennakko score", '"$SERVER/score"', "/needs", "/readyz", OPEN_DATA)
    assert sorted(shell(part) for part in parts) == sorted(BLOCKS["sh"])


@pytest.mark.parametrize("number", range(3))
def test_every_python_example_prints_the_scores(run, local, number):
    assert len(BLOCKS["python"]) == 3
    code, out, err = run([sys.executable, "-c"], BLOCKS["python"][number])
    assert code == 0, err
    assert str(local["000123"]) in out
    assert number == 0 or str(local["000124"]) in out


def test_the_first_python_example_tells_refusals_too(run):
    code, out, _ = run([sys.executable, "-c"], BLOCKS["python"][0].replace("000123", "nobody"))
    assert code == 0 and "body: person_id | is nobody who is known here | " in out


def test_what_excel_sends_is_what_the_table_of_endpoints_asks_for():
    (asks,) = [block for block in BLOCKS["m"] if "score_batch" in block]
    path = "/" + re.search(r'RelativePath = "([^"]+)"', asks)[1]
    endpoint = PATHS["POST", path]
    headers = dict(re.findall(r'#"([\w-]+)" = "([^"]*)"', asks))
    assert set(headers) == {"Authorization", "Content-Type", "Accept", "X-Purpose"}
    assert headers["Authorization"] == "Bearer " and '"Bearer " & Token' in asks
    assert endpoint.purpose and headers["X-Purpose"]
    assert headers["Content-Type"] in endpoint.body_kinds and headers["Accept"] in endpoint.answer_kinds
    keys = set(re.findall(r"(\w+) =", re.search(r"Json\.FromValue\(\[(.*?)\]\)", asks)[1]))
    fields = endpoint.body.model_fields
    assert keys <= set(fields) and {name for name, field in fields.items() if field.is_required()} <= keys
    columns = re.findall(r'"(\w+)"', re.search(r"Answer\[rows\], \{(.*?)\}", asks)[1])
    assert columns == list(endpoint.answer_example["rows"][0])


def test_the_area_table_is_fetched_as_the_page_says(run, world, tmp_path):
    from scoring.area_table import District, area_rows, as_csv

    week = world.home.root / "week" / "2024-06-03"
    week.mkdir(parents=True)
    table = as_csv(area_rows("youth", [District("a", 300, 30, 41.2), District("b", 200, 40, 12.0)], least=5))
    (week / "area.csv").write_text(table, encoding="utf-8", newline="")
    code, _, err = run(["sh", "-e", "-c"], shell(OPEN_DATA))
    assert code == 0, err
    assert (tmp_path / "areas.csv").read_bytes() == table.encode()


def test_open_data_is_asked_for_as_the_table_of_endpoints_has_it():
    (path,) = {f"/{found}" for found in re.findall(r"open-data/[\w.-]+", TEXT)}
    (endpoint,) = [row for (method, at), row in PATHS.items() if at.startswith(OPEN_DATA) and method == "GET"]
    assert re.fullmatch(endpoint.path.replace("{need}", r"[\w-]+"), path)
    assert endpoint.roles == () and not endpoint.purpose  # to everybody, without a token
