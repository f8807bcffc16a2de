"""What a model must beat at the same capacity: chance, what the unit does today, and simpler orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from ethics.cells import audit_cut, rank_order
from models.baseline_orders import AREA, BEST_COLUMN, LOGISTIC
from models.metrics import CALIBRATION, RANKING, REPLICATES, Estimate, evaluate, found_difference
from models.need import Need

CHANCE = "chance"
UNIT_RULE = "unit_rule"
SIMPLE = (UNIT_RULE, BEST_COLUMN, AREA)
"""Orders a unit could work by without a model: beside chance, the gate's duel is with these."""

COLUMN_OF = {UNIT_RULE: "rule_score", BEST_COLUMN: BEST_COLUMN, AREA: AREA, LOGISTIC: LOGISTIC}
"""Order → column of judged rows that holds its rank score."""

MOST_CAREFUL_ROWS = 50_000
"""Rows up to which intervals of the table of orders take all replicates; beyond, a fifth: they are narrow then."""


@dataclass(frozen=True)
class Duel:
    """Two orders with the same number of places: people in need found by each, and the difference.

    Attributes
    ----------
    rival : str
        ``chance``, ``unit_rule``, or the name given to another order.
    cut : int
        Places.
    ours, theirs, difference : Estimate
        In people; the difference is ours less theirs on the same replicates, positive when the model finds more.
    """

    rival: str
    cut: int
    ours: Estimate
    theirs: Estimate
    difference: Estimate


def run_baselines(
    *,
    label: np.ndarray,
    ours: np.ndarray,
    rivals: Mapping[str, np.ndarray],
    person: np.ndarray,
    cuts: tuple[int, ...],
    seed: int,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> list[Duel]:
    """Let a model duel with chance and with other orders of the same people.

    Parameters
    ----------
    label : float (n,)
        1, 0, or NaN where the outcome is not known: then those of known outcome stand for all n.
    ours : float (n,)
        The model's rank score, higher first.
    rivals : mapping
        Name → rank score (n,), e.g. ``unit_rule`` by :func:`models.rule.rule_order`. Chance is always there; it is
        computed, not drawn: so many places times the share in need.
    person : (n,)
        Whose row it is; replicates draw persons.
    cuts : tuple of int
        Numbers of places, e.g. the capacity and the audit cut.
    weight : float (n,), optional
        Inverse-probability weights.

    Returns
    -------
    list of Duel
        Per cut: chance, then the rivals in their order.
    """
    orders: dict[str, np.ndarray | None] = {CHANCE: None, **rivals}
    return [
        Duel(
            name,
            cut,
            *found_difference(
                label=label,
                ours=ours,
                theirs=theirs,
                person=person,
                k=cut,
                seed=seed,
                weight=weight,
                replicates=replicates,
            ),
        )
        for cut in cuts
        for name, theirs in orders.items()
    ]


def enough_replicates(n_rows: int, replicates: int) -> int:
    """Replicates for intervals that inform and decide nothing: a fifth beyond :data:`MOST_CAREFUL_ROWS` rows."""
    return replicates if n_rows <= MOST_CAREFUL_ROWS else max(1, replicates // 5)


def rivals_in(rows: pl.DataFrame, orders: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Rank scores of those orders that judged rows hold: name → float64 (n,)."""
    found = {name: COLUMN_OF[name] for name in orders}
    return {
        name: floats(rows[column])
        for name, column in found.items()
        if column in rows.columns and not rows[column].null_count()
    }


def duels(
    rows: pl.DataFrame,
    cuts: tuple[int, ...],
    seed: int,
    replicates: int = REPLICATES,
    *,
    orders: tuple[str, ...] = tuple(COLUMN_OF),
) -> list[Duel]:
    """:func:`run_baselines` of judged rows, with chance and those of ``orders`` that the rows hold."""
    return run_baselines(
        label=floats(rows["label"]),
        ours=floats(rows["rank_score"]),
        rivals=rivals_in(rows, orders),
        person=rows["person_id"].to_numpy(),
        cuts=cuts,
        seed=seed,
        weight=weight_of(rows),
        replicates=replicates,
    )


def audit_cut_of(rows: pl.DataFrame, need: Need, verdict_days: int, audit_recall: float) -> int:
    """The audit cut k* of all judged rows, as the ranking is cut: unknown outcomes take places too."""
    label = floats(rows["label"])[rank_order(floats(rows["rank_score"]), _tie_key(rows))]
    return audit_cut(label, need.listed_k, need.capacity.periods(verdict_days), audit_recall)


def duel_cut(rows: pl.DataFrame, need: Need, verdict_days: int, audit_recall: float) -> int:
    """Places of a duel at k*: k* of everybody, for whom rows of known outcome stand (:mod:`models.metrics`)."""
    return audit_cut_of(rows, need, verdict_days, audit_recall)


def _tie_key(rows: pl.DataFrame) -> pl.Series | None:
    return rows["tie_key"] if "tie_key" in rows.columns else None


def floats(column: pl.Series) -> np.ndarray:
    """A column as float64, null as NaN."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def weight_of(rows: pl.DataFrame) -> np.ndarray | None:
    """Weights of rows that have any other than 1; None otherwise."""
    if "weight" not in rows.columns:
        return None
    weight = floats(rows["weight"])
    return None if (weight == 1).all() else weight


# ---- every order in one table --------------------------------------------------------------------------------------


def baseline_table(
    rows: pl.DataFrame,
    k: int,
    seed: int,
    *,
    words: Mapping[str, str],
    itself: str = "model",
    audit_places: int | None = None,
    replicates: int = REPLICATES,
) -> pl.DataFrame:
    """How well every order does on the same rows at the same capacity.

    Parameters
    ----------
    rows : polars.DataFrame
        One row per person: ``person_id``, ``label``, ``rank_score``, ``probability``, ``rule_score``, and where there
        are such orders ``best_column``, ``area`` and ``logistic`` (log odds); ``weight``.
    k : int
        Places.
    seed : int
    words : mapping
        Order → what it is.
    itself : str
        What the first row is called: ``model``, or ``rule``.
    audit_places : int, optional
        Places of the duel at the audit cut; see :func:`duel_cut`.

    Returns
    -------
    polars.DataFrame
        ``order`` (the first is the model itself), ``what``, then ``precision_at_capacity``, ``recall_at_capacity``,
        ``auc``, ``average_precision``, ``calibration_error``, ``calibration_slope``, ``calibration_intercept`` (null
        for what promises no probability), ``found_at_capacity`` (people in need), ``difference_found`` (the model's
        less the order's) and ``difference_at_audit_cut`` (likewise), each with ``_low`` and ``_high``; and
        ``audit_places``.
    """
    replicates = enough_replicates(len(rows), replicates)
    orders = (UNIT_RULE, BEST_COLUMN, AREA, LOGISTIC) if itself == "model" else ()
    measured = duels(rows, (k,), seed, replicates, orders=orders)
    at_audit = [] if audit_places is None else duels(rows, (audit_places,), seed, replicates, orders=orders)
    difference_there = {duel.rival: duel.difference for duel in at_audit}
    nothing, nobody = Estimate(np.nan, np.nan, np.nan), Estimate(0.0, 0.0, 0.0)
    lines: list[dict[str, str | Estimate]] = [
        {
            "order": itself,
            "what": words.get(itself, ""),
            **_figures(rows, floats(rows["rank_score"]), _probability(rows), k, seed, replicates),
            "found_at_capacity": measured[0].ours,
            "difference_found": nobody,
            "difference_at_audit_cut": nobody if at_audit else nothing,
        }
    ]
    for duel in measured:
        score = np.zeros(len(rows)) if duel.rival == CHANCE else floats(rows[COLUMN_OF[duel.rival]])
        probability = 1 / (1 + np.exp(-score)) if duel.rival == LOGISTIC else None
        lines.append(
            {
                "order": duel.rival,
                "what": words.get(duel.rival, ""),
                **_figures(rows, score, probability, k, seed, replicates),
                "found_at_capacity": duel.theirs,
                "difference_found": duel.difference,
                "difference_at_audit_cut": difference_there.get(duel.rival, nothing),
            }
        )
    table = pl.DataFrame([_flat(line) for line in lines], schema=_TABLE, orient="row")
    return table.with_columns(pl.lit(audit_places, dtype=pl.Int64).alias("audit_places"))


_ESTIMATES = (
    *RANKING,
    *CALIBRATION,
    "found_at_capacity",
    "difference_found",
    "difference_at_audit_cut",
)
_TABLE = {
    "order": pl.String,
    "what": pl.String,
    **{f"{name}{end}": pl.Float64 for name in _ESTIMATES for end in ("", "_low", "_high")},
}
NO_BASELINES = pl.DataFrame(schema={**_TABLE, "audit_places": pl.Int64})
"""The table where no outcome is known: a rule without a label."""


def _figures(
    rows: pl.DataFrame, score: np.ndarray, probability: np.ndarray | None, k: int, seed: int, replicates: int
) -> dict[str, Estimate]:
    return evaluate(
        label=floats(rows["label"]),
        rank_score=score,
        probability=probability,
        person=rows["person_id"].to_numpy(),
        k=k,
        seed=seed,
        weight=weight_of(rows),
        replicates=replicates,
    )


def _probability(rows: pl.DataFrame) -> np.ndarray | None:
    return None if rows["probability"].null_count() else floats(rows["probability"])


def _flat(line: Mapping[str, str | Estimate]) -> tuple[str | float | None, ...]:
    values: list[str | float | None] = [str(line["order"]), str(line["what"])]
    for name in _ESTIMATES:
        found = line[name]
        assert isinstance(found, Estimate)
        values += [float(part) if np.isfinite(part) else None for part in found]
    return tuple(values)


def advise(table: pl.DataFrame, words: Mapping[str, str]) -> str | None:
    """What to use instead of a model that does not find more at the audit cut than something simpler; None if it does.

    Parameters
    ----------
    table : polars.DataFrame
        :func:`baseline_table` with a duel at the audit cut.
    words : mapping
        Order → what it is; that of ``unit_rule`` and ``best_column`` is a written order.

    Returns
    -------
    str or None
        With the figures of the rival that comes out best against the model, and how to write it as a need.
    """
    column = "difference_at_audit_cut"
    fought = {row["order"]: row for row in table.iter_rows(named=True) if row[f"{column}_low"] is not None}
    if CHANCE in fought and fought[CHANCE][f"{column}_low"] <= 0:
        return f"Use no model: {_said(fought[CHANCE], column, 'chance')}."
    equal = [fought[name] for name in SIMPLE if name in fought and fought[name][f"{column}_low"] <= 0]
    if not equal:
        return None
    best = min(equal, key=lambda row: float(row[column]))
    name = str(best["order"])
    called = {UNIT_RULE: "the unit's own rule", BEST_COLUMN: "the best single column", AREA: "the area alone"}[name]
    said = f"Use the simple rule: {_said(best, column, called)}."
    if name == AREA:
        return f"{said} Offer the help in the districts where need is likeliest, or find features that say more."
    return f'{said} Write it as a need of kind = "rule" with order = "{words[name]}".'


def _said(row: Mapping[str, float], column: str, rival: str) -> str:
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    tells = "finds fewer people in need than" if high < 0 else "does not clearly find more people in need than"
    gap = f"{_signed(value)}, 95 % {_signed(low)} to {_signed(high)}"
    return f"in {row['audit_places']:,} places the model {tells} {rival} ({gap})"


def _signed(people: float) -> str:
    """A difference in people with its sign: whole ones from ten on, one decimal below, no sign before 0."""
    rounded = round(people) + 0.0 if abs(people) >= 9.95 else round(people, 1) + 0.0  # + 0.0: no -0
    return "0" if rounded == 0 else f"{rounded:+,.{0 if abs(people) >= 9.95 else 1}f}"
