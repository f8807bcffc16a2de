"""What has changed since the last verdict, in the report's language: the verdict's record writes it in code words."""

from __future__ import annotations

import re

from ethics.checks import BUILT
from ethics.report_text import Language
from ethics.verdict import CHECK_STATES, VERDICT_STATES

_ATTESTED = " (attested)"
_INTERVAL = re.compile(r"^(\S+)(?: \((\S+) to (\S+)\))?$")
_COLUMNS = re.compile(r"^(\d+) columns$")
_CHECK = re.compile(r"^(C\d{3})(?: (.+?))?( #\d+)?$")


def changed_in_words(what: str, value: str, t: Language) -> str:
    """A name or value of one row of :func:`ethics.verdict_changes.changes`; what has no words stays as it is.

    >>> changed_in_words("value", "0.8 (0.7 to 0.9)", Language("fi"))
    '0,80 (0,70\\u2060–\\u20600,90)'
    >>> changed_in_words("threshold", "max_calibration_error", Language("en"))
    'calibration error, at most'
    """
    state = value.removesuffix(_ATTESTED)
    if state in CHECK_STATES or state in VERDICT_STATES:
        word = t(f"states.{state}")
        return t("states.attested", state=word) if state != value else word
    if what == "threshold" and t.has(f"policy_names.thresholds.{value}"):
        return t.policy_name(f"thresholds.{value}")
    if what == "scope" and t.has(f"changes.names.{value}"):
        return t(f"changes.names.{value}")
    if what == "group" and "=" in value:
        return t.group_of(value)
    if what == "subject":
        return t.subject(value)
    if what == "feature" and value in t.features:
        return t.of(t.features[value]) or value
    if t.has(f"changes.values.{value}"):
        return t(f"changes.values.{value}")
    if columns := _COLUMNS.match(value):
        return t("changes.columns", n=t.count(int(columns[1])))
    return _check(value, t) if value.startswith("C") else _number(value, t)


def _check(value: str, t: Language) -> str:
    found = _CHECK.match(value)
    if found is None or found[1] not in BUILT:
        return value
    return " ".join(part for part in (found[1], *_about(found[2] or "", t), (found[3] or "").strip()) if part)


def _about(words: str, t: Language) -> list[str]:
    """The group and the statistic after a check's number, as far as they are there."""
    group, _, statistic = words.rpartition(" ")
    if t.has(f"statistics.{statistic}"):
        return [t.group_of(group) if group else "", t(f"statistics.{statistic}")]
    return [t.group_of(words) if words else ""]


def _number(value: str, t: Language) -> str:
    found = _INTERVAL.match(value)
    try:
        numbers = [float(part) for part in found.groups() if part is not None] if found else []
    except ValueError:
        return value
    if not numbers:
        return value
    show = t.alike(*numbers)
    interval = f" ({t.interval(numbers[1], numbers[2], show)})" if len(numbers) == 3 else ""
    return show(numbers[0]) + interval
