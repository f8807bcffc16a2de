"""Bodies of the HTTP service: what may be asked, what is answered, and how a refusal is told (contracts.md §6)."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StrictBool,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

from ethics.refusals import BadInput, Fault, faults_of, is_short, shown

MAX_BODY_BYTES = 4_000_000
MAX_EVENTS = 20_000
_LONGEST_TEXT = 200
_LONGEST_SHOWN = 60
_MOST_FAULTS = 20
_IDENTITY_CODE = re.compile(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]", re.IGNORECASE)
_LANGUAGES = ("fi", "sv", "en")
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_WORDS = {
    "missing": ("is missing", "Add it"),
    "json_invalid": ("is not JSON that can be read", "Send one JSON object"),
    "finite_number": ("is not a finite number", "Give a number, or null for none"),
    "too_long": ("has too many entries", "Send fewer, or score from the city folder"),
    "string_too_long": (f"is longer than {_LONGEST_TEXT} characters", "Give a shorter text"),
    "string_too_short": ("is empty", "Say it, or leave the key out"),
    "string_type": ("is not text", "Put it in quotes"),
    "model_type": ("is not a JSON object", "Send {...} with need, as_of_date and person_id"),
    "model_attributes_type": ("is not a JSON object", "Send {...} with need, as_of_date and person_id"),
    "float_type": ("is not a number", "Give a number without quotes, or null for none"),
    "list_type": ("is not a list", "Send [...], empty when there is none"),
    "tuple_type": ("is not a list", "Send [...], empty when there is none"),
}


def _as_text(value: Any) -> Any:
    """Integers name persons too, and are written in decimal."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _day(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass  # no such day, as 2024-02-30
    raise ValueError("not a day | Write it as 2026-06-01")


class _PlainValues:
    """Marks what is refused by its type, before anything nested is made of it, and in one plain fault."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        said = "Value error, not a plain value | Give a text, a number or null"
        return core_schema.custom_error_schema(handler(source), "not_plain", custom_error_message=said)


def _moment(value: str) -> str:
    how = "Write 2026-06-01 or 2026-06-01T14:30:00"
    try:
        year = datetime.fromisoformat(value).year if _MOMENT.fullmatch(value) else None
    except ValueError:
        year = None
    if year is None:
        raise ValueError(f"not a day or a moment | {how}")
    if not _FIRST_YEAR <= year <= _LAST_YEAR:  # beyond them another zone's clock could leave the calendar
        raise ValueError(f"outside the years {_FIRST_YEAR}-{_LAST_YEAR} | {how}")
    return value


def _language(value: str) -> str:
    if value not in _LANGUAGES:
        raise ValueError(f"not a language of the reasons | Give one of: {', '.join(_LANGUAGES)}")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("only blanks | Say it, or leave the key out")
    return value


def _pseudonym(value: str) -> str:
    if not (value.isascii() and value.isalnum()) and not value.isprintable():
        raise ValueError("no readable text | Give the pseudonym, e.g. 000123")
    if _IDENTITY_CODE.search(value):
        raise ValueError("of the form of a personal identity code | Give the pseudonym, e.g. 000123")
    return value


_TEXT = {"type": "string", "minLength": 1, "maxLength": _LONGEST_TEXT, "pattern": "\\S"}
_DAY = {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}

Text = Annotated[
    StrictStr,
    Field(min_length=1, max_length=_LONGEST_TEXT),
    AfterValidator(_not_blank),
    WithJsonSchema(_TEXT, mode="validation"),
]
PersonId = Annotated[
    Text,
    BeforeValidator(_as_text),
    AfterValidator(_pseudonym),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "integer"}]}, mode="validation"),
]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema(_DAY, mode="validation")]
Moment = Annotated[
    Text,
    AfterValidator(_moment),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_MOMENT.pattern}$", "examples": ["2024-01-31"]}, mode="validation"
    ),
]
Language = Annotated[
    StrictStr, AfterValidator(_language), WithJsonSchema({"type": "string", "enum": _LANGUAGES}, mode="validation")
]


def one_of(alone: str, *together: str) -> dict[str, Any]:
    """JSON Schema of a body that has one key alone, or all of some others, and never both."""
    given = {alone: {"not": {"type": "null"}}, **{name: {"type": "null"} for name in together}}
    tables = {alone: {"type": "null"}, **{name: {"not": {"type": "null"}} for name in together}}
    return {
        "oneOf": [
            {"required": [alone], "properties": given},
            {"required": list(together), "properties": tables},
        ]
    }


class Body(BaseModel):
    """Strict and frozen: no key is ignored, nothing is guessed, no number is NaN or infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class EventBody(Body):
    """One thing that happened; a day without a clock is some time that day, as in a city folder."""

    event_date: Moment
    knowledge_date: Moment | None = None
    code: Text
    value: float | None = None


class PersonBody(BaseModel):
    """A person who is not in the city folder: id, birth date, and the city's fixed columns by their names."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Annotated[str | int | float | bool | None, _PlainValues()]]

    person_id: PersonId
    birth_date: Day | None = None


class ScoreRequest(Body):
    """One person to score: by ``person_id`` from the city folder, or with ``person`` and ``events`` in the body.

    ``language`` is that of the reasons' texts; without ``reasons`` the answer comes faster and has none.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=one_of("person_id", "person", "events"),
    )

    need: Text
    as_of_date: Day
    person_id: PersonId | None = None
    person: PersonBody | None = None
    events: Annotated[tuple[EventBody, ...], Field(max_length=MAX_EVENTS)] | None = None
    language: Language = "en"
    reasons: StrictBool = True

    mend: ClassVar[str] = "Give person_id alone, or person together with events (an empty list when there are none)"

    @model_validator(mode="after")
    def _one_person(self) -> ScoreRequest:
        if self.person_id is not None and (self.person is not None or self.events is not None):
            raise ValueError(f"person_id stands beside person or events | {self.mend}")
        if self.person_id is None and (self.person is None or self.events is None):
            raise ValueError(f"does not say who is to be scored | {self.mend}")
        return self

    @property
    def whose(self) -> str:
        """The id of the person to score."""
        person_id = self.person_id if self.person is None else self.person.person_id
        assert person_id is not None  # the validator has seen to it
        return person_id


class ReasonBody(Body):
    """Why, in words; ``source`` and ``changeable`` are null where the caller may not see what contributed."""

    text: str
    source: str | None
    changeable: bool | None


class ScoreResponse(Body):
    """One answer. ``score`` is a calibrated probability, null for a need that is a written rule.

    ``reasons`` is null where none were asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    person_id: str
    as_of_date: date
    score: float | None
    rank_band: Literal["top_1", "top_5", "top_10", "top_25", "top_50", "rest"]
    reasons: tuple[ReasonBody, ...] | None
    model_digest: str
    verdict_id: str


class NeedBody(Body):
    """One need that can be asked for."""

    need: str
    service: str
    title: str


class NeedsResponse(Body):
    """The needs that can be asked for."""

    needs: tuple[NeedBody, ...]


class VerdictResponse(Body):
    """What the scores of a need rest on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    need: str
    verdict_id: str
    state: str
    model_digest: str
    expires_at: datetime
    demonstration: bool


class Problem(BaseModel):
    """A refusal over HTTP: problem details (RFC 9457), with every fault as where, wrong and mend."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    errors: tuple[dict[str, str], ...] = ()

    @classmethod
    def of(cls, status: int, title: str, *faults: Fault) -> Problem:
        """Problem details of some faults."""
        return cls(title=title, status=status, errors=tuple(fault.facts() for fault in faults))


def parse_request(body: bytes) -> ScoreRequest:
    """Read a body, or refuse it with everything that is wrong; no refusal shows an identifier.

    >>> parse_request(b'{"need": "x", "as_of_date": "2024-02-30", "person_id": "000123"}')
    Traceback (most recent call last):
    ethics.refusals.BadInput: body: as_of_date: is '2024-02-30': not a day. Write it as 2026-06-01
    """
    try:
        return ScoreRequest.model_validate_json(body)
    except ValidationError as error:
        raise BadInput(*faults_of_body(error, ScoreRequest)) from None


def faults_of_body(error: ValidationError, schema: type[BaseModel]) -> list[Fault]:
    """What is wrong with a body, up to twenty faults of it; no value that could be a person's is shown."""
    problems = error.errors(include_url=False)[:_MOST_FAULTS]  # cut before any is put into words, which takes longer
    faults = [
        _without_identifiers(problem, fault, schema)
        for problem, fault in zip(problems, faults_of(error, "body", schema, problems))
    ]
    if more := error.error_count() - len(faults):
        faults.append(Fault("body", f"has {more} more faults", "Mend these first"))
    return faults


def _without_identifiers(problem: Any, fault: Fault, schema: type[BaseModel]) -> Fault:
    """A fault as where, wrong and mend, without values that could be a person's or fill a screen."""
    value, names = problem["input"], [str(step) for step in problem["loc"]]
    wrong, mend = _WORDS.get(problem["type"], (fault.wrong, fault.mend))
    where = "body" if any(len(name) > _LONGEST_SHOWN or _IDENTITY_CODE.search(name) for name in names) else fault.where
    if problem["type"] == "too_long":
        wrong = f"has more than {problem['ctx']['max_length']} entries"
    if problem["type"] == "extra_forbidden" and (_IDENTITY_CODE.search(names[-1]) or len(names[-1]) > _LONGEST_SHOWN):
        return Fault("body", "holds a key that is not one", f"Allowed: {', '.join(sorted(schema.model_fields))}")
    said = shown(value)
    hide = bool({"person_id", "person_ids", "birth_date", "person", "persons"} & set(names))
    if said in wrong and (hide or len(said) > _LONGEST_SHOWN or _IDENTITY_CODE.search(said)):
        size = f"{len(str(value))} characters" if is_short(value) else "more than can be shown"
        wrong = wrong.replace(said, f"{type(value).__name__} of {size}")
    return Fault(where, wrong, mend)
