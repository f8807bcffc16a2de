"""What a list knows of a cohort's columns, and a matrix on file: the same as of the matrix in memory, to the bit."""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sealed_world import AS_OF, World

from ethics.population_stability import counts_like, reference_of
from ethics.refusals import BadInput, NotTrusted
from features.blocks import matrix_blocks
from features.matrix import Matrix
from features.matrix_file import MatrixOnFile
from models.input_noise import quanta_of
from models.rescoring import ROWS, rescored
from scoring import scorer as scorer_module
from scoring.cohort_columns import CohortColumns
from scoring.reasons import Typical, additivity_gap

FULL_DISK = Path("/dev/full")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(world):
    return world.score()


@pytest.fixture
def streamed(world, monkeypatch, tmp_path):
    monkeypatch.setattr(scorer_module, "MOST_CELLS_HELD", 0)
    monkeypatch.setattr(scorer_module, "matrix_blocks", partial(matrix_blocks, block_persons=70))
    return world.scorer.score(world.city, AS_OF, world.objections, scratch=tmp_path)


def test_a_large_cohort_is_scored_block_by_block_to_the_same_bit(whole, streamed, tmp_path):
    assert isinstance(streamed.matrix, MatrixOnFile) and isinstance(whole.matrix, Matrix)
    assert streamed.frame.equals(whole.frame) and streamed.matrix_digest == whole.matrix_digest
    assert (streamed.cohort_n, streamed.n_objectors) == (whole.cohort_n, whole.n_objectors)
    assert streamed.matrix.keys.equals(whole.matrix.keys)
    assert not list(tmp_path.iterdir()), "the file of the matrix has no name"
    assert streamed.table().equals(whole.table())


def test_without_a_folder_for_it_no_matrix_is_put_on_file(world, whole, monkeypatch):
    monkeypatch.setattr(scorer_module, "MOST_CELLS_HELD", 0)
    assert isinstance(world.score().matrix, Matrix)


def test_a_list_of_blocks_is_the_list_of_the_whole(world, whole, streamed):
    one, other = world.list(whole), world.list(streamed)
    assert one.list_digest == other.list_digest
    assert one.rows().equals(other.rows())
    assert one.reason_stability == other.reason_stability
    assert [check.value for check in one.checks] == [check.value for check in other.checks]


def test_objectors_are_in_no_block(world, streamed, monkeypatch, tmp_path):
    someone = streamed.frame["person_id"][0]
    world.objections.object(someone, world.need.id)
    try:
        again = world.scorer.score(world.city, AS_OF, world.objections, scratch=tmp_path)
    finally:
        world.objections.withdraw(someone, world.need.id)
    assert again.n_objectors == 1 and someone not in again.matrix.keys["person_id"]
    assert again.matrix.n_objectors == 1 and again.matrix.take([0]).n_objectors == 1


def test_what_is_no_score_leaves_no_block(world, monkeypatch, tmp_path):
    monkeypatch.setattr(scorer_module, "MOST_CELLS_HELD", 0)
    monkeypatch.setattr(scorer_module, "raw_scores", lambda model, X, threads=None: np.full(len(X), np.nan))
    with pytest.raises(NotTrusted, match="a score that is not one"):
        world.scorer.score(world.city, AS_OF, world.objections, scratch=tmp_path)


def matrix_of(rng, n=501, p=40):
    """Whole numbers, measured values, one value alone, nothing, few people."""
    X = rng.standard_normal((n, p)).astype(np.float32)
    X[:, : p // 2] = rng.integers(0, 6, (n, p // 2))
    X[rng.random((n, p)) < 0.2] = np.nan
    X[:, 3], X[:, 4], X[15:, 5] = 2.0, np.nan, np.nan
    keys = pl.DataFrame({"person_id": [f"{i:04d}" for i in range(n)], "as_of_date": [AS_OF] * n})
    return Matrix(keys, X, tuple(f"c{j}" for j in range(p)))


def on_file(matrix, folder, sizes):
    found, start = MatrixOnFile(folder, matrix.names), 0
    for size in sizes:
        mask = np.zeros(len(matrix.X), dtype=bool)
        mask[start : start + size] = True
        found.add(matrix.rows(mask))
        start += size
    return found


class Need:
    kind = "model"
    features = ()


@pytest.mark.parametrize("threads", [1, 3])
def test_columns_are_told_as_of_the_matrix_in_memory(tmp_path, threads):
    matrix = matrix_of(np.random.default_rng(1))
    filed = on_file(matrix, tmp_path, (200, 1, 300))
    reference = reference_of(None, matrix.names[:30], matrix.X[:, :30])
    matrix.X.flags.writeable = False
    for form in (matrix, filed):
        found = CohortColumns.of(form, Need, reference, threads)
        expected = {
            name: float(np.median(known)) if (known := column[~np.isnan(column)]).size >= 20 else float("nan")
            for name, column in zip(matrix.names, matrix.X.T, strict=True)
        }
        assert np.array_equal(list(found.typical.medians.values()), list(expected.values()), equal_nan=True)
        assert np.array_equal(list(Typical.of(matrix).medians.values()), list(expected.values()), equal_nan=True)
        model = type("Model", (), {"need": Need, "columns": matrix.names})
        assert found.quanta.tobytes() == quanta_of(model, matrix.X).tobytes()
        assert dict(found.counts) == counts_like(reference, np.zeros(1), matrix.names, matrix.X)["columns"]


def test_a_matrix_on_file_gives_back_its_columns_and_rows(tmp_path):
    matrix = matrix_of(np.random.default_rng(2))
    filed = on_file(matrix, tmp_path, (7, 400, 94))
    assert filed.digest == matrix.digest and len(filed) == 501 and "0001" not in repr(filed)
    for form in (matrix, filed):
        for j, column in form.columns([0, 1, 17, 39]):
            assert column.tobytes() == matrix.X[:, j].tobytes()
        rows = [500, 6, 7, 0, 407]
        few = form.take(rows)
        assert few.X.tobytes() == matrix.X[rows].tobytes() and few.keys.equals(matrix.keys[rows])
        assert form.take([]).X.shape == (0, 40)


@pytest.mark.skipif(not FULL_DISK.exists(), reason="a device that is always full")
def test_a_full_disk_and_another_matrix_are_refused(tmp_path, monkeypatch):
    matrix = matrix_of(np.random.default_rng(3))
    filed = MatrixOnFile(tmp_path, matrix.names[:3])
    with pytest.raises(ValueError, match="40 columns that are not the 3"):
        filed.add(matrix)
    filed = MatrixOnFile(tmp_path, matrix.names)
    filed._file.close()
    filed._file = FULL_DISK.open("wb", buffering=0)
    with pytest.raises(BadInput, match="has no room for a matrix of 40 columns"):
        filed.add(matrix)


def test_the_gap_of_contributions_is_that_of_rows_spread_evenly(world, whole, streamed):
    assert rescored(5).tolist() == [0, 1, 2, 3, 4] and rescored(10 * ROWS).size == ROWS
    assert additivity_gap(world.model, whole.matrix) == additivity_gap(world.model, streamed.matrix) < 1e-9
