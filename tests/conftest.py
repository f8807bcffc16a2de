"""Fixtures that several rooms share: a tiny city folder, a register in which nobody objects, the shared data."""

import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings
from sqlalchemy import create_engine

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "tests"))  # tests import naive.py and this file by name

# Two shared cores: an example that compiles a kernel may take long, and no time limit decides a test.
settings.register_profile("house", deadline=None, max_examples=60, derandomize=True, print_blob=True)
settings.load_profile("house")


def write_city(folder, persons, events, *, toml="", cohorts=None, csv=(), **tables):
    """Write a city folder and return its path.

    ``persons``, ``events`` and further tables (``history``, ``units``, ``groups``, ``codes`` …) are polars frames or
    lists of dicts; ``cohorts`` maps names to tables; tables named in ``csv`` are written as CSV, ``codes`` always is.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if toml:
        (folder / "city.toml").write_text(toml, encoding="utf-8")
    named = {"persons": persons, "events": events, **tables}
    named |= {f"cohorts/{name}": table for name, table in (cohorts or {}).items()}
    for name, table in named.items():
        frame = table if isinstance(table, pl.DataFrame) else pl.DataFrame(table, infer_schema_length=None)
        (folder / name).parent.mkdir(exist_ok=True)
        if name in {*csv, "codes"}:
            frame.write_csv(folder / f"{name}.csv")
        else:
            frame.write_parquet(folder / f"{name}.parquet")
    return folder


def rows(*names_then_rows: tuple) -> list[Mapping]:
    """Rows as dicts: the first tuple names the columns."""
    names, *found = names_then_rows
    return [dict(zip(names, row, strict=True)) for row in found]


@pytest.fixture
def nobody_objects():
    from ethics.objections import ObjectionRegister

    return ObjectionRegister(create_engine("sqlite://"), b"a key for tests only")


@pytest.fixture(scope="session")
def oulad_folder():
    folder = DATA / "oulad"
    if not folder.is_dir():
        pytest.skip("the shared data (../shared/data/oulad) is not here")
    return folder


@pytest.fixture(scope="session")
def approved_needs_folder(tmp_path_factory):
    """A folder with a city, a home in which four needs are approved, and their files; tests copy the home."""
    import shutil

    from week_world import NEEDS, week_world

    folder = tmp_path_factory.mktemp("week")
    week_world(folder, tuple(NEEDS))
    shutil.copytree(folder / "home", folder / "without")
    return folder


@pytest.fixture(scope="session")
def listed_week(approved_needs_folder):
    """The folder, a home whose week was made, and what was said of it; tests leave both as they are."""
    import shutil

    from sealed_world import AS_OF

    from serving.home import Home
    from serving.settings import Settings
    from serving.weekly import run_week

    folder = approved_needs_folder
    shutil.copytree(folder / "home", folder / "listed")
    home = Home(Settings(home=folder / "listed"))
    return folder, home, run_week(home, folder / "city", AS_OF)


@pytest.fixture
def tiny_city(tmp_path):
    """Four persons whose figures can be counted by hand; extract date 2024-12-31."""
    from datetime import date, datetime

    persons = rows(
        ("person_id", "birth_date", "language"),
        ("anna", date(2006, 3, 1), "fi"),
        ("bo", date(2000, 2, 29), "sv"),
        ("cai", date(1990, 6, 15), "en"),
        ("dora", None, "fi"),
    )
    events = rows(
        ("person_id", "event_date", "knowledge_date", "code", "value"),
        ("anna", datetime(2024, 1, 5), datetime(2024, 1, 5), "school.absence.ill", 2.0),
        ("anna", datetime(2024, 1, 20, 9, 30), datetime(2024, 1, 20, 12), "school.absence.none", None),
        ("anna", datetime(2024, 1, 25), datetime(2024, 2, 3), "school.absence.none", 4.0),  # known late
        ("anna", datetime(2024, 3, 1), datetime(2024, 3, 1), "status.neet", None),
        ("bo", datetime(2024, 1, 31), datetime(2024, 1, 31), "school.absence.ill", 1.5),
        ("bo", datetime(2024, 2, 1), datetime(2024, 2, 1), "school.absence.ill", 8.0),
        ("bo", datetime(2024, 2, 10), datetime(2024, 2, 10), "moved_away", None),
        ("bo", datetime(2024, 4, 1), datetime(2024, 4, 1), "status.neet", None),
        ("cai", datetime(2023, 2, 1), datetime(2023, 2, 1), "school.absence.ill", 3.0),
    )
    history = rows(
        ("person_id", "attribute", "value", "from_date", "knowledge_date"),
        ("anna", "district", "Kallio", date(2020, 1, 1), date(2020, 1, 1)),
        ("anna", "district", "Vuosaari", date(2024, 1, 15), date(2024, 2, 5)),  # moved before the city knew
        ("bo", "district", "Vuosaari", date(2019, 1, 1), date(2019, 1, 1)),
        ("cai", "district", "Kallio", date(2019, 1, 1), date(2019, 1, 1)),
    )
    cohorts = {"all": rows(("person_id", "as_of_date"), *((p, date(2024, 2, 1)) for p in ("cai", "bo", "anna")))}
    toml = 'extract_date = 2024-12-31\n[persons]\nfixed = ["language"]\n'
    return write_city(tmp_path / "tiny", persons, events, history=history, cohorts=cohorts, toml=toml)
