"""Whether a text that somebody typed names people: what is kept for years, or told to one person, must not.

Only pseudonyms that the store knows, and those of the erased, can be found; a name written out cannot be told from any
other word, so nothing that depends on it may rest on this alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scoring.store import Store

_MARKS = ".,;:!?()[]<>\"'/"


def naming(store: Store, texts: Sequence[str | None], but: str = "") -> list[bool]:
    """Which of some texts name anybody the store knows or has forgotten, other than one person.

    Parameters
    ----------
    texts : sequence of str or None
    but : str
        Whose own pseudonym is no matter.

    Returns
    -------
    list of bool
        One for each text; False for None.
    """
    words = [_words(text or "") - {but} for text in texts]
    every = sorted(set().union(*words))
    if not every:
        return [False] * len(words)
    known = {*store.refs(every), *(word for word, gone in zip(every, store.is_erased(every), strict=True) if gone)}
    return [not own.isdisjoint(known) for own in words]


def _words(text: str) -> set[str]:
    """Whatever might be a pseudonym: words between blanks without the marks around them, and runs of letters."""
    return {*(word.strip(_MARKS) for word in text.split()), *re.findall(r"\w+", text)} - {""}
