"""A small city whose every event is known to the test, and a compute function that tells what it was asked for."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from conftest import write_city

from features.cache import FeatureCache
from features.city import open_city
from features.columns import compute_columns
from features.keyed_rows import keyed_rows
from features.spec import FeatureSpec

SECRET = b"a secret for tests only, 32 bytes"
DATES = (date(2024, 2, 1), date(2024, 3, 1), date(2024, 4, 1))
ABSENCE = FeatureSpec(name="absence", codes=["school.*"], windows=[30, "ever"], measures=["count", "sum"])
VISITS = FeatureSpec(name="visits", codes=["care.visit"], windows=[30, 90], measures=["count", "mean"])
AGE = FeatureSpec(attribute="age")
DISTRICT = FeatureSpec(attribute="district", categories=["north", "south"], measures=["n_changes"])
FEATURES = (ABSENCE, VISITS, AGE, DISTRICT)
TOML = 'extract_date = 2024-12-31\n[persons]\nfixed = ["language"]\n'


def persons(n=60):
    """Person p007 was born on 8 January 1990."""
    return [
        {"person_id": f"p{i:03d}", "birth_date": date(1990, 1, 1) + timedelta(days=i), "language": "fi"}
        for i in range(n)
    ]


def event(person, day, code, value=None, *, known=None):
    happened = datetime(day.year, day.month, day.day)
    told = happened if known is None else datetime(known.year, known.month, known.day)
    return {"person_id": f"p{person:03d}", "event_date": happened, "knowledge_date": told, "code": code, "value": value}


def events(n=60, seed=7):
    """About fifteen events a person from October 2023 to March 2024; a fifth of them known later than they happened."""
    rng = np.random.default_rng(seed)
    found = []
    for person in range(n):
        for _ in range(15):
            day = date(2023, 10, 1) + timedelta(days=int(rng.integers(0, 180)))
            known = day + timedelta(days=int(rng.integers(1, 40))) if rng.random() < 0.2 else None
            code = ["school.ill", "school.none", "care.visit", "other"][rng.integers(4)]
            value = None if rng.random() < 0.3 else float(rng.integers(-3, 9)) / 4
            found.append(event(person, day, code, value, known=known))
    return found


def history(n=60):
    """Everybody in the north since 2020; every third moved south on 10 February 2024, known ten days later."""
    entry = {"attribute": "district"}
    old, moved, told = date(2020, 1, 1), date(2024, 2, 10), date(2024, 2, 20)
    return [
        {"person_id": f"p{i:03d}", **entry, "value": "north", "from_date": old, "knowledge_date": old} for i in range(n)
    ] + [
        {"person_id": f"p{i:03d}", **entry, "value": "south", "from_date": moved, "knowledge_date": told}
        for i in range(0, n, 3)
    ]


def city_of(folder, found=None, *, who=None, held=None):
    types = {"person_id": pl.String, "event_date": pl.Datetime, "knowledge_date": pl.Datetime, "code": pl.String}
    frame = pl.DataFrame(events() if found is None else found, schema={**types, "value": pl.Float64})
    people = persons() if who is None else who
    return open_city(write_city(folder, people, frame, toml=TOML, history=history() if held is None else held))


def keys_of(city, dates=DATES):
    ids = pl.DataFrame({"person_id": city.events.person_ids})
    return ids.join(pl.DataFrame({"as_of_date": list(dates)}), how="cross")


class Counting:
    """Computes like a build without a cache, and remembers what it was asked."""

    def __init__(self, city):
        self.city, self.calls = city, []

    def __call__(self, features, rows):
        names = [name for feature in features for name in feature.columns()]
        self.calls.append((names, rows.keys))
        return compute_columns(self.city, features, rows)

    @property
    def columns(self):
        return {name for names, _ in self.calls for name in names}

    @property
    def dates(self):
        return {day for _, keys in self.calls for day in keys["as_of_date"]}

    @property
    def n_cells(self):
        return sum(len(names) * keys.height for names, keys in self.calls)


def cache_in(folder, **options):
    return FeatureCache(folder, secret=SECRET, **{"block_persons": 16, **options})


def cached(cache, city, features=FEATURES, dates=DATES, keys=None):
    """The columns through the cache, equal to the byte to those without it, and what was computed for them."""
    rows = keyed_rows(city, keys_of(city, dates) if keys is None else keys, in_order=True)
    counting = Counting(city)
    found = cache.columns(city, features, rows, counting)
    assert found.tobytes() == compute_columns(city, features, rows).tobytes()
    return counting
