"""The words of what happened to lists, in three languages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("happened_messages")


class HappenedWords:
    """The texts of one language.

    >>> HappenedWords("fi").number(1234.5, 1), HappenedWords("en").number(None)
    ('1\\xa0234,5', '–')
    >>> HappenedWords("sv").percent({"value": 0.25, "low": 0.1, "high": 0.5})
    '25 (10–50)'
    """

    def __init__(self, language: str) -> None:
        self.texts = _texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its {names} filled in."""
        text: str = self.texts[key]
        return text.format(**values)

    def number(self, value: float | None, decimals: int = 0) -> str:
        """A number with the marks of the language; a dash where there is none."""
        if value is None:
            return self("unknown")
        marks = {",": self.texts["thousands_mark"].replace(" ", "\N{NO-BREAK SPACE}"), ".": self.texts["decimal_mark"]}
        return f"{value:z,.{decimals}f}".translate(str.maketrans(marks))

    def interval(self, one: Mapping[str, float | None], times: float = 1, decimals: int = 0) -> str:
        """A value with its interval in brackets; a dash where nothing is known."""
        if one["value"] is None:
            return self("unknown")
        value, low, high = (self.number((one[part] or 0.0) * times, decimals) for part in ("value", "low", "high"))
        # Between two negative numbers a dash would be read as a sign.
        return f"{value} ({low}{' … ' if (one['low'] or 0.0) < 0 else '–'}{high})"

    def percent(self, share: Mapping[str, float | None]) -> str:
        """A share in per cent with its interval; a decimal where it is small."""
        return self.interval(share, 100, 1 if (share["value"] or 0.0) < 0.1 else 0)

    def missed_and_effect(self, missed: Mapping[str, Any], effect: Mapping[str, Any]) -> list[str]:
        """What was missed and what a place changed, a sentence each, known or not; and how many crossed over."""
        said = [self("missed_none"), self("effect_none")]
        if missed["known"]:
            counts = {name: self.number(missed[name]) for name in ("drawn", "known")}
            people, below = self.interval(missed["people"]), self.number(missed["below_n"])
            said[0] = self("missed", share=self.percent(missed["share"]), people=people, below=below, **counts)
        if effect["difference"]["value"] is not None:
            arms = {name: self.percent(effect[name]) for name in ("placed", "others")}
            counts = {name: self.number(effect[name]) for name in ("n_placed", "n_others")}
            difference = self.interval(effect["difference"], 100, 1)
            said[1] = self("effect", difference=difference, p=self.number(effect["p_value"], 3), **arms, **counts)
        if effect["crossovers"]:
            said.append(self("crossovers", n=self.number(effect["crossovers"])))
        return said


@lru_cache(maxsize=8)
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
