"""The MLflow store: runs as a data scientist finds them, also after a kill, and what plain MLflow makes of them."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_need import RULE_NEED
from test_registry import FIGURES, log, made_store, store
from test_training import NEED_TEXT, made_matrix, made_need

from ethics.refusals import BadInput, NotTrusted
from models import pyfunc_loader
from models.metrics import Estimate
from models.need import parse_need
from models.registry import logged_digests, run_model
from models.rule import RuleModel
from models.run_record import ChildRun, RunRecord, column_digests, dataset_facts, flat_figures
from models.tracking import clear_drafts, configure, end_dead_runs, log_run, run_under_way
from models.training import NeedModel, train

ROOT = Path(__file__).parent.parent
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def model():
    return train(made_matrix(), made_need(), seed=1)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("registry") / "store")


# ---- what a run holds ----------------------------------------------------------------------------------------------


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


def test_what_is_measured_by_persons_is_a_version_and_no_candidate(registry, model):
    from mlflow.exceptions import MlflowException

    text = NEED_TEXT.replace('kind = "temporal"\ntests = 3\njudged = 2', 'kind = "person"')
    need = parse_need(text.replace("youth", "youth_by_persons").encode(), "youth_by_persons.toml")
    run_id = log(registry, train(made_matrix(), need, seed=1))
    assert run_model(registry, run_id).need.splits.kind == "person"
    with pytest.raises(MlflowException, match="alias candidate not found"):
        registry.client.get_model_version_by_alias(need.id, "candidate")


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


# ---- curves, tables, plots, inputs, children -----------------------------------------------------------------------


RECORD = RunRecord(
    name="2023-01-01 seed 1",
    description="**Young people** – who?",
    curves={"k_curve": pl.DataFrame({"k": [10, 20], "precision": [0.5, 0.4], "precision_low": [0.3, None]})},
    tables={"attrition": pl.DataFrame({"step": ["everyone", "age"], "rows": [10, 4]})},
    plots={"k_curve": PNG},
    files={"youth.toml": b"schema = 1", "model_card.html": b"<p>card</p>"},
    children=[
        ChildRun("origin 2023-01-01", "origin", {"test": {"auc": Estimate(0.8, 0.7, 0.9)}}, {"n_train_dates": 2}),
        ChildRun("trial 0", "trial", {"search": {"mean": 0.4}}, {"num_leaves": 12}),
    ],
)


@pytest.fixture(scope="module")
def whole_run(registry, model):
    """A run with everything: its id."""
    matrix = made_matrix(n=1000, days=(date(2023, 1, 1), date(2023, 4, 1)))
    record = RunRecord(**{**RECORD.__dict__, "datasets": [dataset_facts("training", matrix)]})
    return log_run(registry, model, figures=FIGURES, parameters={}, digests={"city": "c" * 64}, record=record)


def test_curves_are_metrics_whose_step_is_k(registry, whole_run):
    points = registry.client.get_metric_history(whole_run, "k_curve.precision")
    assert [(point.step, point.value) for point in points] == [(10, 0.5), (20, 0.4)]
    low = registry.client.get_metric_history(whole_run, "k_curve.precision_low")
    assert [(point.step, point.value) for point in low] == [(10, 0.3)], "what is not determined is no point"


def test_tables_plots_and_files_are_artefacts_as_they_were_given(registry, whole_run):
    root = Path(registry.client.get_run(whole_run).info.artifact_uri.removeprefix("file://"))
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found >= {
        "tables/attrition.csv",
        "tables/k_curve.csv",
        "tables/column_digests.csv",
        "plots/k_curve.png",
        "youth.toml",
        "model_card.html",
        "model/MLmodel",
        "model/requirements.txt",
        "model/manifest.json",
    }
    assert (root / "plots/k_curve.png").read_bytes() == PNG
    assert pl.read_csv(root / "tables/attrition.csv").rows() == [("everyone", 10), ("age", 4)]
    assert {item.path for item in registry.client.list_artifacts(whole_run, "plots")} == {"plots/k_curve.png"}


def test_a_run_shows_what_it_learnt_from_without_a_row_of_it(registry, whole_run):
    matrix = made_matrix(n=1000, days=(date(2023, 1, 1), date(2023, 4, 1)))
    (used,) = registry.client.get_run(whole_run).inputs.dataset_inputs
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    assert matrix.digest.startswith(used.dataset.digest)
    assert [column["name"] for column in json.loads(used.dataset.schema)["mlflow_colspec"]] == list(matrix.names)
    profile = json.loads(used.dataset.profile)
    assert (profile["num_rows"], profile["num_persons"]) == (1000, 500)
    assert profile["num_in_need"] == int(matrix.y.sum()) and profile["sha256"] == matrix.digest
    assert json.loads(used.dataset.source) == {"city_sha256": "c" * 64}


def test_a_changed_cell_changes_the_digest_of_its_column_alone():
    matrix = made_matrix(n=9000)
    X = matrix.X.copy()
    X[8999, 1] += 1
    before, after = column_digests(matrix), column_digests(type(matrix)(matrix.keys, X, matrix.names))
    assert [name for name in before if before[name] != after[name]] == [matrix.names[1]]


def test_children_hang_on_their_parent_with_figures_of_their_own(registry, whole_run):
    children = {run.info.run_name: run for run in below(registry, whole_run)}
    assert set(children) == {"origin 2023-01-01", "trial 0"}
    origin, trial = children["origin 2023-01-01"], children["trial 0"]
    assert (origin.data.tags["part"], trial.data.tags["part"]) == ("origin", "trial")
    assert origin.data.metrics["test.auc.value"] == 0.8 and trial.data.metrics == {"search.mean": 0.4}
    assert trial.data.params == {"num_leaves": "12"}
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def below(registry, parent):
    experiments = [found.experiment_id for found in registry.client.search_experiments()]
    return registry.client.search_runs(experiments, f"tags.mlflow.parentRunId = '{parent}'")


def test_a_run_has_a_name_and_a_description_which_its_version_bears_too(registry, whole_run):
    run = registry.client.get_run(whole_run)
    assert run.info.run_name == "2023-01-01 seed 1"
    assert run.data.tags["mlflow.note.content"] == RECORD.description
    (version,) = registry.client.search_model_versions(f"run_id = '{whole_run}'")
    assert version.description == RECORD.description


def test_more_figures_than_one_call_takes_are_all_there(registry, model):
    curve = pl.DataFrame({"k": range(700), "a": np.arange(700.0), "b": np.arange(700.0)})
    many = {f"setting {i}": i for i in range(230)}
    record = RunRecord(curves={"curve": curve})
    run_id = log_run(registry, model, figures={}, parameters=many, digests={}, record=record)
    assert len(registry.client.get_metric_history(run_id, "curve.b")) == 700
    assert registry.client.get_run(run_id).data.params["setting 229"] == "229"


# ---- runs under way, and runs whose process is dead ----------------------------------------------------------------


def test_a_run_is_running_until_it_is_logged(registry, model):
    with run_under_way(registry, "youth", "seed 1", {"asked": "search"}) as run_id:
        run = registry.client.get_run(run_id)
        assert (run.info.status, run.info.run_name, run.data.tags["asked"]) == ("RUNNING", "seed 1", "search")
        assert log_run(registry, model, figures=FIGURES, parameters={}, digests={}, run_id=run_id) == run_id
    assert registry.client.get_run(run_id).info.status == "FINISHED"
    assert isinstance(run_model(registry, run_id), NeedModel)
    assert not list((registry.artefacts / ".running").iterdir())


@pytest.mark.parametrize(
    ("raised", "status"), [(BadInput, "FAILED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_that_comes_to_nothing_is_marked_so(registry, raised, status):
    with pytest.raises(raised), run_under_way(registry, "youth") as run_id:
        raise raised()
    assert registry.client.get_run(run_id).info.status == status
    with run_under_way(registry, "youth") as run_id:
        pass
    assert registry.client.get_run(run_id).info.status == "FAILED", "a run that nobody logged is none"


def test_the_run_of_a_living_process_is_left_alone(registry):
    with run_under_way(registry, "youth") as ours, run_under_way(registry, "youth") as another:
        assert end_dead_runs(registry) == ()
        assert {registry.client.get_run(run).info.status for run in (ours, another)} == {"RUNNING"}


def test_a_run_that_was_not_begun_by_a_train_is_left_alone(registry):
    experiment = registry.client.get_experiment_by_name("youth").experiment_id
    notebook = registry.client.create_run(experiment).info.run_id
    assert end_dead_runs(registry) == ()
    assert registry.client.get_run(notebook).info.status == "RUNNING"


TRAINING = """
import sys, time
sys.path.insert(0, "tests")
from pathlib import Path
from test_registry import store
from test_training import made_matrix, made_need, train
from models import tracking
from test_tracking import RECORD, FIGURES
registry = tracking.configure(*store(Path(sys.argv[1])))
model = train(made_matrix(), made_need(), seed=1)

def say_and_wait(*arguments):  # where the kill will meet it: the children are there, the model is not
    print("logged", flush=True)
    time.sleep(60)

type(model).save = say_and_wait
with tracking.run_under_way(registry, "youth", "killed") as run_id:
    print(run_id, flush=True)
    tracking.log_run(registry, model, figures=FIGURES, parameters={}, digests={}, record=RECORD, run_id=run_id)
"""


def test_a_train_that_was_killed_leaves_no_run_that_seems_to_run_and_no_second_results(model, tmp_path):
    registry = made_store(tmp_path / "store")
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(tmp_path / "store")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    killed = training.stdout.readline().strip()
    assert training.stdout.readline() == "logged\n"
    assert registry.client.get_run(killed).info.status == "RUNNING" and len(below(registry, killed)) == 2
    assert end_dead_runs(registry) == (), "it lives"
    training.send_signal(signal.SIGKILL)
    training.communicate()
    assert registry.client.get_run(killed).info.status == "RUNNING", "nobody has looked yet"
    (scratch,) = registry.artefacts.glob(f".{killed}.*")
    runs = tmp_path / "runs"
    draft, unknown, finished = runs / f".{killed}.xyz", runs / f".{'0' * 32}.xyz", runs / killed
    for folder in (draft, unknown, finished):
        folder.mkdir(parents=True)
        (folder / "evidence.json").write_text("{}")
    with run_under_way(registry, "youth") as again:
        assert not scratch.exists(), "what it was writing is of no use"
        ours = runs / f".{again}.xyz"
        ours.mkdir()
        assert clear_drafts(registry, runs) == (draft,)
        assert sorted(runs.iterdir()) == sorted([unknown, finished, ours])
        assert registry.client.get_run(killed).info.status == "KILLED"
        assert {run.info.status for run in below(registry, killed)} == {"KILLED"}
        log_run(registry, model, figures=FIGURES, parameters={}, digests={}, record=RECORD, run_id=again)
    every = registry.client.search_runs([registry.client.get_experiment_by_name("youth").experiment_id])
    named = sorted(run.info.run_name for run in every if run.info.status == "FINISHED")
    assert named == ["2023-01-01 seed 1", "origin 2023-01-01", "trial 0"]
    assert registry.client.get_model_version_by_alias("youth", "candidate").run_id == again


# ---- plain MLflow --------------------------------------------------------------------------------------------------


LOUD = """
import sys

forbidden = {"socket.connect", "socket.getaddrinfo", "socket.sendto"}

def no_calls(event, arguments):
    if event in forbidden:
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(no_calls)
sys.path.insert(0, "tests")
from test_registry import configure, log, store
from test_training import made_matrix, made_need, train
from pathlib import Path
registry = configure(*store(Path(sys.argv[1])))
trained = train(made_matrix(), made_need(), seed=1)
log(registry, trained)
import mlflow
mlflow.set_tracking_uri(store(Path(sys.argv[1]))[0])
import lightgbm, models.pyfunc_loader, models.training  # numba keeps what it compiled as pickles of its own
forbidden.add("pickle.find_class")
loaded = mlflow.pyfunc.load_model("models:/youth@candidate")
later = made_matrix(seed=2)
frame = later.to_pandas()
assert loaded.predict(frame[frame.columns[::-1]]).tolist() == trained.predict(later.X).tolist()
assert [column.name for column in loaded.metadata.signature.inputs.inputs] == list(trained.columns)
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client())
"""


def test_plain_mlflow_loads_the_candidate_unpickles_nothing_calls_nobody_and_keeps_quiet(tmp_path):
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


def test_what_plain_mlflow_loads_was_compared_with_its_digests_first(model, tmp_path):
    model.save(tmp_path / "model")
    frame = made_matrix(seed=3).to_pandas()
    loaded = pyfunc_loader._load_pyfunc(str(tmp_path / "model"))
    assert loaded.predict(frame).tolist() == model.predict(made_matrix(seed=3).X).tolist()
    assert loaded.predict(frame).name == "probability" and loaded.predict(frame).index.equals(frame.index)
    with pytest.raises(BadInput, match=r"frame: lacks 1 of 7 columns: age\. Build it from youth\.toml"):
        loaded.predict(frame.drop(columns="age"))
    trees = tmp_path / "model/trees.txt"
    trees.write_bytes(trees.read_bytes().replace(b"leaf", b"life", 1))
    with pytest.raises(NotTrusted, match=r"trees\.txt: has SHA-256"):
        pyfunc_loader._load_pyfunc(str(tmp_path / "model"))


def test_a_rule_loaded_by_plain_mlflow_gives_a_rank_score(tmp_path):
    rule = RuleModel.of(parse_need(RULE_NEED.encode(), "screening.toml"))
    rule.save(tmp_path / "model")
    matrix = made_matrix(n=50, names=rule.columns)
    ranked = pyfunc_loader._load_pyfunc(str(tmp_path / "model")).predict(matrix.to_pandas())
    assert ranked.name == "rank_score" and ranked.tolist() == rule.raw(matrix.X).tolist()


def test_the_server_of_mlflow_shows_the_run_over_http(registry, whole_run, tmp_path):
    uri = registry.client._tracking_client.tracking_uri
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", uri, "--default-artifact-root", registry.artefacts.as_uri(), "--no-serve-artifacts"]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *address, *store],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        experiment = registry.client.get_experiment_by_name("youth").experiment_id
        wanted = {"experiment_ids": [experiment], "filter": "metrics.`test.auc.value` > 0.7"}
        found = asked(server, f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search", wanted)
        assert whole_run in [run["info"]["run_id"] for run in found["runs"]]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert b"MLflow" in page.read()
        plot = f"http://127.0.0.1:{port}/get-artifact?run_uuid={whole_run}&path=plots/k_curve.png"
        with urllib.request.urlopen(plot, timeout=10) as page:
            assert page.read() == PNG, "the page of a run shows its plots"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=20)


def asked(server, url, body):
    """What a server answers once it is up."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert server.poll() is None and time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)


# ---- the file of the store -----------------------------------------------------------------------------------------


OPEN = """
import sys
from pathlib import Path
from models.tracking import configure
folder = Path(sys.argv[1])
registry = configure(f"sqlite:///{folder / 'mlflow.db'}", folder / "artefacts")
registry.client.create_registered_model(sys.argv[2])
"""


def opening(folder, name):
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder), name], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.full
def test_two_who_make_the_store_at_once_both_find_it_whole(tmp_path):
    both = [opening(tmp_path, name) for name in ("one", "two")]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select name from registered_models order by name").fetchall() == [("one",), ("two",)]


@pytest.mark.full
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
