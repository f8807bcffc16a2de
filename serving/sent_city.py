"""A small city out of a request's body, through the same door as a city folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl

from ethics.refusals import BadInput, Fault
from features.city import city_from_frames
from serving.exchange import Unanswered

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from serving.schemas import EventBody, PersonBody

_FROM_BIRTH = ("age",)
_MOMENTS = {"event_date": pl.Datetime("us"), "knowledge_date": pl.Datetime("us")}
EVENT_TYPES: dict[str, Any] = {"person_id": pl.String, **_MOMENTS, "code": pl.String, "value": pl.Float64}


def city_of_body(persons: Sequence[PersonBody], events: Iterable[tuple[str, EventBody]], like: City) -> City:
    """A city of the persons of a body, with whose events they are; raises Unanswered."""
    zone = ZoneInfo(like.timezone)
    rows = [
        {
            "person_id": person_id,
            "event_date": _local(event.event_date, zone),
            "knowledge_date": None if event.knowledge_date is None else _local(event.knowledge_date, zone),
            "code": event.code,
            "value": event.value,
        }
        for person_id, event in events
    ]
    people = [
        {"person_id": person.person_id, "birth_date": person.birth_date, **_fixed(person, like.fixed)}
        for person in persons
    ]
    types = {"person_id": pl.String, "birth_date": pl.Date, **dict.fromkeys(like.fixed, pl.String)}
    return city_of_frames(pl.DataFrame(people, schema=types), pl.DataFrame(rows, schema=EVENT_TYPES), like)


def city_of_frames(persons: pl.DataFrame, events: pl.DataFrame, like: City) -> City:
    """A city of tables as a body brings them; a single bad row refuses.

    Raises
    ------
    Unanswered
        422, with every fault the door finds.
    """
    try:
        return city_from_frames(persons, events, like=like)
    except BadInput as refusal:
        raise Unanswered(422, "The body cannot be used", *refusal.faults) from None


def misfits_of_need(need: Need, fixed: Sequence[str], where: str, mend: str) -> list[Fault]:
    """What a need uses that only a city folder can tell, and no body."""
    faults = []
    if need.kind == "rule":
        faults.append(Fault(where, "this need puts a whole cohort in order", mend))
    if need.cohort.table is not None:
        faults.append(Fault(where, "this need covers those of a ready-made table", mend))
    used = [rule.attribute for rule in need.cohort.where]
    used += [feature.attribute for feature in need.features if feature.attribute is not None]
    for attribute in dict.fromkeys(used):
        if attribute not in (*_FROM_BIRTH, *fixed):
            wrong = f"this need uses '{attribute}', which changes over time and cannot come in a body"
            faults.append(Fault(where, wrong, mend))
    for relation in dict.fromkeys(feature.of for feature in need.features if feature.of != "self"):
        faults.append(Fault(where, f"this need reads about the person's {relation}", mend))
    return faults


def _fixed(person: PersonBody, names: Sequence[str]) -> dict[str, str | None]:
    given = person.model_extra or {}
    return {name: None if given.get(name) is None else str(given[name]) for name in names}


def _local(text: str, zone: ZoneInfo) -> datetime:
    """A moment as the city's clocks showed it; a day without a clock stands at its midnight."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(zone).replace(tzinfo=None)
