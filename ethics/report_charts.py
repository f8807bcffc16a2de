"""Where the marks of a chart stand: dots with intervals, and lines, on a sheet narrow enough for a telephone.

A drawing holds texts and coordinates only; the template writes it as SVG. Everything drawn stands in a table beside it.
Groups differ by marker shape and dash and carry their names, so nothing is said by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ethics.fairness import Estimate
from ethics.report_text import Language

WIDTH = 360
MOST_LINES = 6
_LEFT, _RIGHT, _ROW, _TOP = 14, 346, 44, 6
_PLOT = {"left": 52, "right": 262, "top": 10, "bottom": 200}
_LABEL_GAP = 14


class Dot(NamedTuple):
    """One group: its name, state and value in words, and where its dot and interval stand (None: not drawn)."""

    label: str
    text: str
    state: str
    y: int
    x: float | None = None
    low: float | None = None
    high: float | None = None


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class DotPlot:
    """Dots with intervals over one axis, with the line at 1 and the policy's threshold."""

    height: int
    dots: Sequence[Dot]
    ticks: Sequence[Tick]
    axis: str
    threshold_x: float
    one_x: float
    width: int = WIDTH


class Point(NamedTuple):
    """A point of a line."""

    x: float
    y: float


class Line(NamedTuple):
    """One group's line: its points in pieces (a gap is a point not told), its label, dash and marker."""

    label: str
    pieces: Sequence[Sequence[Point]]
    label_y: float
    dash: str
    marker: int


@dataclass(frozen=True)
class LinePlot:
    """Lines of several groups over one axis, each with its name at its end."""

    height: int
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    axis: str
    mark_x: float | None
    left: int = _PLOT["left"]
    right: int = _PLOT["right"]
    top: int = _PLOT["top"]
    bottom: int = _PLOT["bottom"]
    width: int = WIDTH


_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")


def dot_plot(
    rows: Sequence[tuple[str, str, Estimate | None, str]], threshold: float, axis: str, t: Language
) -> DotPlot:
    """Dots of ratios to everyone's (1).

    Parameters
    ----------
    rows : sequence of (label, state, estimate or None, text)
        None: the group is named, and the text says why it has no dot.
    """
    ends = [found.high for _, _, found, _ in rows if found is not None and math.isfinite(found.high)]
    most = 2.0 if max(ends, default=2.0) <= 2.0 else 3.0

    def x(value: float) -> float:
        return round(_LEFT + min(max(value, 0.0), most) / most * (_RIGHT - _LEFT), 1)

    dots = []
    for position, (label, state, found, text) in enumerate(rows):
        y = _TOP + position * _ROW + 14
        if found is None:
            dots.append(Dot(shortened(label, 30), text, state, y))
        else:
            dots.append(Dot(shortened(label, 30), text, state, y, x(found.value), x(found.low), x(found.high)))
    ticks = [Tick(x(value), t.number(value)) for value in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0) if value <= most]
    return DotPlot(_TOP + len(rows) * _ROW + 46, dots, ticks, axis, x(threshold), x(1.0))


def line_plot(
    series: Sequence[tuple[str, Sequence[float | None]]],
    xs: Sequence[float],
    x_ticks: Sequence[tuple[float, str]],
    axis: str,
    t: Language,
    mark: float | None = None,
) -> LinePlot:
    """Lines of shares, at most ``MOST_LINES`` of them; ``mark`` is where the ranking is cut."""
    values = [y for _, ys in series for y in ys if y is not None]
    most = _round_up(max(values, default=1.0))
    first, last = min(xs), max(xs)

    def x(value: float) -> float:
        return round(_PLOT["left"] + (value - first) / (last - first) * (_PLOT["right"] - _PLOT["left"]), 1)

    def y(share: float) -> float:
        return round(_PLOT["bottom"] - share / most * (_PLOT["bottom"] - _PLOT["top"]), 1)

    drawn = []
    for number, (label, ys) in enumerate(series[:MOST_LINES]):
        pieces: list[list[Point]] = [[]]
        for place, share in zip(xs, ys, strict=True):
            if share is None:
                pieces.append([])
            else:
                pieces[-1].append(Point(x(place), y(share)))
        kept = [piece for piece in pieces if piece]
        if kept:
            drawn.append(Line(shortened(label, 13), kept, kept[-1][-1].y, _DASHES[number], number))
    ticks = [Tick(y(most * part), t.percent(most * part, 0)) for part in (0.0, 0.5, 1.0)]
    return LinePlot(
        _PLOT["bottom"] + 42,
        _apart(drawn),
        [Tick(x(place), text) for place, text in x_ticks],
        ticks,
        axis,
        None if mark is None or not first <= mark <= last else x(mark),
    )


def shortened(text: str, most: int) -> str:
    """A label that has room; the whole name stands in the table."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _apart(lines: Sequence[Line]) -> list[Line]:
    """The same lines with labels that do not lie on one another: pushed down from the top, then up from the bottom."""
    ordered = sorted(lines, key=lambda line: (line.label_y, line.marker))
    places = [line.label_y for line in ordered]
    for at in range(1, len(places)):
        places[at] = max(places[at], places[at - 1] + _LABEL_GAP)
    lowest = float(_PLOT["bottom"])
    for at in reversed(range(len(places))):
        places[at] = min(places[at], lowest)
        lowest = places[at] - _LABEL_GAP
    placed = [line._replace(label_y=round(y, 1)) for line, y in zip(ordered, places, strict=True)]
    return sorted(placed, key=lambda line: line.marker)


def _round_up(share: float) -> float:
    return next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if share <= step), 1.0)
