"""An invented city whose needs, effects and unfairness are known, so that everything built on it can be checked.

The effects are in :mod:`features.synthetic_world`, the people in :mod:`features.synthetic_residents`, what happens to
them in :mod:`features.synthetic_events` and its neighbours, and how the city hears of it in
:mod:`features.synthetic_recorder`; this module writes the city folder and the truth behind it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ethics.refusals import BadInput, Fault
from features.synthetic_contacts import CONTACTS_FILE, contact_table
from features.synthetic_events import Lives, live
from features.synthetic_places import Places
from features.synthetic_recorder import Events
from features.synthetic_residents import DISTRICTS, LANGUAGES, YEAR_DAYS, History, Residents, settle
from features.synthetic_world import CODES, EXTRACT_DATE, EXTRACT_DAY, MONTHS, Ints, World

TRUTH_FILE = "truth.parquet"
BLOCK_PERSONS = 5_000
# The periods for which the truth is kept: the last whole ones that an early as-of date could be judged on.
HEALTH_YEAR_FROM = date(2025, 6, 1)
YOUTH_HALF_YEAR_FROM = date(2025, 12, 1)
PRESCHOOL_YEAR = 2025

UNITS = (
    ("unit-1", "Southern service area", ("west", "south", "centre")),
    ("unit-2", "Northern service area", ("north", "northeast")),
    ("unit-3", "Eastern service area", ("southeast", "east")),
)
AGE_BANDS = (
    (0, "0-15"),
    (16, "16-20"),
    (21, "21-24"),
    (25, "25-29"),
    (30, "30-44"),
    (45, "45-64"),
    (65, "65-79"),
    (80, "80+"),
)
HISTORY_SCHEMA = pa.schema(
    {
        "person_id": pa.string(),
        "attribute": pa.string(),
        "value": pa.string(),
        "from_date": pa.date32(),
        "knowledge_date": pa.date32(),
    }
)
EVENT_SCHEMA = pa.schema(
    {
        "person_id": pa.string(),
        "event_date": pa.date32(),
        "knowledge_date": pa.date32(),
        "code": pa.string(),
        "value": pa.float32(),
    }
)


@dataclass(frozen=True)
class Truth:
    """What is really so in an invented city: the effects, and the latent needs of every person.

    The city's door does not read the file it is kept in (`truth.parquet`), so it reaches no matrix.
    """

    folder: Path
    seed: int
    n_persons: int
    n_events: int
    n_known_late: int
    world: World

    @property
    def persons(self) -> pl.DataFrame:
        """One row per person.

        `person_id` · `language_group` · `use_factor` (share of care that the person's need would bring, 1 unless
        barred) · `watched` · `health_need` and `health_probability` (of an avoidable admission, by the true rates, in
        the 12 months from June 2025; null for who was not in the city throughout) · `youth_need` and
        `youth_probability` (of falling out of school and work in the 6 months from December 2025; null likewise, and
        outside ages 16 to 28) · `preschool_need` (how hard the family is to reach) and `preschool_probability` (of
        neither reply nor enrolment by the August of 2025; null but for the children offered a place that year).
        """
        return pl.read_parquet(self.folder / TRUTH_FILE)

    @classmethod
    def load(cls, folder: Path) -> Truth:
        """The truth of a city made earlier."""
        facts = json.loads(pq.read_schema(Path(folder) / TRUTH_FILE).metadata[b"ennakko"])
        facts["world"]["district_hardship"] = tuple(facts["world"]["district_hardship"])
        totals = pl.scan_parquet(Path(folder) / "events.parquet").select(
            pl.len(), (pl.col("knowledge_date") > pl.col("event_date")).sum().alias("late")
        )
        n_events, n_late = totals.collect().row(0)
        return cls(Path(folder), facts["seed"], facts["n_persons"], n_events, n_late, World(**facts["world"]))


def synthetic_city(
    folder: Path,
    n_persons: int,
    *,
    seed: int = 0,
    density: float = 1.0,
    world: World | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Truth:
    """Write the folder of an invented city, whole or not at all.

    Parameters
    ----------
    folder : path
        Must not exist; its parent must.
    n_persons : int
        1 000 persons are enough to look at, 50 000 to judge, 1 000 000 to time. Persons are made in blocks, so that
        memory does not grow with their number.
    seed : int
        The same seed and arguments give the same bytes.
    density : float
        Multiplies the events that say nothing about any need (library and sport visits).
    world : World or None
        The effects; another world is for tests, e.g. ``World(use_factor=1.0)`` plants no unfairness.
    progress : callable or None
        Told (persons made, persons in all) after each block.

    Raises
    ------
    BadInput
        The folder exists, its parent does not, or a number is out of range.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     truth = synthetic_city(Path(here) / "city", 200, seed=7)
    ...     truth.persons.height, truth.n_events > 10_000
    (200, True)
    """
    folder, world = Path(folder), world or World()
    _check(folder, n_persons, seed, density)
    part = folder.with_name(f".{folder.name}.part")  # one name, so that the rest of a killed run is cleared by the next
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        counts = _write_blocks(part, n_persons, seed, density, world, progress)
        _write_small_files(part)
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Truth(folder, seed, n_persons, *counts, world)


def _check(folder: Path, n_persons: int, seed: int, density: float) -> None:
    faults = []
    if folder.exists():
        faults.append(Fault(str(folder), "exists already", "Give a folder that does not exist, or remove it first"))
    elif not folder.parent.is_dir():
        faults.append(Fault(str(folder), "lies in a folder that does not exist", f"Make {folder.parent} first"))
    if not 1 <= n_persons <= 10_000_000:
        faults.append(Fault("n_persons", f"is {n_persons}", "Give a number from 1 to 10 000 000"))
    if seed < 0:
        faults.append(Fault("seed", f"is {seed}", "Give 0 or a positive whole number"))
    if not 0 <= density <= 1_000:
        faults.append(Fault("density", f"is {density}", "Give a number from 0 to 1000; 1 is ordinary"))
    if faults:
        raise BadInput(*faults)


def _write_blocks(
    part: Path,
    n_persons: int,
    seed: int,
    density: float,
    world: World,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int]:
    """Make the persons block by block and append each to the files; returns the events, and those known late."""
    n_events = n_late = 0
    width = max(6, len(str(n_persons)))
    facts = json.dumps({"seed": seed, "n_persons": n_persons, "world": asdict(world)}, sort_keys=True)
    places = Places(seed, n_persons)
    with ExitStack() as files:
        writers: dict[str, Any] = {}
        for block, first in enumerate(range(0, n_persons, BLOCK_PERSONS)):
            n = min(BLOCK_PERSONS, n_persons - first)
            rng = np.random.default_rng([seed, block])
            ids = [f"{number:0{width}d}" for number in range(first + 1, first + n + 1)]
            residents, history, moves = settle(rng, n, world)
            lives = live(rng, residents, moves, world, density)
            places.settle(block, ids, first, residents)
            n_events += lives.events.day.size
            n_late += int((lives.events.known > lives.events.day).sum())
            secret = places.children[-1].filter("secrecy_order")["person_id"].to_list()
            contacts = contact_table(seed, block, ids, first, residents, secret)
            for name, table in (*_tables(ids, first, residents, history, lives, facts), (CONTACTS_FILE, contacts)):
                if name not in writers:
                    writer = pq.ParquetWriter(part / name, table.schema, compression="zstd")
                    writers[name] = files.enter_context(writer)
                writers[name].write_table(table)
            if progress:
                progress(first + n, n_persons)
    places.write(part)
    return n_events, n_late


def _tables(
    ids: list[str], first: int, residents: Residents, history: History, lives: Lives, facts: str
) -> Iterator[tuple[str, pa.Table]]:
    """The rows of one block for each file of the city."""
    names = pa.array(ids)
    yield "persons.parquet", pa.table({"person_id": names, "birth_date": _dates(residents.birth_day)})
    yield "groups.parquet", pa.table({"person_id": names} | _groups(residents))
    yield "events.parquet", _event_table(names, lives.events)
    household = np.array([f"H{number:07d}" for number in range(first + 1, first + 1 + len(ids))])
    value = np.where(
        history.is_district,
        np.array(DISTRICTS)[np.where(history.is_district, history.value, 0)],
        household[np.where(history.is_district, 0, history.value)],
    )
    columns = [
        names.take(pa.array(history.person)),
        pa.array(np.where(history.is_district, "district", "household_id")),
        pa.array(value),
        _dates(history.from_day),
        _dates(history.known, unless=history.from_day),
    ]
    yield "history.parquet", pa.table(columns, schema=HISTORY_SCHEMA)
    truth = pa.table({"person_id": names} | _truth(residents, lives))
    yield TRUTH_FILE, truth.replace_schema_metadata({"ennakko": facts})


def _groups(residents: Residents) -> dict[str, Any]:
    age = (EXTRACT_DAY - residents.birth_day) / YEAR_DAYS
    starts, bands = zip(*AGE_BANDS, strict=True)
    return {
        "sex": np.where(residents.woman, "woman", "man"),
        "language_group": np.array(LANGUAGES)[residents.language],
        "age_band": np.array(bands)[np.searchsorted(starts, age, side="right") - 1],
        "district": np.array(DISTRICTS)[residents.district],
        "disability": np.where(residents.disability, "yes", "no"),
    }


def _event_table(names: pa.Array, events: Events) -> pa.Table:
    codes = pa.array([row.code for row in CODES])
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(events.person.astype(np.int32)), names).cast(pa.string()),
        _dates(events.day),
        _dates(events.known, unless=events.day),
        pa.DictionaryArray.from_arrays(pa.array(events.code.astype(np.int16)), codes).cast(pa.string()),
        pa.array(events.value, mask=np.isnan(events.value)),
    ]
    return pa.table(columns, schema=EVENT_SCHEMA)


def _dates(days: Ints, unless: Ints | None = None) -> pa.Array:
    """Epoch days as dates; null where the day is that of `unless` (a knowledge date left out means the same day)."""
    mask = None if unless is None else days == unless
    return pa.array(days.astype(np.int32), mask=mask).cast(pa.date32())


def _truth(residents: Residents, lives: Lives) -> dict[str, Any]:
    present = residents.present
    year = _months_from(HEALTH_YEAR_FROM, 12)
    half = _months_from(YOUTH_HALF_YEAR_FROM, 6)
    stays = ~present[:, year].all(axis=1)
    young = (residents.age[:, half[0]] >= 16) & (residents.age[:, half[0]] < 29) & present[:, half].all(axis=1)
    turns_six = residents.birth_day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1976
    elsewhere = (turns_six != PRESCHOOL_YEAR) | np.isnan(lives.preschool_need)
    return {
        "language_group": pa.array(np.array(LANGUAGES)[residents.language]),
        "use_factor": pa.array(residents.use_factor),
        "watched": pa.array(residents.watched),
        "health_need": pa.array(lives.health_need[:, year].mean(axis=1), mask=stays),
        "health_probability": pa.array(1 - np.exp(-lives.admission_rate[:, year].sum(axis=1)), mask=stays),
        "youth_need": pa.array(np.where(young, lives.youth_need[:, half].mean(axis=1), 0), mask=~young),
        "youth_probability": pa.array(1 - np.prod(1 - lives.neet_entry[:, half], axis=1), mask=~young),
        "preschool_need": pa.array(lives.preschool_need, mask=elsewhere),
        "preschool_probability": pa.array(lives.preschool_chance, mask=elsewhere),
    }


def _months_from(day: date, n_months: int) -> Ints:
    first = next(i for i, month in enumerate(MONTHS) if month >= day)
    return np.arange(first, first + n_months)


def _write_small_files(part: Path) -> None:
    (part / "city.toml").write_text(
        "# An invented city: nobody in it exists.\n"
        "invented = true\n"
        f"extract_date = {EXTRACT_DATE.isoformat()}\n"
        'timezone = "Europe/Helsinki"\n\n[persons]\nfixed = []\n',
        encoding="utf-8",
    )
    plain = pl.DataFrame([row._asdict() for row in CODES]).select("code", "fi", "sv", "en", "source")
    plain.write_csv(part / "codes.csv")
    units = pa.table(
        {
            "unit_id": [unit for unit, _, _ in UNITS],
            "name": [name for _, name, _ in UNITS],
            "districts": pa.array([list(districts) for _, _, districts in UNITS], pa.list_(pa.string())),
        }
    )
    pq.write_table(units, part / "units.parquet")
