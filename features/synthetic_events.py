"""What happens to the invented residents: health and care, benefits, screening, and everyday life.

School and work are in :mod:`features.synthetic_youth`, early education and the way to pre-school in
:mod:`features.synthetic_preschool`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from features.synthetic_preschool import go_to_preschool
from features.synthetic_recorder import Events, Recorder, known_events, logistic, seen_lately, slow_drift
from features.synthetic_residents import LANGUAGES, Moves, Residents
from features.synthetic_world import (
    CALENDAR_MONTH,
    CODE_INDEX,
    EXTRACT_DAY,
    MONTH_START,
    N_MONTHS,
    START_DAY,
    Bools,
    Floats,
    Ints,
    World,
)
from features.synthetic_youth import grow_up

# Each laboratory value: at need 0, per unit of need, share of the checks that take it, bounds of what is possible.
LABS = (
    ("lab.hba1c", 39.0, 5.0, 0.70, (20.0, 150.0)),
    ("lab.sbp", 132.0, 11.0, 0.95, (80.0, 230.0)),
    ("lab.ldl", 3.0, 0.55, 0.70, (0.3, 9.0)),
    ("lab.egfr", 84.0, -9.0, 0.50, (5.0, 140.0)),
    ("lab.bmi", 26.5, 2.2, 0.60, (13.0, 60.0)),
)


class Lives(NamedTuple):
    """What a block lived through: the events, and the latent truth behind them.

    (n, N_MONTHS) each, but for the reach of a family and the chance of its staying unreached, which are (n,) and NaN
    for all but the children offered a pre-school place.
    """

    events: Events
    health_need: Floats
    admission_rate: Floats
    youth_need: Floats
    neet_entry: Floats
    preschool_need: Floats
    preschool_chance: Floats


def live(rng: np.random.Generator, residents: Residents, moves: Moves, world: World, density: float) -> Lives:
    """Draw the latent needs of a block of residents and every event that follows from them."""
    streams = rng.spawn(8)
    care, youth, preschool, benefits, screening, everyday, gone = (Recorder(stream) for stream in streams[:7])
    present = residents.present
    health = _health_need(care.rng, residents, world)
    admissions = _care(care, residents, world, health, present)
    youth_need, entry = grow_up(youth, residents, moves, world, present)
    reach, chance = go_to_preschool(preschool, residents, moves, world)
    _benefits(benefits, residents, present)
    _screening(screening, residents)
    _everyday(everyday, residents, world.everyday_events * density)
    for code, who in (("death", residents.died), ("moved_away", ~residents.died)):
        left = np.flatnonzero(who & (residents.leave_day <= EXTRACT_DAY))
        gone.add(code, left, residents.leave_day[left])
    gone.add("population.moved", moves.person, moves.day)
    recorders = (care, youth, preschool, benefits, screening, everyday, gone)
    events = known_events(recorders, streams[7], world)
    return Lives(events, health, admissions, youth_need, entry, reach, chance)


def _health_need(rng: np.random.Generator, residents: Residents, world: World) -> Floats:
    n = residents.birth_day.size
    lasting = world.health_sd * rng.standard_normal(n, dtype=np.float32)
    lasting += world.health_disability * residents.disability + world.health_hardship * residents.hardship
    aging = world.health_per_decade * (residents.age - 55) / 10
    return (lasting[:, None] + aging + slow_drift(rng, n, world.health_drift_sd, 0.97)).astype(np.float32)


def _care(recorder: Recorder, residents: Residents, world: World, need: Floats, present: Bools) -> Floats:
    """Care, measurements and outcomes. Only the visits, and what follows from them, know of barriers and habits."""
    rng = recorder.rng
    visits = _visits(recorder, residents, world, need, present)
    _checks(recorder, residents, world, need, present)
    adult = present & (residents.age >= 18)
    treated = adult * np.exp(world.prescription_slope * need)
    recorder.monthly("care.prescription", 0.16 * treated)
    person, month = recorder.draw(0.03 * treated)
    drugs = np.array([CODE_INDEX["care.prescription.cns." + drug] for drug in ("antidepressant", "opioid", "sedative")])
    recorder.add(rng.choice(drugs, person.size, p=(0.5, 0.2, 0.3)), person, recorder.day_in(month))
    _vaccinations(recorder, residents, need, adult)
    urgent = np.exp(world.emergency_visit_slope * need)
    recorder.monthly("care.emergency", present * world.emergency_visit_rate * urgent)

    outcome = np.exp(world.outcome_slope * need + world.outcome_drift(MONTH_START))
    admissions: Floats = present * np.float32(world.admission_rate) * outcome
    person, month = recorder.draw(admissions)
    seen = seen_lately(need.shape[0], [visits])[person, month]
    recorder.add("hospital.avoidable", person, recorder.day_in(month), recorded=recorder.noted(seen, world))
    recorder.monthly("emergency.ambulance", present * world.ambulance_rate * outcome)
    recorder.monthly("function.limited", present * world.limitation_rate * outcome)
    return admissions


def _visits(recorder: Recorder, residents: Residents, world: World, need: Floats, present: Bools) -> tuple[Ints, Ints]:
    """Visits, and what follows from them: bills, missed appointments, one's own nurse, interpreters."""
    rng = recorder.rng
    use = np.log(residents.use_factor) + residents.access + world.attention * residents.watched
    person, month = recorder.draw(present * world.visit_rate * np.exp(world.visit_slope * need + use[:, None]))
    kind = rng.choice(3, person.size, p=(0.40, 0.42, 0.18))
    codes = np.array([CODE_INDEX["care.visit." + name] for name in ("gp", "nurse", "specialist")])
    day = recorder.day_in(month)
    recorder.add(codes[kind], person, day)
    cost = np.array([130.0, 65.0, 380.0])[kind] * rng.lognormal(0.0, 0.35, person.size)
    bill = np.bincount(person * N_MONTHS + month, weights=cost, minlength=need.size)
    billed = np.flatnonzero(bill)
    recorder.add("care.cost", billed // N_MONTHS, recorder.day_in(billed % N_MONTHS), bill[billed].round(2))
    missed = np.flatnonzero(rng.random(person.size) < 0.07)
    recorder.add("care.missed", person[missed], recorder.day_in(month[missed]))
    named = np.flatnonzero((kind < 2) & (rng.random(person.size) < world.named_share))
    recorder.add("care.contact.named", person[named], day[named])
    of_group = residents.language == LANGUAGES.index(world.barred_group)
    needs_interpreter = of_group & (rng.random(of_group.size) < world.interpreter_share)
    interpreted = np.flatnonzero(needs_interpreter[person])
    recorder.add("care.interpreter", person[interpreted], day[interpreted])
    return person, month


def _checks(recorder: Recorder, residents: Residents, world: World, need: Floats, present: Bools) -> None:
    """Health checks by invitation, from 30 years on: the same for everyone, so they measure need and nothing else."""
    rng = recorder.rng
    person, month = recorder.draw(present * (residents.age >= 30) * np.float32(world.check_rate))
    day = recorder.day_in(month)
    at_check = need[person, month]
    shown = at_check * world.record_drift(MONTH_START)[month]
    for code, middle, spread, share, bounds in LABS:
        taken = np.flatnonzero(rng.random(person.size) < share)
        measured = shown[taken] + world.measurement_sd * rng.standard_normal(taken.size)
        recorder.add(code, person[taken], day[taken], (middle + spread * measured).clip(*bounds).round(1))
    kinds = np.array([CODE_INDEX["care.diagnosis." + name] for name in ("hypertension", "diabetes", "heart", "lung")])
    found = np.flatnonzero(rng.random(person.size) < 0.065 * np.exp(world.diagnosis_slope * at_check))
    recorder.add(rng.choice(kinds, found.size, p=(0.5, 0.2, 0.15, 0.15)), person[found], day[found])
    # Long illnesses began before the first month too: without them, "ever diagnosed" would grow with the calendar.
    old = rng.poisson(np.where(residents.age[:, 0] >= 30, 0.7 * np.exp(world.diagnosis_slope * need[:, 0]), 0.0))
    earlier = np.repeat(np.arange(old.size), old)
    began = START_DAY - rng.integers(1, 7 * 365, earlier.size)
    recorder.add(rng.choice(kinds, earlier.size, p=(0.5, 0.2, 0.15, 0.15)), earlier, began)


def _vaccinations(recorder: Recorder, residents: Residents, need: Floats, adult: Bools) -> None:
    """Influenza vaccination each autumn, oftener of the old and of the ill, whom the same invitation reaches."""
    autumns = np.flatnonzero(CALENDAR_MONTH == 11)
    odds = -1.6 + 1.6 * (residents.age[:, autumns] >= 65) + 0.4 * need[:, autumns]
    person, autumn = np.nonzero(adult[:, autumns] & (recorder.rng.random(odds.shape) < logistic(odds)))
    recorder.add("care.vaccination.influenza", person, recorder.day_in(autumns[autumn]))


def _benefits(recorder: Recorder, residents: Residents, present: Bools) -> None:
    adult = present & (residents.age >= 18)
    hardship = residents.hardship[:, None]
    recorder.monthly("benefit.income_support", adult * 0.06 * np.exp(hardship))
    housed = recorder.rng.random(hardship.shape) < 0.11 * np.exp(0.5 * hardship)
    person, month = np.nonzero(adult & housed)
    recorder.add("benefit.housing", person, MONTH_START[month])


def _screening(recorder: Recorder, residents: Residents) -> None:
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


def _everyday(recorder: Recorder, residents: Residents, mean_events: float) -> None:
    """Visits that say nothing about any need: they only make the log as long as a city's."""
    rng = recorder.rng
    first = np.maximum(residents.birth_day, START_DAY)
    last = np.minimum(residents.leave_day, EXTRACT_DAY + 1)
    stayed = np.maximum(last - first, 0)
    person = np.repeat(np.arange(first.size), rng.poisson(mean_events * stayed / (EXTRACT_DAY - START_DAY)))
    day = first[person] + (rng.random(person.size) * stayed[person]).astype(np.int64)
    codes: Sequence[int] = (CODE_INDEX["everyday.library"], CODE_INDEX["everyday.sport"])
    recorder.add(rng.choice(codes, person.size), person, day)
