"""Whether a list is what the judged model makes of the judged people: its groups against the week's ranking and G1.

Four questions, each with a null that an honest week obeys:

*Ranked.* Everybody the need covers and who does not object was ranked. A group that was taken out before the ranking
would leave a list that follows its ranking to the letter. Units are asked likewise: each has the places that are due to
it by the people the need covers there, whether or not any of them was listed (``places`` of the list's evidence).

*Process.* Given this week's scores, each unit's list is the first of its people; only among those tied at the cut does
chance decide. So a group's number on the list is fixed but for hypergeometric draws, and anything else is a list that
was not cut from this ranking. No drift can disturb this: both sides are of the same week.

*Population.* A group's share of the people scored, and of those above the audit cut, is not below ``tolerance`` times
its share when the model was judged. Cities change a little between two weeks; a group that is gone or halved is no such
change. The comparison is of two counts, conditional on their sum (exact for Poisson counts, and conservative for
shares), with both counts divided by the design effect.

*Expected recall.* The share of a group's expected need that stands above the audit cut, against everyone's, is not
below ``tolerance`` times what it was at G1: by probabilities, so no outcome is needed.

Holm's procedure (1979) over all groups and questions keeps the probability of refusing an honest list below one bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ethics.crossings import is_crossing

if TYPE_CHECKING:
    import polars as pl

SUMS = ("eligible", "covered", "unranked", "listed", "must", "above", "need", "need_above", "squares", "squares_above")
"""What is added up per group of this week's people; see :func:`week_columns`."""
_TIED = "tied:"


class Departure(NamedTuple):
    """One question about one group: the ratio of found to foretold, and how likely an honest list shows less."""

    question: str
    attribute: str
    group: str
    ratio: float
    p: float


def audited_composition(cells: pl.DataFrame, k_audit: int) -> pl.DataFrame:
    """What the cells of a verdict say of each group: ``attribute``, ``group``, ``n``, ``above`` k*, and expected need
    (``need``, ``need_above``, with sums of squares; null where there are no probabilities)."""
    import polars as pl

    single = [name for name in cells["attribute"].unique() if not is_crossing(name)]
    cells = cells.filter(pl.col("attribute").is_in(single))
    everyone = cells.filter(pl.col("attribute") == cells["attribute"][0]) if cells.height else cells
    per_bin = everyone.group_by("bin").agg(pl.col("n").sum()).sort("bin")
    inside = per_bin.filter(pl.col("n").cum_sum() <= k_audit)["bin"]
    above = pl.col("bin").is_in(inside.implode())
    need = pl.col("sum_probability").cast(pl.Float64)
    squares = need**2 / pl.col("n")
    return (
        cells.group_by("attribute", "group", maintain_order=True)
        .agg(
            pl.col("n").sum().cast(pl.Int64).alias("n"),
            pl.col("n").filter(above).sum().cast(pl.Int64).alias("above"),
            *(
                pl.when(need.null_count() == 0).then(part.sum()).alias(name)
                for name, part in (
                    ("need", need),
                    ("need_above", need.filter(above)),
                    ("squares", squares),
                    ("squares_above", squares.filter(above)),
                )
            ),
        )
        .sort("attribute", "group")
    )


def week_columns(
    people: pl.DataFrame, audit_share: float
) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, tuple[int, int]]]:
    """The numbers of each person that a :class:`GroupRegister` adds up by group.

    Parameters
    ----------
    people : polars.DataFrame
        Everybody the need covers who does not object, first rank first: ``person_id``, ``raw`` (null: was not ranked),
        ``score`` (null for a rule), ``unit_id`` (null: not known), ``is_out`` (objects since, rests, or no unit is
        known), ``is_listed``.
    audit_share : float
        k* as a share of the people judged.

    Returns
    -------
    people : polars.DataFrame
        With :data:`SUMS` and a column per unit whose cut falls among equals.
    columns : tuple of str
    ties : mapping of such a column to (people tied, places among them)
    """
    import polars as pl

    k_audit = max(1, round(audit_share * people.height))
    share = pl.col("score").cast(pl.Float64)
    people = people.with_columns(
        eligible=(~pl.col("is_out")).cast(pl.Float64),
        covered=(pl.col("unit_id").is_not_null() & pl.col("raw").is_not_null()).cast(pl.Float64),
        unranked=pl.col("raw").is_null().cast(pl.Float64),
        listed=pl.col("is_listed").cast(pl.Float64),
        above=(pl.int_range(pl.len()) < k_audit).cast(pl.Float64),
        need=share,
        squares=share**2,
    ).with_columns(need_above=pl.col("need") * pl.col("above"), squares_above=pl.col("squares") * pl.col("above"))
    here = people.filter(~pl.col("is_out") & pl.col("raw").is_not_null())
    places = dict(people.filter(pl.col("is_listed")).group_by("unit_id").len().iter_rows())
    must = pl.lit(False)
    ties: dict[str, tuple[int, int]] = {}
    columns: list[pl.Expr] = []
    for number, (unit, k) in enumerate(sorted((str(unit), int(k)) for unit, k in places.items())):
        scores = here.filter(pl.col("unit_id") == unit)["raw"].sort(descending=True)
        cut = float(scores[min(k, scores.len()) - 1]) if scores.len() else math.inf
        in_unit = (pl.col("unit_id") == unit) & ~pl.col("is_out")
        must = must | (in_unit & (pl.col("raw") > cut))
        n_tied, n_places = int((scores == cut).sum()), k - int((scores > cut).sum())
        name = f"{_TIED}{number}"
        ties[name] = (n_tied, n_places)
        columns.append((in_unit & (pl.col("raw") == cut)).cast(pl.Float64).alias(name))
    people = people.with_columns(must.cast(pl.Float64).alias("must"), *columns)
    return people, (*SUMS, *ties), ties


def departures(
    week: pl.DataFrame,
    ties: dict[str, tuple[int, int]],
    audited: pl.DataFrame,
    *,
    tolerance: float,
    design_effect: float,
) -> list[Departure]:
    """Every question about every group.

    Parameters
    ----------
    week : polars.DataFrame
        ``attribute``, ``group``, ``n`` and the sums of :func:`week_columns`.
    audited : polars.DataFrame
        From :func:`audited_composition`; another set of attributes is refused.
    tolerance : float
        How far below its share a group may be by ordinary drift, e.g. 0.8.
    design_effect : float
        At least 1: people who live together count for less.

    Raises
    ------
    ValueError
        Attributes differ, or nobody was scored or judged.
    """
    if set(week["attribute"]) != set(audited["attribute"]) or week.is_empty():
        raise ValueError("other attributes than those judged")
    found: list[Departure] = []
    for attribute in week["attribute"].unique(maintain_order=True):
        now = {row["group"]: row for row in week.filter(week["attribute"] == attribute).iter_rows(named=True)}
        then = {row["group"]: row for row in audited.filter(audited["attribute"] == attribute).iter_rows(named=True)}
        for group in sorted({*now, *then}):
            if group in now:
                row = now[group]
                if row["unranked"]:  # no chance takes anybody out
                    ratio = 1 - row["unranked"] / row["n"]
                    found.append(Departure("unranked", attribute, group, ratio, 0.0))
                found.append(Departure("process", attribute, group, *_process(now[group], ties)))
            if group in then:
                for question, ratio, p in _against_audit(
                    group, list(now.values()), list(then.values()), tolerance, max(1.0, design_effect)
                ):
                    found.append(Departure(question, attribute, group, ratio, p))
    return found


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise error ``alpha``.

    >>> holm([0.001, 0.04, 0.02], 0.05)
    [True, True, True]
    >>> holm([0.02, 0.04, 0.03], 0.05)
    [False, False, False]
    """
    rejected = [False] * len(p_values)
    for step, position in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if not p_values[position] <= alpha / (len(p_values) - step):
            break
        rejected[position] = True
    return rejected


def _process(row: dict[str, Any], ties: dict[str, tuple[int, int]]) -> tuple[float, float]:
    """Listed against what the ranking gives, and the exact two-sided probability under neutral ties."""
    from scipy.stats import hypergeom

    chance = np.ones(1)
    for name, (n_tied, places) in ties.items():
        own = round(row[name])
        draws = np.arange(0, min(own, places) + 1)
        chance = np.convolve(chance, hypergeom.pmf(draws, n_tied, own, places))
    beyond = round(row["listed"] - row["must"])  # places the group won among equals
    expected = row["must"] + float(chance @ np.arange(chance.size))
    ratio = row["listed"] / expected if expected else (1.0 if not row["listed"] else math.inf)
    if not 0 <= beyond < chance.size:
        return ratio, 0.0
    return ratio, min(1.0, 2 * min(float(chance[: beyond + 1].sum()), float(chance[beyond:].sum())))


def _against_audit(
    group: str,
    now: Sequence[dict[str, Any]],
    then: Sequence[dict[str, Any]],
    tolerance: float,
    design_effect: float,
) -> Iterator[tuple[str, float, float]]:
    """Shares and expected recall of one group, against those judged."""
    nothing = dict.fromkeys((*now[0], *then[0]), 0.0)
    mine = next((row for row in now if row["group"] == group), nothing)
    theirs = next(row for row in then if row["group"] == group)
    for question, column in (("population", "n"), ("above_audit_cut", "above")):
        totals = sum(row[column] for row in now), sum(row[column] for row in then)
        if not all(totals):
            raise ValueError("nobody was scored, or nobody was judged")
        found, foretold = mine[column] / totals[0], theirs[column] / totals[1]
        ratio = found / foretold if foretold else 1.0
        yield question, ratio, _fewer(mine[column], totals[0], theirs[column], totals[1], tolerance, design_effect)
    sums = [mine, theirs, _added(now), _added(then)]
    if all(row.get("need") is not None and 0 < row["need_above"] < row["need"] for row in sums):
        recalls = [row["need_above"] / row["need"] for row in sums]
        gap = math.log(recalls[0] / recalls[1]) - math.log(recalls[2] / recalls[3])
        spread = math.sqrt(design_effect * sum(map(_variance, sums)))
        yield "expected_recall", math.exp(gap), _normal((gap - math.log(tolerance)) / spread)


def _added(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("need", "need_above", "squares", "squares_above")
    if any(row[name] is None for row in rows for name in names):
        return {}
    return {name: sum(row[name] for row in rows) for name in names}


def _variance(row: dict[str, Any]) -> float:
    """Of the logarithm of need above ÷ need, both sums over people who come by chance."""
    above, below = row["need_above"], row["need"] - row["need_above"]
    squares_below = max(row["squares"] - row["squares_above"], 0.0)
    return float((below / row["need"]) ** 2 * (row["squares_above"] / above**2 + squares_below / below**2))


def _fewer(x: float, total_x: float, y: float, total_y: float, ratio: float, design_effect: float) -> float:
    """P(so few or fewer) where a share is ``ratio`` times the other, given both counts' sum."""
    from scipy.stats import binom

    counts = math.ceil(x / design_effect), math.floor(y / design_effect)
    share = ratio * total_x / (ratio * total_x + total_y)
    return float(binom.cdf(counts[0], sum(counts), share))


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
