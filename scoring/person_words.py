"""The words of a person's page, in one language."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from scoring.reason_words import Words

FOLDER = Path(__file__).parent / "person_messages"
LANGUAGES = ("fi", "sv", "en")
_ZONE = ZoneInfo("Europe/Helsinki")


class PersonWords:
    """The texts of one language by dotted key, with the words that lists use beside them.

    >>> PersonWords("en")("object.phone", phone="09 1"), PersonWords("fi").day("2024-06-03")
    ('By phone: 09 1', '3.6.2024')
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.lists = Words.of(language)
        self._texts = _texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its {names} filled in."""
        table, _, inner = key.rpartition(".")
        return str(self._texts[table][inner]).format(**values)

    def number(self, value: float) -> str:
        """A number with the marks of the language."""
        return self.lists.number(value)

    def day(self, day: str | date) -> str:
        """A day for reading, from a date or from what begins with one."""
        return self.lists.day(day if isinstance(day, date) else date.fromisoformat(day[:10]))

    def moment(self, text: str) -> str:
        """A moment for reading, by the clock on the wall; a day where no clock is known.

        >>> PersonWords("en").moment("2024-06-03T09:30:00+00:00"), PersonWords("sv").moment("2024-06-03T00:00:00")
        ('3 June 2024, 12.30', '3.6.2024')
        """
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(_ZONE)
        elif not (moment.hour or moment.minute):
            return self.day(text)
        return self("page.moment", day=self.day(moment.date()), time=f"{moment:%H.%M}")

    def band(self, band: str | None) -> str:
        """A rank band in words."""
        return self("page.unknown") if band is None else self.lists(f"bands.{band}")

    def channel(self, channel: str | None) -> str:
        """A channel in words; one that the texts do not hold stays as it was recorded."""
        if channel is None:
            return self("page.unknown")
        return self.lists.texts.get(f"channels.{channel}", channel)

    def outcome(self, code: str | None) -> str:
        """What came of an attempt, in words."""
        return self("page.unknown") if code is None else self.lists.texts.get(f"outcomes.{code}", code)

    def joined(self, parts: Any, mark: str = ", ") -> str:
        """Several things in a row."""
        return mark.join(parts)


@lru_cache(maxsize=8)
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
