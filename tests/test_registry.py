import atexit
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from test_training import NEED_TEXT, made_matrix, made_need

from ethics.case import COMPARED
from ethics.digests import sha256
from ethics.keys import KeyRing
from ethics.refusals import BadInput, Inconclusive, NotTrusted
from ethics.signing import countersign, seal, verify
from ethics.stop_switch import StopSwitch
from ethics.verdict import Check, Verdict
from models.metrics import Estimate
from models.registry import (
    approve,
    approved_model,
    approved_needs,
    find_version,
    run_model,
    set_shadow,
)
from models.tracking import configure, log_run
from models.training import NeedModel, train

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
FIGURES = {"test": {"auc": Estimate(0.8, 0.7, 0.9)}, "by_date": {"2023-01-01": {"auc": Estimate(0.8, float("nan"), 1)}}}


@pytest.fixture(scope="module")
def model():
    return train(made_matrix(), made_need(), seed=1)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("registry") / "store")


@cache
def empty_store():
    """A store without runs, made once: MLflow takes its time."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    configure(*store(folder))
    return folder


def made_store(folder):
    """An open store of its own in a new folder."""
    shutil.copytree(empty_store(), folder)
    return configure(*store(folder))


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


def test_a_shadow_is_a_verified_version_of_the_need_and_changes_nothing_else(registry, model, keys, tmp_path):
    champion, shadow = log(registry, model), log(registry, model)
    approve(registry, verified(model, keys, tmp_path), champion, "verdict-1")
    version = set_shadow(registry, "youth", shadow)
    assert str(aliases(registry)["shadow"]) == str(version)
    assert approved_model(registry, "youth").run_id == champion, "a shadow serves nobody"
    with pytest.raises(BadInput, match=f"run {shadow} is of 'youth', not of 'other'. Give a run of this need"):
        set_shadow(registry, "other", shadow)
    found = registry.client.get_model_version_by_alias("youth", "shadow")
    trees = Path(found.source.removeprefix("file://")) / "trees.txt"
    trees.write_bytes(trees.read_bytes() + b" ")
    with pytest.raises(NotTrusted, match=r"trees\.txt: has SHA-256"):
        set_shadow(registry, "youth", shadow)


def test_the_candidate_is_the_last_that_was_trained_and_no_champion(registry, model):
    champion = aliases(registry).get("champion")
    first, second = log(registry, model), log(registry, model)
    candidate = registry.client.get_model_version_by_alias("youth", "candidate")
    assert candidate.run_id == second != first
    assert aliases(registry).get("champion") == champion


def aliases(registry):
    return registry.client.get_registered_model("youth").aliases


def test_needs_with_an_approved_model_are_listed(keys, model, tmp_path):
    registry = made_store(tmp_path / "store")
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


def test_a_copied_home_uses_and_writes_its_own_files(keys, model, tmp_path):
    first = tmp_path / "first"
    registry = made_store(first)
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
