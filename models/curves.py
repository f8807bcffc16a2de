"""Every length of the list, every promised probability, every price of a contact: frames ready to plot and to log.

Intervals are 95 % percentiles over replicates of persons, as in :mod:`models.metrics`, which says how rows of unknown
outcome (label NaN) and weights bear on the cut at k, and what widens intervals where few people decide.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.binned_gaps import CALIBRATION_BINS, calibration_bins
from models.curve_kernels import sums_along_k, sums_in_cells
from models.exact_bounds import Runs, bounds_at_cut
from models.metric_kernels import PERIOD_ENDS, RankedRows
from models.metrics import (
    REPLICATES,
    TAIL,
    drawn_people,
    interval,
    known_rows,
    numbered,
    ranked_rows,
)

Floats = NDArray[np.float64]
_MEASURES = ("precision", "recall", "lift")


def k_curve(
    *,
    label: np.ndarray,
    rank_score: np.ndarray,
    person: np.ndarray,
    period: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    seed: int,
    points: int = 50,
    replicates: int = 200,
) -> pl.DataFrame:
    """Precision, recall and lift of lists of every length, with what the order among equal scores could change.

    Parameters
    ----------
    label, rank_score, person, period, weight, seed
        As :func:`models.metrics.evaluate` takes them.
    points : int
        About how many lengths, spaced evenly on a logarithmic scale from 1 to the largest period.
    replicates : int

    Returns
    -------
    polars.DataFrame
        One row per length ``k`` per period, ascending; the last is everybody, where precision is the share in need.
        ``share`` of the rows that are listed. ``precision`` (share of the listed who are in need, equal scores at the
        cut in proportion), its interval ``precision_low`` and ``precision_high``, and ``precision_worst`` and
        ``precision_best`` with the equals at the cut in the worst and the best order; the same five of ``recall``
        (share of those in need who are listed) and ``lift`` (precision, in units of the share in need). A period with
        fewer rows than k lists all of them. NaN where nobody is in need. No row if no outcome is known.
    """
    rows, _ = ranked_rows(label, rank_score, person, period, weight)
    cuts = _lengths(rows, points)
    drawn = _drawn_along_k(rows, cuts, replicates, seed)
    worst, best = _ties_at_the_cut(rows, cuts)
    found, listed = drawn[:, :-1, 0], drawn[:, :-1, 1]
    columns: dict[str, np.ndarray] = {"k": cuts.astype(np.int64), "share": _ratio(listed[0], drawn[0, -1, 1])}
    measured = (_per_measure(part, listed, drawn[:, -1]) for part in (found, worst[None], best[None]))
    exact = _exact_bounds(rows, cuts, columns["share"])
    for name, (all_drawn, at_worst, at_best) in zip(_MEASURES, zip(*measured, strict=True), strict=True):
        columns |= _with_interval(name, all_drawn)
        columns[f"{name}_low"] = np.fmin(columns[f"{name}_low"], exact[name][:, 0])
        columns[f"{name}_high"] = np.fmax(columns[f"{name}_high"], exact[name][:, 1])
        columns[f"{name}_worst"], columns[f"{name}_best"] = at_worst[0], at_best[0]
    return pl.DataFrame(columns)


def reliability(
    *,
    label: np.ndarray,
    probability: np.ndarray,
    person: np.ndarray,
    weight: np.ndarray | None = None,
    bins: int = CALIBRATION_BINS,
    seed: int,
    replicates: int = REPLICATES,
) -> pl.DataFrame:
    """Promised beside observed shares in need, over equally filled bins of probability.

    Parameters
    ----------
    label, probability, person, weight, seed
        As :func:`models.metrics.evaluate` takes them.
    bins : int
        Fewer are made where many probabilities are equal.
    replicates : int

    Returns
    -------
    polars.DataFrame
        ``bin`` (0 holds the lowest probabilities), ``n`` rows of known outcome, ``promised`` (their mean
        probability), ``observed`` (share in need), ``low``, ``high``. Weighted but for ``n``. Where nobody or everybody
        in a bin is in need all replicates agree, so the exact bound for so many persons stands in (Clopper & Pearson
        1934, Biometrika 26).
    """
    cells = _cells(label, probability, person, weight)
    which = calibration_bins(cells.probability, bins, cells.unit if cells.unit.size else None)
    n = np.bincount(which)
    drawn = _in_cells(cells, which, n, replicates, seed)
    promised = np.bincount(which, weights=cells.probability * (cells.unit if cells.unit.size else 1.0))
    observed = _with_interval("observed", _ratio(drawn[..., 1], drawn[..., 0]))
    low, high = _exact_where_all_agree(observed, _persons_per_bin(cells, which, n.size))
    return pl.DataFrame(
        {
            "bin": np.arange(n.size),
            "n": n.astype(np.int64),
            "promised": _ratio(promised, drawn[0, :, 0]),
            "observed": observed["observed"],
            "low": low,
            "high": high,
        }
    ).filter(pl.col("n") > 0)


def net_benefit(
    *,
    label: np.ndarray,
    probability: np.ndarray,
    person: np.ndarray,
    weight: np.ndarray | None = None,
    thresholds: np.ndarray | None = None,
    seed: int,
    replicates: int = 200,
) -> pl.DataFrame:
    """What contacting those above a threshold brings per person, needless contacts counted at their price.

    The threshold t is the probability from which a contact is worth its cost, so a needless contact costs t / (1 - t)
    of what a found person in need is worth. Net benefit = (found - needless × t / (1 - t)) / all. Source: Vickers &
    Elkin 2006, Med Decis Making 26: 565-574.

    Parameters
    ----------
    label, probability, person, weight, seed
        As :func:`models.metrics.evaluate` takes them.
    thresholds : float (m,), optional
        Strictly between 0 and 1. Left out: fifty, from 0 to the highest probability, both ends excepted.
    replicates : int

    Returns
    -------
    polars.DataFrame
        ``threshold`` ascending, ``model`` (contact those whose probability is at least the threshold), ``low``,
        ``high``, ``everyone`` (contact everyone), ``nobody`` (0).

    Raises
    ------
    ValueError
        A threshold outside (0, 1).
    """
    cells = _cells(label, probability, person, weight)
    at = _thresholds(cells.probability, thresholds)
    which = np.searchsorted(at, cells.probability, side="right")  # of the thresholds, how many are reached
    drawn = _in_cells(cells, which, np.bincount(which, minlength=at.size + 1), replicates, seed)
    from_top = np.cumsum(drawn[:, ::-1], axis=1)[:, ::-1]
    price = at / (1 - at)

    def benefit(contacted: np.ndarray) -> np.ndarray:
        found, needless = contacted[..., 1], contacted[..., 0] - contacted[..., 1]
        return _ratio(found - needless * price, from_top[:, :1, 0])

    model = _with_interval("model", benefit(from_top[:, 1:]))
    return pl.DataFrame(
        {
            "threshold": at,
            "model": model["model"],
            "low": model["model_low"],
            "high": model["model_high"],
            "everyone": benefit(from_top[:, :1])[0],
            "nobody": np.zeros(at.size),
        }
    )


# ---- the k curve ---------------------------------------------------------------------------------------------------


def _lengths(rows: RankedRows, points: int) -> Floats:
    """Whole numbers from 1 to the largest period, evenly spaced on a logarithmic scale."""
    largest = int(rows.sizes.max(initial=0.0))
    if largest == 0:
        return np.empty(0)
    spaced = np.geomspace(1, largest, max(points, 2))
    whole: Floats = np.unique(np.round(spaced)).astype(np.float64)
    return whole


def _drawn_along_k(rows: RankedRows, cuts: Floats, replicates: int, seed: int) -> Floats:
    """Found and listed at each cut, and at the end of the rows: float64 (1 + replicates, n_cuts + 1, 2)."""
    y, unit, people, n_people, marks, sizes = rows
    periods = np.concatenate([[0], np.flatnonzero(marks == PERIOD_ENDS) + 1])
    found = []
    for counts in drawn_people(n_people, replicates, seed):
        scales = np.ones((len(counts), sizes.size))
        if unit.size:  # weights drawn add up to the rows of each period again
            scales = _ratio(sizes, sums_in_cells(y, unit, people, periods, counts)[:, :, 0])
            scales[~np.isfinite(scales)] = 0.0
        found.append(sums_along_k(y, unit, people, marks, counts, scales, cuts))
    return np.concatenate(found)


def _ties_at_the_cut(rows: RankedRows, cuts: Floats) -> tuple[Floats, Floats]:
    """Found in the first ``cuts`` places of every period, the run of equals at the cut in its worst and best order."""
    worst, best = np.zeros(cuts.size), np.zeros(cuts.size)
    unit = rows.unit if rows.unit.size else np.ones(rows.y.size)
    start = 0
    for end in (np.flatnonzero(rows.marks == PERIOD_ENDS) + 1).tolist():
        run_ends = np.flatnonzero(rows.marks[start:end])
        w = unit[start:end]
        upto = np.concatenate([[0.0], np.cumsum(w)[run_ends]])
        in_need = np.concatenate([[0.0], np.cumsum(w * rows.y[start:end])[run_ends]])
        run = np.minimum(np.searchsorted(upto, cuts, side="left"), run_ends.size)  # 1 is the first run
        places = np.minimum(cuts, upto[-1]) - upto[run - 1]
        equals, of_them = upto[run] - upto[run - 1], in_need[run] - in_need[run - 1]
        worst += in_need[run - 1] + np.maximum(0.0, places - (equals - of_them))
        best += in_need[run - 1] + np.minimum(places, of_them)
        start = end
    return worst, best


def _exact_bounds(rows: RankedRows, cuts: Floats, share: np.ndarray) -> dict[str, Floats]:
    """Bounds at each cut where few people decide, NaN elsewhere: float64 (n_cuts, 2) per measure.

    Lift is recall over the ``share`` listed, which is known.
    """
    runs, nothing = Runs(rows), (np.nan, np.nan)
    found = [bounds_at_cut(runs, k, TAIL) for k in cuts.tolist()]
    precision, recall = (np.array([one[i] or nothing for one in found]).reshape(-1, 2) for i in (0, 1))
    return {"precision": precision, "recall": recall, "lift": _ratio(recall, share[:, None])}


def _per_measure(found: np.ndarray, listed: np.ndarray, everyone: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision, recall and lift of what was found: (replicates, n_cuts) each."""
    n = found.shape[0]
    precision = _ratio(found, listed[:n])
    positives = everyone[:n, :1]
    return precision, _ratio(found, positives), _ratio(precision, _ratio(positives, everyone[:n, 1:]))


# ---- cells ---------------------------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    """Rows of known outcome; ``unit`` is empty where all weigh the same."""

    y: NDArray[np.uint8]
    probability: Floats
    unit: Floats
    people: NDArray[np.int32]
    n_people: int


def _cells(label: np.ndarray, probability: np.ndarray, person: np.ndarray, weight: np.ndarray | None) -> _Cells:
    known, used = known_rows(label, weight)
    people, n_people = numbered(np.asarray(person)[known])
    unit = np.empty(0) if used is None else used[known]
    p = np.asarray(probability, dtype=np.float64)[known]
    return _Cells(np.asarray(label)[known].astype(np.uint8), p, unit, people, n_people)


def _in_cells(cells: _Cells, which: np.ndarray, n: np.ndarray, replicates: int, seed: int) -> Floats:
    """Weight of all and of those in need, per cell and replicate: float64 (1 + replicates, n_cells, 2)."""
    order = np.argsort(which, kind="stable")
    unit = cells.unit[order] if cells.unit.size else cells.unit
    starts = np.concatenate([[0], np.cumsum(n)]).astype(np.int64)
    y, people = cells.y[order], cells.people[order]
    batches = drawn_people(cells.n_people, replicates, seed)
    return np.concatenate([sums_in_cells(y, unit, people, starts, counts) for counts in batches])


def _persons_per_bin(cells: _Cells, which: np.ndarray, n_bins: int) -> np.ndarray:
    """Different persons in each bin; with weights no more than Kish's number of equally weighted rows."""
    _, first = np.unique(which.astype(np.int64) * max(cells.n_people, 1) + cells.people, return_index=True)
    persons: np.ndarray = np.bincount(which[first], minlength=n_bins).astype(np.float64)
    if not cells.unit.size:
        return persons
    total, squares = (np.bincount(which, weights=cells.unit**power, minlength=n_bins) for power in (1, 2))
    effective: np.ndarray = np.fmin(persons, _ratio(total**2, squares))
    return effective


def _exact_where_all_agree(observed: dict[str, np.ndarray], persons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the observed shares, from the binomial distribution where they are 0 or 1."""
    value, low, high = (observed[name] for name in ("observed", "observed_low", "observed_high"))
    with np.errstate(divide="ignore"):
        bound = TAIL ** (1 / persons)
    return np.where(value == 1, bound, low), np.where(value == 0, 1 - bound, high)


def _thresholds(probability: Floats, asked: np.ndarray | None) -> Floats:
    if asked is None:
        highest = float(probability.max(initial=0.0))
        return np.linspace(0, min(highest, 1.0), 52)[1:-1] if highest > 0 else np.empty(0)
    at: Floats = np.unique(np.asarray(asked, dtype=np.float64))
    outside = at[~((at > 0) & (at < 1))]
    if outside.size:
        raise ValueError(f"thresholds: {outside[0]:g} does not lie between 0 and 1")
    return at


def _ratio(above: np.ndarray, below: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: np.ndarray = np.where(np.asarray(below) > 0, above / np.asarray(below), np.nan)
    return shares


def _with_interval(name: str, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """Value, low and high of each column of (1 + replicates, n)."""
    estimates = np.array([interval(column) for column in drawn.T]).reshape(-1, 3)
    return {name: estimates[:, 0], f"{name}_low": estimates[:, 1], f"{name}_high": estimates[:, 2]}
