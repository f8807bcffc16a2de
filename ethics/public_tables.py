"""What is published of groups, and nothing else: the share of people in need that the ranking reaches, by group."""

from __future__ import annotations

from ethics.disclosure import suppress
from ethics.fairness import AT_AUDIT, EVERYONE, FairnessTable
from ethics.rate_counts import rates_on
from ethics.report_tables import CountTable

REACHED = f"recall@{AT_AUDIT}"


def published_tables(table: FairnessTable, least: int) -> list[CountTable]:
    """The tables of the public summary, with what must be withheld named.

    Parameters
    ----------
    table : FairnessTable
    least : int
        The policy's ``min_persons_public``.

    Returns
    -------
    list of CountTable
        One per attribute, with the rate :data:`REACHED` alone; empty without labels, or when fewer than ``least``
        people in all were in need, were reached, or were missed.
    """
    return list(table.once(("public", least), lambda: _published(table, least)))


def _published(table: FairnessTable, least: int) -> list[CountTable]:
    if not table.has_label:
        return []
    everyone = table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
    if min(everyone.people, everyone.n - everyone.people) < least:
        return []
    return suppress([_reached(table, attribute) for attribute in table.attributes], least=least)


def _reached(table: FairnessTable, attribute: str) -> CountTable:
    rows = [row for row in table.groups.iter_rows(named=True) if row["attribute"] == attribute]
    names = tuple(str(row["group"]) for row in rows)
    need = tuple(int(row["need"]) for row in rows)
    found = tuple(table.get(attribute, name, "recall", AT_AUDIT).people for name in names)
    missed = tuple(of - some for of, some in zip(need, found, strict=True))
    counts = {"need": need, "found_k_audit": found, "missed_k_audit": missed}
    return CountTable(
        "public",
        attribute,
        names,
        counts,
        totals={name: sum(people) for name, people in counts.items()},
        sums=(("need", ("found_k_audit", "missed_k_audit")),),
        rates=rates_on([REACHED]),
        tested=tuple(bool(row["testable"]) for row in rows),
    )
