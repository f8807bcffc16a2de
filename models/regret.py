"""Which group of models to keep, by how much was lost over time for not having kept another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from ethics.refusals import BadInput, Fault
from models.metrics import Estimate

DEFAULT = "default"
"""Name of the group with the untuned parameters."""

_DIGITS = 12  # what rounding of sums adds must not break a tie
_TAIL = 0.025
_UNKNOWN = ("", ", not all of them finite")


def choose(figures: pl.DataFrame, *, simplest: Sequence[str] = (DEFAULT,), tied: Collection[str] = ()) -> pl.DataFrame:
    """Choose among model groups by regret over time.

    The regret of a group at an origin is the best figure any group had there less its own: what was lost, that time,
    by keeping this group. The group with the lowest mean regret is the best; a simpler one that cannot be told from it
    is chosen in its place. (Source: dssg/triage, model selection by regret; "distance from best".)

    Parameters
    ----------
    figures : pl.DataFrame
        One row per group and origin: ``group`` (str), ``origin``, ``figure`` (float, higher is better), and where
        wanted ``tie_break`` (float, higher is better), whose mean orders groups of equal mean regret.
    simplest : sequence of str
        Groups from the simplest on; those not named come after them and are equally simple.
    tied : collection of str
        Groups known not to differ from the best, e.g. by the interval of a paired difference.

    Returns
    -------
    pl.DataFrame
        ``group``, ``mean_regret``, ``worst_regret``, ``chosen``: the chosen group first, the others by mean regret,
        then by simplicity, tie-break and name.

    Raises
    ------
    BadInput
        Missing columns; no rows; a group without a figure at some origin, or with two.

    >>> figures = pl.DataFrame(
    ...     {
    ...         "group": ["default", "default", "deep", "deep"],
    ...         "origin": ["2023", "2024", "2023", "2024"],
    ...         "figure": [0.30, 0.32, 0.36, 0.30],
    ...     }
    ... )
    >>> [(row["group"], round(row["mean_regret"], 2), row["chosen"]) for row in choose(figures).to_dicts()]
    [('deep', 0.01, True), ('default', 0.03, False)]
    >>> choose(figures, tied=["default"])["group"].to_list()
    ['default', 'deep']
    """
    _refuse_uneven(figures)
    rank = {group: i for i, group in enumerate(simplest)}
    regret = pl.col("figure").max().over("origin") - pl.col("figure")
    tie_break = pl.col("tie_break").mean() if "tie_break" in figures.columns else pl.lit(0.0)
    groups = (
        figures.with_columns(regret=regret)
        .group_by("group")
        .agg(
            mean_regret=pl.col("regret").mean().round(_DIGITS),
            worst_regret=pl.col("regret").max().round(_DIGITS),
            tie_break=-tie_break.round(_DIGITS),
        )
        .with_columns(simplicity=pl.col("group").replace_strict(rank, default=len(rank), return_dtype=pl.Int64))
        .sort("mean_regret", "simplicity", "tie_break", "group")
    )
    best = groups["group"][0]
    chosen = groups.filter(pl.col("group").is_in([best, *tied])).sort(
        "simplicity", "mean_regret", "tie_break", "group"
    )["group"][0]
    return (
        groups.with_columns(chosen=pl.col("group") == chosen)
        .sort("chosen", descending=True, maintain_order=True)
        .select("group", "mean_regret", "worst_regret", "chosen")
    )


def _refuse_uneven(figures: pl.DataFrame) -> None:
    """Regret compares groups at the same origins: each must have one figure at each."""
    if missing := sorted({"group", "origin", "figure"} - set(figures.columns)):
        raise BadInput(Fault("figures", f"lack {', '.join(missing)}", "Give the columns group, origin and figure"))
    if not figures.height:
        raise BadInput(Fault("figures", "hold no group", "Give one row per group and origin"))
    n_origins = figures["origin"].n_unique()
    counts = figures.group_by("group").agg(
        n=pl.len(),
        origins=pl.col("origin").n_unique(),
        finite=pl.col("figure").is_finite().fill_null(False).all(),
    )
    uneven = counts.filter((pl.col("n") != n_origins) | (pl.col("origins") != n_origins) | ~pl.col("finite"))
    faults = [
        Fault(
            f"figures: {row['group']!r}",
            f"has {row['n']} figures at {row['origins']} of the {n_origins} origins{_UNKNOWN[not row['finite']]}",
            "Give each group one finite figure per origin, or leave it out",
        )
        for row in uneven.sort("group").to_dicts()
    ]
    if faults:
        raise BadInput(*faults)


def of_the_best(difference: Estimate, n_compared: int) -> Estimate:
    """The interval made as wide as it must be for the best of so many settings, each compared with the default.

    The best of many that are all alike looks better than one of them. Bonferroni's correction, with the tails of a
    normal distribution: a thousand replicates hold too few so far out. Too wide rather than too narrow, since settings
    resemble each other.

    >>> round(of_the_best(Estimate(0.1, 0.05, 0.15), 10).low, 3)
    0.028
    """
    from scipy.stats import norm

    wider = float(norm.isf(_TAIL / n_compared) / norm.isf(_TAIL))
    value, low, high = difference
    return Estimate(value, value - wider * (value - low), value + wider * (high - value))
