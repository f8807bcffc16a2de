"""The words of pre-school proposals in three languages."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

LANGUAGES = ("fi", "sv", "en")
_FOLDER = Path(__file__).with_name("place_messages")


class PlaceWords:
    """The texts of one language; a key within a table is written ``table.key``.

    >>> PlaceWords("sv")("person", id="000123"), PlaceWords("fi").number(12345.6)
    ('Person 000123', '12\xa0346')
    """

    def __init__(self, language: str) -> None:
        self.texts = _texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its {names} filled in."""
        table, _, inner = key.rpartition(".")
        text: str = self.texts[table][inner] if table else self.texts[key]
        return text.format(**values)

    def number(self, value: float | None, decimals: int = 0) -> str:
        """A number with the marks of the language; the words for "not known" where there is none."""
        if value is None or value != value:
            return self("not_known")
        text = f"{value:,.{decimals}f}"
        marks = {",": self.texts["thousands_mark"].replace(" ", "\N{NO-BREAK SPACE}"), ".": self.texts["decimal_mark"]}
        return text.translate(str.maketrans(marks))


@lru_cache(maxsize=8)
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
