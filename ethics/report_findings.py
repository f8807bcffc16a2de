"""The checks in the report: what must be done, the ten core checks, the rest by principle, and the law behind each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ethics.checks import BUILT
from ethics.digests import decimal
from ethics.principles import PRINCIPLES, Principle
from ethics.report_document import Cell, Column, Row, Section, Table, ToDo, number_cell, words
from ethics.report_text import Language
from ethics.score_case import judges_scores_alone
from ethics.verdict import Check, Verdict

WORST_FIRST = ("error", "block", "needs_attestation", "inconclusive", "not_testable", "warn", "pass")
_HEADS = ("id", "title", "group", "state", "statistic", "value", "threshold", "needs")
_REFERENCE = re.compile(r"\b[a-z_]+(?: × [a-z_]+)*=[^,;()]+(?<! )")
"""A group as checks name it, ``attribute=group``, within other words."""
_NAME = re.compile(r"[\w.]+")
_MORE = re.compile(r" and (\d+) more$")


def to_do(verdict: Verdict, t: Language, owner: str) -> list[ToDo]:
    """One item for each check and case that fails, worst first, its groups beneath it."""
    items: dict[tuple[str, str], list[Check]] = {}
    for state in WORST_FIRST[:-1]:
        for check in verdict.checks:
            if check.state == state and not check.attested_by:
                items.setdefault((check.id, check.message_id), []).append(check)
    found = [_to_do_item(checks, t, owner) for checks in items.values()]
    if judges_scores_alone({"scope": verdict.scope}):  # no statement reaches them, and nobody owns their model
        found = [replace(item, lifted=t("todo.lifted_never") if item.lifted else "", owner="") for item in found]
    return found


def _to_do_item(checks: Sequence[Check], t: Language, owner: str) -> ToDo:
    first = checks[0]
    case = first.message_id.split(".")[1]
    is_error = first.state == "error"
    keys = (
        ("error.what", "error.do") if is_error else (f"checks.{first.id}.what.{case}", f"checks.{first.id}.do.{case}")
    )
    facts = {"columns": t("page.none"), "indicators": "", "rival": "", "names": "", **first.facts}
    facts = {name: _in_words(name, value, first, t) for name, value in facts.items()}
    together = {str(check.facts.get("indicators", "")) for check in checks} - {""}
    facts["indicators"] = ", ".join(sorted({part for names in together for part in names.split(", ")}))
    return ToDo(
        id=first.id,
        state=first.state,
        what=t("todo.message", id=first.id, what=t(keys[0], **facts)),
        wrong=str(first.facts.get("wrong", "")) if is_error else "",
        lines=_lines(checks, t),
        do=t(keys[1], **facts),
        lifted=t("todo.lifted", id=first.needs, who=t(f"who.{first.needs}")) if first.needs else "",
        owner=t("todo.owner", owner=owner),
    )


def _in_words(name: str, value: Any, check: Check, t: Language) -> str:
    """A fact of a check in the report's language, as far as there is a word for it."""
    if isinstance(value, int):
        return t.count(value)
    if name == "rival":
        return rival_name(str(value), t)
    text = _MORE.sub(lambda more: t("page.more", n=t.count(int(more[1]))), str(value))
    if check.id == "C701":  # names of what was signed
        return ", ".join(t.subject(part) for part in text.split(", "))
    text = _REFERENCE.sub(lambda found: t.group_of(found[0]), text)
    if name not in ("names", "columns"):
        return text
    return _NAME.sub(lambda found: t.of(t.features.get(found[0], found[0])) or found[0], text)


def rival_name(name: str, t: Language) -> str:
    """What a model is compared with."""
    return t(f"model.rivals.{name}") if t.has(f"model.rivals.{name}") else name.replace("_", " ")


def _lines(checks: Sequence[Check], t: Language) -> list[str]:
    """A line for each check that has numbers; those of many groups as one; the groups of those without, in one."""
    lines = [(check, _line(check, t)) for check in checks]
    bare = [check.group for check, line in lines if check.group and line == t.group_of(check.group)]
    told = [(check, line) for check, line in lines if line and check.group not in bare]
    alike: dict[tuple[str, float], list[Check]] = {}
    for check, _ in told:
        if check.group and check.value is not None and check.threshold is not None and not check.facts.get("missed"):
            alike.setdefault((check.statistic, float(check.threshold)), []).append(check)
    many = [group for group in alike.values() if len(group) > MOST_LINES_ALIKE]
    together = {id(check) for group in many for check in group}
    said = [line for check, line in told if id(check) not in together]
    return [*said, *(_together(group, t) for group in many), *([t.groups_of(bare)] if bare else [])]


MOST_LINES_ALIKE = 3
"""Groups of one check and cause with a line each; more are one line that names them, and tells the worst."""


def _together(checks: Sequence[Check], t: Language) -> str:
    """The groups of one check and cause in one line, with the number that is farthest from the threshold."""
    worst = max(checks, key=lambda check: abs(float(check.value or 0) - float(check.threshold or 0)))
    groups = t.groups_of(str(check.group) for check in checks)
    return t("todo.together", n=t.count(len(checks)), groups=groups, worst=_line(worst, t))


def _line(check: Check, t: Language) -> str:
    """Group · value (interval) against threshold · who is affected."""
    parts = [t.group_of(check.group)] if check.group else []
    if check.value is not None and check.threshold is not None and check.state != "error":
        show = t.alike(check.value, check.low, check.high)
        interval = t.interval(check.low, check.high, show)
        key = "todo.numbers" if interval else "todo.numbers_no_interval"
        numbers = t(key, value=show(check.value), interval=interval, threshold=t.exact(check.threshold))
        parts.append(f"{_statistic(check, t)}: {numbers}")
    if check.facts.get("missed"):
        low, missed, high = (t.count(int(check.facts[name])) for name in ("missed_low", "missed", "missed_high"))
        parts.append(t("todo.affected", missed=missed, low=low, high=high))
    return " · ".join(parts)


def _statistic(check: Check, t: Language) -> str:
    """A statistic's name; one that names a column or an indicator after a colon keeps that name."""
    name, colon, of = check.statistic.partition(":")
    return t(f"statistics.{name}") + (f": {of}" if colon else "")


def checks_chapter(verdict: Verdict, t: Language) -> Section:
    """First the core checks in one table, then the rest principle by principle."""
    tables = []
    core = [id for id, check in BUILT.items() if check.core]
    ran = {check.id for check in verdict.checks}
    if ran & set(core):
        tables.append(_table("core", t("checks_table.core"), verdict, [id for id in core if id in ran], t))
    parts = []
    for principle in PRINCIPLES:
        rest = [id for id in principle.checks if id in ran and id not in core]
        if rest:
            name = principle_name(principle, t)
            table = _table(f"checks-{principle.id}", t("checks_table.caption", principle=name), verdict, rest, t)
            parts.append(Section(f"principle-{principle.id}", name, tables=[table]))
    unknown = sorted(ran - {id for principle in PRINCIPLES for id in principle.checks})
    if unknown:
        tables.append(_table("checks-other", t("checks_table.other"), verdict, unknown, t))
    return Section("checks", t("checks_table.heading"), [t("checks_table.intro")], tables=tables, parts=parts)


def worst_answers(verdict: Verdict, t: Language) -> dict[str, int]:
    """How many checks came to each answer, worst first: a check that answers for many groups counts once, as its worst.

    An answer that an attestation lifts is less bad than one that nothing lifts, and is told as attested.
    """
    order = [(state, attested) for attested in (False, True) for state in WORST_FIRST[:-1]] + [("pass", False)]
    worst: dict[str, tuple[str, bool]] = {}
    for check in verdict.checks:
        answer = (check.state, check.attested_by is not None)
        worst[check.id] = min(worst.get(check.id, answer), answer, key=order.index)
    return {
        t("states.attested", state=t(f"states.{state}")) if attested else t(f"states.{state}"): n
        for state, attested in order
        if (n := list(worst.values()).count((state, attested)))
    }


def warned(verdict: Verdict, items: Sequence[ToDo], t: Language) -> str:
    """The heading of the warnings: how many there are, and of how many checks a warning is the worst answer."""
    worst: dict[str, int] = {}
    for check in verdict.checks:
        worst[check.id] = min(worst.get(check.id, len(WORST_FIRST)), WORST_FIRST.index(check.state))
    found = [item.id for item in items if item.state == "warn"]
    graver = sum(WORST_FIRST[worst[id]] != "warn" for id in set(found))
    numbers = {"n": len(found), "checks": len(set(found)), "worst": len(set(found)) - graver, "graver": graver}
    return t("todo.warnings", **{name: t.count(number) for name, number in numbers.items()}) if found else ""


def principle_name(principle: Principle, t: Language) -> str:
    """A principle's name; a Finnish one that is our own translation is marked."""
    name = f"{principle.id} {getattr(principle, t.language, principle.en)}"
    return name if t.language != "fi" or principle.fi_is_quoted else t("trace.unconfirmed", name=name)


def _table(id: str, caption: str, verdict: Verdict, ids: Sequence[str], t: Language) -> Table:
    """Checks worst first; the passing groups of one check as one row."""
    rows: list[Row] = []
    for state in WORST_FIRST:
        for check_id in ids:
            here = [check for check in verdict.checks if check.id == check_id and check.state == state]
            if state == "pass" and len(here) > 1:
                rows.append(_row(here[0], t, t("checks_table.summary", n=t.count(len(here)))))
            else:
                rows += _rows_by_cause(here, t)
    columns = [Column(name, t(f"checks_table.{name}"), name in ("value", "threshold")) for name in _HEADS]
    return Table(id, caption, columns, rows)


def _rows_by_cause(checks: Sequence[Check], t: Language) -> list[Row]:
    """A row for each check that has a number of its own; one for all the groups of a cause without numbers."""
    causes: dict[tuple[Any, ...], list[Check]] = {}
    for check in checks:
        alone = check.group is None or check.value is not None or check.facts.get("withheld")
        cause = (check.message_id, check.statistic, check.attested_by, check.needs, id(check) if alone else None)
        causes.setdefault(cause, []).append(check)
    return [
        _row(here[0], t) if len(here) == 1 else _row(here[0], t, t.groups_of(str(check.group) for check in here))
        for here in causes.values()
    ]


def _row(check: Check, t: Language, together: str = "") -> Row:
    attribute, sign, group = (check.group or "").partition("=")
    value = threshold = Cell("", is_number=True)
    if check.value is not None and not together:
        value = number_cell(check.value, t, check.low, check.high)
    elif check.facts.get("withheld") and not together:
        value = Cell(t("page.withheld"), is_number=True, withheld=True)
    if check.threshold is not None and not together:
        threshold = Cell(t.exact(check.threshold), decimal(check.threshold), is_number=True)
    word = t(f"states.{check.state}")
    word = t("states.attested", state=word) if check.attested_by else word
    cells = [
        words(check.id),
        words(t(f"checks.{check.id}.title") if check.id in BUILT else ""),
        words(together or (t.group_of(check.group) if check.group else ""), "" if together else check.group or ""),
        Cell(word, check.state, state=check.state),
        words("" if together else _statistic(check, t), check.statistic),
        value,
        threshold,
        words(check.needs or ""),
    ]
    named = sign and not together
    return Row(cells, attribute if named else "", group if named else "")


def trace_chapter(verdict: Verdict, t: Language) -> Section:
    """Principle × check × law."""
    states: dict[str, str] = {}
    for state in reversed(WORST_FIRST):
        states |= {check.id: state for check in verdict.checks if check.state == state}
    rows = []
    for principle in PRINCIPLES:
        name = principle_name(principle, t)
        for id in principle.checks:
            if id in BUILT and id in states:
                word = t(f"states.{states[id]}")
                rows.append(
                    Row(
                        [
                            words(id),
                            words(name, principle.id),
                            words(t(f"checks.{id}.title")),
                            words(t(f"checks.{id}.law")),
                            Cell(word, states[id], state=states[id]),
                        ]
                    )
                )
    columns = [Column(id, t(f"trace.{id}")) for id in ("check", "principle", "title", "law", "state")]
    table = Table("trace-table", t("trace.caption"), columns, rows)
    return Section("trace", t("trace.heading"), [t("trace.note")], tables=[table])
