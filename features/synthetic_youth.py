"""School, and falling out of school and work, in the invented city."""

from __future__ import annotations

import numpy as np

from features.synthetic_recorder import Recorder, logistic, seen_lately, slow_drift
from features.synthetic_residents import Moves, Residents
from features.synthetic_world import (
    CALENDAR_MONTH,
    MONTH_DAYS,
    MONTH_START,
    N_MONTHS,
    Bools,
    Floats,
    Ints,
    World,
)


def grow_up(
    recorder: Recorder, residents: Residents, moves: Moves, world: World, present: Bools
) -> tuple[Floats, Floats]:
    """The youth of everyone aged 7 to 29 in some month: latent need and chance of falling out, (n, N_MONTHS) each."""
    rng, n = recorder.rng, residents.birth_day.size
    need = np.full((n, N_MONTHS), np.nan, np.float32)
    entry = np.zeros((n, N_MONTHS), np.float32)
    age = residents.age
    some = np.flatnonzero((age[:, -1] >= 7) & (age[:, 0] < 29))
    if not some.size:
        return need, entry
    moved = moves.within(12, n)[some]
    lasting = world.youth_sd * rng.standard_normal(some.size) + world.youth_hardship * residents.hardship[some]
    u = lasting[:, None] + slow_drift(rng, some.size, world.youth_drift_sd, 0.90) + world.youth_move * moved
    u = u.astype(np.float32)
    old_enough = present[some] & (age[some] >= 16) & (age[some] < 29)
    logit = world.neet_logit + world.neet_slope * u + world.outcome_drift(MONTH_START)
    chance = (old_enough * logistic(logit)).astype(np.float32)
    need[some], entry[some] = u, chance

    outside = _spells(rng, chance, world.neet_exit) & old_enough
    fell = outside & ~np.roll(outside, 1, axis=1)
    fell[:, 0] = False
    soon = np.roll(fell, -1, axis=1) | np.roll(fell, -2, axis=1)
    soon[:, -2:] = False
    leaves_school = 17 + rng.exponential(world.study_years, some.size)
    at_school = present[some] & (age[some] >= 7) & (age[some] < leaves_school[:, None]) & ~outside

    person, month = np.nonzero(outside)
    client = rng.random(person.size) < 0.05
    recorder.add("outreach.client", some[person[client]], recorder.day_in(month[client]))
    contacts = [(person[client], month[client])]
    fell_person, fell_month = np.nonzero(fell & np.roll(at_school, 1, axis=1))
    lost = rng.random(fell_person.size) < world.place_lost_share
    lost_on = MONTH_START[fell_month[lost]] - rng.integers(1, 31, lost.sum())
    recorder.add("school.place_lost", some[fell_person[lost]], lost_on)
    watched = residents.watched[some]
    _absences_and_grades(recorder, some, u, at_school, soon, world)
    _places(recorder, some, u, at_school, outside, np.where(present[some], age[some], np.nan), world)
    _school_changes(recorder, some, u, at_school, moved, world)
    contacts += _contacts(recorder, some, u, at_school, watched, present[some] & (age[some] >= 13), world)
    seen = seen_lately(some.size, contacts)[person, month]
    month_end = (MONTH_START + MONTH_DAYS - 1)[month]
    recorder.add("status.neet", some[person], month_end, recorded=recorder.noted(seen, world))
    return need, entry


def _spells(rng: np.random.Generator, chance: Floats, leaving: float) -> Bools:
    """Whether a person is outside school and work in each month, given the chance of falling out in each."""
    draws = rng.random(chance.shape)
    outside = np.zeros(chance.shape, np.bool_)
    outside[:, 0] = draws[:, 0] < chance[:, 0] / leaving
    for month in range(1, N_MONTHS):
        before = outside[:, month - 1]
        outside[:, month] = np.where(before, draws[:, month] >= leaving, draws[:, month] < chance[:, month])
    return outside


def _open_months(at_school: Bools) -> Bools:
    return at_school & ~np.isin(CALENDAR_MONTH, (6, 7))


def _absences_and_grades(
    recorder: Recorder, some: Ints, need: Floats, at_school: Bools, soon: Bools, world: World
) -> None:
    rng = recorder.rng
    shown = need * world.record_drift(MONTH_START)
    slope = world.absence_slope * shown + world.surge * soon
    for code, rate in (
        ("school.absence.unexcused", 0.45 * np.exp(slope)),
        ("school.absence.excused", 0.9 * np.exp(slope / 4)),
    ):
        person, month = recorder.draw(_open_months(at_school) * rate)
        recorder.add(code, some[person], recorder.day_in(month), rng.integers(1, 7, person.size).astype(np.float32))
    person, month = np.nonzero(at_school & np.isin(CALENDAR_MONTH, (5, 12)))
    grade = 8.0 - world.grade_slope * shown[person, month] + 0.6 * rng.standard_normal(person.size)
    recorder.add("school.grade", some[person], recorder.day_in(month), grade.clip(4, 10).round(1).astype(np.float32))


def _places(
    recorder: Recorder, some: Ints, need: Floats, at_school: Bools, outside: Bools, age: Floats, world: World
) -> None:
    """Study places in August, and the joint application before it: sent in March, answered in June.

    `age` is NaN in months in which the person is not in the city. Whoever turns 16 may apply, and so may those outside
    school and work, and one in eight of the other students under 25.
    """
    rng = recorder.rng
    person, month = np.nonzero(at_school & (CALENDAR_MONTH == 8))
    recorder.add("school.enrolled", some[person], MONTH_START[month] + 9)
    march = np.flatnonzero(CALENDAR_MONTH == 3)
    march = march[march + 3 < N_MONTHS]
    then = age[:, march]
    leaves_basic_school = at_school[:, march] & (then >= 15.2) & (then < 16.2)
    may = at_school[:, march] & (then >= 16.2) & (then < 25) & (rng.random(then.shape) < 0.125)
    may |= outside[:, march] & (then < 25)
    chance = logistic(2.2 - world.application_slope * need[:, march])
    asks = (leaves_basic_school | may) & (rng.random(then.shape) < chance)
    person, year = np.nonzero(asks)
    recorder.add("school.application.sent", some[person], MONTH_START[march[year]] + rng.integers(0, 20, person.size))
    gets = rng.random(person.size) < logistic(1.6 - world.application_slope * need[person, march[year]])
    june = march[year] + 3
    here = ~np.isnan(age[person, june])
    for code, told in (("school.application.accepted", here & gets), ("school.application.rejected", here & ~gets)):
        recorder.add(code, some[person[told]], MONTH_START[june[told]] + 11)


def _school_changes(recorder: Recorder, some: Ints, need: Floats, at_school: Bools, moved: Bools, world: World) -> None:
    """Changes of school: some for reasons that go with the need, some because the family has moved."""
    chance = 0.004 * np.exp(0.4 * need) + world.school_change_share / 12 * moved
    person, month = np.nonzero(_open_months(at_school) & (recorder.rng.random(need.shape) < chance))
    recorder.add("school.changed", some[person], recorder.day_in(month))


def _contacts(
    recorder: Recorder, some: Ints, need: Floats, at_school: Bools, watched: Bools, teens: Bools, world: World
) -> list[tuple[Ints, Ints]]:
    """Contacts with guidance, student welfare, psychiatry and social support: persons and months of each."""
    open_months = _open_months(at_school)
    attention = world.guidance_attention * watched[:, None]
    drawn = []
    for code, rate in (
        ("school.guidance", open_months * 0.05 * np.exp(0.4 * need + attention)),
        ("school.welfare", open_months * world.welfare_rate * np.exp(0.5 * need + attention / 2)),
        ("care.psychiatry.visit", teens * world.psychiatry_rate * np.exp(world.neet_slope * need)),
        ("social.support.meeting", teens * world.support_rate * np.exp(world.neet_slope * need)),
    ):
        person, month = recorder.draw(rate)
        recorder.add(code, some[person], recorder.day_in(month))
        drawn.append((person, month))
    return drawn
