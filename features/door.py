"""The checked door into a city: finding tables, checking their columns, and putting bad rows aside (contracts.md §1).

Every problem of files and columns is gathered before anything is refused, and no message or reject shows what a row
held: only file, row, column and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.city_file import CityFile, EventsSection, PersonsSection, RelationsSection, columns_of
from features.column_types import EXPECTED, from_text, typed

__all__ = [
    "Checked",
    "CityFile",
    "DataError",
    "Door",
    "EventsSection",
    "PersonsSection",
    "RelationsSection",
    "Source",
    "add_reason",
]

_REJECTS = {"file": pl.String, "row": pl.Int64, "column": pl.String, "reason": pl.String}
_MAY_BE_EMPTY = {("history", "value"), ("persons", "birth_date")}
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class DataError(BadInput):
    """Data that cannot be used; ``rejects`` holds the rows that were to blame, where rows were."""

    def __init__(self, *faults: Fault, rejects: pl.DataFrame | None = None) -> None:
        super().__init__(*faults)
        self.rejects = rejects if rejects is not None else pl.DataFrame(schema=_REJECTS)


class Source(NamedTuple):
    """One file, frame or table of a database to be read.

    Where ``parses_text``, days and numbers may arrive as text, as they do in CSV and SQLite.
    """

    label: str
    rows: pl.LazyFrame
    is_csv: bool = False
    path: Path | None = None
    parses_text: bool = False


class Checked(NamedTuple):
    """A source whose columns are ours and of our types, with the reason why a row cannot be used (0: it can).

    ``parquet`` is the file itself where it is a Parquet file, and ``theirs`` what it calls our columns. Where
    ``undated_are_static``, rows without a date say what never changes: they are no events, and no rejects either.
    """

    label: str
    rows: pl.LazyFrame
    reasons: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    parquet: Path | None = None
    theirs: Mapping[str, str] = {}
    undated_are_static: bool = False


class Door:
    """One opening of one city: what is wrong with it, and what was left outside."""

    def __init__(self, settings: CityFile, max_reject_share: float, progress: Callable[[str], None] | None) -> None:
        self.settings = settings
        self.max_reject_share = max_reject_share
        self.say = progress or (lambda line: None)
        self.faults: list[Fault] = []
        self.rejects: list[pl.DataFrame] = []

    def refuse_faults(self) -> None:
        """Refuse with every fault found so far, if there is any."""
        if self.faults:
            raise DataError(*self.faults)

    # -- finding files

    def find(self, folder: Path, table: str, *, may_be_missing: bool = False) -> list[Source]:
        """The file or files of a table; a fault when a needed one is missing or two claim to be it."""
        endings = ("csv",) if table == "codes" else ("parquet", "csv")
        paths = [path for ending in endings if (path := folder / f"{table}.{ending}").is_file()]
        parts = folder / table
        if table == "events" and parts.is_dir():
            if paths:
                self.fault(table, f"{paths[0].name} stands beside the folder events/", "Keep one of them")
                return []
            if not (found := _files_under(parts)):
                self.fault("events/", "holds no Parquet or CSV file", "Put the parts of the event log into it")
            return self.open_files(found, folder)
        if len(paths) > 1:
            self.fault(table, f"both {paths[0].name} and {paths[1].name} are there", "Keep one of them")
            return []
        if not paths and table in {"persons", "events"} and not may_be_missing:
            folders = " or a folder events/" if table == "events" else ""
            self.fault(str(folder), f"has no {table}.parquet, {table}.csv{folders}", "Put the table into the folder")
        return self.open_files(paths, folder)

    def files_in(self, parts: Path, folder: Path) -> list[Source]:
        """Every Parquet and CSV file of a folder inside the city's, by name."""
        return self.open_files(_files_under(parts), folder)

    def open_files(self, paths: Iterable[Path], folder: Path) -> list[Source]:
        """Some files of the city's folder; a fault for each that cannot be read."""
        return [source for path in paths if (source := self._open(path, folder))]

    def _open(self, path: Path, folder: Path) -> Source | None:
        label, is_csv = path.relative_to(folder).as_posix(), path.suffix.lower() == ".csv"
        try:
            with path.open("rb"):  # polars calls what may not be read damaged
                pass
            if path.stat().st_size == 0:
                self.fault(label, "is an empty file", "Export it again")
                return None
            # A name is a name, even one with a star or bracket in it.
            if is_csv:
                rows = pl.scan_csv(path, infer_schema=False, separator=_separator(path), glob=False)
            else:
                rows = pl.scan_parquet(path, glob=False)
            rows.collect_schema()
        except PermissionError:
            self.fault(label, "may not be read by this user", "Give the user that runs Ennakko the right to read it")
            return None
        except _UNREADABLE:
            self.unreadable(label)
            return None
        return Source(label, rows, is_csv, path, parses_text=is_csv)

    def fault(self, where: str, wrong: str, mend: str) -> None:
        """Note something wrong, to be refused together with the rest."""
        self.faults.append(Fault(where, wrong, mend))

    def unreadable(self, label: str) -> None:
        """Note that a file cannot be read at all."""
        kind = "CSV in UTF-8" if label.lower().endswith(".csv") else "Parquet"
        self.fault(label, f"cannot be read as {kind}", "It may be cut short or damaged; export it again")

    # -- checking columns

    def check(self, source: Source, table: str, called: Mapping[str, str] | None = None) -> Checked:
        """Our columns in our types, or faults for every column that is missing or of a wrong type.

        ``called`` is what the format calls our columns; what city.toml says of them goes before it.
        """
        needed, optional = columns_of(table, self.settings.persons.fixed)
        mapped = self.settings.columns.get(table, {})
        theirs = {**(called or {}), **mapped}
        schema, zone = source.rows.collect_schema(), self.settings.timezone
        ours: dict[str, pl.Expr] = {}
        bad: list[tuple[str, str, pl.Expr, bool]] = []
        n_faults = len(self.faults)
        for name, kind in {**needed, **optional}.items():
            column = theirs.get(name, name)
            if column not in schema:
                if name in needed or name in mapped:
                    wrong = f"has no column '{column}' ({EXPECTED[kind]})"
                    mend = (
                        f"Add it, or name yours in city.toml under [columns.{table}]. {_found(source, schema, needed)}"
                    )
                    self.fault(source.label, wrong, mend)
                continue
            if source.is_csv and f"{column}_duplicated_0" in schema:
                self.fault(source.label, f"names the column '{column}' twice", "Give each column a name of its own")
                continue
            raw, dtype = pl.col(column), schema[column]
            is_parsed = source.parses_text and dtype == pl.String
            expression = from_text(raw, kind, zone) if is_parsed else typed(raw, kind, dtype, zone)
            if expression is None:
                wrong = f"column '{column}' holds {dtype}, expected {EXPECTED[kind]}"
                self.fault(source.label, wrong, "Export it in that type")
                continue
            ours[name] = expression.alias(name)
            bad += _bad_cells(table, name, kind, raw.is_not_null() & expression.is_null(), name in needed)
        if source.parses_text and len(self.faults) == n_faults:
            self._check_cells(source, ours, {**needed, **optional}, theirs)
        # Judged on our columns, except a cell that is not empty and yet unreadable.
        rows = source.rows.select(*ours.values(), *(e.alias(f"bad{i}") for i, (_, _, e, on) in enumerate(bad) if on))
        flags = [pl.col(f"bad{i}") if on else e for i, (_, _, e, on) in enumerate(bad)]
        rows = rows.with_columns(_first_true(flags).alias("reason")).select(*ours, "reason")
        return Checked(
            source.label,
            rows,
            tuple((reason, name) for reason, name, _, _ in bad),
            tuple(ours),
            parquet=None if source.is_csv else source.path,
            theirs={name: theirs.get(name, name) for name in ours},
        )

    def _check_cells(
        self, source: Source, ours: Mapping[str, pl.Expr], kinds: Mapping[str, str], theirs: Mapping[str, str]
    ) -> None:
        """A column of text of which no cell can be read has the wrong type; a few such cells are rejected rows."""
        schema = source.rows.collect_schema()
        declared = [
            name
            for name in ours
            if kinds[name] in {"moment", "day", "number"} and schema[theirs.get(name, name)] == pl.String
        ]
        if not declared:
            return
        filled = [pl.col(theirs.get(name, name)).is_not_null().sum().alias(f"filled {name}") for name in declared]
        read = [ours[name].is_not_null().sum().alias(f"read {name}") for name in declared]
        counts = self.collect_rows(source.label, source.rows.select(*filled, *read))
        for name in declared if counts is not None else ():
            if counts is not None and counts[f"filled {name}"][0] and not counts[f"read {name}"][0]:
                wrong = f"column '{theirs.get(name, name)}' holds other text, expected {EXPECTED[kinds[name]]}"
                self.fault(source.label, wrong, "Export it in that form")

    def collect_rows(self, label: str, rows: pl.LazyFrame) -> pl.DataFrame | None:
        """Read rows in; a fault and None when the file turns out to be damaged inside."""
        try:
            return rows.collect(engine="streaming")
        except _UNREADABLE:
            self.unreadable(label)
            return None

    # -- taking rows in

    def table(self, table: str, files: Sequence[Checked], judge: pl.Expr | None = None) -> pl.DataFrame | None:
        """The good rows of a small table, sorted."""
        frames, parts = [], []
        for file in files:
            frame = self.collect_rows(file.label, file.rows if judge is None else file.rows.with_columns(judge))
            if frame is not None:
                parts.append((file, frame["reason"].to_numpy()))
                frames.append(frame.filter(pl.col("reason") == 0).drop("reason"))
        self.put_aside(table, parts) if parts else None
        if not frames:
            return None
        together = pl.concat(frames)
        return together.sort([name for name, dtype in together.schema.items() if not dtype.is_nested()])

    def put_aside(self, table: str, parts: Sequence[tuple[Checked, NDArray[np.uint8]]]) -> None:
        """Note rows that cannot be used, and refuse the table when they are too many."""
        n_rows, tally = sum(reason.size for _, reason in parts), dict[str, int]()
        for source, reason in parts:
            rows = np.flatnonzero(reason)
            why = [source.reasons[number - 1] for number in reason[rows]]
            for text, _ in why:
                tally[text] = tally.get(text, 0) + 1
            columns = {"file": [source.label] * rows.size, "row": rows + 1, "column": [c for _, c in why]}
            self.rejects.append(pl.DataFrame({**columns, "reason": [r for r, _ in why]}, schema=_REJECTS))
        n_bad = sum(tally.values())
        self.say(f"{table}: {n_rows:,} rows in, {n_bad:,} rejected")
        if n_bad and n_bad > self.max_reject_share * n_rows:
            reasons = ", ".join(f"{n:,} {text}" for text, n in sorted(tally.items()))
            share = (
                f"{n_bad:,} of {n_rows:,} rows cannot be used ({n_bad / n_rows:.1%}, limit {self.max_reject_share:.1%})"
            )
            mend = "Mend the rows; the table of rejects says file, row, column and reason of each"
            raise DataError(Fault(table, f"{share}: {reasons}", mend), rejects=self.all_rejects())

    def all_rejects(self) -> pl.DataFrame:
        """The rows left outside so far: file, row (1 is the first row of data), column, reason."""
        return pl.concat([pl.DataFrame(schema=_REJECTS), *self.rejects]).sort("file", "row")


def add_reason(file: Checked, reason: str, column: str, is_bad: pl.Expr) -> tuple[Checked, pl.Expr]:
    """One more reason to reject a row, for rows that have none yet."""
    number = len(file.reasons) + 1
    judged = pl.when((pl.col("reason") == 0) & is_bad).then(pl.lit(number, pl.UInt8)).otherwise(pl.col("reason"))
    return file._replace(reasons=(*file.reasons, (reason, column))), judged.alias("reason")


def _first_true(flags: Sequence[pl.Expr]) -> pl.Expr:
    """The number, from 1, of the first flag that holds; 0 for none."""
    numbered: pl.Expr = pl.lit(0, pl.UInt8)
    for number, flag in reversed(list(enumerate(flags, start=1))):
        numbered = pl.when(flag).then(pl.lit(number, pl.UInt8)).otherwise(numbered)
    return numbered


def _bad_cells(
    table: str, name: str, kind: str, unreadable: pl.Expr, is_needed: bool
) -> list[tuple[str, str, pl.Expr, bool]]:
    """Why a cell makes its row unusable: reason, column, test, and whether the test looks at the raw columns."""
    empty = {"id": "no id", "moment": "no date", "day": "no date", "number": "not finite"}.get(kind, f"no {name}")
    found: list[tuple[str, str, pl.Expr, bool]] = []
    if is_needed and (table, name) not in _MAY_BE_EMPTY and not (table == "persons" and kind == "text"):
        missing = pl.col(name).is_null()
        if kind == "id" and table != "events":  # a blank id in events is nobody's once persons has none
            missing = missing | (pl.col(name).str.strip_chars() == "")
        found.append((empty, name, missing, False))
    elif kind in {"moment", "day", "number"}:
        found.append((empty, name, unreadable, True))
    if kind == "number":
        found.append(("not finite", name, pl.col(name).is_finite().not_().fill_null(False), False))
    return found


def _found(source: Source, schema: Iterable[str], needed: Iterable[str]) -> str:
    """The columns that are there; but in a CSV that names none of ours the first line may be a person's row."""
    if source.is_csv and not set(schema) & set(needed):
        return "The first line must name the columns"
    return f"Found: {', '.join(schema)}"


def _files_under(folder: Path) -> list[Path]:
    """The Parquet and CSV files of a folder and of those in it, by name; not what programs keep for themselves."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in {".parquet", ".csv"} and not path.is_dir())
    return sorted(p for p in found if not any(part.startswith((".", "_")) for part in p.relative_to(folder).parts))


def _separator(path: Path) -> str:
    """Finnish spreadsheets write ; where others write a comma; the header tells."""
    with path.open("rb") as file:
        header = file.readline()
    if b"\0" in header:
        raise OSError("text of two or four bytes a letter")
    return ";" if header.count(b";") > header.count(b",") else ","
