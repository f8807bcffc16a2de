"""One matrix in many forms: blocks, threads, filled cells alone, frames and files hold the same bytes."""

import gc
import textwrap
import threading
import weakref
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import write_city
from hypothesis import given
from hypothesis import strategies as st

import features
from ethics.refusals import BadInput
from features.blocks import matrix_blocks, write_blocks, write_matrix
from features.cache import FeatureCache
from features.city import DataError, city_from_frames, open_city
from features.matrix import build_matrix
from features.sparse_block import SparseBlock, empty_cells
from features.spec import FeatureSpec, SpecError
from features.synthetic import synthetic_city

START = datetime(2024, 1, 1)
PEOPLE = [f"p{i:02}" for i in range(9)]
MEASURES = ["count", "n_values", "sum", "mean", "last", "days_since_last"]
FEATURES = [
    FeatureSpec(attribute="age"),
    FeatureSpec(name="b", codes=["b.*"], windows=[7, "ever"], measures=MEASURES),
    FeatureSpec(name="all", codes=["a", "b.*"], windows=[30], measures=MEASURES),
]

moments = st.integers(0, 60).map(lambda day: START + timedelta(days=day))
values = st.none() | st.integers(-40, 40).map(lambda quarters: quarters / 4)
logs = st.lists(st.tuples(st.sampled_from(PEOPLE), moments, st.sampled_from(["a", "b.1", "b.2"]), values), max_size=50)
some_keys = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from([date(2024, 1, 20), date(2024, 2, 20), date(2023, 1, 1)])),
    min_size=1,
    unique=True,
)


class Register:
    def __init__(self, *who):
        self.who = who

    def objecting(self, person_ids, need_id):
        return np.array([person in self.who for person in person_ids], dtype=bool)

    def erased(self, person_ids):
        return np.zeros(len(person_ids), dtype=bool)


NOBODY = {"objections": Register(), "need_id": "test"}


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    events = [{"person_id": PEOPLE[0], "event_date": START, "code": "a"}]
    people = [
        {"person_id": who, "birth_date": date(1980 + i, 5, i + 1), "born_in": f"city {i % 3}"}
        for i, who in enumerate(PEOPLE)
    ]
    toml = "extract_date = 2024-12-31\n[persons]\nfixed = ['born_in']"
    return open_city(write_city(tmp_path_factory.mktemp("blank"), people, events, toml=toml))


def city_of(found, blank):
    schema = {"person_id": pl.String, "event_date": pl.Datetime("us"), "code": pl.String, "value": pl.Float64}
    return city_from_frames(blank.persons, pl.DataFrame(found, schema=schema, orient="row"), like=blank)


def keys_of(pairs):
    return pl.DataFrame(pairs, schema={"person_id": pl.String, "as_of_date": pl.Date}, orient="row")


def bits(X):
    return X.shape, X.tobytes()


# -- the same bytes


@given(
    found=logs,
    pairs=some_keys,
    block_persons=st.integers(1, 5),
    threads=st.integers(1, 3),
    random=st.randoms(use_true_random=False),
)
def test_blocks_together_are_the_matrix(blank, found, pairs, block_persons, threads, random):
    whole = build_matrix(city_of(found, blank), FEATURES, keys_of(pairs), **NOBODY)
    keys = keys_of(random.sample(pairs, len(pairs)))
    city = city_of(random.sample(found, len(found)), blank)
    blocks = list(matrix_blocks(city, FEATURES, keys, **NOBODY, block_persons=block_persons, threads=threads))
    persons = sorted({who for who, _ in pairs})
    expected = [persons[i : i + block_persons] for i in range(0, len(persons), block_persons)]
    assert [sorted(set(block.keys["person_id"])) for block in blocks] == expected
    for block in blocks:
        assert block.keys.equals(block.keys.sort("as_of_date", "person_id")) and block.names == whole.names
    together = pl.concat([block.to_polars() for block in blocks]).sort("as_of_date", "person_id")
    assert bits(together.drop("person_id", "as_of_date").to_numpy(order="c")) == bits(whole.X)


@given(found=logs, pairs=some_keys, threads=st.integers(1, 2))
def test_filled_cells_and_frames_hold_the_same_bytes(blank, found, pairs, threads):
    matrix = build_matrix(city_of(found, blank), FEATURES, keys_of(pairs), **NOBODY, threads=threads)
    sparse = matrix.to_csr()
    assert bits(sparse.to_dense()) == bits(matrix.X) and sparse.shape == matrix.X.shape
    stored = sparse.to_scipy()
    assert stored.nnz == sparse.data.size
    for row, column in zip(*stored.nonzero(), strict=True):
        assert stored[row, column].tobytes() == matrix.X[row, column].tobytes()
    frame, other = matrix.to_polars(), matrix.to_pandas()
    assert frame.columns == ["person_id", "as_of_date", *matrix.names] == [*other.index.names, *other.columns]
    assert frame.select("person_id", "as_of_date").equals(matrix.keys)
    assert bits(frame.select(matrix.names).to_numpy(order="c")) == bits(matrix.X) == bits(other.to_numpy())
    assert [(who, day.date()) for who, day in other.index] == matrix.keys.rows()


@given(found=logs, pairs=some_keys, who_objects=st.sets(st.sampled_from(PEOPLE), max_size=4))
def test_a_cached_build_is_the_same_whoever_objects(tmp_path_factory, blank, found, pairs, who_objects):
    """Columns are kept of everybody, and objectors are masked in what is formed of them."""
    city = replace(city_of(found, blank), relations={"household": "born_in"})
    keys, household = keys_of(pairs), FeatureSpec(
        name="home", of="household", codes=["a"], windows=["ever"], measures=["count"], purpose="x", basis="y"
    )  # fmt: skip
    wanted = [FEATURES[1], household, FEATURES[0]]
    cache = FeatureCache(tmp_path_factory.mktemp("cache"), secret=b"sixteen bytes or more")
    build_matrix(city, wanted, keys, **NOBODY, cache=cache)
    asked = {"objections": Register(*who_objects), "need_id": "test"}
    if {who for who, _ in pairs} <= who_objects:
        with pytest.raises(DataError, match="There is nobody left"):
            build_matrix(city, wanted, keys, **asked, cache=cache)
        return
    for some in (wanted, FEATURES):
        assert (
            build_matrix(city, some, keys, **asked, cache=cache).digest
            == build_matrix(city, some, keys, **asked).digest
        )


def test_only_what_happened_fills_a_cell():
    names = ("age", "b.count.7d", "b.sum.7d", "home.n_changes")
    np.testing.assert_array_equal(empty_cells(names), np.array([np.nan, 0, np.nan, 0], dtype=np.float32))
    X = np.array([[np.nan, 0, np.nan, 0], [30, 2, 0, -0.0]], dtype=np.float32)
    sparse = SparseBlock.of(X, empty_cells(names))
    assert (sparse.indptr.tolist(), sparse.indices.tolist()) == ([0, 0, 4], [0, 1, 2, 3])
    assert bits(sparse.to_dense()) == bits(X)


@given(
    found=logs,
    pairs=some_keys,
    block_persons=st.integers(1, 5),
    threads=st.integers(1, 2),
    cells=st.sampled_from([1, 40, 2**23]),
)
def test_a_file_holds_the_matrix_and_its_digest(tmp_path_factory, blank, found, pairs, block_persons, threads, cells):
    city, path = city_of(found, blank), tmp_path_factory.mktemp("matrix") / "new" / "matrix.parquet"
    whole = build_matrix(city, FEATURES, keys_of(pairs), **NOBODY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("features.blocks._CELLS_PER_ROW_GROUP", cells)
        how = {"block_persons": block_persons, "threads": threads}
        written = write_matrix(path, city, FEATURES, keys_of(pairs), **NOBODY, **how)
    assert written == (path, len(pairs), len(whole.names), 0, whole.digest)
    assert pl.read_parquet(path).equals(whole.to_polars())  # in polars' equals NaN is NaN
    table = pq.read_table(path)
    assert [str(kind) for kind in table.schema.types] == ["string", "date32[day]", *["float"] * len(whole.names)]
    assert sum(column.null_count for column in table.columns) == 0
    assert [found.name for found in path.parent.iterdir()] == ["matrix.parquet"]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd", "snappy"])
def test_compression_changes_the_file_and_not_the_matrix(blank, tmp_path, compression):
    city, keys = city_of([("p01", START, "a", 2.0)], blank), keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])
    written = write_matrix(tmp_path / "m.parquet", city, FEATURES, keys, **NOBODY, compression=compression)
    assert written.digest == build_matrix(city, FEATURES, keys, **NOBODY).digest
    codec = pq.ParquetFile(written.path).metadata.row_group(0).column(2).compression
    assert codec.lower() == {"none": "uncompressed"}.get(compression, compression)


def test_an_invented_city_is_one_matrix_in_every_form(tmp_path):
    """As-of dates in several blocks and row groups, histories, late knowledge, thousands of events."""
    synthetic_city(tmp_path / "city", 3_000, seed=4)
    city = open_city(tmp_path / "city")
    wanted = [
        FeatureSpec(name="every", codes=["*"], windows=[30, 365, "ever"], measures=MEASURES),
        FeatureSpec(name="school", codes=["school.*"], windows=[90], measures=MEASURES),
        FeatureSpec(attribute="age"),
        FeatureSpec(attribute="district", categories=["west", "east"], measures=["n_changes", "months_since_change"]),
    ]
    pairs = [(who, day) for who in city.events.person_ids for day in (date(2025, 6, 1), date(2025, 12, 1))]
    asked = {"objections": Register(*city.events.person_ids[5:2000:7]), "need_id": "test"}
    whole = build_matrix(city, wanted, keys_of(pairs), **asked)
    assert whole.n_objectors == 285 and (whole.X[:, 0] > 0).mean() > 0.2
    assert build_matrix(city, wanted, keys_of(pairs), **asked, threads=2).digest == whole.digest
    blocks = matrix_blocks(city, wanted, keys_of(pairs[::-1]), **asked, block_persons=500, threads=2)
    dense = pl.concat([pl.from_numpy(block.to_csr().to_dense()).hstack(block.keys) for block in blocks])
    dense = dense.sort("as_of_date", "person_id")
    assert bits(dense.drop("as_of_date", "person_id").to_numpy(order="c")) == bits(whole.X)
    written = write_matrix(tmp_path / "m.parquet", city, wanted, keys_of(pairs), **asked, block_persons=700, threads=2)
    assert (written.digest, written.n_objectors) == (whole.digest, 285)


# -- bounded, and whole or not at all


def test_blocks_come_one_at_a_time_and_are_let_go(blank, monkeypatch):
    """Of 9 blocks never more exist than the one in use and as many ahead as there are threads."""
    from features.columns import LaidOutFeatures

    made, guard, most = [], threading.Lock(), [0]
    columns = LaidOutFeatures.columns

    def counted(self, rows, threads=1):
        X = columns(self, rows, threads)
        with guard:
            made.append(weakref.ref(X))
            most[0] = max(most[0], sum(ref() is not None for ref in made))
        return X

    monkeypatch.setattr(LaidOutFeatures, "columns", counted)
    keys = keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])
    for threads in (1, 2):
        made.clear()
        most[0] = 0
        n = sum(
            1 for _ in matrix_blocks(city_of([], blank), FEATURES, keys, **NOBODY, block_persons=1, threads=threads)
        )
        gc.collect()
        assert n == 9 and most[0] <= threads + 2  # the one just handed over may not be let go of yet


def test_who_stops_listening_stops_the_work(blank):
    keys = keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])
    blocks = matrix_blocks(city_of([], blank), FEATURES, keys, **NOBODY, block_persons=1, threads=2)
    assert next(blocks).keys["person_id"].to_list() == ["p00"]
    before = threading.active_count()
    blocks.close()
    assert threading.active_count() < before


def test_a_file_that_cannot_be_finished_leaves_what_was_there(blank, tmp_path):
    path = tmp_path / "m.parquet"
    path.write_bytes(b"of yesterday")
    keys = keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])

    def interrupted():
        yield from matrix_blocks(city_of([], blank), FEATURES, keys, **NOBODY, block_persons=2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_blocks(path, interrupted())
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("m.parquet", b"of yesterday")]


def test_a_draft_left_behind_is_begun_anew_and_never_stays(blank, tmp_path):
    draft = tmp_path / ".m.parquet.draft"
    draft.write_bytes(b"half a file, longer than nothing" * 10_000)
    keys = keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])
    city = city_of([], blank)
    written = write_matrix(tmp_path / "m.parquet", city, FEATURES, keys, **NOBODY)
    assert written.digest == build_matrix(city, FEATURES, keys, **NOBODY).digest
    assert pl.read_parquet(written.path).height == len(PEOPLE)
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]
    assert written.path.stat().st_mode & 0o777 == 0o600


def test_of_two_who_write_one_file_the_second_is_refused(blank, tmp_path):
    path, city = tmp_path / "m.parquet", city_of([], blank)
    keys = keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])

    def meanwhile():
        yield build_matrix(city, FEATURES, keys, **NOBODY)
        with pytest.raises(BadInput, match=r"m\.parquet: is being written by another process"):
            write_matrix(path, city, FEATURES, keys, **NOBODY)

    assert write_blocks(path, meanwhile()).n_rows == len(PEOPLE)
    assert [found.name for found in tmp_path.iterdir()] == ["m.parquet"]


def test_blocks_out_of_order_are_not_written(blank, tmp_path):
    """By persons, several dates do not come in the order of a matrix, so that the digest would be another's."""
    city = city_of([], blank)
    keys = keys_of([(who, day) for who in PEOPLE for day in (date(2024, 2, 1), date(2024, 3, 1))])
    cases = {
        "the blocks do not come in the order of as-of date and person": matrix_blocks(
            city, FEATURES, keys, **NOBODY, block_persons=2
        ),
        "a block has 1 columns that are not the 19 of the first": iter(
            [build_matrix(city, wanted, keys, **NOBODY) for wanted in (FEATURES, FEATURES[:1])]
        ),
        "there is no block to write": iter([]),
    }
    for message, blocks in cases.items():
        with pytest.raises(ValueError, match=message):
            write_blocks(tmp_path / "m.parquet", blocks)
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_computed_is_refused_before_the_first_block(blank, tmp_path):
    city, keys = city_of([], blank), keys_of([(who, date(2024, 2, 1)) for who in PEOPLE])
    twice = {"objections": Register(*PEOPLE), "need_id": "test"}
    for make in (matrix_blocks, lambda *given, **asked: write_matrix(tmp_path / "m.parquet", *given, **asked)):
        with pytest.raises(DataError, match=r"^keys: hold no rows"):
            make(city, FEATURES, keys.clear(), **NOBODY)
        with pytest.raises(DataError, match=r"^cohort: all 9 persons object to 'test'"):
            make(city, FEATURES, keys, **twice)
        with pytest.raises(DataError, match="'rooms' is neither a fixed column of persons nor in history"):
            make(city, [FeatureSpec(attribute="rooms")], keys, **NOBODY)
        with pytest.raises(SpecError, match="two columns are called 'age'"):
            make(city, FEATURES[:1] * 2, keys, **NOBODY)
        with pytest.raises(ValueError, match=r"block_persons \(0\) and threads \(1\) are 1 or more"):
            make(city, FEATURES, keys, **NOBODY, block_persons=0)
    assert not [*tmp_path.iterdir()]


# -- in a notebook


def test_the_example_of_the_package_runs(tiny_city, monkeypatch):
    example = textwrap.dedent(features.__doc__.partition("::\n")[2])
    tiny_city.rename(tiny_city.parent / "city")
    monkeypatch.chdir(tiny_city.parent)
    names = {}
    exec(example, names)
    assert names["frame"]["person_id"].to_list() == ["anna", "bo"]
    assert pl.read_parquet("matrix.parquet").equals(names["frame"])


def test_every_public_name_is_there():
    assert all(hasattr(features, name) for name in features.__all__ if name != "FeatureCache")
