"""Scores by our own walk through the trees: LightGBM's to the last bit, and its contributions, whatever the trees."""

import re
from fractions import Fraction
from math import comb, prod

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethics.refusals import BadInput
from scoring import forest as forest_module
from scoring.forest import Forest, forest_of
from scoring.forest_layout import keys_of, lay_out
from scoring.forest_reader import UnknownTrees, read_trees
from scoring.tree_shap import quadrature

ODD = [0.0, -0.0, 1e-36, -1e-36, 1e-40, 1e-35, 1.1e-35, 0.5, -0.5, 1.0, 3.7, -1.0, -3.0]
ODD += [31.0, 32.0, 61.0, 62.0, 1000.0, 2.0**31, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, np.nan]
N_TAUGHT = 240

worlds = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "n_columns": st.integers(1, 6),
        "n_categorical": st.integers(0, 3),
        "n_categories": st.sampled_from([2, 5, 31, 40, 90]),
        "missing_share": st.sampled_from([0.0, 0.3, 0.9]),
        "zero_share": st.sampled_from([0.0, 0.5]),
    }
)
parameters = st.fixed_dictionaries(
    {
        "boosting": st.sampled_from(["gbdt", "dart", "goss"]),
        "objective": st.sampled_from(["binary", "regression"]),
        "num_leaves": st.sampled_from([2, 3, 12, 60]),
        "max_depth": st.sampled_from([-1, 1, 3]),
        "min_data_in_leaf": st.sampled_from([1, 5, N_TAUGHT]),  # with the last, every tree is one leaf
        "zero_as_missing": st.booleans(),
        "use_missing": st.booleans(),
        "max_cat_to_onehot": st.sampled_from([1, 4]),
        "monotone": st.booleans(),
        "extra_trees": st.booleans(),
    }
)


def made(world, how, n_trees=8, **more):
    """A small booster, and rows to try it with: like those that taught it, its thresholds, and odd ones."""
    rng = np.random.default_rng(world["seed"])
    p, n_categorical = world["n_columns"], min(world["n_categorical"], world["n_columns"])
    X = rng.normal(size=(N_TAUGHT, p)).astype(np.float32)
    X[rng.random(X.shape) < world["zero_share"]] = 0
    X[:, :n_categorical] = rng.integers(0, world["n_categories"], (N_TAUGHT, n_categorical))
    X[rng.random(X.shape) < world["missing_share"]] = np.nan
    y = (
        np.nan_to_num(X).sum(axis=1)
        + np.isnan(X[:, 0])
        + np.sin(7 * np.nan_to_num(X[:, 0]))
        + rng.normal(size=N_TAUGHT)
    )
    how = {"verbosity": -1, "num_threads": 1, "min_data_per_group": 1, "cat_smooth": 0.1, "min_data_in_bin": 1} | how
    if how.pop("monotone", False):
        how["monotone_constraints"] = [0] * n_categorical + [1] * (p - n_categorical)
    label = (y > np.median(y)).astype(float) if how.get("objective") == "binary" else y
    data = lightgbm.Dataset(X, label, categorical_feature=list(range(n_categorical)), params={"verbosity": -1})
    booster = lightgbm.train(how, data, n_trees, **more)
    near = X[rng.integers(0, N_TAUGHT, 60)]
    odd = rng.choice(np.array(ODD, dtype=np.float32), (60, p))
    found = re.findall(r"^threshold=(.+)$", booster.model_to_string(), re.MULTILINE)
    thresholds = np.array([float(t) for line in found for t in line.split()] or [0.0]).astype(np.float32)
    steps = [thresholds, np.nextafter(thresholds, np.float32(np.inf)), np.nextafter(thresholds, np.float32(-np.inf))]
    return booster, np.concatenate([near, odd, rng.choice(np.concatenate(steps), (60, p))])


def text_of(booster):
    return booster.model_to_string().encode()


def assert_same(booster, forest, X):
    raw = booster.predict(X, raw_score=True, num_threads=1)
    assert forest.raw_scores(X).tobytes() == raw.tobytes()
    added = booster.predict(X, pred_contrib=True, num_threads=1)
    assert forest.contributions(X).shape == added.shape
    assert np.abs(forest.contributions(X) - added).max() <= 1e-12 * max(1.0, np.abs(added).max())


@given(worlds, parameters)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_scores_are_those_of_lightgbm_to_the_last_bit_and_contributions_nearly(world, how):
    booster, X = made(world, how)
    forest = Forest(text_of(booster))
    assert forest.unknown is None and forest.unknown_shares is None
    assert_same(booster, forest, X)


PLAIN = {
    "seed": 1,
    "n_columns": 5,
    "n_categorical": 2,
    "n_categories": 90,
    "missing_share": 0.2,
    "zero_share": 0.2,
}
MANY_LEAVES = {"num_leaves": 60, "min_data_in_leaf": 1, "objective": "binary"}


@pytest.fixture(scope="module")
def plain():
    booster, X = made(PLAIN, MANY_LEAVES, 30)
    return booster, X, Forest(text_of(booster))


def test_the_trees_of_the_other_tests_are_worth_it(plain):
    trees = read_trees(text_of(plain[0]))
    assert trees.categorical.sum() > 30 and {0, 2} >= set(trees.missing) and trees.n_trees == 30
    words = [sum(bool(w) for w in np.add.reduceat(np.unpackbits(bits.view(np.uint8), bitorder="little"), [0, 31, 62]))
             for bits in trees.categories.values() if bits.size == 3]  # fmt: skip
    assert max(words) == 3  # a split whose categories take three words


@pytest.mark.parametrize("piece_records", [1, 130, 600, 10**9])
def test_scores_do_not_depend_on_how_trees_are_laid_out(plain, monkeypatch, piece_records):
    booster, X, _ = plain
    monkeypatch.setattr(forest_module, "lay_out", lambda trees: lay_out(trees, piece_records))
    assert_same(booster, Forest(text_of(booster)), X)


@pytest.mark.parametrize("threads", [1, 2, 3, None])
def test_scores_and_contributions_do_not_depend_on_threads_order_of_memory_or_company(plain, monkeypatch, threads):
    booster, X, forest = plain
    raw, added = booster.predict(X, raw_score=True), forest.contributions(X, threads=1)
    monkeypatch.setattr(forest_module, "_ROWS_PER_THREAD", 10)
    monkeypatch.setattr(forest_module, "_EXPLAINED_ROWS", 50)
    twice = np.empty((2 * len(X), X.shape[1]), dtype=np.float32)
    twice[::2] = X
    for same in (X, np.asfortranarray(X), twice[::2]):
        assert forest.raw_scores(same, threads).tobytes() == raw.tobytes()
        assert forest.contributions(same, threads).tobytes() == added.tobytes()
    for n in (0, 1, 7, 8, 9, 63):
        assert forest.raw_scores(X[3 : 3 + n], threads).tobytes() == raw[3 : 3 + n].tobytes()
        assert forest.contributions(X[3 : 3 + n], threads).tobytes() == added[3 : 3 + n].tobytes()


def test_many_rows_are_scored_in_blocks(plain):
    booster, X, forest = plain
    many = np.tile(X, (70, 1))[:12_345]
    assert forest.raw_scores(many).tobytes() == booster.predict(many, raw_score=True).tobytes()


def exact_contributions(booster, row):
    """TreeSHAP by its definition, in fractions: leaf by leaf, from LightGBM's JSON; for columns without missing values.

    LightGBM's own sums lose digits on paths of many columns, since it takes columns out of them by subtraction.
    """
    added = [Fraction(0)] * (row.size + 1)

    def visit(node, path):
        if "leaf_value" in node:
            value = Fraction(node["leaf_value"])
            added[-1] += value * prod(z for z, _ in path.values())
            for column, (z, passed) in path.items():
                others = [one for j, one in path.items() if j != column]
                by_size = [Fraction(1)]  # of the columns that are known, products summed over the sets of each size
                for other_z, other_passed in others:
                    longer = [*(c * other_z for c in by_size), Fraction(0)]
                    for k, c in enumerate(by_size):
                        longer[k + 1] += c * other_passed
                    by_size = longer
                d = len(path)
                weight = sum(c * Fraction(1, d * comb(d - 1, k)) for k, c in enumerate(by_size))
                added[column] += value * (passed - z) * weight
            return
        column, to_left = node["split_feature"], row[node["split_feature"]] <= node["threshold"]
        for child, passes in ((node["left_child"], to_left), (node["right_child"], not to_left)):
            z, passed = path.get(column, (Fraction(1), 1))
            count = child.get("internal_count", child.get("leaf_count"))
            visit(child, path | {column: (z * Fraction(count, node["internal_count"]), passed * int(passes))})

    for tree in booster.dump_model()["tree_info"]:
        visit(tree["tree_structure"], {})
    return np.array([float(x) for x in added])


@pytest.mark.parametrize("n_columns", [4, 44])
def test_trees_of_long_paths_are_explained_exactly(n_columns):
    """Paths of four columns met again and again, and of dozens of different ones."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.exponential(size=(600, 4)) ** 4, rng.normal(size=(600, 40))], axis=1).astype(np.float32)
    X = X[:, :n_columns].copy()
    y = np.exp(rng.permutation(600) / 40.0) * (X.max(axis=1) > 1)
    how = {"objective": "regression", "num_leaves": 200, "min_data_in_leaf": 1, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(how, lightgbm.Dataset(X, y), 2)
    forest = Forest(text_of(booster))
    assert forest._paths.n_points.max() >= (2 if n_columns == 4 else 10)
    found = forest.contributions(X[:60])
    raw = booster.predict(X[:60], raw_score=True)
    assert np.abs(found.sum(axis=1) - raw).max() <= 1e-14 * np.abs(raw).max()
    for row in range(0, 60, 20):
        exact = exact_contributions(booster, X[row])
        assert np.abs(found[row] - exact).max() <= 1e-14 * np.abs(exact).max()


def test_a_split_that_only_the_missing_take_to_the_right():
    X = np.array([[1.0], [2.0], [np.nan], [np.inf], [-np.inf]] * 20, dtype=np.float32)
    y = np.isnan(X[:, 0]).astype(float)
    how = {"objective": "binary", "min_data_in_leaf": 1, "num_leaves": 2, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(how, lightgbm.Dataset(X[:60], y[:60]), 3)
    assert_same(booster, Forest(text_of(booster)), X)


def test_scores_stop_where_training_found_its_best():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 5)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=400) > 0).astype(float)
    data = lightgbm.Dataset(X[:200], y[:200])
    stop = [lightgbm.early_stopping(3, verbose=False)]
    how = {"objective": "binary", "metric": "auc", "verbosity": -1, "num_threads": 1, "learning_rate": 0.5}
    valid = [data.create_valid(X[200:], y[200:])]
    booster = lightgbm.train(how, data, 60, valid_sets=valid, callbacks=stop, keep_training_booster=True)
    assert 0 < booster.best_iteration < booster.num_trees()
    assert_same(booster, Forest(text_of(booster)), X)


def test_training_that_goes_on_where_the_missing_mean_something_else():
    first, X = made(PLAIN | {"missing_share": 0.0, "n_categorical": 0}, MANY_LEAVES, 4)
    more, other = made(
        PLAIN | {"missing_share": 0.5, "n_categorical": 0}, MANY_LEAVES | {"zero_as_missing": True}, 4,
        init_model=lightgbm.Booster(model_str=first.model_to_string()),
    )  # fmt: skip
    forest = Forest(text_of(more))
    assert len(set(read_trees(text_of(more)).missing)) == 2
    assert_same(more, forest, np.concatenate([X, other]))


# ---- what is not known here ----------------------------------------------------------------------------------------
UNKNOWN = [
    ({"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, "the trees' values are averaged"),
    ({"linear_tree": True}, "tree 0: its leaves are linear models"),
    ({"objective": "multiclass", "num_class": 3}, "num_class is 3, not 1; num_tree_per_iteration is 3, not 1"),
]


@pytest.mark.parametrize("how, why", UNKNOWN, ids=["rf", "linear", "multiclass"])
def test_what_is_not_known_is_left_to_lightgbm(how, why):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(300, 3)).astype(np.float32)
    y = np.floor(3 * rng.random(300)) if "num_class" in how else (X[:, 0] > 0).astype(float)
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1} | how, lightgbm.Dataset(X, y), 4
    )
    forest = Forest(text_of(booster))
    assert forest.unknown == forest.unknown_shares == why
    loaded = lightgbm.Booster(model_str=booster.model_to_string())
    for rows in (X, X[:1], X[:0]):
        raw = loaded.predict(X, raw_score=True)[: len(rows)]
        assert forest.raw_scores(rows).shape == raw.shape
        assert forest.raw_scores(rows).tobytes() == raw.tobytes()
    if "linear_tree" in how:
        with pytest.raises(lightgbm.basic.LightGBMError, match="not implemented for linear trees"):
            forest.contributions(X)
    else:
        added = loaded.predict(X, pred_contrib=True)
        assert forest.contributions(X).tobytes() == added.tobytes()
        assert forest.contributions(X[:0]).shape == added[:0].shape


@pytest.mark.parametrize(
    "old, new, why",
    [
        (r"version=v4", "version=v5", "version is v5, not v4"),
        (r"Tree=29\n.*?\n\n\n", "", "29 trees are not those that tree_sizes lists"),
        (r"(?<=decision_type=)\d+", "14", "tree 0: has a kind of split that is not known"),
        (r"(?<=decision_type=)\d+", "32", "tree 0: has a kind of split that is not known"),
        (r"(?<=\nthreshold=)[^ ]+", "nan", "tree 0: holds what is no number"),
        (r"(?<=leaf_value=)[^ ]+", "inf", "tree 0: holds what is no number"),
        (r"(?<=split_feature=)\d+", "5", "tree 0: splits by a column that is not there"),
        (r"(?<=left_child=)-?\d+", "0", "tree 0: its splits do not make a tree"),
        (r"(?<=\nleaf_value=)[^ ]+ ", "", "tree 0: leaf_value has 17 numbers instead of 18"),
        (r"(?<=cat_boundaries=0 )\d+", "99999", "tree 0: has sets of categories that are not there"),
    ],
)
def test_a_text_that_is_not_as_known_is_not_read(plain, old, new, why):
    text, n = re.subn(old, new, plain[0].model_to_string(), count=1, flags=re.DOTALL)
    assert n == 1
    with pytest.raises(UnknownTrees, match=f"^{re.escape(why)}"):
        read_trees(text.encode())
    assert Forest(text.encode()).unknown.startswith(why)


def test_trees_too_large_for_their_layout_are_left_to_lightgbm(plain, monkeypatch):
    booster, X, _ = plain
    monkeypatch.setattr("scoring.forest_layout._MOST_RECORDS", 100)
    forest = Forest(text_of(booster))
    assert re.fullmatch(r"\d+ records of one tree and \d+ columns are too many", forest.unknown)
    assert_same(booster, forest, X)


def test_leaves_that_count_no_rows_are_explained_by_lightgbm_and_scored_here(plain):
    booster, X, _ = plain
    text = re.sub(r"(?<=leaf_count=)\d+", lambda n: "0" * len(n[0]), booster.model_to_string(), count=1)
    forest = Forest(text.encode())
    assert forest.unknown is None and forest.unknown_shares == "some splits or leaves count no rows"
    loaded = lightgbm.Booster(model_str=text)
    assert forest.raw_scores(X).tobytes() == loaded.predict(X, raw_score=True).tobytes()
    assert np.array_equal(forest.contributions(X), loaded.predict(X, pred_contrib=True), equal_nan=True)


def test_a_matrix_that_does_not_fit_is_refused(plain):
    _, X, forest = plain
    for ask in (forest.raw_scores, forest.contributions):
        with pytest.raises(BadInput, match=r"has shape \(180, 4\), and the model takes 5 columns"):
            ask(X[:, :4])
        with pytest.raises(BadInput, match="holds float64"):
            ask(X.astype(np.float64))


# ---- small parts ---------------------------------------------------------------------------------------------------
@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
def test_a_key_is_above_another_exactly_if_the_number_is_above_the_threshold(threshold, number):
    key = keys_of(np.array([np.float32(number)], dtype=np.float64))
    assert bool(key[0] > keys_of(np.array([threshold]))[0]) == (number > threshold)


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_the_quadrature_gives_shapley_weights(n):
    """∫ tᵏ(1 − t)^(m − k) dt = k!(m − k)!/(m + 1)! up to the degree that n points are exact for."""
    points, weights = quadrature(n)
    m = 2 * n - 1
    for k in range(m + 1):
        found = (weights[n] * points[n] ** k * (1 - points[n]) ** (m - k)).sum()
        assert found * (m + 1) * comb(m, k) == pytest.approx(1, rel=1e-9)


def test_a_forest_is_made_once(plain):
    text = text_of(plain[0])
    assert forest_of(text) is forest_of(bytes(text))


def test_warming_up_compiles_every_kernel(plain):
    """Nothing is left to compile for the first person asked about."""
    from scoring.forest_kernels import add_scores, write_cells
    from scoring.tree_shap import _look_back, add_contributions

    _, X, forest = plain
    forest_module.warm_up()
    kernels = (write_cells, add_scores, _look_back, add_contributions)
    before = [len(kernel.signatures) for kernel in kernels]
    forest.raw_scores(X)
    forest.raw_scores(X[:1])
    forest.contributions(X)
    Forest(plain[0].model_to_string().encode()).contributions(X)
    assert [len(kernel.signatures) for kernel in kernels] == before
    assert all(before)
