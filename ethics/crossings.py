"""Crossings of attributes, such as women who speak Finnish: which are counted, and how they become cells.

Every pair of attributes and the crossing of all of them is a block of cells of its own, named "sex × language_group"
with groups "f × fi". Of a crossing with less expected need than could be tested, only its size is kept: its people
are counted under the group "pooled". So the file of cells stays small, and nobody is alone in a cell because six
attributes of theirs were put together.

Blocks of crossings have fewer bins than those of single attributes: every ventile, and all bins near k and k* in which
a replicate's cut could fall, so that cutting again gives the same as with all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.cells import DESIGN_EFFECT, INDICATOR, LISTED, UNKNOWN, Coded, Cuts, Rows, count_block, ventile_of_bins
from ethics.resampling import bins_near_cuts

if TYPE_CHECKING:
    import polars as pl

    from ethics.cells import Bools, Floats, Ints

SIGN = " × "
POOLED = "pooled"
MAX_CROSSED_GROUPS = 600
"""Crossed groups that one verdict tests at most; whole crossings beyond that are left out, and said to be."""
MIN_LISTED = 10
"""Persons that a crossing has at least if it is listed by name; fewer are counted under "pooled" alone."""


def is_crossing(attribute: str) -> bool:
    """Whether a block's attribute is a crossing.

    >>> is_crossing("sex × language_group"), is_crossing("sex")
    (True, False)
    """
    return SIGN in attribute


def parts_of(name: str) -> list[str]:
    """The attributes of a crossing, or the groups that meet in a crossed group.

    >>> parts_of("f × fi")
    ['f', 'fi']
    """
    return name.split(SIGN)


def in_crossing(group: str) -> str:
    """A group's name as it stands in the names of crossings, free of their sign."""
    return group.replace(SIGN.strip(), "x")


def all_crossings(attributes: Sequence[str]) -> list[tuple[str, ...]]:
    """Every pair of attributes, and all of them together.

    >>> all_crossings(["sex", "age", "language"])[-2:]
    [('age', 'language'), ('sex', 'age', 'language')]
    """
    pairs: list[tuple[str, ...]] = list(combinations(attributes, 2))
    return [*pairs, tuple(attributes)] if len(attributes) > 2 else pairs


def crossable(groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The attributes worth crossing: those in which at least two groups of people are known.

    >>> crossable({"sex": ["f", "m"], "carer": ["unknown", "yes"], "city": ["here"]})
    ('sex',)
    """
    return tuple(name for name, names in groups.items() if len(set(names) - {UNKNOWN}) >= 2)


def left_out(attributes: Sequence[str], counted: Sequence[str]) -> tuple[str, ...]:
    """The crossings of some attributes of which the cells hold nothing."""
    return tuple(
        name for crossing in all_crossings(attributes) if (name := SIGN.join(crossing)) not in frozenset(counted)
    )


def count_crossings(
    rows: Rows,
    groups: Mapping[str, Coded],
    crossings: Sequence[tuple[str, ...]],
    cuts: Cuts,
    *,
    min_expected: int,
    design_effect: float,
    fixed: bool,
) -> list[pl.DataFrame]:
    """The blocks of cells of each crossing, in the order given; one in which nothing can be tested is only listed.

    A crossed group is tested from ``min_expected`` expected positives (the model's or the observed ones, whichever
    are more). Once ``MAX_CROSSED_GROUPS`` would be tested, the crossings that follow are left out whole.

    Parameters
    ----------
    rows : Rows
        With a label; people in rank order.
    """
    assert rows.label is not None
    coarse = rows if fixed else replace(rows, bins=_coarse(rows.bins, cuts, design_effect)[rows.bins])
    blocks: list[pl.DataFrame] = []
    room = MAX_CROSSED_GROUPS
    for crossing in crossings:
        crossed = _crossed([groups[attribute] for attribute in crossing])
        need = np.bincount(crossed.member, weights=rows.label, minlength=len(crossed.names))
        expected = need
        if rows.probability is not None:
            expected = np.bincount(crossed.member, weights=rows.probability, minlength=need.size)
        tested = np.maximum(need, expected) >= min_expected
        if int(tested.sum()) > room:
            continue
        room -= int(tested.sum())
        name = SIGN.join(crossing)
        if tested.any():
            place = np.cumsum(tested) - 1
            n_tested = int(tested.sum())
            member = np.where(tested, place, n_tested)[crossed.member]
            names = [group for group, enough in zip(crossed.names, tested, strict=True) if enough]
            blocks.append(count_block(coarse, name, Coded([*names, POOLED], member), with_ranks=False))
        listing = _listed(rows, name, crossed, need, expected, tested)
        if listing is not None:
            blocks.append(listing)
        elif not tested.any():  # nothing to name; that the crossing was counted still stands in the cells
            everyone = Coded([POOLED], np.zeros_like(crossed.member))
            need, expected = np.array([need.sum()]), np.array([expected.sum()])
            blocks.append(_lines(rows, name, everyone, need, expected, np.zeros(1, dtype=np.int64)))
    return blocks


def crossed_groups(sizes: Sequence[Mapping[str, object]], cells: pl.DataFrame) -> pl.DataFrame:
    """One row per crossed group: those measured, and those only listed."""
    import polars as pl

    schema: dict[str, Any] = dict.fromkeys(("attribute", "group", "kind"), pl.String)
    schema |= {"n": pl.Int64, "need": pl.Int64, "expected": pl.Float64}
    schema |= {"selected_k": pl.Int64, "selected_k_audit": pl.Int64, "testable": pl.Boolean}
    schema |= {DESIGN_EFFECT: pl.Float64}
    measured = pl.DataFrame(
        [{**row, "kind": "pooled" if row["group"] == POOLED else "tested"} for row in sizes], schema=schema
    )
    count = pl.col("n").filter(pl.col("label") == 1).sum()
    listed = (
        cells.filter(pl.col("bin") == LISTED, pl.col("attribute").str.contains(SIGN, literal=True))
        .group_by("attribute", "group", maintain_order=True)
        .agg(pl.col("n").sum(), need=count, expected=pl.col("sum_probability").sum())
        .with_columns(kind=pl.lit("small"), testable=pl.lit(False))
    )
    if cells["sum_probability"].null_count() == cells.height:
        listed = listed.with_columns(expected=pl.col("need").cast(pl.Float64))
    return pl.concat([measured, listed], how="diagonal_relaxed").select(*schema)


def _coarse(bins: Ints, cuts: Cuts, design_effect: float) -> Ints:
    """The coarse bin of each bin."""
    persons = np.bincount(bins).astype(np.float64)
    n = persons.sum()
    shares = (min(cuts.k / n, 1.0), min(cuts.k_audit / n, 1.0))
    first = bins_near_cuts(persons, shares, design_effect)
    first[1:] |= np.diff(ventile_of_bins(persons)) > 0
    first[0] = True
    coarse: Ints = np.cumsum(first) - 1
    return coarse


def _crossed(columns: Sequence[Coded]) -> Coded:
    """The groups that occur when several attributes are put together."""
    names, member = [in_crossing(name) for name in columns[0].names], columns[0].member.astype(np.int64)
    for column in columns[1:]:
        code = member * len(column.names) + column.member
        n_codes = len(names) * len(column.names)
        found = np.flatnonzero(np.bincount(code, minlength=n_codes))
        place = np.empty(n_codes, dtype=np.int64)
        place[found] = np.arange(found.size)
        last = [in_crossing(name) for name in column.names]
        names = [f"{names[one]}{SIGN}{last[two]}" for one, two in zip(*divmod(found, len(last)), strict=True)]
        member = place[code]
    return Coded(names, member)


def _listed(
    rows: Rows, name: str, crossed: Coded, need: Floats, expected: Floats, tested: Bools
) -> pl.DataFrame | None:
    """One row per label for each crossed group that is too small to test; None when there is none."""
    n = np.bincount(crossed.member, minlength=len(crossed.names))
    small = np.flatnonzero(~tested & (n >= MIN_LISTED))
    return _lines(rows, name, crossed, need, expected, small) if small.size else None


def _lines(rows: Rows, attribute: str, crossed: Coded, need: Floats, expected: Floats, small: Ints) -> pl.DataFrame:
    """The rows of :func:`_listed`, of the groups at the places ``small``."""
    import polars as pl

    n = np.bincount(crossed.member, minlength=len(crossed.names))
    names = pl.Series(crossed.names, dtype=pl.String).gather(np.repeat(small, 2))
    persons = np.stack([n[small] - need[small], need[small]], axis=1)
    sums = np.stack([expected[small], np.zeros(small.size)], axis=1)  # the group's sum stands in its first row
    nothing = pl.Series([None] * names.len(), dtype=pl.Float64)
    return pl.DataFrame(
        {
            "attribute": pl.Series([attribute], dtype=pl.String).new_from_index(0, names.len()),
            "group": names,
            "bin": pl.Series([LISTED] * names.len(), dtype=pl.Int32),
            "label": pl.Series([0, 1] * small.size, dtype=pl.Int8),
            **{INDICATOR + name: pl.Series([0] * names.len(), dtype=pl.UInt8) for name in rows.indicators},
            "n": persons.ravel().astype(np.int64),
            "sum_probability": nothing if rows.probability is None else pl.Series(sums.ravel()),
            "sum_rank": nothing,
            "sum_discount": nothing,
        }
    )
