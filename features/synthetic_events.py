"""What happens to the invented residents: latent needs, and the events that services record because of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.synthetic_residents import Residents
from features.synthetic_world import (
    CALENDAR_MONTH,
    CODE_INDEX,
    EXTRACT_DAY,
    LATE_DAYS,
    LATE_SHARE,
    MONTH_DAYS,
    MONTH_START,
    N_MONTHS,
    START_DAY,
    Bools,
    Floats,
    Ints,
    World,
)


class Events(NamedTuple):
    """Events of a block: position of the person in the block, epoch days, index into `CODES`, value or NaN."""

    person: Ints
    day: Ints
    known: Ints
    code: Ints
    value: Floats


@dataclass
class _Recorder:
    """Collects events as they are drawn; `known` is drawn for all of them together at the end."""

    rng: np.random.Generator
    parts: list[tuple[Ints, Ints, Ints, Floats]] = field(default_factory=list)

    def add(self, code: str | Ints, person: Ints, day: Ints, value: NDArray[Any] | None = None) -> None:
        codes = np.full(person.size, CODE_INDEX[code]) if isinstance(code, str) else code
        values = np.full(person.size, np.nan, np.float32) if value is None else value.astype(np.float32)
        self.parts.append((person.astype(np.int64), day.astype(np.int64), codes.astype(np.int64), values))

    def monthly(self, code: str, rate: NDArray[Any]) -> tuple[Ints, Ints]:
        """Draw Poisson events at a monthly rate (n, N_MONTHS), add them, and return their persons and months."""
        person, month = self.draw(rate)
        self.add(code, person, self.day_in(month))
        return person, month

    def draw(self, rate: NDArray[Any]) -> tuple[Ints, Ints]:
        counts = self.rng.poisson(rate).ravel()
        cell = np.repeat(np.flatnonzero(counts), counts[counts > 0])
        return cell // N_MONTHS, cell % N_MONTHS

    def day_in(self, month: Ints) -> Ints:
        return MONTH_START[month] + self.rng.integers(0, MONTH_DAYS[month])

    def finish(self) -> Events:
        """Give each event the day the city came to know it; what is not known by the extract date is not there yet."""
        person, day, code, value = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        late = self.rng.random(day.size) < LATE_SHARE[code]
        known = day + late * self.rng.integers(1, LATE_DAYS[code] + 1, endpoint=True)
        kept = np.flatnonzero(known <= EXTRACT_DAY)
        order = kept[np.lexsort((code[kept], day[kept], person[kept]))]
        return Events(person[order], day[order], known[order], code[order], value[order])


class Lives(NamedTuple):
    """What a block lived through: the events, and the latent truth behind them, (n, N_MONTHS) each."""

    events: Events
    health_need: Floats
    admission_rate: Floats
    youth_need: Floats
    neet_entry: Floats


def live(rng: np.random.Generator, residents: Residents, world: World, density: float) -> Lives:
    """Draw the latent needs of a block of residents and every event that follows from them."""
    recorder = _Recorder(rng)
    present = residents.present
    health = _health_need(rng, residents, world)
    admissions = _care(recorder, residents, world, health, present)
    youth, entry = _youth(recorder, residents, world, present)
    _benefits(recorder, residents, present)
    _screening(recorder, residents)
    _everyday(recorder, residents, world.everyday_events * density)
    for code, who in (("death", residents.died), ("moved_away", ~residents.died)):
        gone = np.flatnonzero(who & (residents.leave_day <= EXTRACT_DAY))
        recorder.add(code, gone, residents.leave_day[gone])
    return Lives(recorder.finish(), health, admissions, youth, entry)


def _drift(rng: np.random.Generator, n: int, sd: float, correlation: float) -> Floats:
    """A stationary series per person that forgets its past at a fixed pace, (n, N_MONTHS)."""
    shocks = rng.standard_normal((n, N_MONTHS), dtype=np.float32) * np.float32(sd)
    scale = np.float32(np.sqrt(1 - correlation**2))
    for month in range(1, N_MONTHS):
        shocks[:, month] = np.float32(correlation) * shocks[:, month - 1] + scale * shocks[:, month]
    return shocks


def _health_need(rng: np.random.Generator, residents: Residents, world: World) -> Floats:
    n = residents.birth_day.size
    lasting = world.health_sd * rng.standard_normal(n, dtype=np.float32)
    lasting += world.health_disability * residents.disability + world.health_hardship * residents.hardship
    aging = world.health_per_decade * (residents.age - 55) / 10
    return (lasting[:, None] + aging + _drift(rng, n, world.health_drift_sd, 0.97)).astype(np.float32)


def _care(recorder: _Recorder, residents: Residents, world: World, need: Floats, present: Bools) -> Floats:
    """Care, measurements and outcomes. Only the visits, and what follows from them, know of barriers and habits."""
    rng = recorder.rng
    use = np.log(residents.use_factor) + residents.access + world.attention * residents.watched
    person, month = recorder.draw(present * world.visit_rate * np.exp(world.visit_slope * need + use[:, None]))
    kind = rng.choice(3, person.size, p=(0.40, 0.42, 0.18))
    codes = np.array([CODE_INDEX["care.visit." + name] for name in ("gp", "nurse", "specialist")])
    recorder.add(codes[kind], person, recorder.day_in(month))
    cost = np.array([130.0, 65.0, 380.0])[kind] * rng.lognormal(0.0, 0.35, person.size)
    bill = np.bincount(person * N_MONTHS + month, weights=cost, minlength=need.size)
    billed = np.flatnonzero(bill)
    recorder.add("care.cost", billed // N_MONTHS, recorder.day_in(billed % N_MONTHS), bill[billed].round(2))
    missed = np.flatnonzero(rng.random(person.size) < 0.07)
    recorder.add("care.missed", person[missed], recorder.day_in(month[missed]))

    _checks(recorder, residents, world, need, present)
    adult = present & (residents.age >= 18)
    recorder.monthly("care.prescription", adult * 0.16 * np.exp(world.prescription_slope * need))
    outcome = np.exp(world.outcome_slope * need)
    admissions: Floats = present * np.float32(world.admission_rate) * outcome
    recorder.monthly("hospital.avoidable", admissions)
    recorder.monthly("emergency.ambulance", present * world.ambulance_rate * outcome)
    recorder.monthly("function.limited", present * world.limitation_rate * outcome)
    return admissions


def _checks(recorder: _Recorder, residents: Residents, world: World, need: Floats, present: Bools) -> None:
    """Health checks by invitation, from 30 years on: the same for everyone, so they measure need and nothing else."""
    rng = recorder.rng
    person, month = recorder.draw(present * (residents.age >= 30) * np.float32(world.check_rate))
    day = recorder.day_in(month)
    at_check = need[person, month]
    for code, middle, spread in (("lab.hba1c", 39.0, 5.0), ("lab.sbp", 132.0, 11.0), ("lab.ldl", 3.0, 0.55)):
        measured = at_check + world.measurement_sd * rng.standard_normal(person.size)
        recorder.add(code, person, day, (middle + spread * measured).round(1))
    kinds = np.array([CODE_INDEX["care.diagnosis." + name] for name in ("hypertension", "diabetes", "heart", "lung")])
    found = np.flatnonzero(rng.random(person.size) < 0.06 * np.exp(world.diagnosis_slope * at_check))
    recorder.add(rng.choice(kinds, found.size, p=(0.5, 0.2, 0.15, 0.15)), person[found], day[found])
    # Long illnesses began before the first month too: without them, "ever diagnosed" would grow with the calendar.
    old = rng.poisson(np.where(residents.age[:, 0] >= 30, 0.7 * np.exp(world.diagnosis_slope * need[:, 0]), 0.0))
    earlier = np.repeat(np.arange(old.size), old)
    began = START_DAY - rng.integers(1, 7 * 365, earlier.size)
    recorder.add(rng.choice(kinds, earlier.size, p=(0.5, 0.2, 0.15, 0.15)), earlier, began)


def _youth(recorder: _Recorder, residents: Residents, world: World, present: Bools) -> tuple[Floats, Floats]:
    """School, and falling out of school and work, for everyone aged 7 to 29 in some month."""
    rng, n = recorder.rng, residents.birth_day.size
    need = np.full((n, N_MONTHS), np.nan, np.float32)
    entry = np.zeros((n, N_MONTHS), np.float32)
    age = residents.age
    some = np.flatnonzero((age[:, -1] >= 7) & (age[:, 0] < 29))
    if not some.size:
        return need, entry
    lasting = world.youth_sd * rng.standard_normal(some.size) + world.youth_hardship * residents.hardship[some]
    u = (lasting[:, None] + _drift(rng, some.size, world.youth_drift_sd, 0.90)).astype(np.float32)
    old_enough = present[some] & (age[some] >= 16) & (age[some] < 29)
    chance = (old_enough / (1 + np.exp(-(world.neet_logit + world.neet_slope * u)))).astype(np.float32)
    need[some], entry[some] = u, chance

    outside = _spells(rng, chance, world.neet_exit) & old_enough
    fell = outside & ~np.roll(outside, 1, axis=1)
    fell[:, 0] = False
    soon = np.roll(fell, -1, axis=1) | np.roll(fell, -2, axis=1)
    soon[:, -2:] = False
    leaves_school = 17 + rng.exponential(world.study_years, some.size)
    at_school = present[some] & (age[some] >= 7) & (age[some] < leaves_school[:, None]) & ~outside

    person, month = np.nonzero(outside)
    recorder.add("status.neet", some[person], (MONTH_START + MONTH_DAYS - 1)[month])
    client = rng.random(person.size) < 0.05
    recorder.add("outreach.client", some[person[client]], recorder.day_in(month[client]))
    person, month = np.nonzero(fell & np.roll(at_school, 1, axis=1))
    lost = rng.random(person.size) < world.place_lost_share
    recorder.add("school.place_lost", some[person[lost]], MONTH_START[month[lost]] - rng.integers(1, 31, lost.sum()))
    _school(recorder, some, u, at_school, soon, residents.watched[some], world)
    grown = present[some] & (age[some] >= 13) & (age[some] < 29)
    for code, rate in (
        ("care.psychiatry.visit", world.psychiatry_rate),
        ("social.support.meeting", world.support_rate),
    ):
        person, month = recorder.draw(grown * rate * np.exp(world.neet_slope * u))
        recorder.add(code, some[person], recorder.day_in(month))
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


def _school(
    recorder: _Recorder, some: Ints, need: Floats, at_school: Bools, soon: Bools, watched: Bools, world: World
) -> None:
    rng = recorder.rng
    open_months = at_school & ~np.isin(CALENDAR_MONTH, (6, 7))
    slope = world.absence_slope * need + world.surge * soon
    for code, rate in (
        ("school.absence.unexcused", 0.45 * np.exp(slope)),
        ("school.absence.excused", 0.9 * np.exp(slope / 4)),
    ):
        person, month = recorder.draw(open_months * rate)
        recorder.add(code, some[person], recorder.day_in(month), rng.integers(1, 7, person.size).astype(np.float32))
    person, month = np.nonzero(at_school & np.isin(CALENDAR_MONTH, (5, 12)))
    grade = 8.0 - world.grade_slope * need[person, month] + 0.6 * rng.standard_normal(person.size)
    recorder.add("school.grade", some[person], recorder.day_in(month), grade.clip(4, 10).round(1).astype(np.float32))
    person, month = np.nonzero(at_school & (CALENDAR_MONTH == 8))
    recorder.add("school.enrolled", some[person], MONTH_START[month] + 9)
    attention = world.guidance_attention * watched[:, None]
    person, month = recorder.draw(open_months * 0.05 * np.exp(0.4 * need + attention))
    recorder.add("school.guidance", some[person], recorder.day_in(month))


def _benefits(recorder: _Recorder, residents: Residents, present: Bools) -> None:
    adult = present & (residents.age >= 18)
    hardship = residents.hardship[:, None]
    recorder.monthly("benefit.income_support", adult * 0.06 * np.exp(hardship))
    housed = recorder.rng.random(hardship.shape) < 0.11 * np.exp(0.5 * hardship)
    person, month = np.nonzero(adult & housed)
    recorder.add("benefit.housing", person, MONTH_START[month])


def _screening(recorder: _Recorder, residents: Residents) -> None:
    """Invitations every fifth year of a woman's age from 30 to 65, the round before the first month included."""
    rng = recorder.rng
    for age in range(30, 66, 5):
        invited_on = residents.birth_day + round(age * 365.25)
        in_rounds = (
            (invited_on > START_DAY - 5 * 365) & (invited_on <= EXTRACT_DAY) & (invited_on < residents.leave_day)
        )
        person = np.flatnonzero(residents.woman & in_rounds)
        recorder.add("screening.cervical.invited", person, invited_on[person])
        comes = person[rng.random(person.size) < 0.72]
        taken_on = invited_on[comes] + rng.integers(5, 90, comes.size)
        here = taken_on < residents.leave_day[comes]
        recorder.add("screening.cervical.taken", comes[here], taken_on[here])


def _everyday(recorder: _Recorder, residents: Residents, mean_events: float) -> None:
    """Visits that say nothing about any need: they only make the log as long as a city's."""
    rng = recorder.rng
    first = np.maximum(residents.birth_day, START_DAY)
    last = np.minimum(residents.leave_day, EXTRACT_DAY + 1)
    stayed = np.maximum(last - first, 0)
    person = np.repeat(np.arange(first.size), rng.poisson(mean_events * stayed / (EXTRACT_DAY - START_DAY)))
    day = first[person] + (rng.random(person.size) * stayed[person]).astype(np.int64)
    codes: Sequence[int] = (CODE_INDEX["everyday.library"], CODE_INDEX["everyday.sport"])
    recorder.add(rng.choice(codes, person.size), person, day)
