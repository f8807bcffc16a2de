"""The whole definition of a need, read from one TOML file (contracts.md §2).

A need is either learned (``kind = "model"``) or written (``kind = "rule"``). Whatever is wrong in a file is said at
once: unknown keys, wrong types, impossible values, and what does not fit together. What the contracts name but is not
built yet is recognised, and refused when the need is to be used (:meth:`Need.require_built`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, did_you_mean, parse_toml, shown, toml_of
from features.spec import (
    CohortSpec,
    Day,
    FeatureSpec,
    IndicatorSpec,
    LabelSpec,
    Said,
    Spec,
    Texts,
    column_names,
    require_built,
)

NEEDS = Path(__file__).parent / "needs"
SCHEMA = 1
SMALLEST_LEAF = 20
"""Persons a leaf holds at least: fewer, and a leaf could describe one of them (policy ``min_data_in_leaf``)."""

_ORDER_HOW = "Write '<column> asc' or '<column> desc', and 'missing first' or 'missing last' after it if it matters"


@dataclass(frozen=True)
class OrderTerm:
    """One step of a written order: a column, which end comes first, and where the missing go.

    >>> str(OrderTerm.parse("screening.days_since_last.ever desc missing first"))
    'screening.days_since_last.ever desc missing first'
    """

    column: str
    descending: bool
    missing_first: bool = False

    @classmethod
    def parse(cls, text: Any) -> OrderTerm:
        """A term as need files write it; ValueError otherwise."""
        if isinstance(text, OrderTerm):
            return text
        words = text.split() if isinstance(text, str) else []
        if len(words) not in (2, 4) or words[1] not in ("asc", "desc"):
            raise ValueError(f"not a column with a direction | {_ORDER_HOW}")
        if words[2:] and (words[2] != "missing" or words[3] not in ("first", "last")):
            raise ValueError(f"'{' '.join(words[2:])}' does not say where the missing go | {_ORDER_HOW}")
        return cls(words[0], words[1] == "desc", words[2:] == ["missing", "first"])

    def __str__(self) -> str:
        missing = " missing first" if self.missing_first else ""
        return f"{self.column} {'desc' if self.descending else 'asc'}{missing}"


def parse_order(value: Any) -> tuple[OrderTerm, ...]:
    """A written order: one text, several with commas between, or a list of them; ValueError otherwise."""
    terms = value.split(",") if isinstance(value, str) else value
    if not isinstance(terms, list | tuple) or not terms:
        raise ValueError(f"not an order | {_ORDER_HOW}")
    order = tuple(OrderTerm.parse(term) for term in terms)
    if twice := [column for column, n in Counter(term.column for term in order).items() if n > 1]:
        raise ValueError(f"{', '.join(twice)} comes twice | Name each column once")
    return order


def _schema(value: Any) -> int:
    if type(value) is int and value == SCHEMA:
        return value
    raise ValueError(f"not a number of a schema | Write schema = {SCHEMA}, without quotes")


def _email(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError("not an address | Give an e-mail address that somebody reads")
    return value


def _monotone_pattern(value: str) -> str:
    if not value.strip():
        raise ValueError("empty | Give a column or a pattern such as 'absence.*'")
    return value


Order = Annotated[tuple[OrderTerm, ...], BeforeValidator(parse_order)]
Positive = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Content = bytes  # inside Need the names `bytes` and `list` are its own
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Responsible(Spec):
    """Somebody who answers for the need, by role."""

    where_in_file = "owner"
    name: Said
    email: Annotated[StrictStr, AfterValidator(_email)]
    phone: Said


class Splits(Spec):
    """How past dates are divided into learning and judging (see :mod:`models.splits`)."""

    where_in_file = "splits"
    kind: Literal["temporal", "person"]
    tests: Positive = 1
    judged: Positive = 1

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
        """People that the attempts of one period are expected to reach: k × ``contact_success``."""
        return self.reached_in(self.k)

    def reached_in(self, attempts: int) -> float:
        """People that so many attempts are expected to reach.

        >>> Capacity(workers=1, attempts_per_worker_per_period=9, contact_success=0.1, period_days=7).reached_in(3)
        0.3
        """
        return float(attempts * Fraction(str(self.contact_success)))

    def periods(self, days: int) -> int:
        """Periods begun in so many days."""
        return ceil(days / self.period_days)


class ListSettings(Spec):
    """What the unit's list shows, and whom it leaves in peace."""

    where_in_file = "list"
    columns: tuple[Literal["rank_band", "reasons", "action", "who_helps"], ...] = (
        "rank_band",
        "reasons",
        "action",
        "who_helps",
    )
    cooldown_days: Annotated[StrictInt, Field(ge=0)] = 0
    merge: Literal["none", "guardian"] = "none"

    def _unbuilt(self) -> Iterator[tuple[str, str, str]]:
        if self.merge != "none":
            yield "merge", repr(self.merge), "Built: none"


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
    lambda_l1: NotNegative | None = None
    lambda_l2: NotNegative | None = None
    monotone: Mapping[Annotated[StrictStr, AfterValidator(_monotone_pattern)], Literal[-1, 1]] = Field(
        default_factory=dict
    )

    def parameters(self) -> dict[str, int | float]:
        """The parameters that are set, ``monotone`` apart."""
        return self.model_dump(exclude={"monotone"}, exclude_none=True)

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


class Need(Spec):
    """One need, as its file defines it; ``id`` is the file's name and ``digest`` the SHA-256 of its bytes."""

    where_in_file: ClassVar[str] = "need"
    schema_: Annotated[int, BeforeValidator(_schema), Field(alias="schema")]
    kind: Literal["model", "rule"]
    service: Said
    use: Literal["outreach_ranking"]
    title: Texts
    question: Texts
    action: Texts
    benefit: Texts
    alternative: Texts
    owner: Responsible
    deputy: Responsible
    dpo: Responsible
    review_by: Day
    cohort: CohortSpec
    label: LabelSpec | None = None
    indicators: tuple[IndicatorSpec, ...] = ()
    features: tuple[FeatureSpec, ...]
    splits: Splits | None = None
    baseline: Baseline | None = None
    rule: Rule | None = None
    capacity: Capacity
    list: ListSettings = ListSettings()
    notice: Notice | None = None
    model: ModelSettings = ModelSettings()
    limits: Limits = Limits()
    _id: str = PrivateAttr(default="")
    _bytes: Content = PrivateAttr(default=b"")

    @property
    def id(self) -> str:
        """Name of the need: that of its file."""
        return self._id

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes."""
        return sha256(self._bytes)

    @property
    def bytes(self) -> Content:
        """The file's bytes."""
        return self._bytes

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of its matrix, in order."""
        return column_names(self.features)

    @property
    def order(self) -> tuple[OrderTerm, ...]:
        """The written order: the rule itself, or the baseline that a model must beat."""
        written = self.rule.order if self.rule else self.baseline.rule if self.baseline else ()
        return tuple(written)

    def require_built(self) -> None:
        """Refuse what the file asks for that is recognised but not built yet, all at once.

        Raises
        ------
        SpecError
            ``<id>.toml: features 'absence'.measures: not built yet: 'trend'. Built: …``
        """
        parts = (self.cohort, self.label, *self.indicators, *self.features, self.list)
        require_built([part for part in parts if part is not None], f"{self.id}.toml")

    def review_fault(self, today: date) -> Fault | None:
        """What is wrong when the day of the next review has passed; None until its end."""
        if today <= self.review_by:
            return None
        mend = "Review the need with those who answer for it, and give the day of the next review"
        return Fault(f"{self.id}.toml: review_by", f"is {self.review_by}, which has passed ({today})", mend)

    def check_against(self, policy_limits: Mapping[str, float]) -> None:
        """Refuse limits that are looser than the policy's.

        Parameters
        ----------
        policy_limits : mapping
            ``max_reject_share`` (lower is stricter) and ``min_data_in_leaf`` (higher is stricter).
        """
        faults = []
        highest, smallest = policy_limits["max_reject_share"], policy_limits["min_data_in_leaf"]
        share, leaf = self.limits.max_reject_share, self.model.min_data_in_leaf
        if share is not None and share > highest:
            mend = f"Give at most {highest}, or leave it out"
            faults.append(Fault("limits.max_reject_share", f"is {share}, looser than the policy's {highest}", mend))
        if leaf is not None and leaf < smallest:
            mend = f"Give at least {smallest:g}, or leave it out"
            faults.append(Fault("model.min_data_in_leaf", f"is {leaf}, looser than the policy's {smallest:g}", mend))
        if faults:
            raise BadInput(*(fault._replace(where=f"{self.id}.toml: {fault.where}") for fault in faults))


def load_need(path: Path) -> Need:
    """Read a need file.

    Raises
    ------
    BadInput
        Everything that is wrong in it at once: ``<path>: <dotted key>: is <value>: …``.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        mend = "Name the file with a–z, digits and _, e.g. youth_exclusion.toml; its name is the need's id"
        raise BadInput(Fault(str(path), f"'{path.stem}' cannot be the id of a need", mend))
    try:
        content = path.read_bytes()
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in NEEDS.glob("*.toml"))) or "none"
        mend = f"Give the path of a need file. Needs that come with Ennakko: {known}"
        raise BadInput(Fault(str(path), f"cannot be read ({error.strerror})", mend)) from None
    return parse_need(content, str(path))


def parse_need(content: bytes, where: str, need_id: str | None = None) -> Need:
    """Read the bytes of a need file; ``need_id`` if ``where`` is not named by it. Raises as :func:`load_need`."""
    faults: list[Fault] = []
    need = None
    try:
        need = parse_toml(content, where, Need)
    except BadInput as refusal:
        faults += refusal.faults
    raw = toml_of(content, where)
    schema = raw.get("schema", SCHEMA)
    if type(schema) is int and schema != SCHEMA:  # written for another Ennakko, whose other keys we cannot judge
        mend = f"This Ennakko reads schema {SCHEMA}: copy an example from models/needs/ and move the values into it"
        raise BadInput(Fault(f"{where}: schema", f"is {shown(schema)}, which is not known", mend))
    faults += [fault._replace(where=f"{where}: {fault.where}") for fault in _misfits(raw)]
    if faults or need is None:
        raise BadInput(*faults)
    need._id = need_id or Path(where).stem
    need._bytes = content
    return need


def list_needs(folder: Path = NEEDS) -> tuple[Need, ...]:
    """Every need of a folder, by id. Raises BadInput with the faults of all files at once."""
    needs: list[Need] = []
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            needs.append(load_need(path))
        except BadInput as refusal:
            faults += refusal.faults
    if faults:
        raise BadInput(*faults)
    return tuple(needs)


# ---- what does not fit together ------------------------------------------------------------------------------------

Part = TypeVar("Part")


def _readable(kind: type[Part], value: Any) -> Part | None:
    """A part of the file read on its own, so that a mistake in one part does not hide one in another."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None  # the schema has said why


def _entries(kind: type[Part], value: Any) -> list[Part | None]:
    return [_readable(kind, entry) for entry in value] if isinstance(value, list) else []


def _misfits(raw: Mapping[str, Any]) -> list[Fault]:
    """What is wrong between the parts of a need file."""
    features = _entries(FeatureSpec, raw.get("features"))
    faults = _kind_misfits(raw)
    if "features" in raw and not features:
        faults.append(Fault("features", "holds no feature", "Add at least one [[features]] table"))
    faults += _indicator_misfits(raw, [f for f in features if f])
    if None in features:
        return faults  # which columns there are is not known, so nothing can be said about their use
    try:
        columns = column_names([f for f in features if f])
    except BadInput as refusal:
        return faults + list(refusal.faults)
    return faults + _order_misfits(raw, columns) + _monotone_misfits(raw, columns)


def _kind_misfits(raw: Mapping[str, Any]) -> list[Fault]:
    needed, refused = {
        "model": (("label", "splits", "baseline"), ("rule",)),
        "rule": (("rule",), ("model", "splits", "baseline")),
    }.get(str(raw.get("kind")), ((), ()))
    kind = f'a need of kind "{raw.get("kind")}"'
    faults = [Fault(key, "is missing", f"Add it: {kind} has one") for key in needed if key not in raw]
    faults += [Fault(key, f"has no meaning in {kind}", "Leave it out, or change kind") for key in refused if key in raw]
    if raw.get("kind") == "rule" and raw.get("indicators") and "label" not in raw:
        faults.append(Fault("indicators", "look at the window of a label, and there is none", "Add [label]"))
    return faults


def _indicator_misfits(raw: Mapping[str, Any], features: list[FeatureSpec]) -> list[Fault]:
    label = _readable(LabelSpec, raw.get("label"))
    taken = [("the label", label.codes)] if label else []
    taken += [(f"feature '{feature.name}'", feature.codes) for feature in features]
    faults: list[Fault] = []
    names: Counter[str] = Counter()
    for i, indicator in enumerate(_entries(IndicatorSpec, raw.get("indicators"))):
        if indicator is None:
            continue
        names[indicator.name] += 1
        if names[indicator.name] == 2:
            faults.append(Fault(f"indicators[{i}].name", f"'{indicator.name}' comes twice", "Give each its own name"))
        for whose, codes in taken:
            for code, other in ((a, b) for a in indicator.codes for b in codes if _overlap(a, b)):
                wrong = f"'{code}' overlaps '{other}' of {whose}, so '{indicator.name}' is not an independent sign"
                faults.append(Fault(f"indicators[{i}].codes", wrong, "Use codes that nothing else in the need uses"))
    return faults


def _overlap(a: str, b: str) -> bool:
    """Whether some code matches both patterns, of which only the last sign may be a star."""
    stem_a, stem_b = a.removesuffix("*"), b.removesuffix("*")
    if a.endswith("*"):
        return stem_b.startswith(stem_a) or (b.endswith("*") and stem_a.startswith(stem_b))
    return a == b or (b.endswith("*") and a.startswith(stem_b))


def _order_misfits(raw: Mapping[str, Any], columns: Iterable[str]) -> list[Fault]:
    rule, baseline = _readable(Rule, raw.get("rule")), _readable(Baseline, raw.get("baseline"))
    written = [("rule.order", rule.order)] if rule else []
    written += [("baseline.rule", baseline.rule)] if baseline else []
    return [
        Fault(where, f"'{term.column}' is not a column of the features", did_you_mean(term.column, columns))
        for where, order in written
        for term in order
        if term.column not in columns
    ]


def _monotone_misfits(raw: Mapping[str, Any], columns: Iterable[str]) -> list[Fault]:
    table = raw.get("model")
    settings = _readable(ModelSettings, {"monotone": table.get("monotone", {})}) if isinstance(table, dict) else None
    patterns = settings.monotone if settings else {}
    faults = [
        Fault(f"model.monotone.'{pattern}'", "matches no column of the features", did_you_mean(pattern, columns))
        for pattern in patterns
        if not any(fnmatchcase(column, pattern) for column in columns)
    ]
    for column in columns:
        matching = {pattern: sign for pattern, sign in patterns.items() if fnmatchcase(column, pattern)}
        if len(set(matching.values())) > 1:
            wrong = f"{' and '.join(map(repr, matching))} send '{column}' both ways"
            faults.append(Fault("model.monotone", wrong, "Let one column match patterns of one direction"))
    return faults
