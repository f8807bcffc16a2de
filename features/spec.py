"""What to compute, as frozen values: cohort, label, indicators and features of a need (contracts.md §2 and §3).

Everything the contracts name is recognised here. What is impossible is refused when a spec is born; see
:mod:`features.spec_base`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ethics.refusals import Fault, did_you_mean
from features.spec_base import (
    AnyWindow,
    Code,
    Codes,
    Day,
    Said,
    Spec,
    SpecError,
    Texts,
    Value,
    require_built,
    some,
)
from features.windows import LONGEST_DAYS, MEASURES, Window, numbered

__all__ = [
    "ATTRIBUTE_MEASURES",
    "MOST_AS_OF_DATES",
    "PERIOD_DAYS",
    "RATE",
    "AnyWindow",
    "AsOfSpec",
    "AttributeRule",
    "Code",
    "Codes",
    "CohortSpec",
    "Day",
    "EventRule",
    "FeatureSpec",
    "IndicatorSpec",
    "LabelSpec",
    "Said",
    "Spec",
    "SpecError",
    "Texts",
    "column_names",
    "require_built",
]

ATTRIBUTE_MEASURES = ("months_since_change", "n_changes")
"""What an attribute's history is measured by, besides its value on the day."""
RATE = "rate"
"""Events per resident: the one measure of a district."""
_ALL_MEASURES = (*MEASURES, RATE, *ATTRIBUTE_MEASURES)
_OLDEST_YEARS = 130
MOST_AS_OF_DATES = 10_000
"""As-of dates of one cohort at most: every one is computed for the whole city."""
PERIOD_DAYS = 91
"""Days of a period, unless a cohort that follows an event says otherwise: a quarter of a year in whole weeks."""


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


class FeatureSpec(Spec):
    """One feature: measures of events with certain codes over windows, or an attribute of the person.

    ``of`` says whose events: the person's own; those of the other members of the ``household``; or those of all who
    live in the ``district``, per resident. The last two need the city's consent (``[relations]`` in ``city.toml``) and
    state purpose and basis. An attribute is its value on the day (a number; or, with ``categories``, the place in that
    list, from 0), or with ``measures`` what its history tells. ``special_category`` says that it is personal data of
    GDPR 9 (health, say), which the gate asks somebody to vouch for.

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
    special_category: StrictBool = False

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
    one_of: Annotated[tuple[Value, ...], AfterValidator(some), Field(alias="in")]


class EventRule(Spec):
    """Persons with at least so many events of some codes in a window, as known on the as-of date."""

    where_in_file = "cohort.with"
    codes: Codes
    window: AnyWindow
    at_least: Annotated[StrictInt, Field(ge=1)] = 1


class AsOfSpec(Spec):
    """Which days to look from: every so many days from first to last, or after an event becomes known.

    With ``on`` everyone is looked at from a day of their own: the day after the city came to know of such an event,
    and ``after_days`` more. ``period_days`` then says how many days together make one period of validation, of which
    each date is one where the days are fixed.

    >>> AsOfSpec(on="school.place_lost").period_days
    91
    """

    where_in_file = "cohort.as_of"
    first: Day | None = None
    last: Day | None = None
    every_days: Annotated[StrictInt, Field(ge=1, le=LONGEST_DAYS)] | None = None
    on: Code | None = None
    after_days: Annotated[StrictInt, Field(ge=0, le=LONGEST_DAYS)] | None = Field(default=None, validate_default=True)
    period_days: Annotated[StrictInt, Field(ge=1, le=LONGEST_DAYS)] | None = Field(default=None, validate_default=True)

    @field_validator("after_days", "period_days")
    @classmethod
    def _usual_for_events(cls, days: int | None, info: ValidationInfo) -> int | None:
        if days is not None or info.data.get("on") is None:
            return days
        return {"after_days": 0, "period_days": PERIOD_DAYS}[str(info.field_name)]

    @model_validator(mode="after")
    def _dates_or_event(self) -> AsOfSpec:
        how = "Give first, last and every_days, or on and after_days"
        dates, event = (self.first, self.last, self.every_days), (self.on, self.after_days)
        if (any(v is not None for v in dates)) == (any(v is not None for v in event)):
            raise ValueError(f"needs either fixed days or an event to follow, and not both | {how}")
        if self.on is None and (self.first is None or self.last is None or self.every_days is None):
            raise ValueError(f"lacks a part | {how}")
        if self.on is None and self.period_days is not None:
            raise ValueError(
                "period_days groups days that follow an event, and these days are fixed, each a period of its own | "
                "Leave it out, or give on and after_days"
            )
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


class CohortSpec(Spec):
    """Who is eligible at which as-of dates: a ready-made table, or rules that must all hold.

    ``washout_days`` and ``prior_outcome`` also narrow a table. Washout: an event of any code at least so many days
    before the as-of date, known before it, shows that the person was under observation by then. Prior outcome: nobody
    for whom an event of the label's codes lies in that window before the as-of date, as known then.
    Source: the OHDSI settings ``washoutPeriod`` and ``removeSubjectsWithPriorOutcome`` (Reps et al. 2018, JAMIA 25:
    969-975).

    >>> from datetime import date
    >>> CohortSpec(age=[28, 16], as_of={"first": date(2024, 1, 1), "last": date(2024, 6, 1), "every_days": 30})
    Traceback (most recent call last):
    features.spec_base.SpecError: cohort: age: is [28, 16]: nobody is that old. Give whole years, the younger first, \
e.g. age = [16, 28]
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


class LabelSpec(Spec):
    """What counts as the need having appeared after the as-of date.

    An event counts if it happened in [as_of + ``starts_after_days``, as_of + horizon), the time at risk, and was known
    before as_of + horizon + delay. Of the measures, ``days`` (distinct days) is 0 when nothing counts; ``sum``, ``max``
    and ``min`` then have no value, which reaches neither ``at_least`` nor ``at_most``. ``days`` without either means
    ``at_least = 1``.

    Who leaves (``censored_by``) before the label is decided has none (``drop``; ``ipcw`` also weighs those who stayed
    for those who left), or counts as not in need (``negative``); but who left after ``min_days_at_risk`` days at risk
    is taken as followed to the end. See :func:`features.label.outcome_of`.

    Whoever the service contacted before the label was decided has none from then on (``contacted``: ``censor``; ``ipw``
    also weighs the others for them; ``ignore`` learns from what followed the contact). See
    :mod:`models.contacted_rows`.

    ``kind`` says what the label stands for: need, use of services, or spending (the usual one for a ``sum``); the gate
    asks more of the last two. ``contact_codes`` are those of its codes that only an earlier contact of a service
    produces; None: not declared.

    >>> LabelSpec(codes=["status.neet"], horizon_days=0)
    Traceback (most recent call last):
    features.spec_base.SpecError: label: horizon_days: is 0: no day lies after the as-of date. Give the number of days \
to look ahead, e.g. horizon_days = 180
    """

    where_in_file = "label"
    codes: Codes
    horizon_days: StrictInt
    measure: Literal["days", "sum", "max", "min"] = "days"
    at_most: float | None = Field(default=None, allow_inf_nan=False, strict=True)
    at_least: float | None = Field(default=None, allow_inf_nan=False, strict=True, validate_default=True)
    reporting_delay_days: Annotated[StrictInt, Field(ge=0, le=LONGEST_DAYS)] = 0
    starts_after_days: StrictInt = 0
    censored_by: tuple[Code, ...] = ()
    min_days_at_risk: StrictInt | None = None
    censoring: Literal["drop", "negative", "ipcw"] = "drop"
    contacted: Literal["censor", "ipw", "ignore"] = "censor"
    plausible_auc_max: float = Field(default=None, validate_default=True)
    kind: Literal["need", "use", "spending"] = Field(default=None, validate_default=True)
    contact_codes: tuple[Code, ...] | None = None

    @field_validator("horizon_days")
    @classmethod
    def _looks_ahead(cls, days: int) -> int:
        if not 1 <= days <= LONGEST_DAYS:
            wrong = "no day lies after the as-of date" if days < 1 else "longer than a century"
            raise ValueError(f"{wrong} | Give the number of days to look ahead, e.g. horizon_days = 180")
        return days

    @field_validator("starts_after_days")
    @classmethod
    def _begins_after_the_features(cls, days: int, info: ValidationInfo) -> int:
        if days < 0:
            raise ValueError(
                "the label would begin inside the feature window, where the model could read it | "
                "Give 0, or the days to wait after the as-of date"
            )
        horizon_days = info.data.get("horizon_days")
        if horizon_days is not None and days >= horizon_days:
            raise ValueError(f"no day of the horizon ({horizon_days} days) is left | Give fewer than horizon_days")
        return days

    @field_validator("min_days_at_risk")
    @classmethod
    def _can_leave_so_late(cls, days: int | None, info: ValidationInfo) -> int | None:
        known = {"horizon_days", "starts_after_days", "censored_by"} <= info.data.keys()
        if days is None or not known:
            return days
        at_risk = info.data["horizon_days"] - info.data["starts_after_days"]
        if not 1 <= days <= at_risk:
            raise ValueError(f"the time at risk is {at_risk} days | Give 1 to {at_risk}, or leave it out for all")
        if not info.data["censored_by"]:
            raise ValueError("is about those who leave, and censored_by names no event | Add it, or leave this out")
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

    @field_validator("kind", mode="before")
    @classmethod
    def _usual_kind(cls, kind: Any, info: ValidationInfo) -> Any:
        return kind if kind is not None else "spending" if info.data.get("measure") == "sum" else "need"

    @model_validator(mode="after")
    def _compared_with_something(self) -> LabelSpec:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"the {self.measure} of values is compared with nothing | Give at_least or at_most")
        return self


class IndicatorSpec(Spec):
    """An independent sign of need: any event of some codes in the label's window, known as the label is known."""

    where_in_file = "indicators"
    name: Said
    codes: Codes
