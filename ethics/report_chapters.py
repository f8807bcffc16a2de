"""The chapters of the report after page one, from what the verdict holds; one that has nothing to say is left out."""

from __future__ import annotations

import math
from datetime import date

from ethics.attestation import THE_WHOLE
from ethics.fairness import AT_K, EVERYONE, KNOWN, NOT_KNOWN
from ethics.ranking_reads import attributes_apart, attributes_read
from ethics.rate_counts import FAIR_PASS, POWER
from ethics.report_document import Cell, Column, Row, Section, Table, count_cell, number_cell, words
from ethics.report_figures import GROUPS, Figures
from ethics.report_findings import checks_chapter, rival_name, trace_chapter
from ethics.report_groups import GroupPages
from ethics.report_records import RecordPages
from ethics.report_text import Language, machine
from ethics.verdict import Verdict

SETTINGS = ("seed", "replicates", "design_effect")
_DUEL = ("ours", "theirs", "difference", "low", "high")


class Chapters:
    """Every chapter in order; the record's own tables stand at the end of the chapter they name."""

    def __init__(
        self, verdict: Verdict, figures: Figures | None, records: RecordPages, owner: str, t: Language
    ) -> None:
        self.verdict, self.figures, self.records, self.owner, self.t = verdict, figures, records, owner, t

    def all(self) -> list[Section]:
        """As ethics.md §7 numbers them, after page one."""
        return [
            checks_chapter(self.verdict, self.t),
            self._purpose(),
            self._data(),
            self._model(),
            self._fairness(),
            self._uncertainty(),
            *(self._of_records(chapter) for chapter in ("mitigation",)),
            self._privacy(),
            *(self._of_records(chapter) for chapter in ("oversight", "changes")),
            self._attestations(),
            trace_chapter(self.verdict, self.t),
            self._method(),
            Section("contest", self.t("contest.heading"), [self.t("contest.text", owner=self.owner)]),
        ]

    def _of_records(self, chapter: str) -> Section:
        parts = self.records.parts(chapter)
        return Section(
            chapter, self.t(f"{chapter}.heading"), [self.t(f"{chapter}.intro")] if parts else [], parts=parts
        )

    def _purpose(self) -> Section:
        t, scope, purpose = self.t, self.verdict.scope, self.verdict.purpose
        facts = [
            (name, t(f"purpose.{name}"), t.of(purpose.get(name, {})) or t("page.missing"))
            for name in ("question", "action", "benefit", "alternative")
        ]
        table, attainable = self.figures.table if self.figures else None, ""
        if table is not None and table.has_label:
            share = table.get(EVERYONE, EVERYONE, "attainable_recall", AT_K).value
            attainable = t("purpose.attainable", share=t.percent(share))
        numbers = {"k": t.count(scope["capacity_k"]), "n": t.count(scope["eligible_n"]), "attainable": attainable}
        if scope["period_days"]:
            capacity = t("purpose.capacity_text", days=t.count(scope["period_days"]), **numbers).strip()
        else:
            capacity = t("purpose.capacity_of_scores", **numbers).strip()
        facts.append(("capacity", t("purpose.capacity"), capacity))
        if table is not None:
            where = {"k": t.count(scope["measured_k_audit"]), "n": t.count(scope["measured_n"])}
            facts.append(("audit_cut", t("purpose.audit_cut"), t("purpose.audit_cut_text", **where)))
        facts.append(("owner", t("purpose.owner"), self.owner))
        return Section("purpose", t("purpose.heading"), facts=facts, parts=self.records.parts("purpose"))

    def _data(self) -> Section:
        t = self.t
        registers = (self.verdict.record.get("register") or {}).get("sources") or ()
        sources = {row["source"]: t.of(row["name"]) for row in registers}
        rows = [
            Row(
                [
                    words(t.of(feature["plain"]) or feature["feature"], feature["feature"]),
                    words(sources.get(feature["source"]) or feature["source"], feature["source"]),
                    *(words(feature[name]) for name in ("purpose", "basis")),
                    count_cell(int(feature["columns"]), t),
                ]
            )
            for feature in self.verdict.record["features"]
        ]
        heads = [Column(name, t(f"data.{name}")) for name in ("feature", "source", "purpose", "basis")]
        table = Table("features", t("data.caption"), [*heads, Column("columns", t("data.columns"), True)], rows)
        return Section("data", t("data.heading"), tables=[table] if rows else [], parts=self.records.parts("data"))

    def _model(self) -> Section:
        t = self.t
        parts = self.records.parts("model")
        if self.verdict.scope["kind"] == "rule":
            return Section("model", t("model.heading"), [t("model.rule")], parts=parts)
        paragraphs, rows = [], []
        auc = self.verdict.record["auc"]
        if auc is not None and auc["value"] is not None:
            low, high = (None if auc[name] is None else float(auc[name]) for name in ("low", "high"))
            value = t.number(float(auc["value"]))
            paragraphs.append(t("model.auc", value=value, interval=t.interval(low, high) or t("page.missing")))
        for duel in self.verdict.record["duel"]:
            given = {name: float(duel[name]) if duel.get(name) is not None else math.nan for name in _DUEL}
            cells = [number_cell(given[name], t) for name in ("ours", "theirs")]
            cells.append(number_cell(given["difference"], t, given["low"], given["high"]))
            rows.append(Row([words(rival_name(str(duel["rival"]), t), str(duel["rival"])), *cells]))
        heads = [Column("rival", t("model.rival"))]
        heads += [Column(name, t(f"model.{name}"), True, "k_audit") for name in ("ours", "theirs", "difference")]
        tables = [Table("duel", t("model.caption"), heads, rows)] if rows else []
        return Section("model", t("model.heading"), paragraphs, tables=tables, parts=parts)

    def _fairness(self) -> Section:
        t, own = self.t, self.records.parts("fairness")
        if self.figures is None:
            return Section("fairness", t("fairness.heading"), [t("fairness.none")], parts=own)
        chapter = GroupPages(self.verdict, self.figures, t).chapter()
        return Section(chapter.id, chapter.heading, chapter.paragraphs, parts=[*chapter.parts, *own])

    def _uncertainty(self) -> Section:
        t, parts = self.t, self.records.parts("uncertainty")
        if self.figures is None:
            return Section("uncertainty", t("uncertainty.heading"), parts=parts)
        numbers = {name: self.verdict.subject[name] for name in SETTINGS}
        numbers["design_effect"] = t.number(float(numbers["design_effect"]))
        numbers["replicates"] = t.count(int(numbers["replicates"]))
        known = self.verdict.scope.get("households", NOT_KNOWN) == KNOWN
        households = t("uncertainty.households_known" if known else "uncertainty.households_not_known")
        last = t.count(int(self.verdict.scope["min_persons_shown"]) - 1)
        text = t("uncertainty.text", last=last, households=households, **numbers)
        power = self._power()
        return Section("uncertainty", t("uncertainty.heading"), [text], parts=[*([power] if power else []), *parts])

    def _power(self) -> Section | None:
        """What this sample could have shown; the first question to ask of a pass."""
        t, figures, rows = self.t, self.figures, []
        assert figures is not None
        for row in figures.table.groups.iter_rows(named=True):
            attribute, group = row["attribute"], row["group"]
            if "fair_pass_share" not in row:
                continue
            counts, gap, share = figures.counts[GROUPS, attribute], row["detectable_recall_gap"], row["fair_pass_share"]
            shown = number_cell(gap, t, show=t.percent) if math.isfinite(gap) else Cell(t("page.none"), is_number=True)
            cells = [shown, number_cell(row["detectable_oe"], t)]
            cells.append(Cell(t.percent(share), machine(share, "share"), is_number=True))
            blank = Cell(t("page.withheld"), is_number=True, withheld=True)
            rests_on = (POWER, POWER, FAIR_PASS)
            told = [
                blank if counts.is_hidden(rate, group) else cell for rate, cell in zip(rests_on, cells, strict=True)
            ]
            rows.append(Row([words(t.group_of(f"{attribute}={group}"), group), *told], attribute, group))
        if not rows:
            return None
        heads = [Column("group", t("power.group"))]
        names = {"gap": "detectable_recall_gap", "oe": "detectable_oe", "fair": "fair_pass_share"}
        heads += [Column(id, t(f"power.{name}"), True) for name, id in names.items()]
        intro = t("power.intro", share=t.percent(figures.table.fair_worlds_pass))
        table = Table("power-table", t("power.caption"), heads, rows)
        return Section("power", t("power.heading"), [intro], tables=[table])

    def _privacy(self) -> Section:
        t = self.t
        read, apart = (", ".join(map(t.attribute, find(self.verdict))) for find in (attributes_read, attributes_apart))
        texts = [t("privacy.groups", groups=apart or t("page.none"))] if apart or not read else []
        texts += [t("privacy.groups_read", groups=read)] if read else []
        return Section("privacy", t("privacy.heading"), texts, parts=self.records.parts("privacy"))

    def _attestations(self) -> Section:
        t, rows = self.t, []
        for given in self.verdict.attestations:
            groups = [given["group"]] if isinstance(given["group"], str) else given["group"]
            whole = t("attestations.the_whole")
            named = t("attestations.every_group") if groups is None else ""
            named = named or ", ".join(whole if group == THE_WHOLE else t.group_of(group) for group in groups)
            by = "; ".join(f"{signer['name']} ({t.role(signer['role'])})" for signer in given["signers"])
            dates = t("attestations.from_to", start=_day(given["given_at"], t), end=_day(given["expires_at"], t))
            cells = [
                given["id"],
                f"{given['check']}: {named}",
                f"{by}, {given['organisation']}",
                given["reasons"],
                dates,
            ]
            rows.append(Row([words(cell) for cell in cells]))
        if not rows:
            return Section("attestations", t("attestations.heading"), [t("attestations.none")])
        heads = [Column(name, t(f"attestations.{name}")) for name in ("id", "check", "by", "reasons", "dates")]
        table = Table("attestations-table", t("attestations.caption"), heads, rows)
        return Section("attestations", t("attestations.heading"), tables=[table])

    def _method(self) -> Section:
        t, subject = self.t, self.verdict.subject
        rows = [
            Row(
                [
                    words(t.subject(name), name),
                    words(str(subject[name])[:12]),
                ]
            )
            for name in sorted(subject)
            if name not in SETTINGS
        ]
        heads = [Column("subject", t("method.subject")), Column("digest", t("method.digest"))]
        digests = Table("subject", t("method.subjects"), heads, rows)
        limits = [
            Row([words(t.policy_name(f"thresholds.{name}"), name), Cell(t.exact(value), value, is_number=True)])
            for name, value in sorted(self.verdict.scope["thresholds"].items())
        ]
        heads = [Column("threshold", t("method.threshold")), Column("value", t("page.value"), True)]
        thresholds = Table("thresholds", t("method.thresholds"), heads, limits, folded=True)
        return Section("method", t("method.heading"), items=t.all("method.items"), tables=[digests, thresholds])


def _day(moment: str, t: Language) -> str:
    return t.day(date.fromisoformat(moment[:10]))
