"""The words of the leader's page in one language: texts by key, numbers, intervals and days."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("leader_messages")
LANGUAGES = ("fi", "sv", "en")
Ends = Mapping[str, float | None]


class LeaderWords:
    """The texts of one language; a key within a table is written ``table.key``.

    >>> en, fi = LeaderWords("en"), LeaderWords("fi")
    >>> en.number(1234.5), fi.number(1234.5, 1), en.number(None), fi.day("2024-06-03")
    ('1,234', '1\\xa0234,5', '–', '3.6.2024')
    >>> en.estimate({"value": 8.26, "low": 4.0, "high": 13.0}, 1), en.people(None)
    ('8.3 (4.0–13.0)', 'withheld')
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.texts = _texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its {names} filled in."""
        table, _, inner = key.partition(".")
        text: str = self.texts[table][inner] if inner else self.texts[key]
        return text.format(**values)

    def number(self, value: float | None, decimals: int = 0) -> str:
        """A number with the marks of the language; a dash where there is none."""
        if value is None:
            return self("unknown")
        marks = {",": self.texts["thousands_mark"].replace(" ", "\N{NO-BREAK SPACE}"), ".": self.texts["decimal_mark"]}
        return f"{value:z,.{decimals}f}".translate(str.maketrans(marks))

    def people(self, n: float | None) -> str:
        """A number of people, or that it is withheld."""
        return self("withheld") if n is None else self.number(n)

    def roughly(self, n: int | None) -> str:
        """A rounded number of people, or that it is withheld."""
        return self("withheld") if n is None else self("about_n", n=self.number(n))

    def estimate(self, one: Ends | None, decimals: int = 0, times: float = 1) -> str:
        """A value with its interval in brackets; that it is not known where it is not."""
        if one is None or one["value"] is None:
            return self("not_known")
        value = self.number(one["value"] * times, decimals)
        low, high = (None if one[end] is None else one[end] * times for end in ("low", "high"))  # type: ignore[operator]
        if low is None and high is None:
            return value
        # Between two negative numbers a dash would be read as a sign.
        mark = " … " if (low or 0.0) < 0 else "–"
        return f"{value} ({self.number(low, decimals)}{mark}{'∞' if high is None else self.number(high, decimals)})"

    def percent(self, share: Ends | None) -> str:
        """A share in per cent with its interval, without the sign; a decimal where it is small."""
        small = share is not None and share["value"] is not None and share["value"] < 0.1
        return self.estimate(share, 1 if small else 0, 100)

    def day(self, text: str) -> str:
        """A day as readers of the language write it."""
        day = date.fromisoformat(text[:10])
        if self.language == "en":
            return f"{day.day} {day:%B} {day.year}"
        return f"{day.day}.{day.month}.{day.year}"

    def period(self, text: str) -> str:
        """A period written as ``2024-06-03/2024-06-10``: the second day is no longer in it, and not said.

        >>> LeaderWords("sv").period("2024-06-03/2024-06-10")
        '3.6.2024–9.6.2024'
        """
        first, _, end = text.partition("/")
        last = date.fromisoformat(end) - timedelta(days=1)
        return f"{self.day(first)}–{self.day(last.isoformat())}"


@lru_cache(maxsize=8)
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
