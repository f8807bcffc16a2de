"""The list inside parts of the tested persons, and beside the lists of other orders.

Rows are those of ``Experiment.tested``: ``person_id``, ``as_of_date`` and perhaps ``origin`` (rows are listed per
origin, else per as-of date), ``label`` (null or NaN where not known), ``rank_score``, ``probability`` (null for a
rule) and perhaps ``weight``. Equal scores at a cut are in the list in proportion, and in the same neutral order for
every list, so that equal orders make equal lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.curve_kernels import listed_shares, shared_places
from models.metrics import CALIBRATION, RANKING, REPLICATES, drawn_people, evaluate, interval, numbered, ranked_rows

Floats = NDArray[np.float64]

EVERYBODY = "everybody"
IN_NEED, NOT_IN_NEED = "in need", "not in need"
LISTED, NOT_LISTED = "listed", "not listed"


def subset_performance(
    rows: pl.DataFrame, subsets: Mapping[str, np.ndarray], k: int, seed: int, *, replicates: int = REPLICATES
) -> pl.DataFrame:
    """How well the order finds need inside parts of the tested rows, each ranked anew by itself.

    Parameters
    ----------
    rows : polars.DataFrame (n,)
    subsets : mapping
        Name → bool (n,).
    k : int
        Capacity per period over all rows. A part gets places at the same share, k × its rows / all rows, rounded, at
        least 1: figures of parts compare only where equal shares are listed.
    seed : int
    replicates : int

    Returns
    -------
    polars.DataFrame
        ``everybody`` first, then the parts in their order: ``subset``, ``n`` rows, ``in_need`` rows known to be in
        need, ``k`` places per period, then each measure of :func:`models.metrics.evaluate` as ``<measure>``,
        ``<measure>_low``, ``<measure>_high``; NaN where the rows do not determine it.

    Raises
    ------
    ValueError
        A part that is not one truth value per row.
    """
    label, weight = _label(rows), _weight(rows)
    found = []
    for name, part in {EVERYBODY: np.ones(rows.height, dtype=np.bool_), **subsets}.items():
        inside = np.asarray(part)
        if inside.dtype != np.bool_ or inside.shape != (rows.height,):
            raise ValueError(f"subsets: {name!r} is not one truth value for each of {rows.height} rows")
        share = float(np.sum(inside)) / max(rows.height, 1)
        places = max(1, round(k * share))
        here = rows.filter(pl.Series(inside))
        measured = evaluate(
            label=label[inside],
            rank_score=_column(here, "rank_score"),
            probability=None if here["probability"].null_count() else _column(here, "probability"),
            person=here["person_id"].to_numpy(),
            k=places,
            seed=seed,
            period=_period(here),
            weight=None if weight is None else weight[inside],
            replicates=replicates,
        )
        row: dict[str, object] = {
            "subset": name, "n": here.height, "in_need": int(np.nansum(label[inside])), "k": places,
        }  # fmt: skip
        for measure in (*RANKING, *CALIBRATION):
            value, low, high = measured[measure]
            row |= {measure: value, f"{measure}_low": low, f"{measure}_high": high}
        found.append(row)
    return pl.DataFrame(found)


def error_crosstab(rows: pl.DataFrame, other: np.ndarray, k: int) -> pl.DataFrame:
    """Whom our list and another one find, and whom they miss, among those in need and those not.

    Parameters
    ----------
    rows : polars.DataFrame (n,)
        Rows of known outcome stand for all of their period; ``weight``, if any, counts as in
        :func:`models.metrics.evaluate`.
    other : float64 (n,)
        The other order's rank scores, higher first.
    k : int
        Places per period of either list.

    Returns
    -------
    polars.DataFrame
        Eight rows: ``outcome`` (``in need``, ``not in need``), ``ours`` and ``other`` (``listed``, ``not listed``),
        ``rows`` (with fractions where equal scores share
        places, or known rows stand for others), ``share`` of the outcome's rows, NaN
        where there are none.
    """
    label, weight, person, period = _label(rows), _weight(rows), rows["person_id"].to_numpy(), _period(rows)
    listed, worth = [], np.zeros(rows.height)
    for score in (_column(rows, "rank_score"), np.asarray(other, dtype=np.float64)):
        ranked, positions = ranked_rows(label, score, person, period, weight)
        worth[positions] = ranked.unit if ranked.unit.size else 1.0
        listed.append(_listed(positions, ranked.marks, worth, k))
    both = np.minimum(*listed)
    parts = {
        (LISTED, LISTED): both,
        (LISTED, NOT_LISTED): listed[0] - both,
        (NOT_LISTED, LISTED): listed[1] - both,
        (NOT_LISTED, NOT_LISTED): 1.0 - np.maximum(*listed),
    }
    found = []
    for outcome, among in ((IN_NEED, label == 1), (NOT_IN_NEED, label == 0)):
        total = float(np.sum(worth[among]))
        for (ours, theirs), part in parts.items():
            n = float(np.sum((worth * part)[among]))
            found.append((outcome, ours, theirs, n, n / total if total > 0 else np.nan))
    types = {"outcome": pl.String, "ours": pl.String, "other": pl.String, "rows": pl.Float64, "share": pl.Float64}
    return pl.DataFrame(found, schema=types, orient="row")


def list_overlap(
    rows: pl.DataFrame, scores: Mapping[str, np.ndarray], k: int, seed: int, *, replicates: int = REPLICATES
) -> pl.DataFrame:
    """How many places the lists of every two orders share, outcome known or not.

    Parameters
    ----------
    rows : polars.DataFrame (n,)
    scores : mapping
        Name → rank scores float64 (n,), higher first.
    k : int
        Places per period.
    seed : int
    replicates : int
        Drawn by person; in each both lists are made anew.

    Returns
    -------
    polars.DataFrame
        Per pair, in the order of ``scores``: ``a``, ``b``, ``shared`` (places, over all periods), ``jaccard`` (shared
        ÷ rows on either list) and its interval ``low``, ``high``.
    """
    people, n_people = numbered(rows["person_id"].to_numpy())
    everyone, period, person = np.zeros(rows.height), _period(rows), rows["person_id"].to_numpy()
    orders = {}
    for name, score in scores.items():
        ranked, positions = ranked_rows(everyone, np.asarray(score, dtype=np.float64), person, period, None)
        orders[name] = positions, ranked.marks
    found = []
    for a, b in combinations(orders, 2):
        batches = drawn_people(n_people, replicates, seed)
        drawn = np.concatenate([shared_places(*orders[a], *orders[b], people, counts, float(k)) for counts in batches])
        shared, places = drawn[:, 0], drawn[:, 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            jaccard = interval(np.minimum(shared / (2 * places - shared), 1.0))  # sums of thirds may miss 1 by a hair
        found.append((a, b, float(shared[0]), *jaccard))
    types = {"a": pl.String, "b": pl.String} | dict.fromkeys(("shared", "jaccard", "low", "high"), pl.Float64)
    return pl.DataFrame(found, schema=types, orient="row")


# ---- columns of the rows -------------------------------------------------------------------------------------------


def _column(rows: pl.DataFrame, name: str) -> Floats:
    values: Floats = rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values


def _label(rows: pl.DataFrame) -> Floats:
    return _column(rows, "label")


def _weight(rows: pl.DataFrame) -> Floats | None:
    """Weights, or None where all weigh 1."""
    if "weight" not in rows.columns:
        return None
    weight = _column(rows, "weight")
    return None if (weight == 1).all() else weight


def _period(rows: pl.DataFrame) -> np.ndarray:
    return rows["origin" if "origin" in rows.columns else "as_of_date"].to_physical().to_numpy()


def _listed(positions: NDArray[np.int64], marks: NDArray[np.uint8], worth: Floats, k: int) -> Floats:
    """Which part of each row is on the list: float64 (n,), 0 for rows that are not ranked."""
    once = np.ones(1, dtype=np.uint8)
    share = np.empty(worth.size)
    listed_shares(positions, marks, worth, once, np.zeros(worth.size, dtype=np.int32), float(k), share)
    return share
