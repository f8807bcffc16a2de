"""Imports of outcomes that hold on SQLite and on PostgreSQL alike; each takes ``home_folder`` and ``database_url``."""

import subprocess
import sys
from pathlib import Path

import polars as pl
from store_cases import FIRST, NEED, small_list

from serving.erasure_work import erase_person
from serving.home import Home
from serving.settings import Settings

ROOT = Path(__file__).parent.parent
OUTCOMES = ("reached", "declined", "helped", "not_reached")
IMPORT = """
import contextlib, io, sys
from serving.cli import main
home, *files = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for file in files:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["outcome", "import", file, "--home", home]) == 0
"""


def home_with_list(folder, url=None, people=200, need=NEED):
    home = Home(Settings(home=folder, database_url=url))
    names = [f"p{i:03d}" for i in range(people)]
    home.store.publish(small_list(home.store, {"west": names[::2], "east": names[1::2]}, need=need), [])
    return home, names


def outcome_file(path, rows):
    names = ("list_id", "person_id", "at", "channel", "worker", "outcome")
    pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").write_csv(path)
    return path


def test_imports_at_once_lose_nothing_and_keep_shared_rows_once(tmp_path, database_url):
    _, names = home_with_list(tmp_path / "home", database_url)
    files, said = [], set()
    for process in range(3):
        mine = []
        for part in range(4):
            people = names[(process * 40 + part * 10) % 160 :][:40]  # neighbours share people, days and outcomes
            rows = [(FIRST, p, f"2024-06-{4 + part:02d}", "phone", "a", OUTCOMES[int(p[1:]) % 4]) for p in people]
            said.update(rows)
            mine.append(outcome_file(tmp_path / f"{process}-{part}.csv", rows))
        files.append(mine)
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if database_url:
        environment["ENNAKKO_DATABASE_URL"] = database_url
    running = [
        subprocess.Popen(
            [sys.executable, "-c", IMPORT, str(tmp_path / "home"), *map(str, mine)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        for mine in files
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(120) for process in running] == [0, 0, 0]
    for process in running:
        process.stdin.close()
        process.stdout.close()
    store = Home(Settings(home=tmp_path / "home", database_url=database_url)).store
    kept = (
        store.attempts(FIRST)
        .select("list_id", "person_id", "at", "channel", "worker", "result")
        .with_columns(pl.col("at").dt.strftime("%Y-%m-%d"))
    )
    assert kept.height == len(said) and set(kept.iter_rows()) == said
    assert store.outcomes(FIRST).height == len(said)


def test_a_person_is_erased_from_a_home_and_the_list_says_redacted(tmp_path, database_url):
    home, names = home_with_list(tmp_path / "home", database_url, people=4)
    home.store.change(FIRST, "west", names[2], "removed", "head", reason=f"sibling of {names[0]}")
    asked = {"by": "dpo", "reason": "asked"}
    assert erase_person(home, names[0], **asked)["rows"]["list_rows"] == 1
    again = Home(Settings(home=tmp_path / "home", database_url=database_url))
    proof = again.store.proof(FIRST)
    assert (proof.n, proof.redacted, proof.faults) == (4, 1, ()) and again.store.lists_of(names[0]) == []
    assert again.store.changes(FIRST)["reason"].to_list() == [None] and again.audit_log.verify() == []
    assert again.objections.erased(names).tolist() == [True, False, False, False]
    assert again.objections.objecting(names, "any").tolist() == [True, False, False, False]
