"""The city's GDPR tester against ``ennakko serve`` itself: query, trial, erasure; and nobody is left in any place.

The tester is also the issuer behind Helsinki Profile: the service finds it by discovery and fetches its keys.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile, is_zipfile

import httpx
import polars as pl
import pytest
from gdpr_tester import AUDIENCE, ISSUER, told
from gdpr_world import ANNA
from sealed_world import AS_OF, MODEL_NEED, World
from served import free_port, stop, wait_until_it_answers

from serving.approval import RECORDED
from serving.cli import main
from serving.flows import score_need
from serving.home import Home
from serving.list_work import list_need
from serving.local_issuer import issue_token, make_issuer
from serving.past_lists import rebuild_list
from serving.profile_links import open_links
from serving.settings import Settings

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
LIST = '\n[list]\ncolumns = ["rank_band", "reasons", "contact", "channel"]\n'
PURPOSE = {"x-purpose": "to see that nobody is left"}


def command(*words):
    """A command's exit code and what it says as JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main([*map(str, words), "--json"])
    return code, json.loads(out.getvalue())


@pytest.fixture
def world(tmp_path):
    """A home in use: judged, approved, scored, listed; whoever is first on the list has a profile. And its backup."""
    world = World(tmp_path, units=True, need_text=MODEL_NEED + LIST)
    home, city, world.need_file = world.home, tmp_path / "city", tmp_path / "youth.toml"
    people = world.city.persons["person_id"]
    world.groups._frame.write_parquet(city / "groups.parquet")
    world.need_file.write_text(world.need_text)
    names = ("person_id", "name", "channel", "phone", "language", "interpreter", "guardian", "secrecy_order")
    book = [(one, f"Person {one}", "phone", f"+358 {one}", "fi", False, None, False) for one in people]
    pl.DataFrame(book, schema=names, orient="row").write_parquet(city / "contacts.parquet")
    world.approve()
    recorded = {name: str(world.verdict.subject[name]) for name in RECORDED if name in world.verdict.subject}
    verdict = {"verdict": world.verdict.verdict_id, "state": world.verdict.state, **recorded}
    home.audit_log.append("judge", "gate", need="youth", **verdict)  # as judging does
    world.list_id = list_need(home, city, world.need_file, AS_OF)["list_id"]
    score_need(home, city, world.need_file, AS_OF)
    rebuild_list(home, world.list_id, home.root / "copy.jsonl", by="archivist", purpose="an audit")
    world.person, world.other = home.store.rows(world.list_id)["person_id"][:2]
    open_links(home).link([(ANNA, world.person)])
    make_issuer(home, datetime.now(UTC), demonstration=True)
    home.objections.object(world.person, "youth", channel="phone")
    world.backup = tmp_path / "backup"
    shutil.copytree(home.root, world.backup)
    return world


def serving(world):
    """``ennakko serve`` as a city starts it."""
    port = free_port()
    environment = {
        **os.environ,
        "ENNAKKO_HOME": str(world.home.root),
        "ENNAKKO_PORT": str(port),
        "ENNAKKO_PROFILE_ISSUER": ISSUER,
        "ENNAKKO_PROFILE_AUDIENCE": AUDIENCE,
        "POLARS_MAX_THREADS": "2",
    }
    said = world.folder / f"said-{port}"
    code = "import sys; from serving.cli import main; sys.exit(main())"
    words = ["serve", "--city", str(world.folder / "city"), "--need", str(world.need_file)]
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    server = SimpleNamespace(process=process, url=f"http://127.0.0.1:{port}", port=port, said=said.read_text)
    wait_until_it_answers(server)
    return server


def asking(world, server, role, method, path, **options):
    claims = {"needs": ["*"], "subject": "a system"} if role == "system" else {}
    claims |= {"subject": "desk 4"} if role == "service_point" else {}
    token = issue_token(world.home, role, minutes=5, now=datetime.now(UTC), **claims)["token"]
    headers = {"authorization": f"Bearer {token}", **PURPOSE}
    return httpx.request(method, server.url + path, headers=headers, timeout=60, **options)


def scored(world, server, person):
    body = {"need": "youth", "as_of_date": str(AS_OF), "person_id": person}
    many = {"need": "youth", "as_of_date": str(AS_OF), "person_ids": [person]}
    one = asking(world, server, "system", "POST", "/score", json=body).status_code
    (row,) = asking(world, server, "system", "POST", "/score_batch", json=many).json()["rows"]
    return one, row["status"]


def naming(home, person):
    """Files of a home that name somebody anywhere: lists, scores, jobs, copies, database, whatever there is."""
    as_word = re.compile(rb"(?<![0-9A-Za-z.])" + person.encode() + rb"(?![0-9A-Za-z])")

    def texts_of(path):
        yield path.read_bytes()
        if path.suffix == ".parquet":
            yield str(pl.read_parquet(path).to_dict(as_series=False)).encode()
        elif is_zipfile(path):
            with ZipFile(path) as parts:
                yield from (parts.read(name) for name in parts.namelist())

    files = (path for path in sorted(home.root.rglob("*")) if path.is_file())
    return [str(path.relative_to(home.root)) for path in files if any(as_word.search(text) for text in texts_of(path))]


def nobody_is_left(world, home):
    """In no file, row, list or view of the home, and in none that it makes from now on."""
    person, city = world.person, world.folder / "city"
    assert naming(home, person) == []
    assert home.store.is_erased([person, world.other]).tolist() == [True, False]
    assert home.store.lists_of(person) == [] and home.store.scores_of(person).is_empty()
    assert person not in home.store.rows(world.list_id)["person_id"].to_list()
    assert open_links(home).person_of(ANNA) is None
    code, view = command(
        *("person", person, "--actor", "dpo", "--purpose", "to see", "--city", city, "--home", home.root)
    )
    assert (code, view["state"]) == (0, "erased") and not any(need["scores"] or need["lists"] for need in view["needs"])
    made = list_need(home, city, world.need_file, AS_OF)
    assert made["excluded"]["erased"] == 1
    assert person not in home.store.rows(made["list_id"])["person_id"].to_list()
    path = score_need(home, city, world.need_file, AS_OF)["path"]
    assert pl.read_parquet(path).filter(pl.col("person_id") == person).is_empty()
    assert naming(home, person) == []


def test_the_tester_asks_tries_and_erases_and_nobody_is_left_anywhere(world, tmp_path):
    server = serving(world)
    try:
        assert scored(world, server, world.person) == (200, "scored")
        first = told(server.port, tmp_path, "query", "delete dryrun", "query")
        assert "Response status code: 200" in first[0] and "Success.\nThe response JSON:" in first[0]
        assert '"key": "LISTS"' in first[0] and world.list_id in first[0]
        assert "Response status code: 204" in first[1] and "The service can do the needed" in first[1]
        assert "Response status code: 200" in first[2]
        assert scored(world, server, world.person) == (200, "scored")
        assert not world.home.store.is_erased([world.person])[0]
        second = told(server.port, tmp_path, "delete", "query", "delete", "delete dryrun")
        assert "Response status code: 204" in second[0]
        assert "The service no longer contains personal data" in second[0]
        assert "There is no personal data related to the profile" in second[1]
        assert "Response status code: 204" in second[2] and "Response status code: 204" in second[3]
        assert scored(world, server, world.person) == (403, "objected")
        assert scored(world, server, world.other) == (200, "scored")
        view = asking(world, server, "service_point", "GET", f"/person/{world.person}").json()
        assert view["state"] == "erased" and view["looks"] == []
        standing = asking(world, server, "service_point", "GET", f"/objections?person_id={world.person}").json()
        assert standing == {"standing": []}
    finally:
        code, said = stop(server)
    assert code == 0, said
    assert world.person not in said and str(ANNA) not in said
    nobody_is_left(world, world.home)
    code, found = command("audit", "verify", "--home", world.home.root)
    assert code == 0, found


def test_a_backup_that_is_restored_brings_nobody_back(world, tmp_path):
    """Everything comes back but the tombstones, which are kept apart from what is restored."""
    server = serving(world)
    try:
        (done,) = told(server.port, tmp_path, "delete")
        assert "The service no longer contains personal data" in done
    finally:
        code, said = stop(server)
    assert code == 0, said
    root = world.home.root
    tombstones = (root / "tombstones.txt").read_bytes()
    shutil.rmtree(root)
    shutil.copytree(world.backup, root)
    (root / "tombstones.txt").write_bytes(tombstones)
    home = Home(Settings(home=root))
    assert naming(home, world.person) != []  # the backup is from before
    code, found = command("erase", "--restored", "--by", "dpo", "--reason", "a restored backup", "--home", root)
    assert code == 0, found
    world.home = home
    server = serving(world)
    try:
        assert scored(world, server, world.person) == (403, "objected")
        (asked,) = told(server.port, tmp_path, "query")
        assert "There is no personal data related to the profile" in asked
    finally:
        code, said = stop(server)
    assert code == 0 and world.person not in said
    nobody_is_left(world, home)
    code, found = command("audit", "verify", "--home", root)
    assert code == 0, found
