import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searched_world import DAYS, NEED, need_with, past, searched, split_of
from sklearn.metrics import roc_auc_score
from test_need import RULE_NEED

from ethics.refusals import BadInput
from features.arrays import read_only
from models.inner_origins import inner_origins, learnable_rows
from models.need import parse_need
from models.parameter_ranges import search_space
from models.refits import rank_scores, ranking_difference
from models.selection import choose, search
from models.splits import is_test_person
from models.training import train
from models.tree_fitting import parameters_for

TESTS = Path(__file__).parent


def table(result):
    """Everything a search found, as bytes."""
    return (result.study, result.parameters, result.trials.write_csv(), result.groups.write_csv(), result.method)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("unbroken") / "searches.sqlite", trials=10)


# ---- killed, resumed, divided ----------------------------------------------------------------------------------------


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def killed_search(store, workers, after, wait):
    """Kill -9 a search that has told ``after`` trials, ``wait`` seconds later; gives its worker processes."""
    search = subprocess.Popen(
        [sys.executable, str(TESTS / "searched_world.py"), str(store), "10", str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
    )
    said = [search.stdout.readline() for _ in range(after + 1)]
    assert said[-1].startswith("youth: searching parameters"), said
    workers_of_it = children_of(search.pid)
    time.sleep(wait)
    os.kill(search.pid, signal.SIGKILL)
    search.stdout.close()
    assert search.wait() == -signal.SIGKILL
    return workers_of_it


def stored(store):
    with sqlite3.connect(store) as database:
        return database.execute("SELECT number, state FROM trials ORDER BY number").fetchall()


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_search_goes_on_as_if_it_had_not_been(unbroken, tmp_path, workers):
    store = tmp_path / "searches.sqlite"
    moment = random.Random(workers)
    left = killed_search(store, workers, after=moment.randint(1, 4), wait=moment.random() * 0.1)
    before = stored(store)
    assert 0 < len(before) < 10, "it was killed in the middle"
    resumed = searched(store, trials=10, workers=workers)
    assert table(resumed) == table(unbroken)
    assert stored(store) == [(i, "COMPLETE") for i in range(10)]
    assert stored(store)[: len(before)] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".searches.sqlite.lock", "searches.sqlite"]
    assert workers == 1 or left
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in left) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()], "the killed search's processes ended too"


def test_asking_for_more_trials_later_changes_none(unbroken, tmp_path):
    store = tmp_path / "searches.sqlite"
    first = searched(store, trials=6)
    assert first.trials.equals(unbroken.trials.filter(pl.col("trial") < 6))
    assert table(searched(store, trials=10)) == table(unbroken)
    assert table(searched(store, trials=6)) == table(first), "what was asked for, however much the store holds"


def test_another_question_never_resumes_this_one(unbroken, tmp_path):
    store = tmp_path / "searches.sqlite"
    matrix = past()
    altered = matrix.X.copy()
    altered[0, 0] += 1
    studies = [
        searched(store, 2, matrix=matrix).study,
        searched(store, 2, matrix=matrix, seed=2).study,
        searched(store, 2, matrix=replace(matrix, X=read_only(altered))).study,
        searched(store, 2, matrix=matrix, need=need_with("n_estimators = 26")).study,
        searched(store, 2, matrix=matrix, need=need_with(tests=4)).study,
        searched(store, 2, matrix=matrix, weights=np.ones(len(matrix.y))).study,
    ]
    assert len(set(studies)) == len(studies)
    assert studies[0] == unbroken.study
    assert len(stored(store)) == 12


# ---- what is compared ------------------------------------------------------------------------------------------------


def test_nothing_from_the_first_judged_date_on_changes_the_search(unbroken, tmp_path):
    matrix, split = past(), split_of()
    later = matrix.keys["as_of_date"].to_numpy() >= np.datetime64(split.judged_dates[0])
    assert later.any()
    X, y = matrix.X.copy(), matrix.y.copy()
    X[later], y[later] = 99.0, 1.0
    poisoned = replace(matrix, X=read_only(X), y=read_only(y))
    assert table(searched(tmp_path / "s.sqlite", 10, matrix=poisoned)) == table(unbroken)


def test_inner_origins_are_a_rolling_origin_whose_labels_were_complete():
    need = need_with(horizon_days=100, reporting_delay_days=10, tests=2, judged=1)
    split = split_of(need)
    rows = learnable_rows(past(), split, 1)
    matrix = past().rows(rows)
    origins, method = inner_origins(matrix, need, split, 1)
    assert split.judged_dates == (date(2022, 7, 1),)
    assert [origin.name for origin in origins] == ["2021-01-01", "2021-07-01", "2022-01-01"]
    assert method == "rolling origin over 2021-01-01, 2021-07-01, 2022-01-01"
    days = matrix.keys["as_of_date"].to_numpy()
    for origin in origins:
        tested = date.fromisoformat(origin.name)
        assert set(days[origin.test].tolist()) == {tested}
        assert sorted(set(days[origin.train].tolist())) == [day for day in DAYS if (tested - day).days >= 110]
        assert origin.k == need.capacity.k


def test_persons_are_divided_where_there_is_too_little_time():
    days = DAYS[:4]
    need = need_with(tests=1, judged=1)
    split = split_of(need, days)
    matrix = past(days=days).rows(learnable_rows(past(days=days), split, 1))
    origins, method = inner_origins(matrix, need, split, 1)
    assert method == "3 folds of persons (no date to compare on before 2020-07-01)"
    assert [(origin.name, origin.k) for origin in origins] == [(f"persons {i}", 20) for i in (1, 2, 3)]
    people = matrix.keys["person_id"].to_numpy()
    assert sum(origin.test for origin in origins).tolist() == [1] * len(people)
    for origin in origins:
        assert not set(people[origin.train]) & set(people[origin.test])


def test_a_split_of_persons_keeps_its_test_persons_out_of_the_search():
    need = need_with(**{"kind": '"model"'})
    text = need.bytes.decode().replace('kind = "temporal"\ntests = 3\njudged = 2', 'kind = "person"')
    need = parse_need(text.encode(), "youth.toml")
    matrix, split = past(), split_of(need)
    rows = learnable_rows(matrix, split, 7)
    held_out = is_test_person(matrix.keys["person_id"].to_list(), 7)
    assert held_out.any() and not (rows & held_out).any()
    origins, method = inner_origins(matrix.rows(rows), need, split, 7)
    assert method == "3 folds of persons (a split of persons)" and len(origins) == 3


def test_the_figures_are_those_of_trees_trained_as_always(unbroken):
    """Trial 0 at an inner origin: trained by the ordinary path, its first k counted by hand."""
    split, everyone = split_of(), past()
    matrix = everyone.rows(learnable_rows(everyone, split, 1))
    (origin,), _ = inner_origins(matrix, NEED, split, 1)
    model = train(matrix.rows(origin.train), NEED, 1)
    test = matrix.rows(origin.test)
    known = np.isfinite(test.y)
    y, score = test.y[known], model.raw(test.X[known])
    first = np.argsort(-score, kind="stable")[: NEED.capacity.k]
    cut = score[first[-1]]
    sure, equal = y[score > cut].sum(), y[score == cut]
    found = sure + (NEED.capacity.k - (score > cut).sum()) * equal.mean()
    assert unbroken.trials["figure"][0] == pytest.approx(found / y.sum(), abs=1e-12)


# ---- what is searched ------------------------------------------------------------------------------------------------


def test_the_first_trial_has_the_defaults_and_the_needs_own_are_not_searched(unbroken):
    defaults = parameters_for(NEED, 1000)
    first = unbroken.trials.row(0, named=True)
    names = set(first) - {"trial", "origin", "figure", "average_precision"}
    assert names == {
        "num_leaves", "min_data_in_leaf", "learning_rate", "feature_fraction", "bagging_fraction", "lambda_l1",
        "lambda_l2",
    }  # fmt: skip
    assert {name: first[name] for name in names} == {"lambda_l1": 0.0} | {n: defaults[n] for n in names - {"lambda_l1"}}


@given(st.integers(0, 2_000_000))
def test_the_default_lies_in_the_space_and_leaves_are_never_smaller_than_the_policy_says(n_rows):
    need = need_with("")
    space, defaults = search_space(need, n_rows), parameters_for(need, n_rows)
    assert space["min_data_in_leaf"].low == 20
    for name, values in space.items():
        assert values.low <= defaults.get(name, 0) <= values.high
        assert values.low < values.high and not (values.log and values.low <= 0)


def test_no_setting_is_tried_twice_and_a_small_space_ends_the_search(tmp_path):
    everything = (
        "num_leaves = 4\nn_estimators = 5\nlearning_rate = 0.1\nfeature_fraction = 1.0\nbagging_freq = 0\n"
        "lambda_l1 = 0.0\nlambda_l2 = 0.0\n"
    )
    need = need_with(everything)
    assert list(search_space(need, 1600)) == ["min_data_in_leaf"]
    matrix = past(n=60)
    found = searched(tmp_path / "s.sqlite", 60, matrix=matrix, need=need)
    tried = found.trials["min_data_in_leaf"].to_list()
    assert 20 < len(tried) <= 41, "20 to 60: there are 41"
    assert len(set(tried)) == len(tried)
    assert table(searched(tmp_path / "s.sqlite", 60, matrix=matrix, need=need)) == table(found)


def test_a_need_that_sets_everything_leaves_nothing_to_search():
    everything = (
        "num_leaves = 4\nn_estimators = 5\nlearning_rate = 0.1\nfeature_fraction = 1.0\nbagging_freq = 0\n"
        "lambda_l1 = 0.0\nlambda_l2 = 0.0\nmin_data_in_leaf = 30"
    )
    with pytest.raises(BadInput, match=r"^youth\.toml: model: sets every parameter that a search could vary\. Leave"):
        search_space(need_with(everything), 1000)


# ---- the choice ------------------------------------------------------------------------------------------------------


def figures(**groups):
    rows = [(group, str(i), float(value)) for group, values in groups.items() for i, value in enumerate(values)]
    return pl.DataFrame(rows, schema=["group", "origin", "figure"], orient="row")


def test_regret_is_counted_as_by_hand():
    found = choose(figures(default=[4, 4, 4], a=[6, 2, 4], b=[5, 4, 4]))
    assert found.rows() == [
        ("b", pytest.approx(1 / 3), 1.0, True),
        ("default", pytest.approx(2 / 3), 2.0, False),
        ("a", pytest.approx(2 / 3), 2.0, False),
    ]


def test_a_tie_goes_to_the_simplest_and_then_by_tie_break_and_name():
    tie = figures(b=[3, 5], a=[5, 3], default=[4, 4])
    assert choose(tie)["group"].to_list() == ["default", "a", "b"]
    assert choose(tie, simplest=("b", "default"))["group"].to_list() == ["b", "default", "a"]
    behind = figures(b=[3, 5], a=[5, 3], default=[3, 3])
    assert choose(behind)["group"].to_list() == ["a", "b", "default"]
    assert choose(behind, tied=["default"]).filter("chosen")["group"].to_list() == ["default"]
    broken = behind.with_columns(tie_break=pl.when(pl.col("group") == "b").then(0.9).otherwise(0.1))
    assert choose(broken)["group"].to_list() == ["b", "a", "default"]


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=1, max_size=6), st.randoms())
def test_the_choice_knows_neither_the_order_of_rows_nor_how_good_a_year_was(values, chance):
    frame = figures(**{f"g{i}": row for i, row in enumerate(values)})
    rows = frame.rows()
    chance.shuffle(rows)
    better_years = frame.with_columns(pl.col("figure") + pl.col("origin").cast(pl.Float64) * 7)
    found = choose(frame)
    assert choose(pl.DataFrame(rows, schema=frame.schema, orient="row")).equals(found)
    assert choose(better_years).equals(found)
    totals = [sum(row) for row in values]
    assert found["group"][0] == f"g{totals.index(max(totals))}"  # the same origins: least regret is most found
    assert found["chosen"].to_list() == [True] + [False] * (len(values) - 1)


def test_groups_that_were_not_compared_at_the_same_origins_are_refused():
    with pytest.raises(BadInput) as refused:
        choose(figures(default=[1, 2], a=[1], b=[1, float("nan")]))
    assert str(refused.value).splitlines() == [
        "figures: 'a': has 1 figures at 1 of the 2 origins. Give each group one finite figure per origin, or leave it "
        "out",
        "figures: 'b': has 2 figures at 2 of the 2 origins, not all of them finite. Give each group one finite figure "
        "per origin, or leave it out",
    ]
    with pytest.raises(BadInput, match="figures: lack group, origin"):
        choose(pl.DataFrame({"figure": [1.0]}))
    with pytest.raises(BadInput, match="figures: hold no group"):
        choose(figures(default=[]))


def test_a_setting_that_finds_more_beyond_doubt_is_chosen_and_a_tie_keeps_the_default(unbroken, tmp_path):
    # Need hangs on two columns together. Three trees that see half of the columns each hardly meet both.
    matrix = past(n=1200, chance=lambda X: np.where((X[:, 1] > 3) == (X[:, 2] > 3), 0.7, 0.02))
    found = searched(tmp_path / "s.sqlite", 12, matrix=matrix, need=need_with("n_estimators = 3\nlearning_rate = 0.1"))
    assert found.difference.low > 0
    assert found.groups["group"][0].startswith("trial ") and found.parameters
    assert set(found.parameters) <= set(found.trials.columns)
    assert "95 % interval" in found.method and "tie" not in found.method
    assert unbroken.difference.value > 0 > unbroken.difference.low
    assert unbroken.method.endswith("which is a tie: the default stays")
    assert unbroken.parameters == {} and unbroken.groups["group"][0] == "default"
    assert not unbroken.groups["mean_regret"].is_sorted(), "another group had less regret"


def test_where_no_setting_can_be_better_the_default_nearly_always_stays(tmp_path):
    chosen = 0
    for world in range(6):
        noise = past(n=200, days=DAYS[:6], seed=world, chance=lambda X: np.full(len(X), 0.3))
        need = need_with("n_estimators = 8", tests=1, judged=1)
        found = search(noise, need, split_of(need, DAYS[:6]), world, trials=6, store=tmp_path / "s.sqlite")
        chosen += found.parameters != {}
    assert chosen <= 1


def test_a_paired_difference_is_counted_as_by_hand():
    rng = np.random.default_rng(3)
    y, ours, theirs = (rng.random(300) < 0.3).astype(float), rng.random(300), rng.random(300)
    period = np.repeat([0, 1], 150)
    options = {"label": y, "person": np.arange(300) % 150, "period": period, "k": 20, "seed": 1}
    found = ranking_difference(ours=ours, theirs=theirs, **options)

    def counted(score):
        total, pairs, concordant = 0.0, 0.0, 0.0
        for when in (0, 1):
            rows = np.flatnonzero(period == when)
            total += y[rows[np.argsort(-score[rows])][:20]].sum()
            n = y[rows].sum() * (1 - y[rows]).sum()
            concordant += roc_auc_score(y[rows], score[rows]) * n
            pairs += n
        return total, concordant / pairs

    (found_a, auc_a), (found_b, auc_b) = counted(ours), counted(theirs)
    assert found.found.value == pytest.approx(found_a - found_b)
    assert found.recall.value == pytest.approx((found_a - found_b) / y.sum())
    assert found.auc.value == pytest.approx(auc_a - auc_b)
    assert found.auc.low < found.auc.value < found.auc.high
    same = ranking_difference(ours=ours, theirs=ours, **options)
    assert set(same.auc) == set(same.recall) == set(same.found) == {0.0}


def test_a_weight_of_two_counts_as_two_people():
    """Doubled rows of as many persons, or rows of weight 2: the same difference, but for the scale of k.

    Only the value is compared at a cut: in a replicate weights are scaled again to the rows drawn, rows written out
    are not.
    """
    rng = np.random.default_rng(5)
    y, ours, theirs = (rng.random(200) < 0.4).astype(float), rng.random(200), rng.random(200)
    weight = rng.integers(1, 4, 200)
    twice = np.repeat(np.arange(200), weight)
    rest = {"k": 10**6, "seed": 1, "replicates": 50}
    zeros = np.zeros(twice.size)
    weighed = ranking_difference(
        label=y, ours=ours, theirs=theirs, person=np.arange(200), period=zeros[:200], weight=weight, **rest
    )
    written_out = ranking_difference(
        label=y[twice], ours=ours[twice], theirs=theirs[twice], person=twice, period=zeros, **rest
    )
    np.testing.assert_allclose(weighed.auc, written_out.auc, atol=1e-12)
    cut = {**rest, "k": 30}
    weighed = ranking_difference(
        label=y, ours=ours, theirs=theirs, person=np.arange(200), period=zeros[:200], weight=weight, **cut
    )
    cut["k"] = 30 * twice.size / 200
    written_out = ranking_difference(
        label=y[twice], ours=ours[twice], theirs=theirs[twice], person=twice, period=zeros, **cut
    )
    np.testing.assert_allclose(weighed.recall.value, written_out.recall.value, atol=1e-12)


def test_refits_order_as_the_model_itself_does():
    matrix, other = past(n=300, days=DAYS[:2]), past(n=200, days=DAYS[2:3], seed=4)
    need = need_with('n_estimators = 25\nimbalance = "balanced"\nrecency_half_life_days = 200')
    given = {"parameters": {"num_leaves": 5}, "weights": np.linspace(0, 2, 600)}
    assert rank_scores(matrix, other.X, need, 5, **given).tobytes() == (
        train(matrix, need, 5, **given).raw(other.X).tobytes()
    )


def test_weights_reach_the_trials(unbroken, tmp_path):
    matrix = past()
    weights = np.where(np.arange(len(matrix.y)) % 2, 1.0, 0.0)
    weighed = searched(tmp_path / "s.sqlite", 6, matrix=matrix, weights=weights)
    assert not weighed.trials.equals(unbroken.trials.filter(pl.col("trial") < 6))
    assert table(searched(tmp_path / "t.sqlite", 6, matrix=matrix, weights=weights, workers=2)) == table(weighed)
    with pytest.raises(BadInput, match="weights: have shape"):
        searched(tmp_path / "s.sqlite", 6, matrix=matrix, weights=weights[1:])


# ---- refusals and manners --------------------------------------------------------------------------------------------


def refusal(*arguments, **options):
    with pytest.raises(BadInput) as refused:
        search(*arguments, **{"trials": 2, **options})
    return str(refused.value)


def test_what_cannot_be_searched_is_refused_before_anything_is_written(tmp_path):
    store = tmp_path / "s.sqlite"
    matrix, split = past(), split_of()
    assert refusal(matrix, NEED, split, 1, trials=0, workers=0, store=store) == (
        "trials: is 0. Give at least 1: the default parameters\nworkers: is 0. Give at least 1"
    )
    rule = parse_need(RULE_NEED.encode(), "screening.toml")
    assert refusal(matrix, rule, split, 1, store=store) == (
        'screening.toml: kind: is "rule", which has no parameters. Train it without a search'
    )
    assert "matrix: has no label" in refusal(replace(matrix, y=None), NEED, split, 1, store=store)
    one_class = replace(matrix, y=read_only(np.zeros(len(matrix.y))))
    assert refusal(one_class, NEED, split, 1, store=store) == (
        "label: 0 of the 1600 rows with a known outcome are in need: one class only. Widen the cohort, or change what "
        "the label counts"
    )
    days = DAYS[:4]
    few, need = past(n=20, days=days), need_with(tests=1, judged=1)
    found = refusal(few, need, split_of(need, days), 1, store=store)
    assert found.startswith(
        "parameters: cannot be compared: before 2020-07-01 no date has labels to learn from and labels to compare on, "
        "and "
    )
    assert found.endswith(
        "in need among 20 persons are too few for 3 folds. Start the cohort earlier, widen it, or train without a "
        "search"
    )
    assert not list(tmp_path.iterdir())


def test_a_store_is_used_by_one_search_at_a_time(tmp_path):
    store = tmp_path / "s.sqlite"
    with (tmp_path / ".s.sqlite.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match=r"s\.sqlite: is used by another search\. Wait until it ends"):
            searched(store, 1)
    assert not store.exists()


@pytest.mark.parametrize(
    "content", [b"not a database at all, whatever its name", b"SQLite format 3\x00" + b"\x01" * 200]
)
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path, content):
    store = tmp_path / "s.sqlite"
    store.write_bytes(content)
    with pytest.raises(BadInput, match=r"s\.sqlite: cannot be read as a store of searches"):
        searched(store, 1)
    assert store.read_bytes() == content


def test_a_search_is_silent_holds_no_persons_and_leaves_optuna_as_it_was(tmp_path, capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    said = []
    searched(tmp_path / "s.sqlite", 3, step=lambda *step: said.append(step))
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
    assert said == [("youth: searching parameters", done, 3) for done in (0, 1, 2, 3)]
    assert b"person-0" not in (tmp_path / "s.sqlite").read_bytes()
