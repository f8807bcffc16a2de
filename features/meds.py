"""A MEDS folder as a city: Parquet files of (subject_id, time, code, numeric_value) under ``data/``.

Source: the Medical Event Data Standard, https://medical-event-data-standard.github.io. Rows without a time say what
never changes and are no events; ``MEDS_BIRTH`` gives the birth date and is an event like any other, and so is
``MEDS_DEATH``. MEDS has no knowledge date; a column ``knowledge_date`` beside the others is read where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from features.door import Checked, Door, Source

_EVENTS = {"person_id": "subject_id", "event_date": "time", "value": "numeric_value"}
_CODES = {"en": "description"}
_BIRTH = "MEDS_BIRTH"


def is_meds(folder: Path) -> bool:
    """Whether a folder lays its events out as MEDS does, and not as a city folder does."""
    has_events = any((folder / name).exists() for name in ("events", "events.parquet", "events.csv"))
    return (folder / "data").is_dir() and not has_events


def meds_events(door: Door, folder: Path) -> list[Checked]:
    """The files under ``data/``, however deep; a fault when there are none."""
    files = [file for file in door.files_in(folder / "data", folder) if not file.is_csv]
    if not files and not door.faults:
        door.fault("data/", "holds no Parquet file", "Put the MEDS events into it, e.g. data/0.parquet")
    return [door.check(file, "events", _EVENTS)._replace(undated_are_static=True) for file in files]


def check_by_subject(door: Door, source: Source, table: str) -> Checked:
    """A table that stands beside MEDS data, which may call its persons subjects."""
    columns = source.rows.collect_schema()
    by_subject = "subject_id" in columns and "person_id" not in columns
    return door.check(source, table, {"person_id": "subject_id"} if by_subject else None)


def meds_codes(door: Door, folder: Path) -> list[Checked]:
    """The code descriptions of ``metadata/codes.parquet``, in English as MEDS has them; none where it is missing."""
    path = folder / "metadata" / "codes.parquet"
    return [door.check(file, "codes", _CODES) for file in door.open_files([path] if path.exists() else [], folder)]


def subjects(door: Door, events: Sequence[Checked]) -> Checked:
    """The persons of a MEDS folder without a persons table: every subject, born on the day of the first MEDS_BIRTH."""
    born = pl.col("event_date").filter(pl.col("code") == _BIRTH).min().dt.date().alias("birth_date")
    found = [door.collect_rows(file.label, file.rows.group_by("person_id").agg(born)) for file in events]
    door.refuse_faults()
    empty = pl.DataFrame(schema={"person_id": pl.String, "birth_date": pl.Date})
    everyone = pl.concat([empty, *(frame for frame in found if frame is not None)]).drop_nulls("person_id")
    persons = everyone.group_by("person_id").agg(pl.col("birth_date").min()).sort("person_id")
    if persons["birth_date"].null_count() == persons.height:
        persons = persons.drop("birth_date")
    return door.check(Source("data/", persons.lazy()), "persons")
