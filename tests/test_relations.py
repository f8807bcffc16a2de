"""Features from the events of others, against a second opinion that looks at every person one by one."""

import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import naive
import numpy as np
import polars as pl
import pytest
from conftest import write_city
from hypothesis import given
from hypothesis import strategies as st

from features.blocks import matrix_blocks
from features.city import DataError, city_from_frames, open_city
from features.leakcheck import leakcheck
from features.matrix import build_matrix
from features.relations import FEWEST_RESIDENTS, MOST_IN_A_HOME
from features.spec import FeatureSpec

START = datetime(2024, 1, 1)
PEOPLE = ("anna", "bo", "cai", "dora", "eva")
WINDOWS = (7, 30, "ever")
MEASURES = ("count", "sum", "mean", "last", "days_since_last")
NAMED = {"a": ("a",), "b": ("b.*",), "all": ("a", "b.*")}
TOML = """
extract_date = 2024-12-31
[persons]
fixed = ["born_in"]
[relations]
household = "home"
district = "district"
"""
WHY = {"purpose": "to find who needs help", "basis": "a law"}


def of(others, measures=MEASURES, windows=WINDOWS):
    return [
        FeatureSpec(name=f"{others}_{n}", of=others, codes=c, windows=windows, measures=measures, **WHY)
        for n, c in NAMED.items()
    ]


HOUSEHOLD = of("household")

moments = st.tuples(st.integers(0, 60), st.sampled_from([timedelta(0), timedelta(hours=9, minutes=30)])).map(
    lambda at: START + timedelta(days=at[0]) + at[1]
)
values = st.none() | st.integers(-40, 40).map(lambda quarters: quarters / 4)
logs = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE), moments, st.integers(0, 12), st.sampled_from(["a", "b.1", "b.2", "unread"]), values
    ),
    max_size=40,
).map(lambda found: [(who, at, at + timedelta(days=lag), code, value) for who, at, lag, code, value in found])
days = st.integers(0, 75).map(lambda day: START.date() + timedelta(days=day))
histories = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE), st.just("home"), st.sampled_from([None, "h1", "h2"]), days, st.integers(-5, 20)
    ).map(lambda r: (*r[:4], r[3] + timedelta(days=r[4]))),
    max_size=12,
).map(lambda found: [*found, ("anna", "home", "h1", date(2030, 1, 1), date(2030, 1, 1))])  # so that there are homes


class Register:
    def __init__(self, *who):
        self.who = who

    def objecting(self, person_ids, need_id):
        return np.array([person in self.who for person in person_ids], dtype=bool)


def frame_of(found):
    types = {"person_id": pl.String, "event_date": pl.Datetime("us"), "knowledge_date": pl.Datetime("us")}
    return pl.DataFrame(found, schema={**types, "code": pl.String, "value": pl.Float64}, orient="row")


def history_of(found):
    days = {"from_date": pl.Date, "knowledge_date": pl.Date}
    schema = {"person_id": pl.String, "attribute": pl.String, "value": pl.String, **days}
    frame = pl.DataFrame(found, schema=schema, orient="row")
    return frame.with_columns(pl.col(*days).cast(pl.Datetime("us")))


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    events = [{"person_id": "anna", "event_date": START, "code": "a"}]
    people = [{"person_id": who, "born_in": "Turku"} for who in PEOPLE]
    history = [
        {"person_id": "anna", "attribute": name, "value": "x", "from_date": START} for name in ("home", "district")
    ]
    return open_city(write_city(tmp_path_factory.mktemp("blank"), people, events, history=history, toml=TOML))


def city_of(found, history, blank, people=PEOPLE):
    persons = pl.DataFrame({"person_id": people, "born_in": ["Turku"] * len(people)})
    city = city_from_frames(persons, frame_of(found), like=blank)
    return replace(city, history=history_of(history), relations=dict(blank.relations))


def keys_of(people, *on):
    schema = {"person_id": pl.String, "as_of_date": pl.Date}
    return pl.DataFrame([(who, day) for who in people for day in on], schema=schema, orient="row")


def matrix_of(city, features, *on, objectors=(), people=PEOPLE, **how):
    register = Register(*objectors)
    return build_matrix(city, features, keys_of(people, *on), objections=register, need_id="test", **how)


def other_members(history, who, day, objectors):
    home = naive.attribute(history, who, "home", day)
    if home is None:
        return []
    others = [p for p in PEOPLE if p != who and p not in objectors]
    return [p for p in others if naive.attribute(history, p, "home", day) == home]


def household_cell(found, history, who, day, window, codes, measure, objectors):
    """The cell of a person to whom all that happened to the other members had happened."""
    others = other_members(history, who, day, objectors)
    borrowed = [("the others", *event[1:]) for event in found if event[0] in others]
    return naive.cell(borrowed, "the others", day, window, codes, measure)


def attribute_with_nulls(history, who, day):
    """As naive.attribute, for histories in which no value may be known: then null comes first."""
    seen = [(b, k, v is not None, v or "") for p, _, v, b, k in history if p == who and b < day and k < day]
    return (max(seen)[3] or None) if seen else None


@pytest.fixture(autouse=True)
def _nulls(monkeypatch):
    monkeypatch.setattr(naive, "attribute", lambda history, who, name, day: attribute_with_nulls(history, who, day))


@given(found=logs, history=histories, day=days, objectors=st.sets(st.sampled_from(PEOPLE), max_size=3))
def test_every_household_cell_agrees_with_the_oracle(blank, found, history, day, objectors):
    matrix = matrix_of(city_of(found, history, blank), HOUSEHOLD, day, objectors=objectors)
    expected = [
        [
            household_cell(found, history, who, day, window, codes, measure, objectors)
            for codes in NAMED.values()
            for window in WINDOWS
            for measure in MEASURES
        ]
        for who in matrix.keys["person_id"]
    ]
    assert not set(matrix.keys["person_id"]) & objectors
    np.testing.assert_array_equal(matrix.X, np.array(expected, dtype=np.float32).reshape(matrix.X.shape))


@given(found=logs, history=histories, day=days, random=st.randoms(use_true_random=False))
def test_neither_order_nor_threads_nor_small_portions_change_a_byte(blank, found, history, day, random):
    on = (day, day + timedelta(days=9))
    matrix = matrix_of(city_of(found, history, blank), HOUSEHOLD, *on)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("features.relations._EVENTS_AT_ONCE", 3)
        shuffled = city_of(random.sample(found, len(found)), random.sample(history, len(history)), blank)
        assert matrix_of(shuffled, HOUSEHOLD, *on, threads=2).digest == matrix.digest


def test_a_household_counted_by_hand(blank):
    """Bo moves out on 20 January, which is known on the 25th; dora lives alone; cai's home is not known."""
    history = [
        ("anna", "home", "h1", date(2023, 1, 1), date(2023, 1, 1)),
        ("bo", "home", "h1", date(2023, 1, 1), date(2023, 1, 1)),
        ("bo", "home", "h2", date(2024, 1, 20), date(2024, 1, 25)),
        ("dora", "home", "h3", date(2023, 1, 1), date(2023, 1, 1)),
        ("eva", "home", "h1", date(2023, 1, 1), date(2023, 1, 1)),
    ]
    found = [(who, START, START, "a", 1.0) for who in PEOPLE] + [("bo", START, START, "a", 1.0)]
    city, count = city_of(found, history, blank), of("household", ["count"], ["ever"])[:1]
    assert matrix_of(city, count, date(2024, 1, 25)).X[:, 0].tolist() == [3, 2, 0, 0, 3]
    assert matrix_of(city, count, date(2024, 1, 26)).X[:, 0].tolist() == [1, 0, 0, 0, 1]
    objected = matrix_of(city, count, date(2024, 1, 25), objectors=["bo"])
    assert dict(zip(objected.keys["person_id"], objected.X[:, 0], strict=True)) == {
        "anna": 1, "cai": 0, "dora": 0, "eva": 1
    }  # fmt: skip


def test_a_home_of_too_many_is_nobodys(blank):
    people = [f"p{i:03}" for i in range(MOST_IN_A_HOME + 3)]
    for n in (MOST_IN_A_HOME, MOST_IN_A_HOME + 1):
        history = [(who, "home", "0", date(2023, 1, 1), date(2023, 1, 1)) for who in people[:n]]
        history += [(who, "home", "h1", date(2023, 1, 1), date(2023, 1, 1)) for who in people[-2:]]
        found = [(who, START, START, "a", 1.0) for who in people]
        city = city_of(found, history, blank, people)
        count = matrix_of(city, of("household", ["count"], ["ever"])[:1], date(2024, 1, 25), people=people).X[:, 0]
        assert count[0] == (n - 1 if n <= MOST_IN_A_HOME else 0)
        assert count[-1] == 1


# -- districts

MANY = [f"p{i:02}" for i in range(2 * FEWEST_RESIDENTS + 3)]
DISTRICT_HISTORY = [
    (who, "district", "Kallio" if i <= FEWEST_RESIDENTS else "Vuosaari", date(2023, 1, 1), date(2023, 1, 1))
    for i, who in enumerate(MANY[:-1])
]
many_events = st.lists(
    st.tuples(st.sampled_from(MANY), moments, st.integers(0, 12), st.sampled_from(["a", "b.1"]), values), max_size=60
).map(lambda found: [(who, at, at + timedelta(days=lag), code, value) for who, at, lag, code, value in found])


@given(
    found=many_events,
    day=days.filter(lambda day: day > START.date()),
    movers=st.lists(st.tuples(st.sampled_from(MANY), days, st.integers(0, 9)), max_size=3),
    objectors=st.sets(st.sampled_from(MANY), max_size=2),
)
def test_every_rate_agrees_with_the_oracle(blank, found, day, movers, objectors):
    moves = [(who, "district", "Kallio", on, on + timedelta(days=lag)) for who, on, lag in movers]
    history, rates = DISTRICT_HISTORY + moves, of("district", ["rate"])
    matrix = matrix_of(city_of(found, history, blank, MANY), rates, day, objectors=objectors, people=MANY)
    lives = {who: attribute_with_nulls(history, who, day) for who in MANY}
    expected = []
    for who in matrix.keys["person_id"]:
        residents = [p for p in MANY if p not in objectors and lives[p] == lives[who] is not None]
        expected.append(
            [
                math.nan
                if len(residents) < FEWEST_RESIDENTS
                else sum(naive.cell(found, p, day, window, codes, "count") for p in residents) / len(residents)
                for codes in NAMED.values()
                for window in WINDOWS
            ]
        )
    np.testing.assert_array_equal(matrix.X, np.array(expected, dtype=np.float32))


def test_a_district_of_nineteen_has_no_rate(blank):
    city = city_of([(MANY[0], START, START, "a", None)], DISTRICT_HISTORY, blank, MANY)
    rate = of("district", ["rate"], ["ever"])[:1]
    matrix = matrix_of(city, rate, date(2024, 2, 1), people=[MANY[0], MANY[-2], MANY[-1]])
    kallio = np.float32(1 / 21)
    np.testing.assert_array_equal(matrix.X[:, 0], np.array([kallio, 0, np.nan], dtype=np.float32))
    fewer = matrix_of(city, rate, date(2024, 2, 1), people=MANY, objectors=MANY[1:3])
    assert np.isnan(fewer.X[0, 0])


# -- together, and refused


def both_relations(blank):
    rng, then = np.random.default_rng(3), date(2023, 1, 1)
    homes = [(who, "home", f"h{rng.integers(12)}", then, then + timedelta(days=int(rng.integers(600)))) for who in MANY]
    found = []
    for _ in range(600):
        at = START + timedelta(days=int(rng.integers(60)))
        known = at + timedelta(days=int(rng.integers(12)))
        found.append((MANY[rng.integers(len(MANY))], at, known, ["a", "b.1"][rng.integers(2)], float(rng.integers(9))))
    return city_of(found, DISTRICT_HISTORY + homes, blank, MANY)


EVERYTHING = [
    FeatureSpec(name="own", codes=["a"], windows=[30], measures=["count", "mean"]),
    *of("district", ["rate"], [30]),
    FeatureSpec(attribute="district", categories=["Kallio", "Vuosaari"], measures=["n_changes"]),
    *of("household", ["count", "last"], [30, "ever"]),
]


def test_the_future_is_in_no_relation(blank):
    city, keys = both_relations(blank), keys_of(MANY, date(2024, 2, 10))
    check = leakcheck(city, EVERYTHING, keys, objections=Register(), need_id="test")
    assert check.identical and check.n_rewritten > 100


def test_the_check_above_sees_a_relation_that_forgets_when_things_became_known(blank):
    city, keys = both_relations(blank), keys_of(MANY, date(2024, 2, 10))
    told = city.history.with_columns(knowledge_date="from_date")
    for forgetful in (replace(city, events=replace(city.events, known=None)), replace(city, history=told)):
        X = [
            build_matrix(world, of("household"), keys, objections=Register(), need_id="test").X.tobytes()
            for world in (city, forgetful)
        ]
        assert X[0] != X[1]


def test_blocks_see_the_whole_city(blank):
    city, keys = both_relations(blank), keys_of(MANY, date(2024, 2, 1), date(2024, 2, 10))
    asked = {"objections": Register(MANY[4], MANY[9]), "need_id": "test"}
    whole = build_matrix(city, EVERYTHING, keys, **asked)
    frames = [b.to_polars() for b in matrix_blocks(city, EVERYTHING, keys, **asked, block_persons=7, threads=2)]
    assert len(frames) == 6  # 41 of 43 persons
    assert pl.concat(frames).sort("as_of_date", "person_id").equals(whole.to_polars())


def test_one_person_alone_has_the_same_cells(blank):
    """Whoever is scored alone is scored among the same others."""
    city, day = both_relations(blank), date(2024, 2, 10)
    asked = {"objections": Register(MANY[4]), "need_id": "test"}
    whole = build_matrix(city, EVERYTHING, keys_of(MANY, day), **asked)
    for row in (0, 8, 41):
        who = whole.keys["person_id"][row]
        alone = build_matrix(city.only([who]), EVERYTHING, keys_of([who], day), **asked)
        assert alone.X.tobytes() == whole.X[row].tobytes()


def test_what_a_city_does_not_say_is_refused_all_at_once(blank):
    city = city_of([], [], blank)
    wanted = [of("household")[0], of("district", ["rate"])[0]]
    with pytest.raises(DataError) as caught:
        matrix_of(replace(city, relations={"household": "hoem"}), wanted, date(2024, 2, 1))
    assert str(caught.value).splitlines() == [
        "features 'household_a'.of: city.toml says under [relations] that 'hoem' tells the household, and there is "
        "none. Allowed: born_in",
        f"features 'district_a'.of: reads events of the person's district, and the city '{city.name}' does not say "
        "who that is. Name the attribute in city.toml under [relations], district = …, or leave the feature out",
    ]


def test_a_fixed_column_may_say_who_lives_together(blank):
    city = replace(city_of([("bo", START, START, "a", None)], [], blank), relations={"household": "born_in"})
    count = of("household", ["count"], ["ever"])[:1]
    assert matrix_of(city, count, date(2024, 2, 1)).X[:, 0].tolist() == [1, 0, 1, 1, 1]
