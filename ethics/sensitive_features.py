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
    _BEGINS
    # who it is, and where: identity codes, names, addresses
    + r"(hetu|ssn|personal_id\w*|national_id\w*|henkil(?:ö|o)tunnu\w*|personnummer\w*|personbeteckning\w*|"
    r"name|nimi|namn|surname|(?:last|first|family|given|full|sur)_?names?|(?:suku|etu|koko)nim\w*|"
    r"(?:efter|för|for|släkt)namn\w*|address|osoite|adress|(?:home|street|postal|email)_?address\w*|"
    r"(?:katu|koti|lähi|posti)osoit\w*|(?:gatu|hem|bostads|post)adress\w*|"
    # belief, opinion, union
    r"religi\w*|uskon\w*|faith|trossamfund\w*|politic\w*|politi[iks]\w*|puolue\w*|(?:political_)?party|"
    r"(?:politiskt_)?parti|union_member\w*|trade_?unions?\w*|ammattiliit\w*|fack(?:förbund|forbund|lig|lige)?\w*|"
    # origin
    r"ethnic\w*|etni\w*|nationalit\w*|citizenship\w*|kansalaisuu\w*|medborgarskap\w*|country_of_birth|"
    r"birth_?(?:country|place)\w*|synty\w*(?:maa|paikka)|f(?:ö|o)delse(?:land|ort)\w*|"
    # sexual life, crime
    r"sexual\w*|seksuaali\w*|sexuell\w*|crim\w*|rikos\w*|rikok\w*|brott\w*|"
    # free text, pictures
    r"free_?text\w*|vapaateksti\w*|vapaa_teksti\w*|fritext\w*|photos?|photograph\w*|foto\w*|valokuva\w*)" + _ENDS,
    re.IGNORECASE,
)
_HEALTH = re.compile(
    r"^(?:care|lab)[._:-]|"
    + _BEGINS
    + r"(health\w*|hospital\w*|diagno\w*|prescri\w*|drugs?|psychiatr\w*|medic\w*|vaccin\w*|patients?|screening|"
    r"disab\w*|illness\w*|disease\w*|icd\w*|terveys\w*|sairau\w*|sairaala\w*|potilas\w*|lääk\w*|laakari\w*|laake\w*|"
    r"mental_health\w*|mielenterv\w*|psykiat\w*|psykisk\w*|therap\w*|terapia\w*|rokot\w*|läkemed\w*|läkar\w*|"
    r"vammai\w*|hälso\w*|sjuk\w*|vård\w*|"
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
