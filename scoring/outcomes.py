"""What units report of their work with lists: files read row by row, checked whole, and kept together or not at all.

One row is one attempt to reach a person and what came of it. Nothing is kept of a file in which anything cannot be
read; the same file twice adds nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ethics.refusals import BadInput, Fault, did_you_mean
from scoring.event_rows import OUTCOME_CODES

if TYPE_CHECKING:
    from scoring.store import Store

COLUMNS = ("list_id", "person_id", "at", "channel", "worker", "outcome")
_NEEDED = ("person_id", "at", "outcome")
_OTHER_NAMES = {"result": "outcome"}
_DAY_WRITTEN = "%d.%m.%Y"
_HOW_AT = "Give a day or a local time, e.g. 2024-06-03, 3.6.2024 or 2024-06-03T09:30"
_LONGEST = 200


@dataclass(frozen=True)
class ReadRow:
    """One row of a file, as text: ``where`` says which, as the file's reader would."""

    where: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Imported:
    """What an import came to.

    Attributes
    ----------
    rows : int
        Rows read.
    attempts, outcomes : int
        Those that were new.
    erased : int
        Rows of people who were erased since; nothing is kept of them.
    by_outcome : mapping
        Outcome → rows.
    lists : tuple of str
    """

    rows: int
    attempts: int
    outcomes: int
    erased: int
    by_outcome: Mapping[str, int]
    lists: tuple[str, ...]


def read_rows(path: Path, list_id: str | None = None) -> list[ReadRow]:
    """Rows of a file of outcomes: CSV (commas or semicolons) or Parquet; the workbook is :func:`keep_workbook`'s.

    Parameters
    ----------
    path : Path
        ``.csv`` or ``.parquet``. Columns ``list_id`` (or ``list_id`` of this call), ``person_id``, ``at``,
        ``channel``, ``worker`` (both may be left out) and ``outcome`` (or ``result``).
    list_id : str, optional
        The list of rows that name none.

    Raises
    ------
    BadInput
        The file cannot be read, has no such columns, or has rows of another shape: each by its number.
    """
    if path.suffix == ".parquet":
        try:
            rows = _of_frame(pl.read_parquet(BytesIO(path.read_bytes())), path)
        except pl.exceptions.PolarsError as error:
            wrong = f"cannot be read as Parquet ({type(error).__name__})"
            raise BadInput(Fault(str(path), wrong, "Write it again")) from None
    elif path.suffix == ".csv":
        rows = _of_csv(path)
    else:
        raise BadInput(Fault(str(path), f"is of the kind '{path.suffix}'", "Give .csv, .parquet or the filled .xlsx"))
    if list_id is None:
        return rows
    return [ReadRow(row.where, {**row.cells, "list_id": row.cells.get("list_id") or list_id}) for row in rows]


def keep_outcomes(store: Store, rows: Sequence[ReadRow], source: str, today: date, *, keep: bool = True) -> Imported:
    """Check every row, and keep them all in one transaction, or nothing.

    Parameters
    ----------
    store : Store
    rows : sequence of ReadRow
    source : str
        Where they come from, e.g. the name of the file.
    today : date
        No attempt is of a later day.
    keep : bool
        False tries everything and keeps nothing.

    Raises
    ------
    BadInput
        Every fault by row: no list or person, a list never published, somebody who is not on it, a time that cannot be
        read or that lies before the list or after today, an outcome that is none. A person's id is never shown.
    """
    erased = store.is_erased([row.cells.get("person_id", "") for row in rows]).tolist()
    on_list = _people_of_lists(store, {row.cells.get("list_id", "") for row in rows} - {""})
    faults: list[Fault] = []
    records: list[dict[str, str | None]] = []
    for row, is_gone in zip(rows, erased, strict=True):
        record, wrong = _checked(row, on_list, today, is_gone=is_gone)
        faults += wrong
        records.append(record)
    if faults:
        raise BadInput(*faults)
    frame = pl.DataFrame(records, schema=dict.fromkeys(COLUMNS, pl.String))
    attempts, outcomes = store.add_work(
        frame.rename({"outcome": "result"}),
        frame.select("list_id", "person_id", "at", "outcome"),
        source,
        keep=keep,
    )
    counted = dict(sorted(frame["outcome"].value_counts().iter_rows()))
    lists = tuple(sorted(frame["list_id"].drop_nulls().unique()))
    return Imported(len(rows), attempts, outcomes, int(sum(erased)), counted, lists)


def keep_workbook(store: Store, path: Path, list_id: str | None, today: date, *, keep: bool = True) -> Imported:
    """Keep what stands in a filled workbook, in one transaction, or nothing.

    Parameters
    ----------
    list_id : str or None
        The only list whose workbook it may be; None: any published list's.

    Raises
    ------
    BadInput
        Every cell that could not be read, by row and column.
    """
    from scoring.xlsx_import import read_filled

    attempts, outcomes, faults = read_filled(path, store.rows(list_id), today=today)
    if faults:
        raise BadInput(*faults)
    new_attempts, new_outcomes = store.add_work(attempts, outcomes, path.name, keep=keep)
    erased = int(store.is_erased(attempts["person_id"].to_list()).sum())
    counted = dict(sorted(outcomes["outcome"].value_counts().iter_rows()))
    lists = tuple(sorted({*attempts["list_id"], *outcomes["list_id"]} - {None}))
    return Imported(attempts.height, new_attempts, new_outcomes, erased, counted, lists)


# ---- reading -------------------------------------------------------------------------------------------------------


def _of_frame(frame: pl.DataFrame, path: Path) -> list[ReadRow]:
    named = frame.rename({name: to for name, to in _OTHER_NAMES.items() if name in frame.columns and to not in frame})
    _refuse_columns(named.columns, path)
    known = [name for name in named.columns if name in COLUMNS]
    rows = named.select(known).to_dicts()
    where = named["row"].to_list() if "row" in named.columns else range(1, len(rows) + 1)
    return [
        ReadRow(f"row {number}", {name: _text(value) for name, value in row.items()})
        for number, row in zip(where, rows, strict=True)
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, date) else str(value).strip()


def _of_csv(path: Path) -> list[ReadRow]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        mend = "Save it as CSV UTF-8"
        raise BadInput(Fault(str(path), "is not in UTF-8", mend)) from None
    head = text.partition("\n")[0]
    reader = csv.reader(StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    heads: list[str] = []
    rows: list[ReadRow] = []
    faults: list[Fault] = []
    try:
        for cells in reader:
            if not heads:
                heads = [name.strip() for name in cells]
                heads = [_OTHER_NAMES.get(n, n) if _OTHER_NAMES.get(n) not in heads else n for n in heads]
                _refuse_columns(heads, path)
            elif len(cells) > len(heads):
                wrong = f"has {len(cells)} cells, and there are {len(heads)} columns"
                faults.append(Fault(f"row {reader.line_num}", wrong, "Put text that holds the separator in quotes"))
            elif any(cell.strip() for cell in cells):
                filled = [*cells, *[""] * (len(heads) - len(cells))]
                named = {name: cell.strip() for name, cell in zip(heads, filled, strict=True) if name in COLUMNS}
                rows.append(ReadRow(f"row {reader.line_num}", named))
    except csv.Error:
        faults.append(Fault(f"row {reader.line_num}", "cannot be read as CSV", "Mend its quotes"))
    if faults:
        raise BadInput(*faults)
    if not heads:
        raise BadInput(Fault(str(path), "is empty", f"Give the columns {', '.join(COLUMNS)}"))
    return rows


def _refuse_columns(names: Sequence[str], path: Path) -> None:
    mend = f"Give the columns {', '.join(COLUMNS)}"
    faults = [Fault(str(path), f"has no column '{name}'", mend) for name in _NEEDED if name not in names]
    twice = sorted({name for name in names if name in COLUMNS and list(names).count(name) > 1})
    faults += [Fault(str(path), f"has the column '{name}' twice", "Keep one") for name in twice]
    if faults:
        raise BadInput(*faults)


# ---- checking ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listed:
    people: frozenset[str]
    as_of_date: date


def _people_of_lists(store: Store, wanted: set[str]) -> dict[str, _Listed]:
    """Who stands, or stood, on each list that was published, also by hand."""
    known = dict(store.lists().select("list_id", "as_of_date").iter_rows())
    found = {}
    for list_id in sorted(wanted & known.keys()):
        people = {*store.rows(list_id)["person_id"], *store.changes(list_id)["person_id"]} - {None}
        found[list_id] = _Listed(frozenset(people), known[list_id])
    return found


def _checked(
    row: ReadRow, on_list: Mapping[str, _Listed], today: date, *, is_gone: bool
) -> tuple[dict[str, str | None], list[Fault]]:
    cells, faults = row.cells, []

    def fault(wrong: str, mend: str) -> None:
        faults.append(Fault(row.where, wrong, mend))

    list_id, person, outcome = (cells.get(name, "") for name in ("list_id", "person_id", "outcome"))
    listed = on_list.get(list_id)
    if not list_id:
        fault("names no list", "Give its list_id, or --list for the whole file")
    elif listed is None:
        fault("names a list that was never published", "Copy the list_id from the list")
    if not person:
        fault("has no person", "Give the person_id")
    elif listed is not None and not is_gone and person not in listed.people:
        wrong = f"is about somebody who is not on this list (an id of {len(person)} characters)"
        fault(wrong, "Copy the person_id from the list, or add the person to it first")
    at, day = _moment(cells.get("at", ""))
    if day is None:
        fault("has no time" if not cells.get("at") else "has a time that cannot be read", _HOW_AT)
    elif day > today:
        fault(f"is of {day}, which is yet to come", f"Give a day up to {today}")
    elif listed is not None and day < listed.as_of_date:
        fault(f"is of {day}, before the list's own day ({listed.as_of_date})", "Give the day of the attempt")
    if not outcome:
        fault("has no outcome", f"Give one of: {', '.join(OUTCOME_CODES)}")
    elif outcome not in OUTCOME_CODES:
        # What stands there may be anything, also a name: only what is nearly an outcome is repeated.
        fault("has an outcome that is none", did_you_mean(outcome, OUTCOME_CODES))
    record: dict[str, str | None] = {"list_id": list_id, "person_id": person, "at": at, "outcome": outcome}
    for name in ("channel", "worker"):
        record[name] = cells.get(name) or None
        if len(cells.get(name, "")) > _LONGEST:
            fault(f"has a {name} of {len(cells[name])} characters", f"Keep to {_LONGEST}")
    return record, faults


def _moment(text: str) -> tuple[str, date | None]:
    """The moment as ISO text, and its day; none where it cannot be read."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.strptime(text, _DAY_WRITTEN)
        except ValueError:
            return "", None
    if at.tzinfo is not None:
        return "", None
    return at.isoformat(timespec="seconds"), at.date()
