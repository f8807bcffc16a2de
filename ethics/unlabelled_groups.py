"""Groups of whose people no label is known: named in the cells as groups that cannot be tested.

Rows without a label leave before anything is counted. A group that would leave with them as a whole stays as one line
of cells with nobody in it, so that a verdict and whoever computes it again name the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ethics.cells import INDICATOR, LISTED, Coded, Rows
from ethics.crossings import SIGN

if TYPE_CHECKING:
    import polars as pl


def unlabelled_cells(rows: Rows, groups: Mapping[str, Coded]) -> pl.DataFrame:
    """One line for each group that none of the rows is of, as :func:`ethics.cells.count_cells` writes them."""
    import polars as pl

    places = [
        (attribute, names[g])
        for attribute, (names, member) in groups.items()
        for g in np.flatnonzero(np.bincount(member, minlength=len(names)) == 0)
    ]
    nothing = pl.Series([None] * len(places), dtype=pl.Float64)
    return pl.DataFrame(
        {
            "attribute": pl.Series([attribute for attribute, _ in places], dtype=pl.String),
            "group": pl.Series([group for _, group in places], dtype=pl.String),
            "bin": pl.Series([LISTED] * len(places), dtype=pl.Int32),
            "label": pl.Series([0 if rows.label is not None else None] * len(places), dtype=pl.Int8),
            **{INDICATOR + name: pl.Series([0] * len(places), dtype=pl.UInt8) for name in rows.indicators},
            "n": pl.Series([0] * len(places), dtype=pl.Int64),
            "sum_probability": nothing
            if rows.probability is None
            else pl.Series([0.0] * len(places), dtype=pl.Float64),
            "sum_rank": nothing,
            "sum_discount": nothing,
        }
    )


def unlabelled_of(cells: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    """Attribute and group of each group that the cells name and hold nobody of."""
    import polars as pl

    single = ~pl.col("attribute").str.contains(SIGN, literal=True)
    return tuple(cells.filter(pl.col("bin") == LISTED, single).select("attribute", "group").rows())
