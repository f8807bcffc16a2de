"""What a run found, as plots for MLflow: each says its finding in its title and shows every interval.

Figures are drawn without pyplot's hidden state, from frames that are tables of the run too. Colours are those of Okabe
and Ito (2008), which people with any colour vision tell apart; nothing is told by colour alone. The same frame gives
the same bytes. The title is also the alternative text inside the PNG.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from models import findings
from models.splits import JUDGED, NOT_MATURE, NOT_USED, TEST, TRAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from models.metrics import Estimate


BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#595959"
_DPI = 110
_MOST_BARS = 25
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "",
}
_ROLES = {
    NOT_USED: (GREY, "x", 4),
    NOT_MATURE: (GREY, ".", 4),
    TRAIN: (BLUE, "|", 11),
    TEST: (ORANGE, "o", 7),
    JUDGED: (RED, "D", 7),
}
_ROLE_NAMES = {
    TRAIN: "learnt from",
    TEST: "tested",
    JUDGED: "tested, and judged",
    NOT_USED: "label not complete in time",
}


def _drawn(draw: Callable[..., tuple[Figure, str]]) -> Callable[..., bytes]:
    """Make a function that draws a figure and names its finding give the bytes of a PNG."""

    @wraps(draw)
    def as_png(*arguments: Any, **named: Any) -> bytes:
        import matplotlib

        # Whoever draws may have settings of their own; a plot must not depend on them.
        default: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
        style = {key: value for key, value in default.items() if not key.startswith("backend")} | _STYLE
        with matplotlib.rc_context(style):
            figure, finding = draw(*arguments, **named)
            figure.suptitle(finding, x=0.01, ha="left", fontweight="bold", wrap=True)
            page = io.BytesIO()
            figure.savefig(page, format="png", dpi=_DPI, metadata={"Software": None, "Description": finding})
            return page.getvalue()

    return as_png


@_drawn
def split_timeline(timeline: pl.DataFrame, kind: str, extract_date: date) -> tuple[Figure, str]:
    """What each as-of date serves for at each origin, and until when its label was open.

    Parameters
    ----------
    timeline : polars.DataFrame
        From :meth:`models.splits.Split.timeline`.
    kind : str
        Of the split.
    extract_date : date
    """
    origins = timeline["origin"].unique().sort().to_list()
    figure, axes = _figure(width=8.8, height=1.9 + 0.42 * len(origins))
    for role, (color, marker, size) in _ROLES.items():
        rows = timeline.filter(pl.col("role") == role)
        at = [origins.index(origin) for origin in rows["origin"].to_list()]
        if not at:
            continue
        if role in (TRAIN, TEST, JUDGED):
            lift = 0.16 if role == TRAIN else -0.16  # a label that was learnt from and one that is tested, side by side
            axes.hlines([row - lift for row in at], rows["date"], rows["label_ends"], color=color, lw=5, alpha=0.3)
        axes.plot(rows["date"], at, marker, color=color, ms=size, ls="none", label=_ROLE_NAMES.get(role, role))
    axes.axvline(extract_date, color=GREY, ls=":", lw=1.2, label="extract date")
    axes.set_yticks(range(len(origins)), [f"origin {origin}" for origin in origins])
    axes.set_ylim(len(origins) - 0.5, -0.5)
    axes.set_xlabel("as-of date (marks) and its label window, reporting delay included (bars)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure, findings.of_split(timeline, kind)


@_drawn
def ranking_curve(
    curve: pl.DataFrame,
    k: int,
    rule: pl.DataFrame | None = None,
    *,
    ours: Estimate | None = None,
    theirs: float | None = None,
) -> tuple[Figure, str]:
    """Precision, recall and lift of every length of the list, beside chance and the unit's rule.

    Parameters
    ----------
    curve : polars.DataFrame
        From :func:`models.curves.k_curve`, of the model.
    k : int
        Capacity, per period.
    rule : polars.DataFrame, optional
        The same of the unit's rule.
    ours, theirs : Estimate, float, optional
        Precision at capacity of both, for the title, where it is known apart from the curves.
    """
    figure, (left, middle, right) = _figure(width=11.5, height=4.4, panels=3)
    places = curve["k"].to_numpy()
    for axes, measure, unit in ((left, "precision", "share of the list"), (middle, "recall", "share of those in need"),
                                (right, "lift", "times chance")):  # fmt: skip
        band = (curve[f"{measure}_low"], curve[f"{measure}_high"])
        axes.fill_between(places, *band, color=BLUE, alpha=0.25, lw=0, label="95 % interval")
        for edge in ("worst", "best"):
            tied = "ties at worst and best" if edge == "worst" else None
            axes.plot(places, curve[f"{measure}_{edge}"], color=BLUE, lw=0.8, ls=":", label=tied)
        axes.plot(places, curve[measure], color=BLUE, label="this model")
        if rule is not None:
            axes.plot(rule["k"], rule[measure], color=ORANGE, ls="--", label="the unit's rule")
        axes.axvline(k, color=GREY, ls=":", lw=1, label=f"capacity, {k}")
        _logarithmic(axes)
        axes.set_xlabel("k, places on the list of a period")
        axes.set_ylabel(f"{measure} ({unit})")
        axes.set_ylim(bottom=0)
    everyone = findings.at_k(curve, "precision", int(places.max()))
    left.axhline(everyone, color=GREEN, ls="-.", lw=1.2, label="chance")
    middle.plot(places, curve["share"], color=GREEN, ls="-.", lw=1.2)
    right.axhline(1, color=GREEN, ls="-.", lw=1.2)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=6)
    return figure, findings.of_ranking(curve, k, rule, ours=ours, theirs=theirs)


@_drawn
def reliability_diagram(bins: pl.DataFrame, slope: float, intercept: float) -> tuple[Figure, str]:
    """Promised beside observed shares of need, over equally filled bins of probability.

    Parameters
    ----------
    bins : polars.DataFrame
        From :func:`models.curves.reliability`.
    slope, intercept : float
        Of calibration, for the title.
    """
    figure, axes = _figure(width=5.6, height=5.2)
    observed = bins["observed"].to_numpy()
    _error_bars(axes, bins["promised"].to_numpy(), observed, bins["low"], bins["high"], along="y")
    top = 1.06 * float(np.nanmax([*bins["high"], *bins["promised"]]))
    axes.plot([0, top], [0, top], color=GREY, ls=":", label="promised as observed")
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.set_xlabel("promised probability of need, mean of the bin")
    axes.set_ylabel("observed share in need, 95 % interval")
    axes.legend(loc="upper left")
    return figure, findings.of_reliability(bins, slope, intercept)


@_drawn
def net_benefit_curve(curve: pl.DataFrame, threshold_of_interest: float | None = None) -> tuple[Figure, str]:
    """Net benefit of contacting those above each threshold (Vickers and Elkin 2006).

    Parameters
    ----------
    curve : polars.DataFrame
        From :func:`models.curves.net_benefit`.
    threshold_of_interest : float, optional
        The probability at which the capacity cuts.
    """
    figure, axes = _figure()
    at = curve["threshold"].to_numpy()
    axes.fill_between(at, curve["low"], curve["high"], color=BLUE, alpha=0.25, lw=0, label="95 % interval")
    axes.plot(at, curve["model"], color=BLUE, label="this model")
    axes.plot(at, curve["everyone"], color=ORANGE, ls="--", label="contact everyone")
    axes.plot(at, curve["nobody"], color=GREY, ls=":", label="contact nobody")
    highest = float(np.nanmax(curve["high"].to_numpy()))
    axes.set_ylim(bottom=-0.35 * max(highest, 1e-6), top=1.1 * max(highest, 1e-6))
    axes.set_xlabel("threshold: probability of need from which a contact is worth its cost")
    axes.set_ylabel("net benefit (people in need found per person,\nless needless contacts at their cost)")
    if threshold_of_interest is not None and at.min() <= threshold_of_interest <= at.max():
        axes.axvline(threshold_of_interest, color=GREY, lw=1, ls="-.", label="where the capacity cuts")
    axes.legend()
    return figure, findings.of_net_benefit(curve)


@_drawn
def learning_curve_plot(curve: pl.DataFrame) -> tuple[Figure, str]:
    """What more persons to learn from would bring; a frame of :func:`models.learning_shares.learning_curve`."""
    figure, axes = _figure()
    persons, auc, low, high = curve["persons"].to_numpy(), *_estimates(curve, "auc")
    _error_bars(axes, persons, auc, low, high, along="y")
    axes.plot(persons, auc, color=BLUE, lw=1)
    axes.set_xscale("log")
    axes.set_xticks(persons, [f"{n:,}" for n in persons])
    axes.minorticks_off()
    axes.set_xlabel("persons to learn from")
    axes.set_ylabel("AUC on the same judged rows, 95 % interval")
    return figure, findings.of_learning_curve(curve)


@_drawn
def baselines_plot(table: pl.DataFrame, k: int) -> tuple[Figure, str]:
    """People in need found by each order with the same number of places.

    Parameters
    ----------
    table : polars.DataFrame
        ``Experiment.baselines``: the model itself first.
    k : int
        Capacity, per period.
    """
    table = table.head(_MOST_BARS)
    figure, axes = _figure(width=8.2, height=1.7 + 0.36 * table.height)
    found, low, high = _estimates(table, "found_at_capacity")
    names = [findings.plain_order(name) for name in table["order"].to_list()]
    rows = np.arange(table.height)
    _error_bars(axes, found, rows, low, high, along="x")
    axes.axvline(found[0], color=BLUE, lw=1, ls=":")
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(f"people in need found in {k} places, among the judged; 95 % interval")
    return figure, findings.of_baselines(table)


@_drawn
def origins_plot(by_date: pl.DataFrame) -> tuple[Figure, str]:
    """AUC of each test date; a frame of ``test_date``, ``value``, ``low``, ``high``."""
    figure, axes = _figure(height=3.6)
    rows = np.arange(by_date.height)
    _error_bars(axes, rows, by_date["value"].to_numpy(), by_date["low"], by_date["high"], along="y")
    axes.axhline(0.5, color=GREEN, ls="-.", lw=1.2, label="chance")
    axes.set_xticks(rows, list(map(str, by_date["test_date"].to_list())))
    axes.set_xlim(-0.6, by_date.height - 0.4)
    axes.set_ylim(top=1)
    axes.set_xlabel("test date")
    axes.set_ylabel("AUC, 95 % interval")
    axes.legend(loc="lower right")
    return figure, findings.of_origins(by_date)


@_drawn
def regret_plot(figures: pl.DataFrame, groups: pl.DataFrame, what: str) -> tuple[Figure, str]:
    """How far each group of models was from the best of its time, origin by origin.

    Parameters
    ----------
    figures : polars.DataFrame
        ``group``, ``origin``, ``figure`` (higher is better).
    groups : polars.DataFrame
        ``group``, ``mean_regret``, ``chosen``: of :func:`models.selection.choose`.
    what : str
        What ``figure`` is, with its unit.
    """
    figure, axes = _figure(height=4.6)
    best = figures.with_columns((pl.col("figure").max().over("origin") - pl.col("figure")).alias("regret"))
    origins = sorted(best["origin"].unique().to_list())
    chosen = groups.filter("chosen")["group"].to_list()
    shown = groups.head(_MOST_BARS)["group"].to_list()  # the chosen one stands first
    for group in sorted(shown, key=lambda name: name in chosen):
        own = best.filter(pl.col("group") == group).sort("origin")
        where = [origins.index(origin) for origin in own["origin"].to_list()]
        if group in chosen:
            axes.plot(where, own["regret"], "-D", color=BLUE, zorder=3, label="chosen")
        else:
            axes.plot(where, own["regret"], "-o", color=GREY, alpha=0.45, lw=1, ms=3, label=_once(axes, "other groups"))
    axes.set_xticks(range(len(origins)), list(map(str, origins)))
    axes.set_xlim(-0.3, len(origins) - 0.7)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("inner origin, known before anybody was judged")
    axes.set_ylabel(f"regret: {what}, below the best of that origin")
    axes.legend()
    return figure, findings.of_regret(groups)


@_drawn
def attrition_plot(steps: pl.DataFrame) -> tuple[Figure, str]:
    """How many rows each step of the cohort left, and how many it took.

    Parameters
    ----------
    steps : polars.DataFrame
        ``rule``, ``rows``, ``rows_lost``: of one part of ``Experiment.attrition``.
    """
    figure, axes = _figure(width=9.5, height=1.5 + 0.36 * steps.height)
    at = np.arange(steps.height)
    axes.barh(at, steps["rows"], color=BLUE, label="left")
    axes.barh(at, steps["rows_lost"], left=steps["rows"], color=ORANGE, alpha=0.6, hatch="//", lw=0, label="lost")
    widest = max(float((steps["rows"] + steps["rows_lost"]).max() or 1), 1.0)  # type: ignore[arg-type]
    for i, (rows, lost) in enumerate(steps.select("rows", "rows_lost").iter_rows()):
        axes.text(rows + lost + 0.01 * widest, i, f"{rows:,}", va="center")
    axes.set_yticks(at, [findings.shortened(rule) for rule in steps["rule"].to_list()])
    axes.set_xlim(0, 1.14 * widest)
    axes.invert_yaxis()
    axes.set_xlabel("rows (person and as-of date)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right")
    return figure, findings.of_attrition(steps)


@_drawn
def feature_value_plot(table: pl.DataFrame) -> tuple[Figure, str]:
    """What each feature is worth: refitted without it, and with it alone.

    Parameters
    ----------
    table : polars.DataFrame
        From :func:`models.feature_refits.feature_value`.
    """
    without = table.filter(pl.col("change") == "without").head(_MOST_BARS)
    figure, axes = _figure(height=1.8 + 0.36 * without.height)
    worth, low, high = _estimates(without, "auc_difference")
    order = np.argsort(worth, kind="stable")  # the AUC falls most without the most valuable
    rows = np.arange(without.height)
    _error_bars(axes, worth[order], rows, low[order], high[order], along="x")
    axes.axvline(0, color=GREY, ls=":")
    axes.set_yticks(rows, [without["feature"][int(i)] for i in order])
    axes.invert_yaxis()
    axes.set_xlabel("change of the AUC when refitted without the feature, 95 % interval")
    return figure, findings.of_feature_value(table)


# ---- how they are drawn --------------------------------------------------------------------------------------------


def _figure(width: float = 7.6, height: float = 4.4, panels: int = 1) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels)


def _error_bars(axes: Axes, x: Any, y: Any, low: Any, high: Any, along: str) -> None:
    """Dots with their intervals along one axis; an interval that is not determined is left out."""
    value = np.asarray(x if along == "x" else y, dtype=np.float64)
    reach = np.array([value - np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64) - value])
    reach = np.where(np.isfinite(reach), np.maximum(reach, 0), 0)
    bars: dict[str, Any] = {"xerr": reach} if along == "x" else {"yerr": reach}
    axes.errorbar(x, y, **bars, fmt="o", color=BLUE, ecolor=BLUE, capsize=3, ms=6, lw=1.4)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis of counts, its ticks as plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _once(axes: Axes, name: str) -> str | None:
    """A name for the legend, unless it is there already."""
    return None if name in axes.get_legend_handles_labels()[1] else name


def _estimates(frame: pl.DataFrame, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, low and high of a measure: float64 (n,) each, NaN where there is none."""
    value, low, high = (
        frame[f"{measure}{end}"].cast(pl.Float64).fill_null(float("nan")).to_numpy() for end in ("", "_low", "_high")
    )
    return value, low, high
