"""docs/operate.md: every command is one that there is, and backup, restore and rotation do what they say."""

import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World

from ethics.policy import Policy
from serving.cli import _parser, main
from serving.endpoints import ENDPOINTS
from serving.home import Home
from serving.local_issuer import issue_token, make_issuer
from serving.service_metrics import ServiceMetrics
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "operate.md").read_text()
BLOCKS = re.findall(r"(?:<!-- run: (\w+) -->\n)?```sh\n(.*?)```", TEXT, flags=re.DOTALL)
RUN = {name: block for name, block in BLOCKS if name}
INLINE = re.findall(r"`(ennakko [a-z][^`]*)`", TEXT)


def commands():
    lines = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("ennakko ")]
    container = re.findall(r"(?m)^docker compose run --rm(?: --volume \S+)? ennakko (.*)$", TEXT)
    lines += [f"ennakko {words}" for words in container]
    return lines + [line.replace("…", "x") for line in INLINE]


def test_the_page_has_commands():
    assert len(commands()) > 45 and set(RUN) == {"backup", "restore", "rotate"}


@pytest.mark.parametrize("line", sorted({*commands()}))
def test_every_command_is_one_that_there_is(line):
    words = shlex.split(line)[1:]
    parser = _parser()
    if len(words) == 1 and words[0] in ("uplift", "token", "object", "week"):  # named alone, in a sentence
        words.append("--help")
    try:
        parser.parse_args(words)
    except SystemExit as left:
        assert left.code == 0


def test_every_measure_that_is_named_is_there():
    metrics = ServiceMetrics(ENDPOINTS)
    metrics.count("/score", "POST", 503, 0.1, "Busy", 1)
    source = (ROOT / "serving" / "service_metrics.py").read_text()
    told = metrics.text().decode() + source
    named = set(re.findall(r"\bennakko_\w+", TEXT))
    assert len(named) >= 8
    assert {name for name in named if name not in told} == set()
    titles = {title for endpoint in ENDPOINTS for titles in endpoint.all_problems.values() for title in titles}
    assert set(re.findall(r'reason="([^"]+)"', TEXT)) <= titles


def test_what_the_page_says_of_the_policy_is_so():
    policy = Policy.load()
    facts = policy.model_dump()
    assert "stop_switch_days" in str(facts)
    toml = (ROOT / "ethics" / "policy.toml").read_text()
    assert re.search(r"(?m)^stop_switch_days = 30\b", toml)
    assert re.search(r"(?m)^verdict_days = 90\b", toml)
    assert re.search(r"(?m)^max_complaint_days = 30\b", toml)


def test_every_target_that_is_named_is_one():
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"`make ([a-z-]+)`", TEXT)) <= targets


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    world.home.audit_log.append("judge", "gate", need="youth", verdict=world.verdict.verdict_id, state="PASS_ATTESTED")
    (world.folder / "youth.toml").write_text(MODEL_NEED)
    make_issuer(world.home, datetime.now(UTC))
    issue_token(world.home, "system", subject="page", needs=["*"], minutes=5, now=datetime.now(UTC))
    world.home.objections.object("000007", "youth")
    words = ["score", "--home", world.home.root, "--city", world.city.folder, "--need", world.folder / "youth.toml"]
    assert main([str(word) for word in (*words, "--as-of", AS_OF)]) == 0
    return world


def carried_out(name, world, folder):
    """The lines of a block, as a shell runs them."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "ennakko"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m serving "$@"\n')
    command.chmod(0o755)
    backups = folder / "backups"
    backups.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ENNAKKO_HOME": str(world.home.root),
        "BACKUPS": str(backups),
    }
    done = subprocess.run(
        ["sh", "-e", "-c", RUN[name]], env=environment, cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_who_was_erased_after_the_backup_stays_erased_in_what_is_restored(world, tmp_path):
    root = world.home.root
    (file,) = world.home.scores.rglob("*.parquet")
    person = pl.read_parquet(file)["person_id"][0]
    carried_out("backup", world, tmp_path)
    home = Home(Settings(home=root))
    home.objections.object("000008", "youth")  # after the backup: the restore loses it, as the page says
    words = ["erase", person, "--home", root, "--by", "service owner", "--reason", "asked for it"]
    assert main([str(word) for word in words]) == 0
    tombstones = (root / "tombstones.txt").read_bytes()
    (tmp_path / "backups" / "tombstones.txt").write_bytes(tombstones)  # copied after every erasure
    said = carried_out("restore", world, tmp_path)
    assert "1 tombstone" in said
    restored = Home(Settings(home=root))
    assert restored.store.is_erased([person]).tolist() == [True]
    assert person not in pl.read_parquet(file)["person_id"].to_list()
    assert restored.objections.objecting(["000007", "000008"], "youth").tolist() == [True, False]
    assert (root / "secrets" / "people.key").stat().st_mode & 0o777 == 0o600
    assert root.stat().st_mode & 0o777 == 0o700
    words = ["score", "--home", root, "--city", world.city.folder, "--need", world.folder / "youth.toml"]
    assert main([str(word) for word in (*words, "--as-of", AS_OF)]) == 0  # and the verdict still counts
    assert person not in pl.read_parquet(file)["person_id"].to_list()
    assert Path(f"{root}.before").is_dir()


def test_keys_and_secrets_are_renewed_and_verdicts_go_on_counting(world, tmp_path):
    root = world.home.root
    before = (root / "secrets" / "audit-subjects.key").read_bytes()
    old = issue_token(Home(Settings(home=root)), "auditor", minutes=5, now=datetime.now(UTC))["token"]
    said = carried_out("rotate", world, tmp_path)
    assert "is retired and its private part destroyed" in said
    assert (tmp_path / "backups" / "trust.json").exists()
    home = Home(Settings(home=root))
    assert issue_token(home, "auditor", minutes=5, now=datetime.now(UTC))["token"] != old
    assert home.settings.secret("audit-subjects") != before
    words = ["audit", "verify", "--home", root]
    assert main([str(word) for word in words]) == 0
