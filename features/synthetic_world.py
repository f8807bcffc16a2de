"""The effects in the invented city, its calendar, and the codes of its event log.

Nothing here is estimated from anybody's data: the coefficients are chosen, written down in `World`, and so known to
every test.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

EXTRACT_DATE = date(2026, 6, 30)
N_MONTHS = 48


def epoch_day(day: date) -> int:
    """Days since 1970-01-01.

    >>> epoch_day(date(1970, 1, 2))
    1
    """
    return day.toordinal() - date(1970, 1, 1).toordinal()


def _month_starts() -> list[date]:
    first = EXTRACT_DATE.year * 12 + EXTRACT_DATE.month - N_MONTHS
    return [date(m // 12, m % 12 + 1, 1) for m in range(first, first + N_MONTHS)]


MONTHS = _month_starts()
MONTH_START = np.array([epoch_day(day) for day in MONTHS], dtype=np.int64)
MONTH_DAYS = np.diff(np.append(MONTH_START, epoch_day(EXTRACT_DATE) + 1))
CALENDAR_MONTH = np.array([day.month for day in MONTHS])
EXTRACT_DAY = epoch_day(EXTRACT_DATE)
START_DAY = int(MONTH_START[0])


@dataclass(frozen=True, kw_only=True)
class World:
    """Every effect in the invented city. Needs are on a log-rate scale: one unit of need multiplies a rate by e**slope.

    The planted unfairness is `use_factor`: for the same health need, `barred_group` makes that share of the visits,
    and so of the billed cost, that others make. Checks, tests, diagnoses, prescriptions, avoidable admissions and
    both indicators depend on the need alone.
    """

    barred_group: str = "other"
    use_factor: float = 0.42

    health_sd: float = 1.0  # lasting differences between persons
    health_drift_sd: float = 0.12  # slow change over time, correlation 0.97 from month to month
    health_per_decade: float = 0.18  # per ten years of age, from 55
    health_disability: float = 0.30
    health_hardship: float = 0.15  # per unit of household hardship

    visit_rate: float = 0.42  # visits a month at need 0
    visit_slope: float = 0.45
    access_sd: float = 0.30  # lasting habit of using services, whatever the need
    attention: float = 0.50  # log of how much more the watched are seen, whatever their need
    watched_share: float = 0.15
    check_rate: float = 0.16  # health checks a month from 30 years on, by invitation, the same for everyone
    measurement_sd: float = 0.40  # noise of one laboratory value, in units of need
    diagnosis_slope: float = 1.0
    prescription_slope: float = 0.80
    outcome_slope: float = 1.3  # avoidable admissions and both health indicators
    admission_rate: float = 0.0028  # a month at need 0
    ambulance_rate: float = 0.0040
    limitation_rate: float = 0.0040

    youth_sd: float = 0.8
    youth_drift_sd: float = 0.5  # correlation 0.90 from month to month
    youth_hardship: float = 0.35
    neet_logit: float = -4.3  # monthly chance of falling out of school and work, at need 0
    neet_slope: float = 1.0
    neet_exit: float = 0.17  # monthly chance of coming back
    place_lost_share: float = 0.70  # of those who fall out while studying
    surge: float = 0.9  # log of how much more is missed in the two months before falling out
    study_years: float = 14.0  # mean years of study after 17, with or without breaks
    absence_slope: float = 0.60
    grade_slope: float = 0.65
    guidance_attention: float = 1.2
    psychiatry_rate: float = 0.0090
    support_rate: float = 0.0090

    district_hardship: tuple[float, ...] = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
    everyday_events: float = 12.0  # library and sport visits per person at density 1: no effect on anything


class EventCode(NamedTuple):
    """One code of the event log, in plain words, and how late the city comes to know such an event."""

    code: str
    fi: str
    sv: str
    en: str
    source: str
    late_share: float
    late_days: int


SCHOOL, CARE, SOCIAL, BENEFIT = "school register", "patient register", "social services register", "benefit register"
POPULATION, SCREENING, LEISURE = "population register", "screening register", "leisure services"
EMPLOYMENT, RESCUE = "employment register", "rescue department register"
CODES = tuple(
    EventCode(*row)
    for row in (
        ("benefit.housing", "asumistuki", "bostadsbidrag", "housing benefit", BENEFIT, 0.35, 40),
        ("benefit.income_support", "toimeentulotuki", "utkomststöd", "income support", BENEFIT, 0.35, 40),
        ("care.cost", "laskutettu hoito", "fakturerad vård", "billed care, euros", CARE, 0.40, 25),
        ("care.diagnosis.diabetes", "diabetes", "diabetes", "diabetes", CARE, 0.33, 40),
        ("care.diagnosis.heart", "sydänsairaus", "hjärtsjukdom", "heart disease", CARE, 0.33, 40),
        ("care.diagnosis.hypertension", "kohonnut verenpaine", "högt blodtryck", "high blood pressure", CARE, 0.33, 40),
        ("care.diagnosis.lung", "keuhkosairaus", "lungsjukdom", "lung disease", CARE, 0.33, 40),
        ("care.missed", "peruuttamatta jäänyt käynti", "uteblivet besök", "missed appointment", CARE, 0.33, 20),
        ("care.prescription", "reseptin uusinta", "förnyat recept", "renewed prescription", CARE, 0.33, 20),
        ("care.psychiatry.visit", "psykiatrian käynti", "psykiatribesök", "psychiatry visit", CARE, 0.33, 20),
        ("care.visit.gp", "lääkärikäynti", "läkarbesök", "visit to a doctor", CARE, 0.33, 20),
        ("care.visit.nurse", "hoitajakäynti", "besök hos sjukskötare", "visit to a nurse", CARE, 0.33, 20),
        ("care.visit.specialist", "erikoislääkärikäynti", "besök hos specialist", "specialist visit", CARE, 0.33, 20),
        ("death", "kuolema", "dödsfall", "death", POPULATION, 0.5, 10),
        ("emergency.ambulance", "ambulanssitehtävä", "ambulansuppdrag", "ambulance call-out", RESCUE, 0.33, 10),
        ("everyday.library", "kirjastokäynti", "biblioteksbesök", "library visit", LEISURE, 0.0, 0),
        ("everyday.sport", "liikuntapaikkakäynti", "besök på idrottsplats", "sports visit", LEISURE, 0.0, 0),
        ("function.limited", "toimintakyvyn rajoite", "nedsatt funktion", "limited daily functioning",
         SOCIAL, 0.33, 25),
        ("hospital.avoidable", "vältettävissä oleva sairaalajakso", "undvikbar sjukhusvård",
         "avoidable hospital admission", CARE, 0.50, 25),
        ("lab.hba1c", "pitkäaikaissokeri", "långtidssocker", "long-term blood sugar, mmol/mol", CARE, 0.33, 7),
        ("lab.ldl", "LDL-kolesteroli", "LDL-kolesterol", "LDL cholesterol, mmol/l", CARE, 0.33, 7),
        ("lab.sbp", "yläverenpaine", "övre blodtryck", "systolic blood pressure, mmHg", CARE, 0.33, 7),
        ("moved_away", "muutto pois", "utflyttning", "moved out of the city", POPULATION, 0.5, 14),
        ("outreach.client", "etsivän nuorisotyön asiakas", "klient i uppsökande ungdomsarbete",
         "client of outreach youth work", SOCIAL, 0.33, 20),
        ("school.absence.excused", "luvallinen poissaolo", "anmäld frånvaro", "excused absence, hours",
         SCHOOL, 0.33, 30),
        ("school.absence.unexcused", "luvaton poissaolo", "olovlig frånvaro", "unexcused absence, hours",
         SCHOOL, 0.40, 45),
        ("school.enrolled", "opiskelupaikka", "studieplats", "study place", SCHOOL, 0.33, 14),
        ("school.grade", "arvosanojen keskiarvo", "medelvitsord", "grade average", SCHOOL, 0.33, 20),
        ("school.guidance", "opinto-ohjaus", "studiehandledning", "guidance contact", SCHOOL, 0.33, 20),
        ("school.place_lost", "opiskelupaikan menetys", "förlorad studieplats", "loss of a study place",
         SCHOOL, 0.90, 90),
        ("screening.cervical.invited", "kutsu kohdunkaulan syövän seulontaan", "kallelse till screening för "
         "livmoderhalscancer", "invitation to cervical screening", SCREENING, 0.0, 0),
        ("screening.cervical.taken", "kohdunkaulan syövän seulontanäyte", "screeningprov för livmoderhalscancer",
         "cervical screening sample", SCREENING, 0.33, 20),
        ("social.support.meeting", "sosiaalisen tuen tapaaminen", "möte om socialt stöd", "social support meeting",
         SOCIAL, 0.33, 20),
        ("status.neet", "ilman työ- tai opiskelupaikkaa kuun lopussa", "utan arbete och studieplats vid månadens slut",
         "without school, work or training at the end of a month", EMPLOYMENT, 1.0, 25),
    )
)  # fmt: skip
CODE_INDEX = {row.code: index for index, row in enumerate(CODES)}
LATE_SHARE = np.array([row.late_share for row in CODES])
LATE_DAYS = np.array([row.late_days for row in CODES])
