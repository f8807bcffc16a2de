"""``city.toml`` and the tables of a city: what each table must have and may have, and what else a city may say."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import unquote_plus
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ethics.refusals import did_you_mean
from features.spec import Code, Day

# Columns each table must have and may have, with what they hold. Fixed columns of persons are added when it is read.
TABLES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
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
_PASSWORD_PLACES = "Take it out, and keep it in ~/.pgpass, in the file that PGPASSFILE names, or in PGPASSWORD"


def columns_of(table: str, fixed: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """The columns a table must have and those it may have, and what each holds; persons has its fixed ones too."""
    needed, optional = TABLES[table]
    return ({**needed, **dict.fromkeys(fixed, "text")} if table == "persons" else needed), optional


def holds_password(url: str) -> bool:
    """Whether a database URL carries a password, as user:password@ or among its options, or theirs (odbc_connect).

    >>> holds_password("postgresql://reader@db/city"), holds_password("postgresql://reader:x@db/city?y=1")
    (False, True)
    >>> holds_password("mssql+pyodbc:///?odbc_connect=UID%3Dreader%3BPWD%3Dx")
    True
    """
    options = unquote_plus(url.partition("?")[2])
    named = re.search(r"(?:pass|pwd)[^=&;]*=", options, re.IGNORECASE)
    return bool(re.match(r"[^:/]+://[^:/@]*:[^@]+@", url) or named)


def without_password(text: str) -> str:
    """What was meant as a city's path or URL and is neither, as a message may show it: no password, no options.

    >>> without_password("reader:secret@db/city"), without_password("x?password=secret"), without_password("var/city")
    ('reader:***@db/city', 'x', 'var/city')
    """
    hidden = re.sub(r":.+@", ":***@", text, flags=re.DOTALL)
    return re.split(r"[?;].*=", hidden, maxsplit=1, flags=re.DOTALL)[0]


Euros = Annotated[float, Field(strict=True, gt=0, lt=1e9, allow_inf_nan=False)]


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


class SqlSection(_Section):
    """``[sql]``: the database that holds the tables, instead of files; a password never stands here."""

    url: str
    table_schema: StrictStr | None = Field(default=None, alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _without_password(cls, section: Any) -> Any:
        # A failure of the whole section shows no value, so that not even a misplaced password comes on the screen.
        url = section.get("url") if isinstance(section, dict) else None
        if not isinstance(url, str) or "://" not in url:
            raise ValueError("url is not a database URL | Write one such as postgresql+psycopg://user@host/city")
        if holds_password(url):
            raise ValueError(f"url holds a password | {_PASSWORD_PLACES}")
        return section


class CityFile(_Section):
    """``city.toml``; every key is optional. ``[columns.<table>]`` says ours = theirs; ``[purposes]`` says which
    services or needs a source register may serve, by its name as need files write it; ``[attempt_cost]`` what one
    attempt to reach a person costs a service, in euros."""

    extract_date: Day | None = None
    timezone: StrictStr = "Europe/Helsinki"
    invented: StrictBool = False
    persons: PersonsSection = PersonsSection()
    events: EventsSection = EventsSection()
    relations: RelationsSection = RelationsSection()
    sql: SqlSection | None = None
    columns: dict[str, dict[str, StrictStr]] = {}
    purposes: dict[str, tuple[StrictStr, ...]] = {}
    attempt_cost: dict[str, Euros] = {}

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not found is a KeyError; some names are folders or bad paths
            raise ValueError("no such time zone | Give a name such as Europe/Helsinki") from None
        return name

    @field_validator("sql", mode="before")
    @classmethod
    def _as_a_table(cls, section: Any) -> Any:
        if isinstance(section, str):
            return {"url": section}
        return section if isinstance(section, dict) else {}

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, dict[str, str]], info: ValidationInfo) -> dict[str, dict[str, str]]:
        fixed = info.data["persons"].fixed if "persons" in info.data else ()
        for table, mapping in columns.items():
            if table not in TABLES:
                raise ValueError(f"there is no table '{table}' | " + did_you_mean(table, TABLES))
            needed, optional = columns_of(table, fixed)
            for name in mapping:
                if name not in {**needed, **optional}:
                    raise ValueError(f"{table} has no column '{name}' | " + did_you_mean(name, {**needed, **optional}))
        return columns
