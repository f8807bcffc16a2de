"""What no model may read, what it may read only when somebody vouches for it, and what is also a group to be protected.

Read from what a feature is made of: its attribute or the codes of its events, and the register they come from. Words
in English, Finnish and Swedish; a word that nobody thought of is caught by the need's own ``special_category``, by the
auditor, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BEGINS, _ENDS = r"(?:^|[._:-])", r"(?:$|[._:*-])"
_FORBIDDEN = re.compile(
    _BEGINS + r"(hetu|ssn|personal_id\w*|name|nimi|namn|address|osoite|adress|religion|uskonto|politic\w*|"
    r"union_member\w*|sexual\w*|crim\w*|rikos\w*|brott\w*|ethnic\w*|country_of_birth|birth_country|synty\w*maa|"
    r"free_text|photos?)" + _ENDS,
    re.IGNORECASE,
)
_HEALTH = re.compile(
    r"^(?:care|lab)[._:-]|"
    + _BEGINS
    + r"(health\w*|hospital\w*|diagnos\w*|prescri\w*|drugs?|psychiatr\w*|medic\w*|vaccin\w*|patients?|screening|"
    r"disab\w*|icd\w*|terveys\w*|sairau\w*|sairaala\w*|potilas\w*|lääk\w*|vammai\w*|hälso\w*|sjuk\w*|vård\w*|"
    r"patient\w*|funktionsned\w*)" + _ENDS,
    re.IGNORECASE,
)
_HEALTH_REGISTER = re.compile(
    r"\b(patient|health|hospital|medical|screening|disability|potilas|terveys|sairaala|hälso|sjuk|vård)\w*",
    re.IGNORECASE,
)
_DUAL_USE = re.compile(
    r"(?:^|_)(age|ikä|ålder|sex|gender|sukupuoli|kön|district|area|postal_code|alue|kaupunginosa|stadsdel|language|"
    r"mother_tongue|kieli|äidinkieli|språk|modersmål)(?:$|_)",
    re.IGNORECASE,
)


def forbidden_name(names: Iterable[str]) -> str | None:
    """The first attribute or code that no model may read (check C602); None where there is none.

    >>> forbidden_name(["school.absence.*"]), forbidden_name(["school.grade", "crime.reports.*"])
    (None, 'crime.reports.*')
    """
    return next((name for name in names if _FORBIDDEN.search(name)), None)


def is_health(names: Iterable[str], source: str | None = None) -> bool:
    """Whether a feature tells of health: by its attribute or codes, or by the register it comes from.

    >>> is_health(["care.visit.*"]), is_health(["status.x"], "patient register"), is_health(["school.welfare"])
    (True, True, False)
    """
    return any(_HEALTH.search(name) for name in names) or bool(_HEALTH_REGISTER.search(source or ""))


def is_dual_use(attribute: str) -> bool:
    """Whether an attribute that may be read is also a ground of discrimination (check C410).

    >>> is_dual_use("contact_language"), is_dual_use("age"), is_dual_use("percentage")
    (True, True, False)
    """
    return _DUAL_USE.search(attribute) is not None
