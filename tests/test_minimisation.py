"""The view of data minimisation: right by slow counting, and silent where fewer than five persons stand behind."""

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import rows, write_city
from hypothesis import given, settings
from hypothesis import strategies as st

from features.arrays import read_only
from features.city import open_city
from features.matrix import Matrix, build_matrix
from features.minimisation import FEWER, FEWEST, codes_read_by, minimisation
from features.spec import CohortSpec, FeatureSpec, IndicatorSpec, LabelSpec

DAY = date(2024, 6, 1)
COUNT = FeatureSpec(name="a", codes=["a"], windows=["ever"], measures=["count"])
SUM = FeatureSpec(name="b", codes=["b"], windows=["ever"], measures=["sum"])


def matrix_of(columns, persons=None):
    """A matrix of given columns, one row a person unless told."""
    names, values = zip(*columns.items(), strict=True)
    X = np.array(values, dtype=np.float32).T.copy()
    ids = [f"{i:04d}" for i in range(len(X))] if persons is None else persons
    days = [DAY + timedelta(days=i) for i in range(len(X))] if persons else [DAY] * len(X)
    keys = pl.DataFrame({"person_id": ids, "as_of_date": days}, schema={"person_id": pl.String, "as_of_date": pl.Date})
    return Matrix(keys, read_only(X), names)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """Twelve persons: all have 'a', six 'b', four 'rare', seven 'spare' (twice each), one 'left'."""
    ids = [f"p{i:02d}" for i in range(12)]
    having = {"a": (12, 1), "b": (6, 1), "rare": (4, 30), "spare": (7, 2), "left": (1, 1), "starred.x": (5, 1)}
    events = rows(
        ("person_id", "event_date", "code", "value"),
        *(
            (person, date(2024, 1, 1 + i), code, float(n + i))
            for code, (n_persons, times) in having.items()
            for n, person in enumerate(ids[:n_persons])
            for i in range(times)
        ),
    )
    return open_city(
        write_city(
            tmp_path_factory.mktemp("small") / "city",
            rows(("person_id",), *((i,) for i in ids)),
            events,
            toml="extract_date = 2024-12-31",
        )
    )


# ---- codes -----------------------------------------------------------------------------------------------------


def test_codes_that_nobody_reads_are_named_with_their_events(city):
    found = minimisation(city, [COUNT, SUM], matrix_of({"a.count.ever": [1.0] * 12, "b.sum.ever": range(12)}))
    assert [(unread.code, unread.n_events) for unread in found.unread] == [
        ("spare", 14),
        ("starred.x", 5),
        ("left", None),
        ("rare", None),
    ]
    # Of 12 + 6 + 120 + 14 + 1 + 5 events; the two codes of few persons would tell their numbers by the share.
    assert found.unread_share == round(19 / 158, 4)
    assert found.as_facts()["unread"][2] == {"code": "left", "n_events": FEWER}
    assert any(
        sentence.startswith("The city hands over more than the need reads: 4 codes") for sentence in found.sentences()
    )


def test_what_label_indicators_and_cohort_read_is_read(city):
    label = LabelSpec(codes=["spare"], horizon_days=30, censored_by=["left"])
    cohort = CohortSpec(
        **{"with": [{"codes": ["rare"], "window": 30}], "without": [{"codes": ["other"], "window": 30}]},
        as_of={"first": DAY, "last": DAY, "every_days": 1},
    )
    indicator = IndicatorSpec(name="star", codes=["starred.*"])
    matrix = matrix_of({"a.count.ever": range(12), "b.sum.ever": range(12, 24)})
    found = minimisation(city, [COUNT, SUM], matrix, also_read=[label, cohort, indicator])
    assert (found.unread, found.unread_share) == ((), 0.0)
    assert codes_read_by(cohort) == ("rare", "other")
    assert found.sentences() == ["Every code handed over is read, and every column tells something of its own."]


def test_codes_named_and_never_seen_are_named_with_their_feature(city):
    named = FeatureSpec(name="a", codes=["a", "aa", "starred.*", "none.*"], windows=["ever"], measures=["count"])
    found = minimisation(city, [named], matrix_of({"a.count.ever": range(12)}))
    assert found.unseen == (("a", "aa"), ("a", "none.*"))
    assert "'a' names 'none.*', which no event has." in found.sentences()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["u", "v", "w"])), max_size=60),
    st.integers(1, 40),
)
def test_events_and_persons_of_each_code_are_counted_however_the_log_is_cut(pairs, cells_at_once):
    from features import minimisation as module
    from features.event_log import EventLog

    pairs = sorted(pairs)
    codes = ("u", "v", "w")
    counts = np.bincount([person for person, _ in pairs], minlength=12) if pairs else np.zeros(12, int)
    code = np.array([codes.index(code) for _, code in pairs], dtype=np.uint16)
    empty = np.zeros(len(pairs))
    ids = pl.Series([f"p{i:02d}" for i in range(12)])
    log = EventLog(ids, np.concatenate([[0], np.cumsum(counts)]), empty.astype(np.int64), None, code, empty, codes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS_AT_ONCE", cells_at_once)
        n_events, n_persons = module._events_and_persons(log)
    assert n_events.tolist() == [sum(c == name for _, c in pairs) for name in codes]
    assert n_persons.tolist() == [len({p for p, c in pairs if c == name}) for name in codes]


# ---- columns ---------------------------------------------------------------------------------------------------


def use_of(city, values, persons=None, spec=SUM):
    (column,) = spec.columns()
    return minimisation(city, [spec], matrix_of({column: values}, persons)).columns[0]


def test_a_count_of_nought_is_as_empty_as_no_value(city):
    assert use_of(city, [0] * 15 + [2] * 5, spec=COUNT).share == 0.25
    assert use_of(city, [np.nan] * 15 + [2] * 5).share == 0.25
    assert use_of(city, [0] * 15 + [2] * 5).share == 1.0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 14), st.sampled_from([np.nan, 0.0, 1.5, 7.0])), min_size=1, max_size=60))
def test_nothing_is_told_of_fewer_than_five_persons(city, cells):
    persons, values = [f"{p:02d}" for p, _ in cells], [v for _, v in cells]
    use = use_of(city, values, persons)
    having = {p for p, v in cells if not np.isnan(v)}
    lacking = {p for p, v in cells if np.isnan(v)}
    assert use.n_persons == (len(having) if len(having) >= FEWEST else None)
    if len(having) < FEWEST or 0 < len(lacking) < FEWEST:
        assert use.share is None
    else:
        assert use.share == pytest.approx(sum(not np.isnan(v) for v in values) / len(values), abs=1e-4)
    for value in use.quantiles:
        if value is not None:
            assert len({p for p, v in cells if v <= value}) >= FEWEST
            assert len({p for p, v in cells if v >= value}) >= FEWEST
    if len(having) < FEWEST:
        assert use.sketch.strip() == "" and set(use.quantiles) == {None}


def test_quantiles_are_told_where_five_stand_on_each_side(city):
    use = use_of(city, range(1, 101))
    # Exactly 5.95, 25.75, 50.5, 75.25 and 95.05, told to three figures.
    assert use.quantiles == pytest.approx((5.95, 25.75, 50.5, 75.25, 95.05), abs=0.0501)
    few = use_of(city, range(1, 11))
    assert few.quantiles == (None, None, 5.5, None, None)


def test_the_sketch_has_its_highest_bar_where_most_values_are(city):
    # Whole numbers have a bar each: heights are eighths of the highest, rounded up.
    assert use_of(city, [1.0] * 20 + [2.0] * 40 + [3.0] * 160 + [4.0] * 40 + [5.0] * 20).sketch == "▁▂█▂▁"
    fine = use_of(city, np.concatenate([np.linspace(0, 1, 100), np.linspace(0.45, 0.55, 300)])).sketch
    assert len(fine) == 12 and fine[5:7] == "██" and fine.count("█") == 2
    # A bar of four persons is blank, whatever its height would be.
    assert use_of(city, [1.0] * 50 + [2.0] * 4 + [3.0] * 50).sketch == "█ █"
    assert use_of(city, [7.0] * 30).sketch == ""


def test_columns_that_never_differ_or_say_the_same_are_named(city):
    two = FeatureSpec(name="c", codes=["b"], windows=[30, "ever"], measures=["sum"])
    same = list(range(12))
    matrix = matrix_of({"a.count.ever": [3.0] * 12, "b.sum.ever": same, "c.sum.30d": [np.nan] * 12, "c.sum.ever": same})
    found = minimisation(city, [COUNT, SUM, two], matrix)
    assert [use.constant for use in found.columns] == [True, False, None, False]
    assert found.constant == ("a",)  # of c, one column tells people apart
    assert found.identical == (("b.sum.ever", "c.sum.ever"),)
    assert "'a' is the same for everybody: it can be left out." in found.sentences()
    assert "b.sum.ever and c.sum.ever hold the same: one is enough." in found.sentences()


@pytest.mark.parametrize("spec", [COUNT, SUM])
def test_nobody_and_one_to_four_persons_look_alike(city, spec):
    def told(n):
        empty = 0.0 if spec is COUNT else np.nan
        (column,) = spec.columns()
        return minimisation(city, [spec], matrix_of({column: [1.0] * n + [empty] * (20 - n)})).as_facts()

    assert told(0) == told(1) == told(FEWEST - 1) != told(FEWEST)
    assert (told(0)["columns"][0]["constant"], told(0)["constant"]) == (None, ())


def test_columns_and_cohorts_of_few_persons_are_neither_constant_nor_identical(city):
    two = FeatureSpec(name="c", codes=["b"], windows=["ever"], measures=["sum"])
    for cells in ([1.0] * (FEWEST - 1), [1.0] * (FEWEST - 1) + [np.nan] * 10):
        found = minimisation(city, [SUM, two], matrix_of({"b.sum.ever": cells, "c.sum.ever": cells}))
        assert (found.constant, found.identical) == ((), ())
        said = "Of 2 columns nothing more is told, because fewer than 5 persons, or nobody, have a value."
        assert found.sentences()[-1] == said


def test_a_column_partly_empty_is_not_constant(city):
    assert not use_of(city, [3.0] * 6 + [np.nan] * 6).constant


def test_a_matrix_of_other_features_is_refused(city):
    with pytest.raises(ValueError, match="the matrix is not of these features"):
        minimisation(city, [SUM], matrix_of({"a.count.ever": [1.0]}))


def test_all_of_it_is_json_and_names_no_person(city, nobody_objects):
    keys = pl.DataFrame({"person_id": city.events.person_ids}).with_columns(as_of_date=pl.lit(DAY))
    matrix = build_matrix(city, [COUNT, SUM], keys, objections=nobody_objects, need_id="x")
    found = minimisation(city, [COUNT, SUM], matrix)
    said = json.dumps(found.as_facts(), allow_nan=False)
    assert "p00" not in said
    assert json.loads(said)["columns"][1]["n_persons"] == 6
    few = replace(found, n_persons=4, n_rows=4).as_facts()
    assert (few["n_persons"], few["n_rows"]) == (FEWER, FEWER)
