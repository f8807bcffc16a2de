"""Early education and the way to pre-school in the invented city.

Pre-school begins in the August of the year in which a child turns six. In the first days of January every child due
that year is offered a place, whether in municipal early education or not; messages that ask for an answer go out on 8
January. Most families answer within days; some never do, and of these some enrol by another way. A child is unreached
when neither has come by August. Offers since 2021 are in the log, which for this part is older than for the others.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.synthetic_recorder import Recorder, logistic
from features.synthetic_residents import LANGUAGES, YEAR_DAYS, Moves, Residents
from features.synthetic_world import EXTRACT_DATE, EXTRACT_DAY, Bools, Floats, Ints, World, epoch_day

FIRST_YEAR = 2021
"""Of the offers: from this year on the city offers every child a place without being asked."""
MESSAGES_GO_OUT = 7
"""Days after 1 January."""


class _Children(NamedTuple):
    """Children who were at some time between one year and pre-school; one entry each, places by August."""

    who: Ints  # position in the block
    due: Ints  # the year in which they turn six
    offered_on: Ints  # epoch day
    reach: NDArray[np.float64]
    outside: Bools  # in neither municipal nor private early education
    private: Bools
    sibling: Bools  # in the same unit in the August before the offer

    @property
    def municipal(self) -> Bools:
        return ~self.outside & ~self.private


def go_to_preschool(recorder: Recorder, residents: Residents, moves: Moves, world: World) -> tuple[Floats, Floats]:
    """Early education and pre-school of a block: reach, and chance of staying unreached, (n,) each.

    NaN for who is offered no place in the years of the log.
    """
    n = residents.birth_day.size
    reach = np.full(n, np.nan, np.float32)
    chance = np.full(n, np.nan, np.float32)
    children = _children(recorder, residents, world)
    if not children.who.size:
        return reach, chance
    support = _early_years(recorder, children, residents, world)
    here = children.offered_on < residents.leave_day[children.who]
    offered = (children.due >= FIRST_YEAR) & (children.due <= EXTRACT_DATE.year) & here
    logit = (
        world.unreached_logit
        + world.unreached_slope * children.reach
        + world.unreached_outside * ~children.municipal
        + world.unreached_move * _moved_before(children, moves, n)
        + world.unreached_sibling * children.sibling
        + world.unreached_support * support
        + world.outcome_drift(children.offered_on)
    )
    unreached = logistic(logit)
    reach[children.who[offered]] = children.reach[offered]
    chance[children.who[offered]] = unreached[offered]
    _offers(recorder, children, residents, offered, unreached, world)
    return reach, chance


def _first_of(year: Ints, month: int = 1) -> Ints:
    """Epoch day of the first of a month of each year."""
    months = (year - 1970) * 12 + month - 1
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _children(recorder: Recorder, residents: Residents, world: World) -> _Children:
    rng, n = recorder.rng, residents.birth_day.size
    family = rng.standard_normal(n)[residents.household]  # one value per household, siblings alike
    due = residents.birth_day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970 + 6
    who = np.flatnonzero(due >= FIRST_YEAR)
    language = residents.language[who] == LANGUAGES.index(world.barred_group)
    reach = world.reach_sd * family[who] + world.reach_hardship * residents.hardship[who]
    reach = reach + world.reach_language * language
    outside = rng.random(who.size) < logistic(world.outside_logit + world.outside_slope * reach)
    private = ~outside & (rng.random(who.size) < world.private_share)
    starts = residents.birth_day[who] + ((1 + 2 * rng.random(who.size)) * YEAR_DAYS).astype(np.int64)
    sibling = np.zeros(who.size, np.bool_)
    home = residents.household[who]
    for year in range(FIRST_YEAR - 3, EXTRACT_DATE.year):
        august = epoch_day(date(year, 8, 10))
        goes = ~outside & (starts <= august) & (due[who] > year) & (august < residents.leave_day[who])
        in_unit = goes & ~private
        together = in_unit & (np.bincount(home[in_unit], minlength=n)[home] > 1)
        sibling |= together & (due[who] == year + 1)
        for code, there in (
            ("ecec.place.municipal", in_unit),
            ("ecec.place.private", goes & private),
            ("ecec.sibling_in_unit", together),
        ):
            recorder.add(code, who[there], np.full(there.sum(), august))
    offered_on = _first_of(due[who]) + rng.integers(3, 5, who.size)
    return _Children(who, due[who], offered_on, reach, outside, private, sibling)


def _early_years(recorder: Recorder, children: _Children, residents: Residents, world: World) -> Bools:
    """Messages, decisions on support and missed checks before pre-school; returns who has such a decision.

    Families outside early education get fewer messages (clubs, letters). Both missed checks are by other services,
    which know nothing of early education: they follow the reach of the family alone.
    """
    rng, who = recorder.rng, children.who
    born, left = residents.birth_day[who], residents.leave_day[who]

    def spread(rate: NDArray[np.float64], from_years: float, to: Ints) -> tuple[Ints, Ints]:
        """Children and days of events at a yearly rate between an age and a day, while they live in the city."""
        first = np.maximum(born + round(from_years * YEAR_DAYS), epoch_day(date(FIRST_YEAR - 3, 1, 1)))
        span = np.maximum(np.minimum(to, left) - first, 0)
        child = np.repeat(np.arange(who.size), rng.poisson(rate * span / YEAR_DAYS))
        return child, first[child] + (rng.random(child.size) * span[child]).astype(np.int64)

    child, day = spread(np.where(children.outside, 1.5, 6.0), 1.5, np.minimum(children.offered_on, EXTRACT_DAY))
    odds = world.message_slope * world.record_drift(day) * children.reach[child] - 1.6
    unanswered = rng.random(child.size) < logistic(odds)
    recorder.add("ecec.message.unanswered", who[child[unanswered]], day[unanswered])
    recorder.add("ecec.message.answered", who[child[~unanswered]], day[~unanswered])
    support = rng.random(who.size) < 0.08
    decided = children.offered_on - rng.integers(30, 700, who.size)
    there = support & (decided > born + YEAR_DAYS) & (decided < left)
    recorder.add("ecec.support", who[there], decided[there])
    rate = 12 * world.child_check_missed_rate * np.exp(world.child_check_missed_slope * children.reach)
    for code in ("child_clinic.missed", "dental.missed"):
        child, day = spread(rate, 4.0, _first_of(children.due + 1))
        recorder.add(code, who[child], day)
    return support


def _moved_before(children: _Children, moves: Moves, n: int) -> Bools:
    """Whether each child moved in the six months before the offer."""
    place = np.full(n, -1)
    place[children.who] = np.arange(children.who.size)
    child = place[moves.person]
    offered_on = children.offered_on[child]
    recent = (child >= 0) & (moves.day < offered_on) & (moves.day >= offered_on - 183)
    moved = np.zeros(children.who.size, np.bool_)
    moved[child[recent]] = True
    return moved


def _offers(
    recorder: Recorder,
    children: _Children,
    residents: Residents,
    offered: Bools,
    chance: NDArray[np.float64],
    world: World,
) -> None:
    """Offers, replies and enrolments, as far as the family still lives in the city."""
    rng = recorder.rng
    child = np.flatnonzero(offered)
    who, january = children.who[child], _first_of(children.due[child])
    left, size = residents.leave_day[who], child.size
    recorder.add("preschool.offer", who, children.offered_on[child])
    is_reached = rng.random(size) >= chance[child]
    replies = is_reached & (rng.random(size) < 0.95)
    delay = np.where(rng.random(size) < 0.75, rng.exponential(2.0, size), rng.exponential(25.0, size))
    reply = january + MESSAGES_GO_OUT + np.minimum(delay, 150).astype(np.int64)
    march = _first_of(children.due[child], 3) + rng.integers(0, 31, size)
    # Whom nobody reached comes, if at all, when pre-school has begun.
    late = _first_of(children.due[child], 8) + 10 + rng.exponential(30.0, size).astype(np.int64)
    enrolled = np.where(is_reached, np.where(replies, np.maximum(march, reply + 5), march + 60), late)
    noted = recorder.noted(children.municipal[child], world)
    for code, happens, day in (
        ("preschool.reply", replies, reply),
        ("preschool.enrolled", np.ones(size, np.bool_), enrolled),
    ):
        there = happens & (day < left)
        recorder.add(code, who[there], day[there], recorded=noted[there])
