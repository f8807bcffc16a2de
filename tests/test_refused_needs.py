"""Needs that a city cannot answer, through the command: one clear refusal each, exit 2."""

from datetime import date, timedelta

import polars as pl
import pytest
from conftest import rows, write_city
from test_refused_input import NEED, run

DATES = (date(2022, 6, 1), date(2023, 6, 1))


def city_of(folder, n_persons, *, n_in_need):
    """So many persons with absences at two dates, of whom so many come to be in need after each."""
    ids = [f"resident-{i:04d}" for i in range(n_persons)]
    found = [(who, day - timedelta(days=1 + i % 80), "school.absence") for i, who in enumerate(ids) for day in DATES]
    found += [(who, day + timedelta(days=30), "status.neet") for who in ids[:n_in_need] for day in DATES]
    cohort = pl.DataFrame(
        [(who, day) for day in DATES for who in ids], schema=["person_id", "as_of_date"], orient="row"
    )
    persons = pl.DataFrame({"person_id": ids, "birth_date": [date(2004, 1, 1)] * n_persons})
    groups = pl.DataFrame({"person_id": ids, "sex": ["f"] * n_persons})
    events = rows(("person_id", "event_date", "code"), *found)
    toml = "extract_date = 2024-06-01\n"
    return write_city(folder, persons, events, cohorts={"all": cohort}, groups=groups, toml=toml)


AFTER = NEED.replace('table = "all"', 'age = [10, 30]\nas_of = { on = "school.absence", after_days = 0 }')
CASES = {
    "label inside the feature window": (
        NEED.replace("horizon_days = 180", "horizon_days = 180\nstarts_after_days = -30"),
        {},
        "label.starts_after_days",
        "is -30: the label would begin inside the feature window, where the model could read it",
    ),
    "nothing is left of the horizon": (
        NEED.replace("horizon_days = 180", "horizon_days = 180\nstarts_after_days = 180"),
        {},
        "label.starts_after_days",
        "is 180: no day of the horizon (180 days) is left",
    ),
    "horizon beyond the data": (
        NEED.replace("horizon_days = 180", "horizon_days = 3650"),
        {},
        "label.horizon_days",
        "looks 3650 days ahead (reporting delay included), so even the earliest as-of date, 2022-06-01, needs data up "
        "to 2032-05-29, and the extract ends on 2024-06-01",
    ),
    "nothing mature for want of the reporting delay": (
        NEED.replace("horizon_days = 180", "horizon_days = 720\nreporting_delay_days = 30"),
        {},
        "label.horizon_days",
        "looks 750 days ahead (reporting delay included), so even the earliest as-of date, 2022-06-01, needs data up "
        "to 2024-06-20, and the extract ends on 2024-06-01",
    ),
    "nobody ever in need": (
        NEED,
        {"n_in_need": 0},
        "label",
        "never occurs: status.neet in none of 400 rows whose label is known",
    ),
    "everybody always in need": (
        NEED,
        {"n_in_need": 200},
        "label",
        "200 of the 200 judged rows (2023-06-01) with a known outcome are in need: one class only",
    ),
    "a cohort of three": (
        NEED,
        {"n_persons": 3, "n_in_need": 1},
        "label",
        "1 of the 3 training rows with a known outcome are in need",
    ),
    "an event that nobody has": (
        AFTER.replace('on = "school.absence"', 'on = "school.place_lost"'),
        {},
        "cohort.as_of.on",
        "nobody is looked at 1 day after the city came to know of school.place_lost, by the extract date (2024-06-01)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_city_cannot_answer_is_refused_in_words(name, tmp_path):
    text, shape, where, wrong = CASES[name]
    city = city_of(tmp_path / "city", **{"n_persons": 200, "n_in_need": 60, **shape})
    need, home = tmp_path / "youth.toml", tmp_path / "home"
    need.write_text(text)
    code, said, err = run("train", "--city", city, "--need", need, "--home", home)
    assert (code, len(said["errors"])) == (2, 1), said
    (error,) = said["errors"]
    assert error["where"].endswith(where) and error["wrong"] == wrong and error["mend"]
    assert "Traceback" not in err and "resident-" not in err + str(said)
