"""What a need read about one person on one day, and what of it moved the place: all that is the person's own to know.

What is of other people stays out: a household's figures are named without a number, and nobody's events but the
person's own are ever shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.event_log import matches
from features.matrix import build_matrix
from scoring.reason_events import Behind, CountedEvent, EventDays
from scoring.reason_sentences import Column, plain_of
from scoring.reasons import RESIDENT, Explainer, Reason, Typical, explain

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.spec import FeatureSpec
    from models.need import Need

_SAME = 1e-9
"""Two scores nearer than this are one score."""


@dataclass(frozen=True)
class FeatureRead:
    """What one feature of a need held about a person.

    Attributes
    ----------
    feature : FeatureSpec
    statements : tuple of str
        One sentence for each column that holds something; empty where nothing is on record, or where the figures
        are of other people.
    events : tuple of CountedEvent
        The person's own events behind it, oldest first.
    since : date or None
        Of an attribute: since when it is as it is.
    """

    feature: FeatureSpec
    statements: tuple[str, ...]
    events: tuple[CountedEvent, ...] = ()
    since: date | None = None


@dataclass(frozen=True)
class PersonData:
    """What a model read about a person on a day, as the city knows it now.

    Attributes
    ----------
    as_of_date : date
    read : tuple of FeatureRead
        Every feature of the need, in its order.
    reasons : tuple of Reason
        Up to four, strongest first; told to the person, so nothing of the person's own is hidden.
    score : float or None
        What the model gives now; None for a written rule.
    """

    as_of_date: date
    read: tuple[FeatureRead, ...]
    reasons: tuple[Reason, ...]
    score: float | None

    def is_as_scored(self, score: float | None) -> bool:
        """Whether it gives the score that was given then: if not, records were corrected or completed since."""
        if score is None or self.score is None:
            return score is self.score
        return abs(score - self.score) <= _SAME


def data_of(
    model: Any, city: City, objections: ObjectionRegister, person_id: str, as_of_date: date, language: str
) -> PersonData:
    """Build one person's row as it was built for the score, and tell all of it.

    Parameters
    ----------
    model : NeedModel or RuleModel
        That scored the person; used here to explain, which needs no verdict: a person may always ask.
    city : City
    objections : ObjectionRegister
        Nothing is to be built for somebody who objects: ask before.
    person_id : str
    as_of_date : date
    language : str

    Raises
    ------
    DataError
        The city does not have the person, or the day.
    """
    need, alone = model.need, city.only([person_id])
    keys = pl.DataFrame({"person_id": [person_id], "as_of_date": [as_of_date]})
    matrix = build_matrix(alone, need.features, keys, objections=objections, need_id=need.id)
    unknown = Typical(dict.fromkeys(need.columns, float("nan")))  # whoever asks about themselves is not compared
    told, _ = explain(model, matrix, [0], unknown, reader=RESIDENT, language=language, city=alone)
    columns = Explainer(need, unknown, RESIDENT, language).columns
    days = EventDays(alone, matrix.keys, columns)
    read = tuple(_read(feature, columns, matrix.X[0], days, language) for feature in need.features)
    score = None if need.kind == "rule" else float(model.probability(model.raw(matrix.X))[0])
    return PersonData(as_of_date, read, tuple(told[0]), score)


def _read(
    feature: FeatureSpec, columns: Sequence[Column], values: np.ndarray, days: EventDays, language: str
) -> FeatureRead:
    own = [j for j, column in enumerate(columns) if column.feature is feature]
    if feature.of == "household":
        return FeatureRead(feature, ())
    holding = [j for j in own if not np.isnan(values[j]) and (values[j] != 0 or feature.attribute is not None)]
    statements = tuple(columns[j].sentence(float(values[j]), float("nan"), language) for j in holding)
    behind: Behind | None = days.behind(0, own[0]) if own and feature.attribute is not None else None
    since = None if behind is None else behind.day
    return FeatureRead(feature, tuple(dict.fromkeys(statements)), tuple(days.counted(0, own)), since)


def title_of(feature: FeatureSpec, language: str) -> str:
    """What a need calls a feature, as a heading."""
    plain = plain_of(feature, language)
    return plain[:1].upper() + plain[1:]


def plain_code(city: City, code: str, language: str) -> str:
    """What the city calls a code: by itself, else by the longest pattern that covers it; else the code."""
    if city.codes is None or language not in city.codes.columns:
        return code
    named = dict(city.codes.select("code", language).drop_nulls().iter_rows())
    fitting = [pattern for pattern in named if matches(code, [pattern])]
    best = max(fitting, key=lambda pattern: (pattern == code, len(pattern)), default=None)
    return code if best is None else str(named[best])


def of_need(need: Need, language: str) -> list[dict[str, Any]]:
    """What a need reads of anybody, by feature: for whoever was never scored, and where no city is at hand."""
    return [
        {
            "feature": feature.name,
            "plain": title_of(feature, language),
            "source": feature.source,
            "purpose": feature.purpose,
            "basis": feature.basis,
            "changeable": feature.changeable,
            "of": feature.of,
        }
        for feature in need.features
    ]
