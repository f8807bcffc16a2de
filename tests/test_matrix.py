import math
from dataclasses import replace
from datetime import date, timedelta

import naive
import numpy as np
import polars as pl
import pytest
from conftest import write_city
from hypothesis import given
from hypothesis import strategies as st
from small_cities import (
    NOBODY,
    PEOPLE,
    START,
    Register,
    as_frame,
    blank_city,
    city_of,
    days,
    everyone_on,
    keys_of,
    logs,
    people,
    refusal,
)

from ethics.refusals import BadInput
from features.city import DataError, city_from_frames, open_city
from features.cohort import build_cohort, cohort_with_attrition
from features.matrix import build_matrix, unseen_codes
from features.spec import CohortSpec, FeatureSpec, IndicatorSpec, LabelSpec, SpecError
from features.windows import MEASURES as ALL

# Those that have one right answer to the last bit; the others, rounded on the way, are compared in test_sweep.py.
MEASURES = tuple(measure for measure in ALL if measure not in {"std", "trend"})
WINDOWS = (1, 30, (7, 30), "1mo", "ever")
NAMED = {"first": ("a",), "b": ("b.*",), "mixed": ("b.2", "c"), "all": ("a", "b.*", "c")}
FEATURES = [
    FeatureSpec(attribute="age"),
    *(FeatureSpec(name=n, codes=c, windows=WINDOWS, measures=MEASURES) for n, c in NAMED.items()),
]
ONE_EACH = [FeatureSpec(name=n, codes=NAMED[n], windows=[7, "ever"], measures=["count", "sum"]) for n in ("first", "b")]


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return blank_city(tmp_path_factory.mktemp("blank"))


def matrix_of(city, keys, features=FEATURES, **how):
    return build_matrix(city, features, keys, **{"objections": NOBODY, "need_id": "test", **how})


# -- features


@given(found=logs, on=st.lists(days, min_size=1, max_size=3, unique=True))
def test_every_cell_agrees_with_the_oracle(blank, found, on):
    matrix = matrix_of(city_of(found, blank), everyone_on(*on))
    expected = np.full(matrix.X.shape, -1, dtype=np.float32)
    for i, (who, day) in enumerate(matrix.keys.rows()):
        cells = [
            naive.cell(found, who, day, w, codes, m) for codes in NAMED.values() for w in WINDOWS for m in MEASURES
        ]
        expected[i] = [matrix.X[i, 0], *cells]
        assert (math.nan if PEOPLE[who] is None else naive.age(PEOPLE[who], day)) == pytest.approx(
            np.floor(matrix.X[i, 0]), nan_ok=True
        )
    np.testing.assert_array_equal(matrix.X, expected)
    assert matrix.keys.rows() == sorted(matrix.keys.rows(), key=lambda row: (row[1], row[0]))


@given(found=logs, day=days, added=logs)
def test_nothing_known_on_or_after_the_day_changes_a_byte(blank, found, day, added):
    matrix = matrix_of(city_of(found, blank), everyone_on(day))
    past = [e for e in found if naive.known_before(e[2], day)]
    future = [(who, at, max(known, naive.midnight(day)), code, value) for who, at, known, code, value in added]
    for other in (past, past + future, [(*e[:4], 99.0) if e not in past else e for e in found]):
        assert matrix_of(city_of(other, blank), everyone_on(day)).X.tobytes() == matrix.X.tobytes()


def test_the_property_above_catches_a_matrix_that_forgets_when_things_became_known(blank):
    """The same comparison on a city whose knowledge dates were thrown away, as a careless import would."""
    found = [("anna", START, START + timedelta(days=5), "a", 1.0)]
    forgetful = replace(city_of(found, blank), events=replace(city_of(found, blank).events, known=None))
    day = START.date() + timedelta(days=3)
    past = matrix_of(city_of([], blank), everyone_on(day)).X.tobytes()
    assert matrix_of(forgetful, everyone_on(day)).X.tobytes() != past
    assert matrix_of(city_of(found, blank), everyone_on(day)).X.tobytes() == past


@given(found=logs, day=days, random=st.randoms(use_true_random=False))
def test_the_order_of_events_and_of_keys_does_not_matter(blank, found, day, random):
    keys = everyone_on(day, day + timedelta(days=9))
    matrix = matrix_of(city_of(found, blank), keys)
    other = matrix_of(city_of(random.sample(found, len(found)), blank), keys.sample(fraction=1, shuffle=True, seed=1))
    assert other.X.tobytes() == matrix.X.tobytes() and other.digest == matrix.digest


@given(found=logs, day=days)
def test_a_city_of_one_gives_the_same_bytes(blank, found, day):
    city = city_of(found, blank)
    matrix = matrix_of(city, everyone_on(day))
    for i, who in enumerate(PEOPLE):
        alone = matrix_of(city.only([who]), keys_of((who, day)))
        body = city_from_frames(people().filter(person_id=who), as_frame(found).filter(person_id=who), like=blank)
        assert alone.X.tobytes() == matrix_of(body, keys_of((who, day))).X.tobytes() == matrix.X[i].tobytes()


def test_figures_counted_by_hand(tiny_city):
    """On 1 February anna's third absence has happened and is not yet known; bo's second is of the day itself."""
    city = open_city(tiny_city)
    absence = FeatureSpec(
        name="absence",
        codes=["school.absence.*"],
        windows=[30, "ever"],
        measures=["count", "sum", "last", "days_since_last"],
    )
    matrix = matrix_of(city, city.cohort_table("all"), [absence, FeatureSpec(attribute="age")])
    assert matrix.names == (
        *(f"absence.{m}.30d" for m in absence.measures), *(f"absence.{m}.ever" for m in absence.measures), "age"
    )  # fmt: skip
    nan = np.nan
    np.testing.assert_array_equal(
        matrix.X[:, :8],
        np.array(
            [
                [2, 2, 2, 11, 2, 2, 2, 11],  # 20 January 9:30 is 11 whole days before 1 February
                [1, 1.5, 1.5, 1, 1, 1.5, 1.5, 1],
                [0, nan, nan, nan, 1, 3, 3, 365],
            ],
            dtype=np.float32,
        ),
    )
    assert np.floor(matrix.X[:, 8]).tolist() == [17, 23, 33]


@pytest.mark.parametrize(
    ("birth_date", "as_of", "years", "is_birthday"),
    [
        (date(2000, 2, 29), date(2017, 2, 28), 16, False),
        (date(2000, 2, 29), date(2017, 3, 1), 17, True),
        (date(2000, 2, 29), date(2020, 2, 29), 20, True),
        (date(2006, 3, 1), date(2024, 2, 29), 17, False),
        (date(2006, 3, 1), date(2024, 3, 1), 18, True),
        (date(1924, 1, 1), date(2024, 1, 1), 100, True),
    ],
)
def test_age_is_whole_on_the_birthday(blank, birth_date, as_of, years, is_birthday):
    persons = pl.DataFrame({"person_id": ["anna"], "birth_date": [birth_date]})
    city = city_from_frames(persons, as_frame([]), like=blank)
    (age,) = matrix_of(city, keys_of(("anna", as_of)), [FeatureSpec(attribute="age")]).X[0]
    assert np.floor(age) == years == naive.age(birth_date, as_of)
    assert (age == years) == is_birthday


def test_who_is_not_yet_born_has_no_age(blank):
    persons = pl.DataFrame({"person_id": ["anna"], "birth_date": [date(2024, 6, 1)]})
    city = city_from_frames(persons, as_frame([]), like=blank)
    assert np.isnan(matrix_of(city, keys_of(("anna", date(2024, 5, 31))), [FeatureSpec(attribute="age")]).X[0, 0])


# -- objections


def test_an_objector_is_in_no_row(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    nobody_objects.object("bo", "test")
    nobody_objects.object("cai", "another need")
    matrix = matrix_of(city, city.cohort_table("all"), ONE_EACH, objections=nobody_objects)
    assert (matrix.keys["person_id"].to_list(), matrix.X.shape[0], matrix.n_objectors) == (["anna", "cai"], 2, 1)


def test_when_everyone_objects_nothing_is_computed(blank):
    city = city_of([], blank)
    message = refusal(lambda: matrix_of(city, everyone_on(date(2024, 2, 1)), objections=Register(*PEOPLE)))
    assert message == (
        "cohort: all 3 persons object to 'test'. There is nobody left to compute for; nothing was computed"
    )


# -- label and indicators


def test_indicators_are_looked_for_in_the_window_of_the_label(tiny_city):
    city = open_city(tiny_city)
    label = LabelSpec(codes=["status.neet"], horizon_days=60, censored_by=["moved_away"])
    indicators = [
        IndicatorSpec(name="absent", codes=["school.absence.*"]),
        IndicatorSpec(name="moved", codes=["moved_away"]),
    ]
    matrix = matrix_of(city, city.cohort_table("all"), ONE_EACH, label=label, indicators=indicators)
    np.testing.assert_array_equal(matrix.y, [1.0, np.nan, 0.0])  # bo moved away before the label
    assert {name: seen.tolist() for name, seen in matrix.indicators.items()} == {
        "absent": [False, True, False],
        "moved": [False, True, False],
    }


# -- refusals


def test_what_cannot_be_computed_is_refused_in_words(tiny_city, blank):
    city = open_city(tiny_city)
    keys = city.cohort_table("all")
    neet = {"codes": ["status.neet"], "horizon_days": 60}
    unknown_where = CohortSpec(
        where=[{"attribute": "distrikt", "in": ["Kallio"]}],
        as_of={"first": START.date(), "last": START.date(), "every_days": 7},
    )
    cases = {
        lambda: build_cohort(city, unknown_where): (
            "cohort.where[0].attribute: 'distrikt' is neither a fixed column of persons nor in history. "
            "Did you mean 'district'? Allowed: district, language"
        ),
        lambda: matrix_of(city, keys.clear()): "keys: hold no rows. Give at least one person and as-of date",
        lambda: matrix_of(city, keys.drop("as_of_date")): (
            "keys: as_of_date is missing or of a wrong type. Give person_id as text and as_of_date as a day"
        ),
        lambda: matrix_of(city, pl.concat([keys, keys.head(2), keys_of(("zoe", START.date()))])): (
            "keys: 1 of 6 rows name persons who are not in the city 'tiny'. Ask for persons of its persons table\n"
            "keys: 2 of 6 rows repeat a person and as-of date. Give each person one row per as-of date"
        ),
        lambda: matrix_of(city, keys, label=LabelSpec(**neet | {"codes": ["neet"]})): (
            "label: never occurs: neet in none of 3 rows whose label is known. "
            "Mend its codes or its bound, or look from other days"
        ),
        lambda: matrix_of(city, keys, label=LabelSpec(**neet | {"horizon_days": 366})): (
            "label: is known for none of 3 rows; as-of dates up to 2023-12-31 are mature by 2024-12-31, and the first "
            "is 2024-02-01. Look from earlier days, or shorten horizon_days or the delay"
        ),
        lambda: matrix_of(city, keys, indicators=[IndicatorSpec(name="x", codes=["x"])]): (
            "indicators: are looked for in the label's window, and there is no label. "
            "Give a label, or leave the indicators out"
        ),
        lambda: matrix_of(
            city_from_frames(people().drop("birth_date"), as_frame([]), like=blank), everyone_on(START.date())
        ): "persons: age is asked for, and the city's persons have no birth_date. "
        "Add the column, or leave age out of the need",
    }
    assert [refusal(make) for make in cases] == list(cases.values())


def test_what_a_notebook_easily_gives_instead_is_refused_in_words(tiny_city, nobody_objects):
    city, about = open_city(tiny_city), {"objections": nobody_objects, "need_id": "x"}
    keys = pl.DataFrame({"person_id": ["anna"], "as_of_date": [date(2024, 2, 1)]})
    age = FeatureSpec(attribute="age")
    for features in (age, "age"):
        with pytest.raises(
            SpecError, match=r"^features: is one \w+, not a sequence of FeatureSpec. Put it into a list"
        ):
            build_matrix(city, features, keys, **about)
    with pytest.raises(SpecError, match=r"^features: hold a str. Give FeatureSpec only$"):
        build_matrix(city, ["age"], keys, **about)
    with pytest.raises(DataError, match=r"^keys: are a pandas DataFrame, not a polars DataFrame. Give pl.from_pandas"):
        build_matrix(city, [age], keys.to_pandas(), **about)
    mended = pl.from_pandas(keys.to_pandas()).cast({"as_of_date": pl.Date})
    assert build_matrix(city, [age], mended, **about).digest == build_matrix(city, [age], keys, **about).digest


def test_what_a_notebook_shows_names_nobody(tiny_city, nobody_objects):
    city = open_city(tiny_city)
    keys = pl.DataFrame({"person_id": ["anna", "bo"], "as_of_date": [date(2024, 2, 1)] * 2})
    matrix = build_matrix(city, [FeatureSpec(attribute="age")], keys, objections=nobody_objects, need_id="x")
    assert repr(matrix) == "<Matrix: 2 rows × 1 columns, without a label>"
    assert repr(matrix.to_csr()).startswith("<SparseBlock: 2 rows × 1 columns, ")
    n, codes = city.events.time.size, len(city.events.codes)
    assert repr(city) == f"<City 'tiny': 4 persons, {n} events of {codes} codes, up to 2024-12-31>"


def test_names_not_loaded_yet_are_completed():
    import features

    assert set(features.__all__) <= set(dir(features)) and "build_matrix" in dir(features)


def test_codes_that_no_event_has_are_found_with_their_likeness(tiny_city):
    specs = [
        FeatureSpec(name="absence", codes=["school.absence.*", "school.absense.*"], windows=[30], measures=["count"]),
        LabelSpec(codes=["status.net"], horizon_days=1),
        CohortSpec(as_of={"on": "moved_awy"}, without=[{"codes": ["zzz"], "window": 1}]),
    ]
    assert [str(fault) for fault in unseen_codes(open_city(tiny_city), specs)] == [
        "features 'absence'.codes: 'school.absense.*' is not in the event log. "
        "Did you mean 'school.absence.ill'? The city's event log has 4 codes",
        "label.codes: 'status.net' is not in the event log. "
        "Did you mean 'status.neet'? The city's event log has 4 codes",
        "cohort.as_of.on: 'moved_awy' is not in the event log. "
        "Did you mean 'moved_away'? The city's event log has 4 codes",
        "cohort.without[0].codes: 'zzz' is not in the event log. The city's event log has 4 codes",
    ]


# -- the matrix as a value


def test_the_digest_follows_every_part_and_only_the_content(blank):
    found = [
        ("anna", START, START, "a", 1.0),
        ("bo", START + timedelta(days=40), START + timedelta(days=40), "c", None),
    ]
    city, keys = city_of(found, blank), everyone_on(date(2024, 2, 1))
    label = LabelSpec(codes=["c"], horizon_days=30)
    seen = [IndicatorSpec(name="seen", codes=["c"])]
    base = matrix_of(city, keys, ONE_EACH, label=label, indicators=seen)
    assert matrix_of(city, keys.reverse(), ONE_EACH, label=label, indicators=seen).digest == base.digest
    others = [
        matrix_of(city, keys, ONE_EACH, label=label),
        matrix_of(city, keys, ONE_EACH),
        matrix_of(city, keys, ONE_EACH[::-1], label=label, indicators=seen),
        matrix_of(city, keys.head(2), ONE_EACH, label=label, indicators=seen),
        replace(base, names=(*base.names[:-1], "other")),
        replace(base, y=1 - base.y),
        replace(base, indicators={"seen": ~base.indicators["seen"]}),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1
    assert base.rows(np.array([True, True, False])).digest == others[3].digest


def test_rows_of_a_matrix_are_a_matrix(blank):
    found = [
        ("bo", START + timedelta(days=40), START + timedelta(days=40), "c", None),
        ("cai", START + timedelta(days=35), START + timedelta(days=35), "a", None),
    ]
    label = LabelSpec(codes=["c"], horizon_days=30, censored_by=["a"])
    matrix = matrix_of(city_of(found, blank), everyone_on(date(2024, 2, 1)), ONE_EACH, label=label)
    part = matrix.rows(np.array([False, True, True]))
    assert part.keys["person_id"].to_list() == ["bo", "cai"]
    np.testing.assert_array_equal(part.y, [1.0, np.nan])
    assert (part.followed_days.tolist(), part.censored.tolist()) == ([9, 4], [False, True])
    assert part.attrition.equals(matrix.attrition)
    assert part.X.tobytes() == matrix.X[1:].tobytes() and part.names == matrix.names
    for array in (part.X[0], part.y, part.followed_days, part.censored):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_follow_up_and_attrition_leave_the_digest_as_it_is(blank):
    found = [("bo", START + timedelta(days=40), START + timedelta(days=40), "c", None)]
    city, keys, label = city_of(found, blank), everyone_on(date(2024, 2, 1)), LabelSpec(codes=["c"], horizon_days=30)
    matrix = matrix_of(city, keys, ONE_EACH, label=label)
    assert replace(matrix, followed_days=None, censored=None, attrition=None).digest == matrix.digest
    without = matrix_of(city, keys, ONE_EACH)
    assert (without.followed_days, without.censored, without.attrition) == (None, None, None)


def test_a_matrix_goes_on_with_the_attrition_of_its_cohort(tiny_city):
    city = open_city(tiny_city)
    keys, steps = cohort_with_attrition(city, CohortSpec(table="all"))
    label = LabelSpec(codes=["status.neet"], horizon_days=60, censored_by=["moved_away"])
    matrix = matrix_of(city, keys, ONE_EACH, label=label, attrition=steps, objections=Register("cai"))
    assert matrix.attrition.drop("rule").rows() == [
        ("table", 3, 3, 0),
        ("objection", 2, 2, 1),
        ("outcome not known", 2, 2, 0),
        ("censored", 1, 1, 1),
    ]
    message = refusal(lambda: matrix_of(city, keys.head(2), ONE_EACH, label=label, attrition=steps), BadInput)
    assert message == "attrition: end with 3 rows, and there are 2 keys. Give the steps that came with these keys"


# -- the real one

SOURCES = {"clicks": ["edu.click.*"], "assess": ["edu.assess.*"], "late": ["edu.days_late*"], "any": ["edu.*"]}


SQL = {
    "count": "count(*)",
    "n_values": "count(value)",
    "sum": "sum(value::double)",
    "mean": "avg(value::double)",
    "min": "min(value)",
    "max": "max(value)",
    "last": "arg_max(value, (event_date, value, code)) filter (value is not null)",
    "days_since_last": "date_diff('day', max(event_date), any_value(as_of_date))",
}
OULAD = [FeatureSpec(name=n, codes=c, windows=[30, 90, "ever"], measures=[*SQL]) for n, c in SOURCES.items()]


@pytest.fixture(scope="module")
def oulad(oulad_folder):
    return open_city(oulad_folder)


@pytest.fixture(scope="module")
def oulad_matrix(oulad):
    return matrix_of(oulad, oulad.cohort_table("enrolled"), OULAD)


def test_oulad_with_its_future_rewritten_gives_the_same_bytes(oulad_folder, oulad, oulad_matrix, tmp_path):
    day = date(2013, 11, 30)
    keys = build_cohort(oulad, CohortSpec(table="enrolled"), [day])
    events = pl.read_parquet(oulad_folder / "events.parquet")
    past, future = events.filter(pl.col("knowledge_date") < day), events.filter(pl.col("knowledge_date") >= day)
    poison = future.with_columns(value=pl.col("value") * -7 + 1, code=pl.lit("edu.click.poison"))
    persons = pl.read_parquet(oulad_folder / "persons.parquet")
    toml = (oulad_folder / "city.toml").read_text()
    rewritten = open_city(write_city(tmp_path, persons, pl.concat([poison, past, poison.head(1000)]), toml=toml))
    before = oulad_matrix.rows((oulad_matrix.keys["as_of_date"] == day).to_numpy())
    assert matrix_of(rewritten, keys, OULAD).X.tobytes() == before.X.tobytes()
    late = keys.with_columns(as_of_date=pl.lit(date(2014, 4, 2)))
    assert matrix_of(rewritten, late, OULAD).X.tobytes() != matrix_of(oulad, late, OULAD).X.tobytes()


def test_oulad_agrees_with_sql_cell_by_cell(oulad_folder, oulad_matrix):
    duckdb = pytest.importorskip("duckdb")
    base = duckdb.connect()
    base.execute("set threads to 2")
    keys = oulad_matrix.keys.with_row_index("row").to_arrow()
    base.register("keys", keys)
    base.execute(
        f"create table seen as select row, as_of_date, event_date, code, value from keys join "
        f"'{oulad_folder / 'events.parquet'}' using (person_id) "
        "where event_date < as_of_date and knowledge_date < as_of_date"
    )
    expected = np.full(oulad_matrix.X.shape, np.nan, dtype=np.float32)
    expected[:, [name.split(".")[1] in {"count", "n_values"} for name in oulad_matrix.names]] = 0
    for feature in OULAD:
        prefix = feature.codes[0].removesuffix("*")
        for window in feature.windows:
            inside = "" if window.unit == "ever" else f"and event_date >= as_of_date - {window.far}"
            measures = ", ".join(SQL[m] for m in feature.measures)
            found = base.execute(
                f"select row, {measures} from seen where starts_with(code, '{prefix}') {inside} group by row"
            ).fetchnumpy()
            row, *columns = (
                np.ma.filled(column, np.nan) if column.dtype.kind == "f" else column for column in found.values()
            )
            first = oulad_matrix.names.index(f"{feature.name}.{feature.measures[0]}.{window.label}")
            expected[row.astype(int), first : first + len(columns)] = np.column_stack(columns).astype(np.float32)
    assert np.isnan(expected).mean() < 0.9
    np.testing.assert_array_equal(oulad_matrix.X, expected)
