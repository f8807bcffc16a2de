"""The whole report as a document in one language: page one, then the chapters in their order.

Small cells are withheld here, over all tables at once, and nowhere earlier: the auditor's tables are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ethics.checks import BUILT
from ethics.disclosure import suppress
from ethics.report_chapters import Chapters
from ethics.report_document import Document, Section, without_blank_tables
from ethics.report_figures import GROUPS, Figures
from ethics.report_findings import to_do, warned, worst_answers
from ethics.report_missed import missed
from ethics.report_records import RecordPages, record_counts
from ethics.report_tables import CountTable
from ethics.report_text import Language
from ethics.verdict import Verdict
from ethics.withheld_numbers import without_withheld

DIGESTS = ("model", "need", "policy", "code", "cells")


class Signature(NamedTuple):
    """A signature on the verdict's envelope that was verified: the role and the holder's name."""

    role: str
    name: str


class Page:
    """A verdict and its figures as a document.

    Parameters
    ----------
    figures : Figures or None
        None when the verdict was judged without any group.
    signed_by : sequence of Signature
        Whose signatures the envelope holds.
    """

    def __init__(
        self, verdict: Verdict, figures: Figures | None, t: Language, signed_by: Sequence[Signature] = ()
    ) -> None:
        self.verdict, self.figures, self.t, self.signed_by = verdict, figures, t, signed_by
        self.least = int(verdict.scope["min_persons_shown"])
        t.features = {row["feature"]: row["plain"] for row in verdict.record["features"]}
        owner = verdict.record["owner"]
        self.owner = ", ".join(str(owner[name]) for name in ("name", "email", "phone") if owner.get(name))

    def document(self) -> Document:
        """Page one, then every chapter that has something to say."""
        verdict, t = self.verdict, self.t
        counts = self.figures.counts if self.figures else _withheld_alone(verdict, self.least)
        told = without_withheld(verdict, {name: table for (kind, name), table in counts.items() if kind == GROUPS})
        records = RecordPages(told.record, counts, self.least, t)
        chapters = Chapters(told, self.figures, records, self.owner, t).all()
        todo = to_do(told, t, self.owner)
        return Document(
            title=t.of(verdict.purpose.get("title", {})) or t("page.missing"),
            state=verdict.state,
            verdict_id=verdict.verdict_id,
            demonstration=verdict.demonstration,
            invented=bool(verdict.scope["invented"]),
            meaning=self._meaning(),
            facts=self._facts(),
            missed=missed(verdict, self.figures, t),
            untested=self._untested(),
            todo=todo,
            warned=warned(verdict, todo, t),
            chapters=[without_blank_tables(chapter, t) for chapter in chapters if not chapter.is_empty],
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
        counts = [t("verdict.count", n=t.count(n), state=word) for word, n in worst_answers(verdict, t).items()]
        digests = [
            f"{t(f'subjects.{name}')} {str(verdict.subject[name])[:12]}" for name in DIGESTS if name in verdict.subject
        ]
        rows = {
            "service": verdict.service,
            "need": verdict.need_id,
            "model": verdict.model_id,
            "use": self._use(),
            "issued": t.moment(verdict.issued_at),
            "expires": t.moment(verdict.expires_at),
            "counts": "; ".join(counts),
            "signers": self._signers(),
            "policy": self._policy_signers(),
            "looser": "; ".join(self._looser()),
            "digests": "; ".join(digests),
        }
        return [(name, t(f"verdict.{name}"), value) for name, value in rows.items() if value]

    def _signers(self) -> str:
        """Who has signed, and whose signature the verdict still needs before it counts."""
        t, signed = self.t, {signature.role for signature in self.signed_by}
        if self.verdict.record.get("stated") is not None:
            return t("verdict.never_signed")
        open_roles = [t.role(role) for role in self.verdict.scope["sign_roles"] if role not in signed]
        by = [t("verdict.holder", role=t.role(one.role), name=one.name) for one in self.signed_by]
        parts = [t("verdict.signed_by", who=", ".join(by))] if by else [t("verdict.not_shown")]
        if open_roles:
            parts.append(t("verdict.still_needs", roles=", ".join(open_roles)))
        return " ".join(parts)

    def _policy_signers(self) -> str:
        """Who signed the policy; one that nobody has signed can ask for no less than the template."""
        t, signers = self.t, self.verdict.scope.get("policy_signed_by") or ()
        if not signers:
            return t("verdict.policy_unsigned")
        by = [t("verdict.holder", role=t.role(str(one["role"])), name=str(one["name"])) for one in signers]
        return t("verdict.policy_signed", who=", ".join(by))

    def _looser(self) -> list[str]:
        """Where the signed policy asks for less than the template, in words."""
        t, told = self.t, []
        for row in self.verdict.scope.get("looser_than_template") or ():
            key, value, template = (str(row[name]) for name in ("key", "value", "template"))
            if key == "required":
                id = value.rpartition(" ")[2]
                title = t(f"checks.{id}.title") if id in BUILT else id
                told.append(t("verdict.left_out", id=id, title=title))
            else:
                facts = {"value": t.exact(value), "template": t.exact(template)}
                told.append(t("verdict.loosened", name=t.policy_name(key), **facts))
        return told

    def _untested(self) -> Section:
        """The groups of which nothing could be shown, and the checks that could not be answered."""
        t = self.t
        if self.figures is None:
            return Section("untested", t("untested.heading"), [t("untested.no_groups")])
        named = [
            f"{row['attribute']}={row['group']}"
            for rows in self.figures.groups.values()
            for row in rows
            if not row["testable"]
        ]
        checks = sorted({check.id for check in self.verdict.checks if check.state in ("not_testable", "error")})
        unclear = sorted({check.id for check in self.verdict.checks if check.state == "inconclusive"})
        paragraphs = [t("untested.intro", groups=t.groups_of(named)) if named else t("untested.none")]
        if checks:
            paragraphs.append(t("untested.checks", ids="; ".join(map(self._named, checks))))
        if unclear:
            paragraphs.append(t("untested.unclear", ids="; ".join(map(self._named, unclear))))
        return Section("untested", t("untested.heading"), paragraphs)

    def _named(self, id: str) -> str:
        """A check by number and question."""
        return self.t("page.check", id=id, title=self.t(f"checks.{id}.title")) if id in BUILT else id


def _withheld_alone(verdict: Verdict, least: int) -> dict[tuple[str, str], CountTable]:
    """What is withheld where no group was measured: the record's own tables of people."""
    return {(table.name, table.attribute): table for table in suppress(record_counts(verdict.record), least=least)}
