import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_need import RULE_NEED
from test_training import NEED_TEXT, made_matrix, made_need

from ethics.case import COMPARED
from ethics.digests import sha256
from ethics.keys import KeyRing
from ethics.refusals import BadInput, Inconclusive, NotTrusted
from ethics.signing import countersign, seal, verify
from ethics.stop_switch import StopSwitch
from ethics.verdict import Check, Verdict
from models.metrics import Estimate
from models.need import parse_need
from models.registry import (
    approve,
    approved_model,
    approved_needs,
    configure,
    find_version,
    flat_figures,
    log_run,
    logged_digests,
    run_model,
)
from models.rule import RuleModel
from models.training import NeedModel, train

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
FIGURES = {"test": {"auc": Estimate(0.8, 0.7, 0.9)}, "by_date": {"2023-01-01": {"auc": Estimate(0.8, float("nan"), 1)}}}


@pytest.fixture(scope="module")
def model():
    return train(made_matrix(), made_need(), seed=1)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return configure(*store(tmp_path_factory.mktemp("registry")))


def store(folder):
    return f"sqlite:///{folder / 'mlflow.db'}", folder / "artefacts"


def log(registry, model):
    return log_run(registry, model, figures=FIGURES, parameters={"seed": 1}, digests={"test_matrix": "abc"})


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    ring = KeyRing(tmp_path_factory.mktemp("keys"))
    for role in ("gate", "auditor"):
        ring.make(role, f"The {role}", demonstration=False, days=30, now=NOW)
    return ring


def verified(model, keys, tmp_path, need_id=None, digest=None):
    """A verdict about a model, signed by gate and auditor and verified against what it says itself."""
    subject = {name: sha256(name.encode()) for name in COMPARED}
    subject |= {"model": digest or model.digest, "cells": sha256(b"cells"), "seed": 1}
    verdict = Verdict(
        service="s",
        need_id=need_id or model.need.id,
        model_id="m",
        use="outreach_ranking",
        issued_at=NOW,
        expires_at=NOW + timedelta(days=5),
        demonstration=False,
        subject=subject,
        scope={},
        purpose={},
        record={},
        checks=(Check(id="C102", version=1, severity="B", state="pass", statistic="uses not permitted"),),
        required=("C102",),
    )
    return verify(
        countersign(seal(verdict, keys.signer("gate")), keys.signer("auditor")),
        b"cells",
        trust=keys.trust(),
        expected={name: subject[name] for name in COMPARED},
        use="outreach_ranking",
        now=NOW,
        revoked=(),
        stop_switch=StopSwitch(tmp_path),
        allow_demonstration=False,
    )


def test_a_run_holds_figures_parameters_digests_and_the_artefact(registry, model):
    run_id = log(registry, model)
    run = registry.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {
        "test.auc.value": 0.8,
        "test.auc.low": 0.7,
        "test.auc.high": 0.9,
        "by_date.2023-01-01.auc.value": 0.8,
        "by_date.2023-01-01.auc.high": 1.0,
    }
    assert run.data.params["seed"] == "1" and run.data.params["num_leaves"] == "4"
    tags = {name: value for name, value in run.data.tags.items() if name.startswith(("digest", "need", "kind"))}
    assert tags == {
        "need": "youth",
        "kind": "model",
        "digest.model": model.digest,
        "digest.need": model.need.digest,
        "digest.test_matrix": "abc",
    }
    assert logged_digests(registry, run_id) == {
        "model": model.digest,
        "need": model.need.digest,
        "test_matrix": "abc",
    }
    X = made_matrix(seed=9).X
    loaded = run_model(registry, run_id, model.digest)
    assert isinstance(loaded, NeedModel)
    assert loaded.raw(X).tobytes() == model.raw(X).tobytes()


def test_no_person_is_written_to_the_store(registry, model):
    log(registry, model)
    content = Path(registry.client._tracking_client.tracking_uri.removeprefix("sqlite:///")).read_bytes()
    for path in registry.artefacts.rglob("*"):
        content += path.read_bytes() if path.is_file() else b""
    assert b"P00001" not in content and model.digest.encode() in content


def test_flat_figures_join_names_with_dots():
    assert flat_figures({"a": {"b": Estimate(1, 2, 3)}, "n": 4}) == {
        "a.b.value": 1,
        "a.b.low": 2,
        "a.b.high": 3,
        "n": 4,
    }


def test_a_rule_is_a_version_like_any_other(registry):
    rule = RuleModel.of(parse_need(RULE_NEED.encode(), "screening.toml"))
    run_id = log_run(registry, rule, figures={}, parameters={}, digests={})
    assert isinstance(run_model(registry, run_id), RuleModel)


def test_a_run_whose_logging_fails_is_marked_so_and_has_no_model(registry, model, monkeypatch):
    def full(*arguments, **named):
        raise OSError("No space left on device")

    monkeypatch.setattr(type(registry.client), "log_artifacts", full)
    before = set(runs(registry))
    with pytest.raises(OSError, match="No space left"):
        log(registry, model)
    (run_id,) = set(runs(registry)) - before
    assert registry.client.get_run(run_id).info.status == "FAILED"
    with pytest.raises(BadInput, match=f"'{run_id}' is not a finished run with a model"):
        run_model(registry, run_id)


def runs(registry):
    experiment = registry.client.get_experiment_by_name("youth").experiment_id
    return [run.info.run_id for run in registry.client.search_runs([experiment])]


def test_nothing_is_approved_until_it_is(registry):
    with pytest.raises(NotTrusted, match=r"registry: no model of 'unheard_of' is approved\. Train it, judge the run"):
        approved_model(registry, "unheard_of")


def test_a_verified_verdict_of_the_same_digest_approves(registry, model, keys, tmp_path):
    run_id = log(registry, model)
    verdict = verified(model, keys, tmp_path)
    version = approve(registry, verdict, run_id, "verdict-1")
    found = approved_model(registry, "youth")
    assert (found.run_id, found.version) == (run_id, version)
    assert found.tags["verdict"] == "verdict-1"
    assert found.tags["verdict_sha256"] == verdict.envelope_sha256
    assert NeedModel.load(found.folder, model.digest).digest == model.digest


def test_a_verdict_about_another_model_or_need_approves_nothing(registry, model, keys, tmp_path):
    run_id = log(registry, model)
    before = approved_version(registry)
    with pytest.raises(NotTrusted, match=r"manifest\.json: has SHA-256 .*, and 000000000000… is expected"):
        approve(registry, verified(model, keys, tmp_path, digest="0" * 64), run_id, "verdict-1")
    with pytest.raises(NotTrusted, match=f"judges 'other', and run {run_id} is of 'youth'. Approve the run that"):
        approve(registry, verified(model, keys, tmp_path, need_id="other"), run_id, "verdict-1")
    assert approved_version(registry) == before


def approved_version(registry):
    try:
        return approved_model(registry, "youth").version
    except NotTrusted:
        return None


def test_an_altered_artefact_is_not_approved_whatever_its_tags_say(registry, model, keys, tmp_path):
    run_id = log(registry, model)
    version = registry.client.search_model_versions(f"run_id = '{run_id}'")[0]
    trees = Path(version.source.removeprefix("file://")) / "trees.txt"
    trees.write_bytes(trees.read_bytes() + b" ")
    assert version.tags["digest.model"] == model.digest
    with pytest.raises(NotTrusted, match=r"trees\.txt: has SHA-256"):
        approve(registry, verified(model, keys, tmp_path), run_id, "verdict-1")


def test_a_split_of_persons_is_never_approved(registry, keys, tmp_path):
    text = NEED_TEXT.replace('kind = "temporal"\ntests = 3\njudged = 2', 'kind = "person"')
    model = train(made_matrix(), made_need(text), seed=1)
    with pytest.raises(
        Inconclusive, match=r'youth\.toml: splits\.kind: is "person", which shows what a model could do at'
    ):
        approve(registry, verified(model, keys, tmp_path), log(registry, model), "verdict-1")


@pytest.mark.parametrize("imposter", [None, "PASS", {"state": "PASS"}, object()])
def test_only_a_verified_verdict_approves(registry, model, imposter):
    with pytest.raises(TypeError, match="approval needs a VerifiedVerdict"):
        approve(registry, imposter, log(registry, model), "verdict-1")


@pytest.mark.parametrize("run_id", ["0" * 32, "' OR 1=1", ""])
def test_an_unknown_run_is_refused(registry, run_id):
    with pytest.raises(BadInput, match=r"is not a finished run with a model\. Give the run_id that train printed"):
        run_model(registry, run_id)


def test_needs_with_an_approved_model_are_listed(keys, model, tmp_path):
    registry = configure(*store(tmp_path))
    run_id = log(registry, model)
    assert approved_needs(registry) == ()
    approve(registry, verified(model, keys, tmp_path), run_id, "verdict-1")
    assert approved_needs(registry) == ("youth",)


def test_the_run_of_a_judged_model_is_found_by_its_digest(registry, model):
    run_id = log(registry, model)
    found, folder = find_version(registry, "youth", model.digest)
    assert found == run_id and NeedModel.load(folder).digest == model.digest
    with pytest.raises(NotTrusted):
        find_version(registry, "youth", "0" * 64)


LOUD = """
import sys

def no_calls(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"network: {event} {arguments}")

sys.addaudithook(no_calls)
sys.path.insert(0, "tests")
from test_registry import configure, log, store
from test_training import made_matrix, made_need, train
from pathlib import Path
registry = configure(*store(Path(sys.argv[1])))
log(registry, train(made_matrix(), made_need(), seed=1))
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client())
"""


def test_mlflow_calls_nobody_and_keeps_quiet(tmp_path):
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST", "GITHUB", "MLFLOW"))
    }
    env["PYTHONPATH"] = str(ROOT)
    ran = subprocess.run(
        [sys.executable, "-c", LOUD, str(tmp_path)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "None\n", "")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]


def test_a_copied_home_uses_and_writes_its_own_files(keys, model, tmp_path):
    first = tmp_path / "first"
    registry = configure(*store(first))
    run_id = log(registry, model)
    approve(registry, verified(model, keys, tmp_path), run_id, "verdict-1")
    shutil.copytree(first, tmp_path / "copy")
    before = sorted(first.rglob("*"))
    copy = configure(*store(tmp_path / "copy"))
    folder = approved_model(copy, "youth").folder
    assert folder == tmp_path / "copy/artefacts/youth" / run_id / "artifacts/model"
    assert NeedModel.load(folder, model.digest).digest == model.digest
    assert find_version(copy, "youth", model.digest) == (run_id, folder)
    for again in [log(copy, model), log(copy, model)]:
        run_model(copy, again, model.digest)
        assert (tmp_path / "copy/artefacts/youth" / again / "artifacts/model/manifest.json").exists()
    assert sorted(first.rglob("*")) == before
    first.rename(tmp_path / "moved")
    moved = configure(*store(tmp_path / "moved"))
    assert approved_model(moved, "youth").folder.is_relative_to(tmp_path / "moved")


OPEN = """
import sys
from pathlib import Path
from models.registry import configure
folder = Path(sys.argv[1])
registry = configure(f"sqlite:///{folder / 'mlflow.db'}", folder / "artefacts")
registry.client.create_registered_model(sys.argv[2])
"""


def opening(folder, name):
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder), name], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def test_two_who_make_the_store_at_once_both_find_it_whole(tmp_path):
    both = [opening(tmp_path, name) for name in ("one", "two")]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select name from registered_models order by name").fetchall() == [("one",), ("two",)]


def test_a_store_whose_maker_was_killed_is_made_by_the_next(tmp_path):
    killed, draft = opening(tmp_path, "killed"), tmp_path / ".mlflow.db.draft"
    while killed.poll() is None and not (draft.exists() and draft.stat().st_size > 100_000):
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert draft.exists() and not (tmp_path / "mlflow.db").exists()
    good = opening(tmp_path, "good")
    assert (good.communicate()[1], good.returncode) == ("", 0)
    assert not list(tmp_path.glob(".mlflow.db.draft*"))


@pytest.mark.parametrize("content", [b"rubbish " * 1000, b"SQLite format 3\0" + b"rubbish" * 1000])
def test_a_damaged_store_is_not_trusted_and_named(tmp_path, content):
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(NotTrusted) as refusal:
        configure(*store(tmp_path))
    assert str(refusal.value) == (
        f"{tmp_path}/mlflow.db: is damaged: SQLite cannot read it. "
        "Restore it from the backup; the models themselves are in the folder of artefacts"
    )


def test_a_store_left_half_made_by_another_program_is_not_trusted(tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("create table experiments (experiment_id integer)")
    with pytest.raises(NotTrusted, match=r"mlflow\.db: cannot be opened by this version of MLflow"):
        configure(*store(tmp_path))
