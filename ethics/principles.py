"""The eight principles of the City of Helsinki for the ethical use of data and AI, and the checks that test each.

Every check of the gate answers to one principle; the report's trace shows which are built and which are not yet.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = (
    "hel.fi/en/news/the-city-of-helsinki-established-principles-for-the-ethical-use-of-data-and-artificial-intelligence"
)


class Principle(NamedTuple):
    """One principle: its names, what it asks of an engineer, and the checks that test it.

    ``fi_is_quoted`` is False where the Finnish name is our translation back from Swedish and English, which must be
    compared with the city's own wording before it is published.
    """

    id: str
    fi: str
    sv: str
    en: str
    gist: str
    checks: tuple[str, ...]
    fi_is_quoted: bool = True


def _checks(hundred: int, count: int) -> tuple[str, ...]:
    return tuple(f"C{hundred}{number:02d}" for number in range(1, count + 1))


PRINCIPLES = (
    Principle(
        "P1",
        "Ihmislähtöisyys",
        "Människan i fokus",
        "People-orientedness",
        "built for residents' benefit, residents heard",
        _checks(1, 6),
    ),
    Principle(
        "P2",
        "Läpinäkyvyys",
        "Transparens",
        "Transparency",
        "say where and how data and AI are used, understandably",
        _checks(2, 4),
    ),
    Principle(
        "P3",
        "Selitettävyys",
        "Förklarbarhet",
        "Explainability",
        "a single result and the general logic can be explained",
        _checks(3, 5),
    ),
    Principle(
        "P4",
        "Oikeudenmukaisuus ja yhdenvertaisuus",
        "Rättvisa och jämlikhet",
        "Fairness and equality",
        "human dignity and rights are the starting point",
        _checks(4, 14),
    ),
    Principle(
        "P5",
        "Vastuullisuus ja luottamuksen ylläpito",
        "Ansvar och upprätthållande av förtroende",
        "Responsibility and maintaining trust",
        "a named responsible party per service, who can be contacted",
        _checks(5, 3),
        fi_is_quoted=False,
    ),
    Principle(
        "P6",
        "Yksityisyys",
        "Integritet",
        "Privacy",
        "careful handling of personal data over its whole life",
        _checks(6, 11),
        fi_is_quoted=False,
    ),
    Principle(
        "P7",
        "Turvallisuus",
        "Säkerhet",
        "Security",
        "systems are protected and controlled",
        _checks(7, 6),
        fi_is_quoted=False,
    ),
    Principle(
        "P8",
        "Ihmisen hallinnassa",
        "Människans kontroll över AI",
        "Under human control",
        "a responsible person can monitor, steer and intervene",
        _checks(8, 4),
        fi_is_quoted=False,
    ),
)
