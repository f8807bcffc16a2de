"""Whom a ranking may put on a list, and why not: exclusions in one fixed order, each counted with its reason.

Everybody scored either may be listed or has exactly one reason, the first that applies in the order of :data:`REASONS`.
So those listed, those below the line and those excluded add up to the people the need covers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.cohort import had_events
from features.spec import EventRule
from features.windows import Window
from scoring.event_rows import OUTCOME_CODES

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from scoring.store import Store

OBJECTED = "objected"
ERASED = "erased"
LEFT = "moved or deceased"
IN_SERVICE = "already in service"
LISTED_RECENTLY = "listed recently"
UNIT_NOT_KNOWN = "unit not known"
OTHER_NEED = "contacted for another need"
SAME_GUARDIAN = "guardian contacted for a sibling"
CHURN = "churn cap"
REASONS = (
    OBJECTED,
    ERASED,
    LEFT,
    IN_SERVICE,
    LISTED_RECENTLY,
    UNIT_NOT_KNOWN,
    OTHER_NEED,
    SAME_GUARDIAN,
    CHURN,
)
"""Why somebody whom the need covers is on no list, in the order in which it is asked."""

NOT_REACHED = "not_reached"
_TO_CONTACT = ("ranked", "carried", "margin", "added")

Erased = Callable[[Sequence[str]], NDArray[np.bool_]]
"""Person ids → who was erased; :meth:`scoring.store.Store.is_erased` is one."""


def nobody_erased(person_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Where there is no store yet, nobody was erased from it."""
    return np.zeros(len(person_ids), dtype=np.bool_)


@dataclass(frozen=True)
class Past:
    """What earlier lists of a need, and what came of them, mean for the next.

    Attributes
    ----------
    resting : frozenset of str
        Left in peace: listed, reached, declined or served less than ``cooldown_days`` ago.
    carried : frozenset of str
        On a list before and not reached: they take their places first.
    last : frozenset of str or None
        People to contact on the list before; None: there was none.
    attempts : mapping of str to int
        Attempts to reach a person about the need, as far as they are recorded; nobody else is in it.
    """

    resting: frozenset[str] = frozenset()
    carried: frozenset[str] = frozenset()
    last: frozenset[str] | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)


def past_of(store: Store, need: Need, as_of_date: date) -> Past:
    """Read from the store who rests and who is carried over to the list of a day.

    Who was on a list of the need (also by hand) less than ``cooldown_days`` before the day rests, and so does whom an
    outcome other than ``not_reached`` was recorded for since then. Who was last not reached is carried over instead,
    until the list that first held the person is ``cooldown_days`` (at least a period) old; later the person rests like
    the others. Samples and those held out at the cut were not contacted, so they do not rest. Lists and events of the
    day itself do not count: a list made again has the same people.
    """
    cooldown, period = need.list.cooldown_days, need.capacity.period_days
    yesterday = as_of_date - timedelta(days=1)
    reach = as_of_date - timedelta(days=max(cooldown - 1, period))
    fresh = as_of_date - timedelta(days=cooldown - 1)
    rows = to_contact(store.rows(need_id=need.id, first=reach, last=yesterday))
    lists = store.lists(need.id, before=as_of_date)
    dates = dict(lists.select("list_id", "as_of_date").iter_rows())
    recent = [list_id for list_id, day in dates.items() if day >= reach]
    added = [store.changes(list_id).filter(pl.col("act") == "added") for list_id in recent]
    by_hand = {
        (person, list_id)
        for changes in added
        for list_id, person in changes.select("list_id", "person_id").drop_nulls().iter_rows()
    }
    listed = {
        person for person, day in rows.select("person_id", "as_of_date").drop_nulls().iter_rows() if day >= fresh
    } | {person for person, list_id in by_hand if dates[list_id] >= fresh}
    begun = set(rows.filter(pl.col("kind") != "carried")["person_id"].drop_nulls())
    begun |= {person for person, _ in by_hand}
    since = as_of_date - timedelta(days=max(cooldown, period))
    came = _last_outcomes(store, need.id, since, yesterday)
    settled = as_of_date - timedelta(days=cooldown)
    answered = {person for person, (day, code) in came.items() if code != NOT_REACHED and day > settled}
    unreached = {person for person, (_, code) in came.items() if code == NOT_REACHED} & begun
    last = None
    if not lists.is_empty():
        newest = str(lists["list_id"][-1])
        again = rows if newest in recent else to_contact(store.rows(newest))
        last = frozenset(again.filter(pl.col("list_id") == newest)["person_id"].drop_nulls())
        last |= {person for person, list_id in by_hand if list_id == newest}
    tried: Mapping[str, int] = {}
    if "attempts" in need.list.columns:
        people = store.attempts(need_id=need.id, last=yesterday)["person_id"].drop_nulls()
        tried = dict(people.value_counts().iter_rows())
    return Past(frozenset((listed | answered) - unreached), frozenset(unreached), last, tried)


def to_contact(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the store whose people were to be contacted: no sample, nobody held out at the cut."""
    return rows.filter(pl.col("kind").is_in(_TO_CONTACT) & ~pl.col("is_held_out"))


def _last_outcomes(store: Store, need_id: str, first: date, last: date) -> dict[str, tuple[date, str]]:
    """Per person the last thing that is known to have come of an attempt; an attempt's result may be such a code.

    Of one day whatever else came of it stands above ``not_reached``: often only the day is known, not what came first.
    """
    outcomes = store.outcomes(need_id=need_id, first=first, last=last).select("person_id", "at", "outcome")
    attempts = store.attempts(need_id=need_id, first=first, last=last)
    attempts = attempts.select("person_id", "at", outcome="result").filter(pl.col("outcome").is_in(OUTCOME_CODES))
    found: dict[str, tuple[date, str]] = {}
    both = pl.concat([attempts, outcomes]).drop_nulls("person_id")
    for person, at, code in both.sort(pl.col("at").dt.date(), pl.col("outcome") != NOT_REACHED).iter_rows():
        found[person] = (at.date(), code)
    return found


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the ranking of the people it may put on a list.

    Attributes
    ----------
    objecting : collection of str
        Among those ranked; they objected since.
    erased : collection of str
        Likewise.
    past : Past
    elsewhere : collection of str
        Whom another need of the same period contacts (:mod:`scoring.contention`).
    guardians : mapping of str to str
        Person → guardian, for needs that contact one guardian once for all siblings; empty for others.
    """

    objecting: Collection[str] = ()
    erased: Collection[str] = ()
    past: Past = field(default_factory=Past)
    elsewhere: Collection[str] = ()
    guardians: Mapping[str, str] = field(default_factory=dict)


def screened(ranked: pl.DataFrame, city: City, need: Need, as_of_date: date, around: Circumstances) -> pl.DataFrame:
    """Who may be listed, and why others may not; the churn cap comes later, when the list is cut.

    Parameters
    ----------
    ranked : polars.DataFrame
        Everybody scored, first rank first: ``person_id``, ``unit_id`` (null: not known) and more.

    Returns
    -------
    polars.DataFrame
        The same rows with ``reason`` (null: may be listed) and ``is_carried``.
    """
    left = need.list.codes_of_leaving(need.label)
    service = need.list.in_service
    keys = ranked.select("person_id", as_of_date=pl.lit(as_of_date))
    none = np.zeros(ranked.height, dtype=np.bool_)
    has_left = had_events(city, keys, EventRule(codes=left, window=Window.parse("ever"))) if left else none
    is_served = none
    if service is not None:
        is_served = had_events(city, keys, EventRule(codes=service.codes, window=service.window))
    person, past = pl.col("person_id"), around.past
    reason = (
        pl.when(person.is_in(list(around.objecting)))
        .then(pl.lit(OBJECTED))
        .when(person.is_in(list(around.erased)))
        .then(pl.lit(ERASED))
        .when(pl.Series(has_left))
        .then(pl.lit(LEFT))
        .when(pl.Series(is_served))
        .then(pl.lit(IN_SERVICE))
        .when(person.is_in(list(past.resting)))
        .then(pl.lit(LISTED_RECENTLY))
        .when(pl.col("unit_id").is_null())
        .then(pl.lit(UNIT_NOT_KNOWN))
        .when(person.is_in(list(around.elsewhere)))
        .then(pl.lit(OTHER_NEED))
    )
    people = ranked.with_columns(reason=reason, is_carried=person.is_in(list(past.carried)))
    if need.list.merge == "guardian":
        people = _one_for_each_guardian(people, around.guardians, past)
    return people


def _one_for_each_guardian(people: pl.DataFrame, guardians: Mapping[str, str], past: Past) -> pl.DataFrame:
    """Of siblings the one who comes first stays: whoever is carried over, else the first by rank; none beside one at
    rest, for their guardian was contacted lately."""
    guardian = pl.Series([guardians.get(person) for person in people["person_id"]], dtype=pl.String)
    people = people.with_columns(_guardian=guardian, _at=pl.int_range(pl.len()))
    at_rest = {guardians[person] for person in past.resting if person in guardians}
    free = people.filter(pl.col("reason").is_null() & pl.col("_guardian").is_not_null())
    first = free.sort("is_carried", "_at", descending=[True, False]).unique("_guardian", keep="first")
    first = first.filter(~pl.col("_guardian").is_in(list(at_rest)))
    stays = pl.col("_guardian").is_null() | pl.col("_at").is_in(first["_at"].implode())
    merged = pl.when(pl.col("reason").is_null() & ~stays).then(pl.lit(SAME_GUARDIAN)).otherwise(pl.col("reason"))
    return people.with_columns(reason=merged).drop("_guardian", "_at")


def counted(people: pl.DataFrame, before: Mapping[str, int]) -> dict[str, int]:
    """People by reason, every reason in its order; ``before`` counts those masked before the ranking."""
    found = dict(people.group_by("reason").len().drop_nulls("reason").iter_rows())
    return {reason: int(found.get(reason, 0)) + before.get(reason, 0) for reason in REASONS}
