"""The contact book: how the people of a list can be reached. Opened after ranking, joined to files as they are written.

No other module names the file. What is read here is never stored, logged or scored: where somebody can be called says
nothing of a need, and a secrecy order must not leave the zone of the unit that acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import polars as pl

from ethics.objections import CHANNELS
from ethics.refusals import BadInput, Fault

__all__ = ["CHANNELS", "ContactBook", "ContactRow", "contacts_file", "suggested_channel"]

Suggested = Literal["digital", "phone", "letter", "visit", "officer", "none"]
"""How to make the first attempt; ``officer``: ask whoever may know, ``none``: no way is left that may be used."""
LONGEST = 120
"""Characters of a name or a number at most: what is longer is something else."""

_NAME = "contacts"
_TEXTS = ("person_id", "name", "channel", "phone", "language", "guardian")
_FLAGS = ("interpreter", "secrecy_order")
_COLUMNS = ("person_id", "name", "channel", "phone", "language", "interpreter", "guardian", "secrecy_order")
_TRUE_FALSE = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, repr=False)
class ContactRow:
    """How one person can be reached; of a child, through the guardian.

    Attributes
    ----------
    person_id : str
    name, phone, language : str or None
        Of whom to contact: the guardian where ``guardian`` is given. None: not known, or hidden.
    interpreter : bool
        Whether whom to contact needs an interpreter.
    guardian : str or None
        Person id of the guardian to contact instead; None for whoever answers for themselves, or where it is hidden.
    channel : str or None
        What they use themselves, of ``CHANNELS``; None: not known.
    secrecy_order : bool
    hidden : bool
        Whether name, phone and guardian are kept back because of a secrecy order.
    refused : tuple of str
        Channels that the person, or the guardian, objects to. The number of whoever refuses calls is not given.
    masked : bool
        Whether whom to contact objects to the need or was erased: nothing of them is given, and no channel suggested.
    """

    person_id: str
    name: str | None = None
    phone: str | None = None
    language: str | None = None
    interpreter: bool = False
    guardian: str | None = None
    channel: str | None = None
    secrecy_order: bool = False
    hidden: bool = False
    refused: tuple[str, ...] = ()
    masked: bool = False

    def __repr__(self) -> str:
        """Nothing of a person: a traceback or a notebook shows it."""
        return "ContactRow(…)"

    @property
    def is_known(self) -> bool:
        """Whether anything is known that could be of use: otherwise the person is not in the book, or only by id."""
        return self.hidden or self.masked or any((self.name, self.phone, self.language, self.channel))

    @property
    def suggested_channel(self) -> Suggested:
        """How to make the first attempt; see :func:`suggested_channel`."""
        return suggested_channel(self)


def suggested_channel(row: ContactRow) -> Suggested:
    """How to make the first attempt: as the person prefers, and never digitally unless they use digital services.

    A channel that was objected to is never suggested; ``none`` where no other is left, and of whoever is masked.

    >>> suggested_channel(ContactRow("1", phone="+358 000 000001", channel="digital"))
    'digital'
    >>> suggested_channel(ContactRow("1", phone="+358 000 000001"))
    'phone'
    >>> suggested_channel(ContactRow("1")), suggested_channel(ContactRow("1", channel="visit"))
    ('letter', 'visit')
    >>> suggested_channel(ContactRow("1", hidden=True))
    'officer'
    >>> suggested_channel(ContactRow("1", channel="phone", refused=("phone", "letter")))
    'visit'
    >>> suggested_channel(ContactRow("1", masked=True))
    'none'
    """
    if row.masked:
        return "none"
    if row.hidden:
        return "officer"
    uses_digital: list[Suggested] = ["digital"] if row.channel == "digital" else []
    by_phone: list[Suggested] = ["phone"] if row.phone else []
    first: dict[str | None, list[Suggested]] = {"visit": ["visit"], "letter": ["letter"], "digital": ["digital"]}
    order: list[Suggested] = [*first.get(row.channel, []), *by_phone, "letter", "visit", *uses_digital]
    return next((channel for channel in order if channel not in row.refused), "none")


def contacts_file(folder: Path) -> Path | None:
    """Where a city folder keeps its contact book; looking for it opens nothing."""
    return next((path for ending in ("parquet", "csv") if (path := folder / f"{_NAME}.{ending}").exists()), None)


Refusals = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""Person ids → channels that each of them objects to; those who object to none may be left out."""


Masked = Callable[[Sequence[str]], Iterable[bool]]
"""Person ids → whether each objects to the need, or was erased."""


def _nobody_refuses(_: Sequence[str]) -> Mapping[str, Sequence[str]]:
    return {}


def _nobody_is_masked(person_ids: Sequence[str]) -> Sequence[bool]:
    return [False] * len(person_ids)


class ContactBook:
    """The contact data of a city, one row per person.

    Parameters
    ----------
    frame : polars.DataFrame
        ``person_id``, ``name``, ``channel`` (of ``CHANNELS``), ``phone``, ``language`` (of two or three letters, as
        ``fi``), ``interpreter``, ``guardian`` (a person id), ``secrecy_order``: text, and true or false. All but
        ``person_id`` and ``secrecy_order`` may be null.
    where : str
        What refusals call it.
    refusals : callable, optional
        Who objects to which channel, asked whenever somebody is looked up; of a guardian too.
    masked : callable, optional
        Who objects to the need or was erased, asked likewise: whoever is, a guardian too, is shown to nobody.

    Raises
    ------
    BadInput
        Missing columns, wrong types, ids that repeat, channels that are none, guardians who are not in the book: all
        at once, by count, never with a value.

    Examples
    --------
    >>> row = {name: None for name in ("name", "channel", "phone", "language", "interpreter", "guardian")}
    >>> book = ContactBook(pl.DataFrame([{"person_id": "1", **row, "secrecy_order": True}]), "contacts")
    >>> [row.suggested_channel for row in book.of(["1", "2"])]
    ['officer', 'letter']
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        where: str,
        refusals: Refusals | None = None,
        masked: Masked | None = None,
    ) -> None:
        self._frame = _checked(frame, where)
        self._refusals, self._masked = refusals or _nobody_refuses, masked or _nobody_is_masked
        self._at = {person: i for i, person in enumerate(self._frame["person_id"])}

    def __repr__(self) -> str:
        return f"<ContactBook of {self._frame.height:,} people>"

    @classmethod
    def open(cls, path: Path | str, refusals: Refusals | None = None, masked: Masked | None = None) -> ContactBook:
        """Read and check a contact book, Parquet or CSV. Call it once the ranking is made, and not before."""
        path = Path(path)
        try:
            content = path.read_bytes()
            if path.suffix == ".csv":
                frame = pl.read_csv(BytesIO(content), infer_schema=False, null_values=[""])
            else:
                frame = pl.read_parquet(BytesIO(content))
        except (OSError, pl.exceptions.PolarsError) as error:
            mend = f"Give a Parquet or CSV file with the columns {', '.join(_COLUMNS)}"
            raise BadInput(Fault(str(path), f"cannot be read ({type(error).__name__})", mend)) from None
        return cls(frame, str(path), refusals, masked)

    def of(self, person_ids: Sequence[str], *, show_secret: bool = False) -> tuple[ContactRow, ...]:
        """How to reach each of some people, in their order; who is not in the book gets a row that knows nothing.

        Parameters
        ----------
        person_ids : sequence of str
        show_secret : bool
            Whether the reader may see who stands under a secrecy order; otherwise such rows are hidden, and those of
            children whose guardian does.
        """
        values = (self._values(person) for person in person_ids)
        guardians = [str(own["guardian"]) for own in values if own is not None and own["guardian"] is not None]
        asked = [*person_ids, *guardians]
        refused = self._refusals(asked)
        masked = {person for person, is_masked in zip(asked, self._masked(asked), strict=True) if is_masked}
        return tuple(self._row(person, show_secret, refused, masked) for person in person_ids)

    def guardians(self, person_ids: Sequence[str], *, secret: bool = False) -> dict[str, str]:
        """Person → guardian, of those who have one.

        Who stands under a secrecy order is left out, so that nothing ties them; with ``secret`` they are not: for
        recalls and refusals, and never to be shown.
        """
        found = {}
        for person in person_ids:
            own = self._values(person)
            if own is not None and own["guardian"] is not None and (secret or not self._is_secret(own)):
                found[person] = str(own["guardian"])
        return found

    def children_of(self, guardian: str) -> frozenset[str]:
        """Everybody whose guardian a person is, under a secrecy order or not: for recalls, and never to be shown."""
        return frozenset(self._frame.filter(pl.col("guardian") == guardian)["person_id"])

    def _values(self, person_id: str) -> dict[str, object] | None:
        at = self._at.get(person_id)
        return None if at is None else self._frame.row(at, named=True)

    def _is_secret(self, own: dict[str, object]) -> bool:
        guardian = None if own["guardian"] is None else self._values(str(own["guardian"]))
        return bool(own["secrecy_order"]) or (guardian is not None and bool(guardian["secrecy_order"]))

    def _row(
        self, person_id: str, show_secret: bool, refused: Mapping[str, Sequence[str]], masked: Collection[str]
    ) -> ContactRow:
        own = self._values(person_id)
        who = (person_id, None if own is None else own["guardian"])
        said_no = {channel for person in who for channel in refused.get(str(person), ())}
        not_by = tuple(channel for channel in CHANNELS if channel in said_no)
        is_masked = any(str(person) in masked for person in who if person is not None)
        if own is None:
            return ContactRow(person_id, refused=not_by, masked=is_masked)
        secret = self._is_secret(own)
        if secret and not show_secret:
            return ContactRow(person_id, secrecy_order=True, hidden=True, refused=not_by, masked=is_masked)
        if is_masked:
            return ContactRow(person_id, secrecy_order=secret, refused=not_by, masked=True)
        guardian = None if own["guardian"] is None else self._values(str(own["guardian"]))
        told = own if guardian is None else guardian
        name, phone, language, channel = (
            None if told[key] is None else str(told[key]) for key in ("name", "phone", "language", "channel")
        )
        return ContactRow(
            person_id,
            name,
            None if "phone" in not_by else phone,
            language,
            bool(told["interpreter"]),
            None if guardian is None else str(guardian["person_id"]),
            channel,
            secret,
            refused=not_by,
        )


def _checked(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    faults: list[Fault] = []
    columns = []
    for name in _COLUMNS:
        if name not in frame.columns:
            kind = "true or false" if name in _FLAGS else "text"
            faults.append(Fault(f"{where}: {name}", "is missing", f"Add the column: {kind}"))
            continue
        columns.append(_flag(frame[name], where, faults) if name in _FLAGS else _text(frame[name], where, faults))
    read = pl.DataFrame(columns)
    faults += _value_faults(read, where)
    if faults:
        raise BadInput(*faults)
    return read.with_columns(pl.col("language").str.to_lowercase(), pl.col("interpreter").fill_null(False))


def _text(series: pl.Series, where: str, faults: list[Fault]) -> pl.Series:
    if not (series.dtype in (pl.String, pl.Null, pl.Categorical) or series.dtype.is_integer()):
        mend = "Give text; ids may be whole numbers"
        faults.append(Fault(f"{where}: {series.name}", f"is {series.dtype}, not text", mend))
        return pl.Series(series.name, [None] * len(series), dtype=pl.String)
    text = series.cast(pl.String).str.strip_chars()
    return text.to_frame().select(pl.when(pl.col(series.name) != "").then(pl.col(series.name)))[series.name]


def _flag(series: pl.Series, where: str, faults: list[Fault]) -> pl.Series:
    if series.dtype == pl.String:
        read = series.str.to_lowercase().replace_strict(_TRUE_FALSE, default=None, return_dtype=pl.Boolean)
    elif series.dtype in (pl.Boolean, pl.Null):
        read = series.cast(pl.Boolean)
    else:
        faults.append(Fault(f"{where}: {series.name}", f"is {series.dtype}", "Give true or false"))
        return pl.Series(series.name, [False] * len(series), dtype=pl.Boolean)
    if n := read.null_count() - series.null_count():
        wrong = f"holds {n:,} values that are neither true nor false"
        faults.append(Fault(f"{where}: {series.name}", wrong, "Give true or false"))
        return read.fill_null(False)
    return read


def _value_faults(read: pl.DataFrame, where: str) -> list[Fault]:
    faults = []

    def found(column: str, is_wrong: pl.Expr, wrong: str, mend: str) -> None:
        if column in read.columns and (n := int(read.select(is_wrong.fill_null(False).sum()).item())):
            faults.append(Fault(f"{where}: {column}", f"{wrong} in {n:,} {'row' if n == 1 else 'rows'}", mend))

    def own(name: str) -> pl.Expr:
        return pl.col(name)

    found("person_id", own("person_id").is_null(), "is missing", "Give every row an id")
    repeated = own("person_id").is_duplicated() & own("person_id").is_not_null()
    found("person_id", repeated, "repeats", "Keep one row per person")
    found("channel", ~own("channel").is_in(CHANNELS), "is none that is known", f"Give {', '.join(CHANNELS)}")
    codes = "Give two or three letters, as fi (ISO 639)"
    found("language", ~own("language").str.contains(r"^[A-Za-z]{2,3}$"), "is no code of a language", codes)
    mend = "Say for every person whether there is a secrecy order: who may be under one must not be shown"
    found("secrecy_order", own("secrecy_order").is_null(), "is missing", mend)
    if {"person_id", "guardian"} <= {*read.columns}:
        ids = read["person_id"].drop_nulls().implode()
        mend = "Add the guardians, each with their own row"
        found("guardian", ~own("guardian").is_in(ids), "is nobody of this book", mend)
        found("guardian", own("guardian") == own("person_id"), "is the person", "Leave it empty for adults")
    for name in ("name", "phone"):
        mend = f"Give at most {LONGEST} characters on one line"
        is_wrong = (own(name).str.len_chars() > LONGEST) | own(name).str.contains(r"[\x00-\x1f\x7f]")
        found(name, is_wrong, "is too long or not on one line", mend)
    return faults
