"""The words, numbers and dates of what units read, in one language."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ethics.refusals import BadInput, Fault

MESSAGES = Path(__file__).parent / "messages"
_SPACES = re.compile(r"[ \t\n]+")  # and no other: the space that holds a number together stays


class Words:
    """The texts of one language by dotted key.

    >>> Words.of("en")("list.person", id="000123")
    'Person 000123'
    """

    def __init__(self, texts: Mapping[str, Any]) -> None:
        self.texts = _flat(texts)
        marks = {",": self.texts["numbers.thousands_mark"], ".": self.texts["numbers.decimal_mark"]}
        self._marks = str.maketrans(marks)

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, language: str) -> Words:
        """The texts of a language.

        Raises
        ------
        BadInput
            ``language: not built yet: 'se'. Built: en, fi, sv``.
        """
        built = sorted(path.stem for path in MESSAGES.glob("*.toml"))
        if language not in built:
            raise BadInput(Fault("language", f"not built yet: {language!r}", f"Built: {', '.join(built)}"))
        return cls(tomllib.loads((MESSAGES / f"{language}.toml").read_text(encoding="utf-8")))

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with its {names} filled in."""
        return _SPACES.sub(" ", self.texts[key].format(**values)).strip(" ")

    def number(self, value: float) -> str:
        """A number for reading: whole, or three figures; marks as the language writes them.

        >>> [Words.of("en").number(x) for x in (12.0, 1234.0, 7.4, 0.0512, 168.4)]
        ['12', '1,234', '7.4', '0.0512', '168']
        >>> [Words.of("fi").number(x) for x in (1234.0, 7.4)]
        ['1\\xa0234', '7,4']
        """
        whole = value == round(value) or abs(value) >= 100
        text = f"{value:,.0f}" if whole else np.format_float_positional(value, 3, fractional=False, trim="-")
        return text.translate(self._marks)

    def day(self, day: date) -> str:
        """A day for reading.

        >>> [Words.of(language).day(date(2025, 3, 4)) for language in ("fi", "sv", "en")]
        ['4.3.2025', '4.3.2025', '4 March 2025']
        """
        return self("dates.day", day=day.day, month=self.texts[f"months.{day.month}"], year=day.year)

    def source(self, source: str) -> str:
        """A register's name; one that the texts do not hold stays as the need file has it.

        >>> Words.of("fi").source("patient register"), Words.of("fi").source("Kirjaston asiakasrekisteri")
        ('potilasrekisteri', 'Kirjaston asiakasrekisteri')
        """
        return self.texts.get(f"sources.{source.removeprefix('the ')}", source)


def _flat(texts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in texts.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def placeholders(text: str) -> frozenset[str]:
    """The names in braces of a text, so that languages can be compared.

    >>> sorted(placeholders("{value} {plain}"))
    ['plain', 'value']
    """
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name)
