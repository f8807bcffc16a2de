"""The fairness chapter of the report: each attribute's groups in tables and charts, and need at the same score."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ethics.cells import VENTILES
from ethics.fairness import AT_AUDIT, AT_K, EVERYONE, NO_CUT, Estimate
from ethics.report_charts import MOST_LINES, dot_plot, line_plot
from ethics.report_document import Cell, Chart, Column, Row, Section, Table, count_cell, estimate_cell, words
from ethics.report_figures import CUT_SHARES, FURTHER, Figures
from ethics.report_figures import Column as Measured
from ethics.report_text import Language
from ethics.verdict import Verdict

_SHARES = ("recall", "false_omission_rate", "precision")
RECALL_RATIO = Measured("recall_ratio", AT_AUDIT)
CALIBRATION = Measured("observed_to_expected", NO_CUT)


class GroupPages:
    """What the report shows of groups, from withheld figures and the verdict's own words about each group."""

    def __init__(self, verdict: Verdict, figures: Figures, t: Language) -> None:
        self.verdict, self.figures, self.t = verdict, figures, t
        self.decided = {check.group: check for check in verdict.checks if check.id in ("C401", "C402") and check.group}

    def chapter(self) -> Section:
        """Everyone's figures, then each attribute."""
        t, table = self.t, self.figures.table
        paragraphs = [t("fairness.intro")]
        if table.has_label:
            paragraphs.append(self._everyone())
        parts = [self._attribute(number, name) for number, name in enumerate(table.attributes, start=1)]
        return Section("fairness", t("fairness.heading"), paragraphs, parts=parts)

    def _everyone(self) -> str:
        t, table = self.t, self.figures.table
        recall = table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT)
        return t(
            "fairness.overall",
            need=t.count(recall.n),
            n=t.count(table.n),
            recall=t.percent(recall.value),
            recall_k=t.percent(table.get(EVERYONE, EVERYONE, "recall", AT_K).value),
            omission=t.percent(table.get(EVERYONE, EVERYONE, "false_omission_rate", AT_AUDIT).value),
        )

    def _attribute(self, number: int, attribute: str) -> Section:
        t, table = self.t, self.figures.table
        first, second, third = self.figures.columns()
        plain, id = t.attribute(attribute), f"groups-{number}"
        tables = [self._table(f"{id}-audit", t("fairness.caption", attribute=plain), attribute, first)]
        charts = []
        if table.has_label:
            charts.append(self._ratios(attribute, f"{id}-audit", RECALL_RATIO, table.thresholds.recall, "recall"))
            if table.has_probability:
                charts.append(self._ratios(attribute, f"{id}-audit", CALIBRATION, table.thresholds.oe, "calibration"))
        notes = []
        if second:
            at_k = self._table(f"{id}-k", t("fairness.caption_k", attribute=plain), attribute, second)
            if _is_mostly_withheld(at_k):
                notes.append(t("fairness.k_withheld", attribute=plain))
            else:
                tables.append(at_k)
        if third:
            tables.append(
                self._table(f"{id}-further", t("fairness.caption_further", attribute=plain), attribute, third)
            )
        if table.has_label:
            charts.append(self._curve_chart(attribute, f"{id}-curve"))
            tables.append(self._curve_table(attribute, f"{id}-curve"))
        for j, indicator in enumerate(table.indicators):
            name = f"{id}-need-{j + 1}"
            charts.append(self._need_chart(attribute, indicator, name))
            tables.append(self._need_table(attribute, indicator, name))
        return Section(id, _capital(plain), charts=charts, tables=tables, notes=notes)

    # Tables by group

    def _table(self, id: str, caption: str, attribute: str, columns: Sequence[Measured]) -> Table:
        t = self.t
        heads = [Column("group", t("fairness.group")), Column("verdict", t("fairness.verdict"))]
        heads += [Column(column.measure, self._heading(column), True, column.cut) for column in columns]
        rows = [
            Row(
                [
                    words(t.group(attribute, row["group"]), row["group"]),
                    self._state(attribute, row["group"]),
                    *(self._cell(attribute, row["group"], column) for column in columns),
                ],
                attribute,
                row["group"],
            )
            for row in self.figures.groups[attribute]
        ]
        return Table(id, _capital(caption), heads, rows)

    def _heading(self, column: Measured) -> str:
        measure, _, indicator = column.measure.partition(":")
        key = f"{measure}_at_{column.cut}" if column.cut else measure
        return self.t(f"measures.{key}", indicator=indicator)

    def _state(self, attribute: str, group: str) -> Cell:
        t, check = self.t, self.decided.get(f"{attribute}={group}")
        state = check.state if check else "error"
        word = t(f"states.{state}")
        return Cell(t("states.attested", state=word) if check and check.attested_by else word, state, state=state)

    def _cell(self, attribute: str, group: str, column: Measured) -> Cell:
        t = self.t
        if not column.cut:
            count = self.figures.count(attribute, group, column.measure)
            return self._withheld() if count is None else count_cell(count, t)
        found = self.figures.estimate(attribute, group, column)
        if found is None:
            return self._withheld()
        kind = "share" if column.measure in _SHARES else FURTHER.get(column, "ratio")
        if kind == "people":  # with its ratio, a whole number of people would tell how many were in need
            low, value, high = map(_to_five, (found.low, found.value, found.high))
            found = found._replace(value=value, low=low, high=high)
        return estimate_cell(found, t, {"share": t.percent, "people": t.count}.get(kind))

    def _withheld(self) -> Cell:
        return Cell(self.t("page.withheld"), is_number=True, withheld=True)

    # Charts

    def _ratios(self, attribute: str, table: str, column: Measured, threshold: float, name: str) -> Chart:
        """Dots and intervals of the ratios to everyone's, for the groups that can be tested."""
        t, figures = self.t, self.figures
        rows: list[tuple[str, str, Estimate | None, str]] = []
        tested: list[tuple[float, str, Estimate]] = []
        for row in figures.groups[attribute]:
            group, plain = row["group"], t.group(attribute, row["group"])
            found = figures.estimate(attribute, group, column) if row["testable"] else None
            if found is not None and all(math.isfinite(part) for part in found[:3]):
                rows.append(
                    (plain, self._mark(name, found, threshold), found, self._cell(attribute, group, column).text)
                )
                tested.append((found.value, plain, found))
            else:
                rows.append((plain, "not_testable", None, t("fairness.chart_untested")))
        low = name == "recall"
        beyond = sum(found.high < threshold if low else found.low > threshold for _, _, found in tested)
        facts = {"n": t.count(beyond), "all": t.count(len(rows)), "threshold": t.exact(threshold)}
        key = f"fairness.{name}_chart"
        if tested:
            value, group, found = min(tested) if low else max(tested)
            interval = t.interval(found.low, found.high)
            finding = t(f"{key}.found", group=group, value=t.number(value), interval=interval, **facts)
        else:
            finding = t(f"{key}.none", **facts)
        title = _capital(t(f"{key}.title", attribute=t.attribute(attribute)))
        axis = t(f"{key}.axis", threshold=t.exact(threshold))
        return Chart("dots", title, finding, dot_plot(rows, threshold, axis, t), table)

    @staticmethod
    def _mark(name: str, found: Estimate, threshold: float) -> str:
        """How an interval lies to the threshold: the mark is the ratio's alone, the word the group's."""
        beyond, within = (found.high < threshold, found.low >= threshold)
        if name != "recall":
            beyond, within = (found.low > threshold, found.high <= threshold)
        return "block" if beyond else "pass" if within else "inconclusive"

    # Recall at other cuts

    def _curve_chart(self, attribute: str, table: str) -> Chart:
        t, figures = self.t, self.figures
        shown = self._largest(attribute)
        series = []
        for group in shown:
            points = [figures.curve(attribute, group, cut) for cut in range(len(CUT_SHARES))]
            series.append((t.group(attribute, group), [None if p is None else self._finite(p.value) for p in points]))
        finding = t("fairness.curve_chart.none")
        told = [[(ys[cut], label) for label, ys in series if ys[cut] is not None] for cut in range(len(CUT_SHARES))]
        cut = max(range(len(CUT_SHARES)), key=lambda cut: (len(told[cut]), cut))
        if told[cut]:
            (least, lowest), (most, highest) = min(told[cut]), max(told[cut])
            facts = {"lowest": lowest, "least": t.percent(least or 0.0), "highest": highest}
            facts |= {"share": t.percent(CUT_SHARES[cut], 0), "most": t.percent(most or 0.0)}
            finding = t("fairness.curve_chart.found", **facts)
        mark = figures.table.cuts.k_audit / figures.table.n
        ticks = [(share, t.percent(share, 0)) for share in (0.1, 0.3, 0.5)]
        plot = line_plot(series, CUT_SHARES, ticks, t("fairness.curve_chart.axis"), t, mark)
        title = _capital(t("fairness.curve_chart.title", attribute=t.attribute(attribute)))
        return Chart("lines", title, self._with_rest(finding, attribute), plot, table)

    def _curve_table(self, attribute: str, id: str) -> Table:
        t, figures = self.t, self.figures
        groups = [row["group"] for row in figures.groups[attribute]]
        columns = [Column("cut", t("fairness.curve.cut"))]
        columns += [Column(f"recall:{group}", t.group(attribute, group), True) for group in groups]
        rows = []
        for cut, share in enumerate(CUT_SHARES):
            cells = [self._share(figures.curve(attribute, group, cut)) for group in groups]
            rows.append(Row([words(t.percent(share, 0), f"{share:g}"), *cells], attribute))
        caption = t("fairness.curve.caption", attribute=t.attribute(attribute))
        return Table(id, _capital(caption), columns, rows, folded=True)

    # Need by score

    def _need_chart(self, attribute: str, indicator: str, table: str) -> Chart:
        t, figures = self.t, self.figures
        series = []
        for group in self._largest(attribute):
            points = [figures.ventile(attribute, indicator, group, v) for v in range(VENTILES)]
            series.append((t.group(attribute, group), [None if p is None else self._finite(p.value) for p in points]))
        worst = self._worst_need(attribute, indicator)
        finding = t("fairness.need_chart.none", indicator=indicator)
        if worst is not None:
            group, found = worst
            facts = {"value": t.number(found.value), "interval": t.interval(found.low, found.high)}
            finding = t("fairness.need_chart.found", indicator=indicator, group=t.group(attribute, group), **facts)
        xs = [ventile + 1.0 for ventile in range(VENTILES)]
        mark = figures.table.cuts.k_audit / figures.table.n * VENTILES + 0.5
        ticks = [(place, t.count(place)) for place in (1.0, 5.0, 10.0, 15.0, 20.0)]
        plot = line_plot(series, xs, ticks, t("fairness.need_chart.axis"), t, mark)
        title = _capital(t("fairness.need_chart.title", attribute=t.attribute(attribute), indicator=indicator))
        return Chart("lines", title, self._with_rest(finding, attribute), plot, table)

    def _worst_need(self, attribute: str, indicator: str) -> tuple[str, Estimate] | None:
        column = Measured(f"need_at_score:{indicator}", AT_AUDIT)
        found = []
        for row in self.figures.groups[attribute]:
            part = self.figures.estimate(attribute, row["group"], column)
            enough = part is not None and part.n >= self.figures.table.thresholds.min_expected
            if part is not None and enough and all(math.isfinite(number) for number in part[:3]):
                found.append((part.value, row["group"], part))
        return (lambda worst: (worst[1], worst[2]))(max(found)) if found else None

    def _need_table(self, attribute: str, indicator: str, id: str) -> Table:
        t, figures = self.t, self.figures
        groups = [row["group"] for row in figures.groups[attribute]]
        columns = [Column("ventile", t("fairness.need_by_score.ventile"))]
        columns += [Column(f"{indicator}:{group}", t.group(attribute, group), True) for group in groups]
        rows = []
        for ventile in range(VENTILES):
            cells = [self._share(figures.ventile(attribute, indicator, group, ventile)) for group in groups]
            rows.append(Row([words(t.count(ventile + 1), str(ventile + 1)), *cells], attribute))
        caption = t("fairness.need_by_score.caption", attribute=t.attribute(attribute), indicator=indicator)
        return Table(id, _capital(caption), columns, rows, folded=True)

    # Helpers

    def _share(self, found: Estimate | None) -> Cell:
        return self._withheld() if found is None else estimate_cell(found, self.t, self.t.percent)

    def _largest(self, attribute: str) -> list[str]:
        """The groups that are drawn: the largest, as many as can be told apart, in the table's order."""
        rows = self.figures.groups[attribute]
        kept = sorted(rows, key=lambda row: (-row["n"], row["group"]))[:MOST_LINES]
        return [row["group"] for row in rows if row in kept]

    def _with_rest(self, finding: str, attribute: str) -> str:
        rest = len(self.figures.groups[attribute]) - MOST_LINES
        if rest <= 0:
            return finding
        return f"{finding} {self.t('fairness.chart_rest', n=self.t.count(MOST_LINES), rest=self.t.count(rest))}"

    @staticmethod
    def _finite(value: float) -> float | None:
        return value if math.isfinite(value) else None


def _is_mostly_withheld(table: Table) -> bool:
    """Whether more than three numbers in four are withheld: such a table tells less than a sentence does."""
    numbers = [cell for row in table.rows for cell in row.cells if cell.is_number]
    return 4 * sum(cell.withheld for cell in numbers) > 3 * len(numbers)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _to_five(people: float) -> float:
    return 5.0 * round(people / 5) if math.isfinite(people) else people
