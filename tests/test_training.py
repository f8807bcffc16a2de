import json
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from small_cities import blank_city, city_of, everyone_on
from test_need import MODEL_NEED, RULE_NEED, TEXT

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, NotTrusted
from features.matrix import Matrix, build_matrix
from models import calibration
from models.calibration import deal_folds, fit_calibration, hold_out, plan_calibration, score_thresholds
from models.need import parse_need
from models.need_parts import ModelSettings
from models.rule import RuleModel
from models.sample_weights import row_weights
from models.training import NeedModel, fit_uncalibrated, load_model, train
from models.tree_fitting import parameters_for

QUICK = "num_leaves = 4\nn_estimators = 20\nbagging_fraction = 0.7\nbagging_freq = 1\nfeature_fraction = 0.6"
NEED_TEXT = MODEL_NEED.replace("num_leaves = 15", QUICK)
DISTRICTS = ["Kallio", "Vuosaari", "Malmi", "Kontula", "Laru", "Herttoniemi"]
DISTRICT_TEXT = (
    NEED_TEXT
    + f"""
[[features]]
attribute = "district"
categories = {DISTRICTS}
plain = {TEXT}
source = "population register"
purpose = "where services are far"
basis = "to be attested"
"""
)
FILES = ["calibration.json", "columns.json", "manifest.json", "need.toml", "trees.txt"]


def made_need(text=NEED_TEXT, name="youth"):
    return parse_need(text.encode(), f"{name}.toml")


def made_matrix(n=1200, seed=0, days=(date(2023, 1, 1),), names=None, share=None):
    """Absence and age with gaps; need is more likely the more absences, whatever the age.

    With ``share`` about so many are in need, and what columns hold is spread widely.
    """
    rng = np.random.default_rng(seed)
    per_day = n // len(days)
    names = names or made_need().columns
    X = rng.poisson(3, size=(per_day * len(days), len(names))).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    chance = expit(np.nan_to_num(X[:, 0]) * 0.8 - 3.0)
    if share is not None:
        chance *= share / chance.mean()
        X[:, 1:] *= rng.lognormal(size=X[:, 1:].shape).astype(np.float32)
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
        "calibration", "categories", "files", "format", "kind", "need", "parameters", "score_bands", "seed", "training",
        "weights",
    ]  # fmt: skip
    assert manifest["calibration"] == {"method": "cross-fitting", "folds": 5}
    assert manifest["categories"] == {}
    assert manifest["weights"] == {"given": "none", "imbalance": "none", "recency_half_life_days": "none"}
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
    # So many rows that the work is divided at all, and weights so unequal that sums in another order are other sums.
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_training import *\n"
        "matrix = made_matrix(n=30_000, names=made_need(DISTRICT_TEXT).columns, share=0.05)\n"
        "weights = np.random.default_rng(0).lognormal(0, 1.5, 30_000)\n"
        "for calibration.LARGE in (10**9, 100):\n"
        "    model = train(matrix, made_need(DISTRICT_TEXT), seed=1, weights=weights)\n"
        "    print(model.digest, model.slope > 0, model.facts['calibration']['method'])"
    )
    root = Path(__file__).parent.parent

    def told(threads):
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive", "PATH": "", "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()

    one, three = told("1"), told("3")
    assert one == three and len(one) == 2
    for line, method in zip(one, ("cross-fitting", "held out"), strict=True):
        digest, *rest = line.split(maxsplit=2)
        assert len(digest) == 64 and rest == ["True", method]


def test_rows_of_unknown_outcome_teach_nothing():
    matrix = made_matrix()
    y = matrix.y.copy()
    y[:300] = np.nan
    known = np.isfinite(y)
    with_unknown = Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names, y=y)
    one, other = train(with_unknown, made_need(), seed=1), train(with_unknown.rows(known), made_need(), seed=1)
    assert one.trees == other.trees
    assert (one.slope, one.intercept) == (other.slope, other.intercept)


def test_monotone_columns_never_turn_the_score_between_any_two_values():
    text = NEED_TEXT.replace('{ "absence.count.*" = 1 }', '{ "absence.*" = 1, "age" = -1 }')
    need, matrix = made_need(text), made_matrix(n=4000, seed=5)
    # Age would raise the score, if it might.
    y = np.where(np.nan_to_num(matrix.X[:, -1]) > 4, 1.0, matrix.y)
    model = train(Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names, y=y), need, seed=1)
    signs = need.model.constraints(need.columns)
    assert signs == [1, 1, 1, 1, 1, 1, -1]
    rows, values = made_matrix(seed=6).X[:60], np.arange(-1, 13, dtype=np.float32)
    moved = 0
    for column, sign in enumerate(signs):
        X = np.repeat(rows, len(values), axis=0)
        X[:, column] = np.tile(values, len(rows))
        raw = sign * model.raw(X).reshape(len(rows), len(values))
        for low in range(len(values)):
            for high in range(low + 1, len(values)):
                assert (raw[:, low] <= raw[:, high]).all(), (need.columns[column], values[low], values[high])
        moved += int((raw.max(axis=1) > raw.min(axis=1)).any())
    assert moved >= 4  # the columns do matter
    # And all of them at once: whoever is nowhere below is never ranked below.
    rng = np.random.default_rng(0)
    below = np.nan_to_num(rows[rng.integers(0, len(rows), 2000)])
    above = below + np.array(signs, dtype=np.float32) * rng.poisson(1, size=below.shape).astype(np.float32)
    assert (model.raw(below) <= model.raw(above)).all()


def test_a_category_has_no_order_to_be_monotone_along():
    with pytest.raises(BadInput) as refused:
        made_need(DISTRICT_TEXT.replace('{ "absence.count.*" = 1 }', '{ "dist*" = 1 }'))
    assert str(refused.value) == (
        "youth.toml: model.monotone.'dist*': matches 'district', whose values are categories without an order. "
        "Name columns of numbers only"
    )


def district_matrix(need, n=3000, seed=0):
    """Need depends on the district alone, and not on its place in the list."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(2, size=(n, len(need.columns))).astype(np.float32)
    X[:, -1] = rng.choice([0, 1, 2, 3, 4, 5, np.nan], n)
    y = (rng.random(n) < np.where(np.isin(X[:, -1], [1, 4]), 0.7, 0.1)).astype(np.float64)
    keys = pl.DataFrame({"person_id": [f"P{i}" for i in range(n)], "as_of_date": [date(2023, 1, 1)] * n})
    return Matrix(keys=keys, X=X, names=need.columns, y=y)


def test_categories_are_split_as_sets_and_what_is_in_no_category_is_missing():
    need = made_need(DISTRICT_TEXT)
    assert need.columns[-1] == "district"
    model = train(district_matrix(need), need, seed=1)
    assert json.loads(model.manifest)["categories"] == {"district": DISTRICTS}
    trees = model.trees.decode()
    assert "cat_threshold=" in trees
    X = np.full((8, len(need.columns)), 2, dtype=np.float32)
    X[:, -1] = [0, 1, 2, 3, 4, 5, np.nan, np.nan]
    p = model.predict(X)
    assert min(p[1], p[4]) > 0.5 > 0.25 > max(p[[0, 2, 3, 5, 6]])
    contributions = model.contributions(X)
    assert np.abs(contributions.sum(axis=1) - model.raw(X)).max() < 1e-9
    # A number that is no place of the list cannot come from a matrix; as a category it would be missing, too.
    beyond = X.copy()
    beyond[:, -1] = 77
    assert model.raw(beyond).tolist() == [float(model.raw(X[6:7])[0])] * 8


def test_a_matrix_gives_places_in_the_needs_list_and_nothing_for_what_is_not_in_it(tmp_path):
    class Nobody:
        def objecting(self, person_ids, need_id):
            return np.zeros(len(person_ids), dtype=bool)

    need = made_need(DISTRICT_TEXT)
    history = pl.DataFrame(
        {
            "person_id": ["anna", "bo", "cai"],
            "attribute": ["district"] * 3,
            "value": ["Malmi", "Nowhere", "Kallio"],
            "from_date": [datetime(2020, 1, 1)] * 3,
            "knowledge_date": [datetime(2020, 1, 1)] * 3,
        }
    )
    city = replace(city_of([], blank_city(tmp_path)), history=history)
    keys = everyone_on(date(2024, 1, 1))
    matrix = build_matrix(city, need.features[-1:], keys, objections=Nobody(), need_id="youth")
    found = dict(zip(matrix.keys["person_id"], matrix.X[:, 0].tolist(), strict=True))
    assert (found.pop("anna"), found.pop("cai")) == (2.0, 0.0)
    assert found and all(np.isnan(value) for value in found.values())


def test_leaves_hold_at_least_what_the_policy_says():
    assert parameters_for(made_need(), 100)["min_data_in_leaf"] >= 20
    assert parameters_for(made_need(), 100, {"min_data_in_leaf": 1})["min_data_in_leaf"] == 20
    assert parameters_for(made_need(), 1_000_000)["min_data_in_leaf"] >= 20
    text = NEED_TEXT.replace("n_estimators = 20", "n_estimators = 20\nmin_data_in_leaf = 200")
    trees = train(made_matrix(), made_need(text), seed=1).trees.decode()
    counts = [int(n) for line in trees.splitlines() if line.startswith("leaf_count=") for n in line[11:].split()]
    assert min(counts) >= 200


def leaf_counts(model):
    lines = model.trees.decode().splitlines()
    return [int(n) for line in lines if line.startswith("leaf_count=") for n in line[11:].split()]


def rare_matrix():
    """Need is rare, and hardly anybody outside two narrow marks is in need."""
    rng = np.random.default_rng(3)
    need = made_need()
    X = rng.normal(size=(6000, len(need.columns))).astype(np.float32)
    y = ((X[:, -1] > 2.4) | (X[:, 2] > 2.9)).astype(np.float64)
    keys = pl.DataFrame({"person_id": [f"P{i}" for i in range(6000)], "as_of_date": [date(2023, 1, 1)] * 6000})
    return Matrix(keys=keys, X=X, names=need.columns, y=y)


def test_no_leaf_is_of_fewer_than_twenty_rows_whatever_is_asked():
    """LightGBM's own ``min_data_in_leaf`` is an estimate, which a rare outcome or weights mislead."""
    import lightgbm

    matrix, asked = rare_matrix(), {"min_data_in_leaf": 1, "num_leaves": 64}
    bare = {"objective": "binary", "verbosity": -1, "num_leaves": 64, "min_data_in_leaf": 20, "num_threads": 1}
    booster = lightgbm.train(bare, lightgbm.Dataset(matrix.X, matrix.y), 20)
    assert min(leaf_counts(SimpleNamespace(trees=booster.model_to_string().encode()))) < 20
    weights = np.where(np.arange(6000) % 3 == 0, 0.0, np.random.default_rng(0).lognormal(0, 0.4, 6000))
    for settings in ("", 'imbalance = "balanced"', "recency_half_life_days = 10"):
        model = train(matrix, with_model(settings), 1, weights=weights, parameters=asked)
        counts = leaf_counts(model)
        assert min(counts) >= 20 and len(counts) > 20
        assert model.facts["parameters"]["min_data_in_leaf"] == "20"
        assert model.facts["parameters"]["num_leaves"] == "64"
        assert model.facts["training"]["n_rows"] == 4000
    assert min(leaf_counts(train(matrix, made_need(), 1, parameters=asked))) >= 20


def test_a_parameter_that_no_need_may_set_is_refused():
    wanted = {"num_leafs": 3, "objective": 1, "imbalance": 1, "num_threads": 2, "min_child_samples": 2}
    with pytest.raises(BadInput) as refused:
        train(made_matrix(), made_need(), seed=1, parameters=wanted)
    assert [fault.where for fault in refused.value.faults] == [f"parameters.{name}" for name in wanted]
    assert str(refused.value.faults[0]).startswith(
        "parameters.num_leafs: is not a parameter that may be set. Did you mean 'num_leaves'?"
    )


def with_model(settings, text=NEED_TEXT):
    return made_need(text.replace("n_estimators = 20", f"n_estimators = 20\n{settings}"))


def test_a_row_counts_half_as_much_after_each_half_life():
    matrix = made_matrix(n=90, days=(date(2022, 1, 1), date(2022, 12, 2), date(2023, 1, 1)))
    chosen = row_weights(matrix, ModelSettings(recency_half_life_days=30))
    old, middle, new = chosen.population[::30]
    assert (middle / new, old / new) == pytest.approx((0.5, 2 ** (-365 / 30)))
    assert chosen.population.mean() == pytest.approx(1.0)
    assert chosen.learning is chosen.population
    handed = np.arange(90.0)
    both = row_weights(matrix, ModelSettings(recency_half_life_days=30), handed)
    assert both.rows.tolist() == list(range(1, 90))
    assert both.population == pytest.approx(
        (both.population / (chosen.population * handed)[1:]).mean() * (chosen.population * handed)[1:]
    )


def test_recent_rows_teach_and_calibrate_more():
    days = (date(2020, 1, 1), date(2023, 1, 1))
    matrix = made_matrix(n=4000, days=days)
    y = matrix.y.copy()
    y[:2000] = 1 - y[:2000]  # the world has turned since
    turned = Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names, y=y)
    need = with_model("recency_half_life_days = 90", NEED_TEXT.replace('monotone = { "absence.count.*" = 1 }', ""))
    model = train(turned, need, seed=1)
    later = made_matrix(n=4000, seed=9)
    assert roc_auc_score(later.y, model.raw(later.X)) > 0.7
    assert model.predict(later.X).mean() == pytest.approx(later.y.mean(), abs=0.05)
    assert model.facts["weights"]["recency_half_life_days"] == 90


def test_rows_of_weight_zero_and_the_unit_of_weights_change_nothing():
    matrix, weights = made_matrix(), np.random.default_rng(0).lognormal(size=1200)
    weights[:300] = 0
    left_out = train(matrix.rows(weights > 0), made_need(), seed=1, weights=weights[300:])
    for same in (train(matrix, made_need(), seed=1, weights=unit * weights) for unit in (1.0, 8.0)):
        assert (same.trees, same.slope, same.intercept) == (left_out.trees, left_out.slope, left_out.intercept)
    assert train(matrix, made_need(), seed=1).trees != left_out.trees
    assert same.facts["weights"]["given"] == sha256((8.0 * weights).astype("<f8").tobytes())


def test_equal_weights_are_no_weights(model):
    assert train(made_matrix(), made_need(), seed=1, weights=np.full(1200, 3.0)).trees == model.trees


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.ones(7), "weights: have shape (7,), and the matrix has 1200 rows. Give one weight for each row"),
        (np.full(1200, np.nan), "weights: 1200 of 1200 are below 0 or not finite. Give numbers of at least 0"),
        (-np.ones(1200), "weights: 1200 of 1200 are below 0 or not finite. Give numbers of at least 0"),
        (np.zeros(1200), "weights: are 0 for every row with a known outcome. Give some rows a weight above 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights, said):
    with pytest.raises(BadInput) as refused:
        train(made_matrix(), made_need(), seed=1, weights=weights)
    assert str(refused.value) == said


def test_weights_mend_a_sample_that_lacks_most_of_those_in_need():
    matrix, later = made_matrix(n=6000, seed=3), made_matrix(n=6000, seed=4)
    rng = np.random.default_rng(5)
    seen = (matrix.y == 0) | (rng.random(6000) < 0.25)
    found = matrix.rows(seen)
    weighted = train(found, made_need(), seed=1, weights=np.where(found.y == 1, 4.0, 1.0))
    plain = train(found, made_need(), seed=1)
    assert later.y.mean() == pytest.approx(weighted.predict(later.X).mean(), rel=0.06)
    assert later.y.mean() > 1.5 * plain.predict(later.X).mean()


def test_balanced_learning_still_promises_what_happens():
    need = with_model('imbalance = "balanced"')
    matrix, later = made_matrix(n=19_000, seed=7, share=0.06), made_matrix(n=19_000, seed=8, share=0.06)
    chosen = row_weights(matrix, need.model)
    assert chosen.population is None
    assert chosen.learning[matrix.y == 1].sum() == pytest.approx(chosen.learning[matrix.y == 0].sum())
    balanced, plain = train(matrix, need, seed=1), train(matrix, made_need(), seed=1)
    assert expit(balanced.raw(later.X)).mean() > 0.3  # what balance does to the trees
    for model in (balanced, plain):
        p = model.predict(later.X)
        assert later.y.sum() / p.sum() == pytest.approx(1.0, abs=0.1)
        assert fit_calibration(np.log(p / (1 - p)), later.y)[0] == pytest.approx(1.0, abs=0.15)
    assert balanced.facts["weights"]["imbalance"] == "balanced"


def test_the_plan_keeps_a_persons_rows_together_and_holds_out_only_where_many_are_in_need():
    people = [f"P{i // 2}" for i in range(24_000)]
    y = (np.arange(24_000) // 2 % 2 == 0).astype(float)
    large = plan_calibration(y, people, None, 1)
    assert (large.method, large.held_out_share) == ("held out", 0.2)  # 6000 of either outcome
    ((held, others),) = large.parts()
    assert {people[i] for i in held}.isdisjoint(people[i] for i in others)
    assert len(held) + len(others) == 24_000
    assert len(held) / 24_000 == pytest.approx(0.2, abs=0.02)
    small = plan_calibration(y[:19_900], people[:19_900], None, 1)
    assert small.facts == {"method": "cross-fitting", "folds": 5}
    parts = list(small.parts())
    assert sorted(np.concatenate([held for held, _ in parts])) == list(range(19_900))
    for held, others in parts:
        assert {people[i] for i in held}.isdisjoint(people[i] for i in others)
    # A few heavy rows tell less than many equal ones.
    heavy = np.where(np.arange(24_000) < 2400, 100.0, 1.0)
    assert plan_calibration(y, people, heavy, 1).method == "cross-fitting"
    many = plan_calibration(np.tile([1.0, 0.0], 20_000), [str(i) for i in range(40_000)], None, 1)
    assert many.held_out_share == 0.075


def test_trees_know_nothing_of_the_outcomes_of_those_held_out(monkeypatch):
    monkeypatch.setattr(calibration, "LARGE", 100)
    matrix = made_matrix(n=3000)
    model = train(matrix, made_need(), seed=1)
    assert model.facts["calibration"]["method"] == "held out"
    people = matrix.keys["person_id"].to_list()
    ((held, others),) = plan_calibration(matrix.y, people, None, 1).parts()
    assert model.facts["calibration"]["n_rows"] == len(held)
    y = matrix.y.copy()
    y[held] = 1 - y[held]
    other = train(Matrix(keys=matrix.keys, X=matrix.X, names=matrix.names, y=y), made_need(), seed=1)
    assert other.trees == model.trees
    assert (model.slope > 0, other.slope) == (True, 0.0)
    assert sum(leaf_counts(model)[:4]) <= len(others)


def test_persons_held_out_make_probabilities_that_can_be_believed(monkeypatch):
    monkeypatch.setattr(calibration, "LARGE", 100)
    model, later = train(made_matrix(n=19_000), made_need(), seed=1), made_matrix(n=19_000, seed=9)
    p = model.predict(later.X)
    assert later.y.sum() / p.sum() == pytest.approx(1.0, abs=0.05)
    assert fit_calibration(np.log(p / (1 - p)), later.y)[0] == pytest.approx(1.0, abs=0.1)


def test_the_trees_alone_are_those_that_training_keeps_with_any_number_of_threads(model):
    assert fit_uncalibrated(made_matrix(), made_need(), 1) == model.trees
    assert fit_uncalibrated(made_matrix(), made_need(), 1, threads=2) == model.trees
    weighted = fit_uncalibrated(made_matrix(), made_need(), 1, weights=made_matrix().X[:, 0] == 3)
    assert weighted != model.trees


def test_a_weighted_calibration_is_that_of_rows_told_so_often():
    rng = np.random.default_rng(0)
    raw, often = rng.normal(size=3000), rng.integers(0, 4, 3000)
    y = (rng.random(3000) < expit(raw - 1)).astype(float)
    told = np.repeat(np.arange(3000), often)
    # What centres and scales raw scores does not change the curve, only its rounding.
    assert fit_calibration(raw, y, often.astype(float)) == pytest.approx(fit_calibration(raw[told], y[told]), abs=1e-9)
    bands = score_thresholds(raw, often.astype(float), (1, 10, 50))
    for share, threshold in bands.items():
        assert np.mean(raw[told] >= threshold) == pytest.approx(share / 100, abs=0.002)


def test_dealing_is_by_person_and_seed_alone():
    people = [f"P{i}" for i in range(5000)]
    assert (deal_folds(people, 3, 1).fold == deal_folds(people[::-1], 3, 1).fold[::-1]).all()
    assert (deal_folds(people, 3, 1).fold != deal_folds(people, 3, 2).fold).mean() > 0.5
    assert np.bincount(deal_folds(people, 3, 1).fold) == pytest.approx([5000 / 3] * 3, rel=0.1)
    assert (hold_out(people, 0.1, 1).fold == 0).mean() == pytest.approx(0.1, abs=0.02)


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
