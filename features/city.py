"""What the city knows: persons, what changes, and events, read from a folder through the checked door.

A city holds no audit groups and no contact data, and everything in it is in one fixed order, so that the order, format
and partition of files can change nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault, did_you_mean, read_toml
from features.arrays import read_only
from features.city_file import without_password
from features.door import Checked, CityFile, DataError, Door, EventsSection, PersonsSection, Source, add_reason
from features.event_log import EventLog, matches, read_events
from features.meds import check_by_subject, is_meds, meds_codes, meds_events, subjects

__all__ = ["City", "DataError", "EventLog", "city_from_frames", "hash_table", "matches", "open_city"]


@dataclass(frozen=True, eq=False)
class City:
    """What the city knew, up to its extract date; holds no audit groups and no contact data.

    ``persons`` (person_id, birth_date?, fixed columns as text) stands in the order of ``events.person_ids``.
    ``history`` is (person_id, attribute, value, from_date, knowledge_date), local moments. ``rejects`` is (file, row,
    column, reason), where row 1 is the first row of data. ``n_event_rows`` counts event rows before rejecting;
    ``purposes`` holds, per source register that the city declares them for, the services or needs it may serve;
    ``attempt_cost`` what an attempt to reach a person costs a service, in euros, where the city says so;
    ``invented`` says that nobody in it exists; ``whole`` is the city that a part was taken from.
    """

    name: str
    folder: Path | None
    extract_date: date
    timezone: str
    persons: pl.DataFrame
    history: pl.DataFrame | None
    units: pl.DataFrame | None
    codes: pl.DataFrame | None
    events: EventLog
    rejects: pl.DataFrame
    n_event_rows: int
    cohorts: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    ahead: tuple[str, ...] = ()
    relations: Mapping[str, str] = field(default_factory=dict)
    purposes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attempt_cost: Mapping[str, float] = field(default_factory=dict)
    invented: bool = False
    whole: City | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Name and sizes, and nothing of a person: a notebook shows what its last line gives."""
        n_events = f"{len(self.events.time):,} events of {len(self.events.codes):,} codes"
        return f"<City '{self.name}': {self.persons.height:,} persons, {n_events}, up to {self.extract_date}>"

    @property
    def fixed(self) -> tuple[str, ...]:
        """Columns of persons that never change for a person and may be used in rules."""
        return tuple(name for name in self.persons.columns if name not in {"person_id", "birth_date"})

    @property
    def groups_path(self) -> Path | None:
        """Where the audit groups lie, for the ethics room to open; nothing here ever does."""
        candidates = [self.folder / f"groups.{ending}" for ending in ("parquet", "csv")] if self.folder else []
        return next((path for path in candidates if path.exists()), None)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: the same for the same rows in any order, file format or partition."""
        facts = {
            "extract_date": self.extract_date.isoformat(),
            "timezone": self.timezone,
            "ahead": sorted(self.ahead),
            "relations": dict(self.relations),
        }
        whole = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        tables = {"persons": self.persons, "history": self.history, "units": self.units, "codes": self.codes}
        for name, table in {**tables, **{f"cohorts/{k}": v for k, v in sorted(self.cohorts.items())}}.items():
            if table is not None:
                whole.update(name.encode())
                hash_table(whole, table)
        log = self.events
        whole.update(json.dumps(log.codes).encode())
        for array in (log.offsets, log.time, log.known, log.code, log.value):
            if array is not None:
                whole.update(array.dtype.str.encode())
                whole.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data)
        return whole.hexdigest()

    def cohort_table(self, name: str) -> pl.DataFrame:
        """A ready-made cohort: person_id, as_of_date, sorted by date and person."""
        if name not in self.cohorts:
            wrong = f"there is no cohort table '{name}' in the city '{self.name}'"
            raise DataError(Fault("cohort.table", wrong, did_you_mean(name, self.cohorts)))
        return self.cohorts[name]

    def only(self, person_ids: Sequence[str]) -> City:
        """The same city as if only these persons lived in it; DataError when one of them does not.

        Codes keep their numbers, so that what is computed for one person is what is computed for all.
        """
        wanted = pl.Series("person_id", person_ids, dtype=pl.String).drop_nulls().unique().sort()
        everyone = self.events.person_ids
        at = everyone.search_sorted(wanted, side="left").to_numpy().astype(np.int64)  # ids are unique and sorted
        at_or_last = np.minimum(at, len(everyone) - 1)
        is_here = (at < len(everyone)) & (everyone.gather(at_or_last) == wanted).to_numpy()
        if not is_here.all():
            n = int((~is_here).sum())
            wrong = f"{n} of {len(wanted)} persons asked for are not in the city '{self.name}'"
            raise DataError(Fault("person_id", wrong, "Ask for persons of its persons table"))
        return replace(
            self,
            whole=self.whole or self,
            persons=self.persons[at],
            history=None if self.history is None else _of(self.history, wanted, grouped=self._history_is_grouped),
            cohorts={name: _of(table, wanted) for name, table in self.cohorts.items()},
            events=_events_of(self.events, at),
        )

    @cached_property
    def _history_is_grouped(self) -> bool:
        """Whether each person's history stands together, as the door sorts it; looked at once."""
        return self.history is not None and self.history["person_id"].is_sorted()


def open_city(
    path: str | Path, *, max_reject_share: float = 0.01, progress: Callable[[str], None] | None = None
) -> City:
    """Open a city through the checked door.

    Parameters
    ----------
    path : folder as contracts.md §1 lays it out, MEDS folder, or SQLAlchemy URL of a database
        A folder whose city.toml has ``[sql]`` stands for the database named there.
    max_reject_share : float in [0, 1]
        A table with a greater share of bad rows is refused.
    progress : callable, optional
        Told one line per step, with counts in and out.

    Raises
    ------
    DataError
        Unreadable or missing files and tables, missing columns and wrong types, all at once; then too many rejects,
        persons or cohort rows that come twice. A database that cannot be reached.
    """
    folder = Path(path)
    if not folder.is_dir():
        return _open_database(str(path), max_reject_share, progress)
    toml = folder / "city.toml"
    door = Door(read_toml(toml, CityFile, DataError) if toml.exists() else CityFile(), max_reject_share, progress)
    tables = _database_tables(door, folder) if door.settings.sql else _folder_tables(door, folder)
    return _enter(door, folder.resolve().name, folder, *tables)


_Tables = tuple[dict[str, list[Checked]], dict[str, Checked]]


def _folder_tables(door: Door, folder: Path) -> _Tables:
    """The tables and the cohorts of a folder, MEDS or our own."""
    meds = is_meds(folder)
    check = partial(check_by_subject, door) if meds else door.check
    names = ("persons", "history", "units", "codes") if meds else ("persons", "events", "history", "units", "codes")
    sources = {table: door.find(folder, table, may_be_missing=meds) for table in names}
    cohorts = _cohorts(door, [(Path(source.label).stem, source) for source in _cohort_files(door, folder)], check)
    checked = {name: [check(source, name) for source in found] for name, found in sources.items()}
    if meds:
        checked["events"] = meds_events(door, folder)
        checked["codes"] = checked["codes"] or meds_codes(door, folder)
    door.refuse_faults()
    if meds and not checked["persons"]:
        checked["persons"] = [subjects(door, checked["events"])]
        door.refuse_faults()
    return checked, cohorts


def _database_tables(door: Door, folder: Path) -> _Tables:
    """The tables of the database that a folder's city.toml names, and the cohorts of both."""
    from features.sql import cohort_name, parse_url, read_tables, reading

    assert door.settings.sql is not None
    for table in ("persons", "events", "history", "units", "codes"):
        for source in door.find(folder, table, may_be_missing=True):
            door.fault(source.label, "stands beside [sql] in city.toml", "Keep one of them")
    with reading(parse_url(door.settings.sql.url, folder), door.settings.sql.table_schema) as database:
        sources = read_tables(door, database)
    found = [(cohort_name(source), source) for source in sources.pop("cohorts")]
    found += [(Path(source.label).stem, source) for source in _cohort_files(door, folder)]
    cohorts = _cohorts(door, found, door.check)
    checked = {name: [door.check(source, name) for source in frames] for name, frames in sources.items()}
    door.refuse_faults()
    return checked, cohorts


def _open_database(url: str, max_reject_share: float, progress: Callable[[str], None] | None) -> City:
    """A city that has no folder, only a database."""
    from features.sql import cohort_name, is_url, parse_url, read_settings, read_tables, reading

    if not is_url(url):
        mend = "Give the path of a city folder, or a database URL"
        raise DataError(Fault(without_password(url), "is not a folder", mend))
    parsed = parse_url(url)
    with reading(parsed) as database:
        door = Door(read_settings(database), max_reject_share, progress)
        sources = read_tables(door, database)
    cohorts = _cohorts(door, [(cohort_name(source), source) for source in sources.pop("cohorts")], door.check)
    checked = {name: [door.check(source, name) for source in frames] for name, frames in sources.items()}
    door.refuse_faults()
    return _enter(door, Path(parsed.database or "city").stem, None, checked, cohorts)


def _cohort_files(door: Door, folder: Path) -> list[Source]:
    return door.files_in(folder / "cohorts", folder)


def _cohorts(
    door: Door, found: Sequence[tuple[str, Source]], check: Callable[[Source, str], Checked]
) -> dict[str, Checked]:
    cohorts: dict[str, Checked] = {}
    for name, source in found:
        if name in cohorts:
            door.fault(source.label, f"stands beside {Path(cohorts[name].label).name}", "Keep one of them")
        cohorts[name] = check(source, "cohorts")
    return cohorts


def city_from_frames(
    persons: pl.DataFrame, events: pl.DataFrame, *, like: City, extract_date: date | None = None
) -> City:
    """A small city from tables in memory, through the same door: how an online request is read.

    It takes timezone, extract date, codes allowed ahead, units and code names from ``like``, and no history: what
    depends on attributes that change cannot be served from an event body. A single bad row refuses.
    """
    settings = CityFile(
        extract_date=extract_date or like.extract_date,
        timezone=like.timezone,
        invented=like.invented,
        persons=PersonsSection(fixed=tuple(name for name in like.fixed if name in persons.columns)),
        events=EventsSection(ahead=like.ahead),
    )
    door = Door(settings, 0.0, None)
    frames = {"persons": persons, "events": events}
    checked = {name: [door.check(Source(name, frame.lazy()), name)] for name, frame in frames.items()}
    door.refuse_faults()
    city = _enter(door, like.name, None, checked, {}, may_be_empty=True)
    return replace(city, units=like.units, codes=like.codes)


def _enter(
    door: Door,
    name: str,
    folder: Path | None,
    checked: Mapping[str, list[Checked]],
    cohort_files: Mapping[str, Checked],
    *,
    may_be_empty: bool = False,
) -> City:
    """Read every table, put bad rows aside, and group the events by person."""
    persons = _persons(door, checked["persons"])
    ids = persons["person_id"]
    log, extract_date, n_event_rows = read_events(door, checked["events"], ids, may_be_empty=may_be_empty)
    history = _history(door, checked.get("history", []), ids, extract_date, persons.columns)
    units = door.table("units", checked.get("units", []))
    codes = door.table("codes", checked.get("codes", []))
    cohorts = {cohort: _cohort(door, cohort, file, ids) for cohort, file in cohort_files.items()}
    _judge_relations(door, persons, history)
    door.refuse_faults()
    return City(
        name=name,
        folder=folder,
        extract_date=extract_date,
        timezone=door.settings.timezone,
        persons=persons,
        history=history,
        units=units,
        codes=codes,
        events=log,
        rejects=door.all_rejects(),
        n_event_rows=n_event_rows,
        cohorts={cohort: table for cohort, table in cohorts.items() if table is not None},
        ahead=door.settings.events.ahead,
        relations=door.settings.relations.model_dump(exclude_none=True),
        purposes=door.settings.purposes,
        attempt_cost=door.settings.attempt_cost,
        invented=door.settings.invented,
    )


def _persons(door: Door, files: Sequence[Checked]) -> pl.DataFrame:
    persons = door.table("persons", files)
    door.refuse_faults()
    assert persons is not None  # a missing table is a fault
    label, fixed = files[0].label, door.settings.persons.fixed
    if persons.is_empty():
        raise DataError(Fault(label, "holds no persons", "Export it again"))
    n_repeated = persons.height - persons["person_id"].n_unique()
    if n_repeated:
        wrong = f"{n_repeated:,} of {persons.height:,} rows repeat a person_id"
        raise DataError(Fault(label, wrong, "Give each person one row; what changes belongs in history"))
    return persons.select("person_id", *(["birth_date"] if "birth_date" in persons.columns else []), *fixed)


def _cohort(door: Door, name: str, file: Checked, ids: pl.Series) -> pl.DataFrame | None:
    file, judge = add_reason(file, "person not in persons", "person_id", ~pl.col("person_id").is_in(ids.implode()))
    cohort = door.table(f"cohorts/{name}", [file], judge)
    if cohort is not None and (n_repeated := cohort.height - cohort.n_unique()):
        wrong = f"{n_repeated:,} of {cohort.height:,} rows repeat a person and as-of date"
        door.fault(file.label, wrong, "Give each person one row per as-of date")
    return None if cohort is None else cohort.sort("as_of_date", "person_id")


def _history(
    door: Door, files: Sequence[Checked], ids: pl.Series, extract_date: date, person_columns: Sequence[str]
) -> pl.DataFrame | None:
    if not files:
        return None
    told = "knowledge_date" if "knowledge_date" in files[0].columns else "from_date"
    known = pl.coalesce(told, "from_date")
    elsewhere = ~pl.col("person_id").is_in(ids.implode())
    file, unknown = add_reason(files[0], "person not in persons", "person_id", elsewhere)
    file = file._replace(rows=file.rows.with_columns(unknown))
    file, late = add_reason(file, "known after the extract date", told, known.dt.date() > extract_date)
    history = door.table("history", [file], late)
    if history is None:
        return None
    if clash := sorted(set(history["attribute"].unique()) & set(person_columns)):
        wrong = f"'{clash[0]}' stands in persons as never changing, and in history"
        door.fault("history", wrong, "Take it out of [persons] fixed in city.toml, or out of history")
    return history.with_columns(known.alias("knowledge_date"))


def _judge_relations(door: Door, persons: pl.DataFrame, history: pl.DataFrame | None) -> None:
    """A relation that names an attribute nobody has would silently relate nobody."""
    changing = set() if history is None else set(history["attribute"].unique())
    attributes = changing | set(persons.columns) - {"person_id", "birth_date"}
    for relation, attribute in door.settings.relations.model_dump(exclude_none=True).items():
        if attribute not in attributes:
            wrong = f"the city has no attribute '{attribute}', neither in history nor fixed in persons"
            mend = did_you_mean(attribute, attributes) if attributes else "Add it to history, or leave the relation out"
            door.fault(f"city.toml: relations.{relation}", wrong, mend)


def _of(table: pl.DataFrame, persons: pl.Series, *, grouped: bool = False) -> pl.DataFrame:
    """The rows of some persons; of a table sorted by person those of one are found without reading the others."""
    if len(persons) != 1:
        return table.filter(pl.col("person_id").is_in(persons.implode()))
    if not grouped:
        return table.filter(pl.col("person_id") == persons[0])
    start, stop = (int(table["person_id"].search_sorted(persons[0], side=side)) for side in ("left", "right"))
    return table[start:stop]


def _events_of(log: EventLog, at: NDArray[np.int64]) -> EventLog:
    """The events of the persons at some ascending places of the log, copied without reading anybody else's."""
    starts, lengths = log.offsets[at], log.offsets[at + 1] - log.offsets[at]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    # The place in the log of each event kept: its own number, moved from where its person stands now.
    rows = np.arange(offsets[-1], dtype=np.int64) + np.repeat(starts - offsets[:-1], lengths)
    return EventLog(
        person_ids=log.person_ids[at],
        offsets=read_only(offsets),
        time=read_only(log.time[rows]),
        known=None if log.known is None else read_only(log.known[rows]),
        code=read_only(log.code[rows]),
        value=read_only(log.value[rows]),
        codes=log.codes,
    )


def hash_table(whole: Any, table: pl.DataFrame) -> None:
    """Feed a table to a digest: per column its name, then length and bytes of each cell as text; null is -1."""
    for name in sorted(table.columns):
        column = table[name]
        if isinstance(column.dtype, pl.List):
            column = column.list.join("\x1f")
        text = column.cast(pl.String)
        whole.update(name.encode())
        whole.update(text.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy().astype("<i8").tobytes())
        whole.update("".join(text.fill_null("")).encode())
