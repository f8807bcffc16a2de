"""From risk to expected benefit: published effects as a versioned table, and when the word may be used at all.

Who is at most risk is not who is helped most. A risk becomes an expected benefit only by an effect somebody measured:
in published trials, written down in an *evidence table* with its source, or in a trial of one's own
(:mod:`models.uplift_learning`). Without either, "benefit" is a word nobody here may say.

Ennakko comes without a filled table. Each city writes its own, of effects that its own professionals have read::

    schema = 1
    version = "2026-1"
    review_by = 2027-06-30
    [[effects]]
    id = "blood_pressure"
    needs = ["heart_risk"]                  # needs whose action this is
    label_codes = ["diagnosis.mace*"]       # the outcome the effect is on: the need's label must lie within
    action = "Treatment that lowers systolic blood pressure by 10 mmHg"
    source = "Ettehad et al. 2016, Lancet 387: 957-967; 123 trials, 613 815 persons"
    size = { measure = "risk_ratio", value = 0.80, low = 0.77, high = 0.83 }
    eligible = [{ column = "systolic.last.24mo", at_least = 140, plain = { fi = "…", sv = "…", en = "…" } }]
    contra_indications = []                 # said, even where there are none
    minutes_per_attempt = 25                # of work, as the unit has measured them; without it nothing is per minute
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BeforeValidator, Field, PrivateAttr, StrictStr, model_validator

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, did_you_mean, parse_toml, shown, toml_of
from features.spec import Codes, Day, Said, Spec, Texts

if TYPE_CHECKING:
    from models.metrics import Estimate
    from models.need import Need

SCHEMA = 1
_EXAMPLE = "Add it; the beginning of models/benefit.py shows an example"
_NEED_FILE = "docs/need-file.md"
_ENGLISH = (
    # A social benefit is a payment, not a claim; neither is the benefit register.
    r"(?<!housing )(?<!unemployment )(?<!child )(?<!social )(?<!sickness )(?<!disability )(?<!parental )"
    r"\bbenefi(?:t|c)(?!s? register)\w*"
)
_WORDS = {
    "fi": re.compile(rf"\w*hyö(?:ty|dy)(?!nt|nn)\w*|{_ENGLISH}", re.IGNORECASE),  # hyödyntää is to make use of
    "sv": re.compile(rf"\w*nytt(?:a|o)\w*|\w*nyttig\w*|\bgagn\w*|{_ENGLISH}", re.IGNORECASE),
    "en": re.compile(_ENGLISH, re.IGNORECASE),
}
"""What "benefit" looks like in the city's languages, inflected and inside compounds."""


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError("not a number | Give a number, e.g. 0.8")


def _schema(value: Any) -> int:
    if type(value) is int and value == SCHEMA:
        return value
    raise ValueError(f"not a schema known here | Write schema = {SCHEMA}, without quotes")


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Identifier = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Condition(Spec):
    """Something that must hold, or must not, of a column of the matrix.

    ``missing`` says what an empty cell means: nobody knows yet (the default), yes, or no.
    """

    where_in_file: ClassVar[str] = "condition"
    column: Said
    at_least: Number | None = None
    at_most: Number | None = None
    missing: Literal["unknown", "yes", "no"] = "unknown"
    plain: Texts

    @model_validator(mode="after")
    def _bounded(self) -> Condition:
        if self.at_least is None and self.at_most is None:
            raise ValueError("has neither at_least nor at_most | Give one or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least:g}) is above at_most ({self.at_most:g}) | Exchange them")
        return self


class EffectSize(Spec):
    """A ratio of outcomes with to without the action, with its 95 % interval; below 1 the outcome is rarer."""

    where_in_file: ClassVar[str] = "size"
    measure: Literal["risk_ratio", "odds_ratio", "hazard_ratio"]
    value: Positive
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _in_order(self) -> EffectSize:
        if not self.low <= self.value <= self.high:
            numbers = f"low {self.low:g}, value {self.value:g}, high {self.high:g}"
            raise ValueError(f"{numbers} are not in order | Give the interval that the source states")
        return self


class Effect(Spec):
    """One published effect of one action on one outcome, with whom it is for."""

    where_in_file: ClassVar[str] = "effects"
    id: Identifier
    needs: Annotated[tuple[Said, ...], Field(min_length=1)]
    cities: tuple[Said, ...] = ()
    label_codes: Codes
    action: Said
    source: Said
    size: EffectSize
    eligible: tuple[Condition, ...]
    contra_indications: tuple[Condition, ...]
    minutes_per_attempt: Positive | None = None


class EvidenceTable(Spec):
    """The effects a city relies on; ``digest`` is the SHA-256 of the file's bytes."""

    where_in_file: ClassVar[str] = "evidence table"
    schema_: Annotated[int, BeforeValidator(_schema), Field(alias="schema")]
    version: Said
    review_by: Day
    effects: tuple[Effect, ...]
    _bytes: bytes = PrivateAttr(default=b"")

    @model_validator(mode="after")
    def _each_once(self) -> EvidenceTable:
        if twice := [name for name, n in Counter(effect.id for effect in self.effects).items() if n > 1]:
            raise ValueError(f"effects: {', '.join(twice)} comes twice | Give each effect its own id")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes."""
        return sha256(self._bytes)


def load_evidence_table(path: Path) -> EvidenceTable:
    """Read an evidence table, or refuse with everything that is wrong in it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        mend = "Give the path of an evidence table"
        raise BadInput(Fault(str(path), f"cannot be read ({error.strerror})", mend)) from None
    return parse_evidence_table(content, str(path))


def parse_evidence_table(content: bytes, where: str) -> EvidenceTable:
    """Read an evidence table from its bytes.

    Raises
    ------
    BadInput
        Every unknown key, missing key and impossible value at once: ``<where>: effects[0].size: …``.
    """
    schema = toml_of(content, where).get("schema", SCHEMA)
    if type(schema) is int and schema != SCHEMA:  # written for another Ennakko, whose other keys we cannot judge
        mend = f"This Ennakko reads schema {SCHEMA}: move the values into a table of that schema"
        raise BadInput(Fault(f"{where}: schema", f"is {shown(schema)}, which is not known", mend))
    try:
        table = parse_toml(content, where, EvidenceTable)
    except BadInput as refusal:
        faults = [f._replace(mend=_EXAMPLE) if _NEED_FILE in f.mend else f for f in refusal.faults]
        raise BadInput(*faults) from None
    table._bytes = content
    return table


# ---- whether the word may be said ----------------------------------------------------------------------------------


class ShownByTrial(Protocol):
    """What a trial has to say to be a ground: an :class:`models.uplift_learning.Uplift`, or what was kept of one."""

    @property
    def average(self) -> Estimate:
        """Effect on average, from the draw alone."""

    @property
    def shows_benefit(self) -> bool:
        """Whether "benefit" may be said."""


class KeptTrial(NamedTuple):
    """What a home keeps of a trial that was judged."""

    average: Estimate
    shows_benefit: bool


class Grounds(NamedTuple):
    """What entitles a need in a city to speak of benefit: published effects, a trial of one's own, or both."""

    effects: tuple[Effect, ...]
    trial: ShownByTrial | None


def benefit_grounds(
    need: Need, city: str | None, *, today: date, table: EvidenceTable | None = None, trial: ShownByTrial | None = None
) -> Grounds:
    """The grounds on which a need in a city may speak of benefit.

    Parameters
    ----------
    need : Need
    city : str or None
        As the table's ``cities`` name it; None is whichever city.
    today : date
        An evidence table past its ``review_by`` is no ground.
    table : EvidenceTable, optional
    trial : ShownByTrial, optional
        Of this need's action in this city; the caller vouches for that.

    Raises
    ------
    BadInput
        No ground at all, with why each thing offered is none.
    """
    effects, why_not = _effects_of(need, city, today, table)
    shown_by_trial = trial if trial is not None and trial.shows_benefit else None
    if effects or shown_by_trial:
        return Grounds(effects, shown_by_trial)
    if trial is not None:
        low, high = trial.average.low, trial.average.high
        wrong = f"its average effect lies between {low:.4f} and {high:.4f}, and none is shown for the first fifth"
        why_not.append(Fault("benefit: trial", wrong, "Speak of risk or need"))
    if not why_not:
        place = "" if city is None else f" in city '{city}'"
        wrong = f"neither an evidence table nor a trial is given for need '{need.id}'{place}"
        mend = "Speak of risk or need; or give a table of published effects, or randomise a part of the list"
        why_not.append(Fault("benefit", wrong, mend))
    raise BadInput(*why_not)


def _effects_of(
    need: Need, city: str | None, today: date, table: EvidenceTable | None
) -> tuple[tuple[Effect, ...], list[Fault]]:
    """Effects of the table that hold for a need in a city, and, when there are none, why."""
    if table is None:
        return (), []
    where = f"benefit: evidence table {table.version}"
    if today > table.review_by:
        wrong = f"was to be reviewed by {table.review_by}, which has passed ({today})"
        return (), [Fault(where, wrong, "Review its effects, and give the day of the next review")]
    here = [e for e in table.effects if need.id in e.needs and (not e.cities or city is None or city in e.cities)]
    if not here:
        known = sorted({name for effect in table.effects for name in effect.needs})
        place = "" if city is None else f" in city '{city}'"
        wrong = f"has no effect for need '{need.id}'{place}"
        return (), [Fault(where, wrong, f"Speak of risk or need, or add an effect with its source. Needs: {known}")]
    if need.label is not None and need.label.at_most is not None:
        wrong = f"says that an outcome grows rarer, and the need's label is at_most = {need.label.at_most:g}"
        return (), [
            Fault(where, wrong, "Speak of risk or need; or use a label with at_least, which is the outcome itself")
        ]
    usable, why_not = [], []
    for effect in here:
        place = f"{where}: {effect.id}"
        label = need.label.codes if need.label else ()
        other = [code for code in label if not any(fnmatchcase(code, known) for known in effect.label_codes)]
        if not label or other:
            said = f"{', '.join(other)} of the label" if other else "no label at all"
            wrong = f"is an effect on {', '.join(effect.label_codes)}, and the need has {said}"
            why_not.append(Fault(place, wrong, "Use an effect on the outcome that the need predicts"))
        elif fault := effect_not_shown(effect, place):
            why_not.append(fault)
        else:
            usable.append(effect)
    return tuple(usable), [] if usable else why_not


def effect_not_shown(effect: Effect, where: str) -> Fault | None:
    """Why an effect is no ground for anything; None when its interval lies below 1."""
    if effect.size.high < 1:
        return None
    wrong = f"its interval {effect.size.low:g}–{effect.size.high:g} reaches 1, so no effect is shown"
    return Fault(where, wrong, "Use a source that shows one, or run a trial")


def check_wording(texts: Texts, where: str, grounds: Grounds | None) -> None:
    """Refuse texts that say "benefit" in any of the three languages where there are no grounds for it.

    Raises
    ------
    BadInput
        Each word found, with its language.

    >>> check_wording(Texts(fi="Apua", sv="Hjälp", en="The most beneficial call"), "title", None)
    Traceback (most recent call last):
    ethics.refusals.BadInput: title.en: says 'beneficial' without evidence or trial. Say risk or need; ...
    """
    if grounds is not None:
        return
    mend = "Say risk or need; or show the benefit by an evidence table or a trial"
    faults = [
        Fault(f"{where}.{language}", f"says '{word}' without evidence or trial", mend)
        for language, pattern in _WORDS.items()
        for word in pattern.findall(unicodedata.normalize("NFC", getattr(texts, language)))
    ]
    if faults:
        raise BadInput(*faults)


def column_faults(effect: Effect, columns: Mapping[str, Any], where: str) -> list[Fault]:
    """The effect's conditions on columns that are not there."""
    return [
        Fault(f"{where}: {effect.id}.{part}[{i}].column", f"'{c.column}' is no column", did_you_mean(c.column, columns))
        for part, conditions in (("eligible", effect.eligible), ("contra_indications", effect.contra_indications))
        for i, c in enumerate(conditions)
        if c.column not in columns
    ]


def effects_without_minutes(effects: Sequence[Effect]) -> list[Fault]:
    """Why some effects say nothing per minute."""
    mend = "Give minutes_per_attempt as the unit has measured them"
    return [
        Fault(f"benefit: {effect.id}.minutes_per_attempt", "is missing, so nothing can be said per minute", mend)
        for effect in effects
        if effect.minutes_per_attempt is None
    ]
