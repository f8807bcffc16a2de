"""What units report of their work with lists: files read row by row, checked whole, and kept together or not at all.

One row is one attempt to reach a person and what came of it. Nothing is kept of a file in which anything cannot be
read; the same file twice adds nothing.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ethics.refusals import BadInput, Fault
from scoring.event_rows import OUTCOME_CODES
from scoring.import_words import ImportWords
from scoring.named_people import naming

if TYPE_CHECKING:
    from scoring.store import Store

COLUMNS = ("list_id", "person_id", "at", "channel", "worker", "outcome")
_NEEDED = ("person_id", "at", "outcome")
_OTHER_NAMES = {"result": "outcome"}
_DAY_WRITTEN = "%d.%m.%Y"
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
        Outcome → rows, without those of the erased.
    lists : tuple of str
    """

    rows: int
    attempts: int
    outcomes: int
    erased: int
    by_outcome: Mapping[str, int]
    lists: tuple[str, ...]


def read_rows(path: Path, list_id: str | None = None, *, language: str = "en") -> list[ReadRow]:
    """Rows of a file of outcomes: CSV (commas or semicolons) or Parquet; the workbook is :func:`keep_workbook`'s.

    Parameters
    ----------
    path : Path
        ``.csv`` or ``.parquet``. Columns ``list_id`` (or ``list_id`` of this call), ``person_id``, ``at``,
        ``channel``, ``worker`` (both may be left out) and ``outcome`` (or ``result``).
    list_id : str, optional
        The list of rows that name none.
    language : {"en", "fi", "sv"}
        In which what is wrong is told.

    Raises
    ------
    BadInput
        The file cannot be read, has no such columns, or has rows of another shape: each by its number.
    """
    words = ImportWords(language)
    if path.suffix == ".parquet":
        try:
            rows = _of_frame(pl.read_parquet(BytesIO(path.read_bytes())), path, words)
        except pl.exceptions.PolarsError as error:
            raise BadInput(words.fault(str(path), "parquet", kind=type(error).__name__)) from None
    elif path.suffix == ".csv":
        rows = _of_csv(path, words)
    else:
        raise BadInput(words.fault(str(path), "kind", kind=path.suffix))
    if list_id is None:
        return rows
    return [ReadRow(row.where, {**row.cells, "list_id": row.cells.get("list_id") or list_id}) for row in rows]


def keep_outcomes(
    store: Store,
    rows: Sequence[ReadRow],
    source: str,
    today: date,
    *,
    keep: bool = True,
    language: str = "en",
    unit: str | None = None,
    only_outcomes: bool = False,
    before: Sequence[Fault] = (),
) -> Imported:
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
    language : {"en", "fi", "sv"}
    unit : str, optional
        Whose people they may be about: of all others nothing is told but that they are not on the list.
    only_outcomes : bool
        Whether nothing was tried anew: what came of it is kept, and no attempt.
    before : sequence of Fault
        What was found wrong with the rows already; told with the rest, and then nothing is kept.

    Raises
    ------
    BadInput
        Every fault by row: no list or person, a list never published, somebody who is not on it, a time that cannot be
        read or that lies before the list or after today, an outcome that is none, a channel or worker that names
        somebody the store knows, which would outlive their erasure. A person's id is never shown.
    """
    on_list = _people_of_lists(store, {row.cells.get("list_id", "") for row in rows} - {""}, unit)
    erased = _erased_of_lists(store, rows, on_list)
    faults: list[Fault] = [*before, *_naming_faults(store, rows, ImportWords(language))]
    records: list[dict[str, str | None]] = []
    for row, is_gone in zip(rows, erased, strict=True):
        record, wrong = _checked(row, on_list, today, ImportWords(language), is_gone=is_gone)
        faults += wrong
        records.append(record)
    if faults:
        raise BadInput(*faults)
    frame = pl.DataFrame(records, schema=dict.fromkeys(COLUMNS, pl.String))
    attempts, outcomes = store.add_work(
        frame.rename({"outcome": "result"}).head(0 if only_outcomes else frame.height),
        frame.select("list_id", "person_id", "at", "outcome"),
        source,
        keep=keep,
    )
    kept = frame.filter(~pl.Series(erased, dtype=pl.Boolean))
    counted = dict(sorted(kept["outcome"].value_counts().iter_rows()))
    lists = tuple(sorted(frame["list_id"].drop_nulls().unique()))
    return Imported(len(rows), attempts, outcomes, int(sum(erased)), counted, lists)


def keep_workbook(
    store: Store, path: Path, list_id: str | None, today: date, *, keep: bool = True, language: str | None = None
) -> Imported:
    """Keep what stands in a filled workbook, in one transaction, or nothing.

    Parameters
    ----------
    list_id : str or None
        The only list whose workbook it may be; None: any published list's.
    language : {"en", "fi", "sv"}, optional
        In which what is wrong is told; by default the workbook's own.

    Raises
    ------
    BadInput
        Every cell that could not be read, by row and column.
    """
    from scoring.xlsx_import import read_filled

    attempts, outcomes, faults = read_filled(
        path, store.rows(list_id), today=today, language=language, erased=store.is_erased
    )
    if not faults and any(naming(store, attempts["worker"].unique().to_list())):
        words = ImportWords(language or "en")
        faults = [words.fault(path.name, "named_worker")]
    if faults:
        raise BadInput(*faults)
    new_attempts, new_outcomes = store.add_work(attempts, outcomes, path.name, keep=keep)
    erased = int(store.is_erased(attempts["person_id"].to_list()).sum())
    kept = outcomes.filter(~pl.Series(store.is_erased(outcomes["person_id"].to_list()), dtype=pl.Boolean))
    counted = dict(sorted(kept["outcome"].value_counts().iter_rows()))
    lists = tuple(sorted({*attempts["list_id"], *outcomes["list_id"]} - {None}))
    return Imported(attempts.height, new_attempts, new_outcomes, erased, counted, lists)


# ---- reading -------------------------------------------------------------------------------------------------------


def _of_frame(frame: pl.DataFrame, path: Path, words: ImportWords) -> list[ReadRow]:
    named = frame.rename({name: to for name, to in _OTHER_NAMES.items() if name in frame.columns and to not in frame})
    _refuse_columns(named.columns, path, words)
    known = [name for name in named.columns if name in COLUMNS]
    rows = named.select(known).to_dicts()
    return [
        ReadRow(words.row(number), {name: _text(value) for name, value in row.items()})
        for number, row in enumerate(rows, 1)
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, date) else str(value).strip()


def _of_csv(path: Path, words: ImportWords) -> list[ReadRow]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(words.fault(str(path), "encoding")) from None
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
                _refuse_columns(heads, path, words)
            elif len(cells) > len(heads):
                faults.append(words.fault(words.row(reader.line_num), "cells", n=len(cells), columns=len(heads)))
            elif any(cell.strip() for cell in cells):
                filled = [*cells, *[""] * (len(heads) - len(cells))]
                named = {name: cell.strip() for name, cell in zip(heads, filled, strict=True) if name in COLUMNS}
                rows.append(ReadRow(words.row(reader.line_num), named))
    except csv.Error:
        faults.append(words.fault(words.row(reader.line_num), "quotes"))
    if faults:
        raise BadInput(*faults)
    if not heads:
        raise BadInput(words.fault(str(path), "empty", columns=", ".join(COLUMNS)))
    return rows


def _refuse_columns(names: Sequence[str], path: Path, words: ImportWords) -> None:
    wanted = ", ".join(COLUMNS)
    missing = [name for name in _NEEDED if name not in names]
    faults = [words.fault(str(path), "no_column", column=name, columns=wanted) for name in missing]
    twice = sorted({name for name in names if name in COLUMNS and list(names).count(name) > 1})
    faults += [words.fault(str(path), "column_twice", column=name) for name in twice]
    if faults:
        raise BadInput(*faults)


# ---- checking ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listed:
    """Who is on a list, of how many nothing is kept any more, and the list's day."""

    people: frozenset[str]
    n_erased: int
    as_of_date: date


def _people_of_lists(store: Store, wanted: set[str], unit: str | None = None) -> dict[str, _Listed]:
    """Who stands, or stood, on each list that was published, also by hand; the held out only if somebody added them."""
    known = dict(store.lists().select("list_id", "as_of_date").iter_rows())
    found = {}
    for list_id in sorted(wanted & known.keys()):
        rows = store.rows(list_id, unit_id=unit).filter(~pl.col("is_held_out"))
        added = store.changes(list_id).filter(act="added")
        added = added if unit is None else added.filter(unit_id=unit)
        people = {*rows["person_id"], *added["person_id"]} - {None}
        gone = {*rows.filter(pl.col("person_id").is_null())["person_ref"]}
        gone |= {*added.filter(pl.col("person_id").is_null())["person_ref"]}
        found[list_id] = _Listed(frozenset(people), len(gone), known[list_id])
    return found


def _erased_of_lists(store: Store, rows: Sequence[ReadRow], on_list: Mapping[str, _Listed]) -> list[bool]:
    """Which rows are of people who were erased since they stood on their list.

    Whose an erased row of a list was cannot be told any more. So the erased are taken for people of a list as long as
    it has as many erased rows; beyond that they are strangers to it like everybody else, and nobody learns of an
    erasure by naming people to a list that has none.
    """
    erased = store.is_erased([row.cells.get("person_id", "") for row in rows]).tolist()
    gone: dict[str, set[str]] = {}
    for row, is_gone in zip(rows, erased, strict=True):
        if is_gone:
            gone.setdefault(row.cells.get("list_id", ""), set()).add(row.cells["person_id"])
    fits = {list_id: list_id in on_list and len(gone[list_id]) <= on_list[list_id].n_erased for list_id in gone}
    return [is_gone and fits[row.cells.get("list_id", "")] for row, is_gone in zip(rows, erased, strict=True)]


def _naming_faults(store: Store, rows: Sequence[ReadRow], words: ImportWords) -> list[Fault]:
    """What each row says in a channel or as a worker that names somebody whom the store knows."""
    texts = sorted({row.cells.get(name, "") for row in rows for name in ("channel", "worker")} - {""})
    named = {text for text, names in zip(texts, naming(store, texts), strict=True) if names}
    return [
        words.fault(row.where, f"named_{name}")
        for row in rows
        for name in ("channel", "worker")
        if row.cells.get(name, "") in named
    ]


def _checked(
    row: ReadRow, on_list: Mapping[str, _Listed], today: date, words: ImportWords, *, is_gone: bool
) -> tuple[dict[str, str | None], list[Fault]]:
    cells, faults = row.cells, []

    def fault(key: str, **values: object) -> None:
        faults.append(words.fault(row.where, key, **values))

    list_id, person, outcome = (cells.get(name, "") for name in ("list_id", "person_id", "outcome"))
    listed = on_list.get(list_id)
    if not list_id:
        fault("no_list")
    elif listed is None:
        fault("unknown_list")
    if not person:
        fault("no_person")
    elif listed is not None and not is_gone and person not in listed.people:
        fault("stranger", n=len(person))
    at, day = _moment(cells.get("at", ""))
    if day is None:
        fault("bad_time" if cells.get("at") else "no_time")
    elif day > today:
        fault("to_come", day=day, today=today)
    elif listed is not None and day < listed.as_of_date:
        fault("too_early", day=day, first=listed.as_of_date)
    if outcome not in OUTCOME_CODES:
        # What stands there may be anything, also a name: only the code that is nearest to it is told.
        near = difflib.get_close_matches(outcome, sorted(OUTCOME_CODES), n=1)
        key = ("near_outcome" if near else "bad_outcome") if outcome else "no_outcome"
        codes = OUTCOME_CODES if not outcome else sorted(OUTCOME_CODES)
        fault(key, near="".join(near), codes=", ".join(codes))
    record: dict[str, str | None] = {"list_id": list_id, "person_id": person, "at": at, "outcome": outcome}
    for name in ("channel", "worker"):
        record[name] = cells.get(name) or None
        if len(cells.get(name, "")) > _LONGEST:
            fault(f"long_{name}", n=len(cells[name]), most=_LONGEST)
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
