"""A city of invented persons for whole experiments: absences foretell a need, some districts more than others.

Everybody has a hidden level; absences, needs and moves away depend on it, so that a model has something to find, and
so that those who leave are not like those who stay.
"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from conftest import write_city
from test_need import HEAD, TEXT

from features.city import open_city

START, DAYS = datetime(2023, 1, 1), 600
NEED = """
[cohort]
as_of = { first = 2023-03-01, last = 2024-06-01, every_days = 60 }
[label]
codes = ["status.need"]
horizon_days = 60
[[features]]
name = "absence"
codes = ["school.absence"]
windows = [30, 90, "ever"]
measures = ["count", "days_since_last"]
plain = TEXT
[[features]]
name = "visit"
codes = ["care.visit"]
windows = [90]
measures = ["count"]
plain = TEXT
[splits]
kind = "temporal"
tests = 2
judged = 1
[baseline]
rule = "visit.count.90d desc"
[model]
n_estimators = 30
num_leaves = 6
[capacity]
workers = 4
attempts_per_worker_per_period = 10
contact_success = 0.6
period_days = 7
""".replace("TEXT", TEXT)


def need_text(*changes):
    """The need, with some pieces of its text changed: (old, new), each there once."""
    text = HEAD + NEED
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def world(folder, n=900, seed=0, districts=True, leave_rate=0.0005):
    """An open city of ``n`` persons; without districts, or with more people who move away, if asked."""
    rng = np.random.default_rng(seed)
    ids = [f"P{i:05d}" for i in range(n)]
    level = rng.normal(size=n)
    home = np.where(rng.random(n) < 0.4, "North", np.where(rng.random(n) < 0.95, "South", "Isle"))
    level += np.where(home == "North", 0.7, -0.3)
    events = [
        *_events(rng, ids, 0.02 * np.exp(0.7 * level), "school.absence"),
        *_events(rng, ids, np.full(n, 0.01), "care.visit"),
        *_events(rng, ids, 0.0025 * np.exp(0.9 * level), "status.need"),
        *_events(rng, ids, leave_rate * np.exp(level), "moved_away"),
        *_events(rng, ids, np.full(n, 0.002), "school.place_lost"),
    ]
    history = [
        {"person_id": who, "attribute": "district", "value": where, "from_date": START.date()}
        for who, where in zip(ids, home.tolist(), strict=True)
    ]
    tables = {"history": history} if districts else {}
    extract = (START + timedelta(days=DAYS)).date()
    folder = write_city(
        folder, pl.DataFrame({"person_id": ids}), pl.DataFrame(events), toml=f"extract_date = {extract}", **tables
    )
    return open_city(folder)


def _events(rng, ids, rates, code):
    return [
        {"person_id": who, "event_date": START + timedelta(days=float(at)), "code": code}
        for who, rate in zip(ids, rates, strict=True)
        for at in np.sort(rng.random(rng.poisson(rate * DAYS)) * DAYS)
    ]
