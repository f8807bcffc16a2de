"""Which attributes checked for fairness the ranking reads as well: public page, report and register all ask here.

Decided by what a feature reads (its attribute, whose events, their codes), never by the name somebody gave it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ethics.verdict import Verdict

_CUT_UP = ("band", "group", "class", "contact", "native", "home", "own")
_GROUND = {
    **dict.fromkeys(("age", "birth_date", "birth_year", "birthdate", "ikä", "ålder"), "age"),
    **dict.fromkeys(("sex", "gender", "sukupuoli", "kön"), "sex"),
    **dict.fromkeys(("language", "mother_tongue", "kieli", "äidinkieli", "språk", "modersmål"), "language"),
    **dict.fromkeys(("district", "area", "postal_code", "postcode", "alue", "kaupunginosa", "stadsdel"), "district"),
    **dict.fromkeys(("deprivation", "imd", "deprivation_of_area"), "deprivation"),
}
"""A name without what only says how it is cut up → the ground of discrimination that it is."""
_DERIVED = {"deprivation": "district"}
"""What follows from another ground that is read: how deprived an area is, from which area it is."""


def attributes_read(verdict: Verdict) -> list[str]:
    """The attributes checked for fairness that the ranking reads as well, in the verdict's order.

    An attribute is read where a feature is it, is what it is made of (an age band: age), is of the area it names, or
    counts events whose codes name it (``person.language.*``).
    """
    read = set(_read(verdict.record["features"]))
    return [name for name in verdict.scope["group_attributes"] if {ground(name), _DERIVED.get(ground(name))} & read]


def attributes_apart(verdict: Verdict) -> list[str]:
    """The attributes that serve to check fairness alone."""
    read = attributes_read(verdict)
    return [name for name in verdict.scope["group_attributes"] if name not in read]


def _read(features: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for feature in features:
        if "attribute" not in feature:  # recorded by an earlier version: a feature of an attribute bears its name
            yield ground(str(feature["feature"]))
            continue
        if feature["attribute"]:
            yield ground(str(feature["attribute"]))
        if feature["of"] == "district":
            yield "district"
        for code in feature["codes"]:
            yield from map(ground, re.split(r"[.:*]+", str(code)))


def ground(name: str) -> str:
    """The ground that an attribute is, by any of its names; its own name where it is none that is known.

    >>> [ground(name) for name in ("age_band", "contact_language", "gender", "home_district", "disability")]
    ['age', 'language', 'sex', 'district', 'disability']
    """
    parts = [part for part in name.casefold().split("_") if part not in _CUT_UP]
    plain = "_".join(parts) or name.casefold()
    return _GROUND.get(plain, plain)
