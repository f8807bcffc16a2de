"""The whole report as a document in one language: page one, then the chapters in their order.

Small cells are withheld here, over all tables at once, and nowhere earlier: the auditor's tables are whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ethics.checks import BUILT
from ethics.disclosure import suppress
from ethics.fairness import AT_AUDIT, EVERYONE, FairnessTable
from ethics.report_chapters import Chapters
from ethics.report_document import Cell, Column, Document, Row, Section, Table, words
from ethics.report_figures import GROUPS, Figures
from ethics.report_figures import Column as Measured
from ethics.report_findings import WORST_FIRST, to_do
from ethics.report_records import RecordPages, record_counts
from ethics.report_tables import CountTable
from ethics.report_text import Language, machine
from ethics.score_case import judges_scores_alone
from ethics.verdict import Verdict
from ethics.withheld_numbers import without_withheld

DIGESTS = ("model", "need", "policy", "code", "cells")


class Page:
    """A verdict and its figures as a document.

    Parameters
    ----------
    figures : Figures or None
        None when the verdict was judged without any group.
    """

    def __init__(self, verdict: Verdict, figures: Figures | None, t: Language) -> None:
        self.verdict, self.figures, self.t = verdict, figures, t
        self.least = int(verdict.scope["min_persons_shown"])
        owner = verdict.record["owner"]
        self.owner = ", ".join(str(owner[name]) for name in ("name", "email", "phone") if owner.get(name))

    def document(self) -> Document:
        """Page one, then every chapter that has something to say."""
        verdict, t = self.verdict, self.t
        counts = self.figures.counts if self.figures else _withheld_alone(verdict, self.least)
        told = without_withheld(verdict, {name: table for (kind, name), table in counts.items() if kind == GROUPS})
        records = RecordPages(told.record, counts, self.least, t)
        chapters = Chapters(told, self.figures, records, self.owner, t).all()
        return Document(
            title=t.of(verdict.purpose.get("title", {})) or t("page.missing"),
            state=verdict.state,
            verdict_id=verdict.verdict_id,
            demonstration=verdict.demonstration,
            invented=bool(verdict.scope["invented"]),
            meaning=self._meaning(),
            facts=self._facts(),
            missed=self._missed(),
            untested=self._untested(),
            todo=to_do(told, t, self.owner),
            chapters=[chapter for chapter in chapters if not chapter.is_empty],
        )

    def _meaning(self) -> list[str]:
        """What the verdict means for the list; of scores without a model, that it can never be used for one."""
        t, verdict = self.t, self.verdict
        stated = verdict.record.get("stated")
        if stated is None:
            return [t(f"meaning.{verdict.state}")]
        asked = {check.id for check in verdict.checks}
        read = t(
            "scores.read",
            periods=t.count(int(stated["periods"])),
            known=t.percent(float(stated["share_with_groups"])),
            labels=t.count(int(stated["labels_known"])),
            n=t.count(verdict.scope["eligible_n"]),
            tie_break=t("scores.keyed_hash", seed=str(verdict.subject["seed"])),
        )
        use = t(f"scores.use_{stated['use']}", use=self._use())
        not_asked = t("scores.not_asked", ids=", ".join(id for id in BUILT if id not in asked))
        return [f"{t('scores.never')} {t(f'scores.meaning_{verdict.state}')}", f"{use} {read}", not_asked]

    def _use(self) -> str:
        t, use = self.t, self.verdict.use
        return t(f"uses.{use}") if t.has(f"uses.{use}") else use

    def _facts(self) -> list[tuple[str, str, str]]:
        verdict, t = self.verdict, self.t
        states = [check.state for check in verdict.checks]
        counts = [
            t("verdict.count", n=t.count(states.count(state)), state=t(f"states.{state}"))
            for state in WORST_FIRST
            if state in states
        ]
        digests = [
            f"{t(f'subjects.{name}')} {str(verdict.subject[name])[:12]}" for name in DIGESTS if name in verdict.subject
        ]
        signers = ", ".join(t(f"roles.{role}") if t.has(f"roles.{role}") else role for role in self._signers())
        if judges_scores_alone({"scope": verdict.scope}):
            signers = t("scores.unsigned")
        rows = {
            "service": verdict.service,
            "need": verdict.need_id,
            "model": verdict.model_id,
            "use": self._use(),
            "issued": t.moment(verdict.issued_at),
            "expires": t.moment(verdict.expires_at),
            "counts": ", ".join(counts),
            "digests": "; ".join(digests),
            "signers": signers,
        }
        return [(name, t(f"verdict.{name}"), value) for name, value in rows.items()]

    def _signers(self) -> Sequence[str]:
        """Whose signatures the verdict needs: signatures themselves are in its envelope, not in what is signed."""
        signers: Sequence[str] = self.verdict.scope["sign_roles"]
        return signers

    def _missed(self) -> Section:
        """Who is missed beyond the others, in people."""
        t, rows = self.t, []
        table = self.figures.table if self.figures else None
        if table is None or not table.has_label or self.figures is None:
            return Section("missed", t("missed.heading"), [t("missed.not_known")])
        for row in table.groups.iter_rows(named=True):
            attribute, group = row["attribute"], row["group"]
            found = self.figures.estimate(attribute, group, Measured("missed_residents", AT_AUDIT))
            if found is None:
                continue
            if row["testable"] and found.value >= self.least and all(math.isfinite(part) for part in found[:3]):
                low, value, high = (5 * round(max(0.0, part) / 5) for part in (found.low, found.value, found.high))
                shown = f"{t.count(value)} ({t.interval(low, high, t.count)})"
                cell = Cell(shown, machine(value), machine(low), machine(high), is_number=True)
                rows.append(
                    (-found.value, Row([words(t.group_of(f"{attribute}={group}"), group), cell], attribute, group))
                )
        everyone = self._everyone(table)
        if not rows:
            return Section("missed", t("missed.heading"), [everyone, t("missed.nobody")])
        columns = [Column("group", t("missed.group")), Column("missed_residents", t("missed.at_audit"), True, AT_AUDIT)]
        ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
        missed = Table("missed-table", t("missed.caption"), columns, ordered)
        return Section("missed", t("missed.heading"), [everyone, t("missed.intro")], tables=[missed])

    def _everyone(self, table: FairnessTable) -> str:
        recall = table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
        return self.t("missed.everyone", missed=self.t.count(recall.n - recall.people), need=self.t.count(recall.n))

    def _untested(self) -> Section:
        """The groups of which nothing could be shown, and the checks that could not be answered."""
        t = self.t
        if self.figures is None:
            return Section("untested", t("untested.heading"), [t("untested.no_groups")])
        named = [
            t.group_of(f"{row['attribute']}={row['group']}")
            for rows in self.figures.groups.values()
            for row in rows
            if not row["testable"]
        ]
        checks = sorted({check.id for check in self.verdict.checks if check.state in ("not_testable", "error")})
        unclear = sorted({check.id for check in self.verdict.checks if check.state == "inconclusive"})
        paragraphs = [t("untested.intro", groups="; ".join(named)) if named else t("untested.none")]
        if checks:
            paragraphs.append(t("untested.checks", ids=", ".join(checks)))
        if unclear:
            paragraphs.append(t("untested.unclear", ids=", ".join(unclear)))
        return Section("untested", t("untested.heading"), paragraphs)


def _withheld_alone(verdict: Verdict, least: int) -> dict[tuple[str, str], CountTable]:
    """What is withheld where no group was measured: the record's own tables of people."""
    return {(table.name, table.attribute): table for table in suppress(record_counts(verdict.record), least=least)}
