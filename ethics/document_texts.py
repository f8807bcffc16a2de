"""The words of the register page and of the assessments' drafts: one file per document, each text in fi, sv and en."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

MESSAGES = Path(__file__).resolve().parent / "messages"
LANGUAGES = ("fi", "sv", "en")


class Words:
    """The texts of one document in one language, by dotted key.

    >>> Words("register", "sv")("blocks.risks")
    'Risker'
    """

    def __init__(self, document: str, language: str) -> None:
        self.document, self.language = document, language
        self._texts = _texts(document)

    def __call__(self, key: str, /, **names: object) -> str:
        """The text of a key, with its names filled in."""
        text = self._texts[key][self.language]
        return text.format(**names) if names else text

    def get(self, key: str, otherwise: str) -> str:
        """The text of a key, or what to say where nobody has written one."""
        return self._texts[key][self.language] if key in self._texts else otherwise

    def number(self, value: str | int) -> str:
        """A number as the language writes it: a decimal comma in Finnish and Swedish."""
        text = f"{value:,}".replace(",", "\u00a0") if isinstance(value, int) else value
        return text if self.language == "en" else text.replace(".", ",")


@cache
def _texts(document: str) -> Mapping[str, Mapping[str, str]]:
    tables = tomllib.loads((MESSAGES / "documents" / f"{document}.toml").read_text("utf-8"))
    return dict(_flat(tables, ""))


def _flat(table: Mapping[str, Any], prefix: str) -> Any:
    for name, value in table.items():
        if set(value) == set(LANGUAGES):
            yield f"{prefix}{name}", value
        else:
            yield from _flat(value, f"{prefix}{name}.")


def check_title(id: str, language: str) -> tuple[str, str]:
    """What a check asks, and the language in which it is written: English where there is no translation."""
    title = _titles(id)
    return (title[language], language) if title.get(language) else (title.get("en", id), "en")


@cache
def _titles(id: str) -> Mapping[str, str]:
    path = MESSAGES / "checks" / f"{id}.toml"
    return tomllib.loads(path.read_text("utf-8"))["title"] if path.exists() else {}
