"""Refusals: the one way every room says no, with where, what is wrong, and how to mend it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class Fault(NamedTuple):
    """One thing that is wrong: where, what (with the value), and how to mend it.

    ``code`` is the stable id of a reason that is looked up by id (:mod:`ethics.refusal_ids`); empty for all others.
    """

    where: str
    wrong: str
    mend: str
    code: str = ""

    def __str__(self) -> str:
        said = f"{self.where}: {self.wrong}. {self.mend}"
        return f"{said} [{self.code}]" if self.code else said

    def facts(self) -> dict[str, str]:
        """As JSON holds it: ``where``, ``wrong``, ``mend``, and ``code`` where there is one."""
        return {name: text for name, text in self._asdict().items() if text or name != "code"}


class Refusal(Exception):
    """Ennakko will not go on; carries every fault found, never only the first.

    ``exit_code`` is what the command ends with (contracts.md §6).

    >>> str(BadInput(Fault("label.horizon_days", "is 0", "Give a number of days, e.g. 180")))
    'label.horizon_days: is 0. Give a number of days, e.g. 180'
    """

    exit_code = 1

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class BadInput(Refusal):
    """Wrong use, or data or definitions that cannot be used."""

    exit_code = 2


class Inconclusive(Refusal):
    """The verdict says: not shown either way."""

    exit_code = 10


class Blocked(Refusal):
    """The verdict says: no."""

    exit_code = 20


class NotTrusted(Refusal):
    """A digest, signature, expiry, revocation, the stop switch or the gate itself forbids going on."""

    exit_code = 30


_LONGEST_GUESSED = 60


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The mend for an unknown word: the nearest allowed one, then all of them.

    >>> did_you_mean("vists", ["visit", "absence"])
    "Did you mean 'visit'? Allowed: absence, visit"
    """
    options = sorted(options)
    near = difflib.get_close_matches(word, options, n=1) if len(word) <= _LONGEST_GUESSED else []
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return f"{guess}Allowed: {', '.join(options)}"


Settings = TypeVar("Settings", bound="BaseModel")
_TOO_DEEP = ("is nested too deeply", "Write fewer tables and lists inside one another")
_LONGEST_SHOWN = 200
_LONGEST_WRITTEN = 5_000
_NOT_A_NUMBER = ("not a number", "Give a number, e.g. 0.5")
_NOT_WHOLE = ("not a whole number", "Give a whole number, e.g. 4")
_NOT_TEXT = ("not text", "Put it in quotes")
_NOT_A_LIST = ("not a list", 'Give a list, e.g. ["first", "second"]')
_NOT_A_TABLE = ("not a table", "Give a table of keys and values, e.g. {{ key = value }}")
_NOT_A_DAY = ("not a day", "Give a day such as 2024-01-31")
_NOT_TRUE_OR_FALSE = ("neither true nor false", "Give true or false, without quotes")
# pydantic's own kinds of failure in our words; {names} are filled in from what pydantic says of the case.
_PLAIN_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _NOT_WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), _NOT_A_NUMBER),
    "finite_number": ("not a finite number", "Give a number, e.g. 0.5"),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), _NOT_TEXT),
    **dict.fromkeys(("bool_type", "bool_parsing"), _NOT_TRUE_OR_FALSE),
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type", "iterable_type"), _NOT_A_LIST),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), _NOT_A_TABLE),
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing"), _NOT_A_DAY),
    "date_from_datetime_inexact": ("a moment, not a day", "Give a day such as 2024-01-31, without a clock"),
    **dict.fromkeys(("literal_error", "enum"), ("not one of those allowed", "Give {expected}")),
    "greater_than_equal": ("too small", "Give at least {ge}"),
    "greater_than": ("too small", "Give more than {gt}"),
    "less_than_equal": ("too large", "Give at most {le}"),
    "less_than": ("too large", "Give less than {lt}"),
    "too_short": ("too few entries", "Give at least {min_length}"),
    "too_long": ("too many entries", "Give at most {max_length}"),
    "string_too_short": ("too short", "Give at least {min_length} characters"),
    "string_too_long": ("too long", "Give at most {max_length} characters"),
    "string_pattern_mismatch": ("not in the form expected", "Write it in the form {pattern}"),
}


def parse_toml(text: bytes, where: str, schema: type[Settings], refusal: type[Refusal] = BadInput) -> Settings:
    """Read a TOML text as ``schema``, or refuse with every unknown key, wrong type and impossible value at once.

    Raises
    ------
    Refusal
        Of the given kind; each fault's ``where`` is ``<where>: <dotted key>``.
    """
    from pydantic import ValidationError  # here, because every command refuses, and few read a schema

    raw = toml_of(text, where, refusal)
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise refusal(*faults_of(error, where, schema)) from None
    except RecursionError:
        raise refusal(Fault(where, *_TOO_DEEP)) from None


def toml_of(text: bytes, where: str, refusal: type[Refusal] = BadInput) -> dict[str, Any]:
    """The tables of a TOML text, or a refusal of the given kind when it cannot be read."""
    try:
        return tomllib.loads(text.decode("utf-8"))
    except RecursionError:
        raise refusal(Fault(where, *_TOO_DEEP)) from None
    except ValueError as error:  # bad TOML, bad UTF-8, or a whole number of thousands of digits
        raise refusal(Fault(where, f"is not readable TOML ({error})", "Mend the line and try again")) from None


def read_toml(path: Path, schema: type[Settings], refusal: type[Refusal] = BadInput) -> Settings:
    """Read a TOML file as ``schema``; see :func:`parse_toml`."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise refusal(Fault(str(path), f"cannot be read ({error.strerror})", "Give the path of a TOML file")) from None
    return parse_toml(text, str(path), schema, refusal)


def faults_of(
    error: ValidationError, where: str, schema: type[BaseModel], problems: Iterable[Any] | None = None
) -> list[Fault]:
    """Every failure of a schema as where, wrong (with the value) and mend; or those of ``problems`` alone."""
    faults = []
    for problem in error.errors(include_url=False) if problems is None else problems:
        place = f"{where}: {_dotted(problem['loc'])}" if problem["loc"] else where
        faults.append(Fault(place, *_wrong_and_mend(problem, schema)))
    return faults


def _wrong_and_mend(problem: Any, schema: type[BaseModel]) -> tuple[str, str]:
    kind, value, message = problem["type"], problem["input"], problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return "is not a key here", did_you_mean(str(problem["loc"][-1]), _keys_beside(schema, problem["loc"][:-1]))
    if kind == "missing":
        return "is missing", "Add it; docs/need-file.md shows an example"
    if kind == "value_error" and isinstance(value, dict):
        wrong, _, mend = message.partition(" | ")
        return wrong, mend or "Mend the keys named"
    wrong, _, mend = message.partition(" | ")
    if mend:  # our own validators write "what is wrong | how to mend it"
        return f"is {shown(value)}: {wrong}", mend
    if kind in _PLAIN_WORDS:
        wrong, mend = _PLAIN_WORDS[kind]
        return f"is {shown(value)}: {wrong}", mend.format(**problem.get("ctx", {}))
    return f"is {shown(value)}", message


def shown(value: Any) -> str:
    """A wrong value as messages show it: days as files write them, and nothing longer than a line or two.

    >>> shown("4"), shown(date(2024, 1, 31)), len(shown("x" * 1000))
    ("'4'", '2024-01-31', 200)
    """
    if not is_short(value):
        return f"a {type(value).__name__} of more than {_LONGEST_WRITTEN} parts"
    try:
        text = (
            value.isoformat()
            if isinstance(value, date)
            else repr(value[:_LONGEST_WRITTEN] if type(value) is str else value)
        )
    except (RecursionError, ValueError):  # nested without end, or a number of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def is_short(value: Any) -> bool:
    """Whether the parts of lists and tables within a value, and the characters in them, are few enough to write out."""
    if isinstance(value, str):
        return True  # of which only the beginning is written
    waiting, left = [value], _LONGEST_WRITTEN
    while waiting and left >= 0:
        one = waiting.pop()
        left -= len(one) if isinstance(one, str | bytes | dict | list | tuple | set | frozenset) else 0
        if left >= 0 and isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif left >= 0 and isinstance(one, list | tuple | set | frozenset):
            waiting += one
    return left >= 0


def _keys_beside(schema: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the table that ``path`` leads to; none known is an empty list."""
    here: Any = schema
    for step in path:
        if isinstance(step, int) or not hasattr(here, "model_fields"):
            continue
        named = {field.alias or name: field for name, field in here.model_fields.items()}
        if step not in named:
            continue
        here = _model_within(named[str(step)].annotation)
    return [field.alias or name for name, field in here.model_fields.items()] if hasattr(here, "model_fields") else []


def _model_within(annotation: Any) -> Any:
    """The schema inside ``X | None``, ``tuple[X, ...]`` and the like."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return annotation
    inner = (_model_within(part) for part in getattr(annotation, "__args__", ()))
    return next((found for found in inner if hasattr(found, "model_fields")), None)


def _dotted(path: Iterable[int | str]) -> str:
    """``("features", 3, "codes")`` as ``features[3].codes``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")
