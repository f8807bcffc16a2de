"""The words and numbers of the report in one language: texts by key, figures and dates as its readers write them."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from ethics.digests import decimal
from ethics.refusals import BadInput, Fault
from ethics.rounding import rounded

MESSAGES = Path(__file__).resolve().parent / "messages"
LANGUAGES = ("fi", "sv", "en")
NBSP = "\u00a0"
PER_CENT = f"{NBSP}%"
_IN_PARTS = {"checks": MESSAGES / "checks", "records": MESSAGES / "records"}
_BAND = re.compile(
    r"(?:(?P<low>\d+)\s*[-–]\s*(?P<high>\d+)|(?:>=|≥)\s*(?P<from>\d+)|(?P<plus>\d+)\s*(?:<=|≤|\+)"
    r"|>\s*(?P<above>\d+)|<\s*(?P<below>\d+)|(?:<=|≤)\s*(?P<to>\d+))\s*(?P<per_cent>%)?"
)
"""A band of whole numbers as registers write it."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MARKS = {"fi": (",", NBSP), "sv": (",", NBSP), "en": (".", ",")}


class Language:
    """The texts of one language by dotted key; remembers which were used.

    Raises
    ------
    BadInput
        A language the report is not written in.

    >>> fi, en = Language("fi"), Language("en")
    >>> fi.number(1234.5), en.number(1234.5), fi.percent(0.295)
    ('1\\xa0234,50', '1,234.50', '29,5\\xa0%')
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.features: Mapping[str, Any] = {}
        """Names in words of the features that the report is about, by feature."""
        self._texts = _messages(language)
        self._decimal, self._thousand = _MARKS.get(language, _MARKS["en"])
        self.used: set[str] = set()

    def __call__(self, key: str, /, **names: object) -> str:
        """The text of a key, with its names filled in."""
        self.used.add(key)
        return self._texts[key].format(**names) if names else self._texts[key]

    def has(self, key: str) -> bool:
        """Whether there is a text of that key."""
        return key in self._texts

    def all(self, key: str) -> list[str]:
        """The texts of a list."""
        names = [name for name in self._texts if name.startswith(f"{key}.")]
        return [self(name) for name in names]

    def of(self, texts: Any) -> str:
        """What somebody wrote in three languages, in this one; what they wrote in one, as it is."""
        return str(texts.get(self.language) or "") if isinstance(texts, Mapping) else str(texts)

    # Names of groups: plain where there is a plain name, else as the data have them

    def attribute(self, name: str) -> str:
        """An attribute's name; of a crossing, the names of what is crossed. Without a name, as data have it, in words.

        >>> Language("en").attribute("sex × age_band"), Language("en").attribute("care_path")
        ('sex × age band', 'care path')
        """
        return " × ".join(self._attribute(part) for part in name.split(" × "))

    def _attribute(self, name: str) -> str:
        return self._plain(f"attributes.{name.casefold()}", name.replace("_", " "))

    def group(self, attribute: str, group: str) -> str:
        """A group's name within its attribute.

        >>> en = Language("en")
        >>> en.group("sex", "F"), en.group("age_band", "55<="), en.group("disability", "Y"), en.group("area", "Y")
        ('female', '55 or over', 'yes', 'Y')
        """
        if attribute == "feature":
            return self.of(self.features.get(group) or group)
        attributes, groups = attribute.split(" × "), group.split(" × ")
        if len(attributes) != len(groups):
            return self._plain(f"groups.any.{group}", group)
        return " × ".join(self._group(of, name) for of, name in zip(attributes, groups, strict=True))

    def _group(self, attribute: str, group: str) -> str:
        """Our name for it, however the value is written; else a band in words, else the value itself."""
        of, name = attribute.casefold(), group.casefold()
        for key in (f"groups.{of}.{name}", f"groups.any.{name}"):
            if self.has(key):
                return self(key)
        return self._band(group)

    def _band(self, group: str) -> str:
        """A band of numbers as people write it: ``0-35``, ``55<=``, ``<18``, ``90-100%``."""
        found = _BAND.fullmatch(group)
        if found is None:
            return group
        named = {name: value for name, value in found.groupdict().items() if value is not None}
        per_cent = PER_CENT if "per_cent" in named else ""
        if "low" in named and "high" in named:
            return f"{named['low']}–{named['high']}{per_cent}"
        if "from" in named or "plus" in named:
            return self("groups.bands.from", n=(named.get("from") or named["plus"]) + per_cent)
        if "above" in named:
            return self("groups.bands.above", n=named["above"] + per_cent)
        if "below" in named:
            return self("groups.bands.below", n=named["below"] + per_cent)
        return self("groups.bands.up_to", n=named["to"] + per_cent)

    def policy_name(self, key: str) -> str:
        """A number of the policy by its name in words, e.g. of ``thresholds.min_recall_ratio``."""
        return self._plain(f"policy_names.{key}", key)

    def subject(self, name: str) -> str:
        """What was judged and signed, in words."""
        return self._plain(f"subjects.{name}", name)

    def role(self, role: str) -> str:
        """A role in words."""
        return self._plain(f"roles.{role}", role.replace("_", " "))

    def group_of(self, reference: str) -> str:
        """``attribute=group``, as checks name a group, in words."""
        attribute, sign, group = reference.partition("=")
        if not sign:
            return self.attribute(reference)
        return self("page.group_of", attribute=self.attribute(attribute), group=self.group(attribute, group))

    def groups_of(self, references: Iterable[str]) -> str:
        """Several groups, each attribute named once.

        >>> Language("en").groups_of(["sex=f", "language=sv", "sex=m", "sex × language"])
        'sex: female, male; language: Swedish; sex × language'
        """
        by_attribute: dict[str, list[str]] = {}
        for reference in references:
            attribute, _, group = reference.partition("=")
            by_attribute.setdefault(attribute, []).extend([self.group(attribute, group)] if group else [])
        return "; ".join(
            self("page.group_of", attribute=self.attribute(attribute), group=", ".join(groups))
            if groups
            else self.attribute(attribute)
            for attribute, groups in by_attribute.items()
        )

    def _plain(self, key: str, otherwise: str) -> str:
        return self(key) if self.has(key) else otherwise

    # Numbers

    def count(self, n: float) -> str:
        """A whole number with its thousands apart."""
        return self._written(f"{n:,.0f}")

    def number(self, value: float) -> str:
        """A number as people read it: two decimals, or none when it is whole; one digit of one below a hundredth.

        >>> en = Language("en")
        >>> en.number(0.005), en.number(0.0149), en.number(-0.0), en.number(3e-13)
        ('0.005', '0.01', '0', '3 × 10⁻¹³')
        """
        if value == round(value):
            return self.count(value)
        if abs(value) >= 0.01:
            return self._written(f"{rounded(value):,f}")
        digit, _, power = f"{value:.0e}".partition("e")
        if int(power) < -6:
            return f"{self._written(digit)} × 10{str(int(power)).translate(_RAISED)}"
        return self._written(f"{rounded(value):f}")

    def exact(self, value: float | str) -> str:
        """A threshold as the policy has it, every digit of it, with two decimals at least where it is not whole.

        >>> en = Language("en")
        >>> [en.exact(value) for value in ("0.8", 0.005, "1e-06", "60", 0.002)]
        ['0.80', '0.005', '0.000001', '60', '0.002']
        """
        written = Decimal(value if isinstance(value, str) else str(decimal(value)))
        if written == written.to_integral_value():
            return self._written(f"{written:,.0f}")
        places = -int(written.normalize().as_tuple().exponent)
        return self._written(f"{written:,.{max(2, places)}f}")

    def alike(self, *values: float | None) -> Callable[[float], str]:
        """How to write numbers that stand together: whole ones with decimals too, where another has them."""
        if all(value is None or not math.isfinite(value) or value == round(value) for value in values):
            return self.number
        return lambda value: self._written(f"{value:,.2f}") if value == round(value) else self.number(value)

    def percent(self, share: float, decimals: int = 1) -> str:
        """A share, in per cent with one decimal."""
        return self._written(f"{100 * share:.{decimals}f}") + PER_CENT

    def interval(self, low: float | None, high: float | None, show: Any = None) -> str:
        """Both bounds, or nothing where there is none."""
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
            return ""
        show = show or self.alike(low, high)
        return self("page.interval", low=show(low).removesuffix(PER_CENT), high=show(high))

    def _written(self, plain: str) -> str:
        if not plain.strip("-0.,"):  # minus nothing is nothing
            plain = plain.removeprefix("-")
        marks = {",": self._thousand, ".": self._decimal, "-": "\u2212"}
        return "".join(marks.get(sign, sign) for sign in plain)

    # Dates

    def day(self, day: date) -> str:
        """A day, its month in words."""
        return self("dates.day", day=day.day, month=self(f"dates.months.{day.month - 1}"), year=day.year)

    def moment(self, moment: datetime) -> str:
        """A moment, with its time zone."""
        return self("dates.moment", day=self.day(moment), hour=moment.hour, minute=f"{moment:%M}", zone=f"{moment:%Z}")


def machine(value: float, kind: str = "ratio") -> str:
    """As precise as what is shown: more digits of a rate would give away the counts that are withheld.

    ``kind`` as in :data:`ethics.rounding.DECIMALS`.

    >>> machine(1.2345), machine(0.29549, "share"), machine(1.0), machine(12345.6)
    ('1.23', '0.295', '1', '12346')
    """
    return f"{rounded(value, kind).normalize():f}" if abs(value) < 1000 else f"{value:.0f}"


def languages() -> list[str]:
    """The languages the report is written in."""
    return sorted(file.stem for file in MESSAGES.glob("*.toml"))


@cache
def record_layouts() -> dict[str, Mapping[str, Any]]:
    """How each table of a verdict's record is shown, by its name (``messages/records/<name>.toml``)."""
    files = sorted((MESSAGES / "records").glob("*.toml"))
    return {file.stem: tomllib.loads(file.read_text("utf-8")) for file in files}


@cache
def _messages(language: str) -> dict[str, str]:
    path = MESSAGES / f"{language}.toml"
    if not path.exists():
        raise BadInput(
            Fault(
                "language",
                f"is {language!r}, and the report is not written in it",
                f"Give one of: {', '.join(languages())}",
            )
        )
    texts = dict(_flat(tomllib.loads(path.read_text("utf-8"))))
    for kind, folder in _IN_PARTS.items():
        for file in sorted(folder.glob("*.toml")):
            for key, text in _flat(tomllib.loads(file.read_text("utf-8"))):
                name, _, written_in = key.rpartition(".")
                if written_in == language:
                    texts[f"{kind}.{file.stem}.{name}"] = text
    return texts


def _flat(table: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    items = enumerate(table) if isinstance(table, list) else table.items()
    for name, value in items:
        key = f"{prefix}{name}"
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, Mapping | list):
            yield from _flat(value, f"{key}.")
