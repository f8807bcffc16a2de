"""Small cities in memory, whose few events a test or Hypothesis chooses; what they are asked for is counted by hand.

An event is (person, time, known, code, value), as in naive.py.
"""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import write_city
from hypothesis import strategies as st

from features.city import City, DataError, city_from_frames, open_city

START, EXTRACT = datetime(2024, 1, 1), date(2024, 12, 31)
PEOPLE = {"anna": date(2006, 3, 1), "bo": date(2000, 2, 29), "cai": None}
CODES = ("a", "b.1", "b.2", "c")
clocks = st.sampled_from([timedelta(0), timedelta(hours=9, minutes=30), timedelta(days=1) - timedelta(microseconds=1)])
moments = st.tuples(st.integers(0, 60), clocks).map(lambda at: START + timedelta(days=at[0]) + at[1])
values = st.none() | st.integers(-40, 40).map(lambda quarters: quarters / 4)
logs = st.lists(
    st.tuples(st.sampled_from([*PEOPLE]), moments, st.integers(0, 12), st.sampled_from(CODES), values), max_size=40
).map(lambda found: [(who, at, at + timedelta(days=lag), code, value) for who, at, lag, code, value in found])
days = st.integers(0, 75).map(lambda day: START.date() + timedelta(days=day))
EVENT_TYPES = {
    "person_id": pl.String,
    "event_date": pl.Datetime("us"),
    "knowledge_date": pl.Datetime("us"),
    "code": pl.String,
    "value": pl.Float64,
}


def blank_city(folder) -> City:
    """A city whose only use is to be the like of others made in memory."""
    events = [{"person_id": "anna", "event_date": START, "code": "a"}]
    return open_city(write_city(folder, people(), events, toml=f"extract_date = {EXTRACT}"))


def people():
    return pl.DataFrame(
        {"person_id": [*PEOPLE], "birth_date": [*PEOPLE.values()]}, schema_overrides={"birth_date": pl.Date}
    )


def city_of(found, blank, extract_date=EXTRACT) -> City:
    return city_from_frames(people(), as_frame(found), like=blank, extract_date=extract_date)


def as_frame(found):
    return pl.DataFrame(found, schema=EVENT_TYPES, orient="row")


def keys_of(*pairs):
    return pl.DataFrame(pairs, schema={"person_id": pl.String, "as_of_date": pl.Date}, orient="row")


def everyone_on(*on):
    return keys_of(*((who, day) for who in PEOPLE for day in on))


class Register:
    """An objection register with a fixed answer, written down by hand."""

    def __init__(self, *who):
        self.who = who

    def objecting(self, person_ids, need_id):
        return np.array([person in self.who for person in person_ids], dtype=bool)


NOBODY = Register()


def refusal(make, kind=DataError):
    with pytest.raises(kind) as caught:
        make()
    return str(caught.value)
