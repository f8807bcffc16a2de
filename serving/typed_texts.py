"""Texts that people type and that are kept: readable, short, and never with a personal identity code."""

from __future__ import annotations

import re

from ethics.refusals import BadInput, Fault
from serving.objection_work import person_fault
from serving.progress import PERSONAL_IDENTITY_CODE

LONGEST_TEXT = 500
_IDENTITY_CODE = re.compile(PERSONAL_IDENTITY_CODE, re.IGNORECASE)


def free_text_fault(where: str, text: str) -> Fault | None:
    """What is wrong with a text that is to be kept; it is never repeated. An empty one is the caller's question.

    >>> print(free_text_fault("--reason", "asked by 010190-123A"))
    --reason: holds what has the form of a personal identity code, and is kept. Say it without naming anybody
    """
    if _IDENTITY_CODE.search(text):
        wrong = "holds what has the form of a personal identity code, and is kept"
        return Fault(where, wrong, "Say it without naming anybody")
    if len(text) > LONGEST_TEXT:
        return Fault(where, f"has {len(text)} characters", f"Keep to {LONGEST_TEXT}")
    if not text.isprintable():  # undecodable bytes are not printable either
        return Fault(where, "is not one line of readable text", "Write it on one line, in UTF-8")
    return None


def refuse_typed(person_id: str | None = None, **texts: str) -> None:
    """Refuse what no command may keep, all at once.

    Parameters
    ----------
    person_id : str, optional
        What was given as a pseudonym.
    **texts : str
        Option without its hyphens → what was typed.

    Raises
    ------
    BadInput
    """
    faults = [] if person_id is None else [person_fault(person_id)]
    faults += [free_text_fault(f"--{option}", text) for option, text in texts.items()]
    if found := [fault for fault in faults if fault]:
        raise BadInput(*found)
