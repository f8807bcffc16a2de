"""Those who left before their outcome was known: weights that let the followed speak for them, and what that changes.

Leaving out who left (``drop``) keeps whoever was decided early and loses most of those who had to be followed to the
end, and it loses the kinds of people who leave. Weights by the inverse probability of censoring mend both, as far as
the columns of the matrix tell who leaves; leaving that depends on what no column shows stays a bias.

Source: Robins & Finkelstein 2000, Biometrics 56: 779-788 (weights); D'Agostino et al. 1990, Stat Med 9: 1501-1515
(pooled logistic regression over intervals); Cole & Hernán 2008, Am J Epidemiol 168: 656-664 (truncation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from models.linear_columns import LinearColumns
from models.metrics import REPLICATES, Estimate, evaluate
from models.splits import hash_share

if TYPE_CHECKING:
    from features.matrix import Matrix
    from features.spec import LabelSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TRUNCATED_AT = 0.999
"""Quantile of the known rows' weights above which weights are cut: in the trials as near the truth as any."""
TREATMENTS = ("drop", "negative", "ipcw")
_INTERVALS = 6
_FOLDS = 3
_FEWEST_CENSORED = 30  # fewer cannot tell who leaves
_MOST_ROWS = 50_000
_MOST_CELLS = 20_000_000  # of float64, 160 MB
_RIDGE = 0.1  # a column's log odds per standard deviation are of the order √0.1 beforehand
_BLOCK = 20_000
_Z = 1.959963984540054


class CensoringWeights(NamedTuple):
    """Weights of rows, and what they cost.

    Attributes
    ----------
    weight : float64 (n,)
        0 where the outcome is not known, else 1 or more.
    truncated_at : float
        The highest weight that was left.
    n_truncated : int
        Rows whose weight was higher.
    n_censored : int
        Mature rows whose person left before the outcome was decided.
    effective_rows : float
        How many equally weighted rows would tell as much; see :func:`effective_rows`.
    method : str
        ``"none"`` (nobody left), ``"time alone"`` (too few left to tell who leaves) or ``"time and columns"``.
    """

    weight: Floats
    truncated_at: float
    n_truncated: int
    n_censored: int
    effective_rows: float
    method: str


def censoring_weights(matrix: Matrix, label: LabelSpec, seed: int) -> Floats:
    """Weights of :func:`weigh_censoring`: float64 (n,)."""
    return weigh_censoring(matrix, label, seed).weight


def weigh_censoring(matrix: Matrix, label: LabelSpec, seed: int) -> CensoringWeights:
    """Weigh each row whose outcome is known by 1 / P(still followed when it was decided | columns).

    The hazard of leaving is a logistic regression over person-periods, the horizon being cut into at most six
    intervals in which about as many left. An interval in which a row was decided counts for the share of it that the
    row was followed. Columns are imputed by their median, with an indicator of what was missing, and scaled: straight
    near the median, logarithmic far from it. A row's hazard comes from persons of other folds. Weights are truncated
    at the 99.9th percentile of those of known rows.

    Parameters
    ----------
    matrix : Matrix (n,)
        With ``followed_days`` and ``censored``. ``y`` is not used: the weights are the same whatever ``censoring`` is.
    label : LabelSpec
        Horizon, and how long suffices (``min_days_at_risk``).
    seed : int

    Returns
    -------
    CensoringWeights
        The same to the bit whatever the number of threads.

    Raises
    ------
    BadInput
        The matrix does not say how long its rows were followed.
    """
    if matrix.followed_days is None or matrix.censored is None:
        mend = "Build it with label=need.label"
        raise BadInput(Fault("matrix", "does not say how long its rows were followed", mend))
    end = float(label.horizon_days)
    if label.min_days_at_risk is not None:
        end = min(end, float(label.starts_after_days + label.min_days_at_risk))
    followed = np.minimum(np.asarray(matrix.followed_days, dtype=np.float64), end)
    mature = np.isfinite(followed)
    left = np.asarray(matrix.censored, dtype=np.bool_) & mature
    known = mature & ~left
    n_left = int(left.sum())
    weight = known.astype(np.float64)
    if not n_left or not known.any():
        return CensoringWeights(weight, 1.0, 0, n_left, effective_rows(weight), "none")
    bounds = _bounds(followed[left], end)
    rows = np.flatnonzero(mature)
    followed, left = followed[rows], left[rows]
    exposed = np.clip((followed[:, None] - bounds[:-1]) / np.diff(bounds), 0.0, 1.0)
    # Who leaves does so at the end of a day, having been there when it began: never unexposed where they left.
    interval = np.minimum(np.searchsorted(bounds, followed[left], side="right"), bounds.size - 1) - 1
    events = np.zeros(exposed.shape, dtype=np.bool_)
    events[np.flatnonzero(left), interval] = True
    if n_left < _FEWEST_CENSORED:
        at_risk = np.where(events, 1.0, exposed).sum(axis=0)
        hazard = np.broadcast_to(events.sum(axis=0) / np.maximum(at_risk, 1.0), exposed.shape)
        method = "time alone"
    else:
        people = matrix.keys["person_id"].gather(rows).to_list()
        fold = (hash_share(people, f"censoring {seed}") * _FOLDS).astype(np.int64)
        hazard = _cross_fitted_hazard(matrix.X, rows, events, exposed, fold, seed)
        method = "time and columns"
    # A hazard of 1, where everybody seen left, would say that nobody can have stayed.
    staying = np.exp((exposed * np.log1p(-np.minimum(hazard, 0.999))).sum(axis=1))
    weight[rows[~left]] = 1.0 / staying[~left]
    highest = float(np.quantile(weight[known], TRUNCATED_AT))
    n_truncated = int((weight > highest).sum())
    weight = np.minimum(weight, highest)
    return CensoringWeights(weight, highest, n_truncated, n_left, effective_rows(weight), method)


def effective_rows(weight: np.ndarray) -> float:
    """How many equally weighted rows tell as much: (Σw)² / Σw². Source: Kish 1965, Survey Sampling, §11.7.

    >>> effective_rows(np.array([0.0, 1.0, 1.0])), effective_rows(np.array([1.0, 3.0]))
    (2.0, 1.6)
    """
    squares = float(np.sum(np.square(weight)))
    return float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0


def censoring_differences(
    rows: pl.DataFrame,
    k: int,
    seed: int,
    *,
    weight: np.ndarray | None = None,
    replicates: int = REPLICATES,
) -> pl.DataFrame:
    """The same scores under each treatment of those who left: how much the figures hang on it.

    Parameters
    ----------
    rows : polars.DataFrame
        ``person_id``, ``origin`` (the period of the list; else ``as_of_date``), ``label`` (null: not known),
        ``rank_score``, ``probability`` (null for a rule), ``censored``; and ``weight`` unless it is given.
    k : int
        Capacity per period.
    seed : int
    weight : float (n,), optional
        From :func:`censoring_weights` for these rows; needed where the need itself does not weigh.
    replicates : int

    Returns
    -------
    polars.DataFrame
        ``measure`` (``share_in_need``, then those of :func:`models.metrics.evaluate`), ``censoring`` (``drop``,
        ``negative``, ``ipcw``), ``value``, ``low``, ``high``, ``effective_rows``. Intervals take the weights as
        given, which if anything makes them too wide.
    """
    if weight is None:
        weight = _floats(rows["weight"])
    censored = rows["censored"].to_numpy()
    label = _floats(rows["label"])
    label[censored] = np.nan
    known = np.isfinite(label)
    labels = {"drop": label, "negative": np.where(censored, 0.0, label), "ipcw": label}
    weights = {"drop": None, "negative": None, "ipcw": np.where(known, np.asarray(weight, dtype=np.float64), 0.0)}
    probability = None if rows["probability"].null_count() else _floats(rows["probability"])
    found = []
    for treatment in TREATMENTS:
        y, w = labels[treatment], weights[treatment]
        figures = {"share_in_need": _share(y, rows["person_id"], w)} | evaluate(
            label=y,
            rank_score=_floats(rows["rank_score"]),
            probability=probability,
            person=rows["person_id"].to_numpy(),
            period=rows["origin" if "origin" in rows.columns else "as_of_date"].to_physical().to_numpy(),
            k=k,
            seed=seed,
            replicates=replicates,
            weight=w,
        )
        n = float(np.isfinite(y).sum()) if w is None else effective_rows(w)
        found += [(name, treatment, *map(float, figure), n) for name, figure in figures.items()]
    names = ("measure", "censoring", "value", "low", "high", "effective_rows")
    frame = pl.DataFrame(found, schema=list(names), orient="row")
    return frame.sort(pl.int_range(pl.len()) % (pl.len() // len(TREATMENTS)), maintain_order=True)


# ---- the hazard of leaving -----------------------------------------------------------------------------------------


def _bounds(left_on: Floats, end: float) -> Floats:
    """Days at which intervals begin, and the end: about as many left in each."""
    days = np.floor(np.unique(left_on))
    inner = days if days.size < _INTERVALS else np.quantile(left_on, np.linspace(0, 1, _INTERVALS + 1)[1:-1]) // 1
    return np.unique(np.concatenate(([0.0], inner[inner < end], [end])))


class _TamedColumns:
    """:class:`models.linear_columns.LinearColumns` of cells that grow slowly far from their median.

    Counts have long tails, along which a straight line would make hazards, and so weights, of any size.
    """

    def __init__(self, X: np.ndarray) -> None:
        cells = np.where(np.isfinite(X), X, np.nan).astype(np.float64)
        some = ~np.isnan(cells).all(axis=0)
        self._median, self._reach = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self._median[some] = np.nanmedian(cells[:, some], axis=0)
        reach = np.nanmean(np.abs(cells[:, some] - self._median[some]), axis=0)
        self._reach[some] = np.where(reach > 0, reach, 1.0)
        self._linear = LinearColumns(self._tamed(X))

    def _tamed(self, X: np.ndarray) -> Floats:
        tamed: Floats = np.arcsinh((X - self._median) / self._reach)
        return tamed

    def __call__(self, X: np.ndarray) -> Floats:
        """Scaled cells and indicators of gaps: float64 (n, q)."""
        return self._linear(self._tamed(X))


def _cross_fitted_hazard(
    X: np.ndarray, rows: NDArray[np.int64], events: Bools, exposed: Floats, fold: NDArray[np.int64], seed: int
) -> Floats:
    """Probability of leaving in each interval, by models that had not seen the row's person: (n, intervals)."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n_intervals = events.shape[1]
    which, when, weight = _sampled_periods(events, exposed, X.shape[1], seed)
    columns = _TamedColumns(X[rows[np.unique(which)]])
    coefficients = np.zeros((_FOLDS, 0))
    levels = np.zeros((_FOLDS, n_intervals))
    steps = np.eye(n_intervals)
    with threadpool_limits(1):  # sums in another order would be other bits, and so another model
        for number in range(_FOLDS):
            others = fold[which] != number
            y = events[which[others], when[others]]
            if not y.any():
                levels[number] = -np.inf
                continue
            Z = np.hstack((steps[when[others]], columns(X[rows[which[others]]])))
            fitted = LogisticRegression(C=_RIDGE, max_iter=1000).fit(Z, y, sample_weight=weight[others])
            coefficient = fitted.coef_[0]
            if not coefficients.shape[1]:
                coefficients = np.zeros((_FOLDS, coefficient.size - n_intervals))
            levels[number] = fitted.intercept_[0] + coefficient[:n_intervals]
            coefficients[number] = coefficient[n_intervals:]
        hazard = np.empty(events.shape)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            mine = fold[part]
            linear = np.einsum("ij,ij->i", columns(X[rows[part]]), coefficients[mine])[:, None] + levels[mine]
            hazard[part] = 1.0 / (1.0 + np.exp(-linear))
    return hazard


def _sampled_periods(
    events: Bools, exposed: Floats, n_columns: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Row, interval and weight of person-periods to learn from: all that ended in leaving, if they are not too many."""
    most = min(_MOST_ROWS, max(1000, _MOST_CELLS // (2 * n_columns + 1)))
    generator = np.random.default_rng(seed)
    flat = np.flatnonzero(events)
    rest = np.flatnonzero(~events & (exposed > 0))
    kept = flat if flat.size <= most // 2 else np.sort(generator.choice(flat, most // 2, replace=False))
    room = most - kept.size
    others = rest if rest.size <= room else np.sort(generator.choice(rest, room, replace=False))
    weight = np.concatenate(
        (
            np.full(kept.size, flat.size / max(1, kept.size)),
            exposed.ravel()[others] * (rest.size / max(1, others.size)),
        )
    )
    which, when = np.divmod(np.concatenate((kept, others)), events.shape[1])
    return which, when, weight


# ---- figures -------------------------------------------------------------------------------------------------------


def _share(label: Floats, person: pl.Series, weight: Floats | None) -> Estimate:
    """Weighted share in need with an interval by persons. Source: linearised ratio, Cochran 1977, §11.12."""
    w = np.isfinite(label).astype(np.float64) if weight is None else weight
    total = float(w.sum())
    if total <= 0:
        return Estimate(np.nan, np.nan, np.nan)
    y = np.where(np.isfinite(label), label, 0.0)
    value = float(w @ y) / total
    of_person = pl.DataFrame({"person": person, "gap": w * (y - value)}).group_by("person").agg(pl.col("gap").sum())
    error = float(np.sqrt(np.square(of_person["gap"].to_numpy()).sum())) / total
    return Estimate(value, max(0.0, value - _Z * error), min(1.0, value + _Z * error))


def _floats(column: pl.Series) -> Floats:
    """A column as float64 of its own, null as NaN."""
    return np.array(column.cast(pl.Float64).fill_null(float("nan")).to_numpy())
