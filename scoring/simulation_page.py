"""The page of a simulation: scenarios as a table, a plot, what one more worker is worth in words, groups."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.report_charts import LinePlot, line_plot
from ethics.report_text import Language
from models.curves import k_curve

if TYPE_CHECKING:
    from jinja2 import Template

    from scoring.simulation import History

LANGUAGES = ("fi", "sv", "en")
_HERE = Path(__file__).parent
_SIMPLE_ORDERS = 5  # as many lines as a small chart can hold
_POINTS = 40


class PageWords:
    """The texts of one language; a key within a table is written ``table.key``.

    >>> PageWords("en").number(1234.56), PageWords("fi").number(0.25, 2), PageWords("sv").order("rule")
    ('1,235', '0,25', 'dagens regel')
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.texts = _texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its {names} filled in."""
        table, _, inner = key.rpartition(".")
        text: str = self.texts[table][inner] if table else self.texts[key]
        return text.format(**values)

    def number(self, value: float | None, decimals: int = 0) -> str:
        """A number with the marks of the language; a dash where there is none."""
        if value is None or value != value:
            return self("unknown")
        thousand = self.texts["thousands_mark"].replace(" ", "\N{NO-BREAK SPACE}")
        text = f"{value:z,.{decimals}f}"
        return text.translate(str.maketrans({",": thousand, ".": self.texts["decimal_mark"]}))

    def estimate(self, one: dict[str, float | None], decimals: int = 0, times: float = 1) -> str:
        """A value with its interval in brackets."""
        value, low, high = (None if one[part] is None else one[part] * times for part in ("value", "low", "high"))  # type: ignore[operator]
        if value is None or low is None:
            return self.number(value, decimals)
        return f"{self.number(value, decimals)} ({self.number(low, decimals)}–{self.number(high, decimals)})"

    def order(self, name: str) -> str:
        """An order's name; another run's by the beginning of its id."""
        named = self.texts["orders"]
        return str(named[name]) if name in named else self("orders.run", run=name[:8])


@lru_cache(maxsize=8)
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_HERE / "simulation_messages" / f"{language}.toml").read_text(encoding="utf-8"))


def scenario_heads(words: PageWords) -> list[str]:
    """Heads of the table of scenarios."""
    columns = ("order", "places", "allocation", "found", "missed", "share", "reached", "cost", "more")
    return [words(column) for column in columns]


def scenario_rows(result: Any, words: PageWords) -> list[list[str]]:
    """The table of scenarios in words and numbers."""
    return [
        [
            words.order(one["order"]),
            words.number(one["k"] * result["attempts_per_person"]),
            words(f"allocations.{one['allocation']}"),
            words.estimate(one["found"]),
            words.estimate(one["missed"]),
            words.estimate(one["share_found"], times=100),
            words.estimate(one["reached"]),
            words.estimate(one["cost_per_found"]),
            words.estimate(one["more_than_now"]) if one["more_than_now"]["value"] else words.number(0),
        ]
        for one in result["scenarios"]
    ]


def worth_sentences(result: Any, words: PageWords) -> list[str]:
    """One more worker beside each better order, in words."""
    n = result["workers_added"]
    workers = words("worker_one") if n == 1 else words("worker_many", n=words.number(n))
    sentences = []
    for one in result["worth"]:
        worse, better = words.order(one["worse"]), words.order(one["better"])
        gains = {"worker": words.estimate(one["one_more_worker"], 1), "gain": words.estimate(one["better_order"], 1)}
        said = words("worth", worse=worse, better=better, workers=workers, **gains)
        if one["access_ratio"]["value"] is None:
            more = words("no_ratio", better=better)
        else:
            equal = None if one["workers_equal"] is None else one["workers_equal"] * n
            more = words("ratio", ratio=words.estimate(one["access_ratio"], 2), equal=words.number(equal, 1))
        sentences.append(f"{said} {more}")
    return sentences


def curves_of(history: History, most: int) -> dict[str, Any]:
    """Share of people in need found by number of attempts, for each order: ``k``, and per order a list of shares."""
    longest = min(2 * most, history.rows.height)
    shares: dict[str, Any] = {}
    for order in list(history.orders)[:_SIMPLE_ORDERS]:
        curve = k_curve(
            label=history.label,
            rank_score=history.score(order),
            person=history.rows["person_id"].to_numpy(),
            seed=history.seed,
            points=2 * _POINTS,
            replicates=1,  # the plot shows the shares; their intervals stand in the table
        )
        curve = curve.filter(curve["k"] <= longest)
        shares["k"] = curve["k"].to_list()
        shares[order] = [None if value != value else round(value, 4) for value in curve["recall"]]
    return shares


class _Chart(NamedTuple):
    """A drawing with its title and what it shows in words."""

    title: str
    finding: str
    drawing: LinePlot


def render_page(result: Any, language: str) -> str:
    """The page of one language: one file, no scripts; what the plot shows stands in words and in the table."""
    words = PageWords(language)
    heads = [words("attribute"), words("group"), words("need")]
    for one in result["group_scenarios"]:
        name = f"{words.order(one['order'])}, {words.number(one['k'] * result['attempts_per_person'])}"
        if one["allocation"] != "whole":
            name += f", {words('allocations.' + one['allocation'])}"
        heads += [f"{name}: {words('found')}", f"{name}: {words('missed')}"]
    return _template().render(
        language=language,
        words=words,
        result=result,
        title=words("title", need=result["title"][language]),
        chart=_chart(result, words) if len(result["curves"].get("k", ())) > 1 else None,
        heads=scenario_heads(words),
        rows=scenario_rows(result, words),
        worth=worth_sentences(result, words),
        group_heads=heads,
        group_rows=[_group_row(row, words) for row in result["by_group"]],
    )


def _group_row(row: Any, words: PageWords) -> list[str]:
    def said(n: int | None) -> str:
        return words("withheld") if n is None else words.number(n)

    cells = [row["attribute"], row["group"], said(row["need"])]
    for found, missed in zip(row["found"], row["missed"], strict=True):
        cells += [said(found), said(missed)]
    return cells


def _chart(result: Any, words: PageWords) -> _Chart:
    curves, text = result["curves"], Language(words.language)
    orders = [name for name in curves if name != "k"]
    series = [(words.order(order), curves[order]) for order in orders]
    ks = [float(k * result["attempts_per_person"]) for k in curves["k"]]
    ticks = [(k, words.number(k)) for k in (ks[0], ks[-1] / 2, ks[-1])]
    drawing = line_plot(series, ks, ticks, words("plot_axis"), text)
    now = [one for one in result["scenarios"] if one["k"] == result["k"] and one["allocation"] == "whole"]
    shares = [
        words("plot_share", order=words.order(one["order"]), share=text.percent(one["share_found"]["value"], 0))
        for one in now
        if one["order"] in orders and one["share_found"]["value"] is not None
    ]
    finding = words(
        "plot_finding", k=words.number(result["k"] * result["attempts_per_person"]), shares="; ".join(shares)
    )
    return _Chart(words("plot_title"), finding, drawing)


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = FileSystemLoader([_HERE / "templates", _HERE.parent / "ethics" / "templates"])
    return Environment(loader=folders, autoescape=True, undefined=StrictUndefined).get_template("simulation.html.jinja")
