"""What the report shows: a verdict and its tables as plain texts and numbers, for the template to lay out.

Small cells are withheld here, and nowhere earlier: the auditor's tables are whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ethics.checks import BUILT
from ethics.fairness import AT_AUDIT, AT_K, BELOW_AUDIT, EVERYONE, KNOWN, NO_CUT, NOT_KNOWN, FairnessTable
from ethics.outcome_checks import OUTCOME_CHECKS
from ethics.principles import PRINCIPLES
from ethics.verdict import Check, Verdict

_Column = tuple[str, str, str]
_WORST_FIRST = ("error", "block", "needs_attestation", "inconclusive", "not_testable", "warn", "pass")
_CHART = {"left": 170, "right": 510, "row": 30, "top": 18, "most": 2.0}


class Texts(Protocol):
    """The texts of one language by dotted key."""

    def __call__(self, key: str, /, **names: object) -> str:
        """The text of a key, with its names filled in."""

    def all(self, key: str) -> list[str]:
        """The texts of a list."""


class Cell(NamedTuple):
    """A number as people read it, and as machines do (None where it is withheld)."""

    text: str
    machine: str | None = None


def hidden(counts: Sequence[int], least: int) -> set[int]:
    """Which counts of one column must be withheld, so that none of 1 … least-1 can be read or worked out.

    A single hidden count follows from the total, so the next smallest is hidden with it, until the hidden ones
    together say no more than ``least``.

    >>> sorted(hidden([3, 40, 900], least=5)), hidden([40, 900], least=5)
    ([0, 1], set())
    """
    chosen = {position for position, count in enumerate(counts) if 0 < count < least}
    if not chosen:
        return chosen
    others = sorted((count, position) for position, count in enumerate(counts) if count and position not in chosen)
    while others and (len(chosen) < 2 or sum(counts[position] for position in chosen) < least):
        chosen.add(others.pop(0)[1])
    return chosen


class Page:
    """Everything the template shows, as plain text and numbers."""

    def __init__(self, verdict: Verdict, table: FairnessTable | None, t: Texts) -> None:
        self.verdict, self.table, self.t = verdict, table, t
        self.least = int(verdict.scope["min_persons_shown"])
        owner = verdict.record["owner"]
        self.owner = ", ".join(str(owner[name]) for name in ("name", "email", "phone") if owner.get(name))

    def context(self) -> dict[str, Any]:
        """What the template asks for."""
        verdict, t = self.verdict, self.t
        built = {id for principle in PRINCIPLES for id in principle.checks} - {*BUILT, *OUTCOME_CHECKS}
        return {
            "title": self._text("title"),
            "state": verdict.state,
            "verdict_id": verdict.verdict_id,
            "demonstration": verdict.demonstration,
            "invented": bool(verdict.scope["invented"]),
            "owner": self.owner,
            "facts": self._facts(),
            "subjects": [
                (name, str(verdict.subject[name])[:12]) for name in sorted(verdict.subject) if name not in _SETTINGS
            ],
            "todo": self._todo(),
            "purpose": self._purpose(),
            "check_heads": [
                (t(f"checks_table.{name}"), name in ("value", "threshold"))
                for name in ("id", "title", "group", "state", "statistic", "value", "threshold", "needs")
            ],
            "checks": self._checks(),
            "not_built": ", ".join(sorted(built)),
            "is_rule": verdict.scope["kind"] == "rule",
            "scores_alone": self._scores_alone(),
            "auc": self._auc(),
            "duel": self._duel(),
            "overall": self._overall(),
            "attributes": [self._attribute(name) for name in self.table.attributes] if self.table else [],
            "small_tables": self._small_tables(),
            "method": t.all("method.items"),
            "thresholds": sorted(verdict.scope["thresholds"].items()),
        }

    def _scores_alone(self) -> dict[str, str] | None:
        """What is said of a verdict on scores alone: how they were read, and what could not be asked."""
        t, stated = self.t, self.verdict.record.get("stated")
        if stated is None:
            return None
        asked = {check.id for check in self.verdict.checks}
        return {
            "not_asked": ", ".join(id for id in BUILT if id not in asked),
            "use": t(f"scores.use_{stated['use']}", use=self.verdict.use),
            "read": t(
                "scores.read",
                periods=stated["periods"],
                known=_percent(float(stated["share_with_groups"])),
                labels=_count(int(stated["labels_known"])),
                n=_count(self.verdict.scope["eligible_n"]),
                tie_break=stated["tie_break"],
            ),
        }

    def _text(self, name: str) -> str:
        return str(self.verdict.purpose.get(name, {}).get("en", "")) or self.t("page.missing")

    def _facts(self) -> list[tuple[str, str]]:
        verdict, t = self.verdict, self.t
        states = [check.state for check in verdict.checks]
        counts = [
            t("verdict.count", n=states.count(state), state=t(f"states.{state}"))
            for state in _WORST_FIRST
            if state in states
        ]
        return [
            (t("verdict.service"), verdict.service),
            (t("verdict.need"), verdict.need_id),
            (t("verdict.model"), verdict.model_id),
            (t("verdict.use"), verdict.use),
            (t("verdict.issued"), f"{verdict.issued_at:%Y-%m-%d %H:%M %Z}"),
            (t("verdict.expires"), f"{verdict.expires_at:%Y-%m-%d %H:%M %Z}"),
            (t("verdict.counts"), ", ".join(counts)),
        ]

    # What must be done

    def _todo(self) -> list[dict[str, Any]]:
        """One item for each check and case that fails, its groups beneath it."""
        items: dict[tuple[str, str], list[Check]] = {}
        for state in _WORST_FIRST[:-1]:
            for check in self.verdict.checks:
                if check.state == state and not check.attested_by:
                    items.setdefault((check.id, check.message_id), []).append(check)
        return [self._todo_item(checks) for checks in items.values()]

    def _todo_item(self, checks: Sequence[Check]) -> dict[str, Any]:
        t, first = self.t, checks[0]
        case = first.message_id.split(".")[1]
        keys = ("error.what", "error.do") if first.state == "error" else _keys(first.id, case)
        facts = {"columns": t("page.none"), "indicators": "", "rival": "", "names": "", "wrong": "", **first.facts}
        if "rival" in first.facts:
            facts["rival"] = self._rival(str(first.facts["rival"]))
        together = {str(check.facts.get("indicators", "")) for check in checks} - {""}
        facts["indicators"] = ", ".join(sorted({part for names in together for part in names.split(", ")}))
        return {
            "id": first.id,
            "state": first.state,
            "what": t(keys[0], **facts),
            "do": t(keys[1]),
            "lifted": t("todo.lifted", id=first.needs, who=t(f"who.{first.needs}")) if first.needs else "",
            "lines": [line for line in map(self._line, checks) if line],
        }

    def _line(self, check: Check) -> str:
        """Group · value (interval) against threshold · who is affected."""
        t, parts = self.t, [check.group] if check.group else []
        if check.value is not None and check.threshold is not None and check.state != "error":
            interval = self._interval(check.low, check.high)
            key = "todo.numbers" if interval else "todo.numbers_no_interval"
            numbers = t(key, value=_short(check.value), interval=interval, threshold=_short(check.threshold))
            parts.append(f"{t(f'statistics.{check.statistic}')}: {numbers}")
        if check.facts.get("missed"):
            facts = check.facts
            parts.append(t("todo.affected", missed=facts["missed"], low=facts["missed_low"], high=facts["missed_high"]))
        return " · ".join(parts)

    def _interval(self, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return ""
        return self.t("page.interval", low=_short(low), high=_short(high))

    # Purpose, checks, quality

    def _purpose(self) -> list[tuple[str, str]]:
        t, scope = self.t, self.verdict.scope
        rows = [(t(f"purpose.{name}"), self._text(name)) for name in ("question", "action", "benefit", "alternative")]
        attainable = ""
        if self.table is not None and self.table.has_label:
            share = self.table.get(EVERYONE, EVERYONE, "attainable_recall", AT_K).value
            attainable = t("purpose.attainable", share=_percent(share))
        k, days, n = _count(scope["capacity_k"]), scope["period_days"], _count(scope["eligible_n"])
        key = "purpose.capacity_text" if days else "purpose.capacity_of_scores"
        rows.append((t("purpose.capacity"), t(key, k=k, days=days, n=n, attainable=attainable)))
        if self.table is not None:
            where = {"k": _count(scope["measured_k_audit"]), "n": _count(scope["measured_n"])}
            rows.append((t("purpose.audit_cut"), t("purpose.audit_cut_text", **where)))
        return [*rows, (t("purpose.owner"), self.owner)]

    def _checks(self) -> list[dict[str, Any]]:
        """Every check, worst first; the passing groups of one check as one row."""
        t, rows = self.t, []
        for state in _WORST_FIRST:
            for id in sorted({check.id for check in self.verdict.checks}):
                here = [check for check in self.verdict.checks if check.id == id and check.state == state]
                if state == "pass" and len(here) > 1:
                    rows.append(self._check_row(here[0]) | {"group": t("checks_table.summary", n=len(here), id=id)})
                    rows[-1] |= {"statistic": "", "value": Cell(""), "threshold": Cell("")}
                else:
                    rows += [self._check_row(check) for check in here]
        return rows

    def _check_row(self, check: Check) -> dict[str, Any]:
        t = self.t
        interval = self._interval(check.low, check.high)
        value = Cell("")
        if check.value is not None:
            value = Cell(f"{_short(check.value)}{f' ({interval})' if interval else ''}", _machine(check.value))
        word = t(f"states.{check.state}")
        return {
            "id": check.id,
            "title": t(f"checks.{check.id}.title") if check.id in BUILT else "",
            "group": check.group or "",
            "state": check.state,
            "word": t("states.attested", state=word) if check.attested_by else word,
            "statistic": t(f"statistics.{check.statistic}"),
            "value": value,
            "threshold": Cell("")
            if check.threshold is None
            else Cell(_short(check.threshold), _machine(check.threshold)),
            "needs": check.needs or "",
        }

    def _auc(self) -> dict[str, str] | None:
        auc = self.verdict.record["auc"]
        if auc is None or auc["value"] is None:
            return None
        interval = self._interval(*(None if auc[name] is None else float(auc[name]) for name in ("low", "high")))
        return {"value": _short(float(auc["value"])), "interval": interval}

    def _rival(self, name: str) -> str:
        return self.t(f"quality.{name}") if name in ("chance", "unit_rule") else name.replace("_", " ")

    def _duel(self) -> list[dict[str, Any]]:
        rows = []
        for duel in self.verdict.record["duel"]:
            numbers = {name: float(duel[name]) if duel.get(name) is not None else math.nan for name in _DUEL}
            interval = self._interval(numbers["low"], numbers["high"])
            rows.append(
                {
                    "rival": self._rival(str(duel["rival"])),
                    "ours": self._number(numbers["ours"]),
                    "theirs": self._number(numbers["theirs"]),
                    "difference": Cell(
                        f"{_short(numbers['difference'])} ({interval})", _machine(numbers["difference"])
                    ),
                }
            )
        return rows

    # Fairness

    def _overall(self) -> str:
        table = self.table
        if table is None or not table.has_label:
            return ""
        recall = table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
        omission = table.get(EVERYONE, EVERYONE, "false_omission_rate", AT_AUDIT)
        return self.t(
            "fairness.overall",
            need=_count(recall.n),
            n=_count(table.n),
            recall=_percent(recall.value),
            recall_k=_percent(table.get(EVERYONE, EVERYONE, "recall", AT_K).value),
            omission=_percent(omission.value),
        )

    def _attribute(self, attribute: str) -> dict[str, Any]:
        import polars as pl

        table, t = self.table, self.t
        assert table is not None
        groups = table.groups.filter(pl.col("attribute") == attribute).to_dicts()
        decided = {check.group: check for check in self.verdict.checks if check.id == "C401"}
        rows = []
        for row in groups:
            check = decided.get(f"{attribute}={row['group']}")
            state = check.state if check else "error"
            word = t(f"states.{state}")
            word = t("states.attested", state=word) if check and check.attested_by else word
            rows.append({"group": row["group"], "state": state, "word": word})
        first, second = self._columns(table)
        tables = [self._group_table(attribute, groups, first, "fairness.caption", rows)]
        if second:
            tables.append(self._group_table(attribute, groups, second, "fairness.caption_k", rows))
        chart = self._chart(attribute, groups, rows) if table.has_label else None
        return {"name": attribute, "tables": tables, "chart": chart}

    def _group_table(
        self,
        attribute: str,
        groups: Sequence[Mapping[str, Any]],
        columns: Sequence[_Column],
        caption: str,
        rows: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        t = self.t
        cells = [self._column(attribute, groups, measure, cut) for _, measure, cut in columns]
        heads = [(t("fairness.group"), False), (t("fairness.verdict"), False)]
        return {
            "caption": t(caption, attribute=attribute),
            "heads": [*heads, *((heading, True) for heading, _, _ in columns)],
            "rows": [{**row, "cells": [column[position] for column in cells]} for position, row in enumerate(rows)],
        }

    def _columns(self, table: FairnessTable) -> tuple[list[_Column], list[_Column]]:
        """Heading, measure and cut of the columns of both tables, as far as the data has them."""
        t = self.t
        people = (t("fairness.n"), "n", "")
        above = [(t(f"fairness.{name}"), name, "") for name in ("selected_k_audit", "selected_k")]
        if not table.has_label:
            return [people, *above], []
        first = [
            people,
            (t("fairness.need"), "need", ""),
            above[0],
            (t("fairness.recall"), "recall", AT_AUDIT),
            (t("fairness.recall_ratio"), "recall_ratio", AT_AUDIT),
            (t("fairness.omission"), "false_omission_rate", AT_AUDIT),
        ]
        if table.has_probability:
            first.append((t("fairness.calibration"), "observed_to_expected", NO_CUT))
            first.append((t("fairness.calibration_below"), "observed_to_expected", BELOW_AUDIT))
        second = [
            above[1],
            (t("fairness.recall_k"), "recall", AT_K),
            (t("fairness.recall_ratio_k"), "recall_ratio", AT_K),
            (t("fairness.precision_k"), "precision", AT_K),
        ]
        for name in table.indicators:
            second.append((t("fairness.need_at_score", indicator=name), f"need_at_score:{name}", AT_AUDIT))
        return first, second

    def _column(self, attribute: str, groups: Sequence[Mapping[str, Any]], measure: str, cut: str) -> list[Cell]:
        """One column, with small counts and the rates that rest on them withheld."""
        table, t = self.table, self.t
        assert table is not None
        few = {position for position, row in enumerate(groups) if row["n"] < self.least}
        withheld = Cell(t("page.withheld"))
        if not cut:
            counts = [int(row[measure]) for row in groups]
            hide = hidden(counts, self.least) | few
            return [
                (Cell(t("page.fewer", n=self.least)) if 0 < count < self.least else withheld)
                if position in hide
                else Cell(_count(count), str(count))
                for position, count in enumerate(counts)
            ]
        cells = []
        for position, row in enumerate(groups):
            found = table.get(attribute, row["group"], measure, cut)
            rests_on_few = not row["testable"] and (
                0 < found.people < self.least or 0 < found.n - found.people < self.least
            )
            if position in few or rests_on_few:
                cells.append(withheld)
            elif not math.isfinite(found.value):
                cells.append(Cell(t("page.missing")))
            else:
                show = _percent if measure in _SHARES else _short
                bounded = math.isfinite(found.low) and math.isfinite(found.high)
                interval = (
                    t("page.interval", low=show(found.low), high=show(found.high)) if bounded else t("page.missing")
                )
                cells.append(Cell(f"{show(found.value)} ({interval})", _machine(found.value)))
        return cells

    def _chart(
        self, attribute: str, groups: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Dots and intervals of the recall ratio at k*, for the groups that can be tested."""
        table, t = self.table, self.t
        assert table is not None
        threshold = table.thresholds.recall
        dots, tested = [], []
        for position, (group, row) in enumerate(zip(groups, rows, strict=True)):
            y = _CHART["top"] + position * _CHART["row"]
            dot: dict[str, Any] = {
                "y": int(y),
                "label": _cut_short(str(group["group"])),
                "state": row["state"],
                "x": None,
            }
            found = table.get(attribute, group["group"], "recall_ratio", AT_AUDIT)
            if group["testable"] and math.isfinite(found.value):
                tested.append((found.value, str(group["group"]), found))
                dot |= {"x": _x(found.value), "x_low": _x(found.low), "x_high": _x(found.high)}
                dot["text"] = f"{_short(found.value)} ({_short(found.low)}–{_short(found.high)})"
            else:
                dot["text"] = t("fairness.chart_untested")
            dots.append(dot)
        below = sum(found.high < threshold for _, _, found in tested)
        facts = {"n": below, "all": len(groups), "threshold": _short(threshold)}
        if tested:
            value, name, found = min(tested)
            interval = self._interval(found.low, found.high)
            finding = t("fairness.chart_found", group=name, value=_short(value), interval=interval, **facts)
        else:
            finding = t("fairness.chart_none", **facts)
        return {
            "height": int(_CHART["top"] + len(groups) * _CHART["row"] + 44),
            "left": int(_CHART["left"]),
            "threshold_x": _x(threshold),
            "one_x": _x(1.0),
            "ticks": [{"x": _x(value), "text": _short(value)} for value in (0.0, 0.5, 1.0, 1.5, 2.0)],
            "axis": t("fairness.chart_axis", threshold=_short(threshold)),
            "dots": dots,
            "finding": finding,
        }

    # The sections that are a paragraph and a table

    def _small_tables(self) -> list[dict[str, Any]]:
        sections = [self._privacy(), self._attestations(), self._trace()]
        if self.table is None:
            return sections
        labelled = [self._missed(), self._power()] if self.table.has_label else []
        return [*labelled, self._untested(), self._uncertainty(), *sections]

    def _section(self, id: str, intro: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Heads are text keys; a column is of numbers when its cells are."""
        t = self.t
        return {
            "id": id,
            "heading": t(f"{id}.heading"),
            "intro": intro,
            "caption": t(f"{id}.caption") if rows else "",
            "heads": [
                (t(f"{id}.{head}"), isinstance(rows[0][column], Cell)) for column, head in enumerate(heads) if rows
            ],
            "rows": rows,
        }

    def _missed(self) -> dict[str, Any]:
        table, t, rows = self.table, self.t, []
        assert table is not None
        for row in table.groups.iter_rows(named=True):
            found = table.get(row["attribute"], row["group"], "missed_residents", AT_AUDIT)
            if row["testable"] and found.value >= self.least:
                low, value, high = (
                    _count(5 * round(max(0.0, part) / 5)) for part in (found.low, found.value, found.high)
                )
                shown = f"{value} ({t('page.interval', low=low, high=high)})"
                rows.append((f"{row['attribute']}={row['group']}", Cell(shown, _machine(found.value))))
        return self._section("missed", t("missed.intro" if rows else "missed.nobody"), ("group", "at_audit"), rows)

    def _power(self) -> dict[str, Any]:
        table, t = self.table, self.t
        assert table is not None
        rows = [
            (
                f"{row['attribute']}={row['group']}",
                Cell(_percent(row["detectable_recall_gap"]), _machine(row["detectable_recall_gap"]))
                if math.isfinite(row["detectable_recall_gap"])
                else Cell(t("page.none")),
                self._number(row["detectable_oe"]),
                Cell(_percent(row["fair_pass_share"]), _machine(row["fair_pass_share"])),
            )
            for row in table.groups.iter_rows(named=True)
            if "fair_pass_share" in row and row["n"] >= self.least
        ]
        intro = t("power.intro", share=_percent(table.fair_worlds_pass))
        return self._section("power", intro, ("group", "gap", "oe", "fair"), rows)

    def _untested(self) -> dict[str, Any]:
        table, t = self.table, self.t
        assert table is not None
        named = [
            f"{row['attribute']}={row['group']}" for row in table.groups.iter_rows(named=True) if not row["testable"]
        ]
        intro = t("untested.intro", groups=", ".join(named)) if named else t("untested.none")
        return self._section("untested", intro, (), ())

    def _uncertainty(self) -> dict[str, Any]:
        subject = self.verdict.subject
        numbers = {name: subject[name] for name in _SETTINGS}
        known = self.verdict.scope.get("households", NOT_KNOWN) == KNOWN
        households = self.t("uncertainty.households_known" if known else "uncertainty.households_not_known")
        text = self.t("uncertainty.text", last=self.least - 1, households=households, **numbers)
        return self._section("uncertainty", text, (), ())

    def _privacy(self) -> dict[str, Any]:
        t = self.t
        rows = [
            (
                str(feature["plain"].get("en") or feature["feature"]),
                *(feature[name] for name in ("source", "purpose", "basis")),
                self._number(feature["columns"]),
            )
            for feature in self.verdict.record["features"]
        ]
        groups = ", ".join(self.verdict.scope["group_attributes"]) or t("page.none")
        heads = ("feature", "source", "purpose", "basis", "columns")
        return self._section("privacy", t("privacy.groups", groups=groups), heads, rows)

    def _attestations(self) -> dict[str, Any]:
        t, rows = self.t, []
        for given in self.verdict.attestations:
            groups = given["group"] or t("attestations.every_group")
            named = groups if isinstance(groups, str) else ", ".join(groups)
            by = "; ".join(f"{signer['name']} ({signer['role'].replace('_', ' ')})" for signer in given["signers"])
            dates = t("attestations.from_to", start=given["given_at"][:10], end=given["expires_at"][:10])
            rows.append(
                (given["id"], f"{given['check']}: {named}", f"{by}, {given['organisation']}", given["reasons"], dates)
            )
        return self._section(
            "attestations", "" if rows else t("attestations.none"), ("id", "check", "by", "reasons", "dates"), rows
        )

    def _trace(self) -> dict[str, Any]:
        t, rows = self.t, []
        states: dict[str, str] = {}
        for state in reversed(_WORST_FIRST):
            states |= {check.id: state for check in self.verdict.checks if check.state == state}
        for principle in PRINCIPLES:
            ran = [id for id in principle.checks if id in states]
            name = f"{principle.id} {principle.en} ({principle.fi}{'' if principle.fi_is_quoted else '*'})"
            rows.append(
                (
                    name,
                    ", ".join(f"{id} {t(f'states.{states[id]}')}" for id in ran) or t("page.none"),
                    "; ".join(dict.fromkeys(t(f"checks.{id}.law") for id in ran)) or t("page.none"),
                    ", ".join(id for id in principle.checks if id not in BUILT) or t("page.none"),
                )
            )
        return self._section("trace", t("trace.note"), ("principle", "built", "law", "missing"), rows)

    def _number(self, value: float) -> Cell:
        return Cell(_short(value), _machine(value)) if math.isfinite(value) else Cell(self.t("page.missing"))


_DUEL = ("ours", "theirs", "difference", "low", "high")
_SETTINGS = ("seed", "replicates", "design_effect")
_SHARES = ("recall", "false_omission_rate", "precision")


def _keys(id: str, case: str) -> tuple[str, str]:
    return f"checks.{id}.what.{case}", f"checks.{id}.do.{case}"


def _x(ratio: float) -> float:
    """A recall ratio's place on the chart, clipped at its edge."""
    share = min(max(ratio, 0.0), _CHART["most"]) / _CHART["most"]
    return round(_CHART["left"] + share * (_CHART["right"] - _CHART["left"]), 1)


def _cut_short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _count(n: float) -> str:
    return f"{n:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def _short(value: float) -> str:
    """A number as people read it: two decimals, or none when it is whole; one digit of a tiny one."""
    if value == round(value):
        return _count(value)
    return f"{value:,.2f}" if abs(value) >= 0.005 else f"{value:.1g}"


def _machine(value: float) -> str:
    """As precise as what is shown: more digits of a rate would give away the counts that are withheld."""
    return f"{value:.3g}"
