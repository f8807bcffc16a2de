"""The leader's page: by need and unit who was listed, found, reached and missed, at what cost, and what is left out.

One file without scripts. What a picture shows stands in words before it and in a table. No person stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.report_charts import Dot, DotPlot, Tick, shortened
from scoring.leader_texts import LANGUAGES, LeaderWords

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["LANGUAGES", "render_page"]

Facts = Mapping[str, Any]
_HERE = Path(__file__).parent
_LEFT, _RIGHT, _ROW, _LABEL = 14, 346, 44, 26
_MOST_DOTS = 12
"""Rows of a picture that can be read on paper; all of them stand in the table."""
SOON_DAYS = 14


class Sheet(NamedTuple):
    """A table: its id, caption, heads and rows of cells."""

    id: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


class _Chart(NamedTuple):
    """A drawing with its title and what it shows in words."""

    title: str
    finding: str
    drawing: DotPlot


def render_page(facts: Facts, language: str) -> str:
    """The page of one language, from what :func:`serving.week_pages.leader_facts` gathered."""
    words = LeaderWords(language)
    facts = {**facts, "needs": _told_apart(facts["needs"], language)}
    expected = [(_title(need, language), need["expected"]) for need in facts["needs"] if need.get("expected")]
    return _template().render(
        language=language,
        words=words,
        facts=facts,
        title=words("page.title", day=words.day(facts["as_of_date"])),
        overview=_overview(facts, words),
        chart=_chart(words("page.chart_title"), expected, words) if len(expected) > 1 else None,
        sections=[_section(number, need, words) for number, need in enumerate(facts["needs"], 1)],
    )


def _told_apart(needs: Sequence[Facts], language: str) -> list[Facts]:
    """The needs; where two are called alike, each with its id behind its title."""
    titles = [need["title"][language] for need in needs]
    return [
        need
        if titles.count(title) == 1
        else {**need, "title": {**need["title"], language: f"{title} ({need['need']})"}}
        for need, title in zip(needs, titles, strict=True)
    ]


def _title(need: Facts, language: str) -> str:
    return str(need["title"][language])


def _overview(facts: Facts, words: LeaderWords) -> Sheet:
    columns = ("need", "state", "listed", "used", "expected", "found", "missed", "cost", "worker")
    rows = []
    for need in facts["needs"]:
        row = [_title(need, words.language), words(f"states.{need['state']}")]
        if need["list_id"] is None:
            rows.append([*row, *[words("unknown")] * (len(columns) - 2)])
            continue
        past, missed, tried = need["happened"], need["happened"].get("missed"), need["happened"].get("tried")
        rows.append(
            [
                *row,
                words.number(need["listed"]),
                f"{words.number(need['listed'])} / {words.number(need['places'])}",
                words.estimate(need["expected"], 1),
                f"{words.people(past['found'])} / {words.people(past['reached'])}" if tried else words("not_known"),
                words.percent(missed["share"]) if missed else words("not_known"),
                words.estimate(need["cost"]["expected"]),
                words.estimate((need["worth"] or {}).get("one_more_worker"), 1),
            ]
        )
    return Sheet("overview", words("page.overview_caption"), [words(f"page.{column}") for column in columns], rows)


def _section(number: int, need: Facts, words: LeaderWords) -> dict[str, Any]:
    """One need: paragraphs under heads, tables, and a picture of its units."""
    about: dict[str, Any] = {"id": f"need-{number}", "title": _title(need, words.language)}
    about["state"] = words(f"states.{need['state']}")
    about["errors"] = need["errors"]
    about["verdict"] = _verdict(need["verdict"], words)
    if need["list_id"] is None:
        return {**about, "parts": [], "chart": None, "intro": []}
    parts = [
        (words("section.happened"), _happened(need, words), _past_units(number, need, words)),
        (words("section.cost"), _costs(need, words), None),
        (words("section.worker"), [_worker(need, words)], None),
        (
            words("section.left_out"),
            [] if need["left_out"] else [words("section.left_out_nobody")],
            _left_out(number, need, words) if need["left_out"] else None,
        ),
    ]
    units = [(unit["name"], unit["expected"]) for unit in need["units"] if unit["expected"]]
    chart = _chart(words("page.chart_units"), units, words) if len(units) > 1 else None
    intro = _who(need, words)
    return {**about, "intro": intro, "units": _units(number, need, words), "chart": chart, "parts": parts}


def _who(need: Facts, words: LeaderWords) -> list[str]:
    said = {"listed": words.number(need["listed"]), "k": words.number(need["k"])}
    paragraphs = [words("section.who", period=words.period(need["period"]), **said)]
    if need["cohort_about"] is not None:
        paragraphs[0] += " " + words("section.covers", cohort=words.number(need["cohort_about"]))
    if need["attempts_per_person"] > 1:
        paragraphs[0] += " " + words("section.attempts", n=need["attempts_per_person"])
    reached = words.number(need["expected_reached"])
    if need["expected"]:
        paragraphs.append(words("section.expected", expected=words.estimate(need["expected"], 1), reached=reached))
    elif need["is_rule"]:
        paragraphs.append(words("section.expected_rule", reached=reached))
    else:
        paragraphs.append(words("section.expected_unknown"))
    return [*paragraphs, words("section.recall")] if need["objected_since"] else paragraphs


def _units(number: int, need: Facts, words: LeaderWords) -> Sheet:
    columns = ("unit", "places", "people", "share_used", "in_need")
    rows = []
    for unit in need["units"]:
        used = words("unknown") if unit["share_used"] is None else words.number(100 * unit["share_used"])
        in_need = words("withheld") if unit["is_withheld"] else words.estimate(unit["expected"], 1)
        rows.append([unit["name"], words.number(unit["k"]), words.number(unit["listed"]), used, in_need])
    heads = [words(f"section.{column}") for column in columns]
    return Sheet(f"units-{number}", f"{_title(need, words.language)}. {words('section.units')}", heads, rows)


def _past_units(number: int, need: Facts, words: LeaderWords) -> Sheet | None:
    if not need["happened"].get("tried") or len(need["units"]) < 2:
        return None
    columns = ("unit", "people", "reached", "found", "taken_up", "reach", "uptake")
    rows = []
    for unit in need["units"]:
        past = unit["past"]
        counts = [words.people(past[name]) for name in ("listed", "reached", "found", "taken_up")]
        shares = [words.percent(past[name]) if past[name] else words("withheld") for name in ("reach", "uptake")]
        rows.append([unit["name"], *counts, *shares])
    heads = [words(f"section.{column}") for column in columns]
    return Sheet(f"past-{number}", f"{_title(need, words.language)}. {words('section.past_units')}", heads, rows)


def _happened(need: Facts, words: LeaderWords) -> list[str]:
    past = need["happened"]
    if not past["lists"]:
        return [words("section.happened_none", days=past["days"]), words("section.missed_none")]
    first, last = (words.day(past[name]) for name in ("first", "last"))
    span = first if first == last else words("section.span", first=first, last=last)
    n = past["lists"]
    lists = words("section.list_one") if n == 1 else words("section.list_many", n=words.number(n))
    said = [words("section.happened_from", lists=lists, span=span), *_totals(past, words)]
    if not past["tried"]:
        said[1:] = [words("section.happened_unreported")]
    missed = past["missed"]
    if missed is None:
        return [*said, words("section.missed_none")]
    sampled = {name: words.number(missed[name]) for name in ("drawn", "known")}
    sentence = words("section.missed", share=words.percent(missed["share"]), **sampled)
    if missed["people"] is not None:
        people, below = words.estimate(missed["people"]), words.number(missed["below_about"])
        sentence += " " + words("section.missed_people", people=people, below=below)
    return [*said, sentence]


def _totals(past: Facts, words: LeaderWords) -> list[str]:
    """What lists came to; of what is withheld, that it is."""
    counts = {name: words.number(past[name]) for name in ("listed", "tried", "reached", "found", "taken_up")}
    said = []
    for name, share in (("reached", "reach"), ("found", "found_share"), ("taken_up", "uptake")):
        ending = "_withheld" if past[name] is None else "" if past[share] else "_number"
        said.append(words(f"section.happened_{name}{ending}", **counts, share=words.percent(past[share])))
    return [said[0], " ".join(said[1:])]


def _costs(need: Facts, words: LeaderWords) -> list[str]:
    cost = need["cost"]
    if cost["attempt"] is None:
        return [words("section.cost_unknown", service=need["service"])]
    said = [words("section.cost_expected_unknown"), words("section.cost_measured_unknown")]
    if cost["expected"]:
        euros = words.number(cost["attempt"], 2)
        said[0] = words("section.cost_expected", n=words.estimate(cost["expected"]), euros=euros)
    if need["happened"].get("tried") and need["happened"]["found"] is None:
        said[1] = words("section.cost_measured_withheld")
    elif cost["measured"]:
        attempts = words.number(cost["attempts"])
        said[1] = words("section.cost_measured", n=words.estimate(cost["measured"]), attempts=attempts)
    return said


def _worker(need: Facts, words: LeaderWords) -> str:
    worth = need["worth"]
    if worth is None or worth["one_more_worker"]["value"] is None:
        return words("section.worker_unknown")
    n, perfect = (words.estimate(worth[name], 1) for name in ("one_more_worker", "perfect_order"))
    return words("section.worker_value", n=n, perfect=perfect)


def _left_out(number: int, need: Facts, words: LeaderWords) -> Sheet:
    rows = [[words(f"reasons.{one['reason']}"), words.people(one["n"])] for one in need["left_out"]]
    caption = f"{_title(need, words.language)}. {words('section.left_out')}"
    return Sheet(f"left-out-{number}", caption, [words("section.reason"), words("section.left")], rows)


def _verdict(verdict: Facts | None, words: LeaderWords) -> list[str]:
    if verdict is None:
        return []
    if verdict["state"] is None:
        return [words("section.verdict_unknown", id=verdict["id"])]
    state = words(f"verdicts.{verdict['state']}")
    said = [words("section.verdict_said", state=state, day=words.day(verdict["expires_at"]), id=verdict["id"])]
    if not verdict["holds"]:
        return [*said, words("section.verdict_over")]
    if verdict["days_left"] <= SOON_DAYS:
        return [*said, words("section.verdict_soon", n=verdict["days_left"])]
    return said


def _chart(title: str, rows: Sequence[tuple[str, Facts]], words: LeaderWords) -> _Chart:
    """Dots with intervals on an axis of people, the longest rows first."""
    drawn = sorted(rows, key=lambda row: -row[1]["value"])[:_MOST_DOTS]
    most = _round_up(max(one["high"] for _, one in drawn))

    def x(value: float) -> float:
        return round(_LEFT + value / most * (_RIGHT - _LEFT), 1)

    dots = [
        Dot(
            shortened(name, _LABEL),
            words.estimate(one, 1),
            "expected",
            6 + at * _ROW + 14,
            x(one["value"]),
            x(one["low"]),
            x(one["high"]),
        )
        for at, (name, one) in enumerate(drawn)
    ]
    ticks = [Tick(x(part * most), words.number(part * most)) for part in (0.0, 0.5, 1.0)]
    plot = DotPlot(6 + len(drawn) * _ROW + 46, dots, ticks, words("page.chart_axis"), x(0.0), x(0.0))
    parts = "; ".join(words("page.chart_part", name=name, number=words.estimate(one, 1)) for name, one in drawn)
    return _Chart(title, words("page.chart_finding", parts=parts), plot)


def _round_up(value: float) -> int:
    """The end of an axis: an even number of people with one or two digits before the zeros.

    >>> [_round_up(value) for value in (0.0, 7.0, 13.0, 101.0)]
    [2, 8, 14, 120]
    """
    step = 2
    while value > 10 * step:
        step *= 10
    return max(2, int(-(-value // step) * step))


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = FileSystemLoader([_HERE / "templates", _HERE.parent / "ethics" / "templates"])
    return Environment(loader=folders, autoescape=True, undefined=StrictUndefined).get_template("leader.html.jinja")
