"""What to compute, as frozen values: cohort, label, indicators and features of a need (contracts.md §2 and §3).

Everything the contracts name is recognised here. What is impossible is refused when a spec is born; what is possible
but not built yet is refused when it is to be used, by :func:`require_built`, so that no setting is ever ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ethics.refusals import BadInput, Fault, did_you_mean, faults_of
from features.windows import LONGEST_DAYS, MEASURES, Window, is_whole, numbered

ATTRIBUTE_MEASURES = ("months_since_change", "n_changes")
"""What an attribute's history is measured by, besides its value on the day."""
RATE = "rate"
"""Events per resident: the one measure of a district."""
_ALL_MEASURES = (*MEASURES, RATE, *ATTRIBUTE_MEASURES)
_OLDEST_YEARS = 130
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
MOST_AS_OF_DATES = 10_000
"""As-of dates of one cohort at most: every one is computed for the whole city."""


class SpecError(BadInput):
    """A definition of cohort, label or features that cannot be used."""


class Spec(BaseModel):
    """A frozen value that refuses to be born wrong.

    Made directly it raises :class:`SpecError`; read inside a larger schema it leaves its faults to that schema, so
    that a need file is refused with everything that is wrong in it at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    where_in_file: ClassVar[str] = "spec"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SpecError(*faults_of(error, type(self).where_in_file, type(self))) from None

    # Tells pydantic that nested values need not pass through this method (BaseModel marks its own likewise).
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def not_built(self, where: str = "") -> list[Fault]:
        """What this value asks for that is recognised but not built yet; empty when it can be used."""
        place = where or type(self).where_in_file
        return [Fault(f"{place}.{key}", f"not built yet: {wanted}", mend) for key, wanted, mend in self._unbuilt()]

    def _unbuilt(self) -> Iterator[tuple[str, str, str]]:
        yield from ()


def require_built(specs: Iterable[Spec], where: str = "") -> None:
    """Refuse every part of the given specs that is recognised but not built yet, all at once.

    Raises
    ------
    SpecError
        One fault each, e.g. ``features 'absence'.measures: not built yet: 'trend'. …``.
    """
    prefix = f"{where}: " if where else ""
    faults = [fault for spec in specs for fault in spec.not_built()]
    if faults:
        raise SpecError(*(fault._replace(where=prefix + fault.where) for fault in faults))


def _code_pattern(value: str) -> str:
    if not value.strip() or value != value.strip():
        raise ValueError("not a code | Give the code as the event log writes it, without blanks around it")
    if "*" in value[:-1]:
        raise ValueError("a star may only end a code | Write 'care.psychiatry.*' for every code beginning so")
    return value


def _measure(value: str) -> str:
    if value in _ALL_MEASURES or numbered(value) is not None:
        return value
    raise ValueError("unknown measure | " + did_you_mean(value, (*_ALL_MEASURES, "decay_<n>d", "quantile_<p>")))


def _name(value: str) -> str:
    # A dot separates the parts of a column name, and LightGBM refuses most other signs.
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value):
        raise ValueError("not a name for a column | Use letters a–z, digits and _, beginning with a letter")
    return value


def _table_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
        raise ValueError("not a cohort's name | Give the file's name without folder and ending, e.g. 'enrolled'")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("empty | Say it in words, or leave the key out")
    return value


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("nothing to look for | Give at least one")
    return values


def _plain_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        if _FIRST_YEAR <= value.year <= _LAST_YEAR:
            return value
        raise ValueError(f"outside the years {_FIRST_YEAR}-{_LAST_YEAR} | Give a day such as 2024-01-31")
    raise ValueError("not a day | Give a day such as 2024-01-31, without quotes or a clock")


def _value(value: Any) -> Any:
    if isinstance(value, str) or is_whole(value):
        return value
    raise ValueError('neither text nor a whole number | Give values as the city has them, e.g. "Kallio" or 4')


Value = Annotated[str | int, BeforeValidator(_value)]
Code = Annotated[StrictStr, AfterValidator(_code_pattern)]
Codes = Annotated[tuple[Code, ...], AfterValidator(_some)]
AnyWindow = Annotated[Window, BeforeValidator(Window.parse)]
Day = Annotated[date, BeforeValidator(_plain_date)]
Said = Annotated[StrictStr, AfterValidator(_said)]


class Texts(Spec):
    """One text in the three languages of the city."""

    where_in_file = "text"
    fi: Said
    sv: Said
    en: Said


class FeatureSpec(Spec):
    """One feature: measures of events with certain codes over windows, or an attribute of the person.

    ``of`` says whose events: the person's own; those of the other members of the ``household``; or those of all who
    live in the ``district``, per resident. The last two need the city's consent (``[relations]`` in ``city.toml``) and
    state purpose and basis. An attribute is its value on the day (a number; or, with ``categories``, the place in that
    list, from 0), or with ``measures`` what its history tells.

    >>> FeatureSpec(name="absence", codes=["school.absence.*"], windows=[30, "ever"], measures=["count"]).columns()
    ('absence.count.30d', 'absence.count.ever')
    >>> FeatureSpec(attribute="age").columns()
    ('age',)
    """

    where_in_file = "features"
    name: Annotated[StrictStr, AfterValidator(_name)]
    attribute: StrictStr | None = None
    categories: tuple[Said, ...] = ()
    of: Literal["self", "household", "district"] = "self"
    codes: tuple[Code, ...] = ()
    windows: tuple[AnyWindow, ...] = ()
    measures: tuple[Annotated[StrictStr, AfterValidator(_measure)], ...] = ()
    plain: Texts | None = None
    source: Said | None = None
    purpose: Said | None = None
    basis: Said | None = None
    visible_to: tuple[Said, ...] = ()
    changeable: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_attribute(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("attribute"), str) and "name" not in values:
            return {**values, "name": values["attribute"]}
        return values

    @field_validator("windows", "measures", "categories")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        labels = [v.label if isinstance(v, Window) else v for v in values]
        if twice := [label for label, n in Counter(labels).items() if n > 1]:
            raise ValueError(f"{', '.join(twice)} is given twice, so two columns would have one name | Give each once")
        return values

    @model_validator(mode="after")
    def _events_or_attribute(self) -> FeatureSpec:
        if self.attribute is None:
            self._check_events()
        else:
            self._check_attribute(self.attribute)
        return self

    def _check_events(self) -> None:
        parts = {"codes": self.codes, "windows": self.windows, "measures": self.measures}
        if missing := ", ".join(key for key, value in parts.items() if not value):
            raise ValueError(
                f"feature '{self.name}' has no {missing} | Give codes, windows and measures, or attribute alone"
            )
        if self.categories:
            raise ValueError(f"feature '{self.name}' counts events, which have no categories | Leave categories out")
        if wrong := [m for m in self.measures if m in ATTRIBUTE_MEASURES]:
            raise ValueError(f"'{wrong[0]}' measures an attribute, not events | Give one of: {', '.join(MEASURES)}")
        if self.of == "district" and self.measures != (RATE,):
            raise ValueError(f'a district is measured by its rate alone | Give measures = ["{RATE}"]')
        if self.of != "district" and RATE in self.measures:
            raise ValueError('a rate is of a district | Give of = "district", or another measure')
        if self.of != "self" and not (self.purpose and self.basis):
            raise ValueError(
                f"feature '{self.name}' reads about others than the person, without purpose or basis | State both"
            )

    def _check_attribute(self, attribute: str) -> None:
        parts = {"codes": self.codes, "windows": self.windows}
        beside = [key for key, value in parts.items() if value] + (["name"] if self.name != attribute else [])
        if self.of != "self":
            beside.append("of")
        if beside:
            raise ValueError(
                f"attribute '{attribute}' stands beside {', '.join(beside)} | Give attribute alone, or codes, windows "
                "and measures"
            )
        if wrong := [m for m in self.measures if m not in ATTRIBUTE_MEASURES]:
            raise ValueError(f"'{wrong[0]}' measures events | Give one of: {', '.join(ATTRIBUTE_MEASURES)}")
        if attribute == "age" and (self.measures or self.categories):
            raise ValueError('age is a number that only grows | Give attribute = "age" alone')

    def columns(self) -> tuple[str, ...]:
        """Names of the columns it makes, in the matrix's order: windows as written, and measures within each."""
        if self.attribute is None:
            return tuple(f"{self.name}.{measure}.{w.label}" for w in self.windows for measure in self.measures)
        value = (self.name,) if self.categories or not self.measures else ()
        return (*value, *(f"{self.name}.{measure}" for measure in self.measures))


def column_names(features: Sequence[FeatureSpec]) -> tuple[str, ...]:
    """Columns of a matrix in order, refused when two would share a name.

    Raises
    ------
    SpecError
        Every name that comes twice.
    """
    names = tuple(name for feature in features for name in feature.columns())
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise SpecError(
            *(Fault("features", f"two columns are called '{name}'", "Give each feature its own name") for name in twice)
        )
    return names


class AttributeRule(Spec):
    """Persons whose attribute (fixed, or as ``history`` has it on the as-of date) is one of some values."""

    where_in_file = "cohort.where"
    attribute: Said
    one_of: Annotated[tuple[Value, ...], AfterValidator(_some), Field(alias="in")]


class EventRule(Spec):
    """Persons with at least so many events of some codes in a window, as known on the as-of date."""

    where_in_file = "cohort.with"
    codes: Codes
    window: AnyWindow
    at_least: Annotated[StrictInt, Field(ge=1)] = 1


class AsOfSpec(Spec):
    """Which days to look from: every so many days from first to last, or after an event becomes known."""

    where_in_file = "cohort.as_of"
    first: Day | None = None
    last: Day | None = None
    every_days: Annotated[StrictInt, Field(ge=1, le=LONGEST_DAYS)] | None = None
    on: Code | None = None
    after_days: Annotated[StrictInt, Field(ge=0, le=LONGEST_DAYS)] | None = None
    period_days: Annotated[StrictInt, Field(ge=1, le=LONGEST_DAYS)] | None = None

    @model_validator(mode="after")
    def _dates_or_event(self) -> AsOfSpec:
        how = "Give first, last and every_days, or on and after_days"
        dates, event = (self.first, self.last, self.every_days), (self.on, self.after_days)
        if (any(v is not None for v in dates)) == (any(v is not None for v in event)):
            raise ValueError(f"needs either fixed days or an event to follow, and not both | {how}")
        if self.on is None and (self.first is None or self.last is None or self.every_days is None):
            raise ValueError(f"lacks a part | {how}")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"last ({self.last}) comes before first ({self.first}) | Give the earlier day as first")
        if self.n_days > MOST_AS_OF_DATES:
            raise ValueError(
                f"gives {self.n_days:,} as-of dates, more than {MOST_AS_OF_DATES:,} | Give a later first, an earlier "
                "last or a greater every_days"
            )
        return self

    @property
    def n_days(self) -> int:
        """How many days it looks from; 0 when they follow an event."""
        if self.first is None or self.last is None or self.every_days is None:
            return 0
        return (self.last - self.first).days // self.every_days + 1

    def _unbuilt(self) -> Iterator[tuple[str, str, str]]:
        if self.on is not None:
            yield "on", "as-of dates that follow an event", "Give first, last and every_days"


class CohortSpec(Spec):
    """Who is eligible at which as-of dates: a ready-made table, or rules that must all hold.

    >>> CohortSpec(age=[28, 16], as_of={"first": date(2024, 1, 1), "last": date(2024, 6, 1), "every_days": 30})
    Traceback (most recent call last):
    features.spec.SpecError: cohort: age: is [28, 16]: nobody is that old. Give whole years, the younger first, e.g. \
age = [16, 28]
    """

    where_in_file = "cohort"
    table: Annotated[StrictStr, AfterValidator(_table_name)] | None = None
    age: tuple[StrictInt, StrictInt] | None = None
    where: tuple[AttributeRule, ...] = ()
    with_: Annotated[tuple[EventRule, ...], Field(alias="with")] = ()
    without: tuple[EventRule, ...] = ()
    washout_days: Annotated[StrictInt, Field(ge=1, le=LONGEST_DAYS)] | None = None
    prior_outcome: AnyWindow | None = None
    as_of: AsOfSpec | None = None

    @field_validator("age")
    @classmethod
    def _age_is_possible(cls, ages: tuple[int, int] | None) -> tuple[int, int] | None:
        if ages is not None and not 0 <= ages[0] <= ages[1] <= _OLDEST_YEARS:
            raise ValueError("nobody is that old | Give whole years, the younger first, e.g. age = [16, 28]")
        return ages

    @model_validator(mode="after")
    def _table_or_rules(self) -> CohortSpec:
        rules = {"age": self.age, "where": self.where, "with": self.with_, "without": self.without, "as_of": self.as_of}
        beside = [key for key, value in rules.items() if value]
        if self.table is not None and beside:
            raise ValueError(
                f"table stands beside {', '.join(beside)}, and a table already says who and when | "
                "Give the table alone, or rules with as_of"
            )
        if self.table is None and self.as_of is None:
            raise ValueError(
                'names no days to look from | Give table = "<name>", or as_of = { first = …, last = …, every_days = … }'
            )
        return self

    def _unbuilt(self) -> Iterator[tuple[str, str, str]]:
        if self.as_of is not None:
            yield from _within("as_of", self.as_of)
        for key, entries in (("with", self.with_), ("without", self.without)):
            for i, entry in enumerate(entries):
                yield from _within(f"{key}[{i}]", entry)


def _within(key: str, spec: Spec) -> Iterator[tuple[str, str, str]]:
    for inner, wanted, mend in spec._unbuilt():
        yield f"{key}.{inner}", wanted, mend


class LabelSpec(Spec):
    """What counts as the need having appeared after the as-of date.

    An event counts if it happened in [as_of, as_of + horizon) and was known before as_of + horizon + delay. Of the
    measures, ``days`` (distinct days) is 0 when nothing counts; ``sum``, ``max`` and ``min`` then have no value, which
    reaches neither ``at_least`` nor ``at_most``. ``days`` without either means ``at_least = 1``.

    >>> LabelSpec(codes=["status.neet"], horizon_days=0)
    Traceback (most recent call last):
    features.spec.SpecError: label: horizon_days: is 0: no day lies after the as-of date. Give the number of days to \
look ahead, e.g. horizon_days = 180
    """

    where_in_file = "label"
    codes: Codes
    horizon_days: StrictInt
    measure: Literal["days", "sum", "max", "min"] = "days"
    at_most: float | None = Field(default=None, allow_inf_nan=False, strict=True)
    at_least: float | None = Field(default=None, allow_inf_nan=False, strict=True, validate_default=True)
    reporting_delay_days: Annotated[StrictInt, Field(ge=0, le=LONGEST_DAYS)] = 0
    starts_after_days: StrictInt = 0
    min_days_at_risk: StrictInt | None = None
    censored_by: tuple[Code, ...] = ()
    censoring: Literal["drop", "negative", "ipcw"] = "drop"
    plausible_auc_max: float = Field(default=None, validate_default=True)

    @field_validator("horizon_days")
    @classmethod
    def _looks_ahead(cls, days: int) -> int:
        if not 1 <= days <= LONGEST_DAYS:
            wrong = "no day lies after the as-of date" if days < 1 else "longer than a century"
            raise ValueError(f"{wrong} | Give the number of days to look ahead, e.g. horizon_days = 180")
        return days

    @field_validator("at_least")
    @classmethod
    def _one_threshold(cls, at_least: float | None, info: ValidationInfo) -> float | None:
        at_most, measure = info.data.get("at_most"), info.data.get("measure")
        if at_least is not None and at_most is not None:
            raise ValueError(f"at_most = {at_most:g} is given too | Give one of at_least and at_most")
        if at_least is None and at_most is None and measure == "days":
            return 1.0
        if at_least is not None and measure == "days" and at_least < 1:
            raise ValueError("everyone has that many days | Give at least 1, or use at_most")
        return at_least

    @field_validator("at_most")
    @classmethod
    def _possible_days(cls, at_most: float | None, info: ValidationInfo) -> float | None:
        if at_most is not None and at_most < 0 and info.data.get("measure") == "days":
            raise ValueError("nobody has so few days | Give at least 0, where 0 means that nothing happened")
        return at_most

    @field_validator("plausible_auc_max", mode="before")
    @classmethod
    def _plausible(cls, auc: Any, info: ValidationInfo) -> Any:
        if auc is None:
            return 0.90 if info.data.get("horizon_days", 180) >= 180 else 0.97
        if not isinstance(auc, int | float) or not 0.5 < auc <= 1.0:
            raise ValueError("not an AUC better than chance | Give a share above 0.5 and up to 1, e.g. 0.90")
        return auc

    @model_validator(mode="after")
    def _compared_with_something(self) -> LabelSpec:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"the {self.measure} of values is compared with nothing | Give at_least or at_most")
        return self

    def _unbuilt(self) -> Iterator[tuple[str, str, str]]:
        if self.censoring == "ipcw":
            yield "censoring", "'ipcw'", "Built: drop, negative"


class IndicatorSpec(Spec):
    """An independent sign of need: any event of some codes in the label's window, known as the label is known."""

    where_in_file = "indicators"
    name: Said
    codes: Codes
