"""The needs that come with Ennakko: complete, founded, learnable on the invented city; and the city's switches."""

import re
import tomllib
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from features.city import City, matches, open_city
from features.cohort import as_of_dates, build_cohort
from features.matrix import Matrix, build_matrix
from features.synthetic import PRESCHOOL_YEAR, Truth, synthetic_city
from features.synthetic_world import CODES, EXTRACT_DATE, EXTRACT_DAY, LATE_DAYS, LATE_SHARE, World, epoch_day
from models.need import NEEDS, Need, load_need
from models.splits import split_periods
from models.training import train

ALL = sorted(path.stem for path in NEEDS.glob("*.toml"))
LEARNT = [name for name in ALL if load_need(NEEDS / f"{name}.toml").kind == "model"]
LANGUAGES = {"fi", "sv", "en"}
FOUR_SIGMA = 4.0
# What no need may read (check C602, and language, which is for the audit), and what each leaves out besides.
FORBIDDEN = re.compile(r"hetu|address|religion|politic|sexual|crim|ethnic|origin|nationality|language|free_?text|photo")
LEFT_OUT = {
    "youth_exclusion": ("care.", "social."),
    "preschool_reach": ("care.", "benefit."),
    "health_benefit": ("care.cost",),
}


def bundled(name: str) -> Need:
    return load_need(NEEDS / f"{name}.toml")


# ---- what is written in them ---------------------------------------------------------------------------------------


def test_the_needs_of_the_city_are_here():
    assert {"cervical_screening", "health_benefit", "health_by_cost", "preschool_reach", "youth_exclusion"} <= set(ALL)
    assert bundled("cervical_screening").kind == "rule"


@pytest.mark.parametrize("name", ALL)
def test_a_need_can_be_used_as_it_is(name):
    need = bundled(name)
    need.require_built()
    need.check_against({"max_reject_share": 0.01, "min_data_in_leaf": 20})


def tables(value, where=""):
    """Every table in a need file, with where it stands."""
    if isinstance(value, dict):
        yield where, value
        for key, inner in value.items():
            yield from tables(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from tables(inner, f"{where}[{i}]")


@pytest.mark.parametrize("name", ALL)
def test_every_text_is_in_three_languages_and_says_something_in_each(name):
    raw = tomllib.loads((NEEDS / f"{name}.toml").read_text("utf-8"))
    texts = [(where, table) for where, table in tables(raw) if LANGUAGES & table.keys()]
    assert len(texts) >= 5 + len(raw["features"])
    for where, table in texts:
        assert table.keys() == LANGUAGES, where
        assert all(text == text.strip() and len(text) > 2 for text in table.values()), where
        assert len(set(table.values())) == 3, f"{where}: the same words in two languages"


@pytest.mark.parametrize("name", ALL)
def test_every_feature_has_a_purpose_a_source_and_a_basis_still_to_be_attested(name):
    need = bundled(name)
    for feature in need.features:
        assert feature.plain and feature.source and len(feature.purpose) > 20, feature.name
        assert feature.basis.startswith("To be attested by the city's lawyer: "), feature.name
        assert "AT-02" in feature.basis and feature.visible_to == (need.service,), feature.name


@pytest.mark.parametrize("name", ALL)
def test_no_need_reads_what_is_forbidden_or_what_it_promises_to_leave_out(name):
    need = bundled(name)
    for feature in need.features:
        assert feature.of == "self", feature.name  # nothing about parents or other members of the household
        assert feature.attribute in (None, "age"), feature.name
        for read in (feature.name, *feature.codes):
            assert not FORBIDDEN.search(read), read
            assert not read.startswith(LEFT_OUT.get(name, ())) or name == "health_by_cost", read


@pytest.mark.parametrize("name", LEARNT)
def test_two_independent_indicators_share_no_code_with_label_or_features(name):
    need = bundled(name)
    codes = [row.code for row in CODES]
    taken = [*need.label.codes, *(code for feature in need.features for code in feature.codes)]
    found = [{code for code in codes if matches(code, indicator.codes)} for indicator in need.indicators]
    assert len(found) >= 2 and all(found)
    assert len(set.union(*found)) == sum(map(len, found))
    assert not any(matches(code, taken) for code in set.union(*found))


def test_need_is_never_read_from_cost_or_visits_but_in_the_cautionary_twin():
    for name in LEARNT:
        measured = [row.code for row in CODES if matches(row.code, bundled(name).label.codes)]
        assert any(code.startswith(("care.cost", "care.visit")) for code in measured) == (name == "health_by_cost")
    by_cost, benefit = (tomllib.loads((NEEDS / f"{n}.toml").read_text()) for n in ("health_by_cost", "health_benefit"))
    assert {key for key in benefit if by_cost[key] != benefit[key]} == {
        "label", "title", "question", "action", "benefit", "alternative", "register",
    }  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_every_code_it_asks_for_exists_in_the_invented_city(name):
    need, codes = bundled(name), [row.code for row in CODES]
    rules = [*need.cohort.with_, *need.cohort.without, *need.indicators, *need.features]
    asked = [pattern for rule in rules for pattern in rule.codes]
    asked += [*need.label.codes, *need.label.censored_by] if need.label else []
    assert [pattern for pattern in asked if not any(matches(code, [pattern]) for code in codes)] == []


def test_codes_of_the_invented_city_are_in_order_and_named_in_three_languages():
    codes = [row.code for row in CODES]
    assert codes == sorted(set(codes))
    assert all(row.fi and row.sv and row.en and row.source for row in CODES)


# ---- what can be learnt from them ----------------------------------------------------------------------------------


@dataclass
class Measured:
    """A need on the test dates of the invented city: people, labels, probabilities by what could be known then."""

    need: Need
    keys: pl.DataFrame
    X: np.ndarray
    y: np.ndarray
    probability: np.ndarray

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.y)

    def auc(self) -> tuple[float, float]:
        """The area under the curve and its standard error (Source: Hanley and McNeil 1982)."""
        y, p = self.y[self.known], self.probability[self.known]
        auc = roc_auc_score(y, p)
        one, two, n1, n0 = auc / (2 - auc), 2 * auc**2 / (1 + auc), y.sum(), (1 - y).sum()
        variance = auc * (1 - auc) + (n1 - 1) * (one - auc**2) + (n0 - 1) * (two - auc**2)
        return auc, float(np.sqrt(variance / (n1 * n0)))


def matrix_of(city: City, need: Need, dates: list[date], objections) -> Matrix:
    keys = build_cohort(city, need.cohort, dates, label=need.label)
    return build_matrix(city, need.features, keys, objections=objections, need_id=need.id, label=need.label)


@pytest.fixture(scope="module")
def nobody():
    from sqlalchemy import create_engine

    from ethics.objections import ObjectionRegister

    return ObjectionRegister(create_engine("sqlite://"), b"a key for tests only")


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    return synthetic_city(tmp_path_factory.mktemp("invented") / "city", 20_000, seed=3, density=0)


@pytest.fixture(scope="module")
def measured(truth, nobody):
    """Learn before each test date from at most so many rows as are learnt by one thread; each need once."""
    city, done = open_city(truth.folder), {}

    def of(name: str) -> Measured:
        if name not in done:
            need = bundled(name)
            split = split_periods(as_of_dates(city, need.cohort), need.label, city.extract_date, need.splits)
            parts = []
            for origin in split.origins if name == "preschool_reach" else [split.candidate]:
                dates = origin.train_dates[-1:] if name == "health_benefit" else origin.train_dates
                learnt = train(matrix_of(city, need, list(dates), nobody), need, seed=0)
                test = matrix_of(city, need, [origin.test_date], nobody)
                parts.append((test, learnt.probability(learnt.raw(test.X))))
            done[name] = Measured(
                need,
                pl.concat([test.keys for test, _ in parts]),
                np.concatenate([test.X for test, _ in parts]),
                np.concatenate([test.y for test, _ in parts]),
                np.concatenate([probability for _, probability in parts]),
            )
        return done[name]

    return of


@pytest.mark.parametrize("name", ["health_benefit", "preschool_reach", "youth_exclusion"])
def test_it_can_be_learnt_to_a_plausible_degree(measured, name):
    auc, error = measured(name).auc()
    assert auc - 1.96 * error > 0.5  # better than chance, shown
    assert auc - 1.96 * error < 0.80 and auc + 1.96 * error > 0.65  # the range that long horizons allow
    assert auc < measured(name).need.label.plausible_auc_max


def test_families_stay_unreached_with_the_planted_probability_and_the_model_finds_which(measured, truth):
    found = measured("preschool_reach")
    assert found.need.label.at_most == 0
    rows = found.keys.with_columns(y=pl.Series(found.y), p=pl.Series(found.probability))
    rows = rows.filter((pl.col("as_of_date").dt.year() == PRESCHOOL_YEAR) & pl.Series(found.known))
    rows = rows.join(truth.persons, on="person_id")
    planted = rows["preschool_probability"].cast(pl.Float64).to_numpy()
    assert np.isfinite(planted).all() and (planted > 0).all()
    # Each child is unreached or not by its own probability: the sum is within four standard errors of what is expected.
    assert rows["y"].sum() == pytest.approx(planted.sum(), abs=FOUR_SIGMA * np.sqrt((planted * (1 - planted)).sum()))
    assert np.corrcoef(rows["p"], np.log(planted))[0, 1] > 0.4


def test_children_outside_municipal_early_education_are_asked_about_too(measured):
    found = measured("preschool_reach")
    outside = found.X[:, found.need.columns.index("municipal_place.count.365d")] == 0
    assert 0.04 < outside.mean() < 0.25
    assert found.y[found.known & outside].mean() > found.y[found.known & ~outside].mean()


def test_all_children_due_are_offered_a_place_and_nobody_else(truth):
    events = pl.read_parquet(truth.folder / "events.parquet")
    persons = pl.read_parquet(truth.folder / "persons.parquet")
    offers = events.filter(pl.col("code") == "preschool.offer").join(persons, on="person_id")
    assert offers["person_id"].is_unique().all()
    assert (offers["event_date"].dt.year() - offers["birth_date"].dt.year() == 6).all()
    here = persons.filter(pl.col("birth_date").dt.year() == PRESCHOOL_YEAR - 6)
    gone = events.filter(pl.col("code").is_in(["death", "moved_away"]) & (pl.col("event_date") < date(2025, 1, 6)))
    due = here.join(gone, on="person_id", how="anti")["person_id"]
    assert set(due) == set(offers.filter(pl.col("event_date").dt.year() == PRESCHOOL_YEAR)["person_id"])
    assert set(truth.persons.drop_nulls("preschool_probability")["person_id"]) == set(due)


def test_those_invited_to_screening_have_had_three_months_to_come(truth):
    day = date(2026, 6, 29)
    listed = build_cohort(open_city(truth.folder), bundled("cervical_screening").cohort, [day])["person_id"]
    screening = pl.read_parquet(truth.folder / "events.parquet").filter(pl.col("code").str.starts_with("screening."))
    invited = screening.filter(pl.col("code").str.ends_with(".invited") & pl.col("person_id").is_in(listed.implode()))
    lately = invited.with_columns(ago=(pl.lit(day) - pl.col("event_date")).dt.total_days())
    assert lately.filter(pl.col("ago").is_between(91, 730))["person_id"].n_unique() == listed.len() > 100


# ---- the switches of the invented city -----------------------------------------------------------------------------


def invented(folder, world: World, n: int = 8_000) -> tuple[Truth, pl.DataFrame]:
    city = synthetic_city(folder, n, seed=5, density=0, world=world)
    return city, pl.read_parquet(city.folder / "events.parquet")


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory) -> tuple[Truth, pl.DataFrame]:
    return invented(tmp_path_factory.mktemp("ordinary") / "city", World())


def test_switches_are_off_in_the_ordinary_world():
    world = World()
    days = np.array([epoch_day(date(2022, 7, 1)), EXTRACT_DAY])
    assert (world.selective_labels, world.late_knowledge, world.drift_per_year) == (0.0, 1.0, 0.0)
    assert world.outcome_drift(days).tolist() == [0, 0] and world.record_drift(days).tolist() == [1, 1]
    share, days_late = world.knowledge()
    assert np.array_equal(share, LATE_SHARE) and np.array_equal(days_late, LATE_DAYS)


def test_selective_labels_lose_the_outcomes_of_those_whom_no_service_sees(tmp_path, ordinary):
    truth, events = ordinary
    selective, recorded = invented(tmp_path / "selective", World(selective_labels=1.0))
    key = ["person_id", "event_date"]
    for code in ("hospital.avoidable", "status.neet", "preschool.enrolled"):
        happened, noted = (frame.filter(pl.col("code") == code).select(key) for frame in (events, recorded))
        assert 0 < noted.height < happened.height, code
    # What is not an outcome, and the truth, are as they were.
    for code in ("emergency.ambulance", "function.limited", "care.visit.gp", "school.absence.unexcused"):
        happened, noted = (frame.filter(pl.col("code") == code)[key] for frame in (events, recorded))
        assert noted.height == pytest.approx(happened.height, rel=0.01), code  # which are known by the end is redrawn
    assert selective.persons.equals(truth.persons)
    # So the same need leaves fewer records in the group that meets barriers: that is the bias.
    share = {}
    for barred in (True, False):
        of_group = (pl.col("use_factor") < 1) == barred
        people = truth.persons.filter(of_group)["person_id"].implode()
        counts = [
            frame.filter((pl.col("code") == "hospital.avoidable") & pl.col("person_id").is_in(people)).height
            for frame in (events, recorded)
        ]
        share[barred] = counts[1] / counts[0]
    assert share[True] < share[False] - 0.03


def test_half_selective_labels_lose_half_as_many(tmp_path, ordinary):
    _, events = ordinary
    lost = []
    for share in (0.5, 1.0):
        _, recorded = invented(tmp_path / str(share), World(selective_labels=share))
        codes = [frame.filter(pl.col("code") == "status.neet").height for frame in (events, recorded)]
        lost.append(codes[0] - codes[1])
    assert lost[0] == pytest.approx(lost[1] / 2, abs=FOUR_SIGMA * np.sqrt(lost[1] / 4) + 0.01 * codes[0])


@pytest.mark.parametrize(("factor", "share"), [(0.0, 0.0), (2.0, 2 / 3)])
def test_late_knowledge_multiplies_share_and_delay(tmp_path, ordinary, factor, share):
    truth, events = ordinary
    city, changed = invented(tmp_path / "late", World(late_knowledge=factor))
    assert city.persons.equals(truth.persons)

    def visits(frame: pl.DataFrame) -> pl.DataFrame:
        long_ago = pl.col("event_date") < date(2026, 1, 1)  # so that what is not known yet is left out of both
        return frame.filter(pl.col("code").str.starts_with("care.visit.") & long_ago).with_columns(
            delay=(pl.col("knowledge_date") - pl.col("event_date")).dt.total_days()
        )

    before, after = visits(events), visits(changed)
    assert after.height == before.height
    assert after["delay"].is_not_null().mean() == pytest.approx(share, abs=0.01)
    assert before["delay"].is_not_null().mean() == pytest.approx(1 / 3, abs=0.01)
    if factor:
        assert after["delay"].mean() == pytest.approx(factor * before["delay"].mean(), rel=0.05)
        lost = changed.filter(pl.col("code") == "school.place_lost")["knowledge_date"]
        assert lost.null_count() == 0  # a share above all is all of them
    else:
        assert (
            changed["knowledge_date"].null_count() == changed.height == events.height + (changed.height - events.height)
        )


def test_drift_lets_the_same_need_bring_more_outcomes_later_and_show_less(tmp_path, ordinary):
    drift = 0.3
    drifted, events = invented(tmp_path / "drift", World(drift_per_year=drift))

    def in_year(frame: pl.DataFrame, code: str, year: int) -> int:
        after_july = pl.col("event_date").is_between(date(year, 7, 1), date(year + 1, 6, 30))
        return frame.filter((pl.col("code") == code) & after_july).height

    for code in ("emergency.ambulance", "function.limited"):
        growth = [in_year(frame, code, 2025) / in_year(frame, code, 2022) for frame in (ordinary[1], events)]
        error = np.sqrt(sum(1 / in_year(frame, code, year) for frame in (ordinary[1], events) for year in (2022, 2025)))
        assert np.log(growth[1] / growth[0]) == pytest.approx(3 * drift, abs=FOUR_SIGMA * error), code

    # A laboratory value spreads as far as it still follows the need, besides its own noise.
    world = World()
    noise = (5.0 * world.measurement_sd) ** 2
    spread = {}
    for year in (2022, 2025):
        after_july = pl.col("event_date").is_between(date(year, 7, 1), date(year + 1, 6, 30))
        for name, frame in (("ordinary", ordinary[1]), ("drift", events)):
            spread[name, year] = frame.filter((pl.col("code") == "lab.hba1c") & after_july)["value"].var() - noise
    shown = {year: np.sqrt(spread["drift", year] / spread["ordinary", year]) for year in (2022, 2025)}
    assert shown[2022] == pytest.approx(1 + 1.5 * drift, abs=0.06)
    assert shown[2025] == pytest.approx(1 - 1.5 * drift, abs=0.06)
    assert drifted.persons["health_probability"].mean() > ordinary[0].persons["health_probability"].mean()


def test_the_extract_ends_when_the_needs_expect_it():
    """Every learned need has a judged date within the log, and the preschool truth is of that very wave."""
    for name in LEARNT:
        need = bundled(name)
        last = need.cohort.as_of.last
        assert (EXTRACT_DATE - last).days >= need.label.horizon_days + need.label.reporting_delay_days
    assert bundled("preschool_reach").cohort.as_of.last.year == PRESCHOOL_YEAR
