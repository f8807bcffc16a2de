import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_need import MODEL_NEED, RULE_NEED

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, NotTrusted
from features.matrix import Matrix
from models.need import parse_need
from models.rule import RuleModel
from models.training import NeedModel, fit_calibration, load_model, parameters_for, train

QUICK = "num_leaves = 4\nn_estimators = 20\nbagging_fraction = 0.7\nbagging_freq = 1\nfeature_fraction = 0.6"
NEED_TEXT = MODEL_NEED.replace("num_leaves = 15", QUICK)
FILES = ["calibration.json", "columns.json", "manifest.json", "need.toml", "trees.txt"]


def made_need(text=NEED_TEXT, name="youth"):
    return parse_need(text.encode(), f"{name}.toml")


def made_matrix(n=1200, seed=0, days=(date(2023, 1, 1),), names=None):
    """Absence and age with gaps; need is more likely the more absences, whatever the age."""
    rng = np.random.default_rng(seed)
    per_day = n // len(days)
    names = names or made_need().columns
    X = rng.poisson(3, size=(per_day * len(days), len(names))).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    chance = expit(np.nan_to_num(X[:, 0]) * 0.8 - 3.0)
    keys = pl.DataFrame(
        {
            "person_id": [f"P{i:05d}" for _ in days for i in range(per_day)],
            "as_of_date": [day for day in days for _ in range(per_day)],
        }
    )
    y = (rng.random(len(X)) < chance).astype(np.float64)
    return Matrix(keys=keys, X=X, names=tuple(names), y=y)


@pytest.fixture(scope="module")
def model():
    return train(made_matrix(), made_need(), seed=1)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "artefact")
    return tmp_path / "artefact"


def test_it_finds_what_was_planted(model):
    later = made_matrix(seed=1, n=4000)
    assert roc_auc_score(later.y, model.raw(later.X)) > 0.75
    p = model.predict(later.X)
    assert p.min() >= 0 and p.max() <= 1
    assert p.mean() == pytest.approx(later.y.mean(), abs=0.05)  # 385 of 1200 taught it


def test_contributions_add_up_to_the_raw_score(model):
    X = made_matrix(seed=2).X
    contributions = model.contributions(X)
    assert contributions.shape == (len(X), len(model.columns) + 1)
    assert np.abs(contributions.sum(axis=1) - model.raw(X)).max() < 1e-9


def test_no_rows_have_no_scores(model):
    X = np.empty((0, len(model.columns)), dtype=np.float32)
    assert model.raw(X).shape == model.predict(X).shape == (0,)
    assert model.contributions(X).shape == (0, len(model.columns) + 1)


def test_one_row_and_many_give_the_same_bits(model):
    X = made_matrix(seed=3).X
    together = model.predict(X)
    alone = np.concatenate([model.predict(X[i : i + 1]) for i in range(50)])
    assert alone.tobytes() == together[:50].tobytes()


def test_what_is_loaded_scores_as_what_was_trained_to_the_bit(model, folder):
    loaded = NeedModel.load(folder)
    X = made_matrix(seed=4).X
    assert loaded.digest == model.digest == sha256((folder / "manifest.json").read_bytes())
    assert loaded.raw(X).tobytes() == model.raw(X).tobytes()
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    assert loaded.contributions(X).tobytes() == model.contributions(X).tobytes()
    assert (loaded.need.id, loaded.need.bytes) == ("youth", NEED_TEXT.encode())
    assert (loaded.slope, loaded.intercept, loaded.score_bands) == (model.slope, model.intercept, model.score_bands)


def test_the_text_form_predicts_as_the_booster_it_came_from():
    import lightgbm

    matrix = made_matrix()
    settings = {"objective": "binary", "deterministic": True, "force_row_wise": True, "seed": 1, "verbosity": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix.X, matrix.y, params=settings), 30)
    text = booster.model_to_string().split("\nparameters:", 1)[0] + "\n"
    again = lightgbm.Booster(model_str=text)
    assert again.predict(matrix.X, raw_score=True).tobytes() == booster.predict(matrix.X, raw_score=True).tobytes()


def test_the_artefact_is_these_files_and_nothing_of_the_machine(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["artefact"]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert canonical_json(manifest) == (folder / "manifest.json").read_bytes()
    assert manifest["files"] == {n: sha256((folder / n).read_bytes()) for n in FILES if n != "manifest.json"}
    assert sorted(manifest) == [
        "files", "format", "kind", "need", "parameters", "score_bands", "seed", "training",
    ]  # fmt: skip
    assert manifest["training"]["as_of_dates"] == ["2023-01-01"]
    assert manifest["training"]["matrix_digest"] == made_matrix().digest
    assert json.loads((folder / "calibration.json").read_bytes()) == {
        "intercept": f"{model.intercept:.17g}",
        "slope": f"{model.slope:.17g}",
    }
    for word in (b"num_threads", b"machine", b"parameters:", str(Path.cwd()).encode(), b"verbosity"):
        assert word not in (folder / "trees.txt").read_bytes()


def test_training_again_gives_the_same_digest_and_another_seed_does_not(model):
    assert train(made_matrix(), made_need(), seed=1).digest == model.digest
    assert train(made_matrix(), made_need(), seed=2).digest != model.digest


def test_the_number_of_threads_does_not_change_the_digest():
    # So many rows that the work is divided at all.
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_training import made_matrix, made_need, train\n"
        "print(train(made_matrix(n=24_000), made_need(), seed=1).digest)"
    )
    root = Path(__file__).parent.parent
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"OMP_NUM_THREADS": threads, "PATH": "", "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for threads in ("1", "2")
    ]
    assert len(digests[0]) == 64 and digests[0] == digests[1]


def test_rows_of_unknown_outcome_teach_nothing():
    matrix = made_matrix()
    y = matrix.y.copy()
    y[:300] = np.nan
    known = np.isfinite(y)
    with_unknown = Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names, y=y)
    one, other = train(with_unknown, made_need(), seed=1), train(with_unknown.rows(known), made_need(), seed=1)
    assert one.trees == other.trees
    assert (one.slope, one.intercept) == (other.slope, other.intercept)


def test_a_monotone_column_never_lowers_the_score(model):
    assert model.need.model.constraints(model.columns)[0] == 1
    X = np.repeat(made_matrix(seed=5).X[:100], 12, axis=0)
    X[:, 0] = np.tile(np.arange(12, dtype=np.float32), 100)
    assert (np.diff(model.raw(X).reshape(100, 12), axis=1) >= 0).all()


def test_leaves_hold_at_least_what_the_policy_says():
    assert parameters_for(made_need(), 100)["min_data_in_leaf"] >= 20
    assert parameters_for(made_need(), 1_000_000)["min_data_in_leaf"] >= 20
    text = NEED_TEXT.replace("n_estimators = 20", "n_estimators = 20\nmin_data_in_leaf = 200")
    trees = train(made_matrix(), made_need(text), seed=1).trees.decode()
    counts = [int(n) for line in trees.splitlines() if line.startswith("leaf_count=") for n in line[11:].split()]
    assert min(counts) >= 200


def test_a_needs_own_parameters_stand_above_the_defaults():
    small, large = parameters_for(made_need(MODEL_NEED), 1000), parameters_for(made_need(MODEL_NEED), 500_000)
    assert small["num_leaves"] == large["num_leaves"] == 15
    assert small["learning_rate"] == large["learning_rate"] == 0.05
    assert small["n_estimators"] < large["n_estimators"]


def test_bands_are_thresholds_of_scores_by_models_that_had_not_seen_the_person(model):
    bands = model.score_bands
    assert sorted(bands) == [1, 5, 10, 25, 50]
    assert bands[1] >= bands[5] >= bands[10] >= bands[25] >= bands[50]
    later = model.raw(made_matrix(seed=6, n=6000).X)
    assert np.mean(later >= bands[10]) == pytest.approx(0.10, abs=0.05)
    assert np.mean(later >= bands[50]) == pytest.approx(0.50, abs=0.10)


def test_calibration_agrees_with_a_plain_logistic_regression():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=20_000) * 3
    y = (rng.random(20_000) < expit(0.4 * raw - 1)).astype(float)
    slope, intercept = fit_calibration(raw, y)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(raw[:, None], y)
    assert (slope, intercept) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=1e-3)


def test_calibration_is_finite_when_scores_separate_the_labels():
    slope, intercept = fit_calibration(np.array([-2.0, -1, 1, 2]), np.array([0.0, 0, 1, 1]))
    assert 0 < slope < 10 and abs(intercept) < 1


def test_scores_that_do_not_rank_promise_everyone_the_share_in_need():
    y = np.array([1.0, 0, 0, 0] * 50)
    for raw in (-y, np.zeros(200)):
        slope, intercept = fit_calibration(raw, y)
        assert slope == 0.0
        assert expit(intercept) == pytest.approx(0.25, abs=0.01)


def test_a_matrix_of_another_need_is_refused():
    other = made_matrix(names=("other.count.30d", *made_need().columns[1:]))
    with pytest.raises(BadInput, match=r"matrix: has other columns than youth\.toml makes: absence\.count\.30d, other"):
        train(other, made_need(), seed=1)


def test_a_label_that_hardly_varies_is_refused():
    matrix = made_matrix()
    y = np.zeros(len(matrix.y))
    y[:9] = 1
    with pytest.raises(BadInput) as refused:
        train(Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names, y=y), made_need(), seed=1)
    assert str(refused.value) == (
        "label: 9 of the 1200 training rows with a known outcome are in need. Learning takes at least 10 who are and "
        "10 who are not: widen the cohort"
    )
    with pytest.raises(BadInput, match="matrix: has no label to learn from"):
        train(Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names), made_need(), seed=1)


def test_a_matrix_of_another_width_is_not_scored(model):
    with pytest.raises(BadInput, match=r"has shape \(3, 2\), and the model takes 7 columns"):
        model.raw(np.zeros((3, 2), dtype=np.float32))


@pytest.mark.parametrize("name", [name for name in FILES if name != "manifest.json"])
def test_an_altered_file_is_named_and_never_parsed(folder, name):
    expected = sha256((folder / name).read_bytes())
    altered = b"\x00 no parser would survive this"
    (folder / name).write_bytes(altered)
    with pytest.raises(NotTrusted) as refused:
        NeedModel.load(folder)
    assert [str(fault) for fault in refused.value.faults] == [
        f"{folder / name}: has SHA-256 {sha256(altered)[:12]}…, and {expected[:12]}… is expected: it was altered. "
        "Restore it from a backup, or train and judge again"
    ]


def test_every_altered_or_missing_file_is_named_at_once(folder):
    (folder / "need.toml").write_bytes(b"x")
    (folder / "trees.txt").unlink()
    with pytest.raises(NotTrusted) as refused:
        NeedModel.load(folder)
    assert [Path(fault.where).name for fault in refused.value.faults] == ["need.toml", "trees.txt"]


def test_a_manifest_made_to_fit_altered_files_is_not_the_one_that_was_judged(folder, model):
    trees = (folder / "trees.txt").read_bytes().replace(b"leaf_value=", b"leaf_value=1")
    (folder / "trees.txt").write_bytes(trees)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["trees.txt"] = sha256(trees)
    (folder / "manifest.json").write_bytes(canonical_json(manifest))
    with pytest.raises(NotTrusted) as refused:
        NeedModel.load(folder, model.digest)
    assert str(refused.value).startswith(f"{folder / 'manifest.json'}: has SHA-256 ")
    assert NeedModel.load(folder).digest != model.digest


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format":1,"kind":"model","files":{"../x":"y"}}', b"\xff"])
def test_what_is_not_a_manifest_is_not_trusted(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(NotTrusted, match=r"manifest\.json: is not a manifest of format 1"):
        NeedModel.load(folder)


def test_a_missing_manifest_is_not_trusted(tmp_path):
    with pytest.raises(NotTrusted, match=r"manifest\.json: is missing"):
        NeedModel.load(tmp_path)


def test_an_artefact_is_not_written_over_another(model, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match="exists already"):
        model.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_either_kind_is_loaded_for_what_it_is(folder, tmp_path):
    rule = RuleModel.of(parse_need(RULE_NEED.encode(), "screening.toml"))
    rule.save(tmp_path / "rule")
    assert isinstance(load_model(folder), NeedModel)
    assert isinstance(load_model(tmp_path / "rule", rule.digest), RuleModel)
    with pytest.raises(NotTrusted, match='holds a need of kind "rule"'):
        NeedModel.load(tmp_path / "rule")
