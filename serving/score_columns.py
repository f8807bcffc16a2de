"""Columns of a file that somebody made elsewhere: their names, their types, and signs of need that are no second sign.

What stands in the place of a name may be a person's value, in a file without a line of names. So a name is said only
where it has the form of one, and none at all where the first line looks like the lines below it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from ethics.cells import INDICATOR, UNKNOWN
from ethics.groups import HOUSEHOLD
from ethics.refusals import Fault

if TYPE_CHECKING:
    import polars as pl

RESERVED = frozenset(
    {
        *("person_id", "score", "rank_score", "tie_key", "label", "probability", "rule_score", HOUSEHOLD),
        *("indicator", "attribute", "group", "all", "bin", "n", UNKNOWN),
        *("sum_probability", "sum_rank", "sum_discount"),
    }
)
"""Names that mean something else, in these files or in the cells."""
MOST_INDICATORS = 10
"""Each doubles the cells."""
MOST_ATTRIBUTES = 12
"""Every pair of attributes is crossed."""
_NAMES_SAID = 12
_LIKE_A_NAME = re.compile(r"(?:indicator:)?[^\W\d]\w{0,39}")
_MANY_DIGITS = re.compile(r"\d\D*\d\D*\d")
_NUMBER = re.compile(r"\s*[-+]?[\d.,]+(?:[eE][-+]?\d+)?%?\s*|\s*(?i:nan|inf|null|na|true|false)\s*")
_USABLE = re.compile(r"[^\x00-\x1f\x7f=×:,;\t\"]{1,64}")
_ROWS_LOOKED_AT = 1000


def said(name: str, position: int) -> str:
    """A column as messages name it: by its name if that has the form of one, else by its place.

    >>> said("language_group", 2), said("0.73", 2), said("010190-123A", 0)
    ('language_group', 'column 3', 'column 1')
    """
    if _LIKE_A_NAME.fullmatch(name) and not _MANY_DIGITS.search(name):
        return name
    return f"column {position + 1}"


def columns_found(names: Sequence[str]) -> str:
    """How many columns a file has, and the names among them that look like names.

    >>> columns_found(["id", "skore", "17"])
    'The file has 3 columns, among them id, skore'
    """
    shown = [name for place, name in enumerate(names) if said(name, place) == name][:_NAMES_SAID]
    among = f", among them {', '.join(shown)}" if shown else ""
    return f"The file has {len(names)} column{'s' if len(names) != 1 else ''}{among}"


def lacks_names(names: Sequence[str], frame: pl.DataFrame) -> bool:
    """Whether what stands in the place of names, over a table of text, is more likely its first row.

    Some name is a number, or stands in its own column again, or has the form of all that stands below it, as ids have
    (``p1`` over ``p2``, ``p3``).
    """
    for name, column in zip(names, frame.iter_columns(), strict=True):
        if _NUMBER.fullmatch(name):
            return True
        below = [str(value) for value in column.head(_ROWS_LOOKED_AT).drop_nulls()]
        if name.strip() and name in below:
            return True
        if re.search(r"\d", name) and below and all(_form(value) == _form(name) for value in below):
            return True
    return False


def _form(text: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", text.strip()))


def name_faults(names: Sequence[str], where: str) -> list[Fault]:
    """Names that are given twice, of a header as it was written."""
    names = [name.strip() for name in names]
    again = [place for place, name in enumerate(names) if name in names[:place]]
    return [
        Fault(f"{where}: {said(names[place], place)}", "is the name of two columns", "Keep one of them, or rename it")
        for place in again
    ]


def free_name_faults(named: Iterable[tuple[int, str]], where: str, what: str, most: int) -> list[Fault]:
    """Names that the file's maker chose, of attributes or of indicators: empty, reserved, not printable, too many.

    Parameters
    ----------
    named
        Place of the column, and the name to look at.
    what : str
        "an attribute" or "an indicator".
    """
    faults, named = [], list(named)
    for place, name in named:
        column = f"{where}: {said(name, place)}"
        if not name.strip():
            faults.append(Fault(f"{where}: column {place + 1}", f"is {what} without a name", "Name the column"))
        elif name.lower() in RESERVED:
            mend = "Rename the column, or leave it out"
            faults.append(Fault(column, f"cannot be the name of {what}: it means something else here", mend))
        elif not _USABLE.fullmatch(name) or not re.search(r"[^\W\d_]", name) or _MANY_DIGITS.search(name):
            mend = "Use letters, spaces and _, and two digits at most, in 64 characters"
            faults.append(Fault(f"{where}: column {place + 1}", f"has a name that {what} cannot have", mend))
    if len(named) > most:
        faults.append(Fault(where, f"has {len(named)} columns that would each be {what}", f"Give at most {most}"))
    return faults


def as_text_or_number(frame: pl.DataFrame, where: str, faults: list[Fault], numbers: Iterable[str]) -> pl.DataFrame:
    """Columns of Parquet as text and numbers; a fault for each that is neither, such as lists.

    Categories become their text. Days may be groups, and are no numbers; an id with decimals is none that would be
    written alike in two files.
    """
    import polars as pl

    numbers = set(numbers)
    kept = []
    for place, name in enumerate(frame.columns):
        column = frame[name]
        kind = column.dtype
        is_category = isinstance(kind, pl.Categorical | pl.Enum)
        plain = kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null) or is_category
        if name == "person_id":
            plain = plain and not (kind.is_float() or kind.is_decimal())
        elif name not in numbers:
            plain = plain or kind == pl.Date
        if not plain:
            mend = "Give numbers" if name in numbers else "Give text or whole numbers, the same in both files"
            faults.append(Fault(f"{where}: {said(name, place)}", f"is of type {kind.base_type()}", mend))
        kept.append(column.cast(pl.String) if is_category else column)
    return frame if not kept else pl.DataFrame(kept)


def ragged_fault(text: str, separator: str, where: str) -> Fault:
    """Why a text is no table: lines of more fields than names, by number, or a quote that never closes."""
    lines = csv.reader(StringIO(text, newline=""), delimiter=separator)
    mend = "Write as many fields in every line as there are names; put text that holds the separator in quotes"
    try:
        width = len(next(lines))
        for fields in lines:
            if len(fields) > width:
                return Fault(where, f"has {len(fields)} fields in line {lines.line_num}, and {width} names", mend)
    except (csv.Error, StopIteration):
        pass
    return Fault(where, "cannot be read as a table", "Look for a quote that is opened and never closed")


def dependence_faults(rows: pl.DataFrame, scores: Mapping[str, pl.Series], where: str) -> list[Fault]:
    """Indicators that are no independent sign of need: the outcome, a score or another indicator over again.

    Parameters
    ----------
    rows : polars.DataFrame
        ``label`` (1, 0, null) and bool columns ``indicator:<name>``.
    scores : mapping of name to numbers
        What an indicator may not be a cut of: a value above which everybody has it, and below which nobody, or the
        other way round.
    """
    faults: list[Fault] = []
    names = [name for name in rows.columns if name.startswith(INDICATOR)]
    mend = "Leave it out, or give a sign of need that was recorded independently of score and outcome"
    known = rows["label"].is_not_null()
    label = rows["label"].filter(known) == 1.0
    for position, name in enumerate(names):
        hit = rows[name]
        same = [other for other in names[:position] if _the_same(hit, rows[other])]
        if hit.all() or not hit.any():
            wrong = "is the same for everybody, so it shows nothing"
        elif len(label) and label.n_unique() > 1 and _the_same(hit.filter(known), label):
            wrong = "is the label over again, so it is no independent sign of need"
        elif same:
            wrong = f"is {same[0]} over again, so it is no independent sign of need"
        elif cut_of := [score for score, values in scores.items() if _is_cut_of(hit, values)]:
            wrong = f"follows from the {cut_of[0]} alone, so it is no independent sign of need"
        else:
            continue
        faults.append(Fault(f"{where}: {name}", wrong, mend))
    return faults


def _the_same(one: pl.Series, other: pl.Series) -> bool:
    """Equal, or each other's opposite."""
    return bool((one == other).all()) or bool((one != other).all())


def _is_cut_of(hit: pl.Series, values: pl.Series) -> bool:
    """Whether a sign is a monotone function of numbers."""
    with_it, without = values.filter(hit), values.filter(~hit)

    def above(one: pl.Series, other: pl.Series) -> bool:
        return float(one.min()) > float(other.max())  # type: ignore[arg-type]  # numbers, none missing

    return above(with_it, without) or above(without, with_it)
