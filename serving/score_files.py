"""Reading scores and groups that somebody made elsewhere: every fault at once, by row number, never by id."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ethics.cells import INDICATOR, UNKNOWN
from ethics.digests import sha256
from ethics.groups import HOUSEHOLD, MIN_SHARE_FOUND, GroupRegister
from ethics.refusals import BadInput, Fault, did_you_mean
from serving.score_columns import (
    MOST_ATTRIBUTES,
    MOST_INDICATORS,
    as_text_or_number,
    columns_found,
    dependence_faults,
    free_name_faults,
    lacks_names,
    name_faults,
    ragged_fault,
    said,
)

if TYPE_CHECKING:
    import polars as pl

RULE_SCORE = "rule_score"
_KNOWN = ("person_id", "score", "label", "probability", RULE_SCORE, HOUSEHOLD)
_NUMBERS = ("score", "label", "probability", RULE_SCORE)
_NEEDED = ("person_id", "score")
_SHOWN = 5
_MOST_FAULTS = 20
_SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_TOLD = re.compile(r'"?sep=([,;\t|])"?[ \t]*(?:\r\n|\n|\r|$)', re.IGNORECASE)
_NOT_NO_NEED = "Give everybody 1 or 0, or leave the indicator out: not known is not the same as no need"
_UNPACK = "Unpack it, and give the file inside"
_NOT_TEXT = (
    (b"PK", "is a workbook, not text", "Save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "is a workbook, not text", "Save the sheet as CSV UTF-8"),
    (b"\x1f\x8b", "is compressed (gzip)", _UNPACK),
    (b"BZh", "is compressed (bzip2)", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd)", _UNPACK),
    (b"\xff\xfe", "is UTF-16 text", "Save it as CSV UTF-8"),
    (b"\xfe\xff", "is UTF-16 text", "Save it as CSV UTF-8"),
    (b"%PDF", "is a PDF, not a table", "Give a CSV file (UTF-8) or Parquet"),
    (b"ARROW1", "is an Arrow file", "Save it as Parquet or CSV"),
)


@dataclass(frozen=True)
class ScoreFiles:
    """Scores and groups as they were read.

    Attributes
    ----------
    rows : polars.DataFrame
        ``person_id``, ``rank_score``, ``probability`` (null: not given), ``label`` (1, 0, null: not known),
        ``rule_score`` and ``household`` where given, ``indicator:<name>`` bool …; in the file's order.
    groups : GroupRegister
    digests : mapping
        SHA-256 of the two files, under ``scores`` and ``groups``.
    share_with_groups : float
        Of the people scored, those that the groups know.
    """

    rows: pl.DataFrame
    groups: GroupRegister
    digests: dict[str, str]
    share_with_groups: float


def read_score_files(scores: Path, groups: Path, capacity_k: int) -> ScoreFiles:
    """Read both files, or refuse with everything that is wrong in them.

    Parameters
    ----------
    scores : Path
        CSV or Parquet: ``person_id``, ``score`` (higher first); optional ``label`` (1, 0 or blank), ``probability``,
        ``rule_score`` (what a simple rule gives), ``household``, ``indicator:<name>`` (1 or 0, known of everybody:
        cells hold no third answer, and one that is not known is not "no need").
    groups : Path
        CSV or Parquet: ``person_id`` and one column per attribute.
    capacity_k : int
        People who are contacted in a period; fewer than there are.

    Raises
    ------
    BadInput
        Not readable, columns missing or unknown, ids missing or twice, what is no number, labels other than 0 and 1,
        probabilities outside 0 to 1 or for some only, a capacity that takes everybody, nobody to compare.
    """
    faults: list[Fault] = []
    read: list[tuple[pl.DataFrame, str] | None] = []
    for path in (scores, groups):
        try:
            read.append(_table(path))
        except BadInput as refusal:
            faults += refusal.faults
            read.append(None)
    rows = register = None
    share = 0.0
    if read[0] is not None:
        rows = _rows(read[0][0], str(scores), capacity_k, faults)
    if read[1] is not None:
        register = _register(read[1][0], str(groups), read[1][1], faults)
    if rows is not None and register is not None:
        share = _share_known(rows, register, str(groups), faults)
    if faults or rows is None or register is None or read[0] is None or read[1] is None:
        raise BadInput(*faults)
    return ScoreFiles(rows, register, {"scores": read[0][1], "groups": read[1][1]}, share)


def _table(path: Path) -> tuple[pl.DataFrame, str]:
    """A file as text columns (Parquet keeps its types), and its SHA-256."""
    import polars as pl

    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(Fault(str(path), f"cannot be read ({error.strerror})", "Give a CSV or Parquet file")) from None
    try:
        if content[:4] == b"PAR1":
            return _trimmed(pl.read_parquet(BytesIO(content)), str(path)), sha256(content)
        return _trimmed(_csv(content, str(path)), str(path)), sha256(content)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OverflowError) as error:
        mend = "Give a CSV file (UTF-8) with a line of column names, or a Parquet file"
        raise BadInput(Fault(str(path), f"cannot be read as a table ({type(error).__name__})", mend)) from None


def _trimmed(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """The table with no space around its names, which must still be distinct."""
    faults = name_faults(frame.columns, where)
    if faults:
        raise BadInput(*faults)
    return frame.rename({name: name.strip() for name in frame.columns})


def _csv(content: bytes, where: str) -> pl.DataFrame:
    import polars as pl

    for beginning, what, mend in _NOT_TEXT:
        if content.startswith(beginning):
            raise BadInput(Fault(where, what, mend))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        mend = "Save it as CSV UTF-8; in a spreadsheet that is a file type of its own"
        raise BadInput(Fault(where, f"is not UTF-8 (line {line})", mend)) from None
    if "\0" in text:
        raise BadInput(Fault(where, "holds zero bytes, so it is not text", "Give a CSV file (UTF-8) or Parquet"))
    if "\n" not in text:  # as old spreadsheets end their lines
        text = text.replace("\r", "\n")
    text = text.lstrip("\r\n")
    told = _SEPARATOR_TOLD.match(text)
    text = text[told.end() :].lstrip("\r\n") if told else text
    first = text.partition("\n")[0].rstrip("\r")
    if not first.strip():
        raise BadInput(Fault(where, "is empty", "Give a line of column names and a row per person"))
    if first.lstrip()[0] in "<[{":
        raise BadInput(Fault(where, "is HTML, XML or JSON, not a table", "Give a CSV file (UTF-8) or Parquet"))
    separator = told[1] if told else max(_SEPARATORS, key=first.count)
    try:
        names = next(csv.reader([first], delimiter=separator))
        frame = pl.read_csv(BytesIO(text.encode()), separator=separator, infer_schema=False, null_values=[""])
    except (csv.Error, TypeError, ValueError, pl.exceptions.PolarsError):
        raise BadInput(ragged_fault(text, separator, where)) from None
    if len(names) == frame.width:
        if lacks_names(names, frame):
            wrong = f"seems to have no line of column names: the first line of {frame.width} fields looks like a row"
            raise BadInput(Fault(where, wrong, "Begin the file with a line of column names, person_id among them"))
        faults = name_faults(names, where)
        if faults:
            raise BadInput(*faults)
    if separator == ";":  # as spreadsheets write where the decimal mark is a comma
        marked = [name for name in frame.columns if name.strip() in _NUMBERS]
        frame = frame.with_columns(pl.col(name).str.replace(",", ".", literal=True) for name in marked)
    return frame


def _rows(frame: pl.DataFrame, where: str, capacity_k: int, faults: list[Fault]) -> pl.DataFrame | None:
    """The scores as the gate takes them; None (and faults) where they cannot be."""
    import polars as pl

    found = _column_faults(frame, where)
    indicator_names = [name for name in frame.columns if name.startswith(INDICATOR)]
    if not found:
        frame = as_text_or_number(frame, where, found, (*_NUMBERS, *indicator_names))
    if found:
        faults += found
        return None
    before = len(faults)
    ids = _ids(frame, where, faults)
    if frame.height <= capacity_k:
        wrong = f"is {capacity_k}, and there are {frame.height} people: nobody would be left out"
        faults.append(Fault("--capacity", wrong, "Give how many of them are contacted in a period"))
    numbers = {
        name: _number(frame[name], f"{where}: {name}", faults, blank=name in ("label", "probability"))
        for name in _NUMBERS
        if name in frame.columns
    }
    indicators = {name: _number(frame[name], f"{where}: {name}", faults, blank=False) for name in indicator_names}
    for name, values in {"label": numbers.get("label"), **indicators}.items():
        if values is not None:
            wrong_rows = values.is_not_null() & ~values.is_in([0.0, 1.0])
            mend = "Give 1, 0 or nothing (not known)" if name == "label" else "Give 1 or 0"
            _name_rows(faults, f"{where}: {name}", "is neither 1 nor 0", wrong_rows, mend)
    probability = numbers.get("probability")
    if probability is not None:
        _probability_faults(probability, f"{where}: probability", faults)
    if len(faults) > before:
        return None
    nothing = pl.Series([None] * frame.height, dtype=pl.Float64)
    rows = pl.DataFrame(
        {
            "person_id": ids,
            "rank_score": numbers["score"],
            "probability": nothing if probability is None else probability,
            "label": numbers.get("label", nothing),
            **({RULE_SCORE: numbers[RULE_SCORE]} if RULE_SCORE in numbers else {}),
            **({HOUSEHOLD: frame[HOUSEHOLD].cast(pl.String)} if HOUSEHOLD in frame.columns else {}),
            **{name: values == 1.0 for name, values in indicators.items()},
        }
    )
    ordered = {name: values for name, values in numbers.items() if name != "label" and not values.null_count()}
    faults += dependence_faults(rows, ordered, where)
    return rows if len(faults) == before else None


def _column_faults(frame: pl.DataFrame, where: str) -> list[Fault]:
    """What is wrong with the columns before any value is looked at."""
    missing = [name for name in _NEEDED if name not in frame.columns]
    indicators = [
        (i, name.removeprefix(INDICATOR)) for i, name in enumerate(frame.columns) if name.startswith(INDICATOR)
    ]
    options = [*_KNOWN, f"{INDICATOR}<name>"]
    found = [Fault(where, f"has no column {name}", columns_found(frame.columns)) for name in missing]
    for place, name in enumerate(frame.columns):
        if not name:
            found.append(Fault(f"{where}: column {place + 1}", "has no name", "Name it, or leave it out"))
        elif name not in _KNOWN and not name.startswith(INDICATOR):
            named = said(name, place)
            mend = did_you_mean(name, options) if named == name else f"Allowed: {', '.join(sorted(options))}"
            found.append(Fault(f"{where}: {named}", "is not a column here", mend))
    found += free_name_faults(indicators, where, "an indicator", MOST_INDICATORS)
    if frame.is_empty():
        found.append(Fault(where, "has no rows", "Give a row per person"))
    if len(found) > _MOST_FAULTS:
        more = Fault(where, f"has {len(found) - _MOST_FAULTS} more columns that it cannot have", "Leave them out")
        found = [*found[:_MOST_FAULTS], more]
    return found


def _probability_faults(probability: pl.Series, where: str, faults: list[Fault]) -> None:
    outside = probability.is_not_null() & ~probability.is_between(0, 1)
    _name_rows(faults, where, "is outside 0 to 1", outside, "Give calibrated probabilities")
    if 0 < probability.null_count() < probability.len():
        _name_rows(faults, where, "is missing", probability.is_null(), "Give all, or leave it out")


def _ids(frame: pl.DataFrame, where: str, faults: list[Fault]) -> pl.Series:
    import polars as pl

    ids = frame["person_id"].cast(pl.String).str.strip_chars()
    missing = ids.is_null() | (ids == "")
    _name_rows(faults, f"{where}: person_id", "is missing", missing.fill_null(True), "Give every row the person's id")
    again = ids.is_not_null() & ~ids.is_first_distinct()
    _name_rows(faults, f"{where}: person_id", "was given before", again, "Keep one row per person")
    return ids


def _number(column: pl.Series, where: str, faults: list[Fault], *, blank: bool) -> pl.Series:
    """A column as finite float64; a fault where it is blank, unless it is said that it may be (then null)."""
    import polars as pl

    if column.dtype == pl.Boolean:
        return column.cast(pl.Float64)
    text = column.str.strip_chars() if column.dtype == pl.String else column
    values = text.cast(pl.Float64, strict=False)
    empty = text.is_null() | (text == "") if column.dtype == pl.String else text.is_null()
    empty = empty.fill_null(True)
    if not blank:
        mend = "Give every row a number" if INDICATOR not in where else _NOT_NO_NEED
        _name_rows(faults, where, "is missing", empty, mend)
    bad = ~empty & ~values.is_finite().fill_null(False)
    _name_rows(faults, where, "is no finite number", bad, "Write numbers such as 0.52, without spaces or units")
    return values


def _name_rows(faults: list[Fault], where: str, wrong: str, rows: pl.Series, mend: str) -> None:
    """One fault for all rows in which something is wrong: how many, and the numbers of the first (1 = first row)."""
    n = int(rows.fill_null(False).sum())
    if n:
        first = ", ".join(str(int(row) + 1) for row in rows.fill_null(False).arg_true().head(_SHOWN))
        more = f" and {n - _SHOWN} more" if n > _SHOWN else ""
        faults.append(Fault(where, f"{wrong} in row {first}{more}", mend))


def _register(frame: pl.DataFrame, where: str, digest: str, faults: list[Fault]) -> GroupRegister | None:
    import polars as pl

    before = len(faults)
    if "person_id" not in frame.columns:
        faults.append(Fault(where, "has no column person_id", columns_found(frame.columns)))
    if frame.is_empty():
        faults.append(Fault(where, "has no rows", "Give a row per person"))
    attributes = [(place, name) for place, name in enumerate(frame.columns) if name != "person_id"]
    faults += free_name_faults(attributes, where, "an attribute", MOST_ATTRIBUTES)
    if len(faults) == before:
        frame = as_text_or_number(frame, where, faults, ())
    if len(faults) == before:
        frame = frame.with_columns(_ids(frame, where, faults))
    if len(faults) > before:
        return None
    try:
        return GroupRegister(frame.with_columns(pl.all().cast(pl.String)), where, digest)
    except BadInput as refusal:
        faults += refusal.faults
        return None


def _share_known(rows: pl.DataFrame, register: GroupRegister, where: str, faults: list[Fault]) -> float:
    """The share of the people scored whose groups are known; faults where nobody could be compared."""
    share = register.share_known(rows["person_id"].to_list())
    if share < MIN_SHARE_FOUND:
        wrong = f"holds {share:.0%} of the {rows.height} people scored"
        faults.append(Fault(where, wrong, f"Give the groups of at least {MIN_SHARE_FOUND:.0%} of the same people"))
        return share
    sizes = register.sizes(rows["person_id"].to_list())
    compared = _attributes_of_two(sizes.filter(sizes["group"] != UNKNOWN)["attribute"].to_list())
    if not compared:
        wrong = "has no attribute with two groups among the people scored, so nobody can be compared"
        faults.append(Fault(where, wrong, "Give an attribute with at least two groups, e.g. sex or language"))
    return share


def _attributes_of_two(attributes: Sequence[str]) -> list[str]:
    return sorted({name for name in attributes if attributes.count(name) >= 2})
