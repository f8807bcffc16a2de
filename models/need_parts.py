"""The parts of a need file beside cohort, label and features: who answers, splits, capacity, list, model, limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil, floor
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictInt, StrictStr, field_validator, model_validator

from features.spec import AnyWindow, Code, Codes, LabelSpec, Said, Spec, Texts
from models.written_order import Order

MARK = "TO DO:"
"""How a text begins that is still to be written; the gate takes it for no text."""


def written(text: str | None) -> str | None:
    """A text, or None while it is still to be written.

    >>> written("school register"), written("TO DO: the register it comes from")
    ('school register', None)
    """
    return None if text is None or text.startswith(MARK) else text


UNWRITTEN_EMAIL = "to-do@example.invalid"
"""The address of a draft, where nobody has given one yet."""
SMALLEST_LEAF = 20
"""Persons a leaf holds at least: fewer, and a leaf could describe one of them (policy ``min_data_in_leaf``)."""

Column = Literal["rank_band", "reasons", "action", "who_helps", "channel", "contact", "attempts"]
Positive = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


def _email(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError("not an address | Give an e-mail address that somebody reads")
    return value


def _monotone_pattern(value: str) -> str:
    if not value.strip():
        raise ValueError("empty | Give a column or a pattern such as 'absence.*'")
    return value


Email = Annotated[StrictStr, AfterValidator(_email)]


class Responsible(Spec):
    """Somebody who answers for the need, by role."""

    where_in_file = "owner"
    name: Said
    email: Email
    phone: Said

    def written(self) -> dict[str, str]:
        """Name, e-mail and phone; empty where they are still to be written."""
        said = {name: written(text) or "" for name, text in self.model_dump().items()}
        return said | ({"email": ""} if self.email == UNWRITTEN_EMAIL else {})


class Splits(Spec):
    """How past dates are divided into learning and judging (see :mod:`models.splits`)."""

    where_in_file = "splits"
    kind: Literal["temporal", "person"]
    tests: Positive = 1
    judged: Positive = 1
    hold_out: Said | None = None

    @model_validator(mode="after")
    def _judged_are_tests(self) -> Splits:
        if self.kind == "person" and (given := sorted({"tests", "judged"} & self.model_fields_set)):
            raise ValueError(f"{' and '.join(given)} say nothing in a split of persons | Leave them out")
        if self.judged > self.tests:
            raise ValueError(f"judged ({self.judged}) is above tests ({self.tests}) | Judge at most those")
        return self


class Baseline(Spec):
    """What the unit does, or would do, today."""

    where_in_file = "baseline"
    rule: Order


class Rule(Spec):
    """The written order of a rule need."""

    where_in_file = "rule"
    order: Order


class Capacity(Spec):
    """How many people the whole service can try to reach in a period.

    >>> Capacity(workers=4, attempts_per_worker_per_period=15, contact_success=0.6, period_days=7).k
    60
    >>> Capacity(workers=4, attempts_per_worker_per_period=15, contact_success=0.6, period_days=7, slots=12).k
    20
    """

    where_in_file = "capacity"
    workers: Positive
    attempts_per_worker_per_period: Positive
    contact_success: Share
    period_days: Positive
    slots: Positive | None = None

    @property
    def k(self) -> int:
        """People on the list of one period: what the workers can try, or fewer if ``slots`` are filled before."""
        attempts = self.workers * self.attempts_per_worker_per_period
        if self.slots is None:
            return attempts
        return min(attempts, ceil(Fraction(self.slots) / Fraction(str(self.contact_success))))

    @property
    def expected_reached(self) -> float:
        """People that the attempts of one period are expected to reach, one for each: k × ``contact_success``."""
        return self.reached_in(self.k)

    def reached_in(self, people: int, attempts_each: int = 1) -> float:
        """People expected to be reached of so many: n × (1 − (1 − ``contact_success``)^attempts).

        With several attempts each that is the most there can be on average: some people are harder to reach than
        others, and whoever was not reached the first time is likelier to be one of them (Jensen's inequality).

        >>> capacity = Capacity(workers=1, attempts_per_worker_per_period=9, contact_success=0.1, period_days=7)
        >>> capacity.reached_in(3), capacity.reached_in(10, attempts_each=2)
        (0.3, 1.9)
        """
        missed = (1 - Fraction(str(self.contact_success))) ** attempts_each
        return float(people * (1 - missed))

    def periods(self, days: int) -> int:
        """Periods begun in so many days."""
        return ceil(days / self.period_days)


Portion = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
"""A share that may be nothing."""
_SHOWN_UNLESS_SAID: tuple[Column, ...] = ("rank_band", "reasons", "action", "who_helps")
MOST_MARGIN = 0.5
"""Above it, lots would decide more of a list than the ranking does."""


def places_by_lot(margin: float, places: int) -> int:
    """Of so many places, those that a margin gives by lot: whole ones only.

    >>> places_by_lot(0.29, 100), places_by_lot(0.02, 60)
    (29, 1)
    """
    return floor(margin * places + 1e-9)


class InService(Spec):
    """Events that say a person already has the service: of these codes, in this window."""

    where_in_file = "list.in_service"
    codes: Codes
    window: AnyWindow = Field(default=180, validate_default=True)


class Contraindication(Spec):
    """Events of which whoever takes up contact should know first; ``plain`` says it in three languages."""

    where_in_file = "list.contraindications"
    codes: Codes
    window: AnyWindow = Field(default="ever", validate_default=True)
    plain: Texts


class Helper(Spec):
    """Events that say somebody else already helps a person; ``plain`` says who in three languages."""

    where_in_file = "list.helpers"
    codes: Codes
    window: AnyWindow = Field(default=180, validate_default=True)
    plain: Texts


class Keep(Spec):
    """A statutory duty to keep what is recorded of a list's people, for so many days from the list's day.

    Until then nobody who was on the list is erased; ``law`` says why in three languages.
    """

    where_in_file = "list.keep"
    days: Positive
    law: Texts


class ListSettings(Spec):
    """What the unit's list shows, whom it leaves in peace, and how its places are shared.

    >>> ListSettings(attempts_per_person=3).places(20)
    6
    """

    where_in_file = "list"
    columns: tuple[Column, ...] = _SHOWN_UNLESS_SAID
    secrecy_order: Literal["hidden", "shown"] = "hidden"
    cooldown_days: Annotated[StrictInt, Field(ge=0, le=36_500)] = 0
    merge: Literal["none", "guardian"] = "none"
    allocation: Literal["proportional", "need"] = "proportional"
    churn_cap: Portion = 1.0
    attempts_per_person: Annotated[StrictInt, Field(ge=1, le=100)] = 1
    in_service: InService | None = None
    left: tuple[Code, ...] | None = None
    sample: Annotated[StrictInt, Field(ge=0, le=100_000)] = 0
    margin: Annotated[float, Field(strict=True, ge=0, le=MOST_MARGIN, allow_inf_nan=False)] = 0.0
    contraindications: tuple[Contraindication, ...] = ()
    helpers: tuple[Helper, ...] = ()
    keep: Keep | None = None

    @field_validator("columns")
    @classmethod
    def _each_column_once(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column comes twice | Give each once")
        return columns

    def places(self, attempts: int) -> int:
        """People on a list of so many attempts."""
        return attempts // self.attempts_per_person

    def codes_of_leaving(self, label: LabelSpec | None) -> tuple[str, ...]:
        """Codes that say a person has moved away or died: ``left``, or the label's ``censored_by``."""
        if self.left is not None:
            return self.left
        return () if label is None else tuple(label.censored_by)


class Notice(Spec):
    """How a person is told, and where to call."""

    where_in_file = "notice"
    phone: Said
    letter: Said


class ModelSettings(Spec):
    """Parameters of LightGBM that a need may set; what is left out depends on how much there is to learn from."""

    where_in_file = "model"
    num_leaves: Annotated[StrictInt, Field(ge=2, le=1024)] | None = None
    max_depth: Annotated[StrictInt, Field(ge=1, le=64)] | None = None
    learning_rate: Share | None = None
    n_estimators: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = None
    min_data_in_leaf: Annotated[StrictInt, Field(ge=SMALLEST_LEAF)] | None = None
    feature_fraction: Share | None = None
    bagging_fraction: Share | None = None
    bagging_freq: Annotated[StrictInt, Field(ge=0, le=1000)] | None = None
    imbalance: Literal["none", "balanced"] = "none"
    recency_half_life_days: Positive | None = None
    lambda_l1: NotNegative | None = None
    lambda_l2: NotNegative | None = None
    monotone: Mapping[Annotated[StrictStr, AfterValidator(_monotone_pattern)], Literal[-1, 1]] = Field(
        default_factory=dict
    )

    def parameters(self) -> dict[str, int | float]:
        """Parameters of LightGBM that are set; ``monotone`` and what is done to the rows' weights apart."""
        return self.model_dump(exclude={"monotone", "imbalance", "recency_half_life_days"}, exclude_none=True)

    def constraints(self, columns: Iterable[str]) -> list[int]:
        """-1, 0 or 1 per column: the direction in which the score may go when the column grows."""
        return [
            next((sign for pattern, sign in self.monotone.items() if fnmatchcase(column, pattern)), 0)
            for column in columns
        ]


class Limits(Spec):
    """Limits of this need, stricter than the policy's."""

    where_in_file = "limits"
    max_reject_share: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = None
