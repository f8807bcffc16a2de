"""Counting people into cells: group × score bin × label × indicators. After this no row of a person is needed.

Bins are quantiles of the rank, a thousand of them so that every ventile edge is a bin edge, with two more edges
exactly at the cuts. Counts add up over partitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ethics.refusals import BadInput, Fault

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    Floats = npt.NDArray[Any]  # float64 (numpy's own types widen it)
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

BINS = 1000
VENTILES = 20
INDICATOR = "indicator:"
DESIGN_EFFECT = "design_effect"
UNKNOWN = "unknown"
LISTED = -1
"""The bin of a crossing too small to test: its people are counted under the pooled group, and only listed here."""
_MAX_CODES = 4_000_000


@dataclass(frozen=True)
class Cuts:
    """Where the ranking is cut: ``k`` people are contacted in a period; fairness is judged at ``k_audit`` (k*)."""

    k: int
    k_audit: int

    def __post_init__(self) -> None:
        faults = [
            Fault(f"cuts.{name}", f"is {value}, so nobody is above it", "Give a whole number of persons, e.g. 240")
            for name, value in (("k", self.k), ("k_audit", self.k_audit))
            if value < 1
        ]
        if faults:
            raise BadInput(*faults)


def audit_cut(label_sorted: npt.ArrayLike, k: int, periods: int, audit_recall: float) -> int:
    """The cut at which recall ratios can be proved: k*.

    The larger of ``k * periods`` and the smallest cut whose overall recall is at least ``audit_recall``; never
    beyond half the cohort. At a unit's own k recall is often below 0.05, where no ratio can be shown either way.

    Parameters
    ----------
    label_sorted : float (n,)
        1, 0 or NaN (unknown, counts as 0), in rank order.

    >>> audit_cut([1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], k=2, periods=1, audit_recall=0.6)
    4
    """
    label = np.nan_to_num(np.asarray(label_sorted, dtype=np.float64))
    found = np.cumsum(label)
    enough = int(np.searchsorted(found, audit_recall * found[-1] - 1e-9)) + 1 if found.size and found[-1] else 1
    return max(1, min(max(k * periods, enough), label.size // 2))


def rank_order(score: npt.ArrayLike, tie_key: Sequence[Any] | npt.ArrayLike | None) -> Ints:
    """Row positions in rank order: score descending, then tie key ascending (row order when there is none)."""
    import polars as pl

    frame = pl.DataFrame({"score": np.asarray(score, dtype=np.float64)})
    if frame["score"].is_nan().any():
        raise BadInput(Fault("score", "holds NaN, which has no rank", "Give every row a finite score"))
    if tie_key is not None:
        frame = frame.with_columns(pl.Series("tie_key", cast(Any, tie_key)))
    keys = [pl.col("score"), pl.col("tie_key")] if tie_key is not None else [pl.col("score")]
    order = pl.arg_sort_by(keys, descending=[True, False][: len(keys)], maintain_order=True)
    return frame.select(order).to_series().to_numpy().astype(np.int64)


def bins_of_ranks(n: int, cuts: Cuts) -> Ints:
    """The bin of every rank 0 … n-1: thousand-quantiles, with edges exactly at both cuts."""
    starts = np.unique(np.round(np.arange(BINS) * n / BINS).astype(np.int64))
    inner = [cut for cut in (cuts.k, cuts.k_audit) if cut < n]
    starts = np.unique(np.concatenate([starts, np.asarray(inner, dtype=np.int64)]))
    return np.repeat(np.arange(starts.size), np.diff(starts, append=n))


class Coded(NamedTuple):
    """A column of groups as numbers: ``names`` in alphabetical order, ``member`` (n,) each row's place among them."""

    names: list[str]
    member: npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """People in rank order as :func:`count_block` counts them; after that none of these is needed.

    ``pattern`` (n,) holds one bit per indicator, in the order of ``indicators``. ``rank_sums`` are null in cells
    where it is False: a selection that was given has no order.
    """

    bins: Ints
    label: Floats | None
    probability: Floats | None
    indicators: tuple[str, ...]
    pattern: npt.NDArray[Any]
    k: int
    has_rank: bool

    @classmethod
    def of(
        cls,
        bins: Ints,
        label: Floats | None,
        probability: Floats | None,
        indicators: Mapping[str, Bools],
        *,
        k: int,
        has_rank: bool,
    ) -> Rows:
        """The rows, with their indicators as bits."""
        pattern = np.zeros(bins.size, dtype=np.int32)
        for position, hit in enumerate(indicators.values()):
            pattern |= np.asarray(hit, dtype=np.int32) << position
        return cls(bins, label, probability, tuple(indicators), pattern, k, has_rank)


def count_cells(rows: Rows, groups: Mapping[str, Coded]) -> pl.DataFrame:
    """Count rows into cells, one block per attribute.

    Returns
    -------
    polars.DataFrame
        ``attribute``, ``group``, ``bin`` (0 = highest scores), ``label`` (0/1, null when no label exists),
        ``indicator:<name>`` 0/1 …, ``n`` persons, ``sum_probability`` (null when there are no probabilities);
        ``sum_rank`` (ranks from 1) and ``sum_discount`` (of 1 / log2(1 + rank)) of the people above k, null below
        it; sorted, empty cells left out.
    """
    import polars as pl

    if not groups:
        raise BadInput(Fault("groups", "hold no attribute, so nothing can be measured", "Give groups.parquet a column"))
    return pl.concat([count_block(rows, attribute, coded, with_ranks=True) for attribute, coded in groups.items()])


def count_block(rows: Rows, attribute: str, coded: Coded, *, with_ranks: bool) -> pl.DataFrame:
    """One attribute's cells; see :func:`count_cells`."""
    import polars as pl

    n_patterns = 1 << len(rows.indicators)
    n_within = (int(rows.bins.max(initial=0)) + 1) * 2 * n_patterns
    within = rows.bins * 2
    if rows.label is not None:
        within += rows.label.astype(np.int8)
    within *= n_patterns
    within += rows.pattern
    within += coded.member.astype(np.int64) * n_within
    code, n, sums = _counted(within, len(coded.names) * n_within, rows.probability)
    ranks: list[Floats | None] = [None, None]
    if with_ranks and rows.has_rank:
        top = np.searchsorted(code, within[: rows.k])
        rank = np.arange(1, top.size + 1, dtype=np.float64)
        above = np.bincount(top, minlength=code.size) > 0
        ranks = [
            np.where(above, np.bincount(top, weights=weights, minlength=code.size), np.nan)
            for weights in (rank, 1 / np.log2(1 + rank))
        ]
    rest, pattern = np.divmod(code, n_patterns)
    member, place = np.divmod(rest // 2, n_within // (2 * n_patterns))

    def numbers(values: Floats | None) -> pl.Series:
        column = pl.Series([None] * code.size if values is None else values, dtype=pl.Float64)
        return column.fill_nan(None)

    return pl.DataFrame(
        {
            "attribute": pl.Series([attribute], dtype=pl.String).new_from_index(0, code.size),
            "group": pl.Series(coded.names, dtype=pl.String).gather(member),
            "bin": place.astype(np.int32),
            "label": pl.Series(
                (rest % 2).astype(np.int8) if rows.label is not None else [None] * code.size, dtype=pl.Int8
            ),
            **{INDICATOR + name: ((pattern >> j) & 1).astype(np.uint8) for j, name in enumerate(rows.indicators)},
            "n": n.astype(np.int64),
            "sum_probability": numbers(sums),
            "sum_rank": numbers(ranks[0]),
            "sum_discount": numbers(ranks[1]),
        }
    )


def columns_of_cells(indicators: Sequence[str]) -> tuple[str, ...]:
    """The columns of :func:`count_cells`, in their order, and the design effect of each cell's group.

    >>> columns_of_cells(["care"])[4:6]
    ('indicator:care', 'n')
    """
    named = (INDICATOR + name for name in indicators)
    sums = ("n", "sum_probability", "sum_rank", "sum_discount", DESIGN_EFFECT)
    return ("attribute", "group", "bin", "label", *named, *sums)


def _counted(code: Ints, n_codes: int, probability: Floats | None) -> tuple[Ints, Ints, Floats | None]:
    """The codes that occur, in order, how often, and the sum of probabilities; counted without a sort if few."""
    if n_codes <= _MAX_CODES:
        counts = np.bincount(code, minlength=n_codes)
        found = np.flatnonzero(counts)
        sums = None if probability is None else np.bincount(code, weights=probability, minlength=n_codes)[found]
        return found, counts[found], sums
    found, cell, counts = np.unique(code, return_inverse=True, return_counts=True)
    return found, counts, None if probability is None else np.bincount(cell, weights=probability, minlength=found.size)


def cells_as_bytes(cells: pl.DataFrame) -> bytes:
    """The cells as the file that a verdict's digest is taken over (Parquet, the same bytes for the same cells)."""
    stream = BytesIO()
    cells.write_parquet(stream, compression="zstd", statistics=False, row_group_size=1 << 20)
    return stream.getvalue()


def cells_from_bytes(content: bytes) -> pl.DataFrame:
    """The cells back from :func:`cells_as_bytes`."""
    import polars as pl

    return pl.read_parquet(BytesIO(content))


@dataclass(frozen=True)
class Block:
    """One attribute's cells as arrays (g groups, b bins, v ventiles, j indicators)."""

    attribute: str
    groups: tuple[str, ...]
    count: Floats  # (g, b, 2): persons by label
    expected: Floats | None  # (g, b, 2): summed probability
    by_ventile: Floats  # (g, v): persons
    events: Floats  # (g, v, j): persons with the indicator
    ranks: Floats | None = None  # (g, b, 3): persons above k, their summed ranks and discounts
    design_effect: Floats | None = None  # (g,): from the group's own households


def blocks_of(cells: pl.DataFrame, indicators: Sequence[str]) -> list[Block]:
    """The cells as arrays, one block per attribute, groups in alphabetical order."""
    import polars as pl

    blocks = []
    for (attribute,), part in cells.filter(pl.col("bin") != LISTED).group_by("attribute", maintain_order=True):
        names = part["group"].unique().sort()
        member = part["group"].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
        bins = part["bin"].to_numpy().astype(np.int64)
        label = part["label"].fill_null(0).to_numpy().astype(np.int64)
        n = part["n"].to_numpy().astype(np.float64)
        shape = (len(names), int(bins.max()) + 1, 2)
        at = np.ravel_multi_index((member, bins, label), shape)
        count = np.bincount(at, weights=n, minlength=int(np.prod(shape))).reshape(shape)
        expected = None
        if part["sum_probability"].null_count() == 0:
            weights = part["sum_probability"].to_numpy()
            expected = np.bincount(at, weights=weights, minlength=int(np.prod(shape))).reshape(shape)
        ranks = None
        if part["sum_rank"].null_count() < part.height:
            above = part["sum_rank"].is_not_null().to_numpy()
            sums = (n * above, *(part[name].fill_null(0.0).to_numpy() for name in ("sum_rank", "sum_discount")))
            size = len(names) * shape[1]
            place = member * shape[1] + bins
            ranks = np.stack([np.bincount(place, weights=values, minlength=size) for values in sums], axis=-1)
            ranks = ranks.reshape(len(names), shape[1], 3)
        effect = None
        if DESIGN_EFFECT in part.columns:
            effect = np.ones(len(names))
            np.maximum.at(effect, member, part[DESIGN_EFFECT].to_numpy())
        ventile = ventile_of_bins(count.sum(axis=(0, 2)))[bins]
        flat = member * VENTILES + ventile
        size = len(names) * VENTILES
        hits = [np.bincount(flat, weights=n * part[INDICATOR + name].to_numpy(), minlength=size) for name in indicators]
        blocks.append(
            Block(
                str(attribute),
                tuple(names.to_list()),
                count,
                expected,
                np.bincount(flat, weights=n, minlength=size).reshape(-1, VENTILES),
                np.stack(hits, axis=-1).reshape(-1, VENTILES, len(hits))
                if hits
                else np.zeros((len(names), VENTILES, 0)),
                ranks,
                effect,
            )
        )
    return blocks


def ventile_of_bins(persons: Floats) -> Ints:
    """The ventile (0 = highest twentieth) of each bin, by the middle of the bin."""
    middle = np.cumsum(persons) - persons / 2
    ventile: Ints = np.minimum((middle * VENTILES / persons.sum()).astype(np.int64), VENTILES - 1)
    return ventile


def coded(attribute: str, column: npt.ArrayLike, n: int) -> Coded:
    """A column of groups as numbers; a missing value is a group of its own."""
    import polars as pl

    series = pl.Series(attribute, cast(Any, column), strict=False)
    values = (series.fill_nan(None) if series.dtype.is_float() else series).cast(pl.String).fill_null(UNKNOWN)
    if values.len() != n:
        raise BadInput(
            Fault(f"groups.{attribute}", f"has {values.len()} rows where the scores have {n}", "Give one value per row")
        )
    names = values.unique().sort().to_list()
    return Coded(names, values.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int16))
