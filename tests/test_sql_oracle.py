"""Every measure over every kind of window, cell by cell beside SQL made from the same specs, on 200 000 events."""

import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sql_oracle import Oracle

from features import FeatureSpec, build_matrix, open_city
from features.windows import MEASURES, numbered

sys.path.append(str(Path(__file__).parent / "benchmarks"))  # the invented worlds of the benchmarks
from event_world import Shape, write_world

# Ends of months, where calendar windows are clipped, and a day that many events are dated on.
AS_OF_DATES = (date(2023, 3, 31), date(2024, 2, 29), date(2025, 1, 1))
WINDOWS = [1, 30, 365, [30, 90], [90, 365], "1mo", "12mo", "ever"]
ALL_MEASURES = [*MEASURES, "decay_180d", "decay_7d", "quantile_10", "quantile_90"]
EXACT = {"count", "n_values", "min", "max", "last", "first", "days_since_last", "days_since_first"}
EXACT |= {"distinct_codes", "distinct_days"}
# A code may stand in several features, alone or by its beginning; the last feature is of rare codes.
CODES = {
    "everything": ["*"],
    "one_group": ["g03.*"],
    "overlapping": ["g0*", "g11.*", "g12.h12.c012"],
    "one_code": ["g00.h00.c000"],
    "rare": ["g19.h39.c499", "g19.h39.c459", "g18.*"],
}


def a_feature(name, codes, windows=WINDOWS, measures=ALL_MEASURES):
    said = {"plain": {"fi": "x", "sv": "x", "en": "x"}, "source": "none", "purpose": "a test", "basis": "none"}
    return FeatureSpec(name=name, codes=codes, windows=windows, measures=measures, **said)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """200 events per person, of which many share a moment; three in ten become known later, the rest have no date."""
    folder = write_world(tmp_path_factory.mktemp("oracle") / "city", Shape(200_000, 1_000, knowledge=True))
    events = pl.read_parquet(folder / "events.parquet")
    same_day = pl.col("knowledge_date") == pl.col("event_date").dt.date()
    # Values repeat, so that ties of time and value occur, and some are negative.
    value = ((pl.col("value") - 7.0) * 2).round() / 2
    events.with_columns(
        knowledge_date=pl.when(~same_day).then(pl.col("knowledge_date")), value=value.cast(pl.Float32)
    ).write_parquet(folder / "events.parquet")
    return folder


@pytest.fixture(scope="module")
def cohort(world):
    persons = pl.read_parquet(world / "persons.parquet", columns=["person_id"])
    everyone = persons.sample(400, seed=7).join(pl.DataFrame({"as_of_date": AS_OF_DATES}), how="cross")
    return everyone.sort("as_of_date", "person_id")


@pytest.fixture(scope="module")
def oracle(world, cohort):
    return Oracle(world / "events.parquet", cohort.rows(), has_knowledge=True)


def tolerance(measure):
    """Sums are added up in another order; a slope and a deviation are differences of sums."""
    return {"rtol": 0, "atol": 0} if measure in EXACT else {"rtol": 1e-5, "atol": 1e-6}


def compare(features, matrix, oracle):
    at = {name: i for i, name in enumerate(matrix.names)}
    wrong, checked = [], 0
    for feature in features:
        for name, expected in oracle.columns(feature):
            measure = name.split(".")[1]
            ours = matrix.X[:, at[name]]
            with np.errstate(over="ignore"):
                expected = expected.astype(np.float32)
            different = ~np.isclose(ours, expected, equal_nan=True, **tolerance(measure))
            checked += 1
            if different.any():
                row = int(np.flatnonzero(different)[0])
                wrong.append(f"{name}: {different.sum()} cells, first row {row}: {ours[row]!r}, SQL {expected[row]!r}")
    assert checked == len(matrix.names)
    assert not wrong, "\n".join(wrong)


def test_every_measure_over_every_window_is_what_sql_says(world, cohort, oracle, nobody_objects):
    features = [a_feature(name, codes) for name, codes in CODES.items()]
    matrix = build_matrix(open_city(world), features, cohort, objections=nobody_objects, need_id="test")
    assert matrix.keys.equals(cohort)
    compare(features, matrix, oracle)
    # The worlds are such that nothing is empty or full everywhere.
    empty = np.isnan(matrix.X) | (matrix.X == 0)
    assert 0.1 < empty.mean() < 0.9


def test_the_order_of_rows_in_the_file_changes_no_byte(world, cohort, nobody_objects, tmp_path):
    features = [a_feature("overlapping", CODES["overlapping"])]
    (tmp_path / "city").mkdir()
    for name in ("city.toml", "persons.parquet"):
        (tmp_path / "city" / name).write_bytes((world / name).read_bytes())
    shuffled = pl.read_parquet(world / "events.parquet").sample(fraction=1.0, shuffle=True, seed=3)
    shuffled.write_parquet(tmp_path / "city" / "events.parquet")
    one, other = (
        build_matrix(open_city(folder), features, cohort, objections=nobody_objects, need_id="test")
        for folder in (world, tmp_path / "city")
    )
    assert one.digest == other.digest


def test_the_oracle_knows_every_measure_there_is():
    assert all(numbered(measure) or measure in MEASURES for measure in ALL_MEASURES)
    assert set(MEASURES) <= set(ALL_MEASURES)
