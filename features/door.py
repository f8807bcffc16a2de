"""The checked door into a city: finding tables, checking their columns, and putting bad rows aside (contracts.md §1).

Every problem of files and columns is gathered before anything is refused, and no message or reject shows what a row
held: only file, row, column and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationInfo, field_validator

from ethics.refusals import BadInput, Fault, did_you_mean
from features.spec import Code, Day

_REJECTS = {"file": pl.String, "row": pl.Int64, "column": pl.String, "reason": pl.String}
_EXPECTED = {
    "id": "text or whole numbers",
    "text": "text",
    "texts": "a list of texts, or text with ; between",
    "moment": "a day (2024-01-31) or a moment (2024-01-31T09:30:00)",
    "day": "a day (2024-01-31)",
    "number": "numbers",
}
# Columns each table must have and may have, with what they hold. Fixed columns of persons are added when it is read.
_TABLES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "persons": ({"person_id": "id"}, {"birth_date": "day"}),
    "history": (
        {"person_id": "id", "attribute": "text", "value": "text", "from_date": "moment"},
        {"knowledge_date": "moment"},
    ),
    "events": (
        {"person_id": "id", "event_date": "moment", "code": "text"},
        {"knowledge_date": "moment", "value": "number"},
    ),
    "units": (
        {"unit_id": "id", "name": "text"},
        {"districts": "texts", "capacity": "number", "x": "number", "y": "number"},
    ),
    "codes": ({"code": "text"}, {"fi": "text", "sv": "text", "en": "text", "source": "text"}),
    "cohorts": ({"person_id": "id", "as_of_date": "day"}, {}),
}
_OURS: dict[str, pl.DataType] = {
    "moment": pl.Datetime("us"),
    "day": pl.Date(),
    "number": pl.Float32(),
    "texts": pl.List(pl.String()),
}
_MAY_BE_EMPTY = {("history", "value"), ("persons", "birth_date")}
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class DataError(BadInput):
    """Data that cannot be used; ``rejects`` holds the rows that were to blame, where rows were."""

    def __init__(self, *faults: Fault, rejects: pl.DataFrame | None = None) -> None:
        super().__init__(*faults)
        self.rejects = rejects if rejects is not None else pl.DataFrame(schema=_REJECTS)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PersonsSection(_Section):
    """``[persons]``: which columns never change for a person."""

    fixed: tuple[StrictStr, ...] = ()

    @field_validator("fixed")
    @classmethod
    def _not_ours(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if clash := [name for name in names if name in {"person_id", "birth_date"}]:
            raise ValueError(f"{clash[0]} has its own meaning | List the other columns that never change for a person")
        return names


class EventsSection(_Section):
    """``[events]``: which codes may be known before they happen."""

    ahead: tuple[Code, ...] = ()


class RelationsSection(_Section):
    """``[relations]``: which history attributes say who lives together and where; without them no feature may ask."""

    household: StrictStr | None = None
    district: StrictStr | None = None


class CityFile(_Section):
    """``city.toml``; every key is optional. ``[columns.<table>]`` says ours = theirs."""

    extract_date: Day | None = None
    timezone: StrictStr = "Europe/Helsinki"
    invented: StrictBool = False
    persons: PersonsSection = PersonsSection()
    events: EventsSection = EventsSection()
    relations: RelationsSection = RelationsSection()
    columns: dict[str, dict[str, StrictStr]] = {}

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not found is a KeyError; some names are folders or bad paths
            raise ValueError("no such time zone | Give a name such as Europe/Helsinki") from None
        return name

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, dict[str, str]], info: ValidationInfo) -> dict[str, dict[str, str]]:
        fixed = info.data["persons"].fixed if "persons" in info.data else ()
        for table, mapping in columns.items():
            if table not in _TABLES:
                raise ValueError(f"there is no table '{table}' | " + did_you_mean(table, _TABLES))
            ours = [*_TABLES[table][0], *_TABLES[table][1], *(fixed if table == "persons" else ())]
            for name in mapping:
                if name not in ours:
                    raise ValueError(f"{table} has no column '{name}' | " + did_you_mean(name, ours))
        return columns


class Source(NamedTuple):
    """One file or frame to be read; in CSV every column arrives as text."""

    label: str
    rows: pl.LazyFrame
    is_csv: bool = False
    path: Path | None = None


class Checked(NamedTuple):
    """A source whose columns are ours and of our types, with the reason why a row cannot be used (0: it can).

    ``parquet`` is the file itself where it is a Parquet file, and ``theirs`` what it calls our columns.
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

    def find(self, folder: Path, table: str) -> list[Source]:
        """The file or files of a table; a fault when a needed one is missing or two claim to be it."""
        endings = ("csv",) if table == "codes" else ("parquet", "csv")
        paths = [path for ending in endings if (path := folder / f"{table}.{ending}").is_file()]
        parts = folder / table
        if table == "events" and parts.is_dir():
            if paths:
                self.fault(table, f"{paths[0].name} stands beside the folder events/", "Keep one of them")
                return []
            found = self.files_in(parts, folder)
            if not found:
                self.fault("events/", "holds no Parquet or CSV file", "Put the parts of the event log into it")
            return found
        if len(paths) > 1:
            self.fault(table, f"both {paths[0].name} and {paths[1].name} are there", "Keep one of them")
            return []
        if not paths and table in {"persons", "events"}:
            folders = " or a folder events/" if table == "events" else ""
            self.fault(str(folder), f"has no {table}.parquet, {table}.csv{folders}", "Put the table into the folder")
        return [source for path in paths if (source := self._open(path, folder))]

    def files_in(self, parts: Path, folder: Path) -> list[Source]:
        """Every Parquet and CSV file of a folder inside the city's, by name."""
        paths = sorted(path for path in parts.glob("*") if path.suffix in {".parquet", ".csv"})
        return [source for path in paths if (source := self._open(path, folder))]

    def _open(self, path: Path, folder: Path) -> Source | None:
        label, is_csv = path.relative_to(folder).as_posix(), path.suffix == ".csv"
        if path.stat().st_size == 0:
            self.fault(label, "is an empty file", "Export it again")
            return None
        try:
            rows = (
                pl.scan_csv(path, infer_schema=False, separator=_separator(path)) if is_csv else pl.scan_parquet(path)
            )
            rows.collect_schema()
        except _UNREADABLE:
            self._unreadable(label)
            return None
        return Source(label, rows, is_csv, path)

    def fault(self, where: str, wrong: str, mend: str) -> None:
        """Note something wrong, to be refused together with the rest."""
        self.faults.append(Fault(where, wrong, mend))

    def _unreadable(self, label: str) -> None:
        kind = "CSV in UTF-8" if label.endswith(".csv") else "Parquet"
        self.fault(label, f"cannot be read as {kind}", "It may be cut short or damaged; export it again")

    # -- checking columns

    def check(self, source: Source, table: str) -> Checked:
        """Our columns in our types, or faults for every column that is missing or of a wrong type."""
        needed, optional = _TABLES[table]
        if table == "persons":
            needed = {**needed, **dict.fromkeys(self.settings.persons.fixed, "text")}
        theirs = self.settings.columns.get(table, {})
        schema = source.rows.collect_schema()
        zone, ours, bad = self.settings.timezone, {}, []
        n_faults = len(self.faults)
        for name, kind in {**needed, **optional}.items():
            column = theirs.get(name, name)
            if column not in schema:
                if name in needed or name in theirs:
                    wrong = f"has no column '{column}' ({_EXPECTED[kind]})"
                    mend = (
                        f"Add it, or name yours in city.toml under [columns.{table}]. {_found(source, schema, needed)}"
                    )
                    self.fault(source.label, wrong, mend)
                continue
            raw = pl.col(column)
            expression = _from_text(raw, kind, zone) if source.is_csv else _typed(raw, kind, schema[column], zone)
            if expression is None:
                wrong = f"column '{column}' holds {schema[column]}, expected {_EXPECTED[kind]}"
                self.fault(source.label, wrong, "Export it in that type")
                continue
            ours[name] = expression.alias(name)
            bad += _bad_cells(table, name, kind, raw.is_not_null() & expression.is_null(), name in needed)
        if source.is_csv and len(self.faults) == n_faults:
            self._check_cells(source, table, ours, {**needed, **optional}, theirs)
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
        self,
        source: Source,
        table: str,
        ours: Mapping[str, pl.Expr],
        kinds: Mapping[str, str],
        theirs: Mapping[str, str],
    ) -> None:
        """A CSV column of which no cell can be read has the wrong type; a few such cells are rejected rows."""
        declared = [name for name in ours if kinds[name] in {"moment", "day", "number"}]
        if not declared:
            return
        filled = [pl.col(theirs.get(name, name)).is_not_null().sum().alias(f"filled {name}") for name in declared]
        read = [ours[name].is_not_null().sum().alias(f"read {name}") for name in declared]
        counts = self.collect_rows(source.label, source.rows.select(*filled, *read))
        for name in declared if counts is not None else ():
            if counts is not None and counts[f"filled {name}"][0] and not counts[f"read {name}"][0]:
                wrong = f"column '{theirs.get(name, name)}' holds other text, expected {_EXPECTED[kinds[name]]}"
                self.fault(source.label, wrong, "Export it in that form")

    def collect_rows(self, label: str, rows: pl.LazyFrame) -> pl.DataFrame | None:
        """Read rows in; a fault and None when the file turns out to be damaged inside."""
        try:
            return rows.collect(engine="streaming")
        except _UNREADABLE:
            self._unreadable(label)
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
        found.append((empty, name, pl.col(name).is_null(), False))
    elif kind in {"moment", "day", "number"}:
        found.append((empty, name, unreadable, True))
    if kind == "number":
        found.append(("not finite", name, pl.col(name).is_finite().not_().fill_null(False), False))
    return found


def _typed(raw: pl.Expr, kind: str, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    """A typed column as ours; None when its type is not what we expect."""
    is_text = dtype == pl.String or dtype.is_(pl.Categorical) or isinstance(dtype, pl.Enum | pl.Categorical)
    if dtype == pl.Null:
        return raw.cast(_OURS.get(kind, pl.String()))
    if kind in {"id", "text"} and (is_text or dtype.is_integer() or (kind == "text" and dtype == pl.Boolean)):
        return _not_blank(raw.cast(pl.String))
    if kind == "texts":
        if dtype == pl.List(pl.String):
            return raw
        return _split(raw.cast(pl.String)) if is_text else None
    if kind == "number" and (dtype.is_numeric()):
        return raw.cast(pl.Float32)
    if kind in {"moment", "day"} and dtype == pl.Date:
        return raw.cast(pl.Datetime("us")) if kind == "moment" else raw
    if kind in {"moment", "day"} and isinstance(dtype, pl.Datetime):
        local = raw.dt.convert_time_zone(zone).dt.replace_time_zone(None) if dtype.time_zone else raw
        local = local.cast(pl.Datetime("us"))
        return local if kind == "moment" else _midnight_only(local)
    return None


def _from_text(raw: pl.Expr, kind: str, zone: str) -> pl.Expr:
    """A CSV column as ours; a cell that cannot be read is null."""
    text = raw.str.strip_chars()
    if kind == "number":
        return text.cast(pl.Float64, strict=False).cast(pl.Float32)
    if kind in {"moment", "day"}:
        stamp = text.str.replace(" ", "T", literal=True)
        day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
        clock = stamp.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        short = stamp.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False)
        zoned = stamp.str.replace("Z$", "+00:00").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
        )
        moment = pl.coalesce(day, clock, short, zoned.dt.convert_time_zone(zone).dt.replace_time_zone(None))
        return moment if kind == "moment" else _midnight_only(moment)
    return _split(text) if kind == "texts" else _not_blank(text)


def _not_blank(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _split(text: pl.Expr) -> pl.Expr:
    return text.str.split(";").list.eval(pl.element().str.strip_chars())


def _midnight_only(moment: pl.Expr) -> pl.Expr:
    return pl.when(moment == moment.dt.truncate("1d")).then(moment.dt.date())


def _found(source: Source, schema: Iterable[str], needed: Iterable[str]) -> str:
    """The columns that are there; but in a CSV that names none of ours the first line may be a person's row."""
    if source.is_csv and not set(schema) & set(needed):
        return "The first line must name the columns"
    return f"Found: {', '.join(schema)}"


def _separator(path: Path) -> str:
    """Finnish spreadsheets write ; where others write a comma; the header tells."""
    with path.open("rb") as file:
        header = file.readline()
    return ";" if header.count(b";") > header.count(b",") else ","
