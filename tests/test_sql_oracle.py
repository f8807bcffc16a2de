"""Features, cohorts and labels beside SQL made from the same specs: on 200 000 invented events, and on OULAD."""

import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import write_city
from sql_oracle import CityOracle, Oracle

from features import (
    CohortSpec,
    FeatureSpec,
    LabelSpec,
    as_of_dates,
    build_cohort,
    build_matrix,
    open_city,
)
from features.keyed_rows import keyed_rows
from features.label import outcome_of
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


# ---- who is eligible, and what followed ------------------------------------------------------------------------------

INVENTED_DAYS = {"first": date(2023, 1, 31), "last": date(2024, 5, 31), "every_days": 121}
INVENTED_LABEL = LabelSpec(codes=["g03.*"], horizon_days=60)
INVENTED_COHORTS = {
    "age and place": {
        "age": [18, 40],
        "where": [{"attribute": "district", "in": ["north", "west"]}, {"attribute": "language", "in": ["fi", "sv"]}],
        "as_of": INVENTED_DAYS,
    },
    "events": {
        "with": [
            {"codes": ["g0*"], "window": [30, 365], "at_least": 4},
            {"codes": ["g07.*", "g08.*"], "window": "3mo"},
        ],
        "without": [{"codes": ["g19.*"], "window": "ever", "at_least": 2}],
        "as_of": INVENTED_DAYS,
    },
    "washout": {"washout_days": 100, "as_of": INVENTED_DAYS | {"first": date(2021, 2, 1)}},
    "prior outcome": {"prior_outcome": [10, 200], "as_of": INVENTED_DAYS},
    "after an event": {"as_of": {"on": "g11.h31.*"}},
    "long after an event, with rules": {
        "age": [16, 30],
        "washout_days": 700,
        "prior_outcome": "2mo",
        "without": [{"codes": ["g01.*"], "window": 7}],
        "as_of": {"on": "g1*", "after_days": 45},
    },
    "table": {"table": "some"},
    "table, narrowed": {"table": "some", "washout_days": 400, "prior_outcome": 90},
}
LEAVES = {"censored_by": ["g19.h39.*", "g18.h38.*"]}
INVENTED_LABELS = {
    "once": {"codes": ["g03.*"], "horizon_days": 30},
    "at risk later, reported later": {
        "codes": ["g03.*"], "horizon_days": 90, "starts_after_days": 30, "reporting_delay_days": 45
    },
    "on five days, dropped": {"codes": ["g0*"], "horizon_days": 180, "at_least": 9, **LEAVES},
    "on at most three days, negative": {
        "codes": ["g03.*", "g04.*"], "horizon_days": 180, "at_most": 3, **LEAVES, "censoring": "negative"
    },
    "nothing, weighted, 20 days at risk": {
        "codes": ["g03.h03.*"], "horizon_days": 120, "at_most": 0, **LEAVES, "censoring": "ipcw",
        "starts_after_days": 10, "min_days_at_risk": 20,
    },
    "sum up to": {"codes": ["g0*"], "horizon_days": 200, "measure": "sum", "at_least": 6.5, **LEAVES},
    "sum down to": {"codes": ["g0*"], "horizon_days": 200, "measure": "sum", "at_most": -2.5, **LEAVES},
    "max up to": {
        "codes": ["g0*"], "horizon_days": 100, "measure": "max", "at_least": 3, **LEAVES, "min_days_at_risk": 50
    },
    "max at most": {
        "codes": ["g03.*"], "horizon_days": 100, "measure": "max", "at_most": 1.5, **LEAVES, "censoring": "ipcw"
    },
    "min at least": {"codes": ["g03.*"], "horizon_days": 365, "measure": "min", "at_least": -3, **LEAVES},
    "min down to": {
        "codes": ["g03.*"], "horizon_days": 365, "measure": "min", "at_most": -4.5, **LEAVES, "censoring": "negative"
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def invented(world, tmp_path_factory):
    """The same world with ages, districts that change and are known late, a fixed language and a ready-made table."""
    folder = tmp_path_factory.mktemp("eligible") / "city"
    random = np.random.default_rng(11)
    ids = pl.read_parquet(world / "persons.parquet")["person_id"]
    n, start = len(ids), np.datetime64("2019-01-01")
    born = np.datetime64("1975-01-01") + random.integers(0, 38 * 365, n)
    persons = pl.DataFrame(
        {"person_id": ids, "birth_date": born, "language": random.choice(["fi", "sv", "other"], n)},
        schema_overrides={"birth_date": pl.Date},
    )
    persons[5, "birth_date"] = date(2000, 2, 29)
    persons[6, "birth_date"] = None
    who = random.integers(0, n, 3 * n)
    begins = start + random.integers(0, 6 * 365, 3 * n)
    history = pl.DataFrame(
        {
            "person_id": ids[who.tolist()],
            "attribute": "district",
            "value": random.choice(["north", "west", "south"], 3 * n),
            "from_date": begins,
            "knowledge_date": np.minimum(begins + random.integers(0, 90, 3 * n), np.datetime64("2024-12-31")),
        }
    ).unique(["person_id", "from_date"])
    some = persons.select("person_id").sample(300, seed=5).join(pl.DataFrame({"as_of_date": AS_OF_DATES}), how="cross")
    events = pl.read_parquet(world / "events.parquet")
    toml = (world / "city.toml").read_text() + '\n[persons]\nfixed = ["language"]\n'
    return write_city(folder, persons, events, history=history, cohorts={"some": some}, toml=toml)


@pytest.fixture(scope="module")
def invented_oracle(invented):
    return CityOracle(invented)


@pytest.fixture(scope="module")
def invented_city(invented):
    return open_city(invented)


@pytest.mark.parametrize("name", INVENTED_COHORTS)
def test_every_cohort_of_an_invented_city_is_what_sql_says(invented_city, invented_oracle, name):
    spec = CohortSpec(**INVENTED_COHORTS[name])
    ours = build_cohort(invented_city, spec, label=INVENTED_LABEL).rows()
    assert ours == invented_oracle.cohort(spec, INVENTED_LABEL)
    # Neither nobody nor everybody, except where everybody is meant.
    everyone = invented_city.persons.height * len(as_of_dates(invented_city, spec))
    assert 20 < len(ours) < everyone * 0.95


@pytest.mark.parametrize("name", INVENTED_LABELS)
def test_every_label_of_an_invented_city_is_what_sql_says(invented_city, invented_oracle, cohort, name):
    label = LabelSpec(**INVENTED_LABELS[name])
    outcome = compare_outcomes(invented_city, invented_oracle, cohort, label)
    known = outcome.y[~np.isnan(outcome.y)]
    assert 0.01 < known.mean() < 0.99
    assert outcome.censored.any() == bool(label.censored_by)
    assert not outcome.is_mature.all() and outcome.is_mature.any()


def compare_outcomes(city, oracle, keys, label):
    outcome = outcome_of(city, keyed_rows(city, keys), label)
    for part, ours, theirs in zip(outcome._fields, outcome, oracle.outcomes(keys.rows(), label), strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=part)
    return outcome


FAILS = ["edu.result.fail:*"]
WITHDRAWN = {"censored_by": ["edu.unregister:*"]}
OULAD_LABELS = {
    "failed": {"codes": FAILS, "horizon_days": 215},
    "failed, unless withdrawn": {"codes": FAILS, "horizon_days": 215, **WITHDRAWN, "starts_after_days": 30},
    "withdrawn are followed after 100 days": {
        "codes": FAILS, "horizon_days": 215, **WITHDRAWN, "min_days_at_risk": 100, "censoring": "ipcw"
    },
    "few clicks": {
        "codes": ["edu.click.*"], "measure": "sum", "at_most": 300, "horizon_days": 60, **WITHDRAWN,
        "censoring": "negative", "reporting_delay_days": 7,
    },
    "late at least five times": {"codes": ["edu.days_late*"], "at_least": 5, "horizon_days": 150, **WITHDRAWN},
    "best score": {"codes": ["edu.assess*"], "measure": "max", "at_least": 90, "horizon_days": 120, **WITHDRAWN},
    "worst score": {
        "codes": ["edu.assess*"], "measure": "min", "at_most": 40, "horizon_days": 120, **WITHDRAWN,
        "censoring": "ipcw",
    },
}  # fmt: skip
OULAD_COHORTS = {
    "table": {"table": "enrolled"},
    "table, narrowed": {"table": "enrolled", "washout_days": 45, "prior_outcome": "ever"},
    "rules": {
        "where": [{"attribute": "district", "in": ["Scotland", "Wales"]}],
        "with": [{"codes": ["edu.click.*"], "window": 30, "at_least": 10}],
        "without": [{"codes": ["edu.result.*"], "window": "ever"}],
        "washout_days": 60,
        "as_of": {"first": date(2013, 3, 31), "last": date(2014, 9, 30), "every_days": 91},
    },
    "after a late assignment": {
        "as_of": {"on": "edu.days_late:*", "after_days": 3},
        "prior_outcome": 365,
        "with": [{"codes": ["edu.click.*"], "window": 7}],
    },
}


@pytest.fixture(scope="module")
def oulad(oulad_folder):
    return open_city(oulad_folder)


@pytest.fixture(scope="module")
def oulad_oracle(oulad_folder):
    return CityOracle(oulad_folder)


@pytest.mark.parametrize("name", OULAD_COHORTS)
def test_every_cohort_of_oulad_is_what_sql_says(oulad, oulad_oracle, name):
    spec, label = CohortSpec(**OULAD_COHORTS[name]), LabelSpec(codes=FAILS, horizon_days=215)
    ours = build_cohort(oulad, spec, label=label).rows()
    assert ours == oulad_oracle.cohort(spec, label) and len(ours) > 500


@pytest.mark.parametrize("name", OULAD_LABELS)
def test_every_label_of_oulad_is_what_sql_says(oulad, oulad_oracle, name):
    label = LabelSpec(**OULAD_LABELS[name])
    outcome = compare_outcomes(oulad, oulad_oracle, oulad.cohort_table("enrolled"), label)
    assert 0.01 < np.nanmean(outcome.y) < 0.99 and outcome.censored.any() == bool(label.censored_by)
