"""Training by the command that users type: what it answers, says and leaves in MLflow, on an invented city."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from experiment_world import need_text, world

from features.synthetic import synthetic_city
from models.experiment_layout import lay_out
from models.feature_refits import feature_value
from models.learning_shares import learning_curve
from models.need import NEEDS, parse_need
from serving import commands, saying, training_flow, training_result
from serving.cli import main
from serving.home import Home
from serving.progress import silent
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def run(*words):
    """One command in this process: exit code and what it printed as JSON."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, words), "--json"])
    return code, json.loads(out.getvalue())


EFFECTS = """
schema = 1
version = "test-1"
review_by = 2099-01-31
[[effects]]
id = "meeting"
needs = ["youth_exclusion"]
label_codes = ["status.neet"]
action = "An invented action"
source = "Invented for this test"
size = { measure = "risk_ratio", value = 0.8, low = 0.7, high = 0.9 }
eligible = [{ column = "age", at_most = 20, plain = { fi = "a", sv = "b", en = "c" } }]
contra_indications = []
minutes_per_attempt = 25
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    synthetic_city(folder / "city", n_persons=1500, seed=1)
    text = (NEEDS / "youth_exclusion.toml").read_text("utf-8")
    quick = text.replace("tests = 3", "tests = 2").replace("[model]\n", "[model]\nn_estimators = 25\n")
    assert quick.count("n_estimators") == 1
    (folder / "youth_exclusion.toml").write_text(quick, "utf-8")
    (folder / "home").mkdir()
    (folder / "home" / "effects.toml").write_text(EFFECTS, "utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """What a train with everything that can be asked for answers."""
    asked = ("--city", folder / "city", "--need", folder / "youth_exclusion.toml", "--home", folder / "home")
    return run("train", *asked, "--seed", 1, "--search", 2, "--thorough")


@pytest.fixture(scope="module")
def home(folder):
    return Home(Settings(home=folder / "home"))


def test_an_evidence_table_in_the_home_puts_a_benefit_list_beside_the_risk_list(trained, home):
    benefit = trained[1]["benefit"]
    effect, lists = benefit["effects"][0], benefit["lists"]
    people = ("eligible", "not_known", "not_eligible", "contra_indicated")
    assert sum(effect[part] for part in people) == trained[1]["n_judged"]
    assert 0 < effect["eligible"] < trained[1]["n_judged"]  # only up to 20 years
    assert lists["avoided_by_benefit"]["value"] >= lists["avoided_by_risk"]["value"] > 0
    run_kept = home.registry.client.get_run(trained[1]["run_id"]).data
    assert run_kept.tags["digest.effects"] == benefit["table_sha256"] == home.effects.digest
    assert run_kept.metrics["benefit.overlap_share"] == lists["overlap_share"]


def test_the_answer_holds_what_the_contract_names_and_what_says_its_worth(trained):
    code, said = trained
    assert code == 0
    assert {"run_id", "model_digest", "test_as_of_dates", "train_as_of_dates", "judged_as_of_dates"} <= set(said)
    assert len(said["test_as_of_dates"]) == 2 and set(said["test"]["by_date"]) == set(said["test_as_of_dates"])
    auc = said["test"]["auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert set(said["unseen"]) == set(said["test"]) - {"by_date"}
    orders = [row["order"] for row in said["baselines"]]
    assert orders[0] == "model" and {"chance", "unit_rule", "best_column", "logistic"} <= set(orders)
    assert all(
        {"found_at_capacity", "difference_found_low", "difference_found_high"} <= set(b) for b in said["baselines"]
    )
    assert {row["part"] for row in said["attrition"]} == {"train", "test"}
    assert said["advice"] is None or said["advice"].startswith("Use ")
    assert {duel["rival"] for duel in said["duel"]} == {"chance", "unit_rule"}
    assert said["search"]["trials"] == 2
    assert [row["share"] for row in said["learning_curve"]] == [0.1, 0.25, 0.5, 1.0]
    assert {row["change"] for row in said["feature_value"]} == {"without", "alone"}


def test_mlflow_holds_the_run_with_its_children_plots_tables_and_card(trained, home):
    client, run_id = home.registry.client, trained[1]["run_id"]
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test.auc.value"] == pytest.approx(trained[1]["test"]["auc"]["value"])
    children = client.search_runs([found.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    parts = [child.data.tags["part"] for child in children]
    assert (parts.count("origin"), parts.count("trial")) == (2, 2)
    assert {child.info.status for child in children} == {"FINISHED"}
    steps = [point.step for point in client.get_metric_history(run_id, "k_curve.precision")]
    assert len(steps) > 20 and steps == sorted(set(steps))
    root = Path(found.info.artifact_uri.removeprefix("file://"))
    plots = {path.stem for path in root.glob("plots/*.png")}
    assert plots == {
        "split",
        "attrition_train",
        "attrition_test",
        "k_curve",
        "auc_by_date",
        "baselines",
        "reliability",
        "net_benefit",
        "regret",
        "learning_curve",
        "feature_value",
    }
    tables = {path.stem for path in root.glob("tables/*.csv")}
    assert tables >= {"attrition", "baselines", "single_columns", "k_curve", "reliability", "split", "column_digests"}
    assert tables >= {"subsets", "list_overlap", "errors_beside_the_rule", "search_trials", "search_groups"}
    baselines = pl.read_csv(root / "tables/baselines.csv")
    assert baselines["order"].to_list() == [row["order"] for row in trained[1]["baselines"]]
    assert trained[1]["model_digest"] in (root / "model_card.html").read_text("utf-8")
    assert (root / "youth_exclusion.toml").exists()
    inputs = {used.dataset.name for used in found.inputs.dataset_inputs}
    assert inputs == {"youth_exclusion training", "youth_exclusion testing"}


def test_no_person_is_written_to_mlflow(trained, home, folder):
    people = pl.read_parquet(folder / "city" / "persons.parquet")["person_id"].to_list()
    content = (folder / "home" / "mlflow.db").read_bytes()
    for path in home.mlflow_artefacts.rglob("*"):
        content += path.read_bytes() if path.is_file() else b""
    # Ids are six digits, which a figure may hold by chance; as a word of its own none may stand anywhere.
    words = set(content.replace(b'"', b" ").replace(b",", b" ").replace(b"'", b" ").split())
    assert not words & {person.encode() for person in people if person.startswith("00")}


def test_the_same_is_said_in_words(trained, capsys):
    training_result.say_trained(trained[1])
    said = capsys.readouterr().out
    result = trained[1]
    assert f"run {result['run_id']}, model {result['model_digest'][:12]}" in said
    for line in result["findings"]:
        assert f"- {line}\n" in said
    n, k = result["n_unseen"], result["k_unseen"]
    assert f"{n:,} persons never seen in training (in {k} place" in said
    assert 0 < n < 1500 and 1 <= k < result["k"]
    assert "-0 " not in said and "-0\n" not in said and "“" not in said
    assert re.search(r"^ *kept +rows left +persons +rows lost *$", said, re.MULTILINE)
    for words in ("never seen in training", "model finds more by", "unit rule", "logistic", "train: ", "test: "):
        assert words in said
    if result["advice"]:
        assert f"Advice: {result['advice']}" in said
    assert "Parameters after 2 trials" in said
    assert f"MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {result['mlflow']['uri']}" in said
    assert f"Next: ennakko judge --run {result['run_id']}" in said


def test_the_run_can_be_judged_and_its_evidence_is_that_which_was_logged(trained, folder):
    assert run("keys", "demo", "--home", folder / "home")[0] == 0
    code, said = run("judge", "--run", trained[1]["run_id"], "--home", folder / "home")
    assert code in (10, 20), "so small a city shows nothing"
    assert {check["id"] for check in said["checks"]} >= {"C105", "C106"}


def test_the_same_inputs_and_seed_give_the_same_model_in_another_home(trained, folder):
    asked = ("--city", folder / "city", "--need", folder / "youth_exclusion.toml", "--home", folder / "other")
    code, again = run("train", *asked, "--seed", 1, "--search", 2)
    assert code == 0 and again["learning_curve"] == again["feature_value"] == [], "not asked for"
    for name in ("model_digest", "search", "test", "baselines", "attrition"):
        assert again[name] == trained[1][name], name
    assert again["run_id"] != trained[1]["run_id"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--workers: is 2, and only a search has workers. Give --search N with it"),
        (["--search", "0"], "argument --search: is 0, but must be 1 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(words, said, folder, tmp_path, capsys):
    asked = ["--city", str(folder / "city"), "--need", str(folder / "youth_exclusion.toml"), "--home", str(tmp_path)]
    assert main(["train", *asked, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(("option", "named"), [("--search", ["--search", "3"]), ("--thorough", ["--thorough"])])
def test_a_written_rule_has_nothing_to_search_or_refit(option, named, folder, tmp_path, capsys):
    asked = ["--city", str(folder / "city"), "--need", "cervical_screening", "--home", str(tmp_path)]
    assert main(["train", *asked, *named]) == 2
    assert f"{option}: refits trees, and cervical_screening is a written rule" in capsys.readouterr().err


def test_the_curve_and_the_refits_weigh_the_judged_as_the_figures_do(tmp_path):
    """Under ipcw the model with all training persons must score as it does in the table of orders."""
    city = world(tmp_path / "leaving", leave_rate=0.004)
    label = 'codes = ["status.need"]\nhorizon_days = 60\n'
    censored = (label, f'{label}censored_by = ["moved_away"]\ncensoring = "ipcw"\n')
    need = parse_need(need_text(censored, ("tests = 2", "tests = 1")).encode(), "youth.toml")
    home = Home(Settings(home=tmp_path / "home"))
    laid = lay_out(city, need, home.objections, 1, silent)
    experiment, further = training_flow._learn(home, laid, city, silent, 0, 1, True)
    whole, model = further.learning_curve.row(-1, named=True), experiment.baselines.row(0, named=True)
    unweighted = learning_curve(experiment.train_matrix, experiment.judged, need, 1, weights=experiment.train_weights)
    for name in ("auc", "precision_at_capacity", "recall_at_capacity"):
        assert whole[name] == pytest.approx(model[name], abs=1e-12)
    assert whole["auc"] != unweighted["auc"][-1]
    alone = further.feature_value.filter(feature="absence", change="alone").row(0, named=True)
    plain = feature_value(
        experiment.train_matrix, experiment.judged, need, 1, experiment.k, weights=experiment.train_weights
    )
    assert alone["auc_difference"] != plain.filter(feature="absence", change="alone")["auc_difference"][0]


def test_the_next_train_clears_away_what_a_dead_one_was_writing(trained, folder, home):
    draft = home.runs / f".{trained[1]['run_id']}.left"
    draft.mkdir()
    (draft / "rows.parquet").write_bytes(b"half")
    asked = ("--city", folder / "city", "--need", "cervical_screening", "--home", folder / "home")
    code, said = run("train", *asked)
    assert code == 0, said
    assert sorted(path.name for path in home.runs.iterdir()) == sorted([trained[1]["run_id"], said["run_id"]])


def test_a_train_that_cannot_be_laid_out_leaves_no_run_and_no_folder(folder, tmp_path):
    text = (folder / "youth_exclusion.toml").read_text("utf-8").replace("horizon_days = 180", "horizon_days = 3000")
    (tmp_path / "youth_exclusion.toml").write_text(text, "utf-8")
    asked = ("--city", folder / "city", "--need", tmp_path / "youth_exclusion.toml", "--home", folder / "refused")
    code, said = run("train", *asked)
    assert code == 2 and "label.horizon_days" in said["errors"][0]["where"]
    assert not (folder / "refused" / "runs").exists() and not (folder / "refused" / "mlartifacts").exists()


def test_a_broken_evidence_table_is_refused_before_anything_is_trained(folder, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    asked = ("--city", folder / "city", "--need", folder / "youth_exclusion.toml", "--home", home)
    for broken in (EFFECTS.replace("schema = 1", "schema = 9"), EFFECTS.replace('"age"', '"no.such.column"')):
        (home / "effects.toml").write_text(broken, "utf-8")
        code, said = run("train", *asked)
        assert code == 2 and "effects.toml" in said["errors"][0]["where"], said
    assert not (home / "mlartifacts").exists() and not (home / "runs").exists()


def test_a_train_that_fails_in_the_middle_leaves_a_run_that_says_so_and_no_files(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    home = tmp_path / "home"
    monkeypatch.setattr("models.evidence_files.write_evidence", full)
    asked = ("--city", folder / "city", "--need", folder / "youth_exclusion.toml", "--home", home)
    code, said = run("train", *asked)
    assert code == 2, said
    client = Home(Settings(home=home)).registry.client
    experiment = client.get_experiment_by_name("youth_exclusion").experiment_id
    assert [found.info.status for found in client.search_runs([experiment])] == ["FAILED"]
    assert not list((home / "runs").iterdir())
    assert [path.name for path in (home / "mlartifacts").iterdir()] == [".running"]
    assert not list((home / "mlartifacts" / ".running").iterdir())


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (0.2, "0.2", "+0.2"),
        (-0.2, "-0.2", "-0.2"),
        (-0.04, "0", "0"),
        (-0.0, "0", "0"),
        (3.0, "3", "+3"),
        (9.96, "10", "+10"),
        (-12.4, "-12", "-12"),
        (1234.5, "1,234", "+1,234"),
        (None, "–", "–"),
    ],
)
def test_people_are_counted_in_words(value, plain, signed):
    assert saying.count(value) == plain
    assert saying.count(value, signed=True) == signed


def test_no_number_is_less_than_nothing_by_nothing():
    assert saying.number(-0.0) == "0" and saying.number(-0.0001) == "0.000" and saying.number(-0.25) == "-0.250"
    assert saying.interval({"low": -0.01, "high": 0.0}, signed=True) == "0 to 0"
    assert saying.interval({"low": 0.0, "high": 0.2}, people=True) == "0 to 0.2"


def test_a_password_of_the_store_is_never_said():
    from serving.training_flow import _without_password

    said = _without_password("postgresql+psycopg://keeper:secret@db.example/mlflow")
    assert said == "postgresql+psycopg://keeper:***@db.example/mlflow"
    assert _without_password("sqlite:////srv/ennakko/mlflow.db") == "sqlite:////srv/ennakko/mlflow.db"


def test_the_command_hands_on_what_was_asked(monkeypatch):
    from serving import cli

    asked = {}
    monkeypatch.setattr(commands, "run", lambda options: asked.update(vars(options)) or 0)
    assert cli.main(["train", "--city", "x", "--need", "y", "--search", "9", "--workers", "2", "--thorough"]) == 0
    assert (asked["search"], asked["workers"], asked["thorough"]) == (9, 2, True)
    assert cli.main(["train", "--city", "x", "--need", "y"]) == 0
    assert (asked["search"], asked["workers"], asked["thorough"]) == (0, 1, False)


@pytest.mark.full
def test_a_candidate_can_always_be_judged_whenever_its_train_was_killed(folder, tmp_path):
    """SIGKILL as soon as the alias is set: the evidence already has its name, so no candidate is an orphan."""
    code = (
        "import os, signal, sys\n"
        "from mlflow import MlflowClient\n"
        "from serving.cli import main\n"
        "given = MlflowClient.set_registered_model_alias\n"
        "def then_die(self, *rest, **named):\n"
        "    given(self, *rest, **named)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "MlflowClient.set_registered_model_alias = then_die\n"
        "main(sys.argv[1:])\n"
    )
    asked = ["--city", folder / "city", "--need", folder / "youth_exclusion.toml", "--home", tmp_path / "home"]
    killed = subprocess.run([sys.executable, "-c", code, "train", *map(str, asked)], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    registry = Home(Settings(home=tmp_path / "home")).registry
    candidate = registry.client.get_model_version_by_alias("youth_exclusion", "candidate")
    assert {path.name for path in (tmp_path / "home" / "runs" / candidate.run_id).iterdir()} == {
        "evidence.json",
        "features.parquet",
        "rows.parquet",
        "run.json",
    }
