"""What is said of files of outcomes, in three languages: the caseworker who brings one in reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ethics.refusals import Fault

_FOLDER = Path(__file__).with_name("import_messages")


class ImportWords:
    """The texts of one language.

    >>> print(ImportWords("sv").fault(ImportWords("sv").row(3), "no_person"))
    rad 3: nämner ingen person. Ge person_id
    >>> ImportWords("fi").number(1200)
    '1\\xa0200'
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.texts = _texts(language)

    def row(self, number: int) -> str:
        """How a row of a table is named."""
        text: str = self.texts["row"]
        return text.format(n=number)

    def cell(self, file: str, row: int, column: str, heading: str) -> str:
        """How a cell of a workbook is named."""
        text: str = self.texts["cell"]
        return text.format(file=file, n=row, column=column, heading=heading)

    def fault(self, where: str, key: str, **values: object) -> Fault:
        """One thing that is wrong, and how to mend it."""
        said = self.texts[key]
        return Fault(where, *(said[part].format(**values) for part in ("wrong", "mend")))

    def said(self, key: str, n: int = 0, **values: object) -> str:
        """A sentence about what was read; the singular where ``n`` is 1 and the language has one."""
        said: Mapping[str, str] = self.texts["said"]
        text = said.get(f"{key}_one", said[key]) if n == 1 else said[key]
        return text.format(n=self.number(n), **values)

    def number(self, value: int) -> str:
        """A whole number with the marks of the language."""
        mark: str = self.texts["thousands_mark"]
        return f"{value:,}".replace(",", mark.replace(" ", "\N{NO-BREAK SPACE}"))


@lru_cache(maxsize=8)
def _texts(language: str) -> Mapping[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text("utf-8"))
