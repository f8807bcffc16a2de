"""What a run found, in one sentence each: titles of plots, lines of the model card. Nothing a table does not show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from models.metrics import Estimate
from models.splits import JUDGED, TRAIN


def of_split(timeline: pl.DataFrame, kind: str) -> str:
    """What was tested, and whether a label that was learnt from reaches a test date.

    Parameters
    ----------
    timeline : polars.DataFrame
        From :meth:`models.splits.Split.timeline`.
    kind : str
        Of the split.
    """
    if kind == "person":
        return "Other persons of the same dates are tested: what a model could do at best, never approved"
    judged = min(timeline.filter(pl.col("role") == JUDGED)["date"].to_list(), default="no date")
    if kind == "rule":
        return f"A written rule learns from nothing; it is measured on {judged}"
    reaching = timeline.filter((pl.col("role") == TRAIN) & (pl.col("label_ends") > pl.col("origin"))).height
    said = "no label that was learnt from reaches the test date" if not reaching else f"{reaching} labels reach it"
    return f"{counted(timeline['origin'].n_unique(), 'origin')}: {said}; judged from {judged} on"


def of_contacts(facts: Mapping[str, Any]) -> str:
    """What contacts of the service made unknown (:attr:`models.experiment_layout.Layout.contact_facts`).

    >>> of_contacts({"asked": "censor", "used": "censor", "train_rows": 1, "judged_rows": 0, "represented": None})
    'Contacts by the service made the label of 1 training row and 0 judged rows unknown'
    """
    said = "Contacts by the service made the label of "
    said += f"{counted(facts['train_rows'], 'training row')} and {counted(facts['judged_rows'], 'judged row')} unknown"
    if facts["asked"] != "ipw" or facts["represented"] is None:
        return said
    share = f"{max(0.0, facts['represented']):.0%}"
    if facts["used"] == "ipw":
        return f"{said}; the others weigh for {share} of them"
    return (
        f"{said}; who is contacted is nearly decided by the columns (the others could stand for {share} of them), so "
        "no weights are used"
    )


def of_ranking(
    curve: pl.DataFrame,
    k: int,
    rule: pl.DataFrame | None = None,
    *,
    ours: Estimate | None = None,
    theirs: float | None = None,
) -> str:
    """Precision at capacity beside chance and the unit's rule.

    Parameters
    ----------
    curve, rule : polars.DataFrame
        From :func:`models.curves.k_curve`.
    k : int
        Capacity.
    ours, theirs : Estimate, float, optional
        Precision at capacity of the model and of the rule; read at the nearest point of the curves if left out.
    """
    nearest, listed = k, "the list"
    if ours is None:
        nearest = nearest_k(curve, k)
        listed = listed if nearest == k else f"the first {nearest}"
        ours = Estimate(*(at_k(curve, f"precision{end}", nearest) for end in ("", "_low", "_high")))
    if theirs is None and rule is not None:
        theirs = at_k(rule, "precision", nearest)
    everyone = at_k(curve, "precision", int(curve["k"].to_numpy().max()))
    of_rule = "" if theirs is None else f", the unit's rule {theirs:.1%}"
    return (
        f"{ours.value:.1%} of {listed} are in need ({ours.low:.1%}–{ours.high:.1%}); by chance {everyone:.1%}{of_rule}"
    )


def of_reliability(bins: pl.DataFrame, slope: float, intercept: float) -> str:
    """How many bins hold what was promised; a frame of :func:`models.curves.reliability`."""
    inside = int(((bins["low"] <= bins["promised"]) & (bins["promised"] <= bins["high"])).sum())
    said = f"In {inside} of {counted(bins.height, 'bin')} the interval holds what was promised"
    return f"{said} (slope {slope:.2f}, intercept {intercept:+.2f})"


def of_net_benefit(curve: pl.DataFrame) -> str:
    """Where contacting by the model is better; a frame of :func:`models.curves.net_benefit`."""
    above = curve.filter(pl.col("low") > pl.max_horizontal("everyone", "nobody"))["threshold"].to_list()
    if not above:
        return "At no threshold does the interval lie above contacting everyone or nobody"
    return (
        f"At {len(above)} of {counted(curve.height, 'threshold')}, from {min(above):.1%} to {max(above):.1%}, the "
        "interval lies above contacting everyone or nobody"
    )


def of_learning_curve(curve: pl.DataFrame) -> str:
    """What the last share of persons added; a frame of :func:`models.learning_shares.learning_curve`."""
    known = curve.drop_nulls("auc")
    if known.height < 2:
        return "Too few persons for a learning curve"
    before, after = known.row(-2, named=True), known.row(-1, named=True)
    overlap = "overlap" if after["auc_low"] <= before["auc_high"] else "do not overlap"
    return (
        f"From {before['share']:.0%} to {after['share']:.0%} of the persons the AUC changes by "
        f"{after['auc'] - before['auc']:+.3f}; the intervals {overlap}"
    )


def of_baselines(table: pl.DataFrame) -> str:
    """The model beside the order that comes nearest to it or beats it the most; ``Experiment.baselines``."""
    found = table["found_at_capacity"][0]
    if found is None or not math.isfinite(found):
        return "No outcome is known, so nobody can be counted as found"
    said = "1 person in need is found" if round(found) == 1 else f"{found:,.0f} people in need are found"
    rivals = table.slice(1).filter(pl.col("difference_found").is_finite().fill_null(False))
    if rivals.is_empty():
        return said
    hardest = rivals.sort("difference_found", maintain_order=True).row(0, named=True)
    less, low, high = (hardest[f"difference_found{end}"] for end in ("", "_low", "_high"))
    tells = "no clear difference from"
    if low is not None and low > 0:
        tells = "more than by"
    elif high is not None and high < 0:
        tells = "fewer than by"
    bounds = "" if low is None or high is None else f", {low:+,.0f} to {high:+,.0f}"
    return f"{said}; {tells} the hardest rival, {plain_order(hardest['order'])} ({less:+,.0f}{bounds})"


def of_origins(by_date: pl.DataFrame) -> str:
    """Range of the AUC over test dates; a frame with ``value``."""
    values = by_date["value"].drop_nans().drop_nulls().to_list()
    if not values:
        return "No test date determines the AUC"
    if len(values) == 1:
        return f"AUC {values[0]:.3f} on one test date"
    return f"AUC {min(values):.3f} to {max(values):.3f} over {counted(len(values), 'test date')}"


def of_regret(groups: pl.DataFrame) -> str:
    """How near the chosen group came to the best of each origin; a frame of :func:`models.regret.choose`."""
    chosen = groups.filter("chosen").row(0, named=True)
    return (
        f"Chosen of {counted(groups.height, 'group')}: {chosen['group']}, on average {chosen['mean_regret']:.3g} below "
        f"the best of each origin, at worst {chosen['worst_regret']:.3g}"
    )


def of_attrition(steps: pl.DataFrame) -> str:
    """How many rows are left, and what took the most; steps of one part of ``Experiment.attrition``."""
    first, last = steps["rows"][0], steps["rows"][-1]
    most = steps.sort("rows_lost", descending=True, maintain_order=True).row(0, named=True)
    if not most["rows_lost"]:
        return f"All {first:,} rows are left"
    return f"{last:,} of {first:,} rows are left; {most['rows_lost']:,} are lost to one step: {shortened(most['rule'])}"


def of_feature_value(table: pl.DataFrame) -> str:
    """How many features are missed; a frame of :func:`models.feature_refits.feature_value`."""
    without = table.filter(pl.col("change") == "without")
    missed = without.filter(pl.col("auc_difference_high") < 0).height
    return f"{missed} of {counted(without.height, 'feature')} clearly missed when left out"


def at_k(curve: pl.DataFrame, column: str, k: int) -> float:
    """A figure of a curve at a length of the list, between points by a straight line."""
    return float(np.interp(k, curve["k"].to_numpy(), curve[column].cast(pl.Float64).to_numpy()))


def nearest_k(curve: pl.DataFrame, k: int) -> int:
    """The length of the list, among those of a curve, that is nearest to ``k``."""
    lengths = curve["k"].to_numpy()
    return int(lengths[np.abs(lengths - k).argmin()])


def plain_order(name: str) -> str:
    """The name of an order as people say it.

    >>> plain_order("unit_rule"), plain_order("best_column")
    ("the unit's rule", 'best column')
    """
    return "the unit's rule" if name == "unit_rule" else name.replace("_", " ")


def shortened(text: str, longest: int = 58) -> str:
    """A text that fits on one line of a plot."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def counted(n: int, thing: str) -> str:
    """So many things.

    >>> counted(1, "origin"), counted(2000, "origin")
    ('1 origin', '2,000 origins')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"
