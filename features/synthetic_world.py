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

    Three switches make harder worlds, for tests and trials; as they stand they change nothing:

    `selective_labels`
        Share of the outcomes that nobody records unless a service saw the person lately: avoidable admissions without
        a visit, and months outside school and work without guidance, support or psychiatric care, in that month or
        the five before; replies and enrolments of children who are in no municipal unit. Indicators and
        `truth.parquet` are untouched, so the bias can be measured (Source: Lakkaraju et al. 2017, on selective labels).
    `late_knowledge`
        Multiplies the share of events that is known late (up to all of them) and the days of delay: 0, and the city
        knows everything on the day; 3, and a feature built by event date alone looks far better than it can be.
    `drift_per_year`
        Coefficients change over calendar time, and are those of the ordinary world in the middle of the log: each year
        later the log rate (or log odds) of every outcome is that much higher at the same need, and what schools,
        laboratories and early education record follows the need by that share less.
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
    named_share: float = 0.25  # of visits to a doctor or nurse that are with the person's own one
    interpreter_share: float = 0.30  # of `barred_group`: an interpreter is booked for their visits
    check_rate: float = 0.15  # health checks a month from 30 years on, by invitation, the same for everyone
    measurement_sd: float = 0.45  # noise of one laboratory value, in units of need
    diagnosis_slope: float = 1.0
    prescription_slope: float = 0.80
    outcome_slope: float = 1.15  # avoidable admissions and both health indicators
    admission_rate: float = 0.0039  # a month at need 0
    ambulance_rate: float = 0.0056
    limitation_rate: float = 0.0056
    emergency_visit_rate: float = 0.016
    emergency_visit_slope: float = 0.60

    youth_sd: float = 0.8
    youth_drift_sd: float = 0.5  # correlation 0.90 from month to month
    youth_hardship: float = 0.35
    youth_move: float = 0.25  # in the twelve months after moving
    neet_logit: float = -4.3  # monthly chance of falling out of school and work, at need 0
    neet_slope: float = 1.0
    neet_exit: float = 0.17  # monthly chance of coming back
    place_lost_share: float = 0.70  # of those who fall out while studying
    surge: float = 0.9  # log of how much more is missed in the two months before falling out
    study_years: float = 14.0  # mean years of study after 17, with or without breaks
    absence_slope: float = 0.60
    grade_slope: float = 0.75
    guidance_attention: float = 1.2
    welfare_rate: float = 0.03  # contacts with student welfare a month
    school_change_share: float = 0.4  # of moves that bring another school
    application_slope: float = 0.9  # log odds of not applying, and of not being accepted
    psychiatry_rate: float = 0.0090
    support_rate: float = 0.0090

    reach_sd: float = 0.9  # how hard a family with small children is to reach: lasting, one value per household
    reach_hardship: float = 0.25
    reach_language: float = 0.30  # of `barred_group`: messages are in fi, sv and en alone
    outside_logit: float = -3.0  # log odds of being in neither municipal nor private early education, at reach 0
    outside_slope: float = 0.8
    private_share: float = 0.07
    message_slope: float = 1.25  # log odds of leaving a message of early education unanswered
    unreached_logit: float = -2.9  # log odds of neither reply nor enrolment by August, at reach 0
    unreached_slope: float = 1.0
    unreached_outside: float = 1.2  # outside municipal early education
    unreached_move: float = 0.8  # moved in the six months before the offer
    unreached_sibling: float = -0.7  # a sibling in the same unit
    unreached_support: float = -0.8  # a decision on special support: the family is in touch already
    child_check_missed_rate: float = 0.010  # a month, of both pre-school indicators, at reach 0
    child_check_missed_slope: float = 0.9

    district_hardship: tuple[float, ...] = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
    everyday_events: float = 12.0  # library and sport visits per person at density 1: no effect on anything

    selective_labels: float = 0.0
    late_knowledge: float = 1.0
    drift_per_year: float = 0.0

    def years_from_middle(self, day: Ints) -> NDArray[np.float64]:
        """Years from the middle of the log to each day (epoch days); negative before it."""
        return np.asarray((day - (START_DAY + EXTRACT_DAY) / 2) / 365.25, dtype=np.float64)

    def outcome_drift(self, day: Ints) -> Floats:
        """What is added to the log rate or log odds of every outcome on each day; 0 without drift."""
        return (self.drift_per_year * self.years_from_middle(day)).astype(np.float32)

    def record_drift(self, day: Ints) -> Floats:
        """What the slopes of records on need are multiplied by on each day, never below a tenth; 1 without drift."""
        return (1 - self.drift_per_year * self.years_from_middle(day)).clip(0.1, None).astype(np.float32)

    def knowledge(self) -> tuple[NDArray[np.float64], Ints]:
        """Share of the events of each code that is known late, and by how many days at most: (n_codes,) each."""
        days = np.rint(LATE_DAYS * self.late_knowledge).astype(np.int64)
        return np.where(days > 0, np.minimum(1.0, LATE_SHARE * self.late_knowledge), 0.0), days


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
EARLY, PRESCHOOL = "early education register", "pre-school register"
CHILD_CLINIC, DENTAL = "child health clinic register", "oral health care register"
CODES = tuple(
    EventCode(*row)
    for row in (
        ("benefit.housing", "asumistuki", "bostadsbidrag", "housing benefit", BENEFIT, 0.35, 40),
        ("benefit.income_support", "toimeentulotuki", "utkomststöd", "income support", BENEFIT, 0.35, 40),
        ("care.contact.named", "yhteys omaan lääkäriin tai hoitajaan", "kontakt med egen läkare eller skötare",
         "contact with one's own doctor or nurse", CARE, 0.33, 20),
        ("care.cost", "laskutettu hoito", "fakturerad vård", "billed care, euros", CARE, 0.40, 25),
        ("care.diagnosis.diabetes", "diabetes", "diabetes", "diabetes", CARE, 0.33, 40),
        ("care.diagnosis.heart", "sydänsairaus", "hjärtsjukdom", "heart disease", CARE, 0.33, 40),
        ("care.diagnosis.hypertension", "kohonnut verenpaine", "högt blodtryck", "high blood pressure", CARE, 0.33, 40),
        ("care.diagnosis.lung", "keuhkosairaus", "lungsjukdom", "lung disease", CARE, 0.33, 40),
        ("care.emergency", "päivystyskäynti", "besök på jouren", "emergency department visit", CARE, 0.33, 10),
        ("care.interpreter", "tulkkaus vastaanotolla", "tolkning på mottagningen", "interpreter at an appointment",
         CARE, 0.33, 20),
        ("care.missed", "käyttämättä jäänyt aika", "uteblivet besök", "missed appointment", CARE, 0.33, 20),
        ("care.prescription", "reseptin uusinta", "förnyat recept", "renewed prescription", CARE, 0.33, 20),
        ("care.prescription.cns.antidepressant", "masennuslääkkeen uusinta", "förnyat antidepressivt läkemedel",
         "renewed antidepressant", CARE, 0.33, 20),
        ("care.prescription.cns.opioid", "opioidin uusinta", "förnyad opioid", "renewed opioid", CARE, 0.33, 20),
        ("care.prescription.cns.sedative", "rauhoittavan lääkkeen uusinta", "förnyat lugnande läkemedel",
         "renewed sedative", CARE, 0.33, 20),
        ("care.psychiatry.visit", "psykiatrian käynti", "psykiatribesök", "psychiatry visit", CARE, 0.33, 20),
        ("care.vaccination.influenza", "influenssarokotus", "influensavaccination", "influenza vaccination",
         CARE, 0.33, 20),
        ("care.visit.gp", "lääkärikäynti", "läkarbesök", "visit to a doctor", CARE, 0.33, 20),
        ("care.visit.nurse", "hoitajakäynti", "besök hos sjukskötare", "visit to a nurse", CARE, 0.33, 20),
        ("care.visit.specialist", "erikoislääkärikäynti", "besök hos specialist", "specialist visit", CARE, 0.33, 20),
        ("child_clinic.missed", "neuvolan tarkastus jäi väliin", "utebliven kontroll på barnrådgivningen",
         "missed check at the child health clinic", CHILD_CLINIC, 0.33, 20),
        ("death", "kuolema", "dödsfall", "death", POPULATION, 0.5, 10),
        ("dental.missed", "suun terveystarkastus jäi väliin", "utebliven munhälsokontroll",
         "missed oral health check", DENTAL, 0.33, 20),
        ("ecec.message.answered", "vastattu viesti", "besvarat meddelande", "answered message", EARLY, 0.0, 0),
        ("ecec.message.unanswered", "viesti jäi vastaamatta", "obesvarat meddelande", "unanswered message",
         EARLY, 0.0, 0),
        ("ecec.place.municipal", "paikka kunnallisessa varhaiskasvatuksessa", "plats i kommunal småbarnspedagogik",
         "place in municipal early education", EARLY, 0.33, 14),
        ("ecec.place.private", "paikka yksityisessä varhaiskasvatuksessa", "plats i privat småbarnspedagogik",
         "place in private early education", EARLY, 0.33, 45),
        ("ecec.sibling_in_unit", "sisarus samassa yksikössä", "syskon i samma enhet", "sibling in the same unit",
         EARLY, 0.33, 14),
        ("ecec.support", "erityisen tuen päätös", "beslut om särskilt stöd", "decision on special support",
         EARLY, 0.33, 30),
        ("emergency.ambulance", "ambulanssitehtävä", "ambulansuppdrag", "ambulance call-out", RESCUE, 0.33, 10),
        ("everyday.library", "kirjastokäynti", "biblioteksbesök", "library visit", LEISURE, 0.0, 0),
        ("everyday.sport", "liikuntapaikkakäynti", "besök på idrottsplats", "sports visit", LEISURE, 0.0, 0),
        ("function.limited", "toimintakyvyn rajoite", "nedsatt funktion", "limited daily functioning",
         SOCIAL, 0.33, 25),
        ("hospital.avoidable", "vältettävissä oleva sairaalajakso", "undvikbar sjukhusvård",
         "avoidable hospital admission", CARE, 0.50, 25),
        ("lab.bmi", "painoindeksi", "kroppsmasseindex", "body mass index, kg/m²", CARE, 0.33, 7),
        ("lab.egfr", "munuaisten suodatusnopeus", "njurarnas filtrationshastighet",
         "kidney filtration rate, ml/min/1.73 m²", CARE, 0.33, 7),
        ("lab.hba1c", "pitkäaikaissokeri", "långtidssocker", "long-term blood sugar, mmol/mol", CARE, 0.33, 7),
        ("lab.ldl", "LDL-kolesteroli", "LDL-kolesterol", "LDL cholesterol, mmol/l", CARE, 0.33, 7),
        ("lab.sbp", "yläverenpaine", "övre blodtryck", "systolic blood pressure, mmHg", CARE, 0.33, 7),
        ("moved_away", "muutto pois", "utflyttning", "moved out of the city", POPULATION, 0.5, 14),
        ("outreach.client", "etsivän nuorisotyön asiakas", "klient i uppsökande ungdomsarbete",
         "client of outreach youth work", SOCIAL, 0.33, 20),
        ("population.moved", "muutto uuteen osoitteeseen", "flyttning till ny adress", "moved to a new address",
         POPULATION, 0.5, 14),
        ("preschool.enrolled", "ilmoitettu esiopetukseen", "anmäld till förskoleundervisning",
         "enrolled in pre-school education", PRESCHOOL, 0.33, 14),
        ("preschool.offer", "tarjottu esiopetuspaikka", "erbjuden plats i förskoleundervisning",
         "offered a place in pre-school education", PRESCHOOL, 0.0, 0),
        ("preschool.reply", "vastaus paikkatarjoukseen", "svar på platserbjudandet", "reply to the offered place",
         PRESCHOOL, 0.1, 7),
        ("school.absence.excused", "luvallinen poissaolo", "anmäld frånvaro", "excused absence, hours",
         SCHOOL, 0.33, 30),
        ("school.absence.unexcused", "luvaton poissaolo", "olovlig frånvaro", "unexcused absence, hours",
         SCHOOL, 0.40, 45),
        ("school.application.accepted", "hyväksytty opiskelupaikkaan", "antagen till studieplats",
         "accepted to a study place", SCHOOL, 0.33, 14),
        ("school.application.rejected", "jäi ilman haettua opiskelupaikkaa", "blev utan sökt studieplats",
         "not accepted to a study place", SCHOOL, 0.33, 14),
        ("school.application.sent", "haku opiskelupaikkaan", "ansökan till studieplats",
         "application for a study place", SCHOOL, 0.33, 14),
        ("school.changed", "koulun tai oppilaitoksen vaihto", "byte av skola eller läroanstalt", "change of school",
         SCHOOL, 0.33, 30),
        ("school.enrolled", "opiskelupaikka", "studieplats", "study place", SCHOOL, 0.33, 14),
        ("school.grade", "arvosanojen keskiarvo", "medelvitsord", "grade average", SCHOOL, 0.33, 20),
        ("school.guidance", "opinto-ohjaus", "studiehandledning", "guidance contact", SCHOOL, 0.33, 20),
        ("school.place_lost", "opiskelupaikan menetys", "förlorad studieplats", "loss of a study place",
         SCHOOL, 0.90, 90),
        ("school.welfare", "opiskeluhuollon yhteydenotto", "kontakt med studerandevården",
         "student welfare contact", SCHOOL, 0.33, 20),
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
