"""Children for whom no place is proposed automatically, each with its reason: people look at them one by one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from scoring.place_tables import FLAGS

REASONS = (
    "safety_ban",
    "secrecy_order",
    "custody_split",
    "family_protected",
    "special_support",
    "objected",
    "not_known",
    "no_coordinates",
    "no_language",
    "language_not_taught",
)
"""Gravest first; a child stands under the first that applies."""
PROTECTING = ("safety_ban", "secrecy_order", "custody_split")
"""Where these hold for one child of a family, a place of another would tell of it."""


def protected_families(children: pl.DataFrame) -> pl.Series:
    """Families in which a place proposed to one child would tell of another, in whatever year that one begins."""
    protected = pl.any_horizontal(pl.col(name).fill_null(False) for name in PROTECTING)
    return children.filter(protected)["family"].drop_nulls().unique()


def exceptions_of(
    children: pl.DataFrame, objecting: Sequence[bool], taught: Sequence[str], protected: pl.Series
) -> pl.Series:
    """The reason of each child, null for those who may be proposed a place.

    Parameters
    ----------
    children : polars.DataFrame
        ``person_id``, ``x``, ``y``, ``language``, ``family`` and the flags of :data:`scoring.place_tables.FLAGS`.
    objecting : bool (n_children,)
    taught : sequence of str
        Languages of instruction of all units.
    protected : polars.Series
        Families, from :func:`protected_families`.
    """
    known = {name: pl.col(name).fill_null(False) for name in FLAGS}
    applies: dict[str, pl.Expr] = {
        **{name: known[name] for name in PROTECTING},
        "family_protected": pl.col("family").is_in(protected.implode()).fill_null(False),
        "special_support": known["special_support"],
        "objected": pl.col("_objecting"),
        "not_known": pl.any_horizontal(pl.col(name).is_null() for name in FLAGS),
        "no_coordinates": ~(pl.col("x").is_finite() & pl.col("y").is_finite()).fill_null(False),
        "no_language": pl.col("language").is_null() | (pl.col("language").str.strip_chars() == ""),
        "language_not_taught": ~pl.col("language").str.to_lowercase().is_in(list(taught)).fill_null(False),
    }
    reason: pl.Expr = pl.lit(None, dtype=pl.String)
    for name in reversed(REASONS):
        reason = pl.when(applies[name]).then(pl.lit(name)).otherwise(reason)
    marked = children.with_columns(_objecting=pl.Series(objecting, dtype=pl.Boolean))
    return marked.select(reason.alias("reason"))["reason"]
